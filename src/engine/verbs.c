/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs beside run: check, verify, rollback, recover, finish, reset. */
#include "internal.h"

/* Opens the journal for reading, if there is one: what an earlier run left is not somebody else's. Refused while a
 * process is at work with the plan: nothing that would be found now lasts. */
static enum rh_status check_journal(struct rh_engine *engine, struct rh_error *err)
{
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    const char *dir = engine->plan->state_dir;
    pid_t owner = 0;
    enum rh_status status = engine_journal_name(engine, &name, err);
    if (status == RH_OK)
        status = rh_journal_open(dir, rh_buf_cstr(&name), RH_JOURNAL_READ_ONLY, &engine->journal, err);
    if (status == RH_OK)
        status = rh_journal_owner(dir, rh_buf_cstr(&name), &owner, err);
    if (status != RH_OK || owner == 0)
        return status == RH_NOT_FOUND ? RH_OK : status;
    rh_fail(err, RH_E_LOCKED, "check: another process is at work with this plan");
    rh_error_hint(err, "wait for it to end, or stop it; 'rehome status' shows what it does");
    return RH_E_LOCKED;
}

/* What an earlier run left of this move, for people; NULL when the next run begins anew. */
static const char *check_standing(struct move_run *move)
{
    if (!move->engine->journal)
        return NULL;
    if (fact_is(move, "state", STATE_COMPLETE))
        return "complete: 'rehome verify' compares again, 'rehome rollback' goes back, 'rehome finish' ends the way "
               "back";
    bool surveyed = false;
    const bool under_way = fact_is(move, "state", STATE_RUNNING) || fact_is(move, "state", STATE_FAILED);
    if (fact_is(move, "state", STATE_ROLLING_BACK) ||
        (under_way && step_done(move, "survey", &surveyed, NULL) == RH_OK && surveyed))
        return "stopped on the way: 'rehome run' goes on, 'rehome rollback' goes back";
    return NULL;
}

/* A store beside itself holds every key twice; saying so once is enough. */
static bool same_store(const struct move_run *move)
{
    return strcmp(move->source.facts.identity, move->destination.facts.identity) == 0;
}

enum rh_status rh_engine_check(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status verdict = check_journal(engine, err);
    if (verdict != RH_OK)
        return verdict;
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        struct survey survey;
        const char *standing = check_standing(move);
        enum rh_status status = rh_digest_key_new(&move->digest, err);
        if (status == RH_OK)
            status = check_sides(move, standing != NULL, err);
        if (status == RH_OK)
            status = fences_check(move, err);
        if (status == RH_OK)
            fences_say_loaded(move);
        if (status == RH_OK && standing) {
            check_say(move, NULL, RH_FINDING_FACT, "standing", (struct rh_bytes){0}, "%s", standing);
            status = places_check(move, err);
            if (status == RH_OK)
                status = prove_check(move, fact_is(move, "state", STATE_COMPLETE), true, err);
        } else if (status == RH_OK && move->source.facts.exists != RH_NO && !same_store(move)) {
            status = survey_run(move, &survey, err);
            if (status == RH_OK) {
                check_say(move, NULL, RH_FINDING_FACT, "counts", (struct rh_bytes){0},
                          "%llu records to copy, %llu on both sides, %llu extra on the destination",
                          (unsigned long long)survey.source_count, (unsigned long long)survey.conflicts,
                          (unsigned long long)survey.extras);
                if (survey.source_count == 0)
                    check_say(move, &move->source, RH_FINDING_WARNING, "empty", (struct rh_bytes){0},
                              "the source holds no records: is it the right place?");
                survey_done(&survey);
                status = prove_check(move, false, true, err);
            }
        }
        if (status != RH_OK)
            return status;
        if (i + 1 == engine->move_count)
            status = routes_check(engine, err);
        if (status != RH_OK)
            return status;
    }
    for (size_t i = 0; verdict == RH_OK && i < engine->move_count; i++)
        verdict = check_verdict(&engine->moves[i], err);
    return verdict;
}

