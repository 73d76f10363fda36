"""The two learners make the same transitions: every step, every mode, any network.

Compared are states, means, spreads, accumulators, shift registers, every recorded transition,
predictions, levels and every count.  What the reference learner does is checked against
independent arithmetic in ``test_learning_rule.py``.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import random_levels, random_threshold
from neuromorph.kernels import learning as kernel
from neuromorph.network import Conv2d, Flatten, Input, Linear, MaxPool2d, Network, Readout
from neuromorph.plasticity import Plastic, Rule, fresh
from neuromorph.reference import learning as reference

PATHS = ["bp", "bp_q8", "bp_q4", "bp_q3", "ternary", "sign", "dfa", "sdfa", "drtp", "readout"]


def ternary_network(rng):
    """A small ternary network: images or vectors, pools on sums or on levels."""
    layers = []
    if rng.random() < 0.5:
        shape = (int(rng.integers(1, 3)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
        now = shape
        for i in range(int(rng.integers(1, 3))):
            kernel_size = [int(rng.integers(1, min(3, s) + 1)) for s in now[1:]]
            padding = [int(rng.integers(0, k)) for k in kernel_size]
            stride = [int(rng.integers(1, 3)) for _ in range(2)]
            out = int(rng.integers(1, 5))
            weights = random_levels(rng, 1, (out, now[0], *kernel_size), 0.7)
            layers.append(Conv2d(name=f"c{i}", weights=weights, stride=stride, padding=padding))
            size = [
                (s + 2 * p - k) // t + 1
                for s, p, k, t in zip(now[1:], padding, kernel_size, stride)
            ]
            threshold = random_threshold(rng, out, 1)
            if min(size) >= 2 and rng.random() < 0.6:
                pool = MaxPool2d(size=(2, 2), stride=(int(rng.integers(1, 3)),) * 2)
                layers += [pool, threshold] if rng.random() < 0.5 else [threshold, pool]
                size = [(s - 2) // pool.stride[0] + 1 for s in size]
            else:
                layers.append(threshold)
            now = (out, *size)
        layers.append(Flatten())
        width = int(np.prod(now))
    else:
        shape = (int(rng.integers(2, 40)),)
        width = shape[0]
    for i in range(int(rng.integers(0, 3))):
        out = int(rng.integers(1, 30))
        layers.append(Linear(name=f"l{i}", weights=random_levels(rng, 1, (out, width), 0.7)))
        layers.append(random_threshold(rng, out, 1))
        width = out
    classes = int(rng.integers(1, 6))
    layers.append(Linear(name="output", weights=random_levels(rng, 1, (classes, width), 0.7)))
    scale = rng.uniform(0.5, 2, classes).astype(np.float32)
    layers.append(Readout(scale=scale, offset=rng.normal(size=classes).astype(np.float32)))
    return Network(name="random", input=Input(shape=shape), layers=layers)


def random_rule(rng, **given):
    settings_ = {
        "states": int(rng.choice([3, 7, 15, 63, 255])),
        "error": str(rng.choice(PATHS)),
        "target": str(rng.choice(["rival", "soft", "hinge"])),
        "margin": int(rng.integers(0, 20)),
        "rate": float(rng.choice([0.05, 0.4, 1.7])),
        "readout_rate": float(rng.choice([0.05, 0.4])),
        "halve_every": None if rng.random() < 0.5 else int(rng.integers(1, 20)),
        "probability": str(rng.choice(["tanh", "linear"])),
        "draws": str(rng.choice(["keyed", "lfsr"])),
        "centring": str(rng.choice(["tracked", "frozen"])),
        "memory": int(rng.integers(1, 6)),
        "pulse": int(rng.integers(0, 40)),
        "dead_zone": int(rng.integers(0, 2)),
        "batch": int(rng.choice([1, 1, 3])),
        "metaplastic": int(rng.choice([0, 0, 3])),
        "seed": int(rng.integers(0, 1 << 40)),
    }
    return Rule(**{**settings_, **given})


def random_state(rng, rule):
    if rng.random() < 0.15:
        entry = Input(shape=(int(rng.integers(1, 3)), *(int(n) for n in rng.integers(6, 9, 2))))
        hidden = rng.integers(1, 25, int(rng.integers(0, 3))).tolist()
        state = fresh(entry, hidden, 4, rule, filters=int(rng.integers(1, 4)))
    elif rng.random() < 0.3:
        hidden = rng.integers(1, 25, int(rng.integers(0, 3))).tolist()
        state = fresh(Input(shape=(int(rng.integers(1, 30)),)), hidden, 4, rule)
    else:
        state = Plastic.of(ternary_network(rng), rule)
    for layer in state.layers:
        layer.stuck[:] = rng.random(layer.stuck.shape) < 0.05
        layer.dead[:] = False if layer.stage.is_readout else rng.random(len(layer.dead)) < 0.05
    return state


def assert_same(a, b):
    assert (a.samples, a.waiting) == (b.samples, b.waiting)
    assert a.registers.tolist() == b.registers.tolist()
    for one, other in zip(a.layers, b.layers):
        for name in ("states", "mean", "offset", "spread", "half", "gradient", "writes"):
            np.testing.assert_array_equal(
                getattr(one, name), getattr(other, name), f"{one.stage.name} {name}"
            )


def assert_same_tally(a, b):
    assert a.predictions.tolist() == b.predictions.tolist()
    assert a.taught == b.taught
    for name in ("levels", "xnor", "active", "packets"):
        for one, other in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_array_equal(one, other, name)
    for one, other in zip(a.counted, b.counted, strict=True):
        for key in one:
            assert one[key].tolist() == other[key].tolist(), key
    if a.moves is not None:
        assert sorted(a.moves.tolist()) == sorted(b.moves.tolist())


def both(rng, rule, samples=12):
    """States and tallies of the two learners after a block, or several."""
    state = random_state(rng, rule)
    twin = state.copy()
    slices = [
        np.sort(rng.integers(0, int(rng.integers(1, 4)), len(p.states))).repeat(
            p.stage.neurons // len(p.states)
        )
        for p in state.layers
    ]
    slices = [np.unique(s, return_inverse=True)[1].astype(np.int32) for s in slices]
    classes = state.layers[-1].stage.neurons
    learners = [reference.Learner(state, rule, slices), kernel.Learner(twin, rule, slices)]
    for _ in range(2):
        inputs = random_levels(rng, 1, (samples, state.input.size), float(rng.choice([0.2, 0.8])))
        labels = rng.integers(0, classes, samples)
        tables = [rule.table(state.samples, i, len(state.layers)) for i in range(len(state.layers))]
        moves = bool(rng.random() < 0.5)  # the kernel has a faster way where none are recorded
        tallies = [learner.run(inputs, labels, tables, moves=moves) for learner in learners]
        for learner in learners:
            learner.store()
        assert_same_tally(*tallies)
        assert_same(state, twin)
    return state


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_learners_make_the_same_transitions(seed):
    rng = np.random.default_rng(seed)
    both(rng, random_rule(rng))


@pytest.mark.parametrize("error", PATHS)
@pytest.mark.parametrize("draws", ["keyed", "lfsr"])
def test_every_path_and_draw(error, draws):
    rng = np.random.default_rng(sum(map(ord, error + draws)))
    for batch in (1, 1, 3):
        rule = random_rule(rng, error=error, draws=draws, batch=batch, rate=0.4, margin=20)
        both(rng, rule)


def test_blocks_do_not_matter():
    """The same samples in one block or in many: the same states."""
    rng = np.random.default_rng(5)
    rule = Rule(states=15, rate=0.4, margin=20)
    whole = fresh(Input(shape=(20,)), [16], 4, rule)
    parts = whole.copy()
    inputs, labels = random_levels(rng, 1, (60, 20), 0.5), rng.integers(0, 4, 60)
    slices = [np.zeros(16, np.int32), np.zeros(4, np.int32)]
    tables = [rule.table(0, i, 2) for i in range(2)]
    learner = kernel.Learner(whole, rule, slices)
    learner.run(inputs, labels, tables)
    learner.store()
    for start, stop in ((0, 1), (1, 31), (31, 60)):
        learner = kernel.Learner(parts, rule, slices)
        learner.run(inputs[start:stop], labels[start:stop], tables)
        learner.store()
    assert_same(whole, parts)


def test_recorded_transitions_lead_from_the_first_state_to_the_last():
    rng = np.random.default_rng(6)
    rule = dataclasses.replace(random_rule(rng), batch=1, error="bp", rate=0.4, margin=20)
    state = fresh(Input(shape=(20,)), [16], 4, rule)
    replayed = [layer.states.copy() for layer in state.layers]
    learner = kernel.Learner(state, rule, [np.zeros(16, np.int32), np.zeros(4, np.int32)])
    inputs, labels = random_levels(rng, 1, (60, 20), 0.5), rng.integers(0, 4, 60)
    tally = learner.run(inputs, labels, [rule.table(0, i, 2) for i in range(2)], moves=True)
    learner.store()
    assert len(tally.moves) == sum(c["transitions"].sum() for c in tally.counted) > 0
    for _, layer, synapse, before, after in tally.moves.tolist():
        assert replayed[layer].flat[synapse] == before
        replayed[layer].flat[synapse] = after
    for layer, states in zip(state.layers, replayed):
        np.testing.assert_array_equal(layer.states, states)
