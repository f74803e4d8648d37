/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: connecting, what every connection is set to, and making sure that a cut attempt can't take effect later.
 * Knowledge: libpq asks the server for GSS encryption before TLS unless gssencmode says no; a pooler between us and the
 * server answers with a process number of its own.
 */
#include "internal.h"
#include "driver.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <xxhash.h>

/* How long we wait for statements of a cut connection or an earlier process to end. */
static const int64_t settle_limit_us = 60 * INT64_C(1000000);

/* --- the connection --- */

/* The first line of libpq's message without its own beginning; the SQLSTATE that stands in it, if any. */
static const char *first_cause(const char *message, char *out, size_t size, char state[static 6])
{
    state[0] = '\0';
    const char *line = message;
    /* several addresses or attempts: a line each; the first that a server has answered says most */
    for (const char *at = message; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        const char *colon = strstr(at, ":  ");
        if (colon && colon < at + strcspn(at, "\n") && strlen(colon) > 10 && colon[8] == ':') {
            memcpy(state, colon + 3, 5);
            state[5] = '\0';
            if (pg_state(state)) {
                line = colon + 10;
                break;
            }
            state[0] = '\0';
        }
    }
    const char *failed = strstr(line, " failed: ");
    if (!*state && failed && strncmp(line, "connection to server", 20) == 0)
        line = failed + 9;
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    return out;
}

/* Whether libpq's words are about TLS. */
static bool is_tls(const char *message)
{
    static const char *const words[] = {"SSL", "certificate", "TLS", "private key"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(message, words[i]))
            return true;
    return false;
}

/* Whether a TLS failure says nothing of certificates: the connection's end, or a server on its way up or down. */
static bool is_cut(const char *message)
{
    return strstr(message, "EOF detected") || strstr(message, "unexpected eof") || strstr(message, "reset by peer") ||
           strstr(message, "Broken pipe") || strstr(message, "closed unexpectedly") ||
           strstr(message, "error response during SSL exchange");
}

/* Words for a connection that didn't come about. */
static enum rh_status connect_failed(struct pg_session *session, PGconn *conn, struct rh_error *err)
{
    const struct pg_store *store = session->store;
    char what[400], cause[600], state[6];
    first_cause(PQerrorMessage(conn), cause, sizeof cause, state);
    snprintf(what, sizeof what, "connecting to '%s'%s%s", RH_SHOW(rh_bytes_text(store->host)),
             store->local ? "" : " port ", store->local ? "" : store->port);
    if (*state) {
        enum rh_status status = pg_fail_state(session, err, what, state, cause);
        /* Nothing is open yet, so "reconnect" means: try again. */
        if (err && err->retry == RH_RETRY_RECONNECT)
            err->retry = RH_RETRY_LATER;
        return status;
    }
    bool tls = is_tls(cause) && !is_cut(cause);
    enum rh_status status = tls ? RH_E_TLS : strstr(cause, "password") ? RH_E_AUTH : RH_E_NET;
    rh_fail(err, status, "%s failed: %s", what, RH_SHOW(rh_bytes_text(cause)));
    if (!err)
        return status;
    err->retry = status == RH_E_NET ? RH_RETRY_LATER : RH_RETRY_NEVER;
    if (tls)
        pg_tls_hint(store, cause, err);
    else if (status == RH_E_AUTH)
        rh_error_hint(err, "give the password in connection_url, or password_file = \"PATH\"");
    else
        rh_error_hint(err,
                      "check that the server runs and that connection_url is right; --retry 5m waits longer for it");
    return status;
}

