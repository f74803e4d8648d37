/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to a file tree so that after a crash each key holds its old or its new value, whole.
 *
 * Temporaries live in the folder `.rehome-tmp` in the root, made by the first write and removed by the last session
 * that leaves: in the root, since only there rename(2) is sure to stay within one file system, and in a folder of their
 * own, since Vault would list a foreign file beside its own as a key. Their names begin with "t-", never with '_', so
 * that no reader takes one for a record. Each session at work holds a shared flock(2) on the folder; who gets it
 * exclusively knows that nobody is at work and may remove what a killed run left.
 *
 * A commit, and what is lost if power fails just before / just after each barrier:
 *   put       temporaries are written             nothing of the batch shows; at worst temporaries lie around
 *   barrier 1 their content is durable            before: as above; after: as above, but they are whole
 *   names     rename or link to the keys' names   any of the batch's keys may be new or old, each of them whole
 *   barrier 2 the folders' entries are durable    before: as for names; after: all of the batch is there to stay
 * Each barrier is one syncfs(2) on the file system, or fsync(2) of each file and folder when they are few.
 *
 * Create is renameat2(RENAME_NOREPLACE), or link(2) where a file system can't: the kernel says who was first. If-hash
 * and remove compare, then rename or unlink: a writer that gets in between the two is not seen (file systems offer
 * nothing better); the engine's marker keeps Vault itself away.
 */
#include "file_entry.h"
#include "file_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FEW 8 /* up to here fsync each, above syncfs once */

struct temp_name {
    char text[32];
};

static struct temp_name temp_name(const struct file_session *session, uint32_t number)
{
    struct temp_name name;
    snprintf(name.text, sizeof(name.text), FILE_TEMP_PREFIX "%08x-%u", session->temp_run, number);
    return name;
}

/* --- what fits --- */

/* Why no file can be named so, or NULL. */
static const char *key_refused(const struct file_store *store, struct rh_bytes key)
{
    size_t depth = 0, start = 0;
    if (key.size == 0)
        return "the key is empty";
    if (memchr(key.data, 0, key.size))
        return "the key holds a NUL byte";
    if (key.data[0] == '/' || key.data[key.size - 1] == '/')
        return "the key begins or ends with '/'";
    if (memmem(key.data, key.size, "..", 2))
        return "the key holds \"..\", which Vault refuses";
    if (!file_key_is_path(key))
        return "the key holds an empty part or \".\"";
    if (strlen(store->path) + 1 + key.size + 1 + 5 >= PATH_MAX)
        return "the path of its file would be too long";
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] != '/')
            continue;
        if (i - start > FILE_NAME_MAX)
            return "a part of the key has more than 255 bytes";
        start = i + 1;
        if (++depth > FILE_DEPTH_MAX)
            return "the key has too many parts";
    }
    if (key.size - start > FILE_KEY_PART_MAX)
        return "the last part of the key has more than 249 bytes";
    if (key.size - start >= 5 && memcmp(key.data + key.size - 5, ".temp", 5) == 0)
        return "the key ends in \".temp\", as the names of Vault's own temporary files do";
    return NULL;
}

/* The first part above the last that begins with '_': its folder has the name of another key's file. */
static enum rh_status add_rival(struct rh_bytes key, struct rh_buf *ret_rival, struct rh_error *err)
{
    size_t start = 0;
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] != '/')
            continue;
        if (key.data[start] == '_' && i - start > 1) {
            enum rh_status status = rh_buf_add(ret_rival, key.data, start, err);
            return status == RH_OK ? rh_buf_add(ret_rival, key.data + start + 1, i - start - 1, err) : status;
        }
        start = i + 1;
    }
    return RH_OK;
}

static enum rh_status file_fits(struct rh_store *base,
                                const struct rh_dataset *dataset,
                                struct rh_bytes key,
                                uint64_t value_bytes,
                                struct rh_buf *ret_rival,
                                struct rh_error *err)
{
    const char *why = key_refused((struct file_store *)base, key);
    (void)dataset;
    if (why)
        return rh_fail(err, RH_E_LIMIT, "%s", why);
    if (value_bytes > FILE_BYTES_MAX / 4 * 3 - 64)
        return rh_fail(err, RH_E_LIMIT, "the value would make a file larger than 1 GiB");
    return ret_rival ? add_rival(key, ret_rival, err) : RH_OK;
}

