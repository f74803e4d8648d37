/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rehome keyring-migrate: what mysqld's --keyring-migration-* options and mysql_migrate_keyring do, by their options
 * and option files, carried out as a plan: keyring_plan.c compiles it, the engine runs it.
 */
#include "cli.h"
#include "keyring_plan.h"

#include <rehome/mysql_file.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PLAN_NAME "keyring"
#define PLAN_TEXT_MAX ((size_t)256 * 1024)

static const char *const on_conflict[] = {"fail", "keep-equal", "overwrite", NULL};
static const char *const versions[] = {"2.0", "1.0", NULL};
static const char *const ssl_modes[] = {"VERIFY_IDENTITY", "VERIFY_CA", "REQUIRED", "PREFERRED", "DISABLED", NULL};
static const char *const keyrings[] = {"keyring_file.so",  "component_keyring_file.so",  "keyring_encrypted_file.so",
                                       "keyring_vault.so", "component_keyring_vault.so", NULL};
static const char *const components[] = {"component_keyring_file",  "keyring_file",
                                         "keyring_encrypted_file",  "keyring_vault",
                                         "component_keyring_vault", NULL};

/* clang-format off */
static const struct rh_option options[] = {
    /* which option files are read */
    {.name = "no-defaults", .type = RH_OPT_BOOL, .help = "read no option files"},
    {.name = "defaults-file", .type = RH_OPT_PATH, .value_name = "FILE", .help = "read this option file and no other"},
    {.name = "defaults-extra-file", .type = RH_OPT_PATH, .value_name = "FILE", .help = "read this option file, too"},
    {.name = "defaults-group-suffix", .type = RH_OPT_TEXT, .value_name = "TEXT",
     .help = "read groups with this suffix, too: [rehome_a] for _a"},
    /* mysqld's */
    {.name = "keyring-migration-source", .type = RH_OPT_TEXT, .choices = keyrings, .value_name = "LIBRARY",
     .help = "the keyring to move from: LIB.so or NAME=LIB.so"},
    {.name = "keyring-migration-destination", .type = RH_OPT_TEXT, .choices = keyrings, .value_name = "LIBRARY",
     .help = "the keyring to move to"},
    {.name = "keyring-migration-to-component", .type = RH_OPT_BOOL, .help = "the destination is a component"},
    {.name = "keyring-migration-from-component", .type = RH_OPT_BOOL, .help = "the source is a component"},
    {.name = "keyring-migration-host", .type = RH_OPT_TEXT, .value_name = "HOST",
     .help = "a running server that uses the keystore; this and the next four mean an online migration"},
    {.name = "keyring-migration-port", .type = RH_OPT_INT, .min = 1, .max = 65535, .value_name = "PORT",
     .help = "its port"},
    {.name = "keyring-migration-socket", .type = RH_OPT_PATH, .value_name = "FILE", .help = "its Unix socket"},
    {.name = "keyring-migration-user", .type = RH_OPT_TEXT, .value_name = "NAME", .help = "the account on it"},
    {.name = "keyring-migration-password", .type = RH_OPT_SECRET, .value_name = "PASSWORD",
     .help = "its password; asked for where no value follows '='"},
    {.name = "keyring-file-data", .type = RH_OPT_PATH, .value_name = "FILE",
     .help = "data file of the plugin keyring_file"},
    {.name = "keyring-encrypted-file-data", .type = RH_OPT_PATH, .value_name = "FILE", .help = "the sealed keyring"},
    {.name = "keyring-encrypted-file-password", .type = RH_OPT_SECRET, .value_name = "PASSWORD",
     .help = "its password; asked for where no value follows '='"},
    {.name = "keyring-vault-config", .type = RH_OPT_PATH, .value_name = "FILE",
     .help = "configuration of Percona's plugin keyring_vault"},
    {.name = "keyring-vault-timeout", .type = RH_OPT_INT, .flags = RH_OPT_HIDDEN, .max = 86400, .value_name = "SECONDS",
     .help = "taken; a request has 60 seconds"},
    {.name = "plugin-dir", .type = RH_OPT_PATH, .value_name = "DIR",
     .help = "where a component's .cnf file lies"},
    {.name = "datadir", .type = RH_OPT_PATH, .value_name = "DIR",
     .help = "the server's data folder: such a file may send on to it, and what is encrypted in it proves the keys"},
    {.name = "user", .type = RH_OPT_TEXT, .letter = 'u', .value_name = "NAME",
     .help = "run as this user of the system; among mysql_migrate_keyring's options the account on the server"},
    /* mysql_migrate_keyring's */
    {.name = "source-keyring", .type = RH_OPT_TEXT, .choices = components, .value_name = "NAME",
     .help = "the keyring to move from, as mysql_migrate_keyring takes it"},
    {.name = "destination-keyring", .type = RH_OPT_TEXT, .choices = components, .value_name = "NAME",
     .help = "the keyring to move to"},
    {.name = "component-dir", .type = RH_OPT_PATH, .value_name = "DIR", .help = "where the components' .cnf files lie"},
    {.name = "source-keyring-configuration-dir", .type = RH_OPT_PATH, .value_name = "DIR",
     .help = "where the source's .cnf file may send on to"},
    {.name = "destination-keyring-configuration-dir", .type = RH_OPT_PATH, .value_name = "DIR",
     .help = "where the destination's .cnf file may send on to"},
    {.name = "online-migration", .type = RH_OPT_BOOL, .help = "a running server uses the keystore"},
    {.name = "host", .type = RH_OPT_TEXT, .letter = 'h', .value_name = "HOST", .help = "that server"},
    {.name = "port", .type = RH_OPT_INT, .letter = 'P', .min = 1, .max = 65535, .value_name = "PORT",
     .help = "its port"},
    {.name = "socket", .type = RH_OPT_PATH, .letter = 'S', .value_name = "FILE", .help = "its Unix socket"},
    {.name = "password", .type = RH_OPT_SECRET, .letter = 'p', .value_name = "PASSWORD",
     .help = "its password; asked for where no value follows '='"},
    {.name = "ssl-mode", .type = RH_OPT_TEXT, .choices = ssl_modes, .value_name = "MODE",
     .help = "how the connection is protected, VERIFY_IDENTITY unless given"},
    {.name = "ssl-ca", .type = RH_OPT_PATH, .value_name = "FILE", .help = "CA certificates the server's must lead to"},
    {.name = "ssl-cert", .type = RH_OPT_PATH, .value_name = "FILE", .help = "our certificate"},
    {.name = "ssl-key", .type = RH_OPT_PATH, .value_name = "FILE", .help = "the key of our certificate"},
    {.name = "server-public-key-path", .type = RH_OPT_PATH, .flags = RH_OPT_HIDDEN, .value_name = "FILE",
     .help = "taken; a password travels under TLS only"},
    {.name = "get-server-public-key", .type = RH_OPT_BOOL, .flags = RH_OPT_HIDDEN,
     .help = "taken; a password travels under TLS only"},
    {.name = "utility-user", .type = RH_OPT_TEXT, .flags = RH_OPT_HIDDEN, .value_name = "NAME",
     .help = "what user is in [mysql_migrate_keyring]: the account, which alone doesn't make a migration an online one"},
    {.name = "verbose", .type = RH_OPT_BOOL, .letter = 'v', .help = "as --log-level=debug"},
    /* ours */
    {.name = "run-as", .type = RH_OPT_TEXT, .value_name = "NAME",
     .help = "run as this user of the system, among whichever options"},
    {.name = "source-path", .type = RH_OPT_PATH, .value_name = "FILE",
     .help = "the source's file itself, instead of where its configuration leads"},
    {.name = "destination-path", .type = RH_OPT_PATH, .value_name = "FILE", .help = "the destination's file itself"},
    {.name = "component-loader", .type = RH_OPT_PATH, .value_name = "FILE",
     .help = "program loader (ld-linux) for a component's library of another system"},
    {.name = "component-library-path", .type = RH_OPT_TEXT, .value_name = "DIRS",
     .help = "folders with that system's libraries, with colons"},
    {.name = "keyring-file-version", .type = RH_OPT_CHOICE, .choices = versions,
     .help = "format of a new data file of the plugin; 1.0 is for MySQL 5.7"},
    {.name = "password-file", .type = RH_OPT_PATH, .value_name = "FILE", .help = "file with the account's password"},
    {.name = "password-fd", .type = RH_OPT_INT, .max = 1048576, .value_name = "N",
     .help = "open descriptor that gives the account's password"},
    {.name = "password-env", .type = RH_OPT_TEXT, .value_name = "NAME",
     .help = "environment variable with the account's password"},
    {.name = "keyring-encrypted-file-password-file", .type = RH_OPT_PATH, .value_name = "FILE",
     .help = "file with the sealed keyring's password"},
    {.name = "keyring-encrypted-file-password-fd", .type = RH_OPT_INT, .max = 1048576, .value_name = "N",
     .help = "open descriptor that gives the sealed keyring's password"},
    {.name = "keyring-encrypted-file-password-env", .type = RH_OPT_TEXT, .value_name = "NAME",
     .help = "environment variable with the sealed keyring's password"},
    {.name = "servers", .type = RH_OPT_TEXT, .value_name = "LIST",
     .help = "more running servers that use the keystore: HOST[:PORT] or sockets, with commas"},
    {.name = "lease", .type = RH_OPT_DURATION, .value_name = "TIME",
     .help = "how long a server stays paused when nobody renews that"},
    {.name = "on-conflict", .type = RH_OPT_CHOICE, .initial = "fail", .choices = on_conflict,
     .help = "what to do about a key that the destination has already"},
    {.name = "print-plan", .type = RH_OPT_BOOL, .help = "print the plan that this command line means, and stop"},
    RH_OPTION_RETRY,
    RH_OPTION_STATE_DIR,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    RH_OPTION_LOG("info"),
    RH_OPTION_END,
};

