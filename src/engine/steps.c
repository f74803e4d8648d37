/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step list of an offline move, and the verbs that walk it. Every step may be repeated; the journal says which are
 * done. Phases are barriers over all moves of a plan: no move copies before all are marked, none is unmarked before all
 * are verified.
 */
#include "internal.h"

#include <unistd.h>

/* The states of a move, as the journal's fact "state". */
#define STATE_RUNNING "running"
#define STATE_COMPLETE "complete"
#define STATE_FAILED "failed"
#define STATE_ROLLING_BACK "rolling-back"
#define STATE_ROLLED_BACK "rolled-back"
#define STATE_FINISHED "finished"

typedef enum rh_status step_do(struct move_run *move, struct rh_error *err);

/* New control sessions, after a failure that may have killed the old ones. */
static enum rh_status reconnect(struct move_run *move, struct rh_error *err)
{
    struct side *const sides[] = {&move->source, &move->destination};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < 2; i++) {
        side_session_close(sides[i]->session);
        sides[i]->session = NULL;
        status = side_open(move, sides[i], err);
    }
    return status;
}

/* Does a step's work; a lost connection is tried again for the retry time, since every step may be repeated. */
static enum rh_status do_patiently(struct move_run *move, step_do *run, struct rh_error *err)
{
    const int64_t give_up_us = rh_clock_us() + engine_retry_us(move->engine);
    bool lost = false;
    for (;;) {
        struct rh_error why = {0};
        move->note[0] = '\0';
        enum rh_status status = lost ? reconnect(move, &why) : RH_OK;
        if (status == RH_OK)
            status = run(move, &why);
        const struct rh_ctx ctx = engine_ctx(move->engine, &why);
        lost = rh_failed(status) && why.retry == RH_RETRY_RECONNECT;
        if (!lost || rh_clock_us() >= give_up_us || rh_ctx_check(&ctx) != RH_OK) {
            if (rh_failed(status) && err)
                *err = why;
            return status;
        }
        rh_log(RH_LOG_WARN, "trying again", {"move", move->plan->name}, {"reason", why.text});
        rh_sleep_us(500 * 1000);
    }
}

/* Runs one step between its intent and its outcome; a step that is done stays done. */
static enum rh_status step(struct move_run *move, const char *name, step_do *run, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    bool done = false;
    enum rh_status status = step_done(move, name, &done, err);
    if (status != RH_OK || done)
        return status;
    status = rh_journal_step_intent(journal, move->plan->name, name, err);
    if (status != RH_OK)
        return status;
    status = do_patiently(move, run, err);
    if (status == RH_OK)
        return rh_journal_step_outcome(journal, move->plan->name, name, RH_STEP_DONE, move->note, err);
    if (err && status != RH_E_CANCELLED)
        rh_ignore(rh_journal_step_outcome(journal, move->plan->name, name, RH_STEP_FAILED, err->text,
                                          NULL)); /* the failure itself matters more */
    return status;
}

/* --- the digest's key: made once a move, sealed in the journal --- */

static enum rh_status digest_binding(struct move_run *move, struct rh_buf *ret_binding, struct rh_error *err)
{
    return rh_buf_format(ret_binding, err, "%s/%s", rh_journal_name(move->engine->journal), move->plan->name);
}

static enum rh_status digest_make(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT, sealed = RH_BUF_INIT;
    struct rh_digest_key fresh;
    enum rh_status status = rh_digest_key_new(&fresh, err);
    if (status == RH_OK)
        status = digest_binding(move, &binding, err);
    if (status == RH_OK)
        status = rh_seal_blob(move->engine->provider, "digest-key", rh_buf_bytes(&binding),
                              rh_bytes(fresh.secret, sizeof fresh.secret), &sealed, err);
    rh_wipe(&fresh, sizeof fresh);
    if (status == RH_OK)
        status = rh_journal_put_once(move->engine->journal, move->plan->name, "digest-key", rh_buf_bytes(&sealed), err);
    return status;
}

/* Loads the key, making it first where there is none. Unsealing what was just sealed proves that the way back can be
 * read. */
