/* SPDX-License-Identifier: Apache-2.0 */
/* The component's services, found and called. The registry that it asks for others is in registry.c. */
#include "library.h"

#include "registry.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

/* --- the tables of the interface --- */

struct load_service {
    int (*load)(const char *component_dir, const char *instance_dir);
};
struct status_service {
    int (*is_initialized)(void);
};
/* Both iterators, of keys' names and of facts, have this shape. */
struct rows_service {
    int (*init)(void **ret_rows);
    int (*deinit)(void *rows);
    int (*is_valid)(void *rows);
    int (*next)(void *rows);
    int (*get_length)(void *rows, size_t *ret_first, size_t *ret_second);
    int (*get)(void *rows, char *first, size_t first_room, char *second, size_t second_room);
};
struct reader_service {
    int (*init)(const char *id, const char *owner, void **ret_reader);
    int (*deinit)(void *reader);
    int (*fetch_length)(void *reader, size_t *ret_data, size_t *ret_type);
    int (*fetch)(void *reader,
                 unsigned char *data,
                 size_t data_room,
                 size_t *ret_data,
                 char *type,
                 size_t type_room,
                 size_t *ret_type);
};
struct writer_service {
    int (*store)(const char *id, const char *owner, const unsigned char *data, size_t size, const char *type);
    int (*remove)(const char *id, const char *owner);
};

enum { KEYS_MOST = 1000000 };

static struct {
    const struct component *component;
    const struct load_service *load;
    const struct status_service *status;
    const struct rows_service *names, *facts;
    const struct reader_service *reader;
    const struct writer_service *writer;
    bool begun;
    /* room for one key, locked; one byte more than the most, for the NUL */
    struct room {
        char owner[WIRE_NAME_MOST + 1], id[WIRE_NAME_MOST + 1], type[WIRE_TYPE_MOST + 1];
        unsigned char data[WIRE_DATA_MOST];
    } * room;
} library;

RH_PRINTF(2, 3) static bool fail(struct library_words *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    return false;
}

/* --- opening --- */

/* Memory for one key at a time. */
static bool make_room(struct library_words *why)
{
    if (library.room)
        return true;
    void *memory = mmap(NULL, sizeof *library.room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail(why, "out of memory");
    (void)mlock(memory, sizeof *library.room); /* best effort, as everywhere */
    (void)madvise(memory, sizeof *library.room, MADV_DONTDUMP);
    library.room = memory;
    return true;
}

/* Refuses a library that asks for what it won't get, naming all of it. */
static bool check_required(const struct component *component, struct library_words *why)
{
    char list[WIRE_WORDS_MOST / 2] = "";
    size_t at = 0, count = 0;
    for (const struct required *one = component->requires_; one && one->name; one++) {
        if (registry_knows(one->name))
            continue;
        count++;
        if (at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s'%.100s'", at ? ", " : "", one->name);
    }
    if (count == 0)
        return true;
    return fail(why, "it wants %zu %s of the server that only the server has: %s", count,
                count == 1 ? "service" : "services", list);
}

/* The services without which nothing can be read. */
static bool find_services(struct library_words *why)
{
    library.load = registry_own("keyring_load");
    library.status = registry_own("keyring_component_status");
    library.names = registry_own("keyring_keys_metadata_iterator");
    library.reader = registry_own("keyring_reader_with_status");
    library.writer = registry_own("keyring_writer");
    library.facts = registry_own("keyring_component_metadata_query");
    const char *missing = !library.load     ? "keyring_load"
                          : !library.status ? "keyring_component_status"
                          : !library.names  ? "keyring_keys_metadata_iterator"
                          : !library.reader ? "keyring_reader_with_status"
                                            : NULL;
    return !missing || fail(why, "it isn't a keyring component: it has no service '%s'", missing);
}

/* A component is configured by a file of its own name, which we take the library's to be. */
static bool check_name(const struct component *component, const char *path, struct library_words *why)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t size = strlen(component->name);
    if (strncmp(name, component->name, size) == 0 && strcmp(name + size, ".so") == 0)
        return true;
    return fail(why, "it calls itself '%.200s': its file and its configuration must have that name", component->name);
}

/* The one component of an opened library. */
static bool take_component(void *handle, const char *path, struct library_words *why)
{
    union { /* ISO C has no cast from an object's pointer to a function's */
        void *symbol;
        const struct component *(*list_components)(void);
    } entry = {.symbol = dlsym(handle, "list_components")};
    if (!entry.symbol)
        return fail(why, "it isn't a MySQL component: it has no function 'list_components'");
    const struct component *component = entry.list_components();
    if (!component || !component->name || !component->provides || !component->init)
        return fail(why, "it lists no component");
    library.component = component;
    registry_begin(component);
    return find_services(why) && check_name(component, path, why) && check_required(component, why);
}

bool library_open(const char *path, const char *component_dir, const char *instance, struct library_words *why)
{
    if (library.component)
        return fail(why, "it is open already");
    if (!make_room(why))
        return false;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *words = dlerror();
        return fail(why, "%.700s", words ? words : "it can't be loaded");
    }
    if (!take_component(handle, path, why))
        return false;
    registry_fill(library.component);
    if (library.component->init() != 0)
        return fail(why, "it says that it can't start");
    library.begun = true;
    if (library.load->load(component_dir, instance) != 0)
        return fail(why, "it can't load its keys");
    if (library.status->is_initialized() == 0)
        return fail(why, "it says that it isn't initialized after it was loaded");
    return true;
}

