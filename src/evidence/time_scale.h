/* SPDX-License-Identifier: Apache-2.0 */
/* A time axis on which long idle spells take little room. */
#ifndef REHOME_EVIDENCE_TIME_SCALE_H
#define REHOME_EVIDENCE_TIME_SCALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCALE_GAPS_MOST = 6, SCALE_PARTS_MOST = 2 * SCALE_GAPS_MOST + 1 };

struct span {
    int64_t from_us, to_us;
};
struct scale_part {
    struct span span;
    double from, to; /* of the width, 0 to 1 */
    bool idle;
};
struct time_scale {
    struct scale_part parts[SCALE_PARTS_MOST];
    size_t count;
};

/* Sorts and merges the spans in place; at least one must be there. */
void time_scale_init(struct time_scale *scale, struct span *spans, size_t count);
/* Where a moment stands, 0 to 1. */
double time_scale_at(const struct time_scale *scale, int64_t time_us);

#endif
