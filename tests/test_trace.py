"""Traces against the runs they record, and against oracles that are not ours.

Compared: everything a trace gives back (samples, outputs, counts, spikes,
packets, times, energy) with the run itself and with the reference engine; the
single synaptic events with the oracle of ``networks.py``, neuron by neuron:
how many there were, how many of them were XNOR events, what they add up to.

Not compared: bytes of files of different batch splits; only their rows are
promised to be equal.
"""

import dataclasses
import datetime
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromorph as nm
from networks import random_mapping, random_network, random_samples, run_oracle
from neuromorph.data import load_data
from neuromorph.errors import SimulationError, TraceError
from neuromorph.mapping.packets import PACKET_DTYPE, TOKEN
from neuromorph.network import Conv2d, Flatten, Input, Linear, Readout, Threshold
from neuromorph.reference import timed as reference_timed
from neuromorph.simulation import CHUNK
from neuromorph.trace import Recorder, Trace, blank, door, recorder, validate, writing
from neuromorph.trace.synapses import EVENT_COLUMNS
from neuromorph.trace.unfinished import Unfinished

GOLDEN = Path(__file__).parent / "data" / "trace-1.0.h5"
GOLDEN_OUTPUTS, GOLDEN_EVENTS = [[-1, 1, 3], [-1, -3, 5], [2, -1, 1]], 106
MODES = [
    ("reference", "counts"),
    ("reference", "spikes"),
    ("count", "counts"),
    ("count", "spikes"),
    ("timed", "counts"),
    ("timed", "spikes"),
    ("timed", "packets"),
]


@pytest.fixture(scope="module")
def digits():
    """(mapping, images, labels) of 24 digits."""
    data = load_data("digits")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return mapping, data.test_images[:24], data.test_labels[:24]


@pytest.fixture(scope="module")
def recorded(digits, tmp_path_factory):
    """(run, path of its packet trace, mapping)."""
    mapping, images, labels = digits
    path = tmp_path_factory.mktemp("trace") / "digits.h5"
    return nm.simulate(mapping, images, mode="timed", labels=labels, trace=path), path, mapping


def random_run(seed, path, batch=4, **options):
    """(mapping, raw samples, run) of a random network, traced."""
    network = random_network(seed)
    rng = np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    raw = random_samples(network, rng, batch)
    labels = rng.integers(-1, network.classes, batch)
    return mapping, raw, nm.simulate(mapping, raw, labels=labels, trace=path, **options)


def joined(blocks, names):
    """Blocks of columns end to end."""
    blocks = list(blocks)
    return {n: np.concatenate([b[n] for b in blocks] or [np.zeros(0, int)]) for n in names}


