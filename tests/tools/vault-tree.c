/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vault-tree DIR --entries N --size BYTES|mixed [--seed S]: makes a Vault `file` storage tree for tests, the demo and
 * the benchmark. The same arguments give the same tree.
 * Layout (Vault sdk/physical/file): key "a/b/c" is the file a/b/_c holding {"Value":"<base64>"} and a newline.
 * Folders are filled one after the other, so that the folder's descriptor is opened once.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALUE_MAX = 1 << 20, NAME_SIZE = 96 };

/* How a group names its entries. */
enum naming { BY_HASH, BY_UUID, BY_WORD };

/* Part of the tree: `share` of 1000 of the entries, spread over numbered `folders` (0: all in one flat folder). */
struct group {
    const char *folder;
    enum naming naming;
    uint64_t share;
    uint64_t folders;
};

/* What every Vault has; these come first and always. */
static const struct {
    const char *folder, *name;
    size_t size;
} fixed_entries[] = {
    {"core",               "seal-config",       163 },
    {"core",               "keyring",           347 },
    {"core",               "master",            154 },
    {"core",               "mounts",            1187},
    {"core",               "local-mounts",      260 },
    {"core",               "auth",              405 },
    {"core",               "local-auth",        210 },
    {"core",               "audit",             233 },
    {"core",               "shamir-kek",        78  },
    {"core/cluster/local", "info",              311 },
    {"core/wrapping",      "jwtkey",            352 },
    {"sys/policy",         "control-group",     129 },
    {"sys/policy",         "default",           1641},
    {"sys/policy",         "response-wrapping", 166 },
};
static const size_t fixed_count = sizeof(fixed_entries) / sizeof(fixed_entries[0]);

static const struct group groups[] = {
    {"logical/5b6d7d57-2e1c-4b57-9cf6-0a4b7a1d0f11",          BY_HASH, 300, 0   },
    {"logical/8c0f1d2e-77aa-4f0e-a5b8-3d9b8f2c6e22/versions", BY_HASH, 250, 1000},
    {"logical/8c0f1d2e-77aa-4f0e-a5b8-3d9b8f2c6e22/metadata", BY_WORD, 90,  40  },
    {"sys/token/id",                                          BY_HASH, 130, 0   },
    {"sys/token/accessor",                                    BY_HASH, 60,  0   },
    {"sys/expire/id/auth/userpass/login",                     BY_WORD, 70,  60  },
    {"auth/0e4a9b36-51c3-4d0c-8f3b-6a2d5c7e9f33/user",        BY_WORD, 60,  0   },
    {"auth/d3f1a0c8-6b5e-4a7d-9c2f-1e8b7d6a5c44/role",        BY_UUID, 30,  3   },
    {"sys/policy",                                            BY_WORD, 10,  0   },
};
static const size_t group_count = sizeof(groups) / sizeof(groups[0]);

struct tree {
    int root_fd;
    int folder_fd;
    uint64_t state; /* of the random numbers */
    uint64_t seed, entries, bytes;
    size_t value_size;
    bool mixed;
    uint8_t *value;
    char *text; /* the file's content */
};

/* Ends the program with a reason. */
static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("vault-tree: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* splitmix64: small, fast and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Base64 with padding; returns the length. */
static size_t base64(char *out, const uint8_t *in, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = out;
    size_t i = 0;
    for (; i + 3 <= size; i += 3) {
        uint32_t three = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
        *at++ = digits[three >> 18];
        *at++ = digits[three >> 12 & 63];
        *at++ = digits[three >> 6 & 63];
        *at++ = digits[three & 63];
    }
    if (i < size) {
        uint32_t rest = (uint32_t)in[i] << 16 | (i + 1 < size ? (uint32_t)in[i + 1] << 8 : 0);
        *at++ = digits[rest >> 18];
        *at++ = digits[rest >> 12 & 63];
        *at++ = i + 1 < size ? digits[rest >> 6 & 63] : '=';
        *at++ = '=';
    }
    return (size_t)(at - out);
}

/* mkdir -p below the root, then makes it the current folder. */
static void enter_folder(struct tree *tree, const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof(part))
        die("folder name too long: '%s'", path);
    memcpy(part, path, length + 1);
    for (char *slash = part; slash && *slash;) {
        slash = strchr(slash, '/');
        if (slash)
            *slash = '\0';
        if (mkdirat(tree->root_fd, part, 0700) < 0 && errno != EEXIST)
            die("cannot make folder '%s': %s", part, strerror(errno));
        if (slash)
            *slash++ = '/';
    }
    if (tree->folder_fd >= 0)
        close(tree->folder_fd);
    tree->folder_fd = openat(tree->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree->folder_fd < 0)
        die("cannot open folder '%s': %s", path, strerror(errno));
}

/* Small values are common and large ones rare, as in a real store: 32 bytes to 256 KiB. */
static size_t mixed_size(uint64_t *state)
{
    uint64_t r = next_random(state);
    uint64_t kind = r % 1000;
    r >>= 16;
    if (kind < 700)
        return 32 + r % 1000;
    if (kind < 950)
        return 1024 + r % 4096;
    if (kind < 995)
        return 8192 + r % 32768;
    return 65536 + r % 196608;
}

