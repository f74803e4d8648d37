/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at routes, switching them, putting them right; see routes.h. */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>

/* --- life --- */

enum rh_status routes_start(struct rh_engine *engine, struct rh_error *err)
{
    struct routes *routes = &engine->routes;
    const struct rh_plan *plan = engine->plan;
    if (plan->route_count > ROUTES_MOST)
        return rh_fail(err, RH_E_PLAN, "more than %d routes in one plan", ROUTES_MOST);
    for (size_t i = 0; i < plan->route_count; i++)
        routes->runs[routes->count++] = (struct route_run){.block = &plan->routes[i], .number = i};
    return RH_OK;
}

void routes_stop(struct rh_engine *engine)
{
    for (size_t i = 0; i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        if (run->route)
            run->block->driver->free(run->route);
        rh_buf_done(&run->state);
        rh_buf_done(&run->ends[0]);
        rh_buf_done(&run->ends[1]);
    }
    engine->routes = (struct routes){.count = 0};
}

static struct move_run *move_of(const struct route_run *run)
{
    assert(run->fence); /* found when it was looked at */
    return run->fence->move;
}

/* --- journal --- */

struct route_fact {
    char name[40];
};
/* "route.0.state" */
static struct route_fact route_fact(size_t number, const char *what)
{
    struct route_fact fact;
    snprintf(fact.name, sizeof fact.name, "route.%zu.%s", number, what);
    return fact;
}

/* Journals that a route is about to be switched. */
static enum rh_status put_state(struct rh_engine *engine, const struct route_run *run, struct rh_error *err)
{
    struct rh_journal *journal = engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_put(journal, "", route_fact(run->number, "state").name, rh_buf_bytes(&run->state), err);
    if (status == RH_OK)
        status = rh_journal_put(journal, "", route_fact(run->number, "way").name,
                                rh_bytes_text(run->way == WAY_THERE ? "there" : "back"), err);
    char server[sizeof run->facts.identity + sizeof run->facts.address];
    snprintf(server, sizeof server, "%s %s", run->facts.identity, run->facts.address);
    if (status == RH_OK && run->way == WAY_THERE)
        status = rh_journal_put(journal, "", route_fact(run->number, "server").name, rh_bytes_text(server), err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

/* Journals that nothing of a route stands any more. */
static enum rh_status drop_state(struct rh_engine *engine, size_t number, struct rh_error *err)
{
    struct rh_journal *journal = engine->journal;
    enum rh_status status = rh_journal_begin(journal, err);
    if (status != RH_OK)
        return status;
    status = rh_journal_remove(journal, "", route_fact(number, "state").name, err);
    if (status == RH_OK)
        status = rh_journal_remove(journal, "", route_fact(number, "way").name, err);
    if (status == RH_OK)
        return rh_journal_commit(journal, err);
    rh_journal_abort(journal);
    return status;
}

enum rh_status routes_forget_servers(struct rh_journal *journal, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < ROUTES_MOST; i++)
        status = rh_journal_remove(journal, "", route_fact(i, "server").name, err);
    return status;
}

/* Journals a switch that came about, for the report. */
static enum rh_status
put_done(struct rh_engine *engine, const struct route_run *run, const char *to, int64_t pause_us, struct rh_error *err)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "route", run->block->driver->name,
                               "move", move_of(run)->plan->name, "product", run->facts.product, "version",
                               run->facts.version, "address", run->facts.address, "identity", run->facts.identity,
                               "tls", run->facts.tls, "goes_to", RH_SHOW(rh_bytes_text(to)), "switched",
                               rh_stamp_us(rh_utc_us()).text, "pause_us", json_integer((json_int_t)pause_us));
    return fact_put_json(engine->journal, "", route_fact(run->number, "done").name, object, "facts of a route", err);
}

/* Whether a switch of this route was cut off. */
static bool to_settle(struct rh_journal *journal, size_t number)
{
    rh_auto_buf struct rh_buf state = RH_BUF_INIT;
    return rh_journal_get(journal, "", route_fact(number, "state").name, &state, NULL) == RH_OK;
}

bool routes_to_settle(struct rh_journal *journal, const struct rh_plan *plan)
{
    for (size_t i = 0; i < plan->route_count; i++)
        if (to_settle(journal, i))
            return true;
    return false;
}

