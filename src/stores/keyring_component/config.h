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

/* A folder of our own, in memory where the system has a file system for that, with the same configuration but another
 * path. */
struct component_private {
    char folder[64];
};
enum rh_status component_private_make(struct component_private *own,
                                      const struct component_config *config,
                                      const char *path,
                                      struct rh_error *err) RH_MUST_USE;
void component_private_drop(struct component_private *own, const struct component_config *config);

#endif
