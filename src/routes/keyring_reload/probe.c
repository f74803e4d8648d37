/* SPDX-License-Identifier: Apache-2.0 */
/* The probe: the server does what it needs its keyring for. */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>

#define PROBE_DATABASE "rehome_probe"

/* MySQL's own, not in the client's header: table_encryption_privilege_check is on */
enum { CANNOT_SET_TABLE_ENCRYPTION = 3826 };

/* Whether the server says that the account may not, or the probe's place isn't ours. */
static bool is_denied(const struct rh_error *err)
{
    return err->status == RH_E_DENIED || err->native == CANNOT_SET_TABLE_ENCRYPTION ||
           err->native == ER_DBACCESS_DENIED_ERROR || err->native == ER_TABLEACCESS_DENIED_ERROR ||
           err->native == ER_SPECIFIC_ACCESS_DENIED_ERROR || err->native == ER_ACCESS_DENIED_ERROR;
}

/* An encrypted table, made and read. */
static enum rh_status try_table(struct kr_route *route, struct rh_error *err)
{
    const char *what = "making and reading an encrypted table";
    char value[64] = "";
    enum rh_status status = kr_run(route, err, what, "CREATE DATABASE " PROBE_DATABASE);
    if (!status)
        /* in a file of its own, whatever the server's defaults are */
        status = kr_run(route, err, what,
                        "CREATE TABLE " PROBE_DATABASE ".probe (id int PRIMARY KEY, v varchar(40)) ENGINE = InnoDB "
                        "TABLESPACE = innodb_file_per_table ENCRYPTION = 'Y'");
    if (!status)
        status =
            kr_run(route, err, what, "INSERT INTO " PROBE_DATABASE ".probe VALUES (1, 'written after the switch')");
    if (!status)
        status = kr_text(route, err, what, value, sizeof value, "SELECT v FROM " PROBE_DATABASE ".probe WHERE id = 1");
    if (status == RH_NOT_FOUND || (!status && strcmp(value, "written after the switch") != 0))
        return rh_fail(err, RH_E_STORE, "%s on '%s': what was written isn't what is read", what, route->address);
    return status;
}

/* The database, if it is ours: with the probe in it or nothing. */
static enum rh_status clear(struct kr_route *route, struct rh_error *err)
{
    const char *what = "clearing away the probe";
    char count[24] = "";
    enum rh_status status = kr_text(route, err, what, count, sizeof count,
                                    "SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = "
                                    "'" PROBE_DATABASE "' AND table_name <> 'probe') + (SELECT COUNT(*) FROM "
                                    "information_schema.routines WHERE routine_schema = '" PROBE_DATABASE
                                    "') + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = "
                                    "'" PROBE_DATABASE "')");
    if (!status && strcmp(count, "0") != 0)
        return rh_fail(err, RH_E_DENIED, "%s on '%s': the database " PROBE_DATABASE " holds what is somebody else's",
                       what, route->address);
    return status ? status : kr_run(route, err, what, "DROP DATABASE IF EXISTS " PROBE_DATABASE);
}

/* A new binary log, encrypted with the keyring's key, where logs are encrypted. */
static enum rh_status try_log(struct kr_route *route, struct rh_error *err)
{
    char on[8] = "";
    enum rh_status status = kr_text(route, err, "asking for binlog_encryption", on, sizeof on,
                                    "SELECT @@global.binlog_encryption AND @@global.log_bin");
    if (status || strcmp(on, "1") != 0)
        return status == RH_NOT_FOUND ? RH_OK : status;
    return kr_run(route, err, "rotating the binary log", "FLUSH BINARY LOGS");
}

enum rh_status kr_probe(struct rh_ctx *ctx, struct rh_route *base)
{
    struct kr_route *route = (struct kr_route *)base;
    struct rh_error why = {0}, second = {0};
    enum rh_status status =
        kr_run(route, &why, "leaving the probe out of the binary log", "SET SESSION sql_log_bin = 0");
    if (!status)
        status = clear(route, &why);
    if (!status) {
        status = try_table(route, &why);
        if (route->mysql && clear(route, &second) != RH_OK && !status) {
            why = second;
            status = second.status;
        }
    }
    if (!status)
        status = try_log(route, &why);
    if (status && ctx->err) {
        *ctx->err = why;
        if (is_denied(&why))
            ctx->err->status = RH_E_DENIED;
    }
    return status && is_denied(&why) ? RH_E_DENIED : status;
}
