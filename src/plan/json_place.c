/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines and columns of a JSON text, which jansson doesn't tell. The text has been found valid by jansson; this walks
 * its tokens in the order in which jansson's tree is walked: an opening bracket, each member's name and then its value,
 * each item. Closing brackets, commas and colons are no tokens. Never reads past the end, whatever the text is.
 */
#include "document_internal.h"

struct rh_json_walk rh_json_walk_begin(struct rh_bytes text)
{
    return (struct rh_json_walk){
        .at = text.data, .end = text.size ? text.data + text.size : text.data, .here = {.line = 1, .column = 1}
    };
}

/* Moves on by one byte; columns count characters, as the HCL reader does. */
static void step(struct rh_json_walk *walk)
{
    if (*walk->at == '\n')
        walk->here = (struct rh_place){.line = walk->here.line + 1, .column = 1};
    else if ((*walk->at & 0xc0) != 0x80)
        walk->here.column++;
    walk->at++;
}

/* Whether the next byte is one of these. */
static bool next_is(const struct rh_json_walk *walk, const char *bytes)
{
    return walk->at < walk->end && *walk->at && strchr(bytes, *walk->at);
}

/* Moves behind the string that begins here. */
static void skip_string(struct rh_json_walk *walk)
{
    step(walk);
    while (walk->at < walk->end && *walk->at != '"') {
        if (*walk->at == '\\')
            step(walk);
        if (walk->at < walk->end)
            step(walk);
    }
    if (walk->at < walk->end)
        step(walk);
}

struct rh_place rh_json_walk_next(struct rh_json_walk *walk)
{
    while (next_is(walk, " \t\r\n,:]}"))
        step(walk);
    if (walk->at >= walk->end)
        return (struct rh_place){0};
    const struct rh_place place = walk->here;
    if (*walk->at == '"')
        skip_string(walk);
    else if (next_is(walk, "{["))
        step(walk);
    else
        while (walk->at < walk->end && !next_is(walk, " \t\r\n,:]}\"{["))
            step(walk);
    return place;
}
