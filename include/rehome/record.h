/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and batches: what travels between two stores.
 * A batch has one arena; its records, keys, fields and values live there and go together.
 */
#ifndef REHOME_RECORD_H
#define REHOME_RECORD_H

#include <rehome/bytes.h>

/* A 128-bit keyed hash of one record (rehome/digest.h). All zero = not computed. */
struct rh_hash {
    uint64_t low, high;
};
static inline bool rh_hash_equal(struct rh_hash a, struct rh_hash b)
{
    return a.low == b.low && a.high == b.high;
}

/* The tag is part of the hash, so its numbers never change. */
enum rh_tag { RH_TAG_NULL = 0, RH_TAG_BYTES = 1, RH_TAG_TEXT = 2, RH_TAG_INTEGER = 3 };

struct rh_field {
    enum rh_tag tag;
    struct rh_bytes value; /* empty for NULL */
};

/* What became of one record of a put or remove; valid after commit (whole-commit stores: after put). */
enum rh_outcome {
    RH_OUTCOME_NONE = 0, /* not tried, or tried in a batch that wasn't done */
    RH_OUTCOME_DONE,     /* written, or removed */
    RH_OUTCOME_EXISTS,   /* create met an existing key; nothing written for this record */
    RH_OUTCOME_CHANGED,  /* if-hash met another value or no value; nothing written for this record */
};

struct rh_record {
    struct rh_bytes key;
    struct rh_field *fields; /* NULL in a keys-only scan */
    uint32_t field_count;
    enum rh_outcome outcome;
    uint64_t value_bytes;  /* sum of the fields' sizes; in a keys-only scan the size where it is known, else 0 */
    struct rh_hash hash;   /* set by the engine after a read */
    struct rh_hash expect; /* mode if-hash and remove: what the store must hold now */
    bool expect_absent;    /* mode if-hash: the key must be absent (then `expect` is ignored) */
};

struct rh_batch {
    struct rh_arena arena;
    struct rh_record *records; /* malloc'd, kept over clears */
    size_t count, capacity;
    uint64_t bytes;        /* keys + values of its records */
    uint64_t enough_bytes; /* a get into it stops at the record with which `bytes` reaches this; 0: never. Kept over
                              clears */
};
#define RH_BATCH_INIT                                                                                                  \
    {                                                                                                                  \
        0                                                                                                              \
    }
/* A new zeroed record at the end; the pointer is good until the next add. NULL when memory is out. */
struct rh_record *rh_batch_add(struct rh_batch *batch);
/* As rh_batch_add, with key and one field copied into the arena; value.data NULL and is_null -> NULL field. */
struct rh_record *rh_batch_add_kv(struct rh_batch *batch, struct rh_bytes key, struct rh_bytes value, bool is_null);
/* Whether a get is to stop here. */
static inline bool rh_batch_has_enough(const struct rh_batch *batch)
{
    return batch->enough_bytes && batch->bytes >= batch->enough_bytes;
}
void rh_batch_clear(struct rh_batch *batch);
void rh_batch_done(struct rh_batch *batch);
#define rh_auto_batch __attribute__((cleanup(rh_batch_done)))

#endif
