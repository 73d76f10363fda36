"""``compare`` and ``sweep``: networks side by side, on one chip or on many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromorph.cli.common import (
    NETWORK,
    Picture,
    as_json,
    check_outputs,
    chip_option,
    data_option,
    emit,
    paragraph,
    prices_option,
    samples_of,
    workers_of,
    workers_options,
)

if TYPE_CHECKING:
    from neuromorph.compare import Activity, Contender

__all__ = ["compare", "sweep"]

PACKINGS = {"2": Fraction(2), "1.6": Fraction(8, 5)}
SHOWN_POINTS = 20


@click.command()
@click.argument("networks", type=NETWORK, metavar="NETWORK...", nargs=-1, required=True)
@chip_option
@prices_option
@data_option
@click.option("--samples", type=click.IntRange(min=1), help="Only the first so many samples.")
@click.option(
    "--dataflow",
    type=click.Choice(["scatter", "gather", "dense", "stationary"]),
    help="One for all; default: the cheapest of scatter, gather and dense for each.",
)
@click.option(
    "--packing",
    type=click.Choice(list(PACKINGS)),
    default="2",
    show_default=True,
    help="Bits of a stored ternary weight; 1.6: five in a byte.",
)
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds an inference, for static power (default: the latency).",
)
@click.option("--picture", type=Picture(".png"), help="Draw it as PNG.")
@as_json
def compare(
    networks: tuple[str, ...],
    chip: str,
    prices: str,
    data: str | None,
    samples: int | None,
    dataflow: str | None,
    packing: str,
    interval_s: float | None,
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
    result = compare_networks(
        pairs, target, table, dataflow=dataflow, interval_s=interval_s, notes=warnings + notes
    )
    record = result.to_dict()
    if picture is not None:
        record["picture"] = str(draw_comparison(result, picture))
    emit(as_json, record, paragraph(str(result)))


@click.command()
@click.argument("networks", type=NETWORK, metavar="NETWORK...", nargs=-1, required=True)
@click.option(
    "--over",
    "axes",
    metavar="KEY=V,V,…",
    multiple=True,
    required=True,
    help="What to vary: dataflow, packing, batch, prices, price.NAME (a factor), or a number of "
    "the chip such as core.synapse_bits. Given twice, every combination.",
)
@chip_option
@prices_option
@data_option
@click.option(
    "--samples", type=click.IntRange(min=1), default=1000, show_default=True,
    help="Samples behind the activity.",
)  # fmt: skip
@workers_options("Processes; default one for each processor.")
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Table of all points.")
@click.option("--picture", type=Picture(".png"), help="PNG of them.")
@as_json
def sweep(
    networks: tuple[str, ...],
    axes: tuple[str, ...],
    chip: str,
    prices: str,
    data: str | None,
    samples: int,
    jobs: int | None,
    cluster: str | None,
    csv: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Price NETWORKs over chip and price parameters, and find what nothing beats.

    Each network runs its samples once; points are then counted and priced from
    its activity, side by side.
    """
    from neuromorph.chip import load_chip
    from neuromorph.compare import draw_sweep, parse_axis
    from neuromorph.compare import sweep as run_sweep
    from neuromorph.energy import load_prices
    from neuromorph.errors import PriceError
    from neuromorph.writing import write_whole

    check_outputs([csv, picture], [*networks, chip, prices, data])
    target, table = load_chip(chip), load_prices(prices)
    parsed = [parse_axis(axis) for axis in axes]
    pairs, notes, _ = measured(networks, data, samples, PACKINGS["2"])
    workers = workers_of(jobs, cluster, default=None)
    rows = run_sweep(pairs, target, table, parsed, workers=workers)
    record: dict[str, Any] = {"chip": target.name, "prices": table.name, "samples": samples}
    record |= {"points": rows, "notes": notes}
    if csv is not None:
        record["csv"] = str(
            write_whole(csv, _csv(rows, [k for k, _ in parsed]).encode(), PriceError)
        )
    if picture is not None:
        record["picture"] = str(draw_sweep(rows, picture))
    emit(as_json, record, paragraph(_front(rows, [k for k, _ in parsed])))


