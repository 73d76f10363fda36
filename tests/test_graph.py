"""Networks that are no plain sequence: skips, concats, up-sampling, a class for every pixel.

All engines against the oracle of ``networks.py`` and against each other, on
random graphs; the packets of a fan-out counted by hand; what cannot take a
graph says so.
"""

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest

import neuromorph as nm
from networks import (
    check_same,
    check_tally,
    random_chip,
    random_graph,
    random_mapping,
    random_samples,
    roomy,
    run_oracle,
)
from neuromorph.errors import NetworkError
from neuromorph.interop.nir import to_nir
from neuromorph.kernels import counting as kernel_counting
from neuromorph.kernels import timed as kernel_timed
from neuromorph.mapping import check_fit, map_network, partition
from neuromorph.mapping.packets import PACKET_DTYPE
from neuromorph.mapping.slices import axons_in
from neuromorph.network import (
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    Network,
    Readout,
    Threshold,
    load_network,
    save_network,
)
from neuromorph.plasticity import Plastic, Rule
from neuromorph.reference import counting as reference_counting
from neuromorph.reference import timed as reference_timed


def graph_case(seed, batch=5):
    network = random_graph(seed)
    rng = np.random.default_rng([seed, 3])
    return network, random_mapping(network, rng), random_samples(network, rng, batch)


@pytest.mark.parametrize("seed", range(30))
def test_counting_engines_and_the_oracle_agree(seed):
    network, mapping, raw = graph_case(seed)
    encoded, oracle = network.encode(raw), run_oracle(network, raw)
    reference = reference_counting.count(mapping, encoded)
    check_tally(mapping, reference, oracle)
    check_same(kernel_counting.count(mapping, encoded), reference)
    neurons = kernel_counting.neuron_counts(mapping, encoded)
    for layer, (sums, events) in zip(oracle, neurons, strict=True):
        assert np.array_equal(sums, layer.sums)
        assert np.array_equal(events, layer.events)


@pytest.mark.parametrize("seed", range(12))
def test_timed_engines_agree_packet_by_packet(seed):
    network, mapping, raw = graph_case(seed, batch=3)
    encoded = network.encode(raw)
    runs = []
    for engine in (reference_timed, kernel_timed):
        packets = [np.zeros(0, PACKET_DTYPE)]
        tally = engine.timed(mapping, encoded, sink=lambda p, to=packets: to.append(p.copy()))
        runs.append((tally, np.concatenate(packets)))
    (slow, slow_packets), (fast, fast_packets) = runs
    check_same(slow, fast)
    check_same(fast, kernel_counting.count(mapping, encoded))
    assert np.array_equal(slow_packets, fast_packets)
    assert (slow.ticks, slow.timing) == (fast.ticks, fast.timing)
    assert np.array_equal(slow.finished, fast.finished)


def test_counts_with_the_fan_in_split():
    """Parts of a joined layer hear some of its sources, or part of one."""
    split = 0
    for seed in range(150):
        network = random_graph(seed)
        rng = np.random.default_rng([seed, 9])
        chip = dataclasses.replace(
            roomy(random_chip(rng)), axons_in=int(rng.integers(4, 24)), columns=30, rows=30
        )
        mapping = check_fit(network, chip).mapping
        if mapping is None or all(s.owns for s in mapping.slices):
            continue
        split += 1
        raw = random_samples(network, rng, 3)
        encoded = network.encode(raw)
        tally = reference_counting.count(mapping, encoded)
        check_tally(mapping, tally, run_oracle(network, raw))
        check_same(kernel_counting.count(mapping, encoded), tally)
        check_same(kernel_timed.timed(mapping, encoded), tally)
        if split == 1:
            check_same(reference_timed.timed(mapping, encoded), tally)
        if split == 6:
            return
    assert split >= 5


