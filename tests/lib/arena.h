/* arena.h - memory for a binding in a test: handed out zeroed, freed all at once. */
#ifndef UNDERCUT_TESTS_LIB_ARENA_H
#define UNDERCUT_TESTS_LIB_ARENA_H

#include <stdlib.h>

#include "broker/base/must.h"

struct arena {
    struct arena_block {
        struct arena_block *next;
        max_align_t bytes[];
    } * blocks;
};

static inline void *arena_alloc(void *data, size_t size)
{
    struct arena *arena = data;
    struct arena_block *block = calloc(1, sizeof(*block) + size);
    must(block != NULL);
    block->next = arena->blocks;
    arena->blocks = block;
    return block->bytes;
}

static inline void arena_finish(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}

#endif
