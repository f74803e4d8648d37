/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MySQL's option files: groups, options, comments, quotes, escapes, !include and !includedir.
 *
 * Knowledge: MySQL Reference Manual, "Using Option Files". What MySQL passes over with a warning is an error here: a
 * file that everybody may write to, an option before the first group, includes that go too deep. Errors never repeat
 * what a value holds, since that may be a password.
 */
#include <rehome/mysql_file.h>

#include <rehome/base.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define INCLUDE_DEPTH_MAX 10
#define GROUP_BYTES_MAX 128

/* --- one text --- */

struct text_reader {
    const char *path;
    uint32_t number; /* of the line */
    struct rh_bytes group;
    bool in_group;
    struct rh_buf value; /* of the option at hand; wiped after each */
    rh_mysql_sink *sink;
    void *user;
    struct rh_error *err;
};

/* "PATH:LINE: WORDS". */
static enum rh_status fail_line(const struct text_reader *reader, const char *words)
{
    return rh_fail(reader->err, RH_E_PLAN, "%s:%u: %s", RH_SHOW(rh_bytes_text(reader->path)), reader->number, words);
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\v' || byte == '\f';
}

/* Without blanks at both ends. */
static struct rh_bytes trim(struct rh_bytes text)
{
    while (text.size && is_blank(text.data[0]))
        text = rh_bytes(text.data + 1, text.size - 1);
    while (text.size && is_blank(text.data[text.size - 1]))
        text.size--;
    return text;
}

/* The line up to a '#' that stands outside of quotes. */
static struct rh_bytes cut_comment(struct rh_bytes line)
{
    uint8_t quote = 0;
    bool escaped = false;
    for (size_t i = 0; i < line.size; i++) {
        uint8_t byte = line.data[i];
        if (!quote && byte == '#')
            return rh_bytes(line.data, i);
        if ((byte == '"' || byte == '\'') && !escaped && (!quote || quote == byte))
            quote = quote ? 0 : byte;
        escaped = quote && byte == '\\' && !escaped;
    }
    return line;
}

/* What an escape stands for; 0 when the backslash is to stay. */
static uint8_t escaped_byte(uint8_t letter)
{
    static const struct {
        uint8_t letter, byte;
    } escapes[] = {
        {'b',  '\b'},
        {'t',  '\t'},
        {'n',  '\n'},
        {'r',  '\r'},
        {'s',  ' ' },
        {'\\', '\\'},
        {'"',  '"' },
        {'\'', '\''},
    };
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++)
        if (escapes[i].letter == letter)
            return escapes[i].byte;
    return 0;
}

/* The value without its quotes and escapes. */
static enum rh_status take_value(struct text_reader *reader, struct rh_bytes raw)
{
    bool quoted = raw.size > 1 && (raw.data[0] == '"' || raw.data[0] == '\'') && raw.data[raw.size - 1] == raw.data[0];
    if (quoted)
        raw = rh_bytes(raw.data + 1, raw.size - 2);
    rh_buf_clear(&reader->value);
    enum rh_status status = rh_buf_reserve(&reader->value, raw.size + 1, reader->err); /* no copies left by growing */
    for (size_t i = 0; status == RH_OK && i < raw.size; i++) {
        uint8_t byte = raw.data[i];
        uint8_t meant = byte == '\\' && i + 1 < raw.size ? escaped_byte(raw.data[i + 1]) : 0;
        status = rh_buf_u8(&reader->value, meant ? meant : byte, reader->err);
        i += meant != 0;
    }
    return status;
}

/* `[group]`; what follows the bracket is a comment to MySQL. */
static enum rh_status read_group(struct text_reader *reader, struct rh_bytes line)
{
    const uint8_t *end = memchr(line.data, ']', line.size);
    if (!end)
        return fail_line(reader, "a group's name ends with ']'");
    reader->group = rh_bytes(line.data + 1, (size_t)(end - line.data) - 1); /* MySQL keeps blanks at its beginning */
    while (reader->group.size && is_blank(reader->group.data[reader->group.size - 1]))
        reader->group.size--;
    if (reader->group.size == 0 || reader->group.size > GROUP_BYTES_MAX)
        return fail_line(reader, "a group's name has from 1 to 128 bytes");
    reader->in_group = true;
    return RH_OK;
}

