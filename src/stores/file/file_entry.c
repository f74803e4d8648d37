/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small strict JSON reader for one shape (file_entry.h). It is on the hot path of every scan, so it reads the text
 * once, in place, and takes no memory. Grammar: RFC 8259. Stricter than Go's decoder, which Vault uses: nothing may
 * follow the object, "Value" may come once only, and must be spelled so.
 */
#include "file_entry.h"

#define DEPTH_MAX 64

struct reader {
    uint8_t *at, *end;
    const char *reason; /* set on the first failure */
};

/* One JSON string without its quotes, still escaped. */
struct raw_text {
    uint8_t *data;
    size_t size;
    bool escaped;
};

/* Remembers the first reason; always false. */
static bool wrong(struct reader *in, const char *reason)
{
    if (!in->reason)
        in->reason = reason;
    return false;
}

/* The next byte that isn't white space, or 0 at the end (a NUL byte is no JSON either). */
static uint8_t peek(struct reader *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r'))
        in->at++;
    return in->at < in->end ? *in->at : 0;
}

/* Takes this byte after white space, or fails. */
static bool take(struct reader *in, uint8_t byte, const char *reason)
{
    if (peek(in) != byte || in->at == in->end)
        return wrong(in, reason);
    in->at++;
    return true;
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits of a \u escape; -1 when they aren't. */
static int hex_four(const uint8_t *at, const uint8_t *end)
{
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* A string with its quotes. */
static bool take_string(struct reader *in, struct raw_text *ret_text)
{
    if (!take(in, '"', "a string is missing"))
        return false;
    uint8_t *start = in->at;
    bool escaped = false;
    for (; in->at < in->end && *in->at != '"'; in->at++) {
        if (*in->at < 0x20)
            return wrong(in, "a string holds a control character");
        if (*in->at != '\\')
            continue;
        escaped = true;
        in->at++;
        if (in->at == in->end || *in->at == 0 || !strchr("\"\\/bfnrtu", *in->at))
            return wrong(in, "a string holds an unknown escape");
        if (*in->at == 'u' && hex_four(in->at + 1, in->end) < 0)
            return wrong(in, "a string holds an unknown escape");
    }
    if (in->at == in->end)
        return wrong(in, "it is cut off");
    *ret_text = (struct raw_text){.data = start, .size = (size_t)(in->at - start), .escaped = escaped};
    in->at++;
    return true;
}

/* The one byte that an escape stands for (take_string has checked it); moves *at behind it. What isn't ASCII, and
 * base64 and the name "Value" are, becomes 0xff. */
static uint8_t escape_byte(const uint8_t **at, const uint8_t *end)
{
    uint8_t letter = *(*at)++;
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u': {
        int value = hex_four(*at, end);
        *at += 4;
        return value >= 0 && value < 0x80 ? (uint8_t)value : 0xff;
    }
    default: /* quote, backslash, slash */
        return letter;
    }
}

/* Resolves the escapes in place. */
static struct rh_bytes unescape(struct raw_text text)
{
    if (!text.escaped)
        return rh_bytes(text.data, text.size);
    const uint8_t *from = text.data, *end = text.data + text.size;
    uint8_t *to = text.data;
    while (from < end) {
        uint8_t byte = *from++;
        *to++ = byte == '\\' ? escape_byte(&from, end) : byte;
    }
    return rh_bytes(text.data, (size_t)(to - text.data));
}

/* One of the words true, false, null. */
static bool take_word(struct reader *in, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size) != 0)
        return wrong(in, "it isn't JSON");
    in->at += size;
    return true;
}

/* At least one digit. */
static bool take_digits(struct reader *in)
{
    const uint8_t *start = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
        in->at++;
    return in->at > start || wrong(in, "a number is malformed");
}

static bool take_number(struct reader *in)
{
    if (in->at < in->end && *in->at == '-')
        in->at++;
    if (in->at < in->end && *in->at == '0')
        in->at++;
    else if (!take_digits(in))
        return false;
    if (in->at < in->end && *in->at == '.') {
        in->at++;
        if (!take_digits(in))
            return false;
    }
    if (in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        if (in->at < in->end && (*in->at == '+' || *in->at == '-'))
            in->at++;
        return take_digits(in);
    }
    return true;
}

static bool skip_value(struct reader *in, int depth);

/* The rest of an object or list after its opening bracket. */
static bool skip_items(struct reader *in, bool object, int depth)
{
    struct raw_text name;
    uint8_t close = object ? '}' : ']';
    if (peek(in) == close)
        return take(in, close, "it isn't JSON");
    for (;;) {
        if (object && (!take_string(in, &name) || !take(in, ':', "a colon is missing")))
            return false;
        if (!skip_value(in, depth + 1))
            return false;
        if (peek(in) == close)
            return take(in, close, "it isn't JSON");
        if (!take(in, ',', "a comma is missing"))
            return false;
    }
}

