/* SPDX-License-Identifier: Apache-2.0 */
/* The way through a data folder. Which file is which is told by its name, for binary logs by how they begin. */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MOST = 6 }; /* folders below the data folder */

/* Where the walk is. */
struct walk {
    struct proof_run *run;
    struct rh_buf path; /* of what is looked at */
    struct rh_buf name; /* the same below the data folder, without the ending of a tablespace */
    size_t top;         /* how much of the path is the data folder's, with '/' */
    dev_t device;       /* of the data folder: a link back to it isn't gone along */
    ino_t inode;
};

static void walk_done(struct walk *walk)
{
    rh_buf_done(&walk->path);
    rh_buf_done(&walk->name);
}

static enum rh_status walk_folder(struct walk *walk, int fd, const char *name, int depth, struct rh_error *err);

static bool ends_with(const char *name, const char *tail)
{
    const size_t size = strlen(name), tail_size = strlen(tail);
    return size > tail_size && strcmp(name + size - tail_size, tail) == 0;
}

/* Whether a name is a word and a number. */
static bool is_numbered(const char *name, const char *word)
{
    const size_t size = strlen(word);
    return strncmp(name, word, size) == 0 && name[size] && strspn(name + size, "0123456789") == strlen(name + size);
}

/* Undo tablespaces have an ending only where somebody gave them one. */
static bool is_undo(const char *name)
{
    return ends_with(name, ".ibu") || is_numbered(name, "undo_") || is_numbered(name, "undo");
}

static bool is_tablespace(const char *name)
{
    return ends_with(name, ".ibd") || is_numbered(name, "ibdata") || is_undo(name);
}

/* Redo logs lie in a folder of their own since 8.0.30; those with _tmp at their end are spare and hold nothing. */
static bool is_redo(const char *name, const char *folder)
{
    return (strcmp(folder, "#innodb_redo") == 0 && is_numbered(name, "#ib_redo")) || is_numbered(name, "ib_logfile");
}

