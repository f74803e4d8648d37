/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MariaDB's keys have a number and nothing else: no name, no owner, no type. In the keyring model a key has an owner
 * and an id. Which id stands for which number is what a plan says: by a pattern, `names = "mariadb-%u"`, and by
 * exceptions, `map = ["7=payroll"]`. Both ways it is one to one. Threads: what was made is only read.
 */
#ifndef REHOME_STORES_MARIADB_NUMBERS_H
#define REHOME_STORES_MARIADB_NUMBERS_H

#include <rehome/keyring.h>
#include <rehome/option.h>

#define MARIADB_KEY_TYPE "AES" /* the type that a key of MariaDB has elsewhere */
enum {
    MARIADB_KEY_MOST = 32,    /* bytes of a key */
    MARIADB_SYSTEM_KEY = 1,   /* without which no server starts */
    MARIADB_NUMBER_TEXT = 11, /* a number's digits with the NUL */
};

/* The two rows of an option table. */
#define MARIADB_NAME_OPTIONS                                                                                           \
    {.name = "names",                                                                                                  \
     .type = RH_OPT_TEXT,                                                                                              \
     .initial = "mariadb-%u",                                                                                          \
     .value_name = "PATTERN",                                                                                          \
     .help = "what a key is called in other keyrings, %u being its number; \"\": only those of map have names"},       \
    {                                                                                                                  \
        .name = "map", .type = RH_OPT_TEXT, .flags = RH_OPT_MANY, .value_name = "NUMBER=NAME",                         \
        .help = "what the key of one number is called instead"                                                         \
    }

struct mariadb_names;
/* RH_E_PLAN for a pattern or a pair that isn't one, and where two numbers or two names would be the same. */
enum rh_status
mariadb_names_new(const struct rh_options *options, struct mariadb_names **ret_names, struct rh_error *err) RH_MUST_USE;
void mariadb_names_free(struct mariadb_names *names); /* NULL is fine */

/* A number's id, into the buffer (cleared before). RH_E_REFUSED with words when it has none. */
enum rh_status mariadb_name_of(const struct mariadb_names *names,
                               uint32_t number,
                               struct rh_buf *ret_id,
                               struct rh_error *err) RH_MUST_USE;
/* The number that a key has in MariaDB. RH_E_LIMIT with reason and remedy when there is none. */
enum rh_status mariadb_number_of(const struct mariadb_names *names,
                                 struct rh_bytes owner,
                                 struct rh_bytes id,
                                 uint32_t *ret_number,
                                 struct rh_error *err) RH_MUST_USE;
/* Whether MariaDB can hold a key; type and data may be NULL (not known). RH_E_LIMIT with the reason. */
enum rh_status mariadb_key_fits(const struct mariadb_names *names,
                                struct rh_bytes owner,
                                struct rh_bytes id,
                                const struct rh_bytes *type,
                                const struct rh_bytes *data,
                                struct rh_error *err) RH_MUST_USE;
/* 16, 24 or 32. */
bool mariadb_is_length(size_t bytes);
/* A number as MariaDB takes it: strictly decimal, 1 to 4294967295; no leading zero. */
bool mariadb_number_parse(struct rh_bytes text, uint32_t *ret_number);

#endif
