/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seal: authenticated encryption of what rehome puts on disk; the format is docs/formats/seal.md.
 * A sealed file is a header (random file key, wrapped by a key provider; purpose; binding) and frames, each
 * AES-256-GCM under the file key, nonce = frame counter and last flag, AAD = SHA-256 of the header + frame head.
 * Truncation, reordering, swapping between files and any changed bit are refused (RH_E_CORRUPT; RH_E_DENIED when the
 * file key can't be unwrapped: another key or passphrase, or a changed header, which looks the same).
 */
#ifndef REHOME_SEAL_H
#define REHOME_SEAL_H

#include <rehome/secret.h>

/* --- key providers --- */
struct rh_key_provider;
/* The key file holds 32 bytes, raw or as 64 hex digits; refused when others may read it. */
enum rh_status
rh_key_provider_file(const char *path, struct rh_key_provider **ret_provider, struct rh_error *err) RH_MUST_USE;
/* Makes a new 0600 key file (hex) if absent (link(2), so that two starting together agree), then opens it. */
enum rh_status
rh_key_provider_file_make(const char *path, struct rh_key_provider **ret_provider, struct rh_error *err) RH_MUST_USE;
/* A random key that nobody else ever has: for temporary files of this process. */
enum rh_status rh_key_provider_memory(struct rh_key_provider **ret_provider, struct rh_error *err) RH_MUST_USE;
/* scrypt, N=2^17 r=8 p=1 by default; parameters read from a file are bounded (N <= 2^20, r*p <= 64,
 * 128*N*r <= 1 GiB) before use. Copies
 * the secret. */
enum rh_status rh_key_provider_passphrase(const struct rh_secret *passphrase,
                                          struct rh_key_provider **ret_provider,
                                          struct rh_error *err) RH_MUST_USE;
/* For tests and fuzzing: a cheaper scrypt N for what is written from now on. */
void rh_key_provider_cost(struct rh_key_provider *base, uint64_t n);
const char *rh_key_provider_describe(
    const struct rh_key_provider *provider); /* "key file '/etc/rehome/seal.key'", "passphrase"; for the report */
void rh_key_provider_free(struct rh_key_provider *provider);

/* --- sealed blobs: one small thing, for instance the digest key in the journal --- */
/* purpose: short ASCII word, checked on opening ("digest-key"); binding: bytes it belongs to (plan, move), not stored.
 */
enum rh_status rh_seal_blob(struct rh_key_provider *provider,
                            const char *purpose,
                            struct rh_bytes binding,
                            struct rh_bytes plain,
                            struct rh_buf *ret_sealed,
                            struct rh_error *err) RH_MUST_USE;
enum rh_status rh_unseal_blob(struct rh_key_provider *provider,
                              const char *purpose,
                              struct rh_bytes binding,
                              struct rh_bytes sealed,
                              struct rh_secret **ret_plain,
                              struct rh_error *err) RH_MUST_USE;

/* --- sealed files: frames appended one by one --- */
#define RH_SEAL_FRAME_MAX (64u * 1024u * 1024u) /* most plain bytes of one frame */

struct rh_seal_writer;
/* Writes the header to fd (at its current position; the file is expected to be empty). fd stays the caller's.
 * Nothing is synced: the caller calls fdatasync at its own barrier. */
enum rh_status rh_seal_writer_new(struct rh_key_provider *provider,
                                  int fd,
                                  const char *purpose,
                                  struct rh_bytes binding,
                                  struct rh_seal_writer **ret_writer,
                                  struct rh_error *err) RH_MUST_USE;
/* One frame, one write(2). ret_offset (may be NULL) = file offset of the frame; the file is then `offset + size` long.
 */
enum rh_status rh_seal_writer_add(struct rh_seal_writer *writer,
                                  struct rh_bytes plain,
                                  uint64_t *ret_offset,
                                  struct rh_error *err) RH_MUST_USE;
/* The last frame, possibly with bytes. Without it a reader says "unfinished". */
enum rh_status
rh_seal_writer_end(struct rh_seal_writer *writer, struct rh_bytes plain, struct rh_error *err) RH_MUST_USE;
uint64_t rh_seal_writer_size(const struct rh_seal_writer *writer); /* bytes of the file so far */
/* Has the writer keep a SHA-256 of all bytes of the file; to be called right after rh_seal_writer_new. */
enum rh_status rh_seal_writer_hash(struct rh_seal_writer *writer, struct rh_error *err) RH_MUST_USE;
/* That SHA-256, once the last frame is written. */
#define RH_SEAL_FILE_HASH_BYTES 32
enum rh_status rh_seal_writer_hashed(struct rh_seal_writer *writer,
                                     uint8_t ret_hash[static RH_SEAL_FILE_HASH_BYTES],
                                     struct rh_error *err) RH_MUST_USE;
void rh_seal_writer_free(struct rh_seal_writer *writer);

struct rh_seal_reader;
/* Reads and checks the header. purpose and binding must be as written. fd stays the caller's. Seekable files only for
 * _at. */
enum rh_status rh_seal_reader_new(struct rh_key_provider *provider,
                                  int fd,
                                  const char *purpose,
                                  struct rh_bytes binding,
                                  struct rh_seal_reader **ret_reader,
                                  struct rh_error *err) RH_MUST_USE;
/* Next frame's plain bytes into buf (cleared first). RH_END after the last frame (and only if nothing follows it).
 * RH_NOT_FOUND: the file ends cleanly between two frames, or inside one, without a last frame: unfinished. With
 * *ret_offset (may be NULL) the offset where the frame began, so that a caller knows which length was whole. */
enum rh_status rh_seal_reader_next(struct rh_seal_reader *reader,
                                   struct rh_buf *buf,
                                   uint64_t *ret_offset,
                                   struct rh_error *err) RH_MUST_USE;
/* The frame with this number (from 0) at this offset, as the journal remembers both; sets the reader to go on after it.
 */
enum rh_status rh_seal_reader_at(struct rh_seal_reader *reader,
                                 uint64_t offset,
                                 uint64_t number,
                                 struct rh_buf *buf,
                                 struct rh_error *err) RH_MUST_USE;
/* Where the next frame begins: after rh_seal_reader_new the size of the header. */
uint64_t rh_seal_reader_offset(const struct rh_seal_reader *reader);
void rh_seal_reader_free(struct rh_seal_reader *reader);

/* --- sealed files without their frames --- */
struct rh_seal_info { /* what anybody can read; nothing of it is proven without the key */
    uint32_t version;
    uint8_t id[16];
    char purpose[65];
    uint8_t kind; /* of the key provider: 1 key file, 2 passphrase */
    const char *kind_words;
    uint8_t key_id[16]; /* key file */
    uint8_t scrypt_log_n;
    uint32_t scrypt_r, scrypt_p; /* passphrase */
    uint64_t header_bytes;
    bool has_frame, first_is_last;
    uint32_t first_frame_bytes;
};
/* Whether a file that begins so is a sealed one. */
bool rh_seal_begins(struct rh_bytes head);
/* Reads the header, and the first frame's head, of a seekable file from its start. RH_E_CORRUPT: not one. */
enum rh_status rh_seal_look(int fd, struct rh_seal_info *ret_info, struct rh_error *err) RH_MUST_USE;
/* A header for the same file and file key, wrapped by new_provider, is appended to ret_header; *ret_old_bytes is the
 * size of the present one, behind which the frames stay as they are. With new_provider NULL: only whether the key fits.
 * RH_E_DENIED when it doesn't. Purpose and binding aren't asked for. */
enum rh_status rh_seal_rewrap(int fd,
                              struct rh_key_provider *provider,
                              struct rh_key_provider *new_provider,
                              struct rh_buf *ret_header,
                              uint64_t *ret_old_bytes,
                              struct rh_error *err) RH_MUST_USE;
/* Gives the sealed file at `path`, of this purpose and an empty binding, another wrapping of its file key: written
 * beside it
 * (".NAME.rehome-rewrap"), synced, opened with the new key, renamed, the folder synced; so the old or the new file is
 * there at any time. Owner and mode stay. err->side tells whether reading (source) or writing (destination) failed. */
enum rh_status rh_seal_rewrap_file(const char *path,
                                   const char *purpose,
                                   struct rh_key_provider *provider,
                                   struct rh_key_provider *new_provider,
                                   struct rh_error *err) RH_MUST_USE;

#endif
