/* SPDX-License-Identifier: Apache-2.0 */
/* What the test programs at real servers share: a server of tests/servers, options from pairs, connecting, warnings. */
#ifndef REHOME_TESTS_TEST_SERVER_H
#define REHOME_TESTS_TEST_SERVER_H

#include <rehome/store.h>

struct test_server {
    const char *kind; /* the script's name */
    char dir[256];    /* what the script was given */
    char socket[128], ca[300], tls[300], password_file[300], password[64];
    unsigned port;
};
/* Whether a server of this kind can be had; says so if not. */
bool test_server_had(const char *kind);
/* Starts one with `options` (blanks between them) and reads its DIR/env, whose names begin with `prefix`. False when it
 * doesn't start. */
bool test_server_start(struct test_server *server, const char *kind, const char *prefix, const char *options);
bool test_server_verb(const struct test_server *server, const char *verb); /* "kill", "restart" */
void test_server_stop(struct test_server *server);

/* --- options from name, value pairs that end with NULL --- */
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_PAIRS ((const char *const[]){NULL})
/* The value that the pairs give an option, or NULL. */
const char *test_pair(const char *const *pairs, const char *name);
/* Sets it, "tls.NAME" in the block; "" leaves it out, but for a table's name. */
void test_option(struct rh_options *options, struct rh_options **block, const char *name, const char *value);
/* Ends the options, opens a store with them and frees them. */
enum rh_status test_store_open(const char *driver,
                               struct rh_options *options,
                               bool vault_config,
                               struct rh_store **ret_store,
                               struct rh_error *err);

/* --- connecting --- */
/* The log's warnings, counted from the last test_warnings_forget on. */
extern unsigned test_warnings;
extern char test_last_warning[512];
void test_warnings_watch(void);
void test_warnings_forget(void);
/* Connects the store, asks it for its facts and closes it. */
enum rh_status test_connect(struct rh_store *store, struct rh_facts *facts, struct rh_error *err);
/* A failure of this status with these words in text and hint. */
void assert_failed(
    enum rh_status status, const struct rh_error *err, enum rh_status want, const char *text, const char *hint);
/* A success with these words of TLS. */
void assert_connected(enum rh_status status, const struct rh_error *err, const struct rh_facts *facts, const char *tls);

#endif
