/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a sealed file: docs/formats/seal.md, "Keys", "Fixed part", "Wrap part". */
#include "seal_internal.h"

#include <rehome/base.h>

#include <openssl/sha.h>

enum { VERSION = 1, PURPOSE_MOST = 64 };
enum { AT_ID = 16, AT_COMMITMENT = 32, AT_BINDING = 64, AT_PURPOSE = 96 };
static const uint8_t magic[8] = {'R', 'H', 'S', 'E', 'A', 'L', '\r', '\n'};

bool rh_seal_begins(struct rh_bytes head)
{
    return rh_bytes_starts(head, rh_bytes(magic, sizeof magic));
}

/* What follows from a file key, its id and the binding. */
struct derived {
    uint8_t commitment[RH_SEAL_KEY_BYTES], binding_tag[RH_SEAL_KEY_BYTES], frame_key[RH_SEAL_KEY_BYTES];
};

/* Derives all three. */
static enum rh_status
derive(const uint8_t *file_key, const uint8_t *id, struct rh_bytes binding, struct derived *ret, struct rh_error *err)
{
    struct rh_bytes key = rh_bytes(file_key, RH_SEAL_KEY_BYTES), salt = rh_bytes(id, RH_SEAL_ID_BYTES);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(binding.size ? binding.data : (const uint8_t *)"", binding.size, digest);
    struct rh_bytes bound = rh_bytes(digest, sizeof digest);
    enum rh_status status =
        rh_hkdf(ret->commitment, RH_SEAL_KEY_BYTES, key, salt, "rehome seal 1 commitment", rh_bytes(NULL, 0), err);
    if (!status)
        status = rh_hkdf(ret->binding_tag, RH_SEAL_KEY_BYTES, key, salt, "rehome seal 1 binding", bound, err);
    if (!status)
        status = rh_hkdf(ret->frame_key, RH_SEAL_KEY_BYTES, key, salt, "rehome seal 1 frames", bound, err);
    return status;
}

