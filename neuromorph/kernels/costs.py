"""Which orientation of the counting kernel costs less, from what was seen so far.

One unit of cost is one list entry in 512 lanes: both planes of a row into the
counters.  A choice changes the time of a run and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.network import Stage

__all__ = ["Costs"]

# Sums, thresholds and tallies of one neuron, in list entries.
FINISH_SAMPLES = 40.0
# Those of one unit and block, by its lanes; and making one list entry of a sample,
# looking at 64 levels for it (lists of weights are made once).
FINISH_OUTPUTS = {512: 60.0, 256: 45.0}
LIST_ENTRY = 0.15
LOOK = 3.0
# Cost of one list entry by the lanes it serves: (lanes = samples, lanes = outputs).
# 256 lanes are AVX-512 in pairs or AVX2; what is narrower costs no less.
ENTRY = {512: (1.0, 1.0), 256: (0.47, 0.55)}
TILE_LIMIT = 64
SEEN = 64  # samples, at most, that say how active a layer is


class Costs:
    """Costs of the layers of one network; remembers the activity of each layer's inputs."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self.activity: list[float | None] = [None] * len(stages)
        self.bits_set = [int(_bits(s)) for s in stages]
        self.weights_set = [max(1, int(np.count_nonzero(s.weights))) for s in stages]

    def see(self, index: int, levels: NDArray[Any]) -> None:
        """Remember the activity of the inputs of a layer, of some samples if there are many."""
        if levels.size and index < len(self.activity):
            some = np.ascontiguousarray(levels[:: -(-len(levels) // SEEN)])
            self.activity[index] = float(np.count_nonzero(some) / some.size)

    @property
    def complete(self) -> bool:
        """Whether the activity of every layer was seen."""
        return None not in self.activity

    def expected(self, index: int) -> float:
        """Activity of the inputs of a layer; not seen yet, that of the network's inputs."""
        for seen in (self.activity[index], self.activity[0]):
            if seen is not None:
                return seen
        return 0.5

    def choose(self, samples: int, lanes: int, wanted: str = "auto") -> tuple[float, list[bool]]:
        """(cost, by output?) of all layers for a block of samples."""
        total, choice = 0.0, []
        for index in range(len(self.stages)):
            over_samples, over_outputs = self.of_layer(index, samples, lanes)
            by_output = over_outputs < over_samples if wanted == "auto" else wanted == "outputs"
            total += over_outputs if by_output else over_samples
            choice.append(by_output)
        return total, choice

    def of_layer(self, index: int, samples: int, lanes: int) -> tuple[float, float]:
        """Costs of one layer with lanes = samples and with lanes = outputs."""
        s = self.stages[index]
        channels, height, width = s.sum_shape
        planes = s.input_maximum.bit_length()
        entry = ENTRY[max(lanes, 256)]
        over_samples = (
            self.bits_set[index] * height * width * planes
            + channels * height * width * FINISH_SAMPLES
        ) * entry[0]
        arriving, image_height, image_width = s.input_shape
        if image_height * image_width == 1 and s.padding == (0, 0):
            tile, tiles, rows, words = 1, 1, arriving, -(-arriving // 64)
        else:
            tiles = -(-width // max(1, min(width, lanes // channels, TILE_LIMIT)))
            tile = -(-width // tiles)
            kernel_height, window = s.weights.shape[2], (tile - 1) * s.stride[1] + s.extent[1]
            rows = arriving * kernel_height * window
            # lists are made by input rows, those of a kernel's rows put end to end
            words = -(-arriving * window // 64) * image_height // height + 2 * kernel_height
        blocks = -(-channels * tile // lanes)
        entries = rows * self.expected(index) * planes
        weight_planes = self.bits_set[index] / self.weights_set[index]
        over_outputs = (
            samples
            * height
            * tiles
            * (
                blocks * (entries * weight_planes * entry[1] + FINISH_OUTPUTS[max(lanes, 256)])
                + entries * LIST_ENTRY
                + words * LOOK
            )
        )
        return over_samples, over_outputs


def _bits(stage: Stage) -> int:
    """Magnitude bits set in all weights: length of all lists."""
    return int(np.bitwise_count(np.abs(stage.weights.astype(np.int16))).sum())
