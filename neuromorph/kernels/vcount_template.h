/* The counting kernel for one vector width; included by vcount_<isa>.c, which
 * defines VC_BYTES (width of a vector) and VC_KERNEL (name of the kernel). */
#include <string.h>

#include "vcount.h"

typedef uint64_t vec __attribute__((vector_size(VC_BYTES), aligned(VC_BYTES), may_alias));
#define WORDS (VC_BYTES / 8)
#define LANES (VC_BYTES * 8)
#define INLINE static inline __attribute__((always_inline))

#ifdef VC_TERNARY_LOGIC
#include <immintrin.h>
INLINE vec xor3(vec a, vec b, vec c) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}
INLINE vec majority(vec a, vec b, vec c) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xE8);
}
#else
INLINE vec xor3(vec a, vec b, vec c) { return a ^ b ^ c; }
INLINE vec majority(vec a, vec b, vec c) { return (a & b) | ((a ^ b) & c); }
#endif

/* (high, low) = a + b + c */
#define ADD(high, low, a, b, c)                     \
    do {                                            \
        vec a_ = (a), b_ = (b), c_ = (c);           \
        (high) = majority(a_, b_, c_);              \
        (low) = xor3(a_, b_, c_);                   \
    } while (0)

/* Sixteen rows into counters of weight 1, 2, 4, 8; the carry weighs 16.  The
 * new rows are summed among themselves first, the counters come last. */
#define TREE16(ROW, c0, c1, c2, c3, carry)                                                   \
    do {                                                                                     \
        vec a, b, c, d, e, f, g, h, q, r;                                                    \
        vec t0, t1, t2, t3, t4, t5, t6, t7, w0, w1, w2, w3, y0, y1;                          \
        ADD(t0, a, ROW(0), ROW(1), ROW(2));                                                  \
        ADD(t1, b, ROW(3), ROW(4), ROW(5));                                                  \
        ADD(t2, f, a, b, ROW(6));                                                            \
        ADD(w0, h, t0, t1, t2);                                                              \
        ADD(t3, c, ROW(7), ROW(8), ROW(9));                                                  \
        ADD(t4, d, ROW(10), ROW(11), ROW(12));                                               \
        ADD(t5, e, ROW(13), ROW(14), ROW(15));                                               \
        ADD(t6, g, c, d, e);                                                                 \
        ADD(t7, c0, c0, f, g);                                                               \
        ADD(w1, q, t3, t4, t5);                                                              \
        ADD(w2, r, t6, t7, h);                                                               \
        ADD(w3, c1, c1, q, r);                                                               \
        ADD(y0, r, w0, w1, w2);                                                              \
        ADD(y1, c2, c2, r, w3);                                                              \
        ADD(carry, c3, c3, y0, y1);                                                          \
    } while (0)

INLINE void ripple(vec *counter, int from, int bits, vec carry) {
    for (int i = from; i < bits; i++) {
        vec next = counter[i] & carry;
        counter[i] ^= carry;
        carry = next;
    }
}

static const vec zero_row = {0};

/* Add the rows at base + (tap ^ flip) into a bit-sliced counter of at least six
 * bits.  Groups of 64 keep six counters in registers.  `flip` is a constant of
 * the call: 0, or VC_BYTES for the plane of the other sign. */
