/* Lanes are outputs: the list of a sample holds its non-zero levels; part of
 * vcount_template.h.
 *
 * A unit is one sample at one output row and tile of columns.  Units go in
 * groups, and a group through its lists in pieces, so that what a piece needs of
 * the table stays in the first cache; the counters of a group wait in memory
 * meanwhile. */

#define GROUP 32
#define CACHED (32 << 10) /* bytes of the table that stay in the first cache */
#define ENOUGH 64         /* entries of a unit in a piece */
#define PAIR (2 * VC_BYTES)

static int64_t line_words(int64_t neurons) { return (neurons + 63) / 64 + 1; }

static int64_t input_count(const vc_layer *l) {
    return (int64_t)l->input_channels * l->image_height * l->image_width;
}

static int64_t output_count(const vc_layer *l) {
    return (int64_t)l->channels * l->output_height * l->output_width;
}

/* 64-bit words of the lines of one sample arriving at a layer. */
static int64_t line_stride(const vc_layer *l) {
    return 2 * l->value_planes * line_words(input_count(l));
}

typedef struct {
    int64_t units, total;    /* of a sample, of the block */
    int64_t across, rows;    /* rows of the table: for one kernel row, all */
    int64_t pieces;          /* of a list, at most */
    int64_t lists, capacity; /* lists of a unit, entries of one */
    int64_t kept, room;      /* input rows whose lists are kept, entries of one */
    int flat;                /* one output place: lanes are the neurons in order */
    int64_t mask_words, ring; /* words of one mask, samples under way */
    int32_t group;
} outputs_plan;

static outputs_plan plan_outputs(const vc_layer *l, int32_t samples) {
    outputs_plan p;
    p.units = (int64_t)l->height * l->tiles;
    p.total = p.units * samples;
    p.group = p.total < GROUP ? (int32_t)p.total : GROUP;
    p.across = (int64_t)l->window * l->view_channels;
    p.rows = l->kernel_height * p.across;
    p.pieces = p.group == 1 ? 1 : p.rows / (CACHED / PAIR) + 1;
    p.lists = 2 * l->value_planes + (l->fused || l->spike_planes > 1 ? 0 : 2);
    p.capacity = p.rows + 48;
    p.kept = l->kernel_height == 1 ? 0 : (l->kernel_height - 1) * l->dilation_y + 1;
    p.room = p.across + 48;
    p.flat = l->height * l->width == 1;
    p.mask_words = line_words((int64_t)l->channels * l->height * l->width);
    if (p.mask_words < (int64_t)l->blocks * WORDS) p.mask_words = (int64_t)l->blocks * WORDS;
    p.ring = p.units == 1 ? p.group : GROUP / p.units + 2;
    if (p.ring > samples) p.ring = samples;
    return p;
}

/* What a group of units shares. */
typedef struct {
    const vc_layer *l;
    const outputs_plan *p;
    vec *counters, *sums, *events;
    int64_t *lane;
    uint64_t *strings, *pooled; /* masks (row, column, channel) */
    uint64_t *cut;              /* levels of a window */
    uint32_t *lists, *kept;
    int32_t *counts, *kept_counts;
    int64_t *held; /* of which input row the lists are kept */
} group;

/* Places in scratch; returns its end. */
static char *group_scratch(const vc_layer *l, const outputs_plan *p, char *scratch, group *g) {
    char *at = scratch;
#define PART(name, number) \
    g->name = (void *)at;  \
    at += (int64_t)sizeof *g->name * (number)
    PART(counters, p->group * COUNTER_VECTORS * l->counter_bits);
    PART(sums, p->group * l->sum_bits);
    PART(events, p->group * 2 * l->event_bits);
    PART(lane, LANES);
    PART(held, p->kept);
    PART(strings, p->ring * l->steps * p->mask_words);
    PART(pooled, l->pool_height ? l->steps * line_words(output_count(l)) : 0);
    PART(cut, 2 * line_words(p->across));
    PART(lists, p->group * p->lists * p->capacity);
    PART(kept, p->kept * l->tiles * p->lists * p->room);
    PART(counts, p->group * p->lists);
    PART(kept_counts, p->kept * l->tiles * p->lists);
#undef PART
    return at;
}

static int64_t outputs_bytes(const vc_layer *l, int32_t samples) {
    outputs_plan p = plan_outputs(l, samples);
    group g;
    return group_scratch(l, &p, (char *)64, &g) - (char *)64;
}