/* Letters, digits, '-'; 1 to 64 of them. */
static bool purpose_valid(struct rh_bytes purpose)
{
    if (purpose.size < 1 || purpose.size > PURPOSE_MOST)
        return false;
    for (size_t i = 0; i < purpose.size; i++) {
        uint8_t c = purpose.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* Appends the fixed part. */
static enum rh_status put_fixed(
    struct rh_buf *out, const uint8_t *id, const struct derived *derived, struct rh_bytes purpose, struct rh_error *err)
{
    enum rh_status status = rh_buf_add(out, magic, sizeof magic, err);
    if (!status)
        status = rh_buf_u32be(out, VERSION, err);
    if (!status)
        status = rh_buf_u32be(out, (uint32_t)(AT_PURPOSE + 1 + purpose.size), err);
    if (!status)
        status = rh_buf_add(out, id, RH_SEAL_ID_BYTES, err);
    if (!status)
        status = rh_buf_add(out, derived->commitment, sizeof derived->commitment, err);
    if (!status)
        status = rh_buf_add(out, derived->binding_tag, sizeof derived->binding_tag, err);
    if (!status)
        status = rh_buf_u8(out, (uint8_t)purpose.size, err);
    if (!status)
        status = rh_buf_add(out, purpose.data, purpose.size, err);
    return status;
}

/* Puts the keys for the frames together. */
static void give_keys(struct rh_bytes fixed, const struct derived *derived, struct rh_seal_keys *ret_keys)
{
    SHA256(fixed.data, fixed.size, ret_keys->header_hash);
    memcpy(ret_keys->frame_key, derived->frame_key, sizeof ret_keys->frame_key);
}

/* Both parts into out, for a file key. */
static enum rh_status put_header(struct rh_key_provider *provider,
                                 const uint8_t *file_key,
                                 struct rh_bytes purpose,
                                 struct rh_bytes binding,
                                 struct rh_buf *out,
                                 struct rh_seal_keys *ret_keys,
                                 struct rh_error *err)
{
    rh_auto_buf struct rh_buf fixed = RH_BUF_INIT, wrap = rh_buf_limited(RH_SEAL_WRAP_MOST);
    struct derived derived;
    uint8_t id[RH_SEAL_ID_BYTES];
    enum rh_status status = rh_random(id, sizeof id, err);
    if (!status)
        status = derive(file_key, id, binding, &derived, err);
    if (!status)
        status = put_fixed(&fixed, id, &derived, purpose, err);
    if (!status)
        status = rh_buf_u8(&wrap, (uint8_t)provider->class->kind, err);
    if (!status)
        status =
            provider->class->wrap(provider, (struct rh_seal_fixed){rh_buf_bytes(&fixed), id}, file_key, &wrap, err);
    if (!status)
        status = rh_buf_add(out, fixed.data, fixed.size, err);
    if (!status)
        status = rh_buf_bytes32(out, rh_buf_bytes(&wrap), err);
    if (!status)
        give_keys(rh_buf_bytes(&fixed), &derived, ret_keys);
    rh_wipe(&derived, sizeof derived);
    return status;
}

enum rh_status rh_seal_header_make(struct rh_key_provider *provider,
                                   const char *purpose,
                                   struct rh_bytes binding,
                                   struct rh_buf *out,
                                   struct rh_seal_keys *ret_keys,
                                   struct rh_error *err)
{
    if (!purpose_valid(rh_bytes_text(purpose)))
        return rh_fail(err, RH_E_INTERNAL, "sealing: '%s' is no purpose", RH_SHOW(rh_bytes_text(purpose)));
    uint8_t file_key[RH_SEAL_KEY_BYTES];
    enum rh_status status = rh_random(file_key, sizeof file_key, err);
    if (!status)
        status = put_header(provider, file_key, rh_bytes_text(purpose), binding, out, ret_keys, err);
    rh_wipe(file_key, sizeof file_key);
    return status;
}

enum rh_status rh_seal_header_start(struct rh_bytes start, size_t *ret_fixed_size, struct rh_error *err)
{
    struct rh_cursor cur = rh_cursor(start);
    if (!rh_bytes_equal(rh_cursor_take(&cur, sizeof magic), rh_bytes(magic, sizeof magic)))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: it isn't one");
    uint32_t version = rh_cursor_u32be(&cur);
    uint32_t size = rh_cursor_u32be(&cur);
    if (cur.bad)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: its header is cut off");
    if (version != VERSION)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: made by another version (format %u, known is %d)",
                       version, (int)VERSION);
    if (size < RH_SEAL_FIXED_LEAST || size > RH_SEAL_FIXED_MOST)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: header size %u is out of bounds", size);
    *ret_fixed_size = size;
    return RH_OK;
}

/* The purpose in the fixed part, whose size start has checked. */
static enum rh_status get_purpose(struct rh_bytes fixed, struct rh_bytes *ret_purpose, struct rh_error *err)
{
    struct rh_bytes found = rh_bytes(fixed.data + AT_PURPOSE + 1, fixed.size - AT_PURPOSE - 1);
    if (fixed.data[AT_PURPOSE] != found.size || !purpose_valid(found))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: its purpose isn't well-formed");
    *ret_purpose = found;
    return RH_OK;
}

/* Checks that the purpose is this one. */
static enum rh_status check_purpose(struct rh_bytes fixed, const char *purpose, struct rh_error *err)
{
    struct rh_bytes found;
    enum rh_status status = get_purpose(fixed, &found, err);
    if (status)
        return status;
    if (!rh_bytes_equal(found, rh_bytes_text(purpose)))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: it is for '%s', not for '%s'", RH_SHOW(found),
                       RH_SHOW(rh_bytes_text(purpose)));
    return RH_OK;
}

/* How a kind of provider is called, for messages. */
static const char *kind_name(uint8_t kind)
{
    switch (kind) {
    case RH_PROVIDER_KEY_FILE:
        return "a key file";
    case RH_PROVIDER_PASSPHRASE:
        return "a passphrase";
    default:
        return "a kind of key this version doesn't know";
    }
}

/* Unwraps the file key, if the kind is right. */
static enum rh_status unwrap(struct rh_key_provider *provider,
                             struct rh_bytes fixed,
                             struct rh_bytes wrap,
                             uint8_t *file_key,
                             struct rh_error *err)
{
    if (wrap.size == 0)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: no wrapped key");
    if (wrap.data[0] != provider->class->kind)
        return rh_fail(err, RH_E_DENIED, "opening a sealed file: sealed with %s, not with the %s",
                       kind_name(wrap.data[0]), provider->description);
    struct rh_seal_fixed with_id = {fixed, fixed.data + AT_ID};
    enum rh_status status = provider->class->unwrap(provider, with_id, wrap, file_key, err);
    if (status && err)
        rh_error_prepend(err, "opening a sealed file");
    return status;
}

/* Whether the file key is the one that the header is committed to. */
static enum rh_status check_commitment(struct rh_bytes fixed, const struct derived *derived, struct rh_error *err)
{
    if (!rh_bytes_equal_secret(rh_bytes(fixed.data + AT_COMMITMENT, RH_SEAL_KEY_BYTES),
                               rh_bytes(derived->commitment, RH_SEAL_KEY_BYTES)))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: the file key isn't the one it was made with");
    return RH_OK;
}

