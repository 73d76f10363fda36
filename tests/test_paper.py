"""The numbered equations of docs/paper.md, each against arithmetic of its own.

Oracles are exact fractions, loops that follow the equation, closed forms, or NumPy;
none is our code.  Statistical tests allow 4σ of their sample and use fixed seeds.
"""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromorph as nm
from neuromorph import draws
from neuromorph.levels import (
    Levels,
    boundary,
    dst,
    phi,
    project,
    split,
    thresholds,
    transition_probability,
    window,
)
from neuromorph.network import Input, Linear, Network, Readout, Threshold

MODES = ("reference", "count", "timed")


def states(n):
    """Z_N as fractions, by equation (1)."""
    return [Fraction(i, 1) / Fraction(2) ** (n - 1) - 1 for i in range(2**n + 1)]


def within(found, probability, count):
    """Whether a frequency is within 4σ of its probability."""
    return abs(found - probability) <= 4 * math.sqrt(probability * (1 - probability) / count)


def one_layer(weights, **entry):
    """A network that only sums: one linear layer, read out."""
    weights = np.asarray(weights)
    layer = Linear(name="sums", weights=weights, **entry)
    return Network(name="sums", input=Input(shape=(weights.shape[1],)), layers=[layer, Readout()])


def run(network, levels, mode="count"):
    return nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), levels, mode=mode)


# --- §1


@pytest.mark.parametrize("n", range(9))
def test_eq_1_and_2_states_and_step(n):
    wanted, space = states(n), Levels(n)
    assert [Fraction(v) for v in space.values.tolist()] == wanted
    assert space.size == len(wanted) == len(set(wanted)) == 2**n + 1
    assert {b - a for a, b in pairwise(wanted)} == {Fraction(space.step)}
    assert Fraction(space.step) == Fraction(2) / 2**n
    assert np.array_equal(space.values.astype(np.float32), space.values), "exact in float32"
    assert [Fraction(int(k), space.maximum) for k in space.levels] == wanted
    assert {b - a for a, b in pairwise(space.levels.tolist())} == {space.stride}
    assert space.has_zero == (0 in wanted)


# --- §2


def fire(x, n, r):
    """φ_r(x) · K of one number, interval by interval."""
    if n == 0:
        return 1 if x >= 0 else -1
    k, x, r = 2 ** (n - 1), Fraction(x), Fraction(r)
    magnitude = 0
    for omega in range(1, k + 1):
        low = r + (omega - 1) * (1 - r) / k
        high = r + omega * (1 - r) / k
        if low < abs(x) and (abs(x) <= high or omega == k):
            magnitude = omega
    return magnitude if x > 0 else -magnitude


# multiples of 1/16, so that thresholds for K up to 8 are exact and can be met
@pytest.mark.parametrize("r", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_eq_3_to_5_activation(n, r):
    edges = thresholds(n, r)
    near = [np.nextafter(edges, 9), np.nextafter(edges, -9), edges, edges + 0.01]
    x = np.concatenate([*near, [0.0, 1.0, 1.5, 1e30, np.inf], np.linspace(-2, 2, 129)])
    x = np.concatenate([x, -x])
    wanted = [
        fire(v, n, r) if math.isfinite(v) else int(math.copysign(Levels(n).maximum, v)) for v in x
    ]
    assert phi(x, n, r).tolist() == wanted
    assert phi(x, n, r).dtype == Levels(n).dtype


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_eq_4_thresholds_are_equally_spaced_from_r_to_h(n):
    for r, h in [(0.5, 1.0), (0.1, 1.0), (0.0, 2.0)]:
        edges, k = thresholds(n, r, h), 2 ** (n - 1)
        wanted = [Fraction(r) + (w - 1) * (Fraction(h) - Fraction(r)) / k for w in range(1, k + 1)]
        # three roundings of numbers below 2
        assert np.abs(edges - np.array(wanted, float)).max() < 1e-15
    assert thresholds(0, 0.5).tolist() == [0.0]


def test_eq_3_window_of_a_ternary_neuron_may_reach_beyond_one():
    assert phi([-1.6, -1.5, 1.4, 1.6], 1, r=1.5).tolist() == [-1, 0, 0, 1]


@given(
    n=st.integers(1, 8),
    r=st.floats(0, 0.99),
    x=st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=20),
)
def test_eq_5_is_odd_monotone_and_inside_its_space(n, r, x):
    x = np.sort(np.array(x))
    fired = phi(x, n, r).astype(int)
    assert np.array_equal(phi(-x, n, r), -fired)
    assert (np.diff(fired) >= 0).all()
    assert np.abs(fired).max() <= 2 ** (n - 1)


