/* SPDX-License-Identifier: Apache-2.0 */
/* rehome seal inspect, rehome seal rewrap: sealed files without a plan. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <rehome/archive.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTION_FILE(words)                                                                                             \
    {                                                                                                                  \
        .name = "file", .type = RH_OPT_PATH, .flags = RH_OPT_REQUIRED | RH_OPT_POSITIONAL, .value_name = "FILE",       \
        .help = (words)                                                                                                \
    }
#define OPTIONS_KEY                                                                                                    \
    {.name = "key-file", .type = RH_OPT_PATH, .value_name = "KEY", .help = "file with the sealing key"},               \
    {                                                                                                                  \
        .name = "passphrase-file", .type = RH_OPT_PATH, .value_name = "KEY", .help = "file with the passphrase"        \
    }

static const struct rh_option inspect_options[] = {
    OPTION_FILE("the sealed file"),
    OPTIONS_KEY,
    {.name = "check", .type = RH_OPT_BOOL, .help = "read an archive to its end: every chunk, number and sum"},
    RH_OPTION_JSON,
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};
static const struct rh_option rewrap_options[] = {
    OPTION_FILE("the archive"),
    OPTIONS_KEY,
    {.name = "new-key-file",        .type = RH_OPT_PATH, .value_name = "KEY", .help = "file with the sealing key from now on"},
    {.name = "new-passphrase-file",
      .type = RH_OPT_PATH,
      .value_name = "KEY",
      .help = "file with the passphrase from now on"                                                                          },
    RH_OPTION_QUIET,
    RH_OPTION_LOG("warn"),
    RH_OPTION_END,
};

/* The key that two options name, one of which may be given. NULL when none is. */
static enum rh_status open_key(const struct rh_options *options,
                               const char *file_option,
                               const char *passphrase_option,
                               struct rh_key_provider **ret_provider,
                               struct rh_error *err)
{
    const char *file = rh_options_text(options, file_option), *words = rh_options_text(options, passphrase_option);
    rh_auto_secret struct rh_secret *passphrase = NULL;
    if (file && words)
        return rh_fail(err, RH_E_USAGE, "--%s and --%s can't both be given", file_option, passphrase_option);
    if (file)
        return rh_key_provider_file(file, ret_provider, err);
    if (!words)
        return RH_OK;
    enum rh_status status = rh_secret_from_file(words, &passphrase, err);
    return status == RH_OK ? rh_key_provider_passphrase(passphrase, ret_provider, err) : status;
}

/* What is said of the file. */
struct seen {
    const char *path;
    uint64_t bytes;
    int64_t modified_us;
    struct rh_seal_info seal;
    struct rh_archive_info archive;
    bool is_archive, opened;
};

/* Opens and looks, with the key if there is one. */
static enum rh_status look(struct seen *seen, struct rh_key_provider *provider, bool check, struct rh_error *err)
{
    rh_auto_fd int fd = open(seen->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "opening it");
    if (!S_ISREG(st.st_mode))
        return rh_fail(err, RH_E_REFUSED, "it isn't a regular file");
    seen->bytes = (uint64_t)st.st_size;
    seen->modified_us = st.st_mtim.tv_sec * INT64_C(1000000) + st.st_mtim.tv_nsec / 1000;
    enum rh_status status = rh_seal_look(fd, &seen->seal, err);
    if (status != RH_OK)
        return status;
    seen->is_archive = strcmp(seen->seal.purpose, RH_ARCHIVE_PURPOSE) == 0;
    if (seen->is_archive)
        status = rh_archive_look(fd, &seen->seal, provider, check, &seen->archive, err);
    else if (check)
        status = rh_fail(err, RH_E_REFUSED, "it is for '%s'; only an archive can be checked without its plan",
                         seen->seal.purpose);
    else if (provider)
        status = rh_seal_rewrap(fd, provider, NULL, NULL, &(uint64_t){0}, err);
    seen->opened = provider && status == RH_OK;
    return status;
}

static json_t *hex_json(const uint8_t *data, size_t size)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    return rh_hex_add(&text, rh_bytes(data, size), NULL) == RH_OK ? json_string(rh_buf_cstr(&text)) : json_null();
}

