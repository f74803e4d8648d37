/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sorted walk of a file tree in flat memory.
 *
 * Order. Within a folder, children are sorted by their part of the key, folders with their '/' behind them; then a walk
 * in depth gives byte order of whole keys, since no part holds a '/' ("a", "a-b", "a/x", "a0").
 *
 * Memory. A folder may hold a million names, so a level never holds them all: it reads the folder in passes and keeps,
 * in a bounded window, the smallest names that come after the last one it gave out; when the window is full, the larger
 * half is thrown away and becomes work of a later pass. All windows of a scan together stay below WINDOW_TOTAL plus
 * what FILE_DEPTH_MAX smallest windows take.
 *
 * Every name that is read is a record, a folder, or a find that is refused (or passed over with a warning, as the
 * option `leftovers` says). A failing getdents64 is an error, never the end.
 */
#include "file_entry.h"
#include "file_internal.h"

#include <common.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_TOTAL (6u << 20) /* of all levels that are open */
#define WINDOW_LEAST (8u << 10) /* of any level */
#define WINDOW_KEPT (16u << 10) /* what a closed level may keep for the next folder of its depth */
#define LISTING_BYTES (64u << 10)
#define SIZES_LEAST 512 /* items of a folder whose sizes are worth looking at with several threads */
#define SIZES_THREADS 4
#define SIZE_UNKNOWN ((off_t)-1)

/* What a name in a folder is. The number is the order of equal sort names. */
enum kind { KIND_KEY, KIND_FOLDER, KIND_TEMP, KIND_FOREIGN, KIND_OTHER };

/* A name in a window: this head, then the sort name: without the '_' of a key, with the '/' of a folder. */
struct item {
    enum kind kind;
    struct rh_bytes name;
};

struct window {
    uint8_t *names; /* packed: kind u8, size u16 of the host, name */
    size_t names_size, names_room;
    uint32_t *order; /* offsets into names */
    size_t count, room;
};

struct level {
    int fd;
    size_t prefix; /* bytes of scan->path up to this folder, with its '/' */
    size_t limit;  /* bytes its window may take */
    struct window window;
    off_t *sizes; /* of the items' files in the order given out; NULL: not looked at ahead */
    size_t next;  /* the item to give out */
    bool more;    /* the folder holds names behind the window's last */
    bool has_last;
    struct item last; /* the name is in last_name */
    uint8_t last_name[FILE_NAME_MAX + 2];
};

struct file_scan {
    struct rh_scan base;
    unsigned flags;
    bool failed;
    struct rh_buf from, to, after;
    struct level *levels[FILE_DEPTH_MAX + 1];
    size_t depth; /* open levels; 0 after the end */
    size_t path_size;
    uint8_t path[PATH_MAX];
    uint8_t *listing;
};

static struct file_session *scan_session(struct file_scan *scan)
{
    return (struct file_session *)scan->base.session;
}

/* --- windows --- */

static struct item window_item(const struct window *window, uint32_t offset)
{
    const uint8_t *at = window->names + offset;
    uint16_t size;
    memcpy(&size, at + 1, sizeof(size));
    return (struct item){.kind = (enum kind)at[0], .name = rh_bytes(at + 3, size)};
}

static int item_compare(struct item a, struct item b)
{
    int order = rh_bytes_compare(a.name, b.name);
    return order ? order : (int)a.kind - (int)b.kind;
}

static int order_compare(const void *a, const void *b, void *window)
{
    uint32_t left, right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return item_compare(window_item(window, left), window_item(window, right));
}

static int offset_compare(const void *a, const void *b)
{
    uint32_t left, right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return left < right ? -1 : left > right;
}

static void swap_offsets(uint32_t *a, uint32_t *b)
{
    uint32_t kept = *a;
    *a = *b;
    *b = kept;
}

