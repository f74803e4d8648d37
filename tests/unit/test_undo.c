/* SPDX-License-Identifier: Apache-2.0 */
/* The undo log, from docs/formats/journal.md, "Undo segments". */
#include "journal_scratch.h"

#include "internal.h"

static struct rh_error err;

/* A journal and a key in the scratch folder. */
struct place {
    struct rh_journal *journal;
    struct rh_key_provider *provider;
};

static void place_open(struct place *place, const char *dir)
{
    char key[200];
    snprintf(key, sizeof(key), "%s/key", dir);
    must(rh_key_provider_file_make(key, &place->provider, &err));
    must(rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &place->journal, &err));
}

static void place_close(struct place *place)
{
    rh_journal_close(place->journal);
    rh_key_provider_free(place->provider);
}

/* A block with one entry whose key is "k<batch>". */
static enum rh_status append_one(struct rh_undo *undo, uint64_t batch, struct rh_undo_position *position)
{
    char key[32], value[32];
    snprintf(key, sizeof(key), "k%llu", (unsigned long long)batch);
    snprintf(value, sizeof(value), "image %llu", (unsigned long long)batch);
    struct rh_field field = {RH_TAG_BYTES, rh_bytes_text(value)};
    struct rh_undo_entry entry = {
        .key = rh_bytes_text(key), .fields = &field, .field_count = 1, .hash = {batch, 7}
    };
    struct rh_undo_block block = {.range = 1, .batch = batch, .dataset = "vault", .entries = &entry, .count = 1};
    return rh_undo_append(undo, &block, position, &err);
}

/* The batches of all blocks, in the order they came. */
struct seen {
    char text[4000];
    size_t count;
};

static enum rh_status see(void *user, const struct rh_undo_block *block)
{
    struct seen *seen = user;
    char key[32];
    size_t used = strlen(seen->text);
    snprintf(key, sizeof(key), "k%llu", (unsigned long long)block->batch);
    assert_string_equal(block->dataset, "vault");
    assert_int_equal(block->count, 1);
    assert_true(rh_bytes_equal(block->entries[0].key, rh_bytes_text(key)));
    assert_true(block->entries[0].hash.low == block->batch && block->entries[0].hash.high == 7);
    if (seen->count++ < 100)
        snprintf(seen->text + used, sizeof(seen->text) - used, "%s ", key);
    return RH_OK;
}

static enum rh_status read_all(struct place *place, bool backwards, struct seen *seen)
{
    memset(seen, 0, sizeof(*seen));
    memset(&err, 0, sizeof(err));
    return rh_undo_each(place->journal, place->provider, "m", backwards, see, seen, &err);
}

static void assert_seen(struct place *place, const char *forwards, const char *backwards)
{
    struct seen seen;
    must(read_all(place, false, &seen));
    assert_string_equal(seen.text, forwards);
    must(read_all(place, true, &seen));
    assert_string_equal(seen.text, backwards);
}

/* Appends batches first to last; journals those up to `known` as good. */
static void write_batches(struct place *place, uint64_t first, uint64_t last, uint64_t known)
{
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    must(rh_undo_open(place->journal, place->provider, "m", &undo, &err));
    for (uint64_t i = first; i <= last; i++) {
        must(append_one(undo, i, &position));
        if (i <= known)
            must(rh_journal_segment_good(place->journal, "m", position.segment, position.bytes, position.frames, &err));
    }
    rh_undo_close(undo);
}

