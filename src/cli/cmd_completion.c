/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rehome completion: a script for bash, zsh or fish, made from the option tables. A script is complete in itself: no
 * rehome is started while somebody types.
 */
#include "cli.h"

static const char *const shells[] = {"bash", "zsh", "fish", NULL};
static const struct rh_option options[] = {
    {.name = "shell",
     .type = RH_OPT_CHOICE,
     .flags = RH_OPT_REQUIRED | RH_OPT_POSITIONAL,
     .choices = shells,
     .value_name = "SHELL",
     .help = "bash, zsh or fish"},
    RH_OPTION_END,
};

/* --- what the tables say --- */

/* Whether the option is one to offer by name. */
static bool is_named(const struct rh_option *option)
{
    return !(option->flags & (RH_OPT_POSITIONAL | RH_OPT_HIDDEN)) && option->type != RH_OPT_IGNORED;
}

/* What may follow an option, or stand at a place. */
enum kind { KIND_NOTHING, KIND_ANY, KIND_FILE, KIND_FOLDER, KIND_WORDS, KIND_TOPIC, KIND_KEYSTORE };

static enum kind kind_of(const struct rh_option *option)
{
    if (option->type == RH_OPT_BOOL)
        return KIND_NOTHING;
    if (option->choices)
        return KIND_WORDS;
    if (option->flags & RH_OPT_POSITIONAL && strcmp(option->name, "keystore") == 0)
        return KIND_KEYSTORE;
    if (option->type == RH_OPT_PATH)
        return option->value_name && strcmp(option->value_name, "DIR") == 0 ? KIND_FOLDER : KIND_FILE;
    return strcmp(option->name, "topic") == 0 ? KIND_TOPIC : KIND_ANY;
}

/* The option that is taken by place: the one that takes all that are left, else the first; NULL without one. */
static const struct rh_option *positional(const struct rh_command *command)
{
    const struct rh_option *first = NULL;
    for (const struct rh_option *option = command->options; option->name; option++)
        if (option->flags & RH_OPT_POSITIONAL && (!first || option->flags & RH_OPT_MANY))
            first = option;
    return first;
}

/* The size of the first word of a command's name. */
static int first_size(const struct rh_command *command)
{
    return (int)strcspn(command->name, " ");
}

/* Whether two commands begin with the same word ("seal inspect", "seal rewrap"). */
static bool is_sibling(const struct rh_command *one, const struct rh_command *other)
{
    return first_size(one) == first_size(other) && strncmp(one->name, other->name, (size_t)first_size(one)) == 0;
}

/* Whether no command before this one begins with its first word. */
static bool is_first(size_t number)
{
    for (size_t i = 0; i < number; i++)
        if (is_sibling(rh_commands[i], rh_commands[number]))
            return false;
    return true;
}

/* The second word of a command's name, or "" . */
static const char *second_word(const struct rh_command *command)
{
    const char *space = strchr(command->name, ' ');
    return space ? space + 1 : "";
}

/* First words of all commands, or only of those that have a second one, divided. */
static void put_first_words(bool twofold, const char *divider)
{
    const char *before = "";
    for (size_t i = 0; rh_commands[i]; i++)
        if (is_first(i) && (!twofold || *second_word(rh_commands[i]))) {
            printf("%s%.*s", before, first_size(rh_commands[i]), rh_commands[i]->name);
            before = divider;
        }
}

/* All topics of help, each after `before`: first words of commands, stores and their aliases, blocks. */
static void put_topics(const char *before)
{
    fputs(before, stdout);
    put_first_words(false, before);
    for (size_t i = 0; rh_drivers()[i]; i++)
        printf("%s%s", before, rh_drivers()[i]->name);
    for (size_t i = 0; rh_fence_drivers()[i]; i++)
        printf("%s%s", before, rh_fence_drivers()[i]->name);
    for (size_t i = 0; rh_route_drivers()[i]; i++)
        printf("%s%s", before, rh_route_drivers()[i]->name);
    printf("%sstores%splan%sseal%smove", before, before, before, before);
}

