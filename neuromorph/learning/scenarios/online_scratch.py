"""``online-scratch``: random synapses, every sample once, batch 1.

What it shows: accuracy against states a synapse, the price of its writes, and
the share of energy that learning adds to inference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

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
    scratch_rule,
    spread,
    turns,
)
from neuromorph.network import Network

__all__ = ["SCENARIO"]

HIDDEN = {"mnist": (512,), "digits": (256,)}


def run(settings: Settings) -> Result:
    """Learn from scratch; see :class:`Settings`."""
    settings, count, note = _chosen(settings)
    states, passes, hidden = settings.states or 0, settings.passes or 0, settings.hidden or ()
    seeds = range(settings.seeds or 3)
    tasks = [(settings, count, seed, seed == seeds[-1]) for seed in seeds]
    found = list(settings.workers.each(_learn, tasks))
    curves = [one.curve for one in found]
    accuracies, facts = [one.accuracy for one in found], [one.facts for one in found]
    validation = [one.curve.y[-1] / 100 for one in found]
    mean, sd = mean_sd(accuracies)
    means = mean_facts(facts)
    record = {
        "scenario": SCENARIO.name,
        "data": settings.data,
        "states": states,
        "filters": settings.filters or 0,
        "hidden": list(hidden),
        "error": settings.error,
        "images": count,
        "passes": passes,
        "seeds": len(seeds),
        "accuracy": mean,
        "accuracy_sd": sd,
        "accuracies": accuracies,
        "validation_accuracies": validation,
        **means,
        **_to_reach(curves, means),
        "curves": [curve._asdict() for curve in curves],
    }
    energy = record["energy_j_per_sample"]
    rows = [
        ["test accuracy", spread(accuracies)],
        ["samples learned: images × passes", f"{count * passes:,}: {count:,} × {passes}"],
        ["bits a synapse, with hidden weights", f"{record['bits_per_synapse']:g}, 98"],
        ["DST attempts a sample", f"{record['attempts_per_sample']:,.0f}"],
        ["transitions a sample", f"{record['transitions_per_sample']:,.0f}"],
        ["errors a sample", f"{record['error_events_per_sample']:,.1f}"],
        ["writes of a synapse, mean", f"{record['writes_mean']:,.1f}"],
        ["writes of a synapse, most", f"{record['writes_max']:,}"],
        ["inference, J a sample", joules(energy["inference"])],
        ["learning, J a sample", joules(energy["learning"])],
    ]  # fmt: skip
    front = f"{settings.filters} fixed filters, " if settings.filters else ""
    shape = f"{states} states, {front}hidden {'-'.join(map(str, hidden))}"
    title = f"online-scratch on {settings.data}: {shape}"
    return Result(
        record=record,
        tables=(
            (
                title,
                ["what", "one seed" if len(seeds) == 1 else f"mean of {len(seeds)} seeds"],
                rows,
            ),
        ),
        curves=tuple(curves),
        title=title,
        notes=(note,) if note else (),
        network=found[-1].network,
    )


class _Found(NamedTuple):
    """What came of one seed."""

    curve: Curve
    accuracy: float
    facts: dict[str, Any]
    network: Network


def _chosen(settings: Settings) -> tuple[Settings, int, str]:
    """Settings without a choice left, samples of a pass, and a note."""
    data, _, note = load(settings)
    count = min(settings.samples or len(data.train_images), len(data.train_images))
    made = replace(
        settings,
        data=data.name,
        states=settings.states or 63,
        passes=settings.passes or (1 if data.name == "mnist" else 10),
        hidden=settings.hidden or HIDDEN[data.name],
        error=settings.error or "bp",
    )
    return made, count, note


def _learn(task: tuple[Settings, int, int, bool]) -> _Found:
    """One seed; the settings leave no choice."""
    settings, count, seed, last = task
    data, entry, _ = load(settings)
    states, passes, hidden = settings.states or 0, settings.passes or 0, settings.hidden or ()
    images, labels = data.train_images, data.train_labels
    rule = scratch_rule(states, count, hidden, passes=passes, error=settings.error, seed=seed)
    session = Session.scratch(entry, hidden, data.classes, rule, settings)

    def measure(now: Session) -> float:
        return 100 * now.accuracy(data.validation_images, data.validation_labels)

    x, y = [], []
    with session.recorded(settings.trace if last else None):
        for turn, which in enumerate(turns(len(images), count, seed, passes)):
            marks = log_marks(count) if turn == 0 else [count]
            at, found = session.follow(images[which], labels[which], marks, measure)
            x += [turn * count + place for place in at]
            y += found
    accuracy = session.accuracy(data.test_images, data.test_labels)
    meta = {"data": data.name, "test_accuracy": accuracy, "states": states}
    return _Found(
        curve=Curve(f"seed {seed}", x, y),
        accuracy=accuracy,
        facts=session.facts(),
        network=session.state.network(f"{data.name}-learned", meta),
    )


def _to_reach(curves: list[Curve], facts: dict[str, Any]) -> dict[str, Any]:
    """Samples and joules to 90 and 95 % on validation, at the marks looked at; worst seed."""
    result: dict[str, Any] = {}
    for goal in (90, 95):
        reached = [next((x for x, y in zip(c.x, c.y) if y >= goal), None) for c in curves]
        samples = None if None in reached else max(x for x in reached if x is not None)
        energy = facts["energy_j_per_sample"]
        result[f"samples_to_{goal}"] = samples
        priced = samples is not None and None not in energy.values()
        result[f"energy_to_{goal}_j"] = samples * sum(energy.values()) if priced else None
    return result


SCENARIO = Scenario(
    name="online-scratch",
    text="random synapses learn from every sample once, batch 1",
    takes=("states", "hidden", "error", "samples", "passes", "filters", "seeds", "trace"),
    run=run,
)
