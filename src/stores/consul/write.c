/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing. put and remove only note what is to be done; commit sends it as transactions, several under way at once.
 * Each takes effect as a whole or not at all; one that is refused names every operation that it was refused for, and
 * the others are sent again. A connection that is cut after a request was sent means unknown.
 */
#include "internal.h"

#include <rehome/base.h>

#include <stdio.h>
#include <stdlib.h>

enum { OPS_MOST = CS_OPS - 1, ROUNDS_MOST = 5 }; /* one operation is the guard */

enum item_state { ITEM_LOOK, ITEM_READY, ITEM_SENT, ITEM_SETTLED };

/* A record on its way. */
struct cs_item {
    struct rh_record *record;
    uint64_t index, flags; /* what it is compared with; the flags an existing entry has */
    enum item_state state;
};

/* What is under way on one of the session's calls. */
struct flight {
    size_t items[OPS_MOST];
    size_t count, guard; /* guard: operations before the first item's */
    uint64_t fence_index;
    unsigned tries;
    bool flying;
};

/* A put or remove being carried out. */
struct unit {
    struct rh_ctx *ctx;
    struct cs_session *session;
    const struct rh_unit_op *op;
    struct cs_item *items;
    size_t count, next, most_bytes;
    bool guarded; /* by the marker; not when it is the marker itself that is written */
    struct cs_fence fence;
    bool any_done, lost; /* something was written; something may have been */
    struct flight flights[CS_CALLS];
};

/* --- limits --- */

/* Most bytes of a value whose key has that size. */
static uint64_t value_room(const struct cs_store *store, size_t key_size, uint64_t body_most, uint64_t value_most)
{
    uint64_t frame = 512 + 6 * ((uint64_t)store->path_size + key_size) + 6 * sizeof RH_KV_MARKER;
    uint64_t room = body_most > frame ? (body_most - frame) / 4 * 3 : 0;
    return room < value_most ? room : value_most;
}

static enum rh_status fits(struct rh_store *base,
                           const struct rh_dataset *dataset,
                           struct rh_bytes key,
                           uint64_t value_bytes,
                           struct rh_buf *ret_rival,
                           struct rh_error *err)
{
    (void)dataset;
    struct cs_store *store = (struct cs_store *)base;
    rh_buf_clear(ret_rival);
    pthread_mutex_lock(&store->lock);
    uint64_t body_most = store->body_most, value_most = store->value_most;
    pthread_mutex_unlock(&store->lock);
    if (!key.size)
        return rh_fail(err, RH_E_LIMIT, "the key is empty");
    if (!rh_utf8_valid(key)) {
        rh_fail(err, RH_E_LIMIT, "the key isn't valid UTF-8, which Consul's API can't carry");
        return RH_E_LIMIT;
    }
    uint64_t room = value_room(store, key.size, body_most, value_most);
    if (!room)
        return rh_fail(err, RH_E_LIMIT, "the key has %zu bytes, more than a transaction of Consul's holds", key.size);
    if (value_bytes > room) {
        rh_fail(err, RH_E_LIMIT, "the value has %llu bytes, a transaction of Consul's holds %llu beside this key",
                (unsigned long long)value_bytes, (unsigned long long)room);
        rh_error_hint(
            err,
            "raise limits { txn_max_req_len%s } in the configuration of all Consul servers and of the "
            "agent at 'address'; the token needs agent_prefix \"\" { policy = \"read\" } for rehome to see it",
            value_bytes > value_most ? ", kv_max_value_size" : "");
        return RH_E_LIMIT;
    }
    return RH_OK;
}

/* --- a transaction's text --- */

enum rh_status cs_txn_begin(struct rh_buf *body, struct rh_error *err)
{
    rh_buf_clear(body);
    return rh_buf_u8(body, '[', err);
}

