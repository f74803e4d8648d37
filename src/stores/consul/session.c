/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions, their requests, tries, and words for what went wrong. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

const char *const cs_wanted_headers[] = {"X-Consul-Index", "X-Consul-Results-Filtered-By-ACLs", "X-Consul-KnownLeader",
                                         NULL};

/* A piece of an answer's body goes to its parser. */
static enum rh_status take_body(struct rh_http_call *http, struct rh_bytes piece)
{
    return cs_answer_feed(&((struct cs_call *)http)->answer, piece);
}

enum rh_status
cs_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct cs_store *store = (struct cs_store *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    struct cs_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->store = store;
    session->ops_want = CS_OPS;
    pthread_mutex_lock(&store->lock);
    size_t sessions = ++store->session_count;
    pthread_mutex_unlock(&store->lock);
    session->window = sessions * CS_CALLS <= CS_CONNECTIONS ? CS_CALLS : sessions * 2 <= CS_CONNECTIONS ? 2 : 1;
    status = rh_http_new(&store->peer, session->window + 1, &session->http, ctx->err);
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    /* the one question that everybody may ask: whether this is a Consul that has a leader */
    if (!status)
        status = cs_get_text(ctx, session, "asking for the leader", &text, "/v1/status/leader");
    if (!status && text.size <= 2) {
        status = rh_fail(ctx->err, RH_E_STORE, "'%s' has no leader", store->address);
        ctx->err->retry = RH_RETRY_LATER;
        rh_error_hint(ctx->err,
                      "see `consul operator raft list-peers` and the servers' logs (a full disk?); --retry 5m "
                      "waits longer for it");
    }
    if (status) {
        cs_session_close(&session->base);
        return status == RH_NOT_FOUND ? rh_fail(ctx->err, RH_E_STORE, "'%s' isn't a Consul agent", store->address)
                                      : status;
    }
    *ret_session = &session->base;
    return RH_OK;
}

/* A call's own memory. */
static void call_done(struct cs_session *session, struct cs_call *call)
{
    rh_http_call_done(session->http, &call->http);
    cs_answer_done(&call->answer);
    rh_buf_done(&call->body);
    rh_buf_done(&call->target);
}

void cs_session_close(struct rh_session *base)
{
    struct cs_session *session = (struct cs_session *)base;
    if (!session)
        return;
    if (session->http) {
        for (size_t i = 0; i < CS_CALLS; i++) {
            call_done(session, &session->calls[i]);
            rh_buf_done(&session->chunks[i].text);
        }
        call_done(session, &session->plain);
        rh_http_free(session->http);
    }
    pthread_mutex_lock(&session->store->lock);
    session->store->session_count--;
    pthread_mutex_unlock(&session->store->lock);
    free(session->items);
    free(session);
}

void cs_session_cancel(struct rh_session *base)
{
    rh_http_cancel(((struct cs_session *)base)->http);
}

void cs_drop_calls(struct cs_session *session)
{
    for (size_t i = 0; i < CS_CALLS; i++)
        rh_http_stop(session->http, &session->calls[i].http);
    session->head = session->busy = 0;
}

/* --- one request --- */

enum rh_status cs_start(struct cs_session *session, struct cs_call *call, const char *method, struct rh_error *err)
{
    call->http.method = method;
    call->http.target = rh_buf_cstr(&call->target);
    call->http.body = rh_buf_bytes(&call->body);
    call->http.take = take_body;
    call->http.also_status = 409;
    cs_answer_begin(&call->answer, call->answer.kind);
    return rh_http_start(session->http, &call->http, err);
}

