"""Running: three modes with one result, times worked out by hand, refusals by their sentence.

The engines are compared with each other and with foreign oracles, network by
network, in ``test_twin.py``; here it is what a caller sees.  Times are checked
against a hand calculation from the rules at the head of
``neuromorph/reference/timed.py``.
"""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import neuromorph as nm
import neuromorph.simulation
from networks import run_oracle
from neuromorph.data import load_data
from neuromorph.errors import NetworkError, SimulationError, TraceError
from neuromorph.network import Input, Linear, Network, Readout, Threshold

MODES = ("count", "timed", "reference")


@pytest.fixture(scope="module")
def digits():
    data = load_data("digits")
    return data.test_images, data.test_labels


@pytest.fixture(scope="module")
def mapping():
    return nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))


def same(a, b):
    """Two runs of one mapping: every integer that does not depend on time."""
    assert a.outputs.dtype == b.outputs.dtype == np.int32
    assert np.array_equal(a.outputs, b.outputs)
    assert np.array_equal(a.predictions, b.predictions)
    for stage in a.mapping.network.stages[:-1]:
        assert np.array_equal(a.levels(stage.name), b.levels(stage.name)), stage.name
    assert a.counts == b.counts


# --- the API as it must read


def test_the_function_is_not_hidden_by_a_module():
    """``import neuromorph.simulate`` would put the module where the function belongs."""
    code = "import neuromorph as nm, neuromorph.simulation; nm.Run; assert callable(nm.simulate)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_that_must_read_like_this(tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    images, labels = digits
    images = images[:12]
    # fmt: off
    net = nm.load_network("digits-gxnor"); chip = nm.load_chip("gxnor45")  # noqa: E702
    mapping = nm.map_network(net, chip)
    run = nm.simulate(mapping, images, mode="timed", trace="run.h5")   # run.outputs, run.predictions, run.levels(layer), run.counts, run.latency_s  # noqa: E501
    report = nm.estimate_energy(run.counts, nm.load_prices("horowitz45"))
    # fmt: on
    assert run.outputs.shape == (12, 10)
    assert (run.predictions == labels[:12]).mean() > 0.8
    assert run.levels("conv1").shape == (12, net.stage("conv1").outputs)
    assert run.counts.samples == len(run) == 12
    assert 0 < run.latency_s < 1
    assert (tmp_path / "run.h5").exists()
    assert 0 < report.total.p10 < report.total.p50 < report.total.p90


# --- one result


def test_all_digits_in_all_modes(mapping, digits):
    """360 images: count and timed in full; the reference, slow, on every sixth."""
    images, labels = digits
    assert len(images) == 360
    count, timed = (nm.simulate(mapping, images, mode=m) for m in ("count", "timed"))
    same(count, timed)
    part = nm.simulate(mapping, images[::6], mode="reference")
    same(part, nm.simulate(mapping, images[::6]))
    assert np.array_equal(part.outputs, count.outputs[::6])
    assert count.accuracy(labels) == timed.accuracy(labels) > 0.975


@pytest.mark.parametrize("chip", ["gxnor45", "loihi14"])
def test_modes_agree_on_both_presets(chip, digits):
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip(chip))
    runs = [nm.simulate(mapping, digits[0][:8], mode=m) for m in MODES]
    same(runs[0], runs[1])
    same(runs[0], runs[2])
    oracle = run_oracle(mapping.network, digits[0][:8])
    assert np.array_equal(runs[0].outputs, oracle[-1].sums)


