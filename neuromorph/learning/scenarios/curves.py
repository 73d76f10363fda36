"""Pictures of scenarios; need matplotlib (extra ``report``)."""

from __future__ import annotations

import io
import os
from pathlib import Path

from neuromorph.errors import LearningError, MissingDependencyError
from neuromorph.learning.scenarios.common import Result
from neuromorph.writing import write_whole

__all__ = ["draw"]


def draw(result: Result, path: str | os.PathLike[str]) -> Path:
    """Draw the curves of a result as PNG.

    Parameters
    ----------
    result : Result
    path : path

    Returns
    -------
    Path

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    LearningError
        The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise MissingDependencyError(
            "learning curves need matplotlib; install it with pip install 'neuromorph[report]'"
        ) from None
    figure = Figure(figsize=(6.4, 4), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for index, curve in enumerate(result.curves):
        line = ".-" if index % 2 == 0 else ".--"  # so that lines on each other are seen
        axes.plot(curve.x, curve.y, line, color=f"C{index % 10}", linewidth=1.2, label=curve.label)
    if result.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if result.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    axes.set(xlabel=result.x_label, ylabel=result.y_label, title=result.title)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return write_whole(path, data.getvalue(), LearningError)
