/* SPDX-License-Identifier: Apache-2.0 */
/* rehome help: everything here is made from the tables that the parsers use. */
#include "cli.h"

static const struct rh_option options[] = {
    {.name = "topic",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_POSITIONAL,
     .value_name = "TOPIC",
     .help = "a command, 'stores', a store, or a block of the plan: plan, seal, move"},
    {.name = "subtopic",
     .type = RH_OPT_TEXT,
     .flags = RH_OPT_POSITIONAL,
     .value_name = "WORD",
     .help = "second word of a command such as 'operator migrate'"                   },
    RH_OPTION_JSON,
    RH_OPTION_END,
};
static const char *const blocks[] = {"plan", "seal", "move", "cutover", NULL};
static const char *const type_names[] = {
    [RH_OPT_TEXT] = "text",   [RH_OPT_BOOL] = "bool",       [RH_OPT_INT] = "int",   [RH_OPT_DURATION] = "duration",
    [RH_OPT_SIZE] = "size",   [RH_OPT_CHOICE] = "choice",   [RH_OPT_PATH] = "path", [RH_OPT_SECRET] = "secret",
    [RH_OPT_BLOCK] = "block", [RH_OPT_IGNORED] = "ignored",
};

/* An array of texts that ends with NULL; nothing for NULL. */
static json_t *texts_json(const char *const *texts)
{
    json_t *array = json_array();
    for (; texts && *texts; texts++)
        json_array_append_new(array, json_string(*texts));
    return array;
}

static json_t *table_json(const struct rh_option *table);

/* One option with all that its table says. */
static json_t *option_json(const struct rh_option *option)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(option->name));
    json_object_set_new(object, "type", json_string(type_names[option->type]));
    json_object_set_new(object, "help", json_string(option->help ? option->help : ""));
    json_object_set_new(object, "required", json_boolean(option->flags & RH_OPT_REQUIRED));
    json_object_set_new(object, "positional", json_boolean(option->flags & RH_OPT_POSITIONAL));
    json_object_set_new(object, "many", json_boolean(option->flags & RH_OPT_MANY));
    json_object_set_new(object, "hidden", json_boolean(option->flags & RH_OPT_HIDDEN));
    if (option->initial)
        json_object_set_new(object, "default", json_string(option->initial));
    if (option->letter)
        json_object_set_new(object, "letter", json_stringn(&option->letter, 1));
    if (option->value_name)
        json_object_set_new(object, "value", json_string(option->value_name));
    if (option->env)
        json_object_set_new(object, "env", texts_json(option->env));
    if (option->choices)
        json_object_set_new(object, "choices", texts_json(option->choices));
    if (option->min || option->max) {
        json_object_set_new(object, "min", json_integer(option->min));
        json_object_set_new(object, "max", json_integer(option->max));
    }
    if (option->type == RH_OPT_BLOCK && option->block)
        json_object_set_new(object, "options", table_json(option->block));
    return object;
}

/* All options of a table; an empty array for NULL. */
static json_t *table_json(const struct rh_option *table)
{
    json_t *array = json_array();
    for (; table && table->name; table++)
        json_array_append_new(array, option_json(table));
    return array;
}

/* Commands, stores, blocks and exit codes. */
static json_t *all_json(void)
{
    json_t *commands = json_array(), *stores = json_array(), *parts = json_object(), *exits = json_array();
    json_t *fences = json_array(), *routes = json_array();
    for (const struct rh_command *const *command = rh_commands; *command; command++)
        json_array_append_new(commands, json_pack("{s:s, s:s, s:s, s:o}", "name", (*command)->name, "summary",
                                                  (*command)->summary, "usage", (*command)->usage, "options",
                                                  table_json((*command)->options)));
    for (const struct rh_driver *const *driver = rh_drivers(); *driver; driver++)
        json_array_append_new(stores, json_pack("{s:s, s:o, s:s, s:o}", "name", (*driver)->name, "aliases",
                                                texts_json((*driver)->aliases), "summary", (*driver)->summary,
                                                "options", table_json((*driver)->options)));
    for (const struct rh_fence_driver *const *fence = rh_fence_drivers(); *fence; fence++)
        json_array_append_new(fences, json_pack("{s:s, s:s, s:o}", "name", (*fence)->name, "summary", (*fence)->summary,
                                                "options", table_json((*fence)->options)));
    for (const struct rh_route_driver *const *route = rh_route_drivers(); *route; route++)
        json_array_append_new(routes, json_pack("{s:s, s:s, s:o}", "name", (*route)->name, "summary", (*route)->summary,
                                                "options", table_json((*route)->options)));
    for (const char *const *block = blocks; *block; block++)
        json_object_set_new(parts, *block, table_json(rh_plan_table(*block)));
    for (int code = RH_EXIT_OK; code <= RH_EXIT_INTERNAL; code++)
        json_array_append_new(exits,
                              json_pack("{s:i, s:s, s:s}", "code", code, "name", rh_exit_name((enum rh_exit)code),
                                        "summary", rh_exit_summary((enum rh_exit)code)));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "commands", commands, "stores", stores, "fences", fences,
                     "routes", routes, "blocks", parts, "exits", exits);
}

