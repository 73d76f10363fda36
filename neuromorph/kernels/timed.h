/* Discrete-event simulation of cores on a mesh, in whole ticks.
 *
 * The rules are those of neuromorph/reference/timed.py, event for event: the
 * agenda is ordered by (tick, order of adding) and holds packets and core
 * events.  What every core fires follows from the levels of its frame, which
 * the counting kernel has found; here it is decided when.
 *
 * All arrays stay the caller's and must outlive the run.
 */
#ifndef NEUROMORPH_TIMED_H
#define NEUROMORPH_TIMED_H

#include <stdint.h>

#define TM_TOKEN 0xFFFFFFFFu

enum {
    TM_SPIKE_OUT, TM_PACKET_OUT, TM_SPIKE_IN, TM_TOKEN_OUT, TM_TOKEN_IN, TM_PARTIAL_OUT,
    TM_PARTIAL_IN, TM_HOP_X, TM_HOP_Y, TM_HOP_CHIP, TM_HOP_LOCAL, TM_SERVED, TM_COUNTED
};

enum { TM_DONE = 0, TM_PAUSED = 1, TM_STUCK = 2, TM_NO_MEMORY = -1 };

/* Where a level of neurons sends: a list of goals for each position.  The
 * position of a neuron is its number modulo `positions`.  A goal is a row, or,
 * where the sending row has `roots`, the number of one of these. */
typedef struct {
    int32_t positions;
    const int32_t *starts;         /* (positions + 1) */
    const int32_t *targets;
} tm_fan;

/* A node of a tree: packets go straight from one to the next (neuromorph/mapping/ways.py). */
typedef struct {
    int32_t x, y;
    int32_t first_branch, branches;    /* nodes */
    int32_t first_row, rows;           /* in `node_rows` */
    int32_t hops_x, hops_y, hops_chip, deliveries; /* of the whole tree, for a root */
} tm_node;

/* Synapses a spike of one layer has at a row: work[(c·h + y − y0)·w + x − x0], c 0 unless
 * by_channel. */
typedef struct {
    int32_t sender;                /* the layer; 0: the input */
    const int32_t *work;
    int32_t area, width;           /* of the sender's image */
    int32_t by_channel;            /* 0: all its channels alike */
    int32_t window_y, window_x, window_height, window_width;
} tm_work;

typedef struct {
    int32_t tile_x, tile_y;
    int32_t chip_x, chip_y;        /* of a board */
    int32_t gap, rate;             /* sends `rate` packets at once, then waits `gap` ticks */
    int32_t depth;                 /* global steps until it fires; 0: an input port */
    int32_t reads_out;             /* its levels leave the chip as sums */
    int32_t partial;               /* its levels are partial sums, sent to their owner */
    int32_t sources;               /* tokens to wait for */
    int64_t scan;                  /* ticks to threshold all neurons */
    int32_t fan;                   /* which; -1: sends nothing */
    const int32_t *roots;          /* node of goal − first_root; -1: straight to that row */
    int32_t first_root;
    const int32_t *token_to;       /* goals that get a token */
    int32_t tokens;
    const int16_t *levels;         /* (frames, stride): levels of its layer */
    int64_t stride;
    const int32_t *numbers;        /* flat numbers of the neurons that send */
    int64_t outputs;
    int32_t planes;                /* bits of a level, each a spike; 1: the level is the spike */
    int32_t layer;                 /* whose neurons these are; 0: the input */
    const tm_work *works;          /* one for each layer that sends here */
} tm_row;

typedef struct {
    int32_t barrier_sync, frames_in_flight;
    int32_t columns, tile_rows;
    int32_t axon, synapse, synapse_lanes;
    int32_t hop_local, link, barrier;
    int32_t spike_flits, token_flits;
    int32_t buffer, queue;         /* packets; 0: without limit */
    int32_t first_port;            /* rows from here on are input ports, like row 0 */
    const int32_t *link_ticks;     /* (tiles, 4): ticks to cross each link */
    const int64_t *link_busy;      /* (tiles, 4): ticks a packet takes it; NULL: link × flits */
    const tm_node *nodes;          /* NULL: every packet goes straight to one row */
    const int32_t *node_rows;
} tm_chip;

/* What is counted; the frames × rows tables are indexed frame-major. */
typedef struct {
    int64_t *counted[TM_COUNTED];
    int64_t *started, *finished;               /* (frames) */
    int64_t *busy, *blocked, *longest_queue;   /* (rows) */
} tm_results;

enum { TM_SIDES = 5 };             /* east, west, south, north, core */

/* Room for records, column by column; the fields are those of neuromorph/mapping/packets.py. */
typedef struct {
    uint32_t *sample, *source, *neuron, *target;
    int16_t *payload;
    int64_t *sent, *delivered;
    int64_t *tick;
    uint64_t *packet;
    uint32_t *link, *waited;       /* link: router × TM_SIDES + side */
    int64_t packet_room, hop_room; /* at least TM_MOST; 0: not wanted */
    int64_t packets_made, hops_made;
} tm_recording;

/* Packets given beforehand instead of cores, sorted by tick; at most `most` at one. */
typedef struct {
    int64_t packets, most;
    const int64_t *tick;
    const int64_t *way;            /* x, y, goal x, goal y: 16 bits each, the first lowest */
    const int32_t *roots;          /* node of each packet, -1: straight; NULL: all straight */
    int64_t *delivered;
} tm_traffic;

/* A packet on the chip when nothing moves any more. */
typedef struct {
    int64_t packet;                /* its number */
    int64_t frame, source;
    int64_t target;                /* row, ~node for a packet that goes on to several */
    int64_t holds;                 /* link it came over, ~row in the outbox of a row */
    int64_t wants;                 /* link, ~row for a core; TM_INSIDE: it is in its core */
} tm_waiting;

#define TM_INSIDE INT64_MIN

typedef struct tm_run tm_run;

/* One engine with each agenda. */
typedef struct {
    /* NULL: no memory.  traffic NULL: cores send and serve. */
    tm_run *(*make)(const tm_chip *chip, const tm_fan *fans, const tm_row *rows,
                    int32_t row_count, int64_t frames, const tm_traffic *traffic,
                    const tm_results *results);
    void (*free)(tm_run *run);
    /* Go on until done, stuck, a recording is full, or `events` were handled. */
    int (*advance)(tm_run *run, tm_recording *recording, int64_t events);
    int64_t (*frames_done)(const tm_run *run);
    int64_t (*now)(const tm_run *run);
    /* (tiles, 4): packets, ticks waited for it in all and at most. */
    void (*links)(const tm_run *run, int64_t *packets, int64_t *waited, int64_t *longest);
    /* After TM_STUCK: the packets on the chip, at most `room`; how many there are. */
    int64_t (*waiting)(const tm_run *run, tm_waiting *out, int64_t room);
    /* After TM_STUCK: (rows) whether it waits for room to send, and its frame. */
    void (*rows)(const tm_run *run, int64_t *blocked, int64_t *frame);
} tm_engine;

extern const tm_engine tm_wheel, tm_heap;

#endif
