/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass is one walk through a move's steps: how it begins, and what is looked at before one that was interrupted goes
 * on.
 */
#include "internal.h"

/* A state that ends a pass: one that was to carry over is over. */
static enum rh_status state_end(struct move_run *move, const char *state, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = fact_put(move, "state", state, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move->plan->name, "carries-over", err);
    if (status == RH_OK)
        status = rh_journal_commit(journal, err);
    else
        rh_journal_abort(journal);
    move->carries_over = move->carries_over && status != RH_OK;
    return status;
}

enum rh_status pass_state_set(struct move_run *move, const char *state, struct rh_error *err)
{
    const bool goes_on =
        strcmp(state, STATE_RUNNING) == 0 || strcmp(state, STATE_FAILED) == 0 || strcmp(state, STATE_ROLLING_BACK) == 0;
    return goes_on ? fact_put(move, "state", state, err) : state_end(move, state, err);
}

/* Names of the facts that say which store a side is. */
struct place_names {
    char identity[32], address[32];
};

static struct place_names place_names(const struct side *side)
{
    struct place_names names;
    snprintf(names.identity, sizeof names.identity, "identity.%s", side_name(side->which));
    snprintf(names.address, sizeof names.address, "address.%s", side_name(side->which));
    return names;
}

/* Journals which stores the pass is between. */
static enum rh_status place_put(struct move_run *move, const struct side *side, struct rh_error *err)
{
    const struct place_names names = place_names(side);
    enum rh_status status = fact_put(move, names.identity, side->facts.identity, err);
    return status == RH_OK ? fact_put(move, names.address, side->facts.address, err) : status;
}

/* Refuses a side that isn't the store which the journal speaks of: the plan was changed meanwhile. One of identity and
 * address must be the same: a folder has another identity once it is made, a server another address once it is moved.
 */
enum rh_status place_check(struct move_run *move, const struct side *side, struct rh_error *err)
{
    const struct place_names names = place_names(side);
    rh_auto_buf struct rh_buf address = RH_BUF_INIT;
    enum rh_status status = fact_get(move, names.address, &address, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status != RH_OK || fact_is(move, names.identity, side->facts.identity) ||
        fact_is(move, names.address, side->facts.address))
        return status;
    rh_fail(err, RH_E_REFUSED, "the %s '%s' isn't the one that move '%s' was begun with, which is '%s'",
            side_name(side->which), side->facts.address, move->plan->name, rh_buf_cstr(&address));
    rh_error_hint(err,
                  "bring the plan's former %s back and roll back or finish that move, or begin a plan of another "
                  "name",
                  side_name(side->which));
    err->side = side->which;
    return RH_E_REFUSED;
}

enum rh_status places_check(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = place_check(move, &move->source, err);
    return status == RH_OK ? place_check(move, &move->destination, err) : status;
}

/* Everything that belongs to one pass goes; what belongs to the way back (undo log, digest key, "missing") stays. */
enum rh_status pass_begin(struct move_run *move, bool marked, struct rh_error *err)
{
    static const char *const facts[] = {"samples",
                                        "resumes",
                                        "extras",
                                        "verified",
                                        "recovered",
                                        "proof",
                                        "rollback.blocks",
                                        "rollback.left",
                                        "rollback.left-so-far",
                                        "fingerprint.source",
                                        "fingerprint.destination",
                                        "marker"};
    struct rh_journal *journal = move->engine->journal;
    const char *name = move->plan->name;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_new_pass(journal, name, err);
    /* markers that stand go on standing for the new pass */
    const size_t count = sizeof facts / sizeof *facts - (marked ? 1 : 0);
    for (size_t i = 0; status == RH_OK && i < count; i++)
        status = rh_journal_remove(journal, name, facts[i], err);
    static const char *const kinds[] = {"differs", "not-ours", "key-missing", "key-wrong", "unproven"};
    for (size_t i = 0; status == RH_OK && i < sizeof kinds / sizeof *kinds; i++)
        status = rh_journal_notes_clear(journal, name, kinds[i], err);
    if (status == RH_OK)
        status = place_put(move, &move->source, err);
    if (status == RH_OK)
        status = place_put(move, &move->destination, err);
    if (status == RH_OK)
        status = pass_state_set(move, STATE_RUNNING, err);
    move->samples = (struct samples){0};
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* Remembers what the containers are, or compares with what they were: nobody may swap a store under a resumed move. */
enum rh_status pass_fingerprint(struct move_run *move, struct side *side, struct rh_error *err)
{
    const struct rh_guard_ops *guard = side->store->driver->guard;
    if (!guard || !guard->fingerprint)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    char fact[64];
    snprintf(fact, sizeof fact, "fingerprint.%s", side_name(side->which));
    rh_auto_buf struct rh_buf now = RH_BUF_INIT, before = RH_BUF_INIT;
    enum rh_status status = side_status(side, err, guard->fingerprint(&ctx, side->session, &now));
    if (status == RH_OK)
        status = fact_get(move, fact, &before, err);
    if (status == RH_NOT_FOUND)
        return rh_journal_put_once(move->engine->journal, move->plan->name, fact, rh_buf_bytes(&now), err);
    if (status != RH_OK || rh_bytes_equal(rh_buf_bytes(&now), rh_buf_bytes(&before)))
        return status;
    rh_fail(err, RH_E_REFUSED, "the %s '%s' isn't the one that this move began with: it was replaced or made anew",
            side_name(side->which), side->facts.address);
    rh_error_hint(err,
                  "bring the former one back, or begin a new plan; what this one wrote is listed by 'rehome status'");
    err->side = side->which;
    return RH_E_REFUSED;
}

/* Looks at both sides again before going on where an earlier process stopped. */
enum rh_status pass_resume(struct move_run *move, bool *ret_start_over, struct rh_error *err)
{
    static const char *const steps[] = {"mark-destination", "mark-source"};
    struct side *const sides[] = {&move->destination, &move->source};
    *ret_start_over = fact_is(move, "recovered", "yes");
    enum rh_status status = marker_prepare(move, err);
    for (size_t i = 0; status == RH_OK && !*ret_start_over && i < 2; i++) {
        bool marked = false, was_there = true;
        status = step_done(move, steps[i], &marked, err);
        if (status != RH_OK || !marked || (i == 1 && !move->plan->source_marker))
            continue;
        status = pass_fingerprint(move, sides[i], err);
        if (status == RH_OK)
            status = marker_take(move, sides[i], &was_there, err);
        if (status == RH_OK && !was_there) {
            rh_log(
                RH_LOG_WARN,
                "a marker of this move was taken away meanwhile: what was copied doesn't count, the move starts over",
                {"move", move->plan->name});
            *ret_start_over = true;
        }
    }
    return status;
}

/* Whether an earlier pass's marker still stands: a source that couldn't be reached when the move went back. */
enum rh_status pass_marked(struct move_run *move, bool *ret_marked, struct rh_error *err)
{
    *ret_marked = false;
    enum rh_status status = fact_get(move, "marker", &move->marker, err);
    if (status != RH_OK)
        return status == RH_NOT_FOUND ? RH_OK : status;
    status = marker_stands(move, &move->source, ret_marked, err);
    return status == RH_OK && !*ret_marked ? marker_stands(move, &move->destination, ret_marked, err) : status;
}
