"""``sweep``: points equal single comparisons, the front is what nothing beats, bad axes."""

import json
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.compare import compare_networks, find_contender, measure, parse_axis, sweep
from neuromorph.compare.sweep import pareto
from neuromorph.energy import load_prices
from neuromorph.errors import ChipError, PriceError
from neuromorph.workers import Workers


@pytest.fixture(scope="module")
def pair():
    contender = find_contender("digits-gxnor")
    images = np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8))
    return contender, measure(contender.network, images, np.zeros(20, int))


CHIP, PRICES = nm.load_chip("gxnor45"), load_prices("horowitz45")


def run(pair, *axes, **options):
    return sweep([pair], CHIP, PRICES, [parse_axis(a) for a in axes], **options)


def test_a_point_is_what_compare_says(pair):
    entry = compare_networks([pair], CHIP, PRICES).entries[0]
    for row in run(pair, "dataflow=scatter,gather,dense,stationary"):
        bid = entry.bids[row["settings"]["dataflow"]]
        # fewer draws: the median is that of 200 strata, not of 1000
        assert row["energy_j"]["p50"] == pytest.approx(bid.report.total.p50, rel=0.02)
        assert (row["latency_s"], row["cores"]) == (bid.latency_s, bid.cores)


def test_every_combination_in_order(pair):
    rows = run(pair, "core.neurons=64,128", "packing=2,1.6", "price.sram=1,2")
    assert [tuple(r["settings"].values()) for r in rows] == [
        (n, p, f) for n in ("64", "128") for p in ("2", "1.6") for f in ("1", "2")
    ]
    by = {tuple(r["settings"].values()): r["energy_j"]["p50"] for r in rows}
    assert by["64", "2", "2"] > by["64", "2", "1"] > by["64", "1.6", "1"]


def test_processes_change_nothing(pair):
    axes = [parse_axis("core.neurons=64,128"), parse_axis("dataflow=scatter,gather")]
    alone = sweep([pair], CHIP, PRICES, axes)
    assert sweep([pair], CHIP, PRICES, axes, workers=Workers(jobs=2)) == alone


def test_variants_of_one_recipe_go_by_their_files(tmp_path):
    """As ``train --sweep activation.r=0.1,0.5`` leaves them: one name, two networks."""
    network = nm.load_network("digits-gxnor")
    files = [tmp_path / f"activation.r={r}" / "network.safetensors" for r in (0.1, 0.5)]
    for file in files:
        file.parent.mkdir()
        nm.save_network(network, file)
    args = ["sweep", *map(str, files), "--over", "packing=2,1.6", "--samples", "5", "--jobs", "1"]
    rows = json.loads(CliRunner().invoke(main, [*args, "--json"]).stdout)["points"]
    assert [row["network"] for row in rows] == [str(f) for f in files for _ in range(2)]
    again = CliRunner().invoke(main, ["compare", str(files[0]), str(files[0]), "--samples", "5"])
    assert again.exit_code == 2
    assert "is given twice; name each network once" in again.stderr


def test_what_does_not_fit_is_a_row_with_its_reason(pair):
    rows = run(pair, "core.synapse_bits=8,524288")
    assert rows[0]["energy_j"] is None
    assert "does not fit chip" in rows[0]["problem"]
    assert not rows[0]["pareto"]
    assert rows[1]["problem"] == ""
    (refused,) = run(pair, "prices=seneca22")
    assert "have no price for" in refused["problem"]


LACKING = "chip 'gxnor45' publishes no board.hop nor board.link, so no latency is known"
AXIS = "; give such times in a chip file of your own, or as an axis (board.hop=1,10)"


def test_a_missing_time_is_named_with_the_places_to_give_it(pair):
    """Of two chips on a board: what a link between them takes."""
    one, board = run(pair, "board.columns=1,2")
    assert (one["problem"], one["energy_j"] is None, one["latency_s"] is None) == ("", False, False)
    assert board["problem"] == f"{LACKING}, nor static energy, which is power × time{AXIS}"
    assert (board["energy_j"], board["latency_s"]) == (None, None)
    (half,) = run(pair, "board.columns=2", "board.hop=20")
    assert half["problem"].startswith("chip 'gxnor45' publishes no board.link, so no latency")
    (whole,) = run(pair, "board.columns=2", "board.hop=20", "board.link=4")
    assert whole["problem"] == ""
    assert whole["latency_s"] >= one["latency_s"]


