"""``drift``: a trained network on a chip whose world turns.

A network trained off the chip goes on learning after its images are rotated,
shifted or inverted.  What it shows: how fast accuracy comes back, and what is
lost of the old task.  A seed is another stream.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from neuromorph.data import Dataset
from neuromorph.learning.scenarios.common import Images, Scenario
from neuromorph.learning.scenarios.handed_over import Event, Kind, go_on

__all__ = ["SCENARIO"]


def _changes(data: Dataset) -> dict[str, Event]:
    pixels = 3 if data.shape[1] >= 16 else 1
    return {
        "rotation 90°": Event(images=lambda x: np.ascontiguousarray(np.rot90(x, axes=(2, 3)))),
        f"shift {pixels}": Event(images=lambda x: _shifted(x, pixels)),
        "inversion": Event(images=lambda x: (data.maximum - x).astype(np.uint8)),
    }


def _shifted(images: Images, pixels: int) -> Images:
    """Moved right and down; what leaves is lost."""
    moved = np.zeros_like(images)
    moved[:, :, pixels:, pixels:] = images[:, :, :-pixels, :-pixels]
    return moved


KIND = Kind(
    name="drift",
    what="change",
    group="changes",
    low="fallen",
    samples=5000,
    events=_changes,
    forgets=True,
)

SCENARIO = Scenario(
    name=KIND.name,
    text="a trained network goes on after its images are rotated, shifted, inverted",
    takes=("states", "error", "samples", "seeds"),
    run=partial(go_on, KIND),
)
