"""Whole trainings: they learn, resume bit for bit, and stop with one sentence where they must."""

import errno
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.errors import RecipeError
from neuromorph.network import Input, load_network
from neuromorph.training import parse_recipe, squared_hinge, train, train_seeds
from neuromorph.training.measure import accuracy, measure_rest
from neuromorph.training.models import Encoder
from neuromorph.training.train import Training

TEXT = """
name = "tiny"
description = "A tiny network"
layers = [
    { kind = "conv", channels = 8, kernel = 3, padding = 1, pool = 2 },
    { kind = "linear", features = 32 },
]
[data]
name = "digits"
shift = 1
[input]
encoding = "ternary"
thresholds = [5, 11]
[optimizer]
rate = 0.1
[training]
epochs = 3
batch = 50
"""
RECIPE = parse_recipe(TEXT)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(out, recipe=RECIPE, seed=1):
    return Training(recipe, seed=seed, folder=None, out=out)


def state(training):
    """Everything that goes on living: weights, buffers, optimizer state, history."""
    optimizer = training.optimizer.state_dict()
    moments = {
        (index, key): value
        for index, entries in optimizer["state"].items()
        for key, value in entries.items()
    }
    return training.model.state_dict() | moments, optimizer["param_groups"], training.history


def assert_same(one, other):
    (tensors, groups, history), (tensors2, groups2, history2) = one, other
    assert tensors.keys() == tensors2.keys()
    for key, value in tensors.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(tensors2[key])), key
    assert groups == groups2
    assert history == history2


@pytest.mark.parametrize("increments", ["adam", "sgd"])
def test_resume_is_bit_for_bit(tmp_path, increments):
    recipe = parse_recipe(TEXT.replace("rate = 0.1", f'rate = 0.1\nincrements = "{increments}"'))
    straight = start(tmp_path / "straight", recipe)
    while not straight.is_done:
        straight.epoch()
    first = start(tmp_path / "stopped", recipe)
    first.epoch()
    first.epoch()
    second = start(tmp_path / "stopped", recipe)
    second.resume()
    assert not second.is_done
    second.epoch()
    assert second.is_done
    assert_same(state(straight), state(second))


def test_number_of_threads_changes_nothing(tmp_path):
    one = start(tmp_path / "one")
    one.epoch()
    torch.set_num_threads(2)
    two = start(tmp_path / "two")
    two.epoch()
    assert torch.get_num_threads() == 2
    assert_same(state(one), state(two))


def test_short_training_learns_and_measures(tmp_path):
    trained = train(RECIPE, seed=1, out=tmp_path, epochs=8, progress=False)
    result = trained.result
    assert result["validation_accuracy"] > 0.35  # chance is 0.1; sd of 240 images 0.02
    assert result["test_accuracy"] > 0.35
    assert len(result["history"]) == 8
    assert result["history"][-1]["loss"] < result["history"][0]["loss"]
    assert result["optimizer_bits_per_weight"] == 64
    assert [layer["name"] for layer in result["layers"]] == ["conv1", "fc2", "output"]
    assert 0 < result["resting_fraction"] < 1
    again = train(RECIPE, seed=1, out=tmp_path, epochs=8, progress=False)
    assert again.result == result


