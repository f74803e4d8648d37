/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a keyring driver that writes key by key, as cases on the store interface: keyring_vault on both
 * versions of KV, and mariadb_key_vault. Each case begins with an empty place. argv: the version, or "mariadb".
 */
#include <rehome/keyring.h>
#include <rehome/store.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the standard headers, as cmocka asks */
#include <cmocka.h>

static struct rh_error err;
static struct rh_ctx ctx = {.err = &err};
static const struct rh_driver *driver;
static const struct rh_dataset dataset = {.name = RH_KEYRING_DATASET};
static struct rh_digest_key digest;
static unsigned version, place_number;
static bool mariadb; /* keys have numbers, 16 bytes and no owner, and are never replaced; nothing is marked */

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        enum rh_status status_ = (call);                                                                               \
        if (status_)                                                                                                   \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, rh_status_name(status_), err.text);                          \
    } while (0)

/* --- stores --- */

/* "name=value;block.name=value" into options. */
static void set_options(struct rh_options *options, const char *text)
{
    struct rh_options *block = NULL;
    char copy[1024], *rest = copy;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *pair; (pair = strtok_r(rest, ";", &rest));) {
        char *value = strchr(pair, '='), *dot = strchr(pair, '.');
        assert_non_null(value);
        *value++ = '\0';
        if (dot && dot < value) {
            *dot = '\0';
            if (!block)
                OK(rh_options_open_block(options, pair, "", &block, &err));
        }
        OK(rh_options_set(dot && dot < value ? block : options, dot && dot < value ? dot + 1 : pair,
                          rh_bytes_text(value), "", &err));
    }
}

/* A mount of its own for each place, and a number for each id of the cases. */
static void set_mariadb(struct rh_options *options)
{
    static const char *const ids[] = {"one", "two", "a", "b", "B", "c", "ca", "d", "fine", "empty"};
    char text[128];
    snprintf(text, sizeof text, "%s/v1/place-%u", getenv("RH_TEST_VAULT_URL"), place_number);
    OK(rh_options_set(options, "vault_url", rh_bytes_text(text), "", &err));
    OK(rh_options_set(options, "encryption_algorithm", rh_bytes_text("aes_cbc"), "", &err));
    for (unsigned i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "%u=k%02u", i + 1, i);
        if (i >= 40)
            snprintf(text, sizeof text, "%u=%s", i + 1, ids[i - 40]);
        OK(rh_options_set(options, "map", rh_bytes_text(text), "", &err));
    }
}

/* A place that nobody has used; `again`: the last one. */
static struct rh_store *open_store(bool again)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    char point[64];
    place_number += !again;
    snprintf(point, sizeof point, "%s/place-%u", version == 2 ? "two" : "one", place_number);
    OK(rh_options_new(driver->options, "", &options, &err));
    set_options(options, getenv("RH_TEST_VAULT_OPTIONS"));
    if (mariadb)
        set_mariadb(options);
    else
        OK(rh_options_set(options, "vault_url", rh_bytes_text(getenv("RH_TEST_VAULT_URL")), "", &err));
    if (!mariadb)
        OK(rh_options_set(options, "secret_mount_point", rh_bytes_text(point), "", &err));
    OK(rh_options_end(options, &err));
    const struct rh_store_args args = {.options = options, .side = RH_SIDE_DESTINATION};
    OK(driver->open(&ctx, &args, &store));
    rh_options_free(options);
    return store;
}

struct place {
    struct rh_store *store;
    struct rh_session *session;
};
static struct place open_place(bool again)
{
    struct place place = {.store = open_store(again)};
    OK(driver->session_open(&ctx, place.store, RH_ROLE_WRITE, &place.session));
    return place;
}
static void close_place(struct place *place)
{
    driver->session_close(place->session);
    driver->close(place->store);
}

/* --- records --- */

