"""Fixtures of the tests beside."""

import pytest
from network_file_kit import sample_network

from neuromorph.network import (
    save_network,
)


@pytest.fixture(scope="module")
def sample_bytes(tmp_path_factory):
    path = save_network(sample_network(), tmp_path_factory.mktemp("sample") / "n.safetensors")
    return path.read_bytes()
