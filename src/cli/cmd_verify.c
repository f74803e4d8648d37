/* SPDX-License-Identifier: Apache-2.0 */
/* rehome verify: compares both sides, mends on request. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    {.name = "repair",
      .type = RH_OPT_BOOL,
      .help = "write records that differ or are missing anew, where the source is unchanged"},
    RH_OPTION_PARALLEL,
    RH_OPTION_DATADIR,
    RH_OPTION_RETRY,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};

/* The engine's verification. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_verify(job->engine, rh_options_bool(job->options, "repair"), err);
}

/* The digests of both sides, on stdout. */
static void closing(const struct rh_job *job)
{
    struct rh_error err = {.status = RH_OK};
    enum rh_status status;
    json_t *report = rh_view_load(job->plan, &status, &err);
    if (report)
        rh_view_summary(stdout, report);
    puts("both sides are equal");
    json_decref(report);
}

/* Names each record that isn't equal, then says whether all are. */
static enum rh_exit verify(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        job.findings.out = stdout;
        code = rh_job_run(&job, verb);
        if (!job.json && code == RH_EXIT_OK && !job.quiet)
            closing(&job);
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_verify = {
    .name = "verify",
    .summary = "compare both sides record by record; mend with --repair",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "Reads both sides anew and compares keyed 128-bit sums; where they differ it names the records. --repair\n"
        "writes those anew where the source is as it was copied, unless they change again meanwhile.",
    .options = options,
    .run = verify,
};
