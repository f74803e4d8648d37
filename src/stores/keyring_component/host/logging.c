/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A component builds a line item by item and submits it. Of the items only three count here: level, number and message.
 * The texts of MySQL's messages aren't ours to have: a message that is asked for by its number is that number.
 * Knowledge: MySQL 8.0.24 to 9.7, include/mysql/components/services/log_builtins.h (the members and their order).
 */
#include "logging.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    ITEMS_MOST = 64,
    TYPE_ERRCODE = 2, /* LOG_ITEM_SQL_ERRCODE */
    TEXT_MOST = 1024,
    MEMBERS_MOST = 64, /* more than any release has: those we don't know do nothing */
};
enum kind { KIND_NONE, KIND_NUMBER, KIND_TEXT, KIND_MESSAGE };

struct item {
    enum kind kind;
    uint32_t type;
    long long number;
    const char *text;
    size_t size;
};
struct line {
    uint64_t seen;
    size_t count;
    struct item items[ITEMS_MOST];
};

/* --- items --- */

static struct line *line_init(void)
{
    return calloc(1, sizeof(struct line));
}

static void line_exit(struct line *line)
{
    free(line);
}

static struct item *line_item_set_with_key(struct line *line, uint32_t type, const char *key, uint32_t flags)
{
    (void)key;
    (void)flags;
    if (!line || line->count == ITEMS_MOST)
        return NULL;
    line->seen |= type;
    line->items[line->count] = (struct item){.type = type};
    return &line->items[line->count++];
}

static struct item *line_item_set(struct line *line, uint32_t type)
{
    return line_item_set_with_key(line, type, NULL, 0);
}

static uint64_t line_item_types_seen(struct line *line, uint64_t mask)
{
    return line ? line->seen & mask : 0;
}

static bool item_set_int(struct item *item, long long number)
{
    if (!item)
        return true;
    item->kind = KIND_NUMBER;
    item->number = number;
    return false;
}

/* Only the message itself is set with its length. */
static bool item_set_lexstring(struct item *item, const char *text, size_t size)
{
    if (!item)
        return true;
    item->kind = KIND_MESSAGE;
    item->text = text ? text : "";
    item->size = text ? size : 0;
    return false;
}

static bool item_set_cstring(struct item *item, const char *text)
{
    if (!item)
        return true;
    item->kind = KIND_TEXT;
    item->text = text ? text : "";
    item->size = strlen(item->text);
    return false;
}

/* A message's text, by its number. */
static const char *errmsg_by_errcode(int number)
{
    static char text[64];
    (void)snprintf(text, sizeof text, "the words of MY-%06d, which perror tells", number);
    return text;
}

static const char *label_from_prio(int level)
{
    static const char *const labels[] = {"System", "Error", "Warning", "Note"};
    return level >= 0 && level < 4 ? labels[level] : "Error";
}

static int line_submit(struct line *line)
{
    char stamp[32], text[TEXT_MOST];
    const struct item *message = NULL;
    long long level = 1, number = 0;
    bool leveled = false;
    for (size_t i = 0; line && i < line->count; i++) {
        const struct item *item = &line->items[i];
        if (item->kind == KIND_MESSAGE)
            message = item;
        else if (item->kind == KIND_NUMBER && item->type == TYPE_ERRCODE)
            number = item->number;
        else if (item->kind == KIND_NUMBER && !leveled) { /* the level comes first */
            level = item->number;
            leveled = true;
        }
    }
    if (!message)
        return 0;
    const time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        stamp[0] = '\0';
    const size_t size = message->size < sizeof text - 1 ? message->size : sizeof text - 1;
    memcpy(text, message->text, size);
    text[size] = '\0';
    for (char *at = text; (at = strchr(at, '\n'));)
        *at = ' ';
    (void)printf("%s [%s] [MY-%06lld] [Keyring] %s\n", stamp, label_from_prio((int)level), number, text);
    (void)fflush(stdout);
    return (int)line->count;
}

/* --- members without a meaning here --- */

static long long nothing(void)
{
    return 0;
}

static bool generic(void)
{
    return true;
}

static const char *no_name(void)
{
    return "";
}

/* --- texts --- */

static void *text_malloc(size_t size)
{
    return calloc(1, size + 1);
}

static char *text_strndup(const char *text, size_t size)
{
    char *copy = calloc(1, size + 1);
    if (copy && size)
        memcpy(copy, text, size);
    return copy;
}

static int text_compare(const char *a, const char *b, size_t size, bool caseless)
{
    if (size)
        return caseless ? strncasecmp(a, b, size) : strncmp(a, b, size);
    return caseless ? strcasecmp(a, b) : strcmp(a, b);
}

__attribute__((format(printf, 3, 0))) static size_t
text_substitutev(char *out, size_t size, const char *format, va_list args)
{
    const int count = vsnprintf(out, size, format, args);
    return count < 0 ? 0 : (size_t)count < size ? (size_t)count : size ? size - 1 : 0;
}

__attribute__((format(printf, 3, 4))) static size_t text_substitute(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t count = text_substitutev(out, size, format, args);
    va_end(args);
    return count;
}

/* --- the tables --- */

/* Functions of many shapes in one table: each is called with the arguments of its own. */
typedef void any_function(void);
#define AS_MEMBER(function) ((any_function *)(function))

void *logging_service(void)
{
    static any_function *table[MEMBERS_MOST];
    static const struct {
        int place;
        any_function *function;
    } known[] = {
        {3,  AS_MEMBER(no_name)               },
        {5,  AS_MEMBER(generic)               },
        {8,  AS_MEMBER(item_set_int)          },
        {10, AS_MEMBER(item_set_lexstring)    },
        {11, AS_MEMBER(item_set_cstring)      },
        {15, AS_MEMBER(line_item_set_with_key)},
        {16, AS_MEMBER(line_item_set)         },
        {17, AS_MEMBER(line_init)             },
        {18, AS_MEMBER(line_exit)             },
        {20, AS_MEMBER(line_item_types_seen)  },
        {27, AS_MEMBER(line_submit)           },
        {30, AS_MEMBER(errmsg_by_errcode)     },
        {32, AS_MEMBER(label_from_prio)       },
    };
    for (int i = 0; i < MEMBERS_MOST; i++)
        table[i] = AS_MEMBER(nothing);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        table[known[i].place] = known[i].function;
    return table;
}

void *logging_string_service(void)
{
    static struct {
        void *(*malloc)(size_t size);
        char *(*strndup)(const char *text, size_t size);
        void (*free)(void *text);
        size_t (*length)(const char *text);
        char *(*find_first)(const char *text, int letter);
        char *(*find_last)(const char *text, int letter);
        int (*compare)(const char *a, const char *b, size_t size, bool caseless);
        size_t (*substitutev)(char *out, size_t size, const char *format, va_list args);
        size_t (*substitute)(char *out, size_t size, const char *format, ...);
    } table = {.malloc = text_malloc,
               .strndup = text_strndup,
               .free = free,
               .length = strlen,
               .find_first = strchr,
               .find_last = strrchr,
               .compare = text_compare,
               .substitutev = text_substitutev,
               .substitute = text_substitute};
    return &table;
}