enum rh_status cs_txn_op(struct rh_buf *body,
                         const struct cs_store *store,
                         const char *verb,
                         struct rh_bytes key,
                         const uint64_t *index,
                         struct rh_error *err)
{
    enum rh_status status =
        rh_buf_format(body, err, "%s{\"KV\":{\"Verb\":\"%s\",\"Key\":", body->size > 1 ? "," : "", verb);
    if (!status && store && store->path_size) { /* both parts as one string */
        status = rh_json_quote(body, rh_bytes(store->path, store->path_size), err);
        size_t end = body->size - 1;
        if (!status)
            status = rh_json_quote(body, key, err);
        if (!status) {
            memmove(body->data + end, body->data + end + 2, body->size - end - 2);
            body->size -= 2;
        }
    } else if (!status) {
        status = rh_json_quote(body, key, err);
    }
    if (!status && index)
        status = rh_buf_format(body, err, ",\"Index\":%llu", (unsigned long long)*index);
    return status;
}

enum rh_status cs_txn_value(struct rh_buf *body, struct rh_bytes value, uint64_t flags, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    if (flags)
        status = rh_buf_format(body, err, ",\"Flags\":%llu", (unsigned long long)flags);
    if (!status)
        status = rh_buf_text(body, ",\"Value\":\"", err);
    if (!status)
        status = rh_base64_add(body, value, err);
    return status ? status : rh_buf_u8(body, '"', err);
}

enum rh_status cs_txn_op_end(struct rh_buf *body, struct rh_error *err)
{
    return rh_buf_text(body, "}}", err);
}

enum rh_status cs_txn_end(struct rh_buf *body, struct rh_error *err)
{
    return rh_buf_u8(body, ']', err);
}

/* The value of a record; empty for none. */
static struct rh_bytes value_of(const struct rh_record *record)
{
    return record->field_count ? record->fields[0].value : rh_bytes("", 0);
}

/* The operation of one item. */
static enum rh_status add_item(const struct unit *unit, struct rh_buf *body, const struct cs_item *item)
{
    const struct rh_unit_op *op = unit->op;
    struct rh_error *err = unit->ctx->err;
    bool replace = !op->remove && op->mode == RH_PUT_REPLACE;
    const char *verb = op->remove ? "delete-cas" : replace ? "set" : "cas";
    enum rh_status status =
        cs_txn_op(body, unit->session->store, verb, item->record->key, replace ? NULL : &item->index, err);
    if (!status && !op->remove)
        status = cs_txn_value(body, value_of(item->record), item->flags, err);
    return status ? status : cs_txn_op_end(body, err);
}

/* --- sending --- */

/* A full transaction of what is ready; *ret_any: there was something to send. */
static enum rh_status pack(struct unit *unit, struct flight *flight, struct cs_call *call)
{
    struct rh_error *err = unit->ctx->err;
    rh_buf_clear(&call->target);
    enum rh_status status = rh_buf_text(&call->target, "/v1/txn", err);
    if (!status)
        status = cs_txn_begin(&call->body, err);
    flight->count = flight->guard = 0;
    flight->fence_index = unit->fence.index;
    if (!status && unit->guarded && unit->fence.state == CS_FENCE_AT) {
        status = cs_txn_op(&call->body, unit->session->store, "check-index", rh_bytes_text(RH_KV_MARKER),
                           &unit->fence.index, err);
        if (!status)
            status = cs_txn_op_end(&call->body, err);
        flight->guard = 1;
    }
    for (; !status && unit->next < unit->count && flight->count < OPS_MOST; unit->next++) {
        struct cs_item *item = &unit->items[unit->next];
        if (item->state != ITEM_READY)
            continue;
        size_t before = call->body.size;
        status = add_item(unit, &call->body, item);
        if (!status && flight->count && call->body.size > unit->most_bytes) {
            call->body.size = before;
            break;
        }
        item->state = ITEM_SENT;
        flight->items[flight->count++] = unit->next;
    }
    return status ? status : cs_txn_end(&call->body, err);
}

