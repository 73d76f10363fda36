"""Chips: presets with their evidence, and one sentence for every file that is none.

The oracle for presets is ``tomllib`` and the figures of the cited papers,
typed in here again; sentences are tested by their text.
"""

import dataclasses
import os
import re
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.chip import KEYS, PRESETS, Kind, list_chips
from neuromorph.errors import ChipError, MappingError
from neuromorph.mapping import check_fit, load_mapping, save_mapping
from neuromorph.network import Input, Linear, Network, Readout, Threshold

GXNOR45 = (PRESETS / "gxnor45.toml").read_text(encoding="utf-8")


def sentence(function, *args, **kwargs):
    """The one sentence of the ChipError that a call must raise."""
    with pytest.raises(ChipError) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    assert text.strip()
    assert "\n" not in text
    return text


@pytest.fixture
def broken(tmp_path):
    """Load gxnor45 with one text replaced; the sentence without the path."""

    def load(old, new, count=1):
        assert GXNOR45.count(old) >= count, old
        path = tmp_path / "chip.toml"
        path.write_text(GXNOR45.replace(old, new), encoding="utf-8")
        text = sentence(nm.load_chip, path)
        assert text.startswith(f"{path}"), text
        return text.removeprefix(f"{path}").lstrip(": ")

    return load


# --- presets


def test_list_of_presets():
    assert list_chips() == [
        "gxnor45", "loihi14", "odin28", "seneca22", "tianjic28", "truenorth28",
    ]  # fmt: skip
    assert list_chips() == sorted(list_chips())


@pytest.mark.parametrize("name", list_chips())
def test_every_number_of_a_preset_has_value_kind_and_source(name):
    data = tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
    chip = nm.load_chip(name)
    numbers = 0
    for table, entries in data.items():
        if not isinstance(entries, dict):
            assert isinstance(entries, str), f"{table} is a bare number, without evidence"
            continue
        for key, entry in entries.items():
            assert set(entry) == {"value", "kind", "source"}, key
            fact = chip.facts[f"{table}.{key}"]
            assert (fact.value, fact.kind, fact.source) == tuple(entry.values())
            assert fact.kind in get_args(Kind)
            assert len(fact.source) > 5
            numbers += 1
    known = sum(getattr(chip, name) is not None for name in KEYS)
    assert numbers == len(chip.facts) == known
    for field, key in KEYS.items():
        known = chip.facts[key].value if key in chip.facts else None
        assert getattr(chip, field) == known, field


@pytest.mark.parametrize("name", list_chips())
def test_what_a_preset_assumes_says_why(name):
    for key, fact in nm.load_chip(name).facts.items():
        if fact.kind == "assumed":
            assert "not in the cited text" in fact.source or "taken" in fact.source, key


def test_loihi_has_the_published_figures():
    """Davies et al. 2018: 128 cores of 1024 compartments and 128 KB, times in Table 1."""
    chip = nm.load_chip("loihi14")
    assert chip.cores == 128
    assert (chip.neurons, chip.synapse_bits) == (1024, 128 * 1024 * 8)
    assert (chip.axons_in, chip.axons_out) == (4096, 4096)
    seconds = {
        "synapse_ticks": 3.5e-9,
        "neuron_ticks": 8.4e-9,
        "hop_x_ticks": 4.1e-9,
        "hop_y_ticks": 6.5e-9,
        "hop_local_ticks": 2.1e-9,
        "barrier_ticks": 465e-9,
    }
    for field, published in seconds.items():
        assert getattr(chip, field) * chip.tick_s == pytest.approx(published, rel=1e-12), field
    assert (chip.sync, chip.storage, chip.kernels) == ("barrier", "sparse", "unrolled")


def test_our_own_core_is_said_to_be_a_design():
    chip = nm.load_chip("gxnor45")
    assert {f.kind for f in chip.facts.values()} == {"design"}
    assert "not silicon" in chip.description
    assert chip.tick_s == 2e-9  # 500 MHz


