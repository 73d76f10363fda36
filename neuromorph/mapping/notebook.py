"""A mapping in a notebook: the used part of the mesh, a square a core, and its table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from neuromorph.events import html_table, plural

if TYPE_CHECKING:
    from neuromorph.mapping.mapping import Mapping

__all__ = ["mapping_html"]

WIDTH, LARGEST = 480, 32  # pixels: of the picture, of a core
SHOWN_ROWS = 40
TURN = 137.5  # degrees of hue from layer to layer, never close to a recent one


def mapping_html(mapping: Mapping) -> str:
    """Mesh and table; the full picture is ``neuromorph map --picture``."""
    header, rows = mapping.table()
    more = len(rows) - SHOWN_ROWS
    note = f"<div>and {plural(more, 'more slice')}</div>" if more > 0 else ""
    table = html_table(mapping.caption, header, rows[:SHOWN_ROWS])
    return f"<div>{_mesh(mapping)}{table}{note}</div>"


def _mesh(mapping: Mapping) -> str:
    """An SVG of the mesh up to the last tile in use; what a core holds shows under the pointer."""
    deep = mapping.chip.cores_per_tile
    across = min(deep, max(1, round(deep**0.5)))  # cores of a tile side by side
    high = -(-deep // across)
    columns, rows = (int(n) + 1 for n in mapping.tiles.max(axis=0))
    side = min(LARGEST, max(2, WIDTH // (columns * across)))
    width, height = columns * across * side, rows * high * side
    squares = []
    for s in mapping.slices:
        x, y = mapping.chip.tile(s.core)
        place = s.core % deep
        left, top = (x * across + place % across) * side, (y * high + place // across) * side
        what = escape(f"core {s.core}: {s.layer}, {plural(s.neurons, 'neuron')}")
        squares.append(
            f'<rect x="{left}" y="{top}" width="{side}" height="{side}" stroke="white" '
            f'fill="hsl({s.stage * TURN % 360:.0f},60%,60%)"><title>{what}</title></rect>'
        )
    lines = "".join(
        f'<path d="M{a} 0V{height}" />' for a in range(0, width + 1, across * side)
    ) + "".join(f'<path d="M0 {b}H{width}" />' for b in range(0, height + 1, high * side))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2}" height="{height + 2}" '
        f'viewBox="-1 -1 {width + 2} {height + 2}">{"".join(squares)}'
        f'<g stroke="#bbb" fill="none">{lines}</g></svg>'
    )