@pytest.mark.parametrize(("r", "share"), [(0.5, 0.383), (1.0, 0.683)])
def test_eq_3_share_of_zeros_of_a_unit_normal(r, share):
    wanted = math.erf(r / math.sqrt(2))  # 2Φ(r) − 1
    assert round(wanted, 3) == share
    x = np.random.default_rng(1).normal(size=200_000)
    assert within((phi(x, 1, r) == 0).mean(), wanted, len(x))


# --- §3

CELLS = 1024  # cells of the midpoint rule in a unit; all kinks below lie on their borders


def area(low, high, **settings):
    """∫ window dx; exact, since the window is linear in every cell."""
    x = low + (np.arange(round((high - low) * CELLS)) + 0.5) / CELLS
    return window(x, **settings).sum() / CELLS


@pytest.mark.parametrize("pulse", ["rectangular", "triangular"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_eq_6_to_8_every_pulse_has_the_area_of_its_jump(n, pulse):
    k, r, a = 2 ** (n - 1), 0.5, 1 / 32  # thresholds are at least 1/8 apart
    for edge in thresholds(n, r):
        settings = {"n": n, "r": r, "a": a, "pulse": pulse}
        for sign in (1, -1):
            middle = sign * edge
            found = area(middle - a, middle + a, **settings)
            assert found == pytest.approx(1 / k, rel=1e-12)
            found = area(middle - a, middle + a, normalize="unit", **settings)
            assert found == pytest.approx(1, rel=1e-12)
        assert not window([edge - a - 1e-9, edge + a + 1e-9], **settings).any()
    assert area(0, 3, n=n, r=r, a=0.25, pulse=pulse) == pytest.approx(1, rel=1e-12)  # overlapping


@pytest.mark.parametrize("n", [1, 2, 3])
def test_eq_6_and_7_shapes(n):
    r, a = 0.5, 0.25
    x = np.linspace(-2, 2, 401)
    for pulse in ("rectangular", "triangular"):
        wanted = []
        for value in np.abs(x):
            total = 0.0
            for edge in thresholds(n, r):
                u = abs(value - edge)
                if u <= a:
                    total += 1 / (2 * a) if pulse == "rectangular" else (a - u) / a**2
            wanted.append(total / 2 ** (n - 1))
        # sums of up to four pulses in another order
        assert np.allclose(window(x, n, r, a, pulse=pulse), wanted, rtol=1e-13, atol=1e-13)


def test_eq_8_binary_with_a_1_is_the_hard_tanh_estimator():
    x = np.concatenate([np.linspace(-3, 3, 601), [np.nextafter(1, 2), -np.nextafter(1, 2)]])
    assert np.array_equal(window(x, 0, a=1.0), np.where(np.abs(x) <= 1, 1.0, 0.0))
    assert area(-3, 3, n=0, a=1.0, pulse="triangular") == pytest.approx(2, rel=1e-12)


def test_eq_3_and_6_are_the_authors_composite():
    """round(hs(2(x−1)) + hs(2(x+1)) − 1), derivative taken through the rounding."""

    def inner(x):
        def hs(u):
            return np.clip((u + 1) / 2, 0, 1)

        return hs(2 * (x - 1)) + hs(2 * (x + 1)) - 1

    x = (np.arange(-3 * 64, 3 * 64) + 0.5) / 64  # never on a tie or a kink
    value = inner(x)
    rounded = np.sign(value) * np.floor(np.abs(value) + 0.5)  # half away from zero
    assert np.array_equal(phi(x, 1, r=1.0), rounded)
    reach = 1 / 256  # both ends on the same straight piece
    slope = (inner(x + reach) - inner(x - reach)) / (2 * reach)
    assert np.array_equal(window(x, 1, r=1.0, a=0.5), slope)


# --- §4


@given(n=st.integers(0, 8), place=st.integers(0, 256), increment=st.floats(allow_nan=False))
def test_eq_9_boundary(n, place, increment):
    value = float(states(n)[place % (2**n + 1)])
    rho = float(boundary(value, increment))
    assert -1 <= value + rho <= 1
    assert abs(rho) <= abs(increment)
    assert rho * increment >= 0 or rho == 0
    if abs(increment) <= 2 and -1 <= Fraction(value) + Fraction(increment) <= 1:
        assert rho == increment
    elif increment > 0:
        assert value + rho == 1
    else:
        assert value + rho == -1


@given(n=st.integers(0, 8), rho=st.floats(-2, 2))
def test_eq_10_split(n, rho):
    step = Fraction(2) / 2**n
    kappa, nu = split(rho, float(step))
    assert int(kappa) == math.trunc(Fraction(rho) / step)
    assert Fraction(float(nu)) == Fraction(rho) - int(kappa) * step
    assert abs(Fraction(float(nu))) < step
    assert nu * rho >= 0


@given(
    n=st.integers(0, 8),
    m=st.floats(0.1, 10),
    rho=st.floats(-2, 2),
    draw=st.integers(0, 2**24 - 1),
)
def test_eq_11_and_12_projection(n, m, rho, draw):
    step, draw = 2.0 / 2**n, draw / 2**24
    kappa = math.trunc(Fraction(rho) / Fraction(step))
    tau = math.tanh(m * abs(rho - kappa * step) / step)
    if abs(tau - draw) < 1e-15:
        return  # math.tanh and np.tanh may differ in the last bit
    sign = (rho > 0) - (rho < 0)
    assert project(rho, draw, step, m) == kappa + sign * (draw < tau)


@pytest.mark.parametrize("part", [0.03, 0.2, 0.7])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_eq_12_frequency_of_transitions(n, part):
    count, m = 100_000, 3.0
    wanted = math.tanh(m * part)
    for sign in (1, -1):
        start = np.full(count, -sign * Levels(n).maximum)
        increments = np.full(count, sign * part * Levels(n).step)
        for uniform in (
            np.random.default_rng(n).random(count),
            draws.uniform(n + 5, 2, 3, np.arange(count)),
        ):
            moved = dst(start, increments, uniform, n, m=m)
            assert set(moved.tolist()) == {start[0], start[0] + sign * Levels(n).stride}
            assert within((moved != start).mean(), wanted, count)


def test_eq_12_unbiased_moves_by_the_increment_on_average():
    uniform, part = np.random.default_rng(0).random(200_000), 0.3
    moved = dst(np.zeros(200_000, int), np.full(200_000, part), uniform, 1, transition="unbiased")
    assert within(moved.mean(), part, 200_000)
    assert transition_probability([0.3, -0.3], 0.5, transition="unbiased").tolist() == [0.6, 0.6]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_section_4_weights_never_leave_their_space(n):
    steps, count, rng = 10_000, 16, np.random.default_rng(n)
    allowed = [int(value * Levels(n).maximum) for value in states(n)]
    increments = rng.normal(size=(steps, count)) * rng.choice([0.01, 0.3, 3.0], (steps, count))
    uniform = rng.random((steps, count))
    seen = np.empty((steps, count), int)
    levels = rng.choice(allowed, count)
    for step in range(steps):
        levels = seen[step] = dst(levels, increments[step], uniform[step], n)
    assert sorted(set(seen.ravel().tolist())) == allowed  # all of Z_N, and nothing else
    assert ((seen[1:] != seen[:-1]).sum(axis=0) > 100).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8])
