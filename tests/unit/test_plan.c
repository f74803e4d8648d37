/* SPDX-License-Identifier: Apache-2.0 */
/* Plans and migrate files: what a good one gives, and the exact words and place of what is wrong with a bad one. */
#include <rehome/plan.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- drivers that only have tables --- */

static const char *const path_env[] = {"REHOME_TEST_PATH", NULL};
static const struct rh_option tls_options[] = {
    {.name = "verify",   .type = RH_OPT_BOOL, .initial = "true"},
    {.name = "ca_file", .type = RH_OPT_PATH},
    {0 }
};
static const struct rh_option file_options[] = {
    {.name = "path",            .type = RH_OPT_PATH, .flags = RH_OPT_REQUIRED, .env = path_env},
    {0}
};
static const struct rh_option mysql_options[] = {
    {.name = "address",            .type = RH_OPT_TEXT, .initial = "127.0.0.1:3306"},
    {.name = "username", .type = RH_OPT_TEXT},
    {.name = "password",           .type = RH_OPT_SECRET},
    {.name = "max_parallel",                            .type = RH_OPT_TEXT},
    {.name = "plaintext_connection_allowed",.type = RH_OPT_BOOL},
    {.name = "tls",       .type = RH_OPT_BLOCK, .block = tls_options},
    {.name = "ha_enabled",                            .type = RH_OPT_IGNORED},
    {0            }
};
static const char *const memory_aliases[] = {"inmem", NULL};
static const struct rh_option no_options[] = {{0}};
static const struct rh_driver file_driver = {.name = "file", .model = RH_MODEL_KV, .options = file_options};
static const struct rh_driver mysql_driver = {.name = "mysql", .model = RH_MODEL_KV, .options = mysql_options};
static const struct rh_driver memory_driver = {
    .name = "memory", .aliases = memory_aliases, .model = RH_MODEL_KV, .options = no_options};
static const struct rh_driver keyring_driver = {
    .name = "keyring_file", .model = RH_MODEL_KEYRING, .options = no_options};
static const struct rh_option fence_options[] = {
    {.name = "user",            .type = RH_OPT_TEXT, .flags = RH_OPT_REQUIRED},
    {.name = "lease", .type = RH_OPT_DURATION, .initial = "10s"},
    {0          }
};
static const struct rh_fence_driver keyring_fence = {.name = "keyring_operations", .options = fence_options};
static const struct rh_fence_driver *const fences[] = {&keyring_fence, NULL};
static const struct rh_option route_options[] = {
    {.name = "host", .type = RH_OPT_TEXT},
    {0             },
};
static const struct rh_route_driver reload_route = {.name = "keyring_reload", .options = route_options};
static const struct rh_route_driver *const routes[] = {&reload_route, NULL};
static const struct rh_driver *const drivers[] = {&file_driver, &mysql_driver, &memory_driver, &keyring_driver, NULL};
static const struct rh_plan_kinds kinds = {.stores = drivers, .fences = fences, .routes = routes};

/* --- a folder for each test; paths are relative to it --- */

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/rehome-test-plan.XXXXXX");
    return !mkdtemp(folder) || chdir(folder) || setenv("REHOME_STATE_DIR", "/s", 1) || unsetenv("REHOME_TEST_PATH") ||
           unsetenv("XDG_STATE_HOME");
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"p.hcl", "my plan.hcl", "secret", "orders.v2.hcl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(names[i]); /* most aren't there */
    return chdir("/") || rmdir(folder);
}

static void write_file(const char *name, const char *text)
{
    assert_int_equal(rh_file_replace(AT_FDCWD, name, rh_bytes_text(text), 0600, NULL), RH_OK);
}

static enum rh_status load(const char *text, struct rh_plan **ret_plan, struct rh_error *err)
{
    write_file("p.hcl", text);
    return rh_plan_load("p.hcl", &kinds, ret_plan, err);
}

static struct rh_plan *good(const char *text)
{
    struct rh_plan *plan = NULL;
    struct rh_error err = {0};
    if (load(text, &plan, &err) != RH_OK)
        fail_msg("'%s': %s", text, err.text);
    return plan;
}

