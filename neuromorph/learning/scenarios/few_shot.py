"""``few-shot``: two new classes from a handful of samples.

A network learns classes 0 to 7; then the read-out alone learns 8 and 9 from k
samples each, with as many old ones of every class.  The reference is a
prototype read-out: the class whose mean of hidden levels is nearest by the
cosine, means of old classes over all their training samples, those of new
classes over the k.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.data import Dataset
from neuromorph.learning.scenarios.common import (
    Curve,
    Images,
    Result,
    Scenario,
    Session,
    Settings,
    load,
    mean_sd,
    order,
    percent,
    scratch_rule,
    spread,
    turns,
)
from neuromorph.plasticity import Plastic, Rule
from neuromorph.simulation import simulate

__all__ = ["SCENARIO"]

NEW = (8, 9)
SHOTS = (1, 5, 10, 20, 50)
PASSES = 5


def run(settings: Settings) -> Result:
    """Learn the old classes once, then the new ones from k samples, in several draws."""
    data, entry, note = load(settings)
    states, hidden = settings.states or 63, settings.hidden or (512,)
    repeats = settings.seeds or 5
    old = np.flatnonzero(~np.isin(data.train_labels, NEW))
    passes = settings.passes or (1 if data.name == "mnist" else 10)
    count = min(settings.samples or len(old), len(old))
    session = Session.scratch(
        entry, hidden, data.classes, scratch_rule(states, count, hidden, passes=passes), settings
    )
    for shown in turns(len(old), count, 0, passes):
        session.learn(data.train_images[old[shown]], data.train_labels[old[shown]])
    isold = ~np.isin(data.test_labels, NEW)
    before = session.accuracy(data.test_images[isold], data.test_labels[isold])
    rows: list[list[str]] = []
    found: dict[str, dict[str, Any]] = {}
    lines: dict[str, list[float]] = {"DST read-out": [], "prototype read-out": []}
    settings = replace(settings, data=data.name)
    # a draw with all its shots is a task, so that the means of old classes are found once
    draws = list(
        settings.workers.each(_draw, [(session, settings, draw) for draw in range(repeats)])
    )
    for shots in SHOTS:
        scores = {name: [one[shots][name] for one in draws] for name in lines}
        found[str(shots)] = {}
        for name, values in scores.items():
            whole, new, kept = (list(map(float, column)) for column in zip(*values))
            lines[name].append(100 * float(np.mean(whole)))
            found[str(shots)][name] = {
                "accuracy": mean_sd(whole)[0],
                "accuracy_sd": mean_sd(whole)[1],
                "new_accuracy": mean_sd(new)[0],
                "old_accuracy": mean_sd(kept)[0],
            }
            rows.append([str(shots), name, spread(whole), spread(new), spread(kept)])
    curves = tuple(Curve(name, [float(k) for k in SHOTS], y) for name, y in lines.items())
    title = f"few-shot on {data.name}: {states} states, hidden {hidden[0]}"
    header = ["shots", "read-out", "all classes", "new classes", "old classes"]
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "states": states,
            "hidden": list(hidden),
            "samples": session.samples,
            "images": count,
            "passes": passes,
            "draws": repeats,
            "accuracy_before": before,
            "shots": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}; {percent(before)} on the old classes before", header, rows),),
        curves=curves,
        title=title,
        x_label="samples of each new class",
        y_label="test accuracy, all classes, %",
        notes=(note,) if note else (),
    )


def _draw(
    task: tuple[Session, Settings, int],
) -> dict[int, dict[str, tuple[float, float, float]]]:
    """Shots → read-out → accuracy on all, new and old classes, of one draw of the shots."""
    session, settings, draw = task
    data, _, _ = load(settings)
    new = np.isin(data.test_labels, NEW)
    base, old_means = session.state, None
    found: dict[int, dict[str, tuple[float, float, float]]] = {}
    for shots in SHOTS:
        picked = _shots(data, shots, draw)
        learned = _teach(base, session, data, picked, shots, settings)
        nearest, old_means = _prototype(session, base, data, picked, old_means)
        found[shots] = {}
        for name, predictions in (
            ("DST read-out", learned.predict(data.test_images)),
            ("prototype read-out", nearest),
        ):
            right = predictions == data.test_labels
            found[shots][name] = right.mean(), right[new].mean(), right[~new].mean()
    return found


def _shots(data: Dataset, shots: int, draw: int) -> NDArray[np.int64]:
    """So many samples of every class."""
    picked = []
    for label in range(data.classes):
        own = np.flatnonzero(data.train_labels == label)
        picked.append(own[order(len(own), 100 + draw, label)[:shots]])
    return np.concatenate(picked)


def _teach(
    base: Plastic,
    session: Session,
    data: Dataset,
    picked: NDArray[np.int64],
    shots: int,
    settings: Settings,
) -> Session:
    """The read-out learns the shots, several times over, at a rate that falls from high."""
    samples = PASSES * len(picked)
    rule = Rule(
        states=session.rule.states,
        error="readout",
        centring="frozen",
        margin=session.rule.margin,
        readout_rate=0.3 / shots**0.5,
        halve_every=max(1, samples // 3),
    )
    state = base.copy()
    state.samples = 0
    learner = Session(state, rule, settings)
    for turn in range(PASSES):
        which = picked[order(len(picked), 200, turn)]
        learner.learn(data.train_images[which], data.train_labels[which])
    return learner


def _prototype(
    session: Session,
    base: Plastic,
    data: Dataset,
    picked: NDArray[np.int64],
    old_means: dict[int, NDArray[np.float64]] | None,
) -> tuple[NDArray[np.int64], dict[int, NDArray[np.float64]]]:
    """Class of the nearest mean, and the means of old classes to use again."""
    fixed = session.mapping_of(base)
    known = np.setdiff1d(np.arange(data.classes), NEW)

    def hidden(images: Images) -> NDArray[np.float64]:
        levels = simulate(fixed, images).levels(base.layers[-2].stage.name).astype(np.float64)
        return _unit(levels)

    shots = hidden(data.train_images[picked])
    means = {c: shots[data.train_labels[picked] == c].mean(axis=0) for c in NEW}
    if old_means is None:
        old_means = {
            int(c): hidden(data.train_images[data.train_labels == c]).mean(axis=0) for c in known
        }
    means |= old_means
    prototypes = _unit(np.stack([means[c] for c in range(data.classes)]))
    nearest: NDArray[np.int64] = np.argmax(hidden(data.test_images) @ prototypes.T, axis=1)
    return nearest, old_means


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length one."""
    unit: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


SCENARIO = Scenario(
    name="few-shot",
    text="two new classes from k samples each, beside a prototype read-out",
    takes=("states", "hidden", "samples", "passes", "seeds"),
    run=run,
)
