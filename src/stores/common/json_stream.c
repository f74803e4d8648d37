/* SPDX-License-Identifier: Apache-2.0 */
/* The incremental JSON reader (json.h). Go's encoder writes a byte that isn't UTF-8 as the escape \ufffd, and a true
 * U+FFFD as itself; that is how the two are told apart. */
#include "json_stream.h"

void rh_json_init(struct rh_json *json, rh_json_take *take, void *user)
{
    *json = (struct rh_json){.take = take, .user = user};
}

static enum rh_status bad(struct rh_error *err, const char *why)
{
    return rh_fail(err, RH_E_CORRUPT, "the answer isn't JSON: %s", why);
}

/* Hands an event without text on. */
static enum rh_status emit(struct rh_json *json, enum rh_json_kind kind, struct rh_error *err)
{
    const struct rh_json_event event = {.kind = kind, .depth = json->depth};
    return json->take(json->user, &event, err);
}

static enum rh_status emit_text(struct rh_json *json, struct rh_bytes text, bool last, struct rh_error *err)
{
    const struct rh_json_event event = {.kind = RH_JSON_TEXT,
                                        .depth = json->depth,
                                        .text = text,
                                        .first = json->first,
                                        .last = last,
                                        .replaced = last && json->replaced};
    json->first = false;
    return json->take(json->user, &event, err);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* --- structure --- */

static enum rh_status open_one(struct rh_json *json, bool array, struct rh_error *err)
{
    if (json->depth == RH_JSON_DEPTH_MAX)
        return bad(err, "nested too deeply");
    json->in_array[json->depth++] = array;
    json->state = array ? RH_JSON_VALUE_OR_END : RH_JSON_NAME_OR_END;
    return emit(json, array ? RH_JSON_ARRAY : RH_JSON_OBJECT, err);
}

static enum rh_status close_one(struct rh_json *json, bool array, struct rh_error *err)
{
    if (!json->depth || json->in_array[json->depth - 1] != array)
        return bad(err, "a bracket that closes nothing");
    enum rh_status status = emit(json, array ? RH_JSON_ARRAY_END : RH_JSON_OBJECT_END, err);
    json->depth--;
    json->state = json->depth ? RH_JSON_AFTER : RH_JSON_COMPLETE;
    return status;
}

static void begin_string(struct rh_json *json, bool is_name)
{
    json->state = RH_JSON_STRING;
    json->is_name = is_name;
    json->first = true;
    json->replaced = false;
    json->high = 0;
    json->word_size = 0;
}

static enum rh_status begin_value(struct rh_json *json, uint8_t c, struct rh_error *err)
{
    if (c == '{' || c == '[')
        return open_one(json, c == '[', err);
    if (c == '"') {
        begin_string(json, false);
        return RH_OK;
    }
    if (c != '-' && (c < '0' || c > '9') && c != 't' && c != 'f' && c != 'n')
        return bad(err, "a value begins with a wrong character");
    json->state = RH_JSON_WORD;
    json->word[0] = (char)c;
    json->word_size = 1;
    return RH_OK;
}

/* One character between values. */
static enum rh_status between(struct rh_json *json, uint8_t c, struct rh_error *err)
{
    switch (json->state) {
    case RH_JSON_VALUE_OR_END:
        if (c == ']')
            return close_one(json, true, err);
        return begin_value(json, c, err);
    case RH_JSON_VALUE:
        return begin_value(json, c, err);
    case RH_JSON_NAME_OR_END:
    case RH_JSON_NAME_NEXT:
        if (c == '}' && json->state == RH_JSON_NAME_OR_END)
            return close_one(json, false, err);
        if (c != '"')
            return bad(err, "an object's member has no name");
        begin_string(json, true);
        return RH_OK;
    case RH_JSON_COLON:
        if (c != ':')
            return bad(err, "no colon behind a name");
        json->state = RH_JSON_VALUE;
        return RH_OK;
    case RH_JSON_AFTER:
        if (c == '}' || c == ']')
            return close_one(json, c == ']', err);
        if (c != ',')
            return bad(err, "no comma between values");
        json->state = json->in_array[json->depth - 1] ? RH_JSON_VALUE : RH_JSON_NAME_NEXT;
        return RH_OK;
    case RH_JSON_COMPLETE:
        return bad(err, "something behind its end");
    case RH_JSON_STRING:
    case RH_JSON_ESCAPE:
    case RH_JSON_UNICODE:
    case RH_JSON_WORD:
        break;
    }
    return rh_fail(err, RH_E_INTERNAL, "the JSON reader is in no state");
}

/* --- words: numbers and literals --- */

static size_t digits_at(const char *text, size_t size, size_t at)
{
    size_t from = at;
    while (at < size && text[at] >= '0' && text[at] <= '9')
        at++;
    return at - from;
}

/* RFC 8259's number. */
static bool is_number(const char *text, size_t size)
{
    size_t at = size && text[0] == '-', count = digits_at(text, size, at);
    if (!count || (count > 1 && text[at] == '0'))
        return false;
    at += count;
    if (at < size && text[at] == '.') {
        count = digits_at(text, size, at + 1);
        if (!count)
            return false;
        at += 1 + count;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        at += at < size && (text[at] == '+' || text[at] == '-');
        count = digits_at(text, size, at);
        if (!count)
            return false;
        at += count;
    }
    return at == size;
}

static enum rh_status end_word(struct rh_json *json, struct rh_error *err)
{
    struct rh_bytes word = rh_bytes(json->word, json->word_size);
    struct rh_json_event event = {.depth = json->depth, .text = word};
    if (is_number(json->word, json->word_size))
        event.kind = RH_JSON_NUMBER;
    else if (rh_bytes_equal(word, rh_bytes_text("true")))
        event.kind = RH_JSON_TRUE;
    else if (rh_bytes_equal(word, rh_bytes_text("false")))
        event.kind = RH_JSON_FALSE;
    else if (rh_bytes_equal(word, rh_bytes_text("null")))
        event.kind = RH_JSON_NULL;
    else
        return bad(err, "neither a number nor true, false or null");
    if (event.kind != RH_JSON_NUMBER)
        event.text = (struct rh_bytes){0};
    json->state = json->depth ? RH_JSON_AFTER : RH_JSON_COMPLETE;
    return json->take(json->user, &event, err);
}

/* --- strings --- */

/* A part of a string, escapes resolved. */
static enum rh_status string_part(struct rh_json *json, struct rh_bytes part, struct rh_error *err)
{
    if (!part.size)
        return RH_OK;
    if (!json->is_name)
        return emit_text(json, part, false, err);
    size_t room = sizeof json->word - json->word_size, some = part.size < room ? part.size : room;
    memcpy(json->word + json->word_size, part.data, some);
    json->word_size += some;
    return RH_OK;
}

static enum rh_status code_point(struct rh_json *json, uint32_t c, struct rh_error *err)
{
    uint8_t out[4];
    size_t size = 0;
    if (c < 0x80) {
        out[size++] = (uint8_t)c;
    } else if (c < 0x800) {
        out[size++] = (uint8_t)(0xc0 | c >> 6);
        out[size++] = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out[size++] = (uint8_t)(0xe0 | c >> 12);
        out[size++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[size++] = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        out[size++] = (uint8_t)(0xf0 | c >> 18);
        out[size++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        out[size++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[size++] = (uint8_t)(0x80 | (c & 0x3f));
    }
    return string_part(json, rh_bytes(out, size), err);
}

/* Half a surrogate pair that the other half doesn't follow. */
static enum rh_status flush_half(struct rh_json *json, struct rh_error *err)
{
    if (!json->high)
        return RH_OK;
    json->high = 0;
    json->replaced = true;
    return code_point(json, 0xfffd, err);
}

static enum rh_status end_string(struct rh_json *json, struct rh_error *err)
{
    enum rh_status status = flush_half(json, err);
    if (status)
        return status;
    if (!json->is_name) {
        json->state = json->depth ? RH_JSON_AFTER : RH_JSON_COMPLETE;
        return emit_text(json, rh_bytes("", 0), true, err);
    }
    json->state = RH_JSON_COLON;
    const struct rh_json_event event = {
        .kind = RH_JSON_NAME, .depth = json->depth, .text = rh_bytes(json->word, json->word_size)};
    return json->take(json->user, &event, err);
}

/* \uXXXX is complete. */
static enum rh_status end_unicode(struct rh_json *json, struct rh_error *err)
{
    uint32_t c = json->unicode;
    json->state = RH_JSON_STRING;
    if (c >= 0xdc00 && c < 0xe000 && json->high) {
        c = 0x10000 + ((json->high - 0xd800) << 10) + (c - 0xdc00);
        json->high = 0;
        return code_point(json, c, err);
    }
    enum rh_status status = flush_half(json, err);
    if (status)
        return status;
    if (c >= 0xd800 && c < 0xdc00) {
        json->high = c;
        return RH_OK;
    }
    if (c >= 0xdc00 && c < 0xe000)
        c = 0xfffd;
    if (c == 0xfffd)
        json->replaced = true;
    return code_point(json, c, err);
}

static enum rh_status escaped(struct rh_json *json, uint8_t c, struct rh_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        json->state = RH_JSON_UNICODE;
        json->unicode = 0;
        json->digits = 0;
        return RH_OK;
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return bad(err, "an escape that there isn't");
    json->state = RH_JSON_STRING;
    enum rh_status status = flush_half(json, err);
    return status ? status : string_part(json, rh_bytes(&to[found - from], 1), err);
}

static enum rh_status unicode_digit(struct rh_json *json, uint8_t c, struct rh_error *err)
{
    uint32_t value;
    if (c >= '0' && c <= '9')
        value = c - (uint32_t)'0';
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        value = (c | 0x20U) - (uint32_t)'a' + 10;
    else
        return bad(err, "a digit is missing behind \\u");
    json->unicode = json->unicode << 4 | value;
    return ++json->digits == 4 ? end_unicode(json, err) : RH_OK;
}

/* Plain characters of a string up to an escape, its end, or the end of the input. */
static enum rh_status string_run(struct rh_json *json, const uint8_t **at, const uint8_t *end, struct rh_error *err)
{
    const uint8_t *from = *at, *to = from;
    while (to < end && *to != '"' && *to != '\\' && *to >= 0x20)
        to++;
    *at = to;
    enum rh_status status = RH_OK;
    if (to > from)
        status = flush_half(json, err);
    if (!status)
        status = string_part(json, rh_bytes(from, (size_t)(to - from)), err);
    if (status || to == end)
        return status;
    *at = to + 1;
    if (*to == '"')
        return end_string(json, err);
    if (*to != '\\')
        return bad(err, "a control character inside a string");
    json->state = RH_JSON_ESCAPE;
    return RH_OK;
}

enum rh_status rh_json_feed(struct rh_json *json, struct rh_bytes bytes, struct rh_error *err)
{
    const uint8_t *at = bytes.data, *end = bytes.size ? at + bytes.size : at;
    enum rh_status status = RH_OK;
    while (!status && at < end) {
        uint8_t c = *at;
        switch (json->state) {
        case RH_JSON_STRING:
            status = string_run(json, &at, end, err);
            break;
        case RH_JSON_ESCAPE:
            at++;
            status = escaped(json, c, err);
            break;
        case RH_JSON_UNICODE:
            at++;
            status = unicode_digit(json, c, err);
            break;
        case RH_JSON_WORD:
            if (is_space(c) || c == ',' || c == ']' || c == '}') {
                status = end_word(json, err);
            } else if (json->word_size == sizeof json->word) {
                status = bad(err, "a number that is too long");
            } else {
                json->word[json->word_size++] = (char)c;
                at++;
            }
            break;
        case RH_JSON_VALUE:
        case RH_JSON_VALUE_OR_END:
        case RH_JSON_NAME_OR_END:
        case RH_JSON_NAME_NEXT:
        case RH_JSON_COLON:
        case RH_JSON_AFTER:
        case RH_JSON_COMPLETE:
            at++;
            status = is_space(c) ? RH_OK : between(json, c, err);
            break;
        }
    }
    return status;
}

enum rh_status rh_json_end(struct rh_json *json, struct rh_error *err)
{
    if (json->state == RH_JSON_COMPLETE)
        return RH_OK;
    if (json->state == RH_JSON_WORD && !json->depth)
        return end_word(json, err);
    return rh_fail(err, RH_E_CORRUPT, "the answer was cut: its JSON ends in the middle%s",
                   json->state == RH_JSON_STRING || json->state == RH_JSON_ESCAPE || json->state == RH_JSON_UNICODE
                       ? " of a string"
                       : "");
}

/* --- base64 --- */

/* Letters whose number is a multiple of four. */
static enum rh_status
decode_fours(struct rh_base64_in *base64, struct rh_bytes text, struct rh_buf *out, struct rh_error *err)
{
    if (!text.size)
        return RH_OK;
    size_t size = 0;
    enum rh_status status = rh_buf_reserve(out, text.size / 4 * 3, err);
    if (!status && (base64->padded || rh_base64_decode_into(out->data + out->size, &size, text)))
        status = rh_fail(err, RH_E_CORRUPT, "the answer's value isn't base64");
    if (status)
        return status;
    out->size += size;
    base64->padded = text.data[text.size - 1] == '=';
    return RH_OK;
}

enum rh_status
rh_base64_in_feed(struct rh_base64_in *base64, struct rh_bytes text, struct rh_buf *out, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    while (base64->carried && base64->carried < 4 && text.size) {
        base64->carry[base64->carried++] = *text.data;
        text = rh_bytes(text.data + 1, text.size - 1);
    }
    if (base64->carried == 4) {
        status = decode_fours(base64, rh_bytes(base64->carry, 4), out, err);
        base64->carried = 0;
    }
    size_t whole = text.size / 4 * 4;
    if (!status)
        status = decode_fours(base64, rh_bytes(text.data, whole), out, err);
    for (size_t i = whole; !status && i < text.size; i++)
        base64->carry[base64->carried++] = text.data[i];
    return status;
}

enum rh_status rh_base64_in_end(const struct rh_base64_in *base64, struct rh_error *err)
{
    return base64->carried ? rh_fail(err, RH_E_CORRUPT, "the answer's value isn't base64") : RH_OK;
}

/* --- writing --- */

enum rh_status rh_json_quote(struct rh_buf *out, struct rh_bytes text, struct rh_error *err)
{
    enum rh_status status = rh_buf_reserve(out, 6 * text.size + 2, err);
    if (status)
        return status;
    uint8_t *to = out->data + out->size;
    *to++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20) {
            static const char hex[] = "0123456789abcdef";
            memcpy(to, "\\u00", 4);
            to[4] = (uint8_t)hex[c >> 4];
            to[5] = (uint8_t)hex[c & 15];
            to += 6;
            continue;
        }
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = c;
    }
    *to++ = '"';
    out->size = (size_t)(to - out->data);
    return RH_OK;
}
