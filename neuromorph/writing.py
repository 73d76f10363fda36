"""Write a file that appears under its name only when it is whole; endings of pictures."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from neuromorph.errors import NeuromorphError

__all__ = ["check_ending", "write_whole"]


def check_ending(
    path: str | os.PathLike[str], endings: tuple[str, ...], error: type[NeuromorphError]
) -> None:
    """Raise ``error`` in one sentence if a picture has an ending of another format."""
    own = Path(path).suffix
    if own.lower() not in endings:
        ends = f"ends in {own!r}" if own else "has no ending"
        raise error(f"{path} {ends}; this picture is drawn as {' or '.join(endings)}")


def write_whole(
    path: str | os.PathLike[str], data: bytes, error: type[NeuromorphError], what: str = ""
) -> Path:
    """Write beside the place and move it there; folders on the way are made.

    Parameters
    ----------
    path : path
    data : bytes
    error : type
        What to raise if it cannot be written.
    what : str
        Kind of file, for the sentence.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    NeuromorphError
        Of the type ``error``: the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(target)
    except BaseException as problem:
        with suppress(OSError, ValueError):
            partial.unlink()
        if isinstance(problem, (OSError, ValueError)):  # ValueError: a zero byte in the name
            why = getattr(problem, "strerror", None) or problem
            name = str(target) if str(target).isprintable() else repr(str(target))
            raise error(f"cannot write {what}{' ' if what else ''}{name}: {why}") from None
        raise
    return target
