"""A network as Brian2 objects, an engine nobody here wrote: twin of ``counting`` for cross-checks.

One tick of a Brian2 clock is one layer step, so the network is a pipeline
that takes a sample a tick: what enters in tick s leaves layer k in tick s + k.
Within a tick, in the order of Brian2's slots:

    start              the input layer takes what arrived, and clears it
    groups             each neuron turns its sum into a level, and clears the sum
    before_thresholds  a pool takes the largest level of each window
    thresholds         a level that is not zero is a spike
    synapses           each spike adds weight · level to the sums behind its synapses

A layer that hears one further back hears it through relays: a group that takes, at the very
start of a tick, the levels of the tick before, one for each layer in between.

Only synapses with a non-zero weight exist.  Every quantity is an integer, so
Brian2's ``numpy``, ``cython`` and ``cpp_standalone`` targets must all agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import MissingDependencyError, SimulationError
from neuromorph.mapping import Mapping, Tally
from neuromorph.network import Network, Pool, Stage
from neuromorph.reference.counting import tally

__all__ = ["Brian2Network", "build", "count", "require_brian2", "require_runtime"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Brian2Network:
    """A network in Brian2: its objects by layer, and what they did.

    ``objects`` is a ``brian2.Network`` of everything below; add front-ends and
    monitors of your own to it.  ``input`` is the ``NeuronGroup`` that takes
    samples: without samples, spikes of a front-end add to its ``arrived``.
    ``neurons``, ``senders`` and ``synapses`` are by layer name: the neurons,
    the group whose spikes leave (the pool if there is one), the synapses (none
    where every weight is zero; of a layer that joins several sources under
    ``"layer/source"`` for each).
    """

    network: Network
    tick_s: float
    objects: Any
    input: Any
    neurons: dict[str, Any]
    senders: dict[str, Any]
    synapses: dict[str, Any]
    _levels: dict[str, Any] = field(repr=False)
    _raw: Any = field(repr=False)
    _sums: Any = field(repr=False)

    def run(self, samples: int) -> None:
        """Run until that many samples, one a tick, have left the last layer."""
        import brian2

        ticks = samples + len(self.network.stages)
        self.objects.run(ticks * self.tick_s * brian2.second, namespace={})

    @property
    def samples(self) -> int:
        """Samples that have left the last layer."""
        return max(len(self._sums.t) - len(self.network.stages), 0)

    def raw(self) -> NDArray[np.int64]:
        """What the input took in each tick, (samples, *shape): the raw samples of a front-end."""
        taken = _history(self._raw, "raw")[: self.samples]
        return taken.reshape(-1, *self.network.input.shape)

    def levels(self, layer: str) -> NDArray[Any]:
        """Levels that left a layer, (samples, neurons), put together from its spikes."""
        place = [s.name for s in self.network.stages].index(layer) + 1
        stage, monitor = self.network.stages[place - 1], self._levels[layer]
        tick = np.rint(np.asarray(monitor.t_) / self.tick_s).astype(np.int64) - place
        inside = (tick >= 0) & (tick < self.samples)
        assert stage.levels is not None
        levels = np.zeros((self.samples, stage.outputs), stage.levels.dtype)
        neuron = np.asarray(monitor.i)
        levels[tick[inside], neuron[inside]] = np.asarray(monitor.level)[inside]
        return levels

    def outputs(self) -> NDArray[Any]:
        """Sums of the last layer, (samples, classes)."""
        sums = _history(self._sums, "output")[len(self.network.stages) :]
        return sums.astype(self.network.stages[-1].sum_dtype)


def require_brian2() -> Any:
    """The module ``brian2``.

    Raises
    ------
    MissingDependencyError
        It is not installed, or does not import with the NumPy that is.
    """
    try:
        import brian2
    except Exception as error:
        try:
            pair = f"Brian2 {version('brian2')} and NumPy {np.__version__}"
        except PackageNotFoundError:
            raise MissingDependencyError(
                "Brian2 is not installed; run: pip install 'neuromorph[brian2]'"
            ) from None
        raise MissingDependencyError(
            f"{pair} do not work together ({error}); Brian2 2.9 needs NumPy below 2.4: "
            "pip install 'numpy<2.4'"
        ) from error
    return brian2


def require_runtime() -> None:
    """Refuse to run here what Brian2 is set to build as a program of its own."""
    brian2 = require_brian2()
    if not isinstance(brian2.get_device(), brian2.devices.RuntimeDevice):
        raise SimulationError(
            "Brian2 is set to build a stand-alone program; use to_brian2 for that, "
            "or brian2.set_device('runtime') first"
        )


def count(mapping: Mapping, inputs: NDArray[Any]) -> Tally:
    """Run encoded inputs (batch, size) in Brian2 and count the events of its levels.

    Raises
    ------
    MissingDependencyError
        Brian2 is not installed.
    SimulationError
        Brian2 is set to build a stand-alone program.
    """
    require_runtime()
    built = build(mapping.network, inputs)
    built.run(len(inputs))
    firing = [s.name for s in mapping.network.stages if not s.is_readout]
    return tally(mapping, inputs, [built.levels(name) for name in firing], built.outputs())


def build(
    network: Network, inputs: NDArray[Any] | None = None, tick_s: float = 1e-3
) -> Brian2Network:
    """Brian2 objects of a network, fed with encoded inputs (batch, size) or open to a front-end."""
    b2 = require_brian2()
    clock = b2.Clock(dt=tick_s * b2.second)
    entry = _input_group(network, inputs, clock)
    objects, before = [entry], entry
    if network.input.spikes_per_neuron > 1:
        before = _plane_group(network, entry, clock)
        objects.append(before)
    # of the input and of each layer: what sends its spikes in time, one, two, … ticks late
    late = [[before]]
    neurons: dict[str, Any] = {}
    senders: dict[str, Any] = {}
    synapses: dict[str, Any] = {}
    monitors: dict[str, Any] = {}
    for k, stage in enumerate(network.stages, start=1):
        group = neurons[stage.name] = _neuron_group(stage, k, clock)
        objects.append(group)
        for source, (arriving, target, weight) in zip(stage.sources, _by_source(stage)):
            place = source.stage + 1
            while len(late[place]) < k - place:
                late[place].append(_relay_group(late[place][-1], len(late[place]), clock))
                objects.append(late[place][-1])
            if len(arriving):
                wires = _synapses(late[place][k - place - 1], group, k, clock)
                wires.connect(i=arriving, j=target)
                wires.weight = weight
                names = ["input", *neurons]
                name = f"{stage.name}/{names[place]}" if len(stage.sources) > 1 else stage.name
                synapses[name] = wires
                objects.append(wires)
        before = group
        if stage.pool is not None:
            before = _pool_group(stage, stage.pool, group, k, clock)
            objects.append(before)
        senders[stage.name] = before
        late.append([before])
        if not stage.is_readout:
            seen = b2.SpikeMonitor(before, variables="level", name=f"spikes{k}*")
            monitors[stage.name] = seen
            objects.append(seen)
    sums = b2.StateMonitor(before, "output", True, clock=clock, when="end", name="outputs*")
    objects.append(sums)
    raw = None
    if inputs is None:
        raw = b2.StateMonitor(entry, "raw", True, clock=clock, when="end", name="raw*")
        objects.append(raw)
    return Brian2Network(
        network=network,
        tick_s=tick_s,
        objects=b2.Network(objects),
        input=entry,
        neurons=neurons,
        senders=senders,
        synapses=synapses,
        _levels=monitors,
        _raw=raw,
        _sums=sums,
    )


def connections(stage: Stage) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(arriving spike, neuron, weight) of every synapse with a non-zero weight.

    Arriving spikes are numbered neuron · spikes of a neuron + plane.
    """
    _, height, width = stage.sum_shape
    sources: list[NDArray[Any]] = []
    targets: list[NDArray[Any]] = []
    weights: list[NDArray[Any]] = []
    each = stage.spikes_per_input
    for o, i, ky, kx in np.argwhere(stage.weights):
        y = np.arange(height) * stage.stride[0] + stage.taps(0)[ky]
        x = np.arange(width) * stage.stride[1] + stage.taps(1)[kx]
        rows = np.flatnonzero((y >= 0) & (y < stage.input_shape[1]))
        columns = np.flatnonzero((x >= 0) & (x < stage.input_shape[2]))
        here = (i * stage.input_shape[1] + y[rows][:, None]) * stage.input_shape[2] + x[columns]
        there = (o * height + rows[:, None]) * width + columns
        sources.append((here.reshape(-1, 1) * each + np.arange(each)).ravel())
        targets.append(np.repeat(there.ravel(), each))
        weights.append(np.full(len(targets[-1]), stage.weights[o, i, ky, kx], np.int32))
    if not sources:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
    return np.concatenate(sources), np.concatenate(targets), np.concatenate(weights)


