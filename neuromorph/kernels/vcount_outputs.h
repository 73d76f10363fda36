/* Lanes are outputs: the list of a sample holds its non-zero levels; part of
 * vcount_template.h.
 *
 * A unit is one sample at one output row and tile of columns.  Units go in
 * groups, and a group through the table in blocks of rows that fit the second
 * cache; the counters of a group wait in memory meanwhile. */

#define GROUP 32
#define CACHED (640 << 10) /* bytes of the table that stay in the second cache */
#define ENOUGH 64         /* entries of a unit in a block of rows */
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
    int64_t rows, block_rows, row_blocks;
    int64_t lists, capacity; /* lists of a unit, entries of one */
    int64_t each;            /* channels in one vector */
    int flat;                /* one output place: lanes are the neurons in order */
    int linear;              /* one window, the whole line */
    int64_t mask_words, ring; /* words of one mask, samples under way */
    int32_t group;
} outputs_plan;

static outputs_plan plan_outputs(const vc_layer *l, int32_t samples) {
    outputs_plan p;
    p.units = (int64_t)l->height * l->tiles;
    p.total = p.units * samples;
    p.group = p.total < GROUP ? (int32_t)p.total : GROUP;
    p.rows = (int64_t)l->view_channels * l->kernel_height * l->window;
    p.block_rows = CACHED / PAIR;
    if (p.group == 1 || p.rows <= p.block_rows) p.block_rows = p.rows;
    p.row_blocks = (p.rows + p.block_rows - 1) / p.block_rows;
    p.lists = 2 * l->value_planes + (l->fused || l->spike_planes > 1 ? 0 : 2);
    p.each = LANES / l->tile;
    p.flat = l->height * l->width == 1;
    p.linear = p.flat && l->view_channels == 1 && l->view_height == 1 && l->kernel_height == 1 &&
               l->view_pad_y == 0 && l->view_pad_x == 0 && l->window == l->view_width;
    p.capacity = p.rows + 48;
    int64_t neurons = (int64_t)l->channels * l->height * l->width;
    p.mask_words = line_words(neurons);
    if (p.mask_words < (int64_t)l->blocks * WORDS) p.mask_words = (int64_t)l->blocks * WORDS;
    p.ring = GROUP / p.units + 2;
    if (p.ring > samples) p.ring = samples;
    return p;
}

static int64_t outputs_bytes(const vc_layer *l, int32_t samples) {
    outputs_plan p = plan_outputs(l, samples);
    int64_t vectors = COUNTER_VECTORS * l->counter_bits + l->sum_bits + 2 * l->event_bits;
    int64_t strings = l->steps * (p.ring * p.mask_words + line_words(output_count(l)));
    return p.group * vectors * VC_BYTES + strings * 8 + LANES * 8 +
           p.group * p.lists * (p.capacity + p.row_blocks + 1) * 4 + 256;
}

/* Append a list entry for each set bit; bit 0 has the byte offset `offset`.  Up
 * to sixteen entries behind the end are overwritten. */
INLINE uint32_t *emit(uint32_t *to, uint64_t bits, uint32_t offset) {
#ifdef VC_TERNARY_LOGIC
    const __m512i each = _mm512_mullo_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi32(PAIR));
    while (bits) {
        __m512i taps = _mm512_add_epi32(each, _mm512_set1_epi32((int)offset));
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)bits, taps));
        to += __builtin_popcount((unsigned)(bits & 0xFFFF));
        bits >>= 16;
        offset += 16 * PAIR;
    }
#else
    for (; bits; bits &= bits - 1) *to++ = offset + (uint32_t)__builtin_ctzll(bits) * PAIR;
#endif
    return to;
}

/* The levels that a list holds.  Lists 2a and 2a + 1: those positive and
 * negative in magnitude bit a; then all spikes, and those of +-1. */
INLINE uint64_t choose(const vc_layer *l, const uint64_t *line, int64_t words, int64_t list,
                       int64_t at, int64_t n) {
    if (list < 2 * l->value_planes) return load_bits(line + list * words, at, n);
    uint64_t one = load_bits(line, at, n) | load_bits(line + words, at, n), high = 0;
    for (int32_t b = 2; b < 2 * l->value_planes; b++) high |= load_bits(line + b * words, at, n);
    return list == 2 * l->value_planes ? one | high : one & ~high;
}

