/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, with TLS that can't be downgraded. */
#include "mysql_link.h"
#include <errmsg.h>
#include <mysqld_error.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The name to show for the server. */
static const char *server_name(const struct rh_mysql_server *server)
{
    return server->socket ? server->socket : server->host;
}

/* The remedy for a TLS refusal, by the words libmariadb has for it. */
static void tls_hint(const struct rh_mysql_server *server, struct rh_error *err, const char *message)
{
    const char *ca = server->vault_config ? "tls_ca_file = \"PATH\"" : "tls { ca_file = \"PATH\" }";
    if (strstr(message, "does not support it"))
        rh_error_hint(err, "the server offers no TLS: set ssl_cert and ssl_key there, or, on a network you trust, %s",
                      server->vault_config ? "leave tls_ca_file out" : "give tls { mode = \"off\" }");
    else if (strstr(message, "expired"))
        rh_error_hint(err, "the server's certificate has run out: renew it there (and check both clocks)");
    else if (strstr(message, "not yet valid"))
        rh_error_hint(err, "the server's certificate isn't valid yet: check both clocks");
    else if (strstr(message, "Validation of SSL server certificate failed"))
        rh_error_hint(err,
                      "the server's certificate is for another host than '%s': connect by a name it holds, or give the "
                      "server a certificate with this name",
                      RH_SHOW(rh_bytes_text(server->host)));
    else if (strstr(message, "self-signed") || strstr(message, "self signed") || strstr(message, "issuer"))
        rh_error_hint(err, "the server's certificate isn't signed by a CA we trust: give its CA with %s%s", ca,
                      server->vault_config ? "" : " (keyring-migrate: --ssl-ca)");
    else if (strstr(message, "alert") || strstr(message, "handshake"))
        rh_error_hint(err, "the server refused the TLS handshake: see its error log, and cert_file and key_file here");
    else
        rh_error_hint(err, "check the server's certificate with: openssl s_client -starttls mysql -connect %s:%u",
                      RH_SHOW(rh_bytes_text(server->host)), server->port);
}

/* Whether a TLS failure is the connection's end and says nothing of certificates: a server that was just restarted, a
 * network that broke. libmariadb has one number for both. */
static bool tls_cut(const char *message)
{
    return strstr(message, "unexpected eof") || strstr(message, "reset by peer") || strstr(message, "Broken pipe");
}

/* Words for a connection that didn't come about. */
static enum rh_status connect_failed(const struct rh_mysql_server *server, MYSQL *mysql, struct rh_error *err)
{
    char what[400];
    snprintf(what, sizeof what, "connecting to '%s'", RH_SHOW(rh_bytes_text(server_name(server))));
    if (!server->socket)
        snprintf(what + strlen(what), sizeof what - strlen(what), " port %u", server->port);
    unsigned number = mysql_errno(mysql);
    const char *message = mysql_error(mysql);
    /* An error the server sends instead of the handshake comes wrapped: find its number. */
    const char *inner = number == CR_SSL_CONNECTION_ERROR ? strstr(message, "cannot be verified: ") : NULL;
    if (inner && inner[20] >= '0' && inner[20] <= '9') {
        unsigned wrapped = 0;
        for (const char *digit = inner + 20; *digit >= '0' && *digit <= '9' && wrapped < 100000; digit++)
            wrapped = wrapped * 10 + (unsigned)(*digit - '0');
        return rh_mysql_fail(server, err, what, wrapped, message);
    }
    if (number == CR_SSL_CONNECTION_ERROR) {
        rh_fail(err, RH_E_TLS, "%s failed: %s (%u)", what, RH_SHOW(rh_bytes_text(message)), number);
        if (err) {
            err->native = (long)number;
            if (tls_cut(message))
                err->retry = RH_RETRY_LATER;
            tls_hint(server, err, message);
        }
        return RH_E_TLS;
    }
    /* Unverified, libmariadb logs in without TLS; whatever the server then says, that it has none is the cause. */
    if (server->tls != RH_TLS_OFF && mysql->server_capabilities && !(mysql->server_capabilities & CLIENT_SSL)) {
        rh_fail(err, RH_E_TLS, "%s failed: the server offers no TLS", what);
        tls_hint(server, err, "does not support it");
        return RH_E_TLS;
    }
    enum rh_status status = rh_mysql_fail(server, err, what, number, message);
    /* Nothing is open yet, so "reconnect" means: try again. */
    if (err && err->retry == RH_RETRY_RECONNECT)
        err->retry = RH_RETRY_LATER;
    return status;
}

