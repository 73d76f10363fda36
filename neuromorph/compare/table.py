"""The comparison: every network at its best, one bill, and what misleads beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from neuromorph.chip import Chip
from neuromorph.compare.activity import Activity
from neuromorph.compare.contenders import DATAFLOWS, GIVE, Bid, Contender, bid, place
from neuromorph.energy import Prices, Ranking, format_joules, rank_reports
from neuromorph.errors import PriceError
from neuromorph.events import Dataflow, format_table, plural

__all__ = ["RATES_HZ", "Comparison", "Entry", "compare_networks"]

RATES_HZ = (1, 30, 1000)
BATCH = 64
FETCHING = ("scatter", "gather", "dense")
NOT_MODELLED = (
    "time in queues and at links, and layers that overlap: latency is that of the busiest core of "
    "each layer, one after the other (run --mode timed has them, in scatter)",
)
ARITHMETIC = ("xnor_event", "graded_event", "acc_add", "popcount", "multiply", "mac_float")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One network: what it costs in every dataflow; ``bids`` at batch 1, ``batched`` at 64.

    ``silent`` is the best bid with no spike at all: what does not depend on activity.
    """

    contender: Contender
    accuracy: float | None
    bids: Mapping[str, Bid]
    batched: Mapping[str, Bid]
    best: Bid
    silent: Bid
    refused: Mapping[str, str]

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self.contender.name

    @property
    def joules(self) -> float:
        """Nominal total of the best bid."""
        return self.best.report.total.nominal

    def count(self, *actions: str) -> float:
        """Tallies of actions in one inference."""
        return sum(self.best.counts.per_inference(a) for a in actions)

    @property
    def dense(self) -> int:
        """Pairs of one inference, zeros included (NeuroBench's ``Dense``)."""
        return sum(s.synapses for s in self.contender.network.stages)

    @property
    def effective(self) -> tuple[float, float]:
        """NeuroBench's ``Effective_ACs`` and ``Effective_MACs`` of one inference.

        A layer counts as accumulates where every level that arrives is −1, 0 or 1.
        """
        acs = macs = 0.0
        counts = self.best.counts
        for stage in self.contender.network.stages:
            row = counts.by_layer()[stage.name]
            made = sum(row[counts.actions.index(a)] for a in ("xnor_event", "graded_event"))
            if stage.input_maximum == 1:
                acs += made / counts.samples
            else:
                macs += made / counts.samples
        return acs, macs

    @property
    def footprint_bytes(self) -> int:
        """Bytes of all weights, packed."""
        bits = self.contender.weight_bits * self.contender.network.weight_count
        return -(-int(bits) // 8)

    @property
    def operations_only_j(self) -> float:
        """Additions and multiplications at the same prices, and nothing else."""
        terms = self.best.report.terms
        return float(sum(terms[a].nominal for a in ARITHMETIC if a in terms))

    @property
    def activity(self) -> float:
        """Share of pairs whose level is not zero."""
        rest = self.count("skip_act")
        every = rest + self.count("xnor_event", "graded_event", "skip_weight")
        return 1 - rest / every

    @property
    def weight_density(self) -> float:
        """Share of stored weights that are not zero."""
        stages = self.contender.network.stages
        return sum(int(np.count_nonzero(s.weights)) for s in stages) / sum(
            s.weights.size for s in stages
        )

    def static_share(self, rate_hz: float) -> float | None:
        """Share of static energy at so many inferences a second; None if it is too slow."""
        latency, report = self.best.latency_s, self.best.report
        if report.time_s is None or (latency or report.time_s) * rate_hz > 1:
            return None
        static = report.static.nominal / report.time_s / rate_hz
        return static / (static + report.dynamic.nominal)

    def break_even(self, other: Entry) -> float | None:
        """Activity at which this network would cost what ``other`` does; None if at none.

        Dynamic energy is linear in the spikes: a part without any and a part in proportion
        (partial sums, where a fan-in is split, are taken as such too).
        """
        here, there = self.best.report.dynamic.nominal, other.best.report.dynamic.nominal
        silent = self.silent.report.dynamic.nominal
        if here <= silent:
            return None
        found = self.activity * (there - silent) / (here - silent)
        return found if found >= 0 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Entries in the order asked for, on one chip at one set of prices."""

    chip: Chip
    prices: Prices
    samples: int
    entries: tuple[Entry, ...]
    ranking: Ranking | None
    notes: tuple[str, ...] = ()

    def peer(self, entry: Entry, role: str) -> Entry | None:
        """The one network in a role with as many pairs as this: of its topology."""
        found = [e for e in self.entries if e.contender.role == role and e.dense == entry.dense]
        return found[0] if len(found) == 1 else None

    def ratio(self, entry: Entry, role: str) -> float | None:
        """Median over shared draws of the energy over that of its peer in a role."""
        base = self.peer(entry, role)
        if base is None:
            return None
        return float(np.median(entry.best.report.total_draws / base.best.report.total_draws))

    def matched(self, entry: Entry) -> Entry | None:
        """The cheapest network that is at least as accurate."""
        if entry.accuracy is None:
            return None
        able = [e for e in self.entries if (e.accuracy or 0) >= entry.accuracy]
        return min(able, key=lambda e: e.joules)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; energies in joules an inference, 12 significant digits."""
        return {
            "chip": self.chip.name,
            "prices": self.prices.name,
            "conditions": f"{self.prices.node_nm:g} nm, {self.prices.vdd:g} V",
            "samples": self.samples,
            "rows": [self._row(e) for e in self.entries],
            "ranking": None if self.ranking is None else self.ranking.to_dict(),
            "not_modelled": [*self.prices.not_modelled, *NOT_MODELLED],
            "notes": list(self.notes),
        }

    def _row(self, e: Entry) -> dict[str, Any]:
        acs, macs = e.effective
        latency, total = e.best.latency_s, e.best.report.total
        matched = self.matched(e)
        return {
            "network": e.name,
            "role": e.contender.role,
            "accuracy": e.accuracy,
            "weight_bits": float(e.contender.weight_bits),
            "footprint_bytes": e.footprint_bytes,
            "footprint_float32_bytes": 4 * e.contender.network.weight_count,
            "activity": _digits(e.activity),
            "weight_density": _digits(e.weight_density),
            "dense": e.dense,
            "effective_acs": _digits(acs),
            "effective_macs": _digits(macs),
            "dataflow": e.best.dataflow,
            "cores": e.best.cores,
            "energy_j": _range(e.best),
            "latency_s": latency,
            "edp_js": None if latency is None else _digits(total.p50 * latency),
            "ratio_bnn": self.ratio(e, "bnn"),
            "ratio_int8": self.ratio(e, "int8"),
            "operations_only_j": _digits(e.operations_only_j),
            "dominant": None if e.best.report.dominant is None else e.best.report.dominant[0],
            "evidence": e.best.report.evidence,
            "energy_by_dataflow_j": {name: _range(b) for name, b in e.bids.items()},
            "energy_batch64_j": {name: _range(b) for name, b in e.batched.items()},
            "refused": dict(e.refused),
            "static_share": {str(rate): e.static_share(rate) for rate in RATES_HZ},
            "accuracy_matched": None if matched is None else matched.name,
        }

    def __str__(self) -> str:
        return "\n\n".join(
            [
                f"energy of one inference on {self.chip.name}, prices {self.prices.name} "
                f"({self.prices.node_nm:g} nm, {self.prices.vdd:g} V), mean of "
                f"{plural(self.samples, 'sample')}; each network in the cheapest dataflow that "
                "fetches its weights",
                self._main(),
                self._counts(),
                self._dataflows(),
                self._pace(),
                *self._lines(),
            ]
        )

    def _main(self) -> str:
        rows = []
        for e in self.entries:
            total, latency = e.best.report.total, e.best.latency_s
            ratios = [self.ratio(e, role) for role in ("bnn", "int8")]
            rows.append(
                [
                    e.name,
                    "" if e.accuracy is None else f"{e.accuracy:.2%}",
                    f"{float(e.contender.weight_bits):.3g}",
                    f"{e.footprint_bytes / 1024:,.0f} KiB",
                    e.best.dataflow,
                    *(format_joules(x) for x in (total.p10, total.p50, total.p90)),
                    "" if latency is None else f"{latency * 1e6:.3g} µs",
                    "" if latency is None else f"{total.p50 * latency:.2g} J s",
                    *("" if r is None else f"{r:.2f}" for r in ratios),
                    format_joules(e.operations_only_j),
                ]
            )
        header = ["network", "accuracy", "bits", "weights", "dataflow", "p10", "p50", "p90"]
        header += ["latency", "EDP", "÷ BNN", "÷ INT8", "operations only"]
        return format_table(header, rows)

    def _counts(self) -> str:
        rows = [
            [
                e.name,
                f"{e.dense:,}",
                *(f"{x:,.0f}" for x in e.effective),
                f"{e.activity:.1%}",
                f"{e.weight_density:.1%}",
                e.best.report.dominant[0] if e.best.report.dominant else "",
                e.best.report.evidence or "",
            ]
            for e in self.entries
        ]
        header = ["network", "Dense", "Effective_ACs", "Effective_MACs", "levels not 0"]
        return format_table([*header, "weights not 0", "dearest", "worst evidence"], rows)

    def _dataflows(self) -> str:
        def cell(found: Bid | None) -> str:
            return "–" if found is None else format_joules(found.report.total.p50)

        rows = [
            [
                e.name,
                *(cell(e.bids.get(d)) for d in DATAFLOWS),
                *(cell(e.batched.get(d)) for d in DATAFLOWS[1:3]),
            ]
            for e in self.entries
        ]
        header = ["p50 by dataflow", *DATAFLOWS, *(f"{d}, batch {BATCH}" for d in DATAFLOWS[1:3])]
        return format_table(header, rows)

    def _pace(self) -> str:
        rows = []
        for e in self.entries:
            shares = [e.static_share(rate) for rate in RATES_HZ]
            rows.append([e.name, *("too slow" if x is None else f"{x:.1%}" for x in shares)])
        return format_table(["static share at", *(f"{r}/s" for r in RATES_HZ)], rows)

    def _lines(self) -> list[str]:
        lines = []
        for e in self.entries:
            bnn = self.peer(e, "bnn")
            if e.contender.role != "gxnor" or bnn is None:
                continue
            bits, found = e.contender.weight_bits, e.break_even(bnn)
            line = (
                f"{e.name}: fetching weights breaks even with one bit a weight at "
                f"{float(Fraction(1) / bits):.1%} of levels not zero; the whole dynamic bill of "
                f"{bnn.name} at "
            )
            line += "no activity" if found is None else f"{found:.1%}"
            lines.append(f"{line}; here {e.activity:.1%}")
        for e in self.entries:
            other = self.matched(e)
            if other is not None and other is not e:
                lines.append(
                    f"at the accuracy of {e.name} on these {self.samples:,} samples or better the "
                    f"cheapest is {other.name}, "
                    f"{e.joules / other.joules:.2f} × cheaper"
                )
        if self.ranking is not None:
            lines.append(
                f"cheapest first: {', '.join(self.ranking.order)}; the order flips in "
                f"{self.ranking.flips:.1%} of draws"
            )
        lines += [f"note: {n}" for n in self.notes]
        lines.append("not modelled: " + "; ".join([*self.prices.not_modelled, *NOT_MODELLED]))
        return lines


def _digits(x: float) -> float:
    return float(f"{x:.12g}")


def _range(found: Bid) -> dict[str, float]:
    whole = found.report.total.to_dict()
    return {key: whole[key] for key in ("p10", "p50", "p90")}


def compare_networks(
    contenders: Sequence[tuple[Contender, Activity]],
    chip: Chip,
    prices: Prices,
    *,
    dataflow: str | None = None,
    interval_s: float | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Price networks on one chip, each in its cheapest dataflow, with shared draws.

    Parameters
    ----------
    contenders : sequence of (Contender, Activity)
        See :func:`find_contender` and :func:`measure`.
    chip : Chip
        Its dataflow does not matter; its memories, mesh and times do.
    prices : Prices
    dataflow : str, optional
        One for all, instead of the cheapest of scatter, gather and dense.
    interval_s : float, optional
        Seconds from one inference to the next, for static power, instead of the latency.
    notes : sequence of str
        Sentences for the reader.

    Returns
    -------
    Comparison

    Raises
    ------
    PriceError
        A network that no dataflow can price: the reason of the chip's own.
    MappingError
        A network that does not fit.

    Examples
    --------
    >>> import neuromorph as nm
    >>> from neuromorph.compare import find_contender, measure
    >>> from neuromorph.energy import load_prices
    >>> digits = find_contender("digits-gxnor")
    >>> activity = measure(digits.network, np.full((2, 1, 8, 8), 9))
    >>> found = compare_networks(
    ...     [(digits, activity)], nm.load_chip("gxnor45"), load_prices("horowitz45")
    ... )
    >>> found.entries[0].operations_only_j < found.entries[0].joules / 20
    True
    """
    entries = tuple(_entry(c, a, chip, prices, dataflow, interval_s) for c, a in contenders)
    reports = {e.name: e.best.report for e in entries}
    silent = [f"{e.best.silence}; {GIVE}" for e in entries if e.best.silence][:1]
    return Comparison(
        chip=chip,
        prices=prices,
        samples=max(a.samples for _, a in contenders),
        entries=entries,
        ranking=rank_reports(reports) if len(reports) > 1 else None,
        notes=(*notes, *silent),
    )


def _entry(
    contender: Contender,
    activity: Activity,
    chip: Chip,
    prices: Prices,
    wanted: str | None,
    interval_s: float | None,
) -> Entry:
    mapping = place(contender, chip)

    def offer(dataflow: Dataflow, activity: Activity = activity, batch: int = 1) -> Bid:
        return bid(
            contender,
            activity,
            mapping,
            prices,
            dataflow=dataflow,
            batch=batch,
            interval_s=interval_s,
        )

    bids: dict[str, Bid] = {}
    batched: dict[str, Bid] = {}
    refused: dict[str, str] = {}
    for name in DATAFLOWS:
        found = offer(name)
        if found.problem:
            untimed = found.problem == found.silence
            refused[name] = found.problem + (f"; {GIVE}, or an interval_s" if untimed else "")
            continue
        bids[name] = found
        batched[name] = offer(name, batch=BATCH)
    able = [bids[d] for d in ((wanted,) if wanted else FETCHING) if d in bids]
    if not able:
        own = wanted or chip.dataflow
        raise PriceError(f"{contender.name} has no energy on {chip.name}: {refused[own]}")
    best = min(able, key=lambda b: b.report.total.nominal)
    return Entry(
        contender=contender,
        accuracy=activity.accuracy if contender.accuracy is None else contender.accuracy,
        bids=bids,
        batched=batched,
        best=best,
        silent=offer(best.dataflow, activity.silent()),
        refused=refused,
    )
