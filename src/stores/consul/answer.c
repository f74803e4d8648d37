/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the JSON of an answer to records, keys and refused operations, as the bytes come.
 * Knowledge: /v1/txn answers {"Results":[{"KV":{"LockIndex","Key","Flags","Value","Session","CreateIndex",
 * "ModifyIndex"}}],"Errors":[{"OpIndex","What"}]}, ?keys answers ["key",...].
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* depths inside of Results' and Errors' objects */
enum { DEPTH_ROOT = 1, DEPTH_LIST = 2, DEPTH_ITEM = 3, DEPTH_KV = 4 };

static bool is_member(const struct cs_answer *answer, unsigned depth, const char *name)
{
    return strcmp(answer->member[depth], name) == 0;
}

static bool in_results(const struct cs_answer *answer, unsigned depth)
{
    return depth == DEPTH_KV && is_member(answer, DEPTH_ROOT, "Results") && is_member(answer, DEPTH_ITEM, "KV");
}

static bool in_errors(const struct cs_answer *answer, unsigned depth)
{
    return depth == DEPTH_ITEM && is_member(answer, DEPTH_ROOT, "Errors");
}

/* A piece of a text that is one of a record's. */
static enum rh_status
take_record_text(struct cs_answer *answer, const struct rh_json_event *event, struct rh_error *err)
{
    struct cs_record *open = &answer->open;
    enum rh_status status = RH_OK;
    if (is_member(answer, DEPTH_KV, "Key")) {
        if (event->first)
            open->key_at = answer->data.size;
        status = rh_buf_add(&answer->data, event->text.data, event->text.size, err);
        if (!status && event->last) {
            open->key_size = answer->data.size - open->key_at;
            open->has_key = true;
            open->replaced = event->replaced;
        }
    } else if (is_member(answer, DEPTH_KV, "Value")) {
        if (event->first) {
            open->value_at = answer->data.size;
            answer->base64 = (struct rh_base64_in){0};
        }
        status = rh_base64_in_feed(&answer->base64, event->text, &answer->data, err);
        if (!status && event->last)
            status = rh_base64_in_end(&answer->base64, err);
        if (status || !event->last)
            return status;
        open->value_size = answer->data.size - open->value_at;
        open->has_value = true;
        if (!answer->keep_values)
            answer->data.size = open->value_at;
    } else if (is_member(answer, DEPTH_KV, "Session")) {
        size_t have = event->first ? 0 : strlen(open->session), room = sizeof open->session - 1 - have;
        size_t some = event->text.size < room ? event->text.size : room;
        memcpy(open->session + have, event->text.data, some);
        open->session[have + some] = '\0';
        open->locked = open->locked || some;
    }
    return status;
}

/* What kind of refusal the words of one mean. */
static enum cs_refusal judge(const char *what)
{
    if (strstr(what, "Permission denied"))
        return CS_DENIED;
    if (strstr(what, "failed index check for key") || strstr(what, "failed to check index, key"))
        return CS_GUARD;
    size_t size = strlen(what);
    static const char stale[] = ", index is stale", absent[] = " doesn't exist";
    if (size >= sizeof stale - 1 && strcmp(what + size - (sizeof stale - 1), stale) == 0)
        return CS_STALE;
    if (size >= sizeof absent - 1 && strcmp(what + size - (sizeof absent - 1), absent) == 0)
        return CS_ABSENT;
    return CS_OTHER;
}

/* An object ended: a record or a refusal is complete. */
static enum rh_status end_object(struct cs_answer *answer, unsigned depth, struct rh_error *err)
{
    if (in_results(answer, depth)) {
        if (!answer->open.has_key)
            return rh_fail(err, RH_E_CORRUPT, "the answer holds a record without a key");
        if (answer->count == answer->capacity) {
            size_t capacity = answer->capacity ? answer->capacity * 2 : CS_OPS;
            struct cs_record *grown = realloc(answer->records, capacity * sizeof *grown);
            if (!grown)
                return rh_fail_memory(err);
            answer->records = grown;
            answer->capacity = capacity;
        }
        answer->records[answer->count++] = answer->open;
        if (answer->data.size > CS_ANSWER_MOST) {
            answer->cut = true;
            return RH_E_LIMIT; /* the caller asks for the rest by a smaller request */
        }
    } else if (in_errors(answer, depth)) {
        if (answer->refused_count == CS_OPS)
            return rh_fail(err, RH_E_CORRUPT, "the answer refuses more operations than were sent");
        enum cs_refusal why = judge(rh_buf_cstr(&answer->what));
        answer->refused[answer->refused_count++] = (struct cs_refused){.op = answer->op, .why = why};
        if ((why == CS_DENIED || why == CS_OTHER) && !answer->first_what[0])
            (void)snprintf(answer->first_what, sizeof answer->first_what, "%s", RH_SHOW(rh_buf_bytes(&answer->what)));
    }
    return RH_OK;
}

