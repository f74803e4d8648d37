/* SPDX-License-Identifier: Apache-2.0 */
/* TLS to a real MariaDB: what is refused, with which remedy, and what is shown of what is taken. */
#include "mysql_server.h"
#include "tcp_proxy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

static struct server main_server;
static int start_main(void **state)
{
    (void)state;
    test_warnings_watch();
    return server_start(&main_server, "") ? 0 : -1;
}

static int stop_main(void **state)
{
    (void)state;
    server_stop(&main_server);
    return 0;
}

/* Opens store and session; on success gives the facts, on failure the error. */
static enum rh_status try_connect(const struct server *server,
                                  bool vault_config,
                                  const char *const *pairs,
                                  struct rh_facts *facts,
                                  struct rh_error *err)
{
    *err = (struct rh_error){0};
    test_warnings_forget();
    struct rh_store *store = NULL;
    enum rh_status status = try_store(server, vault_config, pairs, &store, err);
    return status ? status : test_connect(store, facts, err);
}

/* Refused, with these words in text and hint. */
static void assert_refused(const struct server *server,
                           bool vault_config,
                           const char *const *pairs,
                           enum rh_status want,
                           const char *text,
                           const char *hint)
{
    struct rh_error err;
    struct rh_facts facts;
    enum rh_status status = try_connect(server, vault_config, pairs, &facts, &err);
    assert_failed(status, &err, want, text, hint);
}

static void assert_taken(const struct server *server, bool vault_config, const char *const *pairs, const char *tls)
{
    struct rh_error err;
    struct rh_facts facts = {0};
    enum rh_status status = try_connect(server, vault_config, pairs, &facts, &err);
    assert_connected(status, &err, &facts, tls);
}

static void verified_by_default(void **state)
{
    (void)state;
    /* the servers prefer different ciphers */
    assert_taken(&main_server, false, NO_PAIRS,
                 server_is_mysql() ? "TLSv1.3 TLS_AES_128_GCM_SHA256, peer verified"
                                   : "TLSv1.3 TLS_AES_256_GCM_SHA384, peer verified");
    char address[64];
    snprintf(address, sizeof address, "localhost:%u", main_server.at.port);
    assert_taken(&main_server, false, PAIRS("address", address), ", peer verified");
    assert_int_equal(test_warnings, 0);
}

/* Without a CA the system's store counts, which doesn't know the test CA. */
static void unknown_ca(void **state)
{
    (void)state;
    assert_refused(&main_server, false, PAIRS("tls.ca_file", ""), RH_E_TLS, "certificate",
                   "tls { ca_file = \"PATH\" }");
    char other[400];
    snprintf(other, sizeof other, "%s/other-ca.pem", main_server.at.tls);
    assert_refused(&main_server, false, PAIRS("tls.ca_file", other), RH_E_TLS, "certificate", "tls { ca_file");
}

static void no_ca_file(void **state)
{
    (void)state;
    assert_refused(&main_server, false, PAIRS("tls.ca_file", "/nowhere/ca.pem"), RH_E_IO, "/nowhere/ca.pem", "");
    assert_refused(&main_server, false, PAIRS("tls.ca_file", main_server.at.password_file), RH_E_PLAN,
                   "holds no certificate", "");
}

/* Each bad certificate on a server of its own. */
static void bad_certificate(const char *name, const char *text, const char *hint)
{
    struct server server;
    char option[64];
    snprintf(option, sizeof option, "--cert=%s", name);
    if (!server_start(&server, option)) {
        fail_msg("no server with %s", name);
        return;
    }
    assert_refused(&server, false, NO_PAIRS, RH_E_TLS, text, hint);
    /* Vault's own way of asking for TLS is verified just so. */
    assert_refused(&server, true, PAIRS("tls_ca_file", server.at.ca), RH_E_TLS, text, "");
    /* Switched off, it is taken, with a warning. */
    assert_taken(&server, false, PAIRS("tls.verify", "off"), ", peer not verified");
    assert_int_equal(test_warnings, 1);
    assert_non_null(strstr(test_last_warning, "verify"));
    server_stop(&server);
}

