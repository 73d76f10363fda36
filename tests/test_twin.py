"""Engines against each other and against an oracle that is not ours.

Compared, integer by integer, on networks nobody chose (``networks.py``):
every level of every layer, the read-out sums, synaptic events (XNOR and
graded), fetched pairs, active neurons, spikes, packets, tokens and hops; for
the timed pair also every packet with both its times, start and finish of each
sample, busy ticks.  ``verification/twins.py`` runs the same over many more.

Not compared: the order in which NumPy adds (integers do not mind) and times
between the untimed and the timed engine (only one has them).
"""

import dataclasses

import numpy as np
import pytest

import neuromorph as nm
from networks import (
    NumpySums,
    TorchSums,
    check_same,
    check_tally,
    random_levels,
    random_mapping,
    random_network,
    random_samples,
    random_threshold,
    roomy,
    run_oracle,
)
from neuromorph import events
from neuromorph.errors import SimulationError
from neuromorph.kernels import counting as kernel_counting
from neuromorph.kernels import timed as kernel_timed
from neuromorph.levels import Levels
from neuromorph.mapping import complete, map_network
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE, SIDES
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
)
from neuromorph.reference import counting as reference_counting
from neuromorph.reference import timed as reference_timed

WIDTHS = ("avx512", "avx512vl", "avx2", "v128", "u64")
BATCHES = (1, 2, 63, 64, 65, 130)


def width_missing(width):
    """Why this processor cannot run a vector width; None if it can."""
    try:
        kernel_counting._kernel(width)
    except SimulationError:
        return f"this processor has no {width}"
    return None


@pytest.fixture(params=WIDTHS)
def width(request, monkeypatch):
    reason = width_missing(request.param)
    if reason:
        pytest.skip(reason)
    monkeypatch.setenv("NEUROMORPH_SIMD", request.param)
    assert kernel_counting.kernel_name() == request.param
    return request.param


@pytest.fixture(params=["numpy", "torch"])
def sums(request):
    if request.param == "numpy":
        return NumpySums
    pytest.importorskip("torch", reason="torch is not installed")
    return TorchSums()


def case(seed, batch=None):
    """(mapping, raw samples, encoded samples) of one seed."""
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    raw = random_samples(network, rng, batch or int(rng.choice(BATCHES)))
    return mapping, raw, network.encode(raw)


def every_width(mapping, encoded, monkeypatch, **options):
    for width in WIDTHS:
        if width_missing(width) is None:
            monkeypatch.setenv("NEUROMORPH_SIMD", width)
            for lanes in ("samples", "outputs"):
                monkeypatch.setenv("NEUROMORPH_LANES", lanes)
                yield f"{width} {lanes}", kernel_counting.count(mapping, encoded, **options)


def run_timed(engine, mapping, encoded):
    """Tally, all packets and all hops."""
    packets, hops = [np.zeros(0, PACKET_DTYPE)], [np.zeros(0, HOP_DTYPE)]
    tally = engine.timed(
        mapping,
        encoded,
        sink=lambda p: packets.append(p.copy()),
        hops=lambda h: hops.append(h.copy()),
    )
    return tally, np.concatenate(packets), np.concatenate(hops)


def check_times(a, b):
    assert a.ticks == b.ticks
    assert np.array_equal(a.started, b.started)
    assert np.array_equal(a.finished, b.finished)
    assert a.timing == b.timing


