"""Ways of packets: trees to several cores, and around dead links.

What a tree crosses is compared with the union of single ways found link by
link; engines with each other, and with arrivals that can be worked out.
"""

import dataclasses
import graphlib

import numpy as np
import pytest
from test_timed import check_engines, limited_case, tight_case

import neuromorph as nm
from networks import check_hearing, random_mapping, random_network, random_samples, roomy
from neuromorph.chip import LINK_SIDES, list_chips
from neuromorph.errors import ChipError, MappingError, SimulationError
from neuromorph.kernels import timed as kernel
from neuromorph.kernels import traffic as kernel_traffic
from neuromorph.mapping import link_packets
from neuromorph.mapping.ways import STEPS, TURNS, Ways
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.reference import timed as reference
from neuromorph.reference import traffic as reference_traffic
from neuromorph.trace import Trace, replay, validate

GXNOR = nm.load_chip("gxnor45")


def dead_links(chip, rng, share):
    return tuple(
        (x, y, side)
        for y in range(chip.rows)
        for x in range(chip.columns)
        for side, (dx, dy) in zip(LINK_SIDES, STEPS)
        if 0 <= x + dx < chip.columns and 0 <= y + dy < chip.rows and rng.random() < share
    )


def every_tile(chip):
    return np.array([(x, y) for y in range(chip.rows) for x in range(chip.columns)])


def follow(chip, start, links):
    """Tiles that links lead through, each beginning where the one before ended."""
    tiles = [start]
    for link in links:
        router, side = divmod(link, 4)
        assert router == tiles[-1][1] * chip.columns + tiles[-1][0]
        tiles.append((tiles[-1][0] + STEPS[side][0], tiles[-1][1] + STEPS[side][1]))
    return tiles


def along_x_then_y(chip, start, goal):
    """Links from tile to tile, by plain steps."""
    (x, y), links = start, []
    while (x, y) != goal:
        side = (0 if goal[0] > x else 1) if x != goal[0] else (2 if goal[1] > y else 3)
        links.append((y * chip.columns + x) * 4 + side)
        x, y = x + STEPS[side][0], y + STEPS[side][1]
    return links


@pytest.mark.parametrize("model", TURNS)
def test_buffers_never_wait_in_a_circle(model):
    """The links of a mesh, each behind those that packets come from, can be put in order."""
    columns = rows = 5
    before = {}
    for y in range(rows):
        for x in range(columns):
            for side in range(4):
                for turn in range(4):
                    if turn != side and not side < 2 <= turn and (side, turn) not in TURNS[model]:
                        continue
                    to = x + STEPS[side][0], y + STEPS[side][1]
                    if 0 <= to[0] < columns and 0 <= to[1] < rows:
                        before.setdefault((*to, turn), set()).add((x, y, side))
    assert len(list(graphlib.TopologicalSorter(before).static_order())) == columns * rows * 4


@pytest.mark.parametrize("seed", range(60))
def test_a_tree_crosses_what_its_ways_cross(seed):
    rng = np.random.default_rng(seed)
    chip = dataclasses.replace(
        GXNOR,
        columns=int(rng.integers(1, 8)),
        rows=int(rng.integers(1, 8)),
        buffer=None if seed % 2 else 2,
    )
    chip = dataclasses.replace(chip, dead_links=dead_links(chip, rng, 0.06 * (seed % 3)))
    tiles = every_tile(chip)
    pairs = rng.integers(0, len(tiles), (10, 2))
    ways = Ways(chip, tiles, pairs)
    if ways.lost:
        assert chip.dead_links
        return
    dead = {(y * chip.columns + x) * 4 + LINK_SIDES.index(side) for x, y, side in chip.dead_links}
    for source in set(pairs[:, 0].tolist()):
        targets = sorted(set(pairs[pairs[:, 0] == source, 1].tolist()))
        start, union = tuple(tiles[source].tolist()), set()
        for target in targets:
            goal = tuple(tiles[target].tolist())
            path = ways.path(source, target)
            assert follow(chip, start, path)[-1] == goal
            assert not dead.intersection(path)
            straight = along_x_then_y(chip, start, goal)
            if not dead.intersection(straight):
                assert path == straight
            union |= set(path)
        tree = ways.tree(source, targets)
        crossed = [link for leg in tree.legs() for link in along_x_then_y(chip, *leg)]
        assert sorted(crossed) == sorted(union)  # each once
        assert sorted(tree.all_rows) == targets
        along_x = sum(link % 4 < 2 for link in union)
        assert ways.crossed(source, targets).tolist() == [along_x, len(union) - along_x, 0]
    lengths = [len(ways.path(source, target)) for source, target in pairs.tolist()]
    assert ways.distances(pairs).sum(axis=1).tolist() == lengths


