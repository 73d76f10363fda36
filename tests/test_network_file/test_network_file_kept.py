"""Network files that are kept: round trips, released versions, compression."""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_file_kit import Forged, about, both, forge, layer, refused, same_arrays, sample_network

from networks import random_levels, random_network, random_threshold
from neuromorph.errors import NetworkError
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
    load_network,
    save_network,
)
from neuromorph.network import file as network_file

RELEASED = Path(__file__).parents[1] / "data" / "network-1.0.safetensors"


# --- round trips


@pytest.mark.parametrize("seed", range(7000, 7040))
def test_random_networks_round_trip(seed, tmp_path):
    network = random_network(seed)
    first = save_network(network, tmp_path / "a.safetensors")
    back = load_network(first)
    assert same_arrays(back, network)
    assert back == network
    assert back.hash == network.hash
    second = save_network(back, tmp_path / "b.safetensors")
    assert second.read_bytes() == first.read_bytes(), "writing is not deterministic"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


def same_json(a, b):
    """Equal, and of equal types all the way down."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_meta_round_trips(tmp_path, meta):
    path = save_network(sample_network(meta=meta), tmp_path / "n.safetensors")
    assert same_json(load_network(path).meta, meta)


@pytest.mark.parametrize("meta", [{}, {"": {}}, {"a": {"b": {"c": [{}, [], None]}}}])
def test_nested_and_empty_meta(tmp_path, meta):
    assert load_network(save_network(sample_network(meta=meta), tmp_path)).meta == meta


def test_smallest_network(tmp_path):
    network = Network(
        name="one",
        input=Input(shape=(1,)),
        layers=[Linear(name="a", weights=[[0]]), Readout()],
    )
    assert same_arrays(load_network(save_network(network, tmp_path)), network)


# --- what was released


def released_network():
    """The content of tests/data/network-1.0.safetensors, by formula."""

    def levels(n, *shape):
        allowed = [-1, 1] if n == 0 else list(range(-(2 ** (n - 1)), 2 ** (n - 1) + 1))
        count = int(np.prod(shape))
        return np.array([allowed[7 * i % len(allowed)] for i in range(count)]).reshape(shape)

    def climb(channels, n):
        steps = 1 if n == 0 else 2**n
        edges = [[3 * (j - steps // 2) - c for j in range(steps)] for c in range(channels)]
        edges[0] = [-(2**31), *[2**31 - 1] * (steps - 1)]
        return Threshold(
            thresholds=edges, directions=[1 - 2 * (c % 2) for c in range(channels)], n=n
        )

    return Network(
        name="released-1.0",
        input=Input(shape=(2, 6, 5), encoding="bitplane", bits=4),
        layers=[
            Conv2d(name="first", weights=levels(1, 4, 2, 3, 2), stride=(1, 2), padding=(2, 1)),
            MaxPool2d(size=(2, 1), stride=(2, 1)),
            climb(4, 1),
            Conv2d(name="second", weights=levels(3, 3, 4, 1, 2), n=3),
            climb(3, 2),
            MaxPool2d(size=2),
            Flatten(),
            Linear(name="third", weights=levels(8, 5, 6), n=8),
            climb(5, 0),
            Linear(name="fourth", weights=levels(0, 3, 5), n=0),
            Readout(scale=[0.5, -0.25, 3.0], offset=[0.0, 1e-3, -7.0]),
        ],
        meta={"note": "written by version 1.0", "nested": {"empty": {}, "list": [1, 2.5, None]}},
    )


def test_the_released_format_is_still_read():
    assert same_arrays(load_network(RELEASED), released_network())


def test_the_same_network_is_always_the_same_bytes(tmp_path):
    """Whatever the process, machine or library: these were written by another."""
    assert save_network(released_network(), tmp_path).read_bytes() == RELEASED.read_bytes()


def test_the_hash_of_a_network_has_not_changed():
    """Traces carry it.  Computed here from the file, without the package."""
    forged = Forged(RELEASED.read_bytes())
    entry = forged.header["input"]
    digest = hashlib.sha256(
        json.dumps([entry[k] for k in ("shape", "encoding", "bits", "thresholds")]).encode()
    )
    network = released_network()
    for i, (fields, made) in enumerate(zip(forged.header["layers"], network.layers)):
        kind = fields.pop("kind")
        fields.pop("shape", None)
        digest.update(json.dumps([kind, fields], sort_keys=True).encode())
        names = sorted(n.split(".")[1] for n in forged.tensors if n.split(".")[0] == str(i))
        for name in names:
            values = getattr(made, name)
            values = values.astype("<f4" if name in ("scale", "offset") else "<i4")
            digest.update(json.dumps([name, list(values.shape)]).encode() + values.tobytes())
    assert load_network(RELEASED).hash == digest.hexdigest()


@pytest.mark.parametrize("version", ["1.0", "1.2", "1.27"])
def test_later_minor_versions_are_read(tmp_path, sample_bytes, version):
    path = tmp_path / "n.safetensors"
    path.write_bytes(forge(sample_bytes, about(version=version)))
    assert same_arrays(load_network(path), sample_network())


def test_what_a_later_version_adds_is_refused_by_name(tmp_path, sample_bytes):
    newer = both(about(version="1.5"), layer(0, groups=2))
    refused(
        tmp_path / "n",
        forge(sample_bytes, newer),
        r"header is malformed: .*unknown field `groups`",
    )


# --- compressed thresholds (format 1.1)


def many_steps(n=8, channels=3, seed=0):
    """A network whose first layer has 2**n thresholds a channel, sentinels among them."""
    rng = np.random.default_rng(seed)
    steps = 1 << n
    thresholds = np.sort(rng.integers(-(2**31), 2**31, (channels, steps)), axis=1)
    thresholds[0, : steps // 2] = -(2**31)
    thresholds[0, -3:] = 2**31 - 1
    return Network(
        name="steps",
        input=Input(shape=(4,), encoding="graded", bits=8),
        layers=[
            Linear(name="hidden", weights=random_levels(rng, 8, (channels, 4)), n=8),
            Threshold(thresholds=thresholds, directions=[1, -1, 1][:channels], n=n),
            Linear(name="output", weights=random_levels(rng, 1, (2, channels))),
            Readout(),
        ],
    )


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_thresholds_of_many_steps_come_back(tmp_path, n):
    network = many_steps(n)
    data = save_network(network, tmp_path / "net.st").read_bytes()
    index, _ = unpacked(data)
    assert ("1.thresholds_z" in index, "1.thresholds" in index) == (n > 4, n <= 4)
    assert index["__metadata__"]["version"] == ("1.1" if n > 4 else "1.0")
    same_arrays(load_network(tmp_path / "net.st"), network)


def test_a_file_of_version_1_1_is_read():
    same_arrays(load_network(RELEASED.with_name("network-1.1.safetensors")), many_steps())


def dilated_network():
    """What format 1.2 adds: taps apart; the second convolution has its taps side by side."""
    rng = np.random.default_rng(12)
    return Network(
        name="dilated",
        input=Input(shape=(2, 7, 6)),
        layers=[
            Conv2d(
                name="a",
                weights=random_levels(rng, 1, (3, 2, 3, 2)),
                stride=(1, 2),
                padding=(1, 0),
                dilation=(2, 3),
            ),
            random_threshold(rng, 3, 1),
            Conv2d(name="b", weights=random_levels(rng, 1, (2, 3, 5, 2))),
            Readout(),
        ],
    )


def test_a_dilation_comes_back(tmp_path):
    data = save_network(dilated_network(), tmp_path / "net.st").read_bytes()
    index, _ = unpacked(data)
    assert index["__metadata__"]["version"] == "1.2"
    described = json.loads(index["__metadata__"]["network"])["layers"]
    assert described[0]["dilation"] == [2, 3]
    assert "dilation" not in described[2]  # a reader of 1.0 or 1.1 knows nothing of it
    same_arrays(load_network(tmp_path / "net.st"), dilated_network())
    plain = Conv2d(name="a", weights=np.ones((1, 1, 1, 1), int))
    assert plain.dilation == (1, 1)


def test_a_file_of_version_1_2_is_read():
    same_arrays(load_network(RELEASED.with_name("network-1.2.safetensors")), dilated_network())


def test_evenly_spaced_thresholds_take_little(tmp_path):
    thresholds = np.arange(256) * 37 - 5000 + np.arange(64)[:, None]
    layers = many_steps().layers
    network = Network(
        name="even",
        input=Input(shape=(4,), encoding="graded", bits=8),
        layers=[
            Linear(name="hidden", weights=np.ones((64, 4), int)),
            Threshold(thresholds=thresholds, n=8),
            Linear(name="output", weights=np.ones((2, 64), int)),
            layers[-1],
        ],
    )
    assert save_network(network, tmp_path / "net.st").stat().st_size < thresholds.size // 2


def unpacked(data):
    """Index and body of a file."""
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:start]), data[start:]


def with_stream(data, stream):
    """The file with another stream of compressed thresholds and the right checksum."""
    index, body = unpacked(data)
    about = index.pop("__metadata__")
    digest, content, new = hashlib.sha256(about["network"].encode()), b"", {}
    for name in sorted(index):
        first, last = index[name]["data_offsets"]
        raw, shape = body[first:last], index[name]["shape"]
        if name == "1.thresholds_z":
            raw, shape = stream, [len(stream)]
        digest.update(f"\n{name} {shape}\n".encode() + raw)
        new[name] = {**index[name], "shape": shape, "data_offsets": [0, len(raw)], "raw": raw}
    for name in sorted(new, key=lambda n: (-{"I": 4, "F": 4, "U": 1}[new[n]["dtype"][0]], n)):
        raw = new[name].pop("raw")
        new[name]["data_offsets"] = [len(content), len(content) + len(raw)]
        content += raw
    new["__metadata__"] = {**about, "sha256": digest.hexdigest()}
    text = json.dumps(new).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: b"no stream", "tensor '1.thresholds_z' is no zlib stream"),
        (lambda s: zlib.compress(bytes(12)), "does not hold exactly 3 × 256 thresholds"),
        (lambda s: zlib.compress(bytes(3 * 256 * 4 + 1)), "does not hold exactly 3 × 256"),
        (lambda s: zlib.compress(bytes(1 << 28)), "does not hold exactly 3 × 256"),
        (lambda s: s + b"x", "does not hold exactly 3 × 256 thresholds"),
        (lambda s: s[:-4], "does not hold exactly 3 × 256 thresholds"),
        (
            lambda s: zlib.compress(np.resize([5, 2**32 - 1], 768).astype("<u4").tobytes()),
            "thresholds of channel 0 do not ascend",
        ),
    ],
)
def test_broken_streams_are_refused(tmp_path, change, sentence):
    data = save_network(many_steps(), tmp_path / "net.st").read_bytes()
    index, body = unpacked(data)
    stream = body[slice(*index["1.thresholds_z"]["data_offsets"])]
    whole = tmp_path / "whole.st"
    whole.write_bytes(with_stream(data, stream))
    same_arrays(load_network(whole), many_steps())  # the forger forges well
    whole.write_bytes(with_stream(data, change(stream)))
    with pytest.raises(NetworkError, match=sentence):
        load_network(whole)


def test_a_stream_that_would_unpack_to_too_much_is_refused(tmp_path, monkeypatch):
    save_network(many_steps(), tmp_path / "net.st")
    monkeypatch.setattr(network_file, "MAX_UNPACKED_BYTES", 3071)
    with pytest.raises(NetworkError, match="unpacks to 3072 bytes; at most 3071 are read"):
        load_network(tmp_path / "net.st")
    plain = save_network(many_steps(), tmp_path / "plain.st")  # the writer does not compress it
    same_arrays(load_network(plain), many_steps())
