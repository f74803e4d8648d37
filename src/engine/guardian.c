/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guardian: a child of the engine, in a session of its own, with connections of its own, that opens the fences when
 * the engine can't. It is forked before the engine has threads and knows the plan by that. The two talk over a pair of
 * sockets, one message at a time: a letter, the fence's number, text.
 *
 *   A NAME    connect to all servers; NAME is the journal's      answered
 *   W STATE   a fence is about to be closed                      answered
 *   N EPOCH   it is closed: UTC microseconds, blank, epoch       answered
 *   F         it is open again
 *   R STATE   a route is about to be switched: its move's number, blank, state      answered
 *   L         nothing of that route stands any more
 *   B         all are renewed                                    answered
 *   Q         nothing is closed any more: go
 *
 * An answer is "y", or "n" and words. While a fence is closed and nothing was heard for the time of a lease, the engine
 * counts as frozen. Before anything is opened the engine is ended for good, by SIGKILL through a descriptor of the
 * process, which works on a stopped one too and can't hit another; its death is waited for. Then each fence is opened
 * by a process of its own, which ends the engine's sessions on that server and tries for as long as it takes. One more
 * process puts the routes right, and lets go of a move's old side when all of its servers are known to go one way.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE_MOST = RH_ROUTE_STATE_MOST + 100, ANSWER_LIMIT_MS = 15000, BEAT_LIMIT_MS = 1000 };
#define TRY_FOR_US (24 * 3600 * INT64_C(1000000)) /* a server that is away for longer is somebody else's to open */
#define JOURNAL_FOR_US (2 * INT64_C(1000000))     /* the next run may have the journal already */

struct guardian {
    pid_t pid;
    int pid_fd, socket;
};

/* --- the engine's side --- */

/* A guardian's word for a failure. */
static enum rh_status guardian_lost(struct rh_error *err)
{
    return rh_fail(err, RH_E_INTERNAL, "the guardian, a process beside this one, has ended or doesn't answer");
}

static enum rh_status send_message(const struct guardian *guardian, char letter, size_t index, const char *text)
{
    char message[MESSAGE_MOST];
    const int size = snprintf(message, sizeof message, "%c%c%s", letter, (char)index, text);
    if (size < 0 || (size_t)size >= sizeof message)
        return RH_E_INTERNAL;
    return send(guardian->socket, message, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) == size ? RH_OK : RH_E_INTERNAL;
}

/* Says something, and waits for the answer. */
static enum rh_status
ask(const struct guardian *guardian, char letter, size_t index, const char *text, int limit_ms, struct rh_error *err)
{
    char answer[MESSAGE_MOST + 1];
    if (!guardian || send_message(guardian, letter, index, text) != RH_OK)
        return guardian_lost(err);
    struct pollfd ready = {.fd = guardian->socket, .events = POLLIN};
    int polled;
    do
        polled = poll(&ready, 1, limit_ms);
    while (polled < 0 && errno == EINTR);
    const ssize_t size = polled == 1 ? recv(guardian->socket, answer, sizeof answer - 1, MSG_DONTWAIT) : -1;
    if (size <= 0)
        return guardian_lost(err);
    answer[size] = '\0';
    if (answer[0] == 'y')
        return RH_OK;
    rh_fail(err, RH_E_NET, "the guardian, which is to open the fences when this process can't: %s", answer + 1);
    if (err)
        err->side = RH_SIDE_SOURCE;
    return RH_E_NET;
}

bool guardian_alive(const struct guardian *guardian)
{
    struct pollfd dead = {.fd = guardian ? guardian->pid_fd : -1, .events = POLLIN};
    return guardian && poll(&dead, 1, 0) == 0;
}

enum rh_status guardian_arm(struct guardian *guardian, const char *journal, struct rh_error *err)
{
    return ask(guardian, 'A', 0, journal, ANSWER_LIMIT_MS, err);
}

enum rh_status guardian_watch(struct guardian *guardian, size_t index, const char *state, struct rh_error *err)
{
    return ask(guardian, 'W', index, state, ANSWER_LIMIT_MS, err);
}

enum rh_status
guardian_note(struct guardian *guardian, size_t index, const char *epoch, int64_t closed_utc_us, struct rh_error *err)
{
    char text[200];
    snprintf(text, sizeof text, "%lld %s", (long long)closed_utc_us, epoch);
    return ask(guardian, 'N', index, text, BEAT_LIMIT_MS, err);
}

