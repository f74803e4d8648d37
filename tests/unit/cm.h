/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka with the headers it wants before it. */
#ifndef REHOME_TESTS_CM_H
#define REHOME_TESTS_CM_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/* A status that should be RH_OK; shows the words when it isn't. */
#define assert_ok(call, err)                                                                                           \
    do {                                                                                                               \
        enum rh_status status_ = (call);                                                                               \
        if (status_)                                                                                                   \
            fail_msg("%s: %s: %s", #call, rh_status_name(status_), (err)->text);                                       \
    } while (0)

#endif
