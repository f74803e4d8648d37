/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. put and remove only note what is to be done; commit does it: one statement that commits by itself where that
 * is enough, else a transaction. New records go in by COPY; when one of them is there already the server has undone
 * that, and the batch goes in again by INSERT ... ON CONFLICT, which tells what it did record by record. An error from
 * the server means that the statement was undone; a connection that is lost after a statement that commits means
 * unknown.
 */
#include "internal.h"

/* --- limits --- */

static enum rh_status fits(struct rh_store *base,
                           const struct rh_dataset *dataset,
                           struct rh_bytes key,
                           uint64_t value_bytes,
                           struct rh_buf *ret_rival,
                           struct rh_error *err)
{
    (void)dataset;
    struct pg_store *store = (struct pg_store *)base;
    rh_buf_clear(ret_rival);
    pthread_mutex_lock(&store->lock);
    struct rh_limits limits = store->limits;
    pthread_mutex_unlock(&store->lock);
    if (!key.size)
        return rh_fail(err, RH_E_LIMIT, "the key is empty");
    if (memchr(key.data, 0, key.size))
        return rh_fail(err, RH_E_LIMIT, "the key holds a NUL byte, which PostgreSQL's text can't hold");
    if (!rh_utf8_valid(key))
        return rh_fail(err, RH_E_LIMIT, "the key isn't valid UTF-8, which PostgreSQL's text has to be");
    if (key.size > limits.key_bytes)
        return rh_fail(err, RH_E_LIMIT, "the key has %zu bytes, the table's index surely holds %llu", key.size,
                       (unsigned long long)limits.key_bytes);
    if (value_bytes > limits.value_bytes)
        return rh_fail(err, RH_E_LIMIT, "the value has %llu bytes, PostgreSQL takes %llu",
                       (unsigned long long)value_bytes, (unsigned long long)limits.value_bytes);
    return RH_OK;
}

/* --- the rows of a statement --- */

typedef bool want_fn(const struct rh_record *record);

static bool want_all(const struct rh_record *record)
{
    (void)record;
    return true;
}

/* Those that nothing spoke against so far. */
static bool want_open(const struct rh_record *record)
{
    return record->outcome == RH_OUTCOME_NONE;
}

static bool want_done(const struct rh_record *record)
{
    return record->outcome == RH_OUTCOME_DONE;
}

static const struct rh_bytes slash = {.data = (const uint8_t *)"/", .size = 1};
static const struct rh_bytes nothing = {0};

/* The wanted records of the unit's index as arrays: parent_path, path, key, value. *ret_count tells how many. */
static enum rh_status make_arrays(
    struct pg_session *session, size_t total, bool values, want_fn *want, size_t *ret_count, struct rh_error *err)
{
    static const Oid types[] = {PG_TEXT, PG_TEXT, PG_TEXT, PG_BYTEA};
    struct rh_buf *arrays = session->arrays;
    size_t count = 0;
    for (size_t i = 0; i < total; i++)
        count += want(session->unit.index[i]);
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < (values ? 4U : 3U); i++)
        status = pg_array_begin(&arrays[i], types[i], count, err);
    for (size_t i = 0; !status && i < total; i++) {
        const struct rh_record *record = session->unit.index[i];
        if (!want(record))
            continue;
        struct pg_split split = pg_split_key(record->key);
        if ((status = pg_array_add(&arrays[0], split.top ? &nothing : &slash, split.parent, err)) ||
            (status = pg_array_add(&arrays[1], &slash, split.dir, err)) ||
            (status = pg_array_add(&arrays[2], &split.name, nothing, err)) || !values)
            continue;
        status = pg_array_add(&arrays[3], rh_kv_value(record), nothing, err);
    }
    *ret_count = count;
    return status;
}

/* Runs a statement with a %s for the table and the arrays as $1 and on; the first array is left out where the
 * statement needs only path and key. */
static enum rh_status run_arrays(struct rh_ctx *ctx,
                                 struct pg_session *session,
                                 const char *before,
                                 const char *after,
                                 bool keys_only,
                                 PGresult **ret_rows)
{
    struct pg_params params = {0};
    rh_buf_clear(&session->sql);
    /* the comment tells who reads pg_stat_activity what it is */
    enum rh_status status =
        rh_buf_format(&session->sql, ctx->err, "/*rehome*/ %s %s %s", before, session->store->quoted, after);
    if (status)
        return status;
    for (size_t i = keys_only ? 1 : 0; i < (keys_only ? 3U : 4U); i++)
        pg_param(&params, i == 3 ? PG_BYTEA_ARRAY : PG_TEXT_ARRAY, session->arrays[i].data, session->arrays[i].size);
    return pg_query(ctx, session, "writing", rh_buf_cstr(&session->sql), &params, ret_rows);
}