def same(a, b):
    """Whether two tables of columns are equal, dtypes included."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a
    )


def contents(path, *, but=()):
    """Every dataset and attribute of a file: name → (dtype, values)."""
    found = {}

    def keep(name, thing):
        for key, value in thing.attrs.items():
            if key not in but:
                found[f"{name}@{key}"] = (np.asarray(value).dtype, np.asarray(value).tolist())
        if isinstance(thing, h5py.Dataset):
            found[name] = (thing.dtype, thing[:].tolist())

    with h5py.File(path) as file:
        keep("", file)
        file.visititems(keep)
    return found


# --- what a trace gives back


@pytest.mark.parametrize(("mode", "detail"), MODES)
def test_a_trace_gives_back_its_run(mode, detail, digits, tmp_path):
    mapping, images, labels = digits
    path = tmp_path / "run.h5"
    run = nm.simulate(mapping, images, mode=mode, labels=labels, trace=path, detail=detail)
    assert validate(path) == []
    with Trace(path) as trace:
        assert (trace.mode, trace.detail, trace.complete, len(trace)) == (mode, detail, True, 24)
        assert trace.counts == run.counts
        assert trace.counts.hardware == run.counts.hardware
        assert trace.counts.ticks == run.counts.ticks
        assert np.array_equal(trace.counts.active_ticks, run.counts.active_ticks)
        assert np.array_equal(trace.outputs, run.outputs)
        assert np.array_equal(trace.predictions, run.predictions)
        assert np.array_equal(trace.labels, labels)
        assert trace.accuracy == run.accuracy(labels)
        assert np.array_equal(trace.started_ticks, run.started_ticks)
        assert np.array_equal(trace.finished_ticks, run.finished_ticks)
        assert (trace.latency_s, trace.interval_s) == (run.latency_s, run.interval_s)
        assert trace.network_hash == mapping.network.hash
        assert trace.slices == mapping.slices
        assert trace.chip == mapping.chip
        assert (trace.chip.facts, trace.chip.text) == (mapping.chip.facts, mapping.chip.text)
        assert trace.provenance == {"network": mapping.network.meta}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["count", "timed"])
@pytest.mark.parametrize("interval_s", [None, 1 / 30])
def test_energy_of_a_trace_is_the_energy_of_its_run(mode, interval_s, digits, tmp_path):
    mapping, images, _ = digits
    run = nm.simulate(mapping, images, mode=mode, trace=tmp_path / "run.h5", detail="counts")
    with Trace(tmp_path / "run.h5") as trace:
        reports = [
            nm.estimate_energy(c, nm.load_prices("horowitz45"), interval_s=interval_s).to_dict()
            for c in (run.counts, trace.counts)
        ]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


@pytest.mark.parametrize("seed", range(5000, 5018))
def test_random_runs_are_recorded_exactly(seed, tmp_path):
    path = tmp_path / "run.h5"
    mapping, raw, run = random_run(seed, path, mode="timed")
    encoded = mapping.network.encode(raw)
    packets = []
    reference_timed.timed(mapping, encoded, sink=lambda p: packets.append(p.copy()))
    packets = np.concatenate([*packets, np.zeros(0, PACKET_DTYPE)])
    assert validate(path) == []
    with Trace(path) as trace:
        assert trace.counts == run.counts
        assert np.array_equal(trace.outputs, run.outputs)
        assert same(trace.packets(), {n: packets[n] for n in PACKET_DTYPE.names})
        spikes = trace.spikes()
        levels = [encoded, *(run.levels(s.name) for s in mapping.network.stages if s.levels)]
        wanted = [(s, i, *np.nonzero(a[s])) for s in range(4) for i, a in enumerate(levels)]
        for name, values in {
            "sample": [np.full(len(n), s) for s, _, n in wanted],
            "layer": [np.full(len(n), i) for _, i, n in wanted],
            "neuron": [n for _, _, n in wanted],
            "level": [levels[i][s, n] for s, i, n in wanted],
        }.items():
            assert np.array_equal(spikes[name], np.concatenate(values)), name


# --- single synaptic events


@pytest.mark.parametrize("seed", range(6000, 6025))
def test_synaptic_events_are_every_event_of_the_oracle(seed, tmp_path):
    path = tmp_path / "run.h5"
    mapping, raw, run = random_run(seed, path, batch=3, mode="timed")
    network = mapping.network
    with Trace(path) as trace:
        events = joined(trace.synaptic_events(network), EVENT_COLUMNS)
        in_pieces = joined(trace.synaptic_events(network, batch=50), EVENT_COLUMNS)
    assert same(events, in_pieces) or not len(events["sample"])
    assert (np.diff(events["tick"]) >= 0).all()
    units = (np.abs(events["level"]) == 1) & (np.abs(events["weight"]) == 1)
    for index, layer in enumerate(run_oracle(network, raw)):
        mine = events["layer"] == index + 1
        at = events["sample"][mine], events["target"][mine]
        sums, number, xnor = np.zeros((3, *layer.sums.shape), np.int64)
        np.add.at(sums, at, (events["level"] * events["weight"])[mine])
        np.add.at(number, at, 1)
        np.add.at(xnor, at, units[mine])
        assert np.array_equal(sums, layer.sums), layer.name
        assert np.array_equal(number, layer.events), layer.name
        assert np.array_equal(xnor, layer.xnor), layer.name
    # on the right cores
    for row, core in enumerate(mapping.row_cores):
        here = np.bincount(events["sample"][(events["core"] == core) & units], minlength=3)
        assert np.array_equal(here, run.counts["xnor_event"][:, row]), core
        here = np.bincount(events["sample"][(events["core"] == core) & ~units], minlength=3)
        assert np.array_equal(here, run.counts["graded_event"][:, row]), core


@pytest.mark.parametrize(("padding", "dilation"), [(1, 1), (3, 3)])
def test_synaptic_events_of_a_convolution_by_hand(tmp_path, padding, dilation):
    """Stride 2, padded, several cores: every event by its definition, one at a time."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-1, 2, (4, 2, 3, 3))
    network = nm.Network(
        name="conv",
        input=Input(shape=(2, 5, 6)),
        layers=[
            Conv2d(name="conv", weights=weights, stride=2, padding=padding, dilation=dilation),
            Threshold(thresholds=np.array([[-1, 2]] * 4)),
            Flatten(),
            Linear(name="output", weights=rng.integers(-1, 2, (3, 36))),
            Readout(),
        ],
    )
    chip = dataclasses.replace(nm.load_chip("gxnor45"), neurons=9)
    mapping = nm.map_network(network, chip)
    assert len(mapping.stage_rows[0]) > 2
    raw = rng.integers(-1, 2, (2, 2, 5, 6))
    nm.simulate(mapping, raw, mode="timed", trace=tmp_path / "run.h5")
    wanted = set()
    for s, channel, y, x, i, j in itertools.product(
        range(2), range(4), range(3), range(3), range(3), range(3)
    ):
        for source in range(2):
            row = 2 * y - padding + i * dilation
            column = 2 * x - padding + j * dilation
            if 0 <= row < 5 and 0 <= column < 6:
                level, weight = raw[s, source, row, column], weights[channel, source, i, j]
                if level and weight:
                    neuron = source * 30 + row * 6 + column
                    wanted.add((s, neuron, channel * 9 + y * 3 + x, int(level), int(weight)))
    with Trace(tmp_path / "run.h5") as trace:
        events = joined(trace.synaptic_events(network), EVENT_COLUMNS)
    first = {n: v[events["layer"] == 1].tolist() for n, v in events.items()}
    columns = ("sample", "source", "target", "level", "weight")
    found = list(zip(*(first[n] for n in columns)))
    assert len(found) == len(set(found))
    assert set(found) == wanted
    # and within one packet the targets ascend
    packet = list(zip(*(first[n] for n in ("tick", "core", "sample", "source"))))
    for (a, t), (b, u) in itertools.pairwise(zip(packet, first["target"])):
        assert a != b or t < u


