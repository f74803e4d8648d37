/* SPDX-License-Identifier: Apache-2.0 */
/* TLS to a real PostgreSQL: what is refused, with which remedy, and what is shown of what is taken. */
#include "pg_server.h"
#include "tcp_proxy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

static struct pg_server main_server;
static int start_main(void **state)
{
    (void)state;
    test_warnings_watch();
    return pg_server_start(&main_server, "") ? 0 : -1;
}

static int stop_main(void **state)
{
    (void)state;
    pg_server_stop(&main_server);
    return 0;
}

/* Opens store and session; on success gives the facts, on failure the error. */
static enum rh_status try_connect(const struct pg_server *server,
                                  bool vault_config,
                                  const char *const *pairs,
                                  struct rh_facts *facts,
                                  struct rh_error *err)
{
    *err = (struct rh_error){0};
    test_warnings_forget();
    struct rh_store *store = NULL;
    enum rh_status status = pg_try_store(server, vault_config, pairs, &store, err);
    return status ? status : test_connect(store, facts, err);
}

/* Refused, with these words in text and hint, and without the password anywhere. */
static void assert_refused(const struct pg_server *server,
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
    assert_null(strstr(err.text, server->at.password));
    assert_null(strstr(err.hint, server->at.password));
    assert_null(strstr(err.text, "s3cr3t"));
    assert_null(strstr(err.hint, "s3cr3t"));
}

static void assert_taken(
    const struct pg_server *server, bool vault_config, const char *const *pairs, const char *tls, unsigned warned)
{
    struct rh_error err;
    struct rh_facts facts = {0};
    enum rh_status status = try_connect(server, vault_config, pairs, &facts, &err);
    assert_connected(status, &err, &facts, tls);
    assert_null(strstr(facts.address, server->at.password));
    if (test_warnings != warned)
        fail_msg("%u warnings and not %u: %s", test_warnings, warned, test_last_warning);
}

/* A URL with the password in it. */
static const char *url(const struct pg_server *server, const char *host, const char *more, char out[static 600])
{
    snprintf(out, 600, "postgres://vault:%s@%s:%u/vault%s", server->at.password, host, server->at.port, more);
    return out;
}
#define URL(server, host, more) url((server), (host), (more), (char[600]){0})

static void verified_by_default(void **state)
{
    (void)state;
    static const char tls[] = "TLSv1.3 TLS_AES_256_GCM_SHA384, peer verified";
    char root[400];
    snprintf(root, sizeof root, "?sslmode=verify-full&sslrootcert=%s", main_server.at.ca);
    assert_taken(&main_server, false, NO_PAIRS, tls, 0);
    assert_taken(&main_server, false, PAIRS("connection_url", URL(&main_server, "localhost", ""), "password_file", ""),
                 tls, 0);
    assert_taken(&main_server, false,
                 PAIRS("connection_url", URL(&main_server, "localhost", root), "password_file", "", "tls.ca_file", ""),
                 tls, 0);
    assert_taken(&main_server, false, PAIRS("url+", "sslmode=verify-full"), tls, 0);
    /* Vault's stanza keeps its meaning; verify-full needs no warning */
    assert_taken(&main_server, true,
                 PAIRS("connection_url", URL(&main_server, "localhost", root), "password_file", "", "tls.ca_file", ""),
                 tls, 0);
}

/* connection_url alone can't take protection away in a plan of ours. */
static void weak_sslmode(void **state)
{
    (void)state;
    static const char *const weak[] = {"disable", "allow", "prefer", "require", "verify-ca"};
    for (size_t i = 0; i < 5; i++) {
        char more[40];
        snprintf(more, sizeof more, "sslmode=%s", weak[i]);
        assert_refused(&main_server, false, PAIRS("url+", more), RH_E_PLAN, "doesn't verify the server",
                       "leave sslmode out");
    }
    assert_taken(&main_server, false, PAIRS("url+", "sslmode=require", "tls.verify", "off"), "peer not verified", 1);
    assert_taken(&main_server, false, PAIRS("url+", "sslmode=verify-ca", "tls.verify", "off"),
                 "verified but for its name", 1);
    assert_refused(&main_server, false, PAIRS("url+", "sslmode=verify-full", "tls.verify", "off"), RH_E_PLAN,
                   "says less", "");
    assert_refused(&main_server, false, PAIRS("url+", "sslmode=often"), RH_E_PLAN, "isn't one that PostgreSQL has",
                   "verify-full");
    /* not by the environment, either */
    setenv("PGSSLMODE", "disable", 1);
    assert_taken(&main_server, false, NO_PAIRS, "peer verified", 0);
    unsetenv("PGSSLMODE");
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
    assert_refused(&main_server, true, PAIRS("url+", "sslmode=verify-full", "tls.ca_file", ""), RH_E_TLS, "certificate",
                   "sslrootcert=PATH");
}

