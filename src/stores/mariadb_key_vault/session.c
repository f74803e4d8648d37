/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: connections, the mount behind the address, what the token may do there. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the mount --- */

/* Words for an address behind which no such engine is. */
static enum rh_status fail_mount(const struct mkv_store *store, struct rh_error *err, const char *words)
{
    rh_fail(err, RH_E_REFUSED, "'%s' %s", RH_SHOW(rh_bytes_text(store->url)), words);
    rh_error_hint(err, "vault secrets enable -path=%s -version=2 kv; vault_url ends with that path",
                  RH_SHOW(rh_bytes_text(store->mount)));
    return RH_E_REFUSED;
}

/* Asks what is mounted there, as the server's plugin does at its start, and by what it is known. */
static enum rh_status look_at_mount(struct rh_ctx *ctx, struct mkv_session *session)
{
    const struct mkv_store *store = session->store;
    struct rh_vault_call *call = &session->calls[0];
    char path[MKV_PATH];
    rh_vault_call_begin(call, "GET");
    call->plain = true;
    enum rh_status status = rh_vault_call_target(call, ctx->err, "sys/internal/ui/mounts/%s", store->mount);
    if (status == RH_OK)
        status = rh_vault_ask(ctx, session->client, call, "asking for the mount");
    if (status == RH_E_DENIED)
        rh_error_hint(ctx->err, "no engine is mounted there, or the token has no right in it");
    if (status == RH_NOT_FOUND)
        return fail_mount(store, ctx->err, "isn't a mount");
    if (status != RH_OK)
        return status;
    (void)snprintf(path, sizeof path, "%s/", store->mount);
    if (!rh_bytes_equal(rh_vault_answer_text(&call->answer, "data.path"), rh_bytes_text(path)))
        return fail_mount(store, ctx->err, "isn't a mount: MariaDB's keys lie at the root of one");
    if (!rh_bytes_equal(rh_vault_answer_text(&call->answer, "data.type"), rh_bytes_text("kv")) ||
        !rh_bytes_equal(rh_vault_answer_text(&call->answer, "data.options.version"), rh_bytes_text("2")))
        return fail_mount(store, ctx->err, "is no KV engine of version 2, which MariaDB wants");
    const struct rh_bytes accessor = rh_vault_answer_text(&call->answer, "data.accessor");
    const struct rh_bytes uuid = rh_vault_answer_text(&call->answer, "data.uuid");
    (void)snprintf(session->identity, sizeof session->identity, "%.*s:%.*s", (int)accessor.size,
                   accessor.size ? (const char *)accessor.data : "", (int)uuid.size,
                   uuid.size ? (const char *)uuid.data : "");
    return RH_OK;
}

/* --- sessions --- */

enum rh_status
mkv_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct mkv_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->store = mkv_store_of(&session->base);
    enum rh_status status = rh_vault_client_new(ctx, session->store->vault, &session->client);
    if (status == RH_OK)
        status = look_at_mount(ctx, session);
    if (status != RH_OK) {
        mkv_session_close(&session->base);
        return status;
    }
    *ret_session = &session->base;
    return RH_OK;
}

void mkv_session_close(struct rh_session *base)
{
    struct mkv_session *session = (struct mkv_session *)base;
    if (!session)
        return;
    mkv_trial_end(session);
    for (size_t i = 0; i < RH_VAULT_CALLS; i++)
        rh_vault_call_done(session->client, &session->calls[i]);
    rh_vault_client_free(session->client);
    rh_unit_done(&session->unit);
    free(session);
}

void mkv_cancel(struct rh_session *base)
{
    rh_vault_client_cancel(((struct mkv_session *)base)->client);
}

/* --- facts --- */

/* Version and cluster, which everybody may ask for; nothing where the server doesn't say. */
static enum rh_status ask_health(struct rh_ctx *ctx, struct mkv_session *session, char cluster[64], char version[128])
{
    struct rh_vault_call *call = &session->calls[0];
    rh_vault_call_begin(call, "GET");
    call->plain = call->open = true;
    enum rh_status status = rh_vault_call_target(call, ctx->err, "sys/health?standbyok=true&perfstandbyok=true");
    if (status == RH_OK)
        status = rh_vault_ask(ctx, session->client, call, "asking for the server's health");
    if (status != RH_OK)
        return status == RH_NOT_FOUND ? RH_OK : status;
    const struct rh_bytes id = rh_vault_answer_text(&call->answer, "cluster_id");
    const struct rh_bytes text = rh_vault_answer_text(&call->answer, "version");
    (void)snprintf(cluster, 64, "%.*s", (int)id.size, id.size ? (const char *)id.data : "");
    (void)snprintf(version, 128, "%.*s", (int)text.size, text.size ? (const char *)text.data : "");
    return RH_OK;
}

