"""``drift``: a trained network on a chip whose world turns.

A network trained off the chip goes on learning after its images are rotated,
shifted or inverted.  What it shows: how fast accuracy comes back, and what is
lost of the old task.
"""

from __future__ import annotations

from collections.abc import Callable

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
    percent,
    trained,
)

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
    """Learn after each change, from the same trained network."""
    data, entry, note = load(settings)
    network, notes = trained(settings, data, entry)
    count = min(settings.samples or 5000, len(data.train_images))
    which = order(len(data.train_images), 0, 0)[:count]
    labels = data.train_labels[which]
    rule = hand_over_rule(settings, network, count)
    rows, curves, found = [], [], {}
    for name, change in _changes(data.maximum, data.shape[1]).items():
        session = Session.handed_over(network, rule, settings)
        before = session.accuracy(data.test_images, data.test_labels)
        seen, test = change(data.validation_images), change(data.test_images)
        fallen = session.accuracy(test, data.test_labels)

        def measure(now: Session, seen: Images = seen) -> float:
            return 100 * now.accuracy(seen, data.validation_labels)

        x, y = session.follow(change(data.train_images[which]), labels, log_marks(count), measure)
        curves.append(Curve(name, x, y))
        after = session.accuracy(test, data.test_labels)
        old = session.accuracy(data.test_images, data.test_labels)
        ratio = (after - fallen) / (before - fallen) if before > fallen else 1.0
        facts = session.facts()
        found[name] = {
            "accuracy_before": before,
            "accuracy_fallen": fallen,
            "accuracy": after,
            "old_task_accuracy": old,
            "recovery_ratio": ratio,
            **facts,
        }
        shares = [percent(v) for v in (before, fallen, after)]
        rows.append(
            [name, *shares, f"{ratio:.2f}", percent(old),
             joules(facts["energy_j_per_sample"]["learning"])]
        )  # fmt: skip
    title = f"drift on {data.name}: {network.name}, {rule.states} states"
    header = ["change", "before", "fallen", "after", "recovery", "old task", "learning J"]
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "network": network.name,
            "states": rule.states,
            "samples": count,
            "images": count,
            "changes": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {count:,} samples", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(*([note] if note else []), *notes),
    )


SCENARIO = Scenario(
    name="drift",
    text="a trained network goes on after its images are rotated, shifted, inverted",
    takes=("states", "error", "samples"),
    run=run,
)
