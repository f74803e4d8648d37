/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver keyring_component with a component of the tests' own (tests/tools/component-twin.c), as it should be and
 * with one thing wrong: every fault is an error that names the component, and the keystore is what it was.
 */
#include "cm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <rehome/base.h>
#include <rehome/digest.h>
#include <rehome/keyring.h>
#include <rehome/store.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *host, *twin;
static char folder[64];
static struct rh_error err;
static const struct rh_dataset dataset = {.name = RH_KEYRING_DATASET};

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/rh-component-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Names in the folder; removes them all if asked to. */
static int count_files(bool remove_them)
{
    DIR *dir = opendir(folder);
    int count = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            count++;
            if (remove_them)
                (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    if (dir)
        closedir(dir);
    return count;
}

static int drop_folder(void **state)
{
    (void)state;
    (void)count_files(true);
    return rmdir(folder);
}

static const char *in_folder(const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, struct rh_bytes content)
{
    rh_auto_fd int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_ok(rh_write_all(fd, content, &err), &err);
}

static struct rh_bytes read_file(const char *name, struct rh_buf *buf)
{
    rh_buf_clear(buf);
    assert_ok(rh_file_read(AT_FDCWD, in_folder(name), 1 << 20, buf, &err), &err);
    return rh_buf_bytes(buf);
}

#define KEYSTORE "7540 61 414553 00ff \n 62 534543524554 01 \n" /* u@ 'a' AES; 'b' SECRET */

/* The twin under another name, with its configuration and a keystore. */
static void put_component(const char *name, const char *keystore)
{
    char file[100];
    rh_auto_buf struct rh_buf library = RH_BUF_INIT, config = RH_BUF_INIT;
    assert_ok(rh_file_read(AT_FDCWD, twin, 1 << 20, &library, &err), &err);
    (void)snprintf(file, sizeof file, "component_%s.so", name);
    write_file(file, rh_buf_bytes(&library));
    assert_ok(rh_buf_format(&config, &err, "{\"path\": \"%s/keys\", \"read_only\": false}", folder), &err);
    (void)snprintf(file, sizeof file, "component_%s.cnf", name);
    write_file(file, rh_buf_bytes(&config));
    if (keystore)
        write_file("keys", rh_bytes_text(keystore));
}

/* The same, with a configuration that names no file of keys: the component knows by itself where they are. */
static void put_elsewhere(const char *name)
{
    char file[100];
    rh_auto_buf struct rh_buf config = RH_BUF_INIT;
    put_component(name, KEYSTORE);
    assert_ok(rh_buf_format(&config, &err, "{\"keys_at\": \"%s/keys\"}", folder), &err);
    (void)snprintf(file, sizeof file, "component_%s.cnf", name);
    write_file(file, rh_buf_bytes(&config));
}

static void set(struct rh_options *options, const char *name, const char *value)
{
    assert_ok(rh_options_set(options, name, rh_bytes_text(value), "", &err), &err);
}

/* A store of this component; a status other than RH_OK comes back. */
static enum rh_status
open_store(const char *name, enum rh_side side, struct rh_options **ret_options, struct rh_store **ret)
{
    const struct rh_driver *driver = rh_driver_find("keyring_component");
    char file[100];
    (void)snprintf(file, sizeof file, "component_%s.so", name);
    assert_ok(rh_options_new(driver->options, "", ret_options, &err), &err);
    set(*ret_options, "library", in_folder(file));
    set(*ret_options, "host_program", host);
    set(*ret_options, "answer_timeout", "1s");
    assert_ok(rh_options_end(*ret_options, &err), &err);
    struct rh_ctx ctx = {.err = &err};
    const struct rh_store_args args = {.options = *ret_options, .side = side, .name = "keys"};
    return driver->open(&ctx, &args, ret);
}

/* Everything of a store as "owner/id:type:bytes " in key order. */
static enum rh_status read_store(struct rh_ctx *ctx, struct rh_store *store, struct rh_buf *ret)
{
    const struct rh_driver *driver = store->driver;
    struct rh_session *session = NULL;
    struct rh_scan *scan = NULL;
    rh_auto_batch struct rh_batch batch = RH_BATCH_INIT;
    enum rh_status status = driver->session_open(ctx, store, RH_ROLE_READ, &session);
    if (status == RH_OK)
        status = driver->read->scan_open(ctx, session, &dataset, (struct rh_range){0}, (struct rh_bytes){0}, 0, &scan);
    while (status == RH_OK) {
        rh_batch_clear(&batch);
        status = driver->read->scan_next(ctx, scan, 1 << 20, 100, &batch);
        for (size_t i = 0; status == RH_OK && i < batch.count; i++) {
            struct rh_bytes owner, id;
            const struct rh_record *record = &batch.records[i];
            assert_int_equal(rh_keyring_key_split(record->key, &owner, &id), RH_OK);
            assert_ok(rh_buf_format(ret, &err, "%.*s/%.*s:%.*s:", (int)owner.size, (const char *)owner.data,
                                    (int)id.size, (const char *)id.data,
                                    (int)record->fields[RH_KEYRING_TYPE].value.size,
                                    (const char *)record->fields[RH_KEYRING_TYPE].value.data),
                      &err);
            assert_ok(rh_hex_add(ret, record->fields[RH_KEYRING_DATA].value, &err), &err);
            assert_ok(rh_buf_text(ret, " ", &err), &err);
        }
    }
    driver->read->scan_close(scan);
    driver->session_close(session);
    return status == RH_END ? RH_OK : status;
}

/* Puts keys NAME0.. with one byte each and commits. */
static enum rh_status write_store(struct rh_ctx *ctx, struct rh_store *store, const char *name, int count)
{
    const struct rh_driver *driver = store->driver;
    struct rh_session *session = NULL;
    struct rh_batch batch = {.arena = {.secret = true}};
    enum rh_commit commit = RH_COMMIT_UNKNOWN;
    enum rh_status status = driver->session_open(ctx, store, RH_ROLE_WRITE, &session);
    for (int i = 0; status == RH_OK && i < count; i++) {
        char id[40];
        rh_auto_buf struct rh_buf key = RH_BUF_INIT;
        (void)snprintf(id, sizeof id, "%s%03d", name, i);
        assert_ok(rh_keyring_key_add(&key, rh_bytes_text("o@h"), rh_bytes_text(id), &err), &err);
        struct rh_record *record = rh_batch_add(&batch);
        struct rh_field *fields = rh_arena_get(&batch.arena, RH_KEYRING_FIELDS * sizeof *fields);
        const uint8_t byte = (uint8_t)i;
        assert_true(record && fields);
        fields[RH_KEYRING_TYPE] = (struct rh_field){.tag = RH_TAG_TEXT, .value = rh_bytes_text("AES")};
        fields[RH_KEYRING_DATA] =
            (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_arena_copy(&batch.arena, rh_bytes(&byte, 1))};
        *record = (struct rh_record){.key = rh_arena_copy(&batch.arena, rh_buf_bytes(&key)),
                                     .fields = fields,
                                     .field_count = RH_KEYRING_FIELDS,
                                     .value_bytes = 4};
    }
    if (status == RH_OK)
        status = driver->write->begin(ctx, session, &dataset, NULL);
    if (status == RH_OK && (status = driver->write->put(ctx, session, &batch, RH_PUT_CREATE)) == RH_OK)
        status = driver->write->commit(ctx, session, &commit);
    assert_true(status == RH_OK ? commit == RH_COMMIT_DONE : commit != RH_COMMIT_DONE);
    driver->session_close(session);
    rh_batch_done(&batch);
    return status;
}

/* --- as it should be --- */

static void test_reads(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    (void)state;
    put_component("twin", KEYSTORE);
    assert_ok(open_store("twin", RH_SIDE_SOURCE, &options, &store), &err);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_string_equal(rh_buf_cstr(&found), "/b:SECRET:01 u@/a:AES:00ff ");
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(count_files(false), 3); /* library, configuration, keys: nothing was left, nothing made */
}

static void test_writes(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    struct stat before, after;
    (void)state;
    put_component("twin", KEYSTORE);
    assert_int_equal(chmod(in_folder("keys"), 0640), 0);
    assert_int_equal(stat(in_folder("keys"), &before), 0);
    assert_ok(open_store("twin", RH_SIDE_DESTINATION, &options, &store), &err);
    assert_ok(write_store(&ctx, store, "n", 3), &err);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_string_equal(rh_buf_cstr(&found),
                        "/b:SECRET:01 u@/a:AES:00ff o@h/n000:AES:00 o@h/n001:AES:01 o@h/n002:AES:02 ");
    assert_int_equal(stat(in_folder("keys"), &after), 0);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_true(after.st_ino != before.st_ino); /* replaced, not written over */
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(count_files(false), 3);
}

/* Looking at a destination that isn't there loads the library, and makes nothing. */
static void test_facts_of_nothing(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_session *session = NULL;
    struct rh_facts facts;
    struct rh_ctx ctx = {.err = &err};
    (void)state;
    put_component("twin", NULL);
    assert_ok(open_store("twin", RH_SIDE_DESTINATION, &options, &store), &err);
    assert_ok(store->driver->session_open(&ctx, store, RH_ROLE_CONTROL, &session), &err);
    assert_ok(store->driver->facts(&ctx, session, &facts), &err);
    assert_int_equal(facts.exists, RH_NO);
    assert_int_equal(facts.writable, RH_YES);
    assert_string_equal(facts.product, "component_twin");
    assert_int_equal(facts.encrypted_at_rest, RH_UNKNOWN);
    store->driver->session_close(session);
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(count_files(false), 2);
}

/* --- one thing wrong --- */

/* A fault that shows when the keystore is read. */
static void fault_reading(const char *name, enum rh_status expected, const char *words)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    err = (struct rh_error){0};
    put_component(name, KEYSTORE);
    const int64_t begun = rh_clock_us();
    assert_ok(open_store(name, RH_SIDE_SOURCE, &options, &store), &err);
    enum rh_status status = read_store(&ctx, store, &found);
    if (status != expected || !strstr(err.text, words))
        fail_msg("%s: %s: %s", name, rh_status_name(status), err.text);
    for (const char *at = err.text; *at; at++)
        assert_true((uint8_t)*at >= 0x20);
    assert_true(rh_clock_us() - begun < 20 * 1000000LL);
    assert_int_equal(read_file("keys", &found).size, strlen(KEYSTORE));
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(count_files(true), 3);
}

