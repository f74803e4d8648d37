/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step list of an offline move, and the walk through it. Every step may be repeated; the journal says which are
 * done. Phases are barriers over all moves of a plan: no move copies before all are marked, none is unmarked before all
 * are verified.
 */
#include "internal.h"

typedef enum rh_status step_do(struct move_run *move, struct rh_error *err);

/* Does a step's work; a lost connection is tried again for the retry time, since every step may be repeated. */
static enum rh_status do_patiently(struct move_run *move, step_do *run, struct rh_error *err)
{
    const int64_t give_up_us = rh_clock_us() + engine_retry_us(move->engine);
    bool lost = false;
    for (;;) {
        struct rh_error why = {0};
        move->note[0] = '\0';
        enum rh_status status = lost ? sides_reconnect(move, &why) : RH_OK;
        if (status == RH_OK)
            status = fences_tick(move->engine) ? run(move, &why) : fences_hold(move->engine, &why);
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

/* Journals how a step ended, and in the same transaction how fast its lanes were. */
static enum rh_status step_outcome(
    struct move_run *move, const char *name, enum rh_step_outcome outcome, const char *note, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = samples_put(move, true, err);
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, move->plan->name, name, outcome, note, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
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
    const int64_t begun_us = step_log_begin(move, name);
    status = do_patiently(move, run, err);
    step_log_end(move, name, begun_us, status, err);
    if (status == RH_OK)
        return step_outcome(move, name, RH_STEP_DONE, move->note, err);
    if (err && status != RH_E_CANCELLED)
        rh_ignore(step_outcome(move, name, RH_STEP_FAILED, err->text, NULL)); /* the failure itself matters more */
    return status;
}

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
    survey_done(&move->survey);
    enum rh_status status = survey_run(move, &move->survey, err);
    /* a paused server isn't kept waiting for what the step after the copy proves, too */
    if (status == RH_OK && move->plan->fence_count == 0)
        status = prove_check(move, false, false, err);
    return status == RH_OK ? check_verdict(move, err) : status;
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
    /* of a container that wasn't there, some of what the report says is known only now */
    return status == RH_OK && missing ? report_facts(move, err) : status;
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

static enum rh_status do_verify(struct move_run *move, struct rh_error *err)
{
    if (!move->plan->verify || move->engine->args.verify_off || one_pass(move))
        return fact_put(move, "verified", "no", err);
    struct verify_result result;
    enum rh_status status = verify_run(move, false, &result, err);
    if (status != RH_OK)
        return status;
    status = verify_judge(move, &result, err);
    if (status == RH_E_MISMATCH && !result.source_still && move_policy(move) == RH_CONFLICT_OVERWRITE) {
        struct rh_error second = {0};
        if (verify_forget_changed(move, &second) != RH_OK && err)
            rh_error_prepend(err, "%s; and", second.text);
    }
    return status == RH_OK ? fact_put(move, "verified", "yes", err) : status;
}

/* Whether the destination's keys open the data that the plan names; a pipe can't be read back. */
static enum rh_status do_prove(struct move_run *move, struct rh_error *err)
{
    return one_pass(move) ? RH_OK : prove_run(move, err);
}

/* Facts of both sides, and what stands in the way. */
static enum rh_status look_at_sides(struct move_run *move, bool resuming, struct rh_error *err)
{
    enum rh_status status = check_sides(move, resuming, err);
    return status == RH_OK ? check_verdict(move, err) : status;
}

/* A rollback that was interrupted is completed before anything else. */
static enum rh_status end_rollback(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    if (fact_is(move, "state", STATE_ROLLING_BACK)) {
        status = look_at_sides(move, true, err);
        if (status == RH_OK)
            status = places_check(move, err);
        if (status == RH_OK)
            status = go_back(move, err);
        side_close(&move->source);
        side_close(&move->destination);
    }
    if (status == RH_OK && (fact_is(move, "state", STATE_ROLLED_BACK) || fact_is(move, "state", STATE_FINISHED) ||
                            fact_is(move, "state", STATE_ABANDONED)))
        status = way_back_drop(move, err);
    return status;
}

/* Whether the pass under way can be gone on with; one whose copy doesn't count any more is taken back here. */
static enum rh_status resume(struct move_run *move, bool *ret_resumed, struct rh_error *err)
{
    /* what was copied under an epoch that is over doesn't count */
    bool verified = false, start_over = one_pass(move) || move->plan->fence_count > 0;
    *ret_resumed = false;
    enum rh_status status = start_over ? RH_OK : step_done(move, "verify", &verified, err);
    if (status == RH_OK && !start_over && (!verified || fact_is(move, "recovered", "yes")))
        status = pass_resume(move, &start_over, err);
    /* a whole destination is as it was before this pass or as after it, and both are more than what stood before the
     * first one: a server may have gone on with it since */
    if (status == RH_OK && start_over && move->carries_over && whole_of(&move->destination))
        return look_at_sides(move, false, err);
    if (status == RH_OK && start_over) {
        status = go_back(move, err);
        return status == RH_OK ? look_at_sides(move, false, err) : status;
    }
    /* another -start is another pass */
    *ret_resumed = fact_is(move, "start", move->engine->args.start ? move->engine->args.start : "");
    return status;
}

/* Surveys, then begins a pass with what was found. A survey that refuses leaves the journal as it was: nothing is under
 * way. */
static enum rh_status begin(struct move_run *move, struct rh_error *err)
{
    bool marked = false;
    const int64_t begun_us = step_log_begin(move, "survey"), begun_utc_us = rh_utc_us();
    enum rh_status status = do_patiently(move, do_survey, err);
    if (status != RH_OK)
        step_log_end(move, "survey", begun_us, status, err);
    if (status == RH_OK)
        status = pass_marked(move, &marked, err);
    if (status == RH_OK)
        status = pass_begin(move, marked, err);
    if (status == RH_OK)
        status = report_facts(move, err);
    if (status == RH_OK)
        status = fact_put(move, "pipe",
                          move->destination.facts.one_pass ? "destination"
                          : move->source.facts.one_pass    ? "source"
                                                           : "",
                          err);
    if (status == RH_OK)
        status = fences_journal(move, err);
    if (status == RH_OK)
        status = rh_journal_step_begun(move->engine->journal, move->plan->name, "survey", begun_utc_us, err);
    if (status == RH_OK)
        status = survey_journal(move, &move->survey, err);
    if (status == RH_OK)
        step_log_end(move, "survey", begun_us, status, err);
    survey_done(&move->survey);
    return status;
}

/* Says and counts that a pass which an earlier process began is gone on with. */
static enum rh_status go_on(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf count = RH_BUF_INIT;
    uint64_t resumes = 0;
    char text[24];
    if (fact_get(move, "resumes", &count, NULL) == RH_OK)
        rh_ignore(rh_parse_u64(rh_buf_bytes(&count), &resumes)); /* one that isn't a number counts as none */
    snprintf(text, sizeof text, "%llu", (unsigned long long)resumes + 1);
    rh_log(RH_LOG_INFO, "going on where an earlier run stopped", {"move", move->plan->name}, {"resumes", text});
    enum rh_status status = fact_put(move, "resumes", text, err);
    return status == RH_OK ? report_facts(move, err) : status;
}

/* Checks, and either begins a pass or prepares to go on with one. */
static enum rh_status phase_begin(struct move_run *move, struct rh_error *err)
{
    bool surveyed = false, resumed = false;
    enum rh_status status = digest_load(move, err);
    if (status == RH_OK)
        status = end_rollback(move, err);
    move->carries_over = fact_is(move, "carries-over", "yes");
    const bool under_way = fact_is(move, "state", STATE_RUNNING) || fact_is(move, "state", STATE_FAILED);
    if (status == RH_OK && under_way)
        status = step_done(move, "survey", &surveyed, err);
    if (status == RH_OK)
        status = look_at_sides(move, surveyed, err);
    if (status == RH_OK)
        fences_say_loaded(move);
    if (status == RH_OK)
        status = fences_settle(move, err);
    if (status == RH_OK && (under_way || fact_is(move, "state", STATE_COMPLETE)))
        status = places_check(move, err);
    if (status == RH_OK && surveyed)
        status = resume(move, &resumed, err);
    if (status == RH_OK && resumed)
        return go_on(move, err);
    return status == RH_OK ? begin(move, err) : status;
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
        status = pass_fingerprint(move, &move->destination, err);
    if (status == RH_OK)
        status = pass_fingerprint(move, &move->source, err);
    return status;
}

static enum rh_status phase_copy(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = range_load_all(move, err);
    return status == RH_OK ? step(move, "copy", do_copy, err) : status;
}

static enum rh_status phase_verify(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = step(move, "verify", do_verify, err);
    return status == RH_OK && prove_folder_count(move) ? step(move, "prove", do_prove, err) : status;
}

static enum rh_status phase_unmark(struct move_run *move, struct rh_error *err)
{
    /* every byte was read and written under one epoch, or nothing counts */
    enum rh_status status = fences_hold(move->engine, err);
    if (status == RH_OK)
        status = step(move, "unmark", markers_drop, err);
    return status == RH_OK ? pass_state_set(move, STATE_COMPLETE, err) : status;
}

/* Failures that trying again can't mend; under on_conflict = fail the move then goes back by itself. */
static bool is_permanent(enum rh_status status)
{
    return status == RH_E_CONFLICT || status == RH_E_MISMATCH || status == RH_E_LIMIT || status == RH_E_REFUSED;
}

/* Marks what failed for good, so that status can tell it from what was interrupted. */
static void note_failed(struct rh_engine *engine, enum rh_status status)
{
    for (size_t i = 0; is_permanent(status) && i < engine->move_count; i++)
        if (fact_is(&engine->moves[i], "state", STATE_RUNNING))
            rh_ignore(pass_state_set(&engine->moves[i], STATE_FAILED, NULL)); /* status falls back to "interrupted" */
}

/* A plan that is complete is compared once more: the same command again never claims what it hasn't seen. */
static enum rh_status run_complete(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = verify_all(engine, false, err);
    /* a repair that was killed leaves them */
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        if (fact_get(move, "marker", &move->marker, NULL) == RH_OK)
            status = markers_drop(move, err);
    }
    return status;
}

static void say_complete(struct rh_engine *engine)
{
    for (size_t i = 0; i < engine->move_count; i++)
        check_say(&engine->moves[i], NULL, RH_FINDING_FACT, "complete", (struct rh_bytes){0},
                  "was copied and is complete; comparing both sides again. 'rehome rollback' goes back, 'rehome "
                  "finish' gives the way back up");
}

/* Servers that go to a destination keep it in memory, too: what is added to it is for cutover to tell them. */
static enum rh_status refuse_switched(struct rh_engine *engine, struct rh_error *err)
{
    bool there = false;
    for (size_t i = 0; i < engine->move_count; i++)
        there = there || (switched(&engine->moves[i]) && !fact_is(&engine->moves[i], "state", STATE_FINISHED));
    if (!there)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "servers of this plan go to the destination already");
    rh_error_hint(err, "'rehome cutover' carries over what the source got since, 'rehome rollback' takes them back, "
                       "'rehome finish' ends the way back");
    return RH_E_REFUSED;
}

