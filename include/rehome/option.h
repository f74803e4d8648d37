/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables: one table makes the parser, the checks, the help, the man page test and the completion, for
 * command lines and for the blocks of a plan alike.
 */
#ifndef REHOME_OPTION_H
#define REHOME_OPTION_H

#include <rehome/secret.h>

enum rh_option_type {
    RH_OPT_TEXT,
    RH_OPT_BOOL,     /* true/false (also "true", "1", "yes", "on" as Vault's strings) */
    RH_OPT_INT,      /* whole number within min..max */
    RH_OPT_DURATION, /* "5s", "500ms"; microseconds */
    RH_OPT_SIZE,     /* "64MiB"; bytes */
    RH_OPT_CHOICE,   /* one of `choices` */
    RH_OPT_PATH,     /* as text; a relative one is taken from the current folder */
    RH_OPT_SECRET,   /* goes to secret memory, is never shown */
    RH_OPT_BLOCK,    /* plan only: a nested block with the options of `block` (`tls { ... }`) */
    RH_OPT_IGNORED,  /* taken and dropped: members that Vault strips, or that have no meaning for a move */
};

enum {
    RH_OPT_REQUIRED = 1 << 0,
    RH_OPT_HIDDEN = 1 << 1,     /* not in help; still documented in the man page's own section */
    RH_OPT_POSITIONAL = 1 << 2, /* command lines: taken by place, not by name; with MANY, all that are left */
    RH_OPT_MANY = 1 << 3,       /* TEXT, PATH: may be given several times; a plan takes a list, too */
};

struct rh_option {
    const char *name; /* "password_file"; on a command line "max-parallel" (one or two dashes) */
    enum rh_option_type type;
    unsigned flags;
    const char *initial; /* default, as text; NULL = none */
    const char *const
        *env;         /* names of variables that stand in when it isn't given, in order, NULL-terminated; or NULL */
    int64_t min, max; /* RH_OPT_INT, RH_OPT_DURATION (us); both 0 = any */
    const char *const *choices;               /* RH_OPT_CHOICE, NULL-terminated; of a TEXT: what completion offers */
    const struct rh_option *block;            /* RH_OPT_BLOCK: its table */
    bool (*is_secret)(struct rh_bytes value); /* RH_OPT_SECRET: whether this value is one; NULL: any is */
    const char *value_name;                   /* for help: "PATH", "N" */
    char letter;                              /* short form on a command line, or 0 */
    const char *help;                         /* one line, lower case, no full stop */
};
/* A table ends with an entry whose name is NULL. */

struct rh_options; /* the values that belong to one table */

/* --- reading values; the name must be in the table (else an assert: a programming error) --- */
bool rh_options_given(const struct rh_options *options,
                      const char *name); /* by the file, command line or environment; not by default */
const char *rh_options_text(const struct rh_options *options,
                            const char *name); /* NULL when there is neither value nor default; TEXT, PATH, CHOICE */
/* RH_OPT_MANY: how many values there are, and one of them; rh_options_text is the first. */
size_t rh_options_count(const struct rh_options *options, const char *name);
const char *rh_options_text_at(const struct rh_options *options, const char *name, size_t index);
bool rh_options_bool(const struct rh_options *options, const char *name); /* false when absent */
int64_t rh_options_int(const struct rh_options *options,
                       const char *name); /* INT, DURATION (us), SIZE; 0 when absent */
const struct rh_secret *rh_options_secret(const struct rh_options *options,
                                          const char *name); /* borrowed; NULL when absent */
const struct rh_options *rh_options_block(const struct rh_options *options, const char *name); /* NULL when absent */
/* "plan.hcl:12:3" of where a value (name) or the whole block (NULL) stands; "" when from elsewhere. For messages. */
const char *rh_options_place(const struct rh_options *options, const char *name);
const struct rh_option *rh_options_table(const struct rh_options *options);

/* --- making values --- */
/* Empty values with the table's defaults; environment variables are taken by rh_options_end. */
enum rh_status rh_options_new(const struct rh_option *table,
                              const char *place,
                              struct rh_options **ret_options,
                              struct rh_error *err) RH_MUST_USE;
/* Checks type and bounds; an unknown name is RH_E_PLAN naming place and nearest word; a second value for the same name
 * is an error unless there may be many. place may be "" (then errors begin with the name). `value` may be a secret: it
 * is never repeated in an error for RH_OPT_SECRET. */
enum rh_status rh_options_set(struct rh_options *options,
                              const char *name,
                              struct rh_bytes value,
                              const char *place,
                              struct rh_error *err) RH_MUST_USE;
/* Adds the block's values and gives them out for filling. */
enum rh_status rh_options_open_block(struct rh_options *options,
                                     const char *name,
                                     const char *place,
                                     struct rh_options **ret_block,
                                     struct rh_error *err) RH_MUST_USE;
/* Takes environment variables for what wasn't given and checks that required ones are there; also of blocks. */
enum rh_status rh_options_end(struct rh_options *options, struct rh_error *err) RH_MUST_USE;
void rh_options_free(struct rh_options *options);

/* --- command lines --- */
/* Parses argv[1..]; "-name value", "--name value", "--name=value", "-name=value", "-n value" by letter, bools "-name"
 * or "-name=false";
 * "--" ends options; positional ones fill by place, in table order. RH_E_USAGE with the nearest word. No abbreviations.
 * A secret given in argv is wiped there after copying, and warned of by log event. */
enum rh_status rh_options_from_argv(const struct rh_option *table,
                                    int argc,
                                    char **argv,
                                    struct rh_options **ret_options,
                                    struct rh_error *err) RH_MUST_USE;
/* The help text of a table: aligned "  --name VALUE   help (default: x)" lines. */
enum rh_status
rh_options_help(const struct rh_option *table, bool command_line, struct rh_buf *out, struct rh_error *err) RH_MUST_USE;

#endif
