/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing the plugin's data file: a version tag, records ("pods") in the word size and byte order of the
 * server that wrote it, "EOF", and in 2.0 a SHA-256 of the records. The architecture isn't said anywhere: it is the
 * first of four by which a walk over the records comes out to the byte. Knowledge: MySQL 5.7 and 8.0, plugin/keyring
 * (buffer, converter, digest, checker); files written by 5.7.25 and 8.0.12 to 8.0.14.
 */
#include "pods.h"

#include "fold.h"

#include <openssl/evp.h>
#include <rehome/base.h>

enum {
    TAG = 24,
    END = 3,
    DIGEST = 32,
    WORDS = 5, /* of a pod's head: its size, lengths of id, type, owner, data */
    MASK = 24,
};
#define TAG_WORDS "Keyring file version:"
#define END_WORD "EOF"

/* With which the plugin makes keys unreadable for a passing look; it is no encryption. */
static const uint8_t mask[MASK] = {'*', '3', '0', '5', '=', 'L', 'j', 't', '0', '*', '!', '@',
                                   '$', 'H', 'n', 'm', '(', '*', '-', '9', '-', 'w', ';', ':'};

static const struct architecture {
    uint8_t word;
    bool big;
} architectures[PLUGIN_ARCHITECTURES] = {
    [PLUGIN_LE64] = {8, false},
    [PLUGIN_LE32] = {4, false},
    [PLUGIN_BE64] = {8, true },
    [PLUGIN_BE32] = {4, true },
};

/* --- words and pods --- */

static uint64_t get_word(const struct architecture *of, const uint8_t *at)
{
    uint64_t value = 0;
    for (size_t i = 0; i < of->word; i++)
        value = value << 8 | at[of->big ? i : of->word - 1u - i];
    return value;
}

static void put_word(const struct architecture *of, uint8_t *at, uint64_t value)
{
    for (size_t i = 0; i < of->word; i++, value >>= 8)
        at[of->big ? of->word - 1u - i : i] = (uint8_t)value;
}

struct pod {
    size_t size;
    struct rh_bytes id, type, owner, masked;
};

/* The pod at the start of `rest`. */
static bool get_pod(const struct architecture *of, struct rh_bytes rest, struct pod *ret_pod)
{
    const size_t head = (size_t)WORDS * of->word;
    uint64_t words[WORDS], sum = head;
    if (rest.size < head)
        return false;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = get_word(of, rest.data + i * of->word);
    if (words[0] > rest.size || words[0] % of->word)
        return false;
    for (size_t i = 1; i < WORDS; i++)
        if (words[i] > rest.size || __builtin_add_overflow(sum, words[i], &sum))
            return false;
    if (sum > words[0] || words[0] > sum + of->word) /* one byte more than padding needs: the server allows that */
        return false;
    const uint8_t *at = rest.data + head;
    struct rh_bytes *const parts[] = {&ret_pod->id, &ret_pod->type, &ret_pod->owner, &ret_pod->masked};
    for (size_t i = 0; i < 4; i++) {
        *parts[i] = rh_bytes(at, (size_t)words[i + 1]);
        at += words[i + 1];
    }
    ret_pod->size = (size_t)words[0];
    return true;
}

/* Whether a walk over the records in this architecture comes out. */
static bool walks(const struct architecture *of, struct rh_bytes pods)
{
    struct pod pod;
    while (pods.size > 0) {
        if (!get_pod(of, pods, &pod))
            return false;
        pods = rh_bytes(pods.data + pod.size, pods.size - pod.size);
    }
    return true;
}

/* --- reading --- */

struct layout {
    int version, architecture;
    struct rh_bytes pods, digest;
};

