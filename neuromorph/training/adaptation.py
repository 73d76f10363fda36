"""A trained float network adapted to fewer and fewer bits, tuned on at each width.

The road of ADaPTION (arXiv 1711.04713): fold, propose Qm.f for weights, biases
and activations of each layer, round, train on.  Each width starts from the
unrounded parameters of the one before.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from neuromorph.canvas import blank_figure, save_png
from neuromorph.errors import RecipeError
from neuromorph.network import save_network
from neuromorph.training.export import export
from neuromorph.training.fixedpoint import MAX_BITS, adapt, fine_tune
from neuromorph.training.measure import accuracy, measure_rest
from neuromorph.training.models import DiscreteNetwork
from neuromorph.training.recipe import Recipe
from neuromorph.training.train import CALIBRATION, Training
from neuromorph.writing import write_whole

__all__ = ["WIDTHS", "adapt_widths", "draw_widths"]

WIDTHS = (16, 12, 8, 6, 4, 3, 2)
SHARES = (0.0, 0.001, 0.01, 0.1)  # of the non-zero values of a layer that may saturate


def adapt_widths(
    recipe: Recipe,
    widths: Sequence[int] = WIDTHS,
    *,
    trained: str | os.PathLike[str],
    seed: int = 1,
    folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    epochs: int = 2,
    rate: float = 1e-3,
    overflow: float | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Adapt a float network to one width after another.

    Parameters
    ----------
    recipe : Recipe
        Of the float network: full precision weights and activations.
    widths : sequence of int
        Bits of every weight, bias and activation, 2 … 16, falling.
    trained : path
        Folder in which ``neuromorph train`` left the checkpoint of ``seed``.
    seed : int
        Which training; it also draws the order of samples.
    folder : path, optional
        Where data sets lie; see :func:`neuromorph.data.data_folder`.
    out : path
        Gets ``adapt.json`` and ``NAME-qBITS.safetensors`` of each width.
    epochs : int
        Of training on at each width, by Adam; 0 for none.  What validation images
        find worse after it stays as it was rounded.
    rate : float
        Learning rate at the start of each width.
    overflow : float, optional
        Share of the non-zero values of a layer that may saturate.  Left out,
        the share of 0, 0.1, 1 and 10 % that is best on validation images
        before training on, the smallest among equals.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    dict
        ``name``, ``seed``, and ``rows``, the float network first: ``bits``
        (32 for float), ``overflow``, ``formats`` (see
        :func:`neuromorph.training.fixedpoint.adapt`), ``rounded_accuracy`` on
        validation images before training on, ``tuned``, whether that was kept,
        ``validation_accuracy`` and ``test_accuracy`` of what was, ``layers`` and
        ``resting_fraction`` (see
        :func:`neuromorph.training.measure.measure_rest`, on test images),
        ``activation_zeros``, and ``network``, the name of the file (None for the float one).

    Raises
    ------
    RecipeError
        A recipe with discrete parts, widths that do not fall, no finished
        training in the folder, a folder that cannot be written.
    NetworkError
        An exported network that differs from torch on a test image.
    """
    levels = recipe.levels
    if levels.n1 is not None or levels.n2 is not None:
        raise RecipeError(
            f"recipe {recipe.name!r} has discrete weights or activations; adapt takes a float "
            'one: levels.weights = "float" and levels.activations = "float"'
        )
    widths = list(widths)
    if not widths or widths != sorted(set(widths), reverse=True):
        raise RecipeError(f"bits are {widths}; give widths that fall, as in 16,8,4,2")
    if widths[0] > MAX_BITS or widths[-1] < 2:
        raise RecipeError(f"bits are {widths}; fixed point takes 2 to {MAX_BITS}")
    training = Training(recipe, seed=seed, folder=folder, out=trained)
    training.resume()
    if not training.is_done:
        raise RecipeError(
            f"{trained} holds no finished training of {recipe.name!r}, seed {seed}; first run: "
            f"neuromorph train RECIPE --out {trained}"
        )
    out = Path(out)
    result: dict[str, Any] = {"name": recipe.name, "seed": seed, "rows": []}
    model = training.model
    plain: dict[str, Any] = {"bits": 32, "overflow": None, "formats": None, "network": None}
    plain["tuned"] = False
    plain["rounded_accuracy"] = accuracy(model, *training.part("validation"))
    result["rows"].append(plain | _measured(training, model))
    bar = tqdm(widths, desc=f"{recipe.name} seed {seed}", unit="width", disable=not progress)
    for bits in bar:
        row: dict[str, Any] = {"bits": bits}
        model, found = _rounded(training, model, bits, overflow)
        row["tuned"] = False
        if epochs:
            labels = training.part("train")[1]
            tuned = copy.deepcopy(model)
            fine_tune(
                tuned, lambda e: training.varied(e)[0], labels, epochs=epochs, rate=rate, seed=seed
            )
            if accuracy(tuned, *training.part("validation")) >= found["rounded_accuracy"]:
                model, row["tuned"] = tuned, True
        name = f"{recipe.name}-q{bits}"
        measured = _measured(training, model)
        meta = {
            "data": recipe.data.name,
            "test_accuracy": measured["test_accuracy"],
            "validation_accuracy": measured["validation_accuracy"],
            "seed": seed,
            "description": f"{recipe.name} adapted to {bits} bits",
        }
        network = export(model, training.data.test_images, name=name, meta=meta)
        row["network"] = f"{name}.safetensors"
        save_network(network, out / f"{name}.safetensors")
        result["rows"].append(row | found | measured)
        bar.set_postfix(bits=bits, validation=f"{measured['validation_accuracy']:.2%}")
        write_whole(out / "adapt.json", (json.dumps(result, indent=1) + "\n").encode(), RecipeError)
    return result


