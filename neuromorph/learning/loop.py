"""``learn``: a stream of labelled samples through a mapped network that learns from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neuromorph.chip import Chip
from neuromorph.errors import LearningError, check_type
from neuromorph.events import Counts, plural
from neuromorph.kernels.learning import Learner
from neuromorph.learning.counts import Accountant, slices_of
from neuromorph.learning.record import Recorder
from neuromorph.mapping import Mapping, map_network
from neuromorph.network import Network, Stage
from neuromorph.plasticity import Plastic, Rule, shares_synapses
from neuromorph.reference.counting import run_network

__all__ = ["Learned", "learn", "map_for"]

BLOCK = 256  # samples between two looks at the rate
FIXED_BITS = 2  # of a ternary weight that does not learn
CALIBRATION = 256  # samples whose mean sums a network is taken over at

Stream = tuple[Any, Any] | Iterable[tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What came of learning.

    ``state``: :class:`Plastic`, to go on from.  ``predictions`` and ``labels``
    int64 (samples,), each before its sample was learned.  ``inference``,
    ``learning``: :class:`~neuromorph.events.Counts`, summed.  ``note``: what did
    not go to the end, or empty.
    """

    mapping: Mapping
    rule: Rule
    state: Plastic
    predictions: NDArray[np.int64]
    labels: NDArray[np.int64]
    inference: Counts
    learning: Counts
    note: str

    def __len__(self) -> int:
        return len(self.predictions)

    def __repr__(self) -> str:
        return (
            f"<Learned {plural(len(self), 'sample')} of {self.mapping.network.name!r} with "
            f"{self.rule.states} states, errors {self.rule.error}>"
        )

    @property
    def accuracy(self) -> float:
        """Share of samples that were predicted as labelled before they were learned."""
        return float((self.predictions == self.labels).mean())

    def network(self, name: str | None = None) -> Network:
        """The network as it stands, an ordinary one: save it, map it, run it."""
        old = self.mapping.network
        data = {"data": old.meta["data"]} if "data" in old.meta else {}
        return self.state.network(name or old.name, data)

    @property
    def attempts_per_sample(self) -> float:
        """DST attempts a sample."""
        return self.learning.per_inference("dst_attempt")

    @property
    def transitions_per_sample(self) -> float:
        """Synapse states that moved, a sample."""
        return self.learning.per_inference("dst_transition")

    @property
    def bits_per_synapse(self) -> float:
        """Bits kept a synapse while learning, mean over all."""
        sizes = [p.states.size for p in self.state.layers]
        stages = [p.stage for p in self.state.layers]
        bits = _bits(stages, self.rule, self.state.fixed)
        return sum(s * b for s, b in zip(sizes, bits)) / sum(sizes)

    @property
    def writes_max(self) -> int:
        """Writes of the synapse that was written most, since the state was made."""
        return max(int(p.writes.max()) for p in self.state.layers)

    @property
    def writes_mean(self) -> float:
        """Mean writes of a synapse, since the state was made."""
        sizes = sum(p.states.size for p in self.state.layers)
        return sum(int(p.writes.sum()) for p in self.state.layers) / sizes


def map_for(network: Network, chip: Chip, rule: Rule, *, fixed: int = 0) -> Mapping:
    """Place a network so that its synapses have room for the states of a rule.

    Parameters
    ----------
    network : Network
    chip : Chip
    rule : Rule
    fixed : int
        First layers that do not learn.

    Returns
    -------
    Mapping

    Raises
    ------
    MappingError
        It does not fit.
    LearningError
        A synapse of the chip has fewer bits than the rule needs.
    """
    _check_width(network.stages, chip, rule, fixed)
    bits = max(_bits(network.stages, rule, fixed))
    memory = chip.synapse_bits * (2 + chip.index_bits) // (bits + chip.index_bits)
    return replace(map_network(network, replace(chip, synapse_bits=max(1, memory))), chip=chip)


