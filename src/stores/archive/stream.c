/* SPDX-License-Identifier: Apache-2.0 */
/* The stream and its chunks: docs/formats/archive.md, "Chunks". */
#include "format.h"

#include <rehome/base.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const uint8_t archive_head_magic[8] = {'R', 'H', 'A', 'R', 'C', 'H', '\r', '\n'};
const uint8_t archive_tail_magic[8] = {'R', 'H', 'A', 'E', 'N', 'D', '\r', '\n'};

/* --- out --- */

enum rh_status archive_out_open(
    struct archive_out *out, struct rh_key_provider *provider, int fd, size_t chunk_size, struct rh_error *err)
{
    *out = (struct archive_out){.chunk_size = chunk_size};
    out->chunk = malloc(chunk_size);
    if (!out->chunk)
        return rh_fail_memory(err);
    enum rh_status status = rh_seal_writer_new(provider, fd, ARCHIVE_PURPOSE, rh_bytes("", 0), &out->seal, err);
    return status == RH_OK ? rh_seal_writer_hash(out->seal, err) : status;
}

enum rh_status archive_out_put(struct archive_out *out, const void *data, size_t size, struct rh_error *err)
{
    const uint8_t *from = data;
    out->at += size;
    while (size) {
        /* a full chunk goes out when it is known not to be the last */
        if (out->used == out->chunk_size) {
            enum rh_status status = rh_seal_writer_add(out->seal, rh_bytes(out->chunk, out->used), NULL, err);
            if (status != RH_OK)
                return status;
            out->used = 0;
        }
        const size_t room = out->chunk_size - out->used, part = size < room ? size : room;
        memcpy(out->chunk + out->used, from, part);
        out->used += part;
        from += part;
        size -= part;
    }
    return RH_OK;
}

enum rh_status archive_out_end(struct archive_out *out, struct rh_error *err)
{
    return rh_seal_writer_end(out->seal, rh_bytes(out->chunk, out->used), err);
}

void archive_out_done(struct archive_out *out)
{
    rh_seal_writer_free(out->seal);
    if (out->chunk)
        rh_wipe(out->chunk, out->chunk_size);
    free(out->chunk);
    *out = (struct archive_out){0};
}

/* --- in --- */

static enum rh_status unfinished(struct rh_error *err)
{
    rh_fail(err, RH_E_CORRUPT, "reading the archive: it is unfinished, its end is missing");
    rh_error_hint(err, "its writer was stopped before the end, or the file was cut: write or copy it anew");
    return RH_E_CORRUPT;
}

/* The slot of a chunk: the one that holds it, or the oldest. */
static struct archive_chunk *slot_for(struct archive_in *in, uint64_t number)
{
    struct archive_chunk *oldest = &in->chunks[0];
    for (size_t i = 0; i < in->slots; i++) {
        struct archive_chunk *chunk = &in->chunks[i];
        if (chunk->filled && chunk->number == number)
            return chunk;
        if (chunk->used < oldest->used)
            oldest = chunk;
    }
    oldest->filled = false;
    return oldest;
}

/* The next frame of a pipe into the slot. RH_END after the last one. */
static enum rh_status pipe_chunk(struct archive_in *in, struct archive_chunk *chunk, struct rh_error *err)
{
    enum rh_status status = rh_seal_reader_next(in->seal, &chunk->plain, NULL, err);
    if (status == RH_NOT_FOUND)
        return unfinished(err);
    if (status != RH_OK)
        return status;
    const uint64_t end = in->pipe_next * in->chunk_size + chunk->plain.size;
    if (chunk->plain.size == 0 || chunk->plain.size > in->chunk_size || in->size != UINT64_MAX)
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: chunk %llu has a wrong size",
                       (unsigned long long)in->pipe_next);
    if (chunk->plain.size < in->chunk_size)
        in->size = end;
    in->pipe_next++;
    return RH_OK;
}

/* A chunk that isn't in a slot. RH_END: behind the last one. */
static enum rh_status
load(struct archive_in *in, uint64_t number, struct archive_chunk **ret_chunk, struct rh_error *err)
{
    struct archive_chunk *chunk = slot_for(in, number);
    enum rh_status status = RH_OK;
    if (!chunk->filled && in->seekable) {
        const uint64_t offset = in->header_bytes + number * (in->chunk_size + ARCHIVE_FRAME_EXTRA);
        status = rh_seal_reader_at(in->seal, offset, number, &chunk->plain, err);
        if (status == RH_NOT_FOUND)
            return unfinished(err);
        const uint64_t left = in->size - number * in->chunk_size;
        if (status == RH_OK && chunk->plain.size != (left < in->chunk_size ? left : in->chunk_size))
            status = rh_fail(err, RH_E_CORRUPT, "reading the archive: chunk %llu has a wrong size",
                             (unsigned long long)number);
    } else if (!chunk->filled) {
        if (number < in->pipe_next)
            return rh_fail(err, RH_E_INTERNAL, "reading the archive: a pipe can't be read at chunk %llu again",
                           (unsigned long long)number);
        while (status == RH_OK && in->pipe_next <= number) /* what was passed over comes by as well */
            status = pipe_chunk(in, chunk, err);
    }
    if (status != RH_OK)
        return status;
    chunk->number = number;
    chunk->filled = true;
    chunk->used = ++in->clock;
    *ret_chunk = in->last = chunk;
    return RH_OK;
}

