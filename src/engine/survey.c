/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The survey: one sorted scan over the keys of both sides, merged. It counts, cuts the ranges, and names what would
 * stop the move before anything is written: keys that the destination can't hold, keys that it holds already, extra
 * keys.
 */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>

/* Where the move begins: -start, or the first key of all. */
static struct rh_bytes first_key(const struct move_run *move)
{
    const char *start = move->engine->args.start;
    return start ? rh_bytes_text(start) : (struct rh_bytes){0};
}

/* Merges neighbouring ranges when there are twice as many as wanted: their number stays bounded, their size even. */
static void halve_ranges(struct survey *survey)
{
    size_t kept = 0;
    assert(survey->ranges);
    for (size_t i = 0; i < survey->range_count; i += 2, kept++) {
        struct range merged = survey->ranges[i];
        if (i + 1 < survey->range_count) {
            struct range *next = &survey->ranges[i + 1];
            merged.state.expect_count += next->state.expect_count;
            merged.state.destination_empty = merged.state.destination_empty && next->state.destination_empty;
            rh_buf_done(&next->from);
            *next = (struct range){0};
        }
        survey->ranges[i] = (struct range){0};
        survey->ranges[kept] = merged;
    }
    survey->range_count = kept;
    survey->stride *= 2;
}

/* Begins a new range at `from` (empty for the first). */
static enum rh_status open_range(struct survey *survey, struct rh_bytes from, size_t most, struct rh_error *err)
{
    if (survey->range_count >= 2 * most)
        halve_ranges(survey);
    if (survey->range_count == survey->range_capacity) {
        const size_t capacity = survey->range_capacity ? survey->range_capacity * 2 : 16;
        struct range *grown = realloc(survey->ranges, capacity * sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        survey->ranges = grown;
        survey->range_capacity = capacity;
    }
    assert(survey->ranges && survey->range_count < survey->range_capacity);
    struct range *range = &survey->ranges[survey->range_count];
    *range = (struct range){.state = {.destination_empty = true}};
    enum rh_status status = range_set_bytes(&range->from, &range->state.from, from, err);
    if (status == RH_OK)
        survey->range_count++;
    return status;
}

/* A range ends where the next begins. */
static enum rh_status close_ranges(struct survey *survey, const char *dataset, struct rh_error *err)
{
    for (size_t i = 0; i < survey->range_count; i++) {
        struct range *range = &survey->ranges[i];
        range->state.from = rh_buf_bytes(&range->from);
        snprintf(range->state.dataset, sizeof range->state.dataset, "%s", dataset);
        if (i + 1 < survey->range_count) {
            enum rh_status status =
                range_set_bytes(&range->to, &range->state.to, rh_buf_bytes(&survey->ranges[i + 1].from), err);
            if (status != RH_OK)
                return status;
        }
    }
    return RH_OK;
}

/* Whether a store holds this key. */
static enum rh_status
side_has(struct move_run *move, struct side *side, struct rh_bytes key, bool *ret_has, struct rh_error *err)
{
    *ret_has = false;
    if (side->facts.exists == RH_NO)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = side->store->driver->read->get(&ctx, side->session, &move->dataset, &key, 1, &batch);
    *ret_has = status == RH_OK && batch.count > 0;
    return side_status(side, err, status);
}

/* Whether the destination can hold this record beside all others. */
static enum rh_status
check_fits(struct move_run *move, const struct rh_record *record, struct rh_buf *rival, struct rh_error *err)
{
    struct side *destination = &move->destination;
    struct rh_error why = {0};
    const struct rh_write_ops *write = destination->store->driver->write;
    struct rh_ctx ctx = engine_ctx(move->engine, &why);
    rh_buf_clear(rival);
    enum rh_status status =
        write->trial ? write->trial(&ctx, destination->session, &move->dataset, record)
                     : write->fits(destination->store, &move->dataset, record->key, record->value_bytes, rival, &why);
    if (status == RH_E_LIMIT) {
        check_problem(
            move, destination, RH_E_LIMIT, "does-not-fit", record->key,
            why.hint[0] ? why.hint : "rename or remove the record at the source, or choose another kind of destination",
            move->digest.secret_records ? "the destination can't hold %s: %s" : "the destination can't hold '%s': %s",
            SHOW_KEY(move, record->key), why.text);
        return RH_OK;
    }
    if (status != RH_OK) {
        if (err)
            *err = why;
        return side_status(destination, err, status);
    }
    struct side *const sides[] = {&move->source, destination};
    for (size_t i = 0; rival->size > 0 && i < 2; i++) {
        bool has = false;
        status = side_has(move, sides[i], rh_buf_bytes(rival), &has, err);
        if (status != RH_OK)
            return status;
        if (has) {
            check_problem(move, destination, RH_E_LIMIT, "collides", record->key, "rename or remove one of the two",
                          "the destination can't hold both %s and %s: their names collide there",
                          SHOW_KEY(move, record->key), SHOW_KEY(move, rh_buf_bytes(rival)));
            return RH_OK;
        }
    }
    return RH_OK;
}

/* A key that both sides hold. */
static enum rh_status check_conflict(struct move_run *move,
                                     struct survey *survey,
                                     const struct rh_record *left,
                                     const struct rh_record *right,
                                     struct rh_error *err)
{
    survey->conflicts++;
    survey->ranges[survey->range_count - 1].state.destination_empty = false;
    switch (move_policy(move)) {
    case RH_CONFLICT_OVERWRITE:
        return RH_OK;
    case RH_CONFLICT_KEEP_EQUAL:
        return equal_add(&survey->equal, left->key, left->value_bytes + right->value_bytes, err);
    case RH_CONFLICT_FAIL:
        break;
    }
    check_problem(
        move, &move->destination, RH_E_REFUSED, "exists", left->key,
        move->plan->source.driver->model == RH_MODEL_KEYRING
            ? "move to a keystore without these keys, or say on_conflict = \"keep-equal\" or \"overwrite\" in "
              "the move (keyring-migrate: --on-conflict)"
            : "move to an empty store, or say on_conflict = \"keep-equal\" or \"overwrite\" in the move",
        "the destination already holds %s", SHOW_KEY(move, left->key));
    return RH_OK;
}

/* A key of the source: counted, checked, put into its range. */
static enum rh_status take_source(struct move_run *move,
                                  struct survey *survey,
                                  const struct rh_record *record,
                                  struct rh_buf *rival,
                                  struct rh_error *err)
{
    const size_t most = (size_t)engine_lanes(move) * RANGES_PER_LANE;
    struct range *last = survey->range_count ? &survey->ranges[survey->range_count - 1] : NULL;
    if (!last || last->state.expect_count >= survey->stride) {
        enum rh_status status = open_range(survey, last ? record->key : first_key(move), most, err);
        if (status != RH_OK)
            return status;
        assert(survey->ranges);
        last = &survey->ranges[survey->range_count - 1];
    }
    last->state.expect_count++;
    survey->source_count++;
    atomic_fetch_add_explicit(&move->engine->records_done, 1, memory_order_relaxed);
    return check_fits(move, record, rival, err);
}

/* A key of the destination that the source doesn't have: counted, and in the way when a key of the source has its name
 * there. */
static enum rh_status take_extra(struct move_run *move,
                                 struct survey *survey,
                                 const struct rh_record *record,
                                 struct rh_buf *rival,
                                 struct rh_error *err)
{
    struct side *destination = &move->destination;
    struct rh_sum sum = {.sum = survey->extra_names};
    rh_sum_add(&sum, rh_digest_name(&move->digest, move->dataset.name, record->key), 0);
    survey->extra_names = sum.sum;
    survey->extras++;
    if (survey->extras <= NAMED_MOST)
        check_say(move, destination, RH_FINDING_RECORD, "extra", record->key,
                  "only on the destination; stays as it is: %s", SHOW_KEY(move, record->key));
    bool has = false;
    rh_buf_clear(rival);
    if (destination->store->driver->write->trial) /* it has seen this one when it began */
        return RH_OK;
    /* it is there already, so whether it fits is no question; only whose name it takes is */
    if (rh_failed(
            destination->store->driver->write->fits(destination->store, &move->dataset, record->key, 0, rival, NULL)) ||
        rival->size == 0)
        return RH_OK;
    enum rh_status status = side_has(move, &move->source, rh_buf_bytes(rival), &has, err);
    if (status == RH_OK && has)
        check_problem(move, destination, RH_E_LIMIT, "collides", rh_buf_bytes(rival), "rename or remove one of the two",
                      "the destination can't hold %s beside its own %s: their names collide there",
                      SHOW_KEY(move, rh_buf_bytes(rival)), SHOW_KEY(move, record->key));
    return status;
}

/* Walks both streams in step. */
static enum rh_status merge(struct move_run *move,
                            struct survey *survey,
                            struct stream *source,
                            struct stream *destination,
                            struct rh_error *err)
{
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    for (;;) {
        const struct rh_record *left = NULL, *right = NULL;
        enum rh_status status = stream_peek(source, &left);
        if (status == RH_OK)
            status = stream_peek(destination, &right);
        if (status != RH_OK)
            return status;
        if (!left && !right)
            return equal_end(&survey->equal, err);
        const int order = !left ? 1 : !right ? -1 : rh_bytes_compare(left->key, right->key);
        if (order <= 0) {
            status = take_source(move, survey, left, &rival, err);
            source->at++;
        }
        if (status == RH_OK && order == 0)
            status = check_conflict(move, survey, left, right, err);
        if (order > 0)
            status = take_extra(move, survey, right, &rival, err);
        if (order >= 0) {
            survey->destination_count++;
            destination->at++;
        }
        if (status != RH_OK)
            return status;
    }
}

/* A source that can be read once only isn't surveyed: one range, and whether the destination holds anything. What
 * doesn't fit, and what is in the way, is found while copying. */
static enum rh_status survey_pipe(struct move_run *move, struct survey *survey, struct rh_ctx *ctx)
{
    const struct rh_record *first = NULL;
    const struct rh_range all = {.from = first_key(move)};
    const struct rh_whole_ops *whole = whole_of(&move->destination);
    struct stream destination = {.ended = true};
    enum rh_status status = RH_OK;
    if (!whole || !whole->replaces_all)
        status = stream_open(&destination, move, &move->destination, ctx, NULL, NULL, all, RH_SCAN_KEYS_ONLY);
    if (status == RH_OK)
        status = stream_peek(&destination, &first);
    stream_close(&destination);
    if (status == RH_OK)
        status = open_range(survey, all.from, 1, ctx->err);
    if (status == RH_OK)
        survey->ranges[0].state.destination_empty = !first;
    if (status == RH_OK)
        status = close_ranges(survey, move->dataset.name, ctx->err);
    if (status != RH_OK)
        survey_done(survey);
    return status;
}

/* What to read of the source's records: sizes are cheap where the source knows no limit of its own, and needed where
 * its limit is the higher one; a trial wants all. */
static unsigned source_flags(const struct move_run *move)
{
    const uint64_t most = move->destination.facts.limits.value_bytes, own = move->source.facts.limits.value_bytes;
    const bool keep_equal = move_policy(move) == RH_CONFLICT_KEEP_EQUAL;
    unsigned flags = move->destination.store->driver->write->trial ? 0 : RH_SCAN_KEYS_ONLY;
    if (own == 0 || (most && own > most) || keep_equal)
        flags |= RH_SCAN_SIZES;
    return flags;
}

/* Both sides' keys, merged; fills the survey. */
static enum rh_status survey_both(struct move_run *move, struct survey *survey, struct rh_ctx *ctx)
{
    struct stream source = {0}, destination = {0};
    const struct rh_range all = {.from = first_key(move)};
    const struct rh_write_ops *write = move->destination.store->driver->write;
    const struct rh_whole_ops *whole = whole_of(&move->destination);
    const unsigned sizes = move_policy(move) == RH_CONFLICT_KEEP_EQUAL ? RH_SCAN_SIZES : 0U;
    enum rh_status status = equal_begin(&survey->equal, move, ctx->err);
    if (status == RH_OK && write->trial)
        status = side_status(&move->destination, ctx->err,
                             write->trial(ctx, move->destination.session, &move->dataset, NULL));
    if (status == RH_OK)
        status = stream_open(&source, move, &move->source, ctx, NULL, NULL, all, source_flags(move));
    if (whole && whole->replaces_all)
        destination.ended = true;
    else if (status == RH_OK)
        status = stream_open(&destination, move, &move->destination, ctx, NULL, NULL, all, RH_SCAN_KEYS_ONLY | sizes);
    if (status == RH_OK)
        status = merge(move, survey, &source, &destination, ctx->err);
    stream_close(&source);
    stream_close(&destination);
    equal_done(&survey->equal);
    return status;
}

enum rh_status survey_run(struct move_run *move, struct survey *survey, struct rh_error *err)
{
    *survey = (struct survey){.stride = 256};
    engine_step_shown(move, "survey", 0);
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    if (move->source.facts.one_pass)
        return survey_pipe(move, survey, &ctx);
    enum rh_status status = survey_both(move, survey, &ctx);
    /* an empty source has one empty range, so that verification looks at the destination all the same */
    if (status == RH_OK && survey->range_count == 0)
        status = open_range(survey, first_key(move), 1, err);
    if (status == RH_OK)
        status = close_ranges(survey, move->dataset.name, err);
    if (status != RH_OK)
        survey_done(survey);
    return status;
}

void survey_done(struct survey *survey)
{
    ranges_free(survey->ranges, survey->range_count);
    survey->ranges = NULL;
    survey->range_count = 0;
}
