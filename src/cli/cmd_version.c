/* SPDX-License-Identifier: Apache-2.0 */
/* rehome version: what this program was built from and what it can talk to. */
#include "cli.h"

#include <mysql.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <xxhash.h>

static const struct rh_option options[] = {RH_OPTION_JSON, RH_OPTION_END};

/* "gcc 12.2.0" or "clang 14.0.6 ..." */
static const char *compiler(void)
{
#ifdef __clang__
    return __VERSION__;
#else
    return "gcc " __VERSION__;
#endif
}

/* Names and versions of the libraries in use now, not those at build time. */
static json_t *libraries(void)
{
    char xxhash[32];
    unsigned number = XXH_versionNumber();
    snprintf(xxhash, sizeof xxhash, "%u.%u.%u", number / 10000, number / 100 % 100, number % 100);
    json_t *object = json_object();
    json_object_set_new(object, "openssl", json_string(OpenSSL_version(OPENSSL_FULL_VERSION_STRING)));
    json_object_set_new(object, "sqlite", json_string(sqlite3_libversion()));
    json_object_set_new(object, "mariadb-connector", json_string(mysql_get_client_info()));
    json_object_set_new(object, "jansson", json_string(jansson_version_str()));
    json_object_set_new(object, "xxhash", json_string(xxhash));
    return object;
}

/* The drivers with what they say of themselves. */
static json_t *stores(void)
{
    json_t *array = json_array();
    for (const struct rh_driver *const *driver = rh_drivers(); *driver; driver++) {
        json_t *object = json_object();
        json_object_set_new(object, "name", json_string((*driver)->name));
        json_object_set_new(object, "summary", json_string((*driver)->summary));
        json_array_append_new(array, object);
    }
    return array;
}

/* The same for people. */
static void version_print(const json_t *all)
{
    const char *name;
    json_t *value;
    size_t i;
    printf("rehome %s\ncompiler  %s\n", RH_VERSION, compiler());
    json_object_foreach(json_object_get(all, "libraries"), name, value)
        printf("library   %s %s\n", name, json_string_value(value));
    json_array_foreach(json_object_get(all, "stores"), i, value)
        printf("store     %-8s %s\n", json_string_value(json_object_get(value, "name")),
               json_string_value(json_object_get(value, "summary")));
#ifdef RH_TEST_HOOKS
    puts("test hooks are built in: not for use");
#endif
}

/* Prints it all. */
static enum rh_exit version(const struct rh_command *command, const struct rh_options *values)
{
    (void)command;
    json_t *all = json_object();
    json_object_set_new(all, "version", json_string(RH_VERSION));
    json_object_set_new(all, "compiler", json_string(compiler()));
    json_object_set_new(all, "libraries", libraries());
    json_object_set_new(all, "stores", stores());
    if (rh_options_bool(values, "json")) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        version_print(all);
    }
    json_decref(all);
    return RH_EXIT_OK;
}

const struct rh_command rh_cmd_version = {
    .name = "version",
    .summary = "print version, compiler, libraries and stores",
    .usage = "[--json]",
    .detail = "",
    .options = options,
    .run = version,
};
