/* SPDX-License-Identifier: Apache-2.0 */
/* Closing, renewing and opening fences; see fences.h. */
#include "internal.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { RENEWALS = 5 };                         /* in the time of a lease */
#define SETTLE_LIMIT_US (5 * INT64_C(1000000)) /* how long the source may take to stand still */
#define SETTLE_PAUSE_US (5 * INT64_C(1000))    /* between two looks at it */
#define GUARDIAN_LOOK_US (100 * INT64_C(1000)) /* between two looks at the guardian */

/* --- life --- */

enum rh_status fences_start(struct rh_engine *engine, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    fences->main = pthread_self();
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        for (size_t j = 0; j < move->plan->fence_count; j++) {
            if (fences->count == FENCES_MOST)
                return rh_fail(err, RH_E_PLAN, "more than %d fences in one plan", FENCES_MOST);
            const struct rh_fence_block *block = &move->plan->fences[j];
            fences->runs[fences->count++] = (struct fence_run){.move = move, .block = block, .number = j};
            if (fences->lease_us == 0 || block->lease_us < fences->lease_us)
                fences->lease_us = block->lease_us;
        }
    }
    if (fences->count == 0 || !engine->args.guarded)
        return RH_OK;
    return guardian_start(engine, &fences->guardian, err);
}

void fences_stop(struct rh_engine *engine)
{
    struct fences *fences = &engine->fences;
    bool armed = false;
    for (size_t i = 0; i < fences->count; i++) {
        struct fence_run *run = &fences->runs[i];
        armed = armed || run->closed;
        if (run->fence)
            run->block->driver->free(run->fence);
        rh_buf_done(&run->state);
        rh_buf_done(&run->epoch);
    }
    guardian_stop(fences->guardian, armed);
    *fences = (struct fences){.count = 0};
}

/* A fence's failure is one of the source's: that is what is held back. */
static enum rh_status fence_status(struct rh_error *err, enum rh_status status)
{
    if (rh_failed(status) && err && err->side == RH_SIDE_NONE)
        err->side = RH_SIDE_SOURCE;
    return status;
}

/* The connection, and what the server is. */
static enum rh_status fence_look(struct fence_run *run, struct rh_error *err)
{
    const struct rh_fence_driver *driver = run->block->driver;
    struct rh_ctx ctx = engine_ctx(run->move->engine, err);
    enum rh_status status = run->fence ? RH_OK : driver->new (&ctx, run->block->options, &run->fence);
    if (status == RH_OK)
        status = driver->connect(&ctx, run->fence);
    if (status == RH_OK)
        status = driver->facts(&ctx, run->fence, &run->facts);
    return fence_status(err, status);
}

/* One server has one fence: the second closing would wait for the first. */
static enum rh_status refuse_twice(const struct fences *fences, size_t index, struct rh_error *err)
{
    const struct fence_run *run = &fences->runs[index];
    for (size_t i = 0; i < index; i++)
        if (fences->runs[i].block->driver == run->block->driver &&
            strcmp(fences->runs[i].facts.identity, run->facts.identity) == 0) {
            rh_fail(err, RH_E_REFUSED, "%s: the server '%s' has a fence already, at %s", run->block->place,
                    run->facts.address, fences->runs[i].block->place);
            rh_error_hint(err, "name each server once; moves of one server's keystores belong to plans of their own");
            return RH_E_REFUSED;
        }
    return RH_OK;
}

/* Says what became of a closing by an earlier process, which the journal still holds for unfinished. */
static enum rh_status
say_before(struct fence_run *run, struct rh_buf *state, struct rh_buf *epoch, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(run->move->engine, err);
    enum rh_fence_outcome outcome;
    fence_say_guardian(run);
    enum rh_status status = fact_get(run->move, fence_fact(run->number, "state").name, state, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK)
        status = fact_get(run->move, fence_fact(run->number, "epoch").name, epoch, err);
    if (status == RH_NOT_FOUND)
        status = RH_OK;
    if (status == RH_OK)
        status = fence_status(
            err, run->block->driver->probe(&ctx, run->fence, rh_buf_cstr(state), rh_buf_cstr(epoch), &outcome));
    if (status == RH_OK)
        check_say(run->move, NULL, RH_FINDING_WARNING, "fence-before", (struct rh_bytes){0},
                  "the run before was cut off with the fence '%s' closed, which %s", run->facts.address,
                  fence_outcome_words(outcome));
    return status;
}

