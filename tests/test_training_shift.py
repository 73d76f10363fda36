"""BinaryNet's batch norm and AdaMax by shifts, beside NumPy twins; AdaMax beside torch's."""

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import RecipeError
from neuromorph.network import load_network
from neuromorph.training import (
    DST,
    BatchNorm,
    DiscreteLinear,
    build_model,
    parameter_groups,
    parse_recipe,
    quantize,
    train,
    train_seeds,
)
from neuromorph.training.fold import EXACT_SUM
from neuromorph.training.shift import ShiftBatchNorm, ap2
from neuromorph.training.train import Training


def power(value):
    """AP2 of one number by comparing squares, in whole numbers: no logarithm, no rounding."""
    if value == 0:
        return 0.0
    exact = abs(Fraction(float(value)))
    exponent = math.frexp(value)[1] - 1
    below = Fraction(2) ** exponent
    chosen = below if exact * exact < 2 * below * below else 2 * below
    return math.copysign(float(chosen), value)


def powers(values):
    """AP2 as the paper writes it, in float64: sign · 2**round(log2 |z|)."""
    wide = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return (np.sign(wide) * 2.0 ** np.round(np.log2(np.abs(wide)))).astype(np.float32)


def is_power(values):
    mantissa = np.frexp(np.abs(np.asarray(values, dtype=np.float64)))[0]
    return bool(((mantissa == 0.5) | (mantissa == 0)).all())


def of(values):
    return ap2(torch.tensor(values, dtype=torch.float32)).tolist()


def test_ap2_of_zero_and_of_powers_of_two_is_itself():
    exact = [sign * 2.0**e for e in range(-149, 128) for sign in (1, -1)]  # subnormal ones too
    assert of(exact) == exact
    assert of([0.0, -0.0, math.inf, -math.inf]) == [0.0, 0.0, math.inf, -math.inf]
    assert math.isnan(of([math.nan])[0])


def test_ap2_around_halves_of_the_exponent():
    """√2·2**e is no float32; the two beside it go down and up."""
    for exponent in (-126, -3, 0, 1, 40, 126):
        below = np.float32(math.sqrt(2)) * np.float32(2.0) ** exponent
        assert Fraction(float(below)) ** 2 < 2 * Fraction(2) ** (2 * exponent)
        above = np.nextafter(below, np.float32(np.inf))
        assert of([below, above, -below, -above]) == [
            s * 2.0**e for s in (1, -1) for e in (exponent, exponent + 1)
        ]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=300)
def test_ap2_is_the_nearest_exponent(value):
    wanted = power(value)
    assert of([value]) == [wanted if abs(wanted) < 2.0**128 else math.copysign(math.inf, value)]


def test_ap2_is_log2_arithmetic():
    rng = np.random.default_rng(0)
    subnormal = np.arange(-200, 200) * 2.0**-149
    some = np.concatenate([rng.normal(size=10_000), np.exp(rng.normal(0, 20, 10_000)), subnormal])
    some = some.astype(np.float32)
    assert np.array_equal(ap2(torch.from_numpy(some)).numpy(), powers(some))


def batch(shape, seed=0):
    """Whole numbers over a power of two of samples: every mean of them is exact in float32."""
    assert math.prod(shape) // shape[1] in (8, 64)
    return torch.tensor(
        np.random.default_rng(seed).integers(-20, 21, shape).astype(np.float32), requires_grad=True
    )


def layer(channels, seed=1):
    norm, rng = ShiftBatchNorm(channels), np.random.default_rng(seed)
    with torch.no_grad():
        norm.gamma.copy_(torch.tensor(rng.choice([-3.0, -0.3, 0.0, 0.7, 1.0, 1.5], channels)))
        norm.beta.copy_(torch.tensor(rng.normal(size=channels)))
        norm.mean.copy_(torch.tensor(rng.normal(size=channels)))
        norm.var.copy_(torch.tensor(rng.choice([0.0, 1e-6, 0.5, 9.3, 200.0], channels)))
    return norm


def columns(values):
    """(samples, channels), in float32."""
    array = values.detach().numpy()
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


