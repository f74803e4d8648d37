/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file layer that drops what was not synced: an LD_PRELOAD library for tests. It keeps a model of the folders
 * named in RH_POWERLOSS_ROOTS (colon list; they must exist when the program starts) that says what a strict POSIX
 * file system would still have after the power failed: a file's content as of its last fsync, a folder's names as of
 * the folder's last fsync. At the chosen sync call the folders are put into that state and the process ends with 137.
 *
 *   RH_POWERLOSS_AT=k|exit   power fails just before the k-th sync call takes effect; or when the program has ended
 *   RH_POWERLOSS_MODE        drop (default): everything unsynced is lost
 *                            prefix: unsynced operations up to a random one survive, in their order
 *                            subset: any unsynced operation may survive, writes page by page
 *   RH_POWERLOSS_SEED=n      for prefix and subset
 *   RH_POWERLOSS_COUNT=file  the number of sync calls so far is kept there
 *   RH_POWERLOSS_LOG=file    what was lost, one line each
 *
 * Not modelled: writes through mmap (SQLite's -shm: removed at the crash, as it is worthless then), fchmod and times.
 * Knowledge: POSIX.1-2017 fsync(), fdatasync(); open(2), rename(2), link(2), syncfs(2) of Linux.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BUCKETS = 4096, PAGE = 4096, ROOTS_MAX = 8, EXIT_POWERLOSS = 137, EXIT_BROKEN = 99 };
enum fate { DROP, PREFIX, SUBSET };

struct node;
struct entry {
    char *name;
    struct node *node;
};

/* A file or folder, and what of it is durable. */
struct node {
    struct node *next; /* in its hash bucket */
    dev_t dev;
    ino_t ino;
    bool dead; /* its last name is gone; the inode number may be used again */
    bool folder;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct entry *entries; /* folder: names that are durable */
    size_t entry_count, entry_room;
    uint8_t *content; /* file: bytes that are durable */
    size_t size, room;
    char *written_at; /* path under which the crash has already made it */
};

/* One operation that isn't durable yet. */
struct op {
    enum { OP_WRITE, OP_TRUNCATE, OP_NAMES } kind;
    struct node *file; /* OP_WRITE, OP_TRUNCATE */
    uint64_t offset;   /* or the new size */
    uint8_t *data;
    size_t size;
    struct node *set_dir, *set_node; /* OP_NAMES: set_name in set_dir becomes set_node ... */
    char *set_name;
    struct node *del_dir; /* ... and del_name vanishes from del_dir; either part may be absent */
    char *del_name;
};

static struct {
    bool on;
    pthread_mutex_t lock;
    struct node *buckets[BUCKETS];
    struct node *roots[ROOTS_MAX];
    char *root_paths[ROOTS_MAX];
    size_t root_count;
    struct op *ops;
    size_t op_count, op_room;
    uint64_t syncs, at;
    bool at_exit;
    enum fate fate;
    uint64_t seed;
    char *count_path, *log_path;
} layer = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread bool inside; /* our own calls pass straight through */

/* --- small things --- */

/* The model can't be trusted any more: end loudly, so that no test passes by accident. */
static void __attribute__((noreturn, format(printf, 1, 2))) broken(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("powerloss: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    syscall(SYS_exit_group, EXIT_BROKEN);
    __builtin_unreachable();
}

static void *grow(void *old, size_t size)
{
    void *new = realloc(old, size ? size : 1);
    if (!new)
        broken("out of memory");
    return new;
}

static char *text_dup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(grow(NULL, size), text, size);
}

