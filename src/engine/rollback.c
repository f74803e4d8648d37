/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rolling back: the undo log replayed backwards, block by block. A key is touched only while it holds what we wrote;
 * the rest is named.
 */
#include "internal.h"

#include <stdlib.h>

struct replay {
    struct move_run *move;
    struct rh_session *session;
    struct rh_error *err;
    struct rh_batch held, back, gone; /* what is there; what goes back; what is removed */
    struct doubt disowned;            /* names whose next older entry isn't ours */
    uint64_t restored, removed, left;
    uint64_t left_known; /* of those, journaled: an interrupted rollback's count isn't lost */
    uint64_t blocks,
        blocks_before; /* replayed in this pass over the log; already undone when an earlier rollback stopped */
};

/* An entry without image and without hash takes the promise of the next older entry for that key back. */
static bool is_disown(const struct rh_undo_entry *entry)
{
    return entry->absent && rh_hash_equal(entry->hash, (struct rh_hash){0});
}

/* True once for each disowning of this name. */
static bool take_disowned(struct doubt *disowned, struct rh_hash name)
{
    for (size_t i = 0; i < disowned->count; i++) {
        if (!rh_hash_equal(disowned->entries[i].name, name))
            continue;
        disowned->entries[i] = disowned->entries[--disowned->count];
        return true;
    }
    return false;
}

/* Names a key that somebody else has written. */
static enum rh_status leave(struct replay *replay, struct rh_bytes key)
{
    struct move_run *move = replay->move;
    replay->left++;
    if (replay->left > NAMED_MOST)
        return RH_OK;
    check_say(move, &move->destination, RH_FINDING_RECORD, "not-ours", key,
              "left alone, somebody has written it since: %s", SHOW_KEY(move, key));
    return rh_journal_note(move->engine->journal, move->plan->name, "not-ours", key,
                           "left alone by rollback: somebody has written it since", replay->err);
}

/* The hash that an entry's image has as a record. */
static struct rh_hash image_hash(const struct replay *replay, const char *dataset, const struct rh_undo_entry *entry)
{
    const struct rh_record image = {.key = entry->key, .fields = entry->fields, .field_count = entry->field_count};
    return rh_digest_record(&replay->move->digest, dataset, &image);
}

/* Notes that an entry's image, or nothing, is to stand there again. `absent`: nothing may be there now. */
static enum rh_status put_back(struct replay *replay, const struct rh_undo_entry *entry, bool absent)
{
    struct rh_record *record = rh_batch_add(entry->absent ? &replay->gone : &replay->back);
    if (!record)
        return rh_fail_memory(replay->err);
    *record = (struct rh_record){.key = entry->key,
                                 .fields = entry->fields,
                                 .field_count = entry->field_count,
                                 .expect = entry->hash,
                                 .expect_absent = absent};
    for (uint32_t i = 0; i < entry->field_count; i++)
        record->value_bytes += entry->fields[i].value.size;
    return RH_OK;
}

/* Decides for one entry; `held` is NULL when the key isn't there. */
static enum rh_status replay_entry(struct replay *replay,
                                   const struct rh_undo_block *block,
                                   const struct rh_undo_entry *entry,
                                   const struct rh_record *held)
{
    const struct rh_hash name = rh_digest_name(&replay->move->digest, block->dataset, entry->key);
    if (is_disown(entry))
        return doubt_add(&replay->disowned, name, (struct rh_hash){0}, replay->err);
    if (take_disowned(&replay->disowned, name))
        return RH_OK;
    if (!held && (entry->absent || !replay->move->destination.store->driver->write->torn_replace))
        return entry->absent ? RH_OK : leave(replay, entry->key);
    if (!held)
        return put_back(replay, entry, true);
    if (!entry->absent && rh_hash_equal(held->hash, image_hash(replay, block->dataset, entry)))
        return RH_OK;
    if (!rh_hash_equal(held->hash, entry->hash))
        return leave(replay, entry->key);
    return put_back(replay, entry, false);
}

/* Writes one kind of change and counts it; a key that changed under our hands is left and named. */
static enum rh_status replay_write(struct replay *replay, struct rh_ctx *ctx, struct rh_batch *batch, bool removing)
{
    struct side *side = &replay->move->destination;
    const struct rh_write_ops *write = side->store->driver->write;
    if (batch->count == 0)
        return RH_OK;
    enum rh_commit commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = write->begin(ctx, replay->session, &replay->move->dataset, &replay->move->digest);
    if (status == RH_OK) {
        status = removing ? write->remove(ctx, replay->session, batch)
                          : write->put(ctx, replay->session, batch, RH_PUT_IF_HASH);
        if (status == RH_OK)
            status = write->commit(ctx, replay->session, &commit);
        else
            write->abort(replay->session);
    }
    if (status != RH_OK)
        return side_status(side, ctx->err, status);
    for (size_t i = 0; status == RH_OK && i < batch->count; i++) {
        if (batch->records[i].outcome != RH_OUTCOME_DONE)
            status = leave(replay, batch->records[i].key);
        else if (removing)
            replay->removed++;
        else
            replay->restored++;
    }
    return status;
}

/* Passes over a block that an interrupted rollback has undone already; what it disowned still counts. */
static enum rh_status skip_block(struct replay *replay, const struct rh_undo_block *block)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < block->count; i++) {
        const struct rh_hash name = rh_digest_name(&replay->move->digest, block->dataset, block->entries[i].key);
        if (is_disown(&block->entries[i]))
            status = doubt_add(&replay->disowned, name, (struct rh_hash){0}, replay->err);
        else
            take_disowned(&replay->disowned, name);
    }
    return status;
}

