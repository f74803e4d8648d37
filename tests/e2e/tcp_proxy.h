/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP proxy on loopback that can cut or swallow what goes through it. */
#ifndef REHOME_TESTS_TCP_PROXY_H
#define REHOME_TESTS_TCP_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct proxy {
    unsigned port, target;
    int listener;
    pthread_t thread;
    atomic_bool stop;
    atomic_llong cut_after;  /* bytes from the server after which both ends are closed; -1 = never */
    atomic_llong swallow_at; /* bytes from the server; the piece that goes beyond is thrown away and the client cut off,
                                once; -1 = never */
    atomic_bool leave_server; /* when cutting, the server's end stays open: it doesn't notice */
    atomic_llong passed;      /* bytes from the server so far */
    atomic_llong sent;        /* bytes from the client so far */
    const char *watch;        /* words to look for in what clients send */
    atomic_bool seen;         /* they were in one piece of it */
};

void proxy_start(struct proxy *proxy, unsigned target);
/* Before the first connection. */
static inline void proxy_watch(struct proxy *proxy, const char *words)
{
    proxy->watch = words;
}
void proxy_stop(struct proxy *proxy);

#endif
