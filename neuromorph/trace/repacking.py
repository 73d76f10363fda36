"""The same trace with another compression."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromorph.errors import TraceError
from neuromorph.trace.compression import Compression, filters_of
from neuromorph.trace.container import create, group
from neuromorph.trace.door import open_file
from neuromorph.trace.reader import Trace
from neuromorph.trace.schema import EVENT_TABLES
from neuromorph.trace.seal import write_seal

__all__ = ["repack"]

BLOCK_BYTES = 1 << 24
LEVEL = 4  # packing again has time


def repack(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    compression: Compression = "gzip",
) -> Path:
    """Write a trace again: same data and attributes, other filters, a new seal.

    Parameters
    ----------
    source, target : path
        They may be the same; the file appears when it is whole.
    compression : {"none", "gzip", "lz4", "zstd"}
        Of spikes, packets and hops; with lz4 and zstd the smaller tables are
        gzip.

    Raises
    ------
    TraceError
        Source is no whole trace, or target cannot be written.
    MissingDependencyError
        lz4 or zstd without hdf5plugin.
    """
    events = {"fletcher32": True} | filters_of(compression, level=LEVEL)
    others = events if compression == "none" else filters_of("gzip", level=LEVEL)
    with Trace(source) as trace:
        if not trace.complete:
            raise TraceError(f"{trace.path} did not finish; only whole traces are repacked")
    old, new = Path(source), Path(target)
    partial = new.with_name(new.name + ".partial")
    try:
        if new.is_dir():
            raise TraceError(f"cannot repack {old} as {new}: it is a folder")
        with open_file(old) as read, open(partial, "w+b") as image, create(image) as written:
            _copy_attributes(read, written)
            for name, thing in read.items():
                _copy(thing, written, name, events if name in EVENT_TABLES else others)
        write_seal(partial)
        partial.replace(new)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, (OSError, RuntimeError, ValueError, KeyError)):
            reason = getattr(error, "strerror", None) or error
            raise TraceError(f"cannot repack {old} as {new}: {reason}") from None
        raise
    return new


def _copy(thing: Any, written: h5py.Group, name: str, filters: dict[str, Any]) -> None:
    """A group or dataset with everything in it, what we do not know included."""
    if isinstance(thing, h5py.Group):
        made = group(written, name)
        _copy_attributes(thing, made)
        for inner, part in thing.items():
            _copy(part, made, inner, filters)
    elif isinstance(thing, h5py.Dataset) and thing.chunks and thing.maxshape[0] is None:
        dataset = written.create_dataset(
            name, thing.shape, thing.dtype, maxshape=thing.maxshape, chunks=thing.chunks, **filters
        )
        _copy_attributes(thing, dataset)
        row = max(1, thing.dtype.itemsize * int(np.prod(thing.shape[1:])))
        step = max(thing.chunks[0], BLOCK_BYTES // row // thing.chunks[0] * thing.chunks[0])
        for start in range(0, len(thing), step):
            dataset[start : start + step] = thing[start : start + step]
    else:
        thing.parent.copy(thing, written, name)


def _copy_attributes(read: Any, written: Any) -> None:
    """Attributes with their exact types."""
    for name in read.attrs:
        old = h5py.h5a.open(read.id, name.encode())
        new = h5py.h5a.create(written.id, name.encode(), old.get_type(), old.get_space())
        values = np.empty(old.shape, old.dtype)
        old.read(values)
        new.write(values)
