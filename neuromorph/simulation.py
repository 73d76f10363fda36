"""Running a mapped network: several modes, one result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from neuromorph.errors import NetworkError, SimulationError, check_type
from neuromorph.events import Counts, plural
from neuromorph.kernels import counting as kernel_counting
from neuromorph.kernels import timed as kernel_timed
from neuromorph.mapping import Mapping, Tally, Timing, complete
from neuromorph.reference import brian2 as reference_brian2
from neuromorph.reference import counting as reference_counting
from neuromorph.trace import Detail, Recorder
from neuromorph.trace.schema import TIMED_DETAILS, usual_detail
from neuromorph.workers import ALONE, Workers

__all__ = ["Mode", "Run", "simulate", "simulate_on"]

Mode = Literal["reference", "count", "timed", "brian2"]

# Samples run at a time: bounds the memory of the working arrays.
CHUNK = {"reference": 64, "count": 4096, "brian2": 1024}
SHARE = 4  # into so many parts a chunk is cut where several work
# Bytes of levels kept of a stream, whose length nobody knows.
LEVELS_KEPT = 256 << 20
# Bytes of counts of single samples kept of a stream; beyond, they are summed.
COUNTS_KEPT = 256 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What came of a run.

    ``outputs`` (samples, classes): sums of the last layer, int32 (int64 where they may be wider).
    ``predictions`` int64 (samples,): class of the highest score.  Where every
    pixel is classified, ``outputs`` is (samples, classes · height · width), flat
    in C order, and ``predictions`` (samples, height, width).
    ``counts``: :class:`~neuromorph.events.Counts`.
    ``started_ticks``, ``finished_ticks`` int64 (samples,): first injection
    and last read-out of each sample; ``timing``
    :class:`~neuromorph.mapping.Timing`: load of cores and links.  All three are
    None except in timed mode.
    """

    mapping: Mapping
    mode: Mode
    outputs: NDArray[Any]
    predictions: NDArray[np.int64]
    counts: Counts
    started_ticks: NDArray[np.int64] | None = None
    finished_ticks: NDArray[np.int64] | None = None
    timing: Timing | None = None
    trace: str | None = None
    _levels: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        return (
            f"<Run of {plural(len(self), 'sample')} of {self.mapping.network.name!r} on "
            f"{self.mapping.chip.name}, mode {self.mode}>"
        )

    def levels(self, layer: str) -> NDArray[Any]:
        """Levels that left a layer: (samples, neurons), after its pool, flat in C order.

        Raises
        ------
        NetworkError
            No such layer, the read-out, whose sums are ``outputs``, or levels that
        were not kept.
        """
        if layer in self._levels:
            return self._levels[layer]
        stage = self.mapping.network.stage(layer)
        if not stage.is_readout:
            raise NetworkError(
                f"levels of {stage.name!r} were not kept, they pass {LEVELS_KEPT >> 20} MiB; "
                "record a trace or run fewer samples at a time"
            )
        raise NetworkError(f"layer {stage.name!r} is read out as sums; see run.outputs")

    @property
    def latencies_s(self) -> NDArray[np.float64] | None:
        """Seconds from first injection to read-out of each sample; timed mode only."""
        if self.started_ticks is None or self.finished_ticks is None:
            return None
        ticks = (self.finished_ticks - self.started_ticks).astype(np.float64)
        return ticks * self.mapping.chip.tick_s

    @property
    def latency_s(self) -> float | None:
        """Mean latency in seconds; timed mode only."""
        latencies = self.latencies_s
        return None if latencies is None or not len(latencies) else float(latencies.mean())

    @property
    def interval_s(self) -> float | None:
        """Steady interval in seconds: mean time between read-outs; timed mode only."""
        if self.finished_ticks is None or len(self) < 2:
            return None
        span = int(self.finished_ticks[-1] - self.finished_ticks[0])
        return span * self.mapping.chip.tick_s / (len(self) - 1)

    def accuracy(self, labels: ArrayLike) -> float:
        """Share of samples (or of their pixels) predicted as labelled."""
        known = _labels(labels, len(self), self.predictions.shape[1:])
        return float((self.predictions == known).mean())

    def dice(self, labels: ArrayLike) -> float:
        """Dice coefficient 2·|A ∩ B| / (|A| + |B|) of the pixels of class 1, over all samples.

        A are those predicted and B those labelled so; 1 if there are neither.
        """
        known = _labels(labels, len(self), self.predictions.shape[1:]) == 1
        found = self.predictions == 1
        either = int(found.sum()) + int(known.sum())
        return 2 * int((found & known).sum()) / either if either else 1.0

    @property
    def _times(self) -> str:
        return (
            f", latency {self.latency_s * 1e6:.3g} µs" if self.latency_s is not None else ""
        ) + (f", interval {self.interval_s * 1e6:.3g} µs" if self.interval_s is not None else "")

    def __str__(self) -> str:
        return f"{self!r}{self._times}\n{self.counts}"

    def _repr_html_(self) -> str:
        """The same, for notebooks."""
        what = escape(f"{self!r}".strip("<>") + self._times)
        return f"<div><div>{what}</div>{self.counts._repr_html_()}</div>"


