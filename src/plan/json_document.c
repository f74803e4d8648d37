/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON form of plan and migrate files, read by jansson into the same tree as HCL. What HCL writes as a titled block
 * is one object deeper in JSON: {"storage_source": {"mysql": {...}}}, or lists of such objects on either level. jansson
 * keeps members in their order, so json_place.c can walk the text in step with the tree and say where each stands.
 */
#include "document_internal.h"

#include <jansson.h>
#include <stdlib.h>

struct converter {
    struct rh_document *document;
    struct rh_error *err; /* never NULL */
    size_t node_count;
    struct rh_json_walk walk; /* behind the last token that was converted */
};

static enum rh_status convert(struct converter *converter, json_t *json, unsigned depth, struct rh_node **ret_node);

/* Whether HCL writes this word with a title. */
static bool is_titled(const char *name)
{
    static const char *const words[] = {
        "plan", "move", "source", "destination", "storage_source", "storage_destination", "route", NULL};
    for (const char *const *word = words; *word; word++)
        if (strcmp(*word, name) == 0)
            return true;
    return false;
}

/* Adds one member; a titled one when `title` isn't NULL. */
static enum rh_status add_member(struct converter *converter,
                                 struct rh_node *object,
                                 const char *name,
                                 const char *title,
                                 struct rh_place place,
                                 json_t *json,
                                 unsigned depth)
{
    struct rh_member member = {.block = json_is_object(json), .place = place};
    member.name = rh_document_name(converter->document, rh_bytes_text(name), place, converter->err);
    if (!member.name)
        return converter->err->status;
    if (title) {
        member.titles[0] = rh_arena_copy(&converter->document->arena, rh_bytes_text(title));
        if (!member.titles[0].data && title[0])
            return rh_fail_memory(converter->err);
        member.title_count = 1;
    }
    enum rh_status status = convert(converter, json, depth + 1, &member.value);
    return status == RH_OK ? rh_document_add_member(converter->document, object, &member, converter->err) : status;
}

/* Whether a value is a list of objects: HCL would repeat its word. */
static bool is_repeated(const json_t *json)
{
    size_t index;
    json_t *item;
    bool repeated = json_array_size(json) > 0;
    json_array_foreach(json, index, item) repeated = repeated && json_is_object(item);
    return repeated;
}

/* A member, or one for each object of a list. */
static enum rh_status add_members(struct converter *converter,
                                  struct rh_node *object,
                                  const char *name,
                                  const char *title,
                                  struct rh_place place,
                                  json_t *json,
                                  unsigned depth)
{
    size_t index;
    json_t *item;
    enum rh_status status = RH_OK;
    if (!is_repeated(json))
        return add_member(converter, object, name, title, place, json, depth);
    (void)rh_json_walk_next(&converter->walk); /* the list's bracket */
    json_array_foreach(json, index, item) if (status == RH_OK) status =
        add_member(converter, object, name, title, place, item, depth);
    return status;
}

/* {"mysql": {...}} below a word that takes a title: one member for each. An object whose members aren't all objects has
 * no title. */
static enum rh_status add_titled(struct converter *converter,
                                 struct rh_node *object,
                                 const char *name,
                                 struct rh_place place,
                                 json_t *json,
                                 unsigned depth)
{
    const char *title;
    json_t *value;
    bool titled = json_object_size(json) > 0;
    json_object_foreach(json, title, value) titled = titled && (json_is_object(value) || is_repeated(value));
    if (!titled)
        return add_member(converter, object, name, NULL, place, json, depth);
    enum rh_status status = RH_OK;
    (void)rh_json_walk_next(&converter->walk); /* the object's bracket */
    json_object_foreach(json, title, value)
    {
        const struct rh_place title_place = rh_json_walk_next(&converter->walk);
        if (status == RH_OK)
            status = add_members(converter, object, name, title, title_place, value, depth);
    }
    return status;
}

