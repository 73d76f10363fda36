"""``demo`` and ``run``: map, simulate, record, price."""

from __future__ import annotations

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
    load_record,
    paragraph,
    prices_option,
    run_record,
    samples_of,
    workers_of,
    workers_options,
)

if TYPE_CHECKING:
    from neuromorph.energy import EnergyReport
    from neuromorph.simulation import Run

__all__ = ["demo", "run"]

SHOWN_TERMS = 6


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
    from neuromorph.simulation import simulate

    net, chip = load_network("digits-gxnor"), load_chip("gxnor45")
    images, labels, source = samples_of(net, None, None)
    mapping = map_network(net, chip)
    out.mkdir(parents=True, exist_ok=True)
    result = simulate(mapping, images, mode="timed", labels=labels, trace=out / "demo.h5")
    report = estimate_energy(result.counts, load_prices("horowitz45"))
    picture = draw_run(result, report, out / "demo.svg", labels=labels)
    record = {**run_record(result, labels, report), "picture": str(picture)}
    text = [
        _facts(result, labels, report, source, picture),
        mapping.summary(),
        str(result.counts),
        _costs(report),
        f"more: neuromorph trace info {result.trace}\n"
        f"      neuromorph energy reprice {result.trace}",
    ]
    emit(as_json, record, "\n\n".join(text))


