/* SPDX-License-Identifier: Apache-2.0 */
/* docs/formats/archive.md, claim by claim, on descriptors; the store around it is tests/e2e/test_archive.py. */
#include <rehome/archive.h>
#include <rehome/base.h>

#include "../../src/stores/archive/archive.h"
#include "../../src/stores/archive/format.h"

#include "cm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL = 12, MANY = 60000, CHUNK = 1024 };

static struct rh_error err;
static char folder[] = "/tmp/rehome-archive-XXXXXX", key_path[64];
static struct rh_key_provider *key;

/* --- helpers --- */

static int memory_file(struct rh_bytes content)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(rh_write_all(fd, content, &err), &err);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Record i of the test archives: keys in order, values of several sizes, some NULL. */
static struct rh_record *record(struct rh_batch *batch, size_t i)
{
    static uint8_t filler[3000];
    char name[32];
    rh_batch_clear(batch);
    memset(filler, (int)(i * 7 % 251), sizeof filler);
    const int size = snprintf(name, sizeof name, "key/%08zu", i);
    struct rh_record *made = rh_batch_add_kv(batch, rh_bytes(name, (size_t)size),
                                             rh_bytes(filler, i % 5 == 3 ? 0 : i * 37 % 90), i % 9 == 4);
    assert_non_null(made);
    return made;
}

static void write_records(int fd, size_t count, size_t chunk)
{
    struct archive_writer *writer = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    assert_ok(archive_writer_new(key, fd, chunk, "kv", &archive_kv_dataset, 1, &writer, &err), &err);
    for (size_t i = 0; i < count; i++)
        assert_ok(archive_writer_put(writer, record(&batch, i), &err), &err);
    assert_int_equal(archive_writer_sum(writer)->count, count);
    assert_ok(archive_writer_end(writer, &err), &err);
    archive_writer_free(writer);
}

static struct rh_buf slurp(int fd)
{
    struct rh_buf content = RH_BUF_INIT;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_ok(rh_file_read(AT_FDCWD, path, 64 << 20, &content, &err), &err);
    return content;
}

static struct rh_buf archive_of(size_t count, size_t chunk)
{
    int fd = memory_file(rh_bytes("", 0));
    write_records(fd, count, chunk);
    struct rh_buf content = slurp(fd);
    close(fd);
    return content;
}

/* Reads all of dataset 0; how many records came before the end or the failure. */
static enum rh_status read_all(int fd, size_t *ret_count, bool compare)
{
    struct archive_reader *reader = NULL;
    struct archive_walk walk;
    struct archive_found found;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT, wanted = RH_BATCH_INIT;
    *ret_count = 0;
    enum rh_status status = archive_reader_open(key, fd, &reader, &err);
    if (status != RH_OK)
        return status;
    status = archive_walk_open(&walk, reader, 0, (struct rh_bytes){0}, &err);
    while (status == RH_OK && (status = archive_walk_next(&walk, &found, &err)) == RH_OK) {
        rh_batch_clear(&batch);
        status = archive_walk_take(&walk, &found, &batch, &err);
        if (status != RH_OK)
            break;
        if (compare) {
            const struct rh_record *should = record(&wanted, *ret_count), *is = &batch.records[0];
            assert_true(rh_bytes_equal(is->key, should->key));
            assert_int_equal(is->fields[0].tag, should->fields[0].tag);
            assert_true(rh_bytes_equal(is->fields[0].value, should->fields[0].value));
            assert_int_equal(is->value_bytes, should->value_bytes);
        }
        ++*ret_count;
    }
    archive_walk_done(&walk);
    archive_reader_free(reader);
    return status;
}

static enum rh_status read_bytes(struct rh_bytes content, size_t *ret_count)
{
    int fd = memory_file(content);
    enum rh_status status = read_all(fd, ret_count, false);
    close(fd);
    return status;
}

/* A pipe that a thread fills. */
struct filler {
    int fd;
    struct rh_bytes content;
};

static void *fill(void *user)
{
    struct filler *filler = user;
    rh_ignore(rh_write_all(filler->fd, filler->content, NULL)); /* the reader may have gone */
    close(filler->fd);
    return NULL;
}

