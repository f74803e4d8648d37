/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch on its way into the destination: look where it is needed, undo block, put, journal. The order of these four
 * is the crash safety of the whole copy (docs/architecture.md, "A batch on its way").
 */
#include "internal.h"

#include <stdlib.h>

/* What is to become of a record of the batch. */
enum fate { FATE_OPEN, FATE_CREATE, FATE_REPLACE, FATE_KEPT, FATE_OURS, FATE_SETTLED };

/* Most puts of one batch in a row that settle nothing before we believe that somebody keeps writing against us. */
enum { ROUNDS_MOST = 8 };

enum rh_status batch_writer_init(struct batch_writer *writer, struct move_run *move, struct rh_error *err)
{
    *writer = (struct batch_writer){.move = move, .capacity = BATCH_RECORDS};
    writer->held.enough_bytes = 2 * engine_batch_bytes(move);
    writer->keys = calloc(writer->capacity, sizeof *writer->keys);
    writer->entries = calloc(writer->capacity, sizeof *writer->entries);
    return writer->keys && writer->entries ? RH_OK : rh_fail_memory(err);
}

void batch_writer_done(struct batch_writer *writer)
{
    rh_batch_done(&writer->held);
    rh_batch_done(&writer->part);
    free(writer->keys);
    free(writer->entries);
}

size_t batch_looked_at(const struct rh_bytes *keys, size_t count, const struct rh_batch *found)
{
    if (!rh_batch_has_enough(found))
        return count;
    const struct rh_bytes last = found->records[found->count - 1].key;
    for (size_t i = 0; i < count; i++)
        if (rh_bytes_equal(keys[i], last))
            return i + 1;
    return count;
}

/* Reads what the destination holds of the batch's unsettled keys, of the first *ret_looked of them if all would be too
 * much; each found one is hashed. */
static enum rh_status look(struct batch_writer *writer,
                           struct rh_ctx *ctx,
                           const struct rh_batch *batch,
                           const uint8_t *fates,
                           size_t *ret_looked)
{
    struct move_run *move = writer->move;
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (fates[i] != FATE_SETTLED)
            writer->keys[count++] = batch->records[i].key;
    rh_batch_clear(&writer->held);
    enum rh_status status = move->destination.store->driver->read->get(ctx, writer->session, &move->dataset,
                                                                       writer->keys, count, &writer->held);
    if (status != RH_OK)
        return side_status(&move->destination, ctx->err, status);
    *ret_looked = batch_looked_at(writer->keys, count, &writer->held);
    for (size_t i = 0; i < writer->held.count; i++)
        writer->held.records[i].hash = rh_digest_record(&move->digest, move->dataset.name, &writer->held.records[i]);
    return RH_OK;
}

/* The refusal for a key that is somebody else's. */
static enum rh_status conflict(struct move_run *move, struct rh_bytes key, struct rh_error *err)
{
    rh_fail(err, RH_E_CONFLICT, "the destination holds %s, which isn't of this move", SHOW_KEY(move, key));
    rh_error_hint(err,
                  "find out who writes to the destination; to replace what it holds, say on_conflict = \"overwrite\"");
    err->side = RH_SIDE_DESTINATION;
    check_say(move, &move->destination, RH_FINDING_RECORD, "conflict", key, "written by somebody else: %s",
              SHOW_KEY(move, key));
    return RH_E_CONFLICT;
}

/* Decides for a record whose key the destination holds. */
static enum rh_status decide_held(struct batch_writer *writer,
                                  struct range *range,
                                  struct rh_record *record,
                                  const struct rh_record *held,
                                  uint8_t *fate,
                                  struct rh_error *err)
{
    struct move_run *move = writer->move;
    const enum rh_on_conflict policy = move_policy(move);
    const struct rh_hash name = rh_digest_name(&move->digest, move->dataset.name, record->key);
    const bool ours = doubt_has(&range->doubt, name, held->hash);
    record->expect = held->hash;
    record->expect_absent = false;
    if (rh_hash_equal(held->hash, record->hash) && (ours || policy != RH_CONFLICT_FAIL))
        *fate = ours ? FATE_OURS : FATE_KEPT;
    else if (ours || policy == RH_CONFLICT_OVERWRITE)
        *fate = FATE_REPLACE;
    else
        return conflict(move, record->key, err);
    return RH_OK;
}

/* Sets the fate of the unsettled records, or, where the destination holds too much, of the first ones; the others stay
 * open. */
static enum rh_status decide(struct batch_writer *writer,
                             struct rh_ctx *ctx,
                             struct range *range,
                             struct rh_batch *batch,
                             uint8_t *fates,
                             bool must_look)
{
    size_t held = 0, looked = batch->count;
    rh_batch_clear(&writer->held);
    if (must_look) {
        enum rh_status status = look(writer, ctx, batch, fates, &looked);
        if (status != RH_OK)
            return status;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (fates[i] == FATE_SETTLED)
            continue;
        struct rh_record *record = &batch->records[i];
        if (looked == 0) {
            fates[i] = FATE_OPEN;
            continue;
        }
        looked--;
        if (held < writer->held.count && rh_bytes_equal(writer->held.records[held].key, record->key)) {
            enum rh_status status =
                decide_held(writer, range, record, &writer->held.records[held++], &fates[i], ctx->err);
            if (status != RH_OK)
                return status;
        } else
            fates[i] = FATE_CREATE;
    }
    return held == writer->held.count
               ? RH_OK
               : rh_fail(ctx->err, RH_E_INTERNAL, "the destination answered with keys that weren't asked for");
}