@click.command()
@click.argument("network", type=NETWORK)
@chip_option
@prices_option
@data_option
@click.option(
    "--mode",
    type=click.Choice(["count", "timed", "reference", "brian2"]),
    default="count",
    show_default=True,
    help="count: whole data sets, no time; timed: events in ticks; reference: plain NumPy; "
    "brian2: levels from Brian2, as a check.",
)
@click.option("--samples", type=click.IntRange(min=1), help="Only the first so many samples.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Record to HDF5.")
@click.option(
    "--detail",
    type=click.Choice(["counts", "spikes", "packets", "hops"]),
    help="What the trace holds; default packets in timed mode, else spikes.",
)
@click.option(
    "--compression",
    type=click.Choice(["gzip", "none", "lz4", "zstd"]),
    help="Of the trace, default gzip; none takes ten times the room; lz4, zstd need hdf5plugin.",
)
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds an inference, for static power (default: measured in timed mode).",
)
@click.option("--picture", type=Picture(".svg"), help="Draw the run as SVG.")
@workers_options("Processes that share the samples; default 1, whose threads use all processors.")
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
    compression: str | None,
    interval_s: float | None,
    picture: Path | None,
    jobs: int | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Run NETWORK on a chip over the test images of a data set.

    NETWORK is the name of a trained network (see neuromorph networks), a file
    or a folder.
    """
    from neuromorph.chip import load_chip
    from neuromorph.energy import estimate_energy, load_prices
    from neuromorph.mapping import map_network
    from neuromorph.network import load_network
    from neuromorph.report import draw_run
    from neuromorph.simulation import simulate, simulate_on
    from neuromorph.trace import Recorder

    for option, value in (("--detail", detail), ("--compression", compression)):
        if value is not None and trace is None:
            raise click.UsageError(
                f"{option} says what a trace is like; name its file with --trace"
            )
    check_outputs([trace, picture], [network, chip, prices, data])
    net, target, table = load_network(network), load_chip(chip), load_prices(prices)
    images, labels, source = samples_of(net, data, samples)
    mapping = map_network(net, target)
    chosen: dict[str, Any] = {"mode": mode, "detail": detail}
    workers, recorder = workers_of(jobs, cluster), None
    if trace is not None and (compression is not None or not workers.alone):
        recorder = Recorder(trace, mapping, **chosen, compression=compression or "gzip")  # type: ignore[arg-type]
    if workers.alone:
        result = simulate(mapping, images, labels=labels, trace=recorder or trace, **chosen)
    else:
        result = simulate_on(
            workers, mapping, images, mode=chosen["mode"], labels=labels, recorder=recorder
        )
    report = estimate_energy(result.counts, table, interval_s=interval_s)
    record = run_record(result, labels, report)
    if picture is not None:
        record["picture"] = str(draw_run(result, report, picture, labels=labels))
    text = [_facts(result, labels, report, source, picture), str(result.counts), _costs(report)]
    if result.trace:
        text.append(f"more: neuromorph energy reprice {result.trace} --prices {prices}")
    emit(as_json, record, "\n\n".join(text))


def _facts(run: Run, labels: Any, report: EnergyReport, source: str, picture: Path | None) -> str:
    """What a reader wants to know first, one line each."""
    network, counts = run.mapping.network, run.counts
    facts = [
        ("network", f"{network.name}, {network.synapses:,} synapses, {network.input.describe()}"),
        ("chip", f"{run.mapping.chip.name}, {run.mapping.cores_used} of "
                 f"{run.mapping.chip.cores} cores used"),
        *([("board", run.mapping.chip.board)] if run.mapping.chip.board else []),
        ("samples", f"{len(run):,} {source}, mode {run.mode}"),
    ]  # fmt: skip
    if labels is not None:
        dice = f", Dice {run.dice(labels):.4f} of class 1" if network.pixels else ""
        facts.append(("accuracy", f"{run.accuracy(labels):.2%}{dice}"))
    if run.latency_s is not None:
        pace = "" if run.interval_s is None else f", one result every {_time(run.interval_s)}"
        facts.append(("latency", f"{_time(run.latency_s)} from first input to read-out{pace}"))
    load = load_record(run)
    if load is not None:
        facts.append(
            ("load", "core {busiest_core} ({busiest_layer}) busy {core_busy:.0%}, link "
                     "{busiest_link} {link_busy:.0%}; longest queue {longest_queue:,} packets, "
                     "core {longest_queue_core}".format(**load))
        )  # fmt: skip
        if load["core_blocked"]:
            facts.append(
                ("blocked", f"a core waited {load['core_blocked']:.0%} of the time to send")
            )
    facts.append(
        ("events", f"{counts.events / len(run):,.0f} synaptic events an inference, "
                   f"{counts.resting_fraction:.1%} of all pairs at rest")
    )  # fmt: skip
    figures = report.figures
    if figures["total"] is not None:
        facts.append(("energy", f"{figures['total']} an inference, prices {report.prices}"))
    elif figures["dynamic"] is not None:
        facts.append(("energy", f"{figures['dynamic']} dynamic, prices {report.prices}; no total"))
    else:
        facts.append(("energy", f"refused with prices {report.prices}"))
    facts += [("trace", run.trace)] if run.trace else []
    facts += [("picture", str(picture))] if picture else []
    return "\n".join(paragraph(f"{name:<9} {value}", indent=" " * 10) for name, value in facts)


def _time(seconds: float) -> str:
    """Seconds, four digits, in µs or ms."""
    return f"{seconds * 1e6:,.4g} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.4g} ms"


def _costs(report: EnergyReport) -> str:
    """The dearest terms and the sum, an inference; the whole is in ``energy reprice``."""
    import numpy as np

    from neuromorph.energy import format_joules
    from neuromorph.events import format_table

    # name, joules in every draw, joules at the values
    terms = [(name, term.draws, term.nominal) for name, term in report.terms.items()]
    if not report.static_problem and report.static_terms:
        parts = list(report.static_terms.values())
        terms.append(
            ("static", np.sum([p.draws for p in parts], axis=0), sum(p.nominal for p in parts))
        )
    terms.sort(key=lambda term: -term[2])
    whole = sum(nominal for _, _, nominal in terms)
    rest = terms[SHOWN_TERMS:]
    if len(rest) > 1:
        draws = np.sum([draws for _, draws, _ in rest], axis=0)
        terms[SHOWN_TERMS:] = [(f"{len(rest)} more", draws, sum(n for _, _, n in rest))]
    rows = []
    for name, draws, nominal in terms:
        spread = [format_joules(float(q)) for q in np.quantile(draws, (0.1, 0.5, 0.9))]
        rows.append([name, *spread, f"{nominal / whole:.1%}"])
    for name in ("dynamic", "total"):
        figure = report.figures[name]
        if figure is not None:
            spread = [format_joules(q) for q in (figure.p10, figure.p50, figure.p90)]
            rows.append([name, *spread, f"{figure.nominal / whole:.1%}" if whole else ""])
    lines = [f"energy per inference, prices {report.prices} ({report.conditions})"]
    if rows:
        lines.append(format_table(["term", "p10", "p50", "p90", "share"], rows))
    lines += [
        f"no total: {problem}"
        for problem in (report.dynamic_problem, report.static_problem)
        if problem
    ]
    if report.evidence:
        lines.append(f"worst evidence among the prices used: {report.evidence}")
    lines += [f"note: {note}" for note in report.notes]
    return paragraph("\n".join(lines))
