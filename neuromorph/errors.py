"""Every error that neuromorph raises on purpose.

Each class also inherits the builtin a caller would guess, so ``except
ValueError`` catches a bad file as well as a bad array.  A message says what
was given, what is allowed, where, and if possible what to do.
"""

import os

__all__ = [
    "ChipError",
    "LearningError",
    "LevelError",
    "MappingError",
    "MissingDependencyError",
    "NetworkError",
    "NeuromorphError",
    "PriceError",
    "RecipeError",
    "SimulationError",
    "TraceError",
    "TraceVersionError",
    "check_path",
    "check_type",
]


class NeuromorphError(Exception):
    """Base of all errors raised on purpose by this package."""


def check_type(
    value: object, kind: type, what: str, error: type[NeuromorphError], remedy: str
) -> None:
    """Raise ``error`` in one sentence if ``value`` is not of ``kind``."""
    if not isinstance(value, kind):
        raise error(f"{what} is a {type(value).__name__}, not a {kind.__name__}; {remedy}")


def check_path(value: object, what: str, error: type[NeuromorphError]) -> None:
    """Raise ``error`` in one sentence if ``value`` is neither a name nor a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise error(f"{what} is {value!r}; give a name or a path")


class LevelError(NeuromorphError, ValueError):
    """A value outside the discrete space Z_N."""


class NetworkError(NeuromorphError, ValueError):
    """A malformed or unsupported network, network file or network input."""


class ChipError(NeuromorphError, ValueError):
    """A malformed or contradictory chip description."""


class PriceError(ChipError):
    """A missing, double or malformed price."""


class MappingError(NeuromorphError, ValueError):
    """A network that does not fit a chip."""


class SimulationError(NeuromorphError, RuntimeError):
    """A run that cannot be carried out."""


class TraceError(NeuromorphError, ValueError):
    """A malformed trace file, or a trace that cannot be written."""


class TraceVersionError(TraceError):
    """A trace file of a version this package does not read."""


class RecipeError(NeuromorphError, ValueError):
    """A malformed training recipe, or data it needs that are not there."""


class LearningError(NeuromorphError, ValueError):
    """A rule, a stream or a network that learning on a chip cannot take."""


class MissingDependencyError(NeuromorphError, ImportError):
    """An optional package is needed; the message names the extra to install."""
