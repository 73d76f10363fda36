"""Traces against the runs they record, and against oracles that are not ours.

Compared: everything a trace gives back (samples, outputs, counts, spikes,
packets, times, energy) with the run itself and with the reference engine; the
single synaptic events with the oracle of ``networks.py``, neuron by neuron:
how many there were, how many of them were XNOR events, what they add up to.

Not compared: bytes of files of different batch splits; only their rows are
promised to be equal."""

import h5py
import numpy as np


def contents(path, *, but=()):
    """Every dataset and attribute of a file: name → (dtype, values)."""
    found = {}

    def keep(name, thing):
        for key, value in thing.attrs.items():
            if key not in but:
                found[f"{name}@{key}"] = (np.asarray(value).dtype, np.asarray(value).tolist())
        if isinstance(thing, h5py.Dataset):
            found[name] = (thing.dtype, thing[:].tolist())

    with h5py.File(path) as file:
        keep("", file)
        file.visititems(keep)
    return found
