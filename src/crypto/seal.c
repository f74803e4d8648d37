/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed files and blobs: docs/formats/seal.md, "Frames" and "Opening". Knowledge: EVP_EncryptInit(3), GCM. */
#include "seal_internal.h"
#include "secret_internal.h"

#include <rehome/base.h>

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD_BYTES = 8, FLAG_LAST = 1, READ_STEP = 4 * 1024 * 1024 };

/* The nonce of a frame. */
static void make_nonce(uint8_t nonce[static RH_SEAL_NONCE_BYTES], uint64_t number, bool last)
{
    for (size_t i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(number >> (56 - 8 * i));
    nonce[8] = nonce[9] = nonce[10] = 0;
    nonce[11] = last;
}

/* A cipher context that holds the frame key; wipes the caller's. */
static enum rh_status
cipher_new(struct rh_seal_keys *keys, bool encrypt, EVP_CIPHER_CTX **ret_ctx, struct rh_error *err)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool done = ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, keys->frame_key, NULL, encrypt) == 1;
    rh_wipe(keys->frame_key, sizeof keys->frame_key);
    if (!done) {
        EVP_CIPHER_CTX_free(ctx);
        return rh_fail_openssl(err, "preparing the cipher");
    }
    *ret_ctx = ctx;
    return RH_OK;
}

/* --- writing --- */

struct rh_seal_writer {
    int fd;
    EVP_CIPHER_CTX *ctx;
    EVP_MD_CTX *hash;    /* over all that was written; NULL: nobody asked */
    struct rh_buf frame; /* reused */
    uint64_t number, size;
    uint8_t header_hash[RH_SEAL_HASH_BYTES];
    bool over; /* ended, or failed: no more frames */
};

/* Encrypts one frame to the end of out. */
static enum rh_status put_frame(EVP_CIPHER_CTX *ctx,
                                const uint8_t *header_hash,
                                uint64_t number,
                                bool last,
                                struct rh_bytes plain,
                                struct rh_buf *out,
                                struct rh_error *err)
{
    if (plain.size > RH_SEAL_FRAME_MAX)
        return rh_fail(err, RH_E_LIMIT, "sealing %zu bytes: a frame holds %u", plain.size, RH_SEAL_FRAME_MAX);
    enum rh_status status = rh_buf_reserve(out, HEAD_BYTES + plain.size + RH_SEAL_TAG_BYTES, err);
    if (!status)
        status = rh_buf_u32be(out, (uint32_t)plain.size, err);
    if (!status)
        status = rh_buf_u32be(out, last ? FLAG_LAST : 0, err);
    if (status)
        return status;
    uint8_t nonce[RH_SEAL_NONCE_BYTES], *body = out->data + out->size;
    make_nonce(nonce, number, last);
    int length;
    bool done = EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
                EVP_EncryptUpdate(ctx, NULL, &length, header_hash, RH_SEAL_HASH_BYTES) == 1 &&
                EVP_EncryptUpdate(ctx, NULL, &length, body - HEAD_BYTES, HEAD_BYTES) == 1 &&
                (plain.size == 0 || EVP_EncryptUpdate(ctx, body, &length, plain.data, (int)plain.size) == 1) &&
                EVP_EncryptFinal_ex(ctx, body + plain.size, &length) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, RH_SEAL_TAG_BYTES, body + plain.size) == 1;
    if (!done)
        return rh_fail_openssl(err, "sealing a frame");
    out->size += plain.size + RH_SEAL_TAG_BYTES;
    return RH_OK;
}

void rh_seal_writer_free(struct rh_seal_writer *writer)
{
    if (!writer)
        return;
    EVP_CIPHER_CTX_free(writer->ctx);
    EVP_MD_CTX_free(writer->hash);
    rh_buf_done(&writer->frame);
    free(writer);
}

