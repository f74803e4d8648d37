/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page's figures, as SVG without a view box: widths are percentages, heights and letters pixels, so that a narrow
 * screen squeezes the bars and not the words.
 */
#include "page.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS_MOST = 24, BARS_MOST = 2200, POINTS_MOST = 1000, TICKS = 3 };

/* --- what both figures have --- */

/* <svg> with title and description for those who can't see it; both are closed by the caller's html_mark("</svg>"). */
static void svg_open(struct page *page, int height, const char *title, const char *description)
{
    struct html *html = &page->html;
    const unsigned id = ++page->figures;
    html_numbers(html, "<svg role=\"img\" aria-labelledby=\"t%u d%u\" height=\"%d\">", id, id, height);
    html_numbers(html, "<title id=\"t%u\">", id);
    html_text(html, title);
    html_numbers(html, "</title><desc id=\"d%u\">", id);
    html_text(html, description);
    html_mark(html, "</desc>");
}

/* <rect> from one fraction of the width to another, with a class of ours. */
static void svg_rect(struct html *html, const char *kind, double from, double to, double top, double height)
{
    html_mark(html, "<rect class=\"");
    html_text(html, kind);
    html_numbers(html, "\" x=\"%.3f%%\" y=\"%.1f\" width=\"%.3f%%\" height=\"%.1f\"/>", from * 100, top,
                 (to - from) * 100, height);
}

static void svg_line(struct html *html, const char *kind, double y)
{
    html_mark(html, "<line class=\"");
    html_text(html, kind);
    html_numbers(html, "\" x1=\"0\" x2=\"100%%\" y1=\"%.1f\" y2=\"%.1f\"/>", y, y);
}

/* Text that begins at the left edge (0), ends at the right one (1), or stands in the middle of its place. */
static void svg_text(struct html *html, const char *kind, double at, double y, const char *text)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    html_numbers(html, "<text x=\"%.3f%%\" y=\"%.1f\" text-anchor=\"", at * 100, y);
    html_text(html, anchors[at <= 0 ? 0 : at >= 1 ? 2 : 1]);
    html_mark(html, "\" class=\"");
    html_text(html, kind);
    html_mark(html, "\">");
    html_text(html, text);
    html_mark(html, "</text>");
}

/* The moment that stands at a fraction of the width. */
static int64_t time_at(const struct time_scale *scale, double at)
{
    for (size_t i = 0; i < scale->count; i++) {
        const struct scale_part *part = &scale->parts[i];
        if (at <= part->to && part->to > part->from)
            return part->span.from_us + (int64_t)((double)(part->span.to_us - part->span.from_us) * (at - part->from) /
                                                  (part->to - part->from));
    }
    return scale->parts[scale->count - 1].span.to_us;
}

/* "05:53:21", with the day where the axis passes midnight, or "+0.25 s" on an axis of a few seconds. */
static void tick_words(const struct time_scale *scale, int64_t time_us, char *room, size_t size)
{
    const int64_t from_us = scale->parts[0].span.from_us, to_us = scale->parts[scale->count - 1].span.to_us;
    const char *stamp = rh_stamp_us(time_us).text;
    const int64_t day = INT64_C(86400000000);
    if (to_us - from_us < 20 * 1000000)
        snprintf(room, size, "+%.*f s",
                 to_us - from_us < 1000000    ? 3
                 : to_us - from_us < 10000000 ? 2
                                              : 1,
                 (double)(time_us - from_us) / 1e6);
    else if (from_us / day != to_us / day)
        snprintf(room, size, "%.5s %.5s", stamp + 5, stamp + 11);
    else
        snprintf(room, size, "%.8s", stamp + 11);
}

/* The time axis under a figure, and the idle spells behind it. */
static void svg_axis(struct html *html, const struct time_scale *scale, double top, double bottom)
{
    char words[64];
    for (size_t i = 0; i < scale->count; i++)
        if (scale->parts[i].idle)
            svg_rect(html, "idle", scale->parts[i].from, scale->parts[i].to, top, bottom - top);
    svg_line(html, "grid", bottom);
    for (int i = 0; i <= TICKS; i++) {
        const double at = (double)i / TICKS;
        tick_words(scale, time_at(scale, at), words, sizeof words);
        svg_text(html, "axis", at, bottom + 16, words);
    }
}

/* What the grey columns are: "Grey: nothing was at work for 2h10m." */
static void idle_words(struct html *html, const struct time_scale *scale)
{
    bool any = false;
    for (size_t i = 0; i < scale->count; i++) {
        const struct scale_part *part = &scale->parts[i];
        if (!part->idle)
            continue;
        html_text(html, any ? ", " : " Grey columns, drawn shorter than they were: nothing was at work for ");
        html_text(html, rh_words_duration(part->span.to_us - part->span.from_us).text);
        any = true;
    }
    if (any)
        html_mark(html, ".");
}