/* Journals that one block more is undone. */
static enum rh_status block_undone(struct replay *replay)
{
    char text[32];
    if (replay->left > replay->left_known) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)replay->left);
        enum rh_status status = fact_put(replay->move, "rollback.left-so-far", text, replay->err);
        if (status != RH_OK)
            return status;
        replay->left_known = replay->left;
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)replay->blocks);
    return fact_put(replay->move, "rollback.blocks", text, replay->err);
}

/* Looks at what the destination holds of a block's keys from `from` on, of as many as memory is planned for, and
 * decides for them. */
static enum rh_status replay_look(struct replay *replay,
                                  struct rh_ctx *ctx,
                                  const struct rh_undo_block *block,
                                  const struct rh_bytes *keys,
                                  size_t from,
                                  size_t *ret_looked)
{
    struct move_run *move = replay->move;
    struct side *side = &move->destination;
    struct rh_batch *found = &replay->held;
    rh_batch_clear(found);
    enum rh_status status =
        side->store->driver->read->get(ctx, replay->session, &move->dataset, keys + from, block->count - from, found);
    if (status != RH_OK)
        return side_status(side, replay->err, status);
    *ret_looked = batch_looked_at(keys + from, block->count - from, found);
    for (size_t i = 0; i < found->count; i++)
        found->records[i].hash = rh_digest_record(&move->digest, block->dataset, &found->records[i]);
    size_t held = 0;
    for (size_t i = 0; status == RH_OK && i < *ret_looked; i++) {
        const bool is_held = held < found->count && rh_bytes_equal(found->records[held].key, keys[from + i]);
        status = replay_entry(replay, block, &block->entries[from + i], is_held ? &found->records[held] : NULL);
        held += is_held;
    }
    return status;
}

/* Undoes one block. */
static enum rh_status replay_block(void *user, const struct rh_undo_block *block)
{
    struct replay *replay = user;
    struct move_run *move = replay->move;
    struct rh_ctx ctx = engine_ctx(move->engine, replay->err);
    if (++replay->blocks <= replay->blocks_before)
        return skip_block(replay, block);
    rh_crash_point("rollback");
    struct rh_bytes *keys = calloc(block->count + 1, sizeof *keys);
    if (!keys)
        return rh_fail_memory(replay->err);
    for (size_t i = 0; i < block->count; i++)
        keys[i] = block->entries[i].key;
    rh_batch_clear(&replay->back);
    rh_batch_clear(&replay->gone);
    enum rh_status status = rh_ctx_check(&ctx);
    if (status == RH_OK && !fences_tick(move->engine))
        status = fences_hold(move->engine, replay->err);
    for (size_t from = 0, looked = 0; status == RH_OK && from < block->count; from += looked)
        status = replay_look(replay, &ctx, block, keys, from, &looked);
    free(keys);
    if (status == RH_OK)
        status = replay_write(replay, &ctx, &replay->back, false);
    if (status == RH_OK)
        status = replay_write(replay, &ctx, &replay->gone, true);
    if (status == RH_OK)
        status = block_undone(replay);
    atomic_fetch_add_explicit(&move->engine->records_done, block->count, memory_order_relaxed);
    return status;
}

/* For the pass that only looks. */
static enum rh_status block_is_whole(void *user, const struct rh_undo_block *block)
{
    (void)user;
    (void)block;
    return RH_OK;
}

enum rh_status rollback_run(struct move_run *move, struct rh_error *err)
{
    struct replay replay = {.move = move, .err = err, .held.enough_bytes = 2 * engine_batch_bytes(move)};
    struct rh_journal *journal = move->engine->journal;
    uint64_t total = 0;
    for (size_t i = 0; i < move->range_count; i++)
        total += move->ranges[i].state.written + move->ranges[i].state.replaced;
    engine_step_shown(move, "rollback", total);
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf before = RH_BUF_INIT;
    enum rh_status status = fact_get(move, "rollback.blocks", &before, err);
    if (status == RH_OK)
        status = rh_parse_u64(rh_buf_bytes(&before), &replay.blocks_before);
    else if (status == RH_NOT_FOUND)
        status = rh_journal_notes_clear(journal, move->plan->name, "not-ours", err);
    if (status == RH_OK && fact_get(move, "rollback.left-so-far", &before, NULL) == RH_OK)
        status = rh_parse_u64(rh_buf_bytes(&before), &replay.left_known);
    replay.left = replay.left_known;
    if (status == RH_OK)
        status = side_session(&move->destination, &ctx, RH_ROLE_WRITE, &replay.session);
    if (status == RH_OK)
        /* the whole log is read once before anything is touched: damage in its oldest part must not stop us half-way */
        status = rh_undo_each(journal, move->engine->provider, move->plan->name, true, block_is_whole, NULL, err);
    if (status == RH_OK)
        status = rh_undo_each(journal, move->engine->provider, move->plan->name, true, replay_block, &replay, err);
    side_session_close(replay.session);
    rh_batch_done(&replay.held);
    rh_batch_done(&replay.back);
    rh_batch_done(&replay.gone);
    free(replay.disowned.entries);
    if (status != RH_OK)
        return status;
    char counts[160];
    snprintf(counts, sizeof counts, "%llu removed, %llu restored, %llu left alone", (unsigned long long)replay.removed,
             (unsigned long long)replay.restored, (unsigned long long)replay.left);
    check_say(move, &move->destination, RH_FINDING_FACT, "rolled-back", (struct rh_bytes){0}, "%s", counts);
    return fact_put(move, "rollback.left", replay.left ? counts : "", err);
}
