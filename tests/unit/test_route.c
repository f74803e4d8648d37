/* SPDX-License-Identifier: Apache-2.0 */
/* The route keyring_reload's own parts: states as text, the hold, the configuration's turns. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/rehome-test-route.XXXXXX");
    return !mkdtemp(folder) || chdir(folder);
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") || system(command) != 0; /* NOLINT(cert-env33-c): our own folder */
}

static void test_state(void **state)
{
    (void)state;
    struct kr_state one = {.uuid = "0c9571ba-6436-4fd8-9627-4e60b10bf9f1", .thread = 4711}, two = {0};
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    one.configuration = strdup("/etc/with blank=and \"quotes\"\n.cnf");
    one.from = strdup("/\xff\x01/old");
    one.to = strdup("/new");
    assert_int_equal(kr_state_write(&one, &text, NULL), RH_OK);
    assert_null(strchr(rh_buf_cstr(&text), '\n'));
    assert_int_equal(kr_state_read(rh_buf_cstr(&text), &two, NULL), RH_OK);
    assert_string_equal(two.uuid, one.uuid);
    assert_int_equal(two.thread, 4711);
    assert_string_equal(two.configuration, one.configuration);
    assert_string_equal(two.from, one.from);
    assert_string_equal(two.to, one.to);
    kr_state_done(&one);
    kr_state_done(&two);
}

static void test_state_too_long(void **state)
{
    (void)state;
    rh_auto_free char *path = malloc(5000);
    assert_non_null(path);
    memset(path, 'a', 4999);
    path[4999] = '\0';
    struct kr_state one = {.uuid = "u", .configuration = path, .from = path, .to = path};
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    struct rh_error err = {0};
    assert_int_equal(kr_state_write(&one, &text, &err), RH_E_LIMIT);
    assert_string_not_equal(err.text, "");
}

static void test_bad_states(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "server=u",
        "server=u thread=1 configuration=2f from=2f",
        "server=u thread=x configuration=2f from=2f to=2f",
        "server= thread=1 configuration=2f from=2f to=2f",
        "server=u thread=1 configuration=2 from=2f to=2f",
        "server=u thread=1 configuration=2g from=2f to=2f",
        "server=u thread=1 configuration=00 from=2f to=2f",
        "server=u thread=1 configuration= from=2f to=2f",
        "server=0123456789012345678901234567890123456789012345678901234567890123456789 thread=1 configuration=2f "
        "from=2f "
        "to=2f",
        "notserver=u thread=1 configuration=2f from=2f to=2f",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kr_state found = {0};
        struct rh_error err = {0};
        assert_int_equal(kr_state_read(texts[i], &found, &err), RH_E_INTERNAL);
        assert_null(found.from);
        assert_string_not_equal(err.text, "");
    }
}

static void write_text(const char *name, const char *text)
{
    assert_int_equal(rh_file_replace(AT_FDCWD, name, rh_bytes_text(text), 0640, NULL), RH_OK);
}

static void assert_target(const char *path, const char *target)
{
    rh_auto_free char *found = NULL;
    struct rh_error err = {0};
    if (kr_config_target(path, &found, &err) != RH_OK)
        fail_msg("%s", err.text);
    assert_string_equal(found, target);
}

static void test_hold(void **state)
{
    (void)state;
    char keystore[128], backup[160];
    struct stat st;
    snprintf(keystore, sizeof keystore, "%s/keys", folder);
    snprintf(backup, sizeof backup, "%s.backup", keystore);
    write_text("keys", "{}");
    assert_int_equal(kr_hold_check(keystore, NULL), RH_OK);
    for (int i = 0; i < 2; i++) /* again is fine */
        assert_int_equal(kr_hold_set(keystore, NULL), RH_OK);
    assert_int_equal(lstat(backup, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    /* what a server does first fails, and what it reads isn't there */
    assert_int_equal(open(backup, O_WRONLY | O_CREAT | O_TRUNC, 0600), -1);
    assert_int_equal(open(backup, O_RDONLY), -1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kr_hold_drop(keystore, NULL), RH_OK);
    assert_int_equal(lstat(backup, &st), -1);
    /* a server's own is left alone */
    struct rh_error err = {0};
    write_text("keys.backup", "{}");
    assert_int_equal(kr_hold_set(keystore, &err), RH_E_REFUSED);
    assert_string_not_equal(err.hint, "");
    assert_int_equal(kr_hold_drop(keystore, NULL), RH_OK);
    assert_int_equal(lstat(backup, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(backup), 0);
    assert_int_equal(symlink("/somewhere", backup), 0);
    assert_int_equal(kr_hold_set(keystore, NULL), RH_E_REFUSED);
    assert_int_equal(kr_hold_drop(keystore, NULL), RH_OK);
    assert_int_equal(lstat(backup, &st), 0);
}

static void test_configuration(void **state)
{
    (void)state;
    static const char was[] = "{ \"other\" : 1,\n  \"path\": \"/old\", \"read_only\": true }\n";
    char path[128], kept[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/c.cnf", folder);
    snprintf(kept, sizeof kept, "%s.rehome-old", path);
    write_text("c.cnf", was);
    assert_int_equal(chmod(path, 0604), 0);
    assert_int_equal(kr_config_make(path, "/new \"one\"", NULL), RH_OK);
    assert_target(path, "/old");
    assert_int_equal(kr_config_turn(path, NULL), RH_OK);
    assert_target(path, "/new \"one\"");
    assert_target(kept, "/old");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0604);
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    assert_int_equal(rh_file_read(AT_FDCWD, path, 4096, &text, NULL), RH_OK);
    assert_non_null(strstr(rh_buf_cstr(&text), "\"read_only\": true"));
    assert_non_null(strstr(rh_buf_cstr(&text), "\"other\": 1"));
    /* back: to the byte */
    for (int i = 0; i < 2; i++)
        assert_int_equal(kr_config_set(path, "/old", NULL), RH_OK);
    assert_int_equal(rh_file_read(AT_FDCWD, path, 4096, &text, NULL), RH_OK);
    assert_string_equal(rh_buf_cstr(&text), was);
    assert_int_equal(kr_config_clean(path, NULL), RH_OK);
    assert_int_equal(stat(kept, &st), -1);
    /* without the one that was kept it is written anew */
    assert_int_equal(kr_config_set(path, "/third", NULL), RH_OK);
    assert_target(path, "/third");
}

static void test_bad_configurations(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"path\": 1}",
                                        "{\"path\": \"relative\"}",
                                        "{\"path\": \"/a\\u0000b\", \"read_only\": false}",
                                        "{\"read_local_config\": true}"};
    char path[128];
    snprintf(path, sizeof path, "%s/c.cnf", folder);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        rh_auto_free char *found = NULL;
        struct rh_error err = {0};
        write_text("c.cnf", texts[i]);
        assert_int_equal(kr_config_target(path, &found, &err), RH_E_REFUSED);
        assert_non_null(strstr(err.text, path));
        assert_null(found);
    }
    assert_int_equal(unlink(path), 0);
    struct rh_error err = {0};
    char *found = NULL;
    assert_int_equal(kr_config_target(path, &found, &err), RH_E_REFUSED);
    assert_string_not_equal(err.hint, "");
    write_text("c.cnf", "{\"path\": \"/old\", \"read_only\": false}");
    assert_int_equal(kr_config_make(path, "/not \xff utf-8", &err), RH_E_LIMIT);
    assert_target(path, "/old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_state_too_long),
        cmocka_unit_test(test_bad_states),
        cmocka_unit_test_setup_teardown(test_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_configuration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_configurations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