/* One entry of a legend: a little square and its words. */
static void legend_entry(struct html *html, const char *kind, const char *words)
{
    html_mark(html, "<li><svg aria-hidden=\"true\" height=\"12\"><rect class=\"bar ");
    html_text(html, kind);
    html_mark(html, "\" x=\"1\" y=\"1\" width=\"18\" height=\"10\"/></svg>");
    html_text(html, words);
    html_mark(html, "</li>");
}

/* --- the timeline --- */

struct bar {
    size_t row;
    struct span span;
    const char *outcome;
};
struct timeline {
    const char *rows[ROWS_MOST]; /* names of steps and commands */
    bool commands[ROWS_MOST];
    size_t row_count;
    struct bar bars[BARS_MOST];
    struct span spans[BARS_MOST]; /* of the bars, for the scale */
    size_t bar_count;
};

/* The row of that name, made when it is new; ROWS_MOST when there are too many. */
static size_t row_of(struct timeline *line, const char *name, bool command)
{
    for (size_t i = 0; i < line->row_count; i++)
        if (line->commands[i] == command && strcmp(line->rows[i], name) == 0)
            return i;
    if (line->row_count == ROWS_MOST)
        return ROWS_MOST;
    line->rows[line->row_count] = name;
    line->commands[line->row_count] = command;
    return line->row_count++;
}

/* Adds the attempts of a list. What was cut off is drawn up to where it was last seen. */
static void add_bars(struct timeline *line, const json_t *attempts, const char *name, bool command, int64_t now_us)
{
    size_t i;
    json_t *attempt;
    json_array_foreach(attempts, i, attempt)
    {
        const char *outcome = member_text(attempt, "outcome");
        struct bar bar = {.row = row_of(line, member_text(attempt, name), command), .outcome = outcome};
        bar.span.from_us = bar.span.to_us = member_time(attempt, "begun");
        int64_t end_us = member_time(attempt, "ended");
        if (!end_us)
            end_us = strcmp(outcome, "running") == 0 ? now_us : member_time(attempt, "last_seen");
        if (end_us > bar.span.to_us)
            bar.span.to_us = end_us;
        if (bar.row < ROWS_MOST && line->bar_count < BARS_MOST && bar.span.from_us)
            line->bars[line->bar_count++] = bar;
    }
}

/* "12.3 s", or "3 attempts, 40.1 s" and how the last one ended. */
static void row_words(const struct timeline *line, size_t row, char *room, size_t size)
{
    size_t attempts = 0;
    int64_t busy_us = 0;
    const char *outcome = "";
    for (size_t i = 0; i < line->bar_count; i++)
        if (line->bars[i].row == row) {
            attempts++;
            busy_us += line->bars[i].span.to_us - line->bars[i].span.from_us;
            outcome = line->bars[i].outcome;
        }
    const char *took = rh_words_duration(busy_us).text;
    const bool done = strcmp(outcome, "done") == 0;
    const char *words = done ? "" : outcome_words(outcome), *comma = done ? "" : ", ";
    if (attempts > 1)
        snprintf(room, size, "%zu times, %s%s%s", attempts, took, comma, words);
    else
        snprintf(room, size, "%s%s%s", took, comma, words);
}

/* A row: its name, what it took, its bars. */
static void draw_row(struct html *html, const struct timeline *line, const struct time_scale *scale, size_t row)
{
    char words[128], name[128];
    const double top = (double)row * 40;
    if (line->commands[row])
        snprintf(name, sizeof name, "Command: rehome %s", line->rows[row]);
    else
        snprintf(name, sizeof name, "%s", step_words(line->rows[row]));
    row_words(line, row, words, sizeof words);
    svg_rect(html, "track", 0, 1, top + 20, 12);
    svg_text(html, "row", 0, top + 14, name);
    svg_text(html, "axis", 1, top + 14, words);
    for (size_t i = 0; i < line->bar_count; i++) {
        const struct bar *bar = &line->bars[i];
        char kind[48];
        if (bar->row != row)
            continue;
        snprintf(kind, sizeof kind, "bar %s", bar->outcome);
        svg_rect(html, kind, time_scale_at(scale, bar->span.from_us), time_scale_at(scale, bar->span.to_us), top + 20,
                 12);
    }
}

