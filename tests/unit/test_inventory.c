/* SPDX-License-Identifier: Apache-2.0 */
/* What a keystore holds and what uses it, on the keystore and the heads of files of a real server. */
#include <rehome/inventory.h>

#include "cm.h"

#define UUID "6e28e07a-5b2e-4067-8642-a79c001903d9"
#define DATA RH_TEST_DATA "/mysql-data/"

static struct rh_error err;
static struct rh_options *options;

/* The component's keystore with that path. */
static enum rh_status open_it(const char *path, struct rh_inventory **ret_inventory)
{
    const struct rh_driver *driver = rh_driver_find("component_keyring_file");
    rh_options_free(options);
    options = NULL;
    err = (struct rh_error){0};
    assert_ok(rh_options_new(driver->options, "test", &options, &err), &err);
    assert_ok(rh_options_set(options, "path", rh_bytes_text(path), "test", &err), &err);
    const struct rh_inventory_args args = {
        .driver = driver, .options = options, .side = RH_SIDE_DESTINATION, .name = "m"};
    return rh_inventory_open(&args, ret_inventory, &err);
}

static const struct rh_inventory_key *own(const struct rh_inventory *inventory, const char *id)
{
    return rh_inventory_find(inventory, rh_bytes_text(""), rh_bytes_text(id));
}

static void keys_in_order_with_what_they_are(void **state)
{
    (void)state;
    struct rh_inventory *inventory = NULL;
    size_t count, newest = 0;
    assert_ok(open_it(DATA "keys.json", &inventory), &err);
    const struct rh_inventory_key *keys = rh_inventory_keys(inventory, &count);
    assert_int_equal(count, 11);
    for (size_t i = 1; i < count; i++) {
        const int owners = rh_bytes_compare(keys[i - 1].owner, keys[i].owner);
        assert_true(owners < 0 || (owners == 0 && rh_keyring_id_order(keys[i - 1].id, keys[i].id) < 0));
    }
    for (size_t i = 0; i < count; i++) {
        newest += keys[i].newest;
        assert_ptr_equal(rh_inventory_find(inventory, keys[i].owner, keys[i].id), &keys[i]);
    }
    assert_int_equal(newest, 6); /* five servers' InnoDB keys, one's for its binary logs */
    assert_true(own(inventory, "INNODBKey-" UUID "-3")->newest);
    assert_false(own(inventory, "INNODBKey-" UUID "-2")->newest);
    assert_true(own(inventory, "MySQLReplicationKey_" UUID "_3")->newest);
    assert_false(own(inventory, "MySQLReplicationKey_" UUID)->newest);
    const struct rh_inventory_key *text =
        rh_inventory_find(inventory, rh_bytes_text("app1@localhost"), rh_bytes_text("text"));
    assert_non_null(text);
    assert_false(text->newest);
    assert_int_equal(text->bytes, 1);
    assert_true(rh_bytes_equal(text->type, rh_bytes_text("SECRET")));
    assert_null(own(inventory, "text"));
    assert_null(own(inventory, "INNODBKey-" UUID "-4"));
    assert_string_equal(rh_inventory_facts(inventory)->leftover, "");
    rh_inventory_close(inventory);
}

struct found {
    unsigned opens, missing, plain, without_key;
};
static enum rh_status
note(void *user, const struct rh_proof_item *item, const struct rh_inventory_key *key, struct rh_error *error)
{
    struct found *found = user;
    (void)error;
    found->opens += item->result == RH_PROOF_OPENS;
    found->missing += item->result == RH_PROOF_MISSING;
    found->plain += item->result == RH_PROOF_PLAIN;
    found->without_key += !key;
    assert_true(!key || rh_bytes_equal(key->id, rh_bytes_text(item->key_id)));
    return RH_OK;
}

static void files_count_for_their_keys(void **state)
{
    (void)state;
    struct rh_inventory *inventory = NULL;
    struct rh_proof_counts counts;
    struct found found = {0};
    assert_ok(open_it(DATA "keys.json", &inventory), &err);
    assert_ok(rh_inventory_prove(inventory, DATA "data", note, &found, &counts, &err), &err);
    assert_int_equal(found.opens, 9);
    assert_int_equal(found.plain, 2);
    assert_int_equal(found.without_key, 2);
    const struct rh_inventory_key *innodb = own(inventory, "INNODBKey-" UUID "-3");
    assert_int_equal(innodb->files[RH_INVENTORY_TABLESPACE], 5);
    assert_int_equal(innodb->files[RH_INVENTORY_UNDO], 2);
    assert_int_equal(innodb->files[RH_INVENTORY_REDO], 1);
    assert_int_equal(innodb->files[RH_INVENTORY_BINLOG], 0);
    assert_int_equal(rh_inventory_files(innodb), 8);
    assert_int_equal(own(inventory, "MySQLReplicationKey_" UUID "_3")->files[RH_INVENTORY_BINLOG], 1);
    assert_int_equal(rh_inventory_files(own(inventory, "INNODBKey-" UUID "-2")), 0);
    /* a second folder adds to it, and nobody has to listen */
    assert_ok(rh_inventory_prove(inventory, DATA "data", NULL, NULL, &counts, &err), &err);
    assert_int_equal(rh_inventory_files(innodb), 16);
    rh_inventory_close(inventory);
    /* a keystore of another server */
    found = (struct found){0};
    assert_ok(open_it(RH_TEST_DATA "/keyring/4-udf.json", &inventory), &err);
    assert_ok(rh_inventory_prove(inventory, DATA "data", note, &found, &counts, &err), &err);
    assert_int_equal(found.missing, 9);
    assert_int_equal(found.without_key, 11);
    rh_inventory_close(inventory);
}

static void what_is_no_keystore_fails_on_its_side(void **state)
{
    (void)state;
    struct rh_inventory *inventory = NULL;
    assert_int_equal(open_it("/nowhere/at/all", &inventory), RH_E_IO);
    assert_int_equal(err.side, RH_SIDE_DESTINATION);
    assert_int_equal(open_it(RH_TEST_DATA "/none", &inventory), RH_E_IO);
    assert_non_null(strstr(err.text, "there is no keystore"));
    assert_int_equal(open_it(DATA "README.md", &inventory), RH_E_CORRUPT);
    assert_int_equal(err.side, RH_SIDE_DESTINATION);
    assert_null(inventory);
    rh_inventory_close(NULL);
}

static void an_empty_keystore(void **state)
{
    (void)state;
    struct rh_inventory *inventory = NULL;
    struct rh_proof_counts counts;
    size_t count = 1;
    assert_ok(open_it(RH_TEST_DATA "/keyring/0-empty.json", &inventory), &err);
    rh_inventory_keys(inventory, &count);
    assert_int_equal(count, 0);
    assert_null(own(inventory, "x"));
    assert_ok(rh_inventory_prove(inventory, DATA "data", NULL, NULL, &counts, &err), &err);
    assert_int_equal(counts.failed, 9);
    rh_inventory_close(inventory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_in_order_with_what_they_are),
        cmocka_unit_test(files_count_for_their_keys),
        cmocka_unit_test(what_is_no_keystore_fails_on_its_side),
        cmocka_unit_test(an_empty_keystore),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rh_options_free(options);
    return failed;
}