INLINE void add_rows(const char *base, const uint32_t *taps, int32_t n, const uint32_t flip,
                     vec *counter, int bits) {
    vec p0 = counter[0], p1 = counter[1], p2 = counter[2];
    vec p3 = counter[3], p4 = counter[4], p5 = counter[5];
    int32_t i = 0;
#define TAP(k) (*(const vec *)(base + (t[k] ^ flip)))
    for (; i + 64 <= n; i += 64) {
        const uint32_t *t = taps + i;
        vec s0, s1, u0, u1, carry;
        TREE16(TAP, p0, p1, p2, p3, s0);
        t += 16;
        TREE16(TAP, p0, p1, p2, p3, s1);
        ADD(u0, p4, p4, s0, s1);
        t += 16;
        TREE16(TAP, p0, p1, p2, p3, s0);
        t += 16;
        TREE16(TAP, p0, p1, p2, p3, s1);
        ADD(u1, p4, p4, s0, s1);
        ADD(carry, p5, p5, u0, u1);
        ripple(counter, 6, bits, carry);
    }
    for (; i < n; i += 16) {
        vec carry, next;
        if (i + 16 <= n) {
            const uint32_t *t = taps + i;
            TREE16(TAP, p0, p1, p2, p3, carry);
        } else {
            const vec *rows[16];
            for (int k = 0; k < 16; k++)
                rows[k] = i + k < n ? (const vec *)(base + (taps[i + k] ^ flip)) : &zero_row;
#define TAIL(k) (*rows[k])
            TREE16(TAIL, p0, p1, p2, p3, carry);
#undef TAIL
        }
        next = p4 & carry;
        p4 ^= carry;
        carry = next;
        next = p5 & carry;
        p5 ^= carry;
        ripple(counter, 6, bits, next);
    }
#undef TAP
    counter[0] = p0; counter[1] = p1; counter[2] = p2;
    counter[3] = p3; counter[4] = p4; counter[5] = p5;
}

/* P and N of one list: rows of the tap's sign and of the other one. */
static void add_pairs(const char *base, const uint32_t *taps, int32_t n, vec *positive,
                      vec *negative, int bits) {
    add_rows(base, taps, n, 0, positive, bits);
    add_rows(base, taps, n, VC_BYTES, negative, bits);
}

static void add_plane(const char *base, const uint32_t *rows, int32_t n, vec *counter, int bits) {
    add_rows(base, rows, n, 0, counter, bits);
}

static void clear(vec *counter, int bits) {
    for (int i = 0; i < bits; i++) counter[i] = zero_row;
}

/* total += (or -= ) number << shift, two's complement of `bits` bits */
INLINE void accumulate(vec *total, int bits, const vec *number, int number_bits, int shift,
                       int subtract) {
    const vec ones = ~zero_row;
    vec carry = subtract ? ones : zero_row;
    for (int i = shift; i < bits; i++) {
        vec x = i - shift < number_bits ? number[i - shift] : zero_row;
        if (subtract) x = ~x;
        vec t = total[i];
        total[i] = xor3(t, x, carry);
        carry = majority(t, x, carry);
    }
}

/* Lanes whose sum (two's complement) reaches t. */
INLINE vec reaches(const vec *sum, int bits, int32_t t, int32_t largest) {
    if (t <= -largest) return ~zero_row;
    if (t > largest) return zero_row;
    /* compare as unsigned after flipping the sign bits; borrow of sum - t */
    vec borrow = zero_row;
    for (int i = 0; i < bits; i++) {
        vec s = i == bits - 1 ? ~sum[i] : sum[i];
        int bit = i == bits - 1 ? !((t >> 31) & 1) : (int)(((int64_t)t >> i) & 1);
        borrow = bit ? (~s | borrow) : (~s & borrow);
    }
    return ~borrow;
}

/* Bit-sliced number (two's complement if is_signed) to one integer a lane. */
static void unslice32(const vec *number, int bits, int is_signed, int32_t *out, int64_t stride,
                      int32_t lanes) {
    for (int32_t lane = 0; lane < lanes; lane++) {
        int word = lane >> 6, bit = lane & 63;
        int64_t value = 0;
        for (int i = 0; i < bits; i++)
            value |= (int64_t)((((const uint64_t *)&number[i])[word] >> bit) & 1) << i;
        if (is_signed && (value >> (bits - 1)) & 1) value -= (int64_t)1 << bits;
        out[lane * stride] = (int32_t)value;
    }
}

static void unslice64(const vec *number, int bits, int64_t *out, int64_t stride, int32_t lanes) {
    for (int32_t lane = 0; lane < lanes; lane++) {
        int word = lane >> 6, bit = lane & 63;
        int64_t value = 0;
        for (int i = 0; i < bits; i++)
            value |= (int64_t)((((const uint64_t *)&number[i])[word] >> bit) & 1) << i;
        out[lane * stride] = value;
    }
}

