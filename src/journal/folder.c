/* SPDX-License-Identifier: Apache-2.0 */
/* The state folder: which one is safe to use, which names a journal may have, and the lock file that says who is at
 * work. Format: docs/formats/journal.md. Knowledge: fcntl(2) on open-file-description locks, statfs(2) magic numbers,
 * proc(5) mountinfo. */
#include "internal.h"

#include <rehome/base.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define JOURNAL_SUFFIX ".journal"

/* File names of a journal, checked name first. */
struct file_name {
    char text[RH_JOURNAL_NAME_MAX + 32];
};

/* NAME and a suffix. */
static struct file_name file_name(const char *name, const char *suffix)
{
    struct file_name file;
    snprintf(file.text, sizeof(file.text), "%s%s", name, suffix);
    return file;
}

bool rh_journal_name_valid(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > RH_JOURNAL_NAME_MAX || name[0] == '.')
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == size;
}

/* The refusal of a name. */
static enum rh_status name_check(const char *name, struct rh_error *err)
{
    if (rh_journal_name_valid(name))
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "open journal '%s': the name can't be that of a journal", RH_SHOW(rh_bytes_text(name)));
    rh_error_hint(err, "use 1 to %d letters, digits, '.', '_' and '-', and no '.' at the beginning",
                  RH_JOURNAL_NAME_MAX);
    return RH_E_REFUSED;
}

const char *rh_journal_network_fs(long magic, const char *fuse_type)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } table[] = {
        {0x00006969, "NFS"   },
        {0x0000517B, "SMB"   },
        {0xFF534D42, "CIFS"  },
        {0xFE534D42, "SMB2"  },
        {0x01021997, "9P"    },
        {0x5346414F, "AFS"   },
        {0x6B414653, "AFS"   },
        {0x00C36400, "Ceph"  },
        {0x73757245, "Coda"  },
        {0x0BD00BD0, "Lustre"},
        {0x786F4256, "vboxsf"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].magic == (uint32_t)magic)
            return table[i].name;
    if ((uint32_t)magic != 0x65735546)
        return NULL;
    /* FUSE says nothing about what is behind it; these two are local disks. */
    if (strcmp(fuse_type, "fuseblk") == 0 || strcmp(fuse_type, "fuse.fuse-overlayfs") == 0)
        return NULL;
    return "FUSE";
}

/* The type of the file system mounted for this device, from mountinfo; "" when not found. */
static void mount_type(dev_t device, char *out, size_t out_size)
{
    char wanted[40];
    out[0] = '\0';
    snprintf(wanted, sizeof(wanted), " %u:%u ", major(device), minor(device));
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL)
        return;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0) {
        const char *type = strstr(line, " - ");
        if (type == NULL || strstr(line, wanted) == NULL)
            continue;
        type += 3;
        snprintf(out, out_size, "%.*s", (int)strcspn(type, " "), type);
    }
    free(line);
    (void)fclose(file); /* it was only read */
}

/* Refuses a folder where neither locks nor shared memory can be trusted. */
static enum rh_status refuse_network(int fd, const char *dir, const struct stat *st, struct rh_error *err)
{
    struct statfs fs;
    char type[64];
    if (fstatfs(fd, &fs) != 0)
        return rh_fail_errno(err, errno, "look at the file system of state folder '%s'", RH_SHOW(rh_bytes_text(dir)));
    mount_type(st->st_dev, type, sizeof(type));
    const char *network = rh_journal_network_fs((long)fs.f_type, type);
    if (network == NULL)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "use state folder '%s': it is on a network file system (%s), whose locks don't hold",
            RH_SHOW(rh_bytes_text(dir)), network);
    rh_error_hint(err, "choose a folder on a local disk (state_dir in the plan, or REHOME_STATE_DIR)");
    return RH_E_REFUSED;
}