/* --- a batch by key --- */

/* What wasn't spoken against gets this outcome. */
static void finish_outcomes(struct rh_batch *batch, enum rh_outcome outcome)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->records[i].outcome == RH_OUTCOME_NONE)
            batch->records[i].outcome = outcome;
}

/* The first place in the index whose key isn't below that of the row's path and key. */
static size_t find_row(struct pg_session *session, size_t count, struct rh_bytes path, struct rh_bytes key)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        /* the full key is path without its first byte, then key: compared in two pieces */
        struct rh_bytes full = session->unit.index[middle]->key, dir = rh_bytes(path.data + 1, path.size - 1);
        size_t shared = full.size < dir.size ? full.size : dir.size;
        int order = memcmp(full.data, dir.data, shared);
        if (order == 0)
            order = full.size < dir.size ? -1 : rh_bytes_compare(rh_bytes(full.data + shared, full.size - shared), key);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- create --- */

/* Appends one row in COPY's binary format. */
static enum rh_status copy_row(struct rh_buf *out, const struct rh_record *record, struct rh_error *err)
{
    static const uint8_t four[2] = {0, 4};
    struct pg_split split = pg_split_key(record->key);
    enum rh_status status;
    if ((status = rh_buf_add(out, four, sizeof four, err)) ||
        (status = pg_array_add(out, split.top ? &nothing : &slash, split.parent, err)) ||
        (status = pg_array_add(out, &slash, split.dir, err)) || (status = pg_array_add(out, &split.name, nothing, err)))
        return status;
    return pg_array_add(out, rh_kv_value(record), nothing, err);
}

/* Hands bytes to the COPY that is under way. */
static enum rh_status copy_send(struct rh_ctx *ctx, struct pg_session *session, struct rh_bytes bytes)
{
    const size_t piece = 256U * 1024;
    int64_t silent = 0;
    for (size_t at = 0; at < bytes.size;) {
        size_t size = bytes.size - at < piece ? bytes.size - at : piece;
        int sent = PQputCopyData(session->conn, (const char *)bytes.data + at, (int)size);
        if (sent < 0)
            return pg_fail_gone(session, ctx->err, "writing");
        if (sent > 0) {
            at += size;
            silent = 0;
            continue;
        }
        enum rh_status status = pg_wait(ctx, session, true, &silent);
        if (status)
            return status;
        if (PQflush(session->conn) < 0 || !PQconsumeInput(session->conn))
            return pg_fail_gone(session, ctx->err, "writing");
    }
    return RH_OK;
}

/* Ends the COPY and reads what became of it. */
static enum rh_status copy_end(struct rh_ctx *ctx, struct pg_session *session)
{
    int64_t silent = 0;
    for (;;) {
        int sent = PQputCopyEnd(session->conn, NULL);
        if (sent < 0)
            return pg_fail_gone(session, ctx->err, "writing");
        if (sent > 0)
            break;
        enum rh_status status = pg_wait(ctx, session, true, &silent);
        if (status)
            return status;
    }
    enum rh_status status = pg_flush(ctx, session);
    return status ? status : pg_finish(ctx, session, "writing", NULL);
}

/* The whole batch by COPY: all of it or nothing. */
static enum rh_status copy_in(struct rh_ctx *ctx, struct pg_session *session, const struct rh_batch *batch)
{
    static const uint8_t head[19] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n'};
    static const uint8_t tail[2] = {0xff, 0xff};
    struct rh_buf *text = &session->text;
    rh_buf_clear(text);
    enum rh_status status = rh_buf_add(text, head, sizeof head, ctx->err);
    if (!status)
        status = pg_run(ctx, session, "writing", NULL,
                        "COPY %s (parent_path, path, key, value) FROM STDIN (FORMAT binary)", session->store->quoted);
    if (status)
        return status;
    for (size_t i = 0; !status && i < batch->count; i++) {
        status = copy_row(text, &batch->records[i], ctx->err);
        if (!status && text->size > 1024U * 1024) {
            status = copy_send(ctx, session, rh_buf_bytes(text));
            rh_buf_clear(text);
        }
    }
    if (!status)
        status = rh_buf_add(text, tail, sizeof tail, ctx->err);
    if (!status)
        status = copy_send(ctx, session, rh_buf_bytes(text));
    return status ? status : copy_end(ctx, session);
}

