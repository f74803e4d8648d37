/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a kv driver as a set of cases. A new driver adds a target to the table in contract_targets.c; nothing
 * else. Each case begins with an empty store. A store that commits as a whole (rh_whole_ops) has cases of its own.
 */
#ifndef REHOME_TESTS_CONTRACT_H
#define REHOME_TESTS_CONTRACT_H

#include <rehome/store.h>

struct contract_target {
    const char *name;
    const struct rh_driver *driver;
    /* The store's options. RH_UNSUPPORTED: the target isn't here (no server); the case is skipped, loudly. */
    enum rh_status (*make_options)(struct rh_options **ret_options, struct rh_error *err);
    /* As make_options, with the same place spelled in another way; NULL: there is none. */
    enum rh_status (*make_other_spelling)(struct rh_options **ret_options, struct rh_error *err);
    void (*done)(void); /* cleans up behind the last case; or NULL */
};

extern const struct contract_target *const contract_targets[]; /* NULL-terminated */

#endif
