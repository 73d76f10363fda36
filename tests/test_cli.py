"""Commands: what they print, the JSON that stays, one line and exit code 2 for bad input.

Most run in this process through click's runner; what concerns the process
itself (imported modules, broken pipes, a full disk, encodings) in a real one.
"""

import json
import math
import os
import pickle
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.chip import PRESETS, list_chips
from neuromorph.cli import main
from neuromorph.data import load_data
from neuromorph.energy import list_prices
from neuromorph.energy.files import PRESETS as PRICE_PRESETS
from neuromorph.network import Input, Linear, Network, Readout, find_network, save_network

RUN_KEYS = [
    "network", "chip", "mode", "samples", "accuracy", "latency_s", "interval_s", "load",
    "events_per_inference", "xnor_events_per_inference", "resting_fraction", "energy_j", "trace",
]  # fmt: skip
MAP_KEYS = ["network", "chip", "fits", "cores_used", "packet_hops", "limits"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty folder; no data but the built-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROMORPH_DATA", str(tmp_path / "no-data"))
    return tmp_path


def invoke(*args):
    result = CliRunner().invoke(main, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*args):
    """Output of a command that must succeed, silent on stderr."""
    result = invoke(*args)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def record(*args):
    return json.loads(ok(*args, "--json"))


def bad(*args):
    """The one line of a command that must fail; nothing on stdout."""
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.endswith("\n")
    return result.stderr.removeprefix("error: ").rstrip("\n")


def process(*args, **options):
    """A real command."""
    return subprocess.run(
        [sys.executable, "-m", "neuromorph", *map(str, args)],
        capture_output=True,
        text=True,
        **{"encoding": "utf-8", **options},
    )


def check_run_record(found, mode):
    """Keys and types that stay; SI units."""
    assert [k for k in RUN_KEYS if k not in found] == []
    assert isinstance(found["network"], str)
    assert isinstance(found["chip"], str)
    assert found["mode"] == mode
    assert isinstance(found["samples"], int)
    assert 0 <= found["accuracy"] <= 1
    assert 0 <= found["resting_fraction"] <= 1
    assert 0 <= found["xnor_events_per_inference"] <= found["events_per_inference"]
    for key in ("latency_s", "interval_s"):
        if mode == "timed" and (key == "latency_s" or found["samples"] > 1):
            assert 0 < found[key] < 1e-2
        else:
            assert found[key] is None
    if mode == "timed":
        load = found["load"]
        assert 0 <= load["link_busy"] <= load["core_busy"] <= 1
        assert load["core_blocked"] == 0
        assert load["longest_queue"] >= 1
    else:
        assert found["load"] is None
    if found["energy_j"] is not None:
        assert list(found["energy_j"]) == ["p10", "p50", "p90"]
        assert 0 < found["energy_j"]["p10"] < found["energy_j"]["p50"] < found["energy_j"]["p90"]
        assert found["energy_j"]["p90"] < 1e-2


# --- demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, run once: its folder and its JSON."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, record("demo", "--out", folder)


def test_demo_json(demo):
    folder, found = demo
    check_run_record(found, "timed")
    assert found["network"] == "digits-gxnor"
    assert found["chip"] == "gxnor45"
    assert found["samples"] == 360
    assert found["accuracy"] > 0.975
    assert found["trace"] == str(folder / "demo.h5")
    assert found["picture"] == str(folder / "demo.svg")
    assert sorted(p.name for p in folder.iterdir()) == ["demo.h5", "demo.svg"]


def test_demo_equals_the_same_in_python(demo):
    _, found = demo
    data = load_data("digits")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    run = nm.simulate(mapping, data.test_images, mode="timed")
    total = nm.estimate_energy(run.counts, nm.load_prices("horowitz45")).total
    assert found["accuracy"] == run.accuracy(data.test_labels)
    assert found["latency_s"] == run.latency_s
    assert found["interval_s"] == run.interval_s
    assert found["events_per_inference"] == run.counts.events / 360
    assert found["energy_j"]["p50"] == pytest.approx(total.p50, rel=1e-9)
    with nm.Trace(found["trace"]) as trace:
        assert trace.counts == run.counts
        assert trace.accuracy == found["accuracy"]


def test_demo_says_the_main_facts_first(demo):
    _, found = demo
    lines = ok("demo").splitlines()
    assert [line.split()[0] for line in lines[:10]] == [
        "network", "chip", "samples", "accuracy", "latency", "load", "events", "energy",
        "trace", "picture",
    ]  # fmt: skip
    assert max(map(len, lines)) <= 100
    assert len(lines) < 50
    text = "\n".join(lines)
    shown = f"{found['accuracy']:.2%}", f"{found['latency_s'] * 1e6:.4g} µs"
    for word in ("conv1", "xnor_event", "weight_read_bits", "static", "total", *shown):
        assert word in text
    assert Path("traces", "demo.h5").is_file()


def test_demo_again_replaces_its_files():
    Path("out").mkdir()
    record("demo", "--out", "out")
    for name in ("demo.svg", "demo.h5.partial"):
        Path("out", name).write_text("old")
    found = record("demo", "--out", "out")
    assert ok("trace", "validate", found["trace"]).endswith("is valid\n")
    assert "<svg" in Path(found["picture"]).read_text(encoding="utf-8")


def test_picture_is_well_formed_and_shows_the_run(demo):
    drawn = xml.dom.minidom.parse(demo[1]["picture"]).documentElement
    words = " ".join(t.firstChild.data for t in drawn.getElementsByTagName("text"))
    for word in (
        "digits-gxnor on gxnor45",
        "conv2",
        "at rest",
        "weight_read_bits",
        "Latency in µs",
    ):
        assert word in words
    assert len(drawn.getElementsByTagName("circle")) == 360


# --- run


@pytest.mark.parametrize("mode", ["count", "timed", "reference"])
def test_run_json(mode):
    found = record("run", "digits-gxnor", "--mode", mode, "--samples", 4)
    check_run_record(found, mode)
    assert found["samples"] == 4
    assert found["trace"] is None
    if mode == "timed":
        assert found["energy_j"] is not None
        assert "energy_refused" not in found
    else:
        assert found["energy_j"] is None
        assert "these counts carry no time" in found["energy_refused"][0]
        assert list(found["energy_dynamic_j"]) == ["p10", "p50", "p90"]


def test_run_modes_agree():
    runs = [
        record("run", "digits-gxnor", "--mode", mode, "--samples", 6, "--interval-s", 1e-5)
        for mode in ("count", "timed", "reference")
    ]
    time = ("mode", "latency_s", "interval_s", "load")
    stripped = [{k: v for k, v in found.items() if k not in time} for found in runs]
    assert stripped[0] == stripped[1] == stripped[2]
    assert stripped[0]["energy_j"] is not None


def test_run_of_one_sample_has_no_interval():
    check_run_record(record("run", "digits-gxnor", "--mode", "timed", "--samples", 1), "timed")


def test_run_with_trace_picture_and_other_chip():
    found = record(
        "run", "digits-gxnor", "--chip", "loihi14", "--prices", "loihi14", "--mode", "timed",
        "--samples", 3, "--trace", "a/b.h5", "--detail", "counts", "--picture", "c/d.svg",
    )  # fmt: skip
    check_run_record(found, "timed")
    assert found["trace"] == str(Path("a", "b.h5"))
    assert record("trace", "info", "a/b.h5")["detail"] == "counts"
    xml.dom.minidom.parse("c/d.svg")
    # a pool on a chip whose prices know none: refused by name, not taken as zero
    assert found["energy_j"] is None
    assert any("pool_cmp" in reason for reason in found["energy_refused"])


def test_run_text():
    text = ok("run", "digits-gxnor", "--samples", 5, "--trace", "t.h5", "--picture", "p.svg")
    assert max(map(len, text.splitlines())) <= 100
    assert "samples   5 test images of digits, mode count" in text
    assert "no total: static energy is power × time" in text
    assert "trace     t.h5" in text
    assert "picture   p.svg" in text
    assert "latency" not in text


def test_run_of_a_network_file():
    save_network(
        Network(
            name="mine",
            input=Input(shape=(3,)),
            layers=[Linear(name="out", weights=[[1, 0, -1], [0, 1, 1]]), Readout()],
            meta={"test_accuracy": "very good", "data": 7},
        ),
        "mine.safetensors",
    )
    np.savez("data.npz", images=np.array([[1, 0, -1], [0, 1, 1]]), labels=np.array([0, 1]))
    found = record("run", "mine.safetensors", "--data", "data.npz")
    assert found["network"] == "mine"
    assert found["accuracy"] == 1.0
    # Σ over classes and inputs of events: [1, 0, -1] meets 2 + 1, [0, 1, 1] meets 1 + 2
    assert found["events_per_inference"] == 3.0
    assert bad("run", "mine.safetensors").startswith("no data set '7'; known are")


# --- samples


@pytest.fixture
def images():
    data = load_data("digits")
    return data.test_images[:5], data.test_labels[:5]


def test_data_by_name_and_left_out(elsewhere):
    (elsewhere / "digits").mkdir()  # a name goes before a folder
    given = record("run", "digits-gxnor", "--data", "digits", "--samples", 9)
    assert given == record("run", "digits-gxnor", "--samples", 9)


def test_data_from_npz(images):
    np.savez("all.npz", images=images[0], labels=images[1])
    np.savez_compressed("only.npz", images=images[0])
    found = record("run", "digits-gxnor", "--data", "all.npz")
    assert found["samples"] == 5
    assert found["accuracy"] == 1.0
    assert record("run", "digits-gxnor", "--data", "all.npz", "--samples", 2)["samples"] == 2
    bare = record("run", "digits-gxnor", "--data", "only.npz")
    assert bare["accuracy"] is None
    assert "accuracy" not in ok("run", "digits-gxnor", "--data", "only.npz")
    assert {**bare, "accuracy": 1.0} == found


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 64), (5, 1, 1, 8, 8), (5, 8, 1, 8)])
def test_data_written_in_another_shape(images, shape):
    np.savez("all.npz", images=images[0].reshape(shape), labels=images[1])
    assert record("run", "digits-gxnor", "--data", "all.npz")["accuracy"] == 1.0


