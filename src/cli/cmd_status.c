/* SPDX-License-Identifier: Apache-2.0 */
/* rehome status: where a plan stands, from the journal alone. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    {.name = "watch", .type = RH_OPT_BOOL, .help = "show how it goes on, a line for each move, until the command ends"},
    { .name = "interval",
      .type = RH_OPT_DURATION,
      .initial = "1s",
      .value_name = "TIME",
      .help = "with --watch: time between two looks"},
    RH_OPTION_JSON,
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};

/* Prints the report in words, or as it is. */
static enum rh_exit status(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    enum rh_status found = RH_OK;
    if (code == RH_EXIT_OK && rh_options_bool(values, "watch")) {
        code = rh_watch(&job, rh_options_int(values, "interval"));
        rh_job_close(&job);
        return code;
    }
    json_t *report = code == RH_EXIT_OK ? rh_view_load(job.plan, &found, &job.err) : NULL;
    if (report && job.json) {
        json_dumpf(report, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (report) {
        rh_view_status(stdout, report);
    } else if (code == RH_EXIT_OK && found == RH_NOT_FOUND) {
        puts(job.json ? "{\n  \"moves\": []\n}" : "nothing was run yet");
    } else if (code == RH_EXIT_OK) {
        code = rh_job_fail(&job, &job.err);
    }
    json_decref(report);
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_status = {
    .name = "status",
    .summary = "where the plan stands and what can be done next",
    .usage = "[OPTIONS] PLAN",
    .detail = "Reads the journal and opens no store, so it may be asked at any time, also while a run is on.\n"
              "With --watch it goes on until the command at work ends, and exits as that does.",
    .options = options,
    .run = status,
};
