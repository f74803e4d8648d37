/* SPDX-License-Identifier: Apache-2.0 */
/* The reader over bytes from outside: each get checks the end. */
#include <rehome/bytes.h>

struct rh_bytes rh_cursor_take(struct rh_cursor *cur, size_t size)
{
    if (size > rh_cursor_left(cur)) {
        cur->bad = true;
        return rh_bytes(NULL, 0);
    }
    struct rh_bytes taken = rh_bytes(cur->at, size);
    if (size)
        cur->at += size;
    return cur->bad ? rh_bytes(NULL, 0) : taken;
}

/* A big-endian number of `size` bytes. */
static uint64_t take_be(struct rh_cursor *cur, size_t size)
{
    struct rh_bytes bytes = rh_cursor_take(cur, size);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size; i++)
        value = value << 8 | bytes.data[i];
    return value;
}

uint8_t rh_cursor_u8(struct rh_cursor *cur)
{
    return (uint8_t)take_be(cur, 1);
}

uint32_t rh_cursor_u32be(struct rh_cursor *cur)
{
    return (uint32_t)take_be(cur, 4);
}

uint64_t rh_cursor_u64be(struct rh_cursor *cur)
{
    return take_be(cur, 8);
}

struct rh_bytes rh_cursor_bytes32(struct rh_cursor *cur)
{
    size_t size = rh_cursor_u32be(cur);
    return rh_cursor_take(cur, size);
}
