"""``adapt``: a float network in fixed point, at one width after another; extra ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromorph.cli.common import as_json, check_outputs, chip_option, emit, prices_option
from neuromorph.cli.comparing import PACKINGS, measured
from neuromorph.events import format_table

__all__ = ["adapt"]


@click.command()
@click.argument("recipe")
@click.option(
    "--trained",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where train left the checkpoint; default: trained/NAME.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Which.")
@click.option(
    "--bits",
    metavar="B,B,…",
    default="16,12,8,6,4,3,2",
    show_default=True,
    help="Of every weight, bias and activation; each starts from the one before.",
)
@click.option(
    "--epochs", type=click.IntRange(min=0), default=2, show_default=True, help="At each width."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Learning rate of these epochs, at their start.",
)
@click.option(
    "--overflow",
    type=click.FloatRange(min=0, max=1, max_open=True),
    help="Share of a layer's values that may saturate; default: what validation images choose.",
)
@click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder the data sets lie in; default: NEUROMORPH_DATA.",
)
@chip_option
@prices_option
@click.option(
    "--samples", type=click.IntRange(min=1), default=1000, show_default=True,
    help="Test samples behind the energy.",
)  # fmt: skip
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for networks, adapt.json and adapt.png; default: trained/NAME-adapted.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@as_json
def adapt(
    recipe: str,
    trained: Path | None,
    seed: int,
    bits: str,
    epochs: int,
    rate: float,
    overflow: float | None,
    data: Path | None,
    chip: str,
    prices: str,
    samples: int,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Adapt the trained float network of RECIPE to fixed point, 16 bits and fewer.

    Needs the checkpoint that train wrote. Each width becomes a network of
    integers, which is then counted and priced. Training on is kept where
    validation images find it no worse than rounding alone.
    """
    import json

    from neuromorph.chip import load_chip
    from neuromorph.compare import compare_networks
    from neuromorph.energy import load_prices
    from neuromorph.errors import RecipeError
    from neuromorph.training import load_recipe
    from neuromorph.training.adaptation import adapt_widths, draw_widths
    from neuromorph.training.curves import can_draw
    from neuromorph.writing import write_whole

    loaded = load_recipe(recipe)
    target, table = load_chip(chip), load_prices(prices)
    source = trained or Path("trained") / loaded.name
    folder = out or Path("trained") / f"{loaded.name}-adapted"
    check_outputs([folder], [recipe, chip, prices, data])
    result = adapt_widths(
        loaded,
        _widths(bits),
        trained=source,
        seed=seed,
        folder=data,
        out=folder,
        epochs=epochs,
        rate=rate,
        overflow=overflow,
        progress=not quiet,
    )
    files = {row["network"]: row for row in result["rows"] if row["network"]}
    names = tuple(str(folder / name) for name in files)
    pairs, notes, _ = measured(names, None if data is None else str(data), samples, PACKINGS["2"])
    found = compare_networks(pairs, target, table, notes=notes).to_dict()
    for row, priced in zip(files.values(), found["rows"], strict=True):
        row["energy_j"], row["dataflow"] = priced["energy_j"], priced["dataflow"]
    result |= {"chip": target.name, "prices": table.name}
    write_whole(folder / "adapt.json", (json.dumps(result, indent=1) + "\n").encode(), RecipeError)
    if can_draw():
        draw_widths(result, folder / "adapt.png")
    emit(as_json, {**result, "out": str(folder)}, f"{_table(result)}\nwritten to {folder}")


def _widths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} are no whole numbers with commas between, as in 16,8,4,2",
            param_hint="--bits",
        ) from None


def _table(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        energy = row.get("energy_j")
        work = sum(x["synapses"] * (1 - x["resting_fraction"]) for x in row["layers"])
        zeros = row["activation_zeros"]
        rows.append(
            [
                "float" if row["bits"] == 32 else row["bits"],
                f"{row['rounded_accuracy']:.2%}",
                f"{row['validation_accuracy']:.2%}" if row["tuned"] else "",
                f"{row['test_accuracy']:.2%}",
                "" if zeros is None else f"{zeros:.1%}",
                f"{work:,.0f}",
                "" if energy is None else f"{1e6 * energy['p50']:.3g} µJ",
            ]
        )
    header = ["bits", "rounded, validation", "trained on", "test", "activations at 0"]
    return format_table([*header, "events an image", "energy, p50"], rows)
