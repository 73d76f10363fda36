"""The ``neuromorph`` command."""

from neuromorph.cli.main import main

__all__ = ["main"]
