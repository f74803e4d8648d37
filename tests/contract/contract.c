/* SPDX-License-Identifier: Apache-2.0 */
/* The contract suite (contract.h): the same cases for every kv driver. `contract [TARGET...]` runs some. */
#include "contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const struct contract_target *target;
static const struct rh_dataset kv = {.name = RH_KV_DATASET};
static struct rh_digest_key digest_key;

/* One open store with a session to read and one to write. */
struct open_store {
    struct rh_options *options;
    struct rh_store *store;
    struct rh_session *reader, *writer;
    struct rh_error err;
    struct rh_ctx ctx;
};

#define assert_ok(open, expression)                                                                                    \
    do {                                                                                                               \
        enum rh_status status_ = (expression);                                                                         \
        if (status_ != RH_OK)                                                                                          \
            fail_msg("%s: %s: %s", #expression, rh_status_name(status_), (open)->err.text);                            \
    } while (0)

/* --- helpers --- */

static struct rh_record *add(struct rh_batch *batch, struct rh_bytes key, struct rh_bytes value)
{
    struct rh_record *record = rh_batch_add_kv(batch, key, value, false);
    assert_non_null(record);
    return record;
}

static int compare_records(const void *a, const void *b);

/* What the engine does between the last put and the commit of a whole store. */
static void promise_whole(struct open_store *open)
{
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, stamp = RH_BUF_INIT;
    const struct rh_whole_ops *whole = target->driver->whole;
    enum rh_status status = whole->stamp(&open->ctx, open->writer, &before);
    assert_true(status == RH_OK || status == RH_NOT_FOUND);
    assert_ok(open, whole->promise(&open->ctx, open->writer, rh_buf_bytes(&before), &stamp));
    assert_true(stamp.size > 0 && !rh_bytes_equal(rh_buf_bytes(&stamp), rh_buf_bytes(&before)));
}

/* A whole store's content is what one batch holds, in key order; a session that reads sees what was there when it
 * began. */
static void put_whole(struct open_store *open, struct rh_batch *batch)
{
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    const struct rh_write_ops *write = target->driver->write;
    if (batch->count)
        qsort(batch->records, batch->count, sizeof(struct rh_record), compare_records);
    assert_ok(open, write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, write->put(&open->ctx, open->writer, batch, RH_PUT_CREATE));
    promise_whole(open);
    assert_ok(open, write->commit(&open->ctx, open->writer, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
    target->driver->session_close(open->reader);
    assert_ok(open, target->driver->session_open(&open->ctx, open->store, RH_ROLE_READ, &open->reader));
}

/* Puts the batch in a unit of its own and sees that it was done. */
static void put_batch(struct open_store *open, struct rh_batch *batch, enum rh_put_mode mode)
{
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    const struct rh_write_ops *write = target->driver->write;
    if (target->driver->whole) {
        put_whole(open, batch);
        return;
    }
    assert_ok(open, write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, write->put(&open->ctx, open->writer, batch, mode));
    assert_ok(open, write->commit(&open->ctx, open->writer, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
}

static void remove_batch(struct open_store *open, struct rh_batch *batch)
{
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    const struct rh_write_ops *write = target->driver->write;
    assert_ok(open, write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, write->remove(&open->ctx, open->writer, batch));
    assert_ok(open, write->commit(&open->ctx, open->writer, &commit));
    assert_int_equal(commit, RH_COMMIT_DONE);
}

/* One record in a unit of its own. */
static enum rh_outcome put_one(struct open_store *open, const char *key, const char *value, enum rh_put_mode mode)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    add(&batch, rh_bytes_text(key), rh_bytes_text(value));
    put_batch(open, &batch, mode);
    return batch.records[0].outcome;
}

static struct rh_hash hash_of(struct rh_bytes key, struct rh_bytes value)
{
    struct rh_field field = {.tag = RH_TAG_BYTES, .value = value};
    struct rh_record record = {.key = key, .fields = &field, .field_count = 1, .value_bytes = value.size};
    return rh_digest_record(&digest_key, RH_KV_DATASET, &record);
}

/* What the key holds, as the driver's get says: RH_NOT_FOUND, or the value appended. */
static enum rh_status look(struct open_store *open, struct rh_bytes key, struct rh_buf *value)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    assert_ok(open, target->driver->read->get(&open->ctx, open->reader, &kv, &key, 1, &batch));
    if (batch.count == 0)
        return RH_NOT_FOUND;
    assert_int_equal(batch.count, 1);
    assert_true(rh_bytes_equal(batch.records[0].key, key));
    assert_int_equal(batch.records[0].field_count, 1);
    assert_int_equal(batch.records[0].fields[0].tag, RH_TAG_BYTES);
    return rh_buf_add(value, batch.records[0].fields[0].value.data, batch.records[0].fields[0].value.size, NULL);
}

static void assert_holds(struct open_store *open, const char *key, const char *value)
{
    rh_auto_buf struct rh_buf held = RH_BUF_INIT;
    assert_int_equal(look(open, rh_bytes_text(key), &held), RH_OK);
    assert_string_equal(rh_buf_cstr(&held), value);
}

static void assert_absent(struct open_store *open, const char *key)
{
    rh_auto_buf struct rh_buf held = RH_BUF_INIT;
    assert_int_equal(look(open, rh_bytes_text(key), &held), RH_NOT_FOUND);
}

/* Keys of a scan, in order, copied one after the other into `all`'s arena. */
static void scan_all(struct open_store *open,
                     struct rh_range range,
                     struct rh_bytes after,
                     unsigned flags,
                     size_t want_records,
                     struct rh_batch *all)
{
    const struct rh_read_ops *read = target->driver->read;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    struct rh_scan *scan = NULL;
    assert_ok(open, read->scan_open(&open->ctx, open->reader, &kv, range, after, flags, &scan));
    for (;;) {
        rh_batch_clear(&batch);
        enum rh_status status = read->scan_next(&open->ctx, scan, 1 << 20, want_records, &batch);
        if (status == RH_END)
            break;
        assert_ok(open, status);
        assert_in_range(batch.count, 1, want_records);
        for (size_t i = 0; i < batch.count; i++) {
            const struct rh_record *record = batch.records + i;
            struct rh_record *copy = add(all, record->key, record->fields ? record->fields[0].value : rh_bytes("", 0));
            copy->value_bytes = record->value_bytes;
        }
    }
    assert_int_equal(batch.count, 0);
    read->scan_close(scan);
}

/* Takes away whatever is in the store, through the driver itself. */
static void empty_store(struct open_store *open)
{
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
    if (target->driver->whole) {
        put_whole(open, &all);
        return;
    }
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 1000, &all);
    for (size_t i = 0; i < all.count; i++)
        all.records[i].expect = hash_of(all.records[i].key, all.records[i].fields[0].value);
    if (all.count)
        remove_batch(open, &all);
    for (size_t i = 0; i < all.count; i++)
        assert_int_equal(all.records[i].outcome, RH_OUTCOME_DONE);
}

static void close_store(struct open_store *open)
{
    if (open->reader)
        target->driver->session_close(open->reader);
    if (open->writer)
        target->driver->session_close(open->writer);
    if (open->store)
        target->driver->close(open->store);
    rh_options_free(open->options);
    free(open);
}

/* Opens the target; NULL when it isn't here. */
static struct open_store *open_store(enum rh_status (*make)(struct rh_options **, struct rh_error *))
{
    struct open_store *open = calloc(1, sizeof(*open));
    assert_non_null(open);
    open->ctx.err = &open->err;
    enum rh_status status = make(&open->options, &open->err);
    if (status == RH_UNSUPPORTED) {
        free(open);
        return NULL;
    }
    assert_ok(open, status);
    struct rh_store_args args = {.options = open->options, .side = RH_SIDE_DESTINATION, .name = "contract"};
    assert_ok(open, target->driver->open(&open->ctx, &args, &open->store));
    assert_ok(open, target->driver->session_open(&open->ctx, open->store, RH_ROLE_READ, &open->reader));
    return open;
}

static int setup(void **state)
{
    struct open_store *open = open_store(target->make_options);
    uint32_t missing = 0;
    *state = open;
    if (!open)
        return 0;
    assert_ok(open, target->driver->session_open(&open->ctx, open->store, RH_ROLE_WRITE, &open->writer));
    if (target->driver->schema) {
        assert_ok(open, target->driver->schema->missing(&open->ctx, open->writer, &missing));
        assert_ok(open, target->driver->schema->before(&open->ctx, open->writer, missing));
    }
    empty_store(open);
    return 0;
}

static int teardown(void **state)
{
    if (*state)
        close_store(*state);
    return 0;
}

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* xorshift: the same keys in every run. */
static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

/* --- cases --- */

static void test_empty_store_says_end(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 10, &all);
    assert_int_equal(all.count, 0);
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), RH_SCAN_KEYS_ONLY | RH_SCAN_SIZES, 10, &all);
    assert_int_equal(all.count, 0);
}

