"""Export: the integer network fires what torch fires, on every neuron of every sample.

The oracle here is written apart from the package: plain loops over Python
integers for the property, so neither torch's kernels nor the export's own
proof are trusted.  Batch-norm statistics are drawn at random, with negative
and zero scales, which training seldom makes.
"""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
# ruff: noqa: E402

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuromorph.errors import NetworkError
from neuromorph.levels import Levels
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
    load_network,
    save_network,
)
from neuromorph.training import (
    Activation,
    DiscreteConv2d,
    DiscreteLinear,
    DiscreteNetwork,
    Stage,
    export,
)


@st.composite
def models(draw):
    """A small random model and a batch of raw inputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n1, n2 = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    encoding = draw(st.sampled_from(["ternary", "bitplane", "graded"]))
    bits = draw(st.integers(1, 8))
    shape = (draw(st.integers(1, 2)), draw(st.integers(4, 6)), draw(st.integers(4, 6)))
    low = -(1 << bits) + 1 if encoding == "graded" else 0
    raw = rng.integers(low, 1 << bits, (3, *shape))
    cuts = tuple(sorted(rng.integers(0, 1 << bits, 2).tolist())) if encoding == "ternary" else None
    spec = Input(shape=shape, encoding=encoding, bits=bits, thresholds=cuts)
    r = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9]))
    stages, (channels, height, width) = [], shape
    for number in range(draw(st.integers(0, 2))):
        kernel = draw(st.integers(1, 3))
        dilation = draw(st.integers(1, 2 if kernel < 3 and min(height, width) > 1 else 1))
        extent = (kernel - 1) * dilation + 1
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, extent - 1))
        sides = [(side + 2 * padding - extent) // stride + 1 for side in (height, width)]
        if min(sides) < 1:
            break
        pool = draw(st.integers(1, min(2, *sides)))
        out = draw(st.integers(1, 4))
        conv = DiscreteConv2d(
            channels, out, kernel, stride=stride, padding=padding, dilation=dilation, n=n1
        )
        stages.append(Stage(f"conv{number}", conv, Activation(n2, r=r), pool=pool))
        channels, height, width = out, sides[0] // pool, sides[1] // pool
    features = channels * height * width
    if draw(st.booleans()):
        stages.append(Stage("hidden", DiscreteLinear(features, 7, n1), Activation(n2, r=r)))
        features = 7
    stages.append(Stage("output", DiscreteLinear(features, 4, n1), None))
    model = DiscreteNetwork(spec, stages)
    model.reset(draw(st.integers(0, 1000)))
    model.eval()
    for stage in stages:
        scatter(stage.norm, rng)
    return model, raw


def scatter(norm, rng):
    """Batch-norm values of every sign and size, some that make exact ties."""
    count = len(norm.gamma)
    with torch.no_grad():
        norm.gamma.copy_(torch.tensor(rng.choice([-2.0, -0.5, 0.0, 0.3, 1.0], count)))
        norm.beta.copy_(torch.tensor(rng.choice([-1.0, 0.0, 0.5, 0.1], count)))
        norm.mean.copy_(torch.tensor(rng.choice([0.0, 1.0, -2.5, 0.37], count)))
        norm.var.copy_(torch.tensor(rng.choice([1.0, 0.0, 9.3, 1e-6], count)))


def integers(network, levels):
    """Levels or sums after every layer of one sample, in Python integers."""
    values = np.array(levels, dtype=object).reshape(network.input.shape)
    for layer in network.layers:
        if isinstance(layer, Flatten):
            values = values.ravel()
        elif isinstance(layer, Linear):
            values = layer.weights.astype(object) @ values.ravel()
        elif isinstance(layer, Conv2d):
            values = convolve(values, layer)
        elif isinstance(layer, MaxPool2d):
            values = pool(values, layer)
        elif isinstance(layer, Threshold):
            values = fire(values, layer)
            yield values.ravel()
        else:
            assert isinstance(layer, Readout)
            yield values


def convolve(image, layer):
    out, _, kh, kw = layer.weights.shape
    (down, right), (top, left), (apart, aside) = layer.stride, layer.padding, layer.dilation
    padded = np.pad(image, ((0, 0), (top, top), (left, left)))
    high, wide = (kh - 1) * apart + 1, (kw - 1) * aside + 1
    rows = (padded.shape[1] - high) // down + 1
    columns = (padded.shape[2] - wide) // right + 1
    sums = np.zeros((out, rows, columns), dtype=object)
    for o, y, x in itertools.product(range(out), range(rows), range(columns)):
        rows_seen = slice(y * down, y * down + high, apart)
        patch = padded[:, rows_seen, x * right : x * right + wide : aside]
        sums[o, y, x] = int((patch * layer.weights[o].astype(object)).sum())
    return sums


def pool(sums, layer):
    size = layer.size[0]
    c, rows, columns = sums.shape[0], sums.shape[1] // size, sums.shape[2] // size
    blocks = sums[:, : rows * size, : columns * size].reshape(c, rows, size, columns, size)
    return blocks.max(axis=(2, 4))


def fire(sums, layer):
    space = Levels(layer.n)
    fired = np.zeros(sums.shape, dtype=object)
    for place in np.ndindex(sums.shape):
        directed = int(layer.directions[place[0]]) * sums[place]
        climbed = sum(directed >= int(t) for t in layer.thresholds[place[0]])
        fired[place] = -space.maximum + space.stride * climbed
    return fired


@given(models())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_integer_network_equals_torch(case):
    model, raw = case
    network = export(model, raw, name="random")
    with torch.no_grad():
        wanted = model.outputs(torch.tensor(raw))[1:]
    for sample, levels in enumerate(network.encode(raw)):
        found = list(integers(network, levels))
        assert len(found) == len(wanted)
        for stage, ours, theirs in zip(model.stages[:-1], found, wanted):
            scaled = theirs[sample].ravel().numpy() * Levels(stage.activation.n).maximum
            assert ours.tolist() == scaled.tolist()
        scores = network.scores(np.array([found[-1]], dtype=np.int32))
        assert scores.dtype == np.float32
        assert scores[0].tobytes() == (
            wanted[-1][sample].numpy() + 0.0
        ).tobytes() or np.array_equal(scores[0], wanted[-1][sample].numpy())


def one_stage(gamma, *, n2=1, beta=0.0, mean=0.0, var=1.0 - 1e-4):
    """A stage of len(gamma) equal neurons with one input, and a read-out."""
    count = len(gamma)
    hidden = Stage("hidden", DiscreteLinear(1, count), Activation(n2))
    output = Stage("output", DiscreteLinear(count, 2), None)
    model = DiscreteNetwork(Input(shape=(1,), encoding="graded", bits=8), [hidden, output])
    with torch.no_grad():
        hidden.synapses.weight.fill_(1)
        hidden.norm.gamma.copy_(torch.tensor(gamma))
        for value, buffer in ((beta, hidden.norm.beta), (mean, hidden.norm.mean)):
            buffer.fill_(value)
        hidden.norm.var.fill_(var)
    return model.eval()


RAW = np.arange(-255, 256).reshape(-1, 1)


def test_directions_and_constants():
    network = export(one_stage([1.0, -1.0, 0.0]), RAW, name="signs")
    threshold = network.layers[1]
    # value sum/256: fires +1 where sum > 128, -1 where sum < -128
    assert threshold.directions.tolist() == [1, -1, 1]
    assert threshold.thresholds[:2].tolist() == [[-128, 129], [-128, 129]]
    assert threshold.thresholds[2].tolist() == [THRESHOLD_MIN, THRESHOLD_MAX]


def test_constant_channels_fire_their_shift():
    for beta, wanted in ((0.6, 1), (-0.6, -1), (0.5, 0)):
        network = export(one_stage([0.0], beta=beta), RAW, name="constant")
        assert next(integers(network, [7])).tolist() == [wanted]


def test_thresholds_hold_beyond_the_present_weights():
    """A sum no present weight reaches still finds the right threshold (learning moves weights)."""
    network = export(one_stage([1.0], mean=50.0), RAW, name="far")
    assert network.layers[1].thresholds.tolist() == [[12672, 12929]]


def test_sums_beyond_float32_are_refused():
    stage = Stage("output", DiscreteLinear(5000, 2), None)
    with torch.no_grad():
        stage.synapses.weight.fill_(1)
    model = DiscreteNetwork(Input(shape=(5000,), encoding="graded", bits=12), [stage]).eval()
    with pytest.raises(NetworkError, match="layer 'output': a sum may reach 20475000; float32"):
        export(model, np.zeros((1, 5000), int), name="big")


def test_batch_norm_that_is_not_finite_is_refused():
    with pytest.raises(
        NetworkError, match="layer 'hidden': batch norm has values that are not finite"
    ):
        export(one_stage([float("nan")]), RAW, name="nan")


def test_first_layer_that_differs_is_named(monkeypatch):
    """A fold that is one off is caught by the proof, which says where."""
    from neuromorph.training.fold import fold_threshold

    def wrong(stage, unit):
        right = fold_threshold(stage, unit)
        return Threshold(thresholds=right.thresholds + 1, directions=right.directions, n=right.n)

    import sys

    monkeypatch.setattr(sys.modules["neuromorph.training.export"], "fold_threshold", wrong)
    sentence = "layer 'hidden' differs from torch first at sample 127, neuron 0: -1 against 0.0"
    with pytest.raises(NetworkError, match=sentence):
        export(one_stage([1.0]), RAW, name="wrong")


def test_model_is_left_as_it_was_and_file_round_trips(tmp_path):
    model = one_stage([1.0, -0.3]).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    network = export(model, RAW, name="kept", meta={"data": "none"})
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = load_network(save_network(network, tmp_path / "kept"))
    assert again == network
    assert again.meta == {"data": "none"}
