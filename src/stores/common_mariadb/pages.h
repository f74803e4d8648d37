/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a MariaDB server's data folder tells of its keys: one encrypted page of each tablespace, by which a key shows
 * that it is the right one, and under which cipher. Only tablespaces in the format full_crc32, the default since 10.5,
 * whose pages carry their tablespace's number inside what is encrypted. Knowledge: MariaDB 10.11,
 * storage/innobase/fil/fil0crypt.cc, include/fil0fil.h, sql/encryption.cc, mysys_ssl/my_crypt.cc; pages written by
 * a 10.11 server. Threads: only read once taken.
 */
#ifndef REHOME_STORES_MARIADB_PAGES_H
#define REHOME_STORES_MARIADB_PAGES_H

#include <rehome/bytes.h>

enum { MARIADB_BLOCK = 16 };

/* The row of an option table. */
#define MARIADB_DATADIR_OPTION                                                                                         \
    {                                                                                                                  \
        .name = "server_datadir", .type = RH_OPT_PATH, .value_name = "DIR",                                            \
        .help = "the server's data folder, whose tablespaces the keys have to open"                                    \
    }

struct mariadb_sample {
    const char *name;         /* "shop/orders" */
    uint32_t number, version; /* of the key that it needs */
    uint32_t space, page;
    uint64_t lsn;
    uint8_t salt[MARIADB_BLOCK];  /* the tablespace's, of which the key makes the one that pages are encrypted with */
    uint8_t first[MARIADB_BLOCK]; /* block of the page */
};
struct mariadb_samples {
    struct rh_arena arena;
    struct mariadb_sample *samples; /* by number */
    size_t count, capacity;
    uint64_t tablespaces, plain, strange; /* looked at; not encrypted; of a format that isn't known */
};
/* One of each encrypted tablespace below the folder. RH_E_REFUSED when there is none that can be read. */
enum rh_status
mariadb_samples_take(struct mariadb_samples *samples, const char *datadir, struct rh_error *err) RH_MUST_USE;
void mariadb_samples_done(struct mariadb_samples *samples);

enum mariadb_cipher { MARIADB_OPENS_NOT, MARIADB_CBC, MARIADB_CTR };
/* Whether a key opens it, and how. */
enum rh_status mariadb_sample_try(const struct mariadb_sample *sample,
                                  struct rh_bytes key,
                                  enum mariadb_cipher *ret_cipher,
                                  struct rh_error *err) RH_MUST_USE;
/* Tries a key on all samples of its number. RH_E_LIMIT, naming the tablespace, where it doesn't open one, or where that
 * one is of AES_CTR and `only_cbc`. */
enum rh_status mariadb_samples_try(const struct mariadb_samples *samples,
                                   uint32_t number,
                                   struct rh_bytes key,
                                   bool only_cbc,
                                   struct rh_error *err) RH_MUST_USE;

#endif
