"""The counting kernel against torch float32, torch int8 and scipy, layer by layer.

    python benchmarks/kernels.py [--json] [--only WORD] [--picture FILE]

A layer is timed from packed levels to packed levels: sums, thresholds, pooling,
levels and the exact number of synaptic events of every neuron.  Torch is timed
on the products or convolutions alone, unless a row says otherwise.  Agreeing
and disagreeing pairs of every neuron are checked before anything is timed.
CPU time of one thread, median of interleaved rounds.
"""

import time  # isort: split

import numpy as np
import scipy.sparse as sparse
from common import (
    Layer,
    linear_network,
    machine,
    parser,
    print_machine,
    report,
    roomy_mapping,
    rounds,
    table,
    ternary,
    timed,
    torch_or_none,
)
from neuromorph.kernels._vcount import Kernel

from neuromorph.kernels import counting
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

TORCH = torch_or_none()
TWO_THIRDS, THIRD = 2 / 3, 1 / 3


def exact(inputs, weights):
    """(sums, events) of a linear layer; float32 is exact this far."""
    a, w = inputs.astype(np.float32), weights.astype(np.float32)
    return (a @ w.T).astype(np.int32), (np.abs(a) @ np.abs(w).T).astype(np.int32)


def linear_case(name, fan_in, out, batch, activity, density, goals, number):
    """One fully connected layer against every peer."""
    rng = np.random.default_rng([fan_in, out, batch])
    weights, inputs = ternary(rng, (out, fan_in), density), ternary(rng, (batch, fan_in), activity)
    threshold = max(1, int(0.5 * np.sqrt(fan_in * activity * density)))
    mapping = roomy_mapping(linear_network(weights, threshold))
    layer = Layer(mapping, inputs)
    sums, events = exact(inputs, weights)
    layer.check(mapping, sums, events)
    clocks = {"ours": layer.clock}
    if TORCH:
        a, w = (
            TORCH.from_numpy(inputs.astype(np.float32)),
            TORCH.from_numpy(weights.astype(np.float32)),
        )
        clocks["f32"] = timed(lambda: TORCH.nn.functional.linear(a, w))
        a8, w8 = TORCH.from_numpy(inputs), TORCH.from_numpy(weights).t()
        if batch > 16:  # torch refuses smaller ones
            assert np.array_equal(TORCH._int_mm(a8, w8).numpy(), sums)
            clocks["int8"] = timed(lambda: TORCH._int_mm(a8, w8))
    if batch == 1:
        rows, row = (
            sparse.csr_matrix(weights.T.astype(np.int32)),
            sparse.csr_matrix(inputs.astype(np.int32)),
        )
        assert np.array_equal((row @ rows).toarray(), sums)
        clocks["scatter"] = timed(lambda: row @ rows)
    return result(name, layer, rounds(clocks, number), int(events.sum()), goals)


def result(name, layer, seconds, events, goals):
    """One row, as JSON keys."""
    assert layer is None or layer.events == events, "tallies differ from the events of the neurons"
    ours = seconds["ours"]
    found = {
        "case": name,
        "form": layer.form if layer else None,
        "seconds": ours,
        "events": events,
        "events_per_cpu_s": events / ours if events else None,
        **{
            f"ratio_{peer}": seconds[peer] / ours
            for peer in ("f32", "int8", "scatter", "same_work")
            if peer in seconds
        },
        "must": goals[0],
        "aim": goals[1],
    }
    return found


