/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that goes to stderr: log events, errors, the progress line. One lock keeps them apart. */
#include "cli.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define METER_TICK_US 250000
#define METER_DELAY_US 1000000
#define METER_PLAIN_US 10000000
#define METER_SAMPLES 41 /* a sliding window of ten seconds */

static pthread_mutex_t talk_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool line_shown; /* a progress line stands on the terminal; under talk_mutex */
static bool json_lines; /* every line on stderr is a JSON object; set before threads */

/* Takes the progress line off the terminal. */
static void line_clear(void)
{
    if (line_shown)
        fputs("\r\033[K", stderr);
    line_shown = false;
}

void rh_talk_lock(void)
{
    pthread_mutex_lock(&talk_mutex);
    line_clear();
}

void rh_talk_unlock(void)
{
    pthread_mutex_unlock(&talk_mutex);
}

void rh_put_clean(FILE *out, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;
        if (c1) {
            fprintf(out, "\\x%02x\\x%02x", at[0], at[1]);
            at++;
        } else if (*at < 0x20 || *at == 0x7f) {
            fprintf(out, "\\x%02x", *at);
        } else {
            fputc(*at, out);
        }
    }
}

void rh_talk(const char *fmt, ...)
{
    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (json_lines) {
        rh_log(RH_LOG_INFO, line);
        return;
    }
    rh_talk_lock();
    rh_put_clean(stderr, line);
    fputc('\n', stderr);
    rh_talk_unlock();
}

void rh_talk_error(const struct rh_error *err)
{
    const char *text = err->text[0] ? err->text : rh_status_name(err->status);
    if (json_lines) {
        rh_log(RH_LOG_ERROR, text, {"status", rh_status_name(err->status)}, {"hint", err->hint});
        return;
    }
    rh_talk("rehome: %s", text);
    if (err->hint[0])
        rh_talk("  fix: %s", err->hint);
}

bool rh_talk_is_json(void)
{
    return json_lines;
}

/* --- log sinks --- */

/* A line of text: stamp, level, message, fields. */
static void sink_text(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    static const char *const names[] = {"[TRACE]", "[DEBUG]", "[INFO] ", "[WARN] ", "[ERROR]"};
    (void)user;
    rh_talk_lock();
    fprintf(stderr, "%s %s ", rh_stamp_us(rh_utc_us()).text, names[level]);
    rh_put_clean(stderr, message);
    for (; fields && fields->name; fields++) {
        fprintf(stderr, " %s=", fields->name);
        rh_put_clean(stderr, fields->value ? fields->value : "");
    }
    fputc('\n', stderr);
    rh_talk_unlock();
}

/* A JSON object a line, with the member names that Vault's JSON log has. */
static void sink_json(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    static const char *const names[] = {"trace", "debug", "info", "warn", "error"};
    (void)user;
    json_t *line = json_object();
    if (!line)
        return;
    json_object_set_new(line, "@level", json_string(names[level]));
    json_object_set_new(line, "@message", json_string(message));
    json_object_set_new(line, "@timestamp", json_string(rh_stamp_us(rh_utc_us()).text));
    for (; fields && fields->name; fields++)
        json_object_set_new(line, fields->name, json_string(fields->value ? fields->value : ""));
    rh_talk_lock();
    json_dumpf(line, stderr, JSON_COMPACT | JSON_ENSURE_ASCII);
    fputc('\n', stderr);
    rh_talk_unlock();
    json_decref(line);
}

/* A level's name as Vault takes it too; -1 when unknown. */
static int level_of(const char *name)
{
    static const struct {
        const char *name;
        enum rh_log_level level;
    } levels[] = {
        {"trace",   RH_LOG_TRACE},
        {"debug",   RH_LOG_DEBUG},
        {"info",    RH_LOG_INFO },
        {"notice",  RH_LOG_INFO },
        {"",        RH_LOG_INFO },
        {"warn",    RH_LOG_WARN },
        {"warning", RH_LOG_WARN },
        {"err",     RH_LOG_ERROR},
        {"error",   RH_LOG_ERROR},
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcasecmp(levels[i].name, name) == 0)
            return (int)levels[i].level;
    return -1;
}

