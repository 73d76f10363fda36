"""Brian2 against ours, spike for spike, over very many random networks.

    python verification/brian2.py [--networks 1000] [--compiled 3] [--seed 0]

A case is a random network of all layer kinds, spaces and input encodings (every third
of fixed point up to 16 bits) on
random samples: outputs and the levels of every neuron out of Brian2's
``numpy`` target must be those of the ``count`` mode on a random chip.  The
first ``--compiled`` networks also run in the targets ``cython`` and
``cpp_standalone``, which compile each of them for half a minute or more.
Prints a verdict; exit 1 at the first difference, with the seed that shows it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.pop(0)  # this folder, where this very file would be found as ``brian2``
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import brian2

import neuromorph as nm
from networks import random_fixed, random_mapping, random_network, random_samples
from neuromorph.interop import to_brian2


def in_brian2(network, raw, target):
    """(outputs, levels by layer) of Brian2 in one of its targets."""
    if target != "cpp_standalone":
        brian2.prefs.codegen.target = target
        built = to_brian2(network, raw)
        built.run(len(raw))
        return results(built)
    with tempfile.TemporaryDirectory() as folder:
        brian2.set_device("cpp_standalone", build_on_run=False)
        built = to_brian2(network, raw)
        built.run(len(raw))
        brian2.device.build(directory=folder, compile=True, run=True, with_output=False)
        found = results(built)
        brian2.device.reinit()
        brian2.set_device("runtime")
    return found


def results(built):
    firing = [s.name for s in built.network.stages if not s.is_readout]
    return built.outputs(), {name: built.levels(name) for name in firing}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--networks", type=int, default=1000)
    p.add_argument("--compiled", type=int, default=3)
    p.add_argument("--seed", type=int, default=0)
    arguments = p.parse_args()
    brian2.BrianLogger.log_level_error()
    start, compared, spikes = time.perf_counter(), 0, 0
    for case in range(arguments.networks):
        seed = arguments.seed + case
        rng = np.random.default_rng([seed, 99])
        network = (random_fixed if case % 3 == 0 else random_network)(seed)
        raw = random_samples(network, rng, 5)
        ours = nm.simulate(random_mapping(network, rng), raw)
        targets = ["numpy"]
        if case < arguments.compiled:
            targets += ["cython", "cpp_standalone"]
        for target in targets:
            outputs, levels = in_brian2(network, raw, target)
            if not np.array_equal(outputs, ours.outputs):
                raise SystemExit(f"DIFFERENT: seed {seed}: {target}, outputs")
            compared += outputs.size
            for name, found in levels.items():
                if not np.array_equal(found, ours.levels(name)):
                    raise SystemExit(f"DIFFERENT: seed {seed}: {target}, layer {name}")
                compared += found.size
                spikes += int((found != 0).sum())
        if sys.stderr.isatty():
            print(f"\r{case + 1} networks", end="", file=sys.stderr)
    minutes = (time.perf_counter() - start) / 60
    compiled = min(arguments.compiled, arguments.networks)
    print(
        f"OK: {arguments.networks:,} random networks in Brian2 {brian2.__version__} (numpy; "
        f"{compiled} of them in cython and cpp_standalone too): {compared:,} outputs and levels "
        f"compared, {spikes:,} spikes, 0 differences ({minutes:.1f} min)"
    )


if __name__ == "__main__":
    main()
