/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One state of the data for all reading sessions of a pass. A connection of its own opens a transaction and exports its
 * snapshot; every session that scans takes it over. It ends with the last session that uses it, so that the next pass
 * sees what is there then, and isn't taken over any more once this store has written.
 */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>

/* Ends the transaction that holds the snapshot, and its connection. With the lock held. */
static void let_go(struct pg_snapshot *snapshot)
{
    if (snapshot->holder)
        pg_session_close(&snapshot->holder->base);
    snapshot->holder = NULL;
    snapshot->id[0] = '\0';
}

/* Makes a new snapshot. With the lock held. */
static enum rh_status make(struct rh_ctx *ctx, struct pg_store *store)
{
    struct pg_snapshot *snapshot = &store->snapshot;
    struct rh_session *holder = NULL;
    let_go(snapshot);
    uint64_t writes = atomic_load(&store->writes);
    enum rh_status status = pg_session_open(ctx, &store->base, RH_ROLE_CONTROL, &holder);
    if (status)
        return status;
    struct pg_session *session = (struct pg_session *)holder;
    status = pg_run(ctx, session, "making a snapshot", NULL, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    if (!status)
        status = pg_text(ctx, session, "making a snapshot", snapshot->id, sizeof snapshot->id,
                         "SELECT pg_export_snapshot()");
    if (status) {
        pg_session_close(holder);
        snapshot->id[0] = '\0';
        return status == RH_NOT_FOUND ? rh_fail(ctx->err, RH_E_STORE, "the server gave no snapshot") : status;
    }
    snapshot->holder = session;
    snapshot->number++;
    snapshot->writes = writes;
    return RH_OK;
}

/* Begins the session's own transaction, with the store's snapshot if it has an id. */
static enum rh_status begin(struct rh_ctx *ctx, struct pg_session *session, const char *id)
{
    char literal[2 * sizeof session->store->snapshot.id + 4];
    enum rh_status status =
        pg_run(ctx, session, "beginning to read", NULL, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    if (!status && id)
        status = pg_run(ctx, session, "taking over a snapshot", NULL, "SET TRANSACTION SNAPSHOT %s",
                        pg_literal(id, literal, sizeof literal));
    return status;
}

/* Takes the snapshot over; makes one where there is none that is good. With the lock held. */
static enum rh_status take_over(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_store *store = session->store;
    struct pg_snapshot *snapshot = &store->snapshot;
    enum rh_status status = RH_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!snapshot->holder || snapshot->writes != atomic_load(&store->writes))
            status = make(ctx, store);
        if (!status)
            status = begin(ctx, session, snapshot->id);
        /* its holder's connection may have been cut meanwhile: once more with a new one */
        if (!status || !session->conn || PQstatus(session->conn) != CONNECTION_OK ||
            PQtransactionStatus(session->conn) == PQTRANS_ACTIVE)
            break;
        pg_rollback(ctx, session);
        let_go(snapshot);
    }
    if (status)
        return status;
    session->joined = true;
    session->joined_number = snapshot->number;
    snapshot->users++;
    return RH_OK;
}

enum rh_status pg_snapshot_join(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_snapshot *snapshot = &session->store->snapshot;
    if (session->base.role != RH_ROLE_READ)
        return begin(ctx, session, NULL);
    pthread_mutex_lock(&snapshot->lock);
    bool current = session->joined && session->joined_number == snapshot->number &&
                   snapshot->writes == atomic_load(&session->store->writes);
    pthread_mutex_unlock(&snapshot->lock);
    if (current)
        return RH_OK;
    pg_snapshot_leave(ctx, session);
    pthread_mutex_lock(&snapshot->lock);
    enum rh_status status = take_over(ctx, session);
    pthread_mutex_unlock(&snapshot->lock);
    return status;
}

void pg_snapshot_leave(struct rh_ctx *ctx, struct pg_session *session)
{
    struct pg_snapshot *snapshot = &session->store->snapshot;
    if (ctx)
        pg_rollback(ctx, session);
    if (!session->joined)
        return;
    session->joined = false;
    pthread_mutex_lock(&snapshot->lock);
    if (--snapshot->users == 0)
        let_go(snapshot);
    pthread_mutex_unlock(&snapshot->lock);
}