json_t *routes_report(struct rh_journal *journal, const struct rh_plan *plan)
{
    json_t *array = json_array();
    for (size_t i = 0; i < plan->route_count; i++) {
        json_t *route = fact_get_json(journal, "", route_fact(i, "done").name);
        if (!route)
            route = json_pack("{s:s}", "route", plan->routes[i].driver->name);
        const json_t *pause_us = json_object_get(route, "pause_us");
        json_object_set_new(route, "pause_ms",
                            json_is_integer(pause_us) ? json_integer((json_integer_value(pause_us) + 500) / 1000)
                                                      : json_null());
        json_object_del(route, "pause_us");
        json_object_set_new(route, "to_settle", json_boolean(to_settle(journal, i)));
        json_array_append_new(array, route);
    }
    return array;
}

/* --- looking --- */

/* Where both stores lie, without a look at what they hold: their servers are at work. */
static enum rh_status find_ends(struct route_run *run, struct rh_error *err)
{
    struct move_run *move = move_of(run);
    struct side *const sides[] = {&move->source, &move->destination};
    for (size_t i = 0; i < 2; i++) {
        struct rh_ctx ctx = engine_ctx(move->engine, err);
        rh_buf_clear(&run->ends[i]);
        enum rh_status status = side_store(move, sides[i], err);
        if (status == RH_OK && !sides[i]->store->driver->locate)
            return rh_fail(err, RH_E_REFUSED, "%s: no server can be switched between such stores",
                           sides[i]->endpoint->place);
        if (status == RH_OK)
            status = side_status(sides[i], err, sides[i]->store->driver->locate(&ctx, sides[i]->store, &run->ends[i]));
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* From where to where. */
static struct rh_route_ends ends_of(struct route_run *run, enum way way)
{
    const char *source = rh_buf_cstr(&run->ends[0]), *destination = rh_buf_cstr(&run->ends[1]);
    return way == WAY_THERE ? (struct rh_route_ends){.from = source, .to = destination}
                            : (struct rh_route_ends){.from = destination, .to = source};
}

/* A route's failure is one of the side that it is to go to. */
static enum rh_status route_status(struct rh_error *err, enum rh_status status)
{
    if (rh_failed(status) && err && err->side == RH_SIDE_NONE)
        err->side = RH_SIDE_DESTINATION;
    return status;
}

static enum rh_status route_connect(struct rh_engine *engine, struct route_run *run, struct rh_error *err)
{
    const struct rh_route_driver *driver = run->block->driver;
    struct rh_ctx ctx = engine_ctx(engine, err);
    enum rh_status status = run->route ? RH_OK : driver->new (&ctx, run->block->options, &run->route);
    return route_status(err, status == RH_OK ? driver->connect(&ctx, run->route) : status);
}

/* Two servers go one after the other; a configuration of both would be wrong for one of them between. */
static enum rh_status refuse_shared(const struct route_run *run, const struct route_run *other, struct rh_error *err)
{
    rh_fail(err, RH_E_REFUSED, "%s: the server '%s' shares its configuration '%s' with the server '%s'",
            run->block->place, run->facts.address, RH_SHOW(rh_bytes_text(run->facts.configuration)),
            other->facts.address);
    rh_error_hint(err, "give each server one of its own, by read_local_config");
    return RH_E_REFUSED;
}

/* A server that somebody holds back can't be told to go on; what an earlier run of this plan left is ours to open. */
static enum rh_status refuse_closed(const struct route_run *run, struct rh_error *err)
{
    struct move_run *move = move_of(run);
    rh_auto_buf struct rh_buf state = RH_BUF_INIT;
    if (!run->fence->facts.closed ||
        (move->engine->journal && fact_get(move, fence_fact(run->fence->number, "state").name, &state, NULL) == RH_OK))
        return RH_OK;
    rh_fail(err, RH_E_REFUSED, "%s: somebody else holds the server '%s' back, so it can't be switched",
            run->block->place, run->facts.address);
    rh_error_hint(err, "wait for who has closed its fence (%s), or open it", run->fence->block->driver->name);
    return RH_E_REFUSED;
}

/* The fence of the same server. */
static enum rh_status find_fence(struct rh_engine *engine, struct route_run *run, struct rh_error *err)
{
    const struct fences *fences = &engine->fences;
    for (size_t i = 0; i < engine->routes.count && &engine->routes.runs[i] != run; i++)
        if (strcmp(engine->routes.runs[i].facts.identity, run->facts.identity) == 0)
            return rh_fail(err, RH_E_REFUSED, "%s: the server '%s' has a route already, at %s", run->block->place,
                           run->facts.address, engine->routes.runs[i].block->place);
        else if (strcmp(engine->routes.runs[i].facts.configuration, run->facts.configuration) == 0)
            return refuse_shared(run, &engine->routes.runs[i], err);
    for (size_t i = 0; i < fences->count; i++)
        if (strcmp(fences->runs[i].facts.identity, run->facts.identity) == 0) {
            run->fence = &fences->runs[i];
            return refuse_closed(run, err);
        }
    rh_fail(err, RH_E_REFUSED,
            "%s: the server '%s' has no fence in the plan, so it would go on making keys while it is "
            "switched",
            run->block->place, run->facts.address);
    rh_error_hint(err, "give the move of its keystore a fence for it");
    return RH_E_REFUSED;
}

/* What the server is to go to has to be of its kind. */
static enum rh_status check_kind(const struct route_run *run, struct rh_error *err)
{
    const struct rh_move *plan = move_of(run)->plan;
    const char *store = run->block->driver->store;
    if (strcmp(plan->source.driver->name, store) == 0 && strcmp(plan->destination.driver->name, store) == 0)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED,
            "%s: the route %s switches a server from one %s to another, and move '%s' goes from %s to %s",
            run->block->place, run->block->driver->name, store, plan->name, plan->source.driver->name,
            plan->destination.driver->name);
    rh_error_hint(err, "change that server's configuration and restart it, with the lines that 'rehome run' prints");
    return RH_E_REFUSED;
}

/* Sides that are found by what is switched would be other ones afterwards. */
static enum rh_status check_sides_named(const struct move_run *move, struct rh_error *err)
{
    const struct side *side = move->source.facts.by_configuration ? &move->source : &move->destination;
    if (!side->facts.by_configuration)
        return RH_OK;
    rh_fail(err, RH_E_REFUSED,
            "%s: the %s of move '%s' is found by a server's configuration, which the cutover changes",
            side->endpoint->place, side_name(side->which), move->plan->name);
    rh_error_hint(err, "name the keystore itself: path = \"%.300s\"", side->facts.address);
    return RH_E_REFUSED;
}

static enum rh_status route_look(struct rh_engine *engine, struct route_run *run, enum way way, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(engine, err);
    enum rh_route_stand stand;
    enum rh_status status = route_connect(engine, run, err);
    if (status == RH_OK)
        status = run->block->driver->facts(&ctx, run->route, &run->facts);
    if (status == RH_OK)
        status = find_fence(engine, run, err);
    if (status == RH_OK)
        status = check_kind(run, err);
    if (status == RH_OK)
        status = find_ends(run, err);
    if (status == RH_OK)
        status = check_sides_named(move_of(run), err);
    const struct rh_route_ends ends = status == RH_OK ? ends_of(run, way) : (struct rh_route_ends){0};
    if (status == RH_OK)
        status = run->block->driver->check(&ctx, run->route, &ends, &stand);
    return route_status(err, status);
}

/* Whether the plan has a route for the server with that identity, which has no blanks. */
static bool has_route(const struct routes *routes, struct rh_bytes identity)
{
    for (size_t i = 0; i < routes->count; i++)
        if (rh_bytes_equal(rh_bytes_text(routes->runs[i].facts.identity), identity))
            return true;
    return false;
}

/* Taking away a destination would take the keys of a server that was sent there and that the plan names no more. */
static enum rh_status refuse_forgotten(struct rh_engine *engine, struct rh_error *err)
{
    for (size_t i = 0; i < ROUTES_MOST; i++) {
        rh_auto_buf struct rh_buf server = RH_BUF_INIT;
        enum rh_status status = rh_journal_get(engine->journal, "", route_fact(i, "server").name, &server, err);
        if (status == RH_NOT_FOUND)
            continue;
        if (status != RH_OK)
            return status;
        const char *text = rh_buf_cstr(&server), *address = strchr(text, ' ');
        if (!address || has_route(&engine->routes, rh_bytes(text, (size_t)(address - text))))
            continue;
        rh_fail(err, RH_E_REFUSED,
                "the server '%s' was sent to the destination, and the plan has no route for it any more",
                RH_SHOW(rh_bytes_text(address + 1)));
        rh_error_hint(err, "bring its route, and its fence, back into the plan");
        return RH_E_REFUSED;
    }
    return RH_OK;
}

enum rh_status routes_look(struct rh_engine *engine, enum way way, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        run->at_new = false;
        status = route_look(engine, run, way, err);
        /* of a move that no server went from there is nothing to take back */
        run->goes = status == RH_OK && (way == WAY_THERE || switched(move_of(run)));
    }
    return status == RH_OK && way == WAY_BACK ? refuse_forgotten(engine, err) : status;
}