/* Thermometer of one neuron (masks of the thresholds reached) to level planes. */
INLINE void encode(const vc_layer *l, const vec *reached, vec *row) {
    if (l->binary || l->top == 1) {
        row[0] = reached[l->steps - 1];
        row[1] = ~reached[0];
        return;
    }
    int planes = l->next_planes;
    for (int b = 0; b < 2 * planes; b++) row[b] = zero_row;
    for (int i = 0; i < l->top; i++) {
        vec up = reached[l->top + i], down = ~reached[i];
        for (int b = 0; b < planes; b++) {
            vec next_up = row[2 * b] & up, next_down = row[2 * b + 1] & down;
            row[2 * b] ^= up;
            row[2 * b + 1] ^= down;
            up = next_up;
            down = next_down;
        }
    }
}

/* Eight bytes of 0 or 1 to eight bits, first byte lowest. */
INLINE uint64_t gather_bits(uint64_t bytes) { return (bytes * 0x0102040810204080u) >> 56; }

/* Eight bits to eight bytes of 0 or 1, lowest bit first. */
INLINE uint64_t spread_bits(uint64_t bits) {
    uint64_t one_each = ((bits & 255) * 0x0101010101010101u) & 0x8040201008040201u;
    return ((one_each + 0x7F7F7F7F7F7F7F7Fu) >> 7) & 0x0101010101010101u;
}

/* 64 x 64 bits: bit s of word i becomes bit i of word s. */
static void transpose(uint64_t a[64]) {
    uint64_t mask = 0x00000000FFFFFFFFu;
    for (int j = 32; j; j >>= 1, mask ^= mask << j)
        for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            uint64_t t = ((a[k] >> j) ^ a[k | j]) & mask;
            a[k] ^= t << j;
            a[k | j] ^= t;
        }
}

/* Row of the next layer's image that an output (flat number) is written to. */
INLINE int64_t output_row(const vc_layer *l, int64_t output) {
    int64_t area = (int64_t)l->output_height * l->output_width;
    int64_t o = output / area, at = output % area;
    int64_t y = at / l->output_width, x = at % l->output_width;
    return o * l->next_channel + y * l->next_row + x * l->next_column + l->next_corner;
}

/* Rows of planes back to levels (lanes, outputs), 64 outputs by 64 lanes at a time. */
static void write_levels(const vc_layer *l, const vec *rows, int32_t lanes) {
    int64_t outputs = (int64_t)l->channels * l->output_height * l->output_width;
    int32_t planes = l->next_planes;
    uint64_t up[64], down[64];
    for (int64_t first = 0; first < outputs; first += 64)
        for (int32_t word = 0; word * 64 < lanes; word++) {
            int32_t left = lanes - word * 64 < 64 ? lanes - word * 64 : 64;
            int64_t n = outputs - first < 64 ? outputs - first : 64;
            for (int32_t b = 0; b < planes; b++) {
                for (int64_t i = 0; i < n; i++) {
                    const vec *row = rows + output_row(l, first + i) * planes * 2 + 2 * b;
                    up[i] = ((const uint64_t *)row)[word];
                    down[i] = ((const uint64_t *)(row + 1))[word];
                }
                for (int64_t i = n; i < 64; i++) up[i] = down[i] = 0;
                transpose(up);
                transpose(down);
                for (int32_t lane = 0; lane < left; lane++) {
                    int64_t at = (int64_t)(word * 64 + lane) * outputs + first;
                    if (planes == 1 && l->levels8 && n == 64) {
                        for (int k = 0; k < 8; k++) {
                            uint64_t bytes = spread_bits(up[lane] >> (8 * k)) |
                                             spread_bits(down[lane] >> (8 * k)) * 255;
                            memcpy(l->levels8 + at + 8 * k, &bytes, 8);
                        }
                        continue;
                    }
                    for (int64_t i = 0; i < n; i++) {
                        int level = (int)((up[lane] >> i) & 1) - (int)((down[lane] >> i) & 1);
                        if (b == 0 && l->levels8) l->levels8[at + i] = (int8_t)level;
                        else if (b == 0) l->levels16[at + i] = (int16_t)level;
                        else if (l->levels8) l->levels8[at + i] += (int8_t)(level * (1 << b));
                        else l->levels16[at + i] += (int16_t)(level * (1 << b));
                    }
                }
            }
        }
}

static int64_t row_count(const vc_layer *l) {
    return (int64_t)l->input_channels * l->input_height * l->input_width;
}

