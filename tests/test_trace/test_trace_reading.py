"""What a trace gives back: runs, events, spikes, slices."""

import dataclasses
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from trace_kit import contents

import neuromorph as nm
from networks import random_mapping, random_network, random_samples, run_oracle
from neuromorph.errors import TraceError
from neuromorph.mapping.packets import PACKET_DTYPE, TOKEN
from neuromorph.network import Conv2d, Flatten, Input, Linear, Readout, Threshold
from neuromorph.reference import timed as reference_timed
from neuromorph.trace import Trace, validate
from neuromorph.trace.synapses import EVENT_COLUMNS

GOLDEN = Path(__file__).parents[1] / "data" / "trace-1.0.h5"


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
            for c in (run.counts, trace.counts, trace.sums)
        ]
    assert json.dumps(reports[0]) == json.dumps(reports[1]) == json.dumps(reports[2])


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


def test_samples_with_a_step_are_refused(recorded):
    _, path, _ = recorded
    with (
        Trace(path) as trace,
        pytest.raises(TraceError, match=r"samples slice\(.*\) have a step"),
    ):
        trace.spikes(sample=slice(0, 4, 2))


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


# --- for people and programs


@pytest.mark.parametrize(("rows", "blocks"), [(1, 24), (1 << 18, 1)])
def test_sums_need_no_more_memory_than_a_block(rows, blocks, recorded, monkeypatch):
    run, path, _ = recorded
    monkeypatch.setattr("neuromorph.trace.reader.BLOCK_ROWS", rows)
    asked = []
    rows_of = Trace.rows
    monkeypatch.setattr(Trace, "rows", lambda *a, **k: asked.append(a) or rows_of(*a, **k))
    with Trace(path) as trace:
        assert trace.sums == run.counts.summed()
        assert trace.sums.ticks == run.counts.ticks
        assert len(asked) == blocks
        assert "counts" not in vars(trace)  # nobody asked for every sample


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
