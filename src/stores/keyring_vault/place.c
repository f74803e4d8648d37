/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at the other end: facts, identity, the marker, and what makes a server use it.
 * The marker is a key as a server reads them, of an id that no server asks for: anything else would be a name that
 * Percona's servers complain of. Only a destination is marked; a source is only read.
 */
#include "internal.h"

#include <rehome/base.h>

#include <stdio.h>

/* Who the server is, asked of it without a token; where it doesn't say, its address has to do. */
static enum rh_status ask_health(struct rh_ctx *ctx, struct kv_session *session, struct rh_facts *facts)
{
    struct kv_store *store = session->store;
    struct rh_vault_call *call = &session->other;
    struct rh_error refused = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &refused};
    rh_vault_call_begin(call, "GET");
    call->open = true;
    enum rh_status status =
        rh_vault_call_target(call, &refused, "sys/health?standbyok=true&perfstandbyok=true&sealedcode=200");
    if (!status)
        status = rh_vault_ask(&quiet, session->client, call, "asking for the server's health");
    if (status == RH_E_CANCELLED || status == RH_E_TIMEOUT || status == RH_E_NET || status == RH_E_TLS) {
        *ctx->err = refused;
        return status;
    }
    const struct rh_bytes version = rh_vault_answer_text(&call->answer, "version"),
                          cluster = rh_vault_answer_text(&call->answer, "cluster_id");
    if (!status && version.size)
        (void)snprintf(facts->version, sizeof facts->version, "%.*s", (int)(version.size < 60 ? version.size : 60),
                       (const char *)version.data);
    pthread_mutex_lock(&store->lock);
    if (!status && cluster.size && cluster.size < sizeof store->cluster)
        (void)snprintf(store->cluster, sizeof store->cluster, "%.*s", (int)cluster.size, (const char *)cluster.data);
    else if (!*store->cluster)
        (void)snprintf(store->cluster, sizeof store->cluster, "%.120s", rh_vault_url(store->vault));
    pthread_mutex_unlock(&store->lock);
    return RH_OK;
}

/* Whether the token may make keys; many tokens may ask that of themselves. */
static enum rh_status ask_rights(struct rh_ctx *ctx, struct kv_session *session, struct rh_facts *facts)
{
    const struct kv_mount *mount = &session->store->mount;
    struct rh_vault_call *call = &session->other;
    struct rh_error refused = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &refused};
    rh_auto_buf struct rh_buf path = RH_BUF_INIT, body = RH_BUF_INIT;
    enum rh_status status =
        rh_buf_format(&path, ctx->err, "%s%s%s%s%s", mount->path, mount->version == 2 ? "/data/" : "/", mount->folder,
                      *mount->folder ? "/" : "", rh_buf_cstr(&session->store->marker_name));
    rh_vault_call_begin(call, "POST");
    call->plain = true;
    if (!status)
        status = rh_buf_text(&body, "{\"paths\":[", ctx->err);
    if (!status)
        status = rh_json_quote(&body, rh_buf_bytes(&path), ctx->err);
    if (!status)
        status = rh_buf_text(&body, "]}", ctx->err);
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "sys/capabilities-self");
    if (status)
        return status;
    call->body = rh_buf_bytes(&body);
    status = rh_vault_ask(&quiet, session->client, call, "asking for the token's rights");
    call->body = (struct rh_bytes){0};
    bool told = false, may = false;
    for (size_t i = 0; !status && i < call->answer.count; i++) {
        const struct rh_vault_value *value = &call->answer.values[i];
        if (value->kind != RH_JSON_TEXT || strcmp(value->path, "data.capabilities[]") != 0)
            continue;
        told = true;
        may = may || rh_bytes_equal(value->text, rh_bytes_text("create")) ||
              rh_bytes_equal(value->text, rh_bytes_text("root"));
    }
    facts->writable = !told ? RH_UNKNOWN : may ? RH_YES : RH_NO;
    if (status == RH_E_CANCELLED)
        *ctx->err = refused;
    return status == RH_E_CANCELLED ? status : RH_OK;
}

