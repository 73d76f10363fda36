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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.events import Counts
from neuromorph.mapping import Mapping, Tally
from neuromorph.trace import schema
from neuromorph.trace.blank import blank
from neuromorph.trace.compression import Compression
from neuromorph.trace.schema import Detail
from neuromorph.trace.seal import write_seal

__all__ = ["Writer"]

SPIKE_BLOCK_CELLS = 1 << 22  # levels looked through at a time


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
        self._blank = blank(mapping, detail, mode, compression)
        self._partial = Path(f"{path}.partial")
        self._file: h5py.File | None = None
        self._columns: dict[str, dict[str, h5py.Dataset]] = {}
        self._rows = dict.fromkeys(schema.TABLES, 0)
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
                for table in ("counts", *schema.tables_of(self._detail)):
                    self._columns[table] = dict(file[table].items())
        finally:
            with contextlib.suppress(OSError):
                begun.unlink(missing_ok=True)

    # --- rows

    def append(self, table: str, columns: dict[str, NDArray[Any]]) -> None:
        """Add rows to every column of a table; they count once flushed."""
        self._open_file()
        first = self._rows[table]
        with self._writing():
            for name, dataset in self._columns[table].items():
                values = columns[name]
                dataset.resize(first + len(values), axis=0)
                dataset[first:] = values
        self._rows[table] = first + len(values)

    def batch(
        self,
        inputs: NDArray[np.int16],
        tally: Tally,
        counts: Counts,
        labels: NDArray[np.int64] | None,
    ) -> None:
        """Add samples, their counts and their spikes."""
        self._open_file()
        number, first = len(tally.outputs), self._rows["samples"]
        with self._writing():
            values = self._columns["counts"]["values"]
            values.resize(first + number, axis=0)
            values[first:] = counts.values[:, :, schema.TRACED]
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
        self.append("samples", columns)
        self.flush()

    def flush(self) -> None:
        """Write what HDF5 still holds, then what of it counts as written."""
        file = self._open_file()
        with self._writing():
            file.flush()
            rows = np.array([self._rows[name] for name in schema.TABLES], "<i8")
            file["samples"].attrs.modify("flushed", rows)
            file.flush()

    def _write_time(self, counts: Counts) -> None:
        """Time of the run, once it is known; like ``Counts.join``, several runs have none."""
        ticks, active = (self._columns["counts"][n] for n in ("ticks", "active_ticks"))
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
        sizes = np.array([a.shape[1] for a in layers])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        layer_of = np.repeat(np.arange(len(layers), dtype=np.uint16), sizes)
        block = max(1, SPIKE_BLOCK_CELLS // int(sizes.sum()))
        for start in range(0, len(inputs), block):
            levels = np.concatenate(
                [a[start : start + block].astype(np.int16) for a in layers], axis=1
            )
            fires = levels != 0  # np.nonzero of two axes takes four times as long
            sample = np.repeat(np.arange(len(fires)), np.count_nonzero(fires, axis=1))
            place = np.flatnonzero(fires) - sample * fires.shape[1]
            layer = layer_of[place]
            self.append(
                "spikes",
                {
                    "sample": sample + (self._rows["samples"] + start),
                    "layer": layer,
                    "neuron": place - starts[layer],
                    "level": levels[sample, place],
                },
            )

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
