"""The trained MNIST MLP: count mode against torch float32 on the same work.

    NEUROMORPH_DATA=FOLDER python benchmarks/mnist_mlp.py [--json]

Both take the 10 000 test images as ternary levels and give the levels of every
layer and the outputs; ours counts every synaptic event on the way.  Levels and
outputs are compared before anything is timed.  CPU time of one thread.
"""

import numpy as np  # isort: split

from common import (
    machine,
    parser,
    print_machine,
    report,
    roomy_mapping,
    rounds,
    table,
    timed,
    torch_or_none,
)

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.kernels import counting

GOAL = 5.0


def torch_network(torch, network, inputs):
    """Levels of every layer and the last sums, float32, in batches of 1000."""
    stages = []
    for s in network.stages:
        w = torch.from_numpy(s.weights[:, :, 0, 0].astype(np.float32))
        if s.thresholds is None:
            stages.append((w, None, None))
            continue
        # float32 holds these exactly; beyond 2**24 stand never and always
        t = torch.from_numpy(s.thresholds.astype(np.float32))
        stages.append((w, t, torch.from_numpy(s.directions.astype(np.float32))))
    first = torch.from_numpy(inputs.astype(np.float32))

    def run():
        levels, outputs = [[] for _ in stages[:-1]], []
        for x in first.split(1000):
            for i, (w, t, d) in enumerate(stages):
                x = torch.nn.functional.linear(x, w)
                if t is not None:
                    x = x * d
                    x = (x >= t[:, 1]).float() - (x < t[:, 0]).float()
                    levels[i].append(x)
            outputs.append(x)
        return [torch.cat(v) for v in levels], torch.cat(outputs)

    return run


def main():
    p = parser(__doc__)
    arguments = p.parse_args()
    torch = torch_or_none()
    if torch is None:
        raise SystemExit("the peer is torch; install neuromorph[train]")
    network = nm.load_network("mnist-mlp-gxnor")
    mapping = roomy_mapping(network)
    on_chip = nm.map_network(network, nm.load_chip("gxnor45"))
    inputs = network.encode(load_data("mnist").test_images)
    work = torch_network(torch, network, inputs)
    levels, outputs = work()
    tally = counting.count(mapping, inputs)
    for ours, theirs in zip(tally.levels, levels):
        assert np.array_equal(ours, theirs.numpy().astype(np.int8)), "levels differ"
    assert np.array_equal(tally.outputs, outputs.numpy().astype(np.int32)), "outputs differ"
    seconds = rounds(
        {
            "torch float32": timed(work),
            "count, one core a layer": timed(lambda: counting.count(mapping, inputs)),
            "count, on gxnor45": timed(lambda: counting.count(on_chip, inputs)),
        },
        arguments.rounds,
    )
    peer, events = seconds["torch float32"], int(tally.counted["xnor_event"].sum())
    rows = [
        {
            "case": name,
            "cpu_s": s,
            "images_per_cpu_s": len(inputs) / s,
            "ratio_f32": peer / s,
            "events_per_cpu_s": None if name.startswith("torch") else events / s,
        }
        for name, s in seconds.items()
    ]
    facts = machine()
    report(arguments, {"machine": facts, "cases": rows, "goal_ratio_f32": GOAL})
    if not arguments.json:
        print_machine(facts)
        print(f"{network!r}, {len(inputs)} images, {events:,} synaptic events; goal {GOAL:g}×\n")
        header = ["case", "CPU ms", "images/CPU-s", "× f32", "G events/s"]
        print(
            table(
                header,
                [
                    [
                        r["case"],
                        r["cpu_s"] * 1e3,
                        r["images_per_cpu_s"],
                        r["ratio_f32"],
                        r["events_per_cpu_s"] and r["events_per_cpu_s"] / 1e9,
                    ]
                    for r in rows
                ],
            )
        )


if __name__ == "__main__":
    main()
