"""``compare``: figures against hand-made sums, pictures, and one sentence for bad input."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.compare import compare_networks, draw_comparison, find_contender, measure
from neuromorph.compare.activity import counts_of
from neuromorph.compare.contenders import place
from neuromorph.compare.picture import _apart
from neuromorph.compare.table import Comparison
from neuromorph.energy import estimate_energy, load_prices
from neuromorph.errors import MappingError, NetworkError, PriceError

NAMES = ("mnist-mlp-float", "mnist-mlp-int8", "mnist-mlp-bnn", "mnist-mlp-gxnor")
KEYS = {
    "network", "accuracy", "energy_j", "latency_s", "edp_js", "footprint_bytes", "dense",
    "effective_acs", "effective_macs", "ratio_bnn", "ratio_int8",
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Thirty made-up images with one digit's worth of ink, as a file."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "ink.npz"
    ink = (rng.random((30, 28, 28)) < 0.15) * 255
    np.savez(path, images=ink.astype(np.uint8), labels=rng.integers(0, 10, 30))
    return path


def invoke(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture(scope="module")
def result(images) -> Comparison:
    with np.load(images) as file:
        pixels, labels = file["images"][:, None], file["labels"]
    found = [find_contender(name) for name in NAMES]
    pairs = [(c, measure(c.network, pixels, labels)) for c in found]
    return compare_networks(pairs, nm.load_chip("gxnor45"), load_prices("horowitz45"))


def test_json_has_a_row_a_network(images):
    out = invoke("compare", *NAMES, "--data", images, "--json")
    assert out.exit_code == 0, out.output
    record = json.loads(out.stdout)
    assert [row["network"] for row in record["rows"]] == list(NAMES)
    for row in record["rows"]:
        assert set(row) >= KEYS
        assert row["energy_j"]["p10"] < row["energy_j"]["p50"] < row["energy_j"]["p90"]
        assert row["edp_js"] == pytest.approx(row["energy_j"]["p50"] * row["latency_s"])
        assert row["dense"] == 784 * 512 + 512 * 512 + 512 * 10
        assert row["effective_acs"] + row["effective_macs"] < row["dense"]
        assert set(row["static_share"]) == {"1", "30", "1000"}
        assert row["operations_only_j"] < row["energy_j"]["p10"]
    by_name = {row["network"]: row for row in record["rows"]}
    weights = 784 * 512 + 512 * 512 + 512 * 10
    assert by_name["mnist-mlp-bnn"]["footprint_bytes"] == weights / 8
    assert by_name["mnist-mlp-gxnor"]["footprint_bytes"] == weights / 4
    assert by_name["mnist-mlp-float"]["footprint_bytes"] == weights * 4
    assert by_name["mnist-mlp-bnn"]["ratio_bnn"] == by_name["mnist-mlp-int8"]["ratio_int8"] == 1
    assert by_name["mnist-mlp-float"]["ratio_int8"] > 1
    assert (
        by_name["mnist-mlp-int8"]["effective_macs"]
        > 0
        == by_name["mnist-mlp-bnn"]["effective_macs"]
    )
    assert record["not_modelled"]


def test_scatter_is_what_a_run_costs(images):
    """At the chip's own dataflow the bill is that of ``simulate`` and ``estimate_energy``."""
    with np.load(images) as file:
        pixels = file["images"][:, None]
    contender = find_contender("mnist-mlp-gxnor")
    chip, prices = nm.load_chip("gxnor45"), load_prices("horowitz45")
    activity = measure(contender.network, pixels)
    entry = compare_networks([(contender, activity)], chip, prices).entries[0]
    bid = entry.bids["scatter"]
    run = nm.simulate(nm.map_network(contender.network, chip), pixels)
    report = estimate_energy(run.counts, prices, interval_s=bid.latency_s)
    assert bid.report.to_dict() == report.to_dict()
    acs = 0
    for name, layer in ((None, "fc1"), ("fc1", "fc2"), ("fc2", "output")):
        levels = run.levels(name) if name else contender.network.encode(pixels)
        weights = contender.network.stage(layer).weights[:, :, 0, 0]
        acs += int(((levels != 0).astype(int) @ (weights != 0).astype(int).T).sum())
    assert entry.effective == (pytest.approx(acs / 30), 0.0)


