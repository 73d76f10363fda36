"""Ranges of an energy, and its report."""

from __future__ import annotations

import doctest
import json
import time
from pathlib import Path

import numpy as np
import pytest
from energy_kit import load, make, mlp, price, simple
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromorph.energy.dump
import neuromorph.energy.files
import neuromorph.energy.scaling
import neuromorph.energy.terms
from neuromorph.energy import (
    BANDS,
    EnergyReport,
    Prices,
    estimate_energy,
    format_joules,
    list_prices,
    load_prices,
)
from neuromorph.errors import PriceError
from neuromorph.events import ACTIONS

# --- ranges ----------------------------------------------------------------------


def test_ratio_of_two_reports_is_exact() -> None:
    prices = load_prices("horowitz45")
    one = estimate_energy(mlp(samples=1, ticks=100), prices)
    row = {a: 30 * (i + 1) for i, a in enumerate(ACTIONS) if a != "hop_chip"}
    port = {"spike_out": 21, "packet_out": 21, "hop_x": 27, "hop_y": 6, "hop_local": 21}
    three = estimate_energy(
        make([port | {"token_out": 3}, row, row], ticks=300, cores_used=2), prices
    )
    np.testing.assert_allclose(three.total_draws / one.total_draws, 3.0, rtol=1e-12)


def test_draws_do_not_depend_on_order_or_company() -> None:
    alone = estimate_energy(make([{}, {"acc_add": 1}]), simple(acc_add=1e-12))
    counts = make([{}, {"acc_add": 1, "hop_x": 1, "barrier": 1}])
    other = estimate_energy(counts, simple(hop_x=1e-9, barrier=1e-9, acc_add=1e-12))
    assert np.array_equal(alone.terms["acc_add"].draws, other.terms["acc_add"].draws)
    # different prices, seeds and price files draw apart
    assert abs(np.corrcoef(*(other.terms[a].draws for a in ("hop_x", "barrier")))[0, 1]) < 0.2
    reseeded = estimate_energy(make([{}, {"acc_add": 1}]), simple(acc_add=1e-12), seed=1)
    assert not np.array_equal(alone.terms["acc_add"].draws, reseeded.terms["acc_add"].draws)
    renamed = estimate_energy(make([{}, {"acc_add": 1}]), simple("b", acc_add=1e-12))
    assert not np.array_equal(alone.terms["acc_add"].draws, renamed.terms["acc_add"].draws)


def test_prices_that_move_together_share_their_draws() -> None:
    def prices(moves_with: str) -> Prices:
        return Prices(
            name="m",
            description="",
            node_nm=45,
            vdd=0.9,
            actions={
                "xnor_event": price("xnor_event", 1e-12),
                "graded_event": price("graded_event", 3e-12, moves_with=moves_with),
            },
            free={"static": "left out"},
        )

    counts = make([{}, {"xnor_event": 6, "graded_event": 2}])
    together = estimate_energy(counts, prices("xnor_event"))
    a, b = (together.terms[n].draws for n in ("xnor_event", "graded_event"))
    np.testing.assert_allclose(a, b, rtol=1e-12)  # 6 × 1 pJ and 2 × 3 pJ in every draw
    apart = estimate_energy(counts, prices(""))
    assert together.total.p90 - together.total.p10 > 1.2 * (apart.total.p90 - apart.total.p10)
    assert [s.price for s in together.swings] == ["xnor_event"]
    assert together.swings[0].nominal == pytest.approx(12e-12)
    assert [s.price for s in apart.swings] == ["graded_event", "xnor_event"]


def test_tornado_by_hand() -> None:
    values = {"acc_add": 1e-12, "hop_x": 5e-12, "hop_y": 3e-12, "barrier": 9e-12, "pool_cmp": 2e-12}
    actions = {a: price(a, v) for a, v in values.items()}
    actions["token_in"] = price("token_in", 1e-12, low=0.1e-12, high=100e-12)
    prices = Prices(
        name="t",
        description="",
        node_nm=45,
        vdd=0.9,
        actions=actions,
        static={"chip": price("static.chip", 4e-3, unit="W")},
    )
    report = estimate_energy(make([{}, dict.fromkeys(actions, 10)]), prices, interval_s=1e-9)
    # widths: 0.45 of the value each (÷ and × 1.25), static 4 mW × 1 ns = 4 pJ among them
    assert [s.price for s in report.tornado] == [
        "token_in",
        "barrier",
        "hop_x",
        "hop_y",
        "pool_cmp",
    ]
    assert [s.price for s in report.swings[5:]] == ["acc_add", "static.chip"]
    first, barrier = report.tornado[:2]
    assert (first.low, first.nominal, first.high) == pytest.approx((1e-12, 10e-12, 1000e-12))
    assert barrier.width == pytest.approx(90e-12 * (1.25 - 0.8))
    assert report.to_dict()["tornado"][1] == {
        "price": "barrier",
        "low": pytest.approx(72e-12),
        "nominal": pytest.approx(90e-12),
        "high": pytest.approx(112.5e-12),
    }
    assert "widest, one at a time" in str(report)
    # the swings are the whole nominal energy, cut by price
    assert sum(s.nominal for s in report.swings) == pytest.approx(report.total.nominal)