def test_events_of_single_samples(recorded):
    _, path, mapping = recorded
    with Trace(path) as trace:
        whole = joined(trace.synaptic_events(mapping.network, sample=slice(0, 3)), EVENT_COLUMNS)
        assert set(whole["sample"].tolist()) == {0, 1, 2}
        one = joined(trace.synaptic_events(mapping.network, sample=1), EVENT_COLUMNS)
        here = whole["sample"] == 1
        assert same(one, {n: v[here] for n, v in whole.items()})
        counts = trace.counts
        assert len(one["sample"]) == int(
            (counts["xnor_event"][1] + counts["graded_event"][1]).sum()
        )


# --- spikes with their times


@pytest.mark.parametrize("block", [7, 1 << 18])
@pytest.mark.parametrize("seed", range(6100, 6112))
def test_timed_spikes_are_all_spikes_each_once(seed, block, tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    mapping, _, _ = random_run(seed, path, mode="timed")
    blocks = Trace.blocks
    monkeypatch.setattr(Trace, "blocks", lambda self, table: blocks(self, table, rows=block))
    with Trace(path) as trace:
        names = ("sample", "layer", "neuron", "level", "tick")
        found = joined(trace.timed_spikes(), names)
        packets = trace.packets()
    assert (np.diff(found["tick"]) >= 0).all()
    layer = np.array([0, *(s.stage + 1 for s in mapping.slices)])
    spikes = packets["payload"] != 0
    columns = [packets[n][spikes].tolist() for n in ("sample", "source", "neuron", "payload")]
    sent = {}
    for sample, source, neuron, level, target, tick in zip(
        *columns, packets["target"][spikes].tolist(), packets["sent"][spikes].tolist()
    ):
        key = (sample, int(layer[source]), neuron, level)
        sent[key] = min(sent.get(key, (1 << 40, 0)), (target, tick))
    wanted = sorted((*key, tick) for key, (_, tick) in sent.items())
    assert sorted(zip(*(found[n].tolist() for n in names))) == wanted


def test_timed_spikes_need_packets(digits, tmp_path):
    mapping, images, _ = digits
    nm.simulate(mapping, images[:2], mode="timed", trace=tmp_path / "run.h5", detail="spikes")
    with (
        Trace(tmp_path / "run.h5") as trace,
        pytest.raises(TraceError, match="has no packets; record with detail 'packets'"),
    ):
        list(trace.timed_spikes())


# --- slices


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (0, [0]),
        (23, [23]),
        (np.int64(5), [5]),
        (slice(4, 9), range(4, 9)),
        (slice(-2, None), [22, 23]),
        (slice(20, 99), range(20, 24)),
        (slice(9, 4), []),
        (slice(None), range(24)),
    ],
)
def test_slices_by_sample(asked, wanted, recorded):
    _, path, _ = recorded
    with Trace(path) as trace:
        for part, whole in (
            (trace.spikes(asked), trace.spikes()),
            (trace.packets(asked), trace.packets()),
        ):
            chosen = np.isin(whole["sample"], list(wanted))
            assert same(part, {n: v[chosen] for n, v in whole.items()})


