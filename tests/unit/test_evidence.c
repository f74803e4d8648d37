/* SPDX-License-Identifier: Apache-2.0 */
/* The evidence: the document's bytes, the HTML writer, the time axis, the page, signatures (docs/formats/report.md). */
#include "cm.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <rehome/base.h>
#include <rehome/evidence.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "html.h"
#include "time_scale.h"

static struct rh_error err;

/* --- the document --- */

static void test_text(void **state)
{
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    (void)state;
    json_t *report = json_pack("{s:s, s:i}", "a", "</script>&\xe2\x80\xae\x01", "b", 1);
    assert_int_equal(rh_evidence_text(report, &out, &err), RH_OK);
    assert_string_equal(rh_buf_cstr(&out),
                        "{\n  \"a\": \"\\u003c/script\\u003e\\u0026\\u202E\\u0001\",\n  \"b\": 1\n}\n");
    json_t *again = json_loadb((const char *)out.data, out.size, 0, NULL);
    assert_true(json_equal(report, again));
    json_decref(again);
    json_decref(report);
    assert_int_equal(rh_evidence_text(NULL, &out, &err), RH_E_INTERNAL);
}

/* --- the HTML writer --- */

static void test_html(void **state)
{
    static const struct {
        const char *text, *markup;
    } cases[] = {
        {"plain \xc3\xa4 \xe2\x86\x92",                 "plain \xc3\xa4 \xe2\x86\x92"                               },
        {"<b a=\"x\" b='y'>&amp;</b>",                  "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;&lt;/b&gt;"},
        {"a\x1b[2Jb\nc\x7f",                            "a\\x1b[2Jb\\x0ac\\x7f"                                     },
        {"c1 \xc2\x85.",                                "c1 \\xc2\\x85."                                            },
        {"bidi \xe2\x80\xae \xe2\x81\xa6 \xef\xbb\xbf", "bidi \\xe2\\x80\\xae \\xe2\\x81\\xa6 \\xef\\xbb\\xbf"      },
        {"zero\xe2\x80\x8bwidth",                       "zero\\xe2\\x80\\x8bwidth"                                  },
        {"\xe2",                                        "\xe2"                                                      }, /* the end is never passed */
        {"",                                            ""                                                          },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_auto_buf struct rh_buf out = RH_BUF_INIT;
        struct html html = {.out = &out, .err = &err};
        html_text(&html, cases[i].text);
        assert_int_equal(html.status, RH_OK);
        assert_string_equal(rh_buf_cstr(&out), cases[i].markup);
    }
    rh_auto_buf struct rh_buf out = rh_buf_limited(4);
    struct html html = {.out = &out, .err = &err};
    html_element(&html, "p", "more than fits");
    assert_int_equal(html.status, RH_E_LIMIT);
}

/* --- the time axis --- */

static void test_scale(void **state)
{
    const int64_t second = 1000000, hour = 3600 * second;
    struct time_scale scale;
    struct span spans[] = {
        {hour,       hour + 30 * second},
        {0,          10 * second       },
        {5 * second, 30 * second       }
    };
    (void)state;
    time_scale_init(&scale, spans, 3);
    assert_int_equal(scale.count, 3);
    assert_true(!scale.parts[0].idle && scale.parts[1].idle && !scale.parts[2].idle);
    assert_true(time_scale_at(&scale, 0) == 0 && time_scale_at(&scale, -second) == 0);
    assert_true(time_scale_at(&scale, hour + 30 * second) > 0.999 && time_scale_at(&scale, 2 * hour) > 0.999);
    assert_true(time_scale_at(&scale, 15 * second) > 0.2 && time_scale_at(&scale, 15 * second) < 0.25);
    double before = -1;
    for (int64_t at = 0; at < hour + 40 * second; at += 7 * second) {
        const double now = time_scale_at(&scale, at);
        assert_true(now >= before && now >= 0 && now <= 1.000001);
        before = now;
    }
    /* one moment, and more spells than are drawn apart */
    struct span moment = {hour, hour}, many[100];
    time_scale_init(&scale, &moment, 1);
    assert_int_equal(scale.count, 1);
    assert_true(time_scale_at(&scale, hour) <= 1);
    for (int i = 0; i < 100; i++)
        many[i] = (struct span){i * i * hour, i * i * hour + second};
    time_scale_init(&scale, many, 100);
    assert_true(scale.count > 1 && scale.count <= SCALE_PARTS_MOST);
    assert_true(scale.parts[scale.count - 1].to > 0.999 && scale.parts[scale.count - 1].to < 1.001);
}

static void test_stamp(void **state)
{
    static const char *const bad[] = {"",
                                      "2026-11-22",
                                      "2026-11-22T02:29:11Z",
                                      "2026-11-22T02:29:11.12345Z",
                                      "2026-11-22T02:29:11.123456Zx",
                                      "x2026-11-22T02:29:11.123456Z"};
    int64_t time_us = 0;
    (void)state;
    assert_true(rh_stamp_parse("2026-11-22T02:29:11.123456Z", &time_us));
    assert_string_equal(rh_stamp_us(time_us).text, "2026-11-22T02:29:11.123456Z");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(rh_stamp_parse(bad[i], &time_us));
}

/* --- the page --- */

/* The page of a document; fails the test unless it can be made. */
static void make_page(const char *document, struct rh_buf *out)
{
    err = (struct rh_error){0};
    if (rh_evidence_page(rh_bytes_text(document), out, &err) != RH_OK)
        fail_msg("%s: %s", document, err.text);
}

