"""Pictures as PNG: an empty figure of matplotlib, and a file that is whole or not there."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from neuromorph.errors import MissingDependencyError, NeuromorphError
from neuromorph.writing import check_ending, write_whole

__all__ = ["blank_figure", "save_png"]


def blank_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, apart from any screen and from pyplot's state.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "a picture needs matplotlib, which is not installed; run: "
            "pip install 'neuromorph[report]'"
        ) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(
    figure: Any, path: str | os.PathLike[str], error: type[NeuromorphError], *, dpi: int
) -> Path:
    """Write a figure; the same figure gives the same bytes.

    Raises
    ------
    NeuromorphError
        Of the type ``error``: the name does not end in ``.png``, or the file cannot be written.
    """
    check_ending(path, (".png",), error)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return write_whole(path, data.getvalue(), error, "picture")
