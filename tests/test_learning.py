"""``learn``: what it promises about mapping, batches, counts and hand-over, and its refusals."""

import dataclasses
import re
from typing import get_args

import numpy as np
import pytest
from test_learning_twin import ternary_network

import neuromorph as nm
from networks import random_levels
from neuromorph.energy import estimate_energy, load_prices
from neuromorph.errors import LearningError, NetworkError
from neuromorph.events import LEARNING_ACTIONS, Counts, Dataflow
from neuromorph.kernels import learning as kernel
from neuromorph.learning import (
    Plastic,
    Rule,
    fresh,
    learn,
    map_for,
)
from neuromorph.network import Conv2d, Flatten, Input, Linear, Network, Readout, Threshold
from neuromorph.reference.learning import output_errors, quantised

CHIP = nm.load_chip("gxnor45")


def small_stream(rng, samples=300, inputs=24, classes=4):
    """Samples that a linear layer can tell apart: a noisy pattern a class."""
    patterns = random_levels(rng, 1, (classes, inputs), 0.6)
    labels = rng.integers(0, classes, samples)
    noise = rng.random((samples, inputs)) < 0.15
    images = np.where(noise, random_levels(rng, 1, (samples, inputs), 0.6), patterns[labels])
    return images.astype(np.int8), labels


def start(rule, hidden=(20,), inputs=24, classes=4):
    state = fresh(Input(shape=(inputs,)), hidden, classes, rule)
    return state, map_for(state.network("small"), CHIP, rule)


# --- what comes out


@pytest.mark.parametrize("states", [3, 15, 63])
@pytest.mark.parametrize("error", ["bp", "dfa", "readout"])
def test_it_learns(states, error):
    rng = np.random.default_rng(1)
    images, labels = small_stream(rng, 1500)
    rule = Rule(states=states, error=error, margin=8, rate=0.02, readout_rate=0.02, memory=6)
    state, mapping = start(rule)
    learned = learn(mapping, (images, labels), rule=rule, state=state)
    run = nm.simulate(nm.map_network(learned.network(), CHIP), images[-300:])
    assert run.accuracy(labels[-300:]) > 0.9
    assert learned.accuracy > 0.6


def test_the_learned_network_predicts_what_was_predicted_while_learning():
    """All engines agree with the read-out, sample by sample, once nothing moves."""
    rng = np.random.default_rng(2)
    images, labels = small_stream(rng)
    rule = Rule(states=15, margin=8, rate=0.02, readout_rate=0.02, memory=6)
    state, mapping = start(rule)
    learned = learn(mapping, (images, labels), rule=rule, state=state)
    still = Rule(states=15, rate=0, readout_rate=0, centring="frozen", margin=8)
    again = learn(mapping, (images, labels), rule=still, state=learned.state)
    network = learned.network("learned")
    for mode in ("reference", "count", "timed"):
        run = nm.simulate(nm.map_network(network, CHIP), images, mode=mode)
        assert run.predictions.tolist() == again.predictions.tolist()
    assert again.learning.total("dst_transition") == 0


