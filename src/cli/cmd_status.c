/* SPDX-License-Identifier: Apache-2.0 */
/* rehome status: where a plan stands, from the journal alone. */
#include "cli.h"

static const struct rh_option options[] = {
    RH_OPTION_PLAN, RH_OPTION_STATE_DIR, RH_OPTION_JSON, RH_OPTION_LOG("warn"), RH_OPTION_END,
};

/* Prints the report in words, or as it is. */
static enum rh_exit status(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    enum rh_status found = RH_OK;
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
    .detail = "Reads the journal and opens no store, so it may be asked at any time, also while a run is on.",
    .options = options,
    .run = status,
};
