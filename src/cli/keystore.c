/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which keystore a command line means. The first word is a store of the keyring model, and then the others are what its
 * block in a plan would say, or a file: a plan, or a keystore that tells by its first bytes what it is.
 */
#include "keystore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { NAME_BYTES = 128, BLOCKS_MOST = 8 };
#define PLACE "command line"

const char *const keystore_sides[] = {"source", "destination", NULL};

/* --- secrets --- */

/* The option that NAME or BLOCK.NAME stands for in a table; NULL when there is none. */
static const struct rh_option *option_at(const struct rh_option *table, const char *name, size_t size)
{
    const char *dot = memchr(name, '.', size);
    const size_t first = dot ? (size_t)(dot - name) : size;
    for (; table && table->name; table++)
        if (strlen(table->name) == first && strncmp(table->name, name, first) == 0)
            return dot && table->type == RH_OPT_BLOCK ? option_at(table->block, dot + 1, size - first - 1) : table;
    return NULL;
}

/* Whether NAME with that value is a secret of any keyring. */
static bool is_secret(const char *name, size_t size, const char *value)
{
    for (const struct rh_driver *const *driver = rh_drivers(); *driver; driver++) {
        const struct rh_option *option = option_at((*driver)->options, name, size);
        if ((*driver)->model == RH_MODEL_KEYRING && option && option->type == RH_OPT_SECRET &&
            (!option->is_secret || option->is_secret(rh_bytes_text(value))))
            return true;
    }
    return false;
}

enum rh_status keystore_parse(
    const struct rh_command *command, int argc, char **argv, struct rh_options **ret_options, struct rh_error *err)
{
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        const size_t size = equals ? (size_t)(equals - argv[i]) : 0;
        if (!equals || argv[i][0] == '-' || !is_secret(argv[i], size, equals + 1))
            continue;
        rh_wipe(equals + 1, strlen(equals + 1));
        rh_fail(err, RH_E_USAGE, "'%s' isn't taken from the command line, where other users of this machine see it",
                RH_SHOW(rh_bytes(argv[i], size)));
        rh_error_hint(err, "name a file or a variable that holds it: 'rehome help STORE' lists the ways");
        return RH_E_USAGE;
    }
    return rh_options_from_argv(command->options, argc, argv, ret_options, err);
}

/* --- a store and its options --- */

/* Blocks that words have opened so far, as tls.ca_file=FILE does. */
struct blocks {
    const char *names[BLOCKS_MOST];
    struct rh_options *options[BLOCKS_MOST];
    size_t count;
};

/* The block of that name, opened at its first word. */
static enum rh_status open_block(struct blocks *blocks,
                                 struct rh_options *options,
                                 const char *name,
                                 struct rh_options **ret_block,
                                 struct rh_error *err)
{
    for (const struct rh_option *option = rh_options_table(options); option->name; option++) {
        if (strcmp(option->name, name) != 0)
            continue;
        for (size_t i = 0; i < blocks->count; i++)
            if (blocks->names[i] == option->name) {
                *ret_block = blocks->options[i];
                return RH_OK;
            }
        if (blocks->count == BLOCKS_MOST)
            break;
        enum rh_status status = rh_options_open_block(options, name, PLACE, ret_block, err);
        if (status == RH_OK) {
            blocks->names[blocks->count] = option->name;
            blocks->options[blocks->count++] = *ret_block;
        }
        return status;
    }
    return rh_options_set(options, name, rh_bytes_text(""), PLACE, err); /* for its words about unknown names */
}

/* The option that a word without a name is for: the keystore's file, or the server's configuration of it. NULL: none.
 */
static const char *bare_option(const struct rh_options *options)
{
    return rh_option_in(options, "path") ? "path" : rh_option_in(options, "config") ? "config" : NULL;
}

