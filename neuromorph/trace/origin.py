"""Where a record comes from: the groups ``/meta`` and ``/mapping``, of runs and of learning."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

import neuromorph
from neuromorph.chip import Chip
from neuromorph.errors import TraceError
from neuromorph.events import Hardware
from neuromorph.mapping import Mapping, Slice
from neuromorph.trace import schema
from neuromorph.trace.container import attributes, group
from neuromorph.trace.door import attribute, column
from neuromorph.trace.layout import check_network, check_slices
from neuromorph.trace.schema import NetworkInfo

__all__ = [
    "Origin",
    "fixed",
    "read_hardware",
    "read_origin",
    "strings_of",
    "write_hardware",
    "write_origin",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What ran, on what, with which options, where."""

    network: NetworkInfo
    chip: Chip
    slices: tuple[Slice, ...]
    options: dict[str, Any]
    environment: dict[str, Any]
    provenance: dict[str, Any]


def write_origin(file: h5py.File, mapping: Mapping, options: dict[str, Any]) -> None:
    """The groups ``/meta`` and ``/mapping``."""
    attributes(
        group(file, "meta"),
        {
            "network": msgspec.json.encode(schema.network_info(mapping.network)).decode(),
            "chip": schema.chip_json(mapping.chip),
            "chip_text": mapping.chip.text,
            "options": _json(options),
            "environment": _json(
                {
                    "python": platform.python_version(),
                    "platform": platform.platform(),
                    "hdf5": h5py.version.hdf5_version,
                    "h5py": h5py.version.version,
                    "numpy": np.__version__,
                    "neuromorph": neuromorph.__version__,
                }
            ),
            "provenance": _json({"network": mapping.network.meta}),
        },
    )
    table, slices = group(file, "mapping"), mapping.slices
    for name, dtype in schema.MAPPING_COLUMNS.items():
        field = "stage" if name == "layer" else name
        fixed(table, name, np.array([getattr(s, field) for s in slices], dtype))
    more = () if all(s.owns for s in slices) else (schema.INPUTS,)
    for name in (*schema.RANGES, *more):
        fixed(table, name, np.array([getattr(s, name) for s in slices], "<i8"))


def write_hardware(counts: h5py.Group, hardware: Hardware) -> None:
    """The attributes of ``/counts``."""
    known = asdict(hardware)
    for name in schema.MORE_HARDWARE:
        if known[name] == Hardware.__dataclass_fields__[name].default:
            del known[name]
    attributes(counts, known)


def read_hardware(path: Path, counts: h5py.Group) -> Hardware:
    """The same, read.

    Raises
    ------
    TraceError
        One is missing, or of another type.
    """
    more = {n: k for n, k in schema.MORE_HARDWARE.items() if n in counts.attrs}
    fields = {n: attribute(path, counts, n, k) for n, k in (schema.HARDWARE | more).items()}
    return Hardware(**fields)


def read_origin(path: Path, root: h5py.File, tick_s: float) -> Origin:
    """Both groups, checked by rules 5 to 9 of the format.

    Raises
    ------
    TraceError
        Something is missing, malformed or contradicts the rest.
    """
    meta = root.get("meta")
    if not isinstance(meta, h5py.Group):
        raise TraceError(f"{path}: group /meta is missing")
    texts = {name: attribute(path, meta, name, str) for name in schema.META}

    def parse(name: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode(texts[name], type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise TraceError(f"{path}: attribute {name!r} of /meta is malformed: {error}") from None

    network: NetworkInfo = parse("network", NetworkInfo)
    chip: Chip = replace(parse("chip", Chip), text=texts["chip_text"])
    others = {n: parse(n, dict[str, Any]) for n in ("options", "environment", "provenance")}
    check_network(path, network)
    if tick_s != chip.tick_s:
        raise TraceError(f"{path}: attribute 'tick_s' is {tick_s}, the chip has {chip.tick_s}")
    number = len(column(path, root, "mapping/core", schema.MAPPING_COLUMNS["core"], (None,)))
    table: dict[str, NDArray[Any]] = {}
    for name, dtype in schema.MAPPING_COLUMNS.items():
        table[name] = column(path, root, f"mapping/{name}", dtype, (number,))[:]
    more = (schema.INPUTS,) if f"mapping/{schema.INPUTS}" in root else ()
    for name in (*schema.RANGES, *more):
        table[name] = column(path, root, f"mapping/{name}", np.dtype("<i8"), (number, 2))[:]
    slices = check_slices(path, table, network, chip)
    return Origin(network=network, chip=chip, slices=slices, **others)


def strings_of(texts: list[str]) -> NDArray[Any]:
    """Strings of fixed length, UTF-8."""
    encoded = [t.encode() for t in texts]
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded)))
    return np.array(encoded, dtype=dtype)


def fixed(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """A small dataset that is known beforehand; one block, so that it has a checksum."""
    group.create_dataset(
        name, data=values, dtype=values.dtype, chunks=values.shape, fletcher32=True
    )


def _json(value: dict[str, Any]) -> str:
    """JSON; what JSON does not know is written as its ``repr``."""
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode({key: repr(part) for key, part in value.items()}).decode()