@pytest.mark.parametrize("seed", range(12))
def test_hand_over_is_exact(seed):
    """A network taken over and given back fires the same levels and reads out alike."""
    rng = np.random.default_rng(seed)
    network = ternary_network(rng)
    rule = Rule(states=int(rng.choice([3, 7, 63])), centring="frozen")
    back = Plastic.of(network, rule).network("back")
    images = random_levels(rng, 1, (40, *network.input.shape), 0.6)
    one = nm.simulate(nm.map_network(network, CHIP), images)
    other = nm.simulate(nm.map_network(back, CHIP), images)
    for stage in network.stages[:-1]:
        assert (one.levels(stage.name) == other.levels(stage.name)).all()
    assert (one.outputs == other.outputs).all()
    # scores are rounded to fractions of the largest scale: leads beyond two roundings stay
    readout = network.layers[-1]
    taken = Plastic.of(network, rule).layers[-1]
    wide = one.outputs * readout.scale.astype(float) + readout.offset.astype(float)
    rounding = readout.scale.max() * 2.0**-taken.fraction * (1 + np.abs(one.outputs).max()) / 2
    ranked = np.sort(np.hstack([wide, np.full((40, 1), -np.inf)]), axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * rounding
    assert clear.mean() > 0.95
    assert (one.predictions == other.predictions)[clear].all()


def test_a_finer_read_out_keeps_its_rounding_off_the_ranking():
    """0.998 · 100 leads 1 · 100 − 0.3; with 8 fractional bits, 99.61 and 99.70, it would not."""
    weights = np.ones((2, 200), np.int8)
    readout = Readout(scale=np.float32([0.998, 1]), offset=np.float32([0, -0.3]))
    linear = Linear(name="output", weights=weights)
    network = Network(name="near", input=Input(shape=(200,)), layers=[linear, readout])
    outputs = np.array([[10, 10], [100, 100], [120, 120], [170, 170]], np.int32)
    back = Plastic.of(network, Rule()).network("back")
    assert network.predict(outputs).tolist() == [0, 0, 0, 1]
    assert back.predict(outputs).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_learning_are_exact_in_float32(seed):
    """However far the means move, a read-out in float32 ranks as the integers of learning do."""
    rng = np.random.default_rng(seed)
    fan_in, classes = int(rng.integers(1, 3000)), int(rng.integers(2, 9))
    network = Network(
        name="any",
        input=Input(shape=(fan_in,)),
        layers=[
            Linear(name="output", weights=random_levels(rng, 1, (classes, fan_in), 0.7)),
            Readout(
                scale=rng.uniform(0.01, 2, classes).astype(np.float32),
                offset=(rng.normal(size=classes) * fan_in).astype(np.float32),
            ),
        ],
    )
    state = Plastic.of(network, Rule())
    layer = state.layers[0]
    extent = layer.gain.astype(np.int64) * fan_in
    layer.offset[:] -= rng.integers(-extent, extent + 1).astype(np.int32)  # as taking over splits
    layer.mean[:] = rng.integers(-extent, extent + 1)  # and learning moves
    sums = rng.integers(-fan_in, fan_in + 1, (200, classes)).astype(np.int32)
    exact = layer.gain.astype(np.int64) * sums - layer.mean - layer.offset
    scores = state.network("now").scores(sums).astype(float)
    assert (scores * 2.0**layer.fraction == exact).all()


@pytest.mark.parametrize("seed", range(6))
def test_with_nothing_to_learn_the_counts_are_those_of_a_run(seed):
    """Rates of zero and frozen means: inference as ever, and no learning action at all."""
    rng = np.random.default_rng(seed)
    network = ternary_network(rng)
    rule = Rule(states=3, rate=0, readout_rate=0, centring="frozen", margin=0, target="rival")
    mapping = nm.map_network(network, CHIP)
    images = random_levels(rng, 1, (40, *network.input.shape), 0.6)
    run = nm.simulate(mapping, images)
    predicted = Plastic.of(network, rule).network("same").predict(run.outputs)
    # labelled as predicted: never an error, for a tie goes to the lowest class
    learned = learn(map_for(network, CHIP, rule), (images, predicted), rule=rule)
    assert learned.inference.layers == learned.mapping.row_layers
    same = nm.simulate(learned.mapping, images)
    assert learned.inference == same.counts.summed()
    if learned.learning.total("error_event") == 0:
        busy = {a for a in LEARNING_ACTIONS if learned.learning.total(a)}
        assert busy <= {"margin_cmp", "error_packet", "error_hop", "accumulator_bits"}


def test_the_mapping_moves_hops_and_nothing_else():
    rng = np.random.default_rng(3)
    images, labels = small_stream(rng)
    rule = Rule(states=15, margin=8, rate=0.02, readout_rate=0.02, memory=6)
    state, one_core = start(rule, hidden=(60,))
    small = dataclasses.replace(CHIP, neurons=16)
    many = map_for(state.network("small"), small, rule)
    assert many.cores_used > one_core.cores_used
    a, b = (learn(m, (images, labels), rule=rule, state=state) for m in (one_core, many))
    assert (a.predictions == b.predictions).all()
    for one, other in zip(a.state.layers, b.state.layers):
        assert (one.states == other.states).all()
    for action in LEARNING_ACTIONS:
        if action not in ("error_packet", "error_hop", "transposed_read_bits"):
            assert a.learning.total(action) == b.learning.total(action), action
    assert a.learning.total("error_hop") < b.learning.total("error_hop")


def test_batches_of_a_stream_do_not_matter():
    rng = np.random.default_rng(4)
    images, labels = small_stream(rng)
    rule = Rule(
        states=15, margin=8, rate=0.02, readout_rate=0.02, memory=6, halve_every=100, batch=4
    )
    state, mapping = start(rule)
    whole = learn(mapping, (images, labels), rule=rule, state=state)
    cuts = [(images[i : i + 70], labels[i : i + 70]) for i in range(0, 300, 70)]
    streamed = learn(mapping, iter(cuts), rule=rule, state=state)
    half = learn(mapping, (images[:150], labels[:150]), rule=rule, state=state)
    resumed = learn(mapping, (images[150:], labels[150:]), rule=rule, state=half.state)
    for other in (streamed, resumed):
        for one, two in zip(whole.state.layers, other.state.layers):
            assert (one.states == two.states).all()
            assert (one.gradient == two.gradient).all()
    assert whole.learning == streamed.learning == Counts.join([half.learning, resumed.learning])
    assert "waiting for the rest of a mini-batch of 4: 2 samples" in half.note


def test_stuck_synapses_and_dead_neurons_stay():
    rng = np.random.default_rng(5)
    images, labels = small_stream(rng)
    rule = Rule(states=15, margin=8, rate=0.04, memory=6)
    state, mapping = start(rule)
    layer = state.layers[0]
    layer.stuck[:] = rng.random(layer.stuck.shape) < 0.3
    layer.dead[:5] = True
    learned = learn(mapping, (images, labels), rule=rule, state=state)
    after = learned.state.layers[0]
    assert (after.states[layer.stuck] == layer.states[layer.stuck]).all()
    assert (after.writes[:5] == 0).all()
    assert after.writes[5:].sum() > 0


def test_learning_is_priced_apart_from_inference():
    rng = np.random.default_rng(6)
    rule = Rule(states=15, margin=8, rate=0.04, memory=6)
    state, mapping = start(rule)
    learned = learn(mapping, small_stream(rng), rule=rule, state=state)
    for prices in ("horowitz45", "generic22"):
        table = load_prices(prices)
        assert not table.unpriced(LEARNING_ACTIONS)
        for counts in (learned.inference, learned.learning):
            report = estimate_energy(counts, table)
            assert report.figures["dynamic"].nominal > 0
    # one term by hand: attempts × price
    report = estimate_energy(learned.learning, load_prices("horowitz45"))
    price = load_prices("horowitz45").actions["dst_attempt"].value
    expected = learned.attempts_per_sample * price
    assert report.terms["dst_attempt"].nominal == pytest.approx(expected, rel=1e-12)
    with pytest.raises(nm.NeuromorphError, match="no price for"):
        estimate_energy(learned.learning, load_prices("odin28")).total  # noqa: B018


@pytest.mark.parametrize("error", ["bp", "dfa", "drtp"])
def test_fixed_filters_stay_and_cost_nothing_to_learn(error):
    rng = np.random.default_rng(13)
    rule = Rule(states=15, error=error, margin=8, rate=0.04, memory=6)
    entry = Input(shape=(1, 8, 8))
    state = fresh(entry, (12,), 4, rule, filters=3)
    mapping = map_for(state.network("filters"), CHIP, rule, fixed=state.fixed)
    images, labels = random_levels(rng, 1, (200, 1, 8, 8), 0.6), rng.integers(0, 4, 200)
    learned = learn(mapping, (images, labels), rule=rule, state=state)
    before, after = state.layers[0], learned.state.layers[0]
    for name in ("states", "mean", "half", "writes", "gradient"):
        assert (getattr(before, name) == getattr(after, name)).all(), name
    assert (learned.state.layers[1].states != state.layers[1].states).any()
    rows = [i for i, layer in enumerate(learned.learning.layers) if layer == "filters"]
    assert not learned.learning.values[:, rows].any()
    assert learned.learning.total("accumulator_bits") == 0
    synapses = [p.states.size for p in state.layers]
    wanted = (2 * synapses[0] + 4 * sum(synapses[1:])) / sum(synapses)
    assert learned.bits_per_synapse == pytest.approx(wanted)
    # inference counts what a run counts, but that learning synapses are fetched whole
    run = nm.simulate(mapping, images).counts
    fetched = "weight_read_bits"
    kept = [i for i, layer in enumerate(run.layers) if layer == "filters"]
    still = learn(
        mapping, (images, labels), state=state,
        rule=dataclasses.replace(rule, rate=0, readout_rate=0, centring="frozen"),
    )  # fmt: skip
    assert still.inference.total("xnor_event") == run.total("xnor_event")
    assert (still.inference[fetched][0, kept] == run[fetched].sum(axis=0)[kept]).all()
    assert still.inference.total(fetched) > run.total(fetched)


@pytest.mark.parametrize("shape", [(30,), (1, 5, 9)])
def test_filters_need_an_image(shape):
    says = f"filters need an image of at least 6 × 6; the input has shape {list(shape)}"
    with pytest.raises(LearningError, match=re.escape(says)):
        fresh(Input(shape=shape), (12,), 4, Rule(), filters=2)


def test_bits_and_writes():
    rule = Rule(states=63)
    assert [Rule(states=s).cell_bits for s in (3, 7, 15, 63, 255)] == [2, 3, 4, 6, 8]
    assert rule.bits_per_synapse() == 6
    assert Rule(states=63, batch=10).bits_per_synapse() == 6 + 16
    rng = np.random.default_rng(7)
    rule = Rule(states=15, margin=8, rate=0.04, memory=6)
    state, mapping = start(rule)
    learned = learn(mapping, small_stream(rng), rule=rule, state=state)
    total = learned.learning.total("dst_transition")
    synapses = sum(p.states.size for p in state.layers)
    assert learned.writes_mean == pytest.approx(total / synapses)
    assert learned.writes_max >= learned.writes_mean
    assert learned.bits_per_synapse == 4


# --- errors of the read-out, by hand


def test_rival_errors():
    rule = Rule(margin=2)
    scores = np.array([5, 9, 3]) << 8
    assert output_errors(scores, 0, rule).tolist() == [-1, 1, 0]
    assert output_errors(scores, 1, rule).tolist() == [0, 0, 0]  # 9 − 5 ≥ 2
    assert output_errors(scores, 1, Rule(margin=5)).tolist() == [1, -1, 0]
    assert output_errors(np.array([1, 1, 1]), 2, rule).tolist() == [1, 0, -1]  # lowest rival


def test_soft_errors_add_up_to_zero():
    rng = np.random.default_rng(8)
    for _ in range(50):
        scores = rng.integers(-(1 << 14), 1 << 14, int(rng.integers(1, 8)))
        errors = output_errors(scores, int(rng.integers(len(scores))), Rule(target="soft"))
        assert errors.sum() == 0
        assert (errors > 0).sum() <= len(scores)


def test_hinge_errors_do_not():
    errors = output_errors(np.zeros(4, int), 1, Rule(target="hinge", margin=1))
    assert errors.tolist() == [1, -1, 1, 1]


def test_quantised_errors():
    errors = np.array([-100, -3, 0, 5, 127])
    assert quantised(errors, 8).tolist() == errors.tolist()
    assert quantised(errors, 4).tolist() == [-96, 0, 0, 0, 112]  # steps of 16, at most 7
    assert quantised(np.array([2, -1]), 3).tolist() == [2, -1]


def test_probabilities():
    linear = Rule(states=3, rate=0.3, readout_rate=0.5).table(0, 0, 2)
    assert linear[:, 1].tolist() == [0, round(0.3 * 65536)]
    assert linear[:, 5].tolist() == [1, 32768]  # 1.5 steps: one for sure, one in half the cases
    tanh = Rule(states=3, rate=0.1, probability="tanh").table(0, 0, 2)
    assert tanh[1, 1] == round(np.tanh(0.3) * 65536)
    assert Rule(states=3, readout_rate=0.5).table(0, 1, 2)[1, 1] == 32768
    wide = Rule(states=63, rate=0.01).table(0, 0, 2)  # 0.01 of 31 steps
    assert wide[1, 1] == round(0.31 * 65536)
    halved = Rule(states=3, rate=0.4, halve_every=100).table(100, 0, 2)
    assert halved[1, 1] == round(0.2 * 65536)


# --- refusals


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"states": 4}, "states is 4; it must be odd"),
        ({"states": 257}, "states is 257; it must be 3 to 255"),
        ({"states": 3.0}, "states is 3.0; it must be a whole number"),
        ({"error": "hebb"}, "error is 'hebb'; choose one of bp"),
        ({"rate": -1}, "rate is -1; it must be 0 to 8"),
        ({"rate": float("nan")}, "rate is nan; it must be 0 to 8"),
        ({"batch": 0}, "batch is 0; it must be 1 to"),
        ({"draws": "dice"}, "draws is 'dice'; choose one of keyed, lfsr"),
    ],
)
def test_impossible_rules(given, says):
    with pytest.raises(LearningError, match=re.escape(says)):
        Rule(**given)


