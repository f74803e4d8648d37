/* SPDX-License-Identifier: Apache-2.0 */
/* Keys in secret memory, found by name. */
#include "keyring.h"

#include <stdlib.h>

enum { ENTRIES_LEAST = 64 };

enum rh_status keyring_set_take(struct keyring_set *set, const struct keyring_entry *entry, struct rh_error *err)
{
    if (set->count == set->capacity) {
        const size_t capacity = set->capacity ? set->capacity * 2 : ENTRIES_LEAST;
        struct keyring_entry *grown = reallocarray(set->entries, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        set->entries = grown;
        set->capacity = capacity;
    }
    set->entries[set->count++] = *entry;
    return RH_OK;
}

enum rh_status keyring_set_add(struct keyring_set *set,
                               struct rh_bytes owner,
                               struct rh_bytes id,
                               struct rh_bytes type,
                               struct rh_bytes data,
                               struct rh_error *err)
{
    if (owner.size > RH_KEYRING_PART_MOST || id.size > RH_KEYRING_PART_MOST)
        return rh_fail(err, RH_E_LIMIT, "a key's name has more than %u bytes", RH_KEYRING_PART_MOST);
    uint8_t *key = rh_arena_get(&set->arena, 2 + owner.size + id.size);
    if (!key)
        return rh_fail_memory(err);
    key[0] = (uint8_t)(owner.size >> 8);
    key[1] = (uint8_t)owner.size;
    if (owner.size)
        memcpy(key + 2, owner.data, owner.size);
    if (id.size)
        memcpy(key + 2 + owner.size, id.data, id.size);
    const struct keyring_entry entry = {
        .key = rh_bytes(key, 2 + owner.size + id.size),
        .type = type,
        .data = data,
    };
    return keyring_set_take(set, &entry, err);
}

/* By name; equal ones as they came. */
static int compare_places(const void *a, const void *b, void *user)
{
    const struct keyring_set *set = user;
    const size_t left = *(const size_t *)a, right = *(const size_t *)b;
    const int order = rh_bytes_compare(set->entries[left].key, set->entries[right].key);
    return order ? order : left < right ? -1 : left > right;
}

enum rh_status keyring_set_sort(struct keyring_set *set, struct rh_error *err)
{
    free(set->order);
    set->order = calloc(set->count ? set->count : 1, sizeof *set->order);
    if (!set->order)
        return rh_fail_memory(err);
    for (size_t i = 0; i < set->count; i++)
        set->order[i] = i;
    qsort_r(set->order, set->count, sizeof *set->order, compare_places, set);
    for (size_t i = 1; i < set->count; i++) {
        const struct rh_bytes key = set->entries[set->order[i]].key;
        if (rh_bytes_equal(set->entries[set->order[i - 1]].key, key))
            return rh_fail(err, RH_E_CORRUPT, "the key %s is there twice", RH_SHOW_KEY(key));
    }
    return RH_OK;
}

size_t keyring_set_from(const struct keyring_set *set, struct rh_bytes key)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (rh_bytes_compare(set->entries[set->order[middle]].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct keyring_entry *keyring_set_find(const struct keyring_set *set, struct rh_bytes key)
{
    const size_t at = keyring_set_from(set, key);
    if (at == set->count || !rh_bytes_equal(set->entries[set->order[at]].key, key))
        return NULL;
    return &set->entries[set->order[at]];
}

void keyring_set_done(struct keyring_set *set)
{
    rh_arena_done(&set->arena);
    free(set->entries);
    free(set->order);
    *set = (struct keyring_set)KEYRING_SET_INIT;
}