def test_estimated_packet_hops_are_those_of_a_run_in_which_all_fire():
    """``flows``, which placement uses, against the counts of a network whose neurons all fire."""
    for seed in range(40):
        network = random_graph(seed)
        if network.input.encoding == "bitplane":
            continue  # one spike a bit is what is expected there
        always = [
            dataclasses.replace(layer, thresholds=np.full_like(layer.thresholds, -(2**31)))
            if isinstance(layer, Threshold)
            else layer
            for layer in network.layers
        ]
        network = dataclasses.replace(network, layers=always)
        mapping = random_mapping(network, np.random.default_rng([seed, 5]))
        chip = dataclasses.replace(mapping.chip, sync="barrier")  # no tokens beside the spikes
        mapping = dataclasses.replace(mapping, chip=chip)
        ones = np.ones((1, network.input.size), np.int16)
        counted = kernel_counting.count(mapping, ones).counted
        hops = counted["hop_x"].sum() + counted["hop_y"].sum()
        assert mapping.packet_hops == hops


def ternary(channels):
    return Threshold(thresholds=np.tile([0, 1], (channels, 1)))


def small_unet(**changes):
    """input 1×4×4 → a (skip) → b (half size) → c hears a and b up-sampled → 1×1."""

    def ones(*shape):
        return np.ones(shape, int)

    layers = {
        "a": Conv2d(name="a", weights=ones(1, 1, 1, 1)),
        "ta": ternary(1),
        "b": Conv2d(name="b", weights=ones(1, 1, 2, 2), stride=2),
        "tb": ternary(1),
        "join": Concat(sources=("a", "b"), upsample=(1, 2)),
        "c": Conv2d(name="c", weights=ones(1, 2, 1, 1)),
        "tc": ternary(1),
        "out": Conv2d(name="out", weights=np.array([1, -1]).reshape(2, 1, 1, 1)),
        "end": Readout(),
    } | changes
    return Network(name="small", input=Input(shape=(1, 4, 4)), layers=[*layers.values()])


def test_a_spike_goes_once_to_each_core_that_hears_it():
    """One input spike, by hand: a fires one neuron, which b and c hear; b's stands for a square."""
    network = small_unet()
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    raw = np.zeros((1, 1, 4, 4), int)
    raw[0, 0, 1, 2] = 1
    counted = kernel_counting.count(mapping, network.encode(raw)).counted
    assert counted["spike_out"].tolist() == [[1, 1, 1, 4, 0]]  # input, a, b, c, out
    assert counted["packet_out"].tolist() == [[1, 2, 1, 4, 0]]  # a's spike to b and to c
    assert counted["spike_in"].tolist() == [[0, 1, 1, 2, 4]]
    assert counted["xnor_event"].tolist() == [[0, 1, 1, 5, 8]]  # c: 1 pixel of a, 4 of b
    run = nm.simulate(mapping, raw, mode="timed")
    assert run.predictions.shape == (1, 4, 4)
    assert run.accuracy(np.zeros((1, 4, 4), int)) == 1.0


