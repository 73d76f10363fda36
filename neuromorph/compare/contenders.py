"""Contenders: one network, held in its own number format, on the chip in every dataflow.

A network competes with the bits it needs: weights of an 8-bit network take 8 bits, those of
its float twin 32, and the accumulators of its cores are as wide as its sums.  The memory of
a core stays what the chip says, so wider weights take more cores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np

from neuromorph.chip import Chip
from neuromorph.compare.activity import Activity, accumulator_bits, counts_of
from neuromorph.energy import EnergyReport, Prices, estimate_energy
from neuromorph.errors import MappingError, NetworkError
from neuromorph.events import HOPS, Counts, Dataflow
from neuromorph.mapping import Form, Mapping, map_network
from neuromorph.mapping.dataflow import WORD_BITS, level_bits
from neuromorph.network import Network, find_network, load_network

__all__ = ["DATAFLOWS", "GIVE", "Bid", "Contender", "bid", "find_contender", "latency_s", "place"]

DATAFLOWS: tuple[Dataflow, ...] = get_args(Dataflow)
FLOAT, INT8 = "-float", "-int8"
GIVE = "give such times in a chip file of your own"
LANE_BITS = 2  # the lanes of a chip are counted in ternary weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A network and the form its numbers take.

    Where it is not run as it is: the ``accuracy`` and the ``densities``, shares of values that
    are not 0 as they arrive at each layer, that its training measured.
    """

    name: str
    network: Network
    form: Form
    accuracy: float | None = None
    densities: tuple[float, ...] = ()

    @property
    def role(self) -> str:
        """float, int8, bnn, bwn, twn, gxnor, or multi."""
        stages = self.network.stages
        weights = {s.weight_levels.n for s in stages}
        levels = {s.levels.n for s in stages if s.levels is not None}
        if self.form.floats:
            return "float"
        kinds = {(0, 0): "bnn", (1, 1): "gxnor", (8, 8): "int8", (0, 8): "bwn", (1, 8): "twn"}
        if len(weights) != 1 or len(levels) != 1:
            return "multi"
        return kinds.get((weights.pop(), levels.pop()), "multi")

    @property
    def weight_bits(self) -> Fraction:
        """Bits of a stored weight, mean over the network."""
        if self.form.weight_bits is not None:
            return self.form.weight_bits
        return Fraction(self.network.stored_bits, self.network.weight_count)


def find_contender(name: str, *, packing: Fraction | None = None) -> Contender:
    """Find a network by name, or the float twin of an 8-bit one.

    Parameters
    ----------
    name : str
        As for :func:`neuromorph.load_network`.  ``X-float`` where there is no such network
        stands for the float network that ``X-int8`` was quantised from: the same topology
        and activity, 32 bits a number, the accuracy of the file ``result.json`` beside it.
    packing : Fraction, optional
        Bits of a stored ternary weight instead of 2: 8/5 is five in a byte.

    Raises
    ------
    NetworkError
        No such network, or an 8-bit network without the result of its float training.
    """
    try:
        network = load_network(name)
    except NetworkError:
        if not name.endswith(FLOAT):
            raise
        return _float_twin(name)
    weights = {s.weight_levels.n for s in network.stages}
    form = Form()
    if weights == {8}:
        form = Form(weight_bits=Fraction(8))
    elif weights == {1} and packing is not None:
        form = Form(weight_bits=packing)
    return Contender(name=network.name, network=network, form=form)


def _float_twin(name: str) -> Contender:
    quantised = name.removesuffix(FLOAT) + INT8
    try:
        path = find_network(quantised)
    except NetworkError:
        raise NetworkError(
            f"no network {name!r}, and none {quantised!r} whose float twin it could be"
        ) from None
    network = load_network(path)
    accuracy, densities = _trained(path.parent / "result.json", network.meta.get("seed"))
    form = Form(weight_bits=Fraction(32), level_bits=32, floats=True)
    return Contender(name=name, network=network, form=form, accuracy=accuracy, densities=densities)


