/* SPDX-License-Identifier: Apache-2.0 */
/* The `component_keyring_file` driver: the keystore of MySQL's component of that name, 8.0.24 and later. */
#ifndef REHOME_STORES_COMPONENT_KEYRING_FILE_H
#define REHOME_STORES_COMPONENT_KEYRING_FILE_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_component_keyring_file;

#endif
