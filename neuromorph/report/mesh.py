"""One picture of a mapping: which layer sits where, and what crosses every link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.canvas import blank_figure, save_png
from neuromorph.chip import LINK_SIDES
from neuromorph.errors import SimulationError
from neuromorph.events import plural
from neuromorph.mapping import Mapping, Spikes, link_packets
from neuromorph.report.drawing import Mesh, colour_of, short, template
from neuromorph.writing import check_ending, write_whole

__all__ = ["draw_mapping"]

BOX = 640.0  # side of the box the tiles are drawn in, gaps for links not counted
LARGEST_TILE = 72.0
GAP = 0.4  # between tiles, in sides of a tile
SHOWN_LAYERS = 24
LEGEND = 26.0  # height of an entry
# Inches of a PNG: beside the mesh for the legend; a letter of the title; an entry of the legend.
BESIDE, LETTER, ENTRY = 3.0, 0.07, 0.18
SHADES = {"east": "#444444", "west": "#999999", "south": "#444444", "north": "#999999"}
Line = tuple[float, float, float, float]  # x, y of both ends
LEAST_NAMED = 36.0  # side of a core whose layer is written on it


def draw_mapping(
    mapping: Mapping, path: str | os.PathLike[str], *, traffic: Spikes | None = None
) -> Path:
    """Draw a mapping as SVG or PNG: the used part of the mesh, layers in colours, load of links.

    A bar in the gap between two tiles stands for one direction of a link, its
    breadth for the packets that cross it in one inference.  Broken lines are edges
    of chips on a board, triangles input ports.

    Parameters
    ----------
    mapping : Mapping
    path : path
        File to write, ``.svg`` or ``.png`` (which needs matplotlib); it appears
        under its name only when it is whole.
    traffic : Counts or dict, optional
        Spikes as :func:`neuromorph.map_network` takes them; without, every
        neuron sends one.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    SimulationError
        Another ending, or the file cannot be written.
    MappingError
        Traffic that is not of this network.
    MissingDependencyError
        A PNG without matplotlib.
    """
    check_ending(path, (".svg", ".png"), SimulationError)
    mesh = Mesh.of(mapping.chip, mapping.slices, BOX, LARGEST_TILE, 0)
    pitch = mesh.side * (1 + GAP)
    load = link_packets(mapping, traffic)[: mesh.rows, : mesh.columns]
    layers = [stage.name for stage in mapping.network.stages]
    named = layers[:SHOWN_LAYERS]
    shown = "one spike" if traffic is None else "the spikes given"
    width, height = pitch * mesh.columns, pitch * mesh.rows
    title = short(f"{mapping.network.name} on {mapping.chip.name}", 60)
    notes = [
        mesh.note(mapping.chip),
        f"{mapping.hops(traffic):,.0f} packet-hops an inference with {shown} a neuron; "
        f"busiest link {load.max():,.0f} packets",
    ]
    cores, links = _cores(mapping, mesh, pitch), _links(load, mesh.side, pitch)
    inside = (GAP / 2 * mesh.side, pitch)
    edges, ports = _edges(mesh, inside), _ports(mesh, pitch)
    if Path(path).suffix.lower() == ".png":
        figure = _figure(title, notes, mesh, pitch, cores, links, edges, ports)
        return save_png(figure, path, SimulationError, dpi=110)
    text = template("mapping.svg.jinja").render(
        title=title,
        notes=notes,
        width=max(width + 250, 760),
        height=max(height, LEGEND * (len(named) + 3)) + 150,
        side=mesh.side,
        size=mesh.size,
        tiles=[(x * pitch, y * pitch) for y in range(mesh.rows) for x in range(mesh.columns)],
        cores=cores,
        links=links,
        edges=edges,
        ports=ports,
        legend=[(name, colour_of(i)[0], i * LEGEND) for i, name in enumerate(named)],
        splits=not all(s.owns for s in mapping.slices),
        more=len(layers) - len(named),
        legend_x=width + 30,
        legend_end=len(named) * LEGEND,
    )
    return write_whole(path, text.encode(), SimulationError, "picture")


def _figure(
    title: str,
    notes: list[str],
    mesh: Mesh,
    pitch: float,
    cores: list[dict[str, Any]],
    links: list[dict[str, Any]],
    edges: list[Line],
    ports: list[tuple[float, float]],
) -> Any:
    """The same picture, drawn by matplotlib: links on tiles, cores in the colours of layers."""
    width, height = pitch * mesh.columns, pitch * mesh.rows
    head, entries = [title, *notes], len({core["layer"] for core in cores}) + 4
    wide = max(BESIDE + width / 110, LETTER * max(map(len, head)) + 0.5)
    figure = blank_figure(wide, max(1.2 + height / 110, ENTRY * entries))
    figure.suptitle("\n".join(head), fontsize=9, x=0.2 / wide, ha="left")
    axes = figure.add_subplot()
    axes.set(xlim=(-20, width), ylim=(height, -4), aspect="equal", anchor="W")
    axes.set_axis_off()

    def box(x: float, y: float, wide: float, high: float, **look: Any) -> None:
        axes.fill([x, x + wide, x + wide, x], [y, y, y + high, y + high], **look)

    for row in range(mesh.rows):
        for column in range(mesh.columns):
            at = column * pitch, row * pitch
            box(*at, mesh.side, mesh.side, facecolor="#f4f4f4", edgecolor="#cccccc", linewidth=0.5)
    for link in links:
        box(*link["bar"], facecolor=SHADES[link["side"]], linewidth=0)
    for x, y, to_x, to_y in edges:
        axes.plot([x, to_x], [y, to_y], color="#D55E00", linewidth=1.2, linestyle=(0, (4, 3)))
    for x, y in ports:
        axes.fill([x - 12, x, x - 12], [y - 6, y, y + 6], facecolor="#222222", zorder=3)
    named = set[str]()
    for core in cores:
        label = None if core["layer"] in named else short(core["layer"], 24)
        named.add(core["layer"])
        look = {"hatch": None if core["owns"] else "////", "edgecolor": "white", "linewidth": 0.5}
        box(core["x"], core["y"], mesh.size, mesh.size, facecolor=core["fill"], label=label, **look)
        if core["name"]:
            middle = core["x"] + mesh.size / 2, core["y"] + mesh.size / 2
            axes.text(
                *middle, core["name"], color=core["ink"], fontsize=7, ha="center", va="center"
            )
    if not all(core["owns"] for core in cores):
        axes.fill([], [], facecolor="#bbbbbb", hatch="////", label="sends partial sums")
    for sides in ("east", "south"), ("west", "north"):
        axes.fill([], [], facecolor=SHADES[sides[0]], label=f"packets {' and '.join(sides)}")
    if edges:
        axes.plot([], [], color="#D55E00", linestyle=(0, (4, 3)), label="edge of a chip")
    figure.legend(loc="outside right center", frameon=False, fontsize=8, borderaxespad=1)
    return figure


def _edges(mesh: Mesh, place: tuple[float, float]) -> list[Line]:
    """Lines in the gaps between chips; ``place``: half a gap, and a tile with its gap."""
    half, pitch = place
    across, down = mesh.edges
    width, height = pitch * mesh.columns - 2 * half, pitch * mesh.rows - 2 * half
    lines = [(x * pitch - half, 0.0, x * pitch - half, height) for x in across]
    return lines + [(0.0, y * pitch - half, width, y * pitch - half) for y in down]


def _ports(mesh: Mesh, pitch: float) -> list[tuple[float, float]]:
    """Tips of the triangles that stand for input ports, at the left side of their tiles."""
    middle = mesh.side / 2
    return [(x * pitch - (0 if x else 6), y * pitch + middle) for x, y in mesh.ports]


def _cores(mapping: Mapping, mesh: Mesh, pitch: float) -> list[dict[str, Any]]:
    cores = []
    for s, place in zip(mapping.slices, mesh.places):
        tile = mapping.chip.tile(s.core)
        fill, ink = colour_of(s.stage)
        x, y = (p + t * (pitch - mesh.side) for p, t in zip(place, tile))
        label = f"core {s.core}: {s.layer}, {plural(s.neurons, 'neuron')}"
        cores.append(
            {
                "x": x,
                "y": y,
                "fill": fill,
                "ink": ink,
                "owns": s.owns,
                "layer": s.layer,
                "name": short(s.layer, int(mesh.size / 6.5)) if mesh.size >= LEAST_NAMED else "",
                "label": label + ("" if s.owns else ", partial sums"),
            }
        )
    return cores


def _links(load: NDArray[np.float64], side: float, pitch: float) -> list[dict[str, Any]]:
    """Bars in the gaps: of each pair one direction on each side of the middle."""
    most, gap, links = load.max(), pitch - side, []
    for y, x, direction in np.argwhere(load > 0).tolist():
        breadth = max(side / 2 * load[y, x, direction] / most, 0.5)
        left, top = x * pitch, y * pitch
        middle_x, middle_y = left + side / 2, top + side / 2
        bar = {
            "east": (left + side, middle_y - breadth, gap, breadth),
            "west": (left - gap, middle_y, gap, breadth),
            "south": (middle_x - breadth, top + side, breadth, gap),
            "north": (middle_x, top - gap, breadth, gap),
        }[LINK_SIDES[direction]]
        label = f"{LINK_SIDES[direction]} from {x},{y}: {load[y, x, direction]:,.1f} packets"
        links.append({"bar": bar, "label": label, "side": LINK_SIDES[direction]})
    return links
