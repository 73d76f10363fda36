"""The shipped networks are what their recipe, result and card say."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from neuromorph.data import load_data
from neuromorph.network import load_network
from neuromorph.network.forward import run_stage
from neuromorph.training import load_recipe
from neuromorph.training.card import card

FOLDERS = sorted(path.parent for path in Path(__file__).parents[1].glob("networks/*/result.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folder_agrees_with_itself(folder):
    recipe, network = load_recipe(folder), load_network(folder)
    result = json.loads((folder / "result.json").read_text())
    assert recipe.name == network.name == folder.name
    assert recipe.sha256 == network.meta["recipe_sha256"] == result["recipe_sha256"]
    assert network.hash == result["network"]["hash"]
    assert network.meta["seed"] == result["network"]["seed"]
    for measure, mean in (("accuracy", "seeds_mean"), ("dice", "dice_mean")):
        if f"test_{measure}" in result:
            deployed = result[f"deployed_test_{measure}"]["mean"]
            assert network.meta[mean] == pytest.approx(deployed, abs=1e-6)
    assert (folder / "card.md").read_text() == card(recipe, result)
    if network.pixels:  # what a blurred threshold on the grey values reaches
        assert result["test_dice"]["mean"] > 0.724
    else:
        assert result["test_accuracy"]["mean"] >= 0.97
    assert (folder / "network.safetensors").stat().st_size < 1 << 20


def test_digits_network_has_the_accuracy_it_claims():
    data, network = load_data("digits"), load_network(FOLDERS[0].parent / "digits-gxnor")
    levels = network.encode(data.test_images)
    for stage in network.stages:
        levels = run_stage(stage, levels)
    right = network.predict(levels.astype(np.int32)) == data.test_labels
    assert right.mean() == network.meta["test_accuracy"]


def test_the_card_of_a_segmentation_says_dice_and_on_what_it_was_proven():
    folder = FOLDERS[0].parent / "digits-gxnor"
    recipe, result = load_recipe(folder), json.loads((folder / "result.json").read_text())
    assert "of all test images (checked at export)" in card(recipe, result)
    for seed, dice in zip(result["seeds"], (0.5, 0.6, 0.7, 0.8, 0.9), strict=True):
        seed["deployed_test_dice"] = dice
    result["test_dice"] = {"mean": 0.7, "sd": 0.158114}
    result["network"]["proof_images"] = 32
    text = card(recipe, result)
    assert "**Test Dice 0.700 ± 0.158** of class 1 (mean ± sd, 5 seeds, last epoch)." in text
    assert "of 32 test images, one in so many (checked at export)" in text
    assert "all test images" not in text
