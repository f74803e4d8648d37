/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scans in byte order of the full key, along the index of (path, key), without a sort.
 *
 * The index has all rows of "/a/" before those of "/a/b/", while by key "a/b/x" comes before "a/c". But the index's
 * order is right within a folder and between folders that aren't inside each other, so a scan is a merge of few
 * streams: the folders, in the order of their paths, and the rows of each folder that is open, which are those from the
 * root down to where we are. The next row is the innermost open folder's, unless the path of the next folder comes
 * before it; then that one is opened. An open folder whose rows are given out is closed.
 *
 * Rows come by pages, asked for along the index from where the last page ended. One page holds the rows of many small
 * folders; a folder that doesn't end within the page goes on with pages of its own, and the stream of folders goes on
 * behind it. All pages of a scan see one snapshot (snapshot.c). The end of rows is the end of the data only when the
 * server said so, by a page that is shorter than what was asked for.
 */
#include "internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE_ROWS_MOST = 8192,
    PAGE_ROWS_FIRST = 64, /* until we know how large the rows are */
    PAGE_BYTES_MOST = 1024 * 1024,
    PAGE_BYTES_LEAST = 16 * 1024,
    KEPT_PAGES = 8, /* pages of outer folders that are kept while inner ones are read; others are read again */
};

/* Rows as they came, used by the folders whose rows they are. */
struct page {
    PGresult *rows;
    size_t users;
};

/* A folder whose rows are being given out. */
struct folder {
    struct rh_buf path; /* "/a/b/" */
    struct rh_buf key;  /* rows behind this one (or from it on, if `from_it`) are still to come */
    bool from_it;
    struct page *page; /* rows [at, end) of it; NULL: none here */
    int at, end;
    bool more; /* the server may hold rows behind those */
};

struct pg_scan {
    struct rh_scan base;
    struct pg_session *session;
    unsigned flags;
    struct folder *open; /* from the root inwards */
    size_t open_count, open_capacity;
    struct page *page; /* of the stream of folders: rows from `at` on */
    int at, end;
    bool folders_more;
    struct rh_buf path; /* folders behind this path are still to come */
    struct rh_buf to;   /* "/" and the first key that isn't wanted; empty: no end */
    bool ask_to;        /* `to` is text that the server takes */
    struct rh_buf from; /* rows before this are passed over; empty: the server does that */
    size_t page_bytes, row_bytes;
    int page_rows;
    struct rh_buf full; /* a key being put together */
    bool ended;
};

enum { PARENT, PATH, KEY, VALUE }; /* columns of a page */

/* --- pages --- */

static void page_leave(struct page **page)
{
    if (*page && --(*page)->users == 0) {
        PQclear((*page)->rows);
        free(*page);
    }
    *page = NULL;
}

/* The wanted columns. */
static const char *columns(unsigned flags)
{
    if (!(flags & RH_SCAN_KEYS_ONLY))
        return "parent_path, path, key, value";
    return flags & RH_SCAN_SIZES ? "parent_path, path, key, octet_length(value) AS value" : "parent_path, path, key";
}

/* Asks for a page of rows that meet `where`, of at most so many rows and about so many bytes. The sum of the sizes is
 * taken from what the server knows of a value without reading it. */
static enum rh_status
ask(struct rh_ctx *ctx, struct pg_scan *scan, const char *where, const struct pg_params *params, struct page **ret_page)
{
    struct pg_session *session = scan->session;
    const char *table = session->store->quoted;
    rh_buf_clear(&session->sql);
    enum rh_status status =
        scan->flags & RH_SCAN_KEYS_ONLY
            ? rh_buf_format(&session->sql, ctx->err, "SELECT %s FROM %s WHERE %s ORDER BY path, key LIMIT %d",
                            columns(scan->flags), table, where, scan->page_rows)
            : rh_buf_format(
                  &session->sql, ctx->err,
                  "SELECT parent_path, path, key, value FROM (SELECT parent_path, path, key, value, "
                  "sum(octet_length(value)) OVER (ORDER BY path, key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 "
                  "PRECEDING) AS before FROM %s WHERE %s ORDER BY path, key LIMIT %d) page WHERE before IS NULL "
                  "OR before < %zu ORDER BY path, key",
                  table, where, scan->page_rows, scan->page_bytes);
    PGresult *rows = NULL;
    if (!status)
        status = pg_query(ctx, session, "reading", rh_buf_cstr(&session->sql), params, &rows);
    if (status)
        return status;
    struct page *page = calloc(1, sizeof *page);
    if (!page) {
        PQclear(rows);
        return rh_fail_memory(ctx->err);
    }
    *page = (struct page){.rows = rows, .users = 1};
    *ret_page = page;
    return RH_OK;
}

