/* SPDX-License-Identifier: Apache-2.0 */
/* rehome check: looks at both sides, changes nothing. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,    RH_OPTION_STATE_DIR, RH_OPTION_JSON,        RH_OPTION_QUIET,
    RH_OPTION_DATADIR, RH_OPTION_RETRY,     RH_OPTION_LOG("warn"), RH_OPTION_END,
};

/* The engine's check. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_check(job->engine, err);
}

/* The closing line: how many problems there are. */
static void closing(const struct rh_job *job, enum rh_exit code)
{
    unsigned long long problems = job->findings.problems;
    if (problems)
        printf("%llu problem%s named above\n", problems, problems == 1 ? "" : "s");
    else if (code == RH_EXIT_OK)
        puts("nothing stands in the way");
}

/* Reads the plan, checks, prints both sides and each problem with its remedy. */
static enum rh_exit check(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        job.findings.out = stdout;
        job.findings.facts = !job.quiet;
        code = rh_job_run(&job, verb);
        if (!job.json)
            closing(&job, code);
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_check = {
    .name = "check",
    .summary = "look at both sides and say what would stop the move; changes nothing",
    .usage = "[OPTIONS] PLAN",
    .detail = "Opens both stores of every move, prints what they are, and lists each problem with the way to fix it.\n"
              "Keys that the destination can't hold are named here, before anything is written.",
    .options = options,
    .run = check,
};