/* NAME=VALUE, BLOCK.NAME=VALUE, or a bare word. */
static enum rh_status
take_word(struct rh_options *options, struct blocks *blocks, const char *word, struct rh_error *err)
{
    char name[NAME_BYTES];
    const char *equals = word[0] == '/' || word[0] == '.' ? NULL : strchr(word, '=');
    const char *bare = bare_option(options);
    const size_t size = equals ? (size_t)(equals - word) : 0;
    if (!equals && !bare)
        return rh_fail(err, RH_E_PLAN, "'%s' is no NAME=VALUE, and this store isn't named by a file",
                       RH_SHOW(rh_bytes_text(word)));
    if (size >= sizeof name)
        return rh_fail(err, RH_E_PLAN, "unknown option '%.40s...'", RH_SHOW(rh_bytes_text(word)));
    snprintf(name, sizeof name, "%.*s", (int)size, word);
    if (!equals)
        return rh_options_set(options, bare, rh_bytes_text(word), PLACE, err);
    char *dot = strchr(name, '.');
    if (!dot)
        return rh_options_set(options, name, rh_bytes_text(equals + 1), PLACE, err);
    *dot = '\0';
    struct rh_options *block = NULL;
    enum rh_status status = open_block(blocks, options, name, &block, err);
    return status == RH_OK ? rh_options_set(block, dot + 1, rh_bytes_text(equals + 1), PLACE, err) : status;
}

/* The options of a store from the words from `from` on. */
static enum rh_status take_words(struct keystore *keystore, const struct rh_driver *driver, size_t from)
{
    const size_t count = rh_options_count(keystore->values, "keystore");
    struct rh_error *err = &keystore->err;
    struct blocks blocks = {.count = 0};
    keystore->driver = driver;
    enum rh_status status = rh_options_new(driver->options, PLACE, &keystore->options, err);
    for (size_t i = from; status == RH_OK && i < count; i++)
        status = take_word(keystore->options, &blocks, rh_options_text_at(keystore->values, "keystore", i), err);
    if (status == RH_OK)
        status = rh_options_end(keystore->options, err);
    if (status == RH_E_PLAN) { /* there is no plan: it's the command line that is wrong */
        err->status = status = RH_E_USAGE;
        if (!err->hint[0])
            rh_error_hint(err, "'rehome help %s' lists the options of that store", driver->name);
    }
    return status;
}

/* --- a plan --- */

static bool is_keyring(const struct rh_move *move)
{
    return move->source.driver->model == RH_MODEL_KEYRING;
}

/* The move that --move names, or the only one between keyrings. */
static enum rh_status find_move(struct keystore *keystore)
{
    const char *name = rh_options_text(keystore->values, "move");
    size_t keyrings = 0;
    for (size_t i = 0; i < keystore->plan->move_count; i++) {
        const struct rh_move *move = &keystore->plan->moves[i];
        if (name ? strcmp(move->name, name) != 0 : !is_keyring(move))
            continue;
        keystore->move = move;
        keyrings += is_keyring(move);
    }
    if (keyrings == 1)
        return RH_OK;
    if (name && keystore->move)
        return rh_fail(&keystore->err, RH_E_USAGE, "move '%s' isn't one between keyrings",
                       RH_SHOW(rh_bytes_text(name)));
    if (name)
        return rh_fail(&keystore->err, RH_E_USAGE, "the plan has no move '%s'", RH_SHOW(rh_bytes_text(name)));
    if (keyrings == 0)
        return rh_fail(&keystore->err, RH_E_USAGE, "no move of the plan is one between keyrings");
    return rh_fail(&keystore->err, RH_E_USAGE, "the plan has %zu moves between keyrings: say which by --move",
                   keyrings);
}

static enum rh_status take_plan(struct keystore *keystore, const char *path)
{
    if (rh_options_count(keystore->values, "keystore") > 1) {
        rh_fail(&keystore->err, RH_E_USAGE, "unexpected argument '%s' behind a plan",
                RH_SHOW(rh_bytes_text(rh_options_text_at(keystore->values, "keystore", 1))));
        rh_error_hint(&keystore->err, "--move and --side say which keystore of the plan is meant");
        return RH_E_USAGE;
    }
    enum rh_status status = rh_plan_load(path, RH_PLAN_KINDS_ALL, &keystore->plan, &keystore->err);
    return status == RH_OK ? find_move(keystore) : status;
}

/* --- a file --- */

/* The first bytes of a file; RH_NOT_FOUND: it isn't there. */
static enum rh_status
read_head(const char *path, uint8_t out[static RH_HEAD_BYTES], size_t *ret_size, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_NOT_FOUND;
    const ssize_t size = fd < 0 ? -1 : read(fd, out, RH_HEAD_BYTES);
    if (size < 0) {
        enum rh_status status = rh_fail_errno(err, errno, "reading '%s'", RH_SHOW(rh_bytes_text(path)));
        if (err)
            err->side = RH_SIDE_SOURCE;
        return status;
    }
    *ret_size = (size_t)size;
    return RH_OK;
}

