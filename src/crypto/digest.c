/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyed hash of a record and the sums of them. What is hashed, numbers big-endian:
 *   u32 length of the dataset's name, name; u64 length of the key, key; u32 number of fields;
 *   for each field u8 tag, u64 length, bytes.
 * A name alone has 0xffffffff for the number of fields, which no record has.
 */
#include <rehome/digest.h>

#include <rehome/base.h>
#include <rehome/secret.h>

#include <stdio.h>
#define OPENSSL_SUPPRESS_DEPRECATED /* the calls that can't fail, on a state that we wipe */
#include <openssl/sha.h>
#define XXH_STATIC_LINKING_ONLY /* the state's size, to have it on the stack */
#include <xxhash.h>

enum { SMALL = 1024, HEAD = 4 + 8 + 4, FIELD_HEAD = 1 + 8 };
static const uint32_t name_alone = UINT32_MAX;

_Static_assert(sizeof(((struct rh_digest_key *)0)->secret) >= XXH3_SECRET_SIZE_MIN, "xxHash wants so much secret");

enum rh_status rh_digest_key_new(struct rh_digest_key *ret_key, struct rh_error *err)
{
    return rh_random(ret_key->secret, sizeof ret_key->secret, err);
}

/* Big-endian, `size` bytes; returns the place after. */
static uint8_t *put_be(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = size; i-- > 0; value >>= 8)
        out[i] = (uint8_t)value;
    return out + size;
}

/* Bytes, which may be none; returns the place after. */
static uint8_t *put_bytes(uint8_t *out, struct rh_bytes bytes)
{
    if (bytes.size)
        memcpy(out, bytes.data, bytes.size);
    return out + bytes.size;
}

/* The whole input in one piece on the stack: most records are small, and xxHash is quickest so. */
static XXH128_hash_t hash_small(const struct rh_digest_key *key,
                                struct rh_bytes dataset,
                                struct rh_bytes name,
                                const struct rh_field *fields,
                                uint32_t field_count,
                                uint32_t field_mark)
{
    uint8_t input[SMALL], *at = input;
    at = put_bytes(put_be(at, dataset.size, 4), dataset);
    at = put_bytes(put_be(at, name.size, 8), name);
    at = put_be(at, field_mark, 4);
    for (uint32_t i = 0; i < field_count; i++) {
        *at++ = (uint8_t)fields[i].tag;
        at = put_bytes(put_be(at, fields[i].value.size, 8), fields[i].value);
    }
    const XXH128_hash_t value = XXH3_128bits_withSecret(input, (size_t)(at - input), key->secret, sizeof key->secret);
    if (key->tidy)
        rh_wipe(input, sizeof input);
    return value;
}

/* The same for what is larger, piece by piece. */
static XXH128_hash_t hash_large(const struct rh_digest_key *key,
                                struct rh_bytes dataset,
                                struct rh_bytes name,
                                const struct rh_field *fields,
                                uint32_t field_count,
                                uint32_t field_mark)
{
    XXH3_state_t state;
    uint8_t head[FIELD_HEAD];
    (void)XXH3_128bits_reset_withSecret(&state, key->secret, sizeof key->secret);
    (void)XXH3_128bits_update(&state, head, (size_t)(put_be(head, dataset.size, 4) - head));
    (void)XXH3_128bits_update(&state, dataset.data, dataset.size);
    (void)XXH3_128bits_update(&state, head, (size_t)(put_be(head, name.size, 8) - head));
    if (name.size)
        (void)XXH3_128bits_update(&state, name.data, name.size);
    (void)XXH3_128bits_update(&state, head, (size_t)(put_be(head, field_mark, 4) - head));
    for (uint32_t i = 0; i < field_count; i++) {
        head[0] = (uint8_t)fields[i].tag;
        (void)XXH3_128bits_update(&state, head, (size_t)(put_be(head + 1, fields[i].value.size, 8) - head));
        if (fields[i].value.size)
            (void)XXH3_128bits_update(&state, fields[i].value.data, fields[i].value.size);
    }
    const XXH128_hash_t value = XXH3_128bits_digest(&state);
    if (key->tidy)
        rh_wipe(&state, sizeof state);
    return value;
}

enum { HMAC_BLOCK = SHA256_CBLOCK };

/* One of HMAC's two hashes begins: with the key and its pad. */
static void hmac_begin(SHA256_CTX *state, const struct rh_digest_key *key, uint8_t pad)
{
    uint8_t block[HMAC_BLOCK];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = key->secret[i] ^ pad;
    (void)SHA256_Init(state);
    (void)SHA256_Update(state, block, sizeof block);
    rh_wipe(block, sizeof block);
}