static void no_ca_file(void **state)
{
    (void)state;
    assert_refused(&main_server, false, PAIRS("tls.ca_file", "/nowhere/ca.pem"), RH_E_IO, "/nowhere/ca.pem", "");
    assert_refused(&main_server, false, PAIRS("tls.ca_file", main_server.at.password_file), RH_E_PLAN,
                   "holds no certificate", "");
    assert_refused(&main_server, true, PAIRS("url+", "sslmode=verify-full sslrootcert=/nowhere", "tls.ca_file", ""),
                   RH_E_IO, "/nowhere", "");
    char both[400];
    snprintf(both, sizeof both, "sslrootcert=%s", main_server.at.ca);
    assert_refused(&main_server, false, PAIRS("url+", both), RH_E_PLAN, "sslrootcert is in connection_url and in tls",
                   "");
}

/* Each bad certificate on a server of its own. */
static void bad_certificate(const char *name, const char *text, const char *hint)
{
    struct pg_server server;
    char option[64], root[400];
    snprintf(option, sizeof option, "--cert=%s", name);
    if (!pg_server_start(&server, option)) {
        fail_msg("no server with %s", name);
        return;
    }
    snprintf(root, sizeof root, "sslmode=verify-full sslrootcert=%s", server.at.ca);
    assert_refused(&server, false, NO_PAIRS, RH_E_TLS, text, hint);
    assert_refused(&server, true, PAIRS("url+", root, "tls.ca_file", ""), RH_E_TLS, text, "");
    /* Switched off, it is taken, with a warning. */
    assert_taken(&server, false, PAIRS("tls.verify", "off"), ", peer not verified", 1);
    assert_non_null(strstr(test_last_warning, "verify"));
    pg_server_stop(&server);
}

static void wrong_host(void **state)
{
    (void)state;
    bad_certificate("wrong-host", "does not match host name", "is for another host than '127.0.0.1'");
}

static void expired(void **state)
{
    (void)state;
    bad_certificate("expired", "certificate verify failed", "has run out: renew it");
}

static void self_signed(void **state)
{
    (void)state;
    bad_certificate("self-signed", "certificate verify failed", "tls { ca_file = \"PATH\" }");
}

/* A server without TLS gets nothing from a client that asked for TLS, not even unverified. */
static void plain_text_server(void **state)
{
    (void)state;
    struct pg_server server;
    if (!pg_server_start(&server, "--no-tls")) {
        fail_msg("no server without TLS");
        return;
    }
    struct proxy proxy;
    proxy_start(&proxy, server.at.port);
    static const char user[] = "vault"; /* what a client says first once it trusts the connection */
    proxy_watch(&proxy, user);
    char port[16];
    snprintf(port, sizeof port, "%u", proxy.port);
    assert_refused(&server, false, PAIRS("port", port), RH_E_TLS, "does not support SSL", "tls { mode = \"off\" }");
    assert_refused(&server, false, PAIRS("port", port, "tls.verify", "off"), RH_E_TLS, "does not support SSL",
                   "offers no TLS");
    assert_refused(&server, true, PAIRS("port", port, "url+", "sslmode=require", "tls.ca_file", ""), RH_E_TLS,
                   "does not support SSL", "sslmode=disable");
    assert_true(atomic_load(&proxy.sent) > 0);
    assert_false(atomic_load(&proxy.seen));
    assert_taken(&server, false, PAIRS("port", port, "tls.ca_file", "", "tls.mode", "off"), "none", 1);
    assert_non_null(strstr(test_last_warning, "plain text"));
    assert_true(atomic_load(&proxy.seen));
    proxy_stop(&proxy);
    pg_server_stop(&server);
}

/* Vault's stanza: sslmode as it stands, prefer without one, with a warning for what is weak. */
static void vault_meaning(void **state)
{
    (void)state;
    assert_taken(&main_server, true, PAIRS("tls.ca_file", ""), "peer not verified", 1);
    assert_non_null(strstr(test_last_warning, "no TLS is demanded"));
    assert_taken(&main_server, true, PAIRS("url+", "sslmode=require", "tls.ca_file", ""), "peer not verified", 1);
    assert_non_null(strstr(test_last_warning, "verify-full"));
    /* a server that takes hostssl lines only refuses it, with the way out */
    assert_refused(&main_server, true, PAIRS("url+", "sslmode=disable", "tls.ca_file", ""), RH_E_AUTH,
                   "no pg_hba.conf entry", "hostssl");
    assert_refused(&main_server, false, PAIRS("tls.ca_file", "", "tls.mode", "off"), RH_E_AUTH, "no pg_hba.conf entry",
                   "hostssl");
    /* the environment goes before the configuration, as in Vault */
    setenv("VAULT_PG_CONNECTION_URL", URL(&main_server, "localhost", "?sslmode=require"), 1);
    assert_taken(&main_server, true,
                 PAIRS("connection_url", "host=nowhere.invalid", "password_file", "", "tls.ca_file", ""),
                 "peer not verified", 2);
    assert_refused(&main_server, false, PAIRS("connection_url", "host=127.0.0.1 port=1 user=u"), RH_E_NET, "port 1",
                   "");
    unsetenv("VAULT_PG_CONNECTION_URL");
}

