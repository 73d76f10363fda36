"""Counts times prices: arithmetic, memory, static power, missing prices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from energy_kit import ENTRY, KIB, NO_STATIC, load, make, mlp, price, simple

from neuromorph.energy import (
    Prices,
    SramModel,
    SramPoint,
    estimate_energy,
    load_prices,
)
from neuromorph.errors import PriceError
from neuromorph.events import ACTIONS, Counts

# --- arithmetic ---------------------------------------------------------------


def test_one_action(tmp_path: Path) -> None:
    prices = load(tmp_path, "[actions.xnor_event]\nvalue = 2e-12\n" + ENTRY + NO_STATIC)
    report = estimate_energy(make([{}, {"xnor_event": 500}]), prices)
    assert report.total.nominal == pytest.approx(500 * 2e-12, rel=1e-12)
    # simulated: × and ÷ 1.5, log-uniform, so the p-quantile is 1.5**(2p − 1) of the value
    for p, got in ((0.1, report.total.p10), (0.5, report.total.p50), (0.9, report.total.p90)):
        assert got == pytest.approx(1e-9 * 1.5 ** (2 * p - 1), rel=1e-3)  # 1000 slices
    assert report.static.p90 == 0.0
    assert report.dominant == ("xnor_event", 1.0)
    assert report.evidence == "simulated"


def test_tallies_are_means_over_samples() -> None:
    values = make([{}, {"acc_add": 0}], samples=4)
    tallies = values.values.copy()
    tallies[:, 1, list(ACTIONS).index("acc_add")] = [1, 2, 3, 10]
    counts = Counts(
        values=tallies,
        layers=values.layers,
        cores=values.cores,
        pairs=values.pairs,
        hardware=values.hardware,
    )
    assert estimate_energy(counts, simple(acc_add=1e-12)).total.nominal == pytest.approx(4e-12)


def test_layers_and_actions_add_up_at_the_values() -> None:
    report = estimate_energy(mlp(), load_prices("horowitz45"), interval_s=1e-6)
    dynamic = report.dynamic.nominal
    assert sum(r.nominal for r in report.by_action.values()) == pytest.approx(dynamic, rel=1e-12)
    assert sum(r.nominal for r in report.by_layer.values()) == pytest.approx(dynamic, rel=1e-12)
    assert list(report.by_layer) == ["input", "fc1", "fc2"]
    assert report.by_layer["fc1"] == report.by_layer["fc2"]
    assert report.total.nominal == pytest.approx(dynamic + report.static.nominal, rel=1e-12)
    np.testing.assert_allclose(
        sum(t.draws for t in report.layers.values()), report.dynamic_draws, rtol=1e-12
    )
    order = [r.p50 for r in report.by_action.values()]
    assert order == sorted(order, reverse=True)


def test_input_port_by_hand() -> None:
    prices = simple(packet_out=3e-12, hop_x=5e-12, acc_add=1e-12)
    counts = make([{"packet_out": 4, "hop_x": 6}, {"acc_add": 100}])
    report = estimate_energy(counts, prices)
    assert report.by_layer["input"].nominal == pytest.approx(4 * 3e-12 + 6 * 5e-12)
    assert report.by_layer["fc1"].nominal == pytest.approx(100e-12)


def test_sana_fe_by_hand(tmp_path: Path) -> None:
    """A ternary network of 203 steps in SANA-FE's formula; the tool prints 758.605 µJ."""
    counts = make(
        [
            {},
            {
                "xnor_event": 20_323_126,
                "neuron_update_active": 411_338,
                "neuron_update_idle": 415_744 - 411_338,
                "spike_out": 36_808,
                "packet_out": 39_751,
            },
        ]
    )
    table = {
        "xnor_event": 35.5,
        "neuron_update_active": 51.2 + 21.6,
        "neuron_update_idle": 51.2,
        "spike_out": 69.3,
        "packet_out": 111.0,
    }
    text = "".join(
        f'[actions.{a}]\nvalue = {pj}e-12\nunit = "J"\nkind = "fitted"\nsource = "SANA-FE"\n'
        for a, pj in table.items()
    )
    report = estimate_energy(counts, load(tmp_path, text + NO_STATIC))
    assert report.total.nominal == pytest.approx(758.605e-6, rel=1e-6)  # the tool's six digits
    by_hand = (
        20_323_126 * 35.5 + 415_744 * 51.2 + 411_338 * 21.6 + 36_808 * 69.3 + 39_751 * 111
    ) * 1e-12
    assert report.total.nominal == pytest.approx(by_hand, rel=1e-12)
    assert report.evidence == "fitted"


