/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection_url. libpq reads it, after a pass of ours which takes out what only the Go clients know (pgx, lib/pq), for
 * libpq refuses words that it doesn't know.
 * Knowledge: PostgreSQL 15's manual, "Connection Strings"; the parameters that pgx documents.
 */
#include "url.h"
#include <libpq-fe.h>
#include <rehome/secret.h>
#include <stdio.h>
#include <stdlib.h>

/* Words of pgx and lib/pq. Those that set a time limit are ours to set. */
static const char *const foreign[] = {
    "binary_parameters",
    "default_query_exec_mode",
    "description_cache_capacity",
    "disable_prepared_binary_result",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "min_read_buffer_size",
    "pool_health_check_period",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conn_lifetime_jitter",
    "pool_max_conns",
    "pool_min_conns",
    "pool_min_idle_conns",
    "prefer_simple_protocol",
    "statement_cache_capacity",
    "statement_cache_mode",
    "statement_timeout",
    "timezone",
};

/* What a pass over the text makes: the text for libpq, and what we keep of the rest. */
struct pass {
    struct pg_url *url;
    char *out; /* room for the whole text */
    size_t size;
    struct rh_bytes search_path; /* decoded */
    bool has_path;
    size_t number;     /* of the parameter under way, from 1 */
    const char *known; /* the last one that libpq knows, or NULL */
};

static void append(struct pass *pass, struct rh_bytes bytes)
{
    if (bytes.size)
        memcpy(pass->out + pass->size, bytes.data, bytes.size);
    pass->size += bytes.size;
}

static bool is_word(struct rh_bytes name, const char *word)
{
    return rh_bytes_equal(name, rh_bytes_text(word));
}

static bool is_foreign(struct rh_bytes name)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (is_word(name, foreign[i]))
            return true;
    return false;
}

/* libpq's own name for a parameter, or NULL. Static texts of libpq's table are copied into ours by position. */
static const char *libpq_word(struct rh_bytes name)
{
    static const char *const words[] = {
        "service",
        "user",
        "password",
        "passfile",
        "channel_binding",
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "port",
        "client_encoding",
        "options",
        "application_name",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "sslmode",
        "sslcompression",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "requirepeer",
        "require_auth",
        "sslcertmode",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "gssencmode",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "replication",
        "target_session_attrs",
        "load_balance_hosts",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(name, words[i]))
            return words[i];
    return NULL;
}

