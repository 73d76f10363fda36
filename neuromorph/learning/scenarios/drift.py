"""``drift``: a trained network on a chip whose world turns.

A network trained off the chip goes on learning after its images are rotated,
shifted or inverted.  What it shows: how fast accuracy comes back, and what is
lost of the old task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from neuromorph.learning.scenarios.common import (
    Curve,
    Images,
    Result,
    Scenario,
    Session,
    Settings,
    hand_over_rule,
    joules,
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


def _changes(maximum: int, size: int) -> dict[str, Callable[[Images], Images]]:
    pixels = 3 if size >= 16 else 1
    return {
        "rotation 90°": lambda x: np.ascontiguousarray(np.rot90(x, axes=(2, 3))),
        f"shift {pixels}": lambda x: _shifted(x, pixels),
        "inversion": lambda x: (maximum - x).astype(np.uint8),
    }


def _shifted(images: Images, pixels: int) -> Images:
    """Moved right and down; what leaves is lost."""
    moved = np.zeros_like(images)
    moved[:, :, pixels:, pixels:] = images[:, :, :-pixels, :-pixels]
    return moved


def run(settings: Settings) -> Result:
    """Learn after each change, from the same trained network; a seed is another stream."""
    data, entry, note = load(settings)
    network, notes = trained(settings, data, entry)
    count = min(settings.samples or 5000, len(data.train_images))
    settings, seeds = replace(settings, data=data.name), settings.seeds or 1
    tasks = [(settings, network, count, seed) for seed in range(seeds)]
    found = over_seeds(list(settings.workers.each(_learn, tasks)))
    rows, curves = [], []
    for name, one in found.items():
        curves.append(Curve(name, one.pop("x"), one.pop("y")))
        keys = ("accuracy_before", "accuracy_fallen", "accuracy")
        rows.append(
            [name, *(percent(one[key]) for key in keys), ratio(one),
             percent(one["old_task_accuracy"]), joules(one["energy_j_per_sample"]["learning"])]
        )  # fmt: skip
    states = hand_over_rule(settings, network, count).states
    title = f"drift on {data.name}: {network.name}, {states} states"
    header = ["change", "before", "fallen", "after", "recovery", "old task", "learning J"]
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "network": network.name,
            "states": states,
            "samples": count,
            "images": count,
            "seeds": seeds,
            "changes": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {count:,} samples, {seeds} seed(s)", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(*([note] if note else []), *notes),
    )


def _learn(task: tuple[Settings, Network, int, int]) -> dict[str, dict[str, Any]]:
    """One seed: change → figures, and the curve as ``x`` and ``y``."""
    settings, network, count, seed = task
    data, _, _ = load(settings)
    which = order(len(data.train_images), seed, 0)[:count]
    labels = data.train_labels[which]
    rule = replace(hand_over_rule(settings, network, count), seed=seed)
    found = {}
    for name, change in _changes(data.maximum, data.shape[1]).items():
        session = Session.handed_over(network, rule, settings)
        before = session.accuracy(data.test_images, data.test_labels)
        seen, test = change(data.validation_images), change(data.test_images)
        fallen = session.accuracy(test, data.test_labels)

        def measure(now: Session, seen: Images = seen) -> float:
            return 100 * now.accuracy(seen, data.validation_labels)

        x, y = session.follow(change(data.train_images[which]), labels, log_marks(count), measure)
        after = session.accuracy(test, data.test_labels)
        found[name] = {
            "accuracy_before": before,
            "accuracy_fallen": fallen,
            "accuracy": after,
            "old_task_accuracy": session.accuracy(data.test_images, data.test_labels),
            "recovery_ratio": (after - fallen) / (before - fallen) if before > fallen else 1.0,
            **session.facts(),
            "x": x,
            "y": y,
        }
    return found


SCENARIO = Scenario(
    name="drift",
    text="a trained network goes on after its images are rotated, shifted, inverted",
    takes=("states", "error", "samples", "seeds"),
    run=run,
)
