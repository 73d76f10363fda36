"""Learning records: every transition of a ``learn``, and what it did and cost, in one file.

HDF5 in the container of a trace (``docs/trace-format.md``, *Learning records*).  Transitions
are written while the run goes on; the file takes its name when it is whole.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

import neuromorph
from neuromorph.errors import TraceError, check_path
from neuromorph.events import ACTIONS, LEARNING_ACTIONS
from neuromorph.mapping import Mapping
from neuromorph.plasticity import MOVE_DTYPE, Plastic, Rule
from neuromorph.trace.compression import filters_of
from neuromorph.trace.container import attributes, create, group
from neuromorph.trace.origin import fixed, strings_of, write_hardware, write_origin
from neuromorph.trace.schema import LEARNING_FORMAT
from neuromorph.trace.seal import write_seal

if TYPE_CHECKING:
    from neuromorph.learning.loop import Learned

__all__ = ["FORMAT", "PARTS", "VERSION", "Recorder"]

FORMAT, VERSION = LEARNING_FORMAT, (1, 0)
PARTS = {"inference": tuple(ACTIONS), "learning": tuple(LEARNING_ACTIONS)}
# Learning is on one chip, so nothing goes from chip to chip.
WRITTEN = {part: tuple(a for a in known if a != "hop_chip") for part, known in PARTS.items()}
CHUNK_ROWS = 1 << 16


class Recorder:
    """Context manager that writes the record of one ``learn``.

    Parameters
    ----------
    path : path
        Final name; until the run has succeeded the file is ``<path>.partial``, and gone after a
        failure.
    mapping : Mapping
    rule : Rule
    state : Plastic
        As it is before the first sample.

    Raises
    ------
    TraceError
        The file cannot be written; from any method.
    """

    def __init__(
        self, path: str | os.PathLike[str], mapping: Mapping, rule: Rule, state: Plastic
    ) -> None:
        check_path(path, "learning record", TraceError)
        self.path = Path(path)
        self._partial = Path(f"{path}.partial")
        self._mapping, self._rule, self._state = mapping, rule, state
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            if self.path.is_dir():
                raise OSError(21, "it is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            image = self._open.enter_context(open(self._partial, "w+b"))
            self._file = self._open.enter_context(create(image))
            self._describe()
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)
        return self

    def moves(self, records: NDArray[Any]) -> None:
        """Add transitions, an array of :data:`MOVE_DTYPE`."""
        try:
            for name in MOVE_DTYPE.names or ():
                column = self._file[f"moves/{name}"]
                first = len(column)
                column.resize(first + len(records), axis=0)
                column[first:] = records[name]
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)

    def finish(self, learned: Learned) -> None:
        """Add what came of it, seal the file and give it its name."""
        try:
            samples = group(self._file, "samples")
            for name, values in (("label", learned.labels), ("prediction", learned.predictions)):
                fixed(samples, name, values.astype("<i8"))
            counts = self._file["counts"]
            for part, actions in WRITTEN.items():
                table = np.stack([getattr(learned, part)[a][0] for a in actions], axis=1)
                fixed(counts, part, table.astype("<i8"))
            fixed(self._file["states"], "after", _flat(learned.state))
            self._file.attrs.modify("complete", np.bool_(True))
            self._open.close()
            write_seal(self._partial)
            self._partial.replace(self.path)
        except (OSError, RuntimeError, ValueError) as error:
            self._fail(error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()

    def _describe(self) -> None:
        """All that is known before the first sample."""
        file, mapping, state = self._file, self._mapping, self._state
        attributes(
            file,
            {
                "format": FORMAT,
                "version": "{}.{}".format(*VERSION),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "generator": f"neuromorph {neuromorph.__version__}",
                "complete": False,
                "tick_s": mapping.chip.tick_s,
                "first": state.samples,
            },
        )
        write_origin(file, mapping, {"rule": dataclasses.asdict(self._rule)})
        counts = group(file, "counts")
        write_hardware(counts, mapping.hardware)
        fixed(counts, "layers", strings_of(list(mapping.row_layers)))
        fixed(counts, "cores", mapping.row_cores.astype("<i8"))
        fixed(counts, "pairs", mapping.pairs.astype("<i8"))
        for part, actions in WRITTEN.items():
            fixed(counts, f"{part}_actions", strings_of(list(actions)))
        states = group(file, "states")
        fixed(states, "synapses", np.array([p.states.size for p in state.layers], "<i8"))
        fixed(states, "before", _flat(state))
        moves = group(file, "moves")
        for name in MOVE_DTYPE.names or ():
            moves.create_dataset(
                name, (0,), MOVE_DTYPE[name], maxshape=(None,), chunks=(CHUNK_ROWS,),
                **filters_of("gzip"),
            )  # fmt: skip

    def _abandon(self) -> None:
        with suppress(OSError, RuntimeError, ValueError):
            self._open.close()
        with suppress(OSError):
            self._partial.unlink()

    def _fail(self, error: Exception) -> None:
        """Turn a failed write into one TraceError and leave no file."""
        self._abandon()
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["failed"])[0]
        raise TraceError(f"cannot write learning record {str(self.path)!r}: {reason}") from None


def _flat(state: Plastic) -> NDArray[np.int8]:
    """States of all synapses, layer after layer."""
    flat: NDArray[np.int8] = np.concatenate([p.states.ravel() for p in state.layers])
    return flat.astype("<i1")
