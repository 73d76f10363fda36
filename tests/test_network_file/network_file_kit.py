"""Network files: round trips, one forged file for each rule of docs/network-format.md,
damage of every kind, writing that fails.

Files are forged with ``struct`` and ``json`` alone: whatever is wrong with one,
its checksum is right unless the checksum is what is wrong."""

import hashlib
import json
import re
import struct

import numpy as np
import pytest

from networks import random_levels, random_threshold
from neuromorph.errors import NetworkError
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    load_network,
)


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


def set_attribute(**fields):
    return lambda forged: forged.__dict__.update(fields)


def both(*changes):
    def change(forged):
        for one in changes:
            one(forged)

    return change