@pytest.mark.parametrize("table", ["spikes", "packets"])
def test_blocks_are_the_table_and_no_longer_than_asked(table, recorded):
    _, path, _ = recorded
    with Trace(path) as trace:
        blocks = list(trace.blocks(table, rows=1000))
        assert {len(b["sample"]) for b in blocks[:-1]} == {1000}
        assert 0 < len(blocks[-1]["sample"]) <= 1000
        whole = getattr(trace, table)()
        assert same(joined(blocks, whole), whole)


def test_slices_that_are_not_there(recorded):
    _, path, mapping = recorded
    with Trace(path) as trace:
        for sample in (24, -1):
            with pytest.raises(TraceError, match=f"no sample {sample}; it holds 24, from 0"):
                trace.spikes(sample)
        with pytest.raises(TraceError, match="have a step"):
            trace.packets(slice(0, 9, 2))
        with pytest.raises(
            TraceError, match="table is 'flits'; choose counts, samples, spikes, packets, hops"
        ):
            list(trace.blocks("flits"))
        with pytest.raises(TraceError, match="rows is 0; must be at least 1"):
            list(trace.blocks("spikes", rows=0))
        with pytest.raises(TraceError, match="batch is 0; must be at least 1"):
            list(trace.synaptic_events(mapping.network, batch=0))
    with pytest.raises(TraceError, match="this trace is closed"):
        trace.spikes()
    with pytest.raises(TraceError, match="this trace is closed"):
        _ = trace.labels
    with pytest.raises(TraceError, match="this trace is closed"):
        _ = trace.counts


def test_what_was_not_recorded_is_refused_by_name(digits, tmp_path):
    mapping, images, _ = digits
    nm.simulate(mapping, images[:2], mode="timed", trace=tmp_path / "run.h5", detail="counts")
    with Trace(tmp_path / "run.h5") as trace:
        for ask in (trace.spikes, lambda: list(trace.blocks("spikes"))):
            with pytest.raises(TraceError, match="detail 'counts' and has no spikes; record with"):
                ask()
        with pytest.raises(TraceError, match="has no packets; record with detail 'packets'"):
            list(trace.synaptic_events(mapping.network))
        assert trace.accuracy is None
        assert (trace.labels == -1).all()