/* Moves the `keep` smallest to the front (quickselect with the middle of three as pivot). */
static void window_select(struct window *window, size_t keep)
{
    uint32_t *order = window->order;
    size_t low = 0, high = window->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order_compare(order + middle, order + low, window) < 0)
            swap_offsets(order + middle, order + low);
        if (order_compare(order + high, order + low, window) < 0)
            swap_offsets(order + high, order + low);
        if (order_compare(order + high, order + middle, window) < 0)
            swap_offsets(order + high, order + middle);
        struct item pivot = window_item(window, order[middle]);
        size_t left = low, right = high;
        for (;;) {
            while (item_compare(window_item(window, order[left]), pivot) < 0)
                left++;
            while (item_compare(pivot, window_item(window, order[right])) < 0)
                right--;
            if (left >= right)
                break;
            swap_offsets(order + left++, order + right--);
        }
        if (keep <= right)
            high = right;
        else
            low = right + 1;
    }
}

/* Throws the larger half away and packs the rest. */
static void window_halve(struct window *window)
{
    size_t keep = window->count / 2, to = 0;
    window_select(window, keep);
    window->count = keep;
    qsort(window->order, keep, sizeof(uint32_t), offset_compare);
    for (size_t i = 0; i < keep; i++) {
        size_t size = window_item(window, window->order[i]).name.size + 3;
        memmove(window->names + to, window->names + window->order[i], size);
        window->order[i] = (uint32_t)to;
        to += size;
    }
    window->names_size = to;
}

/* Makes room for one more name within `limit` bytes for all. RH_E_LIMIT: no more room, halve; RH_E_MEMORY. */
static enum rh_status window_room(struct window *window, size_t limit, size_t name_bytes)
{
    if (window->names_size + name_bytes + 3 > window->names_room) {
        size_t room = window->names_room ? window->names_room * 2 : 4096, most = limit / 4 * 3;
        room = room > most ? most : room;
        if (window->names_size + name_bytes + 3 > room)
            return RH_E_LIMIT;
        uint8_t *names = realloc(window->names, room);
        if (!names)
            return RH_E_MEMORY;
        window->names = names;
        window->names_room = room;
    }
    if (window->count == window->room) {
        size_t room = window->room ? window->room * 2 : 128, most = limit / 4 / sizeof(uint32_t);
        room = room > most ? most : room;
        if (window->count >= room)
            return RH_E_LIMIT;
        uint32_t *order = realloc(window->order, room * sizeof(uint32_t));
        if (!order)
            return RH_E_MEMORY;
        window->order = order;
        window->room = room;
    }
    return RH_OK;
}

static void window_put(struct window *window, struct item item)
{
    uint16_t size = (uint16_t)item.name.size;
    window->order[window->count++] = (uint32_t)window->names_size;
    uint8_t *at = window->names + window->names_size;
    at[0] = (uint8_t)item.kind;
    memcpy(at + 1, &size, sizeof(size));
    memcpy(at + 3, item.name.data, item.name.size);
    window->names_size += item.name.size + 3;
}

static size_t window_bytes(const struct window *window)
{
    return window->names_room + window->room * sizeof(uint32_t);
}

static void window_done(struct window *window)
{
    free(window->names);
    free(window->order);
    *window = (struct window){0};
}

/* --- sizes, looked at by several threads: a survey does little else --- */

/* A thread's share of a level's items. */
struct sizes_share {
    const struct level *level;
    size_t from, to;
};

/* The name of a key's file. */
static void file_name_of(struct item item, char name[static FILE_NAME_MAX + 2])
{
    name[0] = '_';
    memcpy(name + 1, item.name.data, item.name.size);
    name[item.name.size + 1] = '\0';
}