static enum rh_status digest_load(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT, sealed = RH_BUF_INIT;
    enum rh_status status = engine_provider_need(move->engine, err);
    if (status == RH_OK)
        status = fact_get(move, "digest-key", &sealed, err);
    if (status == RH_NOT_FOUND) {
        status = digest_make(move, err);
        if (status == RH_OK)
            status = fact_get(move, "digest-key", &sealed, err);
    }
    if (status == RH_OK)
        status = digest_binding(move, &binding, err);
    rh_auto_secret struct rh_secret *plain = NULL;
    if (status == RH_OK)
        status = rh_unseal_blob(move->engine->provider, "digest-key", rh_buf_bytes(&binding), rh_buf_bytes(&sealed),
                                &plain, err);
    if (status != RH_OK) {
        if (rh_failed(status))
            rh_error_prepend(err, "reading the move's sealed key from the journal");
        return status;
    }
    const struct rh_bytes bytes = rh_secret_bytes(plain);
    if (bytes.size != sizeof move->digest.secret)
        return rh_fail(err, RH_E_CORRUPT, "the move's sealed key has %zu bytes", bytes.size);
    memcpy(move->digest.secret, bytes.data, bytes.size);
    return RH_OK;
}

/* --- the steps --- */

/* Writes the survey's result: ranges and counts, in one transaction. */
static enum rh_status survey_journal(struct move_run *move, struct survey *survey, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    const char *name = move->plan->name;
    uint8_t extras[RH_SUM_BYTES];
    rh_sum_encode(&(struct rh_sum){.count = survey->extras, .sum = survey->extra_names}, extras);
    snprintf(move->note, sizeof move->note, "%llu records, %llu on both sides, %llu extra on the destination",
             (unsigned long long)survey->source_count, (unsigned long long)survey->conflicts,
             (unsigned long long)survey->extras);
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; status == RH_OK && i < survey->range_count; i++)
        status = rh_journal_range_add(journal, name, &survey->ranges[i].state, err);
    if (status == RH_OK)
        status = rh_journal_put(journal, name, "extras", rh_bytes(extras, sizeof extras), err);
    if (status == RH_OK)
        status = rh_journal_put(journal, name, "start",
                                rh_bytes_text(move->engine->args.start ? move->engine->args.start : ""), err);
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, name, "survey", RH_STEP_DONE, move->note, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

static enum rh_status do_survey(struct move_run *move, struct rh_error *err)
{
    struct survey survey;
    enum rh_status status = survey_run(move, &survey, err);
    if (status != RH_OK)
        return status;
    status = check_verdict(move, err);
    if (status == RH_OK)
        status = survey_journal(move, &survey, err);
    survey_done(&survey);
    return status;
}

/* Makes what is missing at the destination, having journaled what that is. */
static enum rh_status do_prepare(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_schema_ops *schema = side->store->driver->schema;
    if (!schema)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    uint32_t missing = 0;
    enum rh_status status = side_status(side, err, schema->missing(&ctx, side->session, &missing));
    if (status != RH_OK)
        return status;
    char text[16];
    snprintf(text, sizeof text, "%u", missing);
    /* what was missing before our first attempt decides what may be dropped; a second attempt doesn't change it */
    status = rh_journal_put_once(move->engine->journal, move->plan->name, "missing", rh_bytes_text(text), err);
    if (status != RH_OK && status != RH_EXISTS)
        return status;
    status = missing ? side_status(side, err, schema->before(&ctx, side->session, missing)) : RH_OK;
    if (status == RH_OK)
        status = side_status(side, err, side->store->driver->facts(&ctx, side->session, &side->facts));
    return status;
}

static enum rh_status do_mark_destination(struct move_run *move, struct rh_error *err)
{
    bool was_there;
    return marker_take(move, &move->destination, &was_there, err);
}

static enum rh_status do_mark_source(struct move_run *move, struct rh_error *err)
{
    bool was_there;
    return move->plan->source_marker ? marker_take(move, &move->source, &was_there, err) : RH_OK;
}

static enum rh_status do_copy(struct move_run *move, struct rh_error *err)
{
    return copy_run(move, err);
}