def conv_network(shape, weights, threshold):
    """A convolution, a 2×2 pool and a threshold; read out by nothing."""
    out, _, kernel, _ = weights.shape
    size = [(s - kernel + 1) // 2 for s in shape[1:]]
    return Network(
        name="conv",
        input=Input(shape=shape),
        layers=[
            Conv2d(name="layer", weights=weights),
            MaxPool2d(),
            Threshold(thresholds=np.tile([1 - threshold, threshold], (out, 1))),
            Flatten(),
            Linear(name="readout", weights=np.zeros((1, out * size[0] * size[1]), np.int8)),
            Readout(),
        ],
    )


def conv_case(name, shape, out, batch, activity, density, goals, number):
    """A 5×5 convolution with pool and threshold, against torch in its faster layout."""
    rng = np.random.default_rng([*shape, out, batch])
    weights = ternary(rng, (out, shape[0], 5, 5), density)
    images = ternary(rng, (batch, *shape), activity)
    threshold = max(1, int(0.5 * np.sqrt(weights[0].size * activity * density)))
    mapping = roomy_mapping(conv_network(shape, weights, threshold))
    inputs = images.reshape(batch, -1)
    layer = Layer(mapping, inputs)
    f = TORCH.nn.functional
    a, w = TORCH.from_numpy(images.astype(np.float32)), TORCH.from_numpy(weights.astype(np.float32))
    sums, events = f.conv2d(a, w), f.conv2d(a.abs(), w.abs())
    flat = [t.reshape(batch, -1).numpy().astype(np.int32) for t in (sums, events)]
    layer.check(mapping, *flat)
    last = TORCH.channels_last
    a_last, w_last = a.to(memory_format=last), w.to(memory_format=last)

    def same_work(a=a, w=w):
        m = f.max_pool2d(f.conv2d(a, w), 2)
        return (m >= threshold).float() - (m <= -threshold).float()

    levels = counting.count(mapping, inputs.astype(np.int16)).levels[0]
    assert np.array_equal(same_work().reshape(batch, -1).numpy().astype(np.int8), levels)
    seconds = rounds(
        {
            "ours": layer.clock,
            "nchw": timed(lambda: f.conv2d(a, w)),
            "channels_last": timed(lambda: f.conv2d(a_last, w_last)),
            "work_nchw": timed(same_work),
            "work_last": timed(lambda: same_work(a_last, w_last)),
        },
        number,
    )
    seconds["f32"] = min(seconds["nchw"], seconds["channels_last"])
    seconds["same_work"] = min(seconds["work_nchw"], seconds["work_last"])
    return result(name, layer, seconds, int(flat[1].sum()), goals)


def cnn_network(rng, density):
    """The MNIST CNN: 32C5 P2 64C5 P2 512 10, ternary input."""
    layers, fan_in = [], 25
    for name, shape in (("conv1", (32, 1, 5, 5)), ("conv2", (64, 32, 5, 5))):
        fan_in = int(np.prod(shape[1:]))
        t = max(1, int(0.5 * np.sqrt(fan_in * 0.5 * density)))
        layers += [
            Conv2d(name=name, weights=ternary(rng, shape, density)),
            MaxPool2d(),
            Threshold(thresholds=np.tile([1 - t, t], (shape[0], 1))),
        ]
    layers += [
        Flatten(),
        Linear(name="fc", weights=ternary(rng, (512, 1024), density)),
        Threshold(thresholds=np.tile([-8, 9], (512, 1))),
        Linear(name="readout", weights=ternary(rng, (10, 512), density)),
        Readout(),
    ]
    return Network(name="mnist-cnn", input=Input(shape=(1, 28, 28)), layers=layers)


def torch_cnn(network, images, last):
    """The same network in torch: levels of every layer, and the outputs."""
    f = TORCH.nn.functional
    layout = {"memory_format": TORCH.channels_last} if last else {}
    stages = []
    for s in network.stages:
        w = TORCH.from_numpy(s.weights.astype(np.float32))
        t = None if s.thresholds is None else float(s.thresholds[0, 1])
        if s.pool is None:
            stages.append((w.reshape(w.shape[:2]), t, False))
        else:
            stages.append((w.to(**layout), t, True))
    first = TORCH.from_numpy(images.astype(np.float32)).to(**layout)

    def run():
        x, levels = first, []
        for w, t, image in stages:
            if image:
                x = f.max_pool2d(f.conv2d(x, w), 2)
            else:
                x = f.linear(x.flatten(1), w)
            if t is not None:
                x = (x >= t).float() - (x <= -t).float()
                levels.append(x)
        return levels, x

    return run


def cnn_case(density, number, batch=512):
    """The whole CNN, encoded integers in, levels of every layer and outputs out."""
    rng = np.random.default_rng(5)
    network = cnn_network(rng, density)
    # the same thresholds on both sides: fires at sum >= t and sum <= -t
    images = ternary(rng, (batch, 1, 28, 28), 0.5)
    mapping, inputs = roomy_mapping(network), images.reshape(batch, -1).astype(np.int16)
    tally = counting.count(mapping, inputs)
    runs = {"nchw": torch_cnn(network, images, False), "last": torch_cnn(network, images, True)}
    for run in runs.values():
        levels, outputs = run()
        for ours, theirs in zip(tally.levels, levels):
            assert np.array_equal(
                ours, theirs.reshape(batch, -1).contiguous().numpy().astype(np.int8)
            )
        assert np.array_equal(tally.outputs, outputs.numpy().astype(np.int32))
    kernel, by_output = counting._chain_of(mapping, 0).choose(batch)
    plan = counting._chain_of(mapping, 0).plan(kernel, by_output)
    results = []
    for i, s in enumerate(network.stages):
        r = dict.fromkeys(("levels8", "levels16", "sums", "neuron_events"))
        if s.levels is None:
            r["sums"] = np.empty_like(tally.outputs)
        else:
            r["levels8"] = np.empty_like(tally.levels[i])
        results.append({**r, **counting._tallies(batch, mapping, i)})
    clocks = {
        "ours": timed(lambda: plan.run(kernel, inputs, results, by_output)),
        "count": timed(lambda: counting.count(mapping, inputs)),
        **{name: timed(run) for name, run in runs.items()},
    }
    seconds = rounds(clocks, number)
    seconds["same_work"] = seconds["f32"] = min(seconds["nchw"], seconds["last"])
    events = sum(int(r["xnor"].sum()) for r in results)
    rows = []
    for name, key in (("kernel", "ours"), ("count() with packets and hops", "count")):
        goals = ("25×, 15 µs", "45×, 9 µs") if key == "ours" else (None, None)
        chosen = {**seconds, "ours": seconds[key]}
        row = result(
            f"MNIST CNN, batch {batch}, w {density:.0%}: {name}", None, chosen, events, goals
        )
        rows.append({**row, "form": kernel.name, "seconds_per_image": seconds[key] / batch})
    return rows


def width_cases(number):
    """The same layer on every vector width, in the orientation of the widest."""
    rng = np.random.default_rng(2)
    weights, inputs = ternary(rng, (1024, 1024), TWO_THIRDS), ternary(rng, (256, 1024), 0.5)
    mapping = roomy_mapping(linear_network(weights, 9))
    sums, events = exact(inputs, weights)
    rows = []
    for by_output in (True, False):
        layers = {}
        for width in counting.WIDTHS:
            try:
                lanes = Kernel(width).lanes
            except ValueError:
                continue
            part = slice(None, lanes)
            layer = Layer(mapping, inputs[part], width=width, by_output=by_output)
            layer.check(mapping, sums[part], events[part])
            layers[width] = (layer, len(inputs[part]))
        found = rounds({w: layer.clock for w, (layer, _) in layers.items()}, number)
        rates = {w: 1024 * 1024 * layers[w][1] / s for w, s in found.items()}
        best = max(rates.values())
        rows += [
            {
                "case": f"{w}, lanes = {'outputs' if by_output else 'samples'}",
                "pairs_per_cpu_s": rate,
                "ratio_widest": rate / best,
            }
            for w, rate in rates.items()
        ]
    return rows


def thread_case():
    """Wall time of two threads against one, whole `count`."""
    rng = np.random.default_rng(3)
    network = cnn_network(rng, TWO_THIRDS)
    mapping = roomy_mapping(network)
    inputs = ternary(rng, (4096, 784), 0.5).astype(np.int16)
    walls = {1: [], 2: []}
    counting.count(mapping, inputs)
    for _ in range(5):
        for threads, found in walls.items():
            start = time.perf_counter()
            counting.count(mapping, inputs, threads=threads)
            found.append(time.perf_counter() - start)
    one, two = (min(walls[t]) for t in (1, 2))
    return {
        "case": "two threads, MNIST CNN, 4096 images, wall",
        "seconds_1": one,
        "seconds_2": two,
        "ratio": one / two,
    }


ACTIVITIES = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
DENSITIES = (0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.85, 1.0)


def activity_map(number, size=1024, batch=256):
    """Seconds of ours over activity and density, torch beside it."""
    rng = np.random.default_rng(4)
    found = []
    for density in DENSITIES:
        weights = ternary(rng, (size, size), density)
        for activity in ACTIVITIES:
            inputs = ternary(rng, (batch, size), activity)
            mapping = roomy_mapping(linear_network(weights, 5))
            layer = Layer(mapping, inputs)
            layer.check(mapping, *exact(inputs, weights))
            clocks = {"ours": layer.clock}
            a, w = (TORCH.from_numpy(x.astype(np.float32)) for x in (inputs, weights))
            a8, w8 = TORCH.from_numpy(inputs), TORCH.from_numpy(weights).t()
            clocks["f32"] = timed(lambda a=a, w=w: TORCH.nn.functional.linear(a, w), 0.005)
            clocks["int8"] = timed(lambda a=a8, w=w8: TORCH._int_mm(a, w), 0.005)
            seconds = rounds(clocks, number)
            found.append(
                {
                    "activity": activity,
                    "density": density,
                    "form": layer.form,
                    **{f"ratio_{p}": seconds[p] / seconds["ours"] for p in ("f32", "int8")},
                }
            )
    return found


def draw(points, facts, file):
    """The activity × density map as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shape = len(DENSITIES), len(ACTIVITIES)
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), constrained_layout=True)
    for ax, peer in zip(axes, ("f32", "int8")):
        ratio = np.array([p[f"ratio_{peer}"] for p in points]).reshape(shape)
        outputs = np.array(["outputs" in p["form"] for p in points]).reshape(shape)
        image = ax.imshow(np.log2(ratio), origin="lower", cmap="YlGnBu", vmin=-1, vmax=6.5)
        for (row, column), value in np.ndenumerate(ratio):
            text = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
            style = "normal" if outputs[row, column] else "italic"
            dark = np.log2(value) > 3.5
            ax.text(
                column,
                row,
                text + ("" if outputs[row, column] else "*"),
                style=style,
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "black",
            )
        ax.set_xticks(range(shape[1]), [f"{a:.0%}" for a in ACTIVITIES])
        ax.set_yticks(range(shape[0]), [f"{d:.0%}" for d in DENSITIES])
        ax.set_xlabel("activity: share of levels that are not zero")
        ax.set_ylabel("density: share of weights that are not zero")
        ax.set_title(f"times faster than torch {peer}")
        bar = figure.colorbar(image, ax=ax, shrink=0.8, ticks=range(7))
        bar.ax.set_yticklabels([f"{2.0**t:g}×" for t in range(7)])
    figure.suptitle(
        "Linear layer 1024 × 1024, batch 256, one thread "
        "(* lanes = samples, else lanes = outputs)\n"
        f"{facts['cpu']}, torch {facts['torch']}",
        fontsize=10,
    )
    figure.savefig(file, dpi=110)


def cases(number):
    """(name, function) of everything in the tables of layers."""
    fc = linear_case
    yield (
        "FC 1024x1024 b256 a50 w67",
        fc,
        (1024, 1024, 256, 0.5, TWO_THIRDS, ("12× f32, 2.8× int8", "20×, 4.3×")),
    )
    yield "FC 1024x1024 b256 a50 w33", fc, (1024, 1024, 256, 0.5, THIRD, ("20× f32", "30×"))
    yield "FC 1024x1024 b256 a10 w67", fc, (1024, 1024, 256, 0.1, TWO_THIRDS, ("28× f32", "45×"))
    yield "FC 1024x512 b256 a50 w67", fc, (1024, 512, 256, 0.5, TWO_THIRDS, (None, None))
    yield "FC 4096x4096 b256 a50 w67", fc, (4096, 4096, 256, 0.5, TWO_THIRDS, (None, None))
    yield "FC 1024x1024 b1 a50 w67", fc, (1024, 1024, 1, 0.5, TWO_THIRDS, ("40× f32", "70×"))
    yield "FC 1024x1024 b1 a10 w67", fc, (1024, 1024, 1, 0.1, TWO_THIRDS, ("150× f32", "250×"))
    yield "FC 1024x1024 b1 a1 w67", fc, (1024, 1024, 1, 0.01, TWO_THIRDS, ("400× f32", "900×"))
    yield "FC 4096x4096 b1 a50 w67", fc, (4096, 4096, 1, 0.5, TWO_THIRDS, (None, None))
    yield "FC 4096x4096 b1 a10 w67", fc, (4096, 4096, 1, 0.1, TWO_THIRDS, ("1/5 of 50 %", "1/6"))
    yield "FC 4096x4096 b1 a1 w67", fc, (4096, 4096, 1, 0.01, TWO_THIRDS, (None, None))
    if not TORCH:
        return
    conv = conv_case
    yield (
        "conv1 1x28x28-32 b512 a50 w67",
        conv,
        ((1, 28, 28), 32, 512, 0.5, TWO_THIRDS, (None, None)),
    )
    yield (
        "conv2 32x12x12-64 b512 a50 w67",
        conv,
        ((32, 12, 12), 64, 512, 0.5, TWO_THIRDS, ("9× f32", "14×")),
    )
    yield (
        "conv2 32x12x12-64 b512 a50 w33",
        conv,
        ((32, 12, 12), 64, 512, 0.5, THIRD, ("16× f32", "25×")),
    )
    yield (
        "conv2 32x12x12-64 b1 a50 w67",
        conv,
        ((32, 12, 12), 64, 1, 0.5, TWO_THIRDS, ("6× f32", "12×")),
    )
    yield (
        "conv2 32x12x12-64 b1 a10 w67",
        conv,
        ((32, 12, 12), 64, 1, 0.1, TWO_THIRDS, ("20× f32", "40×")),
    )


def main():
    p = parser(__doc__)
    p.add_argument("--only", default="", help="cases whose name holds this word")
    p.add_argument("--picture", help="measure the activity × density map and draw it here")
    arguments = p.parse_args()
    facts, number = machine(), arguments.rounds
    if arguments.picture:
        points = activity_map(number)
        draw(points, facts, arguments.picture)
        report(arguments, {"machine": facts, "map": points})
        if not arguments.json:
            print(f"wrote {arguments.picture}")
        return
    layers = [
        run(name, *options, number)
        for name, run, options in cases(number)
        if arguments.only in name
    ]
    if TORCH and arguments.only in "MNIST CNN":
        layers += [row for w in (TWO_THIRDS, THIRD) for row in cnn_case(w, number)]
    widths = width_cases(number) if arguments.only in "widths" else []
    threads = [thread_case()] if arguments.only in "threads" else []
    report(arguments, {"machine": facts, "cases": layers, "widths": widths, "threads": threads})
    if arguments.json:
        return
    print_machine(facts)
    header = [
        "case",
        "form",
        "µs",
        "G events/s",
        "× f32",
        "× int8",
        "× CSR",
        "× same work",
        "must",
        "aim",
    ]
    print(
        table(
            header,
            [
                [
                    r["case"],
                    r["form"],
                    r["seconds"] * 1e6,
                    r["events_per_cpu_s"] / 1e9 if r["events_per_cpu_s"] else None,
                    *(r.get(f"ratio_{k}") for k in ("f32", "int8", "scatter", "same_work")),
                    r["must"],
                    r["aim"],
                ]
                for r in layers
            ],
        )
    )
    if widths:
        print()
        print(
            table(
                ["FC 1024x1024 b256 a50 w67", "G pairs/s", "of the fastest"],
                [[r["case"], r["pairs_per_cpu_s"] / 1e9, r["ratio_widest"]] for r in widths],
            )
        )
    for r in threads:
        print(
            f"\n{r['case']}: {r['seconds_1']:.3f} s one thread, "
            f"{r['seconds_2']:.3f} s two: {r['ratio']:.2f}×"
        )


if __name__ == "__main__":
    main()