PUBLISHED = {  # cores, neurons, axons in: as in the tables of the papers
    "truenorth28": (4096, 256, 256),
    "odin28": (1, 256, 256),
    "tianjic28": (156, 256, 256),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_structure(name):
    chip = nm.load_chip(name)
    assert (chip.cores, chip.neurons, chip.axons_in) == PUBLISHED[name]


def test_clocks_and_memories_that_are_published():
    truenorth, odin, tianjic = (nm.load_chip(name) for name in PUBLISHED)
    assert truenorth.tick_s == 1e-3
    assert (truenorth.columns, truenorth.rows) == (64, 64)
    assert truenorth.synapse_bits == 256 * 256
    assert odin.synapse_bits == 256 * 256 * 4
    assert odin.tick_s == pytest.approx(1 / 75e6, rel=1e-12)
    assert odin.synapse_ticks * 256 == 512  # clocks a spike
    assert tianjic.tick_s == pytest.approx(1 / 300e6, rel=1e-12)


@pytest.mark.parametrize("name", ["odin28", "seneca22", "tianjic28", "truenorth28"])
def test_what_is_not_published_is_absent_and_refused_by_name(name):
    chip = nm.load_chip(name)
    assert "times.hop_x" in chip.unpublished
    assert "hop_x" not in (PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    assert chip.hop_x_ticks is None
    text = sentence(chip.times)
    assert text.startswith(f"chip '{name}' publishes no {chip.unpublished[0]} (nor ")
    assert text.endswith(
        " more times); mode 'timed' needs it: use mode 'count', or a chip file of your own with "
        "a value you assume"
    )
    assert f"not published, so no mode 'timed': {chip.unpublished[0]}" in str(chip)


def test_times_that_are_given_are_enough():
    chip = nm.load_chip("tianjic28")
    fields = [field for field, key in KEYS.items() if key in chip.unpublished]
    one = dataclasses.replace(chip, **dict.fromkeys(fields[1:], 1))
    assert sentence(one.times).startswith(f"chip 'tianjic28' publishes no {KEYS[fields[0]]}; mode")
    dataclasses.replace(chip, **dict.fromkeys(fields, 1)).times()
    nm.load_chip("gxnor45").times()
    without = dataclasses.replace(nm.load_chip("gxnor45"), hop_y_ticks=None)
    assert without.unpublished == ("times.hop_y",)
    assert "times.hop_y" not in without.facts


def small_networks():
    """Networks of one and of two layers; the fan-in fits every preset."""
    rng = np.random.default_rng(2)

    def linear(name, out, fan_in):
        return Linear(name=name, weights=rng.integers(-1, 2, (out, fan_in)))

    one = [linear("out", 7, 200), Readout()]
    two = [
        linear("fc1", 250, 200),
        Threshold(thresholds=np.tile([-3, 4], (250, 1))),
        linear("fc2", 7, 250),
        Readout(),
    ]
    entry = Input(shape=(200,))
    return [Network(name=n, input=entry, layers=w) for n, w in (("one", one), ("two", two))]


@pytest.mark.parametrize("name", list_chips())
def test_counts_are_those_of_the_reference_on_every_preset(name, tmp_path):
    chip, fitting = nm.load_chip(name), 0
    samples = np.random.default_rng(3).integers(-1, 2, (5, 200))
    for network in small_networks():
        mapping = check_fit(network, chip).mapping
        if mapping is None:
            continue
        fitting += 1
        file = tmp_path / f"{network.name}.h5"
        count = nm.simulate(mapping, samples, mode="count", trace=file)
        truth = nm.simulate(mapping, samples, mode="reference")
        assert count.counts == truth.counts
        assert np.array_equal(count.outputs, truth.outputs)
        with nm.Trace(file) as trace:
            assert trace.chip == chip
            assert trace.counts == count.counts
        if chip.unpublished:
            assert "mode 'timed' needs it" in sentence(nm.simulate, mapping, samples, mode="timed")
    assert fitting == (1 if name == "odin28" else 2)


def test_the_template_is_a_chip_with_every_key():
    path = Path(__file__).parents[1] / "docs" / "chip-template.toml"
    chip = nm.load_chip(path)
    assert set(chip.facts) == set(KEYS.values())
    assert chip.unpublished == ()
    assert nm.map_network(nm.load_network("digits-gxnor"), chip).cores_used > 6
    commented = path.read_text(encoding="utf-8").replace("# dead_cores", "dead_cores")
    assert tomllib.loads(commented)["mesh"]["dead_cores"] == [5, 9]


# --- dead links


def test_a_network_without_a_way_does_not_fit(tmp_path):
    """The port has no way out but to the south, and that is dead too."""
    network = nm.load_network("digits-gxnor")
    dead = '[mesh]\ndead_links = [[0, 0, "east"], [9, 9, "north"], [0, 0, "south"]]'
    text = GXNOR45.replace("[mesh]", dead)
    (tmp_path / "chip.toml").write_text(text, encoding="utf-8")
    chip = nm.load_chip(tmp_path / "chip.toml")
    assert chip.dead_links == ((0, 0, "east"), (0, 0, "south"), (9, 9, "north"))
    assert "dead links: 0,0 east, 0,0 south, 9,9 north\n" in str(chip)
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    path = save_mapping(mapping, tmp_path / "map.json")
    with pytest.raises(MappingError) as caught:
        nm.map_network(network, chip)
    assert re.fullmatch(
        r"network 'digits-gxnor' does not fit chip 'gxnor45': whole network \(255 of 256 cores "
        r"are cut off by dead links\) needs 6 cores, 1 available; use a larger mesh or larger "
        r"cores, several chips \(\[board\]\), or a smaller network",
        str(caught.value),
    )
    whole = dataclasses.replace(chip, dead_links=[(9, 9, "north")])
    assert nm.map_network(network, whole).slices == mapping.slices
    cut = '"dead_links": [[0, 0, "east"], [0, 0, "south"]]'
    path.write_text(path.read_text().replace('"dead_links": []', cut))
    with pytest.raises(MappingError) as caught:
        load_mapping(path, network)
    assert re.fullmatch(
        r".*map\.json: mesh cut by dead links \(tile 0,1 from tile 0,0\), \d+ ways are missing",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("dead", "says"),
    [
        ([(16, 0, "west")], "a link from tile 16,0 to the west; the mesh has 16 × 16 tiles"),
        ([(0, 0, "north")], "a link from tile 0,0 to the north; the mesh has 16 × 16 tiles"),
        ([(0, 0, "up")], "(0, 0, 'up'); give column, row and one of east, west, south, north"),
        ([(0, "east")], "(0, 'east'); give column, row and one of east, west, south, north"),
    ],
)
def test_dead_links_that_are_not_there(dead, says):
    found = sentence(dataclasses.replace, nm.load_chip("gxnor45"), dead_links=dead)
    assert found == f"mesh.dead_links has {says}"


# --- dead cores


def test_dead_cores_hold_nothing(tmp_path):
    path = tmp_path / "chip.toml"
    text = GXNOR45.replace("[mesh]", "[mesh]\ndead_cores = [17, 0, 1, 17]")
    path.write_text(text, encoding="utf-8")
    chip = nm.load_chip(path)
    assert chip.dead_cores == (0, 1, 17)
    assert chip.working_cores == 253
    assert "dead cores: 0, 1, 17\n" in str(chip)
    used = {s.core for s in nm.map_network(nm.load_network("digits-gxnor"), chip).slices}
    assert len(used) == 6
    assert not used & {0, 1, 17}


def test_too_few_cores_are_left():
    network, chip = nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")
    six = dataclasses.replace(chip, dead_cores=range(250))
    assert {s.core for s in nm.map_network(network, six).slices} == set(range(250, 256))
    with pytest.raises(MappingError) as caught:
        nm.map_network(network, dataclasses.replace(chip, dead_cores=range(251)))
    assert str(caught.value) == (
        "network 'digits-gxnor' does not fit chip 'gxnor45': whole network (251 of 256 cores are "
        "dead) needs 6 cores, 5 available; use a larger mesh or larger cores, "
        "several chips ([board]), or a smaller network"
    )


@pytest.mark.parametrize(
    ("dead", "says"),
    [
        ([256], "mesh.dead_cores names core 256; cores of the mesh are 0 to 255"),
        ([3, -1], "mesh.dead_cores names core -1; cores of the mesh are 0 to 255"),
        ([1.5], "mesh.dead_cores is 1.5; it must be a whole number"),
    ],
)
def test_dead_cores_that_are_not_there(dead, says):
    assert sentence(dataclasses.replace, nm.load_chip("gxnor45"), dead_cores=dead) == says


def test_dead_cores_in_a_file_are_a_list_of_numbers(broken):
    text = broken("[mesh]", '[mesh]\ndead_cores = ["a"]')
    assert text == "mesh.dead_cores[0] is 'a'; it must be a whole number"


def test_tiles_count_along_rows():
    chip = nm.load_chip("loihi14")  # 8 × 4 tiles of 4
    assert [chip.tile(core) for core in (0, 3, 4, 31, 32, 127)] == [
        (0, 0), (0, 0), (1, 0), (7, 0), (0, 1), (7, 3),
    ]  # fmt: skip


def test_a_file_may_be_anywhere_and_any_path(tmp_path):
    path = tmp_path / "my chip.toml"
    path.write_text(GXNOR45, encoding="utf-8")
    assert nm.load_chip(path) == nm.load_chip(str(path)) == nm.load_chip("gxnor45")
    assert nm.load_chip(path).text == GXNOR45


@pytest.mark.parametrize("name", list_chips())
def test_printed_chip_shows_every_source_in_a_hundred_columns(name):
    chip = nm.load_chip(name)
    text = str(chip)
    assert max(map(len, text.splitlines())) <= 100
    words = text.split()
    for key, fact in chip.facts.items():
        assert key in words
        assert all(word in words for word in fact.source.split()), key


# --- files that are none


def test_unknown_name_lists_the_presets():
    assert sentence(nm.load_chip, "gxnor54") == (
        f"no chip 'gxnor54': no such file; presets are {', '.join(list_chips())}"
    )
    assert sentence(nm.load_chip, "").startswith("no chip ''")


def test_a_folder_is_no_chip(tmp_path):
    assert "no such file" in sentence(nm.load_chip, tmp_path)


def test_name_too_long():
    assert sentence(nm.load_chip, "x" * 300).endswith(": File name too long")


def test_not_toml(broken):
    assert broken('sync = "token"', "sync = token").startswith("is not a TOML file: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "chip.toml is empty"),
        (b"# nothing but a remark", "chip.toml is empty"),
        (b'name = "a"', "key 'description' is missing; it must be text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(range(256)), "is not a TOML file: "),
        (b'name = "\xff\xfe"', "is not a TOML file: "),
        (b"[" * 100_000, "is not a TOML file: "),
        (b"a = " + b"[" * 100_000, "is not a TOML file: "),
        (b'name = "a"\nname = "b"', "is not a TOML file: Cannot overwrite a value"),
        (b"x" * (1 << 20) + b"y", f"has {(1 << 20) + 1} bytes; a chip file has at most {1 << 20}"),
    ],
    ids=["empty", "remark", "short", "hdf5", "not-utf8", "nested", "nested-list", "twice", "huge"],
)
def test_foreign_files(tmp_path, content, says):
    path = tmp_path / "chip.toml"
    path.write_bytes(content)
    assert says in sentence(nm.load_chip, path)


@pytest.mark.parametrize("part", [0.1, 0.35, 0.5, 0.8, 0.99])
def test_truncated(tmp_path, part):
    path = tmp_path / "chip.toml"
    path.write_text(GXNOR45[: int(len(GXNOR45) * part)], encoding="utf-8")
    text = sentence(nm.load_chip, path)
    assert "is not a TOML file" in text or re.search(r"key '.*' is missing; it must be ", text)


def test_unreadable(tmp_path, monkeypatch):
    path = tmp_path / "chip.toml"
    path.write_text(GXNOR45, encoding="utf-8")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert sentence(nm.load_chip, path) == f"cannot read chip file {path}: Permission denied"


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything, so nothing to test"
)
def test_unreadable_for_this_user(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text(GXNOR45, encoding="utf-8")
    path.chmod(0)
    assert sentence(nm.load_chip, path) == f"cannot read chip file {path}: Permission denied"


# --- keys and types

NEURONS = "neurons = { value = 1024,"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (NEURONS, "nerons = { value = 1024,",
         "unknown key 'core.nerons'; keys of core are neurons, syn"),
        ("[times]", "[time]", "unknown key 'time'; keys here are name, description, sync, "),
        ('sync = "token"', 'sync = "token"\ncolour = 3',
         "unknown key 'colour'; keys here are name, "),
        (NEURONS, 'neurons = { unit = "1", value = 1024,',
         "unknown key 'core.neurons.unit'; keys of core.neurons are value, kind, source"),
        ('name = "gxnor45"\n', "", "key 'name' is missing; it must be text"),
        ('storage = "dense" ', "# ", "key 'storage' is missing; it must be 'dense' or 'sparse'"),
        (NEURONS, "neurons = {", "key 'core.neurons.value' is missing; it must be a whole number"),
        (NEURONS, "neurons = 1024 #",
         "core.neurons is 1024; it must be a table with value, kind, source"),
        (NEURONS, 'neurons = { value = "1024",',
         "core.neurons.value is '1024'; it must be a whole number"),
        (NEURONS, "neurons = { value = 10.5,",
         "core.neurons.value is 10.5; it must be a whole number"),
        (NEURONS, "neurons = { value = true,",
         "core.neurons.value is true; it must be a whole number"),
        ("value = 2e-9", 'value = "2e-9"', "times.tick_s.value is '2e-9'; it must be a number"),
        ('sync = "token"', 'sync = "tokens"', "sync is 'tokens'; it must be 'barrier' or 'token'"),
        ('"scatter"', '"gathers"',
         "dataflow is 'gathers'; it must be one of 'dense', 'gather', 'scatter', 'stationary'"),
        ('"shared"', "1", "kernels is 1; it must be 'shared' or 'unrolled'"),
        ('1024, kind = "design"', '1024, kind = "guess"',
         "core.neurons.kind is 'guess'; it must be one of 'assumed', 'derived', 'design', "),
        ('1024, kind = "design", source = "neuromorph"', '1024, kind = "design", source = ""',
         "core.neurons.source is ''; it must be text that is not empty"),
        ('1024, kind = "design", source = "neuromorph"', '1024, kind = "design"',
         "key 'core.neurons.source' is missing; it must be text that is not empty"),
    ],
)  # fmt: skip
def test_keys_and_types(broken, old, new, says):
    assert says in broken(old, new)


