/* SPDX-License-Identifier: Apache-2.0 */
/* The report's JSON (docs/formats/report.md) in words. Members that are missing are passed over. */
#include "cli.h"

/* A text member, or "" . */
static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* A number member, or 0. */
static int64_t number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : 0;
}

/* A count that can't be below zero. */
static uint64_t count_of(const json_t *object, const char *name)
{
    int64_t value = number_of(object, name);
    return value < 0 ? 0 : (uint64_t)value;
}

json_t *rh_view_load(const struct rh_plan *plan, enum rh_status *ret_status, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    *ret_status = rh_engine_report(plan, &text, err);
    if (*ret_status != RH_OK)
        return NULL;
    json_error_t where;
    json_t *report = json_loadb((const char *)text.data, text.size, JSON_ALLOW_NUL, &where);
    if (!report)
        *ret_status = rh_fail(err, RH_E_INTERNAL, "read the report: %s", where.text);
    return report;
}

/* What each state means for somebody who has to decide what to do next. */
static const struct {
    const char *state, *words, *back;
} states[] = {
    {"new",         "nothing was written yet",                      "nothing to go back from"       },
    {"running",     "under way",                                    "reversible: rollback goes back"},
    {"interrupted", "stopped on the way; the same command resumes", "reversible: rollback goes back"},
    {"complete",    "complete",                                     "reversible until finish"       },
    {"failed",      "failed; what was written is still there",      "reversible: rollback goes back"},
    {"rolled-back", "rolled back: the destination is as it was",    "nothing to go back from"       },
    {"finished",    "finished",                                     "not reversible any more"       },
};

/* The line of `states` for a move, NULL for a state we don't know. */
static const char *state_words(const char *state, bool back)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(states[i].state, state) == 0)
            return back ? states[i].back : states[i].words;
    return NULL;
}

/* "name: value" of a text, only when there is one. */
static void line_text(FILE *out, const char *label, const char *text)
{
    if (!text || !text[0])
        return;
    fprintf(out, "  %-12s ", label);
    rh_put_clean(out, text);
    fputc('\n', out);
}

/* "MariaDB 10.11 at db1:3306/vault/vault (tls: ...)" of one side's facts. */
static void line_side(FILE *out, const char *label, const json_t *side)
{
    char line[1200];
    if (!json_is_object(side))
        return;
    const char *product = text_of(side, "product"), *driver = text_of(side, "driver");
    const char *tls = text_of(side, "tls");
    snprintf(line, sizeof line, "%s%s%s%s%s%s%s%s", product[0] ? product : driver,
             text_of(side, "version")[0] ? " " : "", text_of(side, "version"),
             text_of(side, "address")[0] ? " at " : "", text_of(side, "address"), tls[0] ? " (tls: " : "", tls,
             tls[0] ? ")" : "");
    line_text(out, label, line);
}

