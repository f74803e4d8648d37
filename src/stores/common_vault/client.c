/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: sent over kept connections, several at once, tried again with growing pauses where that does no harm. */
#include "internal.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>

enum { PAUSE_FIRST_US = 50 * 1000, PAUSE_MOST_US = 5 * 1000 * 1000 };

static const char *const wanted_headers[] = {"Retry-After", "Location", NULL};
enum { HEADER_RETRY_AFTER, HEADER_LOCATION };

/* --- one call --- */

void rh_vault_call_begin(struct rh_vault_call *call, const char *method)
{
    rh_buf_clear(&call->target);
    rh_vault_answer_clear(&call->answer);
    rh_arena_clear(&call->arena);
    call->method = method;
    call->body = (struct rh_bytes){0};
    call->plain = call->open = call->repeatable = call->refreshed = false;
    call->status = RH_E_INTERNAL;
    call->tries = 0;
    call->raw = NULL;
    call->raw_capacity = 0;
}

enum rh_status rh_vault_call_target(struct rh_vault_call *call, struct rh_error *err, const char *fmt, ...)
{
    char text[RH_VAULT_PATH_MAX];
    va_list args;
    va_start(args, fmt);
    const int size = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (size < 0 || (size_t)size >= sizeof text)
        return rh_fail(err, RH_E_LIMIT, "a request's path is too long");
    enum rh_status status = rh_buf_text(&call->target, call->target.size ? "" : "/v1/", err);
    return status ? status : rh_buf_text(&call->target, text, err);
}

enum rh_status rh_vault_call_path(struct rh_vault_call *call, struct rh_bytes path, struct rh_error *err)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
    enum rh_status status = RH_OK;
    if (path.size > RH_VAULT_PATH_MAX)
        return rh_fail(err, RH_E_LIMIT, "a request's path is too long");
    for (size_t i = 0; !status && i < path.size; i++)
        status = path.data[i] && strchr(plain, path.data[i])
                     ? rh_buf_u8(&call->target, path.data[i], err)
                     : rh_buf_format(&call->target, err, "%%%02X", path.data[i]);
    return status;
}

/* A piece of the body, into one growing text. */
static enum rh_status take_piece(struct rh_http_call *http, struct rh_bytes piece)
{
    struct rh_vault_call *call = (struct rh_vault_call *)http;
    if (piece.size > RH_VAULT_ANSWER_MOST - call->raw_size) {
        call->too_long = true;
        return RH_E_LIMIT;
    }
    if (call->raw_size + piece.size > call->raw_capacity) {
        const size_t capacity = (call->raw_size + piece.size) * 2 + 2048;
        uint8_t *grown = rh_arena_get(&call->arena, capacity);
        if (!grown)
            return RH_E_MEMORY;
        if (call->raw_size)
            memcpy(grown, call->raw, call->raw_size);
        call->raw = grown;
        call->raw_capacity = capacity;
    }
    memcpy(call->raw + call->raw_size, piece.data, piece.size);
    call->raw_size += piece.size;
    return RH_OK;
}

/* Which connections a call goes over. */
static struct rh_http *http_of(const struct rh_vault_client *client, const struct rh_vault_call *call)
{
    return call->open ? client->open_http : client->http;
}

/* Sends a call. */
static enum rh_status start(struct rh_vault_client *client, struct rh_vault_call *call, struct rh_error *err)
{
    struct rh_http *http = http_of(client, call);
    if (call->http.easy && (call->http.client != http || call->connected != client->connected)) {
        rh_http_call_done(call->http.client, &call->http);
        call->http = (struct rh_http_call){0};
    }
    call->connected = client->connected;
    /* memory that isn't secret has never held a secret, and never will */
    if (!call->plain && !call->arena.secret && call->raw_capacity == 0)
        rh_arena_done(&call->arena);
    call->arena.secret = call->arena.head ? call->arena.secret : !call->plain;
    call->http.method = call->method;
    call->http.target = rh_buf_cstr(&call->target);
    call->http.body = call->body;
    call->http.take = take_piece;
    call->http.also_status = 404;
    call->raw_size = 0;
    call->again = call->unknown = call->too_long = false;
    call->retry_after_us = 0;
    return rh_http_start(http, &call->http, err);
}

