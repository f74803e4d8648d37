/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine know of each other. One struct per idea: the engine, a move being carried out, a side of
 * it, a range of it. Nothing here knows a driver.
 */
#ifndef REHOME_ENGINE_INTERNAL_H
#define REHOME_ENGINE_INTERNAL_H

#include "fences.h"
#include "routes.h"

#include <jansson.h>
#include <pthread.h>
#include <rehome/engine.h>
#include <rehome/keyring.h>
#include <rehome/undo.h>
#include <stdio.h>

enum {
    BATCH_BYTES = 1024 * 1024, /* unless the budget is too small for it */
    BATCH_BYTES_LEAST = 8 * 1024,
    BATCH_SHARES = 16,    /* a lane's memory in batches: those in its queue, what becomes of one on its way, slack */
    BATCH_RECORDS = 1024, /* small records, too, fill the queues of a short range: memory is the same for a long one */
    KEYS_BATCH_RECORDS = 8192,
    QUEUE_BATCHES = 2, /* read ahead per lane, besides the one being read and the one being written */
    PIPE_BATCHES = QUEUE_BATCHES + 2,
    LANES_DEFAULT = 4,
    RANGES_PER_LANE = 4,
    NAMED_MOST = 100, /* most records that are named one by one; the rest is counted */
};
#define JOURNAL_WAIT_US (2 * 1000 * 1000LL)
#define RETRY_DEFAULT_US (30 * 1000 * 1000LL)

/* Hashes that a crash left in doubt: what blocks behind a range's journaled progress promised to write. */
struct doubt_entry {
    struct rh_hash name, value;
};
struct doubt {
    struct doubt_entry *entries;
    size_t count, capacity;
    bool sorted;
};

struct range {
    struct rh_range_state state; /* from, to and resume point into the buffers below */
    struct rh_buf from, to, resume;
    struct doubt doubt;
};

struct side {
    enum rh_side which;
    const struct rh_endpoint *endpoint;
    struct rh_store *store;
    struct rh_session *session; /* the control session of the main thread */
    struct rh_facts facts;
};

/* What the survey found. */
/* Keys that both sides hold, on their way to be compared. */
struct equal {
    struct move_run *move;
    struct rh_digest_key digest;
    struct rh_batch pending, found[2]; /* keys; what source and destination hold of them */
};

struct survey {
    uint64_t source_count, destination_count, conflicts, extras;
    struct rh_hash extra_names;
    struct range *ranges;
    size_t range_count, range_capacity;
    uint64_t stride;
    struct equal equal;
};

/* How fast the lanes were, over time; offsets and widths in microseconds. */
enum sample_kind { SAMPLE_COPY, SAMPLE_VERIFY };
struct sample {
    enum sample_kind kind;
    uint64_t from_us;   /* since the origin */
    uint64_t active_us; /* how much of the bucket lanes were at work */
    uint64_t records, bytes;
};
enum { SAMPLES_MOST = 240 };
struct samples {
    int64_t origin_us; /* UTC; 0: none yet */
    uint64_t width_us; /* of a bucket; doubled when the points are used up */
    size_t count;
    struct sample points[SAMPLES_MOST];
    /* of this process alone */
    enum sample_kind kind;
    int64_t seen_us, seen_utc_us, put_us;
    uint64_t seen_records, seen_bytes;
    bool dirty;
};

struct move_run {
    struct rh_engine *engine;
    const struct rh_move *plan;
    struct side source, destination;
    struct rh_digest_key digest;
    struct range *ranges;
    size_t range_count;
    struct rh_undo *undo;
    struct rh_buf marker;      /* our marker's bytes, as journaled */
    struct rh_buf left;        /* the stamp of the source when a cutover left it */
    struct rh_buf left_file;   /* and what its file looked like */
    struct rh_dataset dataset; /* kv stores have one */
    struct survey survey;      /* from the survey until it is journaled */
    struct samples samples;    /* under the engine's progress_lock while lanes are at work */
    bool carries_over;         /* this pass adds to a complete one what the source got since */
    char note[256];            /* what the step under way has to say in status and report */
    struct rh_session *whole;  /* while a destination that commits as a whole is being written */
    /* what check found */
    size_t problems;
    struct rh_error first_problem;
};

