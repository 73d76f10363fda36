"""The price files that ship, and those that are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from energy_kit import ENTRY, HEADER, KIB, NO_STATIC, load, make, mlp, simple

from neuromorph.energy import (
    Price,
    estimate_energy,
    list_prices,
    load_prices,
)
from neuromorph.errors import ChipError, PriceError

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
        "token_out", "token_in", "pool_cmp", "partial_out", "partial_in", "hop_chip",
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


KINDS = "one of 'derived', 'fitted', 'measured', 'projected', 'scaled', 'simulated', 'unstated'"


BAD_FILES = {
    "not toml": ("[actions", "is not a TOML file: "),
    "unknown key": ("colour = 1\n", "unknown key 'colour'; keys here are name, "),
    "unknown key of an entry": (
        XNOR + "volts = 1\n",
        "unknown key 'actions.xnor_event.volts'; keys of actions.xnor_event are value, unit, ",
    ),
    "no kind": (
        '[actions.acc_add]\nvalue = 1e-12\nunit = "J"\nsource = "s"\n',
        f"key 'actions.acc_add.kind' is missing; it must be {KINDS}",
    ),
    "no source": (
        '[actions.acc_add]\nvalue = 1e-12\nunit = "J"\nkind = "derived"\n',
        "key 'actions.acc_add.source' is missing; it must be text that is not empty",
    ),
    "no value": (
        "[actions.acc_add]\n" + ENTRY,
        "key 'actions.acc_add.value' is missing; it must be a number",
    ),
    "blank source": (
        XNOR.replace('"seen"', '" "'),
        "actions.xnor_event: source is empty; a price nobody has seen is no price",
    ),
    "unknown kind": (
        XNOR.replace("simulated", "guessed"),
        f"actions.xnor_event.kind is 'guessed'; it must be {KINDS}",
    ),
    "recalled": (
        XNOR.replace("simulated", "assumed"),
        f"actions.xnor_event.kind is 'assumed'; it must be {KINDS}",
    ),
    "text for a number": (
        XNOR.replace("2e-12", '"2e-12"'),
        "actions.xnor_event.value is '2e-12'; it must be a number",
    ),
    "entry is no table": (
        "[actions]\nacc_add = 1e-12\n",
        "actions.acc_add is 1e-12; it must be a table with value, unit, kind, source",
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
    "free with a number": (
        '[free]\nspike_in = ""\nskip_act = 3\n',
        "free.skip_act is 3; it must be text",
    ),
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
    "sram key": (SRAM + POINTS + "x = 1\n", "unknown key 'sram.x'; keys of sram are "),
    "sram outside": (
        SRAM.replace('below = "clamp"', 'below = "guess"') + POINTS,
        "sram.below is 'guess'; it must be one of 'clamp', 'extrapolate', 'refuse'",
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
        "sram.points[0].capacity_bits is 0; it must be a whole number, 1 to 1,099,511,627,776",
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
    with pytest.raises(PriceError, match="key 'vdd' is missing; it must be a number, above 0"):
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
    with pytest.raises(
        PriceError, match=r"big\.toml has 1048577 bytes; a price file has at most 1048576"
    ):
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
