/* SPDX-License-Identifier: Apache-2.0 */
/* Decorators for tests (wrap.h): each call looks at its slot's faults, then goes on to the inner driver. */
#include "wrap.h"

#include <stdlib.h>

struct wrap_slot {
    struct rh_driver driver; /* what the engine sees */
    const struct rh_driver *inner;
    struct rh_wrap_spec spec;
    atomic_uint_fast64_t counts[RH_WRAP_CALLS];
    struct rh_read_ops read;
    struct rh_write_ops write;
    struct rh_schema_ops schema;
    struct rh_guard_ops guard;
};

struct wrap_store {
    struct rh_store base;
    struct wrap_slot *slot;
    struct rh_store *inner;
};

struct wrap_session {
    struct rh_session base;
    struct wrap_slot *slot;
    struct rh_session *inner;
};

struct wrap_scan {
    struct rh_scan base;
    struct rh_scan *inner;
};

static struct wrap_slot slots[RH_WRAP_SLOTS];

static struct wrap_slot *slot_of(const struct rh_session *session)
{
    return ((const struct wrap_session *)session)->slot;
}

static struct rh_session *inner_of(const struct rh_session *session)
{
    return ((const struct wrap_session *)session)->inner;
}

/* Counts the call, sleeps, and finds the fault that is due, or NULL. */
static const struct rh_wrap_fault *due(struct wrap_slot *slot, enum rh_wrap_call call)
{
    uint64_t number = atomic_fetch_add(&slot->counts[call], 1) + 1;
    if (slot->spec.throttle_us[call])
        rh_sleep_us(slot->spec.throttle_us[call]);
    for (size_t i = 0; i < slot->spec.fault_count; i++) {
        const struct rh_wrap_fault *fault = slot->spec.faults + i;
        if (fault->call == call && fault->at && (number == fault->at || (fault->for_good && number > fault->at)))
            return fault;
    }
    return NULL;
}

static enum rh_status fail(struct rh_ctx *ctx, const struct rh_wrap_fault *fault)
{
    enum rh_status status = rh_fail(ctx->err, fault->status, "%s", fault->text ? fault->text : "injected fault");
    if (status == RH_E_NET)
        ctx->err->retry = RH_RETRY_RECONNECT;
    return status;
}

/* The one shape of all calls: fail before, or carry out and fail after, or carry out. */
#define WRAPPED(session, call, expression)                                                                             \
    __extension__({                                                                                                    \
        const struct rh_wrap_fault *fault_ = due(slot_of(session), (call));                                            \
        enum rh_status status_ = fault_ && !fault_->after ? RH_OK : (expression);                                      \
        fault_ && (status_ == RH_OK || status_ == RH_END) ? fail(ctx, fault_) : status_;                               \
    })

static enum rh_status
wrap_open(struct wrap_slot *slot, struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct wrap_store *store = calloc(1, sizeof(*store));
    if (!store)
        return rh_fail_memory(ctx->err);
    enum rh_status status = slot->inner->open(ctx, args, &store->inner);
    if (status != RH_OK) {
        free(store);
        return status;
    }
    store->base.driver = &slot->driver;
    store->slot = slot;
    *ret_store = &store->base;
    return RH_OK;
}

/* An open function for each slot: it is all that tells them apart. */
#define OPEN_SLOT(number)                                                                                              \
    static enum rh_status open_##number(struct rh_ctx *ctx, const struct rh_store_args *args,                          \
                                        struct rh_store **ret_store)                                                   \
    {                                                                                                                  \
        return wrap_open(slots + (number), ctx, args, ret_store);                                                      \
    }
OPEN_SLOT(0)
OPEN_SLOT(1)
OPEN_SLOT(2)
OPEN_SLOT(3)

static void wrap_close(struct rh_store *base)
{
    struct wrap_store *store = (struct wrap_store *)base;
    if (!store)
        return;
    store->slot->inner->close(store->inner);
    free(store);
}

