/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fence keyring_operations' own header: a MySQL server whose variable of that name is OFF stores, removes and
 * rotates no keys; reading goes on.
 *
 * Knowledge: MySQL manual, "Keyring System Variables", "Migrating Keys Between Keyring Keystores" and
 * performance_schema "variables_info": who set a variable and when, to the microsecond (NULL since a start of the
 * server), which every account may read. That time is the epoch. OFF wants SYSTEM_VARIABLES_ADMIN and
 * ENCRYPTION_KEY_ADMIN (or SUPER). The variable is ON after each start.
 *
 * How it is held: a named lock, which the closing connection takes first and keeps; the server frees it with the
 * connection, and ends the connection when it is silent for `wait_timeout`, which is set to the lease. The server's own
 * timer is an event that each second tries for the lock, and when it gets it opens and goes. Whoever opens takes the
 * lock before, so that nobody opens what somebody else has just closed.
 */
#ifndef REHOME_FENCES_KEYRING_OPERATIONS_H
#define REHOME_FENCES_KEYRING_OPERATIONS_H

#include "mysql_link.h"
#include <rehome/fence.h>

#define KO_LOCK "rehome.keyring_operations"
#define KO_EVENT "rehome_keyring_operations"

struct ko_fence {
    struct rh_fence base;
    struct rh_mysql_server server;
    char address[320], timer_schema[200];
    int64_t lease_us;
    MYSQL *mysql; /* NULL: not connected */
    char tls[160];
    char uuid[64];
    unsigned long thread;
    bool holds;     /* this connection has the lock */
    bool before_on; /* what stood before us, from the snapshot */
    bool no_timer;  /* facts have told why */
    char epoch[40]; /* of our closing; empty: not closed */
};

/* What the server says of its variable now. */
struct ko_view {
    bool on;
    char set_at[40]; /* empty: not since the server's start */
    char set_by[128];
    bool lock_is_ours; /* the lock belongs to this connection */
};

/* --- server.c --- */
enum rh_status ko_connect(struct rh_ctx *ctx, struct rh_fence *base);
void ko_disconnect(struct ko_fence *fence);
enum rh_status ko_facts(struct rh_ctx *ctx, struct rh_fence *base, struct rh_fence_facts *ret_facts);
enum rh_status ko_look(struct ko_fence *fence, struct ko_view *ret_view, struct rh_error *err);
enum rh_status ko_fail(struct ko_fence *fence, struct rh_error *err, const char *what);
/* A formatted statement whose rows, if any, aren't wanted. */
enum rh_status ko_run(struct ko_fence *fence, struct rh_error *err, const char *what, const char *fmt, ...)
    RH_PRINTF(4, 5);
/* A formatted query's rows. */
enum rh_status
ko_rows(struct ko_fence *fence, struct rh_error *err, const char *what, MYSQL_RES **ret_rows, const char *fmt, ...)
    RH_PRINTF(5, 6);
/* The first column of the first row; RH_NOT_FOUND without a row or for NULL. */
enum rh_status ko_text(
    struct ko_fence *fence, struct rh_error *err, const char *what, char *out, size_t out_size, const char *fmt, ...)
    RH_PRINTF(6, 7);

/* Tries for the lock for some seconds; *ret_got tells. */
enum rh_status ko_lock(struct ko_fence *fence, unsigned seconds, bool *ret_got, struct rh_error *err) RH_MUST_USE;
/* Ends the session of the process that had closed the fence, and waits until it is gone. */
enum rh_status ko_end_session(struct ko_fence *fence, unsigned long thread, struct rh_error *err) RH_MUST_USE;

/* --- timer.c --- */
/* Why the server's own timer can't be had, in words; "" when it can. */
enum rh_status
ko_timer_why(struct ko_fence *fence, const char *grants, char *why, size_t why_size, struct rh_error *err) RH_MUST_USE;
/* Makes the event; a failure is only that of a connection: without right to it there is no timer, which is logged. */
enum rh_status ko_timer_make(struct ko_fence *fence, struct rh_error *err) RH_MUST_USE;
/* Takes it away; one that isn't there or isn't ours to drop is fine. */
enum rh_status ko_timer_drop(struct ko_fence *fence, struct rh_error *err) RH_MUST_USE;

/* --- gate.c --- */
enum rh_status
ko_snapshot(struct rh_ctx *ctx, struct rh_fence *base, const char *state, const char *epoch, struct rh_buf *ret_state);
enum rh_status ko_close(struct rh_ctx *ctx, struct rh_fence *base, struct rh_buf *ret_epoch);
enum rh_status ko_renew(struct rh_ctx *ctx, struct rh_fence *base);
enum rh_status ko_probe(struct rh_ctx *ctx,
                        struct rh_fence *base,
                        const char *state,
                        const char *epoch,
                        enum rh_fence_outcome *ret_outcome);
enum rh_status ko_open(struct rh_ctx *ctx,
                       struct rh_fence *base,
                       const char *state,
                       const char *epoch,
                       enum rh_fence_outcome *ret_outcome);

#endif
