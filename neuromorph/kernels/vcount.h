/* Bit-sliced counting of synaptic events: what every vector width shares.
 *
 * Lanes are samples.  A level of a neuron is kept as bit-planes, one bit a
 * lane: for each magnitude bit b a plane "positive" and a plane "negative".
 * A row is the planes of one neuron; rows of an image are laid out with its
 * zero padding, so a convolution is the same list of row offsets moved along.
 *
 * For every neuron the kernel walks the list of its non-zero weights and adds
 * the rows into vertical counters with full adders: P counts pairs that agree
 * in sign, N pairs that do not.  sum = P - N; where all magnitudes are one,
 * events = P + N.  Nothing here is a float, allocates, or calls Python.
 */
#ifndef NEUROMORPH_VCOUNT_H
#define NEUROMORPH_VCOUNT_H

#include <stdint.h>

#define VC_MAX_BITS 40

typedef struct {
    /* geometry, in neurons; input_* include the padding */
    int32_t input_channels, input_height, input_width;
    int32_t channels, height, width;
    int32_t stride_y, stride_x;
    /* arriving levels */
    int32_t value_planes;   /* magnitude bits of a level */
    int32_t spike_planes;   /* > 1: each set bit is a spike (bitplane input) */
    int32_t fused;          /* all magnitudes one: events = P + N */
    /* weights: for each (channel, magnitude bit) a list of taps; a tap is the
     * byte offset (2 * value_planes * row + (1 where the weight is negative))
     * * width of a vector, counted from the corner of the window */
    int32_t weight_planes;
    const int32_t *lists;   /* channels * weight_planes + 1 */
    const uint32_t *taps;
    /* not fused: for each channel the rows of non-zero weights, then of +-1 */
    const int32_t *event_lists; /* 2 * channels + 1 */
    const uint32_t *event_rows; /* byte offsets */
    int32_t counter_bits, sum_bits, event_bits;
    /* firing; steps == 0: read-out */
    int32_t steps, binary, top;     /* top: largest level K */
    const int32_t *thresholds;      /* (channels, steps) */
    const int8_t *directions;
    int32_t largest;                /* no sum exceeds this magnitude */
    /* pool: size 0: none */
    int32_t pool_height, pool_width, pool_stride_y, pool_stride_x;
    const uint8_t *minimum;
    int32_t output_height, output_width;
    /* where the levels go in the next layer's padded image: planes of a level,
     * distance of channels, rows and columns, place of the first one */
    int32_t next_planes, next_channel, next_row, next_column, next_corner;
    /* slice of every neuron (channel, row, column), and tallies a slice */
    const int32_t *slice_of;
    int32_t slices, slice_bits;
    /* results, lane-major; NULL: not wanted */
    int8_t *levels8;
    int16_t *levels16;
    int32_t *sums;                  /* (lanes, neurons); the read-out's are the outputs */
    int32_t *neuron_events;         /* (lanes, neurons) */
    int64_t *xnor, *graded, *active; /* (lanes, slices) */
} vc_layer;

typedef struct {
    int32_t lanes;
    /* bytes of scratch that run() wants, 64-byte aligned */
    int64_t (*scratch_bytes)(const vc_layer *layers, int32_t count, int32_t input_planes);
    /* one block of at most `lanes` samples through all layers;
     * inputs: (samples, channels * height * width) int16, without padding */
    void (*run)(const vc_layer *layers, int32_t count, const int16_t *inputs, int32_t samples,
                int32_t input_height, int32_t input_width, char *scratch);
    const char *name;
} vc_kernel;

/* Best kernel this processor runs, or the named one ("avx512", "avx2",
 * "v128", "u64"); NULL where it is unknown or cannot run here. */
const vc_kernel *vc_select(const char *name);

extern const vc_kernel vc_kernel_u64;
extern const vc_kernel vc_kernel_v128;
extern const vc_kernel vc_kernel_avx2;
extern const vc_kernel vc_kernel_avx512;

#endif