/* What is taken from a server's own group; all else there is the server's business. */
static const char *const of_server[] = {
    "keyring-migration-source", "keyring-migration-destination", "keyring-migration-to-component",
    "keyring-migration-from-component", "keyring-migration-host", "keyring-migration-port",
    "keyring-migration-socket", "keyring-migration-user", "keyring-migration-password", "keyring-file-data",
    "keyring-encrypted-file-data", "keyring-encrypted-file-password", "keyring-vault-config",
    "keyring-vault-timeout", "plugin-dir", "datadir", "run-as", NULL};
/* clang-format on */
static const char *const user_is_run_as[] = {"user", "run-as", NULL};
static const char *const user_is_account[] = {"user", "utility-user", NULL};
static const struct rh_mysql_group groups[] = {
    {.name = "mysqld",                .only = of_server, .renamed = user_is_run_as},
    {.name = "server",      .only = of_server, .renamed = user_is_run_as},
    {.name = "mysql_migrate_keyring",                .renamed = user_is_account},
    {.name = "rehome",      .renamed = user_is_run_as},
    {.name = NULL},
};

/* Option files, then argv, as MySQL's programs take them. */
static enum rh_status
parse(const struct rh_command *command, int argc, char **argv, struct rh_options **ret_options, struct rh_error *err)
{
    const char *server_home = getenv("MYSQL_HOME"), *home = getenv("HOME");
    char of_home[512] = "", of_user[512] = "";
    if (server_home && server_home[0])
        snprintf(of_home, sizeof of_home, "%s/my.cnf", server_home);
    if (home && home[0])
        snprintf(of_user, sizeof of_user, "%s/.my.cnf", home);
    const char *files[5] = {"/etc/my.cnf", "/etc/mysql/my.cnf"};
    size_t count = 2;
    if (of_home[0])
        files[count++] = of_home;
    if (of_user[0])
        files[count] = of_user;
    struct rh_options *values = NULL;
    enum rh_status status = rh_mysql_options(command->options, groups, files, argc, argv, &values, err);
    if (status == RH_OK && rh_options_bool(values, "verbose") && !rh_options_given(values, "log-level"))
        status = rh_options_set(values, "log-level", rh_bytes_text("debug"), "", err);
    if (status == RH_OK)
        *ret_options = values;
    else
        rh_options_free(values);
    return status;
}

