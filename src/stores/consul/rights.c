/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the token may read (and write) all keys below the path. Consul answers a listing with those keys that the
 * token may see and says nothing of the others, so a listing is only taken for the whole store when this is known:
 * ACLs are off; or the token may write the whole prefix, which the servers themselves say; or all of its policies can
 * be read and none of their rules takes anything below the path away. Knowledge: Consul's acl package (KeyWritePrefix,
 * rules, longest match), /v1/internal/acl/authorize (1.8 on), /v1/acl/token/self, /v1/acl/policy, /v1/acl/role.
 */
#include "internal.h"

#include <rehome/plan.h>

#include <jansson.h>
#include <stdio.h>

static void auto_json(json_t **json)
{
    json_decref(*json);
}
#define cs_auto_json __attribute__((cleanup(auto_json)))

/* Asks the servers about one kind of access to the path. RH_UNKNOWN where they can't be asked. */
static enum rh_status
ask_access(struct rh_ctx *ctx, struct cs_session *session, const char *access, enum rh_yes *ret_allowed)
{
    rh_auto_buf struct rh_buf body = RH_BUF_INIT, text = RH_BUF_INIT;
    *ret_allowed = RH_UNKNOWN;
    enum rh_status status = rh_buf_text(&body, "[{\"Resource\":\"key\",\"Segment\":", ctx->err);
    if (!status)
        status = rh_json_quote(&body, rh_bytes_text(session->store->path), ctx->err);
    if (!status)
        status = rh_buf_format(&body, ctx->err, ",\"Access\":\"%s\"}]", access);
    if (!status)
        status = cs_post_text(ctx, session, "asking for the token's rights", "/v1/internal/acl/authorize",
                              rh_buf_bytes(&body), &text);
    long native = ctx->err->native;
    if (status == RH_E_AUTH && native == 401) { /* "ACL support disabled" */
        *ret_allowed = RH_YES;
        return RH_OK;
    }
    if (status == RH_NOT_FOUND || (rh_failed(status) && (native == 405 || native == 400 || native == 403)))
        return status == RH_E_AUTH ? status : RH_OK;
    if (status)
        return status;
    cs_auto_json json_t *answer = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    json_t *allow = json_object_get(json_array_get(answer, 0), "Allow");
    if (json_is_boolean(allow))
        *ret_allowed = json_is_true(allow) ? RH_YES : RH_NO;
    return RH_OK;
}

/* --- policies --- */

struct rules {
    struct rh_bytes path;
    size_t granted; /* 1 + size of the longest rule that lets the whole path be read; 0: none */
    size_t denied;  /* 1 + size of the longest rule that doesn't */
    bool taken;     /* a rule takes something below the path away */
};

/* Whether one rule for keys gives or takes. */
static void judge_rule(struct rules *rules, struct rh_bytes segment, bool prefix, struct rh_bytes policy)
{
    bool reads = rh_bytes_equal(policy, rh_bytes_text("read")) || rh_bytes_equal(policy, rh_bytes_text("list")) ||
                 rh_bytes_equal(policy, rh_bytes_text("write"));
    bool covers = prefix && rh_bytes_starts(rules->path, segment);
    size_t *longest = reads ? &rules->granted : &rules->denied;
    if (covers && *longest < segment.size + 1)
        *longest = segment.size + 1;
    if (!reads && rh_bytes_starts(segment, rules->path))
        rules->taken = true;
}

/* The text of a node's member "policy". */
static struct rh_bytes rule_policy(const struct rh_node *node)
{
    for (size_t i = 0; node->kind == RH_NODE_OBJECT && i < node->member_count; i++)
        if (strcmp(node->members[i].name, "policy") == 0 && node->members[i].value->kind == RH_NODE_TEXT)
            return node->members[i].value->text;
    return (struct rh_bytes){0};
}

/* The rules of one policy, in HCL or JSON. */
static enum rh_status judge_policy(struct rules *rules, const char *text, struct rh_error *err)
{
    struct rh_document *document = NULL;
    enum rh_status status = rh_document_parse("policy", rh_bytes_text(text), &document, err);
    if (status)
        return status;
    const struct rh_node *root = document->root;
    for (size_t i = 0; i < root->member_count; i++) {
        const struct rh_member *member = &root->members[i];
        bool prefix = strcmp(member->name, "key_prefix") == 0;
        if (!prefix && strcmp(member->name, "key") != 0)
            continue;
        if (member->title_count == 1)
            judge_rule(rules, member->titles[0], prefix, rule_policy(member->value));
        for (size_t j = 0; !member->title_count && j < member->value->member_count; j++) {
            const struct rh_member *inner = &member->value->members[j];
            judge_rule(rules, rh_bytes_text(inner->name), prefix, rule_policy(inner->value));
        }
    }
    rh_document_free(document);
    return RH_OK;
}

