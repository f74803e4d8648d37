/* SPDX-License-Identifier: Apache-2.0 */
/* One file: what it is, which key it needs, whether the keyring has it and whether that opens it. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Reads what there is at a place, at most `size` bytes; less at the file's end. */
static enum rh_status read_at(int fd, size_t at, uint8_t *out, size_t size, size_t *ret_size, struct rh_error *err)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t got = pread(fd, out + done, size - done, (off_t)(at + done));
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "reading it");
        done += (size_t)got;
    }
    *ret_size = done;
    return RH_OK;
}

/* Counts a file and hands it on. */
static enum rh_status tell(struct proof_run *run,
                           const struct proof_file *file,
                           enum rh_proof_kind kind,
                           enum rh_proof_result result,
                           const char *key_id,
                           const char *why,
                           struct rh_error *err)
{
    const struct rh_proof_item item = {
        .kind = kind,
        .result = result,
        .undo = file->undo,
        .name = file->name,
        .path = file->path,
        .key_id = key_id,
        .why = why,
    };
    struct rh_proof_counts *counts = &run->counts;
    counts->files++;
    counts->encrypted += key_id[0] != '\0' || result == RH_PROOF_UNREADABLE || result == RH_PROOF_UNPROVEN;
    counts->opened += result == RH_PROOF_OPENS;
    counts->failed += result >= RH_PROOF_MISSING;
    return run->args->found(run->args->user, &item, err);
}

static enum rh_status unreadable(struct proof_run *run,
                                 const struct proof_file *file,
                                 enum rh_proof_kind kind,
                                 const char *why,
                                 struct rh_error *err)
{
    return tell(run, file, kind, RH_PROOF_UNREADABLE, "", why, err);
}

/* A first page that says nothing yet: a server that is at work writes it later. */
static enum rh_status
unwritten(struct proof_run *run, const struct proof_file *file, const char *why, struct rh_error *err)
{
    return run->counts.server ? tell(run, file, RH_PROOF_TABLESPACE, RH_PROOF_UNPROVEN, "", why, err)
                              : unreadable(run, file, RH_PROOF_TABLESPACE, why, err);
}

/* Whether there is nothing but zeros, or nothing at all. */
static bool is_blank(struct rh_bytes head)
{
    for (size_t i = 0; i < head.size; i++)
        if (head.data[i])
            return false;
    return true;
}

/* --- encryption info --- */

/* Tries one key by its id. RH_OK, RH_CHANGED, RH_NOT_FOUND. */
static enum rh_status try_id(struct proof_run *run, const struct proof_info *info, const char *id, struct rh_error *err)
{
    const struct rh_secret *key = NULL;
    enum rh_status status = proof_keys_get(&run->keys, id, &key, err);
    return status == RH_OK ? proof_info_try(info, rh_secret_bytes(key), err) : status;
}

/* Version 1 doesn't name its server: any InnoDB master key of that number will do that opens it. */
struct unnamed {
    struct proof_run *run;
    const struct proof_info *info;
    char id[PROOF_ID_MOST];
    enum rh_status best; /* RH_NOT_FOUND, then RH_CHANGED, then RH_OK */
};
static enum rh_status try_unnamed(void *user, struct rh_bytes id, struct rh_error *err)
{
    struct unnamed *unnamed = user;
    char tail[16], text[PROOF_ID_MOST];
    const int tail_size = snprintf(tail, sizeof tail, "-%u", unnamed->info->master);
    if (unnamed->best == RH_OK || id.size >= sizeof text || id.size < (size_t)tail_size ||
        memcmp(id.data + id.size - (size_t)tail_size, tail, (size_t)tail_size) != 0)
        return RH_OK;
    memcpy(text, id.data, id.size);
    text[id.size] = '\0';
    const enum rh_status status = try_id(unnamed->run, unnamed->info, text, err);
    if (rh_failed(status))
        return status;
    if (status == RH_OK || unnamed->best == RH_NOT_FOUND) {
        unnamed->best = status;
        memcpy(unnamed->id, text, sizeof text);
    }
    return RH_OK;
}

/* Tries the key that encryption info names; fills its id. RH_OK, RH_CHANGED, RH_NOT_FOUND. */
static enum rh_status
try_info(struct proof_run *run, const struct proof_info *info, char id[static PROOF_ID_MOST], struct rh_error *err)
{
    if (info->version == 1) {
        struct unnamed unnamed = {.run = run, .info = info, .best = RH_NOT_FOUND};
        snprintf(unnamed.id, sizeof unnamed.id, "INNODBKey-?-%u", info->master);
        enum rh_status status = run->args->ids(run->args->user, "INNODBKey-", try_unnamed, &unnamed, err);
        memcpy(id, unnamed.id, PROOF_ID_MOST);
        return status == RH_OK ? unnamed.best : status;
    }
    if (info->master == 0) {
        snprintf(id, PROOF_ID_MOST, "the fixed key of a server that is being made");
        return proof_info_try(info, proof_default_key(), err);
    }
    snprintf(id, PROOF_ID_MOST, "INNODBKey-%s-%u", info->uuid, info->master);
    return try_id(run, info, id, err);
}

