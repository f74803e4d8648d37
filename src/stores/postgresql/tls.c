/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remedies for refused TLS. libpq 15 says no more of a certificate than "certificate verify failed"; so after such a
 * refusal the server is asked for its certificate once more, by a handshake of our own which sends nothing else, to be
 * able to say whether it has run out or comes from an unknown CA.
 * Knowledge: the protocol's SSLRequest (8 bytes: length 8, code 80877103), answered by 'S' or 'N'.
 */
#include "internal.h"
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects within some seconds; -1 when that fails. */
static int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list))
        return -1;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct timeval limit = {.tv_sec = 3};
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (connect(fd, at->ai_addr, at->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

/* What OpenSSL has against the server's certificate; X509_V_OK when nothing, or when it couldn't be asked. */
static long look_at_certificate(const struct pg_store *store)
{
    static const uint8_t request[8] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};
    const char *ca = pg_url_get(&store->url, "sslrootcert");
    long verdict = X509_V_OK;
    char answer = 0;
    rh_auto_fd int fd = connect_to(store->host, store->port);
    if (fd < 0 || send(fd, request, sizeof request, MSG_NOSIGNAL) != sizeof request || recv(fd, &answer, 1, 0) != 1 ||
        answer != 'S')
        return X509_V_OK;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = context ? SSL_new(context) : NULL;
    if (ssl && (!ca || SSL_CTX_load_verify_locations(context, ca, NULL) == 1) && SSL_set_fd(ssl, fd) == 1) {
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        if (SSL_connect(ssl) == 1)
            verdict = SSL_get_verify_result(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return verdict;
}

/* Words by OpenSSL's verdict. */
static void hint_verdict(const struct pg_store *store, long verdict, struct rh_error *err)
{
    const char *ca = store->vault_config ? "sslrootcert=PATH in connection_url" : "tls { ca_file = \"PATH\" }";
    if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
        rh_error_hint(err, "the server's certificate has run out: renew it there (and check both clocks)");
    else if (verdict == X509_V_ERR_CERT_NOT_YET_VALID)
        rh_error_hint(err, "the server's certificate isn't valid yet: check both clocks");
    else if (verdict == X509_V_OK)
        rh_error_hint(err, "check the server's certificate with: openssl s_client -starttls postgres -connect %s:%s",
                      RH_SHOW(rh_bytes_text(store->host)), store->port);
    else
        rh_error_hint(err, "the server's certificate isn't signed by a CA we trust (%s): give its CA with %s",
                      X509_verify_cert_error_string(verdict), ca);
}

void pg_tls_hint(const struct pg_store *store, const char *message, struct rh_error *err)
{
    if (strstr(message, "does not support SSL"))
        rh_error_hint(
            err,
            "the server offers no TLS: set ssl = on with ssl_cert_file and ssl_key_file there, or, on a network "
            "you trust, %s",
            store->vault_config ? "sslmode=disable in connection_url" : "give tls { mode = \"off\" }");
    else if (strstr(message, "does not match host name"))
        rh_error_hint(err,
                      "the server's certificate is for another host than '%s': connect by a name it holds, or give the "
                      "server a certificate with this name",
                      RH_SHOW(rh_bytes_text(store->host)));
    else if (strstr(message, "verify failed"))
        hint_verdict(store, look_at_certificate(store), err);
    else if (strstr(message, "private key"))
        rh_error_hint(
            err, "the key of the client's certificate must belong to it and be readable by nobody else: chmod 600");
    else if (strstr(message, "root certificate"))
        rh_error_hint(err, "give the CA of the server's certificate with %s",
                      store->vault_config ? "sslrootcert=PATH in connection_url" : "tls { ca_file = \"PATH\" }");
    else if (strstr(message, "alert"))
        rh_error_hint(err, "the server refused the TLS handshake: see its log, and %s here",
                      store->vault_config ? "sslcert and sslkey" : "cert_file and key_file");
    else
        hint_verdict(store, X509_V_OK, err);
}