/* Ranges whose source changed are copied anew by the next run, where the plan lets us replace what we wrote. */
static enum rh_status forget_changed(struct move_run *move, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; status == RH_OK && i < move->range_count; i++) {
        const struct rh_range_state *state = &move->ranges[i].state;
        if (rh_sum_equal(&state->copied, &state->source))
            continue;
        status = range_forget(move, &move->ranges[i], state->source.count, err);
    }
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, move->plan->name, "copy", RH_STEP_FAILED,
                                         "the source changed; its ranges are copied again", err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* The failure that a verification's result amounts to, in words. */
static enum rh_status judge(struct move_run *move, const struct verify_result *result, struct rh_error *err)
{
    if (result->equal && result->source_still && result->extras_equal)
        return RH_OK;
    rh_fail(err, RH_E_MISMATCH, "%s%s%s%llu missing, %llu differing of %llu records",
            result->source_still ? "" : "the source isn't as it was copied; ",
            result->extras_equal ? "" : "the destination's extra keys changed; ",
            result->equal ? "both sides are equal: " : "the sides differ: ", (unsigned long long)result->missing,
            (unsigned long long)result->differing, (unsigned long long)result->b.count);
    err->side = result->source_still ? RH_SIDE_DESTINATION : RH_SIDE_SOURCE;
    if (!result->source_still && move->plan->on_conflict == RH_CONFLICT_OVERWRITE)
        rh_error_hint(
            err,
            "stop whatever writes to the source, then run the same command again: the changed ranges are copied anew");
    else if (!result->source_still)
        rh_error_hint(err, "stop whatever writes to the source, roll back, then run again");
    else if (!result->equal)
        rh_error_hint(err, "'rehome verify --repair' mends what differs; 'rehome rollback' goes back");
    else
        rh_error_hint(err, "find out who writes to the destination");
    return RH_E_MISMATCH;
}

static enum rh_status do_verify(struct move_run *move, struct rh_error *err)
{
    if (!move->plan->verify || move->engine->args.verify_off)
        return fact_put(move, "verified", "no", err);
    struct verify_result result;
    enum rh_status status = verify_run(move, false, &result, err);
    if (status != RH_OK)
        return status;
    status = judge(move, &result, err);
    if (status == RH_E_MISMATCH && !result.source_still && move->plan->on_conflict == RH_CONFLICT_OVERWRITE) {
        struct rh_error second = {0};
        if (forget_changed(move, &second) != RH_OK && err)
            rh_error_prepend(err, "%s; and", second.text);
    }
    return status == RH_OK ? fact_put(move, "verified", "yes", err) : status;
}

/* Source first, destination last: it was the first to be marked. */
static enum rh_status do_unmark(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = move->source.session ? marker_drop(move, &move->source, err) : RH_OK;
    return status == RH_OK ? marker_drop(move, &move->destination, err) : status;
}

/* --- beginning, resuming, going back --- */

