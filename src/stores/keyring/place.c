/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a keystore lies. The folder is opened once and everything goes through its descriptor, so that nobody swaps it
 * meanwhile. Refused is what can't be replaced without a trace (a second hard link, a mount point) and what somebody
 * else than the server's own account could exchange.
 */
#include "keyring.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHOW_NAME(name) RH_SHOW(rh_bytes_text(name))
enum { ATTRIBUTES_MOST = 64 * 1024 };

struct keyring_shown keyring_place_show(const struct keyring_place *place, const char *name)
{
    struct keyring_shown shown;
    snprintf(shown.text, sizeof shown.text, "%s%s", place->dir ? SHOW_NAME(place->dir) : "", SHOW_NAME(name));
    return shown;
}

/* Whether somebody beside root, us and the folder's owner can put names into it. */
static bool foreign_writable(const struct stat *folder)
{
    return (folder->st_mode & (S_IWGRP | S_IWOTH)) && !(folder->st_mode & S_ISVTX);
}

/* The path behind a symbolic link, where its maker can be trusted; else the path itself. malloc'd. */
static enum rh_status follow(const char *path, char **ret_path, struct rh_error *err)
{
    struct stat link, folder;
    rh_auto_free char *parent = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    *ret_path = NULL;
    if (!parent)
        return rh_fail_memory(err);
    if (lstat(path, &link) != 0 || !S_ISLNK(link.st_mode)) {
        *ret_path = strdup(path);
        return *ret_path ? RH_OK : rh_fail_memory(err);
    }
    if (stat(parent, &folder) != 0)
        return rh_fail_errno(err, errno, "looking at folder '%s'", SHOW_NAME(parent));
    const bool ours = link.st_uid == geteuid() || link.st_uid == 0 || link.st_uid == folder.st_uid;
    if (foreign_writable(&folder) || !ours) {
        rh_fail(err, RH_E_REFUSED, "'%s' is a symbolic link that somebody else could have made", SHOW_NAME(path));
        rh_error_hint(err, "name the file itself, or take the right to write to '%s' from others", SHOW_NAME(parent));
        return RH_E_REFUSED;
    }
    *ret_path = realpath(path, NULL);
    return *ret_path ? RH_OK : rh_fail_errno(err, errno, "following the symbolic link '%s'", SHOW_NAME(path));
}

enum rh_status keyring_place_open(struct keyring_place *place, const char *path, struct rh_error *err)
{
    rh_auto_free char *real = NULL;
    enum rh_status status = follow(path, &real, err);
    if (status != RH_OK)
        return status;
    const char *name = strrchr(real, '/') + 1;
    rh_auto_free char *folder = strndup(real, (size_t)(name - real));
    if (!folder)
        return rh_fail_memory(err);
    if (snprintf(place->name, sizeof place->name, "%s", name) >= (int)sizeof place->name ||
        snprintf(place->backup, sizeof place->backup, "%s.backup", name) >= (int)sizeof place->backup ||
        snprintf(place->partial, sizeof place->partial, ".%s.rehome-partial", name) >= (int)sizeof place->partial)
        return rh_fail_errno(err, ENAMETOOLONG, "opening the folder of '%s'", SHOW_NAME(path));
    place->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->folder < 0) {
        const int why = errno;
        status = rh_fail_errno(err, why, "opening the folder of '%s'", SHOW_NAME(path));
        if (why == ENOENT)
            rh_error_hint(err, "check the path; the folder of a new keystore has to be there, owned by the account of "
                               "the server that will use it");
        return status;
    }
    free(place->dir);
    place->dir = folder;
    folder = NULL;
    return RH_OK;
}

void keyring_place_close(struct keyring_place *place)
{
    rh_auto_fd_(&place->folder);
    place->folder = -1;
    free(place->dir);
    place->dir = NULL;
}

enum rh_status keyring_place_sync(const struct keyring_place *place, struct rh_error *err)
{
    return fsync(place->folder) == 0 ? RH_OK
                                     : rh_fail_errno(err, errno, "making the folder of '%s' durable",
                                                     keyring_place_show(place, place->name).text);
}

