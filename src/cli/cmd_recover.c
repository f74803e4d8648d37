/* SPDX-License-Identifier: Apache-2.0 */
/* rehome recover: after a crash: take away our own markers and say what stands. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    RH_OPTION_RETRY,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    {.name = "abandon", .type = RH_OPT_BOOL, .help = "give the way back up for good; what was written stays"},
    RH_OPTION_LOG("info"),
    RH_OPTION_END,
};

/* The engine's recover. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_options_bool(job->options, "abandon") ? rh_engine_abandon(job->engine, err)
                                                    : rh_engine_recover(job->engine, err);
}

/* Opens the plan, does it, says so. */
static enum rh_exit recover(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json)
            rh_talk(rh_options_bool(values, "abandon")
                        ? "given up: no marker of this plan stands any more, and there is no way back"
                        : "recovered: no marker of this plan stands any more");
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
        "before no longer counts as copied: the next run looks at every record again.\n\n"
        "With --abandon the way back is given up, too: for an undo log that is damaged for good. What was written to "
        "the\n"
        "destination and not undone stays there, and the plan can be run anew.",
    .options = options,
    .run = recover,
};