@pytest.mark.parametrize("shape", [(5, 1, 4, 16), (5, 16, 4), (5, 2, 4, 8), (10, 1, 8, 4), (320,)])
def test_data_of_another_shape(images, shape):
    np.savez("all.npz", images=images[0].reshape(shape))
    says = bad("run", "digits-gxnor", "--data", "all.npz")
    assert says == f"inputs have shape {list(shape)}; this network takes [batch, 1, 8, 8]"


def test_images_for_a_network_of_vectors():
    net = Network(
        name="flat",
        input=Input(shape=(6,)),
        layers=[Linear(name="out", weights=np.eye(6, dtype=int)[:2]), Readout()],
    )
    save_network(net, "flat.safetensors")
    np.savez("data.npz", images=np.ones((4, 2, 3), int), labels=np.zeros(4, int))
    assert record("run", "flat.safetensors", "--data", "data.npz")["accuracy"] == 1.0


NEED = "give an .npz file with an integer array 'images' and, if known, 'labels'"


def test_data_without_images(images):
    np.savez("data.npz", pictures=images[0], labels=images[1])
    assert bad("run", "digits-gxnor", "--data", "data.npz") == (
        f"data.npz holds pictures, labels, but no array 'images'; {NEED}"
    )


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": np.zeros((2, 1, 8, 8))}, "inputs have dtype float64; this network takes"),
        ({"images": np.zeros((0, 1, 8, 8), int)}, "there are no samples to run; give at least one"),
        ({"images": np.array(3)}, "data.npz: 'images' is not an array"),
        ({"images": np.zeros((2, 1, 8, 8), int), "labels": np.array(3)},
         "data.npz: 'labels' is not an array"),
        ({"images": np.zeros((3, 1, 8, 8), int), "labels": np.zeros(2, int)},
         "data.npz holds 3 images but 2 labels"),
        ({"images": np.zeros((2, 1, 8, 8), int), "labels": np.zeros(2)},
         "labels are float64 of shape [2]; need 2 integers"),
        ({"images": np.zeros((2, 1, 8, 8), int), "labels": np.zeros((2, 2), int)},
         "labels are int64 of shape [2, 2]; need 2 integers"),
        ({"images": np.array(["a", "b"])}, "inputs have shape [2]; this network takes"),
    ],
    ids=["float", "empty", "scalar", "scalar-labels", "fewer-labels", "float-labels", "two-axes",
         "text"],
)  # fmt: skip
def test_data_that_does_not_fit(arrays, says):
    np.savez("data.npz", **arrays)
    assert says in bad("run", "digits-gxnor", "--data", "data.npz")
    assert says in bad("run", "digits-gxnor", "--data", "data.npz", "--samples", 2)


