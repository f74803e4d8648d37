/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables on the command line: parsing argv, and the help text. */
#include "option_internal.h"

#include <rehome/base.h>

#include <stdlib.h>

#define HELP_COLUMN_MAX 34 /* longer left sides get a line of their own */
#define NAME_MAX_BYTES 128

/* --- argv --- */

struct argv_reader {
    const struct rh_option *table;
    struct rh_options *options;
    int argc, at;
    char **argv;
    const struct rh_option *next_positional;
    bool only_positional; /* after "--" */
};

/* The option with this letter, or NULL. */
static const struct rh_option *find_letter(const struct rh_option *table, char letter)
{
    for (; table->name; table++)
        if (table->letter && table->letter == letter)
            return table;
    return NULL;
}

/* Sets a value that lies in argv; a secret is wiped there whether or not it could be taken. */
static enum rh_status
set_from_argv(struct argv_reader *reader, const struct rh_option *option, char *value, struct rh_error *err)
{
    enum rh_status status = rh_options_set(reader->options, option->name, rh_bytes_text(value), "", err);
    if (option->type == RH_OPT_SECRET) {
        rh_wipe(value, strlen(value));
        rh_log(RH_LOG_WARN, "a secret on the command line can be seen by other users of this machine",
               {"option", option->name});
    }
    return status;
}

/* The next argument that is taken by place. */
static enum rh_status read_positional(struct argv_reader *reader, char *value, struct rh_error *err)
{
    const struct rh_option *option = reader->next_positional;
    while (option->name && !(option->flags & RH_OPT_POSITIONAL))
        option++;
    if (!option->name)
        return rh_fail(err, RH_E_USAGE, "unexpected argument '%s'", RH_SHOW(rh_bytes_text(value)));
    reader->next_positional = option->flags & RH_OPT_MANY ? option : option + 1;
    return set_from_argv(reader, option, value, err);
}

/* Finds the option that an argument such as "--name=value" or "-n" speaks of; *ret_value is what follows '=', or NULL.
 */
static enum rh_status find_named(const struct argv_reader *reader,
                                 char *argument,
                                 const struct rh_option **ret_option,
                                 char **ret_value,
                                 struct rh_error *err)
{
    char *name = argument + (argument[1] == '-' ? 2 : 1);
    size_t size = strcspn(name, "=");
    char word[NAME_MAX_BYTES];
    if (size == 0 || size >= sizeof word)
        return rh_fail(err, RH_E_USAGE, "unknown option '%s'",
                       RH_SHOW(rh_bytes(argument, (size_t)(name - argument) + size)));
    memcpy(word, name, size);
    word[size] = '\0';
    const struct rh_option *option = rh_option_find(reader->table, word);
    if (option && option->flags & RH_OPT_POSITIONAL)
        option = NULL;
    if (!option && size == 1 && argument[1] != '-')
        option = find_letter(reader->table, word[0]);
    if (!option)
        return rh_option_unknown(reader->table, word, "", NULL, argument[1] == '-' ? "--" : "-", err);
    *ret_option = option;
    *ret_value = name[size] == '=' ? name + size + 1 : NULL;
    return RH_OK;
}

/* One argument that begins with a dash, and its value. */
static enum rh_status read_named(struct argv_reader *reader, char *argument, struct rh_error *err)
{
    const struct rh_option *option = NULL;
    char *value = NULL;
    enum rh_status status = find_named(reader, argument, &option, &value, err);
    if (status != RH_OK || !option)
        return status;
    if (!value && option->type == RH_OPT_BOOL)
        return rh_options_set(reader->options, option->name, rh_bytes_text("true"), "", err);
    if (!value && reader->at >= reader->argc)
        return rh_fail(err, RH_E_USAGE, "option '--%s' needs a value", option->name);
    return set_from_argv(reader, option, value ? value : reader->argv[reader->at++], err);
}

/* Whether "help" was asked for: then nothing else needs to be there. */
static bool wants_help(const struct rh_options *options)
{
    const struct rh_option *help = rh_option_find(options->table, "help");
    return help && help->type == RH_OPT_BOOL && rh_options_bool(options, "help");
}

enum rh_status rh_options_from_argv(
    const struct rh_option *table, int argc, char **argv, struct rh_options **ret_options, struct rh_error *err)
{
    struct argv_reader reader = {.table = table, .argc = argc, .at = 1, .argv = argv, .next_positional = table};
    enum rh_status status = rh_options_new(table, "", &reader.options, err);
    if (status != RH_OK)
        return status;
    reader.options->command_line = true;
    while (status == RH_OK && reader.at < argc) {
        char *argument = argv[reader.at++];
        if (!reader.only_positional && strcmp(argument, "--") == 0)
            reader.only_positional = true;
        else if (!reader.only_positional && argument[0] == '-' && argument[1])
            status = read_named(&reader, argument, err);
        else
            status = read_positional(&reader, argument, err);
    }
    if (status == RH_OK && !wants_help(reader.options))
        status = rh_options_end(reader.options, err);
    if (status != RH_OK) {
        rh_options_free(reader.options);
        return status;
    }
    *ret_options = reader.options;
    return RH_OK;
}

/* --- help --- */

