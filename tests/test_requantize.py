"""Networks of fixed point: the same integers in every engine, file and trace, up to 16 bits."""

from pathlib import Path

import numpy as np
import pytest
from test_counting import WIDTHS

import neuromorph as nm
from networks import (
    check_tally,
    random_fixed,
    random_mapping,
    random_samples,
    roomy,
    run_oracle,
)
from neuromorph.errors import LevelError, MappingError, NetworkError
from neuromorph.kernels import counting
from neuromorph.kernels import timed as kernel_timed
from neuromorph.levels import Levels
from neuromorph.mapping import check_fit, map_network
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Requantize,
    Threshold,
    load_network,
    save_network,
)
from neuromorph.network.forward import arriving, run_stage
from neuromorph.reference import counting as reference_counting
from neuromorph.reference import timed as reference_timed
from neuromorph.trace import Trace, replay, validate

DATA = Path(__file__).parent / "data"


def case(seed, batch=5):
    network = random_fixed(seed)
    rng = np.random.default_rng([seed, 1])
    return network, rng, random_samples(network, rng, batch)


@pytest.mark.parametrize("seed", range(40))
def test_every_engine_gives_the_integers_of_the_oracle(seed, monkeypatch):
    network, rng, raw = case(seed)
    mapping, encoded = random_mapping(network, rng), network.encode(raw)
    oracle = run_oracle(network, raw)
    reference = reference_counting.count(mapping, encoded)
    check_tally(mapping, reference, oracle)
    levels = []
    for stage, layer in zip(network.stages, oracle):
        found = run_stage(stage, arriving(stage, encoded, levels))
        assert np.array_equal(found, layer.sums if stage.levels is None else layer.levels)
        levels.append(found)
    for width in WIDTHS:
        monkeypatch.setenv("NEUROMORPH_SIMD", width)
        for lanes in ("samples", "outputs"):
            monkeypatch.setenv("NEUROMORPH_LANES", lanes)
            found = counting.count(mapping, encoded)
            check_tally(mapping, found, oracle)
            for name, counted in reference.counted.items():
                assert np.array_equal(found.counted[name], counted), name
            for (sums, events), layer in zip(counting.neuron_counts(mapping, encoded), oracle):
                assert np.array_equal(sums, layer.sums), layer.name
                assert np.array_equal(events, layer.events), layer.name


@pytest.mark.parametrize("seed", range(12))
def test_in_time(seed):
    network, rng, raw = case(seed, 3)
    mapping, encoded = random_mapping(network, rng), network.encode(raw)
    fast, slow = (engine.timed(mapping, encoded) for engine in (kernel_timed, reference_timed))
    check_tally(mapping, fast, run_oracle(network, raw))
    check_tally(mapping, slow, run_oracle(network, raw))
    assert fast.ticks == slow.ticks
    assert np.array_equal(fast.finished, slow.finished)


@pytest.mark.parametrize("seed", range(12))
def test_files_and_traces_keep_them(seed, tmp_path):
    network, rng, raw = case(seed, 3)
    back = load_network(save_network(network, tmp_path / "n.safetensors"))
    assert back == network
    assert [s.sum_dtype for s in back.stages] == [s.sum_dtype for s in network.stages]
    path = tmp_path / "run.h5"
    run = nm.simulate(random_mapping(network, rng), raw, mode="timed", trace=path)
    assert validate(path) == []
    with Trace(path) as trace:
        assert trace.outputs.dtype == run.outputs.dtype == network.stages[-1].sum_dtype
        assert np.array_equal(trace.outputs, run.outputs)
        assert np.array_equal(trace.predictions, run.predictions)
        assert trace.counts == run.counts
        assert replay(trace, back) is None


def test_the_random_networks_reach_sums_and_levels_that_are_wide():
    networks = [random_fixed(seed) for seed in range(40)]
    assert any(n.stages[-1].sum_dtype == np.int64 for n in networks[:12])
    inner = [s for n in networks for s in n.stages[:-1]]
    assert any(s.sum_dtype == np.int64 for s in inner)
    for stage in (s for n in networks for s in n.stages):
        assert (stage.sum_dtype == np.int64) == (stage.largest_sum > 2**31 - 2)
    assert any(s.rounding is not None and s.pool is not None for s in inner)
    assert any(s.rounding is not None and s.levels.n == 16 for s in inner)


def tiny(**options):
    options = {"offsets": [4], "shift": 3, "limits": (-2, 3), "n": 3} | options
    return Network(
        name="tiny",
        input=Input(shape=(1,), encoding="graded", bits=6),
        layers=[
            Linear(name="hidden", weights=[[1]]),
            Requantize(**options),
            Linear(name="output", weights=[[1]]),
            Readout(),
        ],
    )


def test_floors_by_hand():
    sums = np.array([-63, -29, -28, -13, -12, -5, -4, 0, 3, 4, 11, 12, 27, 28, 63])[:, None]
    wanted = [-2, -2, -2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 3, 3, 3]  # halves rounded up, eighths
    mapping = map_network(tiny(), roomy(nm.load_chip("gxnor45")))
    assert nm.simulate(mapping, sums).outputs.ravel().tolist() == wanted
    down = map_network(tiny(directions=[-1]), roomy(nm.load_chip("gxnor45")))
    assert nm.simulate(down, -sums).outputs.ravel().tolist() == wanted


