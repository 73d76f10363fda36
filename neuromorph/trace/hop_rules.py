"""Whether the hops of a trace are those of its packets: rules 25 to 28."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.events import HOPS
from neuromorph.mapping.board import busy_ticks, hop_ticks, kinds
from neuromorph.mapping.packets import SIDES
from neuromorph.mapping.slices import source_tiles
from neuromorph.trace.ledger import Entry, Ledger
from neuromorph.trace.paths import CORE, by_side, is_bounded
from neuromorph.trace.reader import Trace

__all__ = ["broken_hop_rules"]

Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

STEPS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])  # of SIDES


def broken_hop_rules(trace: Trace) -> Iterator[tuple[int, str]]:
    """(rule, sentence), each rule once; the packets are known to keep theirs."""
    said = set[int]()
    for number, text in _broken(trace):
        if number not in said:
            said.add(number)
            yield number, text


def _broken(trace: Trace) -> Iterator[tuple[int, str]]:
    links = trace.chip.mesh_columns * trace.chip.mesh_rows * len(SIDES)
    left = np.full(links, -(1 << 62))  # when the last packet entered each link
    last, delivered = -(1 << 62), 0
    for block in trace.blocks("hops"):
        if (block["link"] >= links).any():
            yield 25, "/hops has a router that the chip does not have"
            return
        decided = block["tick"] + block["waited"] * is_bounded(trace.chip)
        if (np.diff(decided) < 0).any() or int(decided[0]) < last:
            yield 25, "/hops is not sorted by time"
        last = int(decided[-1])
        delivered += int((block["link"] % len(SIDES) == CORE).sum())
        if not _links_taken(trace.chip, block, left):
            yield 27, "/hops has a packet that waits too long for its link, or not long enough"
    if trace.complete and delivered != trace.packet_count:
        yield 25, f"/hops delivers {delivered} packets, /packets has {trace.packet_count}"
        return
    kind = by_side(kinds(trace.chip), len(HOPS))

    def entries(path: tuple[Columns, Columns]) -> Iterator[Entry]:
        hops, packets = path
        sample, source = (packets[n][hops["packet"]].astype(np.int64) for n in ("sample", "source"))
        source = np.where(source <= len(trace.slices), source, 0)  # further ports count in row 0
        what = kind[hops["link"].astype(np.int64)]
        for number, action in enumerate(actions):
            yield action, sample[what == number], source[what == number], None

    actions = (*HOPS, "hop_local")
    ledger = Ledger(trace, 28, "/hops", actions, entries, trace.paths)
    rows = 0
    for hops, packets in trace.paths():
        rows += len(hops["tick"])
        if not _is_way(trace, hops, packets):
            yield 26, "/hops has a packet that does not go the way from its source to its target"
            return
        if trace.complete:
            ledger.add((hops, packets))
    if trace.complete:
        if rows != trace.hop_count:
            yield 26, "/hops has rows of a packet after its delivery, or of none"
        yield from ledger.broken()


def _links_taken(chip: Chip, block: Columns, left: Ints) -> bool:
    """Whether every packet enters its link as soon as it can; ``left`` is brought up to date."""
    busy = by_side(busy_ticks(chip), 0)
    link = block["link"].astype(np.int64)
    between = link % len(SIDES) != CORE
    order = np.argsort(link[between], kind="stable")
    link, tick = link[between][order], block["tick"][between][order]
    enters = tick + block["waited"][between][order]
    first = np.diff(link, prepend=-1) != 0
    before = np.where(first, left[link], np.roll(enters, 1))
    left[link] = enters  # of several the last one stays
    waited_in_core = block["waited"][~between].any()
    soonest = np.maximum(tick, before + busy[link])
    in_time = enters >= soonest if is_bounded(chip) else enters == soonest
    return bool(in_time.all()) and not waited_in_core


def _is_way(trace: Trace, hops: Columns, packets: Columns) -> bool:
    """Whether each packet goes from source to target, first along x, and in no other time.

    Around dead links any way will do that crosses none.  With multicast a way
    may begin where it leaves an earlier one.
    """
    chip, rows = trace.chip, hops["packet"]
    number = len(packets["sent"])
    if not np.array_equal(np.unique(rows), np.arange(number)):
        return False
    tiles = source_tiles(chip, trace.slices, trace.network_info.inputs)
    source, target = tiles[packets["source"]], tiles[packets["target"]]
    router, side = np.divmod(hops["link"].astype(np.int64), len(SIDES))
    place = np.stack([router % chip.mesh_columns, router // chip.mesh_columns], axis=1)
    first = np.diff(rows, prepend=-1) != 0
    final = np.roll(first, -1)
    # where each packet is due next, and when
    local = chip.hop_local_ticks or 0
    ticks = by_side(hop_ticks(chip), 0)[hops["link"].astype(np.int64)]
    due_place, due_tick = np.roll(place + STEPS[side], 1, axis=0), hops["tick"] + hops["waited"]
    due_tick = np.roll(due_tick + ticks, 1)
    starts = first
    if chip.routing == "multicast":
        joins = first & (place != source[rows]).any(axis=1)
        due_place[joins], due_tick[joins] = (
            place[joins],
            hops["tick"][joins] - local * (side[joins] == CORE),
        )
        starts = first & ~joins
    due_place[starts] = source[rows[starts]]
    due_tick[starts] = packets["sent"][rows[starts]]
    goal = target[rows]
    wanted = np.where(
        goal[:, 0] != place[:, 0],
        np.where(goal[:, 0] > place[:, 0], 0, 1),
        np.where(goal[:, 1] > place[:, 1], 2, np.where(goal[:, 1] < place[:, 1], 3, CORE)),
    )
    if chip.dead_links:
        dead = [
            (y * chip.mesh_columns + x) * len(SIDES) + SIDES.index(s) for x, y, s in chip.dead_links
        ]
        wanted = np.where(np.isin(hops["link"], dead), -1, side)
        wanted[final] = np.where((place == goal).all(axis=1), CORE, -1)[final]
    due_tick += local * (side == CORE)
    in_time = hops["tick"] == due_tick
    if is_bounded(chip):  # a core whose queue is full lets it wait
        in_time |= (side == CORE) & (hops["tick"] > due_tick)
    return bool(
        (place == due_place).all()
        and in_time.all()
        and (side == wanted).all()
        and ((side == CORE) == final).all()
        and (hops["tick"][final] == packets["delivered"]).all()
    )