static enum rh_status state_set(struct move_run *move, const char *state, struct rh_error *err)
{
    return fact_put(move, "state", state, err);
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
static enum rh_status place_check(struct move_run *move, const struct side *side, struct rh_error *err)
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

static enum rh_status places_check(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = place_check(move, &move->source, err);
    return status == RH_OK ? place_check(move, &move->destination, err) : status;
}

/* Everything that belongs to one pass goes; what belongs to the way back (undo log, digest key, "missing") stays. */
static enum rh_status begin_pass(struct move_run *move, bool marked, struct rh_error *err)
{
    static const char *const facts[] = {"extras",
                                        "verified",
                                        "recovered",
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
    static const char *const kinds[] = {"differs", "not-ours"};
    for (size_t i = 0; status == RH_OK && i < 2; i++)
        status = rh_journal_notes_clear(journal, name, kinds[i], err);
    if (status == RH_OK)
        status = place_put(move, &move->source, err);
    if (status == RH_OK)
        status = place_put(move, &move->destination, err);
    if (status == RH_OK)
        status = state_set(move, STATE_RUNNING, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* Remembers what the containers are, or compares with what they were: nobody may swap a store under a resumed move. */
static enum rh_status check_fingerprint(struct move_run *move, struct side *side, struct rh_error *err)
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

/* The way back of a move that is rolled back or finished: given up for good. Repeated by whoever comes after a crash in
 * its middle. */
static enum rh_status drop_way_back(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = rh_undo_forget(move->engine->journal, move->plan->name, err);
    return status == RH_OK ? rh_journal_remove(move->engine->journal, move->plan->name, "missing", err) : status;
}

/* Takes both sides' markers, destination first. */
static enum rh_status take_markers(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = marker_prepare(move, err);
    if (status == RH_OK)
        status = do_mark_destination(move, err);
    return status == RH_OK ? do_mark_source(move, err) : status;
}

/* Drops the container if it was made by us and is empty. */
static enum rh_status undo_prepare(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    uint64_t missing = 0;
    enum rh_status status = fact_get(move, "missing", &text, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK)
        status = rh_parse_u64(rh_buf_bytes(&text), &missing);
    if (status != RH_OK || missing == 0)
        return status;
    struct side *side = &move->destination;
    struct rh_error why = {0};
    struct rh_ctx ctx = engine_ctx(move->engine, &why);
    status = side->store->driver->schema->undo(&ctx, side->session, (uint32_t)missing);
    if (status == RH_EXISTS) {
        check_say(move, side, RH_FINDING_WARNING, "kept", (struct rh_bytes){0}, "stays, since it isn't empty: %s",
                  why.text[0] ? why.text : side->facts.address);
        return RH_OK;
    }
    if (rh_failed(status) && err)
        *err = why;
    return side_status(side, err, status);
}

/* The whole way back of one move whose sides are open. */
static enum rh_status go_back(struct move_run *move, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = state_set(move, STATE_ROLLING_BACK, err);
    if (status == RH_OK)
        status = rh_journal_step_intent(journal, move->plan->name, "rollback", err);
    if (status == RH_OK && move->destination.facts.exists != RH_NO) {
        status = marker_prepare(move, err);
        if (status == RH_OK)
            status = do_mark_destination(move, err);
        if (status == RH_OK)
            status = rollback_run(move, err);
        if (status == RH_OK)
            status = do_unmark(move, err);
    }
    /* also where the container isn't there: what is around it may be ours (a database without its table) */
    if (status == RH_OK)
        status = undo_prepare(move, err);
    rh_crash_point("rollback");
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, move->plan->name, "rollback", RH_STEP_DONE, "", err);
    if (status == RH_OK)
        status = state_set(move, STATE_ROLLED_BACK, err);
    return status == RH_OK ? drop_way_back(move, err) : status;
}

/* Looks at both sides again before going on where an earlier process stopped. */
static enum rh_status resume_checks(struct move_run *move, bool *ret_start_over, struct rh_error *err)
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
        status = check_fingerprint(move, sides[i], err);
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
static enum rh_status marked_anywhere(struct move_run *move, bool *ret_marked, struct rh_error *err)
{
    *ret_marked = false;
    enum rh_status status = fact_get(move, "marker", &move->marker, err);
    if (status != RH_OK)
        return status == RH_NOT_FOUND ? RH_OK : status;
    status = marker_stands(move, &move->source, ret_marked, err);
    return status == RH_OK && !*ret_marked ? marker_stands(move, &move->destination, ret_marked, err) : status;
}

/* Checks, and either begins a pass or prepares to go on with one. */
static enum rh_status phase_begin(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = digest_load(move, err);
    if (status != RH_OK)
        return status;
    if (fact_is(move, "state", STATE_ROLLING_BACK)) {
        status = check_sides(move, true, err);
        if (status == RH_OK)
            status = check_verdict(move, err);
        if (status == RH_OK)
            status = places_check(move, err);
        if (status == RH_OK)
            status = go_back(move, err);
        if (status != RH_OK)
            return status;
        side_close(&move->source);
        side_close(&move->destination);
    }
    if (fact_is(move, "state", STATE_ROLLED_BACK) || fact_is(move, "state", STATE_FINISHED))
        status = drop_way_back(move, err);
    if (status != RH_OK)
        return status;
    bool resuming = fact_is(move, "state", STATE_RUNNING) || fact_is(move, "state", STATE_FAILED);
    bool surveyed = false;
    if (resuming)
        status = step_done(move, "survey", &surveyed, err);
    if (status == RH_OK)
        status = check_sides(move, resuming && surveyed, err);
    if (status == RH_OK)
        status = check_verdict(move, err);
    if (status != RH_OK)
        return status;
    bool start_over = false, verified = false, marked = false;
    if (resuming || fact_is(move, "state", STATE_COMPLETE))
        status = places_check(move, err);
    if (status == RH_OK && resuming)
        status = step_done(move, "verify", &verified, err);
    if (status == RH_OK && resuming && surveyed && (!verified || fact_is(move, "recovered", "yes")))
        status = resume_checks(move, &start_over, err);
    if (status == RH_OK && start_over) {
        status = go_back(move, err);
        if (status == RH_OK)
            status = check_sides(move, false, err);
        if (status == RH_OK)
            status = check_verdict(move, err);
    }
    const bool elsewhere =
        resuming && surveyed && !fact_is(move, "start", move->engine->args.start ? move->engine->args.start : "");
    if (status == RH_OK && (!resuming || start_over || !surveyed || elsewhere)) {
        status = marked_anywhere(move, &marked, err);
        if (status == RH_OK)
            status = begin_pass(move, marked, err);
    }
    if (status == RH_OK)
        status = report_facts(move, err);
    return status == RH_OK ? step(move, "survey", do_survey, err) : status;
}

static enum rh_status phase_mark(struct move_run *move, struct rh_error *err)
{
    bool verified = false;
    enum rh_status status = marker_prepare(move, err);
    if (status == RH_OK)
        status = step(move, "prepare", do_prepare, err);
    if (status == RH_OK)
        status = step_done(move, "verify", &verified, err);
    if (status != RH_OK || verified)
        return status;
    status = step(move, "mark-destination", do_mark_destination, err);
    if (status == RH_OK)
        status = step(move, "mark-source", do_mark_source, err);
    if (status == RH_OK)
        status = check_fingerprint(move, &move->destination, err);
    if (status == RH_OK)
        status = check_fingerprint(move, &move->source, err);
    return status;
}

static enum rh_status phase_copy(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = range_load_all(move, err);
    return status == RH_OK ? step(move, "copy", do_copy, err) : status;
}

static enum rh_status phase_verify(struct move_run *move, struct rh_error *err)
{
    return step(move, "verify", do_verify, err);
}

static enum rh_status phase_unmark(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = step(move, "unmark", do_unmark, err);
    return status == RH_OK ? state_set(move, STATE_COMPLETE, err) : status;
}

/* Failures that trying again can't mend; under on_conflict = fail the move then goes back by itself. */
static bool is_permanent(enum rh_status status)
{
    return status == RH_E_CONFLICT || status == RH_E_MISMATCH || status == RH_E_LIMIT || status == RH_E_REFUSED;
}

/* A move that has begun to write and must not leave a trace. */
static enum rh_status go_back_after(struct rh_engine *engine, struct rh_error *err)
{
    struct rh_error second = {0};
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        bool prepared = false;
        if (move->plan->on_conflict != RH_CONFLICT_FAIL || !fact_is(move, "state", STATE_RUNNING))
            continue;
        if (step_done(move, "survey", &prepared, NULL) != RH_OK || !prepared)
            continue;
        if (reconnect(move, &second) != RH_OK || check_open(move, &second) != RH_OK ||
            go_back(move, &second) != RH_OK) {
            rh_error_prepend(err,
                             "going back failed too (%s); run 'rehome rollback' when that is mended; the first failure",
                             second.text);
            return err->status;
        }
        rh_auto_buf struct rh_buf left = RH_BUF_INIT;
        const bool some_left = fact_get(move, "rollback.left", &left, NULL) == RH_OK && left.size > 0;
        rh_error_prepend(err, some_left ? "rolled back but for records that somebody else has written since"
                                        : "rolled back, the destination is as it was");
    }
    return err->status;
}

/* Marks what failed for good, so that status can tell it from what was interrupted. */
static void note_failed(struct rh_engine *engine, enum rh_status status)
{
    for (size_t i = 0; is_permanent(status) && i < engine->move_count; i++)
        if (fact_is(&engine->moves[i], "state", STATE_RUNNING))
            rh_ignore(state_set(&engine->moves[i], STATE_FAILED, NULL)); /* status falls back to "interrupted" */
}

/* A plan that is complete is compared once more: the same command again never claims what it hasn't seen. */
static enum rh_status run_complete(struct rh_engine *engine, struct rh_error *err)
{
    for (size_t i = 0; i < engine->move_count; i++)
        check_say(&engine->moves[i], NULL, RH_FINDING_FACT, "complete", (struct rh_bytes){0},
                  "was copied and is complete; comparing both sides again. 'rehome rollback' goes back, 'rehome "
                  "finish' gives the way back up");
    enum rh_status status = rh_engine_verify(engine, false, err);
    /* a repair that was killed leaves them */
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        if (fact_get(move, "marker", &move->marker, NULL) == RH_OK)
            status = do_unmark(move, err);
    }
    return status;
}

static bool all_complete(struct rh_engine *engine)
{
    for (size_t i = 0; i < engine->move_count; i++)
        if (!fact_is(&engine->moves[i], "state", STATE_COMPLETE))
            return false;
    return true;
}

enum rh_status rh_engine_run(struct rh_engine *engine, struct rh_error *err)
{
    static step_do *const phases[] = {phase_begin, phase_mark, phase_copy, phase_verify, phase_unmark};
    enum rh_status status = engine_journal_need(engine, RH_JOURNAL_CREATE, err);
    if (status != RH_OK)
        return status;
    const bool again = all_complete(engine);
    if (again && !engine->args.overwrite_initialised)
        return run_complete(engine, err);
    for (size_t phase = 0; phase < sizeof phases / sizeof *phases; phase++) {
        for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
            /* a move that an earlier run completed waits for the others */
            if (again || !fact_is(&engine->moves[i], "state", STATE_COMPLETE))
                status = phases[phase](&engine->moves[i], err);
        if (status == RH_OK)
            continue;
        /* what fails while a pass begins has written nothing: an earlier run's work stays as it is */
        if (phase > 0 && is_permanent(status)) {
            status = go_back_after(engine, err);
            note_failed(engine, status);
        }
        return status;
    }
    return RH_OK;
}

/* --- the other verbs --- */

enum rh_status rh_engine_check(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status verdict = RH_OK;
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        struct survey survey;
        enum rh_status status = rh_digest_key_new(&move->digest, err);
        if (status == RH_OK)
            status = check_sides(move, false, err);
        if (status == RH_OK && move->source.facts.exists != RH_NO) {
            status = survey_run(move, &survey, err);
            if (status == RH_OK) {
                check_say(move, NULL, RH_FINDING_FACT, "counts", (struct rh_bytes){0},
                          "%llu records to copy, %llu on both sides, %llu extra on the destination",
                          (unsigned long long)survey.source_count, (unsigned long long)survey.conflicts,
                          (unsigned long long)survey.extras);
                survey_done(&survey);
            }
        }
        if (status != RH_OK)
            return status;
        if (verdict == RH_OK)
            verdict = check_verdict(move, err);
    }
    return verdict;
}

