/* Agenda: what happens at which tick, in order of (tick, order of adding).
 *
 * A time wheel: one bucket a tick for the next AGENDA_TICKS, events moved by
 * value; what is further away waits in a heap and moves into its bucket before
 * anything can be added there directly, so the order is kept.  With
 * AGENDA_HEAP everything is in the 4-ary heap: the slow twin.
 */
#ifndef NEUROMORPH_AGENDA_H
#define NEUROMORPH_AGENDA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t way;                  /* of a packet: x, y, goal x, goal y, 16 bits each */
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
    event taken;
    int64_t now;
    uint64_t added;
    int failed;
} agenda;

static inline void agenda_add(agenda *a, int64_t tick, event e) {
    if (!heap_add(&a->all, (far_event){tick, a->added++, e})) a->failed = 1;
}

/* The next event, valid until the next call; its tick is `now`.  NULL: there is none. */
static inline const event *agenda_take(agenda *a) {
    if (!a->all.used) return NULL;
    far_event first = heap_take(&a->all);
    a->now = first.tick;
    a->taken = first.event;
    return &a->taken;
}

static void agenda_free(agenda *a) { free(a->all.events); }

#else

enum { AGENDA_WORDS = 64, AGENDA_TICKS = 64 * AGENDA_WORDS, CHUNK_EVENTS = 15 };

/* Events lie in chunks that are used again at once, so few are touched. */
typedef struct {
    event events[CHUNK_EVENTS];
    uint32_t next, unused[3];
} chunk;

typedef struct {
    uint32_t first, last, used;    /* chunks; events in the last one.  0: no event */
    uint32_t unused;
} bucket;

typedef struct {
    bucket buckets[AGENDA_TICKS];
    uint64_t filled[AGENDA_WORDS], words; /* buckets with events, words that are not 0 */
    chunk *chunks;
    uint32_t chunk_room, chunk_used, chunk_free; /* free ones are a list; 0 is no chunk */
    heap far;
    int64_t now;
    const event *next, *end;       /* of now: the next event, and where its chunk ends so far */
    uint64_t added;
    int failed;
} agenda;

/* 0: no memory */
static uint32_t new_chunk(agenda *a) {
    uint32_t c = a->chunk_free;
    if (c) {
        a->chunk_free = a->chunks[c].next;
        return c;
    }
    if (a->chunk_used == a->chunk_room) {
        uint32_t room = a->chunk_room ? 2 * a->chunk_room : 64;
        ptrdiff_t next = a->next ? (const char *)a->next - (const char *)a->chunks : 0;
        ptrdiff_t end = a->next ? (const char *)a->end - (const char *)a->chunks : 0;
        chunk *more = room ? realloc(a->chunks, (size_t)room * sizeof(chunk)) : NULL;
        if (!more) {
            a->failed = 1;
            return 0;
        }
        if (!a->chunk_room) a->chunk_used = 1;
        if (a->next) {
            a->next = (const event *)((const char *)more + next);
            a->end = (const event *)((const char *)more + end);
        }
        a->chunks = more;
        a->chunk_room = room;
    }
    return a->chunk_used++;
}

/* Room for one more event at a tick that has a bucket.  NULL: no memory. */
static inline event *agenda_room(agenda *a, int64_t tick) {
    uint32_t i = (uint32_t)tick & (AGENDA_TICKS - 1);
    bucket *b = &a->buckets[i];
    if (b->used == 0 || b->used == CHUNK_EVENTS) {
        uint32_t c = new_chunk(a);
        if (!c) return NULL;
        if (b->used) {
            a->chunks[b->last].next = c;
        } else {
            b->first = c;
            a->filled[i >> 6] |= 1ull << (i & 63);
            a->words |= 1ull << (i >> 6);
        }
        b->last = c;
        b->used = 0;
    }
    return &a->chunks[b->last].events[b->used++];
}

static inline void agenda_put(agenda *a, int64_t tick, event e) {
    event *room = agenda_room(a, tick);
    if (room) *room = e;
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
    bucket *b = &a->buckets[i];
    if (b->used) {
        a->chunks[b->first].next = a->chunk_free;
        a->chunk_free = b->first;
        b->used = 0;
        a->filled[word] &= ~(1ull << (i & 63));
        if (!a->filled[word]) a->words &= ~(1ull << word);
    }
    a->next = a->end = NULL;
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

/* The chunk at hand is read to where it ended: on, to what was added since. */
static const event *agenda_more(agenda *a) {
    bucket *b = &a->buckets[a->now & (AGENDA_TICKS - 1)];
    if (b->used && a->next) {
        const event *first = a->chunks[b->first].events;
        if (b->first != b->last && a->next == first + CHUNK_EVENTS) {
            uint32_t c = b->first;
            b->first = a->chunks[c].next;
            a->chunks[c].next = a->chunk_free;
            a->chunk_free = c;
            a->next = first = a->chunks[b->first].events;
        }
        a->end = first + (b->first == b->last ? b->used : CHUNK_EVENTS);
        if (a->next != a->end) return a->next++;
    }
    if ((a->next || !b->used) && !agenda_advance(a)) return NULL;
    b = &a->buckets[a->now & (AGENDA_TICKS - 1)];
    a->next = a->chunks[b->first].events;
    a->end = a->next + (b->first == b->last ? b->used : CHUNK_EVENTS);
    return a->next++;
}

static inline const event *agenda_take(agenda *a) {
    return a->next != a->end ? a->next++ : agenda_more(a);
}

static void agenda_free(agenda *a) {
    free(a->chunks);
    free(a->far.events);
}

#endif
#endif
