"""What recording costs: the timed engine with and without a trace, and single synaptic events.

    python benchmarks/recording.py [--samples 200] [--network mnist-cnn-gxnor] [--rounds 5]

*Kernel*: CPU time of the thread that runs the engine.  *Writer*: that of the thread
that writes, in seconds.  *CPU*: both.  *Wall*: as it is; on a machine that has
fewer idle cores than two the two threads share one, and it nears CPU.  Rounds
are interleaved, medians count.
"""

# isort: off
from common import machine, parser, print_machine, report, table

# isort: on
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.kernels import timed
from neuromorph.trace import COMPRESSIONS, Recorder, Trace

CASES = (("spikes", "gzip"), ("packets", "none"), ("packets", "gzip"), ("hops", "none"),
         ("hops", "gzip"))  # fmt: skip


def seconds(work: Callable[[], Any]) -> np.ndarray:
    """Kernel, CPU and wall seconds of one call."""
    before = time.thread_time(), time.process_time(), time.perf_counter()
    work()
    return np.array([time.thread_time(), time.process_time(), time.perf_counter()]) - before


def interleaved(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Medians of every work."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in works}
    for _ in range(max(rounds, 3)):
        for name, work in works.items():
            found[name].append(seconds(work))
    return {name: np.array([statistics.median(c) for c in zip(*v)]) for name, v in found.items()}


def running(mapping: nm.Mapping, images: np.ndarray, folder: Path, rounds: int) -> list[list[Any]]:
    """The engine with every level of detail against none."""

    def work(case: tuple[str, str] | None) -> Callable[[], Any]:
        def run() -> None:
            trace = None
            if case is not None:
                detail, compression = case
                trace = Recorder(
                    folder / f"{detail}-{compression}.h5", mapping,
                    detail=detail, mode="timed", compression=compression,
                )  # fmt: skip
            nm.simulate(mapping, images, mode="timed", trace=trace)

        return run

    cases = [*CASES, *(("packets", c) for c in COMPRESSIONS[2:] if has_plugin())]
    works = {"none": work(None), **{" ".join(case): work(case) for case in cases}}
    found = interleaved(works, rounds)
    base, rows = found["none"], []
    for name, times in found.items():
        row = [name, *times[[0, 2]], times[1] - times[0], *(f"{r - 1:+.0%}" for r in times / base)]
        if name != "none":
            path = folder / f"{name.replace(' ', '-')}.h5"
            with Trace(path) as trace:
                events = max(trace.hop_count, trace.packet_count, trace.spike_count)
                row += [events, path.stat().st_size / events]
        rows.append(row)
    return rows


def has_plugin() -> bool:
    """Whether lz4 and zstd can be measured."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return False
    return True


def writing(mapping: nm.Mapping, images: np.ndarray, folder: Path, rounds: int) -> list[list[Any]]:
    """The recorder alone: records that are there already, as fast as it takes them."""
    records: dict[str, list[np.ndarray]] = {"packets": [], "hops": []}
    timed.timed(
        mapping,
        mapping.network.encode(images),
        sink=lambda r: records["packets"].append(r.copy()),
        hops=lambda r: records["hops"].append(r.copy()),
    )

    def work(table: str, compression: str) -> Callable[[], Any]:
        def run() -> None:
            made = Recorder(
                folder / "alone.h5", mapping, detail="hops", mode="timed", compression=compression
            )
            with made as taken:
                for block in records[table]:
                    getattr(taken, table)(block)

        return run

    compressions = COMPRESSIONS if has_plugin() else COMPRESSIONS[:2]
    works = {f"{t} {c}": work(t, c) for t in records for c in compressions}
    found = interleaved(works, rounds)
    rows = []
    for name, times in found.items():
        number = sum(map(len, records[name.split()[0]]))
        rows.append([name, number, *(number / t / 1e6 for t in times)])
    return rows


def reading(mapping: nm.Mapping, folder: Path) -> list[list[Any]]:
    """Synaptic events of the packets recorded before."""
    with Trace(folder / "packets-gzip.h5") as trace:
        start, number = time.thread_time(), 0
        for events in trace.synaptic_events(mapping.network):
            number += len(events["level"])
        took = time.thread_time() - start
        assert number == trace.counts.events
    return [["synaptic_events", number, number / took / 1e6]]


def main() -> None:
    """Print the tables."""
    p = parser(__doc__)
    p.add_argument("--network", default="mnist-cnn-gxnor")
    p.add_argument("--samples", type=int, default=200)
    a = p.parse_args()
    mapping = nm.map_network(nm.load_network(a.network), nm.load_chip("gxnor45"))
    images = load_data(a.network.split("-")[0]).test_images[: a.samples]
    with tempfile.TemporaryDirectory(prefix="neuromorph-") as folder:
        run = running(mapping, images, Path(folder), a.rounds)
        read = reading(mapping, Path(folder))
        write = writing(mapping, images, Path(folder), a.rounds)
    result = {"machine": machine(), "samples": len(images), "run": run, "write": write}
    report(a, result | {"read": read})
    if not a.json:
        print_machine(result["machine"])
        heads = [
            "trace",
            "kernel s",
            "wall s",
            "writer s",
            "kernel",
            "CPU",
            "wall",
            "rows",
            "bytes a row",
        ]
        print(table(heads, [row + [None] * (len(heads) - len(row)) for row in run]), end="\n\n")
        heads = ["recorder alone", "rows", "M/kernel-s", "M/CPU-s", "M/s wall"]
        print(table(heads, write), end="\n\n")
        print(table(["iterator", "events", "M/CPU-s"], read))


if __name__ == "__main__":
    main()