/* Whether the server may have more than it put on this page; learns how many rows the next one should have. */
static bool page_is_full(struct pg_scan *scan, const struct page *page)
{
    int count = PQntuples(page->rows);
    uint64_t bytes = 0;
    if (scan->flags & RH_SCAN_KEYS_ONLY)
        return count == scan->page_rows;
    for (int i = 0; i < count; i++)
        bytes += (uint64_t)PQgetlength(page->rows, i, VALUE);
    bool full = count == scan->page_rows || bytes >= scan->page_bytes;
    if (count) {
        uint64_t rows = scan->page_bytes / (bytes / (uint64_t)count + 1) + 1;
        uint64_t most = 4 * (uint64_t)scan->page_rows;
        rows = rows > most ? most : rows;
        scan->page_rows = rows > 4096 ? 4096 : rows < 8 ? 8 : (int)rows;
    }
    return full;
}

/* The next page of folders. */
static enum rh_status ask_folders(struct rh_ctx *ctx, struct pg_scan *scan)
{
    struct pg_params params = {0};
    page_leave(&scan->page);
    pg_param(&params, PG_TEXT, scan->path.data, scan->path.size);
    if (scan->ask_to)
        pg_param(&params, PG_TEXT, scan->to.data, scan->to.size);
    enum rh_status status =
        ask(ctx, scan, scan->ask_to ? "path > $1 AND path < $2" : "path > $1", &params, &scan->page);
    if (status)
        return status;
    assert(scan->page);
    scan->at = 0;
    scan->end = PQntuples(scan->page->rows);
    scan->folders_more = page_is_full(scan, scan->page);
    return RH_OK;
}

/* The next page of one folder. */
static enum rh_status ask_folder(struct rh_ctx *ctx, struct pg_scan *scan, struct folder *folder)
{
    struct pg_params params = {0};
    page_leave(&folder->page);
    pg_param(&params, PG_TEXT, folder->path.data, folder->path.size);
    pg_param(&params, PG_TEXT, folder->key.data ? (const char *)folder->key.data : "", folder->key.size);
    enum rh_status status =
        ask(ctx, scan, folder->from_it ? "path = $1 AND key >= $2" : "path = $1 AND key > $2", &params, &folder->page);
    if (status)
        return status;
    folder->at = 0;
    folder->end = PQntuples(folder->page->rows);
    folder->more = page_is_full(scan, folder->page);
    return RH_OK;
}

/* --- open folders --- */

/* A new open folder inside the others. */
static enum rh_status
open_folder(struct pg_scan *scan, struct rh_bytes path, struct rh_bytes key, bool from_it, struct rh_error *err)
{
    if (scan->open_count == scan->open_capacity) {
        size_t capacity = scan->open_capacity ? 2 * scan->open_capacity : 16;
        struct folder *open = realloc(scan->open, capacity * sizeof *open);
        if (!open)
            return rh_fail_memory(err);
        scan->open = open;
        scan->open_capacity = capacity;
    }
    struct folder *folder = &scan->open[scan->open_count];
    *folder = (struct folder){.from_it = from_it, .more = true};
    enum rh_status status = rh_buf_add(&folder->path, path.data, path.size, err);
    if (!status)
        status = rh_buf_add(&folder->key, key.data, key.size, err);
    scan->open_count++; /* freed with the others, also when half made */
    return status;
}

static void close_folder(struct pg_scan *scan)
{
    struct folder *folder = &scan->open[--scan->open_count];
    page_leave(&folder->page);
    rh_buf_done(&folder->path);
    rh_buf_done(&folder->key);
}

