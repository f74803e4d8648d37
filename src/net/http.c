/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP client (rehome/http.h). Knowledge: libcurl 7.88, its multi interface and its OpenSSL back end. libcurl sends
 * a request again by itself when a kept connection turns out to be dead, unless the body can't be rewound: so bodies
 * here can't be.
 */
#include <rehome/http.h>

#include <rehome/base.h>

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct rh_http {
    const struct rh_http_peer *peer;
    CURLM *multi;
    struct curl_slist headers[4]; /* nodes of our own: the secret one's text stays in secret memory */
    char content_type[40], expect[8], connect[320];
    struct curl_slist connect_to;
    atomic_bool cancelled;
    unsigned running;
};

static void start_library(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* For libcurl's list. */
static char *unconst(const void *text)
{
    union {
        const void *in;
        char *out;
    } pointer = {.in = text};
    return pointer.out;
}

/* Links the header lines; libcurl only reads them. */
static void link_headers(struct rh_http *http)
{
    (void)snprintf(http->content_type, sizeof http->content_type, "Content-Type: application/json");
    (void)snprintf(http->expect, sizeof http->expect, "Expect:");
    size_t count = 0;
    http->headers[count++].data = http->content_type;
    http->headers[count++].data = http->expect;
    if (http->peer->header)
        http->headers[count++].data = unconst(rh_secret_bytes(http->peer->header).data);
    if (http->peer->plain_header)
        http->headers[count++].data = unconst(http->peer->plain_header);
    for (size_t i = 0; i + 1 < count; i++)
        http->headers[i].next = &http->headers[i + 1];
}

enum rh_status
rh_http_new(const struct rh_http_peer *peer, unsigned most_calls, struct rh_http **ret_http, struct rh_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_library);
    struct rh_http *http = calloc(1, sizeof *http);
    if (!http)
        return rh_fail_memory(err);
    http->peer = peer;
    http->multi = curl_multi_init();
    if (!http->multi) {
        free(http);
        return rh_fail_memory(err);
    }
    (void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)most_calls);
    (void)curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)most_calls);
    link_headers(http);
    if (peer->connect) {
        (void)snprintf(http->connect, sizeof http->connect, "::%s", peer->connect);
        http->connect_to.data = http->connect;
    }
    *ret_http = http;
    return RH_OK;
}

void rh_http_free(struct rh_http *http)
{
    if (!http)
        return;
    curl_multi_cleanup(http->multi);
    free(http);
}

/* --- what libcurl calls --- */

/* Hands out the next part of the body. */
static size_t give(char *out, size_t size, size_t count, void *user)
{
    struct rh_http_call *call = user;
    size_t left = call->body.size - call->sent, room = size * count, some = left < room ? left : room;
    if (some)
        memcpy(out, call->body.data + call->sent, some);
    call->sent += some;
    return some;
}

