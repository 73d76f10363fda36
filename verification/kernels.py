"""The counting kernel against other ways to count, over very many random cases.

    python verification/kernels.py [--cases 100000] [--seed 0]

A case is a batch of random size and activity through a layer of random shape,
density and directions; a layer serves two cases.  Ternary layers: agreeing and
disagreeing pairs and events of every neuron, in every vector width and both
orientations, against NumPy, popcount on packed planes, CSR scatter and torch
(each case draws two of them).  Every tenth layer is a random network of all
layer kinds and spaces instead, every second of these of fixed point up to 16 bits:
sums, events and levels of every neuron against an oracle that shares no code with ours.
Prints a verdict; exit 1 at the first difference, with the seed that shows it.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from forms import FORMS
from test_counting import WIDTHS, on_chip, pairs, ternary_layer

from networks import (
    check_tally,
    random_fixed,
    random_levels,
    random_mapping,
    random_network,
    random_samples,
    run_oracle,
)
from neuromorph.kernels import counting
from neuromorph.mapping import mapping as mapping_module
from neuromorph.mapping.placement import row_major

LANES = ("samples", "outputs")
BATCHES = 2  # through every layer


def forms_of_kernel():
    """Every width in both orientations, one after the other."""
    for width in WIDTHS:
        for lanes in LANES:
            os.environ.update(NEUROMORPH_SIMD=width, NEUROMORPH_LANES=lanes)
            yield f"{width} {lanes}"


def ternary_cases(rng, names):
    """Pairs of a ternary layer; for each case (compared integers, what differs)."""
    fan_in, out = (int(2 ** rng.uniform(0, 8.5)) for _ in range(2))
    weights = random_levels(rng, 1, (out, fan_in), rng.random() ** rng.choice([0.2, 1, 4]))
    mapping = on_chip(ternary_layer(weights, rng.choice([-1, 1], out)))
    (row,) = mapping.stage_rows[0]
    for _ in range(BATCHES):
        batch = int(rng.choice([1, 2, 5, 63, 64, 65]))
        activity = rng.random() ** rng.choice([0.2, 1, 4])
        levels = random_levels(rng, 1, (batch, fan_in), activity)
        chosen = rng.choice(names, 2, replace=False)
        yield compare_pairs(mapping, row, levels, {n: FORMS[n](levels, weights) for n in chosen})


def compare_pairs(mapping, row, levels, wanted):
    compared = 0
    for form in forms_of_kernel():
        agree, differ = pairs(mapping, levels)
        events = counting.count(mapping, levels).counted["xnor_event"][:, row]
        for name, (p, n) in wanted.items():
            same = np.array_equal(agree, p) and np.array_equal(differ, n)
            if not same or not np.array_equal(events, (p + n).sum(axis=1)):
                return compared, f"{form} and {name}"
            compared += 2 * p.size + len(levels)
    return compared, None


def network_cases(rng, seed):
    """All layers of a random network; for each case (compared integers, what differs)."""
    network = (random_fixed if seed % 20 == 9 else random_network)(seed)
    mapping = random_mapping(network, rng)
    for _ in range(BATCHES):
        raw = random_samples(network, rng, int(rng.choice([1, 3, 65])))
        yield compare_layers(mapping, network.encode(raw), run_oracle(network, raw))


def compare_layers(mapping, encoded, oracle):
    compared = 0
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


def in_order(traffic, chip):
    """Slices on the first cores: what annealing would take half of the time for counts alike."""
    return row_major(traffic.slices, chip)


@patch.object(mapping_module, "place", in_order)
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
    for case in range(0, arguments.cases, BATCHES):
        seed = arguments.seed + case // BATCHES
        rng = np.random.default_rng([seed, 77])
        cases = network_cases(rng, seed) if seed % 10 == 9 else ternary_cases(rng, names)
        for found, wrong in cases:
            compared += found
            if wrong:
                raise SystemExit(f"DIFFERENT: --seed {seed}: {wrong}")
        if sys.stderr.isatty() and seed % 100 == 0:
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
