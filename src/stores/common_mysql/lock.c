/* SPDX-License-Identifier: Apache-2.0 */
/* Named locks of a server, and ending the session that has one. */
#include "mysql_link.h"
#include <mysqld_error.h>
#include <stdio.h>

#define LOOK_AGAIN_US (20 * INT64_C(1000))

static enum rh_status
run(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, ...) RH_PRINTF(4, 5);
static enum rh_status
run(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_run(talk, err, what, fmt, args);
    va_end(args);
    return status;
}

/* The first letter of the first column; '\0' without one. */
static enum rh_status
letter(const struct rh_mysql_talk *talk, struct rh_error *err, char *ret, const char *what, const char *fmt, ...)
    RH_PRINTF(5, 6);
static enum rh_status
letter(const struct rh_mysql_talk *talk, struct rh_error *err, char *ret, const char *what, const char *fmt, ...)
{
    char text[8] = "";
    va_list args;
    va_start(args, fmt);
    enum rh_status status = rh_mysql_text(talk, err, what, text, sizeof text, fmt, args);
    va_end(args);
    *ret = text[0];
    return status == RH_NOT_FOUND ? RH_OK : status;
}

enum rh_status rh_mysql_lock_take(const struct rh_mysql_talk *talk,
                                  const struct rh_mysql_lock *lock,
                                  unsigned seconds,
                                  bool *holds,
                                  struct rh_error *err)
{
    char got = '\0';
    if (*holds)
        return RH_OK;
    enum rh_status status = letter(talk, err, &got, lock->taking, "SELECT GET_LOCK('%s', %u)", lock->name, seconds);
    *holds = !status && got == '1';
    return status;
}

enum rh_status rh_mysql_lock_end_holder(const struct rh_mysql_talk *talk,
                                        const struct rh_mysql_lock *lock,
                                        unsigned long thread,
                                        const char *address,
                                        struct rh_error *err)
{
    const int64_t until = rh_clock_us() + lock->end_limit_us;
    struct rh_error why = {0};
    /* a number may belong to somebody else after a restart: only the lock's holder is meant */
    for (;;) {
        char used = '\0';
        enum rh_status status = letter(talk, &why, &used, lock->looking,
                                       "SELECT 1 FROM DUAL WHERE IS_USED_LOCK('%s') = %lu", lock->name, thread);
        if (!status && !used)
            return RH_OK;
        if (!status)
            status = run(talk, &why, lock->ending, "KILL CONNECTION %lu", thread);
        if (status && why.native != ER_NO_SUCH_THREAD) {
            if (err)
                *err = why;
            return status;
        }
        if (rh_clock_us() > until)
            break;
        rh_sleep_us(LOOK_AGAIN_US);
    }
    rh_fail(err, RH_E_STORE, "%s '%s' doesn't end", lock->session, address);
    if (err)
        err->retry = RH_RETRY_LATER;
    return RH_E_STORE;
}