/* The provider as the header names it. */
static json_t *provider_json(const struct rh_seal_info *seal)
{
    static const char *const kinds[] = {"unknown", "key file", "passphrase"};
    json_t *object = json_object();
    json_object_set_new(object, "kind", json_string(kinds[seal->kind <= 2 ? seal->kind : 0]));
    if (seal->kind == 1)
        json_object_set_new(object, "key_id", hex_json(seal->key_id, sizeof seal->key_id));
    if (seal->kind == 2) {
        json_object_set_new(object, "scrypt_log_n", json_integer(seal->scrypt_log_n));
        json_object_set_new(object, "scrypt_r", json_integer(seal->scrypt_r));
        json_object_set_new(object, "scrypt_p", json_integer(seal->scrypt_p));
    }
    return object;
}

/* What only the key tells. */
static json_t *archive_json(const struct rh_archive_info *archive)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b}", "version", (json_int_t)archive->version, "model",
                     archive->model, "program", archive->program, "begun", rh_stamp_us(archive->begun_us).text, "ended",
                     rh_stamp_us(archive->ended_us).text, "datasets", (json_int_t)archive->datasets, "records",
                     (json_int_t)archive->records, "bytes", (json_int_t)archive->bytes, "checked",
                     (int)archive->checked);
}

/* Everything as one object. */
static json_t *seen_json(const struct seen *seen)
{
    char shown[1024];
    json_t *object = json_object();
    json_object_set_new(object, "file", json_string(rh_show(rh_bytes_text(seen->path), shown, sizeof shown)));
    json_object_set_new(object, "bytes", json_integer((json_int_t)seen->bytes));
    json_object_set_new(object, "modified", json_string(rh_stamp_us(seen->modified_us).text));
    json_object_set_new(object, "purpose", json_string(seen->seal.purpose));
    json_object_set_new(object, "seal_version", json_integer(seen->seal.version));
    json_object_set_new(object, "id", hex_json(seen->seal.id, sizeof seen->seal.id));
    json_object_set_new(object, "provider", provider_json(&seen->seal));
    json_object_set_new(object, "header_bytes", json_integer((json_int_t)seen->seal.header_bytes));
    if (seen->is_archive) {
        json_object_set_new(object, "chunk_bytes", json_integer((json_int_t)seen->archive.chunk_bytes));
        json_object_set_new(object, "ends", json_boolean(seen->archive.ends));
    }
    json_object_set_new(object, "opened", json_boolean(seen->opened));
    if (seen->is_archive && seen->opened)
        json_object_set_new(object, "archive", archive_json(&seen->archive));
    return object;
}

/* One line of the table; `text` is clean. */
static void line(const char *label, const char *text)
{
    printf("  %-12s ", label);
    rh_put_clean(stdout, text);
    putchar('\n');
}

/* The provider in words. */
static void line_provider(const struct seen *seen)
{
    const struct rh_seal_info *seal = &seen->seal;
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    char text[160];
    if (seal->kind == 2)
        snprintf(text, sizeof text, "a passphrase, by scrypt with N=2^%u r=%u p=%u", (unsigned)seal->scrypt_log_n,
                 seal->scrypt_r, seal->scrypt_p);
    else if (seal->kind == 1 && rh_hex_add(&id, rh_bytes(seal->key_id, sizeof seal->key_id), NULL) == RH_OK)
        snprintf(text, sizeof text, "a key file, key id %s", rh_buf_cstr(&id));
    else
        snprintf(text, sizeof text, "%s", seal->kind_words);
    line("key", text);
}

/* What the key told of an archive. */
static void lines_archive(const struct rh_archive_info *archive)
{
    char text[160];
    snprintf(text, sizeof text, "model %s, format %u, by %s", archive->model, archive->version, archive->program);
    line("holds", text);
    snprintf(text, sizeof text, "%s records, %s", rh_words_count(archive->records).text,
             rh_words_bytes(archive->bytes).text);
    line("counts", text);
    line("begun", rh_stamp_us(archive->begun_us).text);
    line("ended", rh_stamp_us(archive->ended_us).text);
    line("checked", archive->checked ? "whole: every chunk, the number of records and their sum"
                                     : "head and footer; --check reads all of it");
}