/* Refuses a folder in which somebody else could change files under us. */
static enum rh_status refuse_foreign(const char *dir, const struct stat *st, unsigned flags, struct rh_error *err)
{
    bool reader_root = (flags & RH_JOURNAL_READ_ONLY) && geteuid() == 0;
    if (st->st_uid != geteuid() && !reader_root) {
        struct passwd entry, *owner = NULL;
        char room[16384];
        rh_fail(err, RH_E_REFUSED, "use state folder '%s': it belongs to user %u, not to user %u",
                RH_SHOW(rh_bytes_text(dir)), (unsigned)st->st_uid, (unsigned)geteuid());
        if (getpwuid_r(st->st_uid, &entry, room, sizeof room, &owner) == 0 && owner)
            rh_error_hint(err, "run as the user that began (sudo -u %s ...), or choose another state folder",
                          RH_SHOW(rh_bytes_text(entry.pw_name)));
        else
            rh_error_hint(err, "run as the user that began, or choose another state folder");
        return RH_E_REFUSED;
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        rh_fail(err, RH_E_REFUSED, "use state folder '%s': others may write to it (mode %04o)",
                RH_SHOW(rh_bytes_text(dir)), (unsigned)(st->st_mode & 07777));
        rh_error_hint(err, "chmod 700 %s, or choose another state folder", RH_SHOW(rh_bytes_text(dir)));
        return RH_E_REFUSED;
    }
    return RH_OK;
}

/* Makes the folder and its entry in its parent durable. */
static enum rh_status folder_make(const char *dir, struct rh_error *err)
{
    enum rh_status status = rh_make_dirs(dir, 0700, err);
    if (status != RH_OK) {
        rh_error_prepend(err, "make state folder '%s'", RH_SHOW(rh_bytes_text(dir)));
        rh_error_hint(err, "name another one by --state-dir, REHOME_STATE_DIR or the plan's state_dir");
        return status;
    }
    rh_auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rh_auto_fd int parent = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A parent that may not be read can't be synced either; a lost folder is then a journal that is absent. */
    if (parent >= 0 && fsync(parent) != 0)
        return rh_fail_errno(err, errno, "sync the parent of state folder '%s'", RH_SHOW(rh_bytes_text(dir)));
    return RH_OK;
}

enum rh_status rh_journal_folder_open(const char *dir, unsigned flags, int *ret_fd, struct rh_error *err)
{
    rh_auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        if (!(flags & RH_JOURNAL_CREATE))
            return RH_NOT_FOUND;
        enum rh_status status = folder_make(dir, err);
        if (status != RH_OK)
            return status;
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "open state folder '%s'", RH_SHOW(rh_bytes_text(dir)));
    enum rh_status status = refuse_foreign(dir, &st, flags, err);
    if (status == RH_OK)
        status = refuse_network(fd, dir, &st, err);
    if (status != RH_OK)
        return status;
    *ret_fd = fd;
    fd = -1;
    return RH_OK;
}

/* Refuses a journal file that isn't ours alone. */
static enum rh_status
refuse_shared(const char *dir, const char *file, const struct stat *st, unsigned flags, struct rh_error *err)
{
    bool reader_root = (flags & RH_JOURNAL_READ_ONLY) && geteuid() == 0;
    const char *why = NULL;
    if (!S_ISREG(st->st_mode))
        why = "it is not a regular file";
    else if (st->st_nlink != 1)
        why = "it has more than one hard link";
    else if (st->st_uid != geteuid() && !reader_root)
        why = "it belongs to another user";
    else if (st->st_mode & (S_IRWXG | S_IRWXO))
        why = "others may read or write it";
    if (why == NULL)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "open journal '%s/%s': %s", RH_SHOW(rh_bytes_text(dir)), file, why);
    if (S_ISREG(st->st_mode) && (st->st_mode & (S_IRWXG | S_IRWXO)))
        rh_error_hint(err, "chmod 600 %s/%s", RH_SHOW(rh_bytes_text(dir)), file);
    return RH_E_REFUSED;
}

