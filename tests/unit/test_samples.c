/* SPDX-License-Identifier: Apache-2.0 */
/* The samples of speed: bounded, whatever comes; nothing is lost when they are made wider; damage counts as none. */
#include "cm.h"

#include "internal.h"

static struct samples samples;

/* Sum over all points of one kind. */
static struct sample total(enum sample_kind kind)
{
    struct sample sum = {.kind = kind};
    for (size_t i = 0; i < samples.count; i++)
        if (samples.points[i].kind == kind) {
            sum.active_us += samples.points[i].active_us;
            sum.records += samples.points[i].records;
            sum.bytes += samples.points[i].bytes;
        }
    return sum;
}

/* In order, at most SAMPLES_MOST, one of a kind per bucket. */
static void assert_shape(void)
{
    assert_true(samples.count <= SAMPLES_MOST);
    for (size_t i = 1; i < samples.count; i++) {
        const struct sample *point = &samples.points[i];
        assert_true(point->from_us >= samples.points[i - 1].from_us);
        for (size_t j = i; j-- > 0;)
            if (samples.points[j].from_us / samples.width_us == point->from_us / samples.width_us)
                assert_int_not_equal(samples.points[j].kind, point->kind);
    }
}

static void test_bounded(void **state)
{
    (void)state;
    samples = (struct samples){.origin_us = 1};
    uint64_t ticks = 0;
    /* fifty minutes of ticks, each third of a minute of the other kind */
    for (uint64_t at = 0; at < 3000 * UINT64_C(1000000); at += 50000, ticks++) {
        const enum sample_kind kind = at / 20000000 % 3 == 2 ? SAMPLE_VERIFY : SAMPLE_COPY;
        samples_add(&samples, (struct sample){kind, at, 50000, 7, 100});
    }
    assert_shape();
    assert_true(samples.count > SAMPLES_MOST / 4 && samples.width_us >= 8000000);
    assert_int_equal(total(SAMPLE_COPY).records + total(SAMPLE_VERIFY).records, 7 * ticks);
    assert_int_equal(total(SAMPLE_COPY).bytes + total(SAMPLE_VERIFY).bytes, 100 * ticks);
    assert_int_equal(total(SAMPLE_COPY).active_us + total(SAMPLE_VERIFY).active_us, 50000 * ticks);
}

static void test_rests_take_no_points(void **state)
{
    const uint64_t day = UINT64_C(86400000000);
    (void)state;
    samples = (struct samples){.origin_us = 1};
    for (uint64_t days = 0; days < 10; days++)
        for (uint64_t at = 0; at < 2000000; at += 50000)
            samples_add(&samples, (struct sample){SAMPLE_COPY, days * day + at, 50000, 1, 1});
    assert_shape();
    assert_int_equal(samples.count, 80);
    assert_int_equal(samples.width_us, 250000);
    /* as many runs as there are points, and more */
    for (uint64_t days = 10; days < 1000; days++)
        samples_add(&samples, (struct sample){SAMPLE_COPY, days * day, 50000, 1, 1});
    assert_shape();
    assert_int_equal(total(SAMPLE_COPY).records, 400 + 990);
    /* a clock set back */
    samples_add(&samples, (struct sample){SAMPLE_VERIFY, 5, 50000, 3, 0});
    assert_shape();
    assert_int_equal(total(SAMPLE_VERIFY).records, 3);
}

static void test_encoding(void **state)
{
    rh_auto_buf struct rh_buf bytes = RH_BUF_INIT, again = RH_BUF_INIT;
    struct samples read = {0};
    (void)state;
    samples = (struct samples){.origin_us = 1795326801582691};
    for (uint64_t at = 0; at < 5; at++)
        samples_add(&samples, (struct sample){at == 3 ? SAMPLE_VERIFY : SAMPLE_COPY, at * 300000, 50000, at, 10 * at});
    assert_int_equal(samples_encode(&samples, &bytes, NULL), RH_OK);
    assert_int_equal(bytes.size, 1 + 8 + 8 + 5 * 33);
    assert_int_equal(samples_decode(rh_buf_bytes(&bytes), &read), RH_OK);
    assert_int_equal(samples_encode(&read, &again, NULL), RH_OK);
    assert_true(rh_bytes_equal(rh_buf_bytes(&bytes), rh_buf_bytes(&again)));
    for (size_t size = 0; size < bytes.size; size++) /* whole points may be missing, nothing else */
        assert_int_equal(samples_decode(rh_bytes(bytes.data, size), &read),
                         size >= 17 && (size - 17) % 33 == 0 ? RH_OK : RH_E_CORRUPT);
    static const struct {
        size_t at;
        uint8_t value;
    } damage[] = {
        {0,  2   }, /* version */
        {17, 2   }, /* kind */
        {18, 0xff}, /* a time past all times */
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        const uint8_t good = bytes.data[damage[i].at];
        bytes.data[damage[i].at] = damage[i].value;
        assert_int_equal(samples_decode(rh_buf_bytes(&bytes), &read), RH_E_CORRUPT);
        bytes.data[damage[i].at] = good;
    }
    memset(bytes.data + 9, 0, 8); /* width */
    assert_int_equal(samples_decode(rh_buf_bytes(&bytes), &read), RH_E_CORRUPT);
    /* one point too many */
    rh_buf_clear(&bytes);
    samples.count = SAMPLES_MOST;
    assert_int_equal(samples_encode(&samples, &bytes, NULL), RH_OK);
    assert_int_equal(samples_decode(rh_buf_bytes(&bytes), &read), RH_OK);
    assert_int_equal(rh_buf_add(&bytes, bytes.data + 17, 33, NULL), RH_OK);
    assert_int_equal(samples_decode(rh_buf_bytes(&bytes), &read), RH_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_rests_take_no_points),
        cmocka_unit_test(test_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
