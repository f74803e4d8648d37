/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrapping a sealed file anew: a new header, then the frames as they are (docs/adr/0007). The file is copied, since a
 * header may change its size and is to be there whole or not at all; where the file system can share blocks, it does.
 */
#include "provider.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_STEP = 1024 * 1024 };

struct rewrap {
    const char *path;
    char name[NAME_MAX + 1], partial_name[NAME_MAX + 1];
    int folder, file, partial;
    struct stat before; /* of the file */
};

static enum rh_status of_side(enum rh_status status, enum rh_side side, struct rh_error *err)
{
    if (rh_failed(status) && err)
        err->side = side;
    return status;
}

/* Opens folder and file. */
static enum rh_status open_both(struct rewrap *rewrap, struct rh_error *err)
{
    const char *path = rewrap->path, *shown = RH_SHOW(rh_bytes_text(path)), *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (snprintf(rewrap->name, sizeof rewrap->name, "%s", name) >= (int)sizeof rewrap->name ||
        snprintf(rewrap->partial_name, sizeof rewrap->partial_name, ".%s.rehome-rewrap", name) >=
            (int)sizeof rewrap->partial_name)
        return rh_fail_errno(err, ENAMETOOLONG, "opening '%s'", shown);
    rh_auto_free char *folder = slash ? strndup(path, (size_t)(name - path)) : strdup(".");
    if (!folder)
        return rh_fail_memory(err);
    rewrap->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rewrap->folder < 0)
        return rh_fail_errno(err, errno, "opening the folder of '%s'", shown);
    rewrap->file = openat(rewrap->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (rewrap->file < 0 && errno == ELOOP)
        return rh_fail(err, RH_E_REFUSED, "'%s' is a symbolic link: name the file itself", shown);
    if (rewrap->file < 0 || fstat(rewrap->file, &rewrap->before) != 0)
        return rh_fail_errno(err, errno, "opening '%s'", shown);
    if (!S_ISREG(rewrap->before.st_mode))
        return rh_fail(err, RH_E_REFUSED, "'%s' isn't a regular file", shown);
    if (rewrap->before.st_nlink == 1)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "'%s' has %lu names: the others would keep the old key", shown,
            (unsigned long)rewrap->before.st_nlink);
    rh_error_hint(err, "remove the other names; one of them is the way back of a move that isn't finished, maybe");
    return RH_E_REFUSED;
}

/* A new header for this kind of file, opened by the old key. */
static enum rh_status make_header(struct rewrap *rewrap,
                                  const char *purpose,
                                  struct rh_key_provider *provider,
                                  struct rh_key_provider *new_provider,
                                  struct rh_buf *header,
                                  uint64_t *ret_old_bytes,
                                  struct rh_error *err)
{
    struct rh_seal_info info;
    enum rh_status status = rh_seal_look(rewrap->file, &info, err);
    if (status == RH_OK && strcmp(info.purpose, purpose) != 0) {
        rh_fail(err, RH_E_REFUSED, "'%s' is for '%s'; only what is for '%s' can be wrapped anew",
                RH_SHOW(rh_bytes_text(rewrap->path)), info.purpose, purpose);
        rh_error_hint(err, "what lies in a state folder is opened by its plan's key alone");
        return RH_E_REFUSED;
    }
    return status == RH_OK ? rh_seal_rewrap(rewrap->file, provider, new_provider, header, ret_old_bytes, err) : status;
}

