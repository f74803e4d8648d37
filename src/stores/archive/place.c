/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the archive lies: what is there, the partial file beside it, its commit, and what was there before
 * (docs/formats/archive.md, "Beside the file").
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOW_PATH(store) RH_SHOW(rh_bytes_text((store)->path))

static const struct archive_store *store_of(const struct archive_session *session)
{
    return (const struct archive_store *)session->base.store;
}

enum rh_status archive_place(struct archive_session *session, struct rh_error *err)
{
    const struct archive_store *store = store_of(session);
    if (session->folder >= 0)
        return RH_OK;
    const char *name = strrchr(store->path, '/') + 1;
    if (snprintf(session->name, sizeof session->name, "%s", name) >= (int)sizeof session->name ||
        snprintf(session->partial_name, sizeof session->partial_name, ".%s.rehome-partial", name) >=
            (int)sizeof session->partial_name ||
        snprintf(session->before_name, sizeof session->before_name, ".%s.rehome-before", name) >=
            (int)sizeof session->before_name)
        return rh_fail_errno(err, ENAMETOOLONG, "opening the folder of '%s'", SHOW_PATH(store));
    rh_auto_free char *folder = strndup(store->path, (size_t)(name - store->path));
    if (!folder)
        return rh_fail_memory(err);
    session->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (session->folder < 0)
        return rh_fail_errno(err, errno, "opening the folder of '%s'", SHOW_PATH(store));
    return RH_OK;
}

static enum rh_status sync_folder(const struct archive_session *session, struct rh_error *err)
{
    if (fsync(session->folder) != 0)
        return rh_fail_errno(err, errno, "making the folder of '%s' durable", SHOW_PATH(store_of(session)));
    return RH_OK;
}

/* --- the partial file --- */

enum rh_status archive_sweep(struct archive_session *session, struct rh_error *err)
{
    return rh_partial_sweep(session->folder, session->partial_name, err);
}

enum rh_status archive_partial_make(struct archive_session *session, struct rh_error *err)
{
    enum rh_status status = rh_partial_make(session->folder, session->partial_name, &session->partial, err);
    rh_crash_point("archive");
    return status;
}

void archive_partial_drop(struct archive_session *session)
{
    rh_partial_drop(session->folder, session->partial_name, &session->partial);
}

/* --- what is there --- */

