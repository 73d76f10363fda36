"""What a trace holds, for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuromorph.events import plural

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["facts_of", "text_of"]


def facts_of(trace: Trace) -> dict[str, Any]:
    """Everything but the rows, see :meth:`Trace.to_dict`."""
    counts, n = trace.sums, max(trace.samples, 1)
    size = trace.path.stat().st_size
    return {
        "trace": str(trace.path),
        "version": trace.version,
        "complete": trace.complete,
        "created": trace.created,
        "generator": trace.generator,
        "network": trace.network_name,
        "network_hash": trace.network_hash,
        "chip": trace.chip_name,
        "chips": trace.chip.chips,
        "mode": trace.mode,
        "detail": trace.detail,
        "samples": trace.samples,
        "spikes": trace.spike_count,
        "packets": trace.packet_count,
        "hops": trace.hop_count,
        "cores_used": len(trace.slices),
        "layers": [layer.name for layer in trace.network_info.layers],
        "tick_s": trace.tick_s,
        "latency_s": trace.latency_s,
        "interval_s": trace.interval_s,
        "accuracy": trace.accuracy,
        **({} if trace.dice is None else {"dice": trace.dice}),
        "events_per_inference": counts.events / n,
        "xnor_events_per_inference": counts.per_inference("xnor_event"),
        "resting_fraction": counts.resting_fraction,
        "file_bytes": size,
        "options": trace.options,
        "environment": trace.environment,
        "provenance": trace.provenance,
    }


def text_of(trace: Trace) -> str:
    """Table of what the trace holds, see :meth:`Trace.info`."""
    facts = facts_of(trace)
    shown = [
        ("file", f"{trace.path} ({facts['file_bytes']:,} bytes)"),
        ("state", "complete" if trace.complete else "INCOMPLETE: the run did not finish"),
        ("written", f"{trace.created} by {trace.generator}"),
        ("network", f"{trace.network_name} ({trace.network_hash[:12]})"),
        ("chip", f"{trace.chip_name}, {plural(len(trace.slices), 'core')} used"),
        *([("board", trace.chip.board)] if trace.chip.board else []),
        ("mode", f"{trace.mode}, detail {trace.detail}"),
        ("samples", f"{trace.samples:,}"),
    ]
    if trace.holds("spikes"):
        shown.append(("spikes", f"{trace.spike_count:,}"))
    if trace.holds("packets"):
        shown.append(("packets", f"{trace.packet_count:,}"))
    if trace.holds("hops"):
        shown.append(("hops", f"{trace.hop_count:,}"))
    if facts["latency_s"] is not None:
        shown.append(("latency", f"{facts['latency_s'] * 1e6:.4g} µs"))
    if facts["interval_s"] is not None:
        shown.append(("interval", f"{facts['interval_s'] * 1e6:.4g} µs"))
    if facts["accuracy"] is not None:
        dice = f", Dice {facts['dice']:.4f} of class 1" if "dice" in facts else ""
        shown.append(("accuracy", f"{facts['accuracy']:.2%}{dice}"))
    width = max(len(name) for name, _ in shown)
    lines = [f"{name.ljust(width)}  {value}" for name, value in shown]
    return "\n".join([*lines, "", str(trace.sums)])
