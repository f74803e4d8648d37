/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that make the page know of each other. */
#ifndef REHOME_EVIDENCE_PAGE_H
#define REHOME_EVIDENCE_PAGE_H

#include "html.h"
#include "time_scale.h"

#include <jansson.h>
#include <rehome/base.h>

/* --- members of the report; what is missing is "", 0 or an empty list --- */
static inline const char *member_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}
static inline uint64_t member_count(const json_t *object, const char *name)
{
    const json_int_t value = json_integer_value(json_object_get(object, name));
    return value < 0 ? 0 : (uint64_t)value;
}
/* Microseconds of a stamp, 0 when there is none. */
static inline int64_t member_time(const json_t *object, const char *name)
{
    int64_t time_us = 0;
    return rh_stamp_parse(member_text(object, name), &time_us) ? time_us : 0;
}

struct page {
    struct html html;
    const json_t *report;
    int64_t made_us;
    unsigned figures; /* for ids */
};

/* --- page_words.c: our words for the report's words --- */
const char *step_words(const char *step); /* itself when unknown */
const char *outcome_words(const char *outcome);

/* --- page_move.c --- */
void page_move(struct page *page, const json_t *move, size_t number);
/* Servers of a cutover; nothing where there are none. */
void page_routes(struct page *page, const json_t *routes);
/* "2026-11-22 05:53:21 UTC" of a stamp, a dash for none. */
void page_time(struct html *html, int64_t time_us);

/* --- draw.c: figures, as wide as there is room; the letters keep their size --- */
void draw_timeline(struct page *page, const json_t *move);
void draw_throughput(struct page *page, const json_t *move);

extern const char *const page_style[]; /* style.c: its rules, NULL-terminated */

#endif