/* The server's own words, of an answer that is one of Vault's; else nothing of it is shown: it may be an echo. */
static void server_words(struct rh_vault_call *call, char out[static 400])
{
    struct rh_error ignored;
    out[0] = '\0';
    if (call->http.status != 404) /* the words may be cut: what stands before the cut is taken */
        rh_ignore(rh_vault_answer_read(&call->answer, rh_bytes_text(call->http.said), call->plain, &ignored));
    size_t used = 0;
    for (size_t i = 0; i < call->answer.count && used < 300; i++) {
        const struct rh_vault_value *value = &call->answer.values[i];
        if (value->kind != RH_JSON_TEXT ||
            (strcmp(value->path, "errors[]") != 0 && strcmp(value->path, "warnings[]") != 0))
            continue;
        char text[280] = "";
        memcpy(text, value->text.data, value->text.size < sizeof text ? value->text.size : sizeof text - 1);
        for (char *c = text; *c; c++)
            if ((unsigned char)*c < ' ')
                *c = ' ';
        used += (size_t)snprintf(out + used, 400 - used, "%s%s", used ? "; " : "", text);
    }
}

/* What a status means: kind, whether it may be tried again, remedy. */
struct meaning {
    enum rh_status status;
    bool again;   /* nothing was done */
    bool unknown; /* something may have been done */
    const char *hint;
};

static struct meaning meaning_of(const struct rh_vault_call *call, const char *words)
{
    const long status = call->http.status;
    if (status == 403)
        return (struct meaning){RH_E_DENIED, false, false, ""};
    if (status == 429 || status == 412)
        return (struct meaning){
            RH_E_STORE, true, false,
            "the server limits the rate of requests: use fewer lanes (--parallel), or raise its quota"};
    if (status == 503 && strstr(words, "sealed"))
        return (struct meaning){RH_E_STORE, true, false, "unseal the server; --retry 5m waits longer for it"};
    if (status == 413)
        return (struct meaning){RH_E_LIMIT, false, false, ""};
    if (status >= 300 && status < 400)
        return (struct meaning){RH_E_STORE, false, false,
                                "this is a standby that sends elsewhere: give the address of the active node"};
    if (status >= 500)
        return (struct meaning){RH_E_STORE, false, true, "see the server's log; --retry 5m waits longer for it"};
    return (struct meaning){RH_E_STORE, false, false, ""};
}

/* A request that leaves everything as it is. */
static bool changes_nothing(const struct rh_vault_call *call)
{
    return strcmp(call->method, "GET") == 0 || call->open;
}

/* Whether sending it again does no harm, whatever became of the first time. */
static bool may_repeat(const struct rh_vault_call *call)
{
    return changes_nothing(call) || call->repeatable;
}

/* Words for a status that isn't an answer. */
static enum rh_status status_failed(struct rh_vault_call *call, const char *what)
{
    char words[400];
    struct rh_error *err = &call->err;
    server_words(call, words);
    if (call->http.status == 400 && strstr(words, "check-and-set parameter did not match"))
        return RH_CHANGED;
    const struct meaning meaning = meaning_of(call, words);
    rh_fail(err, meaning.status, "%s failed: %s%sHTTP %ld", what,
            *words ? RH_SHOW(rh_bytes_text(words)) : "the server gives no reason", *words ? ", " : "; ",
            call->http.status);
    err->native = call->http.status;
    rh_error_hint(err, "%s", meaning.hint);
    if (call->http.status >= 300 && call->http.status < 400 && call->http.header[HEADER_LOCATION][0])
        rh_error_hint(err, "%s ('%s')", meaning.hint, RH_SHOW(rh_bytes_text(call->http.header[HEADER_LOCATION])));
    /* not only a lane, also a step is then tried again for the time that the user gives */
    err->retry = meaning.again || meaning.unknown ? RH_RETRY_RECONNECT : RH_RETRY_NEVER;
    call->unknown = meaning.unknown && !changes_nothing(call);
    call->again = meaning.again || (meaning.unknown && may_repeat(call));
    uint64_t seconds = 0;
    if (rh_parse_u64(rh_bytes_text(call->http.header[HEADER_RETRY_AFTER]), &seconds) == RH_OK && seconds <= 60)
        call->retry_after_us = (int64_t)seconds * 1000000;
    return meaning.status;
}

