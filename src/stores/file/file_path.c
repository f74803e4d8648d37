/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a key to an open file. Everything goes through the descriptor of the root folder, and no symbolic link below it
 * is followed: openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, or folder by folder with O_NOFOLLOW on kernels
 * (and under sandboxes) without it.
 */
#include "file_entry.h"
#include "file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define READ_AT_ONCE (128 << 10) /* a value of 64 KiB is 87 KiB in its file */

/* The next component of a path, moving *at behind it and its '/'; false at the end. */
static bool next_part(struct rh_bytes path, size_t *at, struct rh_bytes *ret_part)
{
    if (*at > path.size || path.size == 0)
        return false;
    const uint8_t *start = path.data + *at;
    const uint8_t *slash = memchr(start, '/', path.size - *at);
    size_t size = slash ? (size_t)(slash - start) : path.size - *at;
    *ret_part = rh_bytes(start, size);
    *at += size + 1;
    return true;
}

bool file_key_is_path(struct rh_bytes key)
{
    struct rh_bytes part;
    size_t at = 0;
    if (key.size == 0 || memchr(key.data, 0, key.size))
        return false;
    while (next_part(key, &at, &part))
        if (part.size == 0 || (part.size == 1 && part.data[0] == '.') ||
            (part.size == 2 && part.data[0] == '.' && part.data[1] == '.'))
            return false;
    return true;
}

enum rh_status file_root(struct file_session *session, struct rh_error *err)
{
    const struct file_store *store = (struct file_store *)session->base.store;
    struct rh_bytes shown = rh_bytes_text(store->path);
    struct stat st;
    if (session->root_fd >= 0)
        return RH_OK;
    rh_auto_fd int fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    if (fd < 0 && errno == ENOTDIR) {
        enum rh_status status = rh_fail(err, RH_E_REFUSED, "open folder '%s': it is not a folder", RH_SHOW(shown));
        rh_error_hint(err, "set path to the root folder of the storage");
        return status;
    }
    if (fd < 0)
        return rh_fail_errno(err, errno, "open folder '%s'", RH_SHOW(shown));
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "look at folder '%s'", RH_SHOW(shown));
    session->uid = st.st_uid;
    session->gid = st.st_gid;
    session->adopt = geteuid() == 0 && (st.st_uid != 0 || st.st_gid != 0);
    session->root_fd = fd;
    fd = -1;
    return RH_OK;
}

