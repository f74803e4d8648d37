/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations that commit as a whole (a file that is replaced), and sides that are pipes.
 *
 * A whole destination needs no undo log: until its one commit nothing of it shows. What the journal remembers instead,
 * as facts of the move:
 *   whole.ours       everything we have committed, or were about to, separated by blanks: stamp=proof
 *   whole.promised   the stamp of a commit under way; gone once it is known to have happened
 *   whole.committed  the stamp of our last commit
 *   whole.saved      the stamp of what stood before our first commit, which the driver keeps; empty: nothing stood
 *   whole.kept       the sealed file in the state folder that holds it, where the engine keeps it for the driver
 * The digests of the ranges are journaled with the promise, and the ranges as done after the commit. A process that
 * finds its promise standing knows that the commit happened.
 */
#include "internal.h"

/* The text up to a sign, which is passed over, or to the end. */
static struct rh_bytes take_until(struct rh_bytes *text, char sign)
{
    const uint8_t *found = text->size ? memchr(text->data, sign, text->size) : NULL;
    const struct rh_bytes part = rh_bytes(text->data, found ? (size_t)(found - text->data) : text->size);
    const size_t passed = part.size + (found != NULL);
    *text = rh_bytes(text->data + passed, text->size - passed);
    return part;
}

/* Whether a stamp is one of ours; ret_proof (may be NULL) gets its proof. */
static bool find_ours(struct move_run *move, struct rh_bytes stamp, struct rh_buf *ret_proof)
{
    rh_auto_buf struct rh_buf ours = RH_BUF_INIT;
    if (stamp.size == 0 || fact_get(move, "whole.ours", &ours, NULL) != RH_OK)
        return false;
    for (struct rh_bytes rest = rh_buf_bytes(&ours); rest.size;) {
        struct rh_bytes proof = take_until(&rest, ' ');
        if (rh_bytes_equal(take_until(&proof, '='), stamp))
            return !ret_proof || rh_buf_add(ret_proof, proof.data, proof.size, NULL) == RH_OK;
    }
    return false;
}

/* A driver's stamp as the journal gets to see it: where records are secret, an HMAC under the move's sealed key. */
static enum rh_status
outward(const struct move_run *move, struct rh_bytes stamp, struct rh_buf *ret_stamp, struct rh_error *err)
{
    rh_buf_clear(ret_stamp);
    if (!move->digest.secret_records || stamp.size == 0)
        return rh_buf_add(ret_stamp, stamp.data, stamp.size, err);
    return rh_buf_text(ret_stamp, rh_hash_show(rh_digest_name(&move->digest, "stamp", stamp)).text, err);
}

/* What stands at the destination; empty when nothing does. ret_own (may be NULL): the driver's own stamp. */
static enum rh_status
standing(struct move_run *move, struct rh_buf *ret_stamp, struct rh_buf *ret_own, struct rh_error *err)
{
    struct side *side = &move->destination;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf own = RH_BUF_INIT;
    enum rh_status status = whole_of(side)->stamp(&ctx, side->session, &own);
    if (status != RH_OK && status != RH_NOT_FOUND)
        return side_status(side, err, status);
    if (status == RH_NOT_FOUND)
        rh_buf_clear(&own);
    status = outward(move, rh_buf_bytes(&own), ret_stamp, err);
    return status == RH_OK && ret_own ? rh_buf_add(ret_own, own.data, own.size, err) : status;
}

/* Whether what stands under a stamp of ours is ours to the last byte. */
static enum rh_status untouched(struct move_run *move, struct rh_bytes stamp, bool *ret_untouched, struct rh_error *err)
{
    struct side *side = &move->destination;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf written = RH_BUF_INIT, now = RH_BUF_INIT;
    *ret_untouched = false;
    if (!find_ours(move, stamp, &written) || written.size == 0)
        return RH_OK;
    *ret_untouched = !whole_of(side)->prove;
    if (*ret_untouched)
        return RH_OK;
    enum rh_status status = whole_of(side)->prove(&ctx, side->session, false, &now);
    if (status == RH_OK)
        *ret_untouched = rh_bytes_equal(rh_buf_bytes(&written), rh_buf_bytes(&now));
    return status == RH_NOT_FOUND ? RH_OK : side_status(side, err, status);
}

