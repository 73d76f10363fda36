"""Hop level: every packet at every router, recorded, read, compared and run again."""

import dataclasses

import numpy as np
import pytest

import neuromorph as nm
from networks import random_mapping, random_network, random_samples
from neuromorph.data import load_data
from neuromorph.errors import MissingDependencyError, SimulationError, TraceError
from neuromorph.mapping.packets import HOP_DTYPE, SIDES
from neuromorph.reference import timed as reference_timed
from neuromorph.trace import Recorder, Trace, blank, difference, recorder, repack, replay, validate


@pytest.fixture(scope="module")
def digits():
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return mapping, load_data("digits").test_images[:6]


@pytest.fixture(scope="module")
def trace(digits, tmp_path_factory):
    mapping, images = digits
    path = tmp_path_factory.mktemp("hops") / "run.h5"
    nm.simulate(mapping, images, mode="timed", detail="hops", trace=path)
    with Trace(path) as trace:
        yield trace


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_those_of_the_reference_engine(seed, tmp_path):
    """On links without bounds, and on such with little room for long packets."""
    rng = np.random.default_rng(seed)
    network = random_network(seed)
    mapping = random_mapping(network, rng)
    if seed % 2:
        bounds = {"buffer": 2, "queue": 1 << 16, "link_bits": 8, "packet_bits": 20}
        chip = dataclasses.replace(mapping.chip, **bounds)
        mapping = dataclasses.replace(mapping, chip=chip)
    samples = random_samples(network, rng, 3)
    nm.simulate(mapping, samples, mode="timed", detail="hops", trace=tmp_path / "run.h5")
    assert validate(tmp_path / "run.h5") == []
    wanted = []
    reference_timed.timed(mapping, network.encode(samples), hops=lambda r: wanted.append(r.copy()))
    wanted = np.concatenate(wanted) if wanted else np.zeros(0, HOP_DTYPE)
    with Trace(tmp_path / "run.h5") as trace:
        assert trace.hop_count == len(wanted)
        found = trace.rows("hops", 0, trace.hop_count)
        for name in HOP_DTYPE.names:
            assert np.array_equal(found[name], wanted[name]), name
        assert replay(trace, network) is None


def test_blocks_of_any_size_give_the_same_data(digits, trace, tmp_path, monkeypatch):
    mapping, images = digits
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 701)
    monkeypatch.setattr(blank, "CHUNK_ROWS", 512)
    path = tmp_path / "run.h5"
    nm.simulate(mapping, images, mode="timed", detail="hops", trace=path)
    assert validate(path) == []
    with Trace(path) as other:
        assert difference(trace, other) is None


def test_every_packet_goes_its_way(trace):
    assert trace.holds("hops")
    delivered = 0
    for hops, packets in trace.paths():
        number = len(packets["sent"])
        assert np.array_equal(np.unique(hops["packet"]), np.arange(number))
        waited = np.bincount(hops["packet"], hops["waited"], number)
        chip, side = trace.chip, hops["link"] % len(SIDES)
        ticks = np.array([chip.hop_x_ticks] * 2 + [chip.hop_y_ticks] * 2 + [chip.hop_local_ticks])
        moved = np.bincount(hops["packet"], ticks[side], number)
        assert np.array_equal(packets["delivered"] - packets["sent"], waited + moved)
        delivered += number
    assert delivered == trace.packet_count


@pytest.mark.parametrize("rows", [1, 97])
def test_ways_in_small_blocks(trace, rows, monkeypatch):
    whole = next((h["tick"][h["packet"] == 5], p["sent"][5]) for h, p in trace.paths())
    blocks = trace.blocks
    monkeypatch.setattr(trace, "blocks", lambda table: blocks(table, rows=rows if rows > 1 else 50))
    seen, found = 0, None
    for hops, packets in trace.paths():
        if found is None and seen + len(packets["sent"]) > 5:
            found = hops["tick"][hops["packet"] == 5 - seen], packets["sent"][5 - seen]
        seen += len(packets["sent"])
        if found is not None:
            break
    assert found[0].tolist() == whole[0].tolist()
    assert found[1] == whole[1]


def test_the_first_difference_may_be_a_hop(digits, trace, tmp_path):
    import h5py

    path = repack(trace.path, tmp_path / "other.h5", compression="none")
    with open(path, "r+b") as file:
        file.write(bytes(512))
    with h5py.File(path, "r+") as file:
        file["hops/waited"][7] += 1
    with Trace(path) as other:
        assert str(difference(trace, other)).startswith("hops, waited, row 7: ")


def test_traces_without_hops_say_so(digits, tmp_path):
    mapping, images = digits
    nm.simulate(mapping, images[:1], mode="timed", trace=tmp_path / "run.h5")
    with Trace(tmp_path / "run.h5") as trace:
        assert not trace.holds("hops")
        with pytest.raises(TraceError, match=r"has no hops; record with detail 'hops'"):
            list(trace.paths())
    for mode in ("count", "reference"):
        with pytest.raises(SimulationError, match="has no hops to record; use mode='timed'"):
            nm.simulate(mapping, images[:1], mode=mode, detail="hops", trace=tmp_path / "a.h5")
        with pytest.raises(TraceError, match="has no hops to record; use mode 'timed'"):
            Recorder(tmp_path / "a.h5", mapping, detail="hops", mode=mode)


