/* SPDX-License-Identifier: Apache-2.0 */
/* Copying the ranges: in each lane a reader runs ahead of the writer by a few batches. */
#include "internal.h"

/* The short queue between a lane's reader and its writer. Batches go round: free -> reader -> full -> writer -> free.
 */
struct pipe {
    struct move_run *move;
    struct lane *lane;
    struct range *range;
    const atomic_bool *stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t written, taken; /* batches filled by the reader, emptied by the writer */
    bool ended, closed;    /* reader has no more; writer wants no more */
    enum rh_status status; /* the reader's end */
    struct rh_error err;
};

/* The reader's next free batch; NULL when the writer gave up. */
static struct rh_batch *pipe_free_batch(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    while (pipe->written - pipe->taken == PIPE_BATCHES - 1 && !pipe->closed)
        pthread_cond_wait(&pipe->changed, &pipe->lock);
    struct rh_batch *batch = pipe->closed ? NULL : &pipe->lane->batches[pipe->written % PIPE_BATCHES];
    pthread_mutex_unlock(&pipe->lock);
    return batch;
}

static void pipe_push(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->written++;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
}

static void pipe_end(struct pipe *pipe, enum rh_status status)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->status = status;
    pipe->ended = true;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
}

/* The writer's next full batch; NULL when the reader has ended. */
static struct rh_batch *pipe_full_batch(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    while (pipe->taken == pipe->written && !pipe->ended)
        pthread_cond_wait(&pipe->changed, &pipe->lock);
    struct rh_batch *batch = pipe->taken == pipe->written ? NULL : &pipe->lane->batches[pipe->taken % PIPE_BATCHES];
    pthread_mutex_unlock(&pipe->lock);
    return batch;
}

static void pipe_pop(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->taken++;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
}

static void pipe_close(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->closed = true;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
}

/* Scans the range from its journaled progress into the pipe, hashing on the way. RH_END when all was read. */
static enum rh_status read_range(struct pipe *pipe, struct rh_ctx *ctx)
{
    struct move_run *move = pipe->move;
    struct rh_session *session = NULL;
    struct rh_scan *scan = NULL;
    const struct rh_range bounds = {.from = pipe->range->state.from, .to = pipe->range->state.to};
    rh_auto_buf struct rh_buf after = RH_BUF_INIT; /* the writer moves `resume` on while we read */
    enum rh_status status =
        rh_buf_add(&after, pipe->range->state.resume.data, pipe->range->state.resume.size, ctx->err);
    if (status == RH_OK)
        status = lane_session(&pipe->lane->source, &move->source, ctx, RH_ROLE_READ, &session);
    if (status == RH_OK)
        status = side_scan_open(&move->source, ctx, session, &move->dataset, bounds, rh_buf_bytes(&after), 0, &scan);
    struct rh_batch *batch;
    while (status == RH_OK && (batch = pipe_free_batch(pipe))) {
        status = side_scan_next(&move->source, ctx, scan, engine_batch_bytes(move), BATCH_RECORDS, batch);
        if (status != RH_OK)
            break;
        for (size_t i = 0; i < batch->count; i++)
            batch->records[i].hash = rh_digest_record(&move->digest, move->dataset.name, &batch->records[i]);
        pipe_push(pipe);
    }
    side_scan_close(scan);
    /* one that didn't come to its end has rows on their way still */
    lane_session_leave(&pipe->lane->source, session, status == RH_END ? RH_OK : RH_E_CANCELLED);
    return status;
}

static void *reader_main(void *user)
{
    struct pipe *pipe = user;
    struct rh_ctx ctx = {.cancel = pipe->stop, .err = &pipe->err};
    pipe_end(pipe, read_range(pipe, &ctx));
    return NULL;
}

/* Writes what the reader brings. */
static enum rh_status write_range(struct pipe *pipe, struct batch_writer *writer, struct rh_ctx *ctx)
{
    struct rh_engine *engine = pipe->move->engine;
    enum rh_status status = RH_OK;
    if (!pipe->move->whole)
        status = lane_session(&pipe->lane->writer, &pipe->move->destination, ctx, RH_ROLE_WRITE, &writer->session);
    struct rh_batch *batch;
    while (status == RH_OK && (batch = pipe_full_batch(pipe))) {
        status = rh_ctx_check(ctx);
        if (status == RH_OK)
            status = batch_write(writer, ctx, pipe->range, batch);
        if (status != RH_OK)
            break;
        atomic_fetch_add_explicit(&engine->records_done, batch->count, memory_order_relaxed);
        if (!pipe->move->digest.secret_records)
            atomic_fetch_add_explicit(&engine->bytes_done, batch->bytes, memory_order_relaxed);
        pipe_pop(pipe);
    }
    lane_session_leave(&pipe->lane->writer, writer->session, status);
    return status;
}

