/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From members of the syntax tree to the values of option tables.
 *
 * Knowledge: Vault hands every member of a storage stanza to its backend as text; what isn't text is encoded as JSON
 * first (parseStorage in command/server/config.go). redirect_addr, advertise_addr, cluster_addr and disable_clustering
 * are for the server, not for the backend.
 */
#include "plan_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* --- values as text --- */

/* A whole number in any of HCL's bases as decimal. */
static enum rh_status add_integer(struct rh_bytes text, struct rh_buf *out)
{
    bool minus = text.size && text.data[0] == '-';
    size_t at = minus;
    unsigned base = 10;
    if (text.size - at > 1 && text.data[at] == '0') {
        bool hex = (text.data[at + 1] | 0x20) == 'x';
        base = hex ? 16 : 8;
        at += hex ? 2 : 1;
    }
    uint64_t value = 0;
    for (; at < text.size; at++) {
        uint8_t byte = text.data[at];
        unsigned digit = byte <= '9' ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a') + 10;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            return RH_E_PLAN;
    }
    if (value > (uint64_t)INT64_MAX + minus)
        return RH_E_PLAN;
    return rh_buf_format(out, NULL, "%s%llu", minus && value ? "-" : "", (unsigned long long)value);
}

/* A float with as few digits as give the same number again. */
static enum rh_status add_float(struct rh_bytes text, struct rh_buf *out)
{
    char word[64], shown[64];
    if (text.size >= sizeof word)
        return RH_E_PLAN;
    memcpy(word, text.data, text.size);
    word[text.size] = '\0';
    double number = strtod(word, NULL); /* the reader has checked every character of it */
    if (!isfinite(number))
        return RH_E_PLAN;
    if (fabs(number) < 1e15 && fabs(number - trunc(number)) <= 0.0)
        return rh_buf_format(out, NULL, "%.0f", number);
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(shown, sizeof shown, "%.*g", digits, number);
        if (fabs(strtod(shown, NULL) - number) <= 0.0)
            break;
    }
    return rh_buf_text(out, shown, NULL);
}

/* A number as JSON has it. */
static enum rh_status add_number(struct rh_bytes text, struct rh_buf *out)
{
    bool hex = false, is_float = false;
    for (size_t i = 0; i < text.size; i++) {
        hex = hex || (text.data[i] | 0x20) == 'x';
        is_float = is_float || text.data[i] == '.' || (!hex && (text.data[i] | 0x20) == 'e');
    }
    return is_float ? add_float(text, out) : add_integer(text, out);
}

/* Text in double quotes as JSON. */
static enum rh_status add_quoted(struct rh_bytes text, struct rh_buf *out)
{
    enum rh_status status = rh_buf_u8(out, '"', NULL);
    for (size_t i = 0; status == RH_OK && i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' || byte == '\\')
            status = rh_buf_u8(out, '\\', NULL);
        if (status == RH_OK)
            status = byte < 0x20 ? rh_buf_format(out, NULL, "\\u%04x", byte) : rh_buf_u8(out, byte, NULL);
    }
    return status == RH_OK ? rh_buf_u8(out, '"', NULL) : status;
}

/* Any value but an object as JSON. */
static enum rh_status add_json(const struct rh_node *node, struct rh_buf *out)
{
    enum rh_status status = RH_OK;
    switch (node->kind) {
    case RH_NODE_TEXT:
        return add_quoted(node->text, out);
    case RH_NODE_NUMBER:
        return add_number(node->text, out);
    case RH_NODE_BOOL:
        return rh_buf_add(out, node->text.data, node->text.size, NULL);
    case RH_NODE_OBJECT:
        return RH_E_PLAN;
    case RH_NODE_LIST:
        break;
    }
    status = rh_buf_u8(out, '[', NULL);
    for (size_t i = 0; status == RH_OK && i < node->item_count; i++) {
        if (i)
            status = rh_buf_u8(out, ',', NULL);
        if (status == RH_OK)
            status = add_json(node->items[i], out);
    }
    return status == RH_OK ? rh_buf_u8(out, ']', NULL) : status;
}

