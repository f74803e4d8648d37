/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store of this driver has beside the common keyring_store: the library, its configuration, the call under way.
 *
 * Components that keep their keys in a file of their own are let loose on no file of a server's: one that is read is
 * shown by its descriptor, one that is written is a partial file, which the keyring drivers' common part then puts in
 * the place of the old one. So whatever library or child does, the keystore holds what it held, or what it should.
 */
#ifndef REHOME_KEYRING_COMPONENT_COMPONENT_H
#define REHOME_KEYRING_COMPONENT_COMPONENT_H

#include "client.h"
#include "config.h"

struct component {
    struct component_library library;
    struct component_config config;
    pthread_mutex_t lock;
    /* under the lock */
    struct component_facts facts; /* what the library last said of itself */
    struct keyring_view *known;   /* where the keys aren't in a file: what was read last; NULL after a write */
    int64_t known_us;             /* when */
};

static inline struct component *component_of(const struct keyring_store *store)
{
    return store->own;
}

/* The context of the driver's call that this thread is in. A format has no place for it among its arguments. */
struct rh_ctx component_calling(struct rh_error *err);
/* Sets it; gives what was there, to be set again at the call's end. */
const struct rh_ctx *component_call(const struct rh_ctx *ctx);

extern const struct keyring_format keyring_component_format;
/* Loads the library on a keystore without a key, in memory: where there is no keystore yet, that is all that can be
 * tried. */
enum rh_status component_self_test(const struct rh_ctx *ctx, const struct keyring_store *store) RH_MUST_USE;

/* Whether a component could hold a key and give it back. */
enum rh_status component_key_fits(struct rh_bytes owner,
                                  struct rh_bytes id,
                                  const struct rh_bytes *type,
                                  const struct rh_bytes *data,
                                  struct rh_error *err) RH_MUST_USE;
/* The name of what a library leaves beside a partial file when it is killed. */
void component_leftover_name(const struct keyring_store *store, char out[static NAME_MAX + 1]);

#endif
