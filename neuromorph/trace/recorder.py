"""Recorder: writes a trace while the run goes on.

The file is made under ``<path>.partial``, in the single-writer mode of HDF5,
in which what was flushed stays readable whatever happens to the process.  The
attribute ``flushed`` of ``/samples`` is written after the rows it counts, so a
reader of an unfinished file never sees half a batch.  A whole file is sealed
with its SHA-256 and takes its final name.  Every name is taken by a rename, so
a file of any name can be read from its first moment.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

import neuromorph
from neuromorph.errors import TraceError
from neuromorph.events import ACTIONS, Counts
from neuromorph.mapping import Mapping, Tally
from neuromorph.mapping.packets import PACKET_DTYPE
from neuromorph.trace import schema
from neuromorph.trace.container import attributes, create, group
from neuromorph.trace.schema import Detail
from neuromorph.trace.seal import write_seal

__all__ = ["Recorder"]

CHUNK_ROWS = 1 << 16  # rows of a column stored as one block
SAMPLE_CHUNK_ROWS = 1 << 12  # a block not full yet is written anew with every batch
BUFFERED_PACKETS = 1 << 16
SPIKE_BLOCK_CELLS = 1 << 22  # levels looked through at a time
COUNT_CHUNK_CELLS = 1 << 16


class Recorder:
    """Context manager that writes the trace of one run.

    Parameters
    ----------
    path : path
        Final name of the file.  It appears when the run has succeeded; until
        then, and after a failure, the file is ``<path>.partial``.
    mapping : Mapping
        What is run.
    detail : {"counts", "spikes", "packets"}
        What is recorded; each level holds those before it.
    mode : {"reference", "count", "timed"}
        How it is run; only ``timed`` has packets.

    Raises
    ------
    TraceError
        Unknown detail or mode, or a file that cannot be written (names file
        and reason); the latter from any method.
    """

    def __init__(
        self, path: str | os.PathLike[str], mapping: Mapping, *, detail: Detail, mode: str
    ) -> None:
        if detail not in schema.DETAILS:
            raise TraceError(
                f"trace detail is {detail!r}; choose one of {', '.join(schema.DETAILS)}"
            )
        if mode not in schema.MODES:
            raise TraceError(f"trace mode is {mode!r}; choose one of {', '.join(schema.MODES)}")
        if detail == "packets" and mode != "timed":
            raise TraceError(f"mode {mode!r} has no packets to record; use mode 'timed'")
        self.path = Path(path)
        self.detail = detail
        self.mode = mode
        self._mapping = mapping
        self._partial = Path(f"{self.path}.partial")
        self._file: h5py.File | None = None
        self._columns: dict[str, dict[str, h5py.Dataset]] = {}
        self._rows = dict.fromkeys(schema.TABLES, 0)
        self._batches = 0
        self._buffer = np.empty(BUFFERED_PACKETS if detail == "packets" else 0, PACKET_DTYPE)
        self._buffered = 0

    def __enter__(self) -> Self:
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
                begun.write_bytes(self._blank())
                begun.replace(self._partial)
                self._identity = _identity(self._partial)
                self._file = file = h5py.File(
                    self._partial, "r+", libver=("v110", "v110"), locking="best-effort"
                )
                file.swmr_mode = True
                for table in ("counts", *schema.tables_of(self.detail)):
                    self._columns[table] = dict(file[table].items())
        finally:
            with contextlib.suppress(OSError):
                begun.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        if kind is None:
            self._finish()
            return
        # The run failed for its own reason: keep what there is, add no second error.
        with contextlib.suppress(TraceError):
            self._flush()
            self._close()

    def packets(self, records: NDArray[Any]) -> None:
        """Take delivered packets.

        Parameters
        ----------
        records : PACKET_DTYPE array, shape (packets,)
            Copied; ignored unless the detail is ``"packets"``.
        """
        if self.detail != "packets":
            return
        self._open_file()
        while len(records):
            taken = records[: len(self._buffer) - self._buffered]
            self._buffer[self._buffered : self._buffered + len(taken)] = taken
            self._buffered += len(taken)
            records = records[len(taken) :]
            if self._buffered == len(self._buffer):
                self._flush()

    def batch(
        self,
        inputs: NDArray[np.int16],
        tally: Tally,
        counts: Counts,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Take the results of the next samples.

        Parameters
        ----------
        inputs : int16 array, shape (batch, input neurons)
            Encoded input levels.
        tally : Tally
        counts : Counts
        labels : int64 array, shape (batch,), optional
            −1 is written where the label is not known.
        """
        number = len(tally.outputs)
        columns: dict[str, NDArray[Any]] = {
            "label": np.full(number, -1, np.int64) if labels is None else labels,
            "prediction": self._mapping.network.predict(tally.outputs),
            "outputs": tally.outputs,
        }
        if self.mode == "timed":
            if tally.started is None or tally.finished is None:
                raise TraceError("a timed run must say when its samples start and finish")
            columns |= {"start": tally.started, "finish": tally.finished}
        self._open_file()
        first = self._rows["samples"]
        with self._writing():
            values = self._columns["counts"]["values"]
            values.resize(first + number, axis=0)
            values[first:] = counts.values
            self._write_time(counts)
        if self.detail != "counts":
            self._write_spikes(inputs, tally)
        self._append("samples", columns)
        self._batches += 1
        self._flush()

    # --- making the file

    def _blank(self) -> bytes:
        """The file before its first row, made in memory: HDF5 cannot undo half a write."""
        image = io.BytesIO()
        with create(image) as file:
            self._describe(file)
            self._make_tables(file)
        return image.getvalue()

    def _describe(self, file: h5py.File) -> None:
        """Attributes, descriptions, mapping and labels: all that is known beforehand."""
        mapping = self._mapping
        attributes(
            file,
            {
                "format": schema.FORMAT,
                "version": "{}.{}".format(*schema.VERSION),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "generator": f"neuromorph {neuromorph.__version__}",
                "complete": False,
                "mode": self.mode,
                "detail": self.detail,
                "tick_s": mapping.chip.tick_s,
            },
        )
        meta = group(file, "meta")
        attributes(
            meta,
            {
                "network": msgspec.json.encode(schema.network_info(mapping.network)).decode(),
                "chip": schema.chip_json(mapping.chip),
                "chip_text": mapping.chip.text,
                "options": _json({"mode": self.mode, "detail": self.detail}),
                "environment": _json(
                    {
                        "python": platform.python_version(),
                        "platform": platform.platform(),
                        "hdf5": h5py.version.hdf5_version,
                        "h5py": h5py.version.version,
                        "numpy": np.__version__,
                        "neuromorph": neuromorph.__version__,
                    }
                ),
                "provenance": _json({"network": mapping.network.meta}),
            },
        )
        table, slices = group(file, "mapping"), mapping.slices
        for name, dtype in schema.MAPPING_COLUMNS.items():
            field = "stage" if name == "layer" else name
            _fixed(table, name, np.array([getattr(s, field) for s in slices], dtype))
        for name in schema.RANGES:
            _fixed(table, name, np.array([getattr(s, name) for s in slices], "<i8"))
        counts = group(file, "counts")
        attributes(counts, asdict(mapping.hardware))
        _fixed(counts, "actions", _strings(list(ACTIONS)))
        _fixed(counts, "layers", _strings(list(mapping.row_layers)))
        _fixed(counts, "cores", mapping.row_cores.astype("<i8"))
        _fixed(counts, "pairs", mapping.pairs.astype("<i8"))

    def _make_tables(self, file: h5py.File) -> None:
        rows = self._mapping.rows
        counts = file["counts"]
        per_sample = rows * len(ACTIONS)
        block = max(1, COUNT_CHUNK_CELLS // per_sample)
        _growing(counts, "values", "<i8", (rows, len(ACTIONS)), chunk=block)
        _growing(counts, "ticks", "<i8", chunk=1)
        _growing(counts, "active_ticks", "<i8", chunk=rows)
        classes = self._mapping.network.classes
        samples = group(file, "samples")
        attributes(samples, {"flushed": np.zeros(len(schema.TABLES), "<i8")})
        names = dict(schema.SAMPLE_COLUMNS)
        if self.mode == "timed":
            names |= schema.TIME_COLUMNS
        for name, dtype in names.items():
            _growing(samples, name, dtype, chunk=SAMPLE_CHUNK_ROWS)
        _growing(samples, "outputs", "<i4", (classes,), chunk=SAMPLE_CHUNK_ROWS)
        for table, columns in (
            ("spikes", schema.SPIKE_COLUMNS),
            ("packets", schema.PACKET_COLUMNS),
        ):
            if table in schema.tables_of(self.detail):
                made = group(file, table)
                for name, dtype in columns.items():
                    _growing(made, name, dtype)

    # --- writing rows

    def _write_time(self, counts: Counts) -> None:
        """Time of the run; like ``Counts.join``, several batches have none."""
        known = self._batches == 0 and counts.ticks is not None
        ticks, active = (self._columns["counts"][n] for n in ("ticks", "active_ticks"))
        if known and counts.active_ticks is not None:
            active.resize(len(counts.active_ticks), axis=0)
            active[:] = counts.active_ticks
        elif len(active):
            active.resize(0, axis=0)
        if known:
            ticks.resize(1, axis=0)
            ticks[0] = counts.ticks
        elif len(ticks):
            ticks.resize(0, axis=0)

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
            sample, place = np.nonzero(levels)
            layer = layer_of[place]
            self._append(
                "spikes",
                {
                    "sample": sample + (self._rows["samples"] + start),
                    "layer": layer,
                    "neuron": place - starts[layer],
                    "level": levels[sample, place],
                },
            )

    def _append(self, table: str, columns: dict[str, NDArray[Any]]) -> None:
        """Add rows to every column of a table; they count once flushed."""
        first = self._rows[table]
        with self._writing():
            for name, dataset in self._columns[table].items():
                values = columns[name]
                dataset.resize(first + len(values), axis=0)
                dataset[first:] = values
        self._rows[table] = first + len(values)

    def _flush(self) -> None:
        """Write what is buffered, then what of it counts as written."""
        if self._buffered:
            ready = self._buffer[: self._buffered]
            self._buffered = 0
            self._append("packets", {name: ready[name] for name in schema.PACKET_COLUMNS})
        file = self._open_file()
        with self._writing():
            file.flush()
            rows = np.array([self._rows[name] for name in schema.TABLES], "<i8")
            file["samples"].attrs.modify("flushed", rows)
            file.flush()

    # --- the end

    def _finish(self) -> None:
        self._flush()
        file = self._open_file()
        with self._writing():
            file.attrs.modify("complete", np.bool_(True))
            file.flush()
        self._close()
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

    def _close(self) -> None:
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
            self._abandon()
            raise TraceError(f"cannot write trace {self._partial}: {_reason(error)}") from None

    def _abandon(self) -> None:
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


def _strings(texts: list[str]) -> NDArray[Any]:
    encoded = [t.encode() for t in texts]
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded)))
    return np.array(encoded, dtype=dtype)


def _fixed(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """A small dataset that is known beforehand; one block, so that it has a checksum."""
    group.create_dataset(
        name, data=values, dtype=values.dtype, chunks=values.shape, fletcher32=True
    )


def _growing(
    group: h5py.Group,
    name: str,
    dtype: Any,
    shape: tuple[int, ...] = (),
    *,
    chunk: int = CHUNK_ROWS,
) -> h5py.Dataset:
    """An empty dataset that grows along its first axis."""
    return group.create_dataset(
        name,
        (0, *shape),
        dtype,
        maxshape=(None, *shape),
        chunks=(chunk, *shape),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
        fletcher32=True,
    )


def _json(value: dict[str, Any]) -> str:
    """JSON; what JSON does not know is written as its ``repr``."""
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode({key: repr(part) for key, part in value.items()}).decode()


def _reason(error: Exception) -> str:
    """The system's word for what happened, out of HDF5's many."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (found := re.search(r"errno = (\d+)", str(error))):
        code = int(found[1])
    return os.strerror(code) if code else (str(error).splitlines() or [type(error).__name__])[0]