static void test_round_trip(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    place_open(&place, scratch->dir);
    assert_seen(&place, "", "");
    struct rh_undo *undo = NULL;
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    rh_undo_close(undo); /* makes no file */
    assert_int_equal(access(scratch_path(scratch, "plan.undo-0001"), F_OK), -1);
    write_batches(&place, 1, 3, 2);
    write_batches(&place, 4, 5, 5); /* a resumed run: another segment */
    struct stat st;
    assert_int_equal(stat(scratch_path(scratch, "plan.undo-0002"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_seen(&place, "k1 k2 k3 k4 k5 ", "k5 k4 k3 k2 k1 ");
    place_close(&place);
    place_open(&place, scratch->dir);
    assert_seen(&place, "k1 k2 k3 k4 k5 ", "k5 k4 k3 k2 k1 ");
    must(rh_undo_forget(place.journal, "other", &err));
    assert_seen(&place, "k1 k2 k3 k4 k5 ", "k5 k4 k3 k2 k1 ");
    must(rh_undo_forget(place.journal, "m", &err));
    assert_int_equal(access(scratch_path(scratch, "plan.undo-0001"), F_OK), -1);
    assert_int_equal(access(scratch_path(scratch, "plan.undo-0002"), F_OK), -1);
    assert_seen(&place, "", "");
    must(rh_undo_forget(place.journal, "m", &err));
    place_close(&place);
}

static enum rh_status see_entries(void *user, const struct rh_undo_block *block)
{
    const struct rh_undo_entry *entries = block->entries;
    assert_true(block->range == UINT64_MAX && block->batch == 3);
    assert_string_equal(block->dataset, "");
    assert_int_equal(block->count, 4);
    assert_true(entries[0].absent && entries[0].field_count == 0 && entries[0].key.size == 0);
    assert_true(entries[0].hash.high == UINT64_MAX && entries[0].hash.low == 1);
    assert_memory_equal(entries[1].key.data, "a\0b", 3);
    assert_int_equal(entries[1].field_count, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(entries[1].fields[i].tag, i);
    assert_int_equal(entries[1].fields[1].value.size, 0);
    assert_memory_equal(entries[1].fields[2].value.data, "text", 4);
    assert_memory_equal(entries[1].fields[3].value.data, "\xff\0", 2);
    assert_true(!entries[2].absent && entries[2].field_count == 0);
    assert_true(entries[3].hash.high == 0 && entries[3].hash.low == 0);
    ++*(int *)user;
    return RH_OK;
}

static void test_entries(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    int count = 0;
    struct rh_field fields[] = {
        {RH_TAG_NULL, {0}},
        {              RH_TAG_BYTES,        {0}   },
        {    RH_TAG_TEXT,         rh_bytes("text",            4)},
        { RH_TAG_INTEGER,         rh_bytes("\xff\0",            2)},
    };
    struct rh_undo_entry entries[] = {
        {.absent = true, .hash = {1, UINT64_MAX}},
        {                 .key = rh_bytes("a\0b",            3),        .fields = fields, .field_count = 4, .hash = {2, 2}},
        { .key = rh_bytes("c",              1),                   .hash = {3, 3}},
        {                   .key = rh_bytes("d",              1),                   .absent = true},
    };
    struct rh_undo_block block = {UINT64_MAX, 3, "", entries, 4};
    place_open(&place, scratch->dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    must(rh_undo_append(undo, &block, &position, &err));
    assert_int_equal(position.frames, 1);
    fields[0].value = rh_bytes("x", 1); /* a NULL with bytes */
    assert_int_equal(rh_undo_append(undo, &block, &position, &err), RH_E_INTERNAL);
    rh_undo_close(undo);
    must(rh_undo_each(place.journal, place.provider, "m", false, see_entries, &count, &err));
    must(rh_undo_each(place.journal, place.provider, "m", true, see_entries, &count, &err));
    assert_int_equal(count, 2);
    place_close(&place);
}

static enum rh_status stop_at_two(void *user, const struct rh_undo_block *block)
{
    (void)block;
    return ++*(int *)user == 2 ? RH_E_CANCELLED : RH_OK;
}

static enum rh_status say_end(void *user, const struct rh_undo_block *block)
{
    (void)block;
    ++*(int *)user;
    return RH_END;
}

static void test_callback_status(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    place_open(&place, scratch->dir);
    write_batches(&place, 1, 4, 4);
    for (int backwards = 0; backwards < 2; backwards++) {
        int count = 0;
        assert_int_equal(rh_undo_each(place.journal, place.provider, "m", backwards, stop_at_two, &count, &err),
                         RH_E_CANCELLED);
        assert_int_equal(count, 2);
        count = 0;
        assert_int_equal(rh_undo_each(place.journal, place.provider, "m", backwards, say_end, &count, &err), RH_END);
        assert_int_equal(count, 1);
    }
    place_close(&place);
}

static void test_segments_rotate(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    place_open(&place, scratch->dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    rh_undo_segment_bytes(undo, 400);
    for (uint64_t i = 1; i <= 9; i++)
        must(append_one(undo, i, &position));
    rh_undo_close(undo);
    assert_true(position.segment > 2);
    assert_seen(&place, "k1 k2 k3 k4 k5 k6 k7 k8 k9 ", "k9 k8 k7 k6 k5 k4 k3 k2 k1 ");
    place_close(&place);
}

/* Counts entries of the split batch. */
static enum rh_status count_split(void *user, const struct rh_undo_block *block)
{
    uint64_t *counts = user;
    assert_true(block->range == 2 && block->batch == 5);
    counts[0]++;
    counts[1] += block->count;
    return RH_OK;
}

static void test_split(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    enum { HALF = RH_SEAL_FRAME_MAX / 2 };
    rh_auto_free uint8_t *big = calloc(1, RH_SEAL_FRAME_MAX);
    struct rh_field field = {RH_TAG_BYTES, rh_bytes(big, HALF)};
    struct rh_undo_entry entries[3];
    struct rh_undo_block block = {2, 5, "vault", entries, 3};
    for (int i = 0; i < 3; i++)
        entries[i] = (struct rh_undo_entry){.key = rh_bytes(&"abc"[i], 1), .fields = &field, .field_count = 1};
    place_open(&place, scratch->dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    must(rh_undo_append(undo, &block, &position, &err));
    assert_int_equal(position.frames, 3); /* two halves and a head don't fit one frame */
    uint64_t counts[2] = {0};
    must(rh_undo_each(place.journal, place.provider, "m", true, count_split, counts, &err));
    assert_true(counts[0] == 3 && counts[1] == 3);
    field.value.size = RH_SEAL_FRAME_MAX;
    assert_int_equal(rh_undo_append(undo, &block, &position, &err), RH_E_LIMIT);
    assert_non_null(strstr(err.text, "'a'"));
    rh_undo_close(undo);
    place_close(&place);
}

/* --- damage --- */

struct image {
    uint8_t bytes[8192];
    size_t size;
};

static void load(struct scratch *scratch, struct image *image)
{
    int fd = open(scratch_path(scratch, "plan.undo-0001"), O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, image->bytes, sizeof(image->bytes));
    assert_true(size > 0 && (size_t)size < sizeof(image->bytes));
    image->size = (size_t)size;
    close(fd);
}

static void store(struct scratch *scratch, const struct image *image, size_t size)
{
    int fd = open(scratch_path(scratch, "plan.undo-0001"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, image->bytes, size), (ssize_t)size);
    close(fd);
}

/* Four blocks, two of them journaled as good; the ends of the header and of each block. */
static void make_damaged_place(struct place *place, struct scratch *scratch, struct image *image, uint64_t ends[5])
{
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    struct rh_segment_state segment;
    place_open(place, scratch->dir);
    must(rh_undo_open(place->journal, place->provider, "m", &undo, &err));
    for (uint64_t i = 1; i <= 4; i++) {
        must(append_one(undo, i, &position));
        ends[i] = position.bytes;
        if (i == 2)
            must(rh_journal_segment_good(place->journal, "m", 1, position.bytes, position.frames, &err));
    }
    (void)segment;
    ends[0] = ends[1] - (ends[2] - ends[1]);
    rh_undo_close(undo);
    load(scratch, image);
}

static void test_truncated(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct image image;
    uint64_t ends[5];
    struct seen seen;
    make_damaged_place(&place, scratch, &image, ends);
    for (size_t size = image.size + 1; size-- > 0;) {
        store(scratch, &image, size);
        for (int backwards = 0; backwards < 2; backwards++) {
            enum rh_status status = read_all(&place, backwards, &seen);
            if (size < ends[2]) {
                assert_int_equal(status, RH_E_CORRUPT);
                assert_non_null(strstr(err.text, "plan.undo-0001"));
                assert_int_equal(seen.count, 0);
            } else {
                assert_int_equal(status, RH_OK);
                assert_int_equal(seen.count, size >= ends[4] ? 4 : size >= ends[3] ? 3 : 2);
            }
        }
    }
    assert_int_equal(unlink(scratch_path(scratch, "plan.undo-0001")), 0);
    assert_int_equal(read_all(&place, true, &seen), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "plan.undo-0001"));
    assert_non_null(strstr(err.text, "missing"));
    must(rh_undo_forget(place.journal, "m", &err));
    place_close(&place);
}

static void test_flipped(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct image image;
    uint64_t ends[5];
    struct seen seen;
    make_damaged_place(&place, scratch, &image, ends);
    for (size_t at = 0; at < image.size; at++) {
        image.bytes[at] ^= (uint8_t)(1u << (at % 8));
        store(scratch, &image, image.size);
        image.bytes[at] ^= (uint8_t)(1u << (at % 8));
        for (int backwards = 0; backwards < 2; backwards++) {
            enum rh_status status = read_all(&place, backwards, &seen);
            if (at < ends[2]) {
                /* In the header it can't be told from another key. */
                assert_true(status == RH_E_CORRUPT || (at < ends[0] && status == RH_E_DENIED));
                assert_non_null(strstr(err.text, "plan.undo-0001"));
                assert_true(seen.count <= 1 && (!backwards || seen.count == 0));
            } else {
                assert_int_equal(status, RH_OK);
                assert_int_equal(seen.count, at >= ends[4] ? 4 : at >= ends[3] ? 3 : 2);
            }
        }
    }
    place_close(&place);
}

static void test_swapped(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct seen seen;
    char one[200], two[200], aside[200];
    place_open(&place, scratch->dir);
    write_batches(&place, 1, 2, 2);
    write_batches(&place, 3, 4, 4);
    snprintf(one, sizeof(one), "%s/plan.undo-0001", scratch->dir);
    snprintf(two, sizeof(two), "%s/plan.undo-0002", scratch->dir);
    snprintf(aside, sizeof(aside), "%s/aside", scratch->dir);
    assert_true(rename(one, aside) == 0 && rename(two, one) == 0 && rename(aside, two) == 0);
    assert_int_equal(read_all(&place, true, &seen), RH_E_CORRUPT);
    assert_int_equal(seen.count, 0);
    place_close(&place);
}

/* A segment that was reserved but never confirmed is passed over, whether its file is there or not. */
static void test_unconfirmed(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_segment_state segment = {0};
    place_open(&place, scratch->dir);
    must(rh_journal_segment_add(place.journal, "m", &segment, &err));
    write_batches(&place, 1, 2, 0);
    assert_seen(&place, "k1 k2 ", "k2 k1 ");
    int fd = open(scratch_path(scratch, segment.file), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    assert_seen(&place, "k1 k2 ", "k2 k1 ");
    must(rh_undo_forget(place.journal, "m", &err));
    assert_int_equal(access(scratch_path(scratch, segment.file), F_OK), -1);
    place_close(&place);
}

static void test_inside_transaction(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    place_open(&place, scratch->dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    must(rh_journal_begin(place.journal, &err));
    assert_int_equal(append_one(undo, 1, &position), RH_E_INTERNAL);
    rh_journal_abort(place.journal);
    must(append_one(undo, 1, &position));
    rh_undo_close(undo);
    place_close(&place);
}

/* --- crashes and threads --- */

/* Appends batches, says a byte after each append, then journals it as good. */
static int child_append(const char *dir)
{
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    place_open(&place, dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    for (uint64_t i = 1; i <= 4; i++) {
        must(append_one(undo, i, &position));
        (void)!write(1, "x", 1);
        must(rh_journal_segment_good(place.journal, "m", position.segment, position.bytes, position.frames, &err));
    }
    rh_undo_close(undo);
    place_close(&place);
    return 0;
}

static void crash_at_each(struct scratch *scratch, const char *point, int last)
{
    for (int at = 1; at <= last; at++) {
        char dir[200], crash_at[32];
        struct place place;
        struct seen seen;
        int out = -1;
        snprintf(dir, sizeof(dir), "%s/%s%d", scratch->dir, point, at);
        snprintf(crash_at, sizeof(crash_at), "%s:%d", point, at);
        assert_int_equal(mkdir(dir, 0700), 0);
        pid_t pid = child_start("append", dir, crash_at, &out);
        int said = count_said(out);
        assert_int_equal(child_end(pid), at == last ? 0 : -SIGKILL);
        place_open(&place, dir);
        must(read_all(&place, true, &seen));
        /* All that was said to be durable is there, and at most the one under way. */
        assert_true((int)seen.count == said || (int)seen.count == said + 1);
        if (strcmp(point, "undo") == 0)
            assert_int_equal(seen.count, at / 2);
        size_t before = seen.count;
        write_batches(&place, 8, 9, 9); /* a resumed run goes on */
        must(read_all(&place, false, &seen));
        assert_int_equal(seen.count, before + 2);
        place_close(&place);
    }
}

static void test_crash(void **state)
{
#ifndef RH_TEST_HOOKS
    skip();
#endif
    crash_at_each(*state, "undo", 9);     /* two at each of four appends */
    crash_at_each(*state, "journal", 15); /* making, reserve, confirm, four times good: two each */
}

struct lane {
    struct place *place;
    struct rh_undo *undo;
    uint64_t first;
    bool good;
};

/* Appends and journals, as a lane of the copy does. */
static void *run_lane(void *user)
{
    struct lane *lane = user;
    lane->good = true;
    for (uint64_t i = 0; i < 25 && lane->good; i++) {
        struct rh_undo_position position = {0};
        char key[32];
        snprintf(key, sizeof(key), "k%llu", (unsigned long long)(lane->first + i));
        struct rh_undo_entry entry = {
            .key = rh_bytes_text(key), .absent = true, .hash = {lane->first + i, 7}
        };
        struct rh_undo_block block = {1, lane->first + i, "vault", &entry, 1};
        struct rh_journal *journal = lane->place->journal;
        lane->good =
            rh_undo_append(lane->undo, &block, &position, NULL) == RH_OK && rh_journal_begin(journal, NULL) == RH_OK;
        lane->good = lane->good && rh_journal_segment_good(journal, "m", position.segment, position.bytes,
                                                           position.frames, NULL) == RH_OK;
        lane->good = lane->good && rh_journal_commit(journal, NULL) == RH_OK;
    }
    return NULL;
}

static enum rh_status mark_seen(void *user, const struct rh_undo_block *block)
{
    ((bool *)user)[block->batch] = true;
    return RH_OK;
}

static void test_threads(void **state)
{
    struct scratch *scratch = *state;
    struct place place;
    struct rh_undo *undo = NULL;
    struct lane lanes[4];
    pthread_t threads[4];
    bool seen[101] = {false};
    place_open(&place, scratch->dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    rh_undo_segment_bytes(undo, 2000); /* several segments on the way */
    for (int i = 0; i < 4; i++) {
        lanes[i] = (struct lane){&place, undo, (uint64_t)i * 25 + 1, false};
        assert_int_equal(pthread_create(&threads[i], NULL, run_lane, &lanes[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(lanes[i].good);
    }
    rh_undo_close(undo);
    must(rh_undo_each(place.journal, place.provider, "m", true, mark_seen, seen, &err));
    for (int i = 1; i <= 100; i++)
        assert_true(seen[i]);
    place_close(&place);
}

/* Not a test: microseconds of one append of 1000 small entries. */
static int child_measure(const char *dir)
{
    struct place place;
    struct rh_undo *undo = NULL;
    struct rh_undo_position position;
    enum { TIMES = 200, ENTRIES = 1000 };
    static struct rh_undo_entry entries[ENTRIES];
    static char keys[ENTRIES][32];
    place_open(&place, dir);
    must(rh_undo_open(place.journal, place.provider, "m", &undo, &err));
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(keys[i], sizeof(keys[i]), "logical/some/key/%06d", i);
        entries[i] = (struct rh_undo_entry){
            .key = rh_bytes_text(keys[i]), .absent = true, .hash = {1, 2}
        };
    }
    int64_t begin_us = rh_clock_us();
    for (uint64_t i = 1; i <= TIMES; i++)
        must(rh_undo_append(undo, &(struct rh_undo_block){1, i, "vault", entries, ENTRIES}, &position, &err));
    printf("append of %d entries, %llu bytes: %lld us\n", ENTRIES, (unsigned long long)position.bytes / TIMES,
           (long long)(rh_clock_us() - begin_us) / TIMES);
    begin_us = rh_clock_us();
    for (uint64_t i = 1; i <= TIMES; i++) {
        rh_auto_buf struct rh_buf buf = RH_BUF_INIT;
        size_t taken = 0;
        must(rh_undo_block_encode(&(struct rh_undo_block){1, i, "vault", entries, ENTRIES}, 0, RH_SEAL_FRAME_MAX, &buf,
                                  &taken, &err));
    }
    printf("of which building the block: %lld us\n", (long long)(rh_clock_us() - begin_us) / TIMES);
    rh_undo_close(undo);
    place_close(&place);
    return 0;
}

#define scratch_test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return strcmp(argv[2], "append") == 0 ? child_append(argv[3]) : child_measure(argv[3]);
    const struct CMUnitTest tests[] = {
        scratch_test(test_round_trip),      scratch_test(test_entries),
        scratch_test(test_callback_status), scratch_test(test_segments_rotate),
        scratch_test(test_split),           scratch_test(test_truncated),
        scratch_test(test_flipped),         scratch_test(test_swapped),
        scratch_test(test_unconfirmed),     scratch_test(test_inside_transaction),
        scratch_test(test_crash),           scratch_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
