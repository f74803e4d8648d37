/* SPDX-License-Identifier: Apache-2.0 */
/* The server: connecting, statements, what it has loaded, the lock of who switches. */
#include "internal.h"
#include <mysqld_error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static enum rh_status fail_talk(void *owner, struct rh_error *err, const char *what)
{
    struct kr_route *route = owner;
    if (!route->mysql) {
        rh_fail(err, RH_E_NET, "%s on '%s' failed: the connection is gone", what, route->address);
        if (err)
            err->retry = RH_RETRY_RECONNECT;
        return RH_E_NET;
    }
    char where[400];
    snprintf(where, sizeof where, "%s on '%.200s'", what, route->address);
    const unsigned number = mysql_errno(route->mysql);
    enum rh_status status = rh_mysql_fail(&route->server, err, where, number, mysql_error(route->mysql));
    if (number == ER_SPECIFIC_ACCESS_DENIED_ERROR || number == ER_TABLEACCESS_DENIED_ERROR) {
        status = RH_E_DENIED;
        if (err) {
            err->status = RH_E_DENIED;
            rh_error_hint(err, "GRANT ENCRYPTION_KEY_ADMIN ON *.* and SELECT ON "
                               "performance_schema.keyring_component_status TO the account");
        }
    }
    if (rh_mysql_is_cut(number))
        kr_disconnect(route);
    return status;
}

static struct rh_mysql_talk talk_of(struct kr_route *route)
{
    return (struct rh_mysql_talk){.mysql = route->mysql, .fail = fail_talk, .owner = route};
}

enum rh_status kr_run(struct kr_route *route, struct rh_error *err, const char *what, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(route);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_run(&talk, err, what, fmt, args);
    va_end(args);
    return status;
}

enum rh_status kr_text(
    struct kr_route *route, struct rh_error *err, const char *what, char *out, size_t out_size, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(route);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_text(&talk, err, what, out, out_size, fmt, args);
    va_end(args);
    return status;
}

void kr_disconnect(struct kr_route *route)
{
    if (route->mysql)
        mysql_close(route->mysql);
    route->mysql = NULL;
    route->thread = 0;
    route->holds = false;
}

/* Who the server is, and who we are to it; a session that is silent for long ends by itself. */
static enum rh_status introduce(struct kr_route *route, struct rh_error *err)
{
    const char *what = "setting up the connection";
    char thread[24] = "";
    uint64_t number = 0;
    enum rh_status status = kr_run(route, err, what,
                                   "SET NAMES utf8mb4, SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1, "
                                   "wait_timeout = 60, lock_wait_timeout = 5");
    if (!status)
        status = kr_text(route, err, what, route->uuid, sizeof route->uuid, "SELECT @@server_uuid");
    if (!status)
        status = kr_text(route, err, what, thread, sizeof thread, "SELECT CONNECTION_ID()");
    if (status && status != RH_NOT_FOUND)
        return status;
    if (status || rh_parse_u64(rh_bytes_text(thread), &number))
        return rh_fail(err, RH_E_STORE, "%s on '%s' failed: the server's answer makes no sense", what, route->address);
    route->thread = (unsigned long)number;
    return RH_OK;
}

enum rh_status kr_connect(struct rh_ctx *ctx, struct rh_route *base)
{
    struct kr_route *route = (struct kr_route *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    kr_disconnect(route);
    status = rh_mysql_connect(&route->server, &route->mysql, route->tls, ctx->err);
    if (!status && mariadb_connection(route->mysql)) {
        rh_fail(ctx->err, RH_E_REFUSED, "the server '%s' is a MariaDB, which has no keyring to reload", route->address);
        status = RH_E_REFUSED;
    }
    if (!status)
        status = introduce(route, ctx->err);
    if (status)
        kr_disconnect(route);
    return status;
}

enum rh_status kr_loaded(struct kr_route *route, char *out, size_t size, struct rh_error *err)
{
    static const char query[] =
        "SELECT STATUS_VALUE FROM performance_schema.keyring_component_status WHERE STATUS_KEY = '%s'";
    const char *what = "asking for the keystore";
    char name[128] = "";
    enum rh_status status = kr_text(route, err, what, name, sizeof name, query, "Component_name");
    if (!status && strcmp(name, KR_COMPONENT) == 0)
        status = kr_text(route, err, what, out, size, query, "Data_file");
    if (status && status != RH_NOT_FOUND)
        return status;
    if (!status && strcmp(name, KR_COMPONENT) == 0)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "the server '%s' uses %s%s, and only " KR_COMPONENT " can be told to go to another file",
            route->address, name[0] ? "the keyring " : "no keyring component",
            name[0] ? RH_SHOW(rh_bytes_text(name)) : "");
    rh_error_hint(err, "switch such a server by its configuration and a restart: 'rehome report' has the lines");
    return RH_E_REFUSED;
}

bool kr_same_file(const char *one, const char *other)
{
    struct stat a, b;
    return strcmp(one, other) == 0 ||
           (stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

static const struct rh_mysql_lock switch_lock = {
    .name = KR_LOCK,
    .taking = "taking the switch's lock",
    .looking = "looking for the switching session",
    .ending = "ending the switching session",
    .session = "the session that was switching",
    .end_limit_us = 5 * INT64_C(1000000),
};

enum rh_status kr_lock(struct kr_route *route, unsigned seconds, bool *ret_got, struct rh_error *err)
{
    const struct rh_mysql_talk talk = talk_of(route);
    enum rh_status status = rh_mysql_lock_take(&talk, &switch_lock, seconds, &route->holds, err);
    *ret_got = route->holds;
    return status;
}

enum rh_status kr_end_session(struct kr_route *route, unsigned long thread, struct rh_error *err)
{
    const struct rh_mysql_talk talk = talk_of(route);
    return rh_mysql_lock_end_holder(&talk, &switch_lock, thread, route->address, err);
}
