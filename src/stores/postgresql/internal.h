/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The postgresql driver's own header: Vault's table `parent_path`, `path`, `key`, `value` in a PostgreSQL.
 * Knowledge: Vault's physical/postgresql and its documentation, OpenBao's internal/physical/postgresql, PostgreSQL 15's
 * manual (libpq, system catalogs, SQLSTATE codes, snapshot synchronisation, advisory locks).
 * What a store holds is copied from its options; a session's buffers are reused. Bytes of records are borrowed as
 * rehome/store.h says.
 */
#ifndef REHOME_STORES_POSTGRESQL_H
#define REHOME_STORES_POSTGRESQL_H

#include "common.h"
#include "url.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <rehome/store.h>

#define PG_NAME_SIZE 64 /* an identifier: at most 63 bytes, and a NUL */
#define PG_LOST_MAX 64
#define PG_PARAMS_MAX 6
#define PG_VALUE_MAX 0x3fff0000ULL /* a message, a value and a parameter have less than 1 GiB */

/* A SQLSTATE as a number: its five characters in base 36. */
#define PG_DIGIT(c) ((c) >= 'A' ? (c) - 'A' + 10 : (c) - '0')
#define PG_STATE(a, b, c, d, e)                                                                                        \
    ((((PG_DIGIT(a) * 36L + PG_DIGIT(b)) * 36L + PG_DIGIT(c)) * 36L + PG_DIGIT(d)) * 36L + PG_DIGIT(e))

/* A connection that was cut while something might have been under way on it. */
struct pg_lost {
    int pid;
    char begun[40]; /* when the server began it, by its own clock */
};

struct pg_session;

/* The state of the data that all reading sessions of a pass see. It lasts as long as one of them uses it, and is made
 * anew after the store itself has written. */
struct pg_snapshot {
    pthread_mutex_t lock;
    struct pg_session *holder; /* its transaction keeps the snapshot; NULL: there is none */
    char id[80];
    uint64_t number, writes; /* which one this is; the store's writes when it was made */
    size_t users;
};

struct pg_store {
    struct rh_store base;
    struct pg_url url;
    char table[PG_NAME_SIZE], ha_table[PG_NAME_SIZE];
    char quoted[2 * PG_NAME_SIZE + 4], ha_quoted[2 * PG_NAME_SIZE + 4]; /* as identifiers */
    char host[160], port[24];                                           /* for messages */
    char address[320];
    enum rh_tls tls;
    char sslmode[16];
    bool local; /* a Unix socket */
    enum rh_side side;
    bool vault_config, make_ha, skip_create;
    int64_t connect_us, io_us;
    atomic_uint_fast64_t writes; /* units that were or may have been committed */
    struct pg_snapshot snapshot;

    pthread_mutex_t lock; /* guards what follows */
    struct pg_lost lost[PG_LOST_MAX];
    size_t lost_count;
    struct rh_limits limits;
    pthread_mutex_t settling; /* guards settled */
    bool settled;             /* connections of an earlier process were waited for */
};

/* What the catalog says about the table. */
struct pg_table {
    bool loaded, exists, ha_exists;
    char schema[PG_NAME_SIZE]; /* where it is, or would be made */
    char oid[16];
    char kind, persistence;
    char wrong[256]; /* why its shape can't be used, or empty */
    const char *remedy;
};

struct pg_session {
    struct rh_session base;
    struct pg_store *store;
    PGconn *conn; /* NULL: not connected (now) */
    int pid;
    char begun[40];
    atomic_bool cancelled;
    int64_t deadline_us; /* of the call under way; 0 = none */
    bool limited;        /* statement_timeout is set on the server */
    char tls[160];
    struct pg_table table;
    bool scanning;
    bool joined; /* in a transaction that sees the store's snapshot */
    uint64_t joined_number;
    struct rh_buf sql, text;
    struct rh_unit unit;
    struct rh_buf arrays[PG_PARAMS_MAX]; /* parameters that are being made */
};

/* Parameters of a statement; bytes are borrowed. */
struct pg_params {
    int count;
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int sizes[PG_PARAMS_MAX];
};

/* --- store.c: options and life of a store --- */
extern const struct rh_option pg_options[];
enum rh_status pg_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store);
void pg_store_close(struct rh_store *base);

/* --- connect.c: sessions --- */
enum rh_status
pg_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void pg_session_close(struct rh_session *base);
void pg_session_cancel(struct rh_session *base);
/* Begins a call: checks the context, connects again if the connection was dropped, sets the server's time limit.
 * Every RH_OK is followed by pg_leave, which returns `status`. */
enum rh_status pg_enter(struct rh_ctx *ctx, struct pg_session *session);
enum rh_status pg_leave(struct rh_ctx *ctx, struct pg_session *session, enum rh_status status);
/* Closes the connection without waiting for what is under way on it. */
void pg_drop(struct pg_session *session);
/* Remembers that something of this session's may still be under way on the server. */
void pg_remember_lost(struct pg_session *session);

/* --- tls.c --- */
/* The remedy for a TLS refusal, by libpq's words for it and, where those say nothing, by a look of our own. */
void pg_tls_hint(const struct pg_store *store, const char *message, struct rh_error *err);

