/* SPDX-License-Identifier: Apache-2.0 */
/* A mysql store's options, in Vault's names and ours, and its life. */
#include "driver.h"
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>

const struct rh_option my_options[] = {
    {.name = "username",          .type = RH_OPT_TEXT, .flags = RH_OPT_REQUIRED, .value_name = "NAME", .help = "account"},
    RH_ROWS_PASSWORD("its password; better is password_file"),
    {.name = "address",
     .type = RH_OPT_TEXT,
     .initial = "127.0.0.1:3306",
     .value_name = "HOST:PORT",
     .help = "the server"},
    {.name = "socket",
     .type = RH_OPT_PATH,
     .value_name = "PATH",
     .help = "the server's Unix socket, instead of address"},
    {.name = "database",           .type = RH_OPT_TEXT, .initial = "vault", .value_name = "NAME", .help = "database"},
    {.name = "table", .type = RH_OPT_TEXT, .initial = "vault", .value_name = "NAME", .help = "table"},
    RH_ROW_TLS(rh_tls_options),
    {.name = "tls_ca_file",
     .type = RH_OPT_PATH,
     .value_name = "PATH",
     .help = "Vault's name for tls { ca_file }; in Vault's configuration no TLS without it"},
    {.name = "plaintext_connection_allowed",
     .type = RH_OPT_BOOL,
     .help = "in Vault's configuration: no warning about a connection without TLS"},
    {.name = "require_at_rest_encryption",
     .type = RH_OPT_BOOL,
     .help = "refuse a table that isn't encrypted on the server's disk; make it so"},
    RH_ROWS_TIMEOUTS("120s", "statement"),
    {.name = "ha_enabled",                           .type = RH_OPT_BOOL, .help = "taken; Vault makes the lock table itself when it starts"},
    {.name = "lock_table",
     .type = RH_OPT_TEXT,
     .value_name = "NAME",
     .help = "Vault's table of HA locks, looked at for a live owner (default: the table's name and _lock)"},
    RH_ROW_MAX_PARALLEL,
    {.name = "max_idle_connections",       .type = RH_OPT_IGNORED, .help = "taken and without meaning here"},
    {.name = "max_connection_lifetime",                           .type = RH_OPT_IGNORED, .help = "taken and without meaning here"},
    {0       },
};