@pytest.mark.parametrize("shape", [(8, 12), (4, 12, 4, 4)])
def test_shift_batch_norm_in_training_is_its_numpy_twin(shape):
    norm, x = layer(12), batch(shape)
    gamma, beta, mean0, var0 = (
        v.detach().numpy().copy() for v in (norm.gamma, norm.beta, norm.mean, norm.var)
    )
    y = norm.train()(x)
    c = columns(x) - columns(x).mean(0)
    var = (c * powers(c)).mean(0)
    inverse = powers(1 / np.sqrt(var + np.float32(1e-4)))
    assert is_power(inverse)
    assert np.array_equal(columns(y), c * (inverse * powers(gamma)) + beta)
    # the running ones follow by an eighth; the order of two float32 operations
    for now, before, seen in ((norm.mean, mean0, columns(x).mean(0)), (norm.var, var0, var)):
        np.testing.assert_allclose(now.numpy(), before + (seen - before) / 8, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 12), (4, 12, 4, 4)])
def test_its_gradient_goes_straight_through_ap2(shape):
    """That of batch norm, each factor its AP2; a sum over 64 in another order."""
    norm, x = layer(12), batch(shape)
    y = norm.train()(x)
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y.backward(g)
    c = columns(x) - columns(x).mean(0)
    inverse = powers(1 / np.sqrt((c * powers(c)).mean(0) + np.float32(1e-4)))
    gamma = powers(norm.gamma.detach().numpy())
    normal, g = powers(c) * inverse, columns(g)
    assert is_power(normal)
    wanted = (g - g.mean(0) - normal * (g * normal).mean(0)) * inverse * gamma
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(columns(x.grad), wanted, **close)
    np.testing.assert_allclose(norm.gamma.grad.numpy(), (g * normal).sum(0), **close)
    np.testing.assert_allclose(norm.beta.grad.numpy(), g.sum(0), **close)
    assert norm.gamma.grad.abs().min() > 0  # though AP2(γ) is constant around γ


def test_a_batch_of_one_value_has_a_finite_gradient():
    norm, x = ShiftBatchNorm(2), torch.full((8, 2), 3.0, requires_grad=True)
    y = norm(x)
    assert torch.equal(y, torch.zeros(8, 2))
    (y * torch.arange(16.0).view(8, 2)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_batch_norm_of_powers_of_two_is_the_plain_one():
    """Where every C(x) is ±2 there is nothing to round, but for ε."""
    x = torch.tensor([[2.0, -2.0], [-2.0, 2.0]] * 4, requires_grad=True)
    twin = x.detach().clone().requires_grad_(True)
    shifted, plain = ShiftBatchNorm(2), BatchNorm(2)
    g = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    y, wanted = shifted(x), plain(twin)
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=0)  # ε of 4, half of it after the root
    y.backward(g)
    wanted.backward(g)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(shifted.gamma.grad, plain.gamma.grad, rtol=1e-4, atol=1e-4)


def test_evaluation_is_an_exact_product_and_one_sum():
    norm = layer(12).eval()
    scale, shift = (v.detach().numpy() for v in norm.affine())
    assert is_power(scale)
    inverse = powers(1 / np.sqrt(norm.var.numpy() + np.float32(1e-4)))
    assert np.array_equal(scale, powers(norm.gamma.detach().numpy()) * inverse)
    beta, mean = norm.beta.detach().numpy(), norm.mean.numpy()
    assert np.array_equal(shift, beta - mean * scale)
    sums = np.array([0, 1, -7, 12_345, EXACT_SUM - 1, -EXACT_SUM], dtype=np.float32)
    y = norm(torch.from_numpy(np.repeat(sums[:, None], 12, 1))).detach().numpy()
    exact = sums[:, None].astype(np.float64) * scale  # 24 bits and an exponent: float32 holds it
    assert np.array_equal(exact.astype(np.float32), exact)
    assert np.array_equal(y, exact.astype(np.float32) + shift)
    rising = norm(torch.arange(-50.0, 50)[:, None].repeat(1, 12)).detach().numpy()
    assert (np.diff(rising, axis=0) * np.sign(scale) >= 0).all()
    factor = torch.linspace(0.1, 3, 12)  # of weights that have one
    assert torch.equal(norm.affine(factor)[0], norm.scale() * factor)
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm.unshifted()(x), norm(x))


