"""The command group and the small commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromorph import __version__
from neuromorph.cli.common import Group, as_json, chip_option, emit, prices_option
from neuromorph.cli.running import demo, run
from neuromorph.cli.training import train

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuromorph")
def main() -> None:
    """Networks with discrete weights on simulated neuromorphic cores.

    Train, map onto a chip, simulate event by event, record, price.
    """


main.add_command(demo)
main.add_command(run)
main.add_command(train)


@main.command("map")
@click.argument("network")
@chip_option
@click.option("--dry-run", is_flag=True, help="Only say what fits; a misfit is no error.")
@as_json
def map_command(network: str, chip: str, dry_run: bool, as_json: bool) -> None:
    """Place NETWORK on a chip and show where everything sits."""
    from neuromorph.chip import load_chip
    from neuromorph.mapping import check_fit, map_network
    from neuromorph.network import load_network

    net, target = load_network(network), load_chip(chip)
    fit = check_fit(net, target)
    if not fit.fits and not dry_run:
        map_network(net, target)  # raises the sentence
    mapping = fit.mapping
    record = {
        "network": net.name,
        "chip": target.name,
        "fits": fit.fits,
        "cores_used": None if mapping is None else mapping.cores_used,
        "packet_hops": None if mapping is None else mapping.packet_hops,
        "limits": [
            {"limit": m.limit, "needed": m.needed, "available": m.available, "where": m.where}
            for m in fit.limits
        ],
    }
    text = str(fit) if mapping is None or dry_run else f"{mapping.summary()}\n\n{fit}"
    emit(as_json, record, text)


@main.command("chips")
@click.argument("name", required=False)
@as_json
def chips_command(name: str | None, as_json: bool) -> None:
    """List the chip presets, or show every number of one with its source."""
    from neuromorph.chip import list_chips, load_chip
    from neuromorph.events import format_table

    if name is not None:
        chip = load_chip(name)
        facts = {
            key: {"value": f.value, "kind": f.kind, "source": f.source}
            for key, f in chip.facts.items()
        }
        emit(
            as_json,
            {"chip": chip.name, "description": chip.description, "sync": chip.sync, **facts},
            str(chip),
        )
        return
    found = [load_chip(n) for n in list_chips()]
    records = [
        {"chip": c.name, "cores": c.cores, "neurons_per_core": c.neurons, "sync": c.sync,
         "description": c.description}
        for c in found
    ]  # fmt: skip
    rows = [[c.name, c.cores, c.neurons, c.sync, c.description] for c in found]
    header = ["chip", "cores", "neurons a core", "sync", "what it is"]
    emit(as_json, {"chips": records}, format_table(header, rows))


@main.command("networks")
@as_json
def networks_command(as_json: bool) -> None:
    """List the trained networks that are found by name."""
    from neuromorph.events import format_table
    from neuromorph.network import list_networks, load_network

    records, rows = [], []
    for name, path in list_networks().items():
        net = load_network(path)
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
                "file": str(path),
            }
        )
        mean, sd = meta.get("seeds_mean"), meta.get("seeds_sd")
        spread = "" if mean is None else f"{mean:.2%}" + (f" ± {sd:.2%}" if sd else "")
        own = meta.get("test_accuracy")
        rows.append(
            [
                name,
                meta.get("data") or "",
                "" if own is None else f"{own:.2%}",
                spread,
                f"{net.synapses:,}",
                f"{(net.weight_bits + 7) // 8 / 1024:.1f} KiB",
                net.input.describe(),
            ]
        )
    header = ["network", "data", "test", "seeds mean ± sd", "synapses", "weights", "input"]
    emit(as_json, {"networks": records}, format_table(header, rows))


@main.group("trace", cls=Group)
def trace_group() -> None:
    """Look into recorded traces."""


@trace_group.command("info")
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def trace_info(file: Path, as_json: bool) -> None:
    """What a trace holds and how it was made."""
    from neuromorph.trace import Trace

    with Trace(file) as trace:
        emit(as_json, trace.to_dict(), str(trace))


@trace_group.command("validate")
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def trace_validate(file: Path, as_json: bool) -> None:
    """Check every rule of docs/trace-format.md; exit code 1 if one is broken."""
    from neuromorph.trace import validate

    problems = validate(file)
    text = "\n".join(problems) if problems else f"{file} is valid"
    emit(as_json, {"file": str(file), "valid": not problems, "problems": problems}, text)
    if problems:
        raise SystemExit(1)


@main.group("energy", cls=Group)
def energy_group() -> None:
    """Price recorded runs."""


@energy_group.command("reprice")
@click.argument("file", type=click.Path(path_type=Path))
@prices_option
@click.option("--interval-s", type=float, help="Seconds an inference, for static power.")
@as_json
def energy_reprice(file: Path, prices: str, interval_s: float | None, as_json: bool) -> None:
    """Energy of a stored trace at any prices, without running again."""
    from neuromorph.energy import estimate_energy, load_prices
    from neuromorph.trace import Trace

    table = load_prices(prices)
    with Trace(file) as trace:
        report = estimate_energy(trace.counts, table, interval_s=interval_s)
    emit(as_json, report.to_dict(), str(report))


@energy_group.command("prices")
@click.argument("name", required=False)
@as_json
def energy_prices(name: str | None, as_json: bool) -> None:
    """List the price files, or show every price of one with its source."""
    from neuromorph.energy import list_prices, load_prices
    from neuromorph.events import format_table

    if name is not None:
        table = load_prices(name)
        emit(as_json, {"prices": table.name, "description": table.description}, str(table))
        return
    found = [load_prices(n) for n in list_prices()]
    records = [{"prices": p.name, "description": p.description} for p in found]
    rows = [[p.name, p.description] for p in found]
    emit(as_json, {"prices": records}, format_table(["prices", "what they are"], rows))