/* A running server holds its first system tablespace locked. */
static void note_server(struct walk *walk, const char *name, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (is_numbered(name, "ibdata") && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        walk->run->counts.server = lock.l_pid > 0 ? lock.l_pid : -1;
}

/* Whether a server is at work is known before the first file is judged. */
static void look_for_server(struct walk *walk, int folder)
{
    rh_auto_fd int fd = openat(folder, "ibdata1", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        note_server(walk, "ibdata1", fd);
}

/* What the file under the walk is called for people. */
static enum rh_status name_it(struct walk *walk, struct rh_error *err)
{
    const char *below = rh_buf_cstr(&walk->path) + walk->top;
    const size_t size = strlen(below) - (ends_with(below, ".ibd") ? 4 : 0);
    rh_buf_clear(&walk->name);
    return rh_buf_add(&walk->name, below, size, err);
}

/* One file that is open, in the folder of that name. */
static enum rh_status walk_file(struct walk *walk, int fd, const char *name, const char *folder, struct rh_error *err)
{
    const struct proof_file file = {
        .name = rh_buf_cstr(&walk->name), .path = rh_buf_cstr(&walk->path), .undo = is_undo(name), .fd = fd};
    note_server(walk, name, fd);
    if (is_tablespace(name))
        return proof_judge_tablespace(walk->run, &file, err);
    if (is_redo(name, folder))
        return proof_judge_redo(walk->run, &file, err);
    return proof_judge_other(walk->run, &file, err);
}

/* What can't be opened: gone since it was listed, or nothing to read from; else it may matter. */
static enum rh_status
walk_refused(struct walk *walk, int parent, const char *name, const char *folder, int why, struct rh_error *err)
{
    struct rh_error words = {0};
    struct stat link;
    /* a link to a disk that isn't there is no file that is gone */
    const bool lost = why == ENOENT && (is_tablespace(name) || is_redo(name, folder)) &&
                      fstatat(parent, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(link.st_mode);
    if ((why == ENOENT && !lost) || why == ENXIO)
        return RH_OK;
    const struct rh_proof_item item = {
        .kind = is_tablespace(name)     ? RH_PROOF_TABLESPACE
                : is_redo(name, folder) ? RH_PROOF_REDO
                                        : RH_PROOF_BINLOG,
        .result = RH_PROOF_UNREADABLE,
        .undo = is_undo(name),
        .name = rh_buf_cstr(&walk->name),
        .path = rh_buf_cstr(&walk->path),
        .key_id = "",
        .why = words.text,
    };
    rh_ignore(rh_fail_errno(&words, why, "opening it")); /* for its words */
    walk->run->counts.files++;
    walk->run->counts.encrypted++;
    walk->run->counts.failed++;
    return walk->run->args->found(walk->run->args->user, &item, err);
}

/* Whether an open folder is one to go into: links only straight below the data folder, and not back to it. */
static bool is_wanted(const struct walk *walk, int parent, const char *name, const struct stat *info, int depth)
{
    struct stat link;
    if (depth == DEPTH_MOST || strcmp(name, "#innodb_temp") == 0 ||
        fstatat(parent, name, &link, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    return !S_ISLNK(link.st_mode) || (depth == 0 && (info->st_dev != walk->device || info->st_ino != walk->inode));
}

/* One name in a folder. */
static enum rh_status
walk_entry(struct walk *walk, int parent, const char *name, const char *folder, int depth, struct rh_error *err)
{
    struct stat info;
    rh_auto_fd int fd = openat(parent, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return walk_refused(walk, parent, name, folder, errno, err);
    if (fstat(fd, &info) != 0)
        return rh_fail_errno(err, errno, "looking at '%s'", RH_SHOW(rh_buf_bytes(&walk->path)));
    if (S_ISREG(info.st_mode))
        return walk_file(walk, fd, name, folder, err);
    if (!S_ISDIR(info.st_mode) || !is_wanted(walk, parent, name, &info, depth))
        return RH_OK;
    const int own = fd;
    fd = -1; /* the folder closes it */
    return walk_folder(walk, own, name, depth + 1, err);
}

static void close_folder(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

/* Goes through an open folder whose path stands in the walk; takes the descriptor. */
static enum rh_status walk_folder(struct walk *walk, int fd, const char *name, int depth, struct rh_error *err)
{
    __attribute__((cleanup(close_folder))) DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return rh_fail_errno(err, errno, "reading the folder '%s'", RH_SHOW(rh_buf_bytes(&walk->path)));
    }
    enum rh_status status = rh_buf_u8(&walk->path, '/', err);
    const size_t size = walk->path.size;
    while (status == RH_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder); /* NOLINT(concurrency-mt-unsafe): a stream of our own */
        if (!entry)
            return errno ? rh_fail_errno(err, errno, "reading the folder '%s'", RH_SHOW(rh_buf_bytes(&walk->path)))
                         : RH_OK;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (walk->run->args->cancel && atomic_load(walk->run->args->cancel))
            return rh_fail(err, RH_E_CANCELLED, "interrupted");
        walk->path.size = size;
        status = rh_buf_text(&walk->path, entry->d_name, err);
        if (status == RH_OK)
            status = name_it(walk, err);
        if (status == RH_OK)
            status = walk_entry(walk, dirfd(folder), entry->d_name, name, depth, err);
    }
    return status;
}

enum rh_status rh_proof_run(const struct rh_proof_args *args, struct rh_proof_counts *ret_counts, struct rh_error *err)
{
    struct proof_run run = {.args = args, .keys = {.args = args}};
    __attribute__((cleanup(walk_done))) struct walk walk = {.run = &run};
    struct stat info;
    rh_auto_fd int fd = open(args->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return rh_fail_errno(err, errno, "opening the data folder '%s'", RH_SHOW(rh_bytes_text(args->folder)));
    walk.device = info.st_dev;
    walk.inode = info.st_ino;
    enum rh_status status = rh_buf_text(&walk.path, args->folder, err);
    while (walk.path.size > 1 && walk.path.data[walk.path.size - 1] == '/')
        walk.path.size--;
    walk.top = walk.path.size + 1;
    const int own = fd;
    fd = -1;
    look_for_server(&walk, own);
    if (status == RH_OK)
        status = walk_folder(&walk, own, "", 0, err);
    else
        close(own);
    run.counts.keys = run.keys.count;
    proof_keys_done(&run.keys);
    if (status != RH_OK)
        return status;
    if (run.counts.files == 0) {
        rh_fail(err, RH_E_REFUSED, "the folder '%s' holds no data of a MySQL server",
                RH_SHOW(rh_bytes_text(args->folder)));
        rh_error_hint(err, "name the server's data folder (SELECT @@datadir)");
        return RH_E_REFUSED;
    }
    *ret_counts = run.counts;
    return RH_OK;
}

const char *rh_proof_kind_name(enum rh_proof_kind kind)
{
    static const char *const names[] = {
        [RH_PROOF_TABLESPACE] = "tablespace", [RH_PROOF_REDO] = "redo log", [RH_PROOF_BINLOG] = "binary log"};
    return names[kind];
}