static void *sizes_main(void *user)
{
    const struct sizes_share *share = user;
    const struct window *window = &share->level->window;
    for (size_t i = share->from; i < share->to; i++) {
        const struct item item = window_item(window, window->order[i]);
        char name[FILE_NAME_MAX + 2];
        struct stat st;
        share->level->sizes[i] = SIZE_UNKNOWN;
        if (item.kind != KIND_KEY)
            continue;
        file_name_of(item, name);
        if (fstatat(share->level->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            share->level->sizes[i] = st.st_size;
    }
    return NULL;
}

/* Looks at the sizes of all items of a large folder. What can't be looked at now is left to who comes to it. */
static void level_sizes(struct level *level)
{
    const size_t count = level->window.count;
    struct sizes_share shares[SIZES_THREADS];
    pthread_t threads[SIZES_THREADS];
    size_t started = 0;
    if (count < SIZES_LEAST || !(level->sizes = malloc(count * sizeof *level->sizes)))
        return;
    for (size_t i = 0; i < SIZES_THREADS; i++)
        shares[i] = (struct sizes_share){level, count * i / SIZES_THREADS, count * (i + 1) / SIZES_THREADS};
    while (started < SIZES_THREADS - 1 && pthread_create(&threads[started], NULL, sizes_main, &shares[started]) == 0)
        started++;
    for (size_t i = started; i < SIZES_THREADS; i++)
        sizes_main(&shares[i]);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* --- one pass over a folder --- */

/* What a name is; KIND_OTHER for links and the like. */
static enum rh_status
classify(struct file_scan *scan, const struct level *level, struct dirent64 *entry, struct item *ret_item)
{
    struct rh_bytes name = rh_bytes_text(entry->d_name);
    unsigned char type = entry->d_type;
    struct stat st;
    (void)scan;
    if (type == DT_UNKNOWN) {
        if (fstatat(level->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return RH_E_IO; /* errno says why */
        type = S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR : DT_LNK;
    }
    ret_item->name = name;
    if (type == DT_DIR) {
        ret_item->kind = KIND_FOLDER;
        entry->d_name[name.size] = '/'; /* in place of the NUL, which nobody needs any more */
        ret_item->name.size++;
    } else if (type != DT_REG) {
        ret_item->kind = KIND_OTHER;
    } else if (name.size < 2 || name.data[0] != '_') {
        ret_item->kind = KIND_FOREIGN;
    } else {
        bool temp = name.size >= 6 && memcmp(name.data + name.size - 5, ".temp", 5) == 0;
        ret_item->kind = temp ? KIND_TEMP : KIND_KEY;
        ret_item->name = rh_bytes(name.data + 1, name.size - 1);
    }
    return RH_OK;
}

/* Whether anything of this item lies within the range and behind `after`. */
static bool item_wanted(struct file_scan *scan, const struct level *level, struct item item)
{
    if (!scan->from.size && !scan->to.size && !scan->after.size)
        return true;
    uint8_t whole[PATH_MAX + FILE_NAME_MAX + 2];
    memcpy(whole, scan->path, level->prefix);
    memcpy(whole + level->prefix, item.name.data, item.name.size);
    struct rh_bytes key = rh_bytes(whole, level->prefix + item.name.size);
    struct rh_bytes from = rh_buf_bytes(&scan->from), after = rh_buf_bytes(&scan->after);
    if (scan->to.size && rh_bytes_compare(key, rh_buf_bytes(&scan->to)) >= 0)
        return false;
    if (item.kind == KIND_FOLDER)
        return (rh_bytes_compare(key, from) >= 0 || rh_bytes_starts(from, key)) &&
               (rh_bytes_compare(key, after) >= 0 || rh_bytes_starts(after, key));
    return rh_bytes_compare(key, from) >= 0 && (!after.size || rh_bytes_compare(key, after) > 0);
}

/* Puts the item into the window, halving it when it is full; `bound` is the largest item that may still come in. */
static enum rh_status
level_keep(struct level *level, struct item item, struct item *bound, uint8_t bound_name[static FILE_NAME_MAX + 2])
{
    if (level->more && item_compare(item, *bound) > 0)
        return RH_OK;
    enum rh_status status = window_room(&level->window, level->limit, item.name.size);
    if (status == RH_E_LIMIT) {
        window_halve(&level->window);
        level->more = true;
        *bound = window_item(&level->window, level->window.order[0]);
        for (size_t i = 1; i < level->window.count; i++) {
            struct item other = window_item(&level->window, level->window.order[i]);
            if (item_compare(other, *bound) > 0)
                *bound = other;
        }
        memcpy(bound_name, bound->name.data, bound->name.size);
        bound->name.data = bound_name;
        if (item_compare(item, *bound) > 0)
            return RH_OK;
        status = window_room(&level->window, level->limit, item.name.size);
    }
    if (status == RH_OK)
        window_put(&level->window, item);
    return status;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Our own temporaries in the folder for them: neither data nor a find. */
static bool is_own_temp(const struct file_scan *scan, const struct level *level, struct item item)
{
    return item.kind == KIND_FOREIGN && level == scan->levels[1] &&
           rh_bytes_equal(rh_bytes(scan->path, level->prefix), rh_bytes_text(FILE_TEMP_DIR "/")) &&
           rh_bytes_starts(item.name, rh_bytes_text(FILE_TEMP_PREFIX));
}

/* One piece of a listing into the window. */
static enum rh_status take_listing(struct rh_ctx *ctx,
                                   struct file_scan *scan,
                                   struct level *level,
                                   size_t size,
                                   struct item *bound,
                                   uint8_t bound_name[static FILE_NAME_MAX + 2])
{
    for (size_t at = 0; at < size;) {
        struct dirent64 *entry = (void *)(scan->listing + at);
        struct item item;
        at += entry->d_reclen;
        if (is_dots(entry->d_name))
            continue;
        if (classify(scan, level, entry, &item) != RH_OK)
            return rh_fail_errno(ctx->err, errno, "look at '%s' in folder '%s'", RH_SHOW(rh_bytes_text(entry->d_name)),
                                 RH_SHOW(rh_bytes(scan->path, level->prefix)));
        if (level->has_last && item_compare(item, level->last) <= 0)
            continue;
        if (is_own_temp(scan, level, item) || !item_wanted(scan, level, item))
            continue;
        if (level_keep(level, item, bound, bound_name) != RH_OK)
            return rh_fail_memory(ctx->err);
    }
    return RH_OK;
}

/* Reads the folder once and fills the level's window with the smallest names behind `last`. */
static enum rh_status level_fill(struct rh_ctx *ctx, struct file_scan *scan, struct level *level)
{
    struct item bound = {0};
    uint8_t bound_name[FILE_NAME_MAX + 2];
    level->window.count = level->window.names_size = level->next = 0;
    level->more = false;
    free(level->sizes);
    level->sizes = NULL;
    if (lseek(level->fd, 0, SEEK_SET) < 0)
        return rh_fail_errno(ctx->err, errno, "read folder '%s'", RH_SHOW(rh_bytes(scan->path, level->prefix)));
    for (;;) {
        enum rh_status status = rh_ctx_check(ctx);
        if (status != RH_OK)
            return status;
        ssize_t got = getdents64(level->fd, scan->listing, LISTING_BYTES);
        if (got == 0)
            break;
        if (got < 0) /* ENOENT: the folder was removed under us */
            return rh_fail_errno(ctx->err, errno, "read folder '%s'", RH_SHOW(rh_bytes(scan->path, level->prefix)));
        status = take_listing(ctx, scan, level, (size_t)got, &bound, bound_name);
        if (status != RH_OK)
            return status;
    }
    if (level->window.count)
        qsort_r(level->window.order, level->window.count, sizeof(uint32_t), order_compare, &level->window);
    if (level->more) {
        level->last = window_item(&level->window, level->window.order[level->window.count - 1]);
        memcpy(level->last_name, level->last.name.data, level->last.name.size);
        level->last.name.data = level->last_name;
        level->has_last = true;
    }
    if (scan->flags & RH_SCAN_KEYS_ONLY)
        level_sizes(level);
    return RH_OK;
}

/* --- levels --- */

static void level_close(struct file_scan *scan)
{
    struct level *level = scan->levels[--scan->depth];
    if (level->fd >= 0)
        close(level->fd);
    level->fd = -1;
    free(level->sizes);
    level->sizes = NULL;
    if (window_bytes(&level->window) > WINDOW_KEPT)
        window_done(&level->window);
}

/* Goes down into an open folder whose path is scan->path[0..path_size); takes the descriptor. */
static enum rh_status level_open(struct rh_ctx *ctx, struct file_scan *scan, int fd)
{
    size_t used = 0;
    for (size_t i = 0; i < scan->depth; i++)
        used += window_bytes(&scan->levels[i]->window);
    if (scan->depth > FILE_DEPTH_MAX) {
        close(fd);
        return rh_fail(ctx->err, RH_E_REFUSED, "read folder '%s': folders are nested more than %d deep",
                       RH_SHOW(rh_bytes(scan->path, scan->path_size)), FILE_DEPTH_MAX);
    }
    if (!scan->levels[scan->depth])
        scan->levels[scan->depth] = calloc(1, sizeof(struct level));
    struct level *level = scan->levels[scan->depth];
    if (!level) {
        close(fd);
        return rh_fail_memory(ctx->err);
    }
    scan->depth++;
    level->fd = fd;
    level->prefix = scan->path_size;
    level->has_last = false;
    level->limit = used < WINDOW_TOTAL ? (WINDOW_TOTAL - used) / 2 : 0;
    level->limit = level->limit < WINDOW_LEAST ? WINDOW_LEAST : level->limit;
    return level_fill(ctx, scan, level);
}

/* A folder in the current one: down into it. */
static enum rh_status enter_folder(struct rh_ctx *ctx, struct file_scan *scan, struct level *level, struct item item)
{
    char name[FILE_NAME_MAX + 1];
    memcpy(name, item.name.data, item.name.size - 1);
    name[item.name.size - 1] = '\0';
    if (level->prefix + item.name.size > sizeof(scan->path))
        return rh_fail(ctx->err, RH_E_REFUSED, "read folder '%s' in '%s': the path is too long",
                       RH_SHOW(rh_bytes_text(name)), RH_SHOW(rh_bytes(scan->path, level->prefix)));
    memcpy(scan->path + level->prefix, item.name.data, item.name.size);
    scan->path_size = level->prefix + item.name.size;
    struct rh_bytes path = rh_bytes(scan->path, scan->path_size);
    int fd = openat(level->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return level_open(ctx, scan, fd);
    if (errno == ENOENT && rh_bytes_equal(path, rh_bytes_text(FILE_TEMP_DIR "/")))
        return RH_OK; /* a writer of ours has just removed it */
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return rh_fail(ctx->err, RH_E_IO, "open folder '%s': the store changed while it was read", RH_SHOW(path));
    return rh_fail_errno(ctx->err, errno, "open folder '%s'", RH_SHOW(path));
}

/* --- items --- */

/* Something that is no record: refuses, or warns and lets the scan go on. `path` is for people. */
static enum rh_status refuse_find(struct rh_ctx *ctx, struct file_scan *scan, struct rh_bytes path, enum kind kind)
{
    const struct file_store *store = (struct file_store *)scan->base.session->store;
    const char *why = kind == KIND_TEMP      ? "it is left over from a write that was interrupted"
                      : kind == KIND_FOREIGN ? "it is no file of Vault's"
                      : kind == KIND_OTHER   ? "it is neither a plain file nor a folder"
                                             : "it is empty, which Vault takes for absent";
    if (store->leftovers != FILE_LEFTOVERS_REFUSE) {
        file_warn_skipped(path, why);
        return RH_OK;
    }
    enum rh_status status = rh_fail(ctx->err, RH_E_REFUSED, "read '%s': %s", RH_SHOW(path), why);
    rh_error_hint(ctx->err, kind == KIND_TEMP ? "remove it, or set leftovers = \"skip\" or \"copy\""
                                              : "remove it, or set leftovers = \"skip\"");
    return status;
}

/* A record without its value. RH_END: the file is empty. */
static enum rh_status add_key(struct rh_ctx *ctx,
                              struct file_scan *scan,
                              const struct level *level,
                              const char *name,
                              struct rh_bytes key,
                              struct rh_batch *batch)
{
    struct stat st = {.st_size = level->sizes ? level->sizes[level->next - 1] : SIZE_UNKNOWN, .st_mode = S_IFREG};
    if (st.st_size == SIZE_UNKNOWN && fstatat(level->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? RH_NOT_FOUND
                               : rh_fail_errno(ctx->err, errno, "look at the file of '%s'", RH_SHOW(key));
    if (!S_ISREG(st.st_mode))
        return RH_NOT_FOUND;
    if (st.st_size == 0)
        return RH_END;
    struct rh_bytes copy = rh_arena_copy(&batch->arena, key);
    struct rh_record *record = copy.data ? rh_batch_add(batch) : NULL;
    if (!record)
        return rh_fail_memory(ctx->err);
    record->key = copy;
    record->value_bytes = scan->flags & RH_SCAN_SIZES ? rh_file_entry_bound((uint64_t)st.st_size) : 0;
    batch->bytes += key.size;
    return RH_OK;
}

/* A file that is a record by its name. */
static enum rh_status
take_record(struct rh_ctx *ctx, struct file_scan *scan, struct level *level, struct item item, struct rh_batch *batch)
{
    char name[FILE_NAME_MAX + 2];
    uint8_t whole[PATH_MAX + FILE_NAME_MAX + 2];
    enum rh_status status;
    file_name_of(item, name);
    memcpy(whole, scan->path, level->prefix);
    memcpy(whole + level->prefix, item.name.data, item.name.size);
    struct rh_bytes key = rh_bytes(whole, level->prefix + item.name.size);
    if (scan->flags & RH_SCAN_KEYS_ONLY)
        status = add_key(ctx, scan, level, name, key, batch);
    else
        status = file_read_record(scan_session(scan), level->fd, name, key, batch, ctx->err);
    if (status == RH_NOT_FOUND)
        return rh_fail(ctx->err, RH_E_IO, "read '%s': the store changed while it was read", RH_SHOW(key));
    if (status == RH_END)
        return refuse_find(ctx, scan, key, item.kind);
    return status;
}

/* Any name that the walk comes to. */
static enum rh_status
take_item(struct rh_ctx *ctx, struct file_scan *scan, struct level *level, struct item item, struct rh_batch *batch)
{
    const struct file_store *store = (struct file_store *)scan->base.session->store;
    uint8_t path[PATH_MAX + FILE_NAME_MAX + 2];
    size_t size = level->prefix;
    if (item.kind == KIND_FOLDER)
        return enter_folder(ctx, scan, level, item);
    if (item.kind == KIND_KEY || (item.kind == KIND_TEMP && store->leftovers == FILE_LEFTOVERS_COPY))
        return take_record(ctx, scan, level, item, batch);
    memcpy(path, scan->path, size);
    if (item.kind == KIND_TEMP)
        path[size++] = '_';
    memcpy(path + size, item.name.data, item.name.size);
    return refuse_find(ctx, scan, rh_bytes(path, size + item.name.size), item.kind);
}

/* --- the interface --- */

static void file_scan_close(struct rh_scan *base)
{
    struct file_scan *scan = (struct file_scan *)base;
    if (!scan)
        return;
    while (scan->depth)
        level_close(scan);
    for (size_t i = 0; i <= FILE_DEPTH_MAX && scan->levels[i]; i++) {
        window_done(&scan->levels[i]->window);
        free(scan->levels[i]);
    }
    rh_buf_done(&scan->from);
    rh_buf_done(&scan->to);
    rh_buf_done(&scan->after);
    free(scan->listing);
    free(scan);
}

/* Copies the bounds and goes into the root folder. */
static enum rh_status
scan_start(struct rh_ctx *ctx, struct file_scan *scan, struct rh_range range, struct rh_bytes after)
{
    const struct file_store *store = (struct file_store *)scan->base.session->store;
    enum rh_status status = file_root(scan_session(scan), ctx->err);
    if (status == RH_NOT_FOUND)
        return rh_fail(ctx->err, RH_E_IO, "read folder '%s': it does not exist", RH_SHOW(rh_bytes_text(store->path)));
    if (status == RH_OK)
        status = rh_buf_add(&scan->from, range.from.data, range.from.size, ctx->err);
    if (status == RH_OK)
        status = rh_buf_add(&scan->to, range.to.data, range.to.size, ctx->err);
    if (status == RH_OK)
        status = rh_buf_add(&scan->after, after.data, after.size, ctx->err);
    if (status != RH_OK)
        return status;
    scan->listing = malloc(LISTING_BYTES);
    if (!scan->listing)
        return rh_fail_memory(ctx->err);
    int fd = openat(scan_session(scan)->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(ctx->err, errno, "open folder '%s'", RH_SHOW(rh_bytes_text(store->path)));
    return level_open(ctx, scan, fd);
}

static enum rh_status file_scan_open(struct rh_ctx *ctx,
                                     struct rh_session *session,
                                     const struct rh_dataset *dataset,
                                     struct rh_range range,
                                     struct rh_bytes after,
                                     unsigned flags,
                                     struct rh_scan **ret_scan)
{
    (void)dataset;
    struct file_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return rh_fail_memory(ctx->err);
    scan->base.session = session;
    scan->flags = flags;
    enum rh_status status = scan_start(ctx, scan, range, after);
    if (status != RH_OK) {
        file_scan_close(&scan->base);
        return status;
    }
    *ret_scan = &scan->base;
    return RH_OK;
}

static enum rh_status
file_scan_next(struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct file_scan *scan = (struct file_scan *)base;
    enum rh_status status = RH_OK;
    if (scan->failed)
        return rh_fail(ctx->err, RH_E_INTERNAL, "scan: it has failed before");
    for (unsigned steps = 0; scan->depth && status == RH_OK; steps++) {
        struct level *level = scan->levels[scan->depth - 1];
        if (batch->count && (batch->bytes >= want_bytes || batch->count >= want_records))
            return RH_OK;
        if (steps % 64 == 0)
            status = rh_ctx_check(ctx);
        if (status != RH_OK)
            break;
        if (level->next < level->window.count)
            status =
                take_item(ctx, scan, level, window_item(&level->window, level->window.order[level->next++]), batch);
        else if (level->more)
            status = level_fill(ctx, scan, level);
        else
            level_close(scan);
    }
    if (status != RH_OK) {
        scan->failed = true;
        return status;
    }
    return batch->count ? RH_OK : RH_END;
}

static enum rh_status file_get(struct rh_ctx *ctx,
                               struct rh_session *base,
                               const struct rh_dataset *dataset,
                               const struct rh_bytes *keys,
                               size_t count,
                               struct rh_batch *out)
{
    struct file_session *session = (struct file_session *)base;
    (void)dataset;
    enum rh_status status = file_root(session, ctx->err);
    if (status != RH_OK)
        return status == RH_NOT_FOUND ? RH_OK : status; /* no folder, no records */
    file_dir_forget(session);
    for (size_t i = 0; i < count && !rh_batch_has_enough(out); i++) {
        status = i % 64 == 0 ? rh_ctx_check(ctx) : RH_OK;
        if (status == RH_OK)
            status = file_get_record(session, keys[i], out, ctx->err);
        if (status != RH_OK && status != RH_NOT_FOUND)
            return status;
    }
    return RH_OK;
}

const struct rh_read_ops file_read_ops = {.datasets = rh_kv_datasets,
                                          .scan_open = file_scan_open,
                                          .scan_next = file_scan_next,
                                          .scan_close = file_scan_close,
                                          .get = file_get};