static int64_t aligned(int64_t bytes) { return (bytes + 63) & ~(int64_t)63; }

static int64_t plane_bytes(const vc_layer *layers, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t bytes = row_count(&layers[i]) * layers[i].value_planes * 2 * VC_BYTES;
        if (bytes > most) most = bytes;
    }
    return aligned(most);
}

static int64_t event_bytes(const vc_layer *layers, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        if (layers[i].fused) continue;
        int64_t bytes = row_count(&layers[i]) * (layers[i].spike_planes + 1) * VC_BYTES;
        if (bytes > most) most = bytes;
    }
    return aligned(most);
}

static int64_t reached_bytes(const vc_layer *layers, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t bytes = (int64_t)layers[i].height * layers[i].width * (layers[i].steps + 1) * VC_BYTES;
        if (bytes > most) most = bytes;
    }
    return aligned(most);
}

static int64_t tally_bytes(const vc_layer *layers, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t bytes = (int64_t)layers[i].slices * 3 * VC_MAX_BITS * VC_BYTES;
        if (bytes > most) most = bytes;
    }
    return aligned(most);
}

static int64_t scratch_bytes(const vc_layer *layers, int32_t count, int32_t input_planes) {
    (void)input_planes;
    return 2 * plane_bytes(layers, count) + event_bytes(layers, count) +
           reached_bytes(layers, count) + tally_bytes(layers, count) + 1024;
}

/* int16 levels to rows of bit-planes, 64 samples by 64 neurons at a time. */
static void pack_inputs(const vc_layer *l, const int16_t *inputs, int32_t samples, int32_t height,
                        int32_t width, vec *rows) {
    int32_t planes = l->value_planes;
    int32_t pad_y = (l->input_height - height) / 2, pad_x = (l->input_width - width) / 2;
    int64_t area = (int64_t)height * width, size = l->input_channels * area;
    uint64_t up[64], down[64], bytes;
    memset(rows, 0, (size_t)(row_count(l) * planes * 2 * VC_BYTES));
    for (int64_t first = 0; first < size; first += 64)
        for (int32_t word = 0; word * 64 < samples; word++) {
            int32_t lanes = samples - word * 64 < 64 ? samples - word * 64 : 64;
            int64_t n = size - first < 64 ? size - first : 64;
            for (int32_t b = 0; b < planes; b++) {
                for (int32_t s = 0; s < 64; s++) {
                    uint8_t positive[64], negative[64];
                    up[s] = down[s] = 0;
                    if (s >= lanes) continue;
                    if (n < 64) {
                        memset(positive, 0, 64);
                        memset(negative, 0, 64);
                    }
                    const int16_t *values = inputs + (word * 64 + s) * size + first;
                    if (planes == 1 && n == 64) {
                        for (int i = 0; i < 64; i++) positive[i] = values[i] > 0;
                        for (int i = 0; i < 64; i++) negative[i] = values[i] < 0;
                    } else {
                        for (int64_t i = 0; i < n; i++) {
                            int32_t value = values[i], magnitude = value < 0 ? -value : value;
                            positive[i] = (uint8_t)((value > 0) & (magnitude >> b));
                            negative[i] = (uint8_t)((value < 0) & (magnitude >> b));
                        }
                    }
                    for (int k = 0; k < 8; k++) {
                        memcpy(&bytes, positive + 8 * k, 8);
                        up[s] |= gather_bits(bytes) << (8 * k);
                        memcpy(&bytes, negative + 8 * k, 8);
                        down[s] |= gather_bits(bytes) << (8 * k);
                    }
                }
                transpose(up);
                transpose(down);
                for (int64_t i = 0; i < n; i++) {
                    int64_t c = (first + i) / area, at = (first + i) % area;
                    int64_t y = at / width + pad_y, x = at % width + pad_x;
                    int64_t to = (c * l->input_height + y) * l->input_width + x;
                    uint64_t *row = (uint64_t *)(rows + to * planes * 2);
                    row[2 * b * WORDS + word] = up[i];
                    row[(2 * b + 1) * WORDS + word] = down[i];
                }
            }
        }
}

