"""Sweeps: which variants are trained, what is written, what is refused before anything runs."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from click.testing import CliRunner

from neuromorph.cli import main
from neuromorph.errors import RecipeError
from neuromorph.training import load_recipe, parse_recipe, sweep, train_seeds
from neuromorph.training.sweep import parse_axis, vary
from neuromorph.workers import Workers

TEXT = """
name = "tiny"
layers = [{ kind = "linear", features = 8 }]
[data]
name = "digits"
[input]
encoding = "ternary"
thresholds = [5, 11]
[optimizer]
rate = 0.1
[training]
epochs = 1
batch = 200
"""


def test_vary_sets_the_key_and_nothing_else():
    recipe = parse_recipe(TEXT)
    varied = vary(recipe, {"activation.r": 0.25, "levels.weights": "float"})
    assert (varied.activation.r, varied.levels.weights) == (0.25, "float")
    assert vary(varied, {"activation.r": 0.5, "levels.weights": 1}) == recipe


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("activation.r=0.1, 0.5", ("activation.r", [0.1, 0.5])),
        ("levels.weights=0,1,float", ("levels.weights", [0, 1, "float"])),
        ("data.flip=true,false", ("data.flip", [True, False])),
        ("optimizer.transition=tanh,unbiased", ("optimizer.transition", ["tanh", "unbiased"])),
    ],
)
def test_axes_are_read(text, axis):
    assert parse_axis(text) == axis


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("activation.r", "write key=value,value"),
        ("=1", "write key=value,value"),
        ("activation.r=", "write key=value,value"),
        ("activation.r=0.1,,0.2", "write key=value,value"),
        ("activation.r=0.1,0.1", "sweep over 'activation.r' names a value twice"),
    ],
)
def test_bad_axes_are_refused(text, sentence):
    with pytest.raises(RecipeError, match=sentence):
        parse_axis(text)


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (
            [("activation.q", [1])],
            "sweep key 'activation.q' is no key of a recipe; keys are data.name",
        ),
        ([("layers.0.features", [1])], "sweep key 'layers.0.features' is no key of a recipe"),
        (
            [("activation.r", [0.5, -1.0])],
            "activation.r is -1.0; it must be a number, at least 0 and below 1,000",
        ),
        ([("activation.r", [0.5]), ("activation.r", [0.6])], "the sweep names a key twice"),
        ([("training.batch", list(range(2, 1003)))], "has 1001 combinations; at most 1000"),
    ],
)
def test_nothing_is_trained_if_a_combination_is_impossible(axes, sentence, tmp_path):
    with pytest.raises(RecipeError, match=sentence):
        sweep(parse_recipe(TEXT), axes, 1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sweep_trains_every_combination_and_goes_on(tmp_path):
    axes = [("activation.r", [0.2, 0.9]), ("levels.weights", [0, 1])]
    first = sweep(parse_recipe(TEXT), axes, 2, out=tmp_path, progress=False)
    assert [row["settings"] for row in first["rows"]] == [
        {"activation.r": r, "levels.weights": n} for r in (0.2, 0.9) for n in (0, 1)
    ]
    rows = {tuple(row["settings"].values()): row for row in first["rows"]}
    assert rows[0.9, 1]["activation_zeros"] > rows[0.2, 1]["activation_zeros"]
    assert rows[0.2, 0]["weight_zeros"] == 0 < rows[0.2, 1]["weight_zeros"]
    for row in first["rows"]:
        name = ",".join(f"{k}={v}" for k, v in row["settings"].items())
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert row["test_accuracy"]["mean"] == pytest.approx(
            result["test_accuracy"]["mean"], abs=1e-6
        )
    assert json.loads((tmp_path / "sweep.json").read_text())["rows"] == first["rows"]
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoints/*")}
    assert len(stamps) == 8
    assert sweep(parse_recipe(TEXT), axes, 2, out=tmp_path, progress=False) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoints/*")} == stamps


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_sweeps_are_drawn(axes, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    chosen = [("activation.r", [0.2, 0.9]), ("optimizer.m", [1.0, 3.0]), ("data.shift", [0, 1])]
    sweep(parse_recipe(TEXT), chosen[:axes], 1, out=tmp_path, progress=False)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_command_prints_the_table(tmp_path):
    (tmp_path / "recipe.toml").write_text(TEXT)
    common = ["train", str(tmp_path / "recipe.toml"), "--seeds", "1", "--quiet"]
    out = ["--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(main, [*common, *out, "--sweep", "activation.r=0.2,0.9", "--json"])
    assert answer.exit_code == 0, answer.output
    assert len(json.loads(answer.stdout)["rows"]) == 2
    answer = CliRunner().invoke(main, [*common, *out, "--sweep", "activation.r=0.2,0.9"])
    assert "activation.r = 0.9" in answer.stdout


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_seeds_side_by_side_are_the_same_networks(where, tmp_path):
    recipe = parse_recipe(TEXT)
    one = train_seeds(recipe, 2, out=tmp_path / "one", progress=False)
    out = {"out": tmp_path / "two", "progress": False}
    if where == "processes":
        two = train_seeds(recipe, 2, workers=Workers(jobs=2), **out)
    else:
        distributed = pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
        with distributed.LocalCluster(n_workers=2, dashboard_address=None) as local:
            two = train_seeds(recipe, 2, workers=Workers(cluster=local.scheduler_address), **out)
    assert one["network"]["hash"] == two["network"]["hash"]
    assert one["seeds"] == two["seeds"]


def test_a_cluster_that_writes_elsewhere(tmp_path, monkeypatch):
    far = tmp_path / "far" / "checkpoint"
    monkeypatch.setattr(Workers, "each", lambda self, function, tasks: (far for _ in tasks))
    with pytest.raises(RecipeError, match=r"trained into .*far.checkpoint, which is not here; on"):
        train_seeds(
            parse_recipe(TEXT), 2, out=tmp_path / "out", workers=Workers(cluster="tcp://x:1"),
            progress=False,
        )  # fmt: skip


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1], [2**64]])
def test_seeds_that_are_none(seeds, tmp_path):
    with pytest.raises(RecipeError, match=r"seeds is .*; give how many \(from 1\), or different"):
        train_seeds(load_recipe("digits-gxnor"), seeds, out=tmp_path, progress=False)
