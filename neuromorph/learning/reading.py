"""LearningTrace: reads a learning record, lazily and without trust, and checks its rules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError, TraceError, TraceVersionError
from neuromorph.events import Counts, Hardware, plural
from neuromorph.learning.record import FORMAT, PARTS, VERSION
from neuromorph.plasticity import MOVE_DTYPE, Rule
from neuromorph.trace.door import Opened, attribute, column, open_file, reading, strings
from neuromorph.trace.origin import read_hardware, read_origin

__all__ = ["LearningTrace", "is_learning", "validate_learning"]

BLOCK_ROWS = 1 << 18
ROOT: dict[str, type] = {
    "version": str, "created": str, "generator": str, "complete": bool, "tick_s": float,
    "first": int,
}  # fmt: skip


def is_learning(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a learning record.

    Raises
    ------
    TraceError
        No such file, damaged, or no HDF5.
    """
    with open_file(Path(path)) as file:
        return "format" in file.attrs and attribute(Path(path), file, "format", str) == FORMAT


class LearningTrace(Opened):
    """A recorded ``learn``, open for reading; a context manager.

    ``rule``: :class:`Rule`.  ``labels``, ``predictions`` int64 (samples,), each before its sample
    was learned.  ``inference``, ``learning``: :class:`~neuromorph.events.Counts`, summed, ready
    to be priced.  ``before``, ``after`` int8: states of all synapses, layer after layer, of which
    ``synapses`` says how many each has.  ``first``: samples learned before this record.

    Parameters
    ----------
    path : path

    Raises
    ------
    TraceVersionError
        Written in a format version this program does not read.
    TraceError
        No learning record, or damaged; says what is wrong and where.
    """

    what = "learning record"

    def __len__(self) -> int:
        return len(self.labels)

    def _read(self, root: h5py.File) -> None:
        path = self.path
        if "format" not in root.attrs or attribute(path, root, "format", str) != FORMAT:
            raise TraceError(f"{path} is not a {FORMAT} file")
        self.version: str = attribute(path, root, "version", str)
        if not re.fullmatch(rf"{VERSION[0]}\.\d{{1,9}}", self.version, re.ASCII):
            raise TraceVersionError(
                f"{path}: learning record version is {self.version!r}; this program reads "
                f"{VERSION[0]}.0 to {VERSION[0]}.x"
            )
        found = {name: attribute(path, root, name, kind) for name, kind in ROOT.items()}
        self.created: str = found["created"]
        self.generator: str = found["generator"]
        self.first: int = found["first"]
        if not found["complete"]:
            raise TraceError(f"{path}: the run did not finish, so this is no whole record")
        if self.first < 0:
            raise TraceError(f"{path}: attribute 'first' is {self.first}; it counts samples")
        origin = read_origin(path, root, found["tick_s"])
        self.network_info, self.chip, self.slices = origin.network, origin.chip, origin.slices
        self.environment, self.provenance = origin.environment, origin.provenance
        try:
            self.rule: Rule = msgspec.convert(origin.options.get("rule"), Rule)
        except msgspec.ValidationError as error:
            raise TraceError(f"{path}: 'rule' of /meta options is malformed: {error}") from None
        self._read_counts(root)
        label = column(path, root, "samples/label", np.dtype("<i8"), (None,))
        prediction = column(path, root, "samples/prediction", np.dtype("<i8"), (len(label),))
        self.labels: NDArray[np.int64] = label[:]
        self.predictions: NDArray[np.int64] = prediction[:]
        layers = len(self.network_info.layers)
        self.synapses: NDArray[np.int64] = column(
            path, root, "states/synapses", np.dtype("<i8"), (layers,)
        )[:]
        if (self.synapses < 1).any():
            raise TraceError(f"{path}: /states/synapses has a layer without synapses")
        number = int(self.synapses.sum())
        states = [column(path, root, f"states/{n}", np.dtype("<i1"), (number,)) for n in
                  ("before", "after")]  # fmt: skip
        self.before: NDArray[np.int8] = states[0][:]
        self.after: NDArray[np.int8] = states[1][:]
        names = MOVE_DTYPE.names or ()
        length = len(column(path, root, f"moves/{names[0]}", MOVE_DTYPE[names[0]], (None,)))
        self._columns = {
            name: column(path, root, f"moves/{name}", MOVE_DTYPE[name], (length,)) for name in names
        }
        self.move_count = length
        self._counts(len(self.labels))

    def _read_counts(self, root: h5py.File) -> None:
        path, rows = self.path, len(self.slices) + 1
        self.count_layers: tuple[str, ...] = strings(path, root, "counts/layers")
        if len(self.count_layers) != rows:
            raise TraceError(f"{path}: /counts/layers does not name {rows} rows")
        eight = np.dtype("<i8")
        self.cores: NDArray[np.int64] = column(path, root, "counts/cores", eight, (rows,))[:]
        self.pairs: NDArray[np.int64] = column(path, root, "counts/pairs", eight, (rows,))[:]
        group = root["counts"]
        self.hardware = read_hardware(path, group)
        self._tables: dict[str, tuple[tuple[str, ...], NDArray[np.int64]]] = {}
        for part, known in PARTS.items():
            actions = strings(path, root, f"counts/{part}_actions")
            unknown = sorted(set(actions) - set(known))
            if unknown:
                raise TraceVersionError(
                    f"{path}: counts the action {unknown[0]!r}, which this program does not know; "
                    "it was written by a newer one"
                )
            if len(set(actions)) != len(actions):
                raise TraceError(f"{path}: /counts/{part}_actions names an action twice")
            table = column(path, root, f"counts/{part}", eight, (rows, len(actions)))[:]
            self._tables[part] = actions, table

    def _counts(self, samples: int) -> None:
        for part, known in PARTS.items():
            actions, table = self._tables[part]
            values = np.zeros((1, len(table), len(known)), np.int64)
            values[0][:, [known.index(a) for a in actions]] = table
            try:
                counts = Counts(
                    values=values, layers=self.count_layers, cores=self.cores, pairs=self.pairs,
                    hardware=self.hardware, inferences=samples, actions=known,
                )  # fmt: skip
            except SimulationError as error:
                raise TraceError(f"{self.path}: /counts/{part}: {error}") from None
            setattr(self, part, counts)

    inference: Counts
    learning: Counts

    @property
    def accuracy(self) -> float:
        """Share of samples that were predicted as labelled before they were learned."""
        return float((self.predictions == self.labels).mean())

    def blocks(self, *, rows: int = BLOCK_ROWS) -> Iterator[NDArray[Any]]:
        """Transitions in order, so many at a time, arrays of :data:`MOVE_DTYPE`."""
        self._root()
        for start in range(0, self.move_count, rows):
            stop = min(start + rows, self.move_count)
            block = np.zeros(stop - start, MOVE_DTYPE)
            with reading(self.path, "/moves"):
                for name, values in self._columns.items():
                    block[name] = values[start:stop]
            yield block

    def moves(self) -> NDArray[Any]:
        """All transitions, an array of :data:`MOVE_DTYPE`."""
        return np.concatenate([np.zeros(0, MOVE_DTYPE), *self.blocks()])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        return {
            "trace": str(self.path),
            "format": FORMAT,
            "version": self.version,
            "complete": True,
            "created": self.created,
            "generator": self.generator,
            "network": self.network_info.name,
            "network_hash": self.network_info.hash,
            "chip": self.chip.name,
            "rule": msgspec.to_builtins(self.rule),
            "first": self.first,
            "samples": len(self),
            "accuracy": self.accuracy,
            "synapses": int(self.synapses.sum()),
            "transitions": self.move_count,
            "attempts_per_sample": self.learning.per_inference("dst_attempt"),
            "transitions_per_sample": self.learning.per_inference("dst_transition"),
            "file_bytes": self.path.stat().st_size,
            "environment": self.environment,
            "provenance": self.provenance,
        }

    def __str__(self) -> str:
        facts = self.to_dict()
        shown = [
            ("file", f"{self.path} ({facts['file_bytes']:,} bytes)"),
            ("written", f"{self.created} by {self.generator}"),
            ("network", f"{self.network_info.name} ({self.network_info.hash[:12]})"),
            ("chip", f"{self.chip.name}, {plural(len(self.slices), 'core')} used"),
            ("rule", f"{self.rule.states} states, errors {self.rule.error}"),
            ("samples", f"{len(self):,}, from number {self.first:,}"),
            ("accuracy", f"{self.accuracy:.2%} before each was learned"),
            ("attempts", f"{facts['attempts_per_sample']:,.1f} a sample"),
            (
                "transitions",
                f"{self.move_count:,}, {facts['transitions_per_sample']:,.1f} a sample",
            ),
        ]
        return "\n".join(f"{name:<11}  {value}" for name, value in shown)