# --- numbers out of range, choices against each other


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("columns = { value = 16,", "columns = { value = 0,",
         "mesh.columns is 0; it must be 1 to 1024"),
        ("rows = { value = 16,", "rows = { value = -1,", "mesh.rows is -1; it must be 1 to 1024"),
        ("columns = { value = 16,", "columns = { value = 1025,",
         "mesh.columns is 1025; it must be 1 to 1024"),
        ("cores_per_tile = { value = 1,", "cores_per_tile = { value = 0,",
         "mesh.cores_per_tile is 0; it must be 1 to"),
        ("cores_per_tile = { value = 1,", "cores_per_tile = { value = 4097,",
         "the mesh has 1048832 cores; at most 1048576 are simulated"),
        (NEURONS, "neurons = { value = 0,", "core.neurons is 0; it must be 1 to"),
        (NEURONS, f"neurons = {{ value = {2**70},", f"core.neurons is {2**70}; it must be 1 to"),
        ("accumulator_bits = { value = 16,", "accumulator_bits = { value = 65,",
         "core.accumulator_bits is 65; it must be 1 to 64"),
        ("axon = { value = 1,", "axon = { value = -1,",
         "times.axon is -1; it must be 0 to 1073741824"),
        ("hop_x = { value = 2,", "hop_x = { value = -2,", "times.hop_x is -2; it must be 0 to"),
        ("neuron_lanes = { value = 4,", "neuron_lanes = { value = 0,",
         "times.neuron_lanes is 0; it must be 1 to"),
        ("value = 2e-9", "value = 0.0", "times.tick_s is 0.0; it must be above 0 and at most 1 s"),
        ("value = 2e-9", "value = -2e-9", "times.tick_s is -2e-09; it must be above 0"),
        ("value = 2e-9", "value = inf", "times.tick_s is inf; it must be above 0"),
        ("value = 2e-9", "value = nan", "times.tick_s is nan; it must be above 0"),
        ("frames_in_flight = { value = 2,", "frames_in_flight = { value = 0,",
         "times.frames_in_flight is 0; it must be 1 to 64"),
        ("index_bits = { value = 0,", "index_bits = { value = 6,",
         "core.index_bits is 6, but dense storage has no index; set it to 0, or storage to sparse"),
        ('name = "gxnor45"', 'name = ""', "chip name is ''; use 1 to 64 printable characters"),
        ('name = "gxnor45"', 'name = "a\\u001bb"', "use 1 to 64 printable characters"),
        ('name = "gxnor45"', f'name = "{"x" * 65}"', "use 1 to 64 printable characters"),
    ],
)  # fmt: skip
def test_numbers_and_contradictions(broken, old, new, says):
    assert says in broken(old, new)