static void wrong_host(void **state)
{
    (void)state;
    bad_certificate("wrong-host", "Validation of SSL server certificate failed",
                    "is for another host than '127.0.0.1'");
}

static void expired(void **state)
{
    (void)state;
    bad_certificate("expired", "certificate has expired", "renew it");
}

static void self_signed(void **state)
{
    (void)state;
    bad_certificate("self-signed", "certificate", "tls { ca_file = \"PATH\" }");
}

/* A server without TLS doesn't get the password from a client that asked for TLS, not even unverified. */
static void no_password_in_plain_text(void **state)
{
    (void)state;
    struct server server;
    if (!server_start(&server, "--no-tls")) {
        fail_msg("no server without TLS");
        return;
    }
    struct proxy proxy;
    proxy_start(&proxy, server.at.port);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", proxy.port);
    static const char secret[] = "a-password-nobody-may-see";
    proxy_watch(&proxy, secret);
    assert_refused(&server, false, PAIRS("address", address, "tls.verify", "off", "password", secret), RH_E_TLS,
                   "the server offers no TLS", "offers no TLS");
    assert_refused(&server, false, PAIRS("address", address, "tls.ca_file", "", "tls.mode", "off", "password", secret),
                   RH_E_AUTH, "Access denied", "check username");
    assert_true(atomic_load(&proxy.sent) > 0);
    assert_false(atomic_load(&proxy.seen));
    proxy_stop(&proxy);
    server_stop(&server);
}

static void plain_text_server(void **state)
{
    (void)state;
    struct server server;
    if (!server_start(&server, "--no-tls")) {
        fail_msg("no server without TLS");
        return;
    }
    assert_refused(&server, false, NO_PAIRS, RH_E_TLS, "SSL is required", "offers no TLS");
    assert_refused(&server, false, NO_PAIRS, RH_E_TLS, "SSL is required", "tls { mode = \"off\" }");
    assert_refused(&server, false, PAIRS("tls.verify", "off"), RH_E_TLS, "the server offers no TLS", "offers no TLS");
    assert_refused(&server, true, PAIRS("tls_ca_file", server.at.ca), RH_E_TLS, "SSL is required",
                   "leave tls_ca_file out");
    assert_taken(&server, false, PAIRS("tls.ca_file", "", "tls.mode", "off"), "none");
    assert_int_equal(test_warnings, 1);
    assert_non_null(strstr(test_last_warning, "plain text"));
    server_stop(&server);
}

/* Vault's stanza: no tls_ca_file means plain text, with a warning that plaintext_connection_allowed mutes. */
static void vault_meaning(void **state)
{
    (void)state;
    sql(&main_server, "CREATE USER plain@'%%' IDENTIFIED BY 'pw'");
    const char *const *plain = PAIRS("username", "plain", "password", "pw", "tls.ca_file", "");
    assert_taken(&main_server, true, plain, "none");
    assert_int_equal(test_warnings, 1);
    assert_non_null(strstr(test_last_warning, "plaintext_connection_allowed"));
    assert_taken(
        &main_server, true,
        PAIRS("username", "plain", "password", "pw", "tls.ca_file", "", "plaintext_connection_allowed", "true"),
        "none");
    assert_int_equal(test_warnings, 0);
    assert_taken(&main_server, true, PAIRS("tls_ca_file", main_server.at.ca), ", peer verified");
    assert_int_equal(test_warnings, 0);
    /* An account that REQUIREs SSL is refused over plain text, with the way out. */
    assert_refused(&main_server, true, PAIRS("tls.ca_file", ""), RH_E_AUTH, "Access denied", "give tls_ca_file");
    assert_refused(&main_server, false, PAIRS("tls.ca_file", "", "tls.mode", "off"), RH_E_AUTH, "Access denied",
                   "tls { ca_file");
    sql(&main_server, "DROP USER plain@'%%'");
}

