"""Traces and networks in the formats of other programs."""

from neuromorph.interop.brian2 import Brian2Network, to_brian2
from neuromorph.interop.export import TARGETS, Target, export_trace

__all__ = ["TARGETS", "Brian2Network", "Target", "export_trace", "to_brian2"]
