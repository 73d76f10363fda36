"""Network files: round trips, one forged file for each rule of docs/network-format.md,
damage of every kind, writing that fails.

Files are forged with ``struct`` and ``json`` alone: whatever is wrong with one,
its checksum is right unless the checksum is what is wrong.
"""

import copy
import errno
import hashlib
import json
import os
import pickle
import re
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuromorph as nm
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
    find_network,
    list_networks,
    load_network,
    network_folders,
    save_network,
)
from neuromorph.network import file as network_file

ROOT = Path(__file__).resolve().parents[1]
FORMAT_PAGE = ROOT / "docs" / "network-format.md"
RELEASED = Path(__file__).parent / "data" / "network-1.0.safetensors"


def sample_network(**changes):
    """Every kind of layer, small."""
    rng = np.random.default_rng(3)
    return Network(
        **{
            "name": "sample",
            "input": Input(shape=(1, 5, 5), thresholds=(2, 7)),
            "layers": [
                Conv2d(name="conv", weights=random_levels(rng, 1, (2, 1, 2, 2)), padding=1),
                MaxPool2d(size=2),
                random_threshold(rng, 2, 2),
                Flatten(),
                Linear(name="hidden", weights=random_levels(rng, 0, (3, 18)), n=0),
                random_threshold(rng, 3, 1),
                Linear(name="output", weights=random_levels(rng, 8, (2, 3)), n=8),
                Readout(scale=[0.5, -1.0], offset=[0.0, 2.0]),
            ],
            "meta": {"accuracy": 0.5},
            **changes,
        }
    )


def same_arrays(a, b):
    """Two networks, field by field, dtype by dtype."""
    assert a.name == b.name
    assert a.meta == b.meta
    for what in ("shape", "encoding", "bits", "thresholds"):
        assert getattr(a.input, what) == getattr(b.input, what)
    assert len(a.layers) == len(b.layers)
    for p, q in zip(a.layers, b.layers):
        assert type(p) is type(q)
        for name in p.__dataclass_fields__:
            v, w = getattr(p, name), getattr(q, name)
            if isinstance(v, np.ndarray):
                assert v.dtype == w.dtype
                assert np.array_equal(v, w)
                assert not w.flags.writeable
            else:
                assert type(v) is type(w)
                assert v == w
    return True


# --- forging


