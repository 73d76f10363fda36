"""The counting kernel against other ways to count, over very many random cases.

    python verification/kernels.py [--cases 100000] [--seed 0]

A case is a layer of random shape, activity, density, directions and batch.
Ternary layers: agreeing and disagreeing pairs and events of every neuron, in
every vector width and both orientations, against NumPy, popcount on packed
planes, CSR scatter and torch (each case draws two of them).  Every tenth case
is a random network of all layer kinds and spaces instead: sums, events and
levels of every neuron against an oracle that shares no code with ours.  Prints
a verdict; exit 1 at the first difference, with the seed that shows it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from forms import FORMS
from test_counting import WIDTHS, on_chip, pairs, ternary_layer

from networks import (
    check_tally,
    random_levels,
    random_mapping,
    random_network,
    random_samples,
    run_oracle,
)
from neuromorph.kernels import counting

LANES = ("samples", "outputs")


def forms_of_kernel():
    """Every width in both orientations, one after the other."""
    for width in WIDTHS:
        for lanes in LANES:
            os.environ.update(NEUROMORPH_SIMD=width, NEUROMORPH_LANES=lanes)
            yield f"{width} {lanes}"


def ternary_case(rng, names):
    """Pairs of one ternary layer; (compared integers, what differs)."""
    fan_in, out = (int(2 ** rng.uniform(0, 8.5)) for _ in range(2))
    batch = int(rng.choice([1, 2, 5, 63, 64, 65]))
    activity, density = rng.random(2) ** rng.choice([0.2, 1, 4], 2)
    weights = random_levels(rng, 1, (out, fan_in), density)
    levels = random_levels(rng, 1, (batch, fan_in), activity)
    mapping = on_chip(ternary_layer(weights, rng.choice([-1, 1], out)))
    wanted = [(name, FORMS[name](levels, weights)) for name in rng.choice(names, 2, replace=False)]
    compared = 0
    for form in forms_of_kernel():
        agree, differ = pairs(mapping, levels)
        row = mapping.stage_rows[0][0]
        events = counting.count(mapping, levels).counted["xnor_event"][:, row]
        for name, (p, n) in wanted:
            same = np.array_equal(agree, p) and np.array_equal(differ, n)
            if not same or not np.array_equal(events, (p + n).sum(axis=1)):
                return compared, f"{form} and {name}"
            compared += 2 * p.size + batch
    return compared, None


def network_case(rng, seed):
    """All layers of one random network; (compared integers, what differs)."""
    network = random_network(seed)
    raw = random_samples(network, rng, int(rng.choice([1, 3, 65])))
    mapping, encoded = random_mapping(network, rng), network.encode(raw)
    oracle, compared = run_oracle(network, raw), 0
    for form in forms_of_kernel():
        for (sums, events), layer in zip(counting.neuron_counts(mapping, encoded), oracle):
            if not (np.array_equal(sums, layer.sums) and np.array_equal(events, layer.events)):
                return compared, f"{form} and the oracle, layer {layer.name}"
            compared += 2 * sums.size
        try:
            check_tally(mapping, counting.count(mapping, encoded), oracle)
        except AssertionError as error:
            return compared, f"{form} and the oracle: {error}"
    return compared, None


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cases", type=int, default=100_000)
    p.add_argument("--seed", type=int, default=0)
    arguments = p.parse_args()
    names = [n for n in FORMS if n != "torch"]
    try:
        import torch

        torch.set_num_threads(1)
        names.append("torch")
    except ImportError:
        print("torch is not installed; the others are compared")
    start, compared = time.perf_counter(), 0
    for case in range(arguments.cases):
        seed = arguments.seed + case
        rng = np.random.default_rng([seed, 77])
        found, wrong = network_case(rng, seed) if case % 10 == 9 else ternary_case(rng, names)
        compared += found
        if wrong:
            raise SystemExit(f"DIFFERENT: seed {seed}: {wrong}")
        if sys.stderr.isatty() and case % 100 == 0:
            print(f"\r{case} cases", end="", file=sys.stderr)
    minutes = (time.perf_counter() - start) / 60
    print(
        f"OK: {arguments.cases:,} cases, widths {', '.join(WIDTHS)}, "
        f"lanes = {' and '.join(LANES)}, "
        f"against {', '.join(names)}: {compared:,} integers compared, 0 differences "
        f"({minutes:.1f} min)"
    )


if __name__ == "__main__":
    main()
