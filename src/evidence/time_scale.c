/* SPDX-License-Identifier: Apache-2.0 */
/* A time axis on which long idle spells take little room: a move that rested over a weekend can still be read. */
#include "time_scale.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_LEAST_US 2000000 /* shorter ones stay as they are */
#define IDLE_WIDTH 0.05

static int compare_spans(const void *a, const void *b)
{
    const struct span *left = a, *right = b;
    if (left->from_us != right->from_us)
        return left->from_us < right->from_us ? -1 : 1;
    return left->to_us == right->to_us ? 0 : left->to_us < right->to_us ? -1 : 1;
}

/* Sorts the spans and joins those with at most `gap_us` between them; the count that is left. */
static size_t join(struct span *spans, size_t count, int64_t gap_us)
{
    size_t kept = 0;
    qsort(spans, count, sizeof *spans, compare_spans);
    for (size_t i = 1; i < count; i++) {
        if (spans[i].from_us - spans[kept].to_us > gap_us)
            spans[++kept] = spans[i];
        else if (spans[i].to_us > spans[kept].to_us)
            spans[kept].to_us = spans[i].to_us;
    }
    return kept + 1;
}

/* Joins the two neighbours with the least between them; the count that is left. */
static size_t join_nearest(struct span *spans, size_t count)
{
    size_t nearest = 1;
    for (size_t i = 2; i < count; i++)
        if (spans[i].from_us - spans[i - 1].to_us < spans[nearest].from_us - spans[nearest - 1].to_us)
            nearest = i;
    spans[nearest - 1].to_us = spans[nearest].to_us;
    memmove(spans + nearest, spans + nearest + 1, (count - nearest - 1) * sizeof *spans);
    return count - 1;
}

/* The time that the spans cover, at least 1. */
static int64_t busy_us(const struct span *spans, size_t count)
{
    int64_t busy = 0;
    for (size_t i = 0; i < count; i++)
        busy += spans[i].to_us - spans[i].from_us;
    return busy > 0 ? busy : 1;
}

void time_scale_init(struct time_scale *scale, struct span *spans, size_t count)
{
    count = join(spans, count, 0);
    int64_t gap_us = busy_us(spans, count) / 5;
    if (gap_us < IDLE_LEAST_US)
        gap_us = IDLE_LEAST_US;
    count = join(spans, count, gap_us);
    while (count > SCALE_GAPS_MOST + 1)
        count = join_nearest(spans, count);
    const double room = 1 - IDLE_WIDTH * (double)(count - 1), busy = (double)busy_us(spans, count);
    double at = 0;
    scale->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            scale->parts[scale->count++] = (struct scale_part){
                .span = {spans[i - 1].to_us, spans[i].from_us},
                  .from = at, .to = at + IDLE_WIDTH, .idle = true
            };
            at += IDLE_WIDTH;
        }
        const double width = room * (double)(spans[i].to_us - spans[i].from_us) / busy;
        scale->parts[scale->count++] = (struct scale_part){.span = spans[i], .from = at, .to = at + width};
        at += width;
    }
}

double time_scale_at(const struct time_scale *scale, int64_t time_us)
{
    for (size_t i = 0; i < scale->count; i++) {
        const struct scale_part *part = &scale->parts[i];
        const int64_t length = part->span.to_us - part->span.from_us;
        if (time_us <= part->span.from_us)
            return part->from;
        if (time_us <= part->span.to_us && length > 0)
            return part->from + (part->to - part->from) * (double)(time_us - part->span.from_us) / (double)length;
    }
    return scale->parts[scale->count - 1].to;
}
