"""Training of networks that join layers: recipe to torch, torch to integers, every engine alike."""

import re

import numpy as np
import pytest

import neuromorph as nm
from networks import roomy
from neuromorph.data import Dataset, tiles
from neuromorph.errors import NetworkError, RecipeError
from neuromorph.mapping import map_network

torch = pytest.importorskip("torch")

from neuromorph.network import load_network  # noqa: E402
from neuromorph.training import export, quantize, to_torch, train_seeds  # noqa: E402
from neuromorph.training.loss import squared_hinge  # noqa: E402
from neuromorph.training.measure import dice, measure_rest  # noqa: E402
from neuromorph.training.models import build_model  # noqa: E402
from neuromorph.training.recipe import Recipe, parse_recipe_dict  # noqa: E402
from neuromorph.training.train import Training  # noqa: E402

LAYERS = [
    {"kind": "conv", "channels": 3, "kernel": 3, "padding": 1},
    {"kind": "conv", "channels": 4, "kernel": 4, "stride": 2, "padding": 1},
    {"kind": "conv", "channels": 4, "kernel": 3, "padding": 1, "pool": 2},
    {
        "kind": "conv",
        "channels": 3,
        "kernel": 3,
        "padding": 1,
        "sources": ["conv1", "conv2", "conv3"],
        "upsample": [1, 2, 4],
    },
]


def recipe(**changes):
    plain = {
        "name": "graph",
        "data": {"name": "sstem-vnc"},
        "input": {"encoding": "graded", "bits": 8},
        "layers": LAYERS,
        "training": {"epochs": 1, "batch": 2},
    }
    return parse_recipe_dict(plain | changes)


def data(side=8):
    rng = np.random.default_rng(4)
    parts = {}
    for part in ("train", "validation", "test"):
        parts[f"{part}_images"] = rng.integers(0, 256, (6, 2, side, side))
        parts[f"{part}_labels"] = rng.integers(0, 2, (6, side, side))
    return Dataset(name="sstem-vnc", maximum=255, **parts)


LEVELS = {
    "ternary by DST": {},
    "TernaryNet": {"method": "twn"},
    "binary": {"weights": 0, "activations": 0, "method": "sign"},
    "five levels": {"weights": 2, "activations": 2},
    "float": {"weights": "float", "activations": "float"},
}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_the_integer_network_is_the_trained_one(levels):
    """``export`` proves levels and scores; here the engines give the predictions of torch."""
    images = data()
    model = build_model(recipe(levels=levels), images, seed=3)
    batch, labels = torch.tensor(images.train_images), torch.tensor(images.train_labels)
    loss = squared_hinge(model(batch), labels)  # one pass sets the statistics of batch norm
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    deployed = quantize(model, batch) if levels.get("weights") == "float" else model.eval()
    network = export(deployed, images.test_images, name="graph")
    assert [len(s.sources) for s in network.stages] == [1, 1, 1, 3, 1]
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    deployed.eval()
    wanted = deployed(torch.tensor(images.test_images)).argmax(dim=1).numpy()
    for mode in ("count", "timed", "reference"):
        run = nm.simulate(mapping, images.test_images.astype(int), mode=mode)
        assert np.array_equal(run.predictions, wanted)
    test = torch.tensor(images.test_images), torch.tensor(images.test_labels)
    assert run.dice(images.test_labels) == pytest.approx(dice(deployed, *test))
    if levels.get("weights") != "float":
        rest = [layer["resting_fraction"] for layer in measure_rest(model, test[0])]
        assert rest == pytest.approx(list(run.counts.resting_by_layer().values()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"sources": ["conv1", "conv4"], "upsample": [1, 2]},
            "layers[3].sources is ['conv1', 'conv4']; name each once of input, conv1, conv2, conv3",
        ),
        (
            {"sources": ["conv1", "conv1"], "upsample": [1, 1]},
            "layers[3].sources is ['conv1', 'conv1']; name each once of input, conv1, conv2, conv3",
        ),
        (
            {"upsample": [1, 2]},
            "layers[3].upsample has 2 factors for 3 sources; give one a source",
        ),
        (
            {"sources": ["conv1", "conv2"], "upsample": [1, 2]},
            "conv3 is heard by no layer; name it in sources or leave it out",
        ),
    ],
)
def test_sources_of_a_recipe_that_cannot_be(change, sentence):
    with pytest.raises(RecipeError) as error:
        recipe(layers=[*LAYERS[:3], LAYERS[3] | change])
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (
            [*LAYERS[:3], LAYERS[3] | {"upsample": [1, 2, 2]}],
            "layers[3] joins images of 8×8, 8×8, 4×4; up-sample them to one size",
        ),
        (
            LAYERS[:2],
            "the last of layers gives images of 4×4, but data set 'sstem-vnc' has a label for "
            "each of 8×8 pixels",
        ),
    ],
)
def test_shapes_of_a_recipe_that_do_not_fit(layers, sentence):
    with pytest.raises(RecipeError) as error:
        build_model(recipe(layers=layers), data(), seed=1)
    assert str(error.value) == sentence


