/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: dispatch, help, man page check and completion all read it. A new command adds its line here.
 */
#include "cli.h"

const struct rh_command *const rh_commands[] = {
    &rh_cmd_check,
    &rh_cmd_run,
    &rh_cmd_cutover,
    &rh_cmd_status,
    &rh_cmd_verify,
    &rh_cmd_rollback,
    &rh_cmd_recover,
    &rh_cmd_finish,
    &rh_cmd_report,
    &rh_cmd_operator_migrate,
    &rh_cmd_keyring_migrate,
    &rh_cmd_keyring_list,
    &rh_cmd_keyring_show,
    &rh_cmd_keyring_check,
    &rh_cmd_seal_inspect,
    &rh_cmd_seal_rewrap,
    &rh_cmd_completion,
    &rh_cmd_version,
    &rh_cmd_help,
    NULL,
};

const char *const rh_env_log_level[] = {"REHOME_LOG_LEVEL", NULL};
const char *const rh_env_log_format[] = {"REHOME_LOG_FORMAT", NULL};
const char *const rh_log_levels[] = {"trace", "debug", "info", "warn", "error", NULL};
const char *const rh_log_formats[] = {"standard", "json", NULL};

/* How many leading words of argv the name takes, 0 when it is another one. */
static int name_matches(const char *name, int argc, char **argv)
{
    int words = 0;
    for (;;) {
        size_t size = strcspn(name, " ");
        if (words >= argc || strlen(argv[words]) != size || strncmp(argv[words], name, size) != 0)
            return 0;
        words++;
        if (name[size] == '\0')
            return words;
        name += size + 1;
    }
}

const struct rh_command *rh_command_find(int argc, char **argv, int *ret_words)
{
    for (const struct rh_command *const *command = rh_commands; *command; command++) {
        int words = name_matches((*command)->name, argc, argv);
        if (words > 0) {
            *ret_words = words;
            return *command;
        }
    }
    return NULL;
}

const char *rh_command_nearest(const char *word)
{
    const char *names[sizeof rh_commands / sizeof rh_commands[0]] = {NULL};
    for (size_t i = 0; rh_commands[i]; i++)
        names[i] = rh_commands[i]->name;
    return rh_nearest(word, names);
}

bool rh_command_group(const char *word)
{
    const size_t size = strlen(word);
    for (size_t i = 0; rh_commands[i]; i++)
        if (strncmp(rh_commands[i]->name, word, size) == 0 && rh_commands[i]->name[size] == ' ')
            return true;
    return false;
}

bool rh_option_in(const struct rh_options *options, const char *name)
{
    for (const struct rh_option *option = rh_options_table(options); option->name; option++)
        if (strcmp(option->name, name) == 0)
            return true;
    return false;
}
