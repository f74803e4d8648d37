/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of journal and undo log share: a folder per test, and children that are a test program started
 * anew ("PROGRAM child MODE DIR"), since crash points are read from the environment once per process. */
#ifndef REHOME_TESTS_JOURNAL_SCRATCH_H
#define REHOME_TESTS_JOURNAL_SCRATCH_H

#include <rehome/base.h>

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define must(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != RH_OK)                                                                                           \
            fail_msg("%s: %s", #call, err.text);                                                                       \
    } while (0)

struct scratch {
    char dir[64], path[400];
};

/* A new empty folder, its own 0700 child is the state folder. */
static inline int scratch_setup(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));
    strcpy(scratch->dir, "/tmp/rehome-test-XXXXXX");
    *state = scratch;
    return mkdtemp(scratch->dir) == NULL;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int scratch_teardown(void **state)
{
    struct scratch *scratch = *state;
    nftw(scratch->dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(scratch);
    return 0;
}

/* A path in the folder, good until the next call. */
static inline const char *scratch_path(struct scratch *scratch, const char *name)
{
    snprintf(scratch->path, sizeof(scratch->path), "%s/%s", scratch->dir, name);
    return scratch->path;
}

/* Starts this program as a child; what it writes to stdout can be read from *ret_out. */
static inline pid_t child_start(const char *mode, const char *dir, const char *crash_at, int *ret_out)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        if (crash_at)
            setenv("RH_CRASH_AT", crash_at, 1);
        execl("/proc/self/exe", "test", "child", mode, dir, (char *)NULL);
        _exit(99);
    }
    close(ends[1]);
    *ret_out = ends[0];
    return pid;
}

/* Waits; the exit code, or minus the signal. */
static inline int child_end(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* All that the child says until it ends, counted in bytes. */
static inline int count_said(int fd)
{
    char text[256];
    int total = 0;
    for (ssize_t got; (got = read(fd, text, sizeof(text))) > 0;)
        total += (int)got;
    close(fd);
    return total;
}

#endif
