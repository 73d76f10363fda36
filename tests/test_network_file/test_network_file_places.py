"""Network files that are damaged, looked for, or cannot be written."""

import copy
import errno
import json
import os
import pickle
import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_file_kit import (
    Forged,
    entry,
    forge,
    layer,
    refused,
    same_arrays,
    sample_network,
    set_attribute,
)

import neuromorph as nm
from neuromorph.errors import NetworkError
from neuromorph.network import (
    Conv2d,
    Input,
    Network,
    Readout,
    find_network,
    list_networks,
    load_network,
    network_folders,
    save_network,
)
from neuromorph.network import file as network_file

# --- damage


def test_truncated_anywhere(sample_bytes):
    for length in range(len(sample_bytes)):
        with pytest.raises(NetworkError, match=r"truncated|longer|not a whole safetensors file"):
            network_file._parse(sample_bytes[:length])


def test_flipped_bits(sample_bytes):
    """Each of 4000 single bits is noticed, or the minor version it made means the same."""
    bits = np.random.default_rng(0).choice(8 * len(sample_bytes), 4000, replace=False)
    harmless = set()
    for bit in bits.tolist():
        damaged = bytearray(sample_bytes)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            network = network_file._parse(bytes(damaged))
        except NetworkError:
            continue
        assert same_arrays(network, sample_network())
        harmless.add(bit // 8)
    assert harmless <= {sample_bytes.index(b'"version":"1.0"') + len('"version":"1.')}


def test_overwritten_stretches(sample_bytes):
    rng = np.random.default_rng(1)
    for _ in range(2000):
        first, length = rng.integers(len(sample_bytes)), rng.integers(2, 64)
        damaged = bytearray(sample_bytes)
        damaged[first : first + length] = rng.bytes(len(damaged[first : first + length]))
        if damaged != sample_bytes:
            with pytest.raises(NetworkError):
                network_file._parse(bytes(damaged))


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes(data, framed):
    if framed:
        data = struct.pack("<Q", len(data)) + data
    with pytest.raises(NetworkError):
        network_file._parse(data)


def test_arbitrary_headers_of_right_checksum(sample_bytes):
    """Single fields swapped for odd values: loads or is refused, nothing else."""
    rng = np.random.default_rng(2)
    odd = [None, True, -1, 0, 1, 2, 2**16, 2**24, 2**40, 2**70, 0.5, 1e300, "", "linear", [], {}]
    odd += [[1], [1, 1], [2, 2], [1] * 4, [2**24] * 4, [-1, 1], [[]], {"kind": "flatten"}]

    def places(value, path=()):
        yield path
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield from places(value[key], (*path, key))

    for where in list(places(Forged(sample_bytes).header))[1:]:
        for value in rng.permutation(len(odd))[:12].tolist():
            forged = Forged(sample_bytes)
            inside = forged.header
            for key in where[:-1]:
                inside = inside[key]
            inside[where[-1]] = copy.deepcopy(odd[value])
            try:
                network = network_file._parse(forged.bytes())
            except NetworkError:
                continue
            assert repr(network).startswith("<Network ")


def foreign_files(folder):
    """(name, content) of files that are something else."""
    with h5py.File(folder / "x.h5", "w") as file:
        file["weights"] = np.zeros(10)
    np.savez(folder / "x.npz", weights=np.zeros(10))
    np.save(folder / "x.npy", np.zeros(10))
    yield from ((p.name, p.read_bytes()) for p in sorted(folder.glob("x.*")))
    yield "pickle", pickle.dumps({"weights": [1, 2, 3]})
    yield "json", json.dumps({"name": "net"}).encode()
    yield "text", b"no network\n" * 10
    yield "zeros", bytes(1000)
    yield "ones", b"\xff" * 1000
    yield "empty", b""
    yield "png", b"\x89PNG\r\n\x1a\n" + bytes(100)


def test_foreign_files(tmp_path):
    for name, content in foreign_files(tmp_path):
        refused(tmp_path / f"file-{name}", content, r"safetensors|longer")


def test_a_safetensors_file_of_somebody_else(tmp_path):
    from safetensors.numpy import save

    for metadata in (None, {}, {"format": "pt"}):
        data = save({"weight": np.zeros((3, 3), np.float32)}, metadata=metadata)
        refused(tmp_path / "n", data, r"^this is not a neuromorph-network file$")
    data = save({"weight": np.zeros((3, 3), np.float64)})
    refused(tmp_path / "n", data, r"^tensor 'weight' has dtype F64, which no network holds$")


def test_nothing_is_allocated_for_claims(tmp_path, sample_bytes):
    """A file of a few kilobytes never makes arrays of more than a megabyte."""
    import tracemalloc

    claims = [
        layer(0, shape=[2**24] * 4),
        layer(4, shape=[2**15, 2**15]),
        entry(shape=[1, 2**24, 2**24]),
        entry(shape=[2**24]),
        set_attribute(index={"x": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}),
    ]
    path = tmp_path / "n.safetensors"
    for change in claims:
        path.write_bytes(forge(sample_bytes, change))
        tracemalloc.start()
        with pytest.raises(NetworkError):
            load_network(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20


# --- finding


def test_names_are_paths_then_local_then_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_network("digits-gxnor").name == "digits-gxnor", "ships with the package"
    local = sample_network(name="local")
    save_network(local, tmp_path / "networks" / "digits-gxnor")
    assert load_network("digits-gxnor").name == "local"
    save_network(sample_network(name="folder"), "digits-gxnor")
    assert load_network("digits-gxnor").name == "folder"
    assert load_network(Path("networks", "digits-gxnor")).name == "local"
    assert load_network(tmp_path / "digits-gxnor" / "network.safetensors").name == "folder"


def test_list_of_networks(tmp_path, monkeypatch):
    installed = {p.parent.name: p for p in network_folders()[1].glob("*/network.safetensors")}
    assert "digits-gxnor" in installed
    monkeypatch.chdir(tmp_path)
    assert list_networks() == installed
    here = save_network(sample_network(), Path("networks", "aaa"))
    found = list_networks()
    assert found == {"aaa": here, **installed}
    assert list(found) == sorted(found)


def test_unknown_names_list_the_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = ", ".join(list_networks())
    with pytest.raises(NetworkError) as error:
        load_network("digits")
    assert str(error.value) == (
        f"no network 'digits': no such file or folder; known names: {known}"
    )
    (tmp_path / "hollow").mkdir()
    with pytest.raises(NetworkError) as error:
        find_network("hollow")
    assert str(error.value) == (
        f"no network 'hollow': that folder has no network.safetensors; known names: {known}"
    )


def test_a_folder_without_a_file_does_not_hide_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-gxnor").mkdir()
    assert load_network("digits-gxnor").name == "digits-gxnor"


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "a\x00b", "", ".", "/", "~"])
def test_names_that_cannot_be_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=r"^(cannot read network file|no network) .*: .*"):
        load_network(name)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch, sample_bytes):
    path = tmp_path / "n.safetensors"
    path.write_bytes(sample_bytes)

    def fail(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(NetworkError) as error:
        load_network(path)
    assert str(error.value) == f"cannot read network file {path}: Input/output error"


# --- writing


def test_where_a_network_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = sample_network()
    (tmp_path / "there.d").mkdir()
    for target, wanted in [
        ("file.safetensors", "file.safetensors"),
        ("deep/er/file.net", "deep/er/file.net"),
        ("folder", "folder/network.safetensors"),
        ("new/folder", "new/folder/network.safetensors"),
        ("there.d", "there.d/network.safetensors"),
        (Path("path"), "path/network.safetensors"),
        (str(tmp_path / "abs"), str(tmp_path / "abs" / "network.safetensors")),
    ]:
        path = save_network(network, target)
        assert path == Path(wanted)
        assert load_network(target) == load_network(path) == network
    assert not list(tmp_path.rglob("*.partial"))


def test_writing_replaces_what_was_there(tmp_path):
    path = save_network(sample_network(), tmp_path / "n.safetensors")
    save_network(sample_network(name="second"), path)
    assert load_network(path).name == "second"


def cannot_write(network, target, why):
    with pytest.raises(NetworkError) as error:
        save_network(network, target)
    text = str(error.value)
    assert "\n" not in text
    assert re.search(why, text), text


def test_targets_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file.txt"
    blocked.write_text("here first")
    network = sample_network()
    cannot_write(
        network,
        blocked / "n.safetensors",
        r"^cannot write network file .*: (Not a dir|File exists)",
    )
    cannot_write(
        network, blocked / "folder", r"^cannot write network file .*: (Not a dir|File exists)"
    )
    cannot_write(network, tmp_path / ("x" * 300 + ".net"), r": File name too long$")
    cannot_write(network, tmp_path / ("x" * 250 + ".net"), r": File name too long$")
    cannot_write(network, "a\x00b.net", r"^cannot write network file 'a\\x00b\.net': embedded null")
    assert blocked.read_text() == "here first"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    cannot_write(sample_network(), tmp_path / "n.safetensors", r": Permission denied$")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk(tmp_path, monkeypatch, existing):
    path = tmp_path / "n.safetensors"
    if existing:
        save_network(sample_network(name="first"), path)
    write = Path.write_bytes

    def half(self, data):
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(NetworkError) as error:
        save_network(sample_network(), path)
    assert str(error.value) == f"cannot write network file {path}: No space left on device"
    assert [p.name for p in tmp_path.iterdir()] == ["n.safetensors"] * existing
    if existing:
        assert load_network(path).name == "first"


def test_an_error_without_a_number_still_says_something(tmp_path, monkeypatch):
    def fail(self, data):
        raise OSError("the tape is torn")

    monkeypatch.setattr(Path, "write_bytes", fail)
    cannot_write(sample_network(), tmp_path / "n.net", r"n\.net: the tape is torn$")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, OSError])
