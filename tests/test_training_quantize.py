"""Post-training quantisation: exact export, and close to what it stands for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.errors import NetworkError
from neuromorph.training import build_model, export, parse_recipe
from neuromorph.training.quantize import TOP, QuantizedReLU, quantize
from neuromorph.training.train import train

TEXT = """
name = "tiny"
layers = [
    {{ kind = "conv", channels = 6, kernel = 3, pool = 2 }},
    {{ kind = "linear", features = 20 }},
]
[data]
name = "digits"
[input]
encoding = "graded"
bits = 5
[levels]
{levels}
[optimizer]
rate = {rate}
[training]
epochs = 4
"""
KINDS = {
    "float": ('weights = "float"\nactivations = "float"', 0.003),
    "bwn": ('weights = 0\nactivations = "float"\nmethod = "bwn"', 0.03),
    "twn": ('weights = 1\nactivations = "float"\nmethod = "twn"', 0.03),
    "float weights": ('weights = "float"\nactivations = 1', 0.003),
    "dst with relu": ('weights = 1\nactivations = "float"', 0.03),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    levels, rate = KINDS[request.param]
    recipe = parse_recipe(TEXT.format(levels=levels, rate=rate))
    return train(recipe, seed=1, out=tmp_path_factory.mktemp("out"), progress=False)


def test_export_is_exact_and_near_the_float_network(trained):
    images = load_data("digits").test_images
    network = export(trained.deployed, images, name="tiny")  # proves every level itself
    assert all(stage.weights.dtype.kind == "i" for stage in network.stages)
    scores = {}
    for name, model in (("float", trained.model), ("integer", trained.deployed)):
        model.eval()
        with torch.no_grad():
            scores[name] = model(torch.tensor(images)).numpy()
    agree = (scores["float"].argmax(1) == scores["integer"].argmax(1)).mean()
    # 8 bits change few of 360 decisions; ternary neurons after 4 epochs magnify them
    assert agree > 0.9
    result = trained.result
    assert abs(result["deployed_test_accuracy"] - result["test_accuracy"]) < 0.03


def test_rescaling_changes_nothing_but_rounding(trained):
    """Undo the rounding, and the quantised model is the float one again."""
    images = torch.tensor(load_data("digits").test_images[:50])
    model = trained.model.eval()
    twin = quantize(model, images)
    for stage, original in zip(twin.stages, model.stages):
        if original.synapses.n is None:
            ratio = twin_ratio(stage, original)
            with torch.no_grad():
                stage.synapses.weight.copy_(original.synapses.weight / ratio)
            stage.synapses.n = None
        if isinstance(stage.activation, QuantizedReLU):
            unit = stage.activation.unit
            stage.activation = torch.nn.Sequential(torch.nn.ReLU(), Scale(1 / (unit * 128)))
    with torch.no_grad():
        torch.testing.assert_close(twin(images), model(images), rtol=1e-3, atol=1e-3)  # float32


class Scale(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def twin_ratio(stage, original):
    """Real weight that the value 1 of each output stands for, from its largest weight."""
    largest = original.synapses.weight.abs().flatten(1).amax(1)
    ratio = largest * 128 / TOP
    return ratio.view(-1, *(1,) * (original.synapses.weight.ndim - 1))


def test_levels_are_never_negative_and_saturate():
    values = QuantizedReLU(0.1)(torch.tensor([-5.0, -0.01, 0.04, 0.06, 1.26, 12.7, 1e9]))
    assert (values * 128).tolist() == [0, 0, 0, 1, 13, 127, 127]


def test_float_networks_are_not_exported_as_they_are():
    recipe = parse_recipe(TEXT.format(levels=KINDS["float"][0], rate=0.003))
    data = load_data("digits")
    model = build_model(recipe, data, seed=1)
    with pytest.raises(NetworkError, match="layer 'conv1' has float weights or activations; make"):
        export(model, data.test_images[:2], name="tiny")


def test_a_layer_that_never_fires_is_refused():
    recipe = parse_recipe(TEXT.format(levels=KINDS["float"][0], rate=0.003))
    model = build_model(recipe, load_data("digits"), seed=1)
    with torch.no_grad():
        model.stages[1].norm.beta.fill_(-1e6)
    with pytest.raises(NetworkError, match="layer 'fc2' never fires on the 5 calibration samples"):
        quantize(model, torch.tensor(np.ones((5, 1, 8, 8), np.uint8)))
