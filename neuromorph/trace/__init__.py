"""Traces: the recorded events of a run (HDF5, ``docs/trace-format.md``)."""

from neuromorph.trace.recorder import Recorder
from neuromorph.trace.schema import Detail

__all__ = ["Detail", "Recorder"]
