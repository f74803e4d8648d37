/* SPDX-License-Identifier: Apache-2.0 */
/* The summed keyed hash: what changes it and what doesn't. */
#include <rehome/digest.h>

#include <openssl/hmac.h>

#include "cm.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

static struct rh_digest_key fixed_key;
static struct rh_error err;

/* The hash of a record with one field. */
static struct rh_hash hash_kv(const char *set, struct rh_bytes key, enum rh_tag tag, struct rh_bytes value)
{
    struct rh_field field = {.tag = tag, .value = value};
    struct rh_record record = {.key = key, .fields = &field, .field_count = 1};
    return rh_digest_record(&fixed_key, set, &record);
}

static struct rh_hash hash_text(const char *key, const char *value)
{
    return hash_kv("set", rh_bytes_text(key), RH_TAG_BYTES, rh_bytes_text(value));
}

static void test_golden(void **state)
{
    (void)state;
    static uint8_t big[5000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 31);
    struct rh_bytes key = rh_bytes_text("key");
    assert_string_equal(rh_hash_show(hash_text("key", "value")).text, "ec464cea121ae133b972db93cb899910");
    assert_string_equal(rh_hash_show(hash_kv("set", key, RH_TAG_NULL, rh_bytes(NULL, 0))).text,
                        "4fe3c23f4c4375d59d18b25c68946f47");
    assert_string_equal(rh_hash_show(hash_kv("set", key, RH_TAG_BYTES, rh_bytes(big, sizeof big))).text,
                        "de64c0f6523a1d4c8aca164824701fe5");
    assert_string_equal(rh_hash_show(rh_digest_name(&fixed_key, "set", key)).text, "9a354c436185f2420a6cd8566ea22eea");
}

/* Both ways of hashing give the hash of the bytes that digest.c's head describes. */
static void test_encoding(void **state)
{
    (void)state;
    static uint8_t input[3000], value[2900];
    static const size_t sizes[] = {0, 1, 100, 983, 984, 985, 986, 1000, 1023, 1024, 1025, 2900};
    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        const uint8_t head[] = "\0\0\0\3set\0\0\0\0\0\0\0\3key\0\0\0\1\1\0\0\0\0\0\0";
        size_t length = sizeof head - 1;
        memcpy(input, head, length);
        input[length++] = (uint8_t)(size >> 8);
        input[length++] = (uint8_t)size;
        memcpy(input + length, value, size);
        XXH128_hash_t want = XXH3_128bits_withSecret(input, length + size, fixed_key.secret, sizeof fixed_key.secret);
        struct rh_hash got = hash_kv("set", rh_bytes_text("key"), RH_TAG_BYTES, rh_bytes(value, size));
        assert_true(got.low == want.low64 && got.high == want.high64);
    }
}

/* All pairs of these differ. */
static void test_distinct(void **state)
{
    (void)state;
    struct rh_bytes key = rh_bytes_text("key"), none = rh_bytes(NULL, 0);
    struct rh_record bare = {.key = key};
    struct rh_field two[] = {
        {RH_TAG_BYTES, rh_bytes_text("val")},
        {RH_TAG_BYTES, rh_bytes_text("ue") },
    };
    struct rh_record split = {.key = key, .fields = two, .field_count = 2};
    struct rh_hash hashes[] = {
        hash_kv("set", key, RH_TAG_BYTES, rh_bytes_text("value")),
        hash_kv("set", key, RH_TAG_TEXT, rh_bytes_text("value")),
        hash_kv("set", key, RH_TAG_NULL, none), /* NULL isn't the empty string */
        hash_kv("set", key, RH_TAG_BYTES, none),
        hash_kv("set", rh_bytes_text("keyv"), RH_TAG_BYTES, rh_bytes_text("alue")),
        hash_kv("sets", key, RH_TAG_BYTES, rh_bytes_text("value")),
        hash_kv("set", rh_bytes_text("key\0"), RH_TAG_BYTES, rh_bytes_text("value2")),
        hash_kv("set", none, RH_TAG_BYTES, none),
        rh_digest_record(&fixed_key, "set", &bare),
        rh_digest_record(&fixed_key, "set", &split),
        rh_digest_name(&fixed_key, "set", key),
        rh_digest_name(&fixed_key, "sets", key),
    };
    size_t count = sizeof hashes / sizeof hashes[0];
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(rh_hash_equal(hashes[i], hashes[j]));
    struct rh_digest_key other = {.secret_records = false};
    assert_ok(rh_digest_key_new(&other, &err), &err);
    assert_false(rh_hash_equal(rh_digest_name(&other, "set", key), rh_digest_name(&fixed_key, "set", key)));
}

