/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: durable memory of steps, ranges, decisions and undo segments. One SQLite file per plan in the state
 * folder (WAL, synchronous=FULL, 0600), with a lock file of its own; the format is docs/formats/journal.md.
 * Threads: one journal may be used by several threads; calls are serialised inside. Every function that writes is
 * durable when it returns, unless inside begin/commit (then commit is the barrier).
 */
#ifndef REHOME_JOURNAL_H
#define REHOME_JOURNAL_H

#include <rehome/digest.h>
#include <sys/types.h>

struct rh_journal;

enum {
    RH_JOURNAL_CREATE = 1 << 0,   /* make it if absent */
    RH_JOURNAL_READ_ONLY = 1 << 1 /* no lock, no writes: for status and report while a run is on */
};

/* Opens DIR/NAME.journal. The folder is made (0700) if absent and CREATE is given; refused on NFS, CIFS and other
 * network file systems, when foreign-writable or not ours. RH_NOT_FOUND: absent and no CREATE. RH_E_LOCKED: another
 * process has it (names its pid). RH_E_CORRUPT: not a journal, a newer format version. */
enum rh_status rh_journal_open(const char *dir,
                               const char *name,
                               unsigned flags,
                               struct rh_journal **ret_journal,
                               struct rh_error *err) RH_MUST_USE;
void rh_journal_close(struct rh_journal *journal);
const char *rh_journal_dir(const struct rh_journal *journal);
const char *rh_journal_name(const struct rh_journal *journal);
/* Pid of the process that holds the journal's lock file, 0 when nobody, -1 when its pid can't be known. */
enum rh_status rh_journal_owner(const char *dir, const char *name, pid_t *ret_pid, struct rh_error *err) RH_MUST_USE;
/* Calls `each` with the name of every journal in the folder. */
enum rh_status rh_journal_list(const char *dir,
                               enum rh_status (*each)(void *user, const char *name),
                               void *user,
                               struct rh_error *err) RH_MUST_USE;