/* A pipe is for a plan of its own: what another move needs to be run again for would find it empty. */
static void check_pipes(struct move_run *move, bool resuming)
{
    const struct side *const sides[] = {&move->source, &move->destination};
    for (size_t i = 0; i < 2; i++) {
        if (!sides[i]->facts.one_pass)
            continue;
        if (move->engine->move_count > 1)
            check_problem(move, sides[i], RH_E_REFUSED, "one-pass", (struct rh_bytes){0},
                          "give the move a plan of its own", "a plan with a pipe at one side can't have other moves");
        if (move->engine->args.start && i == 0)
            check_problem(move, sides[i], RH_E_REFUSED, "one-pass", (struct rh_bytes){0}, "leave -start away",
                          "a pipe is read from its start");
        if (!resuming)
            check_say(move, sides[i], RH_FINDING_WARNING, "one-pass", (struct rh_bytes){0},
                      i ? "the destination is a pipe: what went into it can't be read back, compared or taken back"
                        : "the source is a pipe: it is read once, and not again to compare both sides");
    }
    if (move->source.facts.one_pass && move->engine->journal && fact_is(move, "state", STATE_COMPLETE))
        check_problem(move, &move->source, RH_E_REFUSED, "complete", (struct rh_bytes){0},
                      "'rehome finish' gives the way back up, 'rehome rollback' goes back; then run it again",
                      "the move is complete, and what came through the pipe can't be compared again");
}

enum rh_status whole_check(struct move_run *move, bool resuming, struct rh_error *err)
{
    struct side *side = &move->destination;
    struct rh_error why = {0};
    check_pipes(move, resuming);
    if (!whole_of(side) || side->facts.exists == RH_NO)
        return RH_OK;
    rh_auto_buf struct rh_buf stamp = RH_BUF_INIT;
    enum rh_status status = standing(move, &stamp, NULL, &why);
    if (status == RH_E_REFUSED) {
        check_problem(move, side, RH_E_REFUSED, "container", (struct rh_bytes){0}, why.hint, "%s", why.text);
        return RH_OK;
    }
    if (status != RH_OK) {
        if (err)
            *err = why;
        return status;
    }
    const bool ours = move->engine->journal && find_ours(move, rh_buf_bytes(&stamp), NULL);
    if (!ours && whole_of(side)->replaces_all && move_policy(move) != RH_CONFLICT_OVERWRITE)
        check_problem(move, side, RH_E_REFUSED, "exists", (struct rh_bytes){0},
                      "name another file, or say on_conflict = \"overwrite\" in the move",
                      "the destination '%s' is there already", side->facts.address);
    return RH_OK;
}

/* --- copying --- */

/* Whether a key that is there already may stay as it is. */
static enum rh_status
keep_equal(struct move_run *move, struct rh_ctx *ctx, const struct rh_record *record, bool *ret_kept)
{
    struct side *side = &move->destination;
    rh_auto_batch struct rh_batch held = RH_BATCH_INIT;
    *ret_kept = false;
    if (record->outcome != RH_OUTCOME_EXISTS || move_policy(move) != RH_CONFLICT_KEEP_EQUAL)
        return RH_OK;
    enum rh_status status = side->store->driver->read->get(ctx, move->whole, &move->dataset, &record->key, 1, &held);
    if (status == RH_OK && held.count == 1)
        *ret_kept = rh_hash_equal(rh_digest_record(&move->digest, move->dataset.name, &held.records[0]), record->hash);
    return side_status(side, ctx->err, status);
}