static void client_certificate(void **state)
{
    (void)state;
    char cert[400], key[400], other_cert[400], other_key[400], words[900];
    snprintf(cert, sizeof cert, "%s/client.pem", main_server.at.tls);
    snprintf(key, sizeof key, "%s/client.key", main_server.at.tls);
    snprintf(other_cert, sizeof other_cert, "%s/other-client.pem", main_server.at.tls);
    snprintf(other_key, sizeof other_key, "%s/other-client.key", main_server.at.tls);
    assert_taken(&main_server, false, PAIRS("url+", "user=vaultx", "tls.cert_file", cert, "tls.key_file", key),
                 ", peer verified", 0);
    snprintf(words, sizeof words, "user=vaultx sslcert=%s sslkey=%s", cert, key);
    assert_taken(&main_server, false, PAIRS("url+", words), ", peer verified", 0);
    assert_refused(&main_server, false, PAIRS("url+", "user=vaultx"), RH_E_AUTH, "client certificate", "pg_hba.conf");
    struct rh_error err;
    struct rh_facts facts;
    enum rh_status status =
        try_connect(&main_server, false,
                    PAIRS("url+", "user=vaultx", "tls.cert_file", other_cert, "tls.key_file", other_key), &facts, &err);
    assert_true(status == RH_E_TLS || status == RH_E_AUTH || status == RH_E_NET);
    assert_refused(&main_server, false, PAIRS("tls.cert_file", cert), RH_E_PLAN, "cert_file and key_file go together",
                   "");
    assert_refused(&main_server, false, PAIRS("tls.cert_file", cert, "tls.key_file", other_key), RH_E_TLS,
                   "key values mismatch", "");
}

static void wrong_password(void **state)
{
    (void)state;
    assert_refused(&main_server, false, PAIRS("password", "s3cr3t-wrong"), RH_E_AUTH, "password authentication failed",
                   "password");
    assert_refused(&main_server, false, PAIRS("url+", "password=s3cr3t-wrong", "password_file", ""), RH_E_AUTH,
                   "password authentication failed", "password");
    assert_refused(&main_server, false, PAIRS("password_file", ""), RH_E_AUTH, "no password", "password_file");
    assert_refused(&main_server, false, PAIRS("url+", "password=s3cr3t"), RH_E_PLAN, "another one is given", "");
    assert_refused(&main_server, false, PAIRS("connection_url", "postgres://u:s3cr3t:port/x@h?"), RH_E_PLAN,
                   "connection_url", "");
    assert_refused(&main_server, false, PAIRS("url+", "dbname=nowhere"), RH_E_STORE, "does not exist", "database");
}

static void nobody_there(void **state)
{
    (void)state;
    struct rh_error err;
    struct rh_facts facts;
    assert_int_equal(try_connect(&main_server, false, PAIRS("port", "1"), &facts, &err), RH_E_NET);
    assert_int_equal(err.retry, RH_RETRY_LATER);
    assert_refused(&main_server, false, PAIRS("connection_url", "host=no-such-host.invalid user=u dbname=d"), RH_E_NET,
                   "no-such-host.invalid", "server runs");
    assert_refused(&main_server, false, PAIRS("connection_url", "host=h1,h2 user=u target_session_attrs=any"),
                   RH_E_PLAN, "several hosts", "read-write");
    assert_refused(&main_server, false, PAIRS("port", "99999"), RH_E_PLAN, "isn't a number from 1 to 65535", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verified_by_default), cmocka_unit_test(weak_sslmode),      cmocka_unit_test(unknown_ca),
        cmocka_unit_test(no_ca_file),          cmocka_unit_test(wrong_host),        cmocka_unit_test(expired),
        cmocka_unit_test(self_signed),         cmocka_unit_test(plain_text_server), cmocka_unit_test(vault_meaning),
        cmocka_unit_test(client_certificate),  cmocka_unit_test(wrong_password),    cmocka_unit_test(nobody_there),
    };
    if (!pg_server_had())
        return 77;
    unsetenv("PGSSLMODE");
    unsetenv("VAULT_PG_CONNECTION_URL");
    unsetenv("BAO_PG_CONNECTION_URL");
    return cmocka_run_group_tests(tests, start_main, stop_main);
}
