/* SPDX-License-Identifier: Apache-2.0 */
/* rehome report: the evidence, as JSON. */
#include "cli.h"

#include <fcntl.h>

static const struct rh_option options[] = {
    RH_OPTION_PLAN,
    RH_OPTION_STATE_DIR,
    {.name = "output",
      .type = RH_OPT_PATH,
      .letter = 'o',
      .value_name = "FILE",
      .help = "write to this file instead of stdout"},
    {.name = "json", .type = RH_OPT_BOOL, .help = "JSON, which is the only form there is"},
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};

/* Writes the report where it was asked for. */
static enum rh_status deliver(const json_t *report, const char *path, struct rh_error *err)
{
    rh_auto_free char *text = json_dumps(report, JSON_INDENT(2));
    rh_auto_buf struct rh_buf buf = RH_BUF_INIT;
    if (!text)
        return rh_fail_memory(err);
    enum rh_status status = rh_buf_format(&buf, err, "%s\n", text);
    if (status == RH_OK && path)
        return rh_file_replace(AT_FDCWD, path, rh_buf_bytes(&buf), 0600, err);
    if (status == RH_OK)
        fwrite(buf.data, 1, buf.size, stdout);
    return status;
}

/* There is nothing to report on. */
static enum rh_status nothing_run(const struct rh_plan *plan, struct rh_error *err)
{
    rh_fail(err, RH_E_REFUSED, "report: nothing was run yet with this plan: there is no journal in '%s'",
            plan->state_dir);
    rh_error_hint(err, "'rehome run' begins; another --state-dir may hold the journal");
    return RH_E_REFUSED;
}

/* Reads the journal and prints all of it that is meant for people. */
static enum rh_exit report(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK) {
        enum rh_status status;
        json_t *data = rh_view_load(job.plan, &status, &job.err);
        if (status == RH_NOT_FOUND)
            status = nothing_run(job.plan, &job.err);
        if (status == RH_OK)
            status = deliver(data, rh_options_text(values, "output"), &job.err);
        if (status != RH_OK)
            code = rh_job_fail(&job, &job.err);
        json_decref(data);
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_report = {
    .name = "report",
    .summary = "print the evidence of a run as JSON",
    .usage = "[OPTIONS] PLAN",
    .detail = "What was moved, from where to where, when each step ran, the counts, the three digests, what was found.",
    .options = options,
    .run = report,
};