/* Remembers where a folder is, so that its page can go. */
static enum rh_status forget_page(struct folder *folder, struct rh_error *err)
{
    if (!folder->page)
        return RH_OK;
    if (folder->at > 0 && folder->at <= folder->end) {
        struct rh_bytes last = pg_cell(folder->page->rows, folder->at - 1, KEY);
        rh_buf_clear(&folder->key);
        enum rh_status status = rh_buf_add(&folder->key, last.data, last.size, err);
        if (status)
            return status;
        folder->from_it = false;
    }
    folder->more = folder->more || folder->at < folder->end;
    page_leave(&folder->page);
    folder->at = folder->end = 0;
    return RH_OK;
}

/* Opens the folder at the head of the stream of folders, with the rows of it that are here. */
static enum rh_status descend(struct pg_scan *scan, struct rh_error *err)
{
    struct rh_bytes path = pg_cell(scan->page->rows, scan->at, PATH);
    int end = scan->at + 1;
    while (end < scan->end && rh_bytes_equal(pg_cell(scan->page->rows, end, PATH), path))
        end++;
    enum rh_status status = open_folder(scan, path, rh_bytes(NULL, 0), true, err);
    if (status)
        return status;
    struct folder *folder = &scan->open[scan->open_count - 1];
    folder->page = scan->page;
    scan->page->users++;
    folder->at = scan->at;
    folder->end = end;
    folder->more = end == scan->end && scan->folders_more;
    rh_buf_clear(&scan->path);
    status = rh_buf_add(&scan->path, path.data, path.size, err);
    scan->at = end;
    if (!status && scan->open_count > KEPT_PAGES)
        status = forget_page(&scan->open[scan->open_count - KEPT_PAGES - 1], err);
    return status;
}

/* Where the innermost folder's rows on its page end, the key of the last one is where it goes on. */
static enum rh_status next_rows(struct rh_ctx *ctx, struct pg_scan *scan, struct folder *folder)
{
    /* rows of the page of folders: the last row before `end` is the place */
    enum rh_status status = forget_page(folder, ctx->err);
    return status ? status : ask_folder(ctx, scan, folder);
}

/* Brings a row of the innermost open folder that comes before all folders that aren't open yet; RH_END without one. */
static enum rh_status seek(struct rh_ctx *ctx, struct pg_scan *scan)
{
    for (;;) {
        enum rh_status status = RH_OK;
        if (scan->at == scan->end && scan->folders_more && (status = ask_folders(ctx, scan)))
            return status;
        struct folder *folder = scan->open_count ? &scan->open[scan->open_count - 1] : NULL;
        if (folder && folder->at == folder->end) {
            if (!folder->more)
                close_folder(scan);
            else if ((status = next_rows(ctx, scan, folder)))
                return status;
            continue;
        }
        bool has_next = scan->at < scan->end;
        if (!folder && !has_next)
            return RH_END;
        if (has_next && folder) {
            /* path and key of the row against the path of the next folder */
            struct rh_bytes next = pg_cell(scan->page->rows, scan->at, PATH), path = rh_buf_bytes(&folder->path),
                            key = pg_cell(folder->page->rows, folder->at, KEY);
            size_t shared = path.size < next.size ? path.size : next.size;
            int order = memcmp(path.data, next.data, shared);
            if (order == 0)
                order =
                    path.size > next.size ? 1 : rh_bytes_compare(key, rh_bytes(next.data + shared, next.size - shared));
            if (order < 0)
                return RH_OK;
        } else if (folder)
            return RH_OK;
        if ((status = descend(scan, ctx->err)))
            return status;
    }
}

/* --- rows --- */

/* A row that no Vault writes: which, and what is wrong with it. */
static enum rh_status refuse_row(const PGresult *rows, int row, struct rh_error *err)
{
    rh_fail(err, RH_E_CORRUPT, "reading failed: the row with path '%s' and key '%s' isn't one that Vault writes",
            RH_SHOW(pg_cell(rows, row, PATH)), RH_SHOW(pg_cell(rows, row, KEY)));
    rh_error_hint(err,
                  "path is '/' and the key up to its last '/', parent_path the same without its last part (here it is "
                  "'%s'), key the rest; Vault doesn't find such a row: mend or remove it",
                  RH_SHOW(pg_cell(rows, row, PARENT)));
    return RH_E_CORRUPT;
}

