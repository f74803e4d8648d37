/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 client on libcurl: several requests of one thread at a time over connections that are kept alive,
 * bodies handed on as they come. It follows no redirects, uses no proxies, decodes nothing, and never sends a
 * request with a body twice by itself.
 * Threads: a client belongs to one thread at a time; only rh_http_cancel may be called from another.
 * Ownership: a peer and what it points to outlive its clients; a call and its bytes live until it is done or stopped.
 */
#ifndef REHOME_HTTP_H
#define REHOME_HTTP_H

#include <rehome/secret.h>
#include <stdatomic.h>

enum rh_http_tls { RH_HTTP_PLAIN, RH_HTTP_UNVERIFIED, RH_HTTP_VERIFIED };

/* Whom to talk to and how; NULL = none. */
struct rh_http_peer {
    const char *url;      /* "https://db1:8501", without a path; its host is what the certificate is checked for */
    const char *connect;  /* "host:port" to connect to instead of the URL's */
    const char *socket;   /* a Unix socket, instead of both */
    enum rh_http_tls tls; /* RH_HTTP_PLAIN goes with http:// */
    const char *ca_file, *ca_path, *cert_file, *key_file;
    unsigned min_tls; /* 10, 11, 12, 13: the lowest TLS 1.x that is taken; 0 = 12 */
    /* A whole header line that is a secret ("X-Token: abc"), and "user:password" for Basic. */
    const struct rh_secret *header, *login;
    const char *plain_header;    /* one that isn't */
    int64_t connect_us, idle_us; /* for connecting; how long the server may stay silent */
    const char *const *wanted;   /* names of headers that the caller wants to see, at most RH_HTTP_HEADERS */
};

enum { RH_HTTP_HEADERS = 4 };

enum rh_http_result {
    RH_HTTP_DONE,     /* a status came, and the whole body */
    RH_HTTP_NOT_SENT, /* the server can't have seen the whole request */
    RH_HTTP_CUT,      /* something was sent; nobody knows what the server made of it */
    RH_HTTP_STOPPED,  /* `take` said no, or rh_http_stop */
};

struct rh_http;
struct rh_http_call;
/* A piece of the body. A failure ends the call. */
typedef enum rh_status rh_http_take(struct rh_http_call *call, struct rh_bytes piece);

struct rh_http_call {
    /* the request; method "GET" or "PUT", "POST", "DELETE" (these with a body, which may be empty) */
    const char *method, *target; /* target: "/v1/kv/x?keys" */
    struct rh_bytes body;
    rh_http_take *take; /* gets the body of a status 200, and of also_status; NULL: nobody wants it */
    void *user;
    long also_status;
    /* the answer */
    bool running;
    enum rh_http_result result;
    long status;
    char header[RH_HTTP_HEADERS][64]; /* values of the peer's `wanted`, "" = absent */
    char said[400];                   /* the beginning of any other body, as text */
    char tls[96];                     /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" */
    /* the client's own */
    struct rh_http *client;
    void *easy;
    size_t sent;
    int code;
    long verify;
    char words[256];
};

enum rh_status rh_http_new(const struct rh_http_peer *peer,
                           unsigned most_calls,
                           struct rh_http **ret_http,
                           struct rh_error *err) RH_MUST_USE;
void rh_http_free(struct rh_http *http); /* stops what is running */
/* Sends the call; its answer comes during rh_http_wait. */
enum rh_status rh_http_start(struct rh_http *http, struct rh_http_call *call, struct rh_error *err) RH_MUST_USE;
/* Drives all running calls until this one is done. RH_E_CANCELLED, RH_E_TIMEOUT: it is still running. */
enum rh_status rh_http_wait(struct rh_http *http,
                            struct rh_http_call *call,
                            int64_t deadline_us,
                            const atomic_bool *cancel,
                            struct rh_error *err) RH_MUST_USE;
/* Ends a call that is running, with its connection; nothing else otherwise. */
void rh_http_stop(struct rh_http *http, struct rh_http_call *call);
/* Gives a call's resources back; it may be zeroed and used anew. */
void rh_http_call_done(struct rh_http *http, struct rh_http_call *call);
/* From another thread: waits end soon with RH_E_CANCELLED, for good. */
void rh_http_cancel(struct rh_http *http);
/* Words, remedy and kind of a call that ended without an answer (not RH_HTTP_DONE). `what`: the failed action. */
enum rh_status
rh_http_fail(const struct rh_http *http, const struct rh_http_call *call, struct rh_error *err, const char *what);

#endif