/* A key of that id with some bytes. */
static void add(struct rh_batch *batch, const char *id, const char *data)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    OK(rh_keyring_key_add(&key, rh_bytes_text(mariadb ? "" : "me"), rh_bytes_text(id), &err));
    struct rh_record *record = rh_batch_add(batch);
    assert_non_null(record);
    record->key = rh_arena_copy(&batch->arena, rh_buf_bytes(&key));
    record->fields = rh_arena_get(&batch->arena, RH_KEYRING_FIELDS * sizeof *record->fields);
    record->field_count = RH_KEYRING_FIELDS;
    record->fields[RH_KEYRING_TYPE] =
        (struct rh_field){.tag = RH_TAG_TEXT, .value = rh_arena_copy(&batch->arena, rh_bytes_text("AES"))};
    record->fields[RH_KEYRING_DATA] =
        (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_arena_copy(&batch->arena, rh_bytes_text(data))};
    if (mariadb && *data) {
        char padded[17] = "";
        snprintf(padded, sizeof padded, "%s", data);
        record->fields[RH_KEYRING_DATA].value = rh_arena_copy(&batch->arena, rh_bytes(padded, 16));
    }
}
static struct rh_hash hash_of(const struct rh_record *record)
{
    return rh_digest_record(&digest, dataset.name, record);
}
/* The id of a record. */
static const char *id_of(const struct rh_record *record, char out[static 64])
{
    struct rh_bytes owner, id;
    assert_int_equal(rh_keyring_key_split(record->key, &owner, &id), RH_OK);
    snprintf(out, 64, "%.*s", (int)id.size, (const char *)id.data);
    return out;
}

static enum rh_status write_batch(struct place *place, struct rh_batch *batch, enum rh_put_mode mode, bool removing)
{
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    enum rh_status status = driver->write->begin(&ctx, place->session, &dataset, &digest);
    if (!status)
        status = removing ? driver->write->remove(&ctx, place->session, batch)
                          : driver->write->put(&ctx, place->session, batch, mode);
    if (status) {
        driver->write->abort(place->session);
        return status;
    }
    status = driver->write->commit(&ctx, place->session, &commit);
    assert_int_equal(commit, status ? commit : RH_COMMIT_DONE);
    return status;
}

/* One key in one mode; its outcome. */
static enum rh_outcome put_one(struct place *place, const char *id, const char *data, enum rh_put_mode mode)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    add(&batch, id, data);
    OK(write_batch(place, &batch, mode, false));
    return batch.records[0].outcome;
}

/* What a key holds: its bytes as text, "" for none. */
static const char *held(struct place *place, const char *id, char out[static 64])
{
    rh_auto_batch struct rh_batch wanted = RH_BATCH_INIT, found = RH_BATCH_INIT;
    add(&wanted, id, "");
    OK(driver->read->get(&ctx, place->session, &dataset, &wanted.records[0].key, 1, &found));
    const struct rh_bytes data = found.count ? found.records[0].fields[RH_KEYRING_DATA].value : (struct rh_bytes){0};
    assert_true(!found.count || found.arena.secret);
    snprintf(out, 64, "%.*s", (int)data.size, (const char *)data.data);
    return out;
}
#define HELD(place, id) held((place), (id), (char[64]){0})

/* The ids of a scan in its order, each with a blank behind. */
static void scan(struct place *place, struct rh_range range, struct rh_bytes after, unsigned flags, struct rh_buf *ids)
{
    struct rh_scan *scan = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status;
    rh_buf_clear(ids);
    OK(driver->read->scan_open(&ctx, place->session, &dataset, range, after, flags, &scan));
    while ((status = driver->read->scan_next(&ctx, scan, 1 << 20, 7, &batch)) == RH_OK) {
        assert_in_range(batch.count, 1, 7);
        for (size_t i = 0; i < batch.count; i++) {
            assert_int_equal(batch.records[i].field_count, flags & RH_SCAN_KEYS_ONLY ? 0 : RH_KEYRING_FIELDS);
            OK(rh_buf_format(ids, &err, "%s ", id_of(&batch.records[i], (char[64]){0})));
        }
        rh_batch_clear(&batch);
    }
    assert_int_equal(status, RH_END);
    assert_int_equal(batch.count, 0);
    driver->read->scan_close(scan);
}

