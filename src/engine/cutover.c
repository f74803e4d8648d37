/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting over: every route of the plan goes from the moves' sources to their destinations, or none does; and back.
 *
 * One attempt: prepare the routes; close the fences; carry over what the side that is left got since; journal that
 * servers may go to the other side from now on; turn the routes, with the fences unbroken to here; open them; settle
 * the routes; let go of the side that was left; see that it has nothing that the other one lacks. Where that fails, the
 * next attempt carries it over; where anything else fails, the routes are put right, and servers that go to the new
 * side already are taken back the same way.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { ATTEMPTS = 3 };
#define UNWIND_LIMIT_US                                                                                                \
    (10 * INT64_C(1000000)) /* how long a server that is away is waited for; the guardian goes on                      \
                             */

struct cutover {
    struct rh_engine *engine;
    enum way way;
    struct rh_move *back_plans; /* the moves the other way round, of those that servers went from */
    struct move_run *back;
    size_t back_count;
    int64_t until_us; /* the window's end */
};

bool switched(struct move_run *move)
{
    return move->engine->journal && fact_is(move, "switched", "yes");
}

bool any_switched(struct rh_engine *engine)
{
    for (size_t i = 0; i < engine->move_count; i++)
        if (switched(&engine->moves[i]))
            return true;
    return false;
}

/* Journals for all moves at once whether servers go to their destinations. */
static enum rh_status put_switched(struct rh_engine *engine, const char *word, struct rh_error *err)
{
    enum rh_status status = rh_journal_begin(engine->journal, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = fact_put(&engine->moves[i], "switched", word, err);
    if (status == RH_OK && strcmp(word, "no") == 0)
        status = routes_forget_servers(engine->journal, err);
    if (status == RH_OK)
        return rh_journal_commit(engine->journal, err);
    rh_journal_abort(engine->journal);
    return status;
}

/* --- the moves the other way round --- */

static void back_free(struct cutover *cutover)
{
    for (size_t i = 0; i < cutover->back_count; i++) {
        move_done(&cutover->back[i]);
        free(cutover->back_plans[i].name);
    }
    free(cutover->back);
    free(cutover->back_plans);
    cutover->back = NULL;
    cutover->back_plans = NULL;
}

/* Each move with its sides swapped, under a name of its own in the journal. */
static enum rh_status back_make(struct cutover *cutover, struct rh_error *err)
{
    struct rh_engine *engine = cutover->engine;
    cutover->back_plans = calloc(engine->move_count, sizeof *cutover->back_plans);
    cutover->back = calloc(engine->move_count, sizeof *cutover->back);
    if (!cutover->back_plans || !cutover->back)
        return rh_fail_memory(err);
    for (size_t i = 0; i < engine->move_count; i++) {
        const struct rh_move *plan = engine->moves[i].plan;
        struct rh_move *back = &cutover->back_plans[cutover->back_count];
        if (!switched(&engine->moves[i]))
            continue;
        *back = *plan;
        back->source = plan->destination;
        back->destination = plan->source;
        back->on_conflict = RH_CONFLICT_KEEP_EQUAL;
        back->name = NULL;
        if (asprintf(&back->name, "%s~back", plan->name) < 0) {
            back->name = NULL;
            return rh_fail_memory(err);
        }
        move_init(engine, &cutover->back[cutover->back_count++], back);
    }
    return RH_OK;
}

/* Does something with the moves the other way round in the place of the plan's. */
static enum rh_status the_other_way(struct cutover *cutover,
                                    enum rh_status (*work)(struct rh_engine *engine, struct rh_error *err),
                                    struct rh_error *err)
{
    struct rh_engine *engine = cutover->engine;
    struct move_run *moves = engine->moves;
    const size_t count = engine->move_count;
    engine->moves = cutover->back;
    engine->move_count = cutover->back_count;
    enum rh_status status = work(engine, err);
    engine->moves = moves;
    engine->move_count = count;
    return status;
}

static enum rh_status copy_all(struct rh_engine *engine, struct rh_error *err)
{
    return run_phases(engine, true, err);
}

/* An earlier pass of the moves the other way round doesn't matter any more, nor what it would have gone back to: a
 * source is replaced as a whole, by more than it held, and its server has gone on with it since. */
static enum rh_status forget_all(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = pass_state_set(&engine->moves[i], STATE_FINISHED, err);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = way_back_drop(&engine->moves[i], err);
    return status;
}

/* --- one attempt --- */

/* What servers wrote to the destinations they were sent to by us: a pass may add to it, and the way back, which carries
 * it to the sources first, may take it away. */
static enum rh_status adopt_all(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        if (!switched(&engine->moves[i]))
            continue;
        status = digest_load(&engine->moves[i], err);
        if (status == RH_OK)
            status = check_open_one(&engine->moves[i], &engine->moves[i].destination, err);
        if (status == RH_OK)
            status = whole_adopt(&engine->moves[i], err);
    }
    return status;
}

