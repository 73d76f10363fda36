"""Prices at another technology node: logic, memory and wires apart.

Log energy is linear in log node between the nodes of a table, so a factor is
monotone wherever its table is.  Linear interpolation over a table position
that runs the other way, as in a library we looked at, makes 22 nm dearer than
28 nm.

Logic   Stillmaker & Baas, "Scaling equations for the accurate prediction of
        CMOS device performance from 180 nm to 7 nm", Integration 58 (2017):
        polynomials in the supply, evaluated here at 0.8 V (coefficients as in
        Accelergy-Project/accelergy-library-plug-in, scaling.py).
Memory, wires, and a second opinion on logic
        Jouppi et al., "Ten lessons from three generations shaped Google's
        TPUv4i", ISCA 2021, Table 2: Horowitz's table at 45 nm and at 7 nm.

The two disagree threefold on logic.  The range of a scaled price holds both.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from neuromorph.energy.prices import BANDS, Price, Prices, SramModel
from neuromorph.errors import PriceError

__all__ = ["LOGIC", "LOGIC_IN_PRODUCTS", "SRAM", "WIRE", "Part", "node_factor", "scale_prices"]

Part = Literal["logic", "sram", "wire"]
Curve = Mapping[float, float]
_Factors = Callable[[Part, int], tuple[float, float, float]]

# Polynomials a V² + b V + c of Stillmaker & Baas, node in nm → (a, b, c).
_POLYNOMIALS = {
    7.0: (0.1776, -0.09097, 0.02447),
    10.0: (0.2068, -0.09311, 0.02375),
    14.0: (0.2363, -0.09675, 0.02239),
    16.0: (0.2958, -0.1241, 0.03024),
    20.0: (0.373, -0.1582, 0.04104),
    32.0: (0.9559, -0.7823, 0.471),
    45.0: (1.103, -0.362, 0.2767),
}
_SUPPLY = 0.8

# Relative energy of logic by node, all at one supply.
LOGIC: Curve = MappingProxyType(
    {nm: a * _SUPPLY**2 + b * _SUPPLY + c for nm, (a, b, c) in _POLYNOMIALS.items()}
)
# 32-bit integer addition in pJ, Jouppi 2021: what logic gained in products, supplies included.
LOGIC_IN_PRODUCTS: Curve = MappingProxyType({7.0: 0.03, 45.0: 0.1})
# One 64-bit access in pJ by capacity, Jouppi 2021; supplies included.
SRAM: Mapping[int, Curve] = MappingProxyType(
    {
        8 * 8192: MappingProxyType({7.0: 7.5, 45.0: 10.0}),
        32 * 8192: MappingProxyType({7.0: 8.5, 45.0: 20.0}),
        1024 * 8192: MappingProxyType({7.0: 14.0, 45.0: 100.0}),
    }
)
# Energy of a millimetre of wire, Jouppi 2021: less than 2 × better over the whole way.
WIRE: Curve = MappingProxyType({7.0: 0.5, 45.0: 1.0})

THRESHOLD_TABLE_BITS = 4 * 8192  # what a neuron update reads, see horowitz45


def node_factor(
    part: Part, from_nm: float, to_nm: float, *, capacity_bits: int = 8 * 8192
) -> float:
    """By how much the energy of an operation changes from one node to another.

    Parameters
    ----------
    part : "logic", "sram" or "wire"
    from_nm, to_nm : float
        Nodes, 7 to 45 nm.
    capacity_bits : int
        Size of the memory, for ``"sram"``; sizes outside 8 KB … 1 MB count as the nearest.

    Returns
    -------
    float
        Logic at one supply; memory and wires as products went, supplies included.

    Raises
    ------
    PriceError
        A node outside the tables, an unknown part, no memory.

    Examples
    --------
    >>> print(f"{node_factor('logic', 45, 22):.3f} {node_factor('sram', 45, 22):.3f}")
    0.276 0.895
    """
    if part == "logic":
        return _at(LOGIC, to_nm) / _at(LOGIC, from_nm)
    if part == "wire":
        return _at(WIRE, to_nm) / _at(WIRE, from_nm)
    if part != "sram":
        raise PriceError(f"unknown part {part!r}; parts are logic, sram, wire")
    if capacity_bits < 1:
        raise PriceError(f"a memory of {capacity_bits} bits has no access energy")
    size = min(max(capacity_bits, min(SRAM)), max(SRAM))
    return _at({c: _at(curve, to_nm) / _at(curve, from_nm) for c, curve in SRAM.items()}, size)


def _at(curve: Mapping[float, float] | Mapping[int, float], x: float) -> float:
    """The curve at ``x``: log against log between its points, refused outside."""
    xs = sorted(curve)
    if not (math.isfinite(x) and xs[0] <= x <= xs[-1]):
        raise PriceError(f"{x:g} nm is outside the scaling tables, {xs[0]:g} to {xs[-1]:g} nm")
    points = {float(key): value for key, value in curve.items()}
    right = max(bisect_left(xs, x), 1)
    a, b = float(xs[right - 1]), float(xs[right])
    t = math.log(x / a) / math.log(b / a)
    return float(points[a] * (points[b] / points[a]) ** t)


def scale_prices(
    prices: Prices,
    *,
    node_nm: float,
    vdd: float,
    name: str,
    static: Mapping[str, Price] | None = None,
) -> Prices:
    """Prices of the same core at another node, every one marked ``scaled``.

    Parameters
    ----------
    prices : Prices
        Of a generic core; measured chips do not scale like this.
    node_nm, vdd : float
        The node and supply wanted.
    name : str
        Of the new prices.
    static : mapping part → Price, optional
        Static power at that node.  It does not follow from dynamic energy, so
        without it the scaled prices have none and a total is refused.

    Returns
    -------
    Prices
        Logic × node × (supply ratio)²; memory and wires × node alone, because
        their tables hold the supplies already.  The range of a price is its
        own and that of the factor, independent of each other: at least ×/÷ 2,
        for logic up to what :data:`LOGIC_IN_PRODUCTS` says, for memory and
        wires down to what logic gains.

    Raises
    ------
    PriceError
        A node outside the tables, a supply that is none.
    """
    if not (math.isfinite(vdd) and 0.1 <= vdd <= 2.0):
        raise PriceError(f"vdd is {vdd}; must be 0.1 to 2 V")
    supply = (vdd / prices.vdd) ** 2
    where = f"scaled from {prices.name}, {prices.node_nm:g} nm, {prices.vdd:g} V"

    def factors(part: Part, capacity_bits: int = 1) -> tuple[float, float, float]:
        nodes = (prices.node_nm, node_nm)
        logic = node_factor("logic", *nodes) * supply
        band = BANDS["scaled"]
        if part == "logic":
            gain = _at(LOGIC_IN_PRODUCTS, node_nm) / _at(LOGIC_IN_PRODUCTS, prices.node_nm)
            return min(logic / band, gain), logic, max(logic * band, gain)
        value = node_factor(part, *nodes, capacity_bits=capacity_bits)
        return min(value / band, logic), value, max(value * band, logic)

    def action(price: Price) -> Price:
        part = part_of(price.name)
        by = factors(part, THRESHOLD_TABLE_BITS)
        low, value, high = _times((price.low, price.value, price.high), by)
        return replace(
            price,
            low=low,
            value=value,
            high=high,
            kind="scaled",
            source=f"{where} × {by[1]:.3f} ({part}); there: {price.source}",
            note=f"at {prices.node_nm:g} nm: {price.note}" if price.note else "",
            node_nm=None,
            vdd=None,
        )

    return Prices(
        name=name,
        description=f"{prices.name} scaled to {node_nm:g} nm, {vdd:g} V; no silicon of this core",
        node_nm=node_nm,
        vdd=vdd,
        chip=prices.chip,
        actions={a: action(p) for a, p in prices.actions.items()},
        free=prices.free,
        sram=None if prices.sram is None else _sram(prices.sram, where, factors),
        static={} if static is None else static,
        not_modelled=prices.not_modelled,
    )


def part_of(action: str) -> Part:
    """What an action is made of: memory for bits, tables and neuron scans, wires for hops."""
    if action in ("prng_bits", "register_write_bits"):
        return "logic"
    if action.endswith("_bits") or action.startswith(
        ("neuron_update", "centre_update", "axon_read")
    ):
        return "sram"
    if action.startswith(("hop_", "error_hop", "barrier")):
        return "wire"
    return "logic"


def _sram(model: SramModel, where: str, factors: _Factors) -> SramModel:
    points, by = [], []
    for point in model.points:
        factor = factors("sram", point.capacity_bits)
        low, value, high = _times((point.low, point.value, point.high), factor)
        points.append(replace(point, low=low, value=value, high=high))
        by.append(f"{factor[1]:.3f}")
    return replace(
        model,
        points=tuple(points),
        kind="scaled",
        source=f"{where} × {', '.join(by)} (sram, by size); there: {model.source}",
        note=f"as scaled from: {model.note}" if model.note else "",
    )


def _times(
    price: tuple[float, float, float], by: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Product of two ranges that know nothing of each other: logarithms add in quadrature."""
    value = price[1] * by[1]
    down = math.hypot(math.log(price[1] / price[0]), math.log(by[1] / by[0]))
    up = math.hypot(math.log(price[2] / price[1]), math.log(by[2] / by[1]))
    return value * math.exp(-down), value, value * math.exp(up)
