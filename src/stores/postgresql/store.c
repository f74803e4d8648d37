/* SPDX-License-Identifier: Apache-2.0 */
/* A postgresql store's options, in Vault's and OpenBao's names and ours, and its life. */
#include "driver.h"
#include "internal.h"
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const url_env[] = {"VAULT_PG_CONNECTION_URL", "BAO_PG_CONNECTION_URL", NULL};

const struct rh_option pg_options[] = {
    {.name = "connection_url",
     .type = RH_OPT_SECRET,
     .flags = RH_OPT_REQUIRED,
     .env = url_env,
     .value_name = "URL",
     .is_secret = pg_url_holds_password,
     .help = "the server, account and database: postgres://USER@HOST:PORT/DATABASE or host=... user=... dbname=..."},
    RH_ROWS_PASSWORD("the password, unless connection_url holds it; better is password_file"),
    {.name = "table",
     .type = RH_OPT_TEXT,
     .initial = "vault_kv_store",
     .value_name = "NAME",
     .help = "table; OpenBao's default is openbao_kv_store"},
    RH_ROW_TLS(rh_tls_options),
    RH_ROWS_TIMEOUTS("120s", "statement"),
    {.name = "ha_enabled",                                                                                            .type = RH_OPT_BOOL, .help = "make the table of HA locks, too, where it is missing"},
    {.name = "ha_table",
     .type = RH_OPT_TEXT,
     .initial = "vault_ha_locks",
     .value_name = "NAME",
     .help = "table of HA locks, looked at for a live owner; OpenBao's default is openbao_ha_locks"},
    {.name = "skip_create_table",
     .type = RH_OPT_BOOL,
     .help = "refuse a destination without the table instead of making it"},
    RH_ROW_MAX_PARALLEL,
    {.name = "max_idle_connections",                                                                                    .type = RH_OPT_IGNORED, .help = "taken and without meaning here"},
    {.name = "transaction_max_parallel",                                                         .type = RH_OPT_IGNORED, .help = "taken and without meaning here"},
    {.name = "max_connect_retries",                                                                                           .type = RH_OPT_IGNORED, .help = "taken; --retry says how long to be patient"},
    {0                                               },
};

/* --- connection_url --- */

/* Its text: as Vault does, the environment goes before the configuration; in a plan of ours the plan does. */
static enum rh_status read_url(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *from_env = NULL;
    const struct rh_secret *text = rh_options_secret(options, "connection_url");
    for (size_t i = 0; store->vault_config && !from_env && url_env[i]; i++) {
        struct rh_error second = {0};
        enum rh_status status = rh_secret_from_env(url_env[i], &from_env, &second);
        if (rh_failed(status) && status == RH_E_MEMORY)
            return rh_fail_memory(err);
        if (status != RH_OK || !text || rh_bytes_equal_secret(rh_secret_bytes(from_env), rh_secret_bytes(text)))
            continue;
        rh_log(RH_LOG_WARN, "the environment's connection_url goes before the configuration's, as in Vault",
               {"variable", url_env[i]});
        text = from_env;
    }
    if (!text)
        return rh_fail(err, RH_E_PLAN, "%smissing connection_url", RH_PLACE(options, NULL));
    enum rh_status status = pg_url_read(rh_secret_bytes(text), &store->url, err);
    if (status) {
        char place[320];
        return *rh_place(options, "connection_url", place)
                   ? rh_error_prepend(err, "%.*s", (int)strlen(place) - 2, place)
                   : status;
    }
    if (store->url.ignored)
        rh_log(RH_LOG_DEBUG, "parameters of connection_url that only a Go client knows were passed over");
    return RH_OK;
}

/* Sets a parameter from text. */
static enum rh_status set(struct pg_store *store, const char *word, const char *value, struct rh_error *err)
{
    return pg_url_set(&store->url, word, rh_bytes_text(value), err);
}

/* Sets a parameter that connection_url leaves open. */
static enum rh_status set_default(struct pg_store *store, const char *word, const char *value, struct rh_error *err)
{
    return pg_url_get(&store->url, word) ? RH_OK : set(store, word, value, err);
}

