"""Pictures of a run."""

from neuromorph.report.picture import draw_run

__all__ = ["draw_run"]