enum rh_status rh_plan_value(const struct rh_plan_loader *loader, const struct rh_node *node, struct rh_buf *out)
{
    enum rh_status status =
        node->kind == RH_NODE_TEXT ? rh_buf_add(out, node->text.data, node->text.size, NULL) : add_json(node, out);
    if (status == RH_E_PLAN && node->kind == RH_NODE_NUMBER)
        return rh_plan_fail(loader, node->place, "number is too large");
    if (status == RH_E_PLAN)
        return rh_plan_fail(loader, node->place, "a list of blocks isn't a value here");
    return status == RH_OK ? RH_OK : rh_fail_memory(loader->err);
}

struct rh_title rh_plan_title(const struct rh_member *member)
{
    struct rh_title title = {{0}};
    if (member->title_count)
        memcpy(title.text, member->titles[0].data,
               member->titles[0].size < sizeof title.text ? member->titles[0].size : sizeof title.text - 1);
    return title;
}

/* --- filling option tables --- */

/* A nested block: `tls { ... }`. */
static enum rh_status
fill_block(struct rh_plan_loader *loader, struct rh_options *options, const struct rh_member *member, const char *what)
{
    if (member->title_count)
        return rh_plan_fail(loader, member->place, "block '%s' takes no title", RH_SHOW(rh_bytes_text(member->name)));
    struct rh_options *block = NULL;
    enum rh_status status =
        rh_options_open_block(options, member->name, rh_plan_place(loader, member->place).text, &block, loader->err);
    if (status != RH_OK)
        return status;
    char inner[256];
    (void)snprintf(inner, sizeof inner, "%s of %s", member->name, what);
    return rh_plan_fill(loader, block, member->value, inner, NULL);
}

/* A list for an option that may have many values: each item is one. */
static enum rh_status
fill_many(struct rh_plan_loader *loader, struct rh_options *options, const struct rh_member *member, const char *place)
{
    const struct rh_node *list = member->value;
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < list->item_count; i++) {
        if (list->items[i]->kind != RH_NODE_TEXT)
            return rh_plan_fail(loader, list->items[i]->place, "option '%s' takes a text or a list of texts",
                                member->name);
        status = rh_options_set(options, member->name, list->items[i]->text, place, loader->err);
    }
    return status;
}

/* One member of a block. */
static enum rh_status
fill_member(struct rh_plan_loader *loader, struct rh_options *options, const struct rh_member *member, const char *what)
{
    struct rh_place_text place = rh_plan_place(loader, member->place);
    const struct rh_option *option = rh_option_find(rh_options_table(options), member->name);
    if (!option)
        return rh_option_unknown(rh_options_table(options), member->name, place.text, what, "", loader->err);
    if (option->type == RH_OPT_IGNORED)
        return rh_options_set(options, member->name, rh_bytes_text(""), place.text, loader->err);
    if (member->value->kind == RH_NODE_OBJECT)
        return fill_block(loader, options, member, what);
    if (member->value->kind == RH_NODE_LIST && option->flags & RH_OPT_MANY)
        return fill_many(loader, options, member, place.text);
    if (member->value->kind == RH_NODE_LIST && option->type != RH_OPT_TEXT && option->type != RH_OPT_SECRET)
        return rh_plan_fail(loader, member->place, "option '%s' takes one value, not a list", option->name);
    rh_auto_buf struct rh_buf value = RH_BUF_INIT;
    enum rh_status status = rh_buf_reserve(&value, member->value->text.size + 1, loader->err);
    if (status == RH_OK)
        status = rh_plan_value(loader, member->value, &value);
    if (status == RH_OK)
        status = rh_options_set(options, member->name, rh_buf_bytes(&value), place.text, loader->err);
    if (option->type == RH_OPT_SECRET) {
        if (!option->is_secret || option->is_secret(rh_buf_bytes(&value)))
            loader->holds_secret = true;
        rh_wipe(value.data, value.capacity);
    }
    return status;
}

