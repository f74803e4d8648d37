/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HCL 1 to a syntax tree: a lexer and a recursive-descent parser. JSON: json_document.c.
 *
 * Knowledge: hashicorp/hcl, branch hcl1: README "Syntax", the behaviour of its scanner (tokens, heredocs), its strconv
 * (escapes; `${...}` is kept as it is) and its parser. Two differences, both documented in rehome.plan(5): a list needs
 * commas between its items and may hold anything, and halves of UTF-16 pairs are refused where HCL 1 puts U+FFFD.
 * Errors never repeat what a value holds, since that may be a password.
 */
#include "document_internal.h"

#include <rehome/base.h>
#include <rehome/secret.h>

#include <assert.h>
#include <stdlib.h>

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_TEXT,
    TOKEN_NUMBER,
    TOKEN_BOOL,
    TOKEN_OPEN,       /* { */
    TOKEN_CLOSE,      /* } */
    TOKEN_LIST_OPEN,  /* [ */
    TOKEN_LIST_CLOSE, /* ] */
    TOKEN_ASSIGN,
    TOKEN_COMMA,
};

struct token {
    enum token_kind kind;
    struct rh_place place;
    struct rh_bytes text; /* NAME, NUMBER, BOOL: in the input; TEXT: in the arena */
};

struct parser {
    struct rh_document *document;
    struct rh_error *err;
    const uint8_t *at, *end;
    const uint8_t *mark; /* how far lines and columns are counted */
    struct rh_place mark_place;
    struct token token; /* the one to look at */
    size_t node_count;
    unsigned depth;
};

/* --- places and errors --- */

/* Line and column (in characters) of a point at or after the last one asked for. */
static struct rh_place place_at(struct parser *parser, const uint8_t *point)
{
    for (; parser->mark < point; parser->mark++) {
        if (*parser->mark == '\n')
            parser->mark_place = (struct rh_place){.line = parser->mark_place.line + 1, .column = 1};
        else if ((*parser->mark & 0xc0) != 0x80)
            parser->mark_place.column++;
    }
    return parser->mark_place;
}

enum rh_status
rh_document_fail(const struct rh_document *document, struct rh_place place, struct rh_error *err, const char *words)
{
    const char *path = RH_SHOW(rh_bytes_text(document->path));
    if (place.line == 0)
        return rh_fail(err, RH_E_PLAN, "%s: %s", path, words);
    return rh_fail(err, RH_E_PLAN, "%s:%u:%u: %s", path, place.line, place.column, words);
}

/* An error at a place. */
static enum rh_status fail_at(struct parser *parser, struct rh_place place, const char *words)
{
    return rh_document_fail(parser->document, place, parser->err, words);
}

/* What a token is, in words, without what it holds. */
static const char *token_words(enum token_kind kind)
{
    static const char *const words[] = {
        [TOKEN_END] = "the end of the file",
        [TOKEN_NAME] = "a bare word",
        [TOKEN_TEXT] = "a text",
        [TOKEN_NUMBER] = "a number",
        [TOKEN_BOOL] = "a boolean",
        [TOKEN_OPEN] = "'{'",
        [TOKEN_CLOSE] = "'}'",
        [TOKEN_LIST_OPEN] = "'['",
        [TOKEN_LIST_CLOSE] = "']'",
        [TOKEN_ASSIGN] = "'='",
        [TOKEN_COMMA] = "','",
    };
    return words[kind];
}

/* "expected WANT, not a number". */
static enum rh_status expected(struct parser *parser, const char *want)
{
    char words[160];
    (void)snprintf(words, sizeof words, "expected %s, not %s", want, token_words(parser->token.kind));
    return fail_at(parser, parser->token.place, words);
}

/* --- lexer --- */