def test_a_way_around_a_dead_link_by_hand():
    """From 0,1 east, where 1,1 → 2,1 is dead both ways: there by row 2, back alike."""
    dead = [(1, 1, "east"), (2, 1, "west")]
    chip = dataclasses.replace(GXNOR, columns=4, rows=3, dead_links=dead)
    pairs = np.array([(4, 7), (7, 4), (0, 3)])
    ways = Ways(chip, every_tile(chip), pairs)
    there, back = (
        follow(chip, start, ways.path(*p)) for start, p in (((0, 1), (4, 7)), ((3, 1), (7, 4)))
    )
    assert len(there) == len(back) == 6  # two links more
    assert ways.distances(pairs).tolist() == [[3, 2, 0], [3, 2, 0], [3, 0, 0]]


# --- engines


def case(seed):
    """A random mapping, with and without bounds, on a chip with dead links or trees or both."""
    mapping, encoded = (tight_case if seed % 4 == 3 else limited_case)(seed)
    rng = np.random.default_rng([seed, 7])
    chip = mapping.chip
    if seed % 2 == 0:
        chip = dataclasses.replace(chip, buffer=None, queue=None)
    chip = dataclasses.replace(
        chip,
        routing="multicast" if rng.random() < 0.7 else "unicast",
        dead_links=dead_links(chip, rng, 0.07) if seed % 3 else (),
    )
    return dataclasses.replace(mapping, chip=chip), encoded


@pytest.mark.parametrize("seed", range(300, 340))
def test_engines_agree_on_trees_and_around_dead_links(seed):
    """Counts, ticks, hops, loads, or the sentence of a deadlock; see ``test_timed.py``."""
    mapping, encoded = case(seed)
    if mapping.ways.lost is None:
        check_engines(mapping, encoded)


@pytest.mark.parametrize("seed", range(20))
def test_traces_of_trees_and_around_dead_links(seed, tmp_path):
    network, rng = random_network(seed), np.random.default_rng([seed, 1])
    mapping = random_mapping(network, rng)
    bounds = {"buffer": 2, "queue": 1 << 16} if seed % 2 else {}
    chip = dataclasses.replace(
        mapping.chip,
        routing="unicast" if seed % 5 == 1 else "multicast",
        dead_links=dead_links(mapping.chip, rng, 0.07) if seed % 3 == 0 else (),
        **bounds,
    )
    mapping = dataclasses.replace(mapping, chip=chip)
    if mapping.ways.lost is not None:
        return
    samples = random_samples(network, rng, 3)
    nm.simulate(mapping, samples, mode="timed", detail="hops", trace=tmp_path / "run.h5")
    assert validate(tmp_path / "run.h5") == []
    with Trace(tmp_path / "run.h5") as trace:
        assert trace.chip == chip
        assert replay(trace, network) is None


def fan_out(routing, **limits):
    """One input to the three read-out neurons on tiles 1,0 2,0 and 2,1 of a mesh."""
    network = Network(
        name="fan",
        input=Input(shape=(1,)),
        layers=[Linear(name="out", weights=[[1], [1], [-1]]), Readout()],
    )
    chip = dataclasses.replace(
        GXNOR, neurons=1, routing=routing, inject_ticks=4, hop_x_ticks=3, hop_y_ticks=5,
        hop_local_ticks=2, link_ticks=1, **limits,
    )  # fmt: skip
    mapping = nm.map_network(network, chip)
    slices = zip(mapping.slices, (1, 2, 18))
    return dataclasses.replace(
        mapping, slices=tuple(dataclasses.replace(s, core=core) for s, core in slices)
    )