/* One member of a JSON object: a list of objects stands for a word that is repeated. */
static enum rh_status
add_json_member(struct converter *converter, struct rh_node *object, const char *name, json_t *json, unsigned depth)
{
    size_t index;
    json_t *item;
    enum rh_status status = RH_OK;
    const struct rh_place place = rh_json_walk_next(&converter->walk);
    if (is_titled(name) && json_is_object(json))
        return add_titled(converter, object, name, place, json, depth);
    if (!is_titled(name) || !is_repeated(json))
        return add_members(converter, object, name, NULL, place, json, depth);
    (void)rh_json_walk_next(&converter->walk); /* the list's bracket */
    json_array_foreach(json, index, item) if (status == RH_OK) status =
        add_titled(converter, object, name, place, item, depth);
    return status;
}

/* Members or items of a container. */
static enum rh_status fill(struct converter *converter, json_t *json, unsigned depth, struct rh_node *node)
{
    enum rh_status status = RH_OK;
    const char *name;
    json_t *value;
    size_t index;
    if (node->kind == RH_NODE_OBJECT) {
        json_object_foreach(json, name, value) if (status == RH_OK) status =
            add_json_member(converter, node, name, value, depth);
        return status;
    }
    json_array_foreach(json, index, value)
    {
        struct rh_node *item = NULL;
        status = convert(converter, value, depth + 1, &item);
        if (status == RH_OK)
            status = rh_document_add_item(converter->document, node, item, converter->err);
        if (status != RH_OK)
            return status;
    }
    return RH_OK;
}

/* Text, number and boolean as HCL would have them. */
static enum rh_status fill_scalar(struct converter *converter, const json_t *json, struct rh_node *node)
{
    struct rh_bytes text = {0};
    char *number = NULL;
    if (json_is_string(json))
        text = rh_bytes(json_string_value(json), json_string_length(json));
    else if (json_is_number(json))
        number = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    else
        text = rh_bytes_text(json_is_true(json) ? "true" : "false");
    if (number)
        text = rh_bytes_text(number);
    node->text = rh_arena_copy(&converter->document->arena, text);
    bool lost = (!node->text.data && text.size) || (json_is_number(json) && !number);
    free(number);
    return lost ? rh_fail_memory(converter->err) : RH_OK;
}

/* A JSON value as a node of the tree. */
static enum rh_status convert(struct converter *converter, json_t *json, unsigned depth, struct rh_node **ret_node)
{
    const struct rh_place place = rh_json_walk_next(&converter->walk);
    if (depth > RH_DOCUMENT_DEPTH_MAX)
        return rh_document_fail(converter->document, place, converter->err, "nested too deeply");
    enum rh_node_kind kind = RH_NODE_TEXT;
    if (json_is_object(json))
        kind = RH_NODE_OBJECT;
    else if (json_is_array(json))
        kind = RH_NODE_LIST;
    else if (json_is_number(json))
        kind = RH_NODE_NUMBER;
    else if (json_is_boolean(json))
        kind = RH_NODE_BOOL;
    else if (json_is_null(json))
        return rh_document_fail(converter->document, place, converter->err, "null isn't a value; leave the member out");
    struct rh_node *node = rh_document_node(converter->document, kind, place, &converter->node_count, converter->err);
    if (!node)
        return converter->err->status;
    *ret_node = node;
    if (kind == RH_NODE_OBJECT || kind == RH_NODE_LIST)
        return fill(converter, json, depth, node);
    return fill_scalar(converter, json, node);
}

/* jansson's words can repeat what the text holds, so only the place is taken over. */
enum rh_status rh_document_parse_json(struct rh_document *document, struct rh_bytes text, struct rh_error *err)
{
    struct rh_error own = {0};
    struct converter converter = {.document = document, .err = err ? err : &own, .walk = rh_json_walk_begin(text)};
    json_error_t why;
    json_t *json = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &why);
    if (!json) {
        struct rh_place place = {.line = why.line > 0 ? (uint32_t)why.line : 0,
                                 .column = why.column > 0 ? (uint32_t)why.column : 1};
        bool twice = json_error_code(&why) == json_error_duplicate_key;
        return rh_document_fail(document, place, converter.err, twice ? "a member is given twice" : "not valid JSON");
    }
    enum rh_status status = convert(&converter, json, 0, &document->root);
    json_decref(json);
    return status;
}
