/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: blocks that double from 64 KiB to 1 MiB; a request too large for the next one gets a block of its size.
 * Clearing keeps one block, as large as all that was in use. Blocks of a secret arena come from mmap, locked as far as
 * the limit allows, kept out of core dumps, and wiped before they are reused or given back.
 */
#include <rehome/bytes.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 16,
    BLOCK_LEAST = 64 * 1024,
    BLOCK_MOST = 1024 * 1024,     /* of those that grow */
    BLOCK_KEPT = 8 * 1024 * 1024, /* most that a cleared arena holds in one piece for its next use */
};

struct rh_arena_block {
    struct rh_arena_block *next;
    size_t capacity, used; /* of data */
    bool mapped;
    _Alignas(ALIGNMENT) uint8_t data[];
};

/* Fresh memory for a block, `total` bytes with its head. */
static struct rh_arena_block *block_new(size_t total, bool secret)
{
    struct rh_arena_block *block;
    if (secret) {
        void *memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return NULL;
        (void)mlock(memory, total); /* best effort: RLIMIT_MEMLOCK may be small; rh_secret_start warns of that */
        (void)madvise(memory, total, MADV_DONTDUMP);
        block = memory;
    } else {
        block = malloc(total);
        if (!block)
            return NULL;
    }
    block->next = NULL;
    block->capacity = total - sizeof *block;
    block->used = 0;
    block->mapped = secret;
    return block;
}

/* Wipes what was handed out, where that is called for, and gives the block back. */
static void block_free(struct rh_arena_block *block)
{
    if (block->mapped) {
        explicit_bzero(block->data, block->used);
        (void)munmap(block, sizeof *block + block->capacity);
    } else {
        free(block);
    }
}

/* The slow way of rh_arena_get: a new block on top. `size` is rounded. */
static void *get_from_new_block(struct rh_arena *arena, size_t size)
{
    size_t total = BLOCK_LEAST;
    if (arena->head) {
        total = (arena->head->capacity + sizeof *arena->head) * 2;
        if (total > BLOCK_MOST)
            total = BLOCK_MOST;
    }
    if (size > SIZE_MAX / 2)
        return NULL;
    if (total - sizeof *arena->head < size)
        total = (size + sizeof *arena->head + 4095) & ~(size_t)4095;
    struct rh_arena_block *block = block_new(total, arena->secret);
    if (!block)
        return NULL;
    block->next = arena->head;
    arena->head = block;
    block->used = size;
    arena->used_bytes += size;
    return block->data;
}

void *rh_arena_get(struct rh_arena *arena, size_t size)
{
    if (__builtin_expect(size > SIZE_MAX / 2, 0))
        return NULL;
    size = size ? (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT;
    struct rh_arena_block *block = arena->head;
    if (__builtin_expect(!block || size > block->capacity - block->used, 0))
        return get_from_new_block(arena, size);
    void *memory = block->data + block->used;
    block->used += size;
    arena->used_bytes += size;
    return memory;
}

struct rh_bytes rh_arena_copy(struct rh_arena *arena, struct rh_bytes bytes)
{
    uint8_t *copy = rh_arena_get(arena, bytes.size);
    if (!copy)
        return rh_bytes(NULL, 0);
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return rh_bytes(copy, bytes.size);
}

char *rh_arena_text(struct rh_arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = rh_arena_get(arena, size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

char *rh_arena_format(struct rh_arena *arena, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = length < 0 ? NULL : rh_arena_get(arena, (size_t)length + 1);
    if (text && vsnprintf(text, (size_t)length + 1, fmt, again) != length)
        text = NULL;
    va_end(again);
    return text;
}

/* Gives all blocks back but one. */
static void free_others(struct rh_arena *arena, const struct rh_arena_block *kept)
{
    for (struct rh_arena_block *block = arena->head, *next; block; block = next) {
        next = block->next;
        if (block != kept)
            block_free(block);
    }
}

void rh_arena_clear(struct rh_arena *arena)
{
    struct rh_arena_block *kept = arena->head;
    for (struct rh_arena_block *block = arena->head; block; block = block->next)
        if (block->capacity > kept->capacity)
            kept = block;
    /* what took several blocks will do so again: one that holds it all spares taking and giving back each time */
    if (kept && kept->capacity < arena->used_bytes && arena->used_bytes <= BLOCK_KEPT) {
        struct rh_arena_block *whole = block_new(arena->used_bytes + arena->used_bytes / 8, arena->secret);
        kept = whole ? whole : kept;
    }
    free_others(arena, kept);
    if (kept) {
        if (kept->mapped)
            explicit_bzero(kept->data, kept->used);
        kept->used = 0;
        kept->next = NULL;
    }
    arena->head = kept;
    arena->used_bytes = 0;
}

void rh_arena_done(struct rh_arena *arena)
{
    for (struct rh_arena_block *block = arena->head, *next; block; block = next) {
        next = block->next;
        block_free(block);
    }
    *arena = (struct rh_arena){.secret = arena->secret};
}
