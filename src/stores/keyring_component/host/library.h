/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A MySQL keyring component, loaded without a server: the part of the component interface that it needs from its host,
 * and the services by which its keys are read and written. One library a process, since a component's state is global.
 * Failures are said in words, never with a key's bytes. Threads: one.
 *
 * Knowledge: MySQL 8.0.24 to 9.7, include/mysql/components (service.h, component_implementation.h, services/registry.h,
 * dynamic_loader.h, keyring_*.h); its tables are plain C and keep their layout once published.
 */
#ifndef REHOME_KEYRING_HOST_LIBRARY_H
#define REHOME_KEYRING_HOST_LIBRARY_H

#include "wire.h"

/* What went wrong, or empty. Bytes that come from the library stand in it as they are. */
struct library_words {
    char text[WIRE_WORDS_MOST + 1];
};

/* Loads the library, refuses what wants services that it won't find, before its init is called; then lets it read its
 * configuration. `instance` may be NULL. */
bool library_open(const char *path, const char *component_dir, const char *instance, struct library_words *why);
/* Whether it has the service by which keys are written. */
bool library_writes(void);
/* The component's own name; NULL before it is open. */
const char *library_name(void);
/* What the component says of itself, row by row; `add` returns false to stop. */
bool library_facts(bool (*add)(void *user, const char *name, const char *value), void *user, struct library_words *why);

/* A key; what it points to is in memory of the library's, until the next call. */
struct library_key {
    struct rh_bytes owner, id, type, data;
};
/* Every key. */
bool library_read(bool (*add)(void *user, const struct library_key *key), void *user, struct library_words *why);
/* Names are texts with a NUL behind them. *ret_there: whether there is one. */
bool library_fetch(
    const char *owner, const char *id, struct library_key *ret_key, bool *ret_there, struct library_words *why);
bool library_store(
    const char *owner, const char *id, const char *type, struct rh_bytes data, struct library_words *why);
bool library_remove(const char *owner, const char *id, struct library_words *why);
/* The component's own end. */
bool library_close(struct library_words *why);

#endif
