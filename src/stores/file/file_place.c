/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root folder as a place: what it really is (facts), whether two stores share files (overlaps), making and
 * unmaking it (schema), and whether it is still the same one (fingerprint).
 */
#include "file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MISSING_ROOT 1u         /* the root folder is absent */
#define MISSING_LEVELS_SHIFT 8u /* above it: how many folders of its path are, the root counted */

#ifndef FS_CASEFOLD_FL
#define FS_CASEFOLD_FL 0x40000000
#endif

/* File systems by the magic numbers of statfs(2). */
static const struct {
    unsigned long magic;
    const char *name;
    bool network, folds_case;
} file_systems[] = {
    {0xef53,     "ext4",      false, false},
    {0x58465342, "xfs",       false, false},
    {0x9123683e, "btrfs",     false, false},
    {0x2fc12fc1, "zfs",       false, false},
    {0xf2f52010, "f2fs",      false, false},
    {0x01021994, "tmpfs",     false, false},
    {0x794c7630, "overlayfs", false, false},
    {0x6969,     "nfs",       true,  false},
    {0xff534d42, "cifs",      true,  true },
    {0xfe534d42, "smb2",      true,  true },
    {0x01021997, "9p",        true,  false},
    {0x00c36400, "ceph",      true,  false},
    {0x65735546, "fuse",      true,  false},
    {0x4d44,     "vfat",      false, true },
    {0x2011bab0, "exfat",     false, true },
};

/* Index into file_systems, or -1. */
static int file_system_of(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return -1;
    for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++)
        if ((unsigned long)fs.f_type == file_systems[i].magic)
            return (int)i;
    return -1;
}

/* Cuts the path to its deepest folder that exists; `rest` begins with '/' or is "". Both are malloc'd. The number of
 * parts of the rest, or -1 (errno). */
static int split_existing(const char *path, char **ret_existing, char **ret_rest)
{
    rh_auto_free char *all = strdup(path);
    size_t size = all ? strlen(all) : 0;
    int levels = 0;
    if (!all)
        return -1;
    for (;;) {
        char *real = realpath(size ? all : "/", NULL);
        if (real) {
            *ret_rest = strdup(path + size);
            *ret_existing = real;
            if (*ret_rest)
                return levels;
            free(real);
            return -1;
        }
        if ((errno != ENOENT && errno != ENOTDIR) || size == 0)
            return -1;
        while (size && all[size - 1] != '/')
            size--;
        while (size && all[size - 1] == '/')
            size--;
        all[size] = '\0';
        levels++;
    }
}

/* Whether the block device is encrypted by dm-crypt, itself or one level down (a volume on an encrypted disk). */
static enum rh_yes encrypted(dev_t device)
{
    char path[96];
    for (int level = 0; level < 2; level++) {
        rh_auto_buf struct rh_buf uuid = rh_buf_limited(4096);
        snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%sdm/uuid", major(device), minor(device),
                 level ? "slaves/dm-0/" : "");
        if (rh_file_read(AT_FDCWD, path, 4096, &uuid, NULL) == RH_OK &&
            rh_bytes_starts(rh_buf_bytes(&uuid), rh_bytes_text("CRYPT-")))
            return RH_YES;
    }
    return RH_UNKNOWN;
}