/* The password of its own options. */
static enum rh_status add_password(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *password = NULL;
    enum rh_status status = rh_take_password(options, &password, err);
    if (status || !password)
        return status;
    if (pg_url_get(&store->url, "password"))
        return rh_fail(err, RH_E_PLAN, "%sconnection_url holds a password, and another one is given",
                       RH_PLACE(options, "connection_url"));
    return pg_url_set(&store->url, "password", rh_secret_bytes(password), err);
}

/* Host and port for messages, and whether that is a socket. */
static enum rh_status take_host(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    const struct pg_url *url = &store->url;
    const char *host = pg_url_get(url, "host"), *address = pg_url_get(url, "hostaddr"), *port = pg_url_get(url, "port");
    const char *shown = host ? host : address;
    /* libpq's own default without any host is a socket, the Go clients' is the host of that name */
    const char *env_host = getenv("PGHOST");
    if (!shown && !pg_url_get(url, "service") && !env_host) {
        shown = "localhost";
        enum rh_status status = set(store, "host", shown, err);
        if (status)
            return status;
    }
    if (!shown)
        shown = env_host ? env_host : "service";
    const char *env_port = getenv("PGPORT");
    snprintf(store->host, sizeof store->host, "%s", shown);
    snprintf(store->port, sizeof store->port, "%s", port ? port : env_port ? env_port : "5432");
    store->local = *shown == '/' || *shown == '@';
    if (strchr(shown, ',')) {
        const char *want = pg_url_get(url, "target_session_attrs");
        if (want && strcmp(want, "read-write") != 0 && strcmp(want, "primary") != 0) {
            rh_fail(err, RH_E_PLAN, "%sconnection_url names several hosts, any of which may answer",
                    RH_PLACE(options, "connection_url"));
            rh_error_hint(err, "add target_session_attrs=read-write, or name one host");
            return RH_E_PLAN;
        }
        return set(store, "target_session_attrs", want ? want : "read-write", err);
    }
    return RH_OK;
}

/* --- TLS --- */

/* The system's CAs where no file is named: libpq 15 knows no word for them. */
static enum rh_status default_ca(struct pg_store *store, struct rh_error *err)
{
    static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"};
    if (pg_url_get(&store->url, "sslrootcert") || getenv("PGSSLROOTCERT"))
        return RH_OK;
    char own[512];
    const char *home = getenv("HOME");
    snprintf(own, sizeof own, "%s/.postgresql/root.crt", home ? home : "");
    if (home && access(own, R_OK) == 0)
        return set(store, "sslrootcert", own, err);
    if (PQlibVersion() >= 160000)
        return set(store, "sslrootcert", "system", err);
    for (size_t i = 0; i < sizeof bundles / sizeof *bundles; i++)
        if (access(bundles[i], R_OK) == 0)
            return set(store, "sslrootcert", bundles[i], err);
    return RH_OK;
}

/* The files that connection_url and the block name. */
static enum rh_status take_files(struct pg_store *store,
                                 const struct rh_options *options,
                                 const struct rh_options *block,
                                 struct rh_error *err)
{
    static const char *const words[] = {"sslrootcert", "sslcert", "sslkey"};
    struct rh_tls_files files = {0};
    const char *ca = pg_url_get(&store->url, "sslrootcert"), *cert = pg_url_get(&store->url, "sslcert");
    enum rh_status status = rh_tls_take_files(options, "connection_url", NULL, block, &files, err);
    const char *const given[] = {files.ca, files.cert, files.key};
    for (size_t i = 0; !status && i < 3; i++) {
        if (given[i] && pg_url_get(&store->url, words[i]))
            status =
                rh_fail(err, RH_E_PLAN, "%s%s is in connection_url and in tls { }", RH_PLACE(block, NULL), words[i]);
        else if (given[i])
            status = set(store, words[i], given[i], err);
    }
    rh_tls_files_done(&files);
    if (!status && ca && strcmp(ca, "system") != 0)
        status = rh_tls_check_certificate("sslrootcert", ca, err);
    return !status && cert ? rh_tls_check_certificate("sslcert", cert, err) : status;
}

