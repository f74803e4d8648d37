/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/mariadb (or mysql) from a test program, and stores on it. */
#include "mysql_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

/* Which of the two scripts. */
static const char *script_name(void)
{
    const char *name = getenv("RH_TEST_SERVER");
    return name && *name ? name : "mariadb";
}

bool server_had(void)
{
    return test_server_had(script_name());
}

bool server_is_mysql(void)
{
    return strcmp(script_name(), "mysql") == 0;
}

void server_admin(struct server *server)
{
    if (server->root)
        mysql_close(server->root);
    server->root = mysql_init(NULL);
    assert_non_null(server->root);
    if (!mysql_real_connect(server->root, NULL, "root", NULL, NULL, 0, server->at.socket, CLIENT_MULTI_STATEMENTS))
        fail_msg("root can't connect: %s", mysql_error(server->root));
}

bool server_start(struct server *server, const char *options)
{
    *server = (struct server){0};
    if (!test_server_start(&server->at, script_name(), "MYSQL_", options))
        return false;
    server_admin(server);
    return true;
}

bool server_verb(struct server *server, const char *verb)
{
    return test_server_verb(&server->at, verb);
}

void server_stop(struct server *server)
{
    if (server->root)
        mysql_close(server->root);
    server->root = NULL;
    test_server_stop(&server->at);
}

void sql(struct server *server, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (mysql_query(server->root, text))
        fail_msg("'%s': %s", text, mysql_error(server->root));
    do {
        MYSQL_RES *rows = mysql_store_result(server->root);
        if (rows)
            mysql_free_result(rows);
    } while (mysql_next_result(server->root) == 0);
    assert_int_equal(mysql_errno(server->root), 0);
}

const char *sql_text(struct server *server, char out[static 256], const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (mysql_query(server->root, text))
        fail_msg("'%s': %s", text, mysql_error(server->root));
    MYSQL_RES *rows = mysql_store_result(server->root);
    assert_non_null(rows);
    MYSQL_ROW row = mysql_fetch_row(rows);
    snprintf(out, 256, "%s", row && row[0] ? row[0] : "");
    mysql_free_result(rows);
    return out;
}

struct rh_options *make_options(const struct server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_options *options = NULL, *block = NULL;
    const struct rh_driver *driver = rh_driver_find("mysql");
    assert_non_null(driver);
    assert_int_equal(rh_options_new(driver->options, "", &options, &err), RH_OK);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", server->at.port);
    if (!test_pair(pairs, "address") && !test_pair(pairs, "socket"))
        test_option(options, &block, "address", address);
    if (!test_pair(pairs, "username"))
        test_option(options, &block, "username", "vault");
    if (!test_pair(pairs, "password_file") && !test_pair(pairs, "password"))
        test_option(options, &block, "password_file", server->at.password_file);
    if (!test_pair(pairs, "tls.ca_file") && !test_pair(pairs, "tls_ca_file") && !test_pair(pairs, "socket"))
        test_option(options, &block, "tls.ca_file", server->at.ca);
    for (; *pairs; pairs += 2)
        test_option(options, &block, pairs[0], pairs[1]);
    if (rh_options_end(options, &err))
        fail_msg("options: %s", err.text);
    return options;
}

enum rh_status try_store(const struct server *server,
                         bool vault_config,
                         const char *const *pairs,
                         struct rh_store **ret_store,
                         struct rh_error *err)
{
    return test_store_open("mysql", make_options(server, pairs), vault_config, ret_store, err);
}

struct rh_store *open_store(const struct server *server, bool vault_config, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_store *store = NULL;
    if (try_store(server, vault_config, pairs, &store, &err))
        fail_msg("opening the store: %s", err.text);
    return store;
}
