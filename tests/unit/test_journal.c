/* SPDX-License-Identifier: Apache-2.0 */
/* The journal, from docs/formats/journal.md. */
#include "journal_scratch.h"

#include "internal.h"

#include <sched.h>
#include <sys/mount.h>

static struct rh_error err;

/* Opens for writing, made if absent. */
static struct rh_journal *open_new(struct scratch *scratch)
{
    struct rh_journal *journal = NULL;
    must(rh_journal_open(scratch->dir, "plan", RH_JOURNAL_CREATE, &journal, &err));
    return journal;
}

/* Runs SQL on the journal's file with a connection of its own. */
static void run_sql(struct scratch *scratch, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(scratch_path(scratch, "plan.journal"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Writes a file with the mode of a journal. */
static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* The status of opening "plan" in the scratch folder. */
static enum rh_status try_open(struct scratch *scratch, unsigned flags)
{
    struct rh_journal *journal = NULL;
    memset(&err, 0, sizeof(err));
    enum rh_status status = rh_journal_open(scratch->dir, "plan", flags, &journal, &err);
    rh_journal_close(journal);
    return status;
}

static void assert_fact(struct rh_journal *journal, const char *name, const char *value)
{
    rh_auto_buf struct rh_buf got = RH_BUF_INIT;
    must(rh_journal_get(journal, "m", name, &got, &err));
    assert_string_equal(rh_buf_cstr(&got), value);
}

static void test_facts(void **state)
{
    rh_auto_buf struct rh_buf got = RH_BUF_INIT;
    struct rh_journal *journal = open_new(*state);
    assert_string_equal(rh_journal_name(journal), "plan");
    assert_int_equal(rh_journal_get(journal, "m", "a", &got, &err), RH_NOT_FOUND);
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("1"), &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("2"), &err));
    assert_fact(journal, "a", "2");
    assert_int_equal(rh_journal_get(journal, "", "a", &got, &err), RH_NOT_FOUND);
    assert_int_equal(rh_journal_put_once(journal, "m", "a", rh_bytes_text("3"), &err), RH_EXISTS);
    assert_fact(journal, "a", "2");
    must(rh_journal_put_once(journal, "m", "b", rh_bytes("x\0y", 3), &err));
    must(rh_journal_get(journal, "m", "b", &got, &err));
    assert_int_equal(got.size, 3);
    assert_memory_equal(got.data, "x\0y", 3);
    must(rh_journal_put(journal, "m", "empty", rh_bytes(NULL, 0), &err));
    must(rh_journal_get(journal, "m", "empty", &got, &err));
    assert_int_equal(got.size, 0);
    must(rh_journal_remove(journal, "m", "a", &err));
    must(rh_journal_remove(journal, "m", "a", &err));
    assert_int_equal(rh_journal_get(journal, "m", "a", &got, &err), RH_NOT_FOUND);
    char longer[200];
    memset(longer, 'm', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(rh_journal_put(journal, longer, "a", rh_bytes_text("1"), &err), RH_E_LIMIT);
    rh_journal_close(journal);
    journal = open_new(*state);
    must(rh_journal_get(journal, "m", "b", &got, &err));
    assert_int_equal(got.size, 3);
    rh_journal_close(journal);
}

static void test_decide(void **state)
{
    rh_auto_buf struct rh_buf got = RH_BUF_INIT;
    struct rh_journal *journal = open_new(*state);
    must(rh_journal_decide(journal, "m", "way", "on", &got, &err));
    assert_string_equal(rh_buf_cstr(&got), "on");
    must(rh_journal_decide(journal, "m", "way", "on", &got, &err));
    assert_int_equal(rh_journal_decide(journal, "m", "way", "back", &got, &err), RH_EXISTS);
    assert_string_equal(rh_buf_cstr(&got), "on");
    rh_journal_close(journal);
}

static void test_names(void **state)
{
    struct scratch *scratch = *state;
    const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "a b", "a\nb", "\xc3\xa4", "a%s", NULL};
    struct rh_journal *journal = NULL;
    pid_t pid = 0;
    for (size_t i = 0; bad[i]; i++) {
        assert_int_equal(rh_journal_open(scratch->dir, bad[i], RH_JOURNAL_CREATE, &journal, &err), RH_E_REFUSED);
        assert_int_equal(rh_journal_owner(scratch->dir, bad[i], &pid, &err), RH_E_REFUSED);
    }
    char longer[RH_JOURNAL_NAME_MAX + 2];
    memset(longer, 'n', sizeof(longer));
    longer[RH_JOURNAL_NAME_MAX + 1] = '\0';
    assert_false(rh_journal_name_valid(longer));
    longer[RH_JOURNAL_NAME_MAX] = '\0';
    assert_true(rh_journal_name_valid(longer));
    must(rh_journal_open(scratch->dir, longer, RH_JOURNAL_CREATE, &journal, &err));
    rh_journal_close(journal);
}

static void assert_mode(const char *path, mode_t mode)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void test_folder(void **state)
{
    struct scratch *scratch = *state;
    char dir[200];
    struct rh_journal *journal = NULL;
    snprintf(dir, sizeof(dir), "%s/x/y", scratch->dir);
    assert_int_equal(rh_journal_open(dir, "plan", 0, &journal, &err), RH_NOT_FOUND);
    mode_t before = umask(0);
    must(rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &journal, &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("1"), &err));
    umask(before);
    assert_mode(dir, 0700);
    assert_mode(scratch_path(scratch, "x/y/plan.journal"), 0600);
    assert_mode(scratch_path(scratch, "x/y/plan.journal-wal"), 0600);
    assert_mode(scratch_path(scratch, "x/y/plan.journal-shm"), 0600);
    assert_mode(scratch_path(scratch, "x/y/plan.lock"), 0600);
    rh_journal_close(journal);
    assert_int_equal(access(scratch_path(scratch, "x/y/plan.journal-wal"), F_OK), -1);

    assert_int_equal(chmod(dir, 0770), 0);
    assert_int_equal(rh_journal_open(dir, "plan", 0, &journal, &err), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "others may write"));
    assert_non_null(strstr(err.hint, "chmod 700"));
    assert_int_equal(chmod(dir, 0755), 0);
    must(rh_journal_open(dir, "plan", 0, &journal, &err));
    rh_journal_close(journal);
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, 65534, 65534), 0);
        assert_int_equal(rh_journal_open(dir, "plan", 0, &journal, &err), RH_E_REFUSED);
        assert_non_null(strstr(err.text, "belongs to user"));
        must(rh_journal_open(dir, "plan", RH_JOURNAL_READ_ONLY, &journal, &err));
        rh_journal_close(journal);
    }
    assert_int_equal(rh_journal_open(scratch_path(scratch, "x/y/plan.lock"), "plan", 0, &journal, &err), RH_E_IO);
}

