"""What a GPU trains: the draws, hops and sums that a CPU and NumPy have.

    python -m pytest --noconftest tests/test_training_cuda.py

Needs no compiled kernels, so it runs from the source tree.
"""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph import draws, levels
from neuromorph.data import load_data
from neuromorph.levels import Levels
from neuromorph.network import Input
from neuromorph.training import (
    DST,
    Activation,
    DiscreteConv2d,
    DiscreteLinear,
    DiscreteNetwork,
    Stage,
    export,
    load_recipe,
    parameter_groups,
)
from neuromorph.training.functional import phi, transition, uniform, weight_keys
from neuromorph.training.layers import exact_sums
from neuromorph.training.train import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
GPU = torch.device("cuda")


@pytest.mark.parametrize(("seed", "layer", "step"), [(0, 0, 0), (1, 7, 3), (2**31, 65_541, 10**6)])
def test_draws_equal_numpy(seed, layer, step):
    keys = weight_keys(seed, layer, 100_003, GPU)
    wanted = draws.uniform(seed, layer, step, np.arange(100_003))
    assert np.array_equal(uniform(keys, seed, layer, step).cpu().numpy(), wanted)


@pytest.mark.parametrize("kind", ["tanh", "unbiased"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 8])
def test_transitions_equal_numpy(n, kind):
    rng = np.random.default_rng(n)
    space = Levels(n)
    now = rng.choice(space.levels, 200_000).astype(space.dtype)
    moves = (rng.normal(size=len(now)) * space.step).astype(np.float32)
    draw = draws.uniform(5, n, 1, np.arange(len(now)))
    weights = torch.tensor(now / space.maximum, dtype=torch.float32, device=GPU)
    transition(
        weights, torch.tensor(moves, device=GPU), torch.tensor(draw, device=GPU), n, kind=kind
    )
    wanted = levels.dst(now, moves, draw, n, transition=kind)
    assert np.array_equal(weights.cpu().numpy() * space.maximum, wanted)
    assert (wanted != now).any()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_activations_equal_numpy(n):
    x = np.random.default_rng(n).normal(size=100_000).astype(np.float32)
    ours = phi(torch.tensor(x, device=GPU), n).cpu().numpy() * Levels(n).maximum
    assert np.array_equal(ours, levels.phi(x, n, 0.5))


@pytest.mark.parametrize("increments", ["sgd", "momentum", "adam", "adam8", "adamax"])
def test_steps_hop_as_on_a_cpu(increments):
    """The same gradients: increments may differ in their last bit, and with them rare hops."""
    layers = [DiscreteLinear(300, 200, n) for n in (0, 1, 3)]
    for index, layer in enumerate(layers):
        layer.reset(4, index)
    theirs = copy.deepcopy(layers)
    sides = []
    for side, device in ((layers, torch.device("cpu")), (theirs, GPU)):
        module = torch.nn.ModuleList(side).to(device)
        sides.append((module, DST(parameter_groups(module), 0.1, increments=increments, seed=4)))
    rng = np.random.default_rng(0)
    for _ in range(5):
        gradients = [rng.normal(size=(200, 300)).astype(np.float32) for _ in layers]
        for module, optimizer in sides:
            for layer, gradient in zip(module, gradients):
                layer.weight.grad = torch.tensor(gradient, device=layer.weight.device)
            optimizer.step()
    for ours, other in zip(layers, theirs):
        differ = (ours.weight.detach() != other.weight.detach().cpu()).double().mean().item()
        # a hop differs where a draw of 24 bits falls between two roundings of tau: 5 steps of
        # some 2^-22 each, had every weight one; moments of 8 bits round up on another draw
        assert differ <= (1e-3 if increments == "adam8" else 1e-5)


@pytest.mark.parametrize("batch", [1, 32, 256])
@pytest.mark.parametrize(
    ("channels", "side", "kernel"), [(3, 32, 3), (128, 32, 3), (512, 8, 3), (32, 12, 5)]
)
def test_sums_of_convolutions_are_exact(batch, channels, side, kernel):
    torch.manual_seed(0)
    layer = DiscreteConv2d(channels, 64, kernel, padding=1, n=1).to(GPU)
    layer.weight.data = torch.randint(-1, 2, layer.weight.shape, device=GPU).float()
    x = torch.randint(0, 256, (batch, channels, side, side), device=GPU).float() / 256
    with torch.no_grad():
        wanted = torch.nn.functional.conv2d(x.double(), layer.weight.double(), padding=1)
        with exact_sums():
            found = layer(x)
    assert torch.equal(found.double(), wanted)


def test_a_network_on_a_gpu_is_that_of_its_integers(tmp_path):
    """Trained on the GPU; scores there are those of torch on a CPU, and of the export."""
    training = Training(
        load_recipe("digits-gxnor").with_epochs(2), seed=1, folder=None, out=tmp_path
    )
    assert training.device == GPU
    training.run()
    images = torch.tensor(load_data("digits").test_images)
    model = copy.deepcopy(training.model).eval()
    with torch.no_grad(), exact_sums():
        there = [x.cpu() for x in model.outputs(images.to(GPU))]
        here = model.cpu().outputs(images)
    assert all(torch.equal(a, b) for a, b in zip(there[:-1], here[:-1]))
    assert torch.allclose(there[-1], here[-1], rtol=1e-6, atol=1e-6)  # an FMA rounds once
    export(model, images.numpy(), name="digits")  # raises where a level differs


def test_random_networks_give_the_levels_of_a_cpu():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(0, 4))
        conv = Stage("conv1", DiscreteConv2d(3, 24, 3, padding=1, n=n), Activation(n), pool=2)
        fc = Stage("fc2", DiscreteLinear(24 * 64, 32, n), Activation(n))
        last = Stage("output", DiscreteLinear(32, 10, n), None)
        spec = Input(shape=(3, 16, 16), encoding="graded", bits=8)
        model = DiscreteNetwork(spec, [conv, fc, last])
        model.reset(seed)
        raw = torch.tensor(rng.integers(0, 256, (64, 3, 16, 16), dtype=np.uint8))
        model.train()
        model(raw)  # running statistics of batch norm
        model.eval()
        with torch.no_grad(), exact_sums():
            here = model.outputs(raw)
            there = model.to(GPU).outputs(raw.to(GPU))
        for a, b in zip(here[:-1], there[:-1]):
            assert torch.equal(a, b.cpu())
