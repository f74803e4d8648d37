/* SPDX-License-Identifier: Apache-2.0 */
/* The server behind the fence: connecting, statements, what it is and what the account may do there. */
#include "internal.h"
#include <mysqld_error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { KO_ER_KEYRING_ACCESS_DENIED = 3202 }; /* ER_KEYRING_ACCESS_DENIED_ERROR; Connector/C may lack it */

enum rh_status ko_fail(struct ko_fence *fence, struct rh_error *err, const char *what)
{
    if (!fence->mysql) {
        rh_fail(err, RH_E_NET, "%s on '%s' failed: the connection is gone", what, fence->address);
        if (err)
            err->retry = RH_RETRY_RECONNECT;
        return RH_E_NET;
    }
    char where[400];
    snprintf(where, sizeof where, "%s on '%.200s'", what, fence->address);
    const unsigned number = mysql_errno(fence->mysql);
    enum rh_status status = rh_mysql_fail(&fence->server, err, where, number, mysql_error(fence->mysql));
    if (number == ER_SPECIFIC_ACCESS_DENIED_ERROR || number == KO_ER_KEYRING_ACCESS_DENIED) {
        if (err) {
            err->status = RH_E_DENIED;
            rh_error_hint(err, "GRANT SYSTEM_VARIABLES_ADMIN, ENCRYPTION_KEY_ADMIN ON *.* TO the account");
        }
        status = RH_E_DENIED;
    }
    if (rh_mysql_is_cut(number))
        ko_disconnect(fence);
    return status;
}

/* The connection as statements see it. */
static enum rh_status fail_talk(void *owner, struct rh_error *err, const char *what)
{
    return ko_fail(owner, err, what);
}
static struct rh_mysql_talk talk_of(struct ko_fence *fence)
{
    return (struct rh_mysql_talk){.mysql = fence->mysql, .fail = fail_talk, .owner = fence};
}

enum rh_status ko_run(struct ko_fence *fence, struct rh_error *err, const char *what, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(fence);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_run(&talk, err, what, fmt, args);
    va_end(args);
    return status;
}

enum rh_status
ko_rows(struct ko_fence *fence, struct rh_error *err, const char *what, MYSQL_RES **ret_rows, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(fence);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_rows(&talk, err, what, ret_rows, fmt, args);
    va_end(args);
    return status;
}

enum rh_status ko_text(
    struct ko_fence *fence, struct rh_error *err, const char *what, char *out, size_t out_size, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(fence);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_text(&talk, err, what, out, out_size, fmt, args);
    va_end(args);
    return status;
}

static const struct rh_mysql_lock fence_lock = {
    .name = KO_LOCK,
    .taking = "taking the fence's lock",
    .looking = "looking for the closing session",
    .ending = "ending the closing session",
    .session = "the session that closed",
    .end_limit_us = 3 * INT64_C(1000000),
};

enum rh_status ko_lock(struct ko_fence *fence, unsigned seconds, bool *ret_got, struct rh_error *err)
{
    const struct rh_mysql_talk talk = talk_of(fence);
    enum rh_status status = rh_mysql_lock_take(&talk, &fence_lock, seconds, &fence->holds, err);
    *ret_got = fence->holds;
    return status;
}

enum rh_status ko_end_session(struct ko_fence *fence, unsigned long thread, struct rh_error *err)
{
    const struct rh_mysql_talk talk = talk_of(fence);
    return rh_mysql_lock_end_holder(&talk, &fence_lock, thread, fence->address, err);
}

void ko_disconnect(struct ko_fence *fence)
{
    if (fence->mysql)
        mysql_close(fence->mysql);
    fence->mysql = NULL;
    fence->thread = 0;
    fence->holds = false;
}

