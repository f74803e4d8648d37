/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's life: opening and closing, journal and key provider, findings, progress, exit codes. */
#include "internal.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

struct rh_ctx engine_ctx(struct rh_engine *engine, struct rh_error *err)
{
    return (struct rh_ctx){.deadline_us = 0, .cancel = engine->args.cancel, .err = err};
}

int64_t engine_lanes(const struct move_run *move)
{
    if (one_lane(move))
        return 1;
    const int64_t asked = move->engine->args.parallel ? move->engine->args.parallel : move->plan->parallel;
    return asked > 0 ? asked : LANES_DEFAULT;
}

size_t engine_batch_bytes(const struct move_run *move)
{
    const int64_t budget = move->plan->memory_bytes, share = budget / (engine_lanes(move) * BATCH_SHARES);
    if (budget <= 0 || share > BATCH_BYTES)
        return BATCH_BYTES;
    return share < BATCH_BYTES_LEAST ? BATCH_BYTES_LEAST : (size_t)share;
}

int64_t engine_retry_us(const struct rh_engine *engine)
{
    return engine->args.retry_us < 0 ? RETRY_DEFAULT_US : engine->args.retry_us;
}

void engine_found(struct move_run *move, const struct rh_finding *finding)
{
    struct rh_engine *engine = move->engine;
    if (!engine->args.found)
        return;
    pthread_mutex_lock(&engine->found_lock);
    engine->args.found(engine->args.found_user, finding);
    pthread_mutex_unlock(&engine->found_lock);
}

void engine_step_shown(struct move_run *move, const char *step, uint64_t total)
{
    struct rh_engine *engine = move->engine;
    pthread_mutex_lock(&engine->progress_lock);
    snprintf(engine->progress.move, sizeof engine->progress.move, "%s", move->plan->name);
    snprintf(engine->progress.step, sizeof engine->progress.step, "%s", step);
    engine->progress.started_us = rh_clock_us();
    engine->progress.running = true;
    atomic_store(&engine->records_done, 0);
    atomic_store(&engine->bytes_done, 0);
    atomic_store(&engine->records_total, total);
    pthread_mutex_unlock(&engine->progress_lock);
    rh_log(RH_LOG_DEBUG, "step", {"move", move->plan->name}, {"step", step});
}

int64_t step_log_begin(const struct move_run *move, const char *step)
{
    rh_log(RH_LOG_INFO, "step begins", {"move", move->plan->name}, {"step", step});
    return rh_clock_us();
}

void step_log_end(
    const struct move_run *move, const char *step, int64_t begun_us, enum rh_status status, const struct rh_error *err)
{
    char took[32];
    snprintf(took, sizeof took, "%.3f s", (double)(rh_clock_us() - begun_us) / 1e6);
    if (status == RH_OK)
        rh_log(RH_LOG_INFO, "step done", {"move", move->plan->name}, {"step", step}, {"took", took},
               {move->note[0] ? "note" : NULL, move->note}); /* a NULL name ends the fields */
    else
        rh_log(RH_LOG_WARN, status == RH_E_CANCELLED ? "step interrupted" : "step failed", {"move", move->plan->name},
               {"step", step}, {"took", took}, {"reason", err ? err->text : ""});
}