static void test_absent(void **state)
{
    struct scratch *scratch = *state;
    assert_int_equal(try_open(scratch, 0), RH_NOT_FOUND);
    assert_int_equal(try_open(scratch, RH_JOURNAL_READ_ONLY), RH_NOT_FOUND);
    assert_int_equal(try_open(scratch, RH_JOURNAL_READ_ONLY | RH_JOURNAL_CREATE), RH_NOT_FOUND);
    assert_int_equal(access(scratch_path(scratch, "plan.lock"), F_OK), -1);
    /* A making that was cut short: absent for all but a writer that may create. */
    write_file(scratch_path(scratch, "plan.journal"), "", 0600);
    assert_int_equal(try_open(scratch, 0), RH_NOT_FOUND);
    assert_int_equal(try_open(scratch, RH_JOURNAL_READ_ONLY), RH_NOT_FOUND);
    run_sql(scratch, "PRAGMA journal_mode = WAL");
    assert_int_equal(try_open(scratch, 0), RH_NOT_FOUND);
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_OK);
    assert_int_equal(try_open(scratch, 0), RH_OK);
}

static void test_shared_file(void **state)
{
    struct scratch *scratch = *state;
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_OK);
    char journal[200], other[200];
    snprintf(journal, sizeof(journal), "%s/plan.journal", scratch->dir);
    snprintf(other, sizeof(other), "%s/other", scratch->dir);
    assert_int_equal(chmod(journal, 0640), 0);
    assert_int_equal(try_open(scratch, 0), RH_E_REFUSED);
    assert_non_null(strstr(err.hint, "chmod 600"));
    assert_int_equal(chmod(journal, 0600), 0);
    assert_int_equal(link(journal, other), 0);
    assert_int_equal(try_open(scratch, 0), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "hard link"));
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(symlink("other", journal), 0);
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_E_REFUSED);
    assert_non_null(strstr(err.text, "not a regular file"));
}

static void test_foreign_file(void **state)
{
    struct scratch *scratch = *state;
    char text[4000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    write_file(scratch_path(scratch, "plan.journal"), text, 0600);
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "it is not a journal of rehome"));
    assert_non_null(strstr(err.text, "plan.journal"));
    unlink(scratch_path(scratch, "plan.journal"));
    write_file(scratch_path(scratch, "plan.journal"), "", 0600);
    run_sql(scratch, "CREATE TABLE accounts (a)");
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "it is not a journal of rehome"));
    run_sql(scratch, "SELECT a FROM accounts"); /* and was left alone */
}

static void test_version(void **state)
{
    struct scratch *scratch = *state;
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_OK);
    run_sql(scratch, "PRAGMA user_version = 3");
    for (unsigned flags = 0; flags <= RH_JOURNAL_READ_ONLY; flags++) {
        assert_int_equal(try_open(scratch, flags), RH_E_CORRUPT);
        assert_non_null(strstr(err.text, "newer rehome"));
    }
    run_sql(scratch, "PRAGMA user_version = 2");
    assert_int_equal(try_open(scratch, 0), RH_OK);
    run_sql(scratch, "DELETE FROM meta WHERE name = 'id'");
    assert_int_equal(try_open(scratch, 0), RH_E_CORRUPT);
}

static void test_renamed(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = NULL;
    char to[200];
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_OK);
    snprintf(to, sizeof(to), "%s/other.journal", scratch->dir);
    assert_int_equal(rename(scratch_path(scratch, "plan.journal"), to), 0);
    assert_int_equal(rh_journal_open(scratch->dir, "other", 0, &journal, &err), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "renamed or copied"));
}