static enum rh_status count_dataset(void *user, const struct rh_dataset *dataset)
{
    assert_string_equal(dataset->name, RH_KV_DATASET);
    ++*(int *)user;
    return RH_OK;
}

static void test_one_dataset(void **state)
{
    struct open_store *open = *state;
    int count = 0;
    assert_ok(open, target->driver->read->datasets(&open->ctx, open->reader, count_dataset, &count));
    assert_int_equal(count, 1);
}

/* Writes a value and reads it by get and by scan. */
static void round_trip(struct open_store *open, const char *key, struct rh_bytes value)
{
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, all = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf held = RH_BUF_INIT;
    add(&batch, rh_bytes_text(key), value);
    put_batch(open, &batch, RH_PUT_CREATE);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(look(open, rh_bytes_text(key), &held), RH_OK);
    assert_true(rh_bytes_equal(rh_buf_bytes(&held), value));
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 10, &all);
    assert_int_equal(all.count, 1);
    assert_true(rh_bytes_equal(all.records[0].fields[0].value, value));
    assert_int_equal(all.records[0].value_bytes, value.size);
    rh_batch_clear(&all);
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), RH_SCAN_KEYS_ONLY | RH_SCAN_SIZES, 10, &all);
    assert_int_equal(all.count, 1);
    assert_in_range(all.records[0].value_bytes, value.size, value.size + 64);
}

static void test_empty_value(void **state)
{
    round_trip(*state, "empty", rh_bytes("", 0));
}

static void test_value_of_all_bytes(void **state)
{
    uint8_t value[256];
    for (unsigned i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)i;
    round_trip(*state, "all/bytes", rh_bytes(value, sizeof(value)));
}

