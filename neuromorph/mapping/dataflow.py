"""What a dataflow makes of the same events: memory traffic, additions, zero tests.

``scatter``     an arriving spike fetches its row of weights; every event reads and writes
                an accumulator in memory.
``gather``      arriving levels wait in an input buffer; a group of neurons keeps its sums
                in registers and walks the buffer, fetching weights where a level is not 0.
``dense``       as ``gather``, but words of weights lie along the inputs and nothing is
                skipped, so a word is used for several positions (and samples of a batch)
                and sums are made by adder trees (popcount for ±1).
``stationary``  every weight has its own gate: nothing is fetched, inputs shift past.

A partial sum that arrives is one addition more, into a sum in memory or register.

Events and rests are the same in all four.  What differs is a function of them and of the
shape of the slices, so it is derived here, once for all engines.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.network import Network, Stage

if TYPE_CHECKING:
    from neuromorph.mapping.mapping import Mapping

__all__ = ["WORD_BITS", "Form", "level_bits", "memory_work"]

Array = NDArray[np.int64]
WORD_BITS = 64
SUMS = 32  # sums a core keeps in registers where the chip names no lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How numbers are held, where it is not what the levels of the network say.

    Parameters
    ----------
    weight_bits : Fraction, optional
        Bits of a stored weight: 8/5 for five ternary weights in a byte.
    level_bits : int, optional
        Bits of a level in the input buffer.
    floats : bool
        Arithmetic in float32: every pair that is computed is a multiply-accumulate.
    batch : int
        Samples a ``dense`` core handles side by side, to use a fetched weight for all.
    """

    weight_bits: Fraction | None = None
    level_bits: int | None = None
    floats: bool = False
    batch: int = 1


def level_bits(network: Network, index: int) -> int:
    """Bits of a level that arrives at a layer; a bitplane value arrives bit by bit."""
    return max(_sent_bits(network, source.stage) for source in network.stages[index].sources)


def _sent_bits(network: Network, index: int) -> int:
    if index >= 0:
        return network.stages[index].level_bits
    if network.input.encoding == "bitplane":
        return network.spikes_per_neuron(index)
    return 1 + network.input.maximum.bit_length()


def sums_in_registers(chip: Chip) -> int:
    """Neurons a core sums side by side."""
    return int(chip.synapse_lanes or SUMS)


