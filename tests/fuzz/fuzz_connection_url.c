/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of connection_url: any text is taken or refused, and no refusal repeats any of it. What it takes is in
 * words that libpq knows, each once, and has a mode and ports that can be. */
#include "url.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether any eight bytes in a row of the input, which aren't our own words, stand in a message. */
static bool repeats(const char *message, const uint8_t *data, size_t size)
{
    enum { RUN = 8 };
    static const char ours[] =
        "connection_url postgres://USER:PASSWORD@HOST:PORT/DATABASE host=HOST user=USER %40 %3A %2F %3F "
        "%23 %25 verify-full, verify-ca, require, prefer, allow or disable replication connection "
        "search_path can't be read: is neither parameter isn't one of libpq's";
    for (size_t i = 0; i + RUN <= size; i++) {
        const char *at = strstr(message, "'");
        bool known = memmem(ours, sizeof ours, data + i, RUN) != NULL;
        /* a parameter's name that libpq knows may stand between quotes */
        for (const char *hit = message; !known && (hit = memmem(hit, strlen(hit), data + i, RUN)); hit++)
            if (!at || hit < at)
                return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rh_error err = {0};
    struct pg_url url;
    enum rh_status status = pg_url_read(rh_bytes(data, size), &url, &err);
    if (status != RH_OK) {
        if ((status != RH_E_PLAN && status != RH_E_MEMORY && status != RH_E_LIMIT) || url.count ||
            repeats(err.text, data, size))
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
