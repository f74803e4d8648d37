/* SPDX-License-Identifier: Apache-2.0 */
/* Services by name. A name is the service's alone, or with a dot and its implementation's behind. */
#include "registry.h"

#include "logging.h"

#include <stddef.h>
#include <string.h>

struct registry_service {
    int (*acquire)(const char *name, void **ret_service);
    int (*acquire_related)(const char *name, void *service, void **ret_service);
    int (*release)(void *service);
};
struct registration_service {
    int (*add)(const char *name, void *service);
    int (*remove)(const char *name);
    int (*set_default)(const char *name);
};

struct variable_service {
    int (*add)(void *variable);
    int (*remove)(void *variable);
};

enum { ADDED_MOST = 64, NAME_MOST = 256 };

static struct {
    const struct component *component;
    struct {
        char name[NAME_MOST];
        void *service;
    } added[ADDED_MOST];
    size_t added_count;
} registry;

/* Whether a service with a full name is meant by one that may lack the implementation. */
static bool is_meant(const char *full, const char *name)
{
    const size_t size = strlen(name);
    return strncmp(full, name, size) == 0 && (full[size] == '\0' || (full[size] == '.' && !strchr(name, '.')));
}

static void *host_service(const char *name);

static void *own_service(const char *name)
{
    for (const struct provided *one = registry.component->provides; one->name; one++)
        if (is_meant(one->name, name))
            return one->table;
    return NULL;
}

/* 0 for found, as all functions of the interface. */
static int acquire(const char *name, void **ret_service)
{
    if (!name || !ret_service)
        return 1;
    for (size_t i = 0; i < registry.added_count; i++)
        if (is_meant(registry.added[i].name, name)) {
            *ret_service = registry.added[i].service;
            return 0;
        }
    void *found = own_service(name); /* before ours: a component's own log fits its version for certain */
    if (!found)
        found = host_service(name);
    if (!found)
        return 1;
    *ret_service = found;
    return 0;
}

/* A service of the same implementation as another; with one component that is any of that name. */
static int acquire_related(const char *name, void *service, void **ret_service)
{
    (void)service;
    return acquire(name, ret_service);
}

/* Nothing is counted: everything stays as long as the process. */
static int release(void *service)
{
    return service ? 0 : 1;
}

static int add(const char *name, void *service)
{
    const size_t size = name ? strlen(name) + 1 : 0;
    if (size == 0 || size > NAME_MOST || registry.added_count == ADDED_MOST)
        return 1;
    memcpy(registry.added[registry.added_count].name, name, size);
    registry.added[registry.added_count++].service = service;
    return 0;
}

static int take_out(const char *name)
{
    for (size_t i = 0; name && i < registry.added_count; i++)
        if (strcmp(registry.added[i].name, name) == 0) {
            registry.added[i] = registry.added[--registry.added_count];
            return 0;
        }
    return 1;
}

/* There is no other implementation to choose. */
static int set_default(const char *name)
{
    (void)name;
    return 0;
}

/* A variable that a server would show among its status; nobody shows it here. */
static int no_variable(void *variable)
{
    (void)variable;
    return 0;
}

/* What this host has. The registry comes in two flavours: with one thread there is nothing to lock. */
static void *host_service(const char *name)
{
    static struct registry_service finding = {
        .acquire = acquire, .acquire_related = acquire_related, .release = release};
    static struct registration_service adding = {.add = add, .remove = take_out, .set_default = set_default};
    static struct variable_service variables = {.add = no_variable, .remove = no_variable};
    const struct provided tables[] = {
        {"registry",                                            &finding                },
        {"registry.mysql_minimal_chassis",                      &finding                },
        {"registry.mysql_minimal_chassis_no_lock",              &finding                },
        {"registry_registration",                               &adding                 },
        {"registry_registration.mysql_minimal_chassis",         &adding                 },
        {"registry_registration.mysql_minimal_chassis_no_lock", &adding                 },
        {"status_variable_registration",                        &variables              },
        {"log_builtins",                                        logging_service()       },
        {"log_builtins_string",                                 logging_string_service()},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (strcmp(tables[i].name, name) == 0)
            return tables[i].table;
    return NULL;
}

void registry_begin(const struct component *component)
{
    registry.component = component;
    registry.added_count = 0;
}

bool registry_knows(const char *name)
{
    void *service = NULL;
    return acquire(name, &service) == 0 && service;
}

void registry_fill(const struct component *component)
{
    for (const struct required *one = component->requires_; one && one->name; one++)
        if (one->place)
            (void)acquire(one->name, one->place); /* it was asked for before */
}

const void *registry_own(const char *service)
{
    return own_service(service);
}
