/* SPDX-License-Identifier: Apache-2.0 */
/* Units of writing whose operations are noted first and carried out by commit. */
#include "common.h"

#include <stdlib.h>

const struct rh_bytes *rh_kv_value(const struct rh_record *record)
{
    return record->field_count && record->fields[0].tag != RH_TAG_NULL ? &record->fields[0].value : NULL;
}

void rh_kv_outcomes(struct rh_batch *batch, enum rh_outcome outcome)
{
    for (size_t i = 0; i < batch->count; i++)
        batch->records[i].outcome = outcome;
}

enum rh_status rh_unit_may_begin(struct rh_ctx *ctx, const struct rh_unit *unit)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (status == RH_OK && unit->writing)
        status = rh_fail(ctx->err, RH_E_INTERNAL, "begin inside a unit of writing");
    return status;
}

void rh_unit_begin(struct rh_unit *unit, const struct rh_digest_key *digest)
{
    unit->writing = true;
    unit->digest = digest;
    unit->op_count = 0;
}

enum rh_status rh_unit_may_commit(struct rh_ctx *ctx, const struct rh_unit *unit)
{
    return unit->writing ? RH_OK : rh_fail(ctx->err, RH_E_INTERNAL, "commit without begin");
}

enum rh_status
rh_unit_add(struct rh_ctx *ctx, struct rh_store *store, struct rh_unit *unit, const struct rh_unit_op *op)
{
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (!unit->writing)
        return rh_fail(ctx->err, RH_E_INTERNAL, "put without begin");
    if (unit->op_count == RH_UNIT_OPS_MAX)
        return rh_fail(ctx->err, RH_E_LIMIT, "more than %d batches in one unit of writing", (int)RH_UNIT_OPS_MAX);
    if ((op->remove || op->mode == RH_PUT_IF_HASH) && !unit->digest)
        return rh_fail(ctx->err, RH_E_INTERNAL, "comparing without a digest key");
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    for (size_t i = 0; i < op->batch->count; i++) {
        const struct rh_record *record = &op->batch->records[i];
        const struct rh_bytes *value = op->remove ? NULL : rh_kv_value(record);
        status = store->driver->write->fits(store, NULL, record->key, value ? value->size : 0, &rival, ctx->err);
        if (status)
            return rh_error_prepend(ctx->err, "writing '%s'", RH_SHOW(record->key));
    }
    unit->ops[unit->op_count++] = *op;
    return RH_OK;
}

void rh_unit_forget(const struct rh_unit *unit)
{
    for (size_t i = 0; i < unit->op_count; i++)
        rh_kv_outcomes(unit->ops[i].batch, RH_OUTCOME_NONE);
}

void rh_unit_end(struct rh_unit *unit)
{
    unit->writing = false;
    unit->op_count = 0;
    unit->digest = NULL;
}

/* Order by key, for qsort. */
static int by_key(const void *a, const void *b)
{
    const struct rh_record *left = *(struct rh_record *const *)a, *right = *(struct rh_record *const *)b;
    int order = rh_bytes_compare(left->key, right->key);
    /* of equal keys in the order of the batch: its records lie in one array */
    return order ? order : left < right ? -1 : left > right;
}

enum rh_status rh_unit_index(struct rh_unit *unit, struct rh_batch *batch, struct rh_error *err)
{
    if (unit->index_capacity < batch->count) {
        struct rh_record **index = realloc(unit->index, batch->count * sizeof *index);
        if (!index)
            return rh_fail_memory(err);
        unit->index = index;
        unit->index_capacity = batch->count;
    }
    bool sorted = true;
    for (size_t i = 0; i < batch->count; i++) {
        unit->index[i] = &batch->records[i];
        sorted = sorted && (i == 0 || rh_bytes_compare(batch->records[i - 1].key, batch->records[i].key) <= 0);
    }
    if (!sorted)
        qsort(unit->index, batch->count, sizeof *unit->index, by_key);
    return RH_OK;
}

void rh_unit_done(struct rh_unit *unit)
{
    free(unit->index);
    *unit = (struct rh_unit){0};
}
