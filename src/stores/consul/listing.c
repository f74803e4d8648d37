/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's keys. Consul lists the keys of a prefix in one answer, made from one state of the store, and can't begin
 * in the middle; so one listing serves all scans for as long as it is current. It lies in frames of sorted keys: a few
 * in memory, all of them sealed in an unnamed temporary file once there are many. Current: X-Consul-Index of a prefix
 * is the highest index of what changed below it, removals included. These are remembered for 15 minutes (Consul's
 * TombstoneTTL), so a listing lives for less.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAME_BYTES = 64 * 1024, MEMORY_FRAMES = 32, LONGEST_KEY = 1 << 20 };
static const int64_t life_us = INT64_C(300) * 1000000;

struct frame {
    uint8_t *first; /* its first key */
    size_t first_size;
    uint8_t *data; /* NULL: in the file */
    size_t size;
    uint64_t offset;
};

struct cs_listing {
    atomic_uint references;
    uint64_t index, count;
    int64_t made_us;
    struct frame *frames;
    size_t frame_count, frame_capacity;
    int fd; /* -1: all in memory */
    struct rh_key_provider *provider;
    struct rh_seal_writer *writer;
    struct rh_seal_reader *reader;
    pthread_mutex_t lock; /* the reader's */
    /* while it is made */
    const struct cs_store *store;
    struct rh_buf open, last;
};

void cs_listing_unref(struct cs_listing *listing)
{
    if (!listing || atomic_fetch_sub(&listing->references, 1) != 1)
        return;
    for (size_t i = 0; i < listing->frame_count; i++) {
        free(listing->frames[i].first);
        free(listing->frames[i].data);
    }
    free(listing->frames);
    rh_seal_writer_free(listing->writer);
    rh_seal_reader_free(listing->reader);
    rh_key_provider_free(listing->provider);
    if (listing->fd >= 0)
        (void)close(listing->fd);
    rh_buf_done(&listing->open);
    rh_buf_done(&listing->last);
    pthread_mutex_destroy(&listing->lock);
    free(listing);
}

static struct cs_listing *listing_new(const struct cs_store *store)
{
    struct cs_listing *listing = calloc(1, sizeof *listing);
    if (!listing)
        return NULL;
    atomic_init(&listing->references, 1);
    listing->fd = -1;
    listing->store = store;
    pthread_mutex_init(&listing->lock, NULL);
    return listing;
}

/* --- the file --- */

/* A file without a name. */
static int open_unnamed(const char *folder)
{
    return folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
}

/* Opens the file and its seal. */
static enum rh_status open_file(struct cs_listing *listing, struct rh_error *err)
{
    const char *temporary = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe): nobody sets variables here
    const char *folder = listing->store->spool_dir;
    listing->fd = open_unnamed(folder);
    if (listing->fd < 0) {
        folder = temporary && *temporary ? temporary : "/tmp";
        listing->fd = open_unnamed(folder);
    }
    if (listing->fd < 0)
        return rh_fail_errno(err, errno, "making a temporary file in '%s'", RH_SHOW(rh_bytes_text(folder)));
    enum rh_status status = rh_key_provider_memory(&listing->provider, err);
    return status
               ? status
               : rh_seal_writer_new(listing->provider, listing->fd, "key-list", rh_bytes("", 0), &listing->writer, err);
}

/* A frame goes to the file. */
static enum rh_status spool(struct cs_listing *listing, struct frame *frame, struct rh_error *err)
{
    enum rh_status status =
        rh_seal_writer_add(listing->writer, rh_bytes(frame->data, frame->size), &frame->offset, err);
    if (status)
        return status;
    free(frame->data);
    frame->data = NULL;
    return RH_OK;
}

/* --- making it --- */

static enum rh_status grow_frames(struct cs_listing *listing, struct rh_error *err)
{
    if (listing->frame_count < listing->frame_capacity)
        return RH_OK;
    size_t capacity = listing->frame_capacity ? listing->frame_capacity * 2 : 64;
    struct frame *grown = realloc(listing->frames, capacity * sizeof *grown);
    if (!grown)
        return rh_fail_memory(err);
    listing->frames = grown;
    listing->frame_capacity = capacity;
    return RH_OK;
}

