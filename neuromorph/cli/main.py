"""The command group and the small commands."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromorph import __version__
from neuromorph.cli.adapting import adapt
from neuromorph.cli.common import (
    CHIP,
    LINE,
    NETWORK,
    PRICES,
    Group,
    Picture,
    as_json,
    check_outputs,
    chip_option,
    emit,
    paragraph,
    prices_option,
)
from neuromorph.cli.comparing import compare, sweep
from neuromorph.cli.converting import export_network, import_network
from neuromorph.cli.data import data_group
from neuromorph.cli.geometry import geometry
from neuromorph.cli.learning import learn_command
from neuromorph.cli.running import demo, run
from neuromorph.cli.tracing import report, trace_group
from neuromorph.cli.training import train
from neuromorph.errors import NetworkError

if TYPE_CHECKING:
    from neuromorph.energy import Prices

__all__ = ["main"]


@click.group("neuromorph", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuromorph")
def main() -> None:
    """Networks with discrete weights on simulated neuromorphic cores.

    Train, map onto a chip, simulate event by event, record, price.
    """


main.add_command(demo)
main.add_command(run)
main.add_command(compare)
main.add_command(sweep)
main.add_command(train)
main.add_command(adapt)
main.add_command(import_network)
main.add_command(export_network)
main.add_command(learn_command)
main.add_command(data_group)
main.add_command(geometry)
main.add_command(trace_group)
main.add_command(report)


@main.command("map")
@click.argument("network", type=NETWORK)
@chip_option
@click.option("--dry-run", is_flag=True, help="Only say what fits; a misfit is no error.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write the mapping to.")
@click.option(
    "--traffic",
    type=click.Path(path_type=Path),
    help="Trace of a run of NETWORK; placement weighs ways with its spikes.",
)
@click.option(
    "--picture", type=Picture(".svg", ".png"), help="SVG or PNG file to draw the mesh in."
)
@as_json
def map_command(
    network: str,
    chip: str,
    dry_run: bool,
    out: Path | None,
    traffic: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Place NETWORK on a chip and show where everything sits."""
    from neuromorph.chip import load_chip
    from neuromorph.mapping import check_fit, map_network, save_mapping
    from neuromorph.network import load_network
    from neuromorph.report import draw_mapping
    from neuromorph.trace import Trace

    if (out is not None or picture is not None) and dry_run:
        raise click.UsageError(
            "--dry-run writes nothing; leave it out to write a mapping (--out) or picture"
        )
    check_outputs([out, picture], [network, chip, *([traffic] if traffic else [])])
    net, target = load_network(network), load_chip(chip)
    spikes = None
    if traffic is not None:
        with Trace(traffic) as trace:
            spikes = trace.sums
    fit = check_fit(net, target, traffic=spikes)
    if not fit.fits and not dry_run:
        map_network(net, target)  # raises the sentence
    mapping = fit.mapping
    if out is not None and mapping is not None:
        save_mapping(mapping, out)
    if picture is not None and mapping is not None:
        draw_mapping(mapping, picture, traffic=spikes)
    record = {
        "network": net.name,
        "chip": target.name,
        "fits": fit.fits,
        "cores_used": None if mapping is None else mapping.cores_used,
        "packet_hops": None if mapping is None else mapping.packet_hops,
        "chips_used": None if mapping is None else mapping.chips_used,
        "edge_hops": None if mapping is None else mapping.edge_hops,
        "limits": [
            {"limit": m.limit, "needed": m.needed, "available": m.available, "where": m.where}
            for m in fit.limits
        ],
    }
    text = str(fit) if mapping is None or dry_run else f"{mapping.summary()}\n\n{fit}"
    emit(as_json, record, text)


@main.command("chips")
@click.argument("name", type=CHIP, required=False)
@as_json
def chips_command(name: str | None, as_json: bool) -> None:
    """List the chip presets, or show every number of one with its source."""
    from neuromorph.chip import list_chips, load_chip
    from neuromorph.events import plural

    if name is not None:
        chip = load_chip(name)
        facts = {
            key: {"value": f.value, "kind": f.kind, "source": f.source}
            for key, f in chip.facts.items()
        }
        record = {
            "chip": chip.name,
            "description": chip.description,
            "cores": chip.cores,
            "chips": chip.chips,
            "ports": chip.port_tiles,
            "sync": chip.sync,
            "storage": chip.storage,
            "kernels": chip.kernels,
            "dataflow": chip.dataflow,
            "facts": facts,
        }
        emit(as_json, record, str(chip))
        return
    found = [load_chip(n) for n in list_chips()]
    records = [
        {
            "chip": c.name,
            "cores": c.cores,
            "neurons_per_core": c.neurons,
            "sync": c.sync,
            "description": c.description,
        }
        for c in found
    ]
    what = [
        (
            f"{plural(c.cores, 'core')} of {plural(c.neurons, 'neuron')}, {c.sync} sync",
            c.description,
        )
        for c in found
    ]
    emit(as_json, {"chips": records}, _entries([c.name for c in found], what))


def _entries(names: Sequence[str], texts: Sequence[Sequence[str]]) -> str:
    """Names with the lines that belong to each beside it."""
    width = max(map(len, names)) + 2
    shown = []
    for name, lines in zip(names, texts):
        wrapped = [
            part
            for line in lines
            for part in textwrap.wrap(line, LINE - width, break_on_hyphens=False)
        ]
        shown += [f"{name if i == 0 else '':{width}}{part}" for i, part in enumerate(wrapped)]
    return "\n".join(shown)