/* Items that weren't written wait to be sent again. */
static void put_back(struct unit *unit, struct flight *flight)
{
    for (size_t i = 0; i < flight->count; i++) {
        struct cs_item *item = &unit->items[flight->items[i]];
        if (item->state == ITEM_SENT)
            item->state = ITEM_READY;
        if (item->state == ITEM_READY && flight->items[i] < unit->next)
            unit->next = flight->items[i];
    }
    flight->flying = false;
}

/* Everything in it was done. */
static enum rh_status flight_done(struct unit *unit, struct flight *flight, const struct cs_answer *answer)
{
    /* removals have no result of their own, a guard may have one */
    size_t wanted = unit->op->remove ? 0 : flight->count;
    unit->any_done = true;
    if (answer->count < wanted) {
        unit->lost = true;
        return rh_fail(unit->ctx->err, RH_E_CORRUPT,
                       "writing failed: the answer speaks of fewer records than were sent");
    }
    for (size_t i = 0; i < flight->count; i++) {
        struct cs_item *item = &unit->items[flight->items[i]];
        item->record->outcome = RH_OUTCOME_DONE;
        item->state = ITEM_SETTLED;
    }
    flight->flying = false;
    return RH_OK;
}

/* One item's operation was refused: the outcome, or another look. */
static void item_stale(const struct unit *unit, struct cs_item *item)
{
    if (!unit->op->remove && unit->op->mode == RH_PUT_CREATE) {
        item->record->outcome = RH_OUTCOME_EXISTS;
        item->state = ITEM_SETTLED;
    } else {
        item->state = ITEM_LOOK;
    }
}

/* The transaction was refused: nothing of it was done. */
static enum rh_status flight_refused(struct unit *unit, struct flight *flight, const struct cs_answer *answer)
{
    struct rh_error *err = unit->ctx->err;
    bool late = false;
    if (!answer->refused_count)
        return rh_fail(err, RH_E_CORRUPT, "writing failed: refused without a reason");
    for (size_t i = 0; i < answer->refused_count; i++) {
        const struct cs_refused *refused = &answer->refused[i];
        if (refused->why == CS_GUARD && flight->guard && refused->op == 0) {
            late = true;
            continue;
        }
        size_t number = (size_t)refused->op - flight->guard;
        if (refused->why != CS_STALE || refused->op < flight->guard || number >= flight->count) {
            bool denied = refused->why == CS_DENIED;
            rh_fail(err, denied ? RH_E_DENIED : RH_E_STORE, "writing failed: %s",
                    answer->first_what[0] ? answer->first_what : "the server's refusal makes no sense");
            if (denied)
                rh_error_hint(err, "give the token key_prefix \"%s\" { policy = \"write\" }",
                              unit->session->store->path);
            return err->status;
        }
        item_stale(unit, &unit->items[flight->items[number]]);
    }
    put_back(unit, flight);
    if (!late)
        return RH_OK;
    return RH_CHANGED; /* the guard: dealt with when nothing is under way any more */
}

/* Whether a failed transaction certainly had no effect. */
static bool without_effect(const struct cs_call *call)
{
    if (call->http.result == RH_HTTP_NOT_SENT)
        return true;
    if (call->http.result != RH_HTTP_DONE)
        return false;
    if (call->http.status >= 400 && call->http.status < 500)
        return true;
    return call->http.status == 500 && strcmp(call->http.said, "No cluster leader") == 0;
}

/* What came of one transaction. */
static enum rh_status land(struct unit *unit, struct flight *flight, struct cs_call *call)
{
    struct rh_ctx *ctx = unit->ctx;
    enum rh_status status = cs_finish(ctx, unit->session, call, "writing");
    if (!status && call->http.status == 200)
        return flight_done(unit, flight, &call->answer);
    if (!status && call->http.status == 409)
        return flight_refused(unit, flight, &call->answer);
    if (!status)
        return rh_fail(ctx->err, RH_E_STORE, "writing failed: there is no /v1/txn at '%s'",
                       unit->session->store->address);
    if (!without_effect(call)) {
        unit->lost = true;
        flight->flying = false;
        if (ctx->err->retry == RH_RETRY_NEVER && status != RH_E_FULL)
            ctx->err->retry = RH_RETRY_RECONNECT;
        return status;
    }
    unsigned tries = flight->tries++;
    put_back(unit, flight);
    return cs_again(ctx, call, tries) ? RH_OK : status;
}

