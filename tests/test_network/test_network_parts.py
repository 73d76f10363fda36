"""Layers and inputs: what is taken, the sentence of every error."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_kit import ones, refuses, ternary

from neuromorph.errors import NetworkError
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Readout,
    Threshold,
)

# --- layers


def test_weights_are_stored_read_only_and_small():
    given = np.array([[1, -1, 0], [0, 0, 1]])
    layer = Linear(name="a", weights=given)
    given[0, 0] = 0
    assert layer.weights.tolist() == [[1, -1, 0], [0, 0, 1]], "the caller's array is another"
    assert layer.weights.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 0
    assert Conv2d(name="a", weights=np.full((1, 1, 2, 3), 128), n=8).weights.dtype == np.int16


@pytest.mark.parametrize(
    "name", ["", "a/b", "a.b", "x" * 65, "a\nb", "a\x00", "\ud800", 7, None, b"a"]
)
def test_names_of_layers(name):
    sentence = (
        f"layer name {name!r} is not usable; use 1 to 64 printable characters without '/' and '.'"
    )
    refuses(sentence, Linear, name=name, weights=ones(1, 1))
    refuses(sentence, Conv2d, name=name, weights=ones(1, 1, 1, 1))


def test_names_that_are_usable():
    for name in ["x", "x" * 64, "conv 1", "Schicht-ä", "層"]:
        assert Linear(name=name, weights=ones(1, 1)).name == name


def test_the_name_of_the_input_port_is_taken():
    sentence = "layer name 'input' is taken: it stands for the input of a network"
    refuses(sentence, Linear, name="input", weights=ones(1, 1))


@pytest.mark.parametrize(
    ("weights", "n", "problem"),
    [
        ([1, 0], 1, "weights have shape [2]; need 2 non-empty axes"),
        (np.zeros((0, 3), int), 1, "weights have shape [0, 3]; need 2 non-empty axes"),
        (ones(1, 1, 1), 1, "weights have shape [1, 1, 1]; need 2 non-empty axes"),
        ([[1, 2]], 1, "weights has the value 2 at [0, 1]; levels of Z_1 are from -1 to 1"),
        ([[1, 0]], 0, "weights has the value 0 at [0, 1]; levels of Z_0 are -1 or +1"),
        ([[1.0]], 1, "weights has dtype float64; levels of Z_1 are integers"),
        ([[1, 0], [1]], 1, "weights have rows of different lengths; give an array"),
    ],
)
def test_weights_that_are_refused(weights, n, problem):
    refuses(f"layer 'a': {problem}", Linear, name="a", weights=weights, n=n)


@pytest.mark.parametrize(
    ("n", "problem"),
    [
        (17, "N of Z_N is 17; it must be from 0 to 16"),
        (-1, "N of Z_N is -1; it must be from 0 to 16"),
        (1.5, "N of Z_N is 1.5; it must be an integer from 0 to 16"),
        (True, "N of Z_N is True; it must be an integer from 0 to 16"),
    ],
)
def test_spaces_that_are_refused(n, problem):
    refuses(f"layer 'a': {problem}", Linear, name="a", weights=ones(1, 1), n=n)
    refuses(f"layer 'a': {problem}", Conv2d, name="a", weights=ones(1, 1, 1, 1), n=n)
    refuses(f"threshold: {problem}", Threshold, thresholds=[[0, 1]], n=n)


def test_pairs_of_a_convolution():
    layer = Conv2d(
        name="a",
        weights=ones(1, 1, 2, 2),
        stride=np.int64(2),
        padding=[1, np.int8(0)],
        dilation=(np.uint8(3), 1),
    )
    assert (layer.stride, layer.padding, layer.dilation) == ((2, 2), (1, 0), (3, 1))
    assert all(type(v) is int for v in layer.stride + layer.padding + layer.dilation)


@pytest.mark.parametrize("value", [1.5, (1, 2, 3), (1,), "12", None, (1, 0.5), (True, 1), {}])
def test_pairs_that_are_no_pairs(value):
    for what in ("stride", "padding", "dilation"):
        sentence = f"layer 'a': {what} is {value!r}; give one integer or two"
        refuses(sentence, Conv2d, name="a", weights=ones(1, 1, 1, 1), **{what: value})
    sentence = f"max-pool: size is {value!r}; give one integer or two"
    refuses(sentence, MaxPool2d, size=value)


def test_pairs_out_of_range():
    sentence = "layer 'a': stride is (1, 0); each must be at least 1"
    refuses(sentence, Conv2d, name="a", weights=ones(1, 1, 1, 1), stride=(1, 0))
    sentence = "layer 'a': dilation is (0, 1); each must be at least 1"
    refuses(sentence, Conv2d, name="a", weights=ones(1, 1, 1, 1), dilation=(0, 1))
    sentence = "layer 'a': padding is (-1, -1); each must be at least 0"
    refuses(sentence, Conv2d, name="a", weights=ones(1, 1, 1, 1), padding=-1)
    refuses("max-pool: size is (0, 2); each must be at least 1", MaxPool2d, size=(0, 2))
    refuses("max-pool: stride is (0, 0); each must be at least 1", MaxPool2d, stride=0)


def test_pool_steps_by_its_size_unless_told():
    assert MaxPool2d(size=(3, 2)).stride == (3, 2)
    assert MaxPool2d(size=3, stride=1).stride == (1, 1)
    assert (MaxPool2d().size, MaxPool2d().stride) == ((2, 2), (2, 2))


@pytest.mark.parametrize("n", range(9))
def test_thresholds_are_one_fewer_than_states(n):
    steps = 1 if n == 0 else 2**n
    layer = Threshold(thresholds=np.tile(np.arange(steps), (3, 1)), n=n)
    assert layer.thresholds.dtype == np.int32
    assert layer.directions.tolist() == [1, 1, 1]
    assert layer.directions.dtype == np.int8
    for wrong in (steps - 1, steps + 1):
        sentence = (
            f"threshold: thresholds are int64 of shape [3, {wrong}]; Z_{n} takes integers of shape "
            f"[channels, {steps}]"
        )
        refuses(sentence, Threshold, thresholds=np.zeros((3, wrong), int), n=n)


def test_extreme_thresholds_are_kept_and_equal_ones_allowed():
    layer = Threshold(thresholds=np.array([[-(2**31), 2**31 - 1], [5, 5]]), directions=[-1, 1])
    assert layer.thresholds.tolist() == [[THRESHOLD_MIN, THRESHOLD_MAX], [5, 5]]
    with pytest.raises(ValueError, match="read-only"):
        layer.thresholds[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        layer.directions[0] = 0


@pytest.mark.parametrize(
    ("thresholds", "directions", "problem"),
    [
        ([[0.0, 1.0]], None, "thresholds are float64 of shape [1, 2]; Z_1 takes"),
        ([0, 1], None, "thresholds are int64 of shape [2]; Z_1 takes"),
        (np.zeros((0, 2), int), None, "thresholds are int64 of shape [0, 2]; Z_1 takes"),
        ([[0, 1], [0]], None, "thresholds have rows of different lengths; give an array"),
        ([[0, 2**31]], None, "thresholds do not fit int32"),
        ([[-(2**31) - 1, 0]], None, "thresholds do not fit int32"),
        (np.array([[0, 2**63]], np.uint64), None, "thresholds do not fit int32"),
        ([[0, 1], [2, 1]], None, "thresholds of channel 1 do not ascend"),
        ([[0, 1]], [0], "directions must be 1 values of -1 or +1, one a channel"),
        ([[0, 1]], [1, 1], "directions must be 1 values of -1 or +1, one a channel"),
        ([[0, 1]], [1.0], "directions must be 1 values of -1 or +1, one a channel"),
        ([[0, 1]], [257], "directions must be 1 values of -1 or +1, one a channel"),
        ([[0, 1]], [[1], [1, 1]], "directions have rows of different lengths; give an array"),
    ],
)
def test_thresholds_that_are_refused(thresholds, directions, problem):
    with pytest.raises(NetworkError, match=re.escape(f"threshold: {problem}")):
        Threshold(thresholds=thresholds, directions=directions)


def test_readout_takes_numbers():
    layer = Readout(scale=[1, 2], offset=np.array([0.5, -1e30]))
    assert layer.scale.dtype == layer.offset.dtype == np.float32
    assert Readout().scale is None
    for bad in ([[1.0]], 1.0, ["a"], [np.nan], [np.inf], [1e39], [1j], [True], [[1], [1, 2]]):
        for what in ("scale", "offset"):
            with pytest.raises(NetworkError, match=f"^read-out: {what} (must be finite|have rows)"):
                Readout(**{what: bad})


@pytest.mark.parametrize(
    "layer",
    [
        Linear(name="a", weights=ones(1, 1)),
        Conv2d(name="a", weights=ones(1, 1, 1, 1)),
        MaxPool2d(),
        Flatten(),
        ternary(1),
        Readout(),
        Input(shape=(1,)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_cannot_be_changed(layer):
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        layer.name = "b"
    for field in dataclasses.fields(layer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(layer, field.name, None)


# --- input


def test_input_settings():
    entry = Input(shape=[np.int64(2), 3, 4], encoding="graded", bits=np.int8(12))
    assert (entry.shape, entry.bits, entry.size, entry.maximum) == ((2, 3, 4), 12, 24, 4095)
    assert all(type(v) is int for v in (*entry.shape, entry.bits))
    assert Input(shape=(1,)).bits == 1, "ternary levels have magnitude 1"
    assert Input(shape=(1,), bits=99).maximum == 1
    assert Input(shape=(5,), encoding="bitplane", bits=3).spikes_per_neuron == 3
    assert Input(shape=(5,), encoding="graded", bits=3).spikes_per_neuron == 1
    assert Input(shape=(5,), thresholds=np.array([3, 3])).thresholds == (3, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"shape": shape},
            f"input: shape is {shape!r}; use (features,) or (channels, height, width)",
        )
        for shape in [(), (3, 3), (1, 2, 3, 4), (0,), (3, 0, 3), (-1,), (2.0,), 5, "3", None]
    ]
    + [
        (
            {"encoding": "spikes"},
            "input: encoding is 'spikes'; use one of ('ternary', 'bitplane', 'graded')",
        ),
        ({"encoding": "graded", "bits": 0}, "input: bits is 0; it must be 1 to 12"),
        ({"encoding": "graded", "bits": 13}, "input: bits is 13; it must be 1 to 12"),
        ({"encoding": "bitplane", "bits": 2.0}, "input: bits is 2.0; it must be 1 to 12"),
        (
            {"encoding": "graded", "thresholds": (1, 2)},
            "input: thresholds are for ternary, not graded",
        ),
        ({"thresholds": (2, 1)}, "input: thresholds are (2, 1); need low <= high"),
        ({"thresholds": (1,)}, "input: thresholds are (1,); give two integers"),
        ({"thresholds": (1, 2, 3)}, "input: thresholds are (1, 2, 3); give two integers"),
        ({"thresholds": (0.5, 1)}, "input: thresholds are (0.5, 1); give two integers"),
        ({"thresholds": 3}, "input: thresholds are 3; give two integers"),
    ],
)
def test_input_settings_that_are_refused(settings, sentence):
    refuses(sentence, Input, **{"shape": (3,), **settings})


@given(
    st.lists(st.lists(st.integers(-20, 20), min_size=4, max_size=4), max_size=5),
    st.integers(-9, 9),
    st.integers(0, 5),
)
def test_encode_by_thresholds(samples, low, above):
    entry = Input(shape=(1, 2, 2), thresholds=(low, low + above))
    raw = np.array(samples, np.int8).reshape(-1, 1, 2, 2)
    wanted = [[-1 if v < low else 1 if v >= low + above else 0 for v in row] for row in samples]
    found = entry.encode(raw)
    assert found.dtype == np.int16
    assert found.shape == (len(samples), 4)
    assert found.tolist() == wanted


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64, np.int64])
def test_encode_keeps_values(dtype):
    raw = np.array([[0, 1, 127], [3, 100, 2]], dtype)
    for encoding in ("bitplane", "graded"):
        found = Input(shape=(3,), encoding=encoding, bits=7).encode(raw)
        assert found.dtype == np.int16
        assert found.tolist() == raw.tolist()
    assert Input(shape=(3,)).encode([[-1, 0, 1]]).tolist() == [[-1, 0, 1]]
    image = np.arange(12).reshape(2, 1, 3, 2)
    assert Input(shape=(1, 3, 2), encoding="graded").encode(image).tolist() == [
        list(range(6)),
        list(range(6, 12)),
    ]


def test_encode_of_no_sample():
    assert Input(shape=(3,)).encode(np.zeros((0, 3), int)).shape == (0, 3)
    assert Input(shape=(1, 2, 2), thresholds=(0, 1)).encode(np.zeros((0, 1, 2, 2), int)).shape == (
        0,
        4,
    )


@pytest.mark.parametrize(
    ("settings", "raw", "sentence"),
    [
        ({}, [1, 0, 1], "inputs have shape [3]; this network takes [batch, 3]"),
        ({}, [[1, 0]], "inputs have shape [1, 2]; this network takes [batch, 3]"),
        ({}, ones(1, 3, 1), "inputs have shape [1, 3, 1]; this network takes [batch, 3]"),
        ({}, 1, "inputs have shape []; this network takes [batch, 3]"),
        ({}, [[1, 0, 1], [1]], "inputs have rows of different lengths; give an array"),
        (
            {},
            [[0.0, 1.0, 0.5]],
            "inputs have dtype float64; this network takes integers (levels -1, 0, 1); convert or "
            "scale them first",
        ),
        (
            {"thresholds": (5, 11)},
            [[True, False, True]],
            "inputs have dtype bool; this network takes integers (integers, ternarised at 5 and "
            "11); convert or scale them first",
        ),
        (
            {},
            [[0, 1, 1], [0, 2, 3]],
            "inputs hold 2 in sample 1 at position 1; this network takes levels -1, 0, 1",
        ),
        (
            {"encoding": "bitplane", "bits": 4},
            [[0, 15, 16]],
            "inputs hold 16 in sample 0 at position 2; this network takes integers 0 … 15, "
            "bitplane",
        ),
        (
            {"encoding": "bitplane", "bits": 4},
            [[0, -1, 0]],
            "inputs hold -1 in sample 0 at position 1; this network takes integers 0 … 15, "
            "bitplane",
        ),
        (
            {"encoding": "graded", "bits": 4},
            [[0, -15, -16]],
            "inputs hold -16 in sample 0 at position 2; this network takes integers -15 … 15, "
            "graded",
        ),
        (
            {"encoding": "graded", "bits": 4},
            np.array([[0, 0, 2**63]], np.uint64),
            f"inputs hold {2**63} in sample 0 at position 2; this network takes integers -15 … 15, "
            "graded",
        ),
    ],
)
def test_inputs_that_are_refused(settings, raw, sentence):
    refuses(sentence, Input(shape=(3,), **settings).encode, raw)
