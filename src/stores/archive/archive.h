/* SPDX-License-Identifier: Apache-2.0 */
/* The driver `archive`: one sealed file with all records of a store. docs/formats/archive.md has its form. */
#ifndef REHOME_STORES_ARCHIVE_H
#define REHOME_STORES_ARCHIVE_H

#include <rehome/store.h>

extern const struct rh_driver rh_archive_driver;

#endif