/* Ends the frame that is being filled. */
static enum rh_status end_frame(struct cs_listing *listing, struct rh_error *err)
{
    if (!listing->open.size)
        return RH_OK;
    enum rh_status status = grow_frames(listing, err);
    if (status)
        return status;
    struct rh_cursor cursor = rh_cursor(rh_buf_bytes(&listing->open));
    struct rh_bytes first = rh_cursor_bytes32(&cursor);
    struct frame *frame = &listing->frames[listing->frame_count];
    *frame = (struct frame){.first_size = first.size, .size = listing->open.size};
    frame->first = malloc(first.size ? first.size : 1);
    frame->data = malloc(frame->size);
    if (!frame->first || !frame->data) {
        free(frame->first);
        free(frame->data);
        return rh_fail_memory(err);
    }
    memcpy(frame->first, first.data, first.size);
    memcpy(frame->data, listing->open.data, frame->size);
    listing->frame_count++;
    rh_buf_clear(&listing->open);
    if (listing->frame_count == MEMORY_FRAMES + 1)
        status = open_file(listing, err);
    for (size_t i = listing->frame_count == MEMORY_FRAMES + 1 ? 0 : listing->frame_count - 1;
         !status && listing->fd >= 0 && i < listing->frame_count; i++)
        status = spool(listing, &listing->frames[i], err);
    return status;
}

/* One key of the answer: in order, of the path, and with all its bytes. */
static enum rh_status add_key(void *user, struct rh_bytes key, bool replaced, struct rh_error *err)
{
    struct cs_listing *listing = user;
    const struct cs_store *store = listing->store;
    if (replaced || !rh_utf8_valid(key)) {
        rh_fail(err, RH_E_REFUSED, "the store holds a key that isn't valid UTF-8, near '%s'", RH_SHOW(key));
        rh_error_hint(err, "Consul's own API doesn't tell such a key's bytes; Vault makes none. Remove it: consul kv "
                           "delete");
        return RH_E_REFUSED;
    }
    if (!rh_bytes_starts(key, rh_bytes_text(store->path)))
        return rh_fail(err, RH_E_CORRUPT, "the listing holds '%s', which isn't below '%s'", RH_SHOW(key), store->path);
    key = rh_bytes(key.data + store->path_size, key.size - store->path_size);
    if (!key.size) { /* the "folder" itself, as Consul's web page makes it; Vault can't address it */
        rh_log(RH_LOG_WARN, "the entry of the path itself is no record and stays behind", {"path", store->path});
        return RH_OK;
    }
    if (key.size > LONGEST_KEY)
        return rh_fail(err, RH_E_LIMIT, "a key of %zu bytes: '%s'", key.size, RH_SHOW(key));
    if (listing->count && rh_bytes_compare(rh_buf_bytes(&listing->last), key) >= 0)
        return rh_fail(err, RH_E_CORRUPT, "the listing isn't in order at '%s'", RH_SHOW(key));
    rh_buf_clear(&listing->last);
    enum rh_status status = rh_buf_add(&listing->last, key.data, key.size, err);
    if (!status && listing->open.size && listing->open.size + key.size > FRAME_BYTES)
        status = end_frame(listing, err);
    if (!status)
        status = rh_buf_bytes32(&listing->open, key, err);
    if (!status)
        listing->count++;
    return status;
}

/* "%2F" for all but what may stand in a path. */
static enum rh_status add_encoded(struct rh_buf *out, struct rh_bytes text, struct rh_error *err)
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; !status && i < text.size; i++) {
        uint8_t c = text.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        status = plain ? rh_buf_u8(out, c, err) : rh_buf_format(out, err, "%%%02X", c);
    }
    return status;
}

/* The index in the head of an answer about keys; without one it isn't Consul's. */
static enum rh_status answer_index(const struct cs_call *call, uint64_t *ret_index, struct rh_error *err)
{
    const char *text = call->http.header[CS_HEADER_INDEX];
    if (rh_parse_u64(rh_bytes_text(text), ret_index)) {
        rh_fail(err, RH_E_STORE, "listing keys failed: the answer (HTTP %ld) isn't Consul's: it has no X-Consul-Index",
                call->http.status);
        rh_error_hint(err, "check address: is there something between that answers in Consul's place?");
        return RH_E_STORE;
    }
    const char *filtered = call->http.header[CS_HEADER_FILTERED];
    if (strcmp(filtered, "true") == 0) {
        rh_fail(err, RH_E_DENIED, "the token may not read all keys: Consul says that it left some out");
        rh_error_hint(err, "give the token the right to read the whole path");
        return RH_E_DENIED;
    }
    return RH_OK;
}

