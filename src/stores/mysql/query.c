/* SPDX-License-Identifier: Apache-2.0 */
/* Statements and their rows. */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>

enum { MY_ER_READ_ONLY_MODE = 1836 }; /* mysqld_error.h of Connector/C may lack it */

/* The remedy for the errors that speak of our table. */
static void hint(struct rh_error *err, unsigned number)
{
    switch (number) {
    case ER_OPTION_PREVENTS_STATEMENT:
    case MY_ER_READ_ONLY_MODE:
        rh_error_hint(err, "the server is read-only: use the primary, or SET GLOBAL read_only = OFF there");
        break;
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
        rh_error_hint(err, "give the account SELECT, INSERT, UPDATE and DELETE on the table, and CREATE and DROP where "
                           "rehome is to make it; then run again");
        break;
    case ER_NO_SUCH_TABLE:
    case ER_BAD_DB_ERROR:
        rh_error_hint(err, "check database and table; Vault's defaults are both 'vault'");
        break;
    case ER_LOCK_WAIT_TIMEOUT:
        rh_error_hint(err, "another transaction holds rows of this table: see SHOW ENGINE INNODB STATUS");
        break;
    default:
        break;
    }
}

enum rh_status
my_fail_number(struct my_session *session, struct rh_error *err, const char *what, unsigned number, const char *message)
{
    enum rh_status status = rh_mysql_fail(&session->store->server, err, what, number, message);
    if (err)
        hint(err, number);
    return status;
}

enum rh_status my_fail(struct my_session *session, struct rh_error *err, const char *what)
{
    if (!session->mysql) {
        rh_fail(err, RH_E_NET, "%s failed: the connection is gone", what);
        if (err)
            err->retry = RH_RETRY_RECONNECT;
        return RH_E_NET;
    }
    return my_fail_number(session, err, what, mysql_errno(session->mysql), mysql_error(session->mysql));
}

enum rh_status my_sql_literal(struct rh_buf *sql, struct rh_bytes bytes, struct rh_error *err)
{
    /* Under the character set "binary" and without NO_BACKSLASH_ESCAPES only quote and backslash need care. */
    enum rh_status status = rh_buf_reserve(sql, 2 * bytes.size + 2, err);
    if (status)
        return status;
    uint8_t *out = sql->data + sql->size;
    *out++ = '\'';
    for (const uint8_t *at = bytes.data, *end = at + bytes.size; at < end; at++) {
        if (*at == '\'' || *at == '\\')
            *out++ = '\\';
        *out++ = *at;
    }
    *out++ = '\'';
    sql->size = (size_t)(out - sql->data);
    return RH_OK;
}

/* The connection as statements see it. */
static enum rh_status fail_talk(void *owner, struct rh_error *err, const char *what)
{
    return my_fail(owner, err, what);
}
static struct rh_mysql_talk talk_of(struct my_session *session)
{
    return (struct rh_mysql_talk){.mysql = session->mysql, .fail = fail_talk, .owner = session};
}

enum rh_status my_run(struct my_session *session, struct rh_error *err, const char *what, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(session);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_run(&talk, err, what, fmt, args);
    va_end(args);
    return status;
}

enum rh_status
my_rows(struct my_session *session, struct rh_error *err, const char *what, MYSQL_RES **ret_rows, const char *fmt, ...)
{
    const struct rh_mysql_talk talk = talk_of(session);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_rows(&talk, err, what, ret_rows, fmt, args);
    va_end(args);
    return status;
}

enum rh_status my_text(struct my_session *session,
                       struct rh_error *err,
                       const char *what,
                       char *out,
                       size_t out_size,
                       const char *fmt,
                       ...)
{
    const struct rh_mysql_talk talk = talk_of(session);
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_text(&talk, err, what, out, out_size, fmt, args);
    va_end(args);
    return status;
}
