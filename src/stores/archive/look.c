/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at an archive file: from outside, with its key, and at every record of it. */
#include "format.h"

#include <rehome/archive.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECK_BYTES = 1024 * 1024 };

/* Whether the head of the last frame, by the file's size, says that it is the last. */
static enum rh_status look_at_end(int fd, const struct rh_seal_info *seal, bool *ret_ends, struct rh_error *err)
{
    struct stat st;
    uint8_t head[8];
    *ret_ends = false;
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "looking at the file's size");
    const uint64_t full = (uint64_t)seal->first_frame_bytes + ARCHIVE_FRAME_EXTRA;
    const uint64_t size = (uint64_t)st.st_size > seal->header_bytes ? (uint64_t)st.st_size - seal->header_bytes : 0;
    if (!seal->has_frame || size == 0)
        return RH_OK;
    const uint64_t rest = size % full ? size % full : full;
    if (pread(fd, head, sizeof head, (off_t)((uint64_t)st.st_size - rest)) != (ssize_t)sizeof head)
        return RH_OK;
    struct rh_cursor cur = rh_cursor(rh_bytes(head, sizeof head));
    const uint64_t plain = rh_cursor_u32be(&cur);
    *ret_ends = rh_cursor_u32be(&cur) == 1 && plain + ARCHIVE_FRAME_EXTRA == rest;
    return RH_OK;
}

/* Every record of a dataset; the walk compares number and sum at its end. */
static enum rh_status check_dataset(struct archive_reader *reader, uint32_t dataset, struct rh_error *err)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    struct archive_walk walk;
    struct archive_found found;
    enum rh_status status = archive_walk_open(&walk, reader, dataset, (struct rh_bytes){0}, err);
    while (status == RH_OK && (status = archive_walk_next(&walk, &found, err)) == RH_OK) {
        if (batch.bytes > CHECK_BYTES)
            rh_batch_clear(&batch);
        status = archive_walk_take(&walk, &found, &batch, err);
    }
    archive_walk_done(&walk);
    return status == RH_END ? RH_OK : status;
}

enum rh_status rh_archive_look(int fd,
                               const struct rh_seal_info *seal,
                               struct rh_key_provider *provider,
                               bool check,
                               struct rh_archive_info *ret_info,
                               struct rh_error *err)
{
    struct rh_archive_info info = {.chunk_bytes = seal->first_frame_bytes};
    struct archive_reader *reader = NULL;
    enum rh_status status = look_at_end(fd, seal, &info.ends, err);
    if (status != RH_OK || !provider) {
        *ret_info = info;
        return status;
    }
    if (lseek(fd, 0, SEEK_SET) != 0)
        return rh_fail_errno(err, errno, "reading the archive");
    status = archive_reader_open(provider, fd, &reader, err);
    if (status != RH_OK)
        return status;
    const struct archive_head *head = &reader->head;
    info.version = ARCHIVE_VERSION;
    info.chunk_bytes = reader->in.chunk_size;
    snprintf(info.model, sizeof info.model, "%s", head->model);
    snprintf(info.program, sizeof info.program, "%s", head->program);
    info.begun_us = head->begun_us;
    info.ended_us = head->ended_us;
    info.datasets = head->dataset_count;
    for (uint32_t i = 0; i < head->dataset_count; i++) {
        info.records += head->datasets[i].sum.count;
        info.bytes += head->datasets[i].sum.bytes;
        if (status == RH_OK && check)
            status = check_dataset(reader, i, err);
    }
    info.checked = check && status == RH_OK;
    archive_reader_free(reader);
    if (status == RH_OK)
        *ret_info = info;
    return status;
}
