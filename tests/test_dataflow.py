"""The four dataflows against counts made pair by pair in plain loops.

The oracle walks every neuron and every tap of a small random network and asks what a core
of each dataflow does there; it shares nothing with ``neuromorph.mapping.dataflow``.
"""

from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.errors import ChipError
from neuromorph.events import ACTIONS
from neuromorph.mapping import COUNTED, Form, tabulate
from neuromorph.network import Conv2d, Flatten, Input, Linear, Readout, Threshold

DATAFLOWS = ("scatter", "gather", "dense", "stationary")
CHIP = replace(nm.load_chip("gxnor45"), neurons=60, synapse_lanes=4, accumulator_bits=24)


def network(n_weights, n_levels):
    """A convolution and a linear layer with levels of a kind, on a ternary image."""
    rng = np.random.default_rng(10 * n_weights + n_levels)

    def weights(*shape):
        top = 1 if n_weights == 0 else 2 ** (n_weights - 1)
        if n_weights == 0:
            return rng.choice([-1, 1], shape)
        return rng.integers(-top, top + 1, shape)

    steps = {0: [1], 1: [-2, 3]}.get(n_levels, list(np.arange(2**n_levels) * 3 - 3))
    return nm.Network(
        name="probe",
        input=Input(shape=(2, 5, 6), encoding="graded", bits=1),
        layers=[
            Conv2d(name="conv", weights=weights(6, 2, 3, 2), padding=(1, 0), n=n_weights),
            Threshold(n=n_levels, thresholds=np.tile(steps, (6, 1))),
            Flatten(),
            Linear(name="out", weights=weights(3, 150), n=n_weights),
            Readout(),
        ],
    )


def walk(net, mapping, run, image):
    """(row, stage, level, weight, channel, position) of every pair of one sample."""
    for index, stage in enumerate(net.stages):
        levels = image if index == 0 else run.levels(net.stages[index - 1].name)[0]
        levels = np.asarray(levels).reshape(stage.input_shape)
        for row in mapping.stage_rows[index]:
            s = mapping.slices[row - 1]
            for o in range(*s.channels):
                for y in range(*s.sum_rows):
                    for x in range(*s.sum_columns):
                        for i, ky, kx in np.ndindex(*stage.weights.shape[1:]):
                            v = y * stage.stride[0] - stage.padding[0] + ky
                            u = x * stage.stride[1] - stage.padding[1] + kx
                            inside = 0 <= v < stage.input_shape[1] and 0 <= u < stage.input_shape[2]
                            if inside:
                                yield row, index, levels[i, v, u], stage.weights[o, i, ky, kx]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("kinds", [(0, 0), (1, 1), (0, 2), (1, 2), (2, 2)])
def test_every_dataflow_against_loops(kinds, dataflow):
    net, chip = network(*kinds), replace(CHIP, dataflow=dataflow)
    mapping = nm.map_network(net, chip)
    image = (np.random.default_rng(3).random((1, 2, 5, 6)) < 0.4).astype(int)
    run = nm.simulate(mapping, image)
    wanted = {name: np.zeros(mapping.rows, int) for name in ACTIONS}
    dense = np.zeros(mapping.rows, int)
    for row, index, level, weight in walk(net, mapping, run, image[0]):
        event, wide = level != 0 and weight != 0, kinds[0] > 1
        wide_level = index == 1 and kinds[1] > 1
        computed = event or dataflow == "dense"
        tree = dataflow in ("dense", "stationary") and not wide and not wide_level
        dense[row] += 1
        wanted["popcount"][row] += computed and tree
        wanted["acc_add"][row] += computed and not tree
        wanted["multiply"][row] += computed and wide and wide_level
        if dataflow in ("scatter", "gather") and level != 0:
            wanted["weight_read_bits"][row] += 1 if kinds[0] == 0 else kinds[0] + 1
    for action in ("popcount", "acc_add", "multiply"):
        assert run.counts[action][0].tolist() == wanted[action].tolist(), action
    if dataflow != "dense":
        assert run.counts["weight_read_bits"][0].tolist() == wanted["weight_read_bits"].tolist()
    parts = sum(run.counts[a] for a in ("xnor_event", "graded_event", "skip_act", "skip_weight"))
    assert parts[0].tolist() == dense.tolist()


def counted_of(run):
    counts = run.counts
    table = {name: counts[name] for name in COUNTED if name in ACTIONS}
    return table | {"fetched": counts.pairs - counts["skip_act"]}


