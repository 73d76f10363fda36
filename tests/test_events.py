"""Counts: what a table must satisfy, how it adds up, and every refusal.

Sums are checked against plain loops over the table; what a run counts, against
relations that must hold between actions whatever the network.
"""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromorph as nm
from networks import random_mapping, random_network, random_samples
from neuromorph import events
from neuromorph.errors import SimulationError
from neuromorph.events import ACTIONS, Counts, Hardware, format_table

NAMES = list(ACTIONS)
PARTS = ("xnor_event", "graded_event", "skip_act", "skip_weight")
HARDWARE = Hardware(
    chip="paper",
    dataflow="scatter",
    tick_s=1e-9,
    cores_used=2,
    synapse_memory_bits=100,
    state_memory_bits=10,
    axon_memory_bits=20,
)


def table(samples=2, layers=("input", "a", "a", "b"), cores=(-1, 0, 1, 1), seed=0, **changes):
    """Arguments of valid Counts with random tallies."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 50, (samples, len(layers), len(NAMES)))
    values[:, 0, [NAMES.index(p) for p in PARTS]] = 0
    pairs = rng.integers(200, 300, len(layers))
    pairs[0] = 0
    rest = NAMES.index("skip_act")
    values[:, :, rest] = 0
    values[:, :, rest] = pairs - values[:, :, [NAMES.index(p) for p in PARTS]].sum(axis=2)
    arguments = {
        "values": values,
        "layers": layers,
        "cores": np.array(cores),
        "pairs": pairs,
        "hardware": HARDWARE,
    }
    return {**arguments, **changes}


def one_layer(samples, **tallies):
    """Counts of one layer with the tallies named, the same for each sample, and nothing else."""
    values = np.zeros((samples, 2, len(NAMES)), np.int64)
    for name, tally in tallies.items():
        values[:, 1, NAMES.index(name)] = tally
    pairs = np.array([0, sum(tallies.get(p, 0) for p in PARTS)])
    return Counts(
        values=values,
        layers=("input", "only"),
        cores=np.array([-1, 0]),
        pairs=pairs,
        hardware=HARDWARE,
    )


# --- sums


@given(samples=st.integers(0, 4), rows=st.integers(1, 6), seed=st.integers(0, 1000), data=st.data())
def test_totals_are_plain_sums(samples, rows, seed, data):
    layers = ("input", *data.draw(st.lists(st.sampled_from("abc"), min_size=rows, max_size=rows)))
    cores = (-1, *data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    arguments = table(samples, layers, cores, seed)
    values = arguments["values"].tolist()
    counts = Counts(**arguments)
    assert counts.samples == len(counts) == samples
    for i, name in enumerate(NAMES):
        total = sum(row[i] for sample in values for row in sample)
        assert counts[name].tolist() == [[row[i] for row in sample] for sample in values]
        assert counts.total(name) == total
        assert counts.per_inference(name) == (total / samples if samples else 0.0)
        for found, labels in [(counts.by_layer(), layers), (counts.by_core(), cores)]:
            assert list(found) == list(dict.fromkeys(labels))
            for label, totals in found.items():
                assert totals[i] == sum(
                    row[i] for sample in values for row, at in zip(sample, labels) if at == label
                )


@given(samples=st.integers(0, 3), seed=st.integers(0, 1000))
def test_resting_is_what_makes_no_event(samples, seed):
    arguments = table(samples, seed=seed)
    counts = Counts(**arguments)
    events, dense = {}, {}
    for sample in arguments["values"].tolist():
        for layer, row, pairs in zip(arguments["layers"], sample, arguments["pairs"].tolist()):
            both = row[NAMES.index("xnor_event")] + row[NAMES.index("graded_event")]
            events[layer] = events.get(layer, 0) + both
            dense[layer] = dense.get(layer, 0) + pairs
    assert counts.events == sum(events.values())
    if samples:
        wanted = 1 - sum(events.values()) / sum(dense.values())
        assert counts.resting_fraction == pytest.approx(wanted)
        by_layer = counts.resting_by_layer()
        assert set(by_layer) == {"a", "b"}, "the input has no synapse"
        for layer, found in by_layer.items():
            assert found == pytest.approx(1 - events[layer] / dense[layer])
    else:
        assert counts.resting_fraction == 0.0
        assert counts.resting_by_layer() == {}


def test_resting_of_21_synapses():
    counts = one_layer(4, xnor_event=7, graded_event=2, skip_act=9, skip_weight=3)
    assert counts.resting_fraction == pytest.approx(12 / 21)
    assert counts.resting_by_layer() == {"only": pytest.approx(12 / 21)}


# --- refusals


def test_an_unknown_action_is_named_with_those_there_are():
    counts = Counts(**table())
    with pytest.raises(KeyError, match=r"no action 'spikes'; actions are spike_out, packet_out"):
        counts["spikes"]
    with pytest.raises(KeyError, match=r"no action 'spikes'"):
        counts.total("spikes")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"values": np.zeros((2, 3, len(NAMES)), int)},
            f"counts have shape [2, 3, {len(NAMES)}]; need [samples, 4, {len(NAMES)}]",
        ),
        (
            {"values": np.zeros((2, 4, 1), int)},
            f"counts have shape [2, 4, 1]; need [samples, 4, {len(NAMES)}]",
        ),
        (
            {"values": np.zeros((4, len(NAMES)), int)},
            f"counts have shape [4, {len(NAMES)}]; need [samples, 4, {len(NAMES)}]",
        ),
        (
            {"values": np.zeros((2, 4, len(NAMES)))},
            "values of counts have dtype float64; need integers",
        ),
        ({"cores": np.array([-1.0, 0, 1, 1])}, "cores of counts have dtype float64; need integers"),
        ({"pairs": [True] * 4}, "pairs of counts have dtype bool; need integers"),
        ({"cores": [-1, 0, 1]}, "cores of counts have shape [3]; there are 4 rows"),
        ({"pairs": [0, 1]}, "pairs of counts have shape [2]; there are 4 rows"),
        ({"pairs": [[0, 1, 2, 3]]}, "pairs of counts have shape [1, 4]; there are 4 rows"),
        ({"active_ticks": [1, 2]}, "active_ticks of counts have shape [2]; there are 4 rows"),
        ({"active_ticks": [0.5] * 4}, "active_ticks of counts have dtype float64; need integers"),
        ({"layers": ("input",)}, "cores of counts have shape [4]; there are 1 rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(SimulationError, match=f"^{re.escape(sentence)}$"):
        Counts(**table(**changes))


def test_a_negative_tally_is_refused():
    arguments = table()
    arguments["values"][1, 2, NAMES.index("hop_x")] = -1
    with pytest.raises(SimulationError, match=r"^counts hold a negative tally$"):
        Counts(**arguments)


@pytest.mark.parametrize("part", PARTS)
def test_events_and_rests_must_add_up_to_the_pairs(part):
    arguments = table()
    arguments["values"][1, 3, NAMES.index(part)] += 1
    pairs = int(arguments["pairs"][3])
    with pytest.raises(SimulationError) as error:
        Counts(**arguments)
    assert str(error.value) == (
        "counts of sample 1, layer 'b', core 1 do not add up: events and rests are "
        f"{pairs + 1}, pairs are {pairs}"
    )


def test_every_other_action_is_free_of_that_rule():
    for name in set(NAMES) - set(PARTS):
        arguments = table()
        arguments["values"][1, 3, NAMES.index(name)] += 1
        Counts(**arguments)


# --- equality, immutability


def test_equality_is_of_labels_and_tallies():
    counts = Counts(**table())
    assert counts == Counts(**table())
    assert counts == Counts(**table(ticks=5, active_ticks=np.arange(4))), "time takes no part"
    assert counts == Counts(**table(layers=["input", "a", "a", "b"])), "any sequence of layers"
    assert counts != Counts(**table(layers=("input", "a", "a", "c")))
    assert counts != Counts(**table(cores=(-1, 0, 1, 2)))
    assert counts != Counts(**table(samples=1))
    assert counts != "counts"
    for name in set(NAMES) - set(PARTS):
        arguments = table()
        arguments["values"][0, 1, NAMES.index(name)] += 1
        assert counts != Counts(**arguments), name
    arguments = table()
    arguments["pairs"][1] += 1
    arguments["values"][:, 1, NAMES.index("skip_act")] += 1
    assert counts != Counts(**arguments)


def test_a_table_is_no_key_and_cannot_be_changed():
    counts = Counts(**table(active_ticks=np.arange(4)))
    with pytest.raises(TypeError, match="unhashable"):
        hash(counts)
    with pytest.raises(dataclasses.FrozenInstanceError):
        counts.ticks = 1
    for array in (counts.values, counts.cores, counts.pairs, counts.active_ticks):
        with pytest.raises(ValueError, match="read-only"):
            array.flat[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        counts["spike_out"][0, 0] = 1


def test_lists_and_small_integers_are_taken():
    arguments = table()
    small = {key: arguments[key].astype(np.int16) for key in ("values", "cores", "pairs")}
    counts = Counts(**{**arguments, **small})
    assert counts == Counts(**arguments)
    assert counts.values.dtype == counts.pairs.dtype == np.int64
    assert Counts(**{**arguments, "cores": [-1, 0, 1, 1]}) == counts


# --- join


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_join_puts_batches_end_to_end(sizes):
    arguments = table(sum(sizes), seed=sum(sizes))
    values = arguments.pop("values")
    cuts = np.cumsum(sizes)[:-1]
    parts = [
        Counts(values=part.copy(), ticks=7, active_ticks=np.arange(4), **arguments)
        for part in np.split(values, cuts)
    ]
    joined = Counts.join(parts)
    assert joined == Counts(values=values, **arguments)
    assert joined.ticks is None
    assert joined.active_ticks is None


def test_join_of_nothing():
    with pytest.raises(SimulationError, match=r"^no counts to join$"):
        Counts.join([])


@pytest.mark.parametrize(
    "other",
    [
        {"layers": ("input", "a", "b", "b")},
        {"cores": (-1, 1, 0, 1)},
        {"seed": 1},  # other pairs
        {"layers": ("input", "a"), "cores": (-1, 0)},
        {"hardware": dataclasses.replace(HARDWARE, chip="other")},
    ],
    ids=["layers", "cores", "pairs", "rows", "hardware"],
)
def test_counts_of_different_mappings_are_not_joined(other):
    parts = [Counts(**table()), Counts(**table()), Counts(**table(**other))]
    with pytest.raises(SimulationError) as error:
        Counts.join(parts)
    assert str(error.value) == (
        "counts at position 2 are of another mapping than the first; only batches of one mapping "
        "can be joined"
    )


# --- tables


def test_format_table():
    found = format_table(["name", "n"], [["a", 1], ["longer", 1000], ["", ""]])
    assert found.split("\n") == [
        "name       n",
        "------  ----",
        "a          1",
        "longer  1000",
        "",
    ]
    assert format_table(["only"], []) == "only\n----"


def test_the_printed_table_is_per_inference():
    counts = one_layer(2, spike_in=3, xnor_event=4, skip_weight=1, skip_act=1995, spike_out=1)
    header, titles, _, entry, only = str(counts).split("\n")
    assert header == "counts per inference, mean of 2 on paper"
    assert titles.split() == [
        *("layer", "spike_in", "xnor_event", "graded_event"),
        *("skip_act", "skip_weight", "spike_out", "resting"),
    ]
    assert entry.split() == ["input", *["0.0"] * 6]
    assert only.split() == ["only", "3.0", "4.0", "0.0", "1,995.0", "1.0", "1.0", "99.8%"]
    assert "mean of 0" in str(one_layer(0))


def test_every_action_says_what_it_is():
    assert len(ACTIONS) == len(set(ACTIONS.values()))
    for name, text in ACTIONS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert text[:1].islower()
        assert not text.endswith(".")


# --- what a run counts


@pytest.mark.parametrize("mode", ["reference", "count", "timed"])
@pytest.mark.parametrize("seed", range(5000, 5006))
def test_relations_between_actions(seed, mode):
    network = random_network(seed)
    rng = np.random.default_rng(seed)
    mapping = random_mapping(network, rng)
    counts = nm.simulate(mapping, random_samples(network, rng, 3), mode=mode).counts
    c = {name: counts[name] for name in NAMES}
    events = c["xnor_event"] + c["graded_event"]
    assert np.array_equal(events + c["skip_act"] + c["skip_weight"], np.tile(counts.pairs, (3, 1)))
    assert np.array_equal(c["acc_add"], events)
    assert np.array_equal(c["axon_read"], c["spike_in"])
    assert np.array_equal(c["fifo_push"], c["spike_in"] + c["token_in"])
    assert np.array_equal(c["fifo_pop"], c["fifo_push"])
    if mapping.chip.storage == "dense":
        assert np.array_equal(c["gate_check"], events + c["skip_weight"])
    assert (c["packet_out"].sum(axis=1) == c["spike_in"].sum(axis=1)).all(), "a packet got lost"
    assert (c["token_out"].sum(axis=1) == c["token_in"].sum(axis=1)).all(), "a token got lost"
    if mapping.chip.sync == "barrier":
        assert (c["barrier"] > 0).any()
    else:
        assert not c["barrier"].any()
    updates = (c["neuron_update_active"] + c["neuron_update_idle"]).sum(axis=1)
    assert (updates == network.neurons).all(), "every neuron is thresholded or read out"
    assert set(counts.by_layer()) == {"input", *(s.name for s in network.stages)}
    assert counts == counts.join([counts])


# --- totals of learning


def test_learning_actions_are_a_table_of_their_own():
    assert not set(events.LEARNING_ACTIONS) & set(ACTIONS)
    assert len(set(events.LEARNING_ACTIONS.values())) == len(events.LEARNING_ACTIONS)


def learned(**given):
    names = tuple(events.LEARNING_ACTIONS)
    hardware = Hardware(
        chip="c", dataflow="scatter", tick_s=1e-9, cores_used=2,
        synapse_memory_bits=8, state_memory_bits=8, axon_memory_bits=8,
    )  # fmt: skip
    settings = {
        "actions": names,
        "values": np.arange(3 * len(names)).reshape(1, 3, len(names)),
        "layers": ("input", "a", "a"),
        "cores": np.array([-1, 0, 1]),
        "pairs": np.array([0, 7, 7]),
        "inferences": 4,
        "hardware": hardware,
    }
    return events.Counts(**{**settings, **given})


def test_counts_of_learning_add_up_by_action_and_layer():
    found = learned()
    n = len(events.LEARNING_ACTIONS)
    place = list(events.LEARNING_ACTIONS).index("dst_attempt")
    assert found.total("dst_attempt") == 3 * place + 3 * n
    assert found.per_inference("dst_attempt") == found.total("dst_attempt") / 4
    assert found.by_layer()["a"].tolist() == (found.values[0, 1] + found.values[0, 2]).tolist()
    assert f"{3 * n / 4 + place / 2:,.1f}" in str(found).splitlines()[-1]
    with pytest.raises(KeyError, match="no action 'acc_add'; actions are margin_cmp, "):
        found["acc_add"]
    both = events.Counts.join([found, found])
    assert (both.samples, both.total("lut_read")) == (8, 2 * found.total("lut_read"))


def test_counts_of_other_actions_are_refused():
    with pytest.raises(SimulationError, match=r"counts are of margin_cmp, lut_read, …; they must"):
        learned(actions=("margin_cmp", "lut_read"))
    nothing = np.zeros((1, 3, len(ACTIONS)), np.int64)
    other = learned(values=nothing, actions=ACTIONS, pairs=np.zeros(3, np.int64))
    with pytest.raises(SimulationError, match="of another mapping than the first"):
        events.Counts.join([learned(), other])
    with pytest.raises(SimulationError, match=r"counts have shape \[1, 3, 2\]; need \[samples, 3"):
        learned(values=np.zeros((1, 3, 2), np.int64))
    with pytest.raises(SimulationError, match="counts hold a negative tally"):
        learned(values=np.full((1, 3, len(events.LEARNING_ACTIONS)), -1))
