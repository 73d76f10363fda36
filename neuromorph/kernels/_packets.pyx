"""Spikes added up over the channels of an image, for ``packets.py``.

The caller owns all arrays; they are typed here and their sizes compared.  Levels
are read once, without the GIL, at about the speed of memory.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

ctypedef fused level_t:
    int8_t
    int16_t

ctypedef fused sum_t:
    uint8_t
    uint16_t
    uint32_t

cdef enum:
    ABREAST = 256  # neurons counted side by side, at most, if images are smaller


cdef inline void _count(const level_t *levels, int64_t neurons, int32_t most, uint8_t *few) noexcept nogil:
    """Spikes that levels stand for: one if not zero, or (``most`` above 1) one for each bit."""
    cdef int64_t n
    cdef uint16_t bits
    if most == 1:
        for n in range(neurons):
            few[n] += levels[n] != 0
        return
    for n in range(neurons):
        bits = <uint16_t>levels[n] & <uint16_t>((1 << most) - 1)
        bits = bits - (bits >> 1 & 0x5555)
        bits = (bits & 0x3333) + (bits >> 2 & 0x3333)
        bits = (bits + (bits >> 4)) & 0x0f0f
        few[n] += <uint8_t>(bits + (bits >> 8))


cdef inline void _carry(uint8_t *few, int64_t neurons, uint32_t *many) noexcept nogil:
    """Move what small counters hold to large ones."""
    cdef int64_t n
    for n in range(neurons):
        many[n] += few[n]
        few[n] = 0


def add_up(const level_t[:, ::1] levels not None, int64_t first, int64_t last, int32_t most,
           sum_t[:, ::1] sums not None, int64_t[::1] totals not None):
    """Spikes of the neurons from ``first`` up to before ``last``, at their number modulo.

    ``levels`` (batch, neurons) stand for at most ``most`` spikes each; ``sums`` are
    (batch, places), of a type that holds them, ``totals`` (batch,).
    """
    cdef int64_t samples = levels.shape[0], neurons = last - first, places = sums.shape[1]
    if sums.shape[0] != samples or totals.shape[0] != samples or not 0 <= first < last <= levels.shape[1]:
        raise ValueError("sums or neurons do not fit the levels")
    if places < 1 or neurons % places or not 1 <= most <= 16:
        raise ValueError("neurons are no whole images, or spikes too many")
    # images side by side, 2, 4, 8 …, so that small ones are counted in whole vectors too
    cdef int64_t wide = places
    while 2 * wide <= min(neurons, <int64_t>ABREAST):
        wide *= 2
    cdef int64_t rounds = neurons // wide, rest = neurons % wide
    cdef int64_t carry_after = 255 // most
    cdef int64_t sample, r, n, half
    cdef uint32_t total
    cdef const level_t *row
    cdef uint8_t *few = <uint8_t *>malloc(wide)
    cdef uint32_t *many = <uint32_t *>malloc(wide * sizeof(uint32_t))
    try:
        if few is NULL or many is NULL:
            raise MemoryError
        with nogil:
            memset(few, 0, wide)
            for sample in range(samples):
                memset(many, 0, wide * sizeof(uint32_t))
                row = &levels[sample, first]
                for r in range(rounds):
                    _count(row + r * wide, wide, most, few)
                    if r % carry_after == carry_after - 1:
                        _carry(few, wide, many)
                _count(row + rounds * wide, rest, most, few)
                _carry(few, wide, many)
                half = wide
                while half > places:
                    half //= 2
                    for n in range(half):
                        many[n] += many[half + n]
                total = 0
                for n in range(places):
                    sums[sample, n] = <sum_t>many[n]
                    total += many[n]
                totals[sample] = total
    finally:
        free(few)
        free(many)
