/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyring component of the tests' own, which is good or bad by the name of its file: component_twin.so keeps keys in
 * the file that "path" of its configuration names, one a line, as four hex texts; component_SOMETHING.so does one thing
 * wrong (see below). It is written from the description of the interface, not with the host's tables.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYS_MOST = 4096, TEXT_MOST = 2048, DATA_MOST = 16384 };

struct pair {
    const char *name;
    void *value;
};
struct description {
    const char *name;
    const struct pair *provides, *needs, *metadata;
    int (*init)(void);
    int (*deinit)(void);
};
struct key {
    char *owner, *id, *type;
    unsigned char *data;
    size_t size;
};

const struct description *list_components(void);

static char own_name[256], folder[1024], path[1024];
static struct key keys[KEYS_MOST];
static size_t count, stores, at;
static int loaded;

/* Whether this file is named after that fault. */
static int is(const char *fault)
{
    return strcmp(own_name, fault) == 0;
}

static int init(void)
{
    if (is("component_crash_init"))
        abort();
    if (is("component_unknown_services")) /* it must not come to this */
        (void)!write(2, "init was called\n", 16);
    return is("component_refuse_init");
}

static int deinit(void)
{
    if (is("component_crash_deinit"))
        abort();
    return is("component_fail_deinit");
}

/* --- the file --- */

static char *from_hex(const char *text, size_t *ret_size)
{
    const size_t size = strlen(text) / 2;
    char *out = calloc(1, size + 1);
    for (size_t i = 0; out && i < size; i++) {
        unsigned value = 0;
        (void)sscanf(text + 2 * i, "%2x", &value);
        out[i] = (char)value;
    }
    if (ret_size)
        *ret_size = size;
    return out;
}

static void put_hex(FILE *file, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        (void)fprintf(file, "%02x", ((const unsigned char *)data)[i]);
    (void)fputc(' ', file);
}

static int read_path(const char *dir)
{
    char name[2048], text[8192], *found;
    (void)snprintf(name, sizeof name, "%s/%s.cnf", dir, own_name);
    FILE *file = fopen(name, "r");
    if (!file)
        return 1;
    const size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    found = strstr(text, "\"keys_at\":");
    if (!found)
        found = strstr(text, "\"path\":");
    found = found ? strchr(strchr(found, ':'), '"') : NULL;
    if (!found)
        return 1;
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(found + 1, "\""), found + 1);
    return 0;
}

static int read_keys(void)
{
    static char line[4 * TEXT_MOST + 2 * DATA_MOST + 16];
    FILE *file = fopen(path, "r");
    count = 0;
    while (file && count < KEYS_MOST && fgets(line, sizeof line, file)) {
        struct key *key = &keys[count++];
        char *rest = line;
        char *words[4];
        for (int i = 0; i < 4; i++)
            words[i] = strsep(&rest, " ");
        if (!rest)
            return 1;
        key->owner = from_hex(words[0], NULL);
        key->id = from_hex(words[1], NULL);
        key->type = from_hex(words[2], NULL);
        key->data = (unsigned char *)from_hex(words[3], &key->size);
    }
    if (file)
        (void)fclose(file);
    return 0;
}

static int write_keys(void)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return 1;
    for (size_t i = 0; i < count; i++) {
        put_hex(file, keys[i].owner, strlen(keys[i].owner));
        put_hex(file, keys[i].id, strlen(keys[i].id));
        put_hex(file, keys[i].type, strlen(keys[i].type));
        put_hex(file, keys[i].data, keys[i].size);
        (void)fputc('\n', file);
        if (is("component_slow") && i == count / 2) { /* somebody who looks now, or after a kill, sees half a file */
            (void)fflush(file);
            (void)usleep(300000);
        }
    }
    return fclose(file) != 0;
}

/* --- services --- */