/* Opens the journal of a plan that must have been run. */
static enum rh_status journal_must(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = engine_journal_need(engine, 0, err);
    if (status != RH_NOT_FOUND)
        return status;
    rh_fail(err, RH_E_REFUSED, "nothing was run with this plan yet: there is no journal in '%s'",
            engine->plan->state_dir);
    rh_error_hint(err, "'rehome run' begins; another --state-dir may hold the journal");
    return RH_E_REFUSED;
}

/* Opens both sides of a move for a verb that comes after run. */
static enum rh_status open_after(struct move_run *move, struct rh_error *err)
{
    move->problems = 0;
    enum rh_status status = digest_load(move, err);
    if (status == RH_OK)
        status = check_open(move, err);
    if (status == RH_OK)
        status = places_check(move, err);
    if (status == RH_OK)
        status = range_load_all(move, err);
    return status;
}

/* Nobody may be at work on a store that we are about to write to. */
static enum rh_status refuse_owner(const struct side *side, struct rh_error *err)
{
    if (side->facts.live_owner[0] == '\0')
        return RH_OK;
    rh_fail(err, RH_E_LOCKED, "the %s '%s' is in use: %s", side_name(side->which), side->facts.address,
            side->facts.live_owner);
    rh_error_hint(err, "stop it, then run this command again");
    err->side = side->which;
    return RH_E_LOCKED;
}

