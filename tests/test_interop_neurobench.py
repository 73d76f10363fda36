"""The harness of NeuroBench runs our networks and counts the events we count."""

import sys
import warnings

import numpy as np
import pytest

import neuromorph as nm
from networks import random_network, random_samples, roomy, run_oracle
from neuromorph.data import load_data
from neuromorph.errors import MissingDependencyError

torch = pytest.importorskip("torch", reason="torch is not installed")
training = pytest.importorskip("neuromorph.training", reason="torch is not installed")


@pytest.mark.parametrize("seed", range(20))
def test_the_torch_module_gives_the_scores(seed):
    network = random_network(seed)
    raw = random_samples(network, np.random.default_rng(seed), 5)
    wanted = network.scores(run_oracle(network, raw)[-1].sums.astype(np.int32))
    assert np.array_equal(training.to_torch(network)(torch.tensor(raw)).numpy(), wanted)


def harness(network, raw, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports
        pytest.importorskip("neurobench", reason="neurobench is not installed")
        from neurobench.benchmarks import Benchmark
        from neurobench.metrics.static import ConnectionSparsity, Footprint
        from neurobench.metrics.workload import (
            ActivationSparsity,
            ClassificationAccuracy,
            SynapticOperations,
        )
    data = torch.utils.data.TensorDataset(torch.tensor(raw), torch.tensor(labels))
    loader = torch.utils.data.DataLoader(data, batch_size=20)
    metrics = [
        [Footprint, ConnectionSparsity],
        [ClassificationAccuracy, ActivationSparsity, SynapticOperations],
    ]
    model = training.to_neurobench(network)
    bench = Benchmark(model, loader, [], [lambda scores: scores.argmax(1)], metrics)
    return bench.run(quiet=True)


def test_its_synaptic_operations_are_our_events():
    network, data = nm.load_network("digits-gxnor"), load_data("digits")
    raw, labels = data.test_images[:60], data.test_labels[:60].astype(np.int64)
    found = harness(network, raw, labels)
    run = nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), raw)
    operations = found["SynapticOperations"]
    assert operations["Effective_ACs"] * 60 == run.counts.total("xnor_event")
    assert operations["Effective_MACs"] == 0
    assert operations["Dense"] == run.counts.pairs.sum()
    assert found["ClassificationAccuracy"] == pytest.approx(run.accuracy(labels))
    zeros = sum((s.weights == 0).sum() for s in network.stages) / network.weight_count
    assert found["ConnectionSparsity"] == pytest.approx(zeros, abs=1e-4)
    assert found["Footprint"] >= 4 * network.weight_count


# a bitplane value is one operation there, and its set bits here
WHOLE = [seed for seed in range(12) if random_network(seed).input.encoding != "bitplane"]


@pytest.mark.parametrize("seed", WHOLE[:5])
def test_on_random_networks_too(seed):
    network = random_network(seed)
    raw = random_samples(network, np.random.default_rng(seed), 7)
    found = harness(network, raw, np.zeros(7, np.int64))["SynapticOperations"]
    run = nm.simulate(nm.map_network(network, roomy(nm.load_chip("gxnor45"))), raw)
    assert round(7 * (found["Effective_ACs"] + found["Effective_MACs"])) == run.counts.events


def test_without_neurobench_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurobench", None)
    monkeypatch.setitem(sys.modules, "neurobench.models", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[neurobench\]'"):
        training.to_neurobench(nm.load_network("digits-gxnor"))
