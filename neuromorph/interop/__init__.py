"""Traces and networks in the formats of other programs."""

from neuromorph.interop.brian2 import Brian2Network, to_brian2
from neuromorph.interop.export import TARGETS, Target, export_trace
from neuromorph.interop.onnx import from_onnx

__all__ = ["TARGETS", "Brian2Network", "Target", "export_trace", "from_onnx", "to_brian2"]