enum rh_status rh_plan_fill(struct rh_plan_loader *loader,
                            struct rh_options *options,
                            const struct rh_node *object,
                            const char *what,
                            bool (*skip)(const struct rh_member *member))
{
    enum rh_status status = RH_OK;
    for (size_t i = 0; status == RH_OK && i < object->member_count; i++)
        if (!skip || !skip(&object->members[i]))
            status = fill_member(loader, options, &object->members[i], what);
    return status;
}

/* --- stores --- */

/* What Vault strips from a stanza before its backend sees it. */
static bool is_for_the_server(const struct rh_member *member)
{
    static const char *const words[] = {"redirect_addr", "advertise_addr", "cluster_addr", "disable_clustering", NULL};
    for (const char *const *word = words; *word; word++)
        if (strcmp(member->name, *word) == 0)
            return true;
    return false;
}

/* Whether a driver goes by this name. */
static bool has_name(const struct rh_driver *driver, const char *name)
{
    if (strcmp(driver->name, name) == 0)
        return true;
    for (const char *const *alias = driver->aliases; alias && *alias; alias++)
        if (strcmp(*alias, name) == 0)
            return true;
    return false;
}

/* Storage backends that Vault or OpenBao have. */
static bool is_vault_backend(const char *name)
{
    static const char *const words[] = {"aerospike",    "alicloudoss", "azure",      "cassandra", "cockroachdb",
                                        "consul",       "couchdb",     "dynamodb",   "etcd",      "file",
                                        "foundationdb", "gcs",         "inmem",      "manta",     "mssql",
                                        "mysql",        "oci",         "postgresql", "raft",      "s3",
                                        "spanner",      "swift",       "triton",     "zookeeper", NULL};
    for (const char *const *word = words; *word; word++)
        if (strcmp(name, *word) == 0)
            return true;
    return false;
}