enum rh_status fences_check(struct move_run *move, struct rh_error *err)
{
    struct fences *fences = &move->engine->fences;
    for (size_t i = 0; i < fences->count; i++) {
        struct fence_run *run = &fences->runs[i];
        struct rh_error why = {0};
        if (run->move != move)
            continue;
        enum rh_status status = fence_look(run, &why);
        if (status == RH_OK)
            status = refuse_twice(fences, i, &why);
        rh_auto_buf struct rh_buf state = RH_BUF_INIT, epoch = RH_BUF_INIT;
        if (status == RH_OK)
            fence_say_facts(run);
        if (status == RH_OK && move->engine->journal)
            status = say_before(run, &state, &epoch, &why);
        if (status == RH_OK)
            continue;
        if (status == RH_E_MEMORY || status == RH_E_CANCELLED)
            return rh_fail(err, status, "%s", why.text);
        check_problem(run->move, &run->move->source, status, "fence", (struct rh_bytes){0}, why.hint, "%s", why.text);
    }
    return RH_OK;
}

void fences_say_forgotten(struct rh_engine *engine)
{
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        for (size_t n = move->plan->fence_count; n < FENCES_MOST; n++) {
            rh_auto_buf struct rh_buf state = RH_BUF_INIT;
            if (fact_get(move, fence_fact(n, "state").name, &state, NULL) == RH_OK)
                check_say(move, NULL, RH_FINDING_WARNING, "fence-forgotten", (struct rh_bytes){0},
                          "an earlier run was cut off with a fence closed that the plan has no more (%s): open it by "
                          "hand, or bring its block back and run 'rehome recover'",
                          RH_SHOW(rh_buf_bytes(&state)));
        }
    }
}

/* --- closing --- */

/* What stands now, and nobody else's fence: may wait for somebody, so that nothing is closed meanwhile. */
static enum rh_status prepare_one(struct fence_run *run, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(run->move->engine, err);
    rh_auto_buf struct rh_buf state = RH_BUF_INIT, epoch = RH_BUF_INIT;
    enum rh_status status = say_before(run, &state, &epoch, err);
    if (status == RH_OK)
        status = fence_status(
            err, run->block->driver->snapshot(&ctx, run->fence, rh_buf_cstr(&state), rh_buf_cstr(&epoch), &run->state));
    return status;
}

/* Closes one fence: intent, guardian, closing, epoch. */
static enum rh_status close_one(struct fences *fences, size_t index, struct rh_error *err)
{
    struct fence_run *run = &fences->runs[index];
    const struct rh_fence_driver *driver = run->block->driver;
    struct rh_ctx ctx = engine_ctx(run->move->engine, err);
    enum rh_status status = fence_put_intent(run, err);
    if (status == RH_OK)
        status = guardian_watch(fences->guardian, index, rh_buf_cstr(&run->state), err);
    if (status != RH_OK)
        return status;
    rh_crash_point("fence");
    rh_buf_clear(&run->epoch);
    run->closed = true;
    run->closed_us = rh_clock_us();
    run->closed_utc_us = rh_utc_us();
    status = fence_status(err, driver->close(&ctx, run->fence, &run->epoch));
    rh_crash_point("fence");
    if (status == RH_OK)
        status = guardian_note(fences->guardian, index, rh_buf_cstr(&run->epoch), run->closed_utc_us, err);
    if (status == RH_OK)
        status = fence_put_epoch(run, err);
    if (status == RH_OK)
        rh_log(RH_LOG_INFO, "fence closed", {"move", run->move->plan->name}, {"server", run->facts.address},
               {"opened_without_us_by", run->facts.no_timer[0] ? "guardian" : "guardian, server's timer"});
    return status;
}

enum rh_status fences_look(struct rh_engine *engine, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < fences->count; i++) {
        status = fence_look(&fences->runs[i], err);
        if (status == RH_OK)
            status = refuse_twice(fences, i, err);
        if (status == RH_OK)
            fence_say_facts(&fences->runs[i]);
    }
    return status == RH_OK ? guardian_arm(fences->guardian, rh_journal_name(engine->journal), err) : status;
}

/* Opens one that an earlier process left closed. */
static enum rh_status recover_one(struct fence_run *run, struct rh_error *err)
{
    rh_auto_buf struct rh_buf state = RH_BUF_INIT, epoch = RH_BUF_INIT;
    struct rh_ctx ctx = engine_ctx(run->move->engine, err);
    enum rh_fence_outcome outcome;
    fence_say_guardian(run);
    enum rh_status status = fact_get(run->move, fence_fact(run->number, "state").name, &state, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK)
        status = fact_get(run->move, fence_fact(run->number, "epoch").name, &epoch, err);
    if (status == RH_NOT_FOUND)
        status = RH_OK;
    if (status == RH_OK)
        status = fence_look(run, err);
    if (status == RH_OK)
        status = fence_status(
            err, run->block->driver->open(&ctx, run->fence, rh_buf_cstr(&state), rh_buf_cstr(&epoch), &outcome));
    if (status == RH_OK && outcome == RH_FENCE_TAKEN)
        return rh_fail(err, RH_E_LOCKED, "another rehome holds the fence '%s' closed", run->facts.address);
    if (status != RH_OK)
        return status;
    check_say(run->move, NULL, RH_FINDING_WARNING, "fence-before", (struct rh_bytes){0},
              "the run before was cut off with the fence '%s' closed, which %s", run->facts.address,
              fence_outcome_words(outcome));
    return fence_put_opened(run->move->engine->journal, run->move->plan->name, run->number,
                            outcome == RH_FENCE_OPENED ? "recover" : fence_outcome_words(outcome), -1, err);
}