/* A call that ended without an answer. */
static enum rh_status not_answered(struct rh_vault_client *client, struct rh_vault_call *call, const char *what)
{
    if (call->too_long)
        return rh_fail(&call->err, RH_E_LIMIT, "%s failed: the answer has more than %u bytes", what,
                       RH_VAULT_ANSWER_MOST);
    enum rh_status status = rh_http_fail(http_of(client, call), &call->http, &call->err, what);
    call->unknown = call->http.result != RH_HTTP_NOT_SENT && !changes_nothing(call);
    call->again = status == RH_E_NET && (!call->unknown || may_repeat(call));
    call->err.retry = status == RH_E_NET ? RH_RETRY_RECONNECT : call->err.retry;
    return status;
}

/* What came of a call. */
static enum rh_status judge(struct rh_vault_client *client, struct rh_vault_call *call, const char *what)
{
    struct rh_http_call *http = &call->http;
    if (http->tls[0] && !client->tls[0])
        (void)snprintf(client->tls, sizeof client->tls, "%s, peer %s", http->tls,
                       client->peer.tls == RH_HTTP_VERIFIED ? "verified" : "not verified");
    if (http->result != RH_HTTP_DONE)
        return not_answered(client, call, what);
    if (http->status == 204)
        return RH_OK;
    if (http->status != 200 && http->status != 404)
        return status_failed(call, what);
    const enum rh_status status =
        rh_vault_answer_read(&call->answer, rh_bytes(call->raw, call->raw_size), call->plain, &call->err);
    if (status == RH_E_CORRUPT && changes_nothing(call) && http->status == 404)
        return rh_fail(&call->err, RH_E_STORE, "%s failed: '%s' isn't a Vault (HTTP 404)", what,
                       RH_SHOW(rh_bytes_text(client->vault->url)));
    if (status) {
        call->unknown = !changes_nothing(call);
        return rh_error_prepend(&call->err, "%s: the answer can't be read", what);
    }
    return http->status == 404 ? RH_NOT_FOUND : RH_OK;
}

/* Waits for a call that was sent, at most as long as a request may take. */
static enum rh_status
wait_for(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *call, int64_t until)
{
    struct rh_error why = {0};
    const bool ours = !ctx->deadline_us || until < ctx->deadline_us;
    struct rh_http *http = http_of(client, call);
    enum rh_status status = rh_http_wait(http, &call->http, ours ? until : ctx->deadline_us, ctx->cancel, &why);
    if (!status)
        return RH_OK;
    rh_http_stop(http, &call->http);
    if (status == RH_E_TIMEOUT && ours) {
        (void)snprintf(call->http.words, sizeof call->http.words, "it took longer than request_timeout");
        return RH_OK;
    }
    *ctx->err = why;
    ctx->err->retry = RH_RETRY_RECONNECT;
    return status;
}

/* --- tries --- */

/* A pause before the next try: doubled each time, with a random part, or what the server asks for. */
static enum rh_status pause_before(struct rh_ctx *ctx, struct rh_vault_client *client, unsigned tries, int64_t asked_us)
{
    uint32_t random = 0;
    rh_ignore(rh_random(&random, sizeof random, NULL)); /* without it: no jitter */
    int64_t pause_us = (int64_t)PAUSE_FIRST_US << (tries < 7 ? tries : 7);
    pause_us = pause_us / 2 + (int64_t)(random % (uint32_t)pause_us);
    if (asked_us > pause_us)
        pause_us = asked_us + (int64_t)(random % PAUSE_FIRST_US);
    const int64_t until = rh_clock_us() + (pause_us < PAUSE_MOST_US || asked_us ? pause_us : PAUSE_MOST_US);
    for (enum rh_status status; rh_clock_us() < until; rh_sleep_us(10000))
        if ((status = atomic_load(&client->cancelled) ? rh_fail(ctx->err, RH_E_CANCELLED, "interrupted")
                                                      : rh_ctx_check(ctx)))
            return status;
    return RH_OK;
}