/* A parameter that nobody knows: named by its place, since a broken password may look like one. */
static enum rh_status refuse_word(const struct pass *pass, struct rh_error *err)
{
    if (pass->known)
        rh_fail(err, RH_E_PLAN,
                "connection_url can't be read: what follows the parameter '%s' isn't a parameter of libpq",
                pass->known);
    else
        rh_fail(err, RH_E_PLAN, "connection_url can't be read: its first parameter isn't one of libpq");
    rh_error_hint(
        err, "in a URL write @ : / ? # %% in user and password as %%40 %%3A %%2F %%3F %%23 %%25; among keywords put "
             "a value with blanks into '...'");
    return RH_E_PLAN;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoding into the arena; false when it isn't well-formed. */
static bool percent_decode(struct rh_arena *arena, struct rh_bytes in, struct rh_bytes *ret_out)
{
    uint8_t *out = rh_arena_get(arena, in.size + 1);
    size_t size = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < in.size; i++) {
        if (in.data[i] != '%') {
            out[size++] = in.data[i];
            continue;
        }
        int high = i + 2 < in.size ? hex(in.data[i + 1]) : -1, low = i + 2 < in.size ? hex(in.data[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return false;
        out[size++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *ret_out = rh_bytes(out, size);
    return true;
}

/* One parameter: ours, nobody's, or libpq's (then *ret_keep). */
static enum rh_status take_word(
    struct pass *pass, struct rh_bytes name, struct rh_bytes value, bool url, bool *ret_keep, struct rh_error *err)
{
    *ret_keep = false;
    pass->number++;
    if (is_foreign(name)) {
        pass->url->ignored = true;
        return RH_OK;
    }
    if (is_word(name, "search_path")) {
        pass->has_path = true;
        if (!url)
            pass->search_path = value;
        else if (!percent_decode(&pass->url->arena, value, &pass->search_path))
            return rh_fail(err, RH_E_PLAN, "connection_url can't be read: search_path isn't well-formed");
        return RH_OK;
    }
    const char *known = libpq_word(name);
    /* "ssl=true" is libpq's concession to JDBC */
    if (!known && !(url && is_word(name, "ssl")))
        return refuse_word(pass, err);
    if (known)
        pass->known = known;
    *ret_keep = true;
    return RH_OK;
}

/* The position of the query's '?' in a URL, as libpq finds it; text.size without one. */
static size_t query_start(struct rh_bytes text, size_t from)
{
    size_t at = from;
    while (at < text.size && text.data[at] != '@' && text.data[at] != '/')
        at++;
    if (at == text.size || text.data[at] != '@')
        at = from;
    while (at < text.size && text.data[at] != '?')
        at++;
    return at;
}

static enum rh_status filter_url(struct pass *pass, struct rh_bytes text, size_t scheme, struct rh_error *err)
{
    size_t at = query_start(text, scheme);
    append(pass, rh_bytes(text.data, at));
    char joint = '?';
    while (at < text.size) {
        size_t start = ++at;
        while (at < text.size && text.data[at] != '&')
            at++;
        struct rh_bytes item = rh_bytes(text.data + start, at - start);
        const uint8_t *equal = item.size ? memchr(item.data, '=', item.size) : NULL;
        size_t name_size = equal ? (size_t)(equal - item.data) : item.size;
        struct rh_bytes value = equal ? rh_bytes(equal + 1, item.size - name_size - 1) : rh_bytes(NULL, 0);
        bool keep;
        enum rh_status status = take_word(pass, rh_bytes(item.data, name_size), value, true, &keep, err);
        if (status)
            return status;
        if (keep) {
            append(pass, rh_bytes(&joint, 1));
            append(pass, item);
            joint = '&';
        }
    }
    return RH_OK;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* One value of the keyword form from text[*at] on, unescaped into the arena; false without its closing quote. */
static bool keyword_value(struct rh_arena *arena, struct rh_bytes text, size_t *at, struct rh_bytes *ret_value)
{
    uint8_t *out = rh_arena_get(arena, text.size - *at + 1);
    size_t size = 0;
    bool quoted = *at < text.size && text.data[*at] == '\'';
    if (!out)
        return false;
    for (size_t i = *at + quoted; i <= text.size; i++) {
        bool end = i == text.size;
        if ((!end && quoted && text.data[i] == '\'') || (!quoted && (end || is_blank(text.data[i])))) {
            *at = i + quoted;
            *ret_value = rh_bytes(out, size);
            return true;
        }
        if (end)
            return false;
        if (text.data[i] == '\\' && i + 1 < text.size)
            i++;
        out[size++] = text.data[i];
    }
    return false;
}

static enum rh_status filter_keywords(struct pass *pass, struct rh_bytes text, struct rh_error *err)
{
    size_t at = 0;
    for (;;) {
        while (at < text.size && is_blank(text.data[at]))
            at++;
        if (at == text.size)
            return RH_OK;
        size_t start = at;
        while (at < text.size && text.data[at] != '=' && !is_blank(text.data[at]))
            at++;
        struct rh_bytes name = rh_bytes(text.data + start, at - start), value;
        while (at < text.size && is_blank(text.data[at]))
            at++;
        if (at == text.size || text.data[at++] != '=')
            return refuse_word(pass, err);
        while (at < text.size && is_blank(text.data[at]))
            at++;
        bool keep;
        if (!keyword_value(&pass->url->arena, text, &at, &value))
            return rh_fail(err, RH_E_PLAN, "connection_url can't be read: a quote isn't closed");
        enum rh_status status = take_word(pass, name, value, false, &keep, err);
        if (status)
            return status;
        if (keep) {
            append(pass, rh_bytes(text.data + start, at - start));
            append(pass, rh_bytes_text(at < text.size ? " " : ""));
        }
    }
}

/* Overwrites libpq's copies and frees them. */
static void free_parsed(PQconninfoOption *parsed)
{
    for (PQconninfoOption *option = parsed; option && option->keyword; option++)
        if (option->val)
            rh_wipe(option->val, strlen(option->val));
    PQconninfoFree(parsed);
}

/* Lets libpq take the text apart; its own message may repeat pieces of it and is thrown away. */
static enum rh_status parse(struct pass *pass, struct rh_error *err)
{
    char *message = NULL;
    pass->out[pass->size] = '\0';
    PQconninfoOption *parsed = PQconninfoParse(pass->out, &message);
    if (message) {
        rh_wipe(message, strlen(message));
        PQfreemem(message);
    }
    if (!parsed) {
        rh_fail(err, RH_E_PLAN,
                "connection_url can't be read: it is neither postgres://USER:PASSWORD@HOST:PORT/DATABASE nor "
                "host=HOST user=USER ...");
        rh_error_hint(
            err,
            "in a URL write @ : / ? # %% in user and password as %%40 %%3A %%2F %%3F %%23 %%25; among keywords put "
            "a value with blanks into '...'");
        return RH_E_PLAN;
    }
    enum rh_status status = RH_OK;
    for (PQconninfoOption *option = parsed; !status && option->keyword; option++) {
        const char *word = libpq_word(rh_bytes_text(option->keyword));
        if (!option->val || !*option->val)
            continue;
        status = word ? pg_url_set(pass->url, word, rh_bytes_text(option->val), err)
                      : rh_fail(err, RH_E_PLAN, "connection_url has a parameter that rehome doesn't know");
    }
    free_parsed(parsed);
    return status;
}

/* search_path travels as an option of the server's, its blanks and backslashes escaped. */
static enum rh_status add_path(struct pass *pass, struct rh_error *err)
{
    static const char begin[] = "-c search_path=";
    const char *given = pg_url_get(pass->url, "options");
    struct rh_bytes before = rh_bytes_text(given ? given : "");
    uint8_t *out = rh_arena_get(&pass->url->arena, before.size + sizeof begin + 1 + 2 * pass->search_path.size);
    size_t size = 0;
    if (!out)
        return rh_fail_memory(err);
    if (before.size) {
        memcpy(out, before.data, before.size);
        size = before.size;
        out[size++] = ' ';
    }
    memcpy(out + size, begin, sizeof begin - 1);
    size += sizeof begin - 1;
    for (size_t i = 0; i < pass->search_path.size; i++) {
        uint8_t c = pass->search_path.data[i];
        if (is_blank(c) || c == '\\')
            out[size++] = '\\';
        out[size++] = c;
    }
    return pg_url_set(pass->url, "options", rh_bytes(out, size), err);
}

/* What libpq would only find while connecting. */
static enum rh_status check_values(const struct pg_url *url, struct rh_error *err)
{
    static const char *const modes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
    const char *mode = pg_url_get(url, "sslmode"), *port = pg_url_get(url, "port");
    bool known = !mode;
    for (size_t i = 0; !known && i < sizeof modes / sizeof *modes; i++)
        known = strcmp(mode, modes[i]) == 0;
    if (!known) {
        rh_fail(err, RH_E_PLAN, "connection_url: its sslmode isn't one that PostgreSQL has");
        rh_error_hint(err, "sslmode is verify-full, verify-ca, require, prefer, allow or disable");
        return RH_E_PLAN;
    }
    /* several ports: one a host, or one for all; an empty one is the default */
    for (const char *at = port; at && *at;) {
        size_t size = strcspn(at, ",");
        uint64_t number = 1;
        if (size && (rh_parse_u64(rh_bytes(at, size), &number) || !number || number > 65535))
            return rh_fail(err, RH_E_PLAN, "connection_url: its port isn't a number from 1 to 65535");
        at += size + (at[size] == ',');
    }
    if (pg_url_get(url, "replication"))
        return rh_fail(err, RH_E_PLAN, "connection_url: a replication connection is no use here");
    return RH_OK;
}

enum rh_status pg_url_read(struct rh_bytes text, struct pg_url *url, struct rh_error *err)
{
    *url = (struct pg_url){.arena = {.secret = true}};
    if (!text.size)
        return rh_fail(err, RH_E_PLAN, "connection_url is empty");
    if (text.size > PG_URL_BYTES_MAX)
        return rh_fail(err, RH_E_PLAN, "connection_url is longer than %d bytes", PG_URL_BYTES_MAX);
    if (memchr(text.data, 0, text.size) || !rh_utf8_valid(text))
        return rh_fail(err, RH_E_PLAN, "connection_url isn't text in UTF-8");
    struct pass pass = {.url = url, .out = rh_arena_get(&url->arena, text.size + 2)};
    if (!pass.out)
        return rh_fail_memory(err);
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    size_t scheme = 0;
    for (size_t i = 0; i < 2; i++)
        if (rh_bytes_starts(text, rh_bytes_text(schemes[i])))
            scheme = strlen(schemes[i]);
    enum rh_status status = scheme ? filter_url(&pass, text, scheme, err) : filter_keywords(&pass, text, err);
    if (!status)
        status = parse(&pass, err);
    if (!status && pass.has_path)
        status = add_path(&pass, err);
    if (!status)
        status = check_values(url, err);
    if (status)
        pg_url_done(url);
    return status;
}

const char *pg_url_get(const struct pg_url *url, const char *word)
{
    for (size_t i = 0; i < url->count; i++)
        if (strcmp(url->words[i], word) == 0)
            return *url->values[i] ? url->values[i] : NULL;
    return NULL;
}

enum rh_status pg_url_set(struct pg_url *url, const char *word, struct rh_bytes value, struct rh_error *err)
{
    char *copy = rh_arena_get(&url->arena, value.size + 1);
    if (!copy)
        return rh_fail_memory(err);
    if (value.size)
        memcpy(copy, value.data, value.size);
    copy[value.size] = '\0';
    size_t at = 0;
    while (at < url->count && strcmp(url->words[at], word) != 0)
        at++;
    if (at == PG_URL_WORDS_MAX)
        return rh_fail(err, RH_E_LIMIT, "connection_url has too many parameters");
    url->words[at] = word;
    url->values[at] = copy;
    url->count += at == url->count;
    return RH_OK;
}

void pg_url_done(struct pg_url *url)
{
    rh_arena_done(&url->arena);
    *url = (struct pg_url){0};
}

bool pg_url_holds_password(struct rh_bytes text)
{
    struct pg_url url;
    struct rh_error ignored = {0};
    const bool holds =
        pg_url_read(text, &url, &ignored) != RH_OK || pg_url_get(&url, "password") || pg_url_get(&url, "sslpassword");
    pg_url_done(&url);
    return holds;
}
