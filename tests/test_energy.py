"""Energy: counts × prices.

The oracle is hand arithmetic and closed forms on price files made here, and
published figures for the presets.  Not compared: the plausibility of a preset
against silicon of its own kind; there is none for ``horowitz45``.
"""

from __future__ import annotations

import doctest
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromorph.energy.dump
import neuromorph.energy.files
import neuromorph.energy.scaling
import neuromorph.energy.terms
from neuromorph.energy import (
    BANDS,
    EnergyReport,
    Price,
    Prices,
    SramModel,
    SramPoint,
    estimate_energy,
    format_joules,
    list_prices,
    load_prices,
)
from neuromorph.errors import ChipError, PriceError
from neuromorph.events import ACTIONS, Counts, Hardware

HEADER = 'name = "mine"\ndescription = "d"\nnode_nm = 45\nvdd = 0.9\n'
ENTRY = 'unit = "J"\nkind = "simulated"\nsource = "seen"\n'
NO_STATIC = '[free]\nstatic = "left out in this test"\n'
KIB = 8192  # bits


def make(
    tallies: list[dict[str, int]],
    *,
    samples: int = 1,
    ticks: int | None = None,
    tick_s: float = 1e-9,
    cores_used: int = 1,
    memory: tuple[int, int, int] = (64 * KIB, 2 * KIB, 32 * KIB),
    chip: str = "gxnor45",
) -> Counts:
    """Counts with one row a dict (row 0 is the input port), alike in every sample."""
    values = np.zeros((samples, len(tallies), len(ACTIONS)), np.int64)
    for row, tally in enumerate(tallies):
        for action, n in tally.items():
            values[:, row, list(ACTIONS).index(action)] = n
    pairs = [
        sum(t.get(a, 0) for a in ("xnor_event", "graded_event", "skip_act", "skip_weight"))
        for t in tallies
    ]
    return Counts(
        values=values,
        layers=("input", *(f"fc{i}" for i in range(1, len(tallies)))),
        cores=np.arange(-1, len(tallies) - 1),
        pairs=np.array(pairs),
        hardware=Hardware(
            chip=chip,
            dataflow="scatter",
            tick_s=tick_s,
            cores_used=cores_used,
            synapse_memory_bits=memory[0],
            state_memory_bits=memory[1],
            axon_memory_bits=memory[2],
        ),
        ticks=ticks,
    )


def load(tmp_path: Path, text: str, *, header: str = HEADER) -> Prices:
    path = tmp_path / "mine.toml"
    path.write_text(header + text, encoding="utf-8")
    return load_prices(path)


def price(name: str, value: float, **more: object) -> Price:
    """A price of a test: ± a quarter, derived."""
    unit = "J/bit" if name.endswith("_bits") else "J"
    fields = {"low": value / 1.25, "high": value * 1.25, "unit": unit} | more
    return Price(name=name, value=value, kind="derived", source="test", **fields)  # type: ignore[arg-type]


def simple(name: str = "simple", **values: float) -> Prices:
    """Prices of the given actions, static left out."""
    return Prices(
        name=name,
        description="",
        node_nm=45,
        vdd=0.9,
        actions={a: price(a, v) for a, v in values.items()},
        free={"static": "left out"},
    )


def mlp(samples: int = 3, ticks: int | None = None) -> Counts:
    """A made-up two-layer network with every action a gxnor45 core can count."""
    row = {a: 10 * (i + 1) for i, a in enumerate(ACTIONS)}
    port = {"spike_out": 7, "packet_out": 7, "hop_x": 9, "hop_y": 2, "hop_local": 7, "token_out": 1}
    return make([port, row, row], samples=samples, ticks=ticks, cores_used=2)


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


# --- ranges ----------------------------------------------------------------------


def test_ratio_of_two_reports_is_exact() -> None:
    prices = load_prices("horowitz45")
    one = estimate_energy(mlp(samples=1, ticks=100), prices)
    row = {a: 30 * (i + 1) for i, a in enumerate(ACTIONS)}
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
    tally = {a: 100 for a in ACTIONS if a not in prices.unpriced()}
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
    guide = Path(__file__).parents[1] / "docs" / "energy.md"
    result = doctest.testfile(str(guide), module_relative=False, encoding="utf-8")
    assert result.attempted > 5
    assert not result.failed