def test_it_is_the_threshold_of_even_steps():
    rng = np.random.default_rng(5)
    offsets, shift = rng.integers(-40, 40, 3), 2
    steps = np.arange(1, 17) - 8  # levels -7 … 8 of Z_4
    even = Threshold(thresholds=(steps << shift)[None, :] - offsets[:, None], n=4)
    rounded = Requantize(offsets=offsets, shift=shift, limits=(-8, 8), n=4)
    weights = rng.integers(-8, 9, (3, 6))
    raw = rng.integers(-15, 16, (200, 6))
    runs = []
    for head in (even, rounded):
        layers = [Linear(name="a", weights=weights, n=4), head]
        layers += [Linear(name="b", weights=np.eye(3, dtype=int)), Readout()]
        entry = Input(shape=(6,), encoding="graded", bits=4)
        network = Network(name="n", input=entry, layers=layers)
        runs.append(nm.simulate(map_network(network, roomy(nm.load_chip("gxnor45"))), raw))
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    assert len(np.unique(runs[0].outputs)) == 17
    compares = [r.counts.per_inference("threshold_cmp") for r in runs]
    assert compares == [3 * 16, 3 * 3]  # a bias and two limits instead of 16 thresholds


def test_wide_factors_take_several_multiplications():
    rng = np.random.default_rng(6)
    for weight_bits, level_bits, parts in (
        (8, 8, 1),
        (9, 9, 1),
        (10, 9, 2),
        (16, 9, 2),
        (16, 12, 4),
    ):
        top = 2 ** (weight_bits - 1) - 1
        weights = rng.integers(-top, top + 1, (4, 30))
        layers = [Linear(name="a", weights=weights, n=weight_bits), Readout()]
        entry = Input(shape=(30,), encoding="graded", bits=level_bits - 1)
        network = Network(name="n", input=entry, layers=layers)
        raw = rng.integers(-entry.maximum, entry.maximum + 1, (3, 30))
        run = nm.simulate(map_network(network, roomy(nm.load_chip("gxnor45"))), raw)
        events = np.count_nonzero(raw[:, None] * weights[None])
        assert run.counts.total("multiply") == parts * events


def test_z16_leaves_out_the_outermost():
    space = Levels(16)
    assert (space.unit, space.maximum, space.size, space.bits) == (32768, 32767, 65535, 16)
    assert space.dtype == np.int16
    assert space.values[-1] == 32767 / 32768
    with pytest.raises(LevelError, match="levels of Z_16 are from -32767 to 32767"):
        space.check([32768], "array")


def test_bits_a_chip_stores():
    for n, top, bits in ((1, 1, 2), (8, 127, 8), (8, 128, 9), (12, 2047, 12), (16, 32767, 16)):
        layers = [Linear(name="a", weights=[[top]], n=n), Readout()]
        network = Network(name="n", input=Input(shape=(1,)), layers=layers)
        assert network.stages[0].weight_bits == bits
    assert tiny(limits=(0, 3)).stages[0].level_bits == 3
    assert tiny(limits=(-4, 3)).stages[0].level_bits == 4


def wide(bits):
    layers = [Linear(name="a", weights=np.full((1, 9), 2 ** (bits - 1) - 1), n=bits), Readout()]
    entry = Input(shape=(9,), encoding="graded", bits=12)
    return Network(name="n", input=entry, layers=layers)


def test_sums_at_the_edge_of_32_bits():
    value = 4095
    for network in (wide(16), wide(15)):
        mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
        raw = np.full((2, 9), value) * [[1], [-1]]
        for mode in ("reference", "count", "timed"):
            outputs = nm.simulate(mapping, raw, mode=mode).outputs
            weight = network.stages[0].weights.ravel()[0].item()
            assert outputs.ravel().tolist() == [9 * weight * value, -9 * weight * value]
    assert wide(16).stages[0].largest_sum == 9 * 32767 * 4095 < 2**31  # int32 still
    layers = [Linear(name="a", weights=np.full((1, 17), 32767), n=16), Readout()]
    entry = Input(shape=(17,), encoding="graded", bits=12)
    network = Network(name="n", input=entry, layers=layers)
    assert network.stages[0].sum_dtype == np.int64
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    for mode in ("reference", "count", "timed"):
        outputs = nm.simulate(mapping, np.full((1, 17), -4095), mode=mode).outputs
        assert outputs.tolist() == [[-17 * 32767 * 4095]]


