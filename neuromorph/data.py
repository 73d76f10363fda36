"""Data sets as integer arrays, split once and for all into train, validation, test.

``digits`` is built in; ``mnist`` is read from a folder.  Nothing is downloaded.
Images have shape (samples, channels, height, width), labels (samples,).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.errors import RecipeError

__all__ = ["DATA_NAMES", "Dataset", "data_folder", "load_data"]

DATA_NAMES = ("digits", "mnist")

_DIGITS_TEST = 36  # images of each class
_DIGITS_VALIDATION = 24
_DIGITS_SEED = 1797

_MNIST_VALIDATION = 10_000
_IDX_HEADERS = {"images": 16, "labels": 8}
# file: (MD5 of the decompressed bytes, number of images)
_MNIST = {
    "train-images-idx3-ubyte.gz": ("6bbc9ace898e44ae57da46a324031adb", 60_000),
    "train-labels-idx1-ubyte.gz": ("a25bea736e30d166cdddb491f175f624", 60_000),
    "t10k-images-idx3-ubyte.gz": ("2646ac647ad5339dbf082846283269ea", 10_000),
    "t10k-labels-idx1-ubyte.gz": ("27ae3e4e09519cfbb04c329615203637", 10_000),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Images and labels in three parts that share no image.

    Parameters
    ----------
    name : str
    maximum : int
        Largest value a pixel can have; the smallest is 0.
    train_images, validation_images, test_images
        uint8 arrays, shape (samples, channels, height, width); read-only.
    train_labels, validation_labels, test_labels
        int64 arrays, shape (samples,), from 0; read-only.
    """

    name: str
    maximum: int
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            for what, dtype in (("images", np.uint8), ("labels", np.int64)):
                key = f"{part}_{what}"
                array = np.ascontiguousarray(getattr(self, key), dtype=dtype)
                array.setflags(write=False)
                object.__setattr__(self, key, array)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        _, c, h, w = self.train_images.shape
        return c, h, w

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train_labels.max()) + 1


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Folder in which data sets are looked for.

    ``folder`` if given, else the environment variable ``NEUROMORPH_DATA``,
    else ``../shared/data``.
    """
    return Path(folder or os.environ.get("NEUROMORPH_DATA") or Path("..", "shared", "data"))


def load_data(name: str, folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : {"digits", "mnist"}
        ``digits``: 1797 images 8×8 of values 0 … 16, built in.  A fixed
        permutation (draws keyed by seed 1797) is dealt out class by class: 36
        images a class are test (360), the next 24 validation (240), the rest
        train (1197).
        ``mnist``: 28×28 of values 0 … 255; the first 50 000 of the training
        files are train, the last 10 000 validation.
    folder : path, optional
        Where ``mnist`` lies; see :func:`data_folder`.

    Raises
    ------
    RecipeError
        Unknown name; files that are missing, damaged or not the official ones.

    Examples
    --------
    >>> load_data("digits").train_images.shape
    (1197, 1, 8, 8)
    """
    if name == "digits":
        return _digits()
    if name == "mnist":
        return _mnist(data_folder(folder))
    raise RecipeError(f"no data set {name!r}; known are {', '.join(DATA_NAMES)}")


def _digits() -> Dataset:
    path = Path(__file__).parent / "builtin" / "digits.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"][:, None], file["labels"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"built-in data {path} cannot be read: {error}") from None
    order = np.argsort(draws.uniform(_DIGITS_SEED, 0, 0, np.arange(len(labels))), kind="stable")
    rank = np.empty(len(labels), np.int64)  # place of an image among those of its class
    for label in range(int(labels.max()) + 1):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    test = order[rank[order] < _DIGITS_TEST]
    held = _DIGITS_TEST + _DIGITS_VALIDATION
    validation = order[(rank[order] >= _DIGITS_TEST) & (rank[order] < held)]
    train = order[rank[order] >= held]
    return Dataset(
        name="digits",
        maximum=16,
        train_images=images[train],
        train_labels=labels[train],
        validation_images=images[validation],
        validation_labels=labels[validation],
        test_images=images[test],
        test_labels=labels[test],
    )


def _mnist(folder: Path) -> Dataset:
    places = (folder / "mnist", folder)
    place = next((p for p in places if any((p / file).exists() for file in _MNIST)), places[0])
    missing = [file for file in _MNIST if not (place / file).exists()]
    if missing:
        raise RecipeError(
            f"data set 'mnist' lacks {', '.join(missing)}; looked in {places[0]} and {places[1]}; "
            "name the folder that holds the four files with --data FOLDER or NEUROMORPH_DATA"
        )
    images, labels, test_images, test_labels = (_idx(place / file) for file in _MNIST)
    return Dataset(
        name="mnist",
        maximum=255,
        train_images=images[:-_MNIST_VALIDATION],
        train_labels=labels[:-_MNIST_VALIDATION],
        validation_images=images[-_MNIST_VALIDATION:],
        validation_labels=labels[-_MNIST_VALIDATION:],
        test_images=test_images,
        test_labels=test_labels,
    )


def _idx(path: Path) -> NDArray[Any]:
    """Content of one official MNIST file; the checksum stands for every other check."""
    md5, count = _MNIST[path.name]
    is_images = "images" in path.name
    header = _IDX_HEADERS["images" if is_images else "labels"]
    size = header + count * (28 * 28 if is_images else 1)
    try:
        with gzip.open(path) as file:
            data = file.read(size + 1)  # never more than a byte too many
    except (OSError, EOFError, zlib.error) as error:
        raise RecipeError(f"data file {path} cannot be read: {error}") from None
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise RecipeError(
            f"data file {path} is not the official one: MD5 of its decompressed bytes is not {md5}"
        )
    content = np.frombuffer(data, np.uint8, offset=header)
    return content.reshape(count, 1, 28, 28) if is_images else content.astype(np.int64)