/* Whether a byte may begin a name; letters beyond ASCII may. */
static bool is_letter(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* The value of a digit in bases up to 16; 16 for anything else. */
static unsigned digit_value(uint8_t byte)
{
    if (is_digit(byte))
        return (unsigned)(byte - '0');
    if (byte >= 'a' && byte <= 'f')
        return (unsigned)(byte - 'a') + 10;
    if (byte >= 'A' && byte <= 'F')
        return (unsigned)(byte - 'A') + 10;
    return 16;
}

/* The byte `ahead` of here; 0 past the end (the text holds no NUL). */
static uint8_t peek(const struct parser *parser, size_t ahead)
{
    return (size_t)(parser->end - parser->at) > ahead ? parser->at[ahead] : 0;
}

/* Steps over blanks and comments. */
static enum rh_status skip_blanks(struct parser *parser)
{
    while (parser->at < parser->end) {
        uint8_t byte = *parser->at;
        if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r') {
            parser->at++;
        } else if (byte == '#' || (byte == '/' && peek(parser, 1) == '/')) {
            const uint8_t *line_end = memchr(parser->at, '\n', (size_t)(parser->end - parser->at));
            parser->at = line_end ? line_end : parser->end;
        } else if (byte == '/' && peek(parser, 1) == '*') {
            const uint8_t *close = memmem(parser->at + 2, (size_t)(parser->end - parser->at - 2), "*/", 2);
            if (!close)
                return fail_at(parser, place_at(parser, parser->at), "comment isn't closed with '*/'");
            parser->at = close + 2;
        } else {
            break;
        }
    }
    return RH_OK;
}

/* Appends a code point as UTF-8; there is room, since every escape is longer than what it stands for. */
static uint8_t *put_utf8(uint8_t *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else if (code < 0x800) {
        *out++ = (uint8_t)(0xc0 | code >> 6);
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (uint8_t)(0xe0 | code >> 12);
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | code >> 18);
        *out++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return out;
}

/* `count` digits of a base from here; UINT32_MAX when there are fewer. */
static uint32_t read_digits(struct parser *parser, unsigned count, unsigned base)
{
    uint32_t value = 0;
    for (; count > 0; count--) {
        unsigned digit = digit_value(peek(parser, 0));
        if (digit >= base)
            return UINT32_MAX;
        value = value * base + digit;
        parser->at++;
    }
    return value;
}

/* \NNN, \xNN, \uNNNN, \UNNNNNNNN; `at` is on the letter or first digit. NULL when it is none of them. */
static uint8_t *read_numbered_escape(struct parser *parser, uint8_t *out)
{
    uint8_t letter = peek(parser, 0);
    if (letter >= '0' && letter <= '7') {
        uint32_t byte = read_digits(parser, 3, 8);
        if (byte > 0xff)
            return NULL;
        *out++ = (uint8_t)byte;
        return out;
    }
    parser->at++;
    if (letter == 'x') {
        uint32_t byte = read_digits(parser, 2, 16);
        if (byte > 0xff)
            return NULL;
        *out++ = (uint8_t)byte;
        return out;
    }
    if (letter != 'u' && letter != 'U')
        return NULL;
    uint32_t code = read_digits(parser, letter == 'u' ? 4 : 8, 16);
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return NULL;
    return put_utf8(out, code);
}

/* An escape; `at` is behind the backslash. NULL when it is none. */
static uint8_t *read_escape(struct parser *parser, uint8_t *out)
{
    static const char letters[] = "abfnrtv\\\"", bytes[] = "\a\b\f\n\r\t\v\\\"";
    uint8_t letter = peek(parser, 0);
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found)
        return read_numbered_escape(parser, out);
    *out++ = (uint8_t)bytes[found - letters];
    parser->at++;
    return out;
}

/* Copies `${...}` as it stands, quotes and all; NULL when its braces don't close. */
static uint8_t *copy_interpolation(struct parser *parser, uint8_t *out)
{
    unsigned braces = 0;
    while (parser->at < parser->end) {
        uint8_t byte = *out++ = *parser->at++;
        if (byte == '{')
            braces++;
        else if (byte == '}' && --braces == 0)
            return out;
    }
    return NULL;
}

/* Where a text that begins here can end at the latest, so that a file of many texts is measured once for each. */
static size_t text_room(const struct parser *parser)
{
    const uint8_t *point = parser->at;
    unsigned braces = 0;
    for (; point < parser->end; point++) {
        if (braces == 0 && (*point == '"' || *point == '\n'))
            break;
        if (braces == 0 && *point == '\\' && parser->end - point > 1)
            point++;
        else if (*point == '{' && (braces > 0 || (point > parser->at && point[-1] == '$')))
            braces++;
        else if (*point == '}' && braces > 0)
            braces--;
    }
    return (size_t)(point - parser->at);
}