/* The entries for the outcomes that are drawn. */
static void timeline_legend(struct html *html, const struct timeline *line)
{
    static const char *const outcomes[] = {"done", "failed", "interrupted", "running", "undone"};
    html_mark(html, "<ul class=\"legend\">");
    for (size_t o = 0; o < sizeof outcomes / sizeof *outcomes; o++)
        for (size_t i = 0; i < line->bar_count; i++)
            if (strcmp(line->bars[i].outcome, outcomes[o]) == 0) {
                legend_entry(html, outcomes[o], outcome_words(outcomes[o]));
                break;
            }
    html_mark(html, "</ul>");
}

void draw_timeline(struct page *page, const json_t *move)
{
    struct html *html = &page->html;
    struct timeline *line = calloc(1, sizeof *line);
    struct time_scale scale;
    if (!line) {
        html->status = rh_fail_memory(html->err);
        return;
    }
    add_bars(line, json_object_get(page->report, "commands"), "command", true, page->made_us);
    add_bars(line, json_object_get(move, "history"), "step", false, page->made_us);
    for (size_t i = 0; i < line->bar_count; i++)
        line->spans[i] = line->bars[i].span;
    if (line->bar_count > 0) {
        const double bottom = (double)line->row_count * 40 + 2;
        time_scale_init(&scale, line->spans, line->bar_count);
        html_mark(html, "<figure><figcaption>When each command and each step was at work. The axis begins on ");
        page_time(html, scale.parts[0].span.from_us);
        html_mark(html, " and ends on ");
        page_time(html, scale.parts[scale.count - 1].span.to_us);
        html_mark(html, ".");
        idle_words(html, &scale);
        html_mark(html, "</figcaption>");
        svg_open(page, (int)bottom + 24, "Timeline of the steps",
                 "One row a command or step, with a bar from its begin to its end; the table below has the same.");
        svg_axis(html, &scale, 0, bottom);
        for (size_t row = 0; row < line->row_count; row++)
            draw_row(html, line, &scale, row);
        html_mark(html, "</svg>");
        timeline_legend(html, line);
        html_mark(html, "</figure>");
    }
    free(line);
}

/* --- throughput --- */

struct point {
    const char *phase;
    struct span span;
    int64_t active_us;
    uint64_t records, bytes;
};
struct course {
    struct point points[POINTS_MOST];
    struct span spans[POINTS_MOST]; /* of the points, for a scale */
    size_t count;
    int64_t width_us;
};

/* What a figure shows of a point, per second, in its unit. */
struct measure {
    const char *title, *unit;
    double divisor;
    bool bytes;
};

static double rate(const struct measure *measure, uint64_t records, uint64_t bytes, int64_t active_us)
{
    return (double)(measure->bytes ? bytes : records) / measure->divisor * 1e6 / (double)active_us;
}

/* Reads the points. A sliver at a bucket's end says nothing of its own: it is added to the point before. */
static void read_course(struct course *course, const json_t *throughput)
{
    size_t i;
    json_t *object;
    course->width_us = (int64_t)member_count(throughput, "width_us");
    json_array_foreach(json_object_get(throughput, "points"), i, object)
    {
        struct point *last = course->count ? &course->points[course->count - 1] : NULL;
        struct point point = {.phase = member_text(object, "phase"),
                              .active_us = (int64_t)member_count(object, "active_us"),
                              .records = member_count(object, "records"),
                              .bytes = member_count(object, "bytes")};
        point.span.from_us = member_time(object, "time");
        point.span.to_us = point.span.from_us + point.active_us;
        if (!point.span.from_us || point.active_us <= 0 || course->count == POINTS_MOST)
            continue;
        if (last && strcmp(last->phase, point.phase) == 0 && point.span.from_us - last->span.to_us < course->width_us) {
            last->span.to_us = point.span.from_us; /* no seam between neighbours */
            if (point.active_us < course->width_us / 4) {
                last->span.to_us = point.span.to_us;
                last->active_us += point.active_us;
                last->records += point.records;
                last->bytes += point.bytes;
                continue;
            }
        }
        course->points[course->count++] = point;
    }
}

/* 1, 2 or 5 times a power of ten, so that at most four of them reach the top. */
static double nice_step(double top)
{
    static const double steps[] = {1, 2, 5};
    double unit = 1e-3;
    for (size_t i = 0; i < 3 * 24; i++) {
        if (steps[i % 3] * unit * 4 >= top)
            return steps[i % 3] * unit;
        if (i % 3 == 2)
            unit *= 10;
    }
    return top;
}

/* "2,000 records/s", "1.5 MiB/s" */
static void rate_words(const struct measure *measure, double value, char *room, size_t size)
{
    if (measure->bytes || value < 10)
        snprintf(room, size, "%.*f %s", value < 10 && value > 0 ? (value < 1 ? 2 : 1) : 0, value, measure->unit);
    else
        snprintf(room, size, "%s %s", rh_words_count((uint64_t)(value + 0.5)).text, measure->unit);
}