enum rh_status whole_put(struct move_run *move, struct rh_ctx *ctx, struct range *range, struct rh_batch *batch)
{
    struct side *side = &move->destination;
    const bool replace = move_policy(move) == RH_CONFLICT_OVERWRITE;
    rh_crash_point("copy");
    enum rh_status status =
        side->store->driver->write->put(ctx, move->whole, batch, replace ? RH_PUT_REPLACE : RH_PUT_CREATE);
    if (status != RH_OK)
        return side_status(side, ctx->err, status);
    for (size_t i = 0; i < batch->count; i++) {
        const struct rh_record *record = &batch->records[i];
        bool kept = false;
        status = keep_equal(move, ctx, record, &kept);
        if (status != RH_OK)
            return status;
        if (record->outcome != RH_OUTCOME_DONE && !kept) {
            rh_fail(ctx->err, RH_E_CONFLICT, "the destination holds %s, which isn't of this move",
                    SHOW_KEY(move, record->key));
            ctx->err->side = RH_SIDE_DESTINATION;
            return RH_E_CONFLICT;
        }
        rh_sum_add(&range->state.copied, record->hash, record_bytes(move, record));
        range->state.kept += kept;
        range->state.written += !kept;
    }
    range->state.batches++;
    return range_set_bytes(&range->resume, &range->state.resume, batch->records[batch->count - 1].key, ctx->err);
}

/* Journals every range, all of them done or none. */
static enum rh_status journal_ranges(struct move_run *move, bool done, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < move->range_count; i++) {
        struct rh_range_state state = move->ranges[i].state;
        state.done = done;
        status = rh_journal_range_progress(move->engine->journal, move->plan->name, &state, err);
    }
    return status;
}

/* Adds "stamp=proof" to what is ours. */
static enum rh_status add_ours(
    struct move_run *move, struct rh_bytes stamp, struct rh_bytes proof, struct rh_buf *ret_ours, struct rh_error *err)
{
    enum rh_status status = fact_get(move, "whole.ours", ret_ours, err);
    if (status == RH_OK)
        status = rh_buf_u8(ret_ours, ' ', err);
    if (status == RH_OK || status == RH_NOT_FOUND)
        status = rh_buf_add(ret_ours, stamp.data, stamp.size, err);
    if (status == RH_OK)
        status = rh_buf_u8(ret_ours, '=', err);
    return status == RH_OK ? rh_buf_add(ret_ours, proof.data, proof.size, err) : status;
}

