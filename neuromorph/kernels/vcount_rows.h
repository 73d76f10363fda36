/* add_rows for one type of vector; included with ROWS_NAME, ROWS_VEC, ROWS_XOR3
 * and ROWS_MAJORITY, part of vcount_template.h.
 *
 * Adds the rows at base + (tap ^ flip) into a bit-sliced counter of at least eight bits.
 * Sixteen rows go through a tree of full adders: the new rows are summed among
 * themselves first, the counters come last.  Eight counters stay in registers,
 * and the rest is touched once in 64 rows. */
#define ADD(high, low, a, b, c)                     \
    do {                                            \
        ROWS_VEC a_ = (a), b_ = (b), c_ = (c);      \
        (high) = ROWS_MAJORITY(a_, b_, c_);         \
        (low) = ROWS_XOR3(a_, b_, c_);              \
    } while (0)

/* Sixteen rows into counters of weight 1, 2, 4, 8; the carry weighs 16. */
#define TREE16(ROW, c0, c1, c2, c3, carry)                                                   \
    do {                                                                                     \
        ROWS_VEC a, b, c, d, e, f, g, h, q, r;                                               \
        ROWS_VEC t0, t1, t2, t3, t4, t5, t6, t7, w0, w1, w2, w3, y0, y1;                     \
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

/* carry into one counter; what it carries on */
#define STEP(counter, carry)                  \
    do {                                      \
        ROWS_VEC on_ = (counter) & (carry);   \
        (counter) ^= (carry);                 \
        (carry) = on_;                        \
    } while (0)

INLINE void ROWS_NAME(const char *base, const uint32_t *taps, int32_t n, uint32_t flip,
                      ROWS_VEC *counter, int bits) {
    static const ROWS_VEC zeros = {0};
    ROWS_VEC p0 = counter[0], p1 = counter[1], p2 = counter[2], p3 = counter[3];
    ROWS_VEC p4 = counter[4], p5 = counter[5], p6 = counter[6], p7 = counter[7];
    int32_t i = 0;
#define TAP(k) (*(const ROWS_VEC *)(base + (t[k] ^ flip)))
    for (; i + 64 <= n; i += 64) {
        const uint32_t *t = taps + i;
        ROWS_VEC s0, s1, u0, u1, carry;
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
        STEP(p6, carry);
        STEP(p7, carry);
        for (int b = 8; b < bits; b++) STEP(counter[b], carry);
    }
    for (; i + 16 <= n; i += 16) {
        const uint32_t *t = taps + i;
        ROWS_VEC carry;
        TREE16(TAP, p0, p1, p2, p3, carry);
        STEP(p4, carry);
        STEP(p5, carry);
        STEP(p6, carry);
        STEP(p7, carry);
        for (int b = 8; b < bits; b++) STEP(counter[b], carry);
    }
    for (; i < n; i += 4) {
        const uint32_t *t = taps + i;
        const ROWS_VEC *r1 = i + 1 < n ? (const ROWS_VEC *)(base + (t[1] ^ flip)) : &zeros;
        const ROWS_VEC *r2 = i + 2 < n ? (const ROWS_VEC *)(base + (t[2] ^ flip)) : &zeros;
        const ROWS_VEC *r3 = i + 3 < n ? (const ROWS_VEC *)(base + (t[3] ^ flip)) : &zeros;
        ROWS_VEC c0, c1, carry;
        ADD(c0, p0, p0, TAP(0), *r1);
        ADD(c1, p0, p0, *r2, *r3);
        ADD(carry, p1, p1, c0, c1);
        STEP(p2, carry);
        STEP(p3, carry);
        STEP(p4, carry);
        STEP(p5, carry);
        STEP(p6, carry);
        STEP(p7, carry);
        for (int b = 8; b < bits; b++) STEP(counter[b], carry);
    }
    counter[0] = p0; counter[1] = p1; counter[2] = p2; counter[3] = p3;
    counter[4] = p4; counter[5] = p5; counter[6] = p6; counter[7] = p7;
}

#ifdef ROWS_FEW
/* At most 31 rows, counted from zero: five bits. */
INLINE void ROWS_FEW(const char *base, const uint32_t *t, int32_t n, uint32_t flip,
                     ROWS_VEC *counter) {
    ROWS_VEC p0 = {0}, p1 = {0}, p2 = {0}, p3 = {0}, p4 = {0}, c0, c1, c2, c3;
    if (n & 16) {
        TREE16(TAP, p0, p1, p2, p3, p4);
        t += 16;
    }
    if (n & 8) {
        ADD(c0, p0, p0, TAP(0), TAP(1));
        ADD(c1, p0, p0, TAP(2), TAP(3));
        ADD(c2, p0, p0, TAP(4), TAP(5));
        ADD(c3, p0, p0, TAP(6), TAP(7));
        ADD(c0, p1, p1, c0, c1);
        ADD(c1, p1, p1, c2, c3);
        ADD(c0, p2, p2, c0, c1);
        STEP(p3, c0);
        STEP(p4, c0);
        t += 8;
    }
    for (n &= 7; n > 0; n -= 2, t += 2) {
        static const ROWS_VEC zeros = {0};
        ADD(c0, p0, p0, TAP(0), n > 1 ? TAP(1) : zeros);
        STEP(p1, c0);
        STEP(p2, c0);
        STEP(p3, c0);
        STEP(p4, c0);
    }
    counter[0] = p0; counter[1] = p1; counter[2] = p2; counter[3] = p3; counter[4] = p4;
}
#undef ROWS_FEW
#endif

#undef TAP
#undef STEP
#undef TREE16
#undef ADD
#undef ROWS_NAME
#undef ROWS_VEC
#undef ROWS_XOR3
#undef ROWS_MAJORITY
