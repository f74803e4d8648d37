/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/mariadb (or mysql) from a test program, and stores on it. */
#ifndef REHOME_TESTS_MYSQL_SERVER_H
#define REHOME_TESTS_MYSQL_SERVER_H

#include <mysql.h>
#include "test_server.h"

struct server {
    struct test_server at;
    MYSQL *root; /* as root over the socket */
};

/* Whether the server that RH_TEST_SERVER names (mariadb by default, or mysql) can be had; says so if not. */
bool server_had(void);
bool server_is_mysql(void);
/* Starts a server with `options` (blanks between them). False when it doesn't start. */
bool server_start(struct server *server, const char *options);
void server_stop(struct server *server);
bool server_verb(struct server *server, const char *verb); /* "kill", "restart" */
void server_admin(struct server *server);                  /* connects server->root (again) */
/* Runs statements as root; fails the test when the server refuses. */
void sql(struct server *server, const char *fmt, ...) RH_PRINTF(2, 3);
/* The first column of the first row, or "" without one. */
const char *sql_text(struct server *server, char out[static 256], const char *fmt, ...) RH_PRINTF(3, 4);
#define SQL_TEXT(server, ...) sql_text((server), (char[256]){0}, __VA_ARGS__)

/* Makes options from name, value pairs that end with NULL; "tls.ca_file" goes into the block. Address, account, CA and
 * password file of the server are given unless named ("" leaves them out). */
struct rh_options *make_options(const struct server *server, const char *const *pairs);
/* A store with these options; fails the test unless it opens. */
struct rh_store *open_store(const struct server *server, bool vault_config, const char *const *pairs);
enum rh_status try_store(const struct server *server,
                         bool vault_config,
                         const char *const *pairs,
                         struct rh_store **ret_store,
                         struct rh_error *err);

#endif
