/* SPDX-License-Identifier: Apache-2.0 */
/* Vault's `file` storage as a store. */
#ifndef REHOME_STORES_FILE_H
#define REHOME_STORES_FILE_H

#include <rehome/store.h>

extern const struct rh_driver rh_file_driver;

#endif