/* What a server is, and who finishes its switch. */
static void say_facts(const struct route_run *run)
{
    const struct rh_route_facts *facts = &run->facts;
    check_say(move_of(run), NULL, RH_FINDING_FACT, "route", (struct rh_bytes){0}, "%s of %s %s at %s, configured by %s",
              run->block->driver->name, facts->product, facts->version, facts->address,
              RH_SHOW(rh_bytes_text(facts->configuration)));
    if (facts->no_timer[0])
        check_say(
            move_of(run), NULL, RH_FINDING_WARNING, "route-timer", (struct rh_bytes){0},
            "%s: only rehome and its guardian finish or undo a switch, the server doesn't by itself (%s); if both "
            "are killed in its midst, 'rehome recover' does",
            facts->address, facts->no_timer);
}

void routes_say_left_out(struct rh_engine *engine)
{
    for (size_t i = 0; engine->routes.count && i < engine->fences.count; i++) {
        const struct fence_run *fence = &engine->fences.runs[i];
        bool routed = false;
        for (size_t j = 0; j < engine->routes.count; j++)
            routed = routed || engine->routes.runs[j].fence == fence;
        if (!routed)
            check_say(fence->move, NULL, RH_FINDING_WARNING, "no-route", (struct rh_bytes){0},
                      "%s has no route in the cutover block: it is held back, and goes on with the source",
                      fence->facts.address);
    }
}