/* The half-built writer gets its header and writes it. */
static enum rh_status begin_file(struct rh_seal_writer *writer,
                                 struct rh_key_provider *provider,
                                 const char *purpose,
                                 struct rh_bytes binding,
                                 struct rh_error *err)
{
    struct rh_seal_keys keys;
    enum rh_status status = rh_seal_header_make(provider, purpose, binding, &writer->frame, &keys, err);
    if (status)
        return status;
    memcpy(writer->header_hash, keys.header_hash, sizeof writer->header_hash);
    status = cipher_new(&keys, true, &writer->ctx, err);
    if (!status)
        status = rh_write_all(writer->fd, rh_buf_bytes(&writer->frame), err);
    writer->size += writer->frame.size;
    return status;
}

enum rh_status rh_seal_writer_new(struct rh_key_provider *provider,
                                  int fd,
                                  const char *purpose,
                                  struct rh_bytes binding,
                                  struct rh_seal_writer **ret_writer,
                                  struct rh_error *err)
{
    struct rh_seal_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return rh_fail_memory(err);
    off_t at = lseek(fd, 0, SEEK_CUR);
    writer->fd = fd;
    writer->size = at > 0 ? (uint64_t)at : 0; /* a pipe has no position */
    enum rh_status status = begin_file(writer, provider, purpose, binding, err);
    if (status) {
        rh_seal_writer_free(writer);
        return status;
    }
    *ret_writer = writer;
    return RH_OK;
}

/* One frame into the file. */
static enum rh_status write_frame(struct rh_seal_writer *writer, struct rh_bytes plain, bool last, struct rh_error *err)
{
    if (writer->over)
        return rh_fail(err, RH_E_INTERNAL, "writing a sealed file: it has ended, or failed before");
    if (plain.size > RH_SEAL_FRAME_MAX)
        return rh_fail(err, RH_E_LIMIT, "sealing %zu bytes: a frame holds %u", plain.size, RH_SEAL_FRAME_MAX);
    writer->over = true; /* until it is known to have worked: a number is never used twice */
    rh_buf_clear(&writer->frame);
    enum rh_status status =
        put_frame(writer->ctx, writer->header_hash, writer->number, last, plain, &writer->frame, err);
    if (!status && writer->hash && EVP_DigestUpdate(writer->hash, writer->frame.data, writer->frame.size) != 1)
        status = rh_fail_openssl(err, "hashing a frame");
    if (!status)
        status = rh_write_all(writer->fd, rh_buf_bytes(&writer->frame), err);
    if (status) {
        if (err)
            rh_error_prepend(err, "writing a sealed file");
        return status;
    }
    writer->number++;
    writer->size += writer->frame.size;
    writer->over = last || writer->number == UINT64_MAX;
    rh_crash_point("seal-frame");
    return RH_OK;
}

enum rh_status
rh_seal_writer_add(struct rh_seal_writer *writer, struct rh_bytes plain, uint64_t *ret_offset, struct rh_error *err)
{
    uint64_t offset = writer->size;
    enum rh_status status = write_frame(writer, plain, false, err);
    if (!status && ret_offset)
        *ret_offset = offset;
    return status;
}

enum rh_status rh_seal_writer_end(struct rh_seal_writer *writer, struct rh_bytes plain, struct rh_error *err)
{
    return write_frame(writer, plain, true, err);
}

uint64_t rh_seal_writer_size(const struct rh_seal_writer *writer)
{
    return writer->size;
}

