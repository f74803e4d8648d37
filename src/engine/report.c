/* SPDX-License-Identifier: Apache-2.0 */
/* The report: one JSON object from the journal's memory, for report, status and whoever reads them by program. */
#include "internal.h"

#include <rehome/evidence.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What a side is, as JSON text in the journal: the report needs no connection. */
static enum rh_status facts_put(struct move_run *move, const struct side *side, struct rh_error *err)
{
    static const char *const yes[] = {[RH_UNKNOWN] = "unknown", [RH_NO] = "no", [RH_YES] = "yes"};
    const struct rh_facts *facts = &side->facts;
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "store", side->endpoint->driver->name,
                               "product", facts->product, "version", facts->version, "address", facts->address,
                               "identity", facts->identity, "tls", facts->tls, "encrypted_at_rest",
                               yes[facts->encrypted_at_rest], "owner_blind", facts->owner_blind);
    char name[32], what[32];
    snprintf(name, sizeof name, "facts.%s", side_name(side->which));
    snprintf(what, sizeof what, "the %s's facts", side_name(side->which));
    return fact_put_json(move->engine->journal, move->plan->name, name, object, what, err);
}

enum rh_status report_facts(struct move_run *move, struct rh_error *err)
{
    enum rh_status status = facts_put(move, &move->source, err);
    if (status == RH_OK)
        status = facts_put(move, &move->destination, err);
    if (status == RH_OK)
        status = afterwards_put(move, &move->source, err);
    return status == RH_OK ? afterwards_put(move, &move->destination, err) : status;
}

/* --- building --- */

struct building {
    struct rh_journal *journal;
    const struct rh_move *move;
    json_t *array; /* of steps or notes */
    struct rh_sum a, b, c;
    int64_t begun_us, ended_us; /* first intent and last outcome of this pass */
    uint64_t expected, written, replaced, kept, ranges, ranges_done, ranges_verified, undo_segments, undo_bytes;
};

static enum rh_status add_step(void *user, const struct rh_step_state *state)
{
    static const char *const outcomes[] = {[RH_STEP_NONE] = "none",
                                           [RH_STEP_INTENT] = "begun",
                                           [RH_STEP_DONE] = "done",
                                           [RH_STEP_FAILED] = "failed",
                                           [RH_STEP_UNDONE] = "undone"};
    struct building *building = user;
    if (strcmp(state->move, building->move->name) != 0)
        return RH_OK;
    if (!building->begun_us || state->intent_us < building->begun_us)
        building->begun_us = state->intent_us;
    if (state->outcome_us > building->ended_us)
        building->ended_us = state->outcome_us;
    json_array_append_new(building->array, json_pack("{s:s, s:s, s:o, s:o, s:s}", "step", state->step, "outcome",
                                                     outcomes[state->outcome], "begun", stamp_json(state->intent_us),
                                                     "ended", stamp_json(state->outcome_us), "note", state->note));
    return RH_OK;
}

static enum rh_status add_note(void *user, int64_t utc_us, const char *kind, struct rh_bytes key, const char *text)
{
    struct building *building = user;
    json_array_append_new(
        building->array,
        json_pack("{s:o, s:s, s:s, s:s}", "time", stamp_json(utc_us), "kind", kind, "key",
                  building->move->source.driver->model == RH_MODEL_KEYRING ? RH_SHOW_KEY(key) : RH_SHOW(key), "text",
                  text));
    return RH_OK;
}

static enum rh_status add_range(void *user, const struct rh_range_state *range)
{
    struct building *building = user;
    building->ranges++;
    building->ranges_done += range->done;
    building->ranges_verified += range->verified;
    building->expected += range->expect_count;
    building->written += range->written;
    building->replaced += range->replaced;
    building->kept += range->kept;
    rh_sum_merge(&building->a, &range->copied);
    rh_sum_merge(&building->b, &range->source);
    rh_sum_merge(&building->c, &range->destination);
    return RH_OK;
}

static enum rh_status add_segment(void *user, const struct rh_segment_state *segment)
{
    struct building *building = user;
    building->undo_segments++;
    building->undo_bytes += segment->good_bytes;
    return RH_OK;
}

