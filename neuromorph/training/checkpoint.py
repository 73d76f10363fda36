"""Checkpoints: safetensors with JSON metadata, so that reading one executes nothing.

Tensors ``model.<name>``, ``best.<name>`` (the model at the epoch best on
validation) and ``optimizer.<parameter>.<name>``; the metadata say of which
recipe, seed and epoch they are, and on which devices the epochs were trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from neuromorph.errors import RecipeError
from neuromorph.training.dst import DST
from neuromorph.training.recipe import Recipe
from neuromorph.writing import write_whole

__all__ = ["load_checkpoint", "save_checkpoint"]

FORMAT = "neuromorph-checkpoint 2"


def save_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: DST,
    *,
    recipe: Recipe,
    seed: int,
    history: list[dict[str, float]],
    best: dict[str, Tensor],
    devices: list[str],
) -> None:
    """Write the state after ``len(history)`` epochs.

    Raises
    ------
    RecipeError
        The place cannot be written.
    """
    parts = {"model": model.state_dict(), "best": best}
    tensors = {f"{p}.{key}": v.contiguous() for p, part in parts.items() for key, v in part.items()}
    state = optimizer.state_dict()
    numbers: dict[str, dict[str, int]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    metadata = {
        "format": FORMAT,
        "recipe": recipe.sha256,
        "seed": str(seed),
        "history": json.dumps(history),
        "devices": json.dumps(devices),
        "optimizer": json.dumps({"groups": state["param_groups"], "numbers": numbers}),
    }
    write_whole(path, save(tensors, metadata), RecipeError)


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: DST, *, recipe: Recipe, seed: int
) -> tuple[list[dict[str, float]], dict[str, Tensor], list[str]]:
    """Restore model and optimizer.

    Returns
    -------
    (list, dict, list)
        The history, one entry an epoch done; the state of the model at the
        epoch best on validation; the devices it was trained on.

    Raises
    ------
    RecipeError
        Not a whole checkpoint, or one of another recipe or seed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"checkpoint {path} cannot be read: {error}; delete it") from None
    if metadata.get("format") != FORMAT:
        raise RecipeError(f"{path} is not a checkpoint of this program; delete it")
    if metadata.get("recipe") != recipe.sha256 or metadata.get("seed") != str(seed):
        raise RecipeError(
            f"checkpoint {path} is of another recipe, number of epochs, limit or seed; give the "
            "recipe and options it was trained with, or another folder"
        )
    try:
        history: list[dict[str, float]] = json.loads(metadata["history"])
        devices: list[str] = json.loads(metadata.get("devices", "[]"))
        saved = json.loads(metadata["optimizer"])
        best = _with_prefix(tensors, "best.")
        model.load_state_dict(best)  # refuses what does not fit
        model.load_state_dict(_with_prefix(tensors, "model."))
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in saved["numbers"].items()}
        for key, value in _with_prefix(tensors, "optimizer.").items():
            index, name = key.split(".")
            state[int(index)][name] = value
        for group in saved["groups"]:
            group["betas"] = tuple(group["betas"])
        optimizer.load_state_dict({"state": state, "param_groups": saved["groups"]})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        raise RecipeError(f"checkpoint {path} is damaged; delete it") from None
    return history, best, devices


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
