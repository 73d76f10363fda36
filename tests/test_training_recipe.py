"""Recipes: what they say, and one sentence that names the key for each thing they must not say."""

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.errors import RecipeError
from neuromorph.training import build_model, load_recipe, parse_recipe
from neuromorph.training.recipe import ConvLayer, LinearLayer, OptimizerPart, Recipe

TEXT = """
name = "tiny"
layers = [
    { kind = "conv", channels = 3, kernel = 3, pool = 2 },
    { kind = "linear", features = 5 },
]
[data]
name = "digits"
[input]
encoding = "ternary"
thresholds = [5, 11]
[optimizer]
rate = 0.1
[training]
epochs = 2
"""


def test_recipe_with_defaults():
    recipe = parse_recipe(TEXT)
    assert recipe.layers == [
        ConvLayer(channels=3, kernel=3, stride=1, padding=0, pool=2),
        LinearLayer(features=5),
    ]
    assert (recipe.levels.weights, recipe.levels.activations) == (1, 1)
    assert (recipe.activation.r, recipe.activation.a, recipe.activation.pulse) == (
        0.5,
        0.5,
        "rectangular",
    )
    assert (recipe.optimizer.m, recipe.optimizer.transition) == (3.0, "tanh")


def test_model_of_a_recipe():
    model = build_model(parse_recipe(TEXT), load_data("digits"), seed=1)
    assert [stage.name for stage in model.stages] == ["conv1", "fc2", "output"]
    assert [tuple(stage.synapses.weight.shape) for stage in model.stages] == [
        (3, 1, 3, 3),
        (5, 27),
        (10, 5),
    ]
    twin = build_model(parse_recipe(TEXT), load_data("digits"), seed=2)
    assert not torch.equal(model.stages[1].synapses.weight, twin.stages[1].synapses.weight)


def test_hash_covers_what_decides_the_outcome():
    base = parse_recipe(TEXT).sha256
    assert parse_recipe(TEXT.replace('"tiny"', '"other"')).sha256 == base
    assert parse_recipe(TEXT + "seeds = 3").sha256 == base
    assert parse_recipe(TEXT + "test_each_epoch = true").sha256 == base
    assert parse_recipe(TEXT.replace("rate = 0.1", "rate = 0.2")).sha256 != base
    assert parse_recipe(TEXT).with_epochs(3).sha256 != base
    assert parse_recipe(TEXT).with_epochs(None).sha256 == base


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "rate = 0.1",
            "rat = 0.1",
            "unknown key 'optimizer.rat'; keys of optimizer are increments, betas, rate, ",
        ),
        (
            "epochs = 2",
            "epochs = 2\n[extra]",
            "unknown key 'extra'; keys here are name, data, input, layers, ",
        ),
        (
            "pool = 2",
            "pol = 2",
            "unknown key 'layers[0].pol'; keys of layers[0] are kind, channels, ",
        ),
        (
            "epochs = 2",
            "",
            "key 'training.epochs' is missing; it must be a whole number, 1 to 1,048,576",
        ),
        (
            "epochs = 2",
            'epochs = "2"',
            "training.epochs is '2'; it must be a whole number, 1 to 1,048,576",
        ),
        (
            "epochs = 2",
            "epochs = 0",
            "training.epochs is 0; it must be a whole number, 1 to 1,048,576",
        ),
        (
            "rate = 0.1",
            "betas = [1.0, 0.9]",
            "optimizer.betas[0] is 1.0; it must be a number, at least 0 and below 1",
        ),
        ('"linear"', '"lstm"', "layers[1].kind is 'lstm'; it must be 'conv' or 'linear'"),
        (
            "rate = 0.1",
            'transition = "sometimes"',
            "optimizer.transition is 'sometimes'; it must be 'tanh' or 'unbiased'",
        ),
        (
            "[optimizer]",
            "[levels]\nactivations = 2\n[activation]\nr = 1.0\n[optimizer]",
            "activation.r is 1.0 and activation.h is 1.0; need r < h",
        ),
        (
            "[optimizer]",
            "[levels]\nweights = 9\n[optimizer]",
            "levels.weights is 9; it must be a whole number, 0 to 8, or 'float'",
        ),
        ('"digits"', '"letters"', "data.name is 'letters'; known data sets are digits, mnist"),
        (
            "thresholds = [5, 11]",
            "",
            "input.thresholds is missing; ternary input needs [low, high]",
        ),
        ("[5, 11]", "[11, 5]", "input.thresholds is [11, 5]; need low <= high"),
        ("[5, 11]", "[5, 11]\nbits = 5", "input.bits is for bitplane and graded input, not for"),
        ('"ternary"', '"graded"', "input.bits is missing; graded input needs it"),
        (
            '"ternary"',
            '"graded"\nbits = 5',
            "input.thresholds is for ternary input, not for graded",
        ),
        (
            'kind = "linear", features = 5 }',
            'kind = "linear", features = 5 }, { kind = "conv", channels = 3, kernel = 3 }',
            "layers[2] is a conv after a linear layer; put convs first",
        ),
        (
            "pool = 2",
            "padding = 3",
            "layers[0].padding is 3; it must be smaller than the kernel, 3",
        ),
        (
            "pool = 2",
            "padding = 5, dilation = 2",
            "layers[0].padding is 5; it must be smaller than the kernel, 3 with dilation 2",
        ),
        (
            "[optimizer]",
            '[levels]\nmethod = "lab"\n[optimizer]',
            "levels.method 'lab' cannot make weights of Z_1; it makes Z_0, and Z_1 is made by dst, "
            "twn, lat_exact, lat_approx",
        ),
        (
            "[optimizer]",
            "[activation]\nslope = [8.0, 3.0]\n[optimizer]",
            "activation.slope is [8.0, 3.0]; it grows steeper, so give the lower first",
        ),
        (
            "pool = 2",
            "upsample = [2]",
            "layers[0].upsample is [2] but layers[0].sources is missing; name what is up-sampled",
        ),
        ("name", "name = =", "this is not a TOML file"),
        ('"tiny"', '"a b"', "name is 'a b'; it must be text of 1 to 64 letters, digits, - or _"),
        ("name", f"x = {'[' * 100_000}", "this is not a TOML file: maximum recursion depth"),
    ],
)
def test_bad_recipes_are_refused_by_the_key(tmp_path, old, new, sentence):
    assert old in TEXT
    file = tmp_path / "recipe.toml"
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    assert str(error.value).startswith(f"{file}: {sentence}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("kernel = 3", "kernel = 9", "layers[0]: kernel 9 with pool 2 does not fit its input"),
        (
            'encoding = "ternary"\nthresholds = [5, 11]',
            'encoding = "bitplane"\nbits = 4',
            "input.bits is 4, but data set 'digits' has values up to 16",
        ),
    ],
)
def test_recipe_that_does_not_fit_its_data(old, new, sentence):
    with pytest.raises(RecipeError) as error:
        build_model(parse_recipe(TEXT.replace(old, new)), load_data("digits"), seed=1)
    assert str(error.value) == sentence


