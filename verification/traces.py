"""Traces under stress: kills at random moments, damaged files, a billion packets.

    python verification/traces.py kills --number 1000
    python verification/traces.py mutations --number 20000
    python verification/traces.py large --number 1000000000 --folder FOLDER

Each prints a verdict and exits with 1 if a promise is broken.  ``--state FILE``
keeps what is done every so often, so that the same command goes on from there.

* kills: a run that records is killed (SIGKILL) at a random moment; what it
  left opens, says that it is incomplete, and every sample and row that counts
  as flushed is that of a run nobody killed.
* mutations: traces with flipped bits, cut, with other types, values, shapes
  and huge sizes; each gives a ``TraceError`` or is read, in bounded time and
  memory, and nothing crashes.
* large: so many packets (a real run, repeated) are written, read slice by
  slice and validated in bounded memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import h5py
import numpy as np

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import TraceError
from neuromorph.kernels import timed
from neuromorph.learning import LearningTrace, is_learning, validate_learning
from neuromorph.mapping import complete
from neuromorph.simulation import CHUNK
from neuromorph.trace import Recorder, Trace, blank, recorder, validate, writing

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
UNFINISHED = "rule 11: the run did not finish; what was flushed is readable"
MEMORY_BYTES = 1 << 30  # of a process that reads damaged files
LARGE_BYTES = 500_000_000
FILE_S = 60  # a hang takes hours; a shared machine stalls for seconds
BATCH = 100  # files of one process, kills between two notes


# --- kills

KINDS = (("count", "spikes"), ("timed", "packets"), ("timed", "hops"))


def digits() -> tuple[nm.Mapping, np.ndarray]:
    """What is run: digits, in small pieces, so that much is flushed."""
    CHUNK["count"] = 10
    recorder.BUFFERED_ROWS = blank.CHUNK_ROWS = timed.RECORDS = 5000
    timed.EVENTS, timed.PART_S, writing.FLUSH_S = 20_000, 0.0, 0.0
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return mapping, load_data("digits").test_images[:60]


def check_part(path: Path, whole: Trace) -> tuple[int, int]:
    """An unfinished trace holds the beginning of a whole one; (samples, packets) in it.

    Raises
    ------
    AssertionError
    """
    with Trace(path) as part:
        samples, packets = len(part), part.packet_count
        # complete, if it was killed between the last row and the renaming
        assert validate(path) == ([] if part.complete else [UNFINISHED]), validate(path)
        assert part.complete <= (samples == len(whole) and packets == whole.packet_count)
        assert np.array_equal(part.counts.values, whole.counts.values[:samples])
        for name in ("outputs", "predictions", "labels", "started_ticks"):
            found, wanted = getattr(part, name), getattr(whole, name)
            assert np.array_equal(found, wanted if wanted is None else wanted[:samples]), name
        for table, rows in (
            ("spikes", part.spike_count), ("packets", packets), ("hops", part.hop_count)
        ):  # fmt: skip
            if whole.holds(table):
                found, wanted = part.rows(table, 0, rows), whole.rows(table, 0, rows)
                assert all(np.array_equal(found[n], wanted[n]) for n in wanted), table
        assert part.spike_count == len(whole.spikes(slice(0, samples))["level"])
        if whole.holds("packets"):  # every packet of a flushed sample is there
            wanted = whole.rows("packets", 0, whole.packet_count)["sample"]
            assert (wanted[packets:] >= samples).all()
    return samples, packets


def kills(number: int, seed: int, state: dict[str, Any]) -> Iterator[None]:
    """Kill so many runs; what they left is checked."""
    mapping, images = digits()
    network = mapping.network
    state |= {"done": 0, "files": 0, "no_file": 0, "samples": 0, "packets": 0} | state
    with tempfile.TemporaryDirectory(prefix="neuromorph-") as name:
        folder = Path(name)
        whole, took = {}, {}
        for kind in KINDS:
            path = folder / f"{kind[1]}.h5"
            begun = time.perf_counter()
            os.waitpid(start(mapping, images, kind, path), 0)
            took[kind] = time.perf_counter() - begun
            whole[kind] = Trace(path)
            assert replayed(whole[kind], network)
        while state["done"] < number:
            rng = random.Random(seed * 1_000_003 + state["done"])
            kind, path = rng.choice(KINDS), folder / "run.h5"
            child = start(mapping, images, kind, path)
            time.sleep(rng.random() * took[kind])
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            left = [p for p in folder.glob("run.h5*") if not p.name.endswith(".new")]
            state["no_file"] += not left  # killed in its very first milliseconds
            for file in left:
                samples, packets = check_part(file, whole[kind])
                state["files"] += 1
                state["samples"] += samples
                state["packets"] += packets
            for file in folder.glob("run.h5*"):
                file.unlink()
            state["done"] += 1
            yield
        for trace in whole.values():
            trace.close()


def replayed(trace: Trace, network: nm.Network) -> bool:
    """Whether the unharmed trace is what it should be."""
    return validate(trace.path) == [] and trace.mapping(network).network is network


def start(mapping: nm.Mapping, images: np.ndarray, kind: tuple[str, str], path: Path) -> int:
    """A process that records; its number."""
    child = os.fork()
    if child == 0:
        try:
            mode, detail = kind
            nm.simulate(mapping, images, mode=mode, detail=detail, trace=path)  # type: ignore[arg-type]
        finally:
            os._exit(0)
    return child


# --- mutations

MOST_CELLS = 1 << 19
EXTREMES = (
    0, 1, -1, 2, 127, 255, 256, -(1 << 31), (1 << 32) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63)
)  # fmt: skip


def read_all(path: Path, network: nm.Network) -> list[str]:
    """Everything a trace, or a learning record, can be asked for; the broken rules."""
    if is_learning(path):
        problems = validate_learning(path)
        with LearningTrace(path) as record:
            record.to_dict(), str(record), record.moves()
        return problems
    problems = validate(path)
    with Trace(path) as trace:
        trace.info(), trace.to_dict(), trace.counts, trace.labels, trace.outputs
        if trace.holds("spikes"):
            trace.spikes(), trace.spikes(0), trace.spikes(layer="input")
        if trace.holds("packets"):
            trace.packets(slice(0, 2)), trace.packets(ticks=(0, 100))
            for _ in trace.timed_spikes():
                pass
            with contextlib.suppress(TraceError):  # of another network
                for _ in trace.synaptic_events(network):
                    pass
        if trace.holds("hops"):
            for _ in trace.paths():
                pass
    return problems


def mutate_bytes(good: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut or exchange some bytes."""
    bad = bytearray(good)
    kind = rng.choice(["flip", "flips", "bytes", "word", "cut", "swap"])
    if kind == "cut":
        del bad[rng.randrange(len(bad)) :]
    elif kind == "swap":
        a, b = (rng.randrange(512, len(bad) - 64) for _ in range(2))
        bad[a : a + 64], bad[b : b + 64] = bad[b : b + 64], bad[a : a + 64]
    else:
        for _ in range(1 if kind == "flip" else rng.randrange(1, 12)):
            at = rng.randrange(len(bad) - 8)
            if kind == "bytes":
                bad[at] = rng.choice([0, 1, 127, 128, 255])
            elif kind == "word":
                bad[at : at + 8] = rng.randbytes(8)
            else:
                bad[at] ^= 1 << rng.randrange(8)
    return bytes(bad)


