/* SPDX-License-Identifier: Apache-2.0 */
/* Trying a key: whether what it unwraps is what was wrapped. */
#include "internal.h"

#include <openssl/evp.h>

/* Room for what is unwrapped: a file's key or password, wiped on every path. */
struct clear {
    uint8_t bytes[64];
};
static void clear_wipe(struct clear *clear)
{
    rh_wipe(clear, sizeof *clear);
}
#define auto_clear __attribute__((cleanup(clear_wipe)))

static void cipher_free(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

struct rh_bytes proof_default_key(void)
{
    static const uint8_t key[PROOF_KEY_BYTES] = "DefaultMasterKey"; /* the rest is zeros */
    return rh_bytes(key, sizeof key);
}

uint32_t proof_crc32c(struct rh_bytes bytes)
{
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < bytes.size; i++) {
        sum ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
    }
    return ~sum;
}

/* Deciphers `in` to `out`, as long as it, without padding. */
static enum rh_status decipher(const EVP_CIPHER *cipher,
                               const uint8_t *key,
                               const uint8_t *iv,
                               struct rh_bytes in,
                               uint8_t *out,
                               struct rh_error *err)
{
    __attribute__((cleanup(cipher_free))) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int size = 0;
    if (!context || EVP_DecryptInit_ex(context, cipher, NULL, key, iv) != 1 ||
        EVP_CIPHER_CTX_set_padding(context, 0) != 1 ||
        EVP_DecryptUpdate(context, out, &size, in.data, (int)in.size) != 1 || (size_t)size != in.size)
        return rh_fail(err, RH_E_INTERNAL, "deciphering with AES failed");
    return RH_OK;
}

enum rh_status proof_info_try(const struct proof_info *info, struct rh_bytes key, struct rh_error *err)
{
    auto_clear struct clear clear;
    if (key.size != PROOF_KEY_BYTES)
        return RH_CHANGED;
    enum rh_status status =
        decipher(EVP_aes_256_ecb(), key.data, NULL, rh_bytes(info->wrapped, sizeof info->wrapped), clear.bytes, err);
    if (status != RH_OK)
        return status;
    return proof_crc32c(rh_bytes(clear.bytes, sizeof clear.bytes)) == info->sum ? RH_OK : RH_CHANGED;
}

enum rh_status
proof_binlog_try(const struct proof_binlog *binlog, struct rh_bytes first, struct rh_bytes key, struct rh_error *err)
{
    enum { DESCRIPTION_EVENT = 15, EVENT_TYPE = 4 + 4 };
    auto_clear struct clear password, keys;
    uint8_t counter[16] = {0}, plain[PROOF_BINLOG_FIRST];
    if (key.size != PROOF_KEY_BYTES || first.size != sizeof plain)
        return RH_CHANGED;
    enum rh_status status = decipher(EVP_aes_256_cbc(), key.data, binlog->iv,
                                     rh_bytes(binlog->password, sizeof binlog->password), password.bytes, err);
    if (status != RH_OK)
        return status;
    if (EVP_Digest(password.bytes, sizeof binlog->password, keys.bytes, NULL, EVP_sha512(), NULL) != 1)
        return rh_fail(err, RH_E_INTERNAL, "computing SHA-512 failed");
    memcpy(counter, keys.bytes + 32, 8); /* and a block counter from 0 */
    status = decipher(EVP_aes_256_ctr(), keys.bytes, counter, first, plain, err);
    if (status != RH_OK)
        return status;
    /* the magic of a plain log, then the event that describes its format */
    const bool right = proof_is_plain_binlog(rh_bytes(plain, sizeof plain)) && plain[EVENT_TYPE] == DESCRIPTION_EVENT;
    return right ? RH_OK : RH_CHANGED;
}
