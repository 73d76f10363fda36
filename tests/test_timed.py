"""The timed engines where packets have to wait: finite buffers and queues, long packets.

Both agendas of the kernel and the reference agree on every tick, packet, hop
and load, or on the sentence that names the deadlock.  ``test_twin.py`` does the
same on chips without limits.
"""

import dataclasses
import functools

import numpy as np
import pytest

import neuromorph as nm
from networks import check_same, random_mapping, random_network, random_samples, roomy
from neuromorph.chip import list_chips
from neuromorph.errors import SimulationError
from neuromorph.kernels import counting
from neuromorph.kernels import timed as kernel
from neuromorph.kernels import traffic as kernel_traffic
from neuromorph.mapping import check_fit
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.reference import timed as reference
from neuromorph.reference import traffic as reference_traffic


def outcome(engine, mapping, encoded, **options):
    """(tally, packets, hops), or the sentence of a deadlock."""
    packets, hops = [np.zeros(0, PACKET_DTYPE)], [np.zeros(0, HOP_DTYPE)]
    try:
        tally = engine.timed(
            mapping,
            encoded,
            sink=lambda p: packets.append(p.copy()),
            hops=lambda h: hops.append(h.copy()),
            **options,
        )
    except SimulationError as error:
        return str(error)
    return tally, np.concatenate(packets), np.concatenate(hops)


def check_equal(a, b):
    if isinstance(a, str) or isinstance(b, str):
        assert a == b
        return
    check_same(a[0], b[0])
    assert (a[0].ticks, a[0].timing) == (b[0].ticks, b[0].timing)
    assert np.array_equal(a[0].started, b[0].started)
    assert np.array_equal(a[0].finished, b[0].finished)
    assert np.array_equal(a[1], b[1])
    assert np.array_equal(a[2], b[2])


def limited_case(seed):
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    bits = int(rng.integers(1, 5))
    chip = dataclasses.replace(
        mapping.chip,
        buffer=None if rng.random() < 0.2 else int(rng.integers(1, 6)),
        queue=None if rng.random() < 0.5 else int(rng.integers(1, 40)),
        link_bits=bits,
        packet_bits=int(rng.integers(1, 4 * bits)),
    )
    mapping = dataclasses.replace(mapping, chip=chip)
    return mapping, network.encode(random_samples(network, rng, 4))


def tight_case(seed):
    """Places for one packet and many frames at once: most of these get stuck."""
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    chip = dataclasses.replace(
        mapping.chip, sync="token", buffer=1, queue=int(rng.integers(1, 9)), frames_in_flight=4
    )
    mapping = dataclasses.replace(mapping, chip=chip)
    return mapping, network.encode(random_samples(network, rng, 6))


def check_engines(mapping, encoded):
    """The outcome that all engines agree on."""
    found = outcome(kernel, mapping, encoded)
    check_equal(found, outcome(reference, mapping, encoded))
    check_equal(found, outcome(kernel, mapping, encoded, agenda="heap"))
    if not isinstance(found, str):
        check_same(found[0], counting.count(mapping, encoded))
    return found


@pytest.mark.parametrize("seed", range(50))
def test_engines_agree_where_packets_wait(seed):
    check_engines(*limited_case(seed))


def test_engines_agree_on_deadlocks():
    seen = 0
    for seed in range(100, 160):
        mapping, encoded = tight_case(seed)
        if not isinstance(outcome(kernel, mapping, encoded), str):
            continue
        seen += 1
        found = check_engines(mapping, encoded)
        cycle = found.split(": ", 1)[1].rsplit("; ", 1)[0].split(" waits for ")
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        free = dataclasses.replace(mapping.chip, buffer=None, queue=None)
        check_same(
            kernel.timed(dataclasses.replace(mapping, chip=free), encoded),
            counting.count(mapping, encoded),
        )
    assert seen >= 5


@pytest.mark.parametrize("seed", range(200, 220))
def test_buffers_that_never_fill_change_nothing_but_ties(seed):
    mapping, encoded = limited_case(seed)
    free = dataclasses.replace(mapping.chip, buffer=None, queue=None)
    wide = dataclasses.replace(mapping.chip, buffer=1 << 20, queue=1 << 20)
    a, b = (kernel.timed(dataclasses.replace(mapping, chip=c), encoded) for c in (free, wide))
    check_same(a, b)
    assert np.array_equal(a.timing.busy, b.timing.busy)
    assert np.array_equal(a.timing.link_packets, b.timing.link_packets)
    assert not b.timing.blocked.any()


# --- packets given beforehand


def traffic_chip(rng):
    bits = int(rng.integers(1, 4))
    return dataclasses.replace(
        nm.load_chip("gxnor45"),
        columns=int(rng.integers(1, 6)),
        rows=int(rng.integers(1, 6)),
        hop_x_ticks=int(rng.integers(0, 5)),
        hop_y_ticks=int(rng.choice([0, 1, 5000])),  # beyond the wheel too
        hop_local_ticks=int(rng.integers(0, 3)),
        link_ticks=int(rng.integers(0, 4)),
        buffer=None if rng.random() < 0.5 else int(rng.integers(1, 4)),
        link_bits=bits,
        packet_bits=int(rng.integers(1, 3 * bits)),
    )


