#include "recording_deflate.h"

#include <string.h>

enum { LITERALS = 256, LENGTHS = 286, DISTANCES = 30, CODES = 19, ORDERS = 15, END = 256 };
enum { LEAST_MATCH = 4, MOST_MATCH = 258, WINDOW = 1 << 15 };
enum { MATCH_BITS = 20, SAMPLED = 4096 }; /* about what a match costs; bytes that tell of all */

static const uint16_t LENGTH_BASE[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t LENGTH_EXTRA[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint8_t CODE_ORDER[CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

/* Little end first, whatever the machine. */
static inline uint64_t little(uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

/* --- bits, the lowest first */

typedef struct {
    uint8_t *out;
    uint64_t held;
    int32_t count;
} bits;

static inline void flush(bits *b) {
    uint64_t word = little(b->held);
    memcpy(b->out, &word, 8);
    b->out += b->count >> 3;
    b->held >>= b->count & ~7;
    b->count &= 7;
}

/* At most 56 bits between two calls of flush. */
static inline void put(bits *b, uint64_t value, int32_t count) {
    b->held |= value << b->count;
    b->count += count;
}

static inline void put_code(bits *b, uint32_t code) { put(b, code & 0xFFFF, (int32_t)(code >> 16)); }

static inline uint64_t value_at(const uint8_t *from, int32_t width) {
    uint64_t word = 0;
    memcpy(&word, from, (size_t)width);
    return little(word);
}

/* --- codes of Huffman, at most so many bits long */

typedef struct {
    uint32_t code[LENGTHS];        /* bits << 16 | code */
    uint8_t bits[LENGTHS];
} codes;

/* Symbols that occur, the rarest first; how many. */
static int32_t by_count(const uint32_t *count, int32_t symbols, uint16_t *sorted) {
    int32_t used = 0;
    for (int32_t s = 0; s < symbols; s++)
        if (count[s]) sorted[used++] = (uint16_t)s;
    for (int32_t gap = 132; gap; gap = gap > 5 ? gap * 5 / 11 : gap > 1 ? 1 : 0) /* Shell's sort */
        for (int32_t i = gap; i < used; i++) {
            uint16_t s = sorted[i];
            int32_t k = i;
            for (; k >= gap && count[sorted[k - gap]] > count[s]; k -= gap) sorted[k] = sorted[k - gap];
            sorted[k] = s;
        }
    return used;
}

/* Depths of the leaves of Huffman's tree over weights that ascend (Moffat and Katajainen 1995). */
static void tree_depths(uint32_t *w, int32_t n) {
    int32_t leaf = 0, root = 0;
    for (int32_t next = 0; next < n - 1; next++) {
        uint32_t sum = 0;
        for (int k = 0; k < 2; k++) {
            if (leaf >= n || (root < next && w[root] < w[leaf])) {
                sum += w[root];
                w[root++] = (uint32_t)next;
            } else {
                sum += w[leaf++];
            }
        }
        w[next] = sum;
    }
    w[n - 2] = 0;
    for (int32_t next = n - 3; next >= 0; next--) w[next] = w[w[next]] + 1;
    int32_t room = 1, used = 0, depth = 0, at = n - 1;
    root = n - 2;
    while (room > 0) {
        while (root >= 0 && (int32_t)w[root] == depth) used++, root--;
        while (room > used) w[at--] = (uint32_t)depth, room--;
        room = 2 * used;
        depth++;
        used = 0;
    }
}

static void make_codes(const uint32_t *count, int32_t symbols, int32_t most, codes *c) {
    uint16_t sorted[LENGTHS];
    uint32_t depth[LENGTHS];
    int32_t of[33] = {0}, used = by_count(count, symbols, sorted);
    memset(c->bits, 0, sizeof c->bits);
    memset(c->code, 0, sizeof c->code);
    for (int32_t i = 0; i < used; i++) depth[i] = count[sorted[i]];
    if (used > 1) tree_depths(depth, used);
    else if (used == 1) depth[0] = 1;
    for (int32_t i = 0; i < used; i++) of[depth[i] < 32 ? depth[i] : 32]++;
    /* too deep ones move up, others down to make room: the sum of 2^-depth must stay 1 */
    for (int32_t d = most + 1; d <= 32; d++) of[most] += of[d], of[d] = 0;
    int64_t total = 0;
    for (int32_t d = 1; d <= most; d++) total += (int64_t)of[d] << (most - d);
    for (; total > (int64_t)1 << most; total--) {
        of[most]--;
        int32_t d = most - 1;
        while (of[d] == 0) d--;
        of[d]--;
        of[d + 1] += 2;
    }
    uint16_t first[ORDERS + 2] = {0};
    int32_t at = used;
    for (int32_t d = 1; d <= most; d++) {
        first[d + 1] = (uint16_t)((first[d] + of[d]) << 1);
        for (int32_t k = 0; k < of[d]; k++) c->bits[sorted[--at]] = (uint8_t)d;
    }
    for (int32_t s = 0; s < symbols; s++) {
        int32_t n = c->bits[s];
        if (!n) continue;
        uint32_t code = first[n]++, turned = 0;
        for (int32_t k = 0; k < n; k++) turned |= (code >> k & 1) << (n - 1 - k);
        c->code[s] = (uint32_t)n << 16 | turned;
    }
}

/* --- one block of deflate */

static int32_t length_symbol(int32_t length) {
    if (length == MOST_MATCH) return 28;
    if (length < 11) return length - 3;
    int32_t top = 31 - __builtin_clz((uint32_t)(length - 3));
    return 4 * (top - 1) + (((length - 3) >> (top - 2)) & 3);
}

static int32_t distance_symbol(int32_t distance) {
    if (distance < 3) return distance - 1;
    int32_t top = 31 - __builtin_clz((uint32_t)(distance - 1));
    return 2 * top + (((distance - 1) >> (top - 1)) & 1);
}

/* Lengths of codes as deflate writes them: runs of zeros and of others are short. */
static int32_t squeeze(const uint8_t *lengths, int32_t n, uint8_t *symbol, uint8_t *extra) {
    int32_t made = 0;
    for (int32_t i = 0; i < n;) {
        int32_t run = 1;
        while (i + run < n && lengths[i + run] == lengths[i]) run++;
        i += run;
        uint8_t value = lengths[i - 1];
        if (value == 0) {
            for (; run >= 3; made++) {
                int32_t part = run > 138 ? 138 : run;
                symbol[made] = part > 10 ? 18 : 17;
                extra[made] = (uint8_t)(part - (part > 10 ? 11 : 3));
                run -= part;
            }
        } else {
            symbol[made++] = value;
            for (run--; run >= 3; made++) {
                int32_t part = run > 6 ? 6 : run;
                symbol[made] = 16;
                extra[made] = (uint8_t)(part - 3);
                run -= part;
            }
        }
        for (; run > 0; run--) symbol[made++] = value;
    }
    return made;
}

static void put_header(bits *b, const codes *lengths, const codes *distances, int last) {
    static const uint8_t EXTRA[CODES] = {[16] = 2, [17] = 3, [18] = 7};
    uint8_t all[LENGTHS + DISTANCES], symbol[LENGTHS + DISTANCES], extra[LENGTHS + DISTANCES];
    uint32_t count[CODES] = {0};
    codes c;
    int32_t literals = LENGTHS, ways = DISTANCES, orders = CODES;
    while (literals > 257 && !lengths->bits[literals - 1]) literals--;
    while (ways > 1 && !distances->bits[ways - 1]) ways--;
    memcpy(all, lengths->bits, (size_t)literals);
    memcpy(all + literals, distances->bits, (size_t)ways);
    int32_t made = squeeze(all, literals + ways, symbol, extra);
    for (int32_t i = 0; i < made; i++) count[symbol[i]]++;
    make_codes(count, CODES, 7, &c);
    while (orders > 4 && !c.bits[CODE_ORDER[orders - 1]]) orders--;
    put(b, (uint64_t)(last | 2 << 1 | (literals - 257) << 3 | (ways - 1) << 8 | (orders - 4) << 13), 17);
    flush(b);
    for (int32_t i = 0; i < orders; i++) {
        put(b, c.bits[CODE_ORDER[i]], 3);
        flush(b);
    }
    for (int32_t i = 0; i < made; i++) {
        put_code(b, c.code[symbol[i]]);
        put(b, EXTRA[symbol[i]] ? extra[i] : 0, EXTRA[symbol[i]]);
        flush(b);
    }
}

/* `step`: 1, or 0 for a constant, of which only the first bytes are there. */
static void put_block(bits *b, const uint8_t *plane, int64_t step, const df_piece *pieces,
                      int64_t number, int last) {
    uint32_t literal[LENGTHS] = {0}, distance[DISTANCES] = {0}, more[3][LITERALS] = {{0}};
    const uint8_t *at = plane;
    codes l, d;
    for (int64_t i = 0; i < number; i++) {
        uint32_t k = 0;
        for (; k + 4 <= pieces[i].literals; k += 4) { /* several, since equal ones would wait */
            literal[at[k]]++;
            for (int t = 0; t < 3; t++) more[t][at[k + 1 + t]]++;
        }
        for (; k < pieces[i].literals; k++) literal[at[k]]++;
        at += step * pieces[i].literals;
        if (!pieces[i].length) continue;
        literal[257 + length_symbol(pieces[i].length)]++;
        distance[distance_symbol(pieces[i].distance)]++;
        at += step * pieces[i].length;
    }
    for (int32_t k = 0; k < LITERALS; k++) literal[k] += more[0][k] + more[1][k] + more[2][k];
    literal[END]++;
    make_codes(literal, LENGTHS, ORDERS, &l);
    make_codes(distance, DISTANCES, ORDERS, &d);
    put_header(b, &l, &d, last);
    at = plane;
    for (int64_t i = 0; i < number; i++) {
        uint32_t k = 0, n = pieces[i].literals;
        for (; k + 3 <= n; k += 3) {
            put_code(b, l.code[at[k]]);
            put_code(b, l.code[at[k + 1]]);
            put_code(b, l.code[at[k + 2]]);
            flush(b);
        }
        for (; k < n; k++) put_code(b, l.code[at[k]]);
        flush(b);
        at += step * n;
        int32_t length = pieces[i].length, ahead = pieces[i].distance;
        if (!length) continue;
        at += step * length;
        int32_t s = length_symbol(length), t = distance_symbol(ahead);
        put_code(b, l.code[257 + s]);
        put(b, (uint64_t)(length - LENGTH_BASE[s]), LENGTH_EXTRA[s]);
        put_code(b, d.code[t]);
        int32_t extra = t < 4 ? 0 : t / 2 - 1, base = t < 4 ? t : (2 + (t & 1)) << extra;
        put(b, (uint64_t)(ahead - 1 - base), extra);
        flush(b);
    }
    put_code(b, l.code[END]);
    flush(b);
}

/* --- matches */

/* Pieces of a constant: one literal, the rest repeats it. */
static int64_t repeat(int64_t n, df_piece *pieces) {
    int64_t made = 0, left = n - 1;
    uint32_t literals = 1;
    for (; left >= 3; made++) {
        int64_t length = left > MOST_MATCH ? MOST_MATCH : left;
        df_piece p = {literals, (uint16_t)length, 1};
        pieces[made] = p;
        literals = 0;
        left -= length;
    }
    df_piece rest = {literals + (uint32_t)left, 0, 0};
    pieces[made++] = rest;
    return made;
}

/* Bits of a literal, in 1024ths, as Huffman's code would have them. */
static int64_t literal_bits(const uint8_t *plane, int64_t n) {
    uint32_t count[LITERALS] = {0};
    int64_t seen = 0, bits = 0;
    codes c;
    for (int64_t i = 0; i < n; i += 1 + n / SAMPLED, seen++) count[plane[i]]++;
    make_codes(count, LITERALS, ORDERS, &c);
    for (int32_t k = 0; k < LITERALS; k++) bits += (int64_t)count[k] * c.bits[k];
    return 1024 * bits / seen;
}

static int64_t find_matches(const uint8_t *plane, int64_t n, df_scratch *scratch) {
    int64_t bits = literal_bits(plane, n), pays = 1024 * MATCH_BITS / bits;
    int64_t least = pays < LEAST_MATCH ? LEAST_MATCH : pays;
    int64_t made = 0, from = 0, at = 1, end = n - least - 8;
    int32_t hashed = least < 8 ? 64 - 8 * (int32_t)least : 0;
    int64_t last = least < 8 ? 0 : least - 8; /* the word that ends a match just long enough */
    memset(scratch->heads, 0, sizeof scratch->heads);
    while (at < end) {
        const uint8_t *a = plane + at;
        uint64_t word = value_at(a, 8);
        uint32_t *head = &scratch->heads[(word << hashed) * 0x9E3779B185EBCA87u >> (64 - DF_HASH_BITS)];
        const uint8_t *b = word == value_at(a - 1, 8) ? a - 1 : plane + *head;
        *head = (uint32_t)at;
        uint64_t differ = (word ^ value_at(b, 8)) | (value_at(a + last, 8) ^ value_at(b + last, 8));
        if (differ << hashed || a - b > WINDOW) {
            at += 1 + ((at - from) >> 7);
            continue;
        }
        int64_t most = n - at < MOST_MATCH ? n - at : MOST_MATCH, length = 0;
        while (length < most && !(differ = value_at(a + length, 8) ^ value_at(b + length, 8))) length += 8;
        if (differ) length += __builtin_ctzll(differ) >> 3;
        if (length > most) length = most;
        df_piece p = {(uint32_t)(at - from), (uint16_t)length, (uint16_t)(a - b)};
        scratch->pieces[made++] = p;
        at += length;
        from = at;
    }
    df_piece rest = {(uint32_t)(n - from), 0, 0};
    scratch->pieces[made++] = rest;
    return made;
}

/* --- checksums */

enum { PRIME = 65521, TAKEN = 1024 };

typedef struct {
    uint64_t a, b;
} adler;

static void add_constant(adler *sum, uint64_t value, uint64_t n) {
    sum->b = (sum->b + n % PRIME * sum->a + n * (n + 1) / 2 % PRIME * value) % PRIME;
    sum->a = (sum->a + n % PRIME * value) % PRIME;
}

static void add_plane(adler *sum, const uint8_t *plane, int64_t n) {
    for (int64_t at = 0; at < n; at += TAKEN) {
        int64_t part = n - at < TAKEN ? n - at : TAKEN;
        uint32_t plain = 0, weighed = 0;
        for (int64_t i = 0; i < part; i++) {
            plain += plane[at + i];
            weighed += plane[at + i] * (uint32_t)(part - i);
        }
        sum->b = (sum->b + (uint64_t)part * sum->a + weighed) % PRIME;
        sum->a = (sum->a + plain) % PRIME;
    }
}

static uint32_t fletcher32(const uint8_t *data, int64_t n) {
    uint32_t one = 0, two = 0;
    for (int64_t at = 0; at < n;) {
        for (int64_t stop = n - at > 720 ? at + 720 : n; at < stop; at += 2) {
            one += (uint32_t)(data[at] << 8) | (at + 1 < n ? data[at + 1] : 0);
            two += one;
        }
        one = (one & 0xFFFF) + (one >> 16);
        two = (two & 0xFFFF) + (two >> 16);
    }
    one = (one & 0xFFFF) + (one >> 16);
    two = (two & 0xFFFF) + (two >> 16);
    return two << 16 | one;
}

/* --- the column */

/* Side by side into `column`; the bits in which they differ from the first one. */
#define PACK(width)                                                        \
    case width:                                                            \
        for (int64_t i = 0; i < n; i++) {                                  \
            memcpy(column + i * width, values + i * stride, width);        \
            differ |= first ^ value_at(values + i * stride, width);        \
        }                                                                  \
        break;

static uint64_t pack(const uint8_t *values, int64_t stride, int32_t width, int64_t n, uint8_t *column) {
    uint64_t first = n ? value_at(values, width) : 0, differ = 0;
    switch (width) {
        PACK(1)
        PACK(2)
        PACK(4)
        PACK(8)
    }
    return differ;
}

#define CUT(width)                                                         \
    case width:                                                            \
        for (int64_t i = 0; i < n; i++) plane[i] = column[i * width];      \
        break;

static void cut(const uint8_t *column, int32_t width, int64_t n, uint8_t *plane) {
    switch (width) {
        CUT(1)
        CUT(2)
        CUT(4)
        CUT(8)
    }
}

int64_t df_most_pieces(int64_t rows) {
    int64_t matches = rows / LEAST_MATCH, constants = DF_MOST_WIDTH * rows / MOST_MATCH;
    return (matches > constants ? matches : constants) + 4;
}

int64_t df_bound(int64_t rows, int32_t width) { return width * (2 * rows + 512) + 64; }

int64_t df_block(const uint8_t *values, int64_t stride, int32_t width, int64_t filled,
                 int64_t rows, df_scratch *scratch, uint8_t *out) {
    bits b = {out, 0, 0};
    adler sum = {1, 0};
    uint64_t first = filled ? value_at(values, width) : 0;
    uint64_t differ = pack(values, stride, width, filled, scratch->column);
    if (filled < rows) differ |= first;
    put(&b, 0x0178, 16);           /* deflate with a window of 32 KiB, fast */
    for (int32_t k = 0; k < width;) {
        int32_t next = k + 1;
        uint8_t value = (uint8_t)(first >> (8 * k));
        if (differ >> (8 * k) & 255) {
            cut(scratch->column + k, width, filled, scratch->plane);
            memset(scratch->plane + filled, 0, (size_t)(rows - filled + 8));
            add_plane(&sum, scratch->plane, rows);
            int64_t made = find_matches(scratch->plane, rows, scratch);
            put_block(&b, scratch->plane, 1, scratch->pieces, made, next == width);
        } else {
            while (next < width && !(differ >> (8 * next) & 255) &&
                   (uint8_t)(first >> (8 * next)) == value)
                next++;
            int64_t n = (next - k) * rows;
            add_constant(&sum, value, (uint64_t)n);
            memset(scratch->plane, value, 4); /* the literals there may be */
            put_block(&b, scratch->plane, 0, scratch->pieces, repeat(n, scratch->pieces), next == width);
        }
        k = next;
    }
    put(&b, 0, 7);
    flush(&b);
    uint32_t check = (uint32_t)(sum.b << 16 | sum.a);
    for (int32_t k = 3; k >= 0; k--) *b.out++ = (uint8_t)(check >> (8 * k));
    check = fletcher32(out, b.out - out);
    for (int32_t k = 0; k < 4; k++) *b.out++ = (uint8_t)(check >> (8 * k));
    return b.out - out;
}
