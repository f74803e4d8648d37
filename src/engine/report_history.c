/* SPDX-License-Identifier: Apache-2.0 */
/* The report's history: the journal's intents and outcomes paired into attempts, commands apart from steps; and how
 * fast the lanes were. */
#include "internal.h"

#include <stdlib.h>

enum { ATTEMPTS_MOST = 1000 }; /* the newest; how many older ones there were is told */

struct attempt {
    struct rh_step_state state; /* RH_STEP_INTENT: still open, or cut off */
    int64_t seen_us;            /* cut off: the last moment at which it was surely at work, 0: unknown */
    bool cut;
};

struct history {
    struct attempt *attempts; /* in the order of their begins; ATTEMPTS_MOST long */
    size_t count;
    uint64_t omitted;
};

/* The room for one more; the oldest goes when there is none. */
static struct attempt *attempt_new(struct history *history)
{
    if (history->count == ATTEMPTS_MOST) {
        history->count--;
        history->omitted++;
        memmove(history->attempts, history->attempts + 1, history->count * sizeof *history->attempts);
    }
    struct attempt *attempt = &history->attempts[history->count++];
    *attempt = (struct attempt){.cut = false};
    return attempt;
}

static bool is_command(const struct attempt *attempt)
{
    return attempt->state.move[0] == '\0';
}

static bool is_open(const struct attempt *attempt)
{
    return attempt->state.outcome == RH_STEP_INTENT && !attempt->cut;
}

/* Another process has begun, or the command has ended: whatever is open was cut off. `at_us`: when, 0: unknown. */
static void cut_open(struct history *history, int64_t at_us)
{
    for (size_t i = history->count; i-- > 0;)
        if (is_open(&history->attempts[i])) {
            history->attempts[i].cut = true;
            history->attempts[i].state.outcome_us = at_us;
        }
}

/* The open attempt that an outcome belongs to, or NULL. */
static struct attempt *find_open(struct history *history, const struct rh_step_state *event)
{
    for (size_t i = history->count; i-- > 0;) {
        struct attempt *attempt = &history->attempts[i];
        if (is_open(attempt) && strcmp(attempt->state.move, event->move) == 0 &&
            strcmp(attempt->state.step, event->step) == 0)
            return attempt;
    }
    return NULL;
}

/* One event of the journal. */
static enum rh_status add_event(void *user, const struct rh_step_state *event)
{
    struct history *history = user;
    struct attempt *attempt = find_open(history, event);
    const bool begins = event->outcome == RH_STEP_INTENT, command = event->move[0] == '\0';
    if (begins && command)
        cut_open(history, 0);
    else if (begins && attempt)
        attempt->cut = true;
    if (begins || !attempt) {
        attempt = attempt_new(history);
        attempt->state = *event;
        if (!begins)
            attempt->state.intent_us = event->outcome_us; /* a second thought about a step that had ended */
    } else {
        attempt->state.outcome = event->outcome;
        attempt->state.outcome_us = event->outcome_us;
        memcpy(attempt->state.note, event->note, sizeof attempt->state.note);
    }
    if (command && !begins)
        cut_open(history, event->outcome_us);
    return RH_OK;
}

/* A moment at which the attempt that was cut off, and the command around it, were at work. */
static void seen_at(struct history *history, const char *move, int64_t at_us)
{
    for (size_t i = history->count; i-- > 0;) {
        struct attempt *attempt = &history->attempts[i];
        if (attempt->state.intent_us > at_us || (!is_command(attempt) && strcmp(attempt->state.move, move) != 0))
            continue;
        if (attempt->cut && attempt->seen_us < at_us)
            attempt->seen_us = at_us;
        if (is_command(attempt))
            return; /* earlier ones had ended by then */
    }
}

/* What was journaled while it was at work tells until when it was. */
static void seen_from_events(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        const struct rh_step_state *state = &history->attempts[i].state;
        if (state->move[0] == '\0')
            continue;
        seen_at(history, "", state->intent_us);
        if (state->outcome_us)
            seen_at(history, "", state->outcome_us);
    }
}