static void test_faults_reading(void **state)
{
    static const struct {
        const char *name;
        enum rh_status status;
        const char *words;
    } faults[] = {
        {"unknown_services", RH_E_STORE,
         "wants 2 services of the server that only the server has: 'mysql_thd_store', 'pfs_\\x01plugin'"                     },
        {"crash_init",       RH_E_STORE,   "its library crashed (signal 6"                                                   },
        {"refuse_init",      RH_E_STORE,   "says that it can't start"                                                        },
        {"hang_load",        RH_E_TIMEOUT, "gives no answer for 1"                                                           },
        {"exit_load",        RH_E_STORE,   "ended by itself, with status 0"                                                  },
        {"noise",            RH_E_STORE,   "what is no log line: 'hello \\x1b[31mfrom the library'"                          },
        {"flood",            RH_E_STORE,   "prints without end"                                                              },
        {"fail_load",        RH_E_STORE,   "can't load its keys; it printed '[MY-013712] [Keyring] no way \\x1b]0;x\\x07 in'"},
        {"not_initialized",  RH_E_STORE,   "isn't initialized"                                                               },
        {"no_list",          RH_E_STORE,   "can't list its keys"                                                             },
        {"endless",          RH_E_STORE,   "the same key"                                                                    },
        {"long_name",        RH_E_STORE,   "a name of 1099511627776 bytes"                                                   },
        {"long_data",        RH_E_STORE,   "a key of 18446744073709551615 bytes"                                             },
        {"short_data",       RH_E_STORE,   "another length than it said"                                                     },
        {"crash_iterate",    RH_E_STORE,   "its library crashed (signal 11"                                                  },
        {"forgets_listed",   RH_E_STORE,   "lists a key that it doesn't find"                                                },
        {"no_lookup",        RH_E_STORE,   "can't look a key up"                                                             },
        {"no_reader",        RH_E_STORE,   "has no service 'keyring_reader_with_status'"                                     },
        {"crash_deinit",     RH_E_STORE,   "ending it: its library crashed"                                                  },
        {"fail_deinit",      RH_E_STORE,   "says that it can't end"                                                          },
        {"other_file",       RH_E_REFUSED, "says that its keys are in '/etc/passwd'"                                         },
        {"other_name",       RH_E_STORE,   "calls itself 'component_somebody'"                                               },
        {"none",             RH_E_STORE,   "lists no component"                                                              },
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        fault_reading(faults[i].name, faults[i].status, faults[i].words);
}

/* A file that our own reader knows is read by both. */
static void test_other_keys_than_ours(void **state)
{
    static const char keystore[] = "{\"version\":\"1.0\",\"elements\":[{\"user\":\"\",\"data_id\":\"k\","
                                   "\"data_type\":\"AES\",\"data\":\"00\",\"extension\":[]}]}";
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    (void)state;
    put_component("keyring_file", keystore);
    assert_ok(open_store("keyring_file", RH_SIDE_SOURCE, &options, &store), &err);
    assert_int_equal(read_store(&ctx, store, &found), RH_E_MISMATCH);
    assert_non_null(strstr(err.text, "find different keys"));
    write_file("keys", rh_bytes_text("{\"version\":\"1.0\",\"elements\":[]}"));
    assert_ok(read_store(&ctx, store, &found), &err);
    write_file("keys", rh_bytes_text("{\"version\":\"1.0\",\"elements\":[}"));
    assert_int_equal(read_store(&ctx, store, &found), RH_E_CORRUPT);
    store->driver->close(store);
    rh_options_free(options);
}

/* A fault that shows when keys are stored. */
static void fault_writing(const char *name, enum rh_status expected, const char *words)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    err = (struct rh_error){0};
    put_component(name, KEYSTORE);
    assert_ok(open_store(name, RH_SIDE_DESTINATION, &options, &store), &err);
    enum rh_status status = write_store(&ctx, store, "n", 3);
    if (status != expected || !strstr(err.text, words))
        fail_msg("%s: %s: %s", name, rh_status_name(status), err.text);
    assert_string_equal((read_file("keys", &found), rh_buf_cstr(&found)), KEYSTORE);
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(count_files(true), 3);
}