/* The records that are NONE, each that is absent; the others become EXISTS. */
static enum rh_status
insert_absent(struct rh_ctx *ctx, struct pg_session *session, size_t total, enum rh_outcome otherwise)
{
    size_t count;
    pg_auto_result PGresult *rows = NULL;
    enum rh_status status = make_arrays(session, total, true, want_open, &count, ctx->err);
    if (!status && count)
        status =
            run_arrays(ctx, session, "INSERT INTO",
                       "(parent_path, path, key, value) SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (path, key) "
                       "DO NOTHING RETURNING path, key",
                       false, &rows);
    if (status)
        return status;
    for (int i = 0; i < PQntuples(rows); i++) {
        struct rh_bytes path = pg_cell(rows, i, 0), key = pg_cell(rows, i, 1);
        size_t at = path.size ? find_row(session, total, path, key) : total;
        while (at < total && session->unit.index[at]->outcome != RH_OUTCOME_NONE)
            at++;
        if (at == total)
            return rh_fail(ctx->err, RH_E_CORRUPT, "writing failed: the server's answer makes no sense");
        session->unit.index[at]->outcome = RH_OUTCOME_DONE;
    }
    for (size_t i = 0; i < total; i++)
        if (session->unit.index[i]->outcome == RH_OUTCOME_NONE)
            session->unit.index[i]->outcome = otherwise;
    return RH_OK;
}

static enum rh_status do_create(struct rh_ctx *ctx, struct pg_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = rh_unit_index(&session->unit, batch, ctx->err);
    return status ? status : insert_absent(ctx, session, batch->count, RH_OUTCOME_EXISTS);
}

/* --- replace --- */

/* Of records with the same key only the last one is written: one statement can't update a row twice. */
static void drop_doubles(struct pg_session *session, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (rh_bytes_equal(session->unit.index[i]->key, session->unit.index[i + 1]->key))
            session->unit.index[i]->outcome = RH_OUTCOME_CHANGED;
}

static enum rh_status do_replace(struct rh_ctx *ctx, struct pg_session *session, struct rh_batch *batch)
{
    size_t count;
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = rh_unit_index(&session->unit, batch, ctx->err);
    if (status)
        return status;
    drop_doubles(session, batch->count);
    status = make_arrays(session, batch->count, true, want_open, &count, ctx->err);
    if (!status && count)
        status =
            run_arrays(ctx, session, "INSERT INTO",
                       "(parent_path, path, key, value) SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (path, key) "
                       "DO UPDATE SET (parent_path, value) = (EXCLUDED.parent_path, EXCLUDED.value)",
                       false, NULL);
    if (!status)
        rh_kv_outcomes(batch, RH_OUTCOME_DONE);
    return status;
}

/* --- if-hash and remove --- */

/* Whether the row's value is the one that the record expects. */
static bool is_expected(const struct pg_session *session, const struct rh_record *record, const PGresult *rows, int row)
{
    struct rh_field field = {.tag = PQgetisnull(rows, row, 1) ? RH_TAG_NULL : RH_TAG_BYTES};
    if (field.tag == RH_TAG_BYTES)
        field.value = pg_cell(rows, row, 1);
    struct rh_record found = {.key = record->key, .fields = &field, .field_count = 1, .value_bytes = field.value.size};
    return !record->expect_absent &&
           rh_hash_equal(rh_digest_record(session->unit.digest, RH_KV_DATASET, &found), record->expect);
}

/* Locks the rows of the batch's keys; a record whose row holds what it expects becomes DONE for now, one whose row
 * holds something else CHANGED; without a row it stays as it is. */
