"""``compare``: networks side by side on one chip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuromorph.cli.common import (
    as_json,
    check_outputs,
    chip_option,
    data_option,
    emit,
    paragraph,
    prices_option,
    samples_of,
)

if TYPE_CHECKING:
    from neuromorph.compare import Activity, Contender

__all__ = ["compare", "measured", "packing_option"]

PACKINGS = {"2": Fraction(2), "1.6": Fraction(8, 5)}
packing_option = click.option(
    "--packing",
    type=click.Choice(list(PACKINGS)),
    default="2",
    show_default=True,
    help="Bits of a stored ternary weight; 1.6: five in a byte.",
)


@click.command()
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@chip_option
@prices_option
@data_option
@click.option("--samples", type=click.IntRange(min=1), help="Only the first so many samples.")
@click.option(
    "--dataflow",
    type=click.Choice(["scatter", "gather", "dense", "stationary"]),
    help="One for all; default: the cheapest of scatter, gather and dense for each.",
)
@packing_option
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw it as PNG.")
@as_json
def compare(
    networks: tuple[str, ...],
    chip: str,
    prices: str,
    data: str | None,
    samples: int | None,
    dataflow: str | None,
    packing: str,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compare NETWORKs on a chip: accuracy, counts, energy, latency.

    NETWORK is as for run; X-float stands for the float network that X-int8 was
    quantised from.  Every network runs its data set once and is then priced in
    every dataflow, at batch 1 and 64.
    """
    from neuromorph.chip import load_chip
    from neuromorph.compare import compare_networks, draw_comparison
    from neuromorph.energy import load_prices

    check_outputs([picture], [*networks, chip, prices, data])
    target, table = load_chip(chip), load_prices(prices)
    pairs, notes, warnings = measured(networks, data, samples, PACKINGS[packing])
    for warning in warnings:
        click.echo(paragraph(f"warning: {warning}"), err=True)
    result = compare_networks(pairs, target, table, dataflow=dataflow, notes=warnings + notes)
    record = result.to_dict()
    if picture is not None:
        record["picture"] = str(draw_comparison(result, picture))
    emit(as_json, record, paragraph(str(result)))


def measured(
    names: tuple[str, ...], data: str | None, samples: int | None, packing: Fraction
) -> tuple[list[tuple[Contender, Activity]], list[str], list[str]]:
    """Contenders with their activity, each network run once; notes; warnings by name."""
    from neuromorph.compare import find_contender, measure
    from neuromorph.errors import NetworkError

    found = [find_contender(name, packing=packing) for name in names]
    twice = [c.name for i, c in enumerate(found) if c.name in {d.name for d in found[:i]}]
    if twice:
        raise NetworkError(f"network {twice[0]!r} is given twice; name each network once")
    activities: dict[str, Activity] = {}
    pairs = []
    for contender in found:
        network = contender.network
        if network.hash not in activities:
            images, labels, _ = samples_of(network, data, samples)
            activities[network.hash] = measure(network, images, labels)
        pairs.append((contender, activities[network.hash]))
    warnings = []
    tasks = {c.name: str(c.network.meta.get("data")) for c in found}
    if data is None and len(set(tasks.values())) > 1:
        told = ", ".join(f"{name} ({task})" for name, task in tasks.items())
        warnings.append(f"these networks do different tasks, their figures do not compare: {told}")
    notes = [
        f"{c.name}: float32 at the activity of {c.network.name}, accuracy from its training"
        for c in found
        if c.form.floats
    ]
    return pairs, notes, warnings