static void test_faults_writing(void **state)
{
    (void)state;
    fault_writing("crash_store", RH_E_STORE, "storing key 'b': its library crashed");
    fault_writing("hang_store", RH_E_TIMEOUT, "storing key 'b': its library gives no answer");
    fault_writing("forgets", RH_E_MISMATCH, "said that it stored key 'a' of 'u@', and doesn't have it");
    fault_writing("changes", RH_E_MISMATCH, "said that it stored key 'b', and has another one of that name");
    fault_writing("read_only", RH_E_STORE, "no service 'keyring_writer'");
}

/* Without a library, with something that is none, and without a configuration. */
static void test_no_component(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    (void)state;
    assert_int_equal(open_store("absent", RH_SIDE_SOURCE, &options, &store), RH_E_IO);
    rh_options_free(options);
    put_component("odd", KEYSTORE);
    write_file("component_odd.so", rh_bytes_text("no library at all\n"));
    assert_ok(open_store("odd", RH_SIDE_SOURCE, &options, &store), &err);
    assert_int_equal(read_store(&ctx, store, &found), RH_E_STORE);
    assert_non_null(strstr(err.text, "component_odd.so"));
    store->driver->close(store);
    rh_options_free(options);
    assert_int_equal(unlink(in_folder("component_odd.cnf")), 0);
    assert_int_equal(open_store("odd", RH_SIDE_SOURCE, &options, &store), RH_E_PLAN);
    assert_non_null(strstr(err.text, "component_odd.cnf"));
    rh_options_free(options);
}

