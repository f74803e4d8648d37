/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `file` driver: Vault's file storage. Key a/b/c is the file <path>/a/b/_c (file_entry.h has its content).
 * Source of the layout: hashicorp/vault sdk/physical/file/file.go.
 *
 * file.c        the driver record, stores and sessions
 * file_path.c   from a key to an open file, never following a name out of the store
 * file_scan.c   the sorted walk in flat memory
 * file_write.c  temporaries, barriers, renames, removal
 * file_place.c  what the root folder is: facts, schema, fingerprint
 */
#include "file.h"
#include "file_internal.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const leftovers_choices[] = {"refuse", "skip", "copy", NULL};

#define VAULT_MEMBER(word)                                                                                             \
    {                                                                                                                  \
        .name = (word), .type = RH_OPT_IGNORED, .flags = RH_OPT_HIDDEN,                                                \
        .help = "taken for Vault's sake, without effect"                                                               \
    }

static const struct rh_option options[] = {
    {.name = "path",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "DIR",
     .help = "the root folder of the storage"},
    {.name = "leftovers",
     .type = RH_OPT_CHOICE,
     .initial = "refuse",
     .choices = leftovers_choices,
     .value_name = "WHAT",
     .help = "what to do with files that are no records: refuse, skip, or copy left-over .temp files as Vault does"},
    VAULT_MEMBER("redirect_addr"),
    VAULT_MEMBER("advertise_addr"),
    VAULT_MEMBER("cluster_addr"),
    VAULT_MEMBER("disable_clustering"),
    {.name = NULL},
};

static void file_close(struct rh_store *base)
{
    struct file_store *store = (struct file_store *)base;
    if (!store)
        return;
    free(store->path);
    free(store);
}

/* The path as an absolute one, without slashes at its end. */
static char *absolute(const char *path)
{
    rh_auto_free char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    size_t room = strlen(path) + (here ? strlen(here) : 0) + 2;
    char *all = malloc(room);
    if (!all || (path[0] != '/' && !here)) {
        free(all);
        return NULL;
    }
    size_t size = 0;
    if (here) {
        size = strlen(here);
        memcpy(all, here, size);
        all[size++] = '/';
    }
    memcpy(all + size, path, strlen(path) + 1);
    for (size = strlen(all); size > 1 && all[size - 1] == '/'; size--)
        all[size - 1] = '\0';
    return all;
}

static enum rh_status file_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    const char *path = rh_options_text(args->options, "path");
    const char *leftovers = rh_options_text(args->options, "leftovers");
    if (!path || !*path)
        return rh_fail(ctx->err, RH_E_PLAN, "open file store: path is empty");
    struct file_store *store = calloc(1, sizeof(*store));
    if (!store)
        return rh_fail_memory(ctx->err);
    store->path = absolute(path);
    if (!store->path) {
        free(store);
        return rh_fail_memory(ctx->err);
    }
    store->base.driver = &rh_file_driver;
    if (leftovers && strcmp(leftovers, "skip") == 0)
        store->leftovers = FILE_LEFTOVERS_SKIP;
    else if (leftovers && strcmp(leftovers, "copy") == 0)
        store->leftovers = FILE_LEFTOVERS_COPY;
    *ret_store = &store->base;
    return RH_OK;
}

static void file_session_close(struct rh_session *base)
{
    struct file_session *session = (struct file_session *)base;
    if (!session)
        return;
    if (session->begun)
        file_write_ops.abort(base);
    file_temp_leave(session);
    file_dir_forget(session);
    if (session->root_fd >= 0)
        close(session->root_fd);
    rh_buf_done(&session->read);
    rh_buf_done(&session->encode);
    rh_buf_done(&session->dir_path);
    free(session->ops);
    free(session);
}

static enum rh_status
file_session_open(struct rh_ctx *ctx, struct rh_store *store, enum rh_role role, struct rh_session **ret_session)
{
    struct file_session *session = calloc(1, sizeof(*session));
    if (!session)
        return rh_fail_memory(ctx->err);
    session->base = (struct rh_session){.store = store, .role = role};
    session->root_fd = session->dir_fd = session->temp_fd = -1;
    enum rh_status status = file_root(session, ctx->err);
    if (rh_failed(status)) {
        file_session_close(&session->base);
        return status;
    }
    if (status == RH_OK && role == RH_ROLE_WRITE)
        file_temp_sweep(session);
    *ret_session = &session->base;
    return RH_OK;
}

const struct rh_driver rh_file_driver = {
    .name = "file",
    .summary = "Vault's file storage: a folder with one file a record",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KV,
    .record_class = RH_RECORDS_PLAIN,
    .commit_scope = RH_COMMIT_BATCH,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = options,
    .open = file_open,
    .close = file_close,
    .session_open = file_session_open,
    .session_close = file_session_close,
    .facts = file_facts,
    .overlaps = file_overlaps,
    .read = &file_read_ops,
    .write = &file_write_ops,
    .schema = &file_schema_ops,
    .guard = &file_guard_ops,
};
