/* SPDX-License-Identifier: Apache-2.0 */
/* The `mariadb_key_vault` driver: its options, and what a server is told. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static const struct rh_option options[] = {
    {.name = "vault_url",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_REQUIRED,
     .value_name = "URL",
     .help = "https://HOST:8200/v1/MOUNT, a server's hashicorp_key_management_vault_url"},
    RH_ROWS_VAULT_ACCESS,
    MARIADB_NAME_OPTIONS,
    MKV_CIPHER_OPTIONS,
    {.name = NULL},
};

/* Whether a mount's path can stand in a request as it is, and in the server's option. */
static bool is_mount(const char *mount)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
    return *mount && strspn(mount, plain) == strlen(mount) && !strstr(mount, "//") && strlen(mount) <= MKV_MOUNT_MOST;
}

/* "https://vault:8200/v1/mdb/" in its parts: *ret_base, *ret_mount; malloc'd. The plugin wants /v1 right behind the
 * host, too. */
static enum rh_status
split_url(const struct rh_options *values, char **ret_base, char **ret_mount, struct rh_error *err)
{
    const char *url = rh_options_text(values, "vault_url"), *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    rh_auto_free char *mount = NULL, *base = NULL;
    if (path && strncmp(path, "/v1/", 4) == 0) {
        const char *from = path + 4;
        size_t size = strlen(from);
        while (size && from[size - 1] == '/')
            size--;
        mount = strndup(from, size);
        base = strndup(url, (size_t)(path - url));
        if (!mount || !base)
            return rh_fail_memory(err);
    }
    if (!mount || !is_mount(mount)) {
        rh_fail(err, RH_E_PLAN, "%s'%s' isn't the URL of a mount", RH_PLACE(values, "vault_url"),
                RH_SHOW(rh_bytes_text(url)));
        rh_error_hint(err,
                      "it is what the server has as hashicorp_key_management_vault_url: https://HOST:8200/v1/MOUNT");
        return RH_E_PLAN;
    }
    *ret_base = rh_take(base);
    *ret_mount = rh_take(mount);
    return RH_OK;
}

static void mkv_close(struct rh_store *base)
{
    struct mkv_store *store = (struct mkv_store *)base;
    if (!store)
        return;
    rh_vault_free(store->vault);
    mariadb_names_free(store->names);
    mariadb_samples_done(&store->samples);
    free(store->url);
    free(store->mount);
    free(store->ca_file);
    free(store);
}

/* The store's parts from the options. */
static enum rh_status take_options(struct mkv_store *store, const struct rh_options *values, struct rh_error *err)
{
    rh_auto_free char *base = NULL;
    const struct rh_options *tls = rh_options_block(values, "tls");
    enum rh_status status = split_url(values, &base, &store->mount, err);
    if (status == RH_OK && store->side == RH_SIDE_DESTINATION)
        status = mkv_cipher_check(values, &store->samples, err);
    if (status == RH_OK && asprintf(&store->url, "%s/v1/%s", base, store->mount) < 0) {
        store->url = NULL;
        status = rh_fail_memory(err);
    }
    if (status == RH_OK)
        status = rh_dup_text(tls ? rh_options_text(tls, "ca_file") : NULL, &store->ca_file, err);
    if (status == RH_OK)
        status = mariadb_names_new(values, &store->names, err);
    return status == RH_OK ? rh_vault_new(values, base, NULL, &store->vault, err) : status;
}

static enum rh_status mkv_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct mkv_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    store->base.driver = &rh_driver_mariadb_key_vault;
    store->side = args->side;
    enum rh_status status = take_options(store, args->options, ctx->err);
    if (status != RH_OK) {
        mkv_close(&store->base);
        return status;
    }
    *ret_store = &store->base;
    return RH_OK;
}

static enum rh_status mkv_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place)
{
    return rh_buf_text(ret_place, ((const struct mkv_store *)base)->url, ctx->err);
}

/* One line of the server's option file. */
static enum rh_status
add_line(rh_setting_add *add, void *user, const char *name, const char *value, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&text, err, "%s=%s", name, value);
    const struct rh_setting setting = {.where = "my.cnf, group [mariadbd]", .text = rh_buf_cstr(&text)};
    return status == RH_OK ? add(user, &setting, err) : status;
}

/* The lines of the server's option file. The token that the server needs is another one than ours. Of namespaces the
 * plugin knows nothing: theirs goes into the URL, and the look at the mount, which it would ask elsewhere, is left out.
 */
static enum rh_status mkv_settings(const struct rh_store *base, rh_setting_add *add, void *user, struct rh_error *err)
{
    const struct mkv_store *store = (const struct mkv_store *)base;
    const char *space = rh_vault_namespace(store->vault);
    const size_t host = strlen(store->url) - strlen(store->mount);
    rh_auto_buf struct rh_buf url = RH_BUF_INIT, token = RH_BUF_INIT;
    enum rh_status status =
        rh_buf_format(&url, err, "%.*s%s%s%s", (int)host, store->url, space, *space ? "/" : "", store->mount);
    if (status == RH_OK)
        status = rh_buf_format(&token, err, "(one that may read %s/data/* and sys/mounts/%s/tune)", store->mount,
                               store->mount);
    if (status == RH_OK)
        status = add_line(add, user, "plugin_load_add", "hashicorp_key_management", err);
    if (status == RH_OK)
        status = add_line(add, user, "hashicorp_key_management_vault_url", rh_buf_cstr(&url), err);
    if (status == RH_OK)
        status = add_line(add, user, "hashicorp_key_management_token", rh_buf_cstr(&token), err);
    if (status == RH_OK && store->ca_file)
        status = add_line(add, user, "hashicorp_key_management_vault_ca", store->ca_file, err);
    if (status == RH_OK && *space)
        status = add_line(add, user, "hashicorp_key_management_check_kv_version", "OFF", err);
    return status;
}

const struct rh_driver rh_driver_mariadb_key_vault = {
    .name = "mariadb_key_vault",
    .summary = "the keys of MariaDB's plugin hashicorp_key_management, in a KV engine of version 2",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KEYRING,
    .record_class = RH_RECORDS_SECRET,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = options,
    .open = mkv_open,
    .close = mkv_close,
    .session_open = mkv_session_open,
    .session_close = mkv_session_close,
    .cancel = mkv_cancel,
    .facts = mkv_facts,
    .locate = mkv_locate,
    .read = &mkv_read_ops,
    .write = &mkv_write_ops,
    .guard = &mkv_guard_ops,
    .settings = mkv_settings,
};
