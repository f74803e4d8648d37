/* SPDX-License-Identifier: Apache-2.0 */
/* The `archive` driver: options, stores, sessions, scans, and the one unit of writing. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MODEL "kv"

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "FILE",
     .help = "the archive; - is standard input or output"},
    ARCHIVE_SEAL_OPTIONS,
    {.name = NULL},
};

/* --- stores --- */

static void archive_close(struct rh_store *base)
{
    struct archive_store *store = (struct archive_store *)base;
    if (!store)
        return;
    archive_reader_free(store->pipe);
    rh_key_provider_free(store->provider);
    pthread_mutex_destroy(&store->pipe_lock);
    free(store->path);
    free(store);
}

/* The path as an absolute one. */
static enum rh_status set_path(struct archive_store *store, const char *path, struct rh_error *err)
{
    rh_auto_free char *here = NULL;
    if (strcmp(path, "-") == 0)
        return RH_OK;
    if (path[0] != '/') {
        here = getcwd(NULL, 0);
        if (!here)
            return rh_fail_errno(err, errno, "finding the current folder");
    }
    if (asprintf(&store->path, "%s%s%s", here ? here : "", here ? "/" : "", path) < 0) {
        store->path = NULL;
        return rh_fail_memory(err);
    }
    return RH_OK;
}

static enum rh_status archive_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    const char *path = rh_options_text(args->options, "path");
    const size_t size = path ? strlen(path) : 0;
    if (size == 0 || path[size - 1] == '/')
        return rh_fail(ctx->err, RH_E_PLAN, "%s: an archive's path names a file, or is -",
                       rh_options_place(args->options, "path"));
    struct archive_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    store->base.driver = &rh_archive_driver;
    store->side = args->side;
    pthread_mutex_init(&store->pipe_lock, NULL);
    enum rh_status status = set_path(store, path, ctx->err);
    if (status == RH_OK)
        status = archive_provider(args->options, &store->provider, ctx->err);
    if (status != RH_OK) {
        archive_close(&store->base);
        return status;
    }
    *ret_store = &store->base;
    return RH_OK;
}

/* --- sessions --- */

static void archive_abort(struct rh_session *base)
{
    struct archive_session *session = (struct archive_session *)base;
    archive_writer_free(session->writer);
    session->writer = NULL;
    archive_partial_drop(session);
    session->begun = session->ended = false;
}

static void archive_session_close(struct rh_session *base)
{
    struct archive_session *session = (struct archive_session *)base;
    if (!session)
        return;
    archive_abort(base);
    archive_reader_free(session->reader);
    if (session->fd >= 0)
        close(session->fd);
    if (session->folder >= 0)
        close(session->folder);
    rh_buf_done(&session->replaces);
    free(session);
}

static enum rh_status
archive_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    const struct archive_store *store = (struct archive_store *)base;
    struct archive_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->fd = session->folder = session->partial = -1;
    enum rh_status status = RH_OK;
    if (role == RH_ROLE_WRITE && store->path) {
        status = archive_place(session, ctx->err);
        if (status == RH_OK)
            status = archive_sweep(session, ctx->err);
    }
    if (status != RH_OK) {
        archive_session_close(&session->base);
        return status;
    }
    *ret_session = &session->base;
    return RH_OK;
}

/* A keyring's archive mustn't end up in a key-value store, nor the other way round. */
static enum rh_status check_model(const struct archive_reader *reader, const char *where, struct rh_error *err)
{
    const struct archive_head *head = &reader->head;
    const struct archive_dataset *only = &head->datasets[0];
    if (strcmp(head->model, MODEL) != 0) {
        rh_fail(err, RH_E_REFUSED, "the archive '%s' is of model '%s', and a key-value store is of model '" MODEL "'",
                RH_SHOW(rh_bytes_text(where)), RH_SHOW(rh_bytes_text(head->model)));
        rh_error_hint(err,
                      "move it to a store of the kind that it came from; 'rehome seal inspect' tells what it holds");
        return RH_E_REFUSED;
    }
    if (head->dataset_count == 1 && strcmp(only->name, archive_kv_dataset.name) == 0 && only->field_count == 1 &&
        only->fields[0].tags == archive_kv_dataset.fields[0].tags)
        return RH_OK;
    return rh_fail(err, RH_E_REFUSED, "the archive '%s' has other datasets or fields than a key-value store",
                   RH_SHOW(rh_bytes_text(where)));
}

