/* SPDX-License-Identifier: Apache-2.0 */
/* A consul store's options, in Vault's names, in those of Consul's environment, and ours; and its life. */
#include "internal.h"

#include "driver.h"

#include <common.h>

#include <stdio.h>
#include <stdlib.h>

#define ENV(name) ((const char *const[]){(name), NULL})

static const char *const versions[] = {"tls10", "tls11", "tls12", "tls13", NULL};

static const struct rh_option tls_options[] = {
    RH_ROWS_TLS_FILES("our certificate, if the server asks"),
    {.name = "server_name",
                                             .type = RH_OPT_TEXT,
                                             .value_name = "NAME",
                                             .help = "the name the server's certificate must hold, instead of the host of address"},
    RH_ROWS_TLS_HOW,
    {0 },
};

#define IGNORED(word, words)                                                                                           \
    {                                                                                                                  \
        .name = (word), .type = RH_OPT_IGNORED, .help = (words)                                                        \
    }

const struct rh_option cs_options[] = {
    {.name = "address",
     .type = RH_OPT_TEXT,
     .initial = "127.0.0.1:8500",
     .env = ENV("CONSUL_HTTP_ADDR"),
     .value_name = "HOST:PORT",
     .help = "the agent; also https://HOST:PORT or unix:///PATH"},
    {.name = "scheme",
     .type = RH_OPT_CHOICE,
     .choices = (const char *const[]){"http", "https", NULL},
     .value_name = "SCHEME",
     .help = "http or https (default: https; in Vault's configuration http)"},
    {.name = "token",
     .type = RH_OPT_SECRET,
     .env = ENV("CONSUL_HTTP_TOKEN"),
     .value_name = "SECRET",
     .help = "ACL token; better is token_file"},
    {.name = "token_file",
     .type = RH_OPT_PATH,
     .env = ENV("CONSUL_HTTP_TOKEN_FILE"),
     .value_name = "PATH",
     .help = "file that holds the token"},
    {.name = "path",
     .type = RH_OPT_TEXT,
     .initial = "vault/",
     .value_name = "PATH",
     .help = "what all keys of this store begin with"},
    {.name = "full_read",
     .type = RH_OPT_CHOICE,
     .initial = "proved",
     .choices = (const char *const[]){"proved", "assumed", NULL},
     .value_name = "WORD",
     .help = "proved: refuse a token that can't be shown to see all keys; assumed: you vouch for it"},
    RH_ROW_TLS(tls_options),
    {.name = "tls_ca_file",
     .type = RH_OPT_PATH,
     .env = ENV("CONSUL_CACERT"),
     .value_name = "PATH",
     .help = "Vault's name for tls { ca_file }"},
    {.name = "tls_cert_file",
     .type = RH_OPT_PATH,
     .env = ENV("CONSUL_CLIENT_CERT"),
     .value_name = "PATH",
     .help = "Vault's name for tls { cert_file }"},
    {.name = "tls_key_file",
     .type = RH_OPT_PATH,
     .env = ENV("CONSUL_CLIENT_KEY"),
     .value_name = "PATH",
     .help = "Vault's name for tls { key_file }"},
    {.name = "tls_min_version",
     .type = RH_OPT_CHOICE,
     .initial = "tls12",
     .choices = versions,
     .value_name = "VERSION",
     .help = "lowest version of TLS: tls10, tls11, tls12, tls13"},
    {.name = "tls_skip_verify",
     .type = RH_OPT_BOOL,
     .help = "Vault's name for tls { verify = \"off\" }; takes anybody for the server"},
    RH_ROWS_TIMEOUTS("60s", "request"),
    {.name = "consistency_mode",
     .type = RH_OPT_CHOICE,
     .initial = "default",
     .choices = (const char *const[]){"default", "strong", NULL},
     .value_name = "MODE",
     .help = "taken for Vault's sake; rehome always reads in the way of strong"},
    RH_ROW_MAX_PARALLEL,
    IGNORED("session_ttl", "of Vault's HA lock; taken and without meaning here"),
    IGNORED("lock_wait_time", "of Vault's HA lock; taken and without meaning here"),
    IGNORED("service", "of Vault's service registration; taken and without meaning here"),
    IGNORED("service_tags", "of Vault's service registration; taken and without meaning here"),
    IGNORED("service_address", "of Vault's service registration; taken and without meaning here"),
    IGNORED("check_timeout", "of Vault's service registration; taken and without meaning here"),
    IGNORED("disable_registration", "of Vault's service registration; taken and without meaning here"),
    {.name = "tls_ca_path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_HIDDEN,
     .env = ENV("CONSUL_CAPATH"),
     .help = "folder of CA certificates"},
    {.name = "tls_server_name",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_HIDDEN,
     .env = ENV("CONSUL_TLS_SERVER_NAME"),
     .help = "as tls { server_name }"},
    {.name = "http_auth",
     .type = RH_OPT_SECRET,
     .flags = RH_OPT_HIDDEN,
     .env = ENV("CONSUL_HTTP_AUTH"),
     .help = "user:password for a proxy that asks for it"},
    {.name = "http_ssl",
     .type = RH_OPT_BOOL,
     .flags = RH_OPT_HIDDEN,
     .env = ENV("CONSUL_HTTP_SSL"),
     .help = "true: https, where scheme isn't given"},
    {.name = "http_ssl_verify",
     .type = RH_OPT_BOOL,
     .flags = RH_OPT_HIDDEN,
     .env = ENV("CONSUL_HTTP_SSL_VERIFY"),
     .help = "false, in Vault's configuration: as tls_skip_verify"},
    {0},
};