def is_ordinary(data: h5py.Dataset) -> bool:
    """Whether it can be read here: it has rows, and was not made huge before."""
    cells = max(data.size, math.prod(data.chunks or ()))
    return data.ndim > 0 and cells <= MOST_CELLS


def mutate_values(file: h5py.File, rng: random.Random) -> None:
    """Change one to three things that HDF5 has no checksum against."""
    names: list[str] = []
    file.visititems(lambda n, t: names.append(n) if isinstance(t, h5py.Dataset) else None)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(names)
        if name not in file or not is_ordinary(file[name]):
            continue
        data = file[name]
        kinds = ["cell", "cell", "all", "dtype", "shape", "attribute", "gone", "json", "huge"]
        kind = rng.choice(kinds)
        if kind in ("cell", "all") and data.size and data.dtype.kind in "iu":
            values = data[:]
            limits = np.iinfo(data.dtype)
            value = min(max(rng.choice(EXTREMES), int(limits.min)), int(limits.max))
            values.flat[rng.randrange(values.size) if kind == "cell" else slice(None)] = value
            data[:] = values
        elif kind == "dtype":
            values = np.zeros(data.shape, rng.choice(["<i8", ">i8", "<f8", "<u1", "S4", "<c16"]))
            del file[name]
            file[name] = values
        elif kind == "shape":
            dtype, shape = data.dtype, rng.choice([(), (0,), (1,), (70,), (3, 4), (3, 4, 25)])
            del file[name]
            file[name] = np.zeros(shape, dtype)
        elif kind == "huge":
            dtype, rest, chunk = data.dtype, data.shape[1:], rng.choice([1, 1 << 16, 1 << 30])
            del file[name]
            with contextlib.suppress(ValueError):  # what HDF5 itself refuses
                file.create_dataset(
                    name, (rng.choice([1 << 20, 1 << 33, 1 << 60]), *rest), dtype,
                    chunks=(chunk, *rest), compression="gzip",
                )  # fmt: skip
        elif kind == "attribute":
            owners = [file[name] for name in ("/", "meta", "counts", "samples")]
            owner = rng.choice([owner for owner in owners if len(owner.attrs)])
            key = rng.choice(sorted(owner.attrs))
            del owner.attrs[key]
            owner.attrs[key] = rng.choice(
                [0, -1, 1e300, np.nan, np.bool_(True), b"", b"timed", b"{}", b"1.0", [1, 2, 3],
                 [9, 9, 9], [-1, 0, 0], [3, 35, 62, 1 << 60], "text", np.void(b"x")]
            )  # fmt: skip
        elif kind == "json":
            part = rng.choice(["network", "chip"])
            try:
                whole = json.loads(file["meta"].attrs[part])
                inner = whole if part == "chip" else rng.choice([whole, *whole["layers"]])
                key = rng.choice(sorted(inner))
            except (KeyError, TypeError, ValueError):  # of one that was changed before
                continue
            if isinstance(inner, dict):
                inner[key] = rng.choice(
                    [*EXTREMES, 0.5, None, "", "bitplane", "sparse", [1, 1, 1], {}]
                )
            file["meta"].attrs[part] = np.bytes_(json.dumps(whole).encode())
        else:
            del file[name]


