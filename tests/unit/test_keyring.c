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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_bytes_are_as_agreed),
        cmocka_unit_test(test_too_long),       cmocka_unit_test(test_not_a_key),
        cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
