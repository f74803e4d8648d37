/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: the keys of a scan come from a listing, their records from transactions of gets, several of them under way
 * at once and taken in order. A transaction with a key that is gone is refused as a whole and asked again without it.
 * Consul leaves out of its answer, without a word, what the token may not read: an answer must have every key that was
 * asked for.
 */
#include "internal.h"
#include <common.h>

#include <stdio.h>
#include <stdlib.h>

/* --- chunks: one transaction of gets --- */

/* The key with the path, of a chunk. */
static struct rh_bytes chunk_key(const struct cs_chunk *chunk, size_t number)
{
    size_t from = number ? chunk->ends[number - 1] : 0;
    return rh_bytes(chunk->text.data + from, chunk->ends[number] - from);
}

/* Most bytes of a transaction's body; a little below what the server takes. */
static size_t body_most(struct cs_store *store)
{
    pthread_mutex_lock(&store->lock);
    uint64_t most = store->body_most;
    pthread_mutex_unlock(&store->lock);
    return (size_t)(most > CS_BODY_DEFAULT ? CS_BODY_DEFAULT : most) - 1024;
}

/* Takes keys until the chunk is full. Without any: the fetch has ended. */
static enum rh_status fill_chunk(struct cs_fetch *fetch, struct cs_chunk *chunk, struct rh_error *err)
{
    struct cs_store *store = fetch->session->store;
    const size_t most = body_most(store);
    size_t bytes = 0;
    rh_buf_clear(&chunk->text);
    chunk->count = chunk->left_count = chunk->given = 0;
    chunk->tries = 0;
    chunk->started = chunk->answered = false;
    while (!fetch->ended && chunk->count < fetch->session->ops_want) {
        struct rh_bytes key = rh_buf_bytes(&fetch->held);
        enum rh_status status = RH_OK;
        if (!fetch->has_held)
            status = fetch->next_key(fetch->user, &key, err);
        if (status == RH_END) {
            fetch->ended = true;
            break;
        }
        size_t cost = 6 * (store->path_size + key.size) + 64;
        if (!status && chunk->count && bytes + cost > most) {
            if (!fetch->has_held) {
                rh_buf_clear(&fetch->held);
                status = rh_buf_add(&fetch->held, key.data, key.size, err);
                fetch->has_held = true;
            }
            return status;
        }
        if (!status)
            status = rh_buf_add(&chunk->text, store->path, store->path_size, err);
        if (!status)
            status = rh_buf_add(&chunk->text, key.data, key.size, err);
        if (status)
            return status;
        fetch->has_held = false;
        bytes += cost;
        chunk->left[chunk->left_count++] = (uint8_t)chunk->count;
        chunk->ends[chunk->count++] = chunk->text.size;
    }
    return RH_OK;
}

/* Sends the gets of what is left of a chunk. */
static enum rh_status
start_chunk(struct cs_fetch *fetch, struct cs_chunk *chunk, struct cs_call *call, struct rh_error *err)
{
    rh_buf_clear(&call->body);
    rh_buf_clear(&call->target);
    enum rh_status status = rh_buf_text(&call->target, "/v1/txn?consistent", err);
    if (!status)
        status = cs_txn_begin(&call->body, err);
    for (size_t i = 0; !status && i < chunk->left_count; i++) {
        status = cs_txn_op(&call->body, NULL, "get", chunk_key(chunk, chunk->left[i]), NULL, err);
        if (!status)
            status = cs_txn_op_end(&call->body, err);
    }
    if (!status)
        status = cs_txn_end(&call->body, err);
    call->answer.kind = CS_ANSWER_TXN;
    call->answer.keep_values = fetch->keep_values;
    chunk->given = 0;
    chunk->answered = false;
    chunk->started = true;
    return status ? status : cs_start(fetch->session, call, "PUT", err);
}

/* Takes the keys that are gone out of a refused chunk. */
static enum rh_status drop_absent(struct cs_chunk *chunk, const struct cs_answer *answer, struct rh_error *err)
{
    bool gone[CS_OPS] = {false};
    for (size_t i = 0; i < answer->refused_count; i++) {
        const struct cs_refused *refused = &answer->refused[i];
        if (refused->why != CS_ABSENT || refused->op >= chunk->left_count) {
            bool denied = refused->why == CS_DENIED;
            return rh_fail(err, denied ? RH_E_DENIED : RH_E_STORE, "reading failed: %s",
                           answer->first_what[0] ? answer->first_what : "the server's refusal makes no sense");
        }
        gone[refused->op] = true;
    }
    if (!answer->refused_count)
        return rh_fail(err, RH_E_CORRUPT, "reading failed: refused without a reason");
    size_t kept = 0;
    for (size_t i = 0; i < chunk->left_count; i++)
        if (!gone[i])
            chunk->left[kept++] = chunk->left[i];
    chunk->left_count = kept;
    return RH_OK;
}