/* Sets the handle's options; `plugins` may log in. */
static void set_options(const struct rh_mysql_server *server, MYSQL *mysql, const char *plugins)
{
    const my_bool yes = 1;
    const unsigned protocol = server->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP, none = 0;
    mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "binary");
    mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &server->connect_s);
    mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &server->io_s);
    mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &server->io_s);
    /* No server may ask us for files. */
    mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &none);
    /* Unless the peer is known, nothing that would send it the password itself. */
    if (server->tls != RH_TLS_VERIFIED && !server->socket)
        mysql_optionsv(mysql, MARIADB_OPT_RESTRICTED_AUTH, plugins);
    if (server->tls == RH_TLS_OFF)
        return;
    /* Connector/C 3.3 refuses a server without TLS only when it verifies; note_tls looks in the other case. */
    mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    mysql_optionsv(mysql, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3");
    const my_bool verify = server->tls == RH_TLS_VERIFIED ? 1 : 0;
    mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    /* With a CA libmariadb checks the chain even when verifying is off. */
    mysql_ssl_set(mysql, server->files.key, server->files.cert, verify ? server->files.ca : NULL, NULL, NULL);
}

/* What protects this connection; refuses one without TLS where TLS was demanded. */
static enum rh_status
note_tls(const struct rh_mysql_server *server, MYSQL *mysql, char tls[static 160], struct rh_error *err)
{
    const char *cipher = mysql_get_ssl_cipher(mysql), *version = NULL;
    if (server->tls == RH_TLS_OFF) {
        snprintf(tls, 160, "%s", server->socket ? "local" : "none");
        return RH_OK;
    }
    if (!cipher || !*cipher) {
        rh_fail(err, RH_E_TLS, "connecting to '%s' failed: the server offers no TLS",
                RH_SHOW(rh_bytes_text(server->host)));
        tls_hint(server, err, "does not support it");
        return RH_E_TLS;
    }
    mariadb_get_infov(mysql, MARIADB_CONNECTION_TLS_VERSION, (void *)&version);
    snprintf(tls, 160, "%s %s, peer %s", version ? version : "TLS", cipher,
             server->tls == RH_TLS_VERIFIED ? "verified" : "not verified");
    return RH_OK;
}

/* One attempt. *ret_again: with TLS at hand it is worth another. */
static enum rh_status try_connect(const struct rh_mysql_server *server,
                                  const char *plugins,
                                  MYSQL **ret_mysql,
                                  char tls[static 160],
                                  bool *ret_again,
                                  struct rh_error *err)
{
    MYSQL *mysql = mysql_init(NULL);
    if (!mysql)
        return rh_fail_memory(err);
    set_options(server, mysql, plugins);
    const char *password = server->password ? (const char *)rh_secret_bytes(server->password).data : NULL;
    MYSQL *done = mysql_real_connect(mysql, server->socket ? NULL : server->host, server->user, password, NULL,
                                     server->port, server->socket, 0);
    /* libmariadb's own copy, of use only for connecting again, which we do ourselves. */
    if (mysql->passwd)
        rh_wipe(mysql->passwd, strlen(mysql->passwd));
    enum rh_status status;
    if (done) {
        status = note_tls(server, mysql, tls, err);
    } else {
        *ret_again = mysql_errno(mysql) == CR_PLUGIN_NOT_ALLOWED && mysql->server_capabilities & CLIENT_SSL;
        status = connect_failed(server, mysql, err);
    }
    if (status == RH_OK)
        *ret_mysql = mysql;
    else
        mysql_close(mysql);
    return status;
}

/* Starts libmariadb once in the process. */
static void start_library(void)
{
    (void)mysql_server_init(0, NULL, NULL);
}

/* Where TLS is demanded but not verified, libmariadb goes on without it when the server has none, and its
 * caching_sha2_password then sends the password in plain text, since it believes in the demand. So that plugin may only
 * be used after the server has said that it has TLS. */
enum rh_status
rh_mysql_connect(const struct rh_mysql_server *server, MYSQL **ret_mysql, char tls[static 160], struct rh_error *err)
{
    static const char plain[] = "mysql_native_password,client_ed25519",
                      all[] = "mysql_native_password,client_ed25519,caching_sha2_password";
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bool again = false;
    pthread_once(&once, start_library);
    if (server->tls != RH_TLS_UNVERIFIED)
        return try_connect(server, all, ret_mysql, tls, &again, err);
    struct rh_error first = {0};
    enum rh_status status = try_connect(server, plain, ret_mysql, tls, &again, &first);
    if (status && again)
        return try_connect(server, all, ret_mysql, tls, &again, err);
    if (status && err)
        *err = first;
    return status;
}
