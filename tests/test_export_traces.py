"""Exports of traces, read again by the real tool where it is installed, and by other means here.

Compared: every row of an export with the trace it is of, read with ``csv``,
``json`` and h5py alone.  SONATA is opened with libsonata, Neo and pandas with
themselves; where one is not installed its tests are skipped and say so.
Perfetto has no library to open a file with: its documented schema is checked
(required keys by phase, slices of a track apart, times that ascend).
"""

import csv
import importlib.util
import itertools
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

import neuromorph as nm
from networks import random_mapping, random_network, random_samples
from neuromorph.data import load_data
from neuromorph.errors import MissingDependencyError, TraceError
from neuromorph.events import ACTIONS
from neuromorph.interop import TARGETS, export_trace
from neuromorph.kernels import timed
from neuromorph.trace import Recorder, Trace

REQUIRED = {"M": {"name", "pid", "args"}, "X": {"ts", "dur", "pid", "tid", "name"},
            "C": {"ts", "pid", "name", "args"}, "s": {"ts", "pid", "tid", "name", "cat", "id"},
            "f": {"ts", "pid", "tid", "name", "cat", "id", "bp"}}  # fmt: skip


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """Path of a trace by (mode, detail), 6 digits each."""
    folder, data = tmp_path_factory.mktemp("traces"), load_data("digits")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    found = {}
    for mode, detail in (("timed", "packets"), ("timed", "spikes"), ("count", "spikes"),
                         ("count", "counts")):  # fmt: skip
        path = found[mode, detail] = folder / f"{mode}-{detail}.h5"
        nm.simulate(mapping, data.test_images[:6], mode=mode, labels=data.test_labels[:6],
                    trace=path, detail=detail)  # fmt: skip
    return found


def export(path, out, to, **options):
    with Trace(path) as trace:
        assert export_trace(trace, out, to=to, **options) == out
    return out


