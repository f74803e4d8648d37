/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing component_keyring_file's data file. A reader of our own, since ids may hold bytes that are no
 * UTF-8, and since no byte of a key may get into memory that isn't wiped. It takes what the server takes: members in
 * any order, members that it doesn't know, the first of two with one name, hexadecimal in either case. What it writes
 * is byte for byte what a server writes.
 * Knowledge: MySQL 8.0.24 to 9.7, components/keyrings/common/json_data; files written by a 9.7.4 server.
 */
#include "json.h"

#include <rehome/base.h>

enum { DEPTH_MOST = 64 };
#define ID_MOST RH_KEYRING_PART_MOST

/* --- reading --- */

struct json {
    const uint8_t *start, *at, *end;
    bool lax; /* as the server reads: its keys are not to be had then, only whether it takes the file */
    struct rh_error *err;
};

/* What is wrong and where, without a byte of the content. */
static enum rh_status bad(const struct json *json, const char *what)
{
    return rh_fail(json->err, RH_E_CORRUPT, "%s at byte %zu", what, (size_t)(json->at - json->start));
}

static void skip_blanks(struct json *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r'))
        json->at++;
}

/* Takes this character, after blanks, if it comes next. */
static bool take(struct json *json, char wanted)
{
    skip_blanks(json);
    if (json->at == json->end || *json->at != (uint8_t)wanted)
        return false;
    json->at++;
    return true;
}

