/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: scans in key order with rows taken off the wire as they come, and gets of many keys in one statement.
 * The end of rows is the end of the data only when the server said so: mysql_errno() is 0.
 */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>

enum { GET_KEYS_FIRST = 64 }; /* of a session's first get: how large values are isn't known yet */

struct my_scan {
    struct rh_scan base;
    struct my_session *session;
    MYSQL_RES *rows; /* NULL: ended */
    unsigned flags;
};

/* Appends one condition on the key. */
static enum rh_status
add_bound(struct rh_buf *sql, const char *compare, struct rh_bytes key, bool *first, struct rh_error *err)
{
    enum rh_status status = rh_buf_text(sql, *first ? " WHERE vault_key " : " AND vault_key ", err);
    *first = false;
    if (!status)
        status = rh_buf_text(sql, compare, err);
    return status ? status : my_sql_literal(sql, key, err);
}

/* The SELECT up to its conditions. */
static enum rh_status begin_select(struct my_session *session, unsigned flags, struct rh_error *err)
{
    rh_buf_clear(&session->sql);
    const char *columns = !(flags & RH_SCAN_KEYS_ONLY) ? "vault_key, vault_value"
                          : flags & RH_SCAN_SIZES      ? "vault_key, LENGTH(vault_value)"
                                                       : "vault_key";
    return rh_buf_format(&session->sql, err, "SELECT %s FROM %s%s", columns, session->store->qualified,
                         session->table.primary ? " FORCE INDEX (PRIMARY)" : "");
}

/* The statement of a scan. */
static enum rh_status scan_statement(
    struct my_session *session, struct rh_range range, struct rh_bytes after, unsigned flags, struct rh_error *err)
{
    bool first = true;
    const struct rh_scan_start start = rh_scan_start(range, after);
    enum rh_status status = begin_select(session, flags, err);
    if (!status && start.key.size)
        status = add_bound(&session->sql, start.past ? "> " : ">= ", start.key, &first, err);
    if (!status && range.to.size)
        status = add_bound(&session->sql, "< ", range.to, &first, err);
    return status ? status : rh_buf_text(&session->sql, " ORDER BY vault_key", err);
}

/* Sends session->sql as a query whose rows come one by one. */
static enum rh_status send_query(struct my_session *session, MYSQL_RES **ret_rows, struct rh_error *err)
{
    if (mysql_real_query(session->mysql, (const char *)session->sql.data, (unsigned long)session->sql.size))
        return my_fail(session, err, "reading");
    MYSQL_RES *rows = mysql_use_result(session->mysql);
    if (!rows)
        return my_fail(session, err, "reading");
    *ret_rows = rows;
    return RH_OK;
}

static enum rh_status scan_open(struct rh_ctx *ctx,
                                struct rh_session *base,
                                const struct rh_dataset *dataset,
                                struct rh_range range,
                                struct rh_bytes after,
                                unsigned flags,
                                struct rh_scan **ret_scan)
{
    (void)dataset;
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    if (status)
        return status;
    struct my_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return my_leave(ctx, session, rh_fail_memory(ctx->err));
    scan->base.session = base;
    scan->session = session;
    scan->flags = flags;
    status = my_table_need(session, false, ctx->err);
    if (!status)
        status = scan_statement(session, range, after, flags, ctx->err);
    if (!status)
        status = send_query(session, &scan->rows, ctx->err);
    status = my_leave(ctx, session, status);
    if (status) {
        free(scan);
        return status;
    }
    session->scanning = true;
    *ret_scan = &scan->base;
    return RH_OK;
}

