/* SPDX-License-Identifier: Apache-2.0 */
/* Exit codes of the rehome command: documented in rehome(1), never change meaning. */
#ifndef REHOME_EXIT_H
#define REHOME_EXIT_H

enum rh_exit {
    RH_EXIT_OK = 0,
    RH_EXIT_USAGE = 1,
    RH_EXIT_PLAN = 2,
    RH_EXIT_SOURCE = 3,
    RH_EXIT_DESTINATION = 4,
    RH_EXIT_MISMATCH = 5,
    RH_EXIT_LOCKED = 6,
    RH_EXIT_INTERRUPTED = 7, /* resumable: run the same command again */
    RH_EXIT_REFUSED = 8,     /* a check said no; nothing was written */
    RH_EXIT_INTERNAL = 9,
};

#endif
