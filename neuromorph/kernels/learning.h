/* Event-driven learning, sample by sample; what happens is told in reference/learning.py.

   Synapses lie [tap][out]: the row of an arriving spike is fetched as one piece, and its
   attempts walk the same row.  Everything is an integer.  The caller owns all memory. */

#ifndef NEUROMORPH_LEARNING_H
#define NEUROMORPH_LEARNING_H

#include <stdint.h>

enum { LR_MAX_ERROR = 255, LR_MOVE_BYTES = 12 };
enum { LR_ERRORS, LR_WINDOWS, LR_TRANSPOSED, LR_ADDS, LR_ATTEMPTS, LR_TRANSITIONS, LR_ACCUMULATED, LR_COUNTED };
enum { LR_RIVAL, LR_SOFT, LR_HINGE };                         /* target */
enum { LR_BP, LR_QUANTISED, LR_TERNARY, LR_SIGN, LR_DFA, LR_SDFA, LR_DRTP, LR_READOUT }; /* path */

typedef struct {
    int32_t in_channels, in_height, in_width;
    int32_t channels, height, width;
    int32_t kernel_height, kernel_width, stride_y, stride_x, pad_y, pad_x;
    int32_t pool_height, pool_width, pool_stride_y, pool_stride_x, out_height, out_width;
    const uint8_t *minimum;
    int32_t shared, follows_spread;
    int32_t rest;
    int8_t *states, *weights;       /* [taps][channels] */
    const uint8_t *stuck;
    int32_t *writes, *gradient;
    const uint32_t *keys;
    int32_t *gain, *mean, *offset, *spread, *half; /* [channels] */
    const uint8_t *dead;            /* [neurons] */
    const int32_t *slice_of;        /* [neurons] */
    int32_t slices;
    const int8_t *feedback;         /* [neurons][classes] or NULL */
    const uint32_t *error_keys;     /* [neurons] or NULL */
    const uint32_t *table;          /* [2][LR_MAX_ERROR + 1] */
    uint32_t key, error_key, shift_register;
    int64_t bound;                  /* no gradient is beyond it */
    int8_t *levels;                 /* [samples][outputs] or NULL */
    int64_t *xnor, *active;         /* [samples][slices] */
    int64_t *counted;               /* [LR_COUNTED][slices] */
    int64_t *packets;               /* [sources][slices] or NULL */
    int8_t *image, *fired, *sums8, *events8; /* scratch, by scratch_bytes */
    int32_t *sums, *distance, *errors, *arrived, *partial, *chosen, *list, *taps;
} lr_layer;

typedef struct {
    int32_t layers, classes;
    int32_t path, quantised_bits, target, pulse, threshold, dead_zone, memory, tracked;
    int32_t batch, metaplastic, maximum, keyed;
    int32_t fixed;                  /* first layers that do not learn */
    uint32_t step;                  /* of the last sample */
    int32_t waiting;
    int64_t margin, taught;         /* margin: in fractions, as scores are */
} lr_rule;

/* Learn samples [0, n); how many were done: fewer if moves might not fit any more. */
int64_t lr_run(lr_layer *layers, lr_rule *rule, const int8_t *inputs, const int32_t *labels,
               int64_t n, int64_t *predictions, uint8_t *moves, int64_t capacity, int64_t *moved);

#endif
