/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proof that the power-loss layer is worth something: programs that forget one fsync lose what they claimed to have
 * stored, programs with the right protocol never do. The program under test is this one again, started with the layer
 * preloaded and a protocol's name; each claim ("stored NAME") is a line in a file outside the layer's roots.
 * RH_POWERLOSS_LIB names the layer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 4, CONTENT = 9000, SEEDS = 4 };

/* --- the programs under test --- */

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) < 0) {                                                                                              \
            perror(#call);                                                                                             \
            exit(2);                                                                                                   \
        }                                                                                                              \
    } while (0)

static int ack_fd = -1;

static void claim(const char *name)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "%s\n", name);
    MUST(write(ack_fd, line, (size_t)n));
    MUST(fsync(ack_fd)); /* outside the roots: not counted */
}

static void fill_content(const char *name, char out[static CONTENT])
{
    size_t length = strlen(name);
    for (size_t i = 0; i < CONTENT; i++)
        out[i] = name[i % length];
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    MUST(fd);
    MUST(fsync(fd));
    MUST(close(fd));
}

enum { FILE_SYNC = 1, FOLDER_SYNC = 2, BY_LINK = 4, BY_STDIO = 8, BY_SYNCFS = 16, IN_FOLDER = 32, PARENT_SYNC = 64 };

static void store_file(const char *folder, const char *name, unsigned how)
{
    char content[CONTENT], temp[PATH_MAX + 16], path[PATH_MAX + 256];
    fill_content(name, content);
    snprintf(temp, sizeof(temp), "%s/.temp", folder);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (how & BY_STDIO) {
        FILE *file = fopen(temp, "w");
        if (!file || fwrite(content, 1, CONTENT, file) != CONTENT || fflush(file) != 0)
            exit(2);
        MUST(fsync(fileno(file)));
        fclose(file);
    } else {
        int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        MUST(fd);
        MUST(write(fd, content, CONTENT / 3));
        MUST(pwrite(fd, content + CONTENT / 3, CONTENT - CONTENT / 3, CONTENT / 3));
        if (how & FILE_SYNC)
            MUST(fdatasync(fd));
        MUST(close(fd));
    }
    if (how & BY_LINK) {
        MUST(link(temp, path));
        MUST(unlink(temp));
    } else {
        MUST(rename(temp, path));
    }
    if (how & FOLDER_SYNC)
        sync_folder(folder);
}

/* Files one by one, `how` they are made durable. */
static int store_files(const char *root, unsigned how)
{
    char folder[PATH_MAX], name[32];
    snprintf(folder, sizeof(folder), "%s%s", root, how & IN_FOLDER ? "/sub" : "");
    if (how & IN_FOLDER)
        MUST(mkdir(folder, 0700));
    if (how & PARENT_SYNC)
        sync_folder(root);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        store_file(folder, name, how);
        if (!(how & BY_SYNCFS))
            claim(name);
    }
    if (how & BY_SYNCFS) {
        int fd = open(root, O_RDONLY | O_DIRECTORY);
        MUST(fd);
        MUST(syncfs(fd));
        close(fd);
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof(name), "file-%d", i);
            claim(name);
        }
    }
    return 0;
}

static void sql(sqlite3 *db, const char *text)
{
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", text, sqlite3_errmsg(db));
        exit(2);
    }
}