def test_events_need_the_network_that_ran(recorded):
    run, path, _ = recorded
    other = random_network(1)
    with Trace(path) as trace:
        with pytest.raises(TraceError, match=r"recorded from network 'digits-gxnor' .*not from"):
            list(trace.synaptic_events(other))
        # the name may change, what computes may not
        network = run.mapping.network
        renamed = nm.Network(name="new name", input=network.input, layers=network.layers)
        assert next(trace.synaptic_events(renamed))["level"].size


# --- recording


def test_a_detail_that_is_not_to_be_had_leaves_no_file(digits, tmp_path):
    mapping, images, _ = digits
    with pytest.raises(SimulationError, match="mode 'count' has no packets to record"):
        nm.simulate(mapping, images, trace=tmp_path / "run.h5", mode="count", detail="packets")
    assert list(tmp_path.iterdir()) == []


def test_two_runs_write_the_same(recorded, digits, tmp_path):
    _, path, _ = recorded
    mapping, images, labels = digits
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "again.h5")
    assert contents(path, but=["created"]) == contents(tmp_path / "again.h5", but=["created"])


def test_only_the_time_of_creation_tells_two_files_apart(digits, tmp_path, monkeypatch):
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(blank, "datetime", Stopped)
    mapping, images, labels = digits
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5 has time stamps of its own, in seconds
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with Trace(tmp_path / "a.h5") as trace:
        assert trace.created == "2026-01-02T03:04:05+00:00"


def test_rows_do_not_depend_on_the_batch_split(digits, tmp_path, monkeypatch):
    mapping, images, labels = digits
    for name, chunk in (("a.h5", 100), ("b.h5", 7), ("c.h5", 1)):
        monkeypatch.setitem(CHUNK, "count", chunk)
        monkeypatch.setattr(writing, "SPIKE_BLOCK_CELLS", chunk * 500)
        nm.simulate(mapping, images, labels=labels, trace=tmp_path / name)
        assert validate(tmp_path / name) == []
    first = contents(tmp_path / "a.h5", but=["created"])
    assert contents(tmp_path / "b.h5", but=["created"]) == first
    assert contents(tmp_path / "c.h5", but=["created"]) == first


def test_flushed_packets_can_be_read_while_the_run_goes_on(digits, tmp_path, monkeypatch):
    """They leave memory a full buffer at a time, and another process may look at them."""
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 1000)
    mapping, images, _ = digits
    path, seen = tmp_path / "run.h5", []
    ask = "import sys; from neuromorph.trace import Trace; t = Trace(sys.argv[1]); "
    ask += "print(t.complete, t.packet_count, len(t.packets(0)['sent']))"

    def take(self, records, real=Recorder.packets):
        real(self, records)
        if not seen:
            self._tasks.join()  # full buffers are on the disk, what is left of one is not
            command = [sys.executable, "-c", ask, f"{path}.partial"]
            seen.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            with Trace(f"{path}.partial") as trace:
                seen.append((trace.complete, trace.packet_count, len(trace.packets(0)["sent"])))

    monkeypatch.setattr(Recorder, "packets", take)
    nm.simulate(mapping, images, mode="timed", trace=path)
    complete, count, of_the_first = seen[1]
    assert seen[0].split() == [str(part) for part in seen[1]]
    assert not complete
    assert count > 1000
    assert count % 1000 == 0
    with Trace(path) as trace:
        assert trace.packet_count > count
        assert len(trace.packets(0)["sent"]) == of_the_first


def test_rows_are_on_the_disk_before_they_count(digits, tmp_path, monkeypatch):
    """Whenever ``flushed`` is written, the file on disk already has what it counts."""
    mapping, images, labels = digits
    path, seen = tmp_path / "run.h5", []

    def modify(self, name, value, real=h5py.AttributeManager.modify):
        if name == "flushed":
            with h5py.File(Unfinished.look(Path(f"{path}.partial"), 512)) as file:
                seen.append(value.tolist())
                assert len(file["counts/values"][:]) == len(file["samples/label"][:]) == value[0]
                assert len(file["spikes/level"][:]) == value[1]
                assert len(file["packets/sent"][:]) == value[2]
                assert (file["packets/delivered"][:] > 0).all()
                assert (file["spikes/level"][:] != 0).all()
        real(self, name, value)

    monkeypatch.setattr(h5py.AttributeManager, "modify", modify)
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 20_000)
    nm.simulate(mapping, images, mode="timed", labels=labels, trace=path)
    assert len(seen) > 3
    assert seen == sorted(seen)


