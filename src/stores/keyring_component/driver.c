/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `keyring_component` driver: its options, and the common part's functions with the call's context kept where the
 * format finds it.
 */
#include "driver.h"

#include "elsewhere.h"

#include <rehome/base.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct rh_option options[] = {
    {.name = "library",
     .type = RH_OPT_PATH,
     .flags = RH_OPT_REQUIRED,
     .value_name = "FILE",
     .help = "the component's library, component_keyring_NAME.so"},
    {.name = "component_dir",
     .type = RH_OPT_PATH,
     .value_name = "DIR",
     .help = "folder with the component's configuration (default: the library's)"},
    {.name = "instance_dir",
     .type = RH_OPT_PATH,
     .value_name = "DIR",
     .help = "the server's datadir, for a configuration that sends there"},
    {.name = "answer_timeout",
     .type = RH_OPT_DURATION,
     .initial = "60s",
     .value_name = "TIME",
     .help = "how long the library may take for one answer"},
    {.name = "loader",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "program loader (ld-linux) to load the library with, where it is of another system"},
    {.name = "library_path",
     .type = RH_OPT_TEXT,
     .value_name = "DIRS",
     .help = "with loader: folders with that system's libraries, with colons"},
    {.name = "host_program",
     .type = RH_OPT_PATH,
     .value_name = "FILE",
     .help = "rehome-keyring-host, where it isn't beside rehome or installed"},
    {.name = NULL},
};

/* --- the call's context --- */

static void call_end(const struct rh_ctx *const *before)
{
    (void)component_call(*before);
}
/* From here to the end of its block the format's functions know the call's deadline and whether it is cancelled. */
#define IN_CALL(ctx) const struct rh_ctx *before_ __attribute__((cleanup(call_end), unused)) = component_call(ctx)

static enum rh_status
component_session_open(struct rh_ctx *ctx, struct rh_store *base, enum rh_role role, struct rh_session **ret_session)
{
    const struct keyring_store *store = (const struct keyring_store *)base;
    char leftover[NAME_MAX + 1];
    enum rh_status status = keyring_session_open(ctx, base, role, ret_session);
    if (status != RH_OK || role != RH_ROLE_WRITE || store->side == RH_SIDE_SOURCE)
        return status;
    component_leftover_name(store, leftover);
    /* beside a partial file that somebody is writing it isn't left over */
    if (leftover[0] && !rh_partial_busy(store->place.folder, store->place.partial))
        (void)unlinkat(store->place.folder, leftover, 0);
    return RH_OK;
}

/* What the library last said of itself. */
static struct component_facts get_facts(struct component *component)
{
    pthread_mutex_lock(&component->lock);
    const struct component_facts facts = component->facts;
    pthread_mutex_unlock(&component->lock);
    return facts;
}

static enum rh_status component_get_facts(struct rh_ctx *ctx, struct rh_session *base, struct rh_facts *ret_facts)
{
    IN_CALL(ctx);
    struct component *component = component_of(keyring_store_of(base));
    enum rh_status status = keyring_facts(ctx, base, ret_facts);
    if (status != RH_OK)
        return status;
    struct component_facts facts = get_facts(component);
    if (!facts.known) {
        status = component_self_test(ctx, keyring_store_of(base));
        if (status != RH_OK)
            return status;
        facts = get_facts(component);
    }
    (void)snprintf(ret_facts->product, sizeof ret_facts->product, "%s", component->library.name);
    (void)snprintf(ret_facts->version, sizeof ret_facts->version, "%s", facts.version);
    if (!facts.writes)
        ret_facts->writable = RH_NO;
    if (strcmp(component->library.name, "component_keyring_file") != 0)
        ret_facts->encrypted_at_rest = RH_UNKNOWN;
    return RH_OK;
}

static enum rh_status component_scan_open(struct rh_ctx *ctx,
                                          struct rh_session *session,
                                          const struct rh_dataset *dataset,
                                          struct rh_range range,
                                          struct rh_bytes after,
                                          unsigned flags,
                                          struct rh_scan **ret_scan)
{
    IN_CALL(ctx);
    return keyring_read_ops.scan_open(ctx, session, dataset, range, after, flags, ret_scan);
}

static enum rh_status component_get(struct rh_ctx *ctx,
                                    struct rh_session *session,
                                    const struct rh_dataset *dataset,
                                    const struct rh_bytes *keys,
                                    size_t count,
                                    struct rh_batch *out)
{
    IN_CALL(ctx);
    return keyring_read_ops.get(ctx, session, dataset, keys, count, out);
}

