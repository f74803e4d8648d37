/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secret memory: locked, not dumped, wiped when freed. There is no formatter for it, so it can't be logged
 * by mistake. Threads: allocation and free from any thread.
 */
#ifndef REHOME_SECRET_H
#define REHOME_SECRET_H

#include <rehome/bytes.h>

/* Once at start of the process: no core dumps, not dumpable, RLIMIT_MEMLOCK raised as far as allowed.
 * Warns by log event when memory can't be locked; never fails for that. */
enum rh_status rh_secret_start(struct rh_error *err) RH_MUST_USE;

struct rh_secret; /* immutable bytes in secret memory */
/* Copies; the caller wipes its own copy (rh_wipe). */
enum rh_status rh_secret_new(struct rh_bytes bytes, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
/* Random bytes. */
enum rh_status rh_secret_random(size_t size, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
/* A file's content without one trailing newline. Refuses an empty file, one over 64 KiB, and (RH_E_REFUSED, with
 * the chmod to give) one that group or others may read or write. */
enum rh_status rh_secret_from_file(const char *path, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
enum rh_status rh_secret_from_fd(int fd, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
/* RH_NOT_FOUND when the variable isn't set. */
enum rh_status rh_secret_from_env(const char *name, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
/* From the terminal without echo; RH_E_USAGE when there is none. */
enum rh_status
rh_secret_from_prompt(const char *prompt, struct rh_secret **ret_secret, struct rh_error *err) RH_MUST_USE;
struct rh_bytes
rh_secret_bytes(const struct rh_secret *secret); /* borrowed; followed by a NUL byte not counted in size */
struct rh_secret *rh_secret_dup(const struct rh_secret *secret); /* NULL when memory is out, or for NULL */
void rh_secret_free(struct rh_secret *secret);                   /* wipes; NULL is fine */

void rh_wipe(void *data, size_t size);

static inline void rh_auto_secret_(struct rh_secret **secret)
{
    rh_secret_free(*secret);
}
#define rh_auto_secret __attribute__((cleanup(rh_auto_secret_)))

#endif