/* One transaction: what is about to be committed, over what. */
static enum rh_status journal_promise(
    struct move_run *move, struct rh_bytes stamp, struct rh_bytes proof, struct rh_bytes before, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    const char *name = move->plan->name;
    rh_auto_buf struct rh_buf ours = RH_BUF_INIT;
    enum rh_status status = add_ours(move, stamp, proof, &ours, err);
    if (status == RH_OK)
        status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = journal_ranges(move, false, err);
    if (status == RH_OK)
        status = rh_journal_put(journal, name, "whole.ours", rh_buf_bytes(&ours), err);
    if (status == RH_OK)
        status = rh_journal_put(journal, name, "whole.promised", stamp, err);
    if (status == RH_OK) /* what stood before the first commit of all is what goes back */
        status = rh_journal_put_once(journal, name, "whole.saved", before, err);
    if (status == RH_OK || status == RH_EXISTS)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* One transaction: the commit happened. */
static enum rh_status journal_landed(struct move_run *move, struct rh_bytes stamp, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = journal_ranges(move, true, err);
    if (status == RH_OK)
        status = rh_journal_put(journal, move->plan->name, "whole.committed", stamp, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, move->plan->name, "whole.promised", err);
    if (status == RH_OK)
        status = rh_journal_commit(journal, err);
    else
        rh_journal_abort(journal);
    for (size_t i = 0; status == RH_OK && i < move->range_count; i++)
        move->ranges[i].state.done = true;
    return status;
}

/* Something of somebody else's stands where ours should go. */
static enum rh_status foreign(struct move_run *move, struct rh_error *err)
{
    rh_fail(err, RH_E_CONFLICT, "the destination '%s' isn't what it was when the move began",
            move->destination.facts.address);
    rh_error_hint(err, "find out who writes there");
    err->side = RH_SIDE_DESTINATION;
    return RH_E_CONFLICT;
}

/* Whether what stands, which isn't ours, is what the commit may replace. `known`: an earlier attempt saw what stood. */
static bool may_replace(const struct move_run *move, bool known, struct rh_bytes saved, struct rh_bytes before)
{
    if (known && !rh_bytes_equal(saved, before))
        return false;
    return !whole_of(&move->destination)->replaces_all || move_policy(move) == RH_CONFLICT_OVERWRITE;
}

/* Keeps what stands now for the way back: the engine does, or the store. */
static enum rh_status save(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_whole_ops *whole = whole_of(side);
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    if (!whole->image)
        return side_status(side, err, whole->save(&ctx, move->whole));
    rh_auto_arena struct rh_arena arena = {.secret = true};
    struct rh_bytes image;
    enum rh_status status = side_status(side, err, whole->image(&ctx, move->whole, &arena, &image));
    return status == RH_OK ? kept_put(move, image, err) : status;
}

/* Promise, save, commit, in this order. */
static enum rh_status commit_unit(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_whole_ops *whole = whole_of(side);
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, own = RH_BUF_INIT, promised = RH_BUF_INIT, stamp = RH_BUF_INIT,
                              proof = RH_BUF_INIT, saved = RH_BUF_INIT;
    enum rh_status status = standing(move, &before, &own, err);
    if (status == RH_E_REFUSED) /* it wasn't there when the move was checked */
        return foreign(move, err);
    if (status != RH_OK)
        return status;
    bool ours = false;
    status = untouched(move, rh_buf_bytes(&before), &ours, err);
    if (status != RH_OK)
        return status;
    const bool known = fact_get(move, "whole.saved", &saved, NULL) == RH_OK;
    if (before.size && !ours && !may_replace(move, known, rh_buf_bytes(&saved), rh_buf_bytes(&before)))
        return foreign(move, err);
    status = side_status(side, err, whole->promise(&ctx, move->whole, rh_buf_bytes(&own), &promised));
    if (status == RH_OK)
        status = outward(move, rh_buf_bytes(&promised), &stamp, err);
    if (status == RH_OK)
        status = !whole->prove ? rh_buf_add(&proof, stamp.data, stamp.size, err)
                               : side_status(side, err, whole->prove(&ctx, move->whole, true, &proof));
    if (status == RH_OK)
        status = journal_promise(move, rh_buf_bytes(&stamp), rh_buf_bytes(&proof), rh_buf_bytes(&before), err);
    if (status == RH_OK && before.size && !ours)
        status = save(move, err);
    enum rh_commit commit = RH_COMMIT_NOT_DONE;
    if (status == RH_OK)
        status = fences_hold(move->engine, err);
    if (status == RH_OK)
        status = side_status(side, err, side->store->driver->write->commit(&ctx, move->whole, &commit));
    if (status == RH_OK)
        status = fences_hold(move->engine, err);
    return status == RH_OK ? journal_landed(move, rh_buf_bytes(&stamp), err) : status;
}

/* Whether an earlier process journaled that its commit happened, and was killed before it could say that all of the
 * copying is done; what stands must still be that. */
static enum rh_status landed_before(struct move_run *move, bool *ret_landed, struct rh_error *err)
{
    rh_auto_buf struct rh_buf committed = RH_BUF_INIT, now = RH_BUF_INIT;
    bool done = move->range_count > 0;
    for (size_t i = 0; i < move->range_count; i++)
        done = done && move->ranges[i].state.done;
    *ret_landed = false;
    enum rh_status status = done ? fact_get(move, "whole.committed", &committed, err) : RH_NOT_FOUND;
    if (status == RH_OK)
        status = standing(move, &now, NULL, err);
    *ret_landed = status == RH_OK && now.size && rh_bytes_equal(rh_buf_bytes(&committed), rh_buf_bytes(&now));
    return status == RH_NOT_FOUND ? RH_OK : status;
}

/* Whether the commit of an earlier process happened; else every range starts anew. */
static enum rh_status take_up(struct move_run *move, bool *ret_landed, struct rh_error *err)
{
    rh_auto_buf struct rh_buf promised = RH_BUF_INIT, now = RH_BUF_INIT;
    *ret_landed = false;
    enum rh_status status = fact_get(move, "whole.promised", &promised, err);
    if (status == RH_NOT_FOUND) {
        status = landed_before(move, ret_landed, err);
        if (status != RH_OK || *ret_landed)
            return status;
        status = RH_NOT_FOUND;
    }
    if (status == RH_OK)
        status = standing(move, &now, NULL, err);
    if (status == RH_OK && rh_bytes_equal(rh_buf_bytes(&promised), rh_buf_bytes(&now))) {
        *ret_landed = true;
        return journal_landed(move, rh_buf_bytes(&now), err);
    }
    for (size_t i = 0; i < move->range_count; i++) {
        struct rh_range_state *state = &move->ranges[i].state;
        state->done = false;
        state->resume = (struct rh_bytes){0};
        state->copied = (struct rh_sum){0};
        state->batches = state->written = state->replaced = state->kept = 0;
    }
    atomic_store(&move->engine->records_done, 0);
    return status == RH_NOT_FOUND ? RH_OK : status;
}

enum rh_status whole_copy(struct move_run *move,
                          enum rh_status (*copy)(struct move_run *move, struct rh_error *err),
                          struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_write_ops *write = side->store->driver->write;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    bool landed = false;
    enum rh_status status = take_up(move, &landed, err);
    if (status == RH_OK && !landed)
        status = side_session(side, &ctx, RH_ROLE_WRITE, &move->whole);
    if (status == RH_OK && !landed)
        status = side_status(side, err, write->begin(&ctx, move->whole, &move->dataset, &move->digest));
    if (status == RH_OK && !landed)
        status = copy(move, err);
    if (status == RH_OK && !landed)
        status = commit_unit(move, err);
    /* what wasn't committed goes with its session */
    side_session_close(move->whole);
    move->whole = NULL;
    if (status == RH_OK)
        status = side_status(side, err, side->store->driver->facts(&ctx, side->session, &side->facts));
    return status;
}

enum rh_status whole_adopt(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf stamp = RH_BUF_INIT, proof = RH_BUF_INIT, ours = RH_BUF_INIT;
    enum rh_status status = standing(move, &stamp, NULL, err);
    if (status != RH_OK || stamp.size == 0 || find_ours(move, rh_buf_bytes(&stamp), NULL))
        return status;
    status = !whole_of(side)->prove ? rh_buf_add(&proof, stamp.data, stamp.size, err)
                                    : side_status(side, err, whole_of(side)->prove(&ctx, side->session, false, &proof));
    if (status == RH_OK)
        status = add_ours(move, rh_buf_bytes(&stamp), rh_buf_bytes(&proof), &ours, err);
    return status == RH_OK
               ? rh_journal_put(move->engine->journal, move->plan->name, "whole.ours", rh_buf_bytes(&ours), err)
               : status;
}

/* --- the way back --- */

/* The facts that speak of our content; gone with it. */
static enum rh_status drop_facts(struct move_run *move, struct rh_error *err)
{
    static const char *const facts[] = {"whole.ours", "whole.promised", "whole.committed", "whole.saved", "whole.kept"};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < sizeof facts / sizeof *facts; i++)
        status = rh_journal_remove(move->engine->journal, move->plan->name, facts[i], err);
    return status;
}