static void test_damaged(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch);
    for (int i = 0; i < 200; i++)
        must(rh_journal_note(journal, "m", "extra", rh_bytes("k", 1), "a key that is not in the source", &err));
    rh_journal_close(journal);
    int fd = open(scratch_path(scratch, "plan.journal"), O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char page[4096];
    memset(page, 0xA5, sizeof(page));
    for (off_t at = 4096; at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, page, sizeof(page), at), 4096);
    close(fd);
    assert_int_equal(try_open(scratch, 0), RH_E_CORRUPT);
    assert_non_null(strstr(err.text, "plan.journal"));
}

static void test_forbidden_rows(void **state)
{
    struct scratch *scratch = *state;
    const char *const bad[] = {"../../etc/passwd", "/etc/passwd", "", ".."};
    for (size_t i = 0; i < 4; i++) {
        char sql[300];
        struct rh_journal *journal = open_new(scratch);
        rh_journal_close(journal);
        snprintf(sql, sizeof(sql), "DELETE FROM segments; INSERT INTO segments VALUES (%zu, 'm', '%s', 9, 1, 0)", i + 1,
                 bad[i]);
        run_sql(scratch, sql);
        journal = open_new(scratch);
        assert_int_equal(rh_undo_forget(journal, "m", &err), RH_E_CORRUPT);
        assert_non_null(strstr(err.text, "table segments"));
        rh_journal_close(journal);
    }
}

static void test_network(void **state)
{
    (void)state;
    assert_string_equal(rh_journal_network_fs(0x6969, ""), "NFS");
    assert_string_equal(rh_journal_network_fs((long)0xFF534D42, ""), "CIFS");
    assert_string_equal(rh_journal_network_fs((long)(int)0xFE534D42, ""), "SMB2");
    assert_string_equal(rh_journal_network_fs(0x65735546, "fuse.sshfs"), "FUSE");
    assert_string_equal(rh_journal_network_fs(0x65735546, ""), "FUSE");
    assert_null(rh_journal_network_fs(0x65735546, "fuseblk"));
    assert_null(rh_journal_network_fs(0xEF53, "ext4"));
    assert_null(rh_journal_network_fs(0x01021994, "tmpfs"));
}

/* --- the lock --- */

/* Opens, says "o", and waits to be killed. */
static int child_hold(const char *dir)
{
    struct rh_journal *journal = NULL;
    enum rh_status status = rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &journal, &err);
    if (status != RH_OK)
        return status == RH_E_LOCKED ? 7 : 1;
    (void)!write(1, "o", 1);
    for (;;)
        pause();
}

static void test_lock(void **state)
{
    struct scratch *scratch = *state;
    int out = -1;
    char said = 0;
    pid_t owner = -5;
    pid_t pid = child_start("hold", scratch->dir, NULL, &out);
    assert_int_equal(read(out, &said, 1), 1);
    char words[40];
    snprintf(words, sizeof(words), "process %d ", (int)pid);
    assert_int_equal(try_open(scratch, RH_JOURNAL_CREATE), RH_E_LOCKED);
    assert_non_null(strstr(err.text, words));
    must(rh_journal_owner(scratch->dir, "plan", &owner, &err));
    assert_int_equal(owner, pid);
    /* A reader needs no lock, and its coming and going doesn't loosen the owner's. */
    assert_int_equal(try_open(scratch, RH_JOURNAL_READ_ONLY), RH_OK);
    assert_int_equal(try_open(scratch, 0), RH_E_LOCKED);
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), -SIGKILL);
    close(out);
    must(rh_journal_owner(scratch->dir, "plan", &owner, &err));
    assert_int_equal(owner, 0);
    assert_int_equal(try_open(scratch, 0), RH_OK);
    struct rh_journal *journal = open_new(scratch);
    must(rh_journal_owner(scratch->dir, "plan", &owner, &err));
    assert_int_equal(owner, getpid());
    assert_int_equal(try_open(scratch, 0), RH_E_LOCKED); /* within one process too */
    rh_journal_close(journal);
    must(rh_journal_owner(scratch->dir, "none", &owner, &err));
    assert_int_equal(owner, 0);
}

static void test_lock_race(void **state)
{
    struct scratch *scratch = *state;
    for (int round = 0; round < 5; round++) {
        enum { MANY = 4 };
        pid_t pids[MANY];
        int outs[MANY], winners = 0;
        for (int i = 0; i < MANY; i++)
            pids[i] = child_start("hold", scratch->dir, NULL, &outs[i]);
        char said;
        for (int i = 0; i < MANY; i++)
            if (read(outs[i], &said, 1) == 1) {
                winners++;
                kill(pids[i], SIGKILL);
                assert_int_equal(child_end(pids[i]), -SIGKILL);
                pids[i] = 0;
                break; /* those that are still to come must not win by this one's death */
            }
        for (int i = 0; i < MANY; i++) {
            if (pids[i] != 0) {
                int got = (int)read(outs[i], &said, 1);
                if (got == 1)
                    kill(pids[i], SIGKILL);
                assert_int_equal(child_end(pids[i]), got == 1 ? -SIGKILL : 7);
            }
            close(outs[i]);
        }
        assert_int_equal(winners, 1);
    }
}

/* --- transactions, readers, crashes --- */

