/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a component wants of its host: a registry in which it finds services by name. Found are its own, those it adds
 * while it starts, and the registry's. Nothing of a server is there.
 */
#ifndef REHOME_KEYRING_HOST_REGISTRY_H
#define REHOME_KEYRING_HOST_REGISTRY_H

#include <stdbool.h>

/* The interface's own tables; each list ends with a name of NULL. */
struct provided {
    const char *name; /* "service.implementation" */
    void *table;
};
struct required {
    const char *name; /* "service" or "service.implementation" */
    void **place;
};
struct component {
    const char *name;
    const struct provided *provides;
    const struct required *requires_;
    const void *metadata;
    int (*init)(void);
    int (*deinit)(void);
};

void registry_begin(const struct component *component);
/* Whether a required service can be given. */
bool registry_knows(const char *name);
/* Writes each required service's place. */
void registry_fill(const struct component *component);
/* A service of the component's own; NULL: it has none of that name. */
const void *registry_own(const char *service);

#endif