/* Copies by hand what the kernel can't. */
static enum rh_status copy_plainly(const struct rewrap *rewrap, off_t at, struct rh_error *err)
{
    rh_auto_free uint8_t *buffer = malloc(COPY_STEP);
    if (!buffer)
        return rh_fail_memory(err);
    for (;;) {
        const ssize_t got = pread(rewrap->file, buffer, COPY_STEP, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return of_side(rh_fail_errno(err, errno, "reading"), RH_SIDE_SOURCE, err);
        if (got == 0)
            return RH_OK;
        enum rh_status status = rh_write_all(rewrap->partial, rh_bytes(buffer, (size_t)got), err);
        if (status != RH_OK)
            return of_side(status, RH_SIDE_DESTINATION, err);
        at += got;
        rh_crash_point("rewrap");
    }
}

/* Everything behind the old header, as it is. */
static enum rh_status copy_frames(const struct rewrap *rewrap, uint64_t from, struct rh_error *err)
{
    off_t at = (off_t)from;
    while (at < rewrap->before.st_size) {
        const ssize_t done =
            copy_file_range(rewrap->file, &at, rewrap->partial, NULL, (size_t)(rewrap->before.st_size - at), 0);
        if (done < 0 && (errno == ENOSPC || errno == EDQUOT))
            return of_side(rh_fail_errno(err, errno, "copying"), RH_SIDE_DESTINATION, err);
        if (done <= 0)
            return copy_plainly(rewrap, at, err);
    }
    return RH_OK;
}

/* What was written opens with the new key, and has the size it should. */
static enum rh_status prove(const struct rewrap *rewrap,
                            const char *purpose,
                            struct rh_key_provider *new_provider,
                            uint64_t size,
                            struct rh_error *err)
{
    struct rh_seal_reader *reader = NULL;
    struct stat st;
    rh_auto_buf struct rh_buf frame = RH_BUF_INIT;
    if (fstat(rewrap->partial, &st) != 0 || (uint64_t)st.st_size != size || lseek(rewrap->partial, 0, SEEK_SET) != 0)
        return rh_fail(err, RH_E_IO, "the new file doesn't have the size it should");
    enum rh_status status = rh_seal_reader_new(new_provider, rewrap->partial, purpose, rh_bytes("", 0), &reader, err);
    if (status == RH_OK)
        status = rh_seal_reader_next(reader, &frame, NULL, err);
    rh_seal_reader_free(reader);
    return rh_failed(status) ? status
           : status == RH_OK ? RH_OK
                             : rh_fail(err, RH_E_CORRUPT, "the file has no whole frame");
}

/* Owner and mode of the old file. */
static enum rh_status keep_owner(const struct rewrap *rewrap, struct rh_error *err)
{
    const struct stat *st = &rewrap->before;
    if ((geteuid() == 0 && fchown(rewrap->partial, st->st_uid, st->st_gid) != 0) ||
        fchmod(rewrap->partial, st->st_mode & 07777) != 0)
        return rh_fail_errno(err, errno, "giving the new file owner and mode of the old one");
    return RH_OK;
}

/* The new file gets the name, if the old one is still as it was read. */
static enum rh_status put_in_place(const struct rewrap *rewrap, struct rh_error *err)
{
    const struct stat *before = &rewrap->before;
    struct stat now;
    if (fsync(rewrap->partial) != 0)
        return rh_fail_errno(err, errno, "making the new file durable");
    rh_crash_point("rewrap");
    if (fstat(rewrap->file, &now) != 0 || now.st_size != before->st_size ||
        now.st_mtim.tv_sec != before->st_mtim.tv_sec || now.st_mtim.tv_nsec != before->st_mtim.tv_nsec ||
        !rh_file_is(rewrap->folder, rewrap->name, rewrap->file))
        return rh_fail(err, RH_E_CONFLICT, "the file changed while it was read");
    if (renameat(rewrap->folder, rewrap->partial_name, rewrap->folder, rewrap->name) != 0)
        return rh_fail_errno(err, errno, "giving the new file its name");
    rh_crash_point("rewrap");
    if (fsync(rewrap->folder) != 0)
        return rh_fail_errno(err, errno, "making the folder durable");
    rh_crash_point("rewrap");
    return RH_OK;
}

/* The new file beside the old one, whole. */
static enum rh_status write_new(struct rewrap *rewrap, struct rh_bytes header, uint64_t old_bytes, struct rh_error *err)
{
    enum rh_status status = rh_partial_make(rewrap->folder, rewrap->partial_name, &rewrap->partial, err);
    rh_crash_point("rewrap");
    if (status == RH_OK)
        status = keep_owner(rewrap, err);
    if (status == RH_OK)
        status = rh_write_all(rewrap->partial, header, err);
    rh_crash_point("rewrap");
    of_side(status, RH_SIDE_DESTINATION, err);
    return status == RH_OK ? copy_frames(rewrap, old_bytes, err) : status;
}

enum rh_status rh_seal_rewrap_file(const char *path,
                                   const char *purpose,
                                   struct rh_key_provider *provider,
                                   struct rh_key_provider *new_provider,
                                   struct rh_error *err)
{
    struct rewrap rewrap = {.path = path, .folder = -1, .file = -1, .partial = -1};
    rh_auto_buf struct rh_buf header = RH_BUF_INIT;
    uint64_t old_bytes = 0;
    enum rh_status status = open_both(&rewrap, err);
    if (status == RH_OK)
        status = make_header(&rewrap, purpose, provider, new_provider, &header, &old_bytes, err);
    of_side(status, RH_SIDE_SOURCE, err);
    if (status == RH_OK) {
        status = write_new(&rewrap, rh_buf_bytes(&header), old_bytes, err);
        const uint64_t size = (uint64_t)rewrap.before.st_size - old_bytes + header.size;
        if (status == RH_OK) {
            status = prove(&rewrap, purpose, new_provider, size, err);
            of_side(status, RH_SIDE_SOURCE, err);
        }
        if (status == RH_OK)
            status = of_side(put_in_place(&rewrap, err), RH_SIDE_DESTINATION, err);
    }
    if (rewrap.folder >= 0)
        rh_partial_drop(rewrap.folder, rewrap.partial_name, &rewrap.partial);
    if (rewrap.file >= 0)
        close(rewrap.file);
    if (rewrap.folder >= 0)
        close(rewrap.folder);
    if (status != RH_OK && err)
        rh_error_prepend(err, "wrapping '%s' anew", RH_SHOW(rh_bytes_text(path)));
    return status;
}
