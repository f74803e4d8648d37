/* SPDX-License-Identifier: Apache-2.0 */
/* MySQL's option files and command lines: lines, quotes, escapes, includes, groups, what wins, and what errors say. */
#include "cm.h"

#include <rehome/base.h>
#include <rehome/mysql_file.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- lines --- */

/* Appends a line as "group/name=value|". */
static enum rh_status note(void *user, const struct rh_mysql_line *line, struct rh_error *err)
{
    static const char *const kinds[] = {"", "!", "!!"};
    return rh_buf_format(user, err, "%s%.*s/%.*s%s%.*s|", kinds[line->kind], (int)line->group.size,
                         (const char *)line->group.data, (int)line->name.size, (const char *)line->name.data,
                         line->has_value ? "=" : "", (int)line->value.size, (const char *)line->value.data);
}

/* What a text gives. */
static void gives(const char *text, const char *want)
{
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    struct rh_error err = {0};
    assert_ok(rh_mysql_text_read("f", rh_bytes_text(text), note, &out, &err), &err);
    assert_string_equal(rh_buf_cstr(&out), want);
}

static void test_lines(void **state)
{
    (void)state;
    gives("", "");
    gives("# c\n; d\n\n  \t\n[g]\n", "");
    gives("[g]\na\nb=1\n c = 2 \n[ H ] rest\nd=3", "g/a|g/b=1|g/c=2| H/d=3|");
    gives("[g]\r\na=1\r\n", "g/a=1|");
    gives("[g]\na=1 # c\nb # c\nc='1 # 2' # c\nd=\"#\"", "g/a=1|g/b|g/c=1 # 2|g/d=#|");
    gives("[g]\na=b=c\nb=\nc=''", "g/a=b=c|g/b=|g/c=|");
    gives("[g]\n!include /a b\n !includedir\t/d \n# end", "!/include=/a b|!!/includedir=/d|");
}

static void test_values(void **state)
{
    (void)state;
    gives("[g]\na=x\\sy\\tz\\nu\\rv\\bw\\\\", "g/a=x y\tz\nu\rv\bw\\|");
    gives("[g]\na=\\S\\x\\", "g/a=\\S\\x\\|");
    gives("[g]\na='it\\'s # 1' # c", "g/a=it's # 1|");
    gives("[g]\na=\"it's\"", "g/a=it's|");
    gives("[g]\na='x\nb=\"x'\nc='", "g/a='x|g/b=\"x'|g/c='|");
    gives("[g]\na=' x '", "g/a= x |");
    gives("[g]\na=C:\\\\d", "g/a=C:\\d|");
}

/* What is said of a text that isn't an option file. */
static void fails(const char *text, const char *want)
{
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    struct rh_error err = {0};
    assert_int_equal(rh_mysql_text_read("/f", rh_bytes_text(text), note, &out, &err), RH_E_PLAN);
    assert_string_equal(err.text, want);
}

static void test_wrong_lines(void **state)
{
    (void)state;
    fails("\na=1", "/f:2: an option stands before the first [group]");
    fails("[g\na=1", "/f:1: a group's name ends with ']'");
    fails("[ ]", "/f:1: a group's name has from 1 to 128 bytes");
    fails("[g]\n\n=1", "/f:3: an option's name is missing before '='");
    fails("!inclde /x", "/f:1: unknown directive '!inclde': there are !include and !includedir");
    fails("!include", "/f:1: the directive names nothing to include");
}

/* --- files --- */

static char folder[] = "/tmp/rehome-mysql-file-XXXXXX";

/* The tests' files lie in the current folder. */
static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? chdir(folder) : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a name of our own */
}

/* Writes a file and gives its name back. */
static const char *put(const char *name, const char *text)
{
    FILE *file = fopen(name, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(name, 0600), 0);
    return name;
}

static void test_includes(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    struct rh_error err = {0};
    assert_int_equal(mkdir("d", 0700), 0);
    put("d/b.cnf", "[g]\nb=1\n");
    put("d/a.cnf", "[g]\na=1\n");
    put("d/c.txt", "[g]\nc=1\n");
    put("inner.cnf", "[h]\nx=1\n");
    const char *path = put("outer.cnf", "[g]\nfirst\n!include inner.cnf\n!includedir d\nlast\n");
    assert_ok(rh_mysql_file_read(path, note, &out, &err), &err);
    assert_string_equal(rh_buf_cstr(&out), "g/first|h/x=1|g/a=1|g/b=1|g/last|");
}

/* What is said of a file. */
static void file_fails(const char *path, const char *want)
{
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    struct rh_error err = {0};
    assert_int_equal(rh_mysql_file_read(path, note, &out, &err), RH_E_PLAN);
    assert_string_equal(err.text, want);
}