/* What an earlier process left closed is opened where that can be: this one doesn't come to it. */
static void open_left(struct fences *fences)
{
    for (size_t i = 0; i < fences->count; i++) {
        struct rh_error why = {0};
        if (!fences->runs[i].closed && rh_failed(recover_one(&fences->runs[i], &why)))
            rh_log(RH_LOG_DEBUG, "a fence of the run before can't be looked at", {"reason", why.text});
    }
}

enum rh_status fences_close(struct rh_engine *engine, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    fences_say_forgotten(engine);
    if (fences->count == 0)
        return RH_OK;
    fences->broken = false;
    enum rh_status status = RH_OK;
    /* a passphrase takes its time, and may be wrong: not while somebody waits */
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = digest_load(&engine->moves[i], err);
    if (status == RH_OK)
        status = fences_look(engine, err);
    for (size_t i = 0; status == RH_OK && i < fences->count; i++)
        status = prepare_one(&fences->runs[i], err);
    fences->renewed_us = rh_clock_us();
    for (size_t i = 0; status == RH_OK && i < fences->count; i++)
        status = close_one(fences, i, err);
    fences->closed = status == RH_OK;
    rh_crash_point("fence");
    if (status == RH_OK)
        return RH_OK;
    status = fences_open(engine, status, err);
    open_left(fences);
    return status;
}

enum rh_status fences_journal(struct move_run *move, struct rh_error *err)
{
    const struct fences *fences = &move->engine->fences;
    struct rh_journal *journal = move->engine->journal;
    if (!fences->closed || move->plan->fence_count == 0)
        return RH_OK;
    int64_t begun_utc_us = 0;
    for (size_t i = 0; i < fences->count && begun_utc_us == 0; i++)
        if (fences->runs[i].move == move)
            begun_utc_us = fences->runs[i].closed_utc_us;
    enum rh_status status = rh_journal_step_begun(journal, move->plan->name, "close", begun_utc_us, err);
    return status == RH_OK ? rh_journal_step_outcome(journal, move->plan->name, "close", RH_STEP_DONE, "", err)
                           : status;
}

/* --- holding --- */

/* From now on nothing that this pass does counts. */
static enum rh_status fail_epoch(struct fences *fences, const struct rh_error *why, struct rh_error *err)
{
    if (!fences->broken) {
        fences->why = *why;
        fences->why.retry = RH_RETRY_NEVER;
        rh_ignore(rh_error_prepend(&fences->why, "a fence didn't hold, so this pass doesn't count and the same command "
                                                 "begins anew"));
        if (fences->why.side == RH_SIDE_NONE)
            fences->why.side = RH_SIDE_SOURCE;
        rh_log(RH_LOG_WARN, "a fence didn't hold", {"reason", why->text});
    }
    fences->broken = true;
    if (err)
        *err = fences->why;
    return fences->why.status;
}

enum rh_status fences_hold(struct rh_engine *engine, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    struct rh_error why = {0};
    struct rh_ctx ctx = {.err = &why}; /* also when a stop was asked for: the epoch is what it is */
    if (fences->broken) {
        if (err)
            *err = fences->why;
        return fences->why.status;
    }
    if (!fences->closed)
        return RH_OK;
    enum rh_status status = RH_OK;
    const int64_t now_us = rh_clock_us();
    for (size_t i = 0; status == RH_OK && i < fences->count; i++)
        status = fence_status(&why, fences->runs[i].block->driver->renew(&ctx, fences->runs[i].fence));
    if (status == RH_OK)
        status = guardian_beat(fences->guardian, &why);
    if (status != RH_OK)
        return fail_epoch(fences, &why, err);
    fences->renewed_us = now_us;
    return RH_OK;
}

bool fences_tick(struct rh_engine *engine)
{
    struct fences *fences = &engine->fences;
    if (!pthread_equal(pthread_self(), fences->main) || !fences->closed)
        return true;
    if (!fences->broken && !guardian_alive(fences->guardian)) {
        struct rh_error why = {0};
        rh_fail(&why, RH_E_INTERNAL, "the guardian, a process beside this one, has ended");
        rh_ignore(fail_epoch(fences, &why, NULL)); /* said by who returns it */
    }
    if (!fences->broken && rh_clock_us() - fences->renewed_us >= fences->lease_us / RENEWALS)
        rh_ignore(fences_hold(engine, NULL)); /* as above */
    return !fences->broken;
}

