/* SPDX-License-Identifier: Apache-2.0 */
/* The driver record of the route keyring_reload, its options, its life, its facts. */
#include "internal.h"
#include "driver.h"
#include <stdio.h>
#include <stdlib.h>

static const struct rh_option options[] = {
    RH_ROWS_MYSQL_PLACE,
    RH_ROWS_PASSWORD("its password; better is password_file"),
    RH_ROW_TLS(rh_tls_options),
    {.name = "configuration",
                      .type = RH_OPT_PATH,
                      .value_name = "FILE",
                      .help = "its component_keyring_file.cnf that names the keystore; else where the server looks for it"},
    {.name = "timer_schema",
                      .type = RH_OPT_TEXT,
                      .initial = "mysql",
                      .value_name = "NAME",
                      .help = "database for the event that finishes a switch when nobody else does; the account needs EVENT on it"},
    {0                      },
};

/* The name goes into statements between backquotes and quotes. */
static enum rh_status take_schema(struct kr_route *route, const struct rh_options *values, struct rh_error *err)
{
    const char *name = rh_options_text(values, "timer_schema");
    if (!*name || strlen(name) >= sizeof route->timer_schema || strpbrk(name, "`'\"\\\n") ||
        !rh_utf8_valid(rh_bytes_text(name)))
        return rh_fail(err, RH_E_PLAN, "%stimer_schema '%s' isn't the name of a database",
                       RH_PLACE(values, "timer_schema"), RH_SHOW(rh_bytes_text(name)));
    snprintf(route->timer_schema, sizeof route->timer_schema, "%s", name);
    return RH_OK;
}

/* All options. */
static enum rh_status take_options(struct kr_route *route, const struct rh_options *values, struct rh_error *err)
{
    const char *configuration = rh_options_text(values, "configuration");
    enum rh_status status = rh_mysql_take_place(&route->server, values, route->address, sizeof route->address, err);
    if (!status)
        status = take_schema(route, values, err);
    if (!status)
        status = rh_take_password(values, &route->server.password, err);
    if (!status)
        status = rh_mysql_take_tls(&route->server, values, NULL, NULL, err);
    if (!status && configuration && configuration[0] != '/')
        status = rh_fail(err, RH_E_PLAN, "%sconfiguration '%s' isn't an absolute path",
                         RH_PLACE(values, "configuration"), RH_SHOW(rh_bytes_text(configuration)));
    if (!status)
        status = rh_dup_text(configuration, &route->configuration, err);
    if (status)
        return status;
    if (!route->server.socket)
        rh_tls_warn(route->server.tls, route->address);
    route->server.connect_s = 2;
    route->server.io_s = 60; /* a reload of many keys takes its time */
    return RH_OK;
}

static void kr_free(struct rh_route *base)
{
    struct kr_route *route = (struct kr_route *)base;
    if (!route)
        return;
    kr_disconnect(route);
    rh_mysql_server_done(&route->server);
    free(route->configuration);
    free(route);
}

static enum rh_status kr_new(struct rh_ctx *ctx, const struct rh_options *values, struct rh_route **ret_route)
{
    struct kr_route *route = calloc(1, sizeof *route);
    if (!route)
        return rh_fail_memory(ctx->err);
    route->base.driver = &rh_route_keyring_reload;
    enum rh_status status = take_options(route, values, ctx->err);
    if (status) {
        kr_free(&route->base);
        return status;
    }
    *ret_route = &route->base;
    return RH_OK;
}

static enum rh_status kr_facts(struct rh_ctx *ctx, struct rh_route *base, struct rh_route_facts *ret_facts)
{
    struct kr_route *route = (struct kr_route *)base;
    struct rh_route_facts facts = {.product = "MySQL"};
    rh_auto_free char *configuration = NULL;
    enum rh_status status =
        kr_text(route, ctx->err, "asking for the version", facts.version, sizeof facts.version, "SELECT VERSION()");
    if (!status)
        status = kr_loaded(route, facts.goes_to, sizeof facts.goes_to, ctx->err);
    if (!status)
        status = kr_config_find(route, &configuration, ctx->err);
    if (!status)
        status = kr_timer_why(route, facts.no_timer, sizeof facts.no_timer, ctx->err);
    if (status)
        return status;
    rh_auto_free char *real = realpath(configuration, NULL);
    snprintf(facts.configuration, sizeof facts.configuration, "%s", real ? real : configuration);
    snprintf(facts.address, sizeof facts.address, "%s", route->address);
    snprintf(facts.identity, sizeof facts.identity, "%s", route->uuid);
    snprintf(facts.tls, sizeof facts.tls, "%s", route->tls);
    *ret_facts = facts;
    return RH_OK;
}

const struct rh_route_driver rh_route_keyring_reload = {
    .name = "keyring_reload",
    .summary = "a MySQL server with component_keyring_file goes to another keystore, without a restart",
    .options = options,
    .store = KR_COMPONENT,
    .new = kr_new,
    .free = kr_free,
    .connect = kr_connect,
    .facts = kr_facts,
    .check = kr_check,
    .snapshot = kr_snapshot,
    .prepare = kr_prepare,
    .apply = kr_apply,
    .settle = kr_settle,
    .release = kr_release,
    .undo = kr_undo,
    .probe = kr_probe,
};
