/* SPDX-License-Identifier: Apache-2.0 */
/* The key provider that is a file with 32 bytes of key. */
#include "provider.h"
#include "secret_internal.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KIND = RH_PROVIDER_KEY_FILE, KEY_ID_BYTES = 16 };
enum { BODY_BYTES = 1 + KEY_ID_BYTES + RH_SEAL_NONCE_BYTES + RH_SEAL_WRAPPED_BYTES };

struct file_provider {
    struct rh_key_provider base;
    struct rh_secret *key;
    uint8_t key_id[KEY_ID_BYTES];
};

/* The provider behind its base. */
static struct file_provider *of(struct rh_key_provider *provider)
{
    return (struct file_provider *)provider;
}

static enum rh_status file_wrap(struct rh_key_provider *provider,
                                struct rh_seal_fixed fixed,
                                const uint8_t *file_key,
                                struct rh_buf *body,
                                struct rh_error *err)
{
    enum rh_status status = rh_buf_add(body, of(provider)->key_id, KEY_ID_BYTES, err);
    return status ? status : rh_wrap_local(rh_secret_bytes(of(provider)->key), fixed, file_key, body, err);
}

static enum rh_status file_unwrap(struct rh_key_provider *provider,
                                  struct rh_seal_fixed fixed,
                                  struct rh_bytes body,
                                  uint8_t *ret_file_key,
                                  struct rh_error *err)
{
    if (body.size != BODY_BYTES)
        return rh_fail(err, RH_E_CORRUPT, "unwrapping the file key: wrap part has the wrong size");
    enum rh_status status = RH_E_DENIED;
    if (rh_bytes_equal(rh_bytes(body.data + 1, KEY_ID_BYTES), rh_bytes(of(provider)->key_id, KEY_ID_BYTES)))
        status = rh_unwrap_local(rh_secret_bytes(of(provider)->key), fixed, body, ret_file_key, err);
    else
        return rh_fail(err, status, "unwrapping the file key: sealed with another key than the %s",
                       provider->description);
    if (status == RH_E_DENIED)
        return rh_fail(err, status, "unwrapping the file key: the header was changed");
    return status;
}

static void file_free(struct rh_key_provider *provider)
{
    rh_secret_free(of(provider)->key);
    free(provider);
}

static const struct rh_key_class file_class = {
    .kind = RH_PROVIDER_KEY_FILE,
    .wrap = file_wrap,
    .unwrap = file_unwrap,
    .free = file_free,
};

/* The value of a hex digit, or 16. */
static unsigned hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - (unsigned)'0';
    if (digit >= 'a' && digit <= 'f')
        return digit - (unsigned)'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - (unsigned)'A' + 10;
    return 16;
}