/* Who the server is, and who we are to it. */
static enum rh_status introduce(struct ko_fence *fence, struct rh_error *err)
{
    const char *what = "setting up the connection";
    uint64_t thread = 0;
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = ko_run(fence, err, what,
                                   "SET NAMES utf8mb4, SESSION sql_mode = 'STRICT_ALL_TABLES', autocommit = 1, "
                                   "time_zone = '+00:00', lock_wait_timeout = 1");
    if (!status)
        status = ko_rows(fence, err, what, &rows, "SELECT @@server_uuid, CONNECTION_ID()");
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (!row || !row[0] || !row[1] || rh_parse_u64(rh_bytes_text(row[1]), &thread))
        return rh_fail(err, RH_E_STORE, "%s on '%s' failed: the server's answer makes no sense", what, fence->address);
    snprintf(fence->uuid, sizeof fence->uuid, "%s", row[0]);
    fence->thread = (unsigned long)thread;
    return RH_OK;
}

/* Anything older has other privileges and no variables_info, anything else no such variable. */
static enum rh_status check_kind(struct ko_fence *fence, struct rh_error *err)
{
    char version[128] = "", name[64] = "";
    enum rh_status status = ko_text(fence, err, "asking for the version", version, sizeof version, "SELECT VERSION()");
    if (status)
        return status;
    if (mariadb_connection(fence->mysql) || strstr(version, "MariaDB")) {
        rh_fail(err, RH_E_REFUSED, "the server '%s' is a MariaDB (%s), which has no keyring_operations", fence->address,
                RH_SHOW(rh_bytes_text(version)));
        return RH_E_REFUSED;
    }
    if (version[0] < '8' && version[1] == '.') {
        rh_fail(err, RH_E_REFUSED, "the server '%s' is MySQL %s; the fence keyring_operations needs 8.0 or later",
                fence->address, RH_SHOW(rh_bytes_text(version)));
        rh_error_hint(err, "stop the server and move its keyring in mode \"offline\"");
        return RH_E_REFUSED;
    }
    status = ko_text(fence, err, "asking for keyring_operations", name, sizeof name,
                     "SELECT VARIABLE_NAME FROM performance_schema.variables_info WHERE VARIABLE_NAME = "
                     "'keyring_operations'");
    return status == RH_NOT_FOUND
               ? rh_fail(err, RH_E_REFUSED, "the server '%s' has no variable keyring_operations", fence->address)
               : status;
}

enum rh_status ko_connect(struct rh_ctx *ctx, struct rh_fence *base)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    ko_disconnect(fence);
    status = rh_mysql_connect(&fence->server, &fence->mysql, fence->tls, ctx->err);
    if (!status)
        status = check_kind(fence, ctx->err);
    if (!status)
        status = introduce(fence, ctx->err);
    if (status)
        ko_disconnect(fence);
    return status;
}

enum rh_status ko_look(struct ko_fence *fence, struct ko_view *ret_view, struct rh_error *err)
{
    const char *what = "looking at keyring_operations";
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = ko_rows(
        fence, err, what, &rows,
        "SELECT @@global.keyring_operations, SET_TIME, SET_USER, IS_USED_LOCK('" KO_LOCK "') <=> CONNECTION_ID() "
        "FROM performance_schema.variables_info WHERE VARIABLE_NAME = 'keyring_operations'");
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (!row || !row[0] || !row[3])
        return rh_fail(err, RH_E_STORE, "%s on '%s' failed: the server's answer makes no sense", what, fence->address);
    *ret_view = (struct ko_view){.on = row[0][0] == '1', .lock_is_ours = row[3][0] == '1'};
    snprintf(ret_view->set_at, sizeof ret_view->set_at, "%s", row[1] ? row[1] : "");
    snprintf(ret_view->set_by, sizeof ret_view->set_by, "%s", row[2] ? row[2] : "");
    char *blank = strchr(ret_view->set_at, ' '); /* an epoch is one word */
    if (blank)
        *blank = 'T';
    return RH_OK;
}

/* --- facts --- */