#define SIDES "source \"memory\" {} destination \"memory\" {}"

static void test_fences(void **state)
{
    (void)state;
    struct rh_plan *plan =
        good("move \"m\" { mode = \"paused\" " SIDES " fence \"keyring_operations\" { user = \"a\" lease = \"3s\" }\n"
             " fence \"keyring_operations\" { user = \"b\" } }");
    const struct rh_move *move = &plan->moves[0];
    assert_int_equal(move->mode, RH_MODE_PAUSED);
    assert_int_equal(move->fence_count, 2);
    assert_ptr_equal(move->fences[0].driver, &keyring_fence);
    assert_int_equal(move->fences[0].lease_us, 3000000);
    assert_string_equal(rh_options_text(move->fences[1].options, "user"), "b");
    assert_int_equal(move->fences[1].lease_us, 10000000);
    assert_string_equal(move->fences[1].place, "p.hcl:2:2");
    rh_plan_free(plan);
}

#define PAUSED "move \"m\" { mode = \"paused\" " SIDES " fence \"keyring_operations\" { user = \"a\" } }\n"

static void test_cutover(void **state)
{
    (void)state;
    struct rh_plan *plan = good("cutover { window = \"2s\" route \"keyring_reload\" { host = \"a\" }\n"
                                " route \"keyring_reload\" { } }\n" PAUSED);
    assert_int_equal(plan->route_count, 2);
    assert_int_equal(plan->window_us, 2000000);
    assert_ptr_equal(plan->routes[0].driver, &reload_route);
    assert_string_equal(rh_options_text(plan->routes[0].options, "host"), "a");
    assert_string_equal(plan->routes[1].place, "p.hcl:2:2");
    rh_plan_free(plan);
    plan = good(PAUSED "cutover { route \"keyring_reload\" { } }");
    assert_int_equal(plan->window_us, 5000000);
    rh_plan_free(plan);
    plan = good(PAUSED);
    assert_int_equal(plan->route_count, 0);
    rh_plan_free(plan);
}

static void test_bad_cutover(void **state)
{
    static const char *const cases[][2] = {
        {"cutover \"x\" { }\n" PAUSED,                                         "p.hcl:1:1: 'cutover' is a block without a name: cutover { ... }"},
        {"cutover { }\ncutover { }\n" PAUSED,                                  "p.hcl:2:1: more than one 'cutover' block"                       },
        {"cutover { route \"keyring_reloa\" { } }\n" PAUSED,
         "p.hcl:1:11: unknown route \"keyring_reloa\"; did you mean 'keyring_reload'?"                                                          },
        {"cutover { route { } }\n" PAUSED,                                     "p.hcl:1:11: 'route' needs its type: route \"TYPE\" { ... }"     },
        {"cutover { windo = \"1s\" }\n" PAUSED,
         "p.hcl:1:11: unknown option 'windo' in cutover; did you mean 'window'?"                                                                },
        {"cutover { window = \"11m\" route \"keyring_reload\" { } }\n" PAUSED,
         "p.hcl:1:11: window is between 1s and 10m"                                                                                             },
        {"cutover { route \"keyring_reload\" { } }\nmove \"m\" { " SIDES " }",
         "p.hcl:1:1: a cutover needs mode = \"paused\" in every move, and move 'm' is offline"                                                  },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rh_plan *plan = NULL;
        struct rh_error err = {0};
        assert_int_equal(load(cases[i][0], &plan, &err), RH_E_PLAN);
        assert_string_equal(err.text, cases[i][1]);
    }
}

