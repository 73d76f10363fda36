"""Brian2 neurons drive a ternary network: Poisson spikes, and LIF neurons fed by a current.

    pip install 'neuromorph[brian2]'
    python examples/brian2_frontends.py

The front-end runs in steps of 0.1 ms, the network in ticks of 10 ms.  What
the spikes of a front-end add up to in a tick is the sample of that tick.
"""

import brian2 as b2
import numpy as np

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.interop import to_brian2

b2.prefs.codegen.target = "numpy"
b2.seed(1)
b2.defaultclock.dt = 0.1 * b2.ms

network = nm.load_network("digits-gxnor")  # takes grey values, ternarised by two thresholds
image = load_data("digits").test_images[0].astype(float)
mapping = nm.map_network(network, nm.load_chip("gxnor45"))


def drive(name, front_end):
    """Spikes of a front-end, a neuron for each pixel, into the network; then the check."""
    built = to_brian2(network, tick_s=10e-3)
    wires = b2.Synapses(front_end, built.input, on_pre="arrived_post += 1")
    wires.connect(j="i")
    built.objects.add(front_end, wires)
    built.run(20)
    ours = nm.simulate(mapping, built.raw())  # the samples that came about, run by us
    same = np.array_equal(built.outputs(), ours.outputs)
    print(f"{name}: {built.raw().sum():,} spikes in 20 ticks, outputs equal: {same}")
    print("  classes:", ours.predictions[1:].tolist())


# Poisson: a grey value of 16 is 1.6 kHz, 16 spikes a tick on average.
drive("Poisson", b2.PoissonGroup(64, rates=image.ravel() * 100 * b2.Hz))

# Leaky integrate-and-fire neurons, charged by a current as strong as the pixel is bright.
equations = "dv/dt = (current - v) / (5*ms) : 1\ncurrent : 1 (constant)"
lif = b2.NeuronGroup(64, equations, threshold="v > 1", reset="v = 0", method="exact")
lif.current = image.ravel() / 16 * 7
drive("LIF", lif)
