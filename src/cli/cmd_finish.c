/* SPDX-License-Identifier: Apache-2.0 */
/* rehome finish: give up the way back: remove undo images, keep the report. */
#include "cli.h"

#include <unistd.h>

static const struct rh_option options[] = {
    RH_OPTION_PLAN,        RH_OPTION_STATE_DIR,
    RH_OPTION_RETRY,       {.name = "yes", .type = RH_OPT_BOOL, .letter = 'y', .help = "don't ask on a terminal"},
    RH_OPTION_JSON,        RH_OPTION_QUIET,
    RH_OPTION_LOG("info"), RH_OPTION_END,
};

/* The engine's finish. */
static enum rh_status verb(struct rh_job *job, struct rh_error *err)
{
    return rh_engine_finish(job->engine, err);
}

/* True when the user agrees, or when there is nobody to ask. */
static bool agreed(const struct rh_job *job)
{
    char answer[16] = "";
    if (rh_options_bool(job->options, "yes") || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    rh_talk("after this there is no way back: the images of what the destination held before are deleted");
    fputs("type 'yes' to finish: ", stderr);
    return fgets(answer, sizeof answer, stdin) && strcmp(answer, "yes\n") == 0;
}

/* Opens the plan, does it, says so. */
static enum rh_exit finish(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job;
    enum rh_exit code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK && !agreed(&job)) {
        rh_talk("rehome: not finished; nothing was changed");
        code = RH_EXIT_USAGE;
    } else if (code == RH_EXIT_OK) {
        code = rh_job_run(&job, verb);
        if (code == RH_EXIT_OK && !job.quiet && !job.json)
            rh_talk("finished: the report stays, the way back is gone");
    }
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_finish = {
    .name = "finish",
    .summary = "give up the way back: remove undo images, keep the report",
    .usage = "[OPTIONS] PLAN",
    .detail =
        "Ends a complete move. The saved images of what the destination held before are deleted, so 'rehome rollback'\n"
        "is not possible afterwards. This is the one point after which there is no way back; a terminal is asked "
        "first.",
    .options = options,
    .run = finish,
};
