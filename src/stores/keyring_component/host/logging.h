/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log that a component wants of its host where it doesn't bring one (those up to 9.5 do): lines go to standard
 * output, in the shape that the components' own log gives them.
 */
#ifndef REHOME_KEYRING_HOST_LOGGING_H
#define REHOME_KEYRING_HOST_LOGGING_H

/* The tables of services log_builtins and log_builtins_string. */
void *logging_service(void);
void *logging_string_service(void);

#endif
