/* SPDX-License-Identifier: Apache-2.0 */
/* The child process of a component: spawning it, asking it, ending it. */
#include "client.h"

#include <rehome/base.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_MS = 100,                      /* how often a waiting call looks whether it was cancelled */
    PRINTS_MOST = 16 * 1024 * 1024,     /* a library that prints more is ended */
    READS_MOST = 2 * KEYRING_FILE_MOST, /* bytes of all keys */
    END_US = 5 * 1000 * 1000,           /* for a child that was told to end */
    FIRST_FREE = 16,                    /* descriptors are moved from here up before the child's are put in place */
};

struct component_child {
    const struct component_library *library;
    pid_t pid; /* 0: reaped */
    int status;
    int socket, prints[2]; /* -1: closed; standard output, standard error */
    struct component_log logs[2];
    struct rh_arena arena; /* of the buffers; secret */
    struct wire_buffer in, out;
    struct component_facts facts;
    bool on_copy; /* it may be killed at any instruction */
};

const struct component_facts *component_facts(const struct component_child *child)
{
    return &child->facts;
}

/* --- its program --- */

enum rh_status component_host_path(char out[static 512], struct rh_error *err)
{
    static const char name[] = "rehome-keyring-host", installed[] = RH_LIBEXEC_DIR "/rehome-keyring-host";
    char own[400];
    const ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
    own[size > 0 ? size : 0] = '\0';
    char *slash = strrchr(own, '/');
    if (slash) {
        slash[1] = '\0';
        (void)snprintf(out, 512, "%s%s", own, name);
        if (access(out, X_OK) == 0)
            return RH_OK;
    }
    _Static_assert(sizeof installed <= 512, "fits");
    memcpy(out, installed, sizeof installed);
    if (access(out, X_OK) == 0)
        return RH_OK;
    rh_fail(err, RH_E_IO, "the program '%s', in which components are loaded, isn't there", RH_SHOW(rh_bytes_text(out)));
    rh_error_hint(err, "install rehome with 'meson install', or name the program by 'host_program'");
    return RH_E_IO;
}

/* --- its end --- */

/* Waits for its death, up to `wait_us`. */
static bool reap(struct component_child *child, int64_t wait_us)
{
    const int64_t until = rh_clock_us() + wait_us;
    for (int64_t nap = 200; child->pid > 0; nap = nap < 20000 ? nap * 2 : nap) {
        const pid_t got = waitpid(child->pid, &child->status, WNOHANG);
        if (got == child->pid || (got < 0 && errno == ECHILD))
            child->pid = 0;
        else if (rh_clock_us() >= until)
            return false;
        else
            rh_sleep_us(nap);
    }
    return true;
}

