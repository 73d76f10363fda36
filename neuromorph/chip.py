"""The modelled chip: a mesh of tiles with cores, its limits and its times.

A chip is a TOML file in which every number carries its evidence: ``value``,
``kind`` and ``source``.  What is not published is marked ``assumed`` with a
reason, never slipped in; a time that is not published may be left out, and
then the chip cannot be simulated in time.  Times are whole ticks.
"""

from __future__ import annotations

import operator
import os
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from neuromorph.errors import ChipError, check_path
from neuromorph.events import Dataflow, format_table

__all__ = [
    "BOUNDS",
    "LINK_SIDES",
    "Chip",
    "Fact",
    "Kind",
    "Routing",
    "Sync",
    "Times",
    "list_chips",
    "load_chip",
]

Kind = Literal[
    "measured", "simulated", "derived", "fitted", "projected", "unstated", "design", "assumed"
]
Sync = Literal["token", "barrier"]
Storage = Literal["dense", "sparse"]
Kernels = Literal["shared", "unrolled"]
Routing = Literal["unicast", "multicast"]

# (column, row, side): the link that leaves the router of a tile to a side.
LinkName = tuple[int, int, str]
LINK_SIDES = ("east", "west", "south", "north")
_STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))

PRESETS = Path(__file__).parent / "presets" / "chips"
MAX_FILE_BYTES = 1 << 20
MAX_CORES = 1 << 20
LINE = 100  # columns of a printed chip


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


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


TABLES: dict[str, type[msgspec.Struct]] = {"mesh": _Mesh, "core": _Core, "times": _Times}
_PLAIN_TIMES = ("tick_s", "synapse_lanes", "neuron_lanes", "frames_in_flight")
Ticks = int | None  # None where nothing is published


def _field_of(table: str, key: str) -> str:
    """Field of :class:`Chip` that a key of the file stands for."""
    return f"{key}_ticks" if table == "times" and key not in _PLAIN_TIMES else key


DEAD = ("dead_cores", "dead_links")  # lists, not numbers with evidence