/* Identity, address and what else can be said of an absent or present root. */
static enum rh_status place_facts(const struct file_store *store, struct rh_facts *facts, struct rh_error *err)
{
    rh_auto_free char *existing = NULL;
    rh_auto_free char *rest = NULL;
    struct stat st;
    int levels = split_existing(store->path, &existing, &rest);
    if (levels < 0 || stat(existing, &st) != 0)
        return rh_fail_errno(err, errno, "look at folder '%s'", RH_SHOW(rh_bytes_text(store->path)));
    int written = snprintf(facts->identity, sizeof(facts->identity), "file:%llu:%llu%s", (unsigned long long)st.st_dev,
                           (unsigned long long)st.st_ino, rest);
    if (written < 0 || (size_t)written >= sizeof(facts->identity))
        return rh_fail(err, RH_E_LIMIT, "look at folder '%s': too much of its path is absent",
                       RH_SHOW(rh_bytes_text(store->path)));
    snprintf(facts->address, sizeof(facts->address), "%s%s", strcmp(existing, "/") == 0 && *rest ? "" : existing, rest);
    snprintf(facts->place, sizeof(facts->place), "%s", facts->address);
    facts->exists = levels == 0 && S_ISDIR(st.st_mode) ? RH_YES : RH_NO;
    facts->writable = faccessat(AT_FDCWD, existing, W_OK | X_OK, AT_EACCESS) == 0 ? RH_YES : RH_NO;
    facts->encrypted_at_rest = encrypted(st.st_dev);
    rh_auto_fd int fd = open(existing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int system = fd < 0 ? -1 : file_system_of(fd);
    bool network = system >= 0 && file_systems[system].network;
    snprintf(facts->version, sizeof(facts->version), "%s%s",
             system < 0 ? "unknown file system" : file_systems[system].name,
             network ? " (network or user-space file system: what is durable is up to it)" : "");
    return RH_OK;
}

enum rh_status file_facts(struct rh_ctx *ctx, struct rh_session *session, struct rh_facts *ret_facts)
{
    const struct file_store *store = (struct file_store *)session->store;
    struct rh_facts facts = {.product = "files",
                             .tls = "local",
                             .owner_blind = "a Vault on file storage holds no lock that can be seen",
                             .limits.key_bytes = PATH_MAX - strlen(store->path) - 8};
    enum rh_status status = place_facts(store, &facts, ctx->err);
    if (status == RH_OK)
        *ret_facts = facts;
    return status;
}

/* Whether the folder `inner` is `outer` or lies below it, by what the folders are and by how their absent ends read. */
static bool lies_in(const struct file_store *inner, const struct file_store *outer)
{
    rh_auto_free char *in = NULL;
    rh_auto_free char *in_rest = NULL;
    rh_auto_free char *out = NULL;
    rh_auto_free char *out_rest = NULL;
    struct stat want, st;
    if (split_existing(inner->path, &in, &in_rest) < 0 || split_existing(outer->path, &out, &out_rest) < 0 ||
        stat(out, &want) != 0)
        return false;
    if (*out_rest) { /* an absent folder holds only what is absent itself */
        size_t size = strlen(out_rest);
        return stat(in, &st) == 0 && st.st_dev == want.st_dev && st.st_ino == want.st_ino &&
               strncmp(in_rest, out_rest, size) == 0 && (in_rest[size] == '\0' || in_rest[size] == '/');
    }
    for (;;) {
        if (stat(in, &st) == 0 && st.st_dev == want.st_dev && st.st_ino == want.st_ino)
            return true;
        char *slash = strrchr(in, '/');
        if (!slash || strcmp(in, "/") == 0)
            return false;
        slash[slash == in ? 1 : 0] = '\0';
    }
}

bool file_overlaps(const struct rh_store *a, const struct rh_store *b)
{
    const struct file_store *left = (const struct file_store *)a, *right = (const struct file_store *)b;
    return lies_in(left, right) || lies_in(right, left);
}

/* --- schema --- */

/* Refuses folders in which two keys can be one file. */
static enum rh_status refuse_case_folding(const struct file_session *session, struct rh_error *err)
{
    int flags = 0, system = file_system_of(session->root_fd);
    bool folds = system >= 0 && file_systems[system].folds_case;
    if (ioctl(session->root_fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_CASEFOLD_FL))
        folds = true;
    if (!folds)
        return RH_OK;
    enum rh_status status = rh_fail(err, RH_E_REFUSED,
                                    "write to the folder: its file system may take names that "
                                    "differ in case only for one");
    rh_error_hint(err, "choose a folder on a file system that tells upper and lower case apart");
    return status;
}

static enum rh_status file_missing(struct rh_ctx *ctx, struct rh_session *base, uint32_t *ret_missing)
{
    struct file_session *session = (struct file_session *)base;
    const struct file_store *store = (struct file_store *)base->store;
    rh_auto_free char *existing = NULL;
    rh_auto_free char *rest = NULL;
    enum rh_status status = file_root(session, ctx->err);
    if (status == RH_OK) {
        status = refuse_case_folding(session, ctx->err);
        if (status == RH_OK)
            *ret_missing = 0;
        return status;
    }
    if (status != RH_NOT_FOUND)
        return status;
    int levels = split_existing(store->path, &existing, &rest);
    if (levels < 1 || levels > 255)
        return rh_fail_errno(ctx->err, levels < 0 ? errno : EINVAL, "look at folder '%s'",
                             RH_SHOW(rh_bytes_text(store->path)));
    *ret_missing = MISSING_ROOT | (uint32_t)levels << MISSING_LEVELS_SHIFT;
    return RH_OK;
}

/* Gives what we made as root to the owner of the folder it stands in, and makes the new names durable. */
static enum rh_status settle_made(const char *existing, const char *rest, struct rh_error *err)
{
    struct stat st;
    rh_auto_fd int fd = open(existing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "open folder '%s'", RH_SHOW(rh_bytes_text(existing)));
    for (const char *at = rest; *at;) {
        char name[FILE_NAME_MAX + 1];
        at += strspn(at, "/");
        size_t size = strcspn(at, "/");
        if (size == 0)
            break;
        if (size > FILE_NAME_MAX)
            return rh_fail_errno(err, ENAMETOOLONG, "open folder '%s'", RH_SHOW(rh_bytes_text(rest)));
        memcpy(name, at, size);
        name[size] = '\0';
        at += size;
        if (fsync(fd) != 0)
            return rh_fail_errno(err, errno, "make folder '%s' durable", RH_SHOW(rh_bytes_text(name)));
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return rh_fail_errno(err, errno, "open folder '%s'", RH_SHOW(rh_bytes_text(name)));
        close(fd);
        fd = next;
        if (geteuid() == 0 && (st.st_uid || st.st_gid) && fchown(fd, st.st_uid, st.st_gid) != 0)
            return rh_fail_errno(err, errno, "give folder '%s' its owner", RH_SHOW(rh_bytes_text(name)));
    }
    return RH_OK;
}

static enum rh_status file_before(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct file_session *session = (struct file_session *)base;
    const struct file_store *store = (struct file_store *)base->store;
    rh_auto_free char *existing = NULL;
    rh_auto_free char *rest = NULL;
    enum rh_status status = file_root(session, ctx->err);
    if (!(missing & MISSING_ROOT) || status != RH_NOT_FOUND)
        return status == RH_NOT_FOUND ? RH_OK : status;
    if (split_existing(store->path, &existing, &rest) < 0)
        return rh_fail_errno(ctx->err, errno, "look at folder '%s'", RH_SHOW(rh_bytes_text(store->path)));
    status = rh_make_dirs(store->path, 0700, ctx->err);
    if (status == RH_OK)
        status = settle_made(existing, rest, ctx->err);
    if (status == RH_OK)
        status = file_root(session, ctx->err);
    return status == RH_OK ? refuse_case_folding(session, ctx->err) : status;
}

static enum rh_status file_undo(struct rh_ctx *ctx, struct rh_session *base, uint32_t missing)
{
    struct file_session *session = (struct file_session *)base;
    const struct file_store *store = (struct file_store *)base->store;
    rh_auto_free char *path = strdup(store->path);
    if (!path)
        return rh_fail_memory(ctx->err);
    if (!(missing & MISSING_ROOT))
        return RH_OK;
    if (file_root(session, ctx->err) == RH_OK) {
        file_temp_leave(session);
        file_temp_sweep(session);
    }
    for (uint32_t level = missing >> MISSING_LEVELS_SHIFT & 255, i = 0; i < level; i++) {
        if (rmdir(path) != 0 && errno != ENOENT) {
            if (i > 0)
                break; /* a folder above holds something else by now: it stays */
            if (errno != ENOTEMPTY && errno != EEXIST)
                return rh_fail_errno(ctx->err, errno, "remove folder '%s'", RH_SHOW(rh_bytes_text(path)));
            rh_ignore(rh_fail(ctx->err, RH_EXISTS, "remove folder '%s': it is not empty",
                              RH_SHOW(rh_bytes_text(path)))); /* the words go with RH_EXISTS */
            return RH_EXISTS;
        }
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            break;
        *slash = '\0';
        rh_auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && fsync(fd) != 0)
            return rh_fail_errno(ctx->err, errno, "make folder '%s' durable", RH_SHOW(rh_bytes_text(path)));
    }
    file_dir_forget(session);
    if (session->root_fd >= 0)
        close(session->root_fd);
    session->root_fd = -1;
    return RH_OK;
}

/* --- guard --- */

static enum rh_status file_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct file_session *session = (struct file_session *)base;
    struct statx st;
    enum rh_status status = file_root(session, ctx->err);
    if (status == RH_NOT_FOUND)
        return rh_buf_text(ret_text, "absent", ctx->err);
    if (status != RH_OK)
        return status;
    if (statx(session->root_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) != 0)
        return rh_fail_errno(ctx->err, errno, "look at the root folder");
    bool born = st.stx_mask & STATX_BTIME;
    return rh_buf_format(ret_text, ctx->err, "%u:%u:%llu:%lld.%09u", st.stx_dev_major, st.stx_dev_minor,
                         (unsigned long long)st.stx_ino, born ? (long long)st.stx_btime.tv_sec : 0LL,
                         born ? st.stx_btime.tv_nsec : 0u);
}

const struct rh_schema_ops file_schema_ops = {.missing = file_missing, .before = file_before, .undo = file_undo};
const struct rh_guard_ops file_guard_ops = {.fingerprint = file_fingerprint};
