"""Adam's moments in 8 bits: how far they are from the float ones, and what they never do."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.training import DST, DiscreteLinear, parameter_groups
from neuromorph.training.moments import BITS, load, store


def stored(first, second, draw=0.5):
    state = {}
    store(state, first, second, torch.full((first.numel(),), draw))
    return state


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_moments_come_back_within_one_step_of_the_block_scale(count):
    generator = torch.Generator().manual_seed(count)
    first = torch.randn(count, generator=generator)
    second = torch.rand(count, generator=generator)
    again, square = load(stored(first, second), first)
    for start in range(0, count, 256):
        block = slice(start, start + 256)
        assert (again - first)[block].abs().max() <= first[block].abs().max() / 127
        gap = square[block].sqrt() - second[block].sqrt()
        assert gap.max() <= second[block].sqrt().max() / 255 * 1.0001  # float32
        assert gap.min() >= -1e-6  # rounded up, so that no increment grows


def test_rounding_of_the_first_moment_has_no_bias():
    first = torch.full((1024,), 0.3)
    first[::256] = 1.0  # the scale of each block
    total = torch.zeros(1024)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        state = {}
        store(state, first, first**2, torch.rand(1024, generator=generator))
        total += load(state, first)[0]
    mean = (total / 400)[first == 0.3].mean().item()
    # 0.3·127 = 38.1: one step up in a tenth of the draws, sd 0.3/127; four sigma of the mean
    assert mean == pytest.approx(0.3, abs=4 * 0.3 / 127 / (400 * 1020) ** 0.5)


def test_state_is_what_the_optimizer_says():
    layer = DiscreteLinear(64, 40)
    layer.reset(1, 0)
    optimizer = DST(parameter_groups(layer), 0.1, increments="adam8")
    layer.weight.grad = torch.ones(40, 64)
    optimizer.step()
    state = optimizer.state[layer.weight]
    bits = 8 * sum(state[k].numel() * state[k].element_size() for k in ("first", "second"))
    assert bits == optimizer.state_bits * 40 * 64 == 2 * BITS * 40 * 64
    assert state["first_scale"].numel() == 10  # one float32 for 256 weights


def test_adam8_moves_nearly_like_adam():
    moved = {}
    for rule in ("adam", "adam8"):
        layer = DiscreteLinear(100, 100)
        layer.reset(1, 0)
        start = layer.weight.detach().clone()
        optimizer = DST(parameter_groups(layer), 0.05, increments=rule, betas=(0.9, 0.99), seed=1)
        generator = torch.Generator().manual_seed(0)
        drift = torch.randn(100, 100, generator=generator)
        for _ in range(30):
            layer.weight.grad = drift + torch.randn(100, 100, generator=generator)
            optimizer.step()
        moved[rule] = (layer.weight - start).detach().flatten()
        assert torch.isfinite(layer.weight).all()
    assert torch.corrcoef(torch.stack(list(moved.values())))[0, 1] > 0.8  # same draws, same way


def test_a_block_without_gradient_stays_put():
    layer = DiscreteLinear(256, 2)
    layer.reset(1, 0)
    start = layer.weight.detach().clone()
    optimizer = DST(parameter_groups(layer), 0.5, increments="adam8")
    for _ in range(3):
        layer.weight.grad = torch.stack([torch.zeros(256), torch.ones(256)])
        optimizer.step()
    assert torch.equal(layer.weight[0], start[0])
    assert not torch.equal(layer.weight[1], start[1])
