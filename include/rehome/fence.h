/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fences: what holds back a server's writers for a while, as a lease. A driver is one const record of functions, a
 * fence is one server that such a driver talks to. The engine closes all fences of a plan before it reads anything,
 * renews them while it works, and opens them; its guardian, another process, opens them when the engine can't.
 *
 * A *state* is a short line of text without secrets: what stood before us and who we are to the server. It is journaled
 * before a fence is closed and is all that another process needs for opening. An *epoch* is the name of one unbroken
 * closing, given by the server. Threads: a fence is used by one thread. Ownership: texts go to the caller's buffers.
 */
#ifndef REHOME_FENCE_H
#define REHOME_FENCE_H

#include <rehome/store.h>

struct rh_fence { /* first member of every driver's own fence */
    const struct rh_fence_driver *driver;
    /* rh_clock_us() just before the last closing was sent, and just after the last opening was answered; set by the
     * driver */
    int64_t closed_us, opened_us;
};

/* What a fence's server is, before anything is closed. Text is for people and the report, never secret. */
struct rh_fence_facts {
    char product[64], version[128];
    char address[320];   /* "db1:3306" */
    char identity[256];  /* equal for the same server however it is reached */
    char tls[160];       /* as in rh_facts */
    char loaded[512];    /* the keystore that the server has loaded, or empty: none, or it doesn't say */
    bool closed;         /* somebody else holds its writers back already; it stays so */
    char no_timer[256];  /* why the server won't open it by itself when nobody renews; empty: it will */
    char statement[128]; /* what an administrator runs to open it by hand */
};

enum rh_fence_outcome {
    RH_FENCE_OPENED,    /* by this call */
    RH_FENCE_WAS_OPEN,  /* already: by its timer, the guardian, or an administrator */
    RH_FENCE_RESTARTED, /* the server was restarted since, and is open by that */
    RH_FENCE_LEFT,      /* closed by somebody else, before us or since: it stays so */
    RH_FENCE_TAKEN,     /* another rehome holds it closed now, and opens it */
};

struct rh_fence_driver {
    const char *name;
    const char *summary;             /* one line for help and man page */
    const struct rh_option *options; /* one of them is the duration `lease` */
    /* No connection is needed; reads secrets and certificates. */
    enum rh_status (*new)(struct rh_ctx *ctx, const struct rh_options *options, struct rh_fence **ret_fence);
    /* Closes the connection; the lease runs out then. NULL is fine. */
    void (*free)(struct rh_fence *fence);
    /* Connects, or connects anew after a failure. The other calls but open need it. */
    enum rh_status (*connect)(struct rh_ctx *ctx, struct rh_fence *fence);
    /* Looks, and changes nothing. RH_E_DENIED: the account lacks rights; RH_E_REFUSED: such a server has no fence. */
    enum rh_status (*facts)(struct rh_ctx *ctx, struct rh_fence *fence, struct rh_fence_facts *ret_facts);
    /* Makes sure that nobody else of ours has this fence, until the connection ends, and tells what stands now.
     * `state`, `epoch`: of an earlier closing that may still be in force ("" = none): what it was before that one is
     * what counts. RH_E_LOCKED: another process of ours has it. */
    enum rh_status (*snapshot)(
        struct rh_ctx *ctx, struct rh_fence *fence, const char *state, const char *epoch, struct rh_buf *ret_state);
    /* Holds writers back; on return none is let in any more (one let in before may still be at work). The server itself
     * lets go a lease after the last renewal, as far as it can. After a failure it may be closed: call open. */
    enum rh_status (*close)(struct rh_ctx *ctx, struct rh_fence *fence, struct rh_buf *ret_epoch);
    /* The next lease begins now. RH_E_CONFLICT, or the connection's failure: the epoch is broken; nothing that was done
     * under it counts. */
    enum rh_status (*renew)(struct rh_ctx *ctx, struct rh_fence *fence);
    /* Looks, by a state: whether it is closed by us still. RH_FENCE_OPENED isn't an answer; RH_FENCE_TAKEN: by us. */
    enum rh_status (*probe)(struct rh_ctx *ctx,
                            struct rh_fence *fence,
                            const char *state,
                            const char *epoch,
                            enum rh_fence_outcome *ret_outcome);
    /* Puts back what the state says stood before, on this connection or a new one; may be repeated, by any process.
     * Ends the server's sessions of the process that had closed it, if that wasn't this connection: nothing of theirs
     * takes effect afterwards. `epoch`: "" when it isn't known whether the closing came about. A failure is worth
     * trying again as long as err->retry isn't RH_RETRY_NEVER. */
    enum rh_status (*open)(struct rh_ctx *ctx,
                           struct rh_fence *fence,
                           const char *state,
                           const char *epoch,
                           enum rh_fence_outcome *ret_outcome);
};

/* --- src/fences/registry.c --- */
const struct rh_fence_driver *rh_fence_driver_find(const char *name); /* NULL when unknown */
/* NULL-terminated. */
const struct rh_fence_driver *const *rh_fence_drivers(void);

#endif