/* The policies that a token or a role names. RH_UNSUPPORTED: one of them can't be read. */
static enum rh_status read_policies(struct rh_ctx *ctx, struct cs_session *session, json_t *holder, struct rules *rules)
{
    json_t *policies = json_object_get(holder, "Policies"), *one;
    size_t index;
    json_array_foreach(policies, index, one)
    {
        const char *id = json_string_value(json_object_get(one, "ID"));
        if (!id || strlen(id) != 36 || strspn(id, "0123456789abcdef-") != 36)
            return RH_UNSUPPORTED;
        if (strcmp(id, "00000000-0000-0000-0000-000000000001") == 0) {
            rules->granted = SIZE_MAX; /* global-management */
            continue;
        }
        rh_auto_buf struct rh_buf text = RH_BUF_INIT;
        enum rh_status status = cs_get_text(ctx, session, "reading a policy", &text, "/v1/acl/policy/%s", id);
        if (status)
            return status == RH_E_DENIED || status == RH_NOT_FOUND ? RH_UNSUPPORTED : status;
        cs_auto_json json_t *policy = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
        const char *words = json_string_value(json_object_get(policy, "Rules"));
        struct rh_error unread = {0};
        if (!words || judge_policy(rules, words, &unread))
            return RH_UNSUPPORTED;
    }
    return RH_OK;
}

/* The policies of a token's roles. */
static enum rh_status read_roles(struct rh_ctx *ctx, struct cs_session *session, json_t *token, struct rules *rules)
{
    json_t *roles = json_object_get(token, "Roles"), *one;
    size_t index;
    json_array_foreach(roles, index, one)
    {
        const char *id = json_string_value(json_object_get(one, "ID"));
        if (!id || strlen(id) != 36 || strspn(id, "0123456789abcdef-") != 36)
            return RH_UNSUPPORTED;
        rh_auto_buf struct rh_buf text = RH_BUF_INIT;
        enum rh_status status = cs_get_text(ctx, session, "reading a role", &text, "/v1/acl/role/%s", id);
        if (status)
            return status == RH_E_DENIED || status == RH_NOT_FOUND ? RH_UNSUPPORTED : status;
        cs_auto_json json_t *role = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
        status = read_policies(ctx, session, role, rules);
        if (status)
            return status;
    }
    return RH_OK;
}

/* Whether the token's policies, as far as they can be read, show everything below the path. */
static enum rh_status by_policies(struct rh_ctx *ctx, struct cs_session *session, bool *ret_proved)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct rules rules = {.path = rh_bytes_text(session->store->path)};
    *ret_proved = false;
    enum rh_status status = cs_get_text(ctx, session, "asking for the token", &text, "/v1/acl/token/self");
    if (status == RH_E_AUTH && ctx->err->native == 401) {
        *ret_proved = true; /* ACLs are off */
        return RH_OK;
    }
    if (status == RH_E_AUTH && !session->store->header)
        return RH_OK; /* the anonymous token can't ask for itself */
    if (status)
        return status == RH_NOT_FOUND || status == RH_E_DENIED ? RH_OK : status;
    cs_auto_json json_t *token = json_loadb(rh_buf_cstr(&text), text.size, 0, NULL);
    status = read_policies(ctx, session, token, &rules);
    if (!status)
        status = read_roles(ctx, session, token, &rules);
    if (status == RH_UNSUPPORTED)
        return RH_OK;
    *ret_proved = !status && rules.granted > rules.denied && !rules.taken;
    return status;
}

enum rh_status cs_rights_write(struct rh_ctx *ctx, struct cs_session *session, enum rh_yes *ret_may)
{
    return ask_access(ctx, session, "write-prefix", ret_may);
}

enum rh_status cs_rights_need(struct rh_ctx *ctx, struct cs_session *session)
{
    const struct cs_store *store = session->store;
    if (store->trust_token)
        return RH_OK;
    enum rh_yes may = RH_UNKNOWN;
    enum rh_status status = ask_access(ctx, session, "write-prefix", &may);
    if (status || may == RH_YES)
        return status;
    bool proved = false;
    status = by_policies(ctx, session, &proved);
    if (status || proved)
        return status;
    rh_fail(ctx->err, RH_E_DENIED, "it can't be shown that the token may read all keys below '%s' of '%s'",
            RH_SHOW(rh_bytes_text(store->path)), store->address);
    rh_error_hint(
        ctx->err,
        "Consul leaves out, without a word, what a token may not read. Give the token key_prefix \"%s\" { policy "
        "= \"write\" }, or policy = \"read\" and acl = \"read\", and no rule that denies a part of it; or vouch "
        "for it with full_read = \"assumed\"",
        store->path);
    return RH_E_DENIED;
}