/* --- after a crash --- */

enum rh_status fences_recover(struct rh_engine *engine, struct rh_error *err)
{
    struct fences *fences = &engine->fences;
    enum rh_status status = RH_OK;
    fences_say_forgotten(engine);
    for (size_t i = 0; i < fences->count; i++) {
        struct rh_error why = {0};
        const enum rh_status one = recover_one(&fences->runs[i], &why);
        if (one == RH_OK || status != RH_OK)
            continue;
        status = one;
        if (err)
            *err = why;
    }
    return status;
}

/* --- what the servers have loaded --- */

/* Whether two paths lead to one file; an absent one leads nowhere. */
static bool same_file(const char *one, const char *other)
{
    struct stat a, b;
    return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

void fences_say_loaded(struct move_run *move)
{
    const struct fences *fences = &move->engine->fences;
    for (size_t i = 0; i < fences->count; i++) {
        const struct fence_run *run = &fences->runs[i];
        const char *loaded = run->facts.loaded;
        if (run->move != move || !loaded[0] || same_file(loaded, move->source.facts.address) ||
            same_file(loaded, move->destination.facts.address))
            continue;
        check_say(move, NULL, RH_FINDING_WARNING, "fence-loaded", (struct rh_bytes){0},
                  "the keystore that %s has loaded, %s, is neither source nor destination as seen from here: is it the "
                  "right server?",
                  run->facts.address, RH_SHOW(rh_bytes_text(loaded)));
    }
}

enum rh_status fences_refuse_loaded(struct move_run *move, struct rh_error *err)
{
    const struct fences *fences = &move->engine->fences;
    rh_auto_buf struct rh_buf saved = RH_BUF_INIT;
    if (fact_get(move, "whole.saved", &saved, NULL) == RH_OK && saved.size)
        return RH_OK; /* a keystore stays there */
    for (size_t i = 0; i < fences->count; i++) {
        const struct fence_run *run = &fences->runs[i];
        const char *loaded = run->facts.loaded;
        if (run->move != move || !loaded[0] || !same_file(loaded, move->destination.facts.address))
            continue;
        rh_fail(err, RH_E_REFUSED, "the server '%s' has the destination loaded, so it can't be taken away: '%s'",
                run->facts.address, RH_SHOW(rh_bytes_text(loaded)));
        rh_error_hint(err, "a move the other way round (on_conflict = \"keep-equal\") brings its keys back; send the "
                           "server to another keystore first");
        err->side = RH_SIDE_DESTINATION;
        return RH_E_REFUSED;
    }
    return RH_OK;
}

/* --- settling --- */

enum rh_status source_stamp(struct move_run *move, struct rh_buf *ret_stamp, struct rh_error *err)
{
    struct side *side = &move->source;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_buf_clear(ret_stamp);
    enum rh_status status = whole_of(side)->stamp(&ctx, side->session, ret_stamp);
    return status == RH_NOT_FOUND ? RH_OK : side_status(side, err, status);
}

enum rh_status fences_settle(struct move_run *move, struct rh_error *err)
{
    /* a store that isn't one file is watched by its digests: A of the copy and B of the comparison */
    if (!move->engine->fences.closed || !whole_of(&move->source) || !whole_of(&move->source)->stamp)
        return RH_OK;
    const int64_t until = rh_clock_us() + SETTLE_LIMIT_US;
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, now = RH_BUF_INIT;
    bool have = false;
    for (;;) {
        struct rh_error why = {0};
        enum rh_status status = source_stamp(move, &now, &why);
        if (status == RH_OK && have && rh_bytes_equal(rh_buf_bytes(&before), rh_buf_bytes(&now)))
            return RH_OK;
        if (status != RH_OK && (status != RH_E_CORRUPT || rh_clock_us() > until)) {
            if (err)
                *err = why;
            return status;
        }
        if (rh_clock_us() > until) {
            rh_fail(err, RH_E_MISMATCH, "the source '%s' is still being written after its servers were paused",
                    move->source.facts.address);
            rh_error_hint(err, "find out who writes it: a server without a fence in the plan?");
            if (err)
                err->side = RH_SIDE_SOURCE;
            return RH_E_MISMATCH;
        }
        have = status == RH_OK;
        rh_buf_clear(&before);
        if (have && (status = rh_buf_add(&before, now.data, now.size, err)) != RH_OK)
            return status;
        rh_sleep_us(SETTLE_PAUSE_US);
        if (!fences_tick(move->engine))
            return fences_hold(move->engine, err);
    }
}