/* Brings the side that servers are to go to up to date; the fences are closed. */
static enum rh_status carry(struct cutover *cutover, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    if (cutover->way == WAY_BACK) {
        status = the_other_way(cutover, forget_all, err);
        if (status == RH_OK)
            status = the_other_way(cutover, copy_all, err);
    }
    if (status == RH_OK)
        status = adopt_all(cutover->engine, err);
    return status == RH_OK && cutover->way == WAY_THERE ? carry_over(cutover->engine, err) : status;
}

static int64_t window_us(const struct rh_engine *engine)
{
    return engine->args.window_us ? engine->args.window_us : engine->plan->window_us;
}

/* Whether there is time still. */
static enum rh_status within(const struct cutover *cutover, struct rh_error *err)
{
    if (rh_clock_us() < cutover->until_us)
        return RH_OK;
    rh_fail(err, RH_E_TIMEOUT, "the cutover took longer than its window of %g s",
            (double)window_us(cutover->engine) / 1e6);
    rh_error_hint(err, "a longer --window, or window in the plan's cutover block, gives it more time");
    return RH_E_TIMEOUT;
}

/* What tells one content of a source's file from another without reading it: while it is held nobody reads it. */
static enum rh_status source_look(struct move_run *move, struct rh_buf *ret_look, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    struct stat st;
    struct side *side = &move->source;
    enum rh_status status = side_status(side, err, side->store->driver->locate(&ctx, side->store, &path));
    if (status == RH_OK && stat(rh_buf_cstr(&path), &st) != 0)
        status = side_status(side, err, rh_fail_errno(err, errno, "looking at '%s'", RH_SHOW(rh_buf_bytes(&path))));
    rh_buf_clear(ret_look);
    return status == RH_OK ? rh_buf_format(ret_look, err, "%llu:%llu:%lld:%lld.%09ld", (unsigned long long)st.st_dev,
                                           (unsigned long long)st.st_ino, (long long)st.st_size,
                                           (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec)
                           : status;
}

/* With the fences closed: waits until the sides stand still that servers are about to leave, and takes down what they
 * hold, before anything of it is compared. */
static enum rh_status remember_left(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        struct move_run *move = &engine->moves[i];
        status = side_open(move, &move->source, err);
        if (status == RH_OK)
            status = fences_settle(move, err);
        if (status == RH_OK)
            status = source_look(move, &move->left_file, err);
        if (status == RH_OK)
            status = source_stamp(move, &move->left, err);
    }
    return status;
}

/* Whether they still hold just that: a key that a server was making while its fence was closed may have come late.
 * `take` is what `then` was taken by, of a side that is open. */
static enum rh_status
left_is(struct move_run *move,
        enum rh_status (*take)(struct move_run *move, struct rh_buf *ret_taken, struct rh_error *err),
        const struct rh_buf *then,
        struct rh_error *err)
{
    rh_auto_buf struct rh_buf now = RH_BUF_INIT;
    enum rh_status status = side_open(move, &move->source, err);
    if (status == RH_OK)
        status = take(move, &now, err);
    return status != RH_OK || rh_bytes_equal(rh_buf_bytes(&now), rh_buf_bytes(then))
               ? status
               : rh_fail(err, RH_E_MISMATCH, "the side that servers leave was written since both were compared");
}

/* By a look at the files, while they are held. */
static enum rh_status left_looks_alike(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = left_is(&engine->moves[i], source_look, &engine->moves[i].left_file, err);
    return status;
}

/* One of these over the sides that servers leave. */
static enum rh_status of_left(struct cutover *cutover,
                              enum rh_status (*work)(struct rh_engine *engine, struct rh_error *err),
                              struct rh_error *err)
{
    return cutover->way == WAY_THERE ? work(cutover->engine, err) : the_other_way(cutover, work, err);
}

/* Under the fences: data, then the decision, then routes. A server that is restarted after the first of them was turned
 * goes to the new side, so the journal knows before. */
static enum rh_status turn(struct cutover *cutover, struct rh_error *err)
{
    enum rh_status status = of_left(cutover, remember_left, err);
    if (status == RH_OK)
        status = carry(cutover, err);
    if (status == RH_OK)
        status = within(cutover, err);
    if (status == RH_OK)
        status = fences_hold(cutover->engine, err);
    if (status == RH_OK && cutover->way == WAY_THERE)
        status = put_switched(cutover->engine, "yes", err);
    if (status == RH_OK)
        status = routes_apply(cutover->engine, err);
    /* held by now: what isn't there yet doesn't come any more */
    if (status == RH_OK)
        status = of_left(cutover, left_looks_alike, err);
    return status == RH_OK ? within(cutover, err) : status;
}