typedef uint32_t entries __attribute__((vector_size(64), aligned(4), may_alias)); /* sixteen */

/* Append a list entry for each set bit of a string; bit 0 has the byte offset
 * `offset`.  Up to sixteen entries behind the end are overwritten.  `emit` makes
 * one list, `emit_pair` the two of a pair (see `pair_list`). */
#ifdef VC_TERNARY_LOGIC
typedef uint16_t sixteen __attribute__((may_alias));

INLINE __m512i chunk(__mmask16 bits, __mmask16 second, int64_t bit, uint32_t offset) {
    const __m512i each = _mm512_mullo_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi32(PAIR));
    __m512i taps = _mm512_add_epi32(each, _mm512_set1_epi32((int)(offset + (uint32_t)bit * PAIR)));
    taps = _mm512_mask_add_epi32(taps, second, taps, _mm512_set1_epi32(VC_BYTES));
    return _mm512_maskz_compress_epi32(bits, taps);
}

INLINE __m512i load_words(const uint64_t *string, int64_t n) {
    return _mm512_maskz_loadu_epi64(n < 8 ? (__mmask8)((1 << n) - 1) : 255, string);
}

INLINE int32_t emit(uint32_t *to, const uint64_t *bits, int64_t words, uint32_t offset) {
    int32_t n = 0;
    for (int64_t w = 0; w < words; w += 8) {
        __m512i all = load_words(bits + w, words - w);
        for (uint32_t busy = _mm512_test_epi16_mask(all, all); busy; busy &= busy - 1) {
            int k = __builtin_ctz(busy);
            __mmask16 here = ((const sixteen *)(bits + w))[k];
            _mm512_storeu_si512(to + n, chunk(here, 0, w * 64 + k * 16, offset));
            n += __builtin_popcount(here);
        }
    }
    return n;
}
#else
INLINE int32_t emit(uint32_t *to, const uint64_t *bits, int64_t words, uint32_t offset) {
    int32_t n = 0;
    for (int64_t w = 0; w < words; w++, offset += 64 * PAIR)
        for (uint64_t left = bits[w]; left; left &= left - 1)
            to[n++] = offset + (uint32_t)__builtin_ctzll(left) * PAIR;
    return n;
}
#endif

#if defined(VC_HALVES)
INLINE void emit_pair(uint32_t *const to[2], const uint64_t *up, const uint64_t *down,
                      int64_t words, uint32_t offset, int32_t n[2]) {
    n[0] = emit(to[0], up, words, offset);
    n[1] = emit(to[1], down, words, offset);
}
#elif defined(VC_TERNARY_LOGIC)
INLINE void emit_pair(uint32_t *const to[2], const uint64_t *up, const uint64_t *down,
                      int64_t words, uint32_t offset, int32_t n[2]) {
    int32_t found = 0;
    for (int64_t w = 0; w < words; w += 8) {
        __m512i all = _mm512_or_si512(load_words(up + w, words - w), load_words(down + w, words - w));
        for (uint32_t busy = _mm512_test_epi16_mask(all, all); busy; busy &= busy - 1) {
            int k = __builtin_ctz(busy);
            __mmask16 more = ((const sixteen *)(up + w))[k], less = ((const sixteen *)(down + w))[k];
            __m512i taps = chunk(more | less, less, w * 64 + k * 16, offset);
            _mm512_storeu_si512(to[0] + found, taps);
            found += __builtin_popcount(more | less);
        }
    }
    n[0] = found;
    n[1] = 0;
}
#else
INLINE void emit_pair(uint32_t *const to[2], const uint64_t *up, const uint64_t *down,
                      int64_t words, uint32_t offset, int32_t n[2]) {
    int32_t found = 0;
    for (int64_t w = 0; w < words; w++, offset += 64 * PAIR)
        for (uint64_t left = up[w] | down[w]; left; left &= left - 1) {
            int bit = __builtin_ctzll(left);
            to[0][found++] = offset + (uint32_t)bit * PAIR + (down[w] >> bit & 1) * VC_BYTES;
        }
    n[0] = found;
    n[1] = 0;
}
#endif

/* n bits of a string from bit `at` as whole words, copied where they do not lie so. */
INLINE const uint64_t *window(const uint64_t *string, int64_t at, int64_t n, uint64_t *copy) {
    if (((at | n) & 63) == 0) return string + (at >> 6);
    for (int64_t i = 0; i < n; i += 64)
        copy[i >> 6] = load_bits(string, at + i, n - i < 64 ? n - i : 64);
    return copy;
}