@pytest.mark.parametrize("limits", [{}, {"buffer": 1}])
def test_one_packet_forks_by_hand(limits):
    """Unicast 1 + 2 + 3 links for a spike, as many for its tokens; a tree has 2 + 1."""
    mapping = fan_out("multicast", **limits)
    assert mapping.packet_hops == link_packets(mapping).sum() == 3
    assert fan_out("unicast").packet_hops == 6
    for engine in (kernel, reference):
        packets = []
        tally = engine.timed(
            mapping, np.array([[1]], np.int16), sink=lambda p, to=packets: to.extend(p.tolist())
        )
        found = {name: int(tally.counted[name].sum()) for name in tally.counted}
        assert (found["spike_out"], found["packet_out"], found["token_out"]) == (1, 1, 1)
        assert (found["spike_in"], found["token_in"], found["hop_local"]) == (3, 3, 6)
        assert (found["hop_x"], found["hop_y"]) == (4, 2)
        spikes = {target: tick for _, _, _, target, payload, _, tick in packets if payload}
        # the port is done at 4; links of 3, 3 and 5 ticks, then 2 into the core
        assert spikes == {1: 4 + 3 + 2, 2: 4 + 6 + 2, 3: 4 + 6 + 5 + 2}
    counted = nm.simulate(mapping, [[1]], mode="timed").counts
    assert counted == nm.simulate(mapping, [[1]]).counts


def test_a_tree_is_never_longer_than_its_ways():
    network = nm.load_network("digits-gxnor")
    images = np.random.default_rng(0).integers(0, 17, (5, *network.input.shape))
    for name in list_chips():
        mapping = nm.map_network(network, roomy(nm.load_chip(name)))
        tree = dataclasses.replace(mapping.chip, routing="multicast")
        tree = dataclasses.replace(mapping, chip=tree)
        single, shared = (nm.simulate(m, images).counts for m in (mapping, tree))
        for action in ("hop_x", "hop_y", "packet_out", "token_out"):
            assert (shared[action] <= single[action]).all(), action
        for action in ("spike_in", "xnor_event", "spike_out"):
            assert np.array_equal(shared[action], single[action])
        assert shared.total("hop_local") == single.total("hop_local")
        assert np.isclose(tree.packet_hops, link_packets(tree).sum())


def test_a_network_is_led_around_a_dead_link():
    network = nm.load_network("digits-gxnor")
    images = np.random.default_rng(0).integers(0, 17, (5, *network.input.shape))
    whole = nm.map_network(network, GXNOR)
    chip = dataclasses.replace(GXNOR, dead_links=[(0, 0, "east"), (1, 0, "west")], buffer=2)
    mapping = nm.map_network(network, chip)
    assert mapping.packet_hops > whole.packet_hops
    assert link_packets(mapping)[0, 0, 0] == link_packets(mapping)[0, 1, 1] == 0
    run = nm.simulate(mapping, images, mode="timed")
    assert run.counts == nm.simulate(mapping, images).counts
    assert run.timing.link_packets[0, 0, 0] == 0
    assert np.array_equal(run.outputs, nm.simulate(whole, images).outputs)


def test_traffic_around_dead_links():
    rng = np.random.default_rng(3)
    chip = dataclasses.replace(GXNOR, columns=5, rows=5, hop_x_ticks=3, hop_local_ticks=2)
    chip = dataclasses.replace(chip, dead_links=[(2, 2, "east"), (2, 3, "north"), (1, 1, "south")])
    ticks, tiles = np.sort(rng.integers(0, 200, 300)), rng.integers(0, 25, (300, 2))
    for limit in (None, 1):
        bound = dataclasses.replace(chip, buffer=limit)
        ways = Ways(bound, every_tile(bound), tiles)
        fast, load = kernel_traffic.route(bound, ticks, tiles)
        slow, same = reference_traffic.route(bound, ticks, tiles)
        assert np.array_equal(fast, slow)
        assert load == same
        assert not any(load.link_packets[y, x, LINK_SIDES.index(s)] for x, y, s in chip.dead_links)
        far = ways.distances(tiles)
        assert load.link_packets.sum() == far.sum()
        assert (fast >= ticks + far @ [3, chip.hop_y_ticks, 0] + 2).all()


# --- what is refused


def test_tiles_that_nothing_leads_to():
    chip = dataclasses.replace(GXNOR, columns=2, rows=1, dead_links=[(0, 0, "east")])
    says = (
        r"dead links of chip 'gxnor45' leave no way free of deadlock from tile 0,0 to tile 1,0, "
        r"and between 1 pairs of tiles in all that packets go"
    )
    for engine in (kernel_traffic, reference_traffic):
        with pytest.raises(SimulationError, match=says):
            engine.route(chip, [0], [[0, 1]])
    ways = Ways(chip, every_tile(chip), np.array([[1, 0]]))
    assert ways.lost is None
    with pytest.raises(MappingError, match="leave no way from tile 0,0 to tile 1,0"):
        ways.path(0, 1)


