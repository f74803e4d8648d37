/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: types and bounds, defaults, environment, blocks, command lines, help; and that no secret is told. */
#include <rehome/base.h>
#include <rehome/option.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const colours[] = {"red", "green", "blue", NULL};
static const char *const text_env[] = {"REHOME_TEST_A", "REHOME_TEST_B", NULL};
static const char *const secret_env[] = {"REHOME_TEST_SECRET", NULL};

static const struct rh_option tls_table[] = {
    {.name = "mode",   .type = RH_OPT_TEXT, .initial = "on", .help = "whether to use it"},
    {.name = "ca_file", .type = RH_OPT_PATH, .flags = RH_OPT_REQUIRED, .help = "authorities to trust"},
    {0               },
};

static const struct rh_option table[] = {
    {.name = "path",           .type = RH_OPT_PATH, .help = "a path"},
    {.name = "text",        .type = RH_OPT_TEXT, .initial = "none", .env = text_env, .help = "a text"},
    {.name = "flag",           .type = RH_OPT_BOOL, .help = "a flag"},
    {.name = "count",       .type = RH_OPT_INT, .min = 1, .max = 64, .initial = "10", .help = "a number"},
    {.name = "any",        .type = RH_OPT_INT, .help = "any number"},
    {.name = "wait",           .type = RH_OPT_DURATION, .initial = "5s", .help = "a duration"},
    {.name = "memory",        .type = RH_OPT_SIZE, .help = "a size"},
    {.name = "colour",          .type = RH_OPT_CHOICE, .choices = colours, .help = "a choice"},
    {.name = "password",                .type = RH_OPT_SECRET, .env = secret_env, .help = "a secret"},
    {.name = "tls",         .type = RH_OPT_BLOCK, .block = tls_table, .help = "a block"},
    {.name = "old",                        .type = RH_OPT_IGNORED, .help = "dropped"},
    {.name = "folder",.type = RH_OPT_PATH, .flags = RH_OPT_MANY, .initial = "/initial", .help = "several paths"},
    {.name = "hidden",                        .type = RH_OPT_TEXT, .flags = RH_OPT_HIDDEN, .help = "not shown"},
    {0},
};

static int set_up(void **state)
{
    (void)state;
    return unsetenv("REHOME_TEST_A") || unsetenv("REHOME_TEST_B") || unsetenv("REHOME_TEST_SECRET");
}

static struct rh_options *fresh(void)
{
    struct rh_options *options = NULL;
    assert_int_equal(rh_options_new(table, "p:1:1", &options, NULL), RH_OK);
    return options;
}

static void set(struct rh_options *options, const char *name, const char *value)
{
    struct rh_error err = {0};
    if (rh_options_set(options, name, rh_bytes_text(value), "p:2:3", &err) != RH_OK)
        fail_msg("%s = '%s': %s", name, value, err.text);
}

static void test_many(void **state)
{
    (void)state;
    struct rh_options *options = fresh();
    assert_int_equal(rh_options_count(options, "path"), 0);
    assert_int_equal(rh_options_count(options, "folder"), 1); /* the default, which gives way */
    set(options, "folder", "/one");
    assert_int_equal(rh_options_count(options, "folder"), 1);
    set(options, "folder", "/two");
    set(options, "folder", "/three");
    assert_int_equal(rh_options_count(options, "folder"), 3);
    assert_string_equal(rh_options_text(options, "folder"), "/one");
    assert_string_equal(rh_options_text_at(options, "folder", 0), "/one");
    assert_string_equal(rh_options_text_at(options, "folder", 1), "/two");
    assert_string_equal(rh_options_text_at(options, "folder", 2), "/three");
    struct rh_error err = {0};
    assert_int_equal(rh_options_set(options, "folder", rh_bytes_text(""), "p:3:4", &err), RH_E_PLAN);
    assert_int_equal(rh_options_count(options, "folder"), 3);
    rh_options_free(options);
    char program[] = "program", name[] = "--folder", first[] = "/a", second[] = "--folder=/b";
    char *argv[] = {program, name, first, second, NULL};
    assert_int_equal(rh_options_from_argv(table, 4, argv, &options, &err), RH_OK);
    assert_int_equal(rh_options_count(options, "folder"), 2);
    assert_string_equal(rh_options_text_at(options, "folder", 1), "/b");
    rh_options_free(options);
}

