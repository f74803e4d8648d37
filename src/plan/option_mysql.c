/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option tables filled in the manner of MySQL's programs: from option files, then from argv, the last value given wins.
 * Knowledge: MySQL Reference Manual, "Specifying Program Options" and its sections on the command line, on modifiers
 * (loose, skip, enable, disable) and on option files.
 */
#include "option_internal.h"

#include <rehome/base.h>
#include <rehome/mysql_file.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 128

/* What was given last for one option of the table. */
struct given {
    bool is_given, has_value;
    bool from_file;
    struct rh_secret *value; /* any of them may be a password */
    char *place;
};

struct filler {
    const struct rh_option *table;
    const struct rh_mysql_group *groups;
    const char *suffix; /* of groups: --defaults-group-suffix, or "" */
    struct given *given;
    size_t count;
};

/* A name as the table writes it. */
struct name {
    char text[NAME_BYTES_MAX + 1];
};

/* With '-' for every '_'; a name that is too long is cut, and then nobody knows it. */
static struct name plain_name(struct rh_bytes raw)
{
    struct name name = {{0}};
    size_t size = raw.size < NAME_BYTES_MAX ? raw.size : NAME_BYTES_MAX;
    for (size_t i = 0; i < size; i++)
        name.text[i] = (char)(raw.data[i] == '_' ? '-' : raw.data[i] ? raw.data[i] : '?');
    return name;
}

/* The name behind a prefix such as "loose-"; NULL when it has none. */
static const char *behind(const char *name, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(name, prefix, size) == 0 && name[size] ? name + size : NULL;
}

/* The option by its name or, of a switch, by skip-NAME, disable-NAME, enable-NAME; *ret_switch is what that means,
 * NULL without such a prefix. */
static const struct rh_option *find_option(const struct rh_option *table, const char *name, const char **ret_switch)
{
    static const char *const prefixes[][2] = {
        {"skip-",    "false"},
        {"disable-", "false"},
        {"enable-",  "true" }
    };
    const struct rh_option *option = rh_option_find(table, name);
    *ret_switch = NULL;
    for (size_t i = 0; !option && i < sizeof prefixes / sizeof prefixes[0]; i++) {
        const char *rest = behind(name, prefixes[i][0]);
        option = rest ? rh_option_find(table, rest) : NULL;
        if (option && option->type != RH_OPT_BOOL)
            option = NULL;
        *ret_switch = option ? prefixes[i][1] : NULL;
    }
    return option && option->flags & RH_OPT_POSITIONAL ? NULL : option;
}

/* Forgets what was given before. */
static void given_clear(struct given *given)
{
    rh_secret_free(given->value);
    free(given->place);
    *given = (struct given){0};
}

/* Takes a value for an option; the last one wins. */
static enum rh_status keep(struct filler *filler,
                           const struct rh_option *option,
                           const struct rh_bytes *value,
                           const char *place,
                           struct rh_error *err)
{
    struct given fresh = {.is_given = true, .has_value = value != NULL, .from_file = place[0] != '\0'};
    assert(option >= filler->table && (size_t)(option - filler->table) < filler->count);
    fresh.place = strdup(place);
    enum rh_status status = fresh.place ? RH_OK : rh_fail_memory(err);
    if (status == RH_OK && value)
        status = rh_secret_new(*value, &fresh.value, err);
    if (status != RH_OK) {
        given_clear(&fresh);
        return status;
    }
    given_clear(&filler->given[option - filler->table]);
    filler->given[option - filler->table] = fresh;
    return RH_OK;
}

/* An unknown name that has "loose" before it is no more than a warning. */
static void warn_loose(const char *name, const char *place)
{
    rh_log(RH_LOG_WARN, "unknown option is passed over, being a loose one", {"option", RH_SHOW(rh_bytes_text(name))},
           {"place", place[0] ? place : "command line"});
}

/* --- files --- */

/* Whether a group's name is this one, in any case of letters, with or without the suffix. */
static bool is_group(struct rh_bytes group, const char *name, const char *suffix)
{
    size_t size = strlen(name), more = strlen(suffix);
    if (group.size < size || strncasecmp((const char *)group.data, name, size) != 0)
        return false;
    if (group.size == size)
        return true;
    return more && group.size == size + more && strncasecmp((const char *)group.data + size, suffix, more) == 0;
}

