"""``from_torch``: what torch computes on a module is what its integer network does."""

import numpy as np
import pytest

import neuromorph as nm
from networks import roomy
from neuromorph.errors import NetworkError

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
training = pytest.importorskip("neuromorph.training", reason="torch is not installed")
from_torch = training.from_torch


class Sign(nn.Module):
    def forward(self, x):
        return torch.where(x >= 0, 1.0, -1.0)


class Ternary(nn.Module):
    def __init__(self, r=0.5, unit=1.0):
        super().__init__()
        self.r, self.unit = r, unit

    def forward(self, x):
        return self.unit * ((x > self.r).float() - (x < -self.r).float())


class Rounded(nn.Module):
    """Clipped and rounded to steps of 1/4, as quantised hard-tanh or ReLU."""

    def __init__(self, low):
        super().__init__()
        self.low = low

    def forward(self, x):
        return torch.clamp(torch.round(x * 4), self.low, 4) / 4


def discrete(layer, rng, n, scale=0.125):
    """Weights of Z_n times a power of two, with a bias on the grid of the sums."""
    shape = tuple(layer.weight.shape)
    top = max(2 ** (n - 1), 1)
    levels = rng.choice([-1, 1], shape) if n == 0 else rng.integers(-top, top + 1, shape)
    layer.weight.data = torch.tensor(levels * scale, dtype=torch.float32)
    if layer.bias is not None:
        layer.bias.data = torch.tensor(rng.integers(-8, 9, shape[0]) * scale, dtype=torch.float32)
    return layer


def normal(layer, rng):
    with torch.no_grad():
        for tensor, low, high in (
            (layer.running_mean, -1, 1),
            (layer.running_var, 0.2, 3),
            (layer.weight, -1.5, 1.5),
            (layer.bias, -0.5, 0.5),
        ):
            tensor.copy_(torch.tensor(rng.uniform(low, high, tensor.shape)))
    return layer


def activation(rng):
    kinds = [Sign(), Ternary(float(rng.uniform(0, 1)), 0.5), Rounded(-4), Rounded(0), nn.Hardtanh]
    chosen = kinds[int(rng.integers(0, 5))]
    return nn.Sequential(nn.Hardtanh(), Rounded(-4)) if chosen is nn.Hardtanh else chosen


def random_module(seed):
    """A module of convolutions, pools, batch norms, activations; with samples for it."""
    rng = np.random.default_rng(seed)
    layers = []
    if rng.random() < 0.6:
        channels, side = int(rng.integers(1, 4)), int(rng.integers(5, 9))
        shape = (channels, side, side)
        for _ in range(int(rng.integers(1, 3))):
            out = int(rng.integers(1, 6))
            conv = nn.Conv2d(channels, out, 3, padding=1, bias=bool(rng.random() < 0.5))
            parts = [discrete(conv, rng, int(rng.integers(0, 4)))]
            act = activation(rng)
            if rng.random() < 0.7:
                parts.append(normal(nn.BatchNorm2d(out), rng))
            if rng.random() < 0.5 and side >= 2:
                parts.insert(int(rng.choice([1, len(parts)])) if len(parts) == 1 else 1,
                             nn.MaxPool2d(2))  # fmt: skip
                side //= 2
            layers += [*parts, act]
            channels = out
        layers.append(nn.Flatten())
        features = channels * side * side
    else:
        features = int(rng.integers(1, 30))
        shape = (features,)
    for _ in range(int(rng.integers(0, 3))):
        out = int(rng.integers(1, 20))
        layers.append(discrete(nn.Linear(features, out), rng, int(rng.integers(0, 4))))
        if rng.random() < 0.6:
            layers.append(normal(nn.BatchNorm1d(out), rng))
        layers.append(activation(rng))
        features = out
    classes = int(rng.integers(2, 6))
    layers.append(discrete(nn.Linear(features, classes), rng, int(rng.integers(0, 4))))
    if rng.random() < 0.5:
        layers.append(normal(nn.BatchNorm1d(classes), rng))
    top = int(rng.choice([1, 7, 255]))
    samples = torch.tensor(rng.integers(0 if top > 7 else -top, top + 1, (12, *shape)))
    return nn.Sequential(*layers).eval(), samples


