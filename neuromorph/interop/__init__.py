"""Traces and networks in the formats of other programs."""

from neuromorph.interop.brian2 import Brian2Network, learn_in_brian2, to_brian2
from neuromorph.interop.export import TARGETS, Target, export_trace
from neuromorph.interop.nir import from_nir, to_nir
from neuromorph.interop.nir_events import from_nir_events, to_nir_events
from neuromorph.interop.onnx import from_onnx

__all__ = [
    "TARGETS",
    "Brian2Network",
    "Target",
    "export_trace",
    "from_nir",
    "from_nir_events",
    "from_onnx",
    "learn_in_brian2",
    "to_brian2",
    "to_nir",
    "to_nir_events",
]