def learn(
    mapping: Mapping,
    stream: Stream,
    *,
    rule: Rule,
    state: Plastic | None = None,
    samples: int | None = None,
    trace: str | os.PathLike[str] | Recorder | None = None,
) -> Learned:
    """Learn on the chip, one sample after the other.

    For each sample all forward events settle; then errors travel back on the
    same network-on-chip; then every synapse where a non-zero level meets a
    non-zero error tries a transition (see :mod:`neuromorph.plasticity`).
    Draws are keyed by (seed, layer, synapse, sample), so neither the mapping
    nor the cut into batches changes a result.

    Parameters
    ----------
    mapping : Mapping
        Of a ternary network; :func:`map_for` leaves room for the states.
    stream : (images, labels), or an iterable of such pairs
        Integer arrays (samples, *input.shape) and (samples,).
    rule : Rule
    state : Plastic, optional
        Goes on from there and is left as it is; without it the mapping's
        network is taken over.
    samples : int, optional
        How many to learn; a stream that ends earlier is said in ``note``.
    trace : path, optional
        File that gets every transition while they happen, and what came of it
        all: a learning record, see :class:`~neuromorph.learning.LearningTrace`.
        An open recorder gets the transitions only; who opened it finishes it.

    Returns
    -------
    Learned

    Raises
    ------
    LearningError
        Spaces the rule cannot move in, states the cores have no room for, a
        fan-in that is split over cores, several chips, a state of another network, labels
        out of range, data that are no numbers, an empty stream.
    NetworkError
        Images of wrong shape, dtype or range.
    TraceError
        The record cannot be written.

    Examples
    --------
    >>> import neuromorph as nm
    >>> from neuromorph.data import load_data
    >>> data, net = load_data("digits"), nm.load_network("digits-gxnor")
    >>> rule = Rule(states=15, error="readout", centring="frozen", margin=20, rate=0.1)
    >>> stream = data.train_images[:20], data.train_labels[:20]
    >>> learned = learn(map_for(net, nm.load_chip("gxnor45"), rule), stream, rule=rule)
    >>> len(learned), learned.bits_per_synapse > 4
    (20, True)
    """
    check_type(mapping, Mapping, "mapping", LearningError, "give map_for(network, chip, rule)")
    check_type(rule, Rule, "rule", LearningError, "give Rule(...)")
    _check_room(mapping, rule, 0 if state is None else state.fixed)
    pieces = _pieces(mapping.network, stream, samples)
    first = next(pieces, None)
    if first is None:
        raise LearningError("the stream holds no samples; give at least one")
    if state is None:
        state = Plastic.of(mapping.network, rule)
        if rule.centring == "tracked":
            _calibrate(state, mapping.network, first[0][:CALIBRATION])
    else:
        _check_state(state, mapping.network, rule)
        state = state.copy()
    own = None
    if trace is not None and not isinstance(trace, Recorder):
        own = trace = Recorder(trace, mapping, rule, state)
    recorder = trace
    learner = Learner(state, rule, slices_of(mapping))
    accountant = Accountant(mapping, rule, state.fixed)
    predictions: list[NDArray[np.int64]] = []
    labels: list[NDArray[np.int64]] = []
    seen, waiting = state.samples, state.waiting
    expected = samples if samples or not isinstance(stream, tuple) else len(stream[1])
    progress = tqdm(total=expected, unit="sample", disable=None, delay=1.0, leave=False)
    with own or nullcontext(), progress as bar:
        for images, classes in _after(first, pieces):
            start = 0
            while start < len(images):
                stop = min(len(images), start + BLOCK - seen % BLOCK)
                block = seen - seen % BLOCK
                tables = [rule.table(block, i, len(state.layers)) for i in range(len(state.layers))]
                part = images[start:stop]
                tally = learner.run(part, classes[start:stop], tables, moves=recorder is not None)
                waiting += len(part)
                accountant.add(part, tally, waiting // rule.batch)
                waiting %= rule.batch
                predictions.append(tally.predictions)
                labels.append(classes[start:stop])
                if tally.moves is not None and recorder is not None:
                    recorder.moves(tally.moves)
                seen += len(part)
                start = stop
                bar.update(len(part))
    learner.store()
    inference, learning = accountant.counts()
    done = accountant.samples
    notes = []
    if samples is not None and done < samples:
        notes.append(f"the stream ended after {done} of {samples} samples")
    if waiting:
        held = plural(waiting, "sample")
        notes.append(f"waiting for the rest of a mini-batch of {rule.batch}: {held}")
    learned = Learned(
        mapping=mapping,
        rule=rule,
        state=state,
        predictions=np.concatenate(predictions),
        labels=np.concatenate(labels),
        inference=inference,
        learning=learning,
        note="; ".join(notes),
    )
    if own is not None:
        own.finish(learned)
    return learned


def _after(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _pieces(
    network: Network, stream: Stream, samples: int | None
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int64]]]:
    """Encoded images with checked labels, up to so many samples."""
    if samples is not None and (isinstance(samples, bool) or samples < 1):
        raise LearningError(f"samples is {samples!r}; it must be at least 1")
    pairs = [stream] if isinstance(stream, tuple) else stream
    done = 0
    for pair in pairs:
        try:
            images, labels = pair
        except (TypeError, ValueError):
            raise LearningError(
                "the stream does not give pairs; give (images, labels) or an iterable of them"
            ) from None
        room = None if samples is None else samples - done
        encoded, classes = _encoded(network, images, labels, done, room)
        done += len(encoded)
        if len(encoded):
            yield encoded, classes
        if done == samples:
            return


