/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers that the contract suite runs against. A server's driver takes its options from an environment variable,
 * RH_TEST_NAME_OPTIONS="name=value;name=value", set by whoever started the server (tests/servers); without it the
 * target is skipped.
 */
#include "contract.h"

#include "../../src/stores/archive/archive.h"
#include "../../src/stores/file/file.h"
#include "../../src/stores/memory/memory.h"

#include <rehome/seal.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

/* Options of one table from pairs, ended by NULL. */
static enum rh_status
make(const struct rh_option *table, const char *const *pairs, struct rh_options **ret_options, struct rh_error *err)
{
    struct rh_options *options = NULL;
    enum rh_status status = rh_options_new(table, "", &options, err);
    for (; status == RH_OK && pairs[0]; pairs += 2)
        status = rh_options_set(options, pairs[0], rh_bytes_text(pairs[1]), "", err);
    if (status == RH_OK)
        status = rh_options_end(options, err);
    if (status != RH_OK)
        rh_options_free(options);
    else
        *ret_options = options;
    return status;
}

static enum rh_status memory_options(struct rh_options **ret_options, struct rh_error *err)
{
    return make(rh_memory_driver.options, (const char *[]){"name", "contract", NULL}, ret_options, err);
}

static enum rh_status file_options_at(const char *end, struct rh_options **ret_options, struct rh_error *err)
{
    char path[128];
    if (!folder[0]) {
        snprintf(folder, sizeof(folder), "/tmp/rehome-contract-XXXXXX");
        if (!mkdtemp(folder))
            return rh_fail_errno(err, 1, "make a folder");
    }
    snprintf(path, sizeof(path), "%s/%s", folder, end);
    return make(rh_file_driver.options, (const char *[]){"path", path, NULL}, ret_options, err);
}

static enum rh_status file_options(struct rh_options **ret_options, struct rh_error *err)
{
    return file_options_at("store", ret_options, err);
}

static enum rh_status file_other_spelling(struct rh_options **ret_options, struct rh_error *err)
{
    return file_options_at("./store/../store//", ret_options, err);
}

static enum rh_status archive_options_at(const char *end, struct rh_options **ret_options, struct rh_error *err)
{
    char path[128], key[128];
    struct rh_key_provider *provider = NULL;
    enum rh_status status = file_options_at("store", ret_options, err); /* makes the folder */
    if (status != RH_OK)
        return status;
    rh_options_free(*ret_options);
    *ret_options = NULL;
    snprintf(path, sizeof(path), "%s/%s", folder, end);
    snprintf(key, sizeof(key), "%s/key", folder);
    status = rh_key_provider_file_make(key, &provider, err);
    rh_key_provider_free(provider);
    return status == RH_OK ? make(rh_archive_driver.options, (const char *[]){"path", path, "key_file", key, NULL},
                                  ret_options, err)
                           : status;
}

static enum rh_status archive_options(struct rh_options **ret_options, struct rh_error *err)
{
    return archive_options_at("the.archive", ret_options, err);
}

static enum rh_status archive_other_spelling(struct rh_options **ret_options, struct rh_error *err)
{
    return archive_options_at(".//./the.archive", ret_options, err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void file_done(void)
{
    if (folder[0])
        nftw(folder, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    folder[0] = '\0';
}

/* "name=value;name=value" of a variable. */
static enum rh_status options_from_env(const char *variable,
                                       const struct rh_option *table,
                                       struct rh_options **ret_options,
                                       struct rh_error *err)
{
    const char *given = getenv(variable);
    rh_auto_free char *text = given ? strdup(given) : NULL;
    const char *pairs[65] = {NULL};
    char *state = NULL;
    size_t count = 0;
    if (!text)
        return RH_UNSUPPORTED;
    for (char *pair = strtok_r(text, ";", &state); pair && count < 64; pair = strtok_r(NULL, ";", &state)) {
        char *value = strchr(pair, '=');
        if (!value)
            return rh_fail(err, RH_E_USAGE, "%s: '%s' has no '='", variable, pair);
        *value = '\0';
        pairs[count++] = pair;
        pairs[count++] = value + 1;
    }
    return make(table, pairs, ret_options, err);
}

static const struct contract_target memory_target = {
    .name = "memory", .driver = &rh_memory_driver, .make_options = memory_options};
static const struct contract_target archive_target = {.name = "archive",
                                                      .driver = &rh_archive_driver,
                                                      .make_options = archive_options,
                                                      .make_other_spelling = archive_other_spelling,
                                                      .done = file_done};
static const struct contract_target file_target = {.name = "file",
                                                   .driver = &rh_file_driver,
                                                   .make_options = file_options,
                                                   .make_other_spelling = file_other_spelling,
                                                   .done = file_done};

/* --- servers --- */

#include "../../src/stores/mysql/driver.h"

static enum rh_status mysql_options(struct rh_options **ret_options, struct rh_error *err)
{
    return options_from_env("RH_TEST_MYSQL_OPTIONS", rh_driver_mysql.options, ret_options, err);
}

static const struct contract_target mysql_target = {
    .name = "mysql", .driver = &rh_driver_mysql, .make_options = mysql_options};

#include "../../src/stores/postgresql/driver.h"

static enum rh_status postgresql_options(struct rh_options **ret_options, struct rh_error *err)
{
    return options_from_env("RH_TEST_POSTGRESQL_OPTIONS", rh_driver_postgresql.options, ret_options, err);
}

static enum rh_status postgresql_other_spelling(struct rh_options **ret_options, struct rh_error *err)
{
    return options_from_env("RH_TEST_POSTGRESQL_OTHER", rh_driver_postgresql.options, ret_options, err);
}

static const struct contract_target postgresql_target = {.name = "postgresql",
                                                         .driver = &rh_driver_postgresql,
                                                         .make_options = postgresql_options,
                                                         .make_other_spelling = postgresql_other_spelling};

#include "../../src/stores/consul/driver.h"

static enum rh_status consul_options(struct rh_options **ret_options, struct rh_error *err)
{
    return options_from_env("RH_TEST_CONSUL_OPTIONS", rh_driver_consul.options, ret_options, err);
}

/* The same agent by its other name and port, another token, another spelling of the path. */
static enum rh_status consul_other_spelling(struct rh_options **ret_options, struct rh_error *err)
{
    return options_from_env("RH_TEST_CONSUL_OTHER_OPTIONS", rh_driver_consul.options, ret_options, err);
}

static const struct contract_target consul_target = {.name = "consul",
                                                     .driver = &rh_driver_consul,
                                                     .make_options = consul_options,
                                                     .make_other_spelling = consul_other_spelling};

const struct contract_target *const contract_targets[] = {
    &memory_target, &archive_target, &file_target, &mysql_target, &postgresql_target, &consul_target, NULL};
