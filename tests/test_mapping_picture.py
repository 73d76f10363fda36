"""What crosses every link, and the picture of a mapping."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from networks import random_chip, random_network
from neuromorph.cli import main
from neuromorph.data import load_data
from neuromorph.errors import MappingError, SimulationError
from neuromorph.mapping import check_fit, link_packets
from neuromorph.mapping.traffic import flows, spikes_of
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.report import draw_mapping

STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def walked(mapping):
    """Packets a link, every way walked link by link."""
    between = flows(mapping.network, mapping.slices, spikes_of(mapping.network, None))
    tiles = mapping.tiles[1:].tolist()
    ways = [(tiles[a], tiles[b], n) for a, b, n in zip(*_columns(between))]
    ways += [([0, 0], tile, n) for tile, n in zip(tiles, between.port[0])]
    load = np.zeros((mapping.chip.rows, mapping.chip.columns, 4))
    for (x, y), (to_x, to_y), packets in ways:
        while (x, y) != (to_x, to_y):
            if x != to_x:
                side = 0 if to_x > x else 1
            else:
                side = 2 if to_y > y else 3
            load[y, x, side] += packets
            x, y = x + STEPS[side][0], y + STEPS[side][1]
    return load


def _columns(between):
    return between.source.tolist(), between.target.tolist(), between.packets.tolist()


@pytest.mark.parametrize("seed", range(12))
def test_links_carry_what_walks_over_them(seed):
    network, rng = random_network(seed), np.random.default_rng([seed, 3])
    for _ in range(4):
        mapping = check_fit(network, random_chip(rng)).mapping
        if mapping is not None:
            load = link_packets(mapping)
            assert np.allclose(load, walked(mapping))  # sums of floats in another order
            assert round(load.sum()) == mapping.packet_hops


def test_partial_sums_load_links_whatever_the_spikes():
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("truenorth28"))
    silent = dict.fromkeys(["input", "conv1", "conv2", "fc3"], 0.0)
    ways = zip(mapping.slices, mapping.tiles[1:], mapping.tiles[mapping.owners[1:]])
    wanted = sum(s.neurons * np.abs(here - there).sum() for s, here, there in ways)
    assert link_packets(mapping, silent).sum() == wanted > 0


def picture(path):
    root = ET.parse(path).getroot()
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith(("title", "text"))]


def test_the_picture_names_every_core_and_layer(tmp_path):
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("truenorth28"))
    file = tmp_path / "map.svg"
    assert draw_mapping(mapping, file) == file
    said = picture(file)
    for s in mapping.slices:
        note = "" if s.owns else ", partial sums"
        assert f"core {s.core}: {s.layer}, {s.neurons} neurons{note}" in said
    assert {"conv1", "conv2", "fc3", "output", "paler: sends partial sums"} <= set(said)
    assert sum(" from " in line for line in said) == (link_packets(mapping) > 0).sum()


def test_the_same_picture_as_png(tmp_path):
    pytest.importorskip("matplotlib", reason="a PNG needs matplotlib")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("truenorth28"))
    files = [draw_mapping(mapping, tmp_path / name) for name in ("a.png", "b.PNG")]
    first, second = (file.read_bytes() for file in files)
    assert first.startswith(b"\x89PNG")
    assert first == second


@pytest.mark.parametrize("shape", ["small", "large", "row", "column", "many layers"])
def test_nothing_of_a_png_touches_its_edge(shape, tmp_path):
    pytest.importorskip("matplotlib", reason="PNG needs matplotlib (extra report)")
    from matplotlib.image import imread

    network, chip = nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")
    if shape == "large":
        chip = nm.load_chip("truenorth28")
    elif shape == "row":
        chip = dataclasses.replace(chip, columns=64, rows=1, neurons=128)
    elif shape == "column":
        chip = dataclasses.replace(chip, columns=1, rows=64, neurons=128)
    elif shape == "many layers":
        layers = []
        for place in range(30):
            name = f"a_layer_with_a_name_of_some_length_{place}"
            layers.append(Linear(name=name, weights=np.ones((4, 4), int)))
            layers.append(Threshold(thresholds=[[0, 1]] * 4))
        network = Network(name="deep", input=Input(shape=(4,)), layers=[*layers[:-1], Readout()])
        chip = dataclasses.replace(chip, columns=32, rows=1)
    image = imread(draw_mapping(nm.map_network(network, chip), tmp_path / "a.png"))
    for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]):
        assert (edge[..., :3] == 1).all()


def test_pictures_that_cannot_be_made(tmp_path):
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    (tmp_path / "file").touch()
    with pytest.raises(SimulationError, match="cannot write picture"):
        draw_mapping(mapping, tmp_path / "file" / "map.svg")
    says = r"map\.jpg ends in '\.jpg'; this picture is drawn as \.svg or \.png$"
    with pytest.raises(SimulationError, match=says):
        draw_mapping(mapping, tmp_path / "map.jpg")
    with pytest.raises(MappingError, match="traffic names 'fc9', which sends nothing"):
        draw_mapping(mapping, tmp_path / "map.svg", traffic={"fc9": 1})


def test_command_with_traffic_and_picture(tmp_path):
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    trace, svg, out = tmp_path / "run.h5", tmp_path / "map.svg", tmp_path / "map.json"
    run = nm.simulate(mapping, load_data("digits").test_images[:5], trace=trace, detail="counts")
    command = ["map", "digits-gxnor", "--traffic", str(trace), "--picture", str(svg)]
    answer = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    assert "with the spikes given a neuron" in " ".join(picture(svg))
    wanted = nm.map_network(mapping.network, mapping.chip, traffic=run.counts)
    assert nm.mapping.load_mapping(out, mapping.network).slices == wanted.slices
    refused = CliRunner().invoke(main, ["map", "digits-gxnor", "--dry-run", "--picture", "a.svg"])
    assert refused.exit_code == 2
    assert "--dry-run writes nothing" in refused.stderr