def check_hops(mapping, tally, packets, hops):
    """Every packet walks link by link from its source to its core, and no tick is lost."""
    chip, (router, side) = mapping.chip, np.divmod(hops["link"], len(SIDES))
    order = np.argsort(hops["packet"], kind="stable")
    last = np.flatnonzero(side[order] == SIDES.index("core"))
    first = np.concatenate([[0], last + 1])[:-1].astype(int)
    assert hops["packet"][order][first].tolist() == list(range(len(packets)))
    delivered = packets[np.argsort(hops["packet"][side == SIDES.index("core")])]
    assert hops["tick"][order][last].tolist() == delivered["delivered"].tolist()
    assert hops["tick"][order][first[last > first]].tolist() == (
        delivered["sent"][last > first].tolist()
    )
    at = {"source": first, "target": last}
    for end, places in at.items():
        x, y = mapping.tiles[delivered[end]].T
        assert (router[order][places] == y * chip.columns + x).all(), end
    moves = np.array([1, -1, chip.columns, -chip.columns, 0])[side[order]]
    ticks = np.array([chip.hop_x_ticks] * 2 + [chip.hop_y_ticks] * 2 + [0])[side[order]]
    left = hops["tick"][order] + hops["waited"][order] + ticks
    inner = np.setdiff1d(np.arange(len(hops)), last)
    assert (router[order][inner] + moves[inner] == router[order][inner + 1]).all()
    local = chip.hop_local_ticks * np.isin(inner + 1, last)
    assert (left[inner] + local == hops["tick"][order][inner + 1]).all()
    for name, sides in (("hop_x", (0, 1)), ("hop_y", (2, 3)), ("hop_local", (4,))):
        assert np.isin(side, sides).sum() == tally.counted[name].sum()


# --- random networks


@pytest.mark.parametrize("seed", range(150))
def test_counting_kernel_reference_and_oracle_agree(seed, monkeypatch):
    mapping, raw, encoded = case(seed)
    reference = reference_counting.count(mapping, encoded)
    check_tally(mapping, reference, run_oracle(mapping.network, raw))
    for _, tally in every_width(mapping, encoded, monkeypatch):
        check_same(tally, reference)


@pytest.mark.parametrize("seed", range(1000, 1120))
def test_timed_kernel_and_reference_agree(seed):
    mapping, raw, encoded = case(seed, batch=4)
    slow, slow_packets, slow_hops = run_timed(reference_timed, mapping, encoded)
    fast, fast_packets, fast_hops = run_timed(kernel_timed, mapping, encoded)
    check_same(fast, slow)
    check_times(fast, slow)
    assert np.array_equal(fast_packets, slow_packets)
    assert np.array_equal(fast_hops, slow_hops)
    check_hops(mapping, fast, fast_packets, fast_hops)
    check_same(fast, reference_counting.count(mapping, encoded))
    check_tally(mapping, fast, run_oracle(mapping.network, raw))


@pytest.mark.parametrize("seed", range(2000, 2060))
def test_torch_agrees(seed):
    pytest.importorskip("torch", reason="torch is not installed")
    mapping, raw, encoded = case(seed)
    check_tally(
        mapping,
        kernel_counting.count(mapping, encoded),
        run_oracle(mapping.network, raw, TorchSums()),
    )


@pytest.mark.parametrize("seed", range(3000, 3040))
def test_neuron_counts_equal_the_oracle(seed):
    mapping, raw, encoded = case(seed)
    found = kernel_counting.neuron_counts(mapping, encoded)
    oracle = run_oracle(mapping.network, raw)
    assert len(found) == len(oracle)
    for (found_sums, found_events), layer in zip(found, oracle):
        assert np.array_equal(found_sums, layer.sums), layer.name
        assert np.array_equal(found_events, layer.events), layer.name


# --- chosen shapes


def small_network(n1=1, n2=1, encoding="ternary", *, pool=None, seed=0, bits=4):
    """Two convolutions, a linear layer, a read-out; ``pool`` is (place, size, stride)."""
    rng = np.random.default_rng(seed)
    height, width = 7 + 2 * 2 - 3 + 1, 6 + 2 * 1 - 2 + 1
    middle = [random_threshold(rng, 4, n2)]
    if pool is not None:
        place, size, stride = pool
        middle.insert(0 if place == "before" else 1, MaxPool2d(size=size, stride=stride))
        height, width = (height - size[0]) // stride[0] + 1, (width - size[1]) // stride[1] + 1
    height, width = (height - 2) // 2 + 1, width - 2 + 1
    return Network(
        name="small",
        input=Input(shape=(2, 7, 6), encoding=encoding, bits=bits),
        layers=[
            Conv2d(
                name="a", weights=random_levels(rng, n1, (4, 2, 3, 2), 0.7), n=n1, padding=(2, 1)
            ),
            *middle,
            Conv2d(
                name="b", weights=random_levels(rng, n1, (3, 4, 2, 2), 0.7), n=n1, stride=(2, 1)
            ),
            random_threshold(rng, 3, n2),
            Flatten(),
            Linear(name="c", weights=random_levels(rng, n1, (9, 3 * height * width), 0.7), n=n1),
            random_threshold(rng, 9, n2),
            Linear(name="d", weights=random_levels(rng, n1, (5, 9), 0.7), n=n1),
            Readout(),
        ],
    )


