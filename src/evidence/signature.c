/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 (RFC 8032) by OpenSSL: what `openssl pkeyutl -sign -rawin` makes and `-verify -rawin` checks. */
#include <rehome/evidence.h>
#include <rehome/secret.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

struct rh_signer {
    EVP_PKEY *key;
};

/* A key behind a passphrase: there is nobody to ask. */
static int no_passphrase(char *room, int size, int writing, void *user)
{
    (void)room, (void)size, (void)writing, (void)user;
    return -1;
}

/* "SHA256:..." of a key's public half. */
static enum rh_status key_name(EVP_PKEY *key, struct rh_buf *ret_name, struct rh_error *err)
{
    unsigned char *der = NULL;
    uint8_t hash[EVP_MAX_MD_SIZE];
    const int size = i2d_PUBKEY(key, &der);
    const bool hashed = size > 0 && EVP_Digest(der, (size_t)size, hash, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    if (!hashed)
        return rh_fail(err, RH_E_INTERNAL, "naming a public key failed");
    rh_buf_clear(ret_name);
    enum rh_status status = rh_buf_text(ret_name, "SHA256:", err);
    return status == RH_OK ? rh_base64_add(ret_name, rh_bytes(hash, 32), err) : status;
}

enum rh_status rh_signer_open(const char *path, struct rh_signer **ret_signer, struct rh_error *err)
{
    rh_auto_secret struct rh_secret *text = NULL;
    enum rh_status status = rh_secret_from_file(path, &text, err);
    if (status != RH_OK)
        return status;
    const struct rh_bytes pem = rh_secret_bytes(text);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size); /* at most 64 KiB */
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    struct rh_signer *signer = key && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 ? malloc(sizeof *signer) : NULL;
    if (!signer) {
        EVP_PKEY_free(key);
        rh_fail(err, RH_E_REFUSED,
                "reading the signing key '%s': it isn't an Ed25519 private key in PEM without passphrase",
                RH_SHOW(rh_bytes_text(path)));
        rh_error_hint(err, "'openssl genpkey -algorithm ed25519 -out FILE' makes one");
        return RH_E_REFUSED;
    }
    signer->key = key;
    *ret_signer = signer;
    return RH_OK;
}

void rh_signer_close(struct rh_signer *signer)
{
    if (!signer)
        return;
    EVP_PKEY_free(signer->key); /* wipes */
    free(signer);
}

enum rh_status rh_signer_public(struct rh_signer *signer, struct rh_buf *ret_name, struct rh_error *err)
{
    return key_name(signer->key, ret_name, err);
}

enum rh_status rh_signer_sign(struct rh_signer *signer,
                              struct rh_bytes content,
                              uint8_t ret_signature[static RH_SIGNATURE_BYTES],
                              struct rh_error *err)
{
    uint8_t signature[RH_SIGNATURE_BYTES];
    size_t size = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool made = context && EVP_DigestSignInit(context, NULL, NULL, NULL, signer->key) == 1 &&
                      EVP_DigestSign(context, signature, &size, content.data, content.size) == 1 &&
                      size == sizeof signature;
    EVP_MD_CTX_free(context);
    if (!made)
        return rh_fail(err, RH_E_INTERNAL, "signing failed");
    memcpy(ret_signature, signature, sizeof signature);
    return RH_OK;
}

/* An Ed25519 public key in PEM. */
static enum rh_status public_key(const char *path, EVP_PKEY **ret_key, struct rh_error *err)
{
    BIO *bio = BIO_new_file(path, "r");
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (key && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519) {
        *ret_key = key;
        return RH_OK;
    }
    EVP_PKEY_free(key);
    rh_fail(err, RH_E_USAGE, "reading the public key '%s': %s", RH_SHOW(rh_bytes_text(path)),
            bio ? "it isn't an Ed25519 public key in PEM" : "it can't be opened");
    rh_error_hint(err, "'openssl pkey -in PRIVATE -pubout -out PUBLIC' gives the public half of a key");
    return RH_E_USAGE;
}

enum rh_status rh_signature_verify(const char *public_key_path,
                                   struct rh_bytes content,
                                   struct rh_bytes signature,
                                   struct rh_buf *ret_name,
                                   struct rh_error *err)
{
    EVP_PKEY *key = NULL;
    enum rh_status status = public_key(public_key_path, &key, err);
    if (status != RH_OK)
        return status;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool ready = context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1;
    const bool good = ready && signature.size == RH_SIGNATURE_BYTES &&
                      EVP_DigestVerify(context, signature.data, signature.size, content.data, content.size) == 1;
    EVP_MD_CTX_free(context);
    if (!ready)
        status = rh_fail(err, RH_E_INTERNAL, "checking a signature failed");
    else if (!good)
        status = rh_fail(err, RH_E_MISMATCH, "the signature isn't that of this key over this file");
    else
        status = key_name(key, ret_name, err);
    EVP_PKEY_free(key);
    return status;
}