/* Mean of one phase; 0 when it has no points. */
static double phase_mean(const struct course *course, const struct measure *measure, const char *phase)
{
    uint64_t records = 0, bytes = 0;
    int64_t active_us = 0;
    for (size_t i = 0; i < course->count; i++)
        if (strcmp(course->points[i].phase, phase) == 0) {
            records += course->points[i].records;
            bytes += course->points[i].bytes;
            active_us += course->points[i].active_us;
        }
    return active_us ? rate(measure, records, bytes, active_us) : 0;
}

/* Grid lines with their words, and the bars. */
static void
draw_bars(struct html *html, const struct course *course, const struct measure *measure, const struct time_scale *scale)
{
    const double head = 20, bottom = 180;
    double top = 0;
    char words[80];
    for (size_t i = 0; i < course->count; i++) {
        const struct point *point = &course->points[i];
        const double value = rate(measure, point->records, point->bytes, point->active_us);
        top = value > top ? value : top;
    }
    const double step = nice_step(top > 0 ? top : 1);
    int lines = 1;
    while (lines < 4 && step * lines < top)
        lines++;
    const double height = (bottom - head) / (step * lines);
    svg_axis(html, scale, head, bottom);
    for (size_t i = 0; i < course->count; i++) {
        const struct point *point = &course->points[i];
        const double value = rate(measure, point->records, point->bytes, point->active_us) * height;
        if (value > 0)
            svg_rect(html, point->phase, time_scale_at(scale, point->span.from_us),
                     time_scale_at(scale, point->span.to_us), bottom - value, value);
    }
    for (int i = 1; i <= lines; i++) {
        svg_line(html, "grid", bottom - step * i * height);
        rate_words(measure, step * i, words, sizeof words);
        svg_text(html, "axis", 0, bottom - step * i * height - 4, words);
    }
    const double mean = phase_mean(course, measure, "copy");
    if (mean > 0)
        svg_line(html, "mean", bottom - mean * height);
}

/* One figure: a measure over time. */
static void draw_course(struct page *page, struct course *course, const struct measure *measure)
{
    struct html *html = &page->html;
    struct time_scale scale;
    char words[80], description[256];
    const double copied = phase_mean(course, measure, "copy"), compared = phase_mean(course, measure, "verify");
    for (size_t i = 0; i < course->count; i++)
        course->spans[i] = course->points[i].span;
    time_scale_init(&scale, course->spans, course->count);
    rate_words(measure, copied, words, sizeof words);
    snprintf(description, sizeof description, "Bars over time; while copying %s on average.", words);
    html_mark(html, "<figure><figcaption><strong>");
    html_text(html, measure->title);
    html_mark(html, "</strong> over time, from ");
    page_time(html, scale.parts[0].span.from_us);
    html_mark(html, ".");
    idle_words(html, &scale);
    html_mark(html, "</figcaption>");
    svg_open(page, 204, measure->title, description);
    draw_bars(html, course, measure, &scale);
    html_mark(html, "</svg><ul class=\"legend\">");
    snprintf(description, sizeof description, "copied: %s on average (dashed line)", words);
    if (copied > 0)
        legend_entry(html, "copy", description);
    rate_words(measure, compared, words, sizeof words);
    snprintf(description, sizeof description, "compared: %s on average", words);
    if (compared > 0)
        legend_entry(html, "verify", description);
    html_mark(html, "</ul></figure>");
}

/* The unit in which the bytes of this course are easy to read. */
static struct measure bytes_measure(const struct course *course)
{
    static const char *const units[] = {"KiB/s", "MiB/s", "GiB/s"};
    struct measure measure = {.title = "Volume per second", .divisor = 1024, .bytes = true};
    size_t unit = 0;
    while (unit < 2 && phase_mean(course, &measure, "copy") >= 1024) {
        measure.divisor *= 1024;
        unit++;
    }
    measure.unit = units[unit];
    return measure;
}

void draw_throughput(struct page *page, const json_t *move)
{
    struct html *html = &page->html;
    const struct measure records = {.title = "Records per second", .unit = "records/s", .divisor = 1};
    struct course *course = calloc(1, sizeof *course);
    if (!course) {
        html->status = rh_fail_memory(html->err);
        return;
    }
    read_course(course, json_object_get(move, "throughput"));
    const struct measure bytes = bytes_measure(course);
    if (course->count == 0)
        html_mark(html, "<p class=\"soft\">No speed was recorded: nothing was copied in this pass, or it was made by a "
                        "version of rehome that didn't record it.</p>");
    else
        draw_course(page, course, &records);
    if (course->count > 0 && phase_mean(course, &bytes, "copy") > 0)
        draw_course(page, course, &bytes);
    free(course);
}