/* Whether fits takes a value of that size; a refusal has its words. */
static bool value_fits(struct open_store *open, const char *key, size_t size)
{
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    struct rh_error err = {0};
    enum rh_status status = target->driver->write->fits(open->store, &kv, rh_bytes_text(key), size, &rival, &err);
    if (status == RH_OK)
        return true;
    assert_int_equal(status, RH_E_LIMIT);
    assert_true(err.text[0] != '\0');
    return false;
}

/* One mebibyte, or the largest value below it that the driver says it can hold. */
static void test_value_of_one_mebibyte(void **state)
{
    struct open_store *open = *state;
    static uint8_t value[1 << 20];
    size_t size = sizeof(value);
    if (!value_fits(open, "large", size)) {
        size_t low = 0;
        while (low + 1 < size) {
            size_t middle = low + (size - low) / 2;
            if (value_fits(open, "large", middle))
                low = middle;
            else
                size = middle;
        }
        size = low;
    }
    assert_in_range(size, 64 * 1024, sizeof(value));
    for (size_t i = 0; i < size; i++)
        value[i] = (uint8_t)random_below(256);
    round_trip(open, "large", rh_bytes(value, size));
}

static void test_order(void **state)
{
    static const char *const keys[] = {"A",      "a",        "a-b",        "a-b/x",        "a/b",
                                       "a/b/c",  "a0",       "b/\xc3\xbf", "b/\xc3\xbf/c", "b/\xc3\xbf\x7f",
                                       "b/\xff", "b/\xff/c", "c\x7f"};
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, all = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    const char *sorted[sizeof(keys) / sizeof(keys[0])];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) /* not every store holds every byte */
        if (target->driver->write->fits(open->store, &kv, rh_bytes_text(keys[i]), 0, &rival, NULL) == RH_OK)
            sorted[count++] = keys[i];
    assert_in_range(count, sizeof(keys) / sizeof(keys[0]) - 2, sizeof(keys) / sizeof(keys[0]));
    for (size_t i = count; i-- > 0;)
        add(&batch, rh_bytes_text(sorted[i]), rh_bytes_text(sorted[i]));
    put_batch(open, &batch, RH_PUT_CREATE);
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 3, &all);
    assert_int_equal(all.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(rh_bytes_equal(all.records[i].key, rh_bytes_text(sorted[i])));
        assert_true(rh_bytes_equal(all.records[i].fields[0].value, rh_bytes_text(sorted[i])));
    }
}

/* A key of few letters, so that prefixes, slashes and neighbours abound. */
static struct rh_bytes random_key(struct open_store *open, uint8_t out[static 24])
{
    static const char letters[] = "ab-/0_B.\xc3";
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    for (;;) {
        size_t size = 1 + random_below(10);
        for (size_t i = 0; i < size; i++)
            out[i] = (uint8_t)letters[random_below(sizeof(letters) - 1)];
        struct rh_bytes key = rh_bytes(out, size);
        rh_buf_clear(&rival);
        if (target->driver->write->fits(open->store, &kv, key, 0, &rival, NULL) == RH_OK && rival.size == 0)
            return key;
    }
}

static int compare_records(const void *a, const void *b)
{
    return rh_bytes_compare(((const struct rh_record *)a)->key, ((const struct rh_record *)b)->key);
}

/* Some hundred records; `sorted` holds each key once, in order. */
static void fill_random(struct open_store *open, struct rh_batch *sorted)
{
    uint8_t key[24];
    for (int i = 0; i < 400; i++) {
        struct rh_bytes name = random_key(open, key);
        bool known = false;
        for (size_t j = 0; j < sorted->count && !known; j++)
            known = rh_bytes_equal(sorted->records[j].key, name);
        if (!known)
            add(sorted, name, name);
    }
    put_batch(open, sorted, RH_PUT_CREATE);
    for (size_t i = 0; i < sorted->count; i++)
        assert_int_equal(sorted->records[i].outcome, RH_OUTCOME_DONE);
    qsort(sorted->records, sorted->count, sizeof(struct rh_record), compare_records);
}

/* The scan of a range after a key gives exactly the records it should. */
static void
check_range(struct open_store *open, const struct rh_batch *sorted, struct rh_range range, struct rh_bytes after)
{
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
    unsigned flags = random_below(2) ? 0 : RH_SCAN_KEYS_ONLY;
    size_t at = 0;
    scan_all(open, range, after, flags, 1 + random_below(50), &all);
    for (size_t i = 0; i < sorted->count; i++) {
        struct rh_bytes key = sorted->records[i].key;
        if (rh_bytes_compare(key, range.from) < 0 || (range.to.size && rh_bytes_compare(key, range.to) >= 0) ||
            (after.size && rh_bytes_compare(key, after) <= 0))
            continue;
        assert_in_range(at + 1, 1, all.count);
        assert_true(rh_bytes_equal(all.records[at++].key, key));
    }
    assert_int_equal(at, all.count);
}

static void test_ranges_and_after(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch sorted = RH_BATCH_INIT;
    uint8_t low[24], high[24], after[24];
    fill_random(open, &sorted);
    for (int i = 0; i < 200; i++) {
        struct rh_range range = {.from = random_key(open, low), .to = random_key(open, high)};
        if (rh_bytes_compare(range.from, range.to) > 0)
            range = (struct rh_range){.from = range.to, .to = range.from};
        if (random_below(4) == 0)
            range.from.size = 0;
        if (random_below(4) == 0)
            range.to.size = 0;
        check_range(open, &sorted, range, random_below(2) ? random_key(open, after) : rh_bytes("", 0));
    }
}