def test_trial_sees_some_images_of_each_part_and_says_so(tmp_path):
    training = start(tmp_path / "part", RECIPE.with_limit(100))
    assert [len(training.part(p)[1]) for p in ("train", "validation", "test")] == [100] * 3
    whole = start(tmp_path).part("test")[0]
    spaced = [360 * i // 100 for i in range(100)]
    assert torch.equal(training.part("test")[0], whole[spaced])
    result = train_seeds(RECIPE.with_limit(100), 1, out=tmp_path, epochs=1, progress=False)
    assert result["recipe"]["data"]["limit"] == 100
    card = (tmp_path / "card.md").read_text()
    assert "**A trial** on 100 images" in card
    assert "recipe.toml --seeds 1 --limit 100\n" in card
    with pytest.raises(
        RecipeError, match="is 3, and so few training images show 3 of 10 classes; take more"
    ):
        start(tmp_path, RECIPE.with_limit(3))


def test_limit_below_two_is_refused():
    with pytest.raises(RecipeError, match="limit is 1; it must be at least 2, for batch norm"):
        RECIPE.with_limit(1)


def test_a_network_too_large_is_proven_on_some_images_and_says_so(tmp_path, monkeypatch):
    proven = []
    exporting = sys.modules["neuromorph.training.export"]
    monkeypatch.setattr(exporting, "prove", lambda network, model, raw: proven.append(raw))
    result = train_seeds(RECIPE, 1, out=tmp_path / "all", epochs=1, progress=False)
    assert "proof_images" not in result["network"]
    assert "of all test images" in (tmp_path / "all" / "card.md").read_text()
    pairs = sum(layer["synapses"] for layer in result["seeds"][0]["layers"])
    monkeypatch.setattr("neuromorph.training.seeds.PROOF_PAIRS", 100 * pairs)  # of 360 images
    result = train_seeds(RECIPE, 1, out=tmp_path / "some", epochs=1, progress=False)
    assert [len(images) for images in proven] == [360, 90]  # every fourth
    assert result["network"]["proof_images"] == 90
    assert "of 90 test images, one in so many" in (tmp_path / "some" / "card.md").read_text()


def test_best_test_epoch_stands_apart_and_decides_nothing(tmp_path):
    looking = parse_recipe(TEXT + "test_each_epoch = true")
    seen = train_seeds(looking, 2, out=tmp_path / "seen", progress=False)
    plain = train_seeds(RECIPE, 2, out=tmp_path / "plain", progress=False)
    for key in ("test_accuracy", "validation_accuracy", "network"):
        assert {**seen, "network": seen["network"]["hash"]}[key] == (
            {**plain, "network": plain["network"]["hash"]}[key]
        )
    for seed in seen["seeds"]:
        epochs = [entry["test_accuracy"] for entry in seed["history"]]
        assert epochs[-1] == seed["test_accuracy"]
        assert seed["best_test"]["test_accuracy"] == max(epochs)
        assert epochs[seed["best_test"]["epoch"] - 1] == max(epochs)
    best = np.mean([seed["best_test"]["test_accuracy"] for seed in seen["seeds"]])
    assert seen["best_test_accuracy"]["mean"] == pytest.approx(best)
    card = (tmp_path / "seen" / "card.md").read_text()
    assert "chosen on the *test* images" in card
    assert "Test images were read after it" not in card
    assert "best_test_accuracy" not in plain
    assert "chosen on the *test* images" not in (tmp_path / "plain" / "card.md").read_text()


def test_seeds_write_network_result_and_card(tmp_path):
    result = train_seeds(RECIPE, 2, out=tmp_path, progress=False)
    assert [seed["seed"] for seed in result["seeds"]] == [1, 2]
    accuracies = [seed["test_accuracy"] for seed in result["seeds"]]
    assert result["test_accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result["test_accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    best = max(result["seeds"], key=lambda seed: seed["validation_accuracy"])
    network = load_network(tmp_path)
    assert network.hash == result["network"]["hash"]
    assert network.meta["seed"] == best["seed"] == result["network"]["seed"]
    assert network.meta["seeds_mean"] == result["test_accuracy"]["mean"]
    assert network.meta["recipe_sha256"] == RECIPE.sha256
    filed = json.loads((tmp_path / "result.json").read_text())
    assert filed["seeds"][1]["history"][2].keys() == {"loss", "validation_accuracy"}
    card = (tmp_path / "card.md").read_text()
    assert f"{100 * result['test_accuracy']['mean']:.2f} ±" in card
    assert "neuromorph train networks/tiny/recipe.toml --seeds 2" in card
    assert "state of 64 bits (Adam's two float32 moments)" in card
    assert "55.6%" in card
    assert result["seeds"][0]["devices"] == [f"CPU (torch {torch.__version__})"]
    assert f"Trained on CPU (torch {torch.__version__}).\n" in card
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1]])
def test_impossible_seeds(tmp_path, seeds):
    with pytest.raises(RecipeError, match="give how many"):
        train_seeds(RECIPE, seeds, out=tmp_path, progress=False)


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    training = msgspec.structs.replace(RECIPE.training, batch=2000)
    with pytest.raises(RecipeError) as error:
        start(tmp_path, msgspec.structs.replace(RECIPE, training=training))
    assert str(error.value) == (
        "training.batch is 2000, but data set 'digits' has 1197 images to train on; take a smaller "
        "batch"
    )
    trial = msgspec.structs.replace(RECIPE, training=training).with_limit(100)
    start(tmp_path, trial).epoch()  # in one step


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    start(tmp_path).epoch()
    other = start(tmp_path, RECIPE.with_epochs(9))
    with pytest.raises(
        RecipeError, match="is of another recipe, number of epochs, limit or seed; give"
    ):
        other.resume()