static void test_page_of_odd_documents(void **state)
{
    /* a report that lacks everything, and one in which nothing has its type */
    static const char *const odd[] = {
        "{\"moves\": []}",
        "{\"moves\": [{}]}",
        "{\"moves\": [1, null, \"x\"], \"commands\": 3, \"time\": 5}",
        "{\"moves\": [{\"name\": [], \"state\": 1, \"source\": 2, \"counts\": [], \"digests\": \"x\"}]}",
        "{\"moves\": [{\"history\": [1, {\"begun\": 3}], \"notes\": {}, \"limits\": 1}]}",
        "{\"moves\": [{\"throughput\": {\"points\": [{}, {\"active_us\": -5}]}}]}",
    };
    rh_auto_buf struct rh_buf out = RH_BUF_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        make_page(odd[i], &out);
        assert_non_null(strstr(rh_buf_cstr(&out), odd[i]));
        assert_non_null(strstr(rh_buf_cstr(&out), "</html>\n"));
    }
    static const char *const bad[] = {"", "{", "[]", "{}", "{\"moves\": {}}", "{\"moves\": [\"</script>\"]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rh_evidence_page(rh_bytes_text(bad[i]), &out, &err), RH_E_CORRUPT);
}

static void test_page_says_how_it_stands(void **state)
{
    /* clang-format off */
    static const struct {
        const char *words, *members;
    } cases[] = {
        {"Complete and proven equal.", "'state': 'complete', 'verified': 'yes', 'digests': {'equal': true, 'source_stood_still': true}"},
        {"Copied, but not proven equal.", "'state': 'finished', 'verified': 'yes', 'digests': {'equal': false, 'source_stood_still': true}"},
        {"Copied, but not proven equal.", "'state': 'complete', 'verified': 'yes', 'digests': {'equal': true, 'source_stood_still': false}"},
        {"Copied, but not proven equal.", "'state': 'complete', 'verified': 'yes'"},
        {"comparison of both sides was turned off", "'state': 'complete', 'verified': 'no'"},
        {"One side is a pipe", "'state': 'complete', 'verified': 'no', 'pipe': 'source'"},
        {"Taken back.", "'state': 'rolled-back'"},
        {"On its way back", "'state': 'rolling-back'"},
        {"Failed.", "'state': 'failed'"},
        {"Not finished.", "'state': 'interrupted'"},
        {"Under way.", "'state': 'running'"},
        {"Not begun.", "'state': 'new'"},
    };
    /* clang-format on */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rh_auto_buf struct rh_buf out = RH_BUF_INIT;
        char document[512];
        snprintf(document, sizeof document, "{'moves': [{%s}]}", cases[i].members);
        for (char *quote = document; (quote = strchr(quote, '\'')); quote++)
            *quote = '"';
        make_page(document, &out);
        if (!strstr(rh_buf_cstr(&out), cases[i].words))
            fail_msg("%s: no '%s'", document, cases[i].words);
        const bool good = strstr(rh_buf_cstr(&out), "class=\"verdict good\"") != NULL;
        assert_int_equal(good, i == 0);
    }
}

/* --- signatures --- */

static char folder[] = "/tmp/rehome-evidence-XXXXXX", private_path[64], public_path[64];

/* A key pair in the folder. */
static int make_keys(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(private_path, sizeof private_path, "%s/private.pem", folder);
    snprintf(public_path, sizeof public_path, "%s/public.pem", folder);
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    umask(077);
    FILE *private = fopen(private_path, "w"), *public = fopen(public_path, "w");
    const bool made = key && private && public && PEM_write_PrivateKey(private, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                      PEM_write_PUBKEY(public, key) == 1;
    EVP_PKEY_free(key);
    return !made || fclose(private) || fclose(public);
}

static int remove_keys(void **state)
{
    (void)state;
    unlink(private_path);
    unlink(public_path);
    return rmdir(folder);
}

static void test_signature(void **state)
{
    rh_auto_buf struct rh_buf mine = RH_BUF_INIT, name = RH_BUF_INIT;
    uint8_t content[] = "what was found", signature[RH_SIGNATURE_BYTES];
    struct rh_signer *signer = NULL;
    (void)state;
    assert_int_equal(rh_signer_open(private_path, &signer, &err), RH_OK);
    assert_int_equal(rh_signer_public(signer, &mine, &err), RH_OK);
    assert_int_equal(rh_signer_sign(signer, rh_bytes(content, sizeof content), signature, &err), RH_OK);
    rh_signer_close(signer);
    const struct rh_bytes all = rh_bytes(content, sizeof content), sixty_four = rh_bytes(signature, sizeof signature);
    assert_int_equal(rh_signature_verify(public_path, all, sixty_four, &name, &err), RH_OK);
    assert_string_equal(rh_buf_cstr(&name), rh_buf_cstr(&mine));
    for (size_t i = 0; i < sizeof content; i++) {
        content[i] ^= 1;
        assert_int_equal(rh_signature_verify(public_path, all, sixty_four, &name, &err), RH_E_MISMATCH);
        content[i] ^= 1;
    }
    for (size_t i = 0; i < sizeof signature; i++) {
        signature[i] ^= 0x80;
        assert_int_equal(rh_signature_verify(public_path, all, sixty_four, &name, &err), RH_E_MISMATCH);
        signature[i] ^= 0x80;
        assert_int_equal(rh_signature_verify(public_path, all, rh_bytes(signature, i), &name, &err), RH_E_MISMATCH);
    }
    assert_int_equal(rh_signature_verify(private_path, all, sixty_four, &name, &err), RH_E_USAGE);
    assert_int_equal(rh_signer_open(public_path, &signer, &err), RH_E_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_stamp),
        cmocka_unit_test(test_page_of_odd_documents),
        cmocka_unit_test(test_page_says_how_it_stands),
        cmocka_unit_test(test_signature),
    };
    return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