def _trained(path: Path, seed: Any) -> tuple[float, tuple[float, ...]]:
    """Test accuracy and densities in float of the seed that was quantised."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        levels = result["recipe"]["levels"]
        (entry,) = [s for s in result["seeds"] if s["seed"] == seed]
        accuracy = float(entry["test_accuracy"])
        densities = tuple(float(layer["input_density"]) for layer in entry.get("layers", ()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NetworkError(
            f"{path} does not say how accurate the float network was ({error}); a float twin "
            "needs the result.json that training wrote"
        ) from None
    if levels["weights"] != "float" or levels["activations"] != "float":
        raise NetworkError(f"{path} is not the result of a network trained in float")
    return accuracy, densities


def place(contender: Contender, chip: Chip) -> Mapping:
    """Map a contender: cores hold as many of its weights as their memory has room for.

    Raises
    ------
    MappingError
        It does not fit.
    """
    network = contender.network
    plain = Fraction(network.stored_bits, network.weight_count)
    room = int(chip.synapse_bits * plain / contender.weight_bits)
    wide = 32 if contender.form.floats else max(chip.accumulator_bits, accumulator_bits(network))
    try:
        mapping = map_network(
            network, replace(chip, synapse_bits=max(room, 1), accumulator_bits=wide, text="")
        )
    except MappingError as error:
        if not contender.form.floats:
            raise
        raise MappingError(f"{contender.name}, with weights of 32 bits: {error}") from None
    return replace(mapping, chip=replace(chip, accumulator_bits=wide, text=""))


@dataclass(frozen=True, kw_only=True, eq=False)
class Bid:
    """What a contender costs in one dataflow: its report, latency and counts.

    ``problem`` says why it has no total energy, ``silence`` why no latency; the same where
    the latency is all that the energy lacks.
    """

    dataflow: Dataflow
    report: EnergyReport
    counts: Counts
    latency_s: float | None
    cores: int
    problem: str = ""
    silence: str = ""


def bid(
    contender: Contender,
    activity: Activity,
    mapping: Mapping,
    prices: Prices,
    *,
    dataflow: Dataflow,
    batch: int = 1,
    interval_s: float | None = None,
    draws: int = 1000,
) -> Bid:
    """Price a contender in one dataflow, one inference after the other.

    Static power is charged for ``interval_s``, else for the latency; where that is unknown a
    total is refused.
    """
    form = replace(contender.form, batch=batch)
    entry = mapping.chip.axon_entry_bits
    if dataflow != "scatter":  # the input buffer takes the place of the axon table
        held = [
            form.level_bits or level_bits(mapping.network, i)
            for i in range(len(mapping.network.stages))
        ]
        entry = max(held)
    chip = replace(mapping.chip, dataflow=dataflow, axon_entry_bits=entry, text="")
    placed = replace(mapping, chip=chip)
    counts = counts_of(activity, placed, form)
    seconds = latency_s(placed, counts, contender.weight_bits)
    report = estimate_energy(counts, prices, interval_s=interval_s or seconds, draws=draws)
    silence = f"{chip.missing_times}, so no latency is known" if chip.unpublished else ""
    static = report.static_problem
    if static and prices.static and report.time_s is None:
        static = silence = f"{silence}, nor static energy, which is power × time"
    return Bid(
        dataflow=dataflow,
        report=report,
        counts=counts,
        latency_s=seconds,
        cores=mapping.cores_used,
        problem="; ".join(p for p in (report.dynamic_problem, static) if p),
        silence=silence,
    )


def latency_s(mapping: Mapping, counts: Counts, weight_bits: Fraction) -> float | None:
    """Seconds from first input to read-out: layer after layer, each as slow as its busiest core.

    Service times of the chip and mean work of the core; no waiting, no overlap of layers.
    None where the chip publishes no times.  A layer of *scatter* spends ``axon`` a spike and
    ``synapse`` a word of its row; *gather* ``synapse`` a word of buffer or weights; *dense*
    ``synapse`` for every word of pairs; *stationary* ``synapse`` a position.  All spend
    ``neuron`` and ``spike`` as in the timed mode.
    """
    chip = mapping.chip
    if chip.unpublished:
        return None
    times = replace(chip, dataflow="scatter").times()  # the timed mode has no other
    n = counts.samples
    lanes = max(1, int(times.synapse_lanes * LANE_BITS / weight_bits))
    port = counts["packet_out"][0, 0] / n * times.inject
    ticks = 0.0
    for index, rows in enumerate(mapping.stage_rows):
        slowest = port if index == 0 else 0.0
        for row in rows:
            s = mapping.slices[row - 1]
            tally = {a: counts[a][0, row] / n for a in counts.actions}
            arriving, sums = tally["spike_in"], tally["partial_in"]
            if chip.dataflow == "scatter":
                pairs = int(mapping.pairs[row]) - tally["skip_act"]
                words = arriving * np.ceil(pairs / lanes / arriving) if arriving else 0.0
            elif chip.dataflow == "gather":
                words = (tally["act_read_bits"] + tally["weight_read_bits"]) / WORD_BITS
            elif chip.dataflow == "dense":
                words = tally["register_write_bits"] / chip.accumulator_bits
            else:
                words = s.neurons / (s.channels[1] - s.channels[0])
            work = (arriving + sums) * times.axon + (words + sums) * times.synapse
            work += np.ceil(s.neurons / times.neuron_lanes) * times.neuron
            sent = tally["packet_out"] + tally["partial_out"] + tally["token_out"]
            work += sent * times.spike
            slowest = max(slowest, float(work))
        ticks += slowest
    if chip.sync == "barrier":
        ticks += int(mapping.depths.max()) * times.barrier
    packets = counts.total("hop_local")
    if packets:  # the way of a mean packet, once a layer
        ticks_of = zip(HOPS, (times.hop_x, times.hop_y, times.board_hop))
        way = sum(counts.total(action) * hop for action, hop in ticks_of)
        ticks += len(mapping.stage_rows) * (way / packets + times.hop_local)
    return float(ticks * chip.tick_s)
