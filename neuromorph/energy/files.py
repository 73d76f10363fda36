"""Price files: TOML, strictly typed, unknown keys refused (form in ``docs/energy.md``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from neuromorph.energy.prices import (
    STATIC_UNITS,
    EvidenceKind,
    Outside,
    Price,
    Prices,
    SramModel,
    SramPoint,
    band,
)
from neuromorph.errors import PriceError
from neuromorph.toml import checked, preset_names, read_toml

__all__ = ["list_prices", "load_prices"]

PRESETS = Path(__file__).parents[1] / "presets" / "prices"

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_Bits = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: float
    unit: str
    kind: EvidenceKind
    source: _Text
    low: float | None = None
    high: float | None = None
    note: str = ""
    includes: tuple[str, ...] = ()
    moves_with: str = ""
    node_nm: _Positive | None = None
    vdd: _Positive | None = None


class _Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    capacity_bits: _Bits
    access_bits: _Bits
    value: float
    low: float | None = None
    high: float | None = None


class _Sram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    actions: tuple[str, ...]
    points: tuple[dict[str, Any], ...]
    kind: EvidenceKind
    source: _Text
    below: Outside
    above: Outside
    note: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    description: str
    node_nm: _Positive
    vdd: _Positive
    chip: str = ""
    not_modelled: tuple[_Text, ...] = ()
    actions: dict[str, Any] = {}
    sram: dict[str, Any] | None = None
    static: dict[str, Any] = {}
    free: dict[str, str] = {}


def list_prices() -> list[str]:
    """Names of the presets."""
    return preset_names(PRESETS)


def load_prices(name: str | os.PathLike[str]) -> Prices:
    """Read prices from a TOML file or a preset by name.

    Parameters
    ----------
    name : str or path
        A file, or the name of a preset (:func:`list_prices`).

    Returns
    -------
    Prices

    Raises
    ------
    PriceError
        Not found (lists the presets), not TOML, unknown or missing keys,
        impossible numbers, unknown actions or kinds, double charging; names
        the file and the key.

    Examples
    --------
    >>> load_prices("horowitz45").node_nm
    45.0
    """
    path, text, data = read_toml(name, "prices", "price file", presets=PRESETS, error=PriceError)
    try:
        return _prices(data, text)
    except PriceError as error:
        raise PriceError(f"{path}: {error}") from None


def _prices(data: dict[str, Any], text: str) -> Prices:
    file = checked(data, _File, PriceError)
    return Prices(
        name=file.name,
        description=file.description,
        node_nm=file.node_nm,
        vdd=file.vdd,
        chip=file.chip,
        actions={a: _price(entry, a, f"actions.{a}") for a, entry in file.actions.items()},
        free=file.free,
        sram=None if file.sram is None else _sram(file.sram),
        static={
            part: _price(entry, f"static.{part}", f"static.{part}")
            for part, entry in file.static.items()
            if _known_part(part)
        },
        not_modelled=file.not_modelled,
        text=text,
    )


def _known_part(part: str) -> bool:
    if part not in STATIC_UNITS:
        raise PriceError(f"static.{part}: unknown part; parts are {', '.join(STATIC_UNITS)}")
    return True


def _price(data: object, name: str, key: str) -> Price:
    entry = checked(data, _Entry, PriceError, key)
    low, high = band(entry.value, entry.low, entry.high, entry.kind)
    try:
        return Price(
            name=name,
            value=entry.value,
            low=low,
            high=high,
            unit=entry.unit,
            kind=entry.kind,
            source=entry.source,
            note=entry.note,
            includes=entry.includes,
            moves_with=entry.moves_with,
            node_nm=entry.node_nm,
            vdd=entry.vdd,
        )
    except PriceError as error:
        raise PriceError(f"{key}: {error}") from None


def _sram(data: dict[str, Any]) -> SramModel:
    sram = checked(data, _Sram, PriceError, "sram")
    points = []
    for i, item in enumerate(sram.points):
        point = checked(item, _Point, PriceError, f"sram.points[{i}]")
        low, high = band(point.value, point.low, point.high, sram.kind)
        try:
            points.append(
                SramPoint(
                    capacity_bits=point.capacity_bits,
                    access_bits=point.access_bits,
                    value=point.value,
                    low=low,
                    high=high,
                )
            )
        except PriceError as error:
            raise PriceError(f"sram.points[{i}]: {error}") from None
    try:
        return SramModel(
            actions=sram.actions,
            points=tuple(points),
            kind=sram.kind,
            source=sram.source,
            note=sram.note,
            below=sram.below,
            above=sram.above,
        )
    except PriceError as error:
        raise PriceError(f"sram: {error}") from None
