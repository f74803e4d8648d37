/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of keyring records: one way to write each, taken apart again, shown without doing harm. */
#include "cm.h"

#include <rehome/keyring.h>
#include <stdlib.h>

static struct rh_error err;

/* owner + id there and back. */
static void there_and_back(struct rh_bytes owner, struct rh_bytes id)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    struct rh_bytes back_owner, back_id;
    assert_ok(rh_keyring_key_add(&key, owner, id, &err), &err);
    assert_int_equal(key.size, 2 + owner.size + id.size);
    assert_int_equal(rh_keyring_key_split(rh_buf_bytes(&key), &back_owner, &back_id), RH_OK);
    assert_true(rh_bytes_equal(owner, back_owner));
    assert_true(rh_bytes_equal(id, back_id));
}

static void test_there_and_back(void **state)
{
    (void)state;
    there_and_back(rh_bytes_text(""), rh_bytes_text("INNODBKey-1"));
    there_and_back(rh_bytes_text("app@localhost"), rh_bytes_text("k"));
    there_and_back(rh_bytes_text("app@localhost"), rh_bytes_text(""));
    there_and_back(rh_bytes("a\0b", 3), rh_bytes("\xff\0", 2));
    uint8_t *large = calloc(1, RH_KEYRING_PART_MOST);
    assert_non_null(large);
    there_and_back(rh_bytes(large, RH_KEYRING_PART_MOST), rh_bytes(large, RH_KEYRING_PART_MOST));
    free(large);
}

static void test_bytes_are_as_agreed(void **state)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    (void)state;
    assert_ok(rh_keyring_key_add(&key, rh_bytes_text("o@h"), rh_bytes_text("id"), &err), &err);
    assert_true(rh_bytes_equal(rh_buf_bytes(&key), rh_bytes("\0\3o@hid", 7)));
    /* the same letters, cut elsewhere, are another key */
    rh_auto_buf struct rh_buf other = RH_BUF_INIT;
    assert_ok(rh_keyring_key_add(&other, rh_bytes_text("o@"), rh_bytes_text("hid"), &err), &err);
    assert_false(rh_bytes_equal(rh_buf_bytes(&key), rh_buf_bytes(&other)));
}

static void test_too_long(void **state)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    uint8_t *large = calloc(1, RH_KEYRING_PART_MOST + 1);
    (void)state;
    assert_non_null(large);
    const struct rh_bytes much = rh_bytes(large, RH_KEYRING_PART_MOST + 1), none = rh_bytes_text("");
    assert_int_equal(rh_keyring_key_add(&key, much, none, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "owner"));
    assert_int_equal(rh_keyring_key_add(&key, none, much, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "id"));
    assert_int_equal(key.size, 0);
    free(large);
}

static void test_not_a_key(void **state)
{
    struct rh_bytes owner, id;
    (void)state;
    assert_int_equal(rh_keyring_key_split(rh_bytes("", 0), &owner, &id), RH_E_CORRUPT);
    assert_int_equal(rh_keyring_key_split(rh_bytes("\0", 1), &owner, &id), RH_E_CORRUPT);
    assert_int_equal(rh_keyring_key_split(rh_bytes("\0\3ab", 4), &owner, &id), RH_E_CORRUPT);
}

static void test_shown(void **state)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    (void)state;
    assert_ok(rh_keyring_key_add(&key, rh_bytes_text(""), rh_bytes_text("INNODBKey-1"), &err), &err);
    assert_string_equal(RH_SHOW_KEY(rh_buf_bytes(&key)), "'INNODBKey-1'");
    rh_buf_clear(&key);
    assert_ok(rh_keyring_key_add(&key, rh_bytes_text("a@h"), rh_bytes("x\n\xff", 3), &err), &err);
    assert_string_equal(RH_SHOW_KEY(rh_buf_bytes(&key)), "'x\\x0a\\xff' of 'a@h'");
    assert_string_equal(RH_SHOW_KEY(rh_bytes("\0\x09", 2)), "'\\x00\\x09'");
}

/* --- what ids say --- */

#define UUID "6e28e07a-5b2e-4067-8642-a79c001903d9"

