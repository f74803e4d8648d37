/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures and their base64. Knowledge: Percona Server, plugin/keyring_vault and components/keyrings/keyring_vault.
 */
#include "names.h"

#include <stdlib.h>

/* "LENGTH_" and the bytes. */
static enum rh_status add_part(struct rh_buf *signature, struct rh_bytes part, struct rh_error *err)
{
    enum rh_status status = rh_buf_format(signature, err, "%zu_", part.size);
    return status ? status : rh_buf_add(signature, part.data, part.size, err);
}

enum rh_status kv_name_add(struct rh_buf *name, struct rh_bytes owner, struct rh_bytes id, struct rh_error *err)
{
    rh_auto_buf struct rh_buf signature = RH_BUF_INIT;
    enum rh_status status = add_part(&signature, id, err);
    if (!status)
        status = add_part(&signature, owner, err);
    return status ? status : rh_base64_add(name, rh_buf_bytes(&signature), err);
}

/* One part; false when there is none. Its length has no zeros in front, so that one key has one name. */
static bool take_part(struct rh_cursor *cursor, struct rh_bytes *ret_part)
{
    const uint8_t *from = cursor->at;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9')
        cursor->at++;
    const struct rh_bytes digits = rh_bytes(from, (size_t)(cursor->at - from));
    uint64_t size = 0;
    if (digits.size > 1 && digits.data[0] == '0')
        return false;
    if (rh_parse_u64(digits, &size) || rh_cursor_u8(cursor) != '_' || size > rh_cursor_left(cursor))
        return false;
    *ret_part = rh_cursor_take(cursor, (size_t)size);
    return !cursor->bad;
}

enum rh_status kv_name_read(struct rh_buf *key, struct rh_bytes name, struct rh_error *err)
{
    rh_auto_buf struct rh_buf signature = RH_BUF_INIT, again = RH_BUF_INIT;
    struct rh_bytes id, owner;
    if (!name.size || rh_base64_decode(&signature, name, NULL))
        return RH_E_CORRUPT;
    struct rh_cursor cursor = rh_cursor(rh_buf_bytes(&signature));
    if (!take_part(&cursor, &id) || !take_part(&cursor, &owner) || !rh_cursor_done(&cursor))
        return RH_E_CORRUPT;
    /* base64 can be written in several ways */
    enum rh_status status = rh_base64_add(&again, rh_buf_bytes(&signature), err);
    if (status)
        return status;
    if (!rh_bytes_equal(rh_buf_bytes(&again), name) || id.size > RH_KEYRING_PART_MOST ||
        owner.size > RH_KEYRING_PART_MOST)
        return RH_E_CORRUPT;
    return rh_keyring_key_add(key, owner, id, err);
}
