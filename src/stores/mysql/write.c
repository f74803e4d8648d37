/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. put and remove only note what is to be done; commit does it: a single statement that commits by itself
 * where one is enough (one round trip a batch), else a transaction. An error packet from the server means that the
 * statement was undone; a connection that is lost after a statement that commits means unknown.
 */
#include "internal.h"
#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MY_TRIES = 5,
    MY_ROWS_MAX = 32767,    /* a statement takes 65535 parameters */
    STATEMENT_FRAME = 1024, /* bytes of a statement besides its rows */
};

/* A unit meets other writers and has to be tried again from its beginning: kept inside this file. */
#define AGAIN RH_CHANGED

/* --- limits --- */

static enum rh_status fits(struct rh_store *base,
                           const struct rh_dataset *dataset,
                           struct rh_bytes key,
                           uint64_t value_bytes,
                           struct rh_buf *ret_rival,
                           struct rh_error *err)
{
    (void)dataset;
    struct my_store *store = (struct my_store *)base;
    rh_buf_clear(ret_rival);
    pthread_mutex_lock(&store->lock);
    struct rh_limits limits = store->limits;
    pthread_mutex_unlock(&store->lock);
    if (!key.size)
        return rh_fail(err, RH_E_LIMIT, "the key is empty");
    if (key.size > limits.key_bytes) {
        rh_fail(err, RH_E_LIMIT, "the key has %zu bytes, the table's vault_key holds %llu", key.size,
                (unsigned long long)limits.key_bytes);
        return RH_E_LIMIT;
    }
    if (value_bytes > limits.value_bytes) {
        rh_fail(err, RH_E_LIMIT, "the value has %llu bytes, the table and the server's max_allowed_packet take %llu",
                (unsigned long long)value_bytes, (unsigned long long)limits.value_bytes);
        rh_error_hint(err, "raise max_allowed_packet on the server, up to the column's own limit");
        return RH_E_LIMIT;
    }
    return RH_OK;
}

/* --- statements --- */

/* Most bytes of one statement, safely below what the server takes. */
static size_t statement_limit(const struct my_session *session)
{
    const size_t most = 64U << 20; /* a batch is far smaller */
    size_t packet = session->max_packet > most ? most : (size_t)session->max_packet;
    return packet > 4096 ? packet - 2048 : packet / 2;
}

/* Bytes that a record takes in a statement at most: key, value, their lengths and types, and a place in the text. */
static size_t record_bytes(const struct rh_record *record)
{
    const struct rh_bytes *value = rh_kv_value(record);
    return record->key.size + (value ? value->size : 0) + 40;
}

/* Sends session->sql, a statement without rows. */
static enum rh_status send(struct my_session *session, struct rh_error *err)
{
    if (mysql_real_query(session->mysql, (const char *)session->sql.data, (unsigned long)session->sql.size))
        return my_fail(session, err, "writing");
    return RH_OK;
}

/* Begins a writing statement: the comment tells who reads the process list what it is. */
static enum rh_status begin_sql(struct my_session *session, const char *verb, const char *rest, struct rh_error *err)
{
    rh_buf_clear(&session->sql);
    return rh_buf_format(&session->sql, err, "/*rehome*/ %s %s%s", verb, session->store->qualified, rest);
}

static const char *const update_clause = " ON DUPLICATE KEY UPDATE vault_value = VALUES(vault_value)";

/* A parameter for bytes that are only read (libmariadb's buffers aren't const); NULL is NULL. */
static MYSQL_BIND bind_bytes(const struct rh_bytes *bytes)
{
    if (!bytes)
        return (MYSQL_BIND){.buffer_type = MYSQL_TYPE_NULL};
    union {
        const uint8_t *in;
        uint8_t *out;
    } data = {.in = bytes->data};
    return (MYSQL_BIND){
        .buffer_type = MYSQL_TYPE_BLOB, .buffer = data.out, .buffer_length = (unsigned long)bytes->size};
}

/* Adds one row to the statement that is being made: its place in the text, its parameters. */
static enum rh_status
add_row(struct my_session *session, const struct rh_record *record, size_t row, struct rh_error *err)
{
    if (session->bind_capacity < row + 1) {
        const size_t capacity = session->bind_capacity ? 2 * session->bind_capacity : 64;
        MYSQL_BIND *bind = realloc(session->bind, 2 * capacity * sizeof *bind);
        if (!bind)
            return rh_fail_memory(err);
        session->bind = bind;
        session->bind_capacity = capacity;
    }
    session->bind[2 * row] = bind_bytes(&record->key);
    session->bind[2 * row + 1] = bind_bytes(rh_kv_value(record));
    return rh_buf_text(&session->sql, row ? ",(?,?)" : "(?,?)", err);
}