@pytest.mark.parametrize("mode", ["count", "reference"])
@pytest.mark.parametrize("chunk", [1, 7, 20, 21])
def test_results_do_not_depend_on_the_chunk(mode, chunk, mapping, digits, monkeypatch, tmp_path):
    images, labels = digits[0][:20], digits[1][:20]
    whole = nm.simulate(mapping, images, labels=labels, mode=mode, trace=tmp_path / "whole.h5")
    monkeypatch.setitem(neuromorph.simulation.CHUNK, mode, chunk)
    parts = nm.simulate(mapping, images, labels=labels, mode=mode, trace=tmp_path / "parts.h5")
    same(whole, parts)
    with nm.Trace(tmp_path / "whole.h5") as a, nm.Trace(tmp_path / "parts.h5") as b:
        assert a.counts == b.counts == whole.counts
        assert a.spike_count == b.spike_count > 0
        for name, values in a.spikes().items():
            assert np.array_equal(values, b.spikes()[name]), name
        for name in ("labels", "predictions", "outputs"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_default_mode_is_count_and_knows_no_time(mapping, digits):
    run = nm.simulate(mapping, digits[0][:3])
    assert run.mode == "count"
    assert run.latency_s is run.latencies_s is run.interval_s is run.started_ticks is None
    assert run.counts.ticks is None
    assert run.trace is None


def test_a_run_prints_its_facts(mapping, digits):
    run = nm.simulate(mapping, digits[0][:3], mode="timed")
    assert repr(run) == "<Run of 3 samples of 'digits-gxnor' on gxnor45, mode timed>"
    one = nm.simulate(run.mapping, np.zeros((1, 1, 8, 8), int))
    assert repr(one) == "<Run of 1 sample of 'digits-gxnor' on gxnor45, mode count>"
    text = str(run)
    assert text.startswith(f"{run!r}, latency ")
    assert f"interval {run.interval_s * 1e6:.3g} µs" in text
    assert "xnor_event" in text
    assert ", latency" not in str(nm.simulate(mapping, digits[0][:3]))


# --- time, by hand


def by_hand(sync):
    """Two inputs, two hidden neurons on tile (0, 0), two classes on tile (1, 0).

    Every time of the chip is different, so that each can be told apart.
    """
    network = Network(
        name="by-hand",
        input=Input(shape=(2,)),
        layers=[
            Linear(name="hidden", weights=[[1, 1], [1, -1]]),
            Threshold(thresholds=[[0, 1], [0, 1]]),
            Linear(name="out", weights=[[1, 1], [1, -1]]),
            Readout(),
        ],
    )
    chip = dataclasses.replace(
        nm.load_chip("gxnor45"),
        sync=sync,
        frames_in_flight=2,
        tick_s=1e-9,
        inject_ticks=4,
        axon_ticks=3,
        synapse_ticks=2,
        synapse_lanes=1,
        neuron_ticks=5,
        neuron_lanes=1,
        spike_ticks=7,
        hop_x_ticks=11,
        hop_y_ticks=1000,  # no packet goes along y
        hop_local_ticks=1,
        link_ticks=9,
        barrier_ticks=100,
    )
    mapping = nm.map_network(network, chip)
    assert [chip.tile(s.core) for s in mapping.slices] == [(0, 0), (1, 0)]
    # frame 0: both inputs spike; sums 1·1 + 1·(−1) = 0 and 1·1 + (−1)·(−1) = 2, levels 0 and 1,
    # so one spike goes on: outputs 1 and −1.  frame 1: nothing.
    return nm.simulate(mapping, [[1, -1], [0, 0]], mode="timed")


def test_token_times_by_hand():
    """Frame 0.  The port sends a spike every 4 ticks: 4, 8, and its token at 12; a hop into the
    core takes 1, so they arrive at 5, 9, 13.  The core serves a spike in 3 + 2·2 = 7 (two
    synapses, one lane): 5 → 12, 12 → 19; the token in 3: → 22.  It thresholds two neurons in
    2·5: → 32, and sends the spike at 39, its token at 46.  The spike crosses the link at 39,
    11 ticks, and is in the core at 51.  The link is busy until 39 + 9 = 48, so the token waits
    until then: 48 + 11 + 1 = 60.  The second core serves the spike 51 → 58, the token
    60 → 63, reads out in 10: 73.

    Frame 1.  The port is free at 12 and two frames may be in flight, so it starts then.  Its
    token leaves at 16, arrives at 17, and waits for frame 0 to leave the core at 46: served
    → 49, thresholded → 59, token sent at 66, over the link → 77, → 78; served → 81, read out
    → 91.
    """
    run = by_hand("token")
    assert run.outputs.tolist() == [[1, -1], [0, 0]]
    assert run.levels("hidden").tolist() == [[0, 1], [0, 0]]
    assert run.started_ticks.tolist() == [0, 12]
    assert run.finished_ticks.tolist() == [73, 91]
    assert run.latencies_s == pytest.approx([73e-9, 79e-9], rel=1e-12)
    assert run.latency_s == pytest.approx((73e-9 + 79e-9) / 2, rel=1e-12)
    assert run.interval_s == pytest.approx((91 - 73) * 1e-9, rel=1e-12)
    assert run.counts.ticks == 91
    assert run.counts.active_ticks.tolist() == [
        4 * 3 + 4 * 1,  # three packets, then one
        (7 + 7 + 3 + 10 + 7 * 2) + (3 + 10 + 7 * 1),
        (7 + 3 + 10) + (3 + 10),
    ]
    tallies = {
        "spike_out": [[2, 1, 0], [0, 0, 0]],
        "token_out": [[1, 1, 0], [1, 1, 0]],
        "spike_in": [[0, 2, 1], [0, 0, 0]],
        "hop_x": [[0, 2, 0], [0, 1, 0]],
        "hop_local": [[3, 2, 0], [1, 1, 0]],
        "xnor_event": [[0, 4, 2], [0, 0, 0]],
        "skip_act": [[0, 0, 2], [0, 4, 4]],
        "neuron_update_active": [[0, 2, 2], [0, 0, 0]],
    }
    for action, wanted in tallies.items():
        assert run.counts[action].tolist() == wanted, action


def test_barrier_times_by_hand():
    """Step 0 at 0: the port sends frame 0 at 4 and 8 (no tokens); arriving at 5 and 9, served
    until 12 and 19.  Nothing is left, so the step ends at 19, and the next begins 100 later.
    Step 1 at 119: frame 1 begins and has no spike; the first core thresholds frame 0 until
    129, sends at 136, over the link until 147, into the core at 148, served until 155.
    Step 2 at 255: the second core reads out frame 0 at 265; the first thresholds frame 1 in
    the same time.  Step 3 at 365: frame 1 is read out at 375.
    """
    run = by_hand("barrier")
    assert run.outputs.tolist() == [[1, -1], [0, 0]]
    assert run.started_ticks.tolist() == [0, 119]
    assert run.finished_ticks.tolist() == [265, 375]
    assert run.latency_s == pytest.approx((265 + 375 - 119) / 2 * 1e-9, rel=1e-12)
    assert run.interval_s == pytest.approx(110e-9, rel=1e-12)
    assert run.counts.ticks == 375
    assert run.counts["token_out"].sum() == 0
    assert run.counts["barrier"].tolist() == [[0, 1, 1], [0, 1, 1]]


def test_interval_of_a_single_sample_is_not_known(mapping, digits):
    run = nm.simulate(mapping, digits[0][:1], mode="timed")
    assert run.interval_s is None
    assert run.latency_s == (run.finished_ticks[0] - run.started_ticks[0]) * 2e-9


def test_a_sample_alone_is_as_fast_as_frames_that_wait_for_nobody(mapping, digits):
    """One frame in flight: every sample has the latency it has alone."""
    chip = dataclasses.replace(mapping.chip, frames_in_flight=1)
    one = nm.map_network(mapping.network, chip)
    images = digits[0][:5]
    together = nm.simulate(one, images, mode="timed").latencies_s
    alone = [nm.simulate(one, images[i : i + 1], mode="timed").latency_s for i in range(5)]
    assert together.tolist() == alone


# --- bad input


def refusal(error, *args, **kwargs):
    with pytest.raises(error) as caught:
        nm.simulate(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (np.zeros((3, 8, 8), int), "inputs have shape [3, 8, 8]; this network takes [batch, 1,"),
        (np.zeros((1, 8, 8), int), "inputs have shape [1, 8, 8]; this network takes [batch, 1,"),
        (np.zeros((3, 1, 8, 9), int), "inputs have shape [3, 1, 8, 9]; this network takes"),
        (np.zeros((0,), int), "inputs have shape [0]; this network takes [batch, 1, 8, 8]"),
        (None, "inputs have shape []; this network takes [batch, 1, 8, 8]"),
        ("run.npz", "inputs have shape []; this network takes [batch, 1, 8, 8]"),
        ([[1, 2], [3]], "inputs have rows of different lengths; give an array"),
        (np.zeros((3, 1, 8, 8)), "inputs have dtype float64; this network takes integers"),
        (np.zeros((3, 1, 8, 8), bool), "inputs have dtype bool; this network takes integers"),
        (np.zeros((3, 1, 8, 8), object), "inputs have dtype object; this network takes integers"),
    ],
    ids=["no-channel", "one-image", "size", "flat", "none", "name", "ragged", "float", "bool",
         "object"],
)  # fmt: skip
@pytest.mark.parametrize("mode", MODES)
def test_inputs_of_wrong_shape_or_dtype(inputs, says, mode, mapping):
    assert refusal(NetworkError, mapping, inputs, mode=mode).startswith(says)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("encoding", "value", "says"),
    [
        ("ternary", 2, "inputs hold 2 in sample 1 at position 2; this network takes levels "
                       "-1, 0, 1"),
        ("bitplane", 16, "inputs hold 16 in sample 1 at position 2; this network takes integers "
                         "0 … 15, bitplane"),
        ("bitplane", -1, "inputs hold -1 in sample 1 at position 2; this network takes integers "
                         "0 … 15, bitplane"),
        ("graded", -16, "inputs hold -16 in sample 1 at position 2; this network takes integers "
                        "-15 … 15, graded"),
    ],
)  # fmt: skip
def test_inputs_out_of_range(encoding, value, says, mode):
    network = Network(
        name="three",
        input=Input(shape=(3,), encoding=encoding, bits=4),
        layers=[Linear(name="out", weights=np.ones((2, 3), int)), Readout()],
    )
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    assert refusal(NetworkError, mapping, [[0, 1, 1], [1, 0, value]], mode=mode) == says