/* What this process has in its environment isn't the library's. */
static void test_environment(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    (void)state;
    put_component("environment", KEYSTORE);
    assert_int_equal(setenv("TWIN_SECRET", "x", 1), 0);
    assert_ok(open_store("environment", RH_SIDE_SOURCE, &options, &store), &err);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_int_equal(unsetenv("TWIN_SECRET"), 0);
    store->driver->close(store);
    rh_options_free(options);
}

/* A call that is cancelled ends, and its child with it. */
static void test_cancel(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    const atomic_bool cancelled = true;
    struct rh_ctx ctx = {.err = &err, .cancel = &cancelled};
    struct rh_session *session = NULL;
    struct rh_scan *scan = NULL;
    (void)state;
    put_component("hang_load", KEYSTORE);
    assert_ok(open_store("hang_load", RH_SIDE_SOURCE, &options, &store), &err);
    assert_ok(store->driver->session_open(&ctx, store, RH_ROLE_READ, &session), &err);
    assert_int_equal(
        store->driver->read->scan_open(&ctx, session, &dataset, (struct rh_range){0}, (struct rh_bytes){0}, 0, &scan),
        RH_E_CANCELLED);
    ctx.cancel = NULL;
    ctx.deadline_us = rh_clock_us() + 200000;
    assert_int_equal(
        store->driver->read->scan_open(&ctx, session, &dataset, (struct rh_range){0}, (struct rh_bytes){0}, 0, &scan),
        RH_E_TIMEOUT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    store->driver->session_close(session);
    store->driver->close(store);
    rh_options_free(options);
}

/* --- keys that aren't in a file --- */

/* A record of a unit that is put or removed. */
static struct rh_record *
add_record(struct rh_batch *batch, const char *owner, const char *id, const char *type, struct rh_bytes data)
{
    rh_auto_buf struct rh_buf key = RH_BUF_INIT;
    struct rh_record *record = rh_batch_add(batch);
    struct rh_field *fields = rh_arena_get(&batch->arena, RH_KEYRING_FIELDS * sizeof *fields);
    assert_ok(rh_keyring_key_add(&key, rh_bytes_text(owner), rh_bytes_text(id), &err), &err);
    assert_true(record && fields);
    fields[RH_KEYRING_TYPE] =
        (struct rh_field){.tag = RH_TAG_TEXT, .value = rh_arena_copy(&batch->arena, rh_bytes_text(type))};
    fields[RH_KEYRING_DATA] = (struct rh_field){.tag = RH_TAG_BYTES, .value = rh_arena_copy(&batch->arena, data)};
    *record = (struct rh_record){.key = rh_arena_copy(&batch->arena, rh_buf_bytes(&key)),
                                 .fields = fields,
                                 .field_count = RH_KEYRING_FIELDS,
                                 .value_bytes = strlen(type) + data.size};
    return record;
}

/* One unit with one batch: mode < 0 removes. */
static enum rh_status do_unit(struct rh_ctx *ctx,
                              struct rh_store *store,
                              const struct rh_digest_key *digest,
                              struct rh_batch *batch,
                              int mode,
                              enum rh_commit *ret_commit)
{
    struct rh_session *session = NULL;
    const struct rh_write_ops *write = store->driver->write;
    assert_ok(store->driver->session_open(ctx, store, RH_ROLE_WRITE, &session), &err);
    assert_ok(write->begin(ctx, session, &dataset, digest), &err);
    enum rh_status status =
        mode < 0 ? write->remove(ctx, session, batch) : write->put(ctx, session, batch, (enum rh_put_mode)mode);
    *ret_commit = RH_COMMIT_NOT_DONE;
    if (status == RH_OK)
        status = write->commit(ctx, session, ret_commit);
    else
        write->abort(session);
    store->driver->session_close(session);
    return status;
}

static void test_elsewhere(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_session *session = NULL;
    struct rh_facts facts;
    struct rh_digest_key digest = {.secret_records = true};
    struct rh_ctx ctx = {.err = &err};
    rh_auto_buf struct rh_buf found = RH_BUF_INIT;
    enum rh_commit commit;
    (void)state;
    put_elsewhere("twin");
    assert_ok(rh_digest_key_new(&digest, &err), &err);
    assert_ok(open_store("twin", RH_SIDE_DESTINATION, &options, &store), &err);
    assert_int_equal(store->driver->commit_scope, RH_COMMIT_BATCH);
    assert_null(store->driver->whole);
    assert_ok(store->driver->session_open(&ctx, store, RH_ROLE_CONTROL, &session), &err);
    assert_ok(store->driver->facts(&ctx, session, &facts), &err);
    assert_int_equal(strncmp(facts.identity, "keyring:", 8), 0); /* it names its file: the same as by another driver */
    store->driver->session_close(session);
    /* create-only: what is there stays */
    struct rh_batch batch = {.arena = {.secret = true}};
    (void)add_record(&batch, "", "b", "SECRET", rh_bytes("\7", 1));
    (void)add_record(&batch, "", "c", "AES", rh_bytes("\0\1", 2));
    assert_ok(do_unit(&ctx, store, &digest, &batch, RH_PUT_CREATE, &commit), &err);
    assert_int_equal(commit, RH_COMMIT_DONE);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_EXISTS);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_DONE);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_string_equal(rh_buf_cstr(&found), "/b:SECRET:01 /c:AES:0001 u@/a:AES:00ff ");
    /* another key takes its place by removal and creation, if it is what is expected */
    rh_batch_clear(&batch);
    struct rh_record *record = add_record(&batch, "", "c", "AES", rh_bytes("\0\2", 2));
    record->expect = rh_digest_record(&digest, dataset.name, record);
    assert_ok(do_unit(&ctx, store, &digest, &batch, RH_PUT_IF_HASH, &commit), &err);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_CHANGED);
    record->expect_absent = true;
    assert_ok(do_unit(&ctx, store, &digest, &batch, RH_PUT_IF_HASH, &commit), &err);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_CHANGED);
    assert_ok(do_unit(&ctx, store, &digest, &batch, RH_PUT_REPLACE, &commit), &err);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    rh_buf_clear(&found);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_string_equal(rh_buf_cstr(&found), "/b:SECRET:01 /c:AES:0002 u@/a:AES:00ff ");
    /* removed is only what is expected */
    rh_batch_clear(&batch);
    record = add_record(&batch, "", "c", "AES", rh_bytes("\0\1", 2));
    record->expect = rh_digest_record(&digest, dataset.name, record);
    (void)add_record(&batch, "", "d", "AES", rh_bytes("\0", 1));
    assert_ok(do_unit(&ctx, store, &digest, &batch, -1, &commit), &err);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_CHANGED);
    assert_int_equal(batch.records[1].outcome, RH_OUTCOME_CHANGED);
    rh_batch_clear(&batch);
    record = add_record(&batch, "", "c", "AES", rh_bytes("\0\2", 2));
    record->expect = rh_digest_record(&digest, dataset.name, record);
    assert_ok(do_unit(&ctx, store, &digest, &batch, -1, &commit), &err);
    assert_int_equal(batch.records[0].outcome, RH_OUTCOME_DONE);
    rh_buf_clear(&found);
    assert_ok(read_store(&ctx, store, &found), &err);
    assert_string_equal(rh_buf_cstr(&found), "/b:SECRET:01 u@/a:AES:00ff ");
    rh_batch_done(&batch);
    store->driver->close(store);
    rh_options_free(options);
}