/* Whether every move is complete, and begins where it is asked to begin now. */
static bool all_complete(struct rh_engine *engine)
{
    const char *start = engine->args.start ? engine->args.start : "";
    for (size_t i = 0; i < engine->move_count; i++)
        if (!fact_is(&engine->moves[i], "state", STATE_COMPLETE) || !fact_is(&engine->moves[i], "start", start) ||
            fact_is(&engine->moves[i], "pipe", "source") || fact_is(&engine->moves[i], "pipe", "destination"))
            return false;
    return true;
}

enum rh_status run_phases(struct rh_engine *engine, bool again, struct rh_error *err)
{
    static step_do *const phases[] = {phase_begin, phase_mark, phase_copy, phase_verify, phase_unmark};
    enum rh_status status = RH_OK;
    for (size_t phase = 0; phase < sizeof phases / sizeof *phases; phase++) {
        size_t failed = engine->move_count;
        for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
            /* a move that an earlier run completed waits for the others */
            if (again || engine->move_count == 1 || !fact_is(&engine->moves[i], "state", STATE_COMPLETE))
                status = phases[phase](&engine->moves[i], err);
            if (status != RH_OK)
                failed = i;
        }
        if (status == RH_OK)
            continue;
        if (engine->move_count > 1 && failed < engine->move_count)
            rh_error_prepend(err, "move '%s'", engine->moves[failed].plan->name);
        /* what fails while a pass begins has written nothing: an earlier run's work stays as it is */
        if (phase > 0 && is_permanent(status) && !engine->fences.broken) {
            status = go_back_after(engine, err);
            note_failed(engine, status);
        }
        return status;
    }
    return RH_OK;
}