def test_a_file_that_grows_while_it_is_opened(digits, tmp_path, monkeypatch):
    mapping, _, _ = digits
    monkeypatch.setattr(recorder, "BUFFERED_ROWS", 100)
    records = np.zeros(100, PACKET_DTYPE)
    with Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="timed") as open_one:
        open_one.packets(records)
        open_one.flush()

        def look_over(path, file, real=door.look_over):
            real(path, file)
            open_one.packets(records)
            open_one.flush()

        monkeypatch.setattr(door, "look_over", look_over)
        with Trace(tmp_path / "run.h5.partial") as trace:
            assert trace.packet_count in (100, 200)
            assert len(trace.packets()["sent"]) == trace.packet_count
        with Trace(tmp_path / "run.h5.partial") as trace:
            assert trace.packet_count in (200, 300)


def test_a_run_that_fails_leaves_what_there_was(digits, tmp_path, monkeypatch):
    mapping, images, _ = digits
    monkeypatch.setitem(CHUNK, "count", 10)
    calls = []

    def fail(self, *arguments, real=Recorder.batch, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(self, *arguments, **options)

    monkeypatch.setattr(Recorder, "batch", fail)
    with pytest.raises(KeyboardInterrupt):
        nm.simulate(mapping, images, trace=tmp_path / "run.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5.partial"]
    assert validate(tmp_path / "run.h5.partial") == [
        "rule 11: the run did not finish; what was flushed is readable"
    ]
    with Trace(tmp_path / "run.h5.partial") as trace:
        assert (len(trace), trace.complete) == (20, False)
        assert "INCOMPLETE" in trace.info()
        assert trace.counts == nm.simulate(mapping, images[:20]).counts


def test_a_second_run_into_the_same_file(digits, tmp_path):
    """The later one wins; the earlier one says so instead of sealing half a file."""
    mapping, images, _ = digits
    path = tmp_path / "run.h5"
    earlier, later = (Recorder(path, mapping, detail="counts", mode="count") for _ in range(2))
    earlier.__enter__()
    run = nm.simulate(mapping, images, trace=path, detail="spikes")
    later.__enter__()
    with pytest.raises(TraceError, match=r"another run has begun to write run\.h5\.partial"):
        earlier.__exit__(None, None, None)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["run.h5", "run.h5.partial"]
    with Trace(path) as trace:
        assert trace.counts == run.counts
    later.__exit__(None, None, None)
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]
    assert validate(path) == []


def test_recorder_refuses_what_it_cannot_record(digits, tmp_path):
    mapping, images, _ = digits
    with pytest.raises(TraceError, match="trace mode is 'fast'; choose one of"):
        Recorder(tmp_path / "run.h5", mapping, detail="counts", mode="fast")
    with pytest.raises(
        TraceError, match="detail is 'flits'; choose one of counts, spikes, packets"
    ):
        Recorder(tmp_path / "run.h5", mapping, detail="flits", mode="timed")
    with pytest.raises(TraceError, match="mode 'count' has no packets"):
        Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="count")
    recorder_ = Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="timed")
    with pytest.raises(TraceError, match="is not open for writing"):
        recorder_.packets(np.zeros(3, PACKET_DTYPE))
    run = reference_timed.timed(mapping, mapping.network.encode(images[:1]))
    run.started = None
    with (
        pytest.raises(TraceError, match="must say when its samples start and finish"),
        recorder_ as open_one,
    ):
        open_one.batch(np.zeros((1, 64), np.int16), run, None)


