"""The network of the shared benchmark "ternary-ff"; needs NumPy only.

Three populations of 1024 cells, two matrices of weights -1, 0, 1 (half of them
zero), a raster of 200 steps in which a cell spikes with probability 0.1.  A
cell has no memory: it fires in a step whose weighted sum is at least 10.  One
synaptic event is one (spike, non-zero weight) pair.
"""

import hashlib

import numpy as np

THETA = 10
FINGERPRINT = "5be01ac4357b9fb3ef5c3a37cada014ce0af46f621cb8f7dc2949a3bf395f340"
SPIKES = (20_438, 19_313, 17_495)
EVENTS = (10_450_937, 9_872_189)


def make(steps=200, n=1024, density=0.5, activity=0.1, seed=20240):
    """(two matrices (source, target) int8, raster (steps, n) bool)."""
    rng = np.random.default_rng(seed)
    weights = []
    for _ in range(2):
        u = rng.random((n, n))
        w = np.zeros((n, n), np.int8)
        w[u < density / 2] = -1
        w[(u >= density / 2) & (u < density)] = 1
        weights.append(w)
    return weights, rng.random((steps, n)) < activity


def check_fingerprint(weights, raster):
    """Refuse to time anything else than the agreed network (200 steps of it)."""
    digest = hashlib.sha256()
    for w in weights:
        digest.update(np.ascontiguousarray(w).tobytes())
    digest.update(np.packbits(raster[:200]).tobytes())
    if digest.hexdigest() != FINGERPRINT:
        raise SystemExit("the network is not ternary-ff: its fingerprint differs")


def expected(weights, raster):
    """(spikes of each population, events of each matrix), exact."""
    x, spikes, events = raster, [int(raster.sum())], []
    for w in weights:
        events.append(int((x.astype(np.int64) @ (w != 0).sum(axis=1)).sum()))
        x = x.astype(np.float32) @ w.astype(np.float32) >= THETA
        spikes.append(int(x.sum()))
    return spikes, events
