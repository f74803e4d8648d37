/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rehome operator migrate: Vault's command of that name, its flags, file and words.
 * Source of both: Vault's documentation of "operator migrate" and its command's messages.
 */
#include "cli.h"

#define LANES_MAX 128 /* Vault takes any number; more than this many sessions help nobody */

static const char *const env_config[] = {"BAO_MIGRATE_CONFIG_PATH", NULL};
static const char *const env_level[] = {"VAULT_LOG_LEVEL", "BAO_LOG_LEVEL", "REHOME_LOG_LEVEL", NULL};
static const char *const env_format[] = {"VAULT_LOG_FORMAT", "BAO_LOG_FORMAT", "REHOME_LOG_FORMAT", NULL};

/* clang-format off */
static const struct rh_option options[] = {
    {.name = "config", .type = RH_OPT_PATH, .env = env_config, .value_name = "FILE",
     .help = "the migrate file: storage_source and storage_destination"},
    {.name = "start", .type = RH_OPT_TEXT, .value_name = "KEY", .help = "leave out keys that sort before this one"},
    {.name = "reset", .type = RH_OPT_BOOL, .help = "remove the migration lock from the source and stop"},
    {.name = "max-parallel", .type = RH_OPT_INT, .initial = "10", .min = 1, .max = INT32_MAX,
     .value_name = "N",
     .help = "ranges that travel at the same time"},
    {.name = "overwrite", .type = RH_OPT_BOOL, .help = "go on although the destination is an initialised Vault"},
    {.name = "no-verify", .type = RH_OPT_BOOL, .help = "leave out the comparison after the copy"},
    RH_OPTION_RETRY,
    RH_OPTION_STATE_DIR,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    {.name = "log-level", .type = RH_OPT_TEXT, .initial = "info", .env = env_level, .value_name = "LEVEL",
     .help = "trace, debug, info, warn or error"},
    {.name = "log-format", .type = RH_OPT_TEXT, .initial = "standard", .env = env_format, .value_name = "FORMAT",
     .help = "standard or json"},
    RH_OPTION_END,
};
/* clang-format on */

/* The engine's run, or -reset. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_options_bool(job->options, "reset") ? rh_engine_reset(job->engine, err) : rh_engine_run(job->engine, err);
}

/* Vault's sentence, then what we know beyond it. */
static void closing(const struct rh_job *job)
{
    struct rh_error err = {.status = RH_OK};
    enum rh_status status;
    if (rh_options_bool(job->options, "reset")) {
        puts("Success! Migration lock reset (if it was set).");
        return;
    }
    puts("Success! All of the keys have been migrated.");
    json_t *report = job->quiet ? NULL : rh_view_load(job->plan, &status, &err);
    if (report)
        rh_view_summary(stdout, report);
    if (!job->quiet)
        printf("done in %s; 'rehome rollback %s' goes back until 'rehome finish %s'\n",
               rh_words_duration(rh_clock_us() - job->started_us).text, job->plan_path, job->plan_path);
    json_decref(report);
}

/* A file that isn't Vault's is a plan of our own, and has its own command. */
static enum rh_exit refuse_plan(const struct rh_job *job)
{
    struct rh_error err = {.status = RH_OK};
    rh_ignore(
        rh_fail(&err, RH_E_PLAN, "%s has no storage_source and storage_destination", job->plan_path)); /* shown below */
    rh_error_hint(&err, "a plan of rehome's own is carried out by 'rehome run %s'", job->plan_path);
    return rh_job_fail(job, &err);
}

/* Reads the migrate file and does what Vault's command would do. */
static enum rh_exit operator_migrate(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    char again[512];
    const char *path = rh_options_text(values, "config");
    if (!path || !path[0]) {
        struct rh_error err = {.status = RH_OK};
        rh_ignore(rh_fail(&err, RH_E_USAGE, "Must specify exactly one config path using -config")); /* shown below */
        rh_talk_error(&err);
        if (rh_options_bool(values, "json"))
            rh_job_usage(command, &err);
        return RH_EXIT_USAGE;
    }
    snprintf(again, sizeof again, "rehome operator migrate -config %s", path);
    enum rh_exit code = rh_job_open(&job, command, values, path);
    if (code == RH_EXIT_OK && !job.plan->vault_config)
        code = refuse_plan(&job);
    if (code == RH_EXIT_OK) {
        job.again = again;
        int64_t parallel = rh_options_int(values, "max-parallel");
        job.args.parallel = parallel < LANES_MAX ? parallel : LANES_MAX;
        job.args.start = rh_options_text(values, "start");
        job.args.overwrite_initialised = rh_options_bool(values, "overwrite");
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.json)
            closing(&job);
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_operator_migrate = {
    .name = "operator migrate",
    .summary = "Vault's storage migration: its flags, its file, its lock",
    .usage = "-config FILE [OPTIONS]",
    .detail =
        "Takes Vault's migrate file unchanged and moves all keys from storage_source to storage_destination, with the\n"
        "same core/migration lock. Options may be written with one dash or two. Resumes by itself; verifies.",
    .options = options,
    .run = operator_migrate,
};