enum rh_status rh_journal_file_check(
    int dir_fd, const char *dir, const char *name, unsigned flags, bool *ret_empty, struct rh_error *err)
{
    struct file_name file = file_name(name, JOURNAL_SUFFIX);
    struct stat st;
    if (fstatat(dir_fd, file.text, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        enum rh_status status = refuse_shared(dir, file.text, &st, flags, err);
        if (status == RH_OK)
            *ret_empty = st.st_size == 0;
        return status;
    }
    if (errno != ENOENT)
        return rh_fail_errno(err, errno, "look at journal '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    if (!(flags & RH_JOURNAL_CREATE))
        return RH_NOT_FOUND;
    /* Made here and not by SQLite for the mode; its descriptor is closed before SQLite takes locks on the file. */
    rh_auto_fd int fd = openat(dir_fd, file.text, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(fd) != 0 || fsync(dir_fd) != 0)
        return rh_fail_errno(err, errno, "make journal '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    *ret_empty = true;
    return RH_OK;
}

/* The whole file. */
static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

/* The pid written in a lock file, 0 when there is none (yet). */
static pid_t lock_pid(int fd)
{
    char text[24];
    ssize_t size = pread(fd, text, sizeof(text), 0);
    if (size <= 0)
        return 0;
    struct rh_bytes digits = rh_bytes(text, (size_t)size);
    while (digits.size > 0 && digits.data[digits.size - 1] == '\n')
        digits.size--;
    int64_t pid = 0;
    if (rh_parse_i64(digits, &pid) != RH_OK || pid <= 0 || pid > INT32_MAX)
        return 0;
    return (pid_t)pid;
}

/* The words for a lock that another one holds. */
static enum rh_status locked_by_other(int fd, const char *dir, const char *name, struct rh_error *err)
{
    pid_t pid = lock_pid(fd);
    if (pid > 0)
        rh_fail(err, RH_E_LOCKED, "open journal '%s' in '%s': process %d is at work with it", name,
                RH_SHOW(rh_bytes_text(dir)), (int)pid);
    else
        rh_fail(err, RH_E_LOCKED, "open journal '%s' in '%s': another process is at work with it", name,
                RH_SHOW(rh_bytes_text(dir)));
    rh_error_hint(err, "wait for it to end, or stop it; 'rehome status' shows what it does");
    if (err != NULL)
        err->retry = RH_RETRY_LATER;
    return RH_E_LOCKED;
}

enum rh_status rh_journal_lock(int dir_fd, const char *dir, const char *name, int *ret_fd, struct rh_error *err)
{
    struct file_name file = file_name(name, ".lock");
    rh_auto_fd int fd = openat(dir_fd, file.text, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "open lock file '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    struct flock lock = whole_file();
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return locked_by_other(fd, dir, name, err);
        return rh_fail_errno(err, errno, "lock '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    }
    char text[24];
    int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)size, 0) != size)
        return rh_fail_errno(err, errno, "write lock file '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    *ret_fd = fd;
    fd = -1;
    return RH_OK;
}

enum rh_status rh_journal_owner(const char *dir, const char *name, pid_t *ret_pid, struct rh_error *err)
{
    enum rh_status status = name_check(name, err);
    if (status != RH_OK)
        return status;
    struct file_name file = file_name(name, ".lock");
    rh_auto_fd int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rh_auto_fd int fd = dir_fd < 0 ? -1 : openat(dir_fd, file.text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret_pid = 0;
        return RH_OK;
    }
    if (fd < 0)
        return rh_fail_errno(err, errno, "open lock file '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
    /* An owner that has just locked has not written its pid yet: look again for a moment. */
    for (int attempt = 0;; attempt++) {
        struct flock lock = whole_file();
        if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
            return rh_fail_errno(err, errno, "look at lock '%s/%s'", RH_SHOW(rh_bytes_text(dir)), file.text);
        pid_t pid = lock.l_type == F_UNLCK ? 0 : lock_pid(fd);
        if (lock.l_type == F_UNLCK || pid > 0 || attempt == 50) {
            *ret_pid = lock.l_type == F_UNLCK ? 0 : pid > 0 ? pid : -1;
            return RH_OK;
        }
        rh_sleep_us(1000);
    }
}

/* Keeps NAME.journal of valid names. */
static int is_journal(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name), suffix = strlen(JOURNAL_SUFFIX);
    char name[RH_JOURNAL_NAME_MAX + 1];
    if (size <= suffix || size - suffix > RH_JOURNAL_NAME_MAX ||
        strcmp(entry->d_name + size - suffix, JOURNAL_SUFFIX) != 0)
        return 0;
    memcpy(name, entry->d_name, size - suffix);
    name[size - suffix] = '\0';
    return rh_journal_name_valid(name);
}

enum rh_status
rh_journal_list(const char *dir, enum rh_status (*each)(void *user, const char *name), void *user, struct rh_error *err)
{
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_journal, alphasort);
    if (count < 0 && errno == ENOENT)
        return RH_OK;
    if (count < 0)
        return rh_fail_errno(err, errno, "read state folder '%s'", RH_SHOW(rh_bytes_text(dir)));
    enum rh_status status = RH_OK;
    for (int i = 0; i < count; i++) {
        if (status == RH_OK) {
            entries[i]->d_name[strlen(entries[i]->d_name) - strlen(JOURNAL_SUFFIX)] = '\0';
            status = each(user, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}
