/* SPDX-License-Identifier: Apache-2.0 */
/* rehome recover: after a crash: take away our own markers and say what stands. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,  RH_OPTION_STATE_DIR,   RH_OPTION_RETRY, RH_OPTION_JSON,
    RH_OPTION_QUIET, RH_OPTION_LOG("info"), RH_OPTION_END,
};

/* The engine's recover. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_recover(job->engine, err);
}

/* Opens the plan, does it, says so. */
static enum rh_exit recover(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json)
            rh_talk("recovered: no marker of this plan stands any more");
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_recover = {
    .name = "recover",
    .summary = "after a crash: take away our own markers and say what stands",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "Removes the markers that this plan set, and only those, so that the servers may start again. What was copied\n"
        "before no longer counts as copied: the next run looks at every record again.",
    .options = options,
    .run = recover,
};
