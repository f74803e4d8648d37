/* SPDX-License-Identifier: Apache-2.0 */
/* The key of a move's digest: made once, sealed in the journal. */
#include "internal.h"

static enum rh_status digest_binding(struct move_run *move, struct rh_buf *ret_binding, struct rh_error *err)
{
    return rh_buf_format(ret_binding, err, "%s/%s", rh_journal_name(move->engine->journal), move->plan->name);
}

static enum rh_status digest_make(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT, sealed = RH_BUF_INIT;
    struct rh_digest_key fresh = {.secret_records = false};
    enum rh_status status = rh_digest_key_new(&fresh, err);
    if (status == RH_OK)
        status = digest_binding(move, &binding, err);
    if (status == RH_OK)
        status = rh_seal_blob(move->engine->provider, "digest-key", rh_buf_bytes(&binding),
                              rh_bytes(fresh.secret, sizeof fresh.secret), &sealed, err);
    rh_wipe(&fresh, sizeof fresh);
    if (status == RH_OK)
        status = rh_journal_put_once(move->engine->journal, move->plan->name, "digest-key", rh_buf_bytes(&sealed), err);
    return status;
}

/* Loads the key, making it first where there is none. Unsealing what was just sealed proves that the way back can be
 * read. */
enum rh_status digest_load(struct move_run *move, struct rh_error *err)
{
    rh_auto_buf struct rh_buf binding = RH_BUF_INIT, sealed = RH_BUF_INIT;
    enum rh_status status = engine_provider_need(move->engine, err);
    if (status == RH_OK)
        status = fact_get(move, "digest-key", &sealed, err);
    if (status == RH_NOT_FOUND) {
        status = digest_make(move, err);
        if (status == RH_OK)
            status = fact_get(move, "digest-key", &sealed, err);
    }
    if (status == RH_OK)
        status = digest_binding(move, &binding, err);
    rh_auto_secret struct rh_secret *plain = NULL;
    if (status == RH_OK)
        status = rh_unseal_blob(move->engine->provider, "digest-key", rh_buf_bytes(&binding), rh_buf_bytes(&sealed),
                                &plain, err);
    if (status != RH_OK) {
        if (rh_failed(status))
            rh_error_prepend(err, "reading the move's sealed key from the journal");
        if (status == RH_E_DENIED)
            rh_error_hint(
                err, "name the key that this move was begun with; where it is lost, 'rehome recover --abandon' gives "
                     "the way back up, and a run may begin anew");
        return status;
    }
    const struct rh_bytes bytes = rh_secret_bytes(plain);
    if (bytes.size != sizeof move->digest.secret)
        return rh_fail(err, RH_E_CORRUPT, "the move's sealed key has %zu bytes", bytes.size);
    memcpy(move->digest.secret, bytes.data, bytes.size);
    return RH_OK;
}
