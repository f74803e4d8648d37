/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading archives (docs/formats/archive.md) on descriptors, without a word about folders and names:
 * stream.c has the chunks, writer.c, index.c and reader.c what lies in them.
 * Threads: a writer and a reader belong to one thread at a time.
 */
#ifndef REHOME_STORES_ARCHIVE_FORMAT_H
#define REHOME_STORES_ARCHIVE_FORMAT_H

#include <rehome/archive.h>
#include <rehome/digest.h>
#include <rehome/seal.h>

#define ARCHIVE_PURPOSE RH_ARCHIVE_PURPOSE

enum {
    ARCHIVE_VERSION = 1,
    ARCHIVE_CHUNK = 65536, /* what we write */
    ARCHIVE_CHUNK_LEAST = 1024,
    ARCHIVE_CHUNK_MOST = 16 * 1024 * 1024,
    ARCHIVE_FRAME_EXTRA = 24, /* head and tag of a frame */
    ARCHIVE_HEAD_MOST = 65536,
    ARCHIVE_KEY_MOST = 65536,
    ARCHIVE_RECORD_MOST = 64 * 1024 * 1024, /* all bytes of a record's fields */
    ARCHIVE_DATASETS_MOST = 4096,
    ARCHIVE_FIELDS_MOST = 4096,
    ARCHIVE_LEVELS = 16,
    ARCHIVE_BLOCK_BYTES = 32768, /* a block with so many bytes and entries is full */
    ARCHIVE_BLOCK_ENTRIES = 16,
    ARCHIVE_TAIL = 24,
    ARCHIVE_MODEL_MOST = 32,
    ARCHIVE_PROGRAM_MOST = 64,
    ARCHIVE_NAME_MOST = 399,
    ARCHIVE_FIELD_NAME_MOST = 256,
};
enum archive_kind { ARCHIVE_RECORD = 1, ARCHIVE_BLOCK = 2, ARCHIVE_OPENING = 3, ARCHIVE_FOOTER = 4 };

extern const uint8_t archive_head_magic[8], archive_tail_magic[8];

/* --- key.c --- */
struct rh_options;
/* The options that name the sealing key, as rows of an option table. */
#define ARCHIVE_SEAL_OPTIONS                                                                                           \
    {.name = "key_file",                                                                                               \
     .type = RH_OPT_PATH,                                                                                              \
     .value_name = "FILE",                                                                                             \
     .help = "file with the sealing key: 32 bytes, or 64 hex digits"},                                                 \
        {.name = "passphrase",                                                                                         \
         .type = RH_OPT_SECRET,                                                                                        \
         .value_name = "SECRET",                                                                                       \
         .help = "the passphrase that seals; better is passphrase_file"},                                              \
        {.name = "passphrase_file",                                                                                    \
         .type = RH_OPT_PATH,                                                                                          \
         .value_name = "FILE",                                                                                         \
         .help = "file with the passphrase that seals"},                                                               \
    {                                                                                                                  \
        .name = "passphrase_env", .type = RH_OPT_TEXT, .value_name = "NAME",                                           \
        .help = "environment variable with the passphrase that seals"                                                  \
    }
/* By exactly one of the options key_file, passphrase, passphrase_file and passphrase_env. */
enum rh_status archive_provider(const struct rh_options *values,
                                struct rh_key_provider **ret_provider,
                                struct rh_error *err) RH_MUST_USE;

/* --- stream.c: the plain bytes --- */

struct archive_out {
    struct rh_seal_writer *seal;
    uint8_t *chunk;
    size_t chunk_size, used;
    uint64_t at; /* bytes of the stream so far */
};
enum rh_status archive_out_open(
    struct archive_out *out, struct rh_key_provider *provider, int fd, size_t chunk_size, struct rh_error *err);
enum rh_status archive_out_put(struct archive_out *out, const void *data, size_t size, struct rh_error *err);
/* The last frame; the stream must not be empty. */
enum rh_status archive_out_end(struct archive_out *out, struct rh_error *err);
void archive_out_done(struct archive_out *out);

struct archive_chunk {
    uint64_t number, used; /* used: when, for the oldest to go */
    struct rh_buf plain;
    bool filled;
};
enum { ARCHIVE_CHUNKS = 8 };
struct archive_in {
    struct rh_seal_reader *seal;
    bool seekable;
    uint64_t header_bytes; /* of the sealed file */
    uint64_t size;         /* of the stream; a pipe's is known when it has ended, and UINT64_MAX until then */
    size_t chunk_size, slots;
    uint64_t clock, pipe_next; /* pipe_next: number of the frame that comes next */
    struct archive_chunk chunks[ARCHIVE_CHUNKS], *last;
};
/* Opens the seal and reads the first chunk; the chunk size is that frame's until archive_in_sized. */
enum rh_status archive_in_open(struct archive_in *in, struct rh_key_provider *provider, int fd, struct rh_error *err);
/* Told the chunk size, checks it, and, of a file, that it ends where it should. */
enum rh_status archive_in_sized(struct archive_in *in, int fd, uint64_t chunk_size, struct rh_error *err);
/* Exactly these bytes. RH_E_CORRUPT where the stream hasn't got them. A pipe is read forwards only. */
enum rh_status
archive_in_read(struct archive_in *in, uint64_t offset, void *out, size_t size, struct rh_error *err) RH_MUST_USE;
/* Whether the stream ends at this offset: a pipe is read on to say so. */
enum rh_status archive_in_ends(struct archive_in *in, uint64_t offset, bool *ret_ends, struct rh_error *err);
void archive_in_done(struct archive_in *in);

/* --- index.c: the blocks under way --- */