def one_core(dataflow, kinds=(1, 1)):
    """Two layers of 12 and 2 neurons on a core each, 20 inputs of which 8 spike."""
    rng = np.random.default_rng(5)
    net = nm.Network(
        name="one",
        input=Input(shape=(20,), encoding="graded", bits=1),
        layers=[
            Linear(name="a", weights=rng.choice([-1, 1], (12, 20)), n=kinds[0]),
            Threshold(n=kinds[1], thresholds=np.tile([0] if kinds[1] == 0 else [0, 1], (12, 1))),
            Linear(name="b", weights=rng.choice([-1, 1], (2, 12)), n=kinds[0]),
            Readout(),
        ],
    )
    mapping = nm.map_network(net, replace(CHIP, dataflow=dataflow))
    image = np.zeros((1, 20), int)
    image[0, :8] = 1
    return mapping, nm.simulate(mapping, image)


def test_gather_by_hand() -> None:
    """12 neurons in 3 groups of 4: each walks 20 inputs of 2 bits and fetches for 8 of them."""
    row = {a: int(one_core("gather")[1].counts[a][0, 1]) for a in ACTIONS}
    assert row["act_write_bits"] == 20 * 2
    assert row["act_read_bits"] == 3 * 20 * 2
    assert row["weight_read_bits"] == 8 * 12 * 2
    assert row["gate_check"] == 3 * 20 + 8 * 12
    assert row["acc_add"] == row["xnor_event"] == 8 * 12
    assert row["register_write_bits"] == 8 * 12 * 24
    assert row["state_read_bits"] == row["state_write_bits"] == row["axon_read"] == 0


def test_binary_weights_are_not_tested_for_zero() -> None:
    assert int(one_core("gather", (0, 0))[1].counts["gate_check"][0, 1]) == 3 * 20


@pytest.mark.parametrize(("batch", "weights", "levels"), [(1, 480, 120), (64, 240, 240)])
def test_dense_by_hand(batch: int, weights: int, levels: int) -> None:
    """A level read serves 4 neurons; with a batch 2 samples share weights and 2 neurons levels."""
    mapping, run = one_core("dense")
    table = tabulate(mapping, counted_of(run), form=Form(batch=batch))
    row = dict(zip(ACTIONS, table[0, 1].tolist()))
    assert row["popcount"] == 240
    assert row["weight_read_bits"] == weights
    assert row["act_read_bits"] == levels
    assert row["register_write_bits"] == ceil(480 / 64) * 24
    assert row["gate_check"] == row["acc_add"] == 0


def test_stationary_by_hand() -> None:
    row = {a: int(one_core("stationary")[1].counts[a][0, 1]) for a in ACTIONS}
    assert row["weight_read_bits"] == row["state_read_bits"] == row["gate_check"] == 0
    assert row["popcount"] == 8 * 12
    assert row["act_write_bits"] == row["act_read_bits"] == row["register_write_bits"] == 40


def test_floats_and_packing_by_hand() -> None:
    """In float32 every event is a multiply-accumulate, and so is every batch norm."""
    mapping, run = one_core("scatter")
    form = Form(weight_bits=Fraction(32), level_bits=32, floats=True)
    plain = dict(zip(ACTIONS, tabulate(mapping, counted_of(run))[0, 1].tolist()))
    row = dict(zip(ACTIONS, tabulate(mapping, counted_of(run), form=form)[0, 1].tolist()))
    assert row["mac_float"] == 96 + 12
    assert row["acc_add"] == row["multiply"] == 0
    assert row["weight_read_bits"] == 96 * 32
    assert row["state_read_bits"] == (96 + 12) * 32
    assert row["hop_local"] == 2 * plain["hop_local"] > 0
    packed = tabulate(mapping, counted_of(run), form=Form(weight_bits=Fraction(8, 5)))
    assert packed[0, 1, list(ACTIONS).index("weight_read_bits")] == ceil(96 * 8 / 5)


@pytest.mark.parametrize("dataflow", DATAFLOWS[1:])
def test_time_is_simulated_for_scatter_alone(dataflow):
    mapping, _ = one_core(dataflow)
    with pytest.raises(ChipError, match=f"has dataflow {dataflow}; mode 'timed' simulates scatter"):
        nm.simulate(mapping, np.zeros((1, 20), int), mode="timed")


@pytest.mark.parametrize("dataflow", DATAFLOWS[1:])
def test_a_trace_keeps_the_dataflow(dataflow, tmp_path):
    from neuromorph.trace import Trace, validate

    mapping, _ = one_core(dataflow)
    run = nm.simulate(mapping, np.ones((2, 20), int), trace=tmp_path / "t.h5")
    assert validate(tmp_path / "t.h5") == []
    with Trace(tmp_path / "t.h5") as trace:
        assert trace.counts == run.counts
        assert trace.counts.hardware.dataflow == dataflow
