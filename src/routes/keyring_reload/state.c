/* SPDX-License-Identifier: Apache-2.0 */
/* A state as text: "server=UUID thread=N configuration=HEX from=HEX to=HEX"; paths hold any byte, hence the hex. */
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>

void kr_state_done(struct kr_state *state)
{
    free(state->configuration);
    free(state->from);
    free(state->to);
    *state = (struct kr_state){0};
}

/* " WORD=HEX" */
static enum rh_status add_path(struct rh_buf *out, const char *word, const char *path, struct rh_error *err)
{
    enum rh_status status = rh_buf_format(out, err, " %s=", word);
    return status ? status : rh_hex_add(out, rh_bytes_text(path), err);
}

enum rh_status kr_state_write(const struct kr_state *state, struct rh_buf *out, struct rh_error *err)
{
    rh_buf_clear(out);
    enum rh_status status = rh_buf_format(out, err, "server=%s thread=%lu", state->uuid, state->thread);
    if (!status)
        status = add_path(out, "configuration", state->configuration, err);
    if (!status)
        status = add_path(out, "from", state->from, err);
    if (!status)
        status = add_path(out, "to", state->to, err);
    if (!status && out->size > RH_ROUTE_STATE_MOST)
        status = rh_fail(err, RH_E_LIMIT, "the paths of keystores and configuration are too long");
    return status;
}

/* What stands behind "WORD=", up to a blank; empty when the word isn't there. */
static struct rh_bytes word_of(const char *text, const char *word)
{
    const size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += size)
        if ((at == text || at[-1] == ' ') && at[size] == '=')
            return rh_bytes(at + size + 1, strcspn(at + size + 1, " "));
    return (struct rh_bytes){0};
}

/* A path out of its hex; NULL when it is none. malloc'd. */
static char *path_of(const char *text, const char *word)
{
    const struct rh_bytes hex = word_of(text, word);
    char *path = hex.size >= 2 && hex.size % 2 == 0 ? calloc(1, hex.size / 2 + 1) : NULL;
    for (size_t i = 0; path && i < hex.size / 2; i++) {
        const char pair[3] = {(char)hex.data[2 * i], (char)hex.data[2 * i + 1], '\0'};
        char *end;
        path[i] = (char)strtoul(pair, &end, 16);
        if (end != pair + 2 || !path[i]) {
            free(path);
            return NULL;
        }
    }
    return path;
}

enum rh_status kr_state_read(const char *text, struct kr_state *ret_state, struct rh_error *err)
{
    const struct rh_bytes uuid = word_of(text, "server");
    uint64_t thread = 0;
    struct kr_state state = {
        .configuration = path_of(text, "configuration"), .from = path_of(text, "from"), .to = path_of(text, "to")};
    if (uuid.size == 0 || uuid.size >= sizeof state.uuid || rh_parse_u64(word_of(text, "thread"), &thread) ||
        !state.configuration || !state.from || !state.to) {
        kr_state_done(&state);
        return rh_fail(err, RH_E_INTERNAL, "what is remembered of a route makes no sense: '%s'",
                       RH_SHOW(rh_bytes_text(text)));
    }
    snprintf(state.uuid, sizeof state.uuid, "%.*s", (int)uuid.size, (const char *)uuid.data);
    state.thread = (unsigned long)thread;
    *ret_state = state;
    return RH_OK;
}
