"""Rankings, and a report as CSV, data frame and picture.

Rankings are compared with closed forms for log-uniform prices; files are read
back by other code than wrote them.  That a picture is good to look at is not
tested; that it holds what it should is, by its pixels.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from neuromorph.energy import (
    EnergyReport,
    Price,
    Prices,
    estimate_energy,
    load_prices,
    rank_reports,
)
from neuromorph.errors import MissingDependencyError, PriceError
from neuromorph.events import ACTIONS, Counts, Hardware


def counts(**tally: int) -> Counts:
    values = np.zeros((1, 2, len(ACTIONS)), np.int64)
    for action, n in tally.items():
        values[0, 1, list(ACTIONS).index(action)] = n
    return Counts(
        values=values,
        layers=("input", "fc1"),
        cores=np.array([-1, 0]),
        pairs=np.array([0, tally.get("xnor_event", 0) + tally.get("skip_act", 0)]),
        hardware=Hardware(
            chip="gxnor45",
            dataflow="scatter",
            tick_s=1e-9,
            cores_used=1,
            synapse_memory_bits=524_288,
            state_memory_bits=16_384,
            axon_memory_bits=262_144,
        ),
    )


def prices(name: str = "p", **values: float) -> Prices:
    """Prices ÷ and × 1.25, static left out."""
    return Prices(
        name=name,
        description="",
        node_nm=45,
        vdd=0.9,
        actions={
            a: Price(
                name=a,
                value=v,
                low=v / 1.25,
                high=v * 1.25,
                unit="J",
                kind="derived",
                source="test",
            )
            for a, v in values.items()
        },
        free={"static": "left out"},
    )


def estimate(table: Prices, draws: int = 1000, seed: int = 0, **tally: int) -> EnergyReport:
    return estimate_energy(counts(**tally), table, draws=draws, seed=seed)


# --- rankings --------------------------------------------------------------------------


def test_a_shared_price_cannot_turn_a_ranking() -> None:
    table = prices(acc_add=1e-12)
    ranking = rank_reports(
        {"big": estimate(table, acc_add=101), "small": estimate(table, acc_add=100)}
    )
    assert ranking.order == ("small", "big")
    assert ranking.flips == 0.0
    assert ranking.pairs == {("small", "big"): 0.0}
    assert ranking.ratios["small", "big"] == pytest.approx((1.01, 1.01, 1.01))
    assert ranking.same_prices


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.3, 0.5])
def test_flips_of_two_independent_prices(distance: float) -> None:
    """Two log-uniform prices, ln ±a, medians d apart: the dearer is cheaper in (1 − d/2a)²/2."""
    table = prices(acc_add=1e-12, hop_x=1e-12 * float(np.exp(distance)) * (1 + 1e-9))
    ranking = rank_reports(
        {
            "x": estimate(table, draws=20_000, hop_x=1000),
            "a": estimate(table, draws=20_000, acc_add=1000),
        }
    )
    assert ranking.order == ("a", "x")
    expected = max(0.0, 1 - distance / (2 * np.log(1.25))) ** 2 / 2
    assert ranking.flips == pytest.approx(expected, abs=0.012)  # 3 sigma of 20 000 draws
    assert ranking.pairs["a", "x"] == ranking.flips


def test_three_reports() -> None:
    table = prices(acc_add=1e-12, hop_x=1e-12, barrier=1e-9)
    reports = {
        "far": estimate(table, barrier=1000),
        "x": estimate(table, hop_x=1010),
        "a": estimate(table, acc_add=1000),
    }
    ranking = rank_reports(reports)
    assert ranking.order == ("a", "x", "far")
    assert ranking.pairs["a", "far"] == ranking.pairs["x", "far"] == 0.0
    assert 0.4 < ranking.pairs["a", "x"] < 0.5
    assert ranking.flips == ranking.pairs["a", "x"]
    data = ranking.to_dict()
    assert data["order"] == ["a", "x", "far"]
    assert data["pairs"][0]["flips"] == ranking.flips
    assert data["pairs"][0]["ratio"]["p50"] == pytest.approx(1.01, rel=0.02)
    text = str(ranking)
    assert f"cheapest first: a, x, far; the order flips in {ranking.flips:.1%} of draws" in text
    assert "x / a" in text
    assert "different prices" not in text


def test_different_prices_are_drawn_apart_and_said() -> None:
    ranking = rank_reports(
        {
            "a": estimate(prices("one", acc_add=1e-12), acc_add=1000),
            "b": estimate(prices("two", acc_add=1e-12), acc_add=1001),
        }
    )
    assert not ranking.same_prices
    assert 0.4 < ranking.flips < 0.6
    assert str(ranking).endswith("note: different prices, drawn apart")


def test_rankings_that_cannot_be() -> None:
    table = prices(acc_add=1e-12)
    good = estimate(table, acc_add=1)
    with pytest.raises(PriceError, match="a ranking needs two reports or more, got 1"):
        rank_reports({"a": good})
    with pytest.raises(PriceError, match="report 'b' has 10 draws of seed 0, the first 1000"):
        rank_reports({"a": good, "b": estimate(table, draws=10, acc_add=1)})
    with pytest.raises(PriceError, match="report 'b' has 1000 draws of seed 1, the first 1000"):
        rank_reports({"a": good, "b": estimate(table, seed=1, acc_add=1)})
    with pytest.raises(PriceError, match="report 'b' cannot be ranked: energy is refused: prices"):
        rank_reports({"a": good, "b": estimate(table, hop_x=1)})
    with pytest.raises(PriceError, match="report 'b' cannot be ranked: it has no energy"):
        rank_reports({"a": good, "b": estimate(table)})


# --- CSV and data frames ------------------------------------------------------------------


def whole() -> EnergyReport:
    tally = {"xnor_event": 900, "skip_act": 100, "acc_add": 900, "weight_read_bits": 2000}
    return estimate_energy(counts(**tally), load_prices("horowitz45"), interval_s=1e-6)


def refused() -> EnergyReport:
    table = load_prices("loihi14-sanafe")
    return estimate_energy(counts(xnor_event=5, acc_add=5, pool_cmp=3, skip_act=1), table)


def read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["scope"], row["name"]): row for row in csv.DictReader(file)}


def test_csv_holds_the_report(tmp_path: Path) -> None:
    report = whole()
    rows = read(report.to_csv(tmp_path / "new" / "energy.csv"))
    for key, r in (
        [(("energy", n), r) for n, r in report.figures.items()]
        + [(("action", n), r) for n, r in report.by_action.items()]
        + [(("static", n), t.range) for n, t in report.static_terms.items()]
        + [(("layer", n), r) for n, r in report.by_layer.items()]
    ):
        assert r is not None
        for column in ("p10", "p50", "p90", "nominal"):
            got = float(rows[key][f"{column}_j"])
            assert got == pytest.approx(getattr(r, column), rel=1e-11, abs=1e-30)
    assert rows["action", "acc_add"]["evidence"] == "derived"
    assert rows["energy", "total"]["evidence"] == report.evidence
    assert rows["action", "skip_act"]["note"].startswith("free: a zero level")
    assert list(tmp_path.glob("**/*.partial")) == []
    again = report.to_csv(tmp_path / "again.csv")
    assert again.read_bytes() == (tmp_path / "new" / "energy.csv").read_bytes()


def test_csv_of_a_refused_report(tmp_path: Path) -> None:
    rows = read(refused().to_csv(tmp_path / "energy.csv"))
    assert rows["energy", "total"]["nominal_j"] == ""
    assert "no price for 'pool_cmp'" in rows["energy", "total"]["note"]
    assert "no static power" in rows["energy", "total"]["note"]
    assert rows["action", "pool_cmp"] == {
        "scope": "action", "name": "pool_cmp", "p10_j": "", "p50_j": "", "p90_j": "",
        "nominal_j": "", "evidence": "", "note": "no price",
    }  # fmt: skip
    assert float(rows["action", "xnor_event"]["nominal_j"]) == pytest.approx(5 * 35.5e-12)
    assert rows["action", "acc_add"]["note"] == "in xnor_event"
    assert not [key for key in rows if key[0] == "layer"]


@pytest.mark.parametrize("method", ["to_csv", "plot"])
def test_places_that_cannot_be_written(tmp_path: Path, method: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PriceError, match=r"cannot write .*file/energy\.png: "):
        getattr(whole(), method)(tmp_path / "file" / "energy.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PriceError, match="cannot write "):
        getattr(whole(), method)(tmp_path / "folder.png")
    assert list(tmp_path.glob("*.partial")) == []


class Frame:
    """As much of a data frame as is used."""

    def __init__(self, rows: list[tuple[Any, ...]], columns: list[str]) -> None:
        self.rows, self.columns = rows, columns

    def astype(self, kinds: dict[str, str]) -> Frame:
        self.kinds = kinds
        return self


def test_data_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a stand-in, since pandas is no dependency; the real one below, where there is one."""
    pandas = ModuleType("pandas")
    pandas.DataFrame = Frame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = refused().to_pandas()
    rows = read(refused().to_csv(tmp_path / "energy.csv"))
    assert frame.columns == list(next(iter(rows.values())))
    assert [(r[0], r[1]) for r in frame.rows] == list(rows)
    assert frame.kinds == dict.fromkeys(["p10_j", "p50_j", "p90_j", "nominal_j"], "float64")