/* What can be told from the outside: tag, end, which architecture. */
static enum rh_status look(struct rh_bytes content, struct layout *ret_layout, struct rh_error *err)
{
    const size_t tag = sizeof TAG_WORDS - 1;
    if (content.size < TAG || memcmp(content.data, TAG_WORDS, tag) != 0)
        return rh_fail(err, RH_E_CORRUPT, "no keyring file: it doesn't begin with '" TAG_WORDS "'");
    const struct rh_bytes version = rh_bytes(content.data + tag, TAG - tag);
    if (rh_bytes_equal(version, rh_bytes_text("2.0")))
        ret_layout->version = 2;
    else if (rh_bytes_equal(version, rh_bytes_text("1.0")))
        ret_layout->version = 1;
    else
        return rh_fail(err, RH_E_CORRUPT, "a keyring file of version '%s', which isn't known", RH_SHOW(version));
    const size_t tail = END + (ret_layout->version == 2 ? (size_t)DIGEST : 0);
    if (content.size < TAG + tail || memcmp(content.data + content.size - tail, END_WORD, END) != 0)
        return rh_fail(err, RH_E_CORRUPT, "no '" END_WORD "' where it belongs: cut, or longer than it was");
    ret_layout->pods = rh_bytes(content.data + TAG, content.size - TAG - tail);
    ret_layout->digest = rh_bytes(content.data + content.size - (tail - END), tail - END);
    for (ret_layout->architecture = 0; ret_layout->architecture < PLUGIN_ARCHITECTURES; ret_layout->architecture++)
        if (walks(&architectures[ret_layout->architecture], ret_layout->pods))
            return RH_OK;
    return rh_fail(err, RH_E_CORRUPT, "its records don't come out in any of the four architectures");
}

static size_t pod_size(const struct architecture *of, size_t inside)
{
    const size_t size = (size_t)WORDS * of->word + inside;
    return (size + of->word - 1) / of->word * of->word;
}

/* The head of a pod; returns its size. */
static size_t put_head(const struct architecture *of, uint8_t *head, const size_t lengths[static WORDS - 1])
{
    size_t inside = 0;
    for (size_t i = 0; i < WORDS - 1; i++)
        inside += lengths[i];
    const size_t size = pod_size(of, inside);
    put_word(of, head, size);
    for (size_t i = 0; i < WORDS - 1; i++)
        put_word(of, head + (i + 1) * of->word, lengths[i]);
    return size;
}

/* Adds one record, as a server of that architecture would write it, to the digest. */
static bool digest_pod(EVP_MD_CTX *digest, const struct architecture *of, const struct pod *pod)
{
    static const uint8_t padding[16];
    uint8_t head[WORDS * 8];
    const struct rh_bytes parts[] = {pod->id, pod->type, pod->owner, pod->masked};
    const size_t lengths[] = {pod->id.size, pod->type.size, pod->owner.size, pod->masked.size};
    const size_t size = put_head(of, head, lengths);
    size_t written = (size_t)WORDS * of->word;
    bool fine = EVP_DigestUpdate(digest, head, written) == 1;
    for (size_t i = 0; fine && i < 4; i++) {
        fine = EVP_DigestUpdate(digest, parts[i].data, parts[i].size) == 1;
        written += parts[i].size;
    }
    return fine && EVP_DigestUpdate(digest, padding, size - written) == 1;
}

/* Whether the digest is that of the records as a server of architecture `as` would have them in memory. */
static bool digest_as(const struct layout *layout, const struct architecture *as)
{
    const struct architecture *of = &architectures[layout->architecture];
    uint8_t sum[DIGEST];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool fine = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;
    struct pod pod;
    for (struct rh_bytes rest = layout->pods; fine && rest.size && get_pod(of, rest, &pod);
         rest = rh_bytes(rest.data + pod.size, rest.size - pod.size))
        fine = digest_pod(digest, as, &pod);
    fine = fine && EVP_DigestFinal_ex(digest, sum, NULL) == 1;
    EVP_MD_CTX_free(digest);
    return fine && rh_bytes_equal(rh_bytes(sum, sizeof sum), layout->digest);
}