def moved(rule, *, steps=200, rate=0.01, count=300, zeros=False):
    """A batch-norm γ and a float weight after each step of ``rule``; the gradients."""
    module = torch.nn.Sequential(BatchNorm(count), DiscreteLinear(count, 1, None))
    module[1].reset(1, 0)
    start = [module[0].gamma.detach().clone(), module[1].weight.detach().clone()]
    optimizer = DST(parameter_groups(module), rate, increments=rule, betas=(0.9, 0.999))
    generator, path, gradients = torch.Generator().manual_seed(0), [], []
    for _ in range(steps):
        both = [torch.randn(p.shape, generator=generator).exp() - 1 for p in start]
        if zeros:
            both = [g * (torch.rand(g.shape, generator=generator) < 0.3) for g in both]
        module[0].gamma.grad, module[1].weight.grad = both
        optimizer.step()
        path.append([module[0].gamma.detach().clone(), module[1].weight.detach().clone()])
        gradients.append(both)
    return start, gradients, path, optimizer


@pytest.mark.parametrize("zeros", [False, True])
def test_adamax_is_torch_s_step_for_step(zeros):
    start, gradients, path, _ = moved("adamax", zeros=zeros)
    twins = [torch.nn.Parameter(p.clone()) for p in start]
    theirs = torch.optim.Adamax(twins, 0.01, betas=(0.9, 0.999), eps=1e-8)
    for both, now in zip(gradients, path):
        for twin, gradient in zip(twins, both):
            twin.grad = gradient
        theirs.step()
        for twin, ours in zip(twins, now):
            # order of float32 operations: torch multiplies m by the rate before it divides
            torch.testing.assert_close(ours, twin.detach(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("zeros", [False, True])
def test_shift_adamax_is_its_numpy_twin_bit_for_bit(zeros):
    """Every factor is a power of two, so products are exact and the order plays no part."""
    start, gradients, path, optimizer = moved("shift_adamax", zeros=zeros, rate=0.013)
    by1, by2 = 2.0**-3, 2.0**-10  # AP2(0.1), AP2(0.001)
    f32 = np.float32
    for place in range(2):
        weight = start[place].numpy().copy()
        m, u = np.zeros_like(weight), np.zeros_like(weight)
        for t, (both, now) in enumerate(zip(gradients, path), start=1):
            g = both[place].numpy()
            m = m + (g - m) * f32(by1)
            u = np.maximum(u - u * f32(by2), np.abs(g) + f32(1e-8))
            rate, along = powers(0.013 / (1 - (1 - by1) ** t)), powers(1 / u.astype(np.float64))
            assert is_power([by1, by2, rate])
            assert is_power(along)
            weight = weight - m * along * rate
            assert np.array_equal(now[place].numpy(), weight)
    kept = optimizer.state[optimizer.param_groups[0]["params"][0]]
    assert {k for k, v in kept.items() if isinstance(v, torch.Tensor)} == {"first", "largest"}


def test_shift_adamax_stays_within_the_two_roundings_of_adamax():
    """Rate and 1/u are each off by at most √2; betas are those that the shifts have."""
    increments = {}
    for rule in ("adamax", "shift_adamax"):
        layer = DiscreteLinear(200, 5, None)
        layer.reset(1, 0)
        start = layer.weight.detach().clone()
        betas = (1 - 2.0**-3, 1 - 2.0**-10)
        optimizer = DST(parameter_groups(layer), 0.01, increments=rule, betas=betas)
        layer.weight.grad = torch.randn(5, 200, generator=torch.Generator().manual_seed(2))
        optimizer.step()
        increments[rule] = (layer.weight - start).detach()
    ratio = increments["shift_adamax"] / increments["adamax"]
    assert ratio.min() >= 0.5 * 0.999
    assert ratio.max() <= 2 * 1.001
    assert ratio.std() > 0.1  # it is rounded at all


@pytest.mark.parametrize("rule", ["adamax", "shift_adamax"])
def test_state_bits_are_what_is_kept_and_rate_zero_moves_nothing(rule):
    layer = DiscreteLinear(40, 30)
    layer.reset(1, 0)
    start = layer.weight.detach().clone()
    optimizer = DST(parameter_groups(layer), 0.0, increments=rule)
    layer.weight.grad = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert torch.equal(layer.weight, start)
    tensors = [v for v in optimizer.state[layer.weight].values() if isinstance(v, torch.Tensor)]
    assert sum(t.numel() * t.element_size() * 8 for t in tensors) == 64 * 1200
    assert optimizer.state_bits == 64
    optimizer.param_groups[0]["lr"] = 0.5
    layer.weight.grad[0] = 0  # hops elsewhere; the first moment of this row is not yet zero
    optimizer.step()
    assert set(layer.weight.flatten().tolist()) <= {-1.0, 0.0, 1.0}
    assert not torch.equal(layer.weight, start)
    assert torch.isfinite(layer.weight).all()


def test_parts_of_a_large_weight_move_as_the_whole():
    """On a CPU weights move in blocks of 2**17; one block less and one more."""
    optimizers, weights = [], []
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(1, (1 << 17) + 5, generator=generator)
    for part in (slice(None), slice(0, 1 << 17), slice(1 << 17, None)):
        layer = DiscreteLinear(gradient[:, part].shape[1], 1, None)
        optimizers.append(DST(parameter_groups(layer), 0.1, increments="shift_adamax"))
        for _ in range(3):
            layer.weight.grad = gradient[:, part].clone()
            optimizers[-1].step()
        weights.append(layer.weight.detach())
    assert torch.equal(weights[0], torch.cat(weights[1:], dim=1))


TEXT = """
name = "tiny"
layers = [ { kind = "linear", features = 64 } ]
[data]
name = "digits"
[input]
encoding = "ternary"
thresholds = [5, 11]
[levels]
weights = 0
activations = 0
method = "sign"
[activation]
a = 1.0
[norm]
kind = "shift"
[optimizer]
increments = "shift_adamax"
betas = [0.9, 0.999]
rate = 0.03
[training]
epochs = 8
batch = 50
"""
DST_TEXT = TEXT.replace('"sign"', '"dst"').replace("weights = 0", "weights = 1")
CONV = '{ kind = "conv", channels = 4, kernel = 3, pool = 2 }, { kind = "linear", features = 32 }'
FLOAT = TEXT.replace('"sign"', '"twn"').replace("weights = 0", "weights = 1")
FLOAT = FLOAT.replace("activations = 0", 'activations = "float"')
FLOAT = FLOAT.replace('{ kind = "linear", features = 64 }', CONV)


@pytest.mark.parametrize(
    ("text", "is_hidden"), [(TEXT, True), (DST_TEXT, False)], ids=["sign", "dst"]
)
def test_network_trains_by_shifts_and_runs_as_integers(tmp_path, text, is_hidden):
    recipe = parse_recipe(text)
    result = train_seeds(recipe, 1, out=tmp_path, progress=False)  # proves the export on all
    assert result["validation_accuracy"]["mean"] > 0.6  # chance is 0.1; sd of 240 images 0.03
    assert result["optimizer_bits_per_weight"] == 64
    assert result["hidden_bits_per_weight"] == (32 if is_hidden else 0)
    card = (tmp_path / "card.md").read_text()
    assert "on shift_adamax increments" in card
    assert "64 bits (AdaMax's first moment and largest gradient" in card
    assert "batch norm is float32, by shifts (its factors are powers of two)." in card
    network = load_network(tmp_path / "network.safetensors")
    assert is_power(network.layers[-1].scale)
    images = load_data("digits").test_images[:20]
    model = train(recipe, seed=1, out=tmp_path, progress=False).model.eval()  # its checkpoint
    scores = model(torch.tensor(images)).detach().numpy()
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    for mode in ("reference", "count", "timed"):
        run = nm.simulate(mapping, images.astype(int), mode=mode)
        assert np.array_equal(network.scores(run.outputs), scores), mode


def test_factors_of_weights_and_float_activations_become_integers(tmp_path):
    """Scales that are α times a power of two; then post-training quantisation rescales them."""
    trained = train(parse_recipe(FLOAT), seed=1, out=tmp_path, progress=False)
    assert trained.result["test_accuracy"] > 0.6
    assert abs(trained.result["deployed_test_accuracy"] - trained.result["test_accuracy"]) < 0.02
    model = trained.model.eval()
    images = torch.tensor(load_data("digits").train_images[:300])
    scores, integers = model(images), quantize(model, images)(images)
    assert torch.corrcoef(torch.stack([scores.flatten(), integers.flatten()]))[0, 1] > 0.999
    assert type(model.stages[0].norm) is ShiftBatchNorm  # the trained one stays what it is


@pytest.mark.parametrize("text", [TEXT, DST_TEXT], ids=["sign", "dst"])
def test_resume_is_bit_for_bit(tmp_path, text):
    recipe = parse_recipe(text).with_epochs(3)
    straight = Training(recipe, seed=1, folder=None, out=tmp_path / "straight")
    while not straight.is_done:
        straight.epoch()
    first = Training(recipe, seed=1, folder=None, out=tmp_path / "stopped")
    first.epoch()
    second = Training(recipe, seed=1, folder=None, out=tmp_path / "stopped")
    second.resume()
    assert len(second.history) == 1
    while not second.is_done:
        second.epoch()
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    one, other = (t.optimizer.state_dict()["state"] for t in (straight, second))
    assert one.keys() == other.keys()
    for index, entries in one.items():
        assert entries.keys() == other[index].keys() == {"step", "first", "largest"}
        for key, value in entries.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[index][key]))
    assert straight.history == second.history