def test_break_even_is_where_the_bills_meet(result):
    """Activity moved to the break-even, all else equal: the dynamic bills are the same."""
    entries = {e.contender.role: e for e in result.entries}
    ternary, binary = entries["gxnor"], entries["bnn"]
    found = ternary.break_even(binary)
    silent, full = (e.report.dynamic.nominal for e in (ternary.silent, ternary.best))
    there = silent + (full - silent) * found / ternary.activity
    assert there == pytest.approx(binary.best.report.dynamic.nominal)


def test_packing_saves_weights_and_nothing_else(images):
    bills = {}
    for packing in ("2", "1.6"):
        out = invoke(
            "compare", "mnist-mlp-gxnor", "--data", images, "--packing", packing,
            "--dataflow", "scatter", "--json",
        )  # fmt: skip
        (bills[packing],) = json.loads(out.stdout)["rows"]
    assert bills["1.6"]["footprint_bytes"] == pytest.approx(
        0.8 * bills["2"]["footprint_bytes"], rel=1e-4
    )
    assert bills["1.6"]["energy_j"]["p50"] < bills["2"]["energy_j"]["p50"]
    assert find_contender("mnist-mlp-gxnor", packing=Fraction(8, 5)).weight_bits == Fraction(8, 5)


def test_text_says_what_an_expert_asks(result):
    text = str(result)
    for word in ("operations only", "Effective_ACs", "static share at", "batch 64", "breaks even",
                 "not modelled: clock tree", "the order flips in", "cheapest is"):  # fmt: skip
        assert word in text


def test_names_beside_points_stand_apart():
    assert _apart([0.9, 0.5, 0.1], 0.1) == [0.9, 0.5, 0.1]  # nothing has to move
    heights = _apart([0.9, 0.89, 0.88, 0.02, 0.01, 0.0], 0.1)
    assert heights[0] == 0.9
    assert min(a - b for a, b in pairwise(heights)) > 0.1 - 1e-12  # float sums
    assert heights[-1] == 0.05


def test_picture(result, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib (extra report)")
    path = draw_comparison(result, tmp_path / "compare.png")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_different_tasks_are_warned_of_by_name(monkeypatch):
    monkeypatch.setattr(
        "neuromorph.cli.comparing.samples_of",
        lambda network, data, limit: (np.zeros((2, *network.input.shape), int), None, "zeros"),
    )
    out = invoke("compare", "digits-gxnor", "mnist-mlp-bnn", "--json")
    assert out.exit_code == 0
    assert "different tasks" in out.stderr
    assert "digits-gxnor (digits), mnist-mlp-bnn (mnist)" in " ".join(out.stderr.split())
    assert "different tasks" in json.loads(out.stdout)["notes"][0]


def test_bad_input_is_one_sentence(tmp_path, images):
    with pytest.raises(NetworkError, match="no network 'x-float', and none 'x-int8' whose float"):
        find_contender("x-float")
    out = invoke("compare", "mnist-mlp-bnn", "mnist-mlp-bnn", "--data", images)
    assert (out.exit_code, out.stderr) == (
        2, "error: network 'mnist-mlp-bnn' is given twice; name each network once\n",
    )  # fmt: skip
    out = invoke("compare", "mnist-mlp-bnn", "--data", images, "--prices", "seneca22")
    assert out.exit_code == 2
    assert out.stderr.startswith("error: mnist-mlp-bnn has no energy on gxnor45: prices 'seneca22'")


def test_a_float_twin_needs_its_result(tmp_path, monkeypatch):
    folder = tmp_path / "networks" / "mine-int8"
    folder.mkdir(parents=True)
    nm.save_network(nm.load_network("mnist-mlp-int8"), folder / "network.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match="does not say how accurate the float network was"):
        find_contender("mine-float")
    result = {"recipe": {"levels": {"weights": "float", "activations": "ternary"}}}
    seed = nm.load_network("mnist-mlp-int8").meta["seed"]
    result["seeds"] = [{"seed": seed, "test_accuracy": 0.5}]
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(NetworkError, match="is not the result of a network trained in float"):
        find_contender("mine-float")


def test_prices_without_any_answer_are_refused(result):
    with pytest.raises(PriceError, match="has no energy on gxnor45"):
        compare_networks(
            [(e.contender, measure(e.contender.network, np.zeros((1, 1, 28, 28), int)))
             for e in result.entries[:1]],
            result.chip, load_prices("loihi14-sanafe"),
        )  # fmt: skip


def test_repricing_a_trace_is_the_report_of_the_run_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    pixels = np.random.default_rng(0).integers(0, 17, (3, 1, 8, 8))
    run = nm.simulate(mapping, pixels, mode="timed", trace="run.h5")
    report = estimate_energy(run.counts, load_prices("horowitz45"))
    out = invoke("energy", "reprice", "run.h5", "--csv", "again.csv", "--json")
    assert out.stdout == json.dumps(report.to_dict(), indent=2) + "\n"
    assert (tmp_path / "again.csv").read_bytes() == report.to_csv("run.csv").read_bytes()
    over = invoke("energy", "reprice", "run.h5", "--csv", "run.h5")
    assert over.exit_code == 2
    assert "run.h5 is read or written by this command already" in over.stderr


def test_a_fan_in_that_is_split_over_cores():
    """Totals are those of a run; more cores and hops, the same events."""
    contender = find_contender("mnist-mlp-gxnor")
    small = replace(nm.load_chip("gxnor45"), axons_in=500)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28))
    activity, prices = measure(contender.network, pixels), load_prices("horowitz45")
    entry = compare_networks([(contender, activity)], small, prices).entries[0]
    run = nm.simulate(nm.map_network(contender.network, small), pixels)
    assert run.counts.total("partial_in") > 0
    found = entry.bids["scatter"]
    assert found.counts.values[0].tolist() == run.counts.values.sum(axis=0).tolist()
    dynamic = estimate_energy(run.counts, prices).dynamic
    assert found.report.dynamic.p50 == pytest.approx(dynamic.p50, rel=1e-12)
    whole = compare_networks([(contender, activity)], nm.load_chip("gxnor45"), prices).entries[0]
    assert entry.best.cores > whole.best.cores
    assert entry.effective == whole.effective
    assert 0 < entry.silent.report.dynamic.p50 < entry.best.report.dynamic.p50