/* Something else stands there by now: it stays. What was there before our first commit is kept then, and the way back
 * open, until that is out of its way. */
static enum rh_status leave(struct move_run *move, bool saved, bool changed, struct rh_error *err)
{
    const char *address = move->destination.facts.address;
    const char *what =
        changed ? "some of its bytes aren't those that the move wrote" : "somebody has replaced it since";
    char note[128];
    (void)snprintf(note, sizeof note, "left alone by rollback: %s", what);
    enum rh_status status = rh_journal_notes_clear(move->engine->journal, move->plan->name, "not-ours", err);
    if (status == RH_OK)
        status =
            rh_journal_note(move->engine->journal, move->plan->name, "not-ours", rh_bytes_text(address), note, err);
    check_say(move, &move->destination, RH_FINDING_RECORD, "not-ours", rh_bytes_text(address), "left alone, %s: %s",
              what, address);
    if (status != RH_OK || !saved)
        return status == RH_OK ? fact_put(move, "rollback.left", "1 left alone", err) : status;
    rh_fail(err, RH_E_CONFLICT, "putting back what '%s' was: %s", address, what);
    rh_error_hint(err, "move it away, then 'rehome rollback' puts back what was there before the move; "
                       "'rehome recover --abandon' gives that up");
    err->side = RH_SIDE_DESTINATION;
    return RH_E_CONFLICT;
}

