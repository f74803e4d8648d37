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
    if (status == RH_OK)
        *ret_store = &store->base;
    return status;
}

const struct rh_driver rh_driver_component_keyring_file = {
    .name = "component_keyring_file",
    .summary = "the keystore of MySQL's component_keyring_file, 8.0.24 and later",
    .options = options,
    .open = component_open,
    KEYRING_DRIVER,
};