enum rh_status journal_must(struct rh_engine *engine, struct rh_error *err)
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
    if (fact_is(move, "state", STATE_ROLLING_BACK) || fact_is(move, "state", STATE_ROLLED_BACK) ||
        fact_is(move, "state", STATE_ABANDONED)) {
        rh_fail(err, RH_E_REFUSED,
                "move '%s' was rolled back or given up, or is on its way back: there is nothing to compare",
                move->plan->name);
        rh_error_hint(err, "'rehome rollback' completes the way back, 'rehome run' moves anew");
        return RH_E_REFUSED;
    }
    enum rh_status status = one_pass_refuse(move, err);
    if (status == RH_OK)
        status = open_after(move, err);
    if (status == RH_OK)
        status = step_done(move, "copy", &copied, err);
    if (status == RH_OK && repair && whole_of(&move->destination)) {
        rh_fail(err, RH_E_REFUSED, "single records of the destination '%s' can't be mended: it is written as a whole",
                move->destination.facts.address);
        rh_error_hint(err, "'rehome rollback', then 'rehome run' writes it anew");
        return RH_E_REFUSED;
    }
    if (status == RH_OK && !copied) {
        rh_fail(err, RH_E_REFUSED, "move '%s' isn't copied yet, there is nothing to compare", move->plan->name);
        rh_error_hint(err, "'rehome run' goes on with it");
        return RH_E_REFUSED;
    }
    if (status == RH_OK && move->destination.facts.exists == RH_NO) {
        rh_fail(err, RH_E_MISMATCH, "the destination '%s' isn't there any more", move->destination.facts.address);
        rh_error_hint(err, "bring it back, or give the move up with 'rehome rollback', then run it again");
        err->side = RH_SIDE_DESTINATION;
        return RH_E_MISMATCH;
    }
    if (status == RH_OK && repair)
        status = refuse_owner(&move->destination, err);
    if (status == RH_OK && repair)
        status = markers_take(move, err);
    if (status != RH_OK)
        return status;
    const int64_t begun_us = step_log_begin(move, "verify");
    move->note[0] = '\0';
    status = verify_run(move, repair, &result, err);
    step_log_end(move, "verify", begun_us, status, err);
    if (repair && fact_is(move, "state", STATE_COMPLETE)) {
        struct rh_error second = {0};
        if (markers_drop(move, &second) != RH_OK && status == RH_OK)
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
    status = verify_judge(move, &result, err);
    if (status == RH_OK)
        status = fact_put(move, "verified", "yes", err);
    return status == RH_OK && prove_folder_count(move) ? prove_run(move, err) : status;
}

enum rh_status verify_all(struct rh_engine *engine, bool repair, struct rh_error *err)
{
    enum rh_status verdict = RH_OK;
    for (size_t i = 0; i < engine->move_count; i++) {
        struct rh_error this_err = {0};
        const enum rh_status one = verify_move(&engine->moves[i], repair, &this_err);
        if (one == RH_OK)
            continue;
        if (verdict == RH_OK && err)
            *err = this_err;
        verdict = verdict == RH_OK ? one : verdict;
    }
    return verdict;
}

enum rh_status rh_engine_verify(struct rh_engine *engine, bool repair, struct rh_error *err)
{
    const char *command = repair ? "verify --repair" : "verify";
    enum rh_status status = journal_must(engine, err);
    if (status == RH_OK)
        status = command_begin(engine, command, err);
    if (status != RH_OK)
        return status;
    /* comparing needs no pause; mending writes to the destination */
    status = repair ? fences_close(engine, err) : RH_OK;
    if (status == RH_OK)
        status = verify_all(engine, repair, err);
    return command_end(engine, command, fences_open(engine, status, err), err);
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
    /* a pipe isn't waited for: nothing of ours stands there */
    if (status != RH_OK || fact_is(move, "pipe", "source"))
        return status;
    if (!rh_failed(check_open_one(move, &move->source, &why)))
        status = place_check(move, &move->source, err);
    else
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
        status = fences_refuse_loaded(move, err);
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
        if (fact_is(&engine->moves[i], "state", STATE_FINISHED) || fact_is(&engine->moves[i], "state", STATE_ABANDONED))
            status = rh_fail(err, RH_E_REFUSED, "the way back of move '%s' was given up", engine->moves[i].plan->name);
    if (status == RH_OK)
        status = command_begin(engine, "rollback", err);
    if (status != RH_OK)
        return status;
    status = routes_recover(engine, err);
    if (status == RH_OK && any_switched(engine))
        status = cutover_back(engine, err);
    if (status == RH_OK)
        status = fences_close(engine, err);
    /* last moved, first undone */
    for (size_t i = engine->move_count; status == RH_OK && i-- > 0;)
        status = rollback_move(&engine->moves[i], err);
    return command_end(engine, "rollback", fences_open(engine, status, err), err);
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
                          fact_is(move, "state", STATE_FINISHED) || fact_is(move, "state", STATE_ABANDONED);
    const bool piped = fact_is(move, "pipe", "source");
    if (status == RH_OK)
        status = piped ? check_open_one(move, &move->destination, err) : check_open(move, err);
    if (status == RH_OK)
        status = piped ? place_check(move, &move->destination, err) : places_check(move, err);
    if (status == RH_OK && !complete)
        status = fact_put(move, "recovered", "yes", err);
    if (status == RH_OK)
        status = markers_drop(move, err);
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
    if (status == RH_OK)
        status = command_begin(engine, "recover", err);
    if (status != RH_OK)
        return status;
    /* a server comes before what stands in a store */
    struct rh_error fence = {0};
    const enum rh_status opened = fences_recover(engine, &fence);
    status = routes_recover(engine, err);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = recover_move(&engine->moves[i], err);
    if (status == RH_OK && opened != RH_OK && err)
        *err = fence;
    return command_end(engine, "recover", status == RH_OK ? opened : status, err);
}