def test_memory_is_one_swing() -> None:
    report = estimate_energy(mlp(), load_prices("horowitz45"), interval_s=1e-6)
    names = [s.price for s in report.swings]
    assert "sram" in names
    assert not {"weight_read_bits", "state_read_bits", "axon_read"} & set(names)
    assert sum(s.nominal for s in report.swings) == pytest.approx(report.total.nominal)
    assert len(report.tornado) == 5


def test_uneven_range_keeps_the_value_as_median() -> None:
    prices = simple(acc_add=1e-12)
    uneven = price("acc_add", 1e-12, low=0.9e-12, high=10e-12)
    prices = Prices(
        name="u",
        description="",
        node_nm=45,
        vdd=0.9,
        actions={"acc_add": uneven},
        free={"static": "left out"},
    )
    r = estimate_energy(make([{}, {"acc_add": 1}]), prices).total
    assert r.p50 == pytest.approx(1e-12, rel=2e-3)  # between two of 1000 slices
    assert r.p10 == pytest.approx(0.9e-12 * (1 / 0.9) ** 0.2, rel=1e-3)
    assert r.p90 == pytest.approx(1e-12 * 10**0.8, rel=5e-3)  # slices are wider on this side


@pytest.mark.parametrize(("kind", "factor"), list(BANDS.items()))
def test_default_band_of_each_kind(tmp_path: Path, kind: str, factor: float) -> None:
    text = f'[actions.acc_add]\nvalue = 6e-12\nunit = "J"\nkind = "{kind}"\nsource = "s"\n'
    got = load(tmp_path, text).actions["acc_add"]
    assert (got.low, got.high) == pytest.approx((6e-12 / factor, 6e-12 * factor))


@pytest.mark.parametrize("name", ["gxnor45", "loihi14"])
def test_preset_ranges_are_ordered_and_near_the_values(name: str) -> None:
    prices = load_prices({"gxnor45": "horowitz45"}.get(name, name))
    # a link between chips, skewed, would outweigh all else
    tally = {a: 100 for a in ACTIONS if a not in (*prices.unpriced(), "hop_chip")}
    report = estimate_energy(make([{}, tally], chip=name), prices, interval_s=1e-6)
    ranges = [report.total, report.dynamic, report.static, *report.by_action.values()]
    for r in [*ranges, *report.by_layer.values()]:
        assert r.p10 <= r.p50 <= r.p90
        assert r.p50 == pytest.approx(r.nominal, rel=0.35, abs=1e-30)  # skewed tails lift sums
    assert report.notes == ()


@pytest.mark.parametrize("name", list_prices())
def test_every_preset_prices_any_counts(name: str) -> None:
    """A total, or a refusal that names exactly the counted actions without a price."""
    prices = load_prices(name)
    counts = mlp()
    report = estimate_energy(counts, prices, interval_s=1e-3)
    missing = tuple(a for a in ACTIONS if counts.total(a) and a in prices.unpriced())
    assert report.unpriced == missing
    assert name in str(report)
    assert dump(report)
    if missing:
        with pytest.raises(PriceError) as error:
            _ = report.total
        assert all(repr(action) in str(error.value) for action in missing)
    priced = {a for a in ACTIONS if counts.total(a)} - {*missing, *prices.free, *prices.included}
    assert set(report.by_action) == priced
    known = make([{}, dict.fromkeys(priced, 100)], chip=prices.chip)
    if prices.static or "static" in prices.free:
        assert estimate_energy(known, prices, interval_s=1e-3).total.p10 > 0
    else:
        with pytest.raises(PriceError, match="have no static power"):
            _ = estimate_energy(known, prices, interval_s=1e-3).total
        assert estimate_energy(known, prices).dynamic.p10 > 0


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(ACTIONS)), st.integers(0, 10**6), min_size=1),
    st.integers(1, 1000),
)
def test_energy_is_linear_in_counts(tally: dict[str, int], factor: int) -> None:
    prices = load_prices("horowitz45")
    one = estimate_energy(make([{}, tally]), prices, draws=20)
    more = {a: n * factor for a, n in tally.items()}
    many = estimate_energy(make([{}, more]), prices, draws=20)
    np.testing.assert_allclose(many.dynamic_draws, one.dynamic_draws * factor, rtol=1e-10)
    # and additive: two rows of the same tally
    two = estimate_energy(make([{}, tally, tally]), prices, draws=20)
    np.testing.assert_allclose(two.dynamic_draws, one.dynamic_draws * 2, rtol=1e-10)