def test_section_4_clipping_first_or_last_is_the_same(n):
    rng, count = np.random.default_rng(n), 50_000
    values = np.array(states(n), float)
    step = float(2 / Fraction(2) ** n)
    weights = rng.choice(values, count)
    moves = rng.normal(size=count) * rng.choice([0.01, 0.3, 3.0], count)
    moves[:1000] = rng.integers(-4, 5, 1000) * step  # whole steps
    uniform = rng.random(count)
    whole = np.trunc(moves / step)
    more = uniform < np.tanh(3.0 * np.abs(moves - whole * step) / step)
    last = np.clip(weights + (whole + np.sign(moves) * more) * step, -1, 1)
    k = Levels(n).maximum
    first = dst((weights * k).astype(int), moves, uniform, n)
    assert np.array_equal(first / k, last)
    assert (np.abs(weights + moves) > 1).sum() > 1000, "nothing to clip"


@pytest.mark.parametrize("n", range(9))
def test_section_4_no_increment_no_move(n):
    levels = Levels(n).levels
    for nothing in (0.0, -0.0, np.nan):
        moved = dst(levels, np.full(len(levels), nothing), np.zeros(len(levels)), n)
        assert np.array_equal(moved, levels)


def test_section_4_several_steps_in_one_update():
    assert dst([-1, 1, -1], [1.5, -1.5, 9.0], [0.0, 0.0, 0.99], 1).tolist() == [1, -1, 1]
    assert dst([-1, -1], [1.5, 1.5], [0.0, 0.99], 1).tolist() == [1, 0]