def check_all(network, batch=3, seed=0, *, sums=NumpySums):
    """All four engines and the oracle on one network; the mapping they ran on."""
    rng = np.random.default_rng([seed, 2])
    raw = random_samples(network, rng, batch)
    mapping, encoded = random_mapping(network, rng), network.encode(raw)
    oracle = run_oracle(network, raw, sums)
    tally = kernel_counting.count(mapping, encoded)
    check_tally(mapping, tally, oracle)
    check_same(reference_counting.count(mapping, encoded), tally)
    check_same(kernel_timed.timed(mapping, encoded), tally)
    check_same(reference_timed.timed(mapping, encoded), tally)
    return mapping


@pytest.mark.parametrize("n2", [0, 1, 2, 3])
@pytest.mark.parametrize("n1", [0, 1, 2, 3])
@pytest.mark.parametrize("encoding", ["ternary", "bitplane", "graded"])
def test_all_engines_on_all_spaces(n1, n2, encoding, sums):
    check_all(small_network(n1, n2, encoding, seed=10 * n1 + n2), sums=sums)


@pytest.mark.parametrize("n", [4, 8])
def test_all_engines_on_wide_spaces(n, sums):
    check_all(small_network(n, n, "graded", bits=12, seed=n), sums=sums)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [((2, 2), (2, 2)), ((3, 2), (3, 1)), ((3, 3), (2, 2)), ((1, 2), (3, 3)), ((9, 1), (1, 2))],
    ids=["plain", "overlap-x", "overlap", "gaps", "whole-column"],
)
@pytest.mark.parametrize("n2", [0, 1, 3])
def test_pools(place, size, stride, n2, sums):
    if size[0] == 9:
        # one row of outputs is left, so the second convolution needs a kernel one high
        rng = np.random.default_rng(n2)
        threshold, window = random_threshold(rng, 4, n2), MaxPool2d(size=size, stride=stride)
        layers = [
            Conv2d(name="a", weights=random_levels(rng, 1, (4, 2, 3, 2)), padding=(2, 1)),
            *([window, threshold] if place == "before" else [threshold, window]),
            Flatten(),
            Linear(name="b", weights=random_levels(rng, 1, (3, 16))),
            Readout(),
        ]
        network = Network(name="column", input=Input(shape=(2, 7, 6)), layers=layers)
    else:
        network = small_network(1, n2, pool=(place, size, stride), seed=n2)
    check_all(network, batch=5, sums=sums)


@pytest.mark.parametrize("batch", [1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513])
def test_every_width_at_the_edges_of_its_blocks(batch, width):
    network = small_network(2, 1, "bitplane", pool=("before", (2, 2), (2, 2)))
    rng = np.random.default_rng(batch)
    mapping, raw = random_mapping(network, rng), random_samples(network, rng, batch)
    raw[-1] = network.input.maximum  # the last lane is full
    tally = kernel_counting.count(mapping, network.encode(raw))
    check_tally(mapping, tally, run_oracle(network, raw))


def vector_network(weights, thresholds=None, directions=None, n=1, n2=1, **entry):
    """One linear layer with thresholds, read out by the identity."""
    weights = np.asarray(weights)
    out = len(weights)
    if thresholds is None:
        thresholds = np.tile([0, 1], (out, 1))
    return Network(
        name="vector",
        input=Input(shape=(weights.shape[1],), **entry),
        layers=[
            Linear(name="hidden", weights=weights, n=n),
            Threshold(thresholds=np.asarray(thresholds), directions=directions, n=n2),
            Linear(name="output", weights=np.eye(out, dtype=int)),
            Readout(),
        ],
    )