def _encoded(
    network: Network, images: Any, labels: Any, done: int, room: int | None
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    images, classes = np.asarray(images)[:room], np.asarray(labels)[:room]
    if images.dtype.kind == "f" and np.isnan(images).any():
        place = int(np.argwhere(np.isnan(images))[0][0]) + done
        raise LearningError(f"sample {place} holds a value that is not a number")
    encoded = network.encode(images)
    if classes.shape != (len(encoded),) or classes.dtype.kind not in "iu":
        raise LearningError(
            f"labels are {classes.dtype} of shape {list(classes.shape)}; "
            f"need {len(encoded)} integers"
        )
    wrong = (classes < 0) | (classes >= network.classes)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise LearningError(
            f"label {int(classes[place])} of sample {place + done} is none of the network's "
            f"{network.classes} classes; labels are 0 to {network.classes - 1}"
        )
    return encoded, classes.astype(np.int64)


def _bits(stages: Sequence[Stage], rule: Rule, fixed: int) -> list[int]:
    """Bits that a synapse of each layer keeps: a ternary weight in the first ``fixed``."""
    return [
        FIXED_BITS if index < fixed else rule.bits_per_synapse(shared=shares_synapses(stage))
        for index, stage in enumerate(stages)
    ]


def _check_width(stages: Sequence[Stage], chip: Chip, rule: Rule, fixed: int) -> None:
    """Refuse a rule whose states need more bits than a synapse of the chip holds."""
    room, cell = chip.weight_bits, rule.cell_bits
    for stage, bits in list(zip(stages, _bits(stages, rule, fixed)))[fixed:]:
        if room is None or bits <= room:
            continue
        needed, remedies = f"{rule.states} states take {cell} bits a synapse", []
        other = "a chip with wider synapses"
        if 1 < room < cell:
            remedies.append(f"at most {2**room - 1} states")
        if bits > cell:
            needed += f" and sums of updates {bits - cell} more"
            remedies += [] if shares_synapses(stage) else ["batch 1"]
            other = "a chip that names no such limit"  # the widest has 16
        use = " and ".join(remedies)
        raise LearningError(
            f"layer {stage.name!r}: {needed}, chip {chip.name!r} has {room} (core.weight_bits); "
            f"use {use + ', or ' if use else ''}{other}"
        )


def _check_room(mapping: Mapping, rule: Rule, fixed: int) -> None:
    """Refuse a rule whose states the cores of a mapping have no memory for, and several chips."""
    chip = mapping.chip
    if chip.chips > 1:
        raise LearningError(
            f"chip {chip.name!r} is a board of {chip.chips}; what errors cost from chip to chip is "
            "not modelled: learn on one chip (leave out [board])"
        )
    _check_width(mapping.network.stages, chip, rule, fixed)
    kept = _bits(mapping.network.stages, rule, fixed)
    split = next((s.layer for s in mapping.slices if not s.owns), None)
    if split is not None:
        raise LearningError(
            f"layer {split!r} has its fan-in split over cores; a neuron learns where all its "
            "synapses are: use a chip with more axons or synapse memory a core, or fewer neurons "
            "or filters before it"
        )
    for s in mapping.slices:
        stage = mapping.network.stages[s.stage]
        bits = kept[s.stage] + chip.index_bits
        copies = s.neurons // (s.channels[1] - s.channels[0]) if chip.kernels == "unrolled" else 1
        needed = (s.channels[1] - s.channels[0]) * stage.fan_in * copies * bits
        if chip.storage == "dense" and needed > chip.synapse_bits:
            raise LearningError(
                f"layer {s.layer!r} on core {s.core} needs {needed:,} bits for synapses of {bits} "
                f"bits, {chip.synapse_bits:,} are there; map with map_for(network, chip, rule), "
                "or use fewer states or batch 1"
            )


def _check_state(state: Plastic, network: Network, rule: Rule) -> None:
    shapes = [p.stage.weights.shape for p in state.layers]
    if shapes != [s.weights.shape for s in network.stages]:
        raise LearningError(
            f"the state is of another network than the mapping's {network.name!r}; "
            "map state.network(name)"
        )
    reach = max(int(np.abs(p.states).max()) for p in state.layers)
    if state.rest != rule.rest or reach > rule.maximum:
        raise LearningError(
            f"the state was made for another number of states than the rule's {rule.states}; "
            "go on with the same, or take over its network anew"
        )


def _calibrate(state: Plastic, network: Network, inputs: NDArray[Any]) -> None:
    """Split centres into the mean of the sums now and an offset that stays."""
    for layer, (_, _, sums, _) in zip(state.layers, run_network(network, inputs)):
        directed = sums.astype(np.float64).mean(axis=(0, 2, 3))
        if layer.stage.directions is not None:
            directed = directed * layer.stage.directions
        mean = np.rint(directed * layer.gain).astype(np.int32)
        layer.mean[:] = mean
        layer.offset -= mean