static void test_defaults(void **state)
{
    (void)state;
    struct rh_options *options = fresh();
    assert_int_equal(rh_options_end(options, NULL), RH_OK);
    assert_null(rh_options_text(options, "path"));
    assert_string_equal(rh_options_text(options, "text"), "none");
    assert_false(rh_options_given(options, "text"));
    assert_false(rh_options_bool(options, "flag"));
    assert_int_equal(rh_options_int(options, "count"), 10);
    assert_int_equal(rh_options_int(options, "wait"), 5000000);
    assert_int_equal(rh_options_int(options, "memory"), 0);
    assert_null(rh_options_secret(options, "password"));
    assert_null(rh_options_block(options, "tls"));
    assert_string_equal(rh_options_place(options, NULL), "p:1:1");
    assert_string_equal(rh_options_place(options, "text"), "");
    assert_ptr_equal(rh_options_table(options), table);
    rh_options_free(options);
}

static void test_values(void **state)
{
    (void)state;
    struct rh_options *options = fresh();
    set(options, "path", "a/b");
    set(options, "text", "");
    set(options, "flag", "Yes");
    set(options, "count", "64");
    set(options, "any", "-9223372036854775808");
    set(options, "wait", "250ms");
    set(options, "memory", "16MiB");
    set(options, "colour", "blue");
    set(options, "password", "hunter2");
    set(options, "old", "x");
    set(options, "old", "y");
    assert_int_equal(rh_options_end(options, NULL), RH_OK);
    assert_string_equal(rh_options_text(options, "path"), "a/b");
    assert_string_equal(rh_options_text(options, "text"), "");
    assert_true(rh_options_given(options, "text"));
    assert_string_equal(rh_options_place(options, "text"), "p:2:3");
    assert_true(rh_options_bool(options, "flag"));
    assert_int_equal(rh_options_int(options, "count"), 64);
    assert_true(rh_options_int(options, "any") == INT64_MIN);
    assert_int_equal(rh_options_int(options, "wait"), 250000);
    assert_int_equal(rh_options_int(options, "memory"), 16 * 1024 * 1024);
    assert_string_equal(rh_options_text(options, "colour"), "blue");
    assert_true(rh_bytes_equal(rh_secret_bytes(rh_options_secret(options, "password")), rh_bytes_text("hunter2")));
    rh_options_free(options);
}

static void test_bools(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "1", "yes", "on", "TRUE", "t"}, *const no[] = {"false", "0", "no", "off",
                                                                                             "F"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        struct rh_options *options = fresh();
        set(options, "flag", yes[i]);
        assert_true(rh_options_bool(options, "flag"));
        rh_options_free(options);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct rh_options *options = fresh();
        set(options, "flag", no[i]);
        assert_false(rh_options_bool(options, "flag"));
        assert_true(rh_options_given(options, "flag"));
        rh_options_free(options);
    }
}

struct bad {
    const char *name, *value;
    size_t size; /* 0: of the text */
    const char *error;
};

