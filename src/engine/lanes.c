/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: threads that each take the next range and work on it. A failure that a new connection or a little patience may
 * mend is tried again for the retry time, from the range's journaled state; any other stops all lanes.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

struct lanes {
    struct move_run *move;
    bool (*wanted)(const struct range *range);
    lane_work *work;
    void *user;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t next, running;
    atomic_bool stop;
    struct rh_error failure; /* the first one; under lock */
};

enum rh_status lane_session(
    struct rh_session **kept, struct side *side, struct rh_ctx *ctx, enum rh_role role, struct rh_session **ret_session)
{
    if (!*kept)
        return side_session(side, ctx, role, ret_session);
    *ret_session = *kept;
    *kept = NULL;
    return RH_OK;
}

void lane_session_leave(struct rh_session **kept, struct rh_session *session, enum rh_status status)
{
    if (status == RH_OK && session && !*kept)
        *kept = session;
    else
        side_session_close(session);
}

/* The next range that is wanted and not taken, or NULL. */
static struct range *take_range(struct lanes *lanes)
{
    struct move_run *move = lanes->move;
    struct range *taken = NULL;
    pthread_mutex_lock(&lanes->lock);
    while (!taken && lanes->next < move->range_count && !atomic_load(&lanes->stop)) {
        struct range *range = &move->ranges[lanes->next++];
        if (lanes->wanted(range))
            taken = range;
    }
    pthread_mutex_unlock(&lanes->lock);
    return taken;
}

/* Waits before another try, in small pieces so that a stop is seen; false when stopped. */
static bool wait_to_retry(struct lanes *lanes, int64_t duration_us)
{
    const int64_t until = rh_clock_us() + duration_us;
    while (rh_clock_us() < until && !atomic_load(&lanes->stop))
        rh_sleep_us(20000);
    return !atomic_load(&lanes->stop);
}

/* Works on one range until it is done, fails for good, or the retry time is over. */
static enum rh_status work_on(struct lanes *lanes, struct lane *lane, struct range *range, struct rh_error *err)
{
    int64_t give_up_us = 0, pause_us = 100 * 1000;
    for (;;) {
        const uint64_t batches = range->state.batches;
        *err = (struct rh_error){0};
        struct rh_ctx ctx = {.cancel = &lanes->stop, .err = err};
        enum rh_status status = lanes->work(lane, &ctx, range);
        if (status == RH_OK || err->retry == RH_RETRY_NEVER || status == RH_E_CANCELLED)
            return status;
        const int64_t now = rh_clock_us();
        if (give_up_us == 0 || range->state.batches != batches) {
            give_up_us = now + engine_retry_us(lanes->move->engine);
            pause_us = 100 * 1000;
        }
        if (now >= give_up_us)
            return status;
        rh_log(RH_LOG_WARN, "trying again", {"move", lanes->move->plan->name}, {"reason", err->text});
        if (!wait_to_retry(lanes, pause_us))
            return rh_fail(err, RH_E_CANCELLED, "interrupted");
        pause_us = pause_us * 2 > 2000 * 1000 ? 2000 * 1000 : pause_us * 2;
    }
}

static void *lane_main(void *user)
{
    struct lanes *lanes = user;
    struct lane lane = {.move = lanes->move, .stop = &lanes->stop, .user = lanes->user};
    struct rh_error err = {0};
    struct range *range;
    while ((range = take_range(lanes))) {
        enum rh_status status = work_on(lanes, &lane, range, &err);
        if (status == RH_OK)
            continue;
        pthread_mutex_lock(&lanes->lock);
        /* what the others say after the first failure is only that they were stopped */
        if (!rh_failed(lanes->failure.status))
            lanes->failure = err;
        pthread_mutex_unlock(&lanes->lock);
        atomic_store(&lanes->stop, true);
    }
    side_session_close(lane.source);
    side_session_close(lane.destination);
    side_session_close(lane.writer);
    for (size_t i = 0; i < PIPE_BATCHES; i++)
        rh_batch_done(&lane.batches[i]);
    pthread_mutex_lock(&lanes->lock);
    lanes->running--;
    pthread_cond_signal(&lanes->ended);
    pthread_mutex_unlock(&lanes->lock);
    return NULL;
}

/* Waits for the lanes, handing on the caller's wish to stop. */
static void watch(struct lanes *lanes)
{
    const atomic_bool *cancel = lanes->move->engine->args.cancel;
    pthread_mutex_lock(&lanes->lock);
    while (lanes->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 50 * 1000 * 1000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&lanes->ended, &lanes->lock, &until);
        if (cancel && atomic_load(cancel))
            atomic_store(&lanes->stop, true);
        if (!fences_tick(lanes->move->engine))
            atomic_store(&lanes->stop, true);
        samples_tick(lanes->move);
    }
    pthread_mutex_unlock(&lanes->lock);
}

enum rh_status lanes_run(
    struct move_run *move, bool (*wanted)(const struct range *range), lane_work *work, void *user, struct rh_error *err)
{
    struct lanes lanes = {.move = move, .wanted = wanted, .work = work, .user = user};
    const size_t count = (size_t)engine_lanes(move);
    pthread_t *threads = calloc(count, sizeof *threads);
    if (!threads)
        return rh_fail_memory(err);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lanes.ended, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&lanes.lock, NULL);
    size_t started = 0;
    int failed = 0;
    lanes.running = count;
    while (started < count && (failed = pthread_create(&threads[started], NULL, lane_main, &lanes)) == 0)
        started++;
    pthread_mutex_lock(&lanes.lock);
    lanes.running -= count - started;
    pthread_mutex_unlock(&lanes.lock);
    watch(&lanes);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    samples_tick(move);
    free(threads);
    pthread_cond_destroy(&lanes.ended);
    pthread_mutex_destroy(&lanes.lock);
    if (started == 0)
        return rh_fail_errno(err, failed, "starting a thread");
    if (!fences_tick(move->engine))
        return fences_hold(move->engine, err);
    if (rh_failed(lanes.failure.status)) {
        lanes.failure.retry = RH_RETRY_NEVER; /* the lanes have been patient already */
        if (err)
            *err = lanes.failure;
        return lanes.failure.status;
    }
    return atomic_load(&lanes.stop) ? rh_fail(err, RH_E_CANCELLED, "interrupted") : RH_OK;
}
