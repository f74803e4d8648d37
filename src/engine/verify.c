/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification: per range one scan of the source (digest B) and one of the destination (digest C), merged in key order,
 * so that the pass which sums also names what differs. A, B and C: see docs/architecture.md, "Equality". Repair mends
 * what a pass has named, by compare-and-set against the value seen.
 */
#include "internal.h"

#include <stdlib.h>

/* Differences that one pass remembers for repair; a repair with more makes several passes. */
enum { DIFFERENCES_MOST = 10000 };

struct difference {
    struct rh_bytes key;
    struct rh_hash seen;   /* of the destination's value */
    struct rh_hash wanted; /* of the source's */
    bool absent;           /* the destination lacks the key */
    bool mendable;         /* the source is as it was copied */
};

/* What one attempt at one range found; merged into the pass when the attempt is complete. */
struct range_found {
    struct rh_sum b, c;
    uint64_t missing, differing, extras;
    struct rh_hash extra_names;
    struct rh_arena arena;
    struct difference *differences;
    size_t count, capacity;
};

struct pass {
    struct move_run *move;
    pthread_mutex_t lock;
    struct range_found all;
    struct rh_sum a;
    bool source_still;
};

static void found_done(struct range_found *found)
{
    rh_arena_done(&found->arena);
    free(found->differences);
}

