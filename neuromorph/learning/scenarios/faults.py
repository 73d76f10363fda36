"""``faults``: a trained network on a chip that breaks.

Hidden neurons die, a whole core dies, synapses stick at −1, 0 or +1.  What it
shows: how much of the loss learning on the chip takes back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neuromorph import draws
from neuromorph.learning.counts import slices_of
from neuromorph.learning.scenarios.common import (
    Curve,
    Result,
    Scenario,
    Session,
    Settings,
    hand_over_rule,
    load,
    log_marks,
    order,
    percent,
    trained,
)

__all__ = ["SCENARIO"]

FAULT_DRAWS = 0x70000


def _kill(share: float) -> Callable[[Session], None]:
    """Hidden neurons of every layer fall silent."""

    def strike(session: Session) -> None:
        for index, layer in enumerate(session.state.layers[:-1]):
            channels = len(layer.states)
            even = draws.uniform(0, FAULT_DRAWS + index, 0, np.arange(channels))
            layer.dead[:] = (even < share).repeat(len(layer.dead) // channels)

    return strike


def _kill_core(session: Session) -> None:
    """The first core of the first layer falls silent."""
    layer = session.state.layers[0]
    home = slices_of(session.mapping)[0].reshape(len(layer.states), -1)
    layer.dead[:] = (home == 0).all(axis=1).repeat(home.shape[1])


def _stick(share: float) -> Callable[[Session], None]:
    """Synapses of every layer stick, a third each at −1, 0 and +1."""

    def strike(session: Session) -> None:
        for index, layer in enumerate(session.state.layers):
            places = np.arange(layer.states.size)
            even, where = (
                draws.uniform(0, FAULT_DRAWS + 0x100 + index, step, places) for step in (0, 1)
            )
            stuck = (even < share).reshape(layer.states.shape)
            at = (np.floor(where * np.float32(3)) - 1).reshape(layer.states.shape)
            layer.stuck |= stuck
            layer.states[stuck] = (at * session.rule.maximum).astype(np.int8)[stuck]

    return strike


FAULTS: dict[str, Callable[[Session], None]] = {
    "10 % dead neurons": _kill(0.10),
    "25 % dead neurons": _kill(0.25),
    "50 % dead neurons": _kill(0.50),
    "a dead core": _kill_core,
    "1 % stuck synapses": _stick(0.01),
    "5 % stuck synapses": _stick(0.05),
    "10 % stuck synapses": _stick(0.10),
}


def run(settings: Settings) -> Result:
    """Strike, then learn on, from the same trained network."""
    data, entry, note = load(settings)
    network, notes = trained(settings, data, entry)
    count = min(settings.samples or 3000, len(data.train_images))
    which = order(len(data.train_images), 0, 0)[:count]
    images, labels = data.train_images[which], data.train_labels[which]
    rule = hand_over_rule(settings, network, count)
    rows, curves, found = [], [], {}
    for name, strike in FAULTS.items():
        session = Session.handed_over(network, rule, settings)
        before = session.accuracy(data.test_images, data.test_labels)
        strike(session)
        faulted = session.accuracy(data.test_images, data.test_labels)

        def measure(now: Session) -> float:
            return 100 * now.accuracy(data.validation_images, data.validation_labels)

        x, y = session.follow(images, labels, log_marks(count), measure)
        curves.append(Curve(name, x, y))
        after = session.accuracy(data.test_images, data.test_labels)
        lost = before - faulted
        found[name] = {
            "accuracy_before": before,
            "accuracy_faulted": faulted,
            "accuracy": after,
            "recovery_ratio": (after - faulted) / lost if lost > 0 else None,
            **session.facts(),
        }
        ratio = f"{(after - faulted) / lost:.2f}" if lost > 0 else ""
        rows.append([name, *(percent(v) for v in (before, faulted, after)), ratio])
    title = f"faults on {data.name}: {network.name}, {rule.states} states"
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "network": network.name,
            "states": rule.states,
            "samples": count,
            "images": count,
            "faults": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=(
            (
                f"{title}, {count:,} samples",
                ["fault", "before", "faulted", "after", "recovery"],
                rows,
            ),
        ),
        curves=tuple(curves),
        title=title,
        notes=(*([note] if note else []), *notes),
    )


SCENARIO = Scenario(
    name="faults",
    text="a trained network goes on after neurons, a core or synapses broke",
    takes=("states", "error", "samples"),
    run=run,
)