/* A text in double quotes; `at` is behind the first. */
static enum rh_status read_text(struct parser *parser)
{
    size_t room = text_room(parser) + 1;
    uint8_t *text = rh_arena_get(&parser->document->arena, room), *out = text;
    if (!text)
        return rh_fail_memory(parser->err);
    for (;;) {
        uint8_t byte = peek(parser, 0);
        if (byte == 0 || byte == '\n')
            return fail_at(parser, parser->token.place, "text isn't closed with '\"' on its line");
        if (byte == '"')
            break;
        if (byte == '\\') {
            struct rh_place place = place_at(parser, parser->at);
            parser->at++;
            out = read_escape(parser, out);
            if (!out)
                return fail_at(parser, place, "unknown escape in a text; write '\\\\' for a backslash");
        } else if (byte == '$' && peek(parser, 1) == '{') {
            out = copy_interpolation(parser, out);
            if (!out)
                return fail_at(parser, parser->token.place, "text has a '${' without its '}'");
        } else {
            *out++ = byte;
            parser->at++;
        }
    }
    assert((size_t)(out - text) < room);
    parser->at++;
    parser->token.kind = TOKEN_TEXT;
    parser->token.text = rh_bytes(text, (size_t)(out - text));
    return RH_OK;
}

/* Steps over digits of a base; how many. */
static size_t skip_digits(struct parser *parser, unsigned base)
{
    const uint8_t *start = parser->at;
    while (digit_value(peek(parser, 0)) < base)
        parser->at++;
    return (size_t)(parser->at - start);
}

/* Fraction and exponent, if there are any; false when one is cut short. */
static bool skip_fraction(struct parser *parser, bool *ret_float)
{
    if (peek(parser, 0) == '.') {
        parser->at++;
        *ret_float = true;
        if (skip_digits(parser, 10) == 0)
            return false;
    }
    if (peek(parser, 0) == 'e' || peek(parser, 0) == 'E') {
        parser->at++;
        *ret_float = true;
        if (peek(parser, 0) == '+' || peek(parser, 0) == '-')
            parser->at++;
        return skip_digits(parser, 10) > 0;
    }
    return true;
}

/* Integer (decimal, 0x hexadecimal, 0 octal) or float, kept as written. */
static enum rh_status read_number(struct parser *parser)
{
    const uint8_t *start = parser->at;
    if (*parser->at == '-')
        parser->at++;
    const uint8_t *digits = parser->at;
    bool good = true, is_float = false;
    if (peek(parser, 0) == '0' && (peek(parser, 1) == 'x' || peek(parser, 1) == 'X')) {
        parser->at += 2;
        good = skip_digits(parser, 16) > 0;
    } else {
        size_t count = skip_digits(parser, 10);
        good = (count > 0 || peek(parser, 0) == '.') && skip_fraction(parser, &is_float);
        if (!is_float && count > 1 && digits[0] == '0')
            for (size_t i = 0; i < count; i++)
                good = good && digits[i] < '8';
    }
    if (!good || is_letter(peek(parser, 0)) || is_digit(peek(parser, 0)) || peek(parser, 0) == '.')
        return fail_at(parser, parser->token.place, "not a number; write text such as \"5s\" in double quotes");
    parser->token.kind = TOKEN_NUMBER;
    parser->token.text = rh_bytes(start, (size_t)(parser->at - start));
    return RH_OK;
}

/* A bare word, which may be true or false. */
static void read_name(struct parser *parser)
{
    const uint8_t *start = parser->at;
    while (is_letter(peek(parser, 0)) || is_digit(peek(parser, 0)) || peek(parser, 0) == '-' || peek(parser, 0) == '.')
        parser->at++;
    parser->token.text = rh_bytes(start, (size_t)(parser->at - start));
    bool boolean = rh_bytes_equal(parser->token.text, rh_bytes_text("true")) ||
                   rh_bytes_equal(parser->token.text, rh_bytes_text("false"));
    parser->token.kind = boolean ? TOKEN_BOOL : TOKEN_NAME;
}

