/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Components whose configuration names no file of keys: what they hold is in a service, a hardware module, a file that
 * only they know. They are read as a whole and written key by key, as a server would do it; each key is there for good,
 * or not, when the library says so.
 */
#ifndef REHOME_KEYRING_COMPONENT_ELSEWHERE_H
#define REHOME_KEYRING_COMPONENT_ELSEWHERE_H

#include "component.h"

/* The driver of such a store in the place of the registered one, from its open on: it commits by batch. */
extern const struct rh_driver elsewhere_driver;
enum rh_status elsewhere_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place);

#endif
