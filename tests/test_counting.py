"""The counting kernel: every width and orientation against other forms, and at its door.

Compared: agreeing and disagreeing pairs of every neuron with four other ways
to get them (``forms.py``), on ternary layers; sums and events of layers with
magnitudes with the oracle of ``networks.py``; tallies with the fan-out of the
spikes.  Not compared here: packets and times, see ``test_twin.py``.
"""

import dataclasses

import numpy as np
import pytest
from forms import FORMS
from neuromorph.kernels._packets import add_up

import neuromorph as nm
from networks import (
    check_same,
    check_tally,
    random_levels,
    random_mapping,
    random_network,
    random_samples,
    roomy,
    run_oracle,
)
from neuromorph.errors import MappingError, NetworkError, SimulationError
from neuromorph.kernels import counting
from neuromorph.kernels import timed as kernel_timed
from neuromorph.kernels.costs import Costs
from neuromorph.mapping import COUNTED, map_network
from neuromorph.mapping.products import exact_float, product
from neuromorph.network import Conv2d, Flatten, Input, Linear, Network, Readout, Threshold
from neuromorph.reference import counting as reference


def here(width):
    try:
        counting._kernel(width)
    except SimulationError:
        return False
    return True


WIDTHS = [w for w in counting.WIDTHS if here(w)]


@pytest.fixture(params=[f"{w} {o}" for w in WIDTHS for o in ("samples", "outputs")])
def form(request, monkeypatch):
    """A vector width and an orientation."""
    width, lanes = request.param.split()
    monkeypatch.setenv("NEUROMORPH_SIMD", width)
    monkeypatch.setenv("NEUROMORPH_LANES", lanes)
    return request.param


def ternary_layer(weights, directions=None):
    """One layer that fires at -1 and 1, read out by its first neuron."""
    out = len(weights)
    return Network(
        name="layer",
        input=Input(shape=(weights.shape[1],)),
        layers=[
            Linear(name="layer", weights=weights),
            Threshold(thresholds=np.tile([0, 1], (out, 1)), directions=directions),
            Linear(name="readout", weights=np.eye(1, out, dtype=int)),
            Readout(),
        ],
    )


def on_chip(network):
    return map_network(network, roomy(nm.load_chip("gxnor45")))


def pairs(mapping, levels):
    """(P, N) of the first layer, as the kernel counts them."""
    sums, events = counting.neuron_counts(mapping, levels)[0]
    assert not ((sums + events) % 2).any()
    return (events + sums) // 2, (events - sums) // 2


@pytest.mark.parametrize("other", FORMS)
@pytest.mark.parametrize(
    ("fan_in", "out", "batch"),
    [
        (1, 1, 1),
        (20, 5, 300),
        (31, 34, 70),  # the most weights that are counted without counters in memory
        (32, 9, 70),
        (64, 3, 65),
        (100, 70, 9),
        (513, 33, 3),
        (1000, 520, 2),
    ],
)
def test_pairs_of_every_form(fan_in, out, batch, other, form):
    if other == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng([fan_in, out, batch])
    for activity, density in ((0.5, 0.67), (0.03, 1.0), (1.0, 0.1)):
        weights = random_levels(rng, 1, (out, fan_in), density)
        levels = random_levels(rng, 1, (batch, fan_in), activity)
        mapping = on_chip(ternary_layer(weights, rng.choice([-1, 1], out)))
        for found, wanted in zip(pairs(mapping, levels), FORMS[other](levels, weights)):
            assert np.array_equal(found, wanted)


@pytest.mark.parametrize("seed", range(40))
def test_sums_and_events_of_every_neuron(seed, monkeypatch):
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    raw = random_samples(network, rng, int(rng.choice([1, 3, 70])))
    mapping, encoded = random_mapping(network, rng), network.encode(raw)
    oracle = run_oracle(network, raw)
    for width in WIDTHS:
        monkeypatch.setenv("NEUROMORPH_SIMD", width)
        for lanes in ("samples", "outputs"):
            monkeypatch.setenv("NEUROMORPH_LANES", lanes)
            for (sums, events), layer in zip(counting.neuron_counts(mapping, encoded), oracle):
                assert np.array_equal(sums, layer.sums), layer.name
                assert np.array_equal(events, layer.events), layer.name