def test_axons_are_the_neurons_heard_one_by_one():
    """An up-sampled neuron is one axon, in what a cut says it needs and in every slice."""
    seen = 0
    for seed in range(40):
        rng, network = np.random.default_rng([seed, 9]), random_graph(seed)
        chip = dataclasses.replace(
            roomy(random_chip(rng)), axons_in=int(rng.integers(12, 60)), columns=30, rows=30
        )
        fit = check_fit(network, chip)
        if fit.mapping is None:
            continue
        most = dict.fromkeys((stage.name for stage in network.stages), 0)
        for s in fit.mapping.slices:
            stage = network.stages[s.stage]
            heard = {
                (source.stage, channel, row // source.upsample, column // source.upsample)
                for source in stage.sources
                for channel in range(source.shape[0] if stage.joins else stage.input_shape[0])
                if s.inputs[0] <= source.first + channel < s.inputs[1]
                for row in range(*s.input_rows)
                for column in range(*s.input_columns)
            }
            assert axons_in(stage, s) == len(heard) <= chip.axons_in
            most[s.layer] = max(most[s.layer], len(heard))
            seen += stage.joins and s.input_rows != (0, stage.input_shape[1])
        needed = {x.where.split("'")[1]: x.needed for x in fit.limits if x.limit == "axons_in"}
        assert needed == most
    assert seen > 20  # slices of joined images cut by rows


def test_a_plain_sequence_needs_no_concat():
    """Naming the layer before changes nothing but the hash of what was written."""
    plain = small_unet(join=Flatten(), c=Linear(name="c", weights=np.ones((1, 4), int)))
    assert [[source.stage for source in s.sources] for s in plain.stages] == [[-1], [0], [1], [2]]
    assert not any(s.joins for s in plain.stages)
    assert any(s.joins for s in small_unet().stages)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"join": Concat(sources=("a", "d"))},
            "layer 'c' hears 'd', which does not come before it; what does is input, a, b",
        ),
        (
            {"join": Concat(sources=("a", "b"))},
            "layer 'c' joins 'a' of 4×4 and 'b' of 2×2; up-sample them to one size",
        ),
        (
            {"join": Concat(sources=("a", "b"), upsample=(1, 4))},
            "layer 'c' joins 'a' of 4×4 and 'b' of 2×2 up-sampled by 4; up-sample them to one size",
        ),
        (
            {
                "join": Concat(sources=("a",)),
                "c": Conv2d(name="c", weights=np.ones((1, 1, 1, 1), int)),
            },
            "layer 'b' is heard by no layer; name it in a Concat or leave it out",
        ),
        (
            {"tb": Concat(sources=("a",))},
            "layer 'b' must be followed by Threshold, Requantize or Readout, not Concat",
        ),
        (
            {"c": Flatten()},
            "after layer 'b', behind Concat, a Linear or Conv2d must follow, not Flatten",
        ),
        (
            {"c": Linear(name="c", weights=np.ones((1, 2), int))},
            "layer 'c' is linear but gets an image of shape [2, 4, 4]; put Flatten before it",
        ),
        (
            {"join": Concat(sources=("input", "b"), upsample=(2**14, 2**15))},
            "what arrives at layer 'c' has 8589934592 neurons; at most 2147483647 are possible",
        ),
    ],
)
def test_graphs_that_do_not_fit(changes, sentence):
    with pytest.raises(NetworkError) as error:
        small_unet(**changes)
    assert str(error.value) == sentence


def test_a_bitplane_input_joins_nothing():
    layers = small_unet(join=Concat(sources=("input", "b"), upsample=(1, 2))).layers
    entry = Input(shape=(1, 4, 4), encoding="bitplane", bits=3)
    with pytest.raises(NetworkError) as error:
        Network(name="x", input=entry, layers=layers)
    assert str(error.value) == (
        "layer 'c' joins a bitplane input of several bits with other layers; use ternary or "
        "graded input"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sources": ()}, "concat: sources are (); give the names of layers"),
        ({"sources": "a"}, "concat: sources are 'a'; give the names of layers"),
        ({"sources": ("a", "a")}, "concat: sources are ['a', 'a']; name each only once"),
        (
            {"sources": ("a", "b"), "upsample": (1,)},
            "concat: upsample is (1,); give 2 integers of 1 to 65536, one a source",
        ),
        (
            {"sources": ("a",), "upsample": (0,)},
            "concat: upsample is (0,); give 1 integers of 1 to 65536, one a source",
        ),
        (
            {"sources": ("a",), "upsample": (1.5,)},
            "concat: upsample is (1.5,); give 1 integers of 1 to 65536, one a source",
        ),
    ],
)
def test_concats_that_are_none(arguments, sentence):
    with pytest.raises(NetworkError) as error:
        Concat(**arguments)
    assert str(error.value) == sentence


def test_files_of_graphs_come_back_and_say_1_3(tmp_path):
    for seed in range(20):
        network = random_graph(seed)
        path = save_network(network, tmp_path / f"{seed}")
        assert load_network(path) == network
        assert b'"version":"1.3"' in path.read_bytes()[:400000]


