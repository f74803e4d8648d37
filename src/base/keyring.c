/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of keyring records: made, taken apart, shown. */
#include <rehome/keyring.h>

#include <stdio.h>

enum { LENGTH_BYTES = 2 };

enum rh_status rh_keyring_key_add(struct rh_buf *buf, struct rh_bytes owner, struct rh_bytes id, struct rh_error *err)
{
    if (owner.size > RH_KEYRING_PART_MOST || id.size > RH_KEYRING_PART_MOST)
        return rh_fail(err, RH_E_LIMIT, "a key's %s has %zu bytes; %u are the most",
                       owner.size > RH_KEYRING_PART_MOST ? "owner" : "id",
                       owner.size > RH_KEYRING_PART_MOST ? owner.size : id.size, RH_KEYRING_PART_MOST);
    const uint8_t length[LENGTH_BYTES] = {(uint8_t)(owner.size >> 8), (uint8_t)owner.size};
    enum rh_status status = rh_buf_reserve(buf, sizeof length + owner.size + id.size, err);
    if (status == RH_OK)
        status = rh_buf_add(buf, length, sizeof length, err);
    if (status == RH_OK)
        status = rh_buf_add(buf, owner.data, owner.size, err);
    return status == RH_OK ? rh_buf_add(buf, id.data, id.size, err) : status;
}

enum rh_status rh_keyring_key_split(struct rh_bytes key, struct rh_bytes *ret_owner, struct rh_bytes *ret_id)
{
    struct rh_cursor cur = rh_cursor(key);
    const size_t high = rh_cursor_u8(&cur);
    const size_t size = high << 8 | rh_cursor_u8(&cur);
    const struct rh_bytes owner = rh_cursor_take(&cur, size);
    const struct rh_bytes id = rh_cursor_take(&cur, rh_cursor_left(&cur));
    if (cur.bad || id.size > RH_KEYRING_PART_MOST)
        return RH_E_CORRUPT;
    *ret_owner = owner;
    *ret_id = id;
    return RH_OK;
}

const char *rh_keyring_key_show(struct rh_bytes key, char *out, size_t out_size)
{
    struct rh_bytes owner, id;
    if (rh_keyring_key_split(key, &owner, &id) != RH_OK)
        snprintf(out, out_size, "'%s'", RH_SHOW(key));
    else if (owner.size)
        snprintf(out, out_size, "'%s' of '%s'", RH_SHOW(id), RH_SHOW(owner));
    else
        snprintf(out, out_size, "'%s'", RH_SHOW(id));
    return out;
}