def test_epochs_below_one():
    with pytest.raises(RecipeError, match="epochs is 0; it must be at least 1"):
        parse_recipe(TEXT).with_epochs(0)


def test_recipe_is_found_by_file_folder_and_name(tmp_path, monkeypatch):
    folder = tmp_path / "networks" / "tiny"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    for name in (folder / "recipe.toml", folder, "tiny"):
        assert load_recipe(name).name == "tiny"
    with pytest.raises(
        RecipeError, match=r"no recipe 'huge': no such file or folder; known .*tiny"
    ):
        load_recipe("huge")


def test_foreign_file(tmp_path):
    (tmp_path / "recipe.toml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(RecipeError, match="this is not a TOML file"):
        load_recipe(tmp_path)


def test_missing_torch_is_one_sentence():
    """In a process where torch cannot be imported; the package itself still can."""
    program = (
        "import sys; sys.modules['torch'] = None; import neuromorph, neuromorph.data\n"
        "from neuromorph.errors import MissingDependencyError\n"
        "try:\n    import neuromorph.training\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    wanted = "training needs torch; run: pip install 'neuromorph[train]'\n"
    assert done.stdout == wanted


def test_package_imports_no_torch():
    program = "import sys, neuromorph, neuromorph.data; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_every_key_is_in_the_docs():
    """Each field of a recipe stands in the table of docs/training.md."""
    text = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    for part in Recipe.__struct_fields__:
        inner = getattr(get_type_hints(Recipe)[part], "__struct_fields__", None)
        for key in inner or [part]:
            assert f"`{part}.{key}`" in table or f"`.{key}`" in table or f"`{key}`" in table, key
    for layer in (ConvLayer, LinearLayer):
        assert all(key in table for key in layer.__struct_fields__)


@pytest.mark.parametrize(
    ("schedule", "half"),
    [("quadratic", 0.25), ("linear", 0.5), ("constant", 1.0), ("exponential", 0.01)],
)
def test_schedules_start_at_one_and_fall(schedule, half):
    rules = OptimizerPart(schedule=schedule)
    assert rules.factor(0.0) == 1.0
    assert rules.factor(0.5) == pytest.approx(half, rel=1e-12)  # 10 ** x is rounded