def test_section_4_same_key_same_transitions_in_any_order():
    rng, count = np.random.default_rng(0), 1000
    levels, moves = rng.integers(-1, 2, count), rng.normal(size=count) * 0.3
    once = dst(levels, moves, draws.uniform(7, 1, 5, np.arange(count)), 1)
    order = rng.permutation(count)
    again = dst(levels[order], moves[order], draws.uniform(7, 1, 5, order), 1)
    assert np.array_equal(again, once[order])
    other = dst(levels, moves, draws.uniform(7, 1, 6, np.arange(count)), 1)
    assert (other != once).any()


# --- §5 and §6


@pytest.mark.parametrize("mode", MODES)
def test_section_5_a_binary_network_has_no_zero(mode):
    rng = np.random.default_rng(0)
    network = Network(
        name="binary",
        input=Input(shape=(20,)),
        layers=[
            Linear(name="a", weights=rng.choice([-1, 1], (16, 20)), n=0),
            Threshold(thresholds=np.zeros((16, 1), int), n=0),
            Linear(name="b", weights=rng.choice([-1, 1], (4, 16)), n=0),
            Readout(),
        ],
    )
    found = run(network, rng.choice([-1, 1], (30, 20)), mode)
    assert set(found.levels("a").ravel().tolist()) == {-1, 1}
    assert found.counts.resting_fraction == 0.0


def test_section_5_sums_of_zero_fire_plus_one_in_a_binary_network():
    network = Network(
        name="tie",
        input=Input(shape=(2,)),
        layers=[
            Linear(name="a", weights=[[1, 1]], n=0),
            Threshold(thresholds=[[0]], n=0),
            Linear(name="b", weights=[[1]], n=0),
            Readout(),
        ],
    )
    assert run(network, [[1, -1]]).outputs.tolist() == [[1]]
    assert phi([0.0, -0.0], 0).tolist() == [1, 1]


@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 100, 127, 128, 129, 191, 200])
def test_eq_14_and_15_bit_planes(length):
    rng = np.random.default_rng(length)
    weights, levels = rng.integers(-1, 2, (6, length)), rng.integers(-1, 2, (9, length))

    def planes(vector):
        sign = sum(1 << i for i, v in enumerate(vector) if v > 0)
        return sign, sum(1 << i for i, v in enumerate(vector) if v != 0)

    wanted, enabled = [], 0
    for x in levels:
        s_x, e_x = planes(x)
        row = []
        for w in weights:
            s_w, e_w = planes(w)
            e = e_w & e_x
            agree = ~(s_w ^ s_x) & e
            row.append(2 * agree.bit_count() - e.bit_count())
            enabled += e.bit_count()
        wanted.append(row)
    assert wanted == (levels @ weights.T).tolist()
    found = run(one_layer(weights), levels)
    assert found.outputs.tolist() == wanted
    assert found.counts.total("xnor_event") == found.counts.events == enabled


# 7 inputs × 3 neurons, 9 enabled synapses, none of the third neuron
GATE = [[1, -1, 1, 0, 1, -1, 0], [-1, -1, 1, 1, -1, 0, 1], [0, 0, 0, 1, 0, 0, 1]]
GATE_LEVELS = [1, -1, 1, 0, -1, 1, 0]


