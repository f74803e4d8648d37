/* SPDX-License-Identifier: Apache-2.0 */
/* The server's own timer: an event that opens the fence when it gets its lock. */
#include "internal.h"
#include <mysqld_error.h>
#include <stdio.h>

/* Whether a line of SHOW GRANTS gives the privilege on everything or on the timer's database. */
static bool grants_event(const char *line, const char *schema)
{
    char on[256];
    snprintf(on, sizeof on, " ON `%s`.* TO ", schema);
    const char *where = strstr(line, " ON *.* TO ");
    if (!where)
        where = strstr(line, on);
    const char *event = strstr(line, "EVENT"), *all = strstr(line, "ALL PRIVILEGES");
    return where && ((event && event < where) || (all && all < where));
}

enum rh_status
ko_timer_why(struct ko_fence *fence, const char *grants, char *why, size_t why_size, struct rh_error *err)
{
    char scheduler[16] = "", read_only[16] = "";
    bool granted = false;
    *why = '\0';
    for (const char *line = grants; *line && !granted; line += strcspn(line, "\n"), line += *line == '\n') {
        char one[2048];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
        granted = grants_event(one, fence->timer_schema);
    }
    enum rh_status status = ko_text(fence, err, "asking for event_scheduler", scheduler, sizeof scheduler,
                                    "SELECT @@global.event_scheduler");
    if (!status)
        status = ko_text(fence, err, "asking for super_read_only", read_only, sizeof read_only,
                         "SELECT @@global.super_read_only");
    if (status)
        return status;
    if (!granted)
        snprintf(why, why_size, "the account lacks EVENT on `%.100s`.*", fence->timer_schema);
    else if (strcmp(scheduler, "ON") != 0)
        snprintf(why, why_size, "event_scheduler is %s", RH_SHOW(rh_bytes_text(scheduler)));
    else if (strcmp(read_only, "0") != 0)
        snprintf(why, why_size, "super_read_only is on");
    return RH_OK;
}

/* Leaves what this session does with events out of the binary log: a replica has its own fence, if any. */
static enum rh_status unlogged(struct ko_fence *fence, struct rh_error *err)
{
    return ko_run(fence, err, "leaving the timer out of the binary log", "SET SESSION sql_log_bin = 0");
}

enum rh_status ko_timer_make(struct ko_fence *fence, struct rh_error *err)
{
    struct rh_error why = {0};
    char user[2 * sizeof((struct ko_view *)0)->set_by + 8];
    size_t size = 0;
    for (const char *at = fence->server.user; *at && size + 2 < sizeof user; at++) {
        if (*at == '\'' || *at == '\\')
            user[size++] = '\\';
        user[size++] = *at;
    }
    user[size] = '\0';
    enum rh_status status = unlogged(fence, &why);
    if (!status)
        status = ko_run(fence, &why, "clearing away an older timer", "DROP EVENT IF EXISTS `%s`." KO_EVENT,
                        fence->timer_schema);
    /* it takes the lock itself, so that a round of it that is late opens nothing which somebody has closed meanwhile;
     * who set the variable last must be us: an OFF of somebody else's, or of another start of the server, stays */
    if (!status)
        status = ko_run(fence, &why, "making the server's own timer",
                        "CREATE EVENT `%s`." KO_EVENT " ON SCHEDULE EVERY 1 SECOND "
                        "COMMENT 'opens keyring_operations when rehome is gone; drops itself' DO "
                        "BEGIN IF GET_LOCK('" KO_LOCK "', 0) THEN "
                        "IF EXISTS (SELECT 1 FROM performance_schema.variables_info WHERE VARIABLE_NAME = "
                        "'keyring_operations' AND SET_USER = '%s') THEN SET GLOBAL keyring_operations = ON; END IF; "
                        "SET SESSION sql_log_bin = 0; DROP EVENT IF EXISTS `%s`." KO_EVENT "; "
                        "DO RELEASE_LOCK('" KO_LOCK "'); END IF; END",
                        fence->timer_schema, user, fence->timer_schema);
    if (!status)
        return RH_OK;
    if (!rh_mysql_is_refusal(&why)) {
        if (err)
            *err = why;
        return status;
    }
    rh_log(RH_LOG_WARN, "the server won't open the fence by itself", {"server", fence->address}, {"reason", why.text});
    return RH_OK;
}

enum rh_status ko_timer_drop(struct ko_fence *fence, struct rh_error *err)
{
    struct rh_error why = {0};
    enum rh_status status = unlogged(fence, &why);
    if (!status)
        status = ko_run(fence, &why, "taking the server's own timer away", "DROP EVENT IF EXISTS `%s`." KO_EVENT,
                        fence->timer_schema);
    if (!status || rh_mysql_is_refusal(&why))
        return RH_OK; /* without a right to it there is none of ours */
    if (err)
        *err = why;
    return status;
}
