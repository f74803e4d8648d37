/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mysql driver's own header: Vault's table `vault_key`, `vault_value` in a MariaDB (10.11 on) or MySQL (8 on).
 * Knowledge: Vault's physical/mysql (table shape, lock names), MariaDB Connector/C 3.3, the servers' manuals on
 * information_schema, error numbers and sql_mode. What a store holds is copied from its options; a session's
 * statement buffer is reused. Bytes of records are borrowed as rehome/store.h says.
 */
#ifndef REHOME_STORES_MYSQL_H
#define REHOME_STORES_MYSQL_H

#include "mysql_link.h"
#include <pthread.h>
#include <rehome/store.h>

#define MY_NAME_SIZE 200 /* an identifier: 64 characters of at most 3 bytes, and a NUL */
#define MY_LOST_MAX 64
#define MY_WRITERS_MAX 160U /* more than the lanes that a plan may have */
#define MY_GET_KEYS 1000    /* keys asked for in one statement */

/* A connection that was cut while something might have been under way on it. */
struct my_lost {
    unsigned long thread;
    int64_t server_start; /* UTC seconds at which that server started, by its own clock */
};

struct my_session;

struct my_store {
    struct rh_store base;
    struct rh_mysql_server server;
    char database[MY_NAME_SIZE], table[MY_NAME_SIZE], lock_table[MY_NAME_SIZE + 8];
    char qualified[2 * MY_NAME_SIZE + 8]; /* `database`.`table` */
    char address[320];
    enum rh_side side;
    bool need_encryption;

    pthread_mutex_t lock; /* guards what follows, and each session's fd and deadline */
    pthread_cond_t wake;
    struct my_session *sessions;
    struct my_lost lost[MY_LOST_MAX];
    size_t lost_count;
    pthread_mutex_t settling; /* guards settled */
    bool settled;             /* connections of an earlier process were waited for */
    struct rh_limits limits;
    bool watching, stop_watching; /* the thread that holds calls to their deadlines */
    pthread_t watcher;
};

/* What information_schema says about the table. */
struct my_table {
    bool loaded, database_exists, table_exists;
    bool transactional, primary; /* primary: the key's index is the primary key */
    char engine[64], created[40], kind[40];
    char wrong[256]; /* why its shape can't be used, or empty */
    uint64_t key_bytes, value_bytes;
};

struct my_session {
    struct rh_session base;
    struct my_store *store;
    struct my_session *next;
    MYSQL *mysql; /* NULL: not connected (now) */
    int fd;       /* of the connection, -1: none; guarded by the store's lock */
    unsigned long thread;
    int64_t server_start;
    bool mariadb;
    unsigned lower_case;
    uint64_t max_packet;
    char tls[160];
    int64_t deadline_us; /* of the call under way; 0 = none; guarded by the store's lock */
    bool timed_out, cancelled;
    struct rh_buf sql;
    MYSQL_BIND *bind; /* two for each row of a writing statement */
    size_t bind_capacity;
    struct my_table table;
    size_t get_keys; /* asked for in the next statement of a get that has a bound; 0: none was sent yet */
    bool scanning;
    struct rh_unit unit;
};

/* --- store.c: options and life of a store --- */
extern const struct rh_option my_options[];
enum rh_status my_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store);
void my_store_close(struct rh_store *base);

/* --- connect.c: sessions --- */
enum rh_status
my_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session);
void my_session_close(struct rh_session *base);
void my_session_cancel(struct rh_session *base);
/* Begins a call: checks the context, connects again if the connection was dropped on purpose, arms the deadline.
 * Every RH_OK is followed by my_leave, which returns `status` (or RH_E_TIMEOUT if that was the cause). */
enum rh_status my_enter(struct rh_ctx *ctx, struct my_session *session);
enum rh_status my_leave(struct rh_ctx *ctx, struct my_session *session, enum rh_status status);
/* Ends all traffic on the connection; whatever waits for it fails. */
void my_session_cut(struct my_session *session);
/* Closes the connection without waiting for what is under way on it. */
void my_drop(struct my_session *session);
/* Remembers that something of this session's may still be under way on the server. */
void my_remember_lost(struct my_session *session);

/* --- query.c: statements and errors --- */
/* Fills err from the connection's last error. `what`: the failed action, "reading". */
enum rh_status my_fail(struct my_session *session, struct rh_error *err, const char *what);
enum rh_status my_fail_number(
    struct my_session *session, struct rh_error *err, const char *what, unsigned number, const char *message);
/* A quoted literal, safe for any bytes under this driver's sql_mode and character set. */
enum rh_status my_sql_literal(struct rh_buf *sql, struct rh_bytes bytes, struct rh_error *err);
/* Runs a formatted statement without rows. */
enum rh_status my_run(struct my_session *session, struct rh_error *err, const char *what, const char *fmt, ...)
    RH_PRINTF(4, 5);
/* Runs a formatted query and keeps its rows; free with mysql_free_result. */
enum rh_status
my_rows(struct my_session *session, struct rh_error *err, const char *what, MYSQL_RES **ret_rows, const char *fmt, ...)
    RH_PRINTF(5, 6);
/* The first column of the first row as text; RH_NOT_FOUND without a row or for NULL. */
enum rh_status my_text(struct my_session *session,
                       struct rh_error *err,
                       const char *what,
                       char *out,
                       size_t out_size,
                       const char *fmt,
                       ...) RH_PRINTF(6, 7);

/* --- shape.c: what is there, and making it --- */
enum rh_status my_table_load(struct my_session *session, struct rh_error *err);
/* Loads the table's description once a session and refuses an absent or wrong one. */
enum rh_status my_table_need(struct my_session *session, bool for_writing, struct rh_error *err);
enum rh_status my_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
/* encryption of the table as the server tells it; RH_UNKNOWN where we may not look */
enum rh_yes my_table_encrypted(struct my_session *session);
extern const struct rh_schema_ops my_schema_ops;
extern const struct rh_guard_ops my_guard_ops;

/* --- read.c, write.c --- */
extern const struct rh_read_ops my_read_ops;
extern const struct rh_write_ops my_write_ops;

#endif