static const struct bad bads[] = {
    {"pth",      "x",                   0, "p:2:3: unknown option 'pth'; did you mean 'path'?"                            },
    {"zzzzzz",   "x",                   0, "p:2:3: unknown option 'zzzzzz'"                                               },
    {"hiden",    "x",                   0, "p:2:3: unknown option 'hiden'"                                                },
    {"path",     "",                    0, "p:2:3: option 'path' is empty"                                                },
    {"text",     "a\0b",                3, "p:2:3: option 'text' takes text without NUL bytes, not 'a\\x00b'"             },
    {"flag",     "maybe",               0, "p:2:3: option 'flag' takes true or false, not 'maybe'"                        },
    {"flag",     "",                    0, "p:2:3: option 'flag' takes true or false, not ''"                             },
    {"count",    "0",                   0, "p:2:3: option 'count' takes a whole number from 1 to 64, not '0'"             },
    {"count",    "65",                  0, "p:2:3: option 'count' takes a whole number from 1 to 64, not '65'"            },
    {"count",    "1.5",                 0, "p:2:3: option 'count' takes a whole number from 1 to 64, not '1.5'"           },
    {"any",      "9223372036854775808", 0, "p:2:3: option 'any' takes a whole number, not '9223372036854775808'"          },
    {"wait",     "soon",                0, "p:2:3: option 'wait' takes a duration such as \"5s\" or \"500ms\", not 'soon'"},
    {"memory",   "-1",                  0, "p:2:3: option 'memory' takes a size such as \"64MiB\", not '-1'"              },
    {"colour",   "gren",                0, "p:2:3: option 'colour' takes 'red', 'green' or 'blue', not 'gren'"            },
    {"password", "s3cret\0x",           8, "p:2:3: option 'password' holds a NUL byte"                                    },
    {"tls",      "s3cret",              0, "p:2:3: option 'tls' is a block: write tls { ... }"                            },
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct rh_options *options = fresh();
        struct rh_error err = {0};
        size_t size = bads[i].size ? bads[i].size : strlen(bads[i].value);
        assert_int_equal(rh_options_set(options, bads[i].name, rh_bytes(bads[i].value, size), "p:2:3", &err),
                         RH_E_PLAN);
        assert_string_equal(err.text, bads[i].error);
        assert_null(strstr(err.text, "s3cret"));
        if (strcmp(bads[i].name, "colour") == 0)
            assert_string_equal(err.hint, "did you mean 'green'?");
        rh_options_free(options);
    }
}

static void test_twice(void **state)
{
    (void)state;
    struct rh_options *options = fresh(), *block = NULL;
    struct rh_error err = {0};
    set(options, "password", "one");
    assert_int_equal(rh_options_set(options, "password", rh_bytes_text("s3cret"), "p:9:1", &err), RH_E_PLAN);
    assert_string_equal(err.text, "p:9:1: option 'password' is given twice, first at p:2:3");
    assert_int_equal(rh_options_open_block(options, "tls", "p:3:1", &block, &err), RH_OK);
    assert_int_equal(rh_options_open_block(options, "tls", "p:4:1", &block, &err), RH_E_PLAN);
    assert_string_equal(err.text, "p:4:1: option 'tls' is given twice, first at p:3:1");
    assert_int_equal(rh_options_open_block(options, "path", "p:4:1", &block, &err), RH_E_PLAN);
    assert_string_equal(err.text, "p:4:1: option 'path' takes a value, not a block: write path = ...");
    rh_options_free(options);
}

static void test_blocks(void **state)
{
    (void)state;
    struct rh_options *options = fresh(), *block = NULL;
    struct rh_error err = {0};
    assert_int_equal(rh_options_open_block(options, "tls", "p:3:1", &block, &err), RH_OK);
    assert_int_equal(rh_options_end(options, &err), RH_E_PLAN);
    assert_string_equal(err.text, "p:3:1: option 'ca_file' is missing");
    set(block, "ca_file", "/ca");
    assert_int_equal(rh_options_end(options, &err), RH_OK);
    assert_ptr_equal(rh_options_block(options, "tls"), block);
    assert_string_equal(rh_options_text(block, "mode"), "on");
    assert_true(rh_options_given(options, "tls"));
    rh_options_free(options);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("REHOME_TEST_A", "", 1), 0);
    assert_int_equal(setenv("REHOME_TEST_B", "from b", 1), 0);
    assert_int_equal(setenv("REHOME_TEST_SECRET", "s3cret", 1), 0);
    struct rh_options *options = fresh();
    assert_int_equal(rh_options_end(options, NULL), RH_OK);
    assert_string_equal(rh_options_text(options, "text"), "from b");
    assert_true(rh_options_given(options, "text"));
    assert_string_equal(rh_options_place(options, "text"), "environment variable REHOME_TEST_B");
    assert_true(rh_bytes_equal(rh_secret_bytes(rh_options_secret(options, "password")), rh_bytes_text("s3cret")));
    rh_options_free(options);
    options = fresh();
    set(options, "text", "from file");
    assert_int_equal(rh_options_end(options, NULL), RH_OK);
    assert_string_equal(rh_options_text(options, "text"), "from file");
    rh_options_free(options);
}

