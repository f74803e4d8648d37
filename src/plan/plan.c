/* SPDX-License-Identifier: Apache-2.0 */
/* Plan files and Vault's migrate files: from the syntax tree to a checked plan. The words: rehome.plan(5). */
#include "plan_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64
#define MEMORY_LEAST_BYTES (1024 * 1024)
#define VAULT_NAME "migrate"

/* --- tables --- */

static const char *const mode_names[] = {"offline", "paused", "live", NULL};
static const char *const conflict_names[] = {"fail", "keep-equal", "overwrite", NULL};
static const char *const marker_names[] = {"both", "none", NULL};
static const char *const state_dir_env[] = {"REHOME_STATE_DIR", NULL};

static const struct rh_option seal_table[] = {
    {.name = "key_file",
     .type = RH_OPT_PATH,
     .value_name = "PATH",
     .help = "file with the key that seals what goes to disk"},
    {.name = "passphrase_file",
     .type = RH_OPT_PATH,
     .value_name = "PATH",
     .help = "file with a passphrase to make that key from"},
    {.name = "passphrase_env",
     .type = RH_OPT_TEXT,
     .value_name = "NAME",
     .help = "environment variable with such a passphrase"},
    {0 },
};

static const struct rh_option plan_table[] = {
    {.name = "state_dir",
     .type = RH_OPT_PATH,
     .env = state_dir_env,
     .value_name = "PATH",
     .help = "folder of the journal, undo images and reports"},
    {.name = "seal",
     .type = RH_OPT_BLOCK,
     .block = seal_table,
     .help = "where the key comes from that seals what goes to disk"},
    {0},
};

static const struct rh_option endpoint_table[] = {{0}}; /* the real ones are the drivers' */

static const struct rh_option move_table[] = {
    {.name = "mode",
     .type = RH_OPT_CHOICE,
     .initial = "offline",
     .choices = mode_names,
     .help = "whether the source is in use meanwhile"},
    {.name = "on_conflict",
     .type = RH_OPT_CHOICE,
     .initial = "fail",
     .choices = conflict_names,
     .help = "what to do about a key that the destination has already"},
    {.name = "verify",
     .type = RH_OPT_BOOL,
     .initial = "true",
     .help = "prove after the copy that both sides are equal"},
    {.name = "parallel",
     .type = RH_OPT_INT,
     .min = 1,
     .max = 128,
     .value_name = "N",
     .help = "ranges that are copied at a time"},
    {.name = "memory",
     .type = RH_OPT_SIZE,
     .initial = "64MiB",
     .value_name = "SIZE",
     .help = "most that all batches together may hold"},
    {.name = "marker",
     .type = RH_OPT_CHOICE,
     .initial = "both",
     .choices = marker_names,
     .help = "none: no marker on a source that may only be read"},
    {.name = "datadir",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_MANY,
     .value_name = "DIR",
     .help = "a MySQL server's data folder that the destination's keys have to open; keyrings only, may be a list"},
    {.name = "source",
     .type = RH_OPT_BLOCK,
     .flags = RH_OPT_REQUIRED,
     .block = endpoint_table,
     .value_name = "\"TYPE\"",
     .help = "the store to move from"},
    {.name = "destination",
     .type = RH_OPT_BLOCK,
     .flags = RH_OPT_REQUIRED,
     .block = endpoint_table,
     .value_name = "\"TYPE\"",
     .help = "the store to move to"},
    {.name = "fence",
     .type = RH_OPT_BLOCK,
     .block = endpoint_table,
     .value_name = "\"TYPE\"",
     .help = "a server whose writers are held back meanwhile; mode paused needs one or more"},
    {0                                                       },
};

static const struct rh_option cutover_table[] = {
    {.name = "window",
     .type = RH_OPT_DURATION,
     .initial = "5s",
     .value_name = "TIME",
     .help = "the most that a cutover may take before it goes back by itself, 1s to 10m"},
    {.name = "route",
     .type = RH_OPT_BLOCK,
     .block = endpoint_table,
     .value_name = "\"TYPE\"",
     .help = "what is switched from source to destination; one or more"},
    {0},
};