/* --- cases --- */

static void test_create(void **state)
{
    (void)state;
    struct place place = open_place(false);
    assert_int_equal(put_one(&place, "one", "first", RH_PUT_CREATE), RH_OUTCOME_DONE);
    assert_int_equal(put_one(&place, "one", "other", RH_PUT_CREATE), RH_OUTCOME_EXISTS);
    assert_int_equal(put_one(&place, "one", "first", RH_PUT_CREATE), RH_OUTCOME_EXISTS);
    assert_string_equal(HELD(&place, "one"), "first");
    assert_string_equal(HELD(&place, "two"), "");
    if (mariadb) {
        rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
        add(&batch, "one", "other");
        assert_int_equal(write_batch(&place, &batch, RH_PUT_REPLACE, false), RH_E_LIMIT);
    } else
        assert_int_equal(put_one(&place, "one", "other", RH_PUT_REPLACE), RH_OUTCOME_DONE);
    assert_int_equal(put_one(&place, "two", "new", RH_PUT_REPLACE), RH_OUTCOME_DONE);
    assert_string_equal(HELD(&place, "one"), mariadb ? "first" : "other");
    assert_string_equal(HELD(&place, "two"), "new");
    close_place(&place);
}

static void test_many_with_some_there(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    char id[16];
    put_one(&place, "k07", "there", RH_PUT_CREATE);
    put_one(&place, "k31", "there", RH_PUT_CREATE);
    for (int i = 0; i < 40; i++) {
        snprintf(id, sizeof id, "k%02d", i);
        add(&batch, id, "mine");
    }
    OK(write_batch(&place, &batch, RH_PUT_CREATE, false));
    for (int i = 0; i < 40; i++)
        assert_int_equal(batch.records[i].outcome, i == 7 || i == 31 ? RH_OUTCOME_EXISTS : RH_OUTCOME_DONE);
    assert_string_equal(HELD(&place, "k07"), "there");
    assert_string_equal(HELD(&place, "k39"), "mine");
    close_place(&place);
}

static void test_if_hash(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch old = RH_BATCH_INIT, batch = RH_BATCH_INIT;
    add(&old, "a", "old");
    put_one(&place, "a", "old", RH_PUT_CREATE);
    static const char *const ids[] = {"a", "b", "c", "a"};
    for (size_t i = 0; i < 4; i++)
        add(&batch, ids[i], i == 0 && mariadb ? "old" : "new");
    batch.records[0].expect = hash_of(&old.records[0]); /* as it is */
    batch.records[1].expect = hash_of(&old.records[0]); /* isn't there */
    batch.records[2].expect_absent = true;              /* true */
    batch.records[3].expect_absent = true;              /* not true */
    batch.count = 3;
    OK(write_batch(&place, &batch, RH_PUT_IF_HASH, false));
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_DONE);
    struct rh_batch last = {.records = &batch.records[3], .count = 1};
    OK(write_batch(&place, &last, RH_PUT_IF_HASH, false));
    assert_int_equal(batch.records[3].outcome, RH_OUTCOME_CHANGED);
    assert_string_equal(HELD(&place, "a"), mariadb ? "old" : "new");
    assert_string_equal(HELD(&place, "b"), "");
    assert_string_equal(HELD(&place, "c"), "new");
    batch.count = 4;
    close_place(&place);
}