/* `!include PATH`, `!includedir DIR`. */
static enum rh_status read_directive(struct text_reader *reader, struct rh_bytes line)
{
    static const char file_word[] = "include", dir_word[] = "includedir";
    line = trim(rh_bytes(line.data + 1, line.size - 1));
    size_t size = 0;
    while (size < line.size && !is_blank(line.data[size]))
        size++;
    struct rh_bytes word = rh_bytes(line.data, size);
    struct rh_mysql_line out = {.path = reader->path, .number = reader->number, .has_value = true};
    if (rh_bytes_equal(word, rh_bytes_text(file_word)))
        out.kind = RH_MYSQL_INCLUDE;
    else if (rh_bytes_equal(word, rh_bytes_text(dir_word)))
        out.kind = RH_MYSQL_INCLUDE_DIR;
    else
        return rh_fail(reader->err, RH_E_PLAN, "%s:%u: unknown directive '!%s': there are !include and !includedir",
                       RH_SHOW(rh_bytes_text(reader->path)), reader->number, RH_SHOW(word));
    out.name = word;
    out.value = trim(rh_bytes(line.data + size, line.size - size));
    if (out.value.size == 0)
        return fail_line(reader, "the directive names nothing to include");
    if (memchr(out.value.data, 0, out.value.size))
        return fail_line(reader, "a path holds no NUL byte");
    return reader->sink(reader->user, &out, reader->err);
}

/* `name`, `name = value`. */
static enum rh_status read_option(struct text_reader *reader, struct rh_bytes line)
{
    line = trim(cut_comment(line));
    const uint8_t *equals = line.size ? memchr(line.data, '=', line.size) : NULL;
    size_t size = equals ? (size_t)(equals - line.data) : line.size;
    struct rh_mysql_line out = {.kind = RH_MYSQL_OPTION,
                                .path = reader->path,
                                .number = reader->number,
                                .group = reader->group,
                                .name = trim(rh_bytes(line.data, size)),
                                .has_value = equals != NULL};
    if (!reader->in_group)
        return fail_line(reader, "an option stands before the first [group]");
    if (out.name.size == 0)
        return fail_line(reader, "an option's name is missing before '='");
    enum rh_status status = equals ? take_value(reader, trim(rh_bytes(equals + 1, line.size - size - 1))) : RH_OK;
    out.value = equals ? rh_buf_bytes(&reader->value) : rh_bytes("", 0);
    if (status == RH_OK)
        status = reader->sink(reader->user, &out, reader->err);
    if (reader->value.data)
        rh_wipe(reader->value.data, reader->value.capacity);
    return status;
}

/* One line without its newline. */
static enum rh_status read_line(struct text_reader *reader, struct rh_bytes line)
{
    line = trim(line);
    if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';')
        return RH_OK;
    if (line.data[0] == '!')
        return read_directive(reader, line);
    return line.data[0] == '[' ? read_group(reader, line) : read_option(reader, line);
}

enum rh_status
rh_mysql_text_read(const char *path, struct rh_bytes text, rh_mysql_sink *sink, void *user, struct rh_error *err)
{
    struct rh_error own = {0};
    struct text_reader reader = {.path = path, .sink = sink, .user = user, .err = err ? err : &own};
    enum rh_status status = RH_OK;
    while (status == RH_OK && text.size) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        reader.number++;
        status = read_line(&reader, rh_bytes(text.data, size));
        size += end != NULL;
        text = rh_bytes(text.data + size, text.size - size);
    }
    rh_buf_done(&reader.value);
    return status;
}

/* --- files --- */

struct file_reader {
    unsigned depth;
    rh_mysql_sink *sink;
    void *user;
};

static enum rh_status read_file(struct file_reader *files, const char *path, struct rh_error *err);

/* Wipes what a text buffer held, then frees it. */
static void wipe_done(struct rh_buf *buf)
{
    if (buf->data)
        rh_wipe(buf->data, buf->capacity);
    rh_buf_done(buf);
}

