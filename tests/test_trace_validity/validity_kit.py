"""What breaks a trace, and the list of cases that rules are tested by."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

HERE = Path(__file__).parents[1]
GOLDEN = HERE / "data" / "trace-1.0.h5"
HOPS = HERE / "data" / "trace-1.1.h5"
SPLIT = HERE / "data" / "trace-1.3.h5"  # a board with two ports, a fan-in over several cores
PAGE = HERE.parent / "docs" / "trace-format.md"
OPENING = range(1, 11)
CASES = []


def case(rule, sentence):
    """Register a function that breaks a rule, and the sentence that follows."""

    def keep(function):
        CASES.append(pytest.param(rule, sentence, function, id=f"{rule}-{function.__name__}"))
        return function

    return keep


def unseal(path):
    with open(path, "r+b") as file:
        file.write(bytes(512))


def replace(file, name, values, **options):
    """Another dataset under the name."""
    del file[name]
    return file.create_dataset(name, data=values, **options)


def put(name, index, value):
    """A function that writes one cell."""
    return lambda file: file[name].__setitem__(index, value)


def add(name, index, number):
    """A function that adds to one cell."""
    return lambda file: file[name].__setitem__(index, file[name][index] + number)


def text(owner, name, value):
    """Set a string attribute the way the format wants it."""
    data = value.encode() or b"\0"
    owner.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def edit(part, **changes):
    """A function that changes the JSON of an attribute of /meta; None takes a key away."""

    def function(file):
        value = json.loads(file["meta"].attrs[part])
        value |= changes
        for key in [k for k, v in changes.items() if v is None]:
            del value[key]
        text(file["meta"], part, json.dumps(value))

    return function


def edit_layer(index, **changes):
    def function(file):
        layers = json.loads(file["meta"].attrs["network"])["layers"]
        layers[index] |= changes
        edit("network", layers=layers)(file)

    return function


def resize(name, rows):
    return lambda file: file[name].resize(rows, axis=0)


def column(file, table, name):
    return file[f"{table}/{name}"][:]


def put_everywhere(file, table, rows, **values):
    for name, value in values.items():
        data = file[f"{table}/{name}"]
        data[:] = np.where(rows, value, data[:])