/* Sends those that wait and judges all; how many of them are to be sent again. */
static enum rh_status round_of(struct rh_ctx *ctx,
                               struct rh_vault_client *client,
                               struct rh_vault_call *calls,
                               size_t count,
                               const char *what,
                               size_t *ret_again)
{
    const int64_t until = rh_clock_us() + client->vault->request_us;
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < count; i++)
        if (calls[i].again)
            status = start(client, &calls[i], ctx->err);
    *ret_again = 0;
    for (size_t i = 0; i < count; i++) {
        struct rh_vault_call *call = &calls[i];
        if (!call->http.running && call->status != RH_E_CANCELLED)
            continue;
        if (!status && call->http.running)
            status = wait_for(ctx, client, call, until);
        if (status) {
            rh_http_stop(http_of(client, call), &call->http);
            call->status = RH_E_CANCELLED;
            continue;
        }
        call->status = judge(client, call, what);
        call->again = rh_failed(call->status) && call->again && ++call->tries < RH_VAULT_TRIES;
        *ret_again += call->again;
    }
    return status;
}

/* Rounds until none is to be sent again. */
static enum rh_status
rounds(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *calls, size_t count, const char *what)
{
    for (size_t again = 1; again;) {
        enum rh_status status = rh_ctx_check(ctx);
        if (!status)
            status = round_of(ctx, client, calls, count, what, &again);
        if (status)
            return status;
        unsigned tries = 0;
        int64_t asked_us = 0;
        for (size_t i = 0; i < count; i++) {
            if (!calls[i].again)
                continue;
            tries = calls[i].tries > tries ? calls[i].tries : tries;
            asked_us = calls[i].retry_after_us > asked_us ? calls[i].retry_after_us : asked_us;
            /* until it has an answer nobody knows */
            calls[i].status = RH_E_CANCELLED;
        }
        if (again && (status = pause_before(ctx, client, tries - 1, asked_us)))
            return status;
    }
    return RH_OK;
}

/* Marks calls as waiting to be sent. */
static void set_waiting(struct rh_vault_call *call)
{
    call->again = true;
    call->status = RH_E_CANCELLED;
    call->err = (struct rh_error){0};
}

enum rh_status
vault_exec(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *call, const char *what)
{
    set_waiting(call);
    enum rh_status status = rounds(ctx, client, call, 1, what);
    if (status)
        return status;
    if (rh_failed(call->status))
        *ctx->err = call->err;
    return call->status;
}

/* Those that were refused with a token that is dead wait for another round with the next one. */
static enum rh_status look_at_refused(
    struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *calls, size_t count, size_t *ret_waiting)
{
    enum rh_status status = RH_OK, token = RH_UNSUPPORTED; /* not asked yet */
    *ret_waiting = 0;
    for (size_t i = 0; i < count; i++) {
        struct rh_vault_call *call = &calls[i];
        if (call->status != RH_E_DENIED || call->http.status != 403 || call->refreshed || call->open)
            continue;
        call->refreshed = true;
        if (token == RH_UNSUPPORTED)
            token = vault_token_refused(ctx, client, client->generation);
        if (token == RH_OK) {
            set_waiting(call);
            ++*ret_waiting;
        } else if (token == RH_E_AUTH) {
            call->status = RH_E_AUTH;
            call->err = *ctx->err;
        } else if (token != RH_NOT_FOUND)
            status = token;
    }
    return !status && *ret_waiting ? vault_connect(client, ctx->err) : status;
}

enum rh_status rh_vault_ask_all(
    struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *calls, size_t count, const char *what)
{
    pthread_mutex_lock(&client->vault->lock);
    enum rh_status status = vault_token_need(ctx, client);
    const bool other = client->generation != client->vault->generation;
    pthread_mutex_unlock(&client->vault->lock);
    if (!status && other)
        status = vault_connect(client, ctx->err);
    for (size_t i = 0; i < count; i++)
        set_waiting(&calls[i]);
    for (size_t waiting = count; !status && waiting;) {
        status = rounds(ctx, client, calls, count, what);
        if (!status)
            status = look_at_refused(ctx, client, calls, count, &waiting);
    }
    return status;
}

enum rh_status
rh_vault_ask(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *call, const char *what)
{
    enum rh_status status = rh_vault_ask_all(ctx, client, call, 1, what);
    if (status)
        return status;
    if (rh_failed(call->status))
        *ctx->err = call->err;
    return call->status;
}

