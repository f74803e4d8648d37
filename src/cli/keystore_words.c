/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a key and of what uses it, for people and as JSON. Never the key, nor anything made of it. */
#include "keystore.h"

#include <stdlib.h>

/* --- for people --- */

struct keystore_words keystore_short(const struct rh_inventory_key *key)
{
    struct keystore_words words = {{0}};
    const struct rh_keyring_meaning meaning = rh_keyring_meaning(key->owner, key->id);
    const char *newest = key->newest ? ", newest" : "";
    const unsigned long long number = meaning.number;
    char name[48];
    rh_show(meaning.server, name, sizeof name);
    switch (meaning.use) {
    case RH_KEYRING_USE_OTHER:
        break;
    case RH_KEYRING_USE_INNODB:
        snprintf(words.text, sizeof words.text, "InnoDB key %llu%s", number, newest);
        break;
    case RH_KEYRING_USE_BINLOG:
        snprintf(words.text, sizeof words.text, "binlog key %llu%s", number, newest);
        break;
    case RH_KEYRING_USE_BINLOG_STATE:
        snprintf(words.text, sizeof words.text, "binlog key's number");
        break;
    case RH_KEYRING_USE_PERCONA:
        snprintf(words.text, sizeof words.text, "%s key %llu%s", name, number, newest);
        break;
    }
    return words;
}

/* Which number a MySQLReplicationKey_UUID... holds. */
static const char *state_words(struct rh_bytes id)
{
    const char *const text = (const char *)id.data;
    const size_t at = id.size;
    if (at > 4 && memcmp(text + at - 4, "_new", 4) == 0)
        return "of the binary log key that is being rotated to";
    if (at > 4 && memcmp(text + at - 4, "_old", 4) == 0)
        return "of the binary log key that was rotated from";
    if (at > 12 && memcmp(text + at - 12, "_last_purged", 12) == 0)
        return "of the last binary log key that was removed";
    return "of the newest binary log key";
}

struct keystore_words keystore_long(const struct rh_inventory_key *key)
{
    struct keystore_words words = {{0}};
    const struct rh_keyring_meaning meaning = rh_keyring_meaning(key->owner, key->id);
    const unsigned long long number = meaning.number;
    char server[64];
    rh_show(meaning.server, server, sizeof server);
    switch (meaning.use) {
    case RH_KEYRING_USE_OTHER:
        snprintf(words.text, sizeof words.text, "%s",
                 key->owner.size ? "a key made by an account's SQL" : "a key of the server's own, of no known use");
        break;
    case RH_KEYRING_USE_INNODB:
        snprintf(words.text, sizeof words.text, "InnoDB master key %llu of server %s", number, server);
        break;
    case RH_KEYRING_USE_BINLOG:
        snprintf(words.text, sizeof words.text, "binary log master key %llu of server %s", number, server);
        break;
    case RH_KEYRING_USE_BINLOG_STATE:
        snprintf(words.text, sizeof words.text, "no key: the number %s of server %s", state_words(key->id), server);
        break;
    case RH_KEYRING_USE_PERCONA:
        snprintf(words.text, sizeof words.text, "Percona Server's system key %llu for '%s'", number, server);
        break;
    }
    return words;
}

bool keystore_provable(const struct rh_inventory_key *key)
{
    const enum rh_keyring_use use = rh_keyring_meaning(key->owner, key->id).use;
    return use == RH_KEYRING_USE_INNODB || use == RH_KEYRING_USE_BINLOG;
}

struct keystore_words keystore_count(uint64_t count, const char *noun)
{
    struct keystore_words words = {{0}};
    snprintf(words.text, sizeof words.text, "%s %s%s", rh_words_count(count).text, noun, count == 1 ? "" : "s");
    return words;
}

struct keystore_words keystore_uses(const uint32_t files[static RH_INVENTORY_KINDS])
{
    struct keystore_words words = {{0}};
    size_t used = 0;
    for (size_t i = 0; i < RH_INVENTORY_KINDS; i++)
        if (files[i])
            used += (size_t)snprintf(words.text + used, sizeof words.text - used, "%s%s", used ? ", " : "",
                                     keystore_count(files[i], rh_inventory_kind_name((enum rh_inventory_kind)i)).text);
    return words;
}

const char *keystore_result(enum rh_proof_result result)
{
    static const char *const names[] = {
        [RH_PROOF_PLAIN] = "plain",     [RH_PROOF_OPENS] = "opens", [RH_PROOF_UNPROVEN] = "unproven",
        [RH_PROOF_MISSING] = "missing", [RH_PROOF_WRONG] = "wrong", [RH_PROOF_UNREADABLE] = "unreadable",
    };
    return names[result];
}