/* Copies the row into the batch; scan->full holds its key. */
static enum rh_status
take_row(struct pg_scan *scan, const PGresult *rows, int row, struct rh_batch *batch, struct rh_error *err)
{
    struct rh_bytes key = rh_buf_bytes(&scan->full);
    if (!(scan->flags & RH_SCAN_KEYS_ONLY))
        return rh_batch_add_kv(batch, key, pg_cell(rows, row, VALUE), PQgetisnull(rows, row, VALUE))
                   ? RH_OK
                   : rh_fail_memory(err);
    struct rh_record *record = rh_batch_add(batch);
    if (!record)
        return rh_fail_memory(err);
    record->key = rh_arena_copy(&batch->arena, key);
    if (!record->key.data)
        return rh_fail_memory(err);
    if (scan->flags & RH_SCAN_SIZES && !PQgetisnull(rows, row, VALUE)) {
        struct rh_cursor cur = rh_cursor(pg_cell(rows, row, VALUE));
        record->value_bytes = rh_cursor_u32be(&cur);
        if (!rh_cursor_done(&cur))
            return rh_fail(err, RH_E_CORRUPT, "reading failed: the server's size isn't a number");
    }
    batch->bytes += key.size;
    return RH_OK;
}

/* Puts the row's key together in scan->full. */
static enum rh_status full_key(struct pg_scan *scan, const PGresult *rows, int row, struct rh_error *err)
{
    struct rh_bytes path = pg_cell(rows, row, PATH), key = pg_cell(rows, row, KEY);
    if (PQgetisnull(rows, row, PARENT) || !pg_split_matches(pg_cell(rows, row, PARENT), path, key))
        return refuse_row(rows, row, err);
    rh_buf_clear(&scan->full);
    enum rh_status status = rh_buf_add(&scan->full, path.data + 1, path.size - 1, err);
    return status ? status : rh_buf_add(&scan->full, key.data, key.size, err);
}

/* Reads rows until the batch is full. RH_END at the end of an empty batch. */
static enum rh_status
fill(struct rh_ctx *ctx, struct pg_scan *scan, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    const struct rh_bytes to = scan->to.size ? rh_bytes(scan->to.data + 1, scan->to.size - 1) : rh_bytes(NULL, 0);
    do {
        enum rh_status status = seek(ctx, scan);
        if (status == RH_END) {
            scan->ended = true;
            break;
        }
        if (status)
            return status;
        struct folder *folder = &scan->open[scan->open_count - 1];
        if ((status = full_key(scan, folder->page->rows, folder->at, ctx->err)))
            return status;
        if (to.size && rh_bytes_compare(rh_buf_bytes(&scan->full), to) >= 0) {
            scan->ended = true;
            break;
        }
        int row = folder->at++;
        if (scan->from.size && rh_bytes_compare(rh_buf_bytes(&scan->full), rh_buf_bytes(&scan->from)) < 0)
            continue;
        if ((status = take_row(scan, folder->page->rows, row, batch, ctx->err)))
            return status;
        if ((batch->count & 1023) == 0 && (status = rh_ctx_check(ctx)))
            return status;
    } while (batch->bytes < want_bytes && batch->count < want_records);
    return batch->count ? RH_OK : RH_END;
}

/* --- the scan as a whole --- */

static void scan_free(struct pg_scan *scan)
{
    while (scan->open_count)
        close_folder(scan);
    free(scan->open);
    page_leave(&scan->page);
    rh_buf_done(&scan->path);
    rh_buf_done(&scan->to);
    rh_buf_done(&scan->from);
    rh_buf_done(&scan->full);
    free(scan);
}

/* Opens the folders that are cut by the first key: those above it, with what of their rows lies behind. */
static enum rh_status start_at(struct pg_scan *scan, struct rh_bytes first, bool exclusive, struct rh_error *err)
{
    enum rh_status status = rh_buf_u8(&scan->path, '/', err);
    if (!status)
        status = rh_buf_add(&scan->path, first.data, first.size, err);
    const struct rh_bytes path = rh_buf_bytes(&scan->path);
    for (size_t i = 0; !status && i < path.size; i++) {
        if (path.data[i] != '/')
            continue;
        struct rh_bytes rest = rh_bytes(path.data + i + 1, path.size - i - 1);
        /* a row's key has no '/', so that only the innermost of them can hold the first key itself */
        bool here = !rest.size || !memchr(rest.data, '/', rest.size);
        status = open_folder(scan, rh_bytes(path.data, i + 1), rest, !(exclusive && here), err);
    }
    return status;
}