/* A text fact, or NULL in `out`'s stead when it isn't there. */
static const char *fact_text(struct building *building, const char *name, struct rh_buf *out)
{
    rh_buf_clear(out);
    if (rh_journal_get(building->journal, building->move->name, name, out, NULL) != RH_OK)
        return NULL;
    return rh_buf_cstr(out);
}

/* A fact that is JSON text; an empty object when there is none. */
static json_t *fact_json(struct building *building, const char *name)
{
    json_t *object = fact_get_json(building->journal, building->move->name, name);
    return object ? object : json_object();
}

/* What the user would do next, by state. */
static const char *next_command(const char *state)
{
    static const struct {
        const char *state, *next;
    } table[] = {
        {"new",          "run"                },
        {"interrupted",  "run, or rollback"   },
        {"failed",       "run, or rollback"   },
        {"complete",     "finish, or rollback"},
        {"rolling-back", "rollback"           },
        {"rolled-back",  "run, to begin anew" },
        {"abandoned",    "run, to begin anew" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].state, state) == 0)
            return table[i].next;
    return "";
}

static json_t *sum_json(const struct rh_sum *sum)
{
    return json_pack("{s:I, s:I, s:s}", "records", (json_int_t)sum->count, "bytes", (json_int_t)sum->bytes, "sum",
                     rh_hash_show(sum->sum).text);
}

static json_t *counts_json(struct building *building)
{
    rh_auto_buf struct rh_buf fact = RH_BUF_INIT;
    struct rh_sum extras = {0};
    if (rh_journal_get(building->journal, building->move->name, "extras", &fact, NULL) == RH_OK)
        rh_ignore(rh_sum_decode(rh_buf_bytes(&fact), &extras)); /* 0 stands for unknown here */
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "expected", (json_int_t)building->expected, "records",
                     (json_int_t)building->a.count, "bytes", (json_int_t)building->a.bytes, "written",
                     (json_int_t)building->written, "replaced", (json_int_t)building->replaced, "kept",
                     (json_int_t)building->kept, "extra", (json_int_t)extras.count);
}

/* The three digests and what follows from them; only where every range was verified. */
static json_t *digests_json(const struct building *building)
{
    json_t *object = json_object();
    json_object_set_new(object, "a", sum_json(&building->a));
    if (building->ranges == 0 || building->ranges_verified != building->ranges)
        return object;
    json_object_set_new(object, "b", sum_json(&building->b));
    json_object_set_new(object, "c", sum_json(&building->c));
    json_object_set_new(object, "source_stood_still", json_boolean(rh_sum_equal(&building->a, &building->b)));
    json_object_set_new(object, "equal", json_boolean(rh_sum_equal(&building->b, &building->c)));
    return object;
}

/* What follows from the rest: times, what was not moved, limits. */
static enum rh_status move_more(struct building *building, json_t *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    uint64_t resumes = 0;
    const char *fact = fact_text(building, "resumes", &text);
    if (fact)
        rh_ignore(rh_parse_u64(rh_bytes_text(fact), &resumes)); /* one that isn't a number counts as none */
    /* a destination that is replaced as a whole has its former content in its driver's keeping, not in an undo log */
    fact = fact_text(building, "whole.saved", &text);
    const bool former = fact && fact[0];
    fact = fact_text(building, "pipe", &text);
    json_object_set_new(move, "pipe", json_string(fact ? fact : ""));
    json_t *undo = json_object_get(move, "undo");
    json_object_set_new(undo, "former", json_boolean(former));
    if (fact && strcmp(fact, "destination") == 0)
        json_object_set_new(undo, "reversible", json_false());
    json_t *proof = fact_json(building, "proof");
    if (json_is_array(proof))
        json_object_set(move, "proof", proof);
    json_decref(proof);
    fact = fact_text(building, "start", &text);
    if (building->move->fence_count &&
        json_object_set_new(move, "fences", fences_report(building->journal, building->move)))
        return rh_fail(err, RH_E_INTERNAL, "writing the report as JSON failed");
    const char *state = json_string_value(json_object_get(move, "state"));
    if (building->move->source.driver->model == RH_MODEL_KEYRING && state &&
        (strcmp(state, STATE_COMPLETE) == 0 || strcmp(state, STATE_FINISHED) == 0) &&
        json_object_set_new(move, "afterwards", report_afterwards(building->journal, building->move, move)))
        return rh_fail(err, RH_E_INTERNAL, "writing the report as JSON failed");
    if (json_object_set_new(move, "begun", stamp_json(building->begun_us)) ||
        json_object_set_new(move, "ended", stamp_json(building->ended_us)) ||
        json_object_set_new(move, "resumes", json_integer((json_int_t)resumes)) ||
        json_object_set_new(move, "not_moved",
                            report_not_moved(building->move, json_object_get(move, "counts"), fact)) ||
        json_object_set_new(move, "limits", report_limits(building->move, move)))
        return rh_fail(err, RH_E_INTERNAL, "writing the report as JSON failed");
    return RH_OK;
}