/* Ends what is under way after a failure, finding out as far as that goes what came of it. The first error's words
 * stay. */
static void land_rest(struct unit *unit)
{
    struct rh_error first = *unit->ctx->err;
    for (size_t i = 0; i < CS_CALLS; i++) {
        struct flight *flight = &unit->flights[i];
        if (!flight->flying)
            continue;
        struct cs_call *call = &unit->session->calls[i];
        bool hopeless = first.status == RH_E_CANCELLED || first.status == RH_E_TIMEOUT || first.status == RH_E_NET;
        if (hopeless) {
            rh_http_stop(unit->session->http, &call->http);
            unit->lost = true;
            continue;
        }
        enum rh_status status = cs_finish(unit->ctx, unit->session, call, "writing");
        if (!status && call->http.status == 200)
            rh_ignore(flight_done(unit, flight, &call->answer)); /* the unit has failed already */
        else if (status && !without_effect(call))
            unit->lost = true;
        flight->flying = false;
    }
    *unit->ctx->err = first;
}

/* Sends everything that is ready. RH_CHANGED: the guard refused some. */
static enum rh_status send_ready(struct unit *unit)
{
    struct cs_session *session = unit->session;
    enum rh_status status = RH_OK;
    bool late = false;
    size_t oldest = 0, busy = 0;
    unit->next = 0;
    for (;;) {
        while (!status && !late && busy < session->window) {
            size_t slot = (oldest + busy) % CS_CALLS;
            struct flight *flight = &unit->flights[slot];
            status = pack(unit, flight, &session->calls[slot]);
            if (status || !flight->count)
                break;
            rh_crash_point("consul-commit");
            session->calls[slot].answer.kind = CS_ANSWER_TXN;
            session->calls[slot].answer.keep_values = false;
            status = cs_start(session, &session->calls[slot], "PUT", unit->ctx->err);
            flight->flying = !status;
            busy += !status;
        }
        if (status || !busy)
            break;
        status = land(unit, &unit->flights[oldest], &session->calls[oldest]);
        if (status == RH_CHANGED) {
            late = true;
            status = RH_OK;
        }
        oldest = (oldest + 1) % CS_CALLS;
        busy--;
    }
    if (status)
        land_rest(unit);
    return status ? status : late ? RH_CHANGED : RH_OK;
}

/* --- comparing --- */

struct looking {
    struct unit *unit;
    size_t at;
};

/* The next item that has to be looked at. */
static enum rh_status look_key(void *user, struct rh_bytes *ret_key, struct rh_error *err)
{
    struct looking *looking = user;
    (void)err;
    while (looking->at < looking->unit->count) {
        const struct cs_item *item = &looking->unit->items[looking->at++];
        if (item->state == ITEM_LOOK) {
            *ret_key = item->record->key;
            return RH_OK;
        }
    }
    return RH_END;
}

/* Decides for one item by what the store holds; NULL: nothing. */
static void
judge(struct unit *unit, struct cs_item *item, const struct cs_answer *answer, const struct cs_record *found)
{
    struct rh_record *record = item->record;
    bool good;
    if (!found) {
        good = !unit->op->remove && record->expect_absent;
    } else {
        struct rh_field field = {.tag = RH_TAG_BYTES, .value = cs_record_value(answer, found)};
        struct rh_record held = {
            .key = record->key, .fields = &field, .field_count = 1, .value_bytes = field.value.size};
        good = (unit->op->remove || !record->expect_absent) &&
               rh_hash_equal(rh_digest_record(unit->session->unit.digest, RH_KV_DATASET, &held), record->expect);
    }
    item->index = found ? found->modify_index : 0;
    item->flags = found ? found->flags : 0;
    item->state = good ? ITEM_READY : ITEM_SETTLED;
    if (!good)
        record->outcome = RH_OUTCOME_CHANGED;
}

