/* Lanes are samples: the list of a neuron holds its non-zero weights; part of
 * vcount_template.h. */

#define CHANNELS 8 /* neurons that go through their lists together */
#define PIECE 1024  /* list entries at a time */

/* Thermometer of one neuron (masks of the thresholds reached) to level planes. */
INLINE void encode_row(const vc_layer *l, const vec *reached, vec *row) {
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

static int64_t row_count(const vc_layer *l) {
    return (int64_t)l->input_channels * l->input_height * l->input_width;
}

static int64_t row_bytes(const vc_layer *l) { return row_count(l) * l->value_planes * 2 * VC_BYTES; }

/* Row of a layer's padded image where its input neuron (flat number) lies. */
INLINE int64_t input_row(const vc_layer *l, int64_t neuron) {
    int64_t area = (int64_t)l->image_height * l->image_width;
    if (area == 1 && l->input_height == 1 && l->input_width == 1) return neuron;
    int64_t c = neuron / area, at = neuron % area;
    int64_t y = at / l->image_width + (l->input_height - l->image_height) / 2;
    int64_t x = at % l->image_width + (l->input_width - l->image_width) / 2;
    return (c * l->input_height + y) * l->input_width + x;
}

/* Row of the next layer's image that an output (flat number) is written to. */
INLINE int64_t output_row(const vc_layer *l, int64_t output) {
    int64_t area = (int64_t)l->output_height * l->output_width;
    int64_t o = output / area, at = output % area;
    int64_t y = at / l->output_width, x = at % l->output_width;
    return o * l->next_channel + y * l->next_row + x * l->next_column + l->next_corner;
}

static int64_t samples_bytes(const vc_layer *l) {
    int64_t events = l->fused ? 0 : row_count(l) * (l->spike_planes + 1);
    int64_t reached = CHANNELS * (int64_t)l->height * l->width * l->steps;
    int64_t tallies = (int64_t)l->slices * 3 * l->slice_bits;
    int64_t counters = CHANNELS * COUNTER_VECTORS * l->counter_bits;
    return (events + reached + tallies + counters) * VC_BYTES + LANES * 8 + 64;
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

/* Bit-sliced number to column `at` of a matrix (samples, columns) of int32, or of int64. */
static void write_column(const vec *number, int bits, int is_signed, int negate, int32_t *out,
                         int64_t *wide, int64_t columns, int64_t at, int32_t samples,
                         int64_t *lane) {
    unslice(number, bits, is_signed, lane, samples);
    for (int32_t s = 0; s < samples; s++) {
        int64_t value = negate ? -lane[s] : lane[s];
        if (wide) wide[s * columns + at] = value;
        else out[s * columns + at] = (int32_t)value;
    }
}

/* Levels of one channel, pooled and encoded into the next layer's rows. */
static void fire_channel(const vc_layer *l, int32_t o, const vec *reached, vec *next) {
    int least = l->minimum && (l->minimum[o >> 6] >> (o & 63) & 1);
    for (int32_t y = 0; y < l->output_height; y++)
        for (int32_t x = 0; x < l->output_width; x++) {
            int64_t output = ((int64_t)o * l->output_height + y) * l->output_width + x;
            vec *row = next + output_row(l, output) * l->next_planes * 2;
            if (l->pool_height == 0) {
                encode_row(l, reached + ((int64_t)y * l->width + x) * l->steps, row);
                continue;
            }
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
            encode_row(l, pooled, row);
        }
}

/* The list of channel o for a magnitude bit of the weights. */
INLINE pair_list tap_list(const vc_layer *l, int64_t o, int32_t b) {
    const int32_t *at = l->lists + 2 * (o * l->weight_planes + b);
    pair_list list = {l->taps + at[0], l->taps + at[1], at[1] - at[0], at[2] - at[1]};
    return list;
}

/* Counters of a group of neurons at one place of the window: all channels go
 * through a piece of their lists before any goes on, so the rows are in the
 * first cache. */
static void add_group(const vc_layer *l, const char *base, int32_t first, int32_t n, vec *counters) {
    int bits = l->counter_bits, each = COUNTER_VECTORS * bits;
    int32_t left = 1;
    clear(counters, n * each);
    for (int32_t at = 0; left; at += PIECE) {
        left = 0;
        for (int32_t o = 0; o < n; o++) {
            pair_list list = tap_list(l, first + o, 0);
            list.first += at;
            list.second += at;
            list.first_n -= at;
            list.second_n -= at;
            if (list.first_n > PIECE || list.second_n > PIECE) left = 1;
            list.first_n = list.first_n < 0 ? 0 : list.first_n > PIECE ? PIECE : list.first_n;
            list.second_n = list.second_n < 0 ? 0 : list.second_n > PIECE ? PIECE : list.second_n;
            add_pairs(base, &list, counters + o * each, bits);
        }
    }
}

/* Events of up to sixteen neurons of one slice, on their way to its tallies. */
typedef struct {
    vec events[VC_MAX_BITS + 4], active[5];
    int32_t slice, n;
} pending;

static void flush(const vc_layer *l, pending *p, int bits, vec *tallies) {
    vec *tally = tallies + (int64_t)p->slice * 3 * l->slice_bits;
    if (p->n == 0) return;
    accumulate(tally, l->slice_bits, p->events, bits + 4, 0, 0);
    accumulate(tally + 2 * l->slice_bits, l->slice_bits, p->active, 5, 0, 0);
    p->n = 0;
}

INLINE void collect(const vc_layer *l, pending *p, int32_t slice, const vec *events, int bits,
                    vec active, vec *tallies) {
    if (p->n == 16 || p->slice != slice) flush(l, p, bits, tallies);
    if (p->n == 0) {
        clear(p->events, bits + 4);
        clear(p->active, 5);
        p->slice = slice;
    }
    accumulate(p->events, bits + 4, events, bits, 0, 0);
    ripple(p->active, 0, 5, active);
    p->n++;
}

/* Tallies of the slice, sums, events and thresholds of one neuron. */
INLINE void settle(const vc_layer *l, int32_t o, int64_t place, const vec *sum, const vec *all,
                   const vec *xnor, int bits, pending *waiting, vec *tallies, vec *mask,
                   int32_t samples, int64_t *lane) {
    int64_t area = (int64_t)l->height * l->width, neurons = l->channels * area;
    int64_t neuron = o * area + place;
    int32_t stride = l->slice_bits;
    vec active = zero_row;
    for (int i = 0; i < bits; i++) active |= all[i];
    if (l->fused) {
        collect(l, waiting, l->slice_of[neuron], all, bits, active, tallies);
    } else {
        vec *tally = tallies + (int64_t)l->slice_of[neuron] * 3 * stride;
        accumulate(tally, stride, xnor, bits, 0, 0);
        accumulate(tally + stride, stride, all, bits, 0, 0);
        ripple(tally + 2 * stride, 0, stride, active);
    }
    if (l->neuron_events)
        write_column(all, bits, 0, 0, l->neuron_events, 0, neurons, neuron, samples, lane);
    if (l->sums || l->wide_sums)
        write_column(sum, l->sum_bits, 1, l->directions && l->directions[o] < 0, l->sums,
                     l->wide_sums, neurons, neuron, samples, lane);
    for (int32_t i = 0; i < l->steps; i++)
        mask[i] = reaches(sum, l->sum_bits, l->thresholds[(int64_t)o * l->steps + i], l->largest);
}

/* Sum and events of one neuron whose levels or weights have magnitudes. */
static void count_planes(const vc_layer *l, int32_t o, const vec *rows, const vec *events,
                         vec *counter, vec *sum, vec *any, vec *xnor) {
    int bits = l->counter_bits;
    int32_t planes = l->value_planes;
    clear(sum, l->sum_bits);
    for (int32_t b = 0; b < l->weight_planes; b++) {
        pair_list list = tap_list(l, o, b);
        if (list.first_n + list.second_n == 0) continue;
        for (int32_t a = 0; a < planes; a++) {
            clear(counter, COUNTER_VECTORS * bits);
            add_pairs((const char *)(rows + 2 * a), &list, counter, bits);
            fold_pairs(counter, bits);
            accumulate(sum, l->sum_bits, counter, bits, a + b, 0);
            accumulate(sum, l->sum_bits, counter + bits, bits, a + b, 1);
        }
    }
    const int32_t *list = l->event_lists + 2 * o;
    clear(any, l->event_bits);
    clear(xnor, l->event_bits);
    for (int32_t p = 0; p < l->spike_planes; p++)
        add_plane((const char *)(events + p), l->event_rows + list[0], list[1] - list[0], any,
                  l->event_bits);
    add_plane((const char *)(events + l->spike_planes), l->event_rows + list[1],
              list[2] - list[1], xnor, l->event_bits);
}

static void run_samples(const vc_layer *l, const vec *rows, vec *next, int32_t samples,
                        char *scratch) {
    vec sum[VC_MAX_BITS], xnor[VC_MAX_BITS], any[VC_MAX_BITS];
    int64_t area = (int64_t)l->height * l->width;
    int32_t bits = l->counter_bits, stride = l->slice_bits, each = COUNTER_VECTORS * bits;
    vec *counters = (vec *)scratch;
    vec *tallies = counters + CHANNELS * each;
    vec *reached = tallies + (int64_t)l->slices * 3 * stride;
    vec *events = reached + CHANNELS * area * l->steps;
    int64_t *lane = (int64_t *)(events + (l->fused ? 0 : row_count(l) * (l->spike_planes + 1)));
    int few = l->fused && l->most <= FEW;
    int32_t event_bits = few ? 5 : l->event_bits;
    pending waiting = {.n = 0};
    if (!l->fused) event_planes(l, rows, events);
    for (int64_t i = 0; i < (int64_t)3 * stride * l->slices; i++) tallies[i] = zero_row;
    for (int32_t first = 0; first < l->channels; first += CHANNELS) {
        int32_t n = l->channels - first < CHANNELS ? l->channels - first : CHANNELS;
        for (int32_t y = 0; y < l->height; y++)
            for (int32_t x = 0; x < l->width; x++) {
                int64_t corner = (int64_t)y * l->stride_y * l->input_width + x * l->stride_x;
                int64_t place = (int64_t)y * l->width + x;
                const vec *base = rows + corner * 2 * l->value_planes;
                if (l->fused && !few) add_group(l, (const char *)base, first, n, counters);
                for (int32_t o = 0; o < n; o++) {
                    vec *mask = reached + (o * area + place) * l->steps;
                    if (few) {
                        vec agree[5], differ[5];
                        pair_list list = tap_list(l, first + o, 0);
                        add_few((const char *)base, list.first, list.first_n, 0, agree);
                        add_few((const char *)base, list.first, list.first_n, VC_BYTES, differ);
                        combine(agree, differ, 5, sum, l->sum_bits, xnor, 5);
                        settle(l, first + o, place, sum, xnor, xnor, 5, &waiting, tallies, mask,
                               samples, lane);
                    } else if (l->fused) {
                        vec *counter = counters + o * each;
                        fold_pairs(counter, bits);
                        combine(counter, counter + bits, bits, sum, l->sum_bits, xnor,
                                l->event_bits);
                        settle(l, first + o, place, sum, xnor, xnor, l->event_bits, &waiting,
                               tallies, mask, samples, lane);
                    } else {
                        count_planes(l, first + o, base, events + corner * (l->spike_planes + 1),
                                     counters, sum, any, xnor);
                        settle(l, first + o, place, sum, any, xnor, l->event_bits, &waiting,
                               tallies, mask, samples, lane);
                    }
                }
            }
        for (int32_t o = 0; o < n && l->steps; o++)
            fire_channel(l, first + o, reached + o * area * l->steps, next);
    }
    flush(l, &waiting, event_bits, tallies);
    for (int32_t s = 0; s < l->slices; s++) {
        vec *tally = tallies + (int64_t)s * 3 * stride;
        for (int32_t part = 0; part < 3; part++) {
            int64_t *out = part == 0 ? l->xnor : part == 1 ? l->graded : l->active;
            if (part == 1 && l->fused) continue;
            unslice(tally + part * stride, stride, 0, lane, samples);
            for (int32_t i = 0; i < samples; i++) out[(int64_t)i * l->slices + s] = lane[i];
        }
        if (l->fused) continue;
        for (int32_t i = 0; i < samples; i++)
            l->graded[(int64_t)i * l->slices + s] -= l->xnor[(int64_t)i * l->slices + s];
    }
}
