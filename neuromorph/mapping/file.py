"""Mapping files: which slice sits on which core, as JSON.  Format: docs/mapping.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from neuromorph import __version__
from neuromorph.chip import Chip
from neuromorph.errors import MappingError
from neuromorph.mapping.links import lost_ways
from neuromorph.mapping.mapping import Mapping
from neuromorph.mapping.slices import Range, Slice, input_range, sum_range
from neuromorph.network import Network
from neuromorph.writing import write_whole

__all__ = ["load_mapping", "save_mapping"]

MAX_FILE_BYTES = 1 << 28


class _Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    layer: str
    core: int
    channels: Range
    rows: Range
    columns: Range
    inputs: Range | None = None  # all channels


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Literal["neuromorph-mapping"] = "neuromorph-mapping"
    version: Literal["1.0"] = "1.0"
    generator: str
    network: str
    network_hash: str
    chip: dict[str, Any]
    slices: list[_Slice]


def save_mapping(mapping: Mapping, path: str | os.PathLike[str]) -> Path:
    """Write a mapping to a file; it appears under its name only when it is whole.

    Parameters
    ----------
    mapping : Mapping
    path : path

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    MappingError
        The file cannot be written.
    """
    file = _File(
        generator=f"neuromorph {__version__}",
        network=mapping.network.name,
        network_hash=mapping.network.hash,
        chip={name: getattr(mapping.chip, name) for name in mapping.chip.__dataclass_fields__},
        slices=[_given(s, mapping.network) for s in mapping.slices],
    )
    text = msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"
    return write_whole(path, text, MappingError, "mapping")


def load_mapping(path: str | os.PathLike[str], network: Network) -> Mapping:
    """Read a mapping of a network.

    Parameters
    ----------
    path : path
    network : Network
        The one it was made for; the file holds its hash, not its weights.

    Returns
    -------
    Mapping
        ``limits`` are empty: what a core holds is not checked again.

    Raises
    ------
    MappingError
        The file cannot be read or is none, is of another network, its slices
        do not make up every layer once, a core is used twice, dead or not
        there, or dead links leave no way between two.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise MappingError(f"{file} has {size} bytes; a mapping has at most {MAX_FILE_BYTES}")
        found = msgspec.json.decode(file.read_bytes(), type=_File)
        chip = msgspec.convert(found.chip, Chip)
    except OSError as error:
        raise MappingError(f"cannot read mapping {file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{file} is not a mapping file: {error}") from None
    if found.network_hash != network.hash:
        raise MappingError(
            f"{file} is a mapping of another network ({found.network!r}) than {network.name!r}"
        )
    try:
        slices = _checked(found.slices, network, chip)
    except MappingError as error:
        raise MappingError(f"{file}: {error}") from None
    mapping = Mapping(network=network, chip=chip, slices=slices)
    for broken in lost_ways(mapping.ways) if chip.dead_links else ():
        raise MappingError(f"{file}: {broken.where}, {broken.needed} ways are missing")
    return mapping


def _given(s: Slice, network: Network) -> _Slice:
    whole = s.inputs == (0, network.stages[s.stage].input_shape[0])
    return _Slice(s.layer, s.core, *s.box, None if whole else s.inputs)


def _checked(given: list[_Slice], network: Network, chip: Chip) -> tuple[Slice, ...]:
    """Slices with what follows from them, in the order of layers."""
    cores = [s.core for s in given]
    if len(set(cores)) != len(cores):
        raise MappingError("a core holds two slices")
    for core in cores:
        if not 0 <= core < chip.cores or core in chip.dead_cores:
            raise MappingError(f"core {core} is not one of chip {chip.name!r}, or dead")
    names = [stage.name for stage in network.stages]
    order = [names.index(s.layer) if s.layer in names else -1 for s in given]
    if -1 in order or order != sorted(order):
        raise MappingError(f"slices must follow the layers {', '.join(names)}")
    slices = []
    for index, stage in enumerate(network.stages):
        held = np.zeros(stage.output_shape, np.int8)
        all_channels = (0, stage.input_shape[0])
        heard: dict[tuple[Range, Range, Range], list[Range]] = {}
        for s in (s for s, place in zip(given, order) if place == index):
            inputs = s.inputs or all_channels
            parts = heard.setdefault((s.channels, s.rows, s.columns), [])
            parts.append(inputs)
            for run, size in zip((s.channels, s.rows, s.columns), stage.output_shape):
                if not 0 <= run[0] < run[1] <= size:
                    raise MappingError(f"layer {s.layer!r} has no part {run[0]}:{run[1]}")
            box = held[slice(*s.channels), slice(*s.rows), slice(*s.columns)]
            if box.any() and (len(parts) == 1 or inputs == all_channels):
                raise MappingError(f"slices of layer {s.layer!r} overlap")
            box[...] = 1
            whole = (s.rows, s.columns) == ((0, held.shape[1]), (0, held.shape[2]))
            if stage.pool is not None and stage.pool.overlaps and not whole:
                raise MappingError(f"layer {s.layer!r} has overlapping pools and cannot be cut so")
            sum_rows, sum_columns = sum_range(stage, 0, s.rows), sum_range(stage, 1, s.columns)
            slices.append(
                Slice(
                    stage=index,
                    layer=s.layer,
                    core=s.core,
                    channels=s.channels,
                    rows=s.rows,
                    columns=s.columns,
                    sum_rows=sum_rows,
                    sum_columns=sum_columns,
                    input_rows=input_range(stage, 0, sum_rows),
                    input_columns=input_range(stage, 1, sum_columns),
                    inputs=inputs,
                )
            )
        if not held.all():
            raise MappingError(f"slices do not hold all of layer {stage.name!r}")
        for found in heard.values():
            edges = [edge for run in sorted(found) for edge in run]
            pairs = zip([0, *edges[1::2]], [*edges[::2], all_channels[1]])
            if any(a != b for a, b in pairs) or any(a >= b for a, b in found):
                raise MappingError(
                    f"parts of the fan-in of layer {stage.name!r} do not make up its "
                    f"{all_channels[1]} input channels once"
                )
    return tuple(slices)
