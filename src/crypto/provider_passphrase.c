/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key provider that is a passphrase, by scrypt (RFC 7914). scrypt is slow on purpose, so what it gave is
 * remembered by salt and cost: one run for all files that were written by one provider.
 */
#include "provider.h"
#include "secret_internal.h"

#include <rehome/base.h>

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { SALT_BYTES = 32, CACHED = 8, LOG_N_DEFAULT = 17, LOG_N_MOST = 20, R_TIMES_P_MOST = 64 };
enum { BODY_BYTES = 1 + 1 + 4 + 4 + SALT_BYTES + RH_SEAL_NONCE_BYTES + RH_SEAL_WRAPPED_BYTES };
static const uint64_t memory_most = UINT64_C(1) << 30;

struct cost {
    uint8_t log_n;
    uint32_t r, p;
    uint8_t salt[SALT_BYTES];
};

/* What scrypt gave for a cost; key NULL where free. */
struct derived {
    struct cost cost;
    struct rh_secret *key;
};

struct passphrase_provider {
    struct rh_key_provider base;
    struct rh_secret *passphrase;
    pthread_mutex_t lock; /* over all below */
    struct cost writing;
    struct derived cache[CACHED];
    size_t next; /* to be replaced */
};

/* The provider behind its base. */
static struct passphrase_provider *of(struct rh_key_provider *provider)
{
    return (struct passphrase_provider *)provider;
}

/* Whether two costs, with their salts, are the same. */
static bool same_cost(const struct cost *a, const struct cost *b)
{
    return a->log_n == b->log_n && a->r == b->r && a->p == b->p && memcmp(a->salt, b->salt, SALT_BYTES) == 0;
}

/* The bounds of docs/formats/seal.md: nobody lets us work for hours or take all memory. */
static bool cost_allowed(const struct cost *cost)
{
    return cost->log_n >= 1 && cost->log_n <= LOG_N_MOST && cost->r >= 1 && cost->p >= 1 &&
           (uint64_t)cost->r * cost->p <= R_TIMES_P_MOST && ((uint64_t)128 << cost->log_n) * cost->r <= memory_most;
}

/* Runs scrypt. */
static enum rh_status derive(const struct passphrase_provider *provider,
                             const struct cost *cost,
                             struct rh_secret **ret_key,
                             struct rh_error *err)
{
    rh_auto_secret struct rh_secret *key = NULL;
    uint8_t *data;
    enum rh_status status = rh_secret_make(RH_SEAL_KEY_BYTES, &key, &data, err);
    if (status)
        return status;
    struct rh_bytes words = rh_secret_bytes(provider->passphrase);
    if (EVP_PBE_scrypt((const char *)words.data, words.size, cost->salt, SALT_BYTES, UINT64_C(1) << cost->log_n,
                       cost->r, cost->p, 2 * memory_most, data, RH_SEAL_KEY_BYTES) != 1)
        return rh_fail_openssl(err, "deriving a key from the passphrase");
    *ret_key = rh_take(key);
    return RH_OK;
}

/* The remembered key for a cost, or a new one; under the lock, and so is what is borrowed. */
static enum rh_status
find_key(struct passphrase_provider *provider, const struct cost *cost, struct rh_bytes *ret_key, struct rh_error *err)
{
    for (size_t i = 0; i < CACHED; i++)
        if (provider->cache[i].key && same_cost(&provider->cache[i].cost, cost)) {
            *ret_key = rh_secret_bytes(provider->cache[i].key);
            return RH_OK;
        }
    struct rh_secret *key = NULL;
    enum rh_status status = derive(provider, cost, &key, err);
    if (status)
        return status;
    struct derived *slot = &provider->cache[provider->next];
    provider->next = (provider->next + 1) % CACHED;
    rh_secret_free(slot->key);
    slot->key = key;
    slot->cost = *cost;
    *ret_key = rh_secret_bytes(key);
    return RH_OK;
}

/* Appends the parameters. */
static enum rh_status put_cost(struct rh_buf *body, const struct cost *cost, struct rh_error *err)
{
    enum rh_status status = rh_buf_u8(body, cost->log_n, err);
    if (!status)
        status = rh_buf_u32be(body, cost->r, err);
    if (!status)
        status = rh_buf_u32be(body, cost->p, err);
    if (!status)
        status = rh_buf_add(body, cost->salt, SALT_BYTES, err);
    return status;
}