/* Every size around the border between the two ways of hashing: each byte counts, each size differs. */
static void test_sizes(void **state)
{
    (void)state;
    static uint8_t value[1200];
    struct rh_hash last = {0, 0};
    for (size_t size = 0; size <= sizeof value; size++) {
        struct rh_hash one = hash_kv("set", rh_bytes_text("k"), RH_TAG_BYTES, rh_bytes(value, size));
        assert_false(rh_hash_equal(one, last));
        last = one;
        if (size) {
            value[size - 1] = 1;
            assert_false(rh_hash_equal(one, hash_kv("set", rh_bytes_text("k"), RH_TAG_BYTES, rh_bytes(value, size))));
            value[size - 1] = 0;
        }
    }
}

static void test_sums(void **state)
{
    (void)state;
    struct rh_sum forward = {0}, backward = {0}, left = {0}, right = {0}, swapped = {0}, doubled = {0};
    char key[3] = "k0", value[3] = "v0";
    for (int i = 0; i < 10; i++) {
        key[1] = value[1] = (char)('0' + i);
        rh_sum_add(&forward, hash_text(key, value), 4);
        rh_sum_add(i < 3 ? &left : &right, hash_text(key, value), 4);
        rh_sum_add(&doubled, hash_text(i == 4 ? "k5" : key, i == 4 ? "v5" : value), 4); /* one lost, one twice */
        value[1] = i < 2 ? (char)('1' - i) : value[1]; /* values of k0 and k1 swapped */
        rh_sum_add(&swapped, hash_text(key, value), 4);
    }
    for (int i = 9; i >= 0; i--) {
        key[1] = value[1] = (char)('0' + i);
        rh_sum_add(&backward, hash_text(key, value), 4);
    }
    assert_true(rh_sum_equal(&forward, &backward));
    assert_int_equal(forward.count, 10);
    assert_int_equal(forward.bytes, 40);
    rh_sum_merge(&left, &right);
    assert_true(rh_sum_equal(&forward, &left));
    assert_false(rh_sum_equal(&forward, &swapped));
    assert_false(rh_sum_equal(&forward, &doubled));
    struct rh_sum carried = {0};
    rh_sum_add(&carried, (struct rh_hash){.low = UINT64_MAX, .high = 1}, 0);
    rh_sum_add(&carried, (struct rh_hash){.low = 2, .high = 3}, 0);
    assert_string_equal(rh_hash_show(carried.sum).text, "00000000000000050000000000000001");
}

static void test_encode(void **state)
{
    (void)state;
    struct rh_sum sum =
                      {
                          .count = 1, .bytes = 0x0203, .sum = {.low = 5, .high = 4}
    },
                  back;
    uint8_t out[RH_SUM_BYTES];
    rh_sum_encode(&sum, out);
    const uint8_t want[RH_SUM_BYTES] = {[7] = 1, [14] = 2, [15] = 3, [23] = 4, [31] = 5};
    assert_memory_equal(out, want, RH_SUM_BYTES);
    assert_int_equal(rh_sum_decode(rh_bytes(out, 32), &back), RH_OK);
    assert_true(rh_sum_equal(&sum, &back));
    assert_int_equal(rh_sum_decode(rh_bytes(out, 31), &back), RH_E_CORRUPT);
    uint8_t more[33] = {0};
    assert_int_equal(rh_sum_decode(rh_bytes(more, 33), &back), RH_E_CORRUPT);
}

static void test_secret_records_are_hashed_by_hmac(void **state)
{
    struct rh_digest_key key = {.secret_records = true};
    struct rh_field fields[] = {
        {.tag = RH_TAG_TEXT,          .value = rh_bytes_text("AES")},
        { .tag = RH_TAG_BYTES, .value = rh_bytes("\1\2\3",                            3)}
    };
    const struct rh_record record = {.key = rh_bytes_text("k"), .fields = fields, .field_count = 2};
    static const uint8_t input[] = "\0\0\0\7keyring\0\0\0\0\0\0\0\1k\0\0\0\2"
                                   "\2\0\0\0\0\0\0\0\3"
                                   "AES"
                                   "\1\0\0\0\0\0\0\0\3\1\2\3";
    uint8_t wanted[32];
    unsigned size = 0;
    (void)state;
    for (size_t i = 0; i < sizeof key.secret; i++)
        key.secret[i] = (uint8_t)(i * 7 + 1);
    assert_non_null(HMAC(EVP_sha256(), key.secret, 64, input, sizeof input - 1, wanted, &size));
    struct rh_hash hash = rh_digest_record(&key, "keyring", &record);
    for (int i = 7; i >= 0; i--, hash.high >>= 8, hash.low >>= 8) {
        assert_int_equal(hash.high & 0xff, wanted[i]);
        assert_int_equal(hash.low & 0xff, wanted[8 + i]);
    }
    fields[1].value = rh_bytes("\1\2\4", 3);
    const struct rh_hash other = rh_digest_record(&key, "keyring", &record);
    assert_false(rh_hash_equal(other, rh_digest_name(&key, "keyring", record.key)));
    assert_int_not_equal(other.low & 0xff, wanted[15]);
}

int main(void)
{
    for (size_t i = 0; i < sizeof fixed_key.secret; i++)
        fixed_key.secret[i] = (uint8_t)(i * 53 + 11);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_records_are_hashed_by_hmac),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
