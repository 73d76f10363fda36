"""The timed engine: packets over a mesh, and ternary-ff on 16 cores a layer.

    python benchmarks/timed.py [--json] [--packets 1000000]

Uniform traffic: X packets a tick on X × X tiles, two ticks a hop, as many
packets as given, prepared beforehand; an event is a hop or a delivery.  The
same on the slow twin (a 4-ary heap) and, with fewer packets, in simpy (one
process a packet, one resource a link), if it is installed.  ternary-ff: its
counts are checked against ternary_ff_net.py before anything is timed.  CPU
time, one thread.
"""

import time
from dataclasses import replace

import numpy as np
from common import machine, parser, print_machine, report, rounds, table
from ternary_ff import network
from ternary_ff_net import EVENTS, SPIKES, check_fingerprint, make

import neuromorph as nm
from neuromorph.kernels.timed import advance, timed
from neuromorph.kernels.traffic import prepare, route

GOALS = {
    "events": 80e6,
    "packets": 7e6,
    "heap": 4,
    "simpy": 800,
    "ternary_ff": 200e6,
    "setup_s": 0.5,
}
SIMPY_PACKETS = 8000


def mesh_chip(size):
    """gxnor45 with a mesh of ``size`` × ``size`` tiles."""
    return replace(nm.load_chip("gxnor45"), columns=size, rows=size)


def uniform(size, packets):
    """(ticks, tiles) of uniform traffic, ``size`` packets a tick."""
    rng = np.random.default_rng(0)
    return np.arange(packets) // size, rng.integers(0, size * size, (packets, 2))


def mesh_clock(size, packets, agenda):
    """Clock of the events alone, first to last."""
    chip, (ticks, tiles) = mesh_chip(size), uniform(size, packets)

    def clock():
        run, _, most = prepare(chip, ticks, tiles, agenda)
        start = time.thread_time()
        advance(run, None, None, most=most)
        return time.thread_time() - start

    return clock


def simpy_hops_per_s(size):
    """Hops in a second of simpy's CPU time; None if it is not installed."""
    try:
        import simpy
    except ImportError:
        return None
    ticks, tiles = uniform(size, SIMPY_PACKETS)
    environment, links, hops = simpy.Environment(), {}, 0

    def packet(tick, source, target):
        nonlocal hops
        yield environment.timeout(tick)
        x, y, to_x, to_y = source % size, source // size, target % size, target // size
        while (x, y) != (to_x, to_y):
            if x != to_x:
                there = x + (1 if to_x > x else -1), y
            else:
                there = x, y + (1 if to_y > y else -1)
            link = links.setdefault((x, y, there), simpy.Resource(environment, 1))
            with link.request() as taken:
                yield taken
                yield environment.timeout(1)
            yield environment.timeout(1)
            (x, y), hops = there, hops + 1

    for tick, (source, target) in zip(ticks.tolist(), tiles.tolist()):
        environment.process(packet(tick, source, target))
    start = time.thread_time()
    environment.run()
    return hops / (time.thread_time() - start)


def mesh_row(size, packets, number):
    """One line of the table of meshes."""
    ticks, tiles = uniform(size, packets)
    delivered, timing = route(mesh_chip(size), ticks, tiles)
    again, slow = route(mesh_chip(size), ticks, tiles, agenda="heap")
    assert np.array_equal(delivered, again)
    assert timing == slow
    hops = int(timing.link_packets.sum())
    clocks = {a: mesh_clock(size, packets, a) for a in ("wheel", "heap")}
    seconds = rounds(clocks, number)
    simpy = simpy_hops_per_s(size)
    return {
        "mesh": f"{size} × {size}",
        "hops": hops,
        "latency_ticks": float((delivered - ticks).mean()),
        "events_per_s": (hops + packets) / seconds["wheel"],
        "packets_per_s": packets / seconds["wheel"],
        "times_heap": seconds["heap"] / seconds["wheel"],
        "times_simpy": None if simpy is None else hops / seconds["wheel"] / simpy,
    }


def ternary_ff(number):
    """(record of ternary-ff over 16 cores a layer, checked against its fingerprint)."""
    weights, raster = make()
    check_fingerprint(weights, raster)
    chip = replace(nm.load_chip("gxnor45"), neurons=64, axons_out=1 << 20)
    net, inputs = network(weights), raster.astype(np.int16)
    start = time.thread_time()
    mapping = nm.map_network(net, chip)
    timed(mapping, inputs[:1])
    setup = time.thread_time() - start
    tally = timed(mapping, inputs)
    rows = [list(mapping.stage_rows[i]) for i in (0, 1)]
    assert [int(tally.counted["xnor_event"][:, r].sum()) for r in rows] == list(EVENTS)
    assert [int(raster.sum()), *(int(np.count_nonzero(v)) for v in tally.levels)] == list(SPIKES)

    def clock(agenda):
        def measure():
            start = time.thread_time()
            timed(mapping, inputs, agenda=agenda)
            return time.thread_time() - start

        return measure

    seconds = rounds({a: clock(a) for a in ("wheel", "heap")}, number)
    packets = int(tally.counted["spike_in"].sum() + tally.counted["token_in"].sum())
    return {
        "cores": mapping.cores_used,
        "setup_s": setup,
        "packets": packets,
        "waited_ticks_per_packet": float(tally.timing.link_waited.sum() / packets),
        "synaptic_events_per_s": sum(EVENTS) / seconds["wheel"],
        "packets_per_s": packets / seconds["wheel"],
        "times_heap": seconds["heap"] / seconds["wheel"],
    }


def main():
    p = parser(__doc__)
    p.add_argument("--packets", type=int, default=1_000_000)
    arguments = p.parse_args()
    facts = machine()
    meshes = [mesh_row(size, arguments.packets, arguments.rounds) for size in (8, 16, 32)]
    ff = ternary_ff(arguments.rounds)
    if not arguments.json:
        print_machine(facts)
        header = ["mesh", "M events/s", "M packets/s", "× heap", "× simpy (hops)", "latency, ticks"]
        lines = [
            [
                m["mesh"],
                m["events_per_s"] / 1e6,
                m["packets_per_s"] / 1e6,
                m["times_heap"],
                m["times_simpy"],
                m["latency_ticks"],
            ]
            for m in meshes
        ]
        print(table(header, lines))
        if meshes[0]["times_simpy"] is None:
            print("simpy is not installed here: left out")
        print(
            f"\nternary-ff on {ff['cores']} cores: {ff['synaptic_events_per_s'] / 1e6:.0f} M "
            f"synaptic events/s, {ff['packets_per_s'] / 1e6:.1f} M packets/s, "
            f"{ff['times_heap']:.1f} × heap; a packet waits {ff['waited_ticks_per_packet']:.1f} "
            f"ticks for links; set-up {ff['setup_s']:.2f} s"
        )
        print("goals: " + ", ".join(f"{k} {v:g}" for k, v in GOALS.items()))
    report(arguments, {"machine": facts, "meshes": meshes, "ternary_ff": ff, "goals": GOALS})


if __name__ == "__main__":
    main()
