/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyring_vault driver's own header: the keys of Percona's keyring_vault and component_keyring_vault, a secret of
 * a KV engine each (docs/formats/keyring-vault.md).
 *
 * store.c    options, life of a store, sessions        driver.c   the record of the driver
 * config.c   the server's own configuration file       names.c    what a key is called there
 * mount.c    which part of the path is the mount       listing.c  the names that are there, as keys
 * item.c     one key's requests and answers            read.c     scans and single keys
 * write.c    units of writing, by check-and-set        place.c    facts, identity, marker, settings
 */
#ifndef REHOME_STORES_KEYRING_VAULT_INTERNAL_H
#define REHOME_STORES_KEYRING_VAULT_INTERNAL_H

#include "names.h"

#include <pthread.h>
#include <rehome/store.h>
#include <vault.h>

enum {
    KV_NAME_MOST = 4096,  /* bytes of a name in base64 */
    KV_DATA_MOST = 16384, /* bytes of a key that MySQL's keyrings hold */
    KV_DEPTH_MOST = 16,   /* of folders that slashes in names make */
    KV_ROUNDS_MOST = 8,   /* puts of one key that somebody else's writes keep refusing */
};
/* The key that marks a destination: one that a server reads, and nobody asks for. */
#define KV_MARKER_ID "rehome-migration"
#define KV_MARKER_TYPE "SECRET"

/* Where the keys are. */
struct kv_mount {
    bool found;
    unsigned version;    /* 1 or 2 */
    char *path, *folder; /* "secret", "mysql/one" or "": of version 1 the path is all */
    char unique[64];     /* the mount's own id, where it is told */
};

struct kv_store {
    struct rh_store base;
    struct rh_vault *vault;
    enum rh_side side;
    char *point;      /* secret_mount_point */
    unsigned version; /* 0: to be found out */
    bool skip_others;
    char address[320];
    struct rh_buf marker_name;

    pthread_mutex_t lock; /* guards what follows */
    struct kv_mount mount;
    char cluster[128];
};

struct kv_session {
    struct rh_session base;
    struct kv_store *store;
    struct rh_vault_client *client;
    struct rh_vault_call calls[RH_VAULT_CALLS];
    struct rh_vault_call other; /* for everything that isn't a key */
    struct rh_arena bodies;     /* secret; of the calls under way */
    bool scanning;
    struct rh_unit unit;
};
static inline struct kv_store *kv_store_of(const struct rh_session *session)
{
    return (struct kv_store *)session->store;
}

/* --- store.c --- */
extern const struct rh_option kv_options[];
enum rh_status kv_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store);
void kv_store_close(struct rh_store *base);
enum rh_status
kv_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void kv_session_close(struct rh_session *base);
void kv_session_cancel(struct rh_session *base);

/* --- mount.c --- */
/* Finds the mount once; from then on store->mount may be read without the lock. */
enum rh_status kv_mount_need(struct rh_ctx *ctx, struct kv_session *session);
/* Takes the words of a 404 that says more than that nothing is there. */
enum rh_status kv_mount_wrong(struct kv_session *session, const struct rh_vault_call *call, struct rh_error *err);

/* --- listing.c --- */
struct kv_named {
    struct rh_bytes key, name;
};
/* All names, as keys in their order; the marker's is left out. */
struct kv_listing {
    struct rh_arena arena;
    struct kv_named *entries;
    size_t count, capacity;
};
enum rh_status kv_listing_get(struct rh_ctx *ctx, struct kv_session *session, struct kv_listing *listing);
/* The place of the first that isn't below the key. */
size_t kv_listing_from(const struct kv_listing *listing, struct rh_bytes key);
void kv_listing_done(struct kv_listing *listing);

/* --- item.c --- */
/* What a key's secret holds. */
struct kv_found {
    bool alive;
    uint64_t version;            /* version 2: the latest, alive or not; 0: none */
    struct rh_bytes type, value; /* of one that is alive; the value in base64, borrowed from the answer */
};
/* Makes the call the one that reads a name. */
enum rh_status
kv_item_ask(struct kv_session *session, struct rh_vault_call *call, struct rh_bytes name, struct rh_error *err);
/* What it brought. `key` is for messages. */
enum rh_status kv_item_found(struct kv_session *session,
                             const struct rh_vault_call *call,
                             struct rh_bytes key,
                             struct kv_found *ret_found,
                             struct rh_error *err);
/* Adds the record to a batch, without its fields unless they are wanted. */
enum rh_status kv_item_add(
    struct rh_batch *batch, struct rh_bytes key, const struct kv_found *found, bool fields, struct rh_error *err);
/* Makes the call the one that writes a key over the version that is there (version 2). */
enum rh_status kv_item_write(struct kv_session *session,
                             struct rh_vault_call *call,
                             struct rh_bytes name,
                             struct rh_bytes type,
                             struct rh_bytes data,
                             uint64_t cas,
                             struct rh_error *err);
/* How a key is to be taken away that was found at some version (version 2). */
enum kv_end {
    KV_END_CHANGED, /* somebody has written it since */
    KV_END_NAME,    /* with its name: there never was anything but what we wrote */
    KV_END_VERSION, /* the one version; the name was there before */
};
/* Makes the call the one that tells that, and what it brought. */
enum rh_status kv_item_ask_versions(struct kv_session *session,
                                    struct rh_vault_call *call,
                                    struct rh_bytes name,
                                    struct rh_error *err);
enum rh_status
kv_item_versions(const struct rh_vault_call *call, uint64_t version, enum kv_end *ret_end, struct rh_error *err);
/* Makes the call the one that takes a key away with its name; version 1: the key. */
enum rh_status
kv_item_remove(struct kv_session *session, struct rh_vault_call *call, struct rh_bytes name, struct rh_error *err);
/* Takes one version away, so that it can't be had again; where that isn't allowed it is deleted, as Percona's servers
 * do. */
enum rh_status
kv_item_remove_version(struct rh_ctx *ctx, struct kv_session *session, struct rh_bytes name, uint64_t version);
/* Takes one key away, found at that version, in any of these ways. */
enum rh_status kv_remove_one(
    struct rh_ctx *ctx, struct kv_session *session, struct rh_bytes name, uint64_t version, bool *ret_changed);
/* The name of a record's key. */
enum rh_status kv_item_name(struct rh_buf *name, struct rh_bytes key, struct rh_error *err);

/* --- read.c, write.c, place.c --- */
extern const struct rh_read_ops kv_read_ops;
extern const struct rh_write_ops kv_write_ops;
extern const struct rh_guard_ops kv_guard_ops;
enum rh_status kv_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
bool kv_overlaps(const struct rh_store *a, const struct rh_store *b);
enum rh_status kv_settings(const struct rh_store *base, rh_setting_add *add, void *user, struct rh_error *err);

#endif
