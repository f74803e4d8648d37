/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring_vault store's options, its life, and its sessions. */
#include "internal.h"

#include "config.h"
#include "driver.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>

const struct rh_option kv_options[] = {
    {.name = "config",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "the server's own configuration: keyring_vault_config or component_keyring_vault.cnf"},
    {.name = "instance_dir",
     .type = RH_OPT_PATH,
     .value_name = "DIR",
     .help = "the server's datadir, for a configuration that sends there"},
    {.name = "vault_url",                                                                    .type = RH_OPT_TEXT, .value_name = "URL", .help = "address, https://vault.example:8200"},
    {.name = "secret_mount_point",
     .type = RH_OPT_TEXT,
     .value_name = "PATH",
     .help = "where the keys are: the mount, and a folder in it"},
    {.name = "secret_mount_point_version",
     .type = RH_OPT_CHOICE,
     .choices = (const char *const[]){"auto", "AUTO", "1", "2", NULL},
     .value_name = "VERSION",
     .help = "version of the KV engine; auto, as without it: the server is asked"},
    RH_ROWS_VAULT_ACCESS,
    {.name = "others",
     .type = RH_OPT_CHOICE,
     .initial = "fail",
     .choices = (const char *const[]){"fail", "skip", NULL},
     .value_name = "WORD",
     .help = "what to do about secrets there that aren't keys of a server; skip: name each and leave it"},
    {0                                                },
};

/* The path without slashes around it. */
static enum rh_status take_point(struct kv_store *store,
                                 const struct rh_options *options,
                                 const struct kv_config *config,
                                 struct rh_error *err)
{
    const char *given = rh_options_text(options, "secret_mount_point");
    const char *point = given ? given : config->mount, *why = NULL;
    if (!point) {
        rh_fail(err, RH_E_PLAN, "%sthe place of the keys is missing: secret_mount_point", RH_PLACE(options, NULL));
        rh_error_hint(err, "give it, or config = \"FILE\" with the server's own configuration");
        return RH_E_PLAN;
    }
    while (*point == '/')
        point++;
    size_t size = strlen(point);
    while (size && point[size - 1] == '/')
        size--;
    for (const char *at = point; !why && at < point + size;) {
        const size_t part = strcspn(at, "/");
        if (!part || (part <= 2 && strspn(at, ".") >= part))
            why = "holds a part that is empty, '.' or '..'";
        at += part + 1;
    }
    for (size_t i = 0; !why && i < size; i++)
        if ((unsigned char)point[i] < 0x20 || point[i] == 0x7f)
            why = "holds a control character";
    if (!size || size > 512)
        why = size ? "is too long" : "names no place";
    if (why)
        return rh_fail(err, RH_E_PLAN, "%ssecret_mount_point '%s' %s", RH_PLACE(options, "secret_mount_point"),
                       RH_SHOW(rh_bytes_text(point)), why);
    store->point = strndup(point, size);
    return store->point ? RH_OK : rh_fail_memory(err);
}

/* The engine's version; 0: to be asked for. */
static enum rh_status take_version(struct kv_store *store,
                                   const struct rh_options *options,
                                   const struct kv_config *config,
                                   struct rh_error *err)
{
    const char *given = rh_options_text(options, "secret_mount_point_version");
    const char *version = given ? given : config->version ? config->version : "AUTO";
    if (strcmp(version, "1") == 0 || strcmp(version, "2") == 0)
        store->version = (unsigned)(version[0] - '0');
    else if (strcasecmp(version, "AUTO") != 0)
        return rh_fail(err, RH_E_PLAN, "secret_mount_point_version is '%s', which is none of 1, 2, AUTO",
                       RH_SHOW(rh_bytes_text(version)));
    return RH_OK;
}

/* Everything that the options and the server's configuration say. */
static enum rh_status take_options(struct kv_store *store, const struct rh_options *options, struct rh_error *err)
{
    kv_auto_config struct kv_config config = {NULL, NULL, NULL, NULL, NULL, NULL, false};
    const char *file = rh_options_text(options, "config");
    enum rh_status status = file ? kv_config_read(file, rh_options_text(options, "instance_dir"), &config, err) : RH_OK;
    const struct rh_vault_config said = {
        .url = config.url, .ca_file = config.ca_file, .name_space = config.name_space, .token = config.token};
    if (!status)
        status = rh_vault_new(options, rh_options_text(options, "vault_url"), &said, &store->vault, err);
    if (!status)
        status = take_point(store, options, &config, err);
    if (!status)
        status = take_version(store, options, &config, err);
    store->skip_others = strcmp(rh_options_text(options, "others"), "skip") == 0;
    return status;
}

enum rh_status kv_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct kv_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    store->base.driver = &rh_driver_keyring_vault;
    store->side = args->side;
    pthread_mutex_init(&store->lock, NULL);
    enum rh_status status = take_options(store, args->options, ctx->err);
    if (!status)
        status = kv_name_add(&store->marker_name, (struct rh_bytes){0}, rh_bytes_text(KV_MARKER_ID), ctx->err);
    if (status) {
        kv_store_close(&store->base);
        return status;
    }
    const char *space = rh_vault_namespace(store->vault);
    (void)snprintf(store->address, sizeof store->address, "%s/%s%s%s", rh_vault_url(store->vault), space,
                   *space ? "/" : "", store->point);
    *ret_store = &store->base;
    return RH_OK;
}

void kv_store_close(struct rh_store *base)
{
    struct kv_store *store = (struct kv_store *)base;
    if (!store)
        return;
    rh_vault_free(store->vault);
    rh_buf_done(&store->marker_name);
    free(store->point);
    free(store->mount.path);
    free(store->mount.folder);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

enum rh_status
kv_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct kv_store *store = (struct kv_store *)base;
    struct kv_session *session = calloc(1, sizeof *session);
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = base, .role = role};
    session->store = store;
    session->bodies.secret = true;
    enum rh_status status = rh_vault_client_new(ctx, store->vault, &session->client);
    if (!status)
        status = kv_mount_need(ctx, session);
    if (status)
        kv_session_close(&session->base);
    else
        *ret_session = &session->base;
    return status;
}

void kv_session_close(struct rh_session *base)
{
    struct kv_session *session = (struct kv_session *)base;
    if (!session)
        return;
    for (size_t i = 0; i < RH_VAULT_CALLS; i++)
        rh_vault_call_done(session->client, &session->calls[i]);
    rh_vault_call_done(session->client, &session->other);
    rh_vault_client_free(session->client);
    rh_arena_done(&session->bodies);
    rh_unit_done(&session->unit);
    free(session);
}

void kv_session_cancel(struct rh_session *base)
{
    rh_vault_client_cancel(((struct kv_session *)base)->client);
}
