/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing the key file. A file that is written again keeps its comments and its lines; only a key line that
 * a later one of the same number makes void goes. Knowledge: MariaDB 10.11, plugin/file_key_management/parser.cc.
 */
#include "text.h"

#include <rehome/base.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* --- lines --- */

struct line {
    const uint8_t *start;
    size_t size;         /* with its newline */
    uint32_t number;     /* 0: a comment or blank */
    struct rh_bytes hex; /* of the key */
    bool is_void;        /* a later line has the same number */
};
struct lines {
    struct line *lines;
    size_t count, capacity, voided;
};

static void lines_done(struct lines *lines)
{
    free(lines->lines);
}
#define auto_lines __attribute__((cleanup(lines_done)))

/* As the server's C locale has it; never a byte from 0x80 up. */
static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\n');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Never shows what stands there: it may be of a key. */
static enum rh_status
bad_line(const struct line *line, size_t number, const uint8_t *at, const char *words, struct rh_error *err)
{
    return rh_fail(err, RH_E_CORRUPT, "line %zu, column %zu: %s", number, (size_t)(at - line->start) + 1, words);
}

/* A key line from its number on. `end` is that of the line without its newline. */
static enum rh_status
take_key(struct line *line, size_t at_line, const uint8_t *at, const uint8_t *end, struct rh_error *err)
{
    uint64_t number = 0;
    if (!is_digit(*at))
        return bad_line(line, at_line, at, "neither a key nor a comment", err);
    for (; at < end && is_digit(*at) && number <= UINT32_MAX; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    if (number < 1 || number > UINT32_MAX)
        return bad_line(line, at_line, at, "a key's number is one of 1 to 4294967295", err);
    if (at == end || *at != ';')
        return bad_line(line, at_line, at, "no ';' behind a key's number", err);
    const uint8_t *const hex = ++at;
    while (at < end && is_hex(*at))
        at++;
    const size_t digits = (size_t)(at - hex);
    if (digits % 2 || !mariadb_is_length(digits / 2))
        return bad_line(line, at_line, hex, "a key has 32, 48 or 64 hexadecimal digits", err);
    line->number = (uint32_t)number;
    line->hex = rh_bytes(hex, digits);
    return RH_OK;
}

/* The line at the start of `rest`. */
static enum rh_status get_line(struct rh_bytes rest, size_t at_line, struct line *ret_line, struct rh_error *err)
{
    const uint8_t *end = rest.data, *const behind = rest.data + rest.size;
    /* byte by byte: memchr would leave the last key in the processor's wide registers */
    while (end < behind && *end && *end != '\n')
        end++;
    const bool newline = end < behind && *end == '\n';
    struct line line = {.start = rest.data, .size = (size_t)(end - rest.data) + newline};
    if (end < behind && !*end)
        return bad_line(&line, at_line, end, "a zero byte, where a server stops reading", err);
    const uint8_t *at = line.start;
    while (at < end && is_blank(*at))
        at++;
    if (at == end && !newline)
        return bad_line(&line, at_line, at, "blanks at the end without a newline, which a server refuses", err);
    enum rh_status status = RH_OK;
    if (at < end && *at != '#')
        status = take_key(&line, at_line, at, end, err);
    if (status == RH_OK)
        *ret_line = line;
    return status;
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *const *left = a, *const *right = b;
    if ((*left)->number != (*right)->number)
        return (*left)->number < (*right)->number ? -1 : 1;
    return (*left)->start < (*right)->start ? -1 : 1;
}

/* Marks the lines that a later one makes void. */
static enum rh_status find_void(struct lines *lines, struct rh_error *err)
{
    rh_auto_free struct line **sorted = calloc(lines->count ? lines->count : 1, sizeof *sorted);
    if (!sorted)
        return rh_fail_memory(err);
    for (size_t i = 0; i < lines->count; i++)
        sorted[i] = &lines->lines[i];
    qsort(sorted, lines->count, sizeof *sorted, compare_lines);
    for (size_t i = 1; i < lines->count; i++)
        if (sorted[i]->number && sorted[i]->number == sorted[i - 1]->number) {
            sorted[i - 1]->is_void = true;
            lines->voided++;
        }
    return RH_OK;
}

/* All lines of a clear text. */
static enum rh_status scan(struct rh_bytes text, struct lines *lines, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    while (status == RH_OK && text.size) {
        if (lines->count == lines->capacity) {
            const size_t capacity = lines->capacity ? lines->capacity * 2 : 64;
            struct line *grown = reallocarray(lines->lines, capacity, sizeof *grown);
            if (!grown)
                return rh_fail_memory(err);
            lines->lines = grown;
            lines->capacity = capacity;
        }
        struct line *line = &lines->lines[lines->count];
        status = get_line(text, lines->count + 1, line, err);
        if (status != RH_OK)
            return status;
        text = rh_bytes(text.data + line->size, text.size - line->size);
        lines->count++;
    }
    return find_void(lines, err);
}

/* --- reading --- */

static uint8_t nibble(uint8_t c)
{
    return (uint8_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* One key line as a key of the set. */
static enum rh_status take_line(const struct line *line,
                                const struct mariadb_names *names,
                                struct keyring_set *set,
                                struct rh_buf *id,
                                struct rh_error *err)
{
    const size_t size = line->hex.size / 2;
    uint8_t *data = rh_arena_get(&set->arena, size);
    if (!data)
        return rh_fail_memory(err);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(nibble(line->hex.data[2 * i]) << 4 | nibble(line->hex.data[2 * i + 1]));
    enum rh_status status = mariadb_name_of(names, line->number, id, err);
    return status == RH_OK ? keyring_set_add(set, (struct rh_bytes){0}, rh_buf_bytes(id),
                                             rh_bytes_text(MARIADB_KEY_TYPE), rh_bytes(data, size), err)
                           : status;
}

/* Says once that some lines don't count. */
static void tell_void(const struct keyring_store *store, size_t count)
{
    struct mariadb_file *own = store->own;
    char text[24];
    if (count == 0 || atomic_exchange(&own->told, true))
        return;
    snprintf(text, sizeof text, "%zu", count);
    rh_log(RH_LOG_WARN, "a number stands in the key file more than once: the last line counts, as for the server",
           {"path", store->path}, {"void", text});
}

/* The keys of a clear text. */
static enum rh_status
parse_text(const struct keyring_store *store, struct rh_bytes text, struct keyring_set *set, struct rh_error *err)
{
    const struct mariadb_file *own = store->own;
    auto_lines struct lines lines = {0};
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    bool has_system_key = false;
    enum rh_status status = scan(text, &lines, err);
    for (size_t i = 0; status == RH_OK && i < lines.count; i++) {
        const struct line *line = &lines.lines[i];
        if (!line->number || line->is_void)
            continue;
        has_system_key = has_system_key || line->number == MARIADB_SYSTEM_KEY;
        status = take_line(line, own->names, set, &id, err);
    }
    if (status == RH_OK && !has_system_key)
        status = rh_fail(err, RH_E_CORRUPT, "key 1 is missing, without which a server refuses the file");
    if (status == RH_OK)
        tell_void(store, lines.voided);
    return status;
}

/* The file as clear text; one that is encrypted goes into the set's memory. */
static enum rh_status clear_text(const struct cipher *cipher,
                                 struct rh_bytes content,
                                 struct rh_arena *arena,
                                 struct rh_bytes *ret_text,
                                 struct rh_error *err)
{
    const bool encrypted = cipher_is_encrypted(content);
    if (encrypted && !cipher->filekey) {
        rh_fail(err, RH_E_REFUSED, "it is encrypted, and no filekey is given");
        rh_error_hint(err, "give the server's file_key_management_filekey: filekey = \"FILE:/path\"");
        return RH_E_REFUSED;
    }
    if (!encrypted && cipher->filekey) {
        rh_fail(err, RH_E_REFUSED, "it isn't encrypted, and a filekey is given, with which a server refuses it");
        rh_error_hint(err, "leave filekey out; to get an encrypted file move the keys to another one");
        return RH_E_REFUSED;
    }
    if (encrypted)
        return cipher_open(cipher, content, arena, ret_text, err);
    *ret_text = rh_arena_copy(arena, content); /* a rewrite wants it, and `content` goes before that */
    return ret_text->data || !content.size ? RH_OK : rh_fail_memory(err);
}

static enum rh_status mariadb_parse(const struct keyring_store *store,
                                    int fd,
                                    struct rh_bytes content,
                                    struct keyring_set *set,
                                    struct keyring_shape *ret_shape,
                                    struct rh_error *err)
{
    const struct mariadb_file *own = store->own;
    struct rh_bytes text = {0};
    (void)fd;
    if (content.size == 0 && store->side == RH_SIDE_DESTINATION)
        return RH_OK; /* to be filled */
    if (content.size > MARIADB_FILE_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and a server reads only the first %d of it", content.size,
                       MARIADB_FILE_MOST);
    enum rh_status status = clear_text(&own->cipher, content, &set->arena, &text, err);
    if (status == RH_OK) {
        status = parse_text(store, text, set, err);
        if (status == RH_E_CORRUPT && own->cipher.filekey)
            rh_error_hint(err, "if the filekey isn't this file's, it decrypts to nonsense: nothing in it tells");
    }
    if (status == RH_OK)
        ret_shape->text = text;
    return status;
}

/* --- writing --- */

/* The entries by their numbers. */
struct numbered {
    uint32_t number;
    bool written;
    const struct keyring_entry *entry;
};

static int compare_numbered(const void *a, const void *b)
{
    const struct numbered *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

static enum rh_status number_all(const struct mariadb_names *names,
                                 const struct keyring_entry *entries,
                                 size_t count,
                                 struct numbered *out,
                                 struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < count; i++) {
        struct rh_bytes owner, id;
        out[i].entry = &entries[i];
        if (rh_keyring_key_split(entries[i].key, &owner, &id) != RH_OK)
            return rh_fail(err, RH_E_INTERNAL, "a key that is none");
        status = mariadb_key_fits(names, owner, id, &entries[i].type, &entries[i].data, err);
        if (status == RH_OK)
            status = mariadb_number_of(names, owner, id, &out[i].number, err);
        if (status == RH_E_LIMIT)
            rh_error_prepend(err, "%s", RH_SHOW_KEY(entries[i].key));
    }
    if (status == RH_OK)
        qsort(out, count, sizeof *out, compare_numbered);
    return status;
}

static struct numbered *find_number(struct numbered *all, size_t count, uint32_t number)
{
    const struct numbered wanted = {.number = number};
    return count ? bsearch(&wanted, all, count, sizeof wanted, compare_numbered) : NULL;
}

/* "7;00ff..."; `out` has room. */
static uint8_t *put_key(uint8_t *out, const struct numbered *key)
{
    static const char digits[] = "0123456789abcdef";
    char number[MARIADB_NUMBER_TEXT + 1];
    const int size = snprintf(number, sizeof number, "%" PRIu32 ";", key->number);
    memcpy(out, number, (size_t)size);
    out += size;
    for (size_t i = 0; i < key->entry->data.size; i++) {
        *out++ = (uint8_t)digits[key->entry->data.data[i] >> 4];
        *out++ = (uint8_t)digits[key->entry->data.data[i] & 15];
    }
    return out;
}

/* Whether a line's digits are this key. */
static bool is_same(const struct line *line, struct rh_bytes data)
{
    uint8_t differ = 0;
    if (line->hex.size != data.size * 2)
        return false;
    for (size_t i = 0; i < data.size; i++)
        differ |= (uint8_t)((nibble(line->hex.data[2 * i]) << 4 | nibble(line->hex.data[2 * i + 1])) ^ data.data[i]);
    return differ == 0;
}

/* A line of the old file, with the key that it has now; one that was void goes. What stands behind a key stays. */
static uint8_t *put_line(uint8_t *out, const struct line *line, struct numbered *key)
{
    const uint8_t *from = line->start;
    const uint8_t *const end = line->start + line->size;
    if (line->number && (line->is_void || !key))
        return out;
    if (key && !is_same(line, key->entry->data)) {
        out = put_key(out, key);
        from = line->hex.data + line->hex.size;
    }
    if (key)
        key->written = true;
    memcpy(out, from, (size_t)(end - from));
    return out + (end - from);
}

/* The clear text of the new file into `out`, which has room. `numbered` is in the order of the numbers. */
static enum rh_status write_text(
    struct rh_bytes old, struct numbered *numbered, size_t count, uint8_t *out, size_t *ret_size, struct rh_error *err)
{
    auto_lines struct lines lines = {0};
    uint8_t *at = out;
    enum rh_status status = scan(old, &lines, err);
    if (status != RH_OK)
        return status;
    for (size_t i = 0; i < lines.count; i++) {
        const struct line *line = &lines.lines[i];
        at = put_line(at, line, line->number ? find_number(numbered, count, line->number) : NULL);
    }
    /* new ones in the order of their numbers */
    for (size_t i = 0; i < count; i++) {
        if (numbered[i].written)
            continue;
        if (at > out && at[-1] != '\n')
            *at++ = '\n';
        at = put_key(at, &numbered[i]);
        *at++ = '\n';
    }
    *ret_size = (size_t)(at - out);
    return RH_OK;
}

/* Refuses a file without a key that the server's tablespaces need. */
static enum rh_status
check_needed(const struct mariadb_samples *samples, struct numbered *numbered, size_t count, struct rh_error *err)
{
    for (size_t i = 0; i < samples->count; i++)
        if (!find_number(numbered, count, samples->samples[i].number))
            return rh_fail(err, RH_E_REFUSED,
                           "the server's tablespace '%s' needs key %" PRIu32 ", and there would be none",
                           RH_SHOW(rh_bytes_text(samples->samples[i].name)), samples->samples[i].number);
    return RH_OK;
}

/* The clear text of the new file, in the arena. */
static enum rh_status compose_text(const struct mariadb_file *own,
                                   const struct keyring_entry *entries,
                                   size_t count,
                                   struct rh_bytes old,
                                   struct rh_arena *arena,
                                   struct rh_bytes *ret_text,
                                   struct rh_error *err)
{
    enum { LINE_MOST = MARIADB_NUMBER_TEXT + 1 + 2 * MARIADB_KEY_MOST + 1 };
    rh_auto_free struct numbered *numbered = calloc(count ? count : 1, sizeof *numbered);
    uint8_t *out = rh_arena_get(arena, old.size + 1 + count * LINE_MOST);
    size_t size = 0;
    if (!numbered || !out)
        return rh_fail_memory(err);
    enum rh_status status = number_all(own->names, entries, count, numbered, err);
    if (status == RH_OK && !find_number(numbered, count, MARIADB_SYSTEM_KEY)) {
        rh_fail(err, RH_E_REFUSED, "there would be no key 1, without which no MariaDB server starts");
        rh_error_hint(err, "move the key that is to have number 1, too, or give that number to one by 'map'");
        return RH_E_REFUSED;
    }
    if (status == RH_OK)
        status = check_needed(&own->samples, numbered, count, err);
    if (status == RH_OK)
        status = write_text(old, numbered, count, out, &size, err);
    if (status == RH_OK)
        *ret_text = rh_bytes(out, size);
    return status;
}

static enum rh_status mariadb_compose(const struct keyring_store *store,
                                      int fd,
                                      const struct keyring_entry *entries,
                                      size_t count,
                                      const struct keyring_shape *shape,
                                      struct rh_error *err)
{
    const struct mariadb_file *own = store->own;
    struct rh_arena arena = {.secret = true};
    struct rh_bytes content = {0};
    enum rh_status status =
        compose_text(own, entries, count, shape ? shape->text : (struct rh_bytes){0}, &arena, &content, err);
    if (status == RH_OK && own->cipher.filekey)
        status = cipher_seal(&own->cipher, content, &arena, &content, err);
    if (status == RH_OK && content.size > MARIADB_FILE_MOST)
        status =
            rh_fail(err, RH_E_LIMIT, "the key file would have %zu bytes, and a server reads only the first %d of it",
                    content.size, MARIADB_FILE_MOST);
    if (status == RH_OK)
        status = rh_write_all(fd, content, err);
    rh_arena_done(&arena);
    return status;
}

static enum rh_status mariadb_fits(const struct keyring_store *store,
                                   const struct keyring_shape *shape,
                                   struct rh_bytes owner,
                                   struct rh_bytes id,
                                   const struct rh_bytes *type,
                                   const struct rh_bytes *data,
                                   struct rh_error *err)
{
    const struct mariadb_file *own = store->own;
    uint32_t number = 0;
    (void)shape;
    enum rh_status status = mariadb_key_fits(own->names, owner, id, type, data, err);
    if (status == RH_OK && data)
        status = mariadb_number_of(own->names, owner, id, &number, err);
    return status == RH_OK && data ? mariadb_samples_try(&own->samples, number, *data, false, err) : status;
}

bool mariadb_file_begins(struct rh_bytes head)
{
    const uint8_t *at = head.data;
    if (cipher_is_encrypted(head))
        return true;
    if (head.size == 0)
        return false;
    const uint8_t *const end = head.data + head.size;
    while (at < end && *at == '#') { /* comments that are short enough */
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline ? newline + 1 : end;
    }
    while (at < end && (is_blank(*at) || *at == '\n'))
        at++;
    const uint8_t *const number = at;
    while (at < end && is_digit(*at))
        at++;
    if (at == number || at == end || *at++ != ';')
        return false;
    const uint8_t *const hex = at;
    while (at < end && is_hex(*at))
        at++;
    return at == end && at > hex;
}

void mariadb_file_free(void *file)
{
    struct mariadb_file *own = file;
    if (!own)
        return;
    mariadb_names_free(own->names);
    rh_secret_free(own->cipher.filekey);
    mariadb_samples_done(&own->samples);
    free(own->filekey_path);
    free(own);
}

/* One record for each: facts say whether it is encrypted. */
#define MARIADB_FORMAT                                                                                                 \
    .product = "mariadb_key_file", .backup = KEYRING_BACKUP_NONE, .reads_empty = true, .parse = mariadb_parse,         \
    .compose = mariadb_compose, .fits = mariadb_fits
const struct keyring_format mariadb_file_clear = {MARIADB_FORMAT};
const struct keyring_format mariadb_file_encrypted = {MARIADB_FORMAT, .encrypted = true};
