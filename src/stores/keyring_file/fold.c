/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names as the plugin compares them. Its keys lie in a hash by id followed by owner, under the server's system
 * collation: letters of either case, with and without accents, are equal, and so is one more blank at the end.
 * Knowledge: MySQL 5.7 and 8.0, plugin/keyring/common/keys_container, mysys' hash; strings/ctype-utf8.
 */
#include "fold.h"

#include "fold_table.h"

#include <stdlib.h>

/* The character of one to three bytes at the start, as the collation reads it; 0: none. */
static size_t take_character(struct rh_bytes bytes, uint32_t *ret_point)
{
    const uint8_t *at = bytes.data;
    const bool second = bytes.size > 1 && (at[1] & 0xc0) == 0x80, third = bytes.size > 2 && (at[2] & 0xc0) == 0x80;
    if (at[0] < 0x80) {
        *ret_point = at[0];
        return 1;
    }
    if (at[0] >= 0xc2 && at[0] < 0xe0 && second) {
        *ret_point = (uint32_t)(at[0] & 0x1f) << 6 | (at[1] & 0x3f);
        return 2;
    }
    if (at[0] >= 0xe0 && at[0] < 0xf0 && second && third && (at[0] > 0xe0 || at[1] >= 0xa0)) {
        *ret_point = (uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
        return 3;
    }
    return 0;
}

static int compare_points(const void *a, const void *b)
{
    return (int)((const uint16_t *)a)[0] - (int)((const uint16_t *)b)[0];
}

static uint16_t weight_of(uint32_t point)
{
    const uint16_t wanted[2] = {(uint16_t)point, 0};
    const uint16_t *found =
        bsearch(wanted, fold_table, sizeof fold_table / sizeof *fold_table, sizeof *fold_table, compare_points);
    return found ? found[1] : (uint16_t)point;
}

enum rh_status plugin_fold(struct rh_bytes owner, struct rh_bytes id, struct rh_buf *ret, struct rh_error *err)
{
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = rh_buf_add(&name, id.data, id.size, err);
    if (status == RH_OK)
        status = rh_buf_add(&name, owner.data, owner.size, err);
    while (name.size > 0 && name.data[name.size - 1] == ' ')
        name.size--;
    struct rh_bytes rest = rh_buf_bytes(&name);
    while (status == RH_OK && rest.size > 0) {
        uint32_t point = 0;
        const size_t size = take_character(rest, &point);
        if (size == 0) /* no character of this collation: from here on bytes are compared */
            return rh_buf_add(ret, rest.data, rest.size, err);
        const uint16_t weight = weight_of(point);
        const uint8_t two[] = {(uint8_t)(weight >> 8), (uint8_t)weight};
        status = rh_buf_add(ret, two, sizeof two, err);
        rest = rh_bytes(rest.data + size, rest.size - size);
    }
    return status;
}
