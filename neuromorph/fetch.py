"""Download the files of a data set, each checked against its checksum."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from neuromorph.data import MNIST_FILES, data_folder, read_idx
from neuromorph.errors import RecipeError

__all__ = ["MNIST_ADDRESS", "fetch_mnist"]

# Where PyTorch's torchvision takes the four files from as well.
MNIST_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist"
MAX_BYTES = 1 << 26  # of one file; the largest has 10 MB
TIMEOUT_S = 30


def fetch_mnist(
    folder: str | os.PathLike[str] | None = None,
    *,
    address: str = MNIST_ADDRESS,
    progress: bool = False,
) -> list[Path]:
    """Bring the four MNIST files into ``folder/mnist``.

    Files that are there and right stay as they are.  A file takes its place
    only when its MD5 is that of the official one.

    Parameters
    ----------
    folder : path, optional
        See :func:`neuromorph.data.data_folder`.
    address : str
        http or https folder that holds the four files.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    list of Path
        The files that were downloaded.

    Raises
    ------
    RecipeError
        No connection, a file that is not there, not the official one or
        cannot be written.
    """
    if not address.startswith(("http://", "https://")):
        raise RecipeError(f"address is {address!r}; it must start with http:// or https://")
    place = data_folder(folder) / "mnist"
    fetched = []
    for name in tqdm(MNIST_FILES, desc="mnist", unit="file", disable=not progress):
        target = place / name
        if target.exists():
            read_idx(target)  # refuses what is there but wrong
            continue
        try:
            place.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=place, prefix="partial-") as partial:
                whole = Path(partial) / name  # its name says which checksum holds
                whole.write_bytes(_read(f"{address.rstrip('/')}/{name}"))
                read_idx(whole)
                whole.replace(target)
        except OSError as error:
            raise RecipeError(f"cannot write {target}: {error.strerror or error}") from None
        fetched.append(target)
    return fetched


def _read(url: str) -> bytes:
    """Content of a web address, never more than ``MAX_BYTES``."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # http(s) only, see above
            data: bytes = answer.read(MAX_BYTES)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise RecipeError(
            f"cannot download {url}: {reason}; get the file by other means, or name another "
            "place with --from"
        ) from None
    return data
