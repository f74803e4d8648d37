/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encrypted pages of InnoDB as MariaDB writes them. Page 0 of a tablespace is clear and holds, behind the descriptors
 * of its extents, the words of encryption: which key, a salt. The key of its pages is the salt encrypted by that key
 * (ECB). The initialisation vector of a page is tablespace, page and LSN. What is encrypted begins at byte 26 and has
 * the tablespace's number at its byte 8. For tablespace 0, the system's, that is no proof.
 */
#include "pages.h"

#include <rehome/base.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <rehome/secret.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEAD = 64, /* of page 0: number of the tablespace at 34, its flags at 54 */
    FLAG_FULL_CRC32 = 0x10,
    PAGE_LEAST = 4096,
    WORDS = 33, /* of encryption: magic, type, length and bytes of the salt, least version, number, mode */
    ENCRYPTED_AT = 26,
    PAGES_TRIED = 32,
};
static const uint8_t magic[] = {'s', 0x0e, 0x0c, 'R', 'E', 't', 1, MARIADB_BLOCK};

static uint32_t u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool read_at(int fd, void *out, size_t size, uint64_t offset)
{
    return pread(fd, out, size, (off_t)offset) == (ssize_t)size;
}

/* Where the words of encryption stand in page 0: behind 38 + 150 bytes of heads and a descriptor of 40 for each extent.
 */
static uint64_t words_at(uint64_t page_size)
{
    const uint64_t extent_pages = page_size <= 16384 ? (1 << 20) / page_size : 64;
    return 38 + 150 + 40 * (page_size / extent_pages);
}

/* What a tablespace's file says, into the sample. RH_NOT_FOUND: it isn't encrypted; RH_UNSUPPORTED: not known. */
static enum rh_status look_at(int fd, struct mariadb_sample *sample)
{
    uint8_t head[HEAD], words[WORDS], page[ENCRYPTED_AT + MARIADB_BLOCK];
    if (!read_at(fd, head, sizeof head, 0))
        return RH_UNSUPPORTED;
    const uint32_t flags = u32(head + 54), size_bits = flags & 15;
    sample->space = u32(head + 34);
    if (!(flags & FLAG_FULL_CRC32) || size_bits < 3 || size_bits > 7 || sample->space == 0)
        return RH_UNSUPPORTED;
    const uint64_t page_size = (uint64_t)512 << size_bits;
    if (!read_at(fd, words, sizeof words, words_at(page_size)))
        return RH_UNSUPPORTED;
    if (memcmp(words, magic, sizeof magic) != 0)
        return RH_NOT_FOUND;
    memcpy(sample->salt, words + sizeof magic, MARIADB_BLOCK);
    sample->number = u32(words + sizeof magic + MARIADB_BLOCK + 4);
    for (uint32_t i = 1; i < PAGES_TRIED && read_at(fd, page, sizeof page, i * page_size); i++) {
        sample->version = u32(page);
        sample->page = u32(page + 4);
        if (sample->version == 0 || sample->page != i)
            continue;
        sample->lsn = (uint64_t)u32(page + 16) << 32 | u32(page + 20);
        memcpy(sample->first, page + ENCRYPTED_AT, MARIADB_BLOCK);
        return RH_OK;
    }
    return RH_NOT_FOUND;
}

/* --- the folder --- */

