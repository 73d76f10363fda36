"""What a trace file holds: names, dtypes and limits (``docs/trace-format.md``).

The recorder makes the file from these tables, the reader checks it against
them, and nobody else knows a name or a dtype.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np

from neuromorph.chip import BOUNDS, Chip
from neuromorph.events import ACTIONS, Hardware
from neuromorph.levels import MAX_N
from neuromorph.mapping import Mapping
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE
from neuromorph.network import Encoding, Network

__all__ = [
    "DETAILS",
    "EVENT_TABLES",
    "FEWEST_TABLES",
    "FORMAT",
    "HARDWARE",
    "HOP_COLUMNS",
    "INPUTS",
    "LEARNING_FORMAT",
    "MAPPING_COLUMNS",
    "META",
    "MODES",
    "MORE_HARDWARE",
    "PACKET_COLUMNS",
    "RANGES",
    "ROOT_ATTRIBUTES",
    "SAMPLE_COLUMNS",
    "SPIKE_COLUMNS",
    "TABLES",
    "TIMED_DETAILS",
    "TIME_COLUMNS",
    "VERSION",
    "Detail",
    "LayerInfo",
    "NetworkInfo",
    "SourceInfo",
    "chip_json",
    "network_info",
    "tables_of",
    "traced_actions",
    "usual_detail",
]

FORMAT = "neuromorph-trace"
LEARNING_FORMAT = "neuromorph-learning"  # learning records
VERSION = (1, 4)

Detail = Literal["counts", "spikes", "packets", "hops"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
MODES = ("reference", "count", "timed")
TIMED_DETAILS = ("packets", "hops")  # those that only the mode timed has

# name -> dtype kind of every root attribute; strings are of fixed length, UTF-8.
ROOT_ATTRIBUTES: dict[str, type] = {
    "format": str,
    "version": str,
    "created": str,
    "generator": str,
    "complete": bool,
    "mode": str,
    "detail": str,
    "tick_s": float,
}
META = ("network", "chip", "chip_text", "options", "environment", "provenance")

# Tables of columns: name -> dtype.  All columns of a table have one length.
SAMPLE_COLUMNS: dict[str, np.dtype[Any]] = {
    "label": np.dtype("<i8"),
    "prediction": np.dtype("<i8"),
}
TIME_COLUMNS: dict[str, np.dtype[Any]] = {
    "start": np.dtype("<i8"),
    "finish": np.dtype("<i8"),
}
SPIKE_COLUMNS: dict[str, np.dtype[Any]] = {
    "sample": np.dtype("<u4"),
    "layer": np.dtype("<u2"),
    "neuron": np.dtype("<u4"),
    "level": np.dtype("<i2"),
}
PACKET_COLUMNS: dict[str, np.dtype[Any]] = {
    name: PACKET_DTYPE[name] for name in PACKET_DTYPE.names or ()
}
HOP_COLUMNS: dict[str, np.dtype[Any]] = {name: HOP_DTYPE[name] for name in HOP_DTYPE.names or ()}
EVENT_TABLES: dict[str, dict[str, np.dtype[Any]]] = {
    "spikes": SPIKE_COLUMNS,
    "packets": PACKET_COLUMNS,
    "hops": HOP_COLUMNS,
}
# The tables that grow, in the order of the attribute ``flushed``.
TABLES = ("samples", "spikes", "packets", "hops")
FEWEST_TABLES = 3  # counted by files of version 1.0

# Slices of the mapping: scalars, and half-open ranges of shape (slices, 2).
MAPPING_COLUMNS: dict[str, np.dtype[Any]] = {
    "layer": np.dtype("<u2"),
    "core": np.dtype("<i8"),
}
RANGES = (
    "channels",
    "rows",
    "columns",
    "sum_rows",
    "sum_columns",
    "input_rows",
    "input_columns",
)
INPUTS = "inputs"  # a range more, where a fan-in is split
HARDWARE: dict[str, type] = {
    "chip": str,
    "dataflow": str,
    "tick_s": float,
    "cores_used": int,
    "synapse_memory_bits": int,
    "state_memory_bits": int,
    "axon_memory_bits": int,
}
MORE_HARDWARE: dict[str, type] = {"chips": int}  # left out where it is the default
assert {*HARDWARE, *MORE_HARDWARE} == set(Hardware.__dataclass_fields__)

Positive = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Shape3 = tuple[Positive, Positive, Positive]


class SourceInfo(msgspec.Struct, frozen=True):
    """A layer that another hears, 0 is the input; each pixel as a square of ``upsample`` pixels."""

    layer: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    upsample: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class LayerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layer as the trace knows it; shapes are (channels, rows, columns).

    ``n`` is N of the levels that leave the layer, None for the read-out.
    ``sources`` are joined along channels; empty: the layer before, as it is.
    """

    name: str
    input_shape: Shape3
    sum_shape: Shape3
    output_shape: Shape3
    n: Annotated[int, msgspec.Meta(ge=0, le=MAX_N)] | None
    sources: Annotated[tuple[SourceInfo, ...], msgspec.Meta(max_length=1000)] = ()

    @property
    def outputs(self) -> int:
        """Neurons whose levels leave the layer (after the pool)."""
        channels, rows, columns = self.output_shape
        return channels * rows * columns


