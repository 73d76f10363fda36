"""Loss-aware quantisers against brute force, and on the layers."""

from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.errors import NetworkError, RecipeError
from neuromorph.training import (
    DST,
    DiscreteLinear,
    export,
    parameter_groups,
    parse_recipe,
    quantize,
)
from neuromorph.training.dst import share_curvature
from neuromorph.training.hidden import quantize_hidden
from neuromorph.training.lossaware import curvature, quantize_by_loss
from neuromorph.training.train import train

EXACT = ("lab", "lat_exact", "lat2_exact", "laq_linear", "laq_log")


def levels_of(method, n):
    if method == "lab":
        return (-1, 1)
    if method.startswith("lat"):
        return (-1, 0, 1)
    magnitudes = range(1, 1 << (n - 1)) if method == "laq_linear" else [1 << e for e in range(n)]
    return tuple(sorted({0, *magnitudes, *(-m for m in magnitudes)}))


def brute_force(w, d, method, n):
    """Least Σ d(αb − w)² over every b, each with its best α ≥ 0 (two for ``lat2``), float64."""
    choices = np.array(list(product(levels_of(method, n), repeat=len(w))), dtype=np.float64)
    left = np.full(len(choices), (d * w * w).sum())
    sides = (choices > 0, choices < 0) if method.startswith("lat2") else (choices != 0,)
    for side in sides:
        b = choices * side
        top, bottom = np.maximum((d * b * w).sum(1), 0), (d * b * b).sum(1)
        left -= np.divide(top**2, bottom, out=np.zeros_like(top), where=bottom > 0)
    return left.min()


def objective(w, d, method, n):
    values, factor = quantize_by_loss(torch.tensor(w)[None], torch.tensor(d)[None], method, n)
    used = values[0] if factor is None else values[0] * factor[0]
    return float((d * (used.numpy() - w) ** 2).sum())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("method", "length", "n"),
    [
        ("lab", 12, 0),
        ("lat_exact", 8, 1),
        ("lat2_exact", 8, 1),
        ("laq_linear", 5, 3),
        ("laq_linear", 8, 2),
        ("laq_log", 5, 3),
        ("laq_log", 4, 4),
    ],
)
def test_no_other_levels_and_scale_are_better(method, length, n, seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=length) * (1 if seed else 0.01)
    d = rng.uniform(0.01, 1, length) ** 3
    best = brute_force(w, d, method, n)
    assert objective(w, d, method, n) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("method", ["lat_approx", "lat2_approx"])
def test_the_alternation_is_near_the_minimum_and_never_below(method):
    excess = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        w, d = rng.normal(size=8), rng.uniform(0.01, 1, 8)
        best = brute_force(w, d, method, 1)
        found = objective(w, d, method, 1)
        assert found >= best - 1e-9
        excess.append(found / best - 1)
    # a local minimum: for most of these vectors the global one, for a few clearly above it
    assert np.median(excess) < 1e-6
    assert max(excess) < 3


def test_ternary_levels_are_exactly_the_enumerated_ones():
    """One worked example by hand: α = (4·2 + 1·1.5) / 5 keeps the first two."""
    w, d = torch.tensor([[2.0, -1.5, 0.3]]), torch.tensor([[4.0, 1.0, 1.0]])
    values, factor = quantize_by_loss(w, d, "lat_exact")
    assert values.tolist() == [[1, -1, 0]]
    assert factor.item() == pytest.approx(1.9)


@pytest.mark.parametrize("method", EXACT)
def test_the_scale_of_the_curvature_plays_no_part(method):
    """So neither does Adam's bias correction."""
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(5, 30, generator=generator)
    d = torch.rand(5, 30, generator=generator) + 0.01
    n = 3 if method.startswith("laq") else 1
    one, two = (quantize_by_loss(w, d * scale, method, n) for scale in (1, 1024))
    assert torch.equal(one[0], two[0])
    if one[1] is not None:
        torch.testing.assert_close(one[1], two[1])


def test_constant_curvature_is_bwn():
    w = torch.randn(6, 40, generator=torch.Generator().manual_seed(2))
    levels, factor = quantize_hidden(w, "lab", d=torch.full_like(w, 0.3))
    wanted, mean = quantize_hidden(w, "bwn")
    assert torch.equal(levels, wanted)
    torch.testing.assert_close(factor, mean)