@main.command("networks")
@as_json
def networks_command(as_json: bool) -> None:
    """List the trained networks that are found by name."""
    from neuromorph.events import format_table
    from neuromorph.network import list_networks, load_network

    records: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    broken: list[str] = []
    segments: list[str] = []
    for name, path in list_networks().items():
        try:
            net = load_network(path)
        except NetworkError as error:
            records.append({"network": name, "file": str(path), "error": str(error)})
            broken.append(f"{name} cannot be used: {error}")
            continue
        meta: dict[str, Any] = net.meta
        records.append(
            {
                "network": name,
                "input": net.input.describe(),
                "neurons": net.neurons,
                "synapses": net.synapses,
                "weight_bytes": (net.weight_bits + 7) // 8,
                "data": meta.get("data"),
                "test_accuracy": meta.get("test_accuracy"),
                "seeds_mean": meta.get("seeds_mean"),
                "seeds_sd": meta.get("seeds_sd"),
                **{key: meta[key] for key in ("test_dice", "dice_mean", "dice_sd") if key in meta},
                "file": str(path),
            }
        )
        mean, sd = _percent(meta.get("seeds_mean")), _percent(meta.get("seeds_sd"))
        rows.append(
            [
                name,
                str(meta.get("data") or ""),
                _percent(meta.get("test_accuracy")),
                f"{mean} ± {sd}" if mean and sd else mean,
                f"{net.synapses:,}",
                f"{(net.weight_bits + 7) // 8 / 1024:.1f} KiB",
                f"{net.input.encoding} {'×'.join(map(str, net.input.shape))}",
            ]
        )
        dice, dice_mean, dice_sd = (
            _digits(meta.get(key)) for key in ("test_dice", "dice_mean", "dice_sd")
        )
        if dice:
            spread = f" ± {dice_sd}" if dice_sd else ""
            segments.append(f"{name} classifies pixels: Dice {dice}, seeds {dice_mean}{spread}")
    header = ["network", "data", "test", "seeds mean ± sd", "synapses", "weights", "input"]
    text = paragraph("\n".join([format_table(header, rows), *segments, *broken]))
    emit(as_json, {"networks": records}, text)


def _percent(value: Any) -> str:
    """A share out of a network's ``meta``, which may hold anything."""
    known = isinstance(value, (int, float)) and math.isfinite(value)
    return f"{value:.2%}" if known else ""


def _digits(value: Any) -> str:
    """A Dice coefficient out of ``meta``, likewise."""
    known = isinstance(value, (int, float)) and math.isfinite(value)
    return f"{value:.3f}" if known else ""


@main.group("energy", cls=Group)
def energy_group() -> None:
    """Price recorded runs."""


@energy_group.command("reprice")
@click.argument("file", type=click.Path(path_type=Path))
@prices_option
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds an inference, for static power (default: as recorded in timed mode).",
)
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write the table.")
@click.option("--plot", type=Picture(".png"), help="Draw it as PNG.")
@as_json
def energy_reprice(
    file: Path,
    prices: str,
    interval_s: float | None,
    csv: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Energy of a stored trace at any prices, without running again.

    Of a learning record: that of inference and that of learning.
    """
    from neuromorph.energy import estimate_energy, load_prices
    from neuromorph.learning import LearningTrace, is_learning
    from neuromorph.trace import Trace

    check_outputs([csv, plot], [file, prices])
    table = load_prices(prices)
    if is_learning(file):
        if csv is not None or plot is not None:
            raise click.UsageError("a learning record has two reports; leave out --csv and --plot")
        with LearningTrace(file) as learned:
            parts = {
                name: estimate_energy(counts, table, interval_s=interval_s)
                for name, counts in (
                    ("inference", learned.inference), ("learning", learned.learning),
                )
            }  # fmt: skip
        text = "\n\n".join(f"{name}\n{report}" for name, report in parts.items())
        emit(as_json, {n: r.to_dict() for n, r in parts.items()}, paragraph(text))
        return
    with Trace(file) as trace:
        report = estimate_energy(trace.sums, table, interval_s=interval_s)
    if csv is not None:
        report.to_csv(csv)
    if plot is not None:
        report.plot(plot)
    emit(as_json, report.to_dict(), paragraph(str(report)))


@energy_group.command("prices")
@click.argument("name", type=PRICES, required=False)
@as_json
def energy_prices(name: str | None, as_json: bool) -> None:
    """List the price files, or show every price of one with its source."""
    from neuromorph.energy import list_prices, load_prices

    if name is not None:
        table = load_prices(name)
        emit(as_json, _price_record(table), paragraph(str(table)))
        return
    found = [load_prices(n) for n in list_prices()]
    records = [{"prices": p.name, "description": p.description} for p in found]
    text = _entries([p.name for p in found], [(p.description,) for p in found])
    emit(as_json, {"prices": records}, text)


def _price_record(table: Prices) -> dict[str, Any]:
    """Every price of a file for JSON."""
    keys = ("value", "low", "high", "unit", "kind", "source")
    sram = table.sram
    return {
        "prices": table.name,
        "description": table.description,
        "node_nm": table.node_nm,
        "vdd": table.vdd,
        "chip": table.chip or None,
        "actions": {n: {k: getattr(p, k) for k in keys} for n, p in table.actions.items()},
        "static": {n: {k: getattr(p, k) for k in keys} for n, p in table.static.items()},
        "sram": None
        if sram is None
        else {
            "actions": list(sram.actions),
            "kind": sram.kind,
            "source": sram.source,
            "points": [
                {k: getattr(p, k) for k in ("capacity_bits", "access_bits", "value", "low", "high")}
                for p in sram.points
            ],
        },
        "free": dict(table.free),
        "included": {name: list(holders) for name, holders in table.included.items()},
        "unpriced": list(table.unpriced()),
    }