/* Verification of one move, with the markers taken while it may repair. */
static enum rh_status verify_move(struct move_run *move, bool repair, struct rh_error *err)
{
    struct verify_result result;
    bool copied = false;
    /* a repair would put back what the rollback took away, without an undo log to take it away again */
    if (fact_is(move, "state", STATE_ROLLING_BACK) || fact_is(move, "state", STATE_ROLLED_BACK)) {
        rh_fail(err, RH_E_REFUSED, "move '%s' was rolled back, or is on its way back: there is nothing to compare",
                move->plan->name);
        rh_error_hint(err, "'rehome rollback' completes the way back, 'rehome run' moves anew");
        return RH_E_REFUSED;
    }
    enum rh_status status = open_after(move, err);
    if (status == RH_OK)
        status = step_done(move, "copy", &copied, err);
    if (status == RH_OK && !copied) {
        rh_fail(err, RH_E_REFUSED, "move '%s' isn't copied yet, there is nothing to compare", move->plan->name);
        rh_error_hint(err, "'rehome run' goes on with it");
        return RH_E_REFUSED;
    }
    if (status == RH_OK && repair)
        status = refuse_owner(&move->destination, err);
    if (status == RH_OK && repair)
        status = take_markers(move, err);
    if (status != RH_OK)
        return status;
    status = verify_run(move, repair, &result, err);
    if (repair && fact_is(move, "state", STATE_COMPLETE)) {
        struct rh_error second = {0};
        if (do_unmark(move, &second) != RH_OK && status == RH_OK)
            status = rh_fail(err, second.status, "%s", second.text);
    }
    if (status != RH_OK)
        return status;
    check_say(move, NULL, RH_FINDING_FACT, "digests", (struct rh_bytes){0},
              "A (copied) %s, B (source now) %s, C (destination) %s", rh_hash_show(result.a.sum).text,
              rh_hash_show(result.b.sum).text, rh_hash_show(result.c.sum).text);
    check_say(move, NULL, RH_FINDING_FACT, "verified", (struct rh_bytes){0},
              "%llu records compared, %llu missing, %llu differing, %llu extra, %llu mended, %llu left",
              (unsigned long long)result.b.count, (unsigned long long)result.missing,
              (unsigned long long)result.differing, (unsigned long long)result.extras,
              (unsigned long long)result.mended, (unsigned long long)result.left);
    status = judge(move, &result, err);
    return status == RH_OK ? fact_put(move, "verified", "yes", err) : status;
}

