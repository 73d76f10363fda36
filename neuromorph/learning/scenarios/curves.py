"""Pictures of scenarios; need matplotlib (extra ``report``)."""

from __future__ import annotations

import os
from pathlib import Path

from neuromorph.canvas import blank_figure, save_png
from neuromorph.errors import LearningError
from neuromorph.learning.scenarios.common import Result

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
    figure = blank_figure(6.4, 4)
    from matplotlib.ticker import MaxNLocator

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
    return save_png(figure, path, LearningError, dpi=150)