static const char *outcome_name(const struct attempt *attempt, bool live)
{
    static const char *const names[] = {[RH_STEP_NONE] = "none",
                                        [RH_STEP_INTENT] = "running",
                                        [RH_STEP_DONE] = "done",
                                        [RH_STEP_FAILED] = "failed",
                                        [RH_STEP_UNDONE] = "undone"};
    const bool unended = attempt->state.outcome == RH_STEP_INTENT;
    return unended && (attempt->cut || !live) ? "interrupted" : names[attempt->state.outcome];
}

json_t *stamp_json(int64_t utc_us)
{
    return utc_us ? json_string(rh_stamp_us(utc_us).text) : json_null();
}

/* The attempts of one move, or with "" the commands. */
static json_t *attempts_json(const struct history *history, const char *move, bool live)
{
    json_t *array = json_array();
    for (size_t i = 0; i < history->count; i++) {
        const struct attempt *attempt = &history->attempts[i];
        const struct rh_step_state *state = &attempt->state;
        if (strcmp(state->move, move) != 0)
            continue;
        json_t *object = json_pack("{s:s, s:s, s:o, s:o, s:s}", move[0] ? "step" : "command", state->step, "outcome",
                                   outcome_name(attempt, live), "begun", stamp_json(state->intent_us), "ended",
                                   stamp_json(state->outcome_us), "note", state->note);
        if (object && attempt->seen_us && !state->outcome_us)
            json_object_set_new(object, "last_seen", stamp_json(attempt->seen_us));
        json_array_append_new(array, object);
    }
    return array;
}

/* The points of a move, and what they tell about attempts that were cut off. */
static json_t *throughput_json(struct rh_journal *journal, const char *move, struct history *history)
{
    rh_auto_buf struct rh_buf fact = RH_BUF_INIT;
    struct samples samples = {0};
    json_t *points = json_array();
    if (rh_journal_get(journal, move, "samples", &fact, NULL) == RH_OK)
        rh_ignore(samples_decode(rh_buf_bytes(&fact), &samples)); /* no points then */
    for (size_t i = 0; i < samples.count; i++) {
        const struct sample *point = &samples.points[i];
        const int64_t from_us = samples.origin_us + (int64_t)point->from_us;
        json_array_append_new(points,
                              json_pack("{s:s, s:o, s:I, s:I, s:I}", "phase", sample_kind_name(point->kind), "time",
                                        stamp_json(from_us), "active_us", (json_int_t)point->active_us, "records",
                                        (json_int_t)point->records, "bytes", (json_int_t)point->bytes));
        seen_at(history, move, from_us + (int64_t)point->active_us);
    }
    return json_pack("{s:I, s:o}", "width_us", (json_int_t)samples.width_us, "points", points);
}

enum rh_status report_history(struct rh_journal *journal, bool live, json_t *root, struct rh_error *err)
{
    struct history history = {.attempts = calloc(ATTEMPTS_MOST, sizeof *history.attempts)};
    size_t i;
    json_t *move;
    if (!history.attempts)
        return rh_fail_memory(err);
    enum rh_status status = rh_journal_history(journal, add_event, &history, err);
    if (status == RH_OK && !live)
        cut_open(&history, 0);
    if (status == RH_OK) {
        seen_from_events(&history);
        json_array_foreach(json_object_get(root, "moves"), i, move)
        {
            const char *name = json_string_value(json_object_get(move, "name"));
            json_object_set_new(move, "throughput", throughput_json(journal, name, &history));
            json_object_set_new(move, "history", attempts_json(&history, name, live));
        }
        json_object_set_new(root, "commands", attempts_json(&history, "", live));
        json_object_set_new(root, "history_omitted", json_integer((json_int_t)history.omitted));
    }
    free(history.attempts);
    return status;
}