/* All lists of n levels from bit `at` of a sample's strings, list q at to + q * room.
 * Lists 2a and 2a + 1: pairs of the levels with magnitude bit a; then (if there are
 * more) all spikes, and those of +-1. */
INLINE void make_lists(const group *g, const uint64_t *line, int64_t at, int64_t n, int64_t first,
                       uint32_t *to, int64_t room, int32_t *counts) {
    const vc_layer *l = g->l;
    int64_t words = line_words(input_count(l)), many = (n + 63) >> 6;
    uint64_t *copy = g->cut + line_words(g->p->across);
    int32_t planes = 2 * l->value_planes;
    for (int32_t q = 0; q < planes; q += 2) {
        uint32_t *const pair[2] = {to + q * room, to + (q + 1) * room};
        emit_pair(pair, window(line + q * words, at, n, g->cut),
                  window(line + (q + 1) * words, at, n, copy), many, (uint32_t)first * PAIR,
                  counts + q);
    }
    if (g->p->lists == planes) return;
    for (int64_t i = 0; i < n; i += 64) {
        int64_t m = n - i < 64 ? n - i : 64;
        uint64_t one = load_bits(line, at + i, m) | load_bits(line + words, at + i, m), high = 0;
        for (int32_t b = 2; b < planes; b++) high |= load_bits(line + b * words, at + i, m);
        g->cut[i >> 6] = one | high;
        copy[i >> 6] = one & ~high;
    }
    counts[planes] = emit(to + planes * room, g->cut, many, (uint32_t)first * PAIR);
    counts[planes + 1] = emit(to + (planes + 1) * room, copy, many, (uint32_t)first * PAIR);
}

/* Lists of one input row in one tile: as if it met the first row of the kernel. */
static void row_lists(const group *g, const uint64_t *line, int64_t row, int64_t t, uint32_t *to,
                      int64_t room, int32_t *counts) {
    const vc_layer *l = g->l;
    int64_t left = t * l->tile * l->view_stride_x - l->view_pad_x, low = left < 0 ? 0 : left;
    int64_t high = left + l->window < l->view_width ? left + l->window : l->view_width;
    int64_t n = high > low ? (high - low) * l->view_channels : 0;
    make_lists(g, line, (row * l->view_width + low) * l->view_channels, n,
               (low - left) * l->view_channels, to, room, counts);
}

/* Lists of unit u of the group: the sample whose levels are `line`, output row y, tile t. */
static void unit_lists(const group *g, int64_t u, const uint64_t *line, int64_t y, int64_t t) {
    const vc_layer *l = g->l;
    const outputs_plan *p = g->p;
    uint32_t *to = g->lists + u * p->lists * p->capacity;
    int32_t *counts = g->counts + u * p->lists;
    int64_t above = y * l->view_stride_y - l->view_pad_y;
    if (p->kept == 0 && above >= 0 && above < l->view_height) {
        row_lists(g, line, above, t, to, p->capacity, counts);
        return;
    }
    for (int64_t q = 0; q < p->lists; q++) counts[q] = 0;
    for (int64_t k = 0; k < l->kernel_height && p->kept; k++) {
        int64_t row = above + k * l->dilation_y;
        if (row < 0 || row >= l->view_height) continue;
        uint32_t slot = (uint32_t)row % (uint32_t)p->kept;
        int64_t place = slot * l->tiles * p->lists;
        if (g->held[slot] != row) {
            for (int64_t i = 0; i < l->tiles; i++)
                row_lists(g, line, row, i, g->kept + (place + i * p->lists) * p->room, p->room,
                          g->kept_counts + place + i * p->lists);
            g->held[slot] = row;
        }
        place += t * p->lists;
        uint32_t offset = (uint32_t)(k * p->across) * PAIR;
        for (int64_t q = 0; q < p->lists; q++) {
            const uint32_t *from = g->kept + (place + q) * p->room;
            uint32_t *end = to + q * p->capacity + counts[q];
            int32_t n = g->kept_counts[place + q];
            for (int32_t i = 0; i < n; i += 16)
                *(entries *)(end + i) = *(const entries *)(from + i) + offset;
            counts[q] += n;
        }
    }
}

/* Sum of a bit-sliced number over the lanes of a mask. */
INLINE int64_t count_lanes(const vec *number, int bits, const vec *mask) {
    const uint64_t *in = (const uint64_t *)number, *keep = (const uint64_t *)mask;
    int64_t total = 0;
    for (int i = 0; i < bits; i++, in += WORDS) {
        int64_t found = 0;
        for (int w = 0; w < WORDS; w++) found += __builtin_popcountll(in[w] & keep[w]);
        total += found << i;
    }
    return total;
}