/* The same input under HMAC-SHA-256 (RFC 2104); leaves nothing of it in memory. */
static struct rh_hash hash_secret(const struct rh_digest_key *key,
                                  struct rh_bytes dataset,
                                  struct rh_bytes name,
                                  const struct rh_field *fields,
                                  uint32_t field_count,
                                  uint32_t field_mark)
{
    SHA256_CTX state;
    uint8_t head[FIELD_HEAD], out[SHA256_DIGEST_LENGTH];
    hmac_begin(&state, key, 0x36);
    (void)SHA256_Update(&state, head, (size_t)(put_be(head, dataset.size, 4) - head));
    (void)SHA256_Update(&state, dataset.data, dataset.size);
    (void)SHA256_Update(&state, head, (size_t)(put_be(head, name.size, 8) - head));
    (void)SHA256_Update(&state, name.data, name.size);
    (void)SHA256_Update(&state, head, (size_t)(put_be(head, field_mark, 4) - head));
    for (uint32_t i = 0; i < field_count; i++) {
        head[0] = (uint8_t)fields[i].tag;
        (void)SHA256_Update(&state, head, (size_t)(put_be(head + 1, fields[i].value.size, 8) - head));
        (void)SHA256_Update(&state, fields[i].value.data, fields[i].value.size);
    }
    (void)SHA256_Final(out, &state);
    hmac_begin(&state, key, 0x5c);
    (void)SHA256_Update(&state, out, sizeof out);
    (void)SHA256_Final(out, &state);
    rh_wipe(&state, sizeof state);
    struct rh_cursor cur = rh_cursor(rh_bytes(out, sizeof out));
    const uint64_t high = rh_cursor_u64be(&cur);
    return (struct rh_hash){.high = high, .low = rh_cursor_u64be(&cur)};
}

/* The hash of a name and its fields. */
static struct rh_hash hash(const struct rh_digest_key *key,
                           const char *dataset,
                           struct rh_bytes name,
                           const struct rh_field *fields,
                           uint32_t field_count,
                           uint32_t field_mark)
{
    struct rh_bytes set = rh_bytes_text(dataset);
    if (key->secret_records)
        return hash_secret(key, set, name, fields, field_count, field_mark);
    size_t room = SMALL - HEAD;
    bool small = set.size <= room && name.size <= room - set.size;
    room -= small ? set.size + name.size : 0;
    for (uint32_t i = 0; small && i < field_count; i++) {
        small = room >= FIELD_HEAD && fields[i].value.size <= room - FIELD_HEAD;
        room -= small ? FIELD_HEAD + fields[i].value.size : 0;
    }
    XXH128_hash_t value = small ? hash_small(key, set, name, fields, field_count, field_mark)
                                : hash_large(key, set, name, fields, field_count, field_mark);
    return (struct rh_hash){.low = value.low64, .high = value.high64};
}

struct rh_hash rh_digest_record(const struct rh_digest_key *key, const char *dataset, const struct rh_record *record)
{
    return hash(key, dataset, record->key, record->fields, record->field_count, record->field_count);
}

struct rh_hash rh_digest_name(const struct rh_digest_key *key, const char *dataset, struct rh_bytes name)
{
    return hash(key, dataset, name, NULL, 0, name_alone);
}

/* Sum mod 2^128. */
static void add_hash(struct rh_hash *to, struct rh_hash hash)
{
    to->low += hash.low;
    to->high += hash.high + (to->low < hash.low);
}

void rh_sum_add(struct rh_sum *sum, struct rh_hash hash, uint64_t bytes)
{
    sum->count++;
    sum->bytes += bytes;
    add_hash(&sum->sum, hash);
}

void rh_sum_merge(struct rh_sum *sum, const struct rh_sum *other)
{
    sum->count += other->count;
    sum->bytes += other->bytes;
    add_hash(&sum->sum, other->sum);
}

bool rh_sum_equal(const struct rh_sum *a, const struct rh_sum *b)
{
    return a->count == b->count && a->bytes == b->bytes && rh_hash_equal(a->sum, b->sum);
}

void rh_sum_encode(const struct rh_sum *sum, uint8_t out[static RH_SUM_BYTES])
{
    out = put_be(out, sum->count, 8);
    out = put_be(out, sum->bytes, 8);
    out = put_be(out, sum->sum.high, 8);
    put_be(out, sum->sum.low, 8);
}

enum rh_status rh_sum_decode(struct rh_bytes in, struct rh_sum *ret_sum)
{
    if (in.size != RH_SUM_BYTES)
        return RH_E_CORRUPT;
    struct rh_cursor cur = rh_cursor(in);
    struct rh_sum sum = {0};
    sum.count = rh_cursor_u64be(&cur);
    sum.bytes = rh_cursor_u64be(&cur);
    sum.sum.high = rh_cursor_u64be(&cur);
    sum.sum.low = rh_cursor_u64be(&cur);
    *ret_sum = sum;
    return RH_OK;
}

struct rh_hash_text rh_hash_show(struct rh_hash hash)
{
    struct rh_hash_text shown;
    (void)snprintf(shown.text, sizeof shown.text, "%016llx%016llx", (unsigned long long)hash.high,
                   (unsigned long long)hash.low);
    return shown;
}
