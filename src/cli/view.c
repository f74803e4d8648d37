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
    const char *state, *words;
} states[] = {
    {"new",          "nothing was written yet"                                          },
    {"running",      "under way"                                                        },
    {"interrupted",  "stopped on the way; 'rehome run' resumes"                         },
    {"complete",     "both sides are complete"                                          },
    {"failed",       "what was written is still there"                                  },
    {"rolling-back", "stopped on the way back; 'rehome rollback' resumes"               },
    {"rolled-back",  "the destination is as it was, save for what was named"            },
    {"finished",     "the way back is gone"                                             },
    {"abandoned",    "the way back was given up; what was written and not undone stands"},
};

/* The words for a state, "" for one we don't know. */
static const char *state_words(const char *state)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(states[i].state, state) == 0)
            return states[i].words;
    return "";
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
    const char *product = text_of(side, "product"), *driver = text_of(side, "store");
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

/* One digest: its sum, and over how much. */
static void line_digest(FILE *out, const char *label, const json_t *digest)
{
    char line[160];
    if (!json_is_object(digest))
        return;
    snprintf(line, sizeof line, "%s  (%s records)", text_of(digest, "sum"),
             rh_words_count(count_of(digest, "records")).text);
    line_text(out, label, line);
}

/* The three digests and what their being equal proves. */
static void lines_digests(FILE *out, const json_t *digests)
{
    line_digest(out, "digest A", json_object_get(digests, "a"));
    line_digest(out, "digest B", json_object_get(digests, "b"));
    line_digest(out, "digest C", json_object_get(digests, "c"));
    const json_t *still = json_object_get(digests, "source_stood_still"), *equal = json_object_get(digests, "equal");
    if (json_is_boolean(still))
        line_text(out, "A and B", json_is_true(still) ? "equal: the source stood still" : "DIFFER: the source changed");
    if (json_is_boolean(equal))
        line_text(out, "B and C", json_is_true(equal) ? "equal: both sides hold the same" : "DIFFER: run verify");
}

/* "2026-11-22T02:29:11.123456Z" as microseconds of its day, -1 when it isn't such a stamp. */
static int64_t stamp_us(const char *stamp)
{
    int64_t part[3], micro = 0, scale = 100000;
    if (strlen(stamp) < 19 || stamp[10] != 'T')
        return -1;
    for (size_t i = 0; i < 3; i++)
        if (rh_parse_i64(rh_bytes(stamp + 11 + 3 * i, 2), &part[i]) != RH_OK)
            return -1;
    for (const char *digit = stamp + 20; stamp[19] == '.' && *digit >= '0' && *digit <= '9'; digit++, scale /= 10)
        micro += (*digit - '0') * scale;
    return ((part[0] * 60 + part[1]) * 60 + part[2]) * 1000000 + micro;
}