/* One try at a whole listing. */
static enum rh_status list_once(struct rh_ctx *ctx, struct cs_session *session, struct cs_listing *listing)
{
    struct cs_call *call = &session->plain;
    rh_buf_clear(&call->body);
    rh_buf_clear(&call->target);
    enum rh_status status = rh_buf_text(&call->target, "/v1/kv/", ctx->err);
    if (!status)
        status = add_encoded(&call->target, rh_bytes_text(session->store->path), ctx->err);
    if (!status)
        status = rh_buf_text(&call->target, "?keys&consistent", ctx->err);
    call->answer.kind = CS_ANSWER_KEYS;
    call->answer.add_key = add_key;
    call->answer.add_user = listing;
    if (!status)
        status = cs_start(session, call, "GET", ctx->err);
    if (!status)
        status = cs_finish(ctx, session, call, "listing keys");
    if (!status)
        status = answer_index(call, &listing->index, ctx->err);
    if (!status)
        status = end_frame(listing, ctx->err);
    if (!status && listing->writer)
        status = rh_seal_writer_end(listing->writer, rh_bytes("", 0), ctx->err);
    if (!status && listing->writer && lseek(listing->fd, 0, SEEK_SET) != 0)
        status = rh_fail_errno(ctx->err, errno, "reading the temporary file");
    if (!status && listing->writer)
        status =
            rh_seal_reader_new(listing->provider, listing->fd, "key-list", rh_bytes("", 0), &listing->reader, ctx->err);
    rh_buf_done(&listing->open);
    rh_buf_done(&listing->last);
    listing->open = listing->last = (struct rh_buf){0};
    return status;
}

/* A new listing, between two proofs that the token sees everything. */
static enum rh_status make(struct rh_ctx *ctx, struct cs_session *session, struct cs_listing **ret_listing)
{
    struct cs_store *store = session->store;
    enum rh_status status = cs_rights_need(ctx, session);
    struct cs_listing *listing = NULL;
    for (unsigned tries = 0; !status; tries++) {
        listing = listing_new(store);
        if (!listing)
            return rh_fail_memory(ctx->err);
        listing->made_us = rh_clock_us();
        status = list_once(ctx, session, listing);
        if (!status)
            break;
        cs_listing_unref(listing);
        listing = NULL;
        if (cs_again(ctx, &session->plain, tries))
            status = rh_ctx_check(ctx);
    }
    if (!status)
        status = cs_rights_need(ctx, session);
    if (status) {
        cs_listing_unref(listing);
        return status;
    }
    *ret_listing = listing;
    return RH_OK;
}

/* --- whether it is current --- */

/* The part of the path that all keys of a range have, down to a slash and fit to stand in a URL. */
static size_t common_prefix(struct rh_range range)
{
    size_t least = range.from.size < range.to.size ? range.from.size : range.to.size, at = 0, slash = 0;
    while (at < least && range.from.data[at] == range.to.data[at]) {
        uint8_t c = range.from.data[at];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!plain && c != '/')
            break;
        if (c == '/') {
            if (at == slash) /* an empty part */
                break;
            slash = at + 1;
        }
        at++;
    }
    return slash;
}

/* The highest index of what changed below a part of the path; *ret_any: something is there. */
static enum rh_status
ask_index(struct rh_ctx *ctx, struct cs_session *session, struct rh_bytes part, uint64_t *ret_index, bool *ret_any)
{
    struct cs_call *call = &session->plain;
    rh_buf_clear(&call->body);
    rh_buf_clear(&call->target);
    enum rh_status status = rh_buf_text(&call->target, "/v1/kv/", ctx->err);
    if (!status)
        status = add_encoded(&call->target, rh_bytes_text(session->store->path), ctx->err);
    if (!status)
        status = add_encoded(&call->target, part, ctx->err);
    /* a separator: what is below a folder comes as one line */
    if (!status)
        status = rh_buf_text(&call->target, "?keys&separator=/&consistent", ctx->err);
    call->answer.kind = CS_ANSWER_TXN; /* a list of texts, that nobody keeps */
    if (!status)
        status = cs_ask(ctx, session, "GET", "looking for changes");
    if (!status)
        status = answer_index(call, ret_index, ctx->err);
    *ret_any = call->http.status == 200;
    return status;
}

/* Whether nothing in the range has changed since the listing was made. */
static enum rh_status is_current(struct rh_ctx *ctx,
                                 struct cs_session *session,
                                 const struct cs_listing *listing,
                                 struct rh_range range,
                                 bool *ret_current)
{
    uint64_t index = 0;
    bool any = false;
    *ret_current = false;
    if (rh_clock_us() - listing->made_us > life_us)
        return RH_OK;
    const size_t common = common_prefix(range);
    enum rh_status status = ask_index(ctx, session, rh_bytes(range.from.data, common), &index, &any);
    *ret_current = !status && any && (common ? index <= listing->index : index == listing->index);
    return status;
}

