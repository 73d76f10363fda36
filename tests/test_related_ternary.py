"""TernaryNet's ternary hyperbolic tangent: it anneals, and it ternarises."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.errors import RecipeError
from neuromorph.training import Activation, build_model, export, parse_recipe, train
from neuromorph.training.train import Training

TEXT = """
name = "tiny"
layers = [
    { kind = "conv", channels = 6, kernel = 3, pool = 2 },
    { kind = "linear", features = 20 },
]
[data]
name = "digits"
[input]
encoding = "ternary"
thresholds = [5, 11]
[levels]
method = "twn"
[activation]
slope = [3.0, 8.0]
[optimizer]
rate = 0.03
[training]
epochs = 4
"""


@pytest.mark.parametrize("beta", [3.0, 8.0])
def test_value_and_derivative_are_those_of_the_formula(beta):
    x = torch.linspace(-2, 2, 201, dtype=torch.float64).requires_grad_()
    neuron = Activation(1, slope=(beta, beta))
    y = neuron(x)
    y.sum().backward()
    z = x.detach().numpy()
    wanted = (np.tanh(beta * (2 * z - 1)) + np.tanh(beta * (2 * z + 1))) / 2
    np.testing.assert_allclose(y.detach().numpy(), wanted, atol=1e-12)  # float64 tanh
    slope = beta * (np.cosh(beta * (2 * z - 1)) ** -2 + np.cosh(beta * (2 * z + 1)) ** -2)
    np.testing.assert_allclose(x.grad.numpy(), slope, atol=1e-12)


def test_a_steep_curve_is_the_hard_one_of_evaluation():
    x = torch.linspace(-2, 2, 400)  # none of them is ±½
    neuron = Activation(1, slope=(3.0, 1e6))
    neuron.anneal(1.0)
    soft = neuron(x)
    assert torch.equal(soft, neuron.eval()(x))
    assert neuron(torch.tensor([0.5, -0.5, 0.500001])).tolist() == [0, 0, 1]


def test_beta_rises_linearly_over_the_schedule(tmp_path):
    training = Training(parse_recipe(TEXT), seed=1, folder=None, out=tmp_path)
    neurons = [m for m in training.model.modules() if isinstance(m, Activation)]
    assert [n.beta for n in neurons] == [3.0, 3.0]
    seen = []
    while not training.is_done:
        training.epoch()
        seen.append(neurons[0].beta)
        assert neurons[0].beta == neurons[1].beta
    steps = 1197 // 100
    wanted = [3 + 5 * (epoch + (steps - 1) / steps) / 4 for epoch in range(4)]
    assert seen == pytest.approx(wanted)


def test_the_trained_network_is_ternary_in_every_layer(tmp_path):
    trained = train(parse_recipe(TEXT), seed=1, out=tmp_path, progress=False)
    images = load_data("digits").test_images
    model = trained.model.eval()
    with torch.no_grad():
        values = model.outputs(torch.tensor(images))
    assert [v.unique().tolist() for v in values[:-1]] == [[-1, 0, 1]] * 3
    network = export(model, images, name="tiny")  # compares every level with torch's
    assert [s.levels.n for s in network.stages[:-1]] == [1, 1]
    assert trained.result["test_accuracy"] > 0.3  # it learns: chance is 10 %, steps are 44
    model.train()
    with torch.no_grad():
        assert len(model.outputs(torch.tensor(images))[2].unique()) > 100  # smooth while training


def test_a_slope_for_other_neurons_is_refused():
    for given in ("r = 0.3\n", ""):
        text = TEXT.replace("slope", f"{given}slope")
        if not given:
            text = text.replace("[levels]\n", "[levels]\nactivations = 2\n")
        with pytest.raises(
            RecipeError, match=r"activation.slope makes ternary neurons with r = 0.5"
        ):
            parse_recipe(text)


def test_recipes_without_a_slope_keep_their_hash():
    from neuromorph.training import load_recipe

    assert load_recipe("digits-gxnor").activation.slope is None
    assert (
        build_model(load_recipe("digits-gxnor"), load_data("digits"), 1).stages[0].activation.slope
        is None
    )