@pytest.mark.parametrize("seed", range(40))
def test_traffic_on_all_engines(seed):
    rng = np.random.default_rng(seed)
    chip, packets = traffic_chip(rng), int(rng.integers(0, 300))
    ticks = np.sort(rng.integers(0, 1 + int(rng.choice([0, 50, 20_000])), packets))
    tiles = rng.integers(0, chip.rows * chip.columns, (packets, 2))
    found = []
    for engine in (
        reference_traffic.route,
        kernel_traffic.route,
        functools.partial(kernel_traffic.route, agenda="heap"),
    ):
        hops = [np.zeros(0, HOP_DTYPE)]
        delivered, timing = engine(chip, ticks, tiles, hops=lambda h, to=hops: to.append(h.copy()))
        found.append((delivered.tolist(), timing, np.concatenate(hops).tolist()))
    assert found[0] == found[1] == found[2]
    delivered, timing, _ = found[0]
    far = np.abs(np.diff(np.stack(np.divmod(tiles, chip.columns)), axis=2)).sum(axis=2)
    least = far[0] * chip.hop_y_ticks + far[1] * chip.hop_x_ticks + chip.hop_local_ticks
    assert (delivered >= ticks + least).all()
    assert timing.link_packets.sum() == far.sum()
    if chip.buffer is None:  # every tick is a hop or a wait
        assert (delivered - ticks - least).sum() == timing.link_waited.sum()


@pytest.mark.parametrize(
    ("ticks", "tiles", "says"),
    [
        ([2, 1], [[0, 1], [1, 0]], "ticks of traffic must not be negative and not fall; sort them"),
        ([-1], [[0, 1]], "ticks of traffic must not be negative and not fall; sort them"),
        ([0], [[0, 256]], "traffic names tile 256; tiles of 'gxnor45' are 0 to 255"),
        ([0], [[-1, 2]], "traffic names tile -1; tiles of 'gxnor45' are 0 to 255"),
        ([0], [[0, 1, 2]], "traffic has ticks of shape [1] and tiles of shape [1, 3]; need "
                           "integers, [packets] and [packets, 2]"),
        ([0.5], [[0, 1]], "traffic has ticks of shape [1] and tiles of shape [1, 2]; need "
                          "integers, [packets] and [packets, 2]"),
    ],
)  # fmt: skip
def test_traffic_that_is_none(ticks, tiles, says):
    for engine in (kernel_traffic, reference_traffic):
        with pytest.raises(SimulationError) as caught:
            engine.route(nm.load_chip("gxnor45"), ticks, tiles)
        assert str(caught.value) == says


# --- presets


@pytest.mark.parametrize("sync", ["token", "barrier"])
@pytest.mark.parametrize("name", list_chips())
def test_counts_on_every_preset_are_those_of_mode_count(name, sync):
    """Times that are not published are taken as 1 tick; without limits where it does not fit."""
    chip = nm.load_chip(name)
    missing = {f"{key.split('.')[1]}_ticks": 1 for key in chip.unpublished}
    lanes = {n: missing.pop(f"{n}_ticks") for n in ("synapse_lanes", "neuron_lanes")
             if f"{n}_ticks" in missing}  # fmt: skip
    chip = dataclasses.replace(chip, sync=sync, **missing, **lanes)
    network = nm.load_network("digits-gxnor")
    images = np.random.default_rng(0).integers(0, 17, (4, *network.input.shape))
    for fitting in (chip, roomy(chip)):
        if (mapping := check_fit(network, fitting).mapping) is not None:
            break
    run, count = (nm.simulate(mapping, images, mode=mode) for mode in ("timed", "count"))
    assert run.counts == count.counts
    assert np.array_equal(run.outputs, count.outputs)
    assert (run.timing.busy[1:] <= run.counts.ticks).all()
    assert run.timing.link_packets.sum() == run.counts.total("hop_x") + run.counts.total("hop_y")


# --- by hand


def test_three_cores_tick_by_tick():
    """The table of docs/mapping.md: every packet at every router, worked out by hand."""
    network = Network(
        name="three",
        input=Input(shape=(2,)),
        layers=[
            Linear(name="hidden", weights=[[1, 1], [1, -1]]),
            Threshold(thresholds=[[-9, 0], [-9, 0]]),
            Linear(name="out", weights=[[1, -1]]),
            Readout(),
        ],
    )
    chip = dataclasses.replace(
        nm.load_chip("gxnor45"),
        neurons=1,
        inject_ticks=4,
        axon_ticks=3,
        synapse_ticks=2,
        synapse_lanes=1,
        neuron_ticks=5,
        neuron_lanes=1,
        spike_ticks=7,
        hop_x_ticks=11,
        hop_y_ticks=13,
        hop_local_ticks=1,
        link_ticks=9,
    )
    mapping = nm.map_network(network, chip)
    slices = (dataclasses.replace(s, core=c) for s, c in zip(mapping.slices, (0, 1, 16)))
    mapping = dataclasses.replace(mapping, slices=tuple(slices))
    east, west, south = 0 * 5 + 0, 1 * 5 + 1, 0 * 5 + 2
    core_a, core_b, core_out = 0 * 5 + 4, 1 * 5 + 4, 16 * 5 + 4
    by_hand = {  # packet: (tick, link, waited) at every router
        0: [(5, core_a, 0)],
        1: [(8, east, 0), (20, core_b, 0)],
        2: [(13, core_a, 0)],
        3: [(16, east, 1), (29, core_b, 0)],
        4: [(21, core_a, 0)],
        5: [(24, east, 2), (38, core_b, 0)],
        6: [(36, south, 0), (50, core_out, 0)],
        7: [(43, south, 2), (59, core_out, 0)],
        8: [(53, west, 0), (64, south, 0), (78, core_out, 0)],
        9: [(60, west, 2), (73, south, 0), (87, core_out, 0)],
    }
    for engine in (kernel, reference):
        tally, _, hops = outcome(engine, mapping, np.array([[1, -1]], np.int16))
        found = {p: [] for p in by_hand}
        for tick, packet, link, waited in hops.tolist():
            found[packet].append((tick, link, waited))
        assert found == by_hand
        assert tally.finished.tolist() == [95]
        assert tally.timing.busy.tolist() == [24, 32, 32, 21]