/* Judges by encryption info. */
static enum rh_status judge_info(struct proof_run *run,
                                 const struct proof_file *file,
                                 enum rh_proof_kind kind,
                                 const struct proof_info *info,
                                 struct rh_error *err)
{
    char id[PROOF_ID_MOST];
    const enum rh_status status = try_info(run, info, id, err);
    if (rh_failed(status))
        return status;
    return tell(run, file, kind,
                status == RH_OK          ? RH_PROOF_OPENS
                : status == RH_NOT_FOUND ? RH_PROOF_MISSING
                                         : RH_PROOF_WRONG,
                id, "", err);
}

/* --- files --- */

enum rh_status proof_judge_tablespace(struct proof_run *run, const struct proof_file *file, struct rh_error *err)
{
    uint8_t head[PROOF_PAGE_HEAD], bytes[PROOF_INFO_MOST];
    struct rh_error why = {0};
    struct proof_info info;
    size_t size = 0, info_at = 0;
    bool encrypted = false;
    if (read_at(file->fd, 0, head, sizeof head, &size, &why) != RH_OK)
        return unreadable(run, file, RH_PROOF_TABLESPACE, why.text, err);
    if (is_blank(rh_bytes(head, size)))
        return unwritten(run, file, "there is nothing yet in its first page", err);
    if (proof_page_is_fresh(rh_bytes(head, size), &encrypted))
        return encrypted ? unwritten(run, file, "the greater part of its first page isn't written yet", err)
                         : tell(run, file, RH_PROOF_TABLESPACE, RH_PROOF_PLAIN, "", "", err);
    if (proof_page_parse(rh_bytes(head, size), &info_at, &encrypted) != RH_OK)
        return unreadable(run, file, RH_PROOF_TABLESPACE, "it doesn't begin as a tablespace of MySQL does", err);
    if (read_at(file->fd, info_at, bytes, sizeof bytes, &size, &why) != RH_OK)
        return unreadable(run, file, RH_PROOF_TABLESPACE, why.text, err);
    if (proof_info_parse(rh_bytes(bytes, size), &info) != RH_OK)
        return unreadable(run, file, RH_PROOF_TABLESPACE, "its first page is cut or spoilt", err);
    if (info.version)
        return judge_info(run, file, RH_PROOF_TABLESPACE, &info, err);
    if (encrypted)
        return unwritten(run, file, "its first page says that it is encrypted, but not under which key", err);
    return tell(run, file, RH_PROOF_TABLESPACE, RH_PROOF_PLAIN, "", "", err);
}

enum rh_status proof_judge_redo(struct proof_run *run, const struct proof_file *file, struct rh_error *err)
{
    uint8_t head[PROOF_REDO_HEAD];
    struct rh_error why = {0};
    struct proof_info info;
    size_t size = 0;
    if (read_at(file->fd, 0, head, sizeof head, &size, &why) != RH_OK)
        return unreadable(run, file, RH_PROOF_REDO, why.text, err);
    if (proof_redo_parse(rh_bytes(head, size), &info) != RH_OK)
        return unreadable(run, file, RH_PROOF_REDO, "its head is cut or spoilt", err);
    if (info.version)
        return judge_info(run, file, RH_PROOF_REDO, &info, err);
    return tell(run, file, RH_PROOF_REDO, RH_PROOF_PLAIN, "", "", err);
}

/* An encrypted binary log whose head is read; `first` are the bytes behind it. */
static enum rh_status judge_binlog(struct proof_run *run,
                                   const struct proof_file *file,
                                   struct rh_bytes head,
                                   struct rh_bytes first,
                                   struct rh_error *err)
{
    struct proof_binlog binlog;
    const struct rh_secret *key = NULL;
    if (proof_binlog_parse(head, &binlog) != RH_OK)
        return unreadable(run, file, RH_PROOF_BINLOG, "its head is cut or spoilt", err);
    enum rh_status status = proof_keys_get(&run->keys, binlog.key_id, &key, err);
    if (status == RH_NOT_FOUND)
        return tell(run, file, RH_PROOF_BINLOG, RH_PROOF_MISSING, binlog.key_id, "", err);
    if (status != RH_OK)
        return status;
    if (first.size < PROOF_BINLOG_FIRST)
        return tell(run, file, RH_PROOF_BINLOG, RH_PROOF_UNPROVEN, binlog.key_id, "", err);
    status = proof_binlog_try(&binlog, first, rh_secret_bytes(key), err);
    if (rh_failed(status))
        return status;
    return tell(run, file, RH_PROOF_BINLOG, status == RH_OK ? RH_PROOF_OPENS : RH_PROOF_WRONG, binlog.key_id, "", err);
}

enum rh_status proof_judge_other(struct proof_run *run, const struct proof_file *file, struct rh_error *err)
{
    uint8_t head[PROOF_BINLOG_HEAD + PROOF_BINLOG_FIRST];
    struct rh_error why = {0};
    size_t size = 0;
    /* a file that may be anything, and can't be read: there's no telling whether it matters */
    if (read_at(file->fd, 0, head, sizeof head, &size, &why) != RH_OK)
        return unreadable(run, file, RH_PROOF_BINLOG, why.text, err);
    const struct rh_bytes all = rh_bytes(head, size);
    if (proof_is_plain_binlog(all))
        return tell(run, file, RH_PROOF_BINLOG, RH_PROOF_PLAIN, "", "", err);
    if (!proof_is_binlog(all))
        return RH_OK;
    const size_t cut = size < PROOF_BINLOG_HEAD ? size : PROOF_BINLOG_HEAD;
    return judge_binlog(run, file, rh_bytes(head, cut), rh_bytes(head + cut, size - cut), err);
}