enum rh_status routes_check(struct rh_engine *engine, struct rh_error *err)
{
    for (size_t i = 0; i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        struct rh_error why = {0};
        struct move_run *move = &engine->moves[0];
        const enum way way = any_switched(engine) ? WAY_BACK : WAY_THERE;
        const enum rh_status status = route_look(engine, run, way, &why);
        if (run->fence)
            move = move_of(run);
        if (status == RH_OK)
            say_facts(run);
        else if (status == RH_E_MEMORY || status == RH_E_CANCELLED)
            return rh_fail(err, status, "%s", why.text);
        else
            check_problem(move, &move->destination, status, "route", (struct rh_bytes){0}, why.hint, "%s", why.text);
    }
    routes_say_left_out(engine);
    return RH_OK;
}

/* --- switching --- */

/* One route: looked at, journaled, known to the guardian, prepared. */
static enum rh_status prepare_one(struct rh_engine *engine, struct route_run *run, enum way way, struct rh_error *err)
{
    const struct rh_route_driver *driver = run->block->driver;
    const struct rh_route_ends ends = ends_of(run, way);
    struct rh_ctx ctx = engine_ctx(engine, err);
    rh_buf_clear(&run->state);
    run->way = way;
    enum rh_status status = driver->snapshot(&ctx, run->route, &ends, &run->state);
    if (status == RH_OK)
        status = put_state(engine, run, err);
    if (status == RH_OK)
        status = guardian_watch_route(engine->fences.guardian, run->number, (size_t)(move_of(run) - engine->moves),
                                      rh_buf_cstr(&run->state), err);
    if (status == RH_OK) {
        run->standing = true;
        rh_crash_point("route");
        status = driver->prepare(&ctx, run->route, rh_buf_cstr(&run->state));
    }
    return route_status(err, status);
}

enum rh_status routes_prepare(struct rh_engine *engine, enum way way, struct rh_error *err)
{
    enum rh_status status = RH_OK; /* the guardian is armed since the fences were looked at */
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++)
        if (engine->routes.runs[i].goes)
            status = prepare_one(engine, &engine->routes.runs[i], way, err);
    return status;
}

enum rh_status routes_apply(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++)
        status = check_sides_named(move_of(&engine->routes.runs[i]), err); /* known since they were opened */
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        struct rh_ctx ctx = engine_ctx(engine, err);
        if (!run->goes)
            continue;
        rh_crash_point("route");
        status = route_status(err, run->block->driver->apply(&ctx, run->route, rh_buf_cstr(&run->state)));
        if (status == RH_OK)
            status = fences_hold(engine, err);
    }
    rh_crash_point("route");
    return status;
}

