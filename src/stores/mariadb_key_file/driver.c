/* SPDX-License-Identifier: Apache-2.0 */
/* The `mariadb_key_file` driver: its options. Everything else is the keyring drivers' common part. */
#include "driver.h"

#include "text.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const digests[] = {"sha1", "sha224", "sha256", "sha384", "sha512", NULL};

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "FILE",
     .help = "the key file, a server's file_key_management_filename"},
    {.name = "filekey",
     .type = RH_OPT_SECRET,
     .is_secret = cipher_filekey_is_secret,
     .value_name = "SECRET|FILE:PATH",
     .help = "with what it is encrypted, a server's file_key_management_filekey"},
    {.name = "digest",
     .type = RH_OPT_CHOICE,
     .initial = "sha1",
     .choices = digests,
     .value_name = "DIGEST",
     .help = "how filekey makes the key, a server's file_key_management_digest"},
    {.name = "use_pbkdf2",
     .type = RH_OPT_INT,
     .initial = "0",
     .max = 100000000,
     .value_name = "N",
     .help = "rounds of PBKDF2, a server's file_key_management_use_pbkdf2; 0: without"},
    MARIADB_NAME_OPTIONS,
    MARIADB_DATADIR_OPTION,
    {.name = NULL                          },
};

/* The driver's own part, from the options. */
static enum rh_status
take_own(const struct rh_options *values, enum rh_side side, struct mariadb_file **ret_own, struct rh_error *err)
{
    struct mariadb_file *own = calloc(1, sizeof *own);
    if (!own)
        return rh_fail_memory(err);
    own->cipher.digest = rh_options_text(values, "digest");
    for (const char *const *digest = digests; *digest; digest++)
        if (strcmp(*digest, own->cipher.digest) == 0)
            own->cipher.digest = *digest; /* which outlives the options */
    own->cipher.iterations = rh_options_int(values, "use_pbkdf2");
    enum rh_status status = mariadb_names_new(values, &own->names, err);
    if (status == RH_OK)
        status = cipher_filekey(values, &own->cipher.filekey, err);
    const char *datadir = side == RH_SIDE_DESTINATION ? rh_options_text(values, "server_datadir") : NULL;
    if (status == RH_OK && datadir)
        status = mariadb_samples_take(&own->samples, datadir, err);
    const struct rh_secret *given = rh_options_secret(values, "filekey");
    if (status == RH_OK && given && !cipher_filekey_is_secret(rh_secret_bytes(given))) {
        own->filekey_path = strdup((const char *)rh_secret_bytes(given).data);
        if (!own->filekey_path)
            status = rh_fail_memory(err);
    }
    if (status == RH_OK)
        *ret_own = own;
    else
        mariadb_file_free(own);
    return status;
}

static enum rh_status mariadb_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct keyring_store *store = NULL;
    struct mariadb_file *own = NULL;
    char *path = NULL;
    enum rh_status status = take_own(args->options, args->side, &own, ctx->err);
    if (status == RH_OK)
        status = keyring_path(rh_options_text(args->options, "path"), rh_options_place(args->options, "path"), &path,
                              ctx->err);
    if (status == RH_OK)
        status = keyring_store_new(&rh_driver_mariadb_key_file,
                                   own->cipher.filekey ? &mariadb_file_encrypted : &mariadb_file_clear, args->side,
                                   path, &store, ctx->err);
    if (status != RH_OK) {
        mariadb_file_free(own);
        return status;
    }
    store->own = own;
    store->own_free = mariadb_file_free;
    *ret_store = &store->base;
    return RH_OK;
}

/* One line of the server's option file: NAME=VALUE. */
static enum rh_status
add_line(rh_setting_add *add, void *user, const char *name, const char *value, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&text, err, "%s=%s", name, value);
    const struct rh_setting setting = {.where = "my.cnf, group [mariadbd]", .text = rh_buf_cstr(&text)};
    return status == RH_OK ? add(user, &setting, err) : status;
}

/* The lines of the server's option file. A filekey itself isn't shown. */
static enum rh_status
mariadb_settings(const struct rh_store *base, rh_setting_add *add, void *user, struct rh_error *err)
{
    const struct keyring_store *store = (const struct keyring_store *)base;
    const struct mariadb_file *own = store->own;
    char iterations[24];
    snprintf(iterations, sizeof iterations, "%lld", (long long)own->cipher.iterations);
    enum rh_status status = add_line(add, user, "plugin_load_add", "file_key_management", err);
    if (status == RH_OK)
        status = add_line(add, user, "file_key_management_filename", store->path, err);
    if (status == RH_OK && own->cipher.filekey)
        status = add_line(add, user, "file_key_management_filekey",
                          own->filekey_path ? own->filekey_path : "(the filekey, as the plan has it)", err);
    if (status == RH_OK && own->cipher.filekey && strcmp(own->cipher.digest, digests[0]) != 0)
        status = add_line(add, user, "file_key_management_digest", own->cipher.digest, err);
    if (status == RH_OK && own->cipher.filekey && own->cipher.iterations)
        status = add_line(add, user, "file_key_management_use_pbkdf2", iterations, err);
    return status;
}

const struct rh_driver rh_driver_mariadb_key_file = {
    .name = "mariadb_key_file",
    .summary = "the key file of MariaDB's plugin file_key_management",
    .options = options,
    .open = mariadb_open,
    .settings = mariadb_settings,
    .recognises = mariadb_file_begins,
    KEYRING_DRIVER,
};
