"""Recorder: takes what a run hands in and writes it in a thread of its own.

The engine puts its packets into one of a few buffers and goes on; the thread
writes full ones.  A run that is faster than the disk waits for a free buffer,
so memory stays bounded.  What the thread could not write is raised where the
run hands in next.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.events import Counts
from neuromorph.mapping import Mapping, Tally
from neuromorph.mapping.packets import Lender
from neuromorph.trace import schema
from neuromorph.trace.compression import Compression
from neuromorph.trace.schema import Detail
from neuromorph.trace.writing import Writer

__all__ = ["Recorder"]

BUFFERS = 8
BUFFERED_ROWS = 1 << 16
BEYOND_ROWS = 128  # a buffer has so many more: who fills it may leave the last 64 free

Task = Callable[[], None]


class Recorder:
    """Context manager that writes the trace of one run.

    Parameters
    ----------
    path : path
        Final name of the file.  It appears when the run has succeeded; until
        then, and after a failure, the file is ``<path>.partial``.
    mapping : Mapping
        What is run.
    mode : {"reference", "count", "timed"}
        How it is run; only ``timed`` has packets and hops.
    detail : {"counts", "spikes", "packets", "hops"}, optional
        What is recorded; each level holds those before it.  Left out, packets
        where there are any, else spikes.
    compression : {"gzip", "none", "lz4", "zstd"}
        Of spikes, packets and hops.  lz4 and zstd need hdf5plugin, also to read.

    Raises
    ------
    TraceError
        Unknown detail, mode or compression, or a file that cannot be written
        (names file and reason); the latter from any method.
    MissingDependencyError
        lz4 or zstd without hdf5plugin.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mapping: Mapping,
        *,
        mode: str,
        detail: Detail | None = None,
        compression: Compression = "gzip",
    ) -> None:
        if detail is None:
            detail = schema.usual_detail(mode)
        if detail not in schema.DETAILS:
            raise TraceError(
                f"trace detail is {detail!r}; choose one of {', '.join(schema.DETAILS)}"
            )
        if mode not in schema.MODES:
            raise TraceError(f"trace mode is {mode!r}; choose one of {', '.join(schema.MODES)}")
        if detail in schema.TIMED_DETAILS and mode != "timed":
            raise TraceError(f"mode {mode!r} has no {detail} to record; use mode 'timed'")
        self.path = Path(path)
        self.mapping = mapping
        self.detail = detail
        self.mode = mode
        self._writer = Writer(self.path, mapping, detail, mode, compression)
        recorded = schema.tables_of(detail)
        self._rings = {table: _Ring(table) for table in schema.TIMED_DETAILS if table in recorded}
        # samples that are written after so many rows of every ring
        self._waiting: list[tuple[dict[str, int], Task]] = []
        self._tasks: queue.Queue[Task | None] = queue.Queue(BUFFERS)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._writer.open()
        # a daemon: a recorder that nobody closes must not keep the process alive
        self._thread = threading.Thread(target=self._work, name="neuromorph-trace", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        # A run that failed for its own reason: what there is is kept, no second error added.
        end = [self._writer.finish] if kind is None else [self._writer.flush, self._writer.close]
        for task in (*self._rest(), *end, None):
            self._tasks.put(task)
        self._thread.join()
        self._thread = None
        if kind is None and self._failure is not None:
            raise self._failure

    def packets(self, records: NDArray[Any]) -> None:
        """Take delivered packets.

        Parameters
        ----------
        records : PACKET_DTYPE array, shape (packets,)
            Copied; ignored unless packets are recorded.
        """
        self._take("packets", records)

    def hops(self, records: NDArray[Any]) -> None:
        """Take packets at routers.

        Parameters
        ----------
        records : HOP_DTYPE array, shape (hops,)
            Copied; ignored unless hops are recorded.
        """
        self._take("hops", records)

    def sink(self, table: Literal["packets", "hops"]) -> Lender | None:
        """What takes the records of a table; None if they are not recorded."""
        ring = self._rings.get(table)
        return None if ring is None else _Sink(self, ring)

    def batch(
        self,
        inputs: NDArray[np.int16],
        tally: Tally,
        counts: Counts,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Take the results of the next samples; their packets and hops were taken before.

        Parameters
        ----------
        inputs : int16 array, shape (batch, input neurons)
            Encoded input levels.  The arrays are not copied and must not change.
        tally : Tally
        counts : Counts
            With the time of the run, if it is over.
        labels : int64 array, shape (batch,) or, of pixels, (batch, height, width), optional
            −1 is written where the label is not known.
        """
        if self.mode == "timed" and (tally.started is None or tally.finished is None):
            raise TraceError("a timed run must say when its samples start and finish")
        self._check()
        needed = {table: ring.taken for table, ring in self._rings.items()}
        self._waiting.append((needed, partial(self._writer.batch, inputs, tally, counts, labels)))
        self._hand_in(*self._released())

    def flush(self) -> None:
        """Return when all that was taken is on its way to the disk and counts as written."""
        self._hand_in(*self._rest(), self._writer.flush)
        self._tasks.join()
        self._check()

    # --- from the run to the thread

    def _take(self, table: str, records: NDArray[Any]) -> None:
        ring = self._rings.get(table)
        if ring is None:
            return
        self._check()
        while len(records):
            records = ring.fill(records)
            self._pass_on(ring)

    def _pass_on(self, ring: _Ring) -> None:
        """Hand in the buffer if it is full."""
        if ring.is_full:
            self._hand_in(self._emptied(ring), *self._released(), self._writer.flush_if_due)

    def _emptied(self, ring: _Ring) -> Task:
        """Writing what is in the buffer of a ring, and giving the buffer back."""
        buffer, rows = ring.change()

        def write() -> None:
            try:
                self._writer.append(ring.table, {n: column[:rows] for n, column in buffer.items()})
            finally:
                ring.free.put(buffer)

        return write

    def _released(self) -> list[Task]:
        """Samples all of whose rows are handed in."""
        released = []
        while self._waiting and all(
            self._rings[table].handed >= rows for table, rows in self._waiting[0][0].items()
        ):
            released.append(self._waiting.pop(0)[1])
        return released

    def _rest(self) -> list[Task]:
        """All that is not handed in."""
        begun = [self._emptied(ring) for ring in self._rings.values() if ring.filled]
        return [*begun, *self._released()]

    def _hand_in(self, *tasks: Task) -> None:
        self._check()
        for task in tasks:
            self._tasks.put(task)

    def _check(self) -> None:
        """Raise what the thread failed at, or that there is none."""
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            raise TraceError(f"trace {self.path} is not open for writing")

    def _work(self) -> None:
        """The thread: tasks in order; after a failure the others fail at once."""
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except BaseException as error:
                if self._failure is None:
                    self._failure = error
                    self._writer.abandon()
            finally:
                self._tasks.task_done()


Buffer = dict[str, NDArray[Any]]


class _Ring:
    """Buffers of one table: one is filled, the others are written or free."""

    def __init__(self, table: str) -> None:
        columns = schema.EVENT_TABLES[table]
        self.table = table
        self.free: queue.Queue[Buffer] = queue.Queue()
        for _ in range(BUFFERS):
            rows = BUFFERED_ROWS + BEYOND_ROWS
            self.free.put({name: np.empty(rows, dtype) for name, dtype in columns.items()})
        self._full = BUFFERED_ROWS
        self._buffer = self.free.get()
        self.filled = self.handed = 0

    @property
    def taken(self) -> int:
        """Rows so far."""
        return self.handed + self.filled

    @property
    def is_full(self) -> bool:
        return self.filled >= self._full

    def lend(self) -> Buffer:
        """Where the next records may be put."""
        return {name: column[self.filled :] for name, column in self._buffer.items()}

    def fill(self, records: NDArray[Any]) -> NDArray[Any]:
        """Copy what there is room for; the records left over."""
        last = min(self.filled + len(records), self._full)
        taken = last - self.filled
        for name, column in self._buffer.items():
            column[self.filled : last] = records[name][:taken]
        self.filled = last
        return records[taken:]

    def change(self) -> tuple[Buffer, int]:
        """The buffer and its rows; the next one is taken, once it is free."""
        old, rows = self._buffer, min(self.filled, self._full)
        beyond = self.filled - rows
        self._buffer, self.filled = self.free.get(), beyond
        for name, column in self._buffer.items():
            column[:beyond] = old[name][rows : rows + beyond]
        self.handed += rows
        return old, rows


class _Sink:
    """Takes the records of a table, and lends the memory for them."""

    def __init__(self, recorder: Recorder, ring: _Ring) -> None:
        self._recorder, self._ring = recorder, ring

    def __call__(self, records: NDArray[Any], /) -> None:
        self._recorder._take(self._ring.table, records)

    def lend(self) -> Buffer:
        return self._ring.lend()

    def took(self, rows: int) -> None:
        self._recorder._check()
        self._ring.filled += rows
        self._recorder._pass_on(self._ring)