def simulate(
    mapping: Mapping,
    inputs: ArrayLike | Iterator[ArrayLike],
    *,
    mode: Mode = "count",
    labels: ArrayLike | None = None,
    trace: str | os.PathLike[str] | Recorder | None = None,
    detail: Detail | None = None,
) -> Run:
    """Run samples through a mapped network.

    Parameters
    ----------
    mapping : Mapping
    inputs : integer array, shape (samples, *network.input.shape)
        Raw samples; the network's input encodes them.  A memory-mapped array,
        or an iterator over such arrays (batches of any size), is read and
        encoded piece by piece, so it may be larger than memory; not in timed
        mode, whose frames overlap.  Of such a run the levels are kept up to
        256 MiB and none beyond, the counts of every sample up to 256 MiB and
        beyond as sums over the run; outputs of every sample always.
    mode : {"count", "timed", "reference", "brian2"}
        ``count``: bit-parallel, no time.  ``timed``: discrete events, with
        latency.  ``reference``: plain NumPy, slow, the truth.  ``brian2``:
        levels and outputs from Brian2 (extra ``brian2``), to check ours
        against a simulator of others.  Outputs, levels and counts are the same.
    labels : integer array, shape (samples,), optional
        Written to the trace; (samples, height, width) where every pixel is classified.
    trace : path or Recorder, optional
        HDF5 file to record.  Until it is complete it carries the suffix
        ``.partial``.  A :class:`~neuromorph.trace.Recorder` of this mapping and
        mode has a detail and a compression of its own.
    detail : {"counts", "spikes", "packets", "hops"}, optional
        What the trace holds; packets (the default) and hops need the timed
        mode, else spikes.

    Returns
    -------
    Run

    Raises
    ------
    NetworkError
        Inputs of wrong shape, dtype or range.
    SimulationError
        No samples, labels that are not one integer a sample, an unknown mode
        or detail, a detail or trace the mode does not have, or, in timed mode,
        a deadlock of full buffers; names the cycle.
    MissingDependencyError
        Mode ``brian2`` without Brian2.
    ChipError
        The timed mode on a chip whose times are not published.
    TraceError
        The trace cannot be written.

    Examples
    --------
    >>> import numpy as np, neuromorph as nm
    >>> mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    >>> run = nm.simulate(mapping, np.zeros((2, 1, 8, 8), int), mode="timed")
    >>> run.outputs.shape, run.latency_s > 0
    ((2, 10), True)
    """
    check_type(mapping, Mapping, "mapping", SimulationError, "give map_network(network, chip)")
    if mode not in get_args(Mode):
        raise SimulationError(f"mode is {mode!r}; choose one of {', '.join(get_args(Mode))}")
    if isinstance(trace, Recorder):
        if trace.mapping is not mapping or trace.mode != mode or detail not in (None, trace.detail):
            raise SimulationError(
                f"the recorder of {trace.path} was made for another mapping, mode or detail; "
                "make one for this run"
            )
        detail = trace.detail
    elif detail is None:
        detail = usual_detail(mode)
    if detail not in get_args(Detail):
        raise SimulationError(f"detail is {detail!r}; choose one of {', '.join(get_args(Detail))}")
    if detail in TIMED_DETAILS and mode != "timed":
        raise SimulationError(f"mode {mode!r} has no {detail} to record; use mode='timed'")
    if mode == "brian2" and trace is not None:
        raise SimulationError("mode 'brian2' is for checks and records no trace; use another mode")
    if mode == "timed":
        mapping.chip.times()
    if trace is not None and not isinstance(trace, Recorder):
        trace = Recorder(trace, mapping, detail=detail, mode=mode)
    return simulate_on(ALONE, mapping, inputs, mode=mode, labels=labels, recorder=trace)