def test_switches_are_off_unless_a_recipe_says_so():
    plain = TEXT.replace('[norm]\nkind = "shift"\n', "").replace(
        'increments = "shift_adamax"\n', ""
    )
    model = build_model(parse_recipe(plain), load_data("digits"), seed=1)
    assert all(type(stage.norm) is BatchNorm for stage in model.stages)
    model = build_model(parse_recipe(TEXT), load_data("digits"), seed=1)
    assert all(type(stage.norm) is ShiftBatchNorm for stage in model.stages)
    spelt = parse_recipe(TEXT.replace('"shift"', '"plain"').replace('"shift_adamax"', '"adam"'))
    assert parse_recipe(plain).sha256 == spelt.sha256
    assert len({parse_recipe(text).sha256 for text in (TEXT, plain)}) == 2
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"shift"\n', '"shifts"\n', "norm.kind is 'shifts'; it must be 'plain' or 'shift'"),
        ('kind = "shift"\n', "shift = true\n", "unknown key 'norm.shift'; keys of norm are kind"),
        (
            '"shift_adamax"',
            '"adamin"',
            "optimizer.increments is 'adamin'; it must be one of 'adam', 'adam8', 'adamax', "
            "'momentum', 'sgd', 'shift_adamax'",
        ),
        (
            'method = "sign"',
            'method = "lab"',
            "levels.method 'lab' weighs by Adam's second moment, which optimizer.increments "
            "'shift_adamax' does not keep; use 'adam' or 'adam8'",
        ),
    ],
)
def test_bad_recipes_are_refused_by_the_key(old, new, sentence):
    assert old in TEXT
    with pytest.raises(RecipeError) as error:
        parse_recipe(TEXT.replace(old, new, 1))
    assert str(error.value) == sentence


def test_a_gradient_that_is_not_finite_is_not_hidden():
    """So that training stops by its loss."""
    layer = DiscreteLinear(4, 1, None)
    optimizer = DST(parameter_groups(layer), 0.1, increments="shift_adamax")
    layer.weight.grad = torch.tensor([[math.nan, math.inf, -math.inf, 1.0]])
    optimizer.step()
    assert torch.isfinite(layer.weight).tolist() == [[False, False, False, True]]
    assert torch.isnan(ShiftBatchNorm(1)(torch.tensor([[math.nan], [1.0]]))).all()
