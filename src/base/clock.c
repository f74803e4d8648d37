/* SPDX-License-Identifier: Apache-2.0 */
/* Clock, stamps, sleep, randomness of the system. */
#include <rehome/base.h>

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

/* A clock's time in nanoseconds. */
static int64_t read_ns(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now); /* fails only for a wrong clock number */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t rh_clock_us(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t rh_utc_us(void)
{
    return read_ns(CLOCK_REALTIME) / 1000;
}

int64_t rh_utc_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

/* Time divided down to seconds and what is over, also before 1970. */
static int64_t floor_div(int64_t value, int64_t unit, int64_t *ret_rest)
{
    int64_t quotient = value / unit, rest = value % unit;
    if (rest < 0) {
        rest += unit;
        quotient--;
    }
    *ret_rest = rest;
    return quotient;
}

/* "2026-11-22T02:29:11" */
static size_t put_seconds(struct rh_stamp *stamp, int64_t seconds)
{
    struct tm tm = {0};
    time_t at = (time_t)seconds;
    if (!gmtime_r(&at, &tm))
        tm = (struct tm){.tm_mday = 1};
    return strftime(stamp->text, sizeof stamp->text, "%Y-%m-%dT%H:%M:%S", &tm);
}

struct rh_stamp rh_stamp_us(int64_t utc_us)
{
    struct rh_stamp stamp = {{0}};
    int64_t rest;
    size_t length = put_seconds(&stamp, floor_div(utc_us, 1000000, &rest));
    (void)snprintf(stamp.text + length, sizeof stamp.text - length, ".%06uZ", (unsigned)rest);
    return stamp;
}

struct rh_stamp rh_stamp_ns(int64_t utc_ns)
{
    struct rh_stamp stamp = {{0}};
    int64_t rest;
    size_t length = put_seconds(&stamp, floor_div(utc_ns, 1000000000, &rest));
    if (rest) {
        int digits = 9;
        for (; rest % 10 == 0; rest /= 10)
            digits--;
        (void)snprintf(stamp.text + length, sizeof stamp.text - length, ".%0*uZ", digits, (unsigned)rest);
    } else {
        memcpy(stamp.text + length, "Z", 2);
    }
    return stamp;
}

void rh_sleep_us(int64_t duration_us)
{
    if (duration_us <= 0)
        return;
    struct timespec left = {.tv_sec = duration_us / 1000000, .tv_nsec = duration_us % 1000000 * 1000};
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

enum rh_status rh_random(void *out, size_t size, struct rh_error *err)
{
    uint8_t *at = out;
    while (size) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return rh_fail_errno(err, errno, "getting random bytes from the system");
        at += got;
        size -= (size_t)got;
    }
    return RH_OK;
}

bool rh_stamp_parse(const char *text, int64_t *ret_utc_us)
{
    struct tm tm = {0};
    uint64_t micro;
    const char *fraction = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!fraction || strlen(fraction) != 8 || fraction[0] != '.' || fraction[7] != 'Z' ||
        rh_parse_u64(rh_bytes(fraction + 1, 6), &micro) != RH_OK)
        return false;
    *ret_utc_us = (int64_t)timegm(&tm) * 1000000 + (int64_t)micro;
    return true;
}
