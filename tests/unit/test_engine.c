/* SPDX-License-Identifier: Apache-2.0 */
/* The engine over two memory stores: every verb and policy, with the stores looked at behind its back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ftw.h>
#include <rehome/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/stores/memory/memory.h"

static char state_dir[] = "/tmp/rehome-engine-XXXXXX";
static char plan_path[128];

struct seen {
    unsigned differs, missing, mended, not_ours, extra, problems;
    char first_problem[64];
};

/* Counts findings by their word. */
static void on_found(void *user, const struct rh_finding *finding)
{
    struct seen *seen = user;
    seen->differs += strcmp(finding->what, "differs") == 0;
    seen->missing += strcmp(finding->what, "missing") == 0;
    seen->mended += strcmp(finding->what, "mended") == 0;
    seen->not_ours += strcmp(finding->what, "not-ours") == 0;
    seen->extra += strcmp(finding->what, "extra") == 0;
    if (finding->kind == RH_FINDING_PROBLEM && seen->problems++ == 0)
        snprintf(seen->first_problem, sizeof seen->first_problem, "%s", finding->what);
}

static void write_plan(const char *name, const char *on_conflict)
{
    snprintf(plan_path, sizeof plan_path, "%s/%s.hcl", state_dir, name);
    FILE *file = fopen(plan_path, "w");
    assert_non_null(file);
    fprintf(file,
            "plan \"%s\" { state_dir = \"%s/state\" }\n"
            "move \"m\" { on_conflict = \"%s\"\n source \"memory\" { name = \"src\" }\n destination \"memory\" { name "
            "= \"dst\" } }\n",
            name, state_dir, on_conflict);
    fclose(file);
}

enum verb { CHECK, RUN, RERUN, VERIFY, REPAIR, ROLLBACK, RECOVER, FINISH };

static struct rh_error last;

/* One process's worth of one verb; the error is kept in `last`. */
static enum rh_status perform(enum verb verb, struct seen *seen)
{
    struct rh_plan *plan = NULL;
    struct rh_engine *engine = NULL;
    struct seen nobody = {0};
    last = (struct rh_error){0};
    enum rh_status status = rh_plan_load(plan_path, RH_PLAN_KINDS_ALL, &plan, &last);
    if (status != RH_OK)
        fail_msg("%s", last.text);
    const struct rh_engine_args args = {.plan = plan,
                                        .found = on_found,
                                        .found_user = seen ? seen : &nobody,
                                        .retry_us = 0,
                                        .overwrite_initialised = verb == RERUN};
    assert_int_equal(rh_engine_open(&args, &engine, &last), RH_OK);
    switch (verb) {
    case CHECK:
        status = rh_engine_check(engine, &last);
        break;
    case RUN:
    case RERUN:
        status = rh_engine_run(engine, &last);
        break;
    case VERIFY:
        status = rh_engine_verify(engine, false, &last);
        break;
    case REPAIR:
        status = rh_engine_verify(engine, true, &last);
        break;
    case ROLLBACK:
        status = rh_engine_rollback(engine, &last);
        break;
    case RECOVER:
        status = rh_engine_recover(engine, &last);
        break;
    case FINISH:
        status = rh_engine_finish(engine, &last);
        break;
    }
    rh_engine_close(engine);
    rh_plan_free(plan);
    return status;
}

static void expect(enum verb verb, enum rh_status wanted)
{
    const enum rh_status status = perform(verb, NULL);
    if (status != wanted)
        fail_msg("verb %d: %s instead of %s: %s", (int)verb, rh_status_name(status), rh_status_name(wanted), last.text);
}

static void poke(const char *store, const char *key, const char *value)
{
    assert_int_equal(rh_memory_poke(store, rh_bytes_text(key), rh_bytes_text(value), false), RH_OK);
}

/* "-" stands for an absent key. */
static void holds(const char *store, const char *key, const char *value)
{
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    const enum rh_status status = rh_memory_peek(store, rh_bytes_text(key), &found, NULL);
    if (strcmp(value, "-") == 0)
        assert_int_equal(status, RH_NOT_FOUND);
    else {
        assert_int_equal(status, RH_OK);
        assert_string_equal(rh_buf_cstr(&found), value);
    }
}

