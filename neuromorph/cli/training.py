"""``train``: recipes to networks; needs the extra ``train``."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import as_json, emit

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
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Seeds trained side by side, a process each.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@as_json
def train(
    recipe: str,
    seeds: int | None,
    epochs: int | None,
    data: Path | None,
    out: Path | None,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the network of RECIPE (a TOML file, or the name of a shipped one).

    Started again with the same output folder, it goes on where it stopped.
    """
    from neuromorph.training import load_recipe, train_seeds

    loaded = load_recipe(recipe)
    folder = out or Path("trained") / loaded.name
    result = train_seeds(
        loaded, seeds, folder=data, out=folder, epochs=epochs, jobs=jobs, progress=not quiet
    )
    test = result["test_accuracy"]
    spread = "" if test["sd"] is None else f" ± {test['sd']:.2%}"
    text = (
        f"{loaded.name}: test accuracy {test['mean']:.2%}{spread} over "
        f"{len(result['seeds'])} seed(s), last epoch\nwritten to {folder}"
    )
    emit(as_json, {**result, "out": str(folder)}, text)
