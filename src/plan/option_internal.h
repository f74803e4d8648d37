/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/plan share about option tables; nobody else includes it. */
#ifndef REHOME_PLAN_OPTION_INTERNAL_H
#define REHOME_PLAN_OPTION_INTERNAL_H

#include <rehome/option.h>

struct rh_option_value {
    bool set;    /* there is a value, given or by default */
    bool given;  /* by file, command line or environment */
    char *text;  /* TEXT, PATH, CHOICE */
    char **more; /* of an option that may have many values: those after the first */
    size_t more_count;
    int64_t number; /* BOOL, INT, DURATION, SIZE */
    char *place;    /* NULL: "" */
    struct rh_secret *secret;
    struct rh_options *block;
};

struct rh_options {
    const struct rh_option *table;
    size_t count;
    char *place;
    bool command_line; /* errors are RH_E_USAGE and options are shown with dashes */
    struct rh_option_value *values;
};

/* The entry of that name, or NULL. */
const struct rh_option *rh_option_find(const struct rh_option *table, const char *name);
/* "PLACE: unknown option 'pth' in WHAT; did you mean 'path'?" `what` may be NULL. RH_E_PLAN; with
 * `dashes` ("-", "--": as they were written on a command line) RH_E_USAGE. */
enum rh_status rh_option_unknown(const struct rh_option *table,
                                 const char *name,
                                 const char *place,
                                 const char *what,
                                 const char *dashes,
                                 struct rh_error *err);

#endif
