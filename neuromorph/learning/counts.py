"""What learning did, as counts of actions on the cores of a mapping."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.events import ACTIONS, LEARNING_ACTIONS, Counts
from neuromorph.kernels.counting import count_packets
from neuromorph.mapping import COUNTED, Mapping, Tally, complete
from neuromorph.plasticity import (
    ACCUMULATOR_BITS,
    CHANCE_BITS,
    LearnTally,
    Rule,
    shares_synapses,
)

__all__ = ["Accountant", "slices_of"]

_ACTION = {name: i for i, name in enumerate(ACTIONS)}
_LEARNING = {name: i for i, name in enumerate(LEARNING_ACTIONS)}


def slices_of(mapping: Mapping) -> list[NDArray[np.int32]]:
    """For each layer the position of every neuron's slice among the layer's slices."""
    found = []
    for index, stage in enumerate(mapping.network.stages):
        home = np.zeros(stage.sum_shape, np.int32)
        for place, row in enumerate(mapping.stage_rows[index]):
            s = mapping.slices[row - 1]
            home[slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)] = place
        found.append(home.ravel())
    return found


class Accountant:
    """Adds up what learners say, block by block."""

    def __init__(self, mapping: Mapping, rule: Rule, fixed: int = 0) -> None:
        self.mapping, self.rule, self.fixed = mapping, rule, fixed
        self.samples = 0
        self.inference = np.zeros((mapping.rows, len(ACTIONS)), np.int64)
        self.learning = np.zeros((mapping.rows, len(LEARNING_ACTIONS)), np.int64)

    def add(self, inputs: NDArray[Any], tally: LearnTally, applied: int) -> None:
        """Take in a block of encoded inputs and what came of it; ``applied`` mini-batches."""
        self.samples += len(inputs)
        self._infer(inputs, tally)
        for index in range(self.fixed, len(tally.counted)):
            self._learn(index, len(inputs), tally, applied)

    def counts(self) -> tuple[Counts, Counts]:
        """Counts of inference and of learning, summed over the samples."""
        mapping = self.mapping
        inference = Counts(
            values=self.inference[None],
            layers=mapping.row_layers,
            cores=mapping.row_cores,
            pairs=mapping.pairs,
            hardware=mapping.hardware,
            inferences=self.samples,
        )
        learning = replace(inference, values=self.learning[None], actions=tuple(LEARNING_ACTIONS))
        return inference, learning

    def _infer(self, inputs: NDArray[Any], tally: LearnTally) -> None:
        """Counts of the forward passes, as a run of the same levels would have them."""
        mapping, rows = self.mapping, self.mapping.stage_rows
        counted = {name: np.zeros((len(inputs), mapping.rows), np.int64) for name in COUNTED}
        for index in range(len(mapping.network.stages)):
            counted["xnor_event"][:, list(rows[index])] = tally.xnor[index]
            counted["neuron_update_active"][:, list(rows[index])] = tally.active[index]
            levels = inputs if index == 0 else tally.levels[index - 1]
            count_packets(mapping, index - 1, levels, counted)
        nobody = np.zeros((len(inputs), mapping.network.classes), np.int32)
        part = complete(mapping, Tally(outputs=nobody, levels=[], counted=counted))
        values = part.values.sum(axis=0)
        # a fetched synapse that learns is a whole state, not the two bits it reads as
        index_bits = mapping.chip.index_bits
        learners = [row for stage in rows[self.fixed :] for row in stage]
        fetched = values[learners, _ACTION["weight_read_bits"]]
        values[learners, _ACTION["weight_read_bits"]] = (
            fetched // (2 + index_bits) * (self.rule.cell_bits + index_bits)
        )
        self.inference += values

    def _learn(self, index: int, samples: int, tally: LearnTally, applied: int) -> None:
        mapping, rule, stages = self.mapping, self.rule, self.mapping.network.stages
        rows, counted = list(mapping.stage_rows[index]), tally.counted[index]
        slices, stage = [mapping.slices[row - 1] for row in rows], stages[index]
        neurons = np.array([s.neurons for s in slices])
        synapses = np.array([(s.channels[1] - s.channels[0]) * stage.fan_in for s in slices])

        def put(action: str, value: Any) -> None:
            self.learning[rows, _LEARNING[action]] += value

        if stage.is_readout:
            put("margin_cmp", samples * neurons)
            self._send([0], rows, np.full((1, len(rows)), samples))
        if rule.centring == "tracked":
            put("centre_update", samples * neurons)
        put("error_event", counted["errors"])
        put("transposed_read_bits", counted["transposed"] * rule.cell_bits)
        put("error_add", counted["adds"])
        put("window_cmp", counted["windows"])
        put("dst_attempt", counted["attempts"])
        put("prng_bits", counted["attempts"] * CHANCE_BITS)
        if rule.error == "ternary" and not stage.is_readout:
            put("prng_bits", counted["windows"] * CHANCE_BITS)
        put("lut_read", counted["attempts"])
        put("synapse_read_bits", counted["attempts"] * rule.cell_bits)
        put("dst_transition", counted["transitions"])
        put("weight_write_bits", counted["transitions"] * rule.cell_bits)
        if rule.batch > 1 or shares_synapses(stage):
            visits = counted["accumulated"] + applied * synapses
            put("accumulator_bits", 2 * ACCUMULATOR_BITS * visits)
        if index < len(stages) - 1:
            self._send(self._sources(index), rows, tally.packets[index])

    def _sources(self, index: int) -> list[int]:
        """Table rows that send errors to a layer."""
        if self.rule.error == "drtp":
            return [0]
        above = -1 if self.rule.error in ("dfa", "sdfa") else index + 1
        return list(self.mapping.stage_rows[above])

    def _send(self, sources: list[int], targets: list[int], packets: NDArray[np.int64]) -> None:
        """Error packets and the links they cross, counted where they leave."""
        pairs = np.stack(np.meshgrid(sources, targets, indexing="ij"), axis=2).reshape(-1, 2)
        distance = self.mapping.ways.distances(pairs).sum(axis=1).reshape(packets.shape)
        self.learning[sources, _LEARNING["error_packet"]] += packets.sum(axis=1)
        self.learning[sources, _LEARNING["error_hop"]] += (packets * distance).sum(axis=1)