const struct rh_option *rh_plan_table(const char *block)
{
    if (strcmp(block, "cutover") == 0)
        return cutover_table;
    if (strcmp(block, "plan") == 0)
        return plan_table;
    if (strcmp(block, "seal") == 0)
        return seal_table;
    return strcmp(block, "move") == 0 ? move_table : NULL;
}

const char *rh_on_conflict_name(enum rh_on_conflict policy)
{
    return conflict_names[policy];
}

const char *rh_mode_name(enum rh_mode mode)
{
    return mode_names[mode];
}

/* The index of a word in its list; it has been checked to be there. */
static unsigned word_index(const char *const *words, const char *word)
{
    unsigned index = 0;
    while (words[index + 1] && strcmp(words[index], word) != 0)
        index++;
    return index;
}

/* --- errors --- */

struct rh_place_text rh_plan_place(const struct rh_plan_loader *loader, struct rh_place place)
{
    struct rh_place_text text;
    const char *path = RH_SHOW(rh_bytes_text(loader->loaded->plan.path));
    if (place.line)
        (void)snprintf(text.text, sizeof text.text, "%s:%u:%u", path, place.line, place.column);
    else
        (void)snprintf(text.text, sizeof text.text, "%s", path);
    return text;
}

enum rh_status(rh_plan_fail)(const struct rh_plan_loader *loader, struct rh_place place, const char *fmt, ...)
{
    char words[640];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    return rh_fail(loader->err, RH_E_PLAN, "%s: %s", rh_plan_place(loader, place).text, words);
}

static const struct rh_place nowhere;

/* --- names --- */

/* Names become file names and words on command lines. */
static enum rh_status check_name(const struct rh_plan_loader *loader, const struct rh_member *member)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    struct rh_title name = rh_plan_title(member);
    size_t size = strlen(name.text);
    bool good = size > 0 && size <= NAME_MAX_BYTES && size == member->titles[0].size &&
                strspn(name.text, letters) == size && name.text[0] != '.' && name.text[0] != '-';
    if (good)
        return RH_OK;
    return rh_plan_fail(
        loader, member->place,
        "name of a %s is made of letters, digits, '_', '-' and '.', at most %d, and begins with none of the last two",
        member->name, NAME_MAX_BYTES);
}

/* The file's name without folder and ending stands in for a missing plan name. */
static enum rh_status name_from_path(struct rh_plan_loader *loader, char **ret_name)
{
    const char *slash = strrchr(loader->loaded->plan.path, '/');
    const char *base = slash ? slash + 1 : loader->loaded->plan.path, *dot = strrchr(base, '.');
    size_t size = dot && dot != base ? (size_t)(dot - base) : strlen(base);
    struct rh_member stem = {.name = (char[]){"plan"}, .titles = {rh_bytes(base, size)}, .title_count = 1};
    enum rh_status status = check_name(loader, &stem);
    if (status != RH_OK) {
        rh_error_hint(loader->err, "give the plan a name of its own: plan \"NAME\" { }");
        return status;
    }
    *ret_name = strndup(base, size);
    return *ret_name ? RH_OK : rh_fail_memory(loader->err);
}

/* --- the state folder --- */

/* The home folder; NULL when none is known. */
static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    if (home && home[0] == '/')
        return home;
    const struct passwd *user = getpwuid(getuid()); /* NOLINT(concurrency-mt-unsafe): no other thread looks users up */
    return user && user->pw_dir && user->pw_dir[0] == '/' ? user->pw_dir : NULL;
}

/* The folder that is used when neither plan nor REHOME_STATE_DIR say one; NULL when there is none or memory is out. */
static char *default_state_dir(void)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home;
    char *path = NULL;
    if (xdg && xdg[0] == '/') /* a relative one is to be ignored, says the XDG base directory specification */
        return asprintf(&path, "%s/rehome", xdg) < 0 ? NULL : path;
    if (geteuid() == 0)
        return strdup("/var/lib/rehome");
    home = home_dir();
    return !home || asprintf(&path, "%s/.local/state/rehome", home) < 0 ? NULL : path;
}

