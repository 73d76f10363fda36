"""Counts that follow from sums of spikes equal those of a run, on any mapping."""

import numpy as np
import pytest

import neuromorph as nm
from networks import random_mapping, random_network, random_samples
from neuromorph.compare.activity import counts_of, measure
from neuromorph.events import ACTIONS


@pytest.mark.parametrize("seed", range(7100, 7112))
def test_counts_of_any_mapping_are_those_of_a_run(seed, monkeypatch):
    network, rng = random_network(seed), np.random.default_rng(seed)
    samples = random_samples(network, rng, 5)
    monkeypatch.setattr("neuromorph.compare.activity.CHUNK", 2)
    activity = measure(network, samples, np.zeros(5, int))
    mapping = random_mapping(network, rng)
    while not all(s.owns for s in mapping.slices):  # partial sums are not linear in spikes
        mapping = random_mapping(network, rng)
    run = nm.simulate(mapping, samples, mode="reference")
    ours = counts_of(activity, mapping)
    assert activity.accuracy == float((run.predictions == 0).mean())
    for action in set(ACTIONS) - {"neuron_update_active", "neuron_update_idle"}:
        assert ours[action][0].tolist() == run.counts[action].sum(axis=0).tolist(), action
    for layer, found in run.counts.by_layer().items():
        assert ours.by_layer()[layer].tolist() == found.tolist()