/* The answer holds what was asked for, in that order. */
static enum rh_status check_answer(const struct cs_chunk *chunk, const struct cs_answer *answer, struct rh_error *err)
{
    size_t wanted = chunk->left_count;
    if (answer->count > wanted)
        return rh_fail(err, RH_E_CORRUPT, "reading failed: the answer holds more than was asked for");
    for (size_t i = 0; i < answer->count; i++) {
        struct rh_bytes key = chunk_key(chunk, chunk->left[i]);
        if (rh_bytes_equal(key, cs_record_key(answer, &answer->records[i])))
            continue;
        rh_fail(err, RH_E_DENIED, "reading '%s' failed: the token may not read it (Consul left it out)", RH_SHOW(key));
        rh_error_hint(err, "give the token the right to read the whole path");
        return RH_E_DENIED;
    }
    if (answer->count == wanted || answer->cut)
        return RH_OK;
    struct rh_bytes key = chunk_key(chunk, chunk->left[answer->count]);
    rh_fail(err, RH_E_DENIED, "reading '%s' failed: the token may not read it (Consul left it out)", RH_SHOW(key));
    rh_error_hint(err, "give the token the right to read the whole path");
    return RH_E_DENIED;
}

/* How many keys the next answers should have, by the sizes of this one. */
static void adapt(struct cs_session *session, const struct cs_answer *answer)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < answer->count; i++)
        bytes += answer->records[i].value_size;
    size_t mean = answer->count ? (size_t)(bytes / answer->count) + 1 : 1;
    size_t want = CS_ANSWER_WANT / mean;
    session->ops_want = want < 1 ? 1 : want > CS_OPS ? CS_OPS : want;
}

/* Waits for the head's answer, asking again as often as it takes. Afterwards: answered, or nothing left of it. */
static enum rh_status
await_chunk(struct rh_ctx *ctx, struct cs_fetch *fetch, struct cs_chunk *chunk, struct cs_call *call)
{
    while (chunk->left_count && !chunk->answered) {
        enum rh_status status = chunk->started ? RH_OK : start_chunk(fetch, chunk, call, ctx->err);
        if (!status)
            status = cs_finish(ctx, fetch->session, call, "reading");
        if (!status && call->http.status == 404)
            status = rh_fail(ctx->err, RH_E_STORE, "reading failed: there is no /v1/txn at '%s'",
                             fetch->session->store->address);
        chunk->started = false;
        if (status) {
            if (!cs_again(ctx, call, chunk->tries++))
                return status;
            continue;
        }
        if (call->http.status == 409)
            status = drop_absent(chunk, &call->answer, ctx->err);
        else {
            status = check_answer(chunk, &call->answer, ctx->err);
            chunk->answered = !status;
            adapt(fetch->session, &call->answer);
        }
        if (status)
            return status;
    }
    return RH_OK;
}

/* --- fetching --- */

void cs_fetch_begin(struct cs_fetch *fetch)
{
    cs_drop_calls(fetch->session);
    fetch->ended = fetch->has_held = false;
}

/* Keeps as many requests under way as there may be. */
static enum rh_status refill(struct cs_fetch *fetch, struct rh_error *err)
{
    struct cs_session *session = fetch->session;
    while (!fetch->ended && session->busy < session->window) {
        size_t slot = (session->head + session->busy) % CS_CALLS;
        enum rh_status status = fill_chunk(fetch, &session->chunks[slot], err);
        if (!status && session->chunks[slot].count)
            status = start_chunk(fetch, &session->chunks[slot], &session->calls[slot], err);
        if (status)
            return status;
        if (session->chunks[slot].count)
            session->busy++;
    }
    return RH_OK;
}

/* What the answer held was handed out: on to what it didn't hold. */
static void advance(struct cs_chunk *chunk, const struct cs_answer *answer)
{
    chunk->left_count -= answer->count;
    memmove(chunk->left, chunk->left + answer->count, chunk->left_count);
    chunk->answered = false;
}