@pytest.mark.parametrize("fan_in", [1, 2, 15, 16, 17, 63, 64, 65, 79, 80, 127, 128, 129, 200])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_fan_in_around_every_group_of_the_adder_trees(fan_in, n, width):
    rng = np.random.default_rng(fan_in)
    network = vector_network(random_levels(rng, n, (3, fan_in)), n=n)
    raw = np.concatenate(
        [
            np.full((1, fan_in), 1),
            np.full((1, fan_in), -1),
            random_samples(network, rng, 70),
        ]
    )
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    check_tally(
        mapping, kernel_counting.count(mapping, network.encode(raw)), run_oracle(network, raw)
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [1, 8])
def test_largest_sums(n, sign, width):
    top = Levels(n).maximum
    network = vector_network(
        np.full((1, 300), sign * top),
        [[-300 * top * 4095, 300 * top * 4095]],
        n=n,
        encoding="graded",
        bits=12,
    )
    raw = np.stack([np.full(300, 4095), np.full(300, -4095), np.full(300, 4094)])
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    (sums, events), _ = kernel_counting.neuron_counts(mapping, network.encode(raw))
    assert sums.ravel().tolist() == [s * sign * 300 * top for s in (4095, -4095, 4094)]
    assert events.ravel().tolist() == [300] * 3
    tally = kernel_counting.count(mapping, network.encode(raw))
    # -top reaches the lower threshold too (>=), so only the upper one tells them apart
    assert tally.levels[0].ravel().tolist() == [
        1 if s * sign == 4095 else 0 for s in (4095, -4095, 4094)
    ]


@pytest.mark.parametrize("direction", [1, -1])
def test_thresholds_at_equality(direction):
    # sums −3 … 3; a sum that reaches a threshold has climbed it, in its own direction
    network = vector_network([[1, 1, 1]] * 7, [[t, t] for t in range(-3, 4)], [direction] * 7)
    raw = np.array(
        [[-1] * k + [0] * (3 - k) for k in (3, 2, 1)] + [[1] * k + [0] * (3 - k) for k in range(4)]
    )
    encoded = network.encode(raw)
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    wanted = [
        [1 if direction * s >= t else -1 for t in range(-3, 4)] for s in (-3, -2, -1, 0, 1, 2, 3)
    ]
    for engine in (
        reference_counting.count,
        kernel_counting.count,
        reference_timed.timed,
        kernel_timed.timed,
    ):
        assert engine(mapping, encoded).levels[0].tolist() == wanted


@pytest.mark.parametrize("n2", [0, 1, 3, 8])
def test_constant_channels(n2):
    """γ = 0 in batch norm: THRESHOLD_MIN is always reached, THRESHOLD_MAX never."""
    steps = Levels(n2).size - 1
    thresholds = [
        [THRESHOLD_MIN] * always + [THRESHOLD_MAX] * (steps - always) for always in range(steps + 1)
    ]
    network = vector_network(
        np.full((steps + 1, 4), -128),
        thresholds,
        np.resize([1, -1], steps + 1),
        n=8,
        n2=n2,
        encoding="graded",
        bits=12,
    )
    encoded = network.encode(np.array([[4095] * 4, [-4095] * 4, [0] * 4]))
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    for engine in (
        reference_counting.count,
        kernel_counting.count,
        reference_timed.timed,
        kernel_timed.timed,
    ):
        assert engine(mapping, encoded).levels[0].tolist() == [Levels(n2).levels.tolist()] * 3


@pytest.mark.parametrize("batch", [1, 65])
def test_no_activity_no_event(batch):
    network = small_network(2, 1, "bitplane")
    mapping = random_mapping(network, np.random.default_rng(0))
    encoded = np.zeros((batch, network.input.size), np.int16)
    for engine in (reference_counting.count, kernel_counting.count, kernel_timed.timed):
        tally = engine(mapping, encoded)
        rows = [0, *mapping.stage_rows[0]]
        for name in ("spike_in", "xnor_event", "graded_event", "fetched", "neuron_update_active"):
            assert not tally.counted[name][:, rows].any(), name
        assert not tally.counted["packet_out"][:, 0].any()


def test_zero_weights_fetch_but_make_no_event():
    network = vector_network(np.zeros((3, 5), int))
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    encoded = network.encode(np.array([[1, -1, 0, 1, 0], [0] * 5]))
    for engine in (
        reference_counting.count,
        kernel_counting.count,
        reference_timed.timed,
        kernel_timed.timed,
    ):
        tally = engine(mapping, encoded)
        row = mapping.stage_rows[0][0]
        assert tally.counted["fetched"][:, row].tolist() == [9, 0]
        assert not (tally.counted["xnor_event"] + tally.counted["graded_event"])[:, row].any()
        assert tally.levels[0].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("encoding", ["ternary", "bitplane"])
