/* SPDX-License-Identifier: Apache-2.0 */
/* docs/formats/seal.md, claim by claim. */
#include <rehome/base.h>
#include <rehome/seal.h>

#include "cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAMES = 4, HEADER_BYTES = 97 + 4 + 4 + 77, WRAP = 97 + 4 };

static struct rh_error err;
static char folder[] = "/tmp/rehome-seal-XXXXXX";
static struct rh_key_provider *key, *other_key, *words;
static uint8_t large[300];

/* The frames of the test file; the last is the last. */
static struct rh_bytes frame(size_t i)
{
    const struct rh_bytes frames[FRAMES] = {rh_bytes_text("alpha"), rh_bytes("", 0), rh_bytes(large, sizeof large),
                                            rh_bytes_text("omega")};
    return frames[i];
}

/* Where frame i begins; FRAMES: the end. */
static size_t frame_at(size_t i)
{
    size_t at = HEADER_BYTES;
    for (size_t j = 0; j < i; j++)
        at += 8 + frame(j).size + 16;
    return at;
}

static int memory_file(struct rh_bytes content)
{
    int fd = memfd_create("seal", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(rh_write_all(fd, content, &err), &err);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Seals the test file with purpose "undo". */
static struct rh_buf seal_file(struct rh_key_provider *provider, const char *binding)
{
    int fd = memory_file(rh_bytes(NULL, 0));
    struct rh_seal_writer *writer;
    uint64_t offset = 0;
    assert_ok(rh_seal_writer_new(provider, fd, "undo", rh_bytes_text(binding), &writer, &err), &err);
    for (size_t i = 0; i + 1 < FRAMES; i++) {
        uint64_t before = rh_seal_writer_size(writer);
        assert_ok(rh_seal_writer_add(writer, frame(i), &offset, &err), &err);
        assert_int_equal(offset, before);
        assert_int_equal(rh_seal_writer_size(writer), before + 8 + frame(i).size + 16);
    }
    assert_ok(rh_seal_writer_end(writer, frame(FRAMES - 1), &err), &err);
    assert_int_equal(rh_seal_writer_add(writer, frame(0), NULL, &err), RH_E_INTERNAL); /* it has ended */
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, rh_seal_writer_size(writer));
    rh_seal_writer_free(writer);
    struct rh_buf content = RH_BUF_INIT;
    char path[64];
    assert_true(snprintf(path, sizeof path, "/proc/self/fd/%d", fd) > 0);
    assert_ok(rh_file_read(AT_FDCWD, path, 1 << 20, &content, &err), &err);
    close(fd);
    return content;
}

struct seen {
    enum rh_status status; /* of the end, or of opening */
    size_t frames;         /* given out */
    uint64_t offset;       /* with RH_NOT_FOUND */
    bool opened;
};

/* Reads a sealed file to its end; what is given out must be the test file's frames in their order. */
static struct seen
read_file(struct rh_key_provider *provider, struct rh_bytes content, const char *purpose, const char *binding)
{
    struct seen seen = {0};
    int fd = memory_file(content);
    struct rh_seal_reader *reader = NULL;
    rh_auto_buf struct rh_buf plain = RH_BUF_INIT;
    seen.status = rh_seal_reader_new(provider, fd, purpose, rh_bytes_text(binding), &reader, &err);
    seen.opened = seen.status == RH_OK;
    while (seen.status == RH_OK) {
        seen.status = rh_seal_reader_next(reader, &plain, &seen.offset, &err);
        if (seen.status == RH_OK) {
            assert_true(seen.frames < FRAMES);
            assert_true(rh_bytes_equal(rh_buf_bytes(&plain), frame(seen.frames)));
            seen.frames++;
        } else {
            assert_int_equal(plain.size, 0);
        }
    }
    if (seen.opened) /* asked again, it says the same */
        assert_int_equal(rh_seal_reader_next(reader, &plain, NULL, &err), seen.status);
    rh_seal_reader_free(reader);
    close(fd);
    return seen;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rh_key_provider *providers[] = {key, words};
    for (size_t i = 0; i < 2; i++) {
        rh_auto_buf struct rh_buf file = seal_file(providers[i], "plan 1");
        struct seen seen = read_file(providers[i], rh_buf_bytes(&file), "undo", "plan 1");
        assert_int_equal(seen.status, RH_END);
        assert_int_equal(seen.frames, FRAMES);
    }
}

static void test_layout(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf file = seal_file(key, "plan 1"), again = seal_file(key, "plan 1");
    assert_int_equal(file.size, frame_at(FRAMES));
    assert_memory_equal(file.data, "RHSEAL\r\n\0\0\0\1\0\0\0\x65", 16);
    assert_memory_equal(file.data + 96, "\4undo\0\0\0\x4d\1", 10);
    for (size_t i = 0; i < FRAMES; i++) {
        uint8_t head[8] = {0, 0, (uint8_t)(frame(i).size >> 8), (uint8_t)frame(i).size, 0, 0, 0, i == FRAMES - 1};
        assert_memory_equal(file.data + frame_at(i), head, 8);
    }
    /* sealed twice: another id, other keys, another nonce, and so on */
    assert_memory_not_equal(file.data + 16, again.data + 16, 16);
    assert_memory_not_equal(file.data + 32, again.data + 32, 32);
    assert_memory_not_equal(file.data + 64, again.data + 64, 32);
    assert_memory_not_equal(file.data + WRAP + 5 + 16, again.data + WRAP + 5 + 16, 12);
    assert_memory_equal(file.data + WRAP + 5, again.data + WRAP + 5, 16); /* the key's id */
    assert_memory_not_equal(file.data + frame_at(0) + 8, again.data + frame_at(0) + 8, 5);
    assert_memory_not_equal(file.data + frame_at(0) + 8, "alpha", 5);
}

/* What a changed byte at this place may lead to; never to the file's end. */
static bool flip_answer_right(size_t at, const struct seen *seen)
{
    if (at < HEADER_BYTES)
        return !seen->opened && (seen->status == RH_E_CORRUPT || seen->status == RH_E_DENIED);
    for (size_t i = 0; i < FRAMES; i++)
        if (at >= frame_at(i) && at < frame_at(i) + 4 && seen->status == RH_NOT_FOUND)
            return seen->frames == i; /* a size that got larger looks like a file cut off */
    return seen->status == RH_E_CORRUPT;
}

static void test_every_byte_flipped(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    rh_auto_buf struct rh_buf file = seal_file(key, "plan 1");
    for (size_t at = 0; at < file.size; at++) {
        for (size_t m = 0; m < sizeof masks; m++) {
            file.data[at] ^= masks[m];
            struct seen seen = read_file(key, rh_buf_bytes(&file), "undo", "plan 1");
            if (!flip_answer_right(at, &seen))
                fail_msg("byte %zu ^ %02x: %s after %zu frames", at, masks[m], rh_status_name(seen.status),
                         seen.frames);
            file.data[at] ^= masks[m];
        }
    }
    assert_int_equal(read_file(key, rh_buf_bytes(&file), "undo", "plan 1").status, RH_END);
}

static void test_every_length_truncated(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf file = seal_file(key, "plan 1");
    for (size_t size = 0; size < file.size; size++) {
        struct seen seen = read_file(key, rh_bytes(file.data, size), "undo", "plan 1");
        if (size < HEADER_BYTES) {
            assert_false(seen.opened);
            assert_int_equal(seen.status, RH_E_CORRUPT);
            continue;
        }
        size_t whole = 0;
        while (frame_at(whole + 1) <= size)
            whole++;
        assert_int_equal(seen.status, RH_NOT_FOUND);
        assert_int_equal(seen.frames, whole);
        assert_int_equal(seen.offset, frame_at(whole));
    }
    assert_ok(rh_buf_u8(&file, 0, &err), &err);
    struct seen seen = read_file(key, rh_buf_bytes(&file), "undo", "plan 1");
    assert_int_equal(seen.status, RH_E_CORRUPT); /* bytes after the last frame */
    assert_int_equal(seen.frames, FRAMES);
}

/* The header of one file and frames in the order of `numbers` ("0213") of another. */
static struct seen read_rearranged(const struct rh_buf *header, const struct rh_buf *frames, const char *numbers)
{
    rh_auto_buf struct rh_buf made = RH_BUF_INIT;
    assert_ok(rh_buf_add(&made, header->data, HEADER_BYTES, &err), &err);
    for (; *numbers; numbers++) {
        size_t i = (size_t)(*numbers - '0');
        assert_ok(rh_buf_add(&made, frames->data + frame_at(i), frame_at(i + 1) - frame_at(i), &err), &err);
    }
    return read_file(key, rh_buf_bytes(&made), "undo", "plan 1");
}

static void test_frames_moved(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf one = seal_file(key, "plan 1"), two = seal_file(key, "plan 1");
    static const struct {
        const char *order;
        size_t good;
    } cases[] = {
        {"1023",       0},
        {"0213",       1},
        {"023",        1},
        {"013",        2},
        {"0123"
         "3", 4},
        {"00123",      1},
        {"01223",      3},
        {"3",          0},
        {"123",        0},
    };
    assert_int_equal(read_rearranged(&one, &one, "0123").status, RH_END);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen seen = read_rearranged(&one, &one, cases[i].order);
        assert_int_equal(seen.status, RH_E_CORRUPT);
        assert_int_equal(seen.frames, cases[i].good);
    }
    struct seen seen = read_rearranged(&one, &two, "0123"); /* same key, plan and places, another file */
    assert_int_equal(seen.status, RH_E_CORRUPT);
    assert_int_equal(seen.frames, 0);
    memcpy(one.data + frame_at(2), two.data + frame_at(2), frame_at(3) - frame_at(2));
    seen = read_file(key, rh_buf_bytes(&one), "undo", "plan 1");
    assert_int_equal(seen.status, RH_E_CORRUPT);
    assert_int_equal(seen.frames, 2);
}

