/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stood at a destination before our first commit, sealed in the state folder: one file, listed among the move's
 * undo segments and given up with them (docs/formats/journal.md, "What was kept").
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PURPOSE "kept"
enum { FRAME = 1024 * 1024 };

/* What the file is bound to. */
static enum rh_status
binding_of(const struct move_run *move, const char *file, struct rh_buf *buf, struct rh_error *err)
{
    const char *const words[] = {rh_journal_name(move->engine->journal), move->plan->name, file};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < 3; i++)
        status = rh_buf_bytes32(buf, rh_bytes_text(words[i]), err);
    return status;
}

/* The image in frames, from where it lies, and synced. */
static enum rh_status write_image(struct rh_seal_writer *writer, int fd, struct rh_bytes image, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    while (status == RH_OK && image.size > FRAME) {
        status = rh_seal_writer_add(writer, rh_bytes(image.data, FRAME), NULL, err);
        image = rh_bytes(image.data + FRAME, image.size - FRAME);
    }
    if (status == RH_OK)
        status = rh_seal_writer_end(writer, image, err);
    if (status == RH_OK && fsync(fd) != 0)
        status = rh_fail_errno(err, errno, "making it durable");
    return status;
}

/* A new file of that name in the state folder, durable. */
static enum rh_status make_file(struct move_run *move, const char *file, struct rh_bytes image, struct rh_error *err)
{
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT;
    struct rh_seal_writer *writer = NULL;
    rh_auto_fd int folder = open(rh_journal_dir(move->engine->journal), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rh_auto_fd int fd =
        folder < 0 ? -1 : openat(folder, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "making '%s'", RH_SHOW(rh_bytes_text(file)));
    enum rh_status status = binding_of(move, file, &binding, err);
    if (status == RH_OK)
        status = rh_seal_writer_new(move->engine->provider, fd, PURPOSE, rh_buf_bytes(&binding), &writer, err);
    if (status == RH_OK)
        status = write_image(writer, fd, image, err);
    rh_seal_writer_free(writer);
    if (status == RH_OK && fsync(folder) != 0)
        status = rh_fail_errno(err, errno, "making its folder durable");
    return status;
}

enum rh_status kept_put(struct move_run *move, struct rh_bytes image, struct rh_error *err)
{
    rh_auto_buf struct rh_buf known = RH_BUF_INIT;
    struct rh_segment_state segment = {0};
    enum rh_status status = fact_get(move, "whole.kept", &known, err);
    if (status != RH_NOT_FOUND)
        return status;
    rh_crash_point("kept");
    status = rh_journal_segment_add(move->engine->journal, move->plan->name, &segment, err);
    if (status == RH_OK)
        status = make_file(move, segment.file, image, err);
    rh_crash_point("kept");
    if (status != RH_OK)
        return rh_error_prepend(err, "keeping what the destination was");
    return fact_put(move, "whole.kept", segment.file, err);
}

/* All frames into one piece of the arena. */
static enum rh_status read_image(
    struct rh_seal_reader *reader, uint64_t most, struct rh_arena *arena, struct rh_bytes *ret, struct rh_error *err)
{
    struct rh_buf frame = RH_BUF_INIT;
    uint8_t *image = rh_arena_get(arena, (size_t)most);
    size_t size = 0;
    enum rh_status status = image ? RH_OK : rh_fail_memory(err);
    while (status == RH_OK && (status = rh_seal_reader_next(reader, &frame, NULL, err)) == RH_OK) {
        if (frame.size > most - size)
            status = rh_fail(err, RH_E_CORRUPT, "it holds more than its size");
        else if (frame.size) {
            memcpy(image + size, frame.data, frame.size);
            size += frame.size;
        }
    }
    if (frame.data)
        rh_wipe(frame.data, frame.capacity);
    rh_buf_done(&frame);
    if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_CORRUPT, "it was cut");
    if (status != RH_END)
        return status;
    *ret = rh_bytes(image, size);
    return RH_OK;
}

enum rh_status kept_get(struct move_run *move, struct rh_arena *arena, struct rh_bytes *ret_image, struct rh_error *err)
{
    rh_auto_buf struct rh_buf file = RH_BUF_INIT, binding = RH_BUF_INIT;
    struct rh_seal_reader *reader = NULL;
    struct stat st;
    enum rh_status status = fact_get(move, "whole.kept", &file, err);
    if (status != RH_OK)
        return status;
    const char *name = rh_buf_cstr(&file);
    rh_auto_fd int folder = open(rh_journal_dir(move->engine->journal), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rh_auto_fd int fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        status =
            rh_fail_errno(err, errno, "reading what the destination was from '%s/%s'",
                          RH_SHOW(rh_bytes_text(rh_journal_dir(move->engine->journal))), RH_SHOW(rh_bytes_text(name)));
        rh_error_hint(err,
                      "bring the file back from a copy of the state folder; 'rehome recover --abandon' gives the way "
                      "back up");
        return status;
    }
    status = binding_of(move, name, &binding, err);
    if (status == RH_OK)
        status = rh_seal_reader_new(move->engine->provider, fd, PURPOSE, rh_buf_bytes(&binding), &reader, err);
    if (status == RH_OK)
        status = read_image(reader, (uint64_t)st.st_size, arena, ret_image, err);
    rh_seal_reader_free(reader);
    return rh_failed(status)
               ? rh_error_prepend(err, "reading what the destination was from '%s'", RH_SHOW(rh_bytes_text(name)))
               : status;
}