enum rh_status cs_fetch_next(struct rh_ctx *ctx,
                             struct cs_fetch *fetch,
                             const struct cs_answer **ret_answer,
                             const struct cs_record **ret_record)
{
    struct cs_session *session = fetch->session;
    for (;;) {
        enum rh_status status = refill(fetch, ctx->err);
        if (status)
            return status;
        if (!session->busy)
            return RH_END;
        struct cs_chunk *chunk = &session->chunks[session->head];
        struct cs_call *call = &session->calls[session->head];
        status = await_chunk(ctx, fetch, chunk, call);
        if (status)
            return status;
        if (chunk->answered && chunk->given < call->answer.count) {
            *ret_answer = &call->answer;
            *ret_record = &call->answer.records[chunk->given++];
            return RH_OK;
        }
        if (chunk->answered)
            advance(chunk, &call->answer);
        if (!chunk->left_count) {
            session->head = (session->head + 1) % CS_CALLS;
            session->busy--;
        }
    }
}

void cs_fetch_done(struct cs_fetch *fetch)
{
    cs_drop_calls(fetch->session);
    rh_buf_done(&fetch->held);
}

/* Adds a record to a batch. */
static enum rh_status add_record(const struct cs_session *session,
                                 struct rh_batch *batch,
                                 const struct cs_answer *answer,
                                 const struct cs_record *record,
                                 struct rh_error *err)
{
    struct rh_bytes key = cs_record_key(answer, record);
    key = rh_bytes(key.data + session->store->path_size, key.size - session->store->path_size);
    struct rh_record *added = rh_batch_add_kv(batch, key, cs_record_value(answer, record), false);
    return added ? RH_OK : rh_fail_memory(err);
}

/* --- scans --- */

struct cs_scan {
    struct rh_scan base;
    struct cs_session *session;
    struct cs_cursor cursor;
    struct cs_fetch fetch;
    struct rh_buf to;
    unsigned flags;
    bool ended;
};

/* The scan's next key. */
static enum rh_status scan_key(void *user, struct rh_bytes *ret_key, struct rh_error *err)
{
    struct cs_scan *scan = user;
    enum rh_status status = cs_cursor_next(&scan->cursor, ret_key, err);
    if (!status && scan->to.size && rh_bytes_compare(*ret_key, rh_buf_bytes(&scan->to)) >= 0)
        return RH_END;
    return status;
}

static void scan_close(struct rh_scan *base)
{
    struct cs_scan *scan = (struct cs_scan *)base;
    if (!scan)
        return;
    cs_fetch_done(&scan->fetch);
    cs_cursor_done(&scan->cursor);
    rh_buf_done(&scan->to);
    scan->session->scanning = false;
    free(scan);
}

static enum rh_status scan_open(struct rh_ctx *ctx,
                                struct rh_session *base,
                                const struct rh_dataset *dataset,
                                struct rh_range range,
                                struct rh_bytes after,
                                unsigned flags,
                                struct rh_scan **ret_scan)
{
    (void)dataset;
    struct cs_session *session = (struct cs_session *)base;
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    struct cs_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return rh_fail_memory(ctx->err);
    scan->base.session = base;
    scan->session = session;
    scan->flags = flags;
    scan->fetch = (struct cs_fetch){
        .session = session, .next_key = scan_key, .user = scan, .keep_values = !(flags & RH_SCAN_KEYS_ONLY)};
    session->scanning = true;
    const struct rh_scan_start start = rh_scan_start(range, after);
    status = cs_listing_get(ctx, session, range, &scan->cursor.listing);
    if (!status)
        status = cs_cursor_seek(&scan->cursor, start.key, start.past, ctx->err);
    if (!status)
        status = rh_buf_add(&scan->to, range.to.data, range.to.size, ctx->err);
    cs_fetch_begin(&scan->fetch);
    if (status) {
        scan_close(&scan->base);
        return status;
    }
    *ret_scan = &scan->base;
    return RH_OK;
}

/* Keys alone need no more than the listing. */
static enum rh_status next_name(struct rh_ctx *ctx, struct cs_scan *scan, struct rh_batch *batch)
{
    struct rh_bytes key;
    enum rh_status status = scan_key(scan, &key, ctx->err);
    if (status)
        return status;
    struct rh_record *record = rh_batch_add(batch);
    if (!record)
        return rh_fail_memory(ctx->err);
    record->key = rh_arena_copy(&batch->arena, key);
    if (key.size && !record->key.data)
        return rh_fail_memory(ctx->err);
    batch->bytes += key.size;
    return RH_OK;
}

