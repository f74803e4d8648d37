/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that were asked for once: thousands of tablespaces need the same few. */
#include "internal.h"

#include <stdlib.h>

struct proof_key {
    char *id;
    struct rh_secret *key; /* NULL: the keyring has none */
};

/* Asks the keyring and remembers the answer. */
static enum rh_status ask(struct proof_keys *keys, const char *id, struct rh_error *err)
{
    if (keys->count == keys->capacity) {
        const size_t capacity = keys->capacity ? keys->capacity * 2 : 16;
        struct proof_key *grown = reallocarray(keys->keys, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        keys->keys = grown;
        keys->capacity = capacity;
    }
    struct proof_key found = {.id = strdup(id)};
    if (!found.id)
        return rh_fail_memory(err);
    enum rh_status status = keys->args->key(keys->args->user, id, &found.key, err);
    if (status != RH_OK && status != RH_NOT_FOUND) {
        free(found.id);
        return status;
    }
    keys->keys[keys->count++] = found;
    return RH_OK;
}

/* What is remembered of an id, NULL for one that wasn't asked for; the latest first, as neighbours need the same. */
static const struct proof_key *recall(const struct proof_keys *keys, const char *id)
{
    for (size_t i = keys->count; i > 0; i--)
        if (strcmp(keys->keys[i - 1].id, id) == 0)
            return &keys->keys[i - 1];
    return NULL;
}

enum rh_status
proof_keys_get(struct proof_keys *keys, const char *id, const struct rh_secret **ret_key, struct rh_error *err)
{
    const struct proof_key *found = recall(keys, id);
    if (!found) {
        enum rh_status status = ask(keys, id, err);
        if (status != RH_OK)
            return status;
        found = &keys->keys[keys->count - 1];
    }
    if (!found->key)
        return RH_NOT_FOUND;
    *ret_key = found->key;
    return RH_OK;
}

void proof_keys_done(struct proof_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free(keys->keys[i].id);
        rh_secret_free(keys->keys[i].key);
    }
    free(keys->keys);
    *keys = (struct proof_keys){0};
}