/* The next store from a place on that is a keyring; NULL when there is none. */
static const struct rh_driver *next_keyring(size_t *at)
{
    while (rh_drivers()[*at] && rh_drivers()[*at]->model != RH_MODEL_KEYRING)
        ++*at;
    return rh_drivers()[*at] ? rh_drivers()[(*at)++] : NULL;
}

/* The stores that are keyrings, divided by blanks. */
static void put_keystores(void)
{
    const char *before = "";
    const struct rh_driver *driver;
    for (size_t at = 0; (driver = next_keyring(&at)); before = " ")
        printf("%s%s", before, driver->name);
}

/* NAME= of each option that may stand among the words of a command line, divided by blanks; those of a block with its
 * name before them. False when there was none. */
static bool put_names(const struct rh_option *table, const char *block, bool begun)
{
    for (; table && table->name; table++) {
        if (table->flags & RH_OPT_HIDDEN || table->type == RH_OPT_IGNORED ||
            (table->type == RH_OPT_SECRET && !table->is_secret))
            continue;
        if (table->type == RH_OPT_BLOCK)
            begun = put_names(table->block, table->name, begun);
        else
            printf("%s%s%s%s=", begun ? " " : "", block, *block ? "." : "", table->name);
        begun = true;
    }
    return begun;
}

/* A line for each keyring: its name and what stands around it, then its options. */
static void put_keyring_names(const char *before, const char *between, const char *after)
{
    const struct rh_driver *driver;
    for (size_t at = 0; (driver = next_keyring(&at));) {
        printf("%s%s%s", before, driver->name, between);
        put_names(driver->options, "", false);
        puts(after);
    }
}

/* The words of a choice or of the topics, divided by blanks. */
static void put_words(const struct rh_option *option)
{
    if (kind_of(option) == KIND_TOPIC) {
        put_topics(" ");
        return;
    }
    for (size_t i = 0; option->choices[i]; i++)
        printf("%s%s", i ? " " : "", option->choices[i]);
}