/* --- outside bytes --- */

/* Bytes made safe to show, in full; malloc'd where `small` has no room, else `small`. NULL when memory is out. */
static char *shown(struct rh_bytes bytes, struct rh_shown *small)
{
    enum { WIDEST = 4 }; /* a byte becomes \xNN */
    const size_t size = bytes.size * WIDEST + 1;
    char *large = size > sizeof small->text ? malloc(size) : NULL;
    if (!large && size > sizeof small->text)
        return NULL;
    char *text = large ? large : small->text;
    rh_show(bytes, text, large ? size : sizeof small->text);
    return text;
}

/* How many columns a shown text takes: its characters. */
static size_t columns(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((uint8_t)*text & 0xc0) != 0x80;
    return count;
}

void keystore_pad(FILE *out, struct rh_bytes bytes, size_t width)
{
    struct rh_shown small;
    char *text = shown(bytes, &small);
    fputs(text ? text : "?", out);
    for (size_t have = columns(text ? text : "?"); have < width; have++)
        fputc(' ', out);
    if (text != small.text)
        free(text);
}

void keystore_put(FILE *out, struct rh_bytes bytes)
{
    keystore_pad(out, bytes, 0);
}

size_t keystore_width(struct rh_bytes bytes)
{
    struct rh_shown small;
    char *text = shown(bytes, &small);
    const size_t width = text ? columns(text) : 1;
    if (text != small.text)
        free(text);
    return width;
}

/* --- as JSON --- */

/* How many files of each kind name it. */
static json_t *uses_json(const struct rh_inventory_key *key)
{
    static const char *const names[RH_INVENTORY_KINDS] = {
        [RH_INVENTORY_TABLESPACE] = "tablespaces",
        [RH_INVENTORY_UNDO] = "undo_tablespaces",
        [RH_INVENTORY_REDO] = "redo_logs",
        [RH_INVENTORY_BINLOG] = "binary_logs",
    };
    json_t *object = json_object();
    for (size_t i = 0; i < RH_INVENTORY_KINDS; i++)
        json_object_set_new(object, names[i], json_integer((json_int_t)key->files[i]));
    return object;
}

json_t *keystore_key_json(const struct rh_inventory_key *key, bool used)
{
    static const char *const uses[] = {
        [RH_KEYRING_USE_OTHER] = "other",
        [RH_KEYRING_USE_INNODB] = "innodb-master-key",
        [RH_KEYRING_USE_BINLOG] = "binlog-master-key",
        [RH_KEYRING_USE_BINLOG_STATE] = "binlog-key-number",
        [RH_KEYRING_USE_PERCONA] = "percona-system-key",
    };
    const struct rh_keyring_meaning meaning = rh_keyring_meaning(key->owner, key->id);
    json_t *object = json_object();
    rh_json_bytes(object, "id", "id_hex", key->id);
    rh_json_bytes(object, "owner", "owner_hex", key->owner);
    rh_json_bytes(object, "type", "type_hex", key->type);
    json_object_set_new(object, "bytes", json_integer((json_int_t)key->bytes));
    json_object_set_new(object, "use", json_string(uses[meaning.use]));
    if (meaning.server.size)
        rh_json_bytes(object, "server", "server_hex", meaning.server);
    if (meaning.use != RH_KEYRING_USE_OTHER && meaning.use != RH_KEYRING_USE_BINLOG_STATE) {
        json_object_set_new(object, "number", json_integer((json_int_t)meaning.number));
        json_object_set_new(object, "newest", json_boolean(key->newest));
    }
    if (used)
        json_object_set_new(object, "used_by", keystore_provable(key) ? uses_json(key) : json_null());
    return object;
}

json_t *keystore_facts_json(const struct keystore *keystore)
{
    const struct rh_facts *facts = rh_inventory_facts(keystore->inventory);
    json_t *leftover = facts->leftover[0]
                           ? json_pack("{s:s, s:b}", "text", facts->leftover, "harms", (int)facts->leftover_harms)
                           : json_null();
    json_t *encrypted =
        facts->encrypted_at_rest == RH_UNKNOWN ? json_null() : json_boolean(facts->encrypted_at_rest == RH_YES);
    json_t *object = json_pack("{s:s, s:s, s:s}", "store", keystore->driver->name, "product", facts->product, "version",
                               facts->version);
    rh_json_bytes(object, "address", "address_hex", rh_bytes_text(facts->address));
    json_object_set_new(object, "encrypted_at_rest", encrypted);
    json_object_set_new(object, "leftover", leftover);
    return object;
}
