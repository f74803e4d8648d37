/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of the program knows of the postgresql driver. */
#ifndef REHOME_STORES_POSTGRESQL_DRIVER_H
#define REHOME_STORES_POSTGRESQL_DRIVER_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_postgresql;

#endif