@pytest.mark.parametrize("seed", range(500, 560))
def test_orientations_may_change_from_layer_to_layer(seed, monkeypatch):
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    encoded = network.encode(random_samples(network, rng, int(rng.choice([1, 65, 130]))))
    monkeypatch.setenv("NEUROMORPH_LANES", "samples")
    wanted = counting.count(mapping, encoded)
    for width in WIDTHS:
        monkeypatch.setenv("NEUROMORPH_SIMD", width)
        choice = [bool(b) for b in rng.integers(0, 2, len(network.stages))]
        monkeypatch.setattr(Costs, "choose", lambda *_, choice=choice: (0.0, choice))
        check_same(counting.count(mapping, encoded), wanted)


def test_events_are_the_fan_out_of_the_spikes(form):
    """Early totals: Σ over spikes of the non-zero weights behind them."""
    rng = np.random.default_rng(0)
    weights = random_levels(rng, 1, (90, 130), 0.4)
    levels = random_levels(rng, 1, (70, 130), 0.3)
    mapping = on_chip(ternary_layer(weights))
    row = mapping.stage_rows[0][0]
    found = counting.count(mapping, levels).counted["xnor_event"][:, row]
    assert np.array_equal(found, (levels != 0) @ (weights != 0).sum(axis=0))


def conv_layer(shape, bits):
    """A convolution with padding, over ternary inputs or (``bits``) bitplanes."""
    encoding = {"encoding": "bitplane", "bits": bits} if bits > 1 else {}
    return Network(
        name="dense",
        input=Input(shape=shape, **encoding),
        layers=[
            Conv2d(name="conv", weights=np.ones((2, shape[0], 2, 2), int), padding=1),
            Threshold(thresholds=np.tile([0, 1], (2, 1))),
            Flatten(),
            Linear(name="readout", weights=np.ones((1, 2 * 3 * 4), int)),
            Readout(),
        ],
    )


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("channels", [1, 2, 3, 31, 85, 86, 127, 128, 129, 255, 256, 8193])
def test_spikes_of_many_channels_are_all_added_up(channels, bits):
    """Every input sends all it can: each row fetches all its pairs, whatever type sums them."""
    network = conv_layer((channels, 2, 3), bits)
    mapping = on_chip(network)
    full = np.full((3, network.input.size), network.input.maximum, np.int16)
    full[1] = 0
    full[2, 1:] = 0
    (row,), spikes = mapping.stage_rows[0], network.input.size * bits
    found = counting.count(mapping, full).counted
    assert found["spike_out"][:, 0].tolist() == [spikes, 0, bits]
    assert found["spike_in"][:, row].tolist() == [spikes, 0, bits]
    assert found["fetched"][:, row].tolist() == [mapping.pairs[row], 0, 2 * 4 * bits]
    hops = found["hop_x"] + found["hop_y"]
    assert np.array_equal(
        hops[:, 0],
        (found["packet_out"] + found["token_out"])[:, 0]
        * (np.abs(mapping.tiles[row] - mapping.tiles[0]).sum()),
    )


def test_vectors_of_more_spikes_than_sixteen_bits_hold():
    mapping = on_chip(ternary_layer(np.ones((1, 2**16 + 3), np.int8)))
    levels = np.ones((2, 2**16 + 3), np.int16)
    levels[1, ::2] = -1
    levels[1, 1::2] = 0
    found = counting.count(mapping, levels).counted
    assert found["spike_out"][:, 0].tolist() == [2**16 + 3, 2**15 + 2]
    assert found["fetched"][:, 1].tolist() == [2**16 + 3, 2**15 + 2]


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("most", [1, 3, 7])
@pytest.mark.parametrize(
    ("images", "places"), [(1, 1), (1, 300), (2, 9), (40, 7), (300, 1), (3000, 2), (600, 130)]
)
def test_spikes_of_a_run_of_neurons(images, places, most, dtype):
    """In every type that holds them, from any neuron on."""
    rng = np.random.default_rng([images, places])
    run = images * places
    low = -1 if most == 1 else 0
    levels = rng.integers(low, 2**most - (most > 1), (5, run + 11), endpoint=True).astype(dtype)
    levels[3] = 2**most - 1
    single = levels != 0 if most == 1 else np.bitwise_count(levels)
    for first in (0, 3, 11):
        wanted = single[:, first : first + run].reshape(5, images, places).sum(axis=1)
        for kind in (np.uint8, np.uint16, np.uint32):
            if images * most > np.iinfo(kind).max:
                continue
            sums, totals = np.empty((5, places), kind), np.empty(5, np.int64)
            add_up(levels, first, first + run, most, sums, totals)
            assert np.array_equal(sums, wanted)
            assert np.array_equal(totals, wanted.sum(axis=1))


