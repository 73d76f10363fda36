"""What scenarios share: settings, a session that learns and is measured, results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.chip import load_chip
from neuromorph.data import Dataset, load_data
from neuromorph.energy import EnergyReport, estimate_energy, format_joules, load_prices
from neuromorph.errors import LearningError, RecipeError
from neuromorph.events import Counts, format_table
from neuromorph.learning.loop import Learned, learn, map_for
from neuromorph.learning.record import Recorder
from neuromorph.mapping import Mapping
from neuromorph.network import Input, Network, load_network
from neuromorph.plasticity import ErrorPath, Plastic, Rule, fresh
from neuromorph.simulation import simulate
from neuromorph.workers import ALONE, Workers

__all__ = [
    "Curve",
    "Images",
    "Result",
    "Scenario",
    "Session",
    "Settings",
    "hand_over_rule",
    "joules",
    "load",
    "log_marks",
    "mean_facts",
    "mean_sd",
    "order",
    "over_seeds",
    "percent",
    "scratch_rule",
    "spread",
    "trained",
    "turns",
]

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

# Thresholds at which raw pixels become ternary levels.
INPUTS = {"mnist": (0, 80), "digits": (5, 11)}
ORDER_DRAWS = 0x60000
_HIDDEN_WEIGHT_BITS = 2 + 32 + 64  # the weight, its float shadow, Adam's two moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a scenario may be told; None leaves its own choice.

    ``data`` is the name of a data set, or None for MNIST where it is there and
    the built-in digits where not; ``folder`` where to look.  ``samples`` is
    how many different images the stream has, ``passes`` how often it shows each;
    with ``seeds`` they shorten or lengthen a run.  ``filters`` are fixed random
    ones in front.  ``trace`` is a file for the learning record of the last seed.
    ``workers`` do the seeds.
    """

    data: str | None = None
    folder: str | None = None
    states: int | None = None
    hidden: tuple[int, ...] | None = None
    error: ErrorPath | None = None
    samples: int | None = None
    passes: int | None = None
    filters: int | None = None
    seeds: int | None = None
    trace: Path | None = None
    chip: str = "gxnor45"
    prices: str = "horowitz45"
    workers: Workers = ALONE


class Curve(NamedTuple):
    """A line of the picture: ``y`` in per cent over ``x``."""

    label: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a scenario found: a record for programs, tables for readers, curves."""

    record: dict[str, Any]
    tables: tuple[tuple[str, Sequence[str], Sequence[Sequence[str]]], ...]
    curves: tuple[Curve, ...]
    title: str
    x_label: str = "samples learned"
    y_label: str = "validation accuracy, %"
    log_x: bool = True
    log_y: bool = False
    notes: tuple[str, ...] = ()
    network: Network | None = None  # what was learned, where it is one network

    def __str__(self) -> str:
        parts = [f"{title}\n{format_table(header, rows)}" for title, header, rows in self.tables]
        return "\n\n".join([*parts, *self.notes])


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A name, one sentence, which settings it takes, and the function that runs it."""

    name: str
    text: str
    takes: tuple[str, ...]
    run: Callable[[Settings], Result] = field(repr=False)


def load(settings: Settings) -> tuple[Dataset, Input, str]:
    """The data set, the input layer for it, and a note where digits stand in for MNIST."""
    note = ""
    if settings.data is None:
        try:
            data = load_data("mnist", settings.folder)
        except RecipeError:
            data = load_data("digits")
            note = "MNIST was not found (NEUROMORPH_DATA); the built-in digits stand in for it"
    else:
        data = load_data(settings.data, settings.folder)
    if data.name not in INPUTS:
        raise LearningError(
            f"data set {data.name!r} has no ternary form here; use {' or '.join(INPUTS)}"
        )
    return data, Input(shape=data.shape, encoding="ternary", thresholds=INPUTS[data.name]), note


def order(count: int, seed: int, turn: int) -> NDArray[np.int64]:
    """A permutation keyed by seed and turn."""
    return np.argsort(draws.uniform(seed, ORDER_DRAWS, turn, np.arange(count)), kind="stable")


def turns(images: int, count: int, seed: int, passes: int) -> list[NDArray[np.int64]]:
    """For each pass the order in which the same ``count`` of the images are shown."""
    orders = [order(images, seed, turn) for turn in range(passes)]
    chosen = np.zeros(images, bool)
    chosen[orders[0][:count]] = True
    return [shown[chosen[shown]] for shown in orders]


