/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fences as the engine uses them: closed before anything is read, renewed by the main thread while it works, opened at
 * the end whatever happened. The guardian (guardian.c) is a process that opens them when this one can't.
 *
 * What the journal remembers, as facts of the move, N counting its fences from 0:
 *   fence.N.state    what stood before and who closed it: there is something to open
 *   fence.N.epoch    the closing's name; gone with the state
 *   fence.N.closed   of the last closing: which server, when, under which protection (JSON, for the report)
 *   fence.N.opened   when and by whom that was opened again, after how long (JSON)
 */
#ifndef REHOME_ENGINE_FENCES_H
#define REHOME_ENGINE_FENCES_H

#include <jansson.h>
#include <rehome/fence.h>
#include <rehome/plan.h>
#include <pthread.h>

struct rh_engine;
struct move_run;
struct rh_journal;
struct guardian;

enum { FENCES_MOST = 64 };

struct fence_run {
    struct move_run *move;
    const struct rh_fence_block *block;
    size_t number; /* in its move */
    struct rh_fence *fence;
    struct rh_fence_facts facts;
    struct rh_buf state, epoch;
    bool closed; /* perhaps: there is something to open */
    int64_t closed_us, closed_utc_us;
};
struct fences {
    struct fence_run runs[FENCES_MOST];
    size_t count;
    struct guardian *guardian;
    pthread_t main;               /* the thread that renews */
    bool closed;                  /* all of them, and nothing has broken an epoch */
    bool broken;                  /* a pass under way doesn't count */
    struct rh_error why;          /* what broke it */
    int64_t renewed_us, lease_us; /* the shortest lease */
};

/* --- fences.c --- */
/* Before any thread is started: the guardian is forked where `guarded`. */
enum rh_status fences_start(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Gives connections and guardian up; what is closed still is left to the guardian, which acts when this process ends.
 */
void fences_stop(struct rh_engine *engine);
/* Connects to a move's servers and looks; problems by check_problem. Changes nothing. */
enum rh_status fences_check(struct move_run *move, struct rh_error *err) RH_MUST_USE;
/* Connects to all servers and looks; the guardian does the same. Changes nothing. */
enum rh_status fences_look(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Closes all or none. */
enum rh_status fences_close(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Renews when it is time; cheap else, and nothing in other threads. False: an epoch is broken, stop working. */
bool fences_tick(struct rh_engine *engine);
/* Renews now: whether every epoch is unbroken up to this moment. */
enum rh_status fences_hold(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Opens what is closed; each is tried even if others fail. `outcome` is what the work between came to; it comes back,
 * or the failure of the opening where the work went well. */
enum rh_status fences_open(struct rh_engine *engine, enum rh_status outcome, struct rh_error *err);
/* A new pass has begun: the closing was its first step. */
enum rh_status fences_journal(struct move_run *move, struct rh_error *err) RH_MUST_USE;
/* Names what an earlier run left closed and the plan doesn't speak of any more. */
void fences_say_forgotten(struct rh_engine *engine);
/* recover: opens what an earlier process left closed, and says what it finds. */
enum rh_status fences_recover(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Says it when a server has a keystore loaded that is neither side of its move: perhaps the wrong server was named. */
void fences_say_loaded(struct move_run *move);
/* Refuses to take a keystore away that wasn't there before the move and that a server has loaded by now. */
enum rh_status fences_refuse_loaded(struct move_run *move, struct rh_error *err) RH_MUST_USE;
/* What the source of a move, one that is replaced as a whole, holds now, as a stamp; half a file is a stamp of its own.
 */
enum rh_status source_stamp(struct move_run *move, struct rh_buf *ret_stamp, struct rh_error *err) RH_MUST_USE;
/* Waits until the move's source stands still: a write that was let in before the closing may be under way. */
enum rh_status fences_settle(struct move_run *move, struct rh_error *err) RH_MUST_USE;

/* --- fences_tell.c: journal and words --- */
struct fence_fact {
    char name[40];
};
struct fence_fact fence_fact(size_t number, const char *what); /* "fence.0.state" */
/* Journals that a fence is about to be closed, or that its epoch is known. */
enum rh_status fence_put_intent(struct fence_run *run, struct rh_error *err) RH_MUST_USE;
enum rh_status fence_put_epoch(struct fence_run *run, struct rh_error *err) RH_MUST_USE;
/* Journals that it is open again: by whom ("rehome", "guardian", ...), and for how long it was closed (< 0: unknown).
 */
enum rh_status fence_put_opened(struct rh_journal *journal,
                                const char *move,
                                size_t number,
                                const char *by,
                                int64_t pause_us,
                                struct rh_error *err) RH_MUST_USE;
const char *fence_outcome_words(enum rh_fence_outcome outcome);
/* Says what the server is and what opens it when this process can't. */
void fence_say_facts(const struct fence_run *run);
/* Says what a former process's guardian noted of it, once. */
void fence_say_guardian(const struct fence_run *run);

/* The report's part: one object a fence. The caller's to free. */
json_t *fences_report(struct rh_journal *journal, const struct rh_move *move);

/* --- guardian.c --- */
enum rh_status
guardian_start(struct rh_engine *engine, struct guardian **ret_guardian, struct rh_error *err) RH_MUST_USE;
/* Lets it go, having told it that nothing is closed; NULL is fine. `armed`: something is, it stays and acts when this
 * process ends. */
void guardian_stop(struct guardian *guardian, bool armed);
bool guardian_alive(const struct guardian *guardian);
/* Has it connect to every server; returns when it can open them. */
enum rh_status guardian_arm(struct guardian *guardian, const char *journal, struct rh_error *err) RH_MUST_USE;
/* A fence is about to be closed; its epoch is known; it is open again; all are renewed. */
enum rh_status
guardian_watch(struct guardian *guardian, size_t index, const char *state, struct rh_error *err) RH_MUST_USE;
enum rh_status guardian_note(struct guardian *guardian,
                             size_t index,
                             const char *epoch,
                             int64_t closed_utc_us,
                             struct rh_error *err) RH_MUST_USE;
void guardian_forget(struct guardian *guardian, size_t index);
/* A route is about to be switched, `move` being the one that it belongs to; nothing of it stands any more. */
enum rh_status guardian_watch_route(
    struct guardian *guardian, size_t index, size_t move, const char *state, struct rh_error *err) RH_MUST_USE;
void guardian_forget_route(struct guardian *guardian, size_t index);
enum rh_status guardian_beat(struct guardian *guardian, struct rh_error *err) RH_MUST_USE;

#endif