static void test_remove_and_again(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf ids = RH_BUF_INIT;
    put_one(&place, "a", "one", RH_PUT_CREATE);
    put_one(&place, "b", "two", RH_PUT_CREATE);
    add(&batch, "a", "one");
    add(&batch, "b", "one");
    add(&batch, "c", "one");
    for (size_t i = 0; i < 3; i++)
        batch.records[i].expect = hash_of(&batch.records[i]);
    OK(write_batch(&place, &batch, RH_PUT_CREATE, true));
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_CHANGED);
    scan(&place, (struct rh_range){0}, (struct rh_bytes){0}, 0, &ids);
    assert_string_equal(rh_buf_cstr(&ids), "b ");
    assert_int_equal(put_one(&place, "a", "three", RH_PUT_CREATE), RH_OUTCOME_DONE);
    assert_string_equal(HELD(&place, "a"), "three");
    close_place(&place);
}

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf ids = RH_BUF_INIT;
    add(&batch, "a", "x");
    OK(driver->write->begin(&ctx, place.session, &dataset, &digest));
    OK(driver->write->put(&ctx, place.session, &batch, RH_PUT_CREATE));
    driver->write->abort(place.session);
    scan(&place, (struct rh_range){0}, (struct rh_bytes){0}, 0, &ids);
    assert_int_equal(ids.size, 0);
    assert_int_equal(put_one(&place, "a", "y", RH_PUT_CREATE), RH_OUTCOME_DONE);
    close_place(&place);
}

static void test_order_and_ranges(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch keys = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf ids = RH_BUF_INIT;
    static const char *const made[] = {"d",  "B", "a",
                                       "ca", "c", "b"}; /* by their names in base64 they stand otherwise */
    for (size_t i = 0; i < 6; i++) {
        add(&keys, made[i], "x");
        put_one(&place, made[i], "x", RH_PUT_CREATE);
    }
    const struct rh_range all = {0};
    scan(&place, all, (struct rh_bytes){0}, 0, &ids);
    assert_string_equal(rh_buf_cstr(&ids), "B a b c ca d ");
    scan(&place, all, (struct rh_bytes){0}, RH_SCAN_KEYS_ONLY | RH_SCAN_SIZES, &ids);
    assert_string_equal(rh_buf_cstr(&ids), "B a b c ca d ");
    scan(&place, all, keys.records[4].key, 0, &ids); /* after c */
    assert_string_equal(rh_buf_cstr(&ids), "ca d ");
    const struct rh_range some = {.from = keys.records[2].key, .to = keys.records[3].key}; /* a <= key < ca */
    scan(&place, some, (struct rh_bytes){0}, 0, &ids);
    assert_string_equal(rh_buf_cstr(&ids), "a b c ");
    scan(&place, some, keys.records[5].key, 0, &ids); /* after b */
    assert_string_equal(rh_buf_cstr(&ids), "c ");
    close_place(&place);
}

static void test_get_keeps_its_order_and_stops(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch wanted = RH_BATCH_INIT, found = RH_BATCH_INIT;
    struct rh_bytes keys[30];
    char id[16];
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "k%02d", 29 - i);
        add(&wanted, id, "x");
        if (i % 3)
            put_one(&place, id, "0123456789", RH_PUT_CREATE);
    }
    for (size_t i = 0; i < 30; i++)
        keys[i] = wanted.records[i].key;
    OK(driver->read->get(&ctx, place.session, &dataset, keys, 30, &found));
    assert_int_equal(found.count, 20);
    for (size_t i = 0; i < 20; i++)
        assert_true(rh_bytes_equal(found.records[i].key, keys[i / 2 * 3 + 1 + i % 2]));
    rh_batch_clear(&found);
    found.enough_bytes = 50;
    OK(driver->read->get(&ctx, place.session, &dataset, keys, 30, &found));
    assert_in_range(found.count, 2, 4);
    close_place(&place);
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    struct place place = open_place(false);
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    OK(driver->write->trial(&ctx, place.session, &dataset, NULL));
    add(&batch, "fine", "x");
    add(&batch, "", "x");
    add(&batch, "empty", "");
    add(&batch, "rehome-migration", "x");
    OK(driver->write->trial(&ctx, place.session, &dataset, &batch.records[0]));
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(driver->write->trial(&ctx, place.session, &dataset, &batch.records[i]), RH_E_LIMIT);
        struct rh_batch one = {.records = &batch.records[i], .count = 1};
        assert_int_equal(write_batch(&place, &one, RH_PUT_CREATE, false), RH_E_LIMIT);
    }
    close_place(&place);
}