static void test_transaction(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch), *reader = NULL;
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("1"), &err));
    must(rh_journal_open(scratch->dir, "plan", RH_JOURNAL_READ_ONLY, &reader, &err));
    assert_fact(reader, "a", "1");
    must(rh_journal_begin(journal, &err));
    assert_int_equal(rh_journal_begin(journal, &err), RH_E_INTERNAL);
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("2"), &err));
    assert_fact(journal, "a", "2");
    assert_fact(reader, "a", "1");
    rh_journal_abort(journal);
    assert_fact(journal, "a", "1");
    must(rh_journal_begin(journal, &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("3"), &err));
    must(rh_journal_commit(journal, &err));
    assert_fact(reader, "a", "3");
    assert_int_equal(rh_journal_commit(journal, &err), RH_E_INTERNAL);
    assert_int_equal(rh_journal_put(reader, "m", "a", rh_bytes_text("4"), &err), RH_E_INTERNAL);
    assert_int_equal(rh_journal_begin(reader, &err), RH_E_INTERNAL);
    /* A write that failed takes the others of its transaction with it. */
    must(rh_journal_begin(journal, &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("5"), &err));
    assert_int_equal(rh_journal_segment_good(journal, "m", 1, UINT64_MAX, 1, &err), RH_E_INTERNAL);
    assert_int_equal(rh_journal_put(journal, "m", "b", rh_bytes_text("5"), &err), RH_E_INTERNAL);
    assert_int_equal(rh_journal_commit(journal, &err), RH_E_INTERNAL);
    assert_fact(journal, "a", "3");
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("6"), &err));
    /* Closed inside: rolled back. */
    must(rh_journal_begin(journal, &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("7"), &err));
    rh_journal_close(journal);
    assert_fact(reader, "a", "6");
    rh_journal_close(reader);
}

/* Writes pairs a = b = i in one transaction, then c = i alone, and says a byte after each commit. */
static int child_pairs(const char *dir)
{
    struct rh_journal *journal = NULL;
    if (rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &journal, &err) != RH_OK)
        return 1;
    for (int i = 1; i <= 6; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%d", i);
        if (rh_journal_begin(journal, &err) || rh_journal_put(journal, "m", "a", rh_bytes_text(text), &err) ||
            rh_journal_put(journal, "m", "b", rh_bytes_text(text), &err) || rh_journal_commit(journal, &err))
            return 1;
        (void)!write(1, "x", 1);
        if (rh_journal_put(journal, "m", "c", rh_bytes_text(text), &err))
            return 1;
        (void)!write(1, "x", 1);
    }
    rh_journal_close(journal);
    return 0;
}

/* A fact as a number, 0 when absent. */
static int number_of(struct rh_journal *journal, const char *name)
{
    rh_auto_buf struct rh_buf got = RH_BUF_INIT;
    enum rh_status status = rh_journal_get(journal, "m", name, &got, &err);
    assert_true(status == RH_OK || status == RH_NOT_FOUND);
    return status == RH_OK ? atoi(rh_buf_cstr(&got)) : 0;
}

static void test_crash(void **state)
{
    struct scratch *scratch = *state;
#ifndef RH_TEST_HOOKS
    skip();
#endif
    /* 26 points: two at the making and two at each of 12 commits. */
    for (int at = 1; at <= 27; at++) {
        char dir[200], crash_at[32];
        struct rh_journal *journal = NULL;
        int out = -1;
        snprintf(dir, sizeof(dir), "%s/%d", scratch->dir, at);
        snprintf(crash_at, sizeof(crash_at), "journal:%d", at);
        pid_t pid = child_start("pairs", dir, crash_at, &out);
        int said = count_said(out);
        assert_int_equal(child_end(pid), at == 27 ? 0 : -SIGKILL);
        enum rh_status status = rh_journal_open(dir, "plan", RH_JOURNAL_READ_ONLY, &journal, &err);
        if (at == 1) {
            assert_int_equal(status, RH_NOT_FOUND); /* before the making's commit: absent */
        } else {
            /* Read with the dead writer's WAL still there, by a reader and then a writer. */
            for (int pass = 0; pass < 2; pass++) {
                if (pass == 1) {
                    rh_journal_close(journal);
                    status = rh_journal_open(dir, "plan", 0, &journal, &err);
                }
                assert_int_equal(status, RH_OK);
                int a = number_of(journal, "a"), b = number_of(journal, "b"), c = number_of(journal, "c");
                assert_int_equal(a, b);
                assert_int_equal(a + c, at == 27 ? 12 : at / 2 - 1); /* before the commit: not; after it: yes */
                assert_true(a + c == said || a + c == said + 1);
            }
            rh_journal_close(journal);
        }
        must(rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &journal, &err));
        rh_journal_close(journal);
    }
}