/* Integers of one unit in one block of lanes, to (samples, channels, rows, columns). */
static void write_unit(const vc_layer *l, const vec *number, int bits, int is_sum, int64_t s,
                       int64_t y, int64_t x, int64_t from, int64_t n, int64_t *lane, int32_t *out,
                       int64_t *wide) {
    unslice(number, bits, is_sum, lane, (int32_t)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t o = (from + i) % l->channels, column = x + (from + i) / l->channels;
        int64_t value = is_sum && l->directions && l->directions[o] < 0 ? -lane[i] : lane[i];
        int64_t to = ((s * l->channels + o) * l->height + y) * l->width + column;
        if (wide) wide[to] = value;
        else out[to] = (int32_t)value;
    }
}

/* Everything that follows from the sums and events of one unit in one block of
 * lanes; they have so many bits. */
INLINE void finish(const group *g, int64_t unit, int32_t block, const vec *sum, int sum_bits,
                   const vec *all, const vec *xnor, int event_bits) {
    const vc_layer *l = g->l;
    const outputs_plan *p = g->p;
    int64_t s = unit, at = 0, y = 0, x = 0;
    if (p->units > 1) {
        s = unit / p->units;
        at = unit % p->units;
        y = at / l->tiles;
        x = at % l->tiles * l->tile;
    }
    int64_t cell = at * l->blocks + block;
    vec active = zero_row;
    for (int i = 0; i < event_bits; i++) active |= all[i];
    for (int32_t e = l->mask_lists[cell]; e < l->mask_lists[cell + 1]; e++) {
        const vec *mask = (const vec *)l->masks + l->mask_rows[e];
        int64_t to = s * l->slices + l->mask_slices[e];
        int64_t single = count_lanes(xnor, event_bits, mask);
        l->xnor[to] += single;
        if (!l->fused) l->graded[to] += count_lanes(all, event_bits, mask) - single;
        l->active[to] += count_lanes(&active, 1, mask);
    }
    const vec *limits = (const vec *)l->limits + (int64_t)block * l->steps * l->sum_bits;
    uint64_t *string = g->strings + s % p->ring * l->steps * p->mask_words;
    int64_t from = (int64_t)block * LANES, columns = l->width - x < l->tile ? l->width - x : l->tile;
    int64_t n = columns * l->channels - from < LANES ? columns * l->channels - from : LANES;
    int64_t place = (y * l->width + x) * l->channels + from;
    for (int32_t i = 0; i < l->steps; i++, string += p->mask_words) {
        vec reached = reaches_lanes(sum, sum_bits, limits + i * l->sum_bits, l->sum_bits);
        if (p->flat || ((place | n) & 63) == 0) { /* whole words */
            memcpy(string + (place >> 6), &reached, p->flat ? VC_BYTES : (size_t)n / 8);
            continue;
        }
        for (int64_t w = 0; w * 64 < n; w++)
            or_bits(string, place + w * 64, ((const uint64_t *)&reached)[w] & low_bits(n - w * 64));
    }
    if (l->sums || l->wide_sums)
        write_unit(l, sum, sum_bits, 1, s, y, x, from, n, g->lane, l->sums, l->wide_sums);
    if (l->neuron_events)
        write_unit(l, all, event_bits, 0, s, y, x, from, n, g->lane, l->neuron_events, 0);
}

/* Pool one mask (row, column, channel) into another, cleared one. */
static void pool_mask(const vc_layer *l, const uint64_t *mask, uint64_t *pooled) {
    int64_t channels = l->channels;
    for (int64_t y = 0; y < l->output_height; y++)
        for (int64_t x = 0; x < l->output_width; x++)
            for (int64_t o = 0; o < channels; o += 64) {
                int64_t n = channels - o < 64 ? channels - o : 64;
                uint64_t least = load_bits(l->minimum, o, n), some = 0, every = ~(uint64_t)0;
                for (int64_t v = 0; v < l->pool_height; v++)
                    for (int64_t u = 0; u < l->pool_width; u++) {
                        int64_t at = (y * l->pool_stride_y + v) * l->width + x * l->pool_stride_x + u;
                        uint64_t bits = load_bits(mask, at * channels + o, n);
                        some |= bits;
                        every &= bits;
                    }
                or_bits(pooled, (y * l->output_width + x) * channels + o,
                        (some & ~least) | (every & least));
            }
}

