"""Mapping: every limit is respected, every neuron has one core, every hop is counted.

The oracle (:class:`Wiring`) draws every single synapse of a network from its
layers as they were given, with loops, and counts sets; it shares no code with
``neuromorph.mapping``.  Not compared: whether a cut has the fewest possible
cores, which nobody claims.
"""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import neuromorph as nm
from networks import random_chip, random_network, roomy
from neuromorph.errors import MappingError
from neuromorph.levels import Levels
from neuromorph.mapping import check_fit, map_network
from neuromorph.mapping.partition import REMEDIES
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
)

# --- the oracle


class Wiring:
    """Every synapse of one layer: who is joined to whom, by which stored weight.

    ``weight`` and ``stored`` have shape (neurons, inputs): the level, and the
    number of the kernel entry, −1 where there is no synapse.  ``windows[o]``
    are the neurons behind output o.
    """

    def __init__(self, layer, shape):
        weights = layer.weights.astype(np.int64)
        if isinstance(layer, Linear):
            self.weight = weights
            self.stored = np.arange(weights.size).reshape(weights.shape)
            self.sums = (len(weights), 1, 1)
        else:
            self._convolve(layer, weights, shape)
        self.numbers = np.arange(int(np.prod(self.sums))).reshape(self.sums)
        self.windows = [{int(n)} for n in self.numbers.ravel()]
        self.outputs = self.sums
        self.bits = layer.n + 1 if layer.n else 1
        if layer.n > 1 and not (layer.weights == 2 ** (layer.n - 1)).any():
            self.bits -= 1  # two's complement

    def _convolve(self, layer, weights, shape):
        channels, height, width = shape
        out, _, kh, kw = weights.shape
        (sy, sx), (py, px), (dy, dx) = layer.stride, layer.padding, layer.dilation
        rows, columns = height + 2 * py - (kh - 1) * dy, width + 2 * px - (kw - 1) * dx
        self.sums = (out, (rows - 1) // sy + 1, (columns - 1) // sx + 1)
        entries = np.arange(weights.size).reshape(weights.shape)
        self.weight = np.zeros((*self.sums, channels, height, width), np.int64)
        self.stored = np.full(self.weight.shape, -1)
        for y in range(self.sums[1]):
            for x in range(self.sums[2]):
                for ky in range(kh):
                    for kx in range(kw):
                        at_y, at_x = y * sy - py + ky * dy, x * sx - px + kx * dx
                        if 0 <= at_y < height and 0 <= at_x < width:
                            self.weight[:, y, x, :, at_y, at_x] = weights[:, :, ky, kx]
                            self.stored[:, y, x, :, at_y, at_x] = entries[:, :, ky, kx]
        self.weight = self.weight.reshape(int(np.prod(self.sums)), -1)
        self.stored = self.stored.reshape(self.weight.shape)

    def pool(self, layer):
        (wy, wx), (sy, sx) = layer.size, layer.stride
        channels, height, width = self.sums
        self.outputs = (channels, (height - wy) // sy + 1, (width - wx) // sx + 1)
        self.windows = [
            set(self.numbers[c, y * sy : y * sy + wy, x * sx : x * sx + wx].ravel().tolist())
            for c in range(channels)
            for y in range(self.outputs[1])
            for x in range(self.outputs[2])
        ]


def wire(network):
    """Wiring of every weighted layer, from the layers alone."""
    now = network.input.shape if len(network.input.shape) == 3 else (*network.input.shape, 1, 1)
    found = []
    for layer in network.layers:
        if isinstance(layer, (Linear, Conv2d)):
            found.append(Wiring(layer, now))
        elif isinstance(layer, MaxPool2d):
            found[-1].pool(layer)
        if found:
            now = found[-1].outputs
        if isinstance(layer, Flatten):
            now = (int(np.prod(now)), 1, 1)
            if found:
                found[-1].outputs = now
    return found


def boxes(mapping, wirings):
    """For each slice: (layer, set of neurons, set of outputs)."""
    result = []
    for s in mapping.slices:
        w = wirings[s.stage]
        shape = mapping.network.stages[s.stage].output_shape
        outputs = np.arange(int(np.prod(shape))).reshape(shape)
        neurons = w.numbers[slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)]
        sent = outputs[slice(*s.channels), slice(*s.rows), slice(*s.columns)]
        result.append((s.stage, set(neurons.ravel().tolist()), set(sent.ravel().tolist())))
    return result


def channels_of(stage, heard):
    """Flat numbers of the input neurons of some channels."""
    numbers = np.arange(stage.inputs).reshape(stage.input_shape)
    return numbers[slice(*heard)].ravel()


def check_mapping(mapping):
    """Everything a mapping promises, counted one by one."""
    network, chip = mapping.network, mapping.chip
    wirings = wire(network)
    slices = boxes(mapping, wirings)
    cores = [s.core for s in mapping.slices]
    assert len(set(cores)) == len(cores), "a core holds two slices"
    assert all(0 <= c < chip.cores for c in cores)
    assert mapping.cores_used == len(cores) <= chip.cores

    for index, w in enumerate(wirings):
        mine = [
            (n, o) for (stage, n, o), s in zip(slices, mapping.slices) if stage == index and s.owns
        ]
        assert sorted(x for n, _ in mine for x in n) == list(range(w.numbers.size)), "neurons"
        assert sorted(x for _, o in mine for x in o) == list(range(len(w.windows))), "outputs"
        for neurons, outputs in mine:
            for output in outputs:
                assert w.windows[output] <= neurons, "a pool window is cut in two"

    fan_in, joins = [], []  # of each slice: the input neurons it hears, the synapses it holds
    held = [np.zeros(w.stored.shape, int) for w in wirings]
    for (stage, neurons, _), s in zip(slices, mapping.slices):
        joined = wirings[stage].stored[sorted(neurons)] >= 0
        joined &= np.isin(np.arange(joined.shape[1]), channels_of(network.stages[stage], s.inputs))
        held[stage][sorted(neurons)] += joined
        joins.append(joined)
        fan_in.append(set(np.flatnonzero(joined.any(axis=0)).tolist()))
    for w, times in zip(wirings, held):
        assert np.array_equal(times, w.stored >= 0), "a synapse twice or not at all"

    maximum = network.input.maximum
    largest = []
    for w, stage in zip(wirings, network.stages):
        largest.append(int(np.abs(w.weight).sum(axis=1).max()) * maximum)
        maximum = Levels(stage.levels.n).maximum if stage.levels else 0

    hops = 0
    for number, (stage, neurons, outputs) in enumerate(slices):
        w = wirings[stage]
        assert len(neurons) <= chip.neurons
        assert len(fan_in[number]) <= chip.axons_in
        stored = w.stored[sorted(neurons)]
        present = stored[
            joins[number] & ((w.weight[sorted(neurons)] != 0) | (chip.storage == "dense"))
        ]
        words = len(set(present.tolist())) if chip.kernels == "shared" else len(present)
        assert words * (w.bits + chip.index_bits) <= chip.synapse_bits
        assert largest[stage] <= 2 ** (chip.accumulator_bits - 1) - 1
        here = chip.tile(cores[number])
        edges = 0
        if not mapping.slices[number].owns:  # to its owner and nobody else
            owner = int(mapping.owners[number + 1]) - 1
            assert slices[owner] == slices[number]
            there = chip.tile(cores[owner])
            edges = len(neurons)
            hops += edges * (abs(here[0] - there[0]) + abs(here[1] - there[1]))
            assert len(neurons) <= chip.axons_out
            outputs = set()
        for other, (next_stage, _, _) in enumerate(slices):
            if next_stage == stage + 1:
                shared = len(outputs & fan_in[other])
                edges += shared
                there = chip.tile(cores[other])
                hops += shared * (abs(here[0] - there[0]) + abs(here[1] - there[1]))
        assert edges <= chip.axons_out
        if stage == 0:
            hops += len(fan_in[number]) * sum(here) * network.input.spikes_per_neuron
    assert mapping.packet_hops == hops


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150)
@given(SEEDS)
@example(6)  # the pool leaves neurons that no window covers
@example(57)  # a stride beyond the kernel leaves inputs that nobody hears
def test_every_limit_is_respected(seed):
    network, rng = random_network(seed), np.random.default_rng([seed, 5])
    fitting = 0
    for _ in range(3):
        fit = check_fit(network, random_chip(rng))
        assert (fit.mapping is not None) == fit.fits == all(m.fits for m in fit.limits)
        if fit.mapping is not None:
            fitting += 1
            check_mapping(fit.mapping)
    if not fitting:
        check_mapping(map_network(network, roomy(random_chip(rng))))