/* --- wait.c: waiting for the server --- */
/* Until the connection can be read (or written, if asked), the call's deadline, a cancel, or too long a silence. */
enum rh_status pg_wait(struct rh_ctx *ctx, struct pg_session *session, bool for_write, int64_t *silent_since_us);
/* Sends what libpq holds back. */
enum rh_status pg_flush(struct rh_ctx *ctx, struct pg_session *session);
/* The results of what was sent, up to the last one; *ret_result is the last one that isn't an error. */
enum rh_status pg_finish(struct rh_ctx *ctx, struct pg_session *session, const char *what, PGresult **ret_result);
/* Asks the server to stop what it does for this session; doesn't wait. */
void pg_ask_to_stop(struct pg_session *session);

/* --- query.c: statements and errors --- */
long pg_state(const char *sqlstate);
/* Whether after this error nobody can say if a statement that commits has done so; also: the connection is gone. */
bool pg_is_cut(long state);
enum rh_status pg_fail_state(
    struct pg_session *session, struct rh_error *err, const char *what, const char *sqlstate, const char *message);
enum rh_status
pg_fail_result(struct pg_session *session, struct rh_error *err, const char *what, const PGresult *result);
/* The connection is gone. */
enum rh_status pg_fail_gone(struct pg_session *session, struct rh_error *err, const char *what);
/* Runs a statement with parameters; results are binary. Free with PQclear. */
enum rh_status pg_query(struct rh_ctx *ctx,
                        struct pg_session *session,
                        const char *what,
                        const char *sql,
                        const struct pg_params *params,
                        PGresult **ret_result);
/* Runs a formatted statement with text results; *ret_result may be NULL for none. */
enum rh_status
pg_run(struct rh_ctx *ctx, struct pg_session *session, const char *what, PGresult **ret_result, const char *fmt, ...)
    RH_PRINTF(5, 6);
/* The first column of the first row as text; RH_NOT_FOUND without a row or for NULL. */
enum rh_status pg_text(
    struct rh_ctx *ctx, struct pg_session *session, const char *what, char *out, size_t out_size, const char *fmt, ...)
    RH_PRINTF(6, 7);
/* Ends a transaction that may be open; what it did is undone. */
void pg_rollback(struct rh_ctx *ctx, struct pg_session *session);
/* 'text' as a literal, or "text" as an identifier, into out (which holds twice the text and three bytes). */
const char *pg_literal(const char *text, char *out, size_t size);
const char *pg_identifier(const char *text, char *out, size_t size);
static inline void pg_auto_result_(PGresult **result)
{
    PQclear(*result);
}
#define pg_auto_result __attribute__((cleanup(pg_auto_result_)))
static inline void pg_param(struct pg_params *params, Oid type, const void *data, size_t size)
{
    params->types[params->count] = type;
    params->values[params->count] = data;
    params->sizes[params->count++] = (int)size;
}
/* A cell of a binary or text result. */
static inline struct rh_bytes pg_cell(const PGresult *result, int row, int column)
{
    return rh_bytes(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}
enum { PG_BYTEA = 17, PG_INT8 = 20, PG_TEXT = 25, PG_BYTEA_ARRAY = 1001, PG_TEXT_ARRAY = 1009 };

/* --- key.c: keys and Vault's three columns --- */
struct pg_split {
    struct rh_bytes dir; /* the key up to and with its last '/': path is '/' and this */
    struct rh_bytes name;
    bool top;               /* parent_path is '' */
    struct rh_bytes parent; /* else it is '/' and this */
};
struct pg_split pg_split_key(struct rh_bytes key);
/* Whether three columns are as Vault splits a key. */
bool pg_split_matches(struct rh_bytes parent_path, struct rh_bytes path, struct rh_bytes name);

/* --- snapshot.c --- */
/* Puts the session into a transaction that sees the store's snapshot (reading sessions) or one of its own. */
enum rh_status pg_snapshot_join(struct rh_ctx *ctx, struct pg_session *session);
void pg_snapshot_leave(struct rh_ctx *ctx, struct pg_session *session);

/* --- shape.c: what is there, and making it --- */
enum rh_status pg_table_load(struct rh_ctx *ctx, struct pg_session *session);
/* Loads the table's description once a session and refuses an absent or wrong one. */
enum rh_status pg_table_need(struct rh_ctx *ctx, struct pg_session *session, bool for_writing);
enum rh_status pg_check_shape(const struct pg_session *session, bool for_writing, struct rh_error *err);
extern const struct rh_schema_ops pg_schema_ops;
/* --- facts.c --- */
enum rh_status pg_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
extern const struct rh_guard_ops pg_guard_ops;

/* --- read.c, get.c, write.c --- */
enum rh_status pg_get(struct rh_ctx *ctx,
                      struct rh_session *base,
                      const struct rh_dataset *dataset,
                      const struct rh_bytes *keys,
                      size_t count,
                      struct rh_batch *out);
extern const struct rh_read_ops pg_read_ops;
extern const struct rh_write_ops pg_write_ops;

/* --- key.c, too: arrays as the server's binary format has them --- */
/* Begins a one-dimensional array of `count` elements. */
enum rh_status pg_array_begin(struct rh_buf *buf, Oid type, size_t count, struct rh_error *err);
/* Appends an element made of up to two parts; NULL first part: NULL. */
enum rh_status pg_array_add(struct rh_buf *buf, const struct rh_bytes *a, struct rh_bytes b, struct rh_error *err);

#endif