/* Rows in a SQLite file in WAL mode, each committed by itself, with a checkpoint in between. */
static int store_rows(const char *root, const char *synchronous)
{
    char path[PATH_MAX], text[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/rows.db", root);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        return 2;
    snprintf(text, sizeof(text), "PRAGMA synchronous=%s", synchronous);
    sql(db, "PRAGMA journal_mode=WAL");
    sql(db, text);
    sql(db, "CREATE TABLE t(i INTEGER PRIMARY KEY, v BLOB)");
    for (int i = 0; i < FILES; i++) {
        snprintf(text, sizeof(text), "INSERT INTO t VALUES(%d, randomblob(5000))", i);
        sql(db, text);
        claim("row");
        if (i == 1)
            sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    sqlite3_close(db);
    return 0;
}

static const struct protocol {
    const char *name;
    bool right;
    unsigned how;
    const char *synchronous; /* SQLite instead of files */
} protocols[] = {
    {"rename-all-synced",     true,  FILE_SYNC | FOLDER_SYNC,                           NULL  },
    {"rename-no-file-sync",   false, FOLDER_SYNC,                                       NULL  },
    {"rename-no-folder-sync", false, FILE_SYNC,                                         NULL  },
    {"rename-no-sync",        false, 0,                                                 NULL  },
    {"link-all-synced",       true,  FILE_SYNC | FOLDER_SYNC | BY_LINK,                 NULL  },
    {"link-no-file-sync",     false, FOLDER_SYNC | BY_LINK,                             NULL  },
    {"link-no-folder-sync",   false, FILE_SYNC | BY_LINK,                               NULL  },
    {"stdio-all-synced",      true,  FOLDER_SYNC | BY_STDIO,                            NULL  },
    {"stdio-no-folder-sync",  false, BY_STDIO,                                          NULL  },
    {"syncfs-at-the-end",     true,  BY_SYNCFS,                                         NULL  },
    {"new-folder-all-synced", true,  FILE_SYNC | FOLDER_SYNC | IN_FOLDER | PARENT_SYNC, NULL  },
    {"new-folder-forgotten",  false, FILE_SYNC | FOLDER_SYNC | IN_FOLDER,               NULL  },
    {"sqlite-wal-full",       true,  0,                                                 "FULL"},
    {"sqlite-wal-off",        false, 0,                                                 "OFF" },
};

static int run_protocol(const char *name, const char *root, const char *ack)
{
    ack_fd = open(ack, O_WRONLY | O_CREAT | O_APPEND, 0600);
    MUST(ack_fd);
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        if (strcmp(protocols[i].name, name) == 0)
            return protocols[i].synchronous ? store_rows(root, protocols[i].synchronous)
                                            : store_files(root, protocols[i].how);
    return 2;
}

/* --- the test --- */

static char base[PATH_MAX / 2];

static void in_base(char out[static PATH_MAX], const char *name)
{
    snprintf(out, PATH_MAX, "%s/%s", base, name);
}

/* Starts the program under the layer in a fresh root; returns its exit code. */
static int start(const struct protocol *p, const char *at, const char *mode, int seed)
{
    char root[PATH_MAX], ack[PATH_MAX], count[PATH_MAX], text[32], command[PATH_MAX * 5];
    in_base(root, "root"), in_base(ack, "ack"), in_base(count, "count");
    snprintf(command, sizeof(command), "rm -rf '%s' '%s' '%s' && mkdir '%s'", root, ack, count, root);
    assert_int_equal(system(command), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        snprintf(text, sizeof(text), "%d", seed);
        setenv("RH_POWERLOSS_ROOTS", root, 1);
        setenv("RH_POWERLOSS_AT", at, 1);
        setenv("RH_POWERLOSS_MODE", mode, 1);
        setenv("RH_POWERLOSS_SEED", text, 1);
        setenv("RH_POWERLOSS_COUNT", count, 1);
        setenv("LD_PRELOAD", getenv("RH_POWERLOSS_LIB"), 1);
        execl("/proc/self/exe", "test_powerloss", p->name, root, ack, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static unsigned long read_count(void)
{
    char path[PATH_MAX];
    unsigned long count = 0;
    in_base(path, "count");
    FILE *file = fopen(path, "r");
    if (file) {
        assert_int_equal(fscanf(file, "%lu", &count), 1);
        fclose(file);
    }
    return count;
}

static bool file_is_whole(const struct protocol *p, const char *name)
{
    char path[PATH_MAX], expected[CONTENT], found[CONTENT + 1];
    snprintf(path, sizeof(path), "%s/root%s/%s", base, p->how & IN_FOLDER ? "/sub" : "", name);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t n = fread(found, 1, sizeof(found), file);
    fclose(file);
    fill_content(name, expected);
    return n == CONTENT && memcmp(found, expected, CONTENT) == 0;
}

/* Rows that a SQLite file holds after recovery; -1 when it is damaged. */
static int rows_left(void)
{
    char path[PATH_MAX];
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    int rows = -1;
    in_base(path, "root/rows.db");
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM t WHERE length(v) = 5000", -1, &query, NULL) == SQLITE_OK &&
        sqlite3_step(query) == SQLITE_ROW)
        rows = sqlite3_column_int(query, 0);
    sqlite3_finalize(query);
    query = NULL;
    if (rows >= 0 &&
        (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &query, NULL) != SQLITE_OK ||
         sqlite3_step(query) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(query, 0), "ok") != 0))
        rows = -1;
    sqlite3_finalize(query);
    sqlite3_close(db);
    return rows;
}

/* How many claims don't hold after the crash. */
static int broken_claims(const struct protocol *p)
{
    char path[PATH_MAX], line[64];
    int broken = 0, rows = 0;
    in_base(path, "ack");
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (p->synchronous)
            rows++;
        else if (!file_is_whole(p, line))
            broken++;
    }
    if (file)
        fclose(file);
    if (rows) {
        int left = rows_left();
        broken = left < rows ? rows - (left < 0 ? 0 : left) : 0;
    }
    return broken;
}

/* Lets the power fail at every sync and after the end; returns the number of broken claims. */
static int try_everywhere(const struct protocol *p, const char *mode, int seed, unsigned long syncs)
{
    char at[32];
    int broken = 0;
    for (unsigned long k = 1; k <= syncs; k++) {
        snprintf(at, sizeof(at), "%lu", k);
        assert_int_equal(start(p, at, mode, seed), 137);
        broken += broken_claims(p);
    }
    assert_int_equal(start(p, "exit", mode, seed), 0);
    return broken + broken_claims(p);
}

static void test_protocol(void **state)
{
    const struct protocol *p = *state;
    assert_int_equal(start(p, "", "drop", 1), 0);
    assert_int_equal(broken_claims(p), 0); /* without a power loss all is well, right or wrong */
    unsigned long syncs = read_count();
    int dropped = try_everywhere(p, "drop", 1, syncs);
    int others = 0;
    for (int seed = 1; seed <= SEEDS; seed++)
        others += try_everywhere(p, "prefix", seed, syncs) + try_everywhere(p, "subset", seed, syncs);
    print_message("%s: %lu syncs, %d claims broken by dropping, %d otherwise\n", p->name, syncs, dropped, others);
    if (p->right) {
        assert_true(syncs > 0);
        assert_int_equal(dropped + others, 0);
    } else {
        assert_true(dropped > 0);
    }
}

static int make_base(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(base, sizeof(base), "%s/rh-powerloss-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(base) ? 0 : -1;
}

static int remove_base(void **state)
{
    char command[PATH_MAX];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", base);
    return system(command);
}

int main(int argc, char **argv)
{
    enum { COUNT = sizeof(protocols) / sizeof(protocols[0]) };
    struct CMUnitTest tests[COUNT] = {0};
    static struct protocol states[COUNT];
    if (argc == 4)
        return run_protocol(argv[1], argv[2], argv[3]);
    if (!getenv("RH_POWERLOSS_LIB"))
        return fputs("RH_POWERLOSS_LIB is not set\n", stderr), 1;
    for (size_t i = 0; i < COUNT; i++) {
        states[i] = protocols[i]; /* cmocka wants it writable */
        tests[i] = (struct CMUnitTest){states[i].name, test_protocol, NULL, NULL, &states[i]};
    }
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
