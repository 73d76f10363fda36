"""Learning speed: 784-256-10 on MNIST at batch 1, compiled learner beside the reference.

    python benchmarks/learning.py [--samples 10000] [--rounds 3] [--json]

One thread; CPU time, medians of interleaved rounds.  ``learn`` is the whole
call with counts on the cores of a mapping; ``kernel`` is the compiled learner
alone; ``reference`` is the NumPy twin on the first samples of the same stream,
with identical transitions (checked).  Goals: 20 000 samples/s for ``learn``,
20 times the reference.
"""

import json
import statistics
import time

import numpy as np
from common import machine, parser

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.kernels import learning as kernel
from neuromorph.learning import Rule, fresh, map_for
from neuromorph.learning.counts import slices_of
from neuromorph.network import Input
from neuromorph.reference import learning as reference

TWIN_SAMPLES = 100


def timed(work):
    """(CPU seconds, result)."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    p = parser(__doc__)
    p.add_argument("--samples", type=int, default=10_000)
    args = p.parse_args()
    data = load_data("mnist")
    entry = Input(shape=data.shape, thresholds=(0, 80))
    rule = Rule(states=63, margin=29, halve_every=max(1, args.samples // 5))
    start = fresh(entry, (256,), data.classes, rule)
    mapping = map_for(start.network("learner"), nm.load_chip("gxnor45"), rule)
    images, labels = data.train_images[: args.samples], data.train_labels[: args.samples]
    encoded = entry.encode(images).astype(np.int8)
    tables = [rule.table(0, i, 2) for i in range(2)]
    slices = slices_of(mapping)
    seconds: dict[str, list[float]] = {"learn": [], "kernel": [], "reference": []}
    attempts = 0.0
    for _ in range(args.rounds):
        used, learned = timed(lambda: nm.learn(mapping, (images, labels), rule=rule, state=start))
        seconds["learn"].append(used / len(images))
        attempts = learned.attempts_per_sample
        learner = kernel.Learner(start.copy(), rule, slices)
        used, _ = timed(lambda k=learner: k.run(encoded, labels, tables))
        seconds["kernel"].append(used / len(images))
        few, few_labels = encoded[:TWIN_SAMPLES], labels[:TWIN_SAMPLES]
        twin, ours = start.copy(), start.copy()
        slow = reference.Learner(twin, rule, slices)
        used, _ = timed(lambda s=slow, x=few, y=few_labels: s.run(x, y, tables))
        seconds["reference"].append(used / len(few))
        fast = kernel.Learner(ours, rule, slices)
        fast.run(few, few_labels, tables)
        fast.store()
        for a, b in zip(twin.layers, ours.layers):
            assert (a.states == b.states).all()
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    record = {
        "machine": machine(),
        "samples": args.samples,
        "samples_per_s": rates,
        "times_reference": rates["kernel"] / rates["reference"],
        "attempts_per_sample": attempts,
    }
    if args.json:
        print(json.dumps(record, indent=2))
        return
    print(f"784-256-10, 63 states, batch 1, {attempts:,.0f} attempts a sample")
    for name, rate in rates.items():
        print(f"{name:<10} {rate:>10,.0f} samples/s")
    print(f"kernel / reference: {record['times_reference']:,.0f} ×")


if __name__ == "__main__":
    main()
