/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets as their makers see them: writable until handed out. Inside src/crypto only. */
#ifndef REHOME_CRYPTO_SECRET_INTERNAL_H
#define REHOME_CRYPTO_SECRET_INTERNAL_H

#include <rehome/secret.h>

/* A zeroed secret of `size` bytes and the place to fill it in. */
enum rh_status
rh_secret_make(size_t size, struct rh_secret **ret_secret, uint8_t **ret_data, struct rh_error *err) RH_MUST_USE;
/* Makes it shorter; what goes is wiped. */
void rh_secret_cut(struct rh_secret *secret, size_t size);
/* Opens a file that nobody but its owner may use (RH_E_REFUSED). */
enum rh_status rh_secret_open(const char *path, int *ret_fd, struct rh_error *err) RH_MUST_USE;
/* All that fd gives, untrimmed, cut at 64 KiB and two bytes. */
enum rh_status rh_secret_read(int fd, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;

#endif