def test_a_write_that_is_stopped_leaves_nothing(tmp_path, monkeypatch, stop):
    def fail(self, target):
        assert self.exists()
        raise stop

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(NetworkError if stop is OSError else stop):
        save_network(sample_network(), tmp_path / "n.safetensors")
    assert not list(tmp_path.iterdir())


def ring():
    meta = {}
    meta["self"] = meta
    return meta


def depth(levels):
    meta = {}
    for _ in range(levels):
        meta = {"a": meta}
    return meta


@pytest.mark.parametrize(
    ("meta", "sentence"),
    [
        ({"a": float("nan")}, r"^network meta cannot be written as JSON: Out of range float"),
        ({"a": float("inf")}, r"^network meta cannot be written as JSON: Out of range float"),
        ({"a": np.float32(1)}, r"^network meta cannot be written as JSON: Object of type float32"),
        ({"a": {1, 2}}, r"^network meta cannot be written as JSON: Object of type set is not"),
        ({1: 0, "b": 1}, r"^network meta cannot be written as JSON: '<' not supported"),
        ({(1, 2): 0}, r"^network meta cannot be written as JSON: keys must be str"),
        (ring(), r"^network meta cannot be written as JSON: Circular reference detected$"),
        (depth(100_000), r"^network meta cannot be written as JSON: maximum recursion depth"),
        (None, r"^network does not fit the file format: header is malformed: Expected `object`"),
        ([], r"^network does not fit the file format: header is malformed: Expected `object`"),
        ({"a": "\ud800"}, r"^network does not fit the file format: header is malformed: "),
        (
            {"a": "x" * 2**20},
            r"^network does not fit the file format: the file's header has \d+ bytes; at most",
        ),
    ],
)
def test_meta_that_is_not_json(tmp_path, meta, sentence):
    cannot_write(sample_network(meta=meta), tmp_path / "n.safetensors", sentence)
    assert not list(tmp_path.iterdir())


