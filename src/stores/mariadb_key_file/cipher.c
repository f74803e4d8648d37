/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's `enc` format, and the filekey. Knowledge: MariaDB 10.11, plugin/file_key_management/parser.cc; OpenSSL's
 * enc(1): -md and -iter, which later servers call digest and use_pbkdf2.
 */
#include "cipher.h"

#include "common.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_WORD "Salted__"
#define FILE_WORD "FILE:"
enum { KEY = 32, DERIVED = KEY + CIPHER_BLOCK };

/* --- the filekey --- */

bool cipher_filekey_is_secret(struct rh_bytes value)
{
    return !rh_bytes_starts(value, rh_bytes_text(FILE_WORD));
}

/* Opens the file of a filekey. The server's group may read it: that is how its account gets at a file of root's. */
static enum rh_status open_filekey(const char *path, int *ret_fd, struct rh_error *err)
{
    rh_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return rh_fail_errno(err, errno, "opening the filekey '%s'", RH_SHOW(rh_bytes_text(path)));
    if (fstat(fd, &st) != 0)
        return rh_fail_errno(err, errno, "looking at the filekey '%s'", RH_SHOW(rh_bytes_text(path)));
    if (!S_ISREG(st.st_mode))
        return rh_fail(err, RH_E_REFUSED, "the filekey '%s' is no file", RH_SHOW(rh_bytes_text(path)));
    if (st.st_mode & (S_IWGRP | S_IRWXO)) {
        rh_fail(err, RH_E_REFUSED, "the filekey '%s': others may use it, or its group may write it (mode %04o)",
                RH_SHOW(rh_bytes_text(path)), st.st_mode & 07777u);
        rh_error_hint(err, "chmod g-w,o= '%s'", RH_SHOW(rh_bytes_text(path)));
        return RH_E_REFUSED;
    }
    *ret_fd = fd;
    fd = -1;
    return RH_OK;
}

/* As the server reads it: all newlines and carriage returns at the end go. */
static enum rh_status read_filekey(const char *path, struct rh_secret **ret_filekey, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    rh_auto_secret struct rh_secret *whole = NULL;
    enum rh_status status = open_filekey(path, &fd, err);
    if (status == RH_OK)
        status = rh_secret_from_fd(fd, &whole, err);
    if (status != RH_OK)
        return rh_error_prepend(err, "the filekey '%s'", RH_SHOW(rh_bytes_text(path)));
    struct rh_bytes bytes = rh_secret_bytes(whole);
    while (bytes.size && (bytes.data[bytes.size - 1] == '\n' || bytes.data[bytes.size - 1] == '\r'))
        bytes.size--;
    if (bytes.size == 0)
        return rh_fail(err, RH_E_REFUSED, "the filekey '%s' is empty", RH_SHOW(rh_bytes_text(path)));
    return rh_secret_new(bytes, ret_filekey, err);
}

enum rh_status cipher_filekey(const struct rh_options *options, struct rh_secret **ret_filekey, struct rh_error *err)
{
    const struct rh_secret *given = rh_options_secret(options, "filekey");
    rh_auto_secret struct rh_secret *filekey = NULL;
    if (!given)
        return RH_OK;
    const struct rh_bytes value = rh_secret_bytes(given);
    const bool literal = cipher_filekey_is_secret(value);
    if (literal) {
        filekey = rh_secret_dup(given);
        if (!filekey)
            return rh_fail_memory(err);
    }
    enum rh_status status =
        literal ? RH_OK : read_filekey((const char *)value.data + sizeof FILE_WORD - 1, &filekey, err);
    if (status != RH_OK)
        return status;
    const struct rh_bytes bytes = rh_secret_bytes(filekey);
    if (bytes.size > FILEKEY_MOST)
        return rh_fail(err, RH_E_REFUSED, "%sthe filekey has more than %d bytes, which a server refuses",
                       RH_PLACE(options, "filekey"), FILEKEY_MOST);
    if (bytes.size == 0 || memchr(bytes.data, 0, bytes.size))
        return rh_fail(err, RH_E_REFUSED, "%sthe filekey is empty or holds a zero byte, at which a server ends it",
                       RH_PLACE(options, "filekey"));
    *ret_filekey = rh_take(filekey);
    return RH_OK;
}

/* --- the file --- */

bool cipher_is_encrypted(struct rh_bytes content)
{
    return content.size > sizeof HEAD_WORD - 1 && rh_bytes_starts(content, rh_bytes_text(HEAD_WORD));
}

