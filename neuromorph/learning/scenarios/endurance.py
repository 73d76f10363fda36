"""``endurance``: how often synapses are written, and how long a memory would last.

The most-written synapse decides.  What it shows: writes by number of states,
and the samples until the first synapse has been written as often as resistive
memories endure (between 10⁶ and 10⁹ writes are quoted; 10⁶ is taken).
"""

from __future__ import annotations

from neuromorph.events import plural
from neuromorph.learning.scenarios.common import (
    Curve,
    Result,
    Scenario,
    Session,
    Settings,
    load,
    log_marks,
    order,
    percent,
    scratch_rule,
)

__all__ = ["SCENARIO"]

ENDURANCE = 10**6  # writes
STATES = (3, 7, 15, 63)


def run(settings: Settings) -> Result:
    """Learn from scratch at a constant rate and count the writes."""
    data, entry, note = load(settings)
    hidden = settings.hidden or (256,)
    images, labels = data.train_images, data.train_labels
    count = min(settings.samples or 10_000, len(images))
    which = order(len(images), 0, 0)[:count]
    rows, curves, found = [], [], {}
    for states in (settings.states,) if settings.states else STATES:
        rule = scratch_rule(states, count, hidden, halve_every=None)
        session = Session.scratch(entry, hidden, data.classes, rule, settings)

        def measure(now: Session) -> float:
            return float(now.learned[-1].writes_max)

        x, y = session.follow(images[which], labels[which], log_marks(count), measure)
        curves.append(Curve(f"{states} states", x, y))
        facts = session.facts()
        lifetime = count * ENDURANCE // max(1, facts["writes_max"])
        accuracy = session.accuracy(data.test_images, data.test_labels)
        found[str(states)] = {"accuracy": accuracy, "samples_to_endurance": lifetime, **facts}
        rows.append(
            [
                str(states),
                percent(accuracy),
                f"{facts['writes_mean']:.2f}",
                f"{facts['writes_max']:,}",
                f"{facts['transitions_per_sample']:,.0f}",
                f"{lifetime:.2g}",
            ]
        )
    title = f"endurance on {data.name}: constant rate, hidden {hidden[0]}"
    header = ["states", "accuracy", "writes, mean", "writes, most", "writes/sample",
              "samples to 10⁶ writes"]  # fmt: skip
    return Result(
        record={
            "scenario": SCENARIO.name,
            "data": data.name,
            "hidden": list(hidden),
            "samples": count,
            "images": count,
            "states": found,
            "curves": [curve._asdict() for curve in curves],
        },
        tables=((f"{title}, {plural(count, 'sample')}", header, rows),),
        curves=tuple(curves),
        title=title,
        y_label="writes of the most-written synapse",
        log_y=True,
        notes=(note,) if note else (),
    )


SCENARIO = Scenario(
    name="endurance",
    text="writes of synapses, and how long a memory would last",
    takes=("states", "hidden", "samples"),
    run=run,
)
