"""Prices as the text of a price file, the reverse of :func:`neuromorph.energy.load_prices`."""

from __future__ import annotations

import json

from neuromorph.energy.prices import Price, Prices

__all__ = ["dump_prices"]


def dump_prices(prices: Prices) -> str:
    """Write prices as TOML; reading the text gives equal prices but for the last digits.

    Numbers have six significant digits; low and high are always written out.

    Examples
    --------
    >>> from neuromorph.energy import load_prices
    >>> dump_prices(load_prices("horowitz45")).splitlines()[0]
    'name = "horowitz45"'
    """
    lines = [
        f"name = {_text(prices.name)}",
        f"description = {_text(prices.description)}",
        *([f"chip = {_text(prices.chip)}"] if prices.chip else []),
        f"node_nm = {prices.node_nm!r}",
        f"vdd = {prices.vdd!r}",
        "not_modelled = [",
        *(f"  {_text(item)}," for item in prices.not_modelled),
        "]",
    ]
    if prices.sram is not None:
        model = prices.sram
        lines += [
            "",
            "[sram]",
            f"actions = {_list(model.actions)}",
            f"kind = {_text(model.kind)}",
            f"source = {_text(model.source)}",
            *([f"note = {_text(model.note)}"] if model.note else []),
            f"below = {_text(model.below)}",
            f"above = {_text(model.above)}",
            "points = [",
            *(
                f"  {{ capacity_bits = {p.capacity_bits}, access_bits = {p.access_bits}, "
                f"value = {_number(p.value)}, low = {_number(p.low)}, high = {_number(p.high)} }},"
                for p in model.points
            ),
            "]",
        ]
    for action, price in prices.actions.items():
        lines += ["", f"[actions.{action}]", *_entry(price)]
    if prices.free:
        lines += ["", "[free]", *(f"{key} = {_text(why)}" for key, why in prices.free.items())]
    for part, price in prices.static.items():
        lines += ["", f"[static.{part}]", *_entry(price)]
    return "\n".join(lines) + "\n"


def _entry(price: Price) -> list[str]:
    lines = [f"{key} = {_number(getattr(price, key))}" for key in ("value", "low", "high")]
    lines += [f"{key} = {_text(getattr(price, key))}" for key in ("unit", "kind", "source")]
    if price.note:
        lines.append(f"note = {_text(price.note)}")
    if price.includes:
        lines.append(f"includes = {_list(price.includes)}")
    if price.moves_with:
        lines.append(f"moves_with = {_text(price.moves_with)}")
    for key in ("node_nm", "vdd"):
        if getattr(price, key) is not None:
            lines.append(f"{key} = {getattr(price, key)!r}")
    return lines


def _number(value: float) -> str:
    """Six digits; TOML wants a point or an exponent to read a float."""
    text = f"{value:.6g}"
    return text if set(text) & set(".e") else text + ".0"


def _list(items: tuple[str, ...]) -> str:
    return f"[{', '.join(_text(item) for item in items)}]"


def _text(text: str) -> str:
    """A basic TOML string; JSON escapes are TOML's too, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