/* The options of a table as aligned lines. */
static enum rh_status table_print(const struct rh_option *table, bool command_line, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    enum rh_status status = rh_options_help(table, command_line, &text, err);
    if (status == RH_OK)
        fwrite(text.data, 1, text.size, stdout);
    return status;
}

/* What `rehome help` alone says. */
static void overview(void)
{
    puts("rehome moves keys and data from one store to another: resumable, proven equal, with a way back.\n\n"
         "usage: rehome COMMAND [OPTIONS] ...\n\ncommands:");
    for (const struct rh_command *const *command = rh_commands; *command; command++)
        printf("  %-18s %s\n", (*command)->name, (*command)->summary);
    puts("\nmore: rehome help COMMAND, rehome help stores, rehome help STORE, rehome help plan|seal|move|cutover");
}

/* Usage, paragraph and options of one command. */
static enum rh_status command_print(const struct rh_command *command, struct rh_error *err)
{
    printf("usage: rehome %s %s\n\n%s\n", command->name, command->usage, command->summary);
    if (command->detail[0])
        printf("\n%s\n", command->detail);
    puts("\noptions:");
    return table_print(command->options, true, err);
}

/* The commands that begin with a word; of a single one its whole help. */
static enum rh_status group_print(const char *word, struct rh_error *err)
{
    const struct rh_command *only = NULL;
    const size_t size = strlen(word);
    size_t count = 0;
    for (size_t i = 0; rh_commands[i]; i++)
        if (strncmp(rh_commands[i]->name, word, size) == 0 && rh_commands[i]->name[size] == ' ') {
            only = rh_commands[i];
            count++;
        }
    if (count == 1)
        return command_print(only, err);
    printf("usage: rehome %s COMMAND [OPTIONS] ...\n\ncommands:\n", word);
    for (size_t i = 0; rh_commands[i]; i++) /* keyring-migrate is a neighbour of keyring list */
        if (strncmp(rh_commands[i]->name, word, size) == 0 && strchr(" -", rh_commands[i]->name[size]))
            printf("  %-18s %s\n", rh_commands[i]->name, rh_commands[i]->summary);
    printf("\nmore: rehome help %s COMMAND\n", word);
    return RH_OK;
}

/* Name, aliases and options of one store. */
static enum rh_status store_print(const struct rh_driver *driver, struct rh_error *err)
{
    printf("store \"%s\": %s\n", driver->name, driver->summary);
    for (const char *const *alias = driver->aliases; alias && *alias; alias++)
        printf("also called \"%s\"\n", *alias);
    puts("\noptions of its block:");
    return driver->options ? table_print(driver->options, false, err) : RH_OK;
}

/* Every store in a line, every fence and every route. */
static void stores_print(void)
{
    size_t width = 0;
    for (const struct rh_driver *const *driver = rh_drivers(); *driver; driver++)
        width = strlen((*driver)->name) > width ? strlen((*driver)->name) : width;
    for (const struct rh_driver *const *driver = rh_drivers(); *driver; driver++)
        printf("%-*s  %s\n", (int)width, (*driver)->name, (*driver)->summary);
    puts("\nfences, for mode \"paused\":");
    for (const struct rh_fence_driver *const *fence = rh_fence_drivers(); *fence; fence++)
        printf("%-*s  %s\n", (int)width, (*fence)->name, (*fence)->summary);
    puts("\nroutes, for a cutover:");
    for (const struct rh_route_driver *const *route = rh_route_drivers(); *route; route++)
        printf("%-*s  %s\n", (int)width, (*route)->name, (*route)->summary);
    puts("\nrehome help STORE prints a store's options, rehome help FENCE a fence's, rehome help ROUTE a route's");
}