@pytest.mark.parametrize(
    ("first", "last", "most", "shape", "samples"),
    [
        (0, 13, 1, (2, 13), 2),
        (-1, 11, 1, (2, 12), 2),
        (6, 6, 1, (2, 1), 2),
        (0, 12, 1, (2, 5), 2),
        (0, 12, 0, (2, 6), 2),
        (0, 12, 17, (2, 6), 2),
        (0, 12, 1, (3, 6), 2),
        (0, 12, 1, (2, 6), 1),
    ],
)
def test_runs_that_do_not_fit_are_refused(first, last, most, shape, samples):
    with pytest.raises(ValueError, match=r"do not fit|no whole images"):
        add_up(
            np.ones((2, 12), np.int8),
            first,
            last,
            most,
            np.empty(shape, np.uint8),
            np.empty(samples, np.int64),
        )


def test_products_in_pieces_are_exact():
    rng = np.random.default_rng(0)
    for rows, inner, columns in (
        (0, 3, 2),
        (1, 5, 2),
        (700, 784, 7),
        (513, 3000, 2),
        (40, 9000, 9),
    ):
        a, b = rng.integers(0, 9, (rows, inner)), rng.integers(0, 30, (inner, columns))
        dtype = exact_float(9 * 30 * inner)
        found = product(a, b.astype(dtype))
        assert found.dtype == dtype
        assert np.array_equal(found, a @ b), (rows, inner, columns)
    assert exact_float(2**24 - 1) == np.float32
    assert exact_float(2**24) == np.float64


def test_packets_of_no_samples():
    network = conv_layer((3, 2, 3), 1)
    chip = dataclasses.replace(nm.load_chip("gxnor45"), neurons=6)
    mapping = map_network(network, chip)
    counted = {name: np.zeros((0, mapping.rows), np.int64) for name in COUNTED}
    for sender, size in ((-1, 18), (0, 24)):
        counting.count_packets(mapping, sender, np.zeros((0, size), np.int8), counted)
    assert all(not table.size for table in counted.values())


