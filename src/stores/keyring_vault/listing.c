/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names that are there. A '/' in a name makes folders of it, which Percona's servers don't look into: here they
 * are, so that no key is lost on the way out. A name that isn't one of a key's is an error, or named and left out where
 * the plan says so; a listing that is refused is never taken for an empty one.
 */
#include "internal.h"

#include <rehome/base.h>

#include <stdlib.h>

/* Sends the request for the names in a folder ("" or "a/b/"). RH_NOT_FOUND: there are none. */
static enum rh_status
ask(struct rh_ctx *ctx, struct kv_session *session, struct rh_vault_call *call, struct rh_bytes folder)
{
    const struct kv_mount *mount = &session->store->mount;
    rh_vault_call_begin(call, "GET");
    call->plain = true;
    enum rh_status status = rh_vault_call_target(call, ctx->err, "%s", "");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(mount->path), ctx->err);
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "%s%s", mount->version == 2 ? "/metadata/" : "/", "");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(mount->folder), ctx->err);
    if (!status && *mount->folder)
        status = rh_vault_call_target(call, ctx->err, "/");
    if (!status)
        status = rh_vault_call_path(call, folder, ctx->err);
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "?list=true");
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "listing the keys");
    if (status == RH_NOT_FOUND && !rh_vault_answer_is_empty(&call->answer))
        return kv_mount_wrong(session, call, ctx->err);
    if (status == RH_E_DENIED)
        rh_error_hint(ctx->err, "give the token list on %s%s%s%s", mount->path,
                      mount->version == 2 ? "/metadata/" : "/", mount->folder, *mount->folder ? "/" : "");
    return status;
}

/* What to do about a name that isn't one of a key's. */
static enum rh_status foreign(struct kv_session *session, struct rh_bytes name, struct rh_error *err)
{
    const struct kv_store *store = session->store;
    if (store->skip_others) {
        char text[320];
        rh_log(RH_LOG_WARN, "not a key of a server's, left out", {"name", rh_show(name, text, sizeof text)},
               {"address", store->address});
        return RH_OK;
    }
    rh_fail(err, RH_E_CORRUPT,
            "'%s' in '%s' isn't the name of a key: Percona's servers pass over it, and a key may be lost by it",
            RH_SHOW(name), store->address);
    rh_error_hint(err,
                  "see what it is, and move it elsewhere; or, if it is none of the server's, say others = \"skip\"");
    return RH_E_CORRUPT;
}

/* Appends a key. */
static enum rh_status add(struct kv_listing *listing, struct rh_bytes key, struct rh_bytes name, struct rh_error *err)
{
    if (listing->count == listing->capacity) {
        const size_t capacity = listing->capacity ? listing->capacity * 2 : 256;
        struct kv_named *grown = realloc(listing->entries, capacity * sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        listing->entries = grown;
        listing->capacity = capacity;
    }
    const struct kv_named entry = {rh_arena_copy(&listing->arena, key), rh_arena_copy(&listing->arena, name)};
    if (!entry.key.data || !entry.name.data)
        return rh_fail_memory(err);
    listing->entries[listing->count++] = entry;
    return RH_OK;
}

/* One name of a listing. */
static enum rh_status
take_name(struct kv_session *session, struct kv_listing *listing, struct rh_bytes name, struct rh_error *err)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    if (rh_bytes_equal(name, rh_buf_bytes(&session->store->marker_name)))
        return RH_OK;
    enum rh_status status = kv_name_read(&key, name, err);
    if (status == RH_E_CORRUPT)
        return foreign(session, name, err);
    return status ? status : add(listing, rh_buf_bytes(&key), name, err);
}

/* All names in a folder, and in those inside. */
static enum rh_status list_folder(
    struct rh_ctx *ctx, struct kv_session *session, struct kv_listing *listing, struct rh_bytes folder, unsigned depth)
{
    struct rh_vault_call call = {.method = "GET"};
    enum rh_status status = ask(ctx, session, &call, folder);
    for (size_t i = 0; !status && i < call.answer.count; i++) {
        const struct rh_vault_value *value = &call.answer.values[i];
        rh_auto_buf struct rh_buf name = RH_BUF_INIT;
        if (value->kind != RH_JSON_TEXT || strcmp(value->path, "data.keys[]") != 0)
            continue;
        status = rh_buf_add(&name, folder.data, folder.size, ctx->err);
        if (!status)
            status = rh_buf_add(&name, value->text.data, value->text.size, ctx->err);
        if (status)
            break;
        const bool inside = value->text.size && value->text.data[value->text.size - 1] == '/';
        if (inside && depth + 1 < KV_DEPTH_MOST) {
            status = list_folder(ctx, session, listing, rh_buf_bytes(&name), depth + 1);
            if (status == RH_E_DENIED && session->store->skip_others)
                status = foreign(session, rh_buf_bytes(&name), ctx->err);
        } else
            status = inside ? foreign(session, rh_buf_bytes(&name), ctx->err)
                            : take_name(session, listing, rh_buf_bytes(&name), ctx->err);
    }
    if (!status && !rh_vault_answer_find(&call.answer, "data.keys"))
        status = rh_fail(ctx->err, RH_E_CORRUPT, "listing the keys of '%s' failed: the answer holds no names",
                         session->store->address);
    rh_vault_call_done(session->client, &call);
    return status == RH_NOT_FOUND ? RH_OK : status;
}

static int by_key(const void *a, const void *b)
{
    return rh_bytes_compare(((const struct kv_named *)a)->key, ((const struct kv_named *)b)->key);
}

enum rh_status kv_listing_get(struct rh_ctx *ctx, struct kv_session *session, struct kv_listing *listing)
{
    *listing = (struct kv_listing){0};
    enum rh_status status = list_folder(ctx, session, listing, (struct rh_bytes){0}, 0);
    if (status) {
        kv_listing_done(listing);
        return status;
    }
    if (listing->count)
        qsort(listing->entries, listing->count, sizeof *listing->entries, by_key);
    return RH_OK;
}

size_t kv_listing_from(const struct kv_listing *listing, struct rh_bytes key)
{
    size_t low = 0, high = listing->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (rh_bytes_compare(listing->entries[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void kv_listing_done(struct kv_listing *listing)
{
    rh_arena_done(&listing->arena);
    free(listing->entries);
    *listing = (struct kv_listing){0};
}
