/* SPDX-License-Identifier: Apache-2.0 */
/* The name by which registry.c knows the keyring_vault driver. */
#ifndef REHOME_STORES_KEYRING_VAULT_DRIVER_H
#define REHOME_STORES_KEYRING_VAULT_DRIVER_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_keyring_vault;

#endif