def test_activity_is_that_of_samples_throughout():
    """However many there are, not that of the first ones."""
    costs = Costs(ternary_layer(np.ones((4, 10), np.int8)).stages)
    for samples in (2, 64, 65, 512, 1000):
        levels = np.zeros((samples, 10), np.int8)
        levels[samples // 2 :] = 1
        costs.see(0, levels)
        assert costs.activity[0] == pytest.approx(0.5, abs=0.02), samples


def test_costs_choose_by_batch_and_sparsity():
    rng = np.random.default_rng(0)
    costs = Costs(ternary_layer(random_levels(rng, 1, (512, 512), 0.5)).stages)
    costs.see(0, random_levels(rng, 1, (64, 512), 0.5))
    assert costs.choose(1, 512)[1][0], "one sample runs over outputs"
    costs.see(0, random_levels(rng, 1, (64, 512), 0.02))
    assert costs.choose(512, 512)[1][0], "levels at rest are skipped"
    costs.see(0, np.ones((64, 512)))
    sparse = Costs(ternary_layer(random_levels(rng, 1, (512, 512), 0.05)).stages)
    sparse.see(0, np.ones((64, 512)))
    assert not sparse.choose(512, 512)[1][0], "zero weights are skipped"


def test_unknown_orientation_is_refused(monkeypatch):
    monkeypatch.setenv("NEUROMORPH_LANES", "neurons")
    mapping = on_chip(ternary_layer(np.ones((2, 3), int)))
    with pytest.raises(SimulationError, match="NEUROMORPH_LANES is 'neurons'; use one of auto"):
        counting.count(mapping, np.zeros((1, 3), np.int16))


# --- at the door


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(1)
    weights = random_levels(rng, 1, (40, 30), 0.6)
    return on_chip(ternary_layer(weights)), random_levels(rng, 1, (70, 30), 0.5), weights


def test_layout_and_dtype_do_not_matter(layer, form):
    mapping, levels, weights = layer
    wanted = FORMS["numpy"](levels, weights)
    spaced = np.zeros((140, 60), np.int64)
    spaced[::2, ::2] = levels
    frozen = levels.astype(np.int16)
    frozen.setflags(write=False)
    for given in (
        levels,
        np.asfortranarray(levels),
        spaced[::2, ::2],
        levels[::-1][::-1],
        frozen,
        levels.astype(">i4"),
    ):
        for found, right in zip(pairs(mapping, given), wanted):
            assert np.array_equal(found, right)


def test_no_sample_and_one(layer, form):
    mapping, levels, _ = layer
    whole = counting.count(mapping, levels)
    assert counting.count(mapping, levels[:0]).outputs.shape == (0, 1)
    assert np.array_equal(counting.count(mapping, levels[:1]).outputs, whole.outputs[:1])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.full((2, 30), 2), "reach from 2 to 2; levels here are -1 to 1"),
        (np.full((2, 30), 65536), "reach from 65536 to 65536"),
        (np.zeros((2, 30)), "are float64 of shape \\[2, 30\\]; need integers"),
        (np.zeros((2, 31), int), "of shape \\[2, 31\\]; need integers of shape \\[batch, 30\\]"),
        (np.zeros(30, int), "of shape \\[30\\]"),
    ],
)
def test_bad_levels_are_refused(layer, inputs, message):
    with pytest.raises(SimulationError, match=message):
        counting.count(layer[0], inputs)
    with pytest.raises(SimulationError, match=message):
        counting.neuron_counts(layer[0], inputs)


def test_fan_in_of_one_and_sums_beyond_the_accumulator():
    assert pairs(on_chip(ternary_layer(np.array([[-1]]))), np.array([[1], [-1], [0]]))[
        1
    ].tolist() == [
        [1],
        [0],
        [0],
    ]
    chip = dataclasses.replace(roomy(nm.load_chip("gxnor45")), accumulator_bits=8)
    with pytest.raises(MappingError, match="accumulator"):
        map_network(ternary_layer(np.ones((1, 200), int)), chip)
    with pytest.raises(NetworkError, match="beyond 32-bit integers"):
        Network(
            name="heavy",
            input=Input(shape=(9000,), encoding="graded", bits=12),
            layers=[
                Linear(name="a", weights=np.full((1, 9000), 128), n=8),
                Threshold(thresholds=[[0, 1]]),
                Linear(name="b", weights=[[1]]),
                Readout(),
            ],
        )


@pytest.mark.parametrize("seed", range(12))
def test_padded_convolutions_of_flattened_images(seed):
    """Their inputs arrive place by place, their weights lie channel by channel."""
    rng = np.random.default_rng([seed, 17])
    senders, places, channels = (int(n) for n in rng.integers((1, 2, 1), (4, 5, 260)))
    around = [int(n) for n in rng.integers(0, 2, 2)]
    size = (channels, senders * places, *(2 * n + 1 for n in around))
    network = Network(
        name="flat",
        input=Input(shape=(senders, 1, places)),
        layers=[
            Conv2d(name="a", weights=np.eye(senders, dtype=int)[:, :, None, None]),
            Threshold(thresholds=[[0, 1]] * senders),
            Flatten(),
            Conv2d(name="b", weights=rng.integers(-1, 2, size), padding=around),
            Readout(),
        ],
    )
    mapping, raw = random_mapping(network, rng), random_samples(network, rng, 3)
    tally = reference.count(mapping, network.encode(raw))
    check_tally(mapping, tally, run_oracle(network, raw))
    check_same(counting.count(mapping, network.encode(raw)), tally)
    check_same(kernel_timed.timed(mapping, network.encode(raw)), tally)