/* Folder by folder; 0 or errno. */
static int walk_open(int root_fd, struct rh_bytes dir, int *ret_fd)
{
    rh_auto_fd int fd = -1;
    struct rh_bytes part;
    size_t at = 0;
    while (next_part(dir, &at, &part)) {
        char name[FILE_NAME_MAX + 1];
        if (part.size > FILE_NAME_MAX)
            return ENAMETOOLONG;
        memcpy(name, part.data, part.size);
        name[part.size] = '\0';
        int above = fd < 0 ? root_fd : fd;
        int next = openat(above, name, DIR_FLAGS);
        if (next < 0 && errno == ENOTDIR) { /* what a link gives here, too */
            struct stat st;
            return fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
        }
        if (next < 0)
            return errno;
        if (fd >= 0)
            close(fd);
        fd = next;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* In one call where the kernel can; 0 or errno. */
static int beneath_open(int root_fd, struct rh_bytes dir, int *ret_fd)
{
    char path[PATH_MAX];
    struct open_how how = {.flags = DIR_FLAGS,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    if (dir.size >= sizeof(path))
        return ENAMETOOLONG;
    memcpy(path, dir.data, dir.size);
    path[dir.size] = '\0';
    long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd >= 0) {
        *ret_fd = (int)fd;
        return 0;
    }
    if (errno == ENOSYS || errno == EPERM || errno == EAGAIN ||
        errno == ENOTDIR) /* the walk tells a link from a file */
        return walk_open(root_fd, dir, ret_fd);
    return errno;
}

void file_dir_forget(struct file_session *session)
{
    if (session->dir_fd >= 0)
        close(session->dir_fd);
    session->dir_fd = -1;
}

int file_dir_open(struct file_session *session, struct rh_bytes dir, int *ret_fd)
{
    int fd = -1;
    if (dir.size == 0) {
        *ret_fd = session->root_fd;
        return 0;
    }
    if (session->dir_fd < 0 || !rh_bytes_equal(rh_buf_bytes(&session->dir_path), dir)) {
        int problem = beneath_open(session->root_fd, dir, &fd);
        if (problem)
            return problem;
        file_dir_forget(session);
        rh_buf_clear(&session->dir_path);
        if (rh_buf_add(&session->dir_path, dir.data, dir.size, NULL) != RH_OK) {
            close(fd);
            return ENOMEM;
        }
        session->dir_fd = fd;
    }
    *ret_fd = session->dir_fd;
    return 0;
}

bool file_key_split(struct rh_bytes key, struct rh_bytes *ret_dir, char ret_name[static FILE_NAME_MAX + 1])
{
    const uint8_t *slash = memrchr(key.data, '/', key.size);
    size_t dir = slash ? (size_t)(slash - key.data) : 0;
    size_t start = slash ? dir + 1 : 0;
    size_t size = key.size - start;
    if (size + 1 > FILE_NAME_MAX)
        return false;
    ret_name[0] = '_';
    memcpy(ret_name + 1, key.data + start, size);
    ret_name[size + 1] = '\0';
    *ret_dir = rh_bytes(key.data, dir);
    return true;
}

void file_warn_skipped(struct rh_bytes path, const char *why)
{
    rh_log(RH_LOG_WARN, "passed over what is no record", {"path", RH_SHOW(path)}, {"why", why});
}

/* Reads exactly `size` bytes into session->read, and sees that the file ends there. */
static enum rh_status
read_whole(struct file_session *session, int fd, size_t size, struct rh_bytes key, struct rh_error *err)
{
    struct rh_buf *buf = &session->read;
    rh_buf_clear(buf);
    if (buf->capacity > (4u << 20) && size < (1u << 20))
        rh_buf_done(buf); /* one huge record shall not cost memory for ever */
    enum rh_status status = rh_buf_reserve(buf, size + 1, err);
    while (status == RH_OK && buf->size <= size) {
        ssize_t got = pread(fd, buf->data + buf->size, size + 1 - buf->size, (off_t)buf->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "read '%s'", RH_SHOW(key));
        buf->size += (size_t)got;
        if (got == 0 || buf->size == size)
            break;
    }
    if (status == RH_OK && buf->size != size)
        return rh_fail(err, RH_E_IO, "read '%s': its file changed while it was read", RH_SHOW(key));
    return status;
}

/* Decodes session->read into a new record. */
static enum rh_status
add_record(struct file_session *session, struct rh_bytes key, struct rh_batch *batch, struct rh_error *err)
{
    struct rh_bytes text;
    const char *reason = "";
    enum rh_status status = rh_file_entry_parse(session->read.data, session->read.size, &text, &reason);
    if (status != RH_OK)
        return rh_fail(err, status, "read '%s': its file is not as Vault writes it: %s", RH_SHOW(key), reason);
    struct rh_field *field = rh_arena_get(&batch->arena, sizeof(*field));
    uint8_t *value = rh_arena_get(&batch->arena, text.size / 4 * 3 + 4);
    struct rh_bytes name = rh_arena_copy(&batch->arena, key);
    if (!field || !value || !name.data)
        return rh_fail_memory(err);
    size_t size = 0;
    if (text.size && rh_base64_decode_into(value, &size, text) != RH_OK)
        return rh_fail(err, RH_E_CORRUPT, "read '%s': the value in its file is not base64", RH_SHOW(key));
    struct rh_record *record = rh_batch_add(batch);
    if (!record)
        return rh_fail_memory(err);
    *field = (struct rh_field){.tag = text.data ? RH_TAG_BYTES : RH_TAG_NULL, .value = rh_bytes(value, size)};
    record->key = name;
    record->fields = field;
    record->field_count = 1;
    record->value_bytes = size;
    batch->bytes += name.size + size;
    return RH_OK;
}

/* Reads a file that is as Vault writes it and not large with one call. False: it has to be looked at closely. The last
 * bytes, which base64 can't hold, tell that it is whole. */
static bool read_at_once(struct file_session *session, int fd)
{
    static const char tail[] = "\"}\n";
    struct rh_buf *buf = &session->read;
    rh_buf_clear(buf);
    if (buf->capacity < READ_AT_ONCE && rh_buf_reserve(buf, READ_AT_ONCE, NULL) != RH_OK)
        return false;
    const ssize_t got = read(fd, buf->data, READ_AT_ONCE);
    const size_t tail_size = sizeof(tail) - 1;
    if (got < (ssize_t)tail_size || got == READ_AT_ONCE ||
        memcmp(buf->data + (size_t)got - tail_size, tail, tail_size) != 0)
        return false;
    buf->size = (size_t)got;
    return true;
}

enum rh_status file_read_record(struct file_session *session,
                                int dir_fd,
                                const char *name,
                                struct rh_bytes key,
                                struct rh_batch *batch,
                                struct rh_error *err)
{
    struct stat st;
    rh_auto_fd int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG))
        return RH_NOT_FOUND;
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return rh_fail(err, RH_E_REFUSED, "read '%s': '%s' is not a plain file", RH_SHOW(key),
                       RH_SHOW(rh_bytes_text(name)));
    if (fd < 0)
        return rh_fail_errno(err, errno, "open the file of '%s'", RH_SHOW(key));
    if (read_at_once(session, fd))
        return add_record(session, key, batch, err);
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "look at the file of '%s'", RH_SHOW(key));
    if (S_ISDIR(st.st_mode))
        return RH_NOT_FOUND;
    if (!S_ISREG(st.st_mode))
        return rh_fail(err, RH_E_REFUSED, "read '%s': '%s' is not a plain file", RH_SHOW(key),
                       RH_SHOW(rh_bytes_text(name)));
    if (st.st_size == 0)
        return RH_END;
    if ((uint64_t)st.st_size > FILE_BYTES_MAX)
        return rh_fail(err, RH_E_LIMIT, "read '%s': its file is larger than 1 GiB", RH_SHOW(key));
    enum rh_status status = read_whole(session, fd, (size_t)st.st_size, key, err);
    return status == RH_OK ? add_record(session, key, batch, err) : status;
}