static enum rh_status passphrase_wrap(struct rh_key_provider *base,
                                      struct rh_seal_fixed fixed,
                                      const uint8_t *file_key,
                                      struct rh_buf *body,
                                      struct rh_error *err)
{
    struct passphrase_provider *provider = of(base);
    struct rh_bytes key;
    pthread_mutex_lock(&provider->lock);
    enum rh_status status = find_key(provider, &provider->writing, &key, err);
    if (!status)
        status = put_cost(body, &provider->writing, err);
    if (!status)
        status = rh_wrap_local(key, fixed, file_key, body, err);
    pthread_mutex_unlock(&provider->lock);
    return status;
}

static enum rh_status passphrase_unwrap(struct rh_key_provider *base,
                                        struct rh_seal_fixed fixed,
                                        struct rh_bytes body,
                                        uint8_t *ret_file_key,
                                        struct rh_error *err)
{
    struct passphrase_provider *provider = of(base);
    if (body.size != BODY_BYTES)
        return rh_fail(err, RH_E_CORRUPT, "unwrapping the file key: wrap part has the wrong size");
    struct rh_cursor cur = rh_cursor(rh_bytes(body.data + 1, body.size - 1));
    struct cost cost = {0};
    cost.log_n = rh_cursor_u8(&cur);
    cost.r = rh_cursor_u32be(&cur);
    cost.p = rh_cursor_u32be(&cur);
    struct rh_bytes salt = rh_cursor_take(&cur, SALT_BYTES);
    if (cur.bad || !cost_allowed(&cost))
        return rh_fail(err, RH_E_CORRUPT, "unwrapping the file key: scrypt with N=2^%u r=%u p=%u is out of bounds",
                       (unsigned)cost.log_n, cost.r, cost.p);
    memcpy(cost.salt, salt.data, SALT_BYTES);
    struct rh_bytes key;
    pthread_mutex_lock(&provider->lock);
    enum rh_status status = find_key(provider, &cost, &key, err);
    if (!status)
        status = rh_unwrap_local(key, fixed, body, ret_file_key, err);
    pthread_mutex_unlock(&provider->lock);
    if (status == RH_E_DENIED)
        return rh_fail(err, status, "unwrapping the file key: wrong passphrase, or the header was changed");
    return status;
}

static void passphrase_free(struct rh_key_provider *base)
{
    struct passphrase_provider *provider = of(base);
    for (size_t i = 0; i < CACHED; i++)
        rh_secret_free(provider->cache[i].key);
    rh_secret_free(provider->passphrase);
    pthread_mutex_destroy(&provider->lock);
    free(provider);
}

static const struct rh_key_class passphrase_class = {
    .kind = RH_PROVIDER_PASSPHRASE,
    .wrap = passphrase_wrap,
    .unwrap = passphrase_unwrap,
    .free = passphrase_free,
};

enum rh_status rh_key_provider_passphrase(const struct rh_secret *passphrase,
                                          struct rh_key_provider **ret_provider,
                                          struct rh_error *err)
{
    if (rh_secret_bytes(passphrase).size == 0)
        return rh_fail(err, RH_E_REFUSED, "taking a passphrase: it is empty");
    struct passphrase_provider *provider = calloc(1, sizeof *provider);
    if (!provider)
        return rh_fail_memory(err);
    pthread_mutex_init(&provider->lock, NULL);
    provider->base.class = &passphrase_class;
    memcpy(provider->base.description, "passphrase", sizeof "passphrase");
    provider->writing = (struct cost){.log_n = LOG_N_DEFAULT, .r = 8, .p = 1};
    provider->passphrase = rh_secret_dup(passphrase);
    enum rh_status status = provider->passphrase ? RH_OK : rh_fail_memory(err);
    if (!status)
        status = rh_random(provider->writing.salt, SALT_BYTES, err);
    if (status) {
        passphrase_free(&provider->base);
        return status;
    }
    *ret_provider = &provider->base;
    return RH_OK;
}

void rh_key_provider_cost(struct rh_key_provider *base, uint64_t n)
{
    if (base->class != &passphrase_class)
        return;
    struct passphrase_provider *provider = of(base);
    uint8_t log_n = 1;
    while (log_n < LOG_N_MOST && UINT64_C(1) << log_n < n)
        log_n++;
    pthread_mutex_lock(&provider->lock);
    provider->writing.log_n = log_n;
    pthread_mutex_unlock(&provider->lock);
}