static enum rh_status
move_json(struct rh_journal *journal, const struct rh_move *move, bool live, json_t **ret_json, struct rh_error *err)
{
    struct building building = {.journal = journal, .move = move};
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    const char *fact = fact_text(&building, "state", &text);
    char state[32];
    snprintf(state, sizeof state, "%s", !fact ? "new" : strcmp(fact, "running") == 0 && !live ? "interrupted" : fact);
    json_t *steps = json_array(), *notes = json_array();
    building.array = steps;
    enum rh_status status = rh_journal_steps(journal, add_step, &building, err);
    building.array = notes;
    if (status == RH_OK)
        status = rh_journal_notes(journal, move->name, add_note, &building, err);
    if (status == RH_OK)
        status = rh_journal_ranges(journal, move->name, add_range, &building, err);
    if (status == RH_OK)
        status = rh_journal_segments(journal, move->name, add_segment, &building, err);
    if (status != RH_OK) {
        json_decref(steps);
        json_decref(notes);
        return status;
    }
    fact = fact_text(&building, "verified", &text);
    const bool way_back = strcmp(state, "complete") == 0 || strcmp(state, "interrupted") == 0 ||
                          strcmp(state, "running") == 0 || strcmp(state, "failed") == 0 ||
                          strcmp(state, "rolling-back") == 0;
    *ret_json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:b}, s:s}",
                  "name", move->name, "state", state, "mode", rh_mode_name(move->mode), "on_conflict",
                  rh_on_conflict_name(move->on_conflict), "verified", fact ? fact : "not yet", "source",
                  fact_json(&building, "facts.source"), "destination", fact_json(&building, "facts.destination"),
                  "steps", steps, "counts", counts_json(&building), "digests", digests_json(&building), "notes", notes,
                  "ranges", "total", (json_int_t)building.ranges, "done", (json_int_t)building.ranges_done, "verified",
                  (json_int_t)building.ranges_verified, "undo", "segments", (json_int_t)building.undo_segments, "bytes",
                  (json_int_t)building.undo_bytes, "reversible", way_back, "next", next_command(state));
    return *ret_json ? move_more(&building, *ret_json, err)
                     : rh_fail(err, RH_E_INTERNAL, "writing the report as JSON failed");
}

/* What seals the undo log, and what that protects against. */
static json_t *seal_json(const struct rh_plan *plan)
{
    if (plan->seal_passphrase)
        return json_pack("{s:s, s:s}", "provider", "passphrase", "protects",
                         "against whoever reads the state folder without the passphrase");
    if (plan->seal_key_file)
        return json_pack("{s:s, s:s, s:s}", "provider", "key file", "file", plan->seal_key_file, "protects",
                         "against whoever reads the state folder without the key file");
    return json_pack("{s:s, s:s}", "provider", "key made in the state folder", "protects",
                     "copies of single files of the state folder; not against whoever can read the whole folder: name "
                     "a seal block for that");
}

/* The exit status of the last command that ended, null while none has since the last one began. */
static json_t *exit_json(struct rh_journal *journal)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    int64_t code = 0;
    if (rh_journal_get(journal, "", "exit", &text, NULL) != RH_OK || rh_parse_i64(rh_buf_bytes(&text), &code) != RH_OK)
        return json_null();
    return json_integer(code);
}

