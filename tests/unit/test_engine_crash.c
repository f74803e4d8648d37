/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move between two file stores, killed at every crash point there is, then run again, rolled back, recovered. What
 * holds afterwards is read from the two trees by this file's own walk, not by the drivers. Every verb is a process of
 * its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <rehome/engine.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS = 270, PATH_ROOM = 256 }; /* more records than the first range takes, so that there are two */

/* In memory where there is such a place: a kill, unlike a power loss, doesn't ask what was synced. */
static char root[64] = "/dev/shm/rehome-crash-XXXXXX";

enum verb { RUN, VERIFY, REPAIR, ROLLBACK, RECOVER, FINISH, RERUN };
static const char *const verb_names[] = {"run", "verify", "repair", "rollback", "recover", "finish", "rerun"};

/* What a child says; also what it exits with. KILLED is not among a program's exit codes. */
enum { KILLED = 200, NO_PLAN = 201 };

static char last_words[4096];

/* --- trees --- */

static void path_of(char out[PATH_ROOM], const char *name)
{
    assert_true(snprintf(out, PATH_ROOM, "%s/%s", root, name) < PATH_ROOM);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *name)
{
    char path[PATH_ROOM];
    path_of(path, name);
    assert_true(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT);
}

/* All folders above a file. */
static void make_parents(char *path)
{
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *at = '/';
    }
}

/* A record as Vault's file storage writes it: the last part of the key with '_' before it, the value in base64. The
 * value is given in base64 already. */
static void put(const char *tree, const char *key, const char *base64)
{
    char path[PATH_ROOM];
    const char *slash = strrchr(key, '/');
    const size_t size = slash ? (size_t)(slash - key) + 1 : 0;
    assert_true(snprintf(path, sizeof path, "%s/%s/%.*s_%s", root, tree, (int)size, key, key + size) < PATH_ROOM);
    make_parents(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "{\"Value\":\"%s\"}\n", base64) > 0);
    assert_int_equal(fclose(file), 0);
}

/* A tree's files as one text, in order: name, content. "absent" when there is no such folder. */
static struct {
    char **lines;
    size_t count, capacity, skip;
} listing;

static int list_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)ftw;
    char content[512] = "", line[1024];
    if (kind == FTW_F) {
        FILE *file = fopen(path, "r");
        if (!file || fread(content, 1, sizeof content - 1, file) != (size_t)info->st_size)
            return -1;
        fclose(file);
    } else if (strstr(path, ".rehome-tmp") == NULL)
        return 0;
    snprintf(line, sizeof line, "%s = %s", path + listing.skip, content);
    if (listing.count == listing.capacity) {
        listing.capacity = listing.capacity ? listing.capacity * 2 : 256;
        listing.lines = realloc(listing.lines, listing.capacity * sizeof *listing.lines);
        if (!listing.lines)
            return -1;
    }
    listing.lines[listing.count++] = strdup(line);
    return 0;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *picture(const char *tree)
{
    char path[PATH_ROOM];
    struct stat info;
    path_of(path, tree);
    if (stat(path, &info) != 0)
        return strdup("absent");
    listing.count = 0;
    listing.skip = strlen(path);
    assert_int_equal(nftw(path, list_entry, 16, FTW_PHYS), 0);
    qsort(listing.lines, listing.count, sizeof *listing.lines, compare_lines);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    for (size_t i = 0; i < listing.count; i++) {
        fputs(listing.lines[i], out);
        free(listing.lines[i]);
    }
    fclose(out);
    return text;
}

/* --- one move and its trials --- */

struct scene {
    const char *name, *on_conflict;
    bool two;                  /* two moves: src/a and src/b */
    bool source_unmarked;      /* marker = "none" */
    void (*destination)(void); /* makes what the destination holds before; NULL: it doesn't exist */
    char *source, *before, *after;
};
static const struct scene *scene;

static void write_move(FILE *file, const struct scene *which, const char *name, const char *folder)
{
    fprintf(file,
            "move \"%s\" { on_conflict = \"%s\"\n parallel = 1\n %s source \"file\" { path = \"%s/src%s\" }\n"
            " destination \"file\" { path = \"%s/new/dst%s\" } }\n",
            name, which->on_conflict, which->source_unmarked ? "marker = \"none\"\n" : "", root, folder, root, folder);
}

static void write_plan(const struct scene *which)
{
    char path[PATH_ROOM];
    path_of(path, "plan.hcl");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "plan \"crash\" { state_dir = \"%s/state\" }\n", root);
    write_move(file, which, "m", which->two ? "/a" : "");
    if (which->two)
        write_move(file, which, "n", "/b");
    assert_int_equal(fclose(file), 0);
}

