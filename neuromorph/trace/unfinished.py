"""Files that their writer never closed, shown to HDF5 as if it had.

HDF5 marks a file that is open for writing and refuses to read it later, unless
as a second reader beside the writer.  Such a reader takes every wrong checksum
for a write in progress and tries a hundred times with doubled pauses: hours,
where the file is damaged.  So the marks are taken away, in what HDF5 is shown
and not in the file, and the file ends where it ends.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

__all__ = ["Unfinished"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
WITH_MARKS = 3  # superblock version
# signature, version, bytes of offsets and lengths, marks, base, extension, end, root group
SUPERBLOCK = struct.Struct("<8s4B4Q")
MASK = 0xFFFFFFFF


class Unfinished(io.RawIOBase):
    """A file to read, in which another superblock is seen than is stored."""

    def __init__(self, path: Path, start: int, superblock: bytes) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close()
        self._start, self._superblock = start, superblock

    @classmethod
    def look(cls, path: Path, start: int) -> Unfinished | None:
        """The file with its marks taken away; None if there are none.

        Parameters
        ----------
        path : Path
        start : int
            Where the HDF5 part begins.
        """
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(start)
            stored = file.read(SUPERBLOCK.size)
        if len(stored) < SUPERBLOCK.size:
            return None
        signature, version, *widths, marks, base, extension, _, root = SUPERBLOCK.unpack(stored)
        if (signature, version, widths) != (SIGNATURE, WITH_MARKS, [8, 8]) or not marks:
            return None
        shown = SUPERBLOCK.pack(signature, version, *widths, 0, base, extension, size, root)
        return cls(path, start, shown + struct.pack("<I", lookup3(shown)))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; returns it."""
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, with zeros where the file has ended."""
        view, at = memoryview(buffer).cast("B"), self._file.tell()
        found = self._file.readinto(view)
        view[found:] = bytes(len(view) - found)
        for place, byte in enumerate(self._superblock, start=self._start - at):
            if 0 <= place < len(view):
                view[place] = byte
        return len(view)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        super().close()


def lookup3(data: bytes) -> int:
    """Checksum of HDF5 metadata: Jenkins' hash of that name, from 0, of whole words."""
    words: tuple[int, ...] = struct.unpack(f"<{len(data) // 4}I", data)
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    last = (len(words) - 1) // 3 * 3
    for i in range(0, last, 3):
        a, b, c = a + words[i], b + words[i + 1], c + words[i + 2]
        for turn in (4, 6, 8, 16, 19, 4):
            a = (a - c & MASK) ^ _turned(c, turn)
            # the three take turns: what was subtracted from comes last
            a, b, c = b, c + b & MASK, a
    rest = [*words[last:], 0, 0]
    a, b, c = a + rest[0], b + rest[1], c + rest[2]
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = (c & MASK ^ b & MASK) - _turned(b, turn) & MASK
        a, b, c = b, c, a
    return b & MASK


def _turned(word: int, bits: int) -> int:
    word &= MASK
    return (word << bits | word >> 32 - bits) & MASK