/* Whether sources are written to after their move: between keyrings until the server is restarted on the other one. */
static bool goes_on(const struct rh_engine *engine)
{
    bool keyrings = engine->move_count > 0;
    for (size_t i = 0; i < engine->move_count; i++)
        keyrings = keyrings && engine->moves[i].plan->source.driver->model == RH_MODEL_KEYRING;
    return keyrings || engine->fences.count > 0;
}

/* A pass over complete moves that adds what their destinations lack. */
static enum rh_status add_what_is_new(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        status = fact_put(move, "carries-over", "yes", err);
        side_close(&move->source);
        side_close(&move->destination);
    }
    return status == RH_OK ? run_phases(engine, true, err) : status;
}

enum rh_status carry_over(struct rh_engine *engine, struct rh_error *err)
{
    /* an earlier one was cut off: there is no complete move to compare */
    if (!all_complete(engine))
        return add_what_is_new(engine, err);
    struct rh_error differs = {0};
    enum rh_status status = run_complete(engine, &differs);
    if (status != RH_E_MISMATCH || differs.side != RH_SIDE_SOURCE || engine->fences.broken) {
        if (rh_failed(status) && err)
            *err = differs;
        return status;
    }
    for (size_t i = 0; i < engine->move_count; i++)
        check_say(&engine->moves[i], NULL, RH_FINDING_WARNING, "carries-over", (struct rh_bytes){0},
                  "what was written to the source since the move was completed is carried over: %s", differs.text);
    return add_what_is_new(engine, err);
}

enum rh_status rh_engine_run(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = engine_journal_need(engine, RH_JOURNAL_CREATE, err);
    if (status == RH_OK)
        status = command_begin(engine, "run", err);
    if (status != RH_OK)
        return status;
    status = routes_recover(engine, err);
    if (status == RH_OK)
        status = refuse_switched(engine, err);
    if (status == RH_OK)
        status = fences_close(engine, err);
    if (status != RH_OK)
        return command_end(engine, "run", status, err);
    const bool again = all_complete(engine);
    if (again && (goes_on(engine) || !engine->args.overwrite_initialised))
        say_complete(engine);
    if (again && goes_on(engine))
        status = carry_over(engine, err);
    else if (again && !engine->args.overwrite_initialised)
        status = run_complete(engine, err);
    else
        status = run_phases(engine, again, err);
    return command_end(engine, "run", fences_open(engine, status, err), err);
}
