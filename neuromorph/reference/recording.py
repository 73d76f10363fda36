"""What the recorder needs, in NumPy and zlib (twin of ``kernels.recording``)."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoder", "find_spikes"]


class Encoder:
    """Makes blocks of so many rows, of any column of 1, 2, 4 or 8 bytes."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def block(self, values: NDArray[np.uint8]) -> bytes:
        """What HDF5 stores of a block with the filters shuffle, deflate and Fletcher-32.

        Parameters
        ----------
        values : uint8 array, shape (filled, width)
            Bytes of the values.  Zeros follow up to ``rows``.

        Returns
        -------
        bytes
            A stream of zlib (RFC 1950) and its checksum.  Twins may differ in the bytes, not in
            what they stand for.
        """
        whole = np.zeros((self.rows, values.shape[1]), np.uint8)
        whole[: len(values)] = values
        deflated = zlib.compress(whole.T.tobytes(), 1)
        return deflated + struct.pack("<I", fletcher32(deflated))


def fletcher32(data: bytes) -> int:
    """Fletcher's checksum over words of 16 bits, high byte first, modulo 65 535."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").tolist()
    one = two = 0
    for word in words:
        one += word
        two += one
    # ones' complement: 65 535 and 0 are the same, and 0 stands only for nothing at all
    return _folded(two) << 16 | _folded(one)


def _folded(total: int) -> int:
    return (total - 1) % 65535 + 1 if total else 0


def find_spikes(
    levels: NDArray[np.int16],
    edges: NDArray[np.int64],
    sample: NDArray[np.uint32],
    layer: NDArray[np.uint16],
    neuron: NDArray[np.uint32],
    level: NDArray[np.int16],
) -> int:
    """Levels that are not zero, by sample, layer and neuron; how many.

    Parameters
    ----------
    levels : int16 array, shape (samples, neurons)
        Layers side by side; layer i is ``edges[i]`` to ``edges[i + 1]``.
    sample, layer, neuron, level : arrays, shape (room,)
        Filled; with room for all of them.  Samples count from 0.
    """
    samples, places = np.nonzero(levels)
    layers = np.searchsorted(edges, places, side="right") - 1
    found = len(samples)
    sample[:found], layer[:found] = samples, layers
    neuron[:found], level[:found] = places - edges[layers], levels[samples, places]
    return found
