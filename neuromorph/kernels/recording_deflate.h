/* A column of records as HDF5 stores a block of it with the filters shuffle, deflate and
 * Fletcher-32, some four times as fast as zlib at its fastest level.
 *
 * Shuffle puts the first bytes of all values together, then the second, and so on.  Each of
 * these planes is compressed for itself: most are constant, so that their bytes are never even
 * laid out; for the others matches are looked up by one hash, and taken where they are shorter
 * than the literals they stand for.  Formats: RFC 1950, RFC 1951, and H5_checksum_fletcher32.
 *
 * No state is kept; the caller owns all memory.
 */
#ifndef NEUROMORPH_DEFLATE_H
#define NEUROMORPH_DEFLATE_H

#include <stdint.h>

enum { DF_MOST_WIDTH = 8, DF_MOST_ROWS = 1 << 20, DF_HASH_BITS = 12 };

/* So many literals, then a match of `length` bytes `distance` before; 0: none. */
typedef struct {
    uint32_t literals;
    uint16_t length, distance;
} df_piece;

typedef struct {
    uint32_t heads[1 << DF_HASH_BITS];
    df_piece *pieces;              /* df_most_pieces(rows) */
    uint8_t *column;               /* DF_MOST_WIDTH × rows */
    uint8_t *plane;                /* rows + 8 bytes */
} df_scratch;

int64_t df_most_pieces(int64_t rows);

/* Bytes that the block of so many values has at most. */
int64_t df_bound(int64_t rows, int32_t width);

/* Values of `width` bytes (1, 2, 4 or 8), `stride` bytes apart; zeros follow the first `filled`
 * of `rows`.  The bytes written to `out`. */
int64_t df_block(const uint8_t *values, int64_t stride, int32_t width, int64_t filled,
                 int64_t rows, df_scratch *scratch, uint8_t *out);

#endif
