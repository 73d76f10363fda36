/* Discrete-event simulation of cores on a mesh, in whole ticks.
 *
 * The rules are those of neuromorph/reference/timed.py, event for event: the
 * agenda is ordered by (tick, order of scheduling).  It holds packets and core
 * events; a packet is expanded into its synaptic events when it is served.
 */
#ifndef NEUROMORPH_TIMED_H
#define NEUROMORPH_TIMED_H

#include <stdint.h>

#define TM_TOKEN 0xFFFFFFFFu

enum {
    TM_SPIKE_OUT, TM_PACKET_OUT, TM_SPIKE_IN, TM_TOKEN_OUT, TM_TOKEN_IN, TM_HOP_X, TM_HOP_Y,
    TM_HOP_LOCAL, TM_XNOR, TM_GRADED, TM_FETCHED, TM_ACTIVE, TM_COUNTED
};

enum { TM_DONE = 0, TM_PAUSED = 1, TM_NO_MEMORY = -1 };

typedef struct {
    int32_t input_height, input_width;
    int32_t channels, kernel_height, kernel_width;
    int32_t stride_y, stride_x, pad_y, pad_x;
    const int16_t *weights;        /* (input channel, ky, kx, channel) */
    int32_t steps, lowest, level_stride;  /* steps 0: read-out */
    const int32_t *thresholds;     /* (channels, steps) */
    const int8_t *directions;
    int32_t pool_height, pool_width, pool_stride_y, pool_stride_x; /* height 0: none */
    const uint8_t *minimum;
    int64_t outputs;               /* neurons whose levels leave, all slices */
    int16_t *levels;               /* (frames, outputs) */
} tm_stage;

typedef struct {
    int32_t stage;                 /* -1: the input port */
    int32_t tile_x, tile_y, gap;
    int32_t channel, channels, sum_row, sum_rows, sum_column, sum_columns;
    int32_t row, rows, column, columns;   /* outputs */
    int32_t sources;
    int32_t target, targets;       /* first row it sends to, and how many */
    const uint8_t *reach;          /* (positions, targets) */
    const int32_t *copies;         /* (positions): destinations of one spike */
    int32_t positions;
    const int32_t *numbers;        /* flat numbers of the neurons that send */
    int64_t outputs;
    /* state */
    int32_t busy, frame, tokens, serving_token;
    int32_t *sums;
    uint8_t *touched;
    int16_t *fired;
    int32_t *spike_neuron, *spike_payload;
    int64_t spikes, spike_at;
    int32_t target_at;
    int64_t remaining;
    uint8_t *token_to;
    int32_t queues;                /* one a frame, frame % queues */
    int32_t *queue_first, *queue_last;
} tm_row;

typedef struct __attribute__((packed)) {
    uint32_t sample, source, neuron, target;
    int16_t payload;
    int64_t sent, delivered;
} tm_record;

enum { TM_SIDES = 5 };             /* east, west, south, north, core */

typedef struct __attribute__((packed)) {
    int64_t tick;
    uint64_t packet;
    uint32_t link, waited;         /* link: router × TM_SIDES + side */
} tm_hop;

/* Room for records; NULL: not wanted. */
typedef struct {
    tm_record *packets;
    tm_hop *hops;
    int64_t packet_room, hop_room; /* at least 1 where wanted */
    int64_t packets_made, hops_made;
} tm_recording;

typedef struct {
    int32_t barrier_sync, sparse, frames_in_flight;
    int32_t columns, tile_rows;
    int32_t axon, synapse, synapse_lanes, neuron, neuron_lanes;
    int32_t hop_x, hop_y, hop_local, link, barrier;
    int32_t spike_planes;          /* of the input */
} tm_chip;

typedef struct tm_run tm_run;

/* NULL: no memory.  All arrays stay the caller's and must outlive the run. */
tm_run *tm_new(const tm_chip *chip, const tm_stage *stages, int32_t stage_count,
               const tm_row *rows, int32_t row_count, const int16_t *inputs, int64_t input_size,
               int64_t frames, int32_t *outputs, int64_t classes, int64_t *const *counted,
               int64_t *started, int64_t *finished, int64_t *active_ticks);
void tm_free(tm_run *run);

/* Go on until done, or a recording is full, or `events` agenda events were
 * handled. */
int tm_advance(tm_run *run, tm_recording *recording, int64_t events);
int64_t tm_frames_done(const tm_run *run);

#endif
