/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consul driver's own header: Vault's consul storage, the keys below a path of Consul's KV store.
 * Knowledge: Vault's physical/consul (path, options, lock), Consul 1.8's HTTP API (kv, txn, session, acl, status,
 * agent) and what its servers were seen to answer.
 *
 * All records are read and written by transactions (/v1/txn), whose keys stand in a JSON body: unlike keys in a URL
 * these are taken as they are, whatever they hold. Only listings name a prefix in a URL, the store's own path.
 *
 * store.c    options and life of a store          session.c  sessions, requests, tries, words for what went wrong
 * answer.c   from JSON to records, keys, refused operations
 * listing.c  the store's keys, in sealed frames   read.c     scans and gets, pipelined
 * write.c    transactions, pipelined              fence.c    what keeps a cut attempt from taking effect later
 * place.c    facts, identity                      rights.c   whether the token may read everything
 */
#ifndef REHOME_STORES_CONSUL_H
#define REHOME_STORES_CONSUL_H

#include <json_stream.h>

#include <pthread.h>
#include "common.h"
#include <rehome/http.h>
#include <rehome/seal.h>
#include <rehome/store.h>

enum {
    CS_CALLS = 4,        /* requests of a session under way at once */
    CS_CONNECTIONS = 64, /* of a store, about; a Consul agent takes 200 from one address */
    CS_OPS = 64,         /* operations of a transaction */
    CS_PATH_MAX = 256,   /* bytes of a path, with the NUL */
    CS_TRIES = 5,        /* of a request that may be repeated */
};
#define CS_BODY_DEFAULT 524288U             /* txn_max_req_len and kv_max_value_size as Consul has them */
#define CS_ANSWER_WANT (256U * 1024U)       /* decoded bytes that an answer should have */
#define CS_ANSWER_MOST (2U * 1024U * 1024U) /* an answer is cut here, unless it is one record */

/* --- answer.c --- */

struct cs_record {
    size_t key_at, key_size, value_at, value_size; /* in the answer's data; value_size counts when it isn't kept, too */
    uint64_t flags, modify_index;
    bool has_key, has_value, replaced, locked;
    char session[40];
};
enum cs_refusal { CS_ABSENT, CS_STALE, CS_GUARD, CS_DENIED, CS_OTHER };
struct cs_refused {
    uint64_t op;
    enum cs_refusal why;
};
enum cs_answer_kind { CS_ANSWER_TXN, CS_ANSWER_KEYS };

/* What came back on a request, parsed as it came. */
struct cs_answer {
    enum cs_answer_kind kind;
    struct rh_json json;
    struct rh_base64_in base64;
    struct rh_error err;       /* why parsing stopped */
    struct rh_buf data;        /* keys and values of the records */
    struct cs_record *records; /* complete ones; `open` is the one under way */
    size_t count, capacity;
    struct cs_record open;
    struct cs_refused refused[CS_OPS];
    size_t refused_count;
    struct rh_buf what;   /* the refusal under way */
    char first_what[200]; /* the first refusal's words that isn't absent, stale or guard */
    uint64_t op;
    char member[RH_JSON_DEPTH_MAX + 1][24]; /* the name of the member that each level is at */
    bool keep_values, cut;
    enum rh_status (*add_key)(void *user, struct rh_bytes key, bool replaced, struct rh_error *err);
    void *add_user;
};
void cs_answer_begin(struct cs_answer *answer, enum cs_answer_kind kind);
enum rh_status cs_answer_feed(struct cs_answer *answer, struct rh_bytes piece);
/* After the last byte. */
enum rh_status cs_answer_end(struct cs_answer *answer, struct rh_error *err);
void cs_answer_done(struct cs_answer *answer);
struct rh_bytes cs_record_key(const struct cs_answer *answer, const struct cs_record *record);
struct rh_bytes cs_record_value(const struct cs_answer *answer, const struct cs_record *record);

/* --- the store --- */

struct cs_session;
struct cs_listing;

/* What guards a transaction against being too late (fence.c). */
enum cs_fence_state { CS_FENCE_UNKNOWN, CS_FENCE_NONE, CS_FENCE_AT };
struct cs_fence {
    enum cs_fence_state state;
    uint64_t index; /* CS_FENCE_AT: the marker's ModifyIndex that our transactions ask for */
    bool settled;   /* attempts of cut connections and earlier processes can't take effect any more */
};