/* The child's whole life. */
static int perform(enum verb verb, const char *crash_at, int words)
{
    char path[PATH_ROOM];
    struct rh_error err = {0};
    struct rh_plan *plan = NULL;
    struct rh_engine *engine = NULL;
    if (crash_at && setenv("RH_CRASH_AT", crash_at, 1) != 0)
        return NO_PLAN;
    path_of(path, "plan.hcl");
    if (rh_plan_load(path, RH_PLAN_KINDS_ALL, &plan, &err) != RH_OK) {
        dprintf(words, "%s", err.text);
        return NO_PLAN;
    }
    const struct rh_engine_args args = {.plan = plan, .retry_us = 0, .overwrite_initialised = verb == RERUN};
    enum rh_status status = rh_engine_open(&args, &engine, &err);
    if (status == RH_OK)
        switch (verb) {
        case RUN:
        case RERUN:
            status = rh_engine_run(engine, &err);
            break;
        case VERIFY:
        case REPAIR:
            status = rh_engine_verify(engine, verb == REPAIR, &err);
            break;
        case ROLLBACK:
            status = rh_engine_rollback(engine, &err);
            break;
        case RECOVER:
            status = rh_engine_recover(engine, &err);
            break;
        case FINISH:
            status = rh_engine_finish(engine, &err);
            break;
        }
    rh_engine_close(engine);
    rh_plan_free(plan);
    if (status != RH_OK)
        dprintf(words, "%s: %s", rh_status_name(status), err.text);
    return status == RH_OK ? 0 : (int)rh_engine_exit(&err);
}

/* Runs a verb in a process of its own, killed at the `at`th crash point of that name (0: not; "*": any). */
static int verb_at(enum verb verb, const char *point, unsigned at)
{
    char crash_at[64];
    int pipes[2], status = 0;
    snprintf(crash_at, sizeof crash_at, "%s:%u", point, at);
    assert_int_equal(pipe(pipes), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[0]);
        _exit(perform(verb, at ? crash_at : NULL, pipes[1]));
    }
    close(pipes[1]);
    const ssize_t size = read(pipes[0], last_words, sizeof last_words - 1);
    last_words[size > 0 ? size : 0] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_int_not_equal(at, 0);
        return KILLED;
    }
    return WEXITSTATUS(status);
}

static char story[256]; /* what was done so far in this trial */

static int tell_at(enum verb verb, const char *point, unsigned at)
{
    const size_t size = strlen(story);
    const int code = verb_at(verb, point, at);
    snprintf(story + size, sizeof story - size, " %s%s", verb_names[verb], code == KILLED ? "!" : "");
    if (at && code == KILLED)
        snprintf(story + strlen(story), sizeof story - strlen(story), "%u", at);
    return code;
}

static int tell(enum verb verb, unsigned at)
{
    return tell_at(verb, "*", at);
}

static void gives(enum verb verb, int wanted)
{
    const int code = tell(verb, 0);
    if (code != wanted)
        fail_msg("%s:%s: exit code %d instead of %d: %s", scene->name, story, code, wanted, last_words);
}

static void must(enum verb verb)
{
    const int code = tell(verb, 0);
    /* a run that was killed before its journal stood has left nothing to go back from */
    const bool nothing = (verb == ROLLBACK || verb == RECOVER) && strstr(last_words, "nothing was run");
    if (code != 0 && !nothing)
        fail_msg("%s:%s: exit code %d: %s", scene->name, story, code, last_words);
}

static void same(const char *tree, const char *wanted)
{
    char *found = picture(tree);
    if (strcmp(found, wanted) != 0) {
        size_t at = 0;
        while (found[at] && found[at] == wanted[at])
            at++;
        at = at > 60 ? at - 60 : 0;
        print_error("%s:%s: '%s' differs:\nfound:  %.300s\nwanted: %.300s\n", scene->name, story, tree, found + at,
                    wanted + at);
        free(found);
        fail();
    }
    free(found);
}

/* A fresh destination and journal; the source is never written but for its marker. */
static void fresh(void)
{
    remove_tree("state");
    remove_tree("new");
    if (scene->destination)
        scene->destination();
    story[0] = '\0';
}

static void expect_moved(void)
{
    same("src", scene->source);
    same("new/dst", scene->after);
}

static void expect_before(void)
{
    same("src", scene->source);
    same("new/dst", scene->before);
}

enum ending { AGAIN, BACK, RECOVER_AGAIN, RECOVER_BACK, BACK_AGAIN, BACK_TWICE, ENDINGS };

