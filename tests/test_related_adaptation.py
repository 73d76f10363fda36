"""A float network adapted to one width after another: the series, its files, its command."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from test_related_fixedpoint import TEXT

import neuromorph as nm
from neuromorph.cli.main import main
from neuromorph.data import load_data
from neuromorph.errors import RecipeError
from neuromorph.training import parse_recipe
from neuromorph.training.adaptation import adapt_widths
from neuromorph.training.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "lenet.toml").write_text(TEXT)
    train(parse_recipe(TEXT), seed=1, out=folder, progress=False)
    return folder


def test_the_command_adapts_counts_and_prices(trained, tmp_path):
    out = tmp_path / "adapted"
    call = ["adapt", str(trained / "lenet.toml"), "--trained", str(trained), "--out", str(out)]
    call += ["--bits", "16,8,2", "--epochs", "1", "--samples", "40", "--quiet", "--json"]
    done = CliRunner().invoke(main, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    rows = result["rows"]
    assert [row["bits"] for row in rows] == [32, 16, 8, 2]
    assert [row["network"] for row in rows] == [
        None,
        "lenet-q16.safetensors",
        "lenet-q8.safetensors",
        "lenet-q2.safetensors",
    ]
    # 16 and 8 bits are the float network within a few of 360 images; 2 bits are rounded hard
    float_, wide, eight, two = (row["test_accuracy"] for row in rows)
    assert abs(float_ - wide) < 0.02
    assert abs(float_ - eight) < 0.03
    assert two < eight
    assert two > 0.2  # chance: 0.1
    assert rows[3]["energy_j"]["p50"] < rows[2]["energy_j"]["p50"]
    assert rows[2]["energy_j"]["p50"] < rows[1]["energy_j"]["p50"]
    assert "energy_j" not in rows[0]
    assert (out / "adapt.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "adapt.json").read_text())["rows"] == rows
    for row in rows[1:]:
        network = nm.load_network(out / row["network"])
        data = load_data("digits")
        chip = replace(nm.load_chip("gxnor45"), accumulator_bits=48)  # 16 are too few for 8 bits
        run = nm.simulate(nm.map_network(network, chip), data.test_images, mode="count")
        right = (network.predict(run.outputs) == data.test_labels).mean()
        assert right == pytest.approx(row["test_accuracy"], abs=1e-12)
    assert all(f["weights"]["format"] for row in rows[1:] for f in row["formats"])


def test_training_on_that_makes_it_worse_is_not_kept(trained, tmp_path):
    options = {"trained": trained, "overflow": 0.0, "progress": False}
    ruinous = adapt_widths(parse_recipe(TEXT), [8], out=tmp_path / "a", rate=3.0, **options)
    rounded = adapt_widths(parse_recipe(TEXT), [8], out=tmp_path / "b", epochs=0, **options)
    options |= {"overflow": 0.1, "rate": 3e-3}
    gentle = adapt_widths(parse_recipe(TEXT), [3], out=tmp_path / "c", **options)
    assert ruinous["rows"] == rounded["rows"]
    assert ruinous["rows"][1]["tuned"] is False
    (row,) = gentle["rows"][1:]
    assert row["tuned"]
    assert row["validation_accuracy"] > row["rounded_accuracy"]


def test_an_adapted_network_is_adapted_on_from_its_unrounded_parameters(trained, tmp_path):
    options = {"trained": trained, "epochs": 0, "overflow": 0.0, "progress": False}
    chain = adapt_widths(parse_recipe(TEXT), [16, 8, 4], out=tmp_path / "a", **options)
    alone = adapt_widths(parse_recipe(TEXT), [4], out=tmp_path / "b", **options)
    assert chain["rows"][-1] == alone["rows"][-1]  # without training on, rounding is not added up


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        ("8,16", r"bits are \[8, 16\]; give widths that fall, as in 16,8,4,2"),
        ("8,8", r"bits are \[8, 8\]; give widths that fall"),
        ("17,8", r"bits are \[17, 8\]; fixed point takes 2 to 16"),
        ("4,1", r"bits are \[4, 1\]; fixed point takes 2 to 16"),
        ("8,x", r"'8,x' are no whole numbers with commas between, as in 16,8,4,2"),
    ],
)
def test_widths_that_are_none_are_refused(trained, bits, sentence, tmp_path):
    call = ["adapt", str(trained / "lenet.toml"), "--trained", str(trained), "--bits", bits]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert re.search(sentence, done.stderr.replace("\n", " ")), done.stderr
    assert not (tmp_path / "o").exists()


def test_what_cannot_be_adapted_is_said(trained, tmp_path):
    discrete = parse_recipe(TEXT.replace('weights = "float"', "weights = 1"))
    with pytest.raises(RecipeError, match="has discrete weights or activations; adapt takes a flo"):
        adapt_widths(discrete, trained=trained, out=tmp_path)
    with pytest.raises(
        RecipeError, match=r"holds no finished training of 'lenet', seed 7; first run: neuromorph t"
    ):
        adapt_widths(parse_recipe(TEXT), trained=trained, seed=7, out=tmp_path)