/* One list of a unit, or (`both`) the one behind it too, cut about where the
 * blocks of table rows end: every piece but the last is a multiple of sixteen. */
INLINE void build_list(const vc_layer *l, const outputs_plan *p, const uint64_t *line,
                       int64_t words, int64_t list, int both, int64_t y, int64_t t,
                       uint32_t *entries, int32_t *ends) {
    int64_t left = t * l->tile * l->view_stride_x - l->view_pad_x;
    int64_t low = left < 0 ? 0 : left, high = left + l->window;
    if (high > l->view_width) high = l->view_width;
    uint32_t *to = entries, *second = entries + p->capacity, *to2 = second;
    int32_t *ends2 = ends + p->row_blocks + 1;
    int64_t piece = 1, border = p->block_rows;
    ends[0] = 0;
    if (both) ends2[0] = 0;
#define CUT(row)                                                                       \
    for (; (row) >= border; border += p->block_rows, piece++) {                        \
        ends[piece] = (int32_t)((to - entries) & ~(int64_t)15);                        \
        if (both) ends2[piece] = (int32_t)((to2 - second) & ~(int64_t)15);             \
    }
    if (p->linear && both) { /* strings of whole words */
        const uint64_t *from = line + list * words;
        for (int64_t w = 0; w + 1 < words; w++) {
            CUT(w * 64)
            to = emit(to, from[w], (uint32_t)(w * 64) * PAIR);
            to2 = emit(to2, from[words + w], (uint32_t)(w * 64) * PAIR);
        }
    } else {
        int64_t first_above = y * l->view_stride_y - l->view_pad_y;
        for (int64_t c = 0; c < l->view_channels; c++)
            for (int64_t k = 0; k < l->kernel_height; k++) {
                int64_t above = first_above + k * l->dilation_y;
                if (above < 0 || above >= l->view_height) continue;
                int64_t line_at = (c * l->view_height + above) * l->view_width;
                int64_t row = (c * l->kernel_height + k) * l->window - left;
                for (int64_t x = low; x < high; x += 64) {
                    int64_t n = high - x < 64 ? high - x : 64;
                    uint32_t offset = (uint32_t)(row + x) * PAIR;
                    CUT(row + x)
                    to = emit(to, choose(l, line, words, list, line_at + x, n), offset);
                    if (both)
                        to2 = emit(to2, load_bits(line + (list + 1) * words, line_at + x, n),
                                   offset);
                }
            }
    }
#undef CUT
    for (; piece <= p->row_blocks; piece++) {
        ends[piece] = (int32_t)(to - entries);
        if (both) ends2[piece] = (int32_t)(to2 - second);
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

/* Everything that follows from the sums and events of one unit in one block of
 * lanes; they have so many bits. */
INLINE void finish(const vc_layer *l, const outputs_plan *p, int64_t unit, int32_t block,
                   const vec *sum, int sum_bits, const vec *all, const vec *xnor, int event_bits,
                   uint64_t *strings, int64_t *lane) {
    int64_t s = unit, at = 0, y = 0, x = 0;
    if (!p->flat) {
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
    uint64_t *string = strings + s % p->ring * l->steps * p->mask_words;
    int64_t columns = l->width - x < l->tile ? l->width - x : l->tile;
    int64_t first = block * p->each, count = p->each;
    if (count > l->channels - first) count = l->channels - first;
    for (int32_t i = 0; i < l->steps; i++, string += p->mask_words) {
        vec reached = reaches_lanes(sum, sum_bits, limits + i * l->sum_bits, l->sum_bits);
        if (p->flat) {
            memcpy(string + block * WORDS, &reached, VC_BYTES);
            continue;
        }
        uint64_t words[WORDS + 1];
        memcpy(words, &reached, VC_BYTES);
        words[WORDS] = 0;
        for (int64_t o = 0; o < count; o++)
            or_bits(string, ((first + o) * l->height + y) * l->width + x,
                    load_bits(words, o * l->tile, columns));
    }
    for (int what = 0; what < 2; what++) {
        int32_t *out = what ? l->neuron_events : l->sums;
        if (!out) continue;
        out += s * l->channels * l->height * l->width;
        unslice(what ? all : sum, what ? event_bits : sum_bits, !what, lane,
                (int32_t)(count * l->tile));
        for (int64_t o = 0; o < count; o++)
            for (int64_t c = 0; c < columns; c++) {
                int64_t value = lane[o * l->tile + c];
                if (!what && l->directions && l->directions[first + o] < 0) value = -value;
                out[((first + o) * l->height + y) * l->width + x + c] = (int32_t)value;
            }
    }
}

/* Bits 0, 2, 4, … of a word, side by side. */
INLINE uint64_t even_bits(uint64_t v) {
    v &= 0x5555555555555555u;
    v = (v | v >> 1) & 0x3333333333333333u;
    v = (v | v >> 2) & 0x0F0F0F0F0F0F0F0Fu;
    v = (v | v >> 4) & 0x00FF00FF00FF00FFu;
    v = (v | v >> 8) & 0x0000FFFF0000FFFFu;
    return (v | v >> 16) & 0x00000000FFFFFFFFu;
}

/* Pool one mask (channel, row, column) into another, cleared one. */
static void pool_mask(const vc_layer *l, const uint64_t *mask, uint64_t *pooled) {
    int lines = l->width <= 64 && (l->pool_stride_x == 1 || l->pool_stride_x == 2);
    for (int64_t o = 0; o < l->channels; o++) {
        int least = l->minimum[o];
        for (int64_t y = 0; y < l->output_height; y++) {
            int64_t from = (o * l->height + y * l->pool_stride_y) * l->width;
            int64_t to = (o * l->output_height + y) * l->output_width;
            if (lines) {
                uint64_t m = load_bits(mask, from, l->width);
                for (int64_t v = 1; v < l->pool_height; v++) {
                    uint64_t line = load_bits(mask, from + v * l->width, l->width);
                    m = least ? m & line : m | line;
                }
                uint64_t wide = m;
                for (int64_t u = 1; u < l->pool_width; u++)
                    wide = least ? wide & m >> u : wide | m >> u;
                if (l->pool_stride_x == 2) wide = even_bits(wide);
                or_bits(pooled, to, wide & low_bits(l->output_width));
                continue;
            }
            for (int64_t x = 0; x < l->output_width; x++) {
                int some = 0, every = 1;
                for (int64_t v = 0; v < l->pool_height; v++)
                    for (int64_t u = 0; u < l->pool_width; u++) {
                        int bit = (int)load_bits(
                            mask, from + v * l->width + x * l->pool_stride_x + u, 1);
                        some |= bit;
                        every &= bit;
                    }
                or_bits(pooled, to + x, (uint64_t)(least ? every : some));
            }
        }
    }
}

/* Masks of one sample to the lines of the next layer. */
static void fire_sample(const vc_layer *l, const outputs_plan *p, const uint64_t *string,
                        uint64_t *pooled, uint64_t *next) {
    int64_t outputs = output_count(l), words = line_words(outputs), each = p->mask_words;
    if (l->pool_height) {
        memset(pooled, 0, (size_t)(l->steps * words * 8));
        for (int32_t i = 0; i < l->steps; i++)
            pool_mask(l, string + i * each, pooled + i * words);
        string = pooled;
        each = words;
    }
    int32_t planes = l->next_planes;
    for (int64_t w = 0; w < words; w++) {
        uint64_t valid = low_bits(outputs - w * 64 < 0 ? 0 : outputs - w * 64);
        if (l->binary || l->top == 1) {
            next[w] = string[(l->steps - 1) * each + w] & valid;
            next[words + w] = ~string[w] & valid;
            continue;
        }
        for (int32_t b = 0; b < 2 * planes; b++) next[b * words + w] = 0;
        for (int32_t i = 0; i < l->top; i++) {
            uint64_t up = string[(l->top + i) * each + w] & valid, down = ~string[i * each + w] & valid;
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
}

/* What a group of units shares. */
typedef struct {
    const vc_layer *l;
    const outputs_plan *p;
    uint32_t *lists;
    int32_t *ends;
    vec *counters, *sums, *events;
    uint64_t *strings;
    int64_t *lane;
} group;

/* Pieces of a list, and of the pair of lists of a magnitude bit. */
INLINE const uint32_t *list_piece(const group *g, int64_t u, int64_t list, int64_t from,
                                  int64_t until, int32_t *n) {
    int64_t number = u * g->p->lists + list;
    const int32_t *ends = g->ends + number * (g->p->row_blocks + 1);
    *n = ends[until] - ends[from];
    return g->lists + number * g->p->capacity + ends[from];
}

INLINE signed_list pair_piece(const group *g, int64_t u, int64_t a, int64_t from, int64_t until) {
    signed_list list;
    list.plus = list_piece(g, u, 2 * a, from, until, &list.plus_n);
    list.minus = list_piece(g, u, 2 * a + 1, from, until, &list.minus_n);
    return list;
}

/* All units of a group in one block of lanes; every magnitude is one. */
static void group_of_units(const group *g, int64_t first, int64_t n, int32_t block) {
    const vc_layer *l = g->l;
    const outputs_plan *p = g->p;
    const char *base = l->table + block * (p->rows + 1) * PAIR;
    int64_t total = 0, step = 1;
    for (int64_t u = 0; u < 2 * n; u++) total += g->ends[u * (p->row_blocks + 1) + p->row_blocks];
    /* blocks of rows that give a unit enough to be worth fetching its counters */
    if (p->row_blocks > 1) step = 1 + ENOUGH * n * p->row_blocks / (total + 1);
    for (int64_t k = 0; k < p->row_blocks; k += step)
        for (int64_t u = 0; u < n; u++) {
            vec sum[VC_MAX_BITS], all[VC_MAX_BITS];
            vec *counter = g->counters + u * COUNTER_VECTORS * l->counter_bits;
            const int32_t *ends = g->ends + u * 2 * (p->row_blocks + 1) + p->row_blocks;
            int bits = bit_length(ends[0] + ends[p->row_blocks + 1]); /* a counter never exceeds it */
            int64_t until = k + step < p->row_blocks ? k + step : p->row_blocks;
            if (bits > l->counter_bits) bits = l->counter_bits;
            if (bits < 8) bits = 8;
            if (k == 0) clear(counter, COUNTER_VECTORS * bits);
            signed_list list = pair_piece(g, u, 0, k, until);
            add_pairs(base, &list, counter, bits);
            if (until < p->row_blocks) continue;
            int sum_bits = bits + 1 < l->sum_bits ? bits + 1 : l->sum_bits;
            int event_bits = bits < l->event_bits ? bits : l->event_bits;
            fold_pairs(counter, bits);
            combine(counter, counter + bits, bits, sum, sum_bits, all, event_bits);
            finish(l, p, first + u, block, sum, sum_bits, all, all, event_bits, g->strings,
                   g->lane);
        }
}

/* The same for levels or weights with magnitudes. */
static void group_of_planes(const group *g, int64_t first, int64_t n, int32_t block) {
    const vc_layer *l = g->l;
    const outputs_plan *p = g->p;
    int32_t bits = l->counter_bits, event_bits = l->event_bits, planes = l->value_planes, many;
    int64_t part = (p->rows + 1) * PAIR;
    const char *base = l->table + block * (l->weight_planes + 1) * part;
    const char *pairs = base + l->weight_planes * part;
    clear(g->sums, (int)n * l->sum_bits);
    clear(g->events, (int)n * 2 * event_bits);
    for (int32_t b = 0; b < l->weight_planes; b++)
        for (int32_t a = 0; a < planes; a++)
            for (int64_t k = 0; k < p->row_blocks; k++)
                for (int64_t u = 0; u < n; u++) {
                    vec *counter = g->counters + u * COUNTER_VECTORS * bits;
                    if (k == 0) clear(counter, COUNTER_VECTORS * bits);
                    signed_list list = pair_piece(g, u, a, k, k + 1);
                    add_pairs(base + b * part, &list, counter, bits);
                    if (k + 1 < p->row_blocks) continue;
                    vec *sum = g->sums + u * l->sum_bits;
                    fold_pairs(counter, bits);
                    accumulate(sum, l->sum_bits, counter, bits, a + b, 0);
                    accumulate(sum, l->sum_bits, counter + bits, bits, a + b, 1);
                }
    int bitplane = l->spike_planes > 1; /* a set bit is a spike, and none is negative */
    for (int64_t k = 0; k < p->row_blocks; k++)
        for (int64_t u = 0; u < n; u++) {
            vec *event = g->events + u * 2 * event_bits;
            for (int32_t b = 0; b < l->spike_planes; b++) {
                const uint32_t *any = list_piece(g, u, bitplane ? 2 * b : 2 * planes, k, k + 1, &many);
                add_plane(pairs, any, many, event, event_bits);
            }
            const uint32_t *one = list_piece(g, u, bitplane ? 0 : 2 * planes + 1, k, k + 1, &many);
            add_plane(pairs + VC_BYTES, one, many, event + event_bits, event_bits);
        }
    for (int64_t u = 0; u < n; u++) {
        vec *event = g->events + u * 2 * event_bits;
        finish(l, p, first + u, block, g->sums + u * l->sum_bits, l->sum_bits, event,
               event + event_bits, event_bits, g->strings, g->lane);
    }
}

static void run_outputs(const vc_layer *l, const uint64_t *lines, uint64_t *next, int32_t samples,
                        char *scratch) {
    const outputs_plan plan = plan_outputs(l, samples), *p = &plan;
    group g = {.l = l, .p = p};
    g.counters = (vec *)scratch;
    g.sums = g.counters + (int64_t)p->group * COUNTER_VECTORS * l->counter_bits;
    g.events = g.sums + (int64_t)p->group * l->sum_bits;
    g.lane = (int64_t *)(g.events + (int64_t)p->group * 2 * l->event_bits);
    g.strings = (uint64_t *)(g.lane + LANES);
    uint64_t *pooled = g.strings + p->ring * l->steps * p->mask_words;
    g.lists = (uint32_t *)(pooled + l->steps * line_words(output_count(l)));
    g.ends = (int32_t *)(g.lists + p->group * p->lists * p->capacity);
    int64_t stride = line_stride(l), next_stride = 2 * l->next_planes * line_words(output_count(l));
    int64_t words = line_words(input_count(l));
    memset(l->xnor, 0, (size_t)(samples * l->slices) * 8);
    memset(l->active, 0, (size_t)(samples * l->slices) * 8);
    if (!l->fused) memset(l->graded, 0, (size_t)(samples * l->slices) * 8);
    for (int64_t first = 0; first < p->total; first += p->group) {
        int64_t n = p->total - first < p->group ? p->total - first : p->group;
        for (int64_t u = 0; u < n; u++) {
            int64_t s = (first + u) / p->units, at = (first + u) % p->units;
            if (at == 0 && !p->flat)
                memset(g.strings + s % p->ring * l->steps * p->mask_words, 0,
                       (size_t)(l->steps * p->mask_words * 8));
            for (int64_t a = 0; a < p->lists; a += 2) {
                uint32_t *list = g.lists + (u * p->lists + a) * p->capacity;
                int32_t *ends = g.ends + (u * p->lists + a) * (p->row_blocks + 1);
                int64_t y = p->flat ? 0 : at / l->tiles, t = p->flat ? 0 : at % l->tiles;
                const uint64_t *line = lines + s * stride;
                if (a < 2 * l->value_planes) {
                    build_list(l, p, line, words, a, 1, y, t, list, ends);
                    continue;
                }
                build_list(l, p, line, words, a, 0, y, t, list, ends);
                build_list(l, p, line, words, a + 1, 0, y, t, list + p->capacity,
                           ends + p->row_blocks + 1);
            }
        }
        for (int32_t block = 0; block < l->blocks; block++)
            if (l->fused) group_of_units(&g, first, n, block);
            else group_of_planes(&g, first, n, block);
        for (int64_t u = 0; u < n && l->steps; u++) {
            int64_t s = (first + u) / p->units;
            if ((first + u) % p->units == p->units - 1)
                fire_sample(l, p, g.strings + s % p->ring * l->steps * p->mask_words, pooled,
                            next + s * next_stride);
        }
    }
}
