/* SPDX-License-Identifier: Apache-2.0 */
/* The host's loop: one request, its answer, the next. */
#ifndef REHOME_KEYRING_HOST_SERVE_H
#define REHOME_KEYRING_HOST_SERVE_H

#include "wire.h"

/* Until the other side closes, or says something that is none of its messages. Gives the process's exit status. */
int serve(int fd);

#endif