/* The place in words that tell it from all others. */
static enum rh_status identity(struct kv_store *store, char *out, size_t size, struct rh_error *err)
{
    pthread_mutex_lock(&store->lock);
    const int length =
        snprintf(out, size, "vault %s/%s/%s", store->cluster, rh_vault_namespace(store->vault), store->point);
    pthread_mutex_unlock(&store->lock);
    return length >= 0 && (size_t)length < size
               ? RH_OK
               : rh_fail(err, RH_E_LIMIT, "the names of server and path are too long to tell stores apart");
}

enum rh_status kv_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct kv_session *session = (struct kv_session *)base;
    struct kv_store *store = session->store;
    struct rh_facts facts = {.exists = RH_YES, .encrypted_at_rest = RH_YES};
    (void)snprintf(facts.version, sizeof facts.version, "of unknown version");
    enum rh_status status = ask_health(ctx, session, &facts);
    if (!status)
        status = ask_rights(ctx, session, &facts);
    if (!status)
        status = identity(store, facts.identity, sizeof facts.identity, ctx->err);
    if (status)
        return status;
    (void)snprintf(facts.product, sizeof facts.product, "KV version %u of a Vault", store->mount.version);
    (void)snprintf(facts.address, sizeof facts.address, "%s", store->address);
    const char *tls = rh_vault_client_tls(session->client);
    (void)snprintf(facts.tls, sizeof facts.tls, "%s", *tls ? tls : "none");
    (void)snprintf(facts.owner_blind, sizeof facts.owner_blind, "a Vault doesn't tell which servers use these keys");
    *ret_facts = facts;
    return RH_OK;
}

bool kv_overlaps(const struct rh_store *a, const struct rh_store *b)
{
    const struct kv_store *left = (const struct kv_store *)a, *right = (const struct kv_store *)b;
    const size_t one = strlen(left->point), other = strlen(right->point), least = one < other ? one : other;
    const char *longer = one < other ? right->point : left->point;
    return *left->cluster && strcmp(left->cluster, right->cluster) == 0 &&
           strcmp(rh_vault_namespace(left->vault), rh_vault_namespace(right->vault)) == 0 &&
           memcmp(left->point, right->point, least) == 0 && (!longer[least] || longer[least] == '/');
}

/* --- marker --- */

/* What stands under the marker's name. */
static enum rh_status
marker_look(struct rh_ctx *ctx, struct kv_session *session, struct kv_found *found, struct rh_buf *ret_text)
{
    struct rh_vault_call *call = &session->other;
    rh_buf_clear(ret_text);
    enum rh_status status = kv_item_ask(session, call, rh_buf_bytes(&session->store->marker_name), ctx->err);
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "looking for the mark of a migration");
    if (rh_failed(status))
        return status;
    const struct rh_bytes none = rh_bytes("\0\0" KV_MARKER_ID, 2 + sizeof KV_MARKER_ID - 1);
    status = kv_item_found(session, call, none, found, ctx->err);
    if (!status && found->alive && rh_base64_decode(ret_text, found->value, NULL))
        status = rh_buf_add(ret_text, found->value.data, found->value.size, ctx->err);
    return status;
}

static enum rh_status marker_get(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_marker)
{
    struct kv_found found;
    enum rh_status status = marker_look(ctx, (struct kv_session *)base, &found, ret_marker);
    return status ? status : found.alive ? RH_OK : RH_NOT_FOUND;
}