/* Finds the state folder and makes it absolute. */
static enum rh_status resolve_state_dir(struct rh_plan_loader *loader)
{
    struct rh_plan *plan = &loader->loaded->plan;
    const char *given = rh_options_text(loader->loaded->options, "state_dir");
    if (!given) {
        plan->state_dir = default_state_dir();
        if (plan->state_dir)
            return RH_OK;
        enum rh_status status = rh_plan_fail(loader, nowhere, "no state folder is given, and no home folder is known");
        rh_error_hint(loader->err, "write state_dir in the plan block, or set REHOME_STATE_DIR");
        return status;
    }
    if (given[0] == '/') {
        plan->state_dir = strdup(given);
        return plan->state_dir ? RH_OK : rh_fail_memory(loader->err);
    }
    rh_auto_free char *here = getcwd(NULL, 0);
    if (!here)
        return rh_fail_errno(loader->err, errno, "finding the current folder for the state folder");
    if (asprintf(&plan->state_dir, "%s/%s", here, given) < 0) {
        plan->state_dir = NULL;
        return rh_fail_memory(loader->err);
    }
    return RH_OK;
}

/* --- the plan block --- */

/* A passphrase from the environment variable that the seal block names. */
static enum rh_status passphrase_from_env(struct rh_plan_loader *loader, const struct rh_options *seal)
{
    struct rh_plan *plan = &loader->loaded->plan;
    const char *name = rh_options_text(seal, "passphrase_env");
    enum rh_status status = rh_secret_from_env(name, &plan->seal_passphrase, loader->err);
    if (status == RH_NOT_FOUND || (status == RH_OK && rh_secret_bytes(plan->seal_passphrase).size == 0))
        return rh_fail(loader->err, RH_E_PLAN, "%s: environment variable '%s' isn't set or is empty",
                       rh_options_place(seal, "passphrase_env"), RH_SHOW(rh_bytes_text(name)));
    return status;
}

/* Exactly one of the ways to give a key. */
static enum rh_status read_seal(struct rh_plan_loader *loader, const struct rh_options *seal)
{
    struct rh_plan *plan = &loader->loaded->plan;
    const char *key_file = rh_options_text(seal, "key_file"), *file = rh_options_text(seal, "passphrase_file");
    bool env = rh_options_given(seal, "passphrase_env");
    if ((key_file != NULL) + (file != NULL) + env != 1)
        return rh_fail(loader->err, RH_E_PLAN,
                       "%s: block 'seal' takes exactly one of 'key_file', 'passphrase_file' and 'passphrase_env'",
                       rh_options_place(seal, NULL));
    if (env)
        return passphrase_from_env(loader, seal);
    if (key_file) {
        plan->seal_key_file = strdup(key_file);
        return plan->seal_key_file ? RH_OK : rh_fail_memory(loader->err);
    }
    enum rh_status status = rh_secret_from_file(file, &plan->seal_passphrase, loader->err);
    if (status == RH_OK || status == RH_E_MEMORY)
        return status;
    if (status != RH_E_REFUSED)
        loader->err->status = RH_E_PLAN; /* the plan names a file that can't be read */
    return rh_error_prepend(loader->err, "%s", rh_options_place(seal, "passphrase_file"));
}

/* `plan "NAME" { ... }`; member is NULL when the file has none. */
static enum rh_status read_plan_block(struct rh_plan_loader *loader, const struct rh_member *member)
{
    struct rh_loaded_plan *loaded = loader->loaded;
    struct rh_place place = member ? member->place : nowhere;
    if (member && (member->title_count > 1 || member->value->kind != RH_NODE_OBJECT))
        return rh_plan_fail(loader, place, "'plan' is a block with one name: plan \"NAME\" { ... }");
    enum rh_status status = RH_OK;
    if (member && member->title_count) {
        status = check_name(loader, member);
        if (status != RH_OK)
            return status;
        loaded->plan.name = strdup(rh_plan_title(member).text);
        if (!loaded->plan.name)
            return rh_fail_memory(loader->err);
    }
    status = rh_options_new(plan_table, rh_plan_place(loader, place).text, &loaded->options, loader->err);
    if (status == RH_OK && member)
        status = rh_plan_fill(loader, loaded->options, member->value, "plan", NULL);
    if (status == RH_OK)
        status = rh_options_end(loaded->options, loader->err);
    const struct rh_options *seal = status == RH_OK ? rh_options_block(loaded->options, "seal") : NULL;
    if (seal)
        status = read_seal(loader, seal);
    return status == RH_OK ? resolve_state_dir(loader) : status;
}