/* In a tmpfs of 256 KiB: writes until it is full. Exit 0 when that was told as it should, 77 when it can't mount. */
static int child_full(const char *dir)
{
    char big[8192], mount_at[200];
    struct rh_journal *journal = NULL;
    snprintf(mount_at, sizeof(mount_at), "%s/full", dir);
    if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mkdir(mount_at, 0700) || mount("rehome", mount_at, "tmpfs", 0, "size=256k,mode=0700"))
        return 77;
    memset(big, 'b', sizeof(big));
    enum rh_status status = rh_journal_open(mount_at, "plan", RH_JOURNAL_CREATE, &journal, &err);
    if (status != RH_OK || rh_journal_put(journal, "m", "a", rh_bytes_text("1"), &err) != RH_OK)
        return 1;
    for (int i = 0; i < 1000 && status == RH_OK; i++)
        status = rh_journal_note(journal, "m", "k", rh_bytes(big, sizeof(big)), "x", &err);
    if (status != RH_E_FULL || strstr(err.text, "plan.journal") == NULL || strstr(err.hint, "make room") == NULL)
        return 2;
    if (number_of(journal, "a") != 1)
        return 3;
    rh_journal_close(journal);
    status = rh_journal_open(mount_at, "plan", RH_JOURNAL_READ_ONLY, &journal, &err);
    if (status != RH_OK || number_of(journal, "a") != 1)
        return 4;
    rh_journal_close(journal);
    return 0;
}

static void test_full(void **state)
{
    struct scratch *scratch = *state;
    int out = -1;
    pid_t pid = child_start("full", scratch->dir, NULL, &out);
    close(out);
    int code = child_end(pid);
    if (code == 77) {
        print_message("test_full: no right to mount a tmpfs here\n");
        skip();
    }
    assert_int_equal(code, 0);
}

/* --- steps, ranges, segments, notes --- */

struct collected {
    struct rh_journal *journal;
    char text[2000];
};

static enum rh_status add_step(void *user, const struct rh_step_state *step)
{
    struct collected *all = user;
    size_t used = strlen(all->text);
    snprintf(all->text + used, sizeof(all->text) - used, "%u:%s/%s=%d(%s) ", step->number, step->move, step->step,
             (int)step->outcome, step->note);
    return RH_OK;
}

static void test_steps(void **state)
{
    struct rh_journal *journal = open_new(*state);
    struct rh_step_state step;
    struct collected all = {0};
    assert_int_equal(rh_journal_step_get(journal, "m", "mark", &step, &err), RH_NOT_FOUND);
    assert_int_equal(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_DONE, NULL, &err), RH_E_INTERNAL);
    must(rh_journal_step_intent(journal, "m", "mark", &err));
    must(rh_journal_step_get(journal, "m", "mark", &step, &err));
    assert_int_equal(step.outcome, RH_STEP_INTENT);
    assert_int_equal(step.outcome_us, 0);
    assert_true(step.intent_us > 1600000000000000);
    must(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_DONE, "fine", &err));
    must(rh_journal_step_intent(journal, "a", "copy", &err));
    must(rh_journal_step_intent(journal, "m", "copy", &err));
    must(rh_journal_step_outcome(journal, "m", "copy", RH_STEP_FAILED, "cut", &err));
    assert_int_equal(rh_journal_step_outcome(journal, "m", "copy", RH_STEP_INTENT, "", &err), RH_E_INTERNAL);
    must(rh_journal_steps(journal, add_step, &all, &err));
    assert_string_equal(all.text, "1:m/mark=2(fine) 2:a/copy=1() 3:m/copy=3(cut) ");
    must(rh_journal_step_intent(journal, "m", "mark", &err)); /* again: keeps its number */
    must(rh_journal_step_get(journal, "m", "mark", &step, &err));
    assert_int_equal(step.number, 1);
    assert_int_equal(step.outcome, RH_STEP_INTENT);
    assert_int_equal(step.outcome_us, 0);
    assert_string_equal(step.note, "");
    char note[3000];
    memset(note, 'a', sizeof(note));
    memcpy(note + 1019, "\xc3\xa4", 2);
    note[sizeof(note) - 1] = '\0';
    must(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_UNDONE, note, &err));
    must(rh_journal_step_get(journal, "m", "mark", &step, &err));
    assert_int_equal(strlen(step.note), 1022); /* not through the middle of a character */
    assert_string_equal(step.note + 1018, "a...");
    rh_journal_close(journal);
}

/* "m/mark=1 m/mark=2(fine) " of the history; every event has its time where its kind has it. */
static enum rh_status add_event(void *user, const struct rh_step_state *event)
{
    struct collected *all = user;
    size_t used = strlen(all->text);
    const bool intent = event->outcome == RH_STEP_INTENT;
    assert_int_equal(event->number, 0);
    assert_int_equal(intent ? event->outcome_us : event->intent_us, 0);
    assert_true((intent ? event->intent_us : event->outcome_us) > 1600000000000000);
    snprintf(all->text + used, sizeof(all->text) - used, "%s/%s=%d(%s) ", event->move, event->step, (int)event->outcome,
             event->note);
    return RH_OK;
}

