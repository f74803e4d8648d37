/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealed file's reader. The first byte of the input says how the rest is taken:
 *   0  a sealed file, key file          1  a sealed file, passphrase       2  a sealed blob, key file
 *   3  frames behind a good header      4  edits of a good file (offset 2 bytes, xor 1 byte, ...): any change must be
 *      noticed
 */
#include <rehome/base.h>
#include <rehome/seal.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LOG_N_SLOW = 12, FRAMES = 3 };

static struct rh_key_provider *key, *words;
static struct rh_buf good; /* a sealed file of the key */
static size_t header_size;

/* Ends the run: something is wrong that no input may bring about. */
static void must(bool right, const char *what)
{
    if (right)
        return;
    (void)fprintf(stderr, "fuzz_seal: %s\n", what);
    abort();
}

/* A file in memory with this content, at its start; also its name. */
static int memory_file(struct rh_bytes content, char *path, size_t path_size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && fchmod(fd, 0600) == 0 && !rh_write_all(fd, content, NULL) && lseek(fd, 0, SEEK_SET) == 0,
         "no memory file");
    if (path)
        must(snprintf(path, path_size, "/proc/self/fd/%d", fd) > 0, "no path");
    return fd;
}

/* Providers and the good file, once. */
static void start(void)
{
    char path[64];
    int key_fd = memory_file(rh_bytes_text("0123456789abcdef0123456789abcdef"), path, sizeof path);
    must(!rh_key_provider_file(path, &key, NULL), "no key");
    (void)close(key_fd);
    struct rh_secret *phrase = NULL;
    must(!rh_secret_new(rh_bytes_text("phrase"), &phrase, NULL) && !rh_key_provider_passphrase(phrase, &words, NULL),
         "no passphrase");
    rh_secret_free(phrase);
    rh_key_provider_cost(words, 2);
    rh_auto_fd int fd = memory_file(rh_bytes(NULL, 0), path, sizeof path);
    struct rh_seal_writer *writer;
    must(!rh_seal_writer_new(key, fd, "fuzz", rh_bytes(NULL, 0), &writer, NULL), "no writer");
    header_size = (size_t)rh_seal_writer_size(writer);
    for (int i = 1; i < FRAMES; i++)
        must(!rh_seal_writer_add(writer, rh_bytes_text("some bytes"), NULL, NULL), "no frame");
    must(!rh_seal_writer_end(writer, rh_bytes_text("the last"), NULL), "no end");
    rh_seal_writer_free(writer);
    must(!rh_file_read(fd, path, 4096, &good, NULL), "no good file");
}

/* Reads to the end; the last answer. */
static enum rh_status read_all(struct rh_key_provider *provider, struct rh_bytes content)
{
    rh_auto_fd int fd = memory_file(content, NULL, 0);
    rh_auto_buf struct rh_buf plain = RH_BUF_INIT;
    struct rh_seal_reader *reader = NULL;
    struct rh_error err;
    enum rh_status status = rh_seal_reader_new(provider, fd, "fuzz", rh_bytes(NULL, 0), &reader, &err);
    while (!status)
        status = rh_seal_reader_next(reader, &plain, NULL, &err);
    rh_seal_reader_free(reader);
    return status;
}

/* Whether the file asks for a scrypt that is allowed but slow. */
static bool slow(struct rh_bytes file)
{
    struct rh_cursor cur = rh_cursor(file);
    rh_cursor_take(&cur, 12);
    rh_cursor_take(&cur, (size_t)rh_cursor_u32be(&cur) - 16);
    rh_cursor_take(&cur, 5);
    return rh_cursor_u8(&cur) > LOG_N_SLOW;
}

/* Edits of the good file: it opens only when they come to nothing. */
static void edit(struct rh_bytes edits)
{
    rh_auto_buf struct rh_buf file = RH_BUF_INIT;
    must(!rh_buf_add(&file, good.data, good.size, NULL), "no memory");
    struct rh_cursor cur = rh_cursor(edits);
    while (rh_cursor_left(&cur) >= 3) {
        size_t at = (size_t)rh_cursor_u8(&cur) << 8;
        at |= rh_cursor_u8(&cur);
        file.data[at % file.size] ^= rh_cursor_u8(&cur);
    }
    bool same = rh_bytes_equal(rh_buf_bytes(&file), rh_buf_bytes(&good));
    must((read_all(key, rh_buf_bytes(&file)) == RH_END) == same, "a changed file was taken for a good one");
}

/* Frames behind the good header: nobody without the key makes one. */
static void frames(struct rh_bytes content)
{
    rh_auto_buf struct rh_buf file = RH_BUF_INIT;
    must(!rh_buf_add(&file, good.data, header_size, NULL) && !rh_buf_add(&file, content.data, content.size, NULL),
         "no memory");
    must(read_all(key, rh_buf_bytes(&file)) != RH_END, "made-up frames were taken for good ones");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!key)
        start();
    if (size == 0)
        return 0;
    struct rh_bytes rest = rh_bytes(data + 1, size - 1);
    rh_auto_secret struct rh_secret *plain = NULL;
    switch (data[0]) {
    case 0:
        rh_ignore(read_all(key, rest)); /* any answer but a crash */
        break;
    case 1:
        if (!slow(rest))
            rh_ignore(read_all(words, rest)); /* the same */
        break;
    case 2:
        rh_ignore(rh_unseal_blob(key, "fuzz", rh_bytes(NULL, 0), rest, &plain, NULL)); /* the same */
        break;
    case 3:
        frames(rest);
        break;
    case 4:
        edit(rest);
        break;
    default:
        break;
    }
    return 0;
}
