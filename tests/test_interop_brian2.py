"""Brian2 fires what the oracle fires, neuron for neuron; front-ends drive our networks.

The ``numpy`` target only; ``python verification/brian2.py`` runs all three targets.
"""

import sys
import types

import numpy as np
import pytest

import neuromorph as nm
from networks import random_fixed, random_graph, random_network, random_samples, roomy, run_oracle
from neuromorph.data import load_data
from neuromorph.errors import MissingDependencyError, NetworkError, SimulationError
from neuromorph.events import ACTIONS
from neuromorph.interop import to_brian2
from neuromorph.network import Input, Linear, Readout, Threshold
from neuromorph.reference.brian2 import require_brian2

needs_brian2 = pytest.mark.usefixtures("brian2")


@pytest.fixture
def brian2():
    found = pytest.importorskip("brian2", reason="brian2 is not installed")
    target = found.prefs.codegen.target
    found.prefs.codegen.target = "numpy"
    yield found
    found.prefs.codegen.target = target


def small(encoding="ternary", thresholds=None, bits=3):
    rng = np.random.default_rng(1)
    entry = Input(shape=(6,), encoding=encoding, bits=bits, thresholds=thresholds)
    return nm.Network(
        name="small",
        input=entry,
        layers=[
            Linear(name="hidden", weights=rng.integers(-1, 2, (8, 6))),
            Threshold(thresholds=np.tile([-1, 2], (8, 1))),
            Linear(name="output", weights=rng.integers(-1, 2, (3, 8))),
            Readout(),
        ],
    )


@needs_brian2
@pytest.mark.parametrize(
    ("make", "seed"),
    [
        *((random_network, seed) for seed in range(12)),
        *((random_graph, seed) for seed in (0, 1, 2, 5)),
        *((random_fixed, seed) for seed in range(8)),
    ],
)
def test_random_networks_fire_the_same(make, seed):
    network = make(seed)
    raw = random_samples(network, np.random.default_rng(seed), 4)
    built = to_brian2(network, raw)
    built.run(len(raw))
    oracle = run_oracle(network, raw)
    assert np.array_equal(built.outputs(), oracle[-1].sums)
    for layer in oracle[:-1]:
        assert np.array_equal(built.levels(layer.name), layer.levels), layer.name


@needs_brian2
def test_synapses_are_those_that_are_not_zero_and_make_the_events_we_count():
    network = nm.load_network("digits-gxnor")
    raw = load_data("digits").test_images[:6]
    built = to_brian2(network, raw)
    built.run(len(raw))
    run = nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), raw)
    arriving = network.encode(raw)
    for stage in network.stages:
        synapses = built.synapses[stage.name]
        fan_out = np.bincount(synapses.i, minlength=stage.inputs)
        events = run.counts.by_layer()[stage.name]
        wanted = events[list(ACTIONS).index("xnor_event")]
        assert ((arriving != 0) @ fan_out).sum() == wanted, stage.name
        if not stage.is_readout:
            arriving = built.levels(stage.name)
            assert np.array_equal(arriving, run.levels(stage.name))


@needs_brian2
def test_simulate_in_brian2_gives_the_same_run():
    network = random_network(4)
    mapping = nm.map_network(network, roomy(nm.load_chip("gxnor45")))
    raw = random_samples(network, np.random.default_rng(0), 5)
    ours, theirs = (nm.simulate(mapping, raw, mode=mode) for mode in ("count", "brian2"))
    assert np.array_equal(ours.outputs, theirs.outputs)
    assert np.array_equal(ours.predictions, theirs.predictions)
    assert ours.counts == theirs.counts
    for stage in network.stages[:-1]:
        assert np.array_equal(ours.levels(stage.name), theirs.levels(stage.name))


@needs_brian2
@pytest.mark.parametrize(
    ("encoding", "thresholds"),
    [("ternary", None), ("ternary", (-1, 2)), ("graded", None), ("bitplane", None)],
)
def test_a_front_end_drives_the_network(brian2, encoding, thresholds):
    """What spikes of a Brian2 group add up to in a tick is the sample of that tick."""
    network = small(encoding, thresholds)
    rng = np.random.default_rng(2)
    neuron, time = rng.integers(0, 6, 150), rng.integers(0, 200, 150)
    _, keep = np.unique(neuron * 1000 + time, return_index=True)  # one spike a step
    neuron, time = neuron[keep], time[keep]
    source = brian2.SpikeGeneratorGroup(
        6, neuron, time * 0.1 * brian2.ms, dt=0.1 * brian2.ms, clock=None
    )
    built = to_brian2(network, tick_s=1e-3)
    wires = brian2.Synapses(source, built.input, "way : integer", on_pre="arrived_post += way")
    wires.connect(j="i")
    signs = np.array([1, -1, 1, 1, -1, 1])
    wires.way = signs
    built.objects.add(source, wires)
    built.run(19)
    arrived = np.zeros((20, 6), int)
    np.add.at(arrived, (time // 10, neuron), signs[neuron])
    low, high = (-(10**6), 10**6) if thresholds else (-network.input.maximum, network.input.maximum)
    wanted = np.clip(arrived, 0 if encoding == "bitplane" else low, high)
    raw = built.raw()
    assert np.array_equal(raw[1:], wanted[: len(raw) - 1])
    oracle = run_oracle(network, raw)
    assert np.array_equal(built.levels("hidden"), oracle[0].levels)
    assert np.array_equal(built.outputs(), oracle[1].sums)


@needs_brian2
def test_stand_alone_programs_are_left_to_the_user(brian2, monkeypatch):
    monkeypatch.setattr(brian2, "get_device", object)
    mapping = nm.map_network(small(), nm.load_chip("gxnor45"))
    with pytest.raises(SimulationError, match="is set to build a stand-alone program; use to_"):
        nm.simulate(mapping, np.zeros((1, 6), int), mode="brian2")


def test_mode_brian2_records_no_trace(tmp_path):
    mapping = nm.map_network(small(), nm.load_chip("gxnor45"))
    with pytest.raises(SimulationError, match="mode 'brian2' is for checks and records no trace"):
        nm.simulate(mapping, np.zeros((1, 6), int), mode="brian2", trace=tmp_path / "a.h5")


def test_bad_arguments():
    with pytest.raises(NetworkError, match="network is a str, not a Network"):
        to_brian2("digits-gxnor")
    with pytest.raises(NetworkError, match=r"inputs have shape \[2, 5\]"):
        to_brian2(small(), np.zeros((2, 5), int))
    with pytest.raises(SimulationError, match="there are no samples to run"):
        to_brian2(small(), np.zeros((0, 6), int))
    with pytest.raises(SimulationError, match="tick_s is 0; give seconds above 0"):
        to_brian2(small(), tick_s=0)


def test_without_brian2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "brian2", None)
    monkeypatch.setattr("neuromorph.reference.brian2.version", _nowhere)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[brian2\]'"):
        to_brian2(small())


def test_a_brian2_that_does_not_import_with_this_numpy_is_named(monkeypatch):
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise AttributeError("'numpy.ndarray' object has no attribute 'ptp'")

    monkeypatch.setitem(sys.modules, "brian2", None)
    monkeypatch.setattr("neuromorph.reference.brian2.version", lambda name: "2.9.0")
    with pytest.raises(
        MissingDependencyError,
        match=r"Brian2 2\.9\.0 and NumPy .* do not work together .*pip install 'numpy<2\.4'",
    ):
        require_brian2()


def _nowhere(name):
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)
