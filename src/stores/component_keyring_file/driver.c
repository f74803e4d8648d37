/* SPDX-License-Identifier: Apache-2.0 */
/* The `component_keyring_file` driver: its options. Everything else is the keyring drivers' common part. */
#include "driver.h"

#include "config.h"
#include "json.h"

#include <stdlib.h>

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "the keystore's file; else it is found by component_dir"},
    {.name = "component_dir",
     .type = RH_OPT_PATH,
     .value_name = "DIR",
     .help = "folder with component_keyring_file.cnf, a server's plugin_dir"},
    {.name = "instance_dir",
     .type = RH_OPT_PATH,
     .value_name = "DIR",
     .help = "the server's datadir, for a configuration or manifest that sends there"},
    {.name = "manifest",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "the server's manifest (mysqld.my), which must load the component"},
    {.name = NULL},
};

/* The path, by exactly one of the ways to give it. malloc'd, absolute. */
static enum rh_status find_path(const struct rh_options *values, char **ret_path, struct rh_error *err)
{
    const char *path = rh_options_text(values, "path"), *dir = rh_options_text(values, "component_dir");
    const char *instance = rh_options_text(values, "instance_dir");
    const char *manifest = rh_options_text(values, "manifest");
    if (!path == !dir)
        return rh_fail(err, RH_E_PLAN, "%s: component_keyring_file takes exactly one of 'path' and 'component_dir'",
                       rh_options_place(values, NULL));
    enum rh_status status = manifest ? component_manifest_check(manifest, instance, err) : RH_OK;
    if (status != RH_OK)
        return status;
    return path ? keyring_path(path, rh_options_place(values, "path"), ret_path, err)
                : component_config_path(dir, instance, ret_path, err);
}

static enum rh_status component_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct keyring_store *store = NULL;
    char *path = NULL;
    enum rh_status status = find_path(args->options, &path, ctx->err);
    if (status == RH_OK)
        status = keyring_store_new(&rh_driver_component_keyring_file, &component_keyring_format, args->side, path,
                                   &store, ctx->err);
    if (status != RH_OK)
        return status;
    store->by_configuration = rh_options_text(args->options, "component_dir") != NULL;
    *ret_store = &store->base;
    return RH_OK;
}

/* A path as a JSON string; bytes from 0x80 up stand as they are, as the server reads them. */
static enum rh_status add_json_text(struct rh_buf *out, const char *text, struct rh_error *err)
{
    enum rh_status status = rh_buf_u8(out, '"', err);
    for (; status == RH_OK && *text; text++) {
        if (*text == '"' || *text == '\\')
            status = rh_buf_format(out, err, "\\%c", *text);
        else
            status = (uint8_t)*text < 0x20 ? rh_buf_format(out, err, "\\u%04x", (unsigned)*text)
                                           : rh_buf_u8(out, (uint8_t)*text, err);
    }
    return status == RH_OK ? rh_buf_u8(out, '"', err) : status;
}

/* The manifest that loads the component, and the configuration that names the file. */
static enum rh_status
component_settings(const struct rh_store *store, rh_setting_add *add, void *user, struct rh_error *err)
{
    static const struct rh_setting manifest = {
        .where = "mysqld.my, beside the server's program (or in its data folder, where that file says "
                 "read_local_manifest)",
        .text = "{\"components\": \"file://component_keyring_file\"}",
    };
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_buf_text(&text, "{\"path\": ", err);
    if (status == RH_OK)
        status = add_json_text(&text, ((const struct keyring_store *)store)->path, err);
    if (status == RH_OK)
        status = rh_buf_text(&text, ", \"read_only\": false}", err);
    if (status == RH_OK)
        status = add(user, &manifest, err);
    const struct rh_setting configuration = {
        .where = "component_keyring_file.cnf, in the server's plugin_dir (or in its data folder, where that file says "
                 "read_local_config)",
        .text = rh_buf_cstr(&text),
    };
    return status == RH_OK ? add(user, &configuration, err) : status;
}

const struct rh_driver rh_driver_component_keyring_file = {
    .name = "component_keyring_file",
    .summary = "the keystore of MySQL's component_keyring_file, 8.0.24 and later",
    .options = options,
    .open = component_open,
    .settings = component_settings,
    .recognises = component_keyring_begins,
    KEYRING_DRIVER,
};
