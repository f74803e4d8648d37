/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: what every connection is set to, deadlines, and making sure that a cut attempt can't take effect later.
 */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <xxhash.h>

/* How long we wait for statements of a cut connection or an earlier process to end. */
static const int64_t settle_limit_us = 60 * INT64_C(1000000);

/* --- the connection --- */

/* Sets the connection to what this driver relies on, whatever the server's defaults and init_connect say. */
static enum rh_status set_session(struct my_session *session, struct rh_error *err)
{
    const char *what = "setting up the connection";
    session->mariadb = mariadb_connection(session->mysql);
    enum rh_status status =
        my_run(session, err, what,
               "SET NAMES binary, SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
               "autocommit = 1, completion_type = 0, net_read_timeout = 3600, net_write_timeout = 3600, "
               "wait_timeout = 28800, innodb_lock_wait_timeout = 10, sql_select_limit = DEFAULT, "
               "sql_big_selects = 1, sql_safe_updates = 0%s",
               session->mariadb ? ", max_statement_time = 0, in_predicate_conversion_threshold = 0"
                                : ", max_execution_time = 0");
    if (status)
        return status;
    status = my_run(session, err, what, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    if (status)
        return status;
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    status = my_rows(session, err, what, &rows,
                     "SELECT @@max_allowed_packet, @@lower_case_table_names, CONNECTION_ID(), UNIX_TIMESTAMP()");
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    uint64_t lower = 0, thread = 0, now = 0;
    if (!row || !row[0] || !row[1] || !row[2] || !row[3] || rh_parse_u64(rh_bytes_text(row[0]), &session->max_packet) ||
        rh_parse_u64(rh_bytes_text(row[1]), &lower) || rh_parse_u64(rh_bytes_text(row[2]), &thread) ||
        rh_parse_u64(rh_bytes_text(row[3]), &now))
        return rh_fail(err, RH_E_STORE, "%s failed: the server's answer makes no sense", what);
    session->lower_case = (unsigned)lower;
    pthread_mutex_lock(&session->store->lock);
    session->thread = (unsigned long)thread;
    pthread_mutex_unlock(&session->store->lock);
    rh_mysql_auto_rows MYSQL_RES *status_rows = NULL;
    status = my_rows(session, err, what, &status_rows, "SHOW GLOBAL STATUS LIKE 'Uptime'");
    uint64_t uptime = 0;
    if (!status && (row = mysql_fetch_row(status_rows)) && row[1])
        rh_ignore(rh_parse_u64(rh_bytes_text(row[1]), &uptime)); /* 0: then no lost connection is ours */
    session->server_start = (int64_t)now - (int64_t)uptime;
    return status;
}

/* --- what earlier connections may have left under way --- */

/* Whether one of this store's living sessions has that connection (then the lost one with its number is gone). */
static bool is_living(struct my_store *store, const struct my_lost *lost)
{
    bool found = false;
    pthread_mutex_lock(&store->lock);
    for (struct my_session *session = store->sessions; session; session = session->next)
        found = found || (session->fd >= 0 && session->thread == lost->thread);
    pthread_mutex_unlock(&store->lock);
    return found;
}

/* Ends one lost connection on the server and waits until it is gone. */
static enum rh_status end_lost(struct rh_ctx *ctx, struct my_session *session, const struct my_lost *lost)
{
    const char *what = "ending a cut connection on the server";
    int64_t start = session->server_start - lost->server_start;
    /* Another start of the server: recovery has rolled the old one's work back or kept it; nothing is under way. */
    if (start > 3 || start < -3 || lost->thread == session->thread || is_living(session->store, lost))
        return RH_OK;
    int64_t until = rh_clock_us() + settle_limit_us;
    /* Told until there is none. (MySQL's information_schema.PROCESSLIST fails as a whole while any statement of anybody
     * holds bytes that aren't text, as ours may.) */
    for (;;) {
        enum rh_status status = my_run(session, ctx->err, what, "KILL CONNECTION %lu", lost->thread);
        if (status)
            return ctx->err->native == ER_NO_SUCH_THREAD ? RH_OK : status;
        if ((status = rh_ctx_check(ctx)))
            return status;
        if (rh_clock_us() > until)
            break;
        rh_sleep_us(20000);
    }
    rh_fail(ctx->err, RH_E_STORE, "%s failed: connection %lu doesn't end", what, lost->thread);
    rh_error_hint(ctx->err, "see SHOW PROCESSLIST; try again when it is gone");
    ctx->err->retry = RH_RETRY_LATER;
    return RH_E_STORE;
}

/* All lost ones; those that ended are forgotten. */
static enum rh_status end_all_lost(struct rh_ctx *ctx, struct my_session *session)
{
    struct my_store *store = session->store;
    for (;;) {
        pthread_mutex_lock(&store->lock);
        bool any = store->lost_count > 0;
        struct my_lost lost = any ? store->lost[store->lost_count - 1] : (struct my_lost){0};
        pthread_mutex_unlock(&store->lock);
        if (!any)
            return RH_OK;
        enum rh_status status = end_lost(ctx, session, &lost);
        if (status)
            return status;
        pthread_mutex_lock(&store->lock);
        for (size_t i = 0; i < store->lost_count; i++)
            if (store->lost[i].thread == lost.thread && store->lost[i].server_start == lost.server_start)
                store->lost[i--] = store->lost[--store->lost_count];
        pthread_mutex_unlock(&store->lock);
    }
}

/* The name of a writer's lock. Each writing session holds one while it is connected, so that a later process sees the
 * connections of a killed one for as long as anything of theirs may still take effect. */
static enum rh_status writer_name(struct my_session *session, struct rh_buf *sql, unsigned number, struct rh_error *err)
{
    uint8_t lower[sizeof session->store->qualified];
    size_t size = 0;
    for (const char *at = session->store->qualified; *at; at++)
        lower[size++] = (uint8_t)(*at >= 'A' && *at <= 'Z' ? *at | 0x20 : *at);
    return rh_buf_format(sql, err, "'rehome.%016llx.%u'", (unsigned long long)XXH3_64bits(lower, size), number);
}

/* Waits until no other process of ours has a writing session. Called while this one has none. */
static enum rh_status wait_for_strays(struct rh_ctx *ctx, struct my_session *session)
{
    const char *what = "waiting for the connections of an earlier run to end";
    rh_auto_buf struct rh_buf sql = RH_BUF_INIT;
    enum rh_status status = rh_buf_text(&sql, "SELECT 1 FROM DUAL WHERE 0", ctx->err);
    for (unsigned i = 0; !status && i < MY_WRITERS_MAX; i++) {
        status = rh_buf_text(&sql, " OR IS_USED_LOCK(", ctx->err);
        if (!status)
            status = writer_name(session, &sql, i, ctx->err);
        if (!status)
            status = rh_buf_text(&sql, ") IS NOT NULL", ctx->err);
    }
    int64_t until = rh_clock_us() + settle_limit_us;
    char used[8];
    while (!status) {
        status = my_text(session, ctx->err, what, used, sizeof used, "%s", rh_buf_cstr(&sql));
        if (status == RH_NOT_FOUND)
            return RH_OK;
        if (!status)
            status = rh_ctx_check(ctx);
        if (!status && rh_clock_us() > until)
            break;
        rh_sleep_us(20000);
    }
    if (status)
        return status;
    rh_fail(ctx->err, RH_E_LOCKED, "%s: another rehome writes to %s", what, session->store->qualified);
    rh_error_hint(ctx->err, "let it end; if its process is dead, its connections end when the server notices");
    return RH_E_LOCKED;
}

/* Takes a writer's lock; the server frees it with the connection. */
static enum rh_status take_writer_lock(struct rh_ctx *ctx, struct my_session *session)
{
    for (unsigned i = 0; i < MY_WRITERS_MAX; i++) {
        rh_auto_buf struct rh_buf name = RH_BUF_INIT;
        char taken[8] = "";
        enum rh_status status = writer_name(session, &name, i, ctx->err);
        if (!status)
            status = my_text(session, ctx->err, "taking a writer's lock", taken, sizeof taken, "SELECT GET_LOCK(%s, 0)",
                             rh_buf_cstr(&name));
        if (status || strcmp(taken, "1") == 0)
            return status;
    }
    return rh_fail(ctx->err, RH_E_LOCKED, "more than %u sessions write to %s", MY_WRITERS_MAX,
                   session->store->qualified);
}

/* Nothing of an earlier attempt may take effect after this; a session that writes is known to later processes by its
 * lock. */
static enum rh_status settle(struct rh_ctx *ctx, struct my_session *session)
{
    struct my_store *store = session->store;
    enum rh_status status = end_all_lost(ctx, session);
    if (status || session->base.role != RH_ROLE_WRITE)
        return status;
    /* one session looks for the whole store, before any of the store's has a lock of its own */
    pthread_mutex_lock(&store->settling);
    if (!store->settled)
        status = wait_for_strays(ctx, session);
    store->settled = store->settled || !status;
    pthread_mutex_unlock(&store->settling);
    return status ? status : take_writer_lock(ctx, session);
}

void my_remember_lost(struct my_session *session)
{
    struct my_store *store = session->store;
    if (!session->thread)
        return;
    pthread_mutex_lock(&store->lock);
    /* Full: cannot be with a store's few sessions, since each reconnect empties it; the newest wins. */
    if (store->lost_count == MY_LOST_MAX)
        store->lost_count--;
    store->lost[store->lost_count++] =
        (struct my_lost){.thread = session->thread, .server_start = session->server_start};
    pthread_mutex_unlock(&store->lock);
}

/* --- sessions --- */

/* Publishes the connection's descriptor for cancel and deadline, or withdraws it. */
static void set_fd(struct my_session *session, int fd)
{
    pthread_mutex_lock(&session->store->lock);
    session->fd = fd;
    pthread_mutex_unlock(&session->store->lock);
}

void my_drop(struct my_session *session)
{
    if (!session->mysql)
        return;
    int fd = (int)mysql_get_socket(session->mysql);
    set_fd(session, -1);
    /* So that nothing below waits for rows that nobody wants. */
    if (fd >= 0)
        (void)shutdown(fd, SHUT_RDWR);
    mysql_close(session->mysql);
    session->mysql = NULL;
    session->table.loaded = false;
}

/* Connects, sets up, settles. */
static enum rh_status session_connect(struct rh_ctx *ctx, struct my_session *session)
{
    enum rh_status status = rh_mysql_connect(&session->store->server, &session->mysql, session->tls, ctx->err);
    if (!status) {
        set_fd(session, (int)mysql_get_socket(session->mysql));
        status = set_session(session, ctx->err);
    }
    if (!status)
        status = settle(ctx, session);
    if (status)
        my_drop(session);
    return status;
}

enum rh_status
my_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct my_store *store = (struct my_store *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    struct my_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->store = store;
    session->fd = -1;
    pthread_mutex_lock(&store->lock);
    session->next = store->sessions;
    store->sessions = session;
    pthread_mutex_unlock(&store->lock);
    status = session_connect(ctx, session);
    if (!status)
        status = my_table_load(session, ctx->err);
    if (status) {
        my_session_close(&session->base);
        return status;
    }
    *ret_session = &session->base;
    return RH_OK;
}

void my_session_close(struct rh_session *base)
{
    struct my_session *session = (struct my_session *)base;
    if (!session)
        return;
    struct my_store *store = session->store;
    if (session->unit.writing)
        my_write_ops.abort(base);
    if (session->mysql) {
        set_fd(session, -1);
        mysql_close(session->mysql);
    }
    pthread_mutex_lock(&store->lock);
    for (struct my_session **at = &store->sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    pthread_mutex_unlock(&store->lock);
    rh_buf_done(&session->sql);
    rh_unit_done(&session->unit);
    free(session->bind);
    free(session);
}

/* With the store's lock held. */
static void cut(struct my_session *session)
{
    if (session->fd >= 0)
        (void)shutdown(session->fd, SHUT_RDWR);
}

void my_session_cut(struct my_session *session)
{
    pthread_mutex_lock(&session->store->lock);
    cut(session);
    pthread_mutex_unlock(&session->store->lock);
}

void my_session_cancel(struct rh_session *base)
{
    struct my_session *session = (struct my_session *)base;
    pthread_mutex_lock(&session->store->lock);
    session->cancelled = true;
    cut(session);
    pthread_mutex_unlock(&session->store->lock);
}

/* --- deadlines --- */

/* The earliest deadline, after cutting what has passed its own; 0 = none. With the lock held. */
static int64_t next_deadline(struct my_store *store)
{
    int64_t now = rh_clock_us(), next = 0;
    for (struct my_session *session = store->sessions; session; session = session->next) {
        if (!session->deadline_us)
            continue;
        if (session->deadline_us <= now) {
            session->deadline_us = 0;
            session->timed_out = true;
            cut(session);
        } else if (!next || session->deadline_us < next) {
            next = session->deadline_us;
        }
    }
    return next;
}

/* Holds the calls of a store to their deadlines. */
static void *watch(void *user)
{
    struct my_store *store = user;
    pthread_mutex_lock(&store->lock);
    while (!store->stop_watching) {
        int64_t next = next_deadline(store);
        if (!next) {
            pthread_cond_wait(&store->wake, &store->lock);
            continue;
        }
        struct timespec at = {.tv_sec = next / 1000000, .tv_nsec = next % 1000000 * 1000};
        pthread_cond_timedwait(&store->wake, &store->lock, &at);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* Sets or clears the deadline of the call under way. */
static void arm(struct my_session *session, int64_t deadline_us)
{
    struct my_store *store = session->store;
    pthread_mutex_lock(&store->lock);
    session->deadline_us = deadline_us;
    if (deadline_us) {
        if (!store->watching)
            store->watching = pthread_create(&store->watcher, NULL, watch, store) == 0;
        pthread_cond_broadcast(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
}

enum rh_status my_enter(struct rh_ctx *ctx, struct my_session *session)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (!session->mysql) {
        status = session_connect(ctx, session);
        if (!status)
            status = my_table_load(session, ctx->err);
        if (status)
            return status;
    }
    if (ctx->deadline_us)
        arm(session, ctx->deadline_us);
    return RH_OK;
}

enum rh_status my_leave(struct rh_ctx *ctx, struct my_session *session, enum rh_status status)
{
    if (ctx->deadline_us)
        arm(session, 0);
    if (!rh_failed(status))
        return status;
    pthread_mutex_lock(&session->store->lock);
    bool late = session->timed_out, cancelled = session->cancelled;
    pthread_mutex_unlock(&session->store->lock);
    if (!late && !cancelled)
        return status;
    rh_fail(ctx->err, late ? RH_E_TIMEOUT : RH_E_CANCELLED, "%s", late ? "took too long" : "interrupted");
    ctx->err->retry = RH_RETRY_RECONNECT;
    return ctx->err->status;
}