/* Whether the line from `line` to `line_end` is blanks and the anchor; then *ret_anchor is where that begins. */
static bool
is_anchor_line(const uint8_t *line, const uint8_t *line_end, struct rh_bytes anchor, const uint8_t **ret_anchor)
{
    while (line < line_end && (*line == ' ' || (*line >= '\t' && *line <= '\r')))
        line++;
    while (line_end > line && line_end[-1] == '\r')
        line_end--;
    *ret_anchor = line;
    return rh_bytes_equal(rh_bytes(line, (size_t)(line_end - line)), anchor);
}

/* <<-ANCHOR: takes the blanks before the anchor off each line, if all lines have them; else only off the last. */
static struct rh_bytes unindent(struct parser *parser, const uint8_t *start, const uint8_t *last, const uint8_t *anchor)
{
    size_t indent = (size_t)(anchor - last), left = (size_t)(last - start);
    struct rh_bytes as_is = rh_bytes(start, left);
    uint8_t *text = rh_arena_get(&parser->document->arena, left + 1), *out = text;
    if (!text || indent == 0)
        return text ? as_is : (struct rh_bytes){0};
    for (const uint8_t *line = start; line < last;) {
        const uint8_t *newline = memchr(line, '\n', (size_t)(last - line));
        const uint8_t *next = newline ? newline + 1 : last;
        if ((size_t)(next - line) < indent || memcmp(line, last, indent) != 0)
            return as_is;
        memcpy(out, line + indent, (size_t)(next - line) - indent);
        out += (size_t)(next - line) - indent;
        line = next;
    }
    return rh_bytes(text, (size_t)(out - text));
}

/* The lines of a heredoc up to its anchor; `at` is on the first of them. */
static enum rh_status read_heredoc_lines(struct parser *parser, struct rh_bytes anchor, bool indented)
{
    const uint8_t *start = parser->at;
    for (const uint8_t *line = start; line < parser->end;) {
        const uint8_t *newline = memchr(line, '\n', (size_t)(parser->end - line)), *word;
        const uint8_t *line_end = newline ? newline : parser->end;
        if (is_anchor_line(line, line_end, anchor, &word)) {
            parser->at = line_end;
            parser->token.kind = TOKEN_TEXT;
            parser->token.text =
                indented ? unindent(parser, start, line, word) : rh_bytes(start, (size_t)(word - start));
            return parser->token.text.data ? RH_OK : rh_fail_memory(parser->err);
        }
        line = newline ? newline + 1 : parser->end;
    }
    return fail_at(parser, parser->token.place, "heredoc isn't closed by a line with its anchor");
}

/* <<ANCHOR or <<-ANCHOR; `at` is on the first '<'. */
static enum rh_status read_heredoc(struct parser *parser)
{
    if (peek(parser, 1) != '<')
        return fail_at(parser, parser->token.place, "expected '<<' and an anchor");
    parser->at += 2;
    bool indented = peek(parser, 0) == '-';
    parser->at += indented;
    const uint8_t *start = parser->at;
    while (is_letter(peek(parser, 0)) || is_digit(peek(parser, 0)))
        parser->at++;
    struct rh_bytes anchor = rh_bytes(start, (size_t)(parser->at - start));
    if (peek(parser, 0) == '\r')
        parser->at++;
    if (anchor.size == 0 || peek(parser, 0) != '\n')
        return fail_at(parser, parser->token.place,
                       "expected an anchor of letters and digits, alone on the rest of its line, after '<<'");
    parser->at++;
    return read_heredoc_lines(parser, anchor, indented);
}

/* One of the single characters; false when this isn't one. */
static bool read_mark(struct parser *parser)
{
    switch (*parser->at) {
    case '{':
        parser->token.kind = TOKEN_OPEN;
        break;
    case '}':
        parser->token.kind = TOKEN_CLOSE;
        break;
    case '[':
        parser->token.kind = TOKEN_LIST_OPEN;
        break;
    case ']':
        parser->token.kind = TOKEN_LIST_CLOSE;
        break;
    case '=':
        parser->token.kind = TOKEN_ASSIGN;
        break;
    case ',':
        parser->token.kind = TOKEN_COMMA;
        break;
    default:
        return false;
    }
    parser->at++;
    return true;
}

