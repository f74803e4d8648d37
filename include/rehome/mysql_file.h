/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MySQL's option files (my.cnf), and command lines in the manner of MySQL's programs: `-` and `_` mean the same, the
 * last value given wins, `loose_`, `skip_`, `enable_` and `disable_` may stand before a name, a password's value only
 * follows '='. Source: MySQL Reference Manual, "Using Option Files" and "Program Option Modifiers".
 */
#ifndef REHOME_MYSQL_FILE_H
#define REHOME_MYSQL_FILE_H

#include <rehome/option.h>

/* --- the lines of one file --- */
enum rh_mysql_line_kind { RH_MYSQL_OPTION, RH_MYSQL_INCLUDE, RH_MYSQL_INCLUDE_DIR };
struct rh_mysql_line {
    enum rh_mysql_line_kind kind;
    const char *path; /* as given to the reader */
    uint32_t number;  /* from 1 */
    struct rh_bytes group, name;
    struct rh_bytes value; /* an option's, without quotes and escapes; a directive's path. Wiped after the call */
    bool has_value;        /* false: the name stands alone */
};
/* Stops the reader with whatever it returns but RH_OK. */
typedef enum rh_status rh_mysql_sink(void *user, const struct rh_mysql_line *line, struct rh_error *err);
/* All options and directives of a text, in order. RH_E_PLAN with "PATH:LINE: ..." for what isn't one. */
enum rh_status rh_mysql_text_read(
    const char *path, struct rh_bytes text, rh_mysql_sink *sink, void *user, struct rh_error *err) RH_MUST_USE;
/* The same of a file of at most 1 MiB; goes into what it includes, at most 10 deep, and hands on options only. Refuses
 * a file that everybody may write to. RH_NOT_FOUND when the file itself is absent; RH_E_PLAN for anything else. */
enum rh_status rh_mysql_file_read(const char *path, rh_mysql_sink *sink, void *user, struct rh_error *err) RH_MUST_USE;

/* --- an option table filled from files and a command line --- */
struct rh_mysql_group {
    const char *name;        /* "mysqld"; in any case of letters. NULL ends a list */
    const char *const *only; /* the options that are taken from it, the rest is passed over; NULL: all of the table, and
                                unknown names are errors */
    const char *const *renamed; /* pairs of a name in the file and its name in the table; NULL: none */
};
/*
 * Fills a table from option files, then from argv[1..]; what comes later wins. The table must have "no-defaults",
 * "defaults-file", "defaults-extra-file" and "defaults-group-suffix", which are looked for in argv first. Without one
 * of the former two, `files` (a NULL-terminated list of those that MySQL would look for) are read where they are there.
 * An option of type secret whose value is missing counts as given, with no secret: the caller asks for it.
 * RH_E_USAGE for argv, RH_E_PLAN for files.
 */
enum rh_status rh_mysql_options(const struct rh_option *table,
                                const struct rh_mysql_group *groups,
                                const char *const *files,
                                int argc,
                                char **argv,
                                struct rh_options **ret_options,
                                struct rh_error *err) RH_MUST_USE;

#endif
