/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of connection_url: a URL (postgres://user:password@host:port/database?name=value) or keywords
 * (host=... user=...), as libpq and the Go clients of Vault and OpenBao read them. It holds a password as a rule, so
 * all of it stays in secret memory and no error repeats any of it. Threads: one at a time.
 */
#ifndef REHOME_STORES_POSTGRESQL_URL_H
#define REHOME_STORES_POSTGRESQL_URL_H

#include <rehome/bytes.h>

enum { PG_URL_BYTES_MAX = 16384, PG_URL_WORDS_MAX = 64 };

struct pg_url {
    struct rh_arena arena;                                                  /* secret; holds all values */
    const char *words[PG_URL_WORDS_MAX + 1], *values[PG_URL_WORDS_MAX + 1]; /* NULL-terminated, as libpq takes them */
    size_t count;
    bool ignored; /* it had parameters that mean something to a Go client only */
};
/* RH_E_PLAN without any of the text in the words; then `url` is empty. Done with pg_url_done in any case. */
enum rh_status pg_url_read(struct rh_bytes text, struct pg_url *url, struct rh_error *err) RH_MUST_USE;
/* NULL when it isn't there, or is empty (which means the same to libpq). */
const char *pg_url_get(const struct pg_url *url, const char *word);
/* Sets or replaces; `word` is borrowed for as long as the url lives, the value is copied. */
enum rh_status
pg_url_set(struct pg_url *url, const char *word, struct rh_bytes value, struct rh_error *err) RH_MUST_USE;
void pg_url_done(struct pg_url *url);
/* Whether a password stands in the text; of one that can't be read it is believed. */
bool pg_url_holds_password(struct rh_bytes text);

#endif