static void test_wrong_everything(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf file = seal_file(key, "plan 1"), phrase = seal_file(words, "plan 1");
    struct rh_bytes content = rh_buf_bytes(&file);
    assert_int_equal(read_file(key, content, "undo", "plan 2").status, RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "belongs to another"));
    assert_int_equal(read_file(key, content, "undo", "").status, RH_E_CORRUPT);
    assert_int_equal(read_file(key, content, "digest-key", "plan 1").status, RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "for 'undo', not for 'digest-key'"));
    assert_int_equal(read_file(other_key, content, "undo", "plan 1").status, RH_E_DENIED);
    assert_non_null(strstr(err.text, "another key"));
    assert_int_equal(read_file(words, content, "undo", "plan 1").status, RH_E_DENIED);
    assert_non_null(strstr(err.text, "sealed with a key file, not with the passphrase"));

    rh_auto_secret struct rh_secret *wrong = NULL;
    struct rh_key_provider *wrong_words;
    assert_ok(rh_secret_new(rh_bytes_text("correct horse"), &wrong, &err), &err);
    assert_ok(rh_key_provider_passphrase(wrong, &wrong_words, &err), &err);
    assert_int_equal(read_file(wrong_words, rh_buf_bytes(&phrase), "undo", "plan 1").status, RH_E_DENIED);
    assert_non_null(strstr(err.text, "wrong passphrase"));
    rh_key_provider_free(wrong_words);
    file.data[11] = 2; /* the version */
    assert_int_equal(read_file(key, content, "undo", "plan 1").status, RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "another version"));
}

