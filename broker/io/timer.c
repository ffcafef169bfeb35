#include "broker/io/timer.h"

#include <stdlib.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/io/loop.h"

/* Slot 0 stays empty, so that index 0 can mean "not armed" and the parent of i is i / 2. */
struct timer_heap {
    struct timer **slots;
    size_t count, cap;
    uint64_t sequence;
};

struct timer_heap *timer_heap_create(void)
{
    struct timer_heap *heap = calloc(1, sizeof(*heap));
    must(heap != NULL);
    return heap;
}

void timer_heap_destroy(struct timer_heap *heap)
{
    if (heap == NULL)
        return;
    free(heap->slots);
    free(heap);
}

static bool is_before(const struct timer *a, const struct timer *b)
{
    if (a->at_mono_ms != b->at_mono_ms)
        return a->at_mono_ms < b->at_mono_ms;
    return a->sequence < b->sequence;
}

static void place(struct timer_heap *heap, size_t index, struct timer *timer)
{
    heap->slots[index] = timer;
    timer->heap_index = index;
}

static void sift_up(struct timer_heap *heap, size_t index, struct timer *timer)
{
    while (index > 1 && is_before(timer, heap->slots[index / 2])) {
        place(heap, index, heap->slots[index / 2]);
        index /= 2;
    }
    place(heap, index, timer);
}

static void sift_down(struct timer_heap *heap, size_t index, struct timer *timer)
{
    for (;;) {
        size_t child = 2 * index;
        if (child < heap->count && is_before(heap->slots[child + 1], heap->slots[child]))
            child++;
        if (child > heap->count || !is_before(heap->slots[child], timer))
            break;
        place(heap, index, heap->slots[child]);
        index = child;
    }
    place(heap, index, timer);
}

void timer_arm(struct loop *loop, struct timer *timer, int64_t at_mono_ms)
{
    struct timer_heap *heap = loop_timers(loop);
    timer_disarm(timer);
    if (heap->count + 2 > heap->cap) {
        heap->cap = heap->cap ? 2 * heap->cap : 64;
        heap->slots = realloc(heap->slots, heap->cap * sizeof(struct timer *));
        must(heap->slots != NULL);
    }
    timer->loop = loop;
    timer->at_mono_ms = at_mono_ms;
    timer->sequence = heap->sequence++;
    sift_up(heap, ++heap->count, timer);
}

void timer_arm_in(struct loop *loop, struct timer *timer, int64_t delay_ms)
{
    timer_arm(loop, timer, clock_mono_ms() + delay_ms);
}

void timer_disarm(struct timer *timer)
{
    if (timer->heap_index == 0)
        return;
    struct timer_heap *heap = loop_timers(timer->loop);
    size_t hole = timer->heap_index;
    struct timer *last = heap->slots[heap->count--];
    timer->heap_index = 0;
    if (last == timer)
        return;
    if (hole > 1 && is_before(last, heap->slots[hole / 2]))
        sift_up(heap, hole, last);
    else
        sift_down(heap, hole, last);
}

bool timer_is_armed(const struct timer *timer)
{
    return timer->heap_index != 0;
}

int32_t timer_heap_wait_ms(const struct timer_heap *heap)
{
    if (heap->count == 0)
        return INT32_MAX;
    int64_t wait_ms = heap->slots[1]->at_mono_ms - clock_mono_ms();
    if (wait_ms <= 0)
        return 0;
    return wait_ms < INT32_MAX ? (int32_t)wait_ms : INT32_MAX;
}

void timer_heap_fire(struct timer_heap *heap)
{
    if (heap->count == 0)
        return;
    int64_t now_mono_ms = clock_mono_ms();
    /* Those armed meanwhile wait for the next turn, so that a timer of zero cannot starve the
     * loop. */
    uint64_t sequence_end = heap->sequence;
    while (heap->count > 0 && heap->slots[1]->at_mono_ms <= now_mono_ms) {
        struct timer *timer = heap->slots[1];
        if (timer->sequence >= sequence_end)
            break;
        timer_disarm(timer);
        timer->fire(timer);
    }
}