def test_real_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = refused().to_pandas().set_index(["scope", "name"])
    assert np.isnan(frame.loc[("energy", "total"), "nominal_j"])
    xnor = frame.loc[("action", "xnor_event"), "nominal_j"]
    assert xnor == pytest.approx(5 * 35.5e-12)


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"needs pandas, .*'neuromorph\[export\]'"):
        whole().to_pandas()


# --- the picture ----------------------------------------------------------------------------


def has(image: np.ndarray, colour: str) -> bool:
    """Whether a good part of a bar has the colour."""
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((np.abs(image[..., :3] - wanted) < 0.01).all(axis=-1).sum()) > 200


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.image import imread

    path = whole().plot(tmp_path / "energy.png")
    image = imread(path)
    assert image.shape[:2] == (598, 1430)
    left, right = image[:, :715], image[:, 715:]
    assert has(right, "#0072B2")
    assert has(right, "#E69F00")
    assert has(left, "#0072B2")
    # nothing runs into the edge
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge[..., :3] == 1).all()


def test_picture_of_a_refused_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert refused().plot(tmp_path / "energy.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_is_no_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.raises(PriceError, match=r"energy\.svg ends in '\.svg'; .* is drawn as \.png$"):
        whole().plot(tmp_path / "energy.svg")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_draw(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.raises(PriceError, match="nothing was priced, so there is nothing to plot"):
        estimate(prices(acc_add=1e-12)).plot(tmp_path / "energy.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[report\]'"):
        whole().plot(tmp_path / "energy.png")
