/* The counting kernel for one vector width; included by vcount_<isa>.c, which
 * defines VC_BYTES (width of a vector) and VC_KERNEL, VC_NAME (of the kernel). */
#include <string.h>

#include "vcount.h"
#include "vcount_add.h"
#include "vcount_samples.h"
#include "vcount_outputs.h"

/* A matrix of bits (rows, columns) to (columns, rows). */
static void turn(const uint64_t *from, int64_t rows, int64_t columns, uint64_t *to) {
    int64_t across = (columns + 63) >> 6, blocks = ((rows + 63) >> 6) * across;
    vec a[64];
    memset(to, 0, (size_t)line_words(rows * columns) * 8);
    for (int64_t first = 0; first < blocks; first += WORDS) {
        int64_t n = blocks - first < WORDS ? blocks - first : WORDS;
        for (int64_t w = 0; w < n; w++) {
            int64_t y = (first + w) / across * 64, x = (first + w) % across * 64;
            int64_t m = columns - x < 64 ? columns - x : 64;
            for (int64_t i = 0; i < 64; i++)
                ((uint64_t *)&a[i])[w] = y + i < rows ? load_bits(from, (y + i) * columns + x, m) : 0;
        }
        transpose(a);
        for (int64_t w = 0; w < n; w++) {
            int64_t y = (first + w) / across * 64, x = (first + w) % across * 64;
            for (int64_t i = 0; i < 64 && x + i < columns; i++)
                or_bits(to, (x + i) * rows + y, ((const uint64_t *)&a[i])[w]);
        }
    }
}

/* Strings of lines are in the order (place, channel) of an image of so many
 * channels; those of integers in the order (channel, place). */
INLINE int64_t neuron_at(int64_t bit, int64_t size, int64_t channels) {
    return channels == 1 || channels == size ? bit : bit % channels * (size / channels) + bit / channels;
}

/* int16 levels to lines of bit-planes; `spare` has room for one string. */
static void pack_lines(const vc_layer *l, int64_t channels, const int16_t *inputs, int32_t samples,
                       uint64_t *lines, uint64_t *spare) {
    int64_t size = input_count(l), words = line_words(size);
    int32_t planes = l->value_planes;
    for (int32_t s = 0; s < samples; s++)
        for (int32_t b = 0; b < planes; b++) {
            uint64_t *up = lines + s * line_stride(l) + 2 * b * words, *down = up + words;
            up[words - 1] = down[words - 1] = 0;
            for (int64_t first = 0; first < size; first += 64) {
                int64_t n = size - first < 64 ? size - first : 64;
                const int16_t *values = inputs + s * size + first;
                int16_t part[64] = {0};
                if (planes > 1 || n < 64) { /* the sign where the magnitude has bit b */
                    for (int64_t i = 0; i < n; i++) {
                        int32_t value = values[i], magnitude = value < 0 ? -value : value;
                        part[i] = (int16_t)(magnitude >> b & 1 ? value : 0);
                    }
                    values = part;
                }
                signs(values, &up[first >> 6], &down[first >> 6]);
            }
            for (int sign = 0; sign < 2 && channels > 1 && channels < size; sign++) {
                memcpy(spare, up + sign * words, (size_t)words * 8);
                turn(spare, channels, size / channels, up + sign * words);
            }
        }
}

/* Lines arriving at a layer to rows of its padded image (cleared where there is padding). */
static void lines_to_rows(const vc_layer *l, int64_t channels, const uint64_t *lines,
                          int32_t samples, vec *rows) {
    int64_t size = input_count(l), words = line_words(size), stride = line_stride(l);
    int32_t planes = 2 * l->value_planes;
    vec a[64];
    if (row_count(l) > size) memset(rows, 0, (size_t)row_bytes(l));
    for (int64_t first = 0; first < size; first += 64) {
        int64_t n = size - first < 64 ? size - first : 64;
        for (int32_t q = 0; q < planes; q++) {
            const uint64_t *line = lines + q * words + (first >> 6);
            if (samples < LANES) memset(a, 0, sizeof a);
            for (int32_t s = 0; s < samples; s++)
                ((uint64_t *)&a[s & 63])[s >> 6] = line[s * stride];
            transpose(a);
            for (int64_t i = 0; i < n; i++)
                rows[input_row(l, neuron_at(first + i, size, channels)) * planes + q] = a[i];
        }
    }
}

/* Rows of a layer's padded image back to lines. */
static void rows_to_lines(const vc_layer *l, int64_t channels, const vec *rows, int32_t samples,
                          uint64_t *lines) {
    int64_t size = input_count(l), words = line_words(size), stride = line_stride(l);
    int32_t planes = 2 * l->value_planes;
    vec a[64];
    for (int32_t s = 0; s < samples; s++)
        for (int32_t q = 0; q < planes; q++) lines[s * stride + (q + 1) * words - 1] = 0;
    for (int64_t first = 0; first < size; first += 64) {
        int64_t n = size - first < 64 ? size - first : 64;
        for (int32_t q = 0; q < planes; q++) {
            uint64_t *line = lines + q * words;
            for (int64_t i = 0; i < 64; i++)
                a[i] = i < n ? rows[input_row(l, neuron_at(first + i, size, channels)) * planes + q]
                             : zero_row;
            transpose(a);
            for (int32_t s = 0; s < samples; s++, line += stride)
                line[first >> 6] = ((const uint64_t *)&a[s & 63])[s >> 6];
        }
    }
}