/* Name, outcome, start, time taken and note of one step. */
static void line_step(FILE *out, const json_t *step)
{
    const char *begun = text_of(step, "begun");
    int64_t from = stamp_us(begun), to = stamp_us(text_of(step, "ended")), day = INT64_C(86400000000);
    char took[48] = "";
    if (from >= 0 && to >= 0)
        snprintf(took, sizeof took, "%s", rh_words_duration((to - from + day) % day).text);
    fprintf(out, "    %-20s %-7s %-19.19s %9s  ", text_of(step, "step"), text_of(step, "outcome"), begun, took);
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

/* Which servers were paused, for how long, and which are still. */
static void lines_fences(FILE *out, const json_t *fences)
{
    size_t i;
    json_t *fence;
    json_array_foreach(fences, i, fence)
    {
        char line[700];
        const json_t *pause = json_object_get(fence, "pause_ms");
        const char *by = text_of(fence, "opened_by");
        if (json_is_true(json_object_get(fence, "to_open")))
            snprintf(line, sizeof line, "%s closed since %s", text_of(fence, "address"), text_of(fence, "closed"));
        else if (!json_is_number(pause))
            snprintf(line, sizeof line, "%s open%s%s", text_of(fence, "address"), by[0] ? ", by " : "", by);
        else
            snprintf(line, sizeof line, "%s paused for %.0f ms%s%s", text_of(fence, "address"),
                     json_number_value(pause),
                     strcmp(by, "rehome") == 0 ? "" : ", opened by: ", strcmp(by, "rehome") == 0 ? "" : by);
        line_text(out, "fence", line);
    }
}

/* Everything that status knows of one move. */
static void view_move(FILE *out, const json_t *move)
{
    const char *state = text_of(move, "state"), *words = state_words(state);
    fputs("move '", out);
    rh_put_clean(out, text_of(move, "name"));
    fputs("'\n", out);
    char line[200];
    snprintf(line, sizeof line, "%s%s%s", state, words[0] ? ": " : "", words);
    line_text(out, "state", line);
    if (json_is_boolean(json_object_get(json_object_get(move, "undo"), "reversible")))
        line_text(out, "way back",
                  json_is_true(json_object_get(json_object_get(move, "undo"), "reversible")) ? "yes: rollback" : "no");
    line_side(out, "source", json_object_get(move, "source"));
    line_side(out, "destination", json_object_get(move, "destination"));
    lines_fences(out, json_object_get(move, "fences"));
    if (strcmp(state, "new") != 0) {
        line_counts(out, json_object_get(move, "counts"));
        line_text(out, "verified", text_of(move, "verified"));
        lines_digests(out, json_object_get(move, "digests"));
    }
    lines_steps(out, json_object_get(move, "steps"));
    line_text(out, "next", text_of(move, "next"));
}

void rh_view_routes(FILE *out, const json_t *report)
{
    size_t i;
    json_t *route;
    json_array_foreach(json_object_get(report, "routes"), i, route)
    {
        if (!json_is_number(json_object_get(route, "pause_ms")))
            continue;
        fputs("  ", out);
        rh_put_clean(out, text_of(route, "address"));
        fputs(" goes to ", out);
        rh_put_clean(out, text_of(route, "goes_to"));
        fprintf(out, ", having made no keys for %.0f ms\n", json_number_value(json_object_get(route, "pause_ms")));
    }
}

/* Where the servers of a cutover go to. */
static void lines_routes(FILE *out, const json_t *routes)
{
    size_t i;
    json_t *route;
    if (json_array_size(routes))
        fputs("cutover\n", out);
    json_array_foreach(routes, i, route)
    {
        char line[1200];
        const char *address = text_of(route, "address");
        const json_t *pause = json_object_get(route, "pause_ms");
        if (json_is_number(pause))
            snprintf(line, sizeof line, "%s went to %s at %s, making no keys for %.0f ms", address,
                     text_of(route, "goes_to"), text_of(route, "switched"), json_number_value(pause));
        else
            snprintf(line, sizeof line, "not switched yet");
        line_text(out, text_of(route, "route"), line);
        if (json_is_true(json_object_get(route, "to_settle")))
            line_text(out, "", "a switch of it was cut off: cutover, rollback or recover puts it right");
    }
}

void rh_view_status(FILE *out, const json_t *report)
{
    size_t i;
    json_t *move;
    const json_t *seal = json_object_get(report, "seal");
    json_array_foreach(json_object_get(report, "moves"), i, move) view_move(out, move);
    lines_routes(out, json_object_get(report, "routes"));
    if (json_is_object(seal)) {
        fputs("seal of the undo images\n", out);
        line_text(out, "key", text_of(seal, "provider"));
        line_text(out, "protects", text_of(seal, "protects"));
    }
}

/* "moved 3,000 records (2.1 MiB): 2,990 written, 10 kept; verified; 2 extra on the destination". */
static void summary_move(FILE *out, const json_t *move)
{
    static const char *const names[] = {"written", "replaced", "kept"};
    const json_t *counts = json_object_get(move, "counts");
    fputs("move '", out);
    rh_put_clean(out, text_of(move, "name"));
    fprintf(out, "': %s record%s (%s)", rh_words_count(count_of(counts, "records")).text,
            count_of(counts, "records") == 1 ? "" : "s", rh_words_bytes(count_of(counts, "bytes")).text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (count_of(counts, names[i]))
            fprintf(out, ", %s %s", rh_words_count(count_of(counts, names[i])).text, names[i]);
    const json_t *digests = json_object_get(move, "digests");
    bool proven =
        json_is_true(json_object_get(digests, "source_stood_still")) && json_is_true(json_object_get(digests, "equal"));
    fputs(proven ? "; verified: the source stood still and both sides are equal" : "; not verified (verified=no)", out);
    if (count_of(counts, "extra"))
        fprintf(out, "; %s extra on the destination, left alone", rh_words_count(count_of(counts, "extra")).text);
    fputc('\n', out);
    json_t *fence;
    size_t i;
    json_array_foreach(json_object_get(move, "fences"), i, fence)
    {
        if (!json_is_number(json_object_get(fence, "pause_ms")))
            continue;
        fputs("  ", out);
        rh_put_clean(out, text_of(fence, "address"));
        fprintf(out, " was paused for %.0f ms\n", json_number_value(json_object_get(fence, "pause_ms")));
    }
}

void rh_view_summary(FILE *out, const json_t *report)
{
    size_t i;
    json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move) summary_move(out, move);
}

/* Lines of a server's configuration, each below the place where it belongs. */
static void lines_settings(FILE *out, const char *words, const json_t *settings)
{
    const char *last = "";
    size_t i;
    json_t *setting;
    json_array_foreach(settings, i, setting)
    {
        const char *where = text_of(setting, "where");
        if (strcmp(where, last) != 0) {
            fprintf(out, "    %s ", words);
            rh_put_clean(out, where);
            fputs(":\n", out);
        }
        last = where;
        fputs("      ", out);
        rh_put_clean(out, text_of(setting, "text"));
        fputc('\n', out);
    }
}

/* What is left to do by hand after one move. */
static void afterwards_move(FILE *out, const json_t *afterwards, const char *plan_path)
{
    size_t i, j;
    json_t *one, *server;
    json_array_foreach(json_object_get(afterwards, "cases"), i, one)
    {
        fputs("  ", out);
        rh_put_clean(out, text_of(one, "who"));
        json_array_foreach(json_object_get(one, "servers"), j, server)
        {
            fputs(j ? ", " : " (", out);
            rh_put_clean(out, json_string_value(server) ? json_string_value(server) : "");
        }
        fputs(j ? "): " : ": ", out);
        rh_put_clean(out, text_of(one, "text"));
        fputc('\n', out);
        lines_settings(out, "take out of", json_object_get(one, "take_out"));
        lines_settings(out, "put into", json_object_get(one, "put_in"));
    }
    fputs("  ", out);
    rh_put_clean(out, text_of(afterwards, "gap"));
    fputs("\n    rehome verify ", out);
    rh_put_clean(out, plan_path);
    fputc('\n', out);
}

void rh_view_afterwards(FILE *out, const json_t *report, const char *plan_path)
{
    size_t i;
    json_t *move;
    if (json_array_size(json_object_get(report, "routes"))) {
        fputs("the servers go on with the source. This sends them to the destination, with what the source gets until "
              "then:\n  rehome cutover ",
              out);
        rh_put_clean(out, plan_path);
        fputc('\n', out);
        return;
    }
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        const json_t *afterwards = json_object_get(move, "afterwards");
        if (!json_is_object(afterwards))
            continue;
        fputs("afterwards, with the keys of move '", out);
        rh_put_clean(out, text_of(move, "name"));
        fputs("':\n", out);
        afterwards_move(out, afterwards, plan_path);
    }
}

/* Which command goes on from this state, NULL when none is needed. */
static void standing_next(FILE *out, const char *state, const char *again, const char *plan_path)
{
    bool forward = strcmp(state, "interrupted") == 0 || strcmp(state, "failed") == 0;
    if (!forward && strcmp(state, "rolling-back") != 0)
        return;
    if (forward) {
        fputs("  go on:   ", out);
        rh_put_clean(out, again);
        fputc('\n', out);
    }
    fputs("  go back: rehome rollback ", out);
    rh_put_clean(out, plan_path);
    fputc('\n', out);
}

void rh_view_standing(FILE *out, const json_t *report, const char *again, const char *plan_path)
{
    size_t i;
    json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        const char *state = text_of(move, "state"), *words = state_words(state);
        fputs("  move '", out);
        rh_put_clean(out, text_of(move, "name"));
        fputs("': ", out);
        rh_put_clean(out, state);
        if (words[0])
            fprintf(out, ": %s", words);
        fputc('\n', out);
        standing_next(out, state, again, plan_path);
    }
}
