/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One format of keystores: whatever is taken as a keystore, written again and read again holds the same keys; and what
 * is found in it is found by its name.
 */
#ifndef REHOME_TESTS_FUZZ_KEYSTORE_H
#define REHOME_TESTS_FUZZ_KEYSTORE_H

#include <keyring.h>
#include <rehome/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run: something is wrong that no input may bring about. */
static inline void must(bool right, const char *what)
{
    if (right)
        return;
    (void)fprintf(stderr, "fuzz_keystore: %s\n", what);
    abort();
}

/* Reads a file's bytes into a sorted set; false when they are no keystore. */
static inline bool keystore_read(const struct keyring_format *format,
                                 const struct keyring_store *store,
                                 struct rh_bytes content,
                                 struct keyring_set *set,
                                 struct keyring_shape *shape)
{
    struct rh_error err = {0};
    enum rh_status status = format->parse(store, -1, content, set, shape, &err);
    must(status == RH_OK || err.text[0], "a failure without words");
    return status == RH_OK && keyring_set_sort(set, &err) == RH_OK;
}

/* Writes the set as a keystore of the same making. */
static inline void keystore_write(const struct keyring_format *format,
                                  const struct keyring_store *store,
                                  const struct keyring_set *set,
                                  const struct keyring_shape *shape,
                                  struct rh_buf *ret)
{
    rh_auto_fd int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && !format->compose(store, fd, set->entries, set->count, shape, NULL), "it can't be written again");
    const off_t size = lseek(fd, 0, SEEK_END);
    must(size >= 0 && !rh_buf_reserve(ret, (size_t)size + 1, NULL), "no memory");
    must(pread(fd, ret->data, (size_t)size, 0) == size, "it can't be read back");
    ret->size = (size_t)size;
}

/* Tries a file as a keystore of this store's format. */
static inline void keystore_try_as(const struct keyring_store *store, struct rh_bytes content)
{
    const struct keyring_format *format = store->format;
    keyring_auto_set struct keyring_set set = KEYRING_SET_INIT, again = KEYRING_SET_INIT;
    struct keyring_shape shape = store->fresh, shape_again = store->fresh;
    rh_auto_buf struct rh_buf written = RH_BUF_INIT, name = RH_BUF_INIT;
    if (format->backup_taken)
        (void)format->backup_taken(content);
    if ((content.size == 0 && !format->reads_empty) || !keystore_read(format, store, content, &set, &shape))
        return;
    keystore_write(format, store, &set, &shape, &written);
    must(keystore_read(format, store, rh_buf_bytes(&written), &again, &shape_again), "what we wrote is no keystore");
    /* a keystore without a key doesn't tell its architecture */
    must(set.count == again.count && shape.version == shape_again.version, "another keystore");
    for (size_t i = 0; i < set.count; i++) {
        const struct keyring_entry *one = &set.entries[i], *other = keyring_set_find(&again, one->key);
        must(other && rh_bytes_equal(one->type, other->type) && rh_bytes_equal(one->data, other->data), "another key");
        struct rh_bytes owner, id;
        must(!rh_keyring_key_split(one->key, &owner, &id), "a key that is none");
        rh_buf_clear(&name);
        must(!format->identity || !format->identity(owner, id, &name, NULL), "a name that can't be folded");
        rh_ignore(format->fits(store, &shape, owner, id, &one->type, &one->data, NULL)); /* must not crash */
    }
}

static inline void keystore_try(const struct keyring_format *format, struct rh_bytes content)
{
    const struct keyring_store store = {.format = format, .fresh = {.version = 2}};
    keystore_try_as(&store, content);
}

#endif