struct rh_engine {
    struct rh_engine_args args;
    const struct rh_plan *plan;
    struct rh_journal *journal;
    struct rh_key_provider *provider;
    struct move_run *moves;
    size_t move_count;
    struct fences fences;
    struct routes routes;
    pthread_mutex_t found_lock;
    pthread_mutex_t progress_lock;
    struct rh_progress progress; /* names and start; under progress_lock */
    atomic_uint_fast64_t records_done, records_total, bytes_done;
};

/* What of a record's size may be journaled and shown: of secret records only the name's. */
static inline uint64_t record_bytes(const struct move_run *move, const struct rh_record *record)
{
    return record->key.size + (move->digest.secret_records ? 0 : record->value_bytes);
}

/* A record's key for people, as its model writes it; `out` is for it. */
static inline const char *show_key(const struct move_run *move, struct rh_bytes key, struct rh_key_shown *out)
{
    return move->plan->source.driver->model == RH_MODEL_KEYRING ? rh_keyring_key_show(key, out->text, sizeof out->text)
                                                                : rh_show(key, out->text, sizeof(struct rh_shown));
}
#define SHOW_KEY(move, key) show_key((move), (key), &(struct rh_key_shown){{0}})

/* What becomes of a key that the destination has already. A pass that adds to a complete one meets all of its keys. */
static inline enum rh_on_conflict move_policy(const struct move_run *move)
{
    return move->carries_over && move->plan->on_conflict == RH_CONFLICT_FAIL ? RH_CONFLICT_KEEP_EQUAL
                                                                             : move->plan->on_conflict;
}

/* --- engine.c --- */
/* Sets up the engine's view of one move; frees what it holds. */
void move_init(struct rh_engine *engine, struct move_run *move, const struct rh_move *plan);
void move_done(struct move_run *move);
struct rh_ctx engine_ctx(struct rh_engine *engine, struct rh_error *err);
void engine_found(struct move_run *move, const struct rh_finding *finding);
void engine_step_shown(struct move_run *move, const char *step, uint64_t total);
/* Says at info level that a step of a move begins, and how it ended; begin gives the time for end. */
int64_t step_log_begin(const struct move_run *move, const char *step);
void step_log_end(
    const struct move_run *move, const char *step, int64_t begun_us, enum rh_status status, const struct rh_error *err);
/* What a command that changes something leaves in the history: its begin, and its end. `outcome` is the command's; it
 * comes back, or the journal's failure where the command had none. */
enum rh_status command_begin(struct rh_engine *engine, const char *command, struct rh_error *err);
enum rh_status command_end(struct rh_engine *engine, const char *command, enum rh_status outcome, struct rh_error *err);
/* Journal name of a plan; for Vault configurations both sides' facts must be known. */
enum rh_status engine_journal_name(struct rh_engine *engine, struct rh_buf *ret_name, struct rh_error *err);
enum rh_status engine_journal_need(struct rh_engine *engine, unsigned flags, struct rh_error *err);
enum rh_status engine_provider_need(struct rh_engine *engine, struct rh_error *err);
int64_t engine_lanes(const struct move_run *move);
/* How large a batch may grow, so that all lanes stay within the plan's memory. */
size_t engine_batch_bytes(const struct move_run *move);
int64_t engine_retry_us(const struct rh_engine *engine);

/* --- side.c --- */
/* Adds the side to a failure; returns status. */
enum rh_status side_status(const struct side *side, struct rh_error *err, enum rh_status status);
enum rh_status side_store(struct move_run *move, struct side *side, struct rh_error *err);
enum rh_status side_open(struct move_run *move, struct side *side, struct rh_error *err);
void side_close(struct side *side);
enum rh_status side_session(struct side *side, struct rh_ctx *ctx, enum rh_role role, struct rh_session **ret_session);
static inline void side_session_close(struct rh_session *session)
{
    if (session)
        session->store->driver->session_close(session);
}
/* The bytes of one key of a keyring (inventory.c). RH_NOT_FOUND. */
enum rh_status
keyring_get_secret(struct rh_ctx *ctx, struct rh_session *session, struct rh_bytes key, struct rh_secret **ret_secret);
const char *side_name(enum rh_side which); /* "source", "destination" */
/* New control sessions, after a failure that may have killed the old ones. */
enum rh_status sides_reconnect(struct move_run *move, struct rh_error *err);
/* A scan that leaves out what is not a record of the move (marker, owner's lock). */
enum rh_status side_scan_open(struct side *side,
                              struct rh_ctx *ctx,
                              struct rh_session *session,
                              const struct rh_dataset *dataset,
                              struct rh_range range,
                              struct rh_bytes after,
                              unsigned flags,
                              struct rh_scan **ret_scan);