/* Masks of one sample to the lines of the next layer. */
static void fire_sample(const group *g, const uint64_t *string, uint64_t *next) {
    const vc_layer *l = g->l;
    int64_t outputs = output_count(l), words = line_words(outputs), each = g->p->mask_words;
    if (l->pool_height) {
        memset(g->pooled, 0, (size_t)(l->steps * words * 8));
        for (int32_t i = 0; i < l->steps; i++)
            pool_mask(l, string + i * each, g->pooled + i * words);
        string = g->pooled;
        each = words;
    }
    int32_t planes = l->next_planes;
    if (l->binary || l->top == 1) {
        for (int64_t w = 0; w < words - 1; w++) {
            next[w] = string[(l->steps - 1) * each + w];
            next[words + w] = ~string[w];
        }
    } else {
        memset(next, 0, (size_t)(2 * planes * words) * 8);
        for (int32_t i = 0; i < l->top; i++)
            for (int64_t w = 0; w < words - 1; w++) {
                uint64_t up = string[(l->top + i) * each + w], down = ~string[i * each + w];
                for (int32_t b = 0; b < planes; b++) {
                    uint64_t *more = next + 2 * b * words + w, *less = more + words;
                    uint64_t next_up = *more & up, next_down = *less & down;
                    *more ^= up;
                    *less ^= down;
                    up = next_up;
                    down = next_down;
                }
            }
    }
    for (int32_t b = 0; b < 2 * planes; b++) { /* nothing behind the last neuron */
        next[b * words + words - 1] = 0;
        if (outputs & 63) next[b * words + words - 2] &= low_bits(outputs & 63);
    }
}

INLINE const uint32_t *list_of(const group *g, int64_t u, int64_t list) {
    return g->lists + (u * g->p->lists + list) * g->p->capacity;
}

/* Where piece k of a list of n entries begins: what lies about there in every
 * list of the group is about the same part of the table. */
INLINE int32_t cut_at(int32_t n, int64_t k, int64_t pieces) {
    return k == pieces ? n : (int32_t)(n * k / pieces) & ~15;
}

/* Piece k of a pair of lists of unit u. */
INLINE pair_list pair_piece(const group *g, int64_t u, int64_t list, int64_t k, int64_t pieces) {
    const int32_t *n = g->counts + u * g->p->lists + list;
    int32_t first = cut_at(n[0], k, pieces), second = cut_at(n[1], k, pieces);
    pair_list pair = {list_of(g, u, list) + first, list_of(g, u, list + 1) + second,
                      cut_at(n[0], k + 1, pieces) - first, cut_at(n[1], k + 1, pieces) - second};
    return pair;
}

/* Pieces that give a unit enough to be worth fetching its counters. */
INLINE int64_t piece_count(const group *g, int64_t n) {
    int64_t total = 0;
    if (g->p->pieces == 1) return 1;
    for (int64_t i = 0; i < n * g->p->lists; i++) total += g->counts[i];
    int64_t pieces = 2 * total / (n * g->p->lists * ENOUGH);
    return pieces < 1 ? 1 : pieces < g->p->pieces ? pieces : g->p->pieces;
}

/* All units of a group in one block of lanes; every magnitude is one. */
static void group_of_units(const group *g, int64_t first, int64_t n, int32_t block) {
    const vc_layer *l = g->l;
    const char *base = l->table + block * g->p->rows * PAIR;
    int64_t pieces = piece_count(g, n);
    vec sum[VC_MAX_BITS], all[VC_MAX_BITS], agree[5], differ[5];
    for (int64_t k = 0; k < pieces; k++)
        for (int64_t u = 0; u < n; u++) {
            vec *p = g->counters + u * COUNTER_VECTORS * l->counter_bits, *q;
            const int32_t *counts = g->counts + 2 * u;
            int few = bit_length(counts[0] + counts[1]); /* no counter exceeds it */
            if (few > l->counter_bits) few = l->counter_bits;
            int bits = few < 8 ? 8 : few, last = k + 1 == pieces;
            if (counts[0] <= FEW) {
                if (!last) continue;
                add_few(base, list_of(g, u, 0), counts[0], 0, p = agree);
                add_few(base, list_of(g, u, 0), counts[0], VC_BYTES, q = differ);
            } else {
                pair_list list = pair_piece(g, u, 0, k, pieces);
                if (k == 0) clear(p, COUNTER_VECTORS * bits);
                add_pairs(base, &list, p, bits);
                if (!last) continue;
                fold_pairs(p, bits);
                q = p + bits;
            }
            int sum_bits = few + 1 < l->sum_bits ? few + 1 : l->sum_bits;
            int event_bits = few < l->event_bits ? few : l->event_bits;
            combine(p, q, few, sum, sum_bits, all, event_bits);
            finish(g, first + u, block, sum, sum_bits, all, all, event_bits);
        }
}