/* A fault of a component that writes in place: what was done before it stays, and nobody says that all is done. */
static void fault_elsewhere(const char *name, enum rh_status expected, const char *words, enum rh_commit end)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    struct rh_digest_key digest = {.secret_records = true};
    struct rh_ctx ctx = {.err = &err};
    struct rh_batch batch = {.arena = {.secret = true}};
    enum rh_commit commit = RH_COMMIT_DONE;
    put_elsewhere(name);
    assert_ok(rh_digest_key_new(&digest, &err), &err);
    assert_ok(open_store(name, RH_SIDE_DESTINATION, &options, &store), &err);
    (void)add_record(&batch, "", "m", "AES", rh_bytes("\1", 1));
    (void)add_record(&batch, "", "n", "AES", rh_bytes("\2", 1));
    const enum rh_status status = do_unit(&ctx, store, &digest, &batch, RH_PUT_CREATE, &commit);
    if (status != expected || !strstr(err.text, words))
        fail_msg("%s: %s: %s", name, rh_status_name(status), err.text);
    assert_int_equal(commit, end);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(batch.records[i].outcome, RH_OUTCOME_NONE);
    rh_batch_done(&batch);
    store->driver->close(store);
    rh_options_free(options);
    (void)count_files(true);
}

static void test_faults_elsewhere(void **state)
{
    (void)state;
    fault_elsewhere("crash_init", RH_E_STORE, "its library crashed", RH_COMMIT_NOT_DONE);
    fault_elsewhere("crash_store", RH_E_STORE, "storing key 'n': its library crashed", RH_COMMIT_UNKNOWN);
    fault_elsewhere("forgets", RH_E_MISMATCH, "said that it stored key 'm', and didn't", RH_COMMIT_UNKNOWN);
    fault_elsewhere("changes", RH_E_MISMATCH, "said that it stored key 'n', and didn't", RH_COMMIT_UNKNOWN);
}