enum rh_status side_scan_next(struct side *side,
                              struct rh_ctx *ctx,
                              struct rh_scan *scan,
                              size_t want_bytes,
                              size_t want_records,
                              struct rh_batch *batch);
void side_scan_close(struct rh_scan *scan);

/* One side's records in order, a batch at a time, on a session of its own or one that is kept (lane_session); hashed
 * where their values are read. */
struct stream {
    struct side *side;
    struct move_run *move;
    struct rh_ctx *ctx;
    struct rh_session *session, **kept; /* kept: where the session comes from, and goes after a scan that ended */
    struct rh_scan *scan;
    struct rh_batch own, *batch;
    size_t at; /* the record under the cursor; the reader moves it on */
    unsigned flags;
    bool ended;
};
/* A store that doesn't exist yet has no records. Close also after a failure. */
enum rh_status stream_open(struct stream *stream,
                           struct move_run *move,
                           struct side *side,
                           struct rh_ctx *ctx,
                           struct rh_session **kept, /* NULL: none */
                           struct rh_batch *batch,   /* whose memory serves; NULL: one of its own */
                           struct rh_range range,
                           unsigned flags);
/* The record under the cursor, NULL at the end; good until the next peek behind it. */
enum rh_status stream_peek(struct stream *stream, const struct rh_record **ret_record);
void stream_close(struct stream *stream);

/* --- marker.c --- */
bool marker_is_private(enum rh_model model, struct rh_bytes key);
/* Whether a move sets no marker on this side: it can't hold one, or is a keyring that is only read. */
bool marker_left_away(const struct side *side);
const char *marker_name(const struct side *side); /* what holds it, for people */
enum rh_status marker_get(struct side *side, struct rh_ctx *ctx, struct rh_buf *ret_marker);
enum rh_status marker_clear(struct side *side, struct rh_ctx *ctx, struct rh_bytes marker);
/* Journals new marker bytes for this pass unless there are some; loads them. */
enum rh_status marker_prepare(struct move_run *move, struct rh_error *err);
/* Sets ours where it isn't; *ret_was_there tells which. RH_E_LOCKED with words for a marker of somebody else's. */
enum rh_status marker_take(struct move_run *move, struct side *side, bool *ret_was_there, struct rh_error *err);
/* Whether ours (move->marker) stands there. */
enum rh_status marker_stands(struct move_run *move, struct side *side, bool *ret_stands, struct rh_error *err);

/* Both sides' markers: taken destination first, dropped source first (where its session is open). */
enum rh_status markers_take(struct move_run *move, struct rh_error *err);
enum rh_status markers_drop(struct move_run *move, struct rh_error *err);

/* --- check.c --- */
/* Opens both sides and looks; problems are found and counted. `resuming`: a pass of ours is under way, so that its own
 * traces are fine. */
enum rh_status
check_open_one(struct move_run *move, struct side *side, struct rh_error *err); /* opens a side, reads its facts */
enum rh_status check_open(struct move_run *move, struct rh_error *err);
enum rh_status check_sides(struct move_run *move, bool resuming, struct rh_error *err);
void check_problem(struct move_run *move,
                   const struct side *side,
                   enum rh_status status,
                   const char *what,
                   struct rh_bytes key,
                   const char *hint,
                   const char *fmt,
                   ...) RH_PRINTF(7, 8);
void check_say(struct move_run *move,
               const struct side *side,
               enum rh_finding_kind kind,
               const char *what,
               struct rh_bytes key,
               const char *fmt,
               ...) RH_PRINTF(6, 7);
/* RH_OK, or the failure that the problems amount to. */
enum rh_status check_verdict(struct move_run *move, struct rh_error *err);

/* --- survey.c --- */
/* One sorted scan of both sides' keys; problems by check_problem. */
enum rh_status survey_run(struct move_run *move, struct survey *survey, struct rh_error *err);
void survey_done(struct survey *survey);

