"""Chip files: TOML in which every number carries its evidence."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from neuromorph.chip.keys import KEYS, LISTS, TABLES, ChipFile, Fact
from neuromorph.chip.model import Chip
from neuromorph.errors import ChipError, check_path

__all__ = ["PRESETS", "list_chips", "load_chip"]

PRESETS = Path(__file__).parents[1] / "presets" / "chips"
MAX_FILE_BYTES = 1 << 20


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
        parsed = msgspec.convert(data, ChipFile)
    except OSError as error:  # also a name too long, or a folder that may not be entered
        raise ChipError(f"cannot read chip file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChipError(f"{path} is not a TOML file: {error}") from None
    except msgspec.ValidationError as error:
        raise ChipError(f"{path}: {error}") from None
    facts = {
        f"{table}.{key}": msgspec.convert(entry, Fact)
        for table in TABLES
        if table in data
        for key, entry in data[table].items()
        if key not in LISTS
    }
    try:
        if parsed.ports is not None and not parsed.ports.tiles:
            raise ChipError("ports.tiles is empty; name a tile, or leave the table out")
        return _chip(parsed, facts, text)
    except ChipError as error:
        raise ChipError(f"{path}: {error}") from None


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