# --- chips made in Python


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": 0}, "mesh.columns is 0; it must be 1 to 1024"),
        ({"spike_ticks": -5}, "times.spike is -5; it must be 0 to 1073741824"),
        ({"neurons": 2.5}, "core.neurons is 2.5; it must be a whole number"),
        ({"neurons": None}, "core.neurons is None; it must be a whole number"),
        ({"sync": "clock"}, "sync is 'clock'; choose token or barrier"),
        ({"storage": "packed"}, "storage is 'packed'; choose dense or sparse"),
        ({"index_bits": 1}, "core.index_bits is 1, but dense storage has no index"),
        ({"tick_s": "fast"}, "times.tick_s is 'fast'; it must be above 0"),
        ({"name": 7}, "chip name is 7; use 1 to 64 printable characters"),
    ],
)
def test_a_variant_is_checked_too(changes, says):
    assert says in sentence(dataclasses.replace, nm.load_chip("gxnor45"), **changes)


def test_a_replaced_number_loses_its_evidence():
    chip = dataclasses.replace(nm.load_chip("loihi14"), neurons=64, sync="token")
    assert chip.facts["core.neurons"].value == 64
    assert chip.facts["core.neurons"].kind == "assumed"
    assert chip.facts["core.neurons"].source == "set in Python; the file says 1024"
    assert chip.facts["core.axons_in"].kind == "measured"


