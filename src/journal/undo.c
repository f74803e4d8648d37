/* SPDX-License-Identifier: Apache-2.0 */
/* The undo log: blocks in sealed segments. Format, barriers and what a crash leaves: docs/formats/journal.md, "Undo
 * segments". Locks, in order: the log's mutex, the journal's; a segment's sync mutex, the log's. */
#include "internal.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PURPOSE "undo"
#define SPARE_MAX 16

/* One file being written. It lives until its last user lets go. */
struct segment {
    struct rh_segment_state state; /* id and file; the rest is the journal's */
    int fd;
    struct rh_seal_writer *writer; /* log's mutex */
    uint64_t bytes, frames;        /* written so far; log's mutex */
    unsigned users;                /* log's mutex */
    pthread_mutex_t sync_mutex;
    uint64_t synced; /* bytes known durable; sync mutex */
    int sync_errno;  /* of a failed fdatasync: what it left is unknown for good; sync mutex */
};

struct rh_undo {
    struct rh_journal *journal;
    struct rh_key_provider *provider;
    char *move;
    uint64_t segment_bytes;
    pthread_mutex_t mutex;
    struct segment *current;        /* NULL: the next append begins one */
    struct rh_buf spare[SPARE_MAX]; /* buffers for blocks, kept between appends */
    size_t spare_count;
};

/* Wipes, then frees a buffer that held images. */
static void plain_done(struct rh_buf *buf)
{
    if (buf->data != NULL)
        rh_wipe(buf->data, buf->capacity);
    rh_buf_done(buf);
}
#define auto_plain __attribute__((cleanup(plain_done)))

/* What a segment is bound to. */
static enum rh_status binding_of(
    const struct rh_journal *journal, const char *move, uint64_t segment, struct rh_buf *buf, struct rh_error *err)
{
    enum rh_status status = rh_buf_add(buf, journal->id, sizeof(journal->id), err);
    if (status == RH_OK)
        status = rh_buf_bytes32(buf, rh_bytes_text(journal->name), err);
    if (status == RH_OK)
        status = rh_buf_bytes32(buf, rh_bytes_text(move), err);
    if (status == RH_OK)
        status = rh_buf_u64be(buf, segment, err);
    return status;
}

/* --- writing --- */

enum rh_status rh_undo_open(struct rh_journal *journal,
                            struct rh_key_provider *provider,
                            const char *move,
                            struct rh_undo **ret_undo,
                            struct rh_error *err)
{
    struct rh_undo *undo = calloc(1, sizeof(*undo));
    if (undo == NULL)
        return rh_fail_memory(err);
    undo->move = strdup(move);
    if (undo->move == NULL) {
        free(undo);
        return rh_fail_memory(err);
    }
    undo->journal = journal;
    undo->provider = provider;
    undo->segment_bytes = RH_SEGMENT_BYTES;
    pthread_mutex_init(&undo->mutex, NULL);
    *ret_undo = undo;
    return RH_OK;
}

void rh_undo_segment_bytes(struct rh_undo *undo, uint64_t bytes)
{
    undo->segment_bytes = bytes;
}

/* Closes and frees. NULL is fine. */
static void segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    rh_seal_writer_free(segment->writer);
    rh_auto_fd_(&segment->fd);
    pthread_mutex_destroy(&segment->sync_mutex);
    free(segment);
}

/* One user less. Under the log's mutex. */
static void segment_drop(struct segment *segment)
{
    if (--segment->users == 0)
        segment_free(segment);
}

/* The log lets go of its current segment, with a last frame when it is in order. Under the log's mutex. */
static void current_leave(struct rh_undo *undo, bool in_order)
{
    struct segment *segment = undo->current;
    if (segment == NULL)
        return;
    undo->current = NULL;
    if (in_order) /* best effort: a reader does without the last frame */
        rh_ignore(rh_seal_writer_end(segment->writer, rh_bytes(NULL, 0), NULL));
    segment_drop(segment);
}