class Intruder:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("intruder-was-here", "w")


def test_pickled_objects_are_refused_and_not_executed(images):
    np.savez("data.npz", images=np.array([Intruder()], dtype=object))
    says = bad("run", "digits-gxnor", "--data", "data.npz")
    assert "Object arrays cannot be loaded when allow_pickle=False" in says
    for data in (Intruder(), {"images": images[0]}):
        Path("data.npz").write_bytes(pickle.dumps(data))
        assert bad("run", "digits-gxnor", "--data", "data.npz") == (
            f"data.npz is not an .npz file; {NEED}"
        )
    np.save("data.npy", images[0])
    assert bad("run", "digits-gxnor", "--data", "data.npy").startswith("data.npy is not an .npz")
    assert not Path("intruder-was-here").exists()
    pickle.loads(pickle.dumps(Intruder())).close()  # it would have made the file
    assert Path("intruder-was-here").exists()


def test_damaged_npz(images):
    np.savez_compressed("good.npz", images=images[0], labels=images[1])
    whole = Path("good.npz").read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        Path("data.npz").write_bytes(whole[:cut])
        assert "data.npz" in bad("run", "digits-gxnor", "--data", "data.npz")
    for _ in range(30):
        flipped = bytearray(whole)
        flipped[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        Path("data.npz").write_bytes(flipped)
        result = invoke("run", "digits-gxnor", "--data", "data.npz")
        assert result.exit_code in (0, 2)  # time stamps and the like do not matter
        assert result.stderr.count("\n") == (result.exit_code == 2)


def test_npz_that_unpacks_to_too_much(images, monkeypatch):
    monkeypatch.setattr("neuromorph.cli.common.MAX_DATA_BYTES", 100)
    np.savez_compressed("data.npz", images=images[0])
    assert bad("run", "digits-gxnor", "--data", "data.npz").endswith("at most 100 are read")


def test_data_that_is_not_there(elsewhere):
    assert bad("run", "digits-gxnor", "--data", "nope.npz").startswith(
        "no data set, folder or file 'nope.npz'; known data sets are digits, mnist"
    )
    says = bad("run", "mnist-mlp-gxnor")
    assert says.startswith("data set 'mnist' lacks train-images-idx3-ubyte.gz")
    assert "NEUROMORPH_DATA" in says
    (elsewhere / "empty").mkdir()
    assert "data set 'mnist' lacks" in bad("run", "mnist-mlp-gxnor", "--data", "empty")


def test_mnist_by_folder_and_by_environment(mnist_root, monkeypatch):
    given = record("run", "mnist-mlp-gxnor", "--data", mnist_root, "--samples", 20)
    assert given["samples"] == 20
    assert given["accuracy"] > 0.9
    monkeypatch.setenv("NEUROMORPH_DATA", str(mnist_root))
    assert record("run", "mnist-mlp-gxnor", "--samples", 20) == given
    assert record("run", "mnist-mlp-gxnor", "--samples", 20, "--data", "mnist") == given


# --- map


@pytest.mark.parametrize("dry", [True, False])
def test_map_json(dry):
    found = record("map", "digits-gxnor", *(["--dry-run"] if dry else []))
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    assert list(found) == MAP_KEYS
    assert found["fits"] is True
    assert found["cores_used"] == mapping.cores_used
    assert found["packet_hops"] == mapping.packet_hops
    for limit in found["limits"]:
        assert list(limit) == ["limit", "needed", "available", "where"]
        assert isinstance(limit["needed"], int)
        assert limit["needed"] <= limit["available"]
    assert len(found["limits"]) == 4 * 5 + 1


@pytest.fixture
def small_chip():
    text = (PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    Path("small.toml").write_text(
        text.replace("accumulator_bits = { value = 16", "accumulator_bits = { value = 8"),
        encoding="utf-8",
    )
    return "small.toml"


def test_network_too_big_for_the_chip(small_chip):
    says = bad("map", "digits-gxnor", "--chip", small_chip)
    assert says == (
        "network 'digits-gxnor' does not fit chip 'gxnor45': layer 'conv2' needs 9 "
        "accumulator_bits, 8 available (and 1 more limit; see a dry run); use a chip with wider "
        "accumulators, a smaller fan-in, or fewer levels"
    )
    assert bad("run", "digits-gxnor", "--chip", small_chip, "--trace", "run.h5") == says
    assert not Path("run.h5").exists()
    found = record("map", "digits-gxnor", "--chip", small_chip, "--dry-run")
    assert found["fits"] is False
    assert found["cores_used"] is found["packet_hops"] is None
    assert [m["limit"] for m in found["limits"] if m["needed"] > m["available"]] == [
        "accumulator_bits"
    ] * 2
    assert "does not fit" in ok("map", "digits-gxnor", "--chip", small_chip, "--dry-run")


def test_map_text():
    text = ok("map", "mnist-mlp-gxnor", "--chip", "loihi14")
    assert text.startswith("mnist-mlp-gxnor on loihi14: ")
    assert "mnist-mlp-gxnor fits loihi14" in text
    assert max(map(len, text.splitlines())) <= 100


# --- lists


def test_chips():
    found = record("chips")["chips"]
    assert [c["chip"] for c in found] == list_chips()
    assert all(c["cores"] > 0 and c["neurons_per_core"] > 0 for c in found)
    one = record("chips", "loihi14")
    assert one["chip"] == "loihi14"
    assert one["cores"] == 128
    assert one["facts"]["core.neurons"] == {
        "value": 1024,
        "kind": "measured",
        "source": "Davies 2018: 1024 compartments a core",
    }
    assert ok("chips", "loihi14").rstrip("\n") == str(nm.load_chip("loihi14"))


def test_networks():
    found = {n["network"]: n for n in record("networks")["networks"]}
    assert {"digits-gxnor", "mnist-mlp-gxnor"} <= set(found)
    digits = found["digits-gxnor"]
    net = nm.load_network("digits-gxnor")
    assert digits["synapses"] == net.synapses
    assert digits["weight_bytes"] == math.ceil(net.weight_bits / 8)
    assert digits["test_accuracy"] == net.meta["test_accuracy"]
    assert Path(digits["file"]) == find_network("digits-gxnor") == NETWORK_FILE


def test_networks_lists_the_others_beside_a_broken_one(elsewhere):
    (elsewhere / "networks" / "odd").mkdir(parents=True)
    (elsewhere / "networks" / "odd" / "network.safetensors").write_bytes(b"odd")
    good = Network(
        name="mine",
        input=Input(shape=(2,)),
        layers=[Linear(name="out", weights=[[1, -1]]), Readout()],
        meta={"test_accuracy": "high", "seeds_mean": [1], "data": {"a": 1}},
    )
    save_network(good, "networks/mine")
    found = {n["network"]: n for n in record("networks")["networks"]}
    assert found["odd"]["error"].endswith("file has 3 bytes; a network file is longer")
    assert found["mine"]["synapses"] == 2
    assert "digits-gxnor" in found
    text = ok("networks")
    assert "odd cannot be used: " in text
    assert "mine" in text


def test_prices():
    assert [p["prices"] for p in record("energy", "prices")["prices"]] == list_prices()
    one = record("energy", "prices", "loihi14")
    assert one["actions"]["xnor_event"]["value"] == 23.6e-12
    assert one["actions"]["xnor_event"]["unit"] == "J"
    assert one["static"]["chip"]["unit"] == "W"
    assert "token_out" in one["unpriced"]
    assert record("energy", "prices", "horowitz45")["sram"]["points"]


@pytest.mark.parametrize(
    "args",
    [("chips",), ("networks",), ("energy", "prices")]
    + [("chips", name) for name in list_chips()]
    + [("energy", "prices", name) for name in list_prices()],
    ids=" ".join,
)
def test_lists_are_tidy(args):
    lines = ok(*args).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


# --- traces and prices


@pytest.fixture
def trace():
    ok("run", "digits-gxnor", "--mode", "timed", "--samples", 3, "--trace", "run.h5")
    return "run.h5"


def test_trace_info(trace):
    found = record("trace", "info", trace)
    assert found["network"] == "digits-gxnor"
    assert found["chip"] == "gxnor45"
    assert found["samples"] == 3
    assert found["detail"] == "packets"
    assert found["complete"] is True
    assert found["latency_s"] > 0
    text = ok("trace", "info", trace)
    assert "digits-gxnor" in text
    assert max(map(len, text.splitlines())) <= 100


def test_trace_validate(trace):
    assert ok("trace", "validate", trace) == "run.h5 is valid\n"
    assert record("trace", "validate", trace) == {"file": "run.h5", "valid": True, "problems": []}


def test_trace_with_a_broken_rule_is_exit_code_one(trace, monkeypatch):
    monkeypatch.setattr("neuromorph.trace.validate", lambda path: ["rule 12: it is odd"])
    result = invoke("trace", "validate", trace)
    assert result.exit_code == 1
    assert result.stdout == "rule 12: it is odd\n"
    assert result.stderr == ""
    result = invoke("trace", "validate", trace, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == ["rule 12: it is odd"]


def test_reprice_gives_the_figures_of_the_run(trace):
    run = record("run", "digits-gxnor", "--mode", "timed", "--samples", 3)
    again = record("energy", "reprice", trace)
    assert {k: again["total"][k] for k in ("p10", "p50", "p90")} == run["energy_j"]
    other = record("energy", "reprice", trace, "--interval-s", 1.0)
    assert other["time_s"] == 1.0
    assert other["dynamic"] == again["dynamic"]
    assert other["total"]["p50"] > 1000 * again["total"]["p50"]
    text = ok("energy", "reprice", trace)
    assert max(map(len, text.splitlines())) <= 100
    assert record("energy", "reprice", trace, "--prices", "loihi14")["total"] is None


# --- files that are none

NETWORK_FILE = find_network("digits-gxnor").resolve()


def commands_for(kind, path):
    """Commands that expect a network, trace, chip or price file at the path."""
    return {
        "network": [("run", path), ("map", path), ("map", path, "--dry-run")],
        "trace": [
            ("trace", "info", path),
            ("trace", "validate", path),
            ("energy", "reprice", path),
        ],
        "chip": [
            ("map", "digits-gxnor", "--chip", path),
            ("run", "digits-gxnor", "--chip", path),
            ("chips", path),
        ],
        "prices": [
            ("run", "digits-gxnor", "--samples", "2", "--prices", path),
            ("energy", "prices", path),
        ],
    }[kind]


def good_file(kind):
    if kind == "trace":
        ok("run", "digits-gxnor", "--samples", 2, "--detail", "counts", "--trace", "good.h5")
        return Path("good.h5").read_bytes()
    folder = {"network": None, "chip": PRESETS, "prices": PRICE_PRESETS}[kind]
    return (NETWORK_FILE if folder is None else next(folder.glob("*45.toml"))).read_bytes()


KINDS = ["network", "trace", "chip", "prices"]


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_files(kind):
    contents = {
        "empty": b"",
        "text": b"once upon a time",
        "noise": np.random.default_rng(0).bytes(5000),
        "zeros": bytes(5000),
        "pickle": pickle.dumps(Intruder()),
    }
    contents |= {other: good_file(other) for other in KINDS if other != kind}
    for name, content in contents.items():
        path = Path(f"{name}.file")
        path.write_bytes(content)
        for command in commands_for(kind, path):
            assert str(path) in bad(*command)
    assert not Path("intruder-was-here").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_no_file(kind, elsewhere):
    (elsewhere / "folder").mkdir()
    for path in ("missing", "folder", "x" * 300):
        for command in commands_for(kind, path):
            assert path in bad(*command)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(kind):
    whole, path = good_file(kind), Path("cut.file")
    for part in (0.05, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * part)])
        for command in commands_for(kind, path):
            assert str(path) in bad(*command)


@pytest.mark.parametrize("kind", ["network", "trace"])
def test_a_flipped_bit_anywhere_is_found(kind):
    whole, path = good_file(kind), Path("flipped.file")
    rng = np.random.default_rng(1)
    # a trace whose seal has no right beginning is read as one that was never sealed
    first = 24 if kind == "trace" else 0
    places = {*range(first, 100, 7), len(whole) - 1, *rng.integers(first, len(whole), 30).tolist()}
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        assert str(path) in bad(*commands_for(kind, path)[0]), place


@pytest.mark.parametrize("kind", ["chip", "prices"])
def test_a_flipped_bit_in_text_is_another_text_or_refused(kind):
    whole, path = good_file(kind), Path("flipped.file")
    rng = np.random.default_rng(2)
    refused = 0
    for place in rng.integers(0, len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        result = invoke(*commands_for(kind, path)[-1])
        refused += result.exit_code == 2
        assert result.exit_code in (0, 2)
        assert result.stderr.count("\n") == (result.exit_code == 2)
    assert refused > 5


def test_unknown_keys():
    chip = (PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    Path("chip.toml").write_text("colour = 3\n" + chip, encoding="utf-8")
    assert bad("chips", "chip.toml") == "chip.toml: Object contains unknown field `colour`"
    prices = (PRICE_PRESETS / "horowitz45.toml").read_text(encoding="utf-8")
    Path("prices.toml").write_text("colour = 3\n" + prices, encoding="utf-8")
    assert bad("energy", "prices", "prices.toml") == (
        "prices.toml: Object contains unknown field `colour`"
    )


def test_unknown_recipe_key():
    pytest.importorskip("torch", reason="torch is not installed")
    recipe = NETWORK_FILE.with_name("recipe.toml").read_text(encoding="utf-8")
    Path("recipe.toml").write_text("colour = 3\n" + recipe, encoding="utf-8")
    assert "colour" in bad("train", "recipe.toml")
    assert not Path("trained").exists()


def test_unknown_names():
    assert bad("run", "nope").startswith("no network 'nope'")
    assert "digits-gxnor" in bad("map", "nope")
    assert bad("run", "digits-gxnor", "--chip", "nope").startswith("no chip 'nope'")
    assert bad("run", "digits-gxnor", "--prices", "nope").startswith("no prices 'nope'")
    assert bad("chips", "nope").startswith("no chip 'nope'")
    assert bad("energy", "prices", "nope").startswith("no prices 'nope'")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "digits-gxnor", "--samples", "0"),
         "Invalid value for '--samples': 0 is not in the range x>=1; see neuromorph run --help"),
        (("run", "digits-gxnor", "--samples", "-3"), "-3 is not in the range x>=1"),
        (("run", "digits-gxnor", "--samples", "many"), "'many' is not a valid integer"),
        (("run", "digits-gxnor", "--mode", "fast"), "'fast' is not one of 'count', 'timed'"),
        (("run", "digits-gxnor", "--detail", "spikes"), "--detail says what a trace is like; name"),
        (("run", "digits-gxnor", "--compression", "none"), "--compression says what a trace is"),
        (("run", "digits-gxnor", "--detail", "flits"), "'flits' is not one of 'counts'"),
        (("run", "digits-gxnor", "--interval-s", "0"), "0.0 is not in the range x>0"),
        (("run", "digits-gxnor", "--samples", "2", "--interval-s", "nan"),
         "interval_s is nan; must be a positive number of seconds"),
        (("run", "digits-gxnor", "--detail", "packets", "--trace", "t.h5"),
         "mode 'count' has no packets to record; use mode='timed'"),
        (("run",), "Missing argument 'NETWORK'; see neuromorph run --help"),
        (("run", "a", "b"), "unexpected extra argument"),
        (("run", "digits-gxnor", "--colour"), "--colour"),
        (("fly",), "No such command 'fly'; see neuromorph --help"),
        (("--colour",), "--colour"),
        (("trace", "paint", "x"), "No such command 'paint'; see neuromorph trace --help"),
        (("energy", "reprice", "x", "--interval-s", "-1"), "-1.0 is not in the range x>0"),
        (("train", "digits-gxnor", "--epochs", "0"), "0 is not in the range x>=1"),
    ],
)  # fmt: skip
def test_bad_arguments(args, says):
    assert says in bad(*args)