/* The members of a move beside its sides, and what is wrong with them. */
static void test_bad_fences(void **state)
{
    static const char *const cases[][2] = {
        {"mode = \"paused\"",                             "p.hcl:1:1: mode 'paused' needs a fence: fence \"TYPE\" { ... }"},
        {"fence \"keyring_operations\" { user = \"u\" }", "p.hcl:1:12: a fence needs mode = \"paused\""                   },
        {"fence \"keyring_operation\" { }",
         "p.hcl:1:12: unknown fence \"keyring_operation\"; did you mean 'keyring_operations'?"                            },
        {"fence { }",                                     "p.hcl:1:12: 'fence' needs its type: fence \"TYPE\" { ... }"    },
        {"fence \"keyring_operations\" { }",              "p.hcl:1:12: option 'user' is missing"                          },
        {"fence \"keyring_operations\" { use = \"u\" }",
         "p.hcl:1:41: unknown option 'use' in fence \"keyring_operations\"; did you mean 'user'?"                         },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rh_plan *plan = NULL;
        struct rh_error err = {0};
        char text[512];
        snprintf(text, sizeof text, "move \"m\" { %s " SIDES " }", cases[i][0]);
        assert_int_equal(load(text, &plan, &err), RH_E_PLAN);
        assert_string_equal(err.text, cases[i][1]);
        assert_null(plan);
    }
}

static void test_full(void **state)
{
    (void)state;
    struct rh_plan *plan = good("plan \"orders\" {\n state_dir = \"/var/lib/x\"\n seal { key_file = \"k\" }\n}\n"
                                "move \"one\" {\n on_conflict = \"keep-equal\"\n verify = false\n parallel = 7\n"
                                " memory = \"16MiB\"\n marker = \"none\"\n"
                                " source \"file\" { path = \"/v\" }\n"
                                " destination \"mysql\" { password = \"${x\\n}\\n\" max_parallel = 0x10 tls { verify = "
                                "false } ha_enabled = [{ a = 1 }] redirect_addr = \"http://r\" }\n}\n"
                                "move \"two\" { " SIDES " }\n");
    assert_string_equal(plan->path, "p.hcl");
    assert_string_equal(plan->name, "orders");
    assert_string_equal(plan->state_dir, "/var/lib/x");
    assert_string_equal(plan->seal_key_file, "k");
    assert_null(plan->seal_passphrase);
    assert_false(plan->vault_config);
    assert_int_equal(plan->move_count, 2);
    const struct rh_move *one = &plan->moves[0], *two = &plan->moves[1];
    assert_string_equal(one->name, "one");
    assert_int_equal(one->on_conflict, RH_CONFLICT_KEEP_EQUAL);
    assert_false(one->verify);
    assert_false(one->source_marker);
    assert_int_equal(one->parallel, 7);
    assert_int_equal(one->memory_bytes, 16 * 1024 * 1024);
    assert_ptr_equal(one->source.driver, &file_driver);
    assert_string_equal(one->source.place, "p.hcl:11:2");
    assert_string_equal(rh_options_text(one->source.options, "path"), "/v");
    assert_string_equal(rh_options_text(one->destination.options, "max_parallel"), "16");
    assert_true(rh_bytes_equal(rh_secret_bytes(rh_options_secret(one->destination.options, "password")),
                               rh_bytes_text("${x\\n}\n")));
    assert_false(rh_options_bool(rh_options_block(one->destination.options, "tls"), "verify"));
    assert_string_equal(two->name, "two");
    assert_int_equal(two->mode, RH_MODE_OFFLINE);
    assert_int_equal(two->on_conflict, RH_CONFLICT_FAIL);
    assert_true(two->verify);
    assert_true(two->source_marker);
    assert_int_equal(two->parallel, 0);
    assert_int_equal(two->memory_bytes, 64 * 1024 * 1024);
    rh_plan_free(plan);
}

static void test_names(void **state)
{
    (void)state;
    struct rh_plan *plan = good("move \"m\" { " SIDES " }");
    assert_string_equal(plan->name, "p");
    rh_plan_free(plan);
    write_file("orders.v2.hcl", "plan { } move \"m\" { " SIDES " }");
    assert_int_equal(rh_plan_load("./orders.v2.hcl", &kinds, &plan, NULL), RH_OK);
    assert_string_equal(plan->name, "orders.v2");
    rh_plan_free(plan);
    struct rh_error err = {0};
    write_file("my plan.hcl", "move \"m\" { " SIDES " }");
    assert_int_equal(rh_plan_load("my plan.hcl", &kinds, &plan, &err), RH_E_PLAN);
    assert_string_equal(err.hint, "give the plan a name of its own: plan \"NAME\" { }");
}