/* Reads the next token into parser->token. */
static enum rh_status next_token(struct parser *parser)
{
    enum rh_status status = skip_blanks(parser);
    if (status != RH_OK)
        return status;
    parser->token = (struct token){.kind = TOKEN_END, .place = place_at(parser, parser->at)};
    if (parser->at == parser->end || read_mark(parser))
        return RH_OK;
    uint8_t byte = *parser->at;
    if (is_letter(byte)) {
        read_name(parser);
        return RH_OK;
    }
    if (is_digit(byte) || byte == '-' || byte == '.')
        return read_number(parser);
    if (byte == '<')
        return read_heredoc(parser);
    if (byte != '"')
        return fail_at(parser, parser->token.place, "expected a name or a value; text goes in double quotes");
    parser->at++;
    return read_text(parser);
}

/* --- parser --- */

struct rh_node *rh_document_node(
    struct rh_document *document, enum rh_node_kind kind, struct rh_place place, size_t *count, struct rh_error *err)
{
    if (++*count > RH_DOCUMENT_NODES_MAX) {
        char words[64];
        (void)snprintf(words, sizeof words, "more than %d values", RH_DOCUMENT_NODES_MAX);
        rh_ignore(rh_document_fail(document, place, err, words)); /* NULL says it */
        return NULL;
    }
    struct rh_node *node = rh_arena_get(&document->arena, sizeof *node);
    if (!node) {
        rh_ignore(rh_fail_memory(err)); /* NULL says it */
        return NULL;
    }
    *node = (struct rh_node){.kind = kind, .place = place};
    return node;
}

/* Room for one more in an array that lives in the arena and doubles: at sizes 0, 1, 2, 4, 8... */
static bool grow(struct rh_arena *arena, void **array, size_t count, size_t item_size)
{
    if (count & (count - 1))
        return true;
    void *bigger = rh_arena_get(arena, (count ? 2 * count : 1) * item_size);
    if (!bigger)
        return false;
    if (count)
        memcpy(bigger, *array, count * item_size);
    *array = bigger;
    return true;
}

enum rh_status rh_document_add_member(struct rh_document *document,
                                      struct rh_node *object,
                                      const struct rh_member *member,
                                      struct rh_error *err)
{
    void *members = object->members;
    if (!grow(&document->arena, &members, object->member_count, sizeof *object->members))
        return rh_fail_memory(err);
    object->members = members;
    object->members[object->member_count++] = *member;
    return RH_OK;
}

enum rh_status
rh_document_add_item(struct rh_document *document, struct rh_node *list, struct rh_node *item, struct rh_error *err)
{
    void *items = list->items;
    if (!grow(&document->arena, &items, list->item_count, sizeof(struct rh_node *)))
        return rh_fail_memory(err);
    list->items = items;
    list->items[list->item_count++] = item;
    return RH_OK;
}

char *rh_document_name(struct rh_document *document, struct rh_bytes bytes, struct rh_place place, struct rh_error *err)
{
    bool bad = bytes.size == 0 || memchr(bytes.data, 0, bytes.size);
    char *name = bad ? NULL : rh_arena_get(&document->arena, bytes.size + 1);
    if (!name) {
        rh_ignore(bad ? rh_document_fail(document, place, err, "a name is empty or holds a NUL byte")
                      : rh_fail_memory(err)); /* NULL says it */
        return NULL;
    }
    memcpy(name, bytes.data, bytes.size);
    name[bytes.size] = '\0';
    return name;
}

static enum rh_status parse_value(struct parser *parser, struct rh_node **ret_node);

