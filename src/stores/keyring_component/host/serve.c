/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in, answers out. Buffers are locked and wiped; a request's bytes are gone before the next is read. */
#include "serve.h"

#include "library.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct server {
    int fd;
    struct wire_buffer in, out;
    uint32_t sent; /* keys */
    bool broken;   /* the other side is gone */
};

static bool make_buffer(struct wire_buffer *buffer)
{
    const size_t size = 2 * WIRE_MESSAGE_MOST;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    (void)mlock(memory, size); /* best effort */
    (void)madvise(memory, size, MADV_DONTDUMP);
    *buffer = (struct wire_buffer){.data = memory, .capacity = size};
    return true;
}

static void drop_buffer(struct wire_buffer *buffer)
{
    if (!buffer->data)
        return;
    explicit_bzero(buffer->data, buffer->capacity);
    (void)munmap(buffer->data, buffer->capacity);
}

/* Sends what there is. */
static bool flush(struct server *server)
{
    size_t at = 0;
    while (!server->broken && at < server->out.size) {
        const ssize_t done = write(server->fd, server->out.data + at, server->out.size - at);
        if (done > 0)
            at += (size_t)done;
        else if (done < 0 && errno != EINTR)
            server->broken = true;
    }
    wire_drop(&server->out, server->out.size);
    return !server->broken;
}

static bool say(struct server *server, const struct wire_message *message)
{
    if (wire_add(&server->out, message))
        return true;
    return flush(server) && wire_add(&server->out, message);
}

static bool say_failed(struct server *server, const struct library_words *why)
{
    const struct wire_message message = {.kind = WIRE_FAILED, .parts = {rh_bytes_text(why->text)}};
    return say(server, &message);
}

/* --- requests --- */

static bool add_fact(void *user, const char *name, const char *value)
{
    const struct wire_message message = {
        .kind = WIRE_FACT, .parts = {rh_bytes_text(name), rh_bytes_text(value)}
    };
    return say(user, &message);
}

static bool add_key(void *user, const struct library_key *key)
{
    struct server *server = user;
    const struct wire_message message = {
        .kind = WIRE_KEY, .parts = {key->owner, key->id, key->type, key->data}
    };
    server->sent++;
    return say(server, &message);
}

/* A part as a text with a NUL behind it; NULL when it holds one itself. */
static const char *as_text(struct rh_bytes part, char *out)
{
    if (part.size && memchr(part.data, 0, part.size))
        return NULL;
    if (part.size)
        memcpy(out, part.data, part.size);
    out[part.size] = '\0';
    return out;
}

/* Whether the process that asks is our parent still; it may have died before we asked to die with it. */
static bool is_parent(struct rh_bytes part)
{
    struct rh_cursor cur = rh_cursor(part);
    return rh_cursor_u32be(&cur) == (uint32_t)getppid() && rh_cursor_done(&cur);
}

static bool do_open(struct server *server, const struct wire_message *request, bool *ret_opened)
{
    static char path[WIRE_PATH_MOST + 1], folder[WIRE_PATH_MOST + 1], instance[WIRE_PATH_MOST + 1];
    struct library_words why = {""};
    if (request->number != WIRE_VERSION || !is_parent(request->parts[3]))
        return false;
    if (!as_text(request->parts[0], path) || !as_text(request->parts[1], folder) ||
        !as_text(request->parts[2], instance))
        return false;
    if (!library_open(path, folder, instance[0] ? instance : NULL, &why) || !library_facts(add_fact, server, &why))
        return say_failed(server, &why);
    const struct wire_message message = {
        .kind = WIRE_OPENED, .number = library_writes(), .parts = {rh_bytes_text(library_name())}};
    *ret_opened = message.parts[0].size <= WIRE_WORDS_MOST;
    if (*ret_opened)
        return say(server, &message);
    (void)snprintf(why.text, sizeof why.text, "its name is too long");
    return say_failed(server, &why);
}

static bool do_read(struct server *server)
{
    struct library_words why = {""};
    server->sent = 0;
    if (!library_read(add_key, server, &why))
        return !server->broken && say_failed(server, &why);
    const struct wire_message message = {.kind = WIRE_DONE, .number = server->sent};
    return say(server, &message);
}

/* Texts of a request about one key. */
static char request_owner[WIRE_NAME_MOST + 1], request_id[WIRE_NAME_MOST + 1], request_type[WIRE_TYPE_MOST + 1];

/* What is asked for one key. */
static bool do_key(struct server *server, const struct wire_message *request)
{
    struct library_words why = {""};
    struct library_key key;
    bool there = false, right = false;
    const char *owner = as_text(request->parts[0], request_owner), *id = as_text(request->parts[1], request_id);
    if (!owner || !id)
        return false;
    if (request->kind == WIRE_FETCH) {
        right = library_fetch(owner, id, &key, &there, &why);
        if (right && there)
            return add_key(server, &key);
    } else if (request->kind == WIRE_STORE) {
        const char *type = as_text(request->parts[2], request_type);
        if (!type)
            return false;
        right = library_store(owner, id, type, request->parts[3], &why);
    } else
        right = library_remove(owner, id, &why);
    const struct wire_message message = {.kind = request->kind == WIRE_FETCH ? WIRE_ABSENT : WIRE_DONE};
    return right ? say(server, &message) : say_failed(server, &why);
}

/* Everything but open and close needs a library. */
static bool answer(struct server *server, const struct wire_message *request, bool *opened)
{
    if (request->kind == WIRE_OPEN)
        return do_open(server, request, opened);
    if (!*opened)
        return false;
    return request->kind == WIRE_READ ? do_read(server) : do_key(server, request);
}

/* More of what the other side says; false at its end. */
static bool receive(struct server *server)
{
    struct wire_buffer *in = &server->in;
    for (;;) {
        const ssize_t got = read(server->fd, in->data + in->size, in->capacity - in->size);
        if (got > 0) {
            in->size += (size_t)got;
            return true;
        }
        if (got == 0 || errno != EINTR)
            return false;
    }
}

/* Requests until CLOSE, the end, or something that is none. */
static bool run(struct server *server)
{
    bool opened = false;
    for (;;) {
        struct wire_message request;
        size_t used = 0;
        enum rh_status status = wire_read(rh_bytes(server->in.data, server->in.size), false, &request, &used);
        if (status == RH_END) {
            if (!receive(server))
                return false;
            continue;
        }
        if (status != RH_OK)
            return false;
        if (request.kind == WIRE_CLOSE) {
            struct library_words why = {""};
            const struct wire_message done = {.kind = WIRE_DONE};
            return (library_close(&why) ? say(server, &done) : say_failed(server, &why)) && flush(server);
        }
        const bool going_on = answer(server, &request, &opened);
        wire_drop(&server->in, used);
        if (!flush(server) || !going_on)
            return false;
    }
}

int serve(int fd)
{
    struct server server = {.fd = fd};
    const bool right = make_buffer(&server.in) && make_buffer(&server.out) && run(&server);
    drop_buffer(&server.in);
    drop_buffer(&server.out);
    explicit_bzero(request_type, sizeof request_type);
    return right ? 0 : 1;
}