static enum rh_status
wrap_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    struct wrap_store *store = (struct wrap_store *)base;
    const struct rh_wrap_fault *fault = due(store->slot, RH_WRAP_SESSION_OPEN);
    if (fault)
        return fail(ctx, fault);
    struct wrap_session *session = calloc(1, sizeof(*session));
    if (!session)
        return rh_fail_memory(ctx->err);
    enum rh_status status = store->slot->inner->session_open(ctx, store->inner, role, &session->inner);
    if (status != RH_OK) {
        free(session);
        return status;
    }
    session->base = (struct rh_session){.store = base, .role = role};
    session->slot = store->slot;
    *ret_session = &session->base;
    return RH_OK;
}

static void wrap_session_close(struct rh_session *base)
{
    struct wrap_session *session = (struct wrap_session *)base;
    if (!session)
        return;
    session->slot->inner->session_close(session->inner);
    free(session);
}

static void wrap_cancel(struct rh_session *session)
{
    slot_of(session)->inner->cancel(inner_of(session));
}

static enum rh_status wrap_facts(struct rh_ctx *ctx, struct rh_session *session, struct rh_facts *ret_facts)
{
    return WRAPPED(session, RH_WRAP_FACTS, slot_of(session)->inner->facts(ctx, inner_of(session), ret_facts));
}

static enum rh_status wrap_locate(struct rh_ctx *ctx, struct rh_store *store, struct rh_buf *ret_place)
{
    const struct wrap_store *wrapped = (const struct wrap_store *)store;
    return wrapped->slot->inner->locate(ctx, wrapped->inner, ret_place);
}

static bool wrap_overlaps(const struct rh_store *a, const struct rh_store *b)
{
    const struct wrap_store *left = (const struct wrap_store *)a, *right = (const struct wrap_store *)b;
    return left->slot->inner->overlaps(left->inner, right->inner);
}

/* --- read --- */

static enum rh_status wrap_datasets(struct rh_ctx *ctx,
                                    struct rh_session *session,
                                    enum rh_status (*add)(void *user, const struct rh_dataset *dataset),
                                    void *user)
{
    return slot_of(session)->inner->read->datasets(ctx, inner_of(session), add, user);
}

static enum rh_status wrap_split(struct rh_ctx *ctx,
                                 struct rh_session *session,
                                 const struct rh_dataset *dataset,
                                 size_t want,
                                 enum rh_status (*add)(void *user, struct rh_range range),
                                 void *user)
{
    return slot_of(session)->inner->read->split(ctx, inner_of(session), dataset, want, add, user);
}

static enum rh_status wrap_scan_open(struct rh_ctx *ctx,
                                     struct rh_session *session,
                                     const struct rh_dataset *dataset,
                                     struct rh_range range,
                                     struct rh_bytes after,
                                     unsigned flags,
                                     struct rh_scan **ret_scan)
{
    const struct rh_wrap_fault *fault = due(slot_of(session), RH_WRAP_SCAN_OPEN);
    if (fault)
        return fail(ctx, fault);
    struct wrap_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return rh_fail_memory(ctx->err);
    enum rh_status status =
        slot_of(session)->inner->read->scan_open(ctx, inner_of(session), dataset, range, after, flags, &scan->inner);
    if (status != RH_OK) {
        free(scan);
        return status;
    }
    scan->base.session = session;
    *ret_scan = &scan->base;
    return RH_OK;
}

static enum rh_status
wrap_scan_next(struct rh_ctx *ctx, struct rh_scan *scan, size_t want_bytes, size_t want_records, struct rh_batch *batch)
{
    return WRAPPED(
        scan->session, RH_WRAP_SCAN_NEXT,
        slot_of(scan->session)
            ->inner->read->scan_next(ctx, ((struct wrap_scan *)scan)->inner, want_bytes, want_records, batch));
}

