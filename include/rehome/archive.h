/* SPDX-License-Identifier: Apache-2.0 */
/* What a command may ask of an archive file without a plan (docs/formats/archive.md). */
#ifndef REHOME_ARCHIVE_H
#define REHOME_ARCHIVE_H

#include <rehome/seal.h>

#define RH_ARCHIVE_PURPOSE "archive"

struct rh_archive_info {
    /* without a key, and so without proof */
    uint64_t chunk_bytes;
    bool ends; /* the file ends with a chunk that is marked as the last */
    /* with one */
    uint32_t version;
    char model[33], program[65];
    int64_t begun_us, ended_us; /* UTC */
    uint64_t datasets, records, bytes;
    bool checked; /* every chunk was read, every sum compared */
};
/* With provider NULL only what anybody can see. `check`: reads all of it. */
enum rh_status rh_archive_look(int fd,
                               const struct rh_seal_info *seal,
                               struct rh_key_provider *provider,
                               bool check,
                               struct rh_archive_info *ret_info,
                               struct rh_error *err) RH_MUST_USE;

#endif