/* The error for a store type that isn't there. */
static enum rh_status
unknown_driver(const struct rh_plan_loader *loader, const struct rh_member *member, const char *type)
{
    const char *words[65] = {NULL};
    rh_auto_buf struct rh_buf known = rh_buf_limited(400);
    for (size_t i = 0; i < 64 && loader->kinds->stores[i]; i++) {
        words[i] = loader->kinds->stores[i]->name;
        rh_ignore(rh_buf_format(&known, NULL, "%s%s", i ? ", " : "", words[i])); /* a list too long is cut */
    }
    enum rh_status status;
    const char *near = rh_nearest(type, words), *shown = RH_SHOW(rh_bytes_text(type));
    if (is_vault_backend(type))
        status = rh_plan_fail(loader, member->place, "store \"%s\" isn't there yet", shown);
    else if (loader->loaded->plan.vault_config)
        status = rh_plan_fail(loader, member->place, "no Vault storage backend named: \"%s\"%s%s%s", shown,
                              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    else
        status = rh_plan_fail(loader, member->place, "unknown store \"%s\"%s%s%s", shown,
                              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    rh_error_hint(loader->err, "the stores of this version are: %s", rh_buf_cstr(&known));
    return status;
}

/* The driver that a block's title names. Vault takes it in any case of letters. */
static enum rh_status
find_driver(const struct rh_plan_loader *loader, const struct rh_member *member, const struct rh_driver **ret_driver)
{
    struct rh_title type = rh_plan_title(member);
    bool lower = loader->loaded->plan.vault_config;
    for (char *letter = type.text; lower && *letter; letter++)
        if (*letter >= 'A' && *letter <= 'Z')
            *letter = (char)(*letter | 0x20);
    for (size_t i = 0; loader->kinds->stores[i]; i++)
        if (member->titles[0].size < sizeof type.text && strlen(type.text) == member->titles[0].size &&
            has_name(loader->kinds->stores[i], type.text)) {
            *ret_driver = loader->kinds->stores[i];
            return RH_OK;
        }
    return rh_surely_failed(unknown_driver(loader, member, type.text));
}

/* The place and the options of a block whose title has named its driver. */
static enum rh_status read_driver_block(struct rh_plan_loader *loader,
                                        const struct rh_member *member,
                                        const char *driver,
                                        const struct rh_option *table,
                                        bool (*skip)(const struct rh_member *member),
                                        char **ret_place,
                                        struct rh_options **ret_options)
{
    char what[256];
    struct rh_place_text place = rh_plan_place(loader, member->place);
    *ret_place = strdup(place.text);
    if (!*ret_place)
        return rh_fail_memory(loader->err);
    enum rh_status status = rh_options_new(table, place.text, ret_options, loader->err);
    (void)snprintf(what, sizeof what, "%s \"%s\"", member->name, driver);
    if (status == RH_OK)
        status = rh_plan_fill(loader, *ret_options, member->value, what, skip);
    return status == RH_OK ? rh_options_end(*ret_options, loader->err) : status;
}

enum rh_status
rh_plan_endpoint(struct rh_plan_loader *loader, const struct rh_member *member, struct rh_endpoint *ret_endpoint)
{
    if (member->title_count != 1 || member->value->kind != RH_NODE_OBJECT)
        return rh_plan_fail(loader, member->place, "'%s' needs the type of its store: %s \"TYPE\" { ... }",
                            RH_SHOW(rh_bytes_text(member->name)), RH_SHOW(rh_bytes_text(member->name)));
    const struct rh_driver *driver = NULL;
    enum rh_status status = find_driver(loader, member, &driver);
    if (status != RH_OK)
        return status;
    ret_endpoint->driver = driver; /* half-filled is fine: the plan is freed as a whole */
    return read_driver_block(loader, member, driver->name, driver->options, is_for_the_server, &ret_endpoint->place,
                             &ret_endpoint->options);
}

/* Which of the names a block's title is; an error names the nearest. */
static enum rh_status
find_name(const struct rh_plan_loader *loader, const struct rh_member *member, const char *const *names, size_t *ret_at)
{
    if (member->title_count != 1 || member->value->kind != RH_NODE_OBJECT)
        return rh_plan_fail(loader, member->place, "'%s' needs its type: %s \"TYPE\" { ... }", member->name,
                            member->name);
    const struct rh_title type = rh_plan_title(member);
    for (*ret_at = 0; names[*ret_at]; ++*ret_at)
        if (strcmp(names[*ret_at], type.text) == 0 && strlen(type.text) == member->titles[0].size)
            return RH_OK;
    const char *near = rh_nearest(type.text, names);
    return rh_plan_fail(loader, member->place, "unknown %s \"%s\"%s%s%s", member->name,
                        RH_SHOW(rh_bytes_text(type.text)), near ? "; did you mean '" : "", near ? near : "",
                        near ? "'?" : "");
}

enum { KINDS_MOST = 16 }; /* of fences, of routes */

enum rh_status
rh_plan_fence(struct rh_plan_loader *loader, const struct rh_member *member, struct rh_fence_block *ret_fence)
{
    const char *names[KINDS_MOST + 1] = {NULL};
    size_t at = 0;
    for (size_t i = 0; i < KINDS_MOST && loader->kinds->fences[i]; i++)
        names[i] = loader->kinds->fences[i]->name;
    enum rh_status status = find_name(loader, member, names, &at);
    if (status != RH_OK)
        return status;
    const struct rh_fence_driver *driver = loader->kinds->fences[at];
    ret_fence->driver = driver; /* half-filled is fine: the plan is freed as a whole */
    status =
        read_driver_block(loader, member, driver->name, driver->options, NULL, &ret_fence->place, &ret_fence->options);
    if (status == RH_OK)
        ret_fence->lease_us = rh_options_int(ret_fence->options, "lease");
    return status;
}

enum rh_status
rh_plan_route(struct rh_plan_loader *loader, const struct rh_member *member, struct rh_route_block *ret_route)
{
    const char *names[KINDS_MOST + 1] = {NULL};
    size_t at = 0;
    for (size_t i = 0; i < KINDS_MOST && loader->kinds->routes[i]; i++)
        names[i] = loader->kinds->routes[i]->name;
    enum rh_status status = find_name(loader, member, names, &at);
    if (status != RH_OK)
        return status;
    const struct rh_route_driver *driver = loader->kinds->routes[at];
    ret_route->driver = driver; /* as above */
    return read_driver_block(loader, member, driver->name, driver->options, NULL, &ret_route->place,
                             &ret_route->options);
}