static const char *const required_env[] = {"REHOME_TEST_A", NULL};
static const struct rh_option required_table[] = {
    {.name = "name",            .type = RH_OPT_TEXT, .flags = RH_OPT_REQUIRED, .env = required_env},
    {0},
};
static const struct rh_option wrong_table[] = {
    {.name = "n",     .type = RH_OPT_INT, .initial = "x"},
    {0}
};

static void test_required(void **state)
{
    (void)state;
    struct rh_options *options = NULL;
    struct rh_error err = {0};
    assert_int_equal(rh_options_new(required_table, "", &options, &err), RH_OK);
    assert_int_equal(rh_options_end(options, &err), RH_E_PLAN);
    assert_string_equal(err.text, "option 'name' is missing");
    assert_string_equal(err.hint, "give it, or set REHOME_TEST_A in the environment");
    assert_int_equal(setenv("REHOME_TEST_A", "x", 1), 0);
    assert_int_equal(rh_options_end(options, &err), RH_OK);
    rh_options_free(options);
    assert_int_equal(rh_options_new(wrong_table, "", &options, &err), RH_E_INTERNAL);
}

/* --- command lines --- */

static const struct rh_option command[] = {
    {.name = "PLAN",                                .type = RH_OPT_PATH, .flags = RH_OPT_POSITIONAL | RH_OPT_REQUIRED, .help = "the plan file"},
    {.name = "config", .type = RH_OPT_PATH, .letter = 'c', .value_name = "PATH", .help = "the config file"},
    {.name = "max-parallel",
     .type = RH_OPT_INT,
     .min = 1,
     .max = 99,
     .initial = "10",
     .value_name = "N",
     .help = "how many at a time"},
    {.name = "json",                          .type = RH_OPT_BOOL, .help = "machine-readable output"},
    {.name = "colour",
     .type = RH_OPT_CHOICE,
     .choices = colours,
     .initial = "red",
     .env = text_env,
     .help = "what colour"},
    {.name = "password",                                             .type = RH_OPT_SECRET, .help = "a secret"},
    {.name = "a-name-that-is-too-long-for-the-column",                            .type = RH_OPT_TEXT, .help = "long"},
    {.name = "secret-switch",                                     .type = RH_OPT_BOOL, .flags = RH_OPT_HIDDEN, .help = "not shown"},
    {.name = "help",                             .type = RH_OPT_BOOL, .letter = 'h', .help = "this text"},
    {.name = "SECOND",                                             .type = RH_OPT_TEXT, .flags = RH_OPT_POSITIONAL, .help = "one more"},
    {0},
};

#define ARGS_MAX 8

/* Parses a line whose words are separated by blanks; "_" stands for an empty word. */
static enum rh_status parse(const char *line, struct rh_options **ret_options, struct rh_error *err, char *store)
{
    static char empty[1];
    char *argv[ARGS_MAX + 1] = {NULL}, *rest = store;
    int argc = 0;
    assert_true(strlen(line) < 256);
    memcpy(store, line, strlen(line) + 1);
    for (char *word; argc < ARGS_MAX && (word = strsep(&rest, " ")); argc++)
        argv[argc] = strcmp(word, "_") == 0 ? empty : word;
    return rh_options_from_argv(command, argc, argv, ret_options, err);
}

