/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/mariadb (or mysql) from a test program, and stores on it. */
#include "mysql_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

/* Which of the two scripts. */
static const char *script_name(void)
{
    const char *name = getenv("RH_TEST_SERVER");
    return name && *name ? name : "mariadb";
}

/* Runs the script; true when it succeeded. */
static bool script(const char *verb, const char *dir, const char *options)
{
    char command[1200];
    const char *servers = getenv("REHOME_SERVERS");
    snprintf(command, sizeof command, "'%s/%s' %s '%s' %s", servers ? servers : "tests/servers", script_name(), verb,
             dir, options);
    return system(command) == 0;
}

bool server_had(void)
{
    if (script("have", "", ""))
        return true;
    fprintf(stderr, "skipped: no %s server to be had\n", script_name());
    return false;
}

bool server_is_mysql(void)
{
    return strcmp(script_name(), "mysql") == 0;
}

/* Takes one line of the env file. */
static void take_line(struct server *server, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *value = strchr(line, '=');
    if (!value)
        return;
    *value++ = '\0';
    if (strcmp(line, "MYSQL_PORT") == 0) {
        uint64_t port = 0;
        assert_int_equal(rh_parse_u64(rh_bytes_text(value), &port), RH_OK);
        server->port = (unsigned)port;
    } else if (strcmp(line, "MYSQL_SOCKET") == 0)
        snprintf(server->socket, sizeof server->socket, "%s", value);
    else if (strcmp(line, "MYSQL_CA") == 0)
        snprintf(server->ca, sizeof server->ca, "%s", value);
    else if (strcmp(line, "MYSQL_TLS") == 0)
        snprintf(server->tls, sizeof server->tls, "%s", value);
    else if (strcmp(line, "MYSQL_PASSWORD_FILE") == 0)
        snprintf(server->password_file, sizeof server->password_file, "%s", value);
}

void server_admin(struct server *server)
{
    if (server->root)
        mysql_close(server->root);
    server->root = mysql_init(NULL);
    assert_non_null(server->root);
    if (!mysql_real_connect(server->root, NULL, "root", NULL, NULL, 0, server->socket, CLIENT_MULTI_STATEMENTS))
        fail_msg("root can't connect: %s", mysql_error(server->root));
}

bool server_start(struct server *server, const char *options)
{
    *server = (struct server){0};
    snprintf(server->dir, sizeof server->dir, "/tmp/rh-test-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    assert_int_equal(chmod(server->dir, 0755), 0);
    if (!script("start", server->dir, options)) {
        rmdir(server->dir);
        return false;
    }
    char path[300], line[512];
    snprintf(path, sizeof path, "%s/env", server->dir);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        take_line(server, line);
    fclose(file);
    server_admin(server);
    return true;
}

bool server_verb(struct server *server, const char *verb)
{
    return script(verb, server->dir, "");
}

void server_stop(struct server *server)
{
    if (server->root)
        mysql_close(server->root);
    server->root = NULL;
    if (!*server->dir)
        return;
    (void)script("stop", server->dir, "");
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", server->dir);
    (void)!system(command);
    *server->dir = '\0';
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

/* Whether the pairs name this option. */
static bool names(const char *const *pairs, const char *name)
{
    for (; *pairs; pairs += 2)
        if (strcmp(pairs[0], name) == 0)
            return true;
    return false;
}

static void set(struct rh_options *options, struct rh_options **block, const char *name, const char *value)
{
    struct rh_error err = {0};
    if (!*value && strcmp(name, "table") != 0)
        return;
    if (strncmp(name, "tls.", 4) == 0) {
        if (!*block && rh_options_open_block(options, "tls", "", block, &err))
            fail_msg("%s", err.text);
        options = *block;
        name += 4;
    }
    if (rh_options_set(options, name, rh_bytes_text(value), "", &err))
        fail_msg("option %s: %s", name, err.text);
}

struct rh_options *make_options(const struct server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_options *options = NULL, *block = NULL;
    const struct rh_driver *driver = rh_driver_find("mysql");
    assert_non_null(driver);
    assert_int_equal(rh_options_new(driver->options, "", &options, &err), RH_OK);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", server->port);
    if (!names(pairs, "address") && !names(pairs, "socket"))
        set(options, &block, "address", address);
    if (!names(pairs, "username"))
        set(options, &block, "username", "vault");
    if (!names(pairs, "password_file") && !names(pairs, "password"))
        set(options, &block, "password_file", server->password_file);
    if (!names(pairs, "tls.ca_file") && !names(pairs, "tls_ca_file") && !names(pairs, "socket"))
        set(options, &block, "tls.ca_file", server->ca);
    for (; *pairs; pairs += 2)
        set(options, &block, pairs[0], pairs[1]);
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
    struct rh_options *options = make_options(server, pairs);
    struct rh_ctx ctx = {.err = err};
    struct rh_store_args args = {
        .options = options, .side = RH_SIDE_DESTINATION, .vault_config = vault_config, .name = "test"};
    enum rh_status status = rh_driver_find("mysql")->open(&ctx, &args, ret_store);
    rh_options_free(options);
    return status;
}

struct rh_store *open_store(const struct server *server, bool vault_config, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_store *store = NULL;
    if (try_store(server, vault_config, pairs, &store, &err))
        fail_msg("opening the store: %s", err.text);
    return store;
}
