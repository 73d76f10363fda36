"""Charts over time of the report page, as numbers in unit boxes for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.report.drawing import colour_of, scaled
from neuromorph.report.gather import Raster
from neuromorph.trace import Trace

__all__ = ["Layer", "area_chart", "latency_chart", "latency_parts", "raster_chart"]

WIDTH = 1000  # of the box that templates stretch
SHADES = 6
ROW_HEIGHT = 3  # pixels of a row of bins
SMALLEST_BAND = 18
SHOWN_SAMPLES = 200  # columns of an area chart; more samples are averaged
PORT = "#555555"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A name and its colour."""

    name: str
    fill: str


# --- the raster


def raster_chart(raster: Raster, tick_s: float) -> dict[str, Any]:
    """Bands of a raster as paths, and its time axis."""
    bands: list[dict[str, Any]] = []
    top = 0
    for i, (name, size, rows) in enumerate(raster.bands):
        height = max(rows * ROW_HEIGHT, SMALLEST_BAND)
        fill = PORT if i == 0 else colour_of(i - 1)[0]
        band = {"name": name, "size": size, "top": top, "height": height, "fill": fill}
        if raster.bins is not None:
            first = sum(r for _, _, r in raster.bands[:i])
            band["shades"] = _shades(raster.shades(first, rows))
            band["box"] = (raster.bins.shape[1], rows)
        else:
            mine = [m for m in raster.marks or () if m[0] == i]
            band["above"] = _marks([m for m in mine if m[3] > 0], height)
            band["below"] = _marks([m for m in mine if m[3] < 0], height)
        bands.append(band)
        top += height + 3
    if raster.timed:
        ends = np.array([raster.start, raster.stop]) * tick_s * 1e6
        axis = "time in µs"
    else:
        ends, axis = np.array([raster.start, raster.stop]), "samples"
    ticks, places = scaled(ends)
    low, high = places
    spread = (high - low) or 1.0
    inside = [((x - low) / spread, text) for x, text in ticks if low <= x <= high]
    return {
        "bands": bands,
        "height": top,
        "ticks": inside,
        "axis": axis,
        "spikes": raster.spikes,
        "binned": raster.bins is not None,
        "unit": raster.unit,
        "signed": any(band.get("below") for band in bands),
        "timed": raster.timed,
    }


def _marks(marks: list[tuple[int, float, float, int]], height: int) -> str:
    """Short upright strokes, one a spike."""
    return "".join(f"M{x * WIDTH:.1f} {y * height:.1f}v2" for _, x, y, _ in marks)


def _shades(dark: NDArray[np.float64]) -> list[tuple[float, str]]:
    """(opacity, path of all bins of this shade); neighbours in a row are one stroke."""
    shade = np.ceil(dark * SHADES - 1e-9).astype(int)  # not one more for a rounded sixth
    paths: list[list[str]] = [[] for _ in range(SHADES + 1)]
    for y, row in enumerate(shade):
        edges = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
        for x, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
            paths[row[x]].append(f"M{x} {y}h{end - x}v1h{x - end}z")
    return [(k / SHADES, "".join(paths[k])) for k in range(1, SHADES + 1) if paths[k]]


# --- areas over samples


def area_chart(parts: dict[str, NDArray[Any]], layers: list[Layer]) -> dict[str, Any]:
    """Synaptic events of every sample, layers upon each other."""
    fills = {layer.name: layer.fill for layer in layers}
    return _areas([(name, fills[name], values) for name, values in parts.items()])


def latency_chart(
    trace: Trace, arrived: NDArray[np.int64] | None, layers: list[Layer]
) -> dict[str, Any] | None:
    """Where the time of every sample went, in µs; None without time."""
    parts = latency_parts(trace, arrived, layers)
    return None if parts is None else _areas(parts)


def latency_parts(
    trace: Trace, arrived: NDArray[np.int64] | None, layers: list[Layer]
) -> list[tuple[str, str, NDArray[Any]]] | None:
    """(name, colour, µs of every sample) of the parts of the latency; None without time.

    A sample belongs to a layer from the last packet the layer got for it to the
    last packet the next layer got: its own work and its sending.
    """
    start, finish = trace.started_ticks, trace.finished_ticks
    if start is None or finish is None or not len(start):
        return None
    to_us = trace.tick_s * 1e6
    if arrived is None:
        return [("whole latency", PORT, (finish - start) * to_us)]
    names = [("input is sent", PORT), *((layer.name, layer.fill) for layer in layers)]
    edges = [start, *np.clip(arrived.T, start, finish), finish]
    edges = list(np.maximum.accumulate(np.stack(edges), axis=0))
    return [(name, fill, (b - a) * to_us) for (name, fill), a, b in zip(names, edges, edges[1:])]


def _areas(parts: list[tuple[str, str, NDArray[Any]]]) -> dict[str, Any]:
    """Stacked areas in a box of WIDTH × 1, from the bottom up; samples as steps."""
    samples = len(parts[0][2])
    columns = min(samples, SHOWN_SAMPLES)
    cuts = np.linspace(0, samples, columns + 1).astype(int)
    table = np.stack([np.add.reduceat(v, cuts[:-1]) / np.diff(cuts) for _, _, v in parts])
    tops = np.cumsum(table, axis=0)
    ticks, scaled_tops = scaled(np.concatenate([[0.0], tops.ravel()]))
    heights = 1 - np.array(scaled_tops[1:]).reshape(tops.shape)
    edges = cuts / samples * WIDTH
    floor = np.ones(columns)
    areas, whole = [], max(float(tops[-1].mean()), 1e-300)
    for (name, fill, values), row, top in zip(parts, table, heights):
        mean = float(values.mean())
        there = f"{_steps(edges, top)}L{_back(edges, floor)}z"
        areas.append({"name": name, "fill": fill, "path": "M" + there, "mean": mean,
                      "share": mean / whole, "empty": not row.any()})  # fmt: skip
        floor = top
    marks, places = scaled(np.array([0, samples]))
    last = places[1] or 1.0
    return {
        "areas": areas,
        "y_ticks": ticks,
        "x_ticks": [(x / last, text) for x, text in marks if x <= last],
        "averaged": samples > columns,
        "samples": samples,
    }


def _steps(edges: NDArray[Any], heights: NDArray[Any]) -> str:
    return "L".join(
        f"{x:.1f} {y:.4f}L{end:.1f} {y:.4f}" for x, end, y in zip(edges, edges[1:], heights)
    )


def _back(edges: NDArray[Any], heights: NDArray[Any]) -> str:
    return "L".join(
        f"{end:.1f} {y:.4f}L{x:.1f} {y:.4f}"
        for x, end, y in zip(edges[-2::-1], edges[:0:-1], heights[::-1])
    )
