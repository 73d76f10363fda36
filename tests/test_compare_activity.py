"""Counts that follow from sums of spikes equal those of a run, on any mapping."""

from dataclasses import replace

import numpy as np
import pytest

import neuromorph as nm
from networks import random_graph, random_mapping, random_network, random_samples, roomy
from neuromorph.compare.activity import counts_of, measure
from neuromorph.events import ACTIONS
from neuromorph.mapping import check_fit


@pytest.mark.parametrize("make", [random_network, random_graph])
@pytest.mark.parametrize("seed", range(7100, 7112))
def test_counts_of_any_mapping_are_those_of_a_run(seed, make, monkeypatch):
    network, rng = make(seed), np.random.default_rng(seed)
    samples = random_samples(network, rng, 5)
    monkeypatch.setattr("neuromorph.compare.activity.CHUNK", 2)
    activity = measure(network, samples, np.zeros((5, *network.pixels), int))
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


def test_partial_sums_of_a_split_mapping_are_those_of_a_run(monkeypatch):
    """They are not linear in spikes, so the samples run once more, and once only."""
    monkeypatch.setattr("neuromorph.compare.activity.CHUNK", 2)
    found = 0
    for seed in range(40):
        network, rng = random_network(seed), np.random.default_rng([seed, 9])
        windows = [s.fan_in // s.input_shape[0] for s in network.stages]
        axons, sync = max(windows) * int(rng.integers(1, 4)), str(rng.choice(["token", "barrier"]))
        chip = replace(
            roomy(nm.load_chip("gxnor45")), columns=32, rows=32, axons_in=axons, sync=sync
        )
        mapping = check_fit(network, chip).mapping
        if mapping is None or all(s.owns for s in mapping.slices):
            continue
        found += 1
        samples = random_samples(network, rng, 5)
        activity = measure(network, samples)
        ours, run = counts_of(activity, mapping), nm.simulate(mapping, samples, mode="reference")
        assert ours == run.counts.summed()
        assert ours.total("partial_out") == ours.total("partial_in")
        before = activity._split
        assert counts_of(activity, mapping) == ours
        assert len(before) == 1
    assert found >= 8