def test_an_accumulator_that_would_overflow_is_named_with_the_bits_it_needs():
    limits = check_fit(wide(16), nm.load_chip("gxnor45")).limits
    (limit,) = [limit for limit in limits if limit.limit == "accumulator_bits"]
    assert (limit.needed, limit.available) == ((9 * 32767 * 4095).bit_length() + 1, 16)
    with pytest.raises(MappingError, match="accumulator_bits"):
        map_network(wide(16), nm.load_chip("gxnor45"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n": 0}, "Z_0 has no zero to round to; use Threshold"),
        ({"n": 17}, "N of Z_N is 17; it must be from 0 to 16"),
        ({"offsets": [0.5]}, "offsets are float64 of shape [1]; give one integer a channel"),
        ({"offsets": 3}, "offsets are int64 of shape []; give one integer a channel"),
        ({"offsets": [2**60]}, f"offsets reach beyond ±2^52 = ±{2**52}"),
        ({"shift": -1}, "shift is -1; it must be 0 to 52"),
        ({"shift": 1.5}, "shift is 1.5; it must be 0 to 52"),
        ({"limits": (0,)}, "limits are (0,); give two integers"),
        ({"limits": (0, 5)}, "limits are (0, 5); need -4 <= low < high <= 4, the levels of Z_3"),
        ({"limits": (2, 2)}, "limits are (2, 2); need -4 <= low < high <= 4, the levels of Z_3"),
        ({"directions": [2]}, "directions must be 1 values of -1 or +1, one a channel"),
    ],
)
def test_what_is_refused(options, problem):
    given = {"offsets": [4], "shift": 3, "limits": (0, 3), "n": 3} | options
    with pytest.raises(NetworkError) as error:
        Requantize(**given)
    assert str(error.value) == f"requantize: {problem}"


def test_networks_that_are_refused():
    with pytest.raises(NetworkError, match="'hidden' has 1 channels but its requantization has 2"):
        tiny(offsets=[0, 0])
    with pytest.raises(NetworkError, match="Z_9 would take 512 thresholds a channel; use Requan"):
        Threshold(thresholds=np.zeros((1, 512), int), n=9)
    layers = [Linear(name="a", weights=np.full((1, 40), 32767), n=16)]
    after = [Linear(name="b", weights=[[1]]), Readout()]
    entry = Input(shape=(40,), encoding="graded", bits=12)
    head = Threshold(thresholds=[[0, 1]])
    with pytest.raises(NetworkError, match="'a': a sum may reach 5367234600, beyond 32-bit integ"):
        Network(name="n", input=entry, layers=[*layers, head, *after])
    side = 2049  # 2049² · 32767² is above 2^52
    many = Linear(name="b", weights=np.full((1, side**2), 32767, np.int16), n=16)
    top = Requantize(offsets=[0], shift=0, limits=(0, 32767), n=16)
    pixels = Conv2d(name="a", weights=np.ones((1, 1, 1, 1), int))
    with pytest.raises(NetworkError, match=r"'b': a sum may reach \d+; at most 2\^52 is counted"):
        Network(
            name="n",
            input=Input(shape=(1, side, side), encoding="graded", bits=12),
            layers=[pixels, top, Flatten(), many, Readout()],
        )
    pooled = Requantize(offsets=[0], shift=1, limits=(0, 1), n=1)
    with pytest.raises(NetworkError, match="at the start a Linear or Conv2d must follow, not Max"):
        Network(name="n", input=entry, layers=[MaxPool2d(), *layers, pooled, *after])
    with pytest.raises(NetworkError, match="learning takes layers with thresholds only; layer"):
        tiny().check_plain("learning")


def released():
    """What tests/data/network-1.4.safetensors holds and trace-1.4.h5 ran, by formula."""
    weights = np.arange(12 * 9).reshape(12, 9) * 7919 % 65535 - 32767
    return Network(
        name="released-1.4",
        input=Input(shape=(9,), encoding="graded", bits=12),
        layers=[
            Linear(name="hidden", weights=weights, n=16),
            Requantize(
                offsets=np.arange(12) * 2**20 - 2**22,
                shift=12,
                limits=(0, 32767),
                directions=1 - 2 * (np.arange(12) % 2),
                n=16,
            ),
            Linear(name="output", weights=32767 - 911 * np.arange(36).reshape(3, 12), n=16),
            Readout(scale=[0.5, -0.25, 3.0], offset=[0.0, 1e-3, -7.0]),
        ],
    )


def released_samples():
    return np.arange(27).reshape(3, 9) * 1009 % 8191 - 4095


def test_the_released_file_is_still_read_and_written(tmp_path):
    kept = DATA / "network-1.4.safetensors"
    assert load_network(kept) == released()
    assert save_network(released(), tmp_path / "n.safetensors").read_bytes() == kept.read_bytes()
    assert b'"version":"1.4"' in kept.read_bytes()


def test_the_released_trace_is_still_read(tmp_path):
    chip = roomy(nm.load_chip("gxnor45"))
    run = nm.simulate(map_network(released(), chip), released_samples(), mode="timed")
    assert validate(DATA / "trace-1.4.h5") == []
    with Trace(DATA / "trace-1.4.h5") as trace:
        assert trace.version == "1.4"
        assert trace.outputs.dtype == np.int64
        assert np.array_equal(trace.outputs, run.outputs)
        assert np.abs(trace.outputs).max() > 2**31
        assert trace.counts == run.counts
        assert replay(trace, released()) is None
