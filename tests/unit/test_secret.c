/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: sources, refusals, no dump. */
#include <rehome/base.h>
#include <rehome/secret.h>

#include "cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rh_error err;
static int warnings;

static void count_warning(void *user, enum rh_log_level level, const char *message, const struct rh_log_field *fields)
{
    (void)user;
    (void)fields;
    assert_int_equal(level, RH_LOG_WARN);
    assert_non_null(strstr(message, "lock"));
    warnings++;
}

static void test_new_dup(void **state)
{
    (void)state;
    rh_auto_secret struct rh_secret *secret = NULL, *copy = NULL, *random = NULL, *empty = NULL;
    assert_ok(rh_secret_new(rh_bytes("a\0b", 3), &secret, &err), &err);
    copy = rh_secret_dup(secret);
    assert_non_null(copy);
    assert_true(rh_secret_bytes(copy).data != rh_secret_bytes(secret).data);
    assert_int_equal(rh_secret_bytes(copy).size, 3);
    assert_memory_equal(rh_secret_bytes(copy).data, "a\0b\0", 4); /* followed by a NUL */
    assert_null(rh_secret_dup(NULL));
    assert_ok(rh_secret_random(9000, &random, &err), &err); /* more than a page */
    assert_int_equal(rh_secret_bytes(random).size, 9000);
    assert_int_equal(rh_secret_bytes(random).data[9000], 0);
    assert_ok(rh_secret_new(rh_bytes(NULL, 0), &empty, &err), &err);
    assert_int_equal(rh_secret_bytes(empty).size, 0);
    uint8_t wiped[] = {1, 2, 3};
    rh_wipe(wiped, sizeof wiped);
    assert_memory_equal(wiped, "\0\0\0", 3);
}

/* Whether the mapping of an address is kept out of core dumps, by /proc/self/smaps. */
static bool undumpable(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512];
    bool inside = false, found = false;
    assert_non_null(maps);
    while (!found && fgets(line, sizeof line, maps)) {
        char *dash = strchr(line, '-'), *rest = NULL;
        unsigned long long from = strtoull(line, &rest, 16);
        if (dash && rest == dash) {
            unsigned long long to = strtoull(dash + 1, NULL, 16);
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, " dd") != NULL;
        }
    }
    (void)fclose(maps);
    return found;
}

static void test_undumpable(void **state)
{
    (void)state;
    rh_auto_secret struct rh_secret *secret = NULL;
    rh_auto_arena struct rh_arena arena = {.secret = true};
    assert_ok(rh_secret_new(rh_bytes_text("x"), &secret, &err), &err);
    assert_true(undumpable(rh_secret_bytes(secret).data));
    assert_true(undumpable(rh_arena_get(&arena, 10)));
    assert_false(undumpable(&warnings));
}

static void test_from_file(void **state)
{
    (void)state;
    char path[] = "/tmp/rehome-secret-XXXXXX";
    int fd = mkstemp(path);
    static char big[65536 + 2];
    memset(big, 'x', sizeof big);
    static const struct {
        const char *content;
        size_t size;
        enum rh_status status;
        size_t left;
    } cases[] = {
        {"word\n",  5,     RH_OK,        4    },
        {"word",    4,     RH_OK,        4    },
        {"two\n\n", 5,     RH_OK,        4    },
        {"",        0,     RH_E_REFUSED, 0    },
        {"\n",      1,     RH_E_REFUSED, 0    },
        {big,       65536, RH_OK,        65536},
        {big,       65537, RH_E_LIMIT,   0    },
        {big,       65538, RH_E_LIMIT,   0    },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rh_auto_secret struct rh_secret *secret = NULL;
        assert_ok(rh_file_replace(AT_FDCWD, path, rh_bytes(cases[i].content, cases[i].size), 0600, &err), &err);
        assert_int_equal(rh_secret_from_file(path, &secret, &err), cases[i].status);
        if (cases[i].status == RH_OK)
            assert_true(rh_bytes_equal(rh_secret_bytes(secret), rh_bytes(cases[i].content, cases[i].left)));
        else
            assert_null(secret);
    }
    static const mode_t open_modes[] = {0640, 0604, 0620, 0602};
    for (size_t i = 0; i < 4; i++) {
        struct rh_secret *secret = NULL;
        assert_int_equal(chmod(path, open_modes[i]), 0);
        assert_int_equal(rh_secret_from_file(path, &secret, &err), RH_E_REFUSED);
        assert_non_null(strstr(err.hint, "chmod 600"));
        assert_null(secret);
    }
    close(fd);
    unlink(path);
    struct rh_secret *none = NULL;
    assert_int_equal(rh_secret_from_file(path, &none, &err), RH_E_IO);
}

static void test_from_env(void **state)
{
    (void)state;
    struct rh_secret *secret = NULL;
    unsetenv("RH_TEST_WORD");
    assert_int_equal(rh_secret_from_env("RH_TEST_WORD", &secret, &err), RH_NOT_FOUND);
    setenv("RH_TEST_WORD", "open sesame", 1);
    assert_ok(rh_secret_from_env("RH_TEST_WORD", &secret, &err), &err);
    assert_true(rh_bytes_equal(rh_secret_bytes(secret), rh_bytes_text("open sesame")));
    rh_secret_free(secret);
}

/* Last: it changes the process. Twice over a memory lock limit of nothing gives one warning. */
static void test_start(void **state)
{
    (void)state;
    struct rlimit limit = {0, 0};
    rh_log_set(count_warning, NULL, RH_LOG_WARN);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    assert_ok(rh_secret_start(&err), &err);
    assert_ok(rh_secret_start(&err), &err);
    rh_auto_secret struct rh_secret *secret = NULL;
    assert_ok(rh_secret_new(rh_bytes_text("x"), &secret, &err), &err); /* still works */
    rh_log_set(NULL, NULL, RH_LOG_WARN);
    if (geteuid() != 0) /* root may lock whatever the limit says */
        assert_int_equal(warnings, 1);
    else
        assert_in_range(warnings, 0, 1);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_dup),  cmocka_unit_test(test_undumpable), cmocka_unit_test(test_from_file),
        cmocka_unit_test(test_from_env), cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
