"""``faults``: a trained network on a chip that breaks.

Hidden neurons die, a whole core dies, synapses stick at −1, 0 or +1.  What it
shows: how much of the loss learning on the chip takes back.  A seed is another
stream, and strikes elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from neuromorph import draws
from neuromorph.data import Dataset
from neuromorph.learning.counts import slices_of
from neuromorph.learning.scenarios.common import Scenario, Session
from neuromorph.learning.scenarios.handed_over import Event, Kind, go_on

__all__ = ["SCENARIO"]

FAULT_DRAWS = 0x70000


def _kill(share: float) -> Callable[[Session, int], None]:
    """Hidden neurons of every layer fall silent."""

    def strike(session: Session, seed: int) -> None:
        for index, layer in enumerate(session.state.layers[:-1]):
            channels = len(layer.states)
            even = draws.uniform(seed, FAULT_DRAWS + index, 0, np.arange(channels))
            layer.dead[:] = (even < share).repeat(len(layer.dead) // channels)

    return strike


def _kill_core(session: Session, seed: int) -> None:
    """The first core of the first layer falls silent."""
    layer = session.state.layers[0]
    home = slices_of(session.mapping)[0].reshape(len(layer.states), -1)
    layer.dead[:] = (home == 0).all(axis=1).repeat(home.shape[1])


def _stick(share: float) -> Callable[[Session, int], None]:
    """Synapses of every layer stick, a third each at −1, 0 and +1."""

    def strike(session: Session, seed: int) -> None:
        for index, layer in enumerate(session.state.layers):
            places = np.arange(layer.states.size)
            even, where = (
                draws.uniform(seed, FAULT_DRAWS + 0x100 + index, step, places) for step in (0, 1)
            )
            stuck = (even < share).reshape(layer.states.shape)
            at = (np.floor(where * np.float32(3)) - 1).reshape(layer.states.shape)
            layer.stuck |= stuck
            layer.states[stuck] = (at * session.rule.maximum).astype(np.int8)[stuck]

    return strike


def _faults(data: Dataset) -> dict[str, Event]:
    return {
        "10 % dead neurons": Event(session=_kill(0.10)),
        "25 % dead neurons": Event(session=_kill(0.25)),
        "50 % dead neurons": Event(session=_kill(0.50)),
        "a dead core": Event(session=_kill_core),
        "1 % stuck synapses": Event(session=_stick(0.01)),
        "5 % stuck synapses": Event(session=_stick(0.05)),
        "10 % stuck synapses": Event(session=_stick(0.10)),
    }


KIND = Kind(
    name="faults",
    what="fault",
    group="faults",
    low="faulted",
    samples=3000,
    events=_faults,
)

SCENARIO = Scenario(
    name=KIND.name,
    text="a trained network goes on after neurons, a core or synapses broke",
    takes=("states", "error", "samples", "seeds"),
    run=partial(go_on, KIND),
)