def memory_work(
    mapping: Mapping, counted: Dictionary[str, Array], *, samples: int, form: Form
) -> dict[str, Array]:
    """Tallies (batch, rows) of the actions that depend on the dataflow.

    ``counted`` are tallies of ``samples`` samples each.
    """
    chip, network = mapping.chip, mapping.network
    rows = _Rows(mapping, form)
    events = counted["xnor_event"] + counted["graded_event"]
    fetched, partial = counted["fetched"], counted["partial_in"]
    computed = {  # pairs computed
        "scatter": events, "gather": events, "stationary": events,
        "dense": np.broadcast_to(rows.operations * samples, events.shape),
    }[chip.dataflow]  # fmt: skip
    result = _arithmetic(rows, computed, chip.dataflow, form)
    adding = "mac_float" if form.floats else "acc_add"
    result[adding] = result[adding] + partial
    if form.floats:  # scale and shift of batch norm
        scaled = [s.neurons if network.stages[s.stage].levels else 0 for s in mapping.slices]
        result["mac_float"] = result["mac_float"] + np.array([0, *scaled], np.int64) * samples
    accumulator = 32 if form.floats else chip.accumulator_bits
    if chip.dataflow == "scatter":
        states = (events + partial + rows.neurons * samples) * accumulator
        stored = fetched if chip.storage == "dense" else events
        return result | {
            "axon_read": counted["spike_in"],
            "gate_check": fetched if chip.storage == "dense" else np.zeros_like(fetched),
            "weight_read_bits": rows.times(stored, rows.weight_bits, chip.index_bits),
            "state_read_bits": states,
            "state_write_bits": states,
        }
    result["act_write_bits"] = rows.inputs * rows.level_bits * samples
    if chip.dataflow == "gather":
        visits = rows.visits * -(-rows.channels // sums_in_registers(chip)) * samples
        gated = fetched if chip.storage == "dense" else events
        return result | {
            "act_read_bits": visits * rows.level_bits,
            "gate_check": visits + gated * rows.gated,
            "weight_read_bits": rows.times(gated, rows.weight_bits, chip.index_bits),
            "register_write_bits": (events + partial) * accumulator,
        }
    if chip.dataflow == "dense":
        positions, channels = rows.tiles(sums_in_registers(chip), form.batch)
        weights = rows.times(rows.operations * samples, rows.weight_bits, 0)
        words = -(-np.maximum(weights, rows.operations * samples * rows.level_bits) // WORD_BITS)
        return result | {
            "weight_read_bits": -(-weights // positions),
            "act_read_bits": -(-rows.operations * samples * rows.level_bits // channels),
            "register_write_bits": (words + partial) * accumulator,
        }
    return result | {
        "act_read_bits": rows.inputs * rows.level_bits * samples,
        "register_write_bits": rows.visits * rows.level_bits * samples + partial * accumulator,
    }


def _arithmetic(rows: _Rows, computed: Array, dataflow: str, form: Form) -> dict[str, Array]:
    """Additions and multiplications of the pairs that are computed."""
    if form.floats:
        return {"mac_float": computed}
    tree = dataflow in ("dense", "stationary")
    counts = computed * rows.single if tree else np.zeros_like(computed)
    return {
        "popcount": counts,
        "acc_add": computed - counts,
        "multiply": computed * rows.multiplied,
    }


class _Rows:
    """Constants of one sample, one a row of the mapping: row 0, the input port, is zero."""

    def __init__(self, mapping: Mapping, form: Form) -> None:
        stages, slices = mapping.network.stages, mapping.slices

        def each(value: Any) -> Array:
            return np.array([0, *(value(s, stages[s.stage]) for s in slices)], np.int64)

        self.neurons = each(lambda s, _: s.neurons)
        self.channels = each(lambda s, _: s.channels[1] - s.channels[0])
        self.inputs = each(lambda s, _: s.window)
        spikes = each(lambda s, stage: stage.spikes_per_input)
        self.operations = mapping.pairs // np.maximum(spikes, 1)
        # pairs of (position, input): each is met by all channels of the slice
        self.visits = self.operations // np.maximum(self.channels, 1)
        bits = [form.weight_bits or Fraction(stage.weight_bits) for stage in stages]
        self.weight_bits = [Fraction(0), *(bits[s.stage] for s in slices)]
        held = [form.level_bits or level_bits(mapping.network, i) for i in range(len(stages))]
        held[0] = level_bits(mapping.network, 0)  # the input is what it is
        self.level_bits = each(lambda s, _: held[s.stage])
        self.gated = each(lambda s, stage: int(stage.weight_levels.has_zero))
        self.single = each(lambda s, stage: int(_factors(stage) == 0))
        self.multiplied = each(lambda s, stage: _multiplications(stage, held[s.stage]))

    @staticmethod
    def times(tally: Array, bits: list[Fraction], more: int) -> Array:
        """Tally × bits, rounded up."""
        top = np.array([b.numerator + more * b.denominator for b in bits], np.int64)
        bottom = np.array([b.denominator for b in bits], np.int64)
        product: Array = -(-tally * top // bottom)
        return product

    def tiles(self, sums: int, batch: int) -> tuple[Array, Array]:
        """(positions, channels) of the tile of at most ``sums`` sums that moves fewest bits."""
        positions = np.ones(len(self.neurons), np.int64)
        channels = positions.copy()
        for row in range(1, len(positions)):
            seen = int(self.neurons[row] // self.channels[row]) * batch
            sizes = [2**i for i in range(sums.bit_length()) if 2**i <= min(sums, seen)]
            pairs = [(p, min(int(self.channels[row]), sums // p)) for p in sizes]
            weight, level = self.weight_bits[row], int(self.level_bits[row])
            positions[row], channels[row] = min(
                pairs, key=lambda pc: weight / pc[0] + Fraction(level, pc[1])
            )
        return positions, channels


def _multiplications(stage: Stage, level_bits: int) -> int:
    """Multiplications of 8 × 8 bits, signs aside, in the product of a weight and a level."""
    if _factors(stage) < 2:
        return 0
    return -(-(stage.weight_bits - 1) // 8) * -(-(level_bits - 1) // 8)


def _factors(stage: Stage) -> int:
    """How many of weight and level may have a magnitude above one (bits of a plane do not)."""
    graded = stage.input_maximum > 1 and stage.spikes_per_input == 1
    return int(stage.weight_levels.n > 1) + int(graded)