static enum rh_status read_pipe(struct rh_bytes content, size_t *ret_count, bool compare)
{
    int ends[2];
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    struct filler filler = {.fd = ends[1], .content = content};
    assert_int_equal(pthread_create(&thread, NULL, fill, &filler), 0);
    enum rh_status status = read_all(ends[0], ret_count, compare);
    close(ends[0]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return status;
}

/* --- tests --- */

static void test_round_trip(void **state)
{
    static const size_t counts[] = {0, 1, 2, SMALL, 700, 5000};
    static const size_t chunks[] = {CHUNK, ARCHIVE_CHUNK};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (size_t j = 0; j < 2; j++) {
            rh_auto_buf struct rh_buf content = archive_of(counts[i], chunks[j]);
            size_t got = 0;
            int fd = memory_file(rh_buf_bytes(&content));
            assert_int_equal(read_all(fd, &got, true), RH_END);
            assert_int_equal(got, counts[i]);
            close(fd);
            assert_int_equal(read_pipe(rh_buf_bytes(&content), &got, true), RH_END);
            assert_int_equal(got, counts[i]);
        }
}

/* Streams that end anywhere in a chunk, also at its border. */
static void test_every_length(void **state)
{
    (void)state;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    static uint8_t value[2 * CHUNK + 2];
    bool border = false;
    for (size_t size = 0; size < sizeof value; size++) {
        int fd = memory_file(rh_bytes("", 0));
        struct archive_writer *writer = NULL;
        size_t got = 0;
        rh_batch_clear(&batch);
        assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text("k"), rh_bytes(value, size), false));
        assert_ok(archive_writer_new(key, fd, CHUNK, "kv", &archive_kv_dataset, 1, &writer, &err), &err);
        assert_ok(archive_writer_put(writer, &batch.records[0], &err), &err);
        assert_ok(archive_writer_end(writer, &err), &err);
        archive_writer_free(writer);
        rh_auto_buf struct rh_buf content = slurp(fd);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        border = border || (content.size - 185) % (CHUNK + ARCHIVE_FRAME_EXTRA) == 0;
        assert_int_equal(read_all(fd, &got, false), RH_END);
        assert_int_equal(got, 1);
        if (size % 16 == 0)
            assert_int_equal(read_pipe(rh_buf_bytes(&content), &got, false), RH_END);
        close(fd);
    }
    assert_true(border);
}

static void test_truncated_anywhere(void **state)
{
    rh_auto_buf struct rh_buf content = archive_of(200, CHUNK);
    const size_t frame = CHUNK + ARCHIVE_FRAME_EXTRA, header = 185;
    size_t got, borders = 0;
    (void)state;
    assert_true(content.size > header + 5 * frame);
    for (size_t cut = 0; cut < content.size; cut++) {
        const bool border = cut >= header && (cut - header) % frame == 0;
        if (!border && cut > 300 && cut < content.size - 300 && cut % 61)
            continue;
        borders += border;
        assert_int_equal(read_bytes(rh_bytes(content.data, cut), &got), RH_E_CORRUPT);
        assert_int_equal(got, 0); /* of a file nothing is given out before its end was seen */
        if (border || cut % 5 == 0)
            assert_int_equal(read_pipe(rh_bytes(content.data, cut), &got, false), RH_E_CORRUPT);
    }
    assert_true(borders > 5);
}

