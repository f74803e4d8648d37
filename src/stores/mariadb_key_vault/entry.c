/* SPDX-License-Identifier: Apache-2.0 */
/* One secret as a key, and a key as the body of a request. */
#include "internal.h"

#include <inttypes.h>

/* Hexadecimal, either case. */
static int nibble(uint8_t c)
{
    const uint8_t lower = c | 0x20;
    return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The member `data` as bytes. */
static enum rh_status
take_hex(struct rh_bytes hex, uint32_t number, struct rh_arena *arena, struct rh_bytes *ret_data, struct rh_error *err)
{
    const size_t size = hex.size / 2;
    bool fine = hex.size % 2 == 0 && mariadb_is_length(size);
    uint8_t *data = fine ? rh_arena_get(arena, size) : NULL;
    if (fine && !data)
        return rh_fail_memory(err);
    for (size_t i = 0; fine && i < size; i++) {
        const int high = nibble(hex.data[2 * i]), low = nibble(hex.data[2 * i + 1]);
        fine = high >= 0 && low >= 0;
        data[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!fine)
        return rh_fail(err, RH_E_CORRUPT,
                       "the secret '%" PRIu32 "': its member 'data' isn't a key of 32, 48 or 64 hexadecimal digits",
                       number);
    *ret_data = rh_bytes(data, size);
    return RH_OK;
}

enum rh_status mkv_entry_read(const struct rh_vault_call *call,
                              uint32_t number,
                              struct rh_arena *arena,
                              struct mkv_entry *ret_entry,
                              struct rh_error *err)
{
    struct mkv_entry entry = {.number = number};
    const struct rh_vault_value *metadata = rh_vault_answer_find(&call->answer, "data.metadata");
    const struct rh_vault_value *hex = rh_vault_answer_find(&call->answer, "data.data.data");
    const bool has_version = rh_vault_answer_number(&call->answer, "data.metadata.version", &entry.version);
    if (call->status == RH_NOT_FOUND) {
        entry.dead = metadata != NULL;
        if (!entry.dead && !rh_vault_answer_is_empty(&call->answer))
            return rh_fail(err, RH_E_STORE, "reading the secret '%" PRIu32 "': its engine isn't mounted any more",
                           number);
        *ret_entry = entry;
        return RH_OK;
    }
    if (!has_version)
        return rh_fail(err, RH_E_CORRUPT, "the secret '%" PRIu32 "': the answer doesn't tell its version", number);
    if (!hex || hex->kind != RH_JSON_TEXT)
        return rh_fail(err, RH_E_CORRUPT, "the secret '%" PRIu32 "' has no text 'data': it is no key of MariaDB's",
                       number);
    enum rh_status status = take_hex(hex->text, number, arena, &entry.data, err);
    entry.there = true;
    if (status == RH_OK)
        *ret_entry = entry;
    return status;
}

enum rh_status mkv_entry_add(const struct mkv_store *store,
                             const struct mkv_entry *entry,
                             struct keyring_set *set,
                             struct rh_error *err)
{
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    const char *type = MARIADB_KEY_TYPE;
    if (entry->version != 1 && store->side != RH_SIDE_DESTINATION) {
        rh_fail(err, RH_E_REFUSED,
                "the key of number %" PRIu32 " is there in version %" PRIu64
                ": pages that were written under an older one need that one, too, and no other keyring has versions",
                entry->number, entry->version);
        rh_error_hint(err, "nothing but version 1 can be moved; the server has to stay with this engine");
        return RH_E_REFUSED;
    }
    if (entry->version != 1)
        type = rh_arena_format(&set->arena, "%s, version %" PRIu64, MARIADB_KEY_TYPE, entry->version);
    if (!type)
        return rh_fail_memory(err);
    enum rh_status status = mariadb_name_of(store->names, entry->number, &id, err);
    return status == RH_OK
               ? keyring_set_add(set, (struct rh_bytes){0}, rh_buf_bytes(&id), rh_bytes_text(type), entry->data, err)
               : status;
}

enum rh_status
mkv_entry_body(struct rh_bytes data, struct rh_arena *arena, struct rh_bytes *ret_body, struct rh_error *err)
{
    static const char before[] = "{\"data\":{\"data\":\"", after[] = "\"},\"options\":{\"cas\":0}}";
    static const char digits[] = "0123456789abcdef";
    const size_t size = sizeof before - 1 + 2 * data.size + sizeof after - 1;
    uint8_t *body = rh_arena_get(arena, size), *at = body;
    if (!body)
        return rh_fail_memory(err);
    memcpy(at, before, sizeof before - 1);
    at += sizeof before - 1;
    for (size_t i = 0; i < data.size; i++) {
        *at++ = (uint8_t)digits[data.data[i] >> 4];
        *at++ = (uint8_t)digits[data.data[i] & 15];
    }
    memcpy(at, after, sizeof after - 1);
    *ret_body = rh_bytes(body, size);
    return RH_OK;
}
