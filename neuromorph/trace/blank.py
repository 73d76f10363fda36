"""The trace file before its first row: descriptions, mapping and empty tables."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

import neuromorph
from neuromorph.mapping import Mapping
from neuromorph.trace import schema
from neuromorph.trace.compression import Compression, filters_of
from neuromorph.trace.container import attributes, create, group
from neuromorph.trace.origin import fixed, strings_of, write_hardware, write_origin
from neuromorph.trace.schema import Detail

__all__ = ["blank"]

CHUNK_ROWS = 1 << 16  # rows of a column stored as one block
SAMPLE_CHUNK_ROWS = 1 << 12  # a block not full yet is written anew with every batch
SAMPLE_CHUNK_CELLS = 1 << 20
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
    write_origin(file, mapping, {"mode": mode, "detail": detail})
    counts = group(file, "counts")
    write_hardware(counts, mapping.hardware)
    fixed(counts, "actions", strings_of(list(schema.traced_actions(mapping))))
    fixed(counts, "layers", strings_of(list(mapping.row_layers)))
    fixed(counts, "cores", mapping.row_cores.astype("<i8"))
    fixed(counts, "pairs", mapping.pairs.astype("<i8"))


def _make_tables(file: h5py.File, mapping: Mapping, mode: str) -> None:
    """Tables of a row a sample."""
    rows, actions = mapping.rows, len(schema.traced_actions(mapping))
    counts = file["counts"]
    block = max(1, COUNT_CHUNK_CELLS // (rows * actions))
    _growing(counts, "values", "<i8", (rows, actions), chunk=block)
    _growing(counts, "ticks", "<i8", chunk=1)
    _growing(counts, "active_ticks", "<i8", chunk=rows)
    network = mapping.network
    pixels, samples = network.pixels, group(file, "samples")
    attributes(samples, {"flushed": np.zeros(len(schema.TABLES), "<i8")})
    block = max(1, min(SAMPLE_CHUNK_ROWS, SAMPLE_CHUNK_CELLS // network.outputs))
    for name, dtype in schema.SAMPLE_COLUMNS.items():
        _growing(samples, name, dtype, pixels, chunk=block)
    if mode == "timed":
        for name, dtype in schema.TIME_COLUMNS.items():
            _growing(samples, name, dtype, chunk=SAMPLE_CHUNK_ROWS)
    sums = network.stages[-1].sum_dtype.newbyteorder("<")
    _growing(samples, "outputs", sums, (network.outputs,), chunk=block)


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
