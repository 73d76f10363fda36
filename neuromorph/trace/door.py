"""The door: a trace file is looked over here before anything in it is read.

HDF5 from strangers can read other files (external storage, links, virtual
datasets), ask for absurd amounts of memory, and raise almost anything.  After
:func:`open_file` none of that is left, and :func:`reading` turns what remains
into one TraceError that names file and place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import h5py
import numpy as np

from neuromorph.errors import NeuromorphError, TraceError, check_path
from neuromorph.trace.seal import SEAL_BYTES, check_seal
from neuromorph.trace.unfinished import Unfinished

__all__ = ["Opened", "attribute", "column", "look_over", "open_file", "reading", "strings"]

MAX_OBJECTS = 100_000
MAX_TEXT_BYTES = 1 << 26
MAX_CHUNK_BYTES = 1 << 26
# HDF5 takes some 0.05 ms for every block, however small.
MANY_BLOCKS, LEAST_BLOCK_BYTES = 1 << 12, 1 << 10
# Deflate makes at most 1032 bytes of one; a dataset beyond that is not stored.
MAX_INFLATION = 1100


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever reading ``what`` raises into a TraceError."""
    try:
        yield
    except NeuromorphError:
        raise
    except Exception as error:  # HDF5 and h5py raise almost anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TraceError(f"{path}: {what} cannot be read: {reason}") from None