/* Sends session->sql with its rows as parameters: prepared and executed in one round trip where the server can. The
 * values travel as they are; a server spends more on reading long quoted literals than on storing them. */
static enum rh_status send_rows(struct my_session *session, size_t rows, struct rh_error *err)
{
    unsigned count = (unsigned)(2 * rows);
    MYSQL_STMT *statement = mysql_stmt_init(session->mysql);
    if (!statement)
        return rh_fail_memory(err);
    enum rh_status status = RH_OK;
    if (mysql_stmt_attr_set(statement, STMT_ATTR_PREBIND_PARAMS, &count) ||
        mysql_stmt_bind_param(statement, session->bind) ||
        mariadb_stmt_execute_direct(statement, (const char *)session->sql.data, session->sql.size))
        status = my_fail_number(session, err, "writing", mysql_stmt_errno(statement), mysql_stmt_error(statement));
    mysql_stmt_close(statement);
    return status;
}

/* One record whose statement would be too long: its value travels in pieces. */
static enum rh_status
insert_long(struct my_session *session, const struct rh_record *record, bool update, struct rh_error *err)
{
    const struct rh_bytes *value = rh_kv_value(record);
    enum rh_status status = begin_sql(session, "INSERT INTO", " (vault_key, vault_value) VALUES (?, ?)", err);
    if (!status && update)
        status = rh_buf_text(&session->sql, update_clause, err);
    if (status)
        return status;
    MYSQL_STMT *statement = mysql_stmt_init(session->mysql);
    if (!statement)
        return rh_fail_memory(err);
    union {
        const uint8_t *in;
        uint8_t *out;
    } key = {.in = record->key.data}; /* libmariadb's buffers aren't const; parameters are only read */
    unsigned long key_size = (unsigned long)record->key.size;
    MYSQL_BIND bind[2] = {
        {.buffer_type = MYSQL_TYPE_BLOB, .buffer = key.out, .buffer_length = key_size, .length = &key_size},
        {.buffer_type = MYSQL_TYPE_LONG_BLOB    }
    };
    const size_t piece = 512 * 1024;
    bool ok = !mysql_stmt_prepare(statement, (const char *)session->sql.data, (unsigned long)session->sql.size) &&
              !mysql_stmt_bind_param(statement, bind);
    for (size_t at = 0; ok && value && at < value->size; at += piece) {
        size_t size = value->size - at < piece ? value->size - at : piece;
        ok = !mysql_stmt_send_long_data(statement, 1, (const char *)value->data + at, (unsigned long)size);
    }
    ok = ok && !mysql_stmt_execute(statement);
    if (!ok)
        status = my_fail_number(session, err, "writing", mysql_stmt_errno(statement), mysql_stmt_error(statement));
    mysql_stmt_close(statement);
    return status;
}

/* Inserts the wanted records with as few statements as their size allows, calling for each statement. */
struct my_insert {
    bool update; /* replace what is there */
    bool (*want)(const struct rh_record *record);
};

static enum rh_status
insert_all(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch, const struct my_insert *how)
{
    const size_t limit = statement_limit(session);
    size_t rows = 0, size = 0;
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i <= batch->count; i++) {
        const struct rh_record *record = i < batch->count ? &batch->records[i] : NULL;
        if (record && !how->want(record))
            continue;
        bool is_long = record && record_bytes(record) + STATEMENT_FRAME > limit;
        if (rows && (!record || is_long || rows == MY_ROWS_MAX || size + record_bytes(record) > limit)) {
            if (how->update)
                status = rh_buf_text(&session->sql, update_clause, ctx->err);
            if (!status)
                status = send_rows(session, rows, ctx->err);
            rows = 0;
        }
        if (status || !record)
            continue;
        if (is_long) {
            status = insert_long(session, record, how->update, ctx->err);
            continue;
        }
        if (!rows) {
            size = STATEMENT_FRAME;
            status = begin_sql(session, "INSERT INTO", " (vault_key, vault_value) VALUES ", ctx->err);
        }
        if (!status)
            status = add_row(session, record, rows++, ctx->err);
        size += record_bytes(record);
    }
    return status;
}

