/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token's life. It is looked up once, renewed when half of its time has passed and something is asked, and taken
 * anew, by a login or from its file, when it has run out or can't be renewed any more.
 */
#include "internal.h"

#include <rehome/base.h>

enum { RENEW_AGAIN_US = 5 * 1000 * 1000, RENEW_LEAST_US = 500 * 1000 };

/* Notes how long the token lives from now on. The server cuts the time to whole seconds: it may be one more. */
static void note_life(struct rh_vault *vault, uint64_t seconds, bool for_ever, bool renewable)
{
    const int64_t most = INT64_C(10) * 365 * 86400, now = rh_clock_us();
    const int64_t life_us = (seconds > (uint64_t)most ? most : (int64_t)seconds) * 1000000;
    vault->looked_up = true;
    vault->renewable = renewable;
    vault->end_us = for_ever ? 0 : now + life_us;
    vault->renew_us = for_ever ? 0 : now + (life_us / 2 > RENEW_LEAST_US ? life_us / 2 : RENEW_LEAST_US);
}

/* Another token takes the place of the present one. */
static void replace(struct rh_vault *vault, struct rh_secret *token)
{
    rh_secret_free(vault->token);
    vault->token = token;
    vault->generation++;
    vault->looked_up = false;
}

/* {"role_id":...,"secret_id":...} in secret memory. */
static enum rh_status login_body(const struct rh_vault *vault,
                                 struct rh_vault_call *call,
                                 const struct rh_secret *secret,
                                 struct rh_error *err)
{
    rh_auto_buf struct rh_buf role = RH_BUF_INIT;
    const struct rh_bytes id = rh_secret_bytes(secret);
    enum rh_status status = rh_json_quote(&role, rh_bytes_text(vault->role_id), err);
    for (size_t i = 0; !status && i < id.size; i++)
        if (id.data[i] < ' ' || id.data[i] >= 0x7f || id.data[i] == '"' || id.data[i] == '\\')
            status = rh_fail(err, RH_E_PLAN, "the secret id holds characters that no secret id has");
    if (status)
        return status;
    static const char begin[] = "{\"role_id\":", middle[] = ",\"secret_id\":\"", end[] = "\"}";
    const size_t size = sizeof begin + role.size + sizeof middle + id.size + sizeof end;
    call->arena.secret = true;
    uint8_t *body = rh_arena_get(&call->arena, size), *at = body;
    if (!body)
        return rh_fail_memory(err);
    const struct rh_bytes parts[] = {rh_bytes_text(begin), rh_buf_bytes(&role), rh_bytes_text(middle), id,
                                     rh_bytes_text(end)};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    call->body = rh_bytes(body, (size_t)(at - body));
    return RH_OK;
}

/* The token and its life, out of a login's or a renewal's answer. */
static enum rh_status
take_auth(struct rh_vault *vault, const struct rh_vault_call *call, bool login, struct rh_error *err)
{
    uint64_t seconds = 0;
    const struct rh_bytes token = rh_vault_answer_text(&call->answer, "auth.client_token");
    if (!rh_vault_answer_number(&call->answer, "auth.lease_duration", &seconds) || (login && !token.size))
        return rh_fail(err, RH_E_CORRUPT, "the answer to a %s speaks of no token", login ? "login" : "renewal");
    struct rh_secret *fresh = NULL;
    enum rh_status status = login ? rh_secret_new(token, &fresh, err) : RH_OK;
    if (status)
        return status;
    if (fresh)
        replace(vault, fresh);
    /* a login for a token without an end says 0 */
    note_life(vault, seconds, login && !seconds, rh_vault_answer_true(&call->answer, "auth.renewable"));
    return RH_OK;
}

/* Logs in by AppRole. */
static enum rh_status log_in(struct rh_ctx *ctx, struct rh_vault_client *client)
{
    struct rh_vault *vault = client->vault;
    struct rh_vault_call *call = &client->own;
    rh_auto_secret struct rh_secret *secret = NULL;
    enum rh_status status = vault->secret_id_file ? rh_secret_from_file(vault->secret_id_file, &secret, ctx->err)
                                                  : rh_secret_from_env(vault->secret_id_env, &secret, ctx->err);
    if (status == RH_NOT_FOUND)
        return rh_fail(ctx->err, RH_E_PLAN, "the environment variable '%s' isn't set",
                       RH_SHOW(rh_bytes_text(vault->secret_id_env)));
    rh_vault_call_begin(call, "POST");
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "auth/");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(vault->approle_path), ctx->err);
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "/login");
    if (!status)
        status = login_body(vault, call, secret, ctx->err);
    if (status)
        return status;
    status = vault_exec(ctx, client, call, "logging in by AppRole");
    if (status == RH_NOT_FOUND)
        status = rh_fail(ctx->err, RH_E_AUTH, "logging in by AppRole failed: there is no login at 'auth/%s'",
                         RH_SHOW(rh_bytes_text(vault->approle_path)));
    else if (!status)
        status = take_auth(vault, call, true, ctx->err);
    else if (call->http.status == 400 || call->http.status == 403) {
        ctx->err->status = status = RH_E_AUTH;
        rh_error_hint(ctx->err, "check role_id and the secret id: it may have run out, or been used up");
    }
    rh_vault_call_begin(call, "GET"); /* wipes */
    return status;
}