def open_file(path: Path) -> h5py.File:
    """Open a trace file for reading once it has proved harmless.

    Raises
    ------
    TraceError
        Not a file, empty, damaged, no HDF5, or with something inside that
        reaches outside the file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise TraceError(f"{path} is not a file")
        if status.st_size == 0:
            raise TraceError(f"{path} is empty")
        check_seal(path)
        shown = Unfinished.look(path, SEAL_BYTES) or path
    except TraceError:
        raise
    except OSError as error:
        raise TraceError(f"cannot read trace {path}: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise TraceError(f"cannot read trace {str(path)!r}: {error}") from None
    with reading(path, "file"):
        if not h5py.is_hdf5(os.fspath(path)):
            raise TraceError(f"{path} is not an HDF5 file, or its beginning is damaged")
        file = h5py.File(shown, "r", locking="best-effort")
        try:
            look_over(path, file)
        except BaseException:
            file.close()
            raise
    return file


def look_over(path: Path, file: h5py.File) -> None:
    """Visit every object, known or not; refuse what reaches outside the file."""
    seen: set[Any] = set()
    waiting: list[tuple[str, Any]] = [("", file.id)]
    while waiting:
        prefix, group = waiting.pop()
        for raw in group:
            name = f"{prefix}/{raw.decode(errors='replace')}"
            if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                raise TraceError(f"{path}: {name} is a soft or external link; there may be none")
            info = h5py.h5o.get_info(group, raw)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if len(seen) > MAX_OBJECTS:
                raise TraceError(f"{path}: holds more than {MAX_OBJECTS} objects")
            if info.type == h5py.h5o.TYPE_GROUP:
                waiting.append((name, h5py.h5o.open(group, raw)))
            elif info.type == h5py.h5o.TYPE_DATASET:
                made = h5py.h5o.open(group, raw).get_create_plist()
                if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
                    raise TraceError(f"{path}: {name} takes its values from another file")


def attribute(path: Path, owner: h5py.Group, name: str, kind: type) -> Any:
    """An attribute that is a single str, bool, int or float.

    Raises
    ------
    TraceError
        It is missing, or of another kind.
    """
    where = f"attribute {name!r} of {owner.name}"
    with reading(path, where):
        if not h5py.h5a.exists(owner.id, name.encode()):
            raise TraceError(f"{path}: {where} is missing")
        entry = h5py.h5a.open(owner.id, name.encode())
        stored = entry.get_type()
        wanted = {
            str: h5py.h5t.TypeStringID,
            bool: h5py.h5t.TypeEnumID,
            int: h5py.h5t.TypeIntegerID,
            float: h5py.h5t.TypeFloatID,
        }[kind]
        variable = kind is str and isinstance(stored, wanted) and stored.is_variable_str()
        if not isinstance(stored, wanted) or variable or entry.shape != ():
            raise TraceError(f"{path}: {where} is not a single {kind.__name__}")
        if stored.get_size() > MAX_TEXT_BYTES:
            raise TraceError(f"{path}: {where} has {stored.get_size()} bytes")
        value = owner.attrs[name]
        if kind is str:
            return bytes(value).rstrip(b"\0").decode()
        return kind(value)


def column(
    path: Path, file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]
) -> h5py.Dataset:
    """A dataset of the given dtype and shape; None stands for any length.

    Raises
    ------
    TraceError
        It is missing, of another kind, or too large to be true.
    """
    with reading(path, f"/{name}"):
        dataset = _dataset(path, file, name)
        if dataset.dtype != dtype:
            raise TraceError(f"{path}: /{name} is {dataset.dtype}; it must be {dtype}")
        found = dataset.shape
        if len(found) != len(shape) or any(w is not None and w != f for w, f in zip(shape, found)):
            wanted = ", ".join("any" if w is None else str(w) for w in shape)
            raise TraceError(f"{path}: /{name} has shape {list(found)}; it must be [{wanted}]")
        return dataset


def strings(path: Path, file: h5py.File, name: str) -> tuple[str, ...]:
    """A one-dimensional dataset of strings of fixed length.

    Raises
    ------
    TraceError
        It is missing, of another kind, or too large to be true.
    """
    with reading(path, f"/{name}"):
        dataset = _dataset(path, file, name)
        if dataset.dtype.kind != "S" or dataset.ndim != 1:
            raise TraceError(f"{path}: /{name} is not a list of fixed-length strings")
        return tuple(value.decode() for value in dataset[:].tolist())


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose values can all be here, in filters that are here."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise TraceError(f"{path}: dataset /{name} is missing")
    made, cell = dataset.id.get_create_plist(), dataset.id.get_type().get_size()
    if made.get_layout() == h5py.h5d.CHUNKED:
        block = prod(made.get_chunk()) * cell
        if block > MAX_CHUNK_BYTES:
            raise TraceError(f"{path}: /{name} has blocks of {block} bytes")
        number = prod(-(-whole // part) for whole, part in zip(dataset.shape, made.get_chunk()))
        if number > MANY_BLOCKS and block < LEAST_BLOCK_BYTES:
            raise TraceError(f"{path}: /{name} has {number} blocks of {block} bytes")
        for index in range(made.get_nfilters()):
            code, _, _, label = made.get_filter(index)
            if not h5py.h5z.filter_avail(code):
                with suppress(ImportError):
                    import hdf5plugin  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
            if not h5py.h5z.filter_avail(code):
                raise TraceError(
                    f"{path}: /{name} is compressed with filter {code} ({label.decode()!r}), "
                    "which is not installed; run: pip install 'neuromorph[compression]'"
                )
    claimed, stored = prod(dataset.shape) * cell, int(dataset.id.get_storage_size())
    if claimed > MAX_INFLATION * stored + MAX_CHUNK_BYTES:
        raise TraceError(f"{path}: /{name} claims {claimed} bytes, {stored} are stored")
    return dataset


class Opened:
    """A record open for reading, and a context manager; ``what`` is its name in messages."""

    what: ClassVar[str]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_path(path, self.what, TraceError)
        self.path = Path(path)
        self._file: h5py.File | None = open_file(self.path)
        try:
            with reading(self.path, "file"):
                self._read(self._file)
        except BaseException:
            self.close()
            raise

    def _read(self, root: h5py.File) -> None:
        """Read and check what the file says of itself."""
        raise NotImplementedError

    def _root(self) -> h5py.File:
        if self._file is None:
            raise TraceError(f"{self.path}: this {self.what} is closed")
        return self._file

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