def test_a_float_twin_that_does_not_fit_is_named():
    """Weights of 32 bits need more cores than those of the network it stands for."""
    int8 = find_contender("mnist-mlp-int8")
    twin = find_contender("mnist-mlp-float")
    chip = replace(nm.load_chip("gxnor45"), columns=4, rows=4)
    assert place(int8, chip).cores_used <= 16
    with pytest.raises(MappingError, match="mnist-mlp-float, with weights of 32 bits: network 'mn"):
        place(twin, chip)


def test_tokens_go_where_sums_would():
    """A silent split mapping still sends the tokens that a run of it sends."""
    contender = find_contender("mnist-mlp-gxnor")
    mapping = nm.map_network(contender.network, replace(nm.load_chip("gxnor45"), axons_in=500))
    pixels = np.zeros((2, 1, 28, 28), int)
    silent = counts_of(measure(contender.network, pixels).silent(), mapping)
    run = nm.simulate(mapping, pixels)
    for action in ("token_out", "token_in"):
        assert silent[action][0].tolist() == run.counts[action].sum(axis=0).tolist()


def test_what_the_latency_leaves_out_is_said():
    contender = find_contender("digits-gxnor")
    pixels = np.full((2, 1, 8, 8), 9)
    found = compare_networks(
        [(contender, measure(contender.network, pixels))],
        nm.load_chip("gxnor45"),
        load_prices("horowitz45"),
    )
    assert "time in queues and at links, and layers that overlap" in str(found)
    assert any("time in queues" in text for text in found.to_dict()["not_modelled"])


def test_a_missing_time_is_named():
    contender = find_contender("digits-gxnor")
    pairs = [(contender, measure(contender.network, np.full((2, 1, 8, 8), 9)))]
    chip, prices = nm.load_chip("truenorth28"), load_prices("horowitz45")
    says = "chip 'truenorth28' publishes no times.axon (nor 11 more times), so no latency is known"
    with pytest.raises(PriceError) as caught:
        compare_networks(pairs, chip, prices)
    assert str(caught.value) == (
        f"digits-gxnor has no energy on truenorth28: {says}, nor static energy, which is power × "
        "time; give such times in a chip file of your own, or an interval_s"
    )
    found = compare_networks(pairs, chip, prices, interval_s=1.0)
    assert found.notes == (f"{says}; give such times in a chip file of your own",)


def test_a_pace_of_ones_own(images):
    """Static power takes the time given; its share at a rate does not depend on it."""
    slow, fast = (
        json.loads(
            invoke(
                "compare", "mnist-mlp-bnn", "--data", images, "--interval-s", pace, "--json"
            ).stdout
        )["rows"][0]
        for pace in (1.0, 1e-3)
    )
    assert slow["energy_j"]["p50"] > 100 * fast["energy_j"]["p50"]
    assert slow["static_share"] == pytest.approx(fast["static_share"])
