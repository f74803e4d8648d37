/* SPDX-License-Identifier: Apache-2.0 */
/* rehome report: the evidence, as JSON or as a page; signed on request, and signatures checked. */
#include "cli.h"

#include <fcntl.h>
#include <rehome/evidence.h>

#define FILE_BYTES_MOST (256u * 1024u * 1024u)

static const struct rh_option options[] = {
    {.name = "plan",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_POSITIONAL,
     .value_name = "PLAN",
     .help = "the plan file, or a Vault migrate file"},
    RH_OPTION_STATE_DIR,
    {.name = "output",
     .type = RH_OPT_PATH,
     .letter = 'o',
     .value_name = "FILE",
     .help = "write to this file instead of stdout"},
    {.name = "html", .type = RH_OPT_BOOL,                    .help = "one self-contained page instead of JSON"                          },
    {.name = "json",                                              .type = RH_OPT_BOOL,                                                    .help = "JSON, which is the default"},
    {.name = "sign-key",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "sign with this Ed25519 private key (PEM): writes OUTPUT.sig too"                                                                                                                 },
    {.name = "verify",                               .type = RH_OPT_PATH, .value_name = "FILE", .help = "check the signature of a report instead"},
    {.name = "public-key",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "the signer's public key (PEM), for --verify"                                                                                                                            },
    {.name = "signature",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "the signature, if it isn't the file's name with .sig"                                                         },
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};

/* "FILE.sig", unless another name was given. */
static enum rh_status signature_path(const char *file, const char *given, struct rh_buf *out, struct rh_error *err)
{
    rh_buf_clear(out);
    return given ? rh_buf_text(out, given, err) : rh_buf_format(out, err, "%s.sig", file);
}

/* --- making --- */

/* Says in the document by which key it is going to be signed. */
static enum rh_status name_signer(json_t *report, struct rh_signer *signer, struct rh_error *err)
{
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = signer ? rh_signer_public(signer, &name, err) : RH_OK;
    if (status != RH_OK || !signer)
        return status;
    json_t *object = json_pack("{s:s, s:s}", "algorithm", "Ed25519", "public_key", rh_buf_cstr(&name));
    return json_object_set_new(report, "signature", object) ? rh_fail_memory(err) : RH_OK;
}

/* The report's bytes in the form that was asked for. */
static enum rh_status form(const json_t *report, bool html, struct rh_buf *out, struct rh_error *err)
{
    rh_auto_buf struct rh_buf document = RH_BUF_INIT;
    if (!html)
        return rh_evidence_text(report, out, err);
    enum rh_status status = rh_evidence_text(report, &document, err);
    return status == RH_OK ? rh_evidence_page(rh_buf_bytes(&document), out, err) : status;
}