/* Text inside single quotes of a shell; `also` gets a backslash before it. */
static void put_quoted(const char *text, const char *also)
{
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(also, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
}

/* --- bash --- */

/* What completes the value of an option, or a word at a place. */
static void bash_value(const struct rh_option *option)
{
    switch (kind_of(option)) {
    case KIND_FILE:
        fputs("files -f", stdout);
        break;
    case KIND_FOLDER:
        fputs("files -d", stdout);
        break;
    case KIND_WORDS:
    case KIND_TOPIC:
        fputs("words '", stdout);
        put_words(option);
        putchar('\'');
        break;
    case KIND_KEYSTORE:
        fputs("keystore", stdout);
        break;
    case KIND_NOTHING:
    case KIND_ANY:
        fputs("words ''", stdout);
        break;
    }
}

/* The lines of one command: its options with values, its named options, its place. */
static void bash_command(const struct rh_command *command)
{
    printf("    '%s')\n        case $prev in\n", command->name);
    for (const struct rh_option *option = command->options; option->name; option++) {
        if (!is_named(option) || kind_of(option) == KIND_NOTHING)
            continue;
        printf("        -%s | --%s", option->name, option->name);
        if (option->letter)
            printf(" | -%c", option->letter);
        fputs(") _rehome_", stdout);
        bash_value(option);
        puts("; return ;;");
    }
    fputs("        esac\n        if [[ $cur == -* ]]; then\n            _rehome_words '--help", stdout);
    for (const struct rh_option *option = command->options; option->name; option++)
        if (is_named(option))
            printf(" --%s", option->name);
    puts("'\n            return\n        fi");
    if (positional(command)) {
        fputs("        _rehome_", stdout);
        bash_value(positional(command));
        putchar('\n');
    }
    puts("        ;;");
}

/* The rest of the function for a keystore's words: stores, behind one its options, and files. */
static void bash_keystores(void)
{
    fputs("    words='", stdout);
    put_keystores();
    puts("'\n"
         "    for word in \"${COMP_WORDS[@]}\"; do\n"
         "        case $word in");
    put_keyring_names("        ", ") words='", "' ;;");
    puts("        esac\n"
         "    done\n"
         "    # behind NAME= stands a file\n"
         "    [[ ${COMP_WORDS[COMP_CWORD - 1]} != = && ${COMP_WORDS[COMP_CWORD]} != = ]] || words=''\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
         "    [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2> /dev/null\n"
         "    [[ $cur && ${#COMPREPLY[@]} != 0 ]] || {\n"
         "        compopt -o filenames 2> /dev/null\n"
         "        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
         "    }\n"
         "}");
}

/* The whole script. */
static void bash_script(void)
{
    puts("# bash completion for rehome, made by 'rehome completion bash'\n"
         "_rehome_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n"
         "_rehome_files() {\n"
         "    compopt -o filenames 2> /dev/null\n"
         "    mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$cur\")\n"
         "}\n"
         "_rehome_keystore() {\n"
         "    local word words=''");
    bash_keystores();
    puts("_rehome() {\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev='' command='' word i\n"
         "    COMPREPLY=()\n"
         "    ((COMP_CWORD < 1)) || prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "    # bash takes --name=value for three words\n"
         "    [[ $cur != = ]] || cur=''\n"
         "    [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "        word=${COMP_WORDS[i]}\n"
         "        [[ $word != -* ]] || continue\n"
         "        command=${command:+$command }$word\n"
         "        case $command in");
    fputs("        ", stdout);
    put_first_words(true, " | ");
    puts(") ;;\n"
         "        *) break ;;\n"
         "        esac\n"
         "    done\n"
         "    case $command in");
    fputs("    '') _rehome_words '", stdout);
    put_first_words(false, " ");
    puts("' ;;");
    for (size_t i = 0; rh_commands[i]; i++) {
        if (!is_first(i) || !*second_word(rh_commands[i]))
            continue;
        printf("    %.*s) _rehome_words '", first_size(rh_commands[i]), rh_commands[i]->name);
        for (size_t k = i; rh_commands[k]; k++)
            if (is_sibling(rh_commands[i], rh_commands[k]))
                printf("%s%s", k > i ? " " : "", second_word(rh_commands[k]));
        puts("' ;;");
    }
    for (size_t i = 0; rh_commands[i]; i++)
        bash_command(rh_commands[i]);
    puts("    esac\n}\ncomplete -F _rehome rehome");
}

/* --- zsh --- */

/* ":message:action" of an option's value or place. */
static void zsh_value(const struct rh_option *option)
{
    putchar(':');
    put_quoted(option->value_name ? option->value_name : option->name, ":[]");
    switch (kind_of(option)) {
    case KIND_FILE:
        fputs(":_files", stdout);
        break;
    case KIND_FOLDER:
        fputs(":_files -/", stdout);
        break;
    case KIND_WORDS:
    case KIND_TOPIC:
        fputs(":(", stdout);
        put_words(option);
        putchar(')');
        break;
    case KIND_KEYSTORE:
        fputs(":_rehome_keystore", stdout);
        break;
    case KIND_NOTHING:
    case KIND_ANY:
        fputs(": ", stdout);
        break;
    }
}

/* One option as _arguments wants it. */
static void zsh_option(const struct rh_option *option)
{
    const bool value = kind_of(option) != KIND_NOTHING;
    if (option->letter)
        printf(" \\\n            '(-%c --%s)'{-%c,--%s%s}'[", option->letter, option->name, option->letter,
               option->name, value ? "=" : "");
    else
        printf(" \\\n            '--%s%s[", option->name, value ? "=" : "");
    put_quoted(option->help ? option->help : "", ":[]");
    putchar(']');
    if (value)
        zsh_value(option);
    putchar('\'');
}

/* The lines of one command. */
static void zsh_command(const struct rh_command *command)
{
    printf("    '%s')\n        _arguments -S '--help[help on this command]'", command->name);
    for (const struct rh_option *option = command->options; option->name; option++)
        if (is_named(option))
            zsh_option(option);
    if (positional(command)) {
        printf(" \\\n            '%s", positional(command)->flags & RH_OPT_MANY ? "*" : "1");
        zsh_value(positional(command));
        putchar('\'');
    }
    puts("\n        ;;");
}

/* 'name:summary' of each command, or of those that have the second word. */
static void zsh_commands(void)
{
    for (size_t i = 0; rh_commands[i]; i++) {
        if (!is_first(i))
            continue;
        printf("        '%.*s:", first_size(rh_commands[i]), rh_commands[i]->name);
        put_quoted(rh_commands[i]->summary, ":");
        puts("'");
    }
}

/* The function for a keystore's words: stores, behind one its options, and files. */
static void zsh_keystores(void)
{
    fputs("_rehome_keystore() {\n    local word\n    local -a names=(", stdout);
    put_keystores();
    puts(") stores=()\n"
         "    for word in $words; do\n"
         "        case $word in");
    put_keyring_names("        ", ") stores=($word) names=(", ") ;;");
    puts("        esac\n"
         "    done\n"
         "    if compset -P '*='; then\n"
         "        _files\n"
         "    elif ((#stores)); then\n"
         "        compadd -S '' -- $names\n"
         "        _files\n"
         "    else\n"
         "        compadd -- $names\n"
         "        _files\n"
         "    fi\n"
         "}");
}

/* The whole script. */
static void zsh_script(void)
{
    puts("#compdef rehome\n# zsh completion for rehome, made by 'rehome completion zsh'");
    zsh_keystores();
    puts("_rehome() {\n"
         "    local -a commands=(");
    zsh_commands();
    puts("    )\n"
         "    if ((CURRENT == 2)); then\n"
         "        _describe -t commands command commands\n"
         "        return\n"
         "    fi\n"
         "    local command=$words[2]\n"
         "    shift words\n"
         "    ((CURRENT--))");
    for (size_t i = 0; rh_commands[i]; i++)
        if (is_first(i) && *second_word(rh_commands[i])) {
            printf("    if [[ $command == %.*s ]]; then\n        if ((CURRENT == 2)); then\n"
                   "            local -a more=(",
                   first_size(rh_commands[i]), rh_commands[i]->name);
            for (size_t k = i; rh_commands[k]; k++) {
                if (!is_sibling(rh_commands[i], rh_commands[k]))
                    continue;
                printf("%s'%s:", k > i ? " " : "", second_word(rh_commands[k]));
                put_quoted(rh_commands[k]->summary, ":");
                putchar('\'');
            }
            puts(")\n            _describe -t commands command more\n            return\n        fi\n"
                 "        command=\"$command $words[2]\"\n        shift words\n        ((CURRENT--))\n    fi");
        }
    puts("    case $command in");
    for (size_t i = 0; rh_commands[i]; i++)
        zsh_command(rh_commands[i]);
    puts("    esac\n}\n"
         "# loaded by compinit this file is the function's body; sourced, it makes it known\n"
         "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n    _rehome \"$@\"\nelse\n    compdef _rehome "
         "rehome\nfi");
}

/* --- fish --- */

/* What may follow an option, or stand at a place. */
static void fish_value(const struct rh_option *option)
{
    switch (kind_of(option)) {
    case KIND_FILE:
        fputs(" -r -F", stdout);
        break;
    case KIND_FOLDER:
        fputs(" -x -a '(__fish_complete_directories)'", stdout);
        break;
    case KIND_WORDS:
    case KIND_TOPIC:
        fputs(" -x -a '", stdout);
        put_words(option);
        putchar('\'');
        break;
    case KIND_NOTHING:
    case KIND_KEYSTORE: /* stands at a place */
        break;
    case KIND_ANY:
        fputs(" -x", stdout);
        break;
    }
}

/* The lines of one command. */
static void fish_command(const struct rh_command *command)
{
    for (const struct rh_option *option = command->options; option->name; option++) {
        if (!is_named(option))
            continue;
        printf("complete -c rehome -n \"__rehome_is '%s'\" -l %s", command->name, option->name);
        if (option->letter)
            printf(" -s %c", option->letter);
        fish_value(option);
        fputs(" -d '", stdout);
        put_quoted(option->help ? option->help : "", "\\");
        puts("'");
    }
    printf("complete -c rehome -n \"__rehome_is '%s'\" -l help -d 'help on this command'\n", command->name);
    const struct rh_option *place = positional(command);
    if (!place)
        return;
    printf("complete -c rehome -n \"__rehome_is '%s'\"", command->name);
    if (kind_of(place) == KIND_FILE) {
        puts(" -F");
        return;
    }
    if (kind_of(place) == KIND_KEYSTORE) {
        puts(" -F -a '(__rehome_keystore)'");
        return;
    }
    fputs(" -a '", stdout);
    put_words(place);
    puts("'");
}

/* The function that prints a keystore's words: stores, behind one its options. */
static void fish_keystores(void)
{
    fputs("function __rehome_keystore\n    set -l words ", stdout);
    put_keystores();
    puts("\n"
         "    for word in (commandline -opc)\n"
         "        switch $word");
    put_keyring_names("            case ", "\n                set words ", "");
    puts("        end\n"
         "    end\n"
         "    printf '%s\\n' $words\n"
         "end");
}

/* The whole script. */
static void fish_script(void)
{
    fputs("# fish completion for rehome, made by 'rehome completion fish'\n"
          "function __rehome_is\n"
          "    set -l found\n"
          "    for word in (commandline -opc)[2..-1]\n"
          "        string match -q -- '-*' $word; and continue\n"
          "        set -a found $word\n"
          "        contains -- \"$found\" ",
          stdout);
    put_first_words(true, " ");
    puts("; or break\n"
         "    end\n"
         "    test \"$found\" = \"$argv[1]\"\n"
         "end");
    fish_keystores();
    puts("complete -c rehome -f");
    for (size_t i = 0; rh_commands[i]; i++) {
        const bool twofold = *second_word(rh_commands[i]) != '\0';
        if (is_first(i))
            printf("complete -c rehome -n \"__rehome_is ''\" -a %.*s", first_size(rh_commands[i]),
                   rh_commands[i]->name);
        if (is_first(i) && twofold)
            putchar('\n');
        if (twofold)
            printf("complete -c rehome -n \"__rehome_is %.*s\" -a %s", first_size(rh_commands[i]), rh_commands[i]->name,
                   second_word(rh_commands[i]));
        fputs(" -d '", stdout);
        put_quoted(rh_commands[i]->summary, "\\");
        puts("'");
        fish_command(rh_commands[i]);
    }
}

/* Prints the script that was asked for. */
static enum rh_exit completion(const struct rh_command *command, const struct rh_options *values)
{
    const char *shell = rh_options_text(values, "shell");
    (void)command;
    if (strcmp(shell, "bash") == 0)
        bash_script();
    else if (strcmp(shell, "zsh") == 0)
        zsh_script();
    else
        fish_script();
    return RH_EXIT_OK;
}

const struct rh_command rh_cmd_completion = {
    .name = "completion",
    .summary = "print a completion script for a shell",
    .usage = "bash|zsh|fish",
    .detail = "`make install` and the package put these scripts in place. By hand, for bash:\n"
              "rehome completion bash > ~/.local/share/bash-completion/completions/rehome",
    .options = options,
    .run = completion,
};