struct archive_level {
    struct rh_buf entries, first_key;
    uint64_t first_ordinal;
    uint32_t count;
};
struct archive_index {
    struct archive_level levels[ARCHIVE_LEVELS];
    unsigned height; /* levels that have had an entry */
};
/* Writes full blocks that an entry at level 0 would not fit into any more; before the place of the record is known. */
enum rh_status archive_index_make_room(struct archive_index *index, struct archive_out *out, struct rh_error *err);
enum rh_status archive_index_add(struct archive_index *index,
                                 struct archive_out *out,
                                 unsigned number, /* of the level */
                                 uint64_t offset,
                                 uint64_t ordinal,
                                 struct rh_bytes key,
                                 struct rh_error *err);
/* Writes what is left; *ret_root is 0 for an empty index. Ready for the next dataset then. */
enum rh_status
archive_index_end(struct archive_index *index, struct archive_out *out, uint64_t *ret_root, struct rh_error *err);
void archive_index_done(struct archive_index *index);

/* --- schemas --- */

struct archive_field {
    uint8_t tags; /* bit 1 << enum rh_tag for each that it may have */
    char *name;
};
struct archive_dataset {
    char name[ARCHIVE_NAME_MOST + 1];
    struct archive_field *fields;
    uint32_t field_count;
    /* of the footer */
    uint64_t opening, root;
    struct rh_sum sum;
};
struct archive_head {
    char model[ARCHIVE_MODEL_MOST + 1], program[ARCHIVE_PROGRAM_MOST + 1];
    int64_t begun_us, ended_us;
    struct rh_digest_key digest;
    struct archive_dataset *datasets;
    uint32_t dataset_count;
};
/* Those of model "kv" and "keyring". */
extern const struct archive_dataset archive_kv_dataset, archive_keyring_dataset;

/* --- writer.c --- */

struct archive_writer;
/* Writes the sealed header and the head. The datasets' names and fields are borrowed until the end. */
enum rh_status archive_writer_new(struct rh_key_provider *provider,
                                  int fd,
                                  size_t chunk_size,
                                  const char *model,
                                  const struct archive_dataset *datasets,
                                  uint32_t dataset_count,
                                  struct archive_writer **ret_writer,
                                  struct rh_error *err) RH_MUST_USE;
/* The next record of the dataset under way, which is the first until archive_writer_next. RH_E_INTERNAL for a key that
 * isn't greater than the last one. */
enum rh_status
archive_writer_put(struct archive_writer *writer, const struct rh_record *record, struct rh_error *err) RH_MUST_USE;
enum rh_status archive_writer_next(struct archive_writer *writer, struct rh_error *err) RH_MUST_USE;
/* Footer and tail; all datasets must have been begun. Nothing is synced. */
enum rh_status archive_writer_end(struct archive_writer *writer, struct rh_error *err) RH_MUST_USE;
const struct rh_sum *archive_writer_sum(const struct archive_writer *writer); /* of the dataset under way */
/* "SIZE:HEX", size and SHA-256 of all bytes of an ended archive; and the same of bytes that were hashed elsewhere. */
enum rh_status
archive_writer_proof(struct archive_writer *writer, struct rh_buf *ret_proof, struct rh_error *err) RH_MUST_USE;
enum rh_status archive_proof(uint64_t size,
                             const uint8_t hash[static RH_SEAL_FILE_HASH_BYTES],
                             struct rh_buf *ret_proof,
                             struct rh_error *err) RH_MUST_USE;
void archive_writer_free(struct archive_writer *writer);

/* --- reader.c --- */

struct archive_reader {
    struct archive_in in;
    struct archive_head head;
    uint64_t items_at, footer_at; /* where the items begin; a pipe's footer_at is known at its end */
    struct rh_buf block;          /* of the index, reused */
};
/* fd stays the caller's. Checks the head and, of a file, the footer. */
enum rh_status archive_reader_open(struct rh_key_provider *provider,
                                   int fd,
                                   struct archive_reader **ret_reader,
                                   struct rh_error *err) RH_MUST_USE;
void archive_reader_free(struct archive_reader *reader);

/* A walk over one dataset's records. */
struct archive_walk {
    struct archive_reader *reader;
    uint32_t dataset;
    uint64_t at, ordinal;    /* of the next item; records before it */
    bool sums;               /* from the first record on, with values: the sum is compared at the end */
    bool ended, expects_key; /* expects_key: the index named the first record */
    struct rh_sum sum;
    struct rh_buf key, next_key; /* of the last record; of the one that is being read */
};
/* To the first record, or, in a file, to the last one that the index has at or before `key`. */
enum rh_status archive_walk_open(struct archive_walk *walk,
                                 struct archive_reader *reader,
                                 uint32_t dataset,
                                 struct rh_bytes key,
                                 struct rh_error *err) RH_MUST_USE;
/* The next record, without its fields: walk->key. RH_END at the dataset's end, which is checked then. Each record's
 * fields are read or passed over next. */
struct archive_found {
    uint64_t value_at; /* the first field's tag */
    uint32_t field_count;
};
enum rh_status
archive_walk_next(struct archive_walk *walk, struct archive_found *ret_found, struct rh_error *err) RH_MUST_USE;
/* Adds the record with its fields to the batch. */
enum rh_status archive_walk_take(struct archive_walk *walk,
                                 const struct archive_found *found,
                                 struct rh_batch *batch,
                                 struct rh_error *err) RH_MUST_USE;
/* Passes over the fields; *ret_bytes is their size. The walk's sum isn't to be compared then. */
enum rh_status archive_walk_skip(struct archive_walk *walk,
                                 const struct archive_found *found,
                                 uint64_t *ret_bytes,
                                 struct rh_error *err) RH_MUST_USE;
void archive_walk_done(struct archive_walk *walk);

#endif