/* The counts that aren't zero. */
static void line_counts(FILE *out, const json_t *counts)
{
    static const char *const names[] = {"written", "replaced", "kept", "extra"};
    if (!json_is_object(counts))
        return;
    fprintf(out, "  %-12s %s records, %s", "counts", rh_words_count(count_of(counts, "records")).text,
            rh_words_bytes(count_of(counts, "bytes")).text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (count_of(counts, names[i]))
            fprintf(out, ", %s %s", rh_words_count(count_of(counts, names[i])).text, names[i]);
    fputc('\n', out);
}

/* The three sums, and what their being equal means. */
static void line_digests(FILE *out, const json_t *digests)
{
    if (!json_is_object(digests))
        return;
    line_text(out, "digest A", text_of(digests, "a"));
    line_text(out, "digest B", text_of(digests, "b"));
    line_text(out, "digest C", text_of(digests, "c"));
}

/* Name, outcome, start, time taken and note of one step. */
static void line_step(FILE *out, const json_t *step)
{
    const char *name = text_of(step, "step")[0] ? text_of(step, "step") : text_of(step, "name");
    const char *outcome = text_of(step, "outcome")[0] ? text_of(step, "outcome") : text_of(step, "state");
    int64_t from = number_of(step, "intent_us"), to = number_of(step, "outcome_us");
    fputs("    ", out);
    fprintf(out, "%-22s %-8s ", name, outcome);
    const char *started = text_of(step, "started");
    fprintf(out, "%-19.19s", from ? rh_stamp_us(from).text : started);
    int64_t took_us = to > from && from ? to - from : number_of(step, "duration_us");
    if (!took_us)
        took_us = number_of(step, "duration_ms") * 1000;
    fprintf(out, " %9s ", took_us ? rh_words_duration(took_us).text : "");
    rh_put_clean(out, text_of(step, "note"));
    fputc('\n', out);
}

/* Steps of a move, in order. */
static void lines_steps(FILE *out, const json_t *steps)
{
    size_t i;
    json_t *step;
    if (json_array_size(steps) == 0)
        return;
    fprintf(out, "  steps\n");
    json_array_foreach(steps, i, step) line_step(out, step);
}

/* Everything that status knows of one move. */
static void view_move(FILE *out, const json_t *move)
{
    const char *state = text_of(move, "state"), *words = state_words(state, false), *back = state_words(state, true);
    fputs("move '", out);
    rh_put_clean(out, text_of(move, "name"));
    fputs("'\n", out);
    char line[200];
    snprintf(line, sizeof line, "%s%s%s", state, words && strcmp(words, state) != 0 ? ": " : "",
             words && strcmp(words, state) != 0 ? words : "");
    line_text(out, "state", line);
    line_text(out, "way back", back);
    line_side(out, "source", json_object_get(move, "source"));
    line_side(out, "destination", json_object_get(move, "destination"));
    line_counts(out, json_object_get(move, "counts"));
    if (json_is_boolean(json_object_get(move, "verified")))
        line_text(out, "verified", json_is_true(json_object_get(move, "verified")) ? "yes" : "no");
    line_digests(out, json_object_get(move, "digests"));
    lines_steps(out, json_object_get(move, "steps"));
    line_text(out, "next", text_of(move, "next"));
}

void rh_view_status(FILE *out, const json_t *report)
{
    size_t i;
    json_t *move;
    const json_t *seal = json_object_get(report, "seal");
    json_array_foreach(json_object_get(report, "moves"), i, move) view_move(out, move);
    if (json_is_object(seal)) {
        const char *words = text_of(seal, "words")[0] ? text_of(seal, "words") : text_of(seal, "note");
        fputs("seal\n", out);
        line_text(out, "key", text_of(seal, "provider")[0] ? text_of(seal, "provider") : text_of(seal, "kind"));
        line_text(out, "", words);
    } else {
        line_text(out, "seal", json_string_value(seal));
    }
}

/* "moved 3,000 records (2.1 MiB): 2,990 written, 10 kept; verified; 2 extra on the destination". */
static void summary_move(FILE *out, const json_t *move)
{
    static const char *const names[] = {"written", "replaced", "kept"};
    const json_t *counts = json_object_get(move, "counts");
    fputs("move '", out);
    rh_put_clean(out, text_of(move, "name"));
    fprintf(out, "': %s records (%s)", rh_words_count(count_of(counts, "records")).text,
            rh_words_bytes(count_of(counts, "bytes")).text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (count_of(counts, names[i]))
            fprintf(out, ", %s %s", rh_words_count(count_of(counts, names[i])).text, names[i]);
    bool verified = json_is_true(json_object_get(move, "verified"));
    fputs(verified ? "; verified: the source stood still and both sides are equal" : "; not verified", out);
    if (count_of(counts, "extra"))
        fprintf(out, "; %s extra on the destination, left alone", rh_words_count(count_of(counts, "extra")).text);
    fputc('\n', out);
}

void rh_view_summary(FILE *out, const json_t *report)
{
    size_t i;
    json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move) summary_move(out, move);
}

/* Which command goes on from this state, NULL when none is needed. */
static void standing_next(FILE *out, const char *state, const char *again, const char *plan_path)
{
    bool open = strcmp(state, "interrupted") == 0 || strcmp(state, "failed") == 0 || strcmp(state, "running") == 0;
    if (!open)
        return;
    fputs("  go on:   ", out);
    rh_put_clean(out, again);
    fputs("\n  go back: rehome rollback ", out);
    rh_put_clean(out, plan_path);
    fputc('\n', out);
}

void rh_view_standing(FILE *out, const json_t *report, const char *again, const char *plan_path)
{
    size_t i;
    json_t *move;
    if (!report) {
        fputs("  nothing was written by this plan\n", out);
        return;
    }
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        const char *state = text_of(move, "state"), *words = state_words(state, false);
        fputs("  move '", out);
        rh_put_clean(out, text_of(move, "name"));
        fputs("': ", out);
        rh_put_clean(out, words ? words : state);
        fputc('\n', out);
        standing_next(out, state, again, plan_path);
    }
}
