"""Data sets: splits that never change, and one clear sentence for every broken folder."""

import gzip
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromorph import data as data_module
from neuromorph.data import Dataset, data_folder, load_data, load_sections
from neuromorph.errors import MissingDependencyError, RecipeError

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


# --- CIFAR-10 as JPEG


def cifar_folder(tmp_path, monkeypatch, counts=(40, 20)):
    """A tiny stand-in with the form of the real files; one flat colour an image."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    monkeypatch.setattr(data_module, "_CIFAR", dict(zip(("train.npz", "test.npz"), counts)))
    monkeypatch.setattr(data_module, "_CIFAR_VALIDATION", 1)
    folder = tmp_path / "cifar10-jpeg"
    folder.mkdir()
    for name, count in zip(("train.npz", "test.npz"), counts):
        files = []
        for index in range(count):
            out = io.BytesIO()
            image.new("RGB", (32, 32), (6 * index, 0, 255)).save(out, "JPEG", quality=95)
            files.append(out.getvalue())
        np.savez(
            folder / name,
            jpeg=np.frombuffer(b"".join(files), np.uint8),
            offsets=np.cumsum([0, *map(len, files)]),
            labels=(np.arange(count) // (count // 10)).astype(np.uint8),
        )
    return folder


def test_cifar_is_decoded_and_split_by_class(tmp_path, monkeypatch):
    cifar_folder(tmp_path, monkeypatch)
    data = load_data("cifar10-jpeg", tmp_path)
    assert [len(labels) for _, labels in parts(data)] == [30, 10, 20]
    assert (data.shape, data.classes, data.maximum) == ((3, 32, 32), 10, 255)
    assert data.validation_labels.tolist() != list(range(10))  # shuffled
    assert sorted(data.validation_labels.tolist()) == list(range(10))
    for images, labels in parts(data)[:2]:
        red = images[:, 0].mean(axis=(1, 2))
        assert np.abs(red // 6 // 4 - labels).max() <= 1  # JPEG colours are near, not equal
        assert images[:, 2].min() > 200 > images[:, 1].max()


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        (lambda f: (f / "test.npz").unlink(), "data set 'cifar10-jpeg' lacks train.npz or test"),
        (lambda f: (f / "test.npz").write_bytes(b""), "test.npz cannot be read"),
        (lambda f: (f / "test.npz").write_bytes(b"PK" * 99), "test.npz cannot be read"),
        (
            lambda f: np.savez(f / "test.npz", jpeg=np.zeros(9, np.uint8), labels=np.zeros(2)),
            "test.npz cannot be read",
        ),
        (
            lambda f: (f / "train.npz").write_bytes((f / "test.npz").read_bytes()),
            "train.npz cannot be read: it does not hold 40 images",
        ),
    ],
)
def test_broken_cifar_is_one_sentence(breakage, sentence, tmp_path, monkeypatch):
    breakage(cifar_folder(tmp_path, monkeypatch))
    with pytest.raises(RecipeError, match=sentence):
        load_data("cifar10-jpeg", tmp_path)


def test_cifar_without_pillow_names_the_extra(tmp_path, monkeypatch):
    cifar_folder(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match="needs Pillow; run: pip install"):
        load_data("cifar10-jpeg", tmp_path)


# --- sections of electron micrographs


def sections_folder(tmp_path, **changes):
    folder = tmp_path / "sstem-vnc"
    folder.mkdir()
    arrays = {
        "raw": np.zeros((20, 1024, 1024), np.uint8),
        "membranes": np.zeros((20, 1024, 1024), bool),
    }
    np.savez_compressed(folder / "stack1.npz", **{**arrays, **changes})
    return folder / "stack1.npz"


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2000])


def flip_bytes(path):
    content = bytearray(path.read_bytes())
    for place in range(2000, 2010):
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("breakage", "sentence"),
    [
        (lambda p: p.unlink(), "data set 'sstem-vnc' lacks stack1.npz; looked in "),
        (cut_short, "stack1.npz cannot be read: "),
        (flip_bytes, "stack1.npz cannot be read: "),
        (lambda p: p.write_bytes(b"text"), "stack1.npz cannot be read: "),
        (
            lambda p: np.savez(p, raw=np.zeros((20, 8, 8), np.uint8), membranes=np.zeros(3)),
            "stack1.npz cannot be read: it does not hold 20 sections of 1024 × 1024",
        ),
        (
            lambda p: np.savez(p, raw=np.array([{}]), membranes=np.zeros(3)),
            "stack1.npz cannot be read: ",
        ),
        (lambda p: np.savez(p, raw=np.zeros(3)), "stack1.npz cannot be read: "),
    ],
)
def test_broken_sections_are_one_sentence(breakage, sentence, tmp_path):
    breakage(sections_folder(tmp_path))
    for load in (load_sections, lambda folder: load_data("sstem-vnc", folder)):
        with pytest.raises(RecipeError) as error:
            load(tmp_path)
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)


def test_sections_are_those_of_the_stack_and_the_parts_share_none():
    """The licence lets nobody ship them, so this runs only where they are."""
    try:
        images, labels = load_sections()
    except RecipeError as error:
        pytest.skip(str(error))
    assert (images.shape, labels.shape) == ((20, 3, 1024, 1024), (20, 1024, 1024))
    # each section between its neighbours; at the ends of the stack itself
    assert np.array_equal(images[1:, 0], images[:-1, 1])
    assert np.array_equal(images[:-1, 2], images[1:, 1])
    assert np.array_equal(images[0, 0], images[0, 1])
    assert np.array_equal(images[19, 2], images[19, 1])
    # shares and greys that were measured before any code of ours read the file
    assert labels.mean() == pytest.approx(0.204, abs=0.0005)
    grey = images[:, 1]
    assert grey[labels == 1].mean() == pytest.approx(65, abs=0.5)
    assert grey[labels == 0].mean() == pytest.approx(145, abs=0.5)
    data = load_data("sstem-vnc")
    assert data.is_segmentation
    assert (data.shape, data.classes, data.maximum) == ((3, 64, 64), 2, 255)
    assert [len(labels) for _, labels in parts(data)] == [3584, 512, 1024]
    assert np.array_equal(data.validation_images[16 * 16 + 1], images[15, :, :64, 64:128])
    assert np.array_equal(data.test_labels[-1], labels[19, -64:, -64:])