/* One server; one that goes away and comes back meanwhile is told again. */
static enum rh_status
settle_one(struct rh_engine *engine, struct route_run *run, int64_t until_us, struct rh_error *err)
{
    bool lost = false;
    for (;;) {
        struct rh_error why = {0};
        struct rh_ctx ctx = {.err = &why}; /* a wish to stop comes too late here */
        enum rh_status status = lost ? run->block->driver->connect(&ctx, run->route) : RH_OK;
        if (status == RH_OK)
            status = run->block->driver->settle(&ctx, run->route, rh_buf_cstr(&run->state));
        if (status == RH_OK)
            return RH_OK;
        lost = why.retry == RH_RETRY_RECONNECT;
        if (!lost || rh_clock_us() >= until_us) {
            if (err)
                *err = why;
            return route_status(err, status);
        }
        rh_ignore(guardian_beat(engine->fences.guardian, NULL)); /* we aren't frozen */
        rh_sleep_us(50 * 1000);
    }
}

enum rh_status routes_settle(struct rh_engine *engine, int64_t until_us, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        const char *to = ends_of(run, run->way).to;
        if (!run->goes)
            continue;
        rh_crash_point("route");
        status = settle_one(engine, run, until_us, err);
        rh_crash_point("route");
        if (status == RH_OK)
            status = guardian_beat(engine->fences.guardian, err);
        if (status != RH_OK)
            break;
        run->at_new = true;
        const int64_t pause_us = rh_clock_us() - run->fence->fence->closed_us;
        rh_log(RH_LOG_INFO, "route switched", {"server", run->facts.address}, {"goes_to", to});
        check_say(move_of(run), NULL, RH_FINDING_FACT, "switched", (struct rh_bytes){0},
                  "%s goes to %s now; it made no keys for %lld ms", run->facts.address, RH_SHOW(rh_bytes_text(to)),
                  (long long)(pause_us + 500) / 1000);
        status = put_done(engine, run, to, pause_us, err);
    }
    return status;
}

enum rh_status routes_release(struct rh_engine *engine, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        struct rh_ctx ctx = {.err = err};
        if (!run->standing)
            continue;
        rh_crash_point("route");
        status = route_status(err, run->block->driver->release(&ctx, run->route, rh_buf_cstr(&run->state)));
        if (status != RH_OK)
            break;
        run->standing = false;
        guardian_forget_route(engine->fences.guardian, run->number);
        status = drop_state(engine, run->number, err);
    }
    return status;
}

/* --- putting right --- */

enum rh_status routes_undo(struct rh_engine *engine, size_t *ret_new, struct rh_error *err)
{
    struct rh_error first = {0};
    enum rh_status status = RH_OK;
    *ret_new = 0;
    for (size_t i = 0; i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        struct rh_error why = {0};
        struct rh_ctx ctx = {.err = &why};
        enum rh_route_stand stand = RH_ROUTE_AT_OLD;
        enum rh_status one = RH_OK;
        if (run->standing) { /* else it is settled, on either side */
            one = run->block->driver->undo(&ctx, run->route, rh_buf_cstr(&run->state), &stand);
            rh_ignore(guardian_beat(engine->fences.guardian, NULL)); /* we aren't frozen */
            run->at_new = one == RH_OK && stand == RH_ROUTE_AT_NEW;
        }
        *ret_new += run->at_new;
        if (one == RH_OK || status != RH_OK)
            continue;
        status = one;
        first = why;
    }
    /* what can't be told yet stays held: none of the two sides may get a key that the other one lacks */
    if (status == RH_OK)
        return routes_release(engine, err);
    rh_error_hint(&first, "nothing is lost: its keystore is held until this is settled, by the guardian, or by 'rehome "
                          "recover' when the server can be reached");
    if (err)
        *err = first;
    return route_status(err, status);
}

/* Which way the journal says a route goes. */
static enum way way_of(struct rh_engine *engine, size_t number)
{
    rh_auto_buf struct rh_buf way = RH_BUF_INIT;
    return rh_journal_get(engine->journal, "", route_fact(number, "way").name, &way, NULL) == RH_OK &&
                   strcmp(rh_buf_cstr(&way), "back") == 0
               ? WAY_BACK
               : WAY_THERE;
}