static int load(const char *component_dir, const char *instance_dir)
{
    (void)instance_dir;
    (void)snprintf(folder, sizeof folder, "%s", component_dir);
    if (is("component_hang_load"))
        for (;;)
            pause();
    if (is("component_exit_load"))
        exit(0);
    if (is("component_noise"))
        (void)puts("hello \033[31mfrom the library");
    if (is("component_flood"))
        for (;;)
            (void)puts("and on and on and on and on and on and on and on");
    if (is("component_fail_load")) {
        (void)printf("2026-11-22 13:00:00 [Note] [MY-000001] [Keyring] all is well\n"
                     "2026-11-22 13:00:01 [Error] [MY-013712] [Keyring] no way \033]0;x\a in\n");
        (void)fflush(stdout);
        return 1;
    }
    if (is("component_environment"))
        for (char **one = environ; *one; one++)
            if (strncmp(*one, "TWIN_SECRET", 11) == 0)
                return 1;
    if (read_path(component_dir))
        return 1;
    if (is("component_keyring_file")) { /* says that it is another one, and that there are no keys */
        loaded = 1;
        return 0;
    }
    if (read_keys())
        return 1;
    loaded = !is("component_not_initialized");
    return 0;
}

static int is_initialized(void)
{
    return loaded;
}

static struct key *find(const char *id, const char *owner)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].id, id) == 0 && strcmp(keys[i].owner, owner) == 0)
            return &keys[i];
    return NULL;
}

static int names_init(void **ret)
{
    at = 0;
    *ret = &at;
    return is("component_no_list");
}
static int names_deinit(void *rows)
{
    return rows != &at;
}
static int names_valid(void *rows)
{
    (void)rows;
    if (is("component_crash_iterate") && at == 1)
        (void)raise(SIGSEGV);
    return is("component_endless") ? count > 0 : at < count;
}
static int names_next(void *rows)
{
    (void)rows;
    if (!is("component_endless"))
        at++;
    return names_valid(rows) == 0;
}
static int names_length(void *rows, size_t *id, size_t *owner)
{
    (void)rows;
    *id = is("component_long_name") ? (size_t)1 << 40 : strlen(keys[at].id);
    *owner = strlen(keys[at].owner);
    return 0;
}
static int names_get(void *rows, char *id, size_t id_room, char *owner, size_t owner_room)
{
    (void)rows;
    if (strlen(keys[at].id) >= id_room || strlen(keys[at].owner) >= owner_room)
        return 1;
    strcpy(id, keys[at].id);
    strcpy(owner, keys[at].owner);
    return 0;
}

static int facts_init(void **ret)
{
    static size_t row;
    row = 0;
    *ret = &row;
    return 0;
}
static int facts_deinit(void *rows)
{
    (void)rows;
    return 0;
}
static int facts_valid(void *rows)
{
    return *(size_t *)rows < 1;
}
static int facts_next(void *rows)
{
    (*(size_t *)rows)++;
    return 1;
}
static int facts_length(void *rows, size_t *name, size_t *value)
{
    (void)rows;
    *name = sizeof "Data_file";
    *value = sizeof path;
    return 0;
}
static int facts_get(void *rows, char *name, size_t name_room, char *value, size_t value_room)
{
    (void)rows;
    (void)snprintf(name, name_room, "Data_file");
    (void)snprintf(value, value_room, "%s", is("component_other_file") ? "/etc/passwd" : path);
    return 0;
}

static int reader_init(const char *id, const char *owner, void **ret)
{
    *ret = is("component_forgets_listed") ? NULL : find(id, owner);
    return is("component_no_lookup");
}
static int reader_deinit(void *reader)
{
    return reader == NULL;
}
static int reader_length(void *reader, size_t *data, size_t *type)
{
    const struct key *key = reader;
    *data = is("component_long_data") ? SIZE_MAX : key->size;
    *type = strlen(key->type);
    return 0;
}
static int reader_fetch(void *reader,
                        unsigned char *data,
                        size_t data_room,
                        size_t *ret_data,
                        char *type,
                        size_t type_room,
                        size_t *ret_type)
{
    const struct key *key = reader;
    if (key->size > data_room || strlen(key->type) >= type_room)
        return 1;
    memcpy(data, key->data, key->size);
    strcpy(type, key->type);
    *ret_data = is("component_short_data") ? key->size - 1 : key->size;
    *ret_type = strlen(type);
    return 0;
}