enum rh_status rh_engine_verify(struct rh_engine *engine, bool repair, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err), verdict = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        struct rh_error this_err = {0};
        const enum rh_status one = verify_move(&engine->moves[i], repair, &this_err);
        if (one == RH_OK)
            continue;
        if (verdict == RH_OK && err)
            *err = this_err;
        verdict = verdict == RH_OK ? one : verdict;
    }
    return status == RH_OK ? verdict : status;
}

/* Going back writes to the destination alone; a source that can't be reached doesn't stand in the way. */
static enum rh_status open_for_rollback(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = digest_load(move, err);
    if (status == RH_OK)
        status = check_open_one(move, &move->destination, err);
    if (status == RH_OK)
        status = place_check(move, &move->destination, err);
    if (status == RH_OK)
        status = range_load_all(move, err);
    struct rh_error why = {0};
    if (status == RH_OK && !rh_failed(check_open_one(move, &move->source, &why)))
        status = place_check(move, &move->source, err);
    else if (status == RH_OK)
        check_say(move, &move->source, RH_FINDING_WARNING, "unreachable", (struct rh_bytes){0},
                  "the source can't be opened; if our marker stands there, 'rehome recover' clears it later: %s",
                  why.text);
    return status;
}

static enum rh_status rollback_move(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf state = RH_BUF_INIT;
    enum rh_status status = fact_get(move, "state", &state, err);
    if (status == RH_NOT_FOUND || fact_is(move, "state", STATE_ROLLED_BACK)) {
        check_say(move, NULL, RH_FINDING_FACT, "nothing", (struct rh_bytes){0}, "nothing to roll back");
        return RH_OK;
    }
    if (status == RH_OK)
        status = open_for_rollback(move, err);
    if (status == RH_OK)
        status = refuse_owner(&move->destination, err);
    if (status == RH_OK)
        status = go_back(move, err);
    if (status != RH_OK)
        return status;
    if (fact_get(move, "rollback.left", &state, NULL) == RH_OK && state.size > 0) {
        rh_fail(err, RH_E_CONFLICT, "rolled back, but records that somebody else has written since were left alone: %s",
                rh_buf_cstr(&state));
        rh_error_hint(err, "'rehome report' names them");
        err->side = RH_SIDE_DESTINATION;
        return RH_E_CONFLICT;
    }
    return RH_OK;
}

