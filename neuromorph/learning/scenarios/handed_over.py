"""What ``drift`` and ``faults`` share: a trained network meets a change and goes on learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from neuromorph.data import Dataset
from neuromorph.events import plural
from neuromorph.learning.scenarios.common import (
    Curve,
    Images,
    Result,
    Session,
    Settings,
    hand_over_rule,
    joules,
    load,
    log_marks,
    order,
    over_seeds,
    percent,
    trained,
)
from neuromorph.network import Network

__all__ = ["Event", "Kind", "go_on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happens: to the images, or to the session with its seed."""

    images: Callable[[Images], Images] = lambda images: images
    session: Callable[[Session, int], None] = lambda session, seed: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A scenario of this sort.

    ``what`` is one event in the table, ``group`` all of them in the record,
    ``low`` the accuracy right after it, ``samples`` how many are learned then,
    ``events`` what happens to a data set, by name; a function of a module.
    ``forgets``: the task is another afterwards, and the old one asked for too.
    """

    name: str
    what: str
    group: str
    low: str
    samples: int
    events: Callable[[Dataset], Mapping[str, Event]]
    forgets: bool = False


def go_on(kind: Kind, settings: Settings) -> Result:
    """Learn on after each event, from the same trained network; means over seeds."""
    data, entry, note = load(settings)
    network, notes = trained(settings, data, entry)
    count = min(settings.samples or kind.samples, len(data.train_images))
    settings, seeds = replace(settings, data=data.name), settings.seeds or 1
    tasks = [(kind, settings, network, count, seed) for seed in range(seeds)]
    found = over_seeds(list(settings.workers.each(_learn, tasks)))
    rows, curves = [], []
    for name, one in found.items():
        curves.append(Curve(name, one.pop("x"), one.pop("y")))
        keys = ("accuracy_before", f"accuracy_{kind.low}", "accuracy")
        old = [percent(one["old_task_accuracy"])] if kind.forgets else []
        energy = joules(one["energy_j_per_sample"]["learning"])
        rows.append([name, *(percent(one[key]) for key in keys), _ratio(one), *old, energy])
    states = hand_over_rule(settings, network, count).states
    title = f"{kind.name} on {data.name}: {network.name}, {states} states"
    header = [kind.what, "before", kind.low, "after", "recovery"]
    header += ["old task"] * kind.forgets + ["learning J"]
    return Result(
        record={
            "scenario": kind.name,
            "data": data.name,
            "network": network.name,
            "states": states,
            "samples": count,
            "images": count,
            "seeds": seeds,
            kind.group: found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {plural(count, 'sample')}, {plural(seeds, 'seed')}", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(*([note] if note else []), *notes),
    )


def _learn(task: tuple[Kind, Settings, Network, int, int]) -> dict[str, dict[str, Any]]:
    """One seed: event → figures, and the curve as ``x`` and ``y``."""
    kind, settings, network, count, seed = task
    data, _, _ = load(settings)
    which = order(len(data.train_images), seed, 0)[:count]
    labels = data.train_labels[which]
    rule = replace(hand_over_rule(settings, network, count), seed=seed)
    found = {}
    for name, event in kind.events(data).items():
        session = Session.handed_over(network, rule, settings)
        before = session.accuracy(data.test_images, data.test_labels)
        event.session(session, seed)
        seen, test = event.images(data.validation_images), event.images(data.test_images)
        low = session.accuracy(test, data.test_labels)

        def measure(now: Session, seen: Images = seen) -> float:
            return 100 * now.accuracy(seen, data.validation_labels)

        images = event.images(data.train_images[which])
        x, y = session.follow(images, labels, log_marks(count), measure)
        after, lost = session.accuracy(test, data.test_labels), before - low
        found[name] = {
            "accuracy_before": before,
            f"accuracy_{kind.low}": low,
            "accuracy": after,
            "recovery_ratio": (after - low) / lost if lost > 0 else None,
            **session.facts(),
            "x": x,
            "y": y,
        }
        if kind.forgets:
            old = session.accuracy(data.test_images, data.test_labels)
            found[name]["old_task_accuracy"] = old
    return found


def _ratio(found: dict[str, Any]) -> str:
    """Recovery ratio as the table shows it, empty where nothing was lost."""
    mean, sd = found["recovery_ratio"], found.get("recovery_ratio_sd")
    if mean is None:
        return ""
    return f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}")
