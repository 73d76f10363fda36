"""Where two traces differ: what ran, and every row of every table.

Left out is what may differ between two runs of the same: time of creation,
generator, environment, options, and notes of network and chip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from neuromorph.trace import schema

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["Difference", "difference"]

BLOCK_ROWS = 1 << 16
NO_ROW = "no such row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where two traces differ; ``row`` is None where there are no rows."""

    table: str
    column: str
    row: int | None
    first: Any
    second: Any

    def __str__(self) -> str:
        where = "" if self.row is None else f", row {self.row}"
        return f"{self.table}, {self.column}{where}: {self.first} and {self.second}"


def difference(first: Trace, second: Trace) -> Difference | None:
    """The first difference of two traces: what ran, mapping, samples, counts, spikes, packets.

    Raises
    ------
    TraceError
        One of them is damaged.
    """
    for table, (one, other) in zip(
        ("about", "mapping", "counts"), zip(*map(_facts, (first, second)))
    ):
        for column in {**one, **other}:
            if one.get(column) != other.get(column):
                return Difference(
                    table=table,
                    column=column,
                    row=None,
                    first=one.get(column),
                    second=other.get(column),
                )
    return next((found for table in _tables(first) if (found := _rows(first, second, table))), None)


def _tables(trace: Trace) -> Iterator[str]:
    for table in schema.tables_of(trace.detail):
        yield table
        if table == "samples":
            yield "counts"


def _facts(trace: Trace) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What is known without rows, by table and column."""
    about = {"mode": trace.mode, "detail": trace.detail, "complete": trace.complete}
    about |= {
        f"network {name}": value
        for name, value in msgspec.to_builtins(trace.network_info).items()
        if name != "name"
    }
    chip = msgspec.to_builtins(trace.chip)
    about |= {f"chip {n}": v for n, v in chip.items() if n not in ("text", "facts", "description")}
    mapping = {f"slice {i}": asdict(s) for i, s in enumerate(trace.slices)}
    counts = {
        "actions": trace.action_names,
        "layers": trace.count_layers,
        **{f"attribute {n}": v for n, v in asdict(trace.hardware).items()},
        **{name: values.tolist() for name, values in trace.count_columns.items()},
    }
    return about, mapping, counts


def _rows(first: Trace, second: Trace, table: str) -> Difference | None:
    step = BLOCK_ROWS if table != "counts" else max(1, BLOCK_ROWS // len(first.count_layers))
    blocks = zip_longest(first.blocks(table, rows=step), second.blocks(table, rows=step))
    for number, (one, other) in enumerate(blocks):
        found = _in_block(one, other)
        if found is not None:
            row, column, place, a, b = found
            if table == "counts" and place:
                core, action = place
                column = f"{first.action_names[action]} of {first.count_layers[core]} (row {core})"
            elif place:
                column = f"{column} {place[0]}"
            return Difference(
                table=table, column=column, row=number * step + row, first=a, second=b
            )
    return None


def _in_block(
    one: dict[str, NDArray[Any]] | None, other: dict[str, NDArray[Any]] | None
) -> tuple[int, str, tuple[int, ...], Any, Any] | None:
    """(row, column, place in the row, both values) of the first difference of two blocks."""
    if one is None or other is None:
        return 0, "all columns", (), "a row" if one else NO_ROW, "a row" if other else NO_ROW
    lengths = [len(next(iter(b.values()))) for b in (one, other)]
    common = min(lengths)
    found: tuple[int, str, tuple[int, ...], Any, Any] | None = None
    for name in one:
        differ = one[name][:common] != other[name][:common]
        if differ.any():
            row, *place = (int(i) for i in np.argwhere(differ)[0])
            if found is None or row < found[0]:
                at = (row, *place)
                found = row, name, tuple(place), one[name][at].item(), other[name][at].item()
    if found is None and lengths[0] != lengths[1]:
        said = [NO_ROW if length == common else "a row" for length in lengths]
        return common, "all columns", (), said[0], said[1]
    return found