/* Puts what was kept in the place of what stands, or nothing. */
static enum rh_status restore(struct move_run *move, struct rh_session *session, bool saved, struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_whole_ops *whole = whole_of(side);
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    if (!whole->put_back)
        return side_status(side, err, whole->restore(&ctx, session, saved));
    rh_auto_arena struct rh_arena arena = {.secret = true};
    struct rh_bytes image = {0};
    enum rh_status status = saved ? kept_get(move, &arena, &image, err) : RH_OK;
    if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_CORRUPT, "the journal doesn't say where what stood before is kept");
    return status == RH_OK ? side_status(side, err, whole->put_back(&ctx, session, saved ? &image : NULL)) : status;
}

/* Puts back under the writer's lock, over a content of ours only if it is as we wrote it. */
static enum rh_status put_back(struct move_run *move, struct rh_bytes ours, bool saved, struct rh_error *err)
{
    struct side *side = &move->destination;
    struct rh_session *session = NULL;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    bool same = true;
    enum rh_status status = side_session(side, &ctx, RH_ROLE_WRITE, &session);
    if (status == RH_OK && ours.size)
        status = untouched(move, ours, &same, err);
    rh_crash_point("rollback");
    if (status == RH_OK && same)
        status = fences_hold(move->engine, err);
    if (status == RH_OK && same)
        status = restore(move, session, saved, err);
    if (status == RH_OK && same)
        status = fences_hold(move->engine, err);
    side_session_close(session);
    return status == RH_OK && !same ? leave(move, saved, true, err) : status;
}

enum rh_status whole_rollback(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf now = RH_BUF_INIT, saved = RH_BUF_INIT, committed = RH_BUF_INIT;
    struct rh_session *session = NULL;
    struct side *side = &move->destination;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    const bool was_committed = fact_get(move, "whole.committed", &committed, NULL) == RH_OK;
    enum rh_status status = fact_get(move, "whole.saved", &saved, err);
    if (status != RH_OK && status != RH_NOT_FOUND)
        return status;
    /* a session to write takes away what a killed writer left */
    status = side_session(side, &ctx, RH_ROLE_WRITE, &session);
    side_session_close(session);
    struct rh_error why = {0};
    if (status == RH_OK)
        status = fact_put(move, "rollback.left", "", err);
    if (status == RH_OK)
        status = standing(move, &now, NULL, &why);
    if (status == RH_E_REFUSED) /* not even of our kind */
        return was_committed || saved.size ? leave(move, saved.size > 0, false, err) : RH_OK;
    if (status != RH_OK && rh_failed(why.status) && err)
        *err = why;
    if (status != RH_OK)
        return status;
    if (side->facts.one_pass && was_committed)
        check_say(move, side, RH_FINDING_WARNING, "kept", (struct rh_bytes){0},
                  "what went through the pipe can't be taken back; whoever has it removes it");
    const bool ours = find_ours(move, rh_buf_bytes(&now), NULL), gone = now.size == 0 && saved.size > 0;
    if (ours || gone)
        return put_back(move, rh_buf_bytes(&now), saved.size > 0, err);
    if (now.size == 0 || rh_bytes_equal(rh_buf_bytes(&now), rh_buf_bytes(&saved)))
        return RH_OK;
    return was_committed || saved.size ? leave(move, saved.size > 0, false, err) : RH_OK;
}

