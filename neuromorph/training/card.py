"""The card of a trained network: a page of Markdown made of the recipe and its result."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from neuromorph.levels import Levels
from neuromorph.training.checkpoint import write_file
from neuromorph.training.recipe import ConvLayer, Recipe

__all__ = ["card", "write_card"]

_CREDIT = {
    "digits": "Optical recognition of handwritten digits (8×8, values 0 … 16; E. Alpaydin, "
    "C. Kaynak, UCI Machine Learning Repository, CC BY 4.0), built in. Split once by a fixed "
    "permutation, class by class: 1197 train, 240 validation, 360 test",
    "mnist": "MNIST (28×28, values 0 … 255; Y. LeCun, C. Cortes, CC BY-SA 3.0). First 50 000 "
    "of the training files train, last 10 000 validation, 10 000 test",
}
_STATE = {
    0: "none (plain SGD)",
    32: "32 bits (one float32 moment)",
    64: "64 bits (Adam's two float32 moments)",
}


def write_card(recipe: Recipe, result: dict[str, Any], out: Path) -> None:
    """Write ``out/card.md``; see :func:`card`."""
    write_file(out / "card.md", card(recipe, result).encode())


def card(recipe: Recipe, result: dict[str, Any]) -> str:
    """Markdown text of the card.

    Parameters
    ----------
    recipe : Recipe
    result : dict
        As :func:`neuromorph.training.train_seeds` returns it.
    """
    seeds = result["seeds"]
    n1, n2 = Levels(recipe.levels.weights), Levels(recipe.levels.activations)
    uniform = 1 - _awake(n1) * _awake(n2)
    ours = next(seed for seed in seeds if seed["seed"] == result["network"]["seed"])
    rows = [
        f"| {seed['seed']} | {seed['validation_accuracy']:.2%} | {seed['test_accuracy']:.2%} "
        f"| {seed['resting_fraction']:.1%} |"
        for seed in seeds
    ]
    layers = [
        f"| {layer['name']} | {layer['weights']:,} | {layer['synapses']:,} "
        f"| {_mean(seeds, i, 'weight_density'):.1%} | {_mean(seeds, i, 'input_density'):.1%} "
        f"| {_mean(seeds, i, 'resting_fraction'):.1%} |"
        for i, layer in enumerate(ours["layers"])
    ]
    bits = result["optimizer_bits_per_weight"]
    shift = f"each shifted by its own draw of up to ±{recipe.data.shift} pixels a side"
    rules, training = recipe.optimizer, recipe.training
    lines = [
        f"# {recipe.name}",
        "",
        recipe.description,
        "",
        f"**Test accuracy {_percent(result['test_accuracy'])}** "
        + (
            "(one seed, last epoch)."
            if len(seeds) == 1
            else f"(mean ± sd, {len(seeds)} seeds, last epoch)."
        ),
        f"The network in this folder is seed {ours['seed']}, the best on validation "
        f"(the lowest seed among equals): {ours['test_accuracy']:.2%} test.",
        "",
        "    neuromorph train " + f"networks/{recipe.name}/recipe.toml --seeds {len(seeds)}",
        "",
        "## What it is",
        "",
        f"* {' – '.join(_layers(recipe))}; weights in Z_{n1.n}, activations in Z_{n2.n}; "
        f"{result['network']['weights']:,} weights, {n1.bits} bits each when packed.",
        f"* Input: {_input(recipe)}.",
        f"* φ_r: r = {recipe.activation.r}, a = {recipe.activation.a}, "
        f"{recipe.activation.pulse} window. Order: synapses, max-pool, batch norm, φ_r.",
        "",
        "## Protocol",
        "",
        f"* Data: {_CREDIT[recipe.data.name]}.",
        f"* Training images: {shift if recipe.data.shift else 'as they are'}.",
        f"* {training.epochs} epochs, batch {training.batch}, squared hinge loss. Settings were "
        "chosen on validation images; the last epoch of the fixed schedule is the result; test "
        "images were read once a seed, at its end.",
        f"* DST (m = {rules.m}, τ = {rules.transition}) on {rules.increments} increments, betas "
        f"{rules.betas[0]} and {rules.betas[1]}, rate {rules.rate} ({rules.float_rate} for batch "
        f"norm), {rules.schedule} schedule.",
        f"* No hidden weights. Optimizer state kept during training: {_STATE[bits]} a weight, "
        f"beside the {n1.bits} bits of the weight itself; batch norm is float32.",
        "* The integer network equals torch's float32 on every level of every layer of all test "
        "images (checked at export).",
        "",
        "## Seeds",
        "",
        "| seed | validation | test | resting |",
        "| --- | --- | --- | --- |",
        *rows,
        f"| mean ± sd | {_percent(result['validation_accuracy'])} "
        f"| {_percent(result['test_accuracy'])} | {result['resting_fraction']:.1%} |",
        "",
        "## Density and rest, test images, mean over seeds",
        "",
        "Density is the fraction that is not zero; a (level, weight) pair rests where either is "
        f"zero. Uniform, independent states would rest in {uniform:.1%} of pairs; measured over "
        f"all layers: **{result['resting_fraction']:.1%}**.",
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


def _awake(space: Levels) -> float:
    """Fraction of states that are not zero."""
    return 1 - 1 / space.size if space.has_zero else 1.0


def _mean(seeds: list[dict[str, Any]], layer: int, key: str) -> float:
    return fmean(seed["layers"][layer][key] for seed in seeds)


def _percent(spread: dict[str, float | None]) -> str:
    mean, sd = spread["mean"], spread["sd"]
    assert mean is not None
    return f"{100 * mean:.2f} %" if sd is None else f"{100 * mean:.2f} ± {100 * sd:.2f} %"


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
