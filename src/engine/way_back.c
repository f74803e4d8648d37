/* SPDX-License-Identifier: Apache-2.0 */
/* The way back of a move: markers, undo log, container, in this order; and giving it up. */
#include "internal.h"

/* The way back of a move that is rolled back or finished: given up for good. Repeated by whoever comes after a crash in
 * its middle. */
enum rh_status way_back_drop(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = whole_forget(move, err);
    if (status == RH_OK)
        status = rh_undo_forget(move->engine->journal, move->plan->name, err);
    return status == RH_OK ? rh_journal_remove(move->engine->journal, move->plan->name, "missing", err) : status;
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
enum rh_status go_back(struct move_run *move, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    const int64_t begun_us = step_log_begin(move, "rollback");
    move->note[0] = '\0';
    enum rh_status status = pass_state_set(move, STATE_ROLLING_BACK, err);
    if (status == RH_OK)
        status = rh_journal_step_intent(journal, move->plan->name, "rollback", err);
    if (status == RH_OK && whole_of(&move->destination)) {
        status = marker_prepare(move, err);
        if (status == RH_OK)
            status = whole_rollback(move, err);
        if (status == RH_OK)
            status = markers_drop(move, err);
    } else if (status == RH_OK && move->destination.facts.exists != RH_NO) {
        bool was_there;
        status = marker_prepare(move, err);
        if (status == RH_OK)
            status = marker_take(move, &move->destination, &was_there, err);
        if (status == RH_OK)
            status = rollback_run(move, err);
        if (status == RH_OK)
            status = markers_drop(move, err);
    }
    /* also where the container isn't there: what is around it may be ours (a database without its table) */
    if (status == RH_OK)
        status = undo_prepare(move, err);
    rh_crash_point("rollback");
    step_log_end(move, "rollback", begun_us, status, err);
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, move->plan->name, "rollback", RH_STEP_DONE, "", err);
    if (status == RH_OK)
        status = pass_state_set(move, STATE_ROLLED_BACK, err);
    return status == RH_OK ? way_back_drop(move, err) : status;
}

/* A move that has begun to write and must not leave a trace. */
enum rh_status go_back_after(struct rh_engine *engine, struct rh_error *err)
{
    struct rh_error second = {0};
    for (size_t i = 0; i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        bool prepared = false;
        if (move_policy(move) != RH_CONFLICT_FAIL || !fact_is(move, "state", STATE_RUNNING))
            continue;
        if (step_done(move, "survey", &prepared, NULL) != RH_OK || !prepared)
            continue;
        if (sides_reconnect(move, &second) != RH_OK || check_open(move, &second) != RH_OK ||
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
