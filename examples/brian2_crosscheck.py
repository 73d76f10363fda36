"""The trained digits network in Brian2, spike for spike against ours.

pip install 'neuromorph[brian2]'
python examples/brian2_crosscheck.py
"""

import brian2
import numpy as np

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.interop import to_brian2

brian2.prefs.codegen.target = "numpy"  # or "cython", which compiles for a minute first

network = nm.load_network("digits-gxnor")
images = load_data("digits").test_images[:20]

theirs = to_brian2(network, images)
theirs.run(len(images))
ours = nm.simulate(nm.map_network(network, nm.load_chip("gxnor45")), images)

for stage in network.stages[:-1]:
    levels = theirs.levels(stage.name)
    differ = int((levels != ours.levels(stage.name)).sum())
    print(f"{stage.name:7} {int((levels != 0).sum()):7,} spikes, {differ} levels differ")
differ = int((theirs.outputs() != ours.outputs).sum())
print(f"output  {theirs.outputs().size:7,} sums, {differ} differ")
print("same classes:", np.array_equal(network.predict(theirs.outputs()), ours.predictions))
