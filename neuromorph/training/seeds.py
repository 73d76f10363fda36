"""Several seeds of one recipe: the network that ships, the result file, the card.

The figure reported is the mean ± standard deviation over all seeds at the
last epoch.  The network written is the seed of the best *validation*
accuracy, or Dice where every pixel has a label (the lowest seed among equals);
test images choose nothing.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
import numpy as np
import torch
from tqdm import tqdm

import neuromorph
from neuromorph.errors import NetworkError, RecipeError
from neuromorph.network import Network, save_network
from neuromorph.training.card import write_card
from neuromorph.training.curves import can_draw, draw_curves
from neuromorph.training.export import export
from neuromorph.training.recipe import Recipe
from neuromorph.training.train import Trained, Training, train
from neuromorph.workers import ALONE, Workers
from neuromorph.writing import write_whole

__all__ = ["train_seeds"]

MEASURES = ("test_accuracy", "validation_accuracy", "deployed_test_accuracy")
DICES = ("test_dice", "validation_dice", "deployed_test_dice")  # where every pixel has a label


def train_seeds(
    recipe: Recipe,
    seeds: int | Sequence[int] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    epochs: int | None = None,
    workers: Workers = ALONE,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a recipe with several seeds and write what a network folder holds.

    Parameters
    ----------
    recipe : Recipe
    seeds : int or sequence of int, optional
        How many (1, 2, …), or which; the recipe's number if left out.
    folder : path, optional
        Where data sets lie; see :func:`neuromorph.data.data_folder`.
    out : path
        Gets ``network.safetensors``, ``result.json``, ``card.md``,
        ``curves.png`` (where matplotlib is installed) and ``checkpoints/``;
        finished seeds found there are not trained again.
    epochs : int, optional
        Length of the schedule instead of the recipe's.
    workers : Workers
        Who trains, a seed each; the folder must be theirs too, under the same name.
    progress : bool
        Show a progress bar on standard error; nothing else is printed.

    Returns
    -------
    dict
        What ``result.json`` holds: ``recipe`` and its ``recipe_sha256``;
        ``network`` (path, hash, seed, rule, and ``proof_images`` where the proof against
        torch was too much for all test images); ``test_accuracy``,
        ``validation_accuracy``, ``deployed_test_accuracy`` and
        ``best_validation_test_accuracy``, each ``{mean, sd}`` (sd null for one
        seed), and ``best_test_accuracy``, the best test epoch of each seed, if the
        recipe looks; where every pixel has a label ``test_dice``, ``validation_dice``
        and ``deployed_test_dice``; ``resting_fraction``, the mean; ``optimizer_bits_per_weight``
        and ``hidden_bits_per_weight``;
        ``seeds``: the :class:`Trained` result of each, learning curves
        included; ``versions``.

    Raises
    ------
    RecipeError
        As :func:`neuromorph.training.train`; a seed named twice or negative;
        a cluster that writes its checkpoints elsewhere.
    NetworkError
        The exported network differs from torch on a test image.
    MissingDependencyError, SimulationError
        As :meth:`neuromorph.workers.Workers.each`.
    """
    recipe = recipe.with_epochs(epochs)
    chosen = _seeds(recipe.training.seeds if seeds is None else seeds)
    out = Path(out)
    if not workers.alone:
        _side_by_side(recipe, chosen, folder, out, workers, progress)
    results: list[dict[str, Any]] = []
    best: Trained | None = None
    key = "validation_accuracy"
    for seed in chosen:
        trained = train(recipe, seed=seed, folder=folder, out=out, progress=progress)
        results.append(trained.result)
        key = "validation_dice" if "validation_dice" in trained.result else key
        if best is None or trained.result[key] > best.result[key]:
            best = trained
    assert best is not None
    spreads = {
        measure: _spread([r[measure] for r in results])
        for measure in (*MEASURES, *DICES)
        if measure in results[0]
    }
    spreads["best_validation_test_accuracy"] = _spread(
        [r["best_validation"]["test_accuracy"] for r in results]
    )
    if all("best_test" in r for r in results):
        spreads["best_test_accuracy"] = _spread([r["best_test"]["test_accuracy"] for r in results])
    network = _write_network(recipe, best, spreads, folder, out)
    result = {
        "name": recipe.name,
        "recipe": msgspec.to_builtins(recipe),
        "recipe_sha256": recipe.sha256,
        "network": {
            "path": str(out / "network.safetensors"),
            "hash": network.hash,
            "weights": network.weight_count,
            "seed": best.result["seed"],
            "test_accuracy": best.result["deployed_test_accuracy"],
            "rule": f"the seed of the best {key.replace('_', ' ')} at the last epoch",
            **({"proof_images": some} if (some := network.meta.get("proof_images")) else {}),
        },
        **spreads,
        "resting_fraction": fmean(r["resting_fraction"] for r in results),
        "optimizer_bits_per_weight": results[0]["optimizer_bits_per_weight"],
        "hidden_bits_per_weight": results[0]["hidden_bits_per_weight"],
        "seeds": results,
        "versions": {
            "neuromorph": neuromorph.__version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    rounded = _rounded(result)
    # the folder travels, so the file names the network beside it, not a path of this machine
    filed = {**rounded, "network": {**rounded["network"], "path": "network.safetensors"}}
    write_whole(out / "result.json", (json.dumps(filed, indent=1) + "\n").encode(), RecipeError)
    write_card(recipe, rounded, out)
    if can_draw():
        draw_curves(result, out / "curves.png")
    return result


def _side_by_side(
    recipe: Recipe,
    seeds: list[int],
    folder: str | os.PathLike[str] | None,
    out: Path,
    workers: Workers,
    progress: bool,
) -> None:
    """Train seeds to their end by workers; their checkpoints are the result."""
    data = None if folder is None else Path(folder).resolve()  # others work elsewhere
    tasks = [(recipe, seed, data, out.resolve()) for seed in seeds]
    with tqdm(total=len(seeds), desc=recipe.name, unit="seed", disable=not progress) as bar:
        for written in workers.each(_to_checkpoint, tasks):
            if not written.exists():
                raise RecipeError(
                    f"a worker trained into {written}, which is not here; on a cluster, --out must "
                    "be a folder that all its machines share under the same name"
                )
            bar.update()


def _to_checkpoint(task: tuple[Recipe, int, Path | None, Path]) -> Path:
    """Train to the end; the test images are left to whoever asks for the result."""
    recipe, seed, folder, out = task
    training = Training(recipe, seed=seed, folder=folder, out=out)
    training.resume()
    training.run()
    return training.checkpoint


PROOF_PAIRS = 10**11  # (level, weight) pairs that the proof against torch may take: a minute
PROOF_IMAGES = 32  # and images that it takes at least


def _write_network(
    recipe: Recipe,
    trained: Trained,
    spreads: dict[str, dict[str, float | None]],
    folder: str | os.PathLike[str] | None,
    out: Path,
) -> Network:
    """Export with proof on all test images (some, where all are too much), and write the file."""
    meta = {
        "data": recipe.data.name,
        "test_accuracy": trained.result["deployed_test_accuracy"],
        "validation_accuracy": trained.result["validation_accuracy"],
        "seed": trained.result["seed"],
        "seeds_mean": spreads["deployed_test_accuracy"]["mean"],
        "seeds_sd": spreads["deployed_test_accuracy"]["sd"],
        "recipe_sha256": recipe.sha256,
        "description": recipe.description,
    }
    data = recipe.load_data(folder)
    images = data.test_images
    pairs = sum(layer["synapses"] for layer in trained.result["layers"])
    count = max(PROOF_PAIRS // pairs, PROOF_IMAGES)
    if count < len(images):
        images = images[:: -(-len(images) // count)]
        meta["proof_images"] = len(images)
    if data.is_segmentation:
        meta["test_dice"] = trained.result["deployed_test_dice"]
        meta["dice_mean"] = spreads["deployed_test_dice"]["mean"]
        meta["dice_sd"] = spreads["deployed_test_dice"]["sd"]
    network = export(trained.deployed, images, name=recipe.name, meta=meta)
    try:
        save_network(network, out / "network.safetensors")
    except NetworkError as error:
        raise RecipeError(str(error)) from None
    return network


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = list(range(1, seeds + 1)) if isinstance(seeds, int) else list(seeds)
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 0 or max(chosen) >= 1 << 64:
        raise RecipeError(
            f"seeds is {seeds!r}; give how many (from 1), or different seeds from 0 to 2**64 - 1"
        )
    return chosen


def _spread(values: list[float]) -> dict[str, float | None]:
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}


def _rounded(value: Any) -> Any:
    """Measured floats to six decimals, for a file that can be read and compared."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {k: v if k == "recipe" else _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
