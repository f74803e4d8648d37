/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: carries a plan out, from the journal's memory and through the driver interface.
 * Threads: one thread calls the verbs; rh_engine_progress may be called from another meanwhile.
 */
#ifndef REHOME_ENGINE_H
#define REHOME_ENGINE_H

#include <rehome/exit.h>
#include <rehome/plan.h>

enum rh_finding_kind {
    RH_FINDING_FACT,    /* what a side is */
    RH_FINDING_WARNING, /* works, but somebody should know */
    RH_FINDING_PROBLEM, /* stops the move, with its remedy */
    RH_FINDING_RECORD,  /* one record: differs, missing, extra, left alone, mended */
};
struct rh_finding {
    enum rh_finding_kind kind;
    const char *move;
    enum rh_side side;
    const char *what; /* stable word: "version", "key-too-long", "differs", "missing", "extra", "not-ours", "mended" */
    struct rh_bytes key; /* the record, or empty */
    enum rh_model model; /* whose record it is */
    const char *text;    /* for people */
    const char *hint;    /* remedy, or "" */
};
/* Called from the engine's threads, one at a time. */
typedef void rh_finding_sink(void *user, const struct rh_finding *finding);

struct rh_engine_args {
    const struct rh_plan *plan; /* borrowed until close */
    const atomic_bool *cancel;  /* set by SIGINT, SIGTERM */
    rh_finding_sink *found;     /* may be NULL */
    void *found_user;
    bool verify_off;            /* --no-verify */
    int64_t parallel;           /* 0: the plan's, else the default */
    const char *start;          /* operator migrate -start: keys below it stay out of the move; NULL or "" = none */
    bool overwrite_initialised; /* operator migrate --overwrite */
    /* data folders besides the plan's, that a keyring's keys have to open; borrowed until close */
    const char *const *datadirs;
    size_t datadir_count;
    bool guarded;      /* fences may be closed: their guardian is started, so there are no threads yet */
    int64_t window_us; /* of a cutover; 0: the plan's */
    int64_t retry_us;  /* how long a lost connection is tried again; < 0: default 30 s */
};
struct rh_engine;
enum rh_status
rh_engine_open(const struct rh_engine_args *args, struct rh_engine **ret_engine, struct rh_error *err) RH_MUST_USE;
void rh_engine_close(struct rh_engine *engine);

/* What the journal of this plan is called. Opens both stores where the plan leaves the name to them. */
enum rh_status
rh_engine_journal_name(struct rh_engine *engine, struct rh_buf *ret_name, struct rh_error *err) RH_MUST_USE;

/* Each verb returns RH_OK or a failure whose status and side give the exit code (rh_engine_exit). */
enum rh_status rh_engine_check(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Resumes by itself. On a permanent failure under on_conflict = fail it has already rolled back when it returns (the
 * text says so). */
enum rh_status rh_engine_run(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_engine_verify(struct rh_engine *engine, bool repair, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_engine_rollback(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Takes every server of the plan's routes to its destination, or none: a failure takes back what had gone. RH_E_REFUSED
 * for a plan that isn't complete. */
enum rh_status rh_engine_cutover(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_engine_recover(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Gives up the way back of moves that aren't complete, for an undo log that is damaged for good: clears our markers and
 * forgets the log; what was written and not undone stays. */
enum rh_status rh_engine_abandon(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_engine_finish(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* operator migrate -reset: removes core/migration from the source, whoever set it, as Vault's does. */
enum rh_status rh_engine_reset(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
enum rh_exit rh_engine_exit(const struct rh_error *err);

/* What status, report and --json read: a JSON object (docs/formats/report.md) from the journal alone; no store is
 * opened. RH_NOT_FOUND: nothing was run yet. */
enum rh_status rh_engine_report(const struct rh_plan *plan, struct rh_buf *ret_json, struct rh_error *err) RH_MUST_USE;

struct rh_progress {
    char move[128], step[64];
    uint64_t records_done, records_total; /* total 0: not known yet */
    uint64_t bytes_done;
    int64_t started_us; /* monotonic, of this step */
    bool running;
};
void rh_engine_progress(struct rh_engine *engine, struct rh_progress *ret_progress);

#endif