def simulate_on(
    workers: Workers,
    mapping: Mapping,
    inputs: ArrayLike | Iterator[ArrayLike],
    *,
    mode: Mode = "count",
    labels: ArrayLike | None = None,
    recorder: Recorder | None = None,
) -> Run:
    """Run samples as :func:`simulate` does, by workers: some samples each.

    Nothing depends on who they are.  Alone, the mode ``count`` uses all
    processors too, in threads.

    Raises
    ------
    SimulationError
        Several workers in timed mode; as :func:`simulate`, and as
        :meth:`~neuromorph.workers.Workers.each`.
    MissingDependencyError
        A cluster without Dask.
    """
    if mode == "timed" and not workers.alone:
        raise SimulationError(
            "mode 'timed' runs all samples in one time, so one process runs them; use mode "
            "'count' for several"
        )
    pieces, samples = _pieces(mapping, inputs, mode, 1 if workers.alone else SHARE)
    streamed = isinstance(inputs, (Iterator, np.memmap))
    known = None if labels is None else _labels(labels, samples, mapping.network.pixels)
    with recorder or nullcontext():
        return _run(mapping, pieces, samples, streamed, mode, known, recorder, workers)


def _pieces(
    mapping: Mapping, inputs: ArrayLike | Iterator[ArrayLike], mode: Mode, share: int
) -> tuple[Iterator[NDArray[np.int16]], int | None]:
    """(encoded samples piece by piece, how many there are if that is known)."""
    encode, size = mapping.network.encode, CHUNK.get(mode, 0) // share
    lazy = isinstance(inputs, (Iterator, np.memmap))
    if lazy and mode == "timed":
        raise SimulationError("mode 'timed' takes all samples at once; give it an array in memory")
    if isinstance(inputs, Iterator):
        batches = (np.asarray(batch) for batch in inputs)
        cuts = (batch[i : i + size] for batch in batches for i in range(0, len(batch), size))
        return (encode(cut) for cut in cuts), None
    if isinstance(inputs, np.memmap) and inputs.ndim:
        whole: NDArray[Any] = inputs
        encode(whole[:0])  # its shape and dtype
    else:
        whole = encode(inputs)
    samples = len(whole)
    if samples == 0:
        raise SimulationError("there are no samples to run; give at least one")
    cuts = (whole[i : i + (size or samples)] for i in range(0, samples, size or samples))
    return ((encode(cut) if lazy else cut) for cut in cuts), samples


def _labels(labels: ArrayLike, samples: int | None, pixels: tuple[int, ...]) -> NDArray[np.int64]:
    """Labels as int64, one a sample and pixel; with ``samples`` None as many as there are."""
    try:
        array = np.asarray(labels)
    except ValueError:
        raise SimulationError(
            f"labels have rows of different lengths; need {samples or 'a line of'} integers"
        ) from None
    if samples is None and array.ndim == 1 + len(pixels):
        samples = len(array)
    if array.shape != (samples, *pixels) or array.dtype.kind not in "iu":
        each = f" images of {' × '.join(map(str, pixels))}" if pixels else ""
        raise SimulationError(
            f"labels are {array.dtype} of shape {list(array.shape)}; need {samples}{each} integers"
        )
    return array.astype(np.int64)


