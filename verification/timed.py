"""The timed engine against closed forms, itself, and a chip of 64 × 64 cores.

    python verification/timed.py [--packets 1000000] [--skip-scale]

Closed forms, to the tick: a network without a spike, one packet, a saturated
link, a hot spot.  The mean wait of a link under random arrivals, against
queueing theory (Geo/D/1: λ D (D − 1) / 2 (1 − λ D)), within 1 %: the length of
the run leaves that much to chance.  Determinism: the same run twice, with the
slow agenda, and on other cores of equal cost.  Scale: 1.6 million neurons on 3073 of 64 × 64
cores; outputs, levels and counts equal to mode count, memory measured.  Prints
a verdict; exit 1 at the first difference.
"""

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from placement import image_network, mnist_cnn

import neuromorph as nm
from neuromorph.kernels import counting
from neuromorph.kernels.timed import timed
from neuromorph.kernels.traffic import route
from neuromorph.mapping import COUNTED

CHIP = replace(
    nm.load_chip("gxnor45"), hop_x_ticks=3, hop_y_ticks=5, hop_local_ticks=2, link_ticks=4
)


def say(what, ok, facts=""):
    """One line of the verdict."""
    print(f"{'ok  ' if ok else 'FAIL'} {what}{': ' * bool(facts)}{facts}", flush=True)
    if not ok:
        sys.exit(1)