/* A lane's work on one range: reader in a thread of its own, writer here. */
static enum rh_status copy_range(struct lane *lane, struct rh_ctx *ctx, struct range *range)
{
    struct pipe pipe = {.move = lane->move, .lane = lane, .range = range, .stop = lane->stop};
    struct batch_writer writer;
    enum rh_status status = batch_writer_init(&writer, lane->move, ctx->err);
    if (status != RH_OK) {
        batch_writer_done(&writer);
        return status;
    }
    pthread_mutex_init(&pipe.lock, NULL);
    pthread_cond_init(&pipe.changed, NULL);
    pthread_t reader;
    const int failed = pthread_create(&reader, NULL, reader_main, &pipe);
    if (failed)
        status = rh_fail_errno(ctx->err, failed, "starting a thread");
    else {
        status = write_range(&pipe, &writer, ctx);
        pipe_close(&pipe);
        pthread_join(reader, NULL);
        if (status == RH_OK && pipe.status != RH_END) {
            *ctx->err = pipe.err;
            status = pipe.status;
        }
        if (status == RH_OK)
            status = range_finish(lane->move, range, ctx->err);
    }
    batch_writer_done(&writer);
    pthread_cond_destroy(&pipe.changed);
    pthread_mutex_destroy(&pipe.lock);
    return status;
}

static bool not_copied(const struct range *range)
{
    return !range->state.done;
}

/* Every key that the survey counted must have been copied, and no other. */
static enum rh_status count_all(struct move_run *move, struct rh_error *err)
{
    uint64_t expected = 0, copied = 0;
    for (size_t i = 0; i < move->range_count; i++) {
        expected += move->ranges[i].state.expect_count;
        copied += move->ranges[i].state.copied.count;
    }
    if (expected == copied || move->source.facts.one_pass)
        return RH_OK;
    rh_fail(err, RH_E_MISMATCH,
            "the source changed while it was copied: %llu records when it was surveyed, %llu when they were copied",
            (unsigned long long)expected, (unsigned long long)copied);
    err->side = RH_SIDE_SOURCE;
    if (move_policy(move) != RH_CONFLICT_OVERWRITE) {
        rh_error_hint(err, "stop whatever writes to the source, then run again (after 'rehome rollback', unless it is "
                           "rolled back already)");
        return RH_E_MISMATCH;
    }
    rh_error_hint(
        err, "stop whatever writes to the source, then run the same command again: the changed ranges are copied anew");
    for (size_t i = 0; i < move->range_count; i++) {
        struct range *range = &move->ranges[i];
        const uint64_t count = range->state.copied.count;
        struct rh_error second = {0};
        if (range->state.expect_count != count && range_forget(move, range, count, &second) != RH_OK) {
            rh_error_prepend(err, "%s; and", second.text);
            break;
        }
    }
    return RH_E_MISMATCH;
}

/* Every range that isn't done. */
static enum rh_status copy_ranges(struct move_run *move, struct rh_error *err)
{
    samples_begin(move, SAMPLE_COPY);
    enum rh_status status = lanes_run(move, not_copied, copy_range, NULL, err);
    return status == RH_OK ? count_all(move, err) : status;
}

enum rh_status copy_run(struct move_run *move, struct rh_error *err)
{
    uint64_t total = 0, before = 0;
    for (size_t i = 0; i < move->range_count; i++) {
        total += move->ranges[i].state.expect_count;
        before += move->ranges[i].state.copied.count;
    }
    engine_step_shown(move, "copy", total);
    atomic_store(&move->engine->records_done, before);
    if (whole_of(&move->destination))
        return whole_copy(move, copy_ranges, err);
    enum rh_status status =
        rh_undo_open(move->engine->journal, move->engine->provider, move->plan->name, &move->undo, err);
    if (status == RH_OK)
        status = doubt_load(move, err);
    if (status == RH_OK)
        status = copy_ranges(move, err);
    rh_undo_close(move->undo);
    move->undo = NULL;
    return status;
}