/* --- the folder of temporaries --- */

/* Removes everything of ours in it. The caller holds its lock exclusively. */
static void temp_empty(int temp_fd)
{
    int fd = openat(temp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) /* what stays by an error is looked at again next time */
        if (strncmp(entry->d_name, FILE_TEMP_PREFIX, strlen(FILE_TEMP_PREFIX)) == 0)
            unlinkat(temp_fd, entry->d_name, 0);
    closedir(dir);
}

void file_temp_sweep(struct file_session *session)
{
    rh_auto_fd int fd = openat(session->root_fd, FILE_TEMP_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
        return; /* nothing there, or somebody is at work */
    temp_empty(fd);
    unlinkat(session->root_fd, FILE_TEMP_DIR, AT_REMOVEDIR); /* stays when there is more in it */
}

void file_temp_leave(struct file_session *session)
{
    if (session->temp_fd < 0)
        return;
    if (flock(session->temp_fd, LOCK_EX | LOCK_NB) == 0) { /* the last one */
        temp_empty(session->temp_fd);
        unlinkat(session->root_fd, FILE_TEMP_DIR, AT_REMOVEDIR);
    }
    close(session->temp_fd);
    session->temp_fd = -1;
}

/* Gives a new file or folder the owner of the root folder, where we are root and it isn't ours. */
static bool adopt(const struct file_session *session, int fd)
{
    return !session->adopt || fchown(fd, session->uid, session->gid) == 0;
}

/* Opens or makes the folder and holds its lock; it may be removed by another session until we have it. */
static enum rh_status temp_join(struct rh_ctx *ctx, struct file_session *session)
{
    for (int tries = 0; session->temp_fd < 0; tries++) {
        struct stat st;
        enum rh_status status = rh_ctx_check(ctx);
        if (status != RH_OK)
            return status;
        bool made = mkdirat(session->root_fd, FILE_TEMP_DIR, 0700) == 0;
        if (!made && errno != EEXIST)
            return rh_fail_errno(ctx->err, errno, "make folder '%s'", FILE_TEMP_DIR);
        rh_auto_fd int fd = openat(session->root_fd, FILE_TEMP_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
            return rh_fail_errno(ctx->err, errno, "open folder '%s'", FILE_TEMP_DIR);
        if (fd < 0)
            continue;
        if (made && !adopt(session, fd))
            return rh_fail_errno(ctx->err, errno, "give folder '%s' its owner", FILE_TEMP_DIR);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) /* nobody at work: what lies here is left over */
            temp_empty(fd);
        bool locked = flock(fd, LOCK_SH | LOCK_NB) == 0;
        if (locked && fstat(fd, &st) == 0 && st.st_nlink > 0) {
            session->temp_fd = fd;
            fd = -1;
        } else if (!locked) {
            rh_sleep_us(1000);
        }
    }
    return session->temp_run ? RH_OK : rh_random(&session->temp_run, sizeof(session->temp_run), ctx->err);
}

/* --- begin, put, remove, abort --- */

/* Removes the temporaries that are left and ends the unit. */
static void unit_end(struct file_session *session)
{
    for (size_t i = 0; i < session->op_count && session->temp_count; i++) {
        struct file_op *op = session->ops + i;
        if (!op->temp)
            continue;
        unlinkat(session->temp_fd, temp_name(session, op->temp).text, 0);
        op->temp = 0;
        session->temp_count--;
    }
    for (unsigned i = 0; i < session->touched_count; i++)
        close(session->touched[i]);
    session->touched_count = 0;
    session->touched_many = false;
    session->op_count = session->temp_count = 0;
    session->begun = session->failed = false;
    session->digest = NULL;
}

/* After a unit: a lane goes on with the next one, but the control session, which writes markers only, must not leave
 * its folder of temporaries standing for the whole run. */
static void temp_rest(struct file_session *session)
{
    if (session->base.role == RH_ROLE_CONTROL)
        file_temp_leave(session);
}

static void file_abort(struct rh_session *base)
{
    unit_end((struct file_session *)base);
    temp_rest((struct file_session *)base);
}

static enum rh_status file_begin(struct rh_ctx *ctx,
                                 struct rh_session *base,
                                 const struct rh_dataset *dataset,
                                 const struct rh_digest_key *digest)
{
    struct file_session *session = (struct file_session *)base;
    const struct file_store *store = (struct file_store *)base->store;
    (void)dataset;
    if (session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "begin writing: already begun");
    enum rh_status status = file_root(session, ctx->err);
    if (status == RH_NOT_FOUND)
        return rh_fail(ctx->err, RH_E_IO, "write to folder '%s': it does not exist",
                       RH_SHOW(rh_bytes_text(store->path)));
    if (status == RH_OK)
        status = temp_join(ctx, session);
    if (status != RH_OK)
        return status;
    session->begun = true;
    session->digest = digest;
    return RH_OK;
}

/* A new op, or NULL when memory is out. */
static struct file_op *op_add(struct file_session *session)
{
    if (session->op_count == session->op_capacity) {
        size_t capacity = session->op_capacity ? session->op_capacity * 2 : 256;
        struct file_op *ops = realloc(session->ops, capacity * sizeof(*ops));
        if (!ops)
            return NULL;
        session->ops = ops;
        session->op_capacity = capacity;
    }
    struct file_op *op = session->ops + session->op_count++;
    *op = (struct file_op){0};
    return op;
}

/* Writes session->encode as a new temporary of this op. */
static enum rh_status temp_write(struct file_session *session, struct file_op *op, struct rh_error *err)
{
    struct rh_bytes key = op->record->key;
    uint32_t number = ++session->temp_next;
    rh_auto_fd int fd = openat(session->temp_fd, temp_name(session, number).text,
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "make a temporary file for '%s'", RH_SHOW(key));
    op->temp = number;
    session->temp_count++;
    enum rh_status status = rh_write_all(fd, rh_buf_bytes(&session->encode), err);
    if (status != RH_OK)
        return err ? rh_error_prepend(err, "write the temporary file for '%s'", RH_SHOW(key)) : status;
    if (!adopt(session, fd))
        return rh_fail_errno(err, errno, "give the file of '%s' its owner", RH_SHOW(key));
    int closed = close(fd);
    fd = -1;
    if (closed != 0) /* network file systems and quotas speak up here */
        return rh_fail_errno(err, errno, "write the temporary file for '%s'", RH_SHOW(key));
    return RH_OK;
}

/* One record of a put: its temporary. */
static enum rh_status
put_record(struct file_session *session, struct rh_record *record, enum rh_put_mode mode, struct rh_error *err)
{
    const char *why = key_refused((struct file_store *)session->base.store, record->key);
    struct file_op *op = op_add(session);
    if (!op)
        return rh_fail_memory(err);
    op->record = record;
    op->mode = mode;
    record->outcome = RH_OUTCOME_NONE;
    if (why)
        return rh_fail(err, RH_E_LIMIT, "write '%s': %s", RH_SHOW(record->key), why);
    if (record->field_count != 1)
        return rh_fail(err, RH_E_INTERNAL, "write '%s': a record here has one field", RH_SHOW(record->key));
    if (record->fields[0].tag != RH_TAG_BYTES && record->fields[0].tag != RH_TAG_NULL)
        return rh_fail(err, RH_E_LIMIT, "write '%s': a file holds bytes or NULL", RH_SHOW(record->key));
    rh_buf_clear(&session->encode);
    enum rh_status status = rh_file_entry_add(&session->encode, &record->fields[0], err);
    if (status == RH_OK)
        status = temp_write(session, op, err);
    if (session->encode.capacity > (4u << 20))
        rh_buf_done(&session->encode); /* one huge record shall not cost memory for ever */
    return status;
}

static enum rh_status
file_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct file_session *session = (struct file_session *)base;
    if (!session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "write: not begun");
    for (size_t i = 0; i < batch->count; i++) {
        enum rh_status status = i % 64 == 0 ? rh_ctx_check(ctx) : RH_OK;
        if (status == RH_OK)
            status = put_record(session, batch->records + i, mode, ctx->err);
        if (status != RH_OK) {
            session->failed = true;
            return status;
        }
    }
    return RH_OK;
}

