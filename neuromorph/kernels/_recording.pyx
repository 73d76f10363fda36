"""Door to what the recorder needs compiled (twin of ``reference.recording``).

Arrays are typed here and their sizes compared; the loops run without the GIL.  An ``Encoder``
owns its memory and serves one thread at a time.  About 60 ns a packet of 34 bytes, 1 ns a level.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

cdef extern from "recording_deflate.h" nogil:
    enum: DF_MOST_ROWS
    enum: DF_MOST_WIDTH

    ctypedef struct df_piece:
        uint32_t literals

    ctypedef struct df_scratch:
        df_piece *pieces
        uint8_t *column
        uint8_t *plane

    int64_t df_most_pieces(int64_t rows)
    int64_t df_bound(int64_t rows, int32_t width)
    int64_t df_block(const uint8_t *values, int64_t stride, int32_t width, int64_t filled,
                     int64_t rows, df_scratch *scratch, uint8_t *out)


MOST_ROWS = DF_MOST_ROWS


cdef class Encoder:
    """Makes blocks of so many rows, of any column of 1, 2, 4 or 8 bytes."""

    cdef df_scratch *scratch
    cdef uint8_t *out
    cdef readonly int64_t rows

    def __cinit__(self, int64_t rows):
        if not 0 < rows <= DF_MOST_ROWS:
            raise ValueError(f"rows is {rows}; must be 1 to {DF_MOST_ROWS}")
        self.rows = rows
        self.scratch = <df_scratch *>calloc(1, sizeof(df_scratch))
        if self.scratch is NULL:
            raise MemoryError
        self.scratch.pieces = <df_piece *>malloc(df_most_pieces(rows) * sizeof(df_piece))
        self.scratch.column = <uint8_t *>malloc(DF_MOST_WIDTH * rows)
        self.scratch.plane = <uint8_t *>malloc(rows + 8)
        self.out = <uint8_t *>malloc(df_bound(rows, DF_MOST_WIDTH))
        if (self.scratch.pieces is NULL or self.scratch.column is NULL
                or self.scratch.plane is NULL or self.out is NULL):
            raise MemoryError

    def __dealloc__(self):
        if self.scratch is not NULL:
            free(self.scratch.pieces)
            free(self.scratch.column)
            free(self.scratch.plane)
        free(self.scratch)
        free(self.out)

    def block(self, const uint8_t[:, :] values not None):
        """What HDF5 stores of a block with the filters shuffle, deflate and Fletcher-32.

        Parameters
        ----------
        values : uint8 array, shape (filled, width)
            Bytes of the values; those of one are neighbours.  Zeros follow up to ``rows``.

        Returns
        -------
        bytes
        """
        cdef int64_t filled = values.shape[0], made
        cdef int32_t width = <int32_t>values.shape[1]
        cdef const uint8_t *first = NULL
        if filled > self.rows or width not in (1, 2, 4, 8):
            raise ValueError(
                f"a block of {self.rows} rows cannot hold values of shape ({filled}, {width})"
            )
        if width > 1 and values.strides[1] != 1:
            raise ValueError("the bytes of a value are no neighbours")
        if filled:
            first = &values[0, 0]
        with nogil:
            made = df_block(first, values.strides[0], width, filled, self.rows, self.scratch,
                            self.out)
        return PyBytes_FromStringAndSize(<char *>self.out, made)


def find_spikes(const int16_t[:, ::1] levels not None, const int64_t[::1] edges not None,
                uint32_t[::1] sample not None, uint16_t[::1] layer not None,
                uint32_t[::1] neuron not None, int16_t[::1] level not None):
    """Levels that are not zero, by sample, layer and neuron; how many.

    Parameters
    ----------
    levels : int16 array, shape (samples, neurons)
        Layers side by side; layer i is ``edges[i]`` to ``edges[i + 1]``.
    sample, layer, neuron, level : arrays, shape (room,)
        Filled; with room for all of them.  Samples count from 0.
    """
    cdef int64_t samples = levels.shape[0], layers = edges.shape[0] - 1, at = 0, room = sample.shape[0]
    cdef int64_t s, k, i, stop
    cdef int16_t value
    if not room == layer.shape[0] == neuron.shape[0] == level.shape[0]:
        raise ValueError("columns of different lengths")
    if edges[0] != 0 or edges[layers] != levels.shape[1]:
        raise ValueError("edges are not those of the levels")
    with nogil:
        for s in range(samples):
            for k in range(layers):
                stop = edges[k + 1]
                if at + stop - edges[k] > room:  # may not fit: look each time
                    for i in range(edges[k], stop):
                        value = levels[s, i]
                        if value != 0:
                            if at == room:
                                with gil:
                                    raise ValueError("no room for all spikes")
                            sample[at], layer[at] = <uint32_t>s, <uint16_t>k
                            neuron[at], level[at] = <uint32_t>(i - edges[k]), value
                            at += 1
                    continue
                for i in range(edges[k], stop):  # no branch: it would not be foreseen
                    value = levels[s, i]
                    sample[at], layer[at] = <uint32_t>s, <uint16_t>k
                    neuron[at], level[at] = <uint32_t>(i - edges[k]), value
                    at += value != 0
    return at