def test_a_card_names_every_device_and_what_a_gpu_cannot_promise(tmp_path):
    first = start(tmp_path, RECIPE.with_epochs(2))
    first.epoch()
    first.devices[:] = ["NVIDIA H200 (torch 2.11.0)"]
    first.epoch()
    result = train_seeds(RECIPE, [1], out=tmp_path, epochs=2, progress=False)
    here = f"CPU (torch {torch.__version__})"
    assert result["seeds"][0]["devices"] == ["NVIDIA H200 (torch 2.11.0)", here]
    card = (tmp_path / "card.md").read_text()
    assert f"Trained on NVIDIA H200 (torch 2.11.0), {here}; a GPU adds up in any order" in card


def test_resume_can_be_declined(tmp_path):
    start(tmp_path).epoch()
    trained = train(RECIPE, seed=1, out=tmp_path, epochs=1, resume=False, progress=False)
    assert len(trained.result["history"]) == 1


def test_broken_checkpoints_are_refused(tmp_path):
    training = start(tmp_path)
    training.epoch()
    whole = training.checkpoint.read_bytes()
    for content, sentence in (
        (b"", "cannot be read"),
        (whole[:1000], "cannot be read"),
        (b"foreign" * 100, "cannot be read"),
        (whole.replace(b"neuromorph-checkpoint 2", b"neuromorph-checkpoint 9"), "not a checkpoint"),
        (whole.replace(b'\\"betas\\"', b'\\"bitas\\"'), "is damaged; delete it"),
    ):
        training.checkpoint.write_bytes(content)
        with pytest.raises(RecipeError, match=sentence):
            start(tmp_path).resume()


def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    training = start(tmp_path)
    training.epoch()
    kept = training.checkpoint.read_bytes()
    with torch.no_grad():
        training.model.stages[0].norm.gamma.fill_(float("nan"))
        training.model.stages[-1].norm.gamma.fill_(float("nan"))
    with pytest.raises(
        RecipeError, match="the loss of epoch 2 is nan; the checkpoint of epoch 1 is kept; lower"
    ):
        training.epoch()
    assert training.checkpoint.read_bytes() == kept
    for stage in training.model.stages:
        assert set(stage.synapses.weight.flatten().tolist()) <= {-1.0, 0.0, 1.0}


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(RecipeError, match=r"cannot write .*out/checkpoints/seed-1\.probe: "):
        train(RECIPE, seed=1, out=tmp_path / "out", epochs=10**6, progress=False)  # at once


def test_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    training = start(tmp_path)
    training.epoch()
    kept = training.checkpoint.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(RecipeError, match=r"cannot write .*: No space left on device"):
            training.epoch()
    assert training.checkpoint.read_bytes() == kept
    assert [path.name for path in training.checkpoint.parent.iterdir()] == ["seed-1.safetensors"]