/* --- rights --- */

/* The user of the system to become; NULL when none is asked for. */
static const char *wanted_user(const struct rh_options *values)
{
    const char *name = rh_options_text(values, "run-as");
    if (!keyring_is_utility(values) && rh_options_given(values, "user"))
        name = rh_options_text(values, "user");
    return name;
}

/* The folder of journals that another account than root's gets, where none is given. */
static enum rh_status
state_dir_of(const struct rh_options *values, const struct rh_account *account, char **ret_dir, struct rh_error *err)
{
    const char *given = rh_options_text(values, "state-dir"), *env = getenv("REHOME_STATE_DIR");
    if (!given && env && env[0])
        given = env;
    if (given && given[0] != '/')
        return rh_fail(err, RH_E_USAGE, "the state folder of another user is an absolute path, not '%s'",
                       RH_SHOW(rh_bytes_text(given)));
    char *dir = NULL;
    if (given)
        dir = strdup(given);
    else if (asprintf(&dir, "/var/lib/rehome-%s", account->name) < 0)
        dir = NULL;
    *ret_dir = dir;
    return dir ? RH_OK : rh_fail_memory(err);
}

/* Whom to become, and where journals go. */
struct rights {
    struct rh_account account;
    bool become;     /* root is to become the account; else all stays as it is */
    char *state_dir; /* NULL: the usual one */
};

