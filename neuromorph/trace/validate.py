"""Whether a trace keeps every rule of ``docs/trace-format.md``.

Rules 1 to 10 are checked whenever a trace is opened; the others here, since
they need all rows.  Numbers are those of the document.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.events import Counts, Hardware
from neuromorph.levels import Levels
from neuromorph.mapping.packets import TOKEN
from neuromorph.trace.hop_rules import broken_hop_rules
from neuromorph.trace.layout import neuron_rows
from neuromorph.trace.reader import Trace
from neuromorph.trace.schema import NetworkInfo

__all__ = ["validate"]

Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

MATCHED_SAMPLES = 64  # samples whose spikes are held beside a block of packets


def validate(path: str | os.PathLike[str]) -> list[str]:
    """Check a trace file against every rule of its format.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of str
        One sentence for each rule that is broken, with its number; empty if
        the file keeps them all.  A file that cannot be opened gives the one
        sentence why.

    Examples
    --------
    >>> validate("no-such-file.h5")
    ['cannot read trace no-such-file.h5: No such file or directory']
    """
    problems = []
    try:
        with Trace(path) as trace:
            for number, text in _broken(trace):
                problems.append(f"rule {number}: {text}")
    except TraceError as error:
        problems.append(str(error))
    return problems


def _broken(trace: Trace) -> Iterator[tuple[int, str]]:
    """(rule, sentence) of every broken rule."""
    if not trace.complete:
        yield 11, "the run did not finish; what was flushed is readable"
    try:
        counts = trace.counts
    except TraceError as error:
        yield 14, str(error)
        return
    yield from _labels(trace, counts)
    yield from _sums(trace, counts)
    yield from _samples(trace, counts)
    spikes_fit = True
    if trace.holds("spikes"):
        for number, text in _spikes(trace, counts):
            spikes_fit = False
            yield number, text
    if trace.holds("packets"):
        packets_fit = True
        for number, text in _packets(trace, counts, spikes_fit):
            packets_fit = False
            yield number, text
        if trace.holds("hops") and packets_fit:
            yield from broken_hop_rules(trace, counts)


# --- descriptions and counts


def _labels(trace: Trace, counts: Counts) -> Iterator[tuple[int, str]]:
    chip = trace.chip
    wanted = Hardware(
        chip=chip.name,
        dataflow=chip.dataflow,
        tick_s=chip.tick_s,
        cores_used=len(trace.slices),
        synapse_memory_bits=chip.synapse_bits,
        state_memory_bits=chip.neurons * chip.accumulator_bits,
        axon_memory_bits=chip.axons_in * chip.axon_entry_bits,
    )
    if counts.hardware != wanted:
        yield 12, "the attributes of /counts are not those of the chip"
    layers = ("input", *(s.layer for s in trace.slices))
    cores = [-1, *(s.core for s in trace.slices)]
    if counts.layers != layers or counts.cores.tolist() != cores:
        yield 13, "/counts/layers and /counts/cores are not the rows of /mapping"


def _sums(trace: Trace, counts: Counts) -> Iterator[tuple[int, str]]:
    """Rule 15: what is sent arrives, and what follows from the mapping does."""
    spikes_in, tokens_in = counts["spike_in"], counts["token_in"]
    neurons = np.array([0, *(s.neurons for s in trace.slices)])
    sent: dict[str, tuple[Ints, Ints]] = {
        "packet_out and spike_in": (counts["packet_out"].sum(axis=1), spikes_in.sum(axis=1)),
        "token_out and token_in": (counts["token_out"].sum(axis=1), tokens_in.sum(axis=1)),
        "hop_local and packet_out + token_out": (
            counts["hop_local"],
            counts["packet_out"] + counts["token_out"],
        ),
    }
    if trace.chip.routing == "multicast":  # one packet for all cores that hear a spike
        arrived = (spikes_in + tokens_in).sum(axis=1)
        sent = {
            "hop_local and spike_in + token_in": (counts["hop_local"].sum(axis=1), arrived),
            "packet_out and the spikes that any core hears": (
                counts["packet_out"],
                np.minimum(counts["packet_out"], counts["spike_out"]),
            ),
        }
    equal = sent | {
        "fifo_push and spike_in + token_in": (counts["fifo_push"], spikes_in + tokens_in),
        "fifo_pop and fifo_push": (counts["fifo_pop"], counts["fifo_push"]),
        "neuron_update_active + neuron_update_idle and the neurons": (
            counts["neuron_update_active"] + counts["neuron_update_idle"],
            np.broadcast_to(neurons, spikes_in.shape),
        ),
    }
    if counts.hardware.dataflow == "scatter":
        equal["axon_read and spike_in"] = (counts["axon_read"], spikes_in)
        equal["acc_add and xnor_event + graded_event"] = (
            counts["acc_add"],
            counts["xnor_event"] + counts["graded_event"],
        )
    for names, (left, right) in equal.items():
        if (left != right).any():
            sample = int(np.argwhere(left != right)[0][0])
            yield 15, f"counts of sample {sample}: {names} differ"


def _samples(trace: Trace, counts: Counts) -> Iterator[tuple[int, str]]:
    classes = trace.network_info.classes
    if _outside(trace.predictions, 0, classes) or (trace.labels < -1).any():
        yield 16, f"/samples has a label below -1, or a prediction that is no class of {classes}"
    start, finish = trace.started_ticks, trace.finished_ticks
    active = counts.active_ticks
    if start is None or finish is None:
        if counts.ticks is not None or active is not None:
            yield 17, f"a run in mode {trace.mode!r} has no time, but /counts has ticks"
        return
    if (start < 0).any() or (finish < start).any():
        yield 17, "a sample of /samples finishes before it starts"
    if (np.diff(start) < 0).any() or (np.diff(finish) < 0).any():
        yield 17, "/samples/start or /samples/finish does not ascend"
    spent = int(finish[-1]) - int(start[0]) if len(start) else 0
    if trace.complete and counts.ticks not in (None, spent):
        yield 17, f"/counts/ticks is {counts.ticks}, /samples says {spent}"
    if active is not None and (active < 0).any():
        yield 17, "/counts/active_ticks has a negative number"
    if active is not None and counts.ticks is not None:
        # others may go on after the last read-out
        awaited = (counts["token_out"] > 0).any(axis=0) | (
            np.array(counts.layers) == counts.layers[-1]
        )
        if (active > counts.ticks)[awaited | (trace.chip.sync == "barrier")].any():
            yield 17, f"/counts/active_ticks has more than the {counts.ticks} ticks of the run"


# --- spikes


def _spikes(trace: Trace, counts: Counts) -> Iterator[tuple[int, str]]:
    info = trace.network_info
    sizes = np.array(info.spiking_sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    bitplane = info.encoding == "bitplane"
    high = np.array([_largest_input(info), *(Levels(n.n or 0).maximum for n in info.layers[:-1])])
    low = -high
    if bitplane:
        low[0] = 0
    owner = neuron_rows(info, trace.slices)
    found = np.zeros(trace.samples * len(counts.cores), np.int64)
    last = -1
    sorted_so_far = True
    for block in trace.blocks("spikes"):
        sample, layer, neuron, level = (
            block[name].astype(np.int64) for name in ("sample", "layer", "neuron", "level")
        )
        if _outside(sample, 0, trace.samples) or _outside(layer, 0, len(sizes)):
            yield 19, "/spikes has a sample or layer that is not there"
            return
        if (neuron >= sizes[layer]).any():
            yield 19, "/spikes has a neuron that its layer does not have"
            return
        if ((level == 0) | (level < low[layer]) | (level > high[layer])).any():
            yield 19, "/spikes has a level that its layer cannot send"
            return
        place = starts[layer] + neuron
        key = sample * int(starts[-1]) + place
        if sorted_so_far and ((np.diff(key) <= 0).any() or int(key[0]) <= last):
            sorted_so_far = False
            yield 18, "/spikes is not sorted by sample, layer and neuron, each once"
        last = int(key[-1])
        number = np.bitwise_count(level) if bitplane else np.ones_like(level)
        number = np.where(layer == 0, number, 1)
        found += _tally(sample * len(counts.cores) + owner[place], found.size, number)
    yield from _agree(20, "/spikes", "spike_out", found, counts)


def _largest_input(info: NetworkInfo) -> int:
    return 1 if info.encoding == "ternary" else (1 << info.bits) - 1


# --- packets


def _packets(trace: Trace, counts: Counts, spikes_fit: bool) -> Iterator[tuple[int, str]]:
    rows = len(counts.cores)
    stage = np.array([-1, *(s.stage for s in trace.slices)])
    sizes = np.array(trace.network_info.spiking_sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    heard = _heard(trace.network_info)
    owner = neuron_rows(trace.network_info, trace.slices)
    start = trace.started_ticks
    found = {
        action: np.zeros(trace.samples * rows, np.int64)
        for action in ("spike_in", "token_in", "packet_out", "token_out")
    }
    last, seen = -(1 << 62), set[int]()

    def once(number: int, wrong: bool, text: str) -> Iterator[tuple[int, str]]:
        if wrong and number not in seen:
            seen.add(number)
            yield number, text

    for block in trace.blocks("packets"):
        sample, source, neuron, target, payload = (
            block[name].astype(np.int64)
            for name in ("sample", "source", "neuron", "target", "payload")
        )
        sent, delivered = block["sent"], block["delivered"]
        is_token = neuron == TOKEN
        if (trace.complete and _outside(sample, 0, trace.samples)) or (
            _outside(source, 0, rows) or _outside(target, 0, rows)
        ):
            yield 22, "/packets has a sample, source or target that is not there"
            return
        layer = stage[source] + 1
        if not heard[stage[target], layer].all():
            yield 22, "/packets has a packet to a core of a layer that does not hear its source"
            return
        if ((neuron >= sizes[layer]) & ~is_token).any():
            yield 22, "/packets has a neuron that its layer does not have"
            return
        place = starts[layer] + np.where(is_token, 0, neuron)
        if ((owner[place] != source) & ~is_token).any():
            yield 22, "/packets has a packet from a core that its neuron does not sit on"
            return
        yield from once(
            22,
            bool(((payload == 0) != is_token).any()),
            "/packets has a token with a payload, or a spike without",
        )
        yield from once(
            21,
            bool((np.diff(delivered) < 0).any() or delivered[0] < last or (sent > delivered).any()),
            "/packets is not sorted by delivered, or has a packet sent after it was delivered",
        )
        last = int(delivered[-1])
        if not trace.complete or start is None:
            continue
        yield from once(
            21, bool((sent < start[sample]).any()), "/packets has one sent before its sample starts"
        )
        for action, end, chosen in (
            ("spike_in", target, ~is_token),
            ("token_in", target, is_token),
            ("packet_out", source, ~is_token),
            ("token_out", source, is_token),
        ):
            found[action] += _tally((sample * rows + end)[chosen], trace.samples * rows)
        if spikes_fit:
            spikes = ~is_token
            matched = _matched(trace, starts, sample[spikes], place[spikes], payload[spikes])
            yield from once(24, not matched, "/packets has a payload that its neuron did not send")
    if trace.complete:
        for action, tally in found.items():
            if action.endswith("_out") and trace.chip.routing == "multicast":
                continue  # one of them is delivered to several cores
            yield from _agree(23, "/packets", action, tally, counts)


def _heard(info: NetworkInfo) -> NDArray[np.bool_]:
    """Whether a layer (row; the last stands for the input port) hears another (column)."""
    heard = np.zeros((len(info.layers) + 1, len(info.layers) + 1), bool)
    for index, sources in enumerate(info.heard):
        heard[index, [source.layer for source in sources]] = True
    return heard


def _matched(trace: Trace, starts: Ints, sample: Ints, place: Ints, payload: Ints) -> bool:
    """Whether every spike packet carries the level (or a set bit of it) of a recorded spike."""
    inputs = trace.network_info.inputs if trace.network_info.encoding == "bitplane" else 0
    neurons = int(starts[-1])
    group = sample // MATCHED_SAMPLES
    for number in np.unique(group):
        chosen = group == number
        first = int(number) * MATCHED_SAMPLES
        spikes = trace.spikes(slice(first, first + MATCHED_SAMPLES))
        keys = spikes["sample"].astype(np.int64) * neurons + (
            starts[spikes["layer"].astype(np.int64)] + spikes["neuron"]
        )
        wanted = sample[chosen] * neurons + place[chosen]
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if not len(keys) or (keys[at] != wanted).any():
            return False
        level, carried = spikes["level"][at].astype(np.int64), payload[chosen]
        is_bit = (carried > 0) & (carried & (carried - 1) == 0) & (level & carried != 0)
        if not np.where(place[chosen] < inputs, is_bit, level == carried).all():
            return False
    return True


# --- small helpers


def _outside(values: NDArray[Any], low: int, high: int) -> bool:
    return bool(((values < low) | (values >= high)).any())


def _tally(keys: Ints, size: int, numbers: NDArray[Any] | None = None) -> Ints:
    # float64 weights of bincount are exact: a block has far fewer than 2**53 spikes
    return np.bincount(keys, weights=numbers, minlength=size).astype(np.int64)


def _agree(
    number: int, table: str, action: str, found: Ints, counts: Counts
) -> Iterator[tuple[int, str]]:
    wanted = counts[action]
    differ = found.reshape(wanted.shape) != wanted
    if differ.any():
        sample, row = (int(i) for i in np.argwhere(differ)[0])
        yield (
            number,
            (
                f"{table} and the counts differ in {action} of sample {sample}, row {row}: "
                f"{int(found.reshape(wanted.shape)[sample, row])}, {int(wanted[sample, row])}"
            ),
        )
