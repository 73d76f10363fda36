"""``demo`` and ``run``: map, simulate, record, price."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import (
    as_json,
    chip_option,
    data_option,
    emit,
    prices_option,
    run_record,
    samples_of,
)

__all__ = ["demo", "run"]


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("traces"),
    show_default=True,
    help="Folder for the trace and the picture.",
)
@as_json
def demo(out: Path, as_json: bool) -> None:
    """The main job on built-in data: map, simulate, record, price, draw.

    The trained network digits-gxnor runs all 360 test images of the built-in
    digits on the chip preset gxnor45, event by event in time.
    """
    from neuromorph.chip import load_chip
    from neuromorph.energy import estimate_energy, load_prices
    from neuromorph.mapping import map_network
    from neuromorph.network import load_network
    from neuromorph.report import draw_run
    from neuromorph.simulate import simulate

    net, chip = load_network("digits-gxnor"), load_chip("gxnor45")
    images, labels, source = samples_of(net, None, None)
    mapping = map_network(net, chip)
    out.mkdir(parents=True, exist_ok=True)
    result = simulate(mapping, images, mode="timed", labels=labels, trace=out / "demo.h5")
    report = estimate_energy(result.counts, load_prices("horowitz45"))
    picture = draw_run(result, report, out / "demo.svg", labels=labels)
    record = {**run_record(result, labels, report), "picture": str(picture)}
    text = "\n\n".join(
        [
            f"1. network  {net!r}\n   data     {source}",
            f"2. mapping  {mapping.summary()}",
            f"3. run      {_run_lines(result, labels)}\n{result.counts}",
            f"4. energy   {report}",
            f"5. written  {result.trace}   (neuromorph trace info {result.trace})\n"
            f"            {picture}",
        ]
    )
    emit(as_json, record, text)


@click.command()
@click.argument("network")
@chip_option
@prices_option
@data_option
@click.option(
    "--mode",
    type=click.Choice(["count", "timed", "reference"]),
    default="count",
    show_default=True,
    help="count: whole data sets, no time; timed: events in ticks; reference: plain NumPy.",
)
@click.option("--samples", type=click.IntRange(min=1), help="Only the first so many samples.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Record to HDF5.")
@click.option(
    "--detail",
    type=click.Choice(["counts", "spikes", "packets"]),
    help="What the trace holds; default packets in timed mode, else spikes.",
)
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds an inference, for static power (default: measured in timed mode).",
)
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the run as SVG."
)
@as_json
def run(
    network: str,
    chip: str,
    prices: str,
    data: str | None,
    mode: str,
    samples: int | None,
    trace: Path | None,
    detail: str | None,
    interval_s: float | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Run NETWORK on a chip over the test images of a data set."""
    from neuromorph.chip import load_chip
    from neuromorph.energy import estimate_energy, load_prices
    from neuromorph.mapping import map_network
    from neuromorph.network import load_network
    from neuromorph.report import draw_run
    from neuromorph.simulate import simulate

    net, target, table = load_network(network), load_chip(chip), load_prices(prices)
    images, labels, source = samples_of(net, data, samples)
    mapping = map_network(net, target)
    result = simulate(
        mapping,
        images,
        mode=mode,  # type: ignore[arg-type]  # click.Choice has checked it
        labels=labels,
        trace=trace,
        detail=detail,  # type: ignore[arg-type]  # click.Choice has checked it
    )
    report = estimate_energy(result.counts, table, interval_s=interval_s)
    record = run_record(result, labels, report)
    lines = [f"data      {source}", f"run       {_run_lines(result, labels)}", str(result.counts)]
    if picture is not None:
        record["picture"] = str(draw_run(result, report, picture, labels=labels))
    lines.append(f"energy    {report}")
    if result.trace:
        lines.append(f"trace     {result.trace}")
    emit(as_json, record, "\n\n".join(lines))


def _run_lines(result, labels) -> str:  # type: ignore[no-untyped-def]  # lazy imports
    parts = [f"{len(result)} samples, mode {result.mode}"]
    if labels is not None:
        parts.append(f"accuracy {result.accuracy(labels):.2%}")
    parts.append(f"{result.counts.events / len(result):,.0f} synaptic events an inference")
    parts.append(f"{result.counts.resting_fraction:.1%} of pairs at rest")
    if result.latency_s is not None:
        parts.append(f"latency {result.latency_s * 1e6:,.2f} µs")
    if result.interval_s is not None:
        parts.append(f"one result every {result.interval_s * 1e6:,.2f} µs")
    return ", ".join(parts)