/* A command is a step of the plan itself: what it did is told by the steps of its moves. */
enum rh_status command_begin(struct rh_engine *engine, const char *command, struct rh_error *err)
{
    /* in one write: how the command before ended isn't known of this one */
    enum rh_status status = rh_journal_begin(engine->journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_remove(engine->journal, "", "exit", err);
    if (status == RH_OK)
        status = rh_journal_step_intent(engine->journal, "", command, err);
    if (status == RH_OK)
        return rh_journal_commit(engine->journal, err);
    rh_journal_abort(engine->journal);
    return status;
}

/* Journals the exit status that a command ends with. */
static enum rh_status exit_put(struct rh_journal *journal, enum rh_exit code, struct rh_error *err)
{
    char text[12];
    snprintf(text, sizeof text, "%d", (int)code);
    return rh_journal_put(journal, "", "exit", rh_bytes_text(text), err);
}

enum rh_status command_end(struct rh_engine *engine, const char *command, enum rh_status outcome, struct rh_error *err)
{
    struct rh_journal *journal = engine->journal;
    const bool done = outcome == RH_OK;
    struct rh_error second = {0};
    enum rh_status status = rh_journal_begin(journal, &second);
    for (size_t i = 0; status == RH_OK && i < engine->move_count; i++)
        status = samples_put(&engine->moves[i], true, &second);
    if (status == RH_OK)
        status = rh_journal_step_outcome(journal, "", command, done ? RH_STEP_DONE : RH_STEP_FAILED,
                                         done || !err ? "" : err->text, &second);
    if (status == RH_OK && (done || err))
        status = exit_put(journal, done ? RH_EXIT_OK : rh_engine_exit(err), &second);
    if (status == RH_OK)
        status = rh_journal_commit(journal, &second);
    else
        rh_journal_abort(journal);
    /* a failure of the command itself matters more */
    if (done && status != RH_OK && err)
        *err = second;
    return done ? status : outcome;
}

void rh_engine_progress(struct rh_engine *engine, struct rh_progress *ret_progress)
{
    pthread_mutex_lock(&engine->progress_lock);
    *ret_progress = engine->progress;
    ret_progress->records_done = atomic_load(&engine->records_done);
    ret_progress->records_total = atomic_load(&engine->records_total);
    ret_progress->bytes_done = atomic_load(&engine->bytes_done);
    pthread_mutex_unlock(&engine->progress_lock);
}

/* Adds what a side is called in the name of a journal: where it is, if possible without a look at what is in it. */
static enum rh_status
add_lasting_name(struct move_run *move, struct side *side, struct rh_buf *out, struct rh_error *err)
{
    const struct rh_driver *driver = side->endpoint->driver;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    enum rh_status status = rh_buf_format(out, err, "%s\n", driver->name);
    if (status == RH_OK)
        status = driver->locate ? side_store(move, side, err) : check_open_one(move, side, err);
    if (status == RH_OK && driver->locate)
        status = side_status(side, err, driver->locate(&ctx, side->store, out));
    else if (status == RH_OK)
        status = rh_buf_text(out, side->facts.place[0] ? side->facts.place : side->facts.identity, err);
    return status == RH_OK ? rh_buf_text(out, "\n", err) : status;
}

/* The plan's name, '-' and 16 hex digits of SHA-256 over both sides' lasting names: equal however the configuration is
 * spelled. */
static enum rh_status name_by_identity(struct rh_engine *engine, struct rh_buf *ret_name, struct rh_error *err)
{
    struct move_run *move = &engine->moves[0];
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = add_lasting_name(move, &move->source, &text, err);
    if (status == RH_OK)
        status = add_lasting_name(move, &move->destination, &text, err);
    if (status != RH_OK)
        return status;
    uint8_t hash[EVP_MAX_MD_SIZE];
    if (EVP_Digest(text.data, text.size, hash, NULL, EVP_sha256(), NULL) != 1)
        return rh_fail(err, RH_E_INTERNAL, "computing SHA-256 failed");
    if (rh_buf_format(ret_name, err, "%s-", engine->plan->name) != RH_OK)
        return RH_E_MEMORY;
    return rh_hex_add(ret_name, rh_bytes(hash, 8), err);
}

enum rh_status engine_journal_name(struct rh_engine *engine, struct rh_buf *ret_name, struct rh_error *err)
{
    rh_buf_clear(ret_name);
    if (engine->plan->named_by_stores)
        return name_by_identity(engine, ret_name, err);
    return rh_buf_text(ret_name, engine->plan->name, err);
}

enum rh_status rh_engine_journal_name(struct rh_engine *engine, struct rh_buf *ret_name, struct rh_error *err)
{
    return engine_journal_name(engine, ret_name, err);
}

enum rh_status engine_journal_need(struct rh_engine *engine, unsigned flags, struct rh_error *err)
{
    if (engine->journal)
        return RH_OK;
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = engine_journal_name(engine, &name, err);
    if (status != RH_OK)
        return status;
    /* a guardian that notes what it opened has it for a moment */
    const int64_t until = rh_clock_us() + (engine->fences.count ? JOURNAL_WAIT_US : 0);
    for (;;) {
        struct rh_error why = {0};
        status = rh_journal_open(engine->plan->state_dir, rh_buf_cstr(&name), flags, &engine->journal, &why);
        if (status != RH_E_LOCKED || rh_clock_us() >= until) {
            if (rh_failed(status) && err)
                *err = why;
            return status;
        }
        rh_sleep_us(20 * 1000);
    }
}

enum rh_status engine_provider_need(struct rh_engine *engine, struct rh_error *err)
{
    if (engine->provider)
        return RH_OK;
    const struct rh_plan *plan = engine->plan;
    if (plan->seal_passphrase)
        return rh_key_provider_passphrase(plan->seal_passphrase, &engine->provider, err);
    if (plan->seal_key_file)
        return rh_key_provider_file(plan->seal_key_file, &engine->provider, err);
    rh_auto_buf struct rh_buf path = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&path, err, "%s/seal.key", plan->state_dir);
    return status == RH_OK ? rh_key_provider_file_make(rh_buf_cstr(&path), &engine->provider, err) : status;
}