def test_energy_without_static_power_needs_no_time_and_says_why_there_is_no_latency(pair):
    free = replace(PRICES, static={}, free={**PRICES.free, "static": "gated"}, text="")
    (row,) = sweep([pair], CHIP, free, [parse_axis("board.columns=2")])
    assert row["energy_j"]["p50"] > 0
    assert (row["latency_s"], row["problem"]) == (None, LACKING + AXIS)
    none = replace(free, free=PRICES.free)
    (row,) = sweep([pair], CHIP, none, [parse_axis("board.columns=2")])
    assert row["problem"].startswith("prices 'horowitz45' have no static power; add [static]")


def test_front_by_brute_force():
    rng = np.random.default_rng(1)
    rows = [
        {"energy_j": {"p50": e}, "latency_s": t, "accuracy": 1 - x}
        for e, t, x in rng.integers(1, 6, (60, 3)) / 8
    ]
    rows.append({"energy_j": None, "latency_s": 0.0, "accuracy": 1.0})

    def beats(a, b):
        x, y = ((r["energy_j"]["p50"], r["latency_s"], 1 - r["accuracy"]) for r in (a, b))
        return x != y and all(p <= q for p, q in zip(x, y))

    known = rows[:-1]
    wanted = {i for i, r in enumerate(known) if not any(beats(o, r) for o in known)}
    assert pareto(rows) == wanted


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("core.neurons", "must read KEY=VALUE,VALUE"),
        ("core.neurons=", "must read KEY=VALUE,VALUE"),
        ("core.cheese=1", "no axis 'core.cheese'; axes are dataflow, packing"),
        ("dataflow=sideways", "'sideways' is none of scatter, gather, dense, stationary"),
        ("packing=3", "'3' is none of 2, 1.6"),
        ("core.neurons=many", "'many' is not a whole number"),
        ("price.sram=x", "'x' is not a number"),
        ("price.sram=0", "price.sram: 0 is out of range"),
        ("batch=0", "batch: 0 is out of range"),
        ("batch=2,2", "names a value twice"),
    ],
)
def test_bad_axes(axis, says):
    with pytest.raises(ChipError, match=says):
        parse_axis(axis)


def test_bad_sweeps(pair):
    with pytest.raises(ChipError, match="axis batch is given twice"):
        run(pair, "batch=1", "batch=2")
    with pytest.raises(ChipError, match="200000 points are too many; at most 100000"):
        run(pair, "batch=" + ",".join(map(str, range(1, 501))),
            "core.neurons=" + ",".join(map(str, range(1, 401))))  # fmt: skip
    with pytest.raises(PriceError, match="prices 'horowitz45' have no 'cheese' to vary"):
        run(pair, "price.cheese=2")
    with pytest.raises(ChipError, match="accumulator_bits is 99"):
        run(pair, "core.accumulator_bits=99")


def test_command(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib (extra report)")
    args = ["sweep", "digits-gxnor", "--over", "dataflow=scatter,gather", "--over",
            "packing=2,1.6", "--samples", "20", "--jobs", "1", "--csv", str(tmp_path / "a.csv"),
            "--picture", str(tmp_path / "a.png")]  # fmt: skip
    result = CliRunner().invoke(main, [*args, "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert len(record["points"]) == 4
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("network,dataflow,packing,p10_j,p50_j,p90_j,accuracy")
    assert len(lines) == 5
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    text = CliRunner().invoke(main, args).stdout
    assert text.startswith("4 points, ")


def test_the_command_counts_points_without_energy_and_without_latency(tmp_path):
    args = ["sweep", "digits-gxnor", "--samples", "5", "--jobs", "1", "--over"]
    text = CliRunner().invoke(main, [*args, "board.columns=2"]).stdout
    assert text.startswith("1 point, 0 that none beats")
    assert "\n1 point has no energy; the first: chip 'gxnor45' publishes no board.hop nor" in text
    prices = tmp_path / "gated.toml"
    own = (PRICES.text or "").split("[static")[0]
    prices.write_text(own.replace("[free]", '[free]\nstatic = "gated"'))
    text = CliRunner().invoke(main, [*args, "board.columns=2,3", "--prices", str(prices)]).stdout
    assert "no energy" not in text
    assert "\n2 points have no latency; the first: chip 'gxnor45' publishes no board.hop" in text


def test_a_killed_worker_loses_nothing(pair):
    distributed = pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
    axes = [parse_axis("core.neurons=" + ",".join(str(n) for n in range(64, 128, 8)))]
    alone = sweep([pair], CHIP, PRICES, axes)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as local:
        first = next(iter(local.workers.values()))
        killer = threading.Thread(
            target=lambda: (time.sleep(1.0), os.kill(first.pid, signal.SIGKILL))
        )
        killer.start()
        found = sweep([pair], CHIP, PRICES, axes, workers=Workers(cluster=local.scheduler_address))
        killer.join()
    assert found == alone