enum { RECORDS = 5000 };

static int fresh(void **state)
{
    (void)state;
    static int number;
    char name[32], key[64], value[64];
    snprintf(name, sizeof name, "p%d", number++);
    rh_memory_drop("src");
    rh_memory_drop("dst");
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "logical/%d/k%05d", i % 7, i);
        snprintf(value, sizeof value, "value %d", i);
        poke("src", key, value);
    }
    write_plan(name, "fail");
    return 0;
}

static void with_policy(const char *policy)
{
    static int number;
    char name[32];
    snprintf(name, sizeof name, "q%d", number++);
    write_plan(name, policy);
}

static void test_run_and_roll_back(void **state)
{
    (void)state;
    expect(CHECK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 0);
    expect(RUN, RH_OK);
    assert_int_equal(rh_memory_count("dst"), RECORDS);
    holds("dst", "logical/3/k00003", "value 3");
    holds("dst", RH_KV_MARKER, "-");
    holds("src", RH_KV_MARKER, "-");
    expect(VERIFY, RH_OK);
    expect(RUN, RH_OK); /* complete: compares again */
    expect(ROLLBACK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 0);
    assert_int_equal(rh_memory_count("src"), RECORDS);
    expect(ROLLBACK, RH_OK); /* nothing more to do */
    expect(RUN, RH_OK);      /* and it can begin anew */
    assert_int_equal(rh_memory_count("dst"), RECORDS);
    expect(FINISH, RH_OK);
    expect(ROLLBACK, RH_E_REFUSED);
}

static void test_conflict_is_refused_before_anything(void **state)
{
    (void)state;
    struct seen seen = {0};
    poke("dst", "logical/3/k00003", "somebody's");
    assert_int_equal(perform(RUN, &seen), RH_E_REFUSED);
    assert_non_null(strstr(last.text, "logical/3/k00003"));
    assert_string_equal(seen.first_problem, "exists");
    assert_int_equal(rh_memory_count("dst"), 1);
    holds("dst", "logical/3/k00003", "somebody's");
    holds("src", RH_KV_MARKER, "-");
    /* nothing was written, so nothing is under way */
    struct rh_plan *plan = NULL;
    rh_auto_buf struct rh_buf json = RH_BUF_INIT;
    assert_int_equal(rh_plan_load(plan_path, RH_PLAN_KINDS_ALL, &plan, &last), RH_OK);
    assert_int_equal(rh_engine_report(plan, &json, &last), RH_OK);
    assert_non_null(strstr(rh_buf_cstr(&json), "\"state\": \"new\""));
    rh_plan_free(plan);
}

static void test_keep_equal(void **state)
{
    (void)state;
    with_policy("keep-equal");
    poke("dst", "logical/3/k00003", "value 3");
    poke("dst", "other", "extra");
    expect(RUN, RH_OK);
    assert_int_equal(rh_memory_count("dst"), RECORDS + 1);
    expect(ROLLBACK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 2);
    holds("dst", "logical/3/k00003", "value 3");
    poke("dst", "logical/3/k00003", "another");
    expect(RUN, RH_E_REFUSED);
}

/* Many keys on both sides are compared many at once; each that differs is named, and no other. */
static void test_keep_equal_many(void **state)
{
    (void)state;
    char key[32], value[32];
    with_policy("keep-equal");
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "many/k%05d", i);
        snprintf(value, sizeof value, "value %d", i);
        poke("src", key, value);
        poke("dst", key, i == 1023 || i == 1024 || i == 2999 ? "another" : value);
    }
    struct seen seen = {0};
    assert_int_equal(perform(RUN, &seen), RH_E_REFUSED);
    assert_int_equal(seen.problems, 3);
    poke("dst", "many/k01023", "value 1023");
    poke("dst", "many/k01024", "value 1024");
    poke("dst", "many/k02999", "value 2999");
    expect(RUN, RH_OK);
    assert_int_equal(rh_memory_count("dst"), RECORDS + 3000);
}