class Forged:
    """The parts of a network file, to be changed and put together again."""

    def __init__(self, data):
        end = 8 + struct.unpack("<Q", data[:8])[0]
        index = json.loads(data[8:end])
        self.about = index.pop("__metadata__")
        self.checksum = self.about["sha256"]
        self.header = json.loads(self.about["network"])
        self.tensors = {}
        for name, entry in index.items():
            first, last = entry["data_offsets"]
            self.tensors[name] = [entry["dtype"], entry["shape"], data[end + first : end + last]]
        self.text = None  # stands for the header, where it is not JSON
        self.index = {}  # what to change in the container's index
        self.padding = 0  # blanks behind the index
        self.tail = b""

    def set(self, name, dtype, values):
        kind = {"U8": "<u1", "I8": "<i1", "I32": "<i4", "F32": "<f4", "I64": "<i8", "F16": "<f2"}
        array = np.asarray(values, kind[dtype])
        self.tensors[name] = [dtype, list(array.shape), array.tobytes()]

    def bytes(self):
        text = json.dumps(self.header) if self.text is None else self.text
        digest = hashlib.sha256(text.encode())
        index, body = {}, b""
        for name in sorted(self.tensors):
            dtype, shape, raw = self.tensors[name]
            digest.update(f"\n{name} {shape}\n".encode() + raw)
            offsets = [len(body), len(body) + len(raw)]
            index[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            body += raw
        about = {**self.about, "network": text}
        if about["sha256"] == self.checksum:  # unless it was changed on purpose
            about["sha256"] = digest.hexdigest()
        about = {key: value for key, value in about.items() if value is not None}
        index = {**index, "__metadata__": about, **self.index}
        head = json.dumps(index).encode() + b" " * self.padding
        return struct.pack("<Q", len(head)) + head + body + self.tail


@pytest.fixture(scope="module")
def sample_bytes(tmp_path_factory):
    path = save_network(sample_network(), tmp_path_factory.mktemp("sample") / "n.safetensors")
    return path.read_bytes()


def forge(sample_bytes, change):
    forged = Forged(sample_bytes)
    result = change(forged)
    return result if isinstance(result, bytes) else forged.bytes()


def refused(path, data, sentence):
    """Loading raises one NetworkError of one line that names the file."""
    path.write_bytes(data)
    with pytest.raises(NetworkError) as error:
        load_network(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 400 + len(str(path)), "too long for a sentence"
    assert re.search(sentence, text.removeprefix(f"{path}: ")), text
    return text


def test_forging_nothing_gives_the_same_network(tmp_path, sample_bytes):
    path = tmp_path / "n.safetensors"
    path.write_bytes(Forged(sample_bytes).bytes())
    assert same_arrays(load_network(path), sample_network())


def layer(position, **fields):
    """A change of fields of one layer; ``None`` removes one."""

    def change(forged):
        entry = forged.header["layers"][position]
        entry.update(fields)
        for key in [key for key, value in entry.items() if value is None]:
            del entry[key]

    return change


def entry(**fields):
    return lambda forged: forged.header["input"].update(fields)


def head(**fields):
    return lambda forged: forged.header.update(fields)


def about(**fields):
    return lambda forged: forged.about.update(fields)


def tensor(name, dtype, values):
    return lambda forged: forged.set(name, dtype, values)


def drop(position):
    """Take one layer out, tensors too, and count the others anew."""

    def change(forged):
        del forged.header["layers"][position]
        for name in sorted(forged.tensors, key=lambda n: int(n.split(".")[0])):
            index, key = name.split(".")
            if int(index) >= position:
                value = forged.tensors.pop(name)
                if int(index) > position:
                    forged.tensors[f"{int(index) - 1}.{key}"] = value

    return change


def only(weights, n, **settings):
    """A file of one linear layer."""

    def change(forged):
        code = np.asarray(weights) + (1 if n == 0 else 2 ** (n - 1))
        number = sum(int(c) << (i * (n + 1)) for i, c in enumerate(code.ravel()))
        size = (code.size * (n + 1) + 7) // 8
        forged.header["input"] = {
            "shape": [code.shape[1]],
            "encoding": "ternary",
            "bits": 1,
            "thresholds": None,
            **settings,
        }
        linear = {"kind": "linear", "name": "a", "n": n, "shape": list(code.shape)}
        forged.header["layers"] = [linear, {"kind": "readout"}]
        forged.tensors = {}
        forged.set("0.weights", "U8", list(number.to_bytes(size, "little")))

    return change


def raw_index(text):
    """A container of this index and nothing else."""
    return lambda forged: struct.pack("<Q", len(text)) + text


def layers_1001(forged):
    forged.header["layers"] = [{"kind": "flatten"}] * 1001


def rename(old, new):
    def change(forged):
        forged.tensors[new] = forged.tensors.pop(old)

    return change


def no_tensor(name):
    return lambda forged: forged.tensors.pop(name) and None


def set_attribute(**fields):
    return lambda forged: forged.__dict__.update(fields)


def weights_byte(name, place, value):
    def change(forged):
        raw = bytearray(forged.tensors[name][2])
        raw[place] = value
        forged.tensors[name][2] = bytes(raw)

    return change


def both(*changes):
    def change(forged):
        for one in changes:
            one(forged)

    return change


def cut(first, last):
    """The file from one byte to another."""
    return lambda forged: forged.bytes()[first:last]


# rule of docs/network-format.md: changes that break it, and what is then said
BROKEN = {
    2: [
        (cut(0, 0), r"^file has 0 bytes; a network file is longer$"),
        (cut(0, 7), r"^file has 7 bytes; a network file is longer$"),
        (cut(0, 8), r"^this is not a safetensors file, or it is truncated$"),
        (cut(0, 100), r"^this is not a safetensors file, or it is truncated$"),
        (
            lambda f: struct.pack("<Q", 2**64 - 1) + bytes(100),
            r"^this is not a safetensors file, or it is truncated$",
        ),
    ],
    3: [
        (
            set_attribute(padding=2**20),
            r"^the file's header has \d{7} bytes; at most 1048576 are read$",
        ),
    ],
    4: [
        (cut(0, -1), r"^this is not a whole safetensors file: "),
        (set_attribute(tail=b"x"), r"^this is not a whole safetensors file: "),
        (raw_index(b""), r"^this is not a whole safetensors file: "),
        (raw_index(b"[]"), r"^this is not a whole safetensors file: "),
        (raw_index(b"{"), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"\xff": 1}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"a":' * 50_000), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"__metadata__": {"format": 1}}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"__metadata__": 1}'), r"^this is not a whole safetensors file: "),
        (raw_index(b'{"a": 1}'), r"^this is not a whole safetensors file: "),
        *(
            (
                set_attribute(index={"x": {"dtype": "U8", "shape": shape, "data_offsets": at}}),
                r"^this is not a whole safetensors file: ",
            )
            for shape, at in [
                ([1], [0, 1]),  # on top of others
                ([1], [10**6, 10**6 + 1]),  # beyond the end
                ([-1], [0, 0]),
                ([2**62, 2**62], [0, 0]),
                ([2], [0, 2**63]),
                ([2], [1, 0]),
            ]
        ),
    ],
    5: [
        (
            tensor("x" * 33, "U8", [0]),
            r"^a tensor's name has 33 characters; no network has that$",
        ),
        (
            tensor("2.thresholds", "I64", np.zeros((2, 4))),
            r"^tensor '2\.thresholds' has dtype I64, which no network holds$",
        ),
        (tensor("7.scale", "F16", [1, 1]), r"^tensor '7\.scale' has dtype F16, which no"),
        (tensor("7.scale", "F32", []), r"^tensor '7\.scale' is empty or has more than two axes$"),
        (tensor("7.scale", "F32", [[[1, 1]]]), r"^tensor '7\.scale' is empty or has more"),
        (tensor("7.scale", "F32", np.zeros([1] * 63)), r"^tensor '7\.scale' is empty or has"),
        (
            lambda f: f.tensors.update({"7.scale": ["F32", [0, 2**63], b""]}),
            r"^tensor '7\.scale' is empty or has more than two axes$",
        ),
        (
            lambda f: f.tensors.update({"7.scale": ["F32", [1] * 200, bytes(4)]}),
            r"^tensor '7\.scale' is empty or has more than two axes$",
        ),
    ],
    6: [
        (about(format="neuromorph-trace"), r"^this is not a neuromorph-network file$"),
        (about(format=None), r"^this is not a neuromorph-network file$"),
        (raw_index(b"{}"), r"^this is not a neuromorph-network file$"),
    ],
    7: [
        (
            about(version=version),
            rf"^format version is {re.escape(repr(version))}; this program reads 1\.<number>$",
        )
        for version in ["2.0", "0.9", "10.0", "1", "1.", "1.x", "1.0.1", " 1.0", "1.0\n", "١.0", ""]
    ]
    + [
        (about(version=None), r"^format version is ''; this program reads 1\.<number>$"),
        (about(version="9" * 10_000), r"^format version is '9{20}'; this program reads"),
    ],
    8: [
        (
            about(sha256=None),
            r"^metadata must hold format, version, network, sha256, nothing else$",
        ),
        (
            about(author="me"),
            r"^metadata must hold format, version, network, sha256, nothing else$",
        ),
    ],
    9: [
        (about(sha256="0" * 64), r"^content does not match its SHA-256; the file is damaged$"),
        (about(sha256=""), r"^content does not match its SHA-256; the file is damaged$"),
    ],
    10: [
        (set_attribute(text="{"), r"^header is malformed: "),
        (set_attribute(text=""), r"^header is malformed: "),
        (set_attribute(text="[]"), r"^header is malformed: .*`object`.*`array`"),
        (set_attribute(text="[" * 100_000), r"^header is malformed: "),
        (head(extra=1), r"^header is malformed: .*unknown field `extra`"),
        (lambda f: f.header.pop("meta") and None, r"^header is malformed: .*missing.*`meta`"),
        (head(meta=[]), r"^header is malformed: Expected `object`.*\$\.meta"),
        (head(name=5), r"^header is malformed: Expected `str`.*\$\.name"),
        (head(layers=[]), r"^header is malformed: .*\$\.layers"),
        (layers_1001, r"^header is malformed: .*1000.*\$\.layers"),
        (entry(bits=0), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits=13), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits=1.0), r"^header is malformed: .*\$\.input\.bits"),
        (entry(bits="1"), r"^header is malformed: .*\$\.input\.bits"),
        (entry(encoding="spikes"), r"^header is malformed: .*'spikes'.*\$\.input\.encoding"),
        (entry(shape=[0, 5, 5]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[1, 5, 2**24 + 1]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(shape=[1, 1, 5, 5]), r"^header is malformed: .*\$\.input\.shape"),
        (entry(thresholds=[0, 2**31]), r"^header is malformed: .*\$\.input\.thresholds"),
        (entry(thresholds=[0]), r"^header is malformed: .*\$\.input\.thresholds"),
        (layer(0, n=9), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=-1), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=True), r"^header is malformed: .*\$\.layers\[0\]\.n"),
        (layer(0, n=None), r"^header is malformed: .*missing.*`n`"),
        (layer(0, kind="conv3d"), r"^header is malformed: .*'conv3d'"),
        (layer(0, kind=None), r"^header is malformed: .*missing.*`kind`"),
        (layer(0, bias=0), r"^header is malformed: .*unknown field `bias`"),
        (layer(0, shape=[2, 1, 2]), r"^header is malformed: .*\$\.layers\[0\]\.shape"),
        (layer(0, shape=[2, 1, 2, 0]), r"^header is malformed: .*\$\.layers\[0\]\.shape"),
        (layer(0, stride=[1, 2**16 + 1]), r"^header is malformed: .*\$\.layers\[0\]\.stride"),
        (layer(0, padding=[1, -1]), r"^header is malformed: .*\$\.layers\[0\]\.padding"),
        (layer(0, name=""), r"^header is malformed: .*\$\.layers\[0\]\.name"),
        (layer(1, size=2), r"^header is malformed: .*\$\.layers\[1\]\.size"),
    ],
    11: [
        (
            layer(4, shape=[2**15 + 1, 2**15]),
            r"^layer 'hidden' has more than 1073741824 weights$",
        ),
        (layer(4, shape=[2**24, 2**24]), r"^layer 'hidden' has more than 1073741824 weights$"),
        (layer(0, shape=[2**24] * 4), r"^layer 'conv' has more than 1073741824 weights$"),
    ],
    12: [
        *(
            (no_tensor(name), rf"^tensor '{re.escape(name)}' is missing$")
            for name in ("0.weights", "2.thresholds", "2.directions")
        ),
        (tensor("0.weights", "I8", [0, 0]), r"^tensor '0\.weights' is I8; it must be U8$"),
        (
            tensor("2.thresholds", "F32", np.zeros((2, 4))),
            r"^tensor '2\.thresholds' is F32; it must be I32$",
        ),
        (tensor("2.directions", "U8", [1, 1]), r"^tensor '2\.directions' is U8; it must be I8$"),
        (tensor("7.scale", "I32", [1, 1]), r"^tensor '7\.scale' is I32; it must be F32$"),
        (tensor("7.bias", "F32", [1, 1]), r"^tensor '7\.bias' belongs to no layer$"),
        (tensor("0.scale", "F32", [1, 1]), r"^tensor '0\.scale' belongs to no layer$"),
        (tensor("07.scale", "F32", [1, 1]), r"^tensor '07\.scale' belongs to no layer$"),
        (tensor("weights", "U8", [1]), r"^tensor 'weights' belongs to no layer$"),
        (tensor("", "U8", [1]), r"^tensor '' belongs to no layer$"),
    ],
    13: [
        (
            tensor("0.weights", "U8", [0]),
            r"^layer 'conv': packed levels are uint8 of shape \[1\]; 8 levels of Z_1 take 2 bytes$",
        ),
        (
            tensor("0.weights", "U8", [[0, 0]]),
            r"^layer 'conv': packed levels are uint8 of shape \[1, 2\]; 8 levels of Z_1 take 2",
        ),
        (
            layer(4, shape=[2**15, 2**15]),
            r"^layer 'hidden': packed levels are uint8 of shape \[7\]; 1073741824 levels of Z_0",
        ),
        (
            weights_byte("0.weights", 1, 0b00001100),
            r"^layer 'conv': packed code 3 at position 5 stands for no level of Z_1$",
        ),
        (
            weights_byte("4.weights", 6, 0b01000000),
            r"^layer 'hidden': packed levels end in fill bits that are not zero$",
        ),
    ],
    14: [
        (
            tensor("2.thresholds", "I32", np.zeros((2, 3))),
            r"^threshold: thresholds are int32 of shape \[2, 3\]; Z_2 takes integers of shape "
            r"\[channels, 4\]$",
        ),
        (tensor("2.thresholds", "I32", [0, 0]), r"^threshold: thresholds are int32 of shape \[2\]"),
        (
            tensor("2.thresholds", "I32", [[0, 1, 2, 3], [0, 2, 1, 3]]),
            r"^threshold: thresholds of channel 1 do not ascend$",
        ),
        *(
            (
                tensor("2.directions", "I8", directions),
                r"^threshold: directions must be 2 values of -1 or \+1, one a channel$",
            )
            for directions in ([1, 0], [1, 2], [1], [1, 1, 1], [[1, 1]])
        ),
    ],
    15: [
        (
            tensor("7.scale", "F32", [1, np.nan]),
            r"^read-out: scale must be finite numbers, one a class$",
        ),
        (
            tensor("7.offset", "F32", [np.inf, 1]),
            r"^read-out: offset must be finite numbers, one a class$",
        ),
        (tensor("7.scale", "F32", [[1, 1]]), r"^read-out: scale must be finite numbers, one a"),
        (tensor("7.scale", "F32", 1.0), r"^read-out: scale must be finite numbers, one a class$"),
        (tensor("7.scale", "F32", [1, 1, 1]), r"^read-out: scale has 3 values for 2 classes$"),
    ],
    16: [
        (entry(shape=[5, 5]), r"^input: shape is \(5, 5\); use \(features,\) or \(channels, "),
        (
            entry(encoding="graded", bits=8),
            r"^input: thresholds are for ternary, not graded$",
        ),
        (entry(thresholds=[3, 2]), r"^input: thresholds are \(3, 2\); need low <= high$"),
    ],
    17: [
        (head(name="a\nb"), r"^network name is 'a\\nb'; use 1 to 128 printable characters$"),
        (head(name="x" * 129), r"^header is malformed: .*128"),
        (layer(0, name="a.b"), r"^layer name 'a\.b' is not usable; use 1 to 64 printable"),
        (layer(0, name="x" * 65), r"^layer name 'x{65}' is not usable; use 1 to 64 printable"),
        (layer(4, name="input"), r"^layer name 'input' is taken: it stands for the input of a"),
        (layer(4, name="conv"), r"^two layers have the name 'conv'; names must differ$"),
    ],
    18: [
        (drop(0), r"^at the start a Linear or Conv2d must follow, not MaxPool2d$"),
        (drop(2), r"^layer 'conv' must be followed by Threshold or Readout, not Flatten$"),
        (drop(3), r"^layer 'hidden' is linear but gets an image of shape \[2, 3, 3\]; put Flatten"),
        (drop(4), r"^after layer 'conv' a Linear or Conv2d must follow, not Threshold$"),
        (drop(7), r"^the last layer must be Readout$"),
        (
            lambda f: f.header["layers"].append({"kind": "readout"}),
            r"^layer 'output' is read out, but 1 more layers follow$",
        ),
        (
            layer(3, kind="maxpool2d", size=[1, 1], stride=[1, 1]),
            r"^after layer 'conv' a Linear or Conv2d must follow, not MaxPool2d$",
        ),
    ],
    19: [
        (
            entry(shape=[2, 5, 5]),
            r"^layer 'conv' has weights for 1 inputs but gets 2 \(shape \[2, 5, 5\]\)$",
        ),
        (
            entry(shape=[1, 5, 8]),
            r"^layer 'hidden' has weights for 18 inputs but gets 24 \(shape \[24\]\)$",
        ),
        (
            both(
                tensor("2.thresholds", "I32", np.zeros((3, 4))),
                tensor("2.directions", "I8", [1, 1, 1]),
            ),
            r"^layer 'conv' has 2 channels but its threshold has 3$",
        ),
        (
            lambda f: both(*[drop(i) for i in (6, 5, 4, 3, 2, 1)])(f),
            r"^layer 'conv' is read out, so it must give one sum a class, not \[2, 6, 6\]$",
        ),
    ],
    20: [
        (
            layer(0, padding=[2, 1]),
            r"^layer 'conv': padding \[2, 1\] must be smaller than the kernel \[2, 2\]$",
        ),
        (
            both(entry(shape=[1, 1, 1]), layer(0, padding=[0, 0])),
            r"^layer 'conv': a kernel of \[2, 2\] does not fit its input \[1, 1, 1\] with padding",
        ),
        (layer(1, size=[7, 2]), r"^layer 'conv': a pool of \[7, 2\] does not fit \[2, 6, 6\]$"),
        (layer(1, size=[0, 2]), r"^max-pool: size is \(0, 2\); each must be at least 1$"),
        (layer(1, stride=[0, 2]), r"^max-pool: stride is \(0, 2\); each must be at least 1$"),
        (layer(0, stride=[1, 0]), r"^layer 'conv': stride is \(1, 0\); each must be at least 1$"),
    ],
    21: [
        (
            only(np.full((1, 4098), 128), 8, encoding="graded", bits=12),
            r"^layer 'a': a sum may reach 2148007680, beyond 32-bit integers$",
        ),
    ],
    22: [
        (
            entry(shape=[1, 2**16, 2**16]),
            r"^input has 4294967296 neurons; at most 2147483647 are possible$",
        ),
        (
            entry(shape=[1, 2**15, 2**15]),
            r"^layer 'conv' has \d+ neurons; at most 2147483647 are possible$",
        ),
    ],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(*case, id=f"rule{rule}-{i}")
        for rule, cases in BROKEN.items()
        for i, case in enumerate(cases)
    ],
)
def test_a_file_that_breaks_a_rule(tmp_path, sample_bytes, change, sentence):
    refused(tmp_path / "n.safetensors", forge(sample_bytes, change), sentence)


