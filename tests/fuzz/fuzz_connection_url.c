/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of connection_url: any text is taken or refused, and no refusal repeats any of it but
 * a parameter's name that libpq knows. What it takes is in
 * words that libpq knows, each once, and has a mode and ports that can be. */
#include "url.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All that it ever says; what stands between quotes is a parameter's name, of letters and underscores. */
static const char *const sayings[] = {
    "connection_url is empty",
    "connection_url is longer than 16384 bytes",
    "connection_url isn't text in UTF-8",
    "connection_url can't be read: what follows the parameter '' isn't a parameter of libpq",
    "connection_url can't be read: its first parameter isn't one of libpq",
    "connection_url can't be read: search_path isn't well-formed",
    "connection_url can't be read: a quote isn't closed",
    ("connection_url can't be read: it is neither postgres://USER:PASSWORD@HOST:PORT/DATABASE nor host=HOST "
     "user=USER ..."),
    "connection_url: its sslmode isn't one that PostgreSQL has",
    "connection_url: its port isn't a number from 1 to 65535",
    "connection_url: a replication connection is no use here",
    "connection_url has a parameter that rehome doesn't know",
    "connection_url has too many parameters",
};

/* Whether the message is one of those, and so repeats nothing of the input. */
static bool is_ours(const char *message)
{
    char plain[1024];
    size_t size = 0;
    for (const char *at = message; *at && size + 1 < sizeof plain; at++) {
        plain[size++] = *at;
        size_t name = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
        if (*at == '\'' && name && at[1 + name] == '\'' && at[2 + name] == ' ')
            at += name;
    }
    plain[size] = '\0';
    for (size_t i = 0; i < sizeof sayings / sizeof *sayings; i++)
        if (strcmp(plain, sayings[i]) == 0)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rh_error err = {0};
    struct pg_url url;
    enum rh_status status = pg_url_read(rh_bytes(data, size), &url, &err);
    if (status != RH_OK) {
        if ((status != RH_E_PLAN && status != RH_E_MEMORY && status != RH_E_LIMIT) || url.count ||
            (status != RH_E_MEMORY && !is_ours(err.text)))
            abort();
        return 0;
    }
    for (size_t i = 0; i < url.count; i++) {
        if (!url.words[i] || !url.values[i])
            abort();
        for (size_t j = 0; j < i; j++)
            if (strcmp(url.words[i], url.words[j]) == 0)
                abort();
    }
    if (url.words[url.count] || pg_url_get(&url, "replication"))
        abort();
    pg_url_done(&url);
    return 0;
}
