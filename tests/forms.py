"""Agreeing and disagreeing pairs of ternary layers, computed in four other ways.

Each takes levels (batch, inputs) and weights (outputs, inputs) of -1, 0, 1 and
gives (P, N), int64 (batch, outputs): pairs of non-zero level and weight with
equal and with unequal signs.  They share no code with the counting kernel.
"""

import numpy as np

__all__ = ["FORMS", "dense", "popcount", "scatter", "with_torch"]


def dense(levels, weights):
    """NumPy, int64: the definition."""
    a, w = levels.astype(np.int64), weights.astype(np.int64)
    agree = (a > 0).astype(np.int64) @ (w > 0).T + (a < 0).astype(np.int64) @ (w < 0).T
    differ = (a > 0).astype(np.int64) @ (w < 0).T + (a < 0).astype(np.int64) @ (w > 0).T
    return agree, differ


def _planes(array):
    """(non-zero, negative) planes of the rows, packed to 64-bit words."""
    fill = np.zeros((len(array), -array.shape[1] % 64), array.dtype)
    whole = np.concatenate([array, fill], axis=1)
    packed = [np.packbits(plane, axis=1, bitorder="little") for plane in (whole != 0, whole < 0)]
    return [np.ascontiguousarray(p).view(np.uint64) for p in packed]


def popcount(levels, weights):
    """AND and XNOR of packed planes, then counting of bits: the gate of the paper."""
    (here, negative), (there, other) = _planes(levels), _planes(weights)
    agree = np.empty((len(levels), len(weights)), np.int64)
    differ = np.empty_like(agree)
    for i in range(len(levels)):
        both = here[i] & there
        unequal = both & (negative[i] ^ other)
        agree[i] = np.bitwise_count(both & ~unequal).sum(axis=1)
        differ[i] = np.bitwise_count(unequal).sum(axis=1)
    return agree, differ


def scatter(levels, weights):
    """Event by event: every spike walks its fan-out in a scipy CSR matrix."""
    from scipy import sparse

    fan_out = sparse.csr_matrix(weights.T)
    counts = np.zeros((2, len(levels), len(weights)), np.int64)
    for neuron, column in enumerate(levels.T):
        row = slice(fan_out.indptr[neuron], fan_out.indptr[neuron + 1])
        samples = np.flatnonzero(column)
        unequal = (fan_out.data[row] < 0) != (column[samples, None] < 0)
        counts[unequal.astype(int), samples[:, None], fan_out.indices[row]] += 1  # no event twice
    return counts[0], counts[1]


def with_torch(levels, weights):
    """Torch in float64: sum and events, from which both follow."""
    import torch

    a, w = (torch.from_numpy(x.astype(np.float64)) for x in (levels, weights))
    total = torch.nn.functional.linear(a, w)
    events = torch.nn.functional.linear(a.abs(), w.abs())
    return (
        ((events + total) / 2).numpy().astype(np.int64),
        ((events - total) / 2).numpy().astype(np.int64),
    )


FORMS = {"numpy": dense, "popcount": popcount, "scatter": scatter, "torch": with_torch}
