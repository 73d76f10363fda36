"""Brian2 makes the transitions that ``learn`` makes, synapse for synapse, sample for sample.

Compared are every transition and the last states, over random streams, so that errors, rivals,
windows and draws agree where they lead to one.  The ``numpy`` target of Brian2 only.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import neuromorph as nm
from networks import random_levels
from neuromorph.errors import LearningError, MissingDependencyError, NetworkError, SimulationError
from neuromorph.interop import learn_in_brian2
from neuromorph.learning import LearningTrace, Plastic, Rule, fresh, map_for
from neuromorph.network import Conv2d, Flatten, Input, Linear, Network, Readout, Threshold
from neuromorph.reference.brian2 import version

RULE = Rule(states=15, margin=6, rate=0.3, readout_rate=0.3, centring="frozen")


@pytest.fixture
def brian2():
    found = pytest.importorskip("brian2", reason="brian2 is not installed")
    target = found.prefs.codegen.target
    found.prefs.codegen.target = "numpy"
    yield found
    found.prefs.codegen.target = target


def stream(seed, samples=40, size=16, classes=4):
    rng = np.random.default_rng(seed)
    return random_levels(rng, 1, (samples, size), 0.7), rng.integers(0, classes, samples)


def assert_same_transitions(state, rule, samples, labels, least=20):
    mapping = map_for(state.network("small"), nm.load_chip("gxnor45"), rule)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.h5"
        ours = nm.learn(mapping, (samples, labels), rule=rule, state=state, trace=path)
        with LearningTrace(path) as record:
            wanted = np.sort(record.moves(), order=["step", "layer", "synapse"])
    after, moves = learn_in_brian2(state, samples, labels, rule=rule)
    assert len(moves) >= least
    np.testing.assert_array_equal(moves, wanted)
    assert set(moves["layer"]) == set(range(len(state.layers)))
    assert after.samples == ours.state.samples
    for theirs, own in zip(after.layers, ours.state.layers, strict=True):
        np.testing.assert_array_equal(theirs.states, own.states)
        np.testing.assert_array_equal(theirs.writes, own.writes)
    return after


@pytest.mark.usefixtures("brian2")
@pytest.mark.parametrize("states", [3, 15, 63])
@pytest.mark.parametrize("seed", range(3))
def test_every_transition_is_the_same(seed, states):
    error = ("bp", "sign", "bp")[seed]
    rule = dataclasses.replace(RULE, states=states, error=error, seed=seed)
    state = fresh(Input(shape=(16,)), (12,), 4, rule)
    assert_same_transitions(state, rule, *stream(seed))


@pytest.mark.usefixtures("brian2")
def test_errors_go_back_through_several_layers_and_learning_goes_on():
    rule = dataclasses.replace(RULE, probability="tanh", rate=4.0, dead_zone=1, pulse=30, seed=7)
    state = fresh(Input(shape=(16,)), (12, 10, 8), 4, rule)
    rng = np.random.default_rng(7)
    for layer in state.layers:
        layer.stuck[:] = rng.random(layer.stuck.shape) < 0.1
        layer.dead[:] = not layer.stage.is_readout and rng.random(len(layer.dead)) < 0.1
    samples, labels = stream(7, samples=60)
    half = assert_same_transitions(state, rule, samples[:30], labels[:30])
    assert_same_transitions(half, rule, samples[30:], labels[30:])


@pytest.mark.usefixtures("brian2")
@pytest.mark.parametrize("hidden", [0, 1])
def test_networks_that_were_taken_over(hidden):
    """Thresholds of both directions, a read-out with scale and offset, and one layer alone."""
    rng = np.random.default_rng(hidden)
    layers, width = [], 16
    if hidden:
        directions = rng.choice(np.array([-1, 1], np.int8), 12)
        thresholds = np.tile([-1, 2], (12, 1))
        layers.append(Linear(name="hidden", weights=random_levels(rng, 1, (12, 16), 0.7)))
        layers.append(Threshold(thresholds=thresholds, directions=directions))
        width = 12
    layers.append(Linear(name="output", weights=random_levels(rng, 1, (4, width), 0.7)))
    scale = rng.uniform(0.5, 2, 4).astype(np.float32)
    layers.append(Readout(scale=scale, offset=rng.normal(size=4).astype(np.float32)))
    network = Network(name="small", input=Input(shape=(16,)), layers=layers)
    assert_same_transitions(Plastic.of(network, RULE), RULE, *stream(5))


@pytest.mark.usefixtures("brian2")
def test_stand_alone_programs_are_refused(brian2, monkeypatch):
    monkeypatch.setattr(brian2, "get_device", object)
    with pytest.raises(SimulationError, match="is set to build a stand-alone program"):
        learn_in_brian2(fresh(Input(shape=(16,)), (5,), 4, RULE), *stream(0), rule=RULE)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"error": "dfa"}, "error is 'dfa'; in Brian2 it must be 'bp' or 'sign'"),
        ({"target": "soft"}, "target is 'soft'; in Brian2 it must be 'rival'"),
        ({"draws": "lfsr"}, "draws is 'lfsr'"),
        ({"centring": "tracked"}, "centring is 'tracked'"),
        ({"batch": 2}, "batch is 2; in Brian2 it must be 1"),
        ({"metaplastic": 1}, "metaplastic is 1"),
        ({"halve_every": 10}, "halve_every is 10; in Brian2 it must be None"),
    ],
)
def test_rules_that_are_not_covered(setting, says):
    rule = dataclasses.replace(RULE, **setting)
    with pytest.raises(LearningError, match=says):
        learn_in_brian2(fresh(Input(shape=(16,)), (5,), 4, rule), *stream(0), rule=rule)


def test_bad_arguments():
    state, (samples, labels) = fresh(Input(shape=(16,)), (5,), 4, RULE), stream(0)
    with pytest.raises(LearningError, match="state is a str, not a Plastic"):
        learn_in_brian2("state", samples, labels, rule=RULE)
    with pytest.raises(LearningError, match="rule is a str, not a Rule"):
        learn_in_brian2(state, samples, labels, rule="rule")
    with pytest.raises(LearningError, match="another number of states than the rule's 63"):
        learn_in_brian2(state, samples, labels, rule=dataclasses.replace(RULE, states=63))
    with pytest.raises(NetworkError, match=r"inputs have shape \[40, 15\]"):
        learn_in_brian2(state, samples[:, 1:], labels, rule=RULE)
    with pytest.raises(LearningError, match="there are no samples to learn"):
        learn_in_brian2(state, samples[:0], labels[:0], rule=RULE)
    with pytest.raises(LearningError, match=r"labels are int64 of shape \[39\]; need 40 integers"):
        learn_in_brian2(state, samples, labels[1:], rule=RULE)
    with pytest.raises(LearningError, match="labels are 1 to 4; they must be 0 to 3"):
        learn_in_brian2(state, samples, labels + 1, rule=RULE)


def test_convolutions_are_refused():
    layers = [
        Conv2d(name="conv", weights=np.ones((2, 1, 3, 3), np.int8)),
        Threshold(thresholds=np.tile([-1, 2], (2, 1))),
        Flatten(),
        Linear(name="output", weights=np.ones((4, 8), np.int8)),
        Readout(),
    ]
    network = Network(name="conv", input=Input(shape=(1, 4, 4)), layers=layers)
    with pytest.raises(LearningError, match="layer 'conv' is a convolution, has a pool or is f"):
        learn_in_brian2(Plastic.of(network, RULE), np.zeros((1, 1, 4, 4), int), [0], rule=RULE)


def test_without_brian2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "brian2", None)
    monkeypatch.setattr("neuromorph.reference.brian2.version", lambda name: version("no-such"))
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[brian2\]'"):
        learn_in_brian2(fresh(Input(shape=(16,)), (5,), 4, RULE), *stream(0), rule=RULE)