/* The account's grants with those of its roles, a line each. */
static enum rh_status take_grants(struct ko_fence *fence, struct rh_buf *grants, struct rh_error *err)
{
    const char *what = "asking for the account's rights";
    char roles[1024] = "";
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = ko_text(fence, err, what, roles, sizeof roles, "SELECT CURRENT_ROLE()");
    if (status && status != RH_NOT_FOUND)
        return status;
    const bool none = !roles[0] || strcmp(roles, "NONE") == 0;
    status = none ? ko_rows(fence, err, what, &rows, "SHOW GRANTS")
                  : ko_rows(fence, err, what, &rows, "SHOW GRANTS FOR CURRENT_USER() USING %s", roles);
    MYSQL_ROW row;
    while (!status && (row = mysql_fetch_row(rows)))
        status = rh_buf_format(grants, err, "%s\n", row[0] ? row[0] : "");
    return status;
}

/* Whether the grants give one of the words on everything. */
static bool has_right(const char *grants, const char *word)
{
    for (const char *line = grants; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char one[4096];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
        char *where = strstr(one, " ON *.* TO ");
        if (!where || strncmp(one, "GRANT ", 6) != 0)
            continue;
        *where = '\0';
        for (char *rest = one + 6, *item; (item = strsep(&rest, ","));) {
            item += *item == ' ';
            if (strcmp(item, word) == 0 || strcmp(item, "SUPER") == 0 || strcmp(item, "ALL PRIVILEGES") == 0)
                return true;
        }
    }
    return false;
}

/* Both rights that closing and opening want; each missing one is named. */
static enum rh_status check_rights(struct ko_fence *fence, const char *grants, struct rh_error *err)
{
    static const char *const words[] = {"SYSTEM_VARIABLES_ADMIN", "ENCRYPTION_KEY_ADMIN"};
    const bool first = has_right(grants, words[0]), second = has_right(grants, words[1]);
    if (first && second)
        return RH_OK;
    rh_fail(err, RH_E_DENIED, "the account '%s' on '%s' lacks %s%s%s", RH_SHOW(rh_bytes_text(fence->server.user)),
            fence->address, first ? "" : words[0], !first && !second ? " and " : "", second ? "" : words[1]);
    rh_error_hint(err, "GRANT %s%s%s ON *.* TO it", first ? "" : words[0], !first && !second ? ", " : "",
                  second ? "" : words[1]);
    return RH_E_DENIED;
}

/* The keystore that is loaded, as far as the server lets us see it. */
static void take_loaded(struct ko_fence *fence, char *out, size_t size)
{
    struct rh_error unseen = {0};
    out[0] = '\0';
    if (ko_text(fence, &unseen, "asking for the keystore", out, size,
                "SELECT STATUS_VALUE FROM performance_schema.keyring_component_status WHERE STATUS_KEY = 'Data_file'"))
        out[0] = '\0';
    if (!out[0] && fence->mysql &&
        ko_text(fence, &unseen, "asking for the keystore", out, size, "SELECT @@global.keyring_file_data"))
        out[0] = '\0';
}

enum rh_status ko_facts(struct rh_ctx *ctx, struct rh_fence *base, struct rh_fence_facts *ret_facts)
{
    struct ko_fence *fence = (struct ko_fence *)base;
    struct rh_fence_facts facts = {.product = "MySQL", .statement = "SET GLOBAL keyring_operations = ON"};
    struct ko_view view;
    rh_auto_buf struct rh_buf grants = RH_BUF_INIT;
    enum rh_status status =
        ko_text(fence, ctx->err, "asking for the version", facts.version, sizeof facts.version, "SELECT VERSION()");
    if (!status)
        status = take_grants(fence, &grants, ctx->err);
    if (!status)
        status = check_rights(fence, rh_buf_cstr(&grants), ctx->err);
    if (!status)
        status = ko_timer_why(fence, rh_buf_cstr(&grants), facts.no_timer, sizeof facts.no_timer, ctx->err);
    if (!status)
        status = ko_look(fence, &view, ctx->err);
    if (status)
        return status;
    facts.closed = !view.on;
    fence->no_timer = facts.no_timer[0] != '\0';
    take_loaded(fence, facts.loaded, sizeof facts.loaded);
    snprintf(facts.address, sizeof facts.address, "%s", fence->address);
    snprintf(facts.identity, sizeof facts.identity, "%s", fence->uuid);
    snprintf(facts.tls, sizeof facts.tls, "%s", fence->tls);
    *ret_facts = facts;
    return RH_OK;
}
