"""What all drawings share: colours, round scales, templates that escape, whole files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, Template
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.mapping import Slice

__all__ = [
    "COLOURS",
    "Mesh",
    "colour_of",
    "scaled",
    "short",
    "template",
]

# Okabe-Ito colours, told apart by colour-blind readers too, and the text that reads on each.
COLOURS = (
    ("#0072B2", "#fff"),
    ("#E69F00", "#000"),
    ("#009E73", "#fff"),
    ("#CC79A7", "#000"),
    ("#56B4E9", "#000"),
    ("#D55E00", "#fff"),
    ("#F0E442", "#000"),
    ("#999999", "#000"),
)


@dataclass(frozen=True, slots=True)
class Mesh:
    """The used tiles of a chip and ``margin`` beyond, as squares in a box."""

    columns: int
    rows: int
    side: float  # of a tile
    size: float  # of a core
    places: list[tuple[float, float]]  # of every slice
    ports: list[tuple[int, int]]  # tiles with an input port
    edges: tuple[list[int], list[int]]  # columns and rows that begin another chip of a board

    @classmethod
    def of(
        cls, chip: Chip, slices: Sequence[Slice], box: float, largest: float, margin: int
    ) -> Mesh:
        """Lay out the cores of some slices."""
        tiles = [chip.tile(s.core) for s in slices]
        shown = [*tiles, *chip.ports]
        columns = min(chip.mesh_columns, max(x for x, _ in shown) + 1 + margin)
        rows = min(chip.mesh_rows, max(y for _, y in shown) + 1 + margin)
        side = min(largest, box / max(columns, rows))
        per_row = math.ceil(math.sqrt(chip.cores_per_tile))
        gap = 1.0 if side > 8 else 0.0
        size = (side - 2 * gap) / per_row
        inside = [divmod(s.core % chip.cores_per_tile, per_row) for s in slices]
        places = [
            (x * side + gap + column * size, y * side + gap + row * size)
            for (x, y), (row, column) in zip(tiles, inside)
        ]
        ports = [(x, y) for x, y in chip.port_tiles if x < columns and y < rows]
        across = list(range(chip.columns, columns, chip.columns))
        down = list(range(chip.rows, rows, chip.rows))
        return cls(columns, rows, side, size - gap, places, ports, (across, down))

    def note(self, chip: Chip) -> str:
        """How much of the chip is used and shown."""
        part = f"{self.columns} × {self.rows} of "
        whole = (self.columns, self.rows) == (chip.mesh_columns, chip.mesh_rows)
        board = f" on {chip.chips} chips" if chip.chips > 1 else ""
        return (
            f"{len(self.places)} of {chip.cores:,} cores used; shown: "
            f"{'' if whole else part}{chip.mesh_columns} × {chip.mesh_rows} tiles{board}"
        )


def colour_of(position: int) -> tuple[str, str]:
    """Colour of the layer at a position, and the text that reads on it."""
    return COLOURS[position % len(COLOURS)]


def template(name: str) -> Template:
    """A template of this folder; what it is given is escaped and can be written in XML."""
    environment = Environment(
        loader=PackageLoader("neuromorph.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _clean(value) if isinstance(value, str) else value,
    )
    environment.filters["px"] = lambda value: f"{value:.1f}".removesuffix(".0")
    return environment.get_template(name)


def _clean(text: str) -> str:
    """Text without what XML may not hold (control characters, lone surrogates)."""
    if text.isprintable():
        return text
    return type(text)("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text))


def short(text: str, length: int) -> str:
    """Text cut to a length."""
    return text if len(text) <= length else text[: length - 1] + "…"


def scaled(values: NDArray[Any]) -> tuple[list[tuple[float, str]], Sequence[float]]:
    """Round ticks that span the values, and the values in the unit interval."""
    low, high = float(np.min(values)), float(np.max(values))
    whole = values.dtype.kind in "iu"
    span = (high - low) or max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / 2))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= 5)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    last = last if last > first else first + step
    ticks = np.arange(first, last + step / 2, step)
    digits = max(0, -math.floor(math.log10(step)))
    named = [(float((t - first) / (last - first)), f"{t:,.{digits}f}") for t in ticks]
    return named, [float(v) for v in (np.asarray(values, float) - first) / (last - first)]
