/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the command line know of one another. Only this folder prints: data to stdout, talk to stderr.
 * Everything shown passes rh_put_clean, so no control character of outside data reaches a terminal.
 */
#ifndef REHOME_CLI_H
#define REHOME_CLI_H

#include <jansson.h>
#include <rehome/base.h>
#include <rehome/engine.h>
#include <stdio.h>

/* --- commands.c --- */
struct rh_command {
    const char *name;    /* "check", "operator migrate" */
    const char *summary; /* one line, lower case, no full stop */
    const char *usage;   /* what follows the name: "[OPTIONS] PLAN" */
    const char *detail;  /* a paragraph for its help */
    const struct rh_option *options;
    /* Makes the options of argv; NULL: rh_options_from_argv. RH_E_USAGE, or RH_E_PLAN for a file that it read. */
    enum rh_status (*parse)(
        const struct rh_command *command, int argc, char **argv, struct rh_options **ret_options, struct rh_error *err);
    enum rh_exit (*run)(const struct rh_command *command, const struct rh_options *options);
};
/* NULL-terminated, in the order of `rehome help`. */
extern const struct rh_command *const rh_commands[];
/* The command that the first one or two words name; *ret_words says how many. NULL when there is none. */
const struct rh_command *rh_command_find(int argc, char **argv, int *ret_words);
const char *rh_command_nearest(const char *word);
/* Whether this is the first word of commands with two ("seal"). */
bool rh_command_group(const char *word);
bool rh_option_in(const struct rh_options *options, const char *name);

extern const struct rh_command rh_cmd_check, rh_cmd_run, rh_cmd_cutover, rh_cmd_status, rh_cmd_verify, rh_cmd_rollback,
    rh_cmd_recover, rh_cmd_finish, rh_cmd_report, rh_cmd_operator_migrate, rh_cmd_keyring_migrate, rh_cmd_keyring_list,
    rh_cmd_keyring_show, rh_cmd_keyring_check, rh_cmd_seal_inspect, rh_cmd_seal_rewrap, rh_cmd_completion,
    rh_cmd_version, rh_cmd_help;

/* Pieces that option tables share. */
#define RH_OPTION_STATE_DIR                                                                                            \
    {                                                                                                                  \
        .name = "state-dir", .type = RH_OPT_PATH, .value_name = "DIR", .help = "folder of journals and undo segments"  \
    }
#define RH_OPTION_QUIET                                                                                                \
    {                                                                                                                  \
        .name = "quiet", .type = RH_OPT_BOOL, .letter = 'q', .help = "no progress, no closing words"                   \
    }
#define RH_OPTION_JSON                                                                                                 \
    {                                                                                                                  \
        .name = "json", .type = RH_OPT_BOOL, .help = "print data as JSON"                                              \
    }
#define RH_OPTION_PARALLEL                                                                                             \
    {                                                                                                                  \
        .name = "parallel", .type = RH_OPT_INT, .min = 1, .max = 128, .value_name = "N",                               \
        .help = "ranges that travel at the same time, instead of the plan's number"                                    \
    }
#define RH_OPTION_RETRY                                                                                                \
    {                                                                                                                  \
        .name = "retry", .type = RH_OPT_DURATION, .value_name = "TIME",                                                \
        .help = "how long a lost connection is tried again, 30s unless given"                                          \
    }
#define RH_OPTION_DATADIR                                                                                              \
    {                                                                                                                  \
        .name = "datadir", .type = RH_OPT_PATH, .flags = RH_OPT_MANY, .value_name = "DIR",                             \
        .help = "a MySQL server's data folder that the keys have to open, besides the plan's; may be repeated"         \
    }
#define RH_OPTION_LOG(level_)                                                                                          \
    {.name = "log-level",                                                                                              \
     .type = RH_OPT_TEXT,                                                                                              \
     .initial = (level_),                                                                                              \
     .env = rh_env_log_level,                                                                                          \
     .choices = rh_log_levels,                                                                                         \
     .value_name = "LEVEL",                                                                                            \
     .help = "trace, debug, info, warn or error"},                                                                     \
    {                                                                                                                  \
        .name = "log-format", .type = RH_OPT_TEXT, .initial = "standard", .env = rh_env_log_format,                    \
        .choices = rh_log_formats, .value_name = "FORMAT", .help = "standard or json"                                  \
    }
#define RH_OPTION_PLAN                                                                                                 \
    {                                                                                                                  \
        .name = "plan", .type = RH_OPT_PATH, .flags = RH_OPT_REQUIRED | RH_OPT_POSITIONAL, .value_name = "PLAN",       \
        .help = "the plan file, or a Vault migrate file"                                                               \
    }
#define RH_OPTION_END                                                                                                  \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }
extern const char *const rh_env_log_level[], *const rh_env_log_format[], *const rh_log_levels[],
                                                                             *const rh_log_formats[];

/* --- talk.c: what goes to stderr --- */
/* Keeps a warning that comes before the options are known; rh_talk_start passes it on. */
void rh_talk_early(void);
/* The log sink that these options ask for. */
enum rh_status rh_talk_start(const struct rh_options *options, struct rh_error *err) RH_MUST_USE;
/* Held while lines are written, so that the progress line is out of the way. stdout too, when it is the terminal. */
void rh_talk_lock(void);
void rh_talk_unlock(void);
/* Whether every line on stderr is a JSON object (-log-format json). */
bool rh_talk_is_json(void);
/* One line on stderr. */
void rh_talk(const char *fmt, ...) RH_PRINTF(1, 2);
/* "rehome: <text>" and "  fix: <hint>". */
void rh_talk_error(const struct rh_error *err);
/* Outside text with control characters as \xNN; backslashes stay, since what comes from rh_show has them already. */
void rh_put_clean(FILE *out, const char *text);

