/* SPDX-License-Identifier: Apache-2.0 */
/* The decorators: the k-th call fails, once or for good, before or after it took effect, and nothing is hidden. */
#include "../../src/stores/memory/memory.h"
#include "../../src/stores/wrap/wrap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct rh_error err;
static struct rh_ctx ctx = {.err = &err};
static const struct rh_dataset kv = {.name = RH_KV_DATASET};

/* A session on the memory table "wrap" of 10 records, through the driver. */
static struct rh_session *open_session(const struct rh_driver *driver, struct rh_options **ret_options)
{
    struct rh_store *store = NULL;
    struct rh_session *session = NULL;
    char key[] = "k0";
    rh_memory_drop("wrap");
    for (; key[1] <= '9'; key[1]++)
        assert_int_equal(rh_memory_poke("wrap", rh_bytes_text(key), rh_bytes_text("v"), false), RH_OK);
    assert_int_equal(rh_options_new(driver->options, "", ret_options, &err), RH_OK);
    assert_int_equal(rh_options_set(*ret_options, "name", rh_bytes_text("wrap"), "", &err), RH_OK);
    assert_int_equal(rh_options_end(*ret_options, &err), RH_OK);
    struct rh_store_args args = {.options = *ret_options};
    assert_int_equal(driver->open(&ctx, &args, &store), RH_OK);
    assert_int_equal(driver->session_open(&ctx, store, RH_ROLE_WRITE, &session), RH_OK);
    return session;
}

static void close_session(const struct rh_driver *driver, struct rh_session *session, struct rh_options *options)
{
    struct rh_store *store = session->store;
    driver->session_close(session);
    driver->close(store);
    rh_options_free(options);
}

static void test_cut_in_a_scan_is_no_end(void **state)
{
    struct rh_wrap_spec spec = {.faults = {{.call = RH_WRAP_SCAN_NEXT, .at = 3, .for_good = true, .status = RH_E_NET}},
                                .fault_count = 1};
    const struct rh_driver *driver = rh_wrap_fault(0, &rh_memory_driver, &spec);
    struct rh_options *options = NULL;
    struct rh_scan *scan = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    (void)state;
    struct rh_session *session = open_session(driver, &options);
    assert_int_equal(driver->read->scan_open(&ctx, session, &kv, (struct rh_range){0}, rh_bytes("", 0), 0, &scan),
                     RH_OK);
    assert_int_equal(driver->read->scan_next(&ctx, scan, 1 << 20, 4, &batch), RH_OK);
    assert_int_equal(driver->read->scan_next(&ctx, scan, 1 << 20, 4, &batch), RH_OK);
    for (int i = 0; i < 2; i++) {
        err = (struct rh_error){0};
        assert_int_equal(driver->read->scan_next(&ctx, scan, 1 << 20, 4, &batch), RH_E_NET);
        assert_int_equal(err.retry, RH_RETRY_RECONNECT);
    }
    assert_int_equal(rh_wrap_count(0, RH_WRAP_SCAN_NEXT), 4);
    driver->read->scan_close(scan);
    close_session(driver, session, options);
}

static void test_lost_answer_of_a_commit(void **state)
{
    struct rh_wrap_spec spec = {
        .faults = {{.call = RH_WRAP_COMMIT, .at = 1, .status = RH_E_NET},
                   {.call = RH_WRAP_COMMIT, .at = 2, .after = true, .status = RH_E_NET}},
        .fault_count = 2
    };
    const struct rh_driver *driver = rh_wrap_fault(1, &rh_memory_driver, &spec);
    struct rh_options *options = NULL;
    static const enum rh_commit want[] = {RH_COMMIT_NOT_DONE, RH_COMMIT_UNKNOWN, RH_COMMIT_DONE};
    (void)state;
    struct rh_session *session = open_session(driver, &options);
    for (size_t i = 0; i < 3; i++) {
        rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
        enum rh_commit commit = RH_COMMIT_DONE;
        assert_non_null(rh_batch_add_kv(&batch, rh_bytes_text("new"), rh_bytes_text("v"), false));
        assert_int_equal(driver->write->begin(&ctx, session, &kv, NULL), RH_OK);
        assert_int_equal(driver->write->put(&ctx, session, &batch, RH_PUT_REPLACE), RH_OK);
        assert_int_equal(driver->write->commit(&ctx, session, &commit), i < 2 ? RH_E_NET : RH_OK);
        assert_int_equal(commit, want[i]);
        assert_int_equal(rh_memory_peek("wrap", rh_bytes_text("new"), NULL, NULL), i == 0 ? RH_NOT_FOUND : RH_OK);
    }
    close_session(driver, session, options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_in_a_scan_is_no_end),
                                       cmocka_unit_test(test_lost_answer_of_a_commit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
