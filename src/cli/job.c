/* SPDX-License-Identifier: Apache-2.0 */
/* What all commands that work on a plan share: read it, open the engine, do one verb, say how it went. */
#include "cli.h"

#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name, *summary;
} exits[] = {
    [RH_EXIT_OK] = {"ok",          "done"                                                                    },
    [RH_EXIT_USAGE] = {"usage",       "the command line is wrong"                                               },
    [RH_EXIT_PLAN] = {"plan",        "the plan or configuration file is wrong"                                 },
    [RH_EXIT_SOURCE] = {"source",      "the source failed"                                                       },
    [RH_EXIT_DESTINATION] = {"destination", "the destination failed"                                                  },
    [RH_EXIT_MISMATCH] = {"mismatch",    "the two sides are not equal, or the source changed meanwhile"            },
    [RH_EXIT_LOCKED] = {"locked",      "somebody else is at work on the plan or on a store"                      },
    [RH_EXIT_INTERRUPTED] = {"interrupted", "stopped before the end; the same command resumes"                        },
    [RH_EXIT_REFUSED] = {"refused",     "a check said no; nothing was written"                                    },
    [RH_EXIT_INTERNAL] = {"internal",    "the state folder or the seal failed, out of memory, a mistake of our own"},
};

const char *rh_exit_name(enum rh_exit code)
{
    return exits[code].name;
}

const char *rh_exit_summary(enum rh_exit code)
{
    return exits[code].summary;
}

json_t *rh_error_json(const struct rh_error *err)
{
    json_t *object = json_object();
    json_object_set_new(object, "status", json_string(rh_status_name(err->status)));
    json_object_set_new(object, "text", json_string(err->text));
    if (err->hint[0])
        json_object_set_new(object, "hint", json_string(err->hint));
    return object;
}

