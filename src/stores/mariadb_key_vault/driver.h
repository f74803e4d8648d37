/* SPDX-License-Identifier: Apache-2.0 */
/* The `mariadb_key_vault` driver: the keys of MariaDB's plugin hashicorp_key_management in a Vault. */
#ifndef REHOME_STORES_MARIADB_KEY_VAULT_H
#define REHOME_STORES_MARIADB_KEY_VAULT_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_mariadb_key_vault;

#endif