/* A body is sent once. */
static int no_rewind(void *user, curl_off_t offset, int origin)
{
    (void)user;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

/* Takes a piece of the answer's body. */
static size_t got_body(char *data, size_t size, size_t count, void *user)
{
    struct rh_http_call *call = user;
    size_t bytes = size * count;
    if (call->status == 200 || (call->also_status && call->status == call->also_status)) {
        if (call->take && bytes && call->take(call, rh_bytes(data, bytes)) != RH_OK)
            return bytes + 1; /* ends the transfer */
        return bytes;
    }
    size_t have = strlen(call->said), room = sizeof call->said - 1 - have;
    for (size_t i = 0; i < bytes && room; i++, room--)
        call->said[have++] = (char)(data[i] ? data[i] : ' ');
    call->said[have] = '\0';
    return bytes;
}

/* Notes which TLS this is, while the connection is there to ask. */
static void note_tls(struct rh_http_call *call)
{
    const struct curl_tlssessioninfo *info = NULL;
    if (curl_easy_getinfo(call->easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info || !info->internals ||
        info->backend != CURLSSLBACKEND_OPENSSL)
        return;
    const SSL *ssl = info->internals;
    (void)snprintf(call->tls, sizeof call->tls, "%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
}

/* The value of a header line with this name, or empty. */
static struct rh_bytes header_value(struct rh_bytes line, const char *name)
{
    size_t size = strlen(name);
    if (line.size <= size || line.data[size] != ':' || strncasecmp((const char *)line.data, name, size) != 0)
        return (struct rh_bytes){0};
    struct rh_bytes value = rh_bytes(line.data + size + 1, line.size - size - 1);
    while (value.size && (*value.data == ' ' || *value.data == '\t'))
        value = rh_bytes(value.data + 1, value.size - 1);
    while (value.size && value.data[value.size - 1] <= ' ')
        value.size--;
    return value;
}

/* One line of the answer's head. */
static size_t got_header(char *data, size_t size, size_t count, void *user)
{
    struct rh_http_call *call = user;
    const char *const *wanted = call->client->peer->wanted;
    struct rh_bytes line = rh_bytes(data, size * count);
    if (rh_bytes_starts(line, rh_bytes_text("HTTP/"))) {
        (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->status);
        memset(call->header, 0, sizeof call->header);
        note_tls(call);
        return line.size;
    }
    for (size_t i = 0; wanted && wanted[i] && i < RH_HTTP_HEADERS; i++) {
        struct rh_bytes value = header_value(line, wanted[i]);
        if (value.size && value.size < sizeof call->header[i]) {
            memcpy(call->header[i], value.data, value.size);
            call->header[i][value.size] = '\0';
        }
    }
    return line.size;
}

/* --- a call --- */

/* TLS and whom to trust. */
static void set_tls(const struct rh_http_peer *peer, CURL *easy)
{
    static const long versions[] = {CURL_SSLVERSION_TLSv1_0, CURL_SSLVERSION_TLSv1_1, CURL_SSLVERSION_TLSv1_2,
                                    CURL_SSLVERSION_TLSv1_3};
    unsigned least = peer->min_tls >= 10 && peer->min_tls <= 13 ? peer->min_tls - 10 : 2;
    bool verify = peer->tls == RH_HTTP_VERIFIED;
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, versions[least]);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    if (peer->ca_file || peer->ca_path) { /* instead of the system's, not besides */
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, peer->ca_file);
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, peer->ca_path);
    }
    if (peer->cert_file) {
        (void)curl_easy_setopt(easy, CURLOPT_SSLCERT, peer->cert_file);
        (void)curl_easy_setopt(easy, CURLOPT_SSLKEY, peer->key_file ? peer->key_file : peer->cert_file);
    }
}

/* All that is the same for each call. */
static void set_peer(struct rh_http *http, CURL *easy)
{
    const struct rh_http_peer *peer = http->peer;
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, peer->tls == RH_HTTP_PLAIN ? "http" : "https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "rehome/" RH_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 32L * 1024);
    (void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 64L * 1024);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(peer->connect_us / 1000));
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((peer->idle_us + 999999) / 1000000));
    if (http->connect_to.data)
        (void)curl_easy_setopt(easy, CURLOPT_CONNECT_TO, &http->connect_to);
    if (peer->socket)
        (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, peer->socket);
    if (peer->login) {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        (void)curl_easy_setopt(easy, CURLOPT_USERPWD, (const char *)rh_secret_bytes(peer->login).data);
    }
    set_tls(peer, easy);
}

/* What differs from call to call. */
static enum rh_status set_call(struct rh_http *http, struct rh_http_call *call, struct rh_error *err)
{
    CURL *easy = call->easy;
    rh_auto_buf struct rh_buf url = RH_BUF_INIT;
    enum rh_status status = rh_buf_format(&url, err, "%s%s", http->peer->url, call->target);
    if (status)
        return status;
    bool sends = strcmp(call->method, "GET") != 0;
    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, sends ? call->method : NULL);
    (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, sends ? 1L : 0L);
    if (!sends)
        (void)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, sends ? (curl_off_t)call->body.size : (curl_off_t)-1);
    (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, give);
    (void)curl_easy_setopt(easy, CURLOPT_READDATA, call);
    (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, no_rewind);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, got_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, got_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->words);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    if (curl_easy_setopt(easy, CURLOPT_URL, rh_buf_cstr(&url)) != CURLE_OK)
        return rh_fail_memory(err);
    return RH_OK;
}