/* Looks at who began and who is asked for; nothing is changed yet. */
static enum rh_status look_at_rights(const struct rh_options *values, struct rights *rights, struct rh_error *err)
{
    const char *name = wanted_user(values), *option = keyring_is_utility(values) ? "run-as" : "user";
    enum rh_status status = name ? rh_account_find(name, &rights->account, err) : RH_OK;
    if (status != RH_OK)
        return status;
    if (geteuid() != 0) {
        if (name && rights->account.uid != geteuid())
            rh_log(RH_LOG_WARN, "only root can run as another user; going on as the one that began",
                   {"user", rights->account.name});
        return RH_OK;
    }
    if (!name) {
        status = rh_fail(err, RH_E_USAGE, "keyring-migrate doesn't run as root unless told to");
        rh_error_hint(err, "give '--%s=mysql' for the keystore's owner, or '--%s=root'", option, option);
        return status;
    }
    rights->become = rights->account.uid != 0;
    return rights->become ? state_dir_of(values, &rights->account, &rights->state_dir, err) : RH_OK;
}

/* --- the job --- */

/* A migration under way. */
struct migration {
    struct rh_job job; /* first: the verb gets a pointer to it */
    const struct keyring_secrets *secrets;
    const char *user; /* whom root has become; NULL: nobody else */
    char plan_path[512];
};

/* The folder of the journals, which may be in a home that an account of a server's doesn't have. */
static enum rh_status make_state_dir(const char *dir, struct rh_error *err)
{
    enum rh_status status = rh_make_dirs(dir, 0700, err);
    if (status == RH_OK)
        return RH_OK;
    rh_ignore(rh_error_prepend(err, "make state folder '%s'", RH_SHOW(rh_bytes_text(dir)))); /* it is the same status */
    rh_error_hint(err, "name another one by --state-dir or REHOME_STATE_DIR, a folder that stays");
    return status;
}

