/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one status code that says what kind of thing happened, and a caller-owned record that says it
 * in words. Reporting an error never allocates.
 *
 * Rules. A function that can fail returns enum rh_status and takes `struct rh_error *err` last (store calls
 * find it in their context). Expected outcomes (below RH_E_USAGE) leave err untouched. On success err and
 * on failure the other outputs stay untouched. err may be NULL where the caller doesn't want the words.
 * Text: lower case, no full stop, failed action first, outside data in quotes; never a secret, never a
 * whole value. The remedy goes to rh_error_hint(). Only src/cli prints.
 */
#ifndef REHOME_ERROR_H
#define REHOME_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define RH_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define RH_MUST_USE __attribute__((warn_unused_result))

enum rh_status {
    RH_OK = 0,
    /* expected outcomes: no text */
    RH_END,         /* the store itself said that there is no more */
    RH_NOT_FOUND,   /* no such record, file, row */
    RH_EXISTS,      /* create-only met something that is there already */
    RH_CHANGED,     /* compare-and-set met another value */
    RH_UNSUPPORTED, /* this driver doesn't offer that */
    /* failures: err holds the words */
    RH_E_USAGE,     /* the command line is wrong */
    RH_E_PLAN,      /* the plan or configuration file is wrong */
    RH_E_IO,        /* the operating system failed a file operation */
    RH_E_FULL,      /* no room on a disk or in a store */
    RH_E_DENIED,    /* no right to do it */
    RH_E_NET,       /* connection refused, cut, timed out */
    RH_E_TLS,       /* peer not trusted, or no TLS where it is demanded */
    RH_E_AUTH,      /* the server doesn't take our credentials */
    RH_E_LIMIT,     /* a record doesn't fit the store */
    RH_E_CORRUPT,   /* what was read isn't what its format or seal demands */
    RH_E_CONFLICT,  /* the destination holds something of somebody else's */
    RH_E_MISMATCH,  /* two sides that should be equal aren't */
    RH_E_LOCKED,    /* somebody else is at work here: marker, lock, live owner */
    RH_E_REFUSED,   /* a check says no */
    RH_E_CANCELLED, /* interrupted; resumable */
    RH_E_TIMEOUT,   /* the context's deadline passed */
    RH_E_MEMORY,
    RH_E_STORE,    /* the server refused a statement for a reason of its own */
    RH_E_INTERNAL, /* a promise of our own code is broken */
};

/* Whether trying again can help. */
enum rh_retry { RH_RETRY_NEVER = 0, RH_RETRY_LATER, RH_RETRY_RECONNECT };

/* Which side of a move an error belongs to; set by the engine, decides the exit code. */
enum rh_side { RH_SIDE_NONE = 0, RH_SIDE_SOURCE, RH_SIDE_DESTINATION };

struct rh_error {
    enum rh_status status;
    enum rh_side side;
    enum rh_retry retry;
    long native;     /* errno, MySQL error number, HTTP status; 0 = none */
    char text[1024]; /* NUL-terminated, control characters already escaped */
    char hint[512];  /* the remedy, or empty */
};

static inline bool rh_failed(enum rh_status status)
{
    return status >= RH_E_USAGE;
}

/* Fills err (may be NULL) and returns `status`, so that `return rh_fail(err, ...)` reads well. */
enum rh_status rh_fail(struct rh_error *err, enum rh_status status, const char *fmt, ...) RH_PRINTF(3, 4);

/* As rh_fail, appends ": strerror" and maps the errno value to a status: ENOSPC, EDQUOT -> RH_E_FULL,
 * EACCES, EPERM, EROFS -> RH_E_DENIED, ENOMEM -> RH_E_MEMORY, else RH_E_IO. */
enum rh_status rh_fail_errno(struct rh_error *err, int errnum, const char *fmt, ...) RH_PRINTF(3, 4);

/* Out of memory; returns RH_E_MEMORY. */
enum rh_status rh_fail_memory(struct rh_error *err);

/* Prepends "words: " to the text; returns err->status (RH_E_INTERNAL for NULL). For layers that add what they were
 * doing. */
enum rh_status rh_error_prepend(struct rh_error *err, const char *fmt, ...) RH_PRINTF(2, 3);

/* Sets the remedy, replacing an earlier one. */
void rh_error_hint(struct rh_error *err, const char *fmt, ...) RH_PRINTF(2, 3);

/* The enum's name in lower-case words, for logs and JSON ("denied", "conflict"). Never NULL. */
const char *rh_status_name(enum rh_status status);

/* What the calls above return is never RH_OK: said in words which compilers and analyzers can see, since they don't
 * look into another file. (A failure with RH_OK would be a broken promise of ours.) */
static inline enum rh_status rh_surely_failed(enum rh_status status)
{
    return status != RH_OK ? status : RH_E_INTERNAL;
}
#define rh_fail(...) rh_surely_failed(rh_fail(__VA_ARGS__))
#define rh_fail_errno(...) rh_surely_failed(rh_fail_errno(__VA_ARGS__))
#define rh_fail_memory(err) rh_surely_failed(rh_fail_memory(err))
#define rh_error_prepend(...) rh_surely_failed(rh_error_prepend(__VA_ARGS__))

/* For a result that is deliberately not looked at; the reason stands beside the call. */
static inline void rh_ignore(enum rh_status status)
{
    (void)status;
}

#endif
