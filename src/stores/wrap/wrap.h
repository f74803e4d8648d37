/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decorators for tests: a driver that hands everything on to another one, makes the k-th call of a kind fail, and can
 * slow calls down. There are a few slots, since a driver is data and its functions carry no context of their own.
 * Threads: set a slot up before its stores are opened; calls are counted over all threads.
 */
#ifndef REHOME_STORES_WRAP_H
#define REHOME_STORES_WRAP_H

#include <rehome/store.h>

enum rh_wrap_call {
    RH_WRAP_SESSION_OPEN,
    RH_WRAP_FACTS,
    RH_WRAP_SCAN_OPEN,
    RH_WRAP_SCAN_NEXT,
    RH_WRAP_GET,
    RH_WRAP_BEGIN,
    RH_WRAP_PUT,
    RH_WRAP_REMOVE,
    RH_WRAP_COMMIT,
    RH_WRAP_SCHEMA,      /* missing, before, undo */
    RH_WRAP_FINGERPRINT, /* and the marker calls */
    RH_WRAP_CALLS
};

struct rh_wrap_fault {
    enum rh_wrap_call call;
    uint64_t at;           /* the k-th call of that kind over all sessions, from 1; 0 = none */
    bool for_good;         /* and every later one */
    bool after;            /* carry the call out first, then fail: a commit whose answer is lost is UNKNOWN */
    enum rh_status status; /* RH_E_NET fails as a cut connection does, with RH_RETRY_RECONNECT */
    const char *text;      /* NULL: "injected fault" */
};

struct rh_wrap_spec {
    struct rh_wrap_fault faults[8];
    size_t fault_count;
    int64_t throttle_us[RH_WRAP_CALLS]; /* slept before each call of that kind */
};

#define RH_WRAP_SLOTS 4
/* A driver like `inner`, under its name, with these faults. Good until the slot is used again; the spec is copied. */
const struct rh_driver *rh_wrap_fault(unsigned number, const struct rh_driver *inner, const struct rh_wrap_spec *spec);
/* How often that kind of call was made on the slot since rh_wrap_fault. */
uint64_t rh_wrap_count(unsigned number, enum rh_wrap_call call);

#endif