def _record(
    recorder: Recorder, inputs: NDArray[np.int16], labels: NDArray[np.int64] | None
) -> Callable[[Tally], None]:
    """What takes the samples of a timed run part by part."""
    taken = 0

    def take(tally: Tally) -> None:
        nonlocal taken
        cut = slice(taken, taken + len(tally.outputs))
        counts = complete(recorder.mapping, tally)
        known = None if labels is None else labels[cut]
        recorder.batch(inputs[cut], tally, counts, labels=known)
        taken = cut.stop

    return take


def _count(
    task: tuple[Mapping, NDArray[np.int16], Mode, int],
) -> tuple[NDArray[np.int16], Tally]:
    """Encoded samples and what came of them, in a mode without time."""
    mapping, encoded, mode, threads = task
    if mode == "count":
        return encoded, kernel_counting.count(mapping, encoded, threads=threads)
    if mode == "brian2":
        return encoded, reference_brian2.count(mapping, encoded)
    return encoded, reference_counting.count(mapping, encoded)


def _run(
    mapping: Mapping,
    pieces: Iterator[NDArray[np.int16]],
    samples: int | None,
    streamed: bool,
    mode: Mode,
    labels: NDArray[np.int64] | None,
    recorder: Recorder | None,
    workers: Workers,
) -> Run:
    tallies: list[Tally] = []
    counts: list[Counts] = []
    done, held, keep_levels = 0, 0, True
    with tqdm(total=samples, unit="sample", disable=None, delay=1.0, leave=False) as bar:

        def in_time(encoded: NDArray[np.int16]) -> tuple[NDArray[np.int16], Tally]:
            tally = kernel_timed.timed(
                mapping,
                encoded,
                sink=None if recorder is None else recorder.sink("packets"),
                hops=None if recorder is None else recorder.sink("hops"),
                progress=lambda n: bar.update(n - bar.n) and None,
                parts=None if recorder is None else _record(recorder, encoded, labels),
            )
            return encoded, tally

        threads = (os.cpu_count() or 1) if workers.alone else 1
        tasks = ((mapping, encoded, mode, threads) for encoded in pieces)
        found = map(in_time, pieces) if mode == "timed" else workers.each(_count, tasks)
        for encoded, tally in found:
            part = complete(mapping, tally)
            known = None if labels is None else labels[done : done + len(encoded)]
            done += len(encoded)
            if labels is not None and len(labels) < done:
                raise SimulationError(
                    f"{plural(len(labels), 'label')} for {done} samples or more; give one a sample"
                )
            if recorder is not None and mode != "timed":
                recorder.batch(encoded, tally, part, labels=known)
            tallies.append(tally)
            held += sum(v.nbytes for v in tally.levels)
            if streamed and held > LEVELS_KEPT:
                keep_levels = False
            if not keep_levels:
                for t in tallies:
                    t.levels = []
            tally.counted = {}
            counts.append(part)
            if streamed and sum(c.values.nbytes for c in counts) > COUNTS_KEPT:
                counts = [Counts.join([c.summed() for c in counts])]
            if mode != "timed":
                bar.update(len(encoded))
    if not tallies:
        raise SimulationError("there are no samples to run; give at least one")
    if labels is not None and len(labels) != done:
        raise SimulationError(
            f"{plural(len(labels), 'label')} for {plural(done, 'sample')}; give one a sample"
        )
    outputs = np.concatenate([t.outputs for t in tallies])
    firing = [s.name for s in mapping.network.stages if s.levels is not None]
    levels = {
        name: np.concatenate([t.levels[i] for t in tallies])
        for i, name in enumerate(firing)
        if keep_levels
    }
    return Run(
        mapping=mapping,
        mode=mode,
        outputs=outputs,
        predictions=mapping.network.predict(outputs),
        counts=counts[0] if len(counts) == 1 else Counts.join(counts),
        started_ticks=tallies[0].started,
        finished_ticks=tallies[0].finished,
        timing=tallies[0].timing,
        trace=None if recorder is None else str(recorder.path),
        _levels=levels,
    )