/* Writes one entry of `size` random bytes into the current folder. */
static void put_entry(struct tree *tree, const char *name, size_t size)
{
    char file[NAME_SIZE + 2];
    for (size_t i = 0; i < size; i += 8) {
        uint64_t r = next_random(&tree->state);
        memcpy(tree->value + i, &r, sizeof(r));
    }
    static const char head[] = "{\"Value\":\"";
    memcpy(tree->text, head, sizeof(head) - 1);
    size_t length = sizeof(head) - 1;
    length += base64(tree->text + length, tree->value, size);
    memcpy(tree->text + length, "\"}\n", 3);
    length += 3;

    snprintf(file, sizeof(file), "_%s", name);
    int fd = openat(tree->folder_fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        die("cannot make '%s': %s", file, strerror(errno));
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, tree->text + done, length - done);
        if (n < 0)
            die("cannot write '%s': %s", file, strerror(errno));
        done += (size_t)n;
    }
    if (close(fd) < 0)
        die("cannot close '%s': %s", file, strerror(errno));
    tree->entries++;
    tree->bytes += size;
}

/* The i-th name of a group; different for different i. */
static void make_name(struct tree *tree, enum naming naming, uint64_t i, char out[static NAME_SIZE])
{
    uint64_t state = tree->seed ^ (i * UINT64_C(0xd1342543de82ef95));
    uint64_t a = next_random(&state), b = next_random(&state);
    switch (naming) {
    case BY_HASH:
        snprintf(out, NAME_SIZE, "h%016llx%016llx%08llx", (unsigned long long)a, (unsigned long long)b,
                 (unsigned long long)i);
        break;
    case BY_UUID:
        snprintf(out, NAME_SIZE, "%08llx-%04llx-4%03llx-a%03llx-%012llx", (unsigned long long)(a >> 32),
                 (unsigned long long)(a >> 16 & 0xffff), (unsigned long long)(a & 0xfff), (unsigned long long)(b >> 52),
                 (unsigned long long)i);
        break;
    case BY_WORD:
        snprintf(out, NAME_SIZE, "name-%llu.%04llx", (unsigned long long)i, (unsigned long long)(a & 0xffff));
        break;
    }
}

/* Writes `count` entries of a group, folder by folder. */
static void put_group(struct tree *tree, const struct group *group, uint64_t count)
{
    char name[NAME_SIZE], path[PATH_MAX];
    uint64_t folders = group->folders ? group->folders : 1;
    if (folders > count)
        folders = count;
    for (uint64_t f = 0, i = 0; f < folders; f++) {
        if (group->folders)
            snprintf(path, sizeof(path), "%s/%03llx", group->folder, (unsigned long long)f);
        else
            snprintf(path, sizeof(path), "%s", group->folder);
        enter_folder(tree, path);
        for (uint64_t until = count * (f + 1) / folders; i < until; i++) {
            make_name(tree, group->naming, i, name);
            put_entry(tree, name, tree->mixed ? mixed_size(&tree->state) : tree->value_size);
        }
    }
}

static uint64_t parse_number(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || !*text || *end || *text == '-')
        die("not a number: '%s'", text);
    return value;
}

/* The fixed entries first, the rest by share; the last group takes what rounding left. */
static void fill(struct tree *tree, uint64_t entries)
{
    const char *folder = "";
    for (size_t i = 0; i < fixed_count && i < entries; i++) {
        if (strcmp(folder, fixed_entries[i].folder) != 0)
            enter_folder(tree, fixed_entries[i].folder);
        folder = fixed_entries[i].folder;
        put_entry(tree, fixed_entries[i].name, fixed_entries[i].size);
    }
    uint64_t rest = entries - tree->entries, share = 0, done = 0;
    for (size_t g = 0; g < group_count; g++) {
        share += groups[g].share;
        uint64_t until = rest / 1000 * share + rest % 1000 * share / 1000;
        put_group(tree, &groups[g], until - done);
        done = until;
    }
}

static const char usage[] = "usage: vault-tree DIR --entries N --size BYTES|mixed [--seed S]\n";

int main(int argc, char **argv)
{
    struct tree tree = {.folder_fd = -1, .seed = 1, .value_size = 1024};
    const char *dir = NULL;
    uint64_t entries = 1000;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--entries") == 0 && i + 1 < argc)
            entries = parse_number(argv[++i]);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            tree.seed = parse_number(argv[++i]);
        else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc && strcmp(argv[i + 1], "mixed") == 0)
            tree.mixed = true, i++;
        else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc)
            tree.value_size = parse_number(argv[++i]);
        else if (argv[i][0] != '-' && !dir)
            dir = argv[i];
        else
            return fputs(usage, stderr), 2;
    }
    if (!dir || tree.value_size > VALUE_MAX)
        return fputs(usage, stderr), 2;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        die("cannot make '%s': %s", dir, strerror(errno));
    tree.root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree.root_fd < 0)
        die("cannot open '%s': %s", dir, strerror(errno));
    tree.value = malloc(VALUE_MAX + 8);
    tree.text = malloc(VALUE_MAX / 3 * 4 + 64);
    if (!tree.value || !tree.text)
        die("out of memory");
    tree.state = tree.seed * UINT64_C(0x2545f4914f6cdd1d) + 1;

    fill(&tree, entries);
    printf("%llu entries, %llu bytes\n", (unsigned long long)tree.entries, (unsigned long long)tree.bytes);
    if (tree.folder_fd >= 0)
        close(tree.folder_fd);
    close(tree.root_fd);
    free(tree.value);
    free(tree.text);
    return 0;
}