/* --- moves --- */

/* Members of a move that aren't plain options. */
static bool is_endpoint(const struct rh_member *member)
{
    return strcmp(member->name, "source") == 0 || strcmp(member->name, "destination") == 0 ||
           strcmp(member->name, "fence") == 0;
}

/* Room for one more move, with default options. */
static enum rh_status
add_move(struct rh_plan_loader *loader, const char *name, struct rh_place place, struct rh_move **ret_move)
{
    struct rh_loaded_plan *loaded = loader->loaded;
    struct rh_plan *plan = &loaded->plan;
    struct rh_move *moves = reallocarray(plan->moves, plan->move_count + 1, sizeof *moves);
    if (moves)
        plan->moves = moves;
    struct rh_options **options = reallocarray(loaded->move_options, plan->move_count + 1, sizeof(struct rh_options *));
    if (options)
        loaded->move_options = options;
    char *copy = strdup(name);
    if (!moves || !options || !copy) {
        free(copy);
        return rh_fail_memory(loader->err);
    }
    moves[plan->move_count] = (struct rh_move){.name = copy};
    options[plan->move_count] = NULL;
    *ret_move = &moves[plan->move_count++];
    enum rh_status status =
        rh_options_new(move_table, rh_plan_place(loader, place).text, &options[plan->move_count - 1], loader->err);
    (*ret_move)->options = options[plan->move_count - 1];
    return status;
}

/* Takes the option values into the move. */
static enum rh_status settle_move(struct rh_plan_loader *loader, struct rh_move *move)
{
    assert(move);
    const struct rh_options *options = move->options;
    move->mode = (enum rh_mode)word_index(mode_names, rh_options_text(options, "mode"));
    move->on_conflict = (enum rh_on_conflict)word_index(conflict_names, rh_options_text(options, "on_conflict"));
    move->verify = rh_options_bool(options, "verify");
    move->source_marker = strcmp(rh_options_text(options, "marker"), "both") == 0;
    move->parallel = rh_options_int(options, "parallel");
    move->memory_bytes = rh_options_int(options, "memory");
    if (move->mode == RH_MODE_LIVE)
        return rh_fail(loader->err, RH_E_PLAN, "%s: mode '%s' isn't there yet", rh_options_place(options, "mode"),
                       rh_mode_name(move->mode));
    if (move->memory_bytes < MEMORY_LEAST_BYTES)
        return rh_fail(loader->err, RH_E_PLAN, "%s: option 'memory' takes at least 1MiB",
                       rh_options_place(options, "memory"));
    return RH_OK;
}

/* Both sides have to hold the same kind of data. */
static enum rh_status
check_models(const struct rh_plan_loader *loader, const struct rh_move *move, struct rh_place place)
{
    static const char *const models[] = {
        [RH_MODEL_KV] = "key-value store",   [RH_MODEL_KEYRING] = "keyring",
        [RH_MODEL_MYSQL] = "MySQL database", [RH_MODEL_POSTGRESQL] = "PostgreSQL database",
        [RH_MODEL_REDIS] = "Redis database", [RH_MODEL_TREE] = "file tree"};
    const struct rh_driver *source = move->source.driver, *destination = move->destination.driver;
    assert(source && destination);
    if (source->model == destination->model) {
        if (source->model == RH_MODEL_KEYRING || !rh_options_given(move->options, "datadir"))
            return RH_OK;
        return rh_fail(loader->err, RH_E_PLAN, "%s: option 'datadir' is for keyrings, and \"%s\" is a %s",
                       rh_options_place(move->options, "datadir"), source->name, models[source->model]);
    }
    return rh_plan_fail(loader, place,
                        "source \"%s\" is a %s, destination \"%s\" is a %s: nothing can be moved between them",
                        source->name, models[source->model], destination->name, models[destination->model]);
}

/* One more `fence "TYPE" { ... }` of a move; unlike the others there may be several. */
static enum rh_status read_fence(struct rh_plan_loader *loader, struct rh_move *move, const struct rh_member *member)
{
    struct rh_fence_block *fences = reallocarray(move->fences, move->fence_count + 1, sizeof *fences);
    if (!fences)
        return rh_fail_memory(loader->err);
    move->fences = fences;
    fences[move->fence_count] = (struct rh_fence_block){0};
    return rh_plan_fence(loader, member, &fences[move->fence_count++]);
}