struct cs_store {
    struct rh_store base;
    struct rh_http_peer peer;
    char *url, *connect, *socket, *ca_file, *ca_path, *cert_file, *key_file;
    struct rh_secret *header, *login;
    char path[CS_PATH_MAX]; /* "vault/" or "" */
    size_t path_size;
    char address[320];
    char *spool_dir;
    enum rh_side side;
    bool vault_config, trust_token;
    atomic_bool token_known; /* the servers have taken the token before */

    pthread_mutex_t lock; /* guards what follows */
    size_t session_count;
    uint64_t body_most, value_most; /* txn_max_req_len, kv_max_value_size */
    bool value_most_known;
    char cluster[200]; /* who the cluster is, once known */
    struct cs_fence fence;
    pthread_mutex_t fencing;      /* one session at a time sees to the fence */
    pthread_mutex_t listing_lock; /* one session at a time makes a listing */
    struct cs_listing *listing;   /* the latest; under `lock` */
};

/* One request of a session, with what becomes of its answer. */
struct cs_call {
    struct rh_http_call http; /* first member */
    struct cs_answer answer;
    struct rh_buf body, target;
};

/* A part of the keys that are being read: one transaction of gets, perhaps asked several times. */
struct cs_chunk {
    struct rh_buf text; /* the keys, with the path */
    size_t ends[CS_OPS];
    uint8_t left[CS_OPS]; /* numbers of the keys that are still to be answered */
    size_t count, left_count;
    size_t given; /* records of the answer that were handed out */
    unsigned tries;
    bool started, answered;
};

struct cs_session {
    struct rh_session base;
    struct cs_store *store;
    struct rh_http *http;
    struct cs_call calls[CS_CALLS];
    struct cs_call plain; /* for everything that isn't pipelined */
    struct cs_chunk chunks[CS_CALLS];
    unsigned window;   /* calls that may be under way */
    size_t head, busy; /* the chunk that is to be handed out next; chunks under way */
    size_t ops_want;   /* keys of the next chunk */
    char tls[128];
    bool scanning;
    struct rh_unit unit;
    struct cs_item *items;
    size_t item_capacity;
};

extern const char *const cs_wanted_headers[];
enum { CS_HEADER_INDEX, CS_HEADER_FILTERED, CS_HEADER_LEADER };

/* --- store.c --- */
extern const struct rh_option cs_options[];
enum rh_status cs_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store);
void cs_store_close(struct rh_store *base);

/* --- session.c --- */
enum rh_status
cs_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void cs_session_close(struct rh_session *base);
void cs_session_cancel(struct rh_session *base);
/* Sends a call: its target and body are in its buffers. */
enum rh_status cs_start(struct cs_session *session, struct cs_call *call, const char *method, struct rh_error *err);
/* Waits for it and says what came of it: RH_OK for a status 200, 404 or 409 of Consul's with a whole body, else a
 * failure with words. */
enum rh_status cs_finish(struct rh_ctx *ctx, struct cs_session *session, struct cs_call *call, const char *what);
/* Whether a failed request may simply be sent again, and the pause before that. */
bool cs_again(struct rh_ctx *ctx, const struct cs_call *call, unsigned tries);
/* Asks, again where that may help, for something that changes nothing. `call` is the session's plain one; its target
 * (and body) must be set. */
enum rh_status cs_ask(struct rh_ctx *ctx, struct cs_session *session, const char *method, const char *what);
/* A formatted GET whose answer is kept as text (at most 1 MiB); RH_NOT_FOUND for a 404. */
enum rh_status cs_get_text(
    struct rh_ctx *ctx, struct cs_session *session, const char *what, struct rh_buf *ret_text, const char *fmt, ...)
    RH_PRINTF(5, 6);
/* The same, one try. */
enum rh_status cs_get_text_once(
    struct rh_ctx *ctx, struct cs_session *session, const char *what, struct rh_buf *ret_text, const char *target);
/* As cs_get_text, with a body. */
enum rh_status cs_post_text(struct rh_ctx *ctx,
                            struct cs_session *session,
                            const char *what,
                            const char *target,
                            struct rh_bytes body,
                            struct rh_buf *ret_text);
/* Ends all pipelined calls. */
void cs_drop_calls(struct cs_session *session);

