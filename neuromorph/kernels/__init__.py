"""Compiled engines; every function has a readable twin in ``neuromorph.reference``."""