/* What an sslmode protects. */
static enum rh_tls protection(const char *mode)
{
    if (strcmp(mode, "verify-full") == 0)
        return RH_TLS_VERIFIED;
    return strcmp(mode, "require") == 0 || strcmp(mode, "verify-ca") == 0 ? RH_TLS_UNVERIFIED : RH_TLS_OFF;
}

/* Vault's configuration: sslmode as written, with a warning for what is weak. */
static enum rh_status vault_tls(struct pg_store *store, const char *mode, struct rh_error *err)
{
    const char *env = getenv("PGSSLMODE");
    mode = mode ? mode : env && *env ? env : "prefer";
    store->tls = protection(mode);
    snprintf(store->sslmode, sizeof store->sslmode, "%s", mode);
    if (store->tls == RH_TLS_OFF)
        rh_log(RH_LOG_WARN,
               "no TLS is demanded of the postgresql store: password and data may travel in plain text; give "
               "sslmode=verify-full in connection_url",
               {"address", store->address}, {"sslmode", mode});
    else if (store->tls == RH_TLS_UNVERIFIED)
        rh_log(
            RH_LOG_WARN,
            "the postgresql server's name isn't verified: anybody on the way can pose as it; give sslmode=verify-full "
            "in connection_url",
            {"address", store->address}, {"sslmode", mode});
    return set(store, "sslmode", mode, err);
}

/* A plan of ours: verified unless the block says otherwise; connection_url can't weaken it by itself. */
static enum rh_status plan_tls(struct pg_store *store,
                               const struct rh_options *options,
                               const struct rh_options *block,
                               const char *mode,
                               struct rh_error *err)
{
    static const char *const modes[] = {
        [RH_TLS_OFF] = "disable", [RH_TLS_UNVERIFIED] = "require", [RH_TLS_VERIFIED] = "verify-full"};
    store->tls = rh_tls_of_block(block);
    if (mode && protection(mode) < store->tls) {
        rh_fail(err, RH_E_PLAN, "%sconnection_url says sslmode=%s, which doesn't verify the server",
                RH_PLACE(options, "connection_url"), mode);
        rh_error_hint(err, "leave sslmode out; or, on a network you trust, say tls { %s = \"off\" } beside it",
                      protection(mode) == RH_TLS_OFF ? "mode" : "verify");
        return RH_E_PLAN;
    }
    if (mode && protection(mode) > store->tls)
        return rh_fail(err, RH_E_PLAN, "%sconnection_url says sslmode=%s, and tls { } says less",
                       RH_PLACE(options, "connection_url"), mode);
    if (store->tls == RH_TLS_OFF && block && (rh_options_text(block, "ca_file") || rh_options_text(block, "cert_file")))
        return rh_fail(err, RH_E_PLAN, "%smode = \"off\" and certificates contradict each other",
                       RH_PLACE(block, "mode"));
    rh_tls_warn(store->tls, store->address);
    /* one of several unverified ones may have been asked for: verify-ca */
    snprintf(store->sslmode, sizeof store->sslmode, "%s", mode ? mode : modes[store->tls]);
    enum rh_status status = set(store, "sslmode", store->sslmode, err);
    /* with a CA, also the one of the home folder, libpq takes "require" for "verify-ca" */
    if (!status && strcmp(store->sslmode, "require") == 0)
        status = set(store, "sslrootcert", "/nonexistent", err);
    /* only a certificate that the plan names is shown; libpq's search in the home folder fails where we may not look */
    if (!status)
        status = set_default(store, "sslcert", "/nonexistent", err);
    return status;
}

static enum rh_status take_tls(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    const struct rh_options *block = rh_options_block(options, "tls");
    const char *mode = pg_url_get(&store->url, "sslmode");
    /* GSS encryption would come before TLS and is not what was asked for */
    enum rh_status status = set_default(store, "gssencmode", "disable", err);
    if (!status)
        status = take_files(store, options, block, err);
    if (status)
        return status;
    if (store->local) {
        if (block && rh_options_given(block, "mode") && rh_tls_of_block(block) != RH_TLS_OFF)
            return rh_fail(err, RH_E_PLAN, "%sa Unix socket carries no TLS", RH_PLACE(block, "mode"));
        store->tls = RH_TLS_OFF;
        return set(store, "sslmode", "disable", err);
    }
    status = store->vault_config && !block ? vault_tls(store, mode, err) : plan_tls(store, options, block, mode, err);
    if (status || store->tls == RH_TLS_OFF || strcmp(store->sslmode, "require") == 0)
        return status;
    return default_ca(store, err);
}