def test_guide_lists_every_price() -> None:
    """Each value of horowitz45 stands in the table of the guide."""
    guide = (Path(__file__).parents[1] / "docs" / "energy.md").read_text(encoding="utf-8")
    prices = load_prices("horowitz45")
    for p in (*prices.actions.values(), *prices.static.values()):
        row = next(line for line in guide.splitlines() if line.startswith(f"| `{p.name}` |"))
        cells = [float(cell) for cell in row.split("|")[2:5]]
        assert cells == pytest.approx([p.value, p.low, p.high], rel=5e-3), p.name
        assert row.split("|")[5].strip() == p.kind


# --- presets -------------------------------------------------------------------------


def test_presets() -> None:
    assert list_prices() == [
        "generic22",
        "horowitz45",
        "loihi14",
        "loihi14-sanafe",
        "odin28",
        "seneca22",
        "ternary-stationary22",
        "truenorth28",
    ]
    horowitz, loihi = load_prices("horowitz45"), load_prices("loihi14")
    assert horowitz.unpriced() == ()
    assert set(loihi.unpriced()) == {
        "token_out", "token_in", "pool_cmp", "partial_out", "partial_in",
        *("popcount", "mac_float", "register_write_bits", "act_read_bits", "act_write_bits"),
    }  # fmt: skip
    assert (horowitz.chip, loihi.chip) == ("gxnor45", "loihi14")
    for prices in (horowitz, loihi):
        assert prices.not_modelled
        # nothing here was measured on silicon as it stands
        kinds = {p.kind for p in (*prices.actions.values(), *prices.static.values())}
        assert "measured" not in kinds
        text = str(prices)
        assert text.startswith(f"{prices.name}: ")
        assert "sources" in text
    assert "sram 65536 bits" in str(horowitz)
    assert "unpriced: token_out" in str(loihi)


def test_horowitz_figures() -> None:
    """The published ones among the points: 8 KB, 32 KB, 1 MB, 64-bit access."""
    model = load_prices("horowitz45").sram
    assert model is not None
    for kib, pj in ((8, 10), (32, 20), (1024, 100)):
        assert model.per_bit(kib * KIB)[1] == pytest.approx(pj * 1e-12 / 64, rel=1e-9)


def test_loihi_figures() -> None:
    """Davies et al. 2018, Table 2."""
    actions = load_prices("loihi14").actions
    published = {
        "xnor_event": 23.6e-12,
        "neuron_update_active": 81e-12,
        "neuron_update_idle": 52e-12,
        "hop_local": 1.7e-12,
        "hop_x": 3.0e-12,
        "hop_y": 4.0e-12,
    }
    assert {a: actions[a].value for a in published} == published


# --- bad input -------------------------------------------------------------------------

XNOR = "[actions.xnor_event]\nvalue = 2e-12\n" + ENTRY
SRAM = (
    '[sram]\nactions = ["weight_read_bits"]\nkind = "derived"\nsource = "s"\n'
    'below = "clamp"\nabove = "clamp"\n'
)
POINT = "{ capacity_bits = %d, access_bits = 64, value = %s }"
POINTS = f"points = [{POINT % (1024, '1e-12')}, {POINT % (4096, '2e-12')}]\n"

