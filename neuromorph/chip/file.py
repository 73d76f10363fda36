"""Chip files: TOML in which every number carries its evidence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuromorph.chip.keys import KEYS, LISTS, TABLES, ChipFile, Fact
from neuromorph.chip.model import Chip
from neuromorph.errors import ChipError
from neuromorph.toml import checked, preset_names, read_toml

__all__ = ["PRESETS", "list_chips", "load_chip"]

PRESETS = Path(__file__).parents[1] / "presets" / "chips"


def list_chips() -> list[str]:
    """Names of the presets."""
    return preset_names(PRESETS)


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
    path, text, data = read_toml(name, "chip", "chip file", presets=PRESETS, error=ChipError)
    try:
        parsed = checked(data, ChipFile, ChipError)
        if parsed.ports is not None and not parsed.ports.tiles:
            raise ChipError("ports.tiles is empty; name a tile, or leave the table out")
        return _chip(parsed, _facts(data), text)
    except ChipError as error:
        raise ChipError(f"{path}: {error}") from None


def _facts(data: dict[str, Any]) -> dict[str, Fact]:
    """Every number with its evidence, by dotted key."""
    return {
        f"{table}.{key}": checked(entry, Fact, ChipError, f"{table}.{key}")
        for table in TABLES
        if table in data
        for key, entry in data[table].items()
        if key not in LISTS
    }


def _chip(file: ChipFile, facts: dict[str, Fact], text: str) -> Chip:
    numbers: dict[str, Any] = {}
    for name, dotted in KEYS.items():
        table, key = dotted.split(".")
        entry = getattr(getattr(file, table), key, None)
        numbers[name] = None if entry is None else entry.value
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
        ports=file.ports.tiles if file.ports else (),
        facts=facts,
        text=text,
        **numbers,
    )
