/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files that are encrypted as `openssl enc -aes-256-cbc` does it: "Salted__", a salt of 8 bytes, AES-256-CBC with
 * PKCS#7 padding. Nothing in it proves that it is whole: a damaged or forged one can only be told by its content.
 */
#ifndef REHOME_STORES_MARIADB_KEY_FILE_CIPHER_H
#define REHOME_STORES_MARIADB_KEY_FILE_CIPHER_H

#include <rehome/option.h>
#include <rehome/secret.h>

enum {
    CIPHER_SALT = 8,
    CIPHER_HEAD = 8 + CIPHER_SALT, /* before what is encrypted */
    CIPHER_BLOCK = 16,
    FILEKEY_MOST = 256, /* bytes of a filekey that a server takes */
};

/* With what a key file is encrypted. */
struct cipher {
    struct rh_secret *filekey; /* NULL: it isn't */
    const char *digest;        /* "sha1", as OpenSSL calls it */
    int64_t iterations;        /* of PBKDF2; 0: OpenSSL's older derivation, one round */
};

bool cipher_is_encrypted(struct rh_bytes content);
/* Both into secret memory of the arena. open: RH_E_DENIED when it can't be decrypted. */
enum rh_status cipher_open(const struct cipher *cipher,
                           struct rh_bytes content,
                           struct rh_arena *arena,
                           struct rh_bytes *ret_text,
                           struct rh_error *err) RH_MUST_USE;
enum rh_status cipher_seal(const struct cipher *cipher,
                           struct rh_bytes text,
                           struct rh_arena *arena,
                           struct rh_bytes *ret_content,
                           struct rh_error *err) RH_MUST_USE;
/* The filekey as the server's option gives it: itself, or "FILE:" and a path. */
enum rh_status
cipher_filekey(const struct rh_options *options, struct rh_secret **ret_filekey, struct rh_error *err) RH_MUST_USE;
/* "FILE:/etc/mysql/filekey" is no secret, a filekey itself is. */
bool cipher_filekey_is_secret(struct rh_bytes value);

#endif
