"""Chips joined at their edges, and input ports with a place and a rate.

Engines against each other, a board against one big mesh of the same tiles, and
what can be worked out by hand.
"""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_splitting import CASES
from test_timed import check_engines, check_equal, outcome
from test_ways import case as tree_case

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.errors import ChipError, LearningError
from neuromorph.events import HOPS
from neuromorph.interop import export_trace
from neuromorph.kernels import counting
from neuromorph.kernels import timed as kernel
from neuromorph.kernels import traffic as kernel_traffic
from neuromorph.learning import Rule
from neuromorph.mapping import link_packets, load_mapping, save_mapping
from neuromorph.mapping.board import chip_edges
from neuromorph.mapping.slices import source_tiles
from neuromorph.network import Input, Linear, Network, Readout
from neuromorph.reference import counting as reference_counting
from neuromorph.reference import timed as reference
from neuromorph.reference import traffic as reference_traffic
from neuromorph.report import write_report
from neuromorph.trace import Trace, replay, validate

GXNOR = nm.load_chip("gxnor45")
replace = dataclasses.replace


def divided(chip, rng, **costs):
    """The same mesh as a board of several chips."""
    sizes = {}
    for axis in ("columns", "rows"):
        tiles = getattr(chip, axis)
        parts = int(rng.choice([n for n in range(1, tiles + 1) if tiles % n == 0]))
        sizes |= {axis: tiles // parts, f"board_{axis}": parts}
    return replace(chip, **sizes, **costs)


def random_costs(rng):
    return {
        "board_hop_ticks": int(rng.integers(0, 30)),
        "board_link_ticks": int(rng.integers(0, 9)),
        "board_link_bits": None if rng.random() < 0.3 else int(rng.integers(1, 5)),
    }


def random_ports(chip, rng):
    tiles = chip.mesh_columns * chip.mesh_rows
    chosen = rng.choice(tiles, min(tiles, int(rng.integers(1, 5))), replace=False)
    ports = [(int(n % chip.mesh_columns), int(n // chip.mesh_columns)) for n in chosen]
    return {"ports": ports, "port_rate": int(rng.integers(1, 6))}


SPLIT = [case.values for case in CASES if len(case.values[0].slices) < 100]


def mapped(seed):
    """A mapping with trees, dead links, bounds, deadlocks, or a fan-in that is split."""
    if seed % 3:
        return tree_case(300 + seed)
    mapping, raw = SPLIT[seed // 3]
    return mapping, mapping.network.encode(raw)


# --- boards


@pytest.mark.parametrize("seed", range(24))
def test_engines_agree_on_boards_with_ports(seed):
    mapping, encoded = mapped(seed)
    rng = np.random.default_rng([seed, 11])
    chip = divided(mapping.chip, rng, **random_costs(rng))
    board = replace(mapping, chip=replace(chip, **(random_ports(chip, rng) if seed % 4 else {})))
    if board.ways.lost is None:
        check_engines(board, encoded)
        found = counting.count(board, encoded).counted
        truth = reference_counting.count(board, encoded).counted
        assert all(np.array_equal(found[name], truth[name]) for name in found)


@pytest.mark.parametrize("seed", range(15))
def test_a_board_is_one_mesh_with_links_of_another_cost(seed):
    """With equal costs nothing but the names of the hops differs."""
    mapping, encoded = mapped(seed)
    if mapping.ways.lost is not None:
        return
    rng = np.random.default_rng([seed, 12])
    hop = int(rng.integers(0, 6))
    whole = replace(mapping.chip, hop_x_ticks=hop, hop_y_ticks=hop)
    chip = divided(whole, rng, board_hop_ticks=hop, board_link_ticks=whole.link_ticks)
    one, board = (outcome(kernel, replace(mapping, chip=c), encoded) for c in (whole, chip))
    if not isinstance(one, str):
        a, b = one[0].counted, board[0].counted
        crossed = sum(a[name] for name in HOPS)
        assert np.array_equal(crossed, sum(b[name] for name in HOPS))
        assert not a["hop_chip"].any()
        assert (
            (b["hop_chip"].sum() > 0)
            or chip.chips == 1
            or not link_packets(replace(mapping, chip=chip))[chip_edges(chip)].any()
        )
        for name in HOPS:
            b[name] = a[name]
    check_equal(one, board)
    costly = replace(chip, board_hop_ticks=hop + 100)
    dear = outcome(kernel, replace(mapping, chip=costly), encoded)
    if not isinstance(dear, str) and not isinstance(board, str):
        assert (dear[0].ticks > board[0].ticks) <= (chip.chips > 1)


def edge_case():
    """One input to one read-out neuron, on two chips of one tile."""
    network = Network(
        name="edge",
        input=Input(shape=(1,)),
        layers=[Linear(name="out", weights=[[1]]), Readout()],
    )
    chip = replace(
        GXNOR, columns=1, rows=1, board_columns=2, board_rows=1, board_hop_ticks=20,
        board_link_ticks=6, board_link_bits=2, packet_bits=8, inject_ticks=4, hop_local_ticks=2,
        axon_ticks=3, synapse_ticks=2, neuron_ticks=5,
    )  # fmt: skip
    mapping = nm.map_network(network, chip)
    return replace(mapping, slices=tuple(replace(s, core=1) for s in mapping.slices))


def test_a_packet_from_chip_to_chip_tick_by_tick():
    """The table of docs/mapping.md."""
    mapping = edge_case()
    assert (mapping.chip.packet_flits, mapping.chip.board_flits) == (1, 4)
    east, core = 0 * 5 + 0, 1 * 5 + 4
    for engine, options in ((kernel, {}), (kernel, {"agenda": "heap"}), (reference, {})):
        encoded = np.array([[1]], np.int16)
        tally, packets, hops = outcome(engine, mapping, encoded, **options)
        # spike: sent at 4; token: sent at 8, the link is busy for 4 flits of 6 until 28
        assert packets[["sent", "delivered"]].tolist() == [(4, 26), (8, 50)]
        assert hops.tolist() == [
            (4, 0, east, 0), (8, 1, east, 20), (26, 0, core, 0), (50, 1, core, 0),
        ]  # fmt: skip
        # spike served 26 → 31, token 50 → 53, neuron read out in 5
        assert tally.finished.tolist() == [58]
        assert [int(tally.counted[name].sum()) for name in HOPS] == [0, 0, 2]
        assert tally.timing.link_busy[0, 0].tolist() == [48, 0, 0, 0]
        assert tally.timing.link_waited[0, 0].tolist() == [20, 0, 0, 0]
        # with room for one packet the token waits in the port instead
        tight = replace(mapping, chip=replace(mapping.chip, buffer=1))
        tally, packets, _ = outcome(engine, tight, encoded, **options)
        assert packets[["sent", "delivered"]].tolist() == [(4, 26), (28, 50)]
        assert tally.timing.blocked.tolist() == [20, 0]
        assert not tally.timing.link_waited.any()


@pytest.mark.parametrize("seed", range(20))
def test_traffic_on_boards(seed):
    rng = np.random.default_rng(seed)
    chip = replace(
        GXNOR, columns=int(rng.integers(1, 4)), rows=int(rng.integers(1, 4)), hop_x_ticks=3,
        board_columns=int(rng.integers(1, 4)), board_rows=int(rng.integers(1, 4)),
        packet_bits=5, buffer=None if seed % 2 else 2, **random_costs(rng),
    )  # fmt: skip
    tiles = rng.integers(0, chip.mesh_columns * chip.mesh_rows, (200, 2))
    ticks = np.sort(rng.integers(0, 300, 200))
    slow, load = reference_traffic.route(chip, ticks, tiles)
    for agenda in ("wheel", "heap"):
        fast, same = kernel_traffic.route(chip, ticks, tiles, agenda=agenda)
        assert np.array_equal(fast, slow)
        assert load == same
    # links between chips, counted by walking
    least = np.zeros(200, int)
    for number, (start, goal) in enumerate(tiles.tolist()):
        x, y = start % chip.mesh_columns, start // chip.mesh_columns
        while (x, y) != (goal % chip.mesh_columns, goal // chip.mesh_columns):
            dx = int(np.sign(goal % chip.mesh_columns - x))
            dy = 0 if dx else int(np.sign(goal // chip.mesh_columns - y))
            is_edge = x // chip.columns != (x + dx) // chip.columns
            is_edge |= y // chip.rows != (y + dy) // chip.rows
            inside = chip.hop_x_ticks if dx else chip.hop_y_ticks
            least[number] += chip.board_hop_ticks if is_edge else inside
            x, y = x + dx, y + dy
    assert (slow - ticks >= least + chip.hop_local_ticks).all()
    alone, _ = kernel_traffic.route(replace(chip, buffer=None), ticks[:1], tiles[:1])
    assert alone[0] - ticks[0] == least[0] + chip.hop_local_ticks


def test_a_network_that_fits_one_chip_stays_there_if_edges_are_slow():
    network = nm.load_network("digits-gxnor")
    board = replace(
        nm.load_chip("truenorth28"), columns=8, rows=8, board_columns=2,
        hop_x_ticks=1, hop_y_ticks=1, board_hop_ticks=1, board_link_ticks=1,
    )  # fmt: skip
    used, crossing = [], []
    for ticks in (1, 10):
        mapping = nm.map_network(network, replace(board, board_hop_ticks=ticks))
        load = link_packets(mapping)
        assert load.sum() == mapping.packet_hops
        assert load[chip_edges(board)].sum() == mapping.edge_hops
        used.append(mapping.chips_used)
        crossing.append(mapping.edge_hops)
    assert used == [2, 1]
    assert crossing[0] > crossing[1] == 0


def test_what_crosses_chips_is_said():
    mapping = edge_case()
    assert "2 of 2" not in str(mapping)
    assert "1 of 2 cores on 1 of 2 chips, 1 packet-hops" in str(mapping)
    assert "1 of them between chips" in str(mapping)
    chip = mapping.chip
    assert "2 × 1 such chips joined at their edges: 2 × 1 tiles, 2 cores" in str(chip)
    silent = replace(chip, board_link_ticks=None)
    assert silent.unpublished == ("board.link",)
    with pytest.raises(ChipError, match=r"publishes no board.link; mode 'timed' needs it"):
        silent.times()
    assert replace(silent, board_columns=1).unpublished == ()


def test_hops_between_chips_have_a_price_of_their_own():
    counts = nm.simulate(edge_case(), [[1]]).counts
    assert (counts.total("hop_chip"), counts.total("hop_x")) == (2, 0)
    assert counts.hardware.chips == 2
    report = nm.estimate_energy(counts, nm.load_prices("horowitz45"), interval_s=1e-6)
    assert report.by_action["hop_chip"].nominal == 2 * (32 * 2.25e-12 + 0.9e-12)
    refused = nm.estimate_energy(counts, nm.load_prices("loihi14"), interval_s=1e-6)
    assert "'hop_chip'" in refused.dynamic_problem
    # both chips take their static power
    assert refused.static.nominal == pytest.approx(2 * 0.104 * 1e-6)


def test_learning_stays_on_one_chip():
    network = nm.load_network("digits-gxnor")
    mapping = nm.map_network(network, replace(GXNOR, columns=1, board_columns=6, rows=1))
    images, labels = np.zeros((2, *network.input.shape), int), np.zeros(2, int)
    with pytest.raises(LearningError, match="'gxnor45' is a board of 6; what errors cost from"):
        nm.learn(mapping, (images, labels), rule=Rule())


# --- ports


def wide(inputs, **given):
    """So many inputs, all 1, to one neuron."""
    network = Network(
        name="wide",
        input=Input(shape=(inputs,)),
        layers=[Linear(name="out", weights=np.ones((1, inputs), int)), Readout()],
    )
    return nm.map_network(network, replace(GXNOR, sync="barrier", inject_ticks=1, **given))


@pytest.mark.parametrize("inputs", [1, 7, 12, 60])
@pytest.mark.parametrize("rate", [1, 4, 5])
@pytest.mark.parametrize("ports", [1, 3])
def test_packets_enter_at_the_rate_of_the_ports(inputs, rate, ports):
    """N packets through P ports of rate p have left after ⌈⌈N/P⌉/p⌉ ticks."""
    tiles = [(0, 0), (3, 1), (15, 15)][:ports]
    mapping = wide(inputs, ports=tiles, port_rate=rate)
    for engine in (kernel, reference):
        tally, packets, _ = outcome(engine, mapping, np.ones((1, inputs), np.int16))
        assert packets["sent"].max() == math.ceil(math.ceil(inputs / ports) / rate)
        assert tally.timing.busy[0] == packets["sent"].max()
        sent = np.sort(packets["sent"])
        assert sent.tolist() == sorted(1 + i // ports // rate for i in range(inputs))
    x, y = mapping.tiles[1]
    far = [abs(tiles[i % ports][0] - x) + abs(tiles[i % ports][1] - y) for i in range(inputs)]
    assert tally.counted["hop_x"].sum() + tally.counted["hop_y"].sum() == sum(far)
    assert mapping.packet_hops == link_packets(mapping).sum() == sum(far)
    assert nm.simulate(mapping, np.ones((1, inputs), int), mode="timed").counts == (
        nm.simulate(mapping, np.ones((1, inputs), int)).counts
    )


def test_the_default_port_is_one_at_the_corner():
    mapping, encoded = tree_case(301)
    said = replace(mapping, chip=replace(mapping.chip, ports=[(0, 0)], port_rate=1))
    check_equal(outcome(kernel, mapping, encoded), outcome(kernel, said, encoded))


def test_slices_are_placed_near_their_port():
    network = nm.load_network("digits-gxnor")
    corner = nm.map_network(network, GXNOR)
    middle = nm.map_network(network, replace(GXNOR, ports=[(9, 6)]))
    assert middle.packet_hops <= corner.packet_hops
    assert np.abs(middle.tiles[1:] - (9, 6)).sum(axis=1).max() <= 4


PORTS = '[ports]\ntiles = {}\nrate = {{ value = {}, kind = "design", source = "why" }}\n'


@pytest.mark.parametrize(
    ("tiles", "rate", "says"),
    [
        ("[[16, 0]]", 1, "ports.tiles names tile 16,0; the mesh has 16 × 16 tiles"),
        ("[[0, -1]]", 1, "ports.tiles names tile 0,-1; the mesh has 16 × 16 tiles"),
        ("[[2, 3], [2, 3]]", 1, "ports.tiles names tile 2,3 twice; name each port once"),
        ("[]", 1, "ports.tiles is empty; name a tile, or leave the table out"),
        ("[[0, 0]]", 0, "ports.rate is 0; it must be 1 to 1048576"),
        (
            "[[0, 0, 1]]",
            1,
            "ports.tiles[0] is [0, 0, 1]; it must be a list of 2, each a whole number",
        ),
    ],
)
def test_ports_that_cannot_be(tiles, rate, says, tmp_path):
    text = (nm.chip.PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    file = tmp_path / "chip.toml"
    file.write_text(text + PORTS.format(tiles, rate), encoding="utf-8")
    with pytest.raises(ChipError) as caught:
        nm.load_chip(file)
    assert str(caught.value) == f"{file}: {says}"


def test_a_port_on_a_dead_tile():
    dead = [(0, 0, "east"), (0, 0, "south")]
    says = "ports.tiles names tile 0,0, whose cores and links are all dead; put the port on another"
    with pytest.raises(ChipError, match=says):
        replace(GXNOR, dead_links=dead, dead_cores=[0], ports=[(0, 0)])
    elsewhere = replace(GXNOR, dead_links=dead, dead_cores=[0], ports=[(5, 5)])
    assert elsewhere.cut_off == ((0, 0),)


def test_a_board_file(tmp_path):
    text = (nm.chip.PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    number = '{{ value = {}, kind = "design", source = "why" }}'
    board = "\n".join(
        f"{key} = {number.format(value)}"
        for key, value in (("columns", 2), ("rows", 3), ("hop", 9), ("link", 4), ("link_bits", 8))
    )
    file = tmp_path / "chip.toml"
    file.write_text(f"{text}[board]\n{board}\n{PORTS.format('[[31, 47]]', 2)}", encoding="utf-8")
    chip = nm.load_chip(file)
    assert (chip.chips, chip.mesh_columns, chip.mesh_rows, chip.cores) == (6, 32, 48, 1536)
    assert chip.tile(chip.cores - 1) == chip.port_tiles[0] == (31, 47)
    assert chip.facts["board.hop"].value == chip.times().board_hop == 9
    for old, new, says in (
        (
            "columns = { value = 2,",
            "colums = { value = 2,",
            "unknown key 'board.colums'; keys of board are columns, rows, hop, link, link_bits",
        ),
        (
            "columns = { value = 2,",
            "columns = { value = 65,",
            "the board has 1040 columns of tiles",
        ),
        (
            "hop = { value = 9,",
            "hop = { value = -9,",
            "board.hop is -9; it must be 0 to 1073741824",
        ),
        ("[[31, 47]]", "[[32, 47]]", "names tile 32,47; the mesh has 32 × 48 tiles"),
    ):
        changed = file.read_text(encoding="utf-8").replace(old, new)
        (tmp_path / "bad.toml").write_text(changed, encoding="utf-8")
        with pytest.raises(ChipError) as caught:
            nm.load_chip(tmp_path / "bad.toml")
        assert says in str(caught.value)
    mapping = nm.map_network(nm.load_network("digits-gxnor"), chip)
    again = load_mapping(save_mapping(mapping, tmp_path / "map.json"), mapping.network)
    assert (again.chip, again.slices) == (chip, mapping.slices)


def test_a_run_and_its_trace_say_that_the_chip_is_a_board(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (nm.chip.PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    number = '{{ value = {}, kind = "design", source = "why" }}'
    across, down = number.format(3), number.format(2)
    Path("chip.toml").write_text(f"{text}[board]\ncolumns = {across}\nrows = {down}\n", "utf-8")

    def said(*arguments):
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    run = ["run", "digits-gxnor", "--samples", "1", "--trace", "run.h5", "--chip"]
    line = "6 chips, 3 across and 2 down, 256 cores each"
    assert f"\nboard     {line}\n" in said(*run, "chip.toml")
    assert f"\nboard     {line}\n" in said("trace", "info", "run.h5")
    assert json.loads(said("trace", "info", "run.h5", "--json"))["chips"] == 6
    assert json.loads(said(*run, "chip.toml", "--json"))["chips"] == 6
    said("report", "run.h5")
    assert line in Path("run.html").read_text(encoding="utf-8")
    assert "board" not in said(*run, "gxnor45")
    assert "board" not in said("trace", "info", "run.h5")
    assert json.loads(said("trace", "info", "run.h5", "--json"))["chips"] == 1


# --- tiles that are cut off


def test_tiles_that_nothing_leads_to_are_left_out():
    """Nothing goes into tile 1,0; nothing comes out of 0,3."""
    into = [(0, 0, "east"), (2, 0, "west"), (1, 1, "north")]
    out = [(0, 3, "north"), (0, 3, "east"), (0, 3, "south")]
    chip = replace(GXNOR, dead_links=[*into, *out])
    assert chip.cut_off == ((1, 0), (0, 3))
    assert chip.unusable_cores == (1, 48)
    assert chip.working_cores == 254
    mapping = nm.map_network(nm.load_network("digits-gxnor"), chip)
    assert not {s.core for s in mapping.slices} & {1, 48}
    assert "tiles cut off by them: 1,0, 0,3" in str(chip)


# --- traces


@pytest.mark.parametrize("seed", range(12))
def test_traces_of_boards_ports_and_partial_sums(seed, tmp_path):
    mapping, raw = SPLIT[seed]
    rng = np.random.default_rng([seed, 13])
    chip = divided(replace(mapping.chip, columns=16, rows=64), rng, **random_costs(rng))
    chip = replace(
        chip,
        routing="multicast" if seed % 4 == 1 else "unicast",
        buffer=2 if seed % 5 == 4 else None,
        queue=1 << 16 if seed % 5 == 4 else None,
        **(random_ports(chip, rng) if seed % 3 else {}),
    )
    mapping = replace(mapping, chip=chip)
    file = tmp_path / "run.h5"
    run = nm.simulate(mapping, raw, mode="timed", detail="hops", trace=file)
    assert validate(file) == []
    with Trace(file) as trace:
        assert (trace.chip, trace.slices) == (chip, mapping.slices)
        assert trace.counts == run.counts
        assert replay(trace, mapping.network) is None
        events = [*trace.synaptic_events(mapping.network)]
        assert sum(len(e["tick"]) for e in events) == run.counts.events
        names = {s.core: row for row, s in enumerate(mapping.slices, start=1)}
        by_row = np.zeros(mapping.rows, int)
        for e in events:
            np.add.at(by_row, [names[core] for core in e["core"].tolist()], 1)
        found = run.counts["xnor_event"] + run.counts["graded_event"]
        assert by_row.tolist() == found.sum(axis=0).tolist()
        sent = sum(len(block["tick"]) for block in trace.timed_spikes())
        assert sent <= run.counts.total("spike_out")


STORED = Path(__file__).parent / "data" / "trace-1.3.h5"  # two ports, four chips, split fan-ins


def test_exports_tell_spikes_from_partial_sums(tmp_path):
    with Trace(STORED) as trace:
        counts, packets = trace.counts, trace.packets()
        sums, spikes = counts.total("partial_in"), counts.total("spike_in")
        tiles = source_tiles(trace.chip, trace.slices, trace.network_info.inputs)
        export_trace(trace, tmp_path / "sanafe", to="sanafe")
        export_trace(trace, tmp_path / "run.json", to="perfetto")
        export_trace(trace, tmp_path / "run.sonata", to="sonata")
        is_spike = trace.is_spike(packets)
        write_report(trace, tmp_path / "run.html")
    assert min(sums, spikes, counts.total("hop_chip")) > 0
    assert {0, 8} <= set(packets["source"].tolist())  # both ports
    with open(tmp_path / "sanafe" / "messages.csv", newline="", encoding="utf-8") as file:
        messages = list(csv.DictReader(file))
    assert len(messages) == spikes == is_spike.sum()
    ends = zip(packets["source"][is_spike].tolist(), packets["target"][is_spike].tolist())
    far = [int(np.abs(tiles[source] - tiles[target]).sum()) for source, target in ends]
    assert [int(m["hops"]) for m in messages] == far
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    shown = [e["args"] for e in events if e["ph"] == "X"]
    assert sum(a.get("partial sums", 0) for a in shown) == sums
    assert sum(a.get("spikes", 0) for a in shown) == spikes
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert page.count("edge of a chip") == 2  # in each of two charts
    assert page.count("<title>input port") == 4
