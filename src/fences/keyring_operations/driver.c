/* SPDX-License-Identifier: Apache-2.0 */
/* The driver record of the fence keyring_operations, its options, its life. */
#include "internal.h"
#include "driver.h"
#include <stdio.h>
#include <stdlib.h>

#define LEASE_LEAST_US (2 * INT64_C(1000000))
#define LEASE_MOST_US (600 * INT64_C(1000000))

static const struct rh_option options[] = {
    RH_ROWS_MYSQL_PLACE,
    RH_ROWS_PASSWORD("its password; better is password_file"),
    RH_ROW_TLS(rh_tls_options),
    {.name = "lease",
                      .type = RH_OPT_DURATION,
                      .initial = "10s",
                      .value_name = "TIME",
                      .help = "how long it stays closed when rehome goes silent, 2s to 10m"},
    {.name = "timer_schema",
                      .type = RH_OPT_TEXT,
                      .initial = "mysql",
                      .value_name = "NAME",
                      .help = "database for the event that opens it when nobody else does; the account needs EVENT on it"},
    {0},
};

/* The name goes into statements between backquotes. */
static enum rh_status take_schema(struct ko_fence *fence, const struct rh_options *values, struct rh_error *err)
{
    const char *name = rh_options_text(values, "timer_schema");
    if (!*name || strlen(name) >= sizeof fence->timer_schema || strpbrk(name, "`'\"\\\n") ||
        !rh_utf8_valid(rh_bytes_text(name)))
        return rh_fail(err, RH_E_PLAN, "%stimer_schema '%s' isn't the name of a database",
                       RH_PLACE(values, "timer_schema"), RH_SHOW(rh_bytes_text(name)));
    snprintf(fence->timer_schema, sizeof fence->timer_schema, "%s", name);
    return RH_OK;
}

/* All options. */
static enum rh_status take_options(struct ko_fence *fence, const struct rh_options *values, struct rh_error *err)
{
    enum rh_status status = rh_mysql_take_place(&fence->server, values, fence->address, sizeof fence->address, err);
    if (!status)
        status = take_schema(fence, values, err);
    if (!status)
        status = rh_take_password(values, &fence->server.password, err);
    if (!status)
        status = rh_mysql_take_tls(&fence->server, values, NULL, NULL, err);
    if (status)
        return status;
    if (!fence->server.socket)
        rh_tls_warn(fence->server.tls, fence->address);
    fence->lease_us = rh_options_int(values, "lease");
    if (fence->lease_us < LEASE_LEAST_US || fence->lease_us > LEASE_MOST_US)
        return rh_fail(err, RH_E_PLAN, "%slease is between 2s and 10m", RH_PLACE(values, "lease"));
    /* a server that is silent for longer costs more of the lease than can be given */
    fence->server.connect_s = 2;
    fence->server.io_s = fence->lease_us >= 12 * INT64_C(1000000) ? 3 : 1 + (unsigned)(fence->lease_us / 6000000);
    return RH_OK;
}

static void ko_free(struct rh_fence *base)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    if (!fence)
        return;
    ko_disconnect(fence);
    rh_mysql_server_done(&fence->server);
    free(fence);
}

static enum rh_status ko_new(struct rh_ctx *ctx, const struct rh_options *values, struct rh_fence **ret_fence)
{
    struct ko_fence *fence = calloc(1, sizeof *fence);
    if (!fence)
        return rh_fail_memory(ctx->err);
    fence->base.driver = &rh_fence_keyring_operations;
    enum rh_status status = take_options(fence, values, ctx->err);
    if (status) {
        ko_free(&fence->base);
        return status;
    }
    *ret_fence = &fence->base;
    return RH_OK;
}

const struct rh_fence_driver rh_fence_keyring_operations = {
    .name = "keyring_operations",
    .summary = "a MySQL server (8.0 on) makes, removes and rotates no keys",
    .options = options,
    .new = ko_new,
    .free = ko_free,
    .connect = ko_connect,
    .facts = ko_facts,
    .snapshot = ko_snapshot,
    .close = ko_close,
    .renew = ko_renew,
    .probe = ko_probe,
    .open = ko_open,
};