/* A pause needs somebody who is paused, and nobody is paused without one. */
static enum rh_status
check_fences(const struct rh_plan_loader *loader, const struct rh_move *move, struct rh_place place)
{
    if (move->mode == RH_MODE_PAUSED && !move->fence_count)
        return rh_plan_fail(loader, place, "mode 'paused' needs a fence: fence \"TYPE\" { ... }");
    if (move->mode != RH_MODE_PAUSED && move->fence_count)
        return rh_fail(loader->err, RH_E_PLAN, "%s: a fence needs mode = \"paused\"", move->fences[0].place);
    return RH_OK;
}

/* `source "TYPE" { ... }`, `destination "TYPE" { ... }` and the fences of a move. */
static enum rh_status read_endpoints(struct rh_plan_loader *loader,
                                     struct rh_move *move,
                                     struct rh_options *options,
                                     const struct rh_node *object)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < object->member_count; i++) {
        const struct rh_member *member = &object->members[i];
        struct rh_options *unused;
        if (!is_endpoint(member))
            continue;
        if (strcmp(member->name, "fence") == 0) {
            status = read_fence(loader, move, member);
            continue;
        }
        status = rh_options_open_block(options, member->name, rh_plan_place(loader, member->place).text, &unused,
                                       loader->err); /* sees to "given twice" and "missing" */
        if (status == RH_OK)
            status = rh_plan_endpoint(loader, member,
                                      strcmp(member->name, "source") == 0 ? &move->source : &move->destination);
    }
    return status;
}

/* `move "NAME" { ... }`. */
static enum rh_status read_move(struct rh_plan_loader *loader, const struct rh_member *member)
{
    if (member->title_count != 1 || member->value->kind != RH_NODE_OBJECT)
        return rh_plan_fail(loader, member->place, "'move' is a block with one name: move \"NAME\" { ... }");
    enum rh_status status = check_name(loader, member);
    if (status != RH_OK)
        return status;
    struct rh_plan *plan = &loader->loaded->plan;
    struct rh_title name = rh_plan_title(member);
    for (size_t i = 0; i < plan->move_count; i++)
        if (strcmp(plan->moves[i].name, name.text) == 0)
            return rh_plan_fail(loader, member->place, "two moves are named '%s'; the first is at %s", name.text,
                                rh_options_place(plan->moves[i].options, NULL));
    struct rh_move *move = NULL;
    status = add_move(loader, name.text, member->place, &move);
    if (status != RH_OK)
        return status;
    struct rh_options *options = loader->loaded->move_options[plan->move_count - 1];
    char what[NAME_MAX_BYTES + 16];
    (void)snprintf(what, sizeof what, "move \"%.64s\"", name.text);
    status = rh_plan_fill(loader, options, member->value, what, is_endpoint);
    if (status == RH_OK)
        status = read_endpoints(loader, move, options, member->value);
    if (status == RH_OK)
        status = rh_options_end(options, loader->err);
    if (status == RH_OK)
        status = settle_move(loader, move);
    if (status == RH_OK)
        status = check_fences(loader, move, member->place);
    return status == RH_OK ? check_models(loader, move, member->place) : status;
}

/* --- the cutover block --- */

#define WINDOW_LEAST_US (1 * INT64_C(1000000))
#define WINDOW_MOST_US (600 * INT64_C(1000000))

static bool is_route(const struct rh_member *member)
{
    return strcmp(member->name, "route") == 0;
}

/* One more `route "TYPE" { ... }`. */
static enum rh_status read_route(struct rh_plan_loader *loader, const struct rh_member *member)
{
    struct rh_plan *plan = &loader->loaded->plan;
    struct rh_route_block *routes = reallocarray(plan->routes, plan->route_count + 1, sizeof *routes);
    if (!routes)
        return rh_fail_memory(loader->err);
    plan->routes = routes;
    routes[plan->route_count] = (struct rh_route_block){0};
    return rh_plan_route(loader, member, &routes[plan->route_count++]);
}