/* Whether a list has a name; every name is in a list that isn't there. */
static bool is_listed(const char *const *list, const char *name)
{
    if (!list)
        return true;
    for (; *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

/* What an option of this group is called in the table. */
static const char *renamed(const struct rh_mysql_group *group, const char *name)
{
    for (const char *const *pair = group->renamed; pair && pair[0]; pair += 2)
        if (strcmp(pair[0], name) == 0)
            return pair[1];
    return name;
}

/* The error of a name that no option has, in a group that is ours. */
static enum rh_status
unknown_in_file(const struct filler *filler, const char *name, const char *place, struct rh_error *err)
{
    if (name[0] != '-')
        return rh_surely_failed(rh_option_unknown(filler->table, name, place, NULL, "", err));
    rh_ignore(rh_fail(err, RH_E_PLAN, "%s: unknown option '%s'", place, RH_SHOW(rh_bytes_text(name)))); /* as below */
    rh_error_hint(err, "in a file options are written without leading dashes");
    return RH_E_PLAN;
}

/* One option of a file, in a group that is read. */
static enum rh_status take_from_group(struct filler *filler,
                                      const struct rh_mysql_group *group,
                                      const struct rh_mysql_line *line,
                                      struct rh_error *err)
{
    struct name name = plain_name(line->name);
    const char *wanted = behind(name.text, "loose-"), *switched = NULL;
    bool loose = wanted != NULL;
    wanted = renamed(group, loose ? wanted : name.text);
    char place[400];
    (void)snprintf(place, sizeof place, "%s:%u", RH_SHOW(rh_bytes_text(line->path)), line->number);
    const struct rh_option *option = find_option(filler->table, wanted, &switched);
    if (!option || !is_listed(group->only, option->name)) {
        if (group->only)
            return RH_OK;
        if (!loose)
            return unknown_in_file(filler, wanted, place, err);
        warn_loose(wanted, place);
        return RH_OK;
    }
    if (switched && line->has_value)
        return rh_fail(err, RH_E_PLAN, "%s: option '%s' takes no value", place, name.text);
    struct rh_bytes value = switched ? rh_bytes_text(switched) : line->value;
    return keep(filler, option, switched || line->has_value ? &value : NULL, place, err);
}

/* A server reads [mysqld-8.0], too, if that is its version, which nobody knows here. */
static void
warn_versioned(const struct filler *filler, const struct rh_mysql_group *group, const struct rh_mysql_line *line)
{
    const size_t size = strlen(group->name);
    const char *switched = NULL;
    if (!group->only || line->group.size < size + 2 || line->group.data[size] != '-' ||
        line->group.data[size + 1] < '0' || line->group.data[size + 1] > '9' ||
        strncasecmp((const char *)line->group.data, group->name, size) != 0)
        return;
    const struct name name = plain_name(line->name);
    const char *wanted = behind(name.text, "loose-");
    const struct rh_option *option = find_option(filler->table, renamed(group, wanted ? wanted : name.text), &switched);
    char place[400];
    (void)snprintf(place, sizeof place, "%s:%u", RH_SHOW(rh_bytes_text(line->path)), line->number);
    if (option && is_listed(group->only, option->name))
        rh_log(RH_LOG_WARN, "a group for one version of the server isn't read: give the option on the command line",
               {"group", RH_SHOW(line->group)}, {"option", option->name}, {"place", place});
}

/* A sink of lines: those of groups that are read. */
static enum rh_status take_line(void *user, const struct rh_mysql_line *line, struct rh_error *err)
{
    struct filler *filler = user;
    for (const struct rh_mysql_group *group = filler->groups; group->name; group++)
        if (is_group(line->group, group->name, filler->suffix))
            return take_from_group(filler, group, line, err);
    for (const struct rh_mysql_group *group = filler->groups; group->name; group++)
        warn_versioned(filler, group, line);
    return RH_OK;
}

/* --- which files --- */

/* The value of `--NAME=VALUE` or `--NAME VALUE` in argv before "--", with '-' and '_' alike; the last one; NULL: not
 * given. */
static const char *find_in_argv(int argc, char **argv, const char *name)
{
    const char *found = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (argv[i][0] != '-')
            continue;
        const char *word = argv[i] + (argv[i][1] == '-' ? 2 : 1);
        size_t size = strcspn(word, "=");
        if (strcmp(plain_name(rh_bytes(word, size)).text, name) != 0)
            continue;
        found = word[size] ? word + size + 1 : i + 1 < argc ? argv[i + 1] : "";
    }
    return found;
}

/* Whether a switch is on in argv. */
static bool is_on_in_argv(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (argv[i][0] == '-' &&
            strcmp(plain_name(rh_bytes_text(argv[i] + (argv[i][1] == '-' ? 2 : 1))).text, name) == 0)
            return true;
    return false;
}

/* One file; one that must be there is missed. */
static enum rh_status read_one(struct filler *filler, const char *path, bool must, struct rh_error *err)
{
    enum rh_status status = rh_mysql_file_read(path, take_line, filler, err);
    if (status != RH_NOT_FOUND)
        return status;
    return must ? rh_fail(err, RH_E_PLAN, "option file '%s' isn't there", RH_SHOW(rh_bytes_text(path))) : RH_OK;
}

/* The files that argv asks for, else those that MySQL looks for. */
static enum rh_status
read_files(struct filler *filler, const char *const *files, int argc, char **argv, struct rh_error *err)
{
    const char *only = find_in_argv(argc, argv, "defaults-file");
    const char *extra = find_in_argv(argc, argv, "defaults-extra-file");
    const char *suffix = find_in_argv(argc, argv, "defaults-group-suffix");
    if (!suffix)
        suffix =
            getenv("MYSQL_GROUP_SUFFIX"); /* as MySQL's programs do; NOLINT(concurrency-mt-unsafe): no threads yet */
    filler->suffix = suffix ? suffix : "";
    if (is_on_in_argv(argc, argv, "no-defaults"))
        return RH_OK;
    enum rh_status status = RH_OK;
    for (; !only && status == RH_OK && files && *files; files++)
        status = read_one(filler, *files, false, err);
    if (status == RH_OK && only)
        status = read_one(filler, only, true, err);
    return status == RH_OK && extra ? read_one(filler, extra, true, err) : status;
}

/* --- argv --- */

struct words {
    int argc, at;
    char **argv;
    bool only_positional; /* after "--" */
};

/* Takes a value that lies in argv; a secret is wiped there whether or not it could be taken. */
static enum rh_status
keep_from_argv(struct filler *filler, const struct rh_option *option, char *value, struct rh_error *err)
{
    struct rh_bytes bytes = rh_bytes_text(value);
    enum rh_status status = keep(filler, option, &bytes, "", err);
    if (option->type == RH_OPT_SECRET && bytes.size) {
        rh_wipe(value, bytes.size);
        rh_log(RH_LOG_WARN, "a secret on the command line can be seen by other users of this machine",
               {"option", option->name});
    }
    return status;
}

/* `-n VALUE`, `-nVALUE`, `-n`. */
static enum rh_status
read_letter(struct filler *filler, struct words *words, char *argument, bool *ret_known, struct rh_error *err)
{
    const struct rh_option *option = filler->table;
    while (option->name && option->letter != argument[1])
        option++;
    *ret_known = option->name != NULL;
    if (!option->name)
        return RH_OK;
    if (option->type == RH_OPT_BOOL && argument[2]) {
        *ret_known = false;
        return RH_OK;
    }
    if (argument[2])
        return keep_from_argv(filler, option, argument + 2, err);
    if (option->type == RH_OPT_BOOL || option->type == RH_OPT_SECRET)
        return keep(filler, option, NULL, "", err);
    if (words->at >= words->argc)
        return rh_fail(err, RH_E_USAGE, "option '-%c' needs a value", option->letter);
    return keep_from_argv(filler, option, words->argv[words->at++], err);
}

/* `--name`, `--name=VALUE`, `--name VALUE`. A secret's value only follows '=', as with MySQL: what comes next may be
 * another option. */
static enum rh_status read_name(struct filler *filler, struct words *words, char *argument, struct rh_error *err)
{
    char *word = argument + (argument[1] == '-' ? 2 : 1);
    size_t size = strcspn(word, "=");
    struct name name = plain_name(rh_bytes(word, size));
    const char *wanted = behind(name.text, "loose-"), *switched = NULL;
    bool loose = wanted != NULL;
    wanted = loose ? wanted : name.text;
    const struct rh_option *option = find_option(filler->table, wanted, &switched);
    char *value = word[size] ? word + size + 1 : NULL;
    if (!option && loose) {
        warn_loose(wanted, "");
        return RH_OK;
    }
    if (!option)
        return rh_surely_failed(
            rh_option_unknown(filler->table, name.text, "", NULL, argument[1] == '-' ? "--" : "-", err));
    if (switched && value)
        return rh_fail(err, RH_E_USAGE, "option '--%s' takes no value", name.text);
    struct rh_bytes meant = switched ? rh_bytes_text(switched) : (struct rh_bytes){0};
    if (switched)
        return keep(filler, option, &meant, "", err);
    if (!value && (option->type == RH_OPT_BOOL || option->type == RH_OPT_SECRET))
        return keep(filler, option, NULL, "", err);
    if (!value && words->at >= words->argc)
        return rh_fail(err, RH_E_USAGE, "option '--%s' needs a value", option->name);
    return keep_from_argv(filler, option, value ? value : words->argv[words->at++], err);
}

/* All of argv. There is nothing that is taken by place. */
static enum rh_status read_argv(struct filler *filler, int argc, char **argv, struct rh_error *err)
{
    struct words words = {.argc = argc, .at = 1, .argv = argv};
    enum rh_status status = RH_OK;
    while (status == RH_OK && words.at < argc) {
        char *argument = argv[words.at++];
        bool known = false;
        if (!words.only_positional && strcmp(argument, "--") == 0) {
            words.only_positional = true;
            continue;
        }
        if (words.only_positional || argument[0] != '-' || !argument[1])
            return rh_fail(err, RH_E_USAGE, "unexpected argument '%s'", RH_SHOW(rh_bytes_text(argument)));
        if (argument[1] != '-')
            status = read_letter(filler, &words, argument, &known, err);
        if (status == RH_OK && !known)
            status = read_name(filler, &words, argument, err);
    }
    return status;
}

/* --- the values --- */

/* Hands one value to the table's checks. */
static enum rh_status
settle(struct rh_options *options, const struct rh_option *option, const struct given *given, struct rh_error *err)
{
    struct rh_bytes value = given->value ? rh_secret_bytes(given->value) : rh_bytes_text("true");
    options->command_line = !given->from_file;
    if (given->has_value || option->type == RH_OPT_BOOL)
        return rh_options_set(options, option->name, value, given->place, err);
    if (option->type != RH_OPT_SECRET)
        return rh_fail(err, given->from_file ? RH_E_PLAN : RH_E_USAGE, "%s: option '%s' needs a value", given->place,
                       option->name);
    struct rh_option_value *asked = &options->values[option - options->table];
    asked->set = asked->given = true; /* and no secret: it is asked for */
    asked->place = strdup(given->place);
    return asked->place ? RH_OK : rh_fail_memory(err);
}

/* All values that were given, in the table's order. */
static enum rh_status settle_all(const struct filler *filler, struct rh_options *options, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < filler->count; i++)
        if (filler->given[i].is_given)
            status = settle(options, &filler->table[i], &filler->given[i], err);
    options->command_line = true;
    return status == RH_OK ? rh_options_end(options, err) : status;
}

enum rh_status rh_mysql_options(const struct rh_option *table,
                                const struct rh_mysql_group *groups,
                                const char *const *files,
                                int argc,
                                char **argv,
                                struct rh_options **ret_options,
                                struct rh_error *err)
{
    struct filler filler = {.table = table, .groups = groups, .suffix = ""};
    struct rh_options *options = NULL;
    while (table[filler.count].name)
        filler.count++;
    filler.given = calloc(filler.count + 1, sizeof *filler.given);
    enum rh_status status = filler.given ? rh_options_new(table, "", &options, err) : rh_fail_memory(err);
    if (status == RH_OK)
        status = read_files(&filler, files, argc, argv, err);
    if (status == RH_OK)
        status = read_argv(&filler, argc, argv, err);
    if (status == RH_OK)
        status = settle_all(&filler, options, err);
    for (size_t i = 0; filler.given && i < filler.count; i++)
        given_clear(&filler.given[i]);
    free(filler.given);
    if (status == RH_OK)
        *ret_options = options;
    else
        rh_options_free(options);
    return status;
}
