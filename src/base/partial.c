/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partial files: what lies beside a file while its next content is written. Its writer holds an open-file-description
 * lock on it as long as it lives, so that a live writer can be told from what a killed one left.
 */
#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* False: somebody else has the lock. A file system without locks has no second writer that could be seen. */
static bool take_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

bool rh_file_is(int folder, const char *name, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(folder, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static enum rh_status locked(const char *name, struct rh_error *err)
{
    rh_fail(err, RH_E_LOCKED, "another process is writing '%s'", RH_SHOW(rh_bytes_text(name)));
    rh_error_hint(err, "let it end, or stop it, then run this command again");
    return RH_E_LOCKED;
}

bool rh_partial_busy(int folder, const char *name)
{
    rh_auto_fd int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

enum rh_status rh_partial_sweep(int folder, const char *name, struct rh_error *err)
{
    rh_auto_fd int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_OK;
    if (fd < 0) {
        enum rh_status status =
            rh_fail_errno(err, errno, "opening '%s', which a writer left", RH_SHOW(rh_bytes_text(name)));
        rh_error_hint(err, "look at what lies there beside the file that is to be written, and remove it");
        return status;
    }
    if (!take_lock(fd))
        return locked(name, err);
    /* never emptied, only unnamed: a writer that was killed while it gave the file its name left two names of it */
    if (rh_file_is(folder, name, fd) && unlinkat(folder, name, 0) != 0 && errno != ENOENT)
        return rh_fail_errno(err, errno, "removing '%s', which a writer left", RH_SHOW(rh_bytes_text(name)));
    return RH_OK;
}

enum rh_status rh_partial_make(int folder, const char *name, int *ret_fd, struct rh_error *err)
{
    for (int i = 0; i < 100; i++) {
        rh_auto_fd int fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            return rh_fail_errno(err, errno, "making '%s'", RH_SHOW(rh_bytes_text(name)));
        /* a sweeper may have come between the making and the lock */
        if (fd >= 0 && take_lock(fd) && rh_file_is(folder, name, fd)) {
            *ret_fd = fd;
            fd = -1;
            return RH_OK;
        }
        enum rh_status status = rh_partial_sweep(folder, name, err);
        if (status != RH_OK)
            return status;
    }
    return locked(name, err);
}

void rh_partial_drop(int folder, const char *name, int *fd)
{
    if (*fd < 0)
        return;
    if (rh_file_is(folder, name, *fd))
        (void)unlinkat(folder, name, 0); /* what stays, the next writer sweeps */
    close(*fd);
    *fd = -1;
}
