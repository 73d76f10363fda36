"""The same trace with another compression."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np

from neuromorph.errors import TraceError
from neuromorph.trace.container import create, group
from neuromorph.trace.door import open_file
from neuromorph.trace.reader import Trace
from neuromorph.trace.seal import write_seal

__all__ = ["COMPRESSIONS", "Compression", "repack"]

Compression = Literal["none", "gzip"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

BLOCK_BYTES = 1 << 24
_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
}


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
    compression : {"none", "gzip"}

    Raises
    ------
    TraceError
        Source is no whole trace, or target cannot be written.
    """
    if compression not in COMPRESSIONS:
        raise TraceError(f"compression is {compression!r}; choose one of {', '.join(COMPRESSIONS)}")
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
            _copy(read, written, _FILTERS[compression])
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


def _copy(read: h5py.Group, written: h5py.Group, filters: dict[str, Any]) -> None:
    """Everything in a group, what we do not know included."""
    for name, thing in read.items():
        if isinstance(thing, h5py.Group):
            made = group(written, name)
            _copy_attributes(thing, made)
            _copy(thing, made, filters)
        elif isinstance(thing, h5py.Dataset) and thing.chunks and thing.maxshape[0] is None:
            dataset = written.create_dataset(
                name, thing.shape, thing.dtype, maxshape=thing.maxshape, chunks=thing.chunks,
                fletcher32=True, **filters,
            )  # fmt: skip
            _copy_attributes(thing, dataset)
            row = max(1, thing.dtype.itemsize * int(np.prod(thing.shape[1:])))
            step = max(thing.chunks[0], BLOCK_BYTES // row // thing.chunks[0] * thing.chunks[0])
            for start in range(0, len(thing), step):
                dataset[start : start + step] = thing[start : start + step]
        else:
            read.copy(thing, written, name)


def _copy_attributes(read: Any, written: Any) -> None:
    """Attributes with their exact types."""
    for name in read.attrs:
        old = h5py.h5a.open(read.id, name.encode())
        new = h5py.h5a.create(written.id, name.encode(), old.get_type(), old.get_space())
        values = np.empty(old.shape, old.dtype)
        old.read(values)
        new.write(values)