/* Writes the plan without its secrets to the state folder, for the commands that come after this one. */
static enum rh_status save_plan(struct migration *migration, const char *name, struct rh_error *err)
{
    const struct rh_plan *plan = migration->job.plan;
    rh_auto_buf struct rh_buf text = rh_buf_limited(PLAN_TEXT_MAX), file = RH_BUF_INIT;
    enum rh_status status = keyring_plan_write(migration->job.options, migration->secrets, KEYRING_TEXT_SHOW, name,
                                               plan->state_dir, &text, err);
    if (status == RH_OK)
        status = make_state_dir(plan->state_dir, err);
    if (status != RH_OK)
        return status;
    rh_auto_fd int folder = open(plan->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return rh_fail_errno(err, errno, "opening state folder '%s'", RH_SHOW(rh_bytes_text(plan->state_dir)));
    status = rh_buf_format(&file, err, "%s.hcl", name);
    if (status == RH_OK)
        status = rh_file_replace(folder, rh_buf_cstr(&file), rh_buf_bytes(&text), 0600, err);
    snprintf(migration->plan_path, sizeof migration->plan_path, "%s/%s", plan->state_dir, rh_buf_cstr(&file));
    return status;
}

/* The engine's run, once the plan stands in a file. From here on the journal has its name, and no store needs to be
 * asked for it again. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    struct migration *migration = (struct migration *)job;
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = rh_engine_journal_name(job->engine, &name, err);
    if (status == RH_OK)
        status = save_plan(migration, rh_buf_cstr(&name), err);
    char *copy = status == RH_OK ? strdup(rh_buf_cstr(&name)) : NULL;
    if (status == RH_OK && !copy)
        return rh_fail_memory(err);
    if (status != RH_OK)
        return status;
    free(job->plan->name);
    job->plan->name = copy;
    job->plan->named_by_stores = false;
    job->plan_path = migration->plan_path;
    return rh_engine_run(job->engine, err);
}

/* What was moved, and what may follow. */
static void closing(const struct rh_job *job)
{
    const struct migration *migration = (const struct migration *)job;
    rh_job_moved(job);
    rh_talk("done in %s; 'rehome rollback %s' goes back until 'rehome finish %s'",
            rh_words_duration(rh_clock_us() - job->started_us).text, job->plan_path, job->plan_path);
    if (migration->user)
        rh_talk("these commands are for the user '%s', whose state folder it is: sudo -u %s rehome ...",
                migration->user, migration->user);
}

/* Says what the name of a sealed keyring may hide. */
static void warn_of_sealed(const struct rh_plan *plan)
{
    const struct rh_move *move = &plan->moves[0];
    if (strcmp(move->destination.driver->name, "sealed_keyring") == 0)
        rh_log(RH_LOG_WARN, "keyring_encrypted_file stands for a sealed keyring of rehome's own; no MySQL reads it");
}

/* The plan, parsed from text that holds secrets and is wiped. */
static enum rh_status make_plan(const struct rh_options *values,
                                const struct keyring_secrets *secrets,
                                const char *state_dir,
                                struct rh_plan **ret_plan,
                                struct rh_error *err)
{
    struct rh_buf text = rh_buf_limited(PLAN_TEXT_MAX);
    enum rh_status status = rh_buf_reserve(&text, PLAN_TEXT_MAX, err); /* so that no copy is left by growing */
    if (status == RH_OK)
        status = keyring_plan_write(values, secrets, KEYRING_TEXT_RUN, PLAN_NAME, state_dir, &text, err);
    if (status == RH_OK)
        status = rh_plan_parse("keyring-migrate", rh_buf_bytes(&text), RH_PLAN_KINDS_ALL, ret_plan, err);
    if (text.data)
        rh_wipe(text.data, text.capacity);
    rh_buf_done(&text);
    if (status == RH_OK)
        (*ret_plan)->named_by_stores = true;
    return status;
}

/* Prints the plan, without secrets. */
static enum rh_status
print_plan(const struct rh_options *values, const struct keyring_secrets *secrets, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = rh_buf_limited(PLAN_TEXT_MAX);
    enum rh_status status = keyring_plan_write(values, secrets, KEYRING_TEXT_SHOW, PLAN_NAME,
                                               rh_options_text(values, "state-dir"), &text, err);
    if (status == RH_OK)
        fwrite(text.data, 1, text.size, stdout);
    return status;
}

/* Carries the plan out. The job frees it. */
static enum rh_exit carry_out(const struct rh_command *command,
                              const struct rh_options *values,
                              const struct keyring_secrets *secrets,
                              const struct rights *rights,
                              struct rh_plan *plan)
{
    struct migration migration = {.secrets = secrets, .user = rights->become ? rights->account.name : NULL};
    enum rh_exit code = rh_job_take(&migration.job, command, values, "PLAN", plan);
    migration.job.again = "the same command again";
    warn_of_sealed(plan);
    if (code == RH_EXIT_OK)
        code = rh_job_run(&migration.job, verb);
    if (code == RH_EXIT_OK && !migration.job.quiet && !migration.job.json)
        closing(&migration.job);
    rh_job_close(&migration.job);
    return code;
}

/* Up to the plan in memory: secrets and plan as whoever began; then the rights go, before a store is opened. */
static enum rh_status prepare(const struct rh_options *values,
                              struct keyring_secrets *secrets,
                              struct rights *rights,
                              struct rh_plan **ret_plan,
                              struct rh_error *err)
{
    struct rh_plan *plan = NULL;
    enum rh_status status = look_at_rights(values, rights, err);
    if (status == RH_OK)
        status = keyring_secrets_take(values, secrets, err);
    if (status == RH_OK)
        status = make_plan(values, secrets, rights->state_dir, &plan, err);
    if (status == RH_OK && rights->become)
        status = rh_account_become(&rights->account, plan->state_dir, err);
    if (status == RH_OK)
        *ret_plan = plan;
    else
        rh_plan_free(plan);
    return status;
}

/* Prints the plan or carries it out. */
static enum rh_exit keyring_migrate(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job failing = {.command = command, .options = values, .started_us = rh_clock_us()};
    struct keyring_secrets secrets = {NULL, NULL};
    struct rights rights = {.become = false};
    struct rh_plan *plan = NULL;
    failing.json = rh_options_bool(values, "json");
    enum rh_status status = rh_options_bool(values, "print-plan")
                                ? print_plan(values, &secrets, &failing.err)
                                : prepare(values, &secrets, &rights, &plan, &failing.err);
    enum rh_exit code = status == RH_OK ? RH_EXIT_OK : rh_job_fail(&failing, &failing.err);
    if (plan)
        code = carry_out(command, values, &secrets, &rights, plan);
    keyring_secrets_done(&secrets);
    free(rights.state_dir);
    return code;
}

const struct rh_command rh_cmd_keyring_migrate = {
    .name = "keyring-migrate",
    .summary = "MySQL's migration of keyrings: the options of mysqld and of mysql_migrate_keyring",
    .usage = "--keyring-migration-source=LIBRARY --keyring-migration-destination=LIBRARY [OPTIONS]",
    .detail =
        "Moves all keys of a MySQL keyring to another keystore, all or none, and compares both. With a running server "
        "it\n"
        "holds back that server's keyring operations meanwhile. Options are read from MySQL's option files, too, in "
        "the\n"
        "groups [mysqld], [server], [mysql_migrate_keyring] and [rehome]; '-' and '_' mean the same in their names.",
    .options = options,
    .parse = parse,
    .run = keyring_migrate,
};