def test_the_random_chips_do_cut_layers():
    """The property above is not vacuous: layers are cut along every axis."""
    cut = {"channels": 0, "rows": 0, "columns": 0, "inputs": 0}
    refused = set()
    for seed in range(220):
        network, rng = random_network(seed), np.random.default_rng([seed, 5])
        fit = check_fit(network, random_chip(rng))
        refused |= {m.limit for m in fit.limits if not m.fits}
        for s in fit.mapping.slices if fit.mapping else ():
            stage = network.stages[s.stage]
            for axis, size in zip(cut, (*stage.output_shape, stage.input_shape[0])):
                cut[axis] += getattr(s, axis) != (0, size)
    assert min(cut.values()) > 20, cut
    # not among the random chips: a kernel beyond a memory, levels that no packet holds, ...
    rare = {"synapse_bits", "partial_sum_bits", "weight_bits", "ways"}
    assert refused == {*REMEDIES} - rare, refused


@pytest.mark.parametrize("name", ["digits-gxnor", "mnist-mlp-gxnor"])
@pytest.mark.parametrize("chip", ["gxnor45", "loihi14"])
def test_shipped_networks_fit_the_presets(name, chip):
    check_mapping(map_network(nm.load_network(name), nm.load_chip(chip)))


# --- one limit at a time