/* What a user may do after a kill, and what must hold then. `again`: where the second process is killed, 0 = not. */
static void end_well(enum ending ending, unsigned again)
{
    switch (ending) {
    case AGAIN:
        if (again)
            tell(RUN, again);
        must(RUN);
        expect_moved();
        break;
    case BACK:
        if (again)
            tell(ROLLBACK, again);
        must(ROLLBACK);
        expect_before();
        break;
    case RECOVER_AGAIN:
        must(RECOVER);
        if (again)
            tell(RUN, again);
        must(RUN);
        expect_moved();
        break;
    case RECOVER_BACK:
        must(RECOVER);
        if (again)
            tell(ROLLBACK, again);
        must(ROLLBACK);
        expect_before();
        break;
    case BACK_AGAIN: /* an interrupted rollback, then run */
        tell(ROLLBACK, again ? again : 5);
        must(RUN);
        expect_moved();
        break;
    case BACK_TWICE: /* moved after all, then back */
        must(RUN);
        expect_moved();
        if (again)
            tell(ROLLBACK, again);
        must(ROLLBACK);
        expect_before();
        break;
    case ENDINGS:
        break;
    }
}

/* Kills `verb` at each crash point after `before` went through, with every ending once. A sample of them unless
 * REHOME_CRASH_ALL is set. */
static unsigned every_point(void (*before)(void), enum verb verb)
{
    unsigned trials = 0;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    const unsigned sample = 15; /* processes are slow to start there */
#else
    const unsigned sample = 4;
#endif
    const unsigned step = getenv("REHOME_CRASH_ALL") ? 1 : sample;
    for (unsigned at = 1;; at += step) {
        bool killed = false;
        for (enum ending ending = 0; ending < ENDINGS; ending++) {
            fresh();
            if (before)
                before();
            killed = tell(verb, at) == KILLED;
            if (!killed)
                break;
            end_well(ending, at % 2 ? 0 : (at * 7 + (unsigned)ending * 13) % 60 + 1);
            trials++;
        }
        if (!killed)
            return trials;
    }
}

/* --- the scenes --- */

static void destination_full(void)
{
    put("new/dst", "logical/0/k000", "b2xkIDA=");
    put("new/dst", "logical/1/k001", "djAwMQ=="); /* equal */
    put("new/dst", "logical/4/k200", "b2xkIDIwMA==");
    put("new/dst", "sys/extra", "ZXh0cmE=");
}

enum { INTO_NOTHING, TWO_MOVES, UNMARKED, OVER_DATA };
static struct scene scenes[] = {
    [INTO_NOTHING] = {.name = "into nothing",      .on_conflict = "fail"          },
    [TWO_MOVES] = { .name = "two moves",      .on_conflict = "fail",                     .two = true},
    [UNMARKED] = { .name = "unmarked source", .on_conflict = "overwrite",         .source_unmarked = true},
    [OVER_DATA] = { .name = "over another's data", .on_conflict = "overwrite", .destination = destination_full},
};

/* Twelve bits of a number as two base64 characters. */
static void value_of(unsigned number, char out[16])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    snprintf(out, 16, "dj%c%c", digits[number >> 6 & 63], digits[number & 63]);
}

static void fill(const char *tree)
{
    if (scene->two) {
        char below[64];
        for (unsigned i = 0; i < 2; i++) {
            snprintf(below, sizeof below, "%s/%c", tree, "ab"[i]);
            put(below, "core/keyring", "dg==");
            put(below, "one", "dkE=");
        }
        return;
    }
    char key[64], value[16];
    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "logical/%u/k%03u", i % 7, i);
        value_of(i, value);
        put(tree, key, i == 1 ? "djAwMQ==" : value);
    }
}

static int begin(void **state)
{
    (void)state;
    if (!mkdtemp(root)) {
        snprintf(root, sizeof root, "/tmp/rehome-crash-XXXXXX");
        if (!mkdtemp(root))
            return -1;
    }
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        scene = &scenes[i];
        remove_tree("src");
        fill("src");
        if (scenes[i].destination)
            scenes[i].destination();
        scenes[i].source = picture("src");
        scenes[i].before = picture("new/dst");
        fill("new/dst");
        scenes[i].after = picture("new/dst");
        remove_tree("new");
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        free(scenes[i].source);
        free(scenes[i].before);
        free(scenes[i].after);
    }
    free(listing.lines);
    return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void play(struct scene *which)
{
    scene = which;
    remove_tree("src");
    fill("src");
    write_plan(which);
    fresh();
}

static void run_first(void)
{
    must(RUN);
}

static void run_and_back_first(void)
{
    must(RUN);
    must(ROLLBACK);
}

static void test_run_into_nothing(void **state)
{
    (void)state;
    play(&scenes[INTO_NOTHING]);
    assert_true(every_point(NULL, RUN) > 10);
}