/* --- equal.c --- */
enum rh_status equal_begin(struct equal *equal, struct move_run *move, struct rh_error *err);
/* One more key that both sides hold; value_bytes is what both values take together, as far as it is known. */
enum rh_status equal_add(struct equal *equal, struct rh_bytes key, uint64_t value_bytes, struct rh_error *err);
/* Compares what is left. */
enum rh_status equal_end(struct equal *equal, struct rh_error *err);
void equal_done(struct equal *equal);

/* --- range.c --- */
enum rh_status range_load_all(struct move_run *move, struct rh_error *err);
void ranges_free(struct range *ranges, size_t count);
enum rh_status range_set_bytes(struct rh_buf *buf, struct rh_bytes *view, struct rh_bytes value, struct rh_error *err);
/* Journals that a range is to be copied anew, over what was copied, and how many records are expected this time. */
enum rh_status range_forget(struct move_run *move, struct range *range, uint64_t expect_count, struct rh_error *err);
enum rh_status doubt_add(struct doubt *doubt, struct rh_hash name, struct rh_hash value, struct rh_error *err);
bool doubt_has(struct doubt *doubt, struct rh_hash name, struct rh_hash value);
enum rh_status doubt_load(struct move_run *move, struct rh_error *err);

/* --- batch.c --- */
/* How many of the keys a get into `found` has surely looked at; at least one. */
size_t batch_looked_at(const struct rh_bytes *keys, size_t count, const struct rh_batch *found);
struct batch_writer {
    struct move_run *move;
    struct rh_session *session;
    struct rh_batch held, part;    /* what the destination holds; the part of a batch that is put in one mode */
    struct rh_bytes *keys;         /* for get; BATCH_RECORDS long */
    struct rh_undo_entry *entries; /* as long */
    size_t capacity;
};
enum rh_status batch_writer_init(struct batch_writer *writer, struct move_run *move, struct rh_error *err);
void batch_writer_done(struct batch_writer *writer);
/* Puts one batch of a range as the plan's policy says, with its undo block before it, and journals the range's
 * progress. The range ends with this batch when `last`. */
enum rh_status
batch_write(struct batch_writer *writer, struct rh_ctx *ctx, struct range *range, struct rh_batch *batch);
enum rh_status range_finish(struct move_run *move, struct range *range, struct rh_error *err);

/* --- lanes.c --- */
/* Runs `work` over all ranges for which `wanted` is true, on the move's lanes; connection losses are tried again for
 * the retry time. */
struct lane {
    struct move_run *move;
    const atomic_bool *stop;
    void *user;
    /* what a range that went well left for the lane's next one; NULL: none */
    struct rh_session *source, *destination, *writer;
    struct rh_batch batches[PIPE_BATCHES]; /* their memory serves one range after the other */
};
/* A session that the lane kept, or a new one. */
enum rh_status lane_session(struct rh_session **kept,
                            struct side *side,
                            struct rh_ctx *ctx,
                            enum rh_role role,
                            struct rh_session **ret_session);
/* Keeps a session after work that ended with RH_OK, else closes it. NULL is fine. */
void lane_session_leave(struct rh_session **kept, struct rh_session *session, enum rh_status status);
typedef enum rh_status lane_work(struct lane *lane, struct rh_ctx *ctx, struct range *range);
enum rh_status lanes_run(struct move_run *move,
                         bool (*wanted)(const struct range *range),
                         lane_work *work,
                         void *user,
                         struct rh_error *err);

/* --- whole.c: destinations that commit as a whole; sides that are pipes --- */
/* An open store may have another driver than the one that opened it: a component of a keyring, whose configuration says
 * whether it has a file. */
static inline const struct rh_whole_ops *whole_of(const struct side *side)
{
    return side->store ? side->store->driver->whole : side->endpoint->driver->whole;
}
/* Whether a side can be gone through once only, so that nothing can be compared afterwards. */
static inline bool one_pass(const struct move_run *move)
{
    return move->source.facts.one_pass || move->destination.facts.one_pass;
}
/* One lane writes everything, in order. */
static inline bool one_lane(const struct move_run *move)
{
    return move->whole || move->source.facts.one_pass;
}
/* Looks at what stands at the destination, and at what a pipe can't do; problems by check_problem. */
enum rh_status whole_check(struct move_run *move, bool resuming, struct rh_error *err);
/* Begins the one unit, copies by `copy`, commits; or finds that an earlier process had committed. */
enum rh_status whole_copy(struct move_run *move,
                          enum rh_status (*copy)(struct move_run *move, struct rh_error *err),
                          struct rh_error *err);