/* Copies one row into the batch. */
static enum rh_status
take_row(struct rh_batch *batch, MYSQL_RES *rows, MYSQL_ROW row, unsigned flags, struct rh_error *err)
{
    const unsigned long *sizes = mysql_fetch_lengths(rows);
    struct rh_record *record;
    if (!row[0])
        return rh_fail(err, RH_E_CORRUPT, "reading failed: a row's vault_key is NULL");
    if (!(flags & RH_SCAN_KEYS_ONLY)) {
        record = rh_batch_add_kv(batch, rh_bytes(row[0], sizes[0]), rh_bytes(row[1], row[1] ? sizes[1] : 0), !row[1]);
        return record ? RH_OK : rh_fail_memory(err);
    }
    record = rh_batch_add(batch);
    if (!record)
        return rh_fail_memory(err);
    record->key = rh_arena_copy(&batch->arena, rh_bytes(row[0], sizes[0]));
    if (sizes[0] && !record->key.data)
        return rh_fail_memory(err);
    if (flags & RH_SCAN_SIZES && row[1] && rh_parse_u64(rh_bytes(row[1], sizes[1]), &record->value_bytes))
        return rh_fail(err, RH_E_CORRUPT, "reading failed: the server's size isn't a number");
    batch->bytes += sizes[0];
    return RH_OK;
}

/* Reads rows until the batch is full. RH_END at the end of an empty batch. */
static enum rh_status
fill(struct rh_ctx *ctx, struct my_scan *scan, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct my_session *session = scan->session;
    do {
        MYSQL_ROW row = mysql_fetch_row(scan->rows);
        if (!row) {
            if (mysql_errno(session->mysql))
                return my_fail(session, ctx->err, "reading");
            mysql_free_result(scan->rows);
            scan->rows = NULL;
            break;
        }
        enum rh_status status = take_row(batch, scan->rows, row, scan->flags, ctx->err);
        if (status)
            return status;
        if ((batch->count & 1023) == 0 && (status = rh_ctx_check(ctx)))
            return status;
    } while (batch->bytes < want_bytes && batch->count < want_records);
    return batch->count ? RH_OK : RH_END;
}

static enum rh_status
scan_next(struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct my_scan *scan = (struct my_scan *)base;
    rh_batch_clear(batch);
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (!scan->rows)
        return RH_END;
    status = my_enter(ctx, scan->session);
    return status ? status : my_leave(ctx, scan->session, fill(ctx, scan, want_bytes, want_records, batch));
}

static void scan_close(struct rh_scan *base)
{
    struct my_scan *scan = (struct my_scan *)base;
    if (!scan)
        return;
    scan->session->scanning = false;
    if (scan->rows) {
        /* Rows that nobody wants are still on their way. Freeing the result reads all of them, unless the connection
         * is cut before; the next call makes another. */
        my_session_cut(scan->session);
        mysql_free_result(scan->rows);
        my_drop(scan->session);
    }
    free(scan);
}

/* --- get --- */

struct my_wanted {
    const struct rh_bytes *keys;
    const size_t *order; /* positions of keys, sorted by key */
    size_t count;
};

static int by_key(const void *a, const void *b, void *user)
{
    const struct rh_bytes *keys = user;
    return rh_bytes_compare(keys[*(const size_t *)a], keys[*(const size_t *)b]);
}