/* A switch is made while the servers are held back; what has none to hold back can't be switched. */
static enum rh_status check_cutover(const struct rh_plan_loader *loader, const struct rh_member *member)
{
    const struct rh_plan *plan = &loader->loaded->plan;
    if (!plan->route_count)
        return rh_plan_fail(loader, member->place, "block 'cutover' needs a route: route \"TYPE\" { ... }");
    for (size_t i = 0; i < plan->move_count; i++)
        if (plan->moves[i].mode != RH_MODE_PAUSED)
            return rh_plan_fail(loader, member->place,
                                "a cutover needs mode = \"paused\" in every move, and move '%s' "
                                "is %s",
                                plan->moves[i].name, rh_mode_name(plan->moves[i].mode));
    return RH_OK;
}

/* `cutover { ... }`. */
static enum rh_status read_cutover(struct rh_plan_loader *loader, const struct rh_member *member)
{
    struct rh_loaded_plan *loaded = loader->loaded;
    if (member->title_count || member->value->kind != RH_NODE_OBJECT)
        return rh_plan_fail(loader, member->place, "'cutover' is a block without a name: cutover { ... }");
    enum rh_status status =
        rh_options_new(cutover_table, rh_plan_place(loader, member->place).text, &loaded->cutover, loader->err);
    if (status == RH_OK)
        status = rh_plan_fill(loader, loaded->cutover, member->value, "cutover", is_route);
    for (size_t i = 0; status == RH_OK && i < member->value->member_count; i++)
        if (is_route(&member->value->members[i]))
            status = read_route(loader, &member->value->members[i]);
    if (status == RH_OK)
        status = rh_options_end(loaded->cutover, loader->err);
    if (status != RH_OK)
        return status;
    loaded->plan.window_us = rh_options_int(loaded->cutover, "window");
    if (loaded->plan.window_us < WINDOW_LEAST_US || loaded->plan.window_us > WINDOW_MOST_US)
        return rh_fail(loader->err, RH_E_PLAN, "%s: window is between 1s and 10m",
                       rh_options_place(loaded->cutover, "window"));
    return check_cutover(loader, member);
}

/* --- whole files --- */

static const char *const plan_words[] = {"plan", "move", "cutover", NULL};
static const char *const vault_words[] = {"storage_source", "storage_destination", "cluster_addr", NULL};