enum rh_status rh_engine_rollback(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err);
    /* all moves of a plan go back or none */
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        if (fact_is(&engine->moves[i], "state", STATE_FINISHED))
            status = rh_fail(err, RH_E_REFUSED, "move '%s' is finished: its way back was given up",
                             engine->moves[i].plan->name);
    /* last moved, first undone */
    for (size_t i = engine->move_count; status == RH_OK && i-- > 0;)
        status = rollback_move(&engine->moves[i], err);
    return status;
}

/* Clears our markers of one move and says what stands. */
static enum rh_status recover_move(struct move_run *move, struct rh_error *err)
{
    move->problems = 0;
    enum rh_status status = fact_get(move, "marker", &move->marker, err);
    if (status == RH_NOT_FOUND) {
        check_say(move, NULL, RH_FINDING_FACT, "nothing", (struct rh_bytes){0},
                  "nothing of ours stands on either side");
        return RH_OK;
    }
    const bool complete = fact_is(move, "state", STATE_COMPLETE) || fact_is(move, "state", STATE_ROLLED_BACK) ||
                          fact_is(move, "state", STATE_FINISHED);
    if (status == RH_OK)
        status = check_open(move, err);
    if (status == RH_OK)
        status = places_check(move, err);
    if (status == RH_OK && !complete)
        status = fact_put(move, "recovered", "yes", err);
    if (status == RH_OK)
        status = do_unmark(move, err);
    if (status == RH_OK)
        check_say(move, NULL, RH_FINDING_FACT, "recovered", (struct rh_bytes){0}, "%s",
                  complete ? "no marker of ours stands"
                           : "our markers are cleared. The destination holds part of the source: 'rehome rollback' "
                             "takes it back, 'rehome run' takes it back and begins anew");
    return status;
}

enum rh_status rh_engine_recover(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = recover_move(&engine->moves[i], err);
    return status;
}

/* Ends the way back of one move. */
static enum rh_status finish_move(struct move_run *move, struct rh_error *err)
{
    if (fact_is(move, "state", STATE_FINISHED))
        return drop_way_back(move, err);
    if (!fact_is(move, "state", STATE_COMPLETE) && !fact_is(move, "state", STATE_ROLLED_BACK)) {
        rh_fail(err, RH_E_REFUSED, "move '%s' isn't complete, its way back is still needed", move->plan->name);
        rh_error_hint(err, "'rehome run' completes it, 'rehome rollback' undoes it");
        return RH_E_REFUSED;
    }
    const bool complete = fact_is(move, "state", STATE_COMPLETE);
    enum rh_status status = complete ? state_set(move, STATE_FINISHED, err) : RH_OK;
    return status == RH_OK ? drop_way_back(move, err) : status;
}

enum rh_status rh_engine_finish(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = finish_move(&engine->moves[i], err);
    return status == RH_OK ? report_write(engine, err) : status;
}

enum rh_status rh_engine_reset(struct rh_engine *engine, struct rh_error *err)
{
    struct move_run *move = &engine->moves[0];
    struct rh_ctx ctx = engine_ctx(engine, err);
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    enum rh_status status = side_open(move, &move->source, err);
    if (status == RH_OK)
        status = marker_get(&move->source, &ctx, &found);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK)
        status = marker_clear(&move->source, &ctx, rh_buf_bytes(&found));
    return status == RH_CHANGED || status == RH_NOT_FOUND
               ? rh_fail(err, RH_E_LOCKED, "the migration lock changed while it was removed")
               : status;
}