/* --- address --- */

struct address {
    bool https, explicit; /* what kind, and whether it was said */
    char host[256];       /* with an IPv6 address's brackets */
    unsigned port;
    const char *socket; /* a path, or NULL */
};

/* "host", "host:port", "[v6]:port". */
static bool split_host(const char *text, struct address *address)
{
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL, *colon = strrchr(text, ':');
    size_t size = strcspn(text, "/");
    if (text[size] && text[size + 1])
        return false; /* a path behind the host */
    const char *port = NULL;
    if (bracket)
        port = bracket[1] == ':' ? bracket + 2 : NULL;
    else if (colon && strchr(text, ':') == colon)
        port = colon + 1;
    size_t host = bracket ? (size_t)(bracket + 1 - text) : port ? (size_t)(port - 1 - text) : size;
    uint64_t number = address->port;
    if (port && (rh_parse_u64(rh_bytes(port, (size_t)(text + size - port)), &number) || !number || number > 65535))
        return false;
    if (!host || host >= sizeof address->host)
        return false;
    for (size_t i = 0; i < host; i++)
        if ((unsigned char)text[i] <= ' ' || strchr("@?#\\%\"<>", text[i]) || (unsigned char)text[i] >= 0x7f)
            return false;
    memcpy(address->host, text, host);
    address->host[host] = '\0';
    address->port = (unsigned)number;
    return true;
}

/* The address and its scheme. */
static enum rh_status
read_address(const struct rh_options *options, bool vault_config, struct address *address, struct rh_error *err)
{
    const char *text = rh_options_text(options, "address"), *scheme = rh_options_text(options, "scheme");
    *address = (struct address){.https = !vault_config, .port = 8500};
    if (rh_options_given(options, "http_ssl"))
        address->https = rh_options_bool(options, "http_ssl");
    const char *rest = text;
    const char *own = NULL;
    if (strncmp(text, "http://", 7) == 0)
        own = "http", rest = text + 7;
    else if (strncmp(text, "https://", 8) == 0)
        own = "https", rest = text + 8;
    else if (strncmp(text, "unix://", 7) == 0) {
        address->socket = text + 7;
        address->https = false;
        if (address->socket[0] == '/')
            return RH_OK;
    }
    if (own && scheme && strcmp(own, scheme) != 0)
        return rh_fail(err, RH_E_PLAN, "%sscheme says %s, address says %s", RH_PLACE(options, "scheme"), scheme, own);
    if (own || scheme) {
        address->https = strcmp(own ? own : scheme, "https") == 0;
        address->explicit = true;
    }
    if (!address->socket && split_host(rest, address))
        return RH_OK;
    rh_fail(err, RH_E_PLAN, "%saddress '%s' isn't HOST:PORT", RH_PLACE(options, "address"),
            RH_SHOW(rh_bytes_text(text)));
    rh_error_hint(err, "also https://HOST:PORT, [::1]:8501, unix:///PATH");
    return RH_E_PLAN;
}