def table(path):
    """Header and columns of strings."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = list(zip(*rows)) or [()] * len(header)
    return dict(zip(header, columns))


def numbers(column):
    return [int(value) for value in column]


def whole(trace, name):
    blocks = list(trace.blocks(name))
    return {n: np.concatenate([b[n] for b in blocks]) for n in blocks[0]}


# --- csv


def test_csv_holds_every_row(traces, tmp_path):
    folder = export(traces["timed", "packets"], tmp_path / "out", "csv")
    with Trace(traces["timed", "packets"]) as trace:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        assert about["network_hash"] == trace.network_hash
        assert about["tick_s"] == trace.tick_s
        samples = table(folder / "samples.csv")
        assert numbers(samples["sample"]) == list(range(6))
        assert numbers(samples["label"]) == trace.labels.tolist()
        assert numbers(samples["finish"]) == trace.finished_ticks.tolist()
        outputs = [numbers(samples[f"output_{i}"]) for i in range(10)]
        assert np.array_equal(np.transpose(outputs), trace.outputs)
        counts = table(folder / "counts.csv")
        shape = trace.counts.values.shape[:2]
        for action in trace.action_names:
            found = np.reshape(numbers(counts[action]), shape)
            assert np.array_equal(found, trace.counts[action]), action
        assert list(counts["layer"][: shape[1]]) == list(trace.count_layers)
        spikes, wanted = table(folder / "spikes.csv"), trace.spikes()
        names = ["input", *(layer.name for layer in trace.network_info.layers)]
        assert [names.index(n) for n in spikes["layer"]] == wanted["layer"].tolist()
        for name in ("sample", "neuron", "level"):
            assert numbers(spikes[name]) == wanted[name].tolist()
        packets, wanted = table(folder / "packets.csv"), trace.packets()
        wanted["neuron"] = np.where(wanted["payload"] == 0, -1, wanted["neuron"].astype(int))
        for name, values in wanted.items():
            assert numbers(packets[name]) == values.tolist(), name
        mapping = table(folder / "mapping.csv")
        assert numbers(mapping["core"]) == [s.core for s in trace.slices]
        tiles = list(zip(numbers(mapping["tile_x"]), numbers(mapping["tile_y"])))
        assert tiles == [trace.chip.tile(s.core) for s in trace.slices]


def test_csv_of_counts_alone(traces, tmp_path):
    folder = export(traces["count", "counts"], tmp_path / "out", "csv")
    assert {p.name for p in folder.iterdir()} == {
        "about.json", "mapping.csv", "samples.csv", "counts.csv"
    }  # fmt: skip
    assert "start" not in table(folder / "samples.csv")


def of_nir(path):
    """Layer → event data of an exported file, read by NIR itself."""
    import nir

    return {name: node.observables["spikes"] for name, node in nir.read_data(path).nodes.items()}


def test_nir_reads_every_spike(traces, tmp_path):
    pytest.importorskip("nir", reason="nir is not installed")
    for key in (("timed", "packets"), ("count", "spikes")):
        out = export(traces[key], tmp_path / f"{key[0]}.nir.h5", "nir")
        with Trace(traces[key]) as trace:
            spikes = trace.spikes()
            found_nodes, names = of_nir(out), ["input", "conv1", "conv2", "fc3"]
            assert set(found_nodes) == set(names)
            for layer, name in enumerate(names):
                data = found_nodes[name]
                assert type(data).__name__ == "ValuedEventData"
                assert data.n_neurons == trace.network_info.spiking_sizes[layer]
                there = data.idx >= 0
                assert (np.isinf(data.time) == ~there).all()
                assert (data.time[there] <= data.t_max).all()
                assert (np.diff(np.where(there, data.time, 1e9), axis=1) >= 0).all()
                sample = np.nonzero(there)[0]
                found = zip(sample, data.idx[there], data.value[there])
                mine = spikes["layer"] == layer
                wanted = zip(*(spikes[n][mine] for n in ("sample", "neuron", "level")))
                assert sorted(found) == list(wanted)


def test_nir_needs_its_package_and_room(traces, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromorph.interop.nir_events.MOST_CELLS", 5000)
    with pytest.raises(
        (TraceError, MissingDependencyError), match=r"fewer samples|pip install 'neuromorph\[nir\]'"
    ):
        export(traces["count", "spikes"], tmp_path / "out", "nir")
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(MissingDependencyError, match="nir is not installed; run"):
        export(traces["count", "spikes"], tmp_path / "out", "nir")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", TARGETS)
def test_only_the_first_samples(to, traces, tmp_path):
    if to == "nir":
        pytest.importorskip("nir", reason="nir is not installed")
    out = export(traces["timed", "packets"], tmp_path / "out", to, samples=2)
    if to == "csv":
        for name in ("samples", "counts", "spikes", "packets"):
            assert set(table(out / f"{name}.csv")["sample"]) == {"0", "1"}, name
    elif to == "sanafe":
        assert set(table(out / "spikes.csv")["timestep"]) == {"1", "2"}
        assert set(table(out / "messages.csv")["timestep"]) == {"1", "2"}
    elif to == "sonata":
        with h5py.File(out) as file:
            assert {int(s) for p in file["spikes"].values() for s in p["sample"]} == {0, 1}
    elif to == "nir":
        assert {data.idx.shape[0] for data in of_nir(out).values()} == {2}
    else:
        events = json.loads(out.read_text(encoding="utf-8"))["traceEvents"]
        assert {e["name"] for e in events if e["ph"] == "X"} == {"sample 0", "sample 1"}


# --- SANA-FE


def test_sanafe_messages(traces, tmp_path):
    folder = export(traces["timed", "packets"], tmp_path / "out", "sanafe")
    spikes, messages = table(folder / "spikes.csv"), table(folder / "messages.csv")
    assert list(spikes) == ["neuron", "timestep"]
    with Trace(traces["timed", "packets"]) as trace:
        names = ["input", *(layer.name for layer in trace.network_info.layers)]
        wanted = trace.spikes()
        assert list(spikes["neuron"]) == [
            f"{names[i]}.{n}" for i, n in zip(wanted["layer"], wanted["neuron"])
        ]
        assert numbers(spikes["timestep"]) == (wanted["sample"] + 1).tolist()
        packets = trace.packets()
        chosen = packets["payload"] != 0
        assert numbers(messages["mid"]) == list(range(chosen.sum()))
        assert numbers(messages["timestep"]) == (packets["sample"][chosen] + 1).tolist()
        hops = trace.counts.total("hop_x") + trace.counts.total("hop_y")
        tokens = {k: v[~chosen] for k, v in packets.items()}
        tiles = np.array([(0, 0), *(trace.chip.tile(s.core) for s in trace.slices)])
        for_tokens = np.abs(tiles[tokens["source"]] - tiles[tokens["target"]]).sum()
        assert sum(numbers(messages["hops"])) == hops - for_tokens
        ticks = [round(float(t) / trace.tick_s) for t in messages["send_timestamp"]]
        assert ticks == packets["sent"][chosen].tolist()
        ticks = [round(float(t) / trace.tick_s) for t in messages["network_delay"]]
        assert ticks == (packets["delivered"] - packets["sent"])[chosen].tolist()
        cores = {f"{s.core}.0" for s in trace.slices}
        assert set(messages["dest_hw"]) == cores
        assert set(messages["src_hw"]) < cores | {"input"}
        least = np.array([float(t) for t in messages["min_hop_delay"]])
        took = np.array([float(t) for t in messages["network_delay"]])
        assert (took >= least * (1 - 1e-9)).all()
        assert np.isclose(took, least).any()
        assert set(messages["processing_delay"]) == {""}


# --- SONATA


def test_sonata_holds_every_spike_by_time(traces, tmp_path):
    out = export(traces["timed", "packets"], tmp_path / "run.sonata.h5", "sonata")
    with Trace(traces["timed", "packets"]) as trace, h5py.File(out) as file:
        spikes = trace.spikes()
        names = ["input", "conv1", "conv2", "fc3"]
        assert set(file["spikes"]) == set(names)
        for layer, name in enumerate(names):
            group, mine = file["spikes"][name], spikes["layer"] == layer
            assert group["timestamps"].compression is None
            assert group["timestamps"].attrs["units"] == "ms"
            assert (np.diff(group["timestamps"]) >= 0).all()
            found = zip(group["sample"][:], group["node_ids"][:], group["level"][:])
            assert sorted(found) == list(
                zip(*(spikes[n][mine] for n in ("sample", "neuron", "level")))
            )
            ticks = np.asarray(group["timestamps"]) / (trace.tick_s * 1e3)
            assert np.abs(ticks - np.round(ticks)).max() < 1e-6
            start, finish = trace.started_ticks, trace.finished_ticks
            assert (ticks >= start[group["sample"][:]]).all()
            assert (ticks <= finish[group["sample"][:]]).all()


@pytest.mark.parametrize("key", [("timed", "packets"), ("count", "spikes")])
def test_libsonata_opens_it_and_selects_by_time(key, traces, tmp_path):
    libsonata = pytest.importorskip("libsonata", reason="libsonata is not installed")
    out = export(traces[key], tmp_path / "run.sonata.h5", "sonata")
    reader = libsonata.SpikeReader(str(out))
    names = ["input", "conv1", "conv2", "fc3"]
    assert set(reader.get_population_names()) == set(names)
    with Trace(traces[key]) as trace:
        spikes = trace.spikes()
        for layer, name in enumerate(names):
            population = reader[name]
            assert population.sorting == "by_time"
            assert len(population.get()) == (spikes["layer"] == layer).sum()
        if key[1] == "packets":
            # the first sample alone: before the second begins
            until = trace.started_ticks[1] * trace.tick_s * 1e3
            found = [n for n, _ in reader["input"].get(tstart=0, tstop=until * (1 - 1e-9))]
        else:
            found = [n for n, _ in reader["input"].get(tstart=0, tstop=0.5)]
        wanted = spikes["neuron"][(spikes["layer"] == 0) & (spikes["sample"] == 0)]
        assert sorted(found) == wanted.tolist()


# --- Perfetto


@pytest.mark.parametrize("seed", [None, 7001, 7002, 7003, 7004])
def test_perfetto_keeps_the_schema(seed, traces, tmp_path):
    """Of digits, and of random networks on random chips, barriers among them."""
    path = traces["timed", "packets"]
    if seed is not None:
        network, rng = random_network(seed), np.random.default_rng(seed)
        mapping, path = random_mapping(network, rng), tmp_path / "run.h5"
        nm.simulate(mapping, random_samples(network, rng, 9), mode="timed", trace=path)
    out = export(path, tmp_path / "run.json", "perfetto")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["displayTimeUnit"] == "ns"
    events = content["traceEvents"]
    tracks, named = {}, set()
    for event in events:
        assert REQUIRED[event["ph"]] <= event.keys(), event
        track = event["pid"], event["tid"]
        if event["ph"] == "M":
            named.add(track)
        else:
            tracks.setdefault((*track, event["ph"]), []).append(event)
    for (process, thread, phase), found in tracks.items():
        assert (process, thread) in named
        assert found[0]["ts"] >= 0
        for a, b in itertools.pairwise(found):
            assert a["ts"] <= b["ts"]
            if phase == "X":  # slices of a track must not overlap
                assert a["ts"] + a["dur"] <= b["ts"] + 1e-6
    with Trace(path) as trace:
        arrivals = [e for e in events if e["ph"] == "X" and e["pid"] == 1]
        got = sum(e["args"]["spikes"] for e in arrivals)
        assert got == trace.counts.total("spike_in")
        assert sum(e["args"]["tokens"] for e in arrivals) == trace.counts.total("token_in")
        counted = sum(e["args"]["packets"] for e in events if e["ph"] == "C")
        assert counted == trace.packet_count
        # an arrow for each sample and pair of cores, from a slice into a slice
        arrows = {ph: {e["id"]: e for e in events if e["ph"] == ph} for ph in "sf"}
        packets = trace.packets()
        pairs = set(zip(*(packets[n].tolist() for n in ("sample", "source", "target"))))
        assert len(pairs) == len(arrows["s"]) == len(arrows["f"])
        for ph, found in arrows.items():
            for number, event in found.items():
                assert event["ts"] <= arrows["f"][number]["ts"]
                track = tracks[event["pid"], event["tid"], "X"]
                assert any(
                    x["ts"] - 1e-6 <= event["ts"] <= x["ts"] + x["dur"] + 1e-6 for x in track
                ), (ph, event)
        spans = {e["name"]: e["dur"] for e in events if e["ph"] == "X" and e["pid"] == 2}
        took = (trace.finished_ticks - trace.started_ticks) * trace.tick_s * 1e6
        assert [spans[f"sample {s}"] for s in range(len(trace))] == pytest.approx(took.tolist())


def test_perfetto_of_spikes_shows_the_samples(traces, tmp_path):
    out = export(traces["timed", "spikes"], tmp_path / "run.json", "perfetto")
    events = json.loads(out.read_text(encoding="utf-8"))["traceEvents"]
    assert sum(e["ph"] == "X" for e in events) == 6
    assert {e["pid"] for e in events} == {2}


def test_perfetto_refuses_what_no_viewer_takes(traces, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromorph.interop.perfetto.MOST_SLICES", 41)
    with pytest.raises(TraceError, match="makes 42 slices, more than the 41 a viewer takes"):
        export(traces["timed", "packets"], tmp_path / "run.json", "perfetto")
    export(traces["timed", "packets"], tmp_path / "run.json", "perfetto", samples=5)


# --- objects


def test_neo_has_a_train_a_neuron(traces):
    pytest.importorskip("neo", reason="neo is not installed")
    with Trace(traces["timed", "packets"]) as trace:
        block = trace.to_neo()
        spikes = trace.spikes()
        trains = {t.name: t for t in block.segments[0].spiketrains}
        names = ["input", "conv1", "conv2", "fc3"]
        wanted = set(zip(spikes["layer"].tolist(), spikes["neuron"].tolist()))
        assert set(trains) == {f"{names[i]}.{n}" for i, n in wanted}
        for layer, neuron in list(wanted)[::50]:
            train = trains[f"{names[layer]}.{neuron}"]
            mine = (spikes["layer"] == layer) & (spikes["neuron"] == neuron)
            order = np.argsort(train.array_annotations["sample"])
            level = train.array_annotations["level"][order]
            assert level.tolist() == spikes["level"][mine].tolist()
            assert (np.diff(train.magnitude) >= 0).all()
            assert train.units == train.units.rescale("ms")


def test_pandas_holds_every_table(traces):
    pytest.importorskip("pandas", reason="pandas is not installed")
    with Trace(traces["timed", "packets"]) as trace:
        for name in ("spikes", "packets"):
            frame, wanted = trace.to_pandas(name), whole(trace, name)
            assert list(frame) == list(wanted)
            for column, values in wanted.items():
                assert np.array_equal(frame[column], values)
        counts = trace.to_pandas("counts")
        totals = counts.groupby("layer")["xnor_event"].sum()
        by_layer = trace.counts.by_layer()
        index = list(ACTIONS).index("xnor_event")
        assert {k: int(v[index]) for k, v in by_layer.items()} == totals.to_dict()
        assert trace.to_pandas("samples")["output_3"].tolist() == trace.outputs[:, 3].tolist()


@pytest.mark.parametrize(("package", "call"), [("neo", "to_neo()"), ("pandas", "to_pandas()")])
def test_a_package_that_is_missing_is_named(package, call, traces):
    code = f"""