/* The keyring whose keystores begin as this file does, if there is one; RH_NOT_FOUND: there is no such file. One that a
 * server is about to write has no bytes for a moment, but a .backup has. */
static enum rh_status recognise(const char *path, const struct rh_driver **ret_driver, struct rh_error *err)
{
    uint8_t head[RH_HEAD_BYTES];
    size_t size = 0;
    rh_auto_buf struct rh_buf backup = RH_BUF_INIT;
    enum rh_status status = read_head(path, head, &size, err);
    if (status == RH_OK && size == 0 && rh_buf_format(&backup, NULL, "%s.backup", path) == RH_OK)
        rh_ignore(read_head(rh_buf_cstr(&backup), head, &size, NULL)); /* then it is a file without bytes */
    for (const struct rh_driver *const *driver = rh_drivers(); status == RH_OK && size > 0 && *driver; driver++)
        if ((*driver)->model == RH_MODEL_KEYRING && (*driver)->recognises &&
            (*driver)->recognises(rh_bytes(head, size))) {
            *ret_driver = *driver;
            break;
        }
    rh_wipe(head, sizeof head);
    return status;
}

/* Whether a word that is no file was meant as a store's name. */
static enum rh_status no_file(struct keystore *keystore, const char *word)
{
    const char *names[64] = {NULL};
    size_t count = 0;
    for (const struct rh_driver *const *driver = rh_drivers(); *driver && count < 63; driver++)
        if ((*driver)->model == RH_MODEL_KEYRING)
            names[count++] = (*driver)->name;
    const char *near = rh_nearest(word, names);
    const struct rh_driver *other = rh_driver_find(word);
    if (other)
        rh_fail(&keystore->err, RH_E_USAGE, "store '%s' holds no keyring", other->name);
    else
        rh_fail(&keystore->err, RH_E_USAGE, "'%s' is neither a file nor a store", RH_SHOW(rh_bytes_text(word)));
    if (near && !other)
        rh_error_hint(&keystore->err, "did you mean '%s'?", near);
    else
        rh_error_hint(&keystore->err, "name a plan, a keystore's file, or a store and its options: 'rehome help %s'",
                      keystore->command->name);
    return RH_E_USAGE;
}

/* The word that isn't a store's name. */
static enum rh_status take_file(struct keystore *keystore, const char *word)
{
    const struct rh_driver *driver = NULL;
    enum rh_status status = recognise(word, &driver, &keystore->err);
    if (status == RH_NOT_FOUND)
        return no_file(keystore, word);
    if (status != RH_OK || driver)
        return driver ? take_words(keystore, driver, 0) : status;
    status = take_plan(keystore, word);
    const char *ending = strrchr(word, '.');
    if (status == RH_E_PLAN && !keystore->err.hint[0] && !(ending && strcmp(ending, ".hcl") == 0))
        rh_error_hint(&keystore->err, "if it is a keystore, say of which kind: 'rehome %s STORE %s'",
                      keystore->command->name, RH_SHOW(rh_bytes_text(word)));
    return status;
}

/* --- all of it --- */

/* What is said of a plan makes no sense without one. */
static enum rh_status check_plan_options(struct keystore *keystore)
{
    static const char *const names[] = {"move", "side"};
    for (size_t i = 0; !keystore->plan && i < sizeof names / sizeof *names; i++)
        if (rh_options_given(keystore->values, names[i]))
            return rh_fail(&keystore->err, RH_E_USAGE, "--%s is for a plan, and none is given", names[i]);
    return RH_OK;
}