def test_progress_goes_to_standard_error(tmp_path, capsys):
    train(RECIPE, seed=1, out=tmp_path, epochs=1, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "tiny seed 1" in printed.err


def test_shift_moves_every_sample_by_its_own_draw(tmp_path):
    training = start(tmp_path)
    moved, labels = training.varied(0)
    plain = torch.tensor(training.data.train_images)
    assert torch.equal(moved, training.varied(0)[0])
    assert torch.equal(labels, torch.tensor(training.data.train_labels))
    assert not torch.equal(moved, training.varied(1)[0])
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1))
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)[:, 0].reshape(len(plain), 9, 8, 8)
    hits = (windows == moved).all(dim=3).all(dim=2)
    assert hits.any(dim=1).all()
    # every one of nine shifts is drawn for about 1/9 of 1197 samples, up to 4 sigma
    assert (hits.sum(dim=0) > 1197 / 9 - 4 * (1197 * 8 / 81) ** 0.5).all()


def test_order_is_a_permutation_of_its_epoch(tmp_path):
    training = start(tmp_path)
    orders = [training._order(epoch).tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1197))


def test_squared_hinge_by_hand():
    scores = torch.tensor([[0.5, -2.0], [0.0, 1.0]])
    # targets (+1, −1), (−1, +1): margins 0.5, 0 (satisfied), 1, 0
    assert squared_hinge(scores, torch.tensor([0, 1])).item() == pytest.approx((0.25 + 1) / 4)


def test_rest_is_counted_over_pairs(tmp_path):
    """Against loops over every pair of a small batch."""
    model = start(tmp_path).model.eval()
    images = torch.tensor(load_data("digits").test_images[:3])
    layers = measure_rest(model, images)
    with torch.no_grad():
        values = [part.numpy() for part in model.outputs(images)]
    weights = model.stages[0].synapses.weight.detach().numpy()
    pairs = events = 0
    for sample in values[0]:
        for y in range(8):
            for x in range(8):
                for dy in range(3):
                    for dx in range(3):
                        row, column = y + dy - 1, x + dx - 1
                        if 0 <= row < 8 and 0 <= column < 8:
                            pairs += 8
                            events += int(sample[0, row, column] != 0) * int(
                                (weights[:, 0, dy, dx] != 0).sum()
                            )
    assert layers[0]["synapses"] * 3 == pairs
    assert layers[0]["resting_fraction"] == pytest.approx(1 - events / pairs)
    dense = values[1].reshape(3, -1) != 0
    used = model.stages[1].synapses.weight.detach().numpy() != 0
    both = (dense[:, None, :] & used[None]).mean()
    assert layers[1]["resting_fraction"] == pytest.approx(1 - both)
    assert layers[1]["input_density"] == pytest.approx(dense.mean())


def test_accuracy_breaks_ties_to_the_lowest_class(tmp_path):
    model = start(tmp_path).model
    with torch.no_grad():
        model.stages[-1].norm.gamma.zero_()
        model.stages[-1].norm.beta.zero_()
    images = torch.zeros((4, 1, 8, 8), dtype=torch.uint8)
    assert accuracy(model, images, torch.tensor([0, 0, 1, 0])) == 0.75
    assert model.training


@pytest.mark.parametrize("thresholds", [(-6, 19), (100, 256), (300, 300)])
def test_thresholds_outside_the_type_of_the_images(thresholds):
    """Images are uint8, in which 256 would be 0."""
    raw = np.array([[0, 99, 100, 255]], np.uint8)
    spec = Input(shape=(4,), thresholds=thresholds)
    wanted = (raw >= thresholds[1]).astype(int) - (raw < thresholds[0])
    assert np.array_equal(Encoder(spec)(torch.tensor(raw)).numpy(), wanted)