/* An easy handle with the peer's settings. */
static enum rh_status make_easy(struct rh_http *http, struct rh_http_call *call, struct rh_error *err)
{
    call->easy = curl_easy_init();
    if (!call->easy)
        return rh_fail_memory(err);
    set_peer(http, call->easy);
    return RH_OK;
}

enum rh_status rh_http_start(struct rh_http *http, struct rh_http_call *call, struct rh_error *err)
{
    enum rh_status status = call->easy ? RH_OK : make_easy(http, call, err);
    call->client = http;
    call->status = 0;
    call->sent = 0;
    call->code = 0;
    call->verify = 0;
    call->said[0] = call->words[0] = call->tls[0] = '\0';
    memset(call->header, 0, sizeof call->header);
    if (!status)
        status = set_call(http, call, err);
    if (status)
        return status;
    if (curl_multi_add_handle(http->multi, call->easy) != CURLM_OK)
        return rh_fail(err, RH_E_INTERNAL, "sending a request failed");
    call->running = true;
    http->running++;
    return RH_OK;
}

/* Whether the server can't have the whole request. */
static bool not_sent(const struct rh_http_call *call, CURLcode code)
{
    long request = 0;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_URL_MALFORMAT:
        return true;
    default:
        break;
    }
    (void)curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &request);
    return request == 0 || (call->body.size && call->sent < call->body.size);
}

/* A transfer has ended. */
static void finish(struct rh_http *http, struct rh_http_call *call, CURLcode code)
{
    call->code = (int)code;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->status);
    (void)curl_easy_getinfo(call->easy, CURLINFO_SSL_VERIFYRESULT, &call->verify);
    if (code == CURLE_OK)
        call->result = RH_HTTP_DONE;
    else if (code == CURLE_WRITE_ERROR)
        call->result = RH_HTTP_STOPPED;
    else
        call->result = not_sent(call, code) ? RH_HTTP_NOT_SENT : RH_HTTP_CUT;
    (void)curl_multi_remove_handle(http->multi, call->easy);
    call->running = false;
    http->running--;
}

/* Finishes every transfer that libcurl says has ended. */
static void collect(struct rh_http *http)
{
    int left = 0;
    for (CURLMsg *message; (message = curl_multi_info_read(http->multi, &left));) {
        struct rh_http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        if (call)
            finish(http, call, code);
    }
}

enum rh_status rh_http_wait(struct rh_http *http,
                            struct rh_http_call *call,
                            int64_t deadline_us,
                            const atomic_bool *cancel,
                            struct rh_error *err)
{
    while (call->running) {
        int running = 0;
        if (atomic_load(&http->cancelled) || (cancel && atomic_load_explicit(cancel, memory_order_relaxed)))
            return rh_fail(err, RH_E_CANCELLED, "interrupted");
        int64_t now = rh_clock_us();
        if (deadline_us && now > deadline_us)
            return rh_fail(err, RH_E_TIMEOUT, "took too long");
        if (curl_multi_perform(http->multi, &running) != CURLM_OK)
            return rh_fail(err, RH_E_INTERNAL, "driving the connections failed");
        collect(http);
        if (!call->running)
            break;
        /* a cancel flag has nobody to wake us */
        int wait_ms = 100;
        if (deadline_us && deadline_us - now < 100000)
            wait_ms = (int)((deadline_us - now) / 1000) + 1;
        if (curl_multi_poll(http->multi, NULL, 0, wait_ms, NULL) != CURLM_OK)
            return rh_fail(err, RH_E_INTERNAL, "waiting for the connections failed");
    }
    return RH_OK;
}

void rh_http_stop(struct rh_http *http, struct rh_http_call *call)
{
    if (!call->running)
        return;
    call->result = call->sent || !call->body.size ? RH_HTTP_CUT : RH_HTTP_NOT_SENT;
    (void)curl_multi_remove_handle(http->multi, call->easy);
    call->running = false;
    http->running--;
}

