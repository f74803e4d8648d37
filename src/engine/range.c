/* SPDX-License-Identifier: Apache-2.0 */
/* The ranges of a move as the journal remembers them, and what a crash left in doubt in each. */
#include "internal.h"

#include <stdlib.h>

enum rh_status range_set_bytes(struct rh_buf *buf, struct rh_bytes *view, struct rh_bytes value, struct rh_error *err)
{
    rh_buf_clear(buf);
    enum rh_status status = rh_buf_add(buf, value.data, value.size, err);
    if (status == RH_OK)
        *view = rh_buf_bytes(buf);
    return status;
}

void ranges_free(struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rh_buf_done(&ranges[i].from);
        rh_buf_done(&ranges[i].to);
        rh_buf_done(&ranges[i].resume);
        free(ranges[i].doubt.entries);
    }
    free(ranges);
}

struct loading {
    struct move_run *move;
    struct rh_error *err;
};

/* One journaled range into the move's array. */
static enum rh_status load_one(void *user, const struct rh_range_state *state)
{
    struct loading *loading = user;
    struct move_run *move = loading->move;
    struct range *grown = realloc(move->ranges, (move->range_count + 1) * sizeof *grown);
    if (!grown)
        return rh_fail_memory(loading->err);
    move->ranges = grown;
    struct range *range = &grown[move->range_count++];
    *range = (struct range){.state = *state};
    /* the views must point into our own buffers; the array may move later, the buffers' memory doesn't */
    enum rh_status status = range_set_bytes(&range->from, &range->state.from, state->from, loading->err);
    if (status == RH_OK)
        status = range_set_bytes(&range->to, &range->state.to, state->to, loading->err);
    if (status == RH_OK)
        status = range_set_bytes(&range->resume, &range->state.resume, state->resume, loading->err);
    return status;
}

enum rh_status range_load_all(struct move_run *move, struct rh_error *err)
{
    ranges_free(move->ranges, move->range_count);
    move->ranges = NULL;
    move->range_count = 0;
    struct loading loading = {.move = move, .err = err};
    return rh_journal_ranges(move->engine->journal, move->plan->name, load_one, &loading, err);
}

enum rh_status range_forget(struct move_run *move, struct range *range, uint64_t expect_count, struct rh_error *err)
{
    struct rh_range_state *state = &range->state;
    state->done = false;
    state->destination_empty = false;
    state->resume = (struct rh_bytes){0};
    state->copied = (struct rh_sum){0};
    state->expect_count = expect_count;
    return rh_journal_range_progress(move->engine->journal, move->plan->name, state, err);
}

enum rh_status doubt_add(struct doubt *doubt, struct rh_hash name, struct rh_hash value, struct rh_error *err)
{
    if (doubt->count == doubt->capacity) {
        const size_t capacity = doubt->capacity ? doubt->capacity * 2 : 256;
        struct doubt_entry *grown = realloc(doubt->entries, capacity * sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        doubt->entries = grown;
        doubt->capacity = capacity;
    }
    doubt->entries[doubt->count++] = (struct doubt_entry){.name = name, .value = value};
    doubt->sorted = false;
    return RH_OK;
}

/* Order by name's hash, for bsearch. */
static int compare_names(const void *a, const void *b)
{
    const struct rh_hash left = ((const struct doubt_entry *)a)->name, right = ((const struct doubt_entry *)b)->name;
    if (left.high != right.high)
        return left.high < right.high ? -1 : 1;
    return left.low == right.low ? 0 : left.low < right.low ? -1 : 1;
}

/* The first entry of a name, or NULL. */
static const struct doubt_entry *doubt_find(struct doubt *doubt, struct rh_hash name)
{
    if (doubt->count == 0)
        return NULL;
    if (!doubt->sorted)
        qsort(doubt->entries, doubt->count, sizeof *doubt->entries, compare_names);
    doubt->sorted = true;
    const struct doubt_entry wanted = {.name = name};
    const struct doubt_entry *found =
        bsearch(&wanted, doubt->entries, doubt->count, sizeof *doubt->entries, compare_names);
    while (found && found > doubt->entries && rh_hash_equal(found[-1].name, name))
        found--;
    return found;
}

bool doubt_has(struct doubt *doubt, struct rh_hash name, struct rh_hash value)
{
    const struct doubt_entry *found = doubt_find(doubt, name);
    for (; found && found < doubt->entries + doubt->count && rh_hash_equal(found->name, name); found++)
        if (rh_hash_equal(found->value, value))
            return true;
    return false;
}

/* The range of that id, or NULL: ids grow over all passes and moves of a journal. */
static struct range *range_find(struct move_run *move, uint64_t id)
{
    size_t low = 0, high = move->range_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (move->ranges[middle].state.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < move->range_count && move->ranges[low].state.id == id ? &move->ranges[low] : NULL;
}

/* An undo block behind its range's progress is in doubt: its put may or may not have happened. */
static enum rh_status doubt_block(void *user, const struct rh_undo_block *block)
{
    struct loading *loading = user;
    struct move_run *move = loading->move;
    struct range *range = range_find(move, block->range);
    if (!range || block->batch <= range->state.batches)
        return RH_OK;
    for (size_t i = 0; i < block->count; i++) {
        const struct rh_hash name = rh_digest_name(&move->digest, block->dataset, block->entries[i].key);
        enum rh_status status = doubt_add(&range->doubt, name, block->entries[i].hash, loading->err);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

enum rh_status doubt_load(struct move_run *move, struct rh_error *err)
{
    struct loading loading = {.move = move, .err = err};
    return rh_undo_each(move->engine->journal, move->engine->provider, move->plan->name, false, doubt_block, &loading,
                        err);
}
