"""``import`` and ``export``: networks from and to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuromorph.cli.common import NETWORK, as_json, check_outputs, emit, read_npz
from neuromorph.errors import NetworkError

__all__ = ["export_network", "import_network"]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder or .safetensors file to write; default the name of FILE without its ending.",
)
@click.option("--name", help="Name of the network; default that of FILE.")
@click.option(
    "--bits",
    type=click.IntRange(1, 12),
    help="Bits of an input level, if samples do not show the largest.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="ONNX: .npz file with an array images, as the model takes them, to compare on.",
)
@as_json
def import_network(
    file: Path, out: Path | None, name: str | None, bits: int | None, samples: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Turn an ONNX, QONNX or NIR model FILE into a network of integers.

    ONNX models are compared with onnxruntime, every level of every layer.
    """
    from neuromorph.interop import from_nir, from_onnx
    from neuromorph.network import save_network

    target = file.with_suffix("") if out is None else out
    if file.suffix == ".onnx":
        images = None if samples is None else read_npz(samples)[0]
        network = from_onnx(file, images, name=name, bits=bits)
    elif file.suffix == ".nir":
        network = from_nir(file, name=name, bits=bits)
    else:
        raise NetworkError(f"{file} ends in {file.suffix!r}; give a .onnx or .nir file")
    check_outputs([target], [file, samples])
    path = save_network(network, target)
    found: dict[str, Any] = network.meta.get("imported", {})
    record = {
        "network": network.name,
        "file": str(path),
        "input": network.input.describe(),
        "neurons": network.neurons,
        "synapses": network.synapses,
        **found,
    }
    lines = [f"{path}: {network!r}"]
    if found:
        lines.append(
            f"{found['levels_compared']:,} levels compared with {found['from']}, 0 differ"
            + (
                f", but for {found['differ_by_rounding']:,} that its rounding of sums decides"
                if found["differ_by_rounding"]
                else ""
            )
        )
        lines.append(f"an input level is worth {found['unit']:g}: samples are its multiples")
    emit(as_json, record, "\n".join(lines))


@click.command("export")
@click.argument("network", type=NETWORK)
@click.option("--to", "target", type=click.Choice(["nir"]), required=True, help="Format.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; default the name of the network with the ending of the format.",
)
@as_json
def export_network(network: str, target: str, out: Path | None, as_json: bool) -> None:
    """Write NETWORK for other programs; what a format cannot say is refused."""
    from neuromorph.interop import to_nir
    from neuromorph.network import load_network

    net = load_network(network)
    path = Path(f"{net.name}.{target}") if out is None else out
    check_outputs([path], [network])
    graph = to_nir(net, path)
    size = path.stat().st_size
    record = {"network": net.name, "to": target, "out": str(path), "bytes": size,
              "nodes": len(graph.nodes)}  # fmt: skip
    emit(as_json, record, f"{path}: {len(graph.nodes)} nodes, {size:,} bytes")