def test_sizes_that_the_format_does_not_hold(tmp_path):
    vector = Input(shape=(3,))
    wide = [
        Conv2d(name="a", weights=np.ones((1, 3, 1, 1), int), stride=2**16 + 1),
        Readout(),
    ]
    sentence = r"^network does not fit the file format: header is malformed: .*stride"
    cannot_write(Network(name="n", input=vector, layers=wide), tmp_path / "n.net", sentence)
    far = Input(shape=(1, 5, 5), thresholds=(0, 2**31))
    sentence = r"^network does not fit the file format: header is malformed: .*thresholds"
    cannot_write(sample_network(input=far), tmp_path / "n.net", sentence)
    assert not list(tmp_path.iterdir())


def test_a_file_that_would_be_too_large(tmp_path, monkeypatch, sample_bytes):
    monkeypatch.setattr(network_file, "MAX_FILE_BYTES", len(sample_bytes) - 1)
    sentence = rf"file has {len(sample_bytes)} bytes; at most {len(sample_bytes) - 1} are read$"
    cannot_write(sample_network(), tmp_path / "n.net", sentence)
    monkeypatch.setattr(network_file, "MAX_FILE_BYTES", len(sample_bytes))
    assert save_network(sample_network(), tmp_path / "n.net").read_bytes() == sample_bytes


def test_functions_are_public():
    assert nm.load_network is load_network
    assert nm.save_network is save_network
