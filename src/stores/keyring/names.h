/* SPDX-License-Identifier: Apache-2.0 */
/* Keys by what a server takes for their name, where that isn't owner and id byte for byte. */
#ifndef REHOME_STORES_KEYRING_NAMES_H
#define REHOME_STORES_KEYRING_NAMES_H

#include "keyring.h"

/* With the names of all keys of a set. *ret_names is NULL where the format needs none. */
enum rh_status keyring_names_new(const struct keyring_format *format,
                                 const struct keyring_set *set,
                                 struct keyring_names **ret_names,
                                 struct rh_error *err);
/* Adds a key. RH_E_LIMIT, naming the other one, when the server would take both for the same. NULL names are fine. */
enum rh_status keyring_names_add(struct keyring_names *names, struct rh_bytes key, struct rh_error *err) RH_MUST_USE;
void keyring_names_free(struct keyring_names *names);

#endif
