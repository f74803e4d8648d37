/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP proxy on loopback that can cut or swallow what goes through it: one thread, a few connections. */
#include "tcp_proxy.h"
#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS_MAX = 16 };

struct pair {
    int client, server; /* -1: closed */
};

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Sends all of it; false when the other side is gone. */
static bool pass(int to, const char *data, ssize_t size)
{
    for (ssize_t at = 0, now; at < size; at += now)
        if ((now = send(to, data + at, (size_t)(size - at), MSG_NOSIGNAL)) <= 0)
            return false;
    return true;
}

/* Ends a pair, as the test wants it. */
static void cut(struct proxy *proxy, struct pair *pair)
{
    close_end(&pair->client);
    if (!atomic_load(&proxy->leave_server))
        close_end(&pair->server);
}

/* Bytes from the server. */
static void from_server(struct proxy *proxy, struct pair *pair)
{
    static char data[65536];
    ssize_t size = recv(pair->server, data, sizeof data, 0);
    if (size <= 0) {
        close_end(&pair->server);
        close_end(&pair->client);
        return;
    }
    if (pair->client < 0)
        return;
    long long limit = atomic_load(&proxy->cut_after), passed = atomic_fetch_add(&proxy->passed, size) + size;
    long long swallow = atomic_load(&proxy->swallow_at);
    if (swallow >= 0 && passed > swallow) {
        atomic_store(&proxy->swallow_at, -1);
        cut(proxy, pair);
        return;
    }
    if (limit >= 0 && passed >= limit) {
        atomic_store(&proxy->cut_after, -1);
        cut(proxy, pair);
        return;
    }
    if (!pass(pair->client, data, size))
        cut(proxy, pair);
}

/* Bytes from the client. */
static void from_client(struct proxy *proxy, struct pair *pair)
{
    static char data[65536];
    ssize_t size = recv(pair->client, data, sizeof data, 0);
    if (size > 0) {
        atomic_fetch_add(&proxy->sent, size);
        if (proxy->watch && memmem(data, (size_t)size, proxy->watch, strlen(proxy->watch)))
            atomic_store(&proxy->seen, true);
    }
    if (size <= 0 || !pass(pair->server, data, size))
        cut(proxy, pair);
}

static void take_connection(struct proxy *proxy, struct pair pairs[static PAIRS_MAX])
{
    int client = accept(proxy->listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(proxy->target);
    if (connect(server, (const struct sockaddr *)&address, sizeof address)) {
        close(server);
        close(client);
        return;
    }
    for (int i = 0; i < PAIRS_MAX; i++)
        if (pairs[i].client < 0 && pairs[i].server < 0) {
            pairs[i] = (struct pair){.client = client, .server = server};
            return;
        }
    assert(false && "too many connections");
}

static void *run(void *user)
{
    struct proxy *proxy = user;
    struct pair pairs[PAIRS_MAX];
    memset(pairs, 0xff, sizeof pairs);
    while (!atomic_load(&proxy->stop)) {
        struct pollfd polls[1 + 2 * PAIRS_MAX] = {
            {.fd = proxy->listener, .events = POLLIN}
        };
        for (int i = 0; i < PAIRS_MAX; i++) {
            polls[1 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
            polls[2 + 2 * i] = (struct pollfd){.fd = pairs[i].server, .events = POLLIN};
        }
        if (poll(polls, 1 + 2 * PAIRS_MAX, 20) <= 0)
            continue;
        for (int i = 0; i < PAIRS_MAX; i++) {
            if (polls[1 + 2 * i].revents && pairs[i].client >= 0)
                from_client(proxy, &pairs[i]);
            if (polls[2 + 2 * i].revents && pairs[i].server >= 0)
                from_server(proxy, &pairs[i]);
        }
        if (polls[0].revents)
            take_connection(proxy, pairs);
    }
    for (int i = 0; i < PAIRS_MAX; i++) {
        close_end(&pairs[i].client);
        close_end(&pairs[i].server);
    }
    return NULL;
}

void proxy_start(struct proxy *proxy, unsigned target)
{
    *proxy = (struct proxy){.target = target, .cut_after = -1, .swallow_at = -1};
    proxy->listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int failed = bind(proxy->listener, (const struct sockaddr *)&address, sizeof address) ||
                 listen(proxy->listener, 16) || getsockname(proxy->listener, (struct sockaddr *)&address, &size);
    assert(!failed);
    (void)failed;
    proxy->port = ntohs(address.sin_port);
    pthread_create(&proxy->thread, NULL, run, proxy);
}

void proxy_stop(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
}
