"""``feedback-paths``: one stream, every way of the errors.

What it shows: what exact back-propagation buys over fixed random feedback and
over no feedback at all, and what each costs in error packets and energy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from neuromorph.events import plural
from neuromorph.learning.scenarios.common import (
    Curve,
    Result,
    Scenario,
    Session,
    Settings,
    joules,
    load,
    log_marks,
    mean_facts,
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
    data, _, note = load(settings)
    states, hidden = settings.states or 63, settings.hidden or (256, 256)
    paths = (settings.error,) if settings.error else get_args(ErrorPath)
    count = min(settings.samples or 20_000, len(data.train_images))
    seeds = range(settings.seeds or 1)
    settings = replace(settings, data=data.name, states=states, hidden=hidden)
    tasks = [(replace(settings, error=path), count, seed) for path in paths for seed in seeds]
    learned = settings.workers.each(_learn, tasks)
    rows, curves, found = [], [], {}
    for path in paths:
        ways = [next(learned) for _ in seeds]
        curves.append(Curve(path, *ways[0][0]))
        accuracies, means = [way[1] for way in ways], mean_facts([way[2] for way in ways])
        mean, sd = mean_sd(accuracies)
        found[path] = {"accuracy": mean, "accuracy_sd": sd, "accuracies": accuracies, **means}
        rows.append(
            [
                path,
                spread(accuracies),
                f"{means['error_events_per_sample']:,.1f}",
                f"{means['error_hops_per_sample']:,.1f}",
                f"{means['attempts_per_sample']:,.0f}",
                f"{means['transitions_per_sample']:,.0f}",
                joules(means["energy_j_per_sample"]["learning"]),
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
            "images": count,
            "seeds": len(seeds),
            "accuracy": best["accuracy"],
            "paths": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {plural(count, 'sample')}", header, rows),),
        curves=tuple(curves),
        title=title,
        notes=(f"best: {percent(best['accuracy'])}", *([note] if note else [])),
    )


def _learn(
    task: tuple[Settings, int, int],
) -> tuple[tuple[list[float], list[float]], float, dict[str, Any]]:
    """One way of the errors with one seed: (curve, accuracy, facts)."""
    settings, count, seed = task
    data, entry, _ = load(settings)
    states, hidden = settings.states or 0, settings.hidden or ()
    rule = scratch_rule(states, count, hidden, error=settings.error, seed=seed)
    session = Session.scratch(entry, hidden, data.classes, rule, settings)
    which = order(len(data.train_images), seed, 0)[:count]

    def measure(now: Session) -> float:
        return 100 * now.accuracy(data.validation_images, data.validation_labels)

    images, labels = data.train_images[which], data.train_labels[which]
    curve = session.follow(images, labels, log_marks(count), measure)
    return curve, session.accuracy(data.test_images, data.test_labels), session.facts()


SCENARIO = Scenario(
    name="feedback-paths",
    text="the same stream with every way of the errors",
    takes=("states", "hidden", "error", "samples", "seeds"),
    run=run,
)