void guardian_forget(struct guardian *guardian, size_t index)
{
    if (guardian)
        rh_ignore(send_message(guardian, 'F', index, "")); /* one that is gone needs no telling */
}

enum rh_status
guardian_watch_route(struct guardian *guardian, size_t index, size_t move, const char *state, struct rh_error *err)
{
    char text[MESSAGE_MOST - 2];
    snprintf(text, sizeof text, "%zu %s", move, state);
    return ask(guardian, 'R', index, text, ANSWER_LIMIT_MS, err);
}

void guardian_forget_route(struct guardian *guardian, size_t index)
{
    if (guardian)
        rh_ignore(send_message(guardian, 'L', index, "")); /* as above */
}

enum rh_status guardian_beat(struct guardian *guardian, struct rh_error *err)
{
    return ask(guardian, 'B', 0, "", BEAT_LIMIT_MS, err);
}

void guardian_stop(struct guardian *guardian, bool armed)
{
    if (!guardian)
        return;
    /* with something closed it stays: it acts when this process ends */
    if (!armed) {
        struct pollfd ended = {.fd = guardian->pid_fd, .events = POLLIN};
        if (send_message(guardian, 'Q', 0, "") != RH_OK || poll(&ended, 1, BEAT_LIMIT_MS) != 1)
            (void)kill(guardian->pid, SIGKILL); /* our child, not waited for yet: the number is its own */
        (void)waitpid(guardian->pid, NULL, 0);
        close(guardian->socket);
    }
    close(guardian->pid_fd);
    free(guardian);
}

/* --- the guardian's side --- */

struct ward { /* one fence */
    bool connected, armed;
    char state[MESSAGE_MOST], epoch[128];
    int64_t closed_utc_us;
};
struct crossing { /* one route */
    bool armed, settled;
    bool leased; /* a fence was closed since, so whoever waits for it waits for us */
    size_t move;
    char state[MESSAGE_MOST];
};
struct keeper {
    struct rh_engine *engine; /* as it was at the fork: plan, fences, routes, nothing else */
    int socket, parent;       /* parent: the engine's process */
    struct ward wards[FENCES_MOST];
    struct crossing crossings[ROUTES_MOST];
    int64_t lease_end_us; /* 0: nothing is closed */
    char journal[256];
};

static struct fence_run *run_of(const struct keeper *keeper, size_t index)
{
    return &keeper->engine->fences.runs[index];
}

static bool any_armed(const struct keeper *keeper)
{
    bool any = false;
    for (size_t i = 0; i < keeper->engine->fences.count; i++)
        any = any || keeper->wards[i].armed;
    for (size_t i = 0; i < keeper->engine->routes.count; i++)
        any = any || keeper->crossings[i].armed;
    return any;
}

/* Whether anybody is held back; preparing a switch may take its time. */
static bool any_leased(const struct keeper *keeper)
{
    bool any = false;
    for (size_t i = 0; i < keeper->engine->fences.count; i++)
        any = any || keeper->wards[i].armed;
    for (size_t i = 0; i < keeper->engine->routes.count; i++)
        any = any || (keeper->crossings[i].armed && keeper->crossings[i].leased);
    return any;
}

/* Options and password of every fence, and a connection, so that what can't be opened is never closed. */
static enum rh_status connect_all(struct keeper *keeper, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < keeper->engine->fences.count; i++) {
        struct fence_run *run = run_of(keeper, i);
        struct rh_ctx ctx = {.err = err};
        if (!run->fence)
            status = run->block->driver->new (&ctx, run->block->options, &run->fence);
        if (status == RH_OK)
            status = run->block->driver->connect(&ctx, run->fence);
    }
    for (size_t i = 0; status == RH_OK && i < keeper->engine->routes.count; i++) {
        struct route_run *run = &keeper->engine->routes.runs[i];
        struct rh_ctx ctx = {.err = err};
        if (!run->route)
            status = run->block->driver->new (&ctx, run->block->options, &run->route);
    }
    return status;
}