/* Journals that the way back is given up, and what stands at the destination then. */
static enum rh_status abandon_note(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf blocks = RH_BUF_INIT;
    uint64_t written = 0;
    char words[256];
    for (size_t i = 0; i < move->range_count; i++)
        written += move->ranges[i].state.written + move->ranges[i].state.replaced;
    const bool begun = fact_get(move, "rollback.blocks", &blocks, NULL) == RH_OK;
    snprintf(words, sizeof words, "the way back was given up: of %llu records that were written, %s stands",
             (unsigned long long)written, begun ? "what the rollback had not yet undone" : "every one");
    check_say(move, &move->destination, RH_FINDING_WARNING, "abandoned", (struct rh_bytes){0}, "%s", words);
    enum rh_status status =
        rh_journal_note(move->engine->journal, move->plan->name, "abandoned", (struct rh_bytes){0}, words, err);
    return status == RH_OK
               ? rh_journal_step_outcome(move->engine->journal, move->plan->name, "abandon", RH_STEP_DONE, words, err)
               : status;
}

/* With the way back goes the digest's key: nothing that was summed under it counts any more, and the key that sealed it
 * may be the one that is lost. */
static enum rh_status abandon_drop(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = way_back_drop(move, err);
    return status == RH_OK ? rh_journal_remove(move->engine->journal, move->plan->name, "digest-key", err) : status;
}

/* Gives up the way back of a move that is neither complete nor back. Each part may be repeated. */
static enum rh_status abandon_move(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf state = RH_BUF_INIT;
    enum rh_status status = fact_get(move, "state", &state, err);
    if (status == RH_OK && fact_is(move, "state", STATE_ABANDONED))
        return abandon_drop(move, err);
    if (status == RH_NOT_FOUND || fact_is(move, "state", STATE_ROLLED_BACK) || fact_is(move, "state", STATE_FINISHED)) {
        check_say(move, NULL, RH_FINDING_FACT, "nothing", (struct rh_bytes){0}, "there is no way back to give up");
        return RH_OK;
    }
    if (status == RH_OK)
        status = rh_journal_step_intent(move->engine->journal, move->plan->name, "abandon", err);
    if (status == RH_OK)
        status = recover_move(move, err);
    if (status == RH_OK)
        status = range_load_all(move, err);
    if (status == RH_OK)
        status = abandon_note(move, err);
    rh_crash_point("rollback");
    if (status == RH_OK)
        status = pass_state_set(move, STATE_ABANDONED, err);
    return status == RH_OK ? abandon_drop(move, err) : status;
}

enum rh_status rh_engine_abandon(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        if (fact_is(&engine->moves[i], "state", STATE_COMPLETE)) {
            status = rh_fail(err, RH_E_REFUSED, "move '%s' is complete", engine->moves[i].plan->name);
            rh_error_hint(err, "'rehome finish' gives up the way back of what is complete");
        }
    if (status == RH_OK)
        status = command_begin(engine, "abandon", err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = abandon_move(&engine->moves[i], err);
    return command_end(engine, "abandon", status, err);
}

/* Ends the way back of one move. */
static enum rh_status finish_move(struct move_run *move, struct rh_error *err)
{
    if (fact_is(move, "state", STATE_FINISHED) || fact_is(move, "state", STATE_ABANDONED))
        return way_back_drop(move, err);
    if (!fact_is(move, "state", STATE_COMPLETE) && !fact_is(move, "state", STATE_ROLLED_BACK)) {
        rh_fail(err, RH_E_REFUSED, "move '%s' isn't complete, its way back is still needed", move->plan->name);
        rh_error_hint(err, "'rehome run' completes it, 'rehome rollback' undoes it");
        return RH_E_REFUSED;
    }
    const bool complete = fact_is(move, "state", STATE_COMPLETE);
    enum rh_status status = complete ? pass_state_set(move, STATE_FINISHED, err) : RH_OK;
    return status == RH_OK ? way_back_drop(move, err) : status;
}

enum rh_status rh_engine_finish(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = journal_must(engine, err);
    if (status == RH_OK && routes_to_settle(engine->journal, engine->plan)) {
        rh_fail(err, RH_E_REFUSED, "a cutover was cut off, its way back is still needed");
        rh_error_hint(err,
                      "'rehome cutover' completes it, 'rehome rollback' goes back, 'rehome recover' puts it right");
        return RH_E_REFUSED;
    }
    if (status == RH_OK)
        status = command_begin(engine, "finish", err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = finish_move(&engine->moves[i], err);
    status = command_end(engine, "finish", status, err);
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