/* Key and initialisation vector, one behind the other. */
static enum rh_status
derive(const struct cipher *cipher, const uint8_t *salt, uint8_t ret[static DERIVED], struct rh_error *err)
{
    const struct rh_bytes filekey = rh_secret_bytes(cipher->filekey);
    const EVP_MD *digest = EVP_get_digestbyname(cipher->digest);
    bool fine = false;
    if (digest && cipher->iterations > 0)
        fine = cipher->iterations <= INT_MAX &&
               PKCS5_PBKDF2_HMAC((const char *)filekey.data, (int)filekey.size, salt, CIPHER_SALT,
                                 (int)cipher->iterations, digest, DERIVED, ret) == 1;
    else if (digest)
        fine =
            EVP_BytesToKey(EVP_aes_256_cbc(), digest, salt, filekey.data, (int)filekey.size, 1, ret, ret + KEY) == KEY;
    return fine ? RH_OK : rh_fail(err, RH_E_INTERNAL, "deriving a key from the filekey failed");
}

/* OpenSSL leaves the last blocks that it has decrypted in the processor's wide registers, where nothing else may come
 * by for a while; others take their place. */
static void clear_registers(EVP_CIPHER_CTX *ctx)
{
    uint8_t zero[16 * CIPHER_BLOCK] = {0}, out[sizeof zero + CIPHER_BLOCK];
    int size;
    if (EVP_CipherInit_ex(ctx, EVP_aes_256_cbc(), NULL, zero, zero, 0) == 1)
        (void)EVP_CipherUpdate(ctx, out, &size, zero, sizeof zero); /* what comes of it is of no use */
}

/* One way or the other. RH_E_DENIED without words: the padding is none. */
static enum rh_status crypt_all(const struct cipher *cipher,
                                bool seal,
                                const uint8_t *salt,
                                struct rh_bytes in,
                                uint8_t *out,
                                size_t *ret_size,
                                struct rh_error *err)
{
    uint8_t derived[DERIVED];
    int size = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = NULL;
    enum rh_status status = derive(cipher, salt, derived, err);
    if (status == RH_OK) {
        ctx = EVP_CIPHER_CTX_new();
        if (!ctx || EVP_CipherInit_ex(ctx, EVP_aes_256_cbc(), NULL, derived, derived + KEY, seal) != 1 ||
            EVP_CipherUpdate(ctx, out, &size, in.data, (int)in.size) != 1)
            status = rh_fail(err, RH_E_INTERNAL, "AES-256-CBC failed");
        else if (EVP_CipherFinal_ex(ctx, out + size, &rest) != 1)
            status = RH_E_DENIED;
    }
    if (ctx)
        clear_registers(ctx);
    EVP_CIPHER_CTX_free(ctx);
    rh_wipe(derived, sizeof derived);
    if (status == RH_OK)
        *ret_size = (size_t)size + (size_t)rest;
    return status;
}

enum rh_status cipher_open(const struct cipher *cipher,
                           struct rh_bytes content,
                           struct rh_arena *arena,
                           struct rh_bytes *ret_text,
                           struct rh_error *err)
{
    if (content.size < CIPHER_HEAD + CIPHER_BLOCK || content.size % CIPHER_BLOCK)
        return rh_fail(err, RH_E_CORRUPT, "it is cut: no encrypted key file has %zu bytes", content.size);
    const struct rh_bytes in = rh_bytes(content.data + CIPHER_HEAD, content.size - CIPHER_HEAD);
    uint8_t *out = rh_arena_get(arena, in.size + CIPHER_BLOCK);
    size_t size = 0;
    if (!out)
        return rh_fail_memory(err);
    enum rh_status status = crypt_all(cipher, false, content.data + sizeof HEAD_WORD - 1, in, out, &size, err);
    if (status == RH_E_DENIED) {
        rh_fail(err, RH_E_DENIED, "it can't be decrypted: another filekey, or it is damaged");
        rh_error_hint(err, "give the server's file_key_management_filekey, and digest and use_pbkdf2 if it has them");
    }
    if (status == RH_OK)
        *ret_text = rh_bytes(out, size);
    return status;
}

enum rh_status cipher_seal(const struct cipher *cipher,
                           struct rh_bytes text,
                           struct rh_arena *arena,
                           struct rh_bytes *ret_content,
                           struct rh_error *err)
{
    uint8_t *out = rh_arena_get(arena, CIPHER_HEAD + text.size + CIPHER_BLOCK);
    size_t size = 0;
    if (!out)
        return rh_fail_memory(err);
    memcpy(out, HEAD_WORD, sizeof HEAD_WORD - 1);
    uint8_t *salt = out + sizeof HEAD_WORD - 1;
    enum rh_status status = rh_random(salt, CIPHER_SALT, err);
    if (status == RH_OK)
        status = crypt_all(cipher, true, salt, text, out + CIPHER_HEAD, &size, err);
    if (status == RH_E_DENIED)
        status = rh_fail(err, RH_E_INTERNAL, "AES-256-CBC failed");
    if (status == RH_OK)
        *ret_content = rh_bytes(out, CIPHER_HEAD + size);
    return status;
}