/* Planes of spikes and of spikes with payload +-1, for layers that are not fused. */
static void event_planes(const vc_layer *l, const vec *rows, vec *events) {
    int64_t n = row_count(l);
    int32_t planes = l->value_planes, spikes = l->spike_planes;
    for (int64_t r = 0; r < n; r++) {
        const vec *row = rows + r * planes * 2;
        vec *out = events + r * (spikes + 1);
        if (spikes > 1) {
            for (int32_t b = 0; b < spikes; b++) out[b] = row[2 * b];
            out[spikes] = row[0];
        } else {
            vec high = zero_row, one = row[0] | row[1];
            for (int32_t b = 1; b < planes; b++) high |= row[2 * b] | row[2 * b + 1];
            out[0] = one | high;
            out[1] = one & ~high;
        }
    }
}

static void run_layer(const vc_layer *l, const vec *rows, const vec *events, vec *reached,
                      vec *tallies, vec *next, int32_t samples) {
    vec positive[VC_MAX_BITS], negative[VC_MAX_BITS], sum[VC_MAX_BITS];
    vec xnor[VC_MAX_BITS], any[VC_MAX_BITS];
    int64_t neurons = (int64_t)l->channels * l->height * l->width;
    int32_t planes = l->value_planes, bits = l->counter_bits, stride = l->slice_bits;
    clear(tallies, 3 * stride * l->slices);
    for (int32_t o = 0; o < l->channels; o++) {
        int flip = l->directions && l->directions[o] < 0;
        for (int32_t y = 0; y < l->height; y++)
            for (int32_t x = 0; x < l->width; x++) {
                int64_t corner = (int64_t)y * l->stride_y * l->input_width + x * l->stride_x;
                int64_t neuron = ((int64_t)o * l->height + y) * l->width + x;
                int32_t event_bits = l->event_bits;
                const vec *found = xnor;
                const vec *all = xnor;
                if (l->fused) {
                    const char *base = (const char *)(rows + corner * 2);
                    const uint32_t *taps = l->taps + l->lists[o];
                    int32_t n = l->lists[o + 1] - l->lists[o];
                    clear(positive, bits);
                    clear(negative, bits);
                    add_pairs(base, taps, n, flip ? negative : positive,
                              flip ? positive : negative, bits);
                    clear(sum, l->sum_bits);
                    vec carry = zero_row, borrow = zero_row;
                    for (int i = 0; i < l->sum_bits; i++) {
                        vec p = i < bits ? positive[i] : zero_row;
                        vec q = i < bits ? negative[i] : zero_row;
                        sum[i] = xor3(p, q, borrow);
                        borrow = majority(~p, q, borrow);
                    }
                    for (int i = 0; i < event_bits; i++) {
                        vec p = i < bits ? positive[i] : zero_row;
                        vec q = i < bits ? negative[i] : zero_row;
                        xnor[i] = xor3(p, q, carry);
                        carry = majority(p, q, carry);
                    }
                } else {
                    clear(sum, l->sum_bits);
                    for (int32_t b = 0; b < l->weight_planes; b++) {
                        int64_t list = (int64_t)o * l->weight_planes + b;
                        const uint32_t *taps = l->taps + l->lists[list];
                        int32_t n = l->lists[list + 1] - l->lists[list];
                        if (n == 0) continue;
                        for (int32_t a = 0; a < planes; a++) {
                            const char *base = (const char *)(rows + corner * 2 * planes + 2 * a);
                            clear(positive, bits);
                            clear(negative, bits);
                            add_pairs(base, taps, n, flip ? negative : positive,
                                      flip ? positive : negative, bits);
                            accumulate(sum, l->sum_bits, positive, bits, a + b, 0);
                            accumulate(sum, l->sum_bits, negative, bits, a + b, 1);
                        }
                    }
                    int32_t each = l->spike_planes + 1;
                    const char *base = (const char *)(events + corner * each);
                    const int32_t *list = l->event_lists + 2 * o;
                    clear(any, event_bits);
                    clear(xnor, event_bits);
                    for (int32_t p = 0; p < l->spike_planes; p++)
                        add_plane(base + (int64_t)p * VC_BYTES, l->event_rows + list[0],
                                  list[1] - list[0], any, event_bits);
                    add_plane(base + (int64_t)l->spike_planes * VC_BYTES, l->event_rows + list[1],
                              list[2] - list[1], xnor, event_bits);
                    all = any;
                }
                /* tallies of the slice: xnor, all events, active neurons */
                vec *tally = tallies + (int64_t)l->slice_of[neuron] * 3 * stride;
                vec active = zero_row;
                for (int i = 0; i < event_bits; i++) active |= all[i];
                accumulate(tally, stride, found, event_bits, 0, 0);
                if (!l->fused) accumulate(tally + stride, stride, all, event_bits, 0, 0);
                ripple(tally + 2 * stride, 0, stride, active);
                if (l->neuron_events)
                    unslice32(all, event_bits, 0, l->neuron_events + neuron, neurons, samples);
                if (l->sums) {
                    unslice32(sum, l->sum_bits, 1, l->sums + neuron, neurons, samples);
                    if (flip)
                        for (int32_t s = 0; s < samples; s++)
                            l->sums[s * neurons + neuron] = -l->sums[s * neurons + neuron];
                }
                vec *mask = reached + ((int64_t)y * l->width + x) * l->steps;
                for (int32_t i = 0; i < l->steps; i++)
                    mask[i] = reaches(sum, l->sum_bits, l->thresholds[(int64_t)o * l->steps + i],
                                      l->largest);
            }
        if (l->steps == 0) continue;
        int least = l->minimum && l->minimum[o];
        for (int32_t y = 0; y < l->output_height; y++)
            for (int32_t x = 0; x < l->output_width; x++) {
                int64_t output = ((int64_t)o * l->output_height + y) * l->output_width + x;
                vec *row = next + output_row(l, output) * l->next_planes * 2;
                if (l->pool_height == 0) {
                    encode(l, reached + ((int64_t)y * l->width + x) * l->steps, row);
                } else {
                    vec pooled[256];
                    for (int32_t i = 0; i < l->steps; i++) {
                        vec m = least ? ~zero_row : zero_row;
                        for (int32_t v = 0; v < l->pool_height; v++)
                            for (int32_t u = 0; u < l->pool_width; u++) {
                                int64_t at = (int64_t)(y * l->pool_stride_y + v) * l->width +
                                             x * l->pool_stride_x + u;
                                vec one = reached[at * l->steps + i];
                                m = least ? m & one : m | one;
                            }
                        pooled[i] = m;
                    }
                    encode(l, pooled, row);
                }
            }
    }
    for (int32_t s = 0; s < l->slices; s++) {
        vec *tally = tallies + (int64_t)s * 3 * stride;
        unslice64(tally, stride, l->xnor + s, l->slices, samples);
        unslice64(tally + 2 * stride, stride, l->active + s, l->slices, samples);
        if (l->fused) continue;
        unslice64(tally + stride, stride, l->graded + s, l->slices, samples);
        for (int32_t i = 0; i < samples; i++)
            l->graded[(int64_t)i * l->slices + s] -= l->xnor[(int64_t)i * l->slices + s];
    }
}

static void run(const vc_layer *layers, int32_t count, const int16_t *inputs, int32_t samples,
                int32_t input_height, int32_t input_width, char *scratch) {
    char *at = (char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    vec *now = (vec *)at;
    at += plane_bytes(layers, count);
    vec *next = (vec *)at;
    at += plane_bytes(layers, count);
    vec *events = (vec *)at;
    at += event_bytes(layers, count);
    vec *reached = (vec *)at;
    at += reached_bytes(layers, count);
    vec *tallies = (vec *)at;
    pack_inputs(&layers[0], inputs, samples, input_height, input_width, now);
    for (int32_t i = 0; i < count; i++) {
        const vc_layer *l = &layers[i];
        if (!l->fused) event_planes(l, now, events);
        if (i + 1 < count && l->next_corner)
            memset(next, 0, (size_t)(row_count(&layers[i + 1]) * l->next_planes * 2 * VC_BYTES));
        run_layer(l, now, events, reached, tallies, next, samples);
        if (l->levels8 || l->levels16) write_levels(l, next, samples);
        vec *swap = now;
        now = next;
        next = swap;
    }
}

const vc_kernel VC_KERNEL = {LANES, scratch_bytes, run, VC_NAME};
