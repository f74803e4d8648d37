/* SPDX-License-Identifier: Apache-2.0 */
/* Starting tests/servers/postgresql from a test program, and stores on it. */
#include "pg_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

bool pg_server_had(void)
{
    return test_server_had("postgresql");
}

void pg_server_admin(struct pg_server *server)
{
    char how[300];
    PQfinish(server->root);
    snprintf(how, sizeof how, "host=%s port=%u user=postgres dbname=vault options='-c client_min_messages=error'",
             server->at.socket, server->at.port);
    server->root = PQconnectdb(how);
    if (PQstatus(server->root) != CONNECTION_OK)
        fail_msg("postgres can't connect: %s", PQerrorMessage(server->root));
}

bool pg_server_start(struct pg_server *server, const char *options)
{
    *server = (struct pg_server){0};
    if (!test_server_start(&server->at, "postgresql", "PG_", options))
        return false;
    pg_server_admin(server);
    return true;
}

bool pg_server_verb(struct pg_server *server, const char *verb)
{
    return test_server_verb(&server->at, verb);
}

void pg_server_stop(struct pg_server *server)
{
    PQfinish(server->root);
    server->root = NULL;
    test_server_stop(&server->at);
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

static struct rh_options *make_options(const struct pg_server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_options *options = NULL, *block = NULL;
    assert_int_equal(rh_options_new(rh_driver_find("postgresql")->options, "", &options, &err), RH_OK);
    char url[1024], port[16];
    snprintf(port, sizeof port, "%u", server->at.port);
    const char *more = test_pair(pairs, "url+"), *other_port = test_pair(pairs, "port");
    snprintf(url, sizeof url, "host=127.0.0.1 port=%s user=vault dbname=vault %s", other_port ? other_port : port,
             more ? more : "");
    if (!test_pair(pairs, "connection_url"))
        test_option(options, &block, "connection_url", url);
    if (!test_pair(pairs, "password_file") && !test_pair(pairs, "password"))
        test_option(options, &block, "password_file", server->at.password_file);
    if (!test_pair(pairs, "tls.ca_file"))
        test_option(options, &block, "tls.ca_file", server->at.ca);
    for (; *pairs; pairs += 2)
        if (strcmp(pairs[0], "url+") != 0 && strcmp(pairs[0], "port") != 0)
            test_option(options, &block, pairs[0], pairs[1]);
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
    return test_store_open("postgresql", make_options(server, pairs), vault_config, ret_store, err);
}

struct rh_store *pg_open_store(const struct pg_server *server, const char *const *pairs)
{
    struct rh_error err = {0};
    struct rh_store *store = NULL;
    if (pg_try_store(server, false, pairs, &store, &err))
        fail_msg("opening the store: %s", err.text);
    return store;
}