/* Says no, with the remedy; a "%s" in that is the file. */
static enum rh_status
refuse(const struct keyring_place *place, struct rh_error *err, const char *name, const char *why, const char *hint)
{
    const struct keyring_shown file = keyring_place_show(place, name);
    const char *gap = strstr(hint, "%s");
    rh_fail(err, RH_E_REFUSED, "the keystore '%s' %s", file.text, why);
    if (gap)
        rh_error_hint(err, "%.*s'%s'%s", (int)(gap - hint), hint, file.text, gap + 2);
    else
        rh_error_hint(err, "%s", hint);
    return RH_E_REFUSED;
}

/* Whether a file is a mount of its own, as containers give single files to a program. */
static bool is_mount(const struct keyring_place *place, int fd, const struct stat *st)
{
    struct statx file, folder;
    struct stat around;
    if (fstat(place->folder, &around) == 0 && around.st_dev != st->st_dev)
        return true;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &file) != 0 ||
        statx(place->folder, "", AT_EMPTY_PATH, STATX_MNT_ID, &folder) != 0 ||
        !(file.stx_mask & folder.stx_mask & STATX_MNT_ID))
        return false;
    return file.stx_mnt_id != folder.stx_mnt_id;
}

/* What a keystore's file must not be. */
static enum rh_status check_file(const struct keyring_place *place,
                                 const char *name,
                                 int fd,
                                 const struct stat *st,
                                 enum rh_side side,
                                 struct rh_error *err)
{
    struct stat folder;
    if (fstat(place->folder, &folder) != 0)
        return rh_fail_errno(err, errno, "looking at the folder of '%s'", keyring_place_show(place, name).text);
    if (!S_ISREG(st->st_mode))
        return refuse(place, err, name, "is no regular file", "name the keystore's file");
    if (side == RH_SIDE_NONE)
        return RH_OK; /* whoever looks may look at a copy in a backup, too */
    if (st->st_nlink > 1)
        return refuse(place, err, name,
                      "has more than one name (hard links): replacing it would leave the others as they are",
                      "remove the other names: find / -xdev -samefile %s");
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return refuse(place, err, name, "can be written by its group or by others", "chmod go-w %s");
    if (st->st_uid != geteuid() && st->st_uid != 0 && st->st_uid != folder.st_uid)
        return refuse(place, err, name, "belongs to somebody who owns neither its folder nor this process",
                      "give file and folder to the server's account");
    if (side != RH_SIDE_DESTINATION)
        return RH_OK;
    if (is_mount(place, fd, st))
        return refuse(place, err, name, "is a mount point of its own, which can't be replaced",
                      "mount its folder instead");
    if (geteuid() != 0 && st->st_uid != geteuid())
        return refuse(place, err, name, "belongs to somebody else, whose it couldn't stay",
                      "run as its owner, or as root");
    return RH_OK;
}

bool keyring_place_is_held(const struct keyring_place *place)
{
    char target[sizeof KEYRING_HOLD_TARGET + 1];
    const ssize_t size = readlinkat(place->folder, place->backup, target, sizeof target);
    return size == sizeof KEYRING_HOLD_TARGET - 1 && memcmp(target, KEYRING_HOLD_TARGET, (size_t)size) == 0;
}