static void client_certificate(void **state)
{
    (void)state;
    char cert[400], key[400], other_cert[400], other_key[400];
    snprintf(cert, sizeof cert, "%s/client.pem", main_server.at.tls);
    snprintf(key, sizeof key, "%s/client.key", main_server.at.tls);
    snprintf(other_cert, sizeof other_cert, "%s/other-client.pem", main_server.at.tls);
    snprintf(other_key, sizeof other_key, "%s/other-client.key", main_server.at.tls);
    assert_taken(&main_server, false, PAIRS("username", "vaultx", "tls.cert_file", cert, "tls.key_file", key),
                 ", peer verified");
    assert_refused(&main_server, false, PAIRS("username", "vaultx"), RH_E_AUTH, "Access denied", "cert_file");
    struct rh_error err;
    struct rh_facts facts;
    enum rh_status status =
        try_connect(&main_server, false,
                    PAIRS("username", "vaultx", "tls.cert_file", other_cert, "tls.key_file", other_key), &facts, &err);
    assert_true(status == RH_E_TLS || status == RH_E_AUTH || status == RH_E_NET);
    assert_refused(&main_server, false, PAIRS("tls.cert_file", cert), RH_E_PLAN, "cert_file and key_file go together",
                   "");
    assert_refused(&main_server, false, PAIRS("tls.cert_file", cert, "tls.key_file", other_key), RH_E_TLS,
                   "key values mismatch", "");
}

static void wrong_password(void **state)
{
    (void)state;
    assert_refused(&main_server, false, PAIRS("password", "s3cr3t-wrong"), RH_E_AUTH, "Access denied", "password");
    struct rh_error err;
    struct rh_facts facts;
    assert_int_equal(try_connect(&main_server, false, PAIRS("password", "s3cr3t-wrong"), &facts, &err), RH_E_AUTH);
    assert_null(strstr(err.text, "s3cr3t"));
    assert_null(strstr(err.hint, "s3cr3t"));
    assert_refused(&main_server, false, PAIRS("password", "x", "password_file", "/x"), RH_E_PLAN,
                   "only one of password", "");
    assert_refused(&main_server, false, PAIRS("password_file", "", "password_env", "REHOME_TEST_UNSET"), RH_E_PLAN,
                   "'REHOME_TEST_UNSET' isn't set", "");
}

static void nobody_there(void **state)
{
    (void)state;
    struct rh_error err;
    struct rh_facts facts;
    assert_int_equal(try_connect(&main_server, false, PAIRS("address", "127.0.0.1:1"), &facts, &err), RH_E_NET);
    assert_int_equal(err.retry, RH_RETRY_LATER);
    assert_refused(&main_server, false, PAIRS("address", "127.0.0.1:99999"), RH_E_PLAN, "isn't HOST:PORT", "brackets");
    assert_refused(&main_server, false, PAIRS("address", "::1"), RH_E_NET, "connecting to '::1'", "");
}

static void over_the_socket(void **state)
{
    (void)state;
    assert_taken(&main_server, false, PAIRS("socket", main_server.at.socket, "username", "root", "password_file", ""),
                 "local");
    assert_int_equal(test_warnings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verified_by_default),
        cmocka_unit_test(unknown_ca),
        cmocka_unit_test(no_ca_file),
        cmocka_unit_test(wrong_host),
        cmocka_unit_test(expired),
        cmocka_unit_test(self_signed),
        cmocka_unit_test(plain_text_server),
        cmocka_unit_test(no_password_in_plain_text),
        cmocka_unit_test(vault_meaning),
        cmocka_unit_test(client_certificate),
        cmocka_unit_test(wrong_password),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(over_the_socket),
    };
    if (!server_had())
        return 77;
    return cmocka_run_group_tests(tests, start_main, stop_main);
}