static char early[256]; /* the first warning of the start, before threads */

/* Remembers it. */
static void sink_early(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    (void)user;
    (void)level;
    (void)fields;
    if (!early[0])
        snprintf(early, sizeof early, "%s", message);
}

void rh_talk_early(void)
{
    rh_log_set(sink_early, NULL, RH_LOG_WARN);
}

enum rh_status rh_talk_start(const struct rh_options *options, struct rh_error *err)
{
    if (!rh_option_in(options, "log-level")) {
        rh_log_set(NULL, NULL, RH_LOG_ERROR);
        return RH_OK;
    }
    const char *name = rh_options_text(options, "log-level");
    int level = level_of(name ? name : "info");
    if (level < 0) {
        rh_error_hint(err, "one of trace, debug, info, warn, error");
        return rh_fail(err, RH_E_USAGE, "unknown log level '%s'", RH_SHOW(rh_bytes_text(name)));
    }
    const char *format = rh_options_text(options, "log-format");
    bool json = format && strcasecmp(format, "json") == 0;
    if (format && !json && strcasecmp(format, "standard") != 0 && format[0]) {
        enum rh_status status = rh_fail(err, RH_E_USAGE, "unknown log format '%s'", RH_SHOW(rh_bytes_text(format)));
        rh_error_hint(err, "standard or json");
        return status;
    }
    json_lines = json;
    rh_log_set(json ? sink_json : sink_text, NULL, (enum rh_log_level)level);
    if (early[0])
        rh_log(RH_LOG_WARN, early);
    return RH_OK;
}

/* --- progress --- */

struct rh_sample {
    int64_t at_us;
    uint64_t records, bytes;
};
struct rh_meter {
    struct rh_engine *engine;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop; /* under mutex */
    bool terminal;
    char place[200]; /* move and step of the samples */
    struct rh_sample samples[METER_SAMPLES];
    size_t sample_count; /* ever taken at this place */
    int64_t plain_us;    /* when the last plain line was written */
};

/* Adds a sample and gives the oldest one of the window. */
static struct rh_sample meter_sample(struct rh_meter *meter, const struct rh_progress *now, int64_t at_us)
{
    char place[sizeof meter->place];
    snprintf(place, sizeof place, "%s %s", now->move, now->step);
    if (strcmp(place, meter->place) != 0) {
        memcpy(meter->place, place, sizeof place);
        meter->sample_count = 0;
    }
    struct rh_sample sample = {.at_us = at_us, .records = now->records_done, .bytes = now->bytes_done};
    meter->samples[meter->sample_count++ % METER_SAMPLES] = sample;
    return meter->sample_count > METER_SAMPLES ? meter->samples[meter->sample_count % METER_SAMPLES]
                                               : meter->samples[0];
}

/* What grew per second since the first sample; 0 when the window is too short to say. */
static double meter_rate(uint64_t now, uint64_t first, int64_t window_us)
{
    return window_us > METER_TICK_US / 2 && now > first ? (double)(now - first) / ((double)window_us / 1e6) : 0;
}

