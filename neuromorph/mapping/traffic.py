"""Traffic: how many packets each slice sends to each other one in an inference."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import MappingError
from neuromorph.events import Counts
from neuromorph.mapping.slices import Range, Slice, tap_counts
from neuromorph.network import Network, Source, Stage

__all__ = ["INPUT_LAYER", "Spikes", "Traffic", "flows", "spikes_of"]

INPUT_LAYER = "input"

# What a user may give: counts of a run, or spikes a neuron of each layer.
Spikes = Counts | Dictionary[str, ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Packets of one inference between slices, by their position in the list of slices.

    ``packets[i]`` go from ``source[i]`` to ``target[i]``; ``port[p, s]`` come to
    slice s from input port p, at tile ``port_tiles[p]``.  Pairs that exchange
    nothing are left out.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    packets: NDArray[np.float64]
    port: NDArray[np.float64]
    port_tiles: NDArray[np.int64] = field(default_factory=lambda: np.zeros((1, 2), np.int64))

    @property
    def slices(self) -> int:
        """Number of slices."""
        return int(self.port.shape[1])

    def hops(self, tiles: NDArray[np.int64]) -> float:
        """Links crossed in one inference with slice s on the tile ``tiles[s]``."""
        distance = np.abs(tiles[self.source] - tiles[self.target]).sum(axis=1)
        entering = np.abs(self.port_tiles[:, None] - tiles).sum(axis=2)
        return float(self.packets @ distance + np.vdot(self.port, entering))


def spikes_of(network: Network, given: Spikes | None) -> list[NDArray[np.float64]]:
    """Spikes of every sending neuron in one inference: the input, then layer by layer.

    Raises
    ------
    MappingError
        Counts of another network, unknown layers, shapes that do not fit,
        spikes that are negative or no numbers.
    """
    shapes = {INPUT_LAYER: _image(network.input.shape)}
    shapes |= {stage.name: stage.output_shape for stage in network.stages[:-1]}
    once = dict.fromkeys(shapes, 1.0)
    once[INPUT_LAYER] = network.spikes_per_neuron(-1)
    if given is None:
        known: Dictionary[str, ArrayLike] = {}
    elif isinstance(given, Counts):
        known = _rates(network, given, shapes)
    elif isinstance(given, Dictionary):
        known = given
    else:
        raise MappingError(
            f"traffic is {type(given).__name__}; give the counts of a run (run.counts) or a "
            "dictionary of spikes a neuron for each layer"
        )
    unknown = [name for name in known if name not in shapes]
    if unknown:
        raise MappingError(
            f"traffic names {unknown[0]!r}, which sends nothing in network {network.name!r}; "
            f"senders are {', '.join(shapes)}"
        )
    return [_full(name, shape, known.get(name, once[name])) for name, shape in shapes.items()]


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    channels, height, width = shape if len(shape) == 3 else (*shape, 1, 1)
    return channels, height, width


def _rates(
    network: Network, counts: Counts, shapes: dict[str, tuple[int, int, int]]
) -> dict[str, float]:
    """Mean spikes a neuron of each layer that were counted."""
    rows = np.array(counts.layers)
    pairs = {INPUT_LAYER: 0}
    pairs |= {stage.name: stage.synapses * stage.spikes_per_input for stage in network.stages}
    if {name: int(counts.pairs[rows == name].sum()) for name in counts.layers} != pairs:
        raise MappingError(f"traffic is counts of another network than {network.name!r}")
    spikes = counts["spike_out"].sum(axis=0)
    samples = max(counts.samples, 1)
    return {
        name: float(spikes[rows == name].sum()) / (samples * int(np.prod(shape)))
        for name, shape in shapes.items()
    }


def _full(name: str, shape: tuple[int, int, int], given: ArrayLike) -> NDArray[np.float64]:
    what = f"traffic of {name!r}"
    try:
        spikes = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise MappingError(f"{what} is no array of numbers") from None
    size = int(np.prod(shape))
    if spikes.ndim and spikes.size != size:
        raise MappingError(f"{what} has shape {list(spikes.shape)}; need one number or {size}")
    if not np.isfinite(spikes).all() or (spikes < 0).any():
        raise MappingError(f"{what} must be finite and not negative")
    return np.broadcast_to(spikes, shape) if not spikes.ndim else spikes.reshape(shape)


def flows(
    network: Network,
    slices: tuple[Slice, ...],
    spikes: list[NDArray[np.float64]],
    ports: Sequence[tuple[int, int]] = ((0, 0),),
) -> Traffic:
    """Packets between slices if every neuron sends the spikes given, and every partial sum is sent.

    ``ports`` are the tiles of the input ports.

    Which rows of an image a slice hears does not depend on the column, so the
    packets from one box to all slices of a layer are two small matrix
    products.
    """
    places: list[list[int]] = [[] for _ in network.stages]
    for number, s in enumerate(slices):
        places[s.stage].append(number)
    source, target, packets = [], [], []
    port = np.zeros((len(ports), len(slices)))
    for index, stage in enumerate(network.stages):
        owners: dict[tuple[Range, Range, Range], int] = {}
        parts: dict[Range, list[int]] = {}
        for number in places[index]:
            parts.setdefault(slices[number].inputs, []).append(number)
            if slices[number].owns:
                owners[slices[number].box] = number
        for number in places[index]:
            if (owner := owners[slices[number].box]) != number:
                source.append(np.array([number]))
                target.append(np.array([owner]))
                packets.append(np.array([float(slices[number].neurons)]))
        for heard, numbers in parts.items():
            targets = np.array(numbers, np.int64)
            for sender in stage.sources:
                hears = _Ears(stage, sender, [slices[t] for t in numbers])
                sending = _only(stage, sender, spikes[sender.stage + 1], heard)
                if sender.stage < 0:
                    _, height, width = stage.input_shape if not stage.joins else sender.shape
                    for number in range(len(ports)):
                        here = np.zeros(sending.size)
                        here[number :: len(ports)] = sending.ravel()[number :: len(ports)]
                        image = here.reshape(-1, height, width).sum(axis=0)
                        port[number, targets] += hears.packets(image, (0, height), (0, width))
                    continue
                for number in (n for n in places[sender.stage] if slices[n].owns):
                    s = slices[number]
                    box = sending[slice(*s.channels), slice(*s.rows), slice(*s.columns)]
                    image = box.sum(axis=0)
                    if stage.joins or stage.input_shape == sender.shape:
                        sent = hears.packets(image, s.rows, s.columns)
                    else:  # flattened: one pixel
                        sent = hears.packets(image.sum(keepdims=True), (0, 1), (0, 1))
                    reached = np.flatnonzero(sent)
                    source.append(np.full(len(reached), number))
                    target.append(targets[reached])
                    packets.append(sent[reached])
    empty: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    return Traffic(
        source=np.concatenate(source or empty).astype(np.int64),
        target=np.concatenate(target or empty),
        packets=np.concatenate(packets or empty).astype(np.float64),
        port=port,
        port_tiles=np.array(ports, np.int64),
    )


def _only(
    stage: Stage, sender: Source, spikes: NDArray[np.float64], heard: Range
) -> NDArray[np.float64]:
    """Spikes of a source that arrive at the input channels ``heard``; zero for the others."""
    if heard == (0, stage.input_shape[0]):
        return spikes
    _, height, width = sender.shape if stage.joins else stage.input_shape  # it may be flattened
    area = height * width
    flat = np.zeros(spikes.size)
    chosen = slice(*(max(0, channel - sender.first) * area for channel in heard))
    flat[chosen] = spikes.ravel()[chosen]
    return flat.reshape(spikes.shape)


class _Ears:
    """Which rows and columns of a source each slice of a layer hears."""

    def __init__(self, stage: Stage, sender: Source, slices: list[Slice]) -> None:
        factor = sender.upsample
        self.rows, self.row_of = self._heard(stage, 0, factor, [s.sum_rows for s in slices])
        self.columns, self.column_of = self._heard(
            stage, 1, factor, [s.sum_columns for s in slices]
        )

    @staticmethod
    def _heard(
        stage: Stage, axis: int, factor: int, sums: list[Range]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """0 or 1 for each different run and position, and the run of each slice."""
        runs, which = np.unique(np.array(sums, np.int64), axis=0, return_inverse=True)
        heard = [tap_counts(stage, axis, (int(a), int(b))) > 0 for a, b in runs]
        pixels = np.array(heard, np.float64).reshape(len(runs), -1, factor)
        squares: NDArray[np.float64] = pixels.max(axis=2)
        return squares, which.ravel().astype(np.int64)

    def packets(
        self, image: NDArray[np.float64], rows: Range, columns: Range
    ) -> NDArray[np.float64]:
        """Packets to every slice from a box whose positions send ``image`` spikes."""
        per_run = self.rows[:, slice(*rows)] @ image @ self.columns[:, slice(*columns)].T
        sent: NDArray[np.float64] = per_run[self.row_of, self.column_of]
        return sent