def validate_learning(path: str | os.PathLike[str]) -> list[str]:
    """Check a learning record against every rule of its format.

    Returns
    -------
    list of str
        One sentence for each rule that is broken, with its number; a file that cannot be opened
        gives the one sentence why.

    Examples
    --------
    >>> validate_learning("no-such-file.h5")
    ['cannot read trace no-such-file.h5: No such file or directory']
    """
    try:
        with LearningTrace(path) as record:
            return [f"rule {number}: {text}" for number, text in _broken(record)]
    except TraceError as error:
        return [str(error)]


def _broken(record: LearningTrace) -> Iterator[tuple[str, str]]:
    """(rule, sentence) of every broken rule from L5 on."""
    classes = record.network_info.classes
    for name, values in (("label", record.labels), ("prediction", record.predictions)):
        if ((values < 0) | (values >= classes)).any():
            yield "L5", f"/samples/{name} has one that is no class of {classes}"
    chip = record.chip
    wanted = Hardware(
        chip=chip.name, dataflow=chip.dataflow, tick_s=chip.tick_s,
        cores_used=len(record.slices), synapse_memory_bits=chip.synapse_bits,
        state_memory_bits=chip.neurons * chip.accumulator_bits,
        axon_memory_bits=chip.axons_in * chip.axon_entry_bits, chips=chip.chips,
    )  # fmt: skip
    if record.hardware != wanted:
        yield "L6", "the attributes of /counts are not those of the chip"
    layers = ("input", *(s.layer for s in record.slices))
    if record.count_layers != layers or record.cores.tolist() != [
        -1, *(s.core for s in record.slices)
    ]:  # fmt: skip
        yield "L6", "/counts/layers and /counts/cores are not the rows of /mapping"
    yield from _moves(record)