/* Which names a component can't be given, in words and before anything is written. */
static void test_fits(void **state)
{
    struct rh_options *options = NULL;
    struct rh_store *store = NULL;
    rh_auto_buf struct rh_buf rival = RH_BUF_INIT;
    static const struct {
        struct rh_bytes owner, id;
        const char *words;
    } names[] = {
        {{(const uint8_t *)"o", 1},    {(const uint8_t *)"", 0},     "empty"    },
        {{(const uint8_t *)"o\0p", 3}, {(const uint8_t *)"a", 1},    "zero byte"},
        {{(const uint8_t *)"", 0},     {(const uint8_t *)"\0", 1},   "zero byte"},
        {{(const uint8_t *)"", 0},     {(const uint8_t *)"\xff", 1}, NULL       },
    };
    (void)state;
    put_component("twin", KEYSTORE);
    assert_ok(open_store("twin", RH_SIDE_DESTINATION, &options, &store), &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        rh_auto_buf struct rh_buf key = RH_BUF_INIT;
        assert_ok(rh_keyring_key_add(&key, names[i].owner, names[i].id, &err), &err);
        enum rh_status status = store->driver->write->fits(store, &dataset, rh_buf_bytes(&key), 1, &rival, &err);
        assert_int_equal(status, names[i].words ? RH_E_LIMIT : RH_OK);
        if (names[i].words)
            assert_non_null(strstr(err.text, names[i].words));
    }
    store->driver->close(store);
    rh_options_free(options);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: test_keyring_component HOST-PROGRAM TWIN\n");
        return 1;
    }
    host = argv[1];
    twin = argv[2];
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, drop_folder)
        CASE(test_reads),          CASE(test_writes),           CASE(test_facts_of_nothing),
        CASE(test_faults_reading), CASE(test_faults_writing),   CASE(test_no_component),
        CASE(test_environment),    CASE(test_cancel),           CASE(test_fits),
        CASE(test_elsewhere),      CASE(test_faults_elsewhere), CASE(test_other_keys_than_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