/* Waits for the next step of connecting. */
static enum rh_status
wait_connecting(struct rh_ctx *ctx, struct pg_session *session, PGconn *conn, bool for_write, int64_t until_us)
{
    for (;;) {
        enum rh_status status = rh_ctx_check(ctx);
        if (status)
            return status;
        if (atomic_load_explicit(&session->cancelled, memory_order_relaxed))
            return rh_fail(ctx->err, RH_E_CANCELLED, "interrupted");
        if (rh_clock_us() > until_us) {
            rh_fail(ctx->err, RH_E_NET, "connecting to '%s' failed: no answer within %lld s",
                    RH_SHOW(rh_bytes_text(session->store->host)), (long long)(session->store->connect_us / 1000000));
            ctx->err->retry = RH_RETRY_LATER;
            return RH_E_NET;
        }
        struct pollfd at = {.fd = PQsocket(conn), .events = for_write ? POLLOUT : POLLIN};
        int ready = poll(&at, 1, 50);
        if (ready > 0)
            return RH_OK;
        if (ready < 0 && errno != EINTR)
            return rh_fail_errno(ctx->err, errno, "connecting");
    }
}

/* Notices go nowhere: libpq would print them. */
static void no_notice(void *user, const PGresult *result)
{
    (void)user;
    (void)result;
}

