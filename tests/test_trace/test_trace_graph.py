"""Traces of networks that join layers or classify every pixel: exact, valid, replayed."""

import dataclasses
import itertools

import h5py
import numpy as np
import pytest
from test_trace_reading import joined, same

import neuromorph as nm
from networks import (
    random_graph,
    random_levels,
    random_mapping,
    random_samples,
    roomy,
    run_oracle,
)
from neuromorph.errors import TraceError
from neuromorph.interop import export_trace
from neuromorph.mapping.packets import PACKET_DTYPE
from neuromorph.network import Concat, Conv2d, Input, Network, Readout, Threshold
from neuromorph.reference import timed as reference_timed
from neuromorph.report import write_report
from neuromorph.trace import Trace, replay, validate
from neuromorph.trace.synapses import EVENT_COLUMNS


def graph_run(seed, path, batch=3, **options):
    """(mapping, raw samples, labels, run) of a random graph, traced."""
    network = random_graph(seed)
    rng = np.random.default_rng([seed, 2])
    mapping = random_mapping(network, rng)
    raw = random_samples(network, rng, batch)
    labels = rng.integers(0, network.classes, (batch, *network.pixels))
    return mapping, raw, labels, nm.simulate(mapping, raw, labels=labels, trace=path, **options)


@pytest.mark.parametrize("seed", range(8))
def test_traces_of_random_graphs(seed, tmp_path):
    """Packets of the slow engine, a valid file, and every synaptic event of the oracle."""
    path = tmp_path / "run.h5"
    mapping, raw, labels, run = graph_run(seed, path, mode="timed", detail="hops")
    network = mapping.network
    packets = [np.zeros(0, PACKET_DTYPE)]
    reference_timed.timed(mapping, network.encode(raw), sink=lambda p: packets.append(p.copy()))
    packets = np.concatenate(packets)
    assert validate(path) == []
    with Trace(path) as trace:
        assert trace.counts == run.counts
        assert same(trace.packets(), {n: packets[n] for n in PACKET_DTYPE.names})
        for name in ("outputs", "predictions"):
            assert np.array_equal(getattr(trace, name), getattr(run, name))
        assert np.array_equal(trace.labels, labels)
        assert trace.accuracy == run.accuracy(labels)
        assert trace.dice == (run.dice(labels) if network.pixels else None)
        assert replay(trace, network) is None
        events = joined(trace.synaptic_events(network), EVENT_COLUMNS)
        in_pieces = joined(trace.synaptic_events(network, batch=50), EVENT_COLUMNS)
    assert same(events, in_pieces) or not len(events["sample"])
    levels = [network.encode(raw), *(run.levels(s.name) for s in network.stages if s.levels)]
    for index, layer in enumerate(run_oracle(network, raw)):
        mine = {name: values[events["layer"] == index + 1] for name, values in events.items()}
        sums, number = np.zeros((2, *layer.sums.shape), np.int64)
        at = mine["sample"], mine["target"]
        np.add.at(sums, at, mine["level"] * mine["weight"])
        np.add.at(number, at, 1)
        assert np.array_equal(sums, layer.sums), layer.name
        assert np.array_equal(number, layer.events), layer.name
        for source in np.unique(mine["source_layer"]):
            here = mine["source_layer"] == source
            sent = levels[source][mine["sample"][here], mine["source"][here]]
            carried = mine["level"][here]
            is_bit = network.input.encoding == "bitplane" and source == 0
            assert np.array_equal(sent & carried if is_bit else sent, carried)


def unseal(path):
    """Wipe the user block, as an edit by another program would leave it."""
    with open(path, "r+b") as file:
        file.write(bytes(512))


def unet(rng):
    """input 2×4×6 → a → b (half the size) → c hears a, and b up-sampled; every pixel a class."""
    return Network(
        name="unet",
        input=Input(shape=(2, 4, 6)),
        layers=[
            Conv2d(name="a", weights=random_levels(rng, 1, (2, 2, 3, 3)), padding=1),
            Threshold(thresholds=np.tile([0, 1], (2, 1))),
            Conv2d(name="b", weights=random_levels(rng, 1, (3, 2, 2, 2)), stride=2),
            Threshold(thresholds=np.tile([0, 1], (3, 1))),
            Concat(sources=("a", "b"), upsample=(1, 2)),
            Conv2d(name="c", weights=random_levels(rng, 1, (2, 5, 3, 3)), padding=1),
            Readout(),
        ],
    )


