"""``geometry``: angles and correlations of a network's layers."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import (
    NETWORK,
    Picture,
    as_json,
    check_outputs,
    data_option,
    emit,
    paragraph,
    samples_of,
)

__all__ = ["geometry"]


@click.command()
@click.argument("network", type=NETWORK)
@click.option(
    "--hidden",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Real weights beside the discrete ones: a checkpoint of the training, or a network file; "
    "given several times, their mean.",
)
@data_option
@click.option(
    "--samples", type=click.IntRange(min=2), default=500, show_default=True, help="At most so many."
)
@click.option("--out", type=Picture(".png"), help="PNG file for a picture.")
@as_json
def geometry(
    network: str,
    hidden: tuple[Path, ...],
    data: str | None,
    samples: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Angles of real and discrete weights of NETWORK, proportionality of its sums, advice on r."""
    from neuromorph.geometry import draw_geometry, load_hidden
    from neuromorph.geometry import geometry as measure
    from neuromorph.network import load_network

    check_outputs([out], [network, *hidden, data])
    net = load_network(network)
    real = [load_hidden(path, net) for path in hidden]
    images, _, _ = samples_of(net, data, samples)
    report = measure(net, images, hidden=real)
    if out is not None:
        draw_geometry(report, out)
    emit(as_json, report.to_dict(), paragraph(str(report)))
