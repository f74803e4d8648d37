/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/postgresql from a test program, and stores on it. */
#ifndef REHOME_TESTS_PG_SERVER_H
#define REHOME_TESTS_PG_SERVER_H

#include <libpq-fe.h>
#include "test_server.h"

struct pg_server {
    struct test_server at;
    PGconn *root; /* as postgres over the socket */
};

/* Whether a server can be had; says so if not. */
bool pg_server_had(void);
/* Starts a server with `options` (blanks between them). False when it doesn't start. */
bool pg_server_start(struct pg_server *server, const char *options);
void pg_server_stop(struct pg_server *server);
bool pg_server_verb(struct pg_server *server, const char *verb); /* "kill", "restart" */
void pg_server_admin(struct pg_server *server);                  /* connects server->root (again) */
/* Runs statements as postgres in the database vault; fails the test when the server refuses. */
void pg_sql(struct pg_server *server, const char *fmt, ...) RH_PRINTF(2, 3);
/* The first column of the first row, or "" without one. */
const char *pg_sql_text(struct pg_server *server, char out[static 256], const char *fmt, ...) RH_PRINTF(3, 4);
#define PG_SQL_TEXT(server, ...) pg_sql_text((server), (char[256]){0}, __VA_ARGS__)

/* A store with options from name, value pairs that end with NULL; "tls.ca_file" goes into the block. connection_url
 * (keywords for host, port, user, database), CA and password file of the server are given unless named ("" leaves them
 * out); "url+" is appended to that connection_url, "port" replaces its port. */
enum rh_status pg_try_store(const struct pg_server *server,
                            bool vault_config,
                            const char *const *pairs,
                            struct rh_store **ret_store,
                            struct rh_error *err);
/* Fails the test unless it opens. */
struct rh_store *pg_open_store(const struct pg_server *server, const char *const *pairs);

#endif