/* 32 raw bytes, or 64 hex digits and perhaps a newline. */
static enum rh_status parse_key(struct rh_bytes text, uint8_t *out, struct rh_error *err)
{
    if (text.size == RH_SEAL_KEY_BYTES) {
        memcpy(out, text.data, RH_SEAL_KEY_BYTES);
        return RH_OK;
    }
    bool newline = text.size == 2 * RH_SEAL_KEY_BYTES + 1 && text.data[text.size - 1] == '\n';
    bool good = text.size - newline == 2 * RH_SEAL_KEY_BYTES;
    for (size_t i = 0; good && i < RH_SEAL_KEY_BYTES; i++) {
        unsigned high = hex_value(text.data[2 * i]), low = hex_value(text.data[2 * i + 1]);
        good = high < 16 && low < 16;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return good ? RH_OK : rh_fail(err, RH_E_REFUSED, "neither 32 bytes nor 64 hex digits");
}

/* Reads the key file into a secret of 32 bytes. */
static enum rh_status read_key(const char *path, struct rh_secret **ret_key, struct rh_error *err)
{
    rh_auto_fd int fd = -1;
    rh_auto_secret struct rh_secret *text = NULL, *key = NULL;
    uint8_t *data;
    enum rh_status status = rh_secret_open(path, &fd, err);
    if (status)
        return status;
    status = rh_secret_read(fd, &text, err);
    if (!status)
        status = rh_secret_make(RH_SEAL_KEY_BYTES, &key, &data, err);
    if (!status)
        status = parse_key(rh_secret_bytes(text), data, err);
    if (!status)
        *ret_key = rh_take(key);
    else if (err)
        rh_error_prepend(err, "reading key file '%s'", RH_SHOW(rh_bytes_text(path)));
    return status;
}

/* A provider around a key, which it takes over when it succeeds. */
static enum rh_status provider_of_key(struct rh_secret **key,
                                      const char *description,
                                      struct rh_key_provider **ret_provider,
                                      struct rh_error *err)
{
    uint8_t key_id[KEY_ID_BYTES];
    enum rh_status status = rh_hkdf(key_id, sizeof key_id, rh_secret_bytes(*key), rh_bytes("", 0),
                                    "rehome seal 1 key id", rh_bytes(NULL, 0), err);
    if (status)
        return status;
    struct file_provider *provider = calloc(1, sizeof *provider);
    if (!provider)
        return rh_fail_memory(err);
    provider->base.class = &file_class;
    (void)snprintf(provider->base.description, sizeof provider->base.description, "%s", description);
    memcpy(provider->key_id, key_id, sizeof key_id);
    provider->key = rh_take(*key);
    *ret_provider = &provider->base;
    return RH_OK;
}

enum rh_status rh_key_provider_file(const char *path, struct rh_key_provider **ret_provider, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *key = NULL;
    char description[sizeof((struct rh_key_provider *)0)->description];
    (void)snprintf(description, sizeof description, "key file '%s'", RH_SHOW(rh_bytes_text(path)));
    enum rh_status status = read_key(path, &key, err);
    return status ? status : provider_of_key(&key, description, ret_provider, err);
}

enum rh_status rh_key_provider_memory(struct rh_key_provider **ret_provider, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *key = NULL;
    enum rh_status status = rh_secret_random(RH_SEAL_KEY_BYTES, &key, err);
    return status ? status : provider_of_key(&key, "key of this process", ret_provider, err);
}

/* Writes a random key to the new file `temporary` and makes it durable. */
static enum rh_status write_key(const char *temporary, struct rh_error *err)
{
    static const char digits[] = "0123456789abcdef";
    rh_auto_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return rh_fail_errno(err, errno, "making '%s'", RH_SHOW(rh_bytes_text(temporary)));
    uint8_t key[RH_SEAL_KEY_BYTES], text[2 * RH_SEAL_KEY_BYTES + 1];
    enum rh_status status = rh_random(key, sizeof key, err);
    for (size_t i = 0; i < sizeof key && !status; i++) {
        text[2 * i] = (uint8_t)digits[key[i] >> 4];
        text[2 * i + 1] = (uint8_t)digits[key[i] & 15];
    }
    text[sizeof text - 1] = '\n';
    if (!status)
        status = rh_write_all(fd, rh_bytes(text, sizeof text), err);
    if (!status && fsync(fd))
        status = rh_fail_errno(err, errno, "syncing '%s'", RH_SHOW(rh_bytes_text(temporary)));
    rh_wipe(key, sizeof key);
    rh_wipe(text, sizeof text);
    return status;
}

/* Makes the name durable: without it a power cut could lose the key of what was sealed since. */
static enum rh_status sync_folder(const char *path, struct rh_error *err)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t length = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder)
        return rh_fail_errno(err, ENAMETOOLONG, "syncing the folder of '%s'", RH_SHOW(rh_bytes_text(path)));
    if (length) {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    rh_auto_fd int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        return rh_fail_errno(err, errno, "syncing folder '%s'", RH_SHOW(rh_bytes_text(folder)));
    return RH_OK;
}

enum rh_status rh_key_provider_file_make(const char *path, struct rh_key_provider **ret_provider, struct rh_error *err)
{
    if (access(path, F_OK) == 0)
        return rh_key_provider_file(path, ret_provider, err);
    uint64_t stamp;
    char temporary[PATH_MAX];
    enum rh_status status = rh_random(&stamp, sizeof stamp, err);
    if (status)
        return status;
    int length = snprintf(temporary, sizeof temporary, "%s.%016llx.tmp", path, (unsigned long long)stamp);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return rh_fail_errno(err, ENAMETOOLONG, "making key file '%s'", RH_SHOW(rh_bytes_text(path)));
    status = write_key(temporary, err);
    /* link, not rename: of two that start together the second finds the first one's key */
    if (!status && link(temporary, path) && errno != EEXIST)
        status = rh_fail_errno(err, errno, "naming it");
    (void)unlink(temporary); /* a leftover is harmless */
    if (!status)
        status = sync_folder(path, err);
    if (status) {
        if (err)
            rh_error_prepend(err, "making key file '%s'", RH_SHOW(rh_bytes_text(path)));
        return status;
    }
    return rh_key_provider_file(path, ret_provider, err);
}