/* A batch into the unit; nothing is journaled before the commit. */
enum rh_status whole_put(struct move_run *move, struct rh_ctx *ctx, struct range *range, struct rh_batch *batch);
/* Takes our content away if it is ours still, and puts back what was there. */
enum rh_status whole_rollback(struct move_run *move, struct rh_error *err);
/* What stands at the destination now counts as ours, whoever wrote it: all of it is kept elsewhere. */
enum rh_status whole_adopt(struct move_run *move, struct rh_error *err);
/* Gives up what was kept of the content before ours. */
enum rh_status whole_forget(struct move_run *move, struct rh_error *err);
/* What the survey couldn't ask a pipe: whether each record of a batch fits the destination. */
enum rh_status
one_pass_fits(struct move_run *move, struct rh_ctx *ctx, struct rh_session *session, const struct rh_batch *batch);
/* The refusal of a comparison that can't be made; RH_OK where it can. */
enum rh_status one_pass_refuse(struct move_run *move, struct rh_error *err);

/* --- kept.c: what stood at a destination before, sealed in the state folder --- */
/* Keeps an image, durably, once: what an earlier process kept stays. */
enum rh_status kept_put(struct move_run *move, struct rh_bytes image, struct rh_error *err);
/* The image into the (secret) arena. RH_NOT_FOUND: none was kept. */
enum rh_status
kept_get(struct move_run *move, struct rh_arena *arena, struct rh_bytes *ret_image, struct rh_error *err);

/* --- prove.c: whether the keys open a server's data --- */
/* Data folders that the plan or the command line names for this move. */
size_t prove_folder_count(const struct move_run *move);
/* With the keys that the destination will have, or has; problems by check_problem. `each`: what opens is said, too. */
enum rh_status prove_check(struct move_run *move, bool destination_only, bool each, struct rh_error *err);
/* With the destination's keys. RH_E_MISMATCH naming the first file that they don't open. */
enum rh_status prove_run(struct move_run *move, struct rh_error *err);

/* --- samples.c --- */
const char *sample_kind_name(enum sample_kind kind);
/* Before lanes begin: loads the points of an earlier process. Then a tick now and then, and one after the end. */
void samples_begin(struct move_run *move, enum sample_kind kind);
void samples_tick(struct move_run *move);
/* Adds one measurement; `found` isn't older than the last. */
void samples_add(struct samples *samples, struct sample found);
/* Journals the points with the transaction that is open, if they are due; `all`: also those of the last moments. */
enum rh_status samples_put(struct move_run *move, bool all, struct rh_error *err);
enum rh_status samples_encode(const struct samples *samples, struct rh_buf *out, struct rh_error *err);
enum rh_status samples_decode(struct rh_bytes bytes, struct samples *ret_samples); /* RH_E_CORRUPT without words */

/* --- steps.c --- */
/* Under closed fences: compares a complete plan, and copies what its sources got since. */
enum rh_status carry_over(struct rh_engine *engine, struct rh_error *err);
/* All phases, each over all moves. `again`: also over those that are complete. */
enum rh_status run_phases(struct rh_engine *engine, bool again, struct rh_error *err);

/* --- verbs.c --- */
/* Opens the journal of a plan that must have been run. */
enum rh_status journal_must(struct rh_engine *engine, struct rh_error *err);

/* --- copy.c, verify.c, rollback.c, report.c --- */
enum rh_status copy_run(struct move_run *move, struct rh_error *err);
struct verify_result {
    struct rh_sum a, b, c;
    uint64_t missing, differing, extras, mended, left;
    bool extras_equal, source_still, equal;
};
enum rh_status verify_run(struct move_run *move, bool repair, struct verify_result *ret_result, struct rh_error *err);
/* The failure that a verification's result amounts to, in words. */
enum rh_status verify_judge(struct move_run *move, const struct verify_result *result, struct rh_error *err);
enum rh_status verify_all(struct rh_engine *engine, bool repair, struct rh_error *err); /* verbs.c */
/* Ranges whose source changed are copied anew by the next run. */
enum rh_status verify_forget_changed(struct move_run *move, struct rh_error *err);
enum rh_status rollback_run(struct move_run *move, struct rh_error *err);
enum rh_status report_facts(struct move_run *move, struct rh_error *err);
enum rh_status report_write(struct rh_engine *engine, struct rh_error *err); /* NAME.report.json in the state folder */

