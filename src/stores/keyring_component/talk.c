/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a component prints: log lines of its own, "2026-11-22 13:00:00 [Error] [MY-013712] [Keyring] text", and anything
 * else. All of it is outside data. Knowledge: MySQL 8.0.24 to 9.7, components/keyrings/common (its log_builtins).
 */
#include "client.h"

#include <ctype.h>

void component_log_add(struct component_log *log, const char *text, size_t size)
{
    const size_t room = sizeof log->text - log->size, taken = size < room ? size : room;
    memcpy(log->text + log->size, text, taken);
    log->size += taken;
    log->seen += size;
}

/* The next line of `rest` without its end; false when there is none. Empty ones are passed over. */
static bool next_line(struct rh_bytes *rest, struct rh_bytes *ret_line)
{
    while (rest->size) {
        const uint8_t *end = memchr(rest->data, '\n', rest->size);
        const size_t size = end ? (size_t)(end - rest->data) : rest->size;
        const struct rh_bytes line = rh_bytes(rest->data, size);
        rest->data += end ? size + 1 : size;
        rest->size -= end ? size + 1 : size;
        if (size == 0)
            continue;
        *ret_line = line;
        return true;
    }
    return false;
}

/* Where the text behind a level's name begins; NULL for a line of another level, or none of a log. */
static const uint8_t *behind_level(struct rh_bytes line, const char *level)
{
    static const char shape[] = "dddd-dd-dd dd:dd:dd ";
    const size_t head = sizeof shape - 1;
    if (line.size < head)
        return NULL;
    for (size_t i = 0; i < head; i++) {
        const uint8_t letter = line.data[i] == 'T' && shape[i] == ' ' ? ' ' : line.data[i];
        if (shape[i] == 'd' ? !isdigit(letter) : i < head - 1 && letter != (uint8_t)shape[i])
            return NULL;
    }
    const uint8_t *found = memmem(line.data, line.size, level, strlen(level));
    return found ? found + strlen(level) : NULL;
}

const char *component_log_errors(const struct component_log *log, char *out, size_t out_size)
{
    struct rh_bytes rest = rh_bytes(log->text, log->size), line = {0}, last = {0};
    char gathered[1024];
    size_t at = 0;
    while (next_line(&rest, &line)) {
        const uint8_t *words = behind_level(line, " [Error] ");
        last = line;
        if (!words)
            continue;
        const size_t size = (size_t)(line.data + line.size - words), room = sizeof gathered - at;
        if (at && room > 2) {
            memcpy(gathered + at, "; ", 2);
            at += 2;
        }
        const size_t taken = size < sizeof gathered - at ? size : sizeof gathered - at;
        memcpy(gathered + at, words, taken);
        at += taken;
    }
    return rh_show(at ? rh_bytes(gathered, at) : last, out, out_size);
}

bool component_log_noise(const struct component_log *log, struct rh_bytes *ret_line)
{
    static const char *const levels[] = {"[Error]", "[Warning]", "[Note]", "[System]"};
    struct rh_bytes rest = rh_bytes(log->text, log->size), line = {0};
    while (next_line(&rest, &line)) {
        bool known = false;
        for (size_t i = 0; !known && i < sizeof levels / sizeof levels[0]; i++)
            known = behind_level(line, levels[i]) != NULL;
        if (!known) {
            *ret_line = line;
            return true;
        }
    }
    return false;
}
