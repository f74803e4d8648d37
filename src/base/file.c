/* SPDX-License-Identifier: Apache-2.0 */
/* Small files, whole: read, and replace so that old or new is there, never half of it. */
#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Shown in messages: the name's own bytes, made safe. */
#define SHOW_NAME(name) RH_SHOW(rh_bytes_text(name))

/* Reads to the end into buf; sees a file that is longer than the limit by reading one byte more. */
static enum rh_status read_rest(int fd, const char *name, size_t limit, struct rh_buf *buf, struct rh_error *err)
{
    for (;;) {
        size_t want = limit - buf->size;
        if (want > 65536)
            want = 65536;
        uint8_t probe;
        if (want) {
            enum rh_status status = rh_buf_reserve(buf, want, err);
            if (status)
                return rh_failed(status) && err ? rh_error_prepend(err, "reading '%s'", SHOW_NAME(name)) : status;
        }
        ssize_t got = want ? read(fd, buf->data + buf->size, want) : read(fd, &probe, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "reading '%s'", SHOW_NAME(name));
        if (got == 0)
            return RH_OK;
        if (!want)
            return rh_fail(err, RH_E_LIMIT, "reading '%s': larger than %zu bytes", SHOW_NAME(name), limit);
        buf->size += (size_t)got;
    }
}

enum rh_status rh_file_read(int dir_fd, const char *name, size_t limit, struct rh_buf *buf, struct rh_error *err)
{
    rh_buf_clear(buf);
    rh_auto_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening '%s'", SHOW_NAME(name));
    enum rh_status status = read_rest(fd, name, limit, buf, err);
    if (status)
        rh_buf_clear(buf);
    return status;
}

enum rh_status rh_write_all(int fd, struct rh_bytes content, struct rh_error *err)
{
    while (content.size) {
        ssize_t done = write(fd, content.data, content.size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return rh_fail_errno(err, errno, "writing %zu bytes", content.size);
        content = rh_bytes(content.data + done, content.size - (size_t)done);
    }
    return RH_OK;
}

/* Opens the folder a name lies in, and points to the last part of the name. */
static enum rh_status
open_folder(int dir_fd, const char *name, int *ret_fd, const char **ret_last, struct rh_error *err)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(name, '/');
    if (slash) {
        size_t length = slash == name ? 1 : (size_t)(slash - name);
        if (length >= sizeof folder)
            return rh_fail_errno(err, ENAMETOOLONG, "opening the folder of '%s'", SHOW_NAME(name));
        memcpy(folder, name, length);
        folder[length] = '\0';
    }
    int fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening folder '%s'", SHOW_NAME(folder));
    *ret_fd = fd;
    *ret_last = slash ? slash + 1 : name;
    return RH_OK;
}

/* Fills the new file and makes it durable. */
static enum rh_status fill(int fd, struct rh_bytes content, mode_t mode, struct rh_error *err)
{
    if (fchmod(fd, mode)) /* past the umask */
        return rh_fail_errno(err, errno, "setting the mode");
    enum rh_status status = rh_write_all(fd, content, err);
    if (!status && fsync(fd))
        status = rh_fail_errno(err, errno, "syncing");
    return status;
}

enum rh_status rh_file_replace(int dir_fd, const char *name, struct rh_bytes content, mode_t mode, struct rh_error *err)
{
    rh_auto_fd int folder = -1;
    const char *last = NULL;
    enum rh_status status = open_folder(dir_fd, name, &folder, &last, err);
    if (status)
        return status;
    uint64_t stamp;
    status = rh_random(&stamp, sizeof stamp, err);
    if (status)
        return status;
    char temporary[NAME_MAX + 1];
    (void)snprintf(temporary, sizeof temporary, ".rehome-%016llx.tmp", (unsigned long long)stamp);
    rh_auto_fd int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "making a temporary file beside '%s'", SHOW_NAME(name));
    status = fill(fd, content, mode ? mode : 0600, err);
    if (!status) {
        /* power lost before the rename is durable: the old file; after: the new one, whole, since it was synced */
        rh_crash_point("file-replace");
        if (renameat(folder, temporary, folder, last))
            status = rh_fail_errno(err, errno, "renaming over it");
        else if (fsync(folder))
            return rh_fail_errno(err, errno, "syncing the folder of '%s'", SHOW_NAME(name));
    }
    if (status) {
        (void)unlinkat(folder, temporary, 0); /* the first failure is the one to tell */
        if (err)
            rh_error_prepend(err, "replacing '%s'", SHOW_NAME(name));
    }
    return status;
}

/* One folder; fine when it is there. */
static enum rh_status make_dir(const char *path, mode_t mode, struct rh_error *err)
{
    if (mkdir(path, mode) == 0)
        return RH_OK;
    int failed = errno;
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return RH_OK;
        failed = ENOTDIR;
    }
    return rh_fail_errno(err, failed, "making folder '%s'", SHOW_NAME(path));
}

enum rh_status rh_make_dirs(const char *path, mode_t mode, struct rh_error *err)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return rh_fail_errno(err, length ? ENAMETOOLONG : ENOENT, "making folder '%s'", SHOW_NAME(path));
    for (size_t i = 1; i <= length; i++) {
        if (i < length && (path[i] != '/' || path[i - 1] == '/'))
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        enum rh_status status = make_dir(part, mode, err);
        if (status)
            return status;
    }
    return RH_OK;
}