static void test_argv(void **state)
{
    (void)state;
    static const char *const lines[] = {"x -config /c -max-parallel 5 -json p",
                                        "x --config=/c --max-parallel=5 --json p",
                                        "x -config=/c p -max-parallel=5 -json=true",
                                        "x -c /c --json --max-parallel 5 -- p", "x -c=/c --max-parallel 5 --json=1 p"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct rh_options *options = NULL;
        struct rh_error err = {0};
        char store[256];
        if (parse(lines[i], &options, &err, store) != RH_OK)
            fail_msg("%s: %s", lines[i], err.text);
        assert_string_equal(rh_options_text(options, "config"), "/c");
        assert_string_equal(rh_options_text(options, "PLAN"), "p");
        assert_int_equal(rh_options_int(options, "max-parallel"), 5);
        assert_true(rh_options_bool(options, "json"));
        assert_null(rh_options_text(options, "SECOND"));
        rh_options_free(options);
    }
}

/* One that takes all that are left, behind one that takes its own. */
static void test_argv_rest(void **state)
{
    (void)state;
    static const struct rh_option rest[] = {
        {.name = "ID",                                  .type = RH_OPT_TEXT, .flags = RH_OPT_POSITIONAL | RH_OPT_REQUIRED, .help = "an id"},
        {.name = "WORDS",
         .type = RH_OPT_TEXT,
         .flags = RH_OPT_POSITIONAL | RH_OPT_MANY | RH_OPT_REQUIRED,
         .help = "the rest"},
        {.name = "json",                                             .type = RH_OPT_BOOL, .help = "machine-readable output"},
        {0                          },
    };
    char words[][8] = {"x", "i", "one", "--json", "a=b", "--", "--last"};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4], words[5], words[6], NULL};
    struct rh_options *options = NULL;
    struct rh_error err = {0};
    assert_int_equal(rh_options_from_argv(rest, 7, argv, &options, &err), RH_OK);
    assert_string_equal(rh_options_text(options, "ID"), "i");
    assert_int_equal(rh_options_count(options, "WORDS"), 3);
    assert_string_equal(rh_options_text_at(options, "WORDS", 0), "one");
    assert_string_equal(rh_options_text_at(options, "WORDS", 1), "a=b");
    assert_string_equal(rh_options_text_at(options, "WORDS", 2), "--last");
    rh_options_free(options);
    assert_int_equal(rh_options_from_argv(rest, 2, argv, &options, &err), RH_E_USAGE);
    assert_non_null(strstr(err.text, "WORDS"));
}

static void test_argv_dashes(void **state)
{
    (void)state;
    struct rh_options *options = NULL;
    char store[256];
    assert_int_equal(parse("x -json=false - -- --json", &options, NULL, store), RH_OK);
    assert_false(rh_options_bool(options, "json"));
    assert_string_equal(rh_options_text(options, "PLAN"), "-");
    assert_string_equal(rh_options_text(options, "SECOND"), "--json");
    rh_options_free(options);
    assert_int_equal(parse("x --help", &options, NULL, store), RH_OK); /* though PLAN is missing */
    assert_true(rh_options_bool(options, "help"));
    rh_options_free(options);
    assert_int_equal(parse("x p --config --json", &options, NULL, store), RH_OK); /* a value may begin with dashes */
    assert_string_equal(rh_options_text(options, "config"), "--json");
    rh_options_free(options);
}

struct bad_line {
    const char *line, *error;
};

static const struct bad_line bad_lines[] = {
    {"x",                    "argument PLAN is missing"                                          },
    {"x p --confg /c",       "unknown option '--confg'; did you mean '--config'?"                },
    {"x p --conf /c",        "unknown option '--conf'; did you mean '--config'?"                 },
    {"x p --c /c",           "unknown option '--c'"                                              },
    {"x p -x /c",            "unknown option '-x'"                                               },
    {"x p -confg /c",        "unknown option '-confg'; did you mean '--config'?"                 },
    {"x p --PLAN /c",        "unknown option '--PLAN'"                                           },
    {"x p -z",               "unknown option '-z'"                                               },
    {"x p --=1",             "unknown option '--'"                                               },
    {"x p --config",         "option '--config' needs a value"                                   },
    {"x p --config=",        "option '--config' is empty"                                        },
    {"x p -c a -c b",        "option '--config' is given twice"                                  },
    {"x p --max-parallel 0", "option '--max-parallel' takes a whole number from 1 to 99, not '0'"},
    {"x p --json=maybe",     "option '--json' takes true or false, not 'maybe'"                  },
    {"x p q r",              "unexpected argument 'r'"                                           },
    {"x _",                  "argument PLAN is empty"                                            },
};