def unfinished(path: Path) -> bytes:
    """A trace of all levels that its writer did not close."""
    child = os.fork()
    if child == 0:
        try:
            mapping, images = digits()
            with Recorder(path, mapping, detail="hops", mode="timed") as taken:
                encoded = mapping.network.encode(images[:1])
                tally = timed.timed(mapping, encoded, sink=taken.packets, hops=taken.hops)
                taken.batch(encoded, tally, complete(mapping, tally))
                taken.flush()
                os._exit(0)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    partial = path.with_name(path.name + ".partial")
    data = partial.read_bytes()
    partial.unlink()
    return data


def mutated(folder: Path, first: int, last: int, seed: int) -> dict[str, Any]:
    """Read the damaged files of some numbers; what came of it.  Runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    network, path = nm.load_network("digits-gxnor"), folder / "bad.h5"
    found_here = sorted([*DATA.glob("trace-*.h5"), *DATA.glob("learning-*.h5")])
    sources = [p.read_bytes() for p in found_here]
    open_ones = [bytes(512) + data[512:] for data in sources]
    killed = (folder / "unfinished").read_bytes()
    found = {"read": 0, "refused": 0, "slowest_s": 0.0}
    for number in range(first, last):
        rng = random.Random(seed * 1_000_003 + number)
        how = rng.choice(["sealed", "open", "open", "killed", "values", "values"])
        if how == "values":
            path.write_bytes(rng.choice(open_ones))
            with h5py.File(path, "r+") as file:
                mutate_values(file, rng)
        else:
            good = (
                killed if how == "killed" else rng.choice(sources if how == "sealed" else open_ones)
            )
            path.write_bytes(mutate_bytes(good, rng))
        (folder / "number").write_text(str(number))
        begun = time.perf_counter()
        signal.alarm(FILE_S)
        try:
            read_all(path, network)
            found["read"] += 1
        except TraceError:
            found["refused"] += 1
        signal.alarm(0)
        found["slowest_s"] = max(found["slowest_s"], time.perf_counter() - begun)
    found["memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def mutations(number: int, seed: int, state: dict[str, Any]) -> Iterator[None]:
    """Damage so many files; each is refused or read."""
    state |= dict.fromkeys(("done", "read", "refused", "slowest_s", "memory_bytes"), 0) | state
    with tempfile.TemporaryDirectory(prefix="neuromorph-") as name:
        folder = Path(name)
        (folder / "unfinished").write_bytes(unfinished(folder / "run.h5"))
        while state["done"] < number:
            last = min(state["done"] + BATCH, number)
            arguments = [str(folder), str(state["done"]), str(last), str(seed)]
            command = [sys.executable, "-W", "error", __file__, "_mutated", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or done.stderr:
                at = (folder / "number").read_text()
                raise AssertionError(
                    f"file {at} of seed {seed}: exit {done.returncode}\n{done.stderr[-2000:]}"
                )
            found = json.loads(done.stdout)
            for key in ("read", "refused"):
                state[key] += found[key]
            for key in ("slowest_s", "memory_bytes"):
                state[key] = max(state[key], found[key])
            assert found["memory_bytes"] < MEMORY_BYTES, f"files to {last} of seed {seed}: {found}"
            state["done"] = last
            yield


# --- a billion packets


def large(number: int, folder: Path) -> dict[str, Any]:
    """Write a run that is repeated until there are so many packets, and read it in slices."""
    mapping = nm.map_network(nm.load_network("mnist-cnn-gxnor"), nm.load_chip("gxnor45"))
    images = load_data("mnist").test_images[:40]
    encoded, parts = mapping.network.encode(images), []
    tally = timed.timed(mapping, encoded, sink=lambda records: parts.append(records.copy()))
    packets, span = np.concatenate(parts), int(tally.finished[-1]) + 1
    counts = replace(complete(mapping, tally), ticks=None, active_ticks=None)
    path, begun = folder / "large.h5", time.perf_counter()
    times = -(-number // len(packets))
    with Recorder(path, mapping, detail="packets", mode="timed") as taken:
        for _ in range(times):
            taken.packets(packets)
            taken.batch(encoded, replace(tally), counts)
            packets["sample"] += len(images)
            packets["sent"] += span
            packets["delivered"] += span
            tally = replace(tally, started=tally.started + span, finished=tally.finished + span)
    wrote = time.perf_counter() - begun
    packets["sample"] -= times * len(images)
    for column in ("sent", "delivered"):
        packets[column] -= times * span
    begun = time.perf_counter()
    with Trace(path) as trace:
        opened = time.perf_counter() - begun
        assert trace.packet_count == times * len(packets)
        seen = 0
        for block in trace.blocks("packets"):  # all of them
            wanted = packets[np.arange(seen, seen + len(block["sent"])) % len(packets)]
            turn = np.arange(seen, seen + len(block["sent"])) // len(packets)
            for name in ("source", "neuron", "target", "payload"):
                assert np.array_equal(block[name], wanted[name]), name
            assert np.array_equal(block["delivered"], wanted["delivered"] + turn * span)
            seen += len(block["sent"])
        assert seen == trace.packet_count
        read = time.perf_counter() - begun - opened
        rng = random.Random(1)
        begun = time.perf_counter()
        for _ in range(20):  # pieces of time, found at once
            turn = rng.randrange(times)
            piece = trace.packets(ticks=(turn * span, (turn + 1) * span))
            assert np.array_equal(piece["neuron"], packets["neuron"])
        slices = (time.perf_counter() - begun) / 20
        size = path.stat().st_size
    begun = time.perf_counter()
    assert validate(path) == []
    validated = time.perf_counter() - begun
    return {
        "packets": times * len(packets),
        "samples": times * len(images),
        "bytes_a_packet": size / (times * len(packets)),
        "write_s": wrote,
        "open_s": opened,
        "read_s": read,
        "slice_s": slices,
        "validate_s": validated,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


# --- the command


def main() -> None:
    """Run one of them, note what is done, say the verdict."""
    if sys.argv[1:2] == ["_mutated"]:
        folder, first, last, seed = sys.argv[2:]
        print(json.dumps(mutated(Path(folder), int(first), int(last), int(seed))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kills", "mutations", "large"])
    parser.add_argument("--number", type=int, help="kills, files or packets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="file to go on from")
    parser.add_argument("--folder", type=Path, help="where the large trace goes; default temporary")
    a = parser.parse_args()
    if a.what == "large":
        with tempfile.TemporaryDirectory(prefix="neuromorph-", dir=a.folder) as folder:
            state = large(a.number or 10_000_000, Path(folder))
        print(json.dumps(state, indent=1))
        assert state["memory_bytes"] < LARGE_BYTES, "more memory than promised"
        print("verdict: written, read and validated in bounded memory")
        return
    state = json.loads(a.state.read_text()) if a.state and a.state.exists() else {}
    work, number = (
        (kills, a.number or 1000) if a.what == "kills" else (mutations, a.number or 20_000)
    )
    for _ in work(number, a.seed, state):
        if a.state and (state["done"] % BATCH == 0 or state["done"] == number):
            a.state.write_text(json.dumps(state))
    print(json.dumps(state, indent=1))
    print(f"verdict: {state['done']} {a.what}, no promise broken")


if __name__ == "__main__":
    main()
