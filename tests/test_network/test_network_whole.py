"""Networks: how layers become stages, scores, equality and hash."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_kit import ones, refuses, ternary

import neuromorph as nm
from networks import random_network, random_samples
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
)


def network(layers, shape=(3,), **entry):
    return Network(name="net", input=Input(shape=shape, **entry), layers=layers)


# --- networks


def test_stages_of_an_image_network():
    net = network(
        [
            Conv2d(
                name="conv", weights=ones(4, 2, 3, 2), n=2, stride=(2, 1), padding=(1, 0)
            ),  # 7×6 → 4×5
            MaxPool2d(size=(2, 3), stride=(2, 2)),  # → 2×2
            Threshold(thresholds=np.zeros((4, 4), int), directions=[1, -1, 1, -1], n=2),
            Flatten(),
            Linear(name="hidden", weights=ones(5, 16), n=0),
            Threshold(thresholds=ones(5, 1), n=0),
            Linear(name="output", weights=ones(3, 5)),
            Readout(),
        ],
        shape=(2, 7, 6),
        encoding="bitplane",
        bits=3,
    )
    conv, hidden, output = net.stages
    assert [s.name for s in net.stages] == ["conv", "hidden", "output"]
    assert (conv.input_shape, conv.sum_shape, conv.output_shape) == (
        (2, 7, 6),
        (4, 4, 5),
        (4, 2, 2),
    )
    assert (conv.inputs, conv.neurons, conv.outputs, conv.fan_in) == (84, 80, 16, 12)
    assert (conv.stride, conv.padding, conv.weight_levels.n) == ((2, 1), (1, 0), 2)
    assert (conv.input_maximum, conv.spikes_per_input) == (7, 3)
    assert (conv.pool.size, conv.pool.stride, conv.pool.overlaps) == ((2, 3), (2, 2), True)
    assert conv.pool.minimum.tolist() == [False, True, False, True]
    assert not conv.is_readout
    assert (hidden.input_shape, hidden.sum_shape) == ((16, 1, 1), (5, 1, 1))
    assert hidden.weights.shape == (5, 16, 1, 1)
    assert (hidden.input_maximum, hidden.spikes_per_input) == (2, 1)
    assert (hidden.pool, hidden.levels.n, hidden.synapses) == (None, 0, 80)
    assert output.is_readout
    assert (output.levels, output.thresholds, output.directions) == (None, None, None)
    assert output.input_maximum == 1
    assert net.classes == 3
    assert net.neurons == 80 + 5 + 3
    assert net.weight_count == 48 + 80 + 15
    assert net.weight_bits == 48 * 3 + 80 * 1 + 15 * 2
    # the first and the last of four outputs reach one row of padding; columns lie inside
    assert conv.synapses == 4 * 2 * (4 * 3 - 2) * (5 * 2)
    assert net.synapses == conv.synapses + 80 + 15
    assert repr(net) == (
        f"<Network 'net': bitplane input [2, 7, 6], 3 layers, 88 neurons, {net.synapses} synapses>"
    )


def test_a_pool_behind_the_threshold_takes_the_maximum_of_levels():
    net = network(
        [
            Conv2d(name="a", weights=ones(2, 1, 1, 1)),
            Threshold(thresholds=[[0, 1], [0, 1]], directions=[1, -1]),
            MaxPool2d(),
            Conv2d(name="b", weights=ones(1, 2, 1, 1)),
            Readout(),
        ],
        shape=(1, 2, 2),
    )
    assert net.stages[0].pool.minimum.tolist() == [False, False]
    assert not net.stages[0].pool.overlaps


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.data(),
)
def test_synapses_are_pairs_inside_the_image(size, kernel, stride, dilation, data):
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    padding = tuple(data.draw(st.integers(0, e - 1)) for e in extent)
    after = [(s + 2 * p - e) // t + 1 for s, p, e, t in zip(size, padding, extent, stride)]
    if min(after) < 1:
        return
    conv = Conv2d(
        name="a", weights=ones(2, 3, *kernel), stride=stride, padding=padding, dilation=dilation
    )
    layers = [
        conv,
        ternary(2),
        Flatten(),
        Linear(name="b", weights=ones(1, 2 * after[0] * after[1])),
        Readout(),
    ]
    inside, seeing = 0, set()
    for y, x, j, i in itertools.product(*map(range, (*after, *kernel))):
        row = y * stride[0] - padding[0] + j * dilation[0]
        column = x * stride[1] - padding[1] + i * dilation[1]
        if 0 <= row < size[0] and 0 <= column < size[1]:
            inside += 1
            seeing.add((y, x))
    if len(seeing) < after[0] * after[1]:
        with pytest.raises(NetworkError, match="see nothing but padding"):
            network(layers, shape=(3, *size))
        return
    net = network(layers, shape=(3, *size))
    assert net.stages[0].sum_shape == (2, *after)
    assert net.stages[0].synapses == 2 * 3 * inside


def test_synapses_of_a_huge_image_cost_no_memory():
    net = network(
        [
            Conv2d(name="a", weights=ones(1, 1, 4096, 1)),
            ternary(1),
            Conv2d(name="b", weights=ones(1, 1, 1, 1), stride=2**24),
            Readout(),
        ],
        shape=(1, 2**24, 1),
    )
    assert net.stages[0].synapses == (2**24 - 4095) * 4096


A = Linear(name="a", weights=ones(2, 3))


B = Linear(name="b", weights=ones(1, 2))


IMAGE = Conv2d(name="image", weights=ones(2, 1, 3, 3))


@pytest.mark.parametrize(
    ("layers", "shape", "sentence"),
    [
        ([], (3,), "the last layer must be Readout"),
        ([A], (3,), "the last layer must be Readout"),
        ([A, ternary(2)], (3,), "the last layer must be Readout"),
        (
            [A, "relu", Readout()],
            (3,),
            "str is not a layer; use Linear, Conv2d, MaxPool2d, Concat, Flatten, Threshold, "
            "Requantize, Readout",
        ),
        ([Readout()], (3,), "at the start a Linear or Conv2d must follow, not Readout"),
        (
            [Flatten(), Readout()],
            (3,),
            "at the start a Linear or Conv2d must follow, not Readout",
        ),
        (
            [A, ternary(2), Readout()],
            (3,),
            "after layer 'a' a Linear or Conv2d must follow, not Readout",
        ),
        (
            [A, ternary(2), MaxPool2d(size=1), MaxPool2d(size=1), B, Readout()],
            (3,),
            "after layer 'a' a Linear or Conv2d must follow, not MaxPool2d",
        ),
        (
            [A, MaxPool2d(size=1), ternary(2), MaxPool2d(size=1), B, Readout()],
            (3,),
            "after layer 'a' a Linear or Conv2d must follow, not MaxPool2d",
        ),
        (
            [A, B, Readout()],
            (3,),
            "layer 'a' must be followed by Threshold, Requantize or Readout, not Linear",
        ),
        (
            [A, Flatten(), Readout()],
            (3,),
            "layer 'a' must be followed by Threshold, Requantize or Readout, not Flatten",
        ),
        (
            [A, MaxPool2d(size=1), MaxPool2d(size=1), Readout()],
            (3,),
            "layer 'a' must be followed by Threshold, Requantize or Readout, not MaxPool2d",
        ),
        (
            [A, Readout(), Readout()],
            (3,),
            "layer 'a' is read out, but 1 more layers follow",
        ),
        (
            [A, ternary(2), Linear(name="a", weights=ones(1, 2)), Readout()],
            (3,),
            "two layers have the name 'a'; names must differ",
        ),
        (
            [A, Readout()],
            (4,),
            "layer 'a' has weights for 3 inputs but gets 4 (shape [4])",
        ),
        (
            [A, Readout()],
            (3, 1, 2),
            "layer 'a' is linear but gets an image of shape [3, 1, 2]; put Flatten before it",
        ),
        (
            [IMAGE, Readout()],
            (2, 3, 3),
            "layer 'image' has weights for 1 inputs but gets 2 (shape [2, 3, 3])",
        ),
        (
            [Conv2d(name="c", weights=ones(1, 1, 3, 2), padding=(1, 2)), Readout()],
            (1, 3, 3),
            "layer 'c': padding [1, 2] must be smaller than the kernel [3, 2]",
        ),
        (
            [Conv2d(name="c", weights=ones(1, 1, 3, 2), padding=5, dilation=2), Readout()],
            (1, 3, 3),
            "layer 'c': padding [5, 5] must be smaller than the kernel [3, 2] with dilation [2, 2]",
        ),
        (
            [Conv2d(name="c", weights=ones(1, 1, 3, 2), dilation=(2, 1)), Readout()],
            (1, 4, 3),
            "layer 'c': a kernel of [3, 2] with dilation [2, 1] does not fit its input [1, 4, 3] "
            "with padding [0, 0]",
        ),
        (
            [Conv2d(name="c", weights=ones(1, 1, 1, 2), dilation=2**24), Readout()],
            (1, 4, 3),
            "layer 'c': a kernel of [1, 2] with dilation [16777216, 16777216] spans [1, 16777217] "
            "pixels; at most 16777216",
        ),
        (
            [
                Conv2d(name="c", weights=ones(1, 1, 1, 2), padding=(0, 4), dilation=(1, 5)),
                ternary(1),
                Flatten(),
                Linear(name="d", weights=ones(1, 6)),
                Readout(),
            ],
            (1, 1, 3),
            "layer 'c': neurons in column 2 see nothing but padding; use less padding than [0, 4] "
            "or less dilation than [1, 5]",
        ),
        (
            [IMAGE, Readout()],
            (1, 2, 3),
            "layer 'image': a kernel of [3, 3] does not fit its input [1, 2, 3] with padding "
            "[0, 0]",
        ),
        (
            [IMAGE, MaxPool2d(size=4), ternary(2), B, Readout()],
            (1, 5, 5),
            "layer 'image': a pool of [4, 4] does not fit [2, 3, 3]",
        ),
        (
            [IMAGE, ternary(2), MaxPool2d(size=(1, 4)), B, Readout()],
            (1, 5, 5),
            "layer 'image': a pool of [1, 4] does not fit [2, 3, 3]",
        ),
        (
            [A, ternary(3), B, Readout()],
            (3,),
            "layer 'a' has 2 channels but its threshold has 3",
        ),
        (
            [IMAGE, MaxPool2d(size=1), Readout()],
            (1, 3, 3),
            "layer 'image' is read out, so no pool may follow it",
        ),
        (
            [A, Readout(scale=[1, 2, 3])],
            (3,),
            "read-out: scale has 3 values for 2 classes",
        ),
        (
            [A, Readout(offset=[1])],
            (3,),
            "read-out: offset has 1 values for 2 classes",
        ),
        (
            [IMAGE, Readout()],
            (1, 2**16, 2**16),
            f"input has {2**32} neurons; at most {2**31 - 1} are possible",
        ),
        (
            [Conv2d(name="c", weights=ones(2, 1, 1, 1)), Readout()],
            (1, 2**15, 2**15),
            f"layer 'c' has {2**31} neurons; at most {2**31 - 1} are possible",
        ),
    ],
)
def test_layers_that_do_not_fit(layers, shape, sentence):
    refuses(sentence, network, layers, shape)


def test_sums_that_could_leave_32_bits():
    def deep(fan_in):
        hidden = [Linear(name="a", weights=np.full((1, fan_in), -128), n=8), ternary(1)]
        return network(
            [*hidden, Linear(name="b", weights=[[1]]), Readout()],
            shape=(fan_in,),
            encoding="graded",
            bits=12,
        )

    largest = (2**31 - 2) // (128 * 4095)
    assert deep(largest).stages[0].input_maximum == 4095
    found = (largest + 1) * 128 * 4095
    refuses(f"layer 'a': a sum may reach {found}, beyond 32-bit integers", deep, largest + 1)


def test_a_vector_is_an_image_of_one_pixel():
    net = network(
        [
            Conv2d(name="a", weights=ones(2, 3, 1, 1)),
            ternary(2),
            Linear(name="b", weights=ones(1, 2)),
            Readout(),
        ]
    )
    assert net.stages[0].input_shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "network name is ''; use 1 to 128 printable characters"),
        ({"name": "a\tb"}, "network name is 'a\\tb'; use 1 to 128 printable characters"),
        ({"name": 3}, "network name is 3; use 1 to 128 printable characters"),
        (
            {"name": "x" * 129},
            f"network name is {'x' * 129!r}; use 1 to 128 printable characters",
        ),
        ({"input": (3,)}, "input is (3,); give an Input(shape=..., encoding=...)"),
        ({"layers": None}, "layers are None; give a list of layers"),
    ],
)
def test_networks_that_are_refused(changes, sentence):
    whole = {"name": "net", "input": Input(shape=(3,)), "layers": [A, Readout()]}
    refuses(sentence, Network, **{**whole, **changes})


def test_stage_by_name():
    net = network([A, ternary(2), B, Readout()])
    assert net.stage("b") is net.stages[1]
    refuses("network 'net' has no layer 'c'; its layers are a, b", net.stage, "c")


# --- scores


def test_scores_in_float32():
    outputs = np.array([[2**24 + 1, -3], [0, 7]], np.int32)
    plain = network([A, Readout()])
    assert plain.scores(outputs).dtype == np.float32
    assert plain.scores(outputs).tolist() == [[2.0**24, -3.0], [0.0, 7.0]], "rounded, ties to even"
    scaled = network([A, Readout(scale=[0.1, -2], offset=[1, 0.5])])
    f = np.float32
    wanted = [[f(v) * s + o for v, s, o in zip(r, f([0.1, -2]), f([1, 0.5]))] for r in outputs]
    assert np.array_equal(scaled.scores(outputs), np.array(wanted, np.float32))


def test_ties_go_to_the_lowest_class():
    net = network([Linear(name="a", weights=ones(4, 3)), Readout()])
    outputs = np.array([[1, 5, 5, 5], [0, 0, 0, 0], [-9, -8, -7, -7]], np.int32)
    assert net.predict(outputs).tolist() == [1, 0, 2]
    flat = network([Linear(name="a", weights=ones(4, 3)), Readout(scale=np.zeros(4))])
    assert flat.predict(outputs).tolist() == [0, 0, 0]


# --- equality and hash


def base(**changes):
    settings = {
        "name": "net",
        "shape": (1, 4, 4),
        "encoding": "ternary",
        "input_thresholds": (1, 3),
        "weights": ones(2, 1, 2, 2),
        "n": 1,
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "layer": "a",
        "pool": MaxPool2d(size=2, stride=1),
        "pool_first": True,
        "thresholds": [[0, 1], [0, 2]],
        "directions": [1, -1],
        "scale": [1.0, 2.0],
        "offset": [0.0, 1.0],
        "meta": {},
        **changes,
    }
    s = settings
    middle = [s["pool"], Threshold(thresholds=s["thresholds"], directions=s["directions"])]
    return Network(
        name=s["name"],
        input=Input(
            shape=s["shape"], encoding=s["encoding"], thresholds=s["input_thresholds"], bits=3
        ),
        layers=[
            Conv2d(
                name=s["layer"],
                weights=s["weights"],
                n=s["n"],
                stride=s["stride"],
                padding=s["padding"],
                dilation=s["dilation"],
            ),
            *(middle if s["pool_first"] else middle[::-1]),
            Conv2d(name="b", weights=ones(2, 2, 1, 1), stride=9),
            Readout(scale=s["scale"], offset=s["offset"]),
        ],
        meta=s["meta"],
    )


FLIPPED = ones(2, 1, 2, 2)


FLIPPED[1, 0, 1, 1] = -1


CHANGES = [
    {"shape": (1, 4, 5)},
    {"input_thresholds": (1, 4)},
    {"input_thresholds": None},
    {"encoding": "graded", "input_thresholds": None},
    {"encoding": "bitplane", "input_thresholds": None},
    {"weights": FLIPPED},
    {"n": 0},
    {"stride": 2, "pool": MaxPool2d(size=1)},
    {"padding": 1},
    {"dilation": (1, 2)},
    {"layer": "c"},
    {"pool": MaxPool2d(size=1, stride=1)},
    {"pool": MaxPool2d(size=2, stride=2)},
    {"pool_first": False},
    {"thresholds": [[0, 1], [0, 3]]},
    {"directions": [1, 1]},
    {"scale": [1.0, 2.5]},
    {"scale": None},
    {"offset": [0.0, -1.0]},
    {"offset": None},
    {"scale": [0.0, 1.0], "offset": [1.0, 2.0]},
]


def test_the_hash_covers_what_computes():
    variants = [base(), *(base(**change) for change in CHANGES)]
    for a, b in itertools.combinations(range(len(variants)), 2):
        assert variants[a] != variants[b], (a, b)
        assert variants[a].hash != variants[b].hash, (a, b)


def test_the_hash_leaves_names_and_notes_out():
    twin = base(name="other", meta={"accuracy": 0.5})
    assert twin == base()
    assert hash(twin) == hash(base())
    assert twin.hash == base().hash
    assert re.fullmatch(r"[0-9a-f]{64}", twin.hash)
    assert base() != base().hash
    assert {base(), twin} == {base()}


def test_the_hash_does_not_depend_on_dtypes_given():
    twin = base(
        weights=np.ones((2, 1, 2, 2), np.uint64),
        thresholds=np.array([[0, 1], [0, 2]], np.int16),
        directions=np.array([1, -1], np.int64),
        scale=np.array([1, 2], np.float64),
    )
    assert twin.hash == base().hash


@pytest.mark.parametrize("seed", range(6000, 6010))
def test_random_networks_differ_from_each_other(seed):
    assert random_network(seed) == random_network(seed)
    assert random_network(seed) != random_network(seed + 100)


def test_a_network_is_public():
    assert nm.Network is Network
    net = random_network(6100)
    raw = random_samples(net, np.random.default_rng(0), 3)
    assert np.array_equal(net.encode(raw), net.input.encode(raw))
