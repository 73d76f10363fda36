"""Data sets: splits that never change, and one clear sentence for every broken folder."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from neuromorph.data import Dataset, data_folder, load_data
from neuromorph.errors import RecipeError

FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def parts(data: Dataset):
    return [
        (getattr(data, f"{part}_images"), getattr(data, f"{part}_labels"))
        for part in ("train", "validation", "test")
    ]


def test_digits_are_split_by_class_and_share_no_image():
    data = load_data("digits")
    assert [len(labels) for _, labels in parts(data)] == [1197, 240, 360]
    assert (data.shape, data.classes, data.maximum) == ((1, 8, 8), 10, 16)
    for images, labels in parts(data):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.max() <= data.maximum
        assert not images.flags.writeable
    assert np.bincount(data.validation_labels).tolist() == [24] * 10
    assert np.bincount(data.test_labels).tolist() == [36] * 10
    rows = np.concatenate([images.reshape(len(images), -1) for images, _ in parts(data)])
    assert len(rows) == 1797


def test_digits_are_all_of_the_built_in_images():
    import neuromorph

    with np.load(Path(neuromorph.__file__).parent / "builtin" / "digits.npz") as file:
        wanted = file["images"].reshape(1797, -1)
    found = np.concatenate(
        [images.reshape(len(images), -1) for images, _ in parts(load_data("digits"))]
    )
    assert np.array_equal(np.sort(wanted, axis=0), np.sort(found, axis=0))
    assert sorted(map(bytes, wanted)) == sorted(map(bytes, found))


def test_digits_split_never_changes():
    digest = hashlib.sha256()
    for images, labels in parts(load_data("digits")):
        digest.update(images.tobytes() + labels.astype("<i8").tobytes())
    assert digest.hexdigest() == DIGITS_SHA256


DIGITS_SHA256 = "8ec2d05cc79be79d20de310f2ed047c2322ab8061714955e30e7a1b49b954f7e"


def test_unknown_data_set():
    with pytest.raises(RecipeError, match="no data set 'cifar'; known are digits, mnist"):
        load_data("cifar")


def test_data_folder_prefers_argument_then_environment(monkeypatch):
    monkeypatch.setenv("NEUROMORPH_DATA", "/there")
    assert data_folder("/here") == Path("/here")
    assert data_folder() == Path("/there")
    monkeypatch.delenv("NEUROMORPH_DATA")
    assert data_folder() == Path("../shared/data")


def test_missing_files_are_named_with_places_and_remedy(tmp_path):
    (tmp_path / FILES[0]).write_bytes(b"")
    with pytest.raises(RecipeError) as error:
        load_data("mnist", tmp_path)
    text = str(error.value)
    assert "lacks train-labels-idx1-ubyte.gz, t10k-images" in text
    assert FILES[0] not in text
    assert str(tmp_path / "mnist") in text
    assert "--data FOLDER or NEUROMORPH_DATA" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not the official one"),
        (b"not gzip at all", "cannot be read: Not a gzipped file"),
        (gzip.compress(b"some other data"), "is not the official one: MD5"),
        (gzip.compress(bytes(100_000))[:60], "cannot be read: Compressed file ended"),
        (gzip.compress(bytes(100))[:-9] + bytes(9), "cannot be read"),
        (gzip.compress(bytes(60_000_000), 1), "is not the official one"),
    ],
    ids=["empty", "foreign", "other", "truncated", "damaged", "too long"],
)
def test_broken_files_are_refused(tmp_path, content, sentence):
    for file in FILES:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(RecipeError, match=sentence) as error:
        load_data("mnist", tmp_path)
    assert FILES[0] in str(error.value)


def test_mnist_parts():
    try:
        data = load_data("mnist")
    except RecipeError as error:
        pytest.skip(f"MNIST is not here: {error}")
    assert [images.shape for images, _ in parts(data)] == [
        (50_000, 1, 28, 28),
        (10_000, 1, 28, 28),
        (10_000, 1, 28, 28),
    ]
    assert (data.classes, data.maximum) == (10, 255)