enum rh_status
file_get_record(struct file_session *session, struct rh_bytes key, struct rh_batch *batch, struct rh_error *err)
{
    const struct file_store *store = (struct file_store *)session->base.store;
    char name[FILE_NAME_MAX + 1];
    struct rh_bytes dir;
    int dir_fd = -1;
    if (!file_key_is_path(key) || !file_key_split(key, &dir, name))
        return RH_NOT_FOUND;
    int problem = file_dir_open(session, dir, &dir_fd);
    if (problem == ENOENT || problem == ENOTDIR || problem == ENAMETOOLONG)
        return RH_NOT_FOUND;
    if (problem == ELOOP || problem == EXDEV)
        return rh_fail(err, RH_E_REFUSED, "read '%s': a symbolic link stands in its path", RH_SHOW(key));
    if (problem)
        return rh_fail_errno(err, problem, "open the folder of '%s'", RH_SHOW(key));
    enum rh_status status = file_read_record(session, dir_fd, name, key, batch, err);
    if (status == RH_END && store->leftovers == FILE_LEFTOVERS_REFUSE) {
        status = rh_fail(err, RH_E_REFUSED, "read '%s': its file is empty, which Vault takes for absent", RH_SHOW(key));
        rh_error_hint(err, "remove the file, or set leftovers = \"skip\"");
    } else if (status == RH_END) {
        file_warn_skipped(key, "the file is empty");
        status = RH_NOT_FOUND;
    }
    return status;
}