def forged(tmp_path, change):
    """The file of ``small_unet`` with another header, its checksum made right."""
    path = save_network(small_unet(), tmp_path / "forged")
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    index = json.loads(data[8:start])
    about = index["__metadata__"]
    header = json.loads(about["network"])
    change(header["layers"][4])
    about["network"] = json.dumps(header)
    digest = hashlib.sha256(about["network"].encode())
    for name in sorted(key for key in index if key != "__metadata__"):
        first, last = index[name]["data_offsets"]
        digest.update(f"\n{name} {index[name]['shape']}\n".encode())
        digest.update(data[start + first : start + last])
    about["sha256"] = digest.hexdigest()
    text = json.dumps(index).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[start:])
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sources": []}, r"header is malformed: .*\$\.layers\[4\]\.sources"),
        ({"sources": ["a", 1]}, r"header is malformed: .*\$\.layers\[4\]\.sources"),
        ({"upsample": [1, -1]}, r"header is malformed: .*\$\.layers\[4\]\.upsample"),
        ({"upsample": [1, 2**16 + 1]}, r"header is malformed: .*\$\.layers\[4\]\.upsample"),
        ({"upsample": [1, 0]}, r"concat: upsample is \(1, 0\); give 2 integers"),
        ({"upsample": [1]}, r"concat: upsample is \(1,\); give 2 integers"),
        ({"sources": ["a", "a"]}, r"concat: sources are \['a', 'a'\]; name each only once"),
        ({"sources": ["a", "c"]}, r"layer 'c' hears 'c', which does not come before it"),
        ({"upsample": [1, 1]}, r"layer 'c' joins 'a' of 4×4 and 'b' of 2×2"),
        ({"sources": ["input", "a"]}, r"layer 'c' joins 'input' of 4×4 and 'a' of 4×4 up-sampled"),
        (
            {"sources": ["input", "a"], "upsample": [1, 1]},
            r"layer 'b' is heard by no layer; name it in a Concat or leave it out",
        ),
        ({"more": 1}, r"header is malformed: .*unknown field `more`"),
    ],
)
def test_a_forged_concat_is_refused(tmp_path, change, says):
    with pytest.raises(NetworkError, match=says):
        load_network(forged(tmp_path, lambda concat: concat.update(change)))
    assert load_network(forged(tmp_path, lambda concat: None)) == small_unet()


HEARS = "takes plain sequences of layers only; layer 'c' of network 'small' hears 'a', 'b'"
EVERY = "takes one class a sample only; network 'small' classifies every pixel"


def one_class_graph():
    """A graph that gives one class a sample."""
    layers = [
        *small_unet().layers[:-2],
        Flatten(),
        Linear(name="out", weights=np.ones((2, 16), int)),
        Readout(),
    ]
    return Network(name="small", input=Input(shape=(1, 4, 4)), layers=layers)


def image_sequence():
    """A plain sequence that classifies every pixel."""
    layers = [small_unet().layers[0], ternary(1), *small_unet().layers[-2:]]
    return Network(name="small", input=Input(shape=(1, 4, 4)), layers=layers)


@pytest.mark.parametrize(
    ("what", "refuse"),
    [("learning", lambda network: Plastic.of(network, Rule())), ("NIR export", to_nir)],
)
def test_what_cannot_take_a_graph_says_so(what, refuse):
    for network, why in ((one_class_graph(), HEARS), (image_sequence(), EVERY)):
        with pytest.raises(NetworkError) as error:
            refuse(network)
        assert str(error.value) == f"{what} {why}"


def test_labels_of_pixels():
    network = small_unet()
    mapping = map_network(network, roomy(nm.load_chip("gxnor45")))
    raw = np.ones((2, 1, 4, 4), int)
    run = nm.simulate(mapping, raw, labels=np.ones((2, 4, 4), int))
    assert run.outputs.shape == (2, 32)
    assert run.dice(run.predictions) == 1.0
    assert run.dice(1 - run.predictions) == 0.0
    with pytest.raises(nm.NeuromorphError) as error:
        run.accuracy([0, 1])
    assert str(error.value) == "labels are int64 of shape [2]; need 2 images of 4 × 4 integers"


def test_a_fan_in_is_split_into_the_fewest_parts():
    """Sources up-sampled by different factors: more parts may need more (seed 44: 6 did, 4 do)."""
    splits = 0
    for seed in [*range(30), 44]:
        chip = dataclasses.replace(roomy(nm.load_chip("gxnor45")), axons_in=14)
        for stage in random_graph(seed).stages:
            sizes = stage.output_shape[1:]
            runs = [partition._Runs(stage, axis, size) for axis, size in enumerate(sizes)]
            found = partition._split(stage, chip, [], *runs)
            if found is not None:
                counts = range(2, stage.input_shape[0] + 1)
                fits = [n for n in counts if partition._Needs(stage, chip, [], n).parts(*runs)]
                assert found.inputs == fits[0]
                splits += 1
    assert splits > 20
