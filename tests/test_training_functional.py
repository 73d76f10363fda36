"""φ_r, its window, draws and the DST step on torch against their NumPy definitions.

Equality is exact, except for the triangular window, whose height torch makes
in float32 and NumPy in float64.
"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph import draws, levels
from neuromorph.errors import LevelError
from neuromorph.levels import Levels
from neuromorph.training import functional
from neuromorph.training.functional import phi, transition, uniform, weight_keys, window

SPACES = [0, 1, 2, 3, 5]


def around(points):
    """float32 values on and next to each point, of both signs."""
    points = np.asarray(points, np.float64).astype(np.float32)
    near = [points, np.nextafter(points, np.float32(9)), np.nextafter(points, np.float32(-9))]
    return np.concatenate([*near, *(-p for p in near), [0.0, -0.0]]).astype(np.float32)


def samples(n, r, a=0.5):
    edges = levels.thresholds(n, r)
    ties = around(np.concatenate([edges, edges - a, edges + a]))
    return np.concatenate([ties, np.random.default_rng(0).normal(size=5000).astype(np.float32)])


@pytest.mark.parametrize("r", [0.0, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", SPACES)
def test_phi_equals_levels(n, r):
    x = samples(n, r)
    ours = phi(torch.tensor(x), n, r=r).numpy() * Levels(n).maximum
    assert np.array_equal(ours, levels.phi(x, n, r))


@pytest.mark.parametrize("n", SPACES)
@pytest.mark.parametrize("pulse", ["rectangular", "triangular"])
@pytest.mark.parametrize(("r", "a"), [(0.5, 0.5), (0.25, 0.5), (0.3, 0.1), (0.0, 1.0)])
def test_gradient_of_phi_is_the_window(n, pulse, r, a):
    # ties only where r ± a is exact in float64, else both sides round as they like
    x = samples(n, r, a) if a != 0.1 else samples(n, r, a)[-5000:]
    wanted = levels.window(x, n, r, a, pulse=pulse)
    leaf = torch.tensor(x, requires_grad=True)
    phi(leaf, n, r=r, a=a, pulse=pulse).sum().backward()
    assert torch.equal(leaf.grad, window(leaf.detach(), n, r=r, a=a, pulse=pulse))
    # float32 rounding of heights up to 1 / a = 10, added over up to 16 pulses
    assert np.allclose(leaf.grad.numpy(), wanted, rtol=1e-5, atol=2e-5)
    if pulse == "rectangular":
        assert np.array_equal(leaf.grad.numpy() != 0, wanted != 0)


def test_gradient_is_scaled_by_what_arrives():
    leaf = torch.tensor([0.5, 2.0], requires_grad=True)
    (3 * phi(leaf, 1)).sum().backward()
    assert leaf.grad.tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("n", "r", "a"), [(2, 1.0, 0.5), (1, -0.1, 0.5), (2, 0.5, 0.0), (9, 0.5, 0.5)]
)
def test_impossible_settings_are_refused(n, r, a):
    leaf = torch.zeros(1, requires_grad=True)
    with pytest.raises(LevelError):
        phi(leaf, n, r=r, a=a).sum().backward()


@pytest.mark.parametrize(
    ("seed", "layer", "step"), [(0, 0, 0), (1, 3, 7), (2**63 + 5, 2**32 - 1, 10**6), (123, 1, 1)]
)
@pytest.mark.parametrize("by_torch", [False, True], ids=["cpu", "other devices"])
def test_draws_equal_numpy_bit_for_bit(seed, layer, step, by_torch, monkeypatch):
    monkeypatch.setattr(functional, "_by_numpy", lambda tensor: not by_torch)
    keys = weight_keys(seed, layer, 70_001, torch.device("cpu"))
    ours = uniform(keys, seed, layer, step).numpy()
    wanted = draws.uniform(seed, layer, step, np.arange(70_001))
    assert ours.dtype == np.float32
    assert np.array_equal(ours, wanted)
    assert np.array_equal(uniform(keys, seed, layer, step).numpy(), wanted)  # keys are left alone


@pytest.mark.parametrize("by_torch", [False, True], ids=["cpu", "other devices"])
@pytest.mark.parametrize("kind", ["tanh", "unbiased"])
@pytest.mark.parametrize("m", [0.5, 3.0, 10.0])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_dst_equals_levels(n, m, kind, by_torch, monkeypatch):
    monkeypatch.setattr(functional, "_by_numpy", lambda tensor: not by_torch)
    rng = np.random.default_rng(n)
    space = Levels(n)
    now = rng.choice(space.levels, 20_000)
    scale = rng.choice([1e-4, 1e-2, 0.3, 3.0], 20_000)
    moves = (rng.normal(size=20_000) * scale).astype(np.float32)
    moves[:100] = 0
    moves[100:200] = rng.choice(space.values, 100)  # whole steps: ν = 0
    draw = draws.uniform(5, n, 1, np.arange(20_000))
    weights = torch.tensor(now / space.maximum, dtype=torch.float32)
    transition(weights, torch.tensor(moves), torch.tensor(draw), n, m=m, kind=kind)
    wanted = levels.dst(now, moves, draw, n, m=m, transition=kind)
    assert np.array_equal(weights.numpy() * space.maximum, wanted)
    assert (wanted != now).any()


def test_increment_that_is_not_a_number_moves_nothing():
    weights = torch.tensor([0.0, 1.0, -1.0])
    transition(weights, torch.full((3,), math.nan), torch.zeros(3), 1)
    assert weights.tolist() == [0.0, 1.0, -1.0]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_transition_frequency_within_four_sigma(n):
    space, count, m = Levels(n), 100_000, 3.0
    keys = weight_keys(11, n, count, torch.device("cpu"))
    for part in (0.05, 0.4):
        weights = torch.full((count,), -1.0)
        draw = uniform(keys, 11, n, 1)
        transition(weights, torch.full((count,), part * space.step), draw, n, m=m)
        wanted = math.tanh(m * part)
        moved = (weights != -1).double().mean().item()
        assert abs(moved - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count)
        assert set(weights.tolist()) <= {-1.0, -1.0 + space.step}
