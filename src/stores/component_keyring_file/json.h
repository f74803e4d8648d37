/* SPDX-License-Identifier: Apache-2.0 */
/* The data file of MySQL's component_keyring_file, one JSON object (docs/formats/keyring.md). */
#ifndef REHOME_STORES_COMPONENT_KEYRING_JSON_H
#define REHOME_STORES_COMPONENT_KEYRING_JSON_H

#include "keyring.h"

extern const struct keyring_format component_keyring_format;
/* Whether a file that begins so is such an object. */
bool component_keyring_begins(struct rh_bytes head);

#endif