/* Both sides of one move. One that its server writes all the while can't be read as a whole: then it is enough that the
 * other one is as it was when they were compared under the fences. */
static enum rh_status compare_move(struct move_run *move, struct rh_error *err)
{
    struct rh_error hot = {0};
    struct verify_result result;
    enum rh_status status = left_is(move, source_stamp, &move->left, err);
    if (status != RH_OK)
        return status;
    status = check_open(move, &hot);
    if (status == RH_OK)
        status = range_load_all(move, &hot);
    if (status == RH_OK)
        status = verify_run(move, false, &result, &hot);
    if (status == RH_E_LOCKED)
        return RH_OK;
    if (status != RH_OK) {
        if (err)
            *err = hot;
        return status;
    }
    return result.equal && result.source_still
               ? RH_OK
               : rh_fail(err, RH_E_MISMATCH, "the side that servers go to lacks keys of the other");
}

/* One comparison over all moves: nothing on the side that was left may be missing on the other. */
static enum rh_status compare(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = compare_move(&engine->moves[i], err);
    if (rh_failed(status) && err && err->side == RH_SIDE_NONE)
        err->side = RH_SIDE_SOURCE;
    return status;
}

static enum rh_status attempt(struct cutover *cutover, bool *ret_again, struct rh_error *err)
{
    struct rh_engine *engine = cutover->engine;
    *ret_again = false;
    enum rh_status status = routes_prepare(engine, cutover->way, err);
    if (status == RH_OK)
        status = fences_close(engine, err);
    if (status != RH_OK)
        return status;
    cutover->until_us = rh_clock_us() + window_us(engine);
    status = turn(cutover, err);
    if (status != RH_OK) {
        /* before the fences open: with them closed no server can be asked to go on */
        size_t there = 0;
        struct rh_error second = {0};
        const bool undone = routes_undo(engine, &there, &second) == RH_OK;
        if (!undone)
            rh_ignore(rh_error_prepend(err, "%s; and before that", second.text));
        status = fences_open(engine, status, err);
        *ret_again = undone && status == RH_E_MISMATCH;
        return status;
    }
    status = fences_open(engine, RH_OK, err);
    if (status == RH_OK)
        status = routes_settle(engine, cutover->until_us, err);
    if (status == RH_OK)
        status = routes_release(engine, err);
    if (status != RH_OK)
        return status;
    status = cutover->way == WAY_THERE ? compare(engine, err) : the_other_way(cutover, compare, err);
    *ret_again = status == RH_E_MISMATCH;
    return status;
}

/* Puts right what an attempt that failed has left, and waits a while for servers that are away. *ret_new: servers that
 * go to the new side all the same. */
static enum rh_status unwind(struct cutover *cutover, size_t *ret_new, struct rh_error *err)
{
    const int64_t until = rh_clock_us() + UNWIND_LIMIT_US;
    struct rh_error second;
    enum rh_status status;
    do {
        second = (struct rh_error){0};
        status = routes_undo(cutover->engine, ret_new, &second);
        if (status == RH_OK)
            return RH_OK;
        rh_sleep_us(100 * 1000);
    } while (second.retry != RH_RETRY_NEVER && rh_clock_us() < until);
    rh_ignore(rh_error_prepend(err, "%s; and before that", second.text));
    rh_error_hint(err, "%s", second.hint);
    return status;
}

/* Takes all routes one way. */
static enum rh_status switch_all(struct rh_engine *engine, enum way way, size_t *ret_new, struct rh_error *err)
{
    struct cutover cutover = {.engine = engine, .way = way};
    bool again = false;
    *ret_new = 0;
    enum rh_status status = fences_look(engine, err);
    if (status == RH_OK)
        status = routes_look(engine, way, err);
    if (status == RH_OK && way == WAY_THERE)
        routes_say_left_out(engine);
    if (status == RH_OK && way == WAY_BACK)
        status = back_make(&cutover, err);
    for (int i = 0; status == RH_OK && (i == 0 || again) && i < ATTEMPTS; i++) {
        struct rh_error why = {0};
        status = attempt(&cutover, &again, &why);
        if (status != RH_OK && err)
            *err = why;
        if (again && i + 1 < ATTEMPTS) {
            rh_log(RH_LOG_WARN, "switching once more", {"reason", why.text});
            status = RH_OK;
        }
    }
    if (status != RH_OK)
        rh_ignore(unwind(&cutover, ret_new, err));
    if (status == RH_OK && way == WAY_BACK)
        status = the_other_way(&cutover, forget_all, err);
    if (cutover.back_plans)
        back_free(&cutover);
    return status;
}

