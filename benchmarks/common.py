"""What the benchmarks share: one thread, interleaved rounds of CPU time, tables, JSON.

Import this first: it fixes the number of threads of every library.
"""

# ruff: noqa: E402

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

# isort: split
import argparse
import dataclasses
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from neuromorph.kernels._vcount import Kernel

import neuromorph as nm
from neuromorph.kernels import counting
from neuromorph.network import Input, Linear, Network, Readout, Threshold

ROOT = Path(__file__).resolve().parents[1]


def parser(description: str) -> argparse.ArgumentParser:
    """Options every benchmark takes."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    p.add_argument("--rounds", type=int, default=5, help="interleaved rounds; the median counts")
    return p


def torch_or_none() -> Any:
    """Torch with one thread and no gradients, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    return torch


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [s.split(":", 1) for s in info.read_text().splitlines() if ":" in s]
        facts = {k.strip(): v.strip() for k, v in lines}
        model = facts.get("model name", model)
        if "cpu family" in facts:
            model += f" (family {facts['cpu family']} model {facts['model']})"
    packages = {}
    for name in ("numpy", "scipy", "torch"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "kernel": counting.kernel_name(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **packages,
    }


def print_machine(facts: dict[str, Any]) -> None:
    """One line above the tables."""
    print(", ".join(f"{k} {v}" for k, v in facts.items() if v is not None), end="\n\n")


def timed(work: Callable[[], Any], least_s: float = 0.02) -> Callable[[], float]:
    """A clock for ``work``: CPU seconds of one call, many calls at a time if it is short."""
    work()
    start = time.thread_time()
    work()
    once = max(time.thread_time() - start, 1e-7)
    calls = max(1, int(least_s / once))

    def clock() -> float:
        start = time.thread_time()
        for _ in range(calls):
            work()
        return (time.thread_time() - start) / calls

    return clock


def rounds(clocks: dict[str, Callable[[], float]], number: int) -> dict[str, float]:
    """Median of every clock over interleaved rounds."""
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for clock in clocks.values():
        clock()
    for _ in range(max(number, 5)):
        for name, clock in clocks.items():
            found[name].append(clock())
    return {name: statistics.median(values) for name, values in found.items()}


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Plain text, numbers to the right."""
    cells = [header, *([_cell(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        left = row[0].ljust(widths[0])
        lines.append("  ".join([left, *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]))
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def report(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """The result as JSON, if asked for."""
    if arguments.json:
        json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
        print()


# --- networks and layers to time


def roomy_mapping(network: Network) -> nm.Mapping:
    """The network on a chip without limits: one core a layer."""
    chip = dataclasses.replace(
        nm.load_chip("gxnor45"),
        **dict.fromkeys(("neurons", "synapse_bits", "axons_in", "axons_out"), 10**9),
        accumulator_bits=32,
    )
    return nm.map_network(network, chip)


def ternary(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> np.ndarray:
    """-1, 0, 1, of which ``density`` are not zero."""
    signs = rng.integers(0, 2, shape, dtype=np.int8) * 2 - 1
    return (signs * (rng.random(shape) < density)).astype(np.int8)


def linear_network(weights: np.ndarray, threshold: int) -> Network:
    """One linear layer that fires at ±threshold, and a read-out of one class behind it."""
    out, fan_in = weights.shape
    return Network(
        name="linear",
        input=Input(shape=(fan_in,)),
        layers=[
            Linear(name="layer", weights=weights),
            Threshold(thresholds=np.tile([1 - threshold, threshold], (out, 1))),
            Linear(name="readout", weights=np.zeros((1, out), np.int8)),
            Readout(),
        ],
    )


class Layer:
    """One layer of a network, timed inside one call: packed levels in, packed levels out.

    A run of the layer gives its sums, thresholds, levels, synaptic events and
    active neurons of every slice.  Left out: packing and unpacking of integers
    at the ends of a network.
    """

    def __init__(
        self,
        mapping: nm.Mapping,
        inputs: np.ndarray,
        index: int = 0,
        *,
        width: str = "",
        by_output: bool | None = None,
    ) -> None:
        self.index, self.inputs = index, np.ascontiguousarray(inputs, np.int16)
        engine = counting._chain_of(mapping, 0)
        tally = counting.count(mapping, inputs)
        for i, levels in enumerate([self.inputs, *tally.levels]):
            engine.costs.see(i, levels)
        if width:
            self.kernel = Kernel(width)
            _, self.by_output = engine.costs.choose(len(inputs), self.kernel.lanes)
        else:
            self.kernel, self.by_output = engine.choose(len(inputs))
        if by_output is not None:
            self.by_output = [by_output] * len(self.by_output)
        self.plan = engine.plan(self.kernel, self.by_output)
        none = dict.fromkeys(("levels8", "levels16", "sums", "neuron_events"))
        self.results: list[dict[str, Any]] = [
            {**none, **counting._tallies(len(inputs), mapping, i)}
            for i in range(len(mapping.network.stages))
        ]
        self.calls = 1
        once = max(self._seconds(20) / 20, 1e-8)
        self.calls = max(5, int(0.02 / once))

    @property
    def form(self) -> str:
        """Vector width and orientation."""
        return f"{self.kernel.name}/{'outputs' if self.by_output[self.index] else 'samples'}"

    @property
    def events(self) -> int:
        """Synaptic events of one run, as the kernel counted them."""
        self._seconds(1)
        return int(
            self.results[self.index]["xnor"].sum() + self.results[self.index]["graded"].sum()
        )

    def _seconds(self, calls: int) -> float:
        repeats = [calls if i == self.index else 1 for i in range(len(self.results))]
        start = time.thread_time()
        self.plan.run(self.kernel, self.inputs, self.results, self.by_output, repeats)
        return time.thread_time() - start

    def clock(self) -> float:
        """CPU seconds of one run of the layer."""
        return max(self._seconds(self.calls + 1) - self._seconds(1), 1e-9) / self.calls

    def check(self, mapping: nm.Mapping, sums: np.ndarray, events: np.ndarray) -> None:
        """Sums and events of every neuron, from this kernel in this orientation."""
        found = np.empty(sums.shape, np.int32), np.empty(sums.shape, np.int32)
        results = [dict(r) for r in self.results]
        results[self.index].update(sums=found[0], neuron_events=found[1])
        self.plan.run(self.kernel, self.inputs, results, self.by_output)
        if not (np.array_equal(found[0], sums) and np.array_equal(found[1], events)):
            raise SystemExit(f"{self.form}: sums or events differ; nothing was timed")
