"""Hidden-weight baselines: what they make of a real weight, and what they send back to it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph import draws
from neuromorph.errors import RecipeError
from neuromorph.training import DST, DiscreteConv2d, DiscreteLinear, parameter_groups
from neuromorph.training.hidden import quantize_hidden


def weights(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_sign_of_zero_is_plus_one():
    levels, factor = quantize_hidden(torch.tensor([[0.0, -0.0, -1e-30, 0.3]]), "sign")
    assert levels.tolist() == [[1.0, 1.0, -1.0, 1.0]]
    assert factor is None


@pytest.mark.parametrize("shape", [(7, 30), (5, 3, 2, 4)])
def test_bwn_is_the_best_scaled_sign(shape):
    """No other factor and no other signs approximate w better (XNOR-Net, §3.1)."""
    w = weights(shape)
    levels, factor = quantize_hidden(w, "bwn")
    flat, signs = w.flatten(1).numpy(), levels.flatten(1).numpy()
    assert set(np.unique(signs)) == {-1.0, 1.0}
    best = ((flat - factor.numpy()[:, None] * signs) ** 2).sum(1)
    for other in (0.9, 0.99, 1.01, 1.1):
        assert (((flat - other * factor.numpy()[:, None] * signs) ** 2).sum(1) > best).all()
    flipped = signs.copy()
    flipped[:, 0] *= -1
    assert (((flat - factor.numpy()[:, None] * flipped) ** 2).sum(1) > best).all()


def test_twn_by_the_definition_in_numpy():
    w = weights((6, 5, 3, 3))
    levels, factor = quantize_hidden(w, "twn")
    for row, q, a in zip(w.flatten(1).double().numpy(), levels.flatten(1).numpy(), factor.numpy()):
        delta = 0.7 * np.abs(row).mean()
        above = np.abs(row) > delta
        assert np.array_equal(q, np.sign(row) * above)
        assert a == pytest.approx(np.abs(row[above]).mean(), rel=1e-6)  # float32 means


def test_twn_of_zeros_is_zero_and_sends_nothing_back():
    w = torch.zeros(2, 4, requires_grad=True)
    levels, factor = quantize_hidden(w, "twn")
    assert levels.tolist() == [[0.0] * 4] * 2
    (levels * factor[:, None]).sum().backward()
    assert torch.isfinite(w.grad).all()


@pytest.mark.parametrize("method", ["sign", "bwn", "twn"])
def test_gradient_is_that_of_the_scaled_weight(method):
    """dL/dw := dL/d(αq), by torch's own product rule with α held."""
    w = weights((4, 9)).requires_grad_()
    x = weights((3, 9), 1)
    target = weights((3, 4), 2)
    levels, factor = quantize_hidden(w, method)
    sums = x @ levels.T
    ((sums if factor is None else sums * factor) * target).sum().backward()
    used = (levels if factor is None else levels * factor[:, None]).detach().requires_grad_()
    ((x @ used.T) * target).sum().backward()
    torch.testing.assert_close(w.grad, used.grad, rtol=1e-5, atol=1e-6)  # order of float32 products


def test_stochastic_sign_draws_by_its_key_and_is_deterministic_in_evaluation():
    layer = DiscreteLinear(40, 30, 0, method="stochastic")
    layer.reset(5, 2)
    first, _ = layer.quantized()
    draw = draws.uniform(5, 2 + 0x10000, 1, np.arange(1200)).reshape(30, 40)
    wanted = np.where(draw < (layer.weight.detach().numpy() + 1) / 2, 1.0, -1.0)
    assert np.array_equal(first.detach().numpy(), wanted)
    assert not torch.equal(layer.quantized()[0], first)  # the next step draws anew
    layer.eval()
    assert torch.equal(layer.quantized()[0] >= 0, layer.weight >= 0)
    assert torch.equal(layer.quantized()[0], layer.quantized()[0])


def test_stochastic_sign_has_the_right_frequency():
    layer = DiscreteLinear(200, 500, 0, method="stochastic")
    layer.reset(1, 0)
    with torch.no_grad():
        layer.weight.fill_(0.4)
    share = (layer.quantized()[0] > 0).double().mean().item()
    assert abs(share - 0.7) < 4 * (0.7 * 0.3 / 100_000) ** 0.5  # 4 sigma of a fraction


@pytest.mark.parametrize("method", ["sign", "bwn", "twn"])
def test_hidden_weights_stay_inside_the_unit_interval(method):
    layer = DiscreteConv2d(2, 3, 3, n=1 if method == "twn" else 0, method=method)
    layer.reset(3, 0)
    optimizer = DST(parameter_groups(layer), 0.9, seed=3)
    for number in range(20):
        generator = torch.Generator().manual_seed(number)
        layer.weight.grad = torch.randn(layer.weight.shape, generator=generator)
        optimizer.step()
    assert layer.weight.abs().max() == 1.0
    assert len(layer.weight.unique()) > 20  # real, not discrete
    assert set(layer.levels.unique().tolist()) <= {-1, 0, 1}


def test_float_weights_have_no_limit():
    layer = DiscreteLinear(6, 4, None)
    layer.reset(0, 0)
    optimizer = DST(parameter_groups(layer), 2.0, increments="sgd")
    layer.weight.grad = torch.full((4, 6), -1.0)
    before = layer.weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(layer.weight, before + 2)


def test_float_weights_start_with_the_variance_of_a_relu_network():
    layer = DiscreteLinear(50, 4000, None)
    layer.reset(7, 0)
    # the variance of a variance of uniforms is 4/5 σ⁴ / n; four sigma of it
    assert layer.weight.var().item() == pytest.approx(2 / 50, rel=4 * (0.8 / 200_000) ** 0.5)


def test_a_method_that_cannot_make_the_space_is_refused():
    with pytest.raises(
        RecipeError, match="method 'twn' cannot make weights of Z_0; use one of dst, sign"
    ):
        DiscreteLinear(2, 2, 0, method="twn")
