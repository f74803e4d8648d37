/* SPDX-License-Identifier: Apache-2.0 */
/* The name by which registry.c knows the consul driver. */
#ifndef REHOME_STORES_CONSUL_DRIVER_H
#define REHOME_STORES_CONSUL_DRIVER_H

#include <rehome/store.h>

extern const struct rh_driver rh_driver_consul;

#endif
