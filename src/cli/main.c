/* SPDX-License-Identifier: Apache-2.0 */
/* The process: its descriptors, signals and secrets, then the command that argv names. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

atomic_bool rh_cancel;

/* The first signal asks for a stop at the next safe place, the second one ends the process at once. */
static void on_signal(int number)
{
    static const char words[] = "\nrehome: stopping at the next safe place; once more ends at once\n";
    int saved = errno;
    (void)number;
    if (atomic_exchange(&rh_cancel, true))
        _exit(RH_EXIT_INTERRUPTED);
    ssize_t written = write(STDERR_FILENO, words, sizeof words - 1);
    (void)written;
    errno = saved;
}

/* Handlers for the signals that end a run; one that was ignored by our parent stays so (nohup). */
static void signals_start(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* SIGPIPE can be ignored */
}

/* Descriptors 0 to 2 are open, and nothing that we got is handed on to a child. False when that can't be had. */
static bool descriptors_start(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
        if (fd < 0)
            return false;
    } while (fd <= STDERR_FILENO);
    close(fd);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    return true;
}

/* --help, -help, -? or, where it means nothing else to the command, -h before "--"; those after it are arguments. */
static bool help_wanted(const struct rh_command *command, int argc, char **argv)
{
    bool by_letter = true;
    for (const struct rh_option *option = command ? command->options : NULL; option && option->name; option++)
        by_letter = by_letter && option->letter != 'h';
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-help") == 0 || strcmp(argv[i], "-?") == 0 ||
            (by_letter && strcmp(argv[i], "-h") == 0))
            return true;
    return false;
}

/* --json or -json among the words of a command that has it, whatever else is wrong with them. */
static bool json_wanted(const struct rh_command *command, int argc, char **argv)
{
    bool known = false;
    for (const struct rh_option *option = command->options; option->name; option++)
        known = known || strcmp(option->name, "json") == 0;
    for (int i = 1; known && i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-json") == 0)
            return true;
    return false;
}

/* Parses the command's options and carries it out. */
static enum rh_exit command_run(const struct rh_command *command, int argc, char **argv)
{
    struct rh_error err = {.status = RH_OK};
    struct rh_options *options = NULL;
    enum rh_status status = command->parse ? command->parse(command, argc, argv, &options, &err)
                                           : rh_options_from_argv(command->options, argc, argv, &options, &err);
    enum rh_exit code = RH_EXIT_USAGE;
    if (status != RH_OK) {
        code = rh_engine_exit(&err);
        rh_talk_error(&err);
        if (!err.hint[0] && code == RH_EXIT_USAGE)
            rh_talk("  fix: see 'rehome help %s'", command->name);
        if (json_wanted(command, argc, argv))
            rh_job_usage(command, &err);
        return code;
    }
    if (rh_talk_start(options, &err) == RH_OK)
        code = command->run(command, options);
    else
        rh_talk_error(&err);
    rh_options_free(options);
    return code;
}

/* Words that stand for a command: "rehome --version". */
static void words_normalise(char **argv)
{
    static char help[] = "help", version[] = "version";
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-version") == 0 || strcmp(argv[1], "-v") == 0)
        argv[1] = version;
    else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-help") == 0 || strcmp(argv[1], "-h") == 0)
        argv[1] = help;
}

/* One precise line that names the help; `second` is the word behind it, or NULL. */
static enum rh_exit unknown_command(const char *word, const char *second)
{
    char whole[128];
    const bool group = rh_command_group(word);
    snprintf(whole, sizeof whole, "%s%s%s", word, group && second ? " " : "", group && second ? second : "");
    const char *near = rh_command_nearest(whole);
    rh_talk("rehome: unknown command '%s'", RH_SHOW(rh_bytes_text(whole)));
    if (strcmp(word, "migrate") == 0)
        near = "operator migrate";
    if (group && !near) {
        rh_talk("  fix: 'rehome help %s' lists what there is", word);
        return RH_EXIT_USAGE;
    }
    if (near)
        rh_talk("  fix: did you mean '%s'? 'rehome help' lists the commands", near);
    else
        rh_talk("  fix: 'rehome help' lists the commands");
    return RH_EXIT_USAGE;
}

/* The command that argv names, or its help. */
static enum rh_exit dispatch(int argc, char **argv)
{
    static char help_word[] = "help";
    int words = 0;
    if (argc < 2) {
        rh_talk("rehome: no command given");
        rh_talk("  fix: 'rehome help' lists the commands");
        return RH_EXIT_USAGE;
    }
    words_normalise(argv);
    const struct rh_command *command = rh_command_find(argc - 1, argv + 1, &words);
    if (!command && rh_command_group(argv[1]) && (argc == 2 || help_wanted(command, argc - 1, argv + 1)))
        return command_run(&rh_cmd_help, 2, (char *[]){help_word, argv[1], NULL});
    if (!command)
        return unknown_command(argv[1], argc > 2 ? argv[2] : NULL);
    if (command != &rh_cmd_help && help_wanted(command, argc, argv)) {
        char first[64], second[64];
        int split = (int)strcspn(command->name, " ");
        snprintf(first, sizeof first, "%.*s", split, command->name);
        snprintf(second, sizeof second, "%s", command->name[split] ? command->name + split + 1 : "");
        return command_run(&rh_cmd_help, second[0] ? 3 : 2, (char *[]){help_word, first, second, NULL});
    }
    return command_run(command, argc - words, argv + words);
}

int main(int argc, char **argv)
{
    struct rh_error err = {.status = RH_OK};
    if (!descriptors_start())
        return RH_EXIT_INTERNAL;
    umask(077);
    rh_talk_early();
    if (rh_secret_start(&err) != RH_OK) {
        rh_talk_error(&err);
        return RH_EXIT_INTERNAL;
    }
    signals_start();
    enum rh_exit code = dispatch(argc, argv);
    rh_crash_point("wiped"); /* nothing secret is left in memory */
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == RH_EXIT_OK) {
        if (errno != EPIPE)
            rh_talk("rehome: write to standard output: %s", strerrordesc_np(errno));
        code = RH_EXIT_INTERNAL;
    }
    return (int)code;
}