static void test_vault(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "storage_source \"MySQL\" {\n  username = \"u\"\n  max_parallel = 128\n  plaintext_connection_allowed = "
        "\"true\"\n"
        "  redirect_addr = \"http://x\"\n  disable_clustering = true\n}\n"
        "storage_destination \"file\" {\n  path = \"/d\"\n}\ncluster_addr = \"https://h:8201\"\n",
        "{\"storage_source\": {\"MySQL\": {\"username\": \"u\", \"max_parallel\": 128,"
        "\"plaintext_connection_allowed\": true, \"cluster_addr\": \"x\", \"advertise_addr\": [1]}},"
        "\"storage_destination\": [{\"file\": {\"path\": \"/d\"}}]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct rh_plan *plan = good(texts[i]);
        assert_true(plan->vault_config);
        assert_string_equal(plan->name, "migrate");
        assert_string_equal(plan->state_dir, "/s");
        assert_int_equal(plan->move_count, 1);
        const struct rh_move *move = &plan->moves[0];
        assert_string_equal(move->name, "migrate");
        assert_int_equal(move->on_conflict, RH_CONFLICT_OVERWRITE);
        assert_true(move->verify);
        assert_true(move->source_marker);
        assert_ptr_equal(move->source.driver, &mysql_driver);
        assert_string_equal(rh_options_text(move->source.options, "max_parallel"), "128");
        assert_true(rh_options_bool(move->source.options, "plaintext_connection_allowed"));
        assert_string_equal(rh_options_text(move->destination.options, "path"), "/d");
        rh_plan_free(plan);
    }
}

struct value {
    const char *hcl, *text;
};

/* As Vault encodes them before a backend sees them. */
static const struct value values[] = {
    {"true",                 "true"                },
    {"5",                    "5"                   },
    {"-0",                   "0"                   },
    {"010",                  "8"                   },
    {"0xfF",                 "255"                 },
    {"1.50",                 "1.5"                 },
    {"1e3",                  "1000"                },
    {"0.1",                  "0.1"                 },
    {"[\"a\\\"b\\\\\", 1]",  "[\"a\\\"b\\\\\",1]"  },
    {"[]",                   "[]"                  },
    {"[true, [\"\\n\"]]",    "[true,[\"\\u000a\"]]"},
    {"9223372036854775807",  "9223372036854775807" },
    {"-9223372036854775808", "-9223372036854775808"},
};

static void test_json_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "move \"m\" { source \"mysql\" { max_parallel = %s } destination \"memory\" {} }",
                       values[i].hcl);
        struct rh_plan *plan = good(text);
        assert_string_equal(rh_options_text(plan->moves[0].source.options, "max_parallel"), values[i].text);
        rh_plan_free(plan);
    }
}