@pytest.mark.parametrize(
    ("dilation", "stride", "padding"),
    [((2, 2), (1, 1), (2, 2)), ((3, 1), (2, 1), (0, 1)), ((1, 4), (1, 3), (1, 3))],
)
def test_dilation(dilation, stride, padding, encoding, sums):
    rng = np.random.default_rng(9)
    extent = [2 * dilation[0] + 1, dilation[1] + 1]
    sides = [(s + 2 * p - e) // t + 1 for s, p, e, t in zip((8, 9), padding, extent, stride)]
    weights = random_levels(rng, 1, (4, 2, 3, 2), 0.7)
    layers = [
        Conv2d(name="a", weights=weights, stride=stride, padding=padding, dilation=dilation),
        random_threshold(rng, 4, 1),
        Flatten(),
        Linear(name="b", weights=random_levels(rng, 1, (3, 4 * sides[0] * sides[1]), 0.7)),
        Readout(),
    ]
    network = Network(
        name="dilated", input=Input(shape=(2, 8, 9), encoding=encoding, bits=3), layers=layers
    )
    check_all(network, batch=66, sums=sums)


# --- regressions: cases that once gave wrong integers


@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (2, 1)])
def test_padded_convolution_of_a_single_pixel(kernel):
    """The rows of a 1×1 image must be laid out with their padding."""
    rng = np.random.default_rng(0)
    padding = tuple(k - 1 for k in kernel)
    layers = [
        Linear(name="a", weights=random_levels(rng, 1, (5, 4))),
        random_threshold(rng, 5, 1),
        Conv2d(name="b", weights=random_levels(rng, 1, (3, 5, *kernel)), padding=padding),
        random_threshold(rng, 3, 0),
        Flatten(),
        Linear(name="c", weights=random_levels(rng, 1, (2, 3 * kernel[0] * kernel[1]))),
        Readout(),
    ]
    check_all(Network(name="pixel", input=Input(shape=(4,)), layers=layers), batch=70)


@pytest.mark.parametrize("padding", [(1, 2), (0, 1), (2, 0)])
def test_padded_convolution_of_a_flattened_image(padding):
    rng = np.random.default_rng(1)
    kernel = (padding[0] + 1, padding[1] + 1)
    height, width = 1 + 2 * padding[0] - kernel[0] + 1, 1 + 2 * padding[1] - kernel[1] + 1
    layers = [
        Conv2d(name="a", weights=random_levels(rng, 1, (3, 2, 2, 2))),
        random_threshold(rng, 3, 2),
        MaxPool2d(size=(1, 2)),
        Flatten(),
        Conv2d(name="b", weights=random_levels(rng, 1, (4, 3 * 3 * 2, *kernel)), padding=padding),
        random_threshold(rng, 4, 1),
        Flatten(),
        Linear(name="c", weights=random_levels(rng, 1, (2, 4 * height * width))),
        Readout(),
    ]
    check_all(Network(name="pixels", input=Input(shape=(2, 4, 5)), layers=layers), batch=70)