void component_free(struct component_child *child)
{
    if (!child)
        return;
    /* one that writes in place may end what it is at, and then finds the socket closed */
    rh_auto_fd_(&child->socket);
    child->socket = -1;
    if (!child->on_copy)
        (void)reap(child, END_US);
    if (child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        while (child->pid > 0 && waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
            ;
    }
    rh_auto_fd_(&child->prints[0]);
    rh_auto_fd_(&child->prints[1]);
    rh_arena_done(&child->arena);
    free(child);
}

/* --- what it prints --- */

/* Takes what it printed; a pipe whose other end is gone is closed. */
static void take_prints(struct component_child *child, int which)
{
    char text[4096];
    while (child->prints[which] >= 0) {
        const ssize_t got = read(child->prints[which], text, sizeof text);
        if (got > 0)
            component_log_add(&child->logs[which], text, (size_t)got);
        else if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        else {
            close(child->prints[which]);
            child->prints[which] = -1;
        }
    }
}

/* The component's name and its own words, put around what went wrong. */
static enum rh_status blame(struct component_child *child, struct rh_error *err)
{
    char words[300] = "";
    take_prints(child, 0);
    take_prints(child, 1);
    component_log_errors(&child->logs[child->logs[0].size ? 0 : 1], words, sizeof words);
    const struct rh_error why = err ? *err : (struct rh_error){.status = RH_E_STORE};
    rh_fail(err, why.status, "component '%s': %s%s%s%s", RH_SHOW(rh_bytes_text(child->library->name)), why.text,
            words[0] ? "; it printed '" : "", words, words[0] ? "'" : "");
    if (err) {
        memcpy(err->hint, why.hint, sizeof err->hint);
        err->native = why.native;
    }
    return why.status;
}

static const char *signal_words(int number)
{
    const char *words = sigdescr_np(number);
    return words ? words : "unknown";
}

/* It is gone, or says no more: why. */
static enum rh_status fail_gone(struct component_child *child, const char *doing, struct rh_error *err)
{
    if (!reap(child, 1000000))
        rh_fail(err, RH_E_STORE, "%s: its process says no more", doing);
    else if (WIFSIGNALED(child->status))
        rh_fail(err, RH_E_STORE, "%s: its library crashed (signal %d, %s)", doing, WTERMSIG(child->status),
                signal_words(WTERMSIG(child->status)));
    else
        rh_fail(err, RH_E_STORE, "%s: its process ended by itself, with status %d", doing, WEXITSTATUS(child->status));
    return blame(child, err);
}

/* --- asking --- */

/* One look at the descriptors; new bytes are taken, waiting ones sent. RH_END: it closed the socket. */
static enum rh_status move_bytes(struct component_child *child, struct rh_error *err)
{
    struct pollfd fds[3] = {
        {.fd = child->socket,    .events = (short)(POLLIN | (child->out.size ? POLLOUT : 0))},
        {.fd = child->prints[0], .events = POLLIN                                           },
        {.fd = child->prints[1], .events = POLLIN                                           },
    };
    if (poll(fds, 3, TICK_MS) < 0 && errno != EINTR)
        return rh_fail_errno(err, errno, "waiting for it");
    take_prints(child, 0);
    take_prints(child, 1);
    if (child->logs[0].seen + child->logs[1].seen > PRINTS_MOST)
        return rh_fail(err, RH_E_STORE, "its library prints without end");
    if (child->out.size && (fds[0].revents & POLLOUT)) {
        const ssize_t sent = send(child->socket, child->out.data, child->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            wire_drop(&child->out, (size_t)sent);
    }
    if (!(fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
        return RH_OK;
    const ssize_t got =
        recv(child->socket, child->in.data + child->in.size, child->in.capacity - child->in.size, MSG_DONTWAIT);
    if (got > 0)
        child->in.size += (size_t)got;
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) ? RH_END : RH_OK;
}

/* A question under way: what takes its answers. */
struct question {
    const char *doing; /* for messages */
    /* One message; RH_OK: more is to come, RH_END: that was the last. Any other status has its words. */
    enum rh_status (*take)(struct question *question, const struct wire_message *message, struct rh_error *err);
    struct component_child *child;
    struct keyring_set *set;
    struct rh_arena *arena;
    struct keyring_entry *entry;
    size_t count, bytes;
    enum rh_status outcome;
};

/* What a failure says comes from the library. */
static enum rh_status
take_failed(const struct question *question, const struct wire_message *message, struct rh_error *err)
{
    char words[WIRE_WORDS_MOST + 100];
    rh_show(message->parts[0], words, sizeof words);
    return rh_fail(err, RH_E_STORE, "%s: %s", question->doing, words);
}

/* All whole messages that have come. RH_END: the last of the question's answers was among them. */
static enum rh_status take_messages(struct component_child *child, struct question *question, struct rh_error *err)
{
    size_t at = 0, used = 0;
    enum rh_status status = RH_OK;
    while (status == RH_OK) {
        struct wire_message message;
        status = wire_read(rh_bytes(child->in.data + at, child->in.size - at), true, &message, &used);
        if (status == RH_END) {
            status = RH_OK;
            break;
        }
        if (status != RH_OK) {
            rh_fail(err, RH_E_STORE, "%s: its process sends something that is no answer", question->doing);
            status = RH_E_STORE;
        } else if (message.kind == WIRE_FAILED)
            status = take_failed(question, &message, err);
        else
            status = question->take(question, &message, err);
        at += used;
        used = 0;
    }
    if (status == RH_END && at < child->in.size)
        status = rh_fail(err, RH_E_STORE, "%s: its process says more than it was asked", question->doing);
    wire_drop(&child->in, at);
    return status;
}

/* Asks, and takes the answers until the last. */
static enum rh_status ask(const struct rh_ctx *ctx,
                          struct component_child *child,
                          const struct wire_message *request,
                          struct question *question)
{
    question->child = child;
    if (!wire_add(&child->out, request))
        return rh_fail(ctx->err, RH_E_LIMIT, "%s: it is too large for a component", question->doing);
    int64_t heard = rh_clock_us();
    enum rh_status status = RH_OK;
    while (status == RH_OK) {
        const size_t before = child->in.size;
        status = rh_ctx_check(ctx);
        if (status != RH_OK)
            return status;
        const enum rh_status moved = move_bytes(child, ctx->err);
        if (child->in.size > before)
            heard = rh_clock_us();
        else if (moved == RH_OK && rh_clock_us() - heard > child->library->answer_us) {
            rh_fail(ctx->err, RH_E_TIMEOUT, "%s: its library gives no answer for %s", question->doing,
                    rh_words_duration(child->library->answer_us).text);
            return blame(child, ctx->err);
        }
        if (rh_failed(moved))
            return blame(child, ctx->err);
        status = take_messages(child, question, ctx->err);
        if (status == RH_OK && moved == RH_END)
            return fail_gone(child, question->doing, ctx->err);
    }
    return status == RH_END ? RH_OK : blame(child, ctx->err);
}

/* An answer of another kind than the question has. */
static enum rh_status fail_kind(const struct question *question, struct rh_error *err)
{
    return rh_fail(err, RH_E_STORE, "%s: its process answers another question", question->doing);
}

/* --- starting --- */

/* Of the environment only what a library needs to find its way; what we were given as a secret isn't among it. */
static size_t take_environment(char **out, size_t most)
{
    static const char *const names[] = {
        "PATH",         "HOME",         "LANG",         "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
        "OPENSSL_CONF", "SSL_CERT_DIR", "SSL_CERT_FILE"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && count + 1 < most; i++) {
        const size_t size = strlen(names[i]);
        for (char **one = environ; *one; one++)
            if (strncmp(*one, names[i], size) == 0 && (*one)[size] == '=')
                out[count++] = *one;
    }
    out[count] = NULL;
    return count;
}

/* Where each of the child's descriptors comes from, by its number there. */
struct places {
    int from[WIRE_FOLDER + 1]; /* -1: none */
};

/* Puts the descriptors in place and starts the program. */
static int
spawn(const struct component_library *library, const char *program, const struct places *places, pid_t *ret_pid)
{
    char *environment[16];
    const char *argv[5] = {program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    if (library->loader) {
        size_t at = 0;
        argv[at++] = library->loader;
        if (library->library_path) {
            argv[at++] = "--library-path";
            argv[at++] = library->library_path;
        }
        argv[at++] = program;
        argv[at] = NULL;
    }
    (void)take_environment(environment, sizeof environment / sizeof environment[0]);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int failed = 0, last = 0;
    for (int i = 0; !failed && i <= WIRE_FOLDER; i++)
        if (places->from[i] >= 0) {
            failed = posix_spawn_file_actions_adddup2(&actions, places->from[i], i);
            last = i;
        }
    if (!failed)
        failed = posix_spawn_file_actions_addclosefrom_np(&actions, last + 1);
    if (!failed)
        failed = posix_spawnattr_setflags(&attributes,
                                          (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID));
    if (!failed)
        failed = posix_spawnattr_setsigmask(&attributes, &none);
    if (!failed)
        failed = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!failed)
        failed = posix_spawn(ret_pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

/* The child's ends of socket and pipes, out of the way of the numbers that they get there. */
static int move_up(int fd)
{
    const int moved = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE) : -1;
    if (fd >= 0)
        close(fd);
    return moved;
}

/* Makes socket and pipes and starts the program with their other ends. */
static enum rh_status
start_process(struct component_child *child, const char *program, int file, int folder, struct rh_error *err)
{
    struct places places = {
        .from = {-1, -1, -1, -1, -1}
    };
    int ends[3][2] = {
        {-1, -1},
        {-1, -1},
        {-1, -1}
    };
    int failed = 0;
    if (pipe2(ends[0], O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(ends[1], O_CLOEXEC | O_NONBLOCK) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[2]) != 0)
        failed = errno;
    child->prints[0] = move_up(ends[0][0]);
    child->prints[1] = move_up(ends[1][0]);
    child->socket = move_up(ends[2][0]);
    places.from[0] = move_up(open("/dev/null", O_RDONLY | O_CLOEXEC));
    places.from[1] = move_up(ends[0][1]);
    places.from[2] = move_up(ends[1][1]);
    places.from[WIRE_SOCKET] = move_up(ends[2][1]);
    places.from[WIRE_FILE] = file >= 0 ? fcntl(file, F_DUPFD_CLOEXEC, FIRST_FREE) : -1;
    places.from[WIRE_FOLDER] = folder >= 0 ? fcntl(folder, F_DUPFD_CLOEXEC, FIRST_FREE) : -1;
    for (int i = 0; !failed && i <= WIRE_FOLDER; i++)
        if (places.from[i] < 0 && (i != WIRE_FILE || file >= 0) && (i != WIRE_FOLDER || folder >= 0))
            failed = EMFILE;
    /* only our own ends may be without blocking: the library's prints aren't to be lost */
    if (!failed && (fcntl(places.from[1], F_SETFL, 0) != 0 || fcntl(places.from[2], F_SETFL, 0) != 0))
        failed = errno;
    if (!failed)
        failed = spawn(child->library, program, &places, &child->pid);
    for (int i = 0; i <= WIRE_FOLDER; i++)
        rh_auto_fd_(&places.from[i]);
    return failed ? rh_fail_errno(err, failed, "starting '%s'",
                                  RH_SHOW(rh_bytes_text(child->library->loader ? child->library->loader : program)))
                  : RH_OK;
}

/* Keeps one row of what the component says of itself. */
static void take_fact(struct component_facts *facts, struct rh_bytes name, struct rh_bytes value)
{
    static const struct {
        const char *name;
        size_t offset, size;
    } kept[] = {
        {"Data_file",           offsetof(struct component_facts, data_file), sizeof facts->data_file},
        {"Version",             offsetof(struct component_facts, version),   sizeof facts->version  },
        {"Implementation_name", offsetof(struct component_facts, product),   sizeof facts->product  },
    };
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        char *out = (char *)facts + kept[i].offset;
        if (rh_bytes_equal(name, rh_bytes_text(kept[i].name)) && value.size < kept[i].size) {
            if (value.size)
                memcpy(out, value.data, value.size);
            out[value.size] = '\0';
        }
    }
    const size_t at = strlen(facts->all);
    if (!rh_bytes_equal(name, rh_bytes_text("Component_status")))
        (void)snprintf(facts->all + at, sizeof facts->all - at, "%s%s=%s", at ? " " : "", RH_SHOW(name),
                       RH_SHOW(value));
}

static enum rh_status take_opening(struct question *question, const struct wire_message *message, struct rh_error *err)
{
    if (message->kind == WIRE_FACT) {
        take_fact(&question->child->facts, message->parts[0], message->parts[1]);
        return RH_OK;
    }
    if (message->kind != WIRE_OPENED)
        return fail_kind(question, err);
    question->child->facts.known = true;
    question->child->facts.writes = message->number == 1;
    return RH_END;
}

/* Room for messages, in memory for secrets. */
static enum rh_status make_buffers(struct component_child *child, struct rh_error *err)
{
    struct wire_buffer *const buffers[] = {&child->in, &child->out};
    child->arena.secret = true;
    for (size_t i = 0; i < 2; i++) {
        const size_t size = 2 * WIRE_MESSAGE_MOST;
        *buffers[i] = (struct wire_buffer){.data = rh_arena_get(&child->arena, size), .capacity = size};
        if (!buffers[i]->data)
            return rh_fail_memory(err);
    }
    return RH_OK;
}

enum rh_status component_adopt(const struct component_library *library,
                               int fd,
                               struct component_child **ret_child,
                               struct rh_error *err)
{
    component_auto_child struct component_child *child = calloc(1, sizeof *child);
    if (!child) {
        rh_auto_fd_(&fd);
        return rh_fail_memory(err);
    }
    child->library = library;
    child->socket = fd;
    child->prints[0] = child->prints[1] = -1;
    enum rh_status status = make_buffers(child, err);
    if (status == RH_OK)
        *ret_child = rh_take(child);
    return status;
}

enum rh_status component_start(const struct rh_ctx *ctx,
                               const struct component_library *library,
                               const char *config,
                               const char *instance,
                               int file,
                               int folder,
                               struct component_child **ret_child)
{
    component_auto_child struct component_child *child = NULL;
    char program[512];
    enum rh_status status = component_adopt(library, -1, &child, ctx->err);
    if (status == RH_OK && library->host_program)
        (void)snprintf(program, sizeof program, "%s", library->host_program);
    else if (status == RH_OK)
        status = component_host_path(program, ctx->err);
    if (status == RH_OK)
        status = start_process(child, program, file, folder, ctx->err);
    if (child)
        child->on_copy = folder >= 0;
    if (status != RH_OK)
        return status;
    const uint32_t pid = (uint32_t)getpid();
    const uint8_t parent[] = {(uint8_t)(pid >> 24), (uint8_t)(pid >> 16), (uint8_t)(pid >> 8), (uint8_t)pid};
    const struct wire_message request = {
        .kind = WIRE_OPEN,
        .number = WIRE_VERSION,
        .parts = {rh_bytes_text(library->library), rh_bytes_text(config), rh_bytes_text(instance ? instance : ""),
                  rh_bytes(parent, sizeof parent)},
    };
    struct question question = {.doing = "loading it", .take = take_opening};
    status = ask(ctx, child, &request, &question);
    if (status == RH_OK)
        *ret_child = rh_take(child);
    return status;
}

/* --- keys --- */

/* A key's type and bytes in the arena. */
static enum rh_status keep_key(const struct wire_message *message,
                               struct rh_arena *arena,
                               struct rh_bytes *ret_type,
                               struct rh_bytes *ret_data,
                               struct rh_error *err)
{
    *ret_type = rh_arena_copy(arena, message->parts[2]);
    *ret_data = rh_arena_copy(arena, message->parts[3]);
    return ret_type->data && ret_data->data ? RH_OK : rh_fail_memory(err);
}

static enum rh_status take_key(struct question *question, const struct wire_message *message, struct rh_error *err)
{
    struct rh_bytes type, data;
    if (message->kind == WIRE_DONE)
        return message->number == question->count ? RH_END : fail_kind(question, err);
    if (message->kind != WIRE_KEY)
        return fail_kind(question, err);
    question->count++;
    for (size_t i = 0; i < WIRE_PARTS_MOST; i++)
        question->bytes += message->parts[i].size;
    if (question->bytes > READS_MOST)
        return rh_fail(err, RH_E_LIMIT, "%s: they have more than %s", question->doing, rh_words_bytes(READS_MOST).text);
    enum rh_status status = keep_key(message, &question->set->arena, &type, &data, err);
    return status == RH_OK ? keyring_set_add(question->set, message->parts[0], message->parts[1], type, data, err)
                           : status;
}

enum rh_status component_read(const struct rh_ctx *ctx, struct component_child *child, struct keyring_set *set)
{
    const struct wire_message request = {.kind = WIRE_READ};
    struct question question = {.doing = "reading its keys", .take = take_key, .set = set};
    return ask(ctx, child, &request, &question);
}

static enum rh_status take_fetched(struct question *question, const struct wire_message *message, struct rh_error *err)
{
    question->outcome = message->kind == WIRE_ABSENT ? RH_NOT_FOUND : RH_OK;
    if (message->kind == WIRE_ABSENT)
        return RH_END;
    if (message->kind != WIRE_KEY)
        return fail_kind(question, err);
    enum rh_status status = keep_key(message, question->arena, &question->entry->type, &question->entry->data, err);
    return status == RH_OK ? RH_END : status;
}

static enum rh_status take_done(struct question *question, const struct wire_message *message, struct rh_error *err)
{
    return message->kind == WIRE_DONE ? RH_END : fail_kind(question, err);
}

/* A request about one key; its name is in `doing`. */
static enum rh_status ask_key(const struct rh_ctx *ctx,
                              struct component_child *child,
                              enum wire_kind kind,
                              const struct keyring_entry *entry,
                              struct question *question)
{
    struct wire_message request = {.kind = kind};
    char doing[sizeof(struct rh_key_shown) + 32];
    if (rh_keyring_key_split(entry->key, &request.parts[0], &request.parts[1]) != RH_OK)
        return rh_fail(ctx->err, RH_E_INTERNAL, "asking a component for something that isn't a key's name");
    if (kind == WIRE_STORE) {
        request.parts[2] = entry->type;
        request.parts[3] = entry->data;
    }
    (void)snprintf(doing, sizeof doing, "%s key %s",
                   kind == WIRE_FETCH   ? "looking up"
                   : kind == WIRE_STORE ? "storing"
                                        : "removing",
                   RH_SHOW_KEY(entry->key));
    question->doing = doing;
    enum rh_status status = ask(ctx, child, &request, question);
    question->doing = NULL;
    return status;
}

enum rh_status component_fetch(const struct rh_ctx *ctx,
                               struct component_child *child,
                               struct rh_bytes key,
                               struct rh_arena *arena,
                               struct keyring_entry *ret_entry)
{
    struct keyring_entry entry = {.key = key};
    struct question question = {.take = take_fetched, .arena = arena, .entry = &entry};
    enum rh_status status = ask_key(ctx, child, WIRE_FETCH, &entry, &question);
    if (status == RH_OK && question.outcome == RH_OK)
        *ret_entry = entry;
    return status == RH_OK ? question.outcome : status;
}

enum rh_status
component_store(const struct rh_ctx *ctx, struct component_child *child, const struct keyring_entry *entry)
{
    struct question question = {.take = take_done};
    return ask_key(ctx, child, WIRE_STORE, entry, &question);
}

enum rh_status component_remove(const struct rh_ctx *ctx, struct component_child *child, struct rh_bytes key)
{
    const struct keyring_entry entry = {.key = key};
    struct question question = {.take = take_done};
    return ask_key(ctx, child, WIRE_REMOVE, &entry, &question);
}

/* --- ending --- */

/* A line that isn't of a log means that the library does something that we know nothing of. */
static enum rh_status check_noise(struct component_child *child, struct rh_error *err)
{
    struct rh_bytes line;
    if (!component_log_noise(&child->logs[0], &line))
        return RH_OK;
    return rh_fail(err, RH_E_STORE, "component '%s' writes to its standard output what is no log line: '%s'",
                   RH_SHOW(rh_bytes_text(child->library->name)), RH_SHOW(line));
}

enum rh_status component_stop(const struct rh_ctx *ctx, struct component_child *child)
{
    const struct wire_message request = {.kind = WIRE_CLOSE};
    struct question question = {.doing = "ending it", .take = take_done};
    enum rh_status status = ask(ctx, child, &request, &question);
    if (status != RH_OK)
        return status;
    if (!reap(child, END_US))
        return fail_gone(child, "ending it", ctx->err);
    if (!WIFEXITED(child->status) || WEXITSTATUS(child->status) != 0)
        return fail_gone(child, "ending it", ctx->err);
    take_prints(child, 0);
    take_prints(child, 1);
    return check_noise(child, ctx->err);
}