/* Reads what the store holds of all items to be looked at, in their order. */
static enum rh_status look(struct unit *unit)
{
    struct looking looking = {.unit = unit};
    struct cs_fetch fetch = {.session = unit->session, .next_key = look_key, .user = &looking, .keep_values = true};
    enum rh_status status = RH_OK;
    size_t at = 0;
    cs_fetch_begin(&fetch);
    while (!status) {
        const struct cs_answer *answer = NULL;
        const struct cs_record *record = NULL;
        status = cs_fetch_next(unit->ctx, &fetch, &answer, &record);
        if (rh_failed(status))
            break;
        for (; at < unit->count; at++) {
            struct cs_item *item = &unit->items[at];
            if (item->state != ITEM_LOOK)
                continue;
            struct rh_bytes key = {0};
            if (!status) {
                key = cs_record_key(answer, record);
                key = rh_bytes(key.data + unit->session->store->path_size, key.size - unit->session->store->path_size);
            }
            bool found = !status && rh_bytes_equal(key, item->record->key);
            judge(unit, item, answer, found ? record : NULL);
            if (found) {
                at++;
                break;
            }
        }
    }
    cs_fetch_done(&fetch);
    return status == RH_END ? RH_OK : status;
}

/* --- a unit --- */

/* Whether records of the batch have the same key. */
static int by_key(const void *a, const void *b)
{
    return rh_bytes_compare(((const struct cs_item *)a)->record->key, ((const struct cs_item *)b)->record->key);
}

static bool has_twins(struct cs_item *items, size_t count)
{
    bool ascending = true;
    for (size_t i = 1; i < count && ascending; i++)
        ascending = by_key(&items[i - 1], &items[i]) < 0;
    if (ascending)
        return false;
    qsort(items, count, sizeof *items, by_key); /* their order doesn't matter any more when there are none */
    for (size_t i = 1; i < count; i++)
        if (by_key(&items[i - 1], &items[i]) == 0)
            return true;
    return false;
}

/* Looks, sends, and again for what others changed in between. */
static enum rh_status run_items(struct unit *unit)
{
    const struct rh_unit_op *op = unit->op;
    bool compares = op->remove || op->mode == RH_PUT_IF_HASH;
    for (int round = 0; round < ROUNDS_MOST;) {
        enum rh_status status = RH_OK;
        if (unit->guarded)
            status = cs_fence_need(unit->ctx, unit->session, &unit->fence);
        if (!status && compares)
            status = look(unit);
        if (!status)
            status = send_ready(unit);
        if (status == RH_CHANGED) {
            status = cs_fence_refused(unit->ctx, unit->session, unit->fence.index, &unit->fence);
            if (status)
                return status;
            continue; /* what was refused is ready still */
        }
        if (status)
            return status;
        bool again = false;
        for (size_t i = 0; i < unit->count; i++)
            again = again || unit->items[i].state == ITEM_LOOK || unit->items[i].state == ITEM_READY;
        if (!again)
            return RH_OK;
        round++;
    }
    rh_fail(unit->ctx->err, RH_E_STORE, "writing failed: another writer keeps changing the same keys");
    unit->ctx->err->retry = RH_RETRY_LATER;
    return RH_E_STORE;
}

static bool is_marker(const struct rh_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (rh_bytes_equal(batch->records[i].key, rh_bytes_text(RH_KV_MARKER)))
            return true;
    return false;
}