/* Whether a code point is a space, as Unicode has it. */
static bool is_space(uint32_t c)
{
    return c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* The next code point of valid UTF-8. */
static uint32_t next_char(const unsigned char **at)
{
    const unsigned char *p = *at;
    unsigned more = *p < 0x80 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? *p : *p & (0x3fU >> more);
    for (unsigned i = 1; i <= more; i++)
        c = c << 6 | (p[i] & 0x3fU);
    *at = p + 1 + more;
    return c;
}

/* Vault's rule for identifiers, and the servers' limit of 64 characters. */
static enum rh_status
check_name(const struct rh_options *options, const char *option, const char *name, struct rh_error *err)
{
    const char *why = NULL;
    size_t count = 0;
    if (!*name)
        why = "is empty";
    else if (!rh_utf8_valid(rh_bytes_text(name)))
        why = "isn't valid UTF-8";
    for (const unsigned char *at = (const unsigned char *)name; !why && *at; count++) {
        uint32_t c = next_char(&at);
        if (c == '`' || c == '\'' || c == '"')
            why = "holds a quote";
        else if (is_space(c))
            why = "holds a space";
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            why = "holds a control character";
        else if (c > 0xffff)
            why = "holds a character above U+FFFF";
    }
    if (!why && count > 64)
        why = "is longer than 64 characters";
    if (!why)
        return RH_OK;
    return rh_fail(err, RH_E_PLAN, "%s%s '%s' %s", RH_PLACE(options, option), option, RH_SHOW(rh_bytes_text(name)),
                   why);
}

/* The password, which Vault's stanza must have. */
static enum rh_status take_password(struct my_store *store, const struct rh_options *options, struct rh_error *err)
{
    enum rh_status status = rh_take_password(options, &store->server.password, err);
    if (status || store->server.password || !store->server.vault_config)
        return status;
    rh_fail(err, RH_E_PLAN, "%smissing password", RH_PLACE(options, NULL));
    rh_error_hint(err, "give password_file = \"PATH\"");
    return RH_E_PLAN;
}

/* Which TLS: ours is verified unless told, Vault's is none unless tls_ca_file is given, a socket needs none. */
static enum rh_status take_tls(struct my_store *store, const struct rh_options *options, struct rh_error *err)
{
    struct rh_mysql_server *server = &store->server;
    enum rh_status status =
        rh_mysql_take_tls(server, options, "tls_ca_file", rh_options_text(options, "tls_ca_file"), err);
    if (status || server->socket)
        return status;
    if (server->vault_config && !rh_options_block(options, "tls")) {
        server->tls = server->files.ca ? RH_TLS_VERIFIED : RH_TLS_OFF;
        if (!server->files.ca && !rh_options_bool(options, "plaintext_connection_allowed"))
            rh_log(RH_LOG_WARN,
                   "no TLS to the mysql store: password and data travel in plain text; give tls_ca_file, or "
                   "plaintext_connection_allowed = \"true\" to mute this warning",
                   {"address", store->address});
        return RH_OK;
    }
    rh_tls_warn(server->tls, store->address);
    return RH_OK;
}

/* Names of database, table and lock table. */
static enum rh_status take_names(struct my_store *store, const struct rh_options *options, struct rh_error *err)
{
    const char *database = rh_options_text(options, "database"), *table = rh_options_text(options, "table");
    const char *lock_table = rh_options_text(options, "lock_table");
    /* As Vault does: an empty member means the default. */
    database = *database ? database : "vault";
    table = *table ? table : "vault";
    char made[MY_NAME_SIZE + 8];
    snprintf(made, sizeof made, "%.190s_lock", table);
    enum rh_status status;
    if ((status = check_name(options, "database", database, err)) ||
        (status = check_name(options, "table", table, err)) ||
        (lock_table && (status = check_name(options, "lock_table", lock_table, err))))
        return status;
    snprintf(store->database, sizeof store->database, "%s", database);
    snprintf(store->table, sizeof store->table, "%s", table);
    snprintf(store->lock_table, sizeof store->lock_table, "%s", lock_table ? lock_table : made);
    snprintf(store->qualified, sizeof store->qualified, "`%s`.`%s`", database, table);
    return RH_OK;
}

/* The rest: address, account, time-outs. */
static enum rh_status take_options(struct my_store *store, const struct rh_options *options, struct rh_error *err)
{
    enum rh_status status;
    const char *user = rh_options_text(options, "username"), *socket = rh_options_text(options, "socket");
    if (!user || !*user)
        return rh_fail(err, RH_E_PLAN, "%smissing username", RH_PLACE(options, NULL));
    if (socket && rh_options_given(options, "address"))
        return rh_fail(err, RH_E_PLAN, "%sgive socket or address, not both", RH_PLACE(options, "socket"));
    if ((status = rh_dup_text(user, &store->server.user, err)) ||
        (status = rh_dup_text(socket, &store->server.socket, err)) ||
        (status = rh_mysql_take_address(&store->server, options, err)) || (status = take_names(store, options, err)))
        return status;
    if (socket)
        snprintf(store->address, sizeof store->address, "%.100s/%.100s/%.100s", socket, store->database, store->table);
    else
        snprintf(store->address, sizeof store->address, "%.100s:%u/%.100s/%.100s", store->server.host,
                 store->server.port, store->database, store->table);
    store->need_encryption = rh_options_bool(options, "require_at_rest_encryption");
    /* libmariadb counts whole seconds. */
    store->server.connect_s = (unsigned)((rh_options_int(options, "connect_timeout") + 999999) / 1000000);
    store->server.io_s = (unsigned)((rh_options_int(options, "io_timeout") + 999999) / 1000000);
    if ((status = take_password(store, options, err)))
        return status;
    return take_tls(store, options, err);
}

enum rh_status my_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct my_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->settling, NULL);
    pthread_cond_init(&store->wake, &attr);
    pthread_condattr_destroy(&attr);
    store->base.driver = &rh_driver_mysql;
    store->side = args->side;
    store->server.vault_config = args->vault_config;
    store->limits = (struct rh_limits){.key_bytes = 512, .value_bytes = (1U << 24) - 1};
    enum rh_status status = take_options(store, args->options, ctx->err);
    if (status) {
        my_store_close(&store->base);
        return status;
    }
    *ret_store = &store->base;
    return RH_OK;
}

void my_store_close(struct rh_store *base)
{
    struct my_store *store = (struct my_store *)base;
    if (!store)
        return;
    if (store->watching) {
        pthread_mutex_lock(&store->lock);
        store->stop_watching = true;
        pthread_cond_broadcast(&store->wake);
        pthread_mutex_unlock(&store->lock);
        pthread_join(store->watcher, NULL);
    }
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->settling);
    rh_mysql_server_done(&store->server);
    free(store);
}