static enum rh_status add(struct mariadb_samples *samples, const struct mariadb_sample *sample, struct rh_error *err)
{
    if (samples->count == samples->capacity) {
        const size_t capacity = samples->capacity ? samples->capacity * 2 : 64;
        struct mariadb_sample *grown = reallocarray(samples->samples, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        samples->samples = grown;
        samples->capacity = capacity;
    }
    samples->samples[samples->count++] = *sample;
    return RH_OK;
}

/* One file of a database's folder. */
static enum rh_status
take_file(struct mariadb_samples *samples, int folder, const char *database, const char *name, struct rh_error *err)
{
    const size_t size = strlen(name);
    struct mariadb_sample sample = {0};
    if (size < 5 || strcmp(name + size - 4, ".ibd") != 0)
        return RH_OK;
    rh_auto_fd int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return RH_OK; /* dropped meanwhile */
    if (fd < 0)
        return rh_fail_errno(err, errno, "reading the tablespace '%s/%s'", RH_SHOW(rh_bytes_text(database)),
                             RH_SHOW(rh_bytes_text(name)));
    samples->tablespaces++;
    const enum rh_status found = look_at(fd, &sample);
    samples->plain += found == RH_NOT_FOUND;
    samples->strange += found == RH_UNSUPPORTED;
    if (found != RH_OK)
        return RH_OK;
    sample.name = rh_arena_format(&samples->arena, "%s/%.*s", database, (int)size - 4, name);
    return sample.name ? add(samples, &sample, err) : rh_fail_memory(err);
}

static void close_folder(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}
#define auto_folder __attribute__((cleanup(close_folder)))

/* Opens a folder below another one; NULL with errno. */
static DIR *open_folder(int above, const char *name)
{
    const int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder && fd >= 0)
        close(fd);
    return folder;
}

/* All files of one database. What is no folder is passed over. */
static enum rh_status
take_database(struct mariadb_samples *samples, int datadir, const char *name, struct rh_error *err)
{
    auto_folder DIR *folder = open_folder(datadir, name);
    enum rh_status status = RH_OK;
    if (!folder)
        return errno == ENOTDIR || errno == ENOENT
                   ? RH_OK
                   : rh_fail_errno(err, errno, "reading the database '%s'", RH_SHOW(rh_bytes_text(name)));
    for (struct dirent *entry; status == RH_OK && (entry = readdir(folder));)
        status = take_file(samples, dirfd(folder), name, entry->d_name, err);
    return status;
}

static int compare_samples(const void *a, const void *b)
{
    const struct mariadb_sample *left = a, *right = b;
    if (left->number != right->number)
        return left->number < right->number ? -1 : 1;
    return strcmp(left->name, right->name);
}

