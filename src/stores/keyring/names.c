/* SPDX-License-Identifier: Apache-2.0 */
/* A table of folded names, open addressing; names aren't secret, and it only grows. */
#include "names.h"

#include <stdlib.h>
#include <xxhash.h>

struct name {
    uint64_t hash;
    struct rh_bytes folded, key; /* key.data NULL: free */
};
struct keyring_names {
    const struct keyring_format *format;
    struct rh_arena arena;
    struct name *names;
    size_t count, capacity; /* a power of two */
    struct rh_buf folded;
};

/* The place of a folded name, or the free one where it belongs. */
static struct name *place_of(const struct keyring_names *names, uint64_t hash, struct rh_bytes folded)
{
    for (size_t at = hash & (names->capacity - 1);; at = (at + 1) & (names->capacity - 1)) {
        struct name *name = &names->names[at];
        if (!name->key.data || (name->hash == hash && rh_bytes_equal(name->folded, folded)))
            return name;
    }
}

/* Room for one more, at most half full. */
static enum rh_status make_room(struct keyring_names *names, struct rh_error *err)
{
    if (names->count * 2 < names->capacity)
        return RH_OK;
    struct keyring_names grown = {.capacity = names->capacity ? names->capacity * 2 : 256};
    grown.names = calloc(grown.capacity, sizeof *grown.names);
    if (!grown.names)
        return rh_fail_memory(err);
    for (size_t i = 0; i < names->capacity; i++)
        if (names->names[i].key.data)
            *place_of(&grown, names->names[i].hash, names->names[i].folded) = names->names[i];
    free(names->names);
    names->names = grown.names;
    names->capacity = grown.capacity;
    return RH_OK;
}

enum rh_status keyring_names_add(struct keyring_names *names, struct rh_bytes key, struct rh_error *err)
{
    struct rh_bytes owner, id;
    if (!names)
        return RH_OK;
    if (rh_keyring_key_split(key, &owner, &id) != RH_OK)
        return rh_fail(err, RH_E_LIMIT, "it isn't a keyring's key");
    rh_buf_clear(&names->folded);
    enum rh_status status = names->format->identity(owner, id, &names->folded, err);
    if (status == RH_OK)
        status = make_room(names, err);
    if (status != RH_OK)
        return status;
    const struct rh_bytes folded = rh_buf_bytes(&names->folded);
    const uint64_t hash = XXH3_64bits(folded.data, folded.size);
    struct name *name = place_of(names, hash, folded);
    if (name->key.data)
        return rh_bytes_equal(name->key, key)
                   ? RH_OK
                   : rh_fail(err, RH_E_LIMIT, "a server takes it for the same key as %s", RH_SHOW_KEY(name->key));
    const struct name fresh = {
        .hash = hash,
        .folded = rh_arena_copy(&names->arena, folded),
        .key = rh_arena_copy(&names->arena, key),
    };
    if (!fresh.folded.data || !fresh.key.data)
        return rh_fail_memory(err);
    *name = fresh;
    names->count++;
    return RH_OK;
}

enum rh_status keyring_names_new(const struct keyring_format *format,
                                 const struct keyring_set *set,
                                 struct keyring_names **ret_names,
                                 struct rh_error *err)
{
    *ret_names = NULL;
    if (!format->identity)
        return RH_OK;
    struct keyring_names *names = calloc(1, sizeof *names);
    if (!names)
        return rh_fail_memory(err);
    names->format = format;
    for (size_t i = 0; i < set->count; i++) {
        /* two that collide there already are the server's own trouble, and no reason to touch them */
        const enum rh_status status = keyring_names_add(names, set->entries[i].key, err);
        if (status != RH_OK && status != RH_E_LIMIT) {
            keyring_names_free(names);
            return status;
        }
    }
    *ret_names = names;
    return RH_OK;
}

void keyring_names_free(struct keyring_names *names)
{
    if (!names)
        return;
    rh_arena_done(&names->arena);
    rh_buf_done(&names->folded);
    free(names->names);
    free(names);
}