/* Errors in JSON name the line and column of the word that is wrong, as in HCL. */
static void test_json_places(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\n \"storage_sorce\": {\"file\": {}}}",                                                                       "p.hcl:2:2: unknown word 'storage_sorce'"},
        {"{\"storage_source\": {\"file\": {\"path\": \"/p\"}},\n  \"cluster_adr\": \"x\"}",
         "p.hcl:2:3: unknown word 'cluster_adr'"                                                                                                                  },
        {"{\"storage_source\": {\n\t\"file\" : { \"path\" : \"/p\",\r\n \"paht\":1}}}",
         "p.hcl:3:2: unknown option 'paht'"                                                                                                                       },
        {"{\"storage_source\": {\"file\": {\"path\": \"\\\"}{\\\\\", \"paht\": 1}}}",
         "p.hcl:1:48: unknown option 'paht'"                                                                                                                      },
        {"{\"storage_source\": {\"file\": {\"path\": \"\u00fc\u6f22\", \"paht\": 1}}}",
         "p.hcl:1:44: unknown option 'paht'"                                                                                                                      },
        {"{\"storage_source\": {\"mysql\": {\"max_parallel\": [-1.5e3, [{}, {\"a\": null}], true],\n\"x\": 1}}}",
         "p.hcl:1:67: null isn't a value"                                                                                                                         },
        {"{\"storage_source\": {\"mysql\": {\"max_parallel\": [-1.5e3, [[], [[]], \"\"], true,false],\n\"xyzzy\": 1}}}",
         "p.hcl:2:1: unknown option 'xyzzy'"                                                                                                                      },
        {"{\"storage_source\": [{\"file\": [{\"path\": \"/p\"}]}],\n\"storage_destination\": [\n{\"file\": "
         "[{\n\"paht\": 1}]}]}",                                                                                "p.hcl:4:1: unknown option 'paht'"       },
        {"{\"storage_source\": {\"file\": {\"path\": \"/p\"},\n\"mysql\": {}}}",
         "p.hcl:2:1: exactly one \"storage_source\""                                                                                                              },
        {"{\"move\": {\"m\": {\"source\": {\"memory\": {}},\n \"destination\": {\"memory\": {}},\n  \"mode\": "
         "\"online\"}}}",                                                                                       "p.hcl:3:3: option 'mode' takes"         },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rh_plan *plan = NULL;
        struct rh_error err = {0};
        assert_int_equal(load(cases[i].text, &plan, &err), RH_E_PLAN);
        if (strncmp(err.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("'%s': '%s' and not '%s'", cases[i].text, err.text, cases[i].error);
    }
}

#define MOVE(inside) "move \"m\" { " inside " }"
#define TO " destination \"memory\" {}"
#define FROM_FILE "storage_source \"file\" { path = \"/p\" }\n"

struct bad {
    const char *text, *error;
};