def test_refusals():
    rng = np.random.default_rng(9)
    rule = Rule(states=15)
    state, mapping = start(rule)
    images, labels = small_stream(rng, 10)

    def refused(says, *given, error=LearningError, **settings):
        with pytest.raises(error, match=re.escape(says)):
            learn(*given, **{"rule": rule, "state": state, **settings})

    refused("label 7 of sample 0 is none of the network's 4 classes", mapping,
            (images, np.full(10, 7)))  # fmt: skip
    refused("labels are float64 of shape [10]; need 10 integers", mapping, (images, labels / 1.0))
    refused("labels are int64 of shape [3]; need 10 integers", mapping, (images, labels[:3]))
    broken = images.astype(float)
    broken[4, 3] = np.nan
    refused("sample 4 holds a value that is not a number", mapping, (broken, labels))
    refused("inputs have dtype float64", mapping, (images / 1.0, labels), error=NetworkError)
    refused("the stream holds no samples", mapping, iter([]))
    refused("the stream does not give pairs", mapping, [1, 2])
    refused("samples is 0; it must be at least 1", mapping, (images, labels), samples=0)
    refused("mapping is a str", "mapping", (images, labels))
    refused("rule is a dict", mapping, (images, labels), rule={})
    other, _ = start(rule, hidden=(8,))
    refused("the state is of another network", mapping, (images, labels), state=other)
    refused("made for another number of states", mapping, (images, labels), rule=Rule(states=7))