/* Cutting at any keys gives each record exactly once. */
static void test_ranges_partition(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch sorted = RH_BATCH_INIT;
    fill_random(open, &sorted);
    for (int round = 0; round < 20; round++) {
        rh_auto_batch struct rh_batch cuts = RH_BATCH_INIT, all = RH_BATCH_INIT;
        uint8_t key[24];
        for (uint32_t i = random_below(12); i-- > 0;)
            add(&cuts, random_key(open, key), rh_bytes("", 0));
        if (cuts.count)
            qsort(cuts.records, cuts.count, sizeof(struct rh_record), compare_records);
        for (size_t i = 0; i <= cuts.count; i++) {
            struct rh_range range = {0};
            if (i > 0)
                range.from = cuts.records[i - 1].key;
            if (i < cuts.count)
                range.to = cuts.records[i].key;
            if (i > 0 && i < cuts.count && rh_bytes_equal(range.from, range.to))
                continue;
            scan_all(open, range, rh_bytes("", 0), RH_SCAN_KEYS_ONLY, 1 + random_below(100), &all);
        }
        assert_int_equal(all.count, sorted.count);
        for (size_t i = 0; i < all.count; i++)
            assert_true(rh_bytes_equal(all.records[i].key, sorted.records[i].key));
    }
}

static void test_batch_bounds(void **state)
{
    struct open_store *open = *state;
    const struct rh_read_ops *read = target->driver->read;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, out = RH_BATCH_INIT;
    char key[16];
    uint8_t value[1000] = {0};
    struct rh_scan *scan = NULL;
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%02d", i);
        add(&batch, rh_bytes_text(key), rh_bytes(value, sizeof(value)));
    }
    put_batch(open, &batch, RH_PUT_CREATE);
    assert_ok(open, read->scan_open(&open->ctx, open->reader, &kv, (struct rh_range){0}, rh_bytes("", 0), 0, &scan));
    assert_ok(open, read->scan_next(&open->ctx, scan, 1 << 20, 7, &out));
    assert_int_equal(out.count, 7);
    rh_batch_clear(&out);
    assert_ok(open, read->scan_next(&open->ctx, scan, 2500, 1000, &out));
    assert_int_equal(out.count, 3); /* the third reaches 2500 */
    rh_batch_clear(&out);
    assert_ok(open, read->scan_next(&open->ctx, scan, 1, 1000, &out));
    assert_int_equal(out.count, 1);
    assert_true(rh_bytes_equal(out.records[0].key, rh_bytes_text("k10")));
    read->scan_close(scan);
}

static void test_get_many(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch out = RH_BATCH_INIT;
    struct rh_bytes keys[] = {rh_bytes_text("z"),     rh_bytes_text("a/b/c"), rh_bytes_text("nowhere/at/all"),
                              rh_bytes_text("a"),     rh_bytes_text("a/b"),   rh_bytes_text("a/b/c/d"),
                              rh_bytes_text("absent")};
    rh_auto_batch struct rh_batch three = RH_BATCH_INIT;
    add(&three, rh_bytes_text("a"), rh_bytes_text("1"));
    add(&three, rh_bytes_text("a/b/c"), rh_bytes_text("2"));
    add(&three, rh_bytes_text("z"), rh_bytes_text("3"));
    put_batch(open, &three, RH_PUT_CREATE);
    assert_ok(open, target->driver->read->get(&open->ctx, open->reader, &kv, keys, 7, &out));
    assert_int_equal(out.count, 3);
    assert_true(rh_bytes_equal(out.records[0].key, keys[0]));
    assert_true(rh_bytes_equal(out.records[1].key, keys[1]));
    assert_true(rh_bytes_equal(out.records[2].key, keys[3]));
    assert_true(rh_bytes_equal(out.records[2].fields[0].value, rh_bytes_text("1")));
    assert_ok(open, target->driver->read->get(&open->ctx, open->reader, &kv, keys, 0, &out));
    assert_int_equal(out.count, 3);
}

/* A get into a batch that has enough stops; asked for the keys behind its last record it goes on. */
static void test_get_stops(void **state)
{
    enum { KEYS = 150, SIZE = 3000, ENOUGH = 20 * SIZE };
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT, out = RH_BATCH_INIT;
    rh_auto_free uint8_t *value = calloc(1, SIZE);
    char names[2 * KEYS][16];
    struct rh_bytes keys[2 * KEYS];
    for (size_t i = 0; i < 2 * KEYS; i++) {
        (void)snprintf(names[i], sizeof names[i], "k/%03zu", i);
        keys[i] = rh_bytes_text(names[i]);
        if (i % 2) /* every other one is absent */
            add(&all, keys[i], rh_bytes(value, SIZE));
    }
    put_batch(open, &all, RH_PUT_CREATE);
    out.enough_bytes = ENOUGH;
    size_t found = 0;
    for (size_t from = 0, rounds = 0; from < 2 * KEYS; rounds++) {
        assert_true(rounds < 10);
        rh_batch_clear(&out);
        assert_ok(open, target->driver->read->get(&open->ctx, open->reader, &kv, keys + from, 2 * KEYS - from, &out));
        assert_true(out.bytes < ENOUGH + SIZE + 16);
        for (size_t i = 0; i < out.count; i++, found++)
            assert_true(rh_bytes_equal(out.records[i].key, keys[2 * found + 1]));
        from = rh_batch_has_enough(&out) ? 2 * found : 2 * KEYS;
    }
    assert_int_equal(found, KEYS);
}

