"""The trace file before its first row: descriptions, mapping and empty tables."""

from __future__ import annotations

import io
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

import neuromorph
from neuromorph.mapping import Mapping
from neuromorph.trace import schema
from neuromorph.trace.compression import Compression, filters_of
from neuromorph.trace.container import attributes, create, group
from neuromorph.trace.schema import Detail

__all__ = ["blank"]

CHUNK_ROWS = 1 << 16  # rows of a column stored as one block
SAMPLE_CHUNK_ROWS = 1 << 12  # a block not full yet is written anew with every batch
COUNT_CHUNK_CELLS = 1 << 16


def blank(mapping: Mapping, detail: Detail, mode: str, compression: Compression) -> bytes:
    """The file before its first row, made in memory: HDF5 cannot undo half a write."""
    filters = filters_of(compression)
    image = io.BytesIO()
    with create(image) as file:
        _describe(file, mapping, detail, mode)
        _make_tables(file, mapping, mode)
        for table, columns in schema.EVENT_TABLES.items():
            if table in schema.tables_of(detail):
                made = group(file, table)
                for name, dtype in columns.items():
                    _growing(made, name, dtype, chunk=CHUNK_ROWS, filters=filters)
    return image.getvalue()


def _describe(file: h5py.File, mapping: Mapping, detail: Detail, mode: str) -> None:
    """Attributes, descriptions, mapping and labels: all that is known beforehand."""
    attributes(
        file,
        {
            "format": schema.FORMAT,
            "version": "{}.{}".format(*schema.VERSION),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "generator": f"neuromorph {neuromorph.__version__}",
            "complete": False,
            "mode": mode,
            "detail": detail,
            "tick_s": mapping.chip.tick_s,
        },
    )
    meta = group(file, "meta")
    attributes(
        meta,
        {
            "network": msgspec.json.encode(schema.network_info(mapping.network)).decode(),
            "chip": schema.chip_json(mapping.chip),
            "chip_text": mapping.chip.text,
            "options": _json({"mode": mode, "detail": detail}),
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
        _fixed(table, name, np.array([getattr(s, field) for s in slices], dtype))
    for name in schema.RANGES:
        _fixed(table, name, np.array([getattr(s, name) for s in slices], "<i8"))
    counts = group(file, "counts")
    attributes(counts, asdict(mapping.hardware))
    _fixed(counts, "actions", _strings(list(schema.TRACED_ACTIONS)))
    _fixed(counts, "layers", _strings(list(mapping.row_layers)))
    _fixed(counts, "cores", mapping.row_cores.astype("<i8"))
    _fixed(counts, "pairs", mapping.pairs.astype("<i8"))


def _make_tables(file: h5py.File, mapping: Mapping, mode: str) -> None:
    """Tables of a row a sample."""
    rows = mapping.rows
    counts = file["counts"]
    per_sample = rows * len(schema.TRACED_ACTIONS)
    block = max(1, COUNT_CHUNK_CELLS // per_sample)
    _growing(counts, "values", "<i8", (rows, len(schema.TRACED_ACTIONS)), chunk=block)
    _growing(counts, "ticks", "<i8", chunk=1)
    _growing(counts, "active_ticks", "<i8", chunk=rows)
    classes = mapping.network.classes
    samples = group(file, "samples")
    attributes(samples, {"flushed": np.zeros(len(schema.TABLES), "<i8")})
    names = dict(schema.SAMPLE_COLUMNS)
    if mode == "timed":
        names |= schema.TIME_COLUMNS
    for name, dtype in names.items():
        _growing(samples, name, dtype, chunk=SAMPLE_CHUNK_ROWS)
    _growing(samples, "outputs", "<i4", (classes,), chunk=SAMPLE_CHUNK_ROWS)


def _strings(texts: list[str]) -> NDArray[Any]:
    encoded = [t.encode() for t in texts]
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded)))
    return np.array(encoded, dtype=dtype)


def _fixed(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """A small dataset that is known beforehand; one block, so that it has a checksum."""
    group.create_dataset(
        name, data=values, dtype=values.dtype, chunks=values.shape, fletcher32=True
    )


def _growing(
    group: h5py.Group,
    name: str,
    dtype: Any,
    shape: tuple[int, ...] = (),
    *,
    chunk: int,
    filters: dict[str, Any] | None = None,
) -> h5py.Dataset:
    """An empty dataset that grows along its first axis."""
    return group.create_dataset(
        name,
        (0, *shape),
        dtype,
        maxshape=(None, *shape),
        chunks=(chunk, *shape),
        **(filters_of("gzip") if filters is None else filters),
    )


def _json(value: dict[str, Any]) -> str:
    """JSON; what JSON does not know is written as its ``repr``."""
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode({key: repr(part) for key, part in value.items()}).decode()