def test_states_that_do_not_fit_are_refused_with_the_bits():
    rule = Rule(states=255, batch=8)
    network = fresh(Input(shape=(1000,)), (500,), 10, rule).network("big")
    with pytest.raises(LearningError, match=r"needs [\d,]+ bits for synapses of 24 bits, 524,288"):
        learn(nm.map_network(network, CHIP), (np.zeros((1, 1000), int), [0]), rule=rule)
    assert map_for(network, CHIP, rule).cores_used > nm.map_network(network, CHIP).cores_used


WIDER, FREE = "a chip with wider synapses", "a chip that names no such limit"


@pytest.mark.parametrize(
    ("bits", "rule", "says"),
    [
        (2, Rule(states=63), "63 states take 6 bits a synapse, chip 'gxnor45' has 2 "
         f"(core.weight_bits); use at most 3 states, or {WIDER}"),
        (5, Rule(states=63), f"has 5 (core.weight_bits); use at most 31 states, or {WIDER}"),
        (1, Rule(states=3), f"3 states take 2 bits a synapse, chip 'gxnor45' has 1 "
         f"(core.weight_bits); use {WIDER}"),
        (8, Rule(states=63, batch=8), "63 states take 6 bits a synapse and sums of updates 16 "
         f"more, chip 'gxnor45' has 8 (core.weight_bits); use batch 1, or {FREE}"),
        (3, Rule(states=15, batch=8), f"use at most 7 states and batch 1, or {FREE}"),
    ],
)  # fmt: skip
def test_states_that_a_synapse_has_no_bits_for_are_refused(bits, rule, says):
    state, mapping = start(rule)
    narrow = dataclasses.replace(CHIP, weight_bits=bits)
    with pytest.raises(LearningError) as caught:
        map_for(state.network("narrow"), narrow, rule)
    assert str(caught.value).startswith("layer 'fc1': ")
    assert str(caught.value).endswith(says)
    one = np.zeros((1, 24), int), [0]
    with pytest.raises(LearningError) as again:
        learn(dataclasses.replace(mapping, chip=narrow), one, rule=rule, state=state)
    assert str(again.value) == str(caught.value)
    enough = None if rule.batch > 1 else rule.cell_bits
    wide = dataclasses.replace(CHIP, weight_bits=enough)
    learn(map_for(state.network("wide"), wide, rule), one, rule=rule, state=state)


