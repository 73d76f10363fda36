"""Whether a trace keeps every rule of ``docs/trace-format.md``.

Rules 1 to 10 are checked whenever a trace is opened; the others here, since
they need all rows, a block of them at a time.  Numbers are those of the document.
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
from neuromorph.trace.ledger import Entry, Ledger
from neuromorph.trace.reader import Trace
from neuromorph.trace.schema import NetworkInfo

__all__ = ["validate"]

Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

MATCHED_SAMPLES = 64  # samples whose spikes are held beside a block of packets
STARTS = 1 << 16  # samples whose starts are read at a time


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
    sends = np.zeros(len(trace.slices) + 1, bool)
    differing: dict[str, int] = {}
    done, counts = 0, None
    try:
        for counts in trace.counts_by_block() if trace.samples else [trace.counts]:
            sends |= (counts["token_out"] > 0).any(axis=0)
            for names, sample in _differing(trace, counts):
                differing.setdefault(names, done + sample)
            done += len(counts)
    except TraceError as error:
        yield 14, str(error)
        return
    assert counts is not None
    yield from _labels(trace, counts)
    for names, sample in differing.items():
        yield 15, f"counts of sample {sample}: {names} differ"
    yield from _samples(trace, counts, sends)
    spikes_fit = True
    if trace.holds("spikes"):
        for number, text in _spikes(trace):
            spikes_fit = False
            yield number, text
    if trace.holds("packets"):
        packets_fit = True
        for number, text in _packets(trace, spikes_fit):
            packets_fit = False
            yield number, text
        if trace.holds("hops") and packets_fit:
            yield from broken_hop_rules(trace)


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
        chips=chip.chips,
    )
    if counts.hardware != wanted:
        yield 12, "the attributes of /counts are not those of the chip"
    layers = ("input", *(s.layer for s in trace.slices))
    cores = [-1, *(s.core for s in trace.slices)]
    if counts.layers != layers or counts.cores.tolist() != cores:
        yield 13, "/counts/layers and /counts/cores are not the rows of /mapping"


def _differing(trace: Trace, counts: Counts) -> Iterator[tuple[str, int]]:
    """Rule 15: what is sent arrives, and what follows from the mapping does; else first sample."""
    spikes_in, tokens_in, sums_in = counts["spike_in"], counts["token_in"], counts["partial_in"]
    neurons = np.array([0, *(s.neurons * s.owns for s in trace.slices)])
    sent: dict[str, tuple[Ints, Ints]] = {
        "packet_out and spike_in": (counts["packet_out"].sum(axis=1), spikes_in.sum(axis=1)),
        "token_out and token_in": (counts["token_out"].sum(axis=1), tokens_in.sum(axis=1)),
        "hop_local and packet_out + token_out + partial_out": (
            counts["hop_local"],
            counts["packet_out"] + counts["token_out"] + counts["partial_out"],
        ),
    }
    if trace.chip.routing == "multicast":  # one packet for all cores that hear a spike
        arrived = (spikes_in + tokens_in + sums_in).sum(axis=1)
        sent = {
            "hop_local and spike_in + token_in + partial_in": (
                counts["hop_local"].sum(axis=1),
                arrived,
            ),
            "packet_out and the spikes that any core hears": (
                counts["packet_out"],
                np.minimum(counts["packet_out"], counts["spike_out"]),
            ),
        }
    equal = sent | {
        "partial_out and partial_in": (counts["partial_out"].sum(axis=1), sums_in.sum(axis=1)),
        "fifo_push and spike_in + token_in + partial_in": (
            counts["fifo_push"],
            spikes_in + tokens_in + sums_in,
        ),
        "fifo_pop and fifo_push": (counts["fifo_pop"], counts["fifo_push"]),
        "neuron_update_active + neuron_update_idle and the neurons": (
            counts["neuron_update_active"] + counts["neuron_update_idle"],
            np.broadcast_to(neurons, spikes_in.shape),
        ),
    }
    if counts.hardware.dataflow == "scatter":
        equal["axon_read and spike_in"] = (counts["axon_read"], spikes_in)
        equal["acc_add and xnor_event + graded_event + partial_in"] = (
            counts["acc_add"],
            counts["xnor_event"] + counts["graded_event"] + sums_in,
        )
    for names, (left, right) in equal.items():
        if (left != right).any():
            yield names, int(np.argwhere(left != right)[0][0])


def _samples(trace: Trace, counts: Counts, sends: NDArray[np.bool_]) -> Iterator[tuple[int, str]]:
    """Rules 16 and 17; ``counts`` for its time, ``sends`` are the rows that ever sent a token."""
    classes = trace.network_info.classes
    timed, active = trace.mode == "timed", counts.active_ticks
    wrong = dict.fromkeys(("class", "before", "order"), False)
    first = last = None
    before = (-(1 << 63), -(1 << 63))
    for block in trace.blocks("samples"):
        wrong["class"] |= _outside(block["prediction"], 0, classes) or bool(
            (block["label"] < -1).any()
        )
        if not timed:
            continue
        start, finish = block["start"], block["finish"]
        first = int(start[0]) if first is None else first
        last = int(finish[-1])
        wrong["before"] |= bool((start < 0).any() or (finish < start).any())
        wrong["order"] |= any(
            bool((np.diff(ticks) < 0).any()) or int(ticks[0]) < end
            for ticks, end in zip((start, finish), before)
        )
        before = int(start[-1]), last
    if wrong["class"]:
        yield 16, f"/samples has a label below -1, or a prediction that is no class of {classes}"
    if not timed:
        if counts.ticks is not None or active is not None:
            yield 17, f"a run in mode {trace.mode!r} has no time, but /counts has ticks"
        return
    if wrong["before"]:
        yield 17, "a sample of /samples finishes before it starts"
    if wrong["order"]:
        yield 17, "/samples/start or /samples/finish does not ascend"
    spent = 0 if first is None or last is None else last - first
    if trace.complete and counts.ticks not in (None, spent):
        yield 17, f"/counts/ticks is {counts.ticks}, /samples says {spent}"
    if active is not None and (active < 0).any():
        yield 17, "/counts/active_ticks has a negative number"
    if active is not None and counts.ticks is not None:
        # others may go on after the last read-out
        awaited = sends | (np.array(counts.layers) == counts.layers[-1])
        if (active > counts.ticks)[awaited | (trace.chip.sync == "barrier")].any():
            yield 17, f"/counts/active_ticks has more than the {counts.ticks} ticks of the run"


# --- spikes


def _spikes(trace: Trace) -> Iterator[tuple[int, str]]:
    info = trace.network_info
    sizes = np.array(info.spiking_sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    bitplane = info.encoding == "bitplane"
    high = np.array([_largest_input(info), *(Levels(n.n or 0).maximum for n in info.layers[:-1])])
    low = -high
    if bitplane:
        low[0] = 0
    owner = neuron_rows(info, trace.slices)

    def entries(block: Columns) -> Iterator[Entry]:
        sample, layer, neuron, level = (
            block[name].astype(np.int64) for name in ("sample", "layer", "neuron", "level")
        )
        number = np.where(layer == 0, np.bitwise_count(level) if bitplane else 1, 1)
        yield "spike_out", sample, owner[starts[layer] + neuron].astype(np.int64), number

    ledger = Ledger(trace, 20, "/spikes", ("spike_out",), entries, lambda: trace.blocks("spikes"))
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
        ledger.add(block)
    yield from ledger.broken()


def _largest_input(info: NetworkInfo) -> int:
    return 1 if info.encoding == "ternary" else (1 << info.bits) - 1


# --- packets


def _packets(trace: Trace, spikes_fit: bool) -> Iterator[tuple[int, str]]:
    rows = len(trace.slices) + 1
    stage = np.array([-1, *(s.stage for s in trace.slices)])
    owns = trace.owners == np.arange(rows)
    sizes = np.array([*trace.network_info.spiking_sizes, 0])  # the read-out sends nothing
    starts = np.concatenate([[0], np.cumsum(sizes)])
    heard = _heard(trace.network_info)
    owner = neuron_rows(trace.network_info, trace.slices).astype(np.int64)
    ports = np.array([0, *range(rows, rows + len(trace.chip.port_tiles) - 1)])
    ports = ports[: trace.network_info.inputs]
    owner[: sizes[0]] = ports[np.arange(sizes[0]) % len(ports)]
    owner = np.append(owner, -1)  # of nobody
    # with multicast one that is sent is delivered to several cores
    ends = {"spike_in": "target", "token_in": "target", "partial_in": "target"}
    ends |= {"partial_out": "source"}
    if trace.chip.routing != "multicast":
        ends |= {"packet_out": "source", "token_out": "source"}

    def entries(block: Columns) -> Iterator[Entry]:
        sample, is_token = block["sample"].astype(np.int64), block["neuron"] == TOKEN
        is_spike = trace.is_spike(block)
        kinds = {"token": is_token, "partial": ~(is_token | is_spike)}
        for action, end in ends.items():
            chosen = kinds.get(action.split("_")[0], is_spike)
            place = block[end].astype(np.int64)[chosen]
            yield action, sample[chosen], np.where(place < rows, place, 0), None

    ledger = Ledger(trace, 23, "/packets", tuple(ends), entries, lambda: trace.blocks("packets"))
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
            _outside(source, 0, rows + len(ports) - 1) or _outside(target, 0, rows)
        ):
            yield 22, "/packets has a sample, source or target that is not there"
            return
        sender = np.where(source < rows, source, 0)
        is_spike = ~is_token & owns[sender]
        is_sum = ~is_token & ~is_spike
        if not heard[stage[target], stage[sender] + 1][owns[sender]].all():
            yield 22, "/packets has a packet to a core of a layer that does not hear its source"
            return
        if (~owns[sender] & (trace.owners[sender] != target)).any():
            yield 22, "/packets has a partial sum to a core that does not own its neurons"
            return
        layer = np.where(is_spike, stage[sender] + 1, 0)
        if ((neuron >= sizes[layer]) & is_spike).any():
            yield 22, "/packets has a neuron that its layer does not have"
            return
        place = starts[layer] + np.where(is_spike, neuron, 0)
        if ((owner[place] != source) & is_spike).any() or not _in_their_slices(
            trace, sender[is_sum], neuron[is_sum]
        ):
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
        if not trace.complete:
            continue
        yield from once(
            21,
            bool((sent < _starts(trace, sample)).any()),
            "/packets has one sent before its sample starts",
        )
        ledger.add(block)
        if spikes_fit:
            spikes = sample[is_spike], place[is_spike], payload[is_spike]
            matched = _matched(trace, starts, *spikes)
            yield from once(24, not matched, "/packets has a payload that its neuron did not send")
    if trace.complete:
        yield from ledger.broken()


def _starts(trace: Trace, sample: Ints) -> Ints:
    """When each of these samples starts."""
    result = np.empty(len(sample), np.int64)
    for group in np.unique(sample // STARTS).tolist():
        chosen = sample // STARTS == group
        last = min((group + 1) * STARTS, trace.samples)
        start = trace.rows("samples", group * STARTS, last, only=("start",))["start"]
        result[chosen] = start[sample[chosen] - group * STARTS]
    return result


def _heard(info: NetworkInfo) -> NDArray[np.bool_]:
    """Whether a layer (row; the last stands for the input port) hears another (column)."""
    heard = np.zeros((len(info.layers) + 1, len(info.layers) + 1), bool)
    for index, sources in enumerate(info.heard):
        heard[index, [source.layer for source in sources]] = True
    return heard


def _in_their_slices(trace: Trace, rows: Ints, neurons: Ints) -> bool:
    """Whether neurons, numbered before the pool, are of the slices of their rows."""
    for row in np.unique(rows).tolist():
        s = trace.slices[row - 1]
        shape = trace.network_info.layers[s.stage].sum_shape
        numbers = neurons[rows == row]
        if (numbers >= np.prod(shape)).any():
            return False
        places = np.unravel_index(numbers, shape)
        for at, (first, last) in zip(places, (s.channels, s.sum_rows, s.sum_columns)):
            if ((at < first) | (at >= last)).any():
                return False
    return True


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