/* The next record as the scan's flags want it. */
static enum rh_status next_record(struct rh_ctx *ctx, struct cs_scan *scan, struct rh_batch *batch)
{
    if ((scan->flags & (RH_SCAN_KEYS_ONLY | RH_SCAN_SIZES)) == RH_SCAN_KEYS_ONLY)
        return next_name(ctx, scan, batch);
    const struct cs_answer *answer = NULL;
    const struct cs_record *record = NULL;
    enum rh_status status = cs_fetch_next(ctx, &scan->fetch, &answer, &record);
    if (status)
        return status;
    if (!(scan->flags & RH_SCAN_KEYS_ONLY))
        return add_record(scan->session, batch, answer, record, ctx->err);
    struct rh_bytes key = cs_record_key(answer, record);
    struct rh_record *added = rh_batch_add(batch);
    if (!added)
        return rh_fail_memory(ctx->err);
    size_t path = scan->session->store->path_size;
    added->key = rh_arena_copy(&batch->arena, rh_bytes(key.data + path, key.size - path));
    if (!added->key.data)
        return rh_fail_memory(ctx->err);
    added->value_bytes = record->value_size;
    batch->bytes += added->key.size;
    return RH_OK;
}

/* The end of a scan: did the store stand still? The records' digests say whether it matters. */
static enum rh_status end_scan(struct rh_ctx *ctx, struct cs_scan *scan)
{
    bool changed = false;
    scan->ended = true;
    if (scan->flags & RH_SCAN_KEYS_ONLY)
        return RH_END;
    enum rh_status status = cs_listing_compare(ctx, scan->session, scan->cursor.listing, &changed);
    if (status)
        return status;
    if (changed)
        rh_log(RH_LOG_INFO, "something below the path was written while it was read",
               {"address", scan->session->store->address});
    return RH_END;
}

static enum rh_status
scan_next(struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct cs_scan *scan = (struct cs_scan *)base;
    rh_batch_clear(batch);
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (scan->ended)
        return RH_END;
    do {
        status = next_record(ctx, scan, batch);
        if (status)
            break;
        if ((batch->count & 1023) == 0 && (status = rh_ctx_check(ctx)))
            break;
    } while (batch->bytes < want_bytes && batch->count < want_records);
    if (status == RH_END)
        return batch->count ? RH_OK : end_scan(ctx, scan);
    return status;
}

/* --- gets --- */

struct cs_wanted {
    const struct rh_bytes *keys;
    size_t count, at;
};

/* The next key that can be asked for; one that isn't UTF-8 can't be there. */
static enum rh_status wanted_key(void *user, struct rh_bytes *ret_key, struct rh_error *err)
{
    struct cs_wanted *wanted = user;
    (void)err;
    while (wanted->at < wanted->count) {
        struct rh_bytes key = wanted->keys[wanted->at++];
        if (key.size && rh_utf8_valid(key)) {
            *ret_key = key;
            return RH_OK;
        }
    }
    return RH_END;
}

static enum rh_status get(struct rh_ctx *ctx,
                          struct rh_session *base,
                          const struct rh_dataset *dataset,
                          const struct rh_bytes *keys,
                          size_t count,
                          struct rh_batch *out)
{
    (void)dataset;
    struct cs_session *session = (struct cs_session *)base;
    struct cs_wanted wanted = {.keys = keys, .count = count};
    struct cs_fetch fetch = {.session = session, .next_key = wanted_key, .user = &wanted, .keep_values = true};
    struct cs_fence fence;
    enum rh_status status = rh_ctx_check(ctx);
    /* what a writer sees must not be overtaken by an earlier attempt */
    if (!status && base->role == RH_ROLE_WRITE)
        status = cs_fence_need(ctx, session, &fence);
    if (status)
        return status;
    cs_fetch_begin(&fetch);
    while (!status && !rh_batch_has_enough(out)) {
        const struct cs_answer *answer = NULL;
        const struct cs_record *record = NULL;
        status = cs_fetch_next(ctx, &fetch, &answer, &record);
        if (!status)
            status = add_record(session, out, answer, record, ctx->err);
    }
    cs_fetch_done(&fetch);
    return status == RH_END ? RH_OK : status;
}

enum rh_status cs_get_one(struct rh_ctx *ctx,
                          struct cs_session *session,
                          struct rh_bytes key,
                          const struct cs_answer **ret_answer,
                          const struct cs_record **ret_record)
{
    struct cs_wanted wanted = {.keys = &key, .count = 1};
    struct cs_fetch fetch = {.session = session, .next_key = wanted_key, .user = &wanted, .keep_values = true};
    cs_fetch_begin(&fetch);
    enum rh_status status = cs_fetch_next(ctx, &fetch, ret_answer, ret_record);
    cs_fetch_done(&fetch);
    return status == RH_END ? RH_NOT_FOUND : status;
}

const struct rh_read_ops cs_read_ops = {
    .datasets = rh_kv_datasets,
    .scan_open = scan_open,
    .scan_next = scan_next,
    .scan_close = scan_close,
    .get = get,
};
