/* SPDX-License-Identifier: Apache-2.0 */
/* The server's own timer: an event that reloads the keyring when nobody holds the switch's lock any more. */
#include "internal.h"
#include <stdio.h>

enum rh_status kr_timer_why(struct kr_route *route, char *why, size_t why_size, struct rh_error *err)
{
    char scheduler[16] = "", granted[16] = "";
    *why = '\0';
    enum rh_status status = kr_text(route, err, "asking for event_scheduler", scheduler, sizeof scheduler,
                                    "SELECT @@global.event_scheduler");
    if (!status)
        status = kr_text(route, err, "asking for the account's rights", granted, sizeof granted,
                         "SELECT (SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = "
                         "'EVENT') + (SELECT COUNT(*) FROM information_schema.schema_privileges WHERE privilege_type = "
                         "'EVENT' AND table_schema = '%s')",
                         route->timer_schema);
    if (status && status != RH_NOT_FOUND)
        return status;
    if (strcmp(granted, "0") == 0 || status)
        snprintf(why, why_size, "the account lacks EVENT on `%.100s`.*", route->timer_schema);
    else if (strcmp(scheduler, "ON") != 0)
        snprintf(why, why_size, "event_scheduler is %s", RH_SHOW(rh_bytes_text(scheduler)));
    return RH_OK;
}

/* What is done with events stays out of the binary log: a replica has its own keyring. */
static enum rh_status unlogged(struct kr_route *route, struct rh_error *err)
{
    return kr_run(route, err, "leaving the timer out of the binary log", "SET SESSION sql_log_bin = 0");
}

enum rh_status kr_timer_make(struct kr_route *route, struct rh_error *err)
{
    struct rh_error why = {0};
    enum rh_status status = unlogged(route, &why);
    if (!status)
        status = kr_run(route, &why, "clearing away an older timer", "DROP EVENT IF EXISTS `%s`." KR_EVENT,
                        route->timer_schema);
    /* while keyring_operations is OFF the reload fails, and the event comes again */
    if (!status)
        status = kr_run(route, &why, "making the server's own timer",
                        "CREATE EVENT `%s`." KR_EVENT " ON SCHEDULE EVERY 1 SECOND "
                        "COMMENT 'finishes a switch of the keyring when rehome is gone; drops itself' DO "
                        "BEGIN IF GET_LOCK('" KR_LOCK "', 0) THEN ALTER INSTANCE RELOAD KEYRING; "
                        "DO RELEASE_LOCK('" KR_LOCK "'); "
                        "SET SESSION sql_log_bin = 0; DROP EVENT IF EXISTS `%s`." KR_EVENT "; END IF; END",
                        route->timer_schema, route->timer_schema);
    if (!status)
        return RH_OK;
    if (!rh_mysql_is_refusal(&why)) {
        if (err)
            *err = why;
        return status;
    }
    rh_log(RH_LOG_WARN, "the server won't finish a switch by itself", {"server", route->address}, {"reason", why.text});
    return RH_OK;
}

enum rh_status kr_timer_drop(struct kr_route *route, struct rh_error *err)
{
    struct rh_error why = {0};
    enum rh_status status = unlogged(route, &why);
    if (!status)
        status = kr_run(route, &why, "taking the server's own timer away", "DROP EVENT IF EXISTS `%s`." KR_EVENT,
                        route->timer_schema);
    if (!status || rh_mysql_is_refusal(&why))
        return RH_OK; /* without a right to it there is none of ours */
    if (err)
        *err = why;
    return status;
}
