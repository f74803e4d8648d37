/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status --watch: looks at the report again and again until nobody is at work with the plan. A line for each move,
 * which is rewritten on a terminal; elsewhere a line whenever it has changed; with --json an object for each look.
 */
#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct watched {
    char step[64];    /* that the rate is of */
    int64_t since_us; /* monotonic: when it was seen first */
    uint64_t records; /* at that moment */
    char line[512];   /* as printed last */
};
struct watch {
    struct watched *moves;
    size_t count, shown; /* lines that stand on the terminal */
    bool terminal, json;
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* A number inside an object of the move. */
static uint64_t count_of(const json_t *move, const char *part, const char *name)
{
    const json_int_t value = json_integer_value(json_object_get(json_object_get(move, part), name));
    return value < 0 ? 0 : (uint64_t)value;
}

/* The step that is under way, or "". */
static const char *step_of(const json_t *move)
{
    const json_t *steps = json_object_get(move, "steps");
    for (size_t i = json_array_size(steps); i-- > 0;)
        if (strcmp(text_of(json_array_get(steps, i), "outcome"), "begun") == 0)
            return text_of(json_array_get(steps, i), "step");
    return "";
}

/* "m copy: 12,345 of 100,000 records, 12 %, 8,123/s, 11 s left", or "m: complete, ..." when nobody is at work. */
static void move_words(const json_t *move, bool running, struct watched *seen, struct rh_buf *out)
{
    const char *step = running ? step_of(move) : "";
    const uint64_t records = count_of(move, "counts", "records"), expected = count_of(move, "counts", "expected");
    const int64_t now_us = rh_clock_us();
    if (strcmp(seen->step, step) != 0) {
        snprintf(seen->step, sizeof seen->step, "%s", step);
        seen->since_us = now_us;
        seen->records = records;
    }
    rh_ignore(rh_buf_format(out, NULL, "%s%s%s: ", text_of(move, "name"), *step ? " " : "", step));
    if (!*step)
        rh_ignore(rh_buf_format(out, NULL, "%s, ", text_of(move, "state")));
    if (strcmp(step, "verify") == 0) {
        rh_ignore(rh_buf_format(out, NULL, "%s of %s ranges compared",
                                rh_words_count(count_of(move, "ranges", "verified")).text,
                                rh_words_count(count_of(move, "ranges", "total")).text));
        return;
    }
    rh_ignore(
        rh_buf_format(out, NULL, "%s of %s records", rh_words_count(records).text, rh_words_count(expected).text));
    if (strcmp(step, "copy") != 0 || !expected)
        return;
    rh_ignore(rh_buf_format(out, NULL, ", %.0f %%", (double)records * 100.0 / (double)expected));
    const double seconds = (double)(now_us - seen->since_us) / 1e6;
    if (seconds < 0.2 || records <= seen->records)
        return;
    const double rate = (double)(records - seen->records) / seconds;
    rh_ignore(rh_buf_format(out, NULL, ", %s/s", rh_words_count((uint64_t)rate).text));
    if (expected > records)
        rh_ignore(rh_buf_format(out, NULL, ", %s left",
                                rh_words_duration((int64_t)((double)(expected - records) / rate * 1e6)).text));
}

/* One look as lines. */
static void show_lines(struct watch *watch, const json_t *report, bool running)
{
    const json_t *moves = json_object_get(report, "moves");
    struct winsize size = {.ws_col = 0};
    if (watch->terminal && watch->shown)
        printf("\033[%zuA", watch->shown);
    watch->shown = 0;
    for (size_t i = 0; i < json_array_size(moves) && i < watch->count; i++) {
        rh_auto_buf struct rh_buf words = RH_BUF_INIT;
        move_words(json_array_get(moves, i), running, &watch->moves[i], &words);
        if (watch->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 &&
            words.size >= size.ws_col)
            words.size = size.ws_col - 1u; /* a line that wraps couldn't be rewritten */
        const char *line = rh_buf_cstr(&words);
        if (!watch->terminal && strcmp(line, watch->moves[i].line) == 0)
            continue;
        snprintf(watch->moves[i].line, sizeof watch->moves[i].line, "%s", line);
        if (watch->terminal)
            fputs("\r\033[K", stdout);
        rh_put_clean(stdout, line);
        putchar('\n');
        watch->shown++;
    }
    fflush(stdout);
}

/* One look as a line of JSON. */
static void show_json(const json_t *report, bool running)
{
    const json_t *moves = json_object_get(report, "moves");
    json_t *list = json_array(), *exit_code = running ? json_null() : json_deep_copy(json_object_get(report, "exit"));
    for (size_t i = 0; i < json_array_size(moves); i++) {
        const json_t *move = json_array_get(moves, i);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name", text_of(move, "name"),
                                        "state", text_of(move, "state"), "step", running ? step_of(move) : "",
                                        "records", (json_int_t)count_of(move, "counts", "records"), "expected",
                                        (json_int_t)count_of(move, "counts", "expected"), "bytes",
                                        (json_int_t)count_of(move, "counts", "bytes"), "ranges",
                                        (json_int_t)count_of(move, "ranges", "total"), "ranges_copied",
                                        (json_int_t)count_of(move, "ranges", "done"), "ranges_verified",
                                        (json_int_t)count_of(move, "ranges", "verified")));
    }
    json_t *line = json_pack("{s:s, s:b, s:o, s:o}", "time", text_of(report, "time"), "running", running, "exit",
                             exit_code ? exit_code : json_null(), "moves", list);
    if (line)
        json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(line);
    putchar('\n');
    fflush(stdout);
}

/* How the last command ended; what was cut off left no status. */
static enum rh_exit exit_of(const json_t *report)
{
    const json_t *code = json_object_get(report, "exit");
    const json_int_t value = json_integer_value(code);
    return json_is_integer(code) && value >= RH_EXIT_OK && value <= RH_EXIT_INTERNAL ? (enum rh_exit)value
                                                                                     : RH_EXIT_INTERRUPTED;
}

enum rh_exit rh_watch(struct rh_job *job, int64_t interval_us)
{
    const char *term = getenv("TERM");
    struct watch watch = {.json = job->json, .count = job->plan->move_count};
    watch.terminal = !watch.json && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
    watch.moves = calloc(watch.count + 1, sizeof *watch.moves);
    enum rh_exit code = RH_EXIT_INTERNAL;
    /* whoever stops watching stops nothing else */
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    for (bool running = watch.moves != NULL; running;) {
        enum rh_status status;
        json_t *report = rh_view_load(job->plan, &status, &job->err);
        if (!report && status == RH_NOT_FOUND) {
            puts(watch.json ? "{\"moves\":[]}" : "nothing was run yet");
            code = RH_EXIT_OK;
            break;
        }
        if (!report) {
            code = rh_job_fail(job, &job->err);
            break;
        }
        running = json_is_true(json_object_get(report, "running"));
        if (watch.json)
            show_json(report, running);
        else
            show_lines(&watch, report, running);
        code = exit_of(report);
        json_decref(report);
        if (running)
            rh_sleep_us(interval_us < 50000 ? 50000 : interval_us);
    }
    free(watch.moves);
    return code;
}