/* Words for a status that isn't an answer. */
static enum rh_status
status_failed(struct cs_session *session, struct cs_call *call, struct rh_error *err, const char *what)
{
    const struct rh_http_call *http = &call->http;
    const char *said = http->said[0] ? http->said : "no reason given";
    enum rh_status status = RH_E_STORE;
    struct rh_error hint = {0};
    enum rh_retry retry = RH_RETRY_NEVER;
    if (http->status == 401 || (http->status == 403 && strstr(said, "ACL not found"))) {
        status = RH_E_AUTH;
        rh_error_hint(&hint, "check token, token_file or CONSUL_HTTP_TOKEN: the cluster doesn't know this token");
        /* a server that has just started knows no tokens until it has read its log */
        if (atomic_load(&session->store->token_known))
            retry = RH_RETRY_LATER;
    } else if (http->status == 403) {
        status = RH_E_DENIED;
        rh_error_hint(&hint, "give the token key_prefix \"%s\" { policy = \"write\" } (for a source \"read\")",
                      session->store->path);
    } else if (http->status == 413) {
        status = RH_E_LIMIT;
        rh_error_hint(&hint, "raise limits { txn_max_req_len, kv_max_value_size } in the configuration of all Consul "
                             "servers and of the agent at 'address'");
    } else if (http->status == 400 && strstr(said, "HTTP request to an HTTPS server")) {
        status = RH_E_TLS;
        rh_error_hint(&hint, "this is the server's https port: use scheme = \"https\"");
    } else if (http->status == 429) {
        retry = RH_RETRY_LATER;
        rh_error_hint(&hint, "the agent limits the rate of requests (limits { rpc_rate }): use fewer lanes "
                             "(--parallel), or raise the limit");
    } else if (http->status >= 500 && strstr(said, "no space left on device")) {
        status = RH_E_FULL;
        rh_error_hint(&hint, "make room on the disk of the Consul servers, and see that they have a leader again; then "
                             "run the same command again");
    } else if (http->status >= 500) {
        retry = RH_RETRY_LATER;
        if (strstr(said, "No cluster leader"))
            rh_error_hint(&hint, "the cluster has no leader: see `consul operator raft list-peers`; --retry 5m waits "
                                 "longer for it");
    }
    rh_fail(err, status, "%s failed: %s (HTTP %ld)", what, RH_SHOW(rh_bytes_text(said)), http->status);
    if (err) {
        err->native = http->status;
        err->retry = retry;
        if (hint.hint[0])
            rh_error_hint(err, "%s", hint.hint);
    }
    return status;
}

enum rh_status cs_finish(struct rh_ctx *ctx, struct cs_session *session, struct cs_call *call, const char *what)
{
    struct rh_http_call *http = &call->http;
    enum rh_status status = rh_http_wait(session->http, http, ctx->deadline_us, ctx->cancel, ctx->err);
    if (status) {
        rh_http_stop(session->http, http);
        ctx->err->retry = RH_RETRY_RECONNECT;
        return status;
    }
    if (http->tls[0] && !session->tls[0])
        (void)snprintf(session->tls, sizeof session->tls, "%s, peer %s", http->tls,
                       session->store->peer.tls == RH_HTTP_VERIFIED ? "verified" : "not verified");
    if (http->result == RH_HTTP_STOPPED && call->answer.cut)
        return RH_OK;
    if (http->result == RH_HTTP_STOPPED && call->answer.err.status) {
        *ctx->err = call->answer.err;
        return rh_error_prepend(ctx->err, "%s", what);
    }
    if (http->result != RH_HTTP_DONE)
        return rh_http_fail(session->http, http, ctx->err, what);
    if (http->status == 404 || http->status == 409 || http->status == 200) {
        if (http->status == 404)
            return RH_OK;
        status = cs_answer_end(&call->answer, ctx->err);
        if (!status)
            atomic_store(&session->store->token_known, true);
        if (status) {
            ctx->err->retry = RH_RETRY_RECONNECT;
            return rh_error_prepend(ctx->err, "%s", what);
        }
        return RH_OK;
    }
    return status_failed(session, call, ctx->err, what);
}

bool cs_again(struct rh_ctx *ctx, const struct cs_call *call, unsigned tries)
{
    (void)call;
    if (ctx->err->retry == RH_RETRY_NEVER || tries + 1 >= CS_TRIES || ctx->err->status == RH_E_CANCELLED ||
        ctx->err->status == RH_E_TIMEOUT)
        return false;
    uint32_t random = 0;
    rh_ignore(rh_random(&random, sizeof random, NULL)); /* without it: no jitter */
    int64_t pause_us = (INT64_C(50000) << tries) + random % 50000;
    const int64_t until = rh_clock_us() + pause_us;
    while (rh_clock_us() < until) {
        struct rh_error ignored = {0};
        struct rh_ctx check = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &ignored};
        if (rh_ctx_check(&check))
            return false;
        rh_sleep_us(10000);
    }
    return true;
}

