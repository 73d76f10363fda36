"""``trace`` and ``report``: look into recorded traces."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuromorph.cli.common import (
    Group,
    Picture,
    as_json,
    check_outputs,
    emit,
    paragraph,
    prices_option,
)

if TYPE_CHECKING:
    from neuromorph.trace import Difference

__all__ = ["report", "trace_group"]

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group("trace", cls=Group)
def trace_group() -> None:
    """Look into recorded traces."""


@trace_group.command("info")
@file_argument
@as_json
def trace_info(file: Path, as_json: bool) -> None:
    """What a trace, or a learning record, holds and how it was made."""
    from neuromorph.learning import LearningTrace, is_learning
    from neuromorph.trace import Trace

    kind = LearningTrace if is_learning(file) else Trace
    with kind(file) as trace:
        emit(as_json, trace.to_dict(), str(trace))


@trace_group.command("validate")
@file_argument
@as_json
def trace_validate(file: Path, as_json: bool) -> None:
    """Check every rule of docs/trace-format.md; exit code 1 if one is broken."""
    from neuromorph.learning import LearningTrace, is_learning, validate_learning
    from neuromorph.trace import Trace, validate

    kind, check = (LearningTrace, validate_learning) if is_learning(file) else (Trace, validate)
    kind(file).close()  # what is no trace at all is bad input, not a broken rule
    problems = check(file)
    text = paragraph("\n".join(problems)) if problems else f"{file} is valid"
    emit(as_json, {"file": str(file), "valid": not problems, "problems": problems}, text)
    if problems:
        raise SystemExit(1)


@trace_group.command("diff")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@as_json
def trace_diff(first: Path, second: Path, as_json: bool) -> None:
    """First difference in the data of two traces; exit code 1 if there is one."""
    from neuromorph.trace import Trace, difference

    with Trace(first) as one, Trace(second) as other:
        found = difference(one, other)
    _say_difference(found, as_json, f"{first} and {second} hold the same data")


@trace_group.command("replay")
@file_argument
@click.option("--network", help="The network that ran; default its name in the trace.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep the new trace."
)
@as_json
def trace_replay(file: Path, network: str | None, out: Path | None, as_json: bool) -> None:
    """Run FILE again from its input spikes; exit code 1 if anything comes out otherwise."""
    from neuromorph.events import plural
    from neuromorph.network import load_network
    from neuromorph.trace import Trace, replay

    check_outputs([out], [file, network])
    with Trace(file) as trace:
        net = load_network(trace.network_name if network is None else network)
        found = replay(trace, net, out)
        text = f"{file}: {plural(trace.samples, 'sample')} came out the same"
    _say_difference(found, as_json, text)


def _say_difference(found: Difference | None, as_json: bool, same: str) -> None:
    record = {"same": found is None, "difference": None if found is None else asdict(found)}
    emit(as_json, record, same if found is None else paragraph(f"first difference: {found}"))
    if found is not None:
        raise SystemExit(1)


@trace_group.command("repack")
@file_argument
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--compression",
    type=click.Choice(["none", "gzip", "lz4", "zstd"]),
    default="gzip",
    show_default=True,
    help="How the rows are stored; none is largest; lz4 and zstd need hdf5plugin, also to read.",
)
@as_json
def trace_repack(file: Path, target: Path, compression: str, as_json: bool) -> None:
    """Write FILE again as TARGET: the same data, another compression."""
    from neuromorph.trace import repack

    check_outputs([target], [file])
    before = file.stat().st_size if file.exists() else 0
    written = repack(file, target, compression=compression)  # type: ignore[arg-type]
    after = written.stat().st_size
    record = {"trace": str(written), "bytes_before": before, "bytes": after}
    emit(as_json, record, f"{written}: {after:,} bytes, before {before:,}")


@trace_group.command("export")
@file_argument
@click.option(
    "--to",
    "target",
    type=click.Choice(["csv", "sonata", "perfetto", "sanafe", "nir"]),
    required=True,
    help="csv, sanafe: a folder of tables; sonata, nir: spikes in HDF5; perfetto: for a viewer.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write; default the name of the trace with an ending of its own.",
)
@click.option("--samples", type=click.IntRange(min=1), help="Only the first so many samples.")
@as_json
def trace_export(
    file: Path, target: str, out: Path | None, samples: int | None, as_json: bool
) -> None:
    """Write a trace for other programs; docs/traces.md says what each keeps."""
    from neuromorph.interop import export_trace
    from neuromorph.trace import Trace

    endings = {
        "csv": ".csv", "sonata": ".sonata.h5", "perfetto": ".perfetto.json", "sanafe": ".sanafe",
        "nir": ".nir.h5",
    }  # fmt: skip
    path = file.with_suffix(endings[target]) if out is None else out
    check_outputs([path], [file])
    with Trace(file) as trace:
        written = export_trace(trace, path, to=target, samples=samples)  # type: ignore[arg-type]
    parts = sorted(written.iterdir()) if written.is_dir() else [written]
    sizes = {str(part): part.stat().st_size for part in parts}
    text = "\n".join(f"{name} ({size:,} bytes)" for name, size in sizes.items())
    emit(as_json, {"trace": str(file), "to": target, "out": str(written), "files": sizes}, text)


@click.command("report")
@file_argument
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write; default the name of the trace with .html.",
)
@click.option(
    "--png",
    type=Picture(".png"),
    help="Draw the main charts as PNG too; needs matplotlib.",
)
@prices_option
@as_json
def report(file: Path, out: Path | None, png: Path | None, prices: str, as_json: bool) -> None:
    """Write one HTML page about the trace FILE, charts included.

    Activity, cores, links, latency, energy, rest and provenance.  The page
    needs no network and runs no script.
    """
    from neuromorph.energy import load_prices
    from neuromorph.report import write_figure, write_report
    from neuromorph.trace import Trace

    table = load_prices(prices)
    target = file.with_suffix(".html") if out is None else out
    check_outputs([target, png], [file, prices])
    with Trace(file) as trace:
        if png is not None:
            write_figure(trace, png, prices=table)
        written = write_report(trace, target, prices=table)
        complete = trace.complete
    size = written.stat().st_size
    record = {"trace": str(file), "complete": complete, "report": str(written), "bytes": size}
    note = "" if complete else "; the run did not finish, the page says so"
    text = f"{written} ({size:,} bytes){note}"
    if png is not None:
        record["png"] = str(png)
        text += f"\n{png} ({png.stat().st_size:,} bytes)"
    emit(as_json, record, text)