def threshold(channels):
    return Threshold(thresholds=np.tile([0, 1], (channels, 1)))


def mlp(*sizes, n=1):
    """Linear layers of ones: every number about it is plain."""
    layers = []
    for i, (fan_in, out) in enumerate(pairwise(sizes)):
        layers += [Linear(name=f"fc{i + 1}", weights=np.ones((out, fan_in), int), n=n)]
        layers += [threshold(out)] if i < len(sizes) - 2 else [Readout()]
    return Network(name="net", input=Input(shape=sizes[:1]), layers=layers)


def wide_kernel(n=1, between=False):
    """One channel, a window of sixteen; ``between``: behind another layer."""
    before = [Conv2d(name="first", weights=np.ones((1, 1, 1, 1), int)), threshold(1)]
    return Network(
        name="net",
        input=Input(shape=(1, 4, 4)),
        layers=[
            *(before if between else []),
            Conv2d(name="conv", weights=np.ones((2, 1, 4, 4), int), n=n),
            threshold(2),
            Flatten(),
            Linear(name="out", weights=np.ones((2, 2), int)),
            Readout(),
        ],
    )


def pooled(size, stride=None):
    """A convolution of four by four neurons in three channels, pooled."""
    pool = MaxPool2d(size=size, stride=stride)
    outputs = 3 * np.prod([(4 - w) // s + 1 for w, s in zip(pool.size, pool.stride)])
    return Network(
        name="net",
        input=Input(shape=(2, 4, 4)),
        layers=[
            Conv2d(name="conv", weights=np.ones((3, 2, 1, 1), int)),
            threshold(3),
            pool,
            Flatten(),
            Linear(name="out", weights=np.ones((2, outputs), int)),
            Readout(),
        ],
    )


def chip(**limits):
    """A roomy chip but for the limits given."""
    return dataclasses.replace(roomy(nm.load_chip("gxnor45")), **limits)


@pytest.mark.parametrize(
    ("network", "limits", "says"),
    [
        (
            pooled((2, 2)),
            {"neurons": 3},
            "layer 'conv', smallest possible part needs 4 neurons, 3 available; "
            "use a chip with more neurons a core, or a pool with smaller, separate windows",
        ),
        (
            pooled((3, 3), (1, 1)),
            {"neurons": 15},
            "layer 'conv', smallest possible part needs 16 neurons, 15 available; "
            "use a chip with more neurons a core, or a pool with smaller, separate windows",
        ),
        (
            wide_kernel(),  # one channel, which is not cut
            {"axons_in": 15},
            "layer 'conv', smallest possible part needs 16 axons_in, 15 available; "
            "use a chip with more input axons, or a layer with a smaller fan-in",
        ),
        (
            mlp(6, 4, 40),  # 40 neurons on cores of 8: each output has five destinations
            {"neurons": 8, "axons_out": 4},
            "layer 'fc1', smallest possible part needs 5 axons_out, 4 available; "
            "use a chip with more output axons, or larger cores in the next layer",
        ),
        (
            wide_kernel(),  # two bits a ternary weight
            {"synapse_bits": 31},
            "layer 'conv', smallest possible part needs 32 synapse_bits, 31 available; "
            "use a chip with more synapse memory, a smaller fan-in, or fewer weight levels",
        ),
        (
            wide_kernel(n=3),  # three bits a weight of Z_3 below +4
            {"synapse_bits": 47},
            "layer 'conv', smallest possible part needs 48 synapse_bits, 47 available; "
            "use a chip with more synapse memory, a smaller fan-in, or fewer weight levels",
        ),
        (
            mlp(300, 5, 2),  # sums from −300 to 300: nine bits and a sign
            {"accumulator_bits": 9},
            "layer 'fc1' needs 10 accumulator_bits, 9 available; "
            "use a chip with wider accumulators, a smaller fan-in, or fewer levels",
        ),
        (
            mlp(6, 4, n=3),  # levels up to ±3 on a chip for three levels
            {"weight_bits": 2},
            "layer 'fc1' needs 3 weight_bits, 2 available; "
            "use a chip with wider weights, or a network of fewer weight levels",
        ),
        (
            mlp(6, 40, 2),  # five cores of eight and one
            {"neurons": 8, "columns": 5, "rows": 1},
            "whole network needs 6 cores, 5 available; "
            "use a larger mesh or larger cores, several chips ([board]), or a smaller network",
        ),
    ],
    ids=["neurons", "neurons-overlap", "axons_in", "axons_out", "synapse_bits", "synapse_bits-z3",
         "accumulator_bits", "weight_bits", "cores"],
)  # fmt: skip
def test_each_limit_in_its_sentence(network, limits, says):
    tight = chip(**limits)
    with pytest.raises(MappingError) as caught:
        map_network(network, tight)
    assert str(caught.value) == f"network 'net' does not fit chip 'gxnor45': {says}"
    limit = says.split(" needs ")[1].split()[1].rstrip(",")
    # as much as is said to be missing, and it fits
    needed = int(says.split(" needs ")[1].split()[0].replace(",", ""))
    more = {"columns": needed} if limit == "cores" else {limit: needed}
    check_mapping(map_network(network, dataclasses.replace(tight, **more)))


def test_the_sum_that_an_accumulator_must_hold():
    """255 = 2**8 − 1 needs eight bits and a sign; 256 one more."""
    needed = {
        fan_in: next(
            m.needed
            for m in check_fit(mlp(fan_in, 2), chip()).limits
            if m.limit == "accumulator_bits"
        )
        for fan_in in (127, 128, 255, 256)
    }
    assert needed == {127: 8, 128: 9, 255: 9, 256: 10}


def test_sparse_storage_counts_what_is_stored():
    weights = np.zeros((2, 100), int)
    weights[0, :30], weights[1, :7] = 1, -1
    network = Network(
        name="net",
        input=Input(shape=(100,)),
        layers=[Linear(name="out", weights=weights), Readout()],
    )
    sparse = chip(storage="sparse", index_bits=6, synapse_bits=(30 + 7) * (2 + 6), neurons=2)
    assert map_network(network, sparse).cores_used == 1
    assert (
        map_network(network, dataclasses.replace(sparse, synapse_bits=37 * 8 - 1)).cores_used == 2
    )
    # 25 of its inputs take 200 bits: the fan-in goes over four cores
    split = map_network(network, dataclasses.replace(sparse, synapse_bits=239))
    assert {s.inputs for s in split.slices} == {(0, 25), (25, 50), (50, 75), (75, 100)}


def test_uneven_channels_are_cut_by_what_they_store():
    """Thirty, thirty, seven, seven weights of eight bits: two cores would hold sixty on one."""
    weights = np.zeros((4, 100), int)
    for channel, stored in enumerate((30, 30, 7, 7)):
        weights[channel, :stored] = 1
    network = Network(
        name="net",
        input=Input(shape=(100,)),
        layers=[Linear(name="out", weights=weights), Readout()],
    )
    for words, cores in ((74, 1), (60, 2), (59, 3), (30, 3)):
        target = chip(storage="sparse", index_bits=6, synapse_bits=8 * words)
        assert map_network(network, target).cores_used == cores


def test_unrolled_kernels_are_stored_again_for_every_neuron():
    network = pooled((1, 1))  # 3 × 4 × 4 neurons of two synapses

    def need(kernels):
        limits = check_fit(network, chip(kernels=kernels)).limits
        return next(m.needed for m in limits if m.limit == "synapse_bits" and "conv" in m.where)

    assert need("shared") == 3 * 2 * 2
    assert need("unrolled") == 3 * 16 * 2 * 2


# --- dry run


def test_dry_run_says_all_that_does_not_fit():
    tight = chip(axons_in=15, synapse_bits=31, accumulator_bits=5)
    fit = check_fit(wide_kernel(), tight)
    assert not fit.fits
    assert fit.mapping is None
    broken = [(m.limit, m.needed, m.available) for m in fit.limits if not m.fits]
    assert broken == [
        ("axons_in", 16, 15),
        ("synapse_bits", 32, 31),
        ("accumulator_bits", 6, 5),
    ]
    text = str(fit)
    assert text.startswith("net does not fit gxnor45\n")
    assert text.count(" NO\n") == 3
    for m in fit.limits:
        assert (f"{m.where}: {m.limit}: {m.remedy}" in text) == (not m.fits)
    with pytest.raises(MappingError, match=r"15 available \(and 2 more limits; see a dry run\); "):
        map_network(wide_kernel(), tight)


def test_dry_run_claims_nothing_that_hangs_on_a_layer_that_cannot_be_cut():
    fit = check_fit(wide_kernel(between=True), chip(axons_in=15))
    assert [m.where for m in fit.limits if not m.fits] == ["layer 'conv', smallest possible part"]
    known = {(m.where.split("'")[1], m.limit) for m in fit.limits if m.limit == "axons_out"}
    assert known == {("conv", "axons_out"), ("out", "axons_out")}
    assert fit.limits[-1].where == "layers that can be cut"
    assert fit.limits[-1].needed == 3


def test_dry_run_of_what_fits():
    fit = check_fit(mlp(6, 4, 2), chip())
    assert fit.fits
    assert fit.mapping is not None
    assert fit.mapping.limits == fit.limits
    wanted = {
        ("layer 'fc1', largest part", "neurons"): 4,
        ("layer 'fc1', largest part", "axons_in"): 6,
        ("layer 'fc1', largest part", "axons_out"): 4,
        ("layer 'fc1', largest part", "synapse_bits"): 6 * 4 * 2,
        ("layer 'fc1'", "accumulator_bits"): 4,  # −6 … 6
        ("layer 'fc2', largest part", "neurons"): 2,
        ("layer 'fc2', largest part", "axons_in"): 4,
        ("layer 'fc2', largest part", "axons_out"): 0,
        ("layer 'fc2', largest part", "synapse_bits"): 4 * 2 * 2,
        ("layer 'fc2'", "accumulator_bits"): 4,  # −4 … 4: four takes three bits and a sign
        ("whole network", "cores"): 2,
    }
    assert {(m.where, m.limit): m.needed for m in fit.limits} == wanted
    assert str(fit).startswith("net fits gxnor45\n")


# --- placement and tables


def test_tokens_and_input_in_packet_hops_by_hand():
    """Two cores in a row: the port at (0, 0) sends six inputs no hop, four neurons one hop each."""
    mapping = map_network(mlp(6, 4, 2), chip())
    assert [chip().tile(s.core) for s in mapping.slices] == [(0, 0), (1, 0)]
    assert mapping.packet_hops == 6 * 0 + 4 * 1


def test_bitplane_input_sends_a_spike_a_bit():
    layers = [Linear(name="out", weights=np.ones((2, 6), int)), Readout()]
    networks = [
        Network(name="net", input=Input(shape=(6,), encoding=e, bits=5), layers=layers)
        for e in ("graded", "bitplane")
    ]
    graded, planes = (map_network(n, chip(neurons=1)) for n in networks)
    assert graded.pairs.tolist() == [0, 6, 6]
    assert planes.pairs.tolist() == [0, 30, 30]
    assert planes.packet_hops == 5 * graded.packet_hops == 5 * 6


def test_summary_and_repr():
    mapping = map_network(mlp(6, 4, 2), chip(neurons=4))
    assert mapping.summary() == str(mapping)
    assert mapping.summary().splitlines() == [
        "net on gxnor45: 2 of 64 cores, 4 packet-hops if every neuron spikes",
        "layer  core  tile  channels  rows×columns   neurons  axons in",
        "-----  ----  ----  --------  ------------  --------  --------",
        "fc1       0   0,0       0:4       0:1×0:1  4 (100%)         6",
        "fc2       1   1,0       0:2       0:1×0:1   2 (50%)         4",
    ]
    assert repr(mapping) == "<Mapping of 'net' on gxnor45: 2 of 64 cores>"


def test_tables_of_a_mapping():
    mapping = map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    assert mapping.row_layers == ("input", "conv1", "conv1", "conv2", "conv2", "fc3", "output")
    assert mapping.row_cores.tolist() == [-1, *(s.core for s in mapping.slices)]
    assert mapping.stage_rows == ((1, 2), (3, 4), (5,), (6,))
    assert mapping.tiles[0].tolist() == [0, 0]
    pairs = dict.fromkeys(mapping.row_layers, 0)
    for layer, number in zip(mapping.row_layers, mapping.pairs.tolist()):
        pairs[layer] += number
    assert pairs == {"input": 0, **{s.name: s.synapses for s in mapping.network.stages}}


def test_mapping_is_the_same_every_time():
    network, target = nm.load_network("mnist-mlp-gxnor"), nm.load_chip("loihi14")
    assert map_network(network, target).slices == map_network(network, target).slices