enum rh_status
keystore_open(struct keystore *keystore, const struct rh_command *command, const struct rh_options *values)
{
    *keystore = (struct keystore){.command = command, .values = values, .json = rh_options_bool(values, "json")};
    const char *first = rh_options_text_at(values, "keystore", 0), *side = rh_options_text(values, "side");
    const struct rh_driver *driver = rh_driver_find(first);
    const bool named = driver && driver->model == RH_MODEL_KEYRING;
    enum rh_status status = named ? take_words(keystore, driver, 1) : take_file(keystore, first);
    if (status == RH_OK)
        status = check_plan_options(keystore);
    if (status != RH_OK)
        return status;
    struct rh_inventory_args args = {.driver = keystore->driver,
                                     .options = keystore->options,
                                     .side = RH_SIDE_SOURCE,
                                     .name = "",
                                     .cancel = &rh_cancel};
    if (keystore->plan) {
        const bool destination = side && strcmp(side, "destination") == 0;
        const struct rh_endpoint *end = destination ? &keystore->move->destination : &keystore->move->source;
        keystore->driver = args.driver = end->driver;
        args.options = end->options;
        args.side = destination ? RH_SIDE_DESTINATION : RH_SIDE_SOURCE;
        args.name = keystore->move->name;
        args.spool_dir = keystore->plan->state_dir;
    }
    status = rh_inventory_open(&args, &keystore->inventory, &keystore->err);
    if (status == RH_E_PLAN && strncmp(keystore->err.text, PLACE, strlen(PLACE)) == 0)
        keystore->err.status = status = RH_E_USAGE; /* not what stands in a configuration that it names */
    return status;
}

/* How many data folders the plan's move names. */
static size_t planned(const struct keystore *keystore)
{
    return keystore->move && keystore->move->options ? rh_options_count(keystore->move->options, "datadir") : 0;
}

size_t keystore_folder_count(const struct keystore *keystore)
{
    return rh_options_count(keystore->values, "datadir") + planned(keystore);
}

const char *keystore_folder(const struct keystore *keystore, size_t index)
{
    const size_t given = rh_options_count(keystore->values, "datadir");
    return index < given ? rh_options_text_at(keystore->values, "datadir", index)
                         : rh_options_text_at(keystore->move->options, "datadir", index - given);
}

enum rh_status
keystore_prove(struct keystore *keystore, rh_inventory_found *found, void *user, struct rh_proof_counts *ret_counts)
{
    struct rh_proof_counts sum = {.files = 0};
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < keystore_folder_count(keystore); i++) {
        struct rh_proof_counts one = {.files = 0};
        const char *folder = keystore_folder(keystore, i);
        status = rh_inventory_prove(keystore->inventory, folder, found, user, &one, &keystore->err);
        if (one.server)
            rh_talk("warning: a server (process %ld) is at work in '%s': what it hasn't written yet isn't seen",
                    (long)one.server, RH_SHOW(rh_bytes_text(folder)));
        if (status != RH_OK && keystore->err.side == RH_SIDE_NONE)
            keystore->err.side = RH_SIDE_SOURCE; /* the folder is something to read from */
        sum.files += one.files;
        sum.encrypted += one.encrypted;
        sum.opened += one.opened;
        sum.failed += one.failed;
        sum.keys += one.keys;
        sum.server = one.server ? one.server : sum.server;
    }
    *ret_counts = sum;
    return status;
}

void keystore_warn(const struct keystore *keystore)
{
    const struct rh_facts *facts = rh_inventory_facts(keystore->inventory);
    if (!facts->leftover[0])
        return;
    rh_talk("%s: %s", facts->leftover_harms ? "warning" : "note", facts->leftover);
    if (facts->leftover_harms)
        rh_talk("  fix: move it away before the server is started");
}

enum rh_exit keystore_close(struct keystore *keystore, bool begun)
{
    const bool failed = keystore->err.status != RH_OK;
    const enum rh_exit code = failed ? rh_engine_exit(&keystore->err) : RH_EXIT_OK;
    if (failed)
        rh_talk_error(&keystore->err);
    if (keystore->json) {
        json_t *tail =
            json_pack("{s:s, s:i, s:s, s:o}", "command", keystore->command->name, "exit", (int)code, "exit_name",
                      rh_exit_name(code), "error", failed ? rh_error_json(&keystore->err) : json_null());
        char *text = json_dumps(tail, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        /* the object was streamed, so it is put together by hand: text + 1 leaves out the opening brace */
        printf("%s%s\n", begun ? "," : "{", text ? text + 1 : "\"memory\": false}");
        free(text);
        json_decref(tail);
    }
    rh_inventory_close(keystore->inventory);
    rh_options_free(keystore->options);
    rh_plan_free(keystore->plan);
    return code;
}