def _moves(record: LearningTrace) -> Iterator[tuple[str, str]]:
    top, first, samples = record.rule.maximum, record.first, len(record)
    states = record.before.astype(np.int64)
    if max(int(np.abs(v.astype(np.int64)).max()) for v in (states, record.after)) > top:
        yield "L7", f"/states has a state beyond the {record.rule.states} of the rule"
    starts = np.concatenate([[0], np.cumsum(record.synapses)])
    made = np.zeros(len(record.synapses), np.int64)
    last = first + 1  # steps count from 1
    for block in record.blocks():
        step, layer, synapse = (block[n].astype(np.int64) for n in ("step", "layer", "synapse"))
        if (np.diff(step) < 0).any() or step[0] < last or step[-1] > first + samples:
            yield (
                "L8",
                "/moves is not sorted by step, or has a step that is no sample of the record",
            )
            return
        last = int(step[-1])
        if (layer >= len(made)).any() or (synapse >= record.synapses[layer]).any():
            yield "L8", "/moves has a layer or a synapse that is not there"
            return
        made += np.bincount(layer, minlength=len(made))
        if not _follow(states, starts[layer] + synapse, block["before"], block["after"]):
            yield "L9", "/moves has one from a state its synapse is not in, or to the same"
            return
    if not np.array_equal(states, record.after):
        yield "L9", "/moves does not lead from /states/before to /states/after"
    rows = record.learning["dst_transition"][0]
    for index, info in enumerate(record.network_info.layers):
        own = [row for row, s in enumerate(record.slices, start=1) if s.stage == index]
        if int(rows[own].sum()) != int(made[index]):
            yield (
                "L10",
                f"/moves has {int(made[index])} of layer {info.name!r}, /counts/learning says "
                f"{int(rows[own].sum())}",
            )
            return


def _follow(states: NDArray[np.int64], place: NDArray[np.int64], before: Any, after: Any) -> bool:
    """Carry out transitions in order; False if one starts where its synapse is not."""
    order = np.argsort(place, kind="stable")
    place, before, after = place[order], before[order].astype(int), after[order].astype(int)
    new = np.diff(place, prepend=-1) != 0
    found = np.where(new, states[place], np.roll(after, 1))
    states[place] = after  # of several the last one stays
    return bool((found == before).all() and (before != after).all())
