"""Sweeps: one recipe with some of its keys varied, every combination with several seeds.

Each combination is trained by :func:`neuromorph.training.train_seeds` in a
folder of its own, so a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from neuromorph.errors import RecipeError
from neuromorph.training.curves import can_draw, draw_sweep
from neuromorph.training.recipe import Recipe, parse_recipe_dict
from neuromorph.training.seeds import train_seeds
from neuromorph.workers import ALONE, Workers
from neuromorph.writing import write_whole

__all__ = ["parse_axis", "sweep", "vary"]

MAX_COMBINATIONS = 1000


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """``"activation.r=0.1,0.5"`` as the key and its values, read as TOML.

    A value that is no TOML stands for itself as text, so that
    ``optimizer.transition=tanh,unbiased`` needs no quotes.

    Raises
    ------
    RecipeError
        No ``=``, no value, or a value named twice.

    Examples
    --------
    >>> parse_axis("levels.weights=0,1,float")
    ('levels.weights', [0, 1, 'float'])
    """
    key, equals, rest = text.partition("=")
    parts = [part.strip() for part in rest.split(",")]
    if not equals or not key.strip() or not all(parts):
        raise RecipeError(f"sweep is {text!r}; write key=value,value,… with the dotted recipe key")
    values = [_value(part) for part in parts]
    if len({repr(v) for v in values}) != len(values):
        raise RecipeError(f"sweep over {key!r} names a value twice")
    return key.strip(), values


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def vary(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other values at dotted keys, checked like a recipe file.

    Raises
    ------
    RecipeError
        A key that is not there, or a value it cannot have; names the key.
    """
    plain = msgspec.to_builtins(recipe)
    for key, value in settings.items():
        *path, last = key.split(".")
        part = plain
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            known = ", ".join(
                f"{part_name}.{name}"
                for part_name, part in plain.items()
                if isinstance(part, dict)
                for name in part
            )
            raise RecipeError(f"sweep key {key!r} is no key of a recipe; keys are {known}")
        part[last] = value
    return parse_recipe_dict(plain)


def sweep(
    recipe: Recipe,
    axes: Sequence[tuple[str, list[Any]]],
    seeds: int | Sequence[int] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    epochs: int | None = None,
    workers: Workers = ALONE,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every combination of values.

    Parameters
    ----------
    recipe : Recipe
    axes : sequence of (str, list)
        Dotted keys and their values; see :func:`parse_axis`.
    seeds, folder, epochs, workers, progress
        As for :func:`neuromorph.training.train_seeds`.
    out : path
        Gets ``sweep.json`` after each combination, a folder for each, and,
        where matplotlib is installed, ``sweep.png``.

    Returns
    -------
    dict
        ``name``, ``axes`` and ``rows``: for each combination its ``settings``,
        ``test_accuracy`` and ``validation_accuracy`` (mean, sd),
        ``activation_zeros`` (fraction of hidden levels that are 0),
        ``weight_zeros`` and ``resting_fraction``, means over seeds.

    Raises
    ------
    RecipeError
        An unknown key, impossible values (before anything is trained), and as
        :func:`neuromorph.training.train_seeds`.
    """
    combinations = list(_combinations(axes))
    if len(combinations) > MAX_COMBINATIONS:
        raise RecipeError(
            f"the sweep has {len(combinations)} combinations; at most {MAX_COMBINATIONS}"
        )
    recipes = [vary(recipe, settings) for settings in combinations]
    out = Path(out)
    rows: list[dict[str, Any]] = []
    summary = {"name": recipe.name, "axes": [[key, values] for key, values in axes], "rows": rows}
    for settings, varied in zip(combinations, recipes):
        name = ",".join(f"{key}={value}" for key, value in settings.items())
        result = train_seeds(
            varied,
            seeds,
            folder=folder,
            out=out / name,
            epochs=epochs,
            workers=workers,
            progress=progress,
        )
        rows.append({"settings": settings, **_figures(result)})
        write_whole(
            out / "sweep.json", (json.dumps(summary, indent=1) + "\n").encode(), RecipeError
        )
    if can_draw():
        draw_sweep(summary, out / "sweep.png")
    return summary


def _combinations(axes: Sequence[tuple[str, list[Any]]]) -> Iterator[dict[str, Any]]:
    keys = [key for key, _ in axes]
    if len(set(keys)) != len(keys):
        raise RecipeError("the sweep names a key twice")
    for values in product(*(values for _, values in axes)):
        yield dict(zip(keys, values))


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """What a row says of a result of ``train_seeds``."""
    # a hidden layer's levels are what arrives at the next one
    arriving = [x["input_density"] for seed in result["seeds"] for x in seed["layers"][1:]]
    layers = [layer for seed in result["seeds"] for layer in seed["layers"]]
    awake = sum(layer["weights"] * layer["weight_density"] for layer in layers)
    return {
        "test_accuracy": result["test_accuracy"],
        "validation_accuracy": result["validation_accuracy"],
        "activation_zeros": 1 - fmean(arriving) if arriving else None,
        "weight_zeros": 1 - awake / sum(layer["weights"] for layer in layers),
        "resting_fraction": result["resting_fraction"],
    }
