/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that both sides hold, for on_conflict = "keep-equal": collected while the survey walks, and compared many at
 * once, since a question a key would take longer than the whole copy. What is fetched for one comparison stays within
 * a batch's size, as far as the sizes are known.
 */
#include "internal.h"

#include <stdlib.h>

enum { EQUAL_RECORDS = 1024 };

enum rh_status equal_begin(struct equal *equal, struct move_run *move, struct rh_error *err)
{
    const bool secret = move->digest.secret_records;
    *equal = (struct equal){.move = move, .digest = {.secret_records = secret}};
    equal->found[0].arena.secret = equal->found[1].arena.secret = secret;
    return rh_digest_key_new(&equal->digest, err);
}

void equal_done(struct equal *equal)
{
    rh_batch_done(&equal->pending);
    rh_batch_done(&equal->found[0]);
    rh_batch_done(&equal->found[1]);
    rh_wipe(&equal->digest, sizeof equal->digest);
}

/* What one side holds of the pending keys, hashed. */
static enum rh_status
fetch(struct equal *equal, struct side *side, const struct rh_bytes *keys, struct rh_batch *found, struct rh_error *err)
{
    struct move_run *move = equal->move;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_batch_clear(found);
    enum rh_status status =
        side->store->driver->read->get(&ctx, side->session, &move->dataset, keys, equal->pending.count, found);
    for (size_t i = 0; status == RH_OK && i < found->count; i++)
        found->records[i].hash = rh_digest_record(&equal->digest, move->dataset.name, &found->records[i]);
    return side_status(side, err, status);
}

/* The next found record, if it is of that key. */
static const struct rh_record *take_found(const struct rh_batch *found, size_t *at, struct rh_bytes key)
{
    return *at < found->count && rh_bytes_equal(found->records[*at].key, key) ? &found->records[(*at)++] : NULL;
}

/* Says of each pending key whose values differ that it is in the way. */
static void say_differing(struct equal *equal)
{
    struct move_run *move = equal->move;
    size_t at[2] = {0};
    for (size_t i = 0; i < equal->pending.count; i++) {
        const struct rh_bytes key = equal->pending.records[i].key;
        const struct rh_record *left = take_found(&equal->found[0], &at[0], key);
        const struct rh_record *right = take_found(&equal->found[1], &at[1], key);
        if (!left || !right || !rh_hash_equal(left->hash, right->hash))
            check_problem(move, &move->destination, RH_E_REFUSED, "exists", key,
                          move->plan->source.driver->model == RH_MODEL_KEYRING
                              ? "say on_conflict = \"overwrite\" in the move (keyring-migrate: --on-conflict)"
                              : "say on_conflict = \"overwrite\" in the move, or remove the record",
                          "the destination already holds %s, with another value", SHOW_KEY(move, key));
    }
}

enum rh_status equal_end(struct equal *equal, struct rh_error *err)
{
    struct move_run *move = equal->move;
    if (equal->pending.count == 0)
        return RH_OK;
    struct rh_bytes *keys = malloc(equal->pending.count * sizeof *keys);
    if (!keys)
        return rh_fail_memory(err);
    for (size_t i = 0; i < equal->pending.count; i++)
        keys[i] = equal->pending.records[i].key;
    enum rh_status status = fetch(equal, &move->source, keys, &equal->found[0], err);
    if (status == RH_OK)
        status = fetch(equal, &move->destination, keys, &equal->found[1], err);
    free(keys);
    if (status == RH_OK)
        say_differing(equal);
    rh_batch_clear(&equal->pending);
    return status;
}

enum rh_status equal_add(struct equal *equal, struct rh_bytes key, uint64_t value_bytes, struct rh_error *err)
{
    const uint64_t bytes = key.size + value_bytes;
    enum rh_status status = RH_OK;
    if (equal->pending.count == EQUAL_RECORDS || equal->pending.bytes + bytes > engine_batch_bytes(equal->move))
        status = equal_end(equal, err);
    if (status != RH_OK)
        return status;
    const struct rh_bytes copy = rh_arena_copy(&equal->pending.arena, key);
    struct rh_record *record = copy.data ? rh_batch_add(&equal->pending) : NULL;
    if (!record)
        return rh_fail_memory(err);
    record->key = copy;
    equal->pending.bytes += bytes;
    return RH_OK;
}