/* Any JSON value, of no interest. */
static bool skip_value(struct reader *in, int depth)
{
    struct raw_text text;
    if (depth > DEPTH_MAX)
        return wrong(in, "it is nested too deeply");
    switch (peek(in)) {
    case '"':
        return take_string(in, &text);
    case '{':
        in->at++;
        return skip_items(in, true, depth);
    case '[':
        in->at++;
        return skip_items(in, false, depth);
    case 't':
        return take_word(in, "true");
    case 'f':
        return take_word(in, "false");
    case 'n':
        return take_word(in, "null");
    default:
        return take_number(in);
    }
}

/* Whether the name is "Value"; another spelling of it, which Go would take for it, is refused. */
static bool name_is_value(struct reader *in, struct rh_bytes name, bool *ret_is)
{
    static const char want[] = "value";
    *ret_is = rh_bytes_equal(name, rh_bytes_text("Value"));
    if (*ret_is || name.size != 5)
        return true;
    for (size_t i = 0; i < 5; i++)
        if ((name.data[i] | 0x20) != want[i])
            return true;
    return wrong(in, "\"Value\" is spelled in another way");
}

/* One member; the value of "Value" goes to *value. */
static bool take_member(struct reader *in, struct rh_bytes *value, bool *seen)
{
    struct raw_text text;
    bool is_value;
    if (!take_string(in, &text) || !take(in, ':', "a colon is missing"))
        return false;
    if (!name_is_value(in, unescape(text), &is_value))
        return false;
    if (!is_value)
        return skip_value(in, 1);
    if (*seen)
        return wrong(in, "\"Value\" comes twice");
    *seen = true;
    if (peek(in) == 'n')
        return take_word(in, "null");
    if (peek(in) != '"')
        return wrong(in, "\"Value\" is neither a string nor null");
    if (!take_string(in, &text))
        return false;
    *value = unescape(text);
    return true;
}

/* The whole object, and nothing after it. */
static bool take_entry(struct reader *in, struct rh_bytes *value)
{
    bool seen = false;
    if (!take(in, '{', "it isn't a JSON object"))
        return false;
    if (peek(in) == '}')
        return wrong(in, "\"Value\" is missing");
    do {
        if (!take_member(in, value, &seen))
            return false;
    } while (peek(in) == ',' && take(in, ',', ""));
    if (!take(in, '}', "a comma or the closing brace is missing"))
        return false;
    if (peek(in) || in->at != in->end)
        return wrong(in, "something follows the object");
    return seen || wrong(in, "\"Value\" is missing");
}

enum rh_status rh_file_entry_parse(uint8_t *text, size_t size, struct rh_bytes *ret_base64, const char **ret_reason)
{
    static const uint8_t head[] = "{\"Value\":\"";
    struct reader in = {.at = text, .end = text ? text + size : text};
    struct rh_bytes value = {0};
    /* What Vault itself writes, in one look. */
    size_t fixed = sizeof(head) - 1;
    if (text && size >= fixed + 3 && memcmp(text, head, fixed) == 0 && memcmp(text + size - 3, "\"}\n", 3) == 0 &&
        !memchr(text + fixed, '"', size - fixed - 3) && !memchr(text + fixed, '\\', size - fixed - 3)) {
        *ret_base64 = rh_bytes(text + fixed, size - fixed - 3); /* base64 has a narrower alphabet than JSON */
        return RH_OK;
    }
    if (!take_entry(&in, &value)) {
        *ret_reason = in.reason ? in.reason : "it isn't JSON";
        return RH_E_CORRUPT;
    }
    *ret_base64 = value;
    return RH_OK;
}

enum rh_status rh_file_entry_add(struct rh_buf *out, const struct rh_field *field, struct rh_error *err)
{
    if (field->tag == RH_TAG_NULL)
        return rh_buf_text(out, "{\"Value\":null}\n", err);
    const struct rh_bytes value = field->value;
    size_t text_size = (value.size / 3 + 1) * 4;
    enum rh_status status = rh_buf_reserve(out, text_size + 16, err);
    if (status == RH_OK)
        status = rh_buf_text(out, "{\"Value\":\"", err);
    if (status != RH_OK)
        return status;
    out->size += rh_base64_encode_into((char *)out->data + out->size, value);
    return rh_buf_text(out, "\"}\n", err);
}

uint64_t rh_file_entry_bound(uint64_t file_bytes)
{
    const uint64_t least = sizeof("{\"Value\":\"\"}") - 1;
    return file_bytes > least ? (file_bytes - least) / 4 * 3 : 0;
}