/* The words around a failure to open. */
static enum rh_status opening(const char *path, enum rh_status status, struct rh_error *err)
{
    if (status != RH_E_REFUSED)
        rh_error_prepend(err, "archive '%s'", RH_SHOW(rh_bytes_text(path)));
    if (status == RH_E_DENIED)
        rh_error_hint(err,
                      "give the key or passphrase that it was sealed with; 'rehome seal inspect FILE' tells the kind");
    return status;
}

/* Standard input, opened once; under the lock. */
static enum rh_status pipe_need(struct archive_store *store, struct archive_reader **ret, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    if (store->side == RH_SIDE_DESTINATION)
        return rh_fail(err, RH_E_REFUSED, "an archive that goes to standard output can't be read back");
    if (!store->pipe && isatty(STDIN_FILENO))
        return rh_fail(err, RH_E_REFUSED, "reading an archive from standard input: that is a terminal");
    if (!store->pipe)
        status = archive_reader_open(store->provider, STDIN_FILENO, &store->pipe, err);
    if (status == RH_OK)
        status = check_model(store->pipe, "-", err);
    if (status != RH_OK)
        return opening("-", status, err);
    *ret = store->pipe;
    return RH_OK;
}

enum rh_status archive_reader_need(struct archive_session *session, struct archive_reader **ret, struct rh_error *err)
{
    struct archive_store *store = (struct archive_store *)session->base.store;
    enum rh_status status = RH_OK;
    if (!store->path) {
        pthread_mutex_lock(&store->pipe_lock);
        status = pipe_need(store, ret, err);
        pthread_mutex_unlock(&store->pipe_lock);
        return status;
    }
    if (!session->reader) {
        session->fd = open(store->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (session->fd < 0)
            return rh_fail_errno(err, errno, "opening the archive '%s'", RH_SHOW(rh_bytes_text(store->path)));
        status = archive_reader_open(store->provider, session->fd, &session->reader, err);
        if (status == RH_OK)
            status = check_model(session->reader, store->path, err);
        if (status != RH_OK) {
            archive_reader_free(rh_take(session->reader));
            close(session->fd);
            session->fd = -1;
            return opening(store->path, status, err);
        }
    }
    *ret = session->reader;
    return RH_OK;
}

/* --- reading --- */

struct archive_scan {
    struct rh_scan base;
    struct archive_walk walk;
    struct rh_buf from, after, to;
    unsigned flags;
    bool whole; /* from the first key on */
};

static enum rh_status archive_datasets(struct rh_ctx *ctx,
                                       struct rh_session *session,
                                       enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                                       void *user)
{
    const struct rh_dataset kv = {.name = RH_KV_DATASET};
    (void)ctx;
    (void)session;
    return add(user, &kv);
}

static void archive_scan_close(struct rh_scan *base)
{
    struct archive_scan *scan = (struct archive_scan *)base;
    if (!scan)
        return;
    archive_walk_done(&scan->walk);
    rh_buf_done(&scan->from);
    rh_buf_done(&scan->after);
    rh_buf_done(&scan->to);
    free(scan);
}

/* A pipe is read once. */
static enum rh_status take_pipe(struct archive_store *store, struct rh_error *err)
{
    pthread_mutex_lock(&store->pipe_lock);
    const bool taken = store->pipe_taken;
    store->pipe_taken = true;
    pthread_mutex_unlock(&store->pipe_lock);
    return taken ? rh_fail(err, RH_E_REFUSED, "standard input can be read once, and was") : RH_OK;
}

static enum rh_status archive_scan_open(struct rh_ctx *ctx,
                                        struct rh_session *base,
                                        const struct rh_dataset *dataset,
                                        struct rh_range range,
                                        struct rh_bytes after,
                                        unsigned flags,
                                        struct rh_scan **ret_scan)
{
    struct archive_session *session = (struct archive_session *)base;
    struct archive_store *store = (struct archive_store *)base->store;
    struct archive_reader *reader;
    (void)dataset;
    enum rh_status status = archive_reader_need(session, &reader, ctx->err);
    if (status == RH_OK && !store->path)
        status = take_pipe(store, ctx->err);
    struct archive_scan *scan = status == RH_OK ? calloc(1, sizeof *scan) : NULL;
    if (!scan)
        return status == RH_OK ? rh_fail_memory(ctx->err) : status;
    scan->base.session = base;
    scan->flags = flags;
    status = rh_buf_add(&scan->from, range.from.data, range.from.size, ctx->err);
    if (status == RH_OK)
        status = rh_buf_add(&scan->after, after.data, after.size, ctx->err);
    if (status == RH_OK)
        status = rh_buf_add(&scan->to, range.to.data, range.to.size, ctx->err);
    if (status == RH_OK)
        status = archive_walk_open(&scan->walk, reader, 0, rh_bytes_compare(range.from, after) < 0 ? after : range.from,
                                   ctx->err);
    if (status != RH_OK) {
        archive_scan_close(&scan->base);
        return status;
    }
    *ret_scan = &scan->base;
    return RH_OK;
}

/* The record that the walk stands at, as far as the scan wants it. */
static enum rh_status
take_found(struct archive_scan *scan, const struct archive_found *found, struct rh_batch *batch, struct rh_error *err)
{
    struct archive_walk *walk = &scan->walk;
    const struct rh_bytes key = rh_buf_bytes(&walk->key);
    uint64_t bytes = 0;
    const bool before = rh_bytes_compare(key, rh_buf_bytes(&scan->from)) < 0 ||
                        (scan->after.size && rh_bytes_compare(key, rh_buf_bytes(&scan->after)) <= 0);
    if (before)
        return archive_walk_skip(walk, found, &bytes, err);
    if (!(scan->flags & RH_SCAN_KEYS_ONLY))
        return archive_walk_take(walk, found, batch, err);
    enum rh_status status = archive_walk_skip(walk, found, &bytes, err);
    if (status != RH_OK)
        return status;
    struct rh_record *record = rh_batch_add(batch);
    const struct rh_bytes copy = rh_arena_copy(&batch->arena, key);
    if (!record || !copy.data)
        return rh_fail_memory(err);
    record->key = copy;
    record->value_bytes = bytes;
    batch->bytes += key.size + bytes;
    return RH_OK;
}

static enum rh_status archive_scan_next(
    struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct archive_scan *scan = (struct archive_scan *)base;
    size_t seen = 0;
    enum rh_status status = rh_ctx_check(ctx);
    while (status == RH_OK && batch->count < want_records && (batch->count == 0 || batch->bytes < want_bytes)) {
        struct archive_found found;
        if (++seen % 1024 == 0)
            status = rh_ctx_check(ctx);
        if (status == RH_OK)
            status = archive_walk_next(&scan->walk, &found, ctx->err);
        if (status != RH_OK)
            break;
        if (scan->to.size && rh_bytes_compare(rh_buf_bytes(&scan->walk.key), rh_buf_bytes(&scan->to)) >= 0) {
            scan->walk.ended = true;
            status = RH_END;
            break;
        }
        status = take_found(scan, &found, batch, ctx->err);
    }
    return status == RH_END && batch->count > 0 ? RH_OK : status;
}

static enum rh_status
get_one(struct rh_ctx *ctx, struct archive_reader *reader, struct rh_bytes key, struct rh_batch *out)
{
    struct archive_walk walk = {0};
    struct archive_found found;
    uint64_t bytes;
    if (key.size == 0)
        return RH_OK;
    enum rh_status status = archive_walk_open(&walk, reader, 0, key, ctx->err);
    while (status == RH_OK && (status = archive_walk_next(&walk, &found, ctx->err)) == RH_OK) {
        const int order = rh_bytes_compare(rh_buf_bytes(&walk.key), key);
        if (order == 0)
            status = archive_walk_take(&walk, &found, out, ctx->err);
        if (order >= 0)
            break;
        status = archive_walk_skip(&walk, &found, &bytes, ctx->err);
    }
    archive_walk_done(&walk);
    return status == RH_END ? RH_OK : status;
}

static enum rh_status archive_get(struct rh_ctx *ctx,
                                  struct rh_session *base,
                                  const struct rh_dataset *dataset,
                                  const struct rh_bytes *keys,
                                  size_t count,
                                  struct rh_batch *out)
{
    struct archive_reader *reader;
    (void)dataset;
    enum rh_status status = archive_reader_need((struct archive_session *)base, &reader, ctx->err);
    if (status == RH_OK && !reader->in.seekable)
        status = rh_fail(ctx->err, RH_E_REFUSED, "single records can't be read from standard input");
    for (size_t i = 0; status == RH_OK && i < count && !rh_batch_has_enough(out); i++) {
        status = rh_ctx_check(ctx);
        if (status == RH_OK)
            status = get_one(ctx, reader, keys[i], out);
    }
    return status;
}

static const struct rh_read_ops read_ops = {
    .datasets = archive_datasets,
    .scan_open = archive_scan_open,
    .scan_next = archive_scan_next,
    .scan_close = archive_scan_close,
    .get = archive_get,
};

/* --- writing --- */

static enum rh_status archive_fits(struct rh_store *store,
                                   const struct rh_dataset *dataset,
                                   struct rh_bytes key,
                                   uint64_t value_bytes,
                                   struct rh_buf *ret_rival,
                                   struct rh_error *err)
{
    (void)store;
    (void)dataset;
    (void)ret_rival;
    if (key.size == 0)
        return rh_fail(err, RH_E_LIMIT, "the key is empty");
    if (key.size > ARCHIVE_KEY_MOST)
        return rh_fail(err, RH_E_LIMIT, "the key has %zu bytes, an archive holds at most %d", key.size,
                       ARCHIVE_KEY_MOST);
    if (value_bytes > ARCHIVE_RECORD_MOST)
        return rh_fail(err, RH_E_LIMIT, "the value has %llu bytes, an archive holds at most %d",
                       (unsigned long long)value_bytes, ARCHIVE_RECORD_MOST);
    return RH_OK;
}

/* A pipe whose reader is gone deserves its own words. */
static enum rh_status writing(const struct archive_store *store, enum rh_status status, struct rh_error *err)
{
    if (!rh_failed(status))
        return status;
    rh_error_prepend(err, "archive '%s'", store->path ? RH_SHOW(rh_bytes_text(store->path)) : "-");
    if (err && err->native == EPIPE)
        rh_error_hint(err, "the program that standard output goes to has ended; what it got is no archive");
    return status;
}

/* The head and all up to the first record. */
static enum rh_status archive_begin(struct rh_ctx *ctx,
                                    struct rh_session *base,
                                    const struct rh_dataset *dataset,
                                    const struct rh_digest_key *digest)
{
    struct archive_session *session = (struct archive_session *)base;
    const struct archive_store *store = (struct archive_store *)base->store;
    (void)dataset;
    (void)digest;
    if (session->begun)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the archive: begun twice");
    if (!store->path && isatty(STDOUT_FILENO)) {
        rh_fail(ctx->err, RH_E_REFUSED, "writing the archive to standard output: that is a terminal");
        rh_error_hint(ctx->err, "send it to a file or a program");
        return RH_E_REFUSED;
    }
    enum rh_status status = store->path ? archive_partial_make(session, ctx->err) : RH_OK;
    if (status == RH_OK)
        status = archive_writer_new(store->provider, store->path ? session->partial : STDOUT_FILENO, ARCHIVE_CHUNK,
                                    MODEL, &archive_kv_dataset, 1, &session->writer, ctx->err);
    session->begun = true;
    if (status != RH_OK)
        archive_abort(base);
    return writing(store, status, ctx->err);
}

/* Lets the disk begin with what was written while the rest is made, so that the fsync at the end finds little to do. */
static void keep_flowing(struct archive_session *session, uint64_t bytes)
{
    enum { STEP = 8 * 1024 * 1024 };
    session->flowing += bytes;
    if (session->partial < 0 || session->flowing < STEP)
        return;
    session->flowing = 0;
    (void)sync_file_range(session->partial, 0, 0, SYNC_FILE_RANGE_WRITE); /* a hint: fsync is what counts */
}

static enum rh_status
archive_put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct archive_session *session = (struct archive_session *)base;
    (void)mode; /* the new file is empty: every key is new to it */
    if (!session->writer)
        return rh_fail(ctx->err, RH_E_INTERNAL, "writing the archive: not begun");
    enum rh_status status = rh_ctx_check(ctx);
    for (size_t i = 0; status == RH_OK && i < batch->count; i++) {
        status = archive_writer_put(session->writer, &batch->records[i], ctx->err);
        if (status == RH_OK)
            batch->records[i].outcome = RH_OUTCOME_DONE;
    }
    keep_flowing(session, batch->bytes);
    rh_crash_point("archive");
    return writing((struct archive_store *)base->store, status, ctx->err);
}

