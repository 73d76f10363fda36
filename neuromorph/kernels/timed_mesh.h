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

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif

#define NOWHERE INT64_MIN          /* holds no place */
#define SHARED(p) (INT64_MIN / 2 + (p)) /* the place that a packet left to its copies */
#define UNLIMITED (1 << 30)
#define NOT_SENT UINT64_MAX        /* number of a packet that is free */

typedef struct {
    int64_t sent, since;           /* since: waits for a link */
    uint64_t number;
    int64_t holds, wants;          /* see tm_waiting */
    uint32_t neuron;
    int32_t frame, source, target, payload, next;
    int32_t node;                  /* of a tree, where it goes; -1: straight to its core */
    int32_t copies;                /* that hold its place; 0: it is on the chip itself */
    event at;
} packet;

typedef struct {
    int32_t first, last;           /* packets; -1: none */
} queue;

/* What every hop touches: half a cache line. */
typedef struct {
    int64_t free_at, packets, waited;
    uint32_t longest;
    int32_t ticks;
} mesh_link;

/* What is needed besides with finite buffers. */
typedef struct {
    int32_t busy, room;            /* room in the buffer it leads to */
    queue waiting;
    int64_t gives_back;            /* place of the packet that is leaving */
} gate;

typedef struct {
    tm_row given;
    int32_t busy, frame, tokens, serving_token;
    /* sending */
    uint32_t *spike_neuron;
    int32_t *spike_payload;
    int64_t spikes, spike_at, target_at, target_end, token_at, remaining;
    int64_t packets, hops_x, hops_y, hops_chip, deliveries, tokens_sent;
    int32_t at_once;               /* packets sent at this tick, below `rate` */
    int32_t outbox_room, blocked;
    int64_t blocked_since;
    /* receiving */
    queue *queues;                 /* one a frame, frame % queue_count */
    int32_t queue_count, queue_room;
    queue entering;                /* wait for room in the queue */
    int64_t queued, spikes_in, tokens_in, partial_in, work;
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
    mesh_link *links;              /* in `link_memory`, aligned */
    void *link_memory;
    gate *gates;                   /* limited: one a link */
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
        r->packets[p].node = -1;
        r->packets[p].copies = 0;
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
    r->packets[r->packet_used].node = -1;
    r->packets[r->packet_used].copies = 0;
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

static uint64_t way_from(int32_t x, int32_t y, int32_t to_x, int32_t to_y) {
    return (uint64_t)x | (uint64_t)y << 16 | (uint64_t)to_x << 32 | (uint64_t)to_y << 48;
}

static void record_hop(tm_run *r, int64_t tick, uint64_t number, uint32_t router, uint32_t side,
                       int64_t waited) {
    tm_recording *made = r->recording;
    int64_t i = made->hops_made++;
    made->tick[i] = tick;
    made->packet[i] = number;
    made->link[i] = router * TM_SIDES + side;
    made->waited[i] = (uint32_t)waited;
}

/* --- links */

/* The head of a packet starts over a link, after `waited` ticks at its router.
 * The last link leads into the core at once, unless there has to be room.
 * `plain`, known when compiled: no bounds, no trees, no board, no records. */
static ALWAYS_INLINE void cross(tm_run *r, int64_t tick, int64_t waited, const event *at,
                                int64_t link, int plain) {
    static const int64_t step[4] = {1, -1, 1 << 16, -(1 << 16)};
    uint64_t way = at->way + (uint64_t)step[link & 3];
    uint32_t about = at->about;
    uint16_t flits = at->flits;
    mesh_link *l = &r->links[link];
    l->packets++;
    l->waited += waited;
    l->longest = waited > l->longest ? (uint32_t)waited : l->longest;
    if (!plain && r->recording->hop_room)
        record_hop(r, tick, r->packets[about].number, (uint32_t)(link >> 2), link & 3, waited);
    int over = (uint32_t)way == way >> 32;
    if (!plain)
        over = over && !r->limited && (!r->chip.nodes || r->packets[about].node < 0);
    event next = {way, about, over ? DELIVER : HOP, flits};
    agenda_add(&r->agenda, tick + waited + l->ticks + (over ? r->chip.hop_local : 0), next);
}

/* Ticks that a packet keeps a link busy. */
static ALWAYS_INLINE int64_t busy_for(const tm_run *r, int64_t link, uint16_t flits, int plain) {
    return plain || !r->chip.link_busy ? (int64_t)r->chip.link * flits : r->chip.link_busy[link];
}

static void start(tm_run *r, int64_t tick, int64_t link, int32_t p) {
    gate *g = &r->gates[link];
    packet *q = &r->packets[p];
    g->busy = 1;
    g->room--;
    g->gives_back = q->holds;
    q->holds = link;
    event done = {0, (uint32_t)link, LINK_FREE, 0};
    agenda_add(&r->agenda, tick + busy_for(r, link, q->at.flits, 0), done);
    cross(r, q->since, tick - q->since, &q->at, link, 0);
}

static void try_link(tm_run *r, int64_t tick, int64_t link) {
    gate *g = &r->gates[link];
    if (!g->busy && g->room > 0 && g->waiting.first >= 0)
        start(r, tick, link, leave(r, &g->waiting));
}

static void give_back(tm_run *r, int64_t tick, int64_t place) {
    if (place == NOWHERE) return;
    if (place < INT64_MIN / 4) {
        packet *left = &r->packets[place - SHARED(0)];
        if (--left->copies) return;
        place = left->holds;
        r->alive++;                /* only its copies were counted */
        free_packet(r, (int32_t)(left - r->packets));
        give_back(r, tick, place);
        return;
    }
    if (place >= 0) {
        r->gates[place].room++;
        try_link(r, tick, place);
        return;
    }
    core_row *row = &r->rows[~place];
    row->outbox_room++;
    if (row->blocked) go_on_sending(r, tick, (int32_t)~place);
}

static void link_free(tm_run *r, int64_t tick, int64_t link) {
    gate *g = &r->gates[link];
    g->busy = 0;
    give_back(r, tick, g->gives_back);
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

static ALWAYS_INLINE int64_t router_of(const tm_run *r, uint64_t way) {
    return (int64_t)(uint16_t)(way >> 16) * r->chip.columns + (uint16_t)way;
}

static void fork_at(tm_run *r, int64_t tick, event e);

/* The head of a packet is at a router: x first, then y. */
static ALWAYS_INLINE void hop(tm_run *r, int64_t tick, const event *e, int plain) {
    uint64_t way = e->way;
    int32_t x = (uint16_t)way, y = (uint16_t)(way >> 16);
    int32_t to_x = (uint16_t)(way >> 32), to_y = (uint16_t)(way >> 48);
    int turn = x == to_x;          /* arithmetic: no branch would be foreseen */
    int side = 2 * turn + (turn ? y > to_y : x > to_x);
    int64_t link = ((int64_t)y * r->chip.columns + x) * 4 + side;
    if (turn && y == to_y) {
        if (!plain && r->chip.nodes && r->packets[e->about].node >= 0) fork_at(r, tick, *e);
        else at_core(r, tick, *e);
        return;
    }
    if (plain || !r->limited) {
        mesh_link *l = &r->links[link];
        int64_t begin = tick > l->free_at ? tick : l->free_at;
        l->free_at = begin + busy_for(r, link, e->flits, plain);
        cross(r, tick, begin - tick, e, link, plain);
        return;
    }
    packet *q = &r->packets[e->about];
    q->since = tick;
    q->wants = link;
    q->at = *e;
    join(r, &r->gates[link].waiting, (int32_t)e->about);
    try_link(r, tick, link);
}

/* A packet to its row at this tile, or on to the next node. */
static void go_on(tm_run *r, int64_t tick, event e, const tm_node *from, int32_t next) {
    packet *q = &r->packets[e.about];
    const tm_node *to = from;
    q->node = -1;
    if (next < from->rows) {
        q->target = r->chip.node_rows[from->first_row + next];
    } else {
        int32_t number = from->first_branch + next - from->rows;
        to = &r->chip.nodes[number];
        if (to->rows == 1 && to->branches == 0) q->target = r->chip.node_rows[to->first_row];
        else q->node = number;
    }
    e.way = way_from(from->x, from->y, to->x, to->y);
    hop(r, tick, &e, 0);
}

/* The head of a packet is at a node of its tree: on from there, as copies if there are several. */
static void fork_at(tm_run *r, int64_t tick, event e) {
    int32_t p = (int32_t)e.about;
    const tm_node *node = &r->chip.nodes[r->packets[p].node];
    int32_t copies = node->rows + node->branches;
    if (copies == 1) {
        go_on(r, tick, e, node, 0);
        return;
    }
    int holding = r->limited && r->packets[p].holds != NOWHERE;
    r->packets[p].copies = copies;
    r->packets[p].wants = TM_INSIDE;
    r->alive--;
    for (int32_t i = 0; i < copies; i++) {
        int32_t copy = new_packet(r);
        if (copy < 0) return;
        r->packets[copy] = r->packets[p];
        r->packets[copy].copies = 0;
        if (holding) r->packets[copy].holds = SHARED(p);
        e.about = (uint32_t)copy;
        go_on(r, tick, e, node, i);
    }
    if (holding) return;
    r->alive++;
    free_packet(r, p);
}

static void deliver(tm_run *r, int64_t tick, event e) {
    packet *q = &r->packets[e.about];
    int64_t place = q->holds;
    if (r->recording->hop_room)
        record_hop(r, tick, q->number, (uint32_t)router_of(r, e.way), TM_SIDES - 1, 0);
    entered(r, tick, (int32_t)e.about);
    if (r->limited) give_back(r, tick, place);
}

#endif
