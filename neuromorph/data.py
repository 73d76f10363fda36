"""Data sets as integer arrays, split once and for all into train, validation, test.

``digits`` is built in; the others are read from a folder.  Nothing is downloaded
here (:mod:`neuromorph.fetch` does that when asked to).
Images have shape (samples, channels, height, width), labels (samples,).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.errors import MissingDependencyError, RecipeError

__all__ = [
    "DATA_NAMES",
    "MNIST_FILES",
    "Dataset",
    "data_folder",
    "load_data",
    "load_sections",
    "read_idx",
    "tiles",
]

DATA_NAMES = ("digits", "mnist", "cifar10-jpeg", "sstem-vnc")

_DIGITS_TEST = 36  # images of each class
_DIGITS_VALIDATION = 24
_DIGITS_SEED = 1797

_MNIST_VALIDATION = 10_000
_IDX_HEADERS = {"images": 16, "labels": 8}
_CIFAR_VALIDATION = 500  # images of each class
_CIFAR_SEED = 32_32_3
_CIFAR = {"train.npz": 50_000, "test.npz": 10_000}
_CIFAR_SHAPE = (3, 32, 32)
_SSTEM_FILE = "stack1.npz"
_SSTEM_SHAPE = (20, 1024, 1024)
_SSTEM_TILE = 64
_SSTEM_PARTS = {"train": (0, 14), "validation": (14, 16), "test": (16, 20)}  # sections

# file: (MD5 of the decompressed bytes, number of images)
_MNIST = {
    "train-images-idx3-ubyte.gz": ("6bbc9ace898e44ae57da46a324031adb", 60_000),
    "train-labels-idx1-ubyte.gz": ("a25bea736e30d166cdddb491f175f624", 60_000),
    "t10k-images-idx3-ubyte.gz": ("2646ac647ad5339dbf082846283269ea", 10_000),
    "t10k-labels-idx1-ubyte.gz": ("27ae3e4e09519cfbb04c329615203637", 10_000),
}
MNIST_FILES = tuple(_MNIST)


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
        int64 arrays, shape (samples,) or, where every pixel has a class,
        (samples, height, width), from 0; read-only.
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
    def is_segmentation(self) -> bool:
        """Whether every pixel has a label of its own."""
        return self.train_labels.ndim > 1

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train_labels.max()) + 1

    def some(self, count: int) -> Dataset:
        """``count`` images of each part, evenly spaced; all of a part that has fewer."""
        arrays = {}
        for key in self.__dataclass_fields__:
            if key.endswith(("_images", "_labels")):
                array = getattr(self, key)
                taken = min(count, len(array))
                arrays[key] = array[np.arange(taken) * len(array) // taken]
        return replace(self, **arrays)


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
    name : {"digits", "mnist", "cifar10-jpeg", "sstem-vnc"}
        ``digits``: 1797 images 8×8 of values 0 … 16, built in.  A fixed
        permutation (draws keyed by seed 1797) is dealt out class by class: 36
        images a class are test (360), the next 24 validation (240), the rest
        train (1197).
        ``mnist``: 28×28 of values 0 … 255; the first 50 000 of the training
        files are train, the last 10 000 validation.
        ``cifar10-jpeg``: 3×32×32 of values 0 … 255; CIFAR-10 as JPEG files of
        quality 75, so a result on it is not one on CIFAR-10.  A fixed
        permutation is dealt out class by class: 500 training images a class
        are validation (5000), the rest train (45 000).
        ``sstem-vnc``: membranes in 20 electron micrographs of serial sections,
        in tiles of 3×64×64 of values 0 … 255: a section between its neighbours
        (at the ends of the stack: itself).  A label a pixel, 1 is membrane.
        Sections 0 … 13 are train (3584 tiles), 14 and 15 validation (512), 16 …
        19 test (1024); :func:`load_sections` has them whole.
    folder : path, optional
        Where all but ``digits`` lie; see :func:`data_folder`.

    Raises
    ------
    RecipeError
        Unknown name; files that are missing, damaged or not the official ones.
    MissingDependencyError
        ``cifar10-jpeg`` without Pillow.

    Examples
    --------
    >>> load_data("digits").train_images.shape
    (1197, 1, 8, 8)
    """
    if name == "digits":
        return _digits()
    if name == "mnist":
        return _mnist(data_folder(folder))
    if name == "cifar10-jpeg":
        return _cifar(data_folder(folder))
    if name == "sstem-vnc":
        return _sstem(data_folder(folder))
    raise RecipeError(f"no data set {name!r}; known are {', '.join(DATA_NAMES)}")


