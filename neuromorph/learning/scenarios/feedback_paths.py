"""``feedback-paths``: one stream, every way of the errors.

What it shows: what exact back-propagation buys over fixed random feedback and
over no feedback at all, and what each costs in error packets and energy.
"""

from __future__ import annotations

from typing import get_args

from neuromorph.learning.scenarios.common import (
    Curve,
    Result,
    Scenario,
    Session,
    Settings,
    joules,
    load,
    log_marks,
    mean_sd,
    order,
    percent,
    scratch_rule,
    spread,
)
from neuromorph.plasticity import ErrorPath

__all__ = ["SCENARIO"]


def run(settings: Settings) -> Result:
    """Learn the same stream with each path; ``settings.error`` picks a single one."""
    data, entry, note = load(settings)
    states, hidden = settings.states or 63, settings.hidden or (256, 256)
    paths = (settings.error,) if settings.error else get_args(ErrorPath)
    images, labels = data.train_images, data.train_labels
    count = min(settings.samples or 20_000, len(images))
    seeds = range(settings.seeds or 1)
    rows, curves, found = [], [], {}
    for path in paths:
        accuracies, facts = [], []
        for seed in seeds:
            rule = scratch_rule(states, count, hidden, error=path, seed=seed)
            session = Session.scratch(entry, hidden, data.classes, rule, settings)
            which = order(len(images), seed, 0)[:count]

            def measure(now: Session) -> float:
                return 100 * now.accuracy(data.validation_images, data.validation_labels)

            x, y = session.follow(images[which], labels[which], log_marks(count), measure)
            if seed == 0:
                curves.append(Curve(path, x, y))
            accuracies.append(session.accuracy(data.test_images, data.test_labels))
            facts.append(session.facts())
        mean, sd = mean_sd(accuracies)
        found[path] = {"accuracy": mean, "accuracy_sd": sd, "accuracies": accuracies, **facts[0]}
        rows.append(
            [
                path,
                spread(accuracies),
                f"{facts[0]['error_events_per_sample']:,.1f}",
                f"{facts[0]['error_hops_per_sample']:,.1f}",
                f"{facts[0]['attempts_per_sample']:,.0f}",
                f"{facts[0]['transitions_per_sample']:,.0f}",
                joules(facts[0]["energy_j_per_sample"]["learning"]),
            ]
        )
    best = max(found.values(), key=lambda f: f["accuracy"])
    header = [
        "errors",
        "accuracy",
        "errors/sample",
        "hops",
        "attempts",
        "transitions",
        "learning J",
    ]
    title = f"feedback-paths on {data.name}: {states} states, hidden {'-'.join(map(str, hidden))}"
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "states": states,
            "hidden": list(hidden),
            "samples": count,
            "seeds": len(seeds),
            "accuracy": best["accuracy"],
            "paths": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {count:,} samples", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(f"best: {percent(best['accuracy'])}", *([note] if note else [])),
    )


SCENARIO = Scenario(
    name="feedback-paths",
    text="the same stream with every way of the errors",
    takes=("states", "hidden", "error", "samples", "seeds"),
    run=run,
)