/* Two that create the same keys: on version 2 each key is one's or the other's. */
static void test_two_writers(void **state)
{
    (void)state;
    struct place one = open_place(false), other = open_place(true);
    rh_auto_batch struct rh_batch first = RH_BATCH_INIT, second = RH_BATCH_INIT;
    char id[16];
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "k%02d", i);
        if (i != 10)
            add(&first, id, "one");
        add(&second, id, "two");
    }
    OK(write_batch(&one, &first, RH_PUT_CREATE, false));
    OK(write_batch(&other, &second, RH_PUT_CREATE, false));
    for (int i = 0; i < 20; i++)
        assert_int_equal(second.records[i].outcome, i == 10 ? RH_OUTCOME_DONE : RH_OUTCOME_EXISTS);
    assert_string_equal(HELD(&one, "k10"), "two");
    assert_string_equal(HELD(&one, "k11"), "one");
    close_place(&other);
    close_place(&one);
}

static void test_marker(void **state)
{
    (void)state;
    if (driver->guard->unmarked)
        skip();
    struct place place = open_place(false);
    const struct rh_guard_ops *guard = driver->guard;
    const struct rh_bytes ours = rh_bytes_text("{\"start\":\"now\"}\n"), other = rh_bytes_text("{}");
    rh_auto_buf struct rh_buf text = RH_BUF_INIT, ids = RH_BUF_INIT;
    assert_int_equal(guard->marker_get(&ctx, place.session, &text), RH_NOT_FOUND);
    assert_int_equal(guard->marker_clear(&ctx, place.session, ours), RH_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        OK(guard->marker_set(&ctx, place.session, ours));
        assert_int_equal(guard->marker_set(&ctx, place.session, other), RH_EXISTS);
        OK(guard->marker_get(&ctx, place.session, &text));
        assert_true(rh_bytes_equal(rh_buf_bytes(&text), ours));
        scan(&place, (struct rh_range){0}, (struct rh_bytes){0}, 0, &ids);
        assert_int_equal(ids.size, 0); /* it is none of the keys */
        assert_int_equal(guard->marker_clear(&ctx, place.session, other), RH_CHANGED);
        OK(guard->marker_clear(&ctx, place.session, ours));
        assert_int_equal(guard->marker_get(&ctx, place.session, &text), RH_NOT_FOUND);
    }
    close_place(&place);
}

static void test_facts(void **state)
{
    (void)state;
    struct place place = open_place(false), same = open_place(true);
    struct rh_facts facts, again;
    OK(driver->facts(&ctx, place.session, &facts));
    OK(driver->facts(&ctx, same.session, &again));
    assert_string_equal(facts.identity, again.identity);
    assert_non_null(strstr(facts.tls, "peer verified"));
    assert_int_equal(facts.writable, RH_YES);
    close_place(&same);
    struct place another = open_place(false);
    OK(driver->facts(&ctx, another.session, &again));
    assert_string_not_equal(facts.identity, again.identity);
    assert_false(driver->overlaps && driver->overlaps(place.store, another.store));
    close_place(&another);
    close_place(&place);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct place place = open_place(false);
    struct rh_scan *scan = NULL;
    driver->cancel(place.session);
    assert_int_equal(
        driver->read->scan_open(&ctx, place.session, &dataset, (struct rh_range){0}, (struct rh_bytes){0}, 0, &scan),
        RH_E_CANCELLED);
    close_place(&place);
}

int main(int argc, char **argv)
{
    mariadb = argc > 1 && strcmp(argv[1], "mariadb") == 0;
    driver = rh_driver_find(mariadb ? "mariadb_key_vault" : "keyring_vault");
    version = argc > 1 ? (unsigned)(argv[1][0] - '0') : 2;
    digest.secret_records = true;
    OK(rh_digest_key_new(&digest, &err));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_many_with_some_there),
        cmocka_unit_test(test_if_hash),
        cmocka_unit_test(test_remove_and_again),
        cmocka_unit_test(test_abort_leaves_nothing),
        cmocka_unit_test(test_order_and_ranges),
        cmocka_unit_test(test_get_keeps_its_order_and_stops),
        cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_marker),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