static void test_history(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch);
    struct collected all = {0}, again = {0};
    const char *const expected = "/run=1() m/mark=1() m/mark=3(cut) m/mark=1() m/mark=2(fine) /run=2() m/mark=1() ";
    must(rh_journal_step_intent(journal, "", "run", &err));
    must(rh_journal_step_intent(journal, "m", "mark", &err));
    must(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_FAILED, "cut", &err));
    must(rh_journal_step_begun(journal, "m", "mark", 1700000000000000, &err));
    must(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_DONE, "fine", &err));
    must(rh_journal_new_pass(journal, "m", &err)); /* forgets steps, not what happened */
    must(rh_journal_step_outcome(journal, "", "run", RH_STEP_DONE, "", &err));
    assert_int_equal(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_DONE, "", &err), RH_E_INTERNAL);
    must(rh_journal_step_intent(journal, "m", "mark", &err));
    /* a transaction that is given up leaves neither row nor event */
    must(rh_journal_begin(journal, &err));
    must(rh_journal_step_outcome(journal, "m", "mark", RH_STEP_DONE, "", &err));
    rh_journal_abort(journal);
    must(rh_journal_history(journal, add_event, &all, &err));
    assert_string_equal(all.text, expected);
    rh_journal_close(journal);
    must(rh_journal_open(scratch->dir, "plan", RH_JOURNAL_READ_ONLY, &journal, &err));
    must(rh_journal_history(journal, add_event, &again, &err));
    assert_string_equal(again.text, expected);
    rh_journal_close(journal);
}

/* A journal of version 1 in the scratch folder: tests/data/journal/v1.sql, made once by a program of that version. */
static void make_version_1(struct scratch *scratch)
{
    rh_auto_buf struct rh_buf sql = RH_BUF_INIT;
    assert_int_equal(chmod(scratch->dir, 0700), 0);
    write_file(scratch_path(scratch, "plan.journal"), "", 0600);
    must(rh_file_read(AT_FDCWD, RH_TEST_DATA "/journal/v1.sql", 1 << 20, &sql, &err));
    run_sql(scratch, rh_buf_cstr(&sql));
    run_sql(scratch, "PRAGMA journal_mode = WAL");
}

static const char *const version_1_history =
    "vault/survey=1() vault/survey=2(20 records, 0 on both sides, 0 extra on the destination) vault/prepare=1() "
    "vault/prepare=2() vault/mark-destination=1() vault/mark-destination=2() vault/mark-source=1() "
    "vault/mark-source=2() vault/copy=1() vault/copy=2() vault/verify=1() vault/verify=2() vault/unmark=1() "
    "vault/unmark=2() ";

static void test_version_1(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = NULL;
    struct collected read = {0}, upgraded = {0}, more = {0};
    make_version_1(scratch);
    must(rh_journal_open(scratch->dir, "plan", RH_JOURNAL_READ_ONLY, &journal, &err)); /* as it is */
    must(rh_journal_history(journal, add_event, &read, &err));
    assert_string_equal(read.text, version_1_history);
    rh_journal_close(journal);
    must(rh_journal_open(scratch->dir, "plan", 0, &journal, &err)); /* brought up to date */
    must(rh_journal_history(journal, add_event, &upgraded, &err));
    assert_string_equal(upgraded.text, version_1_history);
    must(rh_journal_step_intent(journal, "", "verify", &err));
    rh_journal_close(journal);
    must(rh_journal_open(scratch->dir, "plan", RH_JOURNAL_READ_ONLY, &journal, &err));
    must(rh_journal_history(journal, add_event, &more, &err));
    assert_int_equal(strncmp(more.text, version_1_history, strlen(version_1_history)), 0);
    assert_string_equal(more.text + strlen(version_1_history), "/verify=1() ");
    assert_int_equal(journal->version, 2);
    rh_journal_close(journal);
}

static enum rh_status add_range(void *user, const struct rh_range_state *range)
{
    struct collected *all = user;
    size_t used = strlen(all->text);
    snprintf(all->text + used, sizeof(all->text) - used, "%llu ", (unsigned long long)range->id);
    /* A callback may write to the journal. */
    if (all->journal)
        return rh_journal_range_verified(all->journal, "m", range, &err);
    return RH_OK;
}

static enum rh_status last_range(void *user, const struct rh_range_state *range)
{
    struct rh_range_state *out = user;
    *out = *range;
    assert_int_equal(range->from.size, 3);
    assert_memory_equal(range->from.data, "a\0b", 3);
    assert_int_equal(range->to.size, 0);
    assert_int_equal(range->resume.size, 2);
    assert_memory_equal(range->resume.data, "\0z", 2);
    return RH_OK;
}