static void test_overwrite_and_back(void **state)
{
    (void)state;
    with_policy("overwrite");
    poke("dst", "logical/3/k00003", "old 3");
    poke("dst", "logical/4/k00004", "value 4");
    poke("dst", "zzz", "extra");
    expect(RUN, RH_OK);
    holds("dst", "logical/3/k00003", "value 3");
    holds("dst", "zzz", "extra");
    poke("src", "logical/3/k00003", "newer 3");
    expect(RUN, RH_E_MISMATCH); /* complete, but the source has gone on: said, not hidden */
    expect(RERUN, RH_OK);       /* a new pass */
    holds("dst", "logical/3/k00003", "newer 3");
    expect(ROLLBACK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 3);
    holds("dst", "logical/3/k00003", "old 3");
    holds("dst", "logical/4/k00004", "value 4");
    holds("dst", "zzz", "extra");
}

static void test_verify_names_and_repair_mends(void **state)
{
    (void)state;
    struct seen seen = {0};
    expect(RUN, RH_OK);
    poke("dst", "logical/3/k00003", "value 4"); /* swapped */
    poke("dst", "logical/4/k00004", "value 3");
    assert_int_equal(rh_memory_erase("dst", rh_bytes_text("logical/5/k00005")), RH_OK); /* dropped */
    poke("dst", "logical/6/k00006", "val");                                             /* truncated */
    assert_int_equal(rh_memory_poke("dst", rh_bytes_text("logical/0/k00007"), (struct rh_bytes){0}, true),
                     RH_OK);                    /* NULLed */
    poke("dst", "logical/1/k00008", "value 9"); /* duplicated */
    assert_int_equal(perform(VERIFY, &seen), RH_E_MISMATCH);
    assert_int_equal(seen.differs, 5);
    assert_int_equal(seen.missing, 1);
    holds("dst", "logical/6/k00006", "val"); /* verify alone changes nothing */
    seen = (struct seen){0};
    assert_int_equal(perform(REPAIR, &seen), RH_OK);
    assert_int_equal(seen.mended, 6);
    holds("dst", "logical/3/k00003", "value 3");
    holds("dst", "logical/5/k00005", "value 5");
    holds("dst", RH_KV_MARKER, "-");
    expect(VERIFY, RH_OK);
    expect(ROLLBACK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 0);
}

static void test_rolled_back_is_not_repaired(void **state)
{
    (void)state;
    expect(RUN, RH_OK);
    expect(ROLLBACK, RH_OK);
    expect(REPAIR, RH_E_REFUSED);
    assert_int_equal(rh_memory_count("dst"), 0);
}

static void test_another_destination_is_refused(void **state)
{
    (void)state;
    char command[512];
    expect(RUN, RH_OK);
    snprintf(command, sizeof command, "sed -i.bak s/dst/elsewhere/ %s", plan_path);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a test's own words
    expect(ROLLBACK, RH_E_REFUSED);
    expect(VERIFY, RH_E_REFUSED);
    expect(RECOVER, RH_E_REFUSED);
    expect(RERUN, RH_E_REFUSED);
    assert_int_equal(rh_memory_count("elsewhere"), 0);
    snprintf(command, sizeof command, "mv %s.bak %s", plan_path, plan_path);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    expect(ROLLBACK, RH_OK);
    assert_int_equal(rh_memory_count("dst"), 0);
}

static void test_new_extra_key_is_told(void **state)
{
    (void)state;
    expect(RUN, RH_OK);
    poke("dst", "new", "x");
    expect(VERIFY, RH_E_MISMATCH);
    assert_non_null(strstr(last.text, "extra keys changed"));
}

static void test_rollback_leaves_what_others_wrote(void **state)
{
    (void)state;
    struct seen seen = {0};
    expect(RUN, RH_OK);
    poke("dst", "logical/3/k00003", "written by a server");
    poke("dst", "sys/new", "new");
    assert_int_equal(perform(ROLLBACK, &seen), RH_E_CONFLICT);
    assert_int_equal(seen.not_ours, 1);
    assert_int_equal(rh_memory_count("dst"), 2);
    holds("dst", "logical/3/k00003", "written by a server");
    holds("dst", "sys/new", "new");
}