import sys
sys.modules[{package!r}] = None
import neuromorph as nm
try:
    nm.Trace({str(traces["timed", "packets"])!r}).{call}
except nm.NeuromorphError as error:
    print(type(error).__name__, error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.startswith(f"MissingDependencyError to_{package} needs {package}, which")


# --- what cannot be


@pytest.mark.parametrize(
    ("key", "to", "says"),
    [
        (("count", "counts"), "sonata", "detail 'counts' and has no spikes"),
        (("count", "counts"), "sanafe", "detail 'counts' and has no spikes"),
        (("count", "spikes"), "perfetto", "mode 'count' and has no times"),
        (("count", "spikes"), "xml", "choose one of csv, sonata, perfetto, sanafe"),
    ],
)
def test_what_a_format_needs(key, to, says, traces, tmp_path):
    with pytest.raises(TraceError, match=says):
        export(traces[key], tmp_path / "out", to)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced_and_a_file_is(traces, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(TraceError, match="it is there already, and a folder"):
        export(traces["count", "counts"], tmp_path / "out", "csv")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "run.json").write_text("old")
    export(traces["timed", "spikes"], tmp_path / "run.json", "perfetto")
    assert (tmp_path / "run.json").read_text(encoding="utf-8") != "old"


def test_a_failed_export_leaves_nothing(traces, tmp_path, monkeypatch):
    def fail(self, table, rows=None):
        raise OSError(28, "No space left on device")

    with Trace(traces["timed", "packets"]) as trace:
        monkeypatch.setattr(Trace, "blocks", fail)
        for to in TARGETS:
            if to == "nir" and importlib.util.find_spec("nir") is None:
                continue
            with pytest.raises(TraceError, match=r"cannot export to .*: No space left"):
                export_trace(trace, tmp_path / "out", to=to)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", TARGETS)
def test_a_run_that_did_not_finish(to, tmp_path):
    if to == "nir":
        pytest.importorskip("nir", reason="nir is not installed")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    encoded = mapping.network.encode(load_data("digits").test_images[:3])
    recorder = Recorder(tmp_path / "run.h5", mapping, detail="packets", mode="timed")
    try:
        with recorder:
            timed.timed(mapping, encoded, sink=recorder.packets)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    out = export(tmp_path / "run.h5.partial", tmp_path / "out", to)
    with Trace(tmp_path / "run.h5.partial") as trace:
        assert trace.packet_count > 1000
        if to == "csv":
            assert len(table(out / "packets.csv")["sample"]) == trace.packet_count
        elif to == "sanafe":
            spikes = (trace.packets()["payload"] != 0).sum()
            assert len(table(out / "messages.csv")["mid"]) == spikes
        elif to == "sonata":
            with h5py.File(out) as file:
                assert len(file["spikes/conv1/node_ids"]) > 1000
        elif to == "nir":  # it has a row a sample, and none was read out
            assert {data.idx.shape for data in of_nir(out).values()} == {(0, 0)}
        else:
            events = json.loads(out.read_text(encoding="utf-8"))["traceEvents"]
            arrivals = [e["args"] for e in events if e["ph"] == "X"]
            assert sum(a["spikes"] + a["tokens"] for a in arrivals) == trace.packet_count