/* The stamp of the file of that name: the id of its seal. RH_NOT_FOUND; RH_E_REFUSED when it is no archive. */
static enum rh_status
read_stamp(const struct archive_session *session, const char *name, struct rh_buf *ret_stamp, struct rh_error *err)
{
    const char *path = SHOW_PATH(store_of(session));
    rh_auto_fd int fd = openat(session->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    if (fd < 0 && errno != ELOOP)
        return rh_fail_errno(err, errno, "opening '%s'", path);
    struct stat st;
    struct rh_seal_info info;
    struct rh_error why = {0};
    const bool plain = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (!plain || rh_seal_look(fd, &info, &why) != RH_OK || strcmp(info.purpose, ARCHIVE_PURPOSE) != 0) {
        rh_fail(err, RH_E_REFUSED, "'%s' is there and is no archive", path);
        rh_error_hint(err, "only an archive is replaced by one: name another file, or move this one away");
        return RH_E_REFUSED;
    }
    rh_buf_clear(ret_stamp);
    return rh_hex_add(ret_stamp, rh_bytes(info.id, sizeof info.id), err);
}

static enum rh_status whole_stamp(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_stamp)
{
    struct archive_session *session = (struct archive_session *)base;
    if (!store_of(session)->path)
        return RH_NOT_FOUND;
    enum rh_status status = archive_place(session, ctx->err);
    /* what stands is durable once it was seen: a crash may have come between a rename and its fsync */
    if (status == RH_OK)
        status = sync_folder(session, ctx->err);
    return status == RH_OK ? read_stamp(session, session->name, ret_stamp, ctx->err) : status;
}

/* The stamp of the partial file, from its header. Its end is written by now, so that all of its bytes are known. */
static enum rh_status
whole_promise(struct rh_ctx *ctx, struct rh_session *base, struct rh_bytes replaces, struct rh_buf *ret_stamp)
{
    struct archive_session *session = (struct archive_session *)base;
    rh_buf_clear(&session->replaces);
    enum rh_status status = rh_buf_add(&session->replaces, replaces.data, replaces.size, ctx->err);
    if (status != RH_OK)
        return status;
    if (!store_of(session)->path)
        return rh_buf_text(ret_stamp, "standard-output", ctx->err);
    status = archive_end(session, ctx->err);
    return status == RH_OK ? read_stamp(session, session->partial_name, ret_stamp, ctx->err) : status;
}

/* Hashes a file from its start to its end; says how much that was. */
static enum rh_status
hash_file(struct rh_ctx *ctx, int fd, EVP_MD_CTX *hash, uint8_t *buffer, size_t size, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    for (;;) {
        enum rh_status status = rh_ctx_check(ctx);
        if (status != RH_OK)
            return status;
        const ssize_t got = read(fd, buffer, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? rh_fail_errno(ctx->err, errno, "reading") : RH_OK;
        if (EVP_DigestUpdate(hash, buffer, (size_t)got) != 1)
            return rh_fail(ctx->err, RH_E_INTERNAL, "hashing what was read");
        *ret_bytes += (uint64_t)got;
    }
}

/* The proof of the file that stands. */
static enum rh_status
prove_standing(struct rh_ctx *ctx, const struct archive_session *session, struct rh_buf *ret_proof)
{
    enum { STEP = 256 * 1024 };
    rh_auto_fd int fd =
        openat(session->folder, session->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    if (fd < 0)
        return rh_fail_errno(ctx->err, errno, "opening '%s'", SHOW_PATH(store_of(session)));
    rh_auto_free uint8_t *buffer = malloc(STEP);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint8_t bytes[RH_SEAL_FILE_HASH_BYTES];
    uint64_t size = 0;
    enum rh_status status = RH_OK;
    if (!buffer || !hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
        status = rh_fail_memory(ctx->err);
    if (status == RH_OK)
        status = hash_file(ctx, fd, hash, buffer, STEP, &size);
    if (status == RH_OK && EVP_DigestFinal_ex(hash, bytes, NULL) != 1)
        status = rh_fail(ctx->err, RH_E_INTERNAL, "hashing what was read");
    EVP_MD_CTX_free(hash);
    if (status == RH_OK)
        return archive_proof(size, bytes, ret_proof, ctx->err);
    rh_error_prepend(ctx->err, "proving '%s'", SHOW_PATH(store_of(session)));
    return status;
}

static enum rh_status whole_prove(struct rh_ctx *ctx, struct rh_session *base, bool promised, struct rh_buf *ret_proof)
{
    struct archive_session *session = (struct archive_session *)base;
    rh_buf_clear(ret_proof);
    if (!store_of(session)->path)
        return RH_OK;
    if (promised)
        return archive_writer_proof(session->writer, ret_proof, ctx->err);
    enum rh_status status = archive_place(session, ctx->err);
    return status == RH_OK ? prove_standing(ctx, session, ret_proof) : status;
}

/* Gives the new file owner and mode of the one that it replaces. */
static enum rh_status keep_owner(const struct archive_session *session, struct rh_error *err)
{
    struct stat st;
    if (fstatat(session->folder, session->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return rh_fail_errno(err, errno, "looking at '%s'", SHOW_PATH(store_of(session)));
    if (geteuid() == 0 && fchown(session->partial, st.st_uid, st.st_gid) != 0)
        return rh_fail_errno(err, errno, "giving the new archive its owner");
    if (fchmod(session->partial, st.st_mode & 0777) != 0)
        return rh_fail_errno(err, errno, "giving the new archive its mode");
    return RH_OK;
}

/* Refuses when what stands isn't what the engine knew. */
static enum rh_status changed(const struct archive_session *session, struct rh_error *err)
{
    rh_fail(err, RH_E_CONFLICT, "'%s' isn't what it was when the archive was begun: somebody else wrote it",
            SHOW_PATH(store_of(session)));
    rh_error_hint(err, "find out who writes it; the new archive was thrown away");
    return RH_E_CONFLICT;
}

/* The new name where none may be. */
static enum rh_status name_new(const struct archive_session *session, struct rh_error *err)
{
    const int folder = session->folder;
    if (renameat2(folder, session->partial_name, folder, session->name, RENAME_NOREPLACE) == 0)
        return RH_OK;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system that can't */
        if (linkat(folder, session->partial_name, folder, session->name, 0) == 0) {
            (void)unlinkat(folder, session->partial_name, 0); /* a second name of a whole file: swept by the next */
            return RH_OK;
        }
    }
    return errno == EEXIST ? changed(session, err)
                           : rh_fail_errno(err, errno, "naming the archive '%s'", SHOW_PATH(store_of(session)));
}

/* The name of what is there. */
static enum rh_status name_over(const struct archive_session *session, struct rh_error *err)
{
    rh_auto_buf struct rh_buf now = RH_BUF_INIT;
    enum rh_status status = read_stamp(session, session->name, &now, err);
    if (status == RH_NOT_FOUND ||
        (status == RH_OK && !rh_bytes_equal(rh_buf_bytes(&now), rh_buf_bytes(&session->replaces))))
        return changed(session, err);
    if (status == RH_OK && renameat(session->folder, session->partial_name, session->folder, session->name) != 0)
        status = rh_fail_errno(err, errno, "naming the archive '%s'", SHOW_PATH(store_of(session)));
    return status;
}

enum rh_status archive_partial_commit(struct archive_session *session, enum rh_commit *ret_commit, struct rh_error *err)
{
    const bool over = session->replaces.size > 0;
    enum rh_status status = over ? keep_owner(session, err) : RH_OK;
    rh_crash_point("archive");
    if (status == RH_OK && fsync(session->partial) != 0)
        status = rh_fail_errno(err, errno, "making the archive durable");
    rh_crash_point("archive");
    if (status == RH_OK)
        status = over ? name_over(session, err) : name_new(session, err);
    if (status != RH_OK)
        return status;
    *ret_commit = RH_COMMIT_UNKNOWN;
    rh_crash_point("archive");
    status = sync_folder(session, err);
    rh_crash_point("archive");
    if (status == RH_OK)
        *ret_commit = RH_COMMIT_DONE;
    return status;
}

/* Whether what was kept before is the very archive that stands; another one is somebody else's way back. */
static enum rh_status check_kept(const struct archive_session *session, struct rh_error *err)
{
    rh_auto_buf struct rh_buf now = RH_BUF_INIT, kept = RH_BUF_INIT;
    enum rh_status status = read_stamp(session, session->name, &now, err);
    if (status == RH_OK)
        status = read_stamp(session, session->before_name, &kept, err);
    if (rh_failed(status) || (status == RH_OK && rh_bytes_equal(rh_buf_bytes(&now), rh_buf_bytes(&kept))))
        return status;
    rh_fail(err, RH_E_REFUSED, "'%s' is there already: the way back of another move",
            RH_SHOW(rh_bytes_text(session->before_name)));
    rh_error_hint(err, "'rehome finish' or 'rehome rollback' with that move's plan takes it away");
    return RH_E_REFUSED;
}

/* A second name for what the commit is about to replace. */
static enum rh_status whole_save(struct rh_ctx *ctx, struct rh_session *base)
{
    struct archive_session *session = (struct archive_session *)base;
    if (!store_of(session)->path)
        return RH_OK;
    enum rh_status status = archive_place(session, ctx->err);
    if (status != RH_OK)
        return status;
    rh_crash_point("archive");
    if (linkat(session->folder, session->name, session->folder, session->before_name, 0) != 0)
        status = errno == EEXIST
                     ? check_kept(session, ctx->err)
                     : rh_fail_errno(ctx->err, errno, "keeping what '%s' was", SHOW_PATH(store_of(session)));
    rh_crash_point("archive");
    return status == RH_OK ? sync_folder(session, ctx->err) : status;
}

static enum rh_status whole_restore(struct rh_ctx *ctx, struct rh_session *base, bool saved)
{
    struct archive_session *session = (struct archive_session *)base;
    if (!store_of(session)->path)
        return RH_OK;
    enum rh_status status = archive_place(session, ctx->err);
    if (status != RH_OK)
        return status;
    rh_crash_point("archive");
    const int failed = saved ? renameat(session->folder, session->before_name, session->folder, session->name)
                             : unlinkat(session->folder, session->name, 0);
    if (failed != 0 && errno != ENOENT)
        return rh_fail_errno(ctx->err, errno, saved ? "putting back what '%s' was" : "removing '%s'",
                             SHOW_PATH(store_of(session)));
    rh_crash_point("archive");
    return sync_folder(session, ctx->err);
}

static enum rh_status whole_forget(struct rh_ctx *ctx, struct rh_session *base)
{
    struct archive_session *session = (struct archive_session *)base;
    if (!store_of(session)->path)
        return RH_OK;
    enum rh_status status = archive_place(session, ctx->err);
    if (status == RH_OK && unlinkat(session->folder, session->before_name, 0) != 0 && errno != ENOENT)
        status = rh_fail_errno(ctx->err, errno, "removing what '%s' was", SHOW_PATH(store_of(session)));
    return status == RH_OK ? sync_folder(session, ctx->err) : status;
}

const struct rh_whole_ops archive_whole_ops = {
    .replaces_all = true,
    .promise = whole_promise,
    .stamp = whole_stamp,
    .prove = whole_prove,
    .save = whole_save,
    .restore = whole_restore,
    .forget = whole_forget,
};

/* --- facts --- */

/* Identity and address of a file by its folder and name; a source's symbolic link is followed. */
static enum rh_status file_facts(struct archive_session *session, struct rh_facts *facts, struct rh_error *err)
{
    const struct archive_store *store = store_of(session);
    const bool source = store->side == RH_SIDE_SOURCE;
    rh_auto_free char *real = source ? realpath(store->path, NULL) : NULL;
    struct stat folder, file;
    enum rh_status status = archive_place(session, err);
    if (status != RH_OK)
        return status;
    const char *name = session->name;
    bool known = fstat(session->folder, &folder) == 0;
    if (real) {
        rh_auto_free char *parent = strdup(real);
        char *slash = parent ? strrchr(parent, '/') : NULL;
        if (!slash)
            return rh_fail_memory(err);
        slash[slash == parent ? 1 : 0] = '\0';
        known = stat(parent, &folder) == 0;
        name = strrchr(real, '/') + 1;
    }
    if (!known)
        return rh_fail_errno(err, errno, "looking at the folder of '%s'", SHOW_PATH(store));
    snprintf(facts->identity, sizeof facts->identity, "archive:%llu:%llu/%.180s", (unsigned long long)folder.st_dev,
             (unsigned long long)folder.st_ino, name);
    snprintf(facts->address, sizeof facts->address, "%s", real ? real : store->path);
    snprintf(facts->place, sizeof facts->place, "%s", facts->address);
    const bool there = fstatat(session->folder, session->name, &file, source ? 0 : AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT)
        return rh_fail_errno(err, errno, "looking at '%s'", SHOW_PATH(store));
    facts->exists = there ? RH_YES : RH_NO;
    facts->writable = faccessat(session->folder, ".", W_OK | X_OK, AT_EACCESS) == 0 ? RH_YES : RH_NO;
    if (!source && session->partial < 0 && rh_partial_busy(session->folder, session->partial_name))
        snprintf(facts->live_owner, sizeof facts->live_owner, "another process is writing it");
    return RH_OK;
}

enum rh_status archive_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct archive_session *session = (struct archive_session *)base;
    const struct archive_store *store = store_of(session);
    struct archive_reader *reader;
    struct rh_facts facts = {
        .product = "archive",
        .version = "format 1",
        .tls = "local",
        .encrypted_at_rest = RH_YES,
        .limits = {.key_bytes = ARCHIVE_KEY_MOST, .value_bytes = ARCHIVE_RECORD_MOST},
    };
    enum rh_status status = RH_OK;
    if (store->path)
        status = file_facts(session, &facts, ctx->err);
    else {
        facts.one_pass = true;
        facts.exists = store->side == RH_SIDE_SOURCE ? RH_YES : RH_NO;
        facts.writable = store->side == RH_SIDE_SOURCE ? RH_UNKNOWN : RH_YES;
        snprintf(facts.address, sizeof facts.address, "standard %s",
                 store->side == RH_SIDE_SOURCE ? "input" : "output");
        snprintf(facts.identity, sizeof facts.identity, "archive:%.200s", facts.address);
    }
    /* a source's header and footer are looked at before anything is written elsewhere */
    if (status == RH_OK && store->side == RH_SIDE_SOURCE && facts.exists == RH_YES)
        status = archive_reader_need(session, &reader, ctx->err);
    if (status == RH_OK)
        *ret_facts = facts;
    return status;
}

enum rh_status archive_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct archive_session *session = (struct archive_session *)base;
    const struct archive_store *store = store_of(session);
    struct stat st;
    if (!store->path)
        return rh_buf_text(ret_text, "-", ctx->err);
    enum rh_status status = archive_place(session, ctx->err);
    if (status == RH_OK && store->side == RH_SIDE_SOURCE) {
        rh_auto_fd int fd = open(store->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct rh_seal_info info;
        if (fd < 0)
            return rh_fail_errno(ctx->err, errno, "opening '%s'", SHOW_PATH(store));
        status = rh_seal_look(fd, &info, ctx->err);
        return status == RH_OK ? rh_hex_add(ret_text, rh_bytes(info.id, sizeof info.id), ctx->err) : status;
    }
    if (status == RH_OK && fstat(session->folder, &st) != 0)
        status = rh_fail_errno(ctx->err, errno, "looking at the folder of '%s'", SHOW_PATH(store));
    if (status != RH_OK)
        return status;
    return rh_buf_format(ret_text, ctx->err, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
}