def test_zeros_have_scale_zero():
    for method in ("lat_exact", "lat_approx", "lat2_exact", "laq_log"):
        values, factor = quantize_by_loss(torch.zeros(2, 5), torch.ones(2, 5), method, 3)
        assert not values.any()
        assert factor is None or not factor.any()


def test_an_unknown_method_is_refused():
    with pytest.raises(RecipeError, match="method is 'lax'; use one of lab, lat_exact"):
        quantize_by_loss(torch.ones(1, 2), torch.ones(1, 2), "lax")


@pytest.mark.parametrize("increments", ["adam", "adam8"])
def test_curvature_is_the_second_moment_the_optimizer_keeps(increments):
    layer = DiscreteLinear(30, 4, 1, method="lat_exact")
    layer.reset(1, 0)
    first = layer.quantized()[0].clone()
    torch.testing.assert_close(curvature(layer.second), torch.full((4, 30), 1e-8))  # nothing yet
    optimizer = DST(parameter_groups(layer), 0.01, increments=increments, betas=(0.9, 0.999))
    gradient = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) ** 3
    layer.weight.grad = gradient
    optimizer.step()
    share_curvature(layer, optimizer)
    # one step of Adam from zero, by its definition; 8 bits keep √v to 1/255 of the largest
    loose = {"adam": 1e-6, "adam8": 2 * gradient.abs().max().item() / 255}[increments]
    # and each side rounds a few times, by half of 2⁻²³ at most
    torch.testing.assert_close(
        layer.second.sqrt(), (0.001 * gradient**2).sqrt(), rtol=2**-22, atol=loose * 0.001**0.5
    )
    assert not torch.equal(layer.quantized()[0], first)


TEXT = """
name = "tiny"
layers = [{{ kind = "linear", features = 20 }}]
[data]
name = "digits"
[input]
encoding = "ternary"
thresholds = [5, 11]
[levels]
weights = {weights}
activations = {activations}
method = "{method}"
[optimizer]
rate = 0.01
[training]
epochs = 2
"""


@pytest.mark.parametrize(
    ("method", "weights"),
    [("lab", 0), ("lat_exact", 1), ("lat_approx", 1), ("laq_linear", 3), ("laq_log", 3)],
)
def test_scales_fold_into_thresholds(method, weights, tmp_path):
    """The integer network fires torch's levels on every test image: export compares them all."""
    recipe = parse_recipe(TEXT.format(weights=weights, activations=1, method=method))
    trained = train(recipe, seed=1, out=tmp_path, progress=False)
    network = export(trained.model, load_data("digits").test_images, name="tiny")
    found = set(np.unique(network.stages[0].weights).tolist())
    assert found <= set(levels_of(method, weights))
    assert trained.model.stages[0].synapses.second.max() > 0


def test_two_scales_are_refused_and_become_integers_by_quantisation(tmp_path):
    recipe = parse_recipe(TEXT.format(weights=1, activations=1, method="lat2_exact"))
    trained = train(recipe, seed=1, out=tmp_path, progress=False)
    images = load_data("digits").test_images
    with pytest.raises(NetworkError, match="'lat2_exact' have two scales an output, which cannot"):
        export(trained.model, images, name="tiny")
    network = export(quantize(trained.model, torch.tensor(images)), images, name="tiny")
    for row in network.stages[0].weights.reshape(20, -1):
        assert len(np.unique(row)) <= 3
    assert abs(trained.result["deployed_test_accuracy"] - trained.result["test_accuracy"]) < 0.02


def test_a_rule_without_second_moment_is_refused():
    text = TEXT.format(weights=0, activations=1, method="lab")
    with pytest.raises(RecipeError, match="'lab' weighs by Adam's second moment, which"):
        parse_recipe(text.replace("rate = 0.01", 'rate = 0.01\nincrements = "sgd"'))
    with pytest.raises(
        RecipeError, match="'laq_log' cannot make weights of Z_1; it makes Z_2 … Z_8"
    ):
        parse_recipe(TEXT.format(weights=1, activations=1, method="laq_log"))


def test_training_goes_on_bit_for_bit(tmp_path):
    recipe = parse_recipe(TEXT.format(weights=1, activations=1, method="lat_approx"))
    whole = train(recipe, seed=3, out=tmp_path / "a", progress=False)
    from neuromorph.training.train import Training

    training = Training(recipe, seed=3, folder=None, out=tmp_path / "b")
    training.epoch()
    again = train(recipe, seed=3, out=tmp_path / "b", progress=False)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