@pytest.mark.parametrize("mode", MODES)
def test_no_samples(mode, mapping):
    empty = np.zeros((0, 1, 8, 8), int)
    assert refusal(SimulationError, mapping, empty, mode=mode) == (
        "there are no samples to run; give at least one"
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([1, 2], "labels are int64 of shape [2]; need 3 integers"),
        ([[1, 2, 3]], "labels are int64 of shape [1, 3]; need 3 integers"),
        ([1.0, 2.0, 3.0], "labels are float64 of shape [3]; need 3 integers"),
        (["a", "b", "c"], "labels are <U1 of shape [3]; need 3 integers"),
        (7, "labels are int64 of shape []; need 3 integers"),
        ([[1], [1, 2], 3], "labels have rows of different lengths; need 3 integers"),
    ],
)
def test_labels_that_do_not_fit(labels, says, mapping, digits, tmp_path):
    trace = tmp_path / "run.h5"
    assert refusal(SimulationError, mapping, digits[0][:3], labels=labels, trace=trace) == says
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SimulationError) as caught:
        nm.simulate(mapping, digits[0][:3]).accuracy(labels)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fast"}, "mode is 'fast'; choose one of reference, count, timed, brian2"),
        ({"mode": None}, "mode is None; choose one of reference, count, timed, brian2"),
        ({"detail": "flits"}, "detail is 'flits'; choose one of counts, spikes, packets, hops"),
        ({"detail": "packets"}, "mode 'count' has no packets to record; use mode='timed'"),
        ({"mode": "reference", "detail": "packets"},
         "mode 'reference' has no packets to record; use mode='timed'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("recorded", [True, False])
def test_modes_and_details(options, says, recorded, mapping, digits, tmp_path):
    trace = tmp_path / "run.h5" if recorded else None
    assert refusal(SimulationError, mapping, digits[0][:3], trace=trace, **options) == says
    assert list(tmp_path.iterdir()) == []


def test_bad_inputs_leave_no_trace(mapping, tmp_path):
    refusal(NetworkError, mapping, np.zeros((3, 8, 8), int), trace=tmp_path / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_cannot_be_written(mapping, digits, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "run.h5"):
        says = refusal(TraceError, mapping, digits[0][:1], trace=place)
        assert says.startswith("cannot write trace")
        assert str(place) in says
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_levels_of_what_has_none(mapping, digits):
    run = nm.simulate(mapping, digits[0][:2])
    with pytest.raises(NetworkError) as caught:
        run.levels("output")
    assert str(caught.value) == "layer 'output' is read out as sums; see run.outputs"
    with pytest.raises(NetworkError) as caught:
        run.levels("conv9")
    assert str(caught.value) == (
        "network 'digits-gxnor' has no layer 'conv9'; its layers are conv1, conv2, fc3, output"
    )


# --- traces of runs


@pytest.mark.parametrize(
    ("mode", "detail", "found"),
    [
        ("count", None, "spikes"),
        ("reference", None, "spikes"),
        ("timed", None, "packets"),
        ("timed", "counts", "counts"),
        ("timed", "spikes", "spikes"),
        ("count", "counts", "counts"),
    ],
)
def test_detail_of_the_trace(mode, detail, found, mapping, digits, tmp_path):
    path = tmp_path / "deep" / "run.h5"
    images, labels = digits[0][:5], digits[1][:5]
    run = nm.simulate(mapping, images, mode=mode, detail=detail, labels=labels, trace=path)
    assert run.trace == str(path)
    assert [p.name for p in path.parent.iterdir()] == ["run.h5"]
    with nm.Trace(path) as trace:
        assert (trace.mode, trace.detail, trace.samples) == (mode, found, 5)
        assert trace.counts == run.counts
        assert trace.accuracy == run.accuracy(labels)
        assert trace.latency_s == run.latency_s
        assert trace.interval_s == run.interval_s


def test_labels_may_be_any_integers(mapping, digits, tmp_path):
    labels = digits[1][:4].astype(np.uint8)
    run = nm.simulate(mapping, digits[0][:4], labels=labels.tolist(), trace=tmp_path / "run.h5")
    assert run.accuracy(labels) == run.accuracy(labels.tolist())
    with nm.Trace(tmp_path / "run.h5") as trace:
        assert trace.labels.tolist() == labels.tolist()
    json.dumps(run.accuracy(labels))  # a float of Python, for JSON