/* --- rights.c --- */
/* RH_OK when the token is known to see all keys below the path, or the user vouches for it. */
enum rh_status cs_rights_need(struct rh_ctx *ctx, struct cs_session *session);
/* Whether it may write all of them. */
enum rh_status cs_rights_write(struct rh_ctx *ctx, struct cs_session *session, enum rh_yes *ret_may);

/* --- listing.c --- */
/* A listing that is current for the range; a reference to be given back. */
enum rh_status
cs_listing_get(struct rh_ctx *ctx, struct cs_session *session, struct rh_range range, struct cs_listing **ret_listing);
void cs_listing_unref(struct cs_listing *listing);
/* X-Consul-Index after a pass: whether anything changed since the listing was made; a store that went back in time is
 * a failure. */
enum rh_status
cs_listing_compare(struct rh_ctx *ctx, struct cs_session *session, const struct cs_listing *listing, bool *ret_changed);
struct cs_cursor {
    struct cs_listing *listing;
    size_t frame;
    struct rh_buf text; /* the frame's keys */
    size_t at;
};
/* To the first key that isn't below `from` (or, `after`, above it). */
enum rh_status cs_cursor_seek(struct cs_cursor *cursor, struct rh_bytes from, bool after, struct rh_error *err);
/* The next key, without the path; borrowed until the next call. RH_END. */
enum rh_status cs_cursor_next(struct cs_cursor *cursor, struct rh_bytes *ret_key, struct rh_error *err);
void cs_cursor_done(struct cs_cursor *cursor);

/* --- read.c --- */
extern const struct rh_read_ops cs_read_ops;
/* Reads the records of keys, pipelined and in order. next_key: RH_OK with a key without the path, or RH_END. */
struct cs_fetch {
    struct cs_session *session;
    enum rh_status (*next_key)(void *user, struct rh_bytes *ret_key, struct rh_error *err);
    void *user;
    struct rh_buf held; /* a key that didn't fit into the last chunk */
    bool keep_values, ended, has_held;
};
void cs_fetch_begin(struct cs_fetch *fetch);
/* The next record that exists, and the answer its bytes are in; good until the next call. RH_END. */
enum rh_status cs_fetch_next(struct rh_ctx *ctx,
                             struct cs_fetch *fetch,
                             const struct cs_answer **ret_answer,
                             const struct cs_record **ret_record);
void cs_fetch_done(struct cs_fetch *fetch);
/* One record with its indices; RH_NOT_FOUND. Its bytes are in the session's first answer. */
enum rh_status cs_get_one(struct rh_ctx *ctx,
                          struct cs_session *session,
                          struct rh_bytes key,
                          const struct cs_answer **ret_answer,
                          const struct cs_record **ret_record);

/* --- write.c, fence.c --- */
extern const struct rh_write_ops cs_write_ops;
/* Begins a transaction's body and adds operations. */
enum rh_status cs_txn_begin(struct rh_buf *body, struct rh_error *err);
enum rh_status cs_txn_op(struct rh_buf *body,
                         const struct cs_store *store,
                         const char *verb,
                         struct rh_bytes key,
                         const uint64_t *index,
                         struct rh_error *err);
enum rh_status cs_txn_value(struct rh_buf *body, struct rh_bytes value, uint64_t flags, struct rh_error *err);
enum rh_status cs_txn_op_end(struct rh_buf *body, struct rh_error *err);
enum rh_status cs_txn_end(struct rh_buf *body, struct rh_error *err);
/* Sees to it that what was sent before can't take effect any more, and what our transactions are to ask for. */
enum rh_status cs_fence_need(struct rh_ctx *ctx, struct cs_session *session, struct cs_fence *ret_fence);
/* After a transaction was refused for its guard: RH_OK when it may be sent again with the present fence. */
enum rh_status
cs_fence_refused(struct rh_ctx *ctx, struct cs_session *session, uint64_t index, struct cs_fence *ret_fence);
/* A request's fate isn't known. */
void cs_fence_lost(struct cs_store *store);
/* The marker itself was written or removed. */
void cs_fence_forget(struct cs_store *store);

/* --- place.c --- */
enum rh_status cs_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
bool cs_overlaps(const struct rh_store *a, const struct rh_store *b);
enum rh_status cs_cluster(struct rh_ctx *ctx, struct cs_session *session, char *out, size_t size);
extern const struct rh_guard_ops cs_guard_ops;

#endif
