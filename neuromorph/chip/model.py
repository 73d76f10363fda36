"""The modelled chip: a mesh of tiles with cores, its limits and its times."""

from __future__ import annotations

import operator
import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

from neuromorph.chip.keys import (
    BOUNDS,
    CHOICES,
    KEYS,
    RANGES,
    TIMES,
    Fact,
    Kernels,
    LinkName,
    Routing,
    Storage,
    Sync,
    TileName,
)
from neuromorph.chip.reach import cut_off
from neuromorph.errors import ChipError
from neuromorph.events import Dataflow, format_table, plural

__all__ = ["LINK_SIDES", "STEPS", "Chip", "Times"]

LINK_SIDES = ("east", "west", "south", "north")
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))

MAX_CORES = 1 << 20
MOST_TILES = 1024  # along an axis
LINE = 100  # columns of a printed chip

Ticks = int | None  # None where nothing is published


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
    board_hop: int
    board_link: int


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
    how many wait in a core; None: any number.  A synapse holds weights of
    at most ``weight_bits``; None: of any levels.

    With ``board_columns`` × ``board_rows`` equal chips joined at their edges the
    mesh is that of all of them: cores, tiles and links are numbered over the whole
    board.  A link from chip to chip takes ``board_hop`` ticks, is busy for
    ``board_link`` ticks a flit, and its flits have ``board_link_bits`` (None: as
    ``link_bits``).

    Inputs enter at the tiles ``ports``, by default at (0, 0): input neuron i at
    number i modulo the ports.  Every ``inject`` ticks each port sends ``port_rate``
    packets (None: one).

    Raises
    ------
    ChipError
        A number out of range, an unknown choice, a mesh of more than 2**20
        cores or 1024 tiles along an axis, index bits with dense storage, a dead
        core or link that is not there, a port outside the mesh, on a dead tile
        or named twice; names the key.
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
    board_columns: int | None = None
    board_rows: int | None = None
    board_hop_ticks: Ticks = None
    board_link_ticks: Ticks = None
    board_link_bits: int | None = None
    ports: tuple[TileName, ...] = ()
    port_rate: int | None = None
    routing: Routing = "unicast"
    facts: dict[str, Fact] = field(default_factory=dict, repr=False, compare=False)
    text: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not 1 <= len(name) <= 64 or not name.isprintable():
            raise ChipError(f"chip name is {name!r}; use 1 to 64 printable characters")
        for key, choices in CHOICES.items():
            if getattr(self, key) not in get_args(choices):
                raise ChipError(
                    f"{key} is {getattr(self, key)!r}; choose {' or '.join(get_args(choices))}"
                )
        for name, (least, most) in RANGES.items():
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
        for axis, tiles in (("columns", self.mesh_columns), ("rows", self.mesh_rows)):
            if tiles > MOST_TILES:
                raise ChipError(
                    f"the board has {tiles} {axis} of tiles; at most {MOST_TILES} are simulated"
                )
        if self.storage == "dense" and self.index_bits:
            raise ChipError(
                f"core.index_bits is {self.index_bits}, but dense storage has no index; "
                "set it to 0, or storage to sparse"
            )
        object.__setattr__(self, "dead_cores", self._dead())
        object.__setattr__(self, "dead_links", self._dead_links())
        object.__setattr__(self, "ports", self._ports())
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
            step_x, step_y = STEPS[LINK_SIDES.index(link[2])]
            ends = ((x, y), (x + step_x, y + step_y))
            if not all(map(self._has_tile, ends)):
                raise ChipError(
                    f"mesh.dead_links has a link from tile {x},{y} to the {link[2]}; the mesh has "
                    f"{self.mesh_columns} × {self.mesh_rows} tiles"
                )
            dead.append((x, y, str(link[2])))
        return tuple(sorted(set(dead)))

    def _has_tile(self, tile: TileName) -> bool:
        return 0 <= tile[0] < self.mesh_columns and 0 <= tile[1] < self.mesh_rows

    def _ports(self) -> tuple[TileName, ...]:
        ports: list[TileName] = []
        for tile in self.ports:
            if len(tile) != 2:
                raise ChipError(f"ports.tiles has {tile!r}; give column and row of a tile")
            x, y = (_whole(place, "ports.tiles") for place in tile)
            if not self._has_tile((x, y)):
                raise ChipError(
                    f"ports.tiles names tile {x},{y}; the mesh has {self.mesh_columns} × "
                    f"{self.mesh_rows} tiles"
                )
            if (x, y) in ports:
                raise ChipError(f"ports.tiles names tile {x},{y} twice; name each port once")
            if self._is_dead((x, y)):
                raise ChipError(
                    f"ports.tiles names tile {x},{y}, whose cores and links are all dead; put "
                    "the port on another tile"
                )
            ports.append((x, y))
        return tuple(ports)

    def _is_dead(self, tile: TileName) -> bool:
        """Whether nothing on the tile works and nothing leaves it."""
        x, y = tile
        first = (y * self.mesh_columns + x) * self.cores_per_tile
        living = (
            side
            for side, (right, down) in zip(LINK_SIDES, STEPS)
            if self._has_tile((x + right, y + down)) and (x, y, side) not in self.dead_links
        )
        cores = range(first, first + self.cores_per_tile)
        return all(core in self.dead_cores for core in cores) and not any(living)

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
        """Number of cores, on all chips together."""
        return self.mesh_columns * self.mesh_rows * self.cores_per_tile

    @property
    def chips(self) -> int:
        """Number of chips joined at their edges."""
        return (self.board_columns or 1) * (self.board_rows or 1)

    @property
    def board(self) -> str:
        """How many chips are joined, for a line of text; empty for a single one."""
        if self.chips == 1:
            return ""
        across, down = self.board_columns or 1, self.board_rows or 1
        each = plural(self.cores // self.chips, "core")
        return f"{self.chips} chips, {across} across and {down} down, {each} each"

    @property
    def mesh_columns(self) -> int:
        """Tiles in a row of the whole mesh, over all chips."""
        return self.columns * (self.board_columns or 1)

    @property
    def mesh_rows(self) -> int:
        """Rows of tiles of the whole mesh, over all chips."""
        return self.rows * (self.board_rows or 1)

    @property
    def port_tiles(self) -> tuple[TileName, ...]:
        """(column, row) of every input port."""
        return self.ports or ((0, 0),)

    @cached_property
    def cut_off(self) -> tuple[TileName, ...]:
        """Tiles that dead links leave without a way from a port, or to and from the others."""
        if not self.dead_links:
            return ()
        size = (self.mesh_columns, self.mesh_rows)
        return cut_off(size, self.dead_links, self.port_tiles)

    @cached_property
    def unusable_cores(self) -> tuple[int, ...]:
        """Cores that hold nothing: dead ones, and those on tiles that are cut off."""
        first = [(y * self.mesh_columns + x) * self.cores_per_tile for x, y in self.cut_off]
        cores = (core for tile in first for core in range(tile, tile + self.cores_per_tile))
        return tuple(sorted({*self.dead_cores, *cores}))

    @property
    def working_cores(self) -> int:
        """Number of cores that may hold a slice."""
        return self.cores - len(self.unusable_cores)

    @property
    def packet_flits(self) -> int:
        """Flits of one packet."""
        return self._flits(self.link_bits)

    @property
    def board_flits(self) -> int:
        """Flits of one packet on a link from chip to chip."""
        return self._flits(self.board_link_bits or self.link_bits)

    def _flits(self, bits: int | None) -> int:
        return 1 if self.packet_bits is None or bits is None else -(-self.packet_bits // bits)

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Dotted keys of the times that are not known."""
        needed = TIMES + (("board_hop_ticks", "board_link_ticks") if self.chips > 1 else ())
        return tuple(KEYS[name] for name in needed if getattr(self, name) is None)

    @property
    def missing_times(self) -> str:
        """The beginning of a sentence that names them, or one of many; empty if none is missing."""
        missing = self.unpublished
        if not missing:
            return ""
        more = f" (nor {len(missing) - 1} more times)" if len(missing) > 2 else ""
        named = missing[0] if more else " nor ".join(missing)
        return f"chip {self.name!r} publishes no {named}{more}"

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
        if self.unpublished:
            raise ChipError(
                f"{self.missing_times}; mode 'timed' needs it: "
                "use mode 'count', or a chip file of your own with a value you assume"
            )
        found = {KEYS[name].split(".")[1]: getattr(self, name) for name in TIMES}
        return Times(
            **found,
            board_hop=self.board_hop_ticks or 0,
            board_link=self.board_link_ticks or 0,
        )

    def tile(self, core: int) -> tuple[int, int]:
        """(column, row) of the tile a core sits on; cores count along rows of tiles."""
        tile = core // self.cores_per_tile
        return tile % self.mesh_columns, tile // self.mesh_columns

    def __str__(self) -> str:
        head = (
            f"{textwrap.fill(f'{self.name}: {self.description}', LINE)}\n"
            f"{self.columns} × {self.rows} tiles × {plural(self.cores_per_tile, 'core')}, "
            f"{self.sync} sync, {self.storage} weights, {self.kernels} kernels, "
            f"{self.dataflow} dataflow{', multicast' if self.routing == 'multicast' else ''}"
        )
        if self.chips > 1:
            head += (
                f"\n{self.board_columns or 1} × {self.board_rows or 1} such chips joined at their "
                f"edges: {self.mesh_columns} × {self.mesh_rows} tiles, {self.cores} cores"
            )
        if self.ports:
            head += "\ninput ports at tiles " + ", ".join(f"{x},{y}" for x, y in self.ports)
        if self.dead_cores:
            dead = f"dead cores: {', '.join(map(str, self.dead_cores))}"
            head += "\n" + textwrap.fill(dead, LINE, subsequent_indent="  ")
        if self.dead_links:
            dead = "dead links: " + ", ".join(f"{x},{y} {side}" for x, y, side in self.dead_links)
            head += "\n" + textwrap.fill(dead, LINE, subsequent_indent="  ")
        if self.cut_off:
            dead = "tiles cut off by them: " + ", ".join(f"{x},{y}" for x, y in self.cut_off)
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


def _whole(value: Any, key: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ChipError(f"{key} is {value!r}; it must be a whole number") from None