/* --- secrets --- */

/* Whether a secret can stand in a header line. */
static bool is_line(struct rh_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return text.size > 0;
}

/* "X-Consul-Token: " and the token. */
static enum rh_status make_header(struct cs_store *store, const struct rh_secret *token, struct rh_error *err)
{
    static const char name[] = "X-Consul-Token: ";
    struct rh_bytes bytes = rh_secret_bytes(token);
    while (bytes.size && (bytes.data[bytes.size - 1] == '\n' || bytes.data[bytes.size - 1] == '\r'))
        bytes.size--;
    if (!bytes.size)
        return RH_OK; /* as Vault: an empty token is none */
    if (!is_line(bytes) || bytes.size > 4096)
        return rh_fail(err, RH_E_PLAN, "the token holds characters that no token has");
    size_t size = sizeof name - 1 + bytes.size;
    uint8_t line[sizeof name + 4096];
    memcpy(line, name, sizeof name - 1);
    memcpy(line + sizeof name - 1, bytes.data, bytes.size);
    enum rh_status status = rh_secret_new(rh_bytes(line, size), &store->header, err);
    rh_wipe(line, sizeof line);
    return status;
}

/* The token, from where it is given; what stands in the plan goes before the environment. */
static enum rh_status take_token(struct cs_store *store, const struct rh_options *options, struct rh_error *err)
{
    const struct rh_secret *token = rh_options_secret(options, "token");
    const char *file = rh_options_text(options, "token_file");
    bool token_here = *rh_options_place(options, "token"), file_here = *rh_options_place(options, "token_file");
    if (token && file && token_here == file_here)
        return rh_fail(err, RH_E_PLAN, "%sgive token or token_file, not both", RH_PLACE(options, "token_file"));
    if (file && (!token || file_here)) {
        rh_auto_secret struct rh_secret *read = NULL;
        enum rh_status status = rh_secret_from_file(file, &read, err);
        return status ? status : make_header(store, read, err);
    }
    return token ? make_header(store, token, err) : RH_OK;
}

/* "user:password". */
static enum rh_status take_login(struct cs_store *store, const struct rh_options *options, struct rh_error *err)
{
    const struct rh_secret *login = rh_options_secret(options, "http_auth");
    if (!login)
        return RH_OK;
    if (!is_line(rh_secret_bytes(login)) || !memchr(rh_secret_bytes(login).data, ':', rh_secret_bytes(login).size))
        return rh_fail(err, RH_E_PLAN, "%shttp_auth isn't user:password", RH_PLACE(options, "http_auth"));
    store->login = rh_secret_dup(login);
    return store->login ? RH_OK : rh_fail_memory(err);
}

/* --- TLS --- */

/* One of Vault's and our name for a file. */
static enum rh_status take_file(const struct rh_options *options,
                                const struct rh_options *block,
                                const char *outer,
                                const char *inner,
                                char **ret_path,
                                struct rh_error *err)
{
    const char *one = rh_options_text(options, outer), *other = block ? rh_options_text(block, inner) : NULL;
    if (one && other && *rh_options_place(options, outer))
        return rh_fail(err, RH_E_PLAN, "%sgive %s or tls { %s }, not both", RH_PLACE(options, outer), outer, inner);
    return rh_dup_text(other ? other : one && *one ? one : NULL, ret_path, err);
}

static enum rh_status take_files(struct cs_store *store,
                                 const struct rh_options *options,
                                 const struct rh_options *block,
                                 struct rh_error *err)
{
    enum rh_status status;
    if ((status = take_file(options, block, "tls_ca_file", "ca_file", &store->ca_file, err)) ||
        (status = take_file(options, block, "tls_cert_file", "cert_file", &store->cert_file, err)) ||
        (status = take_file(options, block, "tls_key_file", "key_file", &store->key_file, err)) ||
        (status = rh_dup_text(rh_options_text(options, "tls_ca_path"), &store->ca_path, err)))
        return status;
    if (!store->cert_file != !store->key_file)
        return rh_fail(err, RH_E_PLAN, "%scert_file and key_file go together", RH_PLACE(options, "tls_cert_file"));
    if (store->ca_file && (status = rh_tls_check_certificate("ca_file", store->ca_file, err)))
        return status;
    if (store->cert_file && (status = rh_tls_check_certificate("cert_file", store->cert_file, err)))
        return status;
    return store->key_file ? rh_tls_check_key("key_file", store->key_file, err) : RH_OK;
}

