/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archive's reader. The first byte of the input says how the rest is taken:
 *   0  an archive file                         1  a stream, sealed in chunks of 1 KiB, from a file
 *   2  the same from a pipe                    3  edits of a good archive (offset 2 bytes, xor 1 byte, ...): any change
 *   4  the same edits of a good stream            must be noticed
 * Whatever is read, keys must grow and no more may come than there is room for.
 */
#include "../../src/stores/archive/format.h"

#include <rehome/base.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHUNK = 1024, RECORDS = 60, PIPE_MOST = 60000 };

static struct rh_key_provider *key;
static struct rh_buf good, stream; /* a good archive, and its plain bytes */

/* Ends the run: something is wrong that no input may bring about. */
static void must(bool right, const char *what)
{
    if (right)
        return;
    (void)fprintf(stderr, "fuzz_archive: %s\n", what);
    abort();
}

static int memory_file(struct rh_bytes content)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && fchmod(fd, 0600) == 0 && !rh_write_all(fd, content, NULL) && lseek(fd, 0, SEEK_SET) == 0,
         "no memory file");
    return fd;
}

static void read_back(int fd, struct rh_buf *content)
{
    char path[64];
    must(snprintf(path, sizeof path, "/proc/self/fd/%d", fd) > 0 &&
             !rh_file_read(AT_FDCWD, path, 16 << 20, content, NULL),
         "no content");
}

/* The key, a good archive and its stream, once. */
static void start(void)
{
    char path[64];
    rh_auto_fd int key_fd = memory_file(rh_bytes_text("0123456789abcdef0123456789abcdef"));
    must(snprintf(path, sizeof path, "/proc/self/fd/%d", key_fd) > 0 && !rh_key_provider_file(path, &key, NULL),
         "no key");
    rh_auto_fd int fd = memory_file(rh_bytes(NULL, 0));
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf frame = RH_BUF_INIT;
    struct archive_writer *writer;
    struct rh_seal_reader *reader = NULL;
    must(!archive_writer_new(key, fd, CHUNK, "kv", &archive_kv_dataset, 1, &writer, NULL), "no writer");
    for (int i = 0; i < RECORDS; i++) {
        char name[16];
        const int length = snprintf(name, sizeof name, "k%04d", i);
        const struct rh_record *record =
            rh_batch_add_kv(&batch, rh_bytes(name, (size_t)length), rh_bytes_text("value"), i % 7 == 3);
        must(record && !archive_writer_put(writer, record, NULL), "no record");
    }
    must(!archive_writer_end(writer, NULL), "no end");
    archive_writer_free(writer);
    read_back(fd, &good);
    must(lseek(fd, 0, SEEK_SET) == 0 && !rh_seal_reader_new(key, fd, "archive", rh_bytes("", 0), &reader, NULL),
         "no reader");
    while (rh_seal_reader_next(reader, &frame, NULL, NULL) == RH_OK)
        must(!rh_buf_add(&stream, frame.data, frame.size, NULL), "no memory");
    rh_seal_reader_free(reader);
}

/* Walks a dataset from a key on; how many records came. */
static enum rh_status walk_all(struct archive_reader *reader, uint32_t dataset, struct rh_bytes from, size_t *ret_count)
{
    struct archive_walk walk;
    struct archive_found found;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    rh_auto_buf struct rh_buf last = RH_BUF_INIT;
    struct rh_error err;
    *ret_count = 0;
    enum rh_status status = archive_walk_open(&walk, reader, dataset, from, &err);
    while (!status && !(status = archive_walk_next(&walk, &found, &err))) {
        const struct rh_bytes now = rh_buf_bytes(&walk.key);
        must(*ret_count == 0 || rh_bytes_compare(rh_buf_bytes(&last), now) < 0, "keys don't grow");
        rh_buf_clear(&last);
        must(!rh_buf_add(&last, now.data, now.size, NULL), "no memory");
        ++*ret_count;
        rh_batch_clear(&batch);
        uint64_t bytes;
        status = *ret_count % 3 ? archive_walk_take(&walk, &found, &batch, &err)
                                : archive_walk_skip(&walk, &found, &bytes, &err);
    }
    archive_walk_done(&walk);
    return status;
}

