/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at both sides before anything is written: what they are, who else is there, what stands in the way. */
#include "internal.h"

/* Hands a finding on, its words formatted here. */
static void say(struct move_run *move,
                const struct side *side,
                enum rh_finding_kind kind,
                const char *what,
                struct rh_bytes key,
                const char *hint,
                const char *fmt,
                va_list args) RH_PRINTF(7, 0);
static void say(struct move_run *move,
                const struct side *side,
                enum rh_finding_kind kind,
                const char *what,
                struct rh_bytes key,
                const char *hint,
                const char *fmt,
                va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args);
    const struct rh_finding finding = {
        .kind = kind,
        .move = move->plan->name,
        .side = side ? side->which : RH_SIDE_NONE,
        .what = what,
        .key = key,
        .model = move->plan->source.driver->model,
        .text = text,
        .hint = hint ? hint : "",
    };
    engine_found(move, &finding);
}

void check_say(struct move_run *move,
               const struct side *side,
               enum rh_finding_kind kind,
               const char *what,
               struct rh_bytes key,
               const char *fmt,
               ...)
{
    va_list args;
    va_start(args, fmt);
    say(move, side, kind, what, key, NULL, fmt, args);
    va_end(args);
}

void check_problem(struct move_run *move,
                   const struct side *side,
                   enum rh_status status,
                   const char *what,
                   struct rh_bytes key,
                   const char *hint,
                   const char *fmt,
                   ...)
{
    va_list args;
    va_start(args, fmt);
    move->problems++;
    /* a lock outranks everything else: it decides the exit code */
    if (move->problems == 1 || (status == RH_E_LOCKED && move->first_problem.status != RH_E_LOCKED)) {
        va_list again;
        va_copy(again, args);
        char text[sizeof move->first_problem.text];
        vsnprintf(text, sizeof text, fmt, again);
        va_end(again);
        move->first_problem = (struct rh_error){0};
        rh_fail(&move->first_problem, status, "%s", text);
        rh_error_hint(&move->first_problem, "%s", hint ? hint : "");
        move->first_problem.side = side ? side->which : RH_SIDE_NONE;
    }
    if (move->problems <= NAMED_MOST)
        say(move, side, RH_FINDING_PROBLEM, what, key, hint, fmt, args);
    va_end(args);
}

enum rh_status check_verdict(struct move_run *move, struct rh_error *err)
{
    if (move->problems == 0)
        return RH_OK;
    if (move->problems > NAMED_MOST)
        check_say(move, NULL, RH_FINDING_WARNING, "more", (struct rh_bytes){0},
                  "only the first %d of %zu problems are named", NAMED_MOST, move->problems);
    if (err)
        *err = move->first_problem;
    if (err && move->problems > 1)
        rh_error_prepend(err, "%zu problems stand in the way; the first", move->problems);
    if (err && err->status == RH_E_LIMIT)
        err->status = RH_E_REFUSED;
    return move->first_problem.status == RH_E_LIMIT ? RH_E_REFUSED : move->first_problem.status;
}

enum rh_status check_open_one(struct move_run *move, struct side *side, struct rh_error *err)
{
    enum rh_status status = side_open(move, side, err);
    if (status == RH_OK) {
        struct rh_ctx ctx = engine_ctx(move->engine, err);
        status = side_status(side, err, side->store->driver->facts(&ctx, side->session, &side->facts));
    }
    if (status != RH_OK)
        rh_error_prepend(err, "opening the %s", side_name(side->which));
    return status;
}

enum rh_status check_open(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = check_open_one(move, &move->source, err);
    return status == RH_OK ? check_open_one(move, &move->destination, err) : status;
}

/* Shows what a side is. */
static void show_facts(struct move_run *move, const struct side *side)
{
    static const char *const at_rest[] = {[RH_UNKNOWN] = "can't be told", [RH_NO] = "no", [RH_YES] = "yes"};
    const struct rh_facts *facts = &side->facts;
    check_say(move, side, RH_FINDING_FACT, "store", (struct rh_bytes){0}, "%s %s at %s", facts->product, facts->version,
              facts->address);
    check_say(move, side, RH_FINDING_FACT, "tls", (struct rh_bytes){0}, "%s", facts->tls[0] ? facts->tls : "none");
    check_say(move, side, RH_FINDING_FACT, "encrypted-at-rest", (struct rh_bytes){0}, "%s",
              at_rest[facts->encrypted_at_rest]);
}

/* Who else is at work on a side, or may be without our seeing it. */
static void check_owner(struct move_run *move, const struct side *side)
{
    const struct rh_facts *facts = &side->facts;
    if (facts->owner_blind[0])
        check_say(move, side, RH_FINDING_WARNING, "owner-blind", (struct rh_bytes){0}, "%s", facts->owner_blind);
    if (facts->live_owner[0])
        check_problem(move, side, RH_E_LOCKED, "live-owner", (struct rh_bytes){0},
                      "stop it, then run this command again", "the %s '%s' is in use: %s", side_name(side->which),
                      facts->address, facts->live_owner);
}

