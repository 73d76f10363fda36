"""Make the golden traces anew: ``python traces/golden/make.py [FOLDER]``.

A small network with a convolution, a pool, ternary and five-level neurons and
graded inputs, cut onto several cores of two chips (one with tokens, one with
barriers).  ``tests/test_golden.py`` runs the same samples again on the chip and
the mapping in each file, and compares column by column.  So a golden trace
need not be made anew when a preset or the placement changes, only when the
data of a run do, which is a change of a promise.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import neuromorph as nm
from neuromorph.network import Conv2d, Flatten, Input, Linear, MaxPool2d, Readout, Threshold
from neuromorph.trace import repack

HERE = Path(__file__).parent
SAMPLES = 3
# name of the file -> (mode, detail, chip)
RUNS = {
    "counts.h5": ("count", "counts", "gxnor45"),
    "spikes.h5": ("count", "spikes", "gxnor45"),
    "packets.h5": ("timed", "packets", "gxnor45"),
    "packets-barrier.h5": ("timed", "packets", "loihi14"),
    "hops.h5": ("timed", "hops", "gxnor45"),
}


def network() -> nm.Network:
    """Graded images of 2 × 8 × 8, a convolution with pool, a hidden layer, five classes."""
    rng = np.random.default_rng(1705)
    return nm.Network(
        name="golden",
        input=Input(shape=(2, 8, 8), encoding="graded", bits=3),
        layers=[
            Conv2d(name="conv", weights=rng.integers(-1, 2, (6, 2, 3, 3)), padding=(1, 1)),
            MaxPool2d(size=(2, 2)),
            Threshold(thresholds=np.tile([-6, 7], (6, 1))),
            Flatten(),
            Linear(name="hidden", weights=rng.integers(-1, 2, (24, 96))),
            Threshold(n=2, thresholds=np.tile([-9, -3, 4, 10], (24, 1))),
            Linear(name="output", weights=rng.integers(-1, 2, (5, 24))),
            Readout(),
        ],
    )


def samples() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images, mostly zero, and labels."""
    rng = np.random.default_rng(9283)
    shape = (SAMPLES, 2, 8, 8)
    return rng.integers(0, 8, shape) * (rng.random(shape) < 0.3), rng.integers(0, 5, SAMPLES)


def make(folder: Path) -> list[Path]:
    """Write every golden trace into a folder."""
    net, (images, labels) = network(), samples()
    for name, (mode, detail, chip) in RUNS.items():
        mapping = nm.map_network(net, replace(nm.load_chip(chip), neurons=100, text=""))
        nm.simulate(mapping, images, mode=mode, labels=labels, trace=folder / name, detail=detail)
        repack(folder / name, folder / name)
    return [folder / name for name in RUNS]


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE):
        print(path, path.stat().st_size)