def log_marks(total: int, first: int = 100) -> list[int]:
    """Numbers of samples at which to look: 1, 2, 5 times powers of ten, and the end."""
    marks = [int(m * 10**p) for p in range(1, 8) for m in (1, 2, 5)]
    return [m for m in marks if first <= m < total] + [total]


def scratch_rule(
    states: int, samples: int, hidden: Sequence[int], *, passes: int = 1, **changes: Any
) -> Rule:
    """The rule for random synapses, tuned on the validation images of MNIST.

    Its rates fall to 1/32 over so many passes through a stream of so many
    samples; its margin grows with the root of the last hidden layer, as the sums
    of the read-out do.  Where several hidden layers learn in several passes,
    rates are lower, and gaps and margin narrower.
    """
    root, halve_every = hidden[-1] ** 0.5, max(1, samples * passes // 5)
    rule = Rule(states=states, halve_every=halve_every, margin=round(1.8 * root))
    if len(hidden) > 1 and passes > 1:
        rule = replace(
            rule, rate=0.007, readout_rate=0.003, threshold=4, pulse=18, margin=round(1.4 * root)
        )
    return replace(rule, **changes)


def hand_over_rule(settings: Settings, network: Network, samples: int) -> Rule:
    """The rule for a network that was trained elsewhere, tuned likewise."""
    return Rule(
        states=settings.states or 63,
        error=settings.error or "sign",
        centring="frozen",
        margin=round(3.5 * network.stages[-1].inputs ** 0.5),
        rate=0.01,
        readout_rate=0.01,
        halve_every=max(1, samples // 3),
    )


def trained(settings: Settings, data: Dataset, entry: Input) -> tuple[Network, tuple[str, ...]]:
    """A network that knows the data: mnist-mlp-gxnor, or one learned on the chip, said so."""
    if data.name == "mnist":
        return load_network("mnist-mlp-gxnor"), ()
    passes, count = 10, len(data.train_images)
    hidden = (128,)
    rule = scratch_rule(63, count, hidden, passes=passes)
    session = Session.scratch(entry, hidden, data.classes, rule, settings)
    for turn in range(passes):
        which = order(count, 0, turn)
        session.learn(data.train_images[which], data.train_labels[which])
    note = "the network was learned on the chip: none trained off it is linear and for this data"
    return session.network("digits-learned"), (note,)


def joules(value: float | None) -> str:
    """Energy as the tables show it."""
    return "no price" if value is None else format_joules(value)


def spread(shares: Sequence[float]) -> str:
    """Mean ± standard deviation, per cent."""
    mean, sd = mean_sd(shares)
    return percent(mean) + ("" if sd is None else f" ± {percent(sd)}")


def percent(share: float) -> str:
    """A share as the tables show it."""
    return f"{share:.2%}"


def mean_facts(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of several seeds: means, and the most writes of any."""
    return {**_mean(facts), "writes_max": max(one["writes_max"] for one in facts)}


def over_seeds(found: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of several seeds the mean of every entry; beside what was asked for its spread, ``_sd``."""
    means = {}
    for name in found[0]:
        ones = [one[name] for one in found]
        means[name] = mean_facts(ones)
        for key in ("accuracy", "avg_accuracy", "recovery_ratio"):
            if means[name].get(key) is not None:
                means[name][f"{key}_sd"] = mean_sd([one[key] for one in ones])[1]
    return means


def _mean(values: Sequence[Any]) -> Any:
    """Mean, entry by entry; what is the same for all stays; None where one has none."""
    first = values[0]
    if None in values:
        return None
    if isinstance(first, dict):
        return {key: _mean([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [_mean(column) for column in zip(*values)]
    if all(value == first for value in values):
        return first
    return float(np.mean(values))


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation of a sample where there are two or more."""
    array = np.array(values)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


class Session:
    """A network that goes on learning on a chip, measured in between.

    Parameters
    ----------
    state : Plastic
    rule : Rule
    settings : Settings
        Its chip and prices.
    """

    def __init__(self, state: Plastic, rule: Rule, settings: Settings) -> None:
        self.state, self.rule = state, rule
        self.mapping: Mapping = map_for(
            state.network("learner"), load_chip(settings.chip), rule, fixed=state.fixed
        )
        self.prices = load_prices(settings.prices)
        self.learned: list[Learned] = []
        self._recorder: Recorder | None = None

    @staticmethod
    def scratch(
        entry: Input, hidden: Sequence[int], classes: int, rule: Rule, settings: Settings
    ) -> Session:
        """Random states."""
        state = fresh(entry, hidden, classes, rule, filters=settings.filters or 0)
        return Session(state, rule, settings)

    @staticmethod
    def handed_over(network: Network, rule: Rule, settings: Settings) -> Session:
        """A network trained elsewhere goes on."""
        return Session(Plastic.of(network, rule), rule, settings)

    def learn(self, images: Images, labels: Labels) -> Learned:
        """Learn samples in the order given."""
        stream = images, labels
        found = learn(self.mapping, stream, rule=self.rule, state=self.state, trace=self._recorder)
        self.state = found.state
        self.learned.append(found)
        return found

    @contextmanager
    def recorded(self, path: Path | None) -> Iterator[None]:
        """Write all that is learned meanwhile as one learning record; None: nothing."""
        if path is None:
            yield
            return
        before = len(self.learned)
        with Recorder(path, self.mapping, self.rule, self.state) as self._recorder:
            yield
            parts = self.learned[before:]
            whole = replace(
                parts[-1],
                predictions=np.concatenate([part.predictions for part in parts]),
                labels=np.concatenate([part.labels for part in parts]),
                inference=Counts.join([part.inference for part in parts]),
                learning=Counts.join([part.learning for part in parts]),
            )
            self._recorder.finish(whole)
        self._recorder = None

    def follow(
        self,
        images: Images,
        labels: Labels,
        marks: Iterable[int],
        measure: Callable[[Session], float],
    ) -> tuple[list[float], list[float]]:
        """Learn, and measure at each mark: (samples, what was measured)."""
        done, x, y = 0, [], []
        for mark in marks:
            if mark > done:
                self.learn(images[done:mark], labels[done:mark])
            done = mark
            x.append(float(mark))
            y.append(measure(self))
        return x, y

    def network(self, name: str = "learner") -> Network:
        """The network as it stands."""
        return self.state.network(name)

    def predict(self, images: Images) -> NDArray[np.int64]:
        """Predictions of the network as it stands, dead neurons silent."""
        return simulate(self.mapping_of(self.state), images).predictions

    def mapping_of(self, state: Plastic) -> Mapping:
        """The mapping with the network as a state has it; slices stay."""
        return replace(self.mapping, network=state.network("learner"))

    def accuracy(self, images: Images, labels: Labels) -> float:
        """Share of samples the network as it stands predicts as labelled."""
        return float((self.predict(images) == labels).mean())

    @property
    def samples(self) -> int:
        """Samples learned in this session."""
        return sum(len(found) for found in self.learned)

    @property
    def counts(self) -> tuple[Counts, Counts]:
        """Counts of inference and learning over the session."""
        return (
            Counts.join([found.inference for found in self.learned]),
            Counts.join([found.learning for found in self.learned]),
        )

    @property
    def energy(self) -> tuple[EnergyReport, EnergyReport]:
        """Energy a sample of inference and of learning, dynamic."""
        inference, learning = self.counts
        return estimate_energy(inference, self.prices), estimate_energy(learning, self.prices)

    def facts(self) -> dict[str, Any]:
        """Metrics of the session under their usual names.

        ``samples`` are those learned: an image counts each time it is shown.
        """
        inference, learning = self.counts
        last = self.learned[-1]
        names = ("inference", "learning")
        joules = [report.figures["dynamic"] for report in self.energy]
        attempts = learning.total("dst_attempt")
        return {
            "samples": self.samples,
            "attempts_per_sample": learning.per_inference("dst_attempt"),
            "transitions_per_sample": learning.per_inference("dst_transition"),
            "transition_rate": learning.total("dst_transition") / attempts if attempts else 0.0,
            "error_events_per_sample": learning.per_inference("error_event"),
            "error_hops_per_sample": learning.per_inference("error_hop"),
            "prng_bits_per_sample": learning.per_inference("prng_bits"),
            "xnor_events_per_sample": inference.per_inference("xnor_event"),
            "writes_max": last.writes_max,
            "writes_mean": last.writes_mean,
            "weight_density": self._density(),
            "bits_per_synapse": last.bits_per_synapse,
            "bits_per_synapse_hidden_weights": _HIDDEN_WEIGHT_BITS,
            "energy_j_per_sample": {
                name: None if figure is None else figure.nominal
                for name, figure in zip(names, joules)
            },
            "energy_range_j_per_sample": {
                name: None if figure is None else [figure.p10, figure.p90]
                for name, figure in zip(names, joules)
            },
        }

    def _density(self) -> float:
        weights = [self.state.weights(i) for i in range(len(self.state.layers))]
        return float(sum((w != 0).sum() for w in weights) / sum(w.size for w in weights))