def test_rule_1_too_large(tmp_path):
    path = tmp_path / "n.safetensors"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # no block of it is written
    with pytest.raises(NetworkError) as error:
        load_network(path)
    assert str(error.value) == f"{path}: file has 1073741825 bytes; at most 1073741824 are read"


def test_every_rule_of_the_page_has_a_failing_file():
    page = FORMAT_PAGE.read_text(encoding="utf-8")
    listed = re.search(r"\n## Validity\n(.*?)\n## ", page, re.DOTALL)[1]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    assert numbers == sorted({1, *BROKEN})


def test_the_largest_file_that_keeps_to_the_rules(tmp_path, sample_bytes):
    """One step inside the limits of rules 21 and 5 is taken."""
    path = tmp_path / "n.safetensors"
    path.write_bytes(
        forge(sample_bytes, only(np.full((1, 4096), 128), 8, encoding="graded", bits=12))
    )
    assert load_network(path).layers[0].weights.min() == 128


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
    newer = both(about(version="1.3"), layer(0, groups=2))
    refused(
        tmp_path / "n",
        forge(sample_bytes, newer),
        r"header is malformed: .*unknown field `groups`",
    )


# --- damage


# Thousands of files, so they are not written to disk.


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
        r"^cannot write network file '.*': (Not a dir|File exists)",
    )
    cannot_write(network, blocked / "folder", r"^cannot write network file '.*': Not a directory$")
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
    assert str(error.value) == (f"cannot write network file {str(path)!r}: No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["n.safetensors"] * existing
    if existing:
        assert load_network(path).name == "first"


def test_an_error_without_a_number_still_says_something(tmp_path, monkeypatch):
    def fail(self, data):
        raise OSError("the tape is torn")

    monkeypatch.setattr(Path, "write_bytes", fail)
    cannot_write(sample_network(), tmp_path / "n.net", r"': the tape is torn$")


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