static enum rh_status marker_set(struct rh_ctx *ctx, struct rh_session *base, struct rh_bytes marker)
{
    struct kv_session *session = (struct kv_session *)base;
    struct rh_vault_call *call = &session->other;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct kv_found found;
    enum rh_status status = marker_look(ctx, session, &found, &text);
    if (status || found.alive)
        return status ? status : RH_EXISTS;
    rh_arena_clear(&session->bodies);
    status = kv_item_write(session, call, rh_buf_bytes(&session->store->marker_name), rh_bytes_text(KV_MARKER_TYPE),
                           marker, found.version, ctx->err);
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "marking the keys");
    if (status == RH_CHANGED)
        return RH_EXISTS;
    if (status == RH_NOT_FOUND)
        return kv_mount_wrong(session, call, ctx->err);
    if (status || session->store->mount.version == 2)
        return status;
    /* version 1 lets the last writer win */
    status = marker_look(ctx, session, &found, &text);
    return status ? status : rh_bytes_equal(rh_buf_bytes(&text), marker) ? RH_OK : RH_EXISTS;
}

static enum rh_status marker_clear(struct rh_ctx *ctx, struct rh_session *base, struct rh_bytes marker)
{
    struct kv_session *session = (struct kv_session *)base;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct kv_found found;
    bool changed = false;
    enum rh_status status = marker_look(ctx, session, &found, &text);
    if (status)
        return status;
    if (!found.alive)
        return RH_NOT_FOUND;
    if (!rh_bytes_equal(rh_buf_bytes(&text), marker))
        return RH_CHANGED;
    status = kv_remove_one(ctx, session, rh_buf_bytes(&session->store->marker_name), found.version, &changed);
    return status ? status : changed ? RH_CHANGED : RH_OK;
}

static enum rh_status fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct kv_store *store = kv_store_of(base);
    char text[256];
    enum rh_status status = rh_ctx_check(ctx);
    if (!status)
        status = identity(store, text, sizeof text, ctx->err);
    return status ? status : rh_buf_format(ret_text, ctx->err, "%s %s", text, store->mount.unique);
}

const struct rh_guard_ops kv_guard_ops = {
    .marker_get = marker_get, .marker_set = marker_set, .marker_clear = marker_clear, .fingerprint = fingerprint};

/* --- what a server has to be told --- */

/* One member of the component's configuration. */
static enum rh_status add_member(struct rh_buf *text, const char *name, const char *value, struct rh_error *err)
{
    enum rh_status status = rh_buf_format(text, err, "%s\"%s\": ", text->size > 1 ? ", " : "", name);
    return status ? status : rh_json_quote(text, rh_bytes_text(value), err);
}

enum rh_status kv_settings(const struct rh_store *base, rh_setting_add *add, void *user, struct rh_error *err)
{
    const struct kv_store *store = (const struct kv_store *)base;
    static const struct rh_setting manifest = {
        .where = "mysqld.my, beside the server's program (or in its data folder, where that file says "
                 "read_local_manifest)",
        .text = "{\"components\": \"file://component_keyring_vault\"}",
    };
    static const char *const versions[] = {"AUTO", "1", "2"};
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_buf_u8(&text, '{', err);
    if (!status)
        status = add_member(&text, "vault_url", rh_vault_url(store->vault), err);
    if (!status)
        status = add_member(&text, "secret_mount_point", store->point, err);
    if (!status)
        status = add_member(&text, "secret_mount_point_version", versions[store->mount.version], err);
    if (!status && *rh_vault_namespace(store->vault))
        status = add_member(&text, "vault_namespace", rh_vault_namespace(store->vault), err);
    if (!status)
        status = add_member(&text, "token", "(a token of the server's own)", err);
    if (!status)
        status = rh_buf_text(&text, "}", err);
    if (!status)
        status = add(user, &manifest, err);
    const struct rh_setting configuration = {
        .where = "component_keyring_vault.cnf of Percona Server, in its plugin_dir (or in its data folder, where that "
                 "file says read_local_config); vault_ca names the CA's file",
        .text = rh_buf_cstr(&text),
    };
    return status ? status : add(user, &configuration, err);
}
