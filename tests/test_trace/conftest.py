"""Fixtures of the tests beside."""

import pytest

import neuromorph as nm
from neuromorph.data import load_data


@pytest.fixture(scope="module")
def digits():
    """(mapping, images, labels) of 24 digits."""
    data = load_data("digits")
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return mapping, data.test_images[:24], data.test_labels[:24]


@pytest.fixture(scope="module")
def recorded(digits, tmp_path_factory):
    """(run, path of its packet trace, mapping)."""
    mapping, images, labels = digits
    path = tmp_path_factory.mktemp("trace") / "digits.h5"
    return nm.simulate(mapping, images, mode="timed", labels=labels, trace=path), path, mapping