static const struct bad bads[] = {
    {"",                                                                 "p.hcl: no 'move' block: there is nothing to do"                             },
    {"plan \"x\" {}",                                                    "p.hcl: no 'move' block: there is nothing to do"                             },
    {"mov \"m\" {}",                                                     "p.hcl:1:1: unknown word 'mov'; did you mean 'move'?"                        },
    {"storage_sorce \"file\" {}",                                        "p.hcl:1:1: unknown word 'storage_sorce'; did you mean 'storage_source'?"    },
    {FROM_FILE "storage_dest \"file\" {}",                               "p.hcl:2:1: unknown word 'storage_dest'"                                     },
    {FROM_FILE "cluster_adr = \"x\"",                                    "p.hcl:2:1: unknown word 'cluster_adr'; did you mean 'cluster_addr'?"        },
    {"plan \"x\" {}\n" FROM_FILE,                                        "p.hcl:2:1: 'storage_source' belongs to a migrate file, not to a plan"       },
    {"plan \"x\" {}\nplan \"y\" {}",                                     "p.hcl:2:1: more than one 'plan' block"                                      },
    {"plan \"x\" { state = \"\" }",                                      "p.hcl:1:12: unknown option 'state' in plan"                                 },
    {"plan \"x\" { statedir = \"/\" }",                                  "p.hcl:1:12: unknown option 'statedir' in plan; did you mean 'state_dir'?"   },
    {"plan \"x\" \"y\" {}",                                              "p.hcl:1:1: 'plan' is a block with one name: plan \"NAME\" { ... }"          },
    {"plan = 1",                                                         "p.hcl:1:1: 'plan' is a block with one name: plan \"NAME\" { ... }"          },
    {"plan \"../x\" {}",
     "p.hcl:1:1: name of a plan is made of letters, digits, '_', '-' and '.', at most 64, and begins "
     "with none of the last two"                                                                                                                      },
    {"plan \"x\" { seal {} }",
     "p.hcl:1:12: block 'seal' takes exactly one of 'key_file', 'passphrase_file' and 'passphrase_env'"                                               },
    {"plan \"x\" { seal { key_file = \"a\" passphrase_file = \"b\" } }",
     "p.hcl:1:12: block 'seal' takes exactly one of 'key_file', 'passphrase_file' and 'passphrase_env'"                                               },
    {"plan \"x\" { seal { key_fil = \"a\" } }",
     "p.hcl:1:19: unknown option 'key_fil' in seal of plan; did you mean 'key_file'?"                                                                 },
    {"plan \"x\" { seal { passphrase_env = \"REHOME_TEST_ABSENT\" } }",
     "p.hcl:1:19: environment variable 'REHOME_TEST_ABSENT' isn't set or is empty"                                                                    },
    {"plan \"x\" { seal { passphrase_file = \"absent\" } }",
     "p.hcl:1:19: opening secret file 'absent': No such file or directory"                                                                            },
    {"plan \"x\" { seal \"t\" {} }",                                     "p.hcl:1:12: block 'seal' takes no title"                                    },
    {"plan \"x\" { seal = \"s3cret\" }",                                 "p.hcl:1:12: option 'seal' is a block: write seal { ... }"                   },
    {"plan \"x\" { state_dir = { a = 1 } }",
     "p.hcl:1:12: option 'state_dir' takes a value, not a block: write state_dir = ..."                                                               },
    {"plan \"x\" { state_dir = [1] }",                                   "p.hcl:1:12: option 'state_dir' takes one value, not a list"                 },
    {"cutover {}\n" MOVE(SIDES),                                         "p.hcl:1:1: block 'cutover' needs a route: route \"TYPE\" { ... }"           },
    {MOVE("mode = \"live\" " SIDES),                                     "p.hcl:1:12: mode 'live' isn't there yet"                                    },
    {MOVE("mode = \"online\" " SIDES),                                   "p.hcl:1:12: option 'mode' takes 'offline', 'paused' or 'live', not 'online'"},
    {MOVE("memory = \"1KiB\" " SIDES),                                   "p.hcl:1:12: option 'memory' takes at least 1MiB"                            },
    {MOVE("parallel = 0 " SIDES),                                        "p.hcl:1:12: option 'parallel' takes a whole number from 1 to 128, not '0'"  },
    {MOVE("parallel = 99999999999999999999 " SIDES),                     "p.hcl:1:23: number is too large"                                            },
    {MOVE("on_conflict = \"keep\" " SIDES),
     "p.hcl:1:12: option 'on_conflict' takes 'fail', 'keep-equal' or 'overwrite', not 'keep'"                                                         },
    {"move {}",                                                          "p.hcl:1:1: 'move' is a block with one name: move \"NAME\" { ... }"          },
    {"move \"m\" {}",                                                    "p.hcl:1:1: option 'source' is missing"                                      },
    {MOVE("source \"memory\" {}"),                                       "p.hcl:1:1: option 'destination' is missing"                                 },
    {MOVE("source \"memory\" {} " SIDES),                                "p.hcl:1:31: option 'source' is given twice, first at p.hcl:1:12"            },
    {MOVE(SIDES) "\n" MOVE(SIDES),                                       "p.hcl:2:1: two moves are named 'm'; the first is at p.hcl:1:1"              },
    {MOVE(SIDES) "\nmove \"n\" {" SIDES "}",
     "p.hcl: more than one move needs a plan block with a name: plan \"NAME\" { }"                                                                    },
    {MOVE("sorce \"memory\" {}" TO),                                     "p.hcl:1:12: unknown option 'sorce' in move \"m\"; did you mean 'source'?"   },
    {MOVE("source {}" TO),                                               "p.hcl:1:12: 'source' needs the type of its store: source \"TYPE\" { ... }"  },
    {MOVE("source = \"x\"" TO),                                          "p.hcl:1:12: 'source' needs the type of its store: source \"TYPE\" { ... }"  },
    {MOVE("source \"msql\" {}" TO),                                      "p.hcl:1:12: unknown store \"msql\"; did you mean 'mysql'?"                  },
    {MOVE("source \"MySQL\" {}" TO),                                     "p.hcl:1:12: unknown store \"MySQL\""                                        },
    {MOVE("source \"consul\" {}" TO),                                    "p.hcl:1:12: store \"consul\" isn't there yet"                               },
    {MOVE("source \"keyring_file\" {}" TO),                              "p.hcl:1:1: source \"keyring_file\" is a keyring, destination \"memory\" "
                                            "is a key-value store: nothing can be moved "
                                            "between them"                                                 },
    {MOVE("source \"file\" {}" TO),                                      "p.hcl:1:12: option 'path' is missing"                                       },
    {"move \"m\" {\n  source \"file\" {\n    pth = \"x\"\n  }\n}",
     "p.hcl:3:5: unknown option 'pth' in source \"file\"; did you mean 'path'?"                                                                       },
    {MOVE("source \"mysql\" { tls { verfy = 1 } }" TO),
     "p.hcl:1:35: unknown option 'verfy' in tls of source \"mysql\"; did you mean 'verify'?"                                                          },
    {MOVE("source \"mysql\" { password = \"a\\000s3cret\" }" TO),        "p.hcl:1:29: option 'password' holds a NUL byte"                             },
    {MOVE("source \"mysql\" { password = s3cret }" TO),
     "p.hcl:1:40: expected a value (text goes in double quotes), not a bare word"                                                                     },
    {MOVE("source \"mysql\" { username = [{a = 1}] }" TO),               "p.hcl:1:40: a list of blocks isn't a value here"                            },
 /* migrate files */
    {FROM_FILE,                                                          "p.hcl: exactly one \"storage_destination\" block is required"               },
    {"storage_destination \"file\" { path = \"/p\" }",                   "p.hcl: exactly one \"storage_source\" block is required"                    },
    {FROM_FILE FROM_FILE,                                                "p.hcl:2:1: exactly one \"storage_source\" block is required"                },
    {"storage_source \"Consul\" {}",                                     "p.hcl:1:1: store \"consul\" isn't there yet"                                },
    {"storage_source \"fil\" {}",                                        "p.hcl:1:1: no Vault storage backend named: \"fil\"; did you mean 'file'?"   },
    {"storage_source \"file\" {\n  paht = \"/p\"\n}",
     "p.hcl:2:3: unknown option 'paht' in storage_source \"file\"; did you mean 'path'?"                                                              },
    {FROM_FILE "cluster_addr = 5",                                       "p.hcl:2:1: option 'cluster_addr' takes a text"                              },
    {"{\"storage_source\": {\"file\": {\"pth\": \"x\"}}}",
     "p.hcl:1:30: unknown option 'pth' in storage_source \"file\"; did you mean 'path'?"                                                              },
    {"{\"storage_source\": {\"path\": \"x\"}}",
     "p.hcl:1:2: 'storage_source' needs the type of its store: storage_source \"TYPE\" { ... }"                                                       },
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct rh_plan *plan = NULL;
        struct rh_error err = {0};
        enum rh_status status = load(bads[i].text, &plan, &err);
        if (status != RH_E_PLAN || strcmp(err.text, bads[i].error) != 0)
            fail_msg("'%s' gives %d '%s', not '%s'", bads[i].text, status, err.text, bads[i].error);
        assert_null(plan);
        assert_null(strstr(err.text, "s3cret"));
        assert_null(strstr(err.hint, "s3cret"));
    }
}