def scores(network, samples):
    mapping = nm.map_network(network, roomy(nm.load_chip("gxnor45")))
    return network.scores(nm.simulate(mapping, np.asarray(samples)).outputs)


def agree(network, module, samples):
    with torch.no_grad():
        wanted = module(samples.float()).numpy()
    found = scores(network, samples)
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * max(np.abs(wanted).max(), 1))


@pytest.mark.parametrize("seed", range(25))
def test_random_modules_are_imported_exactly(seed):
    module, samples = random_module(seed)
    network = from_torch(module, samples)
    assert network.meta["imported"]["differ_by_rounding"] == 0  # scales are powers of two
    agree(network, module, samples)


def test_a_module_with_a_forward_of_its_own():
    rng = np.random.default_rng(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = discrete(nn.Conv2d(1, 3, 3), rng, 1)
            self.norm = normal(nn.BatchNorm2d(3), rng)
            self.fc = discrete(nn.Linear(27, 4), rng, 1)

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(self.conv(x / 4), 2)
            x = torch.sign(self.norm(x))
            x = self.fc(x.view(x.size(0), -1))
            return torch.log_softmax(x, dim=1)

    model, samples = Model().eval(), torch.tensor(rng.integers(0, 16, (10, 1, 8, 8)))
    network = from_torch(model, samples, name="own")
    assert [s.name for s in network.stages] == ["conv", "fc"]
    with torch.no_grad():
        assert np.array_equal(scores(network, samples).argmax(1), model(samples.float()).argmax(1))


def test_a_quantiser_in_front_becomes_the_thresholds_of_the_input():
    rng = np.random.default_rng(1)
    model = nn.Sequential(Ternary(3.5), discrete(nn.Linear(9, 3), rng, 1))
    samples = torch.tensor(rng.integers(-8, 9, (20, 9)))
    network = from_torch(model, samples)
    assert network.input.thresholds == (-3, 4)
    agree(network, model, samples)


def test_floats_on_a_grid_are_samples_too():
    rng = np.random.default_rng(1)
    model = nn.Sequential(discrete(nn.Linear(9, 3), rng, 1))
    levels = rng.integers(0, 256, (20, 9))
    levels[0, 0] = 1
    network = from_torch(model, torch.tensor(levels / 255, dtype=torch.float32), bits=8)
    assert network.meta["imported"]["unit"] == pytest.approx(1 / 255)
    agree(network, lambda x: model(x / 255), torch.tensor(levels))


def test_own_layers_and_own_networks():
    model = nn.Sequential(
        training.DiscreteConv2d(1, 4, 3, padding=1), training.BatchNorm(4), training.Activation(1),
        nn.Flatten(),
        training.DiscreteLinear(144, 5, method="twn"), training.BatchNorm(5),
    )  # fmt: skip
    model[0].reset(0, 0)
    model[4].reset(0, 1)
    samples = torch.tensor(np.random.default_rng(0).integers(-1, 2, (10, 1, 6, 6)))
    agree(from_torch(model, samples), model.eval(), samples)


def test_units_that_are_no_powers_of_two_may_differ_only_where_torch_rounds():
    """Sums of ±0.1 that are zero are not zero in float32; sign then decides otherwise."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        discrete(nn.Linear(64, 40, bias=False), rng, 0, scale=0.1), Sign(),
        discrete(nn.Linear(40, 3, bias=False), rng, 0, scale=0.1),
    )  # fmt: skip
    samples = torch.tensor(rng.choice([-0.1, 0.1], (50, 64)), dtype=torch.float32)
    meta = from_torch(model, samples).meta["imported"]
    assert 0 < meta["differ_by_rounding"] < 200


def test_brevitas_networks():
    pytest.importorskip("brevitas", reason="brevitas is not installed")
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerTensorFixedPoint, SignedTernaryWeightPerTensorConst

    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantConv2d(
            1, 4, 3, padding=1, bias=False, weight_quant=SignedTernaryWeightPerTensorConst,
            weight_scaling_init=0.25,
        ),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=3, scaling_init=2.0, return_quant_tensor=False),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(36, 5, bias=False, weight_quant=Int8WeightPerTensorFixedPoint),
    ).eval()  # fmt: skip
    samples = torch.tensor(np.random.default_rng(0).integers(0, 16, (12, 1, 6, 6)))
    network = from_torch(model, samples)
    assert network.stages[0].weight_levels.n == 1
    agree(network, model, samples)


# --- what is refused


def linear(n=1):
    return discrete(nn.Linear(6, 4), np.random.default_rng(0), n)


SAMPLES = torch.zeros((3, 6), dtype=torch.int64)
IMAGES = torch.zeros((3, 1, 6, 6), dtype=torch.int64)


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = linear(), discrete(nn.Linear(4, 4), np.random.default_rng(0), 1), 1

    def forward(self, x):
        x = torch.sign(self.a(x))
        return self.b(x) + x


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = linear()

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x


def fc(inputs=4, outputs=2):
    return discrete(nn.Linear(inputs, outputs), np.random.default_rng(0), 1)


def conv(**options):
    return discrete(nn.Conv2d(1, 2, 3, **options), np.random.default_rng(0), 1)


class Hump(nn.Module):
    """Fires in the middle only: not monotone in the sum."""

    def forward(self, x):
        return (x.abs() < 0.5).float()


@pytest.mark.parametrize(
    ("module", "samples", "says"),
    [
        (nn.Sequential(linear(), Hump(), fc()), SAMPLES,
         r"layer '0': 1 \(Hump\) is not monotone, or not on its grid: channel \d at sum"),
        (nn.Sequential(conv(), nn.MaxPool2d(2), nn.MaxPool2d(2), Sign(), nn.Flatten(), fc(2)),
         IMAGES, "layer '0' is pooled twice; one max-pool is possible"),
        (nn.Sequential(linear(), Sign(), nn.Flatten(0), fc(12)), SAMPLES,
         r"reshapes \[\d+, 4\] to \[\d+\]; only flattening to"),
        ("net", SAMPLES, r"module is a str, not a torch\.nn\.Module"),
        (nn.Sequential(nn.Linear(6, 4)), SAMPLES,
         r"layer '0' has float weights on no grid of at most 257 levels: on the nearest, of step "
         r".* steps off; train with discrete weights \(neuromorph train RECIPE"),
        (nn.Sequential(linear(), nn.ReLU(), fc()), SAMPLES + 1,
         None),
        (nn.Sequential(linear(), nn.Sigmoid(), fc()), SAMPLES,
         r"layer '0': 1 \(Sigmoid\) gives values on no grid of at most 257 levels; end it with"),
        (nn.Sequential(linear(), fc()), SAMPLES, "layer '0' has no activation before the next"),
        (nn.Sequential(linear(), nn.LayerNorm(4), Sign(), fc()), SAMPLES,
         r"1 \(LayerNorm\), 2 \(Sign\) after layer '0' does not act on each neuron alone"),
        (nn.Sequential(conv(), nn.AvgPool2d(2), Sign(), nn.Flatten(), fc(8)), IMAGES,
         r"1 \(AvgPool2d\), 2 \(Sign\) after layer '0' does not act on each neuron alone: shape"),
        (nn.Sequential(linear(), Sign(), fc(), nn.Tanh()), SAMPLES,
         "layer '2' is the last one, so what follows it must be linear; 3 .Tanh. is not"),
        (nn.Sequential(conv(padding=1, padding_mode="circular"), Sign(), nn.Flatten(), fc(72)),
         IMAGES, "groups or a padding other"),
        (nn.Sequential(conv(), nn.MaxPool2d(2, padding=1), Sign(), nn.Flatten(), fc(18)), IMAGES,
         "is a max-pool with padding, dilation or ceil_mode"),
        (Skip(), SAMPLES, "joins more than one layer; networks are a plain chain"),
        (Branching(), SAMPLES, "cannot be read as a fixed sequence of layers"),
        (nn.Sequential(nn.Tanh()), SAMPLES, "the module has no weighted layer"),
        (nn.Sequential(linear()), SAMPLES[:, :5], "the module does not take example_input"),
        (nn.Sequential(linear()), SAMPLES[0], r"example_input has shape \[6\]; give"),
        (nn.Sequential(linear()), torch.rand(30, 6) + torch.pi,
         "example_input holds floats on no grid of at most 4095 levels"),
        (nn.Sequential(linear()), torch.full((2, 6), float("nan")), "numbers that are not finite"),
    ],
    ids=range(20),
)  # fmt: skip
def test_what_cannot_be_imported_is_named(module, samples, says):
    if says is None:  # whole sums through ReLU are levels, if few
        from_torch(module, samples)
        return
    with pytest.raises(NetworkError, match=says):
        from_torch(module, samples)


def test_the_first_layer_that_differs_is_named():
    """A framework that computes otherwise than its layers say is found out."""

    class Odd(Sign):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * (-1 if self.calls == 1 else 1)

    model = nn.Sequential(linear(), Odd(), fc())
    with pytest.raises(NetworkError, match="layer '0' differs from torch first at sample 0, neur"):
        from_torch(model, SAMPLES)


class Steps(nn.Module):
    """Whole levels."""

    def __init__(self, top=3, unit=1):
        super().__init__()
        self.top, self.unit = top, unit

    def forward(self, x):
        return torch.clamp(torch.round(x / self.unit), -self.top, self.top)


@pytest.mark.parametrize("step", [8.0, 128.0])
def test_levels_between_far_sums_are_found(step):
    """Sums reach 255 000: the seven levels lie within a few dozen of them around zero."""
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Linear(1000, 4, bias=False), Steps(), nn.Linear(4, 3, bias=False))
    model[0].weight.data = torch.tensor(rng.integers(-1, 2, (4, 1000)) / step).float()
    model[2].weight.data = torch.tensor(rng.integers(-1, 2, (3, 4))).float()
    network = from_torch(model.eval(), rng.integers(0, 256, (2, 1000)))
    assert network.stages[0].levels.n == 3  # -3 … 3 of -4 … 4
    dark = rng.integers(0, 256, (300, 1000)) * (rng.random((300, 1000)) < 0.02)
    run = nm.simulate(nm.map_network(network, roomy(nm.load_chip("gxnor45"))), dark)
    with torch.no_grad():
        wanted = model(torch.tensor(dark).float()).numpy()
    assert np.array_equal(network.scores(run.outputs), wanted)
    assert len(np.unique(run.levels(network.stages[0].name))) > 3


@pytest.mark.parametrize("example", [[0, 50, 60, 90], [-255, 255, 255, 200]])
@pytest.mark.parametrize(
    ("front", "thresholds"), [(Ternary(100), (-100, 101)), (Steps(7, 16), None)]
)
def test_a_quantiser_in_front_is_looked_at_beyond_the_examples(front, thresholds, example):
    model = nn.Sequential(front, nn.Linear(4, 3, bias=False)).eval()
    model[1].weight.data = torch.tensor([[1.0, 0, 0, 0], [0, 1, -1, 0], [1, 1, 1, 1]])
    network = from_torch(model, np.array([example]))
    assert network.input.thresholds == thresholds
    raw = np.array([[95, 91, -50, -1], [255, -255, 101, 100], [16, 48, 90, -20]])
    values = front(torch.tensor(raw).float()).numpy()
    given = raw if thresholds else np.rint(values / network.meta["imported"]["unit"]).astype(int)
    run = nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), given)
    with torch.no_grad():
        assert np.array_equal(network.scores(run.outputs), model(torch.tensor(raw).float()).numpy())