def test_a_slow_core_that_feeds_nobody_keeps_its_frames_apart():
    """Frames queue without bound at a core whose levels no read-out waits for.

    Rows 0, 1 of layer a sit on a fast core, rows 2, 3 on a slow one.  Layer b
    has a core for its row 0 (needs the fast one) and a core for rows 1, 2
    (needs both); only row 0 is read out, so the port runs ahead of the slow
    core and the fast one's packets of many frames wait at the second.
    """
    channels, frames = 8, 12
    network = Network(
        name="dead-end",
        input=Input(shape=(channels, 4, 1)),
        layers=[
            Conv2d(name="a", weights=np.ones((1, channels, 1, 1), int)),
            Threshold(thresholds=[[0, 1]]),
            Conv2d(name="b", weights=np.array([1, 1]).reshape(1, 1, 2, 1)),
            Threshold(thresholds=[[-1, 0, 1, 2]], n=2),
            Conv2d(name="c", weights=np.ones((1, 1, 1, 1), int), stride=(4, 1)),
            Readout(),
        ],
    )
    chip = dataclasses.replace(
        nm.load_chip("gxnor45"), neurons=2, axon_ticks=50, frames_in_flight=2
    )
    mapping = map_network(network, chip)
    assert [s.rows for s in mapping.slices] == [(0, 2), (2, 4), (0, 1), (1, 3), (0, 1)]
    raw = np.random.default_rng(0).integers(-1, 2, (frames, channels, 4, 1))
    raw[:, 1:, :2] = 0  # one spike at most for the fast core, sixteen for the slow one
    raw[:, :, 2:] |= 1
    encoded = network.encode(raw)
    slow, slow_packets, _ = run_timed(reference_timed, mapping, encoded)
    late = slow_packets[(slow_packets["target"] == 4) & (slow_packets["source"] == 2)]
    early = slow_packets[(slow_packets["target"] == 4) & (slow_packets["source"] == 1)]
    ahead = [int((early["delivered"] < t).sum()) for t in late["delivered"]]
    assert max(ahead) > 2 * frames // 2, "the fast core is not ahead"
    fast, fast_packets, _ = run_timed(kernel_timed, mapping, encoded)
    check_same(fast, slow)
    check_times(fast, slow)
    assert np.array_equal(fast_packets, slow_packets)
    check_tally(mapping, fast, run_oracle(network, raw))


# --- what must not change a result


@pytest.mark.parametrize("seed", range(4000, 4012))
def test_threads_do_not_change_counts(seed):
    mapping, _, encoded = case(seed, batch=1100)
    check_same(
        kernel_counting.count(mapping, encoded, threads=2), kernel_counting.count(mapping, encoded)
    )


@pytest.mark.parametrize("seed", range(4100, 4112))
def test_batch_split_does_not_change_counts(seed):
    mapping, _, encoded = case(seed, batch=70)
    whole = kernel_counting.count(mapping, encoded)
    for cuts in ([1], [64], [7, 8, 69], list(range(1, 70, 13))):
        parts = [kernel_counting.count(mapping, part) for part in np.split(encoded, cuts)]
        assert np.array_equal(np.concatenate([p.outputs for p in parts]), whole.outputs)
        for i, levels in enumerate(whole.levels):
            assert np.array_equal(np.concatenate([p.levels[i] for p in parts]), levels)
        for name, values in whole.counted.items():
            assert np.array_equal(np.concatenate([p.counted[name] for p in parts]), values), name


@pytest.mark.parametrize("seed", range(4200, 4215))
def test_mapping_changes_packets_only(seed):
    network = random_network(seed)
    rng = np.random.default_rng([seed, 3])
    encoded = network.encode(random_samples(network, rng, 9))
    seen = []
    for _ in range(4):
        mapping = random_mapping(network, rng)
        tally = kernel_counting.count(mapping, encoded)
        per_layer = complete(mapping, tally).by_layer()
        kept = ("spike_out", "xnor_event", "graded_event", "skip_act", "skip_weight")
        columns = [list(events.ACTIONS).index(name) for name in kept]
        seen.append((tally, {k: v[columns].tolist() for k, v in per_layer.items()}))
    for tally, by_layer in seen[1:]:
        assert np.array_equal(tally.outputs, seen[0][0].outputs)
        for p, q in zip(tally.levels, seen[0][0].levels):
            assert np.array_equal(p, q)
        assert by_layer == seen[0][1]


def test_a_batch_of_none():
    mapping, _, encoded = case(0)
    for engine in (
        reference_counting.count,
        kernel_counting.count,
        reference_timed.timed,
        kernel_timed.timed,
    ):
        tally = engine(mapping, encoded[:0])
        assert tally.outputs.shape == (0, mapping.network.classes)
        assert all(len(levels) == 0 for levels in tally.levels)
        assert tally.counted["spike_out"].shape == (0, mapping.rows)


def test_unknown_width_is_refused(monkeypatch):
    monkeypatch.setenv("NEUROMORPH_SIMD", "mmx")
    with pytest.raises(SimulationError, match="NEUROMORPH_SIMD is 'mmx'; this processor runs a"):
        kernel_counting.kernel_name()
