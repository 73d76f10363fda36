/* Vectors of one width, bit-sliced arithmetic on them, and bits to bytes and
 * back; part of vcount_template.h. */
typedef uint64_t vec __attribute__((vector_size(VC_BYTES), aligned(VC_BYTES), may_alias));
#define WORDS (VC_BYTES / 8)
#define LANES (VC_BYTES * 8)
#define INLINE static inline __attribute__((always_inline))

#if defined(VC_TERNARY_LOGIC) && VC_BYTES == 64
#include <immintrin.h>
INLINE vec xor3(vec a, vec b, vec c) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}
INLINE vec majority(vec a, vec b, vec c) {
    return (vec)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xE8);
}
#elif defined(VC_TERNARY_LOGIC)
#include <immintrin.h>
INLINE vec xor3(vec a, vec b, vec c) {
    return (vec)_mm256_ternarylogic_epi64((__m256i)a, (__m256i)b, (__m256i)c, 0x96);
}
INLINE vec majority(vec a, vec b, vec c) {
    return (vec)_mm256_ternarylogic_epi64((__m256i)a, (__m256i)b, (__m256i)c, 0xE8);
}
#else
INLINE vec xor3(vec a, vec b, vec c) { return a ^ b ^ c; }
INLINE vec majority(vec a, vec b, vec c) { return (a & b) | ((a ^ b) & c); }
#endif

#define ROWS_NAME add_rows
#define ROWS_FEW add_few
#define ROWS_VEC vec
#define ROWS_XOR3 xor3
#define ROWS_MAJORITY majority
#include "vcount_rows.h"

/* Rows for the two counters of a number: entries of `first` are the vector of a row
 * that agrees in sign with the list, which counts into P; the other vector of the
 * same row counts into N.  `second` is empty. */
typedef struct {
    const uint32_t *first, *second;
    int32_t first_n, second_n;
} pair_list;

#ifdef VC_HALVES
/* The two planes of a row side by side are one vector of twice the width.  Here
 * `first` lists the rows that agree in sign, `second` those that do not, all as
 * their first vector; their counters are folded into P and N at the end. */
typedef uint64_t wide __attribute__((vector_size(2 * VC_BYTES), aligned(2 * VC_BYTES), may_alias));
INLINE wide wide_xor3(wide a, wide b, wide c) {
    return (wide)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}
INLINE wide wide_majority(wide a, wide b, wide c) {
    return (wide)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xE8);
}
#define ROWS_NAME add_wide_rows
#define ROWS_VEC wide
#define ROWS_XOR3 wide_xor3
#define ROWS_MAJORITY wide_majority
#include "vcount_rows.h"

static void add_wide(const char *base, const uint32_t *taps, int32_t n, wide *counter, int bits) {
    add_wide_rows(base, taps, n, 0, counter, bits);
}

INLINE void add_pairs(const char *base, const pair_list *list, vec *counter, int bits) {
    if (list->first_n) add_wide(base, list->first, list->first_n, (wide *)counter, bits);
    if (list->second_n)
        add_wide(base, list->second, list->second_n, (wide *)counter + bits, bits);
}

/* Counters to P, then N. */
INLINE void fold_pairs(vec *counter, int bits) {
    vec negative[VC_MAX_BITS];
    wide carry = {0};
    for (int i = 0; i < bits; i++) {
        wide a = ((const wide *)counter)[i], b = ((const wide *)counter)[bits + i], low;
        b = __builtin_shuffle(b, (wide){4, 5, 6, 7, 0, 1, 2, 3});
        low = wide_xor3(a, b, carry);
        carry = wide_majority(a, b, carry);
        memcpy(&negative[i], (const char *)&low + VC_BYTES, VC_BYTES);
        memcpy(&counter[i], &low, VC_BYTES); /* behind what is still to be read */
    }
    for (int i = 0; i < bits; i++) counter[bits + i] = negative[i];
}
#define HALVES 1
#define FEW (-1)
#define COUNTER_VECTORS 4 /* vectors of a pair of counters, for each bit */
#else
/* P and N one after the other, in pieces whose rows stay in the first cache
 * from one pass to the other. */
