"""Fixtures of the tests beside."""

import pytest
from cli_kit import ok


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty folder; no data but the built-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROMORPH_DATA", str(tmp_path / "no-data"))
    return tmp_path


@pytest.fixture
def trace():
    ok("run", "digits-gxnor", "--mode", "timed", "--samples", 3, "--trace", "run.h5")
    return "run.h5"
