/* SPDX-License-Identifier: Apache-2.0 */
/* Gets of many keys in one statement: the keys travel as two arrays and come back by their number. */
#include "internal.h"

enum { GET_KEYS = 512 }; /* keys asked for in one statement: its answer is held in memory */

/* Adds one row of the answer: number of its key, value. */
static enum rh_status take_row(const PGresult *rows,
                               int row,
                               const struct rh_bytes *keys,
                               size_t count,
                               struct rh_batch *out,
                               struct rh_error *err)
{
    struct rh_cursor cur = rh_cursor(pg_cell(rows, row, 0));
    uint64_t number = rh_cursor_u64be(&cur);
    if (!rh_cursor_done(&cur) || number < 1 || number > count)
        return rh_fail(err, RH_E_CORRUPT, "reading failed: the server's answer makes no sense");
    return rh_batch_add_kv(out, keys[number - 1], pg_cell(rows, row, 1), PQgetisnull(rows, row, 1))
               ? RH_OK
               : rh_fail_memory(err);
}

/* The two arrays of the keys; those that no row can have are NULL, which equals nothing. */
static enum rh_status
make_arrays(struct pg_session *session, const struct rh_bytes *keys, size_t count, struct rh_error *err)
{
    struct rh_buf *paths = &session->arrays[0], *names = &session->arrays[1];
    const struct rh_bytes slash = rh_bytes_text("/");
    enum rh_status status = pg_array_begin(paths, PG_TEXT, count, err);
    if (!status)
        status = pg_array_begin(names, PG_TEXT, count, err);
    for (size_t i = 0; !status && i < count; i++) {
        bool text = rh_utf8_valid(keys[i]) && !(keys[i].size && memchr(keys[i].data, 0, keys[i].size));
        struct pg_split split = pg_split_key(keys[i]);
        status = pg_array_add(paths, text ? &slash : NULL, split.dir, err);
        if (!status)
            status = pg_array_add(names, text ? &split.name : NULL, rh_bytes(NULL, 0), err);
    }
    return status;
}

/* What the rows before one hold together: a value's length is known without reading it. */
static const char bytes_before[] = ", sum(octet_length(t.value)) OVER (ORDER BY k.n ROWS BETWEEN UNBOUNDED PRECEDING "
                                   "AND 1 PRECEDING) AS before";

/* One statement's worth of keys, whose answer libpq holds in memory: the server itself leaves out what would be too
 * much. */
static enum rh_status get_some(
    struct rh_ctx *ctx, struct pg_session *session, const struct rh_bytes *keys, size_t count, struct rh_batch *out)
{
    enum rh_status status = make_arrays(session, keys, count, ctx->err);
    rh_buf_clear(&session->sql);
    if (!status)
        status = rh_buf_format(&session->sql, ctx->err,
                               "SELECT n, value FROM (SELECT k.n, t.value%s FROM unnest($1, $2) WITH ORDINALITY AS "
                               "k(p, k, n) JOIN %s t ON t.path = k.p AND t.key = k.k) AS found",
                               out->enough_bytes ? bytes_before : "", session->store->quoted);
    if (!status && out->enough_bytes)
        status = rh_buf_format(&session->sql, ctx->err, " WHERE coalesce(before, 0) < %llu",
                               (unsigned long long)(out->enough_bytes - out->bytes));
    if (!status)
        status = rh_buf_text(&session->sql, " ORDER BY n", ctx->err);
    if (status)
        return status;
    struct pg_params params = {0};
    pg_param(&params, PG_TEXT_ARRAY, session->arrays[0].data, session->arrays[0].size);
    pg_param(&params, PG_TEXT_ARRAY, session->arrays[1].data, session->arrays[1].size);
    pg_auto_result PGresult *rows = NULL;
    status = pg_query(ctx, session, "reading", rh_buf_cstr(&session->sql), &params, &rows);
    for (int i = 0; !status && i < PQntuples(rows); i++)
        status = take_row(rows, i, keys, count, out, ctx->err);
    return status;
}

enum rh_status pg_get(struct rh_ctx *ctx,
                      struct rh_session *base,
                      const struct rh_dataset *dataset,
                      const struct rh_bytes *keys,
                      size_t count,
                      struct rh_batch *out)
{
    (void)dataset;
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    if (status)
        return status;
    /* what is there now, not what a scan before has seen */
    pg_snapshot_leave(ctx, session);
    status = session->conn ? pg_table_need(ctx, session, false) : pg_fail_gone(session, ctx->err, "reading");
    for (size_t done = 0; !status && done < count && !rh_batch_has_enough(out);) {
        size_t some = count - done < GET_KEYS ? count - done : GET_KEYS;
        status = get_some(ctx, session, keys + done, some, out);
        done += some;
        if (!status && done < count)
            status = rh_ctx_check(ctx);
    }
    return pg_leave(ctx, session, status);
}