enum rh_status
cs_listing_compare(struct rh_ctx *ctx, struct cs_session *session, const struct cs_listing *listing, bool *ret_changed)
{
    uint64_t index = 0;
    bool any = false;
    enum rh_status status = ask_index(ctx, session, rh_bytes("", 0), &index, &any);
    if (status)
        return status;
    if (index < listing->index && rh_clock_us() - listing->made_us < life_us)
        return rh_fail(ctx->err, RH_E_STORE,
                       "'%s' went back to an earlier state while it was read (restarted empty, or a snapshot was "
                       "restored)",
                       session->store->address);
    *ret_changed = index != listing->index;
    return RH_OK;
}

enum rh_status
cs_listing_get(struct rh_ctx *ctx, struct cs_session *session, struct rh_range range, struct cs_listing **ret_listing)
{
    struct cs_store *store = session->store;
    enum rh_status status = RH_OK;
    struct cs_listing *listing = NULL;
    pthread_mutex_lock(&store->listing_lock);
    pthread_mutex_lock(&store->lock);
    listing = store->listing;
    pthread_mutex_unlock(&store->lock);
    bool current = false;
    if (listing)
        status = is_current(ctx, session, listing, range, &current);
    if (!status && !current) {
        struct cs_listing *made = NULL;
        status = make(ctx, session, &made);
        if (!status) {
            pthread_mutex_lock(&store->lock);
            store->listing = made;
            pthread_mutex_unlock(&store->lock);
            cs_listing_unref(listing);
            listing = made;
        }
    }
    if (!status) {
        atomic_fetch_add(&listing->references, 1);
        *ret_listing = listing;
    }
    pthread_mutex_unlock(&store->listing_lock);
    return status;
}

/* --- cursors --- */

/* A frame's keys into the cursor. */
static enum rh_status load(struct cs_cursor *cursor, size_t number, struct rh_error *err)
{
    struct cs_listing *listing = cursor->listing;
    const struct frame *frame = &listing->frames[number];
    enum rh_status status;
    cursor->frame = number;
    cursor->at = 0;
    rh_buf_clear(&cursor->text);
    if (frame->data)
        return rh_buf_add(&cursor->text, frame->data, frame->size, err);
    pthread_mutex_lock(&listing->lock);
    status = rh_seal_reader_at(listing->reader, frame->offset, number, &cursor->text, err);
    pthread_mutex_unlock(&listing->lock);
    if (status && !rh_failed(status))
        return rh_fail(err, RH_E_CORRUPT, "the temporary list of keys ends too early");
    return status;
}

/* The key under the cursor; false at the frame's end. */
static bool key_here(const struct cs_cursor *cursor, struct rh_bytes *ret_key)
{
    struct rh_cursor at = rh_cursor(rh_bytes(cursor->text.data + cursor->at, cursor->text.size - cursor->at));
    if (!rh_cursor_left(&at))
        return false;
    *ret_key = rh_cursor_bytes32(&at);
    return !at.bad;
}

enum rh_status cs_cursor_seek(struct cs_cursor *cursor, struct rh_bytes from, bool after, struct rh_error *err)
{
    const struct cs_listing *listing = cursor->listing;
    size_t low = 0, high = listing->frame_count;
    /* the last frame whose first key isn't above */
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        const struct frame *frame = &listing->frames[middle];
        if (rh_bytes_compare(rh_bytes(frame->first, frame->first_size), from) <= 0)
            low = middle;
        else
            high = middle;
    }
    cursor->frame = low;
    cursor->at = 0;
    rh_buf_clear(&cursor->text);
    if (!listing->frame_count)
        return RH_OK;
    enum rh_status status = load(cursor, low, err);
    struct rh_bytes key;
    while (!status && key_here(cursor, &key)) {
        int compare = rh_bytes_compare(key, from);
        if (compare > 0 || (compare == 0 && !after))
            break;
        cursor->at += 4 + key.size;
    }
    return status;
}

enum rh_status cs_cursor_next(struct cs_cursor *cursor, struct rh_bytes *ret_key, struct rh_error *err)
{
    while (!key_here(cursor, ret_key)) {
        if (cursor->frame + 1 >= cursor->listing->frame_count)
            return RH_END;
        enum rh_status status = load(cursor, cursor->frame + 1, err);
        if (status)
            return status;
    }
    cursor->at += 4 + ret_key->size;
    return RH_OK;
}

void cs_cursor_done(struct cs_cursor *cursor)
{
    cs_listing_unref(cursor->listing);
    cursor->listing = NULL;
    rh_buf_done(&cursor->text);
}