/* The position of a key that was asked for; count when it wasn't. */
static size_t position(const struct my_wanted *wanted, struct rh_bytes key)
{
    size_t low = 0, high = wanted->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int compare = rh_bytes_compare(wanted->keys[wanted->order[middle]], key);
        if (compare == 0)
            return wanted->order[middle];
        if (compare < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return wanted->count;
}

static int by_position(const void *a, const void *b, void *user)
{
    const struct my_wanted *wanted = user;
    size_t left = position(wanted, ((const struct rh_record *)a)->key),
           right = position(wanted, ((const struct rh_record *)b)->key);
    return left < right ? -1 : left > right;
}

/* Whether the keys are already in byte order. */
static bool is_sorted(const struct rh_bytes *keys, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (rh_bytes_compare(keys[i - 1], keys[i]) > 0)
            return false;
    return true;
}

/* Puts the records from `first` on into the order of the keys that were asked for. */
static enum rh_status
put_in_order(struct rh_batch *out, size_t first, const struct rh_bytes *keys, size_t count, struct rh_error *err)
{
    if (is_sorted(keys, count) || out->count - first < 2)
        return RH_OK;
    rh_auto_free size_t *order = calloc(count, sizeof *order);
    if (!order)
        return rh_fail_memory(err);
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    union {
        const void *in;
        void *out;
    } unconst = {.in = keys}; /* qsort_r's user pointer isn't const */
    qsort_r(order, count, sizeof *order, by_key, unconst.out);
    struct my_wanted wanted = {.keys = keys, .order = order, .count = count};
    qsort_r(out->records + first, out->count - first, sizeof *out->records, by_position, &wanted);
    return RH_OK;
}

/* How many keys the next statement should ask for: as many as were enough, more after one that wasn't. */
static void adapt(struct my_session *session, size_t asked, size_t taken, bool too_many)
{
    if (too_many)
        session->get_keys = taken ? taken : 1;
    else if (asked >= session->get_keys)
        session->get_keys = asked < MY_GET_KEYS / 2 ? asked * 2 : MY_GET_KEYS;
}

/* One statement's worth of keys. Rows that are too much are read off the wire and not kept. */
static enum rh_status get_some(
    struct rh_ctx *ctx, struct my_session *session, const struct rh_bytes *keys, size_t count, struct rh_batch *out)
{
    size_t first = out->count;
    bool sorted = is_sorted(keys, count), too_many = false; /* rows come in the order of keys */
    enum rh_status status = begin_select(session, 0, ctx->err);
    for (size_t i = 0; !status && i < count; i++) {
        status = rh_buf_text(&session->sql, i ? "," : " WHERE vault_key IN (", ctx->err);
        if (!status)
            status = my_sql_literal(&session->sql, keys[i], ctx->err);
    }
    if (!status)
        status = rh_buf_text(&session->sql, ") ORDER BY vault_key", ctx->err);
    MYSQL_RES *rows = NULL;
    if (!status)
        status = send_query(session, &rows, ctx->err);
    if (status)
        return status;
    for (MYSQL_ROW row; !status && (row = mysql_fetch_row(rows));) {
        too_many = sorted && rh_batch_has_enough(out);
        status = too_many ? RH_OK : take_row(out, rows, row, 0, ctx->err);
    }
    adapt(session, count, out->count - first, too_many);
    if (!status && mysql_errno(session->mysql))
        status = my_fail(session, ctx->err, "reading");
    mysql_free_result(rows);
    return status ? status : put_in_order(out, first, keys, count, ctx->err);
}

static enum rh_status get(struct rh_ctx *ctx,
                          struct rh_session *base,
                          const struct rh_dataset *dataset,
                          const struct rh_bytes *keys,
                          size_t count,
                          struct rh_batch *out)
{
    (void)dataset;
    struct my_session *session = (struct my_session *)base;
    enum rh_status status = my_enter(ctx, session);
    if (status)
        return status;
    status = my_table_need(session, false, ctx->err);
    const size_t first = session->get_keys ? session->get_keys : GET_KEYS_FIRST;
    for (size_t done = 0; !status && done < count && !rh_batch_has_enough(out);) {
        size_t most = out->enough_bytes && done == 0 ? first : out->enough_bytes ? session->get_keys : MY_GET_KEYS;
        size_t some = count - done < most ? count - done : most;
        status = get_some(ctx, session, keys + done, some, out);
        done += some;
        if (!status && done < count)
            status = rh_ctx_check(ctx);
    }
    return my_leave(ctx, session, status);
}

const struct rh_read_ops my_read_ops = {
    .datasets = rh_kv_datasets,
    .scan_open = scan_open,
    .scan_next = scan_next,
    .scan_close = scan_close,
    .get = get,
};