static void test_ranges(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch);
    struct rh_range_state range = {.dataset = "vault",
                                   .from = rh_bytes("a\0b", 3),
                                   .expect_count = 77,
                                   .destination_empty = true},
                          got = {0};
    struct collected all = {.journal = journal};
    must(rh_journal_range_add(journal, "m", &range, &err));
    assert_int_equal(range.id, 1);
    range.done = true;
    range.batches = 9;
    range.resume = rh_bytes("\0z", 2);
    range.copied = (struct rh_sum){
        3, 4, {5, UINT64_MAX}
    };
    range.kept = 10, range.replaced = 11, range.written = INT64_MAX;
    must(rh_journal_range_progress(journal, "m", &range, &err));
    range.source = (struct rh_sum){
        UINT64_MAX, 1, {2, 3}
    };
    range.destination = (struct rh_sum){
        4, 5, {6, 7}
    };
    range.verified = true;
    must(rh_journal_range_verified(journal, "m", &range, &err));
    rh_journal_close(journal);
    journal = all.journal = open_new(scratch);
    must(rh_journal_ranges(journal, "m", last_range, &got, &err));
    assert_int_equal(got.id, 1);
    assert_string_equal(got.dataset, "vault");
    assert_true(got.destination_empty && got.done && got.verified);
    assert_true(got.expect_count == 77 && got.batches == 9);
    assert_true(got.kept == 10 && got.replaced == 11 && got.written == INT64_MAX);
    assert_true(rh_sum_equal(&got.copied, &range.copied));
    assert_true(rh_sum_equal(&got.source, &range.source));
    assert_true(rh_sum_equal(&got.destination, &range.destination));
    range.written = (uint64_t)INT64_MAX + 1;
    assert_int_equal(rh_journal_range_progress(journal, "m", &range, &err), RH_E_INTERNAL);
    range.written = 0;
    assert_int_equal(rh_journal_range_progress(journal, "other", &range, &err), RH_E_INTERNAL);
    for (int i = 0; i < 3; i++)
        must(rh_journal_range_add(journal, i == 1 ? "other" : "m", &range, &err));
    must(rh_journal_ranges(journal, "m", add_range, &all, &err));
    assert_string_equal(all.text, "1 2 4 ");
    /* A new pass forgets this move's steps and ranges only, and no id comes again. */
    must(rh_journal_step_intent(journal, "m", "copy", &err));
    must(rh_journal_put(journal, "m", "a", rh_bytes_text("1"), &err));
    must(rh_journal_new_pass(journal, "m", &err));
    struct rh_step_state step;
    assert_int_equal(rh_journal_step_get(journal, "m", "copy", &step, &err), RH_NOT_FOUND);
    assert_fact(journal, "a", "1");
    all.text[0] = '\0';
    all.journal = NULL;
    must(rh_journal_ranges(journal, "m", add_range, &all, &err));
    assert_string_equal(all.text, "");
    must(rh_journal_ranges(journal, "other", add_range, &all, &err));
    assert_string_equal(all.text, "3 ");
    must(rh_journal_range_add(journal, "m", &range, &err));
    assert_int_equal(range.id, 5);
    rh_journal_close(journal);
}

static enum rh_status add_segment(void *user, const struct rh_segment_state *segment)
{
    struct collected *all = user;
    size_t used = strlen(all->text);
    snprintf(all->text + used, sizeof(all->text) - used, "%llu:%s:%llu:%llu ", (unsigned long long)segment->id,
             segment->file, (unsigned long long)segment->good_bytes, (unsigned long long)segment->good_frames);
    return RH_OK;
}

static void test_segments(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch);
    struct rh_segment_state one = {0}, two = {0}, named = {.file = "own"}, four = {0};
    struct collected all = {0};
    write_file(scratch_path(scratch, "plan.undo-0002"), "left over", 0600);
    must(rh_journal_segment_add(journal, "m", &one, &err));
    must(rh_journal_segment_add(journal, "m", &two, &err)); /* passes over the name that is taken */
    must(rh_journal_segment_add(journal, "other", &named, &err));
    must(rh_journal_segment_good(journal, "m", one.id, 200, 2, &err));
    must(rh_journal_segment_good(journal, "m", one.id, 100, 1, &err)); /* only grows */
    assert_int_equal(rh_journal_segment_good(journal, "other", one.id, 100, 1, &err), RH_E_INTERNAL);
    must(rh_journal_segments(journal, "m", add_segment, &all, &err));
    assert_string_equal(all.text, "1:plan.undo-0001:200:2 3:plan.undo-0003:0:0 ");
    must(rh_journal_segments_forget(journal, "m", &err));
    must(rh_journal_segments_forget(journal, "other", &err));
    all.text[0] = '\0';
    must(rh_journal_segments(journal, "m", add_segment, &all, &err));
    assert_string_equal(all.text, "");
    must(rh_journal_segment_add(journal, "m", &four, &err));
    assert_int_equal(four.id, 5); /* 4 was `named`; ids never come again */
    rh_journal_close(journal);
}

static enum rh_status add_note(void *user, int64_t utc_us, const char *kind, struct rh_bytes key, const char *text)
{
    struct collected *all = user;
    size_t used = strlen(all->text);
    assert_true(utc_us > 1600000000000000);
    snprintf(all->text + used, sizeof(all->text) - used, "%s:%s:%s ", kind, RH_SHOW(key), text);
    return RH_OK;
}

static enum rh_status stop_note(void *user, int64_t utc_us, const char *kind, struct rh_bytes key, const char *text)
{
    (void)user, (void)utc_us, (void)kind, (void)key, (void)text;
    return RH_E_CANCELLED;
}

static void test_notes(void **state)
{
    struct rh_journal *journal = open_new(*state);
    struct collected all = {0};
    must(rh_journal_note(journal, "m", "extra", rh_bytes("a\0", 2), "not in the source", &err));
    must(rh_journal_note(journal, "m", "differs", rh_bytes(NULL, 0), "x", &err));
    must(rh_journal_note(journal, "other", "extra", rh_bytes("b", 1), "y", &err));
    assert_int_equal(rh_journal_notes(journal, "m", stop_note, NULL, &err), RH_E_CANCELLED);
    must(rh_journal_notes(journal, "m", add_note, &all, &err));
    assert_string_equal(all.text, "extra:a\\x00:not in the source differs::x ");
    must(rh_journal_notes_clear(journal, "m", "extra", &err));
    all.text[0] = '\0';
    must(rh_journal_notes(journal, "m", add_note, &all, &err));
    assert_string_equal(all.text, "differs::x ");
    rh_journal_close(journal);
}

