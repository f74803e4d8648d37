/* SPDX-License-Identifier: Apache-2.0 */
/* How Percona's keyrings name a key in a Vault (docs/formats/keyring-vault.md). Threads: any. */
#ifndef REHOME_STORES_KEYRING_VAULT_NAMES_H
#define REHOME_STORES_KEYRING_VAULT_NAMES_H

#include <rehome/keyring.h>

/* Appends the name of a key: base64 of "LENGTH_IDLENGTH_OWNER". */
enum rh_status
kv_name_add(struct rh_buf *name, struct rh_bytes owner, struct rh_bytes id, struct rh_error *err) RH_MUST_USE;
/* Appends the key (rh_keyring_key_add) that a name stands for. RH_E_CORRUPT without words: it isn't a name that
 * kv_name_add gives. */
enum rh_status kv_name_read(struct rh_buf *key, struct rh_bytes name, struct rh_error *err) RH_MUST_USE;

#endif