static void test_hostile_scrypt(void **state)
{
    (void)state;
    static const struct {
        uint8_t log_n, r, p;
    } cases[] = {
        {0,   8,  1},
        {21,  8,  1},
        {63,  8,  1},
        {64,  8,  1},
        {255, 8,  1},
        {14,  0,  1},
        {14,  8,  0},
        {14,  8,  9},
        {14,  65, 1},
        {20,  9,  1},
        {20,  64, 1},
    };
    rh_auto_buf struct rh_buf file = seal_file(words, "plan 1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        file.data[WRAP + 5] = cases[i].log_n;
        file.data[WRAP + 9] = cases[i].r;
        file.data[WRAP + 13] = cases[i].p;
        int64_t before = rh_clock_us();
        assert_int_equal(read_file(words, rh_buf_bytes(&file), "undo", "plan 1").status, RH_E_CORRUPT);
        assert_non_null(strstr(err.text, "out of bounds"));
        assert_true(rh_clock_us() - before < 500000); /* N=2^20 would take seconds */
    }
    file.data[WRAP + 6] = 0x80; /* r huge */
    assert_int_equal(read_file(words, rh_buf_bytes(&file), "undo", "plan 1").status, RH_E_CORRUPT);
}

static void test_one_salt_a_provider(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf one = seal_file(words, "a"), two = seal_file(words, "b");
    const uint8_t parameters[] = {12, 0, 0, 0, 8, 0, 0, 0, 1};
    assert_memory_equal(one.data + WRAP + 5, parameters, sizeof parameters);
    assert_memory_equal(one.data + WRAP + 14, two.data + WRAP + 14, 32);
    assert_memory_not_equal(one.data + WRAP + 46, two.data + WRAP + 46, 12); /* the nonce */
}

