/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the server without ever blocking inside libpq, so that deadline, cancel and a silent server are seen. A
 * call that is given up ends with its connection: what the server still does for it is ended by the next one
 * (connect.c).
 */
#include "internal.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static const int64_t slice_us = 50000; /* how late a cancel may be seen */

/* Sends the cancel request; may take as long as connecting does, so it has a thread of its own. */
static void *ask(void *user)
{
    PGcancel *cancel = user;
    char message[256];
    (void)PQcancel(cancel, message, sizeof message); /* best effort: the next connection ends the old one anyway */
    PQfreeCancel(cancel);
    return NULL;
}

void pg_ask_to_stop(struct pg_session *session)
{
    PGcancel *cancel = session->conn ? PQgetCancel(session->conn) : NULL;
    pthread_attr_t attr;
    pthread_t thread;
    if (!cancel)
        return;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, ask, cancel))
        PQfreeCancel(cancel);
    pthread_attr_destroy(&attr);
}

/* RH_OK to go on waiting, else why not. */
static enum rh_status may_wait(struct rh_ctx *ctx, struct pg_session *session, int64_t now, int64_t silent_since_us)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (!status && atomic_load_explicit(&session->cancelled, memory_order_relaxed))
        status = rh_fail(ctx->err, RH_E_CANCELLED, "interrupted");
    if (!status && now - silent_since_us > session->store->io_us)
        status = rh_fail(ctx->err, RH_E_NET, "the server '%s' has been silent for %lld s", session->store->host,
                         (long long)(session->store->io_us / 1000000));
    if (!status)
        return RH_OK;
    ctx->err->native = 0;
    ctx->err->retry = RH_RETRY_RECONNECT;
    pg_ask_to_stop(session);
    return status;
}

enum rh_status pg_wait(struct rh_ctx *ctx, struct pg_session *session, bool for_write, int64_t *silent_since_us)
{
    for (;;) {
        int64_t now = rh_clock_us();
        if (!*silent_since_us)
            *silent_since_us = now;
        enum rh_status status = may_wait(ctx, session, now, *silent_since_us);
        if (status)
            return status;
        int64_t most = slice_us;
        if (ctx->deadline_us && ctx->deadline_us - now < most)
            most = ctx->deadline_us > now ? ctx->deadline_us - now : 0;
        struct pollfd at = {.fd = PQsocket(session->conn), .events = (short)(POLLIN | (for_write ? POLLOUT : 0))};
        int ready = poll(&at, 1, (int)(most / 1000) + 1);
        if (ready < 0 && errno != EINTR)
            return rh_fail_errno(ctx->err, errno, "waiting for '%s'", session->store->host);
        if (ready > 0) {
            *silent_since_us = 0;
            return RH_OK;
        }
    }
}

enum rh_status pg_flush(struct rh_ctx *ctx, struct pg_session *session)
{
    int64_t silent = 0;
    for (;;) {
        int left = PQflush(session->conn);
        if (left == 0)
            return RH_OK;
        enum rh_status status =
            left < 0 ? pg_fail_gone(session, ctx->err, "sending") : pg_wait(ctx, session, true, &silent);
        if (status)
            return status;
        /* a server that can't get rid of its answer takes nothing */
        if (!PQconsumeInput(session->conn))
            return pg_fail_gone(session, ctx->err, "sending");
    }
}

/* The next result, NULL behind the last. */
static enum rh_status
next_result(struct rh_ctx *ctx, struct pg_session *session, const char *what, PGresult **ret_result)
{
    int64_t silent = 0;
    while (PQisBusy(session->conn)) {
        enum rh_status status = pg_wait(ctx, session, false, &silent);
        if (status)
            return status;
        if (!PQconsumeInput(session->conn))
            return pg_fail_gone(session, ctx->err, what);
    }
    *ret_result = PQgetResult(session->conn);
    return RH_OK;
}

static bool is_error(const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY:
    case PGRES_COPY_IN:
        return false;
    default:
        return true;
    }
}

enum rh_status pg_finish(struct rh_ctx *ctx, struct pg_session *session, const char *what, PGresult **ret_result)
{
    pg_auto_result PGresult *good = NULL;
    enum rh_status failed = RH_OK;
    for (;;) {
        PGresult *result = NULL;
        enum rh_status status = next_result(ctx, session, what, &result);
        if (status)
            return status;
        if (!result)
            break;
        if (is_error(result)) {
            /* the first error says why; the connection's end may follow it */
            if (!failed)
                failed = pg_fail_result(session, ctx->err, what, result);
            PQclear(result);
            continue;
        }
        bool copying = PQresultStatus(result) == PGRES_COPY_IN;
        PQclear(good);
        good = result;
        if (copying)
            break;
    }
    if (PQstatus(session->conn) != CONNECTION_OK)
        return failed && ctx->err->native ? failed : pg_fail_gone(session, ctx->err, what);
    if (failed)
        return failed;
    if (ret_result)
        *ret_result = rh_take(good);
    return RH_OK;
}
