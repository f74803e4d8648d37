/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between rehome and rehome-keyring-host, the child process that has a component's library loaded
 * (docs/formats/keyring-host.md). Both sides read the other's bytes through the functions here: neither trusts them.
 *
 *   size   u32be   bytes of what follows, at most WIRE_MESSAGE_MOST
 *   kind   u8
 *   number u32be
 *   parts          as many as the kind has, each u32be length and bytes
 */
#ifndef REHOME_KEYRING_COMPONENT_WIRE_H
#define REHOME_KEYRING_COMPONENT_WIRE_H

#include <rehome/bytes.h>

enum {
    WIRE_VERSION = 1,
    WIRE_PARTS_MOST = 4,
    WIRE_NAME_MOST = 65535, /* an owner or an id */
    WIRE_TYPE_MOST = 255,
    WIRE_DATA_MOST = 64 * 1024,
    WIRE_WORDS_MOST = 800, /* of a failure */
    WIRE_PATH_MOST = 4096,
    WIRE_MESSAGE_MOST = 256 * 1024,
    WIRE_SIZE_BYTES = 4,
    /* Descriptors of the child. */
    WIRE_SOCKET = 3,
    WIRE_FILE = 4,   /* the keystore's file, or the folder that it is written in */
    WIRE_FOLDER = 5, /* the folder with the configuration, if it isn't the server's */
};

enum wire_kind {
    /* to the child */
    WIRE_OPEN =
        1,       /* number: WIRE_VERSION; library, component folder, instance folder or nothing, parent's process id */
    WIRE_READ,   /* all keys */
    WIRE_FETCH,  /* owner, id */
    WIRE_STORE,  /* owner, id, type, data */
    WIRE_REMOVE, /* owner, id */
    WIRE_CLOSE,
    /* from the child */
    WIRE_FACT = 64, /* name, value: one row of what the component says of itself */
    WIRE_OPENED,    /* number: 1 when it can write keys, else 0; the component's name */
    WIRE_KEY,       /* owner, id, type, data */
    WIRE_ABSENT,    /* the key asked for isn't there */
    WIRE_DONE,      /* number: how many keys were sent */
    WIRE_FAILED,    /* words */
};

struct wire_message {
    enum wire_kind kind;
    uint32_t number;
    struct rh_bytes parts[WIRE_PARTS_MOST]; /* borrowed from what was read */
};

/* How many parts a kind has; -1 for none of ours. */
int wire_parts(enum wire_kind kind);
/* The first message of what has come. RH_END: it isn't all there yet. RH_E_CORRUPT: it can't be one. `from_host`: only
 * what the child says, else only what it is told. */
enum rh_status
wire_read(struct rh_bytes bytes, bool from_host, struct wire_message *ret_message, size_t *ret_used) RH_MUST_USE;

/* Bytes on their way, in memory of the owner's. */
struct wire_buffer {
    uint8_t *data;
    size_t size, capacity;
};
/* Appends a message; false when there is no room, or a part is larger than it may be. */
bool wire_add(struct wire_buffer *buffer, const struct wire_message *message) RH_MUST_USE;
/* Takes the first `count` bytes away; what is left behind them is wiped. */
void wire_drop(struct wire_buffer *buffer, size_t count);

#endif