static void test_what_ids_say(void **state)
{
    (void)state;
    static const struct {
        const char *id, *server;
        enum rh_keyring_use use;
        uint64_t number;
    } cases[] = {
        {"INNODBKey-" UUID "-1",                     UUID,       RH_KEYRING_USE_INNODB,       1         },
        {"INNODBKey-" UUID "-4294967295",            UUID,       RH_KEYRING_USE_INNODB,       4294967295},
        {"INNODBKey-17-3",                           "17",       RH_KEYRING_USE_INNODB,       3         },
        {"MySQLReplicationKey_" UUID "_12",          UUID,       RH_KEYRING_USE_BINLOG,       12        },
        {"MySQLReplicationKey_" UUID,                UUID,       RH_KEYRING_USE_BINLOG_STATE, 0         },
        {"MySQLReplicationKey_" UUID "_new",         UUID,       RH_KEYRING_USE_BINLOG_STATE, 0         },
        {"MySQLReplicationKey_" UUID "_old",         UUID,       RH_KEYRING_USE_BINLOG_STATE, 0         },
        {"MySQLReplicationKey_" UUID "_last_purged", UUID,       RH_KEYRING_USE_BINLOG_STATE, 0         },
        {"percona_binlog:0",                         "binlog",   RH_KEYRING_USE_PERCONA,      0         },
        {"percona_innodb-5:7",                       "innodb-5", RH_KEYRING_USE_PERCONA,      7         },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rh_keyring_meaning meaning = rh_keyring_meaning(rh_bytes_text(""), rh_bytes_text(cases[i].id));
        assert_int_equal(meaning.use, cases[i].use);
        assert_int_equal(meaning.number, cases[i].number);
        assert_true(rh_bytes_equal(meaning.server, rh_bytes_text(cases[i].server)));
        /* an account may call its key what it likes */
        meaning = rh_keyring_meaning(rh_bytes_text("app@%"), rh_bytes_text(cases[i].id));
        assert_int_equal(meaning.use, RH_KEYRING_USE_OTHER);
        assert_int_equal(meaning.number, 0);
        assert_int_equal(meaning.server.size, 0);
    }
}

static void test_ids_that_say_nothing(void **state)
{
    (void)state;
    static const char *const ids[] = {
        "",
        "INNODBKey-",
        "INNODBKey-" UUID,
        "INNODBKey-" UUID "-",
        "INNODBKey-" UUID "-0",
        "INNODBKey-" UUID "-01",
        "INNODBKey-" UUID "--1",
        "INNODBKey-" UUID "-1 ",
        "INNODBKey-" UUID "-18446744073709551616",
        "INNODBKey--1",
        "INNODBKey-x-1",
        "INNODBKey-6e28e07a+5b2e-4067-8642-a79c001903d9-1",
        "innodbkey-" UUID "-1",
        "MySQLReplicationKey_",
        "MySQLReplicationKey_" UUID "_",
        "MySQLReplicationKey_" UUID "_0",
        "MySQLReplicationKey_" UUID "_01",
        "MySQLReplicationKey_" UUID "x_1",
        "MySQLReplicationKey_" UUID "_newer",
        "MySQLReplicationKey_6e28e07a",
        "percona_binlog",
        "percona_:1",
        "percona_binlog:",
        "my key",
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(rh_keyring_meaning(rh_bytes_text(""), rh_bytes_text(ids[i])).use, RH_KEYRING_USE_OTHER);
}

static void test_order_for_people(void **state)
{
    (void)state;
    static const char *const sorted[] = {
        "",
        "01",
        "1",
        "2",
        "10",
        "-1",
        "10a",
        "9a",
        "a",
        "a-1",
        "a-2",
        "a-10",
        "a-11",
        "a-10-1",
        "a-10-9",
        "ab",
        "b07",
        "b8",
        "b0009",
        "b10",
        "b9999999999999999999998",
        "b9999999999999999999999",
        "k-35a-2",
        "k-35a-10",
        "k-3a-1",
    };
    const size_t count = sizeof sorted / sizeof *sorted;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            const int order = rh_keyring_id_order(rh_bytes_text(sorted[i]), rh_bytes_text(sorted[k]));
            if ((order > 0) != (i > k) || (order < 0) != (i < k))
                fail_msg("'%s' and '%s' are in the wrong order", sorted[i], sorted[k]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bytes_are_as_agreed),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_not_a_key),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_what_ids_say),
        cmocka_unit_test(test_ids_that_say_nothing),
        cmocka_unit_test(test_order_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