def _rounded(
    training: Training, model: DiscreteNetwork, bits: int, overflow: float | None
) -> tuple[DiscreteNetwork, dict[str, Any]]:
    """The model at a width, with the share of overflow that validation images choose."""
    images = training.part("train")[0][:CALIBRATION]
    best: tuple[float, DiscreteNetwork, dict[str, Any]] | None = None
    for share in SHARES if overflow is None else (overflow,):
        tried, formats = adapt(model, images, bits, overflow=share)
        tried = tried.to(training.device)
        right = accuracy(tried, *training.part("validation"))
        if best is None or right > best[0]:
            best = right, tried, {"overflow": share, "formats": formats, "rounded_accuracy": right}
    assert best is not None
    return best[1], best[2]


def _measured(training: Training, model: DiscreteNetwork) -> dict[str, Any]:
    test = training.part("test")
    layers = measure_rest(model, test[0])
    pairs = sum(layer["synapses"] for layer in layers)
    arriving = [layer["input_density"] for layer in layers[1:]]
    return {
        "validation_accuracy": accuracy(model, *training.part("validation")),
        "test_accuracy": accuracy(model, *test),
        "layers": layers,
        "activation_zeros": 1 - sum(arriving) / len(arriving) if arriving else None,
        "resting_fraction": sum(x["synapses"] * x["resting_fraction"] for x in layers) / pairs,
    }


def draw_widths(result: dict[str, Any], path: Path) -> None:
    """Accuracy, zeros, and events or energy against bits, as PNG; needs matplotlib.

    Parameters
    ----------
    result : dict
        As :func:`adapt_widths` returns it; a row may have ``energy_j`` with
        ``p10``, ``p50`` and ``p90`` as well.
    path : path

    Raises
    ------
    RecipeError
        The file cannot be written, or matplotlib is missing.
    """
    rows = result["rows"]
    places = list(range(len(rows)))
    figure = blank_figure(11, 3.3)
    right, zeros, work = figure.subplots(1, 3)
    for key, label, style in (
        ("rounded_accuracy", "validation, only rounded", ":"),
        ("validation_accuracy", "validation, trained on if better", "--"),
        ("test_accuracy", "test", "-"),
    ):
        right.plot(places, [100 * (1 - r[key]) for r in rows], style, marker="o", ms=3, label=label)
    right.set(title="error, %", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    for index, layer in enumerate(rows[0]["layers"][1:], 1):
        arriving = [100 * (1 - r["layers"][index]["input_density"]) for r in rows]
        zeros.plot(places, arriving, marker="o", ms=3, label=f"into {layer['name']}")
    zeros.set(title="activations at 0, %", ylim=(0, 100))
    events = [
        sum(x["synapses"] * (1 - x["resting_fraction"]) for x in r["layers"]) / 1e6 for r in rows
    ]
    work.plot(places, events, color="C0", marker="o", ms=3)
    work.set_ylabel("synaptic events an image, millions", color="C0")
    work.set(title="events and energy", ylim=(0, None))
    priced = [(place, r["energy_j"]) for place, r in zip(places, rows) if r.get("energy_j")]
    if priced:
        joules = work.twinx()
        middle = [1e6 * e["p50"] for _, e in priced]
        low = [1e6 * (e["p50"] - e["p10"]) for _, e in priced]
        high = [1e6 * (e["p90"] - e["p50"]) for _, e in priced]
        where = [place for place, _ in priced]
        joules.errorbar(where, middle, [low, high], color="C3", marker="s", ms=3, capsize=3)
        joules.set_ylabel("µJ an inference (p10, p50, p90)", color="C3")
        joules.set_ylim(0, None)
    for axes in (right, zeros, work):
        axes.set_xticks(places, ["float" if r["bits"] == 32 else str(r["bits"]) for r in rows])
        axes.set_xlabel("bits of every weight, bias and activation")
        axes.grid(True, which="both", linewidth=0.3)
    right.legend(fontsize=7)
    zeros.legend(fontsize=7)
    figure.suptitle(f"{result['name']}, seed {result['seed']}", fontsize=11)
    save_png(figure, path, RecipeError, dpi=110)
