/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A component's configuration: NAME.cnf in the folder that a server has as plugin_dir, or, where that says so, in the
 * server's data folder. It may hold a password, so its text is wiped after use.
 */
#ifndef REHOME_KEYRING_COMPONENT_CONFIG_H
#define REHOME_KEYRING_COMPONENT_CONFIG_H

#include <rehome/base.h>

struct component_config {
    char *name;     /* the component's */
    char *folder;   /* that holds NAME.cnf */
    char *instance; /* the server's data folder; NULL: not given */
    char *path;     /* the keystore's file, where the configuration names one; else NULL */
};
/* Reads where the keystore lies; name, folder and instance are there. */
enum rh_status component_config_read(struct component_config *config, struct rh_error *err) RH_MUST_USE;
void component_config_done(struct component_config *config);

/*
 * A folder of our own, where a library finds its configuration with another path than the server's. Where this process
 * may (root), it is a file system in memory that has no name: it is reached by its descriptor alone, and gone with the
 * last process that has it. Else it is a folder of 0700 in /dev/shm, there as long as the configuration is in it.
 */
struct component_private {
    int fd;            /* of the folder; -1: none */
    bool nameless;     /* of the first kind */
    char place[64];    /* of the other kind: its path */
    const char *shown; /* its path in the child */
};
void component_private_make(struct component_private *own);
/* The configuration, with this path; replaces one that is there. */
enum rh_status component_private_config(struct component_private *own,
                                        const struct component_config *config,
                                        const char *path,
                                        struct rh_error *err) RH_MUST_USE;
/* Takes the configuration away again, once it was read. */
void component_private_forget(struct component_private *own, const struct component_config *config);
void component_private_drop(struct component_private *own);
#define component_auto_private __attribute__((cleanup(component_private_drop)))

#endif
