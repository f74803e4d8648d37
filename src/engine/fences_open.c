/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what this process has closed; see fences.h. */
#include "internal.h"

#include <stdlib.h>

#define OPEN_LIMIT_US (5 * INT64_C(1000000)) /* how long opening is tried here; the guardian goes on */
#define OPEN_PAUSE_US (100 * INT64_C(1000))  /* between two tries */
#define OPEN_LOOK_US (5 * INT64_C(1000))     /* between two looks at who is done */

/* The opening of one fence, in a thread of its own, so that a server which is gone holds up no other. */
struct opening {
    struct fence_run *run;
    pthread_t thread;
    bool begun, threaded, told;
    atomic_bool done;
    /* set before `done` */
    enum rh_status status;
    enum rh_fence_outcome outcome;
    struct rh_error why;
};

/* Tries for a while; what can't be opened is left to the guardian. */
static void *open_one(void *user)
{
    struct opening *opening = user;
    struct fence_run *run = opening->run;
    const int64_t until = rh_clock_us() + OPEN_LIMIT_US;
    for (;;) {
        opening->why = (struct rh_error){0};
        struct rh_ctx ctx = {.err = &opening->why}; /* a wish to stop doesn't leave a writer shut out */
        opening->status = run->block->driver->open(&ctx, run->fence, rh_buf_cstr(&run->state), rh_buf_cstr(&run->epoch),
                                                   &opening->outcome);
        if (opening->status == RH_OK || opening->status == RH_E_REFUSED || rh_clock_us() >= until)
            break;
        rh_sleep_us(OPEN_PAUSE_US);
    }
    atomic_store(&opening->done, true);
    return NULL;
}

/* What is said of a fence that stays closed. */
static enum rh_status fail_open(const struct fences *fences, const struct opening *opening, struct rh_error *err)
{
    const struct fence_run *run = opening->run;
    rh_fail(err, opening->status, "opening the fence '%s' failed: %s", run->facts.address, opening->why.text);
    rh_error_hint(err,
                  guardian_alive(fences->guardian)
                      ? "a guardian process stays and opens it as soon as the server can be reached; by hand, run "
                        "there: %s"
                      : "run on that server: %s",
                  run->facts.statement);
    if (err)
        err->side = RH_SIDE_SOURCE;
    return opening->status;
}

/* Says and journals what became of one fence. */
static enum rh_status tell_one(struct fences *fences, struct opening *opening, struct rh_error *err)
{
    struct fence_run *run = opening->run;
    const enum rh_fence_outcome outcome = opening->outcome;
    if (opening->status != RH_OK)
        return fail_open(fences, opening, err);
    rh_log(RH_LOG_INFO, "fence opened", {"move", run->move->plan->name}, {"server", run->facts.address});
    const int64_t opened_us = run->fence->opened_us ? run->fence->opened_us : rh_clock_us(),
                  closed_us = run->fence->closed_us ? run->fence->closed_us : run->closed_us,
                  pause_us = opened_us - closed_us;
    rh_crash_point("fence");
    run->closed = false;
    guardian_forget(fences->guardian, (size_t)(run - fences->runs));
    check_say(run->move, NULL, RH_FINDING_FACT, "pause", (struct rh_bytes){0}, "%s was paused for %lld ms%s%s",
              run->facts.address, (long long)(pause_us + 500) / 1000, outcome == RH_FENCE_OPENED ? "" : " at most: it ",
              outcome == RH_FENCE_OPENED ? "" : fence_outcome_words(outcome));
    return fence_put_opened(run->move->engine->journal, run->move->plan->name, run->number,
                            outcome == RH_FENCE_OPENED ? "rehome" : fence_outcome_words(outcome), pause_us, err);
}

/* Tells of each fence as it is done; the first failure is kept. */
static enum rh_status wait_for_all(struct fences *fences, struct opening *openings, struct rh_error *first)
{
    enum rh_status status = RH_OK;
    int64_t beat_us = 0;
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (size_t i = 0; i < fences->count; i++) {
            struct rh_error why = {0};
            if (!openings[i].begun || openings[i].told)
                continue;
            if (!atomic_load(&openings[i].done)) {
                waiting = true;
                continue;
            }
            if (openings[i].threaded)
                pthread_join(openings[i].thread, NULL);
            openings[i].told = true;
            const enum rh_status one = tell_one(fences, &openings[i], &why);
            if (one != RH_OK && status == RH_OK)
                *first = why;
            status = status == RH_OK ? one : status;
        }
        if (waiting && rh_clock_us() - beat_us >= OPEN_PAUSE_US && guardian_alive(fences->guardian)) {
            rh_ignore(guardian_beat(fences->guardian, NULL)); /* we aren't frozen */
            beat_us = rh_clock_us();
        }
        if (waiting)
            rh_sleep_us(OPEN_LOOK_US);
    }
    return status;
}

/* Opens all that are closed, at the same time. */
static enum rh_status open_all(struct fences *fences, struct rh_error *first)
{
    struct opening *openings = calloc(fences->count, sizeof *openings);
    if (!openings)
        return rh_fail_memory(first); /* the guardian does it when this process ends */
    for (size_t i = 0; i < fences->count; i++) {
        openings[i].run = &fences->runs[i];
        openings[i].begun = fences->runs[i].closed;
        if (!openings[i].begun)
            continue;
        openings[i].threaded = pthread_create(&openings[i].thread, NULL, open_one, &openings[i]) == 0;
        if (!openings[i].threaded)
            (void)open_one(&openings[i]);
    }
    const enum rh_status status = wait_for_all(fences, openings, first);
    free(openings);
    return status;
}

/* The step "open" of every move that has fences. */
static enum rh_status
step_of_moves(struct rh_engine *engine, enum rh_step_outcome outcome, const char *note, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        const struct rh_move *plan = engine->moves[i].plan;
        if (plan->fence_count == 0)
            continue;
        status = outcome == RH_STEP_INTENT
                     ? rh_journal_step_intent(engine->journal, plan->name, "open", err)
                     : rh_journal_step_outcome(engine->journal, plan->name, "open", outcome, note, err);
    }
    return status;
}

enum rh_status fences_open(struct rh_engine *engine, enum rh_status outcome, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    struct rh_error first = {0}, why = {0};
    bool any = false;
    for (size_t i = 0; i < fences->count; i++)
        any = any || fences->runs[i].closed;
    fences->closed = false;
    if (!any)
        return outcome;
    enum rh_status status = step_of_moves(engine, RH_STEP_INTENT, "", &first);
    const enum rh_status opened = open_all(fences, &why);
    if (status == RH_OK && opened != RH_OK)
        first = why;
    status = status == RH_OK ? opened : status;
    struct rh_error ignored = {0};
    rh_ignore(step_of_moves(engine, status == RH_OK ? RH_STEP_DONE : RH_STEP_FAILED, status == RH_OK ? "" : first.text,
                            &ignored)); /* the facts say it, too */
    if (status == RH_OK || !err)
        return outcome == RH_OK ? status : outcome;
    if (outcome == RH_OK) {
        *err = first;
        return status;
    }
    if (strcmp(err->text, first.text) == 0) /* a full disk, say, fails all */
        return outcome;
    rh_ignore(rh_error_prepend(err, "%s; and before that", first.text));
    rh_error_hint(err, "%s", first.hint);
    return outcome;
}