/* Connects; on success the session has a connection. */
static enum rh_status connect_server(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_store *store = session->store;
    int64_t until = rh_clock_us() + store->connect_us;
    PGconn *conn = PQconnectStartParams(store->url.words, store->url.values, 0);
    if (!conn)
        return rh_fail_memory(ctx->err);
    PQsetNoticeReceiver(conn, no_notice, NULL);
    /* with the SQLSTATE in the message: there is no other way to it before the connection stands */
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    enum rh_status status = RH_OK;
    PostgresPollingStatusType next = PQstatus(conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (!status && (next == PGRES_POLLING_WRITING || next == PGRES_POLLING_READING)) {
        status = wait_connecting(ctx, session, conn, next == PGRES_POLLING_WRITING, until);
        if (!status)
            next = PQconnectPoll(conn);
    }
    if (!status && next != PGRES_POLLING_OK)
        status = connect_failed(session, conn, ctx->err);
    if (status) {
        PQfinish(conn);
        return status;
    }
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    PQsetnonblocking(conn, 1);
    session->conn = conn;
    return RH_OK;
}

/* What protects this connection; refuses one without TLS where TLS was demanded. */
static enum rh_status note_tls(struct pg_session *session, struct rh_error *err)
{
    const struct pg_store *store = session->store;
    if (!PQsslInUse(session->conn)) {
        snprintf(session->tls, sizeof session->tls, "%s", store->local ? "local" : "none");
        if (store->local || store->tls == RH_TLS_OFF)
            return RH_OK;
        rh_fail(err, RH_E_TLS, "connecting to '%s' failed: the server offers no TLS",
                RH_SHOW(rh_bytes_text(store->host)));
        pg_tls_hint(store, "does not support SSL", err);
        return RH_E_TLS;
    }
    const char *version = PQsslAttribute(session->conn, "protocol"), *cipher = PQsslAttribute(session->conn, "cipher");
    snprintf(session->tls, sizeof session->tls, "%s %s, peer %s", version ? version : "TLS", cipher ? cipher : "",
             store->tls == RH_TLS_VERIFIED              ? "verified"
             : strcmp(store->sslmode, "verify-ca") == 0 ? "verified but for its name"
                                                        : "not verified");
    return RH_OK;
}

/* Sets the connection to what this driver relies on, whatever the server's, database's and account's defaults say. The
 * plans of its statements must not hang on statistics, which a freshly filled table doesn't have. Behind a pooler,
 * which is refused, nothing is left set: the connection is somebody else's next. */
static enum rh_status set_session(struct rh_ctx *ctx, struct pg_session *session)
{
    const char *what = "setting up the connection";
    const char *encoding = PQparameterStatus(session->conn, "server_encoding");
    if (!encoding || strcmp(encoding, "UTF8") != 0) {
        rh_fail(ctx->err, RH_E_REFUSED, "the database '%s' has the encoding %s, so it can't hold all keys as they are",
                RH_SHOW(rh_bytes_text(PQdb(session->conn))), encoding ? RH_SHOW(rh_bytes_text(encoding)) : "unknown");
        rh_error_hint(ctx->err, "use a database made with ENCODING 'UTF8'");
        return RH_E_REFUSED;
    }
    int version = PQserverVersion(session->conn);
    if (version < 120000)
        return rh_fail(ctx->err, RH_E_REFUSED, "the server is older than PostgreSQL 12 (it says %d)", version / 10000);
    pg_auto_result PGresult *result = NULL;
    enum rh_status status = pg_run(
        ctx, session, what, &result,
        "SELECT pg_backend_pid(), (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()), "
        "set_config('statement_timeout', '0', pooled), set_config('lock_timeout', '10s', pooled), "
        "set_config('idle_in_transaction_session_timeout', '0', pooled), set_config('row_security', 'off', pooled), "
        "set_config('default_transaction_isolation', 'read committed', pooled), "
        "set_config('default_transaction_deferrable', 'off', pooled), set_config('enable_seqscan', 'off', pooled), "
        "set_config('enable_bitmapscan', 'off', pooled), set_config('enable_hashjoin', 'off', pooled), "
        "set_config('enable_mergejoin', 'off', pooled), set_config('enable_nestloop', 'on', pooled), "
        "set_config('enable_indexscan', 'on', pooled), set_config('enable_sort', 'on', pooled), "
        "set_config('jit', 'off', pooled), set_config('max_parallel_workers_per_gather', '0', pooled), "
        "set_config('standard_conforming_strings', 'on', pooled), set_config('client_min_messages', 'error', pooled), "
        "set_config('bytea_output', 'hex', pooled), set_config('tcp_keepalives_idle', '30', pooled), "
        "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', pooled) "
        "END%s FROM (SELECT pg_backend_pid() <> %d AS pooled) AS here",
        version >= 140000 ? ", set_config('idle_session_timeout', '0', pooled)" : "", PQbackendPID(session->conn));
    if (status)
        return status;
    uint64_t pid = 0;
    if (PQntuples(result) != 1 || rh_parse_u64(pg_cell(result, 0, 0), &pid) || pid > INT32_MAX)
        return rh_fail(ctx->err, RH_E_STORE, "%s failed: the server's answer makes no sense", what);
    if ((int)pid != PQbackendPID(session->conn)) {
        rh_fail(ctx->err, RH_E_REFUSED, "between here and the server '%s' is a connection pooler",
                RH_SHOW(rh_bytes_text(session->store->host)));
        rh_error_hint(ctx->err,
                      "connect to the server itself: what rehome must know of its own connections, a pooler hides");
        return RH_E_REFUSED;
    }
    session->pid = (int)pid;
    snprintf(session->begun, sizeof session->begun, "%s", PQgetvalue(result, 0, 1));
    session->limited = false;
    return RH_OK;
}

/* --- what earlier connections may have left under way --- */

/* Ends one lost connection on the server and waits until it is gone. A server that was restarted since knows none that
 * began at that time: what was under way is either in its log or gone. */
static enum rh_status end_lost(struct rh_ctx *ctx, struct pg_session *session, const struct pg_lost *lost)
{
    const char *what = "ending a cut connection on the server";
    int64_t until = rh_clock_us() + settle_limit_us;
    char found[32], begun[2 * sizeof lost->begun + 4];
    for (;;) {
        enum rh_status status =
            pg_text(ctx, session, what, found, sizeof found,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %d AND backend_start = %s",
                    lost->pid, pg_literal(lost->begun, begun, sizeof begun));
        if (status == RH_NOT_FOUND)
            return RH_OK;
        if (status || (status = rh_ctx_check(ctx)))
            return status;
        if (rh_clock_us() > until)
            break;
        rh_sleep_us(10000);
    }
    rh_fail(ctx->err, RH_E_STORE, "%s failed: process %d doesn't end", what, lost->pid);
    rh_error_hint(ctx->err, "see pg_stat_activity; try again when it is gone");
    ctx->err->retry = RH_RETRY_LATER;
    return RH_E_STORE;
}

/* All lost ones; those that ended are forgotten. */
static enum rh_status end_all_lost(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_store *store = session->store;
    for (;;) {
        pthread_mutex_lock(&store->lock);
        bool any = store->lost_count > 0;
        struct pg_lost lost = any ? store->lost[store->lost_count - 1] : (struct pg_lost){0};
        pthread_mutex_unlock(&store->lock);
        if (!any)
            return RH_OK;
        enum rh_status status = *lost.begun ? end_lost(ctx, session, &lost) : RH_OK;
        if (status)
            return status;
        pthread_mutex_lock(&store->lock);
        for (size_t i = 0; i < store->lost_count; i++)
            if (store->lost[i].pid == lost.pid && strcmp(store->lost[i].begun, lost.begun) == 0)
                store->lost[i--] = store->lost[--store->lost_count];
        pthread_mutex_unlock(&store->lock);
    }
}

/* The name of the writers' lock: each writing session holds it shared while it is connected, so that a later process
 * sees the connections of a killed one for as long as anything of theirs may still take effect. */
static int64_t writers_lock(const struct pg_store *store)
{
    static const char prefix[] = "rehome writer ";
    char text[sizeof prefix + PG_NAME_SIZE];
    snprintf(text, sizeof text, "%s%s", prefix, store->table);
    return (int64_t)XXH3_64bits(text, strlen(text));
}

/* Takes the lock or not, at once. */
static enum rh_status
try_lock(struct rh_ctx *ctx, struct pg_session *session, const char *what, const char *function, bool *ret_taken)
{
    char taken[8] = "";
    enum rh_status status = pg_text(ctx, session, what, taken, sizeof taken, "SELECT %s(%lld)", function,
                                    (long long)writers_lock(session->store));
    *ret_taken = *taken == 't';
    return status == RH_NOT_FOUND ? rh_fail(ctx->err, RH_E_STORE, "%s failed: no answer", what) : status;
}

/* Tries the lock until it is ours. */
static enum rh_status
wait_for_lock(struct rh_ctx *ctx, struct pg_session *session, const char *what, const char *function, bool *ret_taken)
{
    int64_t until = rh_clock_us() + settle_limit_us;
    for (;;) {
        enum rh_status status = try_lock(ctx, session, what, function, ret_taken);
        if (status || *ret_taken || rh_clock_us() > until)
            return status;
        if ((status = rh_ctx_check(ctx)))
            return status;
        rh_sleep_us(20000);
    }
}

/* Nothing of an earlier attempt may take effect after this; a session that writes is known to later processes by its
 * lock. */
static enum rh_status settle(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_store *store = session->store;
    const char *what = "waiting for the connections of an earlier run to end";
    enum rh_status status = end_all_lost(ctx, session);
    bool taken = true;
    if (status || session->base.role != RH_ROLE_WRITE)
        return status;
    /* one session looks for the whole store, before any of the store's has the lock: alone, it may have it exclusively
     */
    pthread_mutex_lock(&store->settling);
    bool first = !store->settled;
    if (first)
        status = wait_for_lock(ctx, session, what, "pg_try_advisory_lock", &taken);
    if (!status && taken)
        status = wait_for_lock(ctx, session, what, "pg_try_advisory_lock_shared", &taken);
    if (!status && taken && first) {
        bool given;
        status = try_lock(ctx, session, what, "pg_advisory_unlock", &given);
        store->settled = status == RH_OK;
    }
    pthread_mutex_unlock(&store->settling);
    if (status || taken)
        return status;
    rh_fail(ctx->err, RH_E_LOCKED, "%s: another rehome writes to %s", what, store->quoted);
    rh_error_hint(ctx->err, "let it end; if its process is dead, its connections end when the server notices");
    return RH_E_LOCKED;
}

void pg_remember_lost(struct pg_session *session)
{
    struct pg_store *store = session->store;
    if (!session->pid)
        return;
    pthread_mutex_lock(&store->lock);
    /* Full: cannot be with a store's few sessions, since each reconnect empties it; the newest wins. */
    if (store->lost_count == PG_LOST_MAX)
        store->lost_count--;
    struct pg_lost *lost = &store->lost[store->lost_count++];
    lost->pid = session->pid;
    snprintf(lost->begun, sizeof lost->begun, "%s", session->begun);
    pthread_mutex_unlock(&store->lock);
}

/* --- sessions --- */

void pg_drop(struct pg_session *session)
{
    if (!session->conn)
        return;
    pg_snapshot_leave(NULL, session);
    /* so that nothing below waits to say goodbye on a dead connection */
    int fd = PQsocket(session->conn);
    if (fd >= 0 && PQtransactionStatus(session->conn) == PQTRANS_ACTIVE)
        (void)shutdown(fd, SHUT_RDWR);
    PQfinish(session->conn);
    session->conn = NULL;
    session->table.loaded = false;
}

/* Connects, sets up, settles. */
static enum rh_status session_connect(struct rh_ctx *ctx, struct pg_session *session)
{
    enum rh_status status = connect_server(ctx, session);
    if (!status)
        status = note_tls(session, ctx->err);
    if (!status)
        status = set_session(ctx, session);
    if (!status)
        status = settle(ctx, session);
    if (status)
        pg_drop(session);
    return status;
}

enum rh_status
pg_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    struct pg_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->store = (struct pg_store *)base;
    status = session_connect(ctx, session);
    if (!status)
        status = pg_table_load(ctx, session);
    if (status) {
        pg_session_close(&session->base);
        return status;
    }
    *ret_session = &session->base;
    return RH_OK;
}