# --- the report --------------------------------------------------------------------


def dump(report: EnergyReport) -> bytes:
    return json.dumps(report.to_dict(), sort_keys=True).encode()


def test_pricing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    prices = load_prices("horowitz45")
    copy = tmp_path / "copy.toml"
    copy.write_text(prices.text, encoding="utf-8")
    first = dump(estimate_energy(mlp(ticks=99), prices))
    assert first == dump(estimate_energy(mlp(ticks=99), prices))
    assert first == dump(estimate_energy(mlp(ticks=99), load_prices(copy)))
    assert first != dump(estimate_energy(mlp(ticks=99), prices, seed=1))


def test_dict_keys_and_units() -> None:
    report = estimate_energy(mlp(ticks=99), load_prices("horowitz45"))
    data = json.loads(dump(report))
    for key in ("total", "dynamic", "static"):
        assert set(data[key]) == {"p10", "p50", "p90", "nominal"}
        assert data[key]["p50"] == pytest.approx(getattr(report, key).p50, rel=1e-11)
    assert data["by_action"].keys() == report.by_action.keys()
    assert list(report.to_dict()["by_layer"]) == ["input", "fc1", "fc2"]
    assert (data["prices"], data["chip"]) == ("horowitz45", "gxnor45")
    assert data["evidence"] == "unstated"
    assert data["refused"] == []
    assert data["dominant"]["term"] == report.dominant[0]  # type: ignore[index]
    assert len(data["not_modelled"]) > 3


def test_the_printed_report_can_be_read() -> None:
    text = str(estimate_energy(mlp(ticks=99), load_prices("horowitz45")))
    assert text.startswith(
        "energy per inference on gxnor45, prices horowitz45 (45 nm, 0.9 V), mean of 3\n"
    )
    for part in ("p10", "p90", "pJ", "input", "dominant: ", "not modelled: clock tree", "seed 0"):
        assert part in text
    foreign = str(estimate_energy(mlp(ticks=99), load_prices("loihi14")))
    assert "note: these prices were written for chip loihi14, not gxnor45" in foreign


def test_nothing_counted_costs_nothing() -> None:
    report = estimate_energy(make([{}, {}]), simple(acc_add=1e-12))
    assert report.total.p90 == 0.0
    assert report.dominant is None
    assert report.evidence is None
    assert "worst evidence used: none" in str(report)


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (0.0, "0 J"),
        (23.6e-12, "23.6 pJ"),
        (0.564e-15, "564 aJ"),
        (999.96e-12, "1.00 nJ"),
        (1e-9, "1.00 nJ"),
        (758.6e-6, "759 µJ"),
        (2.0, "2.00 J"),
        (3e-18, "3.00 aJ"),
        (3e-21, "3e-21 J"),
    ],
)
def test_engineering_units(joules: float, text: str) -> None:
    assert format_joules(joules) == text


def test_ten_thousand_samples_are_priced_quickly() -> None:
    counts = make([{"spike_out": 1}] + [{"acc_add": 3, "spike_out": 1}] * 9, samples=10_000)
    prices = load_prices("horowitz45")
    estimate_energy(counts, prices, interval_s=1e-5)
    start = time.perf_counter()
    counts.values.sum(axis=0)
    summed = time.perf_counter() - start
    start = time.perf_counter()
    _ = estimate_energy(counts, prices, interval_s=1e-5).total
    spent = time.perf_counter() - start - summed
    assert spent < 1.0  # 10 ms measured; the limit only catches work per sample


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the guide writes a file
    for module in (
        neuromorph.energy.dump,
        neuromorph.energy.files,
        neuromorph.energy.scaling,
        neuromorph.energy.terms,
    ):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed
    guide = Path(__file__).parents[2] / "docs" / "energy.md"
    result = doctest.testfile(str(guide), module_relative=False, encoding="utf-8")
    assert result.attempted > 5
    assert not result.failed


def test_guide_lists_every_price() -> None:
    """Each value of horowitz45 stands in the table of the guide."""
    guide = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
    prices = load_prices("horowitz45")
    for p in (*prices.actions.values(), *prices.static.values()):
        row = next(line for line in guide.splitlines() if line.startswith(f"| `{p.name}` |"))
        cells = [float(cell) for cell in row.split("|")[2:5]]
        assert cells == pytest.approx([p.value, p.low, p.high], rel=5e-3), p.name
        assert row.split("|")[5].strip() == p.kind
