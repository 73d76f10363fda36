"""Compiled engines; every function has a readable twin in ``neuromorph.reference``."""

from neuromorph.errors import MissingDependencyError

try:
    from neuromorph.kernels import _learning as _learning
    from neuromorph.kernels import _recording as _recording
    from neuromorph.kernels import _timed as _timed
    from neuromorph.kernels import _vcount as _vcount
except ImportError as _error:
    raise MissingDependencyError(
        f"the compiled kernels cannot be loaded ({_error}); in a checkout, "
        "run pip install -e . in its folder (it needs a C compiler)"
    ) from None
