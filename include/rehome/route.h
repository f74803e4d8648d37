/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes: what sends a server, or traffic, to a store. A driver is one const record of functions, a route is one thing
 * that is switched. Cutting over takes every route of a plan from the moves' sources to their destinations, all of them
 * or none; rolling that back takes them the other way by the same calls.
 *
 * The engine's order, with the fences of the same servers closed up to step 3:
 *   1. snapshot   look, refuse what can't be switched; the *state* that comes back is journaled before anything changes
 *   2. prepare    all that can be done before the switch and may fail
 *   3. apply      from now on whoever starts goes to the new side, and the old one takes nothing new any more
 *   4. settle     the fence is open: whoever runs goes to the new side, too, and is seen there
 *   5. release    the old side is let go of
 * Until 5 `undo` puts back what stood before, except where the server goes to the new side already. Both undo and
 * release may be called by any process, again and again, knowing the state alone.
 *
 * A state is text without secrets and line ends, of at most RH_ROUTE_STATE_MOST bytes. Threads: a route is used by one
 * thread. Ownership: texts go to the caller's buffers.
 */
#ifndef REHOME_ROUTE_H
#define REHOME_ROUTE_H

#include <rehome/store.h>

enum { RH_ROUTE_STATE_MOST = 8000 };

struct rh_route { /* first member of every driver's own route */
    const struct rh_route_driver *driver;
};

/* What is switched, for people and the report; never secret. */
struct rh_route_facts {
    char product[64], version[128];
    char address[320];       /* "db1:3306" */
    char identity[256];      /* as of the fence that holds the same server back */
    char tls[160];           /* as in rh_facts */
    char goes_to[512];       /* where it goes to now */
    char configuration[512]; /* what tells it so at its start */
    char no_timer[256];      /* why the server doesn't finish a switch by itself; empty: it does */
};

/* From which store to which, as their facts' addresses. */
struct rh_route_ends {
    const char *from, *to;
};

enum rh_route_stand {
    RH_ROUTE_AT_OLD, /* it goes to `from`, and so will its next start */
    RH_ROUTE_AT_NEW, /* it goes to `to`, and so will its next start */
};

struct rh_route_driver {
    const char *name;
    const char *summary; /* one line for help and man page */
    const struct rh_option *options;
    const char *store; /* the one kind of store between which it switches, by its driver's name */
    /* No connection is needed; reads secrets and certificates. */
    enum rh_status (*new)(struct rh_ctx *ctx, const struct rh_options *options, struct rh_route **ret_route);
    void (*free)(struct rh_route *route);                                  /* closes the connection; NULL is fine */
    enum rh_status (*connect)(struct rh_ctx *ctx, struct rh_route *route); /* anew after a failure */
    /* Looks, and changes nothing. */
    enum rh_status (*facts)(struct rh_ctx *ctx, struct rh_route *route, struct rh_route_facts *ret_facts);
    /* Whether it could be switched, as far as a look tells; changes nothing. RH_E_REFUSED, RH_E_DENIED with the remedy.
     * *ret_stand: where it goes to now. */
    enum rh_status (*check)(struct rh_ctx *ctx,
                            struct rh_route *route,
                            const struct rh_route_ends *ends,
                            enum rh_route_stand *ret_stand);
    /* As check, and makes sure that nobody else of ours switches it until the connection ends. RH_E_LOCKED. */
    enum rh_status (*snapshot)(struct rh_ctx *ctx,
                               struct rh_route *route,
                               const struct rh_route_ends *ends,
                               struct rh_buf *ret_state);
    enum rh_status (*prepare)(struct rh_ctx *ctx, struct rh_route *route, const char *state);
    enum rh_status (*apply)(struct rh_ctx *ctx, struct rh_route *route, const char *state);
    /* A lost connection (err->retry) leaves it open whether it came about. */
    enum rh_status (*settle)(struct rh_ctx *ctx, struct rh_route *route, const char *state);
    /* The state says it all: works on a new route, too, and without a connection. */
    enum rh_status (*release)(struct rh_ctx *ctx, struct rh_route *route, const char *state);
    /* Ends the sessions of the process that was switching, then makes what is configured agree with where the server
     * goes. A failure is worth trying again as long as err->retry isn't RH_RETRY_NEVER. */
    enum rh_status (*undo)(struct rh_ctx *ctx,
                           struct rh_route *route,
                           const char *state,
                           enum rh_route_stand *ret_stand);
    /* After a switch: does what the server needs its store for, and takes it back. RH_E_DENIED: it couldn't be tried.
     */
    enum rh_status (*probe)(struct rh_ctx *ctx, struct rh_route *route);
};

/* --- src/routes/registry.c --- */
const struct rh_route_driver *rh_route_driver_find(const char *name); /* NULL when unknown */
/* NULL-terminated. */
const struct rh_route_driver *const *rh_route_drivers(void);

#endif