static void test_create_only(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    put_one(open, "k/2", "old", RH_PUT_CREATE);
    add(&batch, rh_bytes_text("k/1"), rh_bytes_text("new"));
    add(&batch, rh_bytes_text("k/2"), rh_bytes_text("new"));
    add(&batch, rh_bytes_text("k/3"), rh_bytes_text("new"));
    put_batch(open, &batch, RH_PUT_CREATE);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_EXISTS);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_DONE);
    assert_holds(open, "k/1", "new");
    assert_holds(open, "k/2", "old");
    assert_holds(open, "k/3", "new");
}

static void test_replace(void **state)
{
    struct open_store *open = *state;
    assert_int_equal(put_one(open, "k", "old", RH_PUT_REPLACE), RH_OUTCOME_DONE);
    assert_int_equal(put_one(open, "k", "a newer one", RH_PUT_REPLACE), RH_OUTCOME_DONE);
    assert_holds(open, "k", "a newer one");
    assert_int_equal(put_one(open, "k", "", RH_PUT_REPLACE), RH_OUTCOME_DONE);
    assert_holds(open, "k", "");
}

static void test_if_hash(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    put_one(open, "same", "old", RH_PUT_CREATE);
    put_one(open, "other", "foreign", RH_PUT_CREATE);
    put_one(open, "taken", "foreign", RH_PUT_CREATE);
    add(&batch, rh_bytes_text("same"), rh_bytes_text("new"))->expect =
        hash_of(rh_bytes_text("same"), rh_bytes_text("old"));
    add(&batch, rh_bytes_text("other"), rh_bytes_text("new"))->expect =
        hash_of(rh_bytes_text("other"), rh_bytes_text("old"));
    add(&batch, rh_bytes_text("gone"), rh_bytes_text("new"))->expect =
        hash_of(rh_bytes_text("gone"), rh_bytes_text("old"));
    add(&batch, rh_bytes_text("free"), rh_bytes_text("new"))->expect_absent = true;
    add(&batch, rh_bytes_text("taken"), rh_bytes_text("new"))->expect_absent = true;
    put_batch(open, &batch, RH_PUT_IF_HASH);
    static const enum rh_outcome want[] = {RH_OUTCOME_DONE, RH_OUTCOME_CHANGED, RH_OUTCOME_CHANGED, RH_OUTCOME_DONE,
                                           RH_OUTCOME_CHANGED};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(batch.records[i].outcome, want[i]);
    assert_holds(open, "same", "new");
    assert_holds(open, "other", "foreign");
    assert_absent(open, "gone");
    assert_holds(open, "free", "new");
    assert_holds(open, "taken", "foreign");
}

static void test_remove_if_hash(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    put_one(open, "d/e/ours", "v", RH_PUT_CREATE);
    put_one(open, "d/changed", "v2", RH_PUT_CREATE);
    static const char *const keys[] = {"d/e/ours", "d/changed", "d/absent"};
    for (size_t i = 0; i < 3; i++)
        add(&batch, rh_bytes_text(keys[i]), rh_bytes_text("v"))->expect =
            hash_of(rh_bytes_text(keys[i]), rh_bytes_text("v"));
    remove_batch(open, &batch);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(batch.records[2].outcome, RH_OUTCOME_CHANGED);
    assert_absent(open, "d/e/ours");
    assert_holds(open, "d/changed", "v2");
}

static void test_abort_leaves_nothing(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, all = RH_BATCH_INIT;
    const struct rh_write_ops *write = target->driver->write;
    put_one(open, "kept", "old", RH_PUT_CREATE);
    add(&batch, rh_bytes_text("new"), rh_bytes_text("v"));
    add(&batch, rh_bytes_text("kept"), rh_bytes_text("v"));
    assert_ok(open, write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, write->put(&open->ctx, open->writer, &batch, RH_PUT_REPLACE));
    write->abort(open->writer);
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 10, &all);
    assert_int_equal(all.count, 1);
    assert_holds(open, "kept", "old");
    put_batch(open, &batch, RH_PUT_REPLACE); /* the session is as good as new */
    assert_holds(open, "new", "v");
}

/* One of two writers: creates the same keys as the other, with its own value. */
struct racer {
    struct open_store *open;
    struct rh_batch batch;
    const char *value;
};

static void *race(void *user)
{
    struct racer *racer = user;
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    const struct rh_write_ops *write = target->driver->write;
    for (size_t i = 0; i < 20; i++) {
        struct rh_batch one = {.records = racer->batch.records + i, .count = 1, .bytes = 2};
        enum rh_status status = write->begin(&racer->open->ctx, racer->open->writer, &kv, &digest_key);
        if (status == RH_OK)
            status = write->put(&racer->open->ctx, racer->open->writer, &one, RH_PUT_CREATE);
        if (status == RH_OK)
            status = write->commit(&racer->open->ctx, racer->open->writer, &commit);
        if (status != RH_OK)
            return racer->open->err.text;
    }
    return NULL;
}