/* A server that rewrote the file of another architecture took the digest before it converted the records. */
static enum rh_status check_digest(const struct layout *layout, struct rh_error *err)
{
    uint8_t sum[DIGEST];
    if (layout->version == 1)
        return RH_OK;
    if (!EVP_Digest(layout->pods.data, layout->pods.size, sum, NULL, EVP_sha256(), NULL))
        return rh_fail(err, RH_E_INTERNAL, "hashing the keyring file failed");
    if (rh_bytes_equal(rh_bytes(sum, sizeof sum), layout->digest))
        return RH_OK;
    for (int as = 0; as < PLUGIN_ARCHITECTURES; as++)
        if (digest_as(layout, &architectures[as]))
            return RH_OK;
    return rh_fail(err, RH_E_CORRUPT, "its digest isn't that of its records: some bytes of it have changed");
}

/* The key's bytes without the mask, which begins anew for each key. */
static void unmask(uint8_t *out, struct rh_bytes masked)
{
    for (size_t i = 0; i < masked.size; i++)
        out[i] = masked.data[i] ^ mask[i % MASK];
}

/* Types that a server of this version stores and gives back. */
static bool is_type(struct rh_bytes type, int version)
{
    static const char *const types[] = {"AES", "RSA", "DSA", "SECRET"};
    for (size_t i = 0; i < (version == 1 ? 3u : 4u); i++)
        if (rh_bytes_equal(type, rh_bytes_text(types[i])))
            return true;
    return false;
}

/* One record as a key of the set. A server takes one that has an id or a type that it knows. */
static enum rh_status take_pod(const struct pod *pod, struct keyring_set *set, struct rh_error *err)
{
    uint8_t *data = rh_arena_get(&set->arena, pod->masked.size);
    const struct rh_bytes type = rh_arena_copy(&set->arena, pod->type);
    if (!data || !type.data)
        return rh_fail_memory(err);
    if (pod->id.size > RH_KEYRING_PART_MOST || pod->owner.size > RH_KEYRING_PART_MOST)
        return rh_fail(err, RH_E_CORRUPT, "an id or owner of more than 65,535 bytes");
    if (pod->id.size == 0 && !is_type(pod->type, 2))
        return rh_fail(err, RH_E_CORRUPT, "a key without an id, of a type that isn't known");
    unmask(data, pod->masked);
    return keyring_set_add(set, pod->owner, pod->id, type, rh_bytes(data, pod->masked.size), err);
}

static enum rh_status plugin_parse(const struct keyring_store *store,
                                   int fd,
                                   struct rh_bytes content,
                                   struct keyring_set *set,
                                   struct keyring_shape *ret_shape,
                                   struct rh_error *err)
{
    struct layout layout = {0};
    struct pod pod;
    (void)store;
    (void)fd;
    enum rh_status status = look(content, &layout, err);
    if (status == RH_OK)
        status = check_digest(&layout, err);
    for (struct rh_bytes rest = layout.pods; status == RH_OK && rest.size;
         rest = rh_bytes(rest.data + pod.size, rest.size - pod.size)) {
        if (!get_pod(&architectures[layout.architecture], rest, &pod))
            return rh_fail(err, RH_E_INTERNAL, "a keyring file came out once and not twice");
        status = take_pod(&pod, set, err);
    }
    if (status == RH_OK)
        *ret_shape = (struct keyring_shape){.version = layout.version, .architecture = layout.architecture};
    return status;
}

bool plugin_begins(struct rh_bytes head)
{
    return rh_bytes_starts(head, rh_bytes_text(TAG_WORDS));
}

/* The server looks at the structure of a .backup alone, not at its digest. */
static bool plugin_backup_taken(struct rh_bytes content)
{
    struct layout layout = {0};
    return look(content, &layout, NULL) == RH_OK && layout.pods.size > 0;
}

/* --- writing --- */