void move_init(struct rh_engine *engine, struct move_run *move, const struct rh_move *plan)
{
    move->engine = engine;
    move->plan = plan;
    move->source = (struct side){.which = RH_SIDE_SOURCE, .endpoint = &plan->source};
    move->destination = (struct side){.which = RH_SIDE_DESTINATION, .endpoint = &plan->destination};
    const struct rh_driver *driver = plan->source.driver;
    snprintf(move->dataset.name, sizeof move->dataset.name, "%s",
             driver->model == RH_MODEL_KEYRING ? RH_KEYRING_DATASET : RH_KV_DATASET);
    move->digest.secret_records = driver->record_class == RH_RECORDS_SECRET;
}

enum rh_status rh_engine_open(const struct rh_engine_args *args, struct rh_engine **ret_engine, struct rh_error *err)
{
    for (size_t i = 0; i < args->plan->move_count; i++) {
        const enum rh_model model = args->plan->moves[i].source.driver->model;
        if (model != RH_MODEL_KV && model != RH_MODEL_KEYRING)
            return rh_fail(err, RH_E_PLAN, "move '%s': only key-value stores and keyrings can be moved yet",
                           args->plan->moves[i].name);
    }
    struct rh_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return rh_fail_memory(err);
    engine->args = *args;
    engine->plan = args->plan;
    pthread_mutex_init(&engine->found_lock, NULL);
    pthread_mutex_init(&engine->progress_lock, NULL);
    engine->moves = calloc(args->plan->move_count, sizeof *engine->moves);
    if (!engine->moves) {
        rh_engine_close(engine);
        return rh_fail_memory(err);
    }
    for (engine->move_count = 0; engine->move_count < args->plan->move_count; engine->move_count++)
        move_init(engine, &engine->moves[engine->move_count], &args->plan->moves[engine->move_count]);
    enum rh_status status = routes_start(engine, err); /* before the guardian is forked */
    if (status == RH_OK)
        status = fences_start(engine, err);
    if (status != RH_OK) {
        rh_engine_close(engine);
        return status;
    }
    *ret_engine = engine;
    return RH_OK;
}

void move_done(struct move_run *move)
{
    rh_undo_close(move->undo);
    side_close(&move->source);
    side_close(&move->destination);
    ranges_free(move->ranges, move->range_count);
    survey_done(&move->survey);
    rh_buf_done(&move->marker);
    rh_buf_done(&move->left);
    rh_buf_done(&move->left_file);
    rh_wipe(&move->digest, sizeof move->digest);
}