def test_synaptic_events_of_an_up_sampled_layer_by_hand(tmp_path):
    """Every event of c by its definition; a pixel of b is four, which meet the same neurons."""
    rng = np.random.default_rng(8)
    network = unet(rng)
    mapping = nm.map_network(network, dataclasses.replace(nm.load_chip("gxnor45"), neurons=9))
    assert len(mapping.stage_rows[2]) > 2
    raw = rng.integers(-1, 2, (2, 2, 4, 6))
    run = nm.simulate(mapping, raw, mode="timed", trace=tmp_path / "run.h5")
    a, b = run.levels("a").reshape(2, 2, 4, 6), run.levels("b").reshape(2, 3, 2, 3)
    weights, wanted = network.stage("c").weights, []
    for s, channel, source, y, x, i, j in itertools.product(
        range(2), range(2), range(5), range(4), range(6), range(3), range(3)
    ):
        row, column = y + i - 1, x + j - 1
        if not (0 <= row < 4 and 0 <= column < 6):
            continue
        if source < 2:
            layer, neuron, level = 1, source * 24 + row * 6 + column, a[s, source, row, column]
        else:
            place = row // 2, column // 2
            layer, neuron = 2, (source - 2) * 6 + place[0] * 3 + place[1]
            level = b[s, source - 2, *place]
        weight, target = weights[channel, source, i, j], channel * 24 + y * 6 + x
        if level and weight:
            wanted.append((s, layer, neuron, target, int(level), int(weight)))
    with Trace(tmp_path / "run.h5") as trace:
        events = joined(trace.synaptic_events(network, layer="c"), EVENT_COLUMNS)
    columns = ("sample", "source_layer", "source", "target", "level", "weight")
    assert sorted(zip(*(events[n].tolist() for n in columns))) == sorted(wanted)
    assert len(wanted) > len(set(wanted))
    packet = list(zip(*(events[n].tolist() for n in ("tick", "core", "sample", *columns[1:3]))))
    for (one, target), (other, after) in itertools.pairwise(zip(packet, events["target"])):
        assert one != other or target <= after


@pytest.fixture
def small(tmp_path):
    """(trace of the small U-Net, its network)"""
    network, path = unet(np.random.default_rng(8)), tmp_path / "run.h5"
    mapping = nm.map_network(network, roomy(nm.load_chip("gxnor45")))
    raw = np.random.default_rng(1).integers(-1, 2, (3, 2, 4, 6))
    labels = np.full((3, 4, 6), -1)
    labels[1:] = 1
    nm.simulate(mapping, raw, mode="timed", trace=path, labels=labels)
    return path, network


def test_tables_have_a_row_a_pixel(small, tmp_path):
    pandas = pytest.importorskip("pandas")
    path, _ = small
    with Trace(path) as trace:
        frame = trace.to_pandas("samples")
        assert list(frame.columns) == [
            *("sample", "row", "column", "label", "prediction", "start", "finish"),
            *("output_0", "output_1"),
        ]
        assert len(frame) == 3 * 4 * 6
        line = frame.iloc[24 + 6 + 2]
        assert (line["sample"], line["row"], line["column"], line["label"]) == (1, 1, 2, 1)
        outputs = trace.outputs.reshape(3, 2, 4, 6)
        assert (line["output_0"], line["output_1"]) == tuple(outputs[1, :, 1, 2])
        assert line["prediction"] == trace.predictions[1, 1, 2]
        assert line["finish"] == trace.finished_ticks[1]
        folder = export_trace(trace, tmp_path / "csv", to="csv")
    written = pandas.read_csv(folder / "samples.csv")
    assert written.astype(frame.dtypes).equals(frame)


def test_the_report_and_the_description_say_dice(small, tmp_path):
    path, _ = small
    with Trace(path) as trace:
        assert f", Dice {trace.dice:.4f} of class 1" in str(trace)
        assert trace.to_dict()["dice"] == trace.dice
        page = write_report(trace, tmp_path / "run.html").read_text()
        assert f"{trace.dice:.4f}" in page


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"layer":2,"upsample":2', '"layer":3,"upsample":2', "layer 'c' hears one that does not"),
        ('"layer":2,"upsample":2', '"layer":2,"upsample":3', "layer 'c' does not fit the layers"),
        ('"layer":2,"upsample":2', '"layer":2,"upsample":0', r"malformed: .*upsample"),
        ('"layer":1,"upsample":1', '"layer":0,"upsample":9', "layer 'c' does not fit the layers"),
    ],
)
def test_a_forged_source_is_refused(small, old, new, says):
    path, _ = small
    unseal(path)
    with h5py.File(path, "r+") as file:
        text = file["meta"].attrs["network"].decode()
        assert old in text
        file["meta"].attrs.modify("network", np.bytes_(text.replace(old, new).encode()))
    with pytest.raises(TraceError, match=says):
        Trace(path)


def test_a_packet_to_a_layer_that_does_not_hear_its_source_breaks_rule_22(small):
    path, network = small
    unseal(path)
    with h5py.File(path, "r+") as file:
        rows = file["packets/source"][:], file["packets/target"][:]
        place = int(np.flatnonzero((rows[0] == 0) & (rows[1] == 1))[0])
        file["packets/target"][place] = 3
    assert any(
        "rule 22: /packets has a packet to a core of a layer that does not hear" in problem
        for problem in validate(path)
    )
    with Trace(path) as trace, pytest.raises(TraceError, match="core or neuron that is not there"):
        list(trace.synaptic_events(network))
