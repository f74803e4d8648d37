/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which part of secret_mount_point is the mount, and of which version the engine is. The server tells both to whoever
 * has a right there (sys/internal/ui/mounts, what the command line client asks, too); else, as Percona's servers do,
 * each longer part of the path is asked for an engine's configuration, which only version 2 has. What can't be told is
 * an error: a wrong guess would list nothing where there are keys.
 */
#include "internal.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>

/* Takes what was found; `size` bytes of the point are the mount. */
static enum rh_status
set_mount(struct kv_store *store, size_t size, unsigned version, struct rh_bytes unique, struct rh_error *err)
{
    struct kv_mount *mount = &store->mount;
    const size_t all = strlen(store->point);
    const bool whole = version == 1 || size >= all;
    mount->path = whole ? strdup(store->point) : strndup(store->point, size);
    mount->folder = strdup(whole ? "" : store->point + size + 1);
    if (!mount->path || !mount->folder)
        return rh_fail_memory(err);
    mount->version = version;
    (void)snprintf(mount->unique, sizeof mount->unique, "%.*s", (int)(unique.size < 60 ? unique.size : 60),
                   unique.data ? (const char *)unique.data : "");
    mount->found = true;
    return RH_OK;
}

/* What the server says of the mount: RH_NOT_FOUND when it doesn't say. */
static enum rh_status ask_server(struct rh_ctx *ctx, struct kv_session *session)
{
    struct kv_store *store = session->store;
    struct rh_vault_call *call = &session->other;
    rh_vault_call_begin(call, "GET");
    enum rh_status status = rh_vault_call_target(call, ctx->err, "sys/internal/ui/mounts/");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes_text(store->point), ctx->err);
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "asking for the mount");
    if (status == RH_E_DENIED || (rh_failed(status) && call->http.status == 400))
        return RH_NOT_FOUND;
    if (status)
        return status;
    struct rh_bytes path = rh_vault_answer_text(&call->answer, "data.path");
    const struct rh_bytes type = rh_vault_answer_text(&call->answer, "data.type"),
                          version = rh_vault_answer_text(&call->answer, "data.options.version");
    while (path.size && path.data[path.size - 1] == '/')
        path.size--;
    if (!path.size || path.size > strlen(store->point) || memcmp(path.data, store->point, path.size) != 0 ||
        (store->point[path.size] && store->point[path.size] != '/'))
        return RH_NOT_FOUND;
    if (!rh_bytes_equal(type, rh_bytes_text("kv")) && !rh_bytes_equal(type, rh_bytes_text("generic")))
        return rh_fail(ctx->err, RH_E_REFUSED, "'%s' of '%s' is an engine of type '%s', not KV", RH_SHOW(path),
                       RH_SHOW(rh_bytes_text(rh_vault_url(store->vault))), RH_SHOW(type));
    const unsigned found = rh_bytes_equal(version, rh_bytes_text("2")) ? 2 : 1;
    if (store->version && store->version != found)
        return rh_fail(ctx->err, RH_E_REFUSED,
                       "secret_mount_point_version says %u, but '%s' is a KV engine of version %u", store->version,
                       RH_SHOW(path), found);
    return set_mount(store, path.size, found, rh_vault_answer_text(&call->answer, "data.uuid"), ctx->err);
}

/* Whether the first `size` bytes of the point are a mount of version 2; *ret_hidden: that isn't told. */
static enum rh_status
ask_config(struct rh_ctx *ctx, struct kv_session *session, size_t size, bool *ret_is, bool *ret_hidden)
{
    struct rh_vault_call *call = &session->other;
    uint64_t number = 0;
    *ret_is = false;
    rh_vault_call_begin(call, "GET");
    enum rh_status status = rh_vault_call_target(call, ctx->err, "%s", "");
    if (!status)
        status = rh_vault_call_path(call, rh_bytes(session->store->point, size), ctx->err);
    if (!status)
        status = rh_vault_call_target(call, ctx->err, "/config");
    if (!status)
        status = rh_vault_ask(ctx, session->client, call, "asking for the engine's configuration");
    if (status == RH_E_DENIED)
        *ret_hidden = true;
    if (status == RH_NOT_FOUND || status == RH_E_DENIED || (rh_failed(status) && call->http.status == 405))
        return RH_OK;
    *ret_is = !status && rh_vault_answer_number(&call->answer, "data.max_versions", &number) &&
              rh_vault_answer_find(&call->answer, "data.cas_required");
    return status;
}

/* Each longer part of the path. */
static enum rh_status probe(struct rh_ctx *ctx, struct kv_session *session)
{
    struct kv_store *store = session->store;
    bool hidden = false;
    if (store->version == 1)
        return set_mount(store, 0, 1, (struct rh_bytes){0}, ctx->err);
    for (size_t size = strcspn(store->point, "/");;) {
        bool is = false;
        enum rh_status status = ask_config(ctx, session, size, &is, &hidden);
        if (status)
            return status;
        if (is)
            return set_mount(store, size, 2, (struct rh_bytes){0}, ctx->err);
        if (!store->point[size])
            break;
        size += 1 + strcspn(store->point + size + 1, "/");
    }
    if (!hidden && store->version != 2)
        return set_mount(store, 0, 1, (struct rh_bytes){0}, ctx->err);
    rh_fail(ctx->err, hidden ? RH_E_DENIED : RH_E_REFUSED, "%s '%s' at '%s' %s",
            hidden ? "which part of" : "no part of", RH_SHOW(rh_bytes_text(store->point)),
            RH_SHOW(rh_bytes_text(rh_vault_url(store->vault))),
            hidden ? "is the mount, and of which version, isn't told to this token" : "is a KV engine of version 2");
    rh_error_hint(ctx->err, hidden ? "give the token read on MOUNT/config (Percona's servers need it, too), or, for an "
                                     "engine of version 1, say secret_mount_point_version = \"1\""
                                   : "check secret_mount_point and secret_mount_point_version");
    return ctx->err->status;
}

enum rh_status kv_mount_need(struct rh_ctx *ctx, struct kv_session *session)
{
    struct kv_store *store = session->store;
    pthread_mutex_lock(&store->lock);
    enum rh_status status = RH_OK;
    if (!store->mount.found) {
        status = ask_server(ctx, session);
        if (status == RH_NOT_FOUND)
            status = probe(ctx, session);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum rh_status kv_mount_wrong(struct kv_session *session, const struct rh_vault_call *call, struct rh_error *err)
{
    const struct kv_store *store = session->store;
    const struct rh_bytes error = rh_vault_answer_text(&call->answer, "errors[]"),
                          warning = rh_vault_answer_text(&call->answer, "warnings[]");
    const bool versioned = warning.data != NULL;
    rh_fail(err, RH_E_REFUSED, "'%s' isn't a KV engine of version %u: %s", store->address, store->mount.version,
            versioned    ? RH_SHOW(warning)
            : error.data ? RH_SHOW(error)
                         : "the answer makes no sense");
    rh_error_hint(err, versioned ? "say secret_mount_point_version = \"2\"" : "check secret_mount_point");
    return RH_E_REFUSED;
}