/* Whether a file's name is one that !includedir takes. */
static int is_cnf(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size > 4 && strcmp(entry->d_name + size - 4, ".cnf") == 0;
}

/* The files of a folder whose names end with .cnf, by name. MySQL leaves their order open. */
static enum rh_status read_folder(struct file_reader *files, const char *path, struct rh_error *err)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_cnf, alphasort);
    if (count < 0)
        return rh_fail_errno(err, errno, "reading folder '%s' of option files", RH_SHOW(rh_bytes_text(path)));
    enum rh_status status = RH_OK;
    for (int i = 0; i < count; i++) {
        rh_auto_free char *name = NULL;
        if (status == RH_OK && asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0) {
            name = NULL;
            status = rh_fail_memory(err);
        }
        if (status == RH_OK)
            status = read_file(files, name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* An option is handed on; a directive is followed. */
static enum rh_status take_line(void *user, const struct rh_mysql_line *line, struct rh_error *err)
{
    struct file_reader *files = user;
    if (line->kind == RH_MYSQL_OPTION)
        return files->sink(files->user, line, err);
    if (files->depth >= INCLUDE_DEPTH_MAX)
        return rh_fail(err, RH_E_PLAN, "%s:%u: included files go deeper than %d", RH_SHOW(rh_bytes_text(line->path)),
                       line->number, INCLUDE_DEPTH_MAX);
    rh_auto_free char *path = strndup((const char *)line->value.data, line->value.size);
    if (!path)
        return rh_fail_memory(err);
    files->depth++;
    enum rh_status status =
        line->kind == RH_MYSQL_INCLUDE ? read_file(files, path, err) : read_folder(files, path, err);
    files->depth--;
    if (status == RH_NOT_FOUND)
        status = rh_fail(err, RH_E_PLAN, "option file '%s' isn't there", RH_SHOW(rh_bytes_text(path)));
    else if (status == RH_OK || status == RH_E_MEMORY || status == RH_E_PLAN)
        return status; /* what is wrong in a file has its own place before it */
    err->status = RH_E_PLAN;
    return rh_error_prepend(err, "%s:%u", RH_SHOW(rh_bytes_text(line->path)), line->number);
}

/* A file that everybody may write to could say anything. */
static enum rh_status refuse_open_file(const char *path, struct rh_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || !(info.st_mode & S_IWOTH))
        return RH_OK;
    enum rh_status status =
        rh_fail(err, RH_E_PLAN, "option file '%s': everybody may write to it", RH_SHOW(rh_bytes_text(path)));
    rh_error_hint(err, "chmod o-w '%s'", RH_SHOW(rh_bytes_text(path)));
    return status;
}

/* One file and what it includes. RH_NOT_FOUND when it is absent. */
static enum rh_status read_file(struct file_reader *files, const char *path, struct rh_error *err)
{
    __attribute__((cleanup(wipe_done))) struct rh_buf text = rh_buf_limited(FILE_BYTES_MAX + 1);
    enum rh_status status = refuse_open_file(path, err);
    if (status == RH_OK)
        status = rh_buf_reserve(&text, FILE_BYTES_MAX, err); /* so that no copy is left by growing */
    if (status == RH_OK)
        status = rh_file_read(AT_FDCWD, path, FILE_BYTES_MAX, &text, err);
    if (status == RH_E_LIMIT)
        status = rh_fail(err, RH_E_PLAN, "option file '%s': larger than 1 MiB", RH_SHOW(rh_bytes_text(path)));
    return status == RH_OK ? rh_mysql_text_read(path, rh_buf_bytes(&text), take_line, files, err) : status;
}

enum rh_status rh_mysql_file_read(const char *path, rh_mysql_sink *sink, void *user, struct rh_error *err)
{
    struct rh_error own = {0};
    struct file_reader files = {.sink = sink, .user = user};
    err = err ? err : &own;
    enum rh_status status = read_file(&files, path, err);
    if (rh_failed(status) && status != RH_E_MEMORY)
        status = err->status = RH_E_PLAN; /* an option file that can't be read is a wrong one */
    return status;
}
