/* SPDX-License-Identifier: Apache-2.0 */
/* rehome run: carries the plan out; resumes by itself. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    RH_OPTION_PARALLEL,
    {.name = "no-verify", .type = RH_OPT_BOOL, .help = "leave out the comparison after the copy"},
    RH_OPTION_DATADIR,
    RH_OPTION_RETRY,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    RH_OPTION_LOG("info"),
    RH_OPTION_END,
};

/* The engine's run. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_run(job->engine, err);
}

/* What was moved, in words on stderr, and what may follow. */
static void closing(const struct rh_job *job)
{
    rh_job_moved(job);
    rh_talk("done in %s; 'rehome rollback' goes back until 'rehome finish' ends the way back",
            rh_words_duration(rh_clock_us() - job->started_us).text);
}

/* Runs the plan and prints the outcome. */
static enum rh_exit run(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json)
            closing(&job);
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_run = {
    .name = "run",
    .summary = "carry the plan out; run again to resume",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "Checks both sides, marks them, copies, verifies and takes the marks away again. Killed at any point, the\n"
        "same command goes on where it stopped. 'rehome rollback' puts the destination back until 'rehome finish'.",
    .options = options,
    .run = run,
};
