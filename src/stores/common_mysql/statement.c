/* SPDX-License-Identifier: Apache-2.0 */
/* Formatted statements and their rows. */
#include "mysql_link.h"
#include <stdio.h>

/* Sends a formatted statement. */
static enum rh_status
send_v(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, va_list args)
    RH_PRINTF(4, 0);
static enum rh_status
send_v(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, va_list args)
{
    char text[16384];
    int size = vsnprintf(text, sizeof text, fmt, args);
    if (size < 0 || (size_t)size >= sizeof text)
        return rh_fail(err, RH_E_INTERNAL, "%s failed: statement too long", what);
    if (!talk->mysql || mysql_real_query(talk->mysql, text, (unsigned long)size))
        return talk->fail(talk->owner, err, what);
    return RH_OK;
}

enum rh_status
rh_mysql_run(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, va_list args)
{
    enum rh_status status = send_v(talk, err, what, fmt, args);
    if (status)
        return status;
    mysql_free_result(mysql_store_result(talk->mysql)); /* none, as a rule */
    return mysql_errno(talk->mysql) ? talk->fail(talk->owner, err, what) : RH_OK;
}

enum rh_status rh_mysql_rows(const struct rh_mysql_talk *talk,
                             struct rh_error *err,
                             const char *what,
                             MYSQL_RES **ret_rows,
                             const char *fmt,
                             va_list args)
{
    enum rh_status status = send_v(talk, err, what, fmt, args);
    if (status)
        return status;
    MYSQL_RES *rows = mysql_store_result(talk->mysql);
    if (!rows)
        return mysql_errno(talk->mysql) ? talk->fail(talk->owner, err, what)
                                        : rh_fail(err, RH_E_INTERNAL, "%s failed: no rows came back", what);
    *ret_rows = rows;
    return RH_OK;
}

enum rh_status rh_mysql_text(const struct rh_mysql_talk *talk,
                             struct rh_error *err,
                             const char *what,
                             char *out,
                             size_t out_size,
                             const char *fmt,
                             va_list args)
{
    rh_mysql_auto_rows MYSQL_RES *rows = NULL;
    enum rh_status status = rh_mysql_rows(talk, err, what, &rows, fmt, args);
    if (status)
        return status;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (!row || !row[0])
        return RH_NOT_FOUND;
    snprintf(out, out_size, "%s", row[0]);
    return RH_OK;
}
