"""Traces in the formats of other programs; each written in bounded memory."""

from neuromorph.interop.export import TARGETS, Target, export_trace

__all__ = ["TARGETS", "Target", "export_trace"]
