/* SPDX-License-Identifier: Apache-2.0 */
/* One side of a move: opening its store and sessions, and scans without the records that aren't the move's. */
#include "internal.h"

const char *side_name(enum rh_side which)
{
    return which == RH_SIDE_SOURCE ? "source" : which == RH_SIDE_DESTINATION ? "destination" : "move";
}

enum rh_status side_status(const struct side *side, struct rh_error *err, enum rh_status status)
{
    if (rh_failed(status) && err)
        err->side = side->which;
    return status;
}

enum rh_status side_store(struct move_run *move, struct side *side, struct rh_error *err)
{
    if (side->store)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    const struct rh_store_args args = {
        .options = side->endpoint->options,
        .side = side->which,
        .vault_config = move->engine->plan->vault_config,
        .name = move->plan->name,
        .spool_dir = move->engine->plan->state_dir,
    };
    return side_status(side, err, side->endpoint->driver->open(&ctx, &args, &side->store));
}

enum rh_status side_open(struct move_run *move, struct side *side, struct rh_error *err)
{
    if (side->session)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    enum rh_status status = side_store(move, side, err);
    return status == RH_OK ? side_session(side, &ctx, RH_ROLE_CONTROL, &side->session) : status;
}

void side_close(struct side *side)
{
    side_session_close(side->session);
    side->session = NULL;
    if (side->store)
        side->endpoint->driver->close(side->store);
    side->store = NULL;
}

enum rh_status side_session(struct side *side, struct rh_ctx *ctx, enum rh_role role, struct rh_session **ret_session)
{
    return side_status(side, ctx->err, side->store->driver->session_open(ctx, side->store, role, ret_session));
}

enum rh_status side_scan_open(struct side *side,
                              struct rh_ctx *ctx,
                              struct rh_session *session,
                              const struct rh_dataset *dataset,
                              struct rh_range range,
                              struct rh_bytes after,
                              unsigned flags,
                              struct rh_scan **ret_scan)
{
    return side_status(side, ctx->err,
                       side->store->driver->read->scan_open(ctx, session, dataset, range, after, flags, ret_scan));
}

/* Takes marker and owner's lock out of a batch that was just read. */
static void drop_private(enum rh_model model, struct rh_batch *batch)
{
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (marker_is_private(model, batch->records[i].key))
            batch->bytes -= batch->records[i].key.size + batch->records[i].value_bytes;
        else {
            if (kept != i)
                batch->records[kept] = batch->records[i];
            kept++;
        }
    }
    batch->count = kept;
}

enum rh_status side_scan_next(struct side *side,
                              struct rh_ctx *ctx,
                              struct rh_scan *scan,
                              size_t want_bytes,
                              size_t want_records,
                              struct rh_batch *batch)
{
    const struct rh_driver *driver = side->store->driver;
    for (;;) {
        rh_batch_clear(batch);
        enum rh_status status = driver->read->scan_next(ctx, scan, want_bytes, want_records, batch);
        if (status != RH_OK)
            return side_status(side, ctx->err, status);
        drop_private(driver->model, batch);
        if (batch->count > 0)
            return RH_OK;
    }
}

void side_scan_close(struct rh_scan *scan)
{
    if (scan)
        scan->session->store->driver->read->scan_close(scan);
}

/* New control sessions, after a failure that may have killed the old ones. */
enum rh_status sides_reconnect(struct move_run *move, struct rh_error *err)
{
    struct side *const sides[] = {&move->source, &move->destination};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < 2; i++) {
        side_session_close(sides[i]->session);
        sides[i]->session = NULL;
        status = side_open(move, sides[i], err);
    }
    return status;
}

enum rh_status stream_open(struct stream *stream,
                           struct move_run *move,
                           struct side *side,
                           struct rh_ctx *ctx,
                           struct rh_session **kept,
                           struct rh_batch *batch,
                           struct rh_range range,
                           unsigned flags)
{
    *stream = (struct stream){
        .side = side, .move = move, .ctx = ctx, .kept = kept, .flags = flags, .ended = side->facts.exists == RH_NO};
    stream->batch = batch ? batch : &stream->own;
    rh_batch_clear(stream->batch);
    if (stream->ended)
        return RH_OK;
    struct rh_session *none = NULL;
    enum rh_status status = lane_session(kept ? kept : &none, side, ctx, RH_ROLE_READ, &stream->session);
    if (status == RH_OK)
        status = side_scan_open(side, ctx, stream->session, &move->dataset, range, (struct rh_bytes){0}, flags,
                                &stream->scan);
    return status;
}

/* The next batch; hashes its records unless only keys are read. */
static enum rh_status stream_read(struct stream *stream)
{
    const bool keys_only = stream->flags & RH_SCAN_KEYS_ONLY;
    struct move_run *move = stream->move;
    stream->at = 0;
    if (!fences_tick(move->engine))
        return fences_hold(move->engine, stream->ctx->err);
    enum rh_status status = side_scan_next(stream->side, stream->ctx, stream->scan, engine_batch_bytes(move),
                                           keys_only ? KEYS_BATCH_RECORDS : BATCH_RECORDS, stream->batch);
    stream->ended = status == RH_END;
    for (size_t i = 0; status == RH_OK && !keys_only && i < stream->batch->count; i++)
        stream->batch->records[i].hash =
            rh_digest_record(&move->digest, move->dataset.name, &stream->batch->records[i]);
    return status == RH_END ? RH_OK : status;
}

enum rh_status stream_peek(struct stream *stream, const struct rh_record **ret_record)
{
    enum rh_status status = RH_OK;
    if (!stream->ended && stream->at == stream->batch->count)
        status = stream_read(stream);
    if (status == RH_OK)
        *ret_record = stream->ended ? NULL : &stream->batch->records[stream->at];
    return status;
}

void stream_close(struct stream *stream)
{
    side_scan_close(stream->scan);
    if (stream->kept)
        lane_session_leave(stream->kept, stream->session, stream->ended ? RH_OK : RH_E_CANCELLED);
    else
        side_session_close(stream->session);
    rh_batch_done(&stream->own);
}
