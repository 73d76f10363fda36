"""Blocks: the columns of a table on their way into the file, whole blocks at a time.

With gzip a block is encoded here, outside of HDF5 and of the lock around it,
and stored as it is; other filters are HDF5's own.
"""

from __future__ import annotations

from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.kernels.recording import MOST_ROWS, Encoder
from neuromorph.trace.compression import Compression

__all__ = ["Blocks"]


class Blocks:
    """Columns that grow; rows that fill no block wait here.

    A flush stores those too, as a block that is stored again when more have come.

    Parameters
    ----------
    columns : dict of h5py.Dataset
        Empty, with blocks of equal length; rows may have a shape.
    compression : {"gzip", "none", "lz4", "zstd"}
        Their filters.
    """

    def __init__(self, columns: dict[str, h5py.Dataset], compression: Compression) -> None:
        self._columns = columns
        self._size: int = next(iter(columns.values())).chunks[0]
        self._rest = {n: np.zeros(d.chunks, d.dtype) for n, d in columns.items()}
        self._stored = self._waiting = 0
        self._is_stored = True
        self._compression = compression
        cells = {prod(d.chunks) for d in columns.values()}
        self._encoders = {n: Encoder(n) for n in cells if compression == "gzip" and n <= MOST_ROWS}

    @property
    def rows(self) -> int:
        """Rows taken; all are in the file after a flush."""
        return self._stored + self._waiting

    def append(self, values: dict[str, NDArray[Any]]) -> None:
        """Take rows; the arrays are read before it returns."""
        total, done = len(next(iter(values.values()))), 0
        while done < total:
            taken = min(self._size - self._waiting, total - done)
            part = {name: column[done : done + taken] for name, column in values.items()}
            done += taken
            if taken == self._size:
                self._store(part, taken)
                self._stored += taken
                continue
            for name, column in part.items():
                self._rest[name][self._waiting : self._waiting + taken] = column
            self._waiting += taken
            self._is_stored = False
            if self._waiting == self._size:
                self._store(self._rest, self._size)
                self._stored += self._size
                self._waiting, self._is_stored = 0, True

    def flush(self) -> None:
        """Store the rows that wait."""
        if not self._is_stored:
            self._store({n: v[: self._waiting] for n, v in self._rest.items()}, self._waiting)
            self._is_stored = True

    def _store(self, values: dict[str, NDArray[Any]], rows: int) -> None:
        """Write the next block, or what there is of it."""
        for name, dataset in self._columns.items():
            column = values[name].astype(dataset.dtype, copy=False)
            shape = column.shape[1:]
            dataset.id.set_extent((self._stored + rows, *shape))
            encoder = self._encoders.get(prod(dataset.chunks))
            block: Any = None
            if encoder is not None:
                block = encoder.block(_bytes_of(column))
            elif self._compression == "none":
                block = np.zeros(dataset.chunks, dataset.dtype)
                block[:rows] = column
            if block is None:
                dataset[self._stored :] = column
            else:
                dataset.id.write_direct_chunk((self._stored, *(0 for _ in shape)), block)


def _bytes_of(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of each value side by side, shape (values, bytes); the same memory if it can be."""
    flat = column if column.ndim == 1 else column.reshape(-1)
    if not len(flat):
        return np.zeros((0, flat.dtype.itemsize), np.uint8)
    view: NDArray[np.uint8] = np.lib.stride_tricks.as_strided(
        flat[:1].view(np.uint8),
        (len(flat), flat.dtype.itemsize),
        (flat.strides[0], 1),
        writeable=False,
    )
    return view