static int writer_store(const char *id, const char *owner, const unsigned char *data, size_t size, const char *type)
{
    stores++;
    if (is("component_crash_store") && stores == 2)
        abort();
    if (is("component_hang_store") && stores == 2)
        for (;;)
            pause();
    if (is("component_forgets"))
        return 0; /* as if all went well */
    if (count == KEYS_MOST || find(id, owner) || (is("component_no_empty") && size == 0))
        return 1;
    struct key *key = &keys[count++];
    key->owner = strdup(owner);
    key->id = strdup(id);
    key->type = strdup(type);
    key->data = malloc(size + 1);
    key->size = size;
    if (size)
        memcpy(key->data, data, size);
    if (is("component_changes") && stores == 2)
        key->data[0] ^= 1;
    return write_keys();
}
static int writer_remove(const char *id, const char *owner)
{
    struct key *key = find(id, owner);
    if (!key)
        return 1;
    *key = keys[--count];
    return write_keys();
}

struct one_function {
    int (*function)(void);
};

const struct description *list_components(void)
{
    static struct {
        int (*load)(const char *component_dir, const char *instance_dir);
    } load_table = {load};
    static struct one_function status_table = {is_initialized};
    static struct rows {
        int (*init)(void **ret), (*deinit)(void *rows), (*valid)(void *rows), (*next)(void *rows);
        int (*length)(void *rows, size_t *first, size_t *second);
        int (*get)(void *rows, char *first, size_t first_room, char *second, size_t second_room);
    } names_table = {names_init, names_deinit, names_valid, names_next, names_length, names_get},
      facts_table = {facts_init, facts_deinit, facts_valid, facts_next, facts_length, facts_get};
    static struct {
        int (*init)(const char *id, const char *owner, void **ret), (*deinit)(void *reader);
        int (*length)(void *reader, size_t *data, size_t *type);
        int (*fetch)(void *reader,
                     unsigned char *data,
                     size_t data_room,
                     size_t *ret_data,
                     char *type,
                     size_t type_room,
                     size_t *ret_type);
    } reader_table = {reader_init, reader_deinit, reader_length, reader_fetch};
    static struct {
        int (*store)(const char *id, const char *owner, const unsigned char *data, size_t size, const char *type);
        int (*remove)(const char *id, const char *owner);
    } writer_table = {writer_store, writer_remove};
    static struct pair provides[] = {
        {"keyring_load.twin",                     &load_table  },
        {"keyring_component_status.twin",         &status_table},
        {"keyring_keys_metadata_iterator.twin",   &names_table },
        {"keyring_component_metadata_query.twin", &facts_table },
        {"keyring_reader_with_status.twin",       &reader_table},
        {"keyring_writer.twin",                   &writer_table},
        {NULL,                                    NULL         },
    };
    static void *places[3];
    static const struct pair modest[] = {
        {"registry", &places[0]},
        {NULL,       NULL      }
    };
    static const struct pair greedy[] = {
        {"registry",        &places[0]},
        {"mysql_thd_store", &places[1]},
        {"pfs_\001plugin",  &places[2]},
        {NULL,              NULL      }
    };
    static struct description own = {.name = own_name, .provides = provides, .init = init, .deinit = deinit};
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&list_components, &info) && strrchr(info.dli_fname, '/')) {
        const char *name = strrchr(info.dli_fname, '/') + 1;
        (void)snprintf(own_name, sizeof own_name, "%.*s", (int)strcspn(name, "."), name);
    }
    own.needs = is("component_unknown_services") ? greedy : modest;
    if (is("component_read_only"))
        provides[5] = (struct pair){NULL, NULL};
    if (is("component_no_reader"))
        provides[4] = (struct pair){NULL, NULL};
    if (is("component_other_name"))
        strcpy(own_name, "component_somebody");
    return is("component_none") ? NULL : &own;
}