enum rh_status mariadb_samples_take(struct mariadb_samples *samples, const char *datadir, struct rh_error *err)
{
    auto_folder DIR *folder = open_folder(AT_FDCWD, datadir);
    enum rh_status status = RH_OK;
    if (!folder)
        return rh_fail_errno(err, errno, "opening the data folder '%s'", RH_SHOW(rh_bytes_text(datadir)));
    for (struct dirent *entry; status == RH_OK && (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            status = take_database(samples, dirfd(folder), entry->d_name, err);
    if (status == RH_OK && samples->count == 0) {
        rh_fail(err, RH_E_REFUSED,
                "the data folder '%s' shows nothing of its keys: %" PRIu64 " tablespaces, of which %" PRIu64
                " aren't encrypted and %" PRIu64 " of a format that can't be read",
                RH_SHOW(rh_bytes_text(datadir)), samples->tablespaces, samples->plain, samples->strange);
        return RH_E_REFUSED;
    }
    if (status == RH_OK)
        qsort(samples->samples, samples->count, sizeof *samples->samples, compare_samples);
    return status;
}

void mariadb_samples_done(struct mariadb_samples *samples)
{
    rh_arena_done(&samples->arena);
    free(samples->samples);
    *samples = (struct mariadb_samples){0};
}

/* --- trying --- */

static void put_le(uint8_t *at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++, value >>= 8)
        at[i] = (uint8_t)value;
}

/* One block by AES. */
static bool crypt_block(struct rh_bytes key,
                        bool encrypt,
                        const uint8_t in[static MARIADB_BLOCK],
                        uint8_t out[static MARIADB_BLOCK])
{
    const EVP_CIPHER *cipher = key.size == 16   ? EVP_aes_128_ecb()
                               : key.size == 24 ? EVP_aes_192_ecb()
                               : key.size == 32 ? EVP_aes_256_ecb()
                                                : NULL;
    EVP_CIPHER_CTX *ctx = cipher ? EVP_CIPHER_CTX_new() : NULL;
    int size = 0;
    const bool fine = ctx && EVP_CipherInit_ex(ctx, cipher, NULL, key.data, NULL, encrypt) == 1 &&
                      EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
                      EVP_CipherUpdate(ctx, out, &size, in, MARIADB_BLOCK) == 1 && size == MARIADB_BLOCK;
    EVP_CIPHER_CTX_free(ctx);
    return fine;
}

/* Whether a first block, decrypted but for the last XOR, is one of this tablespace. */
static bool is_of(const struct mariadb_sample *sample, const uint8_t *block, const uint8_t *mask)
{
    uint8_t plain[MARIADB_BLOCK];
    for (size_t i = 0; i < MARIADB_BLOCK; i++)
        plain[i] = block[i] ^ mask[i];
    const bool is = u32(plain + 8) == sample->space;
    rh_wipe(plain, sizeof plain);
    return is;
}

enum rh_status mariadb_sample_try(const struct mariadb_sample *sample,
                                  struct rh_bytes key,
                                  enum mariadb_cipher *ret_cipher,
                                  struct rh_error *err)
{
    uint8_t own[MARIADB_BLOCK], vector[MARIADB_BLOCK], backwards[MARIADB_BLOCK], stream[MARIADB_BLOCK];
    put_le(vector, sample->space, 4);
    put_le(vector + 4, sample->page, 4);
    put_le(vector + 8, sample->lsn, 8);
    const bool fine = crypt_block(key, true, sample->salt, own) &&
                      crypt_block(rh_bytes(own, sizeof own), false, sample->first, backwards) &&
                      crypt_block(rh_bytes(own, sizeof own), true, vector, stream);
    if (fine)
        *ret_cipher = is_of(sample, backwards, vector)       ? MARIADB_CBC
                      : is_of(sample, sample->first, stream) ? MARIADB_CTR
                                                             : MARIADB_OPENS_NOT;
    rh_wipe(own, sizeof own);
    rh_wipe(backwards, sizeof backwards);
    rh_wipe(stream, sizeof stream);
    return fine ? RH_OK : rh_fail(err, RH_E_INTERNAL, "AES failed");
}

enum rh_status mariadb_samples_try(
    const struct mariadb_samples *samples, uint32_t number, struct rh_bytes key, bool only_cbc, struct rh_error *err)
{
    for (size_t i = 0; i < samples->count && samples->samples[i].number <= number; i++) {
        const struct mariadb_sample *sample = &samples->samples[i];
        const struct rh_bytes name = rh_bytes_text(sample->name);
        enum mariadb_cipher cipher = MARIADB_OPENS_NOT;
        if (sample->number != number)
            continue;
        if (sample->version != 1)
            return rh_fail(err, RH_E_LIMIT,
                           "the server's tablespace '%s' is encrypted under its version %" PRIu32
                           ", and only keys of version 1 can be moved",
                           RH_SHOW(name), sample->version);
        enum rh_status status = mariadb_sample_try(sample, key, &cipher, err);
        if (status != RH_OK)
            return status;
        if (cipher == MARIADB_OPENS_NOT)
            return rh_fail(err, RH_E_LIMIT, "it doesn't open the server's tablespace '%s': it is another key",
                           RH_SHOW(name));
        if (cipher == MARIADB_CTR && only_cbc)
            return rh_fail(err, RH_E_LIMIT,
                           "the server's tablespace '%s' is encrypted with AES_CTR, and hashicorp_key_management knows "
                           "AES_CBC alone: with these keys in a Vault it would read as corrupted",
                           RH_SHOW(name));
    }
    return RH_OK;
}
