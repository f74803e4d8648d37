/* SPDX-License-Identifier: Apache-2.0 */
/* Where a component's configuration says that its keystore lies. */
#ifndef REHOME_STORES_COMPONENT_KEYRING_CONFIG_H
#define REHOME_STORES_COMPONENT_KEYRING_CONFIG_H

#include <rehome/base.h>

/* Reads DIR/component_keyring_file.cnf, and, where that says so, the one of `instance` (may be NULL). *ret_path is
 * malloc'd. */
enum rh_status
component_config_path(const char *dir, const char *instance, char **ret_path, struct rh_error *err) RH_MUST_USE;
/* Refuses unless this manifest (mysqld.my), or the one of `instance` that it points to, loads component_keyring_file.
 */
enum rh_status component_manifest_check(const char *manifest, const char *instance, struct rh_error *err) RH_MUST_USE;

#endif