# --- places that cannot be written


@pytest.mark.parametrize(
    "args",
    [
        ("demo", "--out", "file/out"),
        ("demo", "--out", "file"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "file/run.h5"),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "file/run.svg"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "folder"),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "folder"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "x" * 300),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "x" * 300),
    ],
    ids=lambda args: " ".join(args)[:48],
)
def test_unwritable_output(args, elsewhere):
    (elsewhere / "file").write_text("kept")
    (elsewhere / "folder").mkdir()
    bad(*args)
    assert (elsewhere / "file").read_text() == "kept"
    assert not list((elsewhere / "folder").iterdir())
    assert sorted(p.name for p in elsewhere.iterdir()) == ["file", "folder"]


def test_full_disk_while_the_picture_is_written(elsewhere, monkeypatch):
    write = Path.write_bytes

    def fill(self, data):
        write(self, data[:100])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fill)
    says = bad("run", "digits-gxnor", "--samples", 2, "--picture", "run.svg")
    assert says == "cannot write picture run.svg: No space left on device"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file size")
@pytest.mark.parametrize("kilobytes", [0, 8, 200])
def test_disk_that_takes_no_more(kilobytes, elsewhere):
    """A limit on file size stands for a full disk: the system refuses to write on."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    result = process("demo", "--out", "out", preexec_fn=limit)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: cannot write trace")
    assert not (elsewhere / "out" / "demo.h5").exists()
    assert not (elsewhere / "out" / "demo.svg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_to_a_full_disk():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "neuromorph", "chips"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == "error: cannot use: No space left on device\n"


def test_too_little_memory(monkeypatch):
    def want(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("neuromorph.kernels.counting.count", want)
    assert bad("run", "digits-gxnor") == ("out of memory; run fewer samples at a time (--samples)")


# --- the process


def test_a_real_command(elsewhere):
    result = process("run", "digits-gxnor", "--mode", "timed", "--samples", 5, "--json")
    assert result.returncode == 0
    assert result.stderr == ""
    check_run_record(json.loads(result.stdout), "timed")
    assert process("run", "nope").stderr.startswith("error: no network 'nope'")


def test_commands_need_no_optional_package():
    """Every command but train runs where torch, matplotlib and brian2 are not installed."""
    code = """