struct rh_meter; /* the progress thread */
/* NULL when memory or threads are out: progress is never a reason to fail. */
struct rh_meter *rh_meter_start(struct rh_engine *engine);
void rh_meter_stop(struct rh_meter *meter);

/* --- findings.c: what checks and verifications find --- */
struct rh_findings {
    FILE *out;
    bool json;  /* stream a JSON array's members */
    bool facts; /* show facts as a table */
    bool quiet; /* only problems and records */
    uint64_t problems, warnings, records, members;
    char last_problem[1024];
    char fix[512]; /* of the problems printed last, kept back until another one comes */
    uint64_t fix_count;
    FILE *fix_out;
    struct rh_fact_row *rows;
    size_t row_count;
    FILE *held; /* with facts: what comes after the table */
    char *held_text;
    size_t held_size;
};
/* An rh_finding_sink; user is a struct rh_findings. */
void rh_findings_add(void *user, const struct rh_finding *finding);
/* Prints what is still held back (the table) and frees. */
void rh_findings_end(struct rh_findings *findings);
/* A member of a JSON object: bytes as text, or, where they aren't, in hexadecimal under another name. */
void rh_json_bytes(json_t *object, const char *name, const char *hex_name, struct rh_bytes bytes);

/* --- view.c: the report's JSON for people --- */
/* The report of a plan; NULL when nothing was run yet (err untouched) or on failure (*ret_status tells). */
json_t *rh_view_load(const struct rh_plan *plan, enum rh_status *ret_status, struct rh_error *err);
void rh_view_status(FILE *out, const json_t *report);
/* "moved 3,000 records ...": the closing words of a run. */
void rh_view_summary(FILE *out, const json_t *report);
/* Where the servers of a cutover go to now, and how long the switch took them. */
void rh_view_routes(FILE *out, const json_t *report);
/* What is left to do by hand after moves between keyrings: which server has to be told what. */
void rh_view_afterwards(FILE *out, const json_t *report, const char *plan_path);
/* After a failure: what stands now and which command continues. `again` is the command that resumes the move. */
void rh_view_standing(FILE *out, const json_t *report, const char *again, const char *plan_path);

/* --- watch.c: status --watch --- */
struct rh_job;
/* Shows how the plan goes on, every interval, until nobody is at work with it. Gives the exit status that the last
 * command ended with: interrupted when it was cut off. */
enum rh_exit rh_watch(struct rh_job *job, int64_t interval_us);

/* --- job.c: what all commands that work on a plan share --- */
struct rh_job {
    const struct rh_command *command;
    const struct rh_options *options;
    const char *plan_path;
    const char *again; /* the command line that resumes the move, for messages; NULL: "rehome run PLAN" */
    struct rh_plan *plan;
    struct rh_engine *engine;
    struct rh_findings findings;
    struct rh_engine_args args; /* may be changed before rh_job_run */
    struct rh_error err;
    const char **datadirs; /* of the command line */
    int64_t started_us;
    bool json, quiet;
};
/* Reads the plan, applies --state-dir. A failure is printed and comes back as the exit code. */
enum rh_exit rh_job_open(struct rh_job *job,
                         const struct rh_command *command,
                         const struct rh_options *options,
                         const char *plan_path);
/* The same with a plan that is there already; the job frees it. plan_path is only for messages. */
enum rh_exit rh_job_take(struct rh_job *job,
                         const struct rh_command *command,
                         const struct rh_options *options,
                         const char *plan_path,
                         struct rh_plan *plan);
/* Opens the engine, does `verb` with progress, prints what was found and how it went. */
enum rh_exit rh_job_run(struct rh_job *job, enum rh_status (*verb)(struct rh_job *job, struct rh_error *err));
/* What was moved, in words on stderr, and what is left to do by hand. */
void rh_job_moved(const struct rh_job *job);
/* Where its servers go to, in words on stderr; nothing for a plan without a cutover. */
void rh_job_routes(const struct rh_job *job);
void rh_job_close(struct rh_job *job);
/* The JSON answer to a command line that is wrong. */
void rh_job_usage(const struct rh_command *command, const struct rh_error *err);
/* Prints an error (as JSON too where asked for) and gives its exit code. */
enum rh_exit rh_job_fail(const struct rh_job *job, const struct rh_error *err);
/* {"status": "denied", "text": ..., "hint": ...} */
json_t *rh_error_json(const struct rh_error *err);
const char *rh_exit_name(enum rh_exit code);
const char *rh_exit_summary(enum rh_exit code);

/* --- run_as.c: giving up the rights of root --- */
struct rh_account {
    char name[64], home[256];
    uid_t uid;
    gid_t gid;
};
/* The account of the system with that name or number. RH_E_USAGE where there is none. */
enum rh_status rh_account_find(const char *name, struct rh_account *ret_account, struct rh_error *err) RH_MUST_USE;
/* Makes the state folder for it where it isn't there yet, then becomes that account for good, groups and all. */
enum rh_status
rh_account_become(const struct rh_account *account, const char *state_dir, struct rh_error *err) RH_MUST_USE;

/* --- main.c --- */
extern atomic_bool rh_cancel; /* set by SIGINT, SIGTERM, SIGHUP */

#endif
