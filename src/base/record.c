/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of records; everything of a batch lives in its arena. */
#include <rehome/record.h>

#include <stdlib.h>

enum { RECORDS_LEAST = 64 };

struct rh_record *rh_batch_add(struct rh_batch *batch)
{
    if (batch->count == batch->capacity) {
        size_t capacity = batch->capacity ? batch->capacity * 2 : RECORDS_LEAST;
        struct rh_record *records = reallocarray(batch->records, capacity, sizeof *records);
        if (!records)
            return NULL;
        batch->records = records;
        batch->capacity = capacity;
    }
    struct rh_record *record = &batch->records[batch->count++];
    *record = (struct rh_record){0};
    return record;
}

struct rh_record *rh_batch_add_kv(struct rh_batch *batch, struct rh_bytes key, struct rh_bytes value, bool is_null)
{
    if (is_null)
        value = rh_bytes(NULL, 0);
    size_t size;
    if (__builtin_add_overflow(key.size, value.size, &size) ||
        __builtin_add_overflow(size, sizeof(struct rh_field), &size))
        return NULL;
    /* one piece of the arena for all three */
    struct rh_field *field = rh_arena_get(&batch->arena, size);
    if (!field)
        return NULL;
    struct rh_record *record = rh_batch_add(batch);
    if (!record)
        return NULL;
    uint8_t *key_copy = (uint8_t *)(field + 1);
    uint8_t *value_copy = key_copy + key.size;
    if (key.size)
        memcpy(key_copy, key.data, key.size);
    if (value.size)
        memcpy(value_copy, value.data, value.size);
    *field = (struct rh_field){
        .tag = is_null ? RH_TAG_NULL : RH_TAG_BYTES,
        .value = is_null ? rh_bytes(NULL, 0) : rh_bytes(value_copy, value.size),
    };
    record->key = rh_bytes(key_copy, key.size);
    record->fields = field;
    record->field_count = 1;
    record->value_bytes = value.size;
    batch->bytes += key.size + value.size;
    return record;
}

void rh_batch_clear(struct rh_batch *batch)
{
    rh_arena_clear(&batch->arena);
    batch->count = 0;
    batch->bytes = 0;
}

void rh_batch_done(struct rh_batch *batch)
{
    rh_arena_done(&batch->arena);
    free(batch->records);
    batch->records = NULL;
    batch->count = batch->capacity = 0;
    batch->bytes = 0;
}