enum rh_status rh_seal_writer_hash(struct rh_seal_writer *writer, struct rh_error *err)
{
    if (writer->number || writer->hash)
        return rh_fail(err, RH_E_INTERNAL, "hashing a sealed file: it has begun");
    writer->hash = EVP_MD_CTX_new();
    /* the header is still in the buffer */
    if (!writer->hash || EVP_DigestInit_ex(writer->hash, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(writer->hash, writer->frame.data, writer->frame.size) != 1)
        return rh_fail_openssl(err, "hashing a sealed file");
    return RH_OK;
}

enum rh_status rh_seal_writer_hashed(struct rh_seal_writer *writer,
                                     uint8_t ret_hash[static RH_SEAL_FILE_HASH_BYTES],
                                     struct rh_error *err)
{
    if (!writer->hash || !writer->over)
        return rh_fail(err, RH_E_INTERNAL, "hashing a sealed file: it hasn't ended");
    if (EVP_DigestFinal_ex(writer->hash, ret_hash, NULL) != 1)
        return rh_fail_openssl(err, "hashing a sealed file");
    return RH_OK;
}

/* --- reading --- */

/* A descriptor, or memory when fd is -1. */
struct input {
    int fd;
    bool seekable;
    uint64_t at; /* of the next byte */
    struct rh_bytes memory;
};

struct rh_seal_reader {
    struct input in;
    EVP_CIPHER_CTX *ctx;
    uint64_t number;
    uint8_t header_hash[RH_SEAL_HASH_BYTES];
    bool last_seen;
    bool lost; /* a pipe that failed inside a frame */
};

/* A frame's head, as far as it is known before the tag was checked. */
struct head {
    uint8_t bytes[HEAD_BYTES];
    uint32_t size;
    bool last;
};

/* One read of at most `size` bytes; 0 at the end. */
static ssize_t read_some(const struct input *in, uint8_t *out, size_t size)
{
    if (in->fd < 0) {
        size_t left = in->at < in->memory.size ? in->memory.size - (size_t)in->at : 0;
        size = size < left ? size : left;
        if (size)
            memcpy(out, in->memory.data + in->at, size);
        return (ssize_t)size;
    }
    if (!in->seekable)
        return read(in->fd, out, size);
    return in->at > INT64_MAX ? 0 : pread(in->fd, out, size, (off_t)in->at);
}

/* Reads until `size` or the end; says how much came. */
static enum rh_status read_full(struct input *in, uint8_t *out, size_t size, size_t *ret_got, struct rh_error *err)
{
    size_t got = 0;
    while (got < size) {
        ssize_t some = read_some(in, out + got, size - got);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            return rh_fail_errno(err, errno, "reading a sealed file");
        if (some == 0)
            break;
        got += (size_t)some;
        in->at += (uint64_t)some;
    }
    *ret_got = got;
    return RH_OK;
}

/* Reads exactly `size` bytes of the header. */
static enum rh_status read_header(struct input *in, uint8_t *out, size_t size, struct rh_error *err)
{
    size_t got = 0;
    enum rh_status status = read_full(in, out, size, &got, err);
    if (!status && got < size)
        status = rh_fail(err, RH_E_CORRUPT, "opening a sealed file: its header is cut off");
    return status;
}

/* The two parts of a header as read. */
struct parts {
    uint8_t fixed[RH_SEAL_FIXED_MOST], wrap[RH_SEAL_WRAP_MOST];
    size_t fixed_size, wrap_size;
};

/* Reads both parts, bounded; what they say isn't looked at yet. */
static enum rh_status read_parts(struct input *in, struct parts *parts, struct rh_error *err)
{
    uint8_t size_bytes[4];
    size_t fixed_size;
    enum rh_status status = read_header(in, parts->fixed, RH_SEAL_START_BYTES, err);
    if (!status)
        status = rh_seal_header_start(rh_bytes(parts->fixed, RH_SEAL_START_BYTES), &fixed_size, err);
    if (!status)
        status = read_header(in, parts->fixed + RH_SEAL_START_BYTES, fixed_size - RH_SEAL_START_BYTES, err);
    if (!status)
        status = read_header(in, size_bytes, sizeof size_bytes, err);
    if (status)
        return status;
    struct rh_cursor cur = rh_cursor(rh_bytes(size_bytes, sizeof size_bytes));
    size_t wrap_size = rh_cursor_u32be(&cur);
    if (wrap_size > sizeof parts->wrap)
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed file: wrap part of %zu bytes is out of bounds", wrap_size);
    parts->fixed_size = fixed_size;
    parts->wrap_size = wrap_size;
    return read_header(in, parts->wrap, wrap_size, err);
}

/* Reads and checks the header; the reader is ready then. */
static enum rh_status open_file(struct rh_seal_reader *reader,
                                struct rh_key_provider *provider,
                                const char *purpose,
                                struct rh_bytes binding,
                                struct rh_error *err)
{
    struct parts parts;
    enum rh_status status = read_parts(&reader->in, &parts, err);
    if (status)
        return status;
    struct rh_seal_keys keys;
    status = rh_seal_header_open(provider, purpose, binding, rh_bytes(parts.fixed, parts.fixed_size),
                                 rh_bytes(parts.wrap, parts.wrap_size), &keys, err);
    if (status)
        return status;
    memcpy(reader->header_hash, keys.header_hash, sizeof reader->header_hash);
    return cipher_new(&keys, false, &reader->ctx, err);
}

enum rh_status rh_seal_reader_new(struct rh_key_provider *provider,
                                  int fd,
                                  const char *purpose,
                                  struct rh_bytes binding,
                                  struct rh_seal_reader **ret_reader,
                                  struct rh_error *err)
{
    struct rh_seal_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return rh_fail_memory(err);
    off_t at = lseek(fd, 0, SEEK_CUR);
    reader->in = (struct input){.fd = fd, .seekable = at >= 0, .at = at > 0 ? (uint64_t)at : 0};
    enum rh_status status = open_file(reader, provider, purpose, binding, err);
    if (status) {
        rh_seal_reader_free(reader);
        return status;
    }
    *ret_reader = reader;
    return RH_OK;
}

void rh_seal_reader_free(struct rh_seal_reader *reader)
{
    if (!reader)
        return;
    EVP_CIPHER_CTX_free(reader->ctx);
    free(reader);
}

/* Reads and bounds a frame's head. RH_NOT_FOUND when the file ends before or in it. */
static enum rh_status read_head(struct input *in, struct head *ret_head, struct rh_error *err)
{
    size_t got = 0;
    enum rh_status status = read_full(in, ret_head->bytes, HEAD_BYTES, &got, err);
    if (status)
        return status;
    if (got < HEAD_BYTES)
        return RH_NOT_FOUND;
    struct rh_cursor cur = rh_cursor(rh_bytes(ret_head->bytes, HEAD_BYTES));
    ret_head->size = rh_cursor_u32be(&cur);
    uint32_t flags = rh_cursor_u32be(&cur);
    if (ret_head->size > RH_SEAL_FRAME_MAX || flags > FLAG_LAST)
        return rh_fail(err, RH_E_CORRUPT, "reading a sealed file: a frame's head isn't well-formed");
    ret_head->last = flags & FLAG_LAST;
    return RH_OK;
}

/* Decrypts in place; what isn't genuine is wiped. */
static enum rh_status decrypt(struct rh_seal_reader *reader,
                              const struct head *head,
                              uint8_t *body,
                              uint8_t tag[static RH_SEAL_TAG_BYTES],
                              struct rh_error *err)
{
    EVP_CIPHER_CTX *ctx = reader->ctx;
    uint8_t nonce[RH_SEAL_NONCE_BYTES], none[RH_SEAL_TAG_BYTES];
    make_nonce(nonce, reader->number, head->last);
    int length;
    bool genuine = EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
                   EVP_DecryptUpdate(ctx, NULL, &length, reader->header_hash, RH_SEAL_HASH_BYTES) == 1 &&
                   EVP_DecryptUpdate(ctx, NULL, &length, head->bytes, HEAD_BYTES) == 1 &&
                   (head->size == 0 || EVP_DecryptUpdate(ctx, body, &length, body, (int)head->size) == 1) &&
                   EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, RH_SEAL_TAG_BYTES, tag) == 1 &&
                   EVP_DecryptFinal_ex(ctx, none, &length) == 1;
    if (genuine)
        return RH_OK;
    rh_wipe(body, head->size);
    return rh_fail(err, RH_E_CORRUPT, "reading a sealed file: frame %llu was changed, moved or taken from elsewhere",
                   (unsigned long long)reader->number);
}