def _digits() -> Dataset:
    path = Path(__file__).parent / "builtin" / "digits.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"][:, None], file["labels"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(f"built-in data {path} cannot be read: {error}") from None
    order, rank = _dealt(labels, _DIGITS_SEED)
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


def _dealt(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A fixed permutation, and for each image its place in it among those of its class."""
    order = np.argsort(draws.uniform(seed, 0, 0, np.arange(len(labels))), kind="stable")
    rank = np.empty(len(labels), np.int64)
    for label in range(int(labels.max()) + 1):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return order, rank


def _mnist(folder: Path) -> Dataset:
    places = (folder / "mnist", folder)
    place = next((p for p in places if any((p / file).exists() for file in _MNIST)), places[0])
    missing = [file for file in _MNIST if not (place / file).exists()]
    if missing:
        raise RecipeError(
            f"data set 'mnist' lacks {', '.join(missing)}; looked in {places[0]} and {places[1]}; "
            "name the folder that holds the four files with --data FOLDER or NEUROMORPH_DATA, or "
            "get them with: neuromorph data fetch mnist"
        )
    images, labels, test_images, test_labels = (read_idx(place / file) for file in _MNIST)
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


def read_idx(path: Path) -> NDArray[Any]:
    """Content of one official MNIST file; the checksum stands for every other check.

    Raises
    ------
    RecipeError
        A file that cannot be read or is not the official one of its name.
    """
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


def _cifar(folder: Path) -> Dataset:
    places = (folder / "cifar10-jpeg", folder)
    place = next((p for p in places if all((p / file).exists() for file in _CIFAR)), None)
    if place is None:
        raise RecipeError(
            f"data set 'cifar10-jpeg' lacks {' or '.join(_CIFAR)}; looked in {places[0]} and "
            f"{places[1]}; name the folder that holds them with --data FOLDER or NEUROMORPH_DATA"
        )
    (images, labels), (test_images, test_labels) = (
        _jpegs(place / file, count) for file, count in _CIFAR.items()
    )
    order, rank = _dealt(labels, _CIFAR_SEED)
    validation = order[rank[order] < _CIFAR_VALIDATION]
    train = order[rank[order] >= _CIFAR_VALIDATION]
    return Dataset(
        name="cifar10-jpeg",
        maximum=255,
        train_images=images[train],
        train_labels=labels[train],
        validation_images=images[validation],
        validation_labels=labels[validation],
        test_images=test_images,
        test_labels=test_labels,
    )


def _jpegs(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decoded images and labels of a file that holds JPEG files end to end."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError(
            "data set 'cifar10-jpeg' needs Pillow; run: pip install 'neuromorph[train]'"
        ) from None
    images = np.empty((count, *_CIFAR_SHAPE), np.uint8)
    try:
        with np.load(path, allow_pickle=False) as file:
            data, offsets, labels = (file[key] for key in ("jpeg", "offsets", "labels"))
        if data.dtype != np.uint8 or len(labels) != count or len(offsets) != count + 1:
            raise ValueError(f"it does not hold {count} images")
        content = data.tobytes()
        for index, (start, stop) in enumerate(pairwise(offsets.tolist())):
            with Image.open(io.BytesIO(content[start:stop]), formats=["JPEG"]) as picture:
                images[index] = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except Exception as error:  # zipfile, NumPy and Pillow raise many types on damaged files
        raise RecipeError(f"data file {path} cannot be read: {error}") from None
    return images, labels.astype(np.int64)


def load_sections(
    folder: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Whole sections of ``sstem-vnc``, in the order of the stack.

    Returns
    -------
    images : uint8 array, shape (20, 3, 1024, 1024)
        Each section in the middle, between its neighbours.
    labels : int64 array, shape (20, 1024, 1024)
        1 where there is membrane.

    Raises
    ------
    RecipeError
        A file that is missing or damaged.
    """
    place = data_folder(folder)
    places = (place / "sstem-vnc", place)
    found = next((p / _SSTEM_FILE for p in places if (p / _SSTEM_FILE).exists()), None)
    if found is None:
        raise RecipeError(
            f"data set 'sstem-vnc' lacks {_SSTEM_FILE}; looked in {places[0]} and {places[1]}; "
            "name the folder that holds it with --data FOLDER or NEUROMORPH_DATA"
        )
    try:
        with open(found, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            raw, membranes = file["raw"], file["membranes"]
        if raw.shape != _SSTEM_SHAPE or membranes.shape != _SSTEM_SHAPE or raw.dtype != np.uint8:
            raise ValueError("it does not hold 20 sections of 1024 × 1024")
    except (OSError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise RecipeError(f"data file {found} cannot be read: {error}") from None
    near = np.arange(len(raw)) + np.array([[-1], [0], [1]])
    images = raw[np.clip(near, 0, len(raw) - 1)].swapaxes(0, 1)
    return images, membranes.astype(np.int64)


def _sstem(folder: Path) -> Dataset:
    images, labels = load_sections(folder)
    parts = {}
    for part, cut in _SSTEM_PARTS.items():
        parts[f"{part}_images"] = tiles(images[slice(*cut)], _SSTEM_TILE)
        parts[f"{part}_labels"] = tiles(labels[slice(*cut)], _SSTEM_TILE)
    return Dataset(name="sstem-vnc", maximum=255, **parts)


def tiles(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Squares (images · rows · columns, …, size, size) side by side of (images, …, height, width).

    Row by row, image by image; what is left over at the right and the bottom is
    dropped.

    Examples
    --------
    >>> tiles(np.arange(16).reshape(1, 4, 4), 2)[1].tolist()
    [[2, 3], [6, 7]]
    """
    rows, columns = (side // size for side in images.shape[-2:])
    cut = images[..., : rows * size, : columns * size]
    inner = cut.shape[1:-2]
    squares = cut.reshape(len(cut), *inner, rows, size, columns, size)
    squares = np.moveaxis(squares, (-4, -2), (1, 2))
    return squares.reshape(-1, *inner, size, size)
