"""``/samples`` for flat tables: where every pixel is classified, a row a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.trace.schema import NetworkInfo

__all__ = ["sample_columns"]

Columns = dict[str, NDArray[Any]]


def sample_columns(info: NetworkInfo, samples: Columns, first: int = 0) -> Columns:
    """Columns of one axis: ``sample`` (and ``row``, ``column``), theirs, and one a class."""
    number = len(samples["outputs"])
    shape = (number, *info.pixels)
    numbers = first + np.arange(number)
    columns: Columns = {"sample": np.repeat(numbers, int(np.prod(info.pixels, dtype=int)))}
    if info.pixels:
        _, rows, places = np.indices(shape).reshape(3, -1)
        columns |= {"row": rows, "column": places}
    for name, values in samples.items():
        if name == "outputs":
            sums = values.reshape(number, info.classes, -1)
            columns |= {f"output_{i}": sums[:, i].ravel() for i in range(info.classes)}
        else:
            wide = values.reshape(number, *(1,) * (len(shape) - values.ndim), *values.shape[1:])
            columns[name] = np.broadcast_to(wide, shape).ravel()
    return columns
