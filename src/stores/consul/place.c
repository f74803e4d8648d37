/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at the other end: facts, identity, who else is at work.
 * The identity must not depend on what the token may see: it is made of answers that need no rights. These are the
 * trust domain of the cluster's CA, where it has one (a random name that stays), else the addresses of its servers.
 */
#include "internal.h"

#include <jansson.h>
#include <stdio.h>

static void auto_json(json_t **json)
{
    json_decref(*json);
}
#define cs_auto_json __attribute__((cleanup(auto_json)))

/* The trust domain of the cluster's CA; empty where it has none. */
static enum rh_status trust_domain(struct rh_ctx *ctx, struct cs_session *session, char *out, size_t size)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct rh_error refused = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &refused};
    /* one try: without a CA this is a 500 that would be tried again and again */
    out[0] = '\0';
    enum rh_status status =
        cs_get_text_once(&quiet, session, "asking for the cluster's CA", &text, "/v1/connect/ca/roots");
    if (status) {
        if (refused.native < 400 && status != RH_NOT_FOUND) {
            *ctx->err = refused;
            return status;
        }
        return RH_OK;
    }
    cs_auto_json json_t *roots = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    const char *domain = json_string_value(json_object_get(roots, "TrustDomain"));
    if (domain)
        (void)snprintf(out, size, "%s", domain);
    return RH_OK;
}

/* The servers' addresses, as a sorted list without brackets. */
static enum rh_status peers(struct rh_ctx *ctx, struct cs_session *session, char *out, size_t size)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = cs_get_text(ctx, session, "asking for the cluster's servers", &text, "/v1/status/peers");
    if (status)
        return status == RH_NOT_FOUND
                   ? rh_fail(ctx->err, RH_E_STORE, "'%s' isn't a Consul agent", session->store->address)
                   : status;
    cs_auto_json json_t *list = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    const char *names[16];
    size_t count = 0, used = 0, index;
    json_t *one;
    json_array_foreach(list, index, one)
    {
        const char *name = json_string_value(one);
        if (!name || count == sizeof names / sizeof *names)
            continue;
        size_t at = count++;
        for (; at && strcmp(names[at - 1], name) > 0; at--)
            names[at] = names[at - 1];
        names[at] = name;
    }
    if (!count)
        return rh_fail(ctx->err, RH_E_STORE, "'%s' names no servers of its cluster", session->store->address);
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "", names[i]);
    return RH_OK;
}

enum rh_status cs_cluster(struct rh_ctx *ctx, struct cs_session *session, char *out, size_t size)
{
    struct cs_store *store = session->store;
    pthread_mutex_lock(&store->lock);
    (void)snprintf(out, size, "%s", store->cluster);
    pthread_mutex_unlock(&store->lock);
    if (*out)
        return RH_OK;
    enum rh_status status = trust_domain(ctx, session, out, size);
    if (!status && !*out)
        status = peers(ctx, session, out, size);
    if (status)
        return status;
    pthread_mutex_lock(&store->lock);
    (void)snprintf(store->cluster, sizeof store->cluster, "%s", out);
    pthread_mutex_unlock(&store->lock);
    return RH_OK;
}

bool cs_overlaps(const struct rh_store *a, const struct rh_store *b)
{
    const struct cs_store *left = (const struct cs_store *)a, *right = (const struct cs_store *)b;
    if (!left->cluster[0] || strcmp(left->cluster, right->cluster) != 0)
        return false;
    struct rh_bytes one = rh_bytes_text(left->path), other = rh_bytes_text(right->path);
    return rh_bytes_starts(one, other) || rh_bytes_starts(other, one);
}

/* Version and limits, where the token may see them. */
static enum rh_status ask_agent(struct rh_ctx *ctx, struct cs_session *session, struct rh_facts *facts)
{
    struct cs_store *store = session->store;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    (void)snprintf(facts->version, sizeof facts->version, "not told to this token");
    enum rh_status status = cs_get_text(ctx, session, "asking the agent", &text, "/v1/agent/self");
    if (status)
        return status == RH_E_DENIED || status == RH_NOT_FOUND ? RH_OK : status;
    cs_auto_json json_t *self = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    json_t *config = json_object_get(self, "Config"), *debug = json_object_get(self, "DebugConfig");
    const char *version = json_string_value(json_object_get(config, "Version"));
    const char *datacenter = json_string_value(json_object_get(config, "Datacenter"));
    if (version)
        (void)snprintf(facts->version, sizeof facts->version, "%s%s%s", version, datacenter ? ", datacenter " : "",
                       datacenter ? datacenter : "");
    json_int_t value = json_integer_value(json_object_get(debug, "KVMaxValueSize"));
    json_int_t txn = json_integer_value(json_object_get(debug, "TxnMaxReqLen"));
    pthread_mutex_lock(&store->lock);
    if (value > 0) {
        store->value_most = (uint64_t)value;
        store->value_most_known = true;
    }
    if (txn > 4096)
        store->body_most = (uint64_t)txn;
    pthread_mutex_unlock(&store->lock);
    return RH_OK;
}

