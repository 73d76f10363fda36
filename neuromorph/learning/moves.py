"""Learning trace: every transition of a run in an HDF5 file.

One dataset a column of :data:`~neuromorph.plasticity.MOVE_DTYPE`, compressed,
in the order of samples; attributes ``format`` ("neuromorph-moves"), ``version``,
``software``, ``rule`` (JSON), ``network`` (hash of the network as it was
mapped), ``layers`` (names) and ``samples``.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import neuromorph
from neuromorph.errors import LearningError
from neuromorph.learning.loop import Learned
from neuromorph.plasticity import MOVE_DTYPE

__all__ = ["load_moves", "save_moves"]

FORMAT, VERSION = "neuromorph-moves", "1.0"
MAX_MOVES = 1 << 32


def save_moves(learned: Learned, path: str | os.PathLike[str]) -> None:
    """Write the transitions of ``learn(..., moves=True)``.

    Parameters
    ----------
    learned : Learned
    path : path

    Raises
    ------
    LearningError
        Nothing was recorded, or the file cannot be written.
    """
    if learned.moves is None:
        raise LearningError("no transitions were recorded; learn with moves=True")
    target = Path(path)
    try:
        with h5py.File(target, "w") as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["software"] = f"neuromorph {neuromorph.__version__}"
            file.attrs["rule"] = json.dumps(dataclasses.asdict(learned.rule))
            file.attrs["network"] = learned.mapping.network.hash
            file.attrs["layers"] = json.dumps([s.name for s in learned.mapping.network.stages])
            file.attrs["samples"] = len(learned)
            for name in MOVE_DTYPE.names or ():
                column = np.ascontiguousarray(learned.moves[name])
                file.create_dataset(name, data=column, compression="gzip", compression_opts=1)
    except OSError as error:
        raise LearningError(f"cannot write {target}: {error.strerror or error}") from None


def load_moves(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read transitions back.

    Returns
    -------
    array of :data:`~neuromorph.plasticity.MOVE_DTYPE`

    Raises
    ------
    LearningError
        Not such a file, of another version, or columns that do not fit.
    """
    source = Path(path)
    try:
        with h5py.File(source, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise LearningError(f"{source} is no file of transitions")
            version = str(file.attrs.get("version"))
            if version.split(".")[0] != VERSION.split(".")[0]:
                raise LearningError(f"{source} is of version {version}; this reads {VERSION}")
            columns = {}
            for name in MOVE_DTYPE.names or ():
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise LearningError(f"{source} lacks the column {name!r}")
                column = file[name]
                length = len(file["step"])
                if (
                    not isinstance(column, h5py.Dataset)
                    or column.shape != (length,)
                    or column.dtype != MOVE_DTYPE[name]
                    or column.external
                    or length > MAX_MOVES
                ):
                    raise LearningError(f"{source}: column {name!r} has the wrong form")
                columns[name] = column[:]
    except (OSError, KeyError, TypeError) as error:
        raise LearningError(f"cannot read {source}: {error}") from None
    moves = np.zeros(len(columns["step"]), MOVE_DTYPE)
    for name, column in columns.items():
        moves[name] = column
    return moves