/* Takes down what is being switched. */
static void watch_route(struct crossing *crossing, const char *text)
{
    uint64_t move = 0;
    rh_ignore(rh_parse_u64(rh_bytes(text, strcspn(text, " ")), &move)); /* our own words */
    text += strcspn(text, " ");
    crossing->move = (size_t)move;
    snprintf(crossing->state, sizeof crossing->state, "%s", *text ? text + 1 : "");
    crossing->settled = crossing->leased = false;
    crossing->armed = true;
}

/* What a message asks for. */
static enum rh_status obey(struct keeper *keeper, char letter, size_t index, const char *text, struct rh_error *err)
{
    struct ward *ward = &keeper->wards[index];
    int64_t closed_utc_us = 0;
    switch (letter) {
    case 'A':
        snprintf(keeper->journal, sizeof keeper->journal, "%.255s", text);
        return connect_all(keeper, err);
    case 'W':
        snprintf(ward->state, sizeof ward->state, "%s", text);
        ward->epoch[0] = '\0';
        ward->closed_utc_us = rh_utc_us();
        ward->armed = true;
        for (size_t i = 0; i < keeper->engine->routes.count; i++)
            keeper->crossings[i].leased = true;
        return RH_OK;
    case 'N':
        if (rh_parse_i64(rh_bytes(text, strcspn(text, " ")), &closed_utc_us) == RH_OK)
            ward->closed_utc_us = closed_utc_us;
        text += strcspn(text, " ");
        snprintf(ward->epoch, sizeof ward->epoch, "%s", *text ? text + 1 : "");
        return RH_OK;
    case 'F':
        ward->armed = false;
        return RH_OK;
    case 'R':
        watch_route(&keeper->crossings[index], text);
        return RH_OK;
    case 'L':
        keeper->crossings[index].armed = false;
        return RH_OK;
    case 'B':
    case 'Q':
        return RH_OK;
    }
    return rh_fail(err, RH_E_INTERNAL, "unknown message");
}

