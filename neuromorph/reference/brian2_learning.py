"""Learning as Brian2 events and synaptic equations, an engine nobody here wrote: for cross-checks.

States live in synapses, levels and errors are signed events.  With L layers a
sample takes 2 L + 3 ticks of a Brian2 clock, each a phase of it:

    0 … L         levels go forward, a layer a tick: sum += w · level
    L             read-out neurons compare their scores, all to all
    L + 1         the rival knows that it is, and whether it lacks the margin;
                  it tells the label: errors +1 and −1
    L + 2 … 2 L   errors go back, a layer a tick: arrived += w · error
    2 L + 2       every neuron with a level asks its synapses to try:
                  S ← clip(S − sign(x e) · (whole[m] + [draw < chance[m]])), m = |x e|

w = [S > T] − [S < −T] is read from the state wherever it is used.  Every
quantity is an integer; a tick is 1 s, so that times are exact too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.plasticity import MAX_ERROR, MOVE_DTYPE, Plastic, PlasticLayer, Rule
from neuromorph.reference.brian2 import require_brian2, require_runtime
from neuromorph.reference.learning import ERROR_LIMIT, draw16

__all__ = ["learn"]

PHASE = "t_in_timesteps % phases == {}"
CENTRED = "distance = gain*sum - centre\nsum = 0"
FIRE = "\nlevel = alive*(int(distance > half) - int(distance < -half))"
BLAME = (
    "arrived = int(clip(arrived, -limit, limit))\n"
    "error = arrived*int(abs(arrived) > dead_zone)*alive*int(abs(abs(distance) - half) <= reach)\n"
    "arrived = 0"
)
JUDGE = (
    "error = int(is_label == 0 and beaten == 0 and label_distance - distance < margin)\n"
    "beaten = 0\nlabel_distance = 0"
)
COMPARE = (  # the rival is the best of the others, the first of equals
    "beaten_post += (1 - is_label_pre)"
    "*int(distance_pre > distance_post or (distance_pre == distance_post and i < j))\n"
    "label_distance_post += is_label_pre*distance_pre"
)
TRY = (
    "wanted = level_pre*error_post\n"
    "size = int(clip(abs(wanted), 0, largest))\n"
    "steps = whole(t, size) + int(draw(t, j*taps + i) < chance(t, size))\n"
    "S = int(clip(S - free*sign(wanted)*steps, -maximum, maximum))"
)


@dataclass(frozen=True, kw_only=True)
class _Time:
    """The clock of ticks, the phases of a sample, the number of layers."""

    clock: Any
    phases: int
    layers: int

    def table(self, values: NDArray[Any], name: str) -> Any:
        """Values that change with every sample, (samples,) or (samples, …)."""
        b2 = require_brian2()
        return b2.TimedArray(values.astype(np.float64), dt=self.phases * b2.second, name=name)

    def events(self, forward: int | None, **others: str) -> dict[str, str]:
        """Events of a group that sends levels in phase ``forward``, and others."""
        if forward is not None:
            others["fire"] = f"level != 0 and {PHASE.format(forward)}"
            others["try"] = f"level != 0 and {PHASE.format(self.phases - 1)}"
        return others

    def when(self, group: Any, event: str, code: str) -> None:
        """Run code on all neurons of a group in the phase that is an event of it."""
        group.set_event_schedule(event, when="before_groups")
        group.run_on_event(event, code, when="groups")


def learn(
    state: Plastic, inputs: NDArray[Any], labels: NDArray[Any], rule: Rule
) -> tuple[Plastic, NDArray[Any]]:
    """Learn encoded inputs (samples, size) in Brian2: the state after, and every transition."""
    require_runtime()
    b2 = require_brian2()
    depth = len(state.layers)
    phases = 2 * depth + 3
    time = _Time(clock=b2.Clock(dt=1 * b2.second), phases=phases, layers=depth)
    entry = _input_group(inputs, time)
    groups, synapses, seen = [entry], [], []
    for index, layer in enumerate(state.layers):
        last = index == depth - 1
        group = _readout(layer, labels, rule, time) if last else _hidden(layer, index, rule, time)
        wires = _synapses(groups[-1], group, state, index, rule, time, len(inputs))
        groups.append(group)
        synapses.append(wires)
        each = b2.Clock(dt=phases * b2.second)
        seen.append(b2.StateMonitor(wires, "S", True, clock=each, when="start"))
    objects = b2.Network(groups, synapses, seen, _rivals(groups[-1], time))
    objects.run(len(inputs) * phases * b2.second, namespace={})
    after = state.copy()
    after.samples += len(inputs)
    moves = []
    for index, (layer, wires, monitor) in enumerate(zip(after.layers, synapses, seen)):
        history = np.vstack([np.asarray(monitor.S).T, np.asarray(wires.S)])
        changed = history[1:] != history[:-1]
        layer.states[:] = history[-1].reshape(layer.states.shape)
        layer.writes += changed.sum(axis=0, dtype=np.int32).reshape(layer.writes.shape)
        sample, synapse = np.nonzero(changed)
        found = np.zeros(len(sample), MOVE_DTYPE)
        found["step"], found["layer"], found["synapse"] = state.samples + 1 + sample, index, synapse
        found["before"], found["after"] = history[sample, synapse], history[sample + 1, synapse]
        moves.append(found)
    return after, np.sort(np.concatenate(moves), order=["step", "layer", "synapse"])


def _input_group(inputs: NDArray[Any], time: _Time) -> Any:
    group = require_brian2().NeuronGroup(
        inputs.shape[1],
        "level : integer",
        events=time.events(0),
        clock=time.clock,
        namespace={"samples": time.table(inputs, "samples*"), "phases": time.phases},
        name="input*",
    )
    group.run_regularly("level = int(samples(t, i))", when="start", clock=time.clock)
    return group


def _hidden(layer: PlasticLayer, index: int, rule: Rule, time: _Time) -> Any:
    """Neurons that fire levels forward and, where a window is open, errors back."""
    back = 2 * time.layers + 1 - index  # the phase of the errors, one more a layer down
    group = require_brian2().NeuronGroup(
        layer.stage.neurons,
        "sum : integer\ndistance : integer\nlevel : integer\narrived : integer\nerror : integer\n"
        "gain : integer (constant)\ncentre : integer (constant)\nhalf : integer (constant)\n"
        "reach : integer (constant)\nalive : integer (constant)",
        events=time.events(
            index + 1,
            settle=PHASE.format(index + 1),
            blame=PHASE.format(back),
            err=f"error != 0 and {PHASE.format(back)}",
        ),
        clock=time.clock,
        namespace={"phases": time.phases, "limit": ERROR_LIMIT, "dead_zone": rule.dead_zone},
        name=f"hidden{index}*",
    )
    _centre(group, layer)
    group.half = layer.half
    window = (layer.half.astype(np.int64) * rule.pulse) >> 4
    group.reach = np.minimum(window, np.iinfo(np.int32).max)
    group.alive = ~layer.dead
    time.when(group, "settle", CENTRED + FIRE)
    signs = "\nerror = sign(error)" if rule.error == "sign" else ""
    time.when(group, "blame", BLAME + signs)
    return group


def _readout(layer: PlasticLayer, labels: NDArray[Any], rule: Rule, time: _Time) -> Any:
    """Neurons that find the rival of the label among them."""
    depth = time.layers
    group = require_brian2().NeuronGroup(
        layer.stage.neurons,
        "sum : integer\ndistance : integer\nis_label : integer\nerror : integer\n"
        "beaten : integer\nlabel_distance : integer\n"
        "gain : integer (constant)\ncentre : integer (constant)",
        events=time.events(
            None,
            settle=PHASE.format(depth),
            compare=PHASE.format(depth),
            judge=PHASE.format(depth + 1),
            wrong=f"error != 0 and {PHASE.format(depth + 1)}",
            err=f"error != 0 and {PHASE.format(depth + 2)}",
        ),
        clock=time.clock,
        namespace={
            "phases": time.phases,
            "label": time.table(labels, "labels*"),
            "margin": rule.margin << layer.fraction,
        },
        name="readout*",
    )
    _centre(group, layer)
    time.when(group, "settle", CENTRED + "\nis_label = int(label(t) == i)")
    time.when(group, "judge", JUDGE)
    return group


def _centre(group: Any, layer: PlasticLayer) -> None:
    group.gain = layer.gain
    group.centre = layer.mean + layer.offset


def _rivals(readout: Any, time: _Time) -> Any:
    """All to all: who is beaten, what the label has, and who tells the label."""
    wires = require_brian2().Synapses(
        readout,
        readout,
        on_pre={"compare": COMPARE, "tell": "error_post -= is_label_post"},
        on_event={"compare": "compare", "tell": "wrong"},
        clock=time.clock,
        name="rivals*",
    )
    wires.connect()
    return wires


def _synapses(
    before: Any, after: Any, state: Plastic, index: int, rule: Rule, time: _Time, samples: int
) -> Any:
    """Every synapse of a layer, in the order of its states."""
    layer = state.layers[index]
    neurons, taps = layer.states.shape
    key = draws.layer_key(rule.seed, index)
    keys = draws.weight_keys(key, np.arange(layer.states.size))
    drawn = np.array([draw16(keys, key, state.samples + 1 + n) for n in range(samples)])
    table = rule.table(state.samples, index, time.layers)
    wires = require_brian2().Synapses(
        before,
        after,
        "S : integer\nfree : integer (constant)\nw = int(S > rest) - int(S < -rest) : integer",
        on_pre={"fire": "sum_post += w*level_pre", "try": TRY},
        on_post={"err": "arrived_pre += w*error_post"} if index else {},
        on_event={"fire": "fire", "try": "try"} | ({"err": "err"} if index else {}),
        clock=time.clock,
        namespace={
            "rest": state.rest,
            "taps": taps,
            "largest": MAX_ERROR,
            "maximum": rule.maximum,
            "draw": time.table(drawn, "draws*"),
            "whole": time.table(table[:1], "whole*"),
            "chance": time.table(table[1:], "chance*"),
        },
        name=f"synapses{index}*",
    )
    wires.connect(i=np.tile(np.arange(taps), neurons), j=np.repeat(np.arange(neurons), taps))
    wires.S = layer.states.ravel()
    wires.free = ~layer.stuck.ravel()
    return wires