static void add_pairs(const char *base, const pair_list *list, vec *counter, int bits) {
    const int32_t piece = 8192 / VC_BYTES < 256 ? 8192 / VC_BYTES : 256;
    const uint32_t *taps = list->first;
    int32_t n = list->first_n;
    for (; n > piece; n -= piece, taps += piece) {
        add_rows(base, taps, piece, 0, counter, bits);
        add_rows(base, taps, piece, VC_BYTES, counter + bits, bits);
    }
    add_rows(base, taps, n, 0, counter, bits);
    add_rows(base, taps, n, VC_BYTES, counter + bits, bits);
}

INLINE void fold_pairs(vec *counter, int bits) {
    (void)counter;
    (void)bits;
}
#define HALVES 0
#define FEW 31 /* lists so short go without counters in memory */
#define COUNTER_VECTORS 2
#endif

static void add_plane(const char *base, const uint32_t *rows, int32_t n, vec *counter, int bits) {
    add_rows(base, rows, n, 0, counter, bits);
}

INLINE void ripple(vec *counter, int from, int bits, vec carry) {
    for (int i = from; i < bits; i++) {
        vec next = counter[i] & carry;
        counter[i] ^= carry;
        carry = next;
    }
}

static const vec zero_row = {0};

INLINE void clear(vec *counter, int bits) {
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

/* difference = p - n and total = p + n, of counters of `bits` bits */
INLINE void combine(const vec *p, const vec *n, int bits, vec *difference, int difference_bits,
                    vec *total, int total_bits) {
    vec carry = zero_row, borrow = zero_row;
    int shared = difference_bits < total_bits ? difference_bits : total_bits;
    if (bits < shared) shared = bits;
    for (int i = 0; i < shared; i++) {
        vec a = p[i], b = n[i];
        difference[i] = xor3(a, b, borrow);
        total[i] = xor3(a, b, carry);
        borrow = majority(~a, b, borrow);
        carry = majority(a, b, carry);
    }
    for (int i = shared; i < difference_bits; i++) {
        vec a = i < bits ? p[i] : zero_row, b = i < bits ? n[i] : zero_row;
        difference[i] = xor3(a, b, borrow);
        borrow = majority(~a, b, borrow);
    }
    for (int i = shared; i < total_bits; i++) {
        vec a = i < bits ? p[i] : zero_row, b = i < bits ? n[i] : zero_row;
        total[i] = xor3(a, b, carry);
        carry = majority(a, b, carry);
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

/* The same, each lane with its own t: bit-sliced, `bits` of them, sign bit
 * flipped.  The sum has `have` <= bits. */
INLINE vec reaches_lanes(const vec *sum, int have, const vec *t, int bits) {
    vec borrow = zero_row, sign = sum[have - 1];
    for (int i = 0; i < have - 1; i++) borrow = majority(~sum[i], t[i], borrow);
    for (int i = have - 1; i < bits - 1; i++) borrow = majority(~sign, t[i], borrow);
    return ~majority(sign, t[bits - 1], borrow);
}

INLINE int bit_length(int64_t n) { return n ? 64 - __builtin_clzll((unsigned long long)n) : 0; }

/* 64 x 64 bits in every word of the vectors: bit s of vector i becomes bit i of
 * vector s. */
static void transpose(vec a[64]) {
    uint64_t mask = 0x00000000FFFFFFFFu;
    for (int j = 32; j; j >>= 1, mask ^= mask << j)
        for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            vec t = ((a[k] >> j) ^ a[k | j]) & mask;
            a[k] ^= t << j;
            a[k | j] ^= t;
        }
}

/* Bit-sliced number (two's complement if is_signed) to one integer a lane. */
static void unslice(const vec *number, int bits, int is_signed, int64_t *out, int32_t lanes) {
    vec a[64];
    int64_t sign = is_signed ? (int64_t)1 << (bits - 1) : 0;
    for (int i = 0; i < 64; i++) a[i] = i < bits ? number[i] : zero_row;
    transpose(a);
    for (int32_t k = 0; k < lanes; k++)
        out[k] = (((const int64_t *)&a[k & 63])[k >> 6] ^ sign) - sign;
}

/* Eight bytes of 0 or 1 to eight bits, first byte lowest. */
INLINE uint64_t gather_bits(uint64_t bytes) { return (bytes * 0x0102040810204080u) >> 56; }

/* Eight bits to eight bytes of 0 or 1, lowest bit first. */
INLINE uint64_t spread_bits(uint64_t bits) {
    uint64_t one_each = ((bits & 255) * 0x0101010101010101u) & 0x8040201008040201u;
    return ((one_each + 0x7F7F7F7F7F7F7F7Fu) >> 7) & 0x0101010101010101u;
}

/* Signs of 64 levels of magnitude 0 or 1, as bits; and n <= 64 levels from such bits. */
#ifdef VC_TERNARY_LOGIC
INLINE void signs(const int16_t *values, uint64_t *positive, uint64_t *negative) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i a = _mm512_loadu_si512(values), b = _mm512_loadu_si512(values + 32);
    *positive = _mm512_cmpgt_epi16_mask(a, zero) |
                (uint64_t)_mm512_cmpgt_epi16_mask(b, zero) << 32;
    *negative = _mm512_cmplt_epi16_mask(a, zero) |
                (uint64_t)_mm512_cmplt_epi16_mask(b, zero) << 32;
}
INLINE void store_signs(int8_t *to, uint64_t positive, uint64_t negative, int64_t n) {
    __m512i levels = _mm512_mask_set1_epi8(_mm512_maskz_set1_epi8(positive, 1), negative, -1);
    _mm512_mask_storeu_epi8(to, n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0, levels);
}
#else
INLINE void signs(const int16_t *values, uint64_t *positive, uint64_t *negative) {
    uint8_t more[64], less[64];
    uint64_t bytes;
    for (int i = 0; i < 64; i++) more[i] = values[i] > 0;
    for (int i = 0; i < 64; i++) less[i] = values[i] < 0;
    *positive = *negative = 0;
    for (int k = 0; k < 8; k++) {
        memcpy(&bytes, more + 8 * k, 8);
        *positive |= gather_bits(bytes) << (8 * k);
        memcpy(&bytes, less + 8 * k, 8);
        *negative |= gather_bits(bytes) << (8 * k);
    }
}
INLINE void store_signs(int8_t *to, uint64_t positive, uint64_t negative, int64_t n) {
    for (int64_t i = 0; i < n; i += 8, positive >>= 8, negative >>= 8) {
        uint64_t bytes = spread_bits(positive) | spread_bits(negative) * 255;
        memcpy(to + i, &bytes, n - i < 8 ? (size_t)(n - i) : 8);
    }
}
#endif

INLINE uint64_t low_bits(int64_t n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

/* n <= 64 bits of a string, from bit `at`; the string ends with a spare word. */
INLINE uint64_t load_bits(const uint64_t *string, int64_t at, int64_t n) {
    const uint64_t *w = string + (at >> 6);
    int shift = (int)(at & 63);
    return (w[0] >> shift | w[1] << 1 << (63 - shift)) & low_bits(n);
}

/* Or n <= 64 bits into a string. */
INLINE void or_bits(uint64_t *string, int64_t at, uint64_t bits) {
    uint64_t *w = string + (at >> 6);
    int shift = (int)(at & 63);
    w[0] |= bits << shift;
    w[1] |= bits >> 1 >> (63 - shift);
}