# Field of Chip -> dotted key in the file, of every number.
KEYS = {
    _field_of(table, key): f"{table}.{key}"
    for table, kind in TABLES.items()
    for key in kind.__struct_fields__
    if key not in DEAD
}
# What may be left out: needed by the timed mode alone.
_ALWAYS = ("times.tick_s", "times.frames_in_flight")
TIMES = tuple(n for n, key in KEYS.items() if key.startswith("times.") and key not in _ALWAYS)
# Limits that a chip need not have.
BOUNDS = ("link_bits", "packet_bits", "buffer", "queue", "weight_bits")
# Least and most of every whole number; ticks are 0 … 2**30, all others 1 … 2**40.
_RANGES = {
    name: (0, 1 << 30) if name.endswith("_ticks") else (1, 1 << 40)
    for name in KEYS
    if name != "tick_s"
} | {
    "columns": (1, 1024),
    "rows": (1, 1024),
    "accumulator_bits": (1, 32),
    "index_bits": (0, 64),
    "weight_bits": (1, 16),
    "frames_in_flight": (1, 64),
    "packet_bits": (1, 1 << 15),
    "buffer": (1, 1 << 20),
    "queue": (1, 1 << 20),
}
_CHOICES = {
    "sync": Sync,
    "storage": Storage,
    "kernels": Kernels,
    "dataflow": Dataflow,
    "routing": Routing,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times of a chip, all there, in whole ticks; see :class:`Chip`."""

    axon: int
    synapse: int
    synapse_lanes: int
    neuron: int
    neuron_lanes: int
    spike: int
    hop_x: int
    hop_y: int
    hop_local: int
    link: int
    inject: int
    barrier: int


_TIMES = tuple(Times.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip: what a core holds, how long things take, how cores are joined.

    Made by :func:`load_chip`; ``dataclasses.replace`` gives a variant.
    ``facts`` keeps value, kind and source of every number under its dotted key
    (``"core.neurons"``); a number that was replaced counts as assumed.

    Times are in ticks: a core spends ``axon`` on the look-up of an arriving
    spike plus ``synapse`` for every ``synapse_lanes`` synapses of the row it
    fetches; ``neuron`` for every ``neuron_lanes`` neurons it thresholds;
    ``spike`` for every packet it sends.  A packet takes ``hop_x`` / ``hop_y``
    a link and ``hop_local`` from the router into a core, and keeps a link
    busy for ``link``.  The input port sends a packet every ``inject``.
    ``frames_in_flight`` is for token synchronisation.  A time that is not
    published is None; :meth:`times` gives them where all are there.

    ``dead_cores`` hold nothing; their routers work.  ``dead_links``, each the
    column and row of a tile and a side of :data:`LINK_SIDES`, carry nothing out of
    that tile to that side; packets are led around them.  With ``routing``
    "multicast" a spike for several cores is one packet that forks at routers,
    with "unicast" one packet for each.

    A packet of ``packet_bits`` crosses links of ``link_bits`` in
    :attr:`packet_flits` flits, each of which keeps a link busy for ``link``; a
    chip that does not say sends packets of one flit.  ``buffer`` is how many
    packets fit at the end of a link and in the outbox of a core, ``queue``
    how many wait in a core; None: any number.  A synapse holds weights of at
    most ``weight_bits``; None: of any levels.

    Raises
    ------
    ChipError
        A number out of range, an unknown choice, a mesh of more than 2**20
        cores, index bits with dense storage, a dead core or link that is not
        there; names the key.
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
    axon_ticks: Ticks
    synapse_ticks: Ticks
    synapse_lanes: Ticks
    neuron_ticks: Ticks
    neuron_lanes: Ticks
    spike_ticks: Ticks
    hop_x_ticks: Ticks
    hop_y_ticks: Ticks
    hop_local_ticks: Ticks
    link_ticks: Ticks
    inject_ticks: Ticks
    barrier_ticks: Ticks
    dead_cores: tuple[int, ...] = ()
    dead_links: tuple[LinkName, ...] = ()
    link_bits: int | None = None
    packet_bits: int | None = None
    buffer: int | None = None
    queue: int | None = None
    weight_bits: int | None = None
    routing: Routing = "unicast"
    facts: dict[str, Fact] = field(default_factory=dict, repr=False, compare=False)
    text: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not 1 <= len(name) <= 64 or not name.isprintable():
            raise ChipError(f"chip name is {name!r}; use 1 to 64 printable characters")
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in get_args(choices):
                raise ChipError(
                    f"{key} is {getattr(self, key)!r}; choose {' or '.join(get_args(choices))}"
                )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in (*TIMES, *BOUNDS):
                continue
            value = _whole(value, KEYS[name])
            if not least <= value <= most:
                raise ChipError(f"{KEYS[name]} is {value}; it must be {least} to {most}")
            object.__setattr__(self, name, value)
        if not isinstance(self.tick_s, (int, float)) or not 0 < self.tick_s <= 1:
            raise ChipError(f"times.tick_s is {self.tick_s!r}; it must be above 0 and at most 1 s")
        if self.cores > MAX_CORES:
            raise ChipError(f"the mesh has {self.cores} cores; at most {MAX_CORES} are simulated")
        if self.storage == "dense" and self.index_bits:
            raise ChipError(
                f"core.index_bits is {self.index_bits}, but dense storage has no index; "
                "set it to 0, or storage to sparse"
            )
        object.__setattr__(self, "dead_cores", self._dead())
        object.__setattr__(self, "dead_links", self._dead_links())
        object.__setattr__(self, "facts", self._facts_now())

    def _dead(self) -> tuple[int, ...]:
        dead = sorted({_whole(core, "mesh.dead_cores") for core in self.dead_cores})
        if dead and not 0 <= dead[0] <= dead[-1] < self.cores:
            wrong = dead[0] if dead[0] < 0 else dead[-1]
            raise ChipError(
                f"mesh.dead_cores names core {wrong}; cores of the mesh are 0 to {self.cores - 1}"
            )
        return tuple(dead)

    def _dead_links(self) -> tuple[LinkName, ...]:
        dead = []
        for link in self.dead_links:
            if len(link) != 3 or link[2] not in LINK_SIDES:
                raise ChipError(
                    f"mesh.dead_links has {link!r}; give column, row and one of "
                    f"{', '.join(LINK_SIDES)}"
                )
            x, y = (_whole(place, "mesh.dead_links") for place in link[:2])
            step_x, step_y = _STEPS[LINK_SIDES.index(link[2])]
            ends = ((x, y), (x + step_x, y + step_y))
            if not all(0 <= a < self.columns and 0 <= b < self.rows for a, b in ends):
                raise ChipError(
                    f"mesh.dead_links has a link from tile {x},{y} to the {link[2]}; the mesh has "
                    f"{self.columns} × {self.rows} tiles"
                )
            dead.append((x, y, str(link[2])))
        return tuple(sorted(set(dead)))

    def _facts_now(self) -> dict[str, Fact]:
        """Facts as given, but for numbers that differ from them by now."""
        facts = dict(self.facts)
        for name, key in KEYS.items():
            value = getattr(self, name)
            if value is None:
                facts.pop(key, None)
            elif key in facts and facts[key].value != value:
                source = f"set in Python; the file says {facts[key].value:g}"
                facts[key] = Fact(value=value, kind="assumed", source=source)
        return facts

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.columns * self.rows * self.cores_per_tile

    @property
    def working_cores(self) -> int:
        """Number of cores that are not dead."""
        return self.cores - len(self.dead_cores)

    @property
    def packet_flits(self) -> int:
        """Flits of one packet."""
        if self.packet_bits is None or self.link_bits is None:
            return 1
        return -(-self.packet_bits // self.link_bits)

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Dotted keys of the times that are not known."""
        return tuple(KEYS[name] for name in TIMES if getattr(self, name) is None)

    def times(self) -> Times:
        """Every time of a chip on which a run in time is possible.

        Raises
        ------
        ChipError
            Names the first time that is missing, or the dataflow that has no such run.
        """
        if self.dataflow != "scatter":
            raise ChipError(
                f"chip {self.name!r} has dataflow {self.dataflow}; mode 'timed' simulates "
                "scatter alone: use mode 'count'"
            )
        missing = self.unpublished
        if missing:
            more = f" (nor {len(missing) - 1} more times)" if len(missing) > 1 else ""
            raise ChipError(
                f"chip {self.name!r} publishes no {missing[0]}{more}; mode 'timed' needs it: "
                "use mode 'count', or a chip file of your own with a value you assume"
            )
        return Times(**{name: getattr(self, _field_of("times", name)) for name in _TIMES})

    def tile(self, core: int) -> tuple[int, int]:
        """(column, row) of the tile a core sits on; cores count along rows of tiles."""
        tile = core // self.cores_per_tile
        return tile % self.columns, tile // self.columns

    def __str__(self) -> str:
        head = (
            f"{textwrap.fill(f'{self.name}: {self.description}', LINE)}\n"
            f"{self.columns} × {self.rows} tiles × {self.cores_per_tile} cores, {self.sync} sync, "
            f"{self.storage} weights, {self.kernels} kernels, {self.dataflow} dataflow"
            f"{', multicast' if self.routing == 'multicast' else ''}"
        )
        if self.dead_cores:
            dead = f"dead cores: {', '.join(map(str, self.dead_cores))}"
            head += "\n" + textwrap.fill(dead, LINE, subsequent_indent="  ")
        if self.dead_links:
            dead = "dead links: " + ", ".join(f"{x},{y} {side}" for x, y, side in self.dead_links)
            head += "\n" + textwrap.fill(dead, LINE, subsequent_indent="  ")
        if self.unpublished:
            missing = f"not published, so no mode 'timed': {', '.join(self.unpublished)}"
            head += "\n" + textwrap.fill(missing, LINE, subsequent_indent="  ")
        rows = [[key, f"{f.value:.10g}", f.kind] for key, f in self.facts.items()]
        if not rows:
            return head
        sources = ["source", "------", *(f.source for f in self.facts.values())]
        lines = [head, ""]
        for left, source in zip(
            format_table(["number", "value", "kind"], rows).split("\n"), sources
        ):
            parts = textwrap.wrap(source, LINE - len(left) - 2) or [""]
            lines.append(f"{left}  {parts[0]}")
            lines += [" " * (len(left) + 2) + part for part in parts[1:]]
        return "\n".join(lines)


def list_chips() -> list[str]:
    """Names of the presets."""
    return sorted(p.stem for p in PRESETS.glob("*.toml"))


def load_chip(name: str | os.PathLike[str]) -> Chip:
    """Read a chip from a TOML file or a preset by name.

    Parameters
    ----------
    name : str or path
        A file, or the name of a preset (:func:`list_chips`).

    Returns
    -------
    Chip

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
    check_path(name, "chip", ChipError)
    path = Path(name)
    try:
        if not path.is_file():
            if str(name) not in list_chips():
                raise ChipError(
                    f"no chip {str(name)!r}: no such file; presets are {', '.join(list_chips())}"
                )
            path = PRESETS / f"{name}.toml"
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ChipError(f"{path} has {size} bytes; a chip file has at most {MAX_FILE_BYTES}")
        text = path.read_bytes().decode()
        data = tomllib.loads(text)
        if not data:
            raise ChipError(f"{path} is empty")
        parsed = msgspec.convert(data, _File)
    except OSError as error:  # also a name too long, or a folder that may not be entered
        raise ChipError(f"cannot read chip file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChipError(f"{path} is not a TOML file: {error}") from None
    except msgspec.ValidationError as error:
        raise ChipError(f"{path}: {error}") from None
    facts = {
        f"{table}.{key}": msgspec.convert(entry, Fact)
        for table in TABLES
        for key, entry in data[table].items()
        if key not in DEAD
    }
    try:
        return _chip(parsed, facts, text)
    except ChipError as error:
        raise ChipError(f"{path}: {error}") from None


def _chip(file: _File, facts: dict[str, Fact], text: str) -> Chip:
    numbers: dict[str, Any] = {
        name: None if (entry := getattr(getattr(file, table), key)) is None else entry.value
        for name, (table, key) in ((name, key.split(".")) for name, key in KEYS.items())
    }
    return Chip(
        name=file.name,
        description=file.description,
        sync=file.sync,
        storage=file.storage,
        kernels=file.kernels,
        dataflow=file.dataflow,
        routing=file.routing,
        dead_cores=file.mesh.dead_cores,
        dead_links=file.mesh.dead_links,
        facts=facts,
        text=text,
        **numbers,
    )


def _whole(value: Any, key: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ChipError(f"{key} is {value!r}; it must be a whole number") from None