bool library_writes(void)
{
    return library.writer != NULL;
}

const char *library_name(void)
{
    return library.component ? library.component->name : NULL;
}

/* --- rows --- */

/* One row into the rooms, which have one byte more than the most for its NUL. `counted`: the lengths that it tells
 * count that NUL already, as those of facts do. */
static bool get_row(const struct rows_service *service,
                    void *rows,
                    bool counted,
                    char *first,
                    size_t first_most,
                    char *second,
                    size_t second_most,
                    struct library_words *why)
{
    size_t first_size = 0, second_size = 0;
    if (service->get_length(rows, &first_size, &second_size) != 0)
        return fail(why, "it can't tell how long a name is");
    if (first_size > first_most || second_size > second_most)
        return fail(why, "it speaks of a name of %zu bytes; %zu are the most",
                    first_size > first_most ? first_size : second_size,
                    first_size > first_most ? first_most : second_most);
    first[0] = second[0] = '\0';
    if (service->get(rows, first, first_size + 1, second, second_size + 1) != 0)
        return fail(why, "it can't give a name");
    first[first_size] = second[second_size] = '\0';
    if (!counted && (strlen(first) != first_size || strlen(second) != second_size))
        return fail(why, "it gives a name of another length than it said");
    return true;
}

bool library_facts(bool (*add)(void *user, const char *name, const char *value), void *user, struct library_words *why)
{
    char name[WIRE_WORDS_MOST + 1], value[WIRE_PATH_MOST + 1];
    void *rows = NULL;
    if (!library.facts)
        return true;
    if (library.facts->init(&rows) != 0)
        return fail(why, "it can't tell about itself");
    bool right = true;
    enum { FACTS_MOST = 64 };
    for (int i = 0; right && i < FACTS_MOST && library.facts->is_valid(rows) != 0; i++) {
        right = get_row(library.facts, rows, true, name, sizeof name - 1, value, sizeof value - 1, why) &&
                add(user, name, value);
        if (right && library.facts->next(rows) != 0)
            break;
    }
    (void)library.facts->deinit(rows);
    return right;
}

/* --- keys --- */

/* What a reader gives, into the room. */
static bool read_key(void *reader, struct library_key *ret_key, struct library_words *why)
{
    struct room *room = library.room;
    size_t data = 0, type = 0, data_got = 0, type_got = 0;
    if (library.reader->fetch_length(reader, &data, &type) != 0)
        return fail(why, "it can't tell how long a key is");
    if (data > WIRE_DATA_MOST || type > WIRE_TYPE_MOST)
        return fail(why, "it speaks of a key of %zu bytes and a type of %zu; %d and %d are the most", data, type,
                    WIRE_DATA_MOST, WIRE_TYPE_MOST);
    if (library.reader->fetch(reader, room->data, data, &data_got, room->type, type + 1, &type_got) != 0)
        return fail(why, "it can't give a key's bytes");
    if (data_got != data || type_got != type)
        return fail(why, "it gives a key of another length than it said");
    ret_key->type = rh_bytes(room->type, type);
    ret_key->data = rh_bytes(room->data, data);
    return true;
}