def _by_source(
    stage: Stage,
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """As :func:`connections`, for each source by the number of the spike that leaves it."""
    arriving, target, weight = connections(stage)
    if not stage.joins:
        return [(arriving, target, weight)]
    found, each = [], stage.spikes_per_input
    neuron, plane = np.divmod(arriving, each)
    channel, row, column = np.unravel_index(neuron, stage.input_shape)
    for source in stage.sources:
        channels, height, width = source.shape
        mine = (channel >= source.first) & (channel < source.first + channels)
        at = (channel[mine] - source.first) * height + row[mine] // source.upsample
        at = at * width + column[mine] // source.upsample
        found.append((at * each + plane[mine], target[mine], weight[mine]))
    return found


def _input_group(network: Network, inputs: NDArray[Any] | None, clock: Any) -> Any:
    """The input neurons: a table of levels, or whatever a front-end adds up in a tick."""
    b2, entry = require_brian2(), network.input
    spikes = "level != 0" if entry.spikes_per_neuron == 1 else None
    namespace: dict[str, Any] = {}
    if inputs is not None:
        rested = np.concatenate([inputs, np.zeros_like(inputs[:1])]).astype(np.float64)
        namespace["samples"] = b2.TimedArray(rested, dt=clock.dt, name="samples*")
        equations, step = "level : integer", "level = int(samples(t, i))"
    else:
        equations = "arrived : integer\nraw : integer\nlevel : integer"
        if entry.thresholds is not None:
            low, high = entry.thresholds
            taken, level = "arrived", f"int(raw >= {high}) - int(raw < {low})"
        else:
            least = 0 if entry.encoding == "bitplane" else -entry.maximum
            taken, level = f"int(clip(arrived, {least}, {entry.maximum}))", "raw"
        step = f"raw = {taken}\nlevel = {level}\narrived = 0"
    group = b2.NeuronGroup(
        entry.size,
        equations,
        threshold=spikes,
        reset=spikes and "",
        clock=clock,
        namespace=namespace,
        name="input*",
    )
    group.run_regularly(step, when="start", clock=clock, name="input_take*")
    return group


def _plane_group(network: Network, entry: Any, clock: Any) -> Any:
    """Bit planes: neuron i · bits + b spikes with level 2**b where bit b of input i is set."""
    b2, bits = require_brian2(), network.input.spikes_per_neuron
    group = b2.NeuronGroup(
        entry.N * bits,
        "value : integer (linked)\npayload : integer (constant)\nlevel : integer",
        threshold="level != 0",
        reset="",
        clock=clock,
        name="planes*",
    )
    group.value = b2.linked_var(entry, "level", index=np.repeat(np.arange(entry.N), bits))
    group.payload = np.tile(2 ** np.arange(bits), entry.N)
    step = "level = ((value // payload) % 2) * payload"
    group.run_regularly(step, when="before_thresholds", clock=clock, name="planes_take*")
    return group


def _relay_group(before: Any, place: int, clock: Any) -> Any:
    """The levels of a group a tick later; the last of several takes first."""
    b2 = require_brian2()
    group = b2.NeuronGroup(
        before.N,
        "level : integer\nnext : integer (linked)",
        threshold="level != 0",
        reset="",
        clock=clock,
        name="relay*",
    )
    group.next = b2.linked_var(before, "level")
    group.run_regularly(
        "level = next", when="before_start", order=-place, clock=clock, name="relay_take*"
    )
    return group


def _neuron_group(stage: Stage, k: int, clock: Any) -> Any:
    """Neurons that turn sums into levels, or show them if they are read out."""
    b2 = require_brian2()
    wide = stage.sum_dtype
    if stage.levels is None:
        group = b2.NeuronGroup(
            stage.neurons,
            "sum : integer\noutput : integer",
            dtype={"sum": wide, "output": wide},
            clock=clock,
            name=f"layer{k}*",
        )
        step = "output = sum\nsum = 0"
    else:
        assert stage.directions is not None
        constants, step = _rounds(stage) if stage.rounding is not None else _climbs(stage)
        constants = {"direction": stage.directions.astype(np.int32), **constants}
        declared = "".join(f"\n{name} : integer (constant)" for name in constants)
        spikes = "level != 0" if stage.pool is None else None
        group = b2.NeuronGroup(
            stage.neurons,
            "sum : integer\nmoved : integer\nlevel : integer" + declared,
            dtype={"sum": wide, "moved": np.int64, "offset": np.int64},
            threshold=spikes,
            reset=spikes and "",
            clock=clock,
            name=f"layer{k}*",
        )
        each = stage.sum_shape[1] * stage.sum_shape[2]
        for name, values in constants.items():
            setattr(group, name, np.repeat(values, each))
        step = f"{step}\nsum = 0"
    group.run_regularly(step, when="groups", clock=clock, name=f"layer{k}_fire*")
    return group


def _climbs(stage: Stage) -> tuple[dict[str, NDArray[Any]], str]:
    """(constants, one a channel; statements) of levels by threshold."""
    assert stage.levels is not None
    assert stage.thresholds is not None
    edges = {f"edge{i + 1}": values for i, values in enumerate(stage.thresholds.T)}
    climbs = [f"level += {stage.levels.stride}*int(direction*sum >= {name})" for name in edges]
    return edges, "\n".join([f"level = -{stage.levels.maximum}", *climbs])


def _rounds(stage: Stage) -> tuple[dict[str, NDArray[Any]], str]:
    """The same of fixed point: limits first, so that what is divided is not negative."""
    rounding = stage.rounding
    assert rounding is not None
    step = 1 << rounding.shift
    span = (rounding.high - rounding.low) * step
    steps = [
        f"moved = direction*sum + offset - {rounding.low * step}",
        "moved = moved*int(moved > 0)",
        f"moved = moved + ({span} - moved)*int(moved > {span})",
        f"level = moved // {step} + {rounding.low}",
    ]
    return {"offset": rounding.offsets}, "\n".join(steps)


def _synapses(before: Any, after: Any, k: int, clock: Any) -> Any:
    """Synapses yet to be connected."""
    return require_brian2().Synapses(
        before,
        after,
        "weight : integer (constant)",
        on_pre="sum_post += weight*level_pre",
        clock=clock,
        name=f"synapses{k}*",
    )


def _pool_group(stage: Stage, pool: Pool, neurons: Any, k: int, clock: Any) -> Any:
    """The largest level of each window, the smallest where ``minimum`` is set."""
    b2 = require_brian2()
    (_, height, width), (channels, rows, columns) = stage.sum_shape, stage.output_shape
    taps = [(y, x) for y in range(pool.size[0]) for x in range(pool.size[1])]
    names = [f"tap{i + 1}" for i in range(len(taps))]
    linked = "".join(f"\n{name} : integer (linked)" for name in names)
    group = b2.NeuronGroup(
        stage.outputs,
        "level : integer\nuphill : integer (constant)" + linked,
        threshold="level != 0",
        reset="",
        clock=clock,
        name=f"pool{k}*",
    )
    group.uphill = np.repeat(np.where(pool.minimum, -1, 1).astype(np.int32), rows * columns)
    c, row, column = np.indices((channels, rows, columns)).reshape(3, -1)
    for name, (y, x) in zip(names, taps):
        place = (c * height + row * pool.stride[0] + y) * width + column * pool.stride[1] + x
        setattr(group, name, b2.linked_var(neurons, "level", index=place))
    larger = [f"level += int(uphill*{n} > level)*(uphill*{n} - level)" for n in names[1:]]
    step = "\n".join([f"level = uphill*{names[0]}", *larger, "level = uphill*level"])
    group.run_regularly(step, when="before_thresholds", clock=clock, name=f"pool{k}_take*")
    return group


def _history(monitor: Any, variable: str) -> NDArray[np.int64]:
    """What a StateMonitor saw, (ticks, neurons)."""
    values: NDArray[np.int64] = np.asarray(getattr(monitor, variable)).T.astype(np.int64)
    return values