def test_a_shared_synapse_needs_bits_for_its_sum_and_a_fixed_one_only_its_weight():
    conv, rng = Conv2d(name="conv", weights=np.ones((2, 1, 3, 3), int)), np.random.default_rng(0)
    head = [Flatten(), Linear(name="out", weights=random_levels(rng, 1, (3, 32), 0.5)), Readout()]
    fires = Threshold(thresholds=[[-1, 2]] * 2)
    shared = Network(name="conv", input=Input(shape=(1, 6, 6)), layers=[conv, fires, *head])
    rule, narrow = Rule(states=3), dataclasses.replace(CHIP, weight_bits=2)
    assert shared.stages[0].name == "conv"
    with pytest.raises(LearningError) as caught:
        map_for(shared, narrow, rule)
    assert str(caught.value) == (
        "layer 'conv': 3 states take 2 bits a synapse and sums of updates 16 more, "
        f"chip 'gxnor45' has 2 (core.weight_bits); use {FREE}"
    )
    assert map_for(shared, narrow, rule, fixed=1).cores_used == 2


def test_a_fan_in_beyond_the_integers_is_refused():
    rule = Rule(states=3)
    state = fresh(Input(shape=((1 << 21) + 1,)), (), 1, rule)
    with pytest.raises(
        LearningError, match="has a fan-in of 2097153; learning takes up to 2097152"
    ):
        kernel.Learner(state, rule, [np.zeros(1, np.int32)])