/* Remembers a difference for naming and repair, up to the cap; counting is the caller's. */
static enum rh_status remember(struct range_found *found, const struct difference *difference, struct rh_error *err)
{
    if (found->count == DIFFERENCES_MOST)
        return RH_OK;
    if (found->count == found->capacity) {
        const size_t capacity = found->capacity ? found->capacity * 2 : 64;
        struct difference *grown = realloc(found->differences, capacity * sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        found->differences = grown;
        found->capacity = capacity;
    }
    const struct rh_bytes copy = rh_arena_copy(&found->arena, difference->key);
    if (!copy.data && difference->key.size)
        return rh_fail_memory(err);
    found->differences[found->count] = *difference;
    found->differences[found->count++].key = copy;
    return RH_OK;
}

/* Walks both sides of a range in step. */
static enum rh_status compare_range(struct move_run *move,
                                    struct stream *source,
                                    struct stream *destination,
                                    struct range_found *found,
                                    struct rh_error *err)
{
    for (;;) {
        const struct rh_record *left = NULL, *right = NULL;
        enum rh_status status = stream_peek(source, &left);
        if (status == RH_OK)
            status = stream_peek(destination, &right);
        if (status != RH_OK || (!left && !right))
            return status;
        const int order = !left ? 1 : !right ? -1 : rh_bytes_compare(left->key, right->key);
        if (order <= 0)
            rh_sum_add(&found->b, left->hash, record_bytes(move, left));
        if (order == 0)
            rh_sum_add(&found->c, right->hash, record_bytes(move, right));
        if (order < 0) {
            found->missing++;
            const struct difference missing = {.key = left->key, .wanted = left->hash, .absent = true};
            status = remember(found, &missing, err);
        } else if (order == 0 && !rh_hash_equal(left->hash, right->hash)) {
            found->differing++;
            const struct difference differing = {.key = left->key, .wanted = left->hash, .seen = right->hash};
            status = remember(found, &differing, err);
        }
        if (order > 0) {
            struct rh_sum names = {.sum = found->extra_names};
            rh_sum_add(&names, rh_digest_name(&move->digest, move->dataset.name, right->key), 0);
            found->extra_names = names.sum;
            found->extras++;
        }
        if (status != RH_OK)
            return status;
        atomic_fetch_add_explicit(&move->engine->records_done, order <= 0, memory_order_relaxed);
        source->at += order <= 0;
        destination->at += order >= 0;
    }
}

/* Adds a completed range to the pass, journals its digests. */
static enum rh_status
merge_found(struct pass *pass, struct range *range, struct range_found *found, struct rh_error *err)
{
    struct move_run *move = pass->move;
    range->state.source = found->b;
    range->state.destination = found->c;
    range->state.verified = true;
    enum rh_status status = rh_journal_range_verified(move->engine->journal, move->plan->name, &range->state, err);
    if (status != RH_OK)
        return status;
    const bool still = rh_sum_equal(&range->state.copied, &found->b);
    pthread_mutex_lock(&pass->lock);
    rh_sum_merge(&pass->a, &range->state.copied);
    rh_sum_merge(&pass->all.b, &found->b);
    rh_sum_merge(&pass->all.c, &found->c);
    pass->source_still = pass->source_still && still;
    struct rh_sum names = {.sum = pass->all.extra_names};
    rh_sum_add(&names, found->extra_names, 0);
    pass->all.extra_names = names.sum;
    pass->all.extras += found->extras;
    pass->all.missing += found->missing;
    pass->all.differing += found->differing;
    for (size_t i = 0; i < found->count && status == RH_OK; i++) {
        const struct difference *difference = &found->differences[i];
        const size_t before = pass->all.count;
        status = remember(&pass->all, difference, err);
        if (pass->all.count > before)
            pass->all.differences[before].mendable = still;
    }
    pthread_mutex_unlock(&pass->lock);
    return status;
}

/* A lane's work on one range. */
static enum rh_status verify_range(struct lane *lane, struct rh_ctx *ctx, struct range *range)
{
    struct pass *pass = lane->user;
    struct stream source = {0}, destination = {0};
    const struct rh_range bounds = {.from = range->state.from, .to = range->state.to};
    struct range_found found = {0};
    rh_crash_point("verify");
    struct move_run *move = lane->move;
    enum rh_status status = stream_open(&source, move, &move->source, ctx, &lane->source, &lane->batches[0], bounds, 0);
    if (status == RH_OK)
        status =
            stream_open(&destination, move, &move->destination, ctx, &lane->destination, &lane->batches[1], bounds, 0);
    if (status == RH_OK)
        status = compare_range(move, &source, &destination, &found, ctx->err);
    stream_close(&source);
    stream_close(&destination);
    if (status == RH_OK)
        status = merge_found(pass, range, &found, ctx->err);
    found_done(&found);
    return status;
}

static bool every_range(const struct range *range)
{
    (void)range;
    return true;
}

/* Names what differs, to the caller and in the journal. */
static enum rh_status name_differences(struct move_run *move, const struct pass *pass, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    enum rh_status status = rh_journal_notes_clear(journal, move->plan->name, "differs", err);
    for (size_t i = 0; status == RH_OK && i < pass->all.count && i < NAMED_MOST; i++) {
        const struct difference *difference = &pass->all.differences[i];
        const char *text = difference->absent     ? "missing on the destination"
                           : difference->mendable ? "differs on the destination"
                                                  : "differs, and the source has changed since it was copied";
        check_say(move, &move->destination, RH_FINDING_RECORD, difference->absent ? "missing" : "differs",
                  difference->key, "%s: %s", text, SHOW_KEY(move, difference->key));
        status = rh_journal_note(journal, move->plan->name, "differs", difference->key, text, err);
    }
    return status;
}

/* Whether the destination's extra keys are those that the survey recorded. */
static enum rh_status
compare_extras(struct move_run *move, const struct pass *pass, bool *ret_equal, struct rh_error *err)
{
    rh_auto_buf struct rh_buf fact = RH_BUF_INIT;
    struct rh_sum recorded;
    enum rh_status status = fact_get(move, "extras", &fact, err);
    if (status == RH_OK)
        status = rh_sum_decode(rh_buf_bytes(&fact), &recorded);
    if (status != RH_OK)
        return rh_fail(err, RH_E_CORRUPT, "the journal doesn't hold the survey's extra keys");
    *ret_equal = recorded.count == pass->all.extras && rh_hash_equal(recorded.sum, pass->all.extra_names);
    return RH_OK;
}

/* One pass over all ranges. */
static enum rh_status verify_pass(struct move_run *move, struct pass *pass, struct rh_error *err)
{
    *pass = (struct pass){.move = move, .source_still = true};
    pthread_mutex_init(&pass->lock, NULL);
    uint64_t total = 0;
    for (size_t i = 0; i < move->range_count; i++)
        total += move->ranges[i].state.copied.count;
    engine_step_shown(move, "verify", total);
    samples_begin(move, SAMPLE_VERIFY);
    enum rh_status status = lanes_run(move, every_range, verify_range, pass, err);
    return status == RH_OK ? name_differences(move, pass, err) : status;
}

static void pass_done(struct pass *pass)
{
    found_done(&pass->all);
    pthread_mutex_destroy(&pass->lock);
}

/* Mends one difference by compare-and-set: 1 mended, 0 left alone. */
static enum rh_status
mend(struct move_run *move, const struct difference *difference, bool *ret_mended, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    struct side *source = &move->source, *destination = &move->destination;
    const struct rh_write_ops *write = destination->store->driver->write;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    *ret_mended = false;
    enum rh_status status = side_status(
        source, err,
        source->store->driver->read->get(&ctx, source->session, &move->dataset, &difference->key, 1, &batch));
    if (status != RH_OK || batch.count == 0)
        return status;
    /* a value that came to the source since the pass isn't what the undo log promised to write */
    if (!rh_hash_equal(rh_digest_record(&move->digest, move->dataset.name, &batch.records[0]), difference->wanted))
        return RH_OK;
    batch.records[0].expect = difference->seen;
    batch.records[0].expect_absent = difference->absent;
    status = write->begin(&ctx, destination->session, &move->dataset, &move->digest);
    if (status == RH_OK) {
        enum rh_commit commit = RH_COMMIT_NOT_DONE;
        status = write->put(&ctx, destination->session, &batch, RH_PUT_IF_HASH);
        if (status == RH_OK)
            status = write->commit(&ctx, destination->session, &commit);
        else
            write->abort(destination->session);
    }
    *ret_mended = status == RH_OK && batch.records[0].outcome == RH_OUTCOME_DONE;
    return side_status(destination, err, status);
}

/* Mends what a pass remembered; what the undo log doesn't vouch for, or somebody wrote since, is left and named. */
static enum rh_status
repair(struct move_run *move, const struct pass *pass, struct verify_result *result, struct rh_error *err)
{
    for (size_t i = 0; i < pass->all.count; i++) {
        const struct difference *difference = &pass->all.differences[i];
        bool mended = false;
        rh_crash_point("repair");
        if (difference->mendable) {
            enum rh_status status = mend(move, difference, &mended, err);
            if (status != RH_OK)
                return status;
        }
        result->mended += mended;
        result->left += !mended;
        check_say(move, &move->destination, RH_FINDING_RECORD, mended ? "mended" : "not-ours", difference->key,
                  mended                 ? "mended: %s"
                  : difference->mendable ? "left alone, somebody has written it since: %s"
                                         : "left alone, the source has changed since it was copied: %s",
                  SHOW_KEY(move, difference->key));
    }
    return RH_OK;
}

/* The result of a pass. */
static enum rh_status
conclude(struct move_run *move, const struct pass *pass, struct verify_result *result, struct rh_error *err)
{
    result->a = pass->a;
    result->b = pass->all.b;
    result->c = pass->all.c;
    result->missing = pass->all.missing;
    result->differing = pass->all.differing;
    result->extras = pass->all.extras;
    result->source_still = pass->source_still && rh_sum_equal(&pass->a, &pass->all.b);
    result->equal = rh_sum_equal(&pass->all.b, &pass->all.c) && pass->all.missing == 0 && pass->all.differing == 0;
    return compare_extras(move, pass, &result->extras_equal, err);
}

enum rh_status verify_run(struct move_run *move, bool with_repair, struct verify_result *result, struct rh_error *err)
{
    *result = (struct verify_result){0};
    for (;;) {
        struct pass pass;
        const uint64_t mended_before = result->mended;
        enum rh_status status = verify_pass(move, &pass, err);
        if (status == RH_OK)
            status = conclude(move, &pass, result, err);
        const bool mend_now = status == RH_OK && with_repair && pass.all.count > 0 && result->left == 0;
        if (mend_now)
            status = repair(move, &pass, result, err);
        pass_done(&pass);
        /* after a repair one more pass shows what is true now */
        if (status != RH_OK || !mend_now || (result->mended == mended_before && result->left > 0))
            return status;
    }
}

/* The failure that a verification's result amounts to, in words. */
enum rh_status verify_judge(struct move_run *move, const struct verify_result *result, struct rh_error *err)
{
    /* servers that were switched make their keys at the destination */
    const bool extras_equal = result->extras_equal || switched(move);
    if (result->equal && result->source_still && extras_equal)
        return RH_OK;
    rh_fail(err, RH_E_MISMATCH, "%s%s%s%llu missing, %llu differing of %llu records",
            result->source_still ? "" : "the source isn't as it was copied; ",
            result->extras_equal ? "" : "the destination's extra keys changed; ",
            result->equal ? "both sides are equal: " : "the sides differ: ", (unsigned long long)result->missing,
            (unsigned long long)result->differing, (unsigned long long)result->b.count);
    err->side = result->source_still ? RH_SIDE_DESTINATION : RH_SIDE_SOURCE;
    if (!result->source_still && fact_is(move, "state", STATE_COMPLETE) &&
        (move->plan->fence_count > 0 || move->plan->source.driver->model == RH_MODEL_KEYRING))
        rh_error_hint(err, "'rehome run' carries over what was written to the source since");
    else if (!result->source_still && move_policy(move) == RH_CONFLICT_OVERWRITE)
        rh_error_hint(
            err,
            "stop whatever writes to the source, then run the same command again: the changed ranges are copied anew");
    else if (!result->source_still)
        rh_error_hint(err, "stop whatever writes to the source, then run again (after 'rehome rollback', unless it is "
                           "rolled back already)");
    else if (!result->equal && switched(move))
        rh_error_hint(err, "keys that were removed since the cutover are missing for good reason; for all others "
                           "'rehome rollback' goes back, with what the source has");
    else if (!result->equal && move->plan->destination.driver->commit_scope == RH_COMMIT_WHOLE)
        rh_error_hint(err, "find out who wrote it: a server that has it loaded writes what it knows over all of it; "
                           "'rehome finish', then 'rehome run' puts in what is missing");
    else if (!result->equal)
        rh_error_hint(err, "'rehome verify --repair' mends what differs; 'rehome rollback' goes back");
    else
        rh_error_hint(err, "find out who writes to the destination");
    return RH_E_MISMATCH;
}

/* Ranges whose source changed are copied anew by the next run, where the plan lets us replace what we wrote. */
enum rh_status verify_forget_changed(struct move_run *move, struct rh_error *err)
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
