/* SPDX-License-Identifier: Apache-2.0 */
/* Hex and base64 (RFC 4648: standard alphabet, padding, no bits left over). */
#include <rehome/bytes.h>

enum rh_status rh_hex_add(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err)
{
    static const char digits[] = "0123456789abcdef";
    size_t size;
    if (__builtin_mul_overflow(bytes.size, 2, &size))
        return rh_fail_memory(err);
    enum rh_status status = rh_buf_reserve(buf, size, err);
    if (status)
        return status;
    for (size_t i = 0; i < bytes.size; i++) {
        buf->data[buf->size++] = (uint8_t)digits[bytes.data[i] >> 4];
        buf->data[buf->size++] = (uint8_t)digits[bytes.data[i] & 15];
    }
    return RH_OK;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The value of each letter; 255 for what isn't one. */
/* clang-format off */
static const uint8_t values[256] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,  62, 255, 255, 255,  63,
     52,  53,  54,  55,  56,  57,  58,  59,  60,  61, 255, 255, 255, 255, 255, 255,
    255,   0,   1,   2,   3,   4,   5,   6,   7,   8,   9,  10,  11,  12,  13,  14,
     15,  16,  17,  18,  19,  20,  21,  22,  23,  24,  25, 255, 255, 255, 255, 255,
    255,  26,  27,  28,  29,  30,  31,  32,  33,  34,  35,  36,  37,  38,  39,  40,
     41,  42,  43,  44,  45,  46,  47,  48,  49,  50,  51, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
};
/* clang-format on */

/* Four letters for three bytes. */
static void encode_three(char *out, const uint8_t *in)
{
    uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
    out[0] = alphabet[bits >> 18];
    out[1] = alphabet[bits >> 12 & 63];
    out[2] = alphabet[bits >> 6 & 63];
    out[3] = alphabet[bits & 63];
}

size_t rh_base64_encode_into(char *out, struct rh_bytes bytes)
{
    char *to = out;
    const uint8_t *from = bytes.data;
    size_t left = bytes.size;
    for (; left >= 3; left -= 3, from += 3, to += 4)
        encode_three(to, from);
    if (left) {
        uint8_t last[3] = {from[0], left == 2 ? from[1] : 0, 0};
        encode_three(to, last);
        to[3] = '=';
        if (left == 1)
            to[2] = '=';
        to += 4;
    }
    return (size_t)(to - out);
}

/* Three bytes of four letters; false when one isn't a letter. */
static inline bool decode_four(uint8_t *out, const uint8_t *in)
{
    uint32_t a = values[in[0]], b = values[in[1]], c = values[in[2]], d = values[in[3]];
    uint32_t bits = a << 18 | b << 12 | c << 6 | d;
    out[0] = (uint8_t)(bits >> 16);
    out[1] = (uint8_t)(bits >> 8);
    out[2] = (uint8_t)bits;
    return ((a | b | c | d) & 0x80) == 0;
}

enum rh_status rh_base64_decode_into(uint8_t *out, size_t *ret_size, struct rh_bytes text)
{
    if (text.size % 4)
        return RH_E_CORRUPT;
    if (text.size == 0) {
        *ret_size = 0;
        return RH_OK;
    }
    const uint8_t *from = text.data, *last = text.data + text.size - 4;
    uint8_t *to = out;
    bool good = true;
    for (; from < last; from += 4, to += 3)
        good &= decode_four(to, from);
    size_t padding = last[3] != '=' ? 0 : last[2] != '=' ? 1 : 2;
    uint8_t letters[4], bytes[3];
    memcpy(letters, last, 4);
    for (size_t i = 4 - padding; i < 4; i++)
        letters[i] = 'A'; /* zero bits */
    good &= decode_four(bytes, letters);
    for (size_t i = 3 - padding; i < 3; i++)
        good &= bytes[i] == 0;
    if (!good)
        return RH_E_CORRUPT;
    memcpy(to, bytes, 3 - padding);
    *ret_size = (size_t)(to - out) + 3 - padding;
    return RH_OK;
}

enum rh_status rh_base64_add(struct rh_buf *buf, struct rh_bytes bytes, struct rh_error *err)
{
    if (bytes.size > SIZE_MAX / 4)
        return rh_fail_memory(err);
    size_t size = (bytes.size + 2) / 3 * 4;
    enum rh_status status = rh_buf_reserve(buf, size, err);
    if (!status && size)
        buf->size += rh_base64_encode_into((char *)buf->data + buf->size, bytes);
    return status;
}

enum rh_status rh_base64_decode(struct rh_buf *buf, struct rh_bytes text, struct rh_error *err)
{
    size_t size = 0;
    if (text.size % 4 != 0)
        return rh_fail(err, RH_E_CORRUPT, "decoding base64: not base64 with padding");
    enum rh_status status = rh_buf_reserve(buf, text.size / 4 * 3, err);
    if (status || text.size == 0)
        return status;
    status = rh_base64_decode_into(buf->data + buf->size, &size, text);
    if (status)
        return rh_fail(err, status, "decoding base64: not base64 with padding");
    buf->size += size;
    return RH_OK;
}