static void test_reader_at(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf file = seal_file(key, ""), plain = RH_BUF_INIT;
    int fd = memory_file(rh_buf_bytes(&file));
    struct rh_seal_reader *reader;
    assert_ok(rh_seal_reader_new(key, fd, "undo", rh_bytes(NULL, 0), &reader, &err), &err);
    for (size_t i = FRAMES; i-- > 0;) {
        assert_ok(rh_seal_reader_at(reader, frame_at(i), i, &plain, &err), &err);
        assert_true(rh_bytes_equal(rh_buf_bytes(&plain), frame(i)));
        assert_int_equal(rh_seal_reader_at(reader, frame_at(i), i + 1, &plain, &err), RH_E_CORRUPT);
    }
    assert_ok(rh_seal_reader_at(reader, frame_at(2), 2, &plain, &err), &err);
    assert_ok(rh_seal_reader_next(reader, &plain, NULL, &err), &err);
    assert_true(rh_bytes_equal(rh_buf_bytes(&plain), frame(3)));
    assert_int_equal(rh_seal_reader_next(reader, &plain, NULL, &err), RH_END);
    assert_int_equal(rh_seal_reader_at(reader, UINT64_MAX - 3, 0, &plain, &err), RH_NOT_FOUND);
    assert_int_equal(rh_seal_reader_at(reader, file.size + 5, 9, &plain, &err), RH_NOT_FOUND);
    rh_seal_reader_free(reader);
    close(fd);
}

static void test_followed_and_piped(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf plain = RH_BUF_INIT;
    int fd = memory_file(rh_bytes(NULL, 0)), ends[2];
    struct rh_seal_writer *writer;
    struct rh_seal_reader *reader;
    assert_ok(rh_seal_writer_new(key, fd, "undo", rh_bytes(NULL, 0), &writer, &err), &err);
    int from_start = open("/dev/null", O_RDONLY);
    char path[64];
    assert_true(snprintf(path, sizeof path, "/proc/self/fd/%d", fd) > 0);
    close(from_start);
    from_start = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(from_start >= 0);
    assert_ok(rh_seal_reader_new(key, from_start, "undo", rh_bytes(NULL, 0), &reader, &err), &err);
    assert_int_equal(rh_seal_reader_next(reader, &plain, NULL, &err), RH_NOT_FOUND);
    assert_ok(rh_seal_writer_add(writer, frame(0), NULL, &err), &err); /* an unfinished file grows under its reader */
    assert_ok(rh_seal_reader_next(reader, &plain, NULL, &err), &err);
    assert_true(rh_bytes_equal(rh_buf_bytes(&plain), frame(0)));
    rh_seal_reader_free(reader);
    rh_seal_writer_free(writer);
    close(from_start);
    close(fd);

    rh_auto_buf struct rh_buf file = seal_file(key, "");
    assert_int_equal(pipe(ends), 0);
    assert_ok(rh_write_all(ends[1], rh_buf_bytes(&file), &err), &err);
    close(ends[1]);
    assert_ok(rh_seal_reader_new(key, ends[0], "undo", rh_bytes(NULL, 0), &reader, &err), &err);
    for (size_t i = 0; i < FRAMES; i++) {
        assert_ok(rh_seal_reader_next(reader, &plain, NULL, &err), &err);
        assert_true(rh_bytes_equal(rh_buf_bytes(&plain), frame(i)));
    }
    assert_int_equal(rh_seal_reader_next(reader, &plain, NULL, &err), RH_END);
    assert_int_equal(rh_seal_reader_at(reader, 0, 0, &plain, &err), RH_E_INTERNAL);
    rh_seal_reader_free(reader);
    close(ends[0]);
}