def test_bounded_buffers_allow_fewer_turns():
    """Both outer columns cut between the rows, both ways: no model leads around on both sides."""
    dead = [(x, y, side) for x in (0, 2) for y, side in ((0, "south"), (1, "north"))]
    pairs = np.array([(0, 3), (3, 0), (2, 5), (5, 2)])
    lost = {}
    for buffer in (None, 4):
        chip = dataclasses.replace(GXNOR, columns=3, rows=2, dead_links=dead, buffer=buffer)
        lost[buffer] = Ways(chip, every_tile(chip), pairs).lost
    assert lost == {None: None, 4: (4, (0, 0), (0, 1))}


def test_an_unknown_routing_is_named():
    with pytest.raises(ChipError, match="routing is 'flood'; choose unicast or multicast"):
        dataclasses.replace(GXNOR, routing="flood")


def test_hidden_layers_fork_too():
    """A spike of a hidden core to two read-out cores is one packet."""
    network = Network(
        name="two",
        input=Input(shape=(1,)),
        layers=[
            Linear(name="hidden", weights=[[1]]),
            Threshold(thresholds=[[0, 1]]),
            Linear(name="out", weights=[[1], [-1]]),
            Readout(),
        ],
    )
    mapping = nm.map_network(network, dataclasses.replace(GXNOR, neurons=1, routing="multicast"))
    counts = nm.simulate(mapping, [[1]]).counts
    assert counts["packet_out"].tolist() == [[1, 1, 0, 0]]
    assert counts["spike_in"].tolist() == [[0, 1, 1, 1]]


# --- who hears what


@pytest.mark.parametrize("seed", range(30))
def test_what_arrives_is_what_the_tables_say(seed):
    rng = np.random.default_rng(seed)
    check_hearing(random_mapping(random_network(seed), rng), rng)


def test_a_router_entered_by_two_links_by_hand(tmp_path):
    """To (2, 0) around the dead link, to (1, 1) straight: both pass (1, 1), in the same tick."""
    network = Network(
        name="fork",
        input=Input(shape=(1,)),
        layers=[Linear(name="out", weights=[[1], [1]]), Readout()],
    )
    chip = dataclasses.replace(
        GXNOR, columns=3, rows=2, neurons=1, routing="multicast", dead_links=((1, 0, "east"),)
    )
    mapping = nm.map_network(network, chip)
    slices = [dataclasses.replace(s, core=c) for s, c in zip(mapping.slices, (2, 4))]
    mapping = dataclasses.replace(mapping, slices=tuple(slices))
    nm.simulate(mapping, [[1]], mode="timed", detail="hops", trace=tmp_path / "run.h5")
    assert validate(tmp_path / "run.h5") == []
    hops, packets = next(Trace(tmp_path / "run.h5").paths())
    spike = packets["payload"] != 0
    ways = [hops["link"][hops["packet"] == n] for n in np.flatnonzero(spike)]
    routers = [[(link // 5 % 3, link // 5 // 3) for link in way] for way in ways]
    assert routers[0] == [(0, 0), (1, 0), (1, 1)] or routers[0] == [(0, 0), (0, 1), (1, 1)]
    assert routers[1][-2:] == [(2, 1), (2, 0)]
    assert sum(map(len, ways)) == 8  # six links and two cores, each once


def test_traces_of_trees_that_enter_a_router_twice(tmp_path):
    """Random placements and many dead links: every row belongs to a packet, whatever the order."""
    twice = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 3])
        neurons = int(rng.integers(3, 9))
        network = Network(
            name="fork",
            input=Input(shape=(2,)),
            layers=[Linear(name="out", weights=np.ones((neurons, 2), int)), Readout()],
        )
        chip = dataclasses.replace(
            GXNOR, columns=4, rows=4, neurons=1, routing="multicast", hop_x_ticks=1 + seed % 2
        )
        mapping = nm.map_network(network, chip)
        cores = rng.permutation(16)[:neurons].tolist()
        slices = [dataclasses.replace(s, core=c) for s, c in zip(mapping.slices, cores)]
        chip = dataclasses.replace(chip, dead_links=dead_links(chip, rng, 0.2))
        mapping = dataclasses.replace(mapping, slices=tuple(slices), chip=chip)
        if mapping.ways.lost:
            continue
        path = tmp_path / f"{seed}.h5"
        nm.simulate(mapping, [[1, -1], [0, 1]], mode="timed", detail="hops", trace=path)
        assert validate(path) == []
        links = {link for row in range(1, neurons + 1) for link in mapping.ways.path(0, row)}
        entered = [follow(chip, (link // 4 % 4, link // 16), [link])[1] for link in links]
        twice += len(set(entered)) < len(entered)
    assert twice > 5
