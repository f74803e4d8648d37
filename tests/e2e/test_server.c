/* SPDX-License-Identifier: Apache-2.0 */
#include "test_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

/* Runs the script; true when it succeeded. */
static bool script(const char *kind, const char *verb, const char *dir, const char *options)
{
    char command[1200];
    const char *servers = getenv("REHOME_SERVERS");
    snprintf(command, sizeof command, "'%s/%s' %s '%s' %s", servers ? servers : "tests/servers", kind, verb, dir,
             options);
    return system(command) == 0;
}

bool test_server_had(const char *kind)
{
    if (script(kind, "have", "", ""))
        return true;
    fprintf(stderr, "skipped: no %s server to be had\n", kind);
    return false;
}

/* Takes one line of the env file. */
static void take_line(struct test_server *server, const char *prefix, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *value = strchr(line, '=');
    if (!value || strncmp(line, prefix, strlen(prefix)) != 0)
        return;
    *value++ = '\0';
    const char *name = line + strlen(prefix);
    if (strcmp(name, "PORT") == 0) {
        uint64_t port = 0;
        assert_int_equal(rh_parse_u64(rh_bytes_text(value), &port), RH_OK);
        server->port = (unsigned)port;
    } else if (strcmp(name, "SOCKET") == 0)
        snprintf(server->socket, sizeof server->socket, "%s", value);
    else if (strcmp(name, "CA") == 0)
        snprintf(server->ca, sizeof server->ca, "%s", value);
    else if (strcmp(name, "TLS") == 0)
        snprintf(server->tls, sizeof server->tls, "%s", value);
    else if (strcmp(name, "PASSWORD_FILE") == 0)
        snprintf(server->password_file, sizeof server->password_file, "%s", value);
}

/* Reads DIR/env and the password. */
static void read_env(struct test_server *server, const char *prefix)
{
    char path[300], line[512];
    snprintf(path, sizeof path, "%s/env", server->dir);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        take_line(server, prefix, line);
    fclose(file);
    file = fopen(server->password_file, "re");
    assert_non_null(file);
    assert_non_null(fgets(server->password, sizeof server->password, file));
    server->password[strcspn(server->password, "\n")] = '\0';
    fclose(file);
}

bool test_server_start(struct test_server *server, const char *kind, const char *prefix, const char *options)
{
    *server = (struct test_server){.kind = kind, .dir = "/tmp/rh-test-XXXXXX"};
    assert_non_null(mkdtemp(server->dir));
    assert_int_equal(chmod(server->dir, 0755), 0);
    if (!script(kind, "start", server->dir, options)) {
        rmdir(server->dir);
        return false;
    }
    read_env(server, prefix);
    return true;
}

bool test_server_verb(const struct test_server *server, const char *verb)
{
    return script(server->kind, verb, server->dir, "");
}

void test_server_stop(struct test_server *server)
{
    if (!*server->dir)
        return;
    (void)script(server->kind, "stop", server->dir, "");
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", server->dir);
    (void)!system(command);
    *server->dir = '\0';
}

/* --- options --- */

const char *test_pair(const char *const *pairs, const char *name)
{
    for (; *pairs; pairs += 2)
        if (strcmp(pairs[0], name) == 0)
            return pairs[1];
    return NULL;
}

void test_option(struct rh_options *options, struct rh_options **block, const char *name, const char *value)
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

enum rh_status test_store_open(const char *driver,
                               struct rh_options *options,
                               bool vault_config,
                               struct rh_store **ret_store,
                               struct rh_error *err)
{
    struct rh_ctx ctx = {.err = err};
    struct rh_store_args args = {
        .options = options, .side = RH_SIDE_DESTINATION, .vault_config = vault_config, .name = "test"};
    enum rh_status status = rh_driver_find(driver)->open(&ctx, &args, ret_store);
    rh_options_free(options);
    return status;
}

/* --- connecting --- */

unsigned test_warnings;
char test_last_warning[512];

static void note_event(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    (void)user;
    (void)fields;
    if (level == RH_LOG_WARN) {
        test_warnings++;
        snprintf(test_last_warning, sizeof test_last_warning, "%s", message);
    }
}

void test_warnings_watch(void)
{
    rh_log_set(note_event, NULL, RH_LOG_WARN);
}

void test_warnings_forget(void)
{
    test_warnings = 0;
    *test_last_warning = '\0';
}

enum rh_status test_connect(struct rh_store *store, struct rh_facts *facts, struct rh_error *err)
{
    const struct rh_driver *driver = store->driver;
    struct rh_session *session = NULL;
    struct rh_ctx ctx = {.err = err};
    enum rh_status status = driver->session_open(&ctx, store, RH_ROLE_CONTROL, &session);
    if (!status) {
        status = driver->facts(&ctx, session, facts);
        driver->session_close(session);
    }
    driver->close(store);
    return status;
}

void assert_failed(
    enum rh_status status, const struct rh_error *err, enum rh_status want, const char *text, const char *hint)
{
    if (status != want || !strstr(err->text, text) || !strstr(err->hint, hint))
        fail_msg("%s instead of %s: '%s' / '%s'", rh_status_name(status), rh_status_name(want), err->text, err->hint);
}

void assert_connected(enum rh_status status, const struct rh_error *err, const struct rh_facts *facts, const char *tls)
{
    if (status)
        fail_msg("%s: '%s' / '%s'", rh_status_name(status), err->text, err->hint);
    if (!strstr(facts->tls, tls))
        fail_msg("TLS is '%s' and not '%s'", facts->tls, tls);
}