/* Several writes as one. Not nested; holds the journal's mutex in between. */
enum rh_status rh_journal_begin(struct rh_journal *journal, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_commit(struct rh_journal *journal, struct rh_error *err) RH_MUST_USE;
void rh_journal_abort(struct rh_journal *journal);

/* --- named facts of a move ("" = of the plan) --- */
enum rh_status rh_journal_put(struct rh_journal *journal,
                              const char *move,
                              const char *name,
                              struct rh_bytes value,
                              struct rh_error *err) RH_MUST_USE;
/* RH_EXISTS when there is a value already (which stays): for the state of the world before us. */
enum rh_status rh_journal_put_once(struct rh_journal *journal,
                                   const char *move,
                                   const char *name,
                                   struct rh_bytes value,
                                   struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_get(struct rh_journal *journal,
                              const char *move,
                              const char *name,
                              struct rh_buf *ret_value,
                              struct rh_error *err) RH_MUST_USE; /* RH_NOT_FOUND */
enum rh_status rh_journal_remove(struct rh_journal *journal, const char *move, const char *name, struct rh_error *err)
    RH_MUST_USE; /* absent is fine */
/* Compare-and-set for decisions: sets `value` if none is set; *ret_value is what holds now. RH_OK, or RH_EXISTS when
 * another value holds. */
enum rh_status rh_journal_decide(struct rh_journal *journal,
                                 const char *move,
                                 const char *name,
                                 const char *value,
                                 struct rh_buf *ret_value,
                                 struct rh_error *err) RH_MUST_USE;

/* --- steps --- */
enum rh_step_outcome { RH_STEP_NONE = 0, RH_STEP_INTENT, RH_STEP_DONE, RH_STEP_FAILED, RH_STEP_UNDONE };
struct rh_step_state {
    char move[128];
    char step[64];   /* "mark-destination", "copy" */
    uint32_t number; /* order of first intent */
    enum rh_step_outcome outcome;
    int64_t intent_us, outcome_us; /* UTC; 0 = not yet */
    char note[1024];               /* words for status and report; never secret */
};
enum rh_status rh_journal_step_intent(struct rh_journal *journal,
                                      const char *move,
                                      const char *step,
                                      struct rh_error *err) RH_MUST_USE;
/* As intent, for a step that began earlier (UTC) and had nothing to write until now. */
enum rh_status rh_journal_step_begun(
    struct rh_journal *journal, const char *move, const char *step, int64_t begun_us, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_step_outcome(struct rh_journal *journal,
                                       const char *move,
                                       const char *step,
                                       enum rh_step_outcome outcome,
                                       const char *note,
                                       struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_step_get(struct rh_journal *journal,
                                   const char *move,
                                   const char *step,
                                   struct rh_step_state *ret_state,
                                   struct rh_error *err) RH_MUST_USE; /* RH_NOT_FOUND */
enum rh_status rh_journal_steps(struct rh_journal *journal,
                                enum rh_status (*each)(void *user, const struct rh_step_state *state),
                                void *user,
                                struct rh_error *err) RH_MUST_USE;
/* All intents and outcomes that were ever written, oldest first, over all passes; steps of the plan itself have the
 * move
 * "". An intent has outcome RH_STEP_INTENT and intent_us, an outcome its own and outcome_us; number is 0. */
enum rh_status rh_journal_history(struct rh_journal *journal,
                                  enum rh_status (*each)(void *user, const struct rh_step_state *event),
                                  void *user,
                                  struct rh_error *err) RH_MUST_USE;
/* Forgets a move's steps and ranges (not its facts, undo segments or history): a new pass begins. */
enum rh_status rh_journal_new_pass(struct rh_journal *journal, const char *move, struct rh_error *err) RH_MUST_USE;

/* --- ranges --- */
struct rh_range_state {
    uint64_t id; /* given by rh_journal_range_add, from 1 */
    char dataset[400];
    struct rh_bytes from, to;         /* borrowed in callbacks and inputs */
    uint64_t expect_count;            /* records the survey saw */
    bool destination_empty;           /* the survey saw no key there */
    bool done;                        /* copied to its end */
    uint64_t batches;                 /* batches that are safely at the destination; batch n+1 and later are in doubt */
    struct rh_bytes resume;           /* last key that is safely at the destination; empty = none */
    struct rh_sum copied;             /* digest A up to there */
    uint64_t kept, replaced, written; /* of those: were equal already; replaced a value; new */
    struct rh_sum source, destination; /* digests B and C of the last verification */
    bool verified;
};
enum rh_status rh_journal_range_add(struct rh_journal *journal,
                                    const char *move,
                                    struct rh_range_state *range,
                                    struct rh_error *err) RH_MUST_USE; /* sets id */
enum rh_status rh_journal_range_progress(struct rh_journal *journal,
                                         const char *move,
                                         const struct rh_range_state *range,
                                         struct rh_error *err)
    RH_MUST_USE; /* done, batches, resume, copied, counters, expect_count, destination_empty */
enum rh_status rh_journal_range_verified(struct rh_journal *journal,
                                         const char *move,
                                         const struct rh_range_state *range,
                                         struct rh_error *err) RH_MUST_USE; /* source, destination, verified */
/* In id order. The state's bytes are good during the callback only. */
enum rh_status rh_journal_ranges(struct rh_journal *journal,
                                 const char *move,
                                 enum rh_status (*each)(void *user, const struct rh_range_state *range),
                                 void *user,
                                 struct rh_error *err) RH_MUST_USE;

/* --- undo segments: names, and up to which byte they are known good --- */
struct rh_segment_state {
    uint64_t id;    /* from 1, in order of making */
    char file[256]; /* name inside the state folder */
    uint64_t good_bytes, good_frames;
};
enum rh_status rh_journal_segment_add(struct rh_journal *journal,
                                      const char *move,
                                      struct rh_segment_state *segment,
                                      struct rh_error *err) RH_MUST_USE; /* sets id, and file when it is "" */
enum rh_status rh_journal_segment_good(struct rh_journal *journal,
                                       const char *move,
                                       uint64_t id,
                                       uint64_t bytes,
                                       uint64_t frames,
                                       struct rh_error *err) RH_MUST_USE; /* both only grow */
enum rh_status rh_journal_segments(struct rh_journal *journal,
                                   const char *move,
                                   enum rh_status (*each)(void *user, const struct rh_segment_state *segment),
                                   void *user,
                                   struct rh_error *err) RH_MUST_USE;
enum rh_status
rh_journal_segments_forget(struct rh_journal *journal, const char *move, struct rh_error *err) RH_MUST_USE;

/* --- notes: things found, for report (a key's name, a reason) --- */
enum rh_status rh_journal_note(struct rh_journal *journal,
                               const char *move,
                               const char *kind,
                               struct rh_bytes key,
                               const char *text,
                               struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_notes(
    struct rh_journal *journal,
    const char *move,
    enum rh_status (*each)(void *user, int64_t utc_us, const char *kind, struct rh_bytes key, const char *text),
    void *user,
    struct rh_error *err) RH_MUST_USE;
enum rh_status rh_journal_notes_clear(struct rh_journal *journal,
                                      const char *move,
                                      const char *kind,
                                      struct rh_error *err) RH_MUST_USE;

#endif