/* A frame's body into buf, step by step, so that a lying size costs no memory. */
static enum rh_status
read_body(struct rh_seal_reader *reader, const struct head *head, struct rh_buf *buf, struct rh_error *err)
{
    size_t got = 0;
    while (buf->size < head->size) {
        size_t step = head->size - buf->size;
        step = step < READ_STEP ? step : READ_STEP;
        enum rh_status status = rh_buf_reserve(buf, step, err);
        if (!status)
            status = read_full(&reader->in, buf->data + buf->size, step, &got, err);
        if (status)
            return status;
        if (got < step)
            return RH_NOT_FOUND;
        buf->size += step;
    }
    uint8_t tag[RH_SEAL_TAG_BYTES];
    enum rh_status status = read_full(&reader->in, tag, sizeof tag, &got, err);
    if (!status && got < sizeof tag)
        status = RH_NOT_FOUND;
    return status ? status : decrypt(reader, head, buf->data, tag, err);
}

/* After the last frame: the end, or too much. */
static enum rh_status check_end(struct rh_seal_reader *reader, struct rh_error *err)
{
    uint8_t more;
    size_t got = 0;
    struct input in = reader->in; /* a look, not a step */
    enum rh_status status = read_full(&in, &more, 1, &got, err);
    if (status)
        return status;
    if (got && !reader->in.seekable)
        reader->lost = true;
    return got ? rh_fail(err, RH_E_CORRUPT, "reading a sealed file: bytes after its last frame") : RH_END;
}