static enum rh_status file_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct file_session *session = (struct file_session *)base;
    if (!session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "remove: not begun");
    for (size_t i = 0; i < batch->count; i++) {
        struct file_op *op = op_add(session);
        if (!op) {
            session->failed = true;
            return rh_fail_memory(ctx->err);
        }
        op->record = batch->records + i;
        op->remove = true;
        op->record->outcome = RH_OUTCOME_NONE;
    }
    return rh_ctx_check(ctx);
}

/* --- commit --- */

/* Remembers that names changed in this folder, for barrier 2. */
static void touch(struct file_session *session, int fd)
{
    struct stat now, then;
    if (session->touched_many || fstat(fd, &now) != 0) {
        session->touched_many = true;
        return;
    }
    for (unsigned i = session->touched_count; i-- > 0;)
        if (fstat(session->touched[i], &then) == 0 && then.st_ino == now.st_ino && then.st_dev == now.st_dev)
            return;
    int copy = session->touched_count < FEW ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0)
        session->touched_many = true;
    else
        session->touched[session->touched_count++] = copy;
}

/* Makes the folders of `dir` that are missing. */
static enum rh_status make_folders(struct file_session *session, struct rh_bytes dir, struct rh_error *err)
{
    char name[FILE_NAME_MAX + 1];
    rh_auto_fd int fd = openat(session->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rh_fail_errno(err, errno, "open the root folder");
    for (size_t start = 0; start < dir.size;) {
        const uint8_t *slash = memchr(dir.data + start, '/', dir.size - start);
        size_t end = slash ? (size_t)(slash - dir.data) : dir.size;
        struct rh_bytes upto = rh_bytes(dir.data, end);
        memcpy(name, dir.data + start, end - start); /* key_refused has checked the size */
        name[end - start] = '\0';
        bool made = mkdirat(fd, name, 0700) == 0;
        if (!made && errno != EEXIST)
            return rh_fail_errno(err, errno, "make folder '%s'", RH_SHOW(upto));
        if (made)
            touch(session, fd);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
            return rh_fail(err, RH_E_CONFLICT, "make folder '%s': something else has that name", RH_SHOW(upto));
        if (next < 0)
            return rh_fail_errno(err, errno, "open folder '%s'", RH_SHOW(upto));
        close(fd);
        fd = next;
        if (made && !adopt(session, fd))
            return rh_fail_errno(err, errno, "give folder '%s' its owner", RH_SHOW(upto));
        start = end + 1;
    }
    return RH_OK;
}

/* The folder of a key, made when it is missing; the descriptor stays the session's. */
static enum rh_status key_folder(struct file_session *session, struct rh_bytes dir, int *ret_fd, struct rh_error *err)
{
    for (int tries = 0;; tries++) {
        int problem = file_dir_open(session, dir, ret_fd);
        if (problem == 0)
            return RH_OK;
        if (problem == ENOTDIR || problem == ELOOP || problem == EXDEV)
            return rh_fail(err, RH_E_CONFLICT, "open folder '%s': something else stands in its path", RH_SHOW(dir));
        if (problem != ENOENT || tries == 8)
            return rh_fail_errno(err, problem, "open folder '%s'", RH_SHOW(dir));
        enum rh_status status = make_folders(session, dir, err);
        if (status != RH_OK && !(err && err->native == ENOENT)) /* another session may be removing empty folders */
            return status;
    }
}

/* Whether the key holds a value of that hash now. RH_OK with *ret_is, or a failure. */
static enum rh_status
hash_is(struct file_session *session, const struct rh_record *record, bool *ret_is, struct rh_error *err)
{
    rh_auto_batch struct rh_batch held = RH_BATCH_INIT;
    *ret_is = false;
    enum rh_status status = file_get_record(session, record->key, &held, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK && session->digest)
        *ret_is = rh_hash_equal(rh_digest_record(session->digest, RH_KV_DATASET, held.records), record->expect);
    return status;
}

/* Gives the temporary its name; 0 or errno. */
static int name_temp(struct file_session *session, const struct file_op *op, bool create, int dir_fd, const char *name)
{
    struct temp_name temp = temp_name(session, op->temp);
    if (!create)
        return renameat(session->temp_fd, temp.text, dir_fd, name) == 0 ? 0 : errno;
    if (renameat2(session->temp_fd, temp.text, dir_fd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return errno;
    if (linkat(session->temp_fd, temp.text, dir_fd, name, 0) != 0)
        return errno;
    return unlinkat(session->temp_fd, temp.text, 0) == 0 ? 0 : errno;
}

/* The name is taken: by a record (EXISTS, CHANGED) or by something that can never be one. */
static enum rh_status name_taken(struct file_op *op, int dir_fd, const char *name, struct rh_error *err)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
        enum rh_status status = rh_fail(err, RH_E_CONFLICT, "write '%s': '%s' is there and is not a plain file",
                                        RH_SHOW(op->record->key), RH_SHOW(rh_bytes_text(name)));
        rh_error_hint(err, "a file storage can't hold a key and keys below a part of the same name with '_' before it");
        return status;
    }
    op->record->outcome = op->mode == RH_PUT_IF_HASH ? RH_OUTCOME_CHANGED : RH_OUTCOME_EXISTS;
    return RH_OK;
}

/* One record of a put gets its name. *changed: something of the batch shows. */
static enum rh_status commit_put(struct file_session *session, struct file_op *op, bool *changed, struct rh_error *err)
{
    struct rh_record *record = op->record;
    char name[FILE_NAME_MAX + 1];
    struct rh_bytes dir;
    int dir_fd = -1, problem = 0;
    bool create = op->mode == RH_PUT_CREATE || (op->mode == RH_PUT_IF_HASH && record->expect_absent);
    if (!file_key_split(record->key, &dir, name))
        return rh_fail(err, RH_E_INTERNAL, "write '%s': its name is too long", RH_SHOW(record->key));
    if (op->mode == RH_PUT_IF_HASH && !create) {
        bool same;
        enum rh_status status = hash_is(session, record, &same, err);
        if (status != RH_OK || !same) {
            record->outcome = RH_OUTCOME_CHANGED;
            return status;
        }
    }
    for (int tries = 0; tries < 8; tries++) {
        enum rh_status status = key_folder(session, dir, &dir_fd, err);
        if (status != RH_OK)
            return status;
        problem = name_temp(session, op, create, dir_fd, name);
        if (problem != ENOENT)
            break;
        file_dir_forget(session); /* the folder was empty and another session took it away */
    }
    if (problem == EEXIST || problem == EISDIR || problem == ENOTEMPTY)
        return name_taken(op, dir_fd, name, err);
    if (problem)
        return rh_fail_errno(err, problem, "name the file of '%s'", RH_SHOW(record->key));
    op->temp = 0;
    session->temp_count--;
    *changed = true;
    record->outcome = RH_OUTCOME_DONE;
    touch(session, dir_fd);
    return RH_OK;
}

/* Removes the folders above a removed key that are empty now, as Vault does; never the root. */
static void prune_folders(struct file_session *session, struct rh_bytes dir)
{
    char name[FILE_NAME_MAX + 1];
    while (dir.size) {
        const uint8_t *slash = memrchr(dir.data, '/', dir.size);
        size_t above = slash ? (size_t)(slash - dir.data) : 0, start = slash ? above + 1 : 0;
        int fd = -1;
        if (dir.size - start > FILE_NAME_MAX)
            return;
        memcpy(name, dir.data + start, dir.size - start);
        name[dir.size - start] = '\0';
        if (file_dir_open(session, rh_bytes(dir.data, above), &fd) != 0 || unlinkat(fd, name, AT_REMOVEDIR) != 0)
            return;
        touch(session, fd);
        dir.size = above;
    }
}

/* One record of a remove. */
static enum rh_status
commit_remove(struct file_session *session, struct file_op *op, bool *changed, struct rh_error *err)
{
    char name[FILE_NAME_MAX + 1];
    struct rh_bytes dir;
    int fd = -1;
    bool same = false;
    op->record->outcome = RH_OUTCOME_CHANGED;
    if (!file_key_is_path(op->record->key) || !file_key_split(op->record->key, &dir, name))
        return RH_OK;
    enum rh_status status = hash_is(session, op->record, &same, err);
    if (status != RH_OK || !same)
        return status;
    int problem = file_dir_open(session, dir, &fd);
    if (problem == 0 && unlinkat(fd, name, 0) != 0)
        problem = errno;
    if (problem == ENOENT)
        return RH_OK; /* somebody else was faster */
    if (problem)
        return rh_fail_errno(err, problem, "remove '%s'", RH_SHOW(op->record->key));
    *changed = true;
    op->record->outcome = RH_OUTCOME_DONE;
    touch(session, fd);
    prune_folders(session, dir);
    return RH_OK;
}

/* Barrier 1: what the temporaries hold is on the disk. */
static enum rh_status barrier_data(struct file_session *session, struct rh_error *err)
{
    if (session->temp_count == 0)
        return RH_OK;
    if (session->temp_count > FEW)
        return syncfs(session->root_fd) == 0 ? RH_OK : rh_fail_errno(err, errno, "make the values durable");
    for (size_t i = 0; i < session->op_count; i++) {
        if (!session->ops[i].temp)
            continue;
        rh_auto_fd int fd =
            openat(session->temp_fd, temp_name(session, session->ops[i].temp).text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fsync(fd) != 0)
            return rh_fail_errno(err, errno, "make '%s' durable", RH_SHOW(session->ops[i].record->key));
    }
    return RH_OK;
}

/* Barrier 2: the new names are on the disk. */
static enum rh_status barrier_names(struct file_session *session, struct rh_error *err)
{
    if (session->touched_many)
        return syncfs(session->root_fd) == 0 ? RH_OK : rh_fail_errno(err, errno, "make the names durable");
    for (unsigned i = 0; i < session->touched_count; i++)
        if (fsync(session->touched[i]) != 0)
            return rh_fail_errno(err, errno, "make the names durable");
    return RH_OK;
}

/* All names, in order. */
static enum rh_status commit_names(struct file_session *session, bool *changed, struct rh_error *err)
{
    file_dir_forget(session);
    for (size_t i = 0; i < session->op_count; i++) {
        struct file_op *op = session->ops + i;
        enum rh_status status =
            op->remove ? commit_remove(session, op, changed, err) : commit_put(session, op, changed, err);
        if (status != RH_OK)
            return status;
        if (i == 0)
            rh_crash_point("file");
    }
    return RH_OK;
}

static enum rh_status file_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct file_session *session = (struct file_session *)base;
    bool changed = false;
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK && (!session->begun || session->failed))
        status = rh_fail(ctx->err, RH_E_INTERNAL, "commit: %s", session->begun ? "a put has failed" : "not begun");
    rh_crash_point("file");
    if (status == RH_OK)
        status = barrier_data(session, ctx->err);
    rh_crash_point("file");
    if (status == RH_OK)
        status = commit_names(session, &changed, ctx->err);
    rh_crash_point("file");
    if (status == RH_OK)
        status = barrier_names(session, ctx->err);
    rh_crash_point("file");
    for (size_t i = 0; status != RH_OK && i < session->op_count; i++)
        session->ops[i].record->outcome = RH_OUTCOME_NONE;
    unit_end(session);
    temp_rest(session);
    *ret_commit = status == RH_OK ? RH_COMMIT_DONE : changed ? RH_COMMIT_UNKNOWN : RH_COMMIT_NOT_DONE;
    return status;
}

const struct rh_write_ops file_write_ops = {.fits = file_fits,
                                            .begin = file_begin,
                                            .put = file_put,
                                            .remove = file_remove,
                                            .commit = file_commit,
                                            .abort = file_abort};