static enum rh_status archive_remove(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    (void)base;
    (void)batch;
    return rh_fail(ctx->err, RH_E_REFUSED, "a record can't be taken out of an archive: it is written anew as a whole");
}

enum rh_status archive_end(struct archive_session *session, struct rh_error *err)
{
    if (!session->writer)
        return rh_fail(err, RH_E_INTERNAL, "writing the archive: not begun");
    if (session->ended)
        return RH_OK;
    enum rh_status status = archive_writer_end(session->writer, err);
    session->ended = status == RH_OK;
    return writing((const struct archive_store *)session->base.store, status, err);
}

static enum rh_status archive_commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct archive_session *session = (struct archive_session *)base;
    const struct archive_store *store = (struct archive_store *)base->store;
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK)
        status = archive_end(session, ctx->err);
    if (status != RH_OK) {
        archive_abort(base);
        return status;
    }
    if (store->path)
        status = archive_partial_commit(session, ret_commit, ctx->err);
    else if (fsync(STDOUT_FILENO) != 0 && errno != EINVAL && errno != EROFS)
        status = rh_fail_errno(ctx->err, errno, "making standard output durable");
    else
        *ret_commit = RH_COMMIT_DONE;
    archive_abort(base); /* what there is of a partial file has its name by now, or goes */
    return writing(store, status, ctx->err);
}

static const struct rh_write_ops write_ops = {
    .fits = archive_fits,
    .begin = archive_begin,
    .put = archive_put,
    .remove = archive_remove,
    .commit = archive_commit,
    .abort = archive_abort,
};

static const struct rh_guard_ops guard_ops = {.unmarked = true, .fingerprint = archive_fingerprint};

const struct rh_driver rh_archive_driver = {
    .name = "archive",
    .summary = "one sealed file with all records, or a pipe of it",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_WHOLE,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = options,
    .open = archive_open,
    .close = archive_close,
    .session_open = archive_session_open,
    .session_close = archive_session_close,
    .facts = archive_facts,
    .read = &read_ops,
    .write = &write_ops,
    .guard = &guard_ops,
    .whole = &archive_whole_ops,
};
