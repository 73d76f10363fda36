"""Learning curves of several seeds as one picture; needs matplotlib (extra ``report``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromorph.errors import RecipeError

__all__ = ["can_draw", "draw_curves"]


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_curves(result: dict[str, Any], path: Path) -> None:
    """Validation error and loss, epoch by epoch, a line a seed; test error as marks at the end.

    Parameters
    ----------
    result : dict
        As :func:`neuromorph.training.train_seeds` returns it.
    path : path
        PNG file.

    Raises
    ------
    RecipeError
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    errors, losses = figure.subplots(1, 2)
    for index, seed in enumerate(result["seeds"]):
        epochs = range(1, len(seed["history"]) + 1)
        colour = f"C{index}"
        wrong = [100 * (1 - e["validation_accuracy"]) for e in seed["history"]]
        errors.plot(epochs, wrong, color=colour, linewidth=1, label=f"seed {seed['seed']}")
        errors.plot(
            [len(epochs)], [100 * (1 - seed["test_accuracy"])], "x", color=colour, markersize=7
        )
        losses.plot(epochs, [e["loss"] for e in seed["history"]], color=colour, linewidth=1)
    errors.set(xlabel="epoch", ylabel="error, %", title="validation (lines), test at the end (×)")
    losses.set(xlabel="epoch", ylabel="squared hinge loss", title="training loss")
    for axes in (errors, losses):
        axes.set_yscale("log")
        axes.grid(True, which="both", linewidth=0.3)
    errors.yaxis.set_major_formatter("{x:g}")
    errors.yaxis.set_minor_formatter("{x:g}")
    errors.tick_params(axis="y", which="minor", labelsize=7)
    if len(result["seeds"]) <= 10:
        errors.legend(fontsize=7)
    figure.suptitle(result["name"], fontsize=11)
    try:
        figure.savefig(path, dpi=110, metadata={"Software": None})
    except OSError as error:
        raise RecipeError(f"cannot write {path}: {error.strerror}") from None