/* The token's file again; RH_NOT_FOUND when it holds the same. */
static enum rh_status read_again(struct rh_vault *vault, struct rh_error *err)
{
    struct rh_secret *token = NULL;
    enum rh_status status = rh_secret_from_file(vault->token_file, &token, err);
    if (status)
        return status;
    if (vault->token && rh_bytes_equal_secret(rh_secret_bytes(token), rh_secret_bytes(vault->token))) {
        rh_secret_free(token);
        return RH_NOT_FOUND;
    }
    replace(vault, token);
    return RH_OK;
}

/* Asks what the token is. RH_E_AUTH: it is none. */
static enum rh_status look_up(struct rh_ctx *ctx, struct rh_vault_client *client)
{
    struct rh_vault_call *call = &client->own;
    uint64_t seconds = 0;
    rh_vault_call_begin(call, "GET");
    enum rh_status status = rh_vault_call_target(call, ctx->err, "auth/token/lookup-self");
    if (!status)
        status = vault_exec(ctx, client, call, "asking about the token");
    if (status == RH_NOT_FOUND)
        return rh_fail(ctx->err, RH_E_STORE, "'%s' isn't a Vault", RH_SHOW(rh_bytes_text(client->vault->url)));
    if (!status) {
        if (!rh_vault_answer_number(&call->answer, "data.ttl", &seconds))
            status = rh_fail(ctx->err, RH_E_CORRUPT, "the answer about the token doesn't say how long it lives");
        else {
            const struct rh_vault_value *end = rh_vault_answer_find(&call->answer, "data.expire_time");
            note_life(client->vault, seconds, !seconds && (!end || end->kind == RH_JSON_NULL),
                      rh_vault_answer_true(&call->answer, "data.renewable"));
        }
    } else if (call->http.result == RH_HTTP_DONE && call->http.status == 403) {
        rh_fail(ctx->err, RH_E_AUTH, "'%s' doesn't take the token%s%s: %s", RH_SHOW(rh_bytes_text(client->vault->url)),
                *client->vault->name_space ? " in namespace " : "", client->vault->name_space,
                "it has run out, was revoked, or is of another server or namespace");
        rh_error_hint(ctx->err, "give a token that is valid ('vault token lookup' tells), or approle { }");
        ctx->err->native = 403;
        status = RH_E_AUTH;
    }
    rh_vault_call_begin(call, "GET"); /* wipes */
    return status;
}

/* Renews the token; one that can't be renewed now is tried again later. */
static enum rh_status renew(struct rh_ctx *ctx, struct rh_vault_client *client)
{
    struct rh_vault *vault = client->vault;
    struct rh_vault_call *call = &client->own;
    rh_vault_call_begin(call, "POST");
    call->body = rh_bytes_text("{}");
    enum rh_status status = rh_vault_call_target(call, ctx->err, "auth/token/renew-self");
    if (!status)
        status = vault_exec(ctx, client, call, "renewing the token");
    if (!status)
        status = take_auth(vault, call, false, ctx->err);
    rh_vault_call_begin(call, "GET"); /* wipes */
    if (!rh_failed(status))
        return RH_OK;
    if (status == RH_E_CANCELLED || status == RH_E_TIMEOUT || status == RH_E_MEMORY)
        return status;
    rh_log(RH_LOG_WARN, "the token couldn't be renewed", {"reason", ctx->err->text});
    vault->renew_us = rh_clock_us() + RENEW_AGAIN_US;
    return RH_OK; /* it lives a while yet */
}

/* Another token than the one that is no good any more. RH_NOT_FOUND: there is none to be had. */
static enum rh_status take_anew(struct rh_ctx *ctx, struct rh_vault_client *client)
{
    struct rh_vault *vault = client->vault;
    if (vault->role_id)
        return log_in(ctx, client);
    return vault->token_file ? read_again(vault, ctx->err) : RH_NOT_FOUND;
}

enum rh_status vault_token_need(struct rh_ctx *ctx, struct rh_vault_client *client)
{
    struct rh_vault *vault = client->vault;
    if (!vault->token)
        return log_in(ctx, client);
    if (client->generation != vault->generation)
        return RH_OK; /* another thread has just seen to it */
    if (!vault->looked_up)
        return look_up(ctx, client);
    const int64_t now = rh_clock_us();
    if (!vault->renew_us || now < vault->renew_us)
        return RH_OK;
    if (vault->renewable) {
        const int64_t before_us = vault->end_us;
        enum rh_status status = renew(ctx, client);
        /* the end of all renewing shows by time that isn't added any more */
        if (status || vault->end_us > before_us)
            return status;
    }
    enum rh_status status = take_anew(ctx, client);
    if (status == RH_NOT_FOUND) { /* what is refused later says why */
        vault->renew_us = now + RENEW_AGAIN_US;
        return RH_OK;
    }
    return status;
}

enum rh_status vault_token_refused(struct rh_ctx *ctx, struct rh_vault_client *client, unsigned generation)
{
    struct rh_vault *vault = client->vault;
    pthread_mutex_lock(&vault->lock);
    enum rh_status status = RH_OK;
    if (generation == vault->generation) {
        status = look_up(ctx, client);
        if (status == RH_OK)
            status = RH_NOT_FOUND; /* alive */
        else if (status == RH_E_AUTH) {
            struct rh_error dead = *ctx->err;
            status = take_anew(ctx, client);
            if (status == RH_NOT_FOUND) {
                *ctx->err = dead;
                status = RH_E_AUTH;
            }
        }
    }
    pthread_mutex_unlock(&vault->lock);
    return status;
}
