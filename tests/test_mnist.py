"""The shipped networks on all their test images, level by level against torch.

Torch evaluates the integers of the network file in float64 (exact here: no sum
comes near 2**53) with its own layers, in the order of training, where a pool
acts on sums.  Compared: every level of every layer, the read-out sums, the
number of synaptic events of every layer and sample.  Not compared: the float
network these were trained as; ``test_export.py`` does that.
"""

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.levels import Levels
from neuromorph.network import Conv2d, Flatten, Linear, MaxPool2d, Readout, Threshold
from neuromorph.plasticity import Plastic, Rule


def torch_layers(network, raw):
    """{layer: (levels, or sums of the last, (samples, neurons); events (samples,))} by torch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    f = torch.nn.functional
    low, high = network.input.thresholds
    x = torch.from_numpy(raw.astype(np.int64))
    x = (x >= high).double() - (x < low).double()
    found, name = {}, ""

    def meet(layer, image, weights):
        weights = torch.from_numpy(weights.astype(np.float64))
        if isinstance(layer, Linear):
            return f.linear(image, weights)
        return f.conv2d(image, weights, stride=layer.stride, padding=layer.padding)

    for layer in network.layers:
        if isinstance(layer, Flatten):
            x = x.flatten(1)
        elif isinstance(layer, (Linear, Conv2d)):
            name = layer.name
            events = meet(layer, (x != 0).double(), (layer.weights != 0)).flatten(1).sum(1)
            x = meet(layer, x, layer.weights)
            found[name] = x, events
        elif isinstance(layer, MaxPool2d):
            x = f.max_pool2d(x, layer.size, layer.stride)
            found[name] = x, found[name][1]
        elif isinstance(layer, Threshold):
            shape = (-1, *(1,) * (x.dim() - 2))
            climbed = torch.zeros_like(x)
            for steps in torch.from_numpy(layer.thresholds.T.astype(np.float64)):
                directed = x * torch.from_numpy(layer.directions.astype(np.float64)).reshape(shape)
                climbed += directed >= steps.reshape(shape)
            space = Levels(layer.n)
            x = space.stride * climbed - space.maximum
            found[name] = x, found[name][1]
        else:
            assert isinstance(layer, Readout)
    return {
        name: (x.flatten(1).numpy().astype(np.int64), events.numpy().astype(np.int64))
        for name, (x, events) in found.items()
    }


def check_run(run, wanted):
    """A run against the first samples of what torch says."""
    *hidden, last = [s.name for s in run.mapping.network.stages]
    for name in hidden:
        levels = run.levels(name)
        assert levels.shape == wanted[name][0][: len(run)].shape
        assert np.array_equal(levels, wanted[name][0][: len(run)]), name
    assert np.array_equal(run.outputs, wanted[last][0][: len(run)])
    events = run.counts["xnor_event"] + run.counts["graded_event"]
    for name, (_, number) in wanted.items():
        rows = [i for i, layer in enumerate(run.counts.layers) if layer == name]
        assert np.array_equal(events[:, rows].sum(axis=1), number[: len(run)]), name


@pytest.fixture(scope="module")
def mnist(mnist_root):
    network = nm.load_network("mnist-mlp-gxnor")
    data = load_data("mnist", mnist_root)
    wanted = torch_layers(network, data.test_images)
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    return mapping, data.test_images, data.test_labels, wanted


@pytest.mark.parametrize(
    ("mode", "samples"), [("count", 10_000), ("timed", 200), ("reference", 50)]
)
def test_mnist(mnist, mode, samples):
    mapping, images, labels, wanted = mnist
    run = nm.simulate(mapping, images[:samples], mode=mode)
    assert len(run) == samples
    check_run(run, wanted)
    if samples == len(labels):
        assert run.accuracy(labels) == mapping.network.meta["test_accuracy"] >= 0.975


def test_learning_takes_mnist_over_without_changing_a_prediction(mnist):
    """`neuromorph run` and what `learn` calls "before" are one number."""
    mapping, images, labels, _ = mnist
    taken = Plastic.of(mapping.network, Rule()).network("taken")
    run = nm.simulate(nm.map_network(taken, mapping.chip), images)
    assert run.predictions.tolist() == nm.simulate(mapping, images).predictions.tolist()
    assert run.accuracy(labels) == mapping.network.meta["test_accuracy"]


def test_mnist_levels_are_not_all_alike(mnist):
    """The comparison would be empty if neurons were stuck."""
    mapping, _, _, wanted = mnist
    for stage in mapping.network.stages[:-1]:
        levels = wanted[stage.name][0]
        assert set(np.unique(levels)) == {-1, 0, 1}
        assert (levels.std(axis=0) > 0).mean() > 0.9, stage.name


@pytest.fixture(scope="module")
def digits():
    network = nm.load_network("digits-gxnor")
    data = load_data("digits")
    return network, data, torch_layers(network, data.test_images)


@pytest.mark.parametrize("mode", ["count", "timed", "reference"])
def test_all_digits(digits, mode):
    network, data, wanted = digits
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    run = nm.simulate(mapping, data.test_images, mode=mode)
    assert len(run) == 360
    check_run(run, wanted)
    assert run.accuracy(data.test_labels) == network.meta["test_accuracy"] >= 0.975
