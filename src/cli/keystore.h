/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rehome keyring list, show and check share: which keystore the command line means, what they say of a key, and
 * how they end. keystore.c finds it, keystore_words.c has the words.
 */
#ifndef REHOME_CLI_KEYSTORE_H
#define REHOME_CLI_KEYSTORE_H

#include "cli.h"

#include <rehome/inventory.h>

/* Options of all three. */
#define KEYSTORE_OPTIONS                                                                                               \
    {.name = "keystore",                                                                                               \
     .type = RH_OPT_PATH,                                                                                              \
     .flags = RH_OPT_REQUIRED | RH_OPT_POSITIONAL | RH_OPT_MANY,                                                       \
     .value_name = "KEYSTORE",                                                                                         \
     .help = "a plan, a keystore's file, or a store and its options: STORE [FILE] [NAME=VALUE ...]"},                  \
        {.name = "move", .type = RH_OPT_TEXT, .value_name = "NAME", .help = "which move of the plan"},                 \
        {.name = "side",                                                                                               \
         .type = RH_OPT_CHOICE,                                                                                        \
         .choices = keystore_sides,                                                                                    \
         .value_name = "SIDE",                                                                                         \
         .help = "which side of the move: source unless given, or destination"},                                       \
        RH_OPTION_JSON, RH_OPTION_LOG("warn")
#define KEYSTORE_OPTION_DATADIR(words)                                                                                 \
    {                                                                                                                  \
        .name = "datadir", .type = RH_OPT_PATH, .flags = RH_OPT_MANY, .value_name = "DIR", .help = (words)             \
    }
#define KEYSTORE_USAGE "KEYSTORE ..."
extern const char *const keystore_sides[];
/* As rh_options_from_argv; a secret among the words NAME=VALUE is wiped and refused. */
enum rh_status keystore_parse(
    const struct rh_command *command, int argc, char **argv, struct rh_options **ret_options, struct rh_error *err);

/* --- keystore.c --- */
struct keystore {
    const struct rh_command *command;
    const struct rh_options *values;
    bool json;
    struct rh_plan *plan;       /* NULL without one */
    const struct rh_move *move; /* of it */
    struct rh_options *options; /* of the store, where there is no plan */
    const struct rh_driver *driver;
    struct rh_inventory *inventory;
    struct rh_error err;
};
/* Finds it, opens it and reads its names. A failure is in keystore->err. */
enum rh_status
keystore_open(struct keystore *keystore, const struct rh_command *command, const struct rh_options *values);
/* Data folders of the command line, then the plan's. */
size_t keystore_folder_count(const struct keystore *keystore);
const char *keystore_folder(const struct keystore *keystore, size_t index);
/* Looks through all of them; what `found` is called for and what becomes of the counts is as in rh_inventory_prove.
 * Says on stderr what there is to say of a folder. `counts` are summed. */
enum rh_status
keystore_prove(struct keystore *keystore, rh_inventory_found *found, void *user, struct rh_proof_counts *ret_counts);
/* Says what a killed server left beside the keystore. */
void keystore_warn(const struct keystore *keystore);
/* Prints a failure, if there is one, as JSON too where asked for; frees; gives the exit code. `begun`: the JSON object
 * is open and has members already. */
enum rh_exit keystore_close(struct keystore *keystore, bool begun);

/* --- keystore_words.c --- */
struct keystore_words {
    char text[160];
};
/* What a key is: "InnoDB key 3, newest"; "" for one of which nothing is known. */
struct keystore_words keystore_short(const struct rh_inventory_key *key);
/* The same as a sentence: "master key 3 of InnoDB on server 6e28e07a-..."; never "". */
struct keystore_words keystore_long(const struct rh_inventory_key *key);
/* Whether the key is one that a server's files name: nobody sees in files what uses another one. */
bool keystore_provable(const struct rh_inventory_key *key);
/* "6 tablespaces, 1 redo log". */
struct keystore_words keystore_uses(const uint32_t files[static RH_INVENTORY_KINDS]);
/* "1 key", "2,000 keys". */
struct keystore_words keystore_count(uint64_t count, const char *noun);
/* One key with all that may be said of it; `used`: also what uses it. */
json_t *keystore_key_json(const struct rh_inventory_key *key, bool used);
json_t *keystore_facts_json(const struct keystore *keystore);
const char *keystore_result(enum rh_proof_result result); /* "opens" */
/* Outside bytes as RH_SHOW, but never cut; how wide they come out. */
void keystore_put(FILE *out, struct rh_bytes bytes);
size_t keystore_width(struct rh_bytes bytes);
/* As keystore_put, then blanks up to a width. */
void keystore_pad(FILE *out, struct rh_bytes bytes, size_t width);

/* --- keystore_files.c: files that need keys --- */
struct keystore_file {
    const struct rh_inventory_key *key; /* NULL: the keystore hasn't got it */
    const char *name, *path, *key_id, *why;
    enum rh_inventory_kind kind;
    enum rh_proof_result result;
};
struct keystore_files {
    const struct rh_inventory_key *only; /* only files that need this one; NULL: all that need any */
    struct rh_arena arena;
    struct keystore_file *files;
    size_t count, capacity;
    bool paths; /* show whole paths, since there are several folders */
};
/* An rh_inventory_found; user is a struct keystore_files. Keeps the file, if it is encrypted. */
enum rh_status keystore_files_add(void *user,
                                  const struct rh_proof_item *item,
                                  const struct rh_inventory_key *key,
                                  struct rh_error *err);
/* Those that are opened first, then by kind and name. */
void keystore_files_sort(struct keystore_files *files);
void keystore_files_done(struct keystore_files *files);
/* What it is called on the terminal. */
struct rh_bytes keystore_file_name(const struct keystore_files *files, const struct keystore_file *file);
json_t *keystore_file_json(const struct keystore_file *file);

#endif
