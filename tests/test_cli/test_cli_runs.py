"""demo, run and map: what they print, what their JSON holds, which data they take."""

import dataclasses
import pickle
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Intruder, bad, check_run_record, invoke, ok, record

import neuromorph as nm
from neuromorph.chip import PRESETS
from neuromorph.data import load_data
from neuromorph.network import Input, Linear, Network, Readout, load_network, save_network

MAP_KEYS = [
    *("network", "chip", "fits", "cores_used", "packet_hops", "chips_used", "edge_hops"),
    "limits",
]


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
    assert (found["chips_used"], found["edge_hops"]) == (1, 0)
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


def test_a_network_without_a_data_set_of_its_own(tmp_path):
    network = load_network("digits-gxnor")
    path = save_network(dataclasses.replace(network, meta={}), tmp_path / "bare.safetensors")
    assert bad("run", path) == (
        "network 'digits-gxnor' names no data set of its own; give --data NAME or FILE"
    )


# --- stopped


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("train", "digits-gxnor", "--out", "here"), "finished is kept in here, and the"),
        (("train", "digits-gxnor", "--sweep", "activation.r=0.1", "--out", "here"), "kept in here"),
        (("run", "digits-gxnor"), "stopped\n"),
    ],
)  # fmt: skip
def test_ctrl_c_is_one_line_and_130(command, says, monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    for name in ("training.train_seeds", "training.sweep", "simulation.simulate"):
        monkeypatch.setattr(f"neuromorph.{name}", stopped)
    found = invoke(*command)
    assert (found.exit_code, found.stdout) == (130, "")
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1