/* The options of one fence or route. */
static enum rh_status block_print(
    const char *kind, const char *name, const char *summary, const struct rh_option *table, struct rh_error *err)
{
    printf("%s \"%s\": %s\n\noptions of its block:\n", kind, name, summary);
    return table_print(table, false, err);
}

/* The nearest thing that help is there for. */
static enum rh_status unknown(const char *topic, struct rh_error *err)
{
    const char *words[80] = {"stores", "plan", "seal", "move", "cutover"};
    size_t count = 5;
    for (size_t i = 0; rh_commands[i] && count < 40; i++)
        words[count++] = rh_commands[i]->name;
    for (size_t i = 0; rh_drivers()[i] && count < 60; i++)
        words[count++] = rh_drivers()[i]->name;
    for (size_t i = 0; rh_fence_drivers()[i] && count < 68; i++)
        words[count++] = rh_fence_drivers()[i]->name;
    for (size_t i = 0; rh_route_drivers()[i] && count < 78; i++)
        words[count++] = rh_route_drivers()[i]->name;
    const char *near = rh_nearest(topic, words);
    enum rh_status status = rh_fail(err, RH_E_USAGE, "no help for '%s'", RH_SHOW(rh_bytes_text(topic)));
    rh_error_hint(err, near ? "did you mean '%s'?" : "'rehome help' lists what there is", near);
    return status;
}

/* Help on a topic of one or two words. */
static enum rh_status topic_print(const char *topic, const char *subtopic, struct rh_error *err)
{
    char copies[2][64];
    int words = subtopic ? 2 : 1, used;
    snprintf(copies[0], sizeof copies[0], "%s", topic);
    snprintf(copies[1], sizeof copies[1], "%s", subtopic ? subtopic : "");
    const struct rh_command *command = rh_command_find(words, (char *[]){copies[0], copies[1]}, &used);
    if (command)
        return command_print(command, err);
    if (strcmp(topic, "stores") == 0) {
        stores_print();
        return RH_OK;
    }
    const bool group = rh_command_group(topic);
    enum rh_status status = group ? group_print(topic, err) : RH_OK;
    for (const char *const *block = blocks; status == RH_OK && *block; block++)
        if (strcmp(topic, *block) == 0) {
            printf("%sthe %s block of a plan:\n\n", group ? "\n" : "", topic);
            return table_print(rh_plan_table(topic), false, err);
        }
    if (group)
        return status;
    const struct rh_fence_driver *fence = rh_fence_driver_find(topic);
    if (fence)
        return block_print("fence", fence->name, fence->summary, fence->options, err);
    const struct rh_route_driver *route = rh_route_driver_find(topic);
    if (route)
        return block_print("route", route->name, route->summary, route->options, err);
    const struct rh_driver *driver = rh_driver_find(topic);
    return driver ? store_print(driver, err) : unknown(topic, err);
}

/* Prints what was asked for. */
static enum rh_exit help(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_error err = {.status = RH_OK};
    (void)command;
    const char *topic = rh_options_text(values, "topic");
    if (rh_options_bool(values, "json")) {
        json_t *all = all_json();
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
        return RH_EXIT_OK;
    }
    if (!topic) {
        overview();
        return RH_EXIT_OK;
    }
    if (topic_print(topic, rh_options_text(values, "subtopic"), &err) == RH_OK)
        return RH_EXIT_OK;
    rh_talk_error(&err);
    return rh_engine_exit(&err);
}

const struct rh_command rh_cmd_help = {
    .name = "help",
    .summary = "print help on a command, a store or a block of the plan",
    .usage = "[--json] [TOPIC]",
    .detail = "",
    .options = options,
    .run = help,
};