enum rh_status whole_forget(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf saved = RH_BUF_INIT;
    struct side *side = &move->destination;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    if (!whole_of(side))
        return RH_OK;
    enum rh_status status = fact_get(move, "whole.saved", &saved, err);
    if (status == RH_NOT_FOUND)
        return drop_facts(move, err);
    if (status == RH_OK && saved.size > 0 && whole_of(side)->forget) {
        status = side_open(move, side, err);
        if (status == RH_OK)
            status = side_status(side, err, whole_of(side)->forget(&ctx, side->session));
    }
    return status == RH_OK ? drop_facts(move, err) : status;
}

/* --- pipes --- */

/* A rival of the same batch, or one that the destination holds already. */
static enum rh_status check_rival(struct move_run *move,
                                  struct rh_ctx *ctx,
                                  struct rh_session *session,
                                  const struct rh_batch *batch,
                                  struct rh_bytes rival,
                                  bool *ret_there)
{
    const struct rh_driver *driver = move->destination.store->driver;
    *ret_there = false;
    for (size_t i = 0; i < batch->count; i++)
        if (rh_bytes_equal(batch->records[i].key, rival))
            *ret_there = true;
    if (*ret_there || move->whole)
        return RH_OK;
    rh_auto_batch struct rh_batch found = RH_BATCH_INIT;
    enum rh_status status = driver->read->get(ctx, session, &move->dataset, &rival, 1, &found);
    *ret_there = status == RH_OK && found.count > 0;
    return side_status(&move->destination, ctx->err, status);
}

enum rh_status
one_pass_fits(struct move_run *move, struct rh_ctx *ctx, struct rh_session *session, const struct rh_batch *batch)
{
    struct side *side = &move->destination;
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    for (size_t i = 0; i < batch->count; i++) {
        const struct rh_record *record = &batch->records[i];
        bool there = false;
        rh_buf_clear(&rival);
        enum rh_status status = side->store->driver->write->fits(side->store, &move->dataset, record->key,
                                                                 record->value_bytes, &rival, ctx->err);
        if (status != RH_OK) {
            rh_error_prepend(ctx->err, "the destination can't hold %s", SHOW_KEY(move, record->key));
            return side_status(side, ctx->err, status);
        }
        if (rival.size)
            status = check_rival(move, ctx, session, batch, rh_buf_bytes(&rival), &there);
        if (status != RH_OK)
            return status;
        if (there) {
            rh_fail(ctx->err, RH_E_LIMIT, "the destination can't hold both %s and %s: their names collide there",
                    SHOW_KEY(move, record->key), SHOW_KEY(move, rh_buf_bytes(&rival)));
            return side_status(side, ctx->err, RH_E_LIMIT);
        }
    }
    return RH_OK;
}

enum rh_status one_pass_refuse(struct move_run *move, struct rh_error *err)
{
    const bool source = fact_is(move, "pipe", "source");
    if (!source && !fact_is(move, "pipe", "destination"))
        return RH_OK;
    const struct side *side = source ? &move->source : &move->destination;
    rh_fail(err, RH_E_REFUSED, "the %s went through a pipe and can't be read again to compare", side_name(side->which));
    rh_error_hint(err, "'rehome seal inspect --check FILE' proves an archive whole; a plan that names the file as an "
                       "archive can be verified");
    return RH_E_REFUSED;
}
