/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a key provider is inside: wraps and unwraps file keys (docs/formats/seal.md, "Wrap part"). A new one adds
 * a file like provider_file.c, its kind here and its constructor in rehome/seal.h.
 * Threads: wrap and unwrap may be called from any thread.
 */
#ifndef REHOME_CRYPTO_PROVIDER_H
#define REHOME_CRYPTO_PROVIDER_H

#include <rehome/seal.h>

enum {
    RH_SEAL_KEY_BYTES = 32,
    RH_SEAL_ID_BYTES = 16,
    RH_SEAL_NONCE_BYTES = 12,
    RH_SEAL_TAG_BYTES = 16,
    RH_SEAL_WRAPPED_BYTES = RH_SEAL_KEY_BYTES + RH_SEAL_TAG_BYTES,
};

/* The numbers are on disk and never change. */
enum rh_provider_kind { RH_PROVIDER_KEY_FILE = 1, RH_PROVIDER_PASSPHRASE = 2 };

/* The fixed part of the header, and the file id in it. */
struct rh_seal_fixed {
    struct rh_bytes bytes;
    const uint8_t *id; /* RH_SEAL_ID_BYTES */
};

struct rh_key_class {
    enum rh_provider_kind kind;
    /* Appends the wrap part after its kind to `body`, which so far holds the kind alone. */
    enum rh_status (*wrap)(struct rh_key_provider *provider,
                           struct rh_seal_fixed fixed,
                           const uint8_t *file_key,
                           struct rh_buf *body,
                           struct rh_error *err);
    /* `body` with its kind, which is right. RH_E_CORRUPT for its form, RH_E_DENIED when it can't be unwrapped. */
    enum rh_status (*unwrap)(struct rh_key_provider *provider,
                             struct rh_seal_fixed fixed,
                             struct rh_bytes body,
                             uint8_t *ret_file_key,
                             struct rh_error *err);
    void (*free)(struct rh_key_provider *provider);
};

/* First member of each provider. */
struct rh_key_provider {
    const struct rh_key_class *class;
    char description[400];
};

/* HKDF-SHA-256 with `size` bytes out; info = text || more. */
enum rh_status rh_hkdf(uint8_t *out,
                       size_t size,
                       struct rh_bytes key,
                       struct rh_bytes salt,
                       const char *info,
                       struct rh_bytes more,
                       struct rh_error *err) RH_MUST_USE;
/* Appends nonce and wrapped key; additional data = fixed part || body so far. The wrapping key is derived from `key`
 * and the file id. */
enum rh_status rh_wrap_local(struct rh_bytes key,
                             struct rh_seal_fixed fixed,
                             const uint8_t *file_key,
                             struct rh_buf *body,
                             struct rh_error *err) RH_MUST_USE;
/* The way back; `body` up to its end. RH_E_DENIED without words when the tag is wrong. */
enum rh_status rh_unwrap_local(struct rh_bytes key,
                               struct rh_seal_fixed fixed,
                               struct rh_bytes body,
                               uint8_t *ret_file_key,
                               struct rh_error *err) RH_MUST_USE;
/* A failure inside OpenSSL that only want of memory or a broken library explains. */
enum rh_status rh_fail_openssl(struct rh_error *err, const char *doing) RH_MUST_USE;

#endif
