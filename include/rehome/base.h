/* SPDX-License-Identifier: Apache-2.0 */
/* Clock, randomness, log events, small file helpers. Threads: all of these may be called from any thread. */
#ifndef REHOME_BASE_H
#define REHOME_BASE_H

#include <rehome/bytes.h>
#include <sys/types.h>

/* --- clock --- */
int64_t rh_clock_us(void); /* monotonic, for durations and deadlines */
int64_t rh_utc_us(void);   /* microseconds since 1970, for stamps */
int64_t rh_utc_ns(void);   /* nanoseconds since 1970 */
struct rh_stamp {
    char text[40];
};
/* "2026-11-22T02:29:11.123456Z"; RFC 3339. */
struct rh_stamp rh_stamp_us(int64_t utc_us);
/* "2026-11-22T02:29:11.123456789Z": as Go prints time.RFC3339Nano, trailing zeros of the fraction cut. */
struct rh_stamp rh_stamp_ns(int64_t utc_ns);
/* What rh_stamp_us wrote, back as microseconds; false for anything else. */
bool rh_stamp_parse(const char *text, int64_t *ret_utc_us);
void rh_sleep_us(int64_t duration_us);

/* --- numbers in words, for people --- */
struct rh_words {
    char text[48];
};
struct rh_words rh_words_count(uint64_t count);     /* "12,345" */
struct rh_words rh_words_bytes(uint64_t bytes);     /* "12.3 MiB" */
struct rh_words rh_words_duration(int64_t time_us); /* "850 ms", "12.3 s", "4m05s" */

/* --- randomness: from the system only --- */
enum rh_status rh_random(void *out, size_t size, struct rh_error *err) RH_MUST_USE;

/* --- log events --- */
enum rh_log_level { RH_LOG_TRACE, RH_LOG_DEBUG, RH_LOG_INFO, RH_LOG_WARN, RH_LOG_ERROR };
struct rh_log_field {
    const char *name, *value;
};
/* Sinks are called under a lock, one event at a time. `fields` ends with a NULL name. */
typedef void rh_log_sink(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields);
/* Set once at start, before threads. Without a sink events go nowhere. */
void rh_log_set(rh_log_sink *sink, void *user, enum rh_log_level least);
bool rh_log_wanted(enum rh_log_level level);
void rh_log_event(enum rh_log_level level, const char *message, const struct rh_log_field *fields);
/* rh_log(RH_LOG_INFO, "copied key", {"path", text}, {"move", name}); a message alone is fine too. */
/* clang-format off */
#define rh_log(level, message, ...)                                                                       \
    do {                                                                                                  \
        if (rh_log_wanted(level)) {                                                                       \
            const struct rh_log_field fields_[] = {{"message", (message)}, ##__VA_ARGS__, {NULL, NULL}};   \
            rh_log_event((level), fields_[0].value, fields_ + 1);                                         \
        }                                                                                                 \
    } while (0)
/* clang-format on */

/* --- files --- */
/* Whole file through an open directory (AT_FDCWD allowed) into buf (cleared first), at most `limit` bytes (RH_E_LIMIT
 * above). RH_NOT_FOUND when absent. */
enum rh_status
rh_file_read(int dir_fd, const char *name, size_t limit, struct rh_buf *buf, struct rh_error *err) RH_MUST_USE;
/* Temporary in the same folder, write, fsync, rename over, fsync the folder. Mode 0600 unless told. */
enum rh_status
rh_file_replace(int dir_fd, const char *name, struct rh_bytes content, mode_t mode, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_write_all(int fd, struct rh_bytes content, struct rh_error *err) RH_MUST_USE;
/* mkdir -p with `mode` for the parts it makes; RH_OK when it is there already and is a directory. */
enum rh_status rh_make_dirs(const char *path, mode_t mode, struct rh_error *err) RH_MUST_USE;

/* --- partial files: NAME's next content beside it, under a lock that its writer holds as long as it lives --- */
/* A new, empty, locked 0600 file in an open folder; what a killed writer left is taken away. RH_E_LOCKED: a live one.
 */
enum rh_status rh_partial_make(int folder, const char *name, int *ret_fd, struct rh_error *err) RH_MUST_USE;
/* Takes away what a killed writer left. RH_E_LOCKED: a live one. */
enum rh_status rh_partial_sweep(int folder, const char *name, struct rh_error *err) RH_MUST_USE;
/* Whether a live writer holds it. */
bool rh_partial_busy(int folder, const char *name);
/* Removes the name, if it is this file's still, closes and sets *fd to -1, which is fine before too. */
void rh_partial_drop(int folder, const char *name, int *fd);
/* Whether that name in the folder is this descriptor's file. */
bool rh_file_is(int folder, const char *name, int fd);

/* --- the nearest known word: for "unknown option 'pth'; did you mean 'path'?" --- */
/* `words` ends with NULL. NULL when nothing is near (more than a third of the letters differ). */
const char *rh_nearest(const char *word, const char *const *words);

/* --- places where a test build lets itself be killed (docs/testing.md). In a release build this is nothing. ---
 * RH_CRASH_AT="journal:17" kills the process (SIGKILL) at the 17th passing of a point named "journal";
 * RH_STOP_AT="copy:3" stops it (SIGSTOP) there. */
#ifdef RH_TEST_HOOKS
void rh_crash_point(const char *name);
#else
static inline void rh_crash_point(const char *name)
{
    (void)name;
}
#endif

#endif
