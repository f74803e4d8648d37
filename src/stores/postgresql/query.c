/* SPDX-License-Identifier: Apache-2.0 */
/* Statements, their rows, and the server's SQLSTATE codes in our words. */
#include "internal.h"
#include <stdio.h>

long pg_state(const char *sqlstate)
{
    if (!sqlstate || strlen(sqlstate) != 5)
        return 0;
    long state = 0;
    for (const char *at = sqlstate; *at; at++) {
        if (!((*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z')))
            return 0;
        state = state * 36 + PG_DIGIT(*at);
    }
    return state;
}

/* Whether a code is of the class of these two characters. */
static bool is_class(long state, char a, char b)
{
    return state / (36L * 36 * 36) == PG_DIGIT(a) * 36L + PG_DIGIT(b);
}

bool pg_is_cut(long state)
{
    return state == 0 || is_class(state, '0', '8') || state == PG_STATE('5', '7', 'P', '0', '1') ||
           state == PG_STATE('5', '7', 'P', '0', '2') || state == PG_STATE('5', '7', 'P', '0', '4') ||
           state == PG_STATE('5', '7', 'P', '0', '5') || state == PG_STATE('2', '5', 'P', '0', '3');
}

struct kind {
    long state;
    enum rh_status status;
    enum rh_retry retry;
};

static const struct kind kinds[] = {
    {PG_STATE('4', '0', '0', '0', '1'), RH_E_STORE,  RH_RETRY_LATER    }, /* serialization_failure */
    {PG_STATE('4', '0', 'P', '0', '1'), RH_E_STORE,  RH_RETRY_LATER    }, /* deadlock_detected */
    {PG_STATE('5', '5', 'P', '0', '3'), RH_E_STORE,  RH_RETRY_LATER    }, /* lock_not_available */
    {PG_STATE('5', '7', '0', '1', '4'), RH_E_STORE,  RH_RETRY_LATER    }, /* query_canceled */
    {PG_STATE('5', '3', '2', '0', '0'), RH_E_STORE,  RH_RETRY_LATER    }, /* out_of_memory (the server's) */
    {PG_STATE('7', '2', '0', '0', '0'), RH_E_STORE,  RH_RETRY_RECONNECT}, /* snapshot_too_old */
    {PG_STATE('5', '7', 'P', '0', '3'), RH_E_NET,    RH_RETRY_LATER    }, /* cannot_connect_now */
    {PG_STATE('5', '3', '3', '0', '0'), RH_E_NET,    RH_RETRY_LATER    }, /* too_many_connections */
    {PG_STATE('5', '3', '1', '0', '0'), RH_E_FULL,   RH_RETRY_NEVER    }, /* disk_full */
    {PG_STATE('4', '2', '5', '0', '1'), RH_E_DENIED, RH_RETRY_NEVER    }, /* insufficient_privilege */
    {PG_STATE('2', '5', '0', '0', '6'), RH_E_DENIED, RH_RETRY_NEVER    }, /* read_only_sql_transaction */
    {PG_STATE('5', '4', '0', '0', '0'), RH_E_LIMIT,  RH_RETRY_NEVER    }, /* program_limit_exceeded */
    {PG_STATE('2', '2', '0', '2', '1'), RH_E_LIMIT,  RH_RETRY_NEVER    }, /* character_not_in_repertoire */
    {PG_STATE('2', '2', 'P', '0', '5'), RH_E_LIMIT,  RH_RETRY_NEVER    }, /* untranslatable_character */
    {PG_STATE('2', '2', '0', '0', '1'), RH_E_LIMIT,  RH_RETRY_NEVER    }, /* string_data_right_truncation */
};

/* What kind of thing a code is, and whether trying again can help. */
static enum rh_status classify(long state, enum rh_retry *ret_retry)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].state == state) {
            *ret_retry = kinds[i].retry;
            return kinds[i].status;
        }
    if (pg_is_cut(state)) {
        *ret_retry = RH_RETRY_RECONNECT;
        return RH_E_NET;
    }
    *ret_retry = RH_RETRY_NEVER;
    return is_class(state, '2', '8') ? RH_E_AUTH : RH_E_STORE;
}

/* The remedy for the errors that have one. */
static void hint(const struct pg_store *store, struct rh_error *err, long state)
{
    if (is_class(state, '2', '8'))
        rh_error_hint(err,
                      "check user and password in connection_url%s, and the server's pg_hba.conf for this host, user "
                      "and database",
                      store->tls == RH_TLS_OFF && !store->local ? " (without TLS a line hostssl doesn't match)" : "");
    else if (state == PG_STATE('3', 'D', '0', '0', '0'))
        rh_error_hint(err, "check the database in connection_url; rehome makes tables, not databases");
    else if (state == PG_STATE('4', '2', '5', '0', '1'))
        rh_error_hint(
            err,
            "give the account SELECT, INSERT, UPDATE and DELETE on %s, and CREATE on the schema where rehome is "
            "to make it; then run again",
            store->quoted);
    else if (state == PG_STATE('2', '5', '0', '0', '6'))
        rh_error_hint(err, "the server or the account is read-only: connect to the primary, or see "
                           "default_transaction_read_only");
    else if (state == PG_STATE('5', '3', '1', '0', '0'))
        rh_error_hint(err, "make room on the server's disk, then run the same command again");
    else if (state == PG_STATE('5', '5', 'P', '0', '3') || state == PG_STATE('4', '0', 'P', '0', '1'))
        rh_error_hint(err, "another transaction holds rows of this table: see pg_stat_activity");
    else if (state == PG_STATE('5', '3', '3', '0', '0'))
        rh_error_hint(err, "raise max_connections, or give the plan fewer lanes with parallel");
}