void rh_vault_call_done(struct rh_vault_client *client, struct rh_vault_call *call)
{
    if (client && call->http.client)
        rh_http_call_done(call->http.client, &call->http);
    rh_vault_answer_done(&call->answer);
    rh_arena_done(&call->arena);
    rh_buf_done(&call->target);
}

/* --- clients --- */

enum rh_status vault_connect(struct rh_vault_client *client, struct rh_error *err)
{
    static const char name[] = "X-Vault-Token: ";
    struct rh_vault *vault = client->vault;
    struct rh_http *http = NULL;
    rh_auto_arena struct rh_arena arena = {.secret = true};
    struct rh_secret *header = NULL;
    pthread_mutex_lock(&vault->lock);
    const struct rh_bytes token = vault->token ? rh_secret_bytes(vault->token) : (struct rh_bytes){0};
    uint8_t *line = rh_arena_get(&arena, sizeof name + token.size);
    enum rh_status status = line ? RH_OK : rh_fail_memory(err);
    for (size_t i = 0; i < token.size && !status; i++)
        if (token.data[i] <= ' ' || token.data[i] >= 0x7f)
            status = rh_fail(err, RH_E_PLAN, "the token holds characters that no token has");
    if (!status) {
        memcpy(line, name, sizeof name - 1);
        if (token.size)
            memcpy(line + sizeof name - 1, token.data, token.size);
        status = rh_secret_new(rh_bytes(line, sizeof name - 1 + token.size), &header, err);
    }
    const unsigned generation = vault->generation;
    pthread_mutex_unlock(&vault->lock);
    if (status)
        return status;
    if (client->own.http.client == client->http)
        rh_http_call_done(client->http, &client->own.http);
    rh_http_free(client->http);
    client->http = NULL;
    rh_secret_free(client->header);
    client->header = header;
    client->peer.header = header;
    status = rh_http_new(&client->peer, RH_VAULT_CALLS, &http, err);
    if (status)
        return status;
    client->http = http;
    client->connected++;
    client->generation = generation;
    return RH_OK;
}

enum rh_status rh_vault_client_new(struct rh_ctx *ctx, struct rh_vault *vault, struct rh_vault_client **ret_client)
{
    static const enum rh_http_tls tls[] = {
        [RH_TLS_OFF] = RH_HTTP_PLAIN, [RH_TLS_UNVERIFIED] = RH_HTTP_UNVERIFIED, [RH_TLS_VERIFIED] = RH_HTTP_VERIFIED};
    struct rh_vault_client *client = calloc(1, sizeof *client);
    if (!client)
        return rh_fail_memory(ctx->err);
    client->vault = vault;
    client->open_peer = (struct rh_http_peer){
        .url = vault->url,
        .tls = tls[vault->tls],
        .ca_file = vault->tls_files.ca,
        .cert_file = vault->tls_files.cert,
        .key_file = vault->tls_files.key,
        .connect_us = vault->connect_us,
        .idle_us = vault->idle_us,
        .wanted = wanted_headers,
    };
    client->peer = client->open_peer;
    client->peer.plain_header = vault->namespace_line;
    enum rh_status status = rh_ctx_check(ctx);
    if (!status)
        status = rh_http_new(&client->open_peer, 1, &client->open_http, ctx->err);
    if (!status)
        status = vault_connect(client, ctx->err);
    if (!status) {
        pthread_mutex_lock(&vault->lock);
        status = vault_token_need(ctx, client);
        const bool other = client->generation != vault->generation;
        pthread_mutex_unlock(&vault->lock);
        if (!status && other)
            status = vault_connect(client, ctx->err);
    }
    if (status)
        rh_vault_client_free(client);
    else
        *ret_client = client;
    return status;
}

void rh_vault_client_free(struct rh_vault_client *client)
{
    if (!client)
        return;
    rh_vault_call_done(client, &client->own);
    rh_http_free(client->http);
    rh_http_free(client->open_http);
    rh_secret_free(client->header);
    free(client);
}

void rh_vault_client_cancel(struct rh_vault_client *client)
{
    atomic_store(&client->cancelled, true);
    if (client->http)
        rh_http_cancel(client->http);
    if (client->open_http)
        rh_http_cancel(client->open_http);
}

const char *rh_vault_client_tls(const struct rh_vault_client *client)
{
    return client->tls;
}