/* The titles of a block: `source "mysql" {` or `source mysql {`. */
static enum rh_status parse_titles(struct parser *parser, struct rh_member *member)
{
    enum rh_status status = RH_OK;
    while (status == RH_OK && (parser->token.kind == TOKEN_TEXT || parser->token.kind == TOKEN_NAME)) {
        if (member->title_count == sizeof member->titles / sizeof *member->titles)
            return fail_at(parser, parser->token.place, "more titles than a block can have");
        struct rh_bytes title = rh_arena_copy(&parser->document->arena, parser->token.text);
        if (!title.data && parser->token.text.size)
            return rh_fail_memory(parser->err);
        member->titles[member->title_count++] = title;
        status = next_token(parser);
    }
    return status;
}

/* `name = value`, `name { ... }` or `name "title" { ... }`. */
static enum rh_status parse_member(struct parser *parser, struct rh_node *object)
{
    struct rh_member member = {.place = parser->token.place};
    member.name = rh_document_name(parser->document, parser->token.text, member.place, parser->err);
    if (!member.name)
        return parser->err ? parser->err->status : RH_E_PLAN;
    enum rh_status status = next_token(parser);
    if (status == RH_OK)
        status = parse_titles(parser, &member);
    if (status != RH_OK)
        return status;
    if (parser->token.kind == TOKEN_ASSIGN && member.title_count == 0)
        status = next_token(parser);
    else if (parser->token.kind == TOKEN_OPEN)
        member.block = true;
    else
        return expected(parser, member.title_count ? "'{' after a block's title" : "'=' or '{' after a name");
    if (status == RH_OK)
        status = parse_value(parser, &member.value);
    return status == RH_OK ? rh_document_add_member(parser->document, object, &member, parser->err) : status;
}