static void test_absent(void **state)
{
    (void)state;
    struct rh_plan *plan = NULL;
    struct rh_error err = {0};
    assert_int_equal(rh_plan_load("absent.hcl", &kinds, &plan, &err), RH_E_PLAN);
    assert_string_equal(err.text, "reading plan 'absent.hcl': no such file");
    assert_int_equal(rh_plan_load("/", &kinds, &plan, &err), RH_E_PLAN);
    assert_int_equal(err.status, RH_E_PLAN);
    assert_int_equal(rh_plan_load("absent.hcl", &kinds, &plan, NULL), RH_E_PLAN);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("REHOME_TEST_PATH", "/from/env", 1), 0);
    struct rh_plan *plan = good(MOVE("source \"file\" {}" TO));
    assert_string_equal(rh_options_text(plan->moves[0].source.options, "path"), "/from/env");
    rh_plan_free(plan);
}

static void test_state_dir(void **state)
{
    (void)state;
    char want[128];
    (void)snprintf(want, sizeof want, "%s/here/s", folder);
    struct rh_plan *plan = good("plan \"x\" { state_dir = \"here/s\" } " MOVE(SIDES));
    assert_string_equal(plan->state_dir, want);
    rh_plan_free(plan);
    plan = good(MOVE(SIDES));
    assert_string_equal(plan->state_dir, "/s");
    rh_plan_free(plan);
    assert_int_equal(unsetenv("REHOME_STATE_DIR"), 0);
    assert_int_equal(setenv("XDG_STATE_HOME", "/x", 1), 0);
    plan = good(MOVE(SIDES));
    assert_string_equal(plan->state_dir, "/x/rehome");
    rh_plan_free(plan);
    assert_int_equal(setenv("XDG_STATE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    plan = good(MOVE(SIDES));
    assert_string_equal(plan->state_dir, geteuid() == 0 ? "/var/lib/rehome" : "/h/.local/state/rehome");
    rh_plan_free(plan);
}

static void test_passphrase(void **state)
{
    (void)state;
    write_file("secret", "open sesame\n");
    struct rh_plan *plan = good("plan \"x\" { seal { passphrase_file = \"secret\" } } " MOVE(SIDES));
    assert_true(rh_bytes_equal(rh_secret_bytes(plan->seal_passphrase), rh_bytes_text("open sesame")));
    rh_plan_free(plan);
    assert_int_equal(setenv("REHOME_TEST_PASSPHRASE", "from env", 1), 0);
    plan = good("plan \"x\" { seal { passphrase_env = \"REHOME_TEST_PASSPHRASE\" } } " MOVE(SIDES));
    assert_true(rh_bytes_equal(rh_secret_bytes(plan->seal_passphrase), rh_bytes_text("from env")));
    rh_plan_free(plan);
}

static int warnings;

static void count_warnings(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    (void)user;
    (void)fields;
    warnings += level == RH_LOG_WARN && strstr(message, "others may read it");
}

static void test_readers(void **state)
{
    (void)state;
    static const char with[] = MOVE("source \"mysql\" { password = \"x\" }" TO), without[] = MOVE(SIDES);
    struct rh_plan *plan = NULL;
    rh_log_set(count_warnings, NULL, RH_LOG_WARN);
    warnings = 0;
    rh_plan_free(good(with));
    assert_int_equal(warnings, 0);
    assert_int_equal(chmod("p.hcl", 0644), 0);
    assert_int_equal(rh_plan_load("p.hcl", &kinds, &plan, NULL), RH_OK);
    assert_int_equal(warnings, 1);
    rh_plan_free(plan);
    write_file("p.hcl", without);
    assert_int_equal(chmod("p.hcl", 0644), 0);
    assert_int_equal(rh_plan_load("p.hcl", &kinds, &plan, NULL), RH_OK);
    assert_int_equal(warnings, 1);
    rh_plan_free(plan);
    rh_log_set(NULL, NULL, RH_LOG_WARN);
}

static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(rh_plan_table("plan")[0].name, "state_dir");
    assert_string_equal(rh_plan_table("seal")[0].name, "key_file");
    assert_string_equal(rh_plan_table("move")[0].name, "mode");
    assert_null(rh_plan_table("x"));
    assert_string_equal(rh_on_conflict_name(RH_CONFLICT_KEEP_EQUAL), "keep-equal");
    assert_string_equal(rh_mode_name(RH_MODE_LIVE), "live");
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    assert_int_equal(rh_options_help(rh_plan_table("move"), false, &out, NULL), RH_OK);
    assert_non_null(strstr(rh_buf_cstr(&out), "  source \"TYPE\" { ... }"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fences, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_fences, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cutover, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_cutover, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_vault, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_state_dir, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_passphrase, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_readers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