static uint64_t next_random(void)
{
    uint64_t z = (layer.seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Takes the lock for an intercepted call; false when the call should pass straight through. */
static bool enter(void)
{
    if (!layer.on || inside)
        return false;
    pthread_mutex_lock(&layer.lock);
    inside = true;
    return true;
}

/* Leaves errno as the real call set it. */
static void leave(void)
{
    int saved = errno;
    inside = false;
    pthread_mutex_unlock(&layer.lock);
    errno = saved;
}

/* --- the model --- */

static struct node *node_find(const struct stat *st)
{
    for (struct node *n = layer.buckets[st->st_ino % BUCKETS]; n; n = n->next)
        if (!n->dead && n->ino == st->st_ino && n->dev == st->st_dev)
            return n;
    return NULL;
}

static struct node *node_new(const struct stat *st)
{
    struct node *n = grow(NULL, sizeof(*n));
    *n = (struct node){.dev = st->st_dev,
                       .ino = st->st_ino,
                       .folder = S_ISDIR(st->st_mode),
                       .mode = st->st_mode & 07777,
                       .uid = st->st_uid,
                       .gid = st->st_gid,
                       .next = layer.buckets[st->st_ino % BUCKETS]};
    layer.buckets[st->st_ino % BUCKETS] = n;
    return n;
}

/* Sets, replaces or (node NULL) removes a durable name. */
static void entry_set(struct node *dir, const char *name, struct node *node)
{
    size_t i = 0;
    while (i < dir->entry_count && strcmp(dir->entries[i].name, name) != 0)
        i++;
    if (i < dir->entry_count && node) {
        dir->entries[i].node = node;
    } else if (i < dir->entry_count) {
        free(dir->entries[i].name);
        dir->entries[i] = dir->entries[--dir->entry_count];
    } else if (node) {
        if (dir->entry_count == dir->entry_room) {
            dir->entry_room = dir->entry_room ? dir->entry_room * 2 : 8;
            dir->entries = grow(dir->entries, dir->entry_room * sizeof(*dir->entries));
        }
        dir->entries[dir->entry_count++] = (struct entry){text_dup(name), node};
    }
}

static void content_resize(struct node *file, uint64_t size)
{
    if (size > file->room) {
        file->room = size + size / 2;
        file->content = grow(file->content, file->room);
    }
    if (size > file->size)
        memset(file->content + file->size, 0, size - file->size);
    file->size = size;
}

static void content_write(struct node *file, uint64_t offset, const uint8_t *data, size_t size)
{
    if (!size)
        return;
    if (offset + size > file->size)
        content_resize(file, offset + size);
    memcpy(file->content + offset, data, size);
}

static struct op *op_add(void)
{
    if (layer.op_count == layer.op_room) {
        layer.op_room = layer.op_room ? layer.op_room * 2 : 256;
        layer.ops = grow(layer.ops, layer.op_room * sizeof(*layer.ops));
    }
    struct op *op = &layer.ops[layer.op_count++];
    memset(op, 0, sizeof(*op));
    return op;
}

static void op_free(struct op *op)
{
    free(op->data);
    free(op->set_name);
    free(op->del_name);
}

static void note_write(struct node *file, uint64_t offset, const void *data, size_t size)
{
    if (!size)
        return;
    struct op *op = op_add();
    op->kind = OP_WRITE;
    op->file = file;
    op->offset = offset;
    op->data = memcpy(grow(NULL, size), data, size);
    op->size = size;
}

static void note_truncate(struct node *file, uint64_t size)
{
    struct op *op = op_add();
    op->kind = OP_TRUNCATE;
    op->file = file;
    op->offset = size;
}

static void note_names(
    struct node *set_dir, const char *set_name, struct node *set_node, struct node *del_dir, const char *del_name)
{
    if (!set_dir && !del_dir)
        return;
    struct op *op = op_add();
    op->kind = OP_NAMES;
    if (set_dir) {
        op->set_dir = set_dir;
        op->set_name = text_dup(set_name);
        op->set_node = set_node;
    }
    if (del_dir) {
        op->del_dir = del_dir;
        op->del_name = text_dup(del_name);
    }
}

/* Makes the parts of an operation durable that concern `node` (NULL: all); true when nothing is left of it. */
static bool op_apply(struct op *op, const struct node *node)
{
    switch (op->kind) {
    case OP_WRITE:
    case OP_TRUNCATE:
        if (node && op->file != node)
            return false;
        if (op->kind == OP_WRITE)
            content_write(op->file, op->offset, op->data, op->size);
        else
            content_resize(op->file, op->offset);
        return true;
    case OP_NAMES:
        if (op->del_dir && (!node || op->del_dir == node)) {
            entry_set(op->del_dir, op->del_name, NULL);
            op->del_dir = NULL;
        }
        if (op->set_dir && (!node || op->set_dir == node)) {
            entry_set(op->set_dir, op->set_name, op->set_node);
            op->set_dir = NULL;
        }
        return !op->set_dir && !op->del_dir;
    }
    return true;
}

/* What a sync of `node` (NULL: of everything) makes durable. */
static void make_durable(const struct node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < layer.op_count; i++) {
        if (op_apply(&layer.ops[i], node))
            op_free(&layer.ops[i]);
        else
            layer.ops[kept++] = layer.ops[i];
    }
    layer.op_count = kept;
}

/* The whole content of an open file. */
static void content_load(struct node *file, int fd)
{
    uint8_t piece[16384];
    uint64_t at = 0;
    ssize_t n;
    while ((n = syscall(SYS_pread64, fd, piece, sizeof(piece), (off_t)at)) > 0) {
        content_write(file, at, piece, (size_t)n);
        at += (uint64_t)n;
    }
    if (n < 0)
        broken("cannot read a file: %s", strerror(errno));
}

/* Takes what lies in a folder at the start as durable. */
static void load_folder(struct node *dir, int dir_fd)
{
    DIR *list = fdopendir(dup(dir_fd));
    if (!list)
        broken("cannot list a folder: %s", strerror(errno));
    for (struct dirent *item; (item = readdir(list));) {
        struct stat st;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (fstatat(dir_fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            broken("cannot stat '%s': %s", item->d_name, strerror(errno));
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
            broken("'%s' is neither file nor folder", item->d_name);
        struct node *node = node_find(&st);
        if (!node) {
            node = node_new(&st);
            int fd = (int)syscall(SYS_openat, dir_fd, item->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
            if (fd < 0)
                broken("cannot open '%s': %s", item->d_name, strerror(errno));
            if (node->folder)
                load_folder(node, fd);
            else
                content_load(node, fd);
            close(fd);
        }
        entry_set(dir, item->d_name, node);
    }
    closedir(list);
}

/* --- the crash --- */

static void __attribute__((format(printf, 2, 3))) log_line(int fd, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (fd >= 0 && n > 0)
        syscall(SYS_write, fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void log_lost(int fd, const struct op *op)
{
    switch (op->kind) {
    case OP_WRITE:
        log_line(fd, "lost: write of %zu bytes at %llu of inode %llu\n", op->size, (unsigned long long)op->offset,
                 (unsigned long long)op->file->ino);
        break;
    case OP_TRUNCATE:
        log_line(fd, "lost: size %llu of inode %llu\n", (unsigned long long)op->offset,
                 (unsigned long long)op->file->ino);
        break;
    case OP_NAMES:
        log_line(fd, "lost: name '%s' (inode %llu) made, name '%s' removed\n", op->set_dir ? op->set_name : "-",
                 (unsigned long long)(op->set_dir && op->set_node ? op->set_node->ino : 0),
                 op->del_dir ? op->del_name : "-");
        break;
    }
}

/* Lets pages of a write survive or not, each by itself, as a disk that writes pages in any order. */
static void apply_torn(const struct op *op)
{
    for (size_t done = 0; done < op->size;) {
        size_t size = PAGE - (size_t)((op->offset + done) % PAGE);
        if (size > op->size - done)
            size = op->size - done;
        if (next_random() & 1)
            content_write(op->file, op->offset + done, op->data + done, size);
        done += size;
    }
}

/* Decides which unsynced operations survive. */
static void choose_survivors(int log_fd)
{
    size_t prefix = layer.fate == PREFIX ? (size_t)(next_random() % (layer.op_count + 1)) : 0;
    for (size_t i = 0; i < layer.op_count; i++) {
        struct op *op = &layer.ops[i];
        bool survives = layer.fate == PREFIX ? i < prefix : layer.fate == SUBSET && (next_random() & 1);
        if (layer.fate == SUBSET && op->kind == OP_WRITE)
            apply_torn(op);
        else if (survives)
            op_apply(op, NULL);
        else
            log_lost(log_fd, op);
    }
    layer.op_count = 0;
}

static void remove_name(int dir_fd, const char *name);

/* Removes all that lies in a folder. */
static void remove_inside(int dir_fd)
{
    DIR *list = fdopendir(dup(dir_fd));
    if (!list)
        broken("cannot list a folder: %s", strerror(errno));
    rewinddir(list);
    for (struct dirent *item; (item = readdir(list));)
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            remove_name(dir_fd, item->d_name);
    closedir(list);
}

/* Removes a file, or a folder with all below it. */
static void remove_name(int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        broken("cannot stat '%s': %s", name, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        int fd = (int)syscall(SYS_openat, dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            broken("cannot open '%s': %s", name, strerror(errno));
        remove_inside(fd);
        close(fd);
    }
    if (syscall(SYS_unlinkat, dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
        broken("cannot remove '%s': %s", name, strerror(errno));
}

/* Gives a file the durable content, in place where it is there already. */
static void put_file(int dir_fd, const char *name, struct node *node, const char *path)
{
    struct stat st;
    bool there = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && (!S_ISREG(st.st_mode) || st.st_nlink > 1 || st.st_ino != node->ino)) {
        remove_name(dir_fd, name);
        there = false;
    }
    if (!there && node->written_at) {
        if (syscall(SYS_linkat, AT_FDCWD, node->written_at, dir_fd, name, 0) < 0)
            broken("cannot link '%s': %s", name, strerror(errno));
        return;
    }
    int fd = (int)syscall(SYS_openat, dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        broken("cannot make '%s': %s", name, strerror(errno));
    for (size_t done = 0; done < node->size;) {
        ssize_t n = syscall(SYS_write, fd, node->content + done, node->size - done);
        if (n < 0)
            broken("cannot write '%s': %s", name, strerror(errno));
        done += (size_t)n;
    }
    if (fchown(fd, node->uid, node->gid) < 0 || fchmod(fd, node->mode) < 0)
        broken("cannot give '%s' its owner and mode: %s", name, strerror(errno));
    close(fd);
    node->written_at = text_dup(path);
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Makes the folder on disk hold exactly the durable names. */
static void put_folder(int dir_fd, struct node *dir, const char *path)
{
    DIR *list = fdopendir(dup(dir_fd));
    if (!list)
        broken("cannot list '%s': %s", path, strerror(errno));
    rewinddir(list);
    for (struct dirent *item; (item = readdir(list));) {
        size_t i = 0;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        while (i < dir->entry_count && strcmp(dir->entries[i].name, item->d_name) != 0)
            i++;
        if (i == dir->entry_count || ends_with(item->d_name, "-shm"))
            remove_name(dir_fd, item->d_name);
    }
    closedir(list);
    for (size_t i = 0; i < dir->entry_count; i++) {
        char below[PATH_MAX];
        const char *name = dir->entries[i].name;
        struct node *node = dir->entries[i].node;
        struct stat st;
        if (ends_with(name, "-shm"))
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, name);
        if (!node->folder) {
            put_file(dir_fd, name, node, below);
            continue;
        }
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
            remove_name(dir_fd, name);
        if (syscall(SYS_mkdirat, dir_fd, name, node->mode) < 0 && errno != EEXIST)
            broken("cannot make folder '%s': %s", below, strerror(errno));
        int fd = (int)syscall(SYS_openat, dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            broken("cannot open '%s': %s", below, strerror(errno));
        put_folder(fd, node, below);
        close(fd);
    }
}

/* The power fails: the folders get the state that is left. */
static void power_fails(void)
{
    int log_fd = -1;
    if (layer.log_path)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, layer.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_line(log_fd, "power fails before sync %llu, %zu operations in doubt\n", (unsigned long long)layer.syncs,
             layer.op_count);
    choose_survivors(log_fd);
    for (size_t i = 0; i < layer.root_count; i++) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, layer.root_paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            broken("cannot open '%s': %s", layer.root_paths[i], strerror(errno));
        put_folder(fd, layer.roots[i], layer.root_paths[i]);
        close(fd);
    }
}

/* Counts a sync call; doesn't come back from the chosen one. */
static void count_sync(void)
{
    layer.syncs++;
    if (layer.at && layer.syncs == layer.at) {
        power_fails();
        syscall(SYS_exit_group, EXIT_POWERLOSS);
    }
    if (layer.count_path) {
        char text[32];
        int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)layer.syncs);
        int fd = (int)syscall(SYS_openat, AT_FDCWD, layer.count_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || syscall(SYS_write, fd, text, (size_t)n) != n)
            broken("cannot write '%s': %s", layer.count_path, strerror(errno));
        close(fd);
    }
}

/* --- start and end --- */

static void add_root(const char *path)
{
    struct stat st;
    char *real = realpath(path, NULL);
    int fd = real ? (int)syscall(SYS_openat, AT_FDCWD, real, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &st) < 0 || layer.root_count == ROOTS_MAX)
        broken("cannot take '%s' as a root: %s", path, strerror(errno));
    layer.root_paths[layer.root_count] = real;
    layer.roots[layer.root_count] = node_new(&st);
    load_folder(layer.roots[layer.root_count++], fd);
    close(fd);
}

static char *take_env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? text_dup(value) : NULL;
}

__attribute__((constructor)) static void start(void)
{
    char *roots = take_env("RH_POWERLOSS_ROOTS");
    if (!roots)
        return;
    inside = true;
    char *at = take_env("RH_POWERLOSS_AT"), *mode = take_env("RH_POWERLOSS_MODE");
    char *seed = take_env("RH_POWERLOSS_SEED"), *rest = NULL;
    for (char *root = strtok_r(roots, ":", &rest); root; root = strtok_r(NULL, ":", &rest))
        add_root(root);
    layer.at_exit = at && strcmp(at, "exit") == 0;
    layer.at = at && !layer.at_exit ? strtoull(at, NULL, 10) : 0;
    layer.seed = seed ? strtoull(seed, NULL, 10) : 1;
    layer.fate = !mode || strcmp(mode, "drop") == 0 ? DROP : strcmp(mode, "prefix") == 0 ? PREFIX : SUBSET;
    if (layer.fate == SUBSET && strcmp(mode, "subset") != 0)
        broken("unknown RH_POWERLOSS_MODE '%s'", mode);
    layer.count_path = take_env("RH_POWERLOSS_COUNT");
    layer.log_path = take_env("RH_POWERLOSS_LOG");
    /* a child would keep a model of its own that knows nothing of ours */
    unsetenv("LD_PRELOAD");
    unsetenv("RH_POWERLOSS_ROOTS");
    free(roots), free(at), free(mode), free(seed);
    inside = false;
    layer.on = true;
}

__attribute__((destructor)) static void finish(void)
{
    if (layer.at_exit && enter()) {
        power_fails();
        layer.on = false;
        leave();
    }
}

/* --- finding nodes for the intercepted calls --- */

/* Takes a file into the model that came to be behind our back (mkstemp, stdio): nothing of it is durable. */
static struct node *adopt(int fd, const struct stat *st)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0 || st->st_nlink == 0)
        return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    struct stat dir_st;
    if (!slash || slash == path)
        return NULL;
    *slash = '\0';
    if (stat(path, &dir_st) < 0)
        return NULL;
    struct node *dir = node_find(&dir_st);
    if (!dir)
        return NULL;
    struct node *file = node_new(st);
    note_names(dir, slash + 1, file, NULL, NULL);
    struct node now = {0};
    int read_fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (read_fd < 0)
        broken("cannot read '%s': %s", slash + 1, strerror(errno));
    content_load(&now, read_fd);
    close(read_fd);
    note_write(file, 0, now.content, now.size);
    free(now.content);
    return file;
}

/* The node behind a descriptor; NULL when it lies elsewhere. */
static struct node *node_of_fd(int fd)
{
    struct stat st;
    int saved = errno;
    struct node *node = NULL;
    if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        node = node_find(&st);
        if (!node && S_ISREG(st.st_mode))
            node = adopt(fd, &st);
    }
    errno = saved;
    return node;
}

/* The folder that holds a path's last part, and that part; NULL when the folder isn't ours. */
static struct node *parent_of(int dir_fd, const char *path, char name[static NAME_MAX + 1])
{
    char dir[PATH_MAX];
    struct stat st;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t from = length;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (length - from > NAME_MAX || from >= sizeof(dir) || length == from)
        return NULL;
    memcpy(name, path + from, length - from);
    name[length - from] = '\0';
    memcpy(dir, path, from);
    dir[from] = '\0';
    int saved = errno;
    int done = from ? fstatat(dir_fd, dir, &st, 0) : dir_fd == AT_FDCWD ? stat(".", &st) : fstat(dir_fd, &st);
    errno = saved;
    return done == 0 ? node_find(&st) : NULL;
}

/* The node of a name, if there is one and it is ours. */
static struct node *node_of_name(int dir_fd, const char *path, nlink_t *ret_links)
{
    struct stat st;
    int saved = errno;
    bool there = fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved;
    if (!there)
        return NULL;
    if (ret_links)
        *ret_links = st.st_nlink;
    struct node *node = node_find(&st);
    if (!node && S_ISREG(st.st_mode)) {
        int fd = (int)syscall(SYS_openat, dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            node = adopt(fd, &st);
            close(fd);
        }
    }
    errno = saved;
    return node;
}

/* --- the intercepted calls: names --- */

static int open_any(int dir_fd, const char *path, int flags, mode_t mode)
{
    if (!(flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE)
        return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    if (!enter())
        return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    char name[NAME_MAX + 1];
    struct node *dir = (flags & O_CREAT) ? parent_of(dir_fd, path, name) : NULL;
    struct stat st;
    int saved = errno;
    bool was_there = fstatat(dir_fd, path, &st, 0) == 0;
    errno = saved;
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        struct node *node = node_find(&st);
        if (!node && st.st_nlink == 0) {
            node_new(&st);
        } else if (!node && dir && !was_there) {
            node = node_new(&st);
            note_names(dir, name, node, NULL, NULL);
        } else if (node && (flags & O_TRUNC) && was_there) {
            note_truncate(node, 0);
        }
    }
    leave();
    return fd;
}

/* Where the optional mode argument of the open family is. */
#define OPEN_MODE(mode, flags)                                                                                         \
    do {                                                                                                               \
        if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                         \
            va_list args_;                                                                                             \
            va_start(args_, flags);                                                                                    \
            (mode) = va_arg(args_, mode_t);                                                                            \
            va_end(args_);                                                                                             \
        }                                                                                                              \
    } while (0)

#define DEFINE_OPEN(fn)                                                                                                \
    int fn(const char *path, int flags, ...);                                                                          \
    int fn(const char *path, int flags, ...)                                                                           \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        OPEN_MODE(mode, flags);                                                                                        \
        return open_any(AT_FDCWD, path, flags, mode);                                                                  \
    }
