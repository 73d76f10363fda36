"""Traces: the recorded events of a run (HDF5, ``docs/trace-format.md``)."""

from neuromorph.trace.compression import COMPRESSIONS, Compression
from neuromorph.trace.differences import Difference, difference
from neuromorph.trace.reader import Trace
from neuromorph.trace.recorder import Recorder
from neuromorph.trace.repacking import repack
from neuromorph.trace.replaying import replay
from neuromorph.trace.schema import Detail
from neuromorph.trace.validate import validate

__all__ = [
    "COMPRESSIONS",
    "Compression",
    "Detail",
    "Difference",
    "Recorder",
    "Trace",
    "difference",
    "repack",
    "replay",
    "validate",
]