static void test_argv_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++) {
        struct rh_options *options = NULL;
        struct rh_error err = {0};
        char store[256];
        assert_int_equal(parse(bad_lines[i].line, &options, &err, store), RH_E_USAGE);
        assert_string_equal(err.text, bad_lines[i].error);
        assert_null(options);
    }
}

static int warnings;

static void count_warnings(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    (void)user;
    assert_null(strstr(message, "hunter2"));
    for (; fields->name; fields++)
        assert_null(strstr(fields->value, "hunter2"));
    warnings += level == RH_LOG_WARN;
}

static void test_argv_secret(void **state)
{
    (void)state;
    rh_log_set(count_warnings, NULL, RH_LOG_WARN);
    char name[] = "x", plan[] = "p", joined[] = "--password=hunter2", dashes[] = "--password", value[] = "hunter2";
    struct rh_options *options = NULL;
    struct rh_error err = {0};
    assert_int_equal(rh_options_from_argv(command, 3, (char *[]){name, plan, joined, NULL}, &options, &err), RH_OK);
    assert_true(rh_bytes_equal(rh_secret_bytes(rh_options_secret(options, "password")), rh_bytes_text("hunter2")));
    assert_string_equal(joined, "--password=");
    rh_options_free(options);
    assert_int_equal(warnings, 1);
    /* the second time it is refused, and wiped all the same */
    char again[] = "--password=hunter2";
    assert_int_equal(
        rh_options_from_argv(command, 5, (char *[]){name, plan, dashes, value, again, NULL}, &options, &err),
        RH_E_USAGE);
    assert_string_equal(err.text, "option '--password' is given twice");
    assert_memory_equal(value, "\0\0\0\0\0\0\0", 7);
    assert_memory_equal(again + 11, "\0\0\0\0\0\0\0", 7);
    rh_log_set(NULL, NULL, RH_LOG_WARN);
}

static void test_help(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    assert_int_equal(rh_options_help(command, true, &out, NULL), RH_OK);
    assert_string_equal(rh_buf_cstr(&out),
                        "  PLAN                      the plan file (required)\n"
                        "  SECOND                    one more\n"
                        "  -c, --config PATH         the config file\n"
                        "  --max-parallel N          how many at a time (default: 10)\n"
                        "  --json                    machine-readable output\n"
                        "  --colour red|green|blue   what colour (default: red; REHOME_TEST_A, REHOME_TEST_B)\n"
                        "  --password SECRET         a secret\n"
                        "  --a-name-that-is-too-long-for-the-column TEXT\n"
                        "                            long\n"
                        "  -h, --help                this text\n");
    rh_buf_clear(&out);
    assert_int_equal(rh_options_help(table, false, &out, NULL), RH_OK);
    assert_non_null(strstr(rh_buf_cstr(&out), "  tls { ... }             a block\n"
                                              "      mode TEXT      whether to use it (default: on)\n"
                                              "      ca_file PATH   authorities to trust (required)\n"));
    assert_null(strstr(rh_buf_cstr(&out), "hidden"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, set_up),    cmocka_unit_test_setup(test_values, set_up),
        cmocka_unit_test_setup(test_bools, set_up),       cmocka_unit_test_setup(test_bad, set_up),
        cmocka_unit_test_setup(test_twice, set_up),       cmocka_unit_test_setup(test_blocks, set_up),
        cmocka_unit_test_setup(test_environment, set_up), cmocka_unit_test_setup(test_required, set_up),
        cmocka_unit_test_setup(test_argv, set_up),        cmocka_unit_test_setup(test_argv_dashes, set_up),
        cmocka_unit_test_setup(test_argv_rest, set_up),   cmocka_unit_test_setup(test_argv_bad, set_up),
        cmocka_unit_test_setup(test_argv_secret, set_up), cmocka_unit_test_setup(test_help, set_up),
        cmocka_unit_test_setup(test_many, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