/* Members up to `close`; commas may stand between those of an object in braces. */
static enum rh_status parse_members(struct parser *parser, struct rh_node *object, enum token_kind close)
{
    while (parser->token.kind != close) {
        if (parser->token.kind != TOKEN_NAME && parser->token.kind != TOKEN_TEXT && parser->token.kind != TOKEN_BOOL)
            return expected(parser, close == TOKEN_END ? "a name" : "a name or '}'");
        enum rh_status status = parse_member(parser, object);
        if (status == RH_OK && parser->token.kind == TOKEN_COMMA && close == TOKEN_CLOSE)
            status = next_token(parser);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* Items up to ']'; the last one may have a comma behind it. */
static enum rh_status parse_items(struct parser *parser, struct rh_node *list)
{
    while (parser->token.kind != TOKEN_LIST_CLOSE) {
        struct rh_node *item = NULL;
        enum rh_status status = parse_value(parser, &item);
        if (status == RH_OK)
            status = rh_document_add_item(parser->document, list, item, parser->err);
        if (status == RH_OK && parser->token.kind == TOKEN_COMMA)
            status = next_token(parser);
        else if (status == RH_OK && parser->token.kind != TOKEN_LIST_CLOSE)
            status = expected(parser, "',' or ']' in a list");
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* What stands between braces or brackets, and the closing one. */
static enum rh_status parse_inside(struct parser *parser, struct rh_node *node)
{
    if (parser->depth == RH_DOCUMENT_DEPTH_MAX)
        return fail_at(parser, node->place, "nested too deeply");
    parser->depth++;
    enum rh_status status = next_token(parser);
    if (status == RH_OK)
        status = node->kind == RH_NODE_OBJECT ? parse_members(parser, node, TOKEN_CLOSE) : parse_items(parser, node);
    parser->depth--;
    return status == RH_OK ? next_token(parser) : status;
}

/* The text of a scalar token, copied to the arena where it lies in the input. */
static enum rh_status take_scalar(struct parser *parser, struct rh_node *node)
{
    node->text = rh_arena_copy(&parser->document->arena, parser->token.text);
    if (!node->text.data && parser->token.text.size)
        return rh_fail_memory(parser->err);
    return next_token(parser);
}

/* A value of any kind; afterwards the token behind it is looked at. */
static enum rh_status parse_value(struct parser *parser, struct rh_node **ret_node)
{
    enum rh_node_kind kind = RH_NODE_TEXT;
    switch (parser->token.kind) {
    case TOKEN_TEXT:
        break;
    case TOKEN_NUMBER:
        kind = RH_NODE_NUMBER;
        break;
    case TOKEN_BOOL:
        kind = RH_NODE_BOOL;
        break;
    case TOKEN_OPEN:
        kind = RH_NODE_OBJECT;
        break;
    case TOKEN_LIST_OPEN:
        kind = RH_NODE_LIST;
        break;
    case TOKEN_NAME:
        return expected(parser, "a value (text goes in double quotes)");
    case TOKEN_END:
    case TOKEN_CLOSE:
    case TOKEN_LIST_CLOSE:
    case TOKEN_ASSIGN:
    case TOKEN_COMMA:
        return expected(parser, "a value");
    }
    struct rh_node *node =
        rh_document_node(parser->document, kind, parser->token.place, &parser->node_count, parser->err);
    if (!node)
        return parser->err ? parser->err->status : RH_E_PLAN;
    *ret_node = node;
    return kind == RH_NODE_OBJECT || kind == RH_NODE_LIST ? parse_inside(parser, node) : take_scalar(parser, node);
}

/* --- documents --- */

/* Refuses what no form of the file may hold: too much, NUL, what isn't UTF-8. */
static enum rh_status check_text(const struct rh_document *document, struct rh_bytes text, struct rh_error *err)
{
    if (text.size > RH_DOCUMENT_BYTES_MAX)
        return rh_document_fail(document, (struct rh_place){0}, err, "larger than 1 MiB");
    uint32_t line = 1;
    for (size_t at = 0; at < text.size; line++) {
        const uint8_t *start = text.data + at, *newline = memchr(start, '\n', text.size - at);
        size_t size = newline ? (size_t)(newline - start) + 1 : text.size - at;
        struct rh_place place = {.line = line, .column = 1};
        if (memchr(start, 0, size))
            return rh_document_fail(document, place, err, "line holds a NUL byte");
        if (!rh_utf8_valid(rh_bytes(start, size)))
            return rh_document_fail(document, place, err, "line isn't valid UTF-8");
        at += size;
    }
    return RH_OK;
}

/* Parses HCL text into the document. */
static enum rh_status parse_hcl(struct rh_document *document, struct rh_bytes text, struct rh_error *err)
{
    struct rh_error own = {0}; /* where the caller doesn't want the words, the status is still needed */
    struct parser parser = {
        .document = document,
        .err = err ? err : &own,
        .at = text.data,
        .end = text.data + text.size,
        .mark = text.data,
        .mark_place = {.line = 1, .column = 1}
    };
    document->root = rh_document_node(document, RH_NODE_OBJECT, parser.mark_place, &parser.node_count, parser.err);
    if (!document->root)
        return parser.err->status;
    enum rh_status status = next_token(&parser);
    return status == RH_OK ? parse_members(&parser, document->root, TOKEN_END) : status;
}

/* Whether the first character is '{': no HCL begins so. */
static bool is_json(struct rh_bytes text)
{
    size_t at = 0;
    while (at < text.size && (text.data[at] == ' ' || (text.data[at] >= '\t' && text.data[at] <= '\r')))
        at++;
    return at < text.size && text.data[at] == '{';
}

enum rh_status
rh_document_parse(const char *path, struct rh_bytes text, struct rh_document **ret_document, struct rh_error *err)
{
    struct rh_document *document = calloc(1, sizeof *document);
    if (!document)
        return rh_fail_memory(err);
    document->arena.secret = true;
    document->path = strdup(path);
    if (!text.data)
        text = rh_bytes_text("");
    enum rh_status status = document->path ? check_text(document, text, err) : rh_fail_memory(err);
    if (rh_bytes_starts(text, rh_bytes_text("\xef\xbb\xbf")))
        text = rh_bytes(text.data + 3, text.size - 3);
    if (status == RH_OK)
        status = is_json(text) ? rh_document_parse_json(document, text, err) : parse_hcl(document, text, err);
    if (status != RH_OK) {
        rh_document_free(document);
        return status;
    }
    *ret_document = document;
    return RH_OK;
}

void rh_document_free(struct rh_document *document)
{
    if (!document)
        return;
    rh_arena_done(&document->arena);
    free(document->path);
    free(document);
}
