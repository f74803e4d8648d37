/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One key's requests and what they bring. Version 2 keeps versions of a secret: the latest is the key, unless it was
 * deleted or destroyed, and a write names the version that it goes over (0: none), so that it can't overwrite
 * anybody's.
 */
#include "internal.h"

#include <rehome/base.h>

enum rh_status kv_item_name(struct rh_buf *name, struct rh_bytes key, struct rh_error *err)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(key, &owner, &id))
        return rh_fail(err, RH_E_INTERNAL, "a key's name is broken");
    return kv_name_add(name, owner, id, err);
}

/* The target of a name: what of the engine (version 2: "data", "metadata", ...) and the name. */
static enum rh_status target(struct kv_session *session,
                             struct rh_vault_call *call,
                             const char *part,
                             struct rh_bytes name,
                             struct rh_error *err)
{
    const struct kv_mount *mount = &session->store->mount;
    enum rh_status status = rh_vault_call_target(call, err, "%s", "");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(mount->path), err);
    if (!status && mount->version == 2)
        status = rh_vault_call_target(call, err, "/%s", part);
    if (!status)
        status = rh_vault_call_target(call, err, "/");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(mount->folder), err);
    if (!status && *mount->folder)
        status = rh_vault_call_target(call, err, "/");
    return status ? status : rh_vault_call_path(call, name, err);
}

enum rh_status
kv_item_ask(struct kv_session *session, struct rh_vault_call *call, struct rh_bytes name, struct rh_error *err)
{
    rh_vault_call_begin(call, "GET");
    return target(session, call, "data", name, err);
}

enum rh_status kv_item_found(struct kv_session *session,
                             const struct rh_vault_call *call,
                             struct rh_bytes key,
                             struct kv_found *ret_found,
                             struct rh_error *err)
{
    const bool versions = session->store->mount.version == 2;
    const struct rh_vault_answer *answer = &call->answer;
    struct kv_found found = {.alive = call->status == RH_OK};
    *ret_found = (struct kv_found){0};
    if (rh_failed(call->status)) {
        *err = call->err;
        return rh_error_prepend(err, "reading %s", RH_SHOW_KEY(key));
    }
    if (call->status == RH_NOT_FOUND && rh_vault_answer_is_empty(answer))
        return RH_OK;
    if (versions && !rh_vault_answer_number(answer, "data.metadata.version", &found.version))
        return kv_mount_wrong(session, call, err);
    if (!versions && !found.alive)
        return kv_mount_wrong(session, call, err);
    if (found.alive) {
        found.type = rh_vault_answer_text(answer, versions ? "data.data.type" : "data.type");
        found.value = rh_vault_answer_text(answer, versions ? "data.data.value" : "data.value");
        if (!found.type.data || !found.value.data) {
            rh_fail(err, RH_E_CORRUPT, "%s in '%s' has no 'type' and 'value': no server of Percona's has written it",
                    RH_SHOW_KEY(key), session->store->address);
            rh_error_hint(err, "see what it is, and take it away or put it right");
            return RH_E_CORRUPT;
        }
    }
    *ret_found = found;
    return RH_OK;
}

enum rh_status kv_item_add(
    struct rh_batch *batch, struct rh_bytes key, const struct kv_found *found, bool with_fields, struct rh_error *err)
{
    if (!batch->arena.head)
        batch->arena.secret = true;
    const size_t room = found->value.size / 4 * 3 + 3, type = found->type.size;
    const size_t fields_size = RH_KEYRING_FIELDS * sizeof(struct rh_field);
    uint8_t *piece = rh_arena_get(&batch->arena, fields_size + key.size + type + room);
    size_t data = 0;
    if (!piece)
        return rh_fail_memory(err);
    uint8_t *at = piece + fields_size;
    if (rh_base64_decode_into(at + key.size + type, &data, found->value))
        return rh_fail(err, RH_E_CORRUPT, "the value of %s isn't base64", RH_SHOW_KEY(key));
    struct rh_record *record = rh_batch_add(batch);
    if (!record)
        return rh_fail_memory(err);
    memcpy(at, key.data, key.size);
    if (type)
        memcpy(at + key.size, found->type.data, type);
    record->key = rh_bytes(at, key.size);
    record->value_bytes = type + data;
    batch->bytes += key.size + (with_fields ? type + data : 0);
    if (!with_fields) {
        rh_wipe(at + key.size + type, data);
        return RH_OK;
    }
    struct rh_field *fields = (struct rh_field *)(void *)piece;
    fields[RH_KEYRING_TYPE] = (struct rh_field){.tag = RH_TAG_TEXT, .value = rh_bytes(at + key.size, type)};
    fields[RH_KEYRING_DATA] = (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_bytes(at + key.size + type, data)};
    record->fields = fields;
    record->field_count = RH_KEYRING_FIELDS;
    return RH_OK;
}

/* --- writing --- */