#define DEFINE_OPENAT(fn)                                                                                              \
    int fn(int dir_fd, const char *path, int flags, ...);                                                              \
    int fn(int dir_fd, const char *path, int flags, ...)                                                               \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        OPEN_MODE(mode, flags);                                                                                        \
        return open_any(dir_fd, path, flags, mode);                                                                    \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}
int __openat_2(int dir_fd, const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags)
{
    return open_any(dir_fd, path, flags, 0);
}
int __openat64_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags)
{
    return open_any(dir_fd, path, flags, 0);
}
int creat(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode);
int creat64(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    if (!enter())
        return (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    char name[NAME_MAX + 1];
    struct node *dir = parent_of(dir_fd, path, name);
    int rc = (int)syscall(SYS_mkdirat, dir_fd, path, mode);
    struct stat st;
    if (rc == 0 && dir && fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        note_names(dir, name, node_new(&st), NULL, NULL);
    leave();
    return rc;
}
int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    if (!enter())
        return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    char name[NAME_MAX + 1];
    nlink_t links = 0;
    struct node *dir = parent_of(dir_fd, path, name);
    struct node *node = dir ? node_of_name(dir_fd, path, &links) : NULL;
    int rc = (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    if (rc == 0 && dir)
        note_names(NULL, NULL, NULL, dir, name);
    if (rc == 0 && node && (node->folder || links == 1))
        node->dead = true;
    leave();
    return rc;
}
int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int remove(const char *path)
{
    int rc = unlinkat(AT_FDCWD, path, 0);
    return rc < 0 && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : rc;
}

/* Whoever copies so must know another way too: that one is seen here. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    if (!layer.on)
        return syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags);
    errno = ENOSYS;
    return -1;
}

int renameat2(int old_fd, const char *old_path, int new_fd, const char *new_path, unsigned flags)
{
    if (!enter())
        return (int)syscall(SYS_renameat2, old_fd, old_path, new_fd, new_path, flags);
    char old_name[NAME_MAX + 1], new_name[NAME_MAX + 1];
    nlink_t links = 0;
    struct node *old_dir = parent_of(old_fd, old_path, old_name), *new_dir = parent_of(new_fd, new_path, new_name);
    struct node *node = old_dir || new_dir ? node_of_name(old_fd, old_path, NULL) : NULL;
    struct node *over = new_dir ? node_of_name(new_fd, new_path, &links) : NULL;
    if ((old_dir || new_dir) && ((flags & 2 /* RENAME_EXCHANGE */) || !node || !old_dir))
        broken("rename of '%s' is beyond this model", old_path);
    int rc = (int)syscall(SYS_renameat2, old_fd, old_path, new_fd, new_path, flags);
    if (rc == 0 && node != over) {
        note_names(new_dir, new_name, node, old_dir, old_name);
        if (over && (over->folder || links == 1))
            over->dead = true;
    }
    leave();
    return rc;
}
int renameat(int old_fd, const char *old_path, int new_fd, const char *new_path)
{
    return renameat2(old_fd, old_path, new_fd, new_path, 0);
}
int rename(const char *old_path, const char *new_path)
{
    return renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

int linkat(int old_fd, const char *old_path, int new_fd, const char *new_path, int flags)
{
    if (!enter())
        return (int)syscall(SYS_linkat, old_fd, old_path, new_fd, new_path, flags);
    char name[NAME_MAX + 1];
    struct node *dir = parent_of(new_fd, new_path, name);
    if (dir && *old_path)
        node_of_name(old_fd, old_path, NULL); /* takes a file in that we don't know yet */
    int rc = (int)syscall(SYS_linkat, old_fd, old_path, new_fd, new_path, flags);
    if (rc == 0 && dir) {
        struct stat st;
        struct node *node = fstatat(new_fd, new_path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? node_find(&st) : NULL;
        if (!node)
            broken("link to '%s' is beyond this model", old_path);
        note_names(dir, name, node, NULL, NULL);
    }
    leave();
    return rc;
}
int link(const char *old_path, const char *new_path)
{
    return linkat(AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

/* --- the intercepted calls: content --- */

/* True for a regular file; anything else (sockets!) must not wait for our lock. */
static bool regular(int fd)
{
    struct stat st;
    int saved = errno;
    bool yes = layer.on && !inside && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    errno = saved;
    return yes;
}

/* Notes `done` written bytes of the pieces; a write through O_SYNC or O_DSYNC is durable at once. */
static void note_pieces(struct node *node, int fd, uint64_t offset, const struct iovec *pieces, int count, ssize_t done)
{
    size_t left = done > 0 ? (size_t)done : 0;
    for (int i = 0; i < count && left; i++) {
        size_t size = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        note_write(node, offset, pieces[i].iov_base, size);
        offset += size;
        left -= size;
    }
    if (fcntl(fd, F_GETFL) & O_DSYNC)
        make_durable(node);
}

/* The offset a write without one goes to, found after it. */
static uint64_t offset_before(int fd, ssize_t done)
{
    return (uint64_t)(lseek(fd, 0, SEEK_CUR) - (done > 0 ? done : 0));
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (!regular(fd) || !enter())
        return syscall(SYS_writev, fd, pieces, count);
    struct node *node = node_of_fd(fd);
    ssize_t done = syscall(SYS_writev, fd, pieces, count);
    if (node && done > 0)
        note_pieces(node, fd, offset_before(fd, done), pieces, count, done);
    leave();
    return done;
}
ssize_t write(int fd, const void *data, size_t size)
{
    if (!regular(fd))
        return syscall(SYS_write, fd, data, size);
    struct iovec piece = {.iov_len = size};
    memcpy(&piece.iov_base, &data, sizeof(data));
    return writev(fd, &piece, 1);
}

static ssize_t write_at(int fd, const struct iovec *pieces, int count, off_t offset)
{
    if (!regular(fd) || !enter())
        return syscall(SYS_pwritev, fd, pieces, count, offset, 0);
    struct node *node = node_of_fd(fd);
    ssize_t done = syscall(SYS_pwritev, fd, pieces, count, offset, 0);
    if (node && done > 0)
        note_pieces(node, fd, (uint64_t)offset, pieces, count, done);
    leave();
    return done;
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return write_at(fd, pieces, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset);
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return write_at(fd, pieces, count, offset);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    struct iovec piece = {.iov_len = size};
    memcpy(&piece.iov_base, &data, sizeof(data));
    return write_at(fd, &piece, 1, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite(fd, data, size, offset);
}

int ftruncate(int fd, off_t size)
{
    if (!enter())
        return (int)syscall(SYS_ftruncate, fd, size);
    struct node *node = node_of_fd(fd);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && node)
        note_truncate(node, (uint64_t)size);
    leave();
    return rc;
}
int ftruncate64(int fd, off_t size);
int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (!enter())
        return (int)syscall(SYS_fallocate, fd, mode, offset, size);
    struct node *node = node_of_fd(fd);
    int rc = (int)syscall(SYS_fallocate, fd, mode, offset, size);
    struct stat st;
    if (node && mode & ~1 /* FALLOC_FL_KEEP_SIZE */)
        broken("fallocate mode %d is beyond this model", mode);
    if (rc == 0 && node && fstat(fd, &st) == 0)
        note_truncate(node, (uint64_t)st.st_size);
    leave();
    return rc;
}
int fallocate64(int fd, int mode, off_t offset, off_t size);
int fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size)
{
    return fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off_t offset, off_t size);
int posix_fallocate64(int fd, off_t offset, off_t size)
{
    return posix_fallocate(fd, offset, size);
}

/* --- the intercepted calls: syncs --- */

static int sync_fd(int fd, long number)
{
    if (!enter())
        return (int)syscall(number, fd);
    struct node *node = node_of_fd(fd);
    if (node)
        count_sync();
    int rc = (int)syscall(number, fd);
    if (rc == 0 && node)
        make_durable(node);
    leave();
    return rc;
}
int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}
int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}
int syncfs(int fd)
{
    if (!enter())
        return (int)syscall(SYS_syncfs, fd);
    count_sync();
    int rc = (int)syscall(SYS_syncfs, fd);
    if (rc == 0)
        make_durable(NULL);
    leave();
    return rc;
}
void sync(void)
{
    if (!enter()) {
        syscall(SYS_sync);
        return;
    }
    count_sync();
    syscall(SYS_sync);
    make_durable(NULL);
    leave();
}