enum rh_status pg_fail_state(
    struct pg_session *session, struct rh_error *err, const char *what, const char *sqlstate, const char *message)
{
    enum rh_retry retry;
    long state = pg_state(sqlstate);
    enum rh_status status = classify(state, &retry);
    /* A syntax error may repeat a piece of the statement. */
    if (state == PG_STATE('4', '2', '6', '0', '1'))
        message = "the server doesn't understand the statement";
    rh_fail(err, status, "%s failed: %s (%s)", what, RH_SHOW(rh_bytes_text(message)), state ? sqlstate : "-");
    if (err) {
        err->retry = retry;
        err->native = state;
        hint(session->store, err, state);
    }
    return status;
}

enum rh_status pg_fail_gone(struct pg_session *session, struct rh_error *err, const char *what)
{
    (void)session;
    rh_fail(err, RH_E_NET, "%s failed: the connection to '%s' is gone", what, session->store->host);
    if (err) {
        err->retry = RH_RETRY_RECONNECT;
        err->native = 0;
    }
    return RH_E_NET;
}

enum rh_status
pg_fail_result(struct pg_session *session, struct rh_error *err, const char *what, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!state || !message)
        return pg_fail_gone(session, err, what);
    return pg_fail_state(session, err, what, state, message);
}

enum rh_status pg_query(struct rh_ctx *ctx,
                        struct pg_session *session,
                        const char *what,
                        const char *sql,
                        const struct pg_params *params,
                        PGresult **ret_result)
{
    static const int binary[PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1};
    if (!session->conn)
        return pg_fail_gone(session, ctx->err, what);
    if (!PQsendQueryParams(session->conn, sql, params->count, params->types, params->values, params->sizes, binary, 1))
        return pg_fail_gone(session, ctx->err, what);
    enum rh_status status = pg_flush(ctx, session);
    return status ? status : pg_finish(ctx, session, what, ret_result);
}

/* Formats and runs. */
static enum rh_status run_v(struct rh_ctx *ctx,
                            struct pg_session *session,
                            const char *what,
                            PGresult **ret_result,
                            const char *fmt,
                            va_list args) RH_PRINTF(5, 0);
static enum rh_status run_v(struct rh_ctx *ctx,
                            struct pg_session *session,
                            const char *what,
                            PGresult **ret_result,
                            const char *fmt,
                            va_list args)
{
    char text[8192];
    int size = vsnprintf(text, sizeof text, fmt, args);
    if (size < 0 || (size_t)size >= sizeof text)
        return rh_fail(ctx->err, RH_E_INTERNAL, "%s failed: statement too long", what);
    if (!session->conn || !PQsendQuery(session->conn, text))
        return pg_fail_gone(session, ctx->err, what);
    enum rh_status status = pg_flush(ctx, session);
    return status ? status : pg_finish(ctx, session, what, ret_result);
}

enum rh_status
pg_run(struct rh_ctx *ctx, struct pg_session *session, const char *what, PGresult **ret_result, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    enum rh_status status = run_v(ctx, session, what, ret_result, fmt, args);
    va_end(args);
    return status;
}

enum rh_status pg_text(
    struct rh_ctx *ctx, struct pg_session *session, const char *what, char *out, size_t out_size, const char *fmt, ...)
{
    pg_auto_result PGresult *result = NULL;
    va_list args;
    va_start(args, fmt);
    enum rh_status status = run_v(ctx, session, what, &result, fmt, args);
    va_end(args);
    if (status)
        return status;
    if (PQntuples(result) < 1 || PQgetisnull(result, 0, 0))
        return RH_NOT_FOUND;
    snprintf(out, out_size, "%s", PQgetvalue(result, 0, 0));
    return RH_OK;
}

void pg_rollback(struct rh_ctx *ctx, struct pg_session *session)
{
    struct rh_error second = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .err = &second};
    if (!session->conn || PQstatus(session->conn) != CONNECTION_OK)
        return;
    PGTransactionStatusType now = PQtransactionStatus(session->conn);
    /* where even that fails the connection goes, and the transaction with it */
    if (now == PQTRANS_ACTIVE || (now != PQTRANS_IDLE && pg_run(&quiet, session, "rolling back", NULL, "ROLLBACK")))
        pg_drop(session);
}

/* Doubles `quote` in the text and puts it around. */
static const char *quote_text(const char *text, char quote, char *out, size_t size)
{
    size_t used = 0;
    if (size)
        out[used++] = quote;
    for (; *text && used + 3 < size; text++) {
        if (*text == quote)
            out[used++] = quote;
        out[used++] = *text;
    }
    if (used + 1 < size)
        out[used++] = quote;
    out[used] = '\0';
    return out;
}

const char *pg_literal(const char *text, char *out, size_t size)
{
    /* standard_conforming_strings is on: a backslash is a backslash */
    return quote_text(text, '\'', out, size);
}

const char *pg_identifier(const char *text, char *out, size_t size)
{
    return quote_text(text, '"', out, size);
}