static enum rh_status component_trial(struct rh_ctx *ctx,
                                      struct rh_session *session,
                                      const struct rh_dataset *dataset,
                                      const struct rh_record *record)
{
    IN_CALL(ctx);
    return keyring_write_ops.trial(ctx, session, dataset, record);
}

static enum rh_status component_begin(struct rh_ctx *ctx,
                                      struct rh_session *session,
                                      const struct rh_dataset *dataset,
                                      const struct rh_digest_key *digest)
{
    IN_CALL(ctx);
    return keyring_write_ops.begin(ctx, session, dataset, digest);
}

static enum rh_status component_commit(struct rh_ctx *ctx, struct rh_session *session, enum rh_commit *ret_commit)
{
    IN_CALL(ctx);
    return keyring_write_ops.commit(ctx, session, ret_commit);
}

static enum rh_status
component_promise(struct rh_ctx *ctx, struct rh_session *session, struct rh_bytes replaces, struct rh_buf *ret_stamp)
{
    IN_CALL(ctx);
    return keyring_whole_ops.promise(ctx, session, replaces, ret_stamp);
}

static enum rh_status component_stamp(struct rh_ctx *ctx, struct rh_session *session, struct rh_buf *ret_stamp)
{
    IN_CALL(ctx);
    return keyring_whole_ops.stamp(ctx, session, ret_stamp);
}

static enum rh_status component_put_back(struct rh_ctx *ctx, struct rh_session *session, const struct rh_bytes *image)
{
    IN_CALL(ctx);
    return keyring_put_back(ctx, session, image);
}

/* The engine asks the registered driver before it has looked at the store's own. */
static enum rh_status component_locate(struct rh_ctx *ctx, struct rh_store *base, struct rh_buf *ret_place)
{
    return base->driver == &elsewhere_driver ? elsewhere_locate(ctx, base, ret_place)
                                             : keyring_locate(ctx, base, ret_place);
}

static const struct rh_read_ops read_ops = {
    .datasets = keyring_datasets,
    .scan_open = component_scan_open,
    .scan_next = keyring_scan_next,
    .scan_close = keyring_scan_close,
    .get = component_get,
};

static const struct rh_write_ops write_ops = {
    .fits = keyring_fits,
    .trial = component_trial,
    .begin = component_begin,
    .put = keyring_put,
    .remove = keyring_remove,
    .commit = component_commit,
    .abort = keyring_abort,
};

static const struct rh_whole_ops whole_ops = {
    .promise = component_promise,
    .stamp = component_stamp,
    .image = keyring_image,
    .put_back = component_put_back,
};

/* --- opening --- */

static void component_done(void *own)
{
    struct component *component = own;
    if (!component)
        return;
    free(component->library.library);
    free(component->library.name);
    free(component->library.loader);
    free(component->library.library_path);
    free(component->library.host_program);
    component_config_done(&component->config);
    keyring_view_drop(component->known);
    pthread_mutex_destroy(&component->lock);
    free(component);
}

/* The library's name without folder and ".so": the component's. */
static enum rh_status name_of(const struct rh_options *values, char **ret_name, struct rh_error *err)
{
    const char *library = rh_options_text(values, "library"), *slash = strrchr(library, '/');
    const char *name = slash ? slash + 1 : library;
    const size_t size = strlen(name);
    if (size <= 3 || size > 128 || strcmp(name + size - 3, ".so") != 0) {
        rh_fail(err, RH_E_PLAN, "%s: '%s' isn't a library's file, component_keyring_NAME.so",
                rh_options_place(values, "library"), RH_SHOW(rh_bytes_text(library)));
        return RH_E_PLAN;
    }
    *ret_name = strndup(name, size - 3);
    return *ret_name ? RH_OK : rh_fail_memory(err);
}

/* An optional text of the plan's, copied; a path becomes absolute where it isn't. */
static enum rh_status
take_text(const struct rh_options *values, const char *name, char **ret_text, struct rh_error *err)
{
    const char *text = rh_options_text(values, name);
    if (!text)
        return RH_OK;
    *ret_text = strdup(text);
    return *ret_text ? RH_OK : rh_fail_memory(err);
}