/* What stands for the value: its name, the choices, or a word by type; NULL: none is shown. */
static enum rh_status add_value_name(const struct rh_option *option, bool command_line, struct rh_buf *out)
{
    if (option->type == RH_OPT_BLOCK)
        return rh_buf_format(out, NULL, " %s%s{ ... }", option->value_name ? option->value_name : "",
                             option->value_name ? " " : "");
    if (option->type == RH_OPT_BOOL && command_line)
        return RH_OK;
    static const char *const words[] = {
        [RH_OPT_TEXT] = "TEXT", [RH_OPT_BOOL] = "BOOL",   [RH_OPT_INT] = "N",     [RH_OPT_DURATION] = "TIME",
        [RH_OPT_SIZE] = "SIZE", [RH_OPT_CHOICE] = "",     [RH_OPT_PATH] = "PATH", [RH_OPT_SECRET] = "SECRET",
        [RH_OPT_BLOCK] = "",    [RH_OPT_IGNORED] = "ANY",
    };
    enum rh_status status = rh_buf_text(out, " ", NULL);
    if (option->value_name || option->type != RH_OPT_CHOICE)
        return status == RH_OK ? rh_buf_text(out, option->value_name ? option->value_name : words[option->type], NULL)
                               : status;
    for (const char *const *choice = option->choices; status == RH_OK && *choice; choice++)
        status = rh_buf_format(out, NULL, "%s%s", choice == option->choices ? "" : "|", *choice);
    return status;
}

/* The left side of a line: "-c, --config PATH". */
static enum rh_status add_left(const struct rh_option *option, bool command_line, struct rh_buf *out)
{
    if (command_line && option->flags & RH_OPT_POSITIONAL)
        return rh_buf_text(out, option->value_name ? option->value_name : option->name, NULL);
    enum rh_status status = RH_OK;
    if (command_line && option->letter)
        status = rh_buf_format(out, NULL, "-%c, ", option->letter);
    if (status == RH_OK)
        status = rh_buf_format(out, NULL, "%s%s", command_line ? "--" : "", option->name);
    return status == RH_OK ? add_value_name(option, command_line, out) : status;
}

/* The right side: the help, and in brackets what else is to be known. */
static enum rh_status add_right(const struct rh_option *option, struct rh_buf *out)
{
    enum rh_status status = rh_buf_text(out, option->help ? option->help : "", NULL);
    const char *before = " (";
    if (status == RH_OK && option->flags & RH_OPT_REQUIRED) {
        status = rh_buf_format(out, NULL, "%srequired", before);
        before = "; ";
    }
    if (status == RH_OK && option->initial && option->initial[0] && option->type != RH_OPT_SECRET) {
        status = rh_buf_format(out, NULL, "%sdefault: %s", before, option->initial);
        before = "; ";
    }
    for (const char *const *name = option->env; status == RH_OK && name && *name; name++) {
        status = rh_buf_format(out, NULL, "%s%s", name == option->env ? before : ", ", *name);
        before = NULL;
    }
    if (status == RH_OK && (!before || before[0] == ';'))
        status = rh_buf_text(out, ")", NULL);
    return rh_buf_text(out, "\n", NULL) == RH_OK ? status : RH_E_MEMORY;
}

/* Whether an option has a line in the help. */
static bool is_shown(const struct rh_option *option)
{
    return !(option->flags & RH_OPT_HIDDEN) && option->type != RH_OPT_IGNORED;
}

/* How wide the left column has to be. */
static size_t left_width(const struct rh_option *table, bool command_line)
{
    size_t width = 0;
    rh_auto_buf struct rh_buf left = RH_BUF_INIT;
    for (; table->name; table++) {
        rh_buf_clear(&left);
        if (is_shown(table) && add_left(table, command_line, &left) == RH_OK && left.size > width &&
            left.size <= HELP_COLUMN_MAX)
            width = left.size;
    }
    return width;
}

/* One line, or two where the left side is too wide. */
static enum rh_status
add_line(const struct rh_option *option, bool command_line, int indent, size_t width, struct rh_buf *out)
{
    rh_auto_buf struct rh_buf left = RH_BUF_INIT;
    enum rh_status status = add_left(option, command_line, &left);
    if (status == RH_OK)
        status = rh_buf_format(out, NULL, "%*s%-*s", indent, "", (int)width, rh_buf_cstr(&left));
    if (status == RH_OK && left.size > width)
        status = rh_buf_format(out, NULL, "\n%*s", indent + (int)width, "");
    if (status == RH_OK)
        status = rh_buf_text(out, "   ", NULL);
    return status == RH_OK ? add_right(option, out) : status;
}

/* The lines of one table; those of its blocks below them, set in. */
static enum rh_status add_table(const struct rh_option *table, bool command_line, int indent, struct rh_buf *out)
{
    size_t width = left_width(table, command_line);
    for (int by_name = 0; by_name < 2; by_name++) /* those by place come first */
        for (const struct rh_option *option = table; option->name; option++) {
            bool named = !command_line || !(option->flags & RH_OPT_POSITIONAL);
            if (!is_shown(option) || named != by_name)
                continue;
            enum rh_status status = add_line(option, command_line, indent, width, out);
            if (status == RH_OK && option->type == RH_OPT_BLOCK)
                status = add_table(option->block, command_line, indent + 4, out);
            if (status != RH_OK)
                return status;
        }
    return RH_OK;
}

enum rh_status
rh_options_help(const struct rh_option *table, bool command_line, struct rh_buf *out, struct rh_error *err)
{
    return add_table(table, command_line, 2, out) == RH_OK ? RH_OK : rh_fail_memory(err);
}
