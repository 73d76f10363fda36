/* The mesh of the timed engine: packets, routers, links.
 *
 * Without limits a link is taken in advance, in order of arrival.  With finite
 * buffers a packet waits in its buffer until the link is free and the buffer
 * behind it has room; it gives its own place back when its last flit has left.
 */
#ifndef NEUROMORPH_TIMED_MESH_H
#define NEUROMORPH_TIMED_MESH_H

#include "agenda.h"
#include "timed.h"

enum { EMIT, HOP, DELIVER, SERVED, FIRED, LINK_FREE };

#define NOWHERE INT64_MIN          /* holds no place */
#define UNLIMITED (1 << 30)
#define NOT_SENT UINT64_MAX        /* number of a packet that is free */

typedef struct {
    int64_t sent, since;           /* since: waits for a link */
    uint64_t number;
    int64_t holds, wants;          /* see tm_waiting */
    uint32_t neuron;
    int32_t frame, source, target, payload, next;
    event at;
} packet;

typedef struct {
    int32_t first, last;           /* packets; -1: none */
} queue;

typedef struct {
    int64_t free_at, packets, waited, longest;
    int32_t ticks, flit_ticks, busy;
    int32_t room;                  /* in the buffer it leads to */
    queue waiting;
    int64_t gives_back;            /* place of the packet that is leaving */
} mesh_link;

typedef struct {
    tm_row given;
    int32_t busy, frame, tokens, serving_token;
    /* sending */
    uint32_t *spike_neuron;
    int32_t *spike_payload;
    int64_t spikes, spike_at, target_at, target_end, token_at, remaining;
    int64_t packets, hops_x, hops_y, tokens_sent;
    int32_t outbox_room, blocked;
    int64_t blocked_since;
    /* receiving */
    queue *queues;                 /* one a frame, frame % queue_count */
    int32_t queue_count, queue_room;
    queue entering;                /* wait for room in the queue */
    int64_t queued, spikes_in, tokens_in, work;
} core_row;

struct tm_run {
    tm_chip chip;
    tm_results results;
    const tm_traffic *traffic;
    const tm_fan *fans;
    core_row *rows;
    int32_t row_count, read_outs, limited;
    int64_t frames, next_frame, frames_done, step, injected;
    int32_t *read_out;
    mesh_link *links;
    packet *packets;
    int32_t packet_free, packet_room, packet_used;
    int64_t alive;
    uint64_t sent;
    int begun, failed;
    tm_recording *recording;
    agenda agenda;
};

static void entered(tm_run *r, int64_t tick, int32_t p);
static void go_on_sending(tm_run *r, int64_t tick, int32_t row);

/* --- packets: a pool with a free list */

static int32_t new_packet(tm_run *r) {
    r->alive++;
    if (r->packet_free >= 0) {
        int32_t p = r->packet_free;
        r->packet_free = r->packets[p].next;
        return p;
    }
    if (r->packet_used == r->packet_room) {
        int32_t room = r->packet_room ? 2 * r->packet_room : 1024;
        packet *more = room > 0 ? realloc(r->packets, (size_t)room * sizeof(packet)) : NULL;
        if (!more) {
            r->failed = 1;
            return -1;
        }
        r->packets = more;
        r->packet_room = room;
    }
    return r->packet_used++;
}

static void free_packet(tm_run *r, int32_t p) {
    r->packets[p].number = NOT_SENT;
    r->packets[p].next = r->packet_free;
    r->packet_free = p;
    r->alive--;
}

static void join(tm_run *r, queue *q, int32_t p) {
    r->packets[p].next = -1;
    if (q->first < 0) q->first = p;
    else r->packets[q->last].next = p;
    q->last = p;
}

static int32_t leave(tm_run *r, queue *q) {
    int32_t p = q->first;
    q->first = r->packets[p].next;
    return p;
}

/* --- what is recorded */

static void record_hop(tm_run *r, int64_t tick, uint64_t number, uint32_t router, uint32_t side,
                       int64_t waited) {
    tm_recording *made = r->recording;
    tm_hop hop = {tick, number, router * TM_SIDES + side, (uint32_t)waited};
    made->hops[made->hops_made++] = hop;
}

