"""From counts and prices to a report.

For each priced action a and draw d, E[a, d] = tally[a] × price[a, d]; every
total is a sum over the same draws.  Static energy is power × time.

A draw of a price lies between its low and high, log-uniform on either side of
its value, so the value is the median.  Draws are keyed by the seed, the name
of the price file and the name of the price: two reports share them, and a
ratio of two reports is not widened by an uncertainty that both have.  The
positions are stratified (one in each of ``draws`` equal slices).
"""

from __future__ import annotations

import hashlib

import numpy as np

from neuromorph.draws import layer_key, weight_keys
from neuromorph.energy.prices import AXON_ENTRY_BITS, BANDS, MEMORIES, Prices
from neuromorph.energy.report import EnergyReport
from neuromorph.energy.terms import Floats, Swing, Term
from neuromorph.errors import PriceError, check_type
from neuromorph.events import Counts, Hardware

__all__ = ["estimate_energy"]

MAX_DRAWS = 1_000_000
MAX_INTERVAL_S = 1e9  # some thirty years


def estimate_energy(
    counts: Counts,
    prices: Prices,
    *,
    interval_s: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> EnergyReport:
    """Price the counts of a run: joules per inference with their range.

    Parameters
    ----------
    counts : Counts
        Of a run, or of what learning did.
    prices : Prices
        See :func:`neuromorph.energy.load_prices`.
    interval_s : float, optional
        Seconds from one inference to the next, for static power.  Without it
        the simulated time is used (``ticks`` of a timed run over its samples).
    draws : int
        Number of draws behind p10, p50 and p90.
    seed : int
        Seed of the draws, 0 … 2**63 − 1.

    Returns
    -------
    EnergyReport
        ``report.total`` raises PriceError where a price or the time is
        missing; what can be said without it stays available.

    Raises
    ------
    PriceError
        No samples, or an impossible interval, number of draws or seed.

    Notes
    -----
    Time and memory: the samples are summed first, so the rest does not depend
    on their number.
    """
    check_type(counts, Counts, "counts", PriceError, "give run.counts or trace.counts")
    check_type(prices, Prices, "prices", PriceError, "give load_prices(name)")
    if counts.samples == 0:
        raise PriceError("counts hold no samples; there is no inference to price")
    if not 1 <= draws <= MAX_DRAWS:
        raise PriceError(f"draws is {draws}; must be 1 to {MAX_DRAWS}")
    if not 0 <= seed < 1 << 63:
        raise PriceError(f"seed is {seed}; must be 0 to 2**63 - 1")
    if interval_s is not None and not 0 < interval_s <= MAX_INTERVAL_S:
        raise PriceError(
            f"interval_s is {interval_s}; must be a positive number of seconds, at most "
            f"{MAX_INTERVAL_S:g}"
        )

    layers = {k: v / counts.samples for k, v in counts.by_layer().items()}
    tally = np.sum(list(layers.values()), axis=0)
    used = [a for i, a in enumerate(counts.actions) if tally[i] > 0]
    terms: dict[str, Term] = {}
    swings: dict[str, Swing] = {}
    unpriced = prices.unpriced(used)
    problems = [_no_price(unpriced, prices.name)] if unpriced else []
    by_layer = {name: np.zeros(draws) for name in layers}
    nominal_by_layer = dict.fromkeys(layers, 0.0)
    for i, action in enumerate(counts.actions):
        if action not in used:
            continue
        try:
            priced = _price_of(action, prices, counts.hardware)
        except PriceError as error:
            problems.append(f"prices {prices.name!r} cannot price {action!r}: {error}")
            continue
        if priced is None:
            continue
        key, triple, kind = priced
        joules = _draw(triple, _positions(prices.name, key, draws, seed))
        terms[action] = Term(draws=joules * tally[i], nominal=triple[1] * tally[i], kind=kind)
        _swing(swings, key, triple, float(tally[i]))
        for name, row in layers.items():
            by_layer[name] += joules * row[i]
            nominal_by_layer[name] += float(triple[1] * row[i])

    time_s = interval_s
    if time_s is None and counts.ticks is not None:
        time_s = counts.ticks * counts.hardware.tick_s / counts.samples
    static, static_problem = _static(
        prices, counts.hardware, time_s, swings, draws=draws, seed=seed
    )
    return EnergyReport(
        chip=counts.hardware.chip,
        prices=prices.name,
        prices_chip=prices.chip,
        conditions=f"{prices.node_nm:g} nm, {prices.vdd:g} V",
        samples=counts.samples,
        time_s=time_s,
        draws=draws,
        seed=seed,
        terms=terms,
        layers={
            name: Term(draws=by_layer[name], nominal=nominal_by_layer[name], kind=_worst(terms))
            for name in layers
        },
        static_terms=static,
        swings=tuple(sorted(swings.values(), key=lambda s: (-s.width, s.price))),
        dynamic_problem="; ".join(problems),
        static_problem=static_problem,
        unpriced=unpriced,
        free={a: why for a, why in prices.free.items() if a in used or a == "static"},
        included={a: names for a, names in prices.included.items() if a in used},
        not_modelled=prices.not_modelled,
    )


def _no_price(actions: tuple[str, ...], prices: str) -> str:
    names = ", ".join(repr(a) for a in actions)
    return (
        f"prices {prices!r} have no price for {names}; add [actions.{actions[0]}] with value, "
        "unit, kind and source, or say under [free] why it costs nothing"
    )


def _worst(terms: dict[str, Term]) -> str:
    order = list(BANDS)
    return max((t.kind for t in terms.values()), key=order.index, default="measured")


def _price_of(
    action: str, prices: Prices, hardware: Hardware
) -> tuple[str, tuple[float, float, float], str] | None:
    """(price that gives the draws, (low, value, high) in joules, kind); None if not charged."""
    price = prices.actions.get(action)
    if price is not None:
        return price.moves_with or action, (price.low, price.value, price.high), price.kind
    sram = prices.sram
    if sram is None or action not in sram.actions:
        return None
    low, value, high = sram.per_bit(getattr(hardware, MEMORIES[action]))
    bits = AXON_ENTRY_BITS if action == "axon_read" else 1
    return "sram", (low * bits, value * bits, high * bits), sram.kind


def _static(
    prices: Prices,
    hardware: Hardware,
    time_s: float | None,
    swings: dict[str, Swing],
    *,
    draws: int,
    seed: int,
) -> tuple[dict[str, Term], str]:
    """Static terms, or why there are none; their swings are added to ``swings``."""
    if "static" in prices.free:
        return {}, ""
    if not prices.static:
        return {}, (
            f"prices {prices.name!r} have no static power; add [static], or say under [free] "
            "why static costs nothing"
        )
    if time_s is None:
        return {}, (
            "static energy is power × time and these counts carry no time; "
            "use mode='timed' or give interval_s"
        )
    bits = hardware.synapse_memory_bits + hardware.state_memory_bits + hardware.axon_memory_bits
    amounts = {
        "core": hardware.cores_used * time_s,
        "sram_bit": hardware.cores_used * bits * time_s,
        "chip": hardware.chips * time_s,
        "clock": hardware.chips * time_s / hardware.tick_s,
    }
    terms = {}
    for part, price in prices.static.items():
        amount = amounts[part]
        triple = (price.low, price.value, price.high)
        each = _draw(triple, _positions(prices.name, price.name, draws, seed))
        terms[part] = Term(draws=each * amount, nominal=price.value * amount, kind=price.kind)
        _swing(swings, price.name, triple, amount)
    return terms, ""


def _swing(
    swings: dict[str, Swing], key: str, triple: tuple[float, float, float], amount: float
) -> None:
    """Add what ``amount`` of a price costs at its low, value and high."""
    low, nominal, high = (x * amount for x in triple)
    if key in swings:
        old = swings[key]
        low, nominal, high = low + old.low, nominal + old.nominal, high + old.high
    swings[key] = Swing(price=key, low=low, nominal=nominal, high=high)


def _positions(file: str, price: str, draws: int, seed: int) -> Floats:
    """Stratified positions in (0, 1), in an order keyed by (seed, file, price)."""
    digest = hashlib.sha256(f"{file}\0{price}".encode()).digest()
    keys = weight_keys(layer_key(seed, int.from_bytes(digest[:4], "little")), np.arange(draws))
    result = np.empty(draws)
    result[np.argsort(keys, kind="stable")] = (np.arange(draws) + 0.5) / draws
    return result


def _draw(triple: tuple[float, float, float], positions: Floats) -> Floats:
    """Prices at the positions: low at 0, value at ½, high at 1, log-linear between."""
    low, value, high = triple
    below = low * (value / low) ** np.minimum(2 * positions, 1.0)
    above = (high / value) ** np.maximum(2 * positions - 1, 0.0)
    return np.asarray(below * above, dtype=np.float64)
