"""Pictures of a run and pages about a trace."""

from neuromorph.report.page import write_report
from neuromorph.report.picture import draw_run

__all__ = ["draw_run", "write_report"]
