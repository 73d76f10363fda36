"""``train``: recipes to networks; needs the extra ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromorph.cli.common import as_json, emit, goes_on, workers_of, workers_options
from neuromorph.events import format_table, plural

__all__ = ["train"]


@click.command()
@click.argument("recipe")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="How many seeds to train; default: what the recipe says.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=2),
    help="A trial on N images of each part of the data, evenly spaced.",
)
@click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder the data sets lie in; default: NEUROMORPH_DATA.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for network, card, results and checkpoints; default: trained/NAME.",
)
@workers_options("Seeds trained side by side, a process each; default 1.")
@click.option(
    "--sweep",
    "axes",
    metavar="KEY=V,V,…",
    multiple=True,
    help="Train a variant for each value of a recipe key, as in --sweep activation.r=0.1,0.5; "
    "given twice, every combination. Goes to --out, default: trained/NAME-sweep.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@as_json
def train(
    recipe: str,
    seeds: int | None,
    epochs: int | None,
    limit: int | None,
    data: Path | None,
    out: Path | None,
    jobs: int | None,
    cluster: str | None,
    axes: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the network of RECIPE (a TOML file, or the name of a shipped one).

    Started again with the same output folder, it goes on where it stopped.
    """
    from neuromorph.training import load_recipe, train_seeds
    from neuromorph.training import sweep as run_sweep
    from neuromorph.training.sweep import parse_axis

    loaded = load_recipe(recipe).with_limit(limit)
    options: dict[str, Any] = {
        "folder": data,
        "epochs": epochs,
        "workers": workers_of(jobs, cluster),
        "progress": not quiet,
    }
    if axes:
        folder = out or Path("trained") / f"{loaded.name}-sweep"
        with goes_on(folder):
            summary = run_sweep(loaded, [parse_axis(a) for a in axes], seeds, out=folder, **options)
        emit(as_json, {**summary, "out": str(folder)}, f"{_table(summary)}\nwritten to {folder}")
        return
    folder = out or Path("trained") / loaded.name
    with goes_on(folder):
        result = train_seeds(loaded, seeds, out=folder, **options)
    test = result["test_accuracy"]
    spread = "" if test["sd"] is None else f" ± {test['sd']:.2%}"
    if "test_dice" in result:
        spread += f", Dice {result['test_dice']['mean']:.3f}"
    text = (
        f"{loaded.name}: test accuracy {test['mean']:.2%}{spread} over "
        f"{plural(len(result['seeds']), 'seed')}, last epoch"
        f"{_trial(loaded.data.limit)}\nwritten to {folder}"
    )
    emit(as_json, {**result, "out": str(folder)}, text)


def _trial(limit: int | None) -> str:
    return "" if limit is None else f"; a trial on {limit} images of each part"


def _table(summary: dict[str, Any]) -> str:
    rows = []
    for row in summary["rows"]:
        test, zeros = row["test_accuracy"], row["activation_zeros"]
        rows.append(
            [
                ", ".join(f"{key} = {value}" for key, value in row["settings"].items()),
                f"{row['validation_accuracy']['mean']:.2%}",
                f"{test['mean']:.2%}" + ("" if test["sd"] is None else f" ± {test['sd']:.2%}"),
                "" if zeros is None else f"{zeros:.1%}",
                f"{row['weight_zeros']:.1%}",
                f"{row['resting_fraction']:.1%}",
            ]
        )
    header = ["setting", "validation", "test", "activations at 0", "weights at 0", "pairs at rest"]
    return format_table(header, rows)