static enum rh_status look(struct rh_ctx *ctx, struct pg_session *session, size_t total)
{
    size_t count;
    pg_auto_result PGresult *rows = NULL;
    enum rh_status status = make_arrays(session, total, false, want_all, &count, ctx->err);
    if (!status && count)
        status = run_arrays(ctx, session, "SELECT k.n, t.value FROM unnest($1, $2) WITH ORDINALITY AS k(p, k, n) JOIN",
                            "t ON t.path = k.p AND t.key = k.k ORDER BY k.n FOR UPDATE OF t", true, &rows);
    for (int i = 0; !status && i < PQntuples(rows); i++) {
        struct rh_cursor cur = rh_cursor(pg_cell(rows, i, 0));
        uint64_t number = rh_cursor_u64be(&cur);
        if (!rh_cursor_done(&cur) || number < 1 || number > total)
            return rh_fail(ctx->err, RH_E_CORRUPT, "writing failed: the server's answer makes no sense");
        struct rh_record *record = session->unit.index[number - 1];
        record->outcome = is_expected(session, record, rows, i) ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
    }
    return status;
}

/* Runs a statement over the DONE records, which must meet exactly as many rows. */
static enum rh_status change_done(
    struct rh_ctx *ctx, struct pg_session *session, size_t total, const char *before, const char *after, bool values)
{
    size_t count;
    pg_auto_result PGresult *rows = NULL;
    enum rh_status status = make_arrays(session, total, values, want_done, &count, ctx->err);
    if (status || !count)
        return status;
    status = run_arrays(ctx, session, before, after, !values, &rows);
    uint64_t changed = 0;
    if (!status && (rh_parse_u64(rh_bytes_text(PQcmdTuples(rows)), &changed) || changed != count))
        return rh_fail(ctx->err, RH_E_STORE, "writing failed: %llu rows were changed and not %zu",
                       (unsigned long long)changed, count);
    return status;
}

/* if-hash, inside a transaction: compare under lock, update what fits, insert what should be absent. */
static enum rh_status do_if_hash(struct rh_ctx *ctx, struct pg_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = rh_unit_index(&session->unit, batch, ctx->err);
    if (!status)
        status = look(ctx, session, batch->count);
    for (size_t i = 0; !status && i < batch->count; i++)
        if (batch->records[i].outcome == RH_OUTCOME_NONE && !batch->records[i].expect_absent)
            batch->records[i].outcome = RH_OUTCOME_CHANGED;
    if (!status)
        status =
            change_done(ctx, session, batch->count, "UPDATE",
                        "t SET parent_path = u.pp, value = u.v FROM unnest($1, $2, $3, $4) AS u(pp, p, k, v) WHERE "
                        "t.path = u.p AND t.key = u.k",
                        true);
    return status ? status : insert_absent(ctx, session, batch->count, RH_OUTCOME_CHANGED);
}

/* remove, inside a transaction. */
static enum rh_status do_remove(struct rh_ctx *ctx, struct pg_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = rh_unit_index(&session->unit, batch, ctx->err);
    if (!status)
        status = look(ctx, session, batch->count);
    finish_outcomes(batch, RH_OUTCOME_CHANGED);
    if (status)
        return status;
    return change_done(ctx, session, batch->count, "DELETE FROM",
                       "t USING unnest($1, $2) AS u(p, k) WHERE t.path = u.p AND t.key = u.k", false);
}

static enum rh_status do_op(struct rh_ctx *ctx, struct pg_session *session, const struct rh_unit_op *op)
{
    if (!op->batch->count)
        return RH_OK;
    if (op->remove)
        return do_remove(ctx, session, op->batch);
    switch (op->mode) {
    case RH_PUT_CREATE:
        return do_create(ctx, session, op->batch);
    case RH_PUT_REPLACE:
        return do_replace(ctx, session, op->batch);
    case RH_PUT_IF_HASH:
        return do_if_hash(ctx, session, op->batch);
    }
    return rh_fail(ctx->err, RH_E_INTERNAL, "writing failed: unknown mode");
}

/* --- commit --- */

/* After a failure of what commits: undone as the server said so, or nobody knows. */
static enum rh_commit after_failure(struct pg_session *session, const struct rh_error *err)
{
    bool gone = PQstatus(session->conn) != CONNECTION_OK || PQtransactionStatus(session->conn) == PQTRANS_ACTIVE;
    return gone || pg_is_cut(err->native) ? RH_COMMIT_UNKNOWN : RH_COMMIT_NOT_DONE;
}

