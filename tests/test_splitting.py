"""Fan-in over several cores: parts of sums travel to the core that owns the neurons."""

import dataclasses

import numpy as np
import pytest

import neuromorph as nm
from networks import (
    check_hearing,
    check_same,
    check_tally,
    random_network,
    random_samples,
    roomy,
    run_oracle,
)
from neuromorph.errors import MappingError
from neuromorph.kernels import counting as kernel
from neuromorph.kernels import timed as kernel_timed
from neuromorph.mapping import check_fit, load_mapping, map_network, save_mapping
from neuromorph.mapping.packets import TOKEN
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.reference import counting as reference
from neuromorph.reference import timed as reference_timed
from neuromorph.trace import Trace, replay, validate

GXNOR = nm.load_chip("gxnor45")


def split_case(seed):
    """A network whose widest layer hears more than a core, or as much if it has one channel."""
    network, rng = random_network(seed), np.random.default_rng([seed, 9])
    windows = [s.fan_in // s.input_shape[0] for s in network.stages]
    chip = dataclasses.replace(
        roomy(GXNOR),
        columns=32,
        rows=32,
        axons_in=max(windows) * int(rng.integers(1, 4)),
        sync=str(rng.choice(["token", "barrier"])),
    )
    fit = check_fit(network, chip)
    return fit.mapping, random_samples(network, rng, 3)


def cases():
    for seed in range(60):
        mapping, raw = split_case(seed)
        if mapping is not None and not all(s.owns for s in mapping.slices):
            yield pytest.param(mapping, raw, id=str(seed))


CASES = list(cases())


def test_there_are_cases():
    assert len(CASES) >= 20


@pytest.mark.parametrize(("mapping", "raw"), CASES)
def test_engines_agree_where_sums_travel(mapping, raw):
    encoded = mapping.network.encode(raw)
    found = kernel.count(mapping, encoded)
    check_tally(mapping, found, run_oracle(mapping.network, raw))
    check_same(found, reference.count(mapping, encoded))
    timed, slow = kernel_timed.timed(mapping, encoded), reference_timed.timed(mapping, encoded)
    check_same(timed, slow)
    check_same(timed, found)
    assert (timed.ticks, timed.timing) == (slow.ticks, slow.timing)
    assert found.counted["partial_out"].sum() == found.counted["partial_in"].sum()
    check_hearing(mapping, np.random.default_rng(0))


def by_hand(chip=GXNOR, **limits):
    """Four inputs and two neurons on cores of two axons: 1 · a, and a sum that cancels."""
    network = Network(
        name="split",
        input=Input(shape=(4,)),
        layers=[
            Linear(name="fc", weights=[[1, 0, 1, -1], [1, 1, 1, 1]]),
            Threshold(thresholds=[[0, 1], [0, 1]]),
            Linear(name="out", weights=[[1, 1], [1, -1]]),
            Readout(),
        ],
    )
    return map_network(network, dataclasses.replace(chip, axons_in=2, **limits))


def test_what_is_sent_by_hand():
    mapping = by_hand()
    assert [s.inputs for s in mapping.slices] == [(0, 2), (2, 4), (0, 2)]
    assert mapping.owners.tolist() == [0, 1, 1, 3]
    run = nm.simulate(mapping, [[1, 1, 1, 1], [0, 0, 0, 1]])
    # the second core: 1 − 1 = 0 stays, 1 + 1 = 2 goes; then −1 and 1
    assert run.counts["partial_out"].tolist() == [[0, 0, 1, 0], [0, 0, 2, 0]]
    assert run.counts["partial_in"].tolist() == [[0, 1, 0, 0], [0, 2, 0, 0]]
    assert run.levels("fc").tolist() == [[1, 1], [-1, 1]]
    # events, then partial sums
    assert run.counts["acc_add"].tolist() == [[0, 3 + 1, 4, 4], [0, 0 + 2, 2, 4]]
    # neurons are thresholded by their owner alone
    assert run.counts["threshold_cmp"][0].tolist() == [0, 4, 0, 0]
    assert run.counts["neuron_update_active"].tolist() == [[0, 2, 0, 2], [0, 2, 0, 2]]
    assert (run.counts["neuron_update_idle"] == 0).all()
    # spikes go only to the core that hears them
    assert run.counts["spike_in"].tolist() == [[0, 2, 2, 2], [0, 0, 1, 2]]
    # tokens: port to both, part to owner, owner to the read-out
    assert run.counts["token_out"].tolist() == [[2, 1, 1, 0]] * 2


def test_an_owner_need_not_be_listed_first():
    """A mapping file may name the parts of a box in any order: sums go to the owner."""
    mapping = by_hand()
    first, second, last = mapping.slices
    turned = dataclasses.replace(mapping, slices=(second, first, last))
    assert turned.owners.tolist() == [0, 2, 2, 3]
    traffic = turned.traffic([np.ones((4, 1, 1)), np.ones((2, 1, 1))])
    assert list(zip(traffic.source + 1, traffic.target + 1)) == [(1, 2), (2, 3)]
    assert turned.packet_hops == mapping.packet_hops


def test_an_owner_fires_a_step_after_its_parts():
    mapping = by_hand(sync="barrier")
    assert mapping.depths.tolist() == [0, 2, 1, 3]
    run = nm.simulate(mapping, np.ones((3, 4), int), mode="timed")
    assert run.counts == nm.simulate(mapping, np.ones((3, 4), int)).counts


def test_memory_splits_a_fan_in_as_axons_do():
    network = Network(
        name="wide",
        input=Input(shape=(300,)),
        layers=[Linear(name="out", weights=np.ones((2, 300), int)), Readout()],
    )
    mapping = map_network(network, dataclasses.replace(GXNOR, synapse_bits=599))
    assert [s.inputs for s in mapping.slices] == [(0, 150), (150, 300)] * len(mapping.owner_rows[0])


def test_a_partial_sum_that_no_packet_holds():
    network = Network(
        name="heavy",
        input=Input(shape=(4,), encoding="graded", bits=12),
        layers=[Linear(name="out", weights=np.full((1, 4), 128), n=8), Readout()],
    )
    chip = dataclasses.replace(GXNOR, axons_in=2, accumulator_bits=32)
    with pytest.raises(
        MappingError,
        match=r"layer 'out' needs 20 partial_sum_bits, 16 available; use a chip with more input "
        r"axons, or fewer levels",
    ):
        map_network(network, chip)


def test_mapping_files_hold_the_parts(tmp_path):
    mapping = by_hand()
    path = save_mapping(mapping, tmp_path / "map.json")
    assert load_mapping(path, mapping.network).slices == mapping.slices
    text = path.read_text()
    for bad in ("[\n    1,\n    4\n   ]", "[\n    2,\n    3\n   ]"):
        compact = text.replace(" ", "").replace("\n", "")
        wrong = bad.replace(" ", "").replace("\n", "")
        path.write_text(compact.replace('"inputs":[2,4]', f'"inputs":{wrong}'))
        with pytest.raises(MappingError, match="fan-in of layer 'fc' do not make up its 4 input"):
            load_mapping(path, mapping.network)


def test_traces_hold_partial_sums(tmp_path):
    """Of the sums that test_what_is_sent_by_hand works out; see test_boards.py for more."""
    mapping, file = by_hand(), tmp_path / "run.h5"
    run = nm.simulate(mapping, [[1, 1, 1, 1], [0, 0, 0, 1]], mode="timed", trace=file)
    assert validate(file) == []
    with Trace(file) as trace:
        packets = trace.packets()
        sums = ~trace.is_spike(packets) & (packets["neuron"] != TOKEN)
        found = {n: packets[n][sums].tolist() for n in ("sample", "source", "neuron", "payload")}
        assert found == {
            "sample": [0, 1, 1], "source": [2, 2, 2], "neuron": [1, 0, 1], "payload": [2, -1, 1],
        }  # fmt: skip
        assert packets["target"][sums].tolist() == [1, 1, 1]
        assert trace.slices == mapping.slices
        assert trace.counts == run.counts
        assert replay(trace, mapping.network) is None
    for mode in ("count", "reference"):
        nm.simulate(mapping, [[1, 1, 1, 1]], mode=mode, trace=file)
        assert validate(file) == []


def test_the_table_shows_the_parts():
    assert "of inputs" in str(by_hand())
    assert "2:4" in str(by_hand())
