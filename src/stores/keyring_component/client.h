/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child process with a component's library in it: started, asked, ended. Whatever the library does (crash, hang,
 * chatter, lie about lengths) comes back as an error with its own log lines, made safe to show. A child lives within
 * one call of a driver's, since it dies with the thread that started it. Threads: a child belongs to one.
 */
#ifndef REHOME_KEYRING_COMPONENT_CLIENT_H
#define REHOME_KEYRING_COMPONENT_CLIENT_H

#include "keyring.h"

#include "wire.h"

/* How a component is loaded; texts belong to the store. */
struct component_library {
    char *library;      /* its file */
    char *name;         /* the file's name without ".so", which is the component's */
    char *loader;       /* program interpreter to start the child with; NULL: the system's */
    char *library_path; /* where that one finds libraries; NULL: nothing */
    char *host_program; /* the child's program; NULL: found by itself */
    int64_t answer_us;  /* how long it may take for an answer */
};

struct component_child;

/* What the component says of itself. */
struct component_facts {
    bool known, writes;  /* it was loaded; it can write keys */
    char data_file[512]; /* empty: it names none */
    char version[128], product[64];
    char all[400]; /* all rows but the one that tells whether it is active, as one text */
};

/* Starts the child and lets it load the library with its configuration in folder `config`. `file` and `folder` (-1:
 * none) are WIRE_FILE and WIRE_FOLDER there. */
enum rh_status component_start(const struct rh_ctx *ctx,
                               const struct component_library *library,
                               const char *config,
                               const char *instance,
                               int file,
                               int folder,
                               struct component_child **ret_child) RH_MUST_USE;
const struct component_facts *component_facts(const struct component_child *child);
/* All keys, appended to the set. */
enum rh_status
component_read(const struct rh_ctx *ctx, struct component_child *child, struct keyring_set *set) RH_MUST_USE;
/* One key; its type and data in the arena. RH_NOT_FOUND. */
enum rh_status component_fetch(const struct rh_ctx *ctx,
                               struct component_child *child,
                               struct rh_bytes key,
                               struct rh_arena *arena,
                               struct keyring_entry *ret_entry) RH_MUST_USE;
enum rh_status
component_store(const struct rh_ctx *ctx, struct component_child *child, const struct keyring_entry *entry) RH_MUST_USE;
enum rh_status
component_remove(const struct rh_ctx *ctx, struct component_child *child, struct rh_bytes key) RH_MUST_USE;
/* Lets it end in good order, and looks at what it printed. */
enum rh_status component_stop(const struct rh_ctx *ctx, struct component_child *child) RH_MUST_USE;
/* Ends it whatever it does; NULL is fine. */
void component_free(struct component_child *child);
static inline void component_auto_free_(struct component_child **child)
{
    component_free(*child);
}
#define component_auto_child __attribute__((cleanup(component_auto_free_)))

/* For tests: a child that is only a socket, taken over, also when it fails. */
enum rh_status component_adopt(const struct component_library *library,
                               int fd,
                               struct component_child **ret_child,
                               struct rh_error *err) RH_MUST_USE;

/* The child's program: beside our own, else where it is installed. */
enum rh_status component_host_path(char out[static 512], struct rh_error *err) RH_MUST_USE;

/* --- talk.c, for client.c and its fuzz target --- */

/* The lines that the library printed, as they come; bounded. */
struct component_log {
    char text[8192];
    size_t size;
    uint64_t seen; /* bytes, also those not kept */
};
void component_log_add(struct component_log *log, const char *text, size_t size);
/* Its errors in one line, safe to show; else the last line that it printed. Empty without any. */
const char *component_log_errors(const struct component_log *log, char *out, size_t out_size);
/* The first line that is no log line of a component's; false: there is none. */
bool component_log_noise(const struct component_log *log, struct rh_bytes *ret_line);

#endif