static void test_two_writers_one_wins(void **state)
{
    struct open_store *open = *state;
    struct open_store second = {.store = open->store};
    second.ctx.err = &second.err;
    assert_ok(&second, target->driver->session_open(&second.ctx, open->store, RH_ROLE_WRITE, &second.writer));
    struct racer racers[2] = {
        {.open = open,    .value = "first" },
        {.open = &second, .value = "second"}
    };
    pthread_t threads[2];
    char key[16];
    for (size_t r = 0; r < 2; r++)
        for (int i = 0; i < 20; i++) {
            snprintf(key, sizeof(key), "race/%02d/k", i);
            add(&racers[r].batch, rh_bytes_text(key), rh_bytes_text(racers[r].value));
        }
    for (size_t r = 0; r < 2; r++)
        assert_int_equal(pthread_create(&threads[r], NULL, race, &racers[r]), 0);
    for (size_t r = 0; r < 2; r++) {
        void *problem = NULL;
        assert_int_equal(pthread_join(threads[r], &problem), 0);
        if (problem)
            fail_msg("writer %zu: %s", r, (char *)problem);
    }
    for (size_t i = 0; i < 20; i++) {
        enum rh_outcome one = racers[0].batch.records[i].outcome, other = racers[1].batch.records[i].outcome;
        assert_true((one == RH_OUTCOME_DONE && other == RH_OUTCOME_EXISTS) ||
                    (one == RH_OUTCOME_EXISTS && other == RH_OUTCOME_DONE));
        snprintf(key, sizeof(key), "race/%02zu/k", i);
        assert_holds(*state, key, one == RH_OUTCOME_DONE ? "first" : "second");
    }
    for (size_t r = 0; r < 2; r++)
        rh_batch_done(&racers[r].batch);
    target->driver->session_close(second.writer);
}

static void test_resume_after_delete(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch gone = RH_BATCH_INIT, all = RH_BATCH_INIT;
    static const char *const keys[] = {"a/1", "a/2", "b", "c/1"};
    for (size_t i = 0; i < 4; i++)
        put_one(open, keys[i], "v", RH_PUT_CREATE);
    for (size_t i = 0; i < 2; i++)
        add(&gone, rh_bytes_text(keys[i]), rh_bytes_text("v"))->expect =
            hash_of(rh_bytes_text(keys[i]), rh_bytes_text("v"));
    remove_batch(open, &gone);
    scan_all(open, (struct rh_range){0}, rh_bytes_text("a/2"), 0, 10, &all);
    assert_int_equal(all.count, 2);
    assert_true(rh_bytes_equal(all.records[0].key, rh_bytes_text("b")));
    assert_true(rh_bytes_equal(all.records[1].key, rh_bytes_text("c/1")));
}

/* What fits says fits comes back unchanged; what it refuses it refuses with words. */
static void test_fits_keeps_its_word(void **state)
{
    struct open_store *open = *state;
    static char long_part[260], long_key[5000], many_parts[600];
    memset(long_part, 'p', sizeof(long_part) - 1);
    memset(long_key, 'k', sizeof(long_key) - 1);
    memset(many_parts, 'm', sizeof(many_parts) - 1);
    for (size_t i = 1; i < sizeof(many_parts) - 2; i += 2)
        many_parts[i] = '/';
    struct rh_bytes keys[] = {rh_bytes_text(""),
                              rh_bytes_text("/a"),
                              rh_bytes_text("a/"),
                              rh_bytes_text("a//b"),
                              rh_bytes_text("."),
                              rh_bytes_text(".."),
                              rh_bytes_text("a/../b"),
                              rh_bytes_text("a..b"),
                              rh_bytes_text("a/./b"),
                              rh_bytes("a\0b", 3),
                              rh_bytes_text("k.temp"),
                              rh_bytes_text("x/_b/c"),
                              rh_bytes_text("_"),
                              rh_bytes_text("a%b_c\\d"),
                              rh_bytes_text("\xff\xfe"),
                              rh_bytes_text("\n\t "),
                              rh_bytes_text("gr\xc3\xb6\xc3\x9f"
                                            "e"),
                              rh_bytes_text("'; DROP TABLE vault; --"),
                              rh_bytes_text(long_part),
                              rh_bytes_text(long_key),
                              rh_bytes_text(many_parts),
                              rh_bytes(long_part, 249),
                              rh_bytes(long_part, 250),
                              rh_bytes(long_key, 512),
                              rh_bytes(long_key, 513),
                              rh_bytes_text("trailing "),
                              rh_bytes_text("case"),
                              rh_bytes_text("CASE")};
    size_t fitting = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        rh_auto_buf struct rh_buf rival = RH_BUF_INIT, held = RH_BUF_INIT;
        rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
        struct rh_error err = {0};
        enum rh_status status = target->driver->write->fits(open->store, &kv, keys[i], 5, &rival, &err);
        if (status != RH_OK) {
            assert_int_equal(status, RH_E_LIMIT);
            assert_true(err.text[0] != '\0');
            continue;
        }
        fitting++;
        add(&batch, keys[i], rh_bytes_text("value"));
        put_batch(open, &batch, RH_PUT_CREATE);
        assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
        assert_int_equal(look(open, keys[i], &held), RH_OK);
        assert_string_equal(rh_buf_cstr(&held), "value");
    }
    rh_auto_batch struct rh_batch all = RH_BATCH_INIT;
    scan_all(open, (struct rh_range){0}, rh_bytes("", 0), 0, 100, &all);
    assert_int_equal(all.count, fitting);
    assert_in_range(fitting, 8, 1000);
}