/* Whether the whole batch goes into one statement. */
static bool is_one_statement(const struct my_session *session, const struct rh_batch *batch)
{
    const size_t limit = statement_limit(session);
    size_t size = STATEMENT_FRAME;
    if (batch->count > MY_ROWS_MAX)
        return false;
    for (size_t i = 0; i < batch->count; i++) {
        size += record_bytes(&batch->records[i]);
        if (size > limit)
            return false;
    }
    return true;
}

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

/* --- looking at what is there, under lock --- */

/* The first place in the index whose key isn't below `key`. */
static size_t index_find(const struct my_session *session, size_t count, struct rh_bytes key)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rh_bytes_compare(session->unit.index[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What a row under lock means for a record of the batch. */
typedef void my_judge(struct my_session *session, struct rh_record *record, const struct rh_field *field);

/* Sends a locking SELECT of the keys index[from..to) and judges each record that has a row. */
static enum rh_status look_some(
    struct rh_ctx *ctx, struct my_session *session, size_t from, size_t to, size_t count, bool values, my_judge *judge)
{
    rh_buf_clear(&session->sql);
    enum rh_status status =
        rh_buf_format(&session->sql, ctx->err, "SELECT vault_key%s FROM %s%s", values ? ", vault_value" : "",
                      session->store->qualified, session->table.primary ? " FORCE INDEX (PRIMARY)" : "");
    for (size_t i = from; !status && i < to; i++) {
        status = rh_buf_text(&session->sql, i > from ? "," : " WHERE vault_key IN (", ctx->err);
        if (!status)
            status = my_sql_literal(&session->sql, session->unit.index[i]->key, ctx->err);
    }
    if (!status)
        status = rh_buf_text(&session->sql, ") FOR UPDATE", ctx->err);
    if (status || (status = send(session, ctx->err)))
        return status;
    MYSQL_RES *rows = mysql_use_result(session->mysql);
    if (!rows)
        return my_fail(session, ctx->err, "writing");
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows));) {
        const unsigned long *sizes = mysql_fetch_lengths(rows);
        struct rh_bytes key = rh_bytes(row[0], sizes[0]);
        struct rh_field field = {.tag = RH_TAG_NULL};
        if (values && row[1])
            field = (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_bytes(row[1], sizes[1])};
        for (size_t i = index_find(session, count, key); i < count && rh_bytes_equal(session->unit.index[i]->key, key);
             i++)
            judge(session, session->unit.index[i], &field);
    }
    if (mysql_errno(session->mysql))
        status = my_fail(session, ctx->err, "writing");
    mysql_free_result(rows);
    return status;
}

/* Locks and judges all rows of the batch's keys. */
static enum rh_status
look(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch, bool values, my_judge *judge)
{
    enum rh_status status = rh_unit_index(&session->unit, batch, ctx->err);
    for (size_t from = 0; !status && from < batch->count; from += MY_GET_KEYS) {
        size_t to = batch->count - from < MY_GET_KEYS ? batch->count : from + MY_GET_KEYS;
        status = look_some(ctx, session, from, to, batch->count, values, judge);
    }
    return status;
}

/* create: whatever has a row exists. */
static void judge_create(struct my_session *session, struct rh_record *record, const struct rh_field *field)
{
    (void)session;
    (void)field;
    record->outcome = RH_OUTCOME_EXISTS;
}

/* if-hash and remove: the row's hash must be the expected one. `value_bytes` of no use here marks nothing; a record
 * with a fitting row becomes DONE for now. */
static void judge_hash(struct my_session *session, struct rh_record *record, const struct rh_field *field)
{
    struct rh_field copy = *field;
    struct rh_record found = {.key = record->key, .fields = &copy, .field_count = 1, .value_bytes = field->value.size};
    bool equal = !record->expect_absent &&
                 rh_hash_equal(rh_digest_record(session->unit.digest, RH_KV_DATASET, &found), record->expect);
    record->outcome = equal ? RH_OUTCOME_DONE : RH_OUTCOME_CHANGED;
}

/* --- one put or remove --- */

/* What wasn't spoken against is done. */
static void finish_outcomes(struct rh_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->records[i].outcome == RH_OUTCOME_NONE)
            batch->records[i].outcome = RH_OUTCOME_DONE;
}

/* create, one record after the other: for keys that are there twice in the batch or come and go. */
static enum rh_status create_singly(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct rh_batch one = {.records = &batch->records[i], .count = 1};
        if (batch->records[i].outcome != RH_OUTCOME_NONE)
            continue;
        enum rh_status status = insert_all(ctx, session, &one, &(struct my_insert){.want = want_all});
        if (status && ctx->err->native != ER_DUP_ENTRY)
            return status;
        batch->records[i].outcome = status ? RH_OUTCOME_EXISTS : RH_OUTCOME_DONE;
    }
    return RH_OK;
}

