/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a sealed file, for seal.c. */
#ifndef REHOME_CRYPTO_SEAL_INTERNAL_H
#define REHOME_CRYPTO_SEAL_INTERNAL_H

#include "provider.h"

enum {
    RH_SEAL_HASH_BYTES = 32,
    RH_SEAL_START_BYTES = 16, /* magic, version, size of the fixed part */
    RH_SEAL_FIXED_LEAST = 97 + 1,
    RH_SEAL_FIXED_MOST = 97 + 64,
    RH_SEAL_WRAP_MOST = 3072,
};

/* What the frames need of a header. */
struct rh_seal_keys {
    uint8_t header_hash[RH_SEAL_HASH_BYTES];
    uint8_t frame_key[RH_SEAL_KEY_BYTES];
};

/* Makes a new file id and file key and appends the whole header to out. The caller wipes the keys. */
enum rh_status rh_seal_header_make(struct rh_key_provider *provider,
                                   const char *purpose,
                                   struct rh_bytes binding,
                                   struct rh_buf *out,
                                   struct rh_seal_keys *ret_keys,
                                   struct rh_error *err) RH_MUST_USE;
/* The size of the fixed part, from a file's first 16 bytes. */
enum rh_status rh_seal_header_start(struct rh_bytes start, size_t *ret_fixed_size, struct rh_error *err) RH_MUST_USE;
/* Checks both parts (wrap from its kind on) and opens the file key. */
enum rh_status rh_seal_header_open(struct rh_key_provider *provider,
                                   const char *purpose,
                                   struct rh_bytes binding,
                                   struct rh_bytes fixed,
                                   struct rh_bytes wrap,
                                   struct rh_seal_keys *ret_keys,
                                   struct rh_error *err) RH_MUST_USE;
/* What both parts tell without a key. */
enum rh_status rh_seal_header_look(struct rh_bytes fixed,
                                   struct rh_bytes wrap,
                                   struct rh_seal_info *ret_info,
                                   struct rh_error *err) RH_MUST_USE;
/* Opens the file key and appends a header for it: the fixed part as it is, a new wrap part. With new_provider NULL
 * nothing is appended: whether the key is the right one. */
enum rh_status rh_seal_header_rewrap(struct rh_key_provider *provider,
                                     struct rh_key_provider *new_provider,
                                     struct rh_bytes fixed,
                                     struct rh_bytes wrap,
                                     struct rh_buf *out,
                                     struct rh_error *err) RH_MUST_USE;

#endif