def test_weight_fetch_of_a_small_mlp() -> None:
    """784-256-10, densities 0.13 and 0.5, 2-bit rows in a 50 KB memory: about 21 nJ."""
    bits = 2 * (0.13 * 784 * 256 + 0.5 * 256 * 10)
    # Horowitz between 32 KB and 1 MB by hand: 20 pJ × (50/32)^(ln 5 / ln 32) for 64 bits
    by_hand = bits * 20e-12 * (50 / 32) ** (math.log(5) / math.log(32)) / 64
    counts = make([{}, {"weight_read_bits": round(bits)}], memory=(50 * KIB, 2 * KIB, 32 * KIB))
    energy = estimate_energy(counts, load_prices("horowitz45")).dynamic.nominal
    assert energy == pytest.approx(by_hand, rel=1e-4)  # bits are rounded
    assert energy == pytest.approx(21.0e-9, rel=0.02)


# --- memory --------------------------------------------------------------------


def sram(**more: object) -> SramModel:
    points = tuple(
        SramPoint(capacity_bits=c, access_bits=64, value=v, low=v / 2, high=v * 2)
        for c, v in ((1 << 16, 10e-12), (1 << 18, 20e-12), (1 << 23, 100e-12))
    )
    fields = {"actions": ("weight_read_bits", "axon_read"), "points": points, "source": "test"}
    return SramModel(**(fields | {"kind": "unstated"} | more))  # type: ignore[arg-type]


def test_sram_at_the_points() -> None:
    for capacity, joules in ((1 << 16, 10e-12), (1 << 18, 20e-12), (1 << 23, 100e-12)):
        low, value, high = sram().per_bit(capacity)
        assert value == pytest.approx(joules / 64, rel=1e-12)
        assert (low, high) == pytest.approx((value / 2, value * 2), rel=1e-12)


def test_sram_between_and_outside() -> None:
    mid = sram().per_bit(1 << 17)[1]
    assert mid == pytest.approx(math.sqrt(10e-12 * 20e-12) / 64, rel=1e-12)
    outward = sram(below="extrapolate", above="extrapolate")
    assert outward.per_bit(1 << 14)[1] == pytest.approx(5e-12 / 64, rel=1e-12)
    assert outward.per_bit(1 << 28)[1] == pytest.approx(500e-12 / 64, rel=1e-12)
    clamped = sram(below="clamp", above="clamp")
    assert clamped.per_bit(1)[1] == pytest.approx(10e-12 / 64, rel=1e-12)
    assert clamped.per_bit(1 << 30)[1] == pytest.approx(100e-12 / 64, rel=1e-12)


def test_sram_points_of_different_width() -> None:
    points = (
        SramPoint(capacity_bits=1 << 10, access_bits=32, value=1e-12, low=1e-12, high=1e-12),
        SramPoint(capacity_bits=1 << 12, access_bits=64, value=4e-12, low=4e-12, high=4e-12),
    )
    value = sram(points=points).per_bit(1 << 11)[1]
    assert value == pytest.approx(math.sqrt(1e-12 / 32 * 4e-12 / 64), rel=1e-12)


def test_sram_prices_by_the_memory_of_each_action() -> None:
    prices = Prices(
        name="m", description="", node_nm=45, vdd=0.9, sram=sram(), free={"static": "left out"}
    )
    counts = make(
        [{}, {"weight_read_bits": 640, "axon_read": 3}], memory=(1 << 18, 1 << 14, 1 << 16)
    )
    report = estimate_energy(counts, prices)
    assert report.by_action["weight_read_bits"].nominal == pytest.approx(10 * 20e-12)
    assert report.by_action["axon_read"].nominal == pytest.approx(3 * 10e-12)  # one 64-bit access
    # one uncertainty, not two
    ratio = report.terms["weight_read_bits"].draws / report.terms["axon_read"].draws
    np.testing.assert_allclose(ratio, 200 / 30, rtol=1e-12)


def test_sram_out_of_reach_refuses() -> None:
    prices = Prices(
        name="m", description="", node_nm=45, vdd=0.9, sram=sram(), free={"static": "left out"}
    )
    counts = make([{}, {"axon_read": 3}], memory=(1 << 18, 1 << 14, 1 << 12))
    message = (
        "prices 'm' cannot price 'axon_read': a memory of 4096 bits is outside the priced "
        "sizes 65536 to 8388608 bits"
    )
    with pytest.raises(PriceError, match=message):
        _ = estimate_energy(counts, prices).total
    counts = make([{}, {"axon_read": 3}], memory=(1 << 18, 1 << 14, 0))
    with pytest.raises(PriceError, match="a memory of 0 bits has no access energy"):
        _ = estimate_energy(counts, prices).total


# --- static --------------------------------------------------------------------


def test_static_by_ticks_and_by_interval() -> None:
    prices = Prices(
        name="s",
        description="",
        node_nm=45,
        vdd=0.9,
        static={
            "core": price("static.core", 1e-3, unit="W"),
            "sram_bit": price("static.sram_bit", 1e-9, unit="W/bit"),
            "chip": price("static.chip", 5e-3, unit="W"),
        },
    )
    watts = 3 * 1e-3 + 3 * (100 + 20 + 3) * 1e-9 + 5e-3
    arguments = {"samples": 4, "tick_s": 2e-9, "cores_used": 3, "memory": (100, 20, 3)}
    timed = estimate_energy(make([{}], ticks=2000, **arguments), prices)  # type: ignore[arg-type]
    assert timed.time_s == pytest.approx(2000 * 2e-9 / 4)
    assert timed.static.nominal == pytest.approx(watts * 1e-6, rel=1e-12)
    assert timed.total.nominal == timed.static.nominal
    given_interval = estimate_energy(
        make([{}], ticks=2000, **arguments),  # type: ignore[arg-type]
        prices,
        interval_s=0.5,
    )
    assert given_interval.static.nominal == pytest.approx(watts * 0.5, rel=1e-12)
    assert given_interval.dominant == ("static", 1.0)


