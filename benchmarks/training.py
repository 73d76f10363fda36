"""Training speed: a DST step beside a plain float Adam step of the same network.

    python benchmarks/training.py [--recipe mnist-cnn-gxnor] [--rounds 9] [--device cpu] [--json]

The peer is an ordinary torch loop: the same convolutions and linear layers
with bias, ReLU instead of φ_r, max-pool, torch's own batch norm and
torch.optim.Adam, in both of torch's memory layouts, of which the faster
counts.  All run in one process on one thread, in turns, on the batches of a
training from its beginning; the first steps, in which Adam's increments are
not yet averages and far more weights hop than later, are not timed (WARM_UP).
Figures are CPU time (with --device cuda: time until the GPU is done), medians
over rounds.  Counted: training samples (forward, backward, update).  Goal: a
DST step costs at most 1.5 times the float step.
"""

import argparse
import json
import platform
import statistics
import time

import torch
from torch import nn

from neuromorph.data import load_data
from neuromorph.training import DST, build_model, load_recipe, parameter_groups, squared_hinge

STEPS = 5  # a round
WARM_UP = 100


def float_model(recipe, shape, classes):
    """The same topology in plain torch."""
    layers = []
    channels, height, width = shape
    for layer in recipe.layers:
        if hasattr(layer, "features"):
            layers += [nn.Flatten(), nn.Linear(channels * height * width, layer.features)]
            layers += [nn.BatchNorm1d(layer.features), nn.ReLU()]
            channels, height, width = layer.features, 1, 1
            continue
        layers.append(
            nn.Conv2d(
                channels,
                layer.channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                layer.dilation,
            )
        )
        if layer.pool > 1:
            layers.append(nn.MaxPool2d(layer.pool))
        layers += [nn.BatchNorm2d(layer.channels), nn.ReLU()]
        height, width = (
            ((s + 2 * layer.padding - layer.extent) // layer.stride + 1) // layer.pool
            for s in (height, width)
        )
        channels = layer.channels
    layers += [nn.Flatten(), nn.Linear(channels * height * width, classes)]
    return nn.Sequential(*layers, nn.BatchNorm1d(classes))


def ours(recipe, data, device):
    """A function that makes one DST step."""
    model = build_model(recipe, data, seed=1).to(device).train()
    rules = recipe.optimizer
    optimizer = DST(
        parameter_groups(model),
        rules.rate,
        increments=rules.increments,
        betas=rules.betas,
        m=rules.m,
        kind=rules.transition,
        seed=1,
    )

    def step(images, labels):
        loss = squared_hinge(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def theirs(recipe, data, layout, device):
    """A function that makes one float step."""
    model = float_model(recipe, data.shape, data.classes).to(device, memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(images, labels):
        x = (images.float() / data.maximum).contiguous(memory_format=layout)
        loss = squared_hinge(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def gpu_time():
    """Seconds, once the GPU has done all it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main():
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="mnist-cnn-gxnor")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps before timing")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True  # as in training
    recipe = load_recipe(options.recipe)
    data = load_data(recipe.data.name)
    batch = recipe.training.batch
    device = torch.device(options.device)
    images = torch.tensor(data.train_images, device=device).split(batch)
    labels = torch.tensor(data.train_labels, device=device).split(batch)
    clock = time.thread_time if device.type == "cpu" else gpu_time
    steps = {
        "DST": ours(recipe, data, device),
        "float Adam": theirs(recipe, data, torch.contiguous_format, device),
        "float Adam, channels last": theirs(recipe, data, torch.channels_last, device),
    }
    times = {name: [] for name in steps}
    for i in range(options.warm_up):
        for step in steps.values():
            step(images[i], labels[i])
    for number in range(options.rounds):
        first = options.warm_up + number * STEPS
        for name, step in steps.items():
            begin = clock()
            for i in range(first, first + STEPS):
                step(images[i], labels[i])
            times[name].append((clock() - begin) / STEPS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer = min((n for n in medians if n != "DST"), key=medians.__getitem__)
    record = {
        "benchmark": "training",
        "recipe": recipe.name,
        "batch": batch,
        "threads": 1,
        "warm_up": options.warm_up,
        "device": options.device,
        "samples_per_s": {name: batch / t for name, t in medians.items()},
        "peer": peer,
        "ratio": medians["DST"] / medians[peer],
        "goal": 1.5,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    if options.json:
        print(json.dumps(record, indent=2))
        return
    where = "one thread" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"{recipe.name}, batch {batch}, {where}, torch {torch.__version__}")
    second = "CPU second" if device.type == "cpu" else "second"
    for name, t in medians.items():
        print(f"  {name:26} {batch / t:8,.0f} samples a {second}")
    print(f"a DST step takes {record['ratio']:.2f} × the step of {peer} (goal: at most 1.5)")


if __name__ == "__main__":
    main()