def test_a_chip_cannot_be_changed():
    chip = nm.load_chip("gxnor45")
    with pytest.raises(dataclasses.FrozenInstanceError):
        chip.neurons = 7


# --- bounds of the network-on-chip


def test_flits_of_a_packet():
    chip = nm.load_chip("gxnor45")
    assert chip.packet_flits == 1
    assert (chip.link_bits, chip.packet_bits, chip.buffer, chip.queue) == (None,) * 4
    for link, packet, flits in ((32, 32, 1), (32, 33, 2), (1, 7, 7), (64, 1, 1)):
        assert dataclasses.replace(chip, link_bits=link, packet_bits=packet).packet_flits == flits
    assert dataclasses.replace(chip, packet_bits=99).packet_flits == 1


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ({"buffer": 0}, "mesh.buffer is 0; it must be 1 to 1048576"),
        ({"queue": -1}, "core.queue is -1; it must be 1 to 1048576"),
        ({"link_bits": 0}, "mesh.link_bits is 0; it must be 1 to 1099511627776"),
        ({"packet_bits": 1 << 16}, "mesh.packet_bits is 65536; it must be 1 to 32768"),
        ({"buffer": 2.5}, "mesh.buffer is 2.5; it must be a whole number"),
    ],
)
def test_bounds_out_of_range(bound, says):
    with pytest.raises(ChipError) as caught:
        dataclasses.replace(nm.load_chip("gxnor45"), **bound)
    assert str(caught.value) == says
