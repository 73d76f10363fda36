"""``trace`` and ``report``: look into recorded traces."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import Group, as_json, emit, paragraph, prices_option

__all__ = ["report", "trace_group"]

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group("trace", cls=Group)
def trace_group() -> None:
    """Look into recorded traces."""


@trace_group.command("info")
@file_argument
@as_json
def trace_info(file: Path, as_json: bool) -> None:
    """What a trace holds and how it was made."""
    from neuromorph.trace import Trace

    with Trace(file) as trace:
        emit(as_json, trace.to_dict(), str(trace))


@trace_group.command("validate")
@file_argument
@as_json
def trace_validate(file: Path, as_json: bool) -> None:
    """Check every rule of docs/trace-format.md; exit code 1 if one is broken."""
    from neuromorph.trace import Trace, validate

    Trace(file).close()  # what is no trace at all is bad input, not a broken rule
    problems = validate(file)
    text = paragraph("\n".join(problems)) if problems else f"{file} is valid"
    emit(as_json, {"file": str(file), "valid": not problems, "problems": problems}, text)
    if problems:
        raise SystemExit(1)


@trace_group.command("export")
@file_argument
@click.option(
    "--to",
    "target",
    type=click.Choice(["csv", "sonata", "perfetto", "sanafe"]),
    required=True,
    help="csv, sanafe: a folder of tables; sonata: spikes in HDF5; perfetto: JSON for a viewer.",
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
        "csv": ".csv", "sonata": ".sonata.h5", "perfetto": ".perfetto.json", "sanafe": ".sanafe"
    }  # fmt: skip
    path = file.with_suffix(endings[target]) if out is None else out
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
@prices_option
@as_json
def report(file: Path, out: Path | None, prices: str, as_json: bool) -> None:
    """Write one HTML page about the trace FILE, charts included.

    Activity, cores, links, latency, energy, rest and provenance.  The page
    needs no network and runs no script.
    """
    from neuromorph.energy import load_prices
    from neuromorph.report import write_report
    from neuromorph.trace import Trace

    table = load_prices(prices)
    target = file.with_suffix(".html") if out is None else out
    with Trace(file) as trace:
        written = write_report(trace, target, prices=table)
        complete = trace.complete
    size = written.stat().st_size
    record = {"trace": str(file), "complete": complete, "report": str(written), "bytes": size}
    note = "" if complete else "; the run did not finish, the page says so"
    emit(as_json, record, f"{written} ({size:,} bytes){note}")
