/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, and outside bytes made safe to show. */
#include <rehome/bytes.h>

/* The length of the well-formed UTF-8 character at the start of bytes (RFC 3629: no surrogates, shortest form
 * only) and its code point; 0 when there is none. */
static size_t utf8_one(struct rh_bytes bytes, uint32_t *ret_point)
{
    static const struct {
        uint8_t mask, mark;
        uint32_t least;
    } forms[] = {
        {0x80, 0x00, 0      },
        {0xe0, 0xc0, 0x80   },
        {0xf0, 0xe0, 0x800  },
        {0xf8, 0xf0, 0x10000},
    };
    for (size_t length = 1; length <= 4 && length <= bytes.size; length++) {
        if ((bytes.data[0] & forms[length - 1].mask) != forms[length - 1].mark)
            continue;
        uint32_t point = bytes.data[0] & (uint32_t)(uint8_t)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((bytes.data[i] & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (bytes.data[i] & 0x3fu);
        }
        if (point < forms[length - 1].least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return 0;
        *ret_point = point;
        return length;
    }
    return 0;
}

bool rh_utf8_valid(struct rh_bytes bytes)
{
    size_t at = 0;
    while (at < bytes.size) {
        uint64_t eight;
        if (bytes.size - at >= sizeof eight) { /* most text is ASCII: eight letters at a time */
            memcpy(&eight, bytes.data + at, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += sizeof eight;
                continue;
            }
        }
        uint32_t point;
        size_t length = utf8_one(rh_bytes(bytes.data + at, bytes.size - at), &point);
        if (!length)
            return false;
        at += length;
    }
    return true;
}

/* What a terminal would act on instead of showing: controls, line separators, changes of direction. */
static bool acts_on_terminal(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x200e || point == 0x200f ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

/* Writes the next piece of bytes, shown, into piece; returns how many input bytes it stands for. */
static size_t show_one(struct rh_bytes bytes, char piece[static 4], size_t *ret_length)
{
    uint32_t point = 0;
    size_t length = utf8_one(bytes, &point);
    if (length == 1 && point == '\\') {
        piece[0] = piece[1] = '\\';
        *ret_length = 2;
        return 1;
    }
    if (length && !acts_on_terminal(point)) {
        memcpy(piece, bytes.data, length);
        *ret_length = length;
        return length;
    }
    static const char digits[] = "0123456789abcdef";
    piece[0] = '\\';
    piece[1] = 'x';
    piece[2] = digits[bytes.data[0] >> 4];
    piece[3] = digits[bytes.data[0] & 15];
    *ret_length = 4;
    return 1;
}

const char *rh_show(struct rh_bytes bytes, char *out, size_t out_size)
{
    static const char more[] = "...";
    if (out_size == 0)
        return "";
    size_t used = 0, cut = 0; /* cut: where "..." can still go */
    for (size_t at = 0; at < bytes.size;) {
        char piece[4];
        size_t length;
        at += show_one(rh_bytes(bytes.data + at, bytes.size - at), piece, &length);
        if (used + sizeof more <= out_size)
            cut = used;
        if (used + length + 1 > out_size) {
            size_t room = out_size - 1 - cut;
            memcpy(out + cut, more, room < 3 ? room : 3);
            used = cut + (room < 3 ? room : 3);
            break;
        }
        memcpy(out + used, piece, length);
        used += length;
    }
    out[used] = '\0';
    return out;
}