@pytest.mark.parametrize(
    "meta",
    [{"a": np.int64(3)}, {"when": object}, {(1, 2): 3}, {"text": "\ud800"}, {"deep": [[[]]] * 3}],
)
def test_any_provenance_can_be_recorded(meta, tmp_path):
    network = random_network(3)
    odd = nm.Network(name="odd µ", input=network.input, layers=network.layers, meta=meta)
    mapping = random_mapping(odd, np.random.default_rng(0))
    nm.simulate(mapping, random_samples(odd, np.random.default_rng(0), 2), trace=tmp_path / "o.h5")
    assert validate(tmp_path / "o.h5") == []
    with Trace(tmp_path / "o.h5") as trace:
        assert trace.network_name == "odd µ"
        assert list(trace.provenance) == ["network"]
        if "a" in meta:
            assert trace.provenance == {"network": {"a": repr(meta["a"])}}


# --- for people and programs


def test_info_and_json(recorded):
    run, path, _ = recorded
    with Trace(path) as trace:
        facts = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
        text = str(trace)
        assert repr(trace) == (
            "<Trace of 24 samples of 'digits-gxnor' on gxnor45, mode timed, detail packets>"
        )
        packets = trace.packets()
        spikes = trace.spike_count
    assert facts["samples"] == 24
    assert facts["packets"] == len(packets["sent"])
    assert facts["spikes"] == spikes
    assert facts["latency_s"] == run.latency_s
    assert facts["events_per_inference"] == run.counts.events / 24
    assert facts["file_bytes"] == os.path.getsize(path)
    assert facts["environment"]["numpy"] == np.__version__
    assert (packets["neuron"] == TOKEN).sum() == run.counts.total("token_in")
    assert f"packets   {len(packets['sent']):,}" in text
    assert str(run.counts) in text


def golden_run(path):
    """What tests/data/trace-1.0.h5 was made with (version 0.1.0); (network, run)."""
    network = nm.Network(
        name="golden",
        input=Input(shape=(1, 3, 3), encoding="bitplane", bits=2),
        layers=[
            Conv2d(name="conv", weights=np.array([[[[1, -1], [0, 1]]], [[[-1, 0], [1, 1]]]])),
            Threshold(thresholds=np.array([[-1, 2], [0, 3]]), directions=np.array([1, -1])),
            Flatten(),
            Linear(name="output", weights=np.arange(24).reshape(3, 8) % 5 - 2, n=2),
            Readout(),
        ],
    )
    chip = dataclasses.replace(nm.load_chip("gxnor45"), name="golden", neurons=4, text="", facts={})
    samples = (np.arange(27) * 7 % 11 % 4).reshape(3, 1, 3, 3)
    mapping = nm.map_network(network, chip)
    return network, nm.simulate(mapping, samples, mode="timed", labels=[0, 1, -1], trace=path)


def test_a_file_of_version_1_0_is_read(tmp_path):
    """And running again gives the same data, column by column."""
    network, run = golden_run(tmp_path / "now.h5")
    assert validate(GOLDEN) == []
    with Trace(GOLDEN) as trace:
        assert trace.version == "1.0"
        assert trace.outputs.tolist() == GOLDEN_OUTPUTS
        assert trace.counts == run.counts
        events = sum(len(e["level"]) for e in trace.synaptic_events(network))
        assert events == trace.counts.events == GOLDEN_EVENTS
    now = contents(tmp_path / "now.h5")
    then = contents(GOLDEN, but=("created", "environment", "generator"))
    # actions that came later stand behind the old ones, and do not happen in scatter
    _, old = then.pop("counts/actions")
    assert now["counts/actions"][1][: len(old)] == old
    dtype, values = now["counts/values"]
    assert not np.asarray(values)[..., len(old) :].any()
    now["counts/values"] = (dtype, np.asarray(values)[..., : len(old)].tolist())
    # and 1.1 has the level of detail hops
    assert now["samples@flushed"][1] == [*then.pop("samples@flushed")[1], 0]
    for name, value in then.items():
        assert name == "@version" or now[name] == value, name