/* The folder of the library, or the one that is named. */
static enum rh_status take_folder(const struct rh_options *values, struct component *component, struct rh_error *err)
{
    const char *library = component->library.library, *slash = strrchr(library, '/');
    if (rh_options_text(values, "component_dir"))
        return take_text(values, "component_dir", &component->config.folder, err);
    component->config.folder = slash ? strndup(library, slash == library ? 1 : (size_t)(slash - library)) : strdup(".");
    return component->config.folder ? RH_OK : rh_fail_memory(err);
}

/* Fills what the options say, and reads the configuration. */
static enum rh_status take_options(const struct rh_options *values, struct component *component, struct rh_error *err)
{
    struct component_library *library = &component->library;
    library->answer_us = rh_options_int(values, "answer_timeout");
    enum rh_status status =
        keyring_path(rh_options_text(values, "library"), rh_options_place(values, "library"), &library->library, err);
    if (status == RH_OK)
        status = name_of(values, &library->name, err);
    if (status == RH_OK && !(component->config.name = strdup(library->name)))
        status = rh_fail_memory(err);
    if (status == RH_OK)
        status = take_text(values, "loader", &library->loader, err);
    if (status == RH_OK)
        status = take_text(values, "library_path", &library->library_path, err);
    if (status == RH_OK)
        status = take_text(values, "host_program", &library->host_program, err);
    if (status == RH_OK)
        status = take_text(values, "instance_dir", &component->config.instance, err);
    if (status == RH_OK)
        status = take_folder(values, component, err);
    if (status == RH_OK && access(library->library, R_OK) != 0) {
        status = rh_fail_errno(err, errno, "%s: opening the library '%s'", rh_options_place(values, "library"),
                               RH_SHOW(rh_bytes_text(library->library)));
        rh_error_hint(err, "name the component's library; a server's are in its plugin_dir");
    }
    return status == RH_OK ? component_config_read(&component->config, err) : status;
}

static enum rh_status component_open(struct rh_ctx *ctx, const struct rh_store_args *args, struct rh_store **ret_store)
{
    struct component *component = calloc(1, sizeof *component);
    struct keyring_store *store = NULL;
    if (!component)
        return rh_fail_memory(ctx->err);
    pthread_mutex_init(&component->lock, NULL);
    enum rh_status status = take_options(args->options, component, ctx->err);
    const bool file = component->config.path;
    rh_auto_free char *path = status == RH_OK ? strdup(file ? component->config.path : "") : NULL;
    if (status == RH_OK && !path)
        status = rh_fail_memory(ctx->err);
    if (status == RH_OK)
        status = keyring_store_new(file ? &rh_driver_keyring_component : &elsewhere_driver, &keyring_component_format,
                                   args->side, rh_take(path), &store, ctx->err);
    if (status != RH_OK) {
        component_done(component);
        return status;
    }
    store->own = component;
    store->own_free = component_done;
    *ret_store = &store->base;
    return RH_OK;
}

/* The manifest that loads the component. Its configuration is as it was. */
static enum rh_status
component_settings(const struct rh_store *store, rh_setting_add *add, void *user, struct rh_error *err)
{
    rh_auto_buf struct rh_buf text = RH_BUF_INIT;
    const char *name = component_of((const struct keyring_store *)store)->library.name;
    enum rh_status status = rh_buf_format(&text, err, "{\"components\": \"file://%s\"}", name);
    if (status != RH_OK)
        return status;
    const struct rh_setting manifest = {
        .where = "mysqld.my, beside the server's program (or in its data folder, where that file says "
                 "read_local_manifest)",
        .text = rh_buf_cstr(&text),
    };
    return add(user, &manifest, err);
}

const struct rh_driver rh_driver_keyring_component = {
    .name = "keyring_component",
    .summary = "the keystore of any MySQL keyring component, through its library",
    .interface_version = RH_STORE_INTERFACE,
    .model = RH_MODEL_KEYRING,
    .record_class = RH_RECORDS_SECRET,
    .commit_scope = RH_COMMIT_WHOLE,
    .order_id = RH_ORDER_BYTES,
    .split = RH_SPLIT_KEY,
    .rescannable = true,
    .options = options,
    .open = component_open,
    .close = keyring_close,
    .session_open = component_session_open,
    .session_close = keyring_session_close,
    .facts = component_get_facts,
    .overlaps = keyring_overlaps,
    .locate = component_locate,
    .read = &read_ops,
    .write = &write_ops,
    .guard = &keyring_guard_ops,
    .whole = &whole_ops,
    .settings = component_settings,
};