def test_clock_is_paid_by_the_tick() -> None:
    prices = Prices(
        name="c",
        description="",
        node_nm=28,
        vdd=0.55,
        static={"clock": price("static.clock", 2e-12, unit="J")},
    )
    report = estimate_energy(make([{}], ticks=2000, tick_s=4e-9, samples=5), prices)
    assert report.static.nominal == pytest.approx(2000 / 5 * 2e-12, rel=1e-12)
    slow = estimate_energy(make([{}], tick_s=4e-9), prices, interval_s=1e-3)
    assert slow.static.nominal == pytest.approx(1e-3 / 4e-9 * 2e-12, rel=1e-12)
    with pytest.raises(PriceError, match="static energy is power × time"):
        _ = estimate_energy(make([{}], tick_s=4e-9), prices).total


def test_total_without_time_is_refused() -> None:
    report = estimate_energy(mlp(), load_prices("horowitz45"))
    message = (
        "total energy is refused: static energy is power × time and these counts carry no "
        "time; use mode='timed' or give interval_s"
    )
    for name in ("total", "static", "total_draws", "static_draws"):
        with pytest.raises(PriceError) as error:
            getattr(report, name)
        assert str(error.value) == message
    assert report.dynamic.p10 < report.dynamic.p90
    assert report.by_layer["input"].nominal > 0
    data = report.to_dict()
    assert data["total"] is None
    assert data["static"] is None
    assert data["dynamic"]["p50"] == pytest.approx(report.dynamic.p50)
    assert data["refused"] == [message.removeprefix("total energy is refused: ")]
    assert f"total refused: {data['refused'][0]}" in str(report)


def test_prices_without_static_refuse_the_total() -> None:
    prices = Prices(
        name="p",
        description="",
        node_nm=45,
        vdd=0.9,
        actions={"acc_add": price("acc_add", 1e-12)},
    )
    report = estimate_energy(make([{}, {"acc_add": 1}], ticks=10), prices)
    message = (
        r"prices 'p' have no static power; add \[static\], or say under \[free\] "
        "why static costs nothing"
    )
    with pytest.raises(PriceError, match=message):
        _ = report.total
    assert report.dynamic.nominal == pytest.approx(1e-12)


# --- missing prices --------------------------------------------------------------


def test_unpriced_actions_refuse_and_are_listed() -> None:
    counts = make([{}, {"acc_add": 5, "pool_cmp": 2, "barrier": 1}], ticks=10)
    report = estimate_energy(counts, simple(acc_add=1e-12))
    message = (
        "energy is refused: prices 'simple' have no price for 'barrier', 'pool_cmp'; add "
        "[actions.barrier] with value, unit, kind and source, or say under [free] why it "
        "costs nothing"
    )
    for name in ("total", "dynamic", "by_layer", "dynamic_draws", "total_draws"):
        with pytest.raises(PriceError) as error:
            getattr(report, name)
        assert str(error.value) == message
    assert report.unpriced == ("barrier", "pool_cmp")
    assert report.by_action["acc_add"].nominal == pytest.approx(5e-12)
    data = report.to_dict()
    assert data["total"] is None
    assert data["dynamic"] is None
    assert data["by_layer"] is None
    assert data["unpriced"] == ["barrier", "pool_cmp"]
    text = str(report)
    assert "total refused: prices 'simple' have no price for 'barrier', 'pool_cmp'" in text
    assert "of the priced part" in text


def test_an_unpriced_action_that_never_happens_does_not_matter() -> None:
    counts = make([{}, {"acc_add": 5}])
    assert estimate_energy(counts, simple(acc_add=1e-12)).total.nominal == pytest.approx(5e-12)


def test_free_and_included_cost_nothing_and_are_said() -> None:
    prices = Prices(
        name="f",
        description="",
        node_nm=45,
        vdd=0.9,
        actions={"xnor_event": price("xnor_event", 2e-12, includes=("acc_add",))},
        free={"skip_act": "nothing moves", "static": "left out", "barrier": "never happens"},
    )
    counts = make([{}, {"xnor_event": 3, "acc_add": 3, "skip_act": 9}])
    report = estimate_energy(counts, prices)
    assert report.total.nominal == pytest.approx(6e-12)
    assert report.free == {"skip_act": "nothing moves", "static": "left out"}
    assert report.included == {"acc_add": ("xnor_event",)}
    text = str(report)
    assert "free by declaration: skip_act" in text
    assert "charged within another price: acc_add" in text
    assert "static energy is left out: left out" in text