/* The same for levels or weights with magnitudes. */
static void group_of_planes(const group *g, int64_t first, int64_t n, int32_t block) {
    const vc_layer *l = g->l;
    const outputs_plan *p = g->p;
    int32_t bits = l->counter_bits, event_bits = l->event_bits, planes = l->value_planes;
    int64_t part = p->rows * PAIR, pieces = piece_count(g, n);
    const char *base = l->table + block * (l->weight_planes + 1) * part;
    const char *events = base + l->weight_planes * part;
    clear(g->sums, (int)n * l->sum_bits);
    clear(g->events, (int)n * 2 * event_bits);
    for (int32_t b = 0; b < l->weight_planes; b++)
        for (int32_t a = 0; a < planes; a++)
            for (int64_t k = 0; k < pieces; k++)
                for (int64_t u = 0; u < n; u++) {
                    vec *counter = g->counters + u * COUNTER_VECTORS * bits;
                    if (k == 0) clear(counter, COUNTER_VECTORS * bits);
                    pair_list list = pair_piece(g, u, 2 * a, k, pieces);
                    add_pairs(base + b * part, &list, counter, bits);
                    if (k + 1 < pieces) continue;
                    vec *sum = g->sums + u * l->sum_bits;
                    fold_pairs(counter, bits);
                    accumulate(sum, l->sum_bits, counter, bits, a + b, 0);
                    accumulate(sum, l->sum_bits, counter + bits, bits, a + b, 1);
                }
    int bitplane = l->spike_planes > 1; /* a set bit is a spike, and none is negative */
    for (int64_t u = 0; u < n; u++) {
        vec *event = g->events + u * 2 * event_bits;
        const int32_t *counts = g->counts + u * p->lists;
        for (int32_t b = 0; b < l->spike_planes; b++) {
            int32_t any = bitplane ? 2 * b : 2 * planes;
            add_plane(events, list_of(g, u, any), counts[any], event, event_bits);
        }
        int32_t one = bitplane ? 0 : 2 * planes + 1;
        add_plane(events + VC_BYTES, list_of(g, u, one), counts[one], event + event_bits, event_bits);
        finish(g, first + u, block, g->sums + u * l->sum_bits, l->sum_bits, event,
               event + event_bits, event_bits);
    }
}

static void run_outputs(const vc_layer *l, const uint64_t *lines, uint64_t *next, int32_t samples,
                        char *scratch) {
    const outputs_plan plan = plan_outputs(l, samples), *p = &plan;
    group g = {.l = l, .p = p};
    group_scratch(l, p, scratch, &g);
    int64_t stride = line_stride(l);
    int64_t next_stride = 2 * l->next_planes * line_words(output_count(l));
    int64_t mask = l->steps * p->mask_words, s = 0, y = 0, t = 0; /* the next unit */
    memset(l->xnor, 0, (size_t)(samples * l->slices) * 8);
    memset(l->active, 0, (size_t)(samples * l->slices) * 8);
    if (!l->fused) memset(l->graded, 0, (size_t)(samples * l->slices) * 8);
    for (int64_t first = 0, done = 0; first < p->total; first += p->group) {
        int64_t n = p->total - first < p->group ? p->total - first : p->group;
        for (int64_t u = 0; u < n; u++) {
            if (y == 0 && t == 0) {
                for (int64_t i = 0; i < p->kept; i++) g.held[i] = -1;
                if (!p->flat) memset(g.strings + s % p->ring * mask, 0, (size_t)mask * 8);
            }
            unit_lists(&g, u, lines + s * stride, y, t);
            if (++t < l->tiles) continue;
            t = 0;
            if (++y < l->height) continue;
            y = 0;
            s++;
        }
        for (int32_t block = 0; block < l->blocks; block++)
            if (l->fused) group_of_units(&g, first, n, block);
            else group_of_planes(&g, first, n, block);
        for (; done < s && l->steps; done++)
            fire_sample(&g, g.strings + done % p->ring * mask, next + done * next_stride);
    }
}