bool library_fetch(
    const char *owner, const char *id, struct library_key *ret_key, bool *ret_there, struct library_words *why)
{
    void *reader = NULL;
    if (library.reader->init(id, owner, &reader) != 0)
        return fail(why, "it can't look a key up");
    *ret_there = reader != NULL;
    if (!reader)
        return true;
    ret_key->owner = rh_bytes_text(owner);
    ret_key->id = rh_bytes_text(id);
    const bool right = read_key(reader, ret_key, why);
    if (library.reader->deinit(reader) != 0 && right)
        return fail(why, "it can't end the reading of a key");
    return right;
}

/* The key that the iterator stands at. */
static bool
read_row(void *rows, bool (*add)(void *user, const struct library_key *key), void *user, struct library_words *why)
{
    struct room *room = library.room;
    struct library_key key;
    bool there = false;
    if (!get_row(library.names, rows, false, room->id, WIRE_NAME_MOST, room->owner, WIRE_NAME_MOST, why))
        return false;
    if (!library_fetch(room->owner, room->id, &key, &there, why))
        return false;
    if (!there)
        return fail(why, "it lists a key that it doesn't find then");
    return add(user, &key);
}

/* Whether the key read last is the same again: an iterator that doesn't move. */
static bool is_same(const struct room *room)
{
    static char last_id[WIRE_NAME_MOST + 1], last_owner[WIRE_NAME_MOST + 1];
    static bool any;
    const bool same = any && strcmp(last_id, room->id) == 0 && strcmp(last_owner, room->owner) == 0;
    any = room->id[0] || room->owner[0];
    memcpy(last_id, room->id, strlen(room->id) + 1);
    memcpy(last_owner, room->owner, strlen(room->owner) + 1);
    return same;
}

/* From key to key until the iterator says that there is no more. */
static bool
read_rows(void *rows, bool (*add)(void *user, const struct library_key *key), void *user, struct library_words *why)
{
    struct room *room = library.room;
    size_t count = 0;
    room->id[0] = room->owner[0] = '\0';
    (void)is_same(room);
    while (library.names->is_valid(rows) != 0) {
        if (++count > KEYS_MOST)
            return fail(why, "its list of keys has no end: more than %d", KEYS_MOST);
        if (!read_row(rows, add, user, why))
            return false;
        if (is_same(room))
            return fail(why, "its list of keys gives the same key again and again");
        if (library.names->next(rows) != 0)
            return true;
    }
    return true;
}

bool library_read(bool (*add)(void *user, const struct library_key *key), void *user, struct library_words *why)
{
    void *rows = NULL;
    if (library.names->init(&rows) != 0)
        return fail(why, "it can't list its keys");
    bool right = read_rows(rows, add, user, why);
    if (library.names->deinit(rows) != 0 && right)
        right = fail(why, "it can't end the list of its keys");
    explicit_bzero(library.room, sizeof *library.room);
    return right;
}

bool library_store(const char *owner, const char *id, const char *type, struct rh_bytes data, struct library_words *why)
{
    if (!library.writer)
        return fail(why, "it has no service 'keyring_writer': its keys can only be read");
    return library.writer->store(id, owner, data.data, data.size, type) == 0 || fail(why, "it doesn't take the key");
}

bool library_remove(const char *owner, const char *id, struct library_words *why)
{
    if (!library.writer)
        return fail(why, "it has no service 'keyring_writer': its keys can only be read");
    return library.writer->remove(id, owner) == 0 || fail(why, "it doesn't give the key up");
}

bool library_close(struct library_words *why)
{
    if (library.room)
        explicit_bzero(library.room, sizeof *library.room);
    if (!library.begun || !library.component->deinit)
        return true;
    library.begun = false;
    return library.component->deinit() == 0 || fail(why, "it says that it can't end");
}
