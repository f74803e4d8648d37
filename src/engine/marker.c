/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The marker: the record that says "a migration is going on here". In the kv model it is Vault's own core/migration
 * with Vault's own JSON, so that a Vault refuses to start on a marked store, and we on one that Vault's command has
 * marked. Source: hashicorp/vault command/operator_migrate.go (the lock's path and its one member "start").
 */
#include "internal.h"

bool marker_is_private(enum rh_model model, struct rh_bytes key)
{
    return model == RH_MODEL_KV &&
           (rh_bytes_equal(key, rh_bytes_text(RH_KV_MARKER)) || rh_bytes_equal(key, rh_bytes_text(RH_KV_LOCK)));
}

/* The marker as a record of a one-record batch. */
static enum rh_status marker_batch(struct rh_batch *batch, struct rh_bytes marker, struct rh_error *err)
{
    return rh_batch_add_kv(batch, rh_bytes_text(RH_KV_MARKER), marker, false) ? RH_OK : rh_fail_memory(err);
}

/* Whether a side holds no marker at all. */
static bool is_unmarked(const struct side *side)
{
    const struct rh_driver *driver = side->endpoint->driver;
    return driver->guard && driver->guard->unmarked;
}

bool marker_left_away(const struct side *side)
{
    return is_unmarked(side) || (side->which == RH_SIDE_SOURCE && side->endpoint->driver->model == RH_MODEL_KEYRING);
}

const char *marker_name(const struct side *side)
{
    return side->endpoint->driver->model == RH_MODEL_KEYRING ? "the key 'rehome-migration'" : RH_KV_MARKER;
}

enum rh_status marker_get(struct side *side, struct rh_ctx *ctx, struct rh_buf *ret_marker)
{
    if (is_unmarked(side))
        return RH_NOT_FOUND;
    const struct rh_driver *driver = side->store->driver;
    if (driver->guard && driver->guard->marker_get)
        return side_status(side, ctx->err, driver->guard->marker_get(ctx, side->session, ret_marker));
    const struct rh_dataset dataset = {.name = RH_KV_DATASET};
    const struct rh_bytes key = rh_bytes_text(RH_KV_MARKER);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = driver->read->get(ctx, side->session, &dataset, &key, 1, &batch);
    if (status != RH_OK)
        return side_status(side, ctx->err, status);
    if (batch.count == 0)
        return RH_NOT_FOUND;
    rh_buf_clear(ret_marker);
    const struct rh_bytes value = batch.records[0].fields[0].value;
    return rh_buf_add(ret_marker, value.data, value.size, ctx->err);
}

/* One put or remove of the marker record, committed, on a session of its own: with its end the driver puts away what it
 * needs for writing. */
static enum rh_status
marker_write(struct side *side, struct rh_ctx *ctx, struct rh_bytes marker, bool set, enum rh_outcome *ret_outcome)
{
    const struct rh_driver *driver = side->store->driver;
    const struct rh_dataset dataset = {.name = RH_KV_DATASET};
    struct rh_digest_key digest = {.secret_records = false};
    struct rh_session *session = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = rh_digest_key_new(&digest, ctx->err);
    if (status == RH_OK)
        status = marker_batch(&batch, marker, ctx->err);
    if (status != RH_OK)
        return status;
    batch.records[0].expect = rh_digest_record(&digest, dataset.name, &batch.records[0]);
    status = side_session(side, ctx, RH_ROLE_WRITE, &session);
    if (status == RH_OK)
        status = driver->write->begin(ctx, session, &dataset, &digest);
    if (status == RH_OK) {
        enum rh_commit commit = RH_COMMIT_NOT_DONE;
        status =
            set ? driver->write->put(ctx, session, &batch, RH_PUT_CREATE) : driver->write->remove(ctx, session, &batch);
        if (status == RH_OK)
            status = driver->write->commit(ctx, session, &commit);
        else
            driver->write->abort(session);
    }
    side_session_close(session);
    *ret_outcome = batch.records[0].outcome;
    return side_status(side, ctx->err, status);
}

/* Sets the marker where none stands; RH_EXISTS where one does. */
static enum rh_status marker_set(struct side *side, struct rh_ctx *ctx, struct rh_bytes marker)
{
    const struct rh_driver *driver = side->store->driver;
    if (driver->guard && driver->guard->marker_set)
        return side_status(side, ctx->err, driver->guard->marker_set(ctx, side->session, marker));
    enum rh_outcome outcome = RH_OUTCOME_NONE;
    enum rh_status status = marker_write(side, ctx, marker, true, &outcome);
    return status == RH_OK && outcome == RH_OUTCOME_EXISTS ? RH_EXISTS : status;
}

enum rh_status marker_clear(struct side *side, struct rh_ctx *ctx, struct rh_bytes marker)
{
    const struct rh_driver *driver = side->store->driver;
    if (driver->guard && driver->guard->marker_clear)
        return side_status(side, ctx->err, driver->guard->marker_clear(ctx, side->session, marker));
    enum rh_outcome outcome = RH_OUTCOME_NONE;
    enum rh_status status = marker_write(side, ctx, marker, false, &outcome);
    return status == RH_OK && outcome == RH_OUTCOME_CHANGED ? RH_CHANGED : status;
}

enum rh_status marker_prepare(struct move_run *move, struct rh_error *err)
{
    struct rh_journal *journal = move->engine->journal;
    rh_buf_clear(&move->marker);
    enum rh_status status = rh_journal_get(journal, move->plan->name, "marker", &move->marker, err);
    if (status != RH_NOT_FOUND)
        return status;
    status = rh_buf_format(&move->marker, err, "{\"start\":\"%s\"}\n", rh_stamp_ns(rh_utc_ns()).text);
    if (status != RH_OK)
        return status;
    return rh_journal_put_once(journal, move->plan->name, "marker", rh_buf_bytes(&move->marker), err);
}

/* The words for a marker that isn't ours. */
static enum rh_status marker_foreign(const struct side *side, struct rh_bytes found, struct rh_error *err)
{
    rh_fail(err, RH_E_LOCKED, "the %s '%s' is marked by another migration: %s holds %s", side_name(side->which),
            side->facts.address, marker_name(side), RH_SHOW(found));
    rh_error_hint(
        err,
        "let that migration end; if its process is dead, run its own command again, 'rehome recover' with its plan, or "
        "'operator migrate -reset' of the tool that set it");
    err->side = side->which;
    return RH_E_LOCKED;
}

enum rh_status marker_take(struct move_run *move, struct side *side, bool *ret_was_there, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    const struct rh_bytes ours = rh_buf_bytes(&move->marker);
    *ret_was_there = marker_left_away(side);
    if (*ret_was_there)
        return RH_OK;
    enum rh_status status = marker_set(side, &ctx, ours);
    if (status != RH_EXISTS)
        return status;
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    status = marker_get(side, &ctx, &found);
    if (status == RH_NOT_FOUND)
        return rh_fail(err, RH_E_LOCKED, "the %s's marker came and went while it was set; another migration is at work",
                       side_name(side->which));
    if (status != RH_OK)
        return status;
    if (!rh_bytes_equal(rh_buf_bytes(&found), ours))
        return marker_foreign(side, rh_buf_bytes(&found), err);
    *ret_was_there = true;
    return RH_OK;
}

enum rh_status marker_stands(struct move_run *move, struct side *side, bool *ret_stands, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    *ret_stands = false;
    if (move->marker.size == 0 || side->facts.exists == RH_NO)
        return RH_OK;
    enum rh_status status = marker_get(side, &ctx, &found);
    *ret_stands = status == RH_OK && rh_bytes_equal(rh_buf_bytes(&found), rh_buf_bytes(&move->marker));
    return status == RH_NOT_FOUND ? RH_OK : status;
}

/* Clears ours if it stands; anything else is left, and nothing is written where it doesn't. */
static enum rh_status marker_drop(struct move_run *move, struct side *side, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    struct rh_session *session = NULL;
    bool stands = false;
    if (move->marker.size == 0 || side->facts.exists == RH_NO || marker_left_away(side))
        return RH_OK;
    enum rh_status status = marker_stands(move, side, &stands, err);
    if (status == RH_OK && stands)
        status = marker_clear(side, &ctx, rh_buf_bytes(&move->marker));
    if (status == RH_CHANGED || status == RH_NOT_FOUND)
        status = RH_OK;
    /* a driver takes away what a killed writer left when the next one comes: here is one, perhaps the last */
    if (status == RH_OK && !stands && (side->which == RH_SIDE_DESTINATION || move->plan->source_marker))
        status = side_session(side, &ctx, RH_ROLE_WRITE, &session);
    side_session_close(session);
    return status;
}

/* Takes both sides' markers, destination first. */
enum rh_status markers_take(struct move_run *move, struct rh_error *err)
{
    bool was_there;
    enum rh_status status = marker_prepare(move, err);
    if (status == RH_OK)
        status = marker_take(move, &move->destination, &was_there, err);
    return status == RH_OK && move->plan->source_marker ? marker_take(move, &move->source, &was_there, err) : status;
}

/* Source first, destination last: it was the first to be marked. */
enum rh_status markers_drop(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = move->source.session ? marker_drop(move, &move->source, err) : RH_OK;
    return status == RH_OK ? marker_drop(move, &move->destination, err) : status;
}