class NetworkInfo(msgspec.Struct, frozen=True):
    """The network as the trace knows it: identity, sizes, no weights."""

    name: str
    hash: str
    input_shape: Annotated[list[Positive], msgspec.Meta(min_length=1, max_length=3)]
    encoding: Encoding
    bits: Annotated[int, msgspec.Meta(ge=1, le=12)]
    layers: Annotated[list[LayerInfo], msgspec.Meta(min_length=1, max_length=1000)]

    @property
    def inputs(self) -> int:
        """Number of input neurons."""
        size = 1
        for length in self.input_shape:
            size *= length
        return size

    @property
    def classes(self) -> int:
        """Number of classes: channels of the read-out."""
        return self.layers[-1].output_shape[0]

    @property
    def outputs(self) -> int:
        """Number of read-out neurons: one a class, or one a class and pixel."""
        return self.layers[-1].outputs

    @property
    def pixels(self) -> tuple[int, ...]:
        """(rows, columns) where every pixel is classified, else ()."""
        _, rows, columns = self.layers[-1].output_shape
        return () if (rows, columns) == (1, 1) else (rows, columns)

    @property
    def heard(self) -> list[tuple[SourceInfo, ...]]:
        """What each layer hears."""
        return [
            layer.sources or (SourceInfo(layer=index, upsample=1),)
            for index, layer in enumerate(self.layers)
        ]

    def shape(self, layer: int) -> tuple[int, int, int]:
        """(channels, rows, columns) of what leaves a layer; 0 is the input."""
        if layer:
            return self.layers[layer - 1].output_shape
        channels, rows, columns = (*self.input_shape, 1, 1)[:3]
        return channels, rows, columns

    @property
    def spiking_sizes(self) -> list[int]:
        """Neurons of the input and of every layer that spikes, in order."""
        return [self.inputs, *(layer.outputs for layer in self.layers[:-1])]


def network_info(network: Network) -> NetworkInfo:
    """Identity and sizes of a network."""
    return NetworkInfo(
        name=network.name,
        hash=network.hash,
        input_shape=list(network.input.shape),
        encoding=network.input.encoding,
        bits=network.input.bits,
        layers=[
            LayerInfo(
                name=s.name,
                input_shape=s.input_shape,
                sum_shape=s.sum_shape,
                output_shape=s.output_shape,
                n=None if s.levels is None else s.levels.n,
                sources=tuple(
                    SourceInfo(layer=source.stage + 1, upsample=source.upsample)
                    for source in s.sources
                    if s.joins or source.stage != index - 1
                ),
            )
            for index, s in enumerate(network.stages)
        ],
    )


def chip_json(chip: Chip) -> str:
    """Every field of a chip but its text, and what newer chips know only if it is set, as JSON."""
    fields = {name: getattr(chip, name) for name in chip.__dataclass_fields__ if name != "text"}
    for name in ("dead_cores", "dead_links", "ports", *BOUNDS):
        if fields[name] in (None, ()):
            del fields[name]
    if chip.routing == "unicast":
        del fields["routing"]
    return msgspec.json.encode(fields).decode()


def traced_actions(mapping: Mapping) -> tuple[str, ...]:
    """Names of the counted actions; of those that a mapping cannot have none is named."""
    never: set[str] = set()
    if mapping.chip.chips == 1:
        never |= {"hop_chip"}
    if all(s.owns for s in mapping.slices):
        never |= {"partial_out", "partial_in"}
    return tuple(action for action in ACTIONS if action not in never)


def usual_detail(mode: str) -> Detail:
    """The level of detail where none is asked for."""
    return "packets" if mode == "timed" else "spikes"


def tables_of(detail: Detail) -> tuple[str, ...]:
    """The growing tables of a level of detail."""
    return TABLES[: DETAILS.index(detail) + 1]