enum rh_status archive_in_open(struct archive_in *in, struct rh_key_provider *provider, int fd, struct rh_error *err)
{
    *in = (struct archive_in){.size = UINT64_MAX, .slots = 2, .seekable = lseek(fd, 0, SEEK_CUR) >= 0};
    enum rh_status status = rh_seal_reader_new(provider, fd, ARCHIVE_PURPOSE, rh_bytes("", 0), &in->seal, err);
    if (status != RH_OK)
        return status;
    in->header_bytes = rh_seal_reader_offset(in->seal);
    struct archive_chunk *first = &in->chunks[0];
    status = rh_seal_reader_next(in->seal, &first->plain, NULL, err);
    if (status == RH_NOT_FOUND || status == RH_END)
        return unfinished(err);
    if (status != RH_OK)
        return status;
    if (first->plain.size == 0 || first->plain.size > ARCHIVE_CHUNK_MOST)
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: its first chunk has %zu bytes", first->plain.size);
    first->filled = true;
    first->used = ++in->clock;
    in->last = first;
    in->chunk_size = first->plain.size;
    in->pipe_next = 1;
    return RH_OK;
}

/* The stream's size by the file's, whose last frame must be marked as the last. */
static enum rh_status find_end(struct archive_in *in, int fd, struct rh_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return rh_fail(err, RH_E_IO, "looking at the archive's size failed");
    const uint64_t full = in->chunk_size + ARCHIVE_FRAME_EXTRA;
    const uint64_t body = (uint64_t)st.st_size > in->header_bytes ? (uint64_t)st.st_size - in->header_bytes : 0;
    const uint64_t rest = body % full, last = rest ? body / full : body / full - 1;
    if (body == 0 || (rest && rest <= ARCHIVE_FRAME_EXTRA))
        return unfinished(err);
    in->size = body / full * in->chunk_size + (rest ? rest - ARCHIVE_FRAME_EXTRA : 0);
    struct archive_chunk *chunk;
    if (in->chunks[0].plain.size != (last ? in->chunk_size : in->size))
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: its first chunk has a wrong size");
    if (last == 0) /* read once more, so that the seal stands behind it */
        in->chunks[0].filled = false;
    enum rh_status status = load(in, last, &chunk, err);
    if (status != RH_OK)
        return status;
    rh_auto_buf struct rh_buf none = RH_BUF_INIT;
    status = rh_seal_reader_next(in->seal, &none, NULL, err);
    if (status == RH_NOT_FOUND)
        return unfinished(err);
    return status == RH_END    ? RH_OK
           : rh_failed(status) ? status
                               : rh_fail(err, RH_E_CORRUPT, "reading the archive: there is more behind its end");
}

enum rh_status archive_in_sized(struct archive_in *in, int fd, uint64_t chunk_size, struct rh_error *err)
{
    const size_t first = in->chunks[0].plain.size;
    if (chunk_size < ARCHIVE_CHUNK_LEAST || chunk_size > ARCHIVE_CHUNK_MOST || first > chunk_size)
        return rh_fail(err, RH_E_CORRUPT, "reading the archive: a chunk size of %llu is out of bounds",
                       (unsigned long long)chunk_size);
    in->chunk_size = (size_t)chunk_size;
    const size_t slots = (1024 * 1024) / in->chunk_size;
    in->slots = slots < 2 ? 2 : slots > ARCHIVE_CHUNKS ? ARCHIVE_CHUNKS : slots;
    if (in->seekable)
        return find_end(in, fd, err);
    if (first < chunk_size)
        in->size = first;
    return RH_OK;
}

enum rh_status archive_in_read(struct archive_in *in, uint64_t offset, void *out, size_t size, struct rh_error *err)
{
    uint8_t *to = out;
    while (size) {
        const uint64_t number = offset / in->chunk_size;
        struct archive_chunk *chunk = in->last;
        if (offset >= in->size)
            return rh_fail(err, RH_E_CORRUPT, "reading the archive: something reaches behind its end");
        if (chunk->number != number || !chunk->filled) {
            enum rh_status status = load(in, number, &chunk, err);
            if (status == RH_END)
                return rh_fail(err, RH_E_CORRUPT, "reading the archive: something reaches behind its end");
            if (status != RH_OK)
                return status;
        }
        const size_t within = (size_t)(offset % in->chunk_size);
        if (within >= chunk->plain.size)
            return rh_fail(err, RH_E_CORRUPT, "reading the archive: something reaches behind its end");
        const size_t have = chunk->plain.size - within, part = size < have ? size : have;
        memcpy(to, chunk->plain.data + within, part);
        to += part;
        offset += part;
        size -= part;
    }
    return RH_OK;
}

enum rh_status archive_in_ends(struct archive_in *in, uint64_t offset, bool *ret_ends, struct rh_error *err)
{
    *ret_ends = false;
    if (in->seekable) {
        *ret_ends = offset == in->size;
        return RH_OK;
    }
    if (offset != (in->size != UINT64_MAX ? in->size : in->pipe_next * in->chunk_size))
        return RH_OK;
    /* all that a pipe gave is read; the seal says whether that was the last of it */
    rh_auto_buf struct rh_buf more = RH_BUF_INIT;
    enum rh_status status = rh_seal_reader_next(in->seal, &more, NULL, err);
    if (status == RH_NOT_FOUND)
        return unfinished(err);
    *ret_ends = status == RH_END;
    return status == RH_END ? RH_OK : status;
}

void archive_in_done(struct archive_in *in)
{
    for (size_t i = 0; i < ARCHIVE_CHUNKS; i++) {
        if (in->chunks[i].plain.data)
            rh_wipe(in->chunks[i].plain.data, in->chunks[i].plain.capacity);
        rh_buf_done(&in->chunks[i].plain);
    }
    rh_seal_reader_free(in->seal);
    *in = (struct archive_in){0};
}