/* Whether an answer about capabilities has one of them for a path. */
static bool may(const struct rh_vault_answer *answer, const char *path, const char *wanted)
{
    char name[MKV_PATH + 16];
    (void)snprintf(name, sizeof name, "data.%s[]", path);
    for (size_t i = 0; i < answer->count; i++) {
        const struct rh_vault_value *value = &answer->values[i];
        if (value->kind == RH_JSON_TEXT && strcmp(value->path, name) == 0 &&
            (rh_bytes_equal(value->text, rh_bytes_text(wanted)) || rh_bytes_equal(value->text, rh_bytes_text("root"))))
            return true;
    }
    return false;
}

/* What a token needs at a destination: to make keys, to see them, and to take back what was made. */
static enum rh_status check_rights(struct rh_ctx *ctx, struct mkv_session *session)
{
    static const struct {
        const char *path, *right;
    } needed[] = {
        {"data/1",     "create"},
        {"data/1",     "read"  },
        {"metadata/1", "delete"},
        {"metadata/",  "list"  }
    };
    struct rh_vault_call *call = &session->calls[0];
    const char *mount = session->store->mount;
    rh_auto_buf struct rh_buf body = RH_BUF_INIT;
    rh_vault_call_begin(call, "POST");
    call->plain = true;
    enum rh_status status = rh_vault_call_target(call, ctx->err, "sys/capabilities-self");
    if (status == RH_OK)
        status = rh_buf_format(&body, ctx->err, "{\"paths\":[\"%s/data/1\",\"%s/metadata/1\",\"%s/metadata/\"]}", mount,
                               mount, mount);
    call->body = rh_buf_bytes(&body);
    if (status == RH_OK)
        status = rh_vault_ask(ctx, session->client, call, "asking for the token's rights");
    if (status == RH_E_DENIED)
        return RH_OK; /* a token that may not even ask; what it lacks shows later */
    for (size_t i = 0; status == RH_OK && i < sizeof needed / sizeof *needed; i++) {
        char path[MKV_PATH];
        (void)snprintf(path, sizeof path, "%s/%s", mount, needed[i].path);
        if (may(&call->answer, path, needed[i].right))
            continue;
        status = rh_fail(ctx->err, RH_E_DENIED, "the token may not '%s' on '%s'", needed[i].right, path);
        rh_error_hint(ctx->err,
                      "its policy needs: path \"%s/data/*\" { capabilities = [\"create\", \"read\"] } "
                      "path \"%s/metadata/*\" { capabilities = [\"list\", \"delete\"] }",
                      mount, mount);
    }
    return status;
}

enum rh_status mkv_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct mkv_session *session = (struct mkv_session *)base;
    const struct mkv_store *store = session->store;
    char cluster[64] = "";
    struct rh_facts facts = {
        .product = "KV engine with MariaDB's keys",
        .encrypted_at_rest = RH_YES,
        .writable = RH_YES,
        .exists = RH_YES,
        .owner_blind = "a server that uses these keys can't be seen from the Vault",
    };
    enum rh_status status = ask_health(ctx, session, cluster, facts.version);
    if (status == RH_OK && store->side == RH_SIDE_DESTINATION)
        status = check_rights(ctx, session);
    if (status != RH_OK)
        return status;
    (void)snprintf(facts.address, sizeof facts.address, "%s", store->url);
    (void)snprintf(facts.place, sizeof facts.place, "%s", store->url);
    (void)snprintf(facts.tls, sizeof facts.tls, "%s",
                   *rh_vault_client_tls(session->client) ? rh_vault_client_tls(session->client) : "none");
    (void)snprintf(facts.identity, sizeof facts.identity, "vault-kv:%.60s:%.150s",
                   *cluster ? cluster : rh_vault_url(store->vault), session->identity);
    *ret_facts = facts;
    return RH_OK;
}

/* Tells one mount from another that was made anew at its path. */
static enum rh_status mkv_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    return rh_buf_text(ret_text, ((const struct mkv_session *)base)->identity, ctx->err);
}

const struct rh_guard_ops mkv_guard_ops = {.unmarked = true, .fingerprint = mkv_fingerprint};
