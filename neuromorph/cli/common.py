"""What all commands share: options, output, errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from neuromorph.errors import NeuromorphError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neuromorph.energy import EnergyReport
    from neuromorph.network import Network
    from neuromorph.simulate import Run

__all__ = [
    "Group",
    "as_json",
    "chip_option",
    "data_option",
    "emit",
    "energy_record",
    "prices_option",
    "run_record",
    "samples_of",
]

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
chip_option = click.option(
    "--chip", default="gxnor45", show_default=True, help="Preset or TOML file."
)
prices_option = click.option(
    "--prices", default="horowitz45", show_default=True, help="Price file: preset or TOML file."
)
data_option = click.option(
    "--data",
    metavar="NAME|FOLDER|FILE",
    help="Data set by name (digits, mnist), the folder data sets lie in, or an .npz file with "
    "images and labels. Left out: the network's own data set, looked for in NEUROMORPH_DATA.",
)


class Group(click.Group):
    """A group whose commands end with one sentence and exit code 2 on bad input."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors of ours and of the file system become one sentence."""
        try:
            return super().invoke(ctx)
        except NeuromorphError as error:
            message = str(error)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            name = f" {error.filename}" if error.filename else ""
            message = f"cannot use{name}: {error.strerror or error}"
        except MemoryError:
            message = "out of memory; run fewer samples at a time (--samples)"
        click.echo(f"error: {' '.join(message.split())}", err=True)
        sys.exit(2)


def emit(as_json: bool, record: dict[str, Any], text: str) -> None:
    """Print the record as JSON, or the text."""
    click.echo(json.dumps(record, indent=2, allow_nan=False) if as_json else text)


def samples_of(
    network: Network, data: str | None, limit: int | None
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]] | None, str]:
    """Test images and labels for a network: (images, labels or None, where they come from)."""
    import numpy as np

    from neuromorph.data import load_data
    from neuromorph.errors import RecipeError

    own = network.meta.get("data")
    name, folder = (own, None) if data is None else (data, None)
    if data is not None and Path(data).is_dir():
        name, folder = own, data
    elif data is not None and Path(data).is_file():
        try:
            with np.load(data, allow_pickle=False) as file:
                images = file["images"]
                labels = file["labels"] if "labels" in file else None
        except (KeyError, ValueError, OSError, EOFError) as error:
            raise RecipeError(
                f"{data} is not an .npz file with an array 'images': {error}"
            ) from None
        except Exception as error:  # zipfile and NumPy raise many types on damaged files
            raise RecipeError(f"{data} cannot be read: {error}") from None
        return _limited(network, images, labels, limit, data)
    if name is None:
        raise RecipeError(
            f"network {network.name!r} names no data set of its own; give --data NAME or FILE"
        )
    dataset = load_data(str(name), folder)
    return _limited(
        network, dataset.test_images, dataset.test_labels, limit, f"{dataset.name}, test images"
    )


def _limited(
    network: Network, images: Any, labels: Any, limit: int | None, source: str
) -> tuple[Any, Any, str]:
    if limit is not None:
        images, labels = images[:limit], None if labels is None else labels[:limit]
    if images.ndim > 1 and images.shape[1:] != network.input.shape:
        size = 1
        for side in images.shape[1:]:
            size *= side
        if size == network.input.size:
            images = images.reshape(len(images), *network.input.shape)
    return images, labels, source


def energy_record(report: EnergyReport) -> dict[str, Any]:
    """``energy_j`` (null where refused, with the reason) and the dynamic part."""
    whole = report.to_dict()
    keys = ("p10", "p50", "p90")

    def short(part: Any) -> dict[str, float] | None:
        return None if part is None else {key: part[key] for key in keys}

    record: dict[str, Any] = {"energy_j": short(whole["total"])}
    if whole["total"] is None:
        record["energy_dynamic_j"] = short(whole["dynamic"])
        record["energy_refused"] = whole.get("refused")
    return record


def run_record(run: Run, labels: Any, report: EnergyReport) -> dict[str, Any]:
    """The JSON record of ``demo`` and ``run``."""
    counts, mapping = run.counts, run.mapping
    return {
        "network": mapping.network.name,
        "chip": mapping.chip.name,
        "mode": run.mode,
        "encoding": mapping.network.input.encoding,
        "samples": len(run),
        "accuracy": None if labels is None else run.accuracy(labels),
        "latency_s": run.latency_s,
        "interval_s": run.interval_s,
        "events_per_inference": counts.events / len(run),
        "xnor_events_per_inference": counts.per_inference("xnor_event"),
        "resting_fraction": counts.resting_fraction,
        "prices": report.prices,
        **energy_record(report),
        "trace": run.trace,
    }