/* The undo block for what is about to be created and replaced; durable when it returns. */
static enum rh_status promise(struct batch_writer *writer,
                              const struct range *range,
                              const struct rh_batch *batch,
                              const uint8_t *fates,
                              struct rh_undo_position *position,
                              struct rh_error *err)
{
    size_t count = 0, held = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct rh_record *record = &batch->records[i];
        const bool is_held = fates[i] == FATE_REPLACE || fates[i] == FATE_KEPT || fates[i] == FATE_OURS;
        const struct rh_record *image = is_held ? &writer->held.records[held++] : NULL;
        if (fates[i] != FATE_CREATE && fates[i] != FATE_REPLACE)
            continue;
        writer->entries[count++] = (struct rh_undo_entry){
            .key = record->key,
            .absent = !image,
            .fields = image ? image->fields : NULL,
            .field_count = image ? image->field_count : 0,
            .hash = record->hash,
        };
    }
    if (count == 0)
        return RH_OK;
    const struct rh_undo_block block = {
        .range = range->state.id,
        .batch = range->state.batches + 1,
        .dataset = range->state.dataset,
        .entries = writer->entries,
        .count = count,
    };
    return rh_undo_append(writer->move->undo, &block, position, err);
}

/* After a put that met a key of somebody else's: our promise for that key is taken back (an entry absent, with no
 * hash). */
static enum rh_status
disown(struct batch_writer *writer, const struct range *range, struct rh_undo_position *position, struct rh_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < writer->part.count; i++)
        if (writer->part.records[i].outcome != RH_OUTCOME_DONE)
            writer->entries[count++] = (struct rh_undo_entry){.key = writer->part.records[i].key, .absent = true};
    const struct rh_undo_block block = {
        .range = range->state.id,
        .batch = range->state.batches + 1,
        .dataset = range->state.dataset,
        .entries = writer->entries,
        .count = count,
    };
    return count ? rh_undo_append(writer->move->undo, &block, position, err) : RH_OK;
}

/* Puts and commits the records of one fate; outcomes land in writer->part. */
static enum rh_status put_part(
    struct batch_writer *writer, struct rh_ctx *ctx, const struct rh_batch *batch, const uint8_t *fates, enum fate fate)
{
    struct move_run *move = writer->move;
    const struct rh_write_ops *write = move->destination.store->driver->write;
    rh_batch_clear(&writer->part);
    for (size_t i = 0; i < batch->count; i++) {
        if (fates[i] != fate)
            continue;
        struct rh_record *record = rh_batch_add(&writer->part);
        if (!record)
            return rh_fail_memory(ctx->err);
        *record = batch->records[i];
        record->outcome = RH_OUTCOME_NONE;
        writer->part.bytes += record->key.size + record->value_bytes;
    }
    if (writer->part.count == 0)
        return RH_OK;
    enum rh_commit commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = write->begin(ctx, writer->session, &move->dataset, &move->digest);
    if (status == RH_OK) {
        status = write->put(ctx, writer->session, &writer->part, fate == FATE_CREATE ? RH_PUT_CREATE : RH_PUT_IF_HASH);
        if (status == RH_OK)
            status = write->commit(ctx, writer->session, &commit);
        else
            write->abort(writer->session);
    }
    return side_status(&move->destination, ctx->err, status);
}

/* Carries the outcomes of a part back: done ones are settled, the others stay to be looked at. */
static size_t settle(const struct rh_batch *batch, const struct rh_batch *part, uint8_t *fates, enum fate fate)
{
    size_t at = 0, left = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (fates[i] != fate)
            continue;
        if (part->records[at++].outcome == RH_OUTCOME_DONE)
            fates[i] = FATE_SETTLED;
        else
            left++;
    }
    return left;
}

/* One round: promise, put the new ones, put the replacing ones. */
static enum rh_status put_round(struct batch_writer *writer,
                                struct rh_ctx *ctx,
                                struct range *range,
                                struct range *next,
                                const struct rh_batch *batch,
                                uint8_t *fates,
                                struct rh_undo_position *position)
{
    enum rh_status status = promise(writer, range, batch, fates, position, ctx->err);
    static const enum fate order[] = {FATE_CREATE, FATE_REPLACE};
    for (size_t i = 0; status == RH_OK && i < 2; i++) {
        status = put_part(writer, ctx, batch, fates, order[i]);
        if (status != RH_OK)
            break;
        const size_t left = settle(batch, &writer->part, fates, order[i]);
        const size_t done = writer->part.count - left;
        if (order[i] == FATE_CREATE)
            next->state.written += done;
        else
            next->state.replaced += done;
        if (left > 0)
            status = disown(writer, range, position, ctx->err);
    }
    return status;
}