static void test_marker_by_plain_create(void **state)
{
    struct open_store *open = *state;
    const char *marker = "{\"start\":\"2026-11-22T02:29:11.123456789Z\"}\n";
    assert_int_equal(put_one(open, RH_KV_MARKER, marker, RH_PUT_CREATE), RH_OUTCOME_DONE);
    assert_int_equal(put_one(open, RH_KV_MARKER, "{}", RH_PUT_CREATE), RH_OUTCOME_EXISTS);
    assert_holds(open, RH_KV_MARKER, marker);
}

static void test_cancel_and_deadline(void **state)
{
    struct open_store *open = *state;
    const struct rh_driver *driver = target->driver;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, out = RH_BATCH_INIT;
    atomic_bool cancel = true;
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    struct rh_scan *scan = NULL;
    put_one(open, "k", "v", RH_PUT_CREATE);
    assert_ok(open,
              driver->read->scan_open(&open->ctx, open->reader, &kv, (struct rh_range){0}, rh_bytes("", 0), 0, &scan));
    open->ctx.cancel = &cancel;
    assert_int_equal(driver->read->scan_next(&open->ctx, scan, 1 << 20, 10, &out), RH_E_CANCELLED);
    open->ctx.cancel = NULL;
    driver->read->scan_close(scan);
    rh_batch_clear(&out);

    add(&batch, rh_bytes_text("late"), rh_bytes_text("v"));
    assert_ok(open, driver->write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, driver->write->put(&open->ctx, open->writer, &batch, RH_PUT_CREATE));
    open->ctx.deadline_us = rh_clock_us() - 1;
    assert_int_equal(driver->write->commit(&open->ctx, open->writer, &commit), RH_E_TIMEOUT);
    assert_int_not_equal(commit, RH_COMMIT_DONE);
    open->ctx.deadline_us = 0;
    if (commit == RH_COMMIT_NOT_DONE)
        assert_absent(open, "late");
}

static void test_identity(void **state)
{
    struct open_store *open = *state;
    static struct rh_facts facts, again;
    assert_ok(open, target->driver->facts(&open->ctx, open->reader, &facts));
    assert_true(facts.identity[0] && facts.product[0] && facts.address[0]);
    assert_int_equal(facts.exists, RH_YES);
    assert_int_equal(facts.writable, RH_YES);
    struct open_store *other =
        open_store(target->make_other_spelling ? target->make_other_spelling : target->make_options);
    assert_ok(other, target->driver->facts(&other->ctx, other->reader, &again));
    assert_string_equal(facts.identity, again.identity);
    if (target->driver->overlaps)
        assert_true(target->driver->overlaps(open->store, other->store));
    close_store(other);
}

static void test_fingerprint_stands(void **state)
{
    struct open_store *open = *state;
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, after = RH_BUF_INIT;
    if (!target->driver->guard || !target->driver->guard->fingerprint)
        skip();
    assert_ok(open, target->driver->guard->fingerprint(&open->ctx, open->reader, &before));
    put_one(open, "k", "v", RH_PUT_CREATE);
    assert_ok(open, target->driver->guard->fingerprint(&open->ctx, open->writer, &after));
    assert_true(before.size > 0);
    assert_string_equal(rh_buf_cstr(&before), rh_buf_cstr(&after));
}

/* --- whole stores: nothing shows before the commit, and what was there comes back --- */

/* A unit with one record, up to before its commit. */
static void begin_whole(struct open_store *open, const char *key, struct rh_batch *batch)
{
    rh_batch_clear(batch);
    add(batch, rh_bytes_text(key), rh_bytes_text("v"));
    assert_ok(open, target->driver->write->begin(&open->ctx, open->writer, &kv, &digest_key));
    assert_ok(open, target->driver->write->put(&open->ctx, open->writer, batch, RH_PUT_CREATE));
}

static void test_whole_shows_at_commit(void **state)
{
    struct open_store *open = *state;
    const struct rh_whole_ops *whole = target->driver->whole;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, now = RH_BUF_INIT;
    put_one(open, "old", "v", RH_PUT_CREATE);
    assert_ok(open, whole->stamp(&open->ctx, open->writer, &before));
    begin_whole(open, "new", &batch);
    promise_whole(open);
    assert_ok(open, whole->stamp(&open->ctx, open->writer, &now));
    assert_true(rh_bytes_equal(rh_buf_bytes(&before), rh_buf_bytes(&now)));
    assert_holds(open, "old", "v");
    target->driver->write->abort(open->writer);
    assert_ok(open, whole->stamp(&open->ctx, open->writer, &now));
    assert_true(rh_bytes_equal(rh_buf_bytes(&before), rh_buf_bytes(&now)));
    assert_holds(open, "old", "v");
}

/* The commit refuses when something else stands there than it was told. */
static void test_whole_compares_and_sets(void **state)
{
    struct open_store *open = *state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf stamp = RH_BUF_INIT;
    const struct rh_bytes wrong[] = {rh_bytes("", 0), rh_bytes_text("00112233445566778899aabbccddeeff")};
    put_one(open, "old", "v", RH_PUT_CREATE);
    for (size_t i = 0; i < 2; i++) {
        enum rh_commit commit = RH_COMMIT_UNKNOWN;
        begin_whole(open, "new", &batch);
        assert_ok(open, target->driver->whole->promise(&open->ctx, open->writer, wrong[i], &stamp));
        assert_int_equal(target->driver->write->commit(&open->ctx, open->writer, &commit), RH_E_CONFLICT);
        assert_int_equal(commit, RH_COMMIT_NOT_DONE);
        assert_holds(open, "old", "v");
    }
}