enum rh_status kv_item_write(struct kv_session *session,
                             struct rh_vault_call *call,
                             struct rh_bytes name,
                             struct rh_bytes type,
                             struct rh_bytes data,
                             uint64_t cas,
                             struct rh_error *err)
{
    rh_auto_buf struct rh_buf head = RH_BUF_INIT; /* nothing in it is secret */
    const bool versions = session->store->mount.version == 2;
    rh_vault_call_begin(call, "POST");
    enum rh_status status = target(session, call, "data", name, err);
    if (!status && versions)
        status = rh_buf_format(&head, err, "{\"options\":{\"cas\":%llu},\"data\":", (unsigned long long)cas);
    if (!status)
        status = rh_buf_text(&head, "{\"type\":", err);
    if (!status)
        status = rh_json_quote(&head, type, err);
    if (!status)
        status = rh_buf_text(&head, ",\"value\":\"", err);
    if (status)
        return status;
    uint8_t *body = rh_arena_get(&session->bodies, head.size + (data.size + 2) / 3 * 4 + 3);
    if (!body)
        return rh_fail_memory(err);
    memcpy(body, head.data, head.size);
    size_t size = head.size + rh_base64_encode_into((char *)body + head.size, data);
    memcpy(body + size, "\"}}", 3);
    call->body = rh_bytes(body, size + (versions ? 3 : 2));
    return RH_OK;
}

/* --- taking away --- */

/* Whether all there ever was of a name are versions that stood one upon the other until this one: then the name has
 * come with the key. A deleted or destroyed version below was somebody else's end of it, and so is a setting. */
static bool name_is_ours(const struct rh_vault_answer *answer, uint64_t version, bool *ret_changed)
{
    static const char prefix[] = "data.versions.";
    uint64_t current = 0, most = 0;
    *ret_changed = !rh_vault_answer_number(answer, "data.current_version", &current) || current != version;
    const struct rh_bytes after = rh_vault_answer_text(answer, "data.delete_version_after");
    const struct rh_vault_value *custom = rh_vault_answer_find(answer, "data.custom_metadata");
    if ((rh_vault_answer_number(answer, "data.max_versions", &most) && most) ||
        rh_vault_answer_true(answer, "data.cas_required") || (custom && custom->kind != RH_JSON_NULL) ||
        (after.size && !rh_bytes_equal(after, rh_bytes_text("0s"))))
        return false;
    for (size_t i = 0; i < answer->count; i++) {
        const struct rh_vault_value *value = &answer->values[i];
        const char *member = strrchr(value->path, '.');
        if (strncmp(value->path, prefix, sizeof prefix - 1) != 0 || !member)
            continue;
        if ((strcmp(member, ".destroyed") == 0 && value->kind == RH_JSON_TRUE) ||
            (strcmp(member, ".deletion_time") == 0 && value->text.size))
            return false;
    }
    return true;
}

/* Makes the call one that takes something away. */
static enum rh_status take_away(struct kv_session *session,
                                struct rh_vault_call *call,
                                const char *method,
                                const char *part,
                                struct rh_bytes name,
                                struct rh_error *err)
{
    rh_vault_call_begin(call, method);
    /* to delete "the latest" twice could hit somebody's new one */
    call->repeatable = session->store->mount.version == 1 || strcmp(part, "data") != 0;
    return target(session, call, part, name, err);
}

enum rh_status
kv_item_ask_versions(struct kv_session *session, struct rh_vault_call *call, struct rh_bytes name, struct rh_error *err)
{
    rh_vault_call_begin(call, "GET");
    return target(session, call, "metadata", name, err);
}

enum rh_status
kv_item_versions(const struct rh_vault_call *call, uint64_t version, enum kv_end *ret_end, struct rh_error *err)
{
    bool changed = call->status == RH_NOT_FOUND, ours = version == 1;
    if (rh_failed(call->status) && call->status != RH_E_DENIED) {
        *err = call->err;
        return call->status;
    }
    /* without the right to look, a first version is taken for a name that came with it */
    if (call->status == RH_OK)
        ours = name_is_ours(&call->answer, version, &changed);
    *ret_end = changed ? KV_END_CHANGED : ours ? KV_END_NAME : KV_END_VERSION;
    return RH_OK;
}

enum rh_status
kv_item_remove(struct kv_session *session, struct rh_vault_call *call, struct rh_bytes name, struct rh_error *err)
{
    return take_away(session, call, "DELETE", "metadata", name, err);
}

enum rh_status
kv_item_remove_version(struct rh_ctx *ctx, struct kv_session *session, struct rh_bytes name, uint64_t version)
{
    static const char *const parts[] = {"destroy", "delete", "data"};
    struct rh_vault_call *call = &session->other;
    rh_auto_buf struct rh_buf body = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&body, ctx->err, "{\"versions\":[%llu]}", (unsigned long long)version);
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++) {
        const bool last = i == 2;
        status = take_away(session, call, last ? "DELETE" : "POST", parts[i], name, ctx->err);
        call->body = last ? (struct rh_bytes){0} : rh_buf_bytes(&body);
        if (!status)
            status = rh_vault_ask(ctx, session->client, call, "removing a key");
        call->body = (struct rh_bytes){0};
        if (status != RH_E_DENIED || last)
            return status;
        status = RH_OK;
    }
    return status;
}