/* The file with its header, durable in its folder. */
static enum rh_status segment_make_file(struct rh_undo *undo, struct segment *segment, struct rh_error *err)
{
    struct rh_journal *journal = undo->journal;
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT;
    enum rh_status status = binding_of(journal, undo->move, segment->state.id, &binding, err);
    if (status != RH_OK)
        return status;
    segment->fd =
        openat(journal->dir_fd, segment->state.file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (segment->fd < 0)
        return rh_fail_errno(err, errno, "make the file");
    status = rh_seal_writer_new(undo->provider, segment->fd, PURPOSE, rh_buf_bytes(&binding), &segment->writer, err);
    if (status != RH_OK)
        return status;
    /* The header and the name must be there before the journal says that they are. */
    if (fdatasync(segment->fd) != 0 || fsync(journal->dir_fd) != 0)
        return rh_fail_errno(err, errno, "sync the file");
    segment->bytes = segment->synced = rh_seal_writer_size(segment->writer);
    return RH_OK;
}

/* A new current segment: reserved in the journal, made, confirmed. Under the log's mutex. */
static enum rh_status segment_begin(struct rh_undo *undo, struct rh_error *err)
{
    struct rh_journal *journal = undo->journal;
    struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return rh_fail_memory(err);
    segment->fd = -1;
    segment->users = 1;
    pthread_mutex_init(&segment->sync_mutex, NULL);
    enum rh_status status = rh_journal_segment_add(journal, undo->move, &segment->state, err);
    if (status == RH_OK)
        status = segment_make_file(undo, segment, err);
    if (status == RH_OK)
        status = rh_journal_segment_good(journal, undo->move, segment->state.id, segment->bytes, 0, err);
    if (status == RH_OK) {
        undo->current = segment;
        return RH_OK;
    }
    rh_error_prepend(err, "begin undo segment '%s' in '%s'", segment->state.file, RH_SHOW(rh_bytes_text(journal->dir)));
    segment_free(segment);
    return status;
}

/* Makes `target` bytes of the segment durable; lanes that wait here share one fdatasync. */
static enum rh_status segment_sync(struct rh_undo *undo, struct segment *segment, uint64_t target, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    pthread_mutex_lock(&segment->sync_mutex);
    if (segment->synced < target && segment->sync_errno == 0) {
        pthread_mutex_lock(&undo->mutex);
        uint64_t written = segment->bytes;
        pthread_mutex_unlock(&undo->mutex);
        if (fdatasync(segment->fd) == 0)
            segment->synced = written;
        else
            segment->sync_errno = errno;
    }
    if (segment->synced < target)
        status = rh_fail_errno(err, segment->sync_errno, "sync undo segment '%s' in '%s'", segment->state.file,
                               RH_SHOW(rh_bytes_text(undo->journal->dir)));
    pthread_mutex_unlock(&segment->sync_mutex);
    return status;
}

/* The remedy when the disk is full. */
static void hint_full(const struct rh_undo *undo, enum rh_status status, struct rh_error *err)
{
    if (status == RH_E_FULL)
        rh_error_hint(err, "make room on the file system of '%s', then give the same command again",
                      RH_SHOW(rh_bytes_text(undo->journal->dir)));
}

/* Writes one frame to the current segment; *ret_segment is then used by the caller too. Under the log's mutex. */
static enum rh_status
frame_write(struct rh_undo *undo, struct rh_bytes plain, struct segment **ret_segment, struct rh_error *err)
{
    if (undo->current != NULL && undo->current->bytes > undo->segment_bytes)
        current_leave(undo, true);
    enum rh_status status = undo->current == NULL ? segment_begin(undo, err) : RH_OK;
    if (status != RH_OK)
        return status;
    struct segment *segment = undo->current;
    rh_crash_point("undo");
    status = rh_seal_writer_add(segment->writer, plain, NULL, err);
    if (status != RH_OK) {
        rh_error_prepend(err, "write undo segment '%s' in '%s'", segment->state.file,
                         RH_SHOW(rh_bytes_text(undo->journal->dir)));
        /* The frame may be torn, and nothing behind a torn frame can be read: go on in another file. */
        current_leave(undo, false);
        return status;
    }
    segment->bytes = rh_seal_writer_size(segment->writer);
    segment->frames++;
    segment->users++;
    *ret_segment = segment;
    return RH_OK;
}

/* One frame, durable when it returns. */
static enum rh_status
frame_append(struct rh_undo *undo, struct rh_bytes plain, struct rh_undo_position *position, struct rh_error *err)
{
    struct segment *segment = NULL;
    pthread_mutex_lock(&undo->mutex);
    enum rh_status status = frame_write(undo, plain, &segment, err);
    if (status == RH_OK)
        *position = (struct rh_undo_position){segment->state.id, segment->bytes, segment->frames};
    pthread_mutex_unlock(&undo->mutex);
    if (status == RH_OK) {
        status = segment_sync(undo, segment, position->bytes, err);
        if (status == RH_OK)
            rh_crash_point("undo");
        pthread_mutex_lock(&undo->mutex);
        if (status != RH_OK && undo->current == segment)
            current_leave(undo, false);
        segment_drop(segment);
        pthread_mutex_unlock(&undo->mutex);
    }
    hint_full(undo, status, err);
    return status;
}

/* A buffer for a block, used before if there is one. */
static struct rh_buf spare_take(struct rh_undo *undo)
{
    struct rh_buf buf = rh_buf_limited(RH_SEAL_FRAME_MAX);
    pthread_mutex_lock(&undo->mutex);
    if (undo->spare_count > 0)
        buf = undo->spare[--undo->spare_count];
    pthread_mutex_unlock(&undo->mutex);
    return buf;
}

/* Gives it back. */
static void spare_give(struct rh_undo *undo, struct rh_buf *buf)
{
    rh_buf_clear(buf);
    pthread_mutex_lock(&undo->mutex);
    bool kept = undo->spare_count < SPARE_MAX;
    if (kept)
        undo->spare[undo->spare_count++] = *buf;
    pthread_mutex_unlock(&undo->mutex);
    if (!kept)
        plain_done(buf);
}

enum rh_status rh_undo_append(struct rh_undo *undo,
                              const struct rh_undo_block *block,
                              struct rh_undo_position *ret_position,
                              struct rh_error *err)
{
    struct rh_undo_position position = {0};
    /* A new segment's rows wouldn't be durable before commit, and the order of locks would be upside down. */
    if (atomic_load(&undo->journal->inside_by) == (unsigned long)pthread_self())
        return rh_fail(err, RH_E_INTERNAL, "write an undo block: not between begin and commit of the journal");
    struct rh_buf buf = spare_take(undo);
    enum rh_status status = RH_OK;
    size_t first = 0, taken = 0;
    do {
        rh_buf_clear(&buf);
        status = rh_undo_block_encode(block, first, RH_SEAL_FRAME_MAX, &buf, &taken, err);
        if (status == RH_OK)
            status = frame_append(undo, rh_buf_bytes(&buf), &position, err);
        first += taken;
    } while (status == RH_OK && first < block->count);
    spare_give(undo, &buf);
    if (status == RH_OK)
        *ret_position = position;
    return status;
}

void rh_undo_close(struct rh_undo *undo)
{
    if (undo == NULL)
        return;
    pthread_mutex_lock(&undo->mutex);
    current_leave(undo, true);
    pthread_mutex_unlock(&undo->mutex);
    for (size_t i = 0; i < undo->spare_count; i++)
        plain_done(&undo->spare[i]);
    pthread_mutex_destroy(&undo->mutex);
    free(undo->move);
    free(undo);
}

/* --- reading --- */

/* A move's segments, by id. */
struct list {
    struct rh_segment_state *items;
    size_t count, capacity;
    struct rh_error *err;
};

/* Frees it. */
static void list_done(struct list *list)
{
    free(list->items);
}
#define auto_list __attribute__((cleanup(list_done)))

/* Doubles an array when it is full; false when memory is out. */
static bool grow(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *more = reallocarray(*items, wanted, size);
    if (more == NULL)
        return false;
    *items = more;
    *capacity = wanted;
    return true;
}

/* Keeps one. */
static enum rh_status list_add(void *user, const struct rh_segment_state *segment)
{
    struct list *list = user;
    void *items = list->items;
    if (!grow(&items, list->count, &list->capacity, sizeof(*list->items)))
        return rh_fail_memory(list->err);
    list->items = items;
    list->items[list->count++] = *segment;
    return RH_OK;
}

/* What goes through all segments of a reading. */
struct reading {
    struct rh_journal *journal;
    struct rh_key_provider *provider;
    const char *move;
    enum rh_status (*each)(void *user, const struct rh_undo_block *block);
    void *user;
    struct rh_buf plain; /* one frame */
    struct rh_arena arena;
    uint64_t *offsets; /* of the frames of one segment */
    size_t count, capacity;
    bool called; /* the last status came from `each` */
};

/* Frees it, wiped. */
static void reading_done(struct reading *reading)
{
    plain_done(&reading->plain);
    rh_arena_done(&reading->arena);
    free(reading->offsets);
}

/* Decodes the frame in `plain` and hands it on. An empty one is the last frame, no block. */
static enum rh_status block_give(struct reading *reading, struct rh_error *err)
{
    struct rh_undo_block block;
    reading->called = false;
    if (reading->plain.size == 0)
        return RH_OK;
    rh_arena_clear(&reading->arena);
    enum rh_status status = rh_undo_block_decode(rh_buf_bytes(&reading->plain), &reading->arena, &block, err);
    if (status != RH_OK)
        return status;
    reading->called = true;
    return reading->each(reading->user, &block);
}

/* The next frame, or RH_END where the segment ends: at its last frame, or at what a crash left behind the frames that
 * the journal knows. `number` frames were read so far. */
static enum rh_status frame_next(struct reading *reading,
                                 struct rh_seal_reader *reader,
                                 const struct rh_segment_state *segment,
                                 uint64_t number,
                                 uint64_t *ret_offset,
                                 struct rh_error *err)
{
    struct rh_error own = {0};
    enum rh_status status = rh_seal_reader_next(reader, &reading->plain, ret_offset, &own);
    if (status == RH_OK)
        return RH_OK;
    if (number >= segment->good_frames && (status == RH_END || status == RH_NOT_FOUND || status == RH_E_CORRUPT))
        return RH_END;
    if (status == RH_END || status == RH_NOT_FOUND)
        return rh_fail(err, RH_E_CORRUPT, "it ends after %llu of %llu blocks", (unsigned long long)number,
                       (unsigned long long)segment->good_frames);
    if (err != NULL)
        *err = own;
    return status;
}

/* Oldest first. */
static enum rh_status segment_forwards(struct reading *reading,
                                       struct rh_seal_reader *reader,
                                       const struct rh_segment_state *segment,
                                       struct rh_error *err)
{
    uint64_t offset = 0;
    for (uint64_t number = 0;; number++) {
        enum rh_status status = frame_next(reading, reader, segment, number, &offset, err);
        if (status == RH_OK)
            status = block_give(reading, err);
        if (status != RH_OK)
            return status == RH_END && !reading->called ? RH_OK : status;
        reading->called = false;
    }
}

/* Newest first: the offsets of all frames, which also checks each of them, then one by one from the end. */
static enum rh_status segment_backwards(struct reading *reading,
                                        struct rh_seal_reader *reader,
                                        const struct rh_segment_state *segment,
                                        struct rh_error *err)
{
    enum rh_status status = RH_OK;
    reading->count = 0;
    for (;;) {
        uint64_t offset = 0;
        status = frame_next(reading, reader, segment, reading->count, &offset, err);
        if (status != RH_OK)
            break;
        void *offsets = reading->offsets;
        if (!grow(&offsets, reading->count, &reading->capacity, sizeof(*reading->offsets)))
            return rh_fail_memory(err);
        reading->offsets = offsets;
        reading->offsets[reading->count++] = offset;
    }
    if (status != RH_END)
        return status;
    for (size_t i = reading->count; i-- > 0;) {
        status = rh_seal_reader_at(reader, reading->offsets[i], i, &reading->plain, err);
        if (status == RH_OK)
            status = block_give(reading, err);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* Opens a segment's file, which must be there and as long as the journal knows it. */
static enum rh_status
segment_open(struct rh_journal *journal, const struct rh_segment_state *segment, int *ret_fd, struct rh_error *err)
{
    rh_auto_fd int fd = openat(journal->dir_fd, segment->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return rh_fail(err, RH_E_CORRUPT, "the file is missing");
    if (fd < 0 || fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "open the file");
    if (!S_ISREG(st.st_mode))
        return rh_fail(err, RH_E_CORRUPT, "it is not a regular file");
    if ((uint64_t)st.st_size < segment->good_bytes)
        return rh_fail(err, RH_E_CORRUPT, "it has %llu bytes where the journal knows %llu",
                       (unsigned long long)st.st_size, (unsigned long long)segment->good_bytes);
    *ret_fd = fd;
    fd = -1;
    return RH_OK;
}

/* All blocks of one segment. */
static enum rh_status
segment_read(struct reading *reading, const struct rh_segment_state *segment, bool backwards, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT;
    struct rh_seal_reader *reader = NULL;
    enum rh_status status = segment_open(reading->journal, segment, &fd, err);
    if (status == RH_OK)
        status = binding_of(reading->journal, reading->move, segment->id, &binding, err);
    if (status == RH_OK)
        status = rh_seal_reader_new(reading->provider, fd, PURPOSE, rh_buf_bytes(&binding), &reader, err);
    reading->called = false;
    if (status == RH_OK)
        status = backwards ? segment_backwards(reading, reader, segment, err)
                           : segment_forwards(reading, reader, segment, err);
    rh_seal_reader_free(reader);
    if (rh_failed(status) && !reading->called) {
        rh_error_prepend(err, "read undo segment '%s' in '%s'", segment->file,
                         RH_SHOW(rh_bytes_text(reading->journal->dir)));
        if (status == RH_E_CORRUPT)
            rh_error_hint(err, "restore the file from a copy; without it the way back is lost for what it holds, and "
                               "'rehome recover --abandon' gives it up and clears the markers");
    }
    return status;
}

enum rh_status rh_undo_each(struct rh_journal *journal,
                            struct rh_key_provider *provider,
                            const char *move,
                            bool backwards,
                            enum rh_status (*each)(void *user, const struct rh_undo_block *block),
                            void *user,
                            struct rh_error *err)
{
    auto_list struct list list = {.err = err};
    struct reading reading = {.journal = journal,
                              .provider = provider,
                              .move = move,
                              .each = each,
                              .user = user,
                              .plain = rh_buf_limited(RH_SEAL_FRAME_MAX)};
    enum rh_status status = rh_journal_segments(journal, move, list_add, &list, err);
    for (size_t i = 0; i < list.count && status == RH_OK; i++) {
        const struct rh_segment_state *segment = &list.items[backwards ? list.count - 1 - i : i];
        if (segment->good_bytes > 0) /* else it was never confirmed: no append returned */
            status = segment_read(&reading, segment, backwards, err);
    }
    reading_done(&reading);
    return status;
}

enum rh_status rh_undo_forget(struct rh_journal *journal, const char *move, struct rh_error *err)
{
    auto_list struct list list = {.err = err};
    enum rh_status status = rh_journal_segments(journal, move, list_add, &list, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; i < list.count; i++)
        if (unlinkat(journal->dir_fd, list.items[i].file, 0) != 0 && errno != ENOENT)
            return rh_fail_errno(err, errno, "remove undo segment '%s' in '%s'", list.items[i].file,
                                 RH_SHOW(rh_bytes_text(journal->dir)));
    /* The names must be gone before the journal forgets them, or they would stay for ever. */
    if (list.count > 0 && fsync(journal->dir_fd) != 0)
        return rh_fail_errno(err, errno, "sync state folder '%s'", RH_SHOW(rh_bytes_text(journal->dir)));
    return rh_journal_segments_forget(journal, move, err);
}