def _csv(rows: list[dict[str, Any]], keys: list[str]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["accuracy", "latency_s", "edp_js", "cores", "pareto", "problem"]
    writer.writerow(["network", *keys, "p10_j", "p50_j", "p90_j", *columns])
    for row in rows:
        energy = row["energy_j"] or dict.fromkeys(("p10", "p50", "p90"))
        settings = [row["settings"][key] for key in keys]
        writer.writerow([row["network"], *settings, *energy.values(), *(row[c] for c in columns)])
    return text.getvalue()


def _front(rows: list[dict[str, Any]], keys: list[str]) -> str:
    """The points that nothing beats, cheapest first, and how many there were."""
    from neuromorph.energy import format_joules
    from neuromorph.events import format_table, plural

    front = sorted((r for r in rows if r["pareto"]), key=lambda r: r["energy_j"]["p50"])
    lines = [
        [
            row["network"],
            *(row["settings"][key] for key in keys),
            *(format_joules(row["energy_j"][q]) for q in ("p10", "p50", "p90")),
            "" if row["latency_s"] is None else f"{row['latency_s'] * 1e6:.3g} µs",
            "" if row["accuracy"] is None else f"{row['accuracy']:.2%}",
            row["cores"],
        ]
        for row in front[:SHOWN_POINTS]
    ]
    header = ["network", *keys, "p10", "p50", "p90", "latency", "accuracy", "cores"]
    problems = [row["problem"] for row in rows if row["energy_j"] is None]
    untimed = [row["problem"] for row in rows if row["energy_j"] and row["latency_s"] is None]
    text = (
        f"{plural(len(rows), 'point')}, {len(front):,} that none beats in energy, latency and "
        "accuracy"
        + (f" (first {SHOWN_POINTS} shown)" if len(front) > SHOWN_POINTS else "")
        + "\n"
        + format_table(header, lines)
    )
    for lacking, what in ((problems, "energy"), (untimed, "latency")):
        if lacking:
            points = f"{plural(len(lacking), 'point')} {'has' if len(lacking) == 1 else 'have'}"
            text += f"\n{points} no {what}; the first: {lacking[0]}"
    return text


def measured(
    names: tuple[str, ...], data: str | None, samples: int | None, packing: Fraction
) -> tuple[list[tuple[Contender, Activity]], list[str], list[str]]:
    """Contenders with their activity, each network run once; notes; warnings by name."""
    from neuromorph.compare import find_contender, measure
    from neuromorph.errors import NetworkError

    found = [find_contender(name, packing=packing) for name in names]
    called = [c.name for c in found]
    # variants of one recipe, at several r say, share a name: then they go by what was asked for
    found = [
        replace(c, name=name) if called.count(c.name) > 1 else c for name, c in zip(names, found)
    ]
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
        click.echo(paragraph(f"warning: {warnings[0]}"), err=True)
    notes = [_float_note(c, a) for c, a in pairs if c.form.floats]
    return pairs, notes, warnings


def _float_note(contender: Contender, activity: Activity) -> str:
    """What a float row stands on, and how far its activity may be off."""

    def percent(shares: Iterable[float]) -> str:
        return ", ".join(f"{share:.1%}" for share in shares)

    note = f"{contender.name}: float32 at the activity of {contender.network.name}"
    if contender.densities:
        layers = range(len(contender.network.stages))
        here = [float(activity.arriving(i)[0].mean()) / activity.samples for i in layers]
        note += (
            f" (values not 0, layer by layer: {percent(here)}; in float, over all test images, "
            f"{percent(contender.densities)})"
        )
    return f"{note}, accuracy from its training"
