"""Pictures of training: learning curves and sweeps; need matplotlib (extra ``report``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromorph.canvas import blank_figure, save_png
from neuromorph.errors import RecipeError

__all__ = ["can_draw", "draw_curves", "draw_sweep"]


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
    from matplotlib.ticker import LogLocator

    figure = blank_figure(8, 3.2)
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
    errors.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    errors.yaxis.set_minor_formatter("{x:g}")
    if len(result["seeds"]) <= 10:
        errors.legend(fontsize=7)
    figure.suptitle(result["name"], fontsize=11)
    save_png(figure, path, RecipeError, dpi=110)


def draw_sweep(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against the varied keys: a line with measured zeros, or a map for two keys.

    Parameters
    ----------
    summary : dict
        As :func:`neuromorph.training.sweep` returns it.  With more than two
        keys the combinations stand side by side by name.
    path : path
        PNG file.

    Raises
    ------
    RecipeError
        The file cannot be written.
    """
    axes, rows = summary["axes"], summary["rows"]
    if len(axes) == 2:
        figure = _map(axes, rows)
    else:
        figure = _line(axes, rows)
    figure.suptitle(summary["name"], fontsize=11)
    save_png(figure, path, RecipeError, dpi=110)


def _line(axes: list[Any], rows: list[dict[str, Any]]) -> Any:
    figure = blank_figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    names = [", ".join(str(v) for v in row["settings"].values()) for row in rows]
    places = range(len(rows))
    means = [100 * row["test_accuracy"]["mean"] for row in rows]
    spreads = [100 * (row["test_accuracy"]["sd"] or 0.0) for row in rows]
    left.errorbar(places, means, spreads, marker="o", capsize=3)
    left.set(title="test accuracy, % (mean ± sd)")
    for key, label in (
        ("activation_zeros", "activations at 0"),
        ("weight_zeros", "weights at 0"),
        ("resting_fraction", "pairs at rest"),
    ):
        if all(row[key] is not None for row in rows):
            right.plot(places, [100 * row[key] for row in rows], marker="o", label=label)
    right.set(title="measured zeros, %", ylim=(0, 100))
    right.legend(fontsize=8)
    for part in (left, right):
        part.set_xticks(list(places), names, rotation=45 if max(map(len, names)) > 6 else 0)
        part.set_xlabel(", ".join(key for key, _ in axes))
        part.grid(True, linewidth=0.3)
    return figure


def _map(axes: list[Any], rows: list[dict[str, Any]]) -> Any:
    (down, ys), (across, xs) = axes
    found = {(r["settings"][down], r["settings"][across]): r["test_accuracy"]["mean"] for r in rows}
    table = [[100 * found[y, x] for x in xs] for y in ys]
    figure = blank_figure(1.6 + 0.9 * len(xs), 1.4 + 0.55 * len(ys))
    part = figure.subplots()
    part.imshow(table, cmap="viridis", aspect="auto")
    low = min(map(min, table))
    middle = (low + max(map(max, table))) / 2
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            colour = "white" if value < middle else "black"
            part.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    part.set_xticks(range(len(xs)), [str(x) for x in xs])
    part.set_yticks(range(len(ys)), [str(y) for y in ys])
    part.set(xlabel=across, ylabel=down, title="test accuracy, %")
    return figure