static enum rh_status add_name(void *user, const char *name)
{
    strcat(user, name);
    strcat(user, " ");
    return RH_OK;
}

static void test_list(void **state)
{
    struct scratch *scratch = *state;
    char all[200] = "";
    struct rh_journal *journal = NULL;
    must(rh_journal_list(scratch_path(scratch, "none"), add_name, all, &err));
    const char *const names[] = {"b", "a.b", "C"};
    for (int i = 0; i < 3; i++) {
        must(rh_journal_open(scratch->dir, names[i], RH_JOURNAL_CREATE, &journal, &err));
        rh_journal_close(journal);
    }
    write_file(scratch_path(scratch, "odd name.journal"), "", 0600);
    write_file(scratch_path(scratch, ".journal"), "", 0600);
    must(rh_journal_list(scratch->dir, add_name, all, &err));
    assert_true(strstr(all, "b ") && strstr(all, "a.b ") && strstr(all, "C ") && strlen(all) == 8);
}

struct lane {
    struct rh_journal *journal;
    struct rh_range_state range;
    bool good;
};

/* Makes progress, as a lane of the copy does. */
static void *run_lane(void *user)
{
    struct lane *lane = user;
    lane->good = true;
    for (uint64_t i = 1; i <= 20 && lane->good; i++) {
        lane->range.batches = i;
        lane->good = rh_journal_begin(lane->journal, NULL) == RH_OK;
        lane->good = lane->good && rh_journal_range_progress(lane->journal, "m", &lane->range, NULL) == RH_OK &&
                     rh_journal_segment_good(lane->journal, "m", 1, i, i, NULL) == RH_OK;
        lane->good = lane->good && rh_journal_commit(lane->journal, NULL) == RH_OK;
    }
    return NULL;
}

static enum rh_status all_batches(void *user, const struct rh_range_state *range)
{
    *(uint64_t *)user += range->batches;
    return RH_OK;
}

static void test_threads(void **state)
{
    struct scratch *scratch = *state;
    struct rh_journal *journal = open_new(scratch);
    struct rh_segment_state segment = {0};
    struct lane lanes[4];
    pthread_t threads[4];
    must(rh_journal_segment_add(journal, "m", &segment, &err));
    for (int i = 0; i < 4; i++) {
        lanes[i] = (struct lane){.journal = journal, .range = {.dataset = "d"}};
        must(rh_journal_range_add(journal, "m", &lanes[i].range, &err));
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_lane, &lanes[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(lanes[i].good);
    }
    uint64_t total = 0;
    must(rh_journal_ranges(journal, "m", all_batches, &total, &err));
    assert_int_equal(total, 80);
    rh_journal_close(journal);
}

/* Not a test: microseconds of one batch's progress. */
static int child_measure(const char *dir)
{
    struct rh_journal *journal = NULL;
    struct rh_range_state range = {.dataset = "vault", .resume = rh_bytes("core/some/key", 13)};
    struct rh_segment_state segment = {0};
    enum { TIMES = 500 };
    if (rh_journal_open(dir, "plan", RH_JOURNAL_CREATE, &journal, &err) ||
        rh_journal_range_add(journal, "m", &range, &err) || rh_journal_segment_add(journal, "m", &segment, &err))
        return 1;
    int64_t begin_us = rh_clock_us();
    for (uint64_t i = 1; i <= TIMES; i++) {
        range.batches = i;
        if (rh_journal_begin(journal, &err) || rh_journal_range_progress(journal, "m", &range, &err) ||
            rh_journal_segment_good(journal, "m", segment.id, i, i, &err) || rh_journal_commit(journal, &err))
            return 1;
    }
    printf("begin + progress + good + commit: %lld us\n", (long long)(rh_clock_us() - begin_us) / TIMES);
    rh_journal_close(journal);
    return 0;
}

/* What a child of this program does. */
static int child_main(const char *mode, const char *dir)
{
    if (strcmp(mode, "hold") == 0)
        return child_hold(dir);
    if (strcmp(mode, "pairs") == 0)
        return child_pairs(dir);
    if (strcmp(mode, "full") == 0)
        return child_full(dir);
    return strcmp(mode, "measure") == 0 ? child_measure(dir) : 98;
}

#define scratch_test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        scratch_test(test_facts),        scratch_test(test_decide),         scratch_test(test_names),
        scratch_test(test_folder),       scratch_test(test_absent),         scratch_test(test_shared_file),
        scratch_test(test_foreign_file), scratch_test(test_version),        scratch_test(test_renamed),
        scratch_test(test_damaged),      scratch_test(test_forbidden_rows), scratch_test(test_network),
        scratch_test(test_lock),         scratch_test(test_lock_race),      scratch_test(test_transaction),
        scratch_test(test_crash),        scratch_test(test_full),           scratch_test(test_steps),
        scratch_test(test_ranges),       scratch_test(test_segments),       scratch_test(test_notes),
        scratch_test(test_list),         scratch_test(test_threads),        scratch_test(test_history),
        scratch_test(test_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
