"""The card of a trained network: a page of Markdown made of the recipe and its result."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from neuromorph.errors import RecipeError
from neuromorph.levels import Levels
from neuromorph.training.recipe import ConvLayer, Recipe
from neuromorph.writing import write_whole

__all__ = ["card", "write_card"]

_CREDIT = {
    "digits": "Optical recognition of handwritten digits (8×8, values 0 … 16; E. Alpaydin, "
    "C. Kaynak, UCI Machine Learning Repository, CC BY 4.0), built in. Split once by a fixed "
    "permutation, class by class: 1197 train, 240 validation, 360 test",
    "mnist": "MNIST (28×28, values 0 … 255; Y. LeCun, C. Cortes, CC BY-SA 3.0). First 50 000 "
    "of the training files train, last 10 000 validation, 10 000 test",
    "cifar10-jpeg": "CIFAR-10 re-encoded as JPEG of quality 75 (3×32×32, values 0 … 255; A. "
    "Krizhevsky), so not comparable with results on CIFAR-10. 45 000 train, 5000 validation "
    "(500 a class, by a fixed permutation), 10 000 test",
    "sstem-vnc": "membranes in serial sections of Drosophila larva ventral nerve cord (S. Gerhard, "
    "J. Funke, J. Martel, A. Cardona, R. Fetter, figshare 856713, CC BY-NC-SA 3.0: for making and "
    "testing segmentation software, not for commercial use), in tiles of 3×64×64 of values "
    "0 … 255: a section between its neighbours. Sections 0 … 13 train, 14 and 15 validation, "
    "16 … 19 test. Accuracies are of pixels",
}
_STATE = {
    "sgd": "none (plain SGD)",
    "adam8": "16 bits (Adam's two moments in 8 bits each)",
    "momentum": "32 bits (one float32 moment)",
    "adam": "64 bits (Adam's two float32 moments)",
    "adamax": "64 bits (AdaMax's first moment and largest gradient in float32)",
    "shift_adamax": "64 bits (AdaMax's first moment and largest gradient in float32)",
}


def write_card(recipe: Recipe, result: dict[str, Any], out: Path) -> None:
    """Write ``out/card.md``; see :func:`card`."""
    write_whole(out / "card.md", card(recipe, result).encode(), RecipeError)


def card(recipe: Recipe, result: dict[str, Any]) -> str:
    """Markdown text of the card.

    Parameters
    ----------
    recipe : Recipe
    result : dict
        As :func:`neuromorph.training.train_seeds` returns it.
    """
    seeds = result["seeds"]
    levels = recipe.levels
    n1, n2 = (None if n is None else Levels(n) for n in (levels.n1, levels.n2))
    dice = result.get("test_dice")
    some = result["network"].get("proof_images")
    proven = f"{some:,} test images, one in so many" if some else "all test images"
    ours = next(seed for seed in seeds if seed["seed"] == result["network"]["seed"])
    counted = "one seed" if len(seeds) == 1 else f"mean ± sd, {len(seeds)} seeds"
    rows = [
        f"| {seed['seed']} | {seed['validation_accuracy']:.2%} | {seed['test_accuracy']:.2%} "
        f"| {seed['best_validation']['test_accuracy']:.2%} (epoch "
        f"{seed['best_validation']['epoch']}) | {seed['resting_fraction']:.1%} |"
        for seed in seeds
    ]
    layers = [
        f"| {layer['name']} | {layer['weights']:,} | {layer['synapses']:,} "
        f"| {_mean(seeds, i, 'weight_density'):.1%} | {_mean(seeds, i, 'input_density'):.1%} "
        f"| {_mean(seeds, i, 'resting_fraction'):.1%} |"
        for i, layer in enumerate(ours["layers"])
    ]
    hidden = result["hidden_bits_per_weight"]
    rules, training = recipe.optimizer, recipe.training
    lines = [
        f"# {recipe.name}",
        "",
        recipe.description,
        "",
        *([f"**Test Dice {_share(dice)}** of class 1 ({counted}, last epoch)."] if dice else []),
        f"**Test accuracy {_percent(result['test_accuracy'])}** ({counted}, last epoch).",
        f"The network in this folder is seed {ours['seed']}, the best on validation "
        f"(the lowest seed among equals): {result['network']['test_accuracy']:.2%} test"
        + (f", Dice {ours['deployed_test_dice']:.3f}." if dice else "."),
        *_trial(recipe),
        *_deployment(recipe, result),
        "",
        "    neuromorph train "
        + f"networks/{recipe.name}/recipe.toml --seeds {len(seeds)}"
        + ("" if recipe.data.limit is None else f" --limit {recipe.data.limit}"),
        "",
        "## What it is",
        "",
        f"* {' – '.join(_layers(recipe))}; weights {_space(n1)}, activations {_space(n2)}; "
        f"{result['network']['weights']:,} weights, {_bits(n1)} bits each"
        f"{' when packed' if n1 else ''}.",
        f"* Input: {_input(recipe)}.",
        f"* {_activation(recipe)} Order: synapses, max-pool, batch norm, activation.",
        "",
        "## Protocol",
        "",
        f"* Data: {_CREDIT[recipe.data.name]}.",
        f"* Training images: {_variation(recipe)}.",
        f"* {training.epochs} epochs, batch {training.batch}, squared hinge loss. Settings were "
        "chosen on validation images; the last epoch of the fixed schedule is the result. "
        + ("The" if "best_test_accuracy" in result else "Test images were read after it; the")
        + " figure at the epoch best on validation stands beside it "
        "and decided nothing.",
        *_best_test(result),
        f"* {_method(recipe)} on {rules.increments} increments, betas "
        f"{rules.betas[0]} and {rules.betas[1]}, rate {rules.rate} ({rules.float_rate} for batch "
        f"norm), {rules.schedule} schedule.",
        f"* Kept for each weight during training: {_kept(n1, hidden)}, and optimizer state of "
        f"{_STATE[rules.increments]}; batch norm is float32"
        f"{', by shifts (its factors are powers of two)' if recipe.norm.kind == 'shift' else ''}.",
        *_trained_on(seeds),
        f"* The integer network equals torch's float32 on every level of every layer of {proven} "
        "(checked at export).",
        "",
        "## Seeds",
        "",
        "| seed | validation | **test** | test at best validation | resting |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        f"| mean ± sd | {_percent(result['validation_accuracy'])} "
        f"| {_percent(result['test_accuracy'])} "
        f"| {_percent(result['best_validation_test_accuracy'])} "
        f"| {result['resting_fraction']:.1%} |",
        *_dices(result),
        "",
        "## Density and rest, test images, mean over seeds",
        "",
        "Density is the fraction that is not zero; a (level, weight) pair rests where either is "
        f"zero. {_uniform(n1, n2)}Measured over all layers: **{result['resting_fraction']:.1%}**.",
        "",
        "| layer | weights | pairs an image | weight density | input density | resting |",
        "| --- | --- | --- | --- | --- | --- |",
        *layers,
        "",
        "Learning curves and all figures: `result.json`. Made with "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _space(space: Levels | None) -> str:
    return "float" if space is None else f"in Z_{space.n}"


def _bits(space: Levels | None) -> int:
    return 32 if space is None else space.bits


def _activation(recipe: Recipe) -> str:
    phi, n2 = recipe.activation, recipe.levels.n2
    if n2 is None:
        return "ReLU."
    if phi.slope is not None:
        start, end = phi.slope
        return f"Ternary hyperbolic tangent, β {start:g} → {end:g}; φ_r with r = 0.5 in evaluation."
    window = f"a = {phi.a}, {phi.pulse} window."
    if n2 == 0:
        return f"sign, {window}"
    high = f"H = {phi.h}, " if n2 > 1 else ""
    return f"φ_r: r = {phi.r}, {high}{window}"


def _variation(recipe: Recipe) -> str:
    data, parts = recipe.data, []
    if data.shift:
        parts.append(f"each shifted by its own draw of up to ±{data.shift} pixels a side")
    if data.flip:
        parts.append("mirrored left and right by its own draw")
    return ", ".join(parts) or "as they are"


def _method(recipe: Recipe) -> str:
    rules = recipe.optimizer
    if recipe.levels.n1 is None:
        return "Float weights,"
    if recipe.levels.method == "dst":
        return f"DST (m = {rules.m}, τ = {rules.transition})"
    return f"Hidden weights, quantised by {recipe.levels.method},"


def _kept(space: Levels | None, hidden: int) -> str:
    if space is None:
        return f"the float weight, {hidden} bits"
    if hidden:
        return f"a hidden weight of {hidden} bits"
    return f"the {space.bits} bits of the weight itself (no hidden weight)"


def _uniform(n1: Levels | None, n2: Levels | None) -> str:
    """The theoretical figure beside the measured one, where there is one."""
    if n1 is None or n2 is None:
        return ""
    awake = [1 - 1 / s.size if s.has_zero else 1.0 for s in (n1, n2)]
    return f"Uniform, independent states would rest in {1 - awake[0] * awake[1]:.1%} of pairs. "


def _deployment(recipe: Recipe, result: dict[str, Any]) -> list[str]:
    """What became of float parts in the integer network."""
    if recipe.levels.is_integer:
        return []
    parts = []
    if recipe.levels.n1 is None:
        parts.append("float weights to 8 bits with a scale for each output")
    if recipe.levels.n2 is None:
        parts.append("float activations to 7 bits and a zero with a scale for each layer")
    dice = ""
    if "deployed_test_dice" in result:
        dice = f", Dice {_share(result['deployed_test_dice'])}"
    return [
        "",
        f"It is an integer network by post-training quantisation: {', '.join(parts)}. "
        f"Test accuracy so: {_percent(result['deployed_test_accuracy'])}{dice}; density and rest "
        "below are those before quantisation.",
    ]


def _trial(recipe: Recipe) -> list[str]:
    if recipe.data.limit is None:
        return []
    return ["", f"**A trial** on {recipe.data.limit:,} images of each part, not a result."]


def _dices(result: dict[str, Any]) -> list[str]:
    """Where every pixel has a class: Dice of each seed, by which the network was chosen."""
    if not all("validation_dice" in seed for seed in result["seeds"]):
        return []
    return [
        "",
        "| seed | Dice, validation | **Dice, test** |",
        "| --- | --- | --- |",
        *(
            f"| {seed['seed']} | {seed['validation_dice']:.3f} | {seed['test_dice']:.3f} |"
            for seed in result["seeds"]
        ),
        f"| mean ± sd | {_share(result['validation_dice'])} | {_share(result['test_dice'])} |",
    ]


def _trained_on(seeds: list[dict[str, Any]]) -> list[str]:
    """Where; networks of results without it were trained on a CPU."""
    devices = list(dict.fromkeys(name for seed in seeds for name in seed.get("devices", ())))
    if not devices:
        return []
    order = ""
    if not all(name.startswith("CPU") for name in devices):
        order = "; a GPU adds up in any order, so another run ends a little elsewhere"
    return [f"* Trained on {', '.join(devices)}{order}."]


def _best_test(result: dict[str, Any]) -> list[str]:
    """The figure some papers report, labelled as what it is."""
    if "best_test_accuracy" not in result:
        return []
    return [
        f"* Had each seed's best epoch been chosen on the *test* images, as some papers do: "
        f"{_percent(result['best_test_accuracy'])}. It is too high by that choice and stands here "
        "only to be compared with such figures; test images were read each epoch for it and "
        "decided nothing."
    ]


def _mean(seeds: list[dict[str, Any]], layer: int, key: str) -> float:
    return fmean(seed["layers"][layer][key] for seed in seeds)


def _percent(spread: dict[str, float | None]) -> str:
    mean, sd = spread["mean"], spread["sd"]
    assert mean is not None
    return f"{100 * mean:.2f} %" if sd is None else f"{100 * mean:.2f} ± {100 * sd:.2f} %"


def _share(spread: dict[str, float | None]) -> str:
    mean, sd = spread["mean"], spread["sd"]
    assert mean is not None
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _layers(recipe: Recipe) -> list[str]:
    words = []
    for layer in recipe.layers:
        if isinstance(layer, ConvLayer):
            words.append(f"{layer.channels}C{layer.kernel}")
            words += [f"MP{layer.pool}"] if layer.pool > 1 else []
        else:
            words.append(f"{layer.features}FC")
    return [*words, "read-out"]


def _input(recipe: Recipe) -> str:
    entry = recipe.input
    if entry.thresholds is None:
        return f"{entry.encoding}, {entry.bits} bits"
    low, high = entry.thresholds
    negative = f"−1 below {low}, " if low > 0 else ""  # grey values start at 0
    return f"ternary: {negative}+1 from {high} on, else 0"
