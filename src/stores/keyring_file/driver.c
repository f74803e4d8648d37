/* SPDX-License-Identifier: Apache-2.0 */
/* The `keyring_file` driver: its options. Everything else is the keyring drivers' common part. */
#include "driver.h"

#include "pods.h"

static const char *const versions[] = {"1.0", "2.0", NULL};

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "FILE",
     .help = "the keystore's file, a server's keyring_file_data"},
    {.name = "version",
     .type = RH_OPT_CHOICE,
     .initial = "2.0",
     .choices = versions,
     .value_name = "VERSION",
     .help = "format of a destination that isn't there yet; 1.0 is for MySQL 5.7"},
    {.name = NULL},
};

static enum rh_status plugin_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct keyring_store *store = NULL;
    char *path = NULL;
    enum rh_status status =
        keyring_path(rh_options_text(args->options, "path"), rh_options_place(args->options, "path"), &path, ctx->err);
    if (status == RH_OK)
        status = keyring_store_new(&rh_driver_keyring_file, &plugin_format, args->side, path, &store, ctx->err);
    if (status != RH_OK)
        return status;
    store->fresh.version = rh_options_text(args->options, "version")[0] == '1' ? 1 : 2;
    store->fresh.architecture = PLUGIN_LE64;
    *ret_store = &store->base;
    return RH_OK;
}

/* Two lines of the server's option file. */
static enum rh_status
plugin_settings(const struct rh_store *store, rh_setting_add *add, void *user, struct rh_error *err)
{
    static const char where[] = "my.cnf, group [mysqld] (MySQL 5.7.11 to 8.3; later ones have no such plugin)";
    const struct rh_setting load = {.where = where, .text = "early-plugin-load=keyring_file.so"};
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status =
        rh_buf_format(&text, err, "keyring_file_data=%s", ((const struct keyring_store *)store)->path);
    if (status == RH_OK)
        status = add(user, &load, err);
    const struct rh_setting data = {.where = where, .text = rh_buf_cstr(&text)};
    return status == RH_OK ? add(user, &data, err) : status;
}

const struct rh_driver rh_driver_keyring_file = {
    .name = "keyring_file",
    .summary = "the keystore of MySQL's plugin keyring_file, 5.7.11 to 8.3",
    .options = options,
    .open = plugin_open,
    .settings = plugin_settings,
    .recognises = plugin_begins,
    KEYRING_DRIVER,
};
