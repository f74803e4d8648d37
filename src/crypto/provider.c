/* SPDX-License-Identifier: Apache-2.0 */
/* What all key providers share: derivation, and wrapping under a key that this process holds. */
#include "provider.h"

#include <rehome/base.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

enum rh_status rh_fail_openssl(struct rh_error *err, const char *doing)
{
    char reason[160] = "no reason given";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return rh_fail(err, RH_E_INTERNAL, "%s: OpenSSL failed: %s", doing, reason);
}

enum rh_status rh_hkdf(uint8_t *out,
                       size_t size,
                       struct rh_bytes key,
                       struct rh_bytes salt,
                       const char *info,
                       struct rh_bytes more,
                       struct rh_error *err)
{
    uint8_t whole[128];
    struct rh_bytes text = rh_bytes_text(info);
    if (text.size + more.size > sizeof whole)
        return rh_fail(err, RH_E_INTERNAL, "deriving a key: too much info");
    memcpy(whole, text.data, text.size);
    if (more.size)
        memcpy(whole + text.size, more.data, more.size);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key.data, key.size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.data, salt.size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, whole, text.size + more.size),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    bool done = ctx && EVP_KDF_derive(ctx, out, size, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return done ? RH_OK : rh_fail_openssl(err, "deriving a key");
}

/* The key that wraps one file's key. */
static enum rh_status wrapping_key(uint8_t *out, struct rh_bytes key, struct rh_seal_fixed fixed, struct rh_error *err)
{
    return rh_hkdf(out, RH_SEAL_KEY_BYTES, key, rh_bytes(fixed.id, RH_SEAL_ID_BYTES), "rehome seal 1 wrap",
                   rh_bytes(NULL, 0), err);
}

enum rh_status rh_wrap_local(
    struct rh_bytes key, struct rh_seal_fixed fixed, const uint8_t *file_key, struct rh_buf *body, struct rh_error *err)
{
    uint8_t kek[RH_SEAL_KEY_BYTES], out[RH_SEAL_NONCE_BYTES + RH_SEAL_WRAPPED_BYTES];
    uint8_t *wrapped = out + RH_SEAL_NONCE_BYTES;
    enum rh_status status = rh_random(out, RH_SEAL_NONCE_BYTES, err);
    if (!status)
        status = wrapping_key(kek, key, fixed, err);
    if (status)
        return status;
    int length;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool done = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, kek, out) == 1 &&
                EVP_EncryptUpdate(ctx, NULL, &length, fixed.bytes.data, (int)fixed.bytes.size) == 1 &&
                EVP_EncryptUpdate(ctx, NULL, &length, body->data, (int)body->size) == 1 &&
                EVP_EncryptUpdate(ctx, wrapped, &length, file_key, RH_SEAL_KEY_BYTES) == 1 &&
                EVP_EncryptFinal_ex(ctx, wrapped + RH_SEAL_KEY_BYTES, &length) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, RH_SEAL_TAG_BYTES, wrapped + RH_SEAL_KEY_BYTES) == 1;
    EVP_CIPHER_CTX_free(ctx);
    rh_wipe(kek, sizeof kek);
    return done ? rh_buf_add(body, out, sizeof out, err) : rh_fail_openssl(err, "wrapping a file key");
}

enum rh_status rh_unwrap_local(
    struct rh_bytes key, struct rh_seal_fixed fixed, struct rh_bytes body, uint8_t *ret_file_key, struct rh_error *err)
{
    uint8_t kek[RH_SEAL_KEY_BYTES], plain[RH_SEAL_KEY_BYTES], tag[RH_SEAL_TAG_BYTES];
    if (body.size < RH_SEAL_NONCE_BYTES + RH_SEAL_WRAPPED_BYTES)
        return rh_fail(err, RH_E_CORRUPT, "unwrapping a file key: too few bytes");
    enum rh_status status = wrapping_key(kek, key, fixed, err);
    if (status)
        return status;
    const uint8_t *wrapped = body.data + body.size - RH_SEAL_WRAPPED_BYTES;
    const uint8_t *nonce = wrapped - RH_SEAL_NONCE_BYTES;
    memcpy(tag, wrapped + RH_SEAL_KEY_BYTES, sizeof tag);
    int length;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ready = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, kek, nonce) == 1 &&
                 EVP_DecryptUpdate(ctx, NULL, &length, fixed.bytes.data, (int)fixed.bytes.size) == 1 &&
                 EVP_DecryptUpdate(ctx, NULL, &length, body.data, (int)(nonce - body.data)) == 1 &&
                 EVP_DecryptUpdate(ctx, plain, &length, wrapped, RH_SEAL_KEY_BYTES) == 1 &&
                 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1;
    if (!ready)
        status = rh_fail_openssl(err, "unwrapping a file key");
    else if (EVP_DecryptFinal_ex(ctx, plain, &length) != 1)
        status = RH_E_DENIED;
    else
        memcpy(ret_file_key, plain, sizeof plain);
    EVP_CIPHER_CTX_free(ctx);
    rh_wipe(kek, sizeof kek);
    rh_wipe(plain, sizeof plain);
    return status;
}

const char *rh_key_provider_describe(const struct rh_key_provider *provider)
{
    return provider->description;
}

void rh_key_provider_free(struct rh_key_provider *provider)
{
    if (provider)
        provider->class->free(provider);
}
