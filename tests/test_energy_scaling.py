"""Technology scaling: monotone, exact at the nodes of the tables, marked and widened.

The oracle is the published tables themselves and hand arithmetic between
their points; ``tests/test_energy_silicon.py`` compares with a design at 22 nm.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromorph.energy import (
    Price,
    Prices,
    dump_prices,
    list_prices,
    load_prices,
    node_factor,
    scale_prices,
)
from neuromorph.errors import PriceError
from neuromorph.events import ACTIONS, LEARNING_ACTIONS

NODES = st.floats(7.0, 45.0)
PARTS = st.sampled_from(["logic", "sram", "wire"])
SIZES = st.integers(1, 1 << 30)


@given(PARTS, NODES, NODES, SIZES)
def test_a_smaller_node_is_never_dearer(part: str, a: float, b: float, size: int) -> None:
    small, large = sorted((a, b))
    factor = node_factor(part, large, small, capacity_bits=size)  # type: ignore[arg-type]
    assert 0 < factor <= 1 + 1e-12
    back = node_factor(part, small, large, capacity_bits=size)  # type: ignore[arg-type]
    assert factor * back == pytest.approx(1)


def test_no_trap_between_the_nodes() -> None:
    """Position in the table the wrong way round gives 31 nm 0.258, 28 nm 0.367, 22 nm 0.586."""
    factors = [node_factor("logic", 45, nm) for nm in (45, 40, 32, 31, 28, 22, 20)]
    assert factors == sorted(factors, reverse=True)
    assert node_factor("logic", 45, 31) == pytest.approx(0.612, abs=1e-3)
    # by hand between 32 nm 0.6594 and 20 nm 0.2210
    t = math.log(32 / 22) / math.log(32 / 20)
    by_hand = 0.6594 * (0.2210 / 0.6594) ** t
    assert node_factor("logic", 45, 22) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize(
    ("nm", "published"), [(32, 0.66), (20, 0.22), (16, 0.17), (14, 0.14), (7, 0.094)]
)
def test_logic_at_the_published_nodes(nm: int, published: float) -> None:
    assert node_factor("logic", 45, nm) == pytest.approx(published, abs=5e-3)


@pytest.mark.parametrize(
    ("kib", "factor"), [(2, 0.75), (8, 0.75), (32, 0.425), (1024, 0.14), (4096, 0.14)]
)
def test_memory_at_7_nm(kib: int, factor: float) -> None:
    assert node_factor("sram", 45, 7, capacity_bits=kib * 8192) == pytest.approx(factor)
    # logic gains more than any memory, small memories gain least
    assert node_factor("logic", 45, 7) < factor
    between = node_factor("sram", 45, 7, capacity_bits=16 * 8192)
    assert between == pytest.approx(math.sqrt(0.75 * 0.425))


@pytest.mark.parametrize("nm", [6.9, 46, 180, math.nan, math.inf, -22])
def test_outside_the_tables(nm: float) -> None:
    with pytest.raises(PriceError, match="nm is outside the scaling tables, 7 to 45 nm"):
        node_factor("logic", 45, nm)
    with pytest.raises(PriceError, match="outside the scaling tables"):
        scale_prices(load_prices("horowitz45"), node_nm=nm, vdd=0.8, name="x")


def test_other_bad_arguments() -> None:
    with pytest.raises(PriceError, match="unknown part 'dram'; parts are logic, sram, wire"):
        node_factor("dram", 45, 22)  # type: ignore[arg-type]
    with pytest.raises(PriceError, match="a memory of 0 bits has no access energy"):
        node_factor("sram", 45, 22, capacity_bits=0)
    for vdd in (0.0, -1.0, math.nan, 5.0):
        with pytest.raises(PriceError, match=r"vdd is .*; must be 0\.1 to 2 V"):
            scale_prices(load_prices("horowitz45"), node_nm=22, vdd=vdd, name="x")


def test_scaled_prices_are_marked_and_wider() -> None:
    before = load_prices("horowitz45")
    after = scale_prices(before, node_nm=22, vdd=0.8, name="x")
    assert (after.name, after.node_nm, after.vdd) == ("x", 22, 0.8)
    assert after.actions.keys() == before.actions.keys()
    assert dict(after.free) == dict(before.free)
    for action, old in before.actions.items():
        new = after.actions[action]
        assert new.kind == "scaled"
        assert new.source.startswith("scaled from horowitz45, 45 nm, 0.9 V × 0.")
        assert old.source in new.source
        assert new.high / new.value > max(old.high / old.value, 2 - 1e-9), action
        assert new.value / new.low > max(old.value / old.low, 2 - 1e-9), action
    assert after.sram is not None
    assert before.sram is not None
    assert after.sram.kind == "scaled"
    for old_point, new_point in zip(before.sram.points, after.sram.points):
        assert new_point.high / new_point.value > old_point.high / old_point.value
        assert new_point.value / new_point.low > old_point.value / old_point.low


def test_logic_memory_and_wires_apart() -> None:
    before = load_prices("horowitz45")
    after = scale_prices(before, node_nm=22, vdd=0.8, name="x")

    def ratio(action: str) -> float:
        return after.actions[action].value / before.actions[action].value

    logic = node_factor("logic", 45, 22) * (0.8 / 0.9) ** 2
    assert ratio("acc_add") == pytest.approx(logic)
    assert ratio("xnor_event") == pytest.approx(logic)
    assert ratio("neuron_update_idle") == pytest.approx(node_factor("sram", 45, 22))
    assert ratio("hop_x") == pytest.approx(0.5 ** (math.log(45 / 22) / math.log(45 / 7)))
    # the range of logic reaches what products gained, 32-bit addition 0.1 → 0.03 pJ by 7 nm
    products = 0.3 ** (math.log(45 / 22) / math.log(45 / 7))
    assert after.actions["acc_add"].high > before.actions["acc_add"].value * products
    # and that of memory what logic gains
    assert after.actions["neuron_update_idle"].low < 3.3e-12 * logic


def test_same_node_changes_no_value() -> None:
    before = load_prices("horowitz45")
    after = scale_prices(before, node_nm=45, vdd=0.9, name="x")
    for action, old in before.actions.items():
        assert after.actions[action].value == pytest.approx(old.value, rel=1e-12)


def test_static_does_not_scale() -> None:
    before = load_prices("horowitz45")
    assert scale_prices(before, node_nm=22, vdd=0.8, name="x").static == {}
    leakage = before.static["core"]
    kept = scale_prices(before, node_nm=22, vdd=0.8, name="x", static={"core": leakage})
    assert kept.static["core"] == leakage


def test_generic22_is_horowitz45_scaled() -> None:
    """The preset is what its script makes of ``horowitz45`` today."""
    script = Path(__file__).parents[1] / "verification" / "energy_generic22.py"
    wanted = runpy.run_path(str(script))["generic22"]()
    shipped = load_prices("generic22")
    assert dump_prices(shipped) == dump_prices(wanted), (
        "run python verification/energy_generic22.py"
    )
    kinds = {p.kind for p in shipped.actions.values()}
    assert kinds == {"scaled"}
    assert shipped.unpriced(load_prices("horowitz45").actions) == ()


# --- writing a price file ------------------------------------------------------------------


@pytest.mark.parametrize("name", list_prices())
def test_written_prices_read_back(name: str, tmp_path: Path) -> None:
    prices = load_prices(name)
    path = tmp_path / "copy.toml"
    path.write_text(dump_prices(prices), encoding="utf-8")
    copy = load_prices(path)
    assert dump_prices(copy) == dump_prices(prices)
    for field in ("name", "description", "chip", "node_nm", "vdd", "not_modelled"):
        assert getattr(copy, field) == getattr(prices, field)
    assert dict(copy.free) == dict(prices.free)
    assert copy.included == prices.included
    assert copy.unpriced() == prices.unpriced()
    for mine, theirs in ((copy.actions, prices.actions), (copy.static, prices.static)):
        assert list(mine) == list(theirs)
        for key, price in theirs.items():
            for field in ("unit", "kind", "source", "note", "moves_with", "node_nm", "vdd"):
                assert getattr(mine[key], field) == getattr(price, field), (key, field)
            for field in ("value", "low", "high"):
                assert getattr(mine[key], field) == pytest.approx(getattr(price, field), rel=1e-5)
    assert (copy.sram is None) == (prices.sram is None)
    if copy.sram is not None and prices.sram is not None:
        assert copy.sram.per_bit(100_000) == pytest.approx(prices.sram.per_bit(100_000), rel=1e-5)


def test_awkward_text_is_written_well(tmp_path: Path) -> None:
    awkward = 'a "quoted" \\ back\nslash\ttab \x7f \x00 é 😀'
    price = Price(
        name="acc_add",
        value=1.0,
        low=1.0,
        high=1.0,
        unit="J",
        kind="derived",
        source=awkward,
        note=awkward,
    )
    prices = Prices(name="x", description=awkward, node_nm=45, vdd=0.9, actions={"acc_add": price})
    path = tmp_path / "x.toml"
    path.write_bytes(dump_prices(prices).encode())
    copy = load_prices(path)
    assert copy.description == awkward
    assert copy.actions["acc_add"] == price


# --- the presets ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_prices())
def test_every_price_of_a_preset_says_where_it_is_from(name: str) -> None:
    prices = load_prices(name)
    assert prices.name == name
    assert prices.not_modelled
    assert "recall" not in prices.text.lower()
    for price in (*prices.actions.values(), *prices.static.values()):
        assert len(price.source) > 15, price.name
        assert price.low < price.value < price.high, price.name
    assert set(prices.actions) | set(prices.free) - {"static"} <= {*ACTIONS, *LEARNING_ACTIONS}


@pytest.mark.parametrize(
    ("name", "unpriced", "static"),
    [
        ("truenorth28", {"graded_event", "pool_cmp", "token_in", "token_out"}, {"chip"}),
        ("odin28", {"hop_x", "hop_y", "pool_cmp", "token_in", "token_out"}, {"chip", "clock"}),
        ("loihi14-sanafe", {"pool_cmp", "token_in", "token_out"}, set()),
        ("seneca22", {"axon_read", "barrier", "fifo_pop", "fifo_push", "hop_x", "hop_y",
                      "spike_in", "token_in", "token_out"}, set()),
        ("ternary-stationary22", {"graded_event", "pool_cmp"}, set()),
        ("generic22", set(), {"sram_bit"}),
    ],
)  # fmt: skip
def test_what_is_unpublished_has_no_price(name: str, unpriced: set[str], static: set[str]) -> None:
    prices = load_prices(name)
    assert unpriced <= set(prices.unpriced())
    assert set(prices.static) == static


def test_published_figures_of_the_presets() -> None:
    seneca = load_prices("seneca22").actions
    assert seneca["weight_read_bits"].value * 16 == pytest.approx(3.7e-12, rel=2e-3)
    assert seneca["state_write_bits"].value * 16 == pytest.approx(3.9e-12, rel=2e-3)
    ternary = load_prices("ternary-stationary22").actions["xnor_event"]
    assert ternary.value == pytest.approx(2 / 1036e12, rel=2e-3)
    assert ternary.low == pytest.approx(2 / 3.1e15, rel=2e-3)
    truenorth = load_prices("truenorth28")
    slope = (94e-3 - 68e-3) / ((95.93 - 11.58) * 1_048_576 * 128)
    assert truenorth.actions["xnor_event"].value == pytest.approx(slope, rel=1e-3)
    assert truenorth.static["chip"].value / 4096 == pytest.approx(15.7e-6, rel=5e-3)
