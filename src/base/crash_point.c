/* SPDX-License-Identifier: Apache-2.0 */
/* Places where a test build kills or stops itself. Counts are the process's, over all threads. */
#include <rehome/base.h>

#ifdef RH_TEST_HOOKS
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct hook {
    char name[64]; /* empty: not asked for; "*": every point */
    uint64_t at;   /* from 1 */
    atomic_uint_least64_t passed;
};
static struct hook crash, stop;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Reads "name:N"; anything else ends the process, since a test that doesn't test is worse than none. */
static void read_hook(const char *variable, struct hook *hook)
{
    const char *text = getenv(variable);
    if (!text || !*text)
        return;
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length == 0 || length >= sizeof hook->name || rh_parse_u64(rh_bytes_text(colon + 1), &hook->at) ||
        hook->at == 0) {
        static const char words[] = "RH_CRASH_AT and RH_STOP_AT want name:N\n";
        (void)!write(STDERR_FILENO, words, sizeof words - 1);
        abort();
    }
    memcpy(hook->name, text, length);
    hook->name[length] = '\0';
}

/* Reads both, once. */
static void read_hooks(void)
{
    read_hook("RH_CRASH_AT", &crash);
    read_hook("RH_STOP_AT", &stop);
}

/* Counts this passing and sends the signal when it is the one. */
static void pass(struct hook *hook, const char *name, int signal_number)
{
    if (!hook->name[0] || (strcmp(hook->name, name) != 0 && strcmp(hook->name, "*") != 0))
        return;
    if (atomic_fetch_add(&hook->passed, 1) + 1 == hook->at)
        (void)kill(getpid(), signal_number);
}

void rh_crash_point(const char *name)
{
    (void)pthread_once(&once, read_hooks);
    pass(&stop, name, SIGSTOP);
    pass(&crash, name, SIGKILL);
}
#endif