/* One put or remove. */
static enum rh_status run_op(struct unit *unit)
{
    struct cs_session *session = unit->session;
    struct rh_batch *batch = unit->op->batch;
    enum item_state first = unit->op->remove || unit->op->mode == RH_PUT_IF_HASH ? ITEM_LOOK : ITEM_READY;
    if (batch->count > session->item_capacity) {
        struct cs_item *grown = realloc(session->items, batch->count * sizeof *grown);
        if (!grown)
            return rh_fail_memory(unit->ctx->err);
        session->items = grown;
        session->item_capacity = batch->count;
    }
    for (size_t i = 0; i < batch->count; i++) {
        batch->records[i].outcome = RH_OUTCOME_NONE;
        session->items[i] = (struct cs_item){.record = &batch->records[i], .state = first};
    }
    unit->guarded = !is_marker(batch);
    unit->items = session->items;
    unit->count = batch->count;
    if (!has_twins(session->items, batch->count))
        return run_items(unit);
    /* keys that are there twice: one record after the other, in the batch's order */
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < batch->count; i++) {
        session->items[0] = (struct cs_item){.record = &batch->records[i], .state = first};
        unit->count = 1;
        status = run_items(unit);
    }
    return status;
}

/* Outcomes of a unit that failed say nothing. */
static enum rh_status commit(struct rh_ctx *ctx, struct rh_session *base, enum rh_commit *ret_commit)
{
    struct cs_session *session = (struct cs_session *)base;
    struct cs_store *store = session->store;
    *ret_commit = RH_COMMIT_NOT_DONE;
    enum rh_status status = rh_unit_may_commit(ctx, &session->unit);
    if (status)
        return status;
    struct unit unit = {.ctx = ctx, .session = session};
    pthread_mutex_lock(&store->lock);
    unit.most_bytes = (size_t)store->body_most - 1; /* the closing bracket */
    pthread_mutex_unlock(&store->lock);
    status = rh_ctx_check(ctx);
    cs_drop_calls(session);
    for (size_t i = 0; !status && i < session->unit.op_count; i++) {
        unit.op = &session->unit.ops[i];
        status = run_op(&unit);
        if (is_marker(unit.op->batch))
            cs_fence_forget(store);
    }
    if (status) {
        rh_unit_forget(&session->unit);
        if (unit.lost)
            cs_fence_lost(store);
        if (unit.lost || unit.any_done)
            *ret_commit = RH_COMMIT_UNKNOWN;
    } else {
        *ret_commit = RH_COMMIT_DONE;
    }
    rh_unit_end(&session->unit);
    return status;
}

static enum rh_status
begin(struct rh_ctx *ctx, struct rh_session *base, const struct rh_dataset *dataset, const struct rh_digest_key *digest)
{
    (void)dataset;
    struct cs_session *session = (struct cs_session *)base;
    enum rh_status status = rh_unit_may_begin(ctx, &session->unit);
    if (status)
        return status;
    rh_unit_begin(&session->unit, digest);
    return RH_OK;
}

static enum rh_status put(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch, enum rh_put_mode mode)
{
    struct cs_session *session = (struct cs_session *)base;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->records[i].field_count && !rh_kv_value(&batch->records[i])) {
            rh_fail(ctx->err, RH_E_LIMIT, "Consul can't tell NULL from an empty value");
            return rh_error_prepend(ctx->err, "writing '%s'", RH_SHOW(batch->records[i].key));
        }
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .mode = mode});
}

static enum rh_status remove_batch(struct rh_ctx *ctx, struct rh_session *base, struct rh_batch *batch)
{
    struct cs_session *session = (struct cs_session *)base;
    return rh_unit_add(ctx, base->store, &session->unit, &(struct rh_unit_op){.batch = batch, .remove = true});
}

static void abort_unit(struct rh_session *base)
{
    /* Nothing was sent before commit. */
    rh_unit_end(&((struct cs_session *)base)->unit);
}

const struct rh_write_ops cs_write_ops = {
    .fits = fits,
    .begin = begin,
    .put = put,
    .remove = remove_batch,
    .commit = commit,
    .abort = abort_unit,
};