/* One message of the engine's; false when there are no more. */
static bool listen_once(struct keeper *keeper)
{
    char message[MESSAGE_MOST + 1], answer[MESSAGE_MOST];
    const ssize_t size = recv(keeper->socket, message, sizeof message - 1, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (size < 2)
        return false;
    message[size] = '\0';
    const size_t index = (unsigned char)message[1];
    struct rh_error err = {0};
    _Static_assert((int)FENCES_MOST == (int)ROUTES_MOST, "one bound for the numbers of both");
    enum rh_status status = index < FENCES_MOST ? obey(keeper, message[0], index, message + 2, &err) : RH_E_INTERNAL;
    keeper->lease_end_us = any_leased(keeper) ? rh_clock_us() + keeper->engine->fences.lease_us : 0;
    if (message[0] == 'F' || message[0] == 'L')
        return true;
    const int length = snprintf(answer, sizeof answer, "%s%.1000s", status == RH_OK ? "y" : "n", err.text);
    (void)!send(keeper->socket, answer, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (message[0] == 'Q' && !any_armed(keeper))
        _exit(0);
    return true;
}

/* Listens until there is something to do: the engine is dead, frozen, or gone without a word. */
static const char *watch_engine(struct keeper *keeper)
{
    bool listening = true;
    for (;;) {
        struct pollfd ready[2] = {
            {.fd = keeper->parent,                  .events = POLLIN},
            {.fd = listening ? keeper->socket : -1, .events = POLLIN}
        };
        const int64_t left_us = keeper->lease_end_us ? keeper->lease_end_us - rh_clock_us() : 0;
        const int wait_ms = !keeper->lease_end_us ? -1 : left_us <= 0 ? 0 : (int)(left_us / 1000) + 1;
        const int polled = poll(ready, 2, wait_ms);
        if (polled > 0 && ready[0].revents)
            return "was killed";
        if (polled > 0 && ready[1].revents)
            listening = listen_once(keeper);
        if (!listening && !any_armed(keeper))
            _exit(0);
        if (keeper->lease_end_us && rh_clock_us() >= keeper->lease_end_us)
            return "was frozen";
    }
}

/* Ends the engine for good, stopped or not, and waits until it is dead. */
static void end_engine(const struct keeper *keeper)
{
    struct pollfd dead = {.fd = keeper->parent, .events = POLLIN};
    do
        (void)pidfd_send_signal(keeper->parent, SIGKILL, NULL, 0); /* fails when it is dead */
    while (poll(&dead, 1, 1000) != 1);
}

/* What a process that opens one fence tells the guardian. */
struct opening {
    size_t index;
    bool done;
    enum rh_fence_outcome outcome;
    int64_t opened_utc_us;
};

/* Tries until the fence is open, or somebody else has it. */
static struct opening open_ward(struct keeper *keeper, size_t index)
{
    struct fence_run *run = run_of(keeper, index);
    const struct ward *ward = &keeper->wards[index];
    const int64_t begun_us = rh_clock_us();
    struct opening opening = {.index = index};
    for (int64_t pause_us = 50 * 1000;; pause_us = pause_us < 800 * 1000 ? pause_us * 2 : pause_us) {
        struct rh_error why = {0};
        struct rh_ctx ctx = {.err = &why};
        enum rh_status status = run->block->driver->open(&ctx, run->fence, ward->state, ward->epoch, &opening.outcome);
        const int64_t spent_us = rh_clock_us() - begun_us;
        opening.done = status == RH_OK;
        opening.opened_utc_us = rh_utc_us();
        /* taken: another rehome is at work there, and to it this closing may be somebody else's, which it leaves */
        if (status == RH_OK && opening.outcome != RH_FENCE_TAKEN)
            return opening;
        if (status == RH_E_REFUSED || spent_us > TRY_FOR_US)
            return opening;
        rh_sleep_us(pause_us);
    }
}

/* Starts a process for every fence that is closed; each writes one opening. */
static size_t open_all(struct keeper *keeper, int out)
{
    size_t started = 0;
    for (size_t i = 0; i < keeper->engine->fences.count; i++) {
        if (!keeper->wards[i].armed)
            continue;
        const pid_t pid = fork();
        started++;
        if (pid > 0)
            continue;
        const struct opening opening = open_ward(keeper, i); /* without a process for it (pid < 0), here */
        (void)!write(out, &opening, sizeof opening);
        if (pid == 0)
            _exit(0);
    }
    return started;
}

/* Lets go of the old sides of moves whose every server is known to go one way. */
static void release_settled(struct keeper *keeper)
{
    const size_t count = keeper->engine->routes.count;
    for (size_t i = 0; i < count; i++) {
        struct crossing *crossing = &keeper->crossings[i];
        struct route_run *run = &keeper->engine->routes.runs[i];
        struct rh_ctx ctx = {.err = NULL};
        bool all = crossing->armed && crossing->settled;
        for (size_t j = 0; j < count; j++)
            all = all && (!keeper->crossings[j].armed || keeper->crossings[j].settled ||
                          keeper->crossings[j].move != crossing->move);
        if (all && run->block->driver->release(&ctx, run->route, crossing->state) == RH_OK)
            crossing->armed = false;
    }
}

/* Puts every route right that was being switched; tries for as long as it takes. */
static void settle_routes(struct keeper *keeper)
{
    const int64_t begun_us = rh_clock_us();
    for (int64_t pause_us = 50 * 1000; rh_clock_us() - begun_us < TRY_FOR_US;
         pause_us = pause_us < 800 * 1000 ? pause_us * 2 : pause_us) {
        bool left = false;
        for (size_t i = 0; i < keeper->engine->routes.count; i++) {
            struct crossing *crossing = &keeper->crossings[i];
            struct route_run *run = &keeper->engine->routes.runs[i];
            struct rh_error why = {0};
            struct rh_ctx ctx = {.err = &why};
            enum rh_route_stand stand;
            if (!crossing->armed || crossing->settled)
                continue;
            crossing->settled = run->block->driver->undo(&ctx, run->route, crossing->state, &stand) == RH_OK;
            left = left || !crossing->settled;
        }
        release_settled(keeper);
        if (!left)
            return;
        rh_sleep_us(pause_us);
    }
}

/* Notes in the journal what was opened, unless the next run has it already: that one looks for itself. */
static void note_opening(struct keeper *keeper, const struct opening *opening, const char *why)
{
    const struct fence_run *run = run_of(keeper, opening->index);
    const struct ward *ward = &keeper->wards[opening->index];
    const char *dir = keeper->engine->plan->state_dir;
    const int64_t until = rh_clock_us() + JOURNAL_FOR_US;
    struct rh_journal *journal = NULL;
    rh_auto_buf struct rh_buf epoch = RH_BUF_INIT;
    char by[128];
    if (!opening->done || opening->outcome == RH_FENCE_TAKEN)
        return;
    while (rh_journal_open(dir, keeper->journal, 0, &journal, NULL) != RH_OK && rh_clock_us() < until)
        rh_sleep_us(20 * 1000);
    if (!journal)
        return;
    enum rh_status status =
        rh_journal_get(journal, run->move->plan->name, fence_fact(run->number, "epoch").name, &epoch, NULL);
    /* the journal may speak of a later closing by now; one without an epoch was cut off in its middle */
    const bool ours = status == RH_NOT_FOUND || (status == RH_OK && strcmp(rh_buf_cstr(&epoch), ward->epoch) == 0);
    snprintf(by, sizeof by, "guardian: rehome %s; it %s", why, fence_outcome_words(opening->outcome));
    if (opening->outcome == RH_FENCE_OPENED)
        snprintf(by, sizeof by, "guardian, since rehome %s", why);
    if (ours)
        rh_ignore(fence_put_opened(journal, run->move->plan->name, run->number, by,
                                   opening->opened_utc_us - ward->closed_utc_us, NULL)); /* the next run looks itself */
    rh_journal_close(journal);
}

/* A process of its own: no terminal, no signals for us, none of the descriptors that we were given. */
static void settle_down(struct keeper *keeper)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGUSR1, SIGUSR2};
    (void)setsid();
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        (void)signal(ignored[i], SIG_IGN);
    (void)prctl(PR_SET_NAME, "rehome-guardian", 0, 0, 0);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        (void)dup2(null, fd);
    for (int fd = 3; fd < 1024; fd++)
        if (fd != keeper->socket && fd != keeper->parent)
            (void)close(fd);
#ifdef RH_TEST_HOOKS
    (void)unsetenv("RH_CRASH_AT"); /* they are meant for the engine */
    (void)unsetenv("RH_STOP_AT");
#endif
}