/* create inside a transaction. */
static enum rh_status do_create(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = look(ctx, session, batch, false, judge_create);
    if (status)
        return status;
    status = my_run(session, ctx->err, "writing", "SAVEPOINT rehome");
    if (!status)
        status = insert_all(ctx, session, batch, &(struct my_insert){.want = want_open});
    if (status && ctx->err->native == ER_DUP_ENTRY) {
        status = my_run(session, ctx->err, "writing", "ROLLBACK TO SAVEPOINT rehome");
        if (!status)
            status = create_singly(ctx, session, batch);
    }
    if (!status)
        finish_outcomes(batch);
    return status;
}

static bool want_done(const struct rh_record *record)
{
    return record->outcome == RH_OUTCOME_DONE;
}

/* if-hash, inside a transaction: compare under lock, update what fits, insert what should be absent. */
static enum rh_status do_if_hash(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = look(ctx, session, batch, true, judge_hash);
    for (size_t i = 0; !status && i < batch->count; i++)
        if (batch->records[i].outcome == RH_OUTCOME_NONE && !batch->records[i].expect_absent)
            batch->records[i].outcome = RH_OUTCOME_CHANGED;
    if (!status)
        status = insert_all(ctx, session, batch, &(struct my_insert){.want = want_done, .update = true});
    if (!status)
        status = insert_all(ctx, session, batch, &(struct my_insert){.want = want_open});
    /* Somebody made one of the absent keys after we looked: look again. */
    if (status && ctx->err->native == ER_DUP_ENTRY)
        return AGAIN;
    if (!status)
        finish_outcomes(batch);
    return status;
}

/* Deletes the records that are to go, a statement per thousand keys. */
static enum rh_status delete_done(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    enum rh_status status = RH_OK;
    size_t keys = 0;
    for (size_t i = 0; !status && i <= batch->count; i++) {
        bool end = i == batch->count;
        if (keys && (end || keys == MY_GET_KEYS)) {
            status = rh_buf_u8(&session->sql, ')', ctx->err);
            if (!status)
                status = send(session, ctx->err);
            keys = 0;
        }
        if (end || status || batch->records[i].outcome != RH_OUTCOME_DONE)
            continue;
        status = keys ? rh_buf_u8(&session->sql, ',', ctx->err)
                      : begin_sql(session, "DELETE FROM", " WHERE vault_key IN (", ctx->err);
        if (!status)
            status = my_sql_literal(&session->sql, batch->records[i].key, ctx->err);
        keys++;
    }
    return status;
}

/* remove, inside a transaction. */
static enum rh_status do_remove(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_CHANGED);
    enum rh_status status = look(ctx, session, batch, true, judge_hash);
    return status ? status : delete_done(ctx, session, batch);
}

/* replace: last one wins. */
static enum rh_status do_replace(struct rh_ctx *ctx, struct my_session *session, struct rh_batch *batch)
{
    rh_kv_outcomes(batch, RH_OUTCOME_NONE);
    enum rh_status status = insert_all(ctx, session, batch, &(struct my_insert){.want = want_all, .update = true});
    if (!status)
        finish_outcomes(batch);
    return status;
}