static void test_flipped_anywhere(void **state)
{
    rh_auto_buf struct rh_buf content = archive_of(SMALL, CHUNK);
    size_t got;
    (void)state;
    assert_int_equal(read_bytes(rh_buf_bytes(&content), &got), RH_END);
    for (size_t i = 0; i < content.size; i++) {
        content.data[i] ^= (uint8_t)(1 << i % 8);
        const enum rh_status status = read_bytes(rh_buf_bytes(&content), &got);
        assert_true(status == RH_E_CORRUPT || status == RH_E_DENIED);
        const enum rh_status piped = read_pipe(rh_buf_bytes(&content), &got, false);
        assert_true(piped == RH_E_CORRUPT || piped == RH_E_DENIED);
        content.data[i] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(read_bytes(rh_buf_bytes(&content), &got), RH_END);
}

static void test_more_behind_the_end(void **state)
{
    rh_auto_buf struct rh_buf content = archive_of(SMALL, CHUNK);
    const size_t size = content.size;
    size_t got;
    (void)state;
    for (size_t more = 1; more < 40; more++) {
        assert_ok(rh_buf_add(&content, "x", 1, &err), &err);
        assert_int_equal(read_bytes(rh_buf_bytes(&content), &got), RH_E_CORRUPT);
        assert_int_equal(read_pipe(rh_buf_bytes(&content), &got, false), RH_E_CORRUPT);
    }
    content.size = size;
    rh_auto_buf struct rh_buf twice = RH_BUF_INIT;
    assert_ok(rh_buf_add(&twice, content.data, content.size, &err), &err);
    assert_ok(rh_buf_add(&twice, content.data, content.size, &err), &err);
    assert_int_equal(read_bytes(rh_buf_bytes(&twice), &got), RH_E_CORRUPT);
}

/* Finds every key, and the next one for keys that aren't there, in an index of several levels. */
static void test_index(void **state)
{
    rh_auto_buf struct rh_buf content = archive_of(MANY, CHUNK);
    int fd = memory_file(rh_buf_bytes(&content));
    struct archive_reader *reader = NULL;
    struct archive_found found;
    uint8_t level = 0;
    (void)state;
    assert_ok(archive_reader_open(key, fd, &reader, &err), &err);
    assert_int_equal(reader->head.datasets[0].sum.count, MANY);
    assert_ok(archive_in_read(&reader->in, reader->head.datasets[0].root + 1, &level, 1, &err), &err);
    assert_true(level >= 1);
    for (size_t i = 0; i < MANY; i += i % 37 + 1) {
        char name[32];
        struct archive_walk walk;
        const int size = snprintf(name, sizeof name, "key/%08zu%s", i, i % 2 ? "" : "+");
        assert_ok(archive_walk_open(&walk, reader, 0, rh_bytes(name, (size_t)size), &err), &err);
        size_t steps = 0;
        uint64_t bytes;
        int order = -1;
        while (order < 0 && archive_walk_next(&walk, &found, &err) == RH_OK) {
            order = rh_bytes_compare(rh_buf_bytes(&walk.key), rh_bytes(name, (size_t)size));
            if (order < 0)
                assert_ok(archive_walk_skip(&walk, &found, &bytes, &err), &err);
            steps++;
        }
        assert_true(steps < 80); /* one chunk's worth */
        if (i % 2)
            assert_int_equal(order, 0);
        else if (i + 1 < MANY)
            assert_true(order > 0);
        archive_walk_done(&walk);
    }
    archive_reader_free(reader);
    close(fd);
}

/* Long keys make blocks of few entries, and so a high tree. */
static void test_index_of_long_keys(void **state)
{
    static uint8_t name[20000];
    enum { COUNT = 900 };
    int fd = memory_file(rh_bytes("", 0));
    struct archive_writer *writer = NULL;
    struct archive_reader *reader = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    uint8_t level = 0;
    (void)state;
    memset(name, 'n', sizeof name);
    assert_ok(archive_writer_new(key, fd, CHUNK, "kv", &archive_kv_dataset, 1, &writer, &err), &err);
    for (size_t i = 0; i < COUNT; i++) {
        rh_batch_clear(&batch);
        snprintf((char *)name + sizeof name - 5, 5, "%04zu", i);
        assert_non_null(rh_batch_add_kv(&batch, rh_bytes(name, sizeof name), rh_bytes_text("v"), false));
        assert_ok(archive_writer_put(writer, &batch.records[0], &err), &err);
    }
    assert_ok(archive_writer_end(writer, &err), &err);
    archive_writer_free(writer);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_ok(archive_reader_open(key, fd, &reader, &err), &err);
    assert_ok(archive_in_read(&reader->in, reader->head.datasets[0].root + 1, &level, 1, &err), &err);
    assert_true(level >= 2);
    for (size_t i = 0; i < COUNT; i += 13) {
        struct archive_walk walk;
        struct archive_found found;
        snprintf((char *)name + sizeof name - 5, 5, "%04zu", i);
        assert_ok(archive_walk_open(&walk, reader, 0, rh_bytes(name, sizeof name), &err), &err);
        assert_ok(archive_walk_next(&walk, &found, &err), &err);
        assert_true(rh_bytes_equal(rh_buf_bytes(&walk.key), rh_bytes(name, sizeof name)));
        archive_walk_done(&walk);
    }
    archive_reader_free(reader);
    size_t got = 0;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(read_all(fd, &got, false), RH_END);
    assert_int_equal(got, COUNT);
    rh_auto_buf struct rh_buf content = slurp(fd);
    assert_int_equal(read_pipe(rh_buf_bytes(&content), &got, false), RH_END);
    assert_int_equal(got, COUNT);
    close(fd);
}

/* A writer's memory doesn't know how many records there were. */
static void test_levels_stay_small(void **state)
{
    static struct archive_index index;
    struct archive_out out;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    uint64_t root = 0, offset = 1;
    (void)state;
    assert_ok(archive_out_open(&out, key, fd, ARCHIVE_CHUNK, &err), &err);
    out.at = 1;
    for (uint64_t i = 0; i < 3000000; i++) {
        char name[24];
        const int size = snprintf(name, sizeof name, "%020llu", (unsigned long long)i);
        assert_ok(archive_index_make_room(&index, &out, &err), &err);
        assert_ok(archive_index_add(&index, &out, 0, offset++, i, rh_bytes(name, (size_t)size), &err), &err);
    }
    assert_in_range(index.height, 2, 4);
    size_t held = 0;
    for (size_t i = 0; i < ARCHIVE_LEVELS; i++)
        held += index.levels[i].entries.capacity;
    assert_true(held < 512 * 1024);
    assert_ok(archive_index_end(&index, &out, &root, &err), &err);
    assert_true(root > 0);
    archive_index_done(&index);
    archive_out_done(&out);
    close(fd);
}

static void test_order_and_bounds_of_what_is_written(void **state)
{
    int fd = memory_file(rh_bytes("", 0));
    struct archive_writer *writer = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    struct rh_field wrong = {.tag = RH_TAG_INTEGER, .value = rh_bytes_text("1")};
    (void)state;
    assert_ok(archive_writer_new(key, fd, CHUNK, "kv", &archive_kv_dataset, 1, &writer, &err), &err);
    struct rh_record *b = rh_batch_add_kv(&batch, rh_bytes_text("b"), rh_bytes_text("1"), false);
    assert_ok(archive_writer_put(writer, b, &err), &err);
    assert_int_equal(archive_writer_put(writer, b, &err), RH_E_INTERNAL); /* the same key */
    b->key = rh_bytes_text("a");
    assert_int_equal(archive_writer_put(writer, b, &err), RH_E_INTERNAL); /* a smaller one */
    b->key = rh_bytes_text("");
    assert_int_equal(archive_writer_put(writer, b, &err), RH_E_LIMIT);
    b->key = rh_bytes_text("c");
    b->fields = &wrong;
    assert_int_equal(archive_writer_put(writer, b, &err), RH_E_LIMIT);
    b->field_count = 0;
    assert_int_equal(archive_writer_put(writer, b, &err), RH_E_LIMIT);
    archive_writer_free(writer);
    close(fd);
}

/* A descriptor that takes some bytes and then is full. */
static void test_full_disk(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct archive_writer *writer = NULL;
    if (fd < 0)
        skip();
    assert_int_equal(archive_writer_new(key, fd, CHUNK, "kv", &archive_kv_dataset, 1, &writer, &err), RH_E_FULL);
    close(fd);
}

/* --- several datasets, as a database would have them --- */

static struct archive_field two_fields[] = {
    {.tags = 1 << RH_TAG_INTEGER,                 .name = (char *)(uintptr_t) "id"  },
    {.tags = 1 << RH_TAG_NULL | 1 << RH_TAG_TEXT, .name = (char *)(uintptr_t) "name"},
};
static const struct archive_dataset three[] = {
    {.name = "empty",   .fields = two_fields, .field_count = 2},
    {.name = "full",    .fields = two_fields, .field_count = 2},
    {.name = "keyless", .fields = two_fields, .field_count = 0},
};

static int write_three(const char *model)
{
    int fd = memory_file(rh_bytes("", 0));
    struct archive_writer *writer = NULL;
    assert_ok(archive_writer_new(key, fd, CHUNK, model, three, 3, &writer, &err), &err);
    assert_int_equal(archive_writer_end(writer, &err), RH_E_INTERNAL); /* datasets are missing */
    assert_ok(archive_writer_next(writer, &err), &err);
    for (size_t i = 0; i < 300; i++) {
        char name[8];
        const int size = snprintf(name, sizeof name, "%04zu", i);
        struct rh_field fields[] = {
            {.tag = RH_TAG_INTEGER,                    .value = rh_bytes_text("42")               },
            {.tag = i % 2 ? RH_TAG_NULL : RH_TAG_TEXT, .value = rh_bytes_text(i % 2 ? "" : "name")}
        };
        const struct rh_record row = {.key = rh_bytes(name, (size_t)size), .fields = fields, .field_count = 2};
        assert_ok(archive_writer_put(writer, &row, &err), &err);
    }
    assert_ok(archive_writer_next(writer, &err), &err);
    const struct rh_record bare = {.key = rh_bytes_text("only a key")};
    assert_ok(archive_writer_put(writer, &bare, &err), &err);
    assert_ok(archive_writer_end(writer, &err), &err);
    archive_writer_free(writer);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void test_several_datasets(void **state)
{
    int fd = write_three("mysql");
    struct rh_seal_info seal;
    struct rh_archive_info info;
    (void)state;
    assert_ok(rh_seal_look(fd, &seal, &err), &err);
    assert_string_equal(seal.purpose, "archive");
    assert_int_equal(seal.first_frame_bytes, CHUNK);
    assert_ok(rh_archive_look(fd, &seal, NULL, false, &info, &err), &err);
    assert_true(info.ends);
    assert_int_equal(info.chunk_bytes, CHUNK);
    assert_ok(rh_archive_look(fd, &seal, key, true, &info, &err), &err);
    assert_string_equal(info.model, "mysql");
    assert_int_equal(info.datasets, 3);
    assert_int_equal(info.records, 301);
    assert_int_equal(info.bytes, 300 * (4 + 2) + 150 * 4 + 10);
    assert_true(info.checked);
    close(fd);
}

/* The driver on a file in the test's folder. */
static enum rh_status open_driver(const char *path, struct rh_session **ret_session, struct rh_store **ret_store)
{
    struct rh_options *options = NULL;
    struct rh_ctx ctx = {.err = &err};
    assert_ok(rh_options_new(rh_archive_driver.options, "", &options, &err), &err);
    assert_ok(rh_options_set(options, "path", rh_bytes_text(path), "", &err), &err);
    assert_ok(rh_options_set(options, "key_file", rh_bytes_text(key_path), "", &err), &err);
    assert_ok(rh_options_end(options, &err), &err);
    const struct rh_store_args args = {.options = options, .side = RH_SIDE_SOURCE, .name = "test"};
    enum rh_status status = rh_archive_driver.open(&ctx, &args, ret_store);
    if (status == RH_OK)
        status = rh_archive_driver.session_open(&ctx, *ret_store, RH_ROLE_CONTROL, ret_session);
    rh_options_free(options);
    return status;
}

static void test_another_model_is_refused(void **state)
{
    static const char *const models[] = {"keyring", "kv"}; /* the second has the right model and other datasets */
    char path[96];
    (void)state;
    snprintf(path, sizeof path, "%s/model.archive", folder);
    for (size_t i = 0; i < 2; i++) {
        struct rh_session *session = NULL;
        struct rh_store *store = NULL;
        struct rh_facts facts;
        struct rh_ctx ctx = {.err = &err};
        int fd = write_three(models[i]);
        rh_auto_buf struct rh_buf content = slurp(fd);
        close(fd);
        assert_ok(rh_file_replace(AT_FDCWD, path, rh_buf_bytes(&content), 0600, &err), &err);
        assert_ok(open_driver(path, &session, &store), &err);
        assert_int_equal(rh_archive_driver.facts(&ctx, session, &facts), RH_E_REFUSED);
        assert_non_null(strstr(err.text, i ? "other datasets" : "'keyring'"));
        rh_archive_driver.session_close(session);
        rh_archive_driver.close(store);
    }
}

/* --- streams that a broken writer would make: sealed well, and wrong inside --- */

/* The plain stream of an archive. */
static struct rh_buf plain_of(size_t count)
{
    rh_auto_buf struct rh_buf content = archive_of(count, CHUNK), frame = RH_BUF_INIT;
    struct rh_buf plain = RH_BUF_INIT;
    struct rh_seal_reader *reader = NULL;
    int fd = memory_file(rh_buf_bytes(&content));
    assert_ok(rh_seal_reader_new(key, fd, "archive", rh_bytes("", 0), &reader, &err), &err);
    while (rh_seal_reader_next(reader, &frame, NULL, &err) == RH_OK)
        assert_ok(rh_buf_add(&plain, frame.data, frame.size, &err), &err);
    rh_seal_reader_free(reader);
    close(fd);
    return plain;
}

/* Seals a plain stream in chunks. */
static struct rh_buf seal_plain(struct rh_bytes plain)
{
    struct rh_seal_writer *writer = NULL;
    int fd = memory_file(rh_bytes("", 0));
    assert_ok(rh_seal_writer_new(key, fd, "archive", rh_bytes("", 0), &writer, &err), &err);
    while (plain.size > CHUNK) {
        assert_ok(rh_seal_writer_add(writer, rh_bytes(plain.data, CHUNK), NULL, &err), &err);
        plain = rh_bytes(plain.data + CHUNK, plain.size - CHUNK);
    }
    assert_ok(rh_seal_writer_end(writer, plain, &err), &err);
    rh_seal_writer_free(writer);
    struct rh_buf content = slurp(fd);
    close(fd);
    return content;
}

/* Whatever is changed inside is refused or doesn't matter to what is read; it never crashes, and never adds records. */
static void test_wrong_inside(void **state)
{
    rh_auto_buf struct rh_buf plain = plain_of(60);
    rh_auto_buf struct rh_buf as_is = seal_plain(rh_buf_bytes(&plain));
    size_t got = 0, refused = 0;
    (void)state;
    assert_int_equal(read_bytes(rh_buf_bytes(&as_is), &got), RH_END);
    for (size_t i = 0; i < plain.size; i++) {
        static const uint8_t flips[] = {1, 0x80};
        for (size_t j = 0; j < 2; j++) {
            plain.data[i] ^= flips[j];
            rh_auto_buf struct rh_buf sealed = seal_plain(rh_buf_bytes(&plain));
            const enum rh_status status = read_bytes(rh_buf_bytes(&sealed), &got);
            assert_true(status == RH_END || status == RH_E_CORRUPT);
            assert_true(got <= 60);
            if (status == RH_END)
                assert_int_equal(got, 60);
            refused += status == RH_E_CORRUPT;
            plain.data[i] ^= flips[j];
        }
    }
    assert_true(refused > plain.size); /* more than half: what is left is stamps, names and the index's entries */
}

/* Archives made once by format version 1; RH_MAKE_GOLDEN=1 makes them where they are missing. Python reads them, too.
 */
static void golden(const char *name, struct rh_key_provider *provider, size_t count, size_t chunk)
{
    char path[512];
    rh_auto_buf struct rh_buf content = RH_BUF_INIT;
    struct rh_key_provider *const own = key;
    size_t got = 0;
    assert_true(snprintf(path, sizeof path, "%s/archive/%s", RH_TEST_DATA, name) > 0);
    key = provider;
    enum rh_status status = rh_file_read(AT_FDCWD, path, 1 << 20, &content, &err);
    if (status == RH_NOT_FOUND && getenv("RH_MAKE_GOLDEN")) {
        content = archive_of(count, chunk);
        status = rh_file_replace(AT_FDCWD, path, rh_buf_bytes(&content), 0644, &err);
    }
    assert_int_equal(status, RH_OK);
    int fd = memory_file(rh_buf_bytes(&content));
    assert_int_equal(read_all(fd, &got, true), RH_END);
    assert_int_equal(got, count);
    close(fd);
    key = own;
}

static void test_golden(void **state)
{
    char path[96];
    struct rh_key_provider *file_provider = NULL, *words = NULL;
    rh_auto_secret struct rh_secret *phrase = NULL;
    (void)state;
    snprintf(path, sizeof path, "%s/golden.key", folder);
    assert_ok(rh_file_replace(AT_FDCWD, path, rh_bytes_text("rehome-golden-archive-key-v1-000"), 0600, &err), &err);
    assert_ok(rh_key_provider_file(path, &file_provider, &err), &err);
    assert_ok(rh_secret_new(rh_bytes_text("correct horse battery staple"), &phrase, &err), &err);
    assert_ok(rh_key_provider_passphrase(phrase, &words, &err), &err);
    rh_key_provider_cost(words, 1 << 4);
    golden("v1-key-file.archive", file_provider, 4000, CHUNK);
    golden("v1-passphrase.archive", words, 3, ARCHIVE_CHUNK);
    golden("v1-empty.archive", file_provider, 0, ARCHIVE_CHUNK);
    rh_key_provider_free(file_provider);
    rh_key_provider_free(words);
    unlink(path);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    return rh_key_provider_file_make(key_path, &key, &err) == RH_OK ? 0 : -1;
}

static int teardown(void **state)
{
    char path[96];
    (void)state;
    rh_key_provider_free(key);
    snprintf(path, sizeof path, "%s/model.archive", folder);
    unlink(path);
    unlink(key_path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_truncated_anywhere),
        cmocka_unit_test(test_flipped_anywhere),
        cmocka_unit_test(test_more_behind_the_end),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_index_of_long_keys),
        cmocka_unit_test(test_levels_stay_small),
        cmocka_unit_test(test_order_and_bounds_of_what_is_written),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_several_datasets),
        cmocka_unit_test(test_another_model_is_refused),
        cmocka_unit_test(test_wrong_inside),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests_name("archive", tests, setup, teardown);
}
