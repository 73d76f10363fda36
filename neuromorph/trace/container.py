"""How a trace file is made: room for the seal, checksums, no time stamps."""

from __future__ import annotations

from typing import Any, BinaryIO

import h5py

from neuromorph.trace.seal import SEAL_BYTES

__all__ = ["attributes", "create", "group"]


def create(image: BinaryIO) -> h5py.File:
    """A new file: room for the seal, checksums on all metadata, no time stamps."""
    made = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    made.set_userblock(SEAL_BYTES)
    made.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, image)
    return h5py.File(h5py.h5f.create(b"trace", h5py.h5f.ACC_TRUNC, made, access))


def group(file: h5py.File, name: str) -> h5py.Group:
    made = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    made.set_obj_track_times(False)
    return h5py.Group(h5py.h5g.create(file.id, name.encode(), gcpl=made))


def attributes(owner: h5py.Group, values: dict[str, Any]) -> None:
    """Attributes; strings in UTF-8 of fixed length, since those need no heap."""
    for name, value in values.items():
        if isinstance(value, str):
            data = value.encode() or b"\0"
            owner.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))
        else:
            owner.attrs.create(name, value)
