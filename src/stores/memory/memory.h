/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference driver: a sorted table in this process, found by name. It lives until rh_memory_drop or the end of the
 * process, whoever opens and closes it, so that a test or a plan can have source and destination in one process.
 * The helpers below go behind the engine's back: tests use them to damage, to look, and to be the other writer.
 * Threads: all may be called from any thread.
 */
#ifndef REHOME_STORES_MEMORY_H
#define REHOME_STORES_MEMORY_H

#include <rehome/store.h>

extern const struct rh_driver rh_memory_driver;

/* The value of a key appended to `value` (may be NULL); *ret_null (may be NULL) says whether it is NULL.
 * RH_NOT_FOUND, also when there is no such table. */
enum rh_status rh_memory_peek(const char *name, struct rh_bytes key, struct rh_buf *value, bool *ret_null) RH_MUST_USE;
/* Sets a key, whatever was there; makes the table when needed. */
enum rh_status rh_memory_poke(const char *name, struct rh_bytes key, struct rh_bytes value, bool is_null) RH_MUST_USE;
/* Takes a key away; RH_NOT_FOUND when it isn't there. */
enum rh_status rh_memory_erase(const char *name, struct rh_bytes key) RH_MUST_USE;
size_t rh_memory_count(const char *name);
/* Empties the table; open sessions stay good and see an empty one with another fingerprint. */
void rh_memory_drop(const char *name);

#endif
