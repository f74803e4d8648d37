/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: JSON as a flat list of values, in one piece of memory that is wiped with the answer. */
#include "vault.h"

#include <stdlib.h>

enum { PATH_MOST = 512, VALUES_MOST = 4 * 1024 * 1024 };

struct reading {
    struct rh_vault_answer *answer;
    uint8_t *text;                     /* room for all strings of the answer */
    char path[PATH_MOST];              /* of the place where the reader is */
    size_t end[RH_JSON_DEPTH_MAX + 2]; /* how much of it leads to each depth */
    bool array[RH_JSON_DEPTH_MAX + 2];
    const char *last_path; /* the values of an array share it */
    const uint8_t *begin;  /* of the string under way */
};

/* Sets the part of the path that stands for a depth. */
static enum rh_status set_part(struct reading *reading, unsigned depth, struct rh_bytes name, struct rh_error *err)
{
    const size_t at = depth ? reading->end[depth - 1] : 0;
    const bool dot = at > 0 && name.size > 0 && name.data[0] != '[';
    if (at + dot + name.size >= PATH_MOST)
        return rh_fail(err, RH_E_CORRUPT, "the names in the answer are too long");
    if (dot)
        reading->path[at] = '.';
    if (name.size)
        memcpy(reading->path + at + dot, name.data, name.size);
    reading->end[depth] = at + dot + name.size;
    return RH_OK;
}

/* The path as a text that the answer owns. */
static const char *keep_path(struct reading *reading, unsigned depth)
{
    const size_t size = reading->end[depth];
    if (reading->last_path && strlen(reading->last_path) == size &&
        memcmp(reading->last_path, reading->path, size) == 0)
        return reading->last_path;
    char *copy = rh_arena_get(&reading->answer->arena, size + 1);
    if (copy) {
        memcpy(copy, reading->path, size);
        copy[size] = '\0';
        reading->last_path = copy;
    }
    return copy;
}

/* Appends a value. */
static enum rh_status
add_value(struct reading *reading, unsigned depth, enum rh_json_kind kind, struct rh_bytes text, struct rh_error *err)
{
    struct rh_vault_answer *answer = reading->answer;
    if (answer->count == answer->capacity) {
        const size_t capacity = answer->capacity ? answer->capacity * 2 : 64;
        struct rh_vault_value *grown =
            capacity > VALUES_MOST ? NULL : realloc(answer->values, capacity * sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        answer->values = grown;
        answer->capacity = capacity;
    }
    const char *path = keep_path(reading, depth);
    if (!path)
        return rh_fail_memory(err);
    answer->values[answer->count++] = (struct rh_vault_value){.path = path, .kind = kind, .text = text};
    return RH_OK;
}

/* What the reader has met. */
static enum rh_status take(void *user, const struct rh_json_event *event, struct rh_error *err)
{
    struct reading *reading = user;
    const unsigned depth = event->depth;
    struct rh_bytes text = event->text;
    enum rh_status status = RH_OK;
    switch (event->kind) {
    case RH_JSON_OBJECT:
    case RH_JSON_ARRAY:
        status = add_value(reading, depth - 1, event->kind, (struct rh_bytes){0}, err);
        return status ? status : set_part(reading, depth, rh_bytes("[]", event->kind == RH_JSON_ARRAY ? 2 : 0), err);
    case RH_JSON_OBJECT_END:
    case RH_JSON_ARRAY_END:
        return RH_OK;
    case RH_JSON_NAME:
        return set_part(reading, depth, text, err);
    case RH_JSON_TEXT:
        if (event->first)
            reading->begin = reading->text;
        if (text.size)
            memcpy(reading->text, text.data, text.size);
        reading->text += text.size;
        if (!event->last)
            return RH_OK;
        text = rh_bytes(reading->begin, (size_t)(reading->text - reading->begin));
        break;
    case RH_JSON_NUMBER:
        memcpy(reading->text, text.data, text.size);
        text.data = reading->text;
        reading->text += text.size;
        break;
    case RH_JSON_TRUE:
    case RH_JSON_FALSE:
    case RH_JSON_NULL:
        text = (struct rh_bytes){0};
        break;
    }
    return add_value(reading, depth, event->kind, text, err);
}

enum rh_status
rh_vault_answer_read(struct rh_vault_answer *answer, struct rh_bytes json, bool plain, struct rh_error *err)
{
    struct reading reading = {.answer = answer};
    struct rh_json reader;
    rh_vault_answer_clear(answer);
    if (!plain && !answer->arena.secret)
        rh_arena_done(&answer->arena);
    answer->arena.secret = answer->arena.head ? answer->arena.secret : !plain;
    /* an escape is never shorter than what it stands for */
    reading.text = rh_arena_get(&answer->arena, json.size + 1);
    if (!reading.text)
        return rh_fail_memory(err);
    rh_json_init(&reader, take, &reading);
    enum rh_status status = rh_json_feed(&reader, json, err);
    return status ? status : rh_json_end(&reader, err);
}

const struct rh_vault_value *rh_vault_answer_find(const struct rh_vault_answer *answer, const char *path)
{
    for (size_t i = 0; i < answer->count; i++)
        if (strcmp(answer->values[i].path, path) == 0)
            return &answer->values[i];
    return NULL;
}

struct rh_bytes rh_vault_answer_text(const struct rh_vault_answer *answer, const char *path)
{
    const struct rh_vault_value *value = rh_vault_answer_find(answer, path);
    return value && value->kind == RH_JSON_TEXT ? value->text : (struct rh_bytes){0};
}

bool rh_vault_answer_number(const struct rh_vault_answer *answer, const char *path, uint64_t *ret_number)
{
    const struct rh_vault_value *value = rh_vault_answer_find(answer, path);
    return value && value->kind == RH_JSON_NUMBER && rh_parse_u64(value->text, ret_number) == RH_OK;
}

bool rh_vault_answer_true(const struct rh_vault_answer *answer, const char *path)
{
    const struct rh_vault_value *value = rh_vault_answer_find(answer, path);
    return value && value->kind == RH_JSON_TRUE;
}

bool rh_vault_answer_is_empty(const struct rh_vault_answer *answer)
{
    return answer->count == 2 && answer->values[0].kind == RH_JSON_OBJECT && answer->values[1].kind == RH_JSON_ARRAY &&
           strcmp(answer->values[1].path, "errors") == 0;
}

void rh_vault_answer_clear(struct rh_vault_answer *answer)
{
    rh_arena_clear(&answer->arena);
    answer->count = 0;
}

void rh_vault_answer_done(struct rh_vault_answer *answer)
{
    rh_arena_done(&answer->arena);
    free(answer->values);
    *answer = (struct rh_vault_answer){0};
}