/* Counts what needs no put. Gives how many aren't settled: they met somebody else's write, or weren't looked at yet. */
static size_t settle_rest(struct range *next, const struct rh_batch *batch, uint8_t *fates)
{
    size_t left = 0;
    for (size_t i = 0; i < batch->count; i++) {
        next->state.kept += fates[i] == FATE_KEPT;
        next->state.written += fates[i] == FATE_OURS;
        if (fates[i] == FATE_KEPT || fates[i] == FATE_OURS)
            fates[i] = FATE_SETTLED;
        left += fates[i] != FATE_SETTLED;
    }
    return left;
}

/* A batch whose put failed may have happened: its hashes are in doubt from now on. */
static void remember_doubt(struct move_run *move, struct range *range, const struct rh_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct rh_hash name = rh_digest_name(&move->digest, move->dataset.name, batch->records[i].key);
        if (doubt_add(&range->doubt, name, batch->records[i].hash, NULL) != RH_OK)
            return; /* out of memory: the retry then meets its own records as a conflict and stops, which is safe */
    }
}

/* One journal transaction: progress of the range, and how far the undo log is good. */
static enum rh_status journal_batch(struct move_run *move,
                                    struct range *range,
                                    const struct range *next,
                                    struct rh_bytes last_key,
                                    const struct rh_undo_position *position,
                                    struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    struct rh_range_state state = next->state;
    state.resume = last_key;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_range_progress(journal, move->plan->name, &state, err);
    if (status == RH_OK && position->segment)
        status = rh_journal_segment_good(journal, move->plan->name, position->segment, position->bytes,
                                         position->frames, err);
    if (status == RH_OK)
        status = samples_put(move, false, err);
    if (status == RH_OK)
        status = rh_journal_commit(journal, err);
    else
        rh_journal_abort(journal);
    if (status != RH_OK)
        return status;
    range->state = next->state;
    return range_set_bytes(&range->resume, &range->state.resume, last_key, err);
}

/* Vault's line for each copied key. */
static void log_copied(const struct move_run *move, const struct rh_batch *batch)
{
    for (size_t i = 0; rh_log_wanted(RH_LOG_DEBUG) && i < batch->count; i++)
        rh_log(RH_LOG_DEBUG, "copied key", {"path", SHOW_KEY(move, batch->records[i].key)}, {"move", move->plan->name});
}

enum rh_status batch_write(struct batch_writer *writer, struct rh_ctx *ctx, struct range *range, struct rh_batch *batch)
{
    struct move_run *move = writer->move;
    uint8_t fates[BATCH_RECORDS] = {0};
    if (batch->count == 0 || batch->count > BATCH_RECORDS)
        return rh_fail(ctx->err, RH_E_INTERNAL, "a batch of %zu records", batch->count);
    if (move->source.facts.one_pass) {
        enum rh_status status = one_pass_fits(move, ctx, move->whole ? move->whole : writer->session, batch);
        if (status != RH_OK)
            return status;
    }
    if (move->whole)
        return whole_put(move, ctx, range, batch);
    rh_crash_point("copy");
    struct range next = *range;
    struct rh_undo_position position = {0};
    bool must_look =
        range->doubt.count > 0 || (!range->state.destination_empty && move_policy(move) != RH_CONFLICT_FAIL);
    size_t left = batch->count;
    for (int idle = 0; left > 0;) {
        if (idle == ROUNDS_MOST)
            return conflict(move, batch->records[0].key, ctx->err);
        const size_t before = left;
        enum rh_status status = decide(writer, ctx, range, batch, fates, must_look);
        if (status == RH_OK)
            status = put_round(writer, ctx, range, &next, batch, fates, &position);
        if (status != RH_OK) {
            remember_doubt(move, range, batch);
            return status;
        }
        left = settle_rest(&next, batch, fates);
        idle = left < before ? 0 : idle + 1;
        must_look = true;
    }
    for (size_t i = 0; i < batch->count; i++)
        rh_sum_add(&next.state.copied, batch->records[i].hash, record_bytes(move, &batch->records[i]));
    next.state.batches++;
    enum rh_status status =
        journal_batch(move, range, &next, batch->records[batch->count - 1].key, &position, ctx->err);
    if (status == RH_OK)
        log_copied(move, batch);
    else
        remember_doubt(move, range, batch);
    rh_crash_point("copy");
    return status;
}

enum rh_status range_finish(struct move_run *move, struct range *range, struct rh_error *err)
{
    struct rh_range_state state = range->state;
    state.done = true;
    if (move->whole) { /* journaled with all others */
        range->state.done = true;
        return RH_OK;
    }
    enum rh_status status = rh_journal_range_progress(move->engine->journal, move->plan->name, &state, err);
    if (status == RH_OK)
        range->state.done = true;
    return status;
}