/* One more than the value of a hexadecimal digit; 0 for any other byte. */
static const uint8_t hex_plus_one[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* The value of a hexadecimal digit, or -1. */
static int hex_value(uint8_t digit)
{
    return hex_plus_one[digit] - 1;
}

/* Pairs of hexadecimal digits as bytes; false where one is something else. */
static bool hex_decode(const uint8_t *from, size_t pairs, uint8_t *out)
{
    bool fine = true;
    for (size_t i = 0; i < pairs; i++) {
        const unsigned high = hex_plus_one[from[2 * i]], low = hex_plus_one[from[2 * i + 1]];
        fine = fine & (high != 0) & (low != 0);
        out[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return fine;
}

/* The four digits of \uXXXX. */
static bool take_unit(struct json *json, uint32_t *ret_unit)
{
    uint32_t unit = 0;
    if (json->end - json->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        const int value = hex_value(json->at[i]);
        if (value < 0)
            return false;
        unit = unit << 4 | (uint32_t)value;
    }
    json->at += 4;
    *ret_unit = unit;
    return true;
}

/* A code point as UTF-8; returns the place after. */
static uint8_t *put_point(uint8_t *out, uint32_t point)
{
    if (point < 0x80) {
        *out++ = (uint8_t)point;
    } else if (point < 0x800) {
        *out++ = (uint8_t)(0xc0 | point >> 6);
        *out++ = (uint8_t)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        *out++ = (uint8_t)(0xe0 | point >> 12);
        *out++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (point & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | point >> 18);
        *out++ = (uint8_t)(0x80 | (point >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (point & 0x3f));
    }
    return out;
}

/* What follows \u, as UTF-8: never longer than what stood there. */
static enum rh_status take_point(struct json *json, uint8_t **out)
{
    uint32_t unit = 0, low = 0;
    if (!take_unit(json, &unit))
        return bad(json, "a \\u without four hexadecimal digits");
    if (unit >= 0xd800 && unit <= 0xdfff) {
        if (unit > 0xdbff || json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u')
            return bad(json, "half of a surrogate pair");
        json->at += 2;
        if (!take_unit(json, &low) || low < 0xdc00 || low > 0xdfff)
            return bad(json, "half of a surrogate pair");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = put_point(*out, unit);
    return RH_OK;
}

/* The byte that an escape other than \u means, or -1. */
static int escaped(uint8_t letter)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = letter ? strchr(from, letter) : NULL;
    return found ? to[found - from] : -1;
}

/* The string that begins behind its quote: its bytes without escapes go to `out`, which has room for as many as stand
 * there, or nowhere. */
static enum rh_status take_string(struct json *json, uint8_t *out, size_t *ret_size)
{
    uint8_t *const start = out, scratch[8];
    size_t size = 0;
    while (json->at < json->end && *json->at != '"') {
        uint8_t *to = start ? start + size : scratch;
        uint8_t *after = to;
        const uint8_t letter = *json->at;
        if (letter < 0x20)
            return bad(json, "a control character in a string");
        json->at++;
        if (letter != '\\') {
            *after++ = letter;
        } else if (json->at < json->end && *json->at == 'u') {
            json->at++;
            enum rh_status status = take_point(json, &after);
            if (status != RH_OK)
                return status;
        } else {
            const int byte = json->at < json->end ? escaped(*json->at) : -1;
            if (byte < 0)
                return bad(json, "an escape that JSON doesn't have");
            json->at++;
            *after++ = (uint8_t)byte;
        }
        size += (size_t)(after - to);
    }
    if (json->at == json->end)
        return bad(json, "a string without an end");
    json->at++;
    *ret_size = size;
    return RH_OK;
}

/* A string into the arena. */
static enum rh_status read_string(struct json *json, struct rh_arena *arena, struct rh_bytes *ret)
{
    if (!take(json, '"'))
        return bad(json, "no string where one belongs");
    /* its end, to know how much room it takes at most */
    const uint8_t *end = json->at;
    while (end < json->end && *end != '"')
        end += *end == '\\' && end + 1 < json->end ? 2 : 1;
    uint8_t *out = rh_arena_get(arena, (size_t)(end - json->at));
    size_t size = 0;
    if (!out)
        return rh_fail_memory(json->err);
    enum rh_status status = take_string(json, out, &size);
    if (status == RH_OK)
        *ret = rh_bytes(out, size);
    return status;
}

/* A string of hexadecimal digits, as bytes into the arena. */
static enum rh_status read_hex(struct json *json, struct rh_arena *arena, struct rh_bytes *ret)
{
    size_t size = 0;
    if (!take(json, '"'))
        return bad(json, "no string where one belongs");
    if (json->lax)
        return take_string(json, NULL, &size);
    const uint8_t *from = json->at, *quote = memchr(from, '"', (size_t)(json->end - from));
    const size_t digits = (size_t)((quote ? quote : json->end) - from);
    uint8_t *out = rh_arena_get(arena, digits / 2);
    if (!out)
        return rh_fail_memory(json->err);
    if (!quote || digits % 2 || !hex_decode(from, digits / 2, out)) {
        while (json->at < json->end && hex_value(*json->at) >= 0)
            json->at++;
        return bad(json, "a key's data that isn't pairs of hexadecimal digits");
    }
    json->at = quote + 1;
    *ret = rh_bytes(out, digits / 2);
    return RH_OK;
}

/* --- values that nobody looks at --- */

/* Digits; how many. */
static size_t take_digits(struct json *json)
{
    const uint8_t *from = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
        json->at++;
    return (size_t)(json->at - from);
}

static enum rh_status skip_number(struct json *json)
{
    if (json->at < json->end && *json->at == '-')
        json->at++;
    const bool zero = json->at < json->end && *json->at == '0';
    const size_t whole = take_digits(json);
    bool fine = whole > 0 && !(zero && whole > 1);
    if (fine && json->at < json->end && *json->at == '.') {
        json->at++;
        fine = take_digits(json) > 0;
    }
    if (fine && json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-'))
            json->at++;
        fine = take_digits(json) > 0;
    }
    return fine ? RH_OK : bad(json, "no value where one belongs");
}

/* One of JSON's three words, or a number. */
static enum rh_status skip_word(struct json *json)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t size = strlen(words[i]);
        if ((size_t)(json->end - json->at) >= size && memcmp(json->at, words[i], size) == 0) {
            json->at += size;
            return RH_OK;
        }
    }
    return skip_number(json);
}

/* Any value, with all that is in it. */
static enum rh_status skip_value(struct json *json)
{
    char open[DEPTH_MOST];
    size_t depth = 0, size;
    for (;;) {
        enum rh_status status = RH_OK;
        bool opened = false;
        if (depth > 0 && open[depth - 1] == '}') {
            if (!take(json, '"'))
                return bad(json, "no member's name where one belongs");
            status = take_string(json, NULL, &size);
            if (status == RH_OK && !take(json, ':'))
                return bad(json, "no colon where one belongs");
        }
        if (status == RH_OK && take(json, '"'))
            status = take_string(json, NULL, &size);
        else if (status == RH_OK && (take(json, '{') || take(json, '['))) {
            if (depth == DEPTH_MOST)
                return bad(json, "values nested too deep");
            open[depth++] = json->at[-1] == '{' ? '}' : ']';
            opened = true;
        } else if (status == RH_OK)
            status = skip_word(json);
        if (status != RH_OK)
            return status;
        /* what may follow a value, up to the one that comes next */
        while (depth > 0 && take(json, open[depth - 1])) {
            depth--;
            opened = false;
        }
        if (depth == 0)
            return RH_OK;
        if (!opened && !take(json, ','))
            return bad(json, "no comma or end where one belongs");
    }
}

/* --- the data file --- */

/* A member's name, up to its colon. Long ones are none that we know: the rest is passed over. */
static enum rh_status read_name(struct json *json, struct rh_arena *scratch, struct rh_bytes *ret_name)
{
    enum rh_status status = read_string(json, scratch, ret_name);
    if (status == RH_OK && !take(json, ':'))
        return bad(json, "no colon where one belongs");
    return status;
}

/* Calls `member` with each of an object's members, behind its brace. */
static enum rh_status each_member(struct json *json,
                                  struct rh_arena *arena,
                                  enum rh_status (*member)(struct json *json, struct rh_bytes name, void *user),
                                  void *user)
{
    if (take(json, '}'))
        return RH_OK;
    do {
        struct rh_bytes name = {0};
        enum rh_status status = read_name(json, arena, &name);
        if (status == RH_OK)
            status = member(json, name, user);
        if (status != RH_OK)
            return status;
    } while (take(json, ','));
    return take(json, '}') ? RH_OK : bad(json, "no comma or brace where one belongs");
}

enum element_member { USER, DATA_ID, DATA_TYPE, DATA, EXTENSION, ELEMENT_MEMBERS };

struct element {
    struct rh_arena *arena, *names;
    struct rh_bytes values[ELEMENT_MEMBERS];
    bool have[ELEMENT_MEMBERS];
};

/* One member of a key: the first of each name counts, as with the server, but each must be of its type. */
static enum rh_status read_element_member(struct json *json, struct rh_bytes name, void *user)
{
    static const char *const names[] = {"user", "data_id", "data_type", "data", "extension"};
    struct element *element = user;
    size_t which = 0;
    while (which < ELEMENT_MEMBERS && !rh_bytes_equal(name, rh_bytes_text(names[which])))
        which++;
    if (which == ELEMENT_MEMBERS)
        return skip_value(json);
    struct rh_bytes value = {0};
    enum rh_status status;
    if (which == EXTENSION) {
        skip_blanks(json);
        if (json->at == json->end || *json->at != '[')
            return bad(json, "an 'extension' that is no array");
        status = skip_value(json);
    } else
        status = which == DATA ? read_hex(json, element->arena, &value) : read_string(json, element->arena, &value);
    if (status == RH_OK && !element->have[which])
        element->values[which] = value;
    element->have[which] = true;
    return status;
}

struct file {
    struct keyring_set *set;
    struct rh_arena names; /* of members */
    bool version, elements;
};

/* One key. */
static enum rh_status read_element(struct json *json, struct file *file)
{
    struct element element = {.arena = &file->set->arena, .names = &file->names};
    const struct rh_bytes *values = element.values;
    if (!take(json, '{'))
        return bad(json, "an element that is no object");
    enum rh_status status = each_member(json, &file->names, read_element_member, &element);
    for (size_t i = 0; status == RH_OK && i < ELEMENT_MEMBERS; i++)
        if (!element.have[i])
            return bad(json, "an element without one of user, data_id, data_type, data and extension");
    if (json->lax)
        return status;
    if (status == RH_OK && values[DATA_TYPE].size == 0)
        return bad(json, "a key without a type");
    if (status == RH_OK && values[DATA_ID].size == 0 && values[USER].size == 0)
        return bad(json, "a key without id and owner");
    if (status == RH_OK && (values[DATA_ID].size > ID_MOST || values[USER].size > ID_MOST))
        return bad(json, "an id or owner of more than 65,535 bytes");
    return status == RH_OK
               ? keyring_set_add(file->set, values[USER], values[DATA_ID], values[DATA_TYPE], values[DATA], json->err)
               : status;
}

static enum rh_status read_elements(struct json *json, struct file *file)
{
    if (!take(json, '['))
        return bad(json, "'elements' is no array");
    if (take(json, ']'))
        return RH_OK;
    do {
        rh_arena_clear(&file->names);
        enum rh_status status = read_element(json, file);
        if (status != RH_OK)
            return status;
    } while (take(json, ','));
    return take(json, ']') ? RH_OK : bad(json, "no comma or bracket where one belongs");
}

bool component_keyring_begins(struct rh_bytes head)
{
    static const char *const members[] = {"\"version\"", "\"elements\""};
    struct json json = {.start = head.data, .at = head.data, .end = head.data + head.size};
    if (!take(&json, '{'))
        return false;
    skip_blanks(&json);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (rh_bytes_starts(rh_bytes(json.at, (size_t)(json.end - json.at)), rh_bytes_text(members[i])))
            return true;
    return false;
}

/* One member of the file. The version's value is looked at by nobody, but it is a string. */
static enum rh_status read_file_member(struct json *json, struct rh_bytes name, void *user)
{
    struct file *file = user;
    if (rh_bytes_equal(name, rh_bytes_text("version"))) {
        skip_blanks(json);
        if (json->at == json->end || *json->at != '"')
            return bad(json, "a 'version' that is no string");
        file->version = true;
        return skip_value(json);
    }
    if (!rh_bytes_equal(name, rh_bytes_text("elements")))
        return skip_value(json);
    if (file->elements && !json->lax) /* whichever of the two a server would take: nobody wrote this */
        return bad(json, "'elements' given twice");
    file->elements = true;
    return read_elements(json, file);
}

/* All of the file. */
static enum rh_status parse(struct json *json, struct keyring_set *set)
{
    struct file file = {.set = set, .names = {.secret = true}};
    enum rh_status status = RH_OK;
    if (!take(json, '{'))
        status = bad(json, "no JSON object");
    if (status == RH_OK)
        status = each_member(json, &file.names, read_file_member, &file);
    skip_blanks(json);
    const bool ended = json->at == json->end || (json->lax && *json->at == '\0'); /* text ends there to a server */
    if (status == RH_OK && !ended)
        status = bad(json, "something behind the JSON object");
    if (status == RH_OK && !(file.version && file.elements))
        status = rh_fail(json->err, RH_E_CORRUPT, "no 'version' or no 'elements' in it");
    rh_arena_done(&file.names);
    return status;
}

/* The server copies any .backup over its file; it is the keystore from then on if it can be read as laxly as a server
 * reads. */
static bool component_backup_taken(struct rh_bytes content)
{
    struct keyring_set unused = KEYRING_SET_INIT;
    struct rh_error why = {0};
    struct json json = {
        .start = content.data, .at = content.data, .end = content.data + content.size, .lax = true, .err = &why};
    const bool taken = parse(&json, &unused) == RH_OK;
    keyring_set_done(&unused);
    return taken;
}

static enum rh_status component_parse(const struct keyring_store *store,
                                      int fd,
                                      struct rh_bytes content,
                                      struct keyring_set *set,
                                      struct keyring_shape *ret_shape,
                                      struct rh_error *err)
{
    struct json json = {.start = content.data, .at = content.data, .end = content.data + content.size, .err = err};
    (void)store;
    (void)fd;
    (void)ret_shape;
    return parse(&json, set);
}

/* --- writing --- */

#define FILE_HEAD "{\"version\":\"1.0\",\"elements\":["
#define FILE_TAIL "]}"
static const char hex_digits[] = "0123456789ABCDEF";

static uint8_t *put_text(uint8_t *out, const char *text)
{
    const size_t size = strlen(text);
    memcpy(out, text, size);
    return out + size;
}

/* A string with its quotes; the server escapes quote, backslash and control characters, and nothing else. */
static uint8_t *put_string(uint8_t *out, struct rh_bytes value)
{
    *out++ = '"';
    for (size_t i = 0; i < value.size; i++) {
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        const uint8_t letter = value.data[i];
        const char *found = letter ? strchr(from, letter) : NULL;
        if (found) {
            *out++ = '\\';
            *out++ = (uint8_t)to[found - from];
        } else if (letter < 0x20) {
            out = put_text(out, "\\u00");
            *out++ = (uint8_t)hex_digits[letter >> 4];
            *out++ = (uint8_t)hex_digits[letter & 15];
        } else
            *out++ = letter;
    }
    *out++ = '"';
    return out;
}

static uint8_t *put_hex(uint8_t *out, struct rh_bytes value)
{
    for (size_t i = 0; i < value.size; i++) {
        *out++ = (uint8_t)hex_digits[value.data[i] >> 4];
        *out++ = (uint8_t)hex_digits[value.data[i] & 15];
    }
    return out;
}

/* One key. */
static uint8_t *put_element(uint8_t *out, const struct keyring_entry *entry)
{
    struct rh_bytes owner = {0}, id = {0};
    rh_ignore(rh_keyring_key_split(entry->key, &owner, &id)); /* it was read or checked as one */
    out = put_string(put_text(out, "{\"user\":"), owner);
    out = put_string(put_text(out, ",\"data_id\":"), id);
    out = put_string(put_text(out, ",\"data_type\":"), entry->type);
    out = put_hex(put_text(out, ",\"data\":\""), entry->data);
    return put_text(out, "\",\"extension\":[]}");
}

/* Most bytes that they can take. */
static size_t room_for(const struct keyring_entry *entries, size_t count)
{
    size_t room = sizeof FILE_HEAD FILE_TAIL;
    for (size_t i = 0; i < count; i++)
        room += 96 + 6 * (entries[i].key.size + entries[i].type.size) + 2 * entries[i].data.size;
    return room;
}

static enum rh_status component_compose(const struct keyring_store *store,
                                        int fd,
                                        const struct keyring_entry *entries,
                                        size_t count,
                                        const struct keyring_shape *shape,
                                        struct rh_error *err)
{
    struct rh_arena arena = {.secret = true};
    uint8_t *text = rh_arena_get(&arena, room_for(entries, count)), *at = text;
    (void)store;
    (void)shape;
    if (!text)
        return rh_fail_memory(err);
    at = put_text(at, FILE_HEAD);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *at++ = ',';
        at = put_element(at, &entries[i]);
    }
    at = put_text(at, FILE_TAIL);
    enum rh_status status = rh_write_all(fd, rh_bytes(text, (size_t)(at - text)), err);
    rh_arena_done(&arena);
    return status;
}

/* What a server could hold and would give back. */
static enum rh_status component_fits(const struct keyring_store *store,
                                     const struct keyring_shape *shape,
                                     struct rh_bytes owner,
                                     struct rh_bytes id,
                                     const struct rh_bytes *type,
                                     const struct rh_bytes *data,
                                     struct rh_error *err)
{
    (void)store;
    (void)shape;
    if (id.size == 0)
        return rh_fail(err, RH_E_LIMIT, "its id is empty, which a server can't ask for");
    if (memchr(id.data, 0, id.size) || (owner.size && memchr(owner.data, 0, owner.size)))
        return rh_fail(err, RH_E_LIMIT, "its id or owner holds a zero byte, with which the component tells them apart");
    if (type && (type->size == 0 || memchr(type->data, 0, type->size)))
        return rh_fail(err, RH_E_LIMIT, "its type is empty or holds a zero byte");
    if (data && data->size > KEYRING_DATA_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and the component gives back at most %d", data->size,
                       KEYRING_DATA_MOST);
    return RH_OK;
}

const struct keyring_format component_keyring_format = {
    .product = "component_keyring_file",
    .backup = KEYRING_BACKUP_NEW,
    .parse = component_parse,
    .backup_taken = component_backup_taken,
    .compose = component_compose,
    .fits = component_fits,
};
