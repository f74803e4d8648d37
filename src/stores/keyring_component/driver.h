/* SPDX-License-Identifier: Apache-2.0 */
/* The `keyring_component` driver: any keyring component of MySQL's, by its own library. */
#ifndef REHOME_STORES_KEYRING_COMPONENT_H
#define REHOME_STORES_KEYRING_COMPONENT_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_keyring_component;

#endif
