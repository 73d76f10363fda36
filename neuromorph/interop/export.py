"""One door to all exporters; what was not finished has no final name."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from neuromorph.errors import TraceError
from neuromorph.interop.nir_events import write_nir_events
from neuromorph.interop.perfetto import write_perfetto
from neuromorph.interop.sonata import write_sonata
from neuromorph.interop.tables import write_csv, write_sanafe
from neuromorph.trace import Trace

__all__ = ["TARGETS", "Target", "export_trace"]

Target = Literal["csv", "sonata", "perfetto", "sanafe", "nir"]
TARGETS: tuple[Target, ...] = get_args(Target)

_WRITERS = {
    "csv": write_csv,
    "sonata": write_sonata,
    "perfetto": write_perfetto,
    "sanafe": write_sanafe,
    "nir": write_nir_events,
}


def export_trace(
    trace: Trace, path: str | os.PathLike[str], *, to: Target, samples: int | None = None
) -> Path:
    """Write a trace in another format; docs/traces.md says what each keeps and loses.

    Parameters
    ----------
    trace : Trace
    path : path
        File to write (``sonata``, ``perfetto``, ``nir``) or folder (``csv``, ``sanafe``).
        It appears under its name when it is whole; a file there is replaced, a
        folder is not.
    to : {"csv", "sonata", "perfetto", "sanafe", "nir"}
    samples : int, optional
        Only the first so many samples.

    Returns
    -------
    Path

    Raises
    ------
    TraceError
        The trace lacks what the format needs, or nothing can be written there.
    MissingDependencyError
        ``nir`` without the package nir.
    """
    if to not in TARGETS:
        raise TraceError(f"export to {to!r}; choose one of {', '.join(TARGETS)}")
    if samples is not None and samples < 1:
        raise TraceError(f"samples is {samples}; must be at least 1")
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        if target.is_dir():
            raise TraceError(f"cannot export to {target}: it is there already, and a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        _WRITERS[to](trace, partial, samples)
        partial.replace(target)
    except OSError as error:
        _remove(partial)
        raise TraceError(f"cannot export to {target}: {error.strerror or error}") from None
    except BaseException:
        _remove(partial)
        raise
    return target


def _remove(partial: Path) -> None:
    """Take away what an export left unfinished."""
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        with suppress(OSError):
            partial.unlink()
