/* SPDX-License-Identifier: Apache-2.0 */
/* rehome cutover: the servers go to the destination. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    {.name = "window",
      .type = RH_OPT_DURATION,
      .min = 1000000,
      .max = 600000000,
      .value_name = "TIME",
      .help = "the most that it may take before it goes back by itself, instead of the plan's, 1s to 10m"},
    RH_OPTION_RETRY,
    RH_OPTION_JSON,
    RH_OPTION_QUIET,
    RH_OPTION_LOG("info"),
    RH_OPTION_END,
};

/* The engine's cutover. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_cutover(job->engine, err);
}

/* Opens the plan, does it, says so. */
static enum rh_exit cutover(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json) {
            rh_job_routes(&job);
            rh_talk("cut over in %s; 'rehome rollback' takes the servers back until 'rehome finish' ends the way back",
                    rh_words_duration(rh_clock_us() - job.started_us).text);
        }
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_cutover = {
    .name = "cutover",
    .summary = "the servers go to the destination, all of them or none",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "For a plan with a cutover block that 'rehome run' has completed. Holds the servers' writers back, carries "
        "over\n"
        "what the source got since, switches every route, and sees that nothing is left behind. What fails, or takes\n"
        "longer than the window, goes back by itself. Killed at any point, the guardian puts things right, and the "
        "same\n"
        "command or 'rehome rollback' goes on.",
    .options = options,
    .run = cutover,
};