/* One record; returns the place after. `out` is zeroed. */
static uint8_t *put_pod(uint8_t *out, const struct architecture *of, const struct keyring_entry *entry)
{
    struct rh_bytes owner = {0}, id = {0};
    rh_ignore(rh_keyring_key_split(entry->key, &owner, &id)); /* it was read or checked as one */
    const struct rh_bytes parts[] = {id, entry->type, owner};
    const size_t lengths[] = {id.size, entry->type.size, owner.size, entry->data.size};
    const size_t size = put_head(of, out, lengths);
    uint8_t *at = out + (size_t)WORDS * of->word;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].size)
            memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    unmask(at, entry->data);
    return out + size;
}

/* All of the file. */
static enum rh_status write_file(const struct keyring_entry *entries,
                                 size_t count,
                                 const struct keyring_shape *shape,
                                 struct rh_arena *arena,
                                 int fd,
                                 struct rh_error *err)
{
    const struct architecture *of = &architectures[shape->architecture];
    size_t room = TAG + END + DIGEST;
    for (size_t i = 0; i < count; i++)
        room += pod_size(of, entries[i].key.size + entries[i].type.size + entries[i].data.size);
    uint8_t *file = rh_arena_get(arena, room), *at = file + TAG;
    if (!file)
        return rh_fail_memory(err);
    memset(file, 0, room);
    memcpy(file, shape->version == 1 ? TAG_WORDS "1.0" : TAG_WORDS "2.0", TAG);
    for (size_t i = 0; i < count; i++)
        at = put_pod(at, of, &entries[i]);
    const struct rh_bytes pods = rh_bytes(file + TAG, (size_t)(at - file) - TAG);
    memcpy(at, END_WORD, END);
    at += END;
    if (shape->version != 1) {
        if (!EVP_Digest(pods.data, pods.size, at, NULL, EVP_sha256(), NULL))
            return rh_fail(err, RH_E_INTERNAL, "hashing the keyring file failed");
        at += DIGEST;
    }
    return rh_write_all(fd, rh_bytes(file, (size_t)(at - file)), err);
}

static enum rh_status plugin_compose(const struct keyring_store *store,
                                     int fd,
                                     const struct keyring_entry *entries,
                                     size_t count,
                                     const struct keyring_shape *shape,
                                     struct rh_error *err)
{
    struct rh_arena arena = {.secret = true};
    enum rh_status status = write_file(entries, count, shape ? shape : &store->fresh, &arena, fd, err);
    rh_arena_done(&arena);
    return status;
}

static enum rh_status plugin_fits(const struct keyring_store *store,
                                  const struct keyring_shape *shape,
                                  struct rh_bytes owner,
                                  struct rh_bytes id,
                                  const struct rh_bytes *type,
                                  const struct rh_bytes *data,
                                  struct rh_error *err)
{
    const int version = shape ? shape->version : store->fresh.version;
    if (id.size == 0)
        return rh_fail(err, RH_E_LIMIT, "its id is empty, which a server can't ask for");
    if (memchr(id.data, 0, id.size) || (owner.size && memchr(owner.data, 0, owner.size)))
        return rh_fail(err, RH_E_LIMIT, "its id or owner holds a zero byte, which the plugin takes for the end");
    if (type && !is_type(*type, version)) {
        rh_fail(err, RH_E_LIMIT, "it is of type '%s', and a keyring file %d.0 has AES, RSA%s", RH_SHOW(*type), version,
                version == 1 ? " and DSA" : ", DSA and SECRET");
        rh_error_hint(err, version == 1
                               ? "MySQL 5.7 has no such keys: choose version = \"2.0\" or another kind of keystore"
                               : "choose another kind of keystore");
        return RH_E_LIMIT;
    }
    if (data && data->size > KEYRING_DATA_MOST)
        return rh_fail(err, RH_E_LIMIT, "it has %zu bytes, and the plugin holds at most %d", data->size,
                       KEYRING_DATA_MOST);
    return RH_OK;
}

const struct keyring_format plugin_format = {
    .product = "keyring_file",
    .backup = KEYRING_BACKUP_OLD,
    .parse = plugin_parse,
    .backup_taken = plugin_backup_taken,
    .compose = plugin_compose,
    .fits = plugin_fits,
    .identity = plugin_fold,
};
