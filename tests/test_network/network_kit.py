"""Layers and networks: what is taken, how layers become stages, the sentence of every error.

What a network computes is checked in test_twin.py against an oracle; here, how
it is made."""

import numpy as np
import pytest

from neuromorph.errors import NetworkError
from neuromorph.network import (
    Threshold,
)


def refuses(sentence, make, *arguments, **keywords):
    with pytest.raises(NetworkError) as error:
        make(*arguments, **keywords)
    assert str(error.value) == sentence


def ones(*shape):
    return np.ones(shape, int)


def ternary(channels):
    return Threshold(thresholds=np.tile([0, 1], (channels, 1)))
