/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The summed keyed hash (docs/architecture.md, "Equality"): XXH3-128 with a random secret of the move over the
 * dataset's name, the key, then each field as tag + length + bytes; a range's digest is the sum of its
 * records' hashes mod 2^128, which no order, split or parallelism changes.
 * For secret records the hash is HMAC-SHA-256 under the first 64 bytes of the secret, its first 128 bits.
 * Knowledge: xxHash 0.8 xxhash.h, XXH3_128bits_reset_withSecret.
 * Threads: a key is read-only after making; sums belong to one thread.
 */
#ifndef REHOME_DIGEST_H
#define REHOME_DIGEST_H

#include <rehome/record.h>

struct rh_digest_key {
    uint8_t secret[192];
    bool tidy;           /* what was hashed doesn't stay in memory */
    bool secret_records; /* the hash is an HMAC: it may be kept, as long as the key is sealed */
};
/* A new random secret; what kind of key it is, is set by the caller, before or after. */
enum rh_status rh_digest_key_new(struct rh_digest_key *ret_key, struct rh_error *err) RH_MUST_USE;

/* dataset: NUL-terminated name. The record needs its fields. */
struct rh_hash rh_digest_record(const struct rh_digest_key *key, const char *dataset, const struct rh_record *record);
/* Over the key alone: for counting and summing keys whose values nobody reads. */
struct rh_hash rh_digest_name(const struct rh_digest_key *key, const char *dataset, struct rh_bytes name);

struct rh_sum {
    uint64_t count, bytes; /* bytes: keys + values */
    struct rh_hash sum;
};
void rh_sum_add(struct rh_sum *sum, struct rh_hash hash, uint64_t bytes);
void rh_sum_merge(struct rh_sum *sum, const struct rh_sum *other);
bool rh_sum_equal(const struct rh_sum *a, const struct rh_sum *b);
/* 32 bytes on disk: count, bytes, high, low, each u64 big-endian. */
#define RH_SUM_BYTES 32
void rh_sum_encode(const struct rh_sum *sum, uint8_t out[static RH_SUM_BYTES]);
enum rh_status rh_sum_decode(struct rh_bytes in, struct rh_sum *ret_sum) RH_MUST_USE; /* RH_E_CORRUPT unless 32 bytes */
struct rh_hash_text {
    char text[33];
};
struct rh_hash_text rh_hash_show(struct rh_hash hash); /* 32 lower-case hex digits, high first */

#endif