static void wrap_scan_close(struct rh_scan *base)
{
    struct wrap_scan *scan = (struct wrap_scan *)base;
    if (!scan)
        return;
    slot_of(base->session)->inner->read->scan_close(scan->inner);
    free(scan);
}

static enum rh_status wrap_get(struct rh_ctx *ctx,
                               struct rh_session *session,
                               const struct rh_dataset *dataset,
                               const struct rh_bytes *keys,
                               size_t count,
                               struct rh_batch *out)
{
    return WRAPPED(session, RH_WRAP_GET,
                   slot_of(session)->inner->read->get(ctx, inner_of(session), dataset, keys, count, out));
}

/* --- write --- */

static enum rh_status wrap_fits(struct rh_store *base,
                                const struct rh_dataset *dataset,
                                struct rh_bytes key,
                                uint64_t value_bytes,
                                struct rh_buf *ret_rival,
                                struct rh_error *err)
{
    struct wrap_store *store = (struct wrap_store *)base;
    return store->slot->inner->write->fits(store->inner, dataset, key, value_bytes, ret_rival, err);
}

static enum rh_status wrap_begin(struct rh_ctx *ctx,
                                 struct rh_session *session,
                                 const struct rh_dataset *dataset,
                                 const struct rh_digest_key *digest)
{
    const struct rh_wrap_fault *fault = due(slot_of(session), RH_WRAP_BEGIN);
    return fault ? fail(ctx, fault) : slot_of(session)->inner->write->begin(ctx, inner_of(session), dataset, digest);
}

static enum rh_status
wrap_put(struct rh_ctx *ctx, struct rh_session *session, struct rh_batch *batch, enum rh_put_mode mode)
{
    return WRAPPED(session, RH_WRAP_PUT, slot_of(session)->inner->write->put(ctx, inner_of(session), batch, mode));
}

static enum rh_status wrap_remove(struct rh_ctx *ctx, struct rh_session *session, struct rh_batch *batch)
{
    return WRAPPED(session, RH_WRAP_REMOVE, slot_of(session)->inner->write->remove(ctx, inner_of(session), batch));
}

static enum rh_status wrap_commit(struct rh_ctx *ctx, struct rh_session *session, enum rh_commit *ret_commit)
{
    struct wrap_slot *slot = slot_of(session);
    const struct rh_wrap_fault *fault = due(slot, RH_WRAP_COMMIT);
    if (fault && !fault->after) {
        slot->inner->write->abort(inner_of(session));
        *ret_commit = RH_COMMIT_NOT_DONE;
        return fail(ctx, fault);
    }
    enum rh_status status = slot->inner->write->commit(ctx, inner_of(session), ret_commit);
    if (status == RH_OK && fault) {
        *ret_commit = RH_COMMIT_UNKNOWN;
        return fail(ctx, fault);
    }
    return status;
}

static void wrap_abort(struct rh_session *session)
{
    slot_of(session)->inner->write->abort(inner_of(session));
}

/* --- schema and guard --- */

static enum rh_status wrap_missing(struct rh_ctx *ctx, struct rh_session *session, uint32_t *ret_missing)
{
    return WRAPPED(session, RH_WRAP_SCHEMA,
                   slot_of(session)->inner->schema->missing(ctx, inner_of(session), ret_missing));
}

static enum rh_status wrap_before(struct rh_ctx *ctx, struct rh_session *session, uint32_t missing)
{
    return WRAPPED(session, RH_WRAP_SCHEMA, slot_of(session)->inner->schema->before(ctx, inner_of(session), missing));
}

static enum rh_status wrap_undo(struct rh_ctx *ctx, struct rh_session *session, uint32_t missing)
{
    return WRAPPED(session, RH_WRAP_SCHEMA, slot_of(session)->inner->schema->undo(ctx, inner_of(session), missing));
}

static enum rh_status wrap_marker_get(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_marker)
{
    return WRAPPED(session, RH_WRAP_FINGERPRINT,
                   slot_of(session)->inner->guard->marker_get(ctx, inner_of(session), ret_marker));
}

