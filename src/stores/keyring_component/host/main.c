/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rehome-keyring-host: the child process in which rehome loads a keyring component's library. It is started by rehome
 * alone and takes no arguments; what it is to do comes over a socket (docs/formats/keyring-host.md). What the library
 * prints goes to the pipes that rehome gave it as standard output and error. Besides the C library it needs nothing, so
 * that it can run with the loader and libraries of the MySQL it is to serve.
 */
#include "serve.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GRACE_SECONDS = 10 };

/* The parent is gone: what is under way may come to its end, since the library writes where no copy is; the next look
 * at the socket ends the process. One that hangs is ended by the alarm. */
static void parent_gone(int number)
{
    (void)number;
    (void)alarm(GRACE_SECONDS);
}

/* Nobody looks into this process, and it doesn't outlive its parent: on a copy of a keystore not by an instruction,
 * else by not more than a request. */
static void harden(void)
{
    const struct rlimit none = {0, 0};
    struct rlimit lock;
    struct stat st;
    const bool on_copy = fstat(WIRE_FOLDER, &st) == 0;
    const struct sigaction gone = {.sa_handler = parent_gone, .sa_flags = SA_RESTART};
    if (!on_copy)
        (void)sigaction(SIGTERM, &gone, NULL);
    (void)prctl(PR_SET_PDEATHSIG, on_copy ? SIGKILL : SIGTERM);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)umask(077);
    /* the library's own memory can't be chosen: all of it is locked where that can't make it fail */
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && (geteuid() == 0 || lock.rlim_cur == RLIM_INFINITY))
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

int main(int argc, char **argv)
{
    struct stat st;
    (void)argv;
    if (argc != 1 || fstat(WIRE_SOCKET, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        (void)fprintf(stderr, "rehome-keyring-host is started by rehome and by nobody else\n");
        return 1;
    }
    harden();
    return serve(WIRE_SOCKET);
}