import sys
import json

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "matplotlib", "brian2", "plotly", "dask", "nir"):
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Absent())
from neuromorph.cli import main
for args in (
    "demo --out out", "run digits-gxnor --samples 2",
    "run digits-gxnor --samples 2 --mode timed --trace t.h5 --picture p.svg",
    "map digits-gxnor", "chips", "chips loihi14", "networks", "trace info t.h5",
    "trace validate t.h5", "energy reprice t.h5", "energy prices", "energy prices loihi14",
):
    main(args.split(), standalone_mode=False)
    assert "torch" not in sys.modules, args
print("done")
try:
    main(["train", "digits-gxnor"])
except SystemExit as stop:
    print("train", stop.code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["done", "train 2"]
    assert result.stderr.count("\n") == 1
    assert "neuromorph[train]" in result.stderr


def test_a_terminal_that_lacks_our_signs():
    """Latin-1 has no ellipsis."""
    result = process("demo", encoding="latin-1", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 0, result.stderr
    energy = next(line for line in result.stdout.splitlines() if line.startswith("energy "))
    assert " ? " in energy


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_a_reader_that_goes_away():
    running = subprocess.Popen(
        [sys.executable, "-m", "neuromorph", "chips", "loihi14"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running.stdout.close()
    assert running.stderr.read() == ""
    running.stderr.close()
    running.wait()


# --- help


def all_commands(command=main, path=()):
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


def test_commands_are_those_of_the_issue():
    names = {" ".join(path) for path, _ in all_commands()}
    assert names >= {
        "demo", "train", "map", "run", "chips", "networks", "trace info", "trace validate",
        "energy reprice", "energy prices",
    }  # fmt: skip


@pytest.mark.parametrize("path", [p for p, _ in all_commands()], ids=" ".join)
def test_help(path):
    command = dict(all_commands())[path]
    text = ok(*path, "--help")
    assert text.startswith(f"Usage: {' '.join(['neuromorph', *path])} ")
    assert max(map(len, text.splitlines())) <= 80
    assert command.help
    assert command.help.strip().splitlines()[0].rstrip(".") in " ".join(text.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in text
    if not isinstance(command, click.Group):
        assert "--json" in text


def test_short_help_and_version():
    assert ok("-h") == ok("--help")
    assert ok("--version") == f"neuromorph, version {nm.__version__}\n"


def test_no_arguments_shows_the_help():
    result = invoke()
    assert result.exit_code == 2
    assert "Usage: " in result.output
    assert "demo" in result.output


# --- outputs


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trace", "net.st"],
        ["--picture", "net.st"],
        ["--data", "data.npz", "--trace", "data.npz"],
        ["--trace", "both", "--picture", "both"],
        ["--trace", "./x/../both", "--picture", "both"],
    ],
)
def test_an_output_never_replaces_what_the_command_reads_or_writes(
    arguments, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save_network(nm.load_network("digits-gxnor"), "net.st")
    np.savez("data.npz", images=np.zeros((1, 1, 8, 8), np.uint8))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    answer = CliRunner().invoke(main, ["run", "net.st", "--samples", "1", *arguments])
    assert answer.exit_code == 2
    assert "is read or written by this command already; choose another name" in answer.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_trace_does_not_replace_a_file_that_is_none(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary")
    common = ["run", "digits-gxnor", "--samples", "1", "--trace"]
    answer = CliRunner().invoke(main, [*common, str(notes)])
    assert answer.exit_code == 2
    assert "the file there is no trace; choose another name" in answer.stderr
    assert notes.read_text() == "dear diary"
    for _ in range(2):  # a trace may be replaced by a trace
        assert CliRunner().invoke(main, [*common, str(tmp_path / "run.h5")]).exit_code == 0


def test_json_carries_the_notes_of_the_prices():
    common = ["run", "digits-gxnor", "--samples", "1", "--json"]
    answer = CliRunner().invoke(main, [*common, "--chip", "loihi14"])
    assert (
        "these prices were written for chip gxnor45, not loihi14"
        in json.loads(answer.stdout)["notes"]
    )
    assert json.loads(CliRunner().invoke(main, common).stdout)["notes"] == []


def test_a_recipe_without_network_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks" / "mine").mkdir(parents=True)
    (tmp_path / "networks" / "mine" / "recipe.toml").write_text("")
    answer = CliRunner().invoke(main, ["run", "mine"])
    assert answer.exit_code == 2
    assert "network 'mine' has a recipe but is not trained; neuromorph train mine" in answer.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["report", "run.h5", "-o", "run.h5"],
        ["report", "run.html"],
        ["trace", "export", "run.h5", "--to", "perfetto", "-o", "./run.h5"],
        ["trace", "repack", "run.h5", "run.h5"],
        ["trace", "replay", "run.h5", "-o", "run.h5"],
        ["map", "net.st", "--out", "net.st"],
    ],
)
def test_commands_do_not_write_over_the_file_they_read(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network(nm.load_network("digits-gxnor"), "net.st")
    common = ["run", "digits-gxnor", "--samples", "1", "--trace"]
    for name in ("run.h5", "run.html"):
        assert CliRunner().invoke(main, [*common, name]).exit_code == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    answer = CliRunner().invoke(main, command)
    assert answer.exit_code == 2
    assert "is read or written by this command already; choose another name" in answer.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_dry_run_with_a_file_to_write_is_refused(tmp_path):
    out = tmp_path / "placed.map"
    answer = CliRunner().invoke(main, ["map", "digits-gxnor", "--dry-run", "--out", str(out)])
    assert answer.exit_code == 2
    assert "--dry-run writes nothing; leave it out to write a mapping" in answer.stderr
    assert not out.exists()