/* Equal or overlapping sides would read what they write. */
static void check_distinct(struct move_run *move)
{
    const struct side *source = &move->source, *destination = &move->destination;
    const struct rh_driver *driver = source->endpoint->driver, *other = destination->endpoint->driver;
    /* keystores of any format lie side by side, and one file may pass for two of them */
    if (driver != other && (driver->model != RH_MODEL_KEYRING || driver->overlaps != other->overlaps))
        return;
    if (strcmp(source->facts.identity, destination->facts.identity) == 0)
        check_problem(move, destination, RH_E_REFUSED, "same-store", (struct rh_bytes){0}, "name another destination",
                      "source and destination are the same store: '%s' and '%s'", source->facts.address,
                      destination->facts.address);
    else if (driver->overlaps && driver->overlaps(source->store, destination->store))
        check_problem(move, destination, RH_E_REFUSED, "overlap", (struct rh_bytes){0},
                      "name a destination outside the source", "source and destination overlap: '%s' and '%s'",
                      source->facts.address, destination->facts.address);
}

/* A marker of somebody else's, seen before we try to set ours. */
static enum rh_status check_marker(struct move_run *move, struct side *side, struct rh_error *err)
{
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    if (side->facts.exists == RH_NO)
        return RH_OK;
    enum rh_status status = marker_get(side, &ctx, &found);
    if (status == RH_NOT_FOUND)
        return RH_OK;
    if (status != RH_OK)
        return status;
    rh_auto_buf struct rh_buf ours = RH_BUF_INIT;
    if (move->engine->journal &&
        rh_journal_get(move->engine->journal, move->plan->name, "marker", &ours, NULL) == RH_OK &&
        rh_bytes_equal(rh_buf_bytes(&ours), rh_buf_bytes(&found)))
        return RH_OK;
    check_problem(move, side, RH_E_LOCKED, "marker", (struct rh_bytes){0},
                  "let that migration end; if its process is dead, run its own command again, 'rehome recover' with "
                  "its plan, or 'operator "
                  "migrate -reset' of the tool that set it",
                  "storage migration in progress on the %s '%s' (%s holds %s)", side_name(side->which),
                  side->facts.address, marker_name(side), RH_SHOW(rh_buf_bytes(&found)));
    return RH_OK;
}

/* Vault's words for "somebody's data": refused unless --overwrite. */
static enum rh_status check_initialised(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    if (side->facts.exists == RH_NO || !move->engine->plan->vault_config || move->engine->args.overwrite_initialised)
        return RH_OK;
    struct rh_ctx ctx = engine_ctx(move->engine, err);
    const struct rh_bytes keys[] = {rh_bytes_text(RH_KV_SEAL), rh_bytes_text(RH_KV_KEYRING)};
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = side->store->driver->read->get(&ctx, side->session, &move->dataset, keys, 2, &batch);
    if (status != RH_OK)
        return side_status(side, err, status);
    if (batch.count > 0)
        check_problem(move, side, RH_E_REFUSED, "initialised", batch.records[0].key,
                      "move to an empty store; 'rehome operator migrate --overwrite' overwrites what it holds",
                      "the destination '%s' is initialised: it holds %s", side->facts.address,
                      RH_SHOW(batch.records[0].key));
    return RH_OK;
}

/* A container of the wrong make, seen before anything is written to it; what is missing is no matter here. */
static enum rh_status check_container(struct move_run *move, struct rh_error *err)
{
    struct side *side = &move->destination;
    const struct rh_schema_ops *schema = side->store->driver->schema;
    if (!schema)
        return RH_OK;
    struct rh_error why = {0};
    struct rh_ctx ctx = engine_ctx(move->engine, &why);
    uint32_t missing = 0;
    const enum rh_status status = schema->missing(&ctx, side->session, &missing);
    if (status == RH_E_REFUSED) {
        check_problem(move, side, RH_E_REFUSED, "container", (struct rh_bytes){0}, why.hint, "%s", why.text);
        return RH_OK;
    }
    if (rh_failed(status) && err)
        *err = why;
    return side_status(side, err, status);
}

enum rh_status check_sides(struct move_run *move, bool resuming, struct rh_error *err)
{
    move->problems = 0;
    enum rh_status status = check_open(move, err);
    if (status != RH_OK)
        return status;
    show_facts(move, &move->source);
    show_facts(move, &move->destination);
    check_owner(move, &move->source);
    check_owner(move, &move->destination);
    check_distinct(move);
    if (move->source.facts.exists == RH_NO)
        check_problem(move, &move->source, RH_E_REFUSED, "no-source", (struct rh_bytes){0},
                      "check the source's options", "the source '%s' doesn't exist", move->source.facts.address);
    if (move->destination.facts.writable == RH_NO)
        check_problem(move, &move->destination, RH_E_DENIED, "read-only", (struct rh_bytes){0},
                      "give the account or user the right to write", "the destination '%s' can't be written",
                      move->destination.facts.address);
    if (move->plan->source_marker && move->source.facts.writable == RH_NO && !marker_left_away(&move->source))
        check_problem(move, &move->source, RH_E_DENIED, "source-read-only", (struct rh_bytes){0},
                      "give the right to write, or say marker = \"none\" in the move and see to it yourself that "
                      "nothing writes there",
                      "the source '%s' can't be marked: it can't be written", move->source.facts.address);
    if (move->destination.facts.writable != RH_NO)
        status = check_container(move, err);
    if (status == RH_OK)
        status = check_marker(move, &move->source, err);
    if (status == RH_OK)
        status = check_marker(move, &move->destination, err);
    if (status == RH_OK && !resuming)
        status = check_initialised(move, err);
    if (status == RH_OK)
        status = whole_check(move, resuming, err);
    return status;
}