@pytest.mark.parametrize("mode", MODES)
def test_section_6_gate_with_21_synapses(mode):
    enabled = [[w != 0 and x != 0 for w, x in zip(row, GATE_LEVELS)] for row in GATE]
    assert [sum(row) for row in enabled] == [5, 4, 0]
    found = run(one_layer(GATE), [GATE_LEVELS], mode)
    counts = found.counts
    assert found.outputs.tolist() == [
        [sum(w * x for w, x in zip(row, GATE_LEVELS)) for row in GATE]
    ]
    assert counts.pairs.sum() == 21
    assert counts.total("xnor_event") == counts.total("acc_add") == 9
    assert counts.total("graded_event") == 0
    silent = sum(x == 0 for x in GATE_LEVELS)
    assert counts.total("skip_act") == 3 * silent
    assert counts.total("skip_weight") == 21 - 9 - 3 * silent
    assert counts.total("neuron_update_active") == 2
    assert counts.total("neuron_update_idle") == 1
    assert counts.resting_fraction == pytest.approx(12 / 21, abs=1e-15)
    assert f"{counts.resting_fraction:.1%}" == "57.1%"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "share"), [(1, 0.556), (2, 0.360), (3, 0.210)])
def test_eq_13_uniform_states_rest(n, share, mode):
    inputs, neurons, samples = 200, 150, 60
    states_of = 2**n + 1
    wanted = 1 - (1 - Fraction(1, states_of)) ** 2
    assert round(float(wanted), 3) == share
    rng = np.random.default_rng(n)
    top = 2 ** (n - 1)
    weights = rng.integers(-top, top + 1, (neurons, inputs))
    levels = rng.integers(-top, top + 1, (samples, inputs))
    network = Network(
        name="uniform",
        input=Input(shape=(inputs,), encoding="graded", bits=n),
        layers=[Linear(name="sums", weights=weights, n=n), Readout()],
    )
    counts = run(network, levels, mode).counts
    events = int(((weights != 0).astype(int) @ (levels != 0).T).sum())
    assert counts.events == events
    assert counts.resting_fraction == pytest.approx(1 - events / (inputs * neurons * samples))
    # events are about (share of weights) × (share of levels): errors of both, first order
    p = 1 - 1 / states_of
    sigma = p * math.sqrt(p * (1 - p) * (1 / weights.size + 1 / levels.size))
    assert abs(counts.resting_fraction - wanted) < 4 * sigma


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("gamma", [Fraction(2, 3), Fraction(-2, 3), Fraction(0)])
def test_eq_16_batch_norm_as_integer_thresholds(n, gamma):
    """Sums −30 … 30 fire as φ_r of batch norm in exact fractions says."""
    mean, sigma, beta, r = Fraction(7, 2), Fraction(9), Fraction(1, 5), 0.5
    sums = range(-30, 31)

    def level(s):
        return fire(gamma * (s - mean) / sigma + beta, n, r)

    direction = -1 if gamma < 0 else 1
    never, always = 2**31 - 1, -(2**31)
    edges = []
    for goal in Levels(n).levels[1:].tolist():
        reached = [direction * s for s in sums if level(s) >= goal]
        edges.append(never if not reached else min(reached) if len(reached) < 61 else always)
    network = Network(
        name="folded",
        input=Input(shape=(30,)),
        layers=[
            Linear(name="sum", weights=np.ones((1, 30), int)),
            Threshold(thresholds=[edges], directions=[direction], n=n),
            Linear(name="copy", weights=[[1]]),
            Readout(),
        ],
    )
    samples = [[int(math.copysign(1, s))] * abs(s) + [0] * (30 - abs(s)) for s in sums]
    for mode in MODES:
        assert run(network, samples, mode).outputs.ravel().tolist() == [level(s) for s in sums]


# --- §7


def test_eq_17_loss():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from neuromorph.training.loss import squared_hinge

    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(5, 4)) * 2, [0, 3, 1, 1, 2]
    wanted = 0.0
    for row, label in zip(scores, labels):
        for c, y in enumerate(row):
            wanted += max(0.0, 1 - (1 if c == label else -1) * y) ** 2 / 20
    found = squared_hinge(torch.tensor(scores), torch.tensor(labels)).item()
    assert found == pytest.approx(wanted, rel=1e-12)