/* --- names --- */

/* An identifier as the server takes it: it would cut a longer one silently. */
static enum rh_status
check_name(const struct rh_options *options, const char *option, const char *name, struct rh_error *err)
{
    const char *why = !rh_utf8_valid(rh_bytes_text(name)) ? "isn't valid UTF-8"
                      : strlen(name) >= PG_NAME_SIZE      ? "is longer than 63 bytes"
                                                          : NULL;
    return why ? rh_fail(err, RH_E_PLAN, "%s%s '%s' %s", RH_PLACE(options, option), option,
                         RH_SHOW(rh_bytes_text(name)), why)
               : RH_OK;
}

static enum rh_status take_names(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    const char *table = rh_options_text(options, "table"), *ha = rh_options_text(options, "ha_table");
    /* As Vault does: an empty member means the default. */
    table = *table ? table : "vault_kv_store";
    ha = *ha ? ha : "vault_ha_locks";
    enum rh_status status = check_name(options, "table", table, err);
    if (!status)
        status = check_name(options, "ha_table", ha, err);
    if (status)
        return status;
    snprintf(store->table, sizeof store->table, "%s", table);
    snprintf(store->ha_table, sizeof store->ha_table, "%s", ha);
    pg_identifier(table, store->quoted, sizeof store->quoted);
    pg_identifier(ha, store->ha_quoted, sizeof store->ha_quoted);
    return RH_OK;
}

/* All options. */
static enum rh_status take_options(struct pg_store *store, const struct rh_options *options, struct rh_error *err)
{
    enum rh_status status;
    if ((status = take_names(store, options, err)) || (status = read_url(store, options, err)) ||
        (status = add_password(store, options, err)) || (status = take_host(store, options, err)))
        return status;
    const char *database = pg_url_get(&store->url, "dbname"), *user = pg_url_get(&store->url, "user");
    const char *shown = database ? database : user ? user : "";
    snprintf(store->address, sizeof store->address,
             store->local ? "%.100s%.0s/%.60s/%.63s" : "%.100s:%.20s/%.60s/%.63s", store->host, store->port, shown,
             store->table);
    store->make_ha = rh_options_bool(options, "ha_enabled");
    store->skip_create = rh_options_bool(options, "skip_create_table");
    store->connect_us = rh_options_int(options, "connect_timeout");
    store->io_us = rh_options_int(options, "io_timeout");
    char silence[24];
    snprintf(silence, sizeof silence, "%lld", (long long)(store->io_us / 1000));
    if ((status = set(store, "client_encoding", "UTF8", err)) ||
        (status = set_default(store, "fallback_application_name", "rehome", err)) ||
        (status = set_default(store, "keepalives_idle", "30", err)) ||
        (status = set_default(store, "tcp_user_timeout", silence, err)))
        return status;
    return take_tls(store, options, err);
}

enum rh_status pg_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct pg_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->settling, NULL);
    pthread_mutex_init(&store->snapshot.lock, NULL);
    store->base.driver = &rh_driver_postgresql;
    store->side = args->side;
    store->vault_config = args->vault_config;
    store->limits = (struct rh_limits){.key_bytes = 2679, .value_bytes = PG_VALUE_MAX, .batch_bytes = 256U << 20};
    enum rh_status status = take_options(store, args->options, ctx->err);
    if (status) {
        pg_store_close(&store->base);
        return status;
    }
    *ret_store = &store->base;
    return RH_OK;
}

void pg_store_close(struct rh_store *base)
{
    struct pg_store *store = (struct pg_store *)base;
    if (!store)
        return;
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->settling);
    pthread_mutex_destroy(&store->snapshot.lock);
    pg_url_done(&store->url);
    free(store);
}