void pg_session_close(struct rh_session *base)
{
    struct pg_session *session = (struct pg_session *)base;
    if (!session)
        return;
    if (session->unit.writing)
        pg_write_ops.abort(base);
    pg_drop(session);
    rh_buf_done(&session->sql);
    rh_buf_done(&session->text);
    for (size_t i = 0; i < PG_PARAMS_MAX; i++)
        rh_buf_done(&session->arrays[i]);
    rh_unit_done(&session->unit);
    free(session);
}

void pg_session_cancel(struct rh_session *base)
{
    struct pg_session *session = (struct pg_session *)base;
    atomic_store(&session->cancelled, true);
}

/* The server's own limit, for the case that we are stopped and can't say that it is enough. */
static enum rh_status limit_statements(struct rh_ctx *ctx, struct pg_session *session)
{
    int64_t left_ms = ctx->deadline_us ? (ctx->deadline_us - rh_clock_us()) / 1000 + 1 : 0;
    if (!ctx->deadline_us && !session->limited)
        return RH_OK;
    enum rh_status status = pg_run(ctx, session, "setting a time limit", NULL, "SET statement_timeout = %lld",
                                   (long long)(left_ms > INT32_MAX ? INT32_MAX : left_ms));
    session->limited = ctx->deadline_us != 0;
    return status;
}

enum rh_status pg_enter(struct rh_ctx *ctx, struct pg_session *session)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (!session->conn) {
        status = session_connect(ctx, session);
        if (!status)
            status = pg_table_load(ctx, session);
        if (status)
            return status;
    }
    status = limit_statements(ctx, session);
    return status ? pg_leave(ctx, session, status) : RH_OK;
}

enum rh_status pg_leave(struct rh_ctx *ctx, struct pg_session *session, enum rh_status status)
{
    if (!rh_failed(status) || !session->conn)
        return status;
    /* the server has its own clock for the same limit */
    if (ctx->deadline_us && rh_clock_us() >= ctx->deadline_us && status != RH_E_TIMEOUT) {
        enum rh_retry retry = ctx->err->retry;
        status = rh_fail(ctx->err, RH_E_TIMEOUT, "took too long");
        ctx->err->retry = retry;
    }
    bool gone = PQstatus(session->conn) != CONNECTION_OK || PQtransactionStatus(session->conn) == PQTRANS_ACTIVE;
    if (gone) {
        if (session->base.role != RH_ROLE_READ)
            pg_remember_lost(session);
        pg_drop(session);
        ctx->err->retry = RH_RETRY_RECONNECT;
    }
    return status;
}
