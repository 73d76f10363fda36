"""Angles and correlations: Monte Carlo, closed forms, and a network by hand."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from networks import random_graph, random_samples, run_oracle
from neuromorph.cli.main import main
from neuromorph.data import load_data
from neuromorph.errors import NetworkError
from neuromorph.geometry import (
    angles,
    draw_geometry,
    geometry,
    load_hidden,
    normal_angle,
    random_rotation,
    rotated_sign,
    ternary_angle,
)
from neuromorph.network import Conv2d, Flatten, Input, Linear, Readout, Threshold


def test_sign_keeps_a_normal_vector_at_37_degrees():
    w = np.random.default_rng(0).normal(size=(200, 10_000))
    found = angles(w, np.sign(w))
    assert found.mean() == pytest.approx(37.07, abs=0.1)


def test_the_spread_of_angles_shrinks_with_the_root_of_the_dimension():
    """Of mean |w| / root mean square, by the delta method: sd of cos is √((1 − 3/π) / d)."""
    rng = np.random.default_rng(1)
    for d in (27, 1000):
        w = rng.normal(size=(4000, d))
        spread = np.cos(np.radians(angles(w, np.sign(w)))).std()
        # 4000 draws know a deviation to 1.1 %; the delta method is of first order in 1/d
        assert spread == pytest.approx(np.sqrt((1 - 3 / np.pi) / d), rel=0.1)


@pytest.mark.parametrize(
    ("t", "angle", "zeros"),
    [(0, 37.07, 0), (0.111, 33.84, 8.8), (0.3, 29.24, 23.6), (0.5, 26.32, 38.3), (0.612, 25.85, 46),
     (0.7, 26.14, 51.6), (1.0, 30.78, 68.3)],
)  # fmt: skip
def test_ternary_angles(t, angle, zeros):
    w = np.random.default_rng(2).normal(size=(50, 10_000))
    ternary = np.sign(w) * (np.abs(w) > t)
    assert angles(w, ternary).mean() == pytest.approx(angle, abs=0.1)
    assert ternary_angle(t) == pytest.approx(angle, abs=0.01 if t else 0.02)
    assert normal_angle(ternary.astype(int)) == pytest.approx(angle, abs=0.1)
    assert 100 * (ternary == 0).mean() == pytest.approx(zeros, abs=0.3)


def test_no_threshold_is_better_than_0_612():
    t = np.linspace(0, 2, 2001)
    assert t[ternary_angle(t).argmin()] == pytest.approx(0.612, abs=0.001)


def test_shares_of_many_levels():
    w = np.random.default_rng(3).normal(size=(20, 20_000))
    levels = np.clip(np.round(w * 2), -4, 4).astype(int)
    assert normal_angle(levels) == pytest.approx(angles(w, levels).mean(), abs=0.1)
    assert normal_angle([0, 0]) == 90.0


def test_a_rotation_is_orthogonal_and_brings_back_37_degrees():
    d = 500
    rotation = random_rotation(d, 4)
    # 500 products of float64
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(d), atol=1e-12)
    assert np.array_equal(rotation, random_rotation(d, 4))
    x = np.random.default_rng(5).normal(size=(200, d)) * np.exp(-0.1 * np.arange(d))
    assert angles(x, np.sign(x)).mean() > 60  # the variance sits in a few components
    assert angles(x, rotated_sign(x, rotation)).mean() == pytest.approx(37.07, abs=0.5)


def tiny(rng, n=1):
    """784 inputs would do; 60 are enough: two layers with thresholds of ±6."""
    draw = rng.integers(-1, 2, (30, 60)) if n else rng.choice([-1, 1], (30, 60))
    return nm.Network(
        name="tiny",
        input=Input(shape=(60,)),
        layers=[
            Linear(name="a", weights=draw, n=n),
            Threshold(thresholds=np.tile([-5, 6], (30, 1))),
            Linear(name="b", weights=rng.choice([-1, 1], (4, 30))),
            Readout(),
        ],
    )


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(6)
    network = tiny(rng)
    samples = rng.integers(-1, 2, (300, 60))
    hidden = [
        s.weights[:, :, 0, 0] * rng.uniform(0.1, 1, s.weights.shape[:2]) for s in network.stages
    ]
    report = geometry(network, samples, hidden=[hidden])
    sums = samples @ network.stages[0].weights[:, :, 0, 0].T
    real = samples @ hidden[0].T
    first = report.layers[0]
    wanted = np.mean([np.corrcoef(sums[:, i], real[:, i])[0, 1] for i in range(30)])
    assert first.sums_r == pytest.approx(wanted)
    centred = real - real.mean(0)
    wanted = np.polyfit(centred.ravel(), (sums - sums.mean(0)).ravel(), 1)[0]
    assert first.slope == pytest.approx(wanted)
    levels = np.where(sums >= 6, 1, 0) - np.where(sums < -5, 1, 0)
    wanted = np.mean([np.corrcoef(sums[:, i], levels[:, i])[0, 1] for i in range(30)])
    assert first.levels_r == pytest.approx(wanted)
    assert first.window == pytest.approx((5.5 / sums.std(0)).mean())
    assert first.same_signs == 1.0
    second = np.mean([np.corrcoef(levels @ network.stages[1].weights[i, :, 0, 0],
                                  levels @ hidden[1][i])[0, 1] for i in range(4)])  # fmt: skip
    assert report.layers[1].sums_r == pytest.approx(second)
    assert report.layers[1].levels_r is None
    # inputs are independent here, so permuting them changes no more than chance does
    assert first.sums_r_permuted == pytest.approx(first.sums_r, abs=0.02)


def test_inputs_with_structure_leave_the_normal_line_and_permuted_ones_come_back():
    rng = np.random.default_rng(7)
    w = rng.normal(size=(200, 400))
    network = nm.Network(
        name="one", input=Input(shape=(400,)),
        layers=[Linear(name="a", weights=np.where(w < 0, -1, 1), n=0), Readout()],
    )  # fmt: skip
    common = rng.integers(-1, 2, (500, 1)) * np.ones((1, 400), int)
    samples = np.where(rng.random((500, 400)) < 0.8, common, 0)
    layer = geometry(network, samples, hidden=[[w]]).layers[0]
    assert layer.sums_r < 0.75  # one direction carries most of the variance
    assert layer.sums_r_permuted == pytest.approx(layer.sums_r_normal, abs=0.02)
    assert layer.sums_r_normal == pytest.approx(np.sqrt(2 / np.pi), abs=0.001)
    assert layer.angle_mean == pytest.approx(37.07, abs=0.3)


def test_convolutions_meet_the_patches_they_see():
    rng = np.random.default_rng(8)
    weights = rng.integers(-1, 2, (5, 2, 3, 3))
    network = nm.Network(
        name="conv", input=Input(shape=(2, 6, 6)),
        layers=[
            Conv2d(name="c", weights=weights, stride=(2, 1), padding=(1, 0)),
            Threshold(thresholds=np.tile([0, 2], (5, 1))),
            Flatten(),
            Linear(name="out", weights=rng.integers(-1, 2, (3, 60))),
            Readout(),
        ],
    )  # fmt: skip
    samples = rng.integers(-1, 2, (40, 2, 6, 6))
    real = weights + rng.normal(size=weights.shape) / 3
    report = geometry(network, samples, hidden=[[real, np.ones((3, 60))]])
    torch = pytest.importorskip("torch", reason="torch is not installed")
    one, other = (
        torch.nn.functional.conv2d(
            torch.tensor(samples).double(), torch.tensor(w).double(), stride=(2, 1), padding=(1, 0)
        ).transpose(0, 1).reshape(5, -1).numpy()
        for w in (weights, real)
    )  # fmt: skip
    wanted = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other)])
    assert report.layers[0].sums_r == pytest.approx(wanted)


def test_hidden_weights_of_a_training_and_the_command(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from neuromorph.training import parse_recipe, train_seeds

    recipe = parse_recipe(
        'name = "tiny"\nlayers = [{ kind = "linear", features = 40 }]\n[data]\nname = "digits"\n'
        '[input]\nencoding = "ternary"\nthresholds = [5, 11]\n[levels]\nweights = 0\n'
        'activations = 1\nmethod = "sign"\n[training]\nepochs = 2\n'
    )
    train_seeds(recipe, 2, out=tmp_path, progress=False)
    network = nm.load_network(tmp_path)
    seed = network.meta["seed"]
    checkpoints = [tmp_path / "checkpoints" / f"seed-{s}.safetensors" for s in (seed, 3 - seed)]
    hidden = load_hidden(checkpoints[0], network)
    report = geometry(network, load_data("digits").test_images[:100], hidden=[hidden])
    assert all(layer.same_signs == 1.0 for layer in report.layers)
    assert report.layers[0].angle_mean == pytest.approx(
        angles(hidden[0].reshape(40, -1), np.sign(hidden[0].reshape(40, -1))).mean()
    )
    out = tmp_path / "geometry.png"
    args = ["geometry", str(tmp_path), "--samples", "50", "--out", str(out)]
    result = CliRunner().invoke(main, [*args, "--hidden", str(checkpoints[1]), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert any("are of another run (another seed?)" in note for note in found["notes"])
    assert "no hidden weights given" not in result.output
    if out.exists():
        assert out.read_bytes()[:4] == b"\x89PNG"
    result = CliRunner().invoke(main, args[:4])
    assert "no hidden weights given" in " ".join(result.output.split())
    assert "zero window of" in " ".join(result.output.split())


def test_what_cannot_be_measured_is_said_in_one_sentence(tmp_path):
    rng = np.random.default_rng(9)
    network = tiny(rng)
    with pytest.raises(NetworkError, match="correlates over samples; give at least two"):
        geometry(network, np.zeros((1, 60), int))
    with pytest.raises(NetworkError, match="cannot read hidden weights from nowhere"):
        load_hidden("nowhere", network)
    with pytest.raises(NetworkError, match="a picture of angles needs hidden weights"):
        draw_geometry(geometry(network, np.zeros((2, 60), int)), tmp_path / "a.png")
    digits = nm.load_network("digits-gxnor")
    with pytest.raises(NetworkError, match="does not have the 4 layers of network 'digits-gxnor'"):
        load_hidden(nm.save_network(network, tmp_path / "tiny.safetensors"), digits)
    other = nm.Network(
        name="other", input=Input(shape=(60,)),
        layers=[
            Linear(name="a", weights=rng.integers(-1, 2, (20, 60))),
            Threshold(thresholds=np.tile([-5, 6], (20, 1))),
            Linear(name="b", weights=rng.integers(-1, 2, (4, 20))),
            Readout(),
        ],
    )  # fmt: skip
    file = nm.save_network(other, tmp_path / "other.safetensors")
    with pytest.raises(
        NetworkError, match=r"layer 'a' has weights of shape \[20, 60, 1, 1\]; netw"
    ):
        load_hidden(file, network)
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(NetworkError, match="is neither a training checkpoint nor a network file"):
        load_hidden(tmp_path / "x.safetensors", network)


def test_snapshots_are_averaged(tmp_path):
    rng = np.random.default_rng(10)
    network = tiny(rng)
    file = nm.save_network(network, tmp_path / "tiny.safetensors")
    same = load_hidden(file, network)
    report = geometry(network, rng.integers(-1, 2, (20, 60)), hidden=[same, same])
    assert report.layers[0].angle_mean == pytest.approx(0, abs=1e-5)  # arccos near 1
    assert report.layers[0].sums_r == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_that_joins_others_is_measured_on_what_it_hears(seed):
    """Against itself every angle is 0 and sums are the same; levels correlate as the oracle's."""
    network = random_graph(seed)
    raw = random_samples(network, np.random.default_rng(seed), 12)
    report = geometry(network, raw, hidden=[[s.weights.astype(float) for s in network.stages]])
    oracle = run_oracle(network, raw)
    for stage, layer, wanted in zip(network.stages, report.layers, oracle, strict=True):
        assert layer.name == stage.name == wanted.name
        if layer.sums_r is not None:
            assert layer.sums_r == pytest.approx(1)
        if stage.levels is None or stage.pool is not None:
            continue
        columns = [
            np.moveaxis(values.reshape(-1, *stage.sum_shape), 1, -1).reshape(-1, len(stage.weights))
            for values in (wanted.levels, wanted.sums)
        ]
        found = [
            np.corrcoef(stage.directions[c] * columns[1][:, c], columns[0][:, c])[0, 1]
            for c in range(len(stage.weights))
            if all(column[:, c].std() > 0 for column in columns)
        ]
        # channels that never change are left out on both sides
        if found:
            assert layer.levels_r == pytest.approx(np.mean(found))