static void test_writer_fails(void **state)
{
    (void)state;
    int fd = memory_file(rh_bytes(NULL, 0)), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct rh_seal_writer *writer;
    assert_true(full >= 0);
    assert_int_equal(rh_seal_writer_new(key, full, "undo", rh_bytes(NULL, 0), &writer, &err), RH_E_FULL);
    assert_int_equal(rh_seal_writer_new(key, fd, "Undo", rh_bytes(NULL, 0), &writer, &err), RH_E_INTERNAL);
    assert_ok(rh_seal_writer_new(key, fd, "undo", rh_bytes(NULL, 0), &writer, &err), &err);
    static uint8_t unused;
    assert_int_equal(rh_seal_writer_add(writer, rh_bytes(&unused, RH_SEAL_FRAME_MAX + 1u), NULL, &err), RH_E_LIMIT);
    assert_ok(rh_seal_writer_add(writer, frame(0), NULL, &err), &err); /* a refusal spoils nothing */
    assert_true(dup2(full, fd) == fd);
    assert_int_equal(rh_seal_writer_add(writer, frame(0), NULL, &err), RH_E_FULL);
    assert_true(dup2(memory_file(rh_bytes(NULL, 0)), fd) == fd);
    assert_int_equal(rh_seal_writer_add(writer, frame(0), NULL, &err), RH_E_INTERNAL); /* a failure ends it */
    rh_seal_writer_free(writer);
    close(fd);
    close(full);
}

static void test_blob(void **state)
{
    (void)state;
    rh_auto_buf struct rh_buf blob = RH_BUF_INIT, again = RH_BUF_INIT;
    struct rh_bytes binding = rh_bytes_text("move 7"), plain = rh_bytes_text("thirty-two bytes of a digest key");
    rh_auto_secret struct rh_secret *back = NULL, *none = NULL;
    assert_ok(rh_seal_blob(key, "digest-key", binding, plain, &blob, &err), &err);
    assert_ok(rh_seal_blob(key, "digest-key", binding, plain, &again, &err), &err);
    assert_false(rh_bytes_equal(rh_buf_bytes(&blob), rh_buf_bytes(&again)));
    assert_ok(rh_unseal_blob(key, "digest-key", binding, rh_buf_bytes(&blob), &back, &err), &err);
    assert_true(rh_bytes_equal(rh_secret_bytes(back), plain));
    assert_int_equal(rh_unseal_blob(key, "undo", binding, rh_buf_bytes(&blob), &none, &err), RH_E_CORRUPT);
    assert_int_equal(rh_unseal_blob(key, "digest-key", plain, rh_buf_bytes(&blob), &none, &err), RH_E_CORRUPT);
    assert_int_equal(rh_unseal_blob(other_key, "digest-key", binding, rh_buf_bytes(&blob), &none, &err), RH_E_DENIED);
    for (size_t size = 0; size < blob.size; size++)
        assert_int_equal(rh_unseal_blob(key, "digest-key", binding, rh_bytes(blob.data, size), &none, &err),
                         RH_E_CORRUPT);
    for (size_t at = 0; at < blob.size; at++) {
        blob.data[at] ^= 0x10;
        enum rh_status status = rh_unseal_blob(key, "digest-key", binding, rh_buf_bytes(&blob), &none, &err);
        assert_true(status == RH_E_CORRUPT || status == RH_E_DENIED);
        blob.data[at] ^= 0x10;
    }
    assert_ok(rh_buf_u8(&blob, 0, &err), &err);
    assert_int_equal(rh_unseal_blob(key, "digest-key", binding, rh_buf_bytes(&blob), &none, &err), RH_E_CORRUPT);
    assert_null(none);
    rh_auto_buf struct rh_buf file = seal_file(key, "move 7"); /* several frames are no blob */
    assert_int_equal(rh_unseal_blob(key, "undo", binding, rh_buf_bytes(&file), &none, &err), RH_E_CORRUPT);
}

/* Makes a file of the test folder; returns its path. */
static const char *make_file(const char *name, struct rh_bytes content, mode_t mode)
{
    static char path[256];
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, name) > 0);
    assert_ok(rh_file_replace(AT_FDCWD, path, content, mode, &err), &err);
    return path;
}

static void test_key_files(void **state)
{
    (void)state;
    struct rh_key_provider *provider, *twin;
    uint8_t raw[32];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i * 7);
    raw[31] = '\n'; /* raw bytes aren't text: no newline is cut */
    rh_auto_buf struct rh_buf hex = RH_BUF_INIT, blob = RH_BUF_INIT;
    assert_ok(rh_hex_add(&hex, rh_bytes(raw, 32), &err), &err);
    assert_ok(rh_key_provider_file(make_file("raw", rh_bytes(raw, 32), 0600), &provider, &err), &err);
    assert_ok(rh_key_provider_file(make_file("hex", rh_buf_bytes(&hex), 0400), &twin, &err), &err);
    assert_ok(rh_seal_blob(provider, "x", rh_bytes(NULL, 0), rh_bytes_text("y"), &blob, &err), &err);
    rh_auto_secret struct rh_secret *back = NULL;
    assert_ok(rh_unseal_blob(twin, "x", rh_bytes(NULL, 0), rh_buf_bytes(&blob), &back, &err), &err);
    assert_non_null(strstr(rh_key_provider_describe(twin), "/hex'"));
    rh_key_provider_free(provider);
    rh_key_provider_free(twin);

    assert_int_equal(rh_key_provider_file(make_file("open", rh_bytes(raw, 32), 0640), &provider, &err), RH_E_REFUSED);
    assert_non_null(strstr(err.hint, "chmod 600"));
    static const char *const bad[] = {"", "short", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(rh_key_provider_file(make_file("bad", rh_bytes_text(bad[i]), 0600), &provider, &err),
                         RH_E_REFUSED);
    assert_null(strstr(err.text, "0123")); /* no word of the content */
    assert_int_equal(rh_key_provider_file("/nonexistent/key", &provider, &err), RH_E_IO);
}