enum rh_status
rh_seal_reader_next(struct rh_seal_reader *reader, struct rh_buf *buf, uint64_t *ret_offset, struct rh_error *err)
{
    rh_buf_clear(buf);
    if (reader->lost)
        return rh_fail(err, RH_E_CORRUPT, "reading a sealed file: it failed before");
    if (reader->last_seen)
        return check_end(reader, err);
    uint64_t offset = reader->in.at;
    struct head head;
    enum rh_status status = read_head(&reader->in, &head, err);
    if (!status)
        status = read_body(reader, &head, buf, err);
    if (ret_offset && (status == RH_OK || status == RH_NOT_FOUND))
        *ret_offset = offset;
    if (status) {
        rh_buf_clear(buf);
        reader->in.at = offset; /* asked again, it says the same, or finds what was written meanwhile */
        reader->lost = !reader->in.seekable && status != RH_NOT_FOUND;
        return status;
    }
    reader->number++;
    reader->last_seen = head.last;
    return RH_OK;
}

enum rh_status rh_seal_reader_at(
    struct rh_seal_reader *reader, uint64_t offset, uint64_t number, struct rh_buf *buf, struct rh_error *err)
{
    if (!reader->in.seekable)
        return rh_fail(err, RH_E_INTERNAL, "reading a sealed file at a place: it can't be seeked in");
    reader->in.at = offset;
    reader->number = number;
    reader->last_seen = false;
    return rh_seal_reader_next(reader, buf, NULL, err);
}

uint64_t rh_seal_reader_offset(const struct rh_seal_reader *reader)
{
    return reader->in.at;
}

/* --- without the frames --- */

