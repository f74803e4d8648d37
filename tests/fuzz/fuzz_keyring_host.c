/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides of the socket between rehome and rehome-keyring-host, each with any bytes from the other. The first byte
 * says which: what rehome makes of a child's answers, or what the child makes of requests, with a component of three
 * keys behind it. Whatever is a message must come out as the same bytes; whatever the child answers must be messages.
 */
#include "client.h"
#include "library.h"
#include "serve.h"

#include <rehome/base.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MOST = 64 * 1024, SOCKET_BYTES = 8 * 1024 * 1024 };

/* Ends the run: something is wrong that no input may bring about. */
static void must(bool right, const char *what)
{
    if (right)
        return;
    (void)fprintf(stderr, "fuzz_keyring_host: %s\n", what);
    abort();
}

/* --- a component without a library, in the place of library.c --- */

bool library_open(const char *path, const char *component_dir, const char *instance, struct library_words *why)
{
    must(path && component_dir && (!instance || instance[0]), "opened without a path");
    (void)snprintf(why->text, sizeof why->text, "no");
    return path[0] != 'x';
}

const char *library_name(void)
{
    return "component_fuzzed";
}

bool library_writes(void)
{
    return true;
}

bool library_facts(bool (*add)(void *user, const char *name, const char *value), void *user, struct library_words *why)
{
    (void)why;
    return add(user, "Data_file", "/nowhere");
}

static const struct library_key some_key = {
    .owner = {(const uint8_t *)"o",      1},
    .id = {(const uint8_t *)"id",     2},
    .type = {(const uint8_t *)"AES",    3},
    .data = {(const uint8_t *)"\0\xff", 2}
};

bool library_read(bool (*add)(void *user, const struct library_key *key), void *user, struct library_words *why)
{
    (void)why;
    return add(user, &some_key) && add(user, &some_key) && add(user, &some_key);
}

bool library_fetch(
    const char *owner, const char *id, struct library_key *ret_key, bool *ret_there, struct library_words *why)
{
    must(owner && id, "asked for a key without a name");
    (void)snprintf(why->text, sizeof why->text, "no");
    *ret_there = id[0] != 'n';
    *ret_key = some_key;
    return id[0] != 'f';
}

bool library_store(const char *owner, const char *id, const char *type, struct rh_bytes data, struct library_words *why)
{
    must(owner && id && type && data.size <= WIRE_DATA_MOST, "told to store what is none");
    (void)why;
    return true;
}

bool library_remove(const char *owner, const char *id, struct library_words *why)
{
    must(owner && id, "told to remove a key without a name");
    (void)snprintf(why->text, sizeof why->text, "no");
    return false;
}

bool library_close(struct library_words *why)
{
    (void)why;
    return true;
}

/* --- messages --- */

/* Every message of the bytes, made again from what was read, is the same. Gives how many bytes were messages. */
static size_t remake_all(struct rh_bytes bytes, bool from_host)
{
    static uint8_t room[2 * WIRE_MESSAGE_MOST];
    size_t at = 0;
    for (;;) {
        struct wire_message message;
        size_t used = 0;
        if (wire_read(rh_bytes(bytes.data + at, bytes.size - at), from_host, &message, &used) != RH_OK)
            return at;
        struct wire_buffer out = {.data = room, .capacity = sizeof room};
        must(used > 0 && used <= bytes.size - at, "a message of more bytes than there are");
        must(wire_add(&out, &message), "a message that can't be written");
        must(out.size == used && memcmp(room, bytes.data + at, used) == 0, "a message that is another one");
        at += used;
    }
}

/* A socket that has these bytes, and then its end. */
static int socket_with(struct rh_bytes bytes, int *ret_other)
{
    int ends[2];
    const int room = SOCKET_BYTES;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no sockets");
    for (int i = 0; i < 2; i++)
        (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    must(rh_write_all(ends[1], bytes, NULL) == RH_OK && shutdown(ends[1], SHUT_WR) == 0, "no room in a socket");
    *ret_other = ends[1];
    return ends[0];
}

/* What rehome makes of answers. */
static void try_client(struct rh_bytes bytes, bool reading)
{
    static char name[] = "component_fuzzed";
    const struct component_library library = {.name = name, .answer_us = 1000000};
    struct component_child *child = NULL;
    struct rh_error err = {0};
    const struct rh_ctx ctx = {.err = &err};
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT;
    struct rh_arena arena = {.secret = true};
    struct keyring_entry entry = {.key = rh_bytes("\0\1oid", 5)};
    int other = -1;
    const int fd = socket_with(bytes, &other);
    must(component_adopt(&library, fd, &child, &err) == RH_OK, "no child");
    enum rh_status status =
        reading ? component_read(&ctx, child, &set) : component_fetch(&ctx, child, entry.key, &arena, &entry);
    must(!rh_failed(status) || err.text[0], "a failure without words");
    for (const char *at = err.text; *at; at++)
        must((uint8_t)*at >= 0x20, "words with control characters");
    if (status == RH_OK && reading)
        rh_ignore(keyring_set_sort(&set, &err)); /* any keys */
    component_free(child);
    rh_arena_done(&arena);
    close(other);
}

/* What the child makes of requests. */
static void try_host(struct rh_bytes bytes)
{
    static uint8_t answers[SOCKET_BYTES];
    int other = -1;
    int fd = socket_with(bytes, &other);
    (void)serve(fd);
    must(shutdown(fd, SHUT_WR) == 0, "no end");
    size_t size = 0;
    for (ssize_t got; size < sizeof answers && (got = read(other, answers + size, sizeof answers - size)) > 0;)
        size += (size_t)got;
    must(remake_all(rh_bytes(answers, size), true) == size, "an answer that is none");
    close(fd);
    close(other);
}

/* An OPEN asks for its parent's number: ours stands in the place of PPID. */
static void put_parent(uint8_t *data, size_t size)
{
    static const uint8_t mark[] = {'P', 'P', 'I', 'D'};
    uint8_t *found = size >= sizeof mark ? memmem(data, size, mark, sizeof mark) : NULL;
    const uint32_t parent = (uint32_t)getppid();
    for (int i = 0; found && i < 4; i++)
        found[i] = (uint8_t)(parent >> (24 - 8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (size < 1 || size > INPUT_MOST)
        return 0;
    uint8_t *copy = malloc(size);
    must(copy, "no memory");
    memcpy(copy, data, size);
    if (data[0] & 1)
        put_parent(copy, size);
    const struct rh_bytes bytes = rh_bytes(copy + 1, size - 1);
    (void)remake_all(bytes, !(data[0] & 1));
    if (data[0] & 1)
        try_host(bytes);
    else
        try_client(bytes, data[0] & 2);
    free(copy);
    return 0;
}
