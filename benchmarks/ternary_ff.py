"""The shared benchmark "ternary-ff": exact spikes and synaptic events, as fast as may be.

    python benchmarks/ternary_ff.py [--json] [--steps 1000] [--peers-python PYTHON]

The network is in ternary_ff_net.py; its fingerprint and all counts are checked
before anything is timed.  Peers: torch float32 and scipy CSR with all steps as
one batch, in this process; SANA-FE, Brian2 and NEST each in a process of
PYTHON (default: this one), where they are installed.  CPU time, one thread.
"""

import json  # isort: split

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
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
from ternary_ff_net import EVENTS, SPIKES, THETA, check_fingerprint, expected, make

from neuromorph.kernels import counting
from neuromorph.network import THRESHOLD_MIN, Input, Linear, Network, Readout, Threshold

TORCH = torch_or_none()


def network(weights):
    """Both matrices with thresholds; a read-out of one class that meets no weight."""
    n = len(weights[0])
    fires = np.tile([THRESHOLD_MIN, THETA], (n, 1))  # never -1, +1 from THETA on
    layers = []
    for name, w in zip("ab", weights):
        layers += [Linear(name=name, weights=w.T), Threshold(thresholds=fires)]
    layers += [Linear(name="readout", weights=np.zeros((1, n), np.int8)), Readout()]
    return Network(name="ternary-ff", input=Input(shape=(n,)), layers=layers)


def set_up(weights, inputs):
    """(mapping, seconds, bytes kept beside the weights, of the kernel's tables) of a first use."""
    counting.count(roomy_mapping(network([w[:64, :64].copy() for w in weights])), inputs[:, :64])
    start = time.thread_time()
    mapping = roomy_mapping(network(weights))
    kernel, by_output = counting._chain_of(mapping, 0).choose(len(inputs[:512]))
    counting._chain_of(mapping, 0).plan(kernel, by_output)
    seconds = time.thread_time() - start
    tracemalloc.start()
    again = roomy_mapping(network(weights))
    own = tracemalloc.get_traced_memory()[0]
    counting.count(again, inputs[:512])
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return mapping, seconds, own, kept - own


def kernel_clock(mapping, inputs):
    """Clock of the kernel alone: integers in, levels and tallies out."""
    works = []
    for start in range(0, len(inputs), 512):
        part = np.ascontiguousarray(inputs[start : start + 512])
        engine = counting._chain_of(mapping, 0)
        kernel, by_output = engine.choose(len(part))
        works.append((engine.plan(kernel, by_output), kernel, by_output, part))
    stages = mapping.network.stages

    def run():
        for plan, kernel, by_output, part in works:
            results = []
            for i, s in enumerate(stages):
                r = dict.fromkeys(("levels8", "levels16", "sums", "neuron_events"))
                if s.levels is None:
                    r["sums"] = np.empty((len(part), 1), np.int32)
                else:
                    r["levels8"] = np.empty((len(part), s.outputs), np.int8)
                results.append({**r, **counting._tallies(len(part), mapping, i)})
            plan.run(kernel, part, results, by_output)

    return timed(run)


def torch_batch(weights, raster):
    """All steps as one batch in float32."""
    w = [TORCH.from_numpy(m.astype(np.float32)) for m in weights]
    first = TORCH.from_numpy(raster.astype(np.float32))

    def run():
        x, spikes = first, [int(first.sum())]
        for m in w:
            x = (x @ m >= THETA - 0.5).float()
            spikes.append(int(x.sum()))
        return spikes

    return run


def scipy_batch(weights, raster):
    """All steps as one sparse matrix, int32."""
    w = [sparse.csr_matrix(m.astype(np.int32)) for m in weights]
    first = sparse.csr_matrix(raster.astype(np.int32))

    def run():
        x, spikes = first, [int(first.nnz)]
        for m in w:
            x = sparse.csr_matrix((x @ m) >= THETA).astype(np.int32)
            spikes.append(int(x.nnz))
        return spikes

    return run


def other_tools(python):
    """Rows of the tools that this interpreter has; the others with their reason."""
    rows = []
    script = Path(__file__).with_name("ternary_ff_peers.py")
    for tool in ("sanafe", "brian2", "nest"):
        done = subprocess.run([python, script, tool], capture_output=True, text=True)
        if done.returncode == 0:
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        else:
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"
            rows.append({"tool": tool, "skipped": reason})
    return rows


def main():
    p = parser(__doc__)
    p.add_argument("--steps", type=int, default=1000, help="steps for us, torch and scipy")
    p.add_argument("--peers-python", default=sys.executable, help="has SANA-FE, Brian2, NEST")
    arguments = p.parse_args()
    weights, raster = make(steps=arguments.steps)
    short = make()
    check_fingerprint(*short)
    assert expected(*short) == (list(SPIKES), list(EVENTS))
    spikes, events = expected(weights, raster)
    inputs = raster.astype(np.int16)
    mapping, setup, own, tables = set_up(weights, inputs)
    tally = counting.count(mapping, inputs)
    rows = [list(mapping.stage_rows[i]) for i in (0, 1)]
    assert [int(tally.counted["xnor_event"][:, r].sum()) for r in rows] == events
    assert [int(raster.sum()), *(int(np.count_nonzero(v)) for v in tally.levels)] == spikes
    clocks = {
        "neuromorph, kernel": kernel_clock(mapping, inputs),
        "neuromorph, count() with packets and hops": timed(lambda: counting.count(mapping, inputs)),
    }
    peers = {"scipy CSR × CSR, one batch": scipy_batch(weights, raster)}
    if TORCH:
        peers["torch float32, one batch"] = torch_batch(weights, raster)
    for name, run in peers.items():
        assert run() == spikes, name
        clocks[name] = timed(run)
    found = [
        {"tool": name, "cpu_s": s, "steps": arguments.steps, "events_per_cpu_s": sum(events) / s}
        for name, s in rounds(clocks, arguments.rounds).items()
    ]
    found += [{**row, "steps": 200} for row in other_tools(arguments.peers_python)]
    synapses = sum(w.size for w in weights)
    facts = machine()
    result = {
        "machine": facts,
        "tools": found,
        "setup_cpu_s": setup,
        "table_bytes_per_synapse": tables / synapses,
        "network_bytes_per_synapse": own / synapses,
    }
    report(arguments, result)
    if arguments.json:
        return
    print_machine(facts)
    print(f"{sum(events):,} synaptic events in {arguments.steps} steps, spikes {spikes}\n")
    ours = found[0]["events_per_cpu_s"]
    print(
        table(
            ["tool", "steps", "M events/CPU-s", "ours is faster", "CPU s", "set-up s"],
            [
                [
                    r["tool"],
                    r["steps"],
                    r["events_per_cpu_s"] / 1e6,
                    ours / r["events_per_cpu_s"],
                    r["cpu_s"],
                    r.get("setup_s"),
                ]
                for r in found
                if "skipped" not in r
            ],
        )
    )
    for r in found:
        if "skipped" in r:
            print(f"{r['tool']} left out: {r['skipped']}")
    print(
        f"\nset-up {setup:.3f} CPU-s (network, mapping, tables; goal 0.2); kept beside the weights "
        f"given: {result['table_bytes_per_synapse']:.2f} bytes a synapse of tables, "
        f"{result['network_bytes_per_synapse']:.2f} of the network's own copy and mapping (goal 1)"
    )


if __name__ == "__main__":
    main()