/* The lock of a Vault that is active: Consul holds it for a session, and frees it when that one dies. */
static enum rh_status live_owner(struct rh_ctx *ctx, struct cs_session *session, struct rh_facts *facts)
{
    const struct cs_answer *answer = NULL;
    const struct cs_record *record = NULL;
    enum rh_status status = cs_get_one(ctx, session, rh_bytes_text(RH_KV_LOCK), &answer, &record);
    if (status == RH_NOT_FOUND || (!status && !record->locked)) {
        (void)snprintf(facts->owner_blind, sizeof facts->owner_blind,
                       "a Vault with its HA lock elsewhere (ha_storage) or without HA can't be seen");
        return RH_OK;
    }
    if (status)
        return status;
    char id[40];
    (void)snprintf(id, sizeof id, "%s", record->session);
    (void)snprintf(facts->live_owner, sizeof facts->live_owner, "%s is held by the session %s", RH_KV_LOCK,
                   RH_SHOW(rh_bytes_text(id)));
    if (strspn(id, "0123456789abcdef-") != strlen(id))
        return RH_OK;
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct rh_error unknown = {0};
    struct rh_ctx quiet = {.deadline_us = ctx->deadline_us, .cancel = ctx->cancel, .err = &unknown};
    if (cs_get_text(&quiet, session, "asking for a session", &text, "/v1/session/info/%s", id))
        return RH_OK; /* the id alone will do */
    cs_auto_json json_t *list = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    json_t *info = json_array_get(list, 0);
    const char *name = json_string_value(json_object_get(info, "Name"));
    const char *node = json_string_value(json_object_get(info, "Node"));
    if (node)
        (void)snprintf(facts->live_owner, sizeof facts->live_owner, "%s is held by the session %s ('%s' on node '%s')",
                       RH_KV_LOCK, id, RH_SHOW(rh_bytes_text(name ? name : "")), RH_SHOW(rh_bytes_text(node)));
    return RH_OK;
}

enum rh_status cs_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    struct cs_session *session = (struct cs_session *)base;
    struct cs_store *store = session->store;
    struct rh_facts facts = {.exists = RH_YES};
    char cluster[sizeof store->cluster];
    enum rh_status status = rh_ctx_check(ctx);
    if (!status)
        status = cs_cluster(ctx, session, cluster, sizeof cluster);
    if (!status)
        status = ask_agent(ctx, session, &facts);
    if (!status)
        status = cs_rights_write(ctx, session, &facts.writable);
    if (!status)
        status = live_owner(ctx, session, &facts);
    if (status)
        return status;
    (void)snprintf(facts.product, sizeof facts.product, "Consul");
    (void)snprintf(facts.address, sizeof facts.address, "%s", store->address);
    if ((size_t)snprintf(facts.identity, sizeof facts.identity, "consul %s/%s", cluster, store->path) >=
        sizeof facts.identity)
        return rh_fail(ctx->err, RH_E_LIMIT, "the names of cluster and path are too long to tell stores apart");
    (void)snprintf(facts.tls, sizeof facts.tls, "%s",
                   session->tls[0] ? session->tls
                   : store->socket ? "local"
                                   : "none");
    pthread_mutex_lock(&store->lock);
    /* A source may hold what a transaction can't write. */
    if (store->side == RH_SIDE_SOURCE)
        facts.limits.value_bytes = store->value_most_known ? store->value_most : 0;
    else
        facts.limits.value_bytes = (store->body_most - 1024) / 4 * 3 < store->value_most
                                       ? (store->body_most - 1024) / 4 * 3
                                       : store->value_most;
    pthread_mutex_unlock(&store->lock);
    *ret_facts = facts;
    return RH_OK;
}

static enum rh_status fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text)
{
    struct cs_session *session = (struct cs_session *)base;
    char cluster[sizeof session->store->cluster];
    enum rh_status status = rh_ctx_check(ctx);
    if (!status)
        status = cs_cluster(ctx, session, cluster, sizeof cluster);
    return status ? status : rh_buf_format(ret_text, ctx->err, "consul %s", session->store->path);
}

const struct rh_guard_ops cs_guard_ops = {.fingerprint = fingerprint};