/* A number of a record or a refusal. */
static enum rh_status take_number(struct cs_answer *answer, const struct rh_json_event *event, struct rh_error *err)
{
    uint64_t *where = NULL;
    if (in_results(answer, event->depth) && is_member(answer, DEPTH_KV, "Flags"))
        where = &answer->open.flags;
    else if (in_results(answer, event->depth) && is_member(answer, DEPTH_KV, "ModifyIndex"))
        where = &answer->open.modify_index;
    else if (in_errors(answer, event->depth) && is_member(answer, DEPTH_ITEM, "OpIndex"))
        where = &answer->op;
    if (where && rh_parse_u64(event->text, where))
        return rh_fail(err, RH_E_CORRUPT, "the answer holds a number that isn't one");
    return RH_OK;
}

/* A piece of a key of a listing. */
static enum rh_status take_key(struct cs_answer *answer, const struct rh_json_event *event, struct rh_error *err)
{
    if (event->first)
        rh_buf_clear(&answer->data);
    enum rh_status status = rh_buf_add(&answer->data, event->text.data, event->text.size, err);
    if (status || !event->last)
        return status;
    return answer->add_key(answer->add_user, rh_buf_bytes(&answer->data), event->replaced, err);
}

/* Every event of an answer of /v1/txn. */
static enum rh_status take_txn(struct cs_answer *answer, const struct rh_json_event *event, struct rh_error *err)
{
    switch (event->kind) {
    case RH_JSON_OBJECT:
        answer->member[event->depth][0] = '\0';
        if (in_errors(answer, event->depth))
            rh_buf_clear(&answer->what);
        if (in_results(answer, event->depth))
            answer->open = (struct cs_record){0};
        return RH_OK;
    case RH_JSON_OBJECT_END:
        return end_object(answer, event->depth, err);
    case RH_JSON_NAME: {
        char *name = answer->member[event->depth];
        size_t size = event->text.size < sizeof answer->member[0] - 1 ? event->text.size : sizeof answer->member[0] - 1;
        memcpy(name, event->text.data, size);
        name[size] = '\0';
        return RH_OK;
    }
    case RH_JSON_TEXT:
        if (in_results(answer, event->depth))
            return take_record_text(answer, event, err);
        if (in_errors(answer, event->depth) && is_member(answer, DEPTH_ITEM, "What"))
            return rh_buf_add(&answer->what, event->text.data, event->text.size, err);
        return RH_OK;
    case RH_JSON_NUMBER:
        return take_number(answer, event, err);
    case RH_JSON_ARRAY:
    case RH_JSON_ARRAY_END:
    case RH_JSON_TRUE:
    case RH_JSON_FALSE:
    case RH_JSON_NULL:
        break;
    }
    return RH_OK;
}

/* The JSON reader's events. */
static enum rh_status take_event(void *user, const struct rh_json_event *event, struct rh_error *err)
{
    struct cs_answer *answer = user;
    if (answer->kind == CS_ANSWER_TXN)
        return take_txn(answer, event, err);
    if (event->kind == RH_JSON_TEXT && event->depth == DEPTH_ROOT)
        return take_key(answer, event, err);
    if ((event->kind == RH_JSON_ARRAY || event->kind == RH_JSON_ARRAY_END) && event->depth == DEPTH_ROOT)
        return RH_OK;
    return rh_fail(err, RH_E_CORRUPT, "the answer isn't a list of keys");
}

void cs_answer_begin(struct cs_answer *answer, enum cs_answer_kind kind)
{
    answer->kind = kind;
    answer->err = (struct rh_error){0};
    rh_buf_clear(&answer->data);
    rh_buf_clear(&answer->what);
    answer->what.limit = 1U << 20;
    answer->count = answer->refused_count = 0;
    answer->first_what[0] = '\0';
    answer->cut = false;
    memset(answer->member, 0, sizeof answer->member);
    rh_json_init(&answer->json, take_event, answer);
}

enum rh_status cs_answer_feed(struct cs_answer *answer, struct rh_bytes piece)
{
    return rh_json_feed(&answer->json, piece, &answer->err);
}

enum rh_status cs_answer_end(struct cs_answer *answer, struct rh_error *err)
{
    return rh_json_end(&answer->json, err);
}

void cs_answer_done(struct cs_answer *answer)
{
    rh_buf_done(&answer->data);
    rh_buf_done(&answer->what);
    free(answer->records);
    answer->records = NULL;
}

struct rh_bytes cs_record_key(const struct cs_answer *answer, const struct cs_record *record)
{
    return rh_bytes(answer->data.data + record->key_at, record->key_size);
}

struct rh_bytes cs_record_value(const struct cs_answer *answer, const struct cs_record *record)
{
    if (!record->has_value || !record->value_size)
        return rh_bytes("", 0);
    return rh_bytes(answer->data.data + record->value_at, record->value_size);
}