/* One operation that commits by itself. */
static enum rh_status
commit_single(struct rh_ctx *ctx, struct pg_session *session, const struct rh_unit_op *op, enum rh_commit *ret_commit)
{
    const long unique = PG_STATE('2', '3', '5', '0', '5');
    ctx->err->native = 0;
    rh_crash_point("postgresql-commit");
    enum rh_status status = RH_E_STORE;
    if (op->mode == RH_PUT_CREATE) {
        status = copy_in(ctx, session, op->batch);
        if (!status)
            rh_kv_outcomes(op->batch, RH_OUTCOME_DONE);
    }
    if (op->mode != RH_PUT_CREATE || (status && ctx->err->native == unique))
        status = do_op(ctx, session, op);
    *ret_commit = status ? after_failure(session, ctx->err) : RH_COMMIT_DONE;
    return status;
}

/* COMMIT; a server that had to give up the transaction before answers ROLLBACK. */
static enum rh_status finish_transaction(struct rh_ctx *ctx, struct pg_session *session, enum rh_commit *ret_commit)
{
    pg_auto_result PGresult *result = NULL;
    ctx->err->native = 0;
    rh_crash_point("postgresql-commit");
    enum rh_status status = pg_run(ctx, session, "committing", &result, "COMMIT");
    if (status)
        *ret_commit = after_failure(session, ctx->err);
    else if (strcmp(PQcmdStatus(result), "COMMIT") != 0)
        return rh_fail(ctx->err, RH_E_STORE, "committing failed: the server gave the transaction up");
    else
        *ret_commit = RH_COMMIT_DONE;
    return status;
}

/* The transaction's statements, then COMMIT. */
static enum rh_status commit_transaction(struct rh_ctx *ctx, struct pg_session *session, enum rh_commit *ret_commit)
{
    enum rh_status status = pg_run(ctx, session, "writing", NULL, "BEGIN");
    for (size_t i = 0; !status && i < session->unit.op_count; i++)
        status = do_op(ctx, session, &session->unit.ops[i]);
    if (!status)
        status = rh_ctx_check(ctx);
    if (!status)
        return finish_transaction(ctx, session, ret_commit);
    pg_rollback(ctx, session);
    return status;
}

static enum rh_status commit_ops(struct rh_ctx *ctx, struct pg_session *session, enum rh_commit *ret_commit)
{
    const struct rh_unit_op *only = session->unit.op_count == 1 ? &session->unit.ops[0] : NULL;
    if (only && !only->batch->count) {
        *ret_commit = RH_COMMIT_DONE;
        return RH_OK;
    }
    if (only && !only->remove && only->mode != RH_PUT_IF_HASH)
        return commit_single(ctx, session, only, ret_commit);
    return commit_transaction(ctx, session, ret_commit);
}

static enum rh_status commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct pg_session *session = (struct pg_session *)base;
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status)
        return status;
    status = pg_enter(ctx, session);
    if (!status) {
        status = commit_ops(ctx, session, ret_commit);
        if (rh_failed(status)) {
            rh_unit_forget(&session->unit);
            /* the server may not have noticed yet; the next connection ends the old one first */
            if (*ret_commit == RH_COMMIT_UNKNOWN && session->conn) {
                pg_remember_lost(session);
                pg_drop(session);
                ctx->err->retry = RH_RETRY_RECONNECT;
            }
        }
        if (*ret_commit != RH_COMMIT_NOT_DONE)
            atomic_fetch_add(&session->store->writes, 1);
        status = pg_leave(ctx, session, status);
    }
    rh_unit_end(&session->unit);
    return status;
}

static enum rh_status
begin(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_digest_key *digest)
{
    (void)dataset;
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (status)
        return status;
    if (!session->conn || !session->table.loaded || !session->table.exists ||
        pg_check_shape(session, true, NULL) != RH_OK) {
        status = pg_enter(ctx, session);
        if (!status)
            status = pg_leave(ctx, session, pg_table_need(ctx, session, true));
        if (status)
            return status;
    }
    if (session->joined)
        pg_snapshot_leave(ctx, session);
    rh_unit_begin(&session->unit, digest);
    return RH_OK;
}

static enum rh_status put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct pg_session *session = (struct pg_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .mode = mode});
}

static enum rh_status remove_batch(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct pg_session *session = (struct pg_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .remove = true});
}

static void abort_unit(struct rh_session *base)
{
    /* Nothing was sent before commit. */
    rh_unit_end(&((struct pg_session *)base)->unit);
}

const struct rh_write_ops pg_write_ops = {
    .fits = fits,
    .begin = begin,
    .put = put,
    .remove = remove_batch,
    .commit = commit,
    .abort = abort_unit,
};