/* The rest of the JSON answer, after the array of findings. */
static void answer_end(const struct rh_job *job, enum rh_exit code, const struct rh_error *err, json_t *report)
{
    json_t *tail = json_object();
    json_object_set_new(tail, "command", json_string(job->command->name));
    json_object_set_new(tail, "problems", json_integer((json_int_t)job->findings.problems));
    json_object_set_new(tail, "warnings", json_integer((json_int_t)job->findings.warnings));
    json_object_set_new(tail, "records", json_integer((json_int_t)job->findings.records));
    json_object_set_new(tail, "elapsed_ms", json_integer((rh_clock_us() - job->started_us) / 1000));
    json_object_set_new(tail, "exit", json_integer(code));
    json_object_set_new(tail, "exit_name", json_string(rh_exit_name(code)));
    json_object_set_new(tail, "error", err ? rh_error_json(err) : json_null());
    json_object_set(tail, "report", report ? report : json_null());
    char *text = json_dumps(tail, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    /* the array was streamed, so its object is put together by hand: text + 1 leaves out the opening brace */
    printf("%s],%s\n", job->findings.members ? "\n  " : "", text ? text + 1 : "\"memory\": false}");
    free(text);
    json_decref(tail);
}

enum rh_exit rh_job_fail(const struct rh_job *job, const struct rh_error *err)
{
    enum rh_exit code = rh_engine_exit(err);
    rh_talk_error(err);
    if (job->json) {
        fputs("{\n  \"findings\": [", stdout);
        answer_end(job, code, err, NULL);
    }
    return code;
}

void rh_job_usage(const struct rh_command *command, const struct rh_error *err)
{
    const struct rh_job job = {.command = command, .started_us = rh_clock_us()};
    fputs("{\n  \"findings\": [", stdout);
    answer_end(&job, rh_engine_exit(err), err, NULL);
}

/* Whether a move of the plan writes to standard output: a destination whose path is "-". */
static bool job_takes_stdout(const struct rh_plan *plan)
{
    for (size_t i = 0; i < plan->move_count; i++) {
        const struct rh_options *options = plan->moves[i].destination.options;
        const char *path = rh_option_in(options, "path") ? rh_options_text(options, "path") : NULL;
        if (path && strcmp(path, "-") == 0)
            return true;
    }
    return false;
}

/* What every job begins with. */
static void
job_init(struct rh_job *job, const struct rh_command *command, const struct rh_options *options, const char *plan_path)
{
    *job = (struct rh_job){.command = command, .options = options, .plan_path = plan_path, .started_us = rh_clock_us()};
    job->json = rh_option_in(options, "json") && rh_options_bool(options, "json");
    job->quiet = rh_option_in(options, "quiet") && rh_options_bool(options, "quiet");
}

/* Data folders of the command line: for the one move of a plan, between keyrings. */
static enum rh_status job_datadirs(struct rh_job *job, struct rh_error *err)
{
    const struct rh_options *options = job->options;
    /* keyring-migrate's option of that name is where a component's configuration lies */
    const bool taken = job->command != &rh_cmd_keyring_migrate && rh_option_in(options, "datadir");
    const size_t count = taken ? rh_options_count(options, "datadir") : 0;
    if (count == 0)
        return RH_OK;
    if (job->plan->move_count != 1) {
        rh_fail(err, RH_E_USAGE, "%s: --datadir doesn't say which of the plan's moves it is for", job->command->name);
        rh_error_hint(err, "put datadir = \"DIR\" into the move instead");
        return RH_E_USAGE;
    }
    if (job->plan->moves[0].source.driver->model != RH_MODEL_KEYRING)
        return rh_fail(err, RH_E_USAGE, "%s: --datadir is for keyrings, and this plan moves something else",
                       job->command->name);
    job->datadirs = calloc(count, sizeof *job->datadirs);
    if (!job->datadirs)
        return rh_fail_memory(err);
    for (size_t i = 0; i < count; i++)
        job->datadirs[i] = rh_options_text_at(options, "datadir", i);
    job->args.datadirs = job->datadirs;
    job->args.datadir_count = count;
    return RH_OK;
}

/* What the command line says beside the plan. */
static enum rh_exit job_settle(struct rh_job *job)
{
    const struct rh_options *options = job->options;
    const char *state_dir = rh_option_in(options, "state-dir") ? rh_options_text(options, "state-dir") : NULL;
    if (state_dir) {
        rh_auto_free char *here = state_dir[0] == '/' ? NULL : getcwd(NULL, 0);
        char *copy = NULL;
        if (asprintf(&copy, "%s%s%s", here ? here : "", here ? "/" : "", state_dir) < 0) {
            rh_ignore(rh_fail_memory(&job->err)); /* the code comes from the error itself */
            return rh_job_fail(job, &job->err);
        }
        free(job->plan->state_dir);
        job->plan->state_dir = copy;
    }
    job->args = (struct rh_engine_args){.plan = job->plan, .cancel = &rh_cancel, .retry_us = -1};
    if (rh_option_in(options, "parallel"))
        job->args.parallel = rh_options_int(options, "parallel");
    if (rh_option_in(options, "no-verify"))
        job->args.verify_off = rh_options_bool(options, "no-verify");
    if (rh_option_in(options, "window") && rh_options_given(options, "window"))
        job->args.window_us = rh_options_int(options, "window");
    if (rh_option_in(options, "retry") && rh_options_given(options, "retry"))
        job->args.retry_us = rh_options_int(options, "retry");
    if (job_datadirs(job, &job->err) != RH_OK)
        return rh_job_fail(job, &job->err);
    job->findings = (struct rh_findings){.out = stderr, .quiet = job->quiet};
    if (job->json &&
        (job->command == &rh_cmd_run || job->command == &rh_cmd_operator_migrate ||
         job->command == &rh_cmd_keyring_migrate) &&
        job_takes_stdout(job->plan)) {
        job->json = false;
        rh_ignore(rh_fail(&job->err, RH_E_USAGE, "%s: --json and the plan's destination both want standard output",
                          job->command->name)); /* the code comes from the error itself */
        rh_error_hint(&job->err, "leave --json away; 'rehome report' gives the same afterwards");
        return rh_job_fail(job, &job->err);
    }
    if (job->json) {
        job->findings.json = true;
        job->findings.out = stdout;
    }
    return RH_EXIT_OK;
}

enum rh_exit rh_job_open(struct rh_job *job,
                         const struct rh_command *command,
                         const struct rh_options *options,
                         const char *plan_path)
{
    job_init(job, command, options, plan_path);
    if (rh_plan_load(plan_path, RH_PLAN_KINDS_ALL, &job->plan, &job->err) != RH_OK)
        return rh_job_fail(job, &job->err);
    return job_settle(job);
}

enum rh_exit rh_job_take(struct rh_job *job,
                         const struct rh_command *command,
                         const struct rh_options *options,
                         const char *plan_path,
                         struct rh_plan *plan)
{
    job_init(job, command, options, plan_path);
    job->plan = plan;
    return job_settle(job);
}

/* After a failure: what stands and how to go on. A refusal that wrote nothing needs no words about that. */
static void job_standing(const struct rh_job *job, const json_t *report, enum rh_status report_status)
{
    char again[512];
    snprintf(again, sizeof again, "rehome run %s", job->plan_path);
    if (rh_talk_is_json()) {
        rh_log(RH_LOG_INFO, "what was done is in the report; the same command goes on",
               {"go_on", job->again ? job->again : again}, {"plan", job->plan_path});
        return;
    }
    rh_talk_lock();
    if (report)
        rh_view_standing(stderr, report, job->again ? job->again : again, job->plan_path);
    else if (report_status == RH_NOT_FOUND)
        fputs("  nothing was written by this plan\n", stderr);
    else
        fputs("  what this plan has written can't be told: its journal can't be read\n", stderr);
    rh_talk_unlock();
}

/* Whether the error's words stand on stderr or in the list already. */
static bool job_told(const struct rh_job *job)
{
    enum rh_status status = job->err.status;
    if (job->findings.problems == 0)
        return false;
    if (job->command == &rh_cmd_check && (status == RH_E_REFUSED || status == RH_E_LOCKED))
        return true;
    return !job->json && !rh_talk_is_json() && strcmp(job->findings.last_problem, job->err.text) == 0;
}

enum rh_exit rh_job_run(struct rh_job *job, enum rh_status (*verb)(struct rh_job *job, struct rh_error *err))
{
    job->args.found = rh_findings_add;
    job->args.found_user = &job->findings;
    if (job->json)
        fputs("{\n  \"findings\": [", stdout);
    job->args.guarded = job->command == &rh_cmd_run || job->command == &rh_cmd_rollback ||
                        job->command == &rh_cmd_verify || job->command == &rh_cmd_cutover ||
                        job->command == &rh_cmd_keyring_migrate;
    enum rh_status status = rh_engine_open(&job->args, &job->engine, &job->err);
    bool opened = status == RH_OK;
    if (opened) {
        struct rh_meter *meter = job->quiet ? NULL : rh_meter_start(job->engine);
        status = verb(job, &job->err);
        rh_meter_stop(meter);
    }
    rh_findings_end(&job->findings);
    if (status != RH_OK && !rh_failed(status))
        status = rh_fail(&job->err, status, "%s: nothing to work on", job->command->name);
    rh_engine_close(job->engine); /* before the report is read: the journal is whole then */
    job->engine = NULL;
    enum rh_exit code = status == RH_OK ? RH_EXIT_OK : rh_engine_exit(&job->err);
    bool told = job_told(job);
    if (status != RH_OK && !told)
        rh_talk_error(&job->err);
    struct rh_error report_err = {.status = RH_OK};
    enum rh_status report_status;
    json_t *report = rh_view_load(job->plan, &report_status, &report_err);
    /* a journal that goes by its stores, where these can't be found, has nothing to add */
    const bool nameless =
        job->plan->named_by_stores && report_status != RH_OK && strcmp(report_err.text, job->err.text) == 0;
    if (status != RH_OK && job->command != &rh_cmd_check && (opened || report_status == RH_OK) && !nameless)
        job_standing(job, report, report_status);
    if (job->json)
        answer_end(job, code, status == RH_OK ? NULL : &job->err, report);
    json_decref(report);
    return code;
}

void rh_job_moved(const struct rh_job *job)
{
    struct rh_error err = {.status = RH_OK};
    enum rh_status status;
    json_t *report = rh_view_load(job->plan, &status, &err);
    rh_talk_lock();
    rh_view_summary(stderr, report);
    rh_view_afterwards(stderr, report, job->plan_path);
    rh_talk_unlock();
    json_decref(report);
}

void rh_job_routes(const struct rh_job *job)
{
    struct rh_error err = {.status = RH_OK};
    enum rh_status status;
    json_t *report = job->plan->route_count ? rh_view_load(job->plan, &status, &err) : NULL;
    rh_talk_lock();
    rh_view_routes(stderr, report);
    rh_talk_unlock();
    json_decref(report);
}

void rh_job_close(struct rh_job *job)
{
    rh_engine_close(job->engine);
    rh_plan_free(job->plan);
    free(job->datadirs);
    job->datadirs = NULL;
    job->engine = NULL;
    job->plan = NULL;
}