void rh_engine_close(struct rh_engine *engine)
{
    if (!engine)
        return;
    fences_stop(engine);
    routes_stop(engine);
    for (size_t i = 0; engine->moves && i < engine->move_count; i++)
        move_done(&engine->moves[i]);
    free(engine->moves);
    rh_journal_close(engine->journal);
    rh_key_provider_free(engine->provider);
    pthread_mutex_destroy(&engine->found_lock);
    pthread_mutex_destroy(&engine->progress_lock);
    free(engine);
}

/* A failure of a store belongs to its side; without a side it is ours. */
static enum rh_exit exit_of_side(const struct rh_error *err)
{
    switch (err->side) {
    case RH_SIDE_SOURCE:
        return RH_EXIT_SOURCE;
    case RH_SIDE_DESTINATION:
        return RH_EXIT_DESTINATION;
    case RH_SIDE_NONE:
        return RH_EXIT_INTERNAL;
    }
    return RH_EXIT_INTERNAL;
}

enum rh_exit rh_engine_exit(const struct rh_error *err)
{
    switch (err->status) {
    case RH_OK:
    case RH_END:
        return RH_EXIT_OK;
    case RH_E_USAGE:
        return RH_EXIT_USAGE;
    case RH_E_PLAN:
        return RH_EXIT_PLAN;
    case RH_E_MISMATCH:
        return RH_EXIT_MISMATCH;
    case RH_E_LOCKED:
        return RH_EXIT_LOCKED;
    case RH_E_CANCELLED:
        return RH_EXIT_INTERRUPTED;
    case RH_E_REFUSED:
    case RH_E_LIMIT:
        return RH_EXIT_REFUSED;
    case RH_E_CONFLICT:
        return RH_EXIT_DESTINATION;
    case RH_E_INTERNAL:
    case RH_E_MEMORY:
        return RH_EXIT_INTERNAL;
    case RH_NOT_FOUND:
    case RH_EXISTS:
    case RH_CHANGED:
    case RH_UNSUPPORTED:
    case RH_E_IO:
    case RH_E_FULL:
    case RH_E_DENIED:
    case RH_E_NET:
    case RH_E_TLS:
    case RH_E_AUTH:
    case RH_E_CORRUPT:
    case RH_E_TIMEOUT:
    case RH_E_STORE:
        return exit_of_side(err);
    }
    return RH_EXIT_INTERNAL;
}

enum rh_status fact_put(struct move_run *move, const char *name, const char *value, struct rh_error *err)
{
    return rh_journal_put(move->engine->journal, move->plan->name, name, rh_bytes_text(value), err);
}

enum rh_status fact_get(struct move_run *move, const char *name, struct rh_buf *ret_value, struct rh_error *err)
{
    rh_buf_clear(ret_value);
    return rh_journal_get(move->engine->journal, move->plan->name, name, ret_value, err);
}

bool fact_is(struct move_run *move, const char *name, const char *value)
{
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    return fact_get(move, name, &found, NULL) == RH_OK && rh_bytes_equal(rh_buf_bytes(&found), rh_bytes_text(value));
}

enum rh_status fact_put_json(struct rh_journal *journal,
                             const char *move,
                             const char *name,
                             json_t *object,
                             const char *what,
                             struct rh_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!text)
        return rh_fail(err, RH_E_INTERNAL, "writing %s as JSON failed", what);
    enum rh_status status = rh_journal_put(journal, move, name, rh_bytes_text(text), err);
    free(text);
    return status;
}

json_t *fact_get_json(struct rh_journal *journal, const char *move, const char *name)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    return rh_journal_get(journal, move, name, &text, NULL) == RH_OK ? json_loads(rh_buf_cstr(&text), 0, NULL) : NULL;
}

enum rh_status step_done(struct move_run *move, const char *step, bool *ret_done, struct rh_error *err)
{
    struct rh_step_state state;
    enum rh_status status = rh_journal_step_get(move->engine->journal, move->plan->name, step, &state, err);
    *ret_done = status == RH_OK && state.outcome == RH_STEP_DONE;
    return status == RH_NOT_FOUND ? RH_OK : status;
}
