/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted files of data folders, kept so that they can be shown in order. */
#include "keystore.h"

#include <stdlib.h>

enum { FILES_LEAST = 64 };

/* A text that the last file had, too, is kept once. NULL when memory is out. */
static const char *keep_text(struct keystore_files *files, const char *text, const char *last)
{
    return last && strcmp(text, last) == 0 ? last : rh_arena_text(&files->arena, text);
}

enum rh_status keystore_files_add(void *user,
                                  const struct rh_proof_item *item,
                                  const struct rh_inventory_key *key,
                                  struct rh_error *err)
{
    struct keystore_files *files = user;
    if (item->result == RH_PROOF_PLAIN || (files->only && key != files->only))
        return RH_OK;
    if (files->count == files->capacity) {
        const size_t capacity = files->capacity ? files->capacity * 2 : FILES_LEAST;
        struct keystore_file *grown = reallocarray(files->files, capacity, sizeof *grown);
        if (!grown)
            return rh_fail_memory(err);
        files->files = grown;
        files->capacity = capacity;
    }
    const struct keystore_file *last = files->count ? &files->files[files->count - 1] : NULL;
    const struct keystore_file file = {
        .key = key,
        .name = rh_arena_text(&files->arena, item->name),
        .path = rh_arena_text(&files->arena, item->path),
        .key_id = keep_text(files, item->key_id, last ? last->key_id : NULL),
        .why = keep_text(files, item->why, last ? last->why : NULL),
        .kind = rh_inventory_kind(item),
        .result = item->result,
    };
    if (!file.name || !file.path || !file.key_id || !file.why)
        return rh_fail_memory(err);
    files->files[files->count++] = file;
    return RH_OK;
}

static int compare_files(const void *a, const void *b)
{
    const struct keystore_file *left = a, *right = b;
    if (left->result != right->result)
        return left->result < right->result ? -1 : 1;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    const int order = rh_keyring_id_order(rh_bytes_text(left->name), rh_bytes_text(right->name));
    return order ? order : strcmp(left->path, right->path);
}

void keystore_files_sort(struct keystore_files *files)
{
    if (files->count)
        qsort(files->files, files->count, sizeof *files->files, compare_files);
}

void keystore_files_done(struct keystore_files *files)
{
    rh_arena_done(&files->arena);
    free(files->files);
    files->files = NULL;
    files->count = files->capacity = 0;
}

struct rh_bytes keystore_file_name(const struct keystore_files *files, const struct keystore_file *file)
{
    return rh_bytes_text(files->paths ? file->path : file->name);
}

json_t *keystore_file_json(const struct keystore_file *file)
{
    json_t *object =
        json_pack("{s:s, s:s}", "result", keystore_result(file->result), "kind", rh_inventory_kind_name(file->kind));
    rh_json_bytes(object, "name", "name_hex", rh_bytes_text(file->name));
    rh_json_bytes(object, "path", "path_hex", rh_bytes_text(file->path));
    if (file->key_id[0])
        rh_json_bytes(object, "key", "key_hex", rh_bytes_text(file->key_id));
    if (file->why[0])
        json_object_set_new(object, "why", json_string(file->why));
    return object;
}
