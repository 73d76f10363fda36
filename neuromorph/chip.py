"""The modelled chip: a mesh of tiles with cores, its limits and its times.

A chip is a TOML file in which every number carries its evidence: ``value``,
``kind`` and ``source``.  What is not published is marked ``assumed`` with a
reason, never slipped in.  Times are whole ticks.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from neuromorph.errors import ChipError
from neuromorph.events import Dataflow, format_table

__all__ = ["Chip", "Fact", "Kind", "Sync", "list_chips", "load_chip"]

Kind = Literal["measured", "simulated", "derived", "fitted", "projected", "unstated", "design", "assumed"]
Sync = Literal["token", "barrier"]
Storage = Literal["dense", "sparse"]
Kernels = Literal["shared", "unrolled"]

PRESETS = Path(__file__).parent / "presets" / "chips"
MAX_FILE_BYTES = 1 << 20


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number with its evidence."""

    value: float
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Count(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Ticks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Seconds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Annotated[float, msgspec.Meta(gt=0, le=1.0)]
    kind: Kind
    source: Annotated[str, msgspec.Meta(min_length=1)]


class _Mesh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: _Count
    rows: _Count
    cores_per_tile: _Count


class _Core(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    neurons: _Count
    synapse_bits: _Count
    axons_in: _Count
    axons_out: _Count
    accumulator_bits: _Count
    axon_entry_bits: _Count
    index_bits: _Ticks


class _Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tick_s: _Seconds
    axon: _Ticks
    synapse: _Ticks
    synapse_lanes: _Count
    neuron: _Ticks
    neuron_lanes: _Count
    spike: _Ticks
    hop_x: _Ticks
    hop_y: _Ticks
    hop_local: _Ticks
    link: _Ticks
    inject: _Ticks
    barrier: _Ticks


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    description: str
    sync: Sync
    storage: Storage
    kernels: Kernels
    dataflow: Dataflow
    frames_in_flight: Annotated[int, msgspec.Meta(ge=1, le=64)]
    mesh: _Mesh
    core: _Core
    times: _Times


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip: what a core holds, how long things take, how cores are joined.

    Made by :func:`load_chip`; ``facts`` keeps value, kind and source of every
    number under its dotted key (``"core.neurons"``).

    Times are in ticks: a core spends ``axon`` on the look-up of an arriving
    spike plus ``synapse`` for every ``synapse_lanes`` synapses of the row it
    fetches; ``neuron`` for every ``neuron_lanes`` neurons it thresholds;
    ``spike`` for every packet it sends.  A packet takes ``hop_x`` / ``hop_y``
    a link and ``hop_local`` from the router into a core, and keeps a link
    busy for ``link``.  The input port sends a packet every ``inject``.
    """

    name: str
    description: str
    sync: Sync
    storage: Storage
    kernels: Kernels
    dataflow: Dataflow
    frames_in_flight: int
    columns: int
    rows: int
    cores_per_tile: int
    neurons: int
    synapse_bits: int
    axons_in: int
    axons_out: int
    accumulator_bits: int
    axon_entry_bits: int
    index_bits: int
    tick_s: float
    axon_ticks: int
    synapse_ticks: int
    synapse_lanes: int
    neuron_ticks: int
    neuron_lanes: int
    spike_ticks: int
    hop_x_ticks: int
    hop_y_ticks: int
    hop_local_ticks: int
    link_ticks: int
    inject_ticks: int
    barrier_ticks: int
    facts: dict[str, Fact] = field(default_factory=dict, repr=False, compare=False)
    text: str = field(default="", repr=False, compare=False)

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.columns * self.rows * self.cores_per_tile

    def tile(self, core: int) -> tuple[int, int]:
        """(column, row) of the tile a core sits on; cores count along rows of tiles."""
        tile = core // self.cores_per_tile
        return tile % self.columns, tile // self.columns

    def __str__(self) -> str:
        rows = [[key, f"{f.value:g}", f.kind, f.source] for key, f in self.facts.items()]
        return (
            f"{self.name}: {self.description}\n"
            f"{self.columns} × {self.rows} tiles × {self.cores_per_tile} cores, {self.sync} sync, "
            f"{self.storage} weights, {self.kernels} kernels, {self.dataflow} dataflow, "
            f"{self.frames_in_flight} frames in flight\n"
            + format_table(["number", "value", "kind", "source"], rows)
        )


def list_chips() -> list[str]:
    """Names of the presets."""
    return sorted(p.stem for p in PRESETS.glob("*.toml"))


def load_chip(name: str | os.PathLike[str]) -> Chip:
    """Read a chip from a TOML file or a preset by name.

    Raises
    ------
    ChipError
        Not found (lists the presets), not TOML, unknown or missing keys, or
        values out of range; names the key.

    Examples
    --------
    >>> load_chip("gxnor45").cores
    256
    """
    path = Path(name)
    try:
        is_file = path.is_file()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise ChipError(f"cannot read chip file {path}: {error.strerror}") from None
    if not is_file:
        preset = PRESETS / f"{name}.toml"
        if str(name) not in list_chips():
            raise ChipError(
                f"no chip {str(name)!r}: no such file; presets are {', '.join(list_chips())}"
            )
        path = preset
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ChipError(f"{path}: a chip file has at most {MAX_FILE_BYTES} bytes")
        text = path.read_bytes().decode()
        data = tomllib.loads(text)
        parsed = msgspec.convert(data, _File)
    except OSError as error:
        raise ChipError(f"cannot read chip file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChipError(f"{path} is not a TOML file: {error}") from None
    except msgspec.ValidationError as error:
        raise ChipError(f"{path}: {error}") from None
    facts = {
        f"{table}.{key}": msgspec.convert(entry, Fact)
        for table in ("mesh", "core", "times")
        for key, entry in data[table].items()
    }
    return _chip(parsed, facts, text, path)


def _chip(file: _File, facts: dict[str, Fact], text: str, path: Path) -> Chip:
    mesh, core, times = file.mesh, file.core, file.times
    if mesh.columns.value * mesh.rows.value * mesh.cores_per_tile.value > 1 << 20:
        raise ChipError(f"{path}: mesh has more than {1 << 20} cores")
    if mesh.columns.value > 1024 or mesh.rows.value > 1024:
        raise ChipError(f"{path}: mesh has more than 1024 columns or rows")
    if core.accumulator_bits.value > 32:
        raise ChipError(
            f"{path}: core.accumulator_bits is {core.accumulator_bits.value}; at most 32 are simulated"
        )
    if file.storage == "dense" and core.index_bits.value:
        raise ChipError(f"{path}: core.index_bits is for sparse storage; set it to 0 for dense")
    values: dict[str, Any] = {
        "columns": mesh.columns,
        "rows": mesh.rows,
        "cores_per_tile": mesh.cores_per_tile,
        **{key: getattr(core, key) for key in core.__struct_fields__},
        "tick_s": times.tick_s,
        "synapse_lanes": times.synapse_lanes,
        "neuron_lanes": times.neuron_lanes,
        **{
            f"{key}_ticks": getattr(times, key)
            for key in times.__struct_fields__
            if isinstance(getattr(times, key), _Ticks)
        },
    }
    return Chip(
        name=file.name,
        description=file.description,
        sync=file.sync,
        storage=file.storage,
        kernels=file.kernels,
        dataflow=file.dataflow,
        frames_in_flight=file.frames_in_flight,
        facts=facts,
        text=text,
        **{key: entry.value for key, entry in values.items()},
    )