static void test_wrong_files(void **state)
{
    (void)state;
    struct rh_error err = {0};
    assert_int_equal(rh_mysql_file_read("/nonexistent/my.cnf", note, NULL, &err), RH_NOT_FOUND);
    assert_string_equal(err.text, "");
    file_fails(put("1.cnf", "[g]\n!include absent.cnf\n"), "1.cnf:2: option file 'absent.cnf' isn't there");
    file_fails(put("2.cnf", "!includedir absent\n"),
               "2.cnf:1: reading folder 'absent' of option files: No such file or directory");
    put("bad.cnf", "x\n");
    file_fails(put("3.cnf", "!include bad.cnf\n"), "bad.cnf:1: an option stands before the first [group]");
    const char *open_file = put("4.cnf", "[g]\n");
    assert_int_equal(chmod(open_file, 0666), 0);
    file_fails(open_file, "option file '4.cnf': everybody may write to it");
    put("loop.cnf", "!include loop.cnf\n");
    file_fails(put("5.cnf", "!include loop.cnf\n"), "loop.cnf:1: included files go deeper than 10");
}

/* --- options --- */

static const struct rh_option table[] = {
    {.name = "no-defaults",         .type = RH_OPT_BOOL},
    {.name = "defaults-file",                             .type = RH_OPT_PATH},
    {.name = "defaults-extra-file",.type = RH_OPT_PATH},
    {.name = "defaults-group-suffix", .type = RH_OPT_TEXT},
    {.name = "data-file",                             .type = RH_OPT_PATH},
    {.name = "user",          .type = RH_OPT_TEXT, .letter = 'u'},
    {.name = "account",           .type = RH_OPT_TEXT},
    {.name = "port",                             .type = RH_OPT_INT, .letter = 'P', .max = 65535},
    {.name = "password", .type = RH_OPT_SECRET, .letter = 'p'},
    {.name = "online",                             .type = RH_OPT_BOOL, .letter = 'o'},
    {.name = NULL},
};
static const char *const server_only[] = {"data-file", "user", NULL};
static const char *const tool_renamed[] = {"user", "account", NULL};
static const struct rh_mysql_group groups[] = {
    {.name = "mysqld",         .only = server_only},
    {.name = "tool",                        .renamed = tool_renamed},
    {.name = NULL},
};

#define ARGS_MAX 12

/* Parses words (copied, since secrets are wiped in them). The last words are kept in `told`. */
static char told[ARGS_MAX][128];

