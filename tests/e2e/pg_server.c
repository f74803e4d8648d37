/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/postgresql from a test program, and stores on it. */
#include "pg_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

/* Runs the script; true when it succeeded. */
static bool script(const char *verb, const char *dir, const char *options)
{
    char command[1200];
    const char *servers = getenv("REHOME_SERVERS");
    snprintf(command, sizeof command, "'%s/postgresql' %s '%s' %s", servers ? servers : "tests/servers", verb, dir,
             options);
    return system(command) == 0;
}

bool pg_server_had(void)
{
    if (script("have", "", ""))
        return true;
    fprintf(stderr, "skipped: no postgresql server to be had\n");
    return false;
}

/* Takes one line of the env file. */
static void take_line(struct pg_server *server, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *value = strchr(line, '=');
    if (!value)
        return;
    *value++ = '\0';
    if (strcmp(line, "PG_PORT") == 0) {
        uint64_t port = 0;
        assert_int_equal(rh_parse_u64(rh_bytes_text(value), &port), RH_OK);
        server->port = (unsigned)port;
    } else if (strcmp(line, "PG_SOCKET") == 0)
        snprintf(server->socket, sizeof server->socket, "%s", value);
    else if (strcmp(line, "PG_CA") == 0)
        snprintf(server->ca, sizeof server->ca, "%s", value);
    else if (strcmp(line, "PG_TLS") == 0)
        snprintf(server->tls, sizeof server->tls, "%s", value);
    else if (strcmp(line, "PG_PASSWORD_FILE") == 0)
        snprintf(server->password_file, sizeof server->password_file, "%s", value);
}

/* Reads DIR/env and the password. */
static void read_env(struct pg_server *server)
{
    char path[300], line[512];
    snprintf(path, sizeof path, "%s/env", server->dir);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        take_line(server, line);
    fclose(file);
    file = fopen(server->password_file, "re");
    assert_non_null(file);
    assert_non_null(fgets(server->password, sizeof server->password, file));
    server->password[strcspn(server->password, "\n")] = '\0';
    fclose(file);
}

void pg_server_admin(struct pg_server *server)
{
    char how[300];
    PQfinish(server->root);
    snprintf(how, sizeof how, "host=%s port=%u user=postgres dbname=vault options='-c client_min_messages=error'",
             server->socket, server->port);
    server->root = PQconnectdb(how);
    if (PQstatus(server->root) != CONNECTION_OK)
        fail_msg("postgres can't connect: %s", PQerrorMessage(server->root));
}

bool pg_server_start(struct pg_server *server, const char *options)
{
    *server = (struct pg_server){0};
    snprintf(server->dir, sizeof server->dir, "/tmp/rh-test-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    assert_int_equal(chmod(server->dir, 0755), 0);
    if (!script("start", server->dir, options)) {
        rmdir(server->dir);
        return false;
    }
    read_env(server);
    pg_server_admin(server);
    return true;
}

bool pg_server_verb(struct pg_server *server, const char *verb)
{
    return script(verb, server->dir, "");
}

void pg_server_stop(struct pg_server *server)
{
    PQfinish(server->root);
    server->root = NULL;
    if (!*server->dir)
        return;
    (void)script("stop", server->dir, "");
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", server->dir);
    (void)!system(command);
    *server->dir = '\0';
}

/* Runs what was formatted. */
static PGresult *run(struct pg_server *server, const char *text)
{
    PGresult *result = PQexec(server->root, text);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("'%s': %s", text, PQerrorMessage(server->root));
    return result;
}

void pg_sql(struct pg_server *server, const char *fmt, ...)
{
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    PQclear(run(server, text));
}

const char *pg_sql_text(struct pg_server *server, char out[static 256], const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    PGresult *result = run(server, text);
    snprintf(out, 256, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return out;
}

/* The value that the pairs give an option, or NULL. */
static const char *given(const char *const *pairs, const char *name)
{
    for (; *pairs; pairs += 2)
        if (strcmp(pairs[0], name) == 0)
            return pairs[1];
    return NULL;
}

static void set(struct rh_options *options, struct rh_options **block, const char *name, const char *value)
{
    struct rh_error err = {0};
    if (!*value)
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

static struct rh_options *make_options(const struct pg_server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_options *options = NULL, *block = NULL;
    assert_int_equal(rh_options_new(rh_driver_find("postgresql")->options, "", &options, &err), RH_OK);
    char url[1024], port[16];
    snprintf(port, sizeof port, "%u", server->port);
    const char *more = given(pairs, "url+"), *other_port = given(pairs, "port");
    snprintf(url, sizeof url, "host=127.0.0.1 port=%s user=vault dbname=vault %s", other_port ? other_port : port,
             more ? more : "");
    if (!given(pairs, "connection_url"))
        set(options, &block, "connection_url", url);
    if (!given(pairs, "password_file") && !given(pairs, "password"))
        set(options, &block, "password_file", server->password_file);
    if (!given(pairs, "tls.ca_file"))
        set(options, &block, "tls.ca_file", server->ca);
    for (; *pairs; pairs += 2)
        if (strcmp(pairs[0], "url+") != 0 && strcmp(pairs[0], "port") != 0)
            set(options, &block, pairs[0], pairs[1]);
    if (rh_options_end(options, &err))
        fail_msg("options: %s", err.text);
    return options;
}

enum rh_status pg_try_store(const struct pg_server *server,
                            bool vault_config,
                            const char *const *pairs,
                            struct rh_store **ret_store,
                            struct rh_error *err)
{
    struct rh_options *options = make_options(server, pairs);
    struct rh_ctx ctx = {.err = err};
    struct rh_store_args args = {
        .options = options, .side = RH_SIDE_DESTINATION, .vault_config = vault_config, .name = "test"};
    enum rh_status status = rh_driver_find("postgresql")->open(&ctx, &args, ret_store);
    rh_options_free(options);
    return status;
}

struct rh_store *pg_open_store(const struct pg_server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_store *store = NULL;
    if (pg_try_store(server, false, pairs, &store, &err))
        fail_msg("opening the store: %s", err.text);
    return store;
}