static void guardian_main(struct keeper *keeper) __attribute__((noreturn));
static void guardian_main(struct keeper *keeper)
{
    settle_down(keeper);
    const char *why = watch_engine(keeper);
    end_engine(keeper);
    const pid_t router = fork();
    if (router == 0) {
        settle_routes(keeper);
        _exit(0);
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        ends[0] = ends[1] = -1;
    const size_t started = open_all(keeper, ends[1]);
    (void)close(ends[1]);
    struct opening opening;
    for (size_t i = 0; i < started && read(ends[0], &opening, sizeof opening) == (ssize_t)sizeof opening; i++)
        note_opening(keeper, &opening, why);
    if (router < 0) /* without a process for it, here */
        settle_routes(keeper);
    _exit(0);
}

/* Forks; the child doesn't return. */
static enum rh_status fork_guardian(struct keeper *keeper, struct guardian *guardian, struct rh_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return rh_fail_errno(err, errno, "making the guardian's socket");
    keeper->socket = pair[1];
    keeper->parent = pidfd_open(getpid(), 0);
    guardian->pid = keeper->parent < 0 ? -1 : fork();
    if (guardian->pid == 0) {
        close(pair[0]);
        guardian_main(keeper);
    }
    const int failed = errno;
    close(pair[1]);
    if (keeper->parent >= 0)
        close(keeper->parent);
    guardian->socket = pair[0];
    guardian->pid_fd = guardian->pid > 0 ? pidfd_open(guardian->pid, 0) : -1;
    if (guardian->pid_fd >= 0)
        return RH_OK;
    close(pair[0]);
    return rh_fail_errno(err, failed, "starting the guardian");
}

enum rh_status guardian_start(struct rh_engine *engine, struct guardian **ret_guardian, struct rh_error *err)
{
    struct guardian *guardian = calloc(1, sizeof *guardian);
    struct keeper *keeper = calloc(1, sizeof *keeper);
    enum rh_status status = guardian && keeper ? RH_OK : rh_fail_memory(err);
    if (status == RH_OK) {
        keeper->engine = engine;
        status = fork_guardian(keeper, guardian, err);
    }
    free(keeper);
    if (status != RH_OK) {
        free(guardian);
        return status;
    }
    *ret_guardian = guardian;
    return RH_OK;
}