/* Compares what the file key gives with what the header says. */
static enum rh_status check_derived(struct rh_bytes fixed, const struct derived *derived, struct rh_error *err)
{
    enum rh_status status = check_commitment(fixed, derived, err);
    if (status)
        return status;
    if (!rh_bytes_equal_secret(rh_bytes(fixed.data + AT_BINDING, RH_SEAL_KEY_BYTES),
                               rh_bytes(derived->binding_tag, RH_SEAL_KEY_BYTES)))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: it belongs to another plan, move or place");
    return RH_OK;
}

enum rh_status rh_seal_header_open(struct rh_key_provider *provider,
                                   const char *purpose,
                                   struct rh_bytes binding,
                                   struct rh_bytes fixed,
                                   struct rh_bytes wrap,
                                   struct rh_seal_keys *ret_keys,
                                   struct rh_error *err)
{
    uint8_t file_key[RH_SEAL_KEY_BYTES];
    struct derived derived;
    enum rh_status status = check_purpose(fixed, purpose, err);
    if (!status)
        status = unwrap(provider, fixed, wrap, file_key, err);
    if (!status)
        status = derive(file_key, fixed.data + AT_ID, binding, &derived, err);
    if (!status)
        status = check_derived(fixed, &derived, err);
    if (!status)
        give_keys(fixed, &derived, ret_keys);
    rh_wipe(file_key, sizeof file_key);
    rh_wipe(&derived, sizeof derived);
    return status;
}

enum rh_status
rh_seal_header_look(struct rh_bytes fixed, struct rh_bytes wrap, struct rh_seal_info *ret_info, struct rh_error *err)
{
    struct rh_bytes purpose;
    enum rh_status status = get_purpose(fixed, &purpose, err);
    if (status)
        return status;
    if (wrap.size == 0)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: no wrapped key");
    struct rh_seal_info info = {.version = VERSION, .kind = wrap.data[0], .kind_words = kind_name(wrap.data[0])};
    memcpy(info.id, fixed.data + AT_ID, sizeof info.id);
    memcpy(info.purpose, purpose.data, purpose.size);
    struct rh_cursor cur = rh_cursor(rh_bytes(wrap.data + 1, wrap.size - 1));
    if (info.kind == RH_PROVIDER_PASSPHRASE) {
        info.scrypt_log_n = rh_cursor_u8(&cur);
        info.scrypt_r = rh_cursor_u32be(&cur);
        info.scrypt_p = rh_cursor_u32be(&cur);
    } else if (info.kind == RH_PROVIDER_KEY_FILE) {
        const struct rh_bytes key_id = rh_cursor_take(&cur, sizeof info.key_id);
        if (!cur.bad)
            memcpy(info.key_id, key_id.data, sizeof info.key_id);
    }
    if (cur.bad)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: its wrap part is too short");
    *ret_info = info;
    return RH_OK;
}

/* Appends fixed part and a new wrap part around the file key. */
static enum rh_status put_rewrapped(struct rh_key_provider *provider,
                                    const uint8_t *file_key,
                                    struct rh_bytes fixed,
                                    struct rh_buf *out,
                                    struct rh_error *err)
{
    rh_auto_buf struct rh_buf wrap = rh_buf_limited(RH_SEAL_WRAP_MOST);
    enum rh_status status = rh_buf_u8(&wrap, (uint8_t)provider->class->kind, err);
    if (!status)
        status =
            provider->class->wrap(provider, (struct rh_seal_fixed){fixed, fixed.data + AT_ID}, file_key, &wrap, err);
    if (!status)
        status = rh_buf_add(out, fixed.data, fixed.size, err);
    return status ? status : rh_buf_bytes32(out, rh_buf_bytes(&wrap), err);
}

enum rh_status rh_seal_header_rewrap(struct rh_key_provider *provider,
                                     struct rh_key_provider *new_provider,
                                     struct rh_bytes fixed,
                                     struct rh_bytes wrap,
                                     struct rh_buf *out,
                                     struct rh_error *err)
{
    uint8_t file_key[RH_SEAL_KEY_BYTES];
    struct derived derived;
    struct rh_bytes purpose;
    enum rh_status status = get_purpose(fixed, &purpose, err);
    if (!status)
        status = unwrap(provider, fixed, wrap, file_key, err);
    if (!status)
        status = derive(file_key, fixed.data + AT_ID, rh_bytes("", 0), &derived, err);
    if (!status)
        status = check_commitment(fixed, &derived, err);
    if (!status && new_provider)
        status = put_rewrapped(new_provider, file_key, fixed, out, err);
    rh_wipe(file_key, sizeof file_key);
    rh_wipe(&derived, sizeof derived);
    return status;
}
