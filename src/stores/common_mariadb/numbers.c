/* SPDX-License-Identifier: Apache-2.0 */
/* Which id stands for which number. */
#include "numbers.h"

#include "common.h"

#include <inttypes.h>
#include <stdlib.h>

#define PLACEHOLDER "%u"

struct pair {
    uint32_t number;
    struct rh_bytes name;
};
struct mariadb_names {
    char *text;                       /* the pattern, and what it is made of */
    struct rh_bytes before, after;    /* of the pattern */
    bool has_pattern;                 /* else only the pairs have names */
    struct pair *by_number, *by_name; /* the same pairs in either order */
    size_t count;
    struct rh_arena arena; /* their names */
};

bool mariadb_is_length(size_t bytes)
{
    return bytes == 16 || bytes == 24 || bytes == 32;
}

bool mariadb_number_parse(struct rh_bytes text, uint32_t *ret_number)
{
    uint64_t number;
    if (text.size == 0 || text.data[0] == '0' || rh_parse_u64(text, &number) != RH_OK || number > UINT32_MAX)
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

/* --- making --- */

static int compare_numbers(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

static int compare_names(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    return rh_bytes_compare(left->name, right->name);
}

static const struct pair *pair_of_number(const struct mariadb_names *names, uint32_t number)
{
    const struct pair wanted = {.number = number};
    return names->count ? bsearch(&wanted, names->by_number, names->count, sizeof wanted, compare_numbers) : NULL;
}

static const struct pair *pair_of_name(const struct mariadb_names *names, struct rh_bytes name)
{
    const struct pair wanted = {.name = name};
    return names->count ? bsearch(&wanted, names->by_name, names->count, sizeof wanted, compare_names) : NULL;
}

/* The number that an id has by the pattern alone. */
static bool by_pattern(const struct mariadb_names *names, struct rh_bytes id, uint32_t *ret_number)
{
    const size_t around = names->before.size + names->after.size;
    if (!names->has_pattern || id.size <= around || !rh_bytes_starts(id, names->before) ||
        !rh_bytes_equal(rh_bytes(id.data + id.size - names->after.size, names->after.size), names->after))
        return false;
    return mariadb_number_parse(rh_bytes(id.data + names->before.size, id.size - around), ret_number);
}

/* Takes the pattern apart: exactly one %u, and no other percent sign. */
static enum rh_status take_pattern(struct mariadb_names *names, const struct rh_options *options, struct rh_error *err)
{
    const char *given = rh_options_text(options, "names");
    if (!given || !*given)
        return RH_OK;
    names->text = strdup(given);
    if (!names->text)
        return rh_fail_memory(err);
    const char *percent = strchr(names->text, '%');
    if (!percent || strncmp(percent, PLACEHOLDER, 2) != 0 || strchr(percent + 1, '%'))
        return rh_fail(err, RH_E_PLAN, "%snames = \"%s\" doesn't hold exactly one %%u and no other %%",
                       RH_PLACE(options, "names"), RH_SHOW(rh_bytes_text(given)));
    names->before = rh_bytes(names->text, (size_t)(percent - names->text));
    names->after = rh_bytes_text(percent + 2);
    names->has_pattern = true;
    return RH_OK;
}

/* "7=payroll" into the next pair. */
static enum rh_status
take_pair(struct mariadb_names *names, const struct rh_options *options, const char *text, struct rh_error *err)
{
    struct pair *pair = &names->by_number[names->count];
    const char *sign = strchr(text, '=');
    if (!sign || !sign[1] || !mariadb_number_parse(rh_bytes(text, (size_t)(sign - text)), &pair->number)) {
        rh_fail(err, RH_E_PLAN, "%smap: '%s' isn't NUMBER=NAME", RH_PLACE(options, "map"),
                RH_SHOW(rh_bytes_text(text)));
        rh_error_hint(err, "a number of MariaDB is one of 1 to 4294967295: map = [\"7=payroll\"]");
        return RH_E_PLAN;
    }
    pair->name = rh_arena_copy(&names->arena, rh_bytes_text(sign + 1));
    if (!pair->name.data)
        return rh_fail_memory(err);
    if (pair->name.size > RH_KEYRING_PART_MOST)
        return rh_fail(err, RH_E_PLAN, "%smap: the name of number %" PRIu32 " has more than %u bytes",
                       RH_PLACE(options, "map"), pair->number, RH_KEYRING_PART_MOST);
    names->count++;
    return RH_OK;
}

/* Refuses what wouldn't be one to one. */
static enum rh_status
check_pairs(const struct mariadb_names *names, const struct rh_options *options, struct rh_error *err)
{
    for (size_t i = 0; i < names->count; i++) {
        const struct pair *pair = &names->by_number[i];
        uint32_t other;
        if (i > 0 && pair->number == pair[-1].number)
            return rh_fail(err, RH_E_PLAN, "%smap: number %" PRIu32 " stands there twice", RH_PLACE(options, "map"),
                           pair->number);
        if (i > 0 && rh_bytes_equal(names->by_name[i].name, names->by_name[i - 1].name))
            return rh_fail(err, RH_E_PLAN, "%smap: the name '%s' stands there twice", RH_PLACE(options, "map"),
                           RH_SHOW(names->by_name[i].name));
        if (by_pattern(names, pair->name, &other) && other != pair->number && !pair_of_number(names, other)) {
            rh_fail(err, RH_E_PLAN,
                    "%smap: number %" PRIu32 " is called '%s', which names makes the name of number %" PRIu32 ", too",
                    RH_PLACE(options, "map"), pair->number, RH_SHOW(pair->name), other);
            rh_error_hint(err, "give number %" PRIu32 " a name of its own in map, too", other);
            return RH_E_PLAN;
        }
    }
    return RH_OK;
}

/* The pairs in both orders. */
static enum rh_status take_pairs(struct mariadb_names *names, const struct rh_options *options, struct rh_error *err)
{
    const size_t count = rh_options_count(options, "map");
    enum rh_status status = RH_OK;
    if (count == 0)
        return RH_OK;
    names->by_number = calloc(count, sizeof *names->by_number);
    names->by_name = calloc(count, sizeof *names->by_name);
    if (!names->by_number || !names->by_name)
        return rh_fail_memory(err);
    for (size_t i = 0; status == RH_OK && i < count; i++)
        status = take_pair(names, options, rh_options_text_at(options, "map", i), err);
    if (status != RH_OK)
        return status;
    memcpy(names->by_name, names->by_number, count * sizeof *names->by_name);
    qsort(names->by_number, count, sizeof *names->by_number, compare_numbers);
    qsort(names->by_name, count, sizeof *names->by_name, compare_names);
    return check_pairs(names, options, err);
}

enum rh_status
mariadb_names_new(const struct rh_options *options, struct mariadb_names **ret_names, struct rh_error *err)
{
    struct mariadb_names *names = calloc(1, sizeof *names);
    if (!names)
        return rh_fail_memory(err);
    enum rh_status status = take_pattern(names, options, err);
    if (status == RH_OK)
        status = take_pairs(names, options, err);
    if (status != RH_OK) {
        mariadb_names_free(names);
        return status;
    }
    *ret_names = names;
    return RH_OK;
}

void mariadb_names_free(struct mariadb_names *names)
{
    if (!names)
        return;
    rh_arena_done(&names->arena);
    free(names->by_number);
    free(names->by_name);
    free(names->text);
    free(names);
}

/* --- asking --- */

enum rh_status
mariadb_name_of(const struct mariadb_names *names, uint32_t number, struct rh_buf *ret_id, struct rh_error *err)
{
    const struct pair *pair = pair_of_number(names, number);
    rh_buf_clear(ret_id);
    if (pair)
        return rh_buf_add(ret_id, pair->name.data, pair->name.size, err);
    if (!names->has_pattern) {
        rh_fail(err, RH_E_REFUSED, "the key of number %" PRIu32 " has no name: neither 'names' nor 'map' gives it one",
                number);
        rh_error_hint(err, "map = [\"%" PRIu32 "=NAME\"], or names = \"mariadb-%%u\" for all", number);
        return RH_E_REFUSED;
    }
    enum rh_status status = rh_buf_add(ret_id, names->before.data, names->before.size, err);
    if (status == RH_OK)
        status = rh_buf_format(ret_id, err, "%" PRIu32, number);
    return status == RH_OK ? rh_buf_add(ret_id, names->after.data, names->after.size, err) : status;
}

enum rh_status mariadb_number_of(const struct mariadb_names *names,
                                 struct rh_bytes owner,
                                 struct rh_bytes id,
                                 uint32_t *ret_number,
                                 struct rh_error *err)
{
    const struct pair *pair = pair_of_name(names, id);
    if (owner.size)
        return rh_fail(err, RH_E_LIMIT, "it has an owner, and MariaDB's keys have none");
    if (pair) {
        *ret_number = pair->number;
        return RH_OK;
    }
    uint32_t number;
    if (!by_pattern(names, id, &number)) {
        rh_fail(err, RH_E_LIMIT,
                "MariaDB's keys have numbers for names, and neither 'names' nor 'map' gives a number to it");
        rh_error_hint(err, "say for each key which number it gets: map = [\"7=NAME\"]");
        return RH_E_LIMIT;
    }
    const struct pair *taken = pair_of_number(names, number);
    if (taken)
        return rh_fail(err, RH_E_LIMIT, "its number, %" PRIu32 ", is given to '%s' by 'map'", number,
                       RH_SHOW(taken->name));
    *ret_number = number;
    return RH_OK;
}

enum rh_status mariadb_key_fits(const struct mariadb_names *names,
                                struct rh_bytes owner,
                                struct rh_bytes id,
                                const struct rh_bytes *type,
                                const struct rh_bytes *data,
                                struct rh_error *err)
{
    uint32_t number;
    enum rh_status status = mariadb_number_of(names, owner, id, &number, err);
    if (status == RH_OK && type && !rh_bytes_equal(*type, rh_bytes_text(MARIADB_KEY_TYPE)))
        return rh_fail(err, RH_E_LIMIT, "it is of type '%s', and MariaDB's keys are all of type " MARIADB_KEY_TYPE,
                       RH_SHOW(*type));
    if (status == RH_OK && data && !mariadb_is_length(data->size))
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and MariaDB's keys have 16, 24 or 32", data->size);
    return status;
}