static enum rh_status wrap_marker_set(struct rh_ctx *ctx, struct rh_session *session, struct rh_bytes marker)
{
    return WRAPPED(session, RH_WRAP_FINGERPRINT,
                   slot_of(session)->inner->guard->marker_set(ctx, inner_of(session), marker));
}

static enum rh_status wrap_marker_clear(struct rh_ctx *ctx, struct rh_session *session, struct rh_bytes marker)
{
    return WRAPPED(session, RH_WRAP_FINGERPRINT,
                   slot_of(session)->inner->guard->marker_clear(ctx, inner_of(session), marker));
}

static enum rh_status wrap_fingerprint(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_text)
{
    return WRAPPED(session, RH_WRAP_FINGERPRINT,
                   slot_of(session)->inner->guard->fingerprint(ctx, inner_of(session), ret_text));
}

/* --- slots --- */

/* Groups with a function for each that the inner driver has. */
static void fill_groups(struct wrap_slot *slot)
{
    const struct rh_driver *inner = slot->inner;
    if (inner->read)
        slot->read = (struct rh_read_ops){.datasets = wrap_datasets,
                                          .split = inner->read->split ? wrap_split : NULL,
                                          .scan_open = wrap_scan_open,
                                          .scan_next = wrap_scan_next,
                                          .scan_close = wrap_scan_close,
                                          .get = wrap_get};
    if (inner->write)
        slot->write = (struct rh_write_ops){.fits = wrap_fits,
                                            .begin = wrap_begin,
                                            .put = wrap_put,
                                            .remove = wrap_remove,
                                            .commit = wrap_commit,
                                            .abort = wrap_abort};
    if (inner->schema)
        slot->schema = (struct rh_schema_ops){.missing = wrap_missing, .before = wrap_before, .undo = wrap_undo};
    if (inner->guard)
        slot->guard = (struct rh_guard_ops){.marker_get = inner->guard->marker_get ? wrap_marker_get : NULL,
                                            .marker_set = inner->guard->marker_set ? wrap_marker_set : NULL,
                                            .marker_clear = inner->guard->marker_clear ? wrap_marker_clear : NULL,
                                            .fingerprint = inner->guard->fingerprint ? wrap_fingerprint : NULL};
}

const struct rh_driver *rh_wrap_fault(unsigned number, const struct rh_driver *inner, const struct rh_wrap_spec *spec)
{
    enum rh_status (*const opens[RH_WRAP_SLOTS])(struct rh_ctx *, const struct rh_store_args *,
                                                 struct rh_store **) = {open_0, open_1, open_2, open_3};
    struct wrap_slot *slot = slots + number % RH_WRAP_SLOTS;
    slot->inner = inner;
    slot->spec = *spec;
    for (size_t i = 0; i < RH_WRAP_CALLS; i++)
        atomic_store(&slot->counts[i], 0);
    fill_groups(slot);
    slot->driver = *inner;
    slot->driver.open = opens[number % RH_WRAP_SLOTS];
    slot->driver.close = wrap_close;
    slot->driver.session_open = wrap_session_open;
    slot->driver.session_close = wrap_session_close;
    slot->driver.cancel = inner->cancel ? wrap_cancel : NULL;
    slot->driver.facts = inner->facts ? wrap_facts : NULL;
    slot->driver.overlaps = inner->overlaps ? wrap_overlaps : NULL;
    slot->driver.locate = inner->locate ? wrap_locate : NULL;
    slot->driver.read = inner->read ? &slot->read : NULL;
    slot->driver.write = inner->write ? &slot->write : NULL;
    slot->driver.schema = inner->schema ? &slot->schema : NULL;
    slot->driver.guard = inner->guard ? &slot->guard : NULL;
    return &slot->driver;
}

uint64_t rh_wrap_count(unsigned number, enum rh_wrap_call call)
{
    return atomic_load(&slots[number % RH_WRAP_SLOTS].counts[call]);
}