/* Whether a word is in a list. */
static bool is_in(const char *const *words, const char *word)
{
    for (; *words; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

/* Every word at the top has to be one that this kind of file has. */
static enum rh_status check_top_words(const struct rh_plan_loader *loader, const struct rh_node *root)
{
    static const char *const all[] = {"plan",         "move", "cutover", "storage_source", "storage_destination",
                                      "cluster_addr", NULL};
    bool vault = false, plan = false;
    for (size_t i = 0; i < root->member_count; i++) {
        vault = vault || is_in(vault_words, root->members[i].name);
        plan = plan || is_in(plan_words, root->members[i].name);
    }
    for (size_t i = 0; i < root->member_count; i++) {
        const struct rh_member *member = &root->members[i];
        if (is_in(vault && !plan ? vault_words : plan_words, member->name))
            continue;
        if (vault && plan && is_in(vault_words, member->name))
            return rh_plan_fail(loader, member->place, "'%s' belongs to a migrate file, not to a plan", member->name);
        const char *near = rh_nearest(member->name, vault == plan ? all : vault ? vault_words : plan_words);
        return rh_plan_fail(loader, member->place, "unknown word '%s'%s%s%s", RH_SHOW(rh_bytes_text(member->name)),
                            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return RH_OK;
}

/* The members of that name: how many, and the first two. */
static size_t find_members(const struct rh_node *root, const char *name, const struct rh_member *ret_found[static 2])
{
    size_t count = 0;
    for (size_t i = 0; i < root->member_count; i++)
        if (strcmp(root->members[i].name, name) == 0) {
            if (count < 2)
                ret_found[count] = &root->members[i];
            count++;
        }
    return count;
}

/* One side of a migrate file. */
static enum rh_status
read_stanza(struct rh_plan_loader *loader, const struct rh_node *root, const char *name, struct rh_endpoint *endpoint)
{
    const struct rh_member *found[2] = {NULL, NULL};
    size_t count = find_members(root, name, found);
    if (count == 1)
        return rh_plan_endpoint(loader, found[0], endpoint);
    return rh_plan_fail(loader, count ? found[1]->place : nowhere, "exactly one \"%s\" block is required", name);
}

/* cluster_addr is for a raft destination; here it only has to be a value. */
static enum rh_status check_cluster_addr(const struct rh_plan_loader *loader, const struct rh_node *root)
{
    const struct rh_member *found[2] = {NULL, NULL};
    size_t count = find_members(root, "cluster_addr", found);
    if (count > 1)
        return rh_plan_fail(loader, found[1]->place, "option 'cluster_addr' is given twice");
    if (count == 1 && found[0]->value->kind != RH_NODE_TEXT)
        return rh_plan_fail(loader, found[0]->place, "option 'cluster_addr' takes a text");
    return RH_OK;
}

/* Vault's migrate file: one move that overwrites, with the defaults of a plan. */
static enum rh_status read_vault(struct rh_plan_loader *loader, const struct rh_node *root)
{
    struct rh_plan *plan = &loader->loaded->plan;
    plan->name = strdup(VAULT_NAME);
    if (!plan->name)
        return rh_fail_memory(loader->err);
    struct rh_move *move = NULL;
    enum rh_status status = read_plan_block(loader, NULL);
    if (status == RH_OK)
        status = check_cluster_addr(loader, root);
    if (status == RH_OK)
        status = add_move(loader, VAULT_NAME, nowhere, &move);
    if (status != RH_OK)
        return status;
    status = settle_move(loader, move);
    move->on_conflict = RH_CONFLICT_OVERWRITE;
    if (status == RH_OK)
        status = read_stanza(loader, root, "storage_source", &move->source);
    if (status == RH_OK)
        status = read_stanza(loader, root, "storage_destination", &move->destination);
    return status == RH_OK ? check_models(loader, move, nowhere) : status;
}

/* rehome's own plan. */
static enum rh_status read_plan(struct rh_plan_loader *loader, const struct rh_node *root)
{
    struct rh_plan *plan = &loader->loaded->plan;
    const struct rh_member *found[2] = {NULL, NULL};
    const struct rh_member *cutover[2] = {NULL, NULL};
    if (find_members(root, "cutover", cutover) > 1)
        return rh_plan_fail(loader, cutover[1]->place, "more than one 'cutover' block");
    size_t plans = find_members(root, "plan", found);
    if (plans > 1)
        return rh_plan_fail(loader, found[1]->place, "more than one 'plan' block");
    enum rh_status status = read_plan_block(loader, plans ? found[0] : NULL);
    for (size_t i = 0; status == RH_OK && i < root->member_count; i++)
        if (strcmp(root->members[i].name, "move") == 0)
            status = read_move(loader, &root->members[i]);
    if (status == RH_OK && cutover[0])
        status = read_cutover(loader, cutover[0]);
    if (status != RH_OK)
        return status;
    if (plan->move_count == 0)
        return rh_plan_fail(loader, nowhere, "no 'move' block: there is nothing to do");
    if (!plan->name && plan->move_count > 1)
        return rh_plan_fail(loader, nowhere, "more than one move needs a plan block with a name: plan \"NAME\" { }");
    return plan->name ? RH_OK : name_from_path(loader, &plan->name);
}

/* Says when a file that holds a secret can be read by others. */
static void warn_of_readers(const struct rh_plan_loader *loader)
{
    const char *path = loader->loaded->plan.path;
    struct stat info;
    if (loader->holds_secret && stat(path, &info) == 0 && info.st_mode & (S_IRGRP | S_IROTH))
        rh_log(RH_LOG_WARN, "the plan holds a secret and others may read it; chmod 600 it, or name a file instead",
               {"path", path});
}

/* The whole file as a document; its raw text is wiped, since it may hold passwords. */
static enum rh_status read_document(const char *path, struct rh_document **ret_document, struct rh_error *err)
{
    const char *shown = RH_SHOW(rh_bytes_text(path));
    struct rh_buf text = rh_buf_limited(RH_DOCUMENT_BYTES_MAX + 1);
    enum rh_status status = rh_buf_reserve(&text, RH_DOCUMENT_BYTES_MAX, err); /* so that no copy is left by growing */
    if (status == RH_OK)
        status = rh_file_read(AT_FDCWD, path, RH_DOCUMENT_BYTES_MAX, &text, err);
    if (status == RH_OK)
        status = rh_document_parse(path, rh_buf_bytes(&text), ret_document, err);
    else if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_PLAN, "reading plan '%s': no such file", shown);
    else if (status == RH_E_LIMIT)
        status = rh_fail(err, RH_E_PLAN, "%s: larger than 1 MiB", shown);
    else if (status != RH_E_MEMORY) {
        rh_ignore(rh_error_prepend(err, "reading plan '%s'", shown));
        if (err)
            err->status = RH_E_PLAN;
        status = RH_E_PLAN;
    }
    if (text.data)
        rh_wipe(text.data, text.capacity);
    rh_buf_done(&text);
    return status;
}

/* From the file's tree to the plan. */
static enum rh_status read_root(struct rh_plan_loader *loader)
{
    struct rh_plan *plan = &loader->loaded->plan;
    const struct rh_node *root = plan->document->root;
    enum rh_status status = check_top_words(loader, root);
    if (status != RH_OK)
        return status;
    plan->vault_config = root->member_count && is_in(vault_words, root->members[0].name);
    plan->named_by_stores = plan->vault_config;
    return plan->vault_config ? read_vault(loader, root) : read_plan(loader, root);
}

/* A plan from its file, or from `text` where there is one. */
static enum rh_status plan_make(const char *path,
                                const struct rh_bytes *text,
                                const struct rh_plan_kinds *kinds,
                                struct rh_plan **ret_plan,
                                struct rh_error *err)
{
    struct rh_error own = {0};
    struct rh_plan_loader loader = {.kinds = kinds, .err = err ? err : &own};
    loader.loaded = calloc(1, sizeof *loader.loaded);
    if (!loader.loaded)
        return rh_fail_memory(err);
    struct rh_plan *plan = &loader.loaded->plan;
    plan->path = strdup(path);
    enum rh_status status = plan->path ? RH_OK : rh_fail_memory(err);
    if (status == RH_OK)
        status = text ? rh_document_parse(path, *text, &plan->document, loader.err)
                      : read_document(path, &plan->document, loader.err);
    if (status == RH_OK)
        status = read_root(&loader);
    if (status != RH_OK) {
        rh_plan_free(plan);
        return status;
    }
    if (!text)
        warn_of_readers(&loader);
    *ret_plan = plan;
    return RH_OK;
}

enum rh_status
rh_plan_load(const char *path, const struct rh_plan_kinds *kinds, struct rh_plan **ret_plan, struct rh_error *err)
{
    return plan_make(path, NULL, kinds, ret_plan, err);
}

enum rh_status rh_plan_parse(const char *path,
                             struct rh_bytes text,
                             const struct rh_plan_kinds *kinds,
                             struct rh_plan **ret_plan,
                             struct rh_error *err)
{
    return plan_make(path, &text, kinds, ret_plan, err);
}

/* Frees what an endpoint holds. */
static void endpoint_done(struct rh_endpoint *endpoint)
{
    rh_options_free(endpoint->options);
    free(endpoint->place);
}

void rh_plan_free(struct rh_plan *plan)
{
    if (!plan)
        return;
    struct rh_loaded_plan *loaded = (struct rh_loaded_plan *)plan;
    for (size_t i = 0; i < plan->move_count; i++) {
        free(plan->moves[i].name);
        endpoint_done(&plan->moves[i].source);
        endpoint_done(&plan->moves[i].destination);
        for (size_t j = 0; j < plan->moves[i].fence_count; j++) {
            rh_options_free(plan->moves[i].fences[j].options);
            free(plan->moves[i].fences[j].place);
        }
        free(plan->moves[i].fences);
        rh_options_free(loaded->move_options[i]);
    }
    for (size_t i = 0; i < plan->route_count; i++) {
        rh_options_free(plan->routes[i].options);
        free(plan->routes[i].place);
    }
    free(plan->routes);
    free(plan->moves);
    free(loaded->move_options);
    rh_options_free(loaded->cutover);
    rh_options_free(loaded->options);
    free(plan->path);
    free(plan->name);
    free(plan->state_dir);
    free(plan->seal_key_file);
    rh_secret_free(plan->seal_passphrase);
    rh_document_free(plan->document);
    free(loaded);
}
