"""The DST optimizer: weights stay in Z_N, draws follow their keys, state survives a file."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph import draws, levels
from neuromorph.errors import RecipeError
from neuromorph.levels import Levels
from neuromorph.training import DST, BatchNorm, DiscreteLinear, dst, functional, parameter_groups

RULES = ["sgd", "momentum", "adam", "adamax", "shift_adamax"]


def layer_and_optimizer(n=1, *, seed=3, **settings):
    torch.manual_seed(0)
    layer = DiscreteLinear(30, 20, n)
    layer.reset(seed, 0)
    return layer, DST(parameter_groups(layer), 0.1, seed=seed, **settings)


def step(layer, optimizer, number):
    generator = torch.Generator().manual_seed(number)
    layer.weight.grad = torch.randn(layer.weight.shape, generator=generator)
    optimizer.step()


@pytest.mark.parametrize("increments", RULES)
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_weights_stay_in_their_space(n, increments):
    layer, optimizer = layer_and_optimizer(n, increments=increments)
    start = layer.weight.detach().clone()
    for number in range(300):
        step(layer, optimizer, number)
    values = set(Levels(n).values.astype(np.float32).tolist())
    assert set(layer.weight.flatten().tolist()) <= values
    assert not torch.equal(layer.weight, start)


def test_sgd_step_is_levels_dst_with_keyed_draws():
    layer, optimizer = layer_and_optimizer(2, seed=2**40 + 1, increments="sgd")
    now = layer.levels.numpy().ravel()
    for number in range(5):
        step(layer, optimizer, number)
        moves = (layer.weight.grad * -0.1).numpy().ravel()
        draw = draws.uniform(2**40 + 1, 0, number + 1, np.arange(600))
        now = levels.dst(now, moves, draw, 2)
        assert np.array_equal(layer.levels.numpy().ravel(), now)


@pytest.mark.parametrize("increments", [*RULES, "adam8"])
def test_accumulated_gradients_are_those_of_one_batch(increments):
    """Small integers, so that both sums are exact."""
    rng = np.random.default_rng(1)
    (parts, at_parts), (whole, at_once) = (layer_and_optimizer(increments=increments) for _ in "ab")
    start = whole.weight.detach().clone()
    for _ in range(20):
        inputs = torch.tensor(rng.integers(-1, 2, (8, 30)), dtype=torch.float32)
        wanted = torch.tensor(rng.integers(-3, 4, (8, 20)), dtype=torch.float32)
        for portion in (slice(0, 3), slice(3, 8)):
            (parts(inputs[portion]) * wanted[portion]).sum().backward()
        (whole(inputs) * wanted).sum().backward()
        for optimizer in (at_parts, at_once):
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(parts.weight, whole.weight)
    assert not torch.equal(start, whole.weight)


def test_adam_increments_are_those_of_torch():
    norm = BatchNorm(50)
    twin = copy.deepcopy(norm)
    ours = DST(parameter_groups(norm), 0.01, betas=(0.99, 0.999))
    theirs = torch.optim.Adam(twin.parameters(), 0.01, betas=(0.99, 0.999))
    for number in range(20):
        generator = torch.Generator().manual_seed(number)
        for a, b in zip(norm.parameters(), twin.parameters()):
            a.grad = torch.randn(50, generator=generator)
            b.grad = a.grad.clone()
        ours.step()
        theirs.step()
    for a, b in zip(norm.parameters(), twin.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # order of float32 operations


def test_initial_weights_have_the_paper_s_distribution():
    layer = DiscreteLinear(400, 250, 1)
    layer.reset(1, 0)
    counts = np.bincount(layer.levels.numpy().ravel() + 1) / 100_000
    # 4 sigma of a fraction of 1/2 among 100 000
    assert np.abs(counts - [0.25, 0.5, 0.25]).max() < 4 * (0.25 / 100_000) ** 0.5


def test_groups_carry_space_and_layer():
    model = torch.nn.Sequential(DiscreteLinear(4, 3, 1), BatchNorm(3), DiscreteLinear(3, 2, 2))
    groups = parameter_groups(model, float_rate=0.5)
    assert [(g["n"], g["layer"], len(g["params"])) for g in groups] == [
        (1, 0, 1),
        (2, 1, 1),
        (None, None, 2),
    ]
    assert groups[2]["lr"] == 0.5


@pytest.mark.parametrize(("increments", "bits"), [("sgd", 0), ("momentum", 32), ("adam", 64)])
def test_state_bits_are_what_is_kept(increments, bits):
    layer, optimizer = layer_and_optimizer(increments=increments)
    step(layer, optimizer, 0)
    kept = optimizer.state[layer.weight].values()
    tensors = [value for value in kept if isinstance(value, torch.Tensor)]
    assert optimizer.state_bits == bits
    assert sum(t.numel() * t.element_size() * 8 for t in tensors) == bits * layer.weight.numel()


@pytest.mark.parametrize("increments", RULES)
def test_state_dict_round_trip(increments):
    layer, optimizer = layer_and_optimizer(increments=increments)
    for number in range(3):
        step(layer, optimizer, number)
    twin = copy.deepcopy(layer)
    other = DST(parameter_groups(twin), 0.7, seed=99)
    step(twin, other, 0)  # with draws of another seed, to be forgotten
    twin.load_state_dict(layer.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in range(3, 6):
        step(layer, optimizer, number)
        step(twin, other, number)
    assert torch.equal(layer.weight, twin.weight)


def test_rate_zero_and_missing_gradient_move_nothing():
    layer, optimizer = layer_and_optimizer()
    start = layer.weight.detach().clone()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.0
    step(layer, optimizer, 0)
    assert torch.equal(layer.weight, start)


def test_closure_is_called_with_gradients():
    layer, optimizer = layer_and_optimizer()

    def closure():
        optimizer.zero_grad()
        loss = layer(torch.ones(1, 30)).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) is not None
    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -1.0}, "learning rate is -1.0; it must be at least 0"),
        ({"increments": "lion"}, "increments is 'lion'; use one of"),
        ({"betas": (1.0, 0.9)}, r"betas are \(1.0, 0.9\); each must be from 0 to below 1"),
        ({"m": 0.0}, "m is 0.0; it must be above 0"),
        ({"kind": "exp"}, "transition is 'exp'; use one of"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    rate = settings.pop("lr", 0.1)
    with pytest.raises(RecipeError, match=sentence):
        DST(parameter_groups(DiscreteLinear(2, 2)), rate, **settings)


@pytest.mark.parametrize("increments", [*RULES, "adam8"])
def test_moved_together_is_moved_alone(increments, monkeypatch):
    """What a GPU does, parameters of equal settings as one tensor, made to happen on a CPU."""

    def trained():
        torch.manual_seed(0)
        layers = [DiscreteLinear(40, 30, n) for n in (1,) * 7 + (2, 0)]
        layers += [DiscreteLinear(40, 30, 1, method="twn"), DiscreteLinear(40, 30, None)]
        for index, layer in enumerate(layers):
            layer.reset(3, index)
        module = torch.nn.ModuleList([*layers, BatchNorm(30), BatchNorm(7)])
        optimizer = DST(parameter_groups(module), 0.1, seed=3, increments=increments)
        changes = {"lr": 0.2, "m": 0.5, "kind": "unbiased", "betas": [0.5, 0.99], "eps": 1e-3}
        for group, (name, value) in zip(optimizer.param_groups, changes.items()):
            group[name] = value
        for number in range(6):
            generator = torch.Generator().manual_seed(number)
            for parameter in module.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            if number == 3:  # one that falls behind in steps
                layers[1].weight.grad = None
            optimizer.step()
        moments = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
        return [p.detach() for p in module.parameters()], moments

    alone = trained()
    monkeypatch.setattr(dst, "_goes_alone", lambda parameter: False)
    monkeypatch.setattr(functional, "_by_numpy", lambda tensor: False)
    for ours, wanted in zip(trained(), alone):
        assert len(ours) == len(wanted)
        assert all(torch.equal(a, b) for a, b in zip(ours, wanted))