static void test_run_over_data(void **state)
{
    (void)state;
    play(&scenes[OVER_DATA]);
    assert_true(every_point(NULL, RUN) > 10);
}

static void test_rollback(void **state)
{
    (void)state;
    play(&scenes[OVER_DATA]);
    assert_true(every_point(run_first, ROLLBACK) > 10);
    play(&scenes[INTO_NOTHING]);
    assert_true(every_point(run_first, ROLLBACK) > 10);
}

static void test_second_pass(void **state)
{
    (void)state;
    play(&scenes[INTO_NOTHING]);
    assert_true(every_point(run_and_back_first, RUN) > 10);
}

static void test_two_moves(void **state)
{
    (void)state;
    play(&scenes[TWO_MOVES]);
    assert_true(every_point(NULL, RUN) > 10);
}

/* A key that comes to the source between the survey and the copy, or between the copy and the verification: the run
 * says so, and the next one copies what changed. */
static void test_source_changes(void **state)
{
    (void)state;
    static const char *const points[] = {"copy", "verify"};
    for (size_t i = 0; i < 2; i++) {
        play(&scenes[OVER_DATA]);
        assert_int_equal(tell_at(RUN, points[i], 1), KILLED);
        put("src", "logical/0/k000-new", "bmV3");
        gives(RUN, RH_EXIT_MISMATCH);
        gives(RUN, 0);
        fill("new/dst");
        put("new/dst", "logical/0/k000-new", "bmV3");
        char *wanted = picture("new/dst");
        gives(VERIFY, 0);
        same("new/dst", wanted);
        free(wanted);
        gives(ROLLBACK, 0);
        same("new/dst", scene->before);
    }
}

/* What an interrupted rollback has left alone is told by the one that completes it. */
static void test_left_is_not_forgotten(void **state)
{
    (void)state;
    play(&scenes[INTO_NOTHING]);
    must(RUN);
    put("new/dst", "logical/6/k265", "Zm9yZWlnbg=="); /* in the last range, the first to be undone */
    assert_int_equal(tell_at(ROLLBACK, "rollback", 2), KILLED);
    gives(ROLLBACK, RH_EXIT_DESTINATION);
    same("new/dst", "/logical/6/_k265 = {\"Value\":\"Zm9yZWlnbg==\"}\n");
}

/* A marker that a rollback couldn't reach doesn't lock the next run out. */
static void test_source_away_at_rollback(void **state)
{
    (void)state;
    char here[PATH_ROOM], away[PATH_ROOM];
    path_of(here, "src");
    path_of(away, "away");
    play(&scenes[INTO_NOTHING]);
    assert_int_equal(tell_at(RUN, "copy", 2), KILLED);
    assert_int_equal(rename(here, away), 0);
    gives(ROLLBACK, 0);
    same("new/dst", "absent");
    assert_int_equal(rename(away, here), 0);
    gives(RUN, 0);
    expect_moved();
}

/* marker = "none" is for sources that can't be written: nothing is tried there. */
static void test_unmarked_source_is_untouched(void **state)
{
    (void)state;
    char path[PATH_ROOM];
    struct stat before, after;
    path_of(path, "src");
    play(&scenes[UNMARKED]);
    assert_int_equal(stat(path, &before), 0);
    gives(RUN, 0);
    gives(RECOVER, 0);
    gives(ROLLBACK, 0);
    assert_int_equal(stat(path, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
}

/* After recover took the markers away nothing copied counts, wherever the run was killed: a run that then says that it
 * moved everything has moved everything. */
static void test_recovered_starts_over(void **state)
{
    (void)state;
    char path[PATH_ROOM];
    path_of(path, "new/dst/logical/0/_k000");
    play(&scenes[INTO_NOTHING]);
    for (unsigned at = 2;; at += 3) {
        fresh();
        if (tell(RUN, at) != KILLED)
            break;
        must(RECOVER);
        const bool damaged = unlink(path) == 0;
        if (tell(RUN, 0) == 0)
            same("new/dst", scene->after);
        else
            assert_true(damaged && strstr(last_words, "1 missing"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_into_nothing),
        cmocka_unit_test(test_run_over_data),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_second_pass),
        cmocka_unit_test(test_two_moves),
        cmocka_unit_test(test_source_changes),
        cmocka_unit_test(test_left_is_not_forgotten),
        cmocka_unit_test(test_source_away_at_rollback),
        cmocka_unit_test(test_unmarked_source_is_untouched),
        cmocka_unit_test(test_recovered_starts_over),
    };
#ifndef RH_TEST_HOOKS
    (void)tests;
    (void)begin;
    (void)end;
    fprintf(stderr, "skipped: built without -Dtest_hooks=true\n");
    return 77;
#else
    return cmocka_run_group_tests(tests, begin, end);
#endif
}
