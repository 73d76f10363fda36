"""``data``: which data sets there are, which are here, and how to get them."""

from __future__ import annotations

from pathlib import Path

import click

from neuromorph.cli.common import Group, as_json, emit
from neuromorph.errors import NeuromorphError, RecipeError
from neuromorph.events import format_table

__all__ = ["data_group"]

_folder = click.option(
    "--data",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder the data sets lie in; default: NEUROMORPH_DATA.",
)


@click.group("data", cls=Group)
def data_group() -> None:
    """Data sets: which are here, and how to get them."""


@data_group.command("list")
@_folder
@as_json
def data_list(folder: Path | None, as_json: bool) -> None:
    """List the data sets and whether they are found."""
    from neuromorph.data import DATA_NAMES, load_data

    records, rows = [], []
    for name in DATA_NAMES:
        try:
            data = load_data(name, folder)
        except NeuromorphError as error:
            records.append({"data": name, "found": False, "error": str(error)})
            rows.append([name, "", "", str(error)])
            continue
        parts = [
            len(labels) for labels in (data.train_labels, data.validation_labels, data.test_labels)
        ]
        shape = "×".join(map(str, data.shape))
        records.append({"data": name, "found": True, "shape": list(data.shape), "images": parts})
        rows.append([name, shape, " + ".join(f"{n:,}" for n in parts), "found"])
    header = ["data", "shape", "train + validation + test", ""]
    emit(as_json, {"data": records}, format_table(header, rows))


@data_group.command("fetch")
@click.argument("name")
@_folder
@click.option("--from", "address", metavar="URL", help="Another place that has the files.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@as_json
def data_fetch(
    name: str, folder: Path | None, address: str | None, quiet: bool, as_json: bool
) -> None:
    """Download the files of a data set (mnist), checked against their checksums."""
    from neuromorph.data import data_folder
    from neuromorph.events import plural
    from neuromorph.fetch import MNIST_ADDRESS, fetch_mnist

    if name != "mnist":
        raise RecipeError(
            f"cannot fetch data set {name!r}; only mnist can be (digits is built in, cifar10-jpeg "
            "is nowhere on the web)"
        )
    files = fetch_mnist(folder, address=address or MNIST_ADDRESS, progress=not quiet)
    place = data_folder(folder) / "mnist"
    text = f"{plural(len(files), 'file')} downloaded to {place}; all four are there and checked"
    emit(as_json, {"data": name, "folder": str(place), "fetched": [f.name for f in files]}, text)