enum rh_status keyring_place_file(const struct keyring_place *place,
                                  const char *name,
                                  enum rh_side side,
                                  int *ret_fd,
                                  struct stat *ret_stat,
                                  struct rh_error *err)
{
    rh_auto_fd int fd = openat(place->folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    if (fd < 0 && errno == ELOOP && strcmp(name, place->backup) == 0 && keyring_place_is_held(place))
        return refuse(place, err, name, "is the link of a 'rehome cutover' or 'rehome rollback' that was cut off",
                      "'rehome recover' with its plan and its state folder settles it; where those are lost, make the "
                      "server's configuration name the keystore that it has loaded, then remove %s");
    if (fd < 0 && errno == ELOOP)
        return refuse(place, err, name, "is a symbolic link", "name the file itself");
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening the keystore '%s'", keyring_place_show(place, name).text);
    if (fstat(fd, ret_stat) != 0)
        return rh_fail_errno(err, errno, "looking at the keystore '%s'", keyring_place_show(place, name).text);
    enum rh_status status = check_file(place, name, fd, ret_stat, side, err);
    if (status == RH_OK) {
        *ret_fd = fd;
        fd = -1;
    }
    return status;
}

/* --- owner, mode, access lists, labels --- */

/* One attribute's value, appended with its name. */
static enum rh_status read_attribute(int fd, const char *name, struct rh_buf *out, struct rh_error *err)
{
    uint8_t value[ATTRIBUTES_MOST];
    const ssize_t size = fgetxattr(fd, name, value, sizeof value);
    if (size < 0)
        return errno == ENODATA ? RH_OK : rh_fail_errno(err, errno, "reading attribute '%s'", SHOW_NAME(name));
    enum rh_status status = rh_buf_bytes32(out, rh_bytes_text(name), err);
    return status == RH_OK ? rh_buf_bytes32(out, rh_bytes(value, (size_t)size), err) : status;
}

enum rh_status keyring_looks_read(int fd, struct keyring_looks *ret_looks, struct rh_error *err)
{
    struct stat st;
    char names[ATTRIBUTES_MOST];
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "looking at the keystore");
    ret_looks->mode = st.st_mode & 07777;
    ret_looks->uid = st.st_uid;
    ret_looks->gid = st.st_gid;
    rh_buf_clear(&ret_looks->attributes);
    const ssize_t size = flistxattr(fd, names, sizeof names);
    if (size < 0 && errno != ENOTSUP)
        return rh_fail_errno(err, errno, "reading the keystore's attributes");
    enum rh_status status = RH_OK;
    for (const char *at = names; status == RH_OK && size > 0 && at < names + size; at += strlen(at) + 1)
        status = read_attribute(fd, at, &ret_looks->attributes, err);
    return status;
}

enum rh_status
keyring_looks_new(const struct keyring_place *place, struct keyring_looks *ret_looks, struct rh_error *err)
{
    struct stat folder;
    if (fstat(place->folder, &folder) != 0)
        return rh_fail_errno(err, errno, "looking at the folder of '%s'", keyring_place_show(place, place->name).text);
    const bool root = geteuid() == 0;
    ret_looks->mode = 0600;
    ret_looks->uid = root ? folder.st_uid : geteuid();
    ret_looks->gid = root ? folder.st_gid : getegid();
    rh_buf_clear(&ret_looks->attributes);
    return RH_OK;
}

enum rh_status keyring_looks_give(int fd, const struct keyring_looks *looks, struct rh_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "looking at the new keystore");
    if ((st.st_uid != looks->uid || st.st_gid != looks->gid) && fchown(fd, looks->uid, looks->gid) != 0)
        return rh_fail_errno(err, errno, "giving the new keystore its owner");
    if (fchmod(fd, (mode_t)looks->mode) != 0)
        return rh_fail_errno(err, errno, "giving the new keystore its mode");
    struct rh_cursor cur = rh_cursor(rh_buf_bytes(&looks->attributes));
    while (rh_cursor_left(&cur)) {
        char name[XATTR_NAME_MAX + 1] = "";
        const struct rh_bytes word = rh_cursor_bytes32(&cur), value = rh_cursor_bytes32(&cur);
        if (cur.bad || word.size >= sizeof name)
            return rh_fail(err, RH_E_CORRUPT, "a keystore's attributes can't be read");
        memcpy(name, word.data, word.size);
        if (fsetxattr(fd, name, value.data, value.size, 0) != 0)
            return rh_fail_errno(err, errno, "giving the new keystore its attribute '%s'", SHOW_NAME(name));
    }
    return RH_OK;
}