/* Lines that leave a layer (and arrive at `after`) as integers; `spare` has room
 * for the lines of one sample. */
static void write_levels(const vc_layer *l, const vc_layer *after, int64_t channels,
                         const uint64_t *lines, int32_t samples, uint64_t *spare) {
    int64_t outputs = output_count(l), words = line_words(outputs);
    int32_t planes = l->next_planes;
    for (int32_t s = 0; s < samples; s++) {
        const uint64_t *line = lines + s * line_stride(after);
        int64_t to = s * outputs;
        if (channels > 1 && channels < outputs) {
            for (int32_t q = 0; q < 2 * planes; q++)
                turn(line + q * words, outputs / channels, channels, spare + q * words);
            line = spare;
        }
        for (int64_t first = 0; first < outputs; first += 64) {
            int64_t n = outputs - first < 64 ? outputs - first : 64;
            if (planes == 1 && l->levels8) {
                store_signs(l->levels8 + to + first, line[first >> 6], line[words + (first >> 6)],
                            n);
                continue;
            }
            for (int64_t i = 0; i < n; i++) {
                int level = 0;
                for (int32_t b = 0; b < planes; b++) {
                    const uint64_t *up = line + 2 * b * words + (first >> 6), *down = up + words;
                    level += (int)((*up >> i) & 1) << b;
                    level -= (int)((*down >> i) & 1) << b;
                }
                if (l->levels8) l->levels8[to + first + i] = (int8_t)level;
                else l->levels16[to + first + i] = (int16_t)level;
            }
        }
    }
}

/* Bytes that hold the levels arriving at any layer, as rows and as lines. */
static int64_t rows_bytes(const vc_layer *layers, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int given = i > 0 && !layers[i - 1].by_output; /* a layer over samples gives rows */
        int64_t bytes = given || !layers[i].by_output ? row_bytes(&layers[i]) : 0;
        if (bytes > most) most = bytes;
    }
    return (most + 63) & ~(int64_t)63;
}

static int64_t lines_bytes(const vc_layer *layers, int32_t count, int32_t samples) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t bytes = line_stride(&layers[i]) * samples * 8;
        if (bytes > most) most = bytes;
    }
    return (most + 63) & ~(int64_t)63;
}

static int64_t scratch_bytes(const vc_layer *layers, int32_t count, int32_t samples) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        const vc_layer *l = &layers[i];
        if (!l->channels) continue;
        int64_t bytes = l->by_output ? outputs_bytes(l, samples) : samples_bytes(l);
        if (bytes > most) most = bytes;
    }
    return 2 * rows_bytes(layers, count) + 2 * lines_bytes(layers, count, samples) +
           lines_bytes(layers, count, 1) + most + 128;
}

/* Levels travel as rows or as lines, whichever the layer that takes them wants;
 * a layer gives what it works in. */
static void run(const vc_layer *layers, int32_t count, const int16_t *inputs, int32_t samples,
                char *scratch) {
    char *at = (char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    vec *rows[2];
    uint64_t *lines[2], *spare;
    for (int i = 0; i < 2; i++) {
        rows[i] = (vec *)at;
        at += rows_bytes(layers, count);
        lines[i] = (uint64_t *)at;
        at += lines_bytes(layers, count, samples);
    }
    spare = (uint64_t *)at;
    at += lines_bytes(layers, count, 1);
    int64_t channels = layers[0].by_output ? layers[0].input_channels : 1; /* order of lines */
    pack_lines(&layers[0], channels, inputs, samples, lines[0], spare);
    if (!layers[0].by_output) lines_to_rows(&layers[0], channels, lines[0], samples, rows[0]);
    for (int32_t i = 0; i < count; i++) {
        const vc_layer *l = &layers[i], *after = i + 1 < count ? l + 1 : NULL;
        int now = i & 1, then = !now;
        if (!l->channels) break; /* a sink: levels were written, nothing is computed */
        /* a layer over samples writes rows even if the next one wants lines */
        vec *next = rows[then];
        if (after && !l->by_output && l->next_corner)
            memset(next, 0, (size_t)row_bytes(after));
        for (int32_t r = 0; r < l->repeats; r++) {
            if (l->by_output) run_outputs(l, lines[now], lines[then], samples, at);
            else run_samples(l, rows[now], next, samples, at);
        }
        if (!after) break;
        int wanted = l->levels8 || l->levels16, lines_next = after->by_output && after->channels;
        channels = l->by_output || lines_next ? l->channels : 1;
        if (!l->by_output && (lines_next || wanted))
            rows_to_lines(after, channels, next, samples, lines[then]);
        if (wanted) write_levels(l, after, channels, lines[then], samples, spare);
        if (l->by_output && !after->by_output)
            lines_to_rows(after, channels, lines[then], samples, next);
    }
}

const vc_kernel VC_KERNEL = {LANES, HALVES, scratch_bytes, run, VC_NAME};