void rh_http_call_done(struct rh_http *http, struct rh_http_call *call)
{
    rh_http_stop(http, call);
    if (call->easy)
        curl_easy_cleanup(call->easy);
    call->easy = NULL;
}

void rh_http_cancel(struct rh_http *http)
{
    atomic_store(&http->cancelled, true);
    (void)curl_multi_wakeup(http->multi);
}

/* --- words --- */

/* The remedy for a peer that can't be trusted. */
static void trust_hint(const struct rh_http *http, const struct rh_http_call *call, struct rh_error *err)
{
    const char *host = http->peer->url;
    switch (call->verify) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        rh_error_hint(err, "the server's certificate has run out: renew it there (and check both clocks)");
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        rh_error_hint(err, "the server's certificate isn't valid yet: check both clocks");
        return;
    default:
        break;
    }
    if (strstr(call->words, "subject name") || strstr(call->words, "does not match"))
        rh_error_hint(err,
                      "the server's certificate is for another host than that of '%s': connect by a name it holds, or "
                      "give the server a certificate with this name",
                      RH_SHOW(rh_bytes_text(host)));
    else
        rh_error_hint(err, "the server's certificate isn't signed by a CA we trust: give its CA with tls_ca_file or "
                           "tls { ca_file = \"PATH\" }");
}

/* Whether it was TLS that failed, with the remedy. */
static bool tls_failed(const struct rh_http *http, const struct rh_http_call *call, struct rh_error *err)
{
    if (call->code == CURLE_PEER_FAILED_VERIFICATION) {
        trust_hint(http, call, err);
        return true;
    }
    if (http->peer->tls == RH_HTTP_PLAIN)
        return false;
    if (strstr(call->words, "wrong version number") || strstr(call->words, "packet length too long"))
        rh_error_hint(err, "the server offers no TLS at this address: give the address of its https port, or, on a "
                           "network you trust, tls { mode = \"off\" }");
    else if (strstr(call->words, "alert protocol version") || strstr(call->words, "unsupported protocol"))
        rh_error_hint(err, "the server and tls_min_version have no version of TLS in common");
    else if (strstr(call->words, "alert"))
        rh_error_hint(err, "the server refused the TLS handshake: give it a certificate it trusts, with cert_file and "
                           "key_file; its log says more");
    else if (call->code == CURLE_SSL_CERTPROBLEM || call->code == CURLE_SSL_CACERT_BADFILE)
        rh_error_hint(err, "check the files of ca_file, cert_file and key_file");
    else
        return false;
    return true;
}

enum rh_status
rh_http_fail(const struct rh_http *http, const struct rh_http_call *call, struct rh_error *err, const char *what)
{
    const char *words = call->words[0] ? call->words : curl_easy_strerror((CURLcode)call->code);
    const char *shown = http->peer->socket ? http->peer->socket : http->peer->url;
    struct rh_error hint = {0};
    enum rh_status status = tls_failed(http, call, &hint) ? RH_E_TLS : RH_E_NET;
    if (call->result == RH_HTTP_STOPPED)
        words = "the answer was cut short";
    rh_fail(err, status, "%s at '%s' failed: %s", what, RH_SHOW(rh_bytes_text(shown)), RH_SHOW(rh_bytes_text(words)));
    if (!err)
        return status;
    err->native = call->code;
    if (status == RH_E_TLS) {
        rh_error_hint(err, "%s", hint.hint);
        return status;
    }
    err->retry = call->result == RH_HTTP_NOT_SENT ? RH_RETRY_LATER : RH_RETRY_RECONNECT;
    if (call->code == CURLE_COULDNT_CONNECT || call->code == CURLE_COULDNT_RESOLVE_HOST)
        rh_error_hint(err, "check that the server runs and that address is right; --retry 5m waits longer for it");
    else if (http->peer->tls != RH_HTTP_PLAIN && (call->code == CURLE_SEND_ERROR || call->code == CURLE_RECV_ERROR))
        rh_error_hint(err, "if it happens at once and always, the server may not take our certificate: see cert_file, "
                           "key_file and the server's log");
    return status;
}