/* Whether the servers of a move that can be switched are at its destination, and what comes next then. */
static void add_switched(struct rh_journal *journal, const struct rh_plan *plan, const char *name, json_t *move)
{
    rh_auto_buf struct rh_buf word = RH_BUF_INIT;
    const bool there =
        rh_journal_get(journal, name, "switched", &word, NULL) == RH_OK && strcmp(rh_buf_cstr(&word), "yes") == 0;
    const char *state = json_string_value(json_object_get(move, "state"));
    json_object_set_new(move, "switched", json_boolean(there));
    const bool goes = there || (state && strcmp(state, STATE_COMPLETE) == 0);
    if (goes && json_is_object(json_object_get(move, "afterwards")))
        json_object_set_new(move, "afterwards", report_afterwards_switched(there));
    if (state && strcmp(state, STATE_COMPLETE) == 0 && routes_to_settle(journal, plan))
        json_object_set_new(move, "next", json_string("cutover, rollback, or recover"));
    else if (state && strcmp(state, STATE_COMPLETE) == 0 && !there)
        json_object_set_new(move, "next", json_string("cutover, finish, or rollback"));
    if (state && there && (strcmp(state, "interrupted") == 0 || strcmp(state, STATE_FAILED) == 0))
        json_object_set_new(move, "next", json_string("cutover, or rollback"));
}

static enum rh_status report_build(
    const struct rh_plan *plan, struct rh_journal *journal, bool live, struct rh_buf *ret_json, struct rh_error *err)
{
    json_t *moves = json_array();
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < plan->move_count; i++) {
        json_t *move = NULL;
        status = move_json(journal, &plan->moves[i], live, &move, err);
        if (status == RH_OK && plan->route_count)
            add_switched(journal, plan, plan->moves[i].name, move);
        if (status == RH_OK)
            json_array_append_new(moves, move);
    }
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o}", "rehome", RH_VERSION, "time",
                             rh_stamp_us(rh_utc_us()).text, "plan", plan->name, "journal", rh_journal_name(journal),
                             "state_dir", plan->state_dir, "running", live, "exit", exit_json(journal), "seal",
                             seal_json(plan), "moves", moves);
    if (plan->route_count)
        json_object_set_new(root, "routes", routes_report(journal, plan));
    if (status == RH_OK)
        status = report_history(journal, live, root, err);
    if (status == RH_OK)
        status = rh_evidence_text(root, ret_json, err);
    json_decref(root);
    return status;
}

enum rh_status rh_engine_report(const struct rh_plan *plan, struct rh_buf *ret_json, struct rh_error *err)
{
    struct rh_engine *engine = NULL;
    struct rh_journal *journal = NULL;
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    const struct rh_engine_args args = {.plan = plan};
    pid_t owner = 0;
    enum rh_status status = rh_engine_open(&args, &engine, err);
    if (status == RH_OK)
        status = engine_journal_name(engine, &name, err);
    if (status == RH_OK)
        status = rh_journal_open(plan->state_dir, rh_buf_cstr(&name), RH_JOURNAL_READ_ONLY, &journal, err);
    if (status == RH_OK)
        status = rh_journal_owner(plan->state_dir, rh_buf_cstr(&name), &owner, err);
    if (status == RH_OK)
        status = report_build(plan, journal, owner != 0, ret_json, err);
    rh_journal_close(journal);
    rh_engine_close(engine);
    return status;
}

enum rh_status report_write(struct rh_engine *engine, struct rh_error *err)
{
    rh_auto_buf struct rh_buf json = RH_BUF_INIT, name = RH_BUF_INIT;
    enum rh_status status = report_build(engine->plan, engine->journal, false, &json, err);
    if (status == RH_OK)
        status = rh_buf_format(&name, err, "%s.report.json", rh_journal_name(engine->journal));
    if (status != RH_OK)
        return status;
    rh_auto_fd int folder = open(rh_journal_dir(engine->journal), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return rh_fail_errno(err, errno, "opening the state folder '%s'", rh_journal_dir(engine->journal));
    return rh_file_replace(folder, rh_buf_cstr(&name), rh_buf_bytes(&json), 0600, err);
}
