/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a MariaDB or MySQL server: account, address and TLS, connecting without a downgrade, and the servers'
 * error numbers in our words. Used by whoever talks to such a server. A server's texts are copied from its options;
 * threads: a server is only read while links exist, a link is one thread's.
 * Knowledge: Connector/C 3.3 checks chain and host name only with MYSQL_OPT_SSL_VERIFY_SERVER_CERT, falls back to
 * plain text unless MYSQL_OPT_SSL_ENFORCE, verifies a chain as soon as a CA is given, and takes "localhost" for the
 * Unix socket unless the protocol is set.
 */
#ifndef REHOME_STORES_COMMON_MYSQL_H
#define REHOME_STORES_COMMON_MYSQL_H

#include "common.h"
#include <mysql.h>
#include <stdarg.h>

/* Where a server is and how to log in. */
struct rh_mysql_server {
    char *host, *socket, *user; /* socket: NULL = by host and port */
    unsigned port;
    struct rh_secret *password; /* NULL: none */
    enum rh_tls tls;
    struct rh_tls_files files;
    bool vault_config;        /* remedies name Vault's options */
    unsigned connect_s, io_s; /* whole seconds, as libmariadb counts */
};

/* --- options.c --- */
/* "host", "host:port", "[v6]:port" of the option `address`. */
enum rh_status rh_mysql_take_address(struct rh_mysql_server *server,
                                     const struct rh_options *options,
                                     struct rh_error *err) RH_MUST_USE;
/* The rows of `host`, `port`, `socket` and `user`, and what they say: where the server is, and its name for messages.
 */
#define RH_ROWS_MYSQL_PLACE                                                                                            \
    {.name = "host", .type = RH_OPT_TEXT, .initial = "127.0.0.1", .value_name = "HOST", .help = "the server"},         \
        {.name = "port",                                                                                               \
         .type = RH_OPT_INT,                                                                                           \
         .initial = "3306",                                                                                            \
         .min = 1,                                                                                                     \
         .max = 65535,                                                                                                 \
         .value_name = "N",                                                                                            \
         .help = "its port"},                                                                                          \
        {.name = "socket",                                                                                             \
         .type = RH_OPT_PATH,                                                                                          \
         .value_name = "PATH",                                                                                         \
         .help = "its Unix socket, instead of host and port"},                                                         \
    {                                                                                                                  \
        .name = "user", .type = RH_OPT_TEXT, .flags = RH_OPT_REQUIRED, .value_name = "NAME", .help = "account"         \
    }
enum rh_status rh_mysql_take_place(struct rh_mysql_server *server,
                                   const struct rh_options *options,
                                   char *address,
                                   size_t address_size,
                                   struct rh_error *err) RH_MUST_USE;
/* The block `tls` and the option of a CA outside it (vault_ca; NULL: none): files and what is asked for. A socket has
 * none. To be called when the socket is known; warnings are the caller's. */
enum rh_status rh_mysql_take_tls(struct rh_mysql_server *server,
                                 const struct rh_options *options,
                                 const char *vault_ca_name,
                                 const char *vault_ca,
                                 struct rh_error *err) RH_MUST_USE;
void rh_mysql_server_done(struct rh_mysql_server *server);

/* --- link.c --- */
/* Connects and logs in; *ret_mysql is to be closed with mysql_close. tls: what protects the connection, in words. */
enum rh_status rh_mysql_connect(const struct rh_mysql_server *server,
                                MYSQL **ret_mysql,
                                char tls[static 160],
                                struct rh_error *err) RH_MUST_USE;

/* --- statement.c --- */
/* A connection as statements see it: its owner has the words for a failure, the connection's being gone included. */
struct rh_mysql_talk {
    MYSQL *mysql; /* NULL: gone */
    enum rh_status (*fail)(void *owner, struct rh_error *err, const char *what);
    void *owner;
};
static inline void rh_mysql_auto_rows_(MYSQL_RES **rows)
{
    if (*rows)
        mysql_free_result(*rows);
}
#define rh_mysql_auto_rows __attribute__((cleanup(rh_mysql_auto_rows_)))
/* A formatted statement whose rows, if any, aren't wanted. `what`: the failed action. */
enum rh_status
rh_mysql_run(const struct rh_mysql_talk *talk, struct rh_error *err, const char *what, const char *fmt, va_list args)
    RH_PRINTF(4, 0);
/* A formatted query's rows; free with mysql_free_result. */
enum rh_status rh_mysql_rows(const struct rh_mysql_talk *talk,
                             struct rh_error *err,
                             const char *what,
                             MYSQL_RES **ret_rows,
                             const char *fmt,
                             va_list args) RH_PRINTF(5, 0);
/* The first column of the first row; RH_NOT_FOUND without a row or for NULL. */
enum rh_status rh_mysql_text(const struct rh_mysql_talk *talk,
                             struct rh_error *err,
                             const char *what,
                             char *out,
                             size_t out_size,
                             const char *fmt,
                             va_list args) RH_PRINTF(6, 0);

/* --- lock.c --- */
/* A named lock that a session of ours holds as long as it works on a server, and the words of failures with it. */
struct rh_mysql_lock {
    const char *name;                      /* no quotes in it */
    const char *taking, *looking, *ending; /* failed actions: "taking the fence's lock", ... */
    const char *session;                   /* "the session that closed" (the server's address follows) */
    int64_t end_limit_us;                  /* how long a session that was told to end may take */
};
/* Tries for it for some seconds, unless this connection has it; *holds tells. */
enum rh_status rh_mysql_lock_take(const struct rh_mysql_talk *talk,
                                  const struct rh_mysql_lock *lock,
                                  unsigned seconds,
                                  bool *holds,
                                  struct rh_error *err) RH_MUST_USE;
/* Ends that session if it holds the lock, and waits until what it had sent is over. */
enum rh_status rh_mysql_lock_end_holder(const struct rh_mysql_talk *talk,
                                        const struct rh_mysql_lock *lock,
                                        unsigned long thread,
                                        const char *address,
                                        struct rh_error *err) RH_MUST_USE;

/* --- words.c --- */
/* Whether the server refused, rather than went away. */
bool rh_mysql_is_refusal(const struct rh_error *err);
/* Whether an error number says that the connection is gone. */
bool rh_mysql_is_cut(unsigned number);
/* Fills err from the server's words. `what`: the failed action, "reading". Remedies for what concerns the connection;
 * the caller adds its own for the rest. */
enum rh_status rh_mysql_fail(
    const struct rh_mysql_server *server, struct rh_error *err, const char *what, unsigned number, const char *message);

#endif
