/* Agenda: what happens at which tick, in order of (tick, order of adding).
 *
 * A time wheel: one bucket a tick for the next AGENDA_TICKS, events moved by
 * value; what is further away waits in a heap and moves into its bucket before
 * anything can be added there directly, so the order is kept.  With
 * AGENDA_HEAP everything is in the 4-ary heap: the slow twin.
 */
#ifndef NEUROMORPH_AGENDA_H
#define NEUROMORPH_AGENDA_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint16_t x, y, to_x, to_y;     /* of a packet on its way */
    uint32_t about;                /* packet or row */
    uint16_t what, flits;
} event;

typedef struct {
    int64_t tick;
    uint64_t order;
    event event;
} far_event;

typedef struct {
    far_event *events;
    int64_t used, room;
} heap;

static inline int before(const far_event *a, const far_event *b) {
    return a->tick < b->tick || (a->tick == b->tick && a->order < b->order);
}

/* 0: no memory */
static int heap_add(heap *h, far_event e) {
    if (h->used == h->room) {
        int64_t room = h->room ? 2 * h->room : 1024;
        far_event *more = realloc(h->events, (size_t)room * sizeof(far_event));
        if (!more) return 0;
        h->events = more;
        h->room = room;
    }
    int64_t i = h->used++;
    while (i > 0) {
        int64_t parent = (i - 1) >> 2;
        if (!before(&e, &h->events[parent])) break;
        h->events[i] = h->events[parent];
        i = parent;
    }
    h->events[i] = e;
    return 1;
}

static far_event heap_take(heap *h) {
    far_event first = h->events[0], e = h->events[--h->used];
    int64_t i = 0, n = h->used;
    for (;;) {
        int64_t child = 4 * i + 1, best = child;
        if (child >= n) break;
        int64_t end = child + 4 < n ? child + 4 : n;
        for (int64_t c = child + 1; c < end; c++)
            if (before(&h->events[c], &h->events[best])) best = c;
        if (!before(&h->events[best], &e)) break;
        h->events[i] = h->events[best];
        i = best;
    }
    if (n) h->events[i] = e;
    return first;
}

#ifdef AGENDA_HEAP

typedef struct {
    heap all;
    int64_t now;
    uint64_t added;
    int failed;
} agenda;

static inline void agenda_add(agenda *a, int64_t tick, event e) {
    if (!heap_add(&a->all, (far_event){tick, a->added++, e})) a->failed = 1;
}

/* The next event; its tick is `now`.  0: there is none. */
static inline int agenda_take(agenda *a, event *e) {
    if (!a->all.used) return 0;
    far_event first = heap_take(&a->all);
    a->now = first.tick;
    *e = first.event;
    return 1;
}

static void agenda_free(agenda *a) { free(a->all.events); }

#else

enum { AGENDA_WORDS = 64, AGENDA_TICKS = 64 * AGENDA_WORDS };

typedef struct {
    event *events;
    uint32_t used, room;
} bucket;

typedef struct {
    bucket buckets[AGENDA_TICKS];
    uint64_t filled[AGENDA_WORDS], words; /* buckets with events, words that are not 0 */
    heap far;
    int64_t now;
    uint32_t at;                   /* the next event in the bucket of now */
    uint64_t added;
    int failed;
} agenda;

static void bucket_grow(agenda *a, bucket *b) {
    uint32_t room = b->room ? 2 * b->room : 16;
    event *more = room ? realloc(b->events, (size_t)room * sizeof(event)) : NULL;
    if (!more) {
        a->failed = 1;
        b->used = 0;               /* the run is over; there is room for one */
        return;
    }
    b->events = more;
    b->room = room;
}

static inline void agenda_put(agenda *a, int64_t tick, event e) {
    uint32_t i = (uint32_t)tick & (AGENDA_TICKS - 1);
    bucket *b = &a->buckets[i];
    if (b->used == b->room) {
        bucket_grow(a, b);
        if (!b->room) return;
    }
    b->events[b->used++] = e;
    a->filled[i >> 6] |= 1ull << (i & 63);
    a->words |= 1ull << (i >> 6);
}

static inline void agenda_add(agenda *a, int64_t tick, event e) {
    if (tick - a->now < AGENDA_TICKS) agenda_put(a, tick, e);
    else if (!heap_add(&a->far, (far_event){tick, a->added++, e})) a->failed = 1;
}

/* Index of the first bit at or after `from`, cyclically; the word is not 0. */
static inline uint32_t first_bit(uint64_t word, uint32_t from) {
    uint64_t turned = from ? word >> from | word << (64 - from) : word;
    return (from + (uint32_t)__builtin_ctzll(turned)) & 63;
}

/* On to the next tick that has events.  0: there is none. */
static int agenda_advance(agenda *a) {
    uint32_t i = (uint32_t)a->now & (AGENDA_TICKS - 1), word = i >> 6;
    a->buckets[i].used = 0;
    a->at = 0;
    a->filled[word] &= ~(1ull << (i & 63));
    if (!a->filled[word]) a->words &= ~(1ull << word);
    if (a->words) {
        uint64_t later = a->filled[word] & (~0ull << (i & 63));
        if (!later) {
            word = first_bit(a->words, (word + 1) & 63);
            later = a->filled[word];
        }
        uint32_t next = (word << 6) + (uint32_t)__builtin_ctzll(later);
        a->now += (next - i) & (AGENDA_TICKS - 1);
    } else if (a->far.used) {
        a->now = a->far.events[0].tick;
    } else {
        return 0;
    }
    while (a->far.used && a->far.events[0].tick - a->now < AGENDA_TICKS) {
        far_event e = heap_take(&a->far);
        agenda_put(a, e.tick, e.event);
    }
    return 1;
}

static inline int agenda_take(agenda *a, event *e) {
    bucket *b = &a->buckets[a->now & (AGENDA_TICKS - 1)];
    if (a->at == b->used) {
        if (!agenda_advance(a)) return 0;
        b = &a->buckets[a->now & (AGENDA_TICKS - 1)];
    }
    *e = b->events[a->at++];
    return 1;
}

static void agenda_free(agenda *a) {
    for (int i = 0; i < AGENDA_TICKS; i++) free(a->buckets[i].events);
    free(a->far.events);
}

#endif
#endif
