/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as bytes and back. */
#include "wire.h"

enum {
    HEAD_BYTES = 1 + 4, /* kind and number */
    FROM_HOST = 64,     /* the first kind that the child says */
};
_Static_assert((int)WIRE_FACT == (int)FROM_HOST, "the table below begins with it");

/* Most bytes of each part; a kind ends at the first zero. */
struct shape {
    bool from_host;
    int parts;
    uint32_t most[WIRE_PARTS_MOST];
};

/* What messages there are. */
static const struct shape *shape_of(enum wire_kind kind)
{
    static const struct shape to_host[] = {
        [WIRE_OPEN] = {false, 4, {WIRE_PATH_MOST, WIRE_PATH_MOST, WIRE_PATH_MOST, 4}             },
        [WIRE_READ] = {false, 0, {0}                                                             },
        [WIRE_FETCH] = {false, 2, {WIRE_NAME_MOST, WIRE_NAME_MOST}                                },
        [WIRE_STORE] = {false, 4, {WIRE_NAME_MOST, WIRE_NAME_MOST, WIRE_TYPE_MOST, WIRE_DATA_MOST}},
        [WIRE_REMOVE] = {false, 2, {WIRE_NAME_MOST, WIRE_NAME_MOST}                                },
        [WIRE_CLOSE] = {false, 0, {0}                                                             },
    };
    static const struct shape from_host[] = {
        [WIRE_FACT - FROM_HOST] = {true, 2, {WIRE_WORDS_MOST, WIRE_PATH_MOST}                               },
        [WIRE_OPENED - FROM_HOST] = {true, 1, {WIRE_WORDS_MOST}                                               },
        [WIRE_KEY - FROM_HOST] = {true, 4, {WIRE_NAME_MOST, WIRE_NAME_MOST, WIRE_TYPE_MOST, WIRE_DATA_MOST}},
        [WIRE_ABSENT - FROM_HOST] = {true, 0, {0}                                                             },
        [WIRE_DONE - FROM_HOST] = {true, 0, {0}                                                             },
        [WIRE_FAILED - FROM_HOST] = {true, 1, {WIRE_WORDS_MOST}                                               },
    };
    if (kind >= WIRE_OPEN && kind <= WIRE_CLOSE)
        return &to_host[kind];
    return kind >= WIRE_FACT && kind <= WIRE_FAILED ? &from_host[kind - FROM_HOST] : NULL;
}

int wire_parts(enum wire_kind kind)
{
    const struct shape *shape = shape_of(kind);
    return shape ? shape->parts : -1;
}

enum rh_status wire_read(struct rh_bytes bytes, bool from_host, struct wire_message *ret_message, size_t *ret_used)
{
    struct rh_cursor cur = rh_cursor(bytes);
    if (bytes.size < WIRE_SIZE_BYTES)
        return RH_END;
    const uint32_t size = rh_cursor_u32be(&cur);
    if (size < HEAD_BYTES || size > WIRE_MESSAGE_MOST)
        return RH_E_CORRUPT;
    if (rh_cursor_left(&cur) < size)
        return RH_END;
    struct rh_cursor body = rh_cursor(rh_cursor_take(&cur, size));
    struct wire_message message = {.kind = (enum wire_kind)rh_cursor_u8(&body)};
    const struct shape *shape = shape_of(message.kind);
    if (!shape || shape->from_host != from_host)
        return RH_E_CORRUPT;
    message.number = rh_cursor_u32be(&body);
    for (int i = 0; i < shape->parts; i++) {
        message.parts[i] = rh_cursor_bytes32(&body);
        if (message.parts[i].size > shape->most[i])
            return RH_E_CORRUPT;
    }
    if (!rh_cursor_done(&body))
        return RH_E_CORRUPT;
    *ret_message = message;
    *ret_used = WIRE_SIZE_BYTES + size;
    return RH_OK;
}

/* A number, big-endian. */
static uint8_t *put_u32(uint8_t *out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *out++ = (uint8_t)(value >> shift);
    return out;
}

bool wire_add(struct wire_buffer *buffer, const struct wire_message *message)
{
    const struct shape *shape = shape_of(message->kind);
    size_t size = HEAD_BYTES;
    if (!shape)
        return false;
    for (int i = 0; i < shape->parts; i++) {
        if (message->parts[i].size > shape->most[i])
            return false;
        size += 4 + message->parts[i].size;
    }
    if (size > WIRE_MESSAGE_MOST || buffer->capacity - buffer->size < WIRE_SIZE_BYTES + size)
        return false;
    uint8_t *at = put_u32(buffer->data + buffer->size, (uint32_t)size);
    *at++ = (uint8_t)message->kind;
    at = put_u32(at, message->number);
    for (int i = 0; i < shape->parts; i++) {
        const struct rh_bytes part = message->parts[i];
        at = put_u32(at, (uint32_t)part.size);
        if (part.size)
            memcpy(at, part.data, part.size);
        at += part.size;
    }
    buffer->size += WIRE_SIZE_BYTES + size;
    return true;
}

void wire_drop(struct wire_buffer *buffer, size_t count)
{
    const size_t left = buffer->size - count;
    if (left)
        memmove(buffer->data, buffer->data + count, left);
    explicit_bzero(buffer->data + left, count);
    buffer->size = left;
}