/* The longest beginning of a key that the server takes as text. */
static struct rh_bytes text_part(struct rh_bytes key)
{
    const uint8_t *nul = key.size ? memchr(key.data, 0, key.size) : NULL;
    if (nul)
        key.size = (size_t)(nul - key.data);
    while (!rh_utf8_valid(key))
        key.size--;
    return key;
}

/* Where the scan begins and ends. Keys of other stores may be bounds here that no row can have; then the scan begins
 * earlier, or asks for more, and passes over what isn't wanted. */
static enum rh_status
set_bounds(struct pg_scan *scan, struct rh_range range, struct rh_bytes after, struct rh_error *err)
{
    const struct rh_scan_start start = rh_scan_start(range, after);
    const struct rh_bytes part = text_part(start.key);
    enum rh_status status = start_at(scan, part, start.past && part.size == start.key.size, err);
    if (!status && part.size != start.key.size)
        status = rh_buf_add(&scan->from, start.key.data, start.key.size, err);
    if (status || !range.to.size)
        return status;
    scan->ask_to = text_part(range.to).size == range.to.size;
    status = rh_buf_u8(&scan->to, '/', err);
    return status ? status : rh_buf_add(&scan->to, range.to.data, range.to.size, err);
}

static enum rh_status scan_open(struct rh_ctx *ctx,
                                struct rh_session *base,
                                const struct rh_dataset *dataset,
                                struct rh_range range,
                                struct rh_bytes after,
                                unsigned flags,
                                struct rh_scan **ret_scan)
{
    (void)dataset;
    struct pg_session *session = (struct pg_session *)base;
    enum rh_status status = pg_enter(ctx, session);
    if (status)
        return status;
    struct pg_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return pg_leave(ctx, session, rh_fail_memory(ctx->err));
    scan->base.session = base;
    scan->session = session;
    scan->flags = flags;
    scan->folders_more = true;
    status = pg_table_need(ctx, session, false);
    if (!status)
        status = set_bounds(scan, range, after, ctx->err);
    if (!status)
        status = pg_snapshot_join(ctx, session);
    status = pg_leave(ctx, session, status);
    if (status) {
        scan_free(scan);
        return status;
    }
    session->scanning = true;
    *ret_scan = &scan->base;
    return RH_OK;
}

/* How large a page may be, from what is wanted at once. */
static void set_page(struct pg_scan *scan, size_t bytes, size_t records)
{
    scan->page_bytes = bytes > PAGE_BYTES_MOST ? PAGE_BYTES_MOST : bytes < PAGE_BYTES_LEAST ? PAGE_BYTES_LEAST : bytes;
    if (scan->flags & RH_SCAN_KEYS_ONLY)
        scan->page_rows = records > PAGE_ROWS_MOST ? PAGE_ROWS_MOST : records < 16 ? 16 : (int)records;
    else if (!scan->page_rows)
        scan->page_rows = PAGE_ROWS_FIRST;
}

static enum rh_status
scan_next(struct rh_ctx *ctx, struct rh_scan *base, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    struct pg_scan *scan = (struct pg_scan *)base;
    rh_batch_clear(batch);
    enum rh_status status = rh_ctx_check(ctx);
    if (status)
        return status;
    if (scan->ended)
        return RH_END;
    if (!scan->session->conn)
        return pg_fail_gone(scan->session, ctx->err, "reading");
    set_page(scan, want_bytes, want_records);
    status = pg_enter(ctx, scan->session);
    return status ? status : pg_leave(ctx, scan->session, fill(ctx, scan, want_bytes, want_records, batch));
}

static void scan_close(struct rh_scan *base)
{
    struct pg_scan *scan = (struct pg_scan *)base;
    if (!scan)
        return;
    struct pg_session *session = scan->session;
    session->scanning = false;
    struct rh_error ignored = {0};
    struct rh_ctx ctx = {.err = &ignored};
    /* a session with a snapshot of its own gives it up; a shared one serves the next scan, too */
    if (!session->joined)
        pg_rollback(&ctx, session);
    scan_free(scan);
}

/* --- the rest of the group --- */

const struct rh_read_ops pg_read_ops = {
    .datasets = rh_kv_datasets,
    .scan_open = scan_open,
    .scan_next = scan_next,
    .scan_close = scan_close,
    .get = pg_get,
};
