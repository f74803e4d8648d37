/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes as the engine uses them: looked at, prepared, turned while the fences are closed, settled when they are open.
 *
 * What the journal remembers, as facts of the plan, N counting its routes from 0:
 *   route.N.state   what is being switched, from where to where: there is something to settle
 *   route.N.way     "there" or "back"; gone with the state
 *   route.N.server  identity and address of the server that was sent to the destination, until it is back
 *   route.N.done    of the last switch: which server, to what, when, for how long it made no keys (JSON)
 * and as facts of a move:
 *   switched        "yes": its servers go to the destination, or may do so
 */
#ifndef REHOME_ENGINE_ROUTES_H
#define REHOME_ENGINE_ROUTES_H

#include <jansson.h>
#include <rehome/plan.h>

struct rh_engine;
struct move_run;
struct fence_run;
struct rh_journal;
struct guardian;

enum { ROUTES_MOST = 64 };

enum way { WAY_THERE, WAY_BACK };

struct route_run {
    const struct rh_route_block *block;
    size_t number; /* in the plan */
    struct rh_route *route;
    struct rh_route_facts facts;
    const struct fence_run *fence; /* of the same server; NULL: not looked at yet */
    struct rh_buf ends[2];         /* where its move's source and destination lie */
    struct rh_buf state;
    enum way way;  /* of the switch that the state speaks of */
    bool standing; /* there is something to settle */
    bool goes;     /* it is switched by this attempt */
    bool at_new;   /* it went to the new side, as far as this process knows */
};
struct routes {
    struct route_run runs[ROUTES_MOST];
    size_t count;
};

/* --- routes.c --- */
enum rh_status routes_start(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
void routes_stop(struct rh_engine *engine);
/* Connects to all servers, finds each one's fence, looks whether it could be switched; changes nothing. Fences have
 * been looked at. */
enum rh_status routes_look(struct rh_engine *engine, enum way way, struct rh_error *err) RH_MUST_USE;
/* Warns of servers that are held back and not switched. */
void routes_say_left_out(struct rh_engine *engine);
/* The same with problems by check_problem. */
enum rh_status routes_check(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Everything that may fail and shows nowhere yet; the guardian knows from here on. */
enum rh_status routes_prepare(struct rh_engine *engine, enum way way, struct rh_error *err) RH_MUST_USE;
/* Under the fences: from now on a start of a server brings the other side. */
enum rh_status routes_apply(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* With open fences, up to a moment of rh_clock_us. */
enum rh_status routes_settle(struct rh_engine *engine, int64_t until_us, struct rh_error *err) RH_MUST_USE;
/* The switch is over: what held the old side is let go of, and the journal knows. */
enum rh_status routes_release(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Puts right what stands, each tried even if others fail; *ret_new: how many servers go to the new side all the same,
 * those included that were let go of before. */
enum rh_status routes_undo(struct rh_engine *engine, size_t *ret_new, struct rh_error *err) RH_MUST_USE;
/* Puts right what an earlier process left, and says so. */
enum rh_status routes_recover(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* All servers are back, so none is missed when it leaves the plan. */
enum rh_status routes_forget_servers(struct rh_journal *journal, struct rh_error *err) RH_MUST_USE;
enum rh_status routes_probe(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;
/* Whether a switch was cut off and not put right yet, as far as the journal knows. */
bool routes_to_settle(struct rh_journal *journal, const struct rh_plan *plan);
/* The report's part: one object a route. The caller's to free. */
json_t *routes_report(struct rh_journal *journal, const struct rh_plan *plan);

/* --- cutover.c --- */
/* Whether servers of a move go to its destination, or may do so. */
bool switched(struct move_run *move);
bool any_switched(struct rh_engine *engine);
/* Takes the servers back to the sources, with the keys that they have made since. */
enum rh_status cutover_back(struct rh_engine *engine, struct rh_error *err) RH_MUST_USE;

#endif