def test_engines_record_only_what_is_kept(digits, tmp_path):
    mapping, _ = digits
    kept = {"counts": (), "spikes": (), "packets": ("packets",), "hops": ("packets", "hops")}
    for detail, tables in kept.items():
        made = Recorder(tmp_path / "a.h5", mapping, detail=detail, mode="timed")
        assert tuple(t for t in ("packets", "hops") if made.sink(t) is not None) == tables


# --- compression and recorders of one's own


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_the_same_data_in_every_compression(compression, digits, trace, tmp_path):
    mapping, images = digits
    if compression in ("lz4", "zstd"):
        pytest.importorskip("hdf5plugin", reason="lz4 and zstd need hdf5plugin")
    path = tmp_path / "run.h5"
    made = Recorder(path, mapping, detail="hops", mode="timed", compression=compression)
    nm.simulate(mapping, images, mode="timed", trace=made)
    assert validate(path) == []
    with Trace(path) as other:
        assert difference(trace, other) is None
    again = repack(path, tmp_path / "again.h5", compression=compression)
    with Trace(again) as other:
        assert difference(trace, other) is None


def test_what_a_missing_filter_needs_is_named(digits, tmp_path, monkeypatch):
    import sys

    mapping, _ = digits
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    for name in ("lz4", "zstd"):
        with pytest.raises(MissingDependencyError, match=rf"'{name}' needs hdf5plugin, which is"):
            Recorder(tmp_path / "a.h5", mapping, detail="spikes", mode="count", compression=name)
    with pytest.raises(TraceError, match="compression is 'zip'; choose one of none, gzip, lz4, zs"):
        Recorder(tmp_path / "a.h5", mapping, detail="spikes", mode="count", compression="zip")


def test_a_recorder_for_something_else_is_refused(digits, tmp_path):
    mapping, images = digits
    made = Recorder(tmp_path / "a.h5", mapping, detail="spikes", mode="count")
    other = nm.map_network(mapping.network, mapping.chip)
    says = "was made for another mapping, mode or detail; make one for this run"
    with pytest.raises(SimulationError, match=says):
        nm.simulate(other, images, trace=made)
    with pytest.raises(SimulationError, match=says):
        nm.simulate(mapping, images, mode="timed", trace=made)
    with pytest.raises(SimulationError, match=says):
        nm.simulate(mapping, images, detail="counts", trace=made)
    assert nm.simulate(mapping, images, trace=made, detail="spikes").trace == str(made.path)


def test_what_the_thread_fails_at_is_raised_and_nothing_hangs(digits, tmp_path, monkeypatch):
    mapping, images = digits
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 100)

    def fail(self, table, columns):
        raise TraceError("no more")

    monkeypatch.setattr(recorder.Writer, "append", fail)
    with pytest.raises(TraceError, match="no more"):
        nm.simulate(mapping, images, mode="timed", trace=tmp_path / "run.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5.partial"]


# --- slices


def test_slices_by_layer_core_and_time(trace):
    packets, spikes = trace.packets(), trace.spikes()
    rows = np.array([-1, *(s.core for s in trace.slices)])
    for layer in trace.network_info.layers:
        chosen = [i for i, s in enumerate(trace.slices, start=1) if s.layer == layer.name]
        found = trace.packets(layer=layer.name)
        assert np.array_equal(found["sent"], packets["sent"][np.isin(packets["target"], chosen)])
    core = trace.slices[1].core
    found = trace.packets(slice(1, 3), core=core)
    wanted = np.isin(packets["sample"], [1, 2]) & (rows[packets["target"]] == core)
    assert np.array_equal(found["neuron"], packets["neuron"][wanted])
    for ticks in ((0, 1), (1000, 3000), (3000, 1000), (0, 1 << 40)):
        inside = (packets["delivered"] >= ticks[0]) & (packets["delivered"] < ticks[1])
        assert np.array_equal(trace.packets(ticks=ticks)["sent"], packets["sent"][inside])
    for number, layer in enumerate(("input", "conv1")):
        found = trace.spikes(2, layer=layer)
        wanted = (spikes["sample"] == 2) & (spikes["layer"] == number)
        assert np.array_equal(found["neuron"], spikes["neuron"][wanted])
    on_core = [trace.spikes(core=s.core)["level"].size for s in trace.slices]
    assert sum(on_core) + trace.spikes(layer="input")["level"].size == trace.spike_count


def test_what_is_not_there_is_named(trace):
    with pytest.raises(TraceError, match="has no layer 'conv9'; it has input, conv1, conv2"):
        trace.packets(layer="conv9")
    with pytest.raises(TraceError, match=r"used no core 250; it used 0, 1, "):
        trace.spikes(core=250)
    with pytest.raises(TraceError, match="used no core -1"):
        trace.spikes(core=-1)


def test_events_of_a_layer_are_some_of_all(digits, trace):
    network = digits[0].network
    every = list(trace.synaptic_events(network, ticks=(0, 2000)))
    chosen = list(trace.synaptic_events(network, ticks=(0, 2000), layer="conv1"))
    wanted = np.concatenate([e["weight"][e["layer"] == 1] for e in every])
    assert np.array_equal(np.concatenate([e["weight"] for e in chosen]), wanted)