static enum rh_status do_op(struct rh_ctx *ctx, struct my_session *session, const struct rh_unit_op *op)
{
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

/* Whether after this error of a statement that commits nobody can say if it did. */
static bool may_have_committed(const struct rh_error *err)
{
    return err->native == 0 || rh_mysql_is_cut((unsigned)err->native) || err->native == ER_ERROR_DURING_COMMIT ||
           (err->native >= CR_MIN_ERROR && err->native <= CR_MAX_ERROR && err->native != CR_NET_PACKET_TOO_LARGE &&
            err->native != CR_OUT_OF_MEMORY);
}

/* One statement that commits by itself. RH_EXISTS: a create met existing keys, nothing was written. */
static enum rh_status
commit_single(struct rh_ctx *ctx, struct my_session *session, const struct rh_unit_op *op, enum rh_commit *ret_commit)
{
    struct my_insert how = {.want = want_all, .update = op->mode == RH_PUT_REPLACE};
    ctx->err->native = 0;
    rh_kv_outcomes(op->batch, RH_OUTCOME_NONE);
    enum rh_status status = insert_all(ctx, session, op->batch, &how);
    if (!status) {
        finish_outcomes(op->batch);
        *ret_commit = RH_COMMIT_DONE;
        return RH_OK;
    }
    if (ctx->err->native == ER_DUP_ENTRY && !how.update)
        return RH_EXISTS;
    if (status == RH_E_MEMORY || !may_have_committed(ctx->err))
        return status;
    *ret_commit = RH_COMMIT_UNKNOWN;
    return status;
}

/* The transaction's statements, then COMMIT. AGAIN: rolled back, worth another try. */
static enum rh_status commit_transaction(struct rh_ctx *ctx, struct my_session *session, enum rh_commit *ret_commit)
{
    enum rh_status status = my_run(session, ctx->err, "writing", "START TRANSACTION");
    for (size_t i = 0; !status && i < session->unit.op_count; i++)
        status = do_op(ctx, session, &session->unit.ops[i]);
    if (!status)
        status = rh_ctx_check(ctx);
    if (!status) {
        rh_crash_point("mysql-commit");
        status = my_run(session, ctx->err, "committing", "COMMIT");
        if (!status) {
            *ret_commit = RH_COMMIT_DONE;
            return RH_OK;
        }
        if (ctx->err->native != ER_LOCK_DEADLOCK)
            *ret_commit = RH_COMMIT_UNKNOWN;
        return status;
    }
    if (!rh_mysql_is_cut((unsigned)mysql_errno(session->mysql))) {
        struct rh_error second = {0};
        if (my_run(session, &second, "rolling back", "ROLLBACK") && status == AGAIN) {
            *ctx->err = second;
            return second.status;
        }
    }
    return status;
}

/* Tries until other writers let us. */
static enum rh_status commit_ops(struct rh_ctx *ctx, struct my_session *session, enum rh_commit *ret_commit)
{
    enum rh_status status = RH_OK;
    if (session->unit.op_count == 1 && !session->unit.ops[0].remove && session->unit.ops[0].mode != RH_PUT_IF_HASH &&
        is_one_statement(session, session->unit.ops[0].batch)) {
        if (!session->unit.ops[0].batch->count) {
            *ret_commit = RH_COMMIT_DONE;
            return RH_OK;
        }
        status = commit_single(ctx, session, &session->unit.ops[0], ret_commit);
        if (status != RH_EXISTS)
            return status;
    }
    for (int i = 0; i < MY_TRIES; i++) {
        status = commit_transaction(ctx, session, ret_commit);
        if (status != AGAIN)
            return status;
    }
    rh_fail(ctx->err, RH_E_STORE, "writing failed: another writer keeps making and removing the same keys");
    ctx->err->retry = RH_RETRY_LATER;
    return RH_E_STORE;
}

static enum rh_status commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct my_session *session = (struct my_session *)base;
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status)
        return status;
    status = my_enter(ctx, session);
    if (!status) {
        status = commit_ops(ctx, session, ret_commit);
        if (rh_failed(status)) {
            rh_unit_forget(&session->unit);
            /* The server may not have noticed yet; the next connection ends the old one first. */
            if (*ret_commit == RH_COMMIT_UNKNOWN || ctx->err->retry == RH_RETRY_RECONNECT) {
                my_remember_lost(session);
                ctx->err->retry = RH_RETRY_RECONNECT;
            }
        }
        status = my_leave(ctx, session, status);
    }
    rh_unit_end(&session->unit);
    return status;
}

static enum rh_status
begin(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_digest_key *digest)
{
    (void)dataset;
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (status)
        return status;
    if (!session->mysql || !session->table.loaded || !session->table.table_exists || *session->table.wrong ||
        !session->table.transactional) {
        status = my_enter(ctx, session);
        if (!status)
            status = my_leave(ctx, session, my_table_need(session, true, ctx->err));
        if (status)
            return status;
    }
    rh_unit_begin(&session->unit, digest);
    return RH_OK;
}

static enum rh_status put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct my_session *session = (struct my_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .mode = mode});
}

static enum rh_status remove_batch(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct my_session *session = (struct my_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .remove = true});
}

static void abort_unit(struct rh_session *base)
{
    /* Nothing was sent before commit. */
    rh_unit_end(&((struct my_session *)base)->unit);
}

const struct rh_write_ops my_write_ops = {
    .fits = fits,
    .begin = begin,
    .put = put,
    .remove = remove_batch,
    .commit = commit,
    .abort = abort_unit,
};
