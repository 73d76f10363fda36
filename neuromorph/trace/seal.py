"""The seal: SHA-256 of a whole trace file, in the 512 bytes before the HDF5 part.

HDF5 protects its metadata and our columns with checksums, but a library that
reads damaged files does more than refuse them.  A sealed file is compared with
its SHA-256 before HDF5 sees it.  A file without seal (unfinished, or written by
another program) is read without this protection.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from neuromorph.errors import TraceError

__all__ = ["SEAL_BYTES", "check_seal", "write_seal"]

SEAL_BYTES = 512
_MARK = b"neuromorph-trace\nsha256="
_BLOCK = 1 << 20


def write_seal(path: Path) -> None:
    """Seal a closed file and see it onto the disk.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with open(path, "r+b") as file:
        file.seek(SEAL_BYTES)
        digest = _digest(file)
        file.seek(0)
        file.write((_MARK + digest + b"\n").ljust(SEAL_BYTES, b"\0"))
        file.flush()
        os.fsync(file.fileno())


def check_seal(path: Path) -> bool:
    """Whether the file is sealed.

    Raises
    ------
    TraceError
        It is, and its content is not what was sealed.
    OSError
        The file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(SEAL_BYTES)
        if not head.startswith(_MARK):
            return False
        if head != (_MARK + _digest(file) + b"\n").ljust(SEAL_BYTES, b"\0"):
            raise TraceError(
                f"{path}: content does not match its SHA-256; the file is damaged or truncated"
            )
    return True


def _digest(file: BinaryIO) -> bytes:
    """SHA-256 of the rest of the file, in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest().encode()
