"""Blocks and spikes of a trace, compiled (twin of ``reference.recording``)."""

from neuromorph.kernels._recording import MOST_ROWS, Encoder, find_spikes

__all__ = ["MOST_ROWS", "Encoder", "find_spikes"]