BAD_FILES = {
    "not toml": ("[actions", "is not a TOML file: "),
    "unknown key": ("colour = 1\n", "Object contains unknown field `colour`"),
    "unknown key of an entry": (
        XNOR + "volts = 1\n",
        "actions.xnor_event: Object contains unknown field `volts`",
    ),
    "no kind": (
        '[actions.acc_add]\nvalue = 1e-12\nunit = "J"\nsource = "s"\n',
        "actions.acc_add: Object missing required field `kind`",
    ),
    "no source": (
        '[actions.acc_add]\nvalue = 1e-12\nunit = "J"\nkind = "derived"\n',
        "actions.acc_add: Object missing required field `source`",
    ),
    "no value": (
        "[actions.acc_add]\n" + ENTRY,
        "actions.acc_add: Object missing required field `value`",
    ),
    "blank source": (
        XNOR.replace('"seen"', '" "'),
        "actions.xnor_event: source is empty; a price nobody has seen is no price",
    ),
    "unknown kind": (
        XNOR.replace("simulated", "guessed"),
        "actions.xnor_event: Invalid enum value 'guessed' - at `$.kind`",
    ),
    "recalled": (
        XNOR.replace("simulated", "assumed"),
        "actions.xnor_event: Invalid enum value 'assumed' - at `$.kind`",
    ),
    "text for a number": (
        XNOR.replace("2e-12", '"2e-12"'),
        "actions.xnor_event: Expected `float`, got `str` - at `$.value`",
    ),
    "entry is no table": (
        "[actions]\nacc_add = 1e-12\n",
        "actions.acc_add: Expected `object`, got `float`",
    ),
    "unknown action": (
        XNOR.replace("xnor_event", "xnor_evnt"),
        "[actions] names unknown action 'xnor_evnt'; actions are spike_out, ",
    ),
    "negative": (
        XNOR.replace("2e-12", "-2e-12"),
        "actions.xnor_event: value is -2e-12; must not be negative",
    ),
    "not a number": (
        XNOR.replace("2e-12", "nan"),
        "actions.xnor_event: value is nan; must be finite",
    ),
    "infinite": (XNOR + "high = inf\n", "actions.xnor_event: high is inf; must be finite"),
    "zero": (
        XNOR.replace("2e-12", "0.0"),
        "actions.xnor_event: value is 0; say under [free], with a reason, what costs nothing",
    ),
    "lost exponent": (
        XNOR.replace("2e-12", "2e12"),
        "actions.xnor_event: value is 2e+12; at most 1 is believed",
    ),
    "low above value": (
        XNOR + "low = 3e-12\n",
        "actions.xnor_event: need low ≤ value ≤ high, found 3e-12, 2e-12, 3e-12",
    ),
    "high below value": (
        XNOR + "high = 1.5e-12\n",
        "actions.xnor_event: need low ≤ value ≤ high, found 1.33333e-12, 2e-12, 1.5e-12",
    ),
    "unit": (
        XNOR.replace('"J"', '"pJ"'),
        "actions.xnor_event: unit is 'pJ'; must be 'J'",
    ),
    "unit of bits": (
        XNOR.replace("xnor_event", "weight_read_bits"),
        "actions.weight_read_bits: unit is 'J'; must be 'J/bit'",
    ),
    "double by inclusion": (
        XNOR + 'includes = ["acc_add"]\n[actions.acc_add]\nvalue = 1e-12\n' + ENTRY,
        "double charging: action 'acc_add' is answered by [actions.acc_add] and by includes of "
        "[actions.xnor_event]; keep one",
    ),
    "double by itself": (
        XNOR + 'includes = ["xnor_event"]\n',
        "double charging: action 'xnor_event' is answered by [actions.xnor_event] and by includes "
        "of [actions.xnor_event]; keep one",
    ),
    "double by memory": (
        XNOR + 'includes = ["weight_read_bits"]\n' + SRAM + POINTS,
        "double charging: action 'weight_read_bits' is answered by [sram] and by includes of "
        "[actions.xnor_event]; keep one",
    ),
    "priced and free": (
        XNOR + '[free]\nxnor_event = "why not"\n',
        "double charging: action 'xnor_event' is answered by [actions.xnor_event] and by [free]",
    ),
    "includes unknown": (
        XNOR + 'includes = ["everything"]\n',
        "includes of actions.xnor_event names unknown action 'everything'",
    ),
    "moves with nobody": (
        XNOR + 'moves_with = "acc_add"\n',
        "actions.xnor_event: moves_with names 'acc_add'; it must be another priced action that "
        "moves with none",
    ),
    "moves with itself": (
        XNOR + 'moves_with = "xnor_event"\n',
        "actions.xnor_event: moves_with names 'xnor_event'; it must be another priced action",
    ),
    "moves in a chain": (
        XNOR
        + 'moves_with = "acc_add"\n[actions.acc_add]\nvalue = 1e-12\n'
        + ENTRY
        + 'moves_with = "barrier"\n[actions.barrier]\nvalue = 1e-12\n'
        + ENTRY,
        "actions.xnor_event: moves_with names 'acc_add'; it must be another priced action",
    ),
    "static moves": (
        "[static.core]\nvalue = 1e-3\n" + ENTRY.replace('"J"', '"W"') + 'moves_with = "acc_add"\n',
        "static.core: static power includes no actions and moves with none",
    ),
    "static clock unit": (
        "[static.clock]\nvalue = 1e-12\n" + ENTRY.replace('"J"', '"W"'),
        "static.clock: unit is 'W'; must be 'J'",
    ),
    "free without reason": ('[free]\nskip_act = ""\n', "free.skip_act needs a reason"),
    "free unknown": ('[free]\nskip = "x"\n', "[free] names unknown action 'skip'"),
    "static part": (
        "[static.tile]\nvalue = 1e-3\n" + ENTRY,
        "static.tile: unknown part; parts are core, sram_bit, chip, clock",
    ),
    "static unit": (
        "[static.core]\nvalue = 1e-3\n" + ENTRY,
        "static.core: unit is 'J'; must be 'W'",
    ),
    "static includes": (
        "[static.core]\nvalue = 1e-3\n" + ENTRY.replace('"J"', '"W"') + 'includes = ["barrier"]\n',
        "static.core: static power includes no actions and moves with none",
    ),
    "static twice": (
        "[static.core]\nvalue = 1e-3\n" + ENTRY.replace('"J"', '"W"') + NO_STATIC,
        "static power is both priced under [static] and declared [free]",
    ),
    "sram key": (SRAM + POINTS + "x = 1\n", "sram: Object contains unknown field `x`"),
    "sram outside": (
        SRAM.replace('below = "clamp"', 'below = "guess"') + POINTS,
        "sram: Invalid enum value 'guess' - at `$.below`",
    ),
    "sram action": (
        SRAM.replace("weight_read_bits", "acc_add") + POINTS,
        "sram: a memory cannot price 'acc_add'; it can price weight_read_bits, state_read_bits, "
        "state_write_bits, axon_read",
    ),
    "sram one point": (
        SRAM + f"points = [{POINT % (1024, '1e-12')}]\n",
        "sram: needs at least two points, has 1",
    ),
    "sram order": (
        SRAM + f"points = [{POINT % (4096, '1e-12')}, {POINT % (1024, '2e-12')}]\n",
        "sram: points must ascend in capacity_bits, found [4096, 1024]",
    ),
    "sram point": (
        SRAM + f"points = [{POINT % (1024, '1e-12')}, {POINT % (4096, '-2e-12')}]\n",
        "sram.points[1]: value is -2e-12; must not be negative",
    ),
    "sram point key": (
        SRAM + "points = [{ capacity_bits = 0, access_bits = 64, value = 1e-12 }]\n",
        "sram.points[0]: Expected `int` >= 1 - at `$.capacity_bits`",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_price_file(tmp_path: Path, case: str) -> None:
    text, message = BAD_FILES[case]
    with pytest.raises(PriceError) as error:
        load(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "mine.toml"))
    assert "\n" not in str(error.value)


def test_missing_header(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="Object missing required field `vdd`"):
        load(tmp_path, XNOR, header='name = "m"\ndescription = "d"\nnode_nm = 45\n')


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(PriceError) as error:
        load_prices("nowhere")
    assert str(error.value) == (
        f"no prices 'nowhere': no such file; presets are {', '.join(list_prices())}"
    )
    with pytest.raises(PriceError, match="no prices"):
        load_prices(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PriceError, match=r"binary\.toml is not a TOML file"):
        load_prices(tmp_path / "binary.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(PriceError, match="a price file has at most 1048576 bytes"):
        load_prices(tmp_path / "big.toml")
    assert issubclass(PriceError, ChipError)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.toml").write_text(HEADER)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PriceError, match=r"cannot read price file .*: Permission denied"):
        load_prices(tmp_path / "mine.toml")


def test_price_made_by_hand_is_checked() -> None:
    with pytest.raises(PriceError, match="unknown kind 'felt'; kinds are measured, "):
        Price(
            name="acc_add",
            value=1e-12,
            low=1e-12,
            high=1e-12,
            unit="J",
            kind="felt",  # type: ignore[arg-type]
            source="s",
        )


def test_bad_arguments() -> None:
    counts, prices = make([{}, {"acc_add": 1}]), simple(acc_add=1e-12)
    for interval_s in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(PriceError, match=r"interval_s is .*; must be a positive number of s"):
            estimate_energy(counts, prices, interval_s=interval_s)
    for draws in (0, -1, 10**6 + 1):
        with pytest.raises(PriceError, match=rf"draws is {draws}; must be 1 to 1000000"):
            estimate_energy(counts, prices, draws=draws)
    for seed in (-1, 1 << 63):
        with pytest.raises(PriceError, match=r"seed is .*; must be 0 to 2\*\*63 - 1"):
            estimate_energy(counts, prices, seed=seed)
    with pytest.raises(PriceError, match="counts hold no samples; there is no inference to price"):
        estimate_energy(make([{}, {}], samples=0), prices)


def test_repr_is_short() -> None:
    report = estimate_energy(mlp(), load_prices("horowitz45"))
    assert repr(report) == "<EnergyReport of gxnor45 at prices horowitz45: no total>"
    priced = estimate_energy(mlp(), load_prices("horowitz45"), interval_s=1e-3)
    assert "J" in repr(priced)
    assert len(repr(priced)) < 120
