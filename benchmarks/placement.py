"""Placement: packet-hops beside row-major order, a snake and long annealing; time; size of chips.

    python benchmarks/placement.py [--long 20] [--skip-large] [--json]

Cases: the shipped digits network and the MNIST CNN (32C5-MP2-64C5-MP2-512FC-10,
random ternary weights) on gxnor45; two random graphs of 256 cores on a 16 × 16
mesh, one without structure (every core talks to eight others) and one in
layers with the order hidden, and the latter with 4096 cores on 64 × 64; an
image network of 1.6 million neurons on 64 × 64 cores.  "long" is the same
annealing with ``--long`` times the visits, not run on the large cases.

Goals: 30 % fewer packet-hops than row-major order on the CNN and the graphs of
256 cores, within 5 % of long; 4096 cores in 60 s; up to 16 cores in 50 ms.
"""

import argparse
import dataclasses
import json
import platform
import time

import numpy as np

import neuromorph as nm
from neuromorph.mapping import map_network
from neuromorph.mapping.partition import partition
from neuromorph.mapping.placement import place, row_major, snake
from neuromorph.mapping.traffic import Traffic, flows, spikes_of
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
)


def ternary(rng, *shape):
    return rng.integers(-1, 2, shape)


def threshold(channels):
    return Threshold(thresholds=np.tile([0, 1], (channels, 1)))


def mnist_cnn():
    """The topology of networks/mnist-cnn-gxnor with random ternary weights."""
    rng = np.random.default_rng(0)
    return Network(
        name="mnist-cnn",
        input=Input(shape=(1, 28, 28), thresholds=(0, 80)),
        layers=[
            Conv2d(name="conv1", weights=ternary(rng, 32, 1, 5, 5)),
            threshold(32),
            MaxPool2d(size=2),
            Conv2d(name="conv2", weights=ternary(rng, 64, 32, 5, 5)),
            threshold(64),
            MaxPool2d(size=2),
            Flatten(),
            Linear(name="fc3", weights=ternary(rng, 512, 1024)),
            threshold(512),
            Linear(name="output", weights=ternary(rng, 10, 512)),
            Readout(),
        ],
    )


def image_network():
    """1.6 million neurons in two convolutions."""
    rng = np.random.default_rng(0)
    return Network(
        name="image",
        input=Input(shape=(1, 256, 256)),
        layers=[
            Conv2d(name="conv1", weights=ternary(rng, 16, 1, 3, 3), padding=1),
            threshold(16),
            MaxPool2d(size=2),
            Conv2d(name="conv2", weights=ternary(rng, 32, 16, 3, 3), padding=1),
            threshold(32),
            MaxPool2d(size=4),
            Flatten(),
            Linear(name="output", weights=ternary(rng, 10, 32 * 32 * 32)),
            Readout(),
        ],
    )


def traffic_of(cores, pairs):
    """Traffic of (source, target, packets), without an input port."""
    source, target, packets = (np.concatenate(part) for part in zip(*pairs))
    apart = source != target
    return Traffic(
        source=source[apart],
        target=target[apart],
        packets=packets[apart].astype(float),
        port=np.zeros((1, cores)),
    )


def uniform_graph(cores, seed=0):
    """Every core talks to eight others, any of them."""
    rng = np.random.default_rng(seed)
    return traffic_of(
        cores,
        [
            (np.full(8, c), rng.choice(cores, 8, replace=False), rng.integers(1, 100, 8))
            for c in range(cores)
        ],
    )


def layered_graph(layers, width, seed=0):
    """Layers of ``width`` cores that talk to a near part of the next, numbered at random."""
    rng = np.random.default_rng(seed)
    cores = layers * width
    name = rng.permutation(cores)
    pairs = []
    for layer in range(layers - 1):
        for c in range(width):
            near = (c + rng.integers(-6, 7, rng.integers(3, 9))) % width
            packets = np.rint(rng.lognormal(4, 1, len(near)))
            here = np.full(len(near), layer * width + c)
            pairs.append((name[here], name[(layer + 1) * width + near], packets))
    skips = rng.integers(0, cores, (2, 100 * cores // 256))
    pairs.append((*skips, np.rint(rng.lognormal(2, 1, len(skips[0])))))
    return traffic_of(cores, pairs)


def mapped(network, chip):
    slices, limits = partition(network, chip)
    assert slices is not None, limits
    return flows(network, slices, spikes_of(network, None))


def measure(name, traffic, chip, long):
    def hops(cores):
        return traffic.hops(np.array([chip.tile(int(c)) for c in cores]))

    start = time.perf_counter()
    placed = place(traffic, chip)
    seconds = time.perf_counter() - start
    return {
        "case": name,
        "cores": traffic.slices,
        "row_major": hops(row_major(traffic.slices, chip)),
        "snake": hops(snake(traffic, chip)),
        "placed": hops(placed),
        "long": hops(place(traffic, chip, effort=long)) if long else None,
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--long", type=float, default=20, help="effort of the long annealing")
    parser.add_argument("--skip-large", action="store_true", help="leave out thousands of cores")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chip = nm.load_chip("gxnor45")
    large = dataclasses.replace(chip, columns=64, rows=64, neurons=512, accumulator_bits=24)
    large = dataclasses.replace(large, axons_in=1 << 16, synapse_bits=1 << 20)
    cases = [
        ("digits-gxnor", mapped(nm.load_network("digits-gxnor"), chip), chip, options.long),
        ("MNIST CNN", mapped(mnist_cnn(), chip), chip, options.long),
        ("256 cores, no structure", uniform_graph(256), chip, options.long),
        ("256 cores, hidden layers", layered_graph(8, 32), chip, options.long),
    ]
    if not options.skip_large:
        cases += [
            ("4096 cores, hidden layers", layered_graph(32, 128), large, 0),
            ("1.6 M neurons", mapped(image_network(), large), large, 0),
        ]
    results = []
    for case in cases:
        r = measure(*case)
        results.append(r)
        if not options.json:
            long = f"{r['placed'] / r['long'] - 1:+6.1%}" if r["long"] else "     –"
            print(
                f"{r['case']:26} {r['cores']:5} cores  row-major {r['row_major']:13,.0f}  "
                f"snake {r['snake'] / r['row_major'] - 1:+6.1%}  "
                f"placed {r['placed'] / r['row_major'] - 1:+6.1%}  over long {long}  "
                f"{r['seconds']:7.3f} s",
                flush=True,
            )
    start = time.perf_counter()
    map_network(nm.load_network("digits-gxnor"), chip)
    whole = time.perf_counter() - start
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    if options.json:
        print(json.dumps({**machine, "map_digits_s": whole, "cases": results}, indent=2))
    else:
        print(f"map_network of digits-gxnor: {whole * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