def test_a_fan_in_over_several_cores_is_refused():
    rule = Rule(states=15)
    state, _ = start(rule)
    mapping = map_for(state.network("split"), dataclasses.replace(CHIP, axons_in=8), rule)
    with pytest.raises(LearningError, match="layer 'fc1' has its fan-in split over cores; a neur"):
        learn(mapping, (np.zeros((1, 24), int), [0]), rule=rule, state=state)


@pytest.mark.parametrize("dataflow", get_args(Dataflow))
def test_every_dataflow_infers_while_learning_as_in_a_run(dataflow):
    rng = np.random.default_rng(12)
    network = ternary_network(rng)
    chip = dataclasses.replace(CHIP, dataflow=dataflow)
    rule = Rule(states=3, rate=0, readout_rate=0, centring="frozen")
    images = random_levels(rng, 1, (20, *network.input.shape), 0.6)
    mapping = map_for(network, chip, rule)
    learned = learn(mapping, (images, np.zeros(20, int)), rule=rule)
    assert learned.inference == nm.simulate(mapping, images).counts.summed()


def test_spaces_the_rule_cannot_move_in():
    wide = Network(
        name="wide",
        input=Input(shape=(3,)),
        layers=[Linear(name="out", weights=np.array([[2, 0, 1]]), n=2), Readout()],
    )
    with pytest.raises(LearningError, match="layer 'out' has weights of Z_2; the rule moves"):
        Plastic.of(wide, Rule())
    levels = Network(
        name="levels",
        input=Input(shape=(3,)),
        layers=[
            Linear(name="fc", weights=np.array([[1, 0, 1]])),
            Threshold(thresholds=np.array([[0]]), n=0),
            Linear(name="out", weights=np.array([[1]])),
            Readout(),
        ],
    )
    with pytest.raises(LearningError, match="layer 'fc' has levels of Z_0"):
        Plastic.of(levels, Rule())
    graded = Network(
        name="graded",
        input=Input(shape=(3,), encoding="graded"),
        layers=[Linear(name="out", weights=np.array([[1, 0, 1]])), Readout()],
    )
    with pytest.raises(LearningError, match="network 'graded' has a graded input"):
        Plastic.of(graded, Rule())


def test_a_stream_that_ends_early_is_kept_and_said():
    rule = Rule(states=15)
    state, mapping = start(rule)
    stream = small_stream(np.random.default_rng(10), 10)
    learned = learn(mapping, stream, rule=rule, state=state, samples=25)
    assert len(learned) == 10
    assert learned.note == "the stream ended after 10 of 25 samples"
    assert len(learn(mapping, stream, rule=rule, state=state, samples=4)) == 4


def test_dead_neurons_among_the_living_of_a_channel_have_no_network():
    network = next(
        n for n in (ternary_network(np.random.default_rng(s)) for s in range(99))
        if n.stages[0].sum_shape[1:] > (1, 1)
    )  # fmt: skip
    state = Plastic.of(network, Rule())
    state.layers[0].dead[0] = True
    with pytest.raises(LearningError, match="has channels with some dead neurons"):
        state.network("dead")


def test_dilation_is_refused():
    """Its errors and gradients would go along the taps of a kernel without."""
    layers = [
        Conv2d(name="conv", weights=np.ones((2, 1, 3, 3), int), padding=2, dilation=2),
        Threshold(thresholds=[[0, 1]] * 2),
        Flatten(),
        Linear(name="out", weights=np.ones((2, 98), int)),
        Readout(),
    ]
    network, rule = (
        Network(name="apart", input=Input(shape=(1, 7, 7)), layers=layers),
        Rule(states=3),
    )
    mapping = map_for(network, nm.load_chip("gxnor45"), rule)
    with pytest.raises(LearningError) as error:
        nm.learn(mapping, (np.zeros((1, 1, 7, 7), int), np.zeros(1, int)), rule=rule)
    assert str(error.value) == (
        "layer 'conv' of network 'apart' has dilation 2×2; learning takes convolutions without"
    )
