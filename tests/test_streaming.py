"""Data sets that are not in memory: memory-mapped arrays and iterators of batches."""

import contextlib
import dataclasses

import numpy as np
import pytest

import neuromorph as nm
from neuromorph import simulation
from neuromorph.errors import NetworkError, SimulationError
from neuromorph.trace import Recorder, difference
from neuromorph.workers import Workers


@pytest.fixture(scope="module")
def mapping():
    return nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 17, (150, 1, 8, 8), dtype=np.uint8)


def mapped(images, folder):
    file = np.memmap(folder / "images", images.dtype, "w+", shape=images.shape)
    file[:] = images
    file.flush()
    return np.memmap(folder / "images", images.dtype, "r", shape=images.shape)


@pytest.mark.parametrize("mode", ["count", "reference"])
def test_memory_maps_and_iterators_give_the_same_run(mapping, images, mode, tmp_path, monkeypatch):
    monkeypatch.setitem(simulation.CHUNK, mode, 64)
    whole = nm.simulate(mapping, images, mode=mode)
    for given in (mapped(images, tmp_path), iter(np.split(images, [1, 70, 70, 149]))):
        run = nm.simulate(mapping, given, mode=mode)
        assert np.array_equal(run.outputs, whole.outputs)
        assert run.counts == whole.counts
        for stage in mapping.network.stages[:-1]:
            assert np.array_equal(run.levels(stage.name), whole.levels(stage.name))


def test_a_trace_of_a_stream(mapping, images, tmp_path, monkeypatch):
    monkeypatch.setitem(simulation.CHUNK, "count", 64)
    labels = np.arange(150) % 10
    run = nm.simulate(mapping, iter(np.split(images, 5)), labels=labels, trace=tmp_path / "run.h5")
    with nm.Trace(run.trace) as trace:
        assert trace.counts == run.counts


def test_levels_of_a_long_stream_are_not_kept(mapping, images, monkeypatch):
    monkeypatch.setattr(simulation, "LEVELS_KEPT", 1 << 20)
    name = mapping.network.stages[0].name
    size = sum(s.outputs for s in mapping.network.stages[:-1]) * len(images)
    batches = (1 << 20) // size
    run = nm.simulate(mapping, (images for _ in range(batches)))
    assert len(run.levels(name)) == batches * 150
    run = nm.simulate(mapping, (images for _ in range(batches + 1)))
    with pytest.raises(NetworkError, match=f"levels of '{name}' were not kept, they pass 1 MiB"):
        run.levels(name)
    whole = nm.simulate(mapping, np.concatenate([images] * (batches + 1)))
    assert np.array_equal(run.outputs, whole.outputs)
    assert len(whole.levels(name)) == len(whole), "an array in memory keeps them"


def test_memory_of_a_long_stream_is_bounded(mapping, images, monkeypatch):
    """What grows is the outputs, 40 bytes a sample here, and the predictions."""
    import tracemalloc

    monkeypatch.setitem(simulation.CHUNK, "count", 150)
    monkeypatch.setattr(simulation, "LEVELS_KEPT", 0)
    monkeypatch.setattr(simulation, "COUNTS_KEPT", 1 << 20)
    peaks, kept = [], []
    for batches in (10, 30):
        tracemalloc.start()
        run = nm.simulate(mapping, (images for _ in range(batches)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        kept.append(run.outputs.nbytes + run.predictions.nbytes)
    # outputs in pieces and joined, scores beside them, and small objects of each piece
    assert peaks[1] - peaks[0] < 4 * (kept[1] - kept[0]) + 20 * 5000


def test_counts_of_a_long_stream_are_summed(mapping, images, monkeypatch):
    many = np.concatenate([images] * 7)
    whole = nm.simulate(mapping, many).counts
    monkeypatch.setattr(simulation, "COUNTS_KEPT", whole.values.nbytes - 1)
    counts = nm.simulate(mapping, (images for _ in range(7))).counts
    assert counts.inferences == counts.samples == len(whole) == 1050
    assert counts == whole.summed() == whole.summed().summed()
    assert (counts.events, counts.resting_fraction) == (whole.events, whole.resting_fraction)
    assert str(counts) == str(whole)
    prices = nm.load_prices("horowitz45")
    assert str(nm.estimate_energy(counts, prices)) == str(nm.estimate_energy(whole, prices))
    assert nm.simulate(mapping, many).counts == whole, "an array in memory keeps every sample's"


def test_sums_of_no_sample_are_refused(mapping, images):
    counts = nm.simulate(mapping, images[:1]).counts
    none = dataclasses.replace(counts, values=counts.values[:0])
    sentence = r"^counts sum up 0 inferences in 1 tables; need at least one inference in one table$"
    with pytest.raises(SimulationError, match=sentence):
        none.summed()


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (lambda x: iter([]), None, "no samples"),
        (lambda x: iter([x[:0]]), None, "no samples"),
        (lambda x: iter([x]), np.zeros(149, int), "149 labels for 150 samples or more"),
        (lambda x: iter([x]), np.zeros(151, int), "151 labels for 150 samples"),
        (lambda x: iter([x]), np.zeros((150, 1), int), r"labels are int64 of shape \[150, 1\]"),
    ],
)
def test_bad_streams_are_refused(mapping, images, inputs, labels, message):
    with pytest.raises(SimulationError, match=message):
        nm.simulate(mapping, inputs(images), labels=labels)


def test_bad_batches_are_refused(mapping, images, tmp_path):
    with pytest.raises(NetworkError, match=r"inputs have shape \[150, 64\]"):
        nm.simulate(mapping, iter([images.reshape(150, 64)]))
    with pytest.raises(NetworkError, match="inputs have dtype float64"):
        nm.simulate(mapping, mapped(images.astype(float), tmp_path))


def test_timed_takes_all_samples_at_once(mapping, images):
    with pytest.raises(SimulationError, match="mode 'timed' takes all samples at once"):
        nm.simulate(mapping, iter([images]), mode="timed")


@pytest.mark.parametrize("where", ["processes", "cluster"])
@pytest.mark.parametrize("mode", ["count", "reference"])
def test_who_runs_the_samples_changes_nothing(where, mode, mapping, images, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNK", dict.fromkeys(("count", "reference"), 160))
    alone = nm.simulate(mapping, images, mode=mode, trace=tmp_path / "alone.h5")
    if where == "processes":
        workers = contextlib.nullcontext(Workers(jobs=2))
    else:
        distributed = pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
        workers = distributed.LocalCluster(n_workers=2, dashboard_address=None)
    with workers as who:
        if where == "cluster":
            who = Workers(cluster=who.scheduler_address)
        recorder = Recorder(tmp_path / "shared.h5", mapping, mode=mode)
        shared = simulation.simulate_on(who, mapping, images, mode=mode, recorder=recorder)
    assert shared.counts == alone.counts
    assert np.array_equal(shared.outputs, alone.outputs)
    for stage in mapping.network.stages[:-1]:
        assert np.array_equal(shared.levels(stage.name), alone.levels(stage.name))
    with nm.Trace(tmp_path / "alone.h5") as one, nm.Trace(tmp_path / "shared.h5") as other:
        assert difference(one, other) is None


def test_timed_is_run_by_one(mapping, images):
    with pytest.raises(SimulationError, match="mode 'timed' runs all samples in one time, so one"):
        simulation.simulate_on(Workers(jobs=2), mapping, images, mode="timed")