enum rh_status rh_seal_look(int fd, struct rh_seal_info *ret_info, struct rh_error *err)
{
    struct input in = {.fd = fd, .seekable = true};
    struct parts parts;
    struct rh_seal_info info = {0};
    enum rh_status status = read_parts(&in, &parts, err);
    if (!status)
        status = rh_seal_header_look(rh_bytes(parts.fixed, parts.fixed_size), rh_bytes(parts.wrap, parts.wrap_size),
                                     &info, err);
    if (status)
        return status;
    info.header_bytes = in.at;
    struct head head;
    status = read_head(&in, &head, err);
    if (rh_failed(status))
        return status;
    info.has_frame = status == RH_OK;
    info.first_frame_bytes = info.has_frame ? head.size : 0;
    info.first_is_last = info.has_frame && head.last;
    *ret_info = info;
    return RH_OK;
}

enum rh_status rh_seal_rewrap(int fd,
                              struct rh_key_provider *provider,
                              struct rh_key_provider *new_provider,
                              struct rh_buf *ret_header,
                              uint64_t *ret_old_bytes,
                              struct rh_error *err)
{
    struct input in = {.fd = fd, .seekable = true};
    struct parts parts;
    enum rh_status status = read_parts(&in, &parts, err);
    if (!status)
        status = rh_seal_header_rewrap(provider, new_provider, rh_bytes(parts.fixed, parts.fixed_size),
                                       rh_bytes(parts.wrap, parts.wrap_size), ret_header, err);
    if (!status)
        *ret_old_bytes = in.at;
    return status;
}

/* --- blobs --- */

enum rh_status rh_seal_blob(struct rh_key_provider *provider,
                            const char *purpose,
                            struct rh_bytes binding,
                            struct rh_bytes plain,
                            struct rh_buf *ret_sealed,
                            struct rh_error *err)
{
    struct rh_seal_keys keys;
    rh_auto_buf struct rh_buf sealed = RH_BUF_INIT;
    EVP_CIPHER_CTX *ctx = NULL;
    enum rh_status status = rh_seal_header_make(provider, purpose, binding, &sealed, &keys, err);
    if (!status)
        status = cipher_new(&keys, true, &ctx, err);
    if (!status)
        status = put_frame(ctx, keys.header_hash, 0, true, plain, &sealed, err);
    EVP_CIPHER_CTX_free(ctx);
    return status ? status : rh_buf_add(ret_sealed, sealed.data, sealed.size, err);
}

/* The only frame of an opened blob, into secret memory. */
static enum rh_status open_blob(struct rh_seal_reader *reader, struct rh_secret **ret_plain, struct rh_error *err)
{
    struct head head;
    rh_auto_secret struct rh_secret *plain = NULL;
    uint8_t *data, tag[RH_SEAL_TAG_BYTES];
    enum rh_status status = read_head(&reader->in, &head, err);
    uint64_t left = reader->in.memory.size - reader->in.at;
    if (status == RH_NOT_FOUND || (!status && (!head.last || left != (uint64_t)head.size + RH_SEAL_TAG_BYTES)))
        return rh_fail(err, RH_E_CORRUPT, "opening a sealed blob: not one whole frame");
    if (!status)
        status = rh_secret_make(head.size, &plain, &data, err);
    if (status)
        return status;
    const uint8_t *body = reader->in.memory.data + reader->in.at;
    memcpy(data, body, head.size);
    memcpy(tag, body + head.size, sizeof tag);
    status = decrypt(reader, &head, data, tag, err);
    if (!status)
        *ret_plain = rh_take(plain);
    return status;
}

enum rh_status rh_unseal_blob(struct rh_key_provider *provider,
                              const char *purpose,
                              struct rh_bytes binding,
                              struct rh_bytes sealed,
                              struct rh_secret **ret_plain,
                              struct rh_error *err)
{
    struct rh_seal_reader reader = {
        .in = {.fd = -1, .seekable = true, .memory = sealed}
    };
    enum rh_status status = open_file(&reader, provider, purpose, binding, err);
    if (!status)
        status = open_blob(&reader, ret_plain, err);
    EVP_CIPHER_CTX_free(reader.ctx);
    return status;
}