enum rh_status cs_ask(struct rh_ctx *ctx, struct cs_session *session, const char *method, const char *what)
{
    for (unsigned tries = 0;; tries++) {
        enum rh_status status = rh_ctx_check(ctx);
        if (!status)
            status = cs_start(session, &session->plain, method, ctx->err);
        if (!status)
            status = cs_finish(ctx, session, &session->plain, what);
        if (!status || !cs_again(ctx, &session->plain, tries))
            return status;
    }
}

/* --- small texts --- */

/* A body that is kept as it is. */
static enum rh_status take_text(struct rh_http_call *http, struct rh_bytes piece)
{
    struct cs_call *call = (struct cs_call *)http;
    return rh_buf_add(&call->answer.data, piece.data, piece.size, &call->answer.err);
}

/* The plain call, sent with its answer kept as text. */
static enum rh_status ask_text(struct rh_ctx *ctx,
                               struct cs_session *session,
                               const char *method,
                               const char *what,
                               unsigned tries,
                               struct rh_buf *ret_text)
{
    struct cs_call *call = &session->plain;
    for (;; tries++) {
        call->http.method = method;
        call->http.target = rh_buf_cstr(&call->target);
        call->http.body = rh_buf_bytes(&call->body);
        call->http.take = take_text;
        call->http.also_status = 0;
        cs_answer_begin(&call->answer, CS_ANSWER_TXN);
        call->answer.data.limit = 1U << 20;
        enum rh_status status = rh_ctx_check(ctx);
        if (!status)
            status = rh_http_start(session->http, &call->http, ctx->err);
        if (!status)
            status = rh_http_wait(session->http, &call->http, ctx->deadline_us, ctx->cancel, ctx->err);
        if (status) {
            rh_http_stop(session->http, &call->http);
            return status;
        }
        if (call->http.result != RH_HTTP_DONE)
            status = rh_http_fail(session->http, &call->http, ctx->err, what);
        else if (call->http.status == 404)
            status = RH_NOT_FOUND;
        else if (call->http.status != 200)
            status = status_failed(session, call, ctx->err, what);
        if (call->http.tls[0] && !session->tls[0])
            (void)snprintf(session->tls, sizeof session->tls, "%s, peer %s", call->http.tls,
                           session->store->peer.tls == RH_HTTP_VERIFIED ? "verified" : "not verified");
        if (!status) {
            rh_buf_clear(ret_text);
            return rh_buf_add(ret_text, call->answer.data.data, call->answer.data.size, ctx->err);
        }
        if (!rh_failed(status) || !cs_again(ctx, call, tries))
            return status;
    }
}

enum rh_status cs_get_text(
    struct rh_ctx *ctx, struct cs_session *session, const char *what, struct rh_buf *ret_text, const char *fmt, ...)
{
    char target[600];
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(target, sizeof target, fmt, args);
    va_end(args);
    if (size < 0 || (size_t)size >= sizeof target)
        return rh_fail(ctx->err, RH_E_INTERNAL, "%s failed: the request is too long", what);
    rh_buf_clear(&session->plain.target);
    rh_buf_clear(&session->plain.body);
    enum rh_status status = rh_buf_text(&session->plain.target, target, ctx->err);
    return status ? status : ask_text(ctx, session, "GET", what, 0, ret_text);
}

enum rh_status cs_get_text_once(
    struct rh_ctx *ctx, struct cs_session *session, const char *what, struct rh_buf *ret_text, const char *target)
{
    rh_buf_clear(&session->plain.target);
    rh_buf_clear(&session->plain.body);
    enum rh_status status = rh_buf_text(&session->plain.target, target, ctx->err);
    return status ? status : ask_text(ctx, session, "GET", what, CS_TRIES, ret_text);
}

enum rh_status cs_post_text(struct rh_ctx *ctx,
                            struct cs_session *session,
                            const char *what,
                            const char *target,
                            struct rh_bytes body,
                            struct rh_buf *ret_text)
{
    rh_buf_clear(&session->plain.target);
    rh_buf_clear(&session->plain.body);
    enum rh_status status = rh_buf_text(&session->plain.target, target, ctx->err);
    if (!status)
        status = rh_buf_add(&session->plain.body, body.data, body.size, ctx->err);
    return status ? status : ask_text(ctx, session, "POST", what, 0, ret_text);
}