/* Everything for people. */
static void show(const struct seen *seen)
{
    char text[200];
    rh_auto_buf struct rh_buf id = RH_BUF_INIT;
    rh_put_clean(stdout, seen->path);
    putchar('\n');
    snprintf(text, sizeof text, "%s, sealed file of format %u", seen->seal.purpose, seen->seal.version);
    line("kind", text);
    if (rh_hex_add(&id, rh_bytes(seen->seal.id, sizeof seen->seal.id), NULL) == RH_OK)
        line("id", rh_buf_cstr(&id));
    snprintf(text, sizeof text, "%s, modified %s", rh_words_bytes(seen->bytes).text,
             rh_stamp_us(seen->modified_us).text);
    line("size", text);
    line_provider(seen);
    if (seen->is_archive) {
        snprintf(text, sizeof text, "%s each, %s", rh_words_bytes(seen->archive.chunk_bytes).text,
                 seen->archive.ends ? "the last one is there" : "the last one is MISSING: unfinished, or cut off");
        line("chunks", text);
    }
    if (seen->is_archive && seen->opened)
        lines_archive(&seen->archive);
    else
        line("opened", seen->opened ? "yes, the key fits; the content belongs to its plan"
                                    : "no key was given: nothing of this is proven");
}

/* The exit code of a failure, told; as JSON too where asked for. */
static enum rh_exit fail(const struct rh_command *command, const struct rh_options *options, struct rh_error *err)
{
    const struct rh_job job = {.command = command,
                               .options = options,
                               .started_us = rh_clock_us(),
                               .json = rh_option_in(options, "json") && rh_options_bool(options, "json")};
    return rh_job_fail(&job, err);
}

static enum rh_exit inspect(const struct rh_command *command, const struct rh_options *options)
{
    struct rh_error err = {.status = RH_OK};
    struct rh_key_provider *provider = NULL;
    const bool check = rh_options_bool(options, "check");
    struct seen seen = {.path = rh_options_text(options, "file")};
    enum rh_status status = open_key(options, "key-file", "passphrase-file", &provider, &err);
    if (status == RH_OK && check && !provider)
        status = rh_fail(&err, RH_E_USAGE, "--check needs --key-file or --passphrase-file");
    if (status == RH_OK) {
        status = look(&seen, provider, check, &err);
        if (status != RH_OK)
            rh_error_prepend(&err, "inspecting '%s'", RH_SHOW(rh_bytes_text(seen.path)));
    }
    rh_key_provider_free(provider);
    if (status != RH_OK) {
        err.side = RH_SIDE_SOURCE;
        return fail(command, options, &err);
    }
    if (rh_options_bool(options, "json")) {
        json_t *object = seen_json(&seen);
        json_dumpf(object, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(object);
    } else
        show(&seen);
    return RH_EXIT_OK;
}

static enum rh_exit rewrap(const struct rh_command *command, const struct rh_options *options)
{
    struct rh_error err = {.status = RH_OK};
    struct rh_key_provider *old = NULL, *new = NULL;
    const char *path = rh_options_text(options, "file");
    enum rh_status status = open_key(options, "key-file", "passphrase-file", &old, &err);
    if (status == RH_OK && !old)
        status = rh_fail(&err, RH_E_USAGE, "the key it has now is wanted: --key-file or --passphrase-file");
    if (status == RH_OK)
        status = open_key(options, "new-key-file", "new-passphrase-file", &new, &err);
    if (status == RH_OK && !new)
        status = rh_fail(&err, RH_E_USAGE, "the new key is wanted: --new-key-file or --new-passphrase-file");
    if (rh_failed(status))
        err.side = RH_SIDE_SOURCE; /* key files that can't be read */
    if (status == RH_OK)
        status = rh_seal_rewrap_file(path, RH_ARCHIVE_PURPOSE, old, new, &err);
    if (status == RH_OK && !rh_options_bool(options, "quiet"))
        rh_talk("'%s' is sealed with the %s now; copies from before still open with the key they had",
                RH_SHOW(rh_bytes_text(path)), rh_key_provider_describe(new));
    rh_key_provider_free(old);
    rh_key_provider_free(new);
    return status == RH_OK ? RH_EXIT_OK : fail(command, options, &err);
}

const struct rh_command rh_cmd_seal_inspect = {
    .name = "seal inspect",
    .summary = "tell what a sealed file is, and with its key what is in it",
    .usage = "[OPTIONS] FILE",
    .detail =
        "Without a key: kind, size, what key it wants, whether its end is there. With the key of an archive: that it\n"
        "opens, what it came from, when, how many records. --check reads all of it and compares.",
    .options = inspect_options,
    .run = inspect,
};

const struct rh_command rh_cmd_seal_rewrap = {
    .name = "seal rewrap",
    .summary = "give an archive another key or passphrase",
    .usage = "[OPTIONS] FILE",
    .detail =
        "Wraps the archive's own key anew and leaves its content as it is. The new file is written beside the old one\n"
        "and takes its place when it is whole; killed at any point, the old or the new one is there.",
    .options = rewrap_options,
    .run = rewrap,
};
