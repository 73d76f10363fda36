"""Pictures of a run and pages about a trace."""

from neuromorph.report.figure import write_figure
from neuromorph.report.mesh import draw_mapping
from neuromorph.report.page import write_report
from neuromorph.report.picture import draw_run

__all__ = ["draw_mapping", "draw_run", "write_figure", "write_report"]
