"""Writing: the file behind a recorder, made and filled by one thread.

The file is made under ``<path>.partial``, in the single-writer mode of HDF5,
in which what was flushed stays readable whatever happens to the process.  The
attribute ``flushed`` of ``/samples`` is written after the rows it counts, so a
reader of an unfinished file never sees half a batch.  A whole file is sealed
with its SHA-256 and takes its final name.  Every name is taken by a rename, so
a file of any name can be read from its first moment.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.events import ACTIONS, Counts
from neuromorph.kernels.recording import find_spikes
from neuromorph.mapping import Mapping, Tally
from neuromorph.trace import schema
from neuromorph.trace.blank import blank
from neuromorph.trace.blocks import Blocks
from neuromorph.trace.compression import Compression
from neuromorph.trace.schema import Detail
from neuromorph.trace.seal import write_seal

__all__ = ["Writer"]

FLUSH_S = 0.1  # what a killed run loses of its rows, at most about this
SPIKE_BLOCK_CELLS = 1 << 19  # levels looked through at a time


class Writer:
    """A trace file on its way to be whole; every method but the first may run in a thread.

    Raises
    ------
    TraceError
        The file cannot be written (names file and reason); from any method.
        After the first the file is left as it was flushed.
    """

    def __init__(
        self, path: Path, mapping: Mapping, detail: Detail, mode: str, compression: Compression
    ) -> None:
        self.path = path
        self._mapping, self._detail = mapping, detail
        self._compression: Compression = compression
        self._traced = [list(ACTIONS).index(a) for a in schema.traced_actions(mapping)]
        self._blank = blank(mapping, detail, mode, compression)
        self._partial = Path(f"{path}.partial")
        self._file: h5py.File | None = None
        self._columns: dict[str, h5py.Dataset] = {}  # of the samples
        self._blocks: dict[str, Blocks] = {}
        self._samples = 0
        self._flushed = time.monotonic()
        self._has_time = False

    def open(self) -> None:
        """Make the file with all that is known before the first row."""
        begun = Path(f"{self.path}.{os.getpid()}.new")
        try:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(self.path.stat().st_mode):
                    raise TraceError(f"cannot write trace {self.path}: it is not a file")
                if self.path.stat().st_size and not h5py.is_hdf5(os.fspath(self.path)):
                    raise TraceError(
                        f"cannot write trace {self.path}: the file there is no trace; "
                        "choose another name, or remove it first"
                    )
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except TraceError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise TraceError(f"cannot write trace {str(self.path)!r}: {_reason(error)}") from None
        try:
            with self._writing():
                begun.write_bytes(self._blank)
                begun.replace(self._partial)
                self._identity = _identity(self._partial)
                self._file = file = h5py.File(
                    self._partial, "r+", libver=("v110", "v110"), locking="best-effort"
                )
                file.swmr_mode = True
                self._blocks["counts"] = Blocks({"values": file["counts/values"]}, "gzip")
                for table in schema.tables_of(self._detail):
                    columns = dict(file[table].items())
                    if table in schema.EVENT_TABLES:
                        self._blocks[table] = Blocks(columns, self._compression)
                    else:
                        self._columns = columns
        finally:
            with contextlib.suppress(OSError):
                begun.unlink(missing_ok=True)

    # --- rows

    def append(self, table: str, columns: dict[str, NDArray[Any]]) -> None:
        """Add rows to every column of a table of events; they count once flushed."""
        self._open_file()
        with self._writing():
            self._blocks[table].append(columns)

    def batch(
        self,
        inputs: NDArray[np.int16],
        tally: Tally,
        counts: Counts,
        labels: NDArray[np.int64] | None,
    ) -> None:
        """Add samples, their counts and their spikes."""
        self._open_file()
        number, first = len(tally.outputs), self._samples
        with self._writing():
            self._blocks["counts"].append({"values": counts.values[:, :, self._traced]})
            self._write_time(counts)
        if self._detail != "counts":
            self._write_spikes(inputs, tally)
        predictions = self._mapping.network.predict(tally.outputs)
        columns: dict[str, NDArray[Any]] = {
            "label": np.full(predictions.shape, -1, np.int64) if labels is None else labels,
            "prediction": predictions,
            "outputs": tally.outputs,
        }
        if tally.started is not None and tally.finished is not None:
            columns |= {"start": tally.started, "finish": tally.finished}
        with self._writing():
            for name, dataset in self._columns.items():
                dataset.resize(first + number, axis=0)
                dataset[first:] = columns[name]
        self._samples += number
        self.flush()

    def flush(self) -> None:
        """Write what HDF5 still holds, then what of it counts as written."""
        file = self._open_file()
        with self._writing():
            for blocks in self._blocks.values():
                blocks.flush()
            file.flush()
            taken = {name: blocks.rows for name, blocks in self._blocks.items()}
            taken["samples"] = self._samples
            rows = np.array([taken.get(name, 0) for name in schema.TABLES], "<i8")
            file["samples"].attrs.modify("flushed", rows)
            file.flush()
        self._flushed = time.monotonic()

    def flush_if_due(self) -> None:
        """The same, if some time has passed since the last one."""
        if time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def _write_time(self, counts: Counts) -> None:
        """Time of the run, once it is known; like ``Counts.join``, several runs have none."""
        ticks, active = (self._open_file()[f"counts/{n}"] for n in ("ticks", "active_ticks"))
        if counts.ticks is None or counts.active_ticks is None:
            return
        known = not self._has_time
        self._has_time = True
        ticks.resize(int(known), axis=0)
        active.resize(known * len(counts.active_ticks), axis=0)
        if known:
            ticks[0], active[:] = counts.ticks, counts.active_ticks

    def _write_spikes(self, inputs: NDArray[np.int16], tally: Tally) -> None:
        """Non-zero levels of all layers, by sample, layer and neuron."""
        layers = [inputs, *tally.levels]
        edges = np.cumsum([0, *(a.shape[1] for a in layers)])
        step = max(1, SPIKE_BLOCK_CELLS // int(edges[-1]))
        for start in range(0, len(inputs), step):
            levels = np.concatenate(
                [a[start : start + step] for a in layers], axis=1, dtype=np.int16
            )
            number = np.count_nonzero(levels)
            found = {n: np.empty(number, d) for n, d in schema.SPIKE_COLUMNS.items()}
            find_spikes(levels, edges, **found)
            found["sample"] += np.uint32(self._samples + start)
            self.append("spikes", found)

    # --- the end

    def finish(self) -> None:
        """Say that the trace is complete, seal it and give it its name."""
        self.flush()
        file = self._open_file()
        with self._writing():
            file.attrs.modify("complete", np.bool_(True))
            file.flush()
        self.close()
        try:
            if _identity(self._partial) != self._identity:
                raise TraceError(
                    f"cannot write trace {self.path}: another run has begun to write "
                    f"{self._partial.name}"
                )
            write_seal(self._partial)
            self._partial.replace(self.path)
        except OSError as error:
            raise TraceError(f"cannot write trace {self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Let go of the file as it is."""
        file = self._open_file()
        with self._writing():
            file.close()
        self._file = None

    def _open_file(self) -> h5py.File:
        if self._file is None:
            raise TraceError(f"trace {self.path} is not open for writing")
        return self._file

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failed write into one TraceError and let go of the file."""
        try:
            yield
        except TraceError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            self.abandon()
            raise TraceError(f"cannot write trace {self._partial}: {_reason(error)}") from None

    def abandon(self) -> None:
        """Let go of a file that cannot be written.

        HDF5 cannot close a file, or a column, whose last blocks it fails to
        write, and crashes at exit.  So the descriptor is pointed at the null
        device first, where every write succeeds; the file on disk stays as it
        was flushed.
        """
        file, self._file = self._file, None
        if file is not None and file.id.valid:
            null = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(null, file.id.get_vfd_handle())
            finally:
                os.close(null)
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                file.close()


def _identity(path: Path) -> tuple[int, int]:
    """What tells a file from another of the same name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _reason(error: Exception) -> str:
    """The system's word for what happened, out of HDF5's many."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (found := re.search(r"errno = (\d+)", str(error))):
        code = int(found[1])
    return os.strerror(code) if code else (str(error).splitlines() or [type(error).__name__])[0]