/* What an earlier process left of one route. */
static enum rh_status load_state(struct rh_engine *engine, struct route_run *run, struct rh_error *err)
{
    rh_buf_clear(&run->state);
    enum rh_status status =
        rh_journal_get(engine->journal, "", route_fact(run->number, "state").name, &run->state, err);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status == RH_OK && !run->route) {
        struct rh_ctx ctx = engine_ctx(engine, err);
        status = run->block->driver->new (&ctx, run->block->options, &run->route);
    }
    run->standing = status == RH_OK;
    run->way = way_of(engine, run->number);
    return status;
}

/* Nothing may go on while a switch stands whose route the plan has no more. */
static enum rh_status refuse_unsettled(struct rh_engine *engine, struct rh_error *err)
{
    for (size_t i = engine->routes.count; i < ROUTES_MOST; i++) {
        rh_auto_buf struct rh_buf state = RH_BUF_INIT;
        enum rh_status status = rh_journal_get(engine->journal, "", route_fact(i, "state").name, &state, err);
        if (status == RH_NOT_FOUND)
            continue;
        if (status != RH_OK)
            return status;
        rh_fail(err, RH_E_REFUSED,
                "an earlier run was cut off while it switched a server whose route the plan has no more");
        rh_error_hint(err, "bring its route back into the plan, then run 'rehome recover'");
        return RH_E_REFUSED;
    }
    return RH_OK;
}

enum rh_status routes_recover(struct rh_engine *engine, struct rh_error *err)
{
    size_t left = 0, there = 0;
    enum way way = WAY_THERE;
    enum rh_status status = refuse_unsettled(engine, err);
    for (size_t i = 0; status == RH_OK && i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        status = load_state(engine, run, err);
        if (run->standing)
            way = run->way;
        left += run->standing;
    }
    if (status != RH_OK || left == 0)
        return status;
    status = routes_undo(engine, &there, err);
    if (status != RH_OK)
        return status;
    struct move_run *move = &engine->moves[0];
    const char *side = way == WAY_THERE ? "destination" : "source";
    check_say(
        move, NULL, RH_FINDING_WARNING, "switch-before", (struct rh_bytes){0},
        "the run before was cut off while it switched %zu server%s to the %s: %zu of them go there now, %zu stayed; "
        "'rehome cutover' and 'rehome rollback' both go on from here",
        left, left == 1 ? "" : "s", side, there, left - there);
    /* no server is at the destination: nothing was switched, or all went back; not knowing of one leaves it open */
    const bool none = left == engine->routes.count && (way == WAY_THERE ? there == 0 : there == left);
    for (size_t i = 0; none && status == RH_OK && i < engine->move_count; i++)
        status = fact_put(&engine->moves[i], "switched", "no", err);
    return none && status == RH_OK ? routes_forget_servers(engine->journal, err) : status;
}

/* One server; a connection that is lost meanwhile says nothing against it. */
static enum rh_status probe_one(struct rh_engine *engine, struct route_run *run, struct rh_error *why)
{
    const struct rh_route_driver *driver = run->block->driver;
    struct rh_ctx ctx = engine_ctx(engine, why);
    enum rh_status status = driver->probe(&ctx, run->route);
    if (!rh_failed(status) || why->retry != RH_RETRY_RECONNECT)
        return status;
    *why = (struct rh_error){0};
    status = driver->connect(&ctx, run->route);
    return status == RH_OK ? driver->probe(&ctx, run->route) : status;
}

enum rh_status routes_probe(struct rh_engine *engine, struct rh_error *err)
{
    for (size_t i = 0; i < engine->routes.count; i++) {
        struct route_run *run = &engine->routes.runs[i];
        struct rh_error why = {0};
        const enum rh_status status = probe_one(engine, run, &why);
        if (status == RH_OK)
            check_say(move_of(run), NULL, RH_FINDING_FACT, "probe", (struct rh_bytes){0},
                      "%s has made, read and dropped an encrypted table with it", run->facts.address);
        else if (status == RH_E_DENIED)
            check_say(move_of(run), NULL, RH_FINDING_WARNING, "probe", (struct rh_bytes){0},
                      "what %s needs its keys for wasn't tried: %s", run->facts.address, why.text);
        else {
            if (err)
                *err = why;
            return route_status(err, status);
        }
    }
    return RH_OK;
}