def test_tiles_put_together_are_the_image():
    images = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    found = tiles(images, 2)
    assert found.shape == (2 * 2 * 3, 3, 2, 2)
    assert np.array_equal(found[4], images[0, :, 2:4, 2:4])


def joined_with_the_input(levels):
    """A model whose last layers hear the input beside others."""
    last = LAYERS[3] | {"sources": ["input", "conv1", "conv2", "conv3"], "upsample": [1, 1, 2, 4]}
    images = data()
    model = build_model(recipe(layers=[*LAYERS[:3], last], levels=levels), images, seed=3)
    with torch.no_grad():
        model(torch.tensor(images.train_images))  # statistics of batch norm
    return model.eval(), images


@pytest.mark.parametrize(
    ("levels", "entry", "sentence"),
    [
        ({}, {"encoding": "graded", "bits": 8}, "joins graded input with levels of other"),
        ({"activations": 2}, {"encoding": "ternary", "thresholds": [9, 99]}, "(levels.activations "
         "is 2), which have no unit in common; only ternary input joins others, where"),
        ({"weights": "float", "activations": "float"}, {"encoding": "bitplane", "bits": 8},
         "joins bitplane input with levels of other layers (levels.activations is 'float')"),
    ],
)  # fmt: skip
def test_an_input_of_another_unit_is_refused_before_training(levels, entry, sentence):
    last = {**LAYERS[3], "sources": ["input", "conv1", "conv2", "conv3"], "upsample": [1, 1, 2, 4]}
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        recipe(layers=[*LAYERS[:3], last], levels=levels, input=entry)


def test_ternary_input_joins_ternary_levels():
    last = {**LAYERS[3], "sources": ["input", "conv1", "conv2", "conv3"], "upsample": [1, 1, 2, 4]}
    entry = {"encoding": "ternary", "thresholds": [9, 99]}
    model = build_model(recipe(layers=[*LAYERS[:3], last], input=entry), data(), seed=1).eval()
    export(model, data().test_images, name="graph")  # proves every level


def test_grey_values_join_nothing_in_integers(monkeypatch):
    """A grey value is level / 256, a ternary activation level / 1: no threshold folds both."""
    monkeypatch.setattr(Recipe, "_check_units", lambda *_: None)  # which refuses it already
    model, images = joined_with_the_input({})
    with pytest.raises(NetworkError) as error:
        export(model, images.test_images, name="graph")
    assert str(error.value) == (
        "layer 'conv4' joins levels of different units (input, conv1, conv2, conv3), which no "
        "threshold folds; join layers of one space"
    )
    model, images = joined_with_the_input({"weights": "float", "activations": "float"})
    with pytest.raises(NetworkError) as error:
        quantize(model, torch.tensor(images.train_images))
    assert str(error.value) == (
        "layer 'conv4' joins the input with float levels, which have no unit in common; join "
        "layers only"
    )


def put_data(monkeypatch):
    """Training reads what is made here."""
    monkeypatch.setattr("neuromorph.training.recipe.load_data", lambda *_: data())


def test_pixels_with_labels_are_not_shifted(tmp_path, monkeypatch):
    put_data(monkeypatch)
    shifted = recipe(data={"name": "sstem-vnc", "shift": 2})
    with pytest.raises(RecipeError) as error:
        Training(shifted, seed=1, folder=None, out=tmp_path)
    assert str(error.value) == (
        "data.shift is 2, but images of 'sstem-vnc' have a label a pixel, which cannot be shifted "
        "in; leave it out"
    )


def test_the_seed_that_ships_is_the_best_by_dice_on_validation(tmp_path, monkeypatch):
    put_data(monkeypatch)
    result = train_seeds(recipe(), [1, 2, 3], out=tmp_path, progress=False)
    found = {seed["seed"]: seed for seed in result["seeds"]}
    best = max(found, key=lambda seed: (found[seed]["validation_dice"], -seed))
    assert result["network"]["seed"] == best
    assert result["network"]["rule"] == "the seed of the best validation dice at the last epoch"
    network = load_network(tmp_path)
    dices = [found[seed]["deployed_test_dice"] for seed in (1, 2, 3)]
    assert network.meta["test_dice"] == pytest.approx(found[best]["deployed_test_dice"])
    assert network.meta["dice_mean"] == pytest.approx(np.mean(dices))
    assert network.meta["dice_sd"] == pytest.approx(np.std(dices, ddof=1))
    card = (tmp_path / "card.md").read_text()
    assert f"**Test Dice {np.mean(dices):.3f} ± {np.std(dices, ddof=1):.3f}** of class 1" in card


def test_neurobench_refuses_a_graph():
    images = data()
    model = build_model(recipe(), images, seed=3)
    network = export(model.eval(), images.test_images[:1], name="graph")
    with pytest.raises(NetworkError) as error:
        to_torch(network)
    assert str(error.value) == (
        "NeuroBench's model takes plain sequences of layers only; layer 'conv4' of network "
        "'graph' hears 'conv1', 'conv2', 'conv3'"
    )