/* Opens and reads in every way that the descriptor allows. The last answer. */
static enum rh_status read_all(int fd)
{
    struct archive_reader *reader = NULL;
    struct rh_error err;
    enum rh_status status = archive_reader_open(key, fd, &reader, &err);
    if (status)
        return status;
    size_t count = 0, some;
    for (uint32_t i = 0; i < reader->head.dataset_count && i < 8; i++) {
        status = walk_all(reader, i, rh_bytes(NULL, 0), &count);
        must(status != RH_OK, "a walk without an end");
        if (!reader->in.seekable || status != RH_END)
            break;
        must(reader->head.datasets[i].sum.count == count, "more or fewer records than counted");
        rh_ignore(walk_all(reader, i, rh_bytes_text("k0030"), &some)); /* must not crash */
        must(some <= count, "more records from the middle than from the start");
    }
    archive_reader_free(reader);
    return status;
}

/* Seals a stream in chunks, good or bad. */
static int seal_stream(struct rh_bytes plain)
{
    int fd = memory_file(rh_bytes(NULL, 0));
    struct rh_seal_writer *writer;
    must(!rh_seal_writer_new(key, fd, "archive", rh_bytes("", 0), &writer, NULL), "no writer");
    for (; plain.size > CHUNK; plain = rh_bytes(plain.data + CHUNK, plain.size - CHUNK))
        must(!rh_seal_writer_add(writer, rh_bytes(plain.data, CHUNK), NULL, NULL), "no frame");
    must(!rh_seal_writer_end(writer, plain, NULL), "no end");
    rh_seal_writer_free(writer);
    must(lseek(fd, 0, SEEK_SET) == 0, "no start");
    return fd;
}

/* A pipe that holds all of a sealed stream. */
static void read_piped(int fd)
{
    int ends[2];
    rh_auto_buf struct rh_buf content = RH_BUF_INIT;
    read_back(fd, &content);
    if (content.size > PIPE_MOST || pipe(ends) != 0)
        return;
    must(!rh_write_all(ends[1], rh_buf_bytes(&content), NULL), "no pipe");
    close(ends[1]);
    rh_ignore(read_all(ends[0]));
    close(ends[0]);
}

/* A copy with the input's changes; whether anything is different. */
static bool edit(const struct rh_buf *of, struct rh_bytes edits, struct rh_buf *copy)
{
    must(!rh_buf_add(copy, of->data, of->size, NULL), "no memory");
    for (; edits.size >= 3; edits = rh_bytes(edits.data + 3, edits.size - 3))
        copy->data[((size_t)edits.data[0] << 8 | edits.data[1]) % copy->size] ^= edits.data[2];
    return memcmp(copy->data, of->data, of->size) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!key)
        start();
    if (size == 0)
        return 0;
    const struct rh_bytes rest = rh_bytes(data + 1, size - 1);
    rh_auto_buf struct rh_buf copy = RH_BUF_INIT;
    rh_auto_fd int fd = -1;
    switch (data[0] % 5) {
    case 0:
        fd = memory_file(rest);
        rh_ignore(read_all(fd));
        break;
    case 1:
        fd = seal_stream(rest);
        rh_ignore(read_all(fd));
        break;
    case 2:
        fd = seal_stream(rest);
        read_piped(fd);
        break;
    case 3: {
        const bool changed = edit(&good, rest, &copy);
        fd = memory_file(rh_buf_bytes(&copy));
        must((read_all(fd) == RH_END) != changed, "a changed archive was read, or a good one was not");
        break;
    }
    default:
        rh_ignore(edit(&stream, rest, &copy) ? RH_OK : RH_OK);
        fd = seal_stream(rh_buf_bytes(&copy));
        rh_ignore(read_all(fd));
        read_piped(fd);
        break;
    }
    return 0;
}
