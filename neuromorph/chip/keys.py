"""The keys of a chip file, the field of :class:`Chip` that each stands for, and its range."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from neuromorph.events import Dataflow

__all__ = [
    "ALWAYS",
    "BOUNDS",
    "CHOICES",
    "KEYS",
    "LISTS",
    "RANGES",
    "TABLES",
    "TIMES",
    "ChipFile",
    "Fact",
    "Kernels",
    "Kind",
    "LinkName",
    "Routing",
    "Storage",
    "Sync",
    "TileName",
]

Kind = Literal[
    "measured", "simulated", "derived", "fitted", "projected", "unstated", "design", "assumed"
]
Sync = Literal["token", "barrier"]
Storage = Literal["dense", "sparse"]
Kernels = Literal["shared", "unrolled"]
Routing = Literal["unicast", "multicast"]

TileName = tuple[int, int]  # column, row
# (column, row, side): the link that leaves the router of a tile to a side.
LinkName = tuple[int, int, str]


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number with its evidence."""

    value: float
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: int
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Mesh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: _Whole
    rows: _Whole
    cores_per_tile: _Whole
    dead_cores: tuple[int, ...] = ()
    dead_links: tuple[LinkName, ...] = ()
    link_bits: _Whole | None = None
    packet_bits: _Whole | None = None
    buffer: _Whole | None = None


class _Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: _Whole
    rows: _Whole
    hop: _Whole | None = None
    link: _Whole | None = None
    link_bits: _Whole | None = None


class _Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tiles: tuple[TileName, ...]
    rate: _Whole | None = None


class _Core(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    neurons: _Whole
    synapse_bits: _Whole
    axons_in: _Whole
    axons_out: _Whole
    accumulator_bits: _Whole
    axon_entry_bits: _Whole
    index_bits: _Whole
    weight_bits: _Whole | None = None
    queue: _Whole | None = None


class _Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tick_s: Fact
    frames_in_flight: _Whole
    axon: _Whole | None = None
    synapse: _Whole | None = None
    synapse_lanes: _Whole | None = None
    neuron: _Whole | None = None
    neuron_lanes: _Whole | None = None
    spike: _Whole | None = None
    hop_x: _Whole | None = None
    hop_y: _Whole | None = None
    hop_local: _Whole | None = None
    link: _Whole | None = None
    inject: _Whole | None = None
    barrier: _Whole | None = None


class ChipFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chip file as it is read."""

    name: str
    description: str
    sync: Sync
    storage: Storage
    kernels: Kernels
    dataflow: Dataflow
    mesh: _Mesh
    core: _Core
    times: _Times
    routing: Routing = "unicast"
    board: _Board | None = None
    ports: _Ports | None = None


TABLES: dict[str, type[msgspec.Struct]] = {
    "mesh": _Mesh,
    "board": _Board,
    "ports": _Ports,
    "core": _Core,
    "times": _Times,
}
LISTS = ("dead_cores", "dead_links", "tiles")  # places, not numbers with evidence
_PLAIN_TIMES = ("tick_s", "synapse_lanes", "neuron_lanes", "frames_in_flight")


def _field_of(table: str, key: str) -> str:
    """Field of :class:`Chip` that a key of the file stands for."""
    before = {"board": "board_", "ports": "port_"}.get(table, "")
    is_time = (table == "times" and key not in _PLAIN_TIMES) or (
        table == "board" and key in ("hop", "link")
    )
    return f"{before}{key}{'_ticks' if is_time else ''}"


# Field of Chip -> dotted key in the file, of every number.
KEYS = {
    _field_of(table, key): f"{table}.{key}"
    for table, kind in TABLES.items()
    for key in kind.__struct_fields__
    if key not in LISTS
}
# Needed by every run; all other times by the timed mode alone.
ALWAYS = ("tick_s", "frames_in_flight")
TIMES = tuple(n for n, key in KEYS.items() if key.startswith("times.") and n not in ALWAYS)
# What a chip need not have: limits, other chips beside it, a rate of its ports.
BOUNDS = (
    *("link_bits", "packet_bits", "buffer", "queue", "weight_bits"),
    *("board_columns", "board_rows", "board_hop_ticks", "board_link_ticks", "board_link_bits"),
    "port_rate",
)
# Least and most of every whole number; ticks are 0 … 2**30, all others 1 … 2**40.
RANGES = {
    name: (0, 1 << 30) if name.endswith("_ticks") else (1, 1 << 40)
    for name in KEYS
    if name != "tick_s"
} | {
    "columns": (1, 1024),
    "rows": (1, 1024),
    "board_columns": (1, 1024),
    "board_rows": (1, 1024),
    "accumulator_bits": (1, 64),
    "index_bits": (0, 64),
    "weight_bits": (1, 16),
    "frames_in_flight": (1, 64),
    "packet_bits": (1, 1 << 15),
    "buffer": (1, 1 << 20),
    "queue": (1, 1 << 20),
    "port_rate": (1, 1 << 20),
}
CHOICES = {
    "sync": Sync,
    "storage": Storage,
    "kernels": Kernels,
    "dataflow": Dataflow,
    "routing": Routing,
}