/* --- the verbs --- */

enum rh_status cutover_back(struct rh_engine *engine, struct rh_error *err)
{
    size_t there = 0;
    enum rh_status status = switch_all(engine, WAY_BACK, &there, err);
    if (status == RH_OK)
        status = put_switched(engine, "no", err);
    else if (rh_failed(status))
        rh_ignore(rh_error_prepend(err, "going back to the source"));
    return status;
}

/* Journals for each move whether a server went from it all the same. */
static enum rh_status put_went(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++) {
        bool went = false;
        for (size_t j = 0; j < engine->routes.count; j++)
            went = went || (engine->routes.runs[j].at_new && engine->routes.runs[j].fence->move == &engine->moves[i]);
        status = fact_put(&engine->moves[i], "switched", went ? "yes" : "no", err);
    }
    return status;
}

/* A cutover that failed leaves no server at the destination. */
static enum rh_status leave_no_trace(struct rh_engine *engine, size_t there, struct rh_error *err)
{
    struct rh_error second = {0};
    for (size_t i = 0; i < engine->routes.count; i++)
        if (engine->routes.runs[i].standing) /* nobody knows where that server goes to */
            return err->status;
    if (err->status == RH_E_CANCELLED && there > 0) {
        rh_ignore(rh_error_prepend(err, "cut over, but not looked over to the end"));
        rh_error_hint(err, "'rehome cutover' goes on from here, 'rehome rollback' goes back");
        return err->status;
    }
    if (there == 0) {
        if (put_switched(engine, "no", &second) == RH_OK)
            rh_ignore(rh_error_prepend(err, "not cut over, every server goes to its source"));
        return err->status;
    }
    if (put_went(engine, &second) == RH_OK && cutover_back(engine, &second) == RH_OK)
        rh_ignore(rh_error_prepend(err, "cut over and gone back, every server goes to its source"));
    else {
        rh_ignore(rh_error_prepend(
            err, "%s; run 'rehome rollback' or 'rehome cutover' when that is mended; before that", second.text));
        rh_error_hint(err, "%s", second.hint);
    }
    return err->status;
}

/* Whether a move that was complete was cut off while it carried over what came since. */
static bool was_complete(struct move_run *move)
{
    return (fact_is(move, "state", STATE_RUNNING) || fact_is(move, "state", STATE_FAILED)) &&
           fact_is(move, "carries-over", "yes");
}

/* What a cutover needs to be there. */
static enum rh_status may_cut_over(struct rh_engine *engine, struct rh_error *err)
{
    if (engine->routes.count == 0) {
        rh_fail(err, RH_E_REFUSED, "the plan has no cutover block, so there is nothing to switch");
        rh_error_hint(err, "cutover { route \"TYPE\" { ... } }; rehome.plan(5) says more");
        return RH_E_REFUSED;
    }
    for (size_t i = 0; i < engine->move_count; i++)
        if (fact_is(&engine->moves[i], "state", STATE_FINISHED)) {
            rh_fail(err, RH_E_REFUSED,
                    "move '%s' is finished, so no server may go to its destination: there is no way back",
                    engine->moves[i].plan->name);
            rh_error_hint(err, "move with on_conflict = \"keep-equal\" under a plan of another name, then cut over");
            return RH_E_REFUSED;
        } else if (!fact_is(&engine->moves[i], "state", STATE_COMPLETE) && !was_complete(&engine->moves[i])) {
            rh_fail(err, RH_E_REFUSED, "move '%s' isn't complete, so no server may go to its destination",
                    engine->moves[i].plan->name);
            rh_error_hint(err, "'rehome run' completes it");
            return RH_E_REFUSED;
        }
    return RH_OK;
}

enum rh_status rh_engine_cutover(struct rh_engine *engine, struct rh_error *err)
{
    size_t there = 0;
    struct rh_error own = {0};
    err = err ? err : &own;
    enum rh_status status = journal_must(engine, err);
    if (status == RH_OK)
        status = may_cut_over(engine, err);
    if (status == RH_OK)
        status = command_begin(engine, "cutover", err);
    if (status != RH_OK)
        return status;
    status = routes_recover(engine, err);
    if (status == RH_OK) {
        const bool was = any_switched(engine);
        status = switch_all(engine, WAY_THERE, &there, err);
        if (status == RH_OK) {
            there = engine->routes.count;
            status = routes_probe(engine, err);
        }
        /* what was cut over before this command stays so */
        if (status != RH_OK && !was)
            status = leave_no_trace(engine, there, err);
    }
    return command_end(engine, "cutover", status, err);
}
