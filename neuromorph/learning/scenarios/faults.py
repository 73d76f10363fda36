"""``faults``: a trained network on a chip that breaks.

Hidden neurons die, a whole core dies, synapses stick at −1, 0 or +1.  What it
shows: how much of the loss learning on the chip takes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
    over_seeds,
    percent,
    ratio,
    trained,
)
from neuromorph.network import Network

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


FAULTS: dict[str, Callable[[Session, int], None]] = {
    "10 % dead neurons": _kill(0.10),
    "25 % dead neurons": _kill(0.25),
    "50 % dead neurons": _kill(0.50),
    "a dead core": _kill_core,
    "1 % stuck synapses": _stick(0.01),
    "5 % stuck synapses": _stick(0.05),
    "10 % stuck synapses": _stick(0.10),
}


def run(settings: Settings) -> Result:
    """Strike, then learn on, from the same trained network; a seed strikes elsewhere."""
    data, entry, note = load(settings)
    network, notes = trained(settings, data, entry)
    count = min(settings.samples or 3000, len(data.train_images))
    settings, seeds = replace(settings, data=data.name), settings.seeds or 1
    tasks = [(settings, network, count, seed) for seed in range(seeds)]
    found = over_seeds(list(settings.workers.each(_learn, tasks)))
    rows, curves = [], []
    for name, one in found.items():
        curves.append(Curve(name, one.pop("x"), one.pop("y")))
        keys = ("accuracy_before", "accuracy_faulted", "accuracy")
        rows.append([name, *(percent(one[key]) for key in keys), ratio(one)])
    states = hand_over_rule(settings, network, count).states
    title = f"faults on {data.name}: {network.name}, {states} states"
    header = ["fault", "before", "faulted", "after", "recovery"]
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "network": network.name,
            "states": states,
            "samples": count,
            "images": count,
            "seeds": seeds,
            "faults": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {count:,} samples, {seeds} seed(s)", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(*([note] if note else []), *notes),
    )


def _learn(task: tuple[Settings, Network, int, int]) -> dict[str, dict[str, Any]]:
    """One seed: fault → figures, and the curve as ``x`` and ``y``."""
    settings, network, count, seed = task
    data, _, _ = load(settings)
    which = order(len(data.train_images), seed, 0)[:count]
    images, labels = data.train_images[which], data.train_labels[which]
    rule = replace(hand_over_rule(settings, network, count), seed=seed)

    def measure(now: Session) -> float:
        return 100 * now.accuracy(data.validation_images, data.validation_labels)

    found = {}
    for name, strike in FAULTS.items():
        session = Session.handed_over(network, rule, settings)
        before = session.accuracy(data.test_images, data.test_labels)
        strike(session, seed)
        faulted = session.accuracy(data.test_images, data.test_labels)
        x, y = session.follow(images, labels, log_marks(count), measure)
        after = session.accuracy(data.test_images, data.test_labels)
        lost = before - faulted
        found[name] = {
            "accuracy_before": before,
            "accuracy_faulted": faulted,
            "accuracy": after,
            "recovery_ratio": (after - faulted) / lost if lost > 0 else None,
            **session.facts(),
            "x": x,
            "y": y,
        }
    return found


SCENARIO = Scenario(
    name="faults",
    text="a trained network goes on after neurons, a core or synapses broke",
    takes=("states", "error", "samples", "seeds"),
    run=run,
)