/* What was promised of every byte holds of what stands after the commit, and of no other content. */
static void test_whole_proves(void **state)
{
    struct open_store *open = *state;
    const struct rh_whole_ops *whole = target->driver->whole;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf promised = RH_BUF_INIT, proof = RH_BUF_INIT;
    enum rh_commit commit = RH_COMMIT_NOT_DONE;
    begin_whole(open, "k", &batch);
    promise_whole(open);
    assert_ok(open, whole->prove(&open->ctx, open->writer, true, &promised));
    assert_ok(open, target->driver->write->commit(&open->ctx, open->writer, &commit));
    assert_ok(open, whole->prove(&open->ctx, open->writer, false, &proof));
    assert_true(promised.size > 0);
    assert_string_equal(rh_buf_cstr(&promised), rh_buf_cstr(&proof));
    put_one(open, "k", "w", RH_PUT_CREATE);
    assert_ok(open, whole->prove(&open->ctx, open->writer, false, &proof));
    assert_string_not_equal(rh_buf_cstr(&promised), rh_buf_cstr(&proof));
    assert_ok(open, whole->restore(&open->ctx, open->writer, false));
    assert_int_equal(whole->prove(&open->ctx, open->writer, false, &proof), RH_NOT_FOUND);
}

static void test_whole_save_and_restore(void **state)
{
    struct open_store *open = *state;
    const struct rh_whole_ops *whole = target->driver->whole;
    rh_auto_buf struct rh_buf before = RH_BUF_INIT, now = RH_BUF_INIT;
    put_one(open, "old", "v", RH_PUT_CREATE);
    assert_ok(open, whole->stamp(&open->ctx, open->writer, &before));
    assert_ok(open, whole->save(&open->ctx, open->writer));
    assert_ok(open, whole->save(&open->ctx, open->writer)); /* may be repeated */
    put_one(open, "new", "v", RH_PUT_CREATE);
    assert_ok(open, whole->restore(&open->ctx, open->writer, true));
    assert_ok(open, whole->stamp(&open->ctx, open->writer, &now));
    assert_true(rh_bytes_equal(rh_buf_bytes(&before), rh_buf_bytes(&now)));
    assert_ok(open, whole->restore(&open->ctx, open->writer, true));
    assert_ok(open, whole->forget(&open->ctx, open->writer));
    assert_ok(open, whole->forget(&open->ctx, open->writer));
    assert_ok(open, whole->restore(&open->ctx, open->writer, false));
    assert_int_equal(whole->stamp(&open->ctx, open->writer, &now), RH_NOT_FOUND);
    assert_ok(open, whole->restore(&open->ctx, open->writer, false));
}

/* --- running --- */

/* Whether the target was asked for, by no name or by its own. */
static bool asked_for(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc < 2;
}

/* Whether the target is here at all. */
static bool is_here(void)
{
    struct rh_options *options = NULL;
    struct rh_error err = {0};
    enum rh_status status = target->make_options(&options, &err);
    rh_options_free(options);
    if (rh_failed(status))
        fprintf(stderr, "contract: %s: %s\n", target->name, err.text);
    return status != RH_UNSUPPORTED;
}

int main(int argc, char **argv)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest cases[] = {
        CASE(test_empty_store_says_end),
        CASE(test_one_dataset),
        CASE(test_empty_value),
        CASE(test_value_of_all_bytes),
        CASE(test_value_of_one_mebibyte),
        CASE(test_order),
        CASE(test_ranges_and_after),
        CASE(test_ranges_partition),
        CASE(test_batch_bounds),
        CASE(test_get_many),
        CASE(test_get_stops),
        CASE(test_create_only),
        CASE(test_replace),
        CASE(test_if_hash),
        CASE(test_remove_if_hash),
        CASE(test_abort_leaves_nothing),
        CASE(test_two_writers_one_wins),
        CASE(test_resume_after_delete),
        CASE(test_fits_keeps_its_word),
        CASE(test_marker_by_plain_create),
        CASE(test_cancel_and_deadline),
        CASE(test_identity),
        CASE(test_fingerprint_stands),
    };
    const struct CMUnitTest whole_cases[] = {
        CASE(test_empty_store_says_end),
        CASE(test_one_dataset),
        CASE(test_empty_value),
        CASE(test_value_of_all_bytes),
        CASE(test_value_of_one_mebibyte),
        CASE(test_order),
        CASE(test_ranges_and_after),
        CASE(test_ranges_partition),
        CASE(test_batch_bounds),
        CASE(test_get_many),
        CASE(test_get_stops),
        CASE(test_identity),
        CASE(test_whole_shows_at_commit),
        CASE(test_whole_compares_and_sets),
        CASE(test_whole_proves),
        CASE(test_whole_save_and_restore),
    };
    int failed = 0, ran = 0;
    if (rh_digest_key_new(&digest_key, NULL) != RH_OK)
        return 1;
    for (size_t i = 0; contract_targets[i]; i++) {
        target = contract_targets[i];
        if (!asked_for(argc, argv, target->name))
            continue;
        if (!is_here()) {
            fprintf(stderr, "contract: %s: SKIPPED, no server was named\n", target->name);
            continue;
        }
        ran++;
        failed += target->driver->whole ? cmocka_run_group_tests_name(target->name, whole_cases, NULL, NULL)
                                        : cmocka_run_group_tests_name(target->name, cases, NULL, NULL);
        if (target->done)
            target->done();
    }
    return failed ? 1 : ran ? 0 : 77;
}
