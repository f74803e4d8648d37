/* SPDX-License-Identifier: Apache-2.0 */
/* Log events go to one sink, one at a time. */
#include <rehome/base.h>

#include <pthread.h>
#include <stdatomic.h>

enum { NOTHING = RH_LOG_ERROR + 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rh_log_sink *log_sink;
static void *log_user;
static atomic_int log_least = NOTHING;

void rh_log_set(rh_log_sink *sink, void *user, enum rh_log_level least)
{
    pthread_mutex_lock(&lock);
    log_sink = sink;
    log_user = user;
    atomic_store(&log_least, sink ? (int)least : (int)NOTHING);
    pthread_mutex_unlock(&lock);
}

bool rh_log_wanted(enum rh_log_level level)
{
    return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

void rh_log_event(enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    static const struct rh_log_field none[] = {
        {NULL, NULL}
    };
    if (!rh_log_wanted(level))
        return;
    pthread_mutex_lock(&lock);
    if (log_sink)
        log_sink(log_user, level, message, fields ? fields : none);
    pthread_mutex_unlock(&lock);
}