static void test_key_file_made(void **state)
{
    (void)state;
    char path[256];
    struct stat st;
    struct rh_key_provider *first, *second;
    rh_auto_buf struct rh_buf blob = RH_BUF_INIT;
    rh_auto_secret struct rh_secret *back = NULL;
    assert_true(snprintf(path, sizeof path, "%s/made", folder) > 0);
    assert_ok(rh_key_provider_file_make(path, &first, &err), &err);
    assert_ok(rh_key_provider_file_make(path, &second, &err), &err); /* finds the first one's */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 65);
    assert_int_equal(st.st_nlink, 1);
    assert_ok(rh_seal_blob(first, "x", rh_bytes(NULL, 0), rh_bytes_text("y"), &blob, &err), &err);
    assert_ok(rh_unseal_blob(second, "x", rh_bytes(NULL, 0), rh_buf_bytes(&blob), &back, &err), &err);
    rh_key_provider_free(first);
    rh_key_provider_free(second);
}

/* Files made once by format version 1; RH_MAKE_GOLDEN=1 makes them where they are missing. */
static void golden(const char *name, struct rh_key_provider *provider)
{
    char path[512];
    rh_auto_buf struct rh_buf content = RH_BUF_INIT;
    assert_true(snprintf(path, sizeof path, "%s/seal/%s", RH_TEST_DATA, name) > 0);
    enum rh_status status = rh_file_read(AT_FDCWD, path, 1 << 20, &content, &err);
    if (status == RH_NOT_FOUND && getenv("RH_MAKE_GOLDEN")) {
        content = seal_file(provider, "golden");
        status = rh_file_replace(AT_FDCWD, path, rh_buf_bytes(&content), 0644, &err);
    }
    assert_int_equal(status, RH_OK);
    struct seen seen = read_file(provider, rh_buf_bytes(&content), "undo", "golden");
    assert_int_equal(seen.status, RH_END);
    assert_int_equal(seen.frames, FRAMES);
}

static void test_golden(void **state)
{
    (void)state;
    golden("v1-key-file.sealed", key);
    golden("v1-passphrase.sealed", words);
}

static int setup(void **state)
{
    (void)state;
    static const char hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)i;
    rh_auto_secret struct rh_secret *phrase = NULL;
    if (!mkdtemp(folder) || rh_key_provider_file(make_file("key", rh_bytes_text(hex), 0600), &key, &err) ||
        rh_key_provider_file(make_file("other", rh_bytes_text("01234567890123456789012345678901"), 0600), &other_key,
                             &err) ||
        rh_secret_new(rh_bytes_text("correct horse battery staple"), &phrase, &err) ||
        rh_key_provider_passphrase(phrase, &words, &err))
        return -1;
    rh_key_provider_cost(words, 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"key", "other", "raw", "hex", "open", "bad", "made"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) > 0)
            unlink(path);
    rh_key_provider_free(key);
    rh_key_provider_free(other_key);
    rh_key_provider_free(words);
    return rmdir(folder); /* fails when a temporary was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_every_byte_flipped),
        cmocka_unit_test(test_every_length_truncated),
        cmocka_unit_test(test_frames_moved),
        cmocka_unit_test(test_wrong_everything),
        cmocka_unit_test(test_hostile_scrypt),
        cmocka_unit_test(test_one_salt_a_provider),
        cmocka_unit_test(test_reader_at),
        cmocka_unit_test(test_followed_and_piped),
        cmocka_unit_test(test_writer_fails),
        cmocka_unit_test(test_blob),
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_key_file_made),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
