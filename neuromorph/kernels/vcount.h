/* Bit-sliced counting of synaptic events: what every vector width shares.
 *
 * A level is kept as bits: for each magnitude bit a plane "positive" and a
 * plane "negative".  A row is a pair of vectors of such bits, one bit a lane.
 * For every neuron the kernel walks a list of rows and adds them into vertical
 * counters with full adders: P counts pairs that agree in sign, N pairs that
 * do not.  sum = P - N; where all magnitudes are one, events = P + N.
 *
 * The same primitive runs in two orientations:
 *
 *   lanes = samples   A row is an arriving neuron, in the lanes its level in
 *                     each sample; the list of a neuron holds its non-zero
 *                     weights (zero weights cost nothing).  Rows of an image
 *                     are laid out with its zero padding, so a convolution is
 *                     the same list moved along.
 *   lanes = outputs   A row is an arriving neuron, in the lanes its weights to
 *                     the outputs; the list of a sample holds its non-zero
 *                     levels (levels at rest cost nothing).  In a convolution
 *                     the lanes are a tile of output columns times channels.
 *                     A list is made for each input row and tile; that of an
 *                     output row is those of its input rows end to end.
 *
 * Between layers levels are kept in "rows" (lanes = samples) or in "lines": for
 * each sample and plane one string of bits over the neurons, in the order (row,
 * column, channel) of the image that the layer before sends.
 *
 * Nothing here is a float, allocates, or calls Python.
 */
#ifndef NEUROMORPH_VCOUNT_H
#define NEUROMORPH_VCOUNT_H

#include <stdint.h>

#define VC_MAX_BITS 56

typedef struct {
    /* geometry, in neurons; input_* include the padding, image_* do not */
    int32_t input_channels, input_height, input_width;
    int32_t image_height, image_width;
    int32_t channels, height, width;
    int32_t stride_y, stride_x;
    /* arriving levels */
    int32_t value_planes;   /* magnitude bits of a level */
    int32_t spike_planes;   /* > 1: each set bit is a spike (bitplane input) */
    int32_t fused;          /* all magnitudes one: events = P + N */
    int32_t weight_planes;
    int32_t by_output;      /* orientation: lanes are outputs */
    int32_t counter_bits, sum_bits, event_bits;
    int32_t most;           /* non-zero weights of a neuron, at most */

    /* lanes = samples: for each (channel, magnitude bit) two lists of taps, of the
     * weights times the direction (see `pair_list`); a tap is the byte offset of a
     * vector, 2 * value_planes * row (+ 1: the second of the pair) vectors from the corner of
     * the window */
    const int32_t *lists;   /* channels * weight_planes * 2 + 1 */
    const uint32_t *taps;
    /* not fused: for each channel the rows of non-zero weights, then of +-1 */
    const int32_t *event_lists; /* 2 * channels + 1 */
    const uint32_t *event_rows; /* byte offsets */

    /* lanes = outputs: lane = column of the tile * channels + channel; a linear
     * layer is a line of `window` neurons, in the order they arrive in (the view of
     * an image of one channel and one row, which the kernel covers whole) */
    int32_t view_channels, view_height, view_width;
    int32_t kernel_height, view_stride_y, view_stride_x, view_pad_y, view_pad_x;
    int32_t dilation_y;
    int32_t tile, tiles, window, blocks;
    /* (block, part, row, 2) vectors: parts are the magnitude bits of the
     * weights (positive, negative) and, not fused, (non-zero, +-1); rows are
     * (kernel row, column of the window, view channel) */
    const char *table;
    const char *limits;     /* (block, step, sum bit) vectors: thresholds, sign bit flipped */
    const int32_t *mask_lists; /* (row, tile, block) + 1: which entries */
    const int32_t *mask_slices; /* entry: slice */
    const int32_t *mask_rows;   /* entry: which mask */
    const char *masks;      /* lanes of a slice */

    /* firing; steps == 0: read-out */
    int32_t steps, binary, top;     /* top: largest level K */
    const int32_t *thresholds;      /* (channels, steps) */
    const int8_t *directions;
    int32_t largest;                /* no sum exceeds this magnitude; of a layer that fires */
    /* pool: size 0: none */
    int32_t pool_height, pool_width, pool_stride_y, pool_stride_x;
    const uint64_t *minimum; /* a bit a channel: the pool takes the least; and a spare word */
    int32_t output_height, output_width;
    /* where the levels go in the next layer's (or sink's) padded image: planes of a level,
     * distance of channels, rows and columns, place of the first one */
    int32_t next_planes, next_channel, next_row, next_column, next_corner;
    /* slice of every neuron (channel, row, column), and tallies a slice */
    const int32_t *slice_of;
    int32_t slices, slice_bits;

    int32_t repeats;        /* run the layer so often (to time it); the result is the same */
    /* results, sample-major; NULL: not wanted */
    int8_t *levels8;
    int16_t *levels16;
    int32_t *sums;                  /* (samples, neurons); the read-out's are the outputs */
    int64_t *wide_sums;             /* the same, where they may be wider */
    int32_t *neuron_events;         /* (samples, neurons) */
    int64_t *xnor, *graded, *active; /* (samples, slices) */
} vc_layer;

typedef struct {
    int32_t lanes;
    int32_t halves; /* rows are added whole: a pair of lists for either sign */
    /* bytes of scratch that run() wants for a block of that many samples */
    int64_t (*scratch_bytes)(const vc_layer *layers, int32_t count, int32_t samples);
    /* one block of at most `lanes` samples through all layers;
     * inputs: (samples, channels * height * width) int16, without padding */
    void (*run)(const vc_layer *layers, int32_t count, const int16_t *inputs, int32_t samples,
                char *scratch);
    const char *name;
} vc_kernel;

/* Best kernel this processor runs, or the named one ("avx512", "avx512vl",
 * "avx2", "v128", "u64"); NULL where it is unknown or cannot run here. */
const vc_kernel *vc_select(const char *name);

extern const vc_kernel vc_kernel_u64;
extern const vc_kernel vc_kernel_v128;
extern const vc_kernel vc_kernel_avx2;
extern const vc_kernel vc_kernel_avx512vl;
extern const vc_kernel vc_kernel_avx512;

#endif
