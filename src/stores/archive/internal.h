/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the archive driver know of each other.
 *
 * driver.c   options, stores, sessions, scans, the unit of writing
 * place.c    where the file lies: facts, partial file, commit, what was there before
 * format.h   the archive itself: stream.c, index.c, writer.c, reader.c
 */
#ifndef REHOME_STORES_ARCHIVE_INTERNAL_H
#define REHOME_STORES_ARCHIVE_INTERNAL_H

#include "archive.h"
#include "format.h"

#include <limits.h>
#include <pthread.h>

enum { ARCHIVE_STAMP_BYTES = 16 };

struct archive_store {
    struct rh_store base;
    enum rh_side side;
    struct rh_key_provider *provider;
    char *path;                  /* absolute; NULL: standard input or output */
    struct archive_reader *pipe; /* standard input, once it was looked at */
    bool pipe_taken;             /* a scan has it, or had it */
    pthread_mutex_t pipe_lock;
};

struct archive_session {
    struct rh_session base;
    struct archive_reader *reader; /* the file, once it was opened */
    int fd;                        /* reader's */
    /* writing */
    struct archive_writer *writer;
    int folder, partial; /* descriptors, -1: none */
    char name[NAME_MAX + 1];
    char partial_name[NAME_MAX + 1], before_name[NAME_MAX + 1];
    struct rh_buf replaces; /* stamp of what the commit may replace; empty: nothing may be there */
    uint64_t flowing;       /* bytes put since the kernel was last told to write them out */
    bool begun, ended;      /* ended: the writer has written its last byte */
};

/* --- place.c --- */
/* "DIR/NAME" taken apart into the session; the folder is opened once. */
enum rh_status archive_place(struct archive_session *session, struct rh_error *err);
/* Takes away what a killed writer left. RH_E_LOCKED: one is at work. */
enum rh_status archive_sweep(struct archive_session *session, struct rh_error *err);
/* A new, locked, empty partial file. */
enum rh_status archive_partial_make(struct archive_session *session, struct rh_error *err);
/* Gives the partial file its name for good; it is whole. */
enum rh_status
archive_partial_commit(struct archive_session *session, enum rh_commit *ret_commit, struct rh_error *err);
/* Takes the partial file away. */
void archive_partial_drop(struct archive_session *session);
enum rh_status archive_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts);
enum rh_status archive_fingerprint(struct rh_ctx *ctx, struct rh_session *base, struct rh_buf *ret_text);
extern const struct rh_whole_ops archive_whole_ops;

/* --- driver.c --- */
/* The session's reader, opened and checked; the archive must hold a key-value store. */
enum rh_status archive_reader_need(struct archive_session *session, struct archive_reader **ret, struct rh_error *err);
/* Has the writer write its end, once. */
enum rh_status archive_end(struct archive_session *session, struct rh_error *err);

#endif
