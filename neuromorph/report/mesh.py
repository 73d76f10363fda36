"""One SVG picture of a mapping: which layer sits where, and what crosses every link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES
from neuromorph.errors import SimulationError
from neuromorph.mapping import Mapping, Spikes, link_packets
from neuromorph.report.drawing import Mesh, colour_of, short, template
from neuromorph.writing import write_whole

__all__ = ["draw_mapping"]

BOX = 640.0  # side of the box the tiles are drawn in, gaps for links not counted
LARGEST_TILE = 72.0
GAP = 0.4  # between tiles, in sides of a tile
SHOWN_LAYERS = 24
LEGEND = 26.0  # height of an entry
LEAST_NAMED = 36.0  # side of a core whose layer is written on it


def draw_mapping(
    mapping: Mapping, path: str | os.PathLike[str], *, traffic: Spikes | None = None
) -> Path:
    """Draw a mapping as SVG: the used part of the mesh, layers in colours, load of links.

    A bar in the gap between two tiles stands for one direction of a link, its
    breadth for the packets that cross it in one inference.

    Parameters
    ----------
    mapping : Mapping
    path : path
        File to write; it appears under its name only when it is whole.
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
        The file cannot be written.
    MappingError
        Traffic that is not of this network.
    """
    mesh = Mesh.of(mapping.chip, mapping.slices, BOX, LARGEST_TILE, 0)
    pitch = mesh.side * (1 + GAP)
    load = link_packets(mapping, traffic)[: mesh.rows, : mesh.columns]
    layers = [stage.name for stage in mapping.network.stages]
    named = layers[:SHOWN_LAYERS]
    shown = "one spike" if traffic is None else "the spikes given"
    width, height = pitch * mesh.columns, pitch * mesh.rows
    text = template("mapping.svg.jinja").render(
        title=short(f"{mapping.network.name} on {mapping.chip.name}", 60),
        notes=[
            mesh.note(mapping.chip),
            f"{mapping.hops(traffic):,.0f} packet-hops an inference with {shown} a neuron; "
            f"busiest link {load.max():,.0f} packets",
        ],
        width=max(width + 250, 760),
        height=max(height, LEGEND * (len(named) + 3)) + 150,
        side=mesh.side,
        size=mesh.size,
        tiles=[(x * pitch, y * pitch) for y in range(mesh.rows) for x in range(mesh.columns)],
        cores=_cores(mapping, mesh, pitch),
        links=_links(load, mesh.side, pitch),
        legend=[(name, colour_of(i)[0], i * LEGEND) for i, name in enumerate(named)],
        splits=not all(s.owns for s in mapping.slices),
        more=len(layers) - len(named),
        legend_x=width + 30,
        legend_end=len(named) * LEGEND,
    )
    return write_whole(path, text.encode(), SimulationError, "picture")


def _cores(mapping: Mapping, mesh: Mesh, pitch: float) -> list[dict[str, Any]]:
    cores = []
    for s, place in zip(mapping.slices, mesh.places):
        tile = mapping.chip.tile(s.core)
        fill, ink = colour_of(s.stage)
        x, y = (p + t * (pitch - mesh.side) for p, t in zip(place, tile))
        label = f"core {s.core}: {s.layer}, {s.neurons} neurons"
        cores.append(
            {
                "x": x,
                "y": y,
                "fill": fill,
                "ink": ink,
                "owns": s.owns,
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
        links.append({"bar": bar, "label": label})
    return links
