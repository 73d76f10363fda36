"""Spiking simulators on ternary-ff; run by ternary_ff.py, one process a tool.

    python benchmarks/ternary_ff_peers.py sanafe|brian2|nest

Needs that tool and NumPy, not this package.  Brian2 runs its compiled runtime
target on one thread, NEST and SANA-FE one thread.  Prints one JSON object;
CPU seconds are those of the run alone, without building or compiling.
"""

import json
import os
import sys
import time

import numpy as np
from ternary_ff_net import THETA, check_fingerprint, expected, make


def sanafe(weights, raster):
    """SANA-FE on its bundled Loihi, detailed timing, 16 cores a layer."""
    import sanafe

    arch, n = sanafe.load_loihi(), raster.shape[1]
    cores, net = arch.cores(), sanafe.Network()
    populations = [net.create_neuron_group("in", n)]
    for i, cell in enumerate(populations[0]):
        cell.set_attributes(
            soma_hw_name=f"loihi_inputs[{i}]",
            model_attributes={"spikes": [bool(b) for b in raster[:, i]]},
        )
        cell.map_to_core(cores[0])
    attributes = {
        "threshold": THETA - 0.5,
        "reset": 0.0,
        "leak_decay": 0.0,
        "input_decay": 0.0,
        "reset_mode": "hard",
    }
    for k, w in enumerate(weights):
        target = net.create_neuron_group(
            f"l{k}", n, model_attributes=attributes, soma_hw_name="loihi_lif"
        )
        i, j = np.nonzero(w)
        populations[-1].connect_neurons_sparse(
            target, {"weight": [float(v) for v in w[i, j]]}, list(zip(i.tolist(), j.tolist()))
        )
        for number, cell in enumerate(target):
            cell.map_to_core(cores[1 + 16 * k + number // (n // 16)])
        populations.append(target)
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    start = time.process_time()
    result = chip.sim(len(raster) + 3, timing_model="detailed", processing_threads=1)
    seconds = time.process_time() - start
    return sanafe, seconds, result["neurons_fired"], result["spikes"]


def brian2(weights, raster):
    """Brian2, compiled Cython target, float32."""
    import brian2 as b

    b.prefs.core.default_float_dtype = np.float32
    b.prefs.codegen.target = "cython"
    b.defaultclock.dt = 1 * b.ms
    steps, cells = np.nonzero(raster)
    groups = [b.SpikeGeneratorGroup(raster.shape[1], cells, steps * b.ms)]
    objects = [groups[0]]
    for w in weights:
        g = b.NeuronGroup(len(w), "v : 1", threshold=f"v >= {THETA - 0.5}", method="exact")
        g.run_regularly("v = 0", when="after_thresholds", order=1)
        synapses = b.Synapses(groups[-1], g, "w : 1", on_pre="v_post += w")
        i, j = np.nonzero(w)
        synapses.connect(i=i, j=j)
        synapses.w = w[i, j].astype(float)
        groups.append(g)
        objects += [g, synapses]
    monitors = [b.SpikeMonitor(g, record=False) for g in groups]
    net = b.Network(*objects, *monitors)
    net.run(0 * b.ms)  # code generation
    start = os.times()
    net.run((len(raster) + 3) * b.ms)
    end = os.times()
    seconds = end.user + end.system - start.user - start.system
    events = sum(
        int((np.asarray(m.count[:]) * (w != 0).sum(axis=1)).sum())
        for m, w in zip(monitors, weights)
    )
    return b, seconds, sum(int(m.num_spikes) for m in monitors), events


def nest(weights, raster):
    """NEST, iaf_psc_delta without memory; spike counts by recorders."""
    import nest

    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.SetKernelStatus({"resolution": 1.0, "local_num_threads": 1})
    n = raster.shape[1]
    generators = nest.Create("spike_generator", n)
    for i in range(n):
        generators[i].set(spike_times=np.nonzero(raster[:, i])[0] + 1.0)
    populations = [nest.Create("parrot_neuron", n)]
    nest.Connect(generators, populations[0], "one_to_one", syn_spec={"delay": 1.0})
    cell = {
        "E_L": 0.0,
        "V_reset": 0.0,
        "V_th": THETA - 0.5,
        "V_m": 0.0,
        "tau_m": 0.01,
        "t_ref": 0.0,
        "C_m": 1.0,
        "I_e": 0.0,
    }
    for w in weights:
        target = nest.Create("iaf_psc_delta", n, params=cell)
        i, j = np.nonzero(w)
        nest.Connect(
            np.array(populations[-1].tolist())[i],
            np.array(target.tolist())[j],
            "one_to_one",
            syn_spec={"weight": w[i, j].astype(float), "delay": np.ones(len(i))},
        )
        populations.append(target)
    recorders = [nest.Create("spike_recorder") for _ in populations]
    for p, r in zip(populations, recorders):
        nest.Connect(p, r)
    nest.Prepare()
    start = time.process_time()
    nest.Run(float(len(raster) + 5))
    seconds = time.process_time() - start
    nest.Cleanup()
    events = 0
    for p, r, w in zip(populations, recorders, weights):
        senders = np.asarray(r.get("events")["senders"]) - p[0].global_id
        events += int((w != 0).sum(axis=1)[senders].sum())
    return nest, seconds, sum(int(r.get("n_events")) for r in recorders), events


def main():
    run = {"sanafe": sanafe, "brian2": brian2, "nest": nest}[sys.argv[1]]
    weights, raster = make()
    check_fingerprint(weights, raster)
    spikes, events = expected(weights, raster)
    start = time.perf_counter()
    module, seconds, found_spikes, found_events = run(weights, raster)
    if found_spikes != sum(spikes) or found_events != sum(events):
        raise SystemExit(f"{sys.argv[1]} counted {found_spikes} spikes, {found_events} events")
    whole = time.perf_counter() - start
    print(
        json.dumps(
            {
                "tool": sys.argv[1],
                "version": getattr(module, "__version__", None),
                "cpu_s": seconds,
                "setup_s": whole - seconds,
                "events_per_cpu_s": sum(events) / seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
