/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a move travelled, over time: a bounded number of points in the fact "samples" (docs/formats/journal.md).
 * The thread that watches the lanes measures, the lanes' own journal transactions carry what it found: nothing here
 * waits, and no record is touched. When the points are used up, all become twice as wide.
 */
#include "internal.h"

#define WIDTH_LEAST_US (250 * 1000LL)
#define PUT_PAUSE_US (1000 * 1000LL)
enum { SAMPLES_VERSION = 1 };

static const char *const kinds[] = {[SAMPLE_COPY] = "copy", [SAMPLE_VERIFY] = "verify"};

const char *sample_kind_name(enum sample_kind kind)
{
    return kinds[kind];
}

/* The bucket that a point lies in, at the present width. */
static uint64_t bucket_of(const struct samples *samples, const struct sample *point)
{
    return point->from_us / samples->width_us;
}

/* The last point of this bucket and kind, or NULL. */
static struct sample *find_last(struct samples *samples, size_t count, const struct sample *like)
{
    while (count-- > 0 && bucket_of(samples, &samples->points[count]) == bucket_of(samples, like))
        if (samples->points[count].kind == like->kind)
            return &samples->points[count];
    return NULL;
}

/* Adds a measurement to its bucket, which is made in place `*count` when there is none. */
static void merge(struct samples *samples, size_t *count, struct sample found)
{
    struct sample *point = find_last(samples, *count, &found);
    if (point) {
        point->active_us += found.active_us;
        point->records += found.records;
        point->bytes += found.bytes;
    } else {
        samples->points[(*count)++] = found;
    }
}

/* Doubles the width until there is room for one more point. */
static void widen(struct samples *samples)
{
    while (samples->count == SAMPLES_MOST) {
        size_t count = 0;
        samples->width_us *= 2;
        for (size_t i = 0; i < samples->count; i++)
            merge(samples, &count, samples->points[i]);
        samples->count = count;
    }
}

void samples_add(struct samples *samples, struct sample found)
{
    if (samples->width_us == 0)
        samples->width_us = WIDTH_LEAST_US;
    /* a clock that was set back doesn't tear the order */
    if (samples->count > 0 && found.from_us < samples->points[samples->count - 1].from_us)
        found.from_us = samples->points[samples->count - 1].from_us;
    if (!find_last(samples, samples->count, &found))
        widen(samples);
    merge(samples, &samples->count, found);
    samples->dirty = true;
}

enum rh_status samples_encode(const struct samples *samples, struct rh_buf *out, struct rh_error *err)
{
    rh_buf_clear(out);
    enum rh_status status = rh_buf_u8(out, SAMPLES_VERSION, err);
    if (status == RH_OK)
        status = rh_buf_u64be(out, (uint64_t)samples->origin_us, err);
    if (status == RH_OK)
        status = rh_buf_u64be(out, samples->width_us, err);
    for (size_t i = 0; status == RH_OK && i < samples->count; i++) {
        const struct sample *point = &samples->points[i];
        const uint64_t numbers[] = {point->from_us, point->active_us, point->records, point->bytes};
        status = rh_buf_u8(out, (uint8_t)point->kind, err);
        for (size_t n = 0; status == RH_OK && n < 4; n++)
            status = rh_buf_u64be(out, numbers[n], err);
    }
    return status;
}

enum rh_status samples_decode(struct rh_bytes bytes, struct samples *ret_samples)
{
    struct samples samples = {0};
    struct rh_cursor cur = rh_cursor(bytes);
    const bool known = rh_cursor_u8(&cur) == SAMPLES_VERSION;
    samples.origin_us = (int64_t)(rh_cursor_u64be(&cur) & INT64_MAX);
    samples.width_us = rh_cursor_u64be(&cur);
    while (known && rh_cursor_left(&cur) > 0 && samples.count < SAMPLES_MOST) {
        struct sample *point = &samples.points[samples.count++];
        const uint8_t kind = rh_cursor_u8(&cur);
        *point = (struct sample){.kind = kind == SAMPLE_VERIFY ? SAMPLE_VERIFY : SAMPLE_COPY};
        point->from_us = rh_cursor_u64be(&cur);
        point->active_us = rh_cursor_u64be(&cur);
        point->records = rh_cursor_u64be(&cur);
        point->bytes = rh_cursor_u64be(&cur);
        if (kind > SAMPLE_VERIFY || point->from_us > INT64_MAX / 2)
            return RH_E_CORRUPT;
    }
    if (!known || !rh_cursor_done(&cur) || samples.width_us == 0)
        return RH_E_CORRUPT;
    *ret_samples = samples;
    return RH_OK;
}

void samples_begin(struct move_run *move, enum sample_kind kind)
{
    struct samples *samples = &move->samples;
    rh_auto_buf struct rh_buf fact = RH_BUF_INIT;
    /* of an earlier process; a plot is no reason to stop, so one that can't be read begins anew */
    if (samples->origin_us == 0 && fact_get(move, "samples", &fact, NULL) == RH_OK)
        rh_ignore(samples_decode(rh_buf_bytes(&fact), samples));
    if (samples->origin_us == 0)
        samples->origin_us = rh_utc_us();
    samples->kind = kind;
    samples->seen_us = rh_clock_us();
    samples->seen_utc_us = rh_utc_us();
    samples->seen_records = atomic_load(&move->engine->records_done);
    samples->seen_bytes = atomic_load(&move->engine->bytes_done);
}

void samples_tick(struct move_run *move)
{
    struct samples *samples = &move->samples;
    const int64_t now_us = rh_clock_us();
    const uint64_t records = atomic_load(&move->engine->records_done), bytes = atomic_load(&move->engine->bytes_done);
    pthread_mutex_lock(&move->engine->progress_lock);
    const int64_t since_us = samples->seen_utc_us - samples->origin_us;
    struct sample found = {.kind = samples->kind,
                           .from_us = since_us > 0 ? (uint64_t)since_us : 0,
                           .active_us = (uint64_t)(now_us - samples->seen_us)};
    /* counters that were set back belong to another attempt */
    found.records = records > samples->seen_records ? records - samples->seen_records : 0;
    found.bytes = bytes > samples->seen_bytes ? bytes - samples->seen_bytes : 0;
    samples_add(samples, found);
    samples->seen_us = now_us;
    samples->seen_utc_us = rh_utc_us();
    samples->seen_records = records;
    samples->seen_bytes = bytes;
    pthread_mutex_unlock(&move->engine->progress_lock);
}

/* Whether the points should travel with the transaction that is open: once per width, at most once a second, and
 * whenever `all`. */
static bool is_due(const struct samples *samples, bool all)
{
    const int64_t pause_us = samples->width_us > PUT_PAUSE_US ? (int64_t)samples->width_us : PUT_PAUSE_US;
    return samples->dirty && (all || rh_clock_us() - samples->put_us >= pause_us);
}

enum rh_status samples_put(struct move_run *move, bool all, struct rh_error *err)
{
    struct samples *samples = &move->samples;
    rh_auto_buf struct rh_buf fact = RH_BUF_INIT;
    enum rh_status status = RH_OK;
    pthread_mutex_lock(&move->engine->progress_lock);
    const bool due = is_due(samples, all);
    if (due) {
        status = samples_encode(samples, &fact, err);
        samples->dirty = false;
        samples->put_us = rh_clock_us();
    }
    pthread_mutex_unlock(&move->engine->progress_lock);
    if (!due || status != RH_OK)
        return status;
    return rh_journal_put(move->engine->journal, move->plan->name, "samples", rh_buf_bytes(&fact), err);
}