/* Whether anybody is taken for the server. */
static bool skips_verify(const struct cs_store *store, const struct rh_options *options, const struct rh_options *block)
{
    if (block && rh_options_given(block, "verify"))
        return strcmp(rh_options_text(block, "verify"), "off") == 0;
    if (rh_options_bool(options, "tls_skip_verify"))
        return true;
    return store->vault_config && rh_options_given(options, "http_ssl_verify") &&
           !rh_options_bool(options, "http_ssl_verify");
}

/* Which TLS: a plan's is verified unless told; Vault's is what its scheme says. */
static enum rh_status
take_tls(struct cs_store *store, const struct rh_options *options, const struct address *address, struct rh_error *err)
{
    const struct rh_options *block = rh_options_block(options, "tls");
    bool off = block && strcmp(rh_options_text(block, "mode"), "off") == 0;
    enum rh_status status = take_files(store, options, block, err);
    if (status)
        return status;
    if (address->socket)
        return RH_OK;
    bool https = address->https;
    if (!store->vault_config) {
        if (off && https && address->explicit)
            return rh_fail(err, RH_E_PLAN, "%smode = \"off\" and https contradict each other", RH_PLACE(block, "mode"));
        if (!off && !https) {
            rh_fail(err, RH_E_PLAN,
                    "%sthis address is plain text: anybody on the way can read the token and change data",
                    RH_PLACE(options, *rh_options_place(options, "scheme") ? "scheme" : "address"));
            rh_error_hint(err, "use the agent's https port, or, on a network you trust, say tls { mode = \"off\" }");
            return RH_E_PLAN;
        }
        https = !off;
    }
    bool skip = skips_verify(store, options, block);
    store->peer.tls = !https ? RH_HTTP_PLAIN : skip ? RH_HTTP_UNVERIFIED : RH_HTTP_VERIFIED;
    if (!https)
        rh_log(RH_LOG_WARN, "no TLS to the consul store: token and data travel in plain text",
               {"address", store->address});
    else if (skip)
        rh_log(RH_LOG_WARN, "the consul server's certificate isn't verified: anybody on the way can pose as the server",
               {"address", store->address});
    return RH_OK;
}

/* --- path --- */