/* --- links */

static inline void cross(tm_run *r, int64_t tick, int64_t waited, event e, int64_t link) {
    mesh_link *l = &r->links[link];
    l->packets++;
    l->waited += waited;
    if (waited > l->longest) l->longest = waited;
    if (r->recording->hops)
        record_hop(r, tick, r->packets[e.about].number, (uint32_t)(link >> 2), link & 3, waited);
    switch (link & 3) {
    case 0: e.x++; break;
    case 1: e.x--; break;
    case 2: e.y++; break;
    default: e.y--;
    }
    e.what = HOP;
    agenda_add(&r->agenda, tick + waited + l->ticks, e);
}

static void start(tm_run *r, int64_t tick, int64_t link, int32_t p) {
    mesh_link *l = &r->links[link];
    packet *q = &r->packets[p];
    l->busy = 1;
    l->room--;
    l->gives_back = q->holds;
    q->holds = link;
    event done = {0, 0, 0, 0, (uint32_t)link, LINK_FREE, 0};
    agenda_add(&r->agenda, tick + (int64_t)l->flit_ticks * q->at.flits, done);
    cross(r, q->since, tick - q->since, q->at, link);
}

static void try_link(tm_run *r, int64_t tick, int64_t link) {
    mesh_link *l = &r->links[link];
    if (!l->busy && l->room > 0 && l->waiting.first >= 0)
        start(r, tick, link, leave(r, &l->waiting));
}

static void give_back(tm_run *r, int64_t tick, int64_t place) {
    if (place == NOWHERE) return;
    if (place >= 0) {
        r->links[place].room++;
        try_link(r, tick, place);
        return;
    }
    core_row *row = &r->rows[~place];
    row->outbox_room++;
    if (row->blocked) go_on_sending(r, tick, (int32_t)~place);
}

static void link_free(tm_run *r, int64_t tick, int64_t link) {
    mesh_link *l = &r->links[link];
    l->busy = 0;
    give_back(r, tick, l->gives_back);
    try_link(r, tick, link);
}

/* --- routers */

static void enter(tm_run *r, int64_t tick, event e) {
    e.what = DELIVER;
    agenda_add(&r->agenda, tick + r->chip.hop_local, e);
}

/* The head of a packet is at the router of its core. */
static void at_core(tm_run *r, int64_t tick, event e) {
    if (r->limited && !r->traffic) {
        packet *q = &r->packets[e.about];
        core_row *row = &r->rows[q->target];
        if (row->queue_room == 0) {
            q->wants = ~(int64_t)q->target;
            q->at = e;
            join(r, &row->entering, (int32_t)e.about);
            return;
        }
        row->queue_room--;
    }
    enter(r, tick, e);
}

/* The head of a packet is at a router: x first, then y. */
static inline void hop(tm_run *r, int64_t tick, event e) {
    int64_t link = ((int64_t)e.y * r->chip.columns + e.x) * 4;
    if (e.x != e.to_x) {
        link += e.x > e.to_x;
    } else if (e.y != e.to_y) {
        link += 2 + (e.y > e.to_y);
    } else {
        at_core(r, tick, e);
        return;
    }
    if (!r->limited) {
        mesh_link *l = &r->links[link];
        int64_t begin = tick > l->free_at ? tick : l->free_at;
        l->free_at = begin + (int64_t)l->flit_ticks * e.flits;
        cross(r, tick, begin - tick, e, link);
        return;
    }
    packet *q = &r->packets[e.about];
    q->since = tick;
    q->wants = link;
    q->at = e;
    join(r, &r->links[link].waiting, (int32_t)e.about);
    try_link(r, tick, link);
}

static void deliver(tm_run *r, int64_t tick, event e) {
    packet *q = &r->packets[e.about];
    int64_t place = q->holds;
    if (r->recording->hops)
        record_hop(r, tick, q->number, (uint32_t)(e.y * r->chip.columns + e.x), TM_SIDES - 1, 0);
    entered(r, tick, (int32_t)e.about);
    if (r->limited) give_back(r, tick, place);
}

#endif