static void test_foreign_marker_locks(void **state)
{
    (void)state;
    poke("src", RH_KV_MARKER, "{\"start\":\"2018-09-20T14:23:23.656-07:00\"}\n");
    expect(RUN, RH_E_LOCKED);
    assert_int_equal(rh_memory_count("dst"), 0);
    expect(CHECK, RH_E_LOCKED);
    assert_int_equal(rh_memory_erase("src", rh_bytes_text(RH_KV_MARKER)), RH_OK);
    poke("dst", RH_KV_MARKER, "{}");
    expect(RUN, RH_E_LOCKED);
    holds("dst", RH_KV_MARKER, "{}");
    expect(RECOVER, RH_OK); /* nothing of ours is there; another's marker is never cleared */
    holds("dst", RH_KV_MARKER, "{}");
}

static void test_same_store_is_refused(void **state)
{
    (void)state;
    FILE *file = fopen(plan_path, "w");
    assert_non_null(file);
    fprintf(file,
            "move \"m\" { source \"memory\" { name = \"src\" }\n destination \"memory\" { name = \"src\" } }\nplan "
            "\"same\" { state_dir = \"%s/state\" }\n",
            state_dir);
    fclose(file);
    struct seen seen = {0};
    assert_int_equal(perform(CHECK, &seen), RH_E_REFUSED);
    assert_string_equal(seen.first_problem, "same-store");
    expect(RUN, RH_E_REFUSED);
    assert_int_equal(rh_memory_count("src"), RECORDS);
}

static void test_empty_source(void **state)
{
    (void)state;
    rh_memory_drop("src");
    poke("dst", "a", "1");
    expect(RUN, RH_OK);
    holds("dst", "a", "1");
    expect(ROLLBACK, RH_OK);
    holds("dst", "a", "1");
}

static void test_lock_record_stays_behind(void **state)
{
    (void)state;
    poke("src", RH_KV_LOCK, "leader");
    expect(RUN, RH_OK);
    holds("dst", RH_KV_LOCK, "-");
    assert_int_equal(rh_memory_count("dst"), RECORDS);
}

static void test_report(void **state)
{
    (void)state;
    struct rh_plan *plan = NULL;
    rh_auto_buf struct rh_buf json = RH_BUF_INIT;
    assert_int_equal(rh_plan_load(plan_path, RH_PLAN_KINDS_ALL, &plan, &last), RH_OK);
    assert_int_equal(rh_engine_report(plan, &json, &last), RH_NOT_FOUND);
    expect(RUN, RH_OK);
    assert_int_equal(rh_engine_report(plan, &json, &last), RH_OK);
    const char *text = rh_buf_cstr(&json);
    assert_non_null(strstr(text, "\"state\": \"complete\""));
    assert_non_null(strstr(text, "\"source_stood_still\": true"));
    assert_non_null(strstr(text, "\"equal\": true"));
    assert_non_null(strstr(text, "\"records\": 5000"));
    assert_null(strstr(text, "value 3"));
    rh_plan_free(plan);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(state_dir) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    return nftw(state_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_run_and_roll_back, fresh),
        cmocka_unit_test_setup(test_conflict_is_refused_before_anything, fresh),
        cmocka_unit_test_setup(test_keep_equal, fresh),
        cmocka_unit_test_setup(test_keep_equal_many, fresh),
        cmocka_unit_test_setup(test_overwrite_and_back, fresh),
        cmocka_unit_test_setup(test_verify_names_and_repair_mends, fresh),
        cmocka_unit_test_setup(test_rolled_back_is_not_repaired, fresh),
        cmocka_unit_test_setup(test_another_destination_is_refused, fresh),
        cmocka_unit_test_setup(test_new_extra_key_is_told, fresh),
        cmocka_unit_test_setup(test_rollback_leaves_what_others_wrote, fresh),
        cmocka_unit_test_setup(test_foreign_marker_locks, fresh),
        cmocka_unit_test_setup(test_same_store_is_refused, fresh),
        cmocka_unit_test_setup(test_empty_source, fresh),
        cmocka_unit_test_setup(test_lock_record_stays_behind, fresh),
        cmocka_unit_test_setup(test_report, fresh),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
