"""The timed engines where packets have to wait: finite buffers and queues, long packets.

Both agendas of the kernel and the reference agree on every tick, packet, hop
and load, or on the sentence that names the deadlock.  ``test_twin.py`` does the
same on chips without limits.
"""

import dataclasses

import numpy as np
import pytest

from networks import check_same, random_mapping, random_network, random_samples
from neuromorph.errors import SimulationError
from neuromorph.kernels import counting
from neuromorph.kernels import timed as kernel
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE
from neuromorph.reference import timed as reference


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


@pytest.mark.parametrize("seed", [104, 108, 113, 120, 128, 129, 142, 150, 155, 156])
def test_engines_agree_on_deadlocks(seed):
    mapping, encoded = tight_case(seed)
    found = check_engines(mapping, encoded)
    assert isinstance(found, str), "no deadlock"
    cycle = found.split(": ", 1)[1].rsplit("; ", 1)[0].split(" waits for ")
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1
    free = dataclasses.replace(mapping.chip, buffer=None, queue=None)
    check_engines(dataclasses.replace(mapping, chip=free), encoded)


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
