"""``class-incremental``: ten classes, two at a time, and no word on which task it is.

What it shows: how much is forgotten, what a small memory of old samples
(replay) holds, and what synapses that are slow to leave outer states add.
R[i][j] is the accuracy on task j after task i, all classes being possible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.data import Dataset
from neuromorph.events import plural
from neuromorph.learning.scenarios.common import (
    Curve,
    Result,
    Scenario,
    Session,
    Settings,
    load,
    order,
    over_seeds,
    percent,
    scratch_rule,
)
from neuromorph.network import Input

__all__ = ["SCENARIO"]

TASKS = 5
# name → (samples kept a class, metaplastic)
VARIANTS = {
    "no replay": (0, 0),
    "no replay, metaplastic": (0, 4),
    "replay 50": (50, 0),
    "replay 100": (100, 0),
    "replay 100, metaplastic": (100, 1),
}
REVIEWS = 5  # passes over the memory when a task is over


def run(settings: Settings) -> Result:
    """Learn the tasks one after the other, with and without replay."""
    data, _, note = load(settings)
    states, hidden = settings.states or 63, settings.hidden or (512,)
    each = settings.samples or (3000 if data.name == "mnist" else 240)
    settings, seeds = replace(settings, data=data.name), settings.seeds or 1
    tasks = [(settings, states, hidden, each, seed) for seed in range(seeds)]
    found = over_seeds(list(settings.workers.each(_learn_all, tasks)))
    rows, curves = [], []
    for name, one in found.items():
        curves.append(Curve(name, one.pop("x"), one.pop("y")))
        last, sd = one["accuracy_matrix"][-1], one.get("avg_accuracy_sd")
        rows.append(
            [
                name,
                percent(one["avg_accuracy"]) + ("" if sd is None else f" ± {percent(sd)}"),
                percent(last[0]),
                percent(last[-1]),
                f"{one['backward_transfer']:+.3f}",
                f"{one['replay_bytes']:,}",
            ]
        )
    title = f"class-incremental on {data.name}: {states} states, hidden {hidden[0]}"
    header = ["variant", "avg accuracy", "first task", "last task", "backward transfer", "bytes"]
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "states": states,
            "hidden": list(hidden),
            "samples": TASKS * each,
            "images": _images(data, each),
            "seeds": seeds,
            "variants": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=(
            (f"{title}, {plural(each, 'sample')} a task, {plural(seeds, 'seed')}", header, rows),
        ),
        curves=tuple(curves),
        title=title,
        x_label="tasks learned",
        y_label="mean accuracy on the tasks so far, %",
        log_x=False,
        notes=(note,) if note else (),
    )


def _learn_all(
    task: tuple[Settings, int, tuple[int, ...], int, int],
) -> dict[str, dict[str, Any]]:
    """One seed: variant → figures, and the curve as ``x`` and ``y``."""
    settings, states, hidden, each, seed = task
    data, entry, _ = load(settings)
    found = {}
    for name, (kept, metaplastic) in VARIANTS.items():
        rule = scratch_rule(
            states, each, hidden, halve_every=None, metaplastic=metaplastic, seed=seed
        )
        session = Session.scratch(entry, hidden, data.classes, rule, settings)
        matrix, x, y = _tasks(session, data, each, kept)
        last = matrix[-1]
        found[name] = {
            "accuracy_matrix": matrix.tolist(),
            "avg_accuracy": float(last.mean()),
            "backward_transfer": float((last - matrix.diagonal())[:-1].mean()),
            "forgetting": float((matrix.max(axis=0) - last)[:-1].mean()),
            "replay_bytes": kept * data.classes * _bytes(entry),
            **session.facts(),
            "x": x,
            "y": y,
        }
    return found


def _tasks(
    session: Session, data: Dataset, each: int, kept: int
) -> tuple[NDArray[np.float64], list[float], list[float]]:
    """Learn all tasks: the matrix R, and the mean over seen tasks after each."""
    size, seed = data.classes // TASKS, session.rule.seed
    matrix = np.zeros((TASKS, TASKS))
    memory = np.zeros(0, np.int64)
    x, y = [], []
    for task in range(TASKS):
        classes = range(task * size, (task + 1) * size)
        own = np.flatnonzero(np.isin(data.train_labels, classes))
        own = np.resize(own[order(len(own), seed, task)], each)
        stream = own
        if len(memory):  # one old sample after each new one
            old = memory[order(each, 1 + 100 * seed, task) % len(memory)]
            stream = np.stack([own, old], axis=1).ravel()
        _learn(session, data, stream)
        if kept:
            of_class = [own[data.train_labels[own] == c][:kept] for c in classes]
            memory = np.concatenate([memory, *of_class])
            for turn in range(REVIEWS):
                _learn(
                    session,
                    data,
                    memory[order(len(memory), 2 + turn + 100 * seed, task)],
                )
        predictions = session.predict(data.test_images)
        for other in range(TASKS):
            asked = np.isin(data.test_labels, range(other * size, (other + 1) * size))
            matrix[task, other] = (predictions == data.test_labels)[asked].mean()
        x.append(float(task + 1))
        y.append(100 * float(matrix[task, : task + 1].mean()))
    return matrix, x, y


def _images(data: Dataset, each: int) -> int:
    """Different images of all tasks: a task with fewer than it asks for shows some again."""
    size = data.classes // TASKS
    tasks = data.train_labels // size
    return sum(min(each, int((tasks == task).sum())) for task in range(TASKS))


def _learn(session: Session, data: Dataset, which: NDArray[Any]) -> None:
    session.learn(data.train_images[which], data.train_labels[which])


def _bytes(entry: Input) -> int:
    """Bytes of a stored sample: two bits a ternary pixel, and a byte for the label."""
    return -(-2 * entry.size // 8) + 1


SCENARIO = Scenario(
    name="class-incremental",
    text="ten classes, two at a time, with and without replay",
    takes=("states", "hidden", "samples", "seeds"),
    run=run,
)
