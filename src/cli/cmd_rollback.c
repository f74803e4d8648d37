/* SPDX-License-Identifier: Apache-2.0 */
/* rehome rollback: put the destination back as it was, record for record. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,  RH_OPTION_STATE_DIR,   RH_OPTION_RETRY, RH_OPTION_JSON,
    RH_OPTION_QUIET, RH_OPTION_LOG("info"), RH_OPTION_END,
};

/* The engine's rollback. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_rollback(job->engine, err);
}

/* Opens the plan, does it, says so. */
static enum rh_exit rollback(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json) {
            rh_job_routes(&job);
            rh_talk("rolled back: the destination is as it was before the run");
        }
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_rollback = {
    .name = "rollback",
    .summary = "put the destination back as it was, record for record",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "Undoes what the plan wrote, and only that: a record that somebody else has written since is left alone and\n"
        "named. A table or folder is removed only if the plan made it and it is empty. Possible until 'rehome finish'.",
    .options = options,
    .run = rollback,
};