/* "move copy: 12,345 of 100,000 records, 12 %, 8,123/s, 7.9 MiB/s, 11 s left". Out of memory: fewer words. */
static void meter_words(const struct rh_progress *now, struct rh_sample first, int64_t at_us, struct rh_buf *out)
{
    double rate = meter_rate(now->records_done, first.records, at_us - first.at_us);
    double bytes = meter_rate(now->bytes_done, first.bytes, at_us - first.at_us);
    uint64_t total = now->records_total, done = now->records_done;
    rh_ignore(rh_buf_format(out, NULL, "%s %s: %s", now->move, now->step, rh_words_count(done).text));
    if (total)
        rh_ignore(rh_buf_format(out, NULL, " of %s records, %.0f %%", rh_words_count(total).text,
                                (double)done * 100.0 / (double)total));
    else
        rh_ignore(rh_buf_text(out, " records", NULL));
    if (rate > 0)
        rh_ignore(rh_buf_format(out, NULL, ", %s/s", rh_words_count((uint64_t)rate).text));
    if (bytes > 0)
        rh_ignore(rh_buf_format(out, NULL, ", %s/s", rh_words_bytes((uint64_t)bytes).text));
    if (rate > 0 && total > done)
        rh_ignore(rh_buf_format(out, NULL, ", %s left",
                                rh_words_duration((int64_t)((double)(total - done) / rate * 1e6)).text));
}

/* Shows one tick: rewrites the line on a terminal, else a plain line per interval. */
static void meter_tick(struct rh_meter *meter)
{
    struct rh_progress now = {.records_total = 0};
    rh_auto_buf struct rh_buf words = RH_BUF_INIT;
    rh_engine_progress(meter->engine, &now);
    int64_t at_us = rh_clock_us();
    if (!now.running || !now.step[0])
        return;
    struct rh_sample first = meter_sample(meter, &now, at_us);
    if (!meter->terminal && at_us - meter->plain_us < METER_PLAIN_US)
        return;
    meter_words(&now, first, at_us, &words);
    meter->plain_us = at_us;
    if (json_lines) {
        rh_log(RH_LOG_INFO, rh_buf_cstr(&words), {"move", now.move}, {"step", now.step});
        return;
    }
    struct winsize size = {.ws_col = 0};
    if (meter->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && words.size >= size.ws_col)
        words.size = size.ws_col - 1u; /* a line that wraps couldn't be taken off again */
    rh_talk_lock();
    rh_put_clean(stderr, rh_buf_cstr(&words));
    if (!meter->terminal)
        fputc('\n', stderr);
    line_shown = meter->terminal;
    fflush(stderr);
    rh_talk_unlock();
}

/* Waits until told to stop (true) or until the time has passed. */
static bool meter_wait(struct rh_meter *meter, int64_t time_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanoseconds = until.tv_nsec + time_us % 1000000 * 1000;
    until.tv_sec += time_us / 1000000 + nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&meter->mutex);
    int timed_out = 0;
    while (!meter->stop && !timed_out)
        timed_out = pthread_cond_timedwait(&meter->wake, &meter->mutex, &until);
    bool stop = meter->stop;
    pthread_mutex_unlock(&meter->mutex);
    return stop;
}

/* The thread: nothing in the first second, then a tick four times a second. */
static void *meter_main(void *user)
{
    struct rh_meter *meter = user;
    int64_t wait_us = METER_DELAY_US;
    while (!meter_wait(meter, wait_us)) {
        meter_tick(meter);
        wait_us = METER_TICK_US;
    }
    return NULL;
}

struct rh_meter *rh_meter_start(struct rh_engine *engine)
{
    struct rh_meter *meter = calloc(1, sizeof *meter);
    if (!meter)
        return NULL;
    const char *term = getenv("TERM");
    pthread_condattr_t attr;
    meter->engine = engine;
    meter->terminal = !json_lines && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    meter->plain_us = rh_clock_us();
    pthread_mutex_init(&meter->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&meter->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&meter->thread, NULL, meter_main, meter) != 0) {
        free(meter);
        return NULL;
    }
    return meter;
}

void rh_meter_stop(struct rh_meter *meter)
{
    if (!meter)
        return;
    pthread_mutex_lock(&meter->mutex);
    meter->stop = true;
    pthread_cond_signal(&meter->wake);
    pthread_mutex_unlock(&meter->mutex);
    pthread_join(meter->thread, NULL);
    rh_talk_lock();
    rh_talk_unlock();
    pthread_cond_destroy(&meter->wake);
    pthread_mutex_destroy(&meter->mutex);
    free(meter);
}