/* Writes the report where it was asked for; its signature first, so that a new report is never beside an old one. */
static enum rh_status deliver(struct rh_bytes content, const char *path, struct rh_signer *signer, struct rh_error *err)
{
    uint8_t signature[RH_SIGNATURE_BYTES];
    rh_auto_buf struct rh_buf name = RH_BUF_INIT;
    enum rh_status status = signer ? rh_signer_sign(signer, content, signature, err) : RH_OK;
    if (status == RH_OK && signer)
        status = signature_path(path, NULL, &name, err);
    if (status == RH_OK && signer)
        status = rh_file_replace(AT_FDCWD, rh_buf_cstr(&name), rh_bytes(signature, sizeof signature), 0600, err);
    if (status == RH_OK && path)
        return rh_file_replace(AT_FDCWD, path, content, 0600, err);
    if (status == RH_OK)
        fwrite(content.data, 1, content.size, stdout);
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

/* Reads the journal, forms, signs and delivers. */
static enum rh_status make(struct rh_job *job, const struct rh_options *values, struct rh_error *err)
{
    rh_auto_buf struct rh_buf content = RH_BUF_INIT;
    struct rh_signer *signer = NULL;
    const char *key = rh_options_text(values, "sign-key"), *path = rh_options_text(values, "output");
    enum rh_status status = key ? rh_signer_open(key, &signer, err) : RH_OK;
    json_t *report = status == RH_OK ? rh_view_load(job->plan, &status, err) : NULL;
    if (status == RH_NOT_FOUND)
        status = nothing_run(job->plan, err);
    if (status == RH_OK)
        status = name_signer(report, signer, err);
    if (status == RH_OK)
        status = form(report, rh_options_bool(values, "html"), &content, err);
    if (status == RH_OK)
        status = deliver(rh_buf_bytes(&content), path, signer, err);
    json_decref(report);
    rh_signer_close(signer);
    return status;
}

/* --- checking --- */

/* A file that the command line names. */
static enum rh_status read_named(const char *path, size_t limit, struct rh_buf *out, struct rh_error *err)
{
    enum rh_status status = rh_file_read(AT_FDCWD, path, limit, out, err);
    if (status != RH_NOT_FOUND)
        return status;
    return rh_fail(err, RH_E_USAGE, "there is no file '%s'", RH_SHOW(rh_bytes_text(path)));
}

/* Says that a file is as it was signed. */
static void verified(const char *file, const char *key, bool json)
{
    const char *shown = RH_SHOW(rh_bytes_text(file));
    json_t *answer = json ? json_pack("{s:s, s:b, s:s}", "file", shown, "verified", 1, "public_key", key) : NULL;
    if (answer) {
        json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        putchar('\n');
    } else
        printf("'%s' is as it was signed by the key %s\n", shown, key);
    json_decref(answer);
}

/* Checks a signature. Not valid is a mismatch, whatever is wrong with it. */
static enum rh_status check(const struct rh_options *values, struct rh_error *err)
{
    const char *file = rh_options_text(values, "verify"), *key = rh_options_text(values, "public-key");
    rh_auto_buf struct rh_buf content = RH_BUF_INIT, signature = RH_BUF_INIT, path = RH_BUF_INIT, name = RH_BUF_INIT;
    enum rh_status status = signature_path(file, rh_options_text(values, "signature"), &path, err);
    if (status == RH_OK)
        status = read_named(file, FILE_BYTES_MOST, &content, err);
    if (status == RH_OK)
        status = read_named(rh_buf_cstr(&path), 64u * 1024u, &signature, err);
    if (status == RH_OK)
        status = rh_signature_verify(key, rh_buf_bytes(&content), rh_buf_bytes(&signature), &name, err);
    if (status == RH_E_MISMATCH)
        rh_error_hint(err, "the file was changed, or signed with another key: don't rely on it");
    if (status == RH_OK)
        verified(file, rh_buf_cstr(&name), rh_options_bool(values, "json"));
    else if (err)
        rh_error_prepend(err, "checking '%s'", RH_SHOW(rh_bytes_text(file)));
    return status;
}

/* --- the command line --- */

/* The first thing that is wrong with the options together, or NULL. */
static const char *wrong_options(const struct rh_options *values)
{
    const bool verify = rh_options_text(values, "verify") != NULL, plan = rh_options_text(values, "plan") != NULL;
    if (verify && plan)
        return "--verify checks a file: it takes no plan";
    if (!verify && !plan)
        return "PLAN is missing";
    if (verify && !rh_options_text(values, "public-key"))
        return "--verify needs the signer's --public-key";
    if (!verify && (rh_options_text(values, "public-key") || rh_options_text(values, "signature")))
        return "--public-key and --signature belong to --verify";
    if (verify && (rh_options_text(values, "sign-key") || rh_options_text(values, "output")))
        return "--verify only checks: it writes and signs nothing";
    if (rh_options_text(values, "sign-key") && !rh_options_text(values, "output"))
        return "--sign-key needs --output: the signature becomes a file beside it";
    if (rh_options_bool(values, "html") && rh_options_bool(values, "json"))
        return "either --html or --json";
    return NULL;
}

/* Prints the report of a plan, or checks one. */
static enum rh_exit report(const struct rh_command *command, const struct rh_options *values)
{
    struct rh_job job = {.command = command, .started_us = rh_clock_us(), .json = rh_options_bool(values, "json")};
    const char *wrong = wrong_options(values);
    enum rh_exit code;
    if (wrong) {
        rh_fail(&job.err, RH_E_USAGE, "report: %s", wrong);
        rh_error_hint(&job.err, "'rehome report --help' lists the options");
        return rh_job_fail(&job, &job.err);
    }
    if (rh_options_text(values, "verify"))
        return check(values, &job.err) == RH_OK ? RH_EXIT_OK : rh_job_fail(&job, &job.err);
    code = rh_job_open(&job, command, values, rh_options_text(values, "plan"));
    if (code == RH_EXIT_OK && make(&job, values, &job.err) != RH_OK)
        code = rh_job_fail(&job, &job.err);
    rh_job_close(&job);
    return code;
}

const struct rh_command rh_cmd_report = {
    .name = "report",
    .summary = "the evidence of a run, as JSON or a page, signed on request",
    .usage = "[OPTIONS] PLAN | --verify FILE --public-key FILE",
    .detail =
        "What was moved, from where to where, when each step ran, the counts, the three digests, what was found.\n"
        "With --html one page for people, which needs no network and holds the JSON document too.",
    .options = options,
    .run = report,
};
