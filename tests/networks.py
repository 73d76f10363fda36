"""Random networks, samples and chips, and an oracle for them that shares no code with us.

Everything follows from a seed.  The oracle walks the layers as they were
given, in the order of training (a pool before the threshold acts on sums), so
it also checks how ``Network`` lowers them; its sums come from NumPy's sliding
windows or, where torch is installed, from torch in float64.  Both are exact:
no sum here comes near 2**53.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import neuromorph as nm
from neuromorph.levels import Levels
from neuromorph.mapping import COUNTED, Mapping, Tally, check_fit, map_network
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Requantize,
    Threshold,
)

# --- networks


def random_levels(rng, n, shape, density=1.0):
    """Uniform levels of Z_n, of which about ``density`` are kept and the rest rest."""
    space = Levels(n)
    levels = rng.choice(space.levels, size=shape)
    if space.has_zero:
        levels = np.where(rng.random(shape) < density, levels, 0)
    return levels.astype(space.dtype)


def random_threshold(rng, channels, n):
    """Thresholds small enough to be met exactly, both directions, some channels constant."""
    steps, reach = Levels(n).size - 1, int(rng.integers(1, 13))
    thresholds = np.sort(rng.integers(-reach, reach + 1, (channels, steps)), axis=1)
    for channel in np.flatnonzero(rng.random(channels) < 0.15):
        always = int(rng.integers(0, steps + 1))
        thresholds[channel, :always] = THRESHOLD_MIN
        thresholds[channel, always:] = THRESHOLD_MAX
    return Threshold(thresholds=thresholds, directions=rng.choice([-1, 1], channels), n=n)


def _space(rng):
    return 8 if rng.random() < 0.04 else int(rng.integers(0, 4))


def _density(rng):
    return float(rng.choice([0.0, 0.1, 0.5, 1.0], p=[0.08, 0.22, 0.4, 0.3]))


def _conv(rng, name, channels, size):
    """A convolution of an image of ``size`` with all that is allowed, and the size it gives."""
    kernel = [int(rng.integers(1, 4)) for _ in size]
    padding = [int(rng.integers(0, k)) for k in kernel]
    kernel = [min(k, s + 2 * p) for k, s, p in zip(kernel, size, padding)]
    padding = [min(p, k - 1) for k, p in zip(kernel, padding)]
    stride = [int(rng.integers(1, 4)) for _ in size]
    (apart,) = rng.spawn(1)
    dilation = [int(apart.choice([1, 1, 2, 3])) for _ in size]
    dilation = [d if (k - 1) * d < s else 1 for k, d, s in zip(kernel, dilation, size)]
    padding = [max(0, p * d - int(apart.integers(0, d))) for p, d in zip(padding, dilation)]
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    out = int(rng.integers(1, 6))
    n = _space(rng)
    weights = random_levels(rng, n, (out, channels, *kernel), _density(rng))
    layer = Conv2d(
        name=name, weights=weights, n=n, stride=stride, padding=padding, dilation=dilation
    )
    after = [(s + 2 * p - e) // t + 1 for s, p, e, t in zip(size, padding, extent, stride)]
    return layer, (out, *after)


def _pool(rng, size):
    window = [int(rng.integers(1, min(3, s) + 1)) for s in size]
    stride = [int(rng.integers(1, 4)) for _ in size]
    after = [(s - w) // t + 1 for s, w, t in zip(size, window, stride)]
    return MaxPool2d(size=window, stride=stride), after


def random_network(seed):
    """A network of one to five weighted layers, images and vectors, all that is allowed."""
    rng = np.random.default_rng(seed)
    encoding = str(rng.choice(["ternary", "bitplane", "graded"]))
    if rng.random() < 0.7:
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    else:
        shape = (int(rng.choice([1, 2, 17, 40, 63, 64, 65, 80])),)
    bits = 12 if rng.random() < 0.1 else int(rng.integers(1, 6))
    layers: list[Any] = []
    now = shape
    images = int(rng.integers(0, 3)) if len(shape) == 1 else int(rng.integers(1, 4))
    for i in range(images):
        channels, *size = now if len(now) == 3 else (now[0], 1, 1)
        conv, now = _conv(rng, f"conv{i}", channels, size)
        threshold = random_threshold(rng, now[0], _space(rng))
        layers.append(conv)
        kind = rng.choice(["none", "before", "after"], p=[0.4, 0.3, 0.3])
        if kind == "none":
            layers.append(threshold)
            continue
        pool, after = _pool(rng, now[1:])
        now = (now[0], *after)
        layers += [pool, threshold] if kind == "before" else [threshold, pool]
    if len(now) == 3 and (now[1:] != (1, 1) or rng.random() < 0.5):
        layers.append(Flatten())
        now = (int(np.prod(now)),)
    for i in range(int(rng.integers(0, 3))):
        n, out = _space(rng), int(rng.choice([1, 2, 7, 64, 70]))
        weights = random_levels(rng, n, (out, now[0]), _density(rng))
        layers += [
            Linear(name=f"linear{i}", weights=weights, n=n),
            random_threshold(rng, out, _space(rng)),
        ]
        now = (out,)
    n, classes = _space(rng), int(rng.integers(1, 11))
    weights = random_levels(rng, n, (classes, now[0]), _density(rng))
    if rng.random() < 0.2:
        layers.append(Conv2d(name="output", weights=weights[:, :, None, None], n=n))
    else:
        layers.append(Linear(name="output", weights=weights, n=n))
    affine = rng.random() < 0.5
    layers.append(
        Readout(
            scale=rng.normal(size=classes) if affine else None,
            offset=rng.normal(size=classes) if affine else None,
        )
    )
    thresholds = (-3, 4) if encoding == "ternary" and rng.random() < 0.3 else None
    entry = Input(shape=shape, encoding=encoding, bits=bits, thresholds=thresholds)
    return Network(name=f"random-{seed}", input=entry, layers=layers)


def random_graph(seed):
    """An image network of skips, concats, up-sampling, strides and pools, all that is allowed.

    Its last layer is mostly a 1×1 convolution that classifies every pixel.
    """
    rng = np.random.default_rng([seed, 77])
    encoding = str(rng.choice(["ternary", "bitplane", "graded"]))
    size = [int(s) for s in rng.integers(2, 9, 2)]
    bits = 1 if encoding == "bitplane" and rng.random() < 0.5 else int(rng.integers(1, 5))
    entry = Input(shape=(int(rng.integers(1, 4)), *size), encoding=encoding, bits=bits)
    known = {"input": entry.shape}
    unheard, layers = ["input"], []
    count = int(rng.integers(2, 7))

    def hear(wanted):
        """Names that fit together at one size, up-sampled; ``wanted`` among them if it fits."""
        first = wanted or str(rng.choice(list(known)))
        factor = int(rng.choice([1, 1, 2, 3])) if max(known[first][1:]) < 9 else 1
        goal = [s * factor for s in known[first][1:]]
        sources, factors = [first], [factor]
        mixes = encoding != "bitplane" or bits == 1
        for name in rng.permutation(list(known)):
            by = [g // s for g, s in zip(goal, known[name][1:])]
            fits = by[0] == by[1] and [s * by[0] for s in known[name][1:]] == goal
            allowed = name != first and (mixes or "input" not in (name, first))
            if fits and allowed and rng.random() < 0.6:
                sources.append(str(name))
                factors.append(by[0])
        order = rng.permutation(len(sources))
        shape = (sum(known[n][0] for n in sources), *goal)
        return Concat(
            sources=[sources[i] for i in order], upsample=[factors[i] for i in order]
        ), shape

    def join(wanted):
        concat, shape = hear(wanted)
        layers.append(concat)
        unheard[:] = [name for name in unheard if name not in concat.sources]
        return shape

    while len(known) <= count or unheard != [list(known)[-1]]:
        shape = join(unheard[0] if len(known) > count else None)
        name = f"conv{len(known)}"
        conv, now = _conv(rng, name, shape[0], shape[1:])
        layers.append(conv)
        threshold = random_threshold(rng, now[0], _space(rng))
        kind = rng.choice(["none", "before", "after"], p=[0.6, 0.2, 0.2])
        if kind == "none":
            layers.append(threshold)
        else:
            pool, after = _pool(rng, now[1:])
            now = (now[0], *after)
            layers += [pool, threshold] if kind == "before" else [threshold, pool]
        known[name] = now
        unheard.append(name)
    if rng.random() < 0.8:
        shape = join(unheard[0])
        n, classes = _space(rng), int(rng.integers(1, 4))
        weights = random_levels(rng, n, (classes, shape[0], 1, 1), _density(rng))
        layers.append(Conv2d(name="output", weights=weights, n=n))
    else:
        shape, n, classes = (int(np.prod(now)),), 1, 4
        weights = random_levels(rng, n, (classes, *shape), _density(rng))
        layers += [Flatten(), Linear(name="output", weights=weights, n=n)]
    affine = rng.normal(size=(2, classes))
    layers.append(Readout(scale=affine[0], offset=affine[1]))
    return Network(name=f"graph-{seed}", input=entry, layers=layers)


def random_fixed(seed):
    """A random network of which most layers are of fixed point, of 2 to 16 bits a number."""
    source = random_network(seed) if seed % 3 else random_graph(seed)
    rng = np.random.default_rng([seed, 52])
    highest = {"input": source.input.maximum}  # largest level that leaves
    layers, before, arriving = [], "input", ("input",)
    for layer in source.layers:
        if isinstance(layer, Concat):
            arriving = layer.sources
        elif isinstance(layer, (Linear, Conv2d)):
            if rng.random() < 0.8:
                n = int(rng.choice([2, 5, 8, 9, 12, 15, 16, 16, 16]))
                weights = random_levels(rng, n, layer.weights.shape, _density(rng))
                layer = dataclasses.replace(layer, weights=weights, n=n)
            reach = np.abs(layer.weights.astype(np.int64)).reshape(len(layer.weights), -1)
            largest = int(reach.sum(axis=1).max()) * max(highest[name] for name in arriving)
            before, arriving = layer.name, (layer.name,)
        elif isinstance(layer, Threshold):
            if largest > 2**30 or rng.random() < 0.8:
                layer = random_requantize(rng, len(layer.directions), largest)
                highest[before] = max(abs(level) for level in layer.limits)
            else:
                highest[before] = Levels(layer.n).maximum
        layers.append(layer)
    return Network(name=f"fixed-{seed}", input=source.input, layers=layers)


def random_requantize(rng, channels, largest):
    """Offsets and a shift by which sums up to ``largest`` give many levels, halves among them."""
    n = int(rng.choice([1, 2, 5, 8, 9, 12, 15, 16, 16, 16]))
    top = int(rng.integers(1, Levels(n).maximum + 1))
    low = int(rng.choice([0, -top, -int(rng.integers(0, top + 1))]))
    spread = max(1, largest // int(rng.choice([1, 3, 10, 50])))
    shift = max(0, (spread // top).bit_length() - int(rng.integers(0, 3)))
    offsets = rng.integers(-spread, spread + 1, channels) // 2 + (1 << shift >> 1)
    directions = rng.choice([-1, 1], channels)
    return Requantize(offsets=offsets, shift=shift, limits=(low, top), directions=directions, n=n)


def random_samples(network, rng, batch):
    """Raw samples over the whole range of the input; the first one is empty."""
    i = network.input
    low, high = (-9, 9) if i.thresholds else (-i.maximum, i.maximum)
    low = 0 if i.encoding == "bitplane" else low
    raw = rng.integers(low, high + 1, (batch, *i.shape))
    raw = np.where(rng.random(raw.shape) < rng.choice([0.0, 0.1, 0.6, 1.0]), raw, 0)
    raw[:1] = 0
    return raw


# --- chips


def random_chip(rng):
    """A preset with other limits, times and mesh; small enough to cut layers into pieces."""
    chip = nm.load_chip(str(rng.choice(["gxnor45", "loihi14"])))
    times = [
        *("axon_ticks", "synapse_ticks", "neuron_ticks", "spike_ticks", "hop_x_ticks"),
        *("hop_y_ticks", "hop_local_ticks", "link_ticks", "inject_ticks", "barrier_ticks"),
    ]
    storage = str(rng.choice(["dense", "sparse"]))
    return dataclasses.replace(
        chip,
        columns=int(rng.integers(1, 13)),
        rows=int(rng.integers(1, 13)),
        cores_per_tile=int(rng.integers(1, 4)),
        neurons=int(rng.choice([8, 30, 100, 400])),
        synapse_bits=int(rng.choice([200, 2000, 10**9])),
        axons_in=int(rng.choice([20, 64, 200, 10**6])),
        axons_out=int(rng.choice([50, 500, 10**6])),
        accumulator_bits=int(rng.choice([12, 24, 32])),
        storage=storage,
        index_bits=0 if storage == "dense" else int(rng.integers(0, 8)),
        kernels=str(rng.choice(["shared", "unrolled"])),
        sync=str(rng.choice(["token", "barrier"])),
        frames_in_flight=int(rng.integers(1, 5)),
        synapse_lanes=int(rng.integers(1, 40)),
        neuron_lanes=int(rng.integers(1, 9)),
        **{key: int(rng.integers(0, 5)) for key in times},
    )


def roomy(chip):
    """The same chip with limits no random network reaches."""
    return dataclasses.replace(
        chip,
        **dict.fromkeys(("neurons", "synapse_bits", "axons_in", "axons_out"), 10**9),
        accumulator_bits=64,
        columns=8,
        rows=8,
    )


def random_mapping(network, rng, *, tries=8):
    """The network on a random chip that holds it undivided; on a roomy one if none did.

    Fan-in over several cores has tests of its own (``test_splitting.py``).
    """
    for _ in range(tries):
        chip = random_chip(rng)
        mapping = check_fit(network, chip).mapping
        if mapping is not None and all(s.owns for s in mapping.slices):
            return mapping
    return map_network(network, roomy(chip))


# --- the oracle


class NumpySums:
    """Sums by sliding windows, int64."""

    @staticmethod
    def conv(image, weights, stride, padding, dilation):
        (py, px), (sy, sx), (dy, dx) = padding, stride, dilation
        padded = np.pad(image, ((0, 0), (0, 0), (py, py), (px, px)))
        extent = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilation)]
        seen = sliding_window_view(padded, extent, axis=(2, 3))[:, :, ::sy, ::sx, ::dy, ::dx]
        return np.einsum("bcyxkl,ockl->boyx", seen, weights, optimize=True)

    @staticmethod
    def linear(vector, weights):
        return vector @ weights.T

    @staticmethod
    def pool(image, size, stride):
        seen = sliding_window_view(image, size, axis=(2, 3))
        return seen[:, :, :: stride[0], :: stride[1]].max(axis=(4, 5))


class TorchSums:
    """Sums by torch in float64, back to integers."""

    def __init__(self):
        import torch

        self.torch, self.f = torch, torch.nn.functional

    def _run(self, function, *arrays, **options):
        tensors = (self.torch.from_numpy(np.ascontiguousarray(a, np.float64)) for a in arrays)
        return function(*tensors, **options).numpy().astype(np.int64)

    def conv(self, image, weights, stride, padding, dilation):
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        return self._run(self.f.conv2d, image, weights, **options)

    def linear(self, vector, weights):
        return self._run(self.f.linear, vector, weights)

    def pool(self, image, size, stride):
        return self._run(self.f.max_pool2d, image, kernel_size=size, stride=stride)


@dataclass(kw_only=True)
class Layer:
    """What the oracle says about one weighted layer; arrays (batch, neurons)."""

    name: str
    sums: NDArray[np.int64]
    events: NDArray[np.int64]
    xnor: NDArray[np.int64]
    fetched: NDArray[np.int64]  # pairs with a spike, zero weights included
    pairs: int  # dense pairs of one sample
    spikes: NDArray[np.int64]  # arriving spikes, (batch,)
    levels: NDArray[np.int64] | None = None  # after threshold and pool, (batch, outputs)


def flat(array):
    """(batch, …) to (batch, rest)."""
    return array.reshape(len(array), -1)


def run_oracle(network, raw, sums=NumpySums):
    """Every layer of a network on raw samples, from the layers' definitions alone."""
    entry, result, known = network.input, [], {}
    now = np.asarray(raw, np.int64)
    if entry.thresholds is not None:
        now = (now >= entry.thresholds[1]).astype(np.int64) - (now < entry.thresholds[0])
    known["input"], planes_arrive = now, True
    for layer in network.layers:
        if isinstance(layer, Concat):
            parts = [known[name] for name in layer.sources]
            parts = [np.kron(p, np.ones((1, 1, f, f), int)) for p, f in zip(parts, layer.upsample)]
            now, planes_arrive = np.concatenate(parts, axis=1), layer.sources == ("input",)
        elif isinstance(layer, Flatten):
            now = flat(now)
        elif isinstance(layer, (Linear, Conv2d)):
            weights = layer.weights.astype(np.int64)
            spikes, units, each = (now != 0).astype(np.int64), (np.abs(now) == 1).astype(int), 1
            if planes_arrive and entry.encoding == "bitplane":
                planes = [now >> b & 1 for b in range(entry.bits)]
                spikes, units, each = sum(planes), planes[0], entry.bits

            def meet(image, w, layer=layer):
                if isinstance(layer, Linear):
                    return sums.linear(flat(image), w)
                if image.ndim == 2:
                    image = image[:, :, None, None]
                return sums.conv(image, w, layer.stride, layer.padding, layer.dilation)

            present = (weights != 0).astype(np.int64)
            ones = np.ones_like(weights)
            here = meet(now, weights)
            result.append(
                Layer(
                    name=layer.name,
                    sums=flat(here),
                    events=flat(meet(spikes, present)),
                    xnor=flat(meet(units, (np.abs(weights) == 1).astype(np.int64))),
                    fetched=flat(meet(spikes, ones)),
                    pairs=each * int(meet(np.ones_like(now[:1]), ones).sum()),
                    spikes=flat(spikes).sum(axis=1),
                )
            )
            now, planes_arrive = here, False
            known[layer.name] = here
        elif isinstance(layer, MaxPool2d):
            now = sums.pool(now, layer.size, layer.stride)
            known[result[-1].name] = now
            if result[-1].levels is not None:
                result[-1].levels = flat(now)
        elif isinstance(layer, Requantize):
            per_channel = (len(layer.offsets), *(1,) * (now.ndim - 2))
            moved = now * layer.directions.astype(np.int64).reshape(per_channel)
            moved = moved + layer.offsets.reshape(per_channel)
            now = np.minimum(np.maximum(moved // 2**layer.shift, layer.limits[0]), layer.limits[1])
            known[result[-1].name] = now
            result[-1].levels = flat(now)
        elif isinstance(layer, Threshold):
            per_channel = (len(layer.directions), *(1,) * (now.ndim - 2))
            directed = now * layer.directions.astype(np.int64).reshape(per_channel)
            edges = layer.thresholds.astype(np.int64).reshape(*per_channel, -1)
            space = Levels(layer.n)
            now = space.stride * (directed[..., None] >= edges).sum(axis=-1) - space.maximum
            known[result[-1].name] = now
            result[-1].levels = flat(now)
    return result


# --- comparisons; each names the first thing that differs


def check_tally(mapping: Mapping, tally: Tally, oracle: list[Layer]):
    """Outputs, levels and what was counted, layer by layer, against the oracle."""
    assert np.array_equal(tally.outputs, oracle[-1].sums), "outputs"
    assert len(tally.levels) == len(oracle) - 1
    for found, layer in zip(tally.levels, oracle):
        assert np.array_equal(found, layer.levels), f"levels of {layer.name}"
    for index, layer in enumerate(oracle):
        rows = list(mapping.stage_rows[index])
        wanted = {
            "xnor_event": layer.xnor,
            "graded_event": layer.events - layer.xnor,
            "fetched": layer.fetched,
            "neuron_update_active": (layer.events > 0).astype(np.int64),
        }
        for name, values in wanted.items():
            found = tally.counted[name][:, rows].sum(axis=1)
            assert np.array_equal(found, values.sum(axis=1)), f"{name} of {layer.name}"
        assert mapping.pairs[rows].sum() == layer.pairs, f"pairs of {layer.name}"
        stage = mapping.network.stages[index]
        if stage.joins or stage.sources[0].stage != index - 1:
            continue  # what arrives is not what the layer before sends
        senders = [row for row, _ in mapping.sending_rows(index - 1)]
        sent = tally.counted["spike_out"][:, senders].sum(axis=1)
        assert np.array_equal(sent, layer.spikes), f"spikes into {layer.name}"


def check_same(a: Tally, b: Tally):
    """Two tallies of one mapping: every integer, dtype included."""
    assert a.outputs.dtype == b.outputs.dtype == np.int32
    assert np.array_equal(a.outputs, b.outputs), "outputs"
    for i, (p, q) in enumerate(zip(a.levels, b.levels, strict=True)):
        assert p.dtype == q.dtype
        assert np.array_equal(p, q), f"levels of layer {i}"
    for name in COUNTED:
        assert np.array_equal(a.counted[name], b.counted[name]), name


def check_hearing(mapping, rng):
    """Small tables by axis, against the whole table of positions × slices."""
    for index, stage in enumerate(mapping.network.stages):
        spikes = rng.integers(0, 3, (4, stage.inputs)).astype(np.uint8)
        reach, fetch = mapping.reach_table(index), mapping.fetch_table(index)
        hearing = mapping.hearing(index)
        at = np.arange(stage.inputs) % len(reach)
        assert hearing.positions == len(reach)
        channels = spikes.reshape(4, -1, hearing.area)
        images = [channels[:, a:b].sum(axis=1) for a, b in hearing.parts]
        arrived, fetched = hearing.received(images)
        assert np.array_equal(arrived, spikes @ reach[at].astype(np.int64))
        assert np.array_equal(fetched, spikes @ fetch[at])
        which, sets = mapping.target_sets(index - 1)
        for position, needed in enumerate(reach):
            rows = [mapping.stage_rows[index][i] for i in np.flatnonzero(needed)]
            assert sets[which[position]] == tuple(rows)
