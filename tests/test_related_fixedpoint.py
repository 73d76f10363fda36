"""Fixed point against rational arithmetic, and float networks adapted to it."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

import neuromorph as nm
from neuromorph import draws
from neuromorph.data import load_data
from neuromorph.errors import NetworkError, RecipeError
from neuromorph.training import build_model, export, parse_recipe
from neuromorph.training.fixedpoint import FixedPoint, adapt, fine_tune, propose
from neuromorph.training.measure import accuracy, measure_rest
from neuromorph.training.train import train

TEXT = """
name = "lenet"
layers = [
    { kind = "conv", channels = 6, kernel = 3, pool = 2 },
    { kind = "linear", features = 20 },
]
[data]
name = "digits"
[input]
encoding = "graded"
bits = 5
[levels]
weights = "float"
activations = "float"
[optimizer]
rate = 0.01
[training]
epochs = 12
batch = 20
"""

JOINED = """layers = [
    { kind = "conv", channels = 2, kernel = 3, padding = 1 },
    { kind = "conv", channels = 2, kernel = 3, padding = 1 },
    { kind = "conv", channels = 2, kernel = 3, sources = ["conv1", "conv2"] },
"""


def exact(x, m, f):
    """Q of a float by its definition, in rational numbers."""
    scaled = Fraction(float(x)) * Fraction(2) ** f
    k = int(abs(scaled) + Fraction(1, 2)) * (1 if scaled >= 0 else -1)  # halves away from zero
    top = 2 ** (m + f - 1) - 1
    return float(Fraction(max(-top, min(top, k))) / Fraction(2) ** f)


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_format_is_that_of_rational_arithmetic(bits):
    for m in range(-1, bits + 2):
        q = FixedPoint(m, bits - m)
        eighths = np.arange(-8 * q.top - 20, 8 * q.top + 21) / 8  # all numbers, middles, beyond
        x = torch.tensor(np.ldexp(eighths, -q.fraction), dtype=torch.float32)
        got = q.round(x)
        assert got.tolist() == [exact(v, m, bits - m) for v in x]
        assert torch.equal(q.round(got), got)
        assert torch.equal(q.round(-x), -got)
        assert got.max() == q.maximum == 2.0 ** (m - 1) - 2.0 ** (m - bits)


def test_stochastic_rounding_is_unbiased_and_repeats_by_its_draws():
    q = FixedPoint(2, 3)
    draw = torch.from_numpy(draws.uniform(3, 0, 1, np.arange(100_000)))
    for x in (0.3, -0.55, 0.0625):
        got = q.round(torch.full((100_000,), x), draw)
        part = (x * 8) % 1
        sigma = (part * (1 - part) / 100_000) ** 0.5 / 8
        assert abs(got.double().mean().item() - x) < 4 * sigma + 1e-7  # x itself is a float32
        assert torch.equal(got, q.round(torch.full((100_000,), x), draw))


def test_q1_1_is_ternary():
    q = FixedPoint(1, 1)
    x = torch.linspace(-1, 1, 401)
    wanted = torch.sign(x) * (x.abs() >= 0.25)
    assert torch.equal(q.levels(x), wanted)
    assert torch.equal(q.round(x) / q.one, wanted)  # the values of Z_1
    assert (q.n, q.maximum) == (1, 0.5)


def test_the_gradient_passes_straight_through():
    x = torch.tensor([0.3, 9.0, -9.0], requires_grad=True)
    (FixedPoint(2, 2).round(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1, 2, 3]


def test_the_finest_format_without_too_much_overflow_is_proposed():
    values = torch.cat([torch.linspace(-0.9, 0.9, 998), torch.tensor([-5.0, 0.0, 3.0])])
    point, found = propose(values, 8)
    assert (str(point), found["saturated"]) == ("Q4.4", 0)  # the largest is negative: −5
    point, found = propose(values, 8, overflow=0.002)
    assert str(point) == "Q1.7"
    assert found["saturated"] == pytest.approx(0.002)
    levels = point.levels(values[values != 0])
    assert found["underflowed"] == pytest.approx((levels == 0).float().mean().item())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(parse_recipe(TEXT), seed=1, out=tmp_path_factory.mktemp("o"), progress=False).model


def parts():
    data = load_data("digits")
    return data, torch.tensor(data.train_images), torch.tensor(data.train_labels)


def test_sixteen_bits_are_the_float_network(trained):
    data, images, _ = parts()
    fixed, report = adapt(trained, images[:300], 16, overflow=0)
    assert all(row["weights"]["saturated"] == 0 for row in report)
    test = torch.tensor(data.test_images)
    with torch.no_grad():
        # 16 bits round to 2^-16 of the largest value of a layer, a few hundred times a sum
        torch.testing.assert_close(fixed(test), trained.eval()(test), atol=0.02, rtol=0.01)


@pytest.mark.parametrize(
    ("bits", "overflow"), [(16, 0), (12, 0), (9, 0), (8, 0.001), (4, 0.1), (2, 0.4)]
)
def test_networks_of_fixed_point_run_in_every_engine(trained, bits, overflow):
    data, images, labels = parts()
    fixed, report = adapt(trained, images[:300], bits, overflow=overflow)
    assert sum(map(int, report[0]["weights"]["format"][1:].split("."))) == bits
    fine_tune(fixed, images, labels, epochs=4, batch=20, rate=3e-3, seed=1)
    lost = accuracy(trained, images, labels) - accuracy(fixed, images, labels)
    assert lost < {4: 0.1, 2: 0.6}.get(bits, 0.02), lost  # of 1197 images; chance would lose 0.85
    network = export(fixed, data.test_images, name="fixed")  # compares every level with torch's
    assert np.abs(network.stages[0].weights).max() <= 2 ** (bits - 1) - 1
    chip = replace(nm.load_chip("gxnor45"), accumulator_bits=48)  # 16 are too few for 8 bits
    mapping = nm.map_network(network, chip)
    runs = [
        nm.simulate(mapping, data.test_images[:3], mode=m) for m in ("reference", "count", "timed")
    ]
    for run in runs[1:]:
        assert np.array_equal(run.outputs, runs[0].outputs)
        assert run.counts == runs[0].counts
    kind = "xnor_event" if bits == 2 else "graded_event"
    assert runs[0].counts.per_inference(kind) > 0
    assert all(0 < row["input_density"] <= 1 for row in measure_rest(fixed, images[:50]))


@pytest.mark.parametrize("bits", [16, 11, 8, 4])
def test_rounding_of_a_sum_is_that_of_rational_arithmetic(trained, bits):
    data, images, _ = parts()
    fixed, _ = adapt(trained, images[:300], bits, overflow=0.01)
    network = export(fixed, data.test_images[:5], name="fixed")
    unit = Fraction(1, 2**5)  # of the input: pixels of 5 bits
    for stage, layer in zip(network.stages[:-1], fixed.stages[:-1], strict=True):
        assert stage.rounding is not None
        weight, level = layer.synapses.point, layer.activation.point
        step = unit * Fraction(2) ** -weight.fraction
        biases = [Fraction(float(b)) for b in layer.norm.point.round(layer.norm.bias.detach())]
        reach = stage.largest_sum
        rng = np.random.default_rng(bits)
        sums = np.concatenate([[0, 1, -1, reach, -reach], rng.integers(-reach, reach, 300)])
        near = [  # sums just where a level begins
            int((Fraction(2 * k + 1, 2) / 2**level.fraction - biases[0]) / step)
            for k in rng.integers(0, level.top, 50)
        ]
        sums = np.concatenate([sums, near, np.add(near, 1)])
        sums = sums[np.abs(sums) <= reach]
        grid = np.broadcast_to(sums, (len(biases), len(sums))) * stage.directions[:, None]
        found = stage.rounding.levels(grid[:, None, :])[:, 0]
        for c, bias in enumerate(biases):
            sign = int(stage.directions[c])
            for s, k in zip(sums.tolist(), found[c].tolist(), strict=True):
                value = max(sign * s * step + bias, Fraction(0))
                wanted = min(int(value * Fraction(2) ** level.fraction + Fraction(1, 2)), level.top)
                assert k == wanted
        unit = Fraction(2) ** -level.fraction


def test_levels_finer_than_the_sums_take_thresholds(trained):
    data, images, _ = parts()
    fixed, _ = adapt(trained, images[:300], 4, overflow=0.01)
    fixed.stages[0].activation.point = FixedPoint(-9, 13)
    network = export(fixed, data.test_images[:40], name="fine")  # compares every level
    kinds = [stage.rounding is not None for stage in network.stages[:-1]]
    assert kinds == [False, True]
    fixed.stages[0].activation.point = FixedPoint(-9, 19)  # a thousand thresholds a channel
    with pytest.raises(NetworkError) as error:
        export(fixed, data.test_images[:1], name="finer")
    assert str(error.value).startswith("layer 'conv1': its activations of 10 bits have ")
    assert str(error.value).endswith("which they do up to 8 bits; take 8 bits")


def test_a_negative_batch_norm_scale_survives_the_pool(trained):
    data, images, _ = parts()
    import copy

    model = copy.deepcopy(trained)
    with torch.no_grad():
        model.stages[0].norm.gamma[:3].neg_()
    fixed, _ = adapt(model, images[:300], 16, overflow=0)
    test = torch.tensor(data.test_images[:50])
    with torch.no_grad():
        torch.testing.assert_close(fixed(test), model.eval()(test), atol=0.02, rtol=0.01)
    export(adapt(model, images[:300], 8)[0], data.test_images, name="negative")


def test_accumulators_that_would_overflow_are_named_with_the_width_needed(trained):
    data, images, _ = parts()
    network = export(adapt(trained, images[:300], 8)[0], data.test_images[:5], name="fixed")
    from neuromorph.mapping import check_fit

    chip = nm.load_chip("gxnor45")
    limits = [x for x in check_fit(network, chip).limits if x.limit == "accumulator_bits"]
    for stage, limit in zip(network.stages, limits, strict=True):
        rows = np.abs(stage.weights.astype(int)).reshape(len(stage.weights), -1).sum(1)
        largest = int(rows.max()) * stage.input_maximum
        assert 2 ** (limit.needed - 2) <= largest < 2 ** (limit.needed - 1)
        assert stage.name in limit.where


def test_bad_input_is_one_sentence(trained):
    images = torch.tensor(load_data("digits").train_images)
    with pytest.raises(RecipeError, match=r"Q9.9 has 18 bits; fixed point takes 2 to 16"):
        FixedPoint(9, 9)
    with pytest.raises(RecipeError, match="bits is 1; fixed point takes 2 to 16"):
        adapt(trained, images[:5], 1)
    with pytest.raises(
        RecipeError, match="values are all zero on the calibration samples, so no f"
    ):
        propose(torch.zeros(4), 8)
    with pytest.raises(RecipeError, match="values are not finite"):
        propose(torch.tensor([float("nan"), float("inf")]), 8)
    with pytest.raises(RecipeError, match=r"overflow share is 1.5; it must be from 0 to below 1"):
        propose(torch.ones(4), 8, overflow=1.5)
    model = build_model(
        parse_recipe(TEXT.replace('weights = "float"', "weights = 1")), load_data("digits"), 1
    )
    graph = build_model(parse_recipe(TEXT.replace("layers = [", JOINED)), load_data("digits"), 1)
    with pytest.raises(NetworkError, match="layer 'conv3' joins others, whose formats have no uni"):
        adapt(graph, torch.tensor(load_data("digits").train_images[:9]), 8)
    with pytest.raises(NetworkError, match="layer 'conv1' is discrete already; adapt a float netw"):
        adapt(model, images[:5], 8)


def test_a_layer_that_hardly_counts_is_refused_by_name():
    """Scales of 1e-15 beside biases of one."""
    data = load_data("digits")
    model = build_model(parse_recipe(TEXT), data, 1).eval()
    with torch.no_grad():
        model.stages[0].norm.gamma.fill_(1e-15)
        for stage in model.stages:
            stage.norm.beta.uniform_(0.5, 1.0)
    adapted, _ = adapt(model, torch.tensor(data.train_images[:50]), 16)
    with pytest.raises(
        NetworkError, match="layer 'conv1': in units of its sums, which stand for 2"
    ):
        export(adapted, data.test_images[:1], name="small")