static enum rh_status
options(const char *const *files, const char *const *words, struct rh_options **ret, struct rh_error *err)
{
    char *argv[ARGS_MAX + 1] = {NULL};
    int argc = 1;
    snprintf(told[0], sizeof told[0], "program");
    argv[0] = told[0];
    for (; *words; words++) {
        snprintf(told[argc], sizeof told[argc], "%s", *words);
        argv[argc] = told[argc];
        argc++;
    }
    return rh_mysql_options(table, groups, files, argc, argv, ret, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_argv(void **state)
{
    (void)state;
    struct rh_options *values = NULL;
    struct rh_error err = {0};
    assert_ok(options(NULL,
                      WORDS("--data_file=/a", "--port", "1", "--port=2", "-uroot", "--online", "--loose-unknown=3",
                            "--password=pw", "-o"),
                      &values, &err),
              &err);
    assert_string_equal(rh_options_text(values, "data-file"), "/a");
    assert_string_equal(rh_options_text(values, "user"), "root");
    assert_int_equal(rh_options_int(values, "port"), 2);
    assert_true(rh_options_bool(values, "online"));
    assert_string_equal((const char *)rh_secret_bytes(rh_options_secret(values, "password")).data, "pw");
    assert_string_equal(told[8], "--password=");
    rh_options_free(values);

    values = NULL;
    assert_ok(options(NULL, WORDS("-p", "-u", "me", "--skip-online", "-P3306"), &values, &err), &err);
    assert_true(rh_options_given(values, "password"));
    assert_null(rh_options_secret(values, "password"));
    assert_string_equal(rh_options_text(values, "user"), "me");
    assert_false(rh_options_bool(values, "online"));
    assert_int_equal(rh_options_int(values, "port"), 3306);
    rh_options_free(values);

    values = NULL;
    assert_ok(options(NULL, WORDS("-psecret", "--disable_online"), &values, &err), &err);
    assert_string_equal((const char *)rh_secret_bytes(rh_options_secret(values, "password")).data, "secret");
    assert_string_equal(told[1], "-p");
    rh_options_free(values);
}

/* What is said of a command line. */
static void argv_fails(const char *const *words, const char *want)
{
    struct rh_options *values = NULL;
    struct rh_error err = {0};
    assert_int_equal(options(NULL, words, &values, &err), RH_E_USAGE);
    assert_string_equal(err.text, want);
    assert_null(values);
}

static void test_wrong_argv(void **state)
{
    (void)state;
    argv_fails(WORDS("--data-fle=x"), "unknown option '--data-fle'; did you mean '--data-file'?");
    argv_fails(WORDS("--data-file"), "option '--data-file' needs a value");
    argv_fails(WORDS("-u"), "option '-u' needs a value");
    argv_fails(WORDS("word"), "unexpected argument 'word'");
    argv_fails(WORDS("--skip-online=1"), "option '--skip-online' takes no value");
    argv_fails(WORDS("--skip-user"), "unknown option '--skip-user'");
    argv_fails(WORDS("--port=x"), "option '--port' takes a whole number from 0 to 65535, not 'x'");
    argv_fails(WORDS("--password=sesame", "--port=99999"),
               "option '--port' takes a whole number from 0 to 65535, not '99999'");
}

static void test_files_and_argv(void **state)
{
    (void)state;
    struct rh_options *values = NULL;
    struct rh_error err = {0};
    const char *file = "--defaults-file=opt.cnf", *extra = "--defaults-extra-file=extra.cnf";
    put("opt.cnf", "[MYSQLD]\ndata_file='/from file'\nuser=mysql\nport=1\nunknown=2\n[other]\nport=9\n"
                   "[tool]\nloose_what=1\nuser=admin\npassword='a#b'\nskip_online\n");
    put("extra.cnf", "[tool]\nport=7\n");
    assert_ok(options(NULL, WORDS(file, extra), &values, &err), &err);
    assert_string_equal(rh_options_text(values, "data-file"), "/from file");
    assert_string_equal(rh_options_text(values, "user"), "mysql");
    assert_string_equal(rh_options_text(values, "account"), "admin");
    assert_int_equal(rh_options_int(values, "port"), 7);
    assert_string_equal((const char *)rh_secret_bytes(rh_options_secret(values, "password")).data, "a#b");
    assert_true(rh_options_given(values, "online"));
    assert_false(rh_options_bool(values, "online"));
    assert_string_equal(rh_options_place(values, "data-file"), "opt.cnf:2");
    rh_options_free(values);

    values = NULL;
    assert_ok(options(NULL, WORDS(file, "--data-file=/argv", "--user=x"), &values, &err), &err);
    assert_string_equal(rh_options_text(values, "data-file"), "/argv");
    assert_string_equal(rh_options_text(values, "user"), "x");
    rh_options_free(values);
}

static void test_which_files(void **state)
{
    (void)state;
    struct rh_options *values = NULL;
    struct rh_error err = {0};
    const char *one = put("one.cnf", "[mysqld]\nuser=one\n[tool]\nport=1\n");
    const char *two = put("two.cnf", "[tool]\nport=2\n[mysqld_b]\nuser=two\n");
    const char *const files[] = {one, "/nonexistent/my.cnf", two, NULL};
    assert_ok(options(files, WORDS("-o"), &values, &err), &err);
    assert_string_equal(rh_options_text(values, "user"), "one");
    assert_int_equal(rh_options_int(values, "port"), 2);
    rh_options_free(values);

    values = NULL;
    assert_ok(options(files, WORDS("--defaults-group-suffix=_b"), &values, &err), &err);
    assert_string_equal(rh_options_text(values, "user"), "two");
    rh_options_free(values);

    values = NULL;
    assert_ok(options(files, WORDS("--no-defaults"), &values, &err), &err);
    assert_null(rh_options_text(values, "user"));
    rh_options_free(values);

    values = NULL;
    assert_int_equal(options(files, WORDS("--defaults-file=/nonexistent/my.cnf"), &values, &err), RH_E_PLAN);
    assert_string_equal(err.text, "option file '/nonexistent/my.cnf' isn't there");
}

static void test_wrong_option_in_file(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"[tool]\nprot=1\n",        "w.cnf:2: unknown option 'prot'; did you mean 'port'?"                },
        {"[tool]\n\nport=x\n",      "w.cnf:3: option 'port' takes a whole number from 0 to 65535, not 'x'"},
        {"[tool]\n--port=1\n",      "w.cnf:2: unknown option '--port'"                                    },
        {"[tool]\ndata_file\n",     "w.cnf:2: option 'data-file' needs a value"                           },
        {"[tool]\nskip-online=1\n", "w.cnf:2: option 'skip-online' takes no value"                        },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rh_options *values = NULL;
        struct rh_error err = {0};
        put("w.cnf", cases[i].text);
        assert_int_equal(options(NULL, WORDS("--defaults-file=w.cnf"), &values, &err), RH_E_PLAN);
        assert_string_equal(err.text, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong_lines), cmocka_unit_test(test_includes),
        cmocka_unit_test(test_wrong_files), cmocka_unit_test(test_argv),
        cmocka_unit_test(test_wrong_argv),  cmocka_unit_test(test_files_and_argv),
        cmocka_unit_test(test_which_files), cmocka_unit_test(test_wrong_option_in_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
