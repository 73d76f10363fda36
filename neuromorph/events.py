"""Counts: how often each action happened, for every sample, core and layer.

An engine counts integers and nothing else; joules come later by one
multiplication (:mod:`neuromorph.energy`).  The *rows* of a table are the
slices of a mapping (one layer on one core), plus row 0 for the input port.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import MissingDependencyError, SimulationError

__all__ = [
    "ACTIONS",
    "HOPS",
    "LEARNING_ACTIONS",
    "Counts",
    "Dataflow",
    "Hardware",
    "data_frame",
    "format_table",
    "html_table",
    "plural",
    "tally_columns",
]

# Who fetches what, see neuromorph.mapping.dataflow.
Dataflow = Literal["scatter", "gather", "dense", "stationary"]

# The actions of one inference, in the order of every table and file.
ACTIONS: dict[str, str] = {
    "spike_out": "spikes leaving a neuron (a bitplane input sends one for each set bit)",
    "packet_out": "packets of spikes sent: one for each destination core, or for all (multicast)",
    "spike_in": "spikes arriving at a core",
    "token_out": "end-of-frame tokens sent, likewise",
    "token_in": "end-of-frame tokens arriving",
    "barrier": "global steps a core takes part in",
    "hop_x": "links crossed between columns of a chip, by all packets",
    "hop_y": "links crossed between rows of a chip, by all packets",
    "hop_local": "deliveries from a router to one of its cores",
    "fifo_push": "packets entering the input queue of a core",
    "fifo_pop": "packets leaving it",
    "axon_read": "axon-table look-ups, one a spike",
    "weight_read_bits": "bits of synapse memory fetched, stored zeros included",
    "gate_check": "fetched weights (and, in gather, buffered levels) tested for zero",
    "xnor_event": "synaptic events of a level ±1 and a weight ±1",
    "graded_event": "synaptic events with a magnitude above one",
    "skip_act": "synapses at rest because the level is zero: never fetched",
    "skip_weight": "synapses at rest because the weight is zero",
    "acc_add": "additions into an accumulator: synaptic events and partial sums",
    "state_read_bits": "accumulator bits read",
    "state_write_bits": "accumulator bits written",
    "neuron_update_active": "neurons thresholded or read out after at least one event",
    "neuron_update_idle": "neurons thresholded or read out without any event",
    "threshold_cmp": "comparisons of a sum with a threshold; in fixed point three a neuron",
    "pool_cmp": "comparisons of levels in a max-pool",
    "popcount": "pairs of ±1 summed by an adder tree",
    "multiply": "multiplications, 8 × 8 bits each, where weight and level may both exceed one",
    "mac_float": "multiply-accumulates in float32, of a float baseline",
    "register_write_bits": "bits of sums or inputs written to registers",
    "act_read_bits": "bits of the input buffer read",
    "act_write_bits": "bits of the input buffer written",
    "partial_out": "partial sums that are not zero, sent to the core that owns the neuron",
    "partial_in": "partial sums arriving",
    "hop_chip": "links crossed from chip to chip, by all packets",
}

# Links, by what crossing one counts as: along x, along y, from chip to chip.
HOPS = ("hop_x", "hop_y", "hop_chip")

# What learning does beside the inference it learns from; a table of its own, so that
# inference alone never carries it.
LEARNING_ACTIONS: dict[str, str] = {
    "margin_cmp": "comparisons of sums that find the rival and the margin",
    "centre_update": "running means and spreads moved, one a neuron and sum",
    "error_event": "errors: neurons whose error is not zero",
    "error_packet": "errors, partial sums of errors and labels sent, one for each destination core",
    "error_hop": "links crossed by them",
    "transposed_read_bits": "bits of synapse memory fetched to carry errors back",
    "error_add": "additions of an error into a partial sum",
    "window_cmp": "comparisons of a sum with the window around its thresholds",
    "dst_attempt": "synapses where a non-zero level meets a non-zero error",
    "prng_bits": "random bits drawn",
    "lut_read": "look-ups of a transition probability",
    "synapse_read_bits": "bits of synapse states read by attempts",
    "dst_transition": "synapse states that moved",
    "weight_write_bits": "bits of synapse states written",
    "accumulator_bits": "bits of mini-batch accumulators read and written",
}

# What a printed table shows.
_COLUMNS = ("spike_in", "xnor_event", "graded_event", "skip_act", "skip_weight", "spike_out")
_LEARNING_COLUMNS = ("error_event", "error_packet", "dst_attempt", "dst_transition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The facts about a chip that prices need beside the counts."""

    chip: str
    dataflow: Dataflow
    tick_s: float
    cores_used: int
    synapse_memory_bits: int
    state_memory_bits: int
    axon_memory_bits: int
    chips: int = 1  # joined on a board


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """Integer tallies: sample × row × action, of inference or of learning.

    Two Counts are equal when labels and tallies are; time does not take part,
    since only the timed mode knows it.  Arrays are taken over, not copied, and
    made read-only.

    Parameters
    ----------
    values : int64 array, shape (samples, rows, actions)
        Actions in the order of ``actions``.
    layers : sequence of str, one a row
        Layer of each row; row 0 is ``"input"``.
    cores : int array, one a row
        Core of each row; −1 for the input port.
    pairs : int64 array, one a row
        Dense synaptic pairs of one sample: what a network without zeros costs.
    hardware : Hardware
    ticks : int, optional
        Simulated time from the first injection to the last read-out.
    active_ticks : int64 array, one a row, optional
        Ticks in which the core was busy, summed over the run.
    inferences : int, optional
        Given, ``values`` is one table of sums over so many samples.
    actions : sequence of str
        Names of the last axis: those of :data:`ACTIONS`, or of
        :data:`LEARNING_ACTIONS`.

    Raises
    ------
    SimulationError
        Arrays that are not integers or do not fit together, a negative tally,
        or, of inference, one that breaks xnor + graded + skip_act + skip_weight
        = pairs.
    """

    values: NDArray[np.int64]
    layers: tuple[str, ...]
    cores: NDArray[np.int64]
    pairs: NDArray[np.int64]
    hardware: Hardware
    ticks: int | None = None
    active_ticks: NDArray[np.int64] | None = field(default=None)
    inferences: int | None = None
    actions: tuple[str, ...] = tuple(ACTIONS)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "actions", tuple(self.actions))
        if self.actions not in (tuple(ACTIONS), tuple(LEARNING_ACTIONS)):
            raise SimulationError(
                f"counts are of {', '.join(self.actions[:3])}, …; they must be of all actions of "
                "inference (ACTIONS) or all of learning (LEARNING_ACTIONS), in their order"
            )
        for what in ("values", "cores", "pairs", "active_ticks"):
            given = getattr(self, what)
            if given is None and what == "active_ticks":
                continue
            array = np.asarray(given)
            if array.dtype.kind not in "iu":
                raise SimulationError(f"{what} of counts have dtype {array.dtype}; need integers")
            array = array.astype(np.int64, copy=False)
            array.setflags(write=False)
            object.__setattr__(self, what, array)
        rows = len(self.layers)
        if self.values.ndim != 3 or self.values.shape[1:] != (rows, len(self.actions)):
            raise SimulationError(
                f"counts have shape {list(self.values.shape)}; need [samples, {rows}, "
                f"{len(self.actions)}]"
            )
        for what in ("cores", "pairs", "active_ticks"):
            array = getattr(self, what)
            if array is not None and array.shape != (rows,):
                raise SimulationError(
                    f"{what} of counts have shape {list(array.shape)}; there are {rows} rows"
                )
        if self.inferences is not None and (len(self.values) != 1 or self.inferences < 1):
            raise SimulationError(
                f"counts sum up {self.inferences} inferences in {len(self.values)} tables; need at "
                "least one inference in one table"
            )
        if self.values.size and int(self.values.min()) < 0:
            raise SimulationError("counts hold a negative tally")
        if self.actions == tuple(ACTIONS):
            self._check_pairs()

    def _check_pairs(self) -> None:
        parts = ("xnor_event", "graded_event", "skip_act", "skip_weight")
        found = np.stack([self[part] for part in parts]).sum(axis=0)
        pairs = self.pairs * (self.inferences or 1)
        wrong = found != pairs
        if wrong.any():
            sample, row = (int(i) for i in np.argwhere(wrong)[0])
            raise SimulationError(
                f"counts of sample {sample}, layer {self.layers[row]!r}, core "
                f"{int(self.cores[row])} do not add up: events and rests are "
                f"{int(found[sample, row])}, pairs are {int(pairs[row])}"
            )

    def __getitem__(self, action: str) -> NDArray[np.int64]:
        """Tallies of one action, shape (samples, rows)."""
        if action not in self.actions:
            raise KeyError(f"no action {action!r}; actions are {', '.join(self.actions)}")
        return self.values[:, :, self.actions.index(action)]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Counts)
            and self.actions == other.actions
            and self.layers == other.layers
            and self.inferences == other.inferences
            and np.array_equal(self.cores, other.cores)
            and np.array_equal(self.pairs, other.pairs)
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment]  # mutable-sized tables are no keys

    def __len__(self) -> int:
        return self.samples

    @property
    def samples(self) -> int:
        """Number of inferences."""
        return len(self.values) if self.inferences is None else self.inferences

    def total(self, action: str) -> int:
        """One action summed over everything."""
        return int(self[action].sum())

    def per_inference(self, action: str) -> float:
        """Mean of one action over the samples."""
        return self.total(action) / self.samples if self.samples else 0.0

    @property
    def events(self) -> int:
        """Synaptic events: XNOR and graded."""
        return self.total("xnor_event") + self.total("graded_event")

    @property
    def resting_fraction(self) -> float:
        """Share of dense pairs that make no event."""
        dense = int(self.pairs.sum()) * self.samples
        return 1.0 - self.events / dense if dense else 0.0

    def by_layer(self) -> dict[str, NDArray[np.int64]]:
        """Totals over samples and cores: layer → (actions,)."""
        totals = self.values.sum(axis=0)
        return {
            layer: totals[[i for i, name in enumerate(self.layers) if name == layer]].sum(axis=0)
            for layer in dict.fromkeys(self.layers)
        }

    def by_core(self) -> dict[int, NDArray[np.int64]]:
        """Totals over samples and layers: core → (actions,); −1 is the input port."""
        totals = self.values.sum(axis=0)
        return {int(c): totals[self.cores == c].sum(axis=0) for c in dict.fromkeys(self.cores)}

    def resting_by_layer(self) -> dict[str, float]:
        """Resting fraction of every layer that has synapses."""
        result = {}
        xnor, graded = (self.actions.index(a) for a in ("xnor_event", "graded_event"))
        for layer, totals in self.by_layer().items():
            dense = self.samples * sum(
                int(p) for name, p in zip(self.layers, self.pairs) if name == layer
            )
            if dense:
                events = int(totals[xnor] + totals[graded])
                result[layer] = 1.0 - events / dense
        return result

    @staticmethod
    def join(parts: Sequence[Counts]) -> Counts:
        """Counts of several batches of one mapping, end to end; time is dropped.

        If one of them is :meth:`summed`, so is the result.

        Raises
        ------
        SimulationError
            No parts, or parts of different mappings.
        """
        if not parts:
            raise SimulationError("no counts to join")
        for place, part in enumerate(parts):
            if (
                part.actions != parts[0].actions
                or part.layers != parts[0].layers
                or not np.array_equal(part.cores, parts[0].cores)
                or not np.array_equal(part.pairs, parts[0].pairs)
                or part.hardware != parts[0].hardware
            ):
                raise SimulationError(
                    f"counts at position {place} are of another mapping than the first; "
                    "only batches of one mapping can be joined"
                )
        if any(p.inferences is not None for p in parts):
            values = np.stack([p.values.sum(axis=0) for p in parts]).sum(axis=0, keepdims=True)
            inferences = sum(p.samples for p in parts)
        else:
            values, inferences = np.concatenate([p.values for p in parts]), None
        return replace(
            parts[0], values=values, ticks=None, active_ticks=None, inferences=inferences
        )

    def summed(self) -> Counts:
        """The sums over all samples in one table: the same totals in bounded memory.

        Raises
        ------
        SimulationError
            There are no samples.
        """
        values = self.values.sum(axis=0, keepdims=True)
        return replace(self, values=values, inferences=self.samples)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, a line a sample and row.

        Columns ``sample``, ``layer``, ``core`` (−1 for the input port) and the actions.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return data_frame(tally_columns(self.values, self.layers, self.cores, self.actions))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """(header, rows) of means over the samples: a row a layer, the main actions."""
        learning = self.actions == tuple(LEARNING_ACTIONS)
        columns = _LEARNING_COLUMNS if learning else _COLUMNS
        places = [self.actions.index(c) for c in columns]
        n = max(self.samples, 1)
        rest = {} if learning else self.resting_by_layer()
        rows = [
            [
                layer,
                *(f"{totals[place] / n:,.1f}" for place in places),
                *([] if learning else [f"{rest[layer]:.1%}" if layer in rest else ""]),
            ]
            for layer, totals in self.by_layer().items()
        ]
        return ["layer", *columns, *([] if learning else ["resting"])], rows

    @property
    def _caption(self) -> str:
        return f"counts per inference, mean of {self.samples} on {self.hardware.chip}"

    def __str__(self) -> str:
        return f"{self._caption}\n{format_table(*self.table())}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, *self.table())


def tally_columns(
    values: NDArray[np.int64], layers: Sequence[str], cores: ArrayLike, actions: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Tallies (samples, rows, actions) as columns, a line a sample and row."""
    samples, rows = values.shape[:2]
    return {
        "sample": np.repeat(np.arange(samples), rows),
        "layer": np.tile(np.asarray(layers), samples),
        "core": np.tile(np.asarray(cores), samples),
        **{action: values[:, :, i].ravel() for i, action in enumerate(actions)},
    }


def data_frame(data: Any, columns: Sequence[str] | None = None) -> Any:
    """A ``pandas.DataFrame``.

    Raises
    ------
    MissingDependencyError
        pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise MissingDependencyError(
            "to_pandas needs pandas, which is not installed; run: pip install 'neuromorph[export]'"
        ) from None
    return pandas.DataFrame(data, columns=None if columns is None else list(columns))


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same as an HTML table, for notebooks; every cell is escaped."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f"<table>{f'<caption>{escape(caption)}</caption>' if caption else ''}"
        f"<thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
    )


def plural(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> plural(1, "seed"), plural(1200, "seed")
    ('1 seed', '1,200 seeds')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Plain-text table: first column left, others right aligned."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])
