"""Mapping files: what was saved comes back; what is none is refused in one sentence."""

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromorph as nm
from networks import random_mapping, random_network
from neuromorph.cli import main
from neuromorph.errors import MappingError
from neuromorph.mapping import load_mapping, save_mapping


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_round_trip(seed, tmp_path_factory):
    network = random_network(seed)
    mapping = random_mapping(network, np.random.default_rng([seed, 3]))
    path = save_mapping(mapping, tmp_path_factory.mktemp("maps") / "map.json")
    back = load_mapping(path, network)
    assert back.slices == mapping.slices
    assert back.chip == mapping.chip
    assert back.chip.facts == mapping.chip.facts
    assert back.packet_hops == mapping.packet_hops


@pytest.fixture
def saved(tmp_path):
    network, chip = nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")
    chip = dataclasses.replace(chip, dead_cores=(200,))
    return save_mapping(nm.map_network(network, chip), tmp_path / "map.json")


def refusal(path, network="digits-gxnor"):
    with pytest.raises(MappingError) as caught:
        load_mapping(path, nm.load_network(network))
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(path), "FILE")


def slice_change(number, **values):
    return lambda file: file["slices"][number].update(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.update(colour=1), "not a mapping file: Object contains unknown field"),
        (lambda f: f.update(version="2.0"), "not a mapping file: Invalid enum value '2.0'"),
        (lambda f: f.update(format="other"), "not a mapping file: Invalid enum value 'other'"),
        (lambda f: f.pop("chip"), "not a mapping file: Object missing required field `chip`"),
        (lambda f: f["chip"].update(columns=0), "mesh.columns is 0; it must be 1 to 1024"),
        (lambda f: f["chip"].pop("neurons"), "missing required field `neurons`"),
        (slice_change(0, core=-1), "core -1 is not one of chip 'gxnor45', or dead"),
        (slice_change(0, core=256), "core 256 is not one of chip 'gxnor45', or dead"),
        (slice_change(0, core=200), "core 200 is not one of chip 'gxnor45', or dead"),
        (lambda f: f["slices"][0].update(core=f["slices"][1]["core"]), "a core holds two slices"),
        (slice_change(0, layer="conv9"), "slices must follow the layers conv1, conv2, fc3, output"),
        (lambda f: f["slices"].reverse(), "slices must follow the layers conv1, conv2, fc3"),
        (lambda f: f["slices"].pop(0), "slices do not hold all of layer 'conv1'"),
        (slice_change(0, columns=[0, 5]), "slices of layer 'conv1' overlap"),
        (slice_change(0, columns=[0, 3]), "slices do not hold all of layer 'conv1'"),
        (slice_change(1, columns=[4, 9]), "layer 'conv1' has no part 4:9"),
        (slice_change(0, rows=[0, 0]), "layer 'conv1' has no part 0:0"),
        (slice_change(0, rows=[-1, 8]), "layer 'conv1' has no part -1:8"),
        (slice_change(0, rows=[0, 8, 9]), "not a mapping file: Expected `array` of length 2"),
    ],
)  # fmt: skip
def test_what_is_no_mapping(saved, change, says):
    file = json.loads(saved.read_text())
    change(file)
    saved.write_text(json.dumps(file))
    assert says in refusal(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_foreign_files(tmp_path, content):
    path = tmp_path / "map.json"
    path.write_bytes(content)
    assert refusal(path).startswith("FILE is not a mapping file: ")


def test_truncated(saved):
    text = saved.read_bytes()
    for part in (0.2, 0.7, 0.99):
        saved.write_bytes(text[: int(len(text) * part)])
        assert refusal(saved).startswith("FILE is not a mapping file: ")


def test_a_file_that_is_too_big(saved, monkeypatch):
    monkeypatch.setattr("neuromorph.mapping.file.MAX_FILE_BYTES", 100)
    says = refusal(saved)
    assert says == f"FILE has {saved.stat().st_size} bytes; a mapping has at most 100"


def test_a_chip_whose_dead_link_is_needed(saved):
    file = json.loads(saved.read_text())
    assert file["slices"][0]["core"] != file["slices"][1]["core"]
    columns = range(file["chip"]["columns"] - 1)
    rows = range(file["chip"]["rows"])
    file["chip"]["dead_links"] = [[x, y, "east"] for x in columns for y in rows]
    saved.write_text(json.dumps(file))
    says = r"FILE: mesh cut by dead links \(tile 1,0 from tile 0,0\), \d+ ways are missing$"
    assert re.search(says, refusal(saved))


def test_another_network(saved):
    assert refusal(saved, "mnist-mlp-gxnor") == (
        "FILE is a mapping of another network ('digits-gxnor') than 'mnist-mlp-gxnor'"
    )


def test_files_that_cannot_be_read_or_written(saved, tmp_path):
    assert refusal(tmp_path / "none.json") == "cannot read mapping FILE: No such file or directory"
    mapping = load_mapping(saved, nm.load_network("digits-gxnor"))
    with pytest.raises(MappingError, match=r"cannot write mapping .*: (File exists|Not a dir)"):
        save_mapping(mapping, saved / "map.json")
    assert [p.name for p in tmp_path.iterdir()] == ["map.json"]


def test_command(tmp_path):
    path = tmp_path / "map.json"
    result = CliRunner().invoke(main, ["map", "digits-gxnor", "--out", str(path)])
    assert result.exit_code == 0
    network = nm.load_network("digits-gxnor")
    assert (
        load_mapping(path, network).slices
        == nm.map_network(network, nm.load_chip("gxnor45")).slices
    )
    dry = tmp_path / "dry.json"
    result = CliRunner().invoke(main, ["map", "digits-gxnor", "--dry-run", "--out", str(dry)])
    assert result.exit_code == 2  # a file that was asked for is never silently left out
    assert not dry.exists()


@pytest.mark.parametrize(
    ("chip", "helps"),
    [
        ("gxnor45", []),
        ("loihi14", []),
        ("seneca22", []),
        ("odin28", ["cores"]),
        ("tianjic28", []),
        ("truenorth28", []),
    ],
)
def test_dry_run_on_every_preset_says_what_would_help(chip, helps):
    result = CliRunner().invoke(main, ["map", "digits-gxnor", "--chip", chip, "--dry-run"])
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if ": use a " in line]
    assert [line.split(": ")[1] for line in lines] == helps
    verdict = f"digits-gxnor {'does not fit' if helps else 'fits'} {chip}"
    assert result.output.startswith(verdict)