/* As Vault makes it: a slash behind, none before. It stands in URLs, so only what Consul's URLs take. */
static enum rh_status take_path(struct cs_store *store, const struct rh_options *options, struct rh_error *err)
{
    const char *text = rh_options_text(options, "path"), *why = NULL;
    if (*text == '/')
        text++;
    size_t size = strlen(text);
    bool slash = size && text[size - 1] != '/';
    if (size + slash >= sizeof store->path)
        why = "is too long";
    else if (!rh_utf8_valid(rh_bytes(text, size)))
        why = "isn't valid UTF-8";
    for (size_t i = 0; !why && i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            why = "holds a control character";
    for (const char *at = text; !why && *at;) {
        size_t part = strcspn(at, "/");
        if (!part)
            why = "holds an empty part";
        else if ((part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
            why = "holds a part that is '.' or '..'";
        at += part + (at[part] == '/');
    }
    if (why)
        return rh_fail(err, RH_E_PLAN, "%spath '%s' %s", RH_PLACE(options, "path"), RH_SHOW(rh_bytes_text(text)), why);
    (void)snprintf(store->path, sizeof store->path, "%s%s", text, slash ? "/" : "");
    store->path_size = strlen(store->path);
    return RH_OK;
}

/* --- all of it --- */

/* URL, what to connect to, and the address to show. */
static enum rh_status
take_url(struct cs_store *store, const struct rh_options *options, const struct address *address, struct rh_error *err)
{
    const struct rh_options *block = rh_options_block(options, "tls");
    const char *name = block ? rh_options_text(block, "server_name") : NULL;
    if (!name)
        name = rh_options_text(options, "tls_server_name");
    if (name &&
        (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != strlen(name)))
        return rh_fail(err, RH_E_PLAN, "server_name '%s' isn't a host name", RH_SHOW(rh_bytes_text(name)));
    const char *scheme = store->peer.tls == RH_HTTP_PLAIN ? "http" : "https";
    char url[600], target[300];
    if (address->socket)
        (void)snprintf(url, sizeof url, "http://localhost");
    else
        (void)snprintf(url, sizeof url, "%s://%s:%u", scheme, name ? name : address->host, address->port);
    (void)snprintf(target, sizeof target, "%s:%u", address->host, address->port);
    enum rh_status status = rh_dup_text(url, &store->url, err);
    if (!status && name && !address->socket)
        status = rh_dup_text(target, &store->connect, err);
    if (!status)
        status = rh_dup_text(address->socket, &store->socket, err);
    return status;
}

static enum rh_status take_options(struct cs_store *store, const struct rh_options *options, struct rh_error *err)
{
    struct address address;
    enum rh_status status = read_address(options, store->vault_config, &address, err);
    if (!status)
        status = take_path(store, options, err);
    if (status)
        return status;
    if (address.socket)
        (void)snprintf(store->address, sizeof store->address, "unix:%.100s %.200s", address.socket, store->path);
    else
        (void)snprintf(store->address, sizeof store->address, "%.100s:%u/%.200s", address.host, address.port,
                       store->path);
    status = take_tls(store, options, &address, err);
    if (!status)
        status = take_url(store, options, &address, err);
    if (!status)
        status = take_token(store, options, err);
    if (!status)
        status = take_login(store, options, err);
    store->trust_token = strcmp(rh_options_text(options, "full_read"), "assumed") == 0;
    if (store->trust_token)
        rh_log(RH_LOG_WARN, "full_read = \"assumed\": keys that the token may not read would go unnoticed",
               {"address", store->address});
    unsigned version = 0;
    while (versions[version] && strcmp(versions[version], rh_options_text(options, "tls_min_version")) != 0)
        version++;
    store->peer.min_tls = 10 + version;
    store->peer.connect_us = rh_options_int(options, "connect_timeout");
    store->peer.idle_us = rh_options_int(options, "io_timeout");
    return status;
}

enum rh_status cs_store_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct cs_store *store = calloc(1, sizeof *store);
    if (!store)
        return rh_fail_memory(ctx->err);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->fencing, NULL);
    pthread_mutex_init(&store->listing_lock, NULL);
    store->base.driver = &rh_driver_consul;
    store->side = args->side;
    store->vault_config = args->vault_config;
    store->body_most = store->value_most = CS_BODY_DEFAULT;
    enum rh_status status = rh_dup_text(args->spool_dir, &store->spool_dir, ctx->err);
    if (!status)
        status = take_options(store, args->options, ctx->err);
    if (status) {
        cs_store_close(&store->base);
        return status;
    }
    store->peer.url = store->url;
    store->peer.connect = store->connect;
    store->peer.socket = store->socket;
    store->peer.ca_file = store->ca_file;
    store->peer.ca_path = store->ca_path;
    store->peer.cert_file = store->cert_file;
    store->peer.key_file = store->key_file;
    store->peer.header = store->header;
    store->peer.login = store->login;
    store->peer.wanted = cs_wanted_headers;
    *ret_store = &store->base;
    return RH_OK;
}

void cs_store_close(struct rh_store *base)
{
    struct cs_store *store = (struct cs_store *)base;
    if (!store)
        return;
    cs_listing_unref(store->listing);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->fencing);
    pthread_mutex_destroy(&store->listing_lock);
    rh_secret_free(store->header);
    rh_secret_free(store->login);
    free(store->url);
    free(store->connect);
    free(store->socket);
    free(store->ca_file);
    free(store->ca_path);
    free(store->cert_file);
    free(store->key_file);
    free(store->spool_dir);
    free(store);
}