/* --- report_history.c, report_limits.c: parts of the report --- */
json_t *stamp_json(int64_t utc_us); /* null for 0 */
/* Adds "commands" to the report, and to each of its moves "history" and "throughput". */
enum rh_status report_history(struct rh_journal *journal, bool live, json_t *root, struct rh_error *err);
json_t *report_not_moved(const struct rh_move *plan,
                         const json_t *counts,
                         const char *start); /* start: what operator migrate -start said, or NULL */
/* `move`: the report's object, with its sides. */
json_t *report_limits(const struct rh_move *plan, const json_t *move);

/* --- report_afterwards.c: what is left to do by hand after a move between keyrings --- */
/* Journals what a server is told so as to use a side; nothing for other stores. */
enum rh_status afterwards_put(struct move_run *move, const struct side *side, struct rh_error *err);
/* `move`: the report's object, with its sides and fences. */
json_t *report_afterwards(struct rh_journal *journal, const struct rh_move *plan, const json_t *move);
/* The same for a plan with a cutover. `there`: its servers go to the destination. */
json_t *report_afterwards_switched(bool there);

/* --- digest_key.c --- */
enum rh_status digest_load(struct move_run *move, struct rh_error *err);

/* --- pass.c: the states of a move are the journal's fact "state" --- */
#define STATE_RUNNING "running"
#define STATE_COMPLETE "complete"
#define STATE_FAILED "failed"
#define STATE_ROLLING_BACK "rolling-back"
#define STATE_ROLLED_BACK "rolled-back"
#define STATE_FINISHED "finished"
#define STATE_ABANDONED "abandoned"
enum rh_status pass_state_set(struct move_run *move, const char *state, struct rh_error *err);
/* Everything that belongs to one pass goes, but for markers that stand (`marked`); the way back stays. */
enum rh_status pass_begin(struct move_run *move, bool marked, struct rh_error *err);
/* Whether an earlier pass's marker still stands on a side. */
enum rh_status pass_marked(struct move_run *move, bool *ret_marked, struct rh_error *err);
/* Looks at both sides again before going on; *ret_start_over when what was copied doesn't count any more. */
enum rh_status pass_resume(struct move_run *move, bool *ret_start_over, struct rh_error *err);
/* Remembers what the container is, or refuses another one. */
enum rh_status pass_fingerprint(struct move_run *move, struct side *side, struct rh_error *err);
/* Refuses a side that isn't the store which the journal speaks of. */
enum rh_status place_check(struct move_run *move, const struct side *side, struct rh_error *err);
enum rh_status places_check(struct move_run *move, struct rh_error *err);

/* --- way_back.c --- */
/* The whole way back of one move whose sides are open. */
enum rh_status go_back(struct move_run *move, struct rh_error *err);
/* Takes back every move of the plan that must not leave a trace, and says so in err; returns err->status. */
enum rh_status go_back_after(struct rh_engine *engine, struct rh_error *err);
/* Gives the way back up; repeated by whoever comes after a crash in its middle. */
enum rh_status way_back_drop(struct move_run *move, struct rh_error *err);

/* --- named facts of the journal, typed --- */
enum rh_status fact_put(struct move_run *move, const char *name, const char *value, struct rh_error *err);
enum rh_status
fact_get(struct move_run *move, const char *name, struct rh_buf *ret_value, struct rh_error *err); /* RH_NOT_FOUND */
bool fact_is(struct move_run *move, const char *name, const char *value);
/* A fact that is JSON text; takes the object, of which `what` says in an error what it is. */
enum rh_status fact_put_json(struct rh_journal *journal,
                             const char *move,
                             const char *name,
                             json_t *object,
                             const char *what,
                             struct rh_error *err);
/* NULL when there is none; the caller's to free. */
json_t *fact_get_json(struct rh_journal *journal, const char *move, const char *name);
enum rh_status step_done(struct move_run *move, const char *step, bool *ret_done, struct rh_error *err);

#endif