def nothing_to_do():
    """No spike, with barriers: a layer takes a barrier and the scan of its largest slice."""
    chip = replace(CHIP, sync="barrier", barrier_ticks=1000)
    mapping = nm.map_network(mnist_cnn(), chip)  # its thresholds leave a sum of zero at rest
    inputs = np.zeros((1, mapping.network.input.size), np.int16)
    tally = timed(mapping, inputs)
    assert not any(np.any(levels) for levels in tally.levels)
    times, wanted = chip.times(), 0
    for rows in mapping.stage_rows:
        neurons = max(mapping.slices[row - 1].neurons for row in rows)
        wanted += times.barrier + times.neuron * -(-neurons // times.neuron_lanes)
    found = int(tally.finished[0] - tally.started[0])
    say("a network without a spike", found == wanted, f"{found} ticks")


def one_packet():
    """Links times hops, and the last flit behind."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        tiles = rng.integers(0, 256, (1, 2))
        (y, x), (to_y, to_x) = (np.divmod(t, 16) for t in tiles[0])
        delivered, _ = route(CHIP, [7], tiles)
        wanted = 7 + 3 * abs(to_x - x) + 5 * abs(to_y - y) + 2
        if delivered[0] != wanted:
            say("one packet", False, f"{delivered[0]} for {wanted} ticks")
    say("one packet", True, "200 pairs of tiles")


def saturated_link(packets):
    """N packets of F flits at once over one link: the last after (N − 1) F link + hop + local."""
    for flits in (1, 3):
        chip = replace(CHIP, link_bits=8, packet_bits=8 * flits)
        delivered, timing = route(chip, np.zeros(packets, int), np.tile([0, 1], (packets, 1)))
        wanted = 4 * flits * np.arange(packets) + 3 + 2
        ok = np.array_equal(delivered, wanted) and timing.link_busy.sum() == 4 * flits * packets
        say(
            f"a saturated link, {flits} flits",
            ok,
            f"{packets} packets, one every {4 * flits} ticks",
        )


def hot_spot(each):
    """All tiles send to one at once: the link into it is never idle, its load is the time."""
    goal = 5 * 16 + 9
    sources = np.repeat(np.delete(np.arange(256), goal), each)
    tiles = np.stack([sources, np.full(len(sources), goal)], axis=1)
    delivered, timing = route(CHIP, np.zeros(len(sources), int), tiles)
    load = int(timing.link_packets[6, 9, 3])  # from the south: ten rows of sixteen
    ok = load == 10 * 16 * each == timing.link_packets.max()
    last = 4 * (load - 1) + 5 + 2
    say("a hot spot", ok and delivered.max() == last, f"last of {len(sources)} at {last} ticks")


def random_arrivals(packets):
    """Mean wait at one link, a packet a tick with probability λ."""
    rng = np.random.default_rng(1)
    for load in (0.3, 0.6, 0.9):
        rate, service = load / CHIP.times().link, CHIP.times().link
        ticks = np.cumsum(rng.geometric(rate, packets))
        _, timing = route(CHIP, ticks, np.tile([0, 1], (packets, 1)))
        found = timing.link_waited.sum() / packets
        wanted = rate * service * (service - 1) / (2 * (1 - load))
        close = abs(found - wanted) < 0.01 * wanted
        say(
            f"random arrivals, load {load:g}", close, f"wait {found:.3f} ticks, theory {wanted:.3f}"
        )


def determinism():
    """The same run twice, with the other agenda, and on the same tiles of a wider mesh."""
    net, chip = nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")
    images = np.random.default_rng(0).integers(0, 16, (20, *net.input.shape))
    mapping, encoded = nm.map_network(net, chip), net.encode(images)
    a, b = timed(mapping, encoded), timed(mapping, encoded)
    same = a.timing == b.timing and np.array_equal(a.finished, b.finished)
    say("the same run twice", same, f"{a.ticks} ticks")
    c = timed(mapping, encoded, agenda="heap")
    say("the slow agenda", a.timing == c.timing and np.array_equal(a.finished, c.finished))
    wider = replace(chip, columns=2 * chip.columns)
    moved = (replace(s, core=s.core % 16 + s.core // 16 * 32) for s in mapping.slices)
    d = timed(replace(mapping, chip=wider, slices=tuple(moved)), encoded)
    same = np.array_equal(a.finished, d.finished) and np.array_equal(a.timing.busy, d.timing.busy)
    say("other cores of equal cost", same)


def scale():
    """1.6 million neurons on 64 × 64 cores, in time."""
    chip = replace(nm.load_chip("gxnor45"), columns=64, rows=64, neurons=512, accumulator_bits=24)
    chip = replace(chip, axons_in=1 << 16, synapse_bits=1 << 20)
    net = image_network()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.thread_time()
    mapping = nm.map_network(net, chip)
    mapped = time.thread_time() - start
    rng = np.random.default_rng(0)
    inputs = rng.integers(-1, 2, (1, net.input.size)).astype(np.int16)
    inputs *= rng.random(inputs.shape) < 0.3
    start = time.thread_time()
    tally = timed(mapping, inputs)
    seconds = time.thread_time() - start
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    count = counting.count(mapping, inputs)
    same = np.array_equal(tally.outputs, count.outputs) and all(
        np.array_equal(tally.counted[name], count.counted[name]) for name in COUNTED
    )
    neurons = sum(s.neurons for s in mapping.slices)
    events = int(tally.counted["xnor_event"].sum() + tally.counted["graded_event"].sum())
    packets = int(tally.counted["spike_in"].sum() + tally.counted["token_in"].sum())
    pairs = int(mapping.pairs.sum())
    say(
        "scale",
        same and used * 1024 <= pairs,
        f"{neurons:,} neurons on {mapping.cores_used} cores, {pairs:,} pairs: mapped in "
        f"{mapped:.1f} s of CPU time, one inference of {packets:,} packets and {events:,} synaptic "
        f"events in {seconds:.1f} s ({tally.ticks:,} ticks); {used / 1024:.0f} MiB beside the "
        f"network, {used * 1024 / pairs:.3f} bytes a pair",
    )


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--packets", type=int, default=1_000_000)
    p.add_argument("--skip-scale", action="store_true")
    arguments = p.parse_args()
    if not arguments.skip_scale:
        scale()  # first: the peak of memory is that of the process
    nothing_to_do()
    one_packet()
    saturated_link(10_000)
    hot_spot(20)
    random_arrivals(arguments.packets)
    determinism()


if __name__ == "__main__":
    main()
