/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the drivers of stores in a Vault or an OpenBao share: address and TLS, the token and its life, namespaces,
 * requests that are tried again where that can do no harm, answers as a flat list of values.
 * Knowledge: HashiCorp Vault's API documentation (authentication, namespaces, auth/token, auth/approle, sys/health).
 *
 * options.c  from an option table to a server: address, TLS, where the token comes from
 * token.c    the token: looked up, renewed, taken anew
 * client.c   connections of one thread, requests and their tries
 * answer.c   from JSON to values
 *
 * Threads: a server is shared; a client belongs to one thread, only rh_vault_client_cancel may come from another.
 */
#ifndef REHOME_STORES_VAULT_H
#define REHOME_STORES_VAULT_H

#include <common.h>
#include <json_stream.h>
#include <rehome/http.h>

enum {
    RH_VAULT_CALLS = 16,      /* requests of a client under way at once */
    RH_VAULT_TRIES = 6,       /* of a request that may be repeated */
    RH_VAULT_PATH_MAX = 8192, /* bytes of a path, as it stands in a request */
};
#define RH_VAULT_ANSWER_MOST (32U * 1024U * 1024U)

/* --- options.c --- */

/* Rows of an option table: whom to ask and as whom. The driver's own row is the address. */
extern const struct rh_option rh_vault_approle_options[];
/* clang-format off */
#define RH_ROWS_VAULT_ACCESS                                                                                           \
    {.name = "token", .type = RH_OPT_SECRET, .value_name = "SECRET", .help = "the token itself; better is token_file"}, \
    {.name = "token_file", .type = RH_OPT_PATH, .value_name = "PATH",                                                   \
     .help = "file that holds the token; read again when the token has run out"},                                       \
    {.name = "token_env", .type = RH_OPT_TEXT, .value_name = "NAME", .help = "environment variable with the token"},    \
    {.name = "token_fd", .type = RH_OPT_INT, .max = 1048576, .value_name = "N",                                         \
     .help = "open descriptor that gives the token"},                                                                   \
    {.name = "approle", .type = RH_OPT_BLOCK, .block = rh_vault_approle_options,                                        \
     .help = "log in by AppRole instead of a token"},                                                                   \
    {.name = "namespace", .type = RH_OPT_TEXT, .value_name = "PATH", .help = "namespace that all requests are for"},    \
    RH_ROW_TLS(rh_tls_options), RH_ROWS_TIMEOUTS("30s", "request"),                                               \
    {.name = "request_timeout", .type = RH_OPT_DURATION, .initial = "60s", .value_name = "TIME",                        \
     .help = "most that one request may take"}
/* clang-format on */

struct rh_vault;
/* What a configuration file of the server's own says in the place of options; NULL: nothing. */
struct rh_vault_config {
    const char *url, *ca_file, *name_space;
    const struct rh_secret *token;
};
/* From a table with RH_ROWS_VAULT_ACCESS. `url` is the address that the options give, or NULL. No connection. */
enum rh_status rh_vault_new(const struct rh_options *options,
                            const char *url,
                            const struct rh_vault_config *config,
                            struct rh_vault **ret_vault,
                            struct rh_error *err) RH_MUST_USE;
void rh_vault_free(struct rh_vault *vault);
const char *rh_vault_url(const struct rh_vault *vault);       /* "https://vault:8200" */
const char *rh_vault_namespace(const struct rh_vault *vault); /* "" = none */

/* --- answer.c --- */

/* A value of an answer, by the names that lead to it: "data.metadata.version", "data.keys[]". */
struct rh_vault_value {
    const char *path;
    enum rh_json_kind kind; /* TEXT, NUMBER, TRUE, FALSE, NULL; OBJECT and ARRAY where they begin */
    struct rh_bytes text;   /* TEXT, NUMBER; borrowed from the answer */
};
struct rh_vault_answer {
    struct rh_arena arena;
    struct rh_vault_value *values;
    size_t count, capacity;
};
/* All values of a JSON text. Secret memory unless `plain`. RH_E_CORRUPT with words; what was read before the fault
 * stays. */
enum rh_status rh_vault_answer_read(struct rh_vault_answer *answer,
                                    struct rh_bytes json,
                                    bool plain,
                                    struct rh_error *err) RH_MUST_USE;
/* The first value of that path; NULL when there is none. */
const struct rh_vault_value *rh_vault_answer_find(const struct rh_vault_answer *answer, const char *path);
/* A text, or empty with data NULL where there is none. */
struct rh_bytes rh_vault_answer_text(const struct rh_vault_answer *answer, const char *path);
/* A whole number; false where there is none. */
bool rh_vault_answer_number(const struct rh_vault_answer *answer, const char *path, uint64_t *ret_number);
bool rh_vault_answer_true(const struct rh_vault_answer *answer, const char *path);
/* {"errors":[]} and no more: what is asked for isn't there, says an engine that is. */
bool rh_vault_answer_is_empty(const struct rh_vault_answer *answer);
void rh_vault_answer_clear(struct rh_vault_answer *answer);
void rh_vault_answer_done(struct rh_vault_answer *answer);

/* --- client.c --- */

struct rh_vault_client;
struct rh_vault_call {
    struct rh_http_call http; /* first member */
    const char *method;       /* "GET", "POST", "DELETE" */
    struct rh_buf target;     /* by rh_vault_call_target */
    struct rh_bytes body;     /* borrowed until the call is done */
    bool plain;               /* the answer holds no secret */
    bool open;                /* asked without token and namespace */
    bool repeatable;          /* changes something, and twice the same as once */
    void *user;
    /* what came of it */
    enum rh_status status; /* RH_OK; RH_NOT_FOUND (with the answer of a 404); RH_CHANGED (check-and-set); or failed */
    bool unknown;          /* failed, and may have taken effect all the same */
    struct rh_error err;
    struct rh_vault_answer answer;
    /* the client's own */
    struct rh_arena arena;
    uint8_t *raw;
    size_t raw_size, raw_capacity;
    unsigned tries, connected;
    bool too_long, again, refreshed;
    int64_t retry_after_us;
};

/* Makes the call ready for another request; what it holds in memory is used again. */
void rh_vault_call_begin(struct rh_vault_call *call, const char *method);
/* "/v1/PATH", formatted from texts that can stand in a URL as they are; `path` gets what can't made so. */
enum rh_status rh_vault_call_target(struct rh_vault_call *call, struct rh_error *err, const char *fmt, ...)
    RH_PRINTF(3, 4) RH_MUST_USE;
/* Appends a path of any bytes; '/' stays. */
enum rh_status rh_vault_call_path(struct rh_vault_call *call, struct rh_bytes path, struct rh_error *err) RH_MUST_USE;
void rh_vault_call_done(struct rh_vault_client *client, struct rh_vault_call *call);

/* With the token looked up, or taken by a login. */
enum rh_status
rh_vault_client_new(struct rh_ctx *ctx, struct rh_vault *vault, struct rh_vault_client **ret_client) RH_MUST_USE;
void rh_vault_client_free(struct rh_vault_client *client);
void rh_vault_client_cancel(struct rh_vault_client *client);
const char *rh_vault_client_tls(const struct rh_vault_client *client); /* "TLSv1.3 ..., peer verified", or "" */
/* Carries one call out. `what`: the failed action. Gives the call's status, words in ctx. */
enum rh_status
rh_vault_ask(struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *call, const char *what);
/* Carries up to RH_VAULT_CALLS calls out at once. RH_OK when each has a status of its own; else nothing is known of
 * those whose status is RH_E_CANCELLED. */
enum rh_status rh_vault_ask_all(
    struct rh_ctx *ctx, struct rh_vault_client *client, struct rh_vault_call *calls, size_t count, const char *what);

#endif
